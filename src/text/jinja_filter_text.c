/* Filters on strings. */
#include "text/jinja_run.h"

#include <stdio.h>
#include <stdlib.h>
#include <utf8proc.h>

#include "base/utf8.h"

#define FILTER(name) static rf_status name(struct rf_jinja *J, struct rf_jv v, struct rf_jv *a, struct rf_jv *out)

static bool given(struct rf_jv v) { return v.kind != RF_JV_MISSING && v.kind != RF_JV_NONE; }

static rf_status want_str(struct rf_jinja *J, struct rf_jv v)
{
    RF_TRY(rf_jinja_use(J, v));
    return v.kind == RF_JV_STR ? RF_OK : rf_jinja_fail(J, "must be str, not %s", rf_jinja_type(v));
}

static rf_status cased(struct rf_jinja *J, struct rf_jv v, enum rf_jcase how, struct rf_jv *out)
{
    struct rf_jv s;
    RF_TRY(rf_jinja_str(J, v, &s));
    return rf_jinja_case(J, s.s, how, out);
}
FILTER(f_upper) { (void)a; return cased(J, v, RF_JCASE_UPPER, out); }
FILTER(f_lower) { (void)a; return cased(J, v, RF_JCASE_LOWER, out); }
FILTER(f_capitalize) { (void)a; return cased(J, v, RF_JCASE_CAPITALIZE, out); }

FILTER(f_title) /* words begin behind white space and - ( { [ <; their first character is upper case, not title case */
{
    struct rf_jv s, word, head, tail;
    struct rf_jsb b = {.J = J};
    (void)a;
    RF_TRY(rf_jinja_str(J, v, &s));
    for (size_t i = 0, from; i < s.s->len;) {
        uint32_t cp;
        bool sep = false;
        for (from = i; i < s.s->len; i += rf_utf8_decode(s.s->p + i, s.s->len - i, &cp)) {
            rf_utf8_decode(s.s->p + i, s.s->len - i, &cp);
            sep = rf_jinja_is_space(cp) || (cp && cp < 0x80 && strchr("-({[<", (int)cp));
            if (sep) break;
        }
        if (i > from) {
            size_t one = from + rf_utf8_decode(s.s->p + from, i - from, &cp);
            RF_TRY(rf_jinja_str_slice(J, s.s, from, one, &word));
            RF_TRY(rf_jinja_case(J, word.s, RF_JCASE_UPPER, &head));
            RF_TRY(rf_jinja_str_slice(J, s.s, one, i, &word));
            RF_TRY(rf_jinja_case(J, word.s, RF_JCASE_LOWER, &tail));
            rf_jinja_sb_str(&b, head.s);
            rf_jinja_sb_str(&b, tail.s);
        }
        if (!sep) break;
        from = i;
        i += rf_utf8_decode(s.s->p + i, s.s->len - i, &cp);
        rf_jinja_sb_slice(&b, s.s, from, i);
    }
    return rf_jinja_sb_done(&b, out);
}

FILTER(f_trim)
{
    struct rf_jv s;
    RF_TRY(rf_jinja_str(J, v, &s));
    return rf_jinja_strip(J, s.s, a[0], true, true, out);
}

FILTER(f_replace) /* old, new, count */
{
    struct rf_jv s, from, to;
    int64_t count = -1;
    RF_TRY(rf_jinja_str(J, v, &s));
    RF_TRY(rf_jinja_str(J, a[0], &from));
    RF_TRY(rf_jinja_str(J, a[1], &to));
    if (given(a[2])) RF_TRY(rf_jinja_to_int(J, a[2], &count));
    return rf_jinja_replace(J, s.s, from.s, to.s, count, out);
}

FILTER(f_center) /* width */
{
    struct rf_jv s;
    int64_t width = 80;
    RF_TRY(rf_jinja_str(J, v, &s));
    if (a[0].kind != RF_JV_MISSING) RF_TRY(rf_jinja_to_int(J, a[0], &width));
    return rf_jinja_center(J, s.s, width, NULL, 'c', out);
}

FILTER(f_indent) /* width, first, blank */
{
    struct rf_jsb b = {.J = J};
    struct rf_jv indent, lines, s;
    char spaces[256];
    RF_TRY(rf_jinja_use(J, v));
    if (v.kind != RF_JV_STR) return rf_jinja_fail(J, "unsupported operand type(s) for +=: '%s' and 'str'", rf_jinja_type(v));
    if (a[0].kind == RF_JV_STR) {
        indent = a[0];
    } else {
        int64_t width = 4;
        if (a[0].kind != RF_JV_MISSING) RF_TRY(rf_jinja_to_int(J, a[0], &width));
        if (width > (int64_t)sizeof spaces) return rf_jinja_fail(J, "indent: a width of %lld is too large", (long long)width);
        memset(spaces, ' ', sizeof spaces);
        RF_TRY(rf_jinja_str_from(J, spaces, width > 0 ? (size_t)width : 0, true, &indent));
    }
    RF_TRY(rf_jinja_str_from(J, "\n", 1, true, &s));
    RF_TRY(rf_jinja_concat(J, v.s, s.s, &s)); /* so that a last empty line counts */
    RF_TRY(rf_jinja_splitlines(J, s.s, false, &lines));
    if (rf_jinja_truth(a[1])) rf_jinja_sb_str(&b, indent.s);
    for (size_t i = 0; i < lines.l->n; i++) {
        const struct rf_jstr *line = lines.l->v[i].s;
        RF_TRY(rf_jinja_step(J, indent.s->len));
        if (i) rf_jinja_sb_add(&b, "\n", 1, true);
        if (i && (line->len || rf_jinja_truth(a[2]))) rf_jinja_sb_str(&b, indent.s);
        rf_jinja_sb_str(&b, line);
    }
    RF_TRY(rf_jinja_sb_done(&b, out));
    out->s->markup = v.s->markup;
    return RF_OK;
}

FILTER(f_truncate) /* length, killwords, end, leeway */
{
    int64_t length = 255, leeway = 5;
    struct rf_jv end, cut, parts, space;
    size_t n;
    if (!rf_jinja_len(v, &n)) return rf_jinja_fail(J, "object of type '%s' has no len()", rf_jinja_type(v));
    if (a[0].kind != RF_JV_MISSING) RF_TRY(rf_jinja_to_int(J, a[0], &length));
    if (given(a[3])) RF_TRY(rf_jinja_to_int(J, a[3], &leeway));
    if (a[2].kind == RF_JV_MISSING) RF_TRY(rf_jinja_str_from(J, "...", 3, true, &end));
    else end = a[2];
    RF_TRY(want_str(J, end));
    if (length < end.s->n_chars) return rf_jinja_fail(J, "expected length >= %u, got %lld", end.s->n_chars, (long long)length);
    if (leeway < 0) return rf_jinja_fail(J, "expected leeway >= 0, got %lld", (long long)leeway);
    if ((int64_t)n <= length || (int64_t)n - length <= leeway) {
        *out = v;
        return RF_OK;
    }
    RF_TRY(want_str(J, v));
    RF_TRY(rf_jinja_str_slice(J, v.s, 0, rf_jinja_char_at(v.s, (size_t)length - end.s->n_chars), &cut));
    if (!rf_jinja_truth(a[1])) {
        RF_TRY(rf_jinja_str_from(J, " ", 1, true, &space));
        RF_TRY(rf_jinja_split(J, cut.s, space, 1, true, &parts));
        cut = parts.l->v[0];
    }
    return rf_jinja_concat(J, cut.s, end.s, out);
}

FILTER(f_wordcount)
{
    struct rf_jv s;
    int64_t words = 0;
    bool inside = false;
    (void)a;
    RF_TRY(rf_jinja_str(J, v, &s));
    RF_TRY(rf_jinja_step(J, 10 * (size_t)s.s->len));
    for (size_t i = 0, n; i < s.s->len; i += n) {
        uint32_t cp;
        n = rf_utf8_decode(s.s->p + i, s.s->len - i, &cp);
        if (!n) n = 1;
        utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
        bool word = cp == '_' || (c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_LO) ||
                    (c >= UTF8PROC_CATEGORY_ND && c <= UTF8PROC_CATEGORY_NO);
        words += word && !inside;
        inside = word;
    }
    *out = rf_jv_int(words);
    return RF_OK;
}

/* ---- wordwrap: greedy lines of chunks, a chunk being white space or a word, cut behind inner hyphens ------------- */

static bool is_letter(const struct rf_jstr *s, size_t i)
{
    return i < s->len && (((s->p[i] | 0x20) >= 'a' && (s->p[i] | 0x20) <= 'z') || (s->p[i] & 0x80));
}

static bool wrap_space(char c) { return c == ' ' || (c >= 9 && c <= 13); }

static size_t chunk_end(const struct rf_jstr *s, size_t from, bool hyphens)
{
    size_t i = from;
    bool space = wrap_space(s->p[i]);
    while (i < s->len && wrap_space(s->p[i]) == space) {
        i++;
        bool cut = hyphens && !space && s->p[i - 1] == '-' && i - from > 2 && is_letter(s, i - 2) && is_letter(s, i - 3) &&
                   is_letter(s, i) && is_letter(s, i + 1);
        if (cut) break;
    }
    return i;
}

struct wrap { struct rf_jsb *b; const struct rf_jstr *s, *sep; size_t width, line_from, line_to, line_chars; bool any; };

static void wrap_flush(struct wrap *w, bool trim)
{
    size_t to = w->line_to;
    while (trim && to > w->line_from && wrap_space(w->s->p[to - 1])) to--;
    if (to > w->line_from) {
        if (w->any) rf_jinja_sb_str(w->b, w->sep);
        rf_jinja_sb_slice(w->b, w->s, w->line_from, to);
        w->any = true;
    }
    w->line_chars = 0;
}

static void wrap_line(struct wrap *w, bool break_long, bool hyphens)
{
    const struct rf_jstr *s = w->s;
    for (size_t i = 0, end; i < s->len; i = end) {
        end = chunk_end(s, i, hyphens);
        size_t chars = rf_jinja_chars(s, i, end);
        if (w->line_chars && w->line_chars + chars > w->width) {
            bool too_long = chars > w->width && break_long && !wrap_space(s->p[i]);
            size_t room = w->width - w->line_chars;
            if (too_long && room) { /* the beginning of an over-long word fills the line */
                for (end = i; room; room--)
                    do end++;
                    while (end < s->len && (s->p[end] & 0xc0) == 0x80);
                w->line_to = end;
                wrap_flush(w, true);
                continue;
            }
            wrap_flush(w, !too_long); /* as in textwrap, an over-long word that finds no room keeps the space before it */
        }
        if (!w->line_chars) {
            if (wrap_space(s->p[i]) && w->any) continue; /* no white space at a line's beginning, but at the first's */
            w->line_from = i;
        }
        if (chars > w->width && break_long) {
            size_t room = w->width - w->line_chars;
            for (end = i; room; room--)
                do end++;
                while (end < s->len && (s->p[end] & 0xc0) == 0x80);
            w->line_to = end;
            w->line_chars = w->width;
            wrap_flush(w, true);
            continue;
        }
        w->line_to = end;
        w->line_chars += chars;
    }
    if (w->line_chars) wrap_flush(w, true);
}

FILTER(f_wordwrap) /* width, break_long_words, wrapstring, break_on_hyphens */
{
    struct rf_jsb b = {.J = J};
    struct rf_jv lines, sep;
    int64_t width = 79;
    RF_TRY(want_str(J, v));
    if (a[0].kind != RF_JV_MISSING) RF_TRY(rf_jinja_to_int(J, a[0], &width));
    if (width <= 0) return rf_jinja_fail(J, "invalid width %lld (must be > 0)", (long long)width);
    if (given(a[2])) sep = a[2];
    else RF_TRY(rf_jinja_str_from(J, "\n", 1, true, &sep));
    RF_TRY(want_str(J, sep));
    RF_TRY(rf_jinja_splitlines(J, v.s, false, &lines));
    for (size_t i = 0; i < lines.l->n; i++) {
        struct wrap w = {.b = &b, .s = lines.l->v[i].s, .sep = sep.s, .width = (size_t)width};
        RF_TRY(rf_jinja_step(J, 32 * (size_t)w.s->len));
        if (i) rf_jinja_sb_str(&b, sep.s);
        wrap_line(&w, a[1].kind == RF_JV_MISSING || rf_jinja_truth(a[1]), a[3].kind == RF_JV_MISSING || rf_jinja_truth(a[3]));
    }
    return rf_jinja_sb_done(&b, out);
}

/* ---- HTML and URLs -------------------------------------------------------------------------------------------- */

FILTER(f_escape)
{
    struct rf_jv s;
    (void)a;
    RF_TRY(rf_jinja_str(J, v, &s));
    return rf_jinja_escape(J, s.s, out);
}

FILTER(f_forceescape)
{
    struct rf_jv s;
    (void)a;
    RF_TRY(rf_jinja_str(J, v, &s));
    struct rf_jstr plain = *s.s;
    plain.markup = false;
    return rf_jinja_escape(J, &plain, out);
}

FILTER(f_safe)
{
    struct rf_jv s;
    struct rf_jstr *copy;
    (void)a;
    RF_TRY(rf_jinja_str(J, v, &s));
    RF_TRY(rf_jinja_alloc(J, 1, sizeof *copy, &copy));
    *copy = *s.s;
    copy->markup = true;
    *out = rf_jv_str(copy);
    return RF_OK;
}

/* The reference at s[i] ("&lt;" and so on): its bytes to b and its length, or 0. */
static size_t unescape(struct rf_jsb *b, const struct rf_jstr *s, size_t i)
{
    static const struct { const char *name, *text; } refs[] = {
        {"&lt;", "<"}, {"&gt;", ">"}, {"&amp;", "&"}, {"&quot;", "\""}, {"&apos;", "'"}, {"&nbsp;", "\xc2\xa0"}};
    char utf8[4];
    size_t k = i + 2;
    uint32_t cp = 0;
    for (size_t r = 0; r < RF_COUNT(refs); r++) {
        size_t n = strlen(refs[r].name);
        if (s->len - i < n || memcmp(s->p + i, refs[r].name, n)) continue;
        rf_jinja_sb_add(b, refs[r].text, strlen(refs[r].text), rf_jinja_trust_at(s, i));
        return n;
    }
    if (s->len - i < 4 || s->p[i + 1] != '#') return 0;
    bool hex = (s->p[k] | 0x20) == 'x';
    for (k += hex; k < s->len && cp <= 0x10ffff; k++) {
        char c = s->p[k];
        int d = c >= '0' && c <= '9' ? c - '0' : hex && (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10 : -1;
        if (d < 0) break;
        cp = cp * (hex ? 16 : 10) + (uint32_t)d;
    }
    if (k >= s->len || s->p[k] != ';' || !cp || cp > 0x10ffff || (cp >= 0xd800 && cp < 0xe000)) return 0;
    rf_jinja_sb_add(b, utf8, rf_utf8_encode(cp, utf8), rf_jinja_trust_at(s, i));
    return k + 1 - i;
}

FILTER(f_striptags)
{
    struct rf_jsb b = {.J = J}, un = {.J = J};
    struct rf_jv s, words, space, gt, joined;
    (void)a;
    RF_TRY(rf_jinja_str(J, v, &s));
    size_t n = s.s->len;
    RF_TRY(rf_jinja_step(J, 4 * n));
    struct rf_jstr comment = {.p = "-->", .len = 3};
    struct rf_jv no_comments;
    for (size_t i = 0, from = 0; i <= n; i++) { /* comments first, then tags, as markupsafe does */
        size_t end = n - i >= 4 && !memcmp(s.s->p + i, "<!--", 4) ? rf_jinja_find(s.s, &comment, i + 4, n) : SIZE_MAX;
        if (end == SIZE_MAX && i < n) {
            if (n - i >= 4 && !memcmp(s.s->p + i, "<!--", 4)) { /* never closed */
                rf_jinja_sb_slice(&b, s.s, from, n);
                break;
            }
            continue;
        }
        rf_jinja_sb_slice(&b, s.s, from, i);
        if (i < n) from = end + 3, i = from - 1;
    }
    RF_TRY(rf_jinja_sb_done(&b, &no_comments));
    b = (struct rf_jsb){.J = J};
    RF_TRY(rf_jinja_str_from(J, ">", 1, true, &gt));
    s = no_comments;
    for (size_t i = 0; i < s.s->len;) {
        const char *lt = memchr(s.s->p + i, '<', s.s->len - i);
        size_t at = lt ? (size_t)(lt - s.s->p) : s.s->len;
        size_t end = lt ? rf_jinja_find(s.s, gt.s, at, s.s->len) : SIZE_MAX;
        rf_jinja_sb_slice(&b, s.s, i, end == SIZE_MAX ? s.s->len : at);
        if (end == SIZE_MAX) break;
        i = end + 1;
    }
    RF_TRY(rf_jinja_sb_done(&b, &s));
    RF_TRY(rf_jinja_split(J, s.s, rf_jv_none(), -1, false, &words));
    RF_TRY(rf_jinja_str_from(J, " ", 1, true, &space));
    RF_TRY(rf_jinja_join(J, space.s, words, true, &joined));
    for (size_t i = 0; i < joined.s->len;) {
        size_t k = joined.s->p[i] == '&' ? unescape(&un, joined.s, i) : 0;
        if (!k) rf_jinja_sb_slice(&un, joined.s, i, i + 1);
        i += k ? k : 1;
    }
    return rf_jinja_sb_done(&un, out);
}

static rf_status quote(struct rf_jsb *b, struct rf_jv v, bool query)
{
    static const char safe[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-~";
    static const char digits[] = "0123456789ABCDEF";
    struct rf_jv s;
    char hex[8];
    RF_TRY(rf_jinja_str(b->J, v, &s));
    RF_TRY(rf_jinja_step(b->J, 24 * (size_t)s.s->len));
    for (size_t i = 0; i < s.s->len; i++) {
        char c = s.s->p[i];
        if (c && (strchr(safe, c) || (c == '/' && !query))) {
            rf_jinja_sb_slice(b, s.s, i, i + 1);
            continue;
        }
        if (c == ' ' && query) strcpy(hex, "+");
        else memcpy(hex, (char[]){'%', digits[(unsigned char)c >> 4], digits[c & 15], 0}, 4);
        rf_jinja_sb_add(b, hex, strlen(hex), rf_jinja_trust_at(s.s, i));
    }
    return b->bad;
}

FILTER(f_urlencode)
{
    struct rf_jsb b = {.J = J};
    struct rf_jiter it;
    struct rf_jv pair, kv;
    bool more;
    (void)a;
    if (v.kind == RF_JV_STR || !rf_jinja_iterable(v)) {
        RF_TRY(quote(&b, v, false));
        return rf_jinja_sb_done(&b, out);
    }
    if (v.kind == RF_JV_DICT) {
        struct rf_jview *view;
        RF_TRY(rf_jinja_alloc(J, 1, sizeof *view, &view));
        *view = (struct rf_jview){v.d, 'i'};
        v = (struct rf_jv){.kind = RF_JV_VIEW, .view = view};
    }
    RF_TRY(rf_jinja_iter(J, v, &it));
    for (size_t i = 0;; i++) {
        RF_TRY(rf_jinja_next(J, &it, &pair, &more));
        if (!more) break;
        RF_TRY(rf_jinja_collect(J, pair, &kv));
        if (kv.l->n != 2) return rf_jinja_fail(J, "urlencode needs pairs of key and value");
        if (i) rf_jinja_sb_lit(&b, "&");
        RF_TRY(quote(&b, kv.l->v[0], true));
        rf_jinja_sb_lit(&b, "=");
        RF_TRY(quote(&b, kv.l->v[1], true));
    }
    return rf_jinja_sb_done(&b, out);
}

FILTER(f_xmlattr) /* autospace */
{
    struct rf_jsb b = {.J = J};
    struct rf_jv s, e;
    bool any = false;
    RF_TRY(rf_jinja_use(J, v));
    if (v.kind != RF_JV_DICT) return rf_jinja_fail(J, "'%s' object has no attribute 'items'", rf_jinja_type(v));
    for (uint32_t i = 0; i < v.d->n; i++) {
        const struct rf_jentry *entry = &v.d->e[i];
        if (entry->value.kind == RF_JV_NONE || entry->value.kind == RF_JV_UNDEF) continue;
        RF_TRY(want_str(J, entry->key));
        for (size_t k = 0; k < entry->key.s->len; k++)
            if (entry->key.s->p[k] && strchr(" \t\n\r\f\v/>=", entry->key.s->p[k]))
                return rf_jinja_fail(J, "Invalid character in attribute name");
        if (any || a[0].kind == RF_JV_MISSING || rf_jinja_truth(a[0])) rf_jinja_sb_add(&b, " ", 1, true);
        any = true;
        RF_TRY(rf_jinja_escape(J, entry->key.s, &e));
        rf_jinja_sb_str(&b, e.s);
        rf_jinja_sb_add(&b, "=\"", 2, true);
        RF_TRY(rf_jinja_str(J, entry->value, &s));
        RF_TRY(rf_jinja_escape(J, s.s, &e));
        rf_jinja_sb_str(&b, e.s);
        rf_jinja_sb_add(&b, "\"", 1, true);
    }
    return rf_jinja_sb_done(&b, out);
}

static rf_status f_format(struct rf_jinja *J, struct rf_jv v, const struct rf_jargs *args, struct rf_jv *out)
{
    struct rf_jv s, arg;
    if (args->n_pos && args->n_kw) return rf_jinja_fail(J, "can't handle positional and keyword arguments at the same time");
    RF_TRY(rf_jinja_str(J, v, &s));
    if (args->n_kw) {
        RF_TRY(rf_jinja_dict(J, &arg));
        for (uint32_t i = 0; i < args->n_kw; i++)
            RF_TRY(rf_jinja_dict_set(J, arg.d, rf_jv_str((struct rf_jstr *)args->kw_name[i]), args->kw[i]));
    } else {
        RF_TRY(rf_jinja_list(J, RF_JV_TUPLE, args->n_pos, &arg));
        for (uint32_t i = 0; i < args->n_pos; i++) RF_TRY(rf_jinja_push(J, arg.l, args->pos[i]));
    }
    return rf_jinja_percent(J, s.s, arg, out);
}

const struct rf_jbuiltin rf_jinja_text_filters[] = {
    {"capitalize", f_capitalize, NULL, "", 0}, {"center", f_center, NULL, "width", 0}, {"e", f_escape, NULL, "", 0},
    {"escape", f_escape, NULL, "", 0}, {"forceescape", f_forceescape, NULL, "", 0}, {"format", NULL, f_format, "", 0},
    {"indent", f_indent, NULL, "width,first,blank", 0}, {"lower", f_lower, NULL, "", 0},
    {"replace", f_replace, NULL, "old,new,count", 2}, {"safe", f_safe, NULL, "", 0}, {"striptags", f_striptags, NULL, "", 0},
    {"title", f_title, NULL, "", 0}, {"trim", f_trim, NULL, "chars", 0},
    {"truncate", f_truncate, NULL, "length,killwords,end,leeway", 0}, {"upper", f_upper, NULL, "", 0},
    {"urlencode", f_urlencode, NULL, "", 0}, {"wordcount", f_wordcount, NULL, "", 0},
    {"wordwrap", f_wordwrap, NULL, "width,break_long_words,wrapstring,break_on_hyphens", 0},
    {"xmlattr", f_xmlattr, NULL, "autospace", 0}, {NULL, NULL, NULL, NULL, 0}};
