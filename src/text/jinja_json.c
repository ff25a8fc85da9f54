/* JSON in and out. The reader builds arena values straight away, so that the render's memory budget covers the request.
 * The writer is Python's json.dumps as Hugging Face's tojson calls it.
 */
#include <math.h>
#include <stdio.h>

#include "base/json.h"
#include "base/utf8.h"
#include "text/jinja_run.h"

struct reader {
    struct rf_jinja *J;
    struct rf_json j;
    bool trusted;
};

static rf_status read_string(struct reader *r, struct rf_str s, struct rf_jv *out)
{
    RF_TRY(rf_jinja_step(r->J, s.n));
    return rf_jinja_str_from(r->J, s.s, s.n, r->trusted, out);
}

static rf_status read_value(struct reader *r, struct rf_jv *out);

static rf_status read_array(struct reader *r, struct rf_jv *out)
{
    bool more;
    rf_status s;
    RF_TRY(rf_jinja_list(r->J, RF_JV_LIST, 0, out));
    RF_TRY(rf_json_enter(&r->j, '['));
    while (!(s = rf_json_next(&r->j, &more)) && more) {
        struct rf_jv v;
        RF_TRY(read_value(r, &v));
        RF_TRY(rf_jinja_push(r->J, out->l, v));
    }
    return s;
}

static rf_status read_key(struct reader *r, struct rf_jv *key)
{
    struct rf_str s;
    RF_TRY(rf_json_key(&r->j, &s));
    return read_string(r, s, key);
}

static rf_status read_object(struct reader *r, struct rf_jv *out)
{
    bool more;
    rf_status s;
    RF_TRY(rf_jinja_dict(r->J, out));
    RF_TRY(rf_json_enter(&r->j, '{'));
    while (!(s = rf_json_next(&r->j, &more)) && more) {
        struct rf_jv key, v;
        RF_TRY(read_key(r, &key));
        RF_TRY(read_value(r, &v));
        RF_TRY(rf_jinja_dict_set(r->J, out->d, key, v));
    }
    return s;
}

static rf_status read_plain(struct reader *r, struct rf_jv *out)
{
    struct rf_json_value v;
    RF_TRY(rf_json_scalar(&r->j, &v));
    switch (v.kind) {
    case RF_JSON_STRING: return read_string(r, v.str, out);
    case RF_JSON_NUMBER:
        *out = v.integer ? rf_jv_int(v.i) : rf_jv_float(v.f);
        if (v.integer && !v.fits) {
            RF_TRY(read_string(r, v.str, out));
            out->kind = RF_JV_BIGINT;
        }
        break;
    case RF_JSON_BOOL: *out = (struct rf_jv){.kind = RF_JV_BOOL, .b = v.i != 0}; break;
    default: *out = (struct rf_jv){.kind = RF_JV_NONE};
    }
    out->from_data = !r->trusted;
    return RF_OK;
}

/* Recursive, but no deeper than the reader lets it. */
static rf_status read_value(struct reader *r, struct rf_jv *out)
{
    enum rf_json_kind kind;
    RF_TRY(rf_json_peek(&r->j, &kind));
    return kind == RF_JSON_ARRAY ? read_array(r, out) : kind == RF_JSON_OBJECT ? read_object(r, out) : read_plain(r, out);
}

rf_status rf_jinja_json_vars(struct rf_jinja *J, const char *json, size_t len, const char *const *trusted_vars)
{
    struct reader r = {.J = J, .j = {.s = json, .n = len, .name = "chat template variables", .arena = &J->arena, .err = J->err,
                                     .huge = true, .broken = RF_INVALID, .max_depth = RF_JSON_MAX_DEPTH}};
    bool more;
    rf_status s;
    RF_TRY(rf_json_enter(&r.j, '{'));
    while (!(s = rf_json_next(&r.j, &more)) && more) {
        struct rf_jv key, v;
        RF_TRY(read_key(&r, &key));
        for (const char *const *t = trusted_vars; t && *t; t++) r.trusted |= rf_jinja_str_is(key.s, *t);
        RF_TRY(read_value(&r, &v));
        r.trusted = false;
        RF_TRY(rf_jinja_step(J, 8 * (size_t)J->t->n_sym));
        for (uint32_t i = 0; i < J->t->n_sym; i++)
            if (rf_jinja_str_eq(J->t->sym[i], key.s)) J->root[i] = v;
    }
    return s ? s : rf_json_end(&r.j);
}

/* ---- out ------------------------------------------------------------------------------------------------------ */

struct writer {
    struct rf_jsb b;
    bool ascii, sort_keys, pretty;
    const struct rf_jstr *indent;   /* text of one level */
    const struct rf_jstr *item, *key; /* separators */
    unsigned depth;
};

static void write_string(struct writer *w, const struct rf_jstr *s)
{
    char esc[16];
    size_t from = 0;
    rf_jinja_sb_lit(&w->b, "\"");
    for (size_t i = 0, n; i < s->len; i += n) {
        unsigned char c = (unsigned char)s->p[i];
        n = 1;
        if (c >= ' ' && c != '"' && c != '\\' && (c < 0x7f || !w->ascii)) continue;
        if (c == 0x7f) continue;
        uint32_t cp = c;
        if (c >= 0x80) {
            n = rf_utf8_decode(s->p + i, s->len - i, &cp);
            if (!n) n = 1;
        }
        static const char named[] = "\"\\\b\f\n\r\t", letter[] = "\"\\bfnrt";
        const char *at = c ? strchr(named, c) : NULL;
        if (at) snprintf(esc, sizeof esc, "\\%c", letter[at - named]);
        else if (cp < 0x10000) snprintf(esc, sizeof esc, "\\u%04x", cp);
        else snprintf(esc, sizeof esc, "\\u%04x\\u%04x", 0xd800 + ((cp - 0x10000) >> 10), 0xdc00 + ((cp - 0x10000) & 0x3ff));
        if (!w->b.bad) w->b.bad = rf_jinja_step(w->b.J, 64);
        rf_jinja_sb_slice(&w->b, s, from, i);
        rf_jinja_sb_add(&w->b, esc, strlen(esc), rf_jinja_trust_at(s, i));
        from = i + n;
    }
    rf_jinja_sb_slice(&w->b, s, from, s->len);
    rf_jinja_sb_lit(&w->b, "\"");
}

static void newline(struct writer *w)
{
    if (!w->pretty) return;
    if (!w->b.bad) w->b.bad = rf_jinja_step(w->b.J, 32 * (size_t)w->depth);
    rf_jinja_sb_lit(&w->b, "\n");
    for (unsigned i = 0; i < w->depth; i++) rf_jinja_sb_str(&w->b, w->indent);
}

static rf_status write_value(struct writer *w, struct rf_jv v);

static void number_text(struct rf_jv v, char text[40])
{
    if (v.kind == RF_JV_INT) snprintf(text, 40, "%lld", (long long)v.i);
    else if (isnan(v.f)) strcpy(text, "NaN");
    else if (isinf(v.f)) strcpy(text, v.f < 0 ? "-Infinity" : "Infinity");
    else rf_jinja_float_repr(v.f, text);
}

static rf_status write_key(struct writer *w, struct rf_jv k)
{
    char text[40];
    switch (k.kind) {
    case RF_JV_STR: write_string(w, k.s); return RF_OK;
    case RF_JV_NONE: rf_jinja_sb_lit(&w->b, "\"null\""); return RF_OK;
    case RF_JV_BOOL: rf_jinja_sb_lit(&w->b, k.b ? "\"true\"" : "\"false\""); return RF_OK;
    case RF_JV_INT:
    case RF_JV_FLOAT:
        number_text(k, text);
        rf_jinja_sb_lit(&w->b, "\"");
        rf_jinja_sb_lit(&w->b, text);
        rf_jinja_sb_lit(&w->b, "\"");
        return RF_OK;
    default: return rf_jinja_fail(w->b.J, "keys must be str, int, float, bool or None, not %s", rf_jinja_type(k));
    }
}

static rf_status write_dict(struct writer *w, const struct rf_jdict *d)
{
    struct rf_jinja *J = w->b.J;
    struct rf_jv *keys, *order; /* order: positions, sorted by key where asked */
    if (!d->n) {
        rf_jinja_sb_lit(&w->b, "{}");
        return RF_OK;
    }
    RF_TRY(rf_jinja_alloc(J, d->n, sizeof *keys, &keys));
    RF_TRY(rf_jinja_alloc(J, d->n, sizeof *order, &order));
    for (uint32_t i = 0; i < d->n; i++) {
        keys[i] = d->e[i].key;
        order[i] = rf_jv_int(i);
    }
    if (w->sort_keys) RF_TRY(rf_jinja_sort(J, order, keys, d->n, false));
    rf_jinja_sb_lit(&w->b, "{");
    w->depth++;
    for (uint32_t i = 0; i < d->n; i++) {
        const struct rf_jentry *e = &d->e[order[i].i];
        if (i) rf_jinja_sb_str(&w->b, w->item);
        newline(w);
        RF_TRY(write_key(w, e->key));
        rf_jinja_sb_str(&w->b, w->key);
        RF_TRY(write_value(w, e->value));
    }
    w->depth--;
    newline(w);
    rf_jinja_sb_lit(&w->b, "}");
    return RF_OK;
}

static rf_status write_list(struct writer *w, const struct rf_jlist *l)
{
    if (!l->n) {
        rf_jinja_sb_lit(&w->b, "[]");
        return RF_OK;
    }
    rf_jinja_sb_lit(&w->b, "[");
    w->depth++;
    for (size_t i = 0; i < l->n; i++) {
        if (i) rf_jinja_sb_str(&w->b, w->item);
        newline(w);
        RF_TRY(write_value(w, l->v[i]));
    }
    w->depth--;
    newline(w);
    rf_jinja_sb_lit(&w->b, "]");
    return RF_OK;
}

static rf_status write_value(struct writer *w, struct rf_jv v)
{
    struct rf_jinja *J = w->b.J;
    char text[40];
    rf_status s = RF_OK;
    RF_TRY(rf_jinja_step(J, 128));
    RF_TRY(rf_jinja_enter(J));
    switch (v.kind) {
    case RF_JV_NONE: rf_jinja_sb_lit(&w->b, "null"); break;
    case RF_JV_BOOL: rf_jinja_sb_lit(&w->b, v.b ? "true" : "false"); break;
    case RF_JV_INT:
    case RF_JV_FLOAT:
        number_text(v, text);
        rf_jinja_sb_add(&w->b, text, strlen(text), !v.from_data);
        break;
    case RF_JV_BIGINT: rf_jinja_sb_str(&w->b, v.s); break;
    case RF_JV_STR: write_string(w, v.s); break;
    case RF_JV_LIST:
    case RF_JV_TUPLE: s = write_list(w, v.l); break;
    case RF_JV_DICT: s = write_dict(w, v.d); break;
    default: return rf_jinja_fail(J, "Object of type %s is not JSON serializable", rf_jinja_type(v));
    }
    J->nest--;
    return s ? s : w->b.bad;
}

static rf_status separators(struct writer *w, struct rf_jv sep)
{
    if (sep.kind == RF_JV_MISSING || sep.kind == RF_JV_NONE) return RF_OK;
    if ((sep.kind != RF_JV_TUPLE && sep.kind != RF_JV_LIST) || sep.l->n != 2 || sep.l->v[0].kind != RF_JV_STR ||
        sep.l->v[1].kind != RF_JV_STR)
        return rf_jinja_fail(w->b.J, "tojson: separators must be two strings");
    w->item = sep.l->v[0].s;
    w->key = sep.l->v[1].s;
    return RF_OK;
}

rf_status rf_jinja_tojson(struct rf_jinja *J, struct rf_jv v, const struct rf_jargs *args, struct rf_jv *out)
{
    static const struct rf_jstr comma = {.p = ", ", .len = 2, .n_chars = 2}, colon = {.p = ": ", .len = 2, .n_chars = 2};
    struct rf_jv a[4];
    struct writer w = {.b = {.J = J}, .item = &comma, .key = &colon};
    RF_TRY(rf_jinja_bind(J, "tojson", args, "ensure_ascii,indent,separators,sort_keys", 0, a));
    w.ascii = rf_jinja_truth(a[0]);
    w.sort_keys = rf_jinja_truth(a[3]);
    if (a[1].kind == RF_JV_STR) {
        w.indent = a[1].s;
    } else if (a[1].kind != RF_JV_MISSING && a[1].kind != RF_JV_NONE) {
        int64_t n;
        struct rf_jv s;
        char spaces[64];
        RF_TRY(rf_jinja_to_int(J, a[1], &n));
        if (n > 64) return rf_jinja_fail(J, "tojson: indent %lld is more than 64", (long long)n);
        memset(spaces, ' ', sizeof spaces);
        RF_TRY(rf_jinja_str_from(J, spaces, n > 0 ? (size_t)n : 0, false, &s));
        w.indent = s.s;
    }
    static const struct rf_jstr bare_comma = {.p = ",", .len = 1, .n_chars = 1};
    w.pretty = w.indent != NULL;
    if (w.pretty) w.item = &bare_comma;
    RF_TRY(separators(&w, a[2]));
    RF_TRY(write_value(&w, v));
    return rf_jinja_sb_done(&w.b, out);
}
