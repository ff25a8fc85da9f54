/* JSON in and out. The reader builds arena values straight away, so that the render's memory budget covers the request;
 * it is strict (RFC 8259) and bounded in depth. The writer is Python's json.dumps as Hugging Face's tojson calls it.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <errno.h>

#include "base/utf8.h"
#include "text/jinja_run.h"

enum { MAX_JSON_DEPTH = 512 };

struct reader {
    struct rf_jinja *J;
    const char *s;
    size_t n, at;
    unsigned depth;
    bool trusted;
};

static rf_status bad(struct reader *r, const char *what)
{
    return rf_fail(r->J->err, RF_INVALID, "chat template variables: %s at byte %zu of the JSON text", what, r->at);
}

static void skip_space(struct reader *r)
{
    while (r->at < r->n && (r->s[r->at] == ' ' || (r->s[r->at] >= 9 && r->s[r->at] <= 13 && r->s[r->at] != 11 && r->s[r->at] != 12))) r->at++;
}

static bool take(struct reader *r, char c)
{
    skip_space(r);
    if (r->at >= r->n || r->s[r->at] != c) return false;
    r->at++;
    return true;
}

static bool hex4(struct reader *r, uint32_t *out)
{
    *out = 0;
    if (r->n - r->at < 4) return false;
    for (int i = 0; i < 4; i++) {
        char c = r->s[r->at++];
        int v = c >= '0' && c <= '9' ? c - '0' : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10 : -1;
        if (v < 0) return false;
        *out = 16 * *out + (uint32_t)v;
    }
    return true;
}

static rf_status read_escape(struct reader *r, struct rf_jsb *b)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    char c = r->at < r->n ? r->s[r->at++] : 0, out[4];
    const char *at = c ? strchr(from, c) : NULL;
    uint32_t cp, low;
    if (at) {
        rf_jinja_sb_add(b, &to[at - from], 1, r->trusted);
        return RF_OK;
    }
    if (c != 'u' || !hex4(r, &cp)) return bad(r, "an invalid escape");
    if (cp >= 0xd800 && cp < 0xdc00) {
        if (r->n - r->at < 6 || r->s[r->at] != '\\' || r->s[r->at + 1] != 'u') return bad(r, "half of a surrogate pair");
        r->at += 2;
        if (!hex4(r, &low) || low < 0xdc00 || low > 0xdfff) return bad(r, "half of a surrogate pair");
        cp = 0x10000 + ((cp - 0xd800) << 10) + (low - 0xdc00);
    } else if (cp >= 0xdc00 && cp < 0xe000) {
        return bad(r, "half of a surrogate pair");
    }
    rf_jinja_sb_add(b, out, rf_utf8_encode(cp, out), r->trusted);
    return RF_OK;
}

static rf_status read_string(struct reader *r, struct rf_jv *out)
{
    struct rf_jsb b = {.J = r->J};
    while (r->at < r->n && r->s[r->at] != '"') {
        size_t from = r->at;
        while (r->at < r->n && r->s[r->at] != '"' && r->s[r->at] != '\\' && (unsigned char)r->s[r->at] >= ' ') r->at++;
        if (!rf_utf8_valid(r->s + from, r->at - from)) return bad(r, "text that is not UTF-8");
        rf_jinja_sb_add(&b, r->s + from, r->at - from, r->trusted);
        if (r->at >= r->n || r->s[r->at] == '"') break;
        if (r->s[r->at] != '\\') return bad(r, "an unescaped control character");
        r->at++;
        RF_TRY(read_escape(r, &b));
    }
    if (r->at >= r->n) return bad(r, "a string that never ends");
    r->at++;
    RF_TRY(rf_jinja_sb_done(&b, out));
    if (!out->s->len) out->s->trusted = r->trusted;
    return RF_OK;
}

static size_t digits(struct reader *r)
{
    size_t from = r->at;
    while (r->at < r->n && r->s[r->at] >= '0' && r->s[r->at] <= '9') r->at++;
    return r->at - from;
}

static rf_status read_number(struct reader *r, struct rf_jv *out)
{
    char buf[400];
    size_t from = r->at;
    bool is_float = false;
    if (r->s[r->at] == '-') r->at++;
    bool zero = r->at < r->n && r->s[r->at] == '0';
    size_t k = digits(r);
    if (!k || (zero && k > 1)) return bad(r, "an invalid number");
    if (r->at < r->n && r->s[r->at] == '.') {
        r->at++;
        is_float = true;
        if (!digits(r)) return bad(r, "an invalid number");
    }
    if (r->at < r->n && (r->s[r->at] | 0x20) == 'e') {
        r->at++;
        is_float = true;
        if (r->at < r->n && (r->s[r->at] == '+' || r->s[r->at] == '-')) r->at++;
        if (!digits(r)) return bad(r, "an invalid number");
    }
    size_t len = r->at - from;
    if (len >= sizeof buf) return bad(r, "a number that is too long");
    memcpy(buf, r->s + from, len);
    buf[len] = 0;
    errno = 0;
    *out = is_float ? rf_jv_float(strtod(buf, NULL)) : rf_jv_int(strtoll(buf, NULL, 10));
    if (!is_float && errno == ERANGE) {
        RF_TRY(rf_jinja_str_from(r->J, buf, len, r->trusted, out));
        out->kind = RF_JV_BIGINT;
    }
    out->from_data = !r->trusted;
    return RF_OK;
}

static rf_status read_value(struct reader *r, struct rf_jv *out);

static rf_status read_array(struct reader *r, struct rf_jv *out)
{
    RF_TRY(rf_jinja_list(r->J, RF_JV_LIST, 0, out));
    if (take(r, ']')) return RF_OK;
    do {
        struct rf_jv v;
        RF_TRY(read_value(r, &v));
        RF_TRY(rf_jinja_push(r->J, out->l, v));
    } while (take(r, ','));
    return take(r, ']') ? RF_OK : bad(r, "expected ',' or ']'");
}

static rf_status read_key(struct reader *r, struct rf_jv *key)
{
    if (!take(r, '"')) return bad(r, "expected a key");
    RF_TRY(read_string(r, key));
    return take(r, ':') ? RF_OK : bad(r, "expected ':'");
}

static rf_status read_object(struct reader *r, struct rf_jv *out)
{
    RF_TRY(rf_jinja_dict(r->J, out));
    if (take(r, '}')) return RF_OK;
    do {
        struct rf_jv key, v;
        RF_TRY(read_key(r, &key));
        RF_TRY(read_value(r, &v));
        RF_TRY(rf_jinja_dict_set(r->J, out->d, key, v));
    } while (take(r, ','));
    return take(r, '}') ? RF_OK : bad(r, "expected ',' or '}'");
}

static rf_status read_value(struct reader *r, struct rf_jv *out)
{
    static const struct { const char *word; uint8_t kind; bool b; } words[] = {
        {"true", RF_JV_BOOL, true}, {"false", RF_JV_BOOL, false}, {"null", RF_JV_NONE, false}};
    rf_status s;
    if (++r->depth > MAX_JSON_DEPTH)
        return rf_fail(r->J->err, RF_TOO_LARGE, "chat template variables: JSON nested deeper than %d", MAX_JSON_DEPTH);
    skip_space(r);
    if (r->at >= r->n) return bad(r, "an unexpected end");
    char c = r->s[r->at];
    if (c == '"') {
        r->at++;
        s = read_string(r, out);
    } else if (c == '[') {
        r->at++;
        s = read_array(r, out);
    } else if (c == '{') {
        r->at++;
        s = read_object(r, out);
    } else if (c == '-' || (c >= '0' && c <= '9')) {
        s = read_number(r, out);
    } else {
        size_t i = 0;
        while (i < RF_COUNT(words) && (r->n - r->at < strlen(words[i].word) ||
                                       memcmp(r->s + r->at, words[i].word, strlen(words[i].word)))) i++;
        if (i == RF_COUNT(words)) return bad(r, "an unexpected character");
        *out = (struct rf_jv){.kind = words[i].kind, .b = words[i].b, .from_data = !r->trusted};
        r->at += strlen(words[i].word);
        s = RF_OK;
    }
    r->depth--;
    return s;
}

rf_status rf_jinja_json_vars(struct rf_jinja *J, const char *json, size_t len, const char *const *trusted_vars)
{
    struct reader r = {.J = J, .s = json, .n = len};
    if (!take(&r, '{')) return bad(&r, "expected an object");
    if (!take(&r, '}')) {
        do {
            struct rf_jv key, v;
            RF_TRY(read_key(&r, &key));
            r.trusted = false;
            for (const char *const *t = trusted_vars; t && *t; t++) r.trusted |= rf_jinja_str_is(key.s, *t);
            RF_TRY(read_value(&r, &v));
            r.trusted = false;
            RF_TRY(rf_jinja_step(J, 8 * (size_t)J->t->n_sym));
            for (uint32_t i = 0; i < J->t->n_sym; i++)
                if (rf_jinja_str_eq(J->t->sym[i], key.s)) J->root[i] = v;
        } while (take(&r, ','));
        if (!take(&r, '}')) return bad(&r, "expected ',' or '}'");
    }
    skip_space(&r);
    return r.at == len ? RF_OK : bad(&r, "more text after the object");
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
    RF_TRY(rf_jinja_step(J, 0));
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
