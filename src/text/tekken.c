/* tekken.json (Mistral): byte-level BPE where a pair merges if its bytes are a token, lower rank first. The pieces are raw
 * bytes, so this is the merge loop of SentencePiece with score = -rank over bytes instead of characters.
 *
 * { "config": { "pattern", "default_vocab_size", "default_num_special_tokens" },
 *   "vocab": [ { "rank", "token_bytes" (base64) } ... ], "special_tokens": [ { "rank", "token_str" } ... ] or absent }
 * Ids: special tokens first, then the vocabulary by rank.
 */
#include <stdio.h>
#include <string.h>

#include "text/hfadded.h"

static const char *const default_special[] = {
    "<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]",
    "[TOOL_CALLS]", "<pad>", "[PREFIX]", "[MIDDLE]", "[SUFFIX]",
};

struct tekken { struct rf_jnode *config, *special; struct rf_str *piece; size_t n, cap; };

/* One { "rank", "token_bytes", ... }. */
static rf_status read_token(struct rf_json *j, struct tekken *k)
{
    bool more;
    rf_status st;
    uint64_t rank = UINT64_MAX;
    struct rf_str b64 = { "", 0 }, key;
    RF_TRY(rf_json_enter(j, '{'));
    while (!(st = rf_json_next(j, &more)) && more) {
        struct rf_json_value skip;
        RF_TRY(rf_json_key(j, &key));
        if (rf_str_is(key, "rank")) RF_TRY(rf_json_u64(j, "rank", &rank));
        else if (rf_str_is(key, "token_bytes")) RF_TRY(rf_json_string(j, &b64));
        else RF_TRY(rf_json_scalar(j, &skip));
    }
    RF_TRY(st);
    if (rank >= RF_TOK_MAX_VOCAB) return rf_json_fail(j, "a rank below 16777216");
    if (rank >= k->cap) {
        size_t cap = RF_MAX(RF_MAX(k->cap * 2, (size_t)rank + 1), (size_t)65536);
        struct rf_str *p = rf_realloc_array(k->piece, cap, sizeof *p);
        if (!p) return rf_fail_nomem(j->err, "vocabulary", cap * sizeof *p);
        memset(p + k->cap, 0, (cap - k->cap) * sizeof *p);
        k->piece = p;
        k->cap = cap;
    }
    k->n = RF_MAX(k->n, (size_t)rank + 1);
    return rf_tok_base64(j->arena, b64, &k->piece[rank], j->err);
}

static rf_status read_file(struct rf_json *j, struct tekken *k)
{
    bool more, inner;
    rf_status st;
    uint32_t left = 1u << 18;
    RF_TRY(rf_json_enter(j, '{'));
    while (!(st = rf_json_next(j, &more)) && more) {
        struct rf_str key;
        RF_TRY(rf_json_key(j, &key));
        if (rf_str_is(key, "config")) RF_TRY(rf_jtree_read(j, &left, &k->config));
        else if (rf_str_is(key, "special_tokens")) RF_TRY(rf_jtree_read(j, &left, &k->special));
        else if (!rf_str_is(key, "vocab")) RF_TRY(rf_json_skip(j));
        else {
            RF_TRY(rf_json_enter(j, '['));
            while (!(st = rf_json_next(j, &inner)) && inner) RF_TRY(read_token(j, k));
            RF_TRY(st);
        }
    }
    RF_TRY(st);
    return rf_json_end(j);
}

static rf_status set_special(struct rf_tokenizer *t, const struct tekken *k, uint32_t n_special, struct rf_error *err)
{
    for (uint32_t i = 0; i < n_special; i++) {
        char name[32];
        t->attr[i] = RF_TOKEN_CONTROL;
        if (i < RF_COUNT(default_special)) snprintf(name, sizeof name, "%s", default_special[i]);
        else snprintf(name, sizeof name, "<SPECIAL_%u>", i);
        t->vocab.piece[i].n = strlen(name);
        t->vocab.piece[i].s = rf_arena_strndup(&t->arena, name, strlen(name));
        if (!t->vocab.piece[i].s) return rf_fail_nomem(err, "special tokens", sizeof name);
    }
    for (const struct rf_jnode *c = k->special ? k->special->child : NULL; c; c = c->next) {
        int64_t rank = rf_jtree_int(c, "rank", -1);
        struct rf_str text = rf_jtree_str(c, "token_str");
        if (rank >= 0 && rank < n_special && text.n) t->vocab.piece[rank] = text;
    }
    return RF_OK;
}

static rf_status build(struct rf_tokenizer *t, const struct tekken *k, const struct rf_weights *w, struct rf_error *err)
{
    static const struct rf_added_list none; /* the attributes say it all */
    struct rf_str pattern = rf_jtree_str(k->config, "pattern");
    int64_t n_special = rf_jtree_int(k->config, "default_num_special_tokens", 0);
    int64_t n = rf_jtree_int(k->config, "default_vocab_size", n_special + (int64_t)k->n);
    if (!pattern.n || !k->n || n_special < 0 || n <= n_special || n - n_special > (int64_t)k->n)
        return rf_fail(err, RF_CORRUPT, "tekken.json: found %lld of %zu tokens behind %lld special ones, expected a pattern and enough tokens",
                       (long long)(n - n_special), k->n, (long long)n_special);
    RF_TRY(rf_vocab_init(&t->vocab, (uint32_t)n, err));
    t->attr = rf_alloc_array((size_t)n, 1);
    t->eog = rf_alloc_array((size_t)n, 1);
    t->score = rf_alloc_array((size_t)n, sizeof *t->score);
    t->prefix_ids = rf_alloc_array(1, sizeof *t->prefix_ids);
    if (!t->attr || !t->eog || !t->score || !t->prefix_ids) return rf_fail_nomem(err, "vocabulary", (size_t)n * sizeof *t->score);
    RF_TRY(set_special(t, k, (uint32_t)n_special, err));
    for (int64_t i = n_special; i < n; i++) {
        t->vocab.piece[i] = k->piece[i - n_special];
        t->score[i] = (double)-(i - n_special);
    }
    rf_vocab_add_all(&t->vocab);
    t->model = RF_TOK_SPM;
    t->byte_symbols = true;
    t->bos = (int32_t)rf_vocab_find(&t->vocab, "<s>", 3);
    t->eos = (int32_t)rf_vocab_find(&t->vocab, "</s>", 4);
    if (t->bos >= 0) t->prefix_ids[t->n_prefix++] = (uint32_t)t->bos;
    RF_TRY(rf_pretok_add_regex(t, pattern.s, pattern.n, RF_ISOLATED, err));
    rf_tok_mark_eog(t, w);
    rf_tok_hide_special(t);
    RF_TRY(rf_added_sets(t, &none, err));
    return rf_tok_make_bytes(t, err);
}

rf_status rf_tok_open_tekken(struct rf_tokenizer *t, const struct rf_weights *w, struct rf_error *err)
{
    RF_TRY(rf_weights_read_side_file(w, "tekken.json", &t->file, err));
    struct rf_json *j = rf_alloc_array(1, sizeof *j);
    struct tekken k = { 0 };
    if (!j) return rf_fail_nomem(err, "tekken.json", sizeof *j);
    *j = (struct rf_json){ .s = rf_buf_str(&t->file), .n = t->file.len, .name = "tekken.json", .arena = &t->arena, .err = err };
    rf_status st = read_file(j, &k);
    if (!st) st = build(t, &k, w, err);
    rf_free(k.piece);
    rf_free(j);
    return st;
}
