/* Tokenizers: small GGUF and tokenizer.json files made here, hostile ones, the exact pairs beside the repository, linear
 * time, streaming. Equality with PyPI `tokenizers` is test_tok.py's. */
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/rng.h"
#include "base/utf8.h"
#include "check.h"
#include "text/regex.h"
#include "text/tokenizer.h"

/* ---- a small GGUF writer ---- */

struct gguf { struct rf_buf b; uint64_t n_kv; };

static void put(struct gguf *g, const void *p, size_t n) { rf_buf_append(&g->b, p, n); }
static void put32(struct gguf *g, uint32_t v) { put(g, &v, 4); }
static void put64(struct gguf *g, uint64_t v) { put(g, &v, 8); }
static void put_str(struct gguf *g, const char *s, size_t n)
{
    put64(g, n);
    put(g, s, n);
}
static void key(struct gguf *g, const char *k, uint32_t type)
{
    put_str(g, k, strlen(k));
    put32(g, type);
    g->n_kv++;
}
static void kv_str(struct gguf *g, const char *k, const char *v)
{
    key(g, k, 8);
    put_str(g, v, strlen(v));
}
static void kv_u32(struct gguf *g, const char *k, uint32_t v)
{
    key(g, k, 4);
    put32(g, v);
}
static void kv_bool(struct gguf *g, const char *k, bool v)
{
    key(g, k, 7);
    put(g, &v, 1);
}
static void kv_array(struct gguf *g, const char *k, uint32_t type, uint64_t n)
{
    key(g, k, 9);
    put32(g, type);
    put64(g, n);
}
static void kv_strs(struct gguf *g, const char *k, const char *const *v, size_t n)
{
    kv_array(g, k, 8, n);
    for (size_t i = 0; i < n; i++) put_str(g, v[i], strlen(v[i]));
}
static void kv_ints(struct gguf *g, const char *k, const int32_t *v, size_t n)
{
    kv_array(g, k, 5, n);
    put(g, v, 4 * n);
}
static void kv_floats(struct gguf *g, const char *k, const float *v, size_t n)
{
    kv_array(g, k, 6, n);
    put(g, v, 4 * n);
}

static char dir[64], path[128];

static void save(const char *file, const void *p, size_t n)
{
    FILE *f = fopen(file, "wb");
    if (!f || fwrite(p, 1, n, f) != n) printf("# cannot write %s\n", file);
    if (f) fclose(f);
}

/* Writes what was put and opens it. */
static rf_status finish(struct gguf *g, struct rf_weights **w, struct rf_tokenizer **t, struct rf_error *err)
{
    struct gguf h = { 0 };
    *t = NULL;
    put(&h, "GGUF", 4);
    put32(&h, 3);
    put64(&h, 0);
    put64(&h, g->n_kv);
    put(&h, g->b.data, g->b.len);
    snprintf(path, sizeof path, "%s/t.gguf", dir);
    save(path, h.b.data, h.b.len);
    rf_buf_release(&h.b);
    rf_buf_release(&g->b);
    rf_status st = rf_weights_open(w, path, err);
    if (st) return st;
    st = rf_tokenizer_open(t, *w, err);
    if (st) {
        rf_weights_close(*w);
        *w = NULL;
    }
    return st;
}

static void close_both(struct rf_weights *w, struct rf_tokenizer *t)
{
    rf_tokenizer_close(t);
    rf_weights_close(w);
}

static bool ids_are(const struct rf_tokenizer *t, const char *text, uint32_t flags, const struct rf_span *sp, size_t n_sp, const char *want)
{
    struct rf_ids ids = { 0 };
    struct rf_error err = { 0 };
    char got[512] = "";
    size_t o = 0;
    rf_status st = rf_tokenizer_encode(t, text, strlen(text), flags, sp, n_sp, &ids, &err);
    for (size_t i = 0; i < ids.n && o < 480; i++) o += (size_t)snprintf(got + o, sizeof got - o, i ? " %d" : "%d", ids.id[i]);
    rf_ids_release(&ids);
    if (st || strcmp(got, want)) printf("# \"%s\": got \"%s\", want \"%s\" %s\n", text, got, want, err.message);
    return !st && !strcmp(got, want);
}

/* The byte alphabet's 256 characters first, then a few words and markers. */
static const char *const bpe_more[] = { "he", "ll", "hell", "hello", "Ġw", "Ġwo", "<|im_start|>", "<|im_end|>", "<tool>", "<|plain|>" };
static const char *const bpe_merges[] = { "h e", "l l", "he ll", "hell o", "Ġ w", "Ġw o" };
enum { HELLO = 259, GW = 260, GWO = 261, IM_START = 262, IM_END = 263, TOOL = 264, PLAIN = 265, N_BPE = 266 };

static void make_bpe(struct gguf *g, const char *pre)
{
    int32_t type[N_BPE];
    char s[8];
    kv_str(g, "general.architecture", "qwen2");
    kv_str(g, "tokenizer.ggml.model", "gpt2");
    if (pre) kv_str(g, "tokenizer.ggml.pre", pre);
    kv_array(g, "tokenizer.ggml.tokens", 8, N_BPE);
    for (unsigned b = 0; b < 256; b++) {
        unsigned k = b < 0x21 ? 0x100 + b : b < 0x7F ? b : b < 0xA1 ? 0x121 + b - 0x7F : b == 0xAD ? 0x143 : b;
        put_str(g, s, rf_utf8_encode(k, s));
    }
    for (size_t i = 0; i < RF_COUNT(bpe_more); i++) put_str(g, bpe_more[i], strlen(bpe_more[i]));
    for (int i = 0; i < N_BPE; i++) type[i] = i == IM_START || i == IM_END ? 3 : i == TOOL || i == PLAIN ? 4 : 1;
    kv_ints(g, "tokenizer.ggml.token_type", type, N_BPE);
    kv_strs(g, "tokenizer.ggml.merges", bpe_merges, RF_COUNT(bpe_merges));
    kv_u32(g, "tokenizer.ggml.bos_token_id", IM_START);
    kv_u32(g, "tokenizer.ggml.eos_token_id", IM_END);
}

TEST(byte_level)
{
    struct gguf g = { 0 };
    struct rf_weights *w;
    struct rf_tokenizer *t;
    struct rf_error err = { 0 };
    make_bpe(&g, "qwen2");
    kv_bool(&g, "tokenizer.ggml.add_bos_token", true);
    REQUIRE(!finish(&g, &w, &t, &err));
    CHECK_INT(rf_tokenizer_n_vocab(t), N_BPE);
    CHECK(ids_are(t, "hello wo", 0, NULL, 0, "259 261"));
    CHECK(ids_are(t, "", 0, NULL, 0, ""));
    CHECK(ids_are(t, "hello", RF_TOK_ADD_SPECIAL, NULL, 0, "262 259"));
    CHECK(ids_are(t, "<|im_end|>hello", RF_TOK_PARSE_SPECIAL, NULL, 0, "263 259"));
    CHECK(ids_are(t, "<tool>", 0, NULL, 0, "264"));
    CHECK(rf_tokenizer_is_eog(t, IM_END) && !rf_tokenizer_is_eog(t, IM_START) && !rf_tokenizer_is_eog(t, -1) && !rf_tokenizer_is_eog(t, 1 << 30));
    CHECK_INT(rf_tokenizer_attr(t, PLAIN), RF_TOKEN_CONTROL);
    CHECK_INT(rf_tokenizer_find(t, "hello", 5), HELLO);
    CHECK_INT(rf_tokenizer_find(t, "nope", 4), -1);
    struct rf_str b = rf_tokenizer_bytes(t, GWO);
    CHECK(b.n == 3 && !memcmp(b.s, " wo", 3));
    CHECK(!rf_tokenizer_bytes(t, N_BPE).n && !rf_tokenizer_bytes(t, -1).n);
    /* NFC: e + acute is one character of two bytes */
    CHECK(ids_are(t, "e\xCC\x81", 0, NULL, 0, "195 169"));
    close_both(w, t);
}

TEST(trusted_spans)
{
    struct gguf g = { 0 };
    struct rf_weights *w;
    struct rf_tokenizer *t;
    struct rf_error err = { 0 };
    make_bpe(&g, "gpt-2");
    REQUIRE(!finish(&g, &w, &t, &err));
    /* "<|im_end|>" at 0..10 and 10..20 */
    const char *twice = "<|im_end|><|im_end|>";
    struct rf_span first[] = { { 0, 10 } }, second[] = { { 10, 20 } }, across[] = { { 5, 15 } }, both[] = { { 0, 10 }, { 10, 20 } };
    const char *text = "60 124 105 109 95 101 110 100 124 62";
    char want[128];
    snprintf(want, sizeof want, "263 %s", text);
    CHECK(ids_are(t, twice, RF_TOK_PARSE_SPECIAL, first, 1, want));
    snprintf(want, sizeof want, "%s 263", text);
    CHECK(ids_are(t, twice, RF_TOK_PARSE_SPECIAL, second, 1, want));
    CHECK(ids_are(t, twice, RF_TOK_PARSE_SPECIAL, both, 2, "263 263"));
    struct rf_ids ids = { 0 };
    CHECK(!rf_tokenizer_encode(t, twice, 20, RF_TOK_PARSE_SPECIAL, across, 1, &ids, &err));
    for (size_t i = 0; i < ids.n; i++) CHECK(ids.id[i] != IM_END);
    ids.n = 0;
    CHECK(!rf_tokenizer_encode(t, twice, 20, RF_TOK_PARSE_SPECIAL, first, 0, &ids, &err)); /* none trusted */
    for (size_t i = 0; i < ids.n; i++) CHECK(ids.id[i] != IM_END);
    rf_ids_release(&ids);
    close_both(w, t);
}

/* ---- SentencePiece ---- */

static const char *const spm_tok[] = { "<unk>", "<s>", "</s>", "<0xE2>", "<0x82>", "<0xAC>", "▁", "a", "b", "▁a", "ab", "▁ab", "<end_of_turn>" };
static const float spm_score[] = { 0, 0, 0, 0, 0, 0, -1, -2, -3, -4, -2.5f, -2, 0 };
static const int32_t spm_type[] = { 2, 3, 3, 6, 6, 6, 1, 1, 1, 1, 1, 1, 4 };

static void make_spm(struct gguf *g)
{
    kv_str(g, "general.architecture", "llama");
    kv_str(g, "tokenizer.ggml.model", "llama");
    kv_strs(g, "tokenizer.ggml.tokens", spm_tok, RF_COUNT(spm_tok));
    kv_floats(g, "tokenizer.ggml.scores", spm_score, RF_COUNT(spm_score));
    kv_ints(g, "tokenizer.ggml.token_type", spm_type, RF_COUNT(spm_type));
}

TEST(sentencepiece)
{
    struct gguf g = { 0 };
    struct rf_weights *w;
    struct rf_tokenizer *t;
    struct rf_error err = { 0 };
    make_spm(&g);
    REQUIRE(!finish(&g, &w, &t, &err));
    CHECK(ids_are(t, "ab ab", 0, NULL, 0, "11 11"));
    CHECK(ids_are(t, "ab", RF_TOK_ADD_SPECIAL, NULL, 0, "1 11"));
    CHECK(ids_are(t, "€", 0, NULL, 0, "6 3 4 5"));
    CHECK(ids_are(t, "zz", 0, NULL, 0, "6 0")); /* unknown characters in a row are one token */
    CHECK(ids_are(t, "<s>", 0, NULL, 0, "6 0"));
    CHECK(ids_are(t, "<s>ab", RF_TOK_PARSE_SPECIAL, NULL, 0, "1 11"));
    CHECK(rf_tokenizer_is_eog(t, 12) && rf_tokenizer_attr(t, 12) == RF_TOKEN_CONTROL);
    struct rf_buf out = { 0 };
    int32_t ids[] = { 1, 11, 11, 3, 4, 5 };
    CHECK(!rf_tokenizer_decode(t, ids, 6, true, &out));
    CHECK_STR(rf_buf_str(&out), "ab ab€");
    rf_buf_release(&out);
    struct rf_detok d;
    rf_detok_init(&d, t, true);
    for (int i = 0; i < 5; i++) rf_detok_push(&d, ids[i], &out);
    CHECK_STR(rf_buf_str(&out), "ab ab"); /* two bytes of the euro sign wait */
    rf_detok_finish(&d, &out);
    CHECK_STR(rf_buf_str(&out), "ab ab\xEF\xBF\xBD");
    rf_buf_release(&out);
    close_both(w, t);
}

/* ---- streaming ---- */

/* Random ids: what push gives is valid at every step and joins to what one push of everything would give. */
static void stream_random(const struct rf_tokenizer *t, struct rf_rng *r)
{
    for (int round = 0; round < 200; round++) {
        struct rf_detok d;
        struct rf_buf all = { 0 }, raw = { 0 }, want = { 0 };
        int32_t ids[64];
        size_t n = rf_rng_below(r, 64);
        rf_detok_init(&d, t, round & 1);
        for (size_t i = 0; i < n; i++) {
            ids[i] = (int32_t)rf_rng_below(r, rf_tokenizer_n_vocab(t) + 4) - 2;
            CHECK(!rf_detok_push(&d, ids[i], &all));
            CHECK(!all.len || rf_utf8_valid(all.data, all.len));
        }
        CHECK(!rf_detok_finish(&d, &all));
        CHECK(!rf_tokenizer_decode(t, ids, n, round & 1, &raw));
        /* the reference: U+FFFD per maximal subpart, from the whole */
        for (size_t i = 0; i < raw.len;) {
            uint32_t cp;
            unsigned k = rf_utf8_decode(raw.data + i, raw.len - i, &cp);
            if (k) rf_buf_append(&want, raw.data + i, k);
            else {
                rf_buf_puts(&want, "\xEF\xBF\xBD");
                for (k = RF_MIN(3u, (unsigned)(raw.len - i)); k > 1 && rf_utf8_incomplete_tail(raw.data + i, k) != k;) k--;
                k = RF_MAX(k, 1u);
            }
            i += k;
        }
        CHECK(all.len == want.len && (!all.len || !memcmp(all.data, want.data, all.len)));
        rf_buf_release(&all);
        rf_buf_release(&raw);
        rf_buf_release(&want);
    }
}

TEST(streaming)
{
    struct rf_rng r = { check_seed() };
    for (int kind = 0; kind < 2; kind++) {
        struct gguf g = { 0 };
        struct rf_weights *w;
        struct rf_tokenizer *t;
        struct rf_error err = { 0 };
        if (kind) make_spm(&g);
        else make_bpe(&g, "llama-bpe");
        REQUIRE(!finish(&g, &w, &t, &err));
        stream_random(t, &r);
        close_both(w, t);
    }
}

/* Any bytes come back from byte-level BPE without a normalizer. */
TEST(any_bytes)
{
    struct gguf g = { 0 };
    struct rf_weights *w;
    struct rf_tokenizer *t;
    struct rf_error err = { 0 };
    struct rf_rng r = { check_seed() };
    make_bpe(&g, "llama-bpe");
    REQUIRE(!finish(&g, &w, &t, &err));
    for (int round = 0; round < 500; round++) {
        char s[200];
        size_t n = rf_rng_below(&r, sizeof s);
        struct rf_ids ids = { 0 };
        struct rf_buf out = { 0 };
        for (size_t i = 0; i < n; i++) s[i] = (char)(round & 1 ? rf_rng_below(&r, 256) : "hello wo\xE4\xB8\xAD\n1'"[rf_rng_below(&r, 14)]);
        CHECK(!rf_tokenizer_encode(t, s, n, 0, NULL, 0, &ids, &err));
        CHECK(!rf_tokenizer_decode(t, ids.id, ids.n, false, &out));
        CHECK(out.len == n && (!n || !memcmp(out.data, s, n)));
        rf_ids_release(&ids);
        rf_buf_release(&out);
    }
    close_both(w, t);
}

/* ---- hostile headers ---- */

static rf_status open_with(void (*make)(struct gguf *g))
{
    struct gguf g = { 0 };
    struct rf_weights *w;
    struct rf_tokenizer *t;
    struct rf_error err = { 0 };
    make(&g);
    rf_status st = finish(&g, &w, &t, &err);
    if (!st) {
        struct rf_ids ids = { 0 };
        CHECK(!rf_tokenizer_encode(t, "hello <s> \xFF ab\n", 15, 3, NULL, 0, &ids, &err));
        for (size_t i = 0; i < ids.n; i++) CHECK(ids.id[i] >= 0 && (uint32_t)ids.id[i] < rf_tokenizer_n_vocab(t));
        rf_ids_release(&ids);
        close_both(w, t);
    } else {
        CHECK(err.message[0] && !strchr(err.message, '\n'));
    }
    return st;
}

static void no_model(struct gguf *g) { kv_str(g, "general.architecture", "llama"); }
static void no_tokens(struct gguf *g) { kv_str(g, "tokenizer.ggml.model", "gpt2"); }
static void bad_pre(struct gguf *g) { make_bpe(g, "no-such-thing\n\x01"); }
static void head_spm(struct gguf *g)
{
    kv_str(g, "tokenizer.ggml.model", "llama");
    kv_strs(g, "tokenizer.ggml.tokens", spm_tok, RF_COUNT(spm_tok));
}
static void no_scores(struct gguf *g) { head_spm(g); }
static void short_scores(struct gguf *g)
{
    head_spm(g);
    kv_floats(g, "tokenizer.ggml.scores", spm_score, 3);
}
static void byte_scores(struct gguf *g)
{
    head_spm(g);
    kv_array(g, "tokenizer.ggml.scores", 8, 0);
}
static void nan_scores(struct gguf *g)
{
    float v[RF_COUNT(spm_tok)];
    for (size_t i = 0; i < RF_COUNT(v); i++) v[i] = NAN;
    head_spm(g);
    kv_floats(g, "tokenizer.ggml.scores", v, RF_COUNT(v));
}
static void short_types(struct gguf *g)
{
    head_spm(g);
    kv_floats(g, "tokenizer.ggml.scores", spm_score, RF_COUNT(spm_score));
    kv_ints(g, "tokenizer.ggml.token_type", spm_type, 2);
}
static void ids_out_of_range(struct gguf *g)
{
    make_spm(g);
    kv_u32(g, "tokenizer.ggml.bos_token_id", 4000000000u);
    kv_u32(g, "tokenizer.ggml.eos_token_id", 13);
    kv_u32(g, "tokenizer.ggml.unknown_token_id", 99);
}
static void odd_pieces(struct gguf *g)
{
    static char big[1 << 20];
    int32_t types[6] = { 1, 1, 4, 3, 1, 77 };
    const char *merges[] = { "a b", "x y", "nospace", " ", "", "a  b", "aa aa" };
    memset(big, 'a', sizeof big);
    kv_str(g, "tokenizer.ggml.model", "gpt2");
    kv_array(g, "tokenizer.ggml.tokens", 8, 6);
    put_str(g, "", 0);
    put_str(g, "a\0b", 3);
    put_str(g, big, sizeof big);
    put_str(g, "a", 1);
    put_str(g, "a", 1);
    put_str(g, "\xFF\xFE", 2);
    kv_ints(g, "tokenizer.ggml.token_type", types, 6);
    kv_strs(g, "tokenizer.ggml.merges", merges, RF_COUNT(merges));
}

TEST(hostile)
{
    CHECK_INT(open_with(no_model), RF_NOT_FOUND);
    CHECK_INT(open_with(no_tokens), RF_CORRUPT);
    CHECK_INT(open_with(bad_pre), RF_UNSUPPORTED);
    CHECK_INT(open_with(no_scores), RF_CORRUPT);
    CHECK_INT(open_with(short_scores), RF_CORRUPT);
    CHECK_INT(open_with(byte_scores), RF_CORRUPT);
    CHECK_INT(open_with(nan_scores), RF_CORRUPT);
    CHECK_INT(open_with(short_types), RF_CORRUPT);
    CHECK_INT(open_with(ids_out_of_range), RF_OK);
    CHECK_INT(open_with(odd_pieces), RF_OK);
}

/* Every allocation failed once: an error or success, no leak, no crash. */
TEST(torture)
{
    for (int kind = 0; kind < 2; kind++) {
        struct gguf g = { 0 };
        struct rf_weights *w;
        struct rf_tokenizer *t;
        struct rf_error err = { 0 };
        if (kind) make_spm(&g);
        else make_bpe(&g, "qwen2");
        REQUIRE(!finish(&g, &w, &t, &err));
        rf_tokenizer_close(t);
        rf_status st = RF_NOMEM;
        for (uint64_t k = 1; st && k < 3000; k++) {
            struct rf_ids ids = { 0 };
            rf_mem_fail_at(k);
            st = rf_tokenizer_open(&t, w, &err);
            if (!st) {
                static const char text[] = "hello wo e\xCC\x81 a long enough text to be worth a cache of words, ab ab";
                st = rf_tokenizer_encode(t, text, sizeof text - 1, 3, NULL, 0, &ids, &err);
                rf_tokenizer_close(t);
            }
            rf_mem_fail_at(0);
            if (st && st != RF_NOMEM && st != RF_UNSUPPORTED) CHECK_FAIL_("k %d: %s", (int)k, err.message);
            rf_ids_release(&ids);
        }
        CHECK_INT(st, RF_OK);
        rf_weights_close(w);
    }
}

/* ---- tokenizer.json ---- */

static rf_status open_json(const char *json, struct rf_weights **w, struct rf_tokenizer **t, struct rf_error *err)
{
    static const char config[] = "{\"model_type\":\"llama\",\"architectures\":[\"LlamaForCausalLM\"],\"eos_token_id\":[2,1]}";
    char p[160];
    struct rf_buf st = { 0 };
    static const char head[] = "{\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}";
    uint64_t n = sizeof head - 1;
    rf_buf_append(&st, &n, 8);
    rf_buf_append(&st, head, n);
    rf_buf_append(&st, "\0\0\0\0", 4);
    snprintf(p, sizeof p, "%s/model.safetensors", dir);
    save(p, st.data, st.len);
    rf_buf_release(&st);
    snprintf(p, sizeof p, "%s/config.json", dir);
    save(p, config, sizeof config - 1);
    snprintf(p, sizeof p, "%s/tokenizer.json", dir);
    save(p, json, strlen(json));
    *t = NULL;
    rf_status s = rf_weights_open(w, dir, err);
    if (s) return s;
    s = rf_tokenizer_open(t, *w, err);
    if (s) rf_weights_close(*w);
    return s;
}

TEST(tokenizer_json)
{
    static const char json[] =
        "{\"added_tokens\":[{\"id\":5,\"content\":\"<x>\",\"special\":true,\"lstrip\":true,\"rstrip\":true,\"normalized\":false,\"single_word\":false},"
        "{\"id\":6,\"content\":\"Cat\",\"special\":false,\"single_word\":true,\"normalized\":true}],"
        "\"normalizer\":{\"type\":\"Lowercase\"},\"pre_tokenizer\":{\"type\":\"WhitespaceSplit\"},"
        "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<x>\",\"type_id\":0}},{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}],"
        "\"special_tokens\":{\"<x>\":{\"id\":\"<x>\",\"ids\":[5],\"tokens\":[\"<x>\"]}}},"
        "\"decoder\":{\"type\":\"WordPiece\",\"prefix\":\"##\",\"cleanup\":true},"
        "\"model\":{\"type\":\"WordPiece\",\"unk_token\":\"[UNK]\",\"continuing_subword_prefix\":\"##\",\"max_input_chars_per_word\":100,"
        "\"vocab\":{\"[UNK]\":0,\"the\":1,\"un\":2,\"##able\":3,\".\":4}}}";
    struct rf_weights *w;
    struct rf_tokenizer *t;
    struct rf_error err = { 0 };
    rf_status st = open_json(json, &w, &t, &err);
    if (st) printf("# %s\n", err.message);
    REQUIRE(!st);
    CHECK(ids_are(t, "THE unable  zzz", RF_TOK_ADD_SPECIAL, NULL, 0, "5 1 2 3 0"));
    CHECK(ids_are(t, "the <x>  the cat concat", RF_TOK_PARSE_SPECIAL, NULL, 0, "1 5 1 6 0"));
    CHECK(rf_tokenizer_is_eog(t, 2) && rf_tokenizer_is_eog(t, 1));
    struct rf_buf out = { 0 };
    int32_t ids[] = { 1, 2, 3, 4 };
    CHECK(!rf_tokenizer_decode(t, ids, 4, false, &out));
    CHECK_STR(rf_buf_str(&out), "the unable.");
    rf_buf_release(&out);
    close_both(w, t);
}

TEST(hostile_json)
{
    static const char *const bad[] = {
        "", "{", "[]", "{}", "{\"model\":{}}", "{\"model\":{\"vocab\":{}}}", "{\"model\":{\"type\":\"Nope\",\"vocab\":{\"a\":0}}}",
        "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":99999999999},\"merges\":[]}}", "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":16000000},\"merges\":[]}}",
        "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":-1},\"merges\":[]}}", "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a b\"]}}",
        "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[[\"a\"]]}}", "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a\"]}}",
        "{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\"]]}}", "{\"model\":{\"type\":\"Unigram\",\"vocab\":{\"a\":0}}}",
        "{\"added_tokens\":[{\"id\":-5,\"content\":\"x\"}],\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}}",
        "{\"normalizer\":{\"type\":\"What\"},\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}}",
        "{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"((((\"},\"behavior\":\"Isolated\"},\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}}",
        "{\"post_processor\":{\"type\":\"RobertaProcessing\",\"sep\":[\"x\",77],\"cls\":[\"x\",0]},\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}}",
    };
    for (size_t i = 0; i < RF_COUNT(bad); i++) {
        struct rf_weights *w;
        struct rf_tokenizer *t;
        struct rf_error err = { 0 };
        rf_status st = open_json(bad[i], &w, &t, &err);
        if (!st) CHECK_FAIL_("accepted: %s", bad[i]);
        if (!st) close_both(w, t);
        CHECK(strlen(err.message) > 5);
    }
}

/* A backtracking pattern that only PCRE2 takes ends in an error, not in minutes. */
TEST(slow_regex)
{
    static const char json[] = "{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(?<=x)(a+)+\\\\bz\"},\"behavior\":\"Isolated\"},"
                               "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}}";
    struct rf_weights *w;
    struct rf_tokenizer *t;
    struct rf_error err = { 0 };
    struct rf_ids ids = { 0 };
    REQUIRE(!open_json(json, &w, &t, &err));
    char s[5001] = "x";
    memset(s + 1, 'a', 4999);
    memcpy(s + 4990, " z", 2); /* a z there is, but not where it would match */
    CHECK_INT(rf_tokenizer_encode(t, s, 5000, 0, NULL, 0, &ids, &err), RF_TOO_LARGE);
    rf_ids_release(&ids);
    close_both(w, t);
}

/* A table over characters that would be large is not made: a file may name dozens of such patterns. */
TEST(patterns_that_would_take_long_to_compile)
{
    static const char usual[] = "(?i:'s|'t)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s+(?!\\S)|\\s+";
    char hard[256] = "[^\\r\\n\\p{L}]?\\p{L}+";
    size_t n = strlen(hard);
    memset(hard + n, 'V', 120);
    memcpy(hard + n + 120, "+|\\s+", 5);
    struct rf_regex *re;
    struct rf_error err = { 0 };
    REQUIRE(!rf_regex_compile(&re, usual, sizeof usual - 1, &err));
    CHECK(rf_regex_is_linear(re));
    rf_regex_free(re);
    REQUIRE(!rf_regex_compile(&re, hard, strlen(hard), &err));
    CHECK(!rf_regex_is_linear(re)); /* PCRE2 runs it, within its limits */
    struct rf_regex_hit hit;
    uint64_t steps = 0;
    char text[200] = "ab ";
    memset(text + 3, 'V', 150);
    CHECK_INT(rf_regex_find(re, text, 153, 0, RF_REGEX_UTF8, &steps, &hit), RF_OK);
    CHECK(hit.from == 2 && hit.to == 153);
    rf_regex_free(re);
}

/* ---- files beside the repository ---- */

static bool open_shared(const char *name, struct rf_weights **w, struct rf_tokenizer **t)
{
    struct rf_error err = { 0 };
    char p[1024];
    snprintf(p, sizeof p, "%s/vocab/%s.gguf", check_shared(), name);
    if (rf_weights_open(w, p, &err)) return false;
    if (!rf_tokenizer_open(t, *w, &err)) return true;
    CHECK_FAIL_("%s", err.message);
    rf_weights_close(*w);
    return false;
}

static char *slurp(const char *name, const char *end, size_t *n)
{
    char p[1024];
    struct rf_buf b = { 0 };
    snprintf(p, sizeof p, "%s/vocab/%s.gguf.%s", check_shared(), name, end);
    FILE *f = fopen(p, "rb");
    if (!f) return NULL;
    char tmp[4096];
    for (size_t k; (k = fread(tmp, 1, sizeof tmp, f)) > 0;) rf_buf_append(&b, tmp, k);
    fclose(f);
    return rf_buf_take(&b, n);
}

static const char *const families[] = { "gpt-2", "deepseek-coder", "llama-spm", "bert-bge" };

TEST(exact_pairs)
{
    static const char mark[] = "\n__ggml_vocab_test__\n";
    int n_file = 0;
    for (size_t k = 0; k < RF_COUNT(families); k++) {
        struct rf_weights *w;
        struct rf_tokenizer *t;
        size_t n_in, n_out;
        if (!open_shared(families[k], &w, &t)) continue;
        char *in = slurp(families[k], "inp", &n_in), *out = slurp(families[k], "out", &n_out);
        const char *s = in, *line = out;
        int n_case = 0;
        while (in && out && s) {
            const char *end = memmem(s, (size_t)(in + n_in - s), mark, sizeof mark - 1);
            size_t n = end ? (size_t)(end - s) : (size_t)(in + n_in - s);
            struct rf_ids ids = { 0 };
            struct rf_error err = { 0 };
            char *after = NULL;
            CHECK(!rf_tokenizer_encode(t, s, n, 0, NULL, 0, &ids, &err));
            for (size_t i = 0; i < ids.n; i++, line = after)
                if (strtol(line, &after, 10) != ids.id[i]) CHECK_FAIL_("%s case %d id %zu", families[k], n_case, i);
            line += strcspn(line, "\n");
            if (*line) line++;
            rf_ids_release(&ids);
            n_case++;
            s = end ? end + sizeof mark - 1 : NULL;
        }
        CHECK(n_case > 40);
        n_file++;
        rf_free(in);
        rf_free(out);
        close_both(w, t);
    }
    if (!n_file) SKIP("no vocabulary files beside the repository");
}

static double cpu_seconds(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (double)ts.tv_sec + 1e-9 * (double)ts.tv_nsec;
}

/* 1 MB of text that makes careless tokenizers quadratic. */
TEST(linear)
{
    static const char *const unit[] = { "x", "^", "\n", " ", "我", "\xCC\x81", "a\xCC\x81\xCC\xA3", "<", "<|im_", "\xFF", "0123456789", "aZ3+", " \n\t" };
    enum { N = 1000000 };
#ifdef __SANITIZE_ADDRESS__
    double limit = 10;
#elif defined(__has_feature)
    double limit = __has_feature(address_sanitizer) ? 10 : 1;
#else
    double limit = 1;
#endif
    int n_file = 0;
    char *s = malloc(N);
    for (size_t k = 0; k < RF_COUNT(families) && s; k++) {
        struct rf_weights *w;
        struct rf_tokenizer *t;
        struct rf_rng r = { 7 };
        if (!open_shared(families[k], &w, &t)) continue;
        n_file++;
        for (size_t u = 0; u <= RF_COUNT(unit); u++) {
            struct rf_ids ids = { 0 };
            struct rf_error err = { 0 };
            for (size_t i = 0; i < N; i++) s[i] = u == RF_COUNT(unit) ? (char)('a' + rf_rng_below(&r, 26)) : unit[u][i % strlen(unit[u])];
            double t0 = cpu_seconds();
            CHECK(!rf_tokenizer_encode(t, s, N, 0, NULL, 0, &ids, &err));
            double dt = cpu_seconds() - t0;
            if (dt > limit) CHECK_FAIL_("%s, text %zu: %.2f s", families[k], u, dt);
            rf_ids_release(&ids);
        }
        close_both(w, t);
    }
    free(s);
    if (!n_file) SKIP("no vocabulary files beside the repository");
}

int main(void)
{
    snprintf(dir, sizeof dir, "/tmp/rf_tok_XXXXXX");
    if (!mkdtemp(dir)) return 1;
    RUN(byte_level);
    RUN(trusted_spans);
    RUN(sentencepiece);
    RUN(streaming);
    RUN(any_bytes);
    RUN(hostile);
    RUN(torture);
    RUN(tokenizer_json);
    RUN(hostile_json);
    RUN(slow_regex);
    RUN(patterns_that_would_take_long_to_compile);
    RUN(exact_pairs);
    RUN(linear);
    static const char *const files[] = { "t.gguf", "model.safetensors", "config.json", "tokenizer.json" };
    for (size_t i = 0; i < RF_COUNT(files); i++) {
        snprintf(path, sizeof path, "%s/%s", dir, files[i]);
        unlink(path);
    }
    rmdir(dir);
    return check_end();
}
