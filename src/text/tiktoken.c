/* Files of ranks (tiktoken): one token a line, its bytes in base64 and its rank, which is its id. A pair of neighbours merges
 * if its bytes are a token, lower rank first, so this is the loop of SentencePiece with score = -rank over bytes.
 *
 * The file says neither how text is cut into words nor what the special tokens are: that stood in the programs that came
 * with it. They are told apart by tokenizer_class, else by the number of ranks.
 */
#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "text/hfadded.h"

#define CL100K \
    "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}++|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*+|\\s++$|\\s*[\\r\\n]|\\s+(?!\\S)|\\s"

/* Special tokens at id .. id + count - 1, numbered from `from` on where count > 1. */
struct special { uint32_t id; const char *name; uint32_t from, count; };

struct family {
    const char *cls;         /* tokenizer_class, NULL: any */
    uint32_t n_rank;         /* 0: any, for the class alone */
    const char *pre;         /* words as in GGUF's pre-tokenizer of that name, NULL: pattern */
    const char *pattern;
    const char *first[2], *last; /* around a text; end of text */
    const struct special *special; /* ends with name NULL; those of the folder's configuration come on top */
};

static const struct special cl100k[] = {
    { 100257, "<|endoftext|>", 0, 1 }, { 100258, "<|fim_prefix|>", 0, 1 }, { 100259, "<|fim_middle|>", 0, 1 }, { 100260, "<|fim_suffix|>", 0, 1 },
    { 100276, "<|endofprompt|>", 0, 1 }, { 0, NULL, 0, 0 },
};
static const struct special o200k[] = { { 199999, "<|endoftext|>", 0, 1 }, { 200018, "<|endofprompt|>", 0, 1 }, { 0, NULL, 0, 0 } };
static const struct special r50k[] = { { 50256, "<|endoftext|>", 0, 1 }, { 0, NULL, 0, 0 } };
static const struct special qwen[] = {
    { 151643, "<|endoftext|>", 0, 1 }, { 151644, "<|im_start|>", 0, 1 }, { 151645, "<|im_end|>", 0, 1 }, { 151646, "<|extra_%u|>", 0, 205 }, { 0, NULL, 0, 0 },
};
static const struct special llama3[] = {
    { 128000, "<|begin_of_text|>", 0, 1 }, { 128001, "<|end_of_text|>", 0, 1 }, { 128002, "<|reserved_special_token_%u|>", 0, 2 },
    { 128004, "<|finetune_right_pad_id|>", 0, 1 }, { 128005, "<|reserved_special_token_2|>", 0, 1 }, { 128006, "<|start_header_id|>", 0, 1 },
    { 128007, "<|end_header_id|>", 0, 1 }, { 128008, "<|eom_id|>", 0, 1 }, { 128009, "<|eot_id|>", 0, 1 }, { 128010, "<|python_tag|>", 0, 1 },
    { 128011, "<|reserved_special_token_%u|>", 3, 245 }, { 0, NULL, 0, 0 },
};
static const struct special llama4[] = {
    { 200000, "<|begin_of_text|>", 0, 1 }, { 200001, "<|end_of_text|>", 0, 1 }, { 200002, "<|fim_prefix|>", 0, 1 }, { 200003, "<|fim_middle|>", 0, 1 },
    { 200004, "<|fim_suffix|>", 0, 1 }, { 200005, "<|header_start|>", 0, 1 }, { 200006, "<|header_end|>", 0, 1 }, { 200007, "<|eom|>", 0, 1 },
    { 200008, "<|eot|>", 0, 1 }, { 200009, "<|step|>", 0, 1 }, { 200010, "<|text_post_train_reserved_special_token_%u|>", 0, 6 },
    { 200016, "<|python_start|>", 0, 1 }, { 200017, "<|python_end|>", 0, 1 }, { 200018, "<|finetune_right_pad|>", 0, 1 },
    { 200019, "<|text_post_train_reserved_special_token_%u|>", 8, 61 }, { 200080, "<|image_start|>", 0, 1 }, { 200081, "<|image_end|>", 0, 1 },
    { 200082, "<|vision_reserved_special_token_%u|>", 0, 2 }, { 200084, "<|tile_x_separator|>", 0, 1 }, { 200085, "<|tile_y_separator|>", 0, 1 },
    { 200086, "<|vision_reserved_special_token_%u|>", 2, 4 }, { 200090, "<|image|>", 0, 1 }, { 200091, "<|vision_reserved_special_token_%u|>", 6, 1 },
    { 200092, "<|patch|>", 0, 1 }, { 200093, "<|vision_reserved_special_token_%u|>", 7, 1041 }, { 201134, "<|reasoning_reserved_special_token_%u|>", 0, 8 },
    { 201142, "<|reasoning_thinking_start|>", 0, 1 }, { 201143, "<|reasoning_thinking_end|>", 0, 1 }, { 201144, "<|reserved_special_token_%u|>", 0, 904 },
    { 0, NULL, 0, 0 },
};
static const struct special hunyuan[] = {
    { 127957, "<|endoftext|>", 0, 1 }, { 127958, "<|startoftext|>", 0, 1 }, { 127959, "<|bos|>", 0, 1 }, { 127960, "<|eos|>", 0, 1 }, { 127961, "<|pad|>", 0, 1 },
    { 127962, "<|extra_%u|>", 0, 205 }, { 0, NULL, 0, 0 },
};
static const struct special none[] = { { 0, NULL, 0, 0 } };

static const struct family families[] = {
    { "QWenTokenizer", 151643, "qwen2", NULL, { NULL, NULL }, "<|endoftext|>", qwen },
    { "HYTokenizer", 127957, "qwen2", NULL, { "<|startoftext|>", NULL }, "<|eos|>", hunyuan },
    { "ChatGLM4Tokenizer", 0, "glm4", NULL, { "[gMASK]", "<sop>" }, "<|endoftext|>", none },
    { "TikTokenTokenizer", 163584, "kimi-k2", NULL, { NULL, NULL }, "[EOS]", none },
    { "GPT2Tokenizer", 50256, "gpt-2", NULL, { NULL, NULL }, "<|endoftext|>", r50k },
    { NULL, 50280, "gpt-2", NULL, { NULL, NULL }, "<|endoftext|>", r50k },
    { NULL, 100256, NULL, CL100K, { NULL, NULL }, "<|endoftext|>", cl100k },
    { NULL, 199998, "gpt-4o", NULL, { NULL, NULL }, "<|endoftext|>", o200k },
    { NULL, 128000, "llama-bpe", NULL, { "<|begin_of_text|>", NULL }, "<|end_of_text|>", llama3 },
    { NULL, 200000, "gpt-4o", NULL, { "<|begin_of_text|>", NULL }, "<|end_of_text|>", llama4 },
};

static const struct family *find_family(const struct rf_weights *w, uint32_t n_rank)
{
    for (size_t i = 0; i < RF_COUNT(families); i++)
        if (families[i].cls && rf_tok_class_is(w, families[i].cls)) return &families[i];
    for (size_t i = 0; i < RF_COUNT(families); i++)
        if (families[i].n_rank == n_rank && n_rank) return &families[i];
    return NULL;
}

/* One line: "base64 rank". Moves behind it; false where it is none. */
static bool next_line(const char *s, size_t n, size_t *at, struct rf_str *b64, uint64_t *rank)
{
    const char *gap = memchr(s + *at, ' ', n - *at);
    size_t i = gap ? (size_t)(gap - s) : n, digits = 0;
    *b64 = (struct rf_str){ s + *at, i - *at };
    if (i == n || !b64->n || memchr(b64->s, '\n', b64->n)) return false;
    for (*rank = 0, i++; i < n && s[i] >= '0' && s[i] <= '9' && digits < 9; i++, digits++) *rank = *rank * 10 + (uint64_t)(s[i] - '0');
    if (i < n && s[i] == '\r') i++;
    if (!digits || (i < n && s[i] != '\n')) return false;
    *at = i + 1;
    return true;
}

static bool looks_ranked(const struct rf_buf *f)
{
    struct rf_str b64;
    uint64_t rank;
    size_t at = 0;
    if (!f->len || !next_line(rf_buf_str(f), f->len, &at, &b64, &rank)) return false;
    for (size_t i = 0; i < b64.n; i++)
        if ((unsigned char)b64.s[i] < '+' || (unsigned char)b64.s[i] > 'z') return false;
    return true;
}

/* tokenizer.model if it is of this kind, tiktoken.model, else the first *.tiktoken in order of name. */
static rf_status read_ranks(struct rf_buf *out, const struct rf_weights *w, char name[256], struct rf_error *err)
{
    static const char *const known[] = { "tokenizer.model", "tiktoken.model" };
    for (size_t i = 0; i < RF_COUNT(known); i++) {
        struct rf_error quiet = { 0 };
        rf_status st = rf_weights_read_side_file(w, known[i], out, &quiet);
        snprintf(name, 256, "%s", known[i]);
        if (!st && looks_ranked(out)) return RF_OK;
    }
    DIR *d = opendir(rf_weights_dir(w));
    *name = 0;
    for (struct dirent *e; d && (e = readdir(d));) {
        size_t n = strlen(e->d_name);
        bool is = n > 9 && n < 256 && !strcmp(e->d_name + n - 9, ".tiktoken");
        if (is && (!*name || strcmp(e->d_name, name) < 0)) memcpy(name, e->d_name, n + 1);
    }
    if (d) closedir(d);
    if (!*name) return rf_fail(err, RF_NOT_FOUND, "tokenizer: found no file of ranks (*.tiktoken)");
    return rf_weights_read_side_file(w, name, out, err);
}

static rf_status put_special(struct rf_tokenizer *t, const struct special *sp, struct rf_error *err)
{
    for (; sp->name; sp++)
        for (uint32_t i = 0; i < sp->count; i++) {
            char text[80];
            bool numbered = strchr(sp->name, '%') != NULL;
            const char *cut = numbered ? strchr(sp->name, '%') : sp->name + strlen(sp->name);
            int n = snprintf(text, sizeof text, "%.*s", (int)(cut - sp->name), sp->name);
            if (numbered) n += snprintf(text + n, sizeof text - (size_t)n, "%u%s", sp->from + i, cut + 2);
            uint32_t id = sp->id + i;
            if (id >= t->vocab.n || t->vocab.piece[id].n) continue;
            t->vocab.piece[id] = (struct rf_str){ rf_arena_strndup(&t->arena, text, (size_t)n), (size_t)n };
            if (!t->vocab.piece[id].s) return rf_fail_nomem(err, "special tokens", sizeof text);
            t->attr[id] = RF_TOKEN_CONTROL;
            rf_vocab_add(&t->vocab, id);
        }
    return RF_OK;
}

static uint32_t special_end(const struct special *sp)
{
    uint32_t end = 0;
    for (; sp->name; sp++) end = RF_MAX(end, sp->id + sp->count);
    return end;
}

static rf_status read_pieces(struct rf_tokenizer *t, const char *name, uint32_t *n_rank, uint32_t more, struct rf_error *err)
{
    const char *s = rf_buf_str(&t->file);
    size_t n = t->file.len, at = 0, lines = 0;
    struct rf_str b64;
    uint64_t rank, top = 0;
    while (at < n && next_line(s, n, &at, &b64, &rank)) {
        top = RF_MAX(top, rank);
        lines++;
    }
    if (at < n) return rf_fail(err, RF_CORRUPT, "%s: line %zu: expected base64, a space and a rank", name, lines + 1);
    if (top >= 4 * (uint64_t)lines + 1024) return rf_fail(err, RF_CORRUPT, "%s: found rank %llu among %zu lines", name, (unsigned long long)top, lines);
    *n_rank = (uint32_t)lines;
    RF_TRY(rf_tok_alloc(t, RF_MAX(top + 1, (uint64_t)more), true, err));
    for (at = 0; at < n && next_line(s, n, &at, &b64, &rank);) {
        RF_TRY(rf_tok_base64(&t->arena, b64, &t->vocab.piece[rank], err));
        t->attr[rank] = RF_TOKEN_NORMAL;
    }
    rf_tok_set_ranked(t);
    rf_vocab_add_all(&t->vocab);
    return RF_OK;
}

void rf_tok_set_ranked(struct rf_tokenizer *t)
{
    t->model = RF_TOK_SPM;
    t->byte_symbols = true;
    t->byte_level = t->ignore_merges = false;
    t->decode = RF_DECODE_CONCAT;
    for (uint32_t i = 0; i < t->vocab.n; i++) t->score[i] = -(double)i;
}

static rf_status build(struct rf_tokenizer *t, const struct rf_weights *w, const char *name, struct rf_added_list *added, struct rf_error *err)
{
    uint32_t n_rank = 0, more = added->end;
    for (const char *s = t->file.data, *end = s + t->file.len, *nl; s < end; s = nl ? nl + 1 : end, n_rank++) nl = memchr(s, '\n', (size_t)(end - s));
    const struct family *f = find_family(w, n_rank);
    if (!f)
        return rf_fail(err, RF_UNSUPPORTED, "%s: found %u ranks and no known tokenizer_class, expected a family whose pre-tokenizer is known "
                       "(a tokenizer.json says it)", name, n_rank);
    if (f->n_rank == n_rank) more = RF_MAX(more, special_end(f->special));
    RF_TRY(read_pieces(t, name, &n_rank, more, err));
    RF_TRY(f->pre ? rf_pretok_by_name(t, (struct rf_str){ f->pre, strlen(f->pre) }, err)
                  : rf_pretok_add_regex(t, f->pattern, strlen(f->pattern), RF_ISOLATED, err));
    rf_tok_set_ranked(t);
    RF_TRY(rf_added_apply(t, added, err));
    if (f->n_rank == n_rank) RF_TRY(put_special(t, f->special, err));
    t->bos = rf_tok_named(t, w, "bos_token");
    t->eos = rf_tok_named(t, w, "eos_token");
    if (t->eos < 0) t->eos = (int32_t)rf_vocab_find(&t->vocab, f->last, strlen(f->last));
    for (size_t i = 0; i < RF_COUNT(f->first) && f->first[i]; i++) {
        int32_t id = (int32_t)rf_vocab_find(&t->vocab, f->first[i], strlen(f->first[i]));
        if (id < 0) continue;
        RF_TRY(rf_tok_put_around(t, false, id, err));
        if (t->bos < 0) t->bos = id;
    }
    rf_tok_mark_eog(t, w);
    rf_tok_hide_special(t);
    RF_TRY(rf_added_sets(t, added, err));
    return rf_tok_make_bytes(t, err);
}

rf_status rf_tok_open_tiktoken(struct rf_tokenizer *t, const struct rf_weights *w, struct rf_error *err)
{
    struct rf_added_list added = { .raw = true };
    char name[256];
    rf_status st = read_ranks(&t->file, w, name, err);
    if (st) {
        rf_buf_release(&t->file);
        return st;
    }
    st = rf_added_list_folder(&added, t, w, err);
    if (!st) st = build(t, w, name, &added, err);
    rf_added_list_release(&added);
    return st;
}
