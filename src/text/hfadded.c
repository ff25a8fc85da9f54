/* Added tokens of Hugging Face folders: tokenizer.json's list, tokenizer_config.json's added_tokens_decoder, added_tokens.json. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/hfadded.h"

static rf_status list_add(struct rf_added_list *l, struct rf_added a, const char *file, struct rf_error *err)
{
    if (a.id >= RF_TOK_MAX_VOCAB) return rf_fail(err, RF_CORRUPT, "%s: added tokens: found an id that is no number in 0..16777215", file);
    if (l->n == l->cap) {
        uint32_t cap = l->cap ? 2 * l->cap : 64;
        struct rf_added *p = rf_realloc_array(l->tok, cap, sizeof *p);
        if (!p) return rf_fail_nomem(err, file, cap * sizeof *p);
        l->tok = p;
        l->cap = cap;
    }
    l->tok[l->n++] = a;
    l->end = RF_MAX(l->end, a.id + 1);
    return RF_OK;
}

void rf_added_list_release(struct rf_added_list *l)
{
    rf_free(l->tok);
    memset(l, 0, sizeof *l);
}

static struct rf_added added_of(const struct rf_jnode *n, int64_t id)
{
    static const struct { const char *key; bool fallback; uint32_t flag; } rows[] = {
        { "lstrip", false, RF_ADDED_LSTRIP }, { "rstrip", false, RF_ADDED_RSTRIP }, { "single_word", false, RF_ADDED_SINGLE_WORD },
        { "normalized", true, RF_ADDED_NORMALIZED }, { "special", false, RF_ADDED_SPECIAL },
    };
    struct rf_added a = { .text = rf_jtree_str(n, "content"), .id = id >= 0 && id < RF_TOK_MAX_VOCAB ? (uint32_t)id : RF_TOK_NONE };
    for (size_t i = 0; i < RF_COUNT(rows); i++)
        if (rf_jtree_bool(n, rows[i].key, rows[i].fallback)) a.flags |= rows[i].flag;
    return a;
}

rf_status rf_added_list_json(struct rf_added_list *l, const struct rf_jnode *array, struct rf_error *err)
{
    for (const struct rf_jnode *n = array ? array->child : NULL; n; n = n->next)
        RF_TRY(list_add(l, added_of(n, rf_jtree_int(n, "id", -1)), "tokenizer.json", err));
    return RF_OK;
}

/* A whole file as a tree whose strings live as long as the tokenizer; *out is NULL where there is none. */
static rf_status read_tree(struct rf_tokenizer *t, const struct rf_weights *w, const char *name, struct rf_jnode **out, struct rf_error *err)
{
    struct rf_buf file = { 0 };
    struct rf_error none = { 0 };
    uint32_t left = 1u << 20;
    *out = NULL;
    rf_status st = rf_weights_read_side_file(w, name, &file, &none);
    if (st) {
        if (st != RF_NOT_FOUND && err) *err = none;
        return st == RF_NOT_FOUND ? RF_OK : st;
    }
    const char *text = rf_arena_strndup(&t->arena, rf_buf_str(&file), file.len);
    struct rf_json *j = rf_alloc_array(1, sizeof *j);
    if (!text || !j) st = rf_fail_nomem(err, name, file.len);
    if (!st) {
        *j = (struct rf_json){ .s = text, .n = file.len, .name = name, .arena = &t->arena, .err = err, .python = true };
        st = rf_jtree_read(j, &left, out);
    }
    if (!st) st = rf_json_end(j);
    rf_free(j);
    rf_buf_release(&file);
    return st;
}

rf_status rf_added_list_folder(struct rf_added_list *l, struct rf_tokenizer *t, const struct rf_weights *w, struct rf_error *err)
{
    struct rf_jnode *config, *added;
    RF_TRY(read_tree(t, w, "tokenizer_config.json", &config, err));
    const struct rf_jnode *decoder = rf_jtree_get(config, "added_tokens_decoder");
    for (const struct rf_jnode *n = decoder ? decoder->child : NULL; n; n = n->next) {
        char digits[12], *end;
        if (!n->key.n || n->key.n >= sizeof digits) continue;
        memcpy(digits, n->key.s, n->key.n);
        digits[n->key.n] = 0;
        long id = strtol(digits, &end, 10);
        RF_TRY(list_add(l, added_of(n, *end ? -1 : id), "tokenizer_config.json", err));
    }
    if (l->n) return RF_OK;
    RF_TRY(read_tree(t, w, "added_tokens.json", &added, err)); /* the older file: {"text": id} */
    for (const struct rf_jnode *n = added ? added->child : NULL; n; n = n->next) {
        bool ok = n->kind == RF_JSON_NUMBER && n->num >= 0 && n->num < RF_TOK_MAX_VOCAB;
        RF_TRY(list_add(l, (struct rf_added){ .text = n->key, .id = ok ? (uint32_t)n->num : RF_TOK_NONE }, "added_tokens.json", err));
    }
    return RF_OK;
}

rf_status rf_added_apply(struct rf_tokenizer *t, const struct rf_added_list *l, struct rf_error *err)
{
    t->outside = rf_alloc_array(t->vocab.n, 1);
    if (!t->outside) return rf_fail_nomem(err, "added tokens", t->vocab.n);
    for (uint32_t i = 0; i < l->n; i++) {
        const struct rf_added *a = &l->tok[i];
        if (!t->vocab.piece[a->id].n && a->text.n) {
            t->vocab.piece[a->id] = a->text;
            t->outside[a->id] = 1;
            rf_vocab_add(&t->vocab, a->id);
        }
        t->attr[a->id] = a->flags & RF_ADDED_SPECIAL || rf_tok_looks_special(a->text) ? RF_TOKEN_CONTROL : RF_TOKEN_USER;
    }
    return RF_OK;
}

rf_status rf_added_sets(struct rf_tokenizer *t, const struct rf_added_list *l, struct rf_error *err)
{
    uint32_t n_raw = 0, n_norm = 0, n_plain = 0, n_more = 0;
    uint8_t *listed = rf_alloc_array(t->vocab.n, 1);
    if (!listed) return rf_fail_nomem(err, "added tokens", t->vocab.n);
    for (uint32_t i = 0; i < l->n; i++) listed[l->tok[i].id] = 1;
    for (uint32_t i = 0; i < t->keep.n; i++) /* found in normalized text, by the model */
        listed[t->keep.tok[i].id] = 1;
    for (uint32_t i = 0; i < t->vocab.n && !l->alone; i++)
        n_more += !listed[i] && (t->attr[i] == RF_TOKEN_CONTROL || t->attr[i] == RF_TOKEN_USER || t->attr[i] == RF_TOKEN_UNKNOWN);
    struct rf_added *raw = rf_alloc_array(l->n + n_more, sizeof *raw), *norm = rf_alloc_array(l->n, sizeof *norm);
    struct rf_added *plain = rf_alloc_array(l->n + n_more, sizeof *plain);
    rf_status st = raw && norm && plain ? RF_OK : rf_fail_nomem(err, "added tokens", (l->n + n_more) * sizeof *raw);
    struct rf_tok_call c = { .t = t, .err = err };
    for (uint32_t i = 0; i < l->n && !st; i++) {
        struct rf_added a = l->tok[i];
        bool special = t->attr[a.id] == RF_TOKEN_CONTROL, late = !l->raw && a.flags & RF_ADDED_NORMALIZED;
        if (special) a.flags |= RF_ADDED_SPECIAL;
        if (special || !late) raw[n_raw++] = a;
        if (!late) plain[n_plain++] = a;
        if (!late) continue;
        t->late_special |= special;
        c.arena = t->arena;
        st = rf_norm_run(&c, a.text.s, a.text.n, &a.text);
        t->arena = c.arena;
        norm[n_norm++] = a;
    }
    for (uint32_t i = 0; i < t->vocab.n && n_more && !st; i++) {
        if (listed[i] || (t->attr[i] != RF_TOKEN_CONTROL && t->attr[i] != RF_TOKEN_USER && t->attr[i] != RF_TOKEN_UNKNOWN)) continue;
        struct rf_added a = { t->vocab.piece[i], i, t->attr[i] == RF_TOKEN_USER ? 0 : RF_ADDED_SPECIAL };
        raw[n_raw++] = plain[n_plain++] = a;
    }
    rf_free(listed);
    if (st) {
        rf_free(raw);
        rf_free(norm);
        rf_free(plain);
        return st;
    }
    rf_added_build(&t->added, raw, n_raw);
    rf_added_build(&t->added_norm, norm, n_norm);
    if (t->late_special) rf_added_build(&t->added_plain, plain, n_plain);
    else rf_free(plain);
    return RF_OK;
}

int32_t rf_tok_named(const struct rf_tokenizer *t, const struct rf_weights *w, const char *name)
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

bool rf_tok_config_bool(const struct rf_weights *w, const char *name, bool fallback)
{
    char key[80];
    snprintf(key, sizeof key, "tokenizer_config.%s", name);
    const struct rf_fact *f = rf_weights_fact(w, key);
    return f && f->kind == RF_FACT_BOOL ? f->i != 0 : fallback;
}

bool rf_tok_class_is(const struct rf_weights *w, const char *name)
{
    const struct rf_fact *f = rf_weights_fact(w, "tokenizer_config.tokenizer_class");
    size_t n = strlen(name);
    if (!f || f->kind != RF_FACT_STRING || f->str.n < n || memcmp(f->str.s, name, n)) return false;
    return f->str.n == n || (f->str.n == n + 4 && !memcmp(f->str.s + n, "Fast", 4));
}

rf_status rf_tok_alloc(struct rf_tokenizer *t, uint64_t n, bool scores, struct rf_error *err)
{
    if (n > RF_TOK_MAX_VOCAB) return rf_fail(err, RF_TOO_LARGE, "vocabulary: found %llu pieces, expected at most %u", (unsigned long long)n, RF_TOK_MAX_VOCAB);
    RF_TRY(rf_vocab_init(&t->vocab, (uint32_t)n, err));
    t->attr = rf_alloc_array(n, 1);
    t->eog = rf_alloc_array(n, 1);
    t->score = scores ? rf_alloc_array(n, sizeof *t->score) : NULL;
    if (!t->attr || !t->eog || (scores && !t->score)) return rf_fail_nomem(err, "vocabulary", n * 10);
    memset(t->attr, RF_TOKEN_UNUSED, n);
    return RF_OK;
}

rf_status rf_tok_put_around(struct rf_tokenizer *t, bool behind, int64_t id, struct rf_error *err)
{
    uint32_t **list = behind ? &t->suffix_ids : &t->prefix_ids, *n = behind ? &t->n_suffix : &t->n_prefix;
    if (id < 0 || id >= t->vocab.n || *n == 64)
        return rf_fail(err, RF_CORRUPT, "tokenizer: around the text: found token %lld, expected at most 64 of the vocabulary", (long long)id);
    if (!*list) *list = rf_alloc_array(64, sizeof **list);
    if (!*list) return rf_fail_nomem(err, "tokenizer", 64 * sizeof **list);
    (*list)[(*n)++] = (uint32_t)id;
    return RF_OK;
}
