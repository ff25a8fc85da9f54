#include "text/jinja_run.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <utf8proc.h>

#include "base/utf8.h"

/* ---- building ------------------------------------------------------------------------------------------------- */

static bool sb_room(struct rf_jsb *b, size_t n)
{
    size_t need;
    if (b->bad) return false;
    if (!rf_add(b->len, n, &need)) need = SIZE_MAX;
    if (need <= b->cap) return true;
    size_t cap = RF_MAX(need, RF_MAX(2 * b->cap, (size_t)48));
    char *p;
    if ((b->bad = rf_jinja_alloc(b->J, cap, 1, &p))) return false;
    if (b->len) memcpy(p, b->p, b->len);
    if (b->t) {
        uint8_t *t;
        if ((b->bad = rf_jinja_alloc(b->J, cap, 1, &t))) return false;
        memcpy(t, b->t, b->len);
        b->t = t;
    }
    b->p = p;
    b->cap = cap;
    return true;
}

/* Makes room for per-byte trust if n bytes of this kind do not fit what is there. */
static bool sb_trust(struct rf_jsb *b, bool trusted)
{
    if (!b->len && !b->t) b->trusted = trusted;
    if (b->t || b->trusted == trusted) return true;
    if ((b->bad = rf_jinja_alloc(b->J, b->cap, 1, &b->t))) return false;
    memset(b->t, b->trusted, b->len);
    return true;
}

void rf_jinja_sb_add(struct rf_jsb *b, const char *p, size_t n, bool trusted)
{
    if (!n || !sb_room(b, n) || !sb_trust(b, trusted)) return;
    memcpy(b->p + b->len, p, n);
    if (b->t) memset(b->t + b->len, trusted, n);
    b->len += n;
}

void rf_jinja_sb_slice(struct rf_jsb *b, const struct rf_jstr *s, size_t from, size_t to)
{
    if (from >= to) return;
    if (!s->t) {
        rf_jinja_sb_add(b, s->p + from, to - from, s->trusted);
        return;
    }
    if (!sb_room(b, to - from) || !sb_trust(b, true) || !sb_trust(b, false)) return;
    if (!b->t) { /* empty until now: sb_trust chose one kind */
        if ((b->bad = rf_jinja_alloc(b->J, b->cap, 1, &b->t))) return;
        memset(b->t, b->trusted, b->len);
    }
    memcpy(b->p + b->len, s->p + from, to - from);
    memcpy(b->t + b->len, s->t + from, to - from);
    b->len += to - from;
}

void rf_jinja_sb_fill(struct rf_jsb *b, const struct rf_jstr *fill, int64_t n)
{
    char chunk[256];
    if (fill->len == 1) memset(chunk, fill->p[0], sizeof chunk);
    for (int64_t k; n > 0 && !b->bad; n -= k) {
        k = fill->len == 1 ? RF_MIN(n, (int64_t)sizeof chunk) : 1;
        if (fill->len == 1) rf_jinja_sb_add(b, chunk, (size_t)k, rf_jinja_trust_at(fill, 0));
        else rf_jinja_sb_str(b, fill);
    }
}

void rf_jinja_sb_lit(struct rf_jsb *b, const char *s) { rf_jinja_sb_add(b, s, strlen(s), false); }

static uint32_t count_chars(const char *p, size_t n)
{
    uint32_t chars = 0;
    for (size_t i = 0; i < n; i++) chars += (p[i] & 0xc0) != 0x80;
    return chars;
}

rf_status rf_jinja_sb_done(struct rf_jsb *b, struct rf_jv *out)
{
    struct rf_jstr *s;
    if (b->bad) return b->bad;
    RF_TRY(rf_jinja_alloc(b->J, 1, sizeof *s, &s));
    RF_TRY(rf_jinja_step(b->J, b->len));
    *s = (struct rf_jstr){.p = b->p ? b->p : "", .t = b->t, .len = (uint32_t)b->len, .trusted = b->len ? b->trusted : true,
                          .n_chars = count_chars(b->p, b->len)};
    *out = rf_jv_str(s);
    return RF_OK;
}

struct rf_jstr *rf_jinja_str_make(struct rf_arena *a, const char *p, size_t len, bool trusted)
{
    struct rf_jstr *s = len < UINT32_MAX ? rf_arena_alloc(a, sizeof *s) : NULL;
    if (s) *s = (struct rf_jstr){.p = p, .len = (uint32_t)len, .n_chars = count_chars(p, len), .trusted = trusted};
    return s;
}

rf_status rf_jinja_str_from(struct rf_jinja *J, const char *p, size_t n, bool trusted, struct rf_jv *out)
{
    struct rf_jsb b = {.J = J};
    rf_jinja_sb_add(&b, p, n, trusted);
    return rf_jinja_sb_done(&b, out);
}

rf_status rf_jinja_str_slice(struct rf_jinja *J, struct rf_jstr *s, size_t from, size_t to, struct rf_jv *out)
{
    struct rf_jstr *r;
    if (from > to) from = to;
    if (from == 0 && to == s->len) {
        *out = rf_jv_str(s);
        return RF_OK;
    }
    RF_TRY(rf_jinja_alloc(J, 1, sizeof *r, &r));
    RF_TRY(rf_jinja_step(J, to - from));
    *r = (struct rf_jstr){.p = s->p + from, .t = s->t ? s->t + from : NULL, .len = (uint32_t)(to - from), .trusted = s->trusted,
                          .markup = s->markup, .n_chars = s->n_chars == s->len ? (uint32_t)(to - from)
                                                                                 : count_chars(s->p + from, to - from)};
    *out = rf_jv_str(r);
    return RF_OK;
}

/* A string whose bytes end its block, with room behind them, takes b's bytes without moving. */
static bool grow_in_place(const struct rf_jstr *a, const struct rf_jstr *b)
{
    struct rf_jblock *k = a->block;
    if (!k || a->p + a->len != k->p + k->used || k->cap - k->used < b->len) return false;
    memcpy(k->p + k->used, b->p, b->len);
    if (b->t) memcpy(k->t + k->used, b->t, b->len);
    else memset(k->t + k->used, b->trusted, b->len);
    k->used += b->len;
    return true;
}

static rf_status new_block(struct rf_jinja *J, const struct rf_jstr *a, const struct rf_jstr *b, struct rf_jstr *out)
{
    struct rf_jblock *k;
    size_t len = (size_t)a->len + b->len, cap = len < 256 ? len : 2 * len;
    RF_TRY(rf_jinja_alloc(J, 1, sizeof *k, &k));
    RF_TRY(rf_jinja_alloc(J, cap, 1, &k->p));
    RF_TRY(rf_jinja_alloc(J, cap, 1, &k->t));
    k->cap = cap;
    const struct rf_jstr *part[2] = {a, b};
    for (int i = 0; i < 2; i++) {
        memcpy(k->p + k->used, part[i]->p, part[i]->len);
        if (part[i]->t) memcpy(k->t + k->used, part[i]->t, part[i]->len);
        else memset(k->t + k->used, part[i]->trusted, part[i]->len);
        k->used += part[i]->len;
    }
    *out = (struct rf_jstr){.p = k->p, .t = k->t, .block = k, .len = (uint32_t)len};
    return RF_OK;
}

rf_status rf_jinja_concat(struct rf_jinja *J, struct rf_jstr *a, struct rf_jstr *b, struct rf_jv *out)
{
    struct rf_jstr *r;
    if (a->markup != b->markup) { /* Markup escapes what it is joined with */
        struct rf_jv esc;
        RF_TRY(rf_jinja_escape(J, a->markup ? b : a, &esc));
        if (a->markup) b = esc.s;
        else a = esc.s;
    }
    if (!a->len || !b->len) {
        *out = rf_jv_str(a->len ? a : b);
        return RF_OK;
    }
    RF_TRY(rf_jinja_step(J, b->len));
    RF_TRY(rf_jinja_alloc(J, 1, sizeof *r, &r));
    if (grow_in_place(a, b)) {
        *r = *a;
        r->len += b->len;
    } else {
        RF_TRY(new_block(J, a, b, r));
    }
    r->n_chars = a->n_chars + b->n_chars;
    r->markup = a->markup;
    *out = rf_jv_str(r);
    return RF_OK;
}

rf_status rf_jinja_escape(struct rf_jinja *J, const struct rf_jstr *s, struct rf_jv *out)
{
    static const char what[] = "&<>\"'";
    static const char *const with[] = {"&amp;", "&lt;", "&gt;", "&#34;", "&#39;"};
    struct rf_jsb b = {.J = J};
    if (s->markup) {
        *out = rf_jv_str((struct rf_jstr *)s);
        return RF_OK;
    }
    size_t from = 0;
    RF_TRY(rf_jinja_step(J, 16 * (size_t)s->len));
    for (size_t i = 0; i < s->len; i++) {
        const char *at = s->p[i] ? strchr(what, s->p[i]) : NULL;
        if (!at) continue;
        const char *e = with[at - what];
        rf_jinja_sb_slice(&b, s, from, i);
        rf_jinja_sb_add(&b, e, strlen(e), rf_jinja_trust_at(s, i));
        from = i + 1;
    }
    rf_jinja_sb_slice(&b, s, from, s->len);
    RF_TRY(rf_jinja_sb_done(&b, out));
    out->s->markup = true;
    return RF_OK;
}

/* ---- places in strings ---------------------------------------------------------------------------------------- */

size_t rf_jinja_char_at(const struct rf_jstr *s, size_t i)
{
    if (s->n_chars == s->len) return i;
    size_t at = 0;
    while (i-- && at < s->len) {
        do at++;
        while (at < s->len && (s->p[at] & 0xc0) == 0x80);
    }
    return at;
}

size_t rf_jinja_chars(const struct rf_jstr *s, size_t from, size_t to)
{
    return s->n_chars == s->len ? to - from : count_chars(s->p + from, to - from);
}

bool rf_jinja_str_is(const struct rf_jstr *s, const char *lit)
{
    size_t n = strlen(lit);
    return s->len == n && !memcmp(s->p, lit, n);
}

bool rf_jinja_str_eq(const struct rf_jstr *a, const struct rf_jstr *b)
{
    return a->len == b->len && !memcmp(a->p, b->p, a->len);
}

rf_status rf_jinja_search_step(struct rf_jinja *J, const struct rf_jstr *needle, size_t n)
{
    if (needle->len <= 32) return rf_jinja_step(J, 2 * n);
    return rf_jinja_step(J, needle->len > n ? 0 : 10 * n + 16 * (size_t)needle->len); /* long ones are prepared first */
}

size_t rf_jinja_find(const struct rf_jstr *s, const struct rf_jstr *needle, size_t from, size_t to)
{
    if (from > to || to - from < needle->len) return SIZE_MAX;
    if (!needle->len) return from;
    const char *at = memmem(s->p + from, to - from, needle->p, needle->len);
    return at ? (size_t)(at - s->p) : SIZE_MAX;
}

rf_status rf_jinja_rfind(struct rf_jinja *J, const struct rf_jstr *s, const struct rf_jstr *needle, size_t from, size_t to, size_t *at)
{
    *at = SIZE_MAX;
    if (from > to) return RF_OK;
    RF_TRY(rf_jinja_search_step(J, needle, to - from));
    for (size_t i = to; i >= needle->len && i - needle->len >= from; i--) {
        const char *p = s->p + i - needle->len;
        if (!needle->len || (*p == *needle->p && !memcmp(p, needle->p, needle->len))) {
            *at = i - needle->len;
            break;
        }
        if (*p == *needle->p && needle->len >= 8) RF_TRY(rf_jinja_step(J, needle->len)); /* a hostile needle makes this quadratic */
        if (!i) break;
    }
    return RF_OK;
}

/* ---- str and repr --------------------------------------------------------------------------------------------- */

/* Fewest digits that read back as f, laid out as Python does: exponent form outside 1e-4 .. 1e16. */
unsigned rf_jinja_float_repr(double f, char out[40])
{
    char buf[40], digits[24];
    if (isnan(f)) return (unsigned)sprintf(out, "nan");
    if (isinf(f)) return (unsigned)sprintf(out, f < 0 ? "-inf" : "inf");
    for (int p = 0; p <= 16; p++) {
        snprintf(buf, sizeof buf, "%.*e", p, f);
        if (strtod(buf, NULL) == f) break;
    }
    const char *c = buf;
    char *o = out;
    int n = 0, exp;
    if (*c == '-') *o++ = *c++;
    for (; *c != 'e'; c++)
        if (*c != '.') digits[n++] = *c;
    exp = atoi(c + 1);
    if (exp < -4 || exp >= 16) {
        *o++ = digits[0];
        if (n > 1) *o++ = '.';
        for (int i = 1; i < n; i++) *o++ = digits[i];
        o += sprintf(o, "e%c%02d", exp < 0 ? '-' : '+', abs(exp));
        return (unsigned)(o - out);
    }
    if (exp < 0) {
        o += sprintf(o, "0.");
        for (int i = -1; i > exp; i--) *o++ = '0';
    }
    for (int i = 0; i < n || i <= exp; i++) {
        if (i == exp + 1 && exp >= 0) *o++ = '.';
        *o++ = i < n ? digits[i] : '0';
    }
    if (exp >= 0 && n <= exp + 1) o += sprintf(o, ".0");
    *o = 0;
    return (unsigned)(o - out);
}

bool rf_jinja_is_printable(uint32_t cp)
{
    if (cp < 0x7f) return cp >= ' ';
    switch (utf8proc_category((utf8proc_int32_t)cp)) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS: return false;
    default: return true;
    }
}

void rf_jinja_str_repr(struct rf_jsb *b, const struct rf_jstr *s)
{
    bool single = s->len && memchr(s->p, '\'', s->len), dbl = s->len && memchr(s->p, '"', s->len);
    char quote = single && !dbl ? '"' : '\'', esc[16];
    if (!b->bad) b->bad = rf_jinja_step(b->J, 24 * (size_t)s->len);
    rf_jinja_sb_add(b, &quote, 1, false);
    for (size_t i = 0, n; i < s->len; i += n) {
        uint32_t cp;
        n = rf_utf8_decode(s->p + i, s->len - i, &cp);
        if (!n) n = 1;
        const char *at = cp && cp < 0x80 ? strchr("\n\r\t\\'", (int)cp) : NULL;
        if (at && (cp != '\'' || quote == '\'')) {
            snprintf(esc, sizeof esc, "\\%c", cp == '\n' ? 'n' : cp == '\r' ? 'r' : cp == '\t' ? 't' : (char)cp);
        } else if (rf_jinja_is_printable(cp)) {
            rf_jinja_sb_slice(b, s, i, i + n);
            continue;
        } else {
            snprintf(esc, sizeof esc, cp < 0x100 ? "\\x%02x" : cp < 0x10000 ? "\\u%04x" : "\\U%08x", cp);
        }
        rf_jinja_sb_add(b, esc, strlen(esc), rf_jinja_trust_at(s, i));
    }
    rf_jinja_sb_add(b, &quote, 1, false);
}

static rf_status repr_list(struct rf_jsb *b, struct rf_jv of, const char *open, const char *close)
{
    struct rf_jiter it;
    struct rf_jv v;
    bool more;
    rf_jinja_sb_lit(b, open);
    RF_TRY(rf_jinja_iter(b->J, of, &it));
    for (size_t i = 0;; i++) {
        RF_TRY(rf_jinja_next(b->J, &it, &v, &more));
        if (!more) break;
        if (i) rf_jinja_sb_lit(b, ", ");
        RF_TRY(rf_jinja_repr(b, v));
    }
    if (of.kind == RF_JV_TUPLE && of.l->n == 1) rf_jinja_sb_lit(b, ",");
    rf_jinja_sb_lit(b, close);
    return b->bad;
}

static rf_status repr_dict(struct rf_jsb *b, const struct rf_jdict *d)
{
    rf_jinja_sb_lit(b, "{");
    for (uint32_t i = 0; i < d->n; i++) {
        if (i) rf_jinja_sb_lit(b, ", ");
        RF_TRY(rf_jinja_repr(b, d->e[i].key));
        rf_jinja_sb_lit(b, ": ");
        RF_TRY(rf_jinja_repr(b, d->e[i].value));
    }
    rf_jinja_sb_lit(b, "}");
    return b->bad;
}

static rf_status repr_object(struct rf_jsb *b, struct rf_jv v)
{
    char text[200];
    struct rf_jv n;
    switch (v.kind) {
    case RF_JV_RANGE:
        if (v.r->step == 1) snprintf(text, sizeof text, "range(%lld, %lld)", (long long)v.r->start, (long long)v.r->stop);
        else snprintf(text, sizeof text, "range(%lld, %lld, %lld)", (long long)v.r->start, (long long)v.r->stop, (long long)v.r->step);
        break;
    case RF_JV_MACRO: snprintf(text, sizeof text, "<Macro '%.*s'>", (int)RF_MIN(v.macro->ast->name->len, 100u), v.macro->ast->name->p); break;
    case RF_JV_SELF: snprintf(text, sizeof text, v.part ? "<BlockReference>" : "<TemplateReference None>"); break;
    case RF_JV_LOOP:
        RF_TRY(rf_jinja_loop_attr(b->J, v.loop, &(struct rf_jstr){.p = "length", .len = 6}, &n));
        snprintf(text, sizeof text, "<LoopContext %lld/%lld>", (long long)v.loop->index0 + 1, (long long)n.i);
        break;
    default: snprintf(text, sizeof text, "<%s object>", rf_jinja_type(v)); break;
    }
    rf_jinja_sb_lit(b, text);
    return b->bad;
}

rf_status rf_jinja_repr(struct rf_jsb *b, struct rf_jv v)
{
    char text[40];
    rf_status s = RF_OK;
    RF_TRY(rf_jinja_step(b->J, 0));
    RF_TRY(rf_jinja_enter(b->J));
    switch (v.kind) {
    case RF_JV_MISSING:
    case RF_JV_UNDEF: rf_jinja_sb_lit(b, "Undefined"); break;
    case RF_JV_NONE: rf_jinja_sb_add(b, "None", 4, true); break;
    case RF_JV_BOOL: rf_jinja_sb_add(b, v.b ? "True" : "False", v.b ? 4 : 5, !v.from_data); break;
    case RF_JV_INT:
        snprintf(text, sizeof text, "%lld", (long long)v.i);
        rf_jinja_sb_add(b, text, strlen(text), !v.from_data);
        break;
    case RF_JV_FLOAT: rf_jinja_sb_add(b, text, rf_jinja_float_repr(v.f, text), !v.from_data); break;
    case RF_JV_BIGINT: rf_jinja_sb_str(b, v.s); break;
    case RF_JV_STR:
        if (v.s->markup) rf_jinja_sb_lit(b, "Markup(");
        rf_jinja_str_repr(b, v.s);
        if (v.s->markup) rf_jinja_sb_lit(b, ")");
        break;
    case RF_JV_LIST: s = repr_list(b, v, "[", "]"); break;
    case RF_JV_TUPLE: s = repr_list(b, v, "(", ")"); break;
    case RF_JV_DICT: s = repr_dict(b, v.d); break;
    case RF_JV_VIEW:
        s = repr_list(b, v, v.view->what == 'k' ? "dict_keys([" : v.view->what == 'v' ? "dict_values([" : "dict_items([", "])");
        break;
    case RF_JV_NAMESPACE:
        rf_jinja_sb_lit(b, "<Namespace ");
        s = repr_dict(b, v.d);
        rf_jinja_sb_lit(b, ">");
        break;
    default: s = repr_object(b, v); break;
    }
    b->J->nest--;
    return s ? s : b->bad;
}

rf_status rf_jinja_str(struct rf_jinja *J, struct rf_jv v, struct rf_jv *out)
{
    struct rf_jsb b = {.J = J};
    if (v.kind == RF_JV_STR) {
        *out = v;
        return RF_OK;
    }
    if (v.kind != RF_JV_UNDEF) RF_TRY(rf_jinja_repr(&b, v));
    return rf_jinja_sb_done(&b, out);
}
