/* tokenizer.json: the vocabulary and the merges are read in one walk into flat arrays, the rest into a small tree. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "text/jsontree.h"

struct entry { struct rf_str text; double score; uint32_t id; };

struct file {
    struct rf_json j;
    uint32_t nodes_left;
    struct rf_jnode *added, *norm, *pre, *post, *decoder, *model; /* model without vocab and merges */
    struct entry *entry;
    struct rf_merge_pair *merge;
    size_t n_entry, cap_entry, n_merge, cap_merge;
    bool unigram;
};

static rf_status grow(void *list, size_t n, size_t *cap, size_t size, struct rf_error *err)
{
    if (n < *cap) return RF_OK;
    if (n >= RF_TOK_MAX_VOCAB) return rf_fail(err, RF_TOO_LARGE, "tokenizer.json: found more than %u pieces or merges", RF_TOK_MAX_VOCAB);
    size_t c = *cap ? *cap * 2 : 65536;
    void *old;
    memcpy(&old, list, sizeof old);
    void *p = rf_realloc_array(old, c, size);
    if (!p) return rf_fail_nomem(err, "tokenizer.json", c * size);
    memcpy(list, &p, sizeof p);
    *cap = c;
    return RF_OK;
}

static rf_status read_number(struct file *f, double *out)
{
    struct rf_fact v = { 0 };
    bool null;
    RF_TRY(rf_json_scalar(&f->j, &v, &null));
    if (null || (v.kind != RF_FACT_INT && v.kind != RF_FACT_FLOAT)) return rf_json_fail(&f->j, "a number");
    *out = v.f;
    return RF_OK;
}

/* {"piece": id, ...} or, for Unigram, [["piece", score], ...]. */
static rf_status read_vocab(struct file *f)
{
    enum rf_json_kind kind;
    bool more;
    rf_status st;
    RF_TRY(rf_json_peek(&f->j, &kind));
    f->unigram = kind == RF_JSON_ARRAY;
    RF_TRY(rf_json_enter(&f->j, f->unigram ? '[' : '{'));
    f->n_entry = 0;
    while (!(st = rf_json_next(&f->j, &more)) && more) {
        RF_TRY(grow(&f->entry, f->n_entry, &f->cap_entry, sizeof *f->entry, f->j.err));
        struct entry *e = &f->entry[f->n_entry];
        e->score = 0;
        e->id = (uint32_t)f->n_entry++;
        if (f->unigram) {
            RF_TRY(rf_json_enter(&f->j, '['));
            RF_TRY(rf_json_next(&f->j, &more));
            RF_TRY(rf_json_string(&f->j, &e->text));
            RF_TRY(rf_json_next(&f->j, &more));
            RF_TRY(read_number(f, &e->score));
            RF_TRY(rf_json_next(&f->j, &more));
            if (more) return rf_json_fail(&f->j, "a pair of piece and score");
        } else {
            uint64_t id;
            RF_TRY(rf_json_key(&f->j, &e->text));
            RF_TRY(rf_json_u64(&f->j, "token id", &id));
            if (id >= RF_TOK_MAX_VOCAB) return rf_json_fail(&f->j, "a token id below 16777216");
            e->id = (uint32_t)id;
        }
    }
    return st;
}

/* ["a b", ...] or [["a", "b"], ...] */
static rf_status read_merges(struct file *f)
{
    enum rf_json_kind kind;
    bool more;
    rf_status st;
    RF_TRY(rf_json_enter(&f->j, '['));
    f->n_merge = 0;
    while (!(st = rf_json_next(&f->j, &more)) && more) {
        RF_TRY(grow(&f->merge, f->n_merge, &f->cap_merge, sizeof *f->merge, f->j.err));
        struct rf_merge_pair *m = &f->merge[f->n_merge++];
        *m = (struct rf_merge_pair){ { "", 0 }, { "", 0 } };
        RF_TRY(rf_json_peek(&f->j, &kind));
        if (kind == RF_JSON_ARRAY) {
            RF_TRY(rf_json_enter(&f->j, '['));
            RF_TRY(rf_json_next(&f->j, &more));
            RF_TRY(rf_json_string(&f->j, &m->left));
            RF_TRY(rf_json_next(&f->j, &more));
            RF_TRY(rf_json_string(&f->j, &m->right));
            RF_TRY(rf_json_next(&f->j, &more));
            if (more) return rf_json_fail(&f->j, "a pair of pieces");
            continue;
        }
        RF_TRY(rf_json_string(&f->j, &m->left));
        const char *gap = m->left.n ? memchr(m->left.s, ' ', m->left.n) : NULL;
        if (!gap) return rf_json_fail(&f->j, "a merge of two pieces");
        m->right = (struct rf_str){ gap + 1, (size_t)(m->left.s + m->left.n - gap - 1) };
        m->left.n = (size_t)(gap - m->left.s);
    }
    return st;
}

static rf_status read_model(struct file *f)
{
    bool more;
    rf_status st;
    struct rf_jnode *n = rf_arena_alloc(f->j.arena, sizeof *n);
    if (!n) return rf_fail_nomem(f->j.err, "tokenizer.json", sizeof *n);
    n->kind = RF_JSON_OBJECT;
    struct rf_jnode **tail = &n->child;
    f->model = n;
    RF_TRY(rf_json_enter(&f->j, '{'));
    while (!(st = rf_json_next(&f->j, &more)) && more) {
        struct rf_str key;
        RF_TRY(rf_json_key(&f->j, &key));
        if (rf_str_is(key, "vocab")) RF_TRY(read_vocab(f));
        else if (rf_str_is(key, "merges")) RF_TRY(read_merges(f));
        else {
            RF_TRY(rf_jtree_read(&f->j, &f->nodes_left, tail));
            (*tail)->key = key;
            tail = &(*tail)->next;
        }
    }
    return st;
}

static rf_status read_file(struct file *f)
{
    bool more;
    rf_status st;
    RF_TRY(rf_json_enter(&f->j, '{'));
    while (!(st = rf_json_next(&f->j, &more)) && more) {
        struct rf_str key;
        struct { const char *name; struct rf_jnode **to; } parts[] = {
            { "added_tokens", &f->added }, { "normalizer", &f->norm }, { "pre_tokenizer", &f->pre },
            { "post_processor", &f->post }, { "decoder", &f->decoder },
        };
        bool known = false;
        RF_TRY(rf_json_key(&f->j, &key));
        for (size_t i = 0; i < RF_COUNT(parts) && !known; i++)
            if (rf_str_is(key, parts[i].name)) {
                RF_TRY(rf_jtree_read(&f->j, &f->nodes_left, parts[i].to));
                known = true;
            }
        if (!known && rf_str_is(key, "model")) RF_TRY(read_model(f));
        else if (!known) RF_TRY(rf_json_skip(&f->j));
    }
    RF_TRY(st);
    RF_TRY(rf_json_end(&f->j));
    if (!f->model || !f->n_entry) return rf_fail(f->j.err, RF_CORRUPT, "tokenizer.json: found no model.vocab, expected one");
    return RF_OK;
}

/* ---- into the tokenizer ---- */

static rf_status set_vocab(struct rf_tokenizer *t, struct file *f, struct rf_error *err)
{
    uint64_t n = 0;
    for (size_t i = 0; i < f->n_entry; i++) n = RF_MAX(n, f->entry[i].id + 1ull);
    size_t n_added = 0;
    for (struct rf_jnode *a = f->added ? f->added->child : NULL; a; a = a->next, n_added++) {
        int64_t id = rf_jtree_int(a, "id", -1);
        if (id < 0 || id >= RF_TOK_MAX_VOCAB) return rf_fail(err, RF_CORRUPT, "tokenizer.json: added_tokens: found id %lld, expected 0..16777215", (long long)id);
        n = RF_MAX(n, (uint64_t)id + 1);
    }
    if (n > 4 * (f->n_entry + n_added) + 65536)
        return rf_fail(err, RF_CORRUPT, "tokenizer.json: found token id %llu among %zu tokens", (unsigned long long)n - 1, f->n_entry + n_added);
    RF_TRY(rf_vocab_init(&t->vocab, (uint32_t)n, err));
    t->attr = rf_alloc_array(n, 1);
    t->eog = rf_alloc_array(n, 1);
    if (f->unigram) t->score = rf_alloc_array(n, sizeof *t->score);
    if (!t->attr || !t->eog || (f->unigram && !t->score)) return rf_fail_nomem(err, "vocabulary", n * 10);
    memset(t->attr, RF_TOKEN_UNUSED, n);
    for (size_t i = 0; i < f->n_entry; i++) {
        const struct entry *e = &f->entry[i];
        t->vocab.piece[e->id] = e->text;
        t->attr[e->id] = RF_TOKEN_NORMAL;
        if (f->unigram) t->score[e->id] = isnan(e->score) ? -1e30 : e->score;
    }
    rf_vocab_add_all(&t->vocab);
    return RF_OK;
}

static bool get_merge(const void *list, size_t i, struct rf_merge_pair *out)
{
    *out = ((const struct rf_merge_pair *)list)[i];
    return true;
}

static rf_status set_model(struct rf_tokenizer *t, const struct file *f, struct rf_error *err)
{
    const struct rf_jnode *m = f->model;
    struct rf_str type = rf_jtree_str(m, "type"), unk = rf_jtree_str(m, "unk_token");
    if (unk.n) t->unk = rf_vocab_find(&t->vocab, unk.s, unk.n);
    t->byte_fallback = rf_jtree_bool(m, "byte_fallback", false);
    t->fuse_unk = rf_jtree_bool(m, "fuse_unk", false);
    t->word_prefix = rf_jtree_str(m, "continuing_subword_prefix");
    t->word_suffix = rf_jtree_str(m, "end_of_word_suffix");
    if (rf_str_is(type, "BPE") || (!type.n && f->n_merge)) {
        t->model = RF_TOK_BPE;
        t->ignore_merges = rf_jtree_bool(m, "ignore_merges", false);
        return rf_merges_load(t, f->merge, f->n_merge, true, get_merge, err);
    }
    if (rf_str_is(type, "Unigram") || (!type.n && f->unigram)) {
        t->model = RF_TOK_UNIGRAM;
        t->fuse_unk = true;
        int64_t id = rf_jtree_int(m, "unk_id", -1);
        t->unk = id >= 0 && id < t->vocab.n ? (uint32_t)id : RF_TOK_NONE;
        if (!f->unigram) return rf_fail(err, RF_CORRUPT, "tokenizer.json: found Unigram without scores");
        return rf_unigram_prepare(t, err);
    }
    if (rf_str_is(type, "WordPiece") || (!type.n && rf_jtree_get(m, "max_input_chars_per_word"))) {
        int64_t max = rf_jtree_int(m, "max_input_chars_per_word", 100);
        t->model = RF_TOK_WORDPIECE;
        t->max_word_chars = (uint32_t)RF_MIN(RF_MAX(max, 0), 4096);
        return RF_OK;
    }
    t->model = RF_TOK_WORDLEVEL;
    return rf_str_is(type, "WordLevel") || !type.n ? RF_OK
           : rf_fail(err, RF_UNSUPPORTED, "tokenizer.json: model: found type \"%.*s\", expected BPE, Unigram, WordPiece or WordLevel", (int)RF_MIN(type.n, (size_t)60), type.s);
}

/* Ids and attributes first: the normalizer and the merges need none of them, the post-processor does. */
static rf_status set_added_pieces(struct rf_tokenizer *t, const struct file *f)
{
    for (struct rf_jnode *a = f->added ? f->added->child : NULL; a; a = a->next) {
        uint32_t id = (uint32_t)rf_jtree_int(a, "id", 0);
        struct rf_str text = rf_jtree_str(a, "content");
        if (!t->vocab.piece[id].n && text.n) {
            t->vocab.piece[id] = text;
            rf_vocab_add(&t->vocab, id);
        }
        t->attr[id] = rf_jtree_bool(a, "special", false) || rf_tok_looks_special(text) ? RF_TOKEN_CONTROL : RF_TOKEN_USER;
    }
    return RF_OK;
}

/* A token that wants to be found in normalized text is looked for in its own normalized spelling, as there. Special ones
 * are always looked for in the raw text, where trusted spans have meaning. */
static rf_status set_added_sets(struct rf_tokenizer *t, const struct file *f, struct rf_error *err)
{
    uint32_t n = 0, n_raw = 0, n_norm = 0;
    for (struct rf_jnode *a = f->added ? f->added->child : NULL; a; a = a->next) n++;
    struct rf_added *raw = rf_alloc_array(n, sizeof *raw), *norm = rf_alloc_array(n, sizeof *norm);
    rf_status st = raw && norm ? RF_OK : rf_fail_nomem(err, "added_tokens", n * sizeof *raw);
    struct rf_tok_call c = { .t = t, .err = err };
    for (struct rf_jnode *a = f->added ? f->added->child : NULL; a && !st; a = a->next) {
        uint32_t id = (uint32_t)rf_jtree_int(a, "id", 0), flags = 0;
        struct rf_str text = rf_jtree_str(a, "content");
        if (rf_jtree_bool(a, "lstrip", false)) flags |= RF_ADDED_LSTRIP;
        if (rf_jtree_bool(a, "rstrip", false)) flags |= RF_ADDED_RSTRIP;
        if (rf_jtree_bool(a, "single_word", false)) flags |= RF_ADDED_SINGLE_WORD;
        bool special = t->attr[id] == RF_TOKEN_CONTROL;
        if (special) flags |= RF_ADDED_SPECIAL;
        if (special || !t->n_norm || !rf_jtree_bool(a, "normalized", true)) {
            raw[n_raw++] = (struct rf_added){ text, id, flags };
        } else {
            c.arena = t->arena;
            st = rf_norm_run(&c, text.s, text.n, &text);
            t->arena = c.arena;
            norm[n_norm++] = (struct rf_added){ text, id, flags };
        }
    }
    if (st) {
        rf_free(raw);
        rf_free(norm);
        return st;
    }
    rf_added_build(&t->added, raw, n_raw);
    rf_added_build(&t->added_norm, norm, n_norm);
    return RF_OK;
}

/* bos_token and eos_token of tokenizer_config.json (text, or an object with content), else ids of config.json. */
static int32_t named_token(const struct rf_tokenizer *t, const struct rf_weights *w, const char *name)
{
    char key[80];
    for (int i = 0; i < 2; i++) {
        snprintf(key, sizeof key, i ? "tokenizer_config.%s.content" : "tokenizer_config.%s", name);
        const struct rf_fact *f = rf_weights_fact(w, key);
        uint32_t id = f && f->kind == RF_FACT_STRING ? rf_vocab_find(&t->vocab, f->str.s, f->str.n) : RF_TOK_NONE;
        if (id != RF_TOK_NONE) return (int32_t)id;
    }
    for (int i = 0; i < 2; i++) {
        snprintf(key, sizeof key, i ? "%s_id" : "generation_config.%s_id", name);
        const struct rf_fact *f = rf_weights_fact(w, key);
        int64_t id = -1;
        if (f && f->kind == RF_FACT_INT) id = f->i;
        else if (f && f->kind == RF_FACT_ARRAY) rf_fact_item_int(f, 0, &id);
        if (id >= 0 && id < t->vocab.n) return (int32_t)id;
    }
    return -1;
}

static rf_status build(struct rf_tokenizer *t, struct file *f, const struct rf_weights *w, struct rf_error *err)
{
    RF_TRY(set_vocab(t, f, err));
    RF_TRY(rf_json_normalizer(t, f->norm, err));
    RF_TRY(rf_json_pretokenizer(t, f->pre, err));
    RF_TRY(set_model(t, f, err));
    RF_TRY(rf_json_decoder(t, f->decoder, err));
    RF_TRY(set_added_pieces(t, f));
    RF_TRY(rf_json_postprocessor(t, f->post, err));
    RF_TRY(set_added_sets(t, f, err));
    if (t->unk != RF_TOK_NONE && t->attr[t->unk] == RF_TOKEN_NORMAL) t->attr[t->unk] = RF_TOKEN_UNKNOWN;
    t->bos = named_token(t, w, "bos_token");
    t->eos = named_token(t, w, "eos_token");
    rf_tok_mark_eog(t, w);
    rf_tok_find_byte_ids(t);
    if (t->model == RF_TOK_BPE && !t->byte_level && !t->ignore_merges) RF_TRY(rf_spm_prepare(t, err));
    return rf_tok_make_bytes(t, err);
}

rf_status rf_tok_open_json(struct rf_tokenizer *t, const struct rf_weights *w, struct rf_error *err)
{
    RF_TRY(rf_weights_read_side_file(w, "tokenizer.json", &t->file, err));
    struct file *f = rf_alloc_array(1, sizeof *f);
    if (!f) return rf_fail_nomem(err, "tokenizer.json", sizeof *f);
    f->j = (struct rf_json){ .s = rf_buf_str(&t->file), .n = t->file.len, .name = "tokenizer.json", .arena = &t->arena, .err = err };
    f->nodes_left = 1u << 20;
    rf_status st = read_file(f);
    if (!st) st = build(t, f, w, err);
    rf_free(f->entry);
    rf_free(f->merge);
    rf_free(f);
    return st;
}
