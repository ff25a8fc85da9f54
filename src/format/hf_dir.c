/* hf_dir.c - the configuration files of a Hugging Face folder as facts.
 *
 * Objects are flattened with dots, null is absence, an array is one fact. No key stands twice in an object. Both
 * spellings of a configuration (rope_theta + rope_scaling; rope_parameters, layer_types, dtype) just come through: the
 * arch room reads them.
 */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/json.h"
#include "format/weights_priv.h"

enum { MAX_CONFIG = 16 << 20, MAX_KEY = 1024, MAX_NESTING = 24, MAX_ITEMS = 1 << 16, LONG_TOKENS = 64 << 10 };

struct flat { /* one file being flattened */
    struct rf_json j;
    struct rf_weights *w;
    struct rf_map seen;       /* every key met, also those without a value */
    char key[MAX_KEY];        /* the dotted key being read */
    size_t n_items;           /* array items so far */
};

static rf_status flatten(struct flat *x, size_t len, unsigned nesting, struct rf_fact *f);

/* Appends a part to the key; *len is its new length. */
static rf_status extend(struct flat *x, size_t *len, struct rf_str part)
{
    bool dot = *len && x->key[*len - 1] != '.';
    if (part.n >= MAX_KEY || *len + part.n + 1 >= MAX_KEY)
        return rf_fail(x->j.err, RF_TOO_LARGE, "%s: a key at byte %zu is longer than %d bytes", x->j.name, x->j.pos,
                       MAX_KEY);
    if (dot) x->key[(*len)++] = '.';
    memcpy(x->key + *len, part.s, part.n);
    *len += part.n;
    return RF_OK;
}

/* The key so far as a string that lives as long as the facts; refused if met before. */
static rf_status take_key(struct flat *x, size_t len, struct rf_str *out)
{
    struct rf_quoted q;
    uint32_t old;
    char *p = rf_arena_strndup(&x->w->arena, x->key, len);
    if (!p) return rf_arena_fail(&x->w->arena, x->j.err, x->j.name, len);
    if (rf_map_set(&x->seen, p, len, 0, &old)) return rf_fail_nomem(x->j.err, x->j.name, len);
    *out = (struct rf_str){p, len};
    if (old != RF_MAP_NONE)
        return rf_fail(x->j.err, RF_CORRUPT, "%s: key \"%s\" stands twice, at byte %zu", x->j.name,
                       rf_format_quote(&q, *out), x->j.pos);
    if (x->seen.n > RF_FORMAT_MAX_FACT)
        return rf_fail(x->j.err, RF_TOO_LARGE, "%s: more than %d keys", x->j.name, RF_FORMAT_MAX_FACT);
    return RF_OK;
}

static rf_status object(struct flat *x, size_t len, unsigned nesting)
{
    RF_TRY(rf_json_enter(&x->j, '{'));
    for (;;) {
        struct rf_str part, key;
        size_t n = len;
        bool more;
        RF_TRY(rf_json_next(&x->j, &more));
        if (!more) return RF_OK;
        RF_TRY(rf_json_key(&x->j, &part));
        RF_TRY(extend(x, &n, part));
        RF_TRY(take_key(x, n, &key));
        if (key.n == 37 && !memcmp(key.s, "tokenizer_config.added_tokens_decoder", 37)) {
            struct rf_json ahead = x->j; /* measured first: it may list every token of the vocabulary */
            RF_TRY(rf_json_skip(&ahead));
            if (ahead.pos - x->j.pos > LONG_TOKENS) {
                x->j = ahead;
                continue;
            }
        }
        struct rf_fact f = {.key = key};
        RF_TRY(flatten(x, n, nesting + 1, &f));
    }
}

/* What kind an array's items share; INT and FLOAT together are FLOAT. */
static enum rf_fact_kind join(enum rf_fact_kind a, enum rf_fact_kind b)
{
    bool numbers = (a == RF_FACT_INT || a == RF_FACT_FLOAT) && (b == RF_FACT_INT || b == RF_FACT_FLOAT);
    return a == b ? a : numbers ? RF_FACT_FLOAT : RF_FACT_ARRAY;
}

/* A plain value into the fact; *null: it is none. */
static rf_status scalar(struct rf_json *j, struct rf_fact *f, bool *null)
{
    struct rf_json_value v;
    RF_TRY(rf_json_scalar(j, &v));
    *null = v.kind == RF_JSON_NULL;
    f->kind = v.kind == RF_JSON_BOOL ? RF_FACT_BOOL : v.kind == RF_JSON_STRING ? RF_FACT_STRING : v.fits ? RF_FACT_INT : RF_FACT_FLOAT;
    f->i = v.i;
    f->f = v.f;
    if (v.kind == RF_JSON_STRING) f->str = v.str;
    return RF_OK;
}

static rf_status items(struct flat *x, size_t len, unsigned nesting, struct rf_fact **list, size_t *n)
{
    size_t cap = 0;
    RF_TRY(rf_json_enter(&x->j, '['));
    for (;;) {
        bool more, null = false;
        enum rf_json_kind kind;
        RF_TRY(rf_json_next(&x->j, &more));
        if (!more) return RF_OK;
        if (x->n_items++ >= MAX_ITEMS)
            return rf_fail(x->j.err, RF_TOO_LARGE, "%s: more than %d array items, at byte %zu", x->j.name, MAX_ITEMS,
                           x->j.pos);
        if (*n == cap) {
            cap = cap ? 2 * cap : 8;
            struct rf_fact *p = rf_realloc_array(*list, cap, sizeof *p);
            if (!p) return rf_fail_nomem(x->j.err, x->j.name, cap * sizeof *p);
            *list = p;
        }
        struct rf_fact *f = &(*list)[*n];
        *f = (struct rf_fact){.kind = RF_FACT_ARRAY};
        RF_TRY(rf_json_peek(&x->j, &kind));
        if (kind == RF_JSON_ARRAY || kind == RF_JSON_OBJECT) {
            char no[24];
            struct rf_str part = {no, (size_t)snprintf(no, sizeof no, "%zu", *n)};
            size_t k = len;
            struct rf_fact inner = {0};
            RF_TRY(extend(x, &k, part));
            RF_TRY(take_key(x, k, &inner.key));
            RF_TRY(flatten(x, k, nesting + 1, &inner));
        } else {
            RF_TRY(scalar(&x->j, f, &null));
            if (null) f->kind = RF_FACT_ARRAY;
        }
        ++*n;
    }
}

static rf_status array(struct flat *x, size_t len, unsigned nesting, struct rf_fact *f)
{
    struct rf_fact *list = NULL, *keep;
    size_t n = 0;
    rf_status s = items(x, len, nesting, &list, &n);
    if (!s) {
        keep = rf_arena_array(&x->w->arena, n, sizeof *keep);
        if (!keep) s = rf_arena_fail(&x->w->arena, x->j.err, x->j.name, n * sizeof *keep);
    }
    if (!s) {
        if (n) memcpy(keep, list, n * sizeof *keep);
        f->kind = RF_FACT_ARRAY;
        f->item_kind = n ? list[0].kind : RF_FACT_ARRAY;
        for (size_t i = 1; i < n; i++) f->item_kind = join(f->item_kind, list[i].kind);
        f->items = keep;
        f->n_items = n;
        f->item_type = RF_ITEM_FACTS;
    }
    rf_free(list);
    return s;
}

/* The value that comes next, under the key of length len, which f->key already holds. */
static rf_status flatten(struct flat *x, size_t len, unsigned nesting, struct rf_fact *f)
{
    enum rf_json_kind kind;
    bool null = false;
    if (nesting > MAX_NESTING)
        return rf_fail(x->j.err, RF_TOO_LARGE, "%s: nested deeper than %d, at byte %zu", x->j.name, MAX_NESTING,
                       x->j.pos);
    RF_TRY(rf_json_peek(&x->j, &kind));
    if (kind == RF_JSON_OBJECT) return object(x, len, nesting);
    RF_TRY(kind == RF_JSON_ARRAY ? array(x, len, nesting, f) : scalar(&x->j, f, &null));
    return null ? RF_OK : rf_format_fact_add(x->w, f, x->j.name, x->j.err);
}

/* One file under a prefix ("" or "name."). Absence is fine. */
static rf_status add_file(struct rf_weights *w, const char *file, const char *prefix, struct rf_buf *text,
                          struct rf_error *err)
{
    char path[sizeof w->dir + 64];
    RF_TRY(rf_path_join(path, sizeof path, w->dir, file, err));
    if (!rf_path_exists(path)) return RF_OK;
    RF_TRY(rf_file_read(text, path, MAX_CONFIG, err));
    struct flat *x = rf_alloc_array(1, sizeof *x);
    if (!x) return rf_fail_nomem(err, file, sizeof *x);
    x->w = w;
    x->j = (struct rf_json){.s = rf_buf_str(text),
                            .n = text->len,
                            .name = rf_format_short(path),
                            .arena = &w->arena,
                            .err = err,
                            .python = true};
    size_t len = strlen(prefix);
    memcpy(x->key, prefix, len);
    rf_status s = object(x, len, 0);
    if (!s) s = rf_json_end(&x->j);
    rf_map_release(&x->seen);
    rf_free(x);
    return s;
}

/* Multimodal configurations keep the language model's keys one level down. */
static rf_status lift(struct rf_weights *w, const char *prefix, struct rf_error *err)
{
    size_t len = strlen(prefix), n = w->n_fact;
    for (size_t i = 0; i < n; i++) {
        struct rf_fact f = w->fact[i];
        if (f.key.n <= len || memcmp(f.key.s, prefix, len)) continue;
        f.key = (struct rf_str){f.key.s + len, f.key.n - len};
        if (rf_map_get(&w->fact_at, f.key.s, f.key.n) == RF_MAP_NONE)
            RF_TRY(rf_format_fact_add(w, &f, "config.json", err));
    }
    return RF_OK;
}

rf_status rf_hf_facts_add(struct rf_weights *w, struct rf_error *err)
{
    RF_TRY(add_file(w, "config.json", "", &w->text[0], err));
    RF_TRY(lift(w, "text_config.", err));
    RF_TRY(add_file(w, "generation_config.json", "generation_config.", &w->text[1], err));
    return add_file(w, "tokenizer_config.json", "tokenizer_config.", &w->text[2], err);
}
