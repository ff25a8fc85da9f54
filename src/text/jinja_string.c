/* What Python's str methods do, once, for methods and filters alike. Trust of the bytes goes along. */
#include "text/jinja_run.h"

#include <utf8proc.h>

#include "base/utf8.h"

/* ---- case ----------------------------------------------------------------------------------------------------- */

/* Upper case of these is more than one character (Unicode SpecialCasing.txt, unconditional rows most in use). */
static const struct { uint32_t cp; const char *upper, *title; } special_upper[] = {
    {0xdf, "SS", "Ss"}, {0x149, "\xca\xbcN", "\xca\xbcN"}, {0x1f0, "J\xcc\x8c", "J\xcc\x8c"},
    {0x390, "\xce\x99\xcc\x88\xcc\x81", "\xce\x99\xcc\x88\xcc\x81"}, {0x3b0, "\xce\xa5\xcc\x88\xcc\x81", "\xce\xa5\xcc\x88\xcc\x81"},
    {0x587, "\xd4\xb5\xd5\x92", "\xd4\xb5\xd6\x82"}, {0x1e96, "H\xcc\xb1", "H\xcc\xb1"}, {0x1e97, "T\xcc\x88", "T\xcc\x88"},
    {0x1e98, "W\xcc\x8a", "W\xcc\x8a"}, {0x1e99, "Y\xcc\x8a", "Y\xcc\x8a"}, {0x1e9a, "A\xca\xbe", "A\xca\xbe"},
    {0xfb00, "FF", "Ff"}, {0xfb01, "FI", "Fi"}, {0xfb02, "FL", "Fl"}, {0xfb03, "FFI", "Ffi"}, {0xfb04, "FFL", "Ffl"},
    {0xfb05, "ST", "St"}, {0xfb06, "ST", "St"}};

static bool is_cased(uint32_t cp)
{
    utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
    return c == UTF8PROC_CATEGORY_LU || c == UTF8PROC_CATEGORY_LL || c == UTF8PROC_CATEGORY_LT || cp == 0xaa || cp == 0xba ||
           utf8proc_toupper((utf8proc_int32_t)cp) != (utf8proc_int32_t)cp || utf8proc_tolower((utf8proc_int32_t)cp) != (utf8proc_int32_t)cp;
}

static bool is_lower(uint32_t cp)
{
    return utf8proc_category((utf8proc_int32_t)cp) == UTF8PROC_CATEGORY_LL || cp == 0xaa || cp == 0xba ||
           (is_cased(cp) && utf8proc_toupper((utf8proc_int32_t)cp) != (utf8proc_int32_t)cp);
}

static bool is_upper(uint32_t cp)
{
    return utf8proc_category((utf8proc_int32_t)cp) == UTF8PROC_CATEGORY_LU ||
           (is_cased(cp) && utf8proc_tolower((utf8proc_int32_t)cp) != (utf8proc_int32_t)cp &&
            utf8proc_category((utf8proc_int32_t)cp) != UTF8PROC_CATEGORY_LT);
}

static void add_upper(struct rf_jsb *b, uint32_t cp, bool title, bool trusted)
{
    char out[4];
    for (size_t i = 0; cp >= 0x80 && i < RF_COUNT(special_upper); i++) {
        if (special_upper[i].cp != cp) continue;
        const char *s = title ? special_upper[i].title : special_upper[i].upper;
        rf_jinja_sb_add(b, s, strlen(s), trusted);
        return;
    }
    utf8proc_int32_t c = (utf8proc_int32_t)cp;
    rf_jinja_sb_add(b, out, rf_utf8_encode((uint32_t)(title ? utf8proc_totitle(c) : utf8proc_toupper(c)), out), trusted);
}

/* A capital sigma at a word's end becomes the final form (Unicode 3.13, Final_Sigma). */
static bool final_sigma(const struct rf_jstr *s, size_t i)
{
    uint32_t cp = 0;
    bool before = false;
    for (size_t k = i; k > 0;) {
        do k--;
        while (k > 0 && (s->p[k] & 0xc0) == 0x80);
        rf_utf8_decode(s->p + k, s->len - k, &cp);
        if (cp == '\'' || cp == '.' || cp == ':' || utf8proc_category((utf8proc_int32_t)cp) == UTF8PROC_CATEGORY_MN) continue;
        before = is_cased(cp);
        break;
    }
    for (size_t k = i + 2; before && k < s->len;) {
        unsigned n = rf_utf8_decode(s->p + k, s->len - k, &cp);
        if (cp != '\'' && cp != '.' && cp != ':' && utf8proc_category((utf8proc_int32_t)cp) != UTF8PROC_CATEGORY_MN) return !is_cased(cp);
        k += n ? n : 1;
    }
    return before;
}

static void add_lower(struct rf_jsb *b, const struct rf_jstr *s, size_t i, uint32_t cp, bool trusted)
{
    char out[4];
    if (cp == 0x130) {
        rf_jinja_sb_add(b, "i\xcc\x87", 3, trusted);
        return;
    }
    uint32_t low = cp == 0x3a3 && final_sigma(s, i) ? 0x3c2 : (uint32_t)utf8proc_tolower((utf8proc_int32_t)cp);
    rf_jinja_sb_add(b, out, rf_utf8_encode(low, out), trusted);
}

static void add_folded(struct rf_jsb *b, uint32_t cp, bool trusted)
{
    utf8proc_int32_t to[8];
    int last = 0;
    utf8proc_ssize_t n = utf8proc_decompose_char((utf8proc_int32_t)cp, to, RF_COUNT(to), UTF8PROC_CASEFOLD, &last);
    for (utf8proc_ssize_t i = 0; i < RF_MIN(n, (utf8proc_ssize_t)RF_COUNT(to)); i++) {
        char out[4];
        rf_jinja_sb_add(b, out, rf_utf8_encode((uint32_t)to[i], out), trusted);
    }
}

rf_status rf_jinja_case(struct rf_jinja *J, const struct rf_jstr *s, enum rf_jcase how, struct rf_jv *out)
{
    struct rf_jsb b = {.J = J};
    bool in_word = false;
    RF_TRY(rf_jinja_step(J, 40 * (size_t)s->len));
    for (size_t i = 0, n; i < s->len; i += n) {
        uint32_t cp;
        bool trusted = rf_jinja_trust_at(s, i);
        n = rf_utf8_decode(s->p + i, s->len - i, &cp);
        if (!n) n = 1;
        bool up = how == RF_JCASE_UPPER || (how == RF_JCASE_SWAP && is_lower(cp));
        bool title = (how == RF_JCASE_CAPITALIZE && i == 0) || (how == RF_JCASE_TITLE && !in_word);
        if (how == RF_JCASE_SWAP && !is_lower(cp) && !is_upper(cp)) rf_jinja_sb_slice(&b, s, i, i + n);
        else if (how == RF_JCASE_FOLD) add_folded(&b, cp, trusted);
        else if (up || title) add_upper(&b, cp, title, trusted);
        else add_lower(&b, s, i, cp, trusted);
        in_word = is_cased(cp);
    }
    RF_TRY(rf_jinja_sb_done(&b, out));
    if (!s->len) out->s->trusted = s->trusted;
    out->s->markup = s->markup;
    return RF_OK;
}

static bool all_case(const struct rf_jstr *s, bool lower)
{
    bool any = false;
    for (size_t i = 0, n; i < s->len; i += n) {
        uint32_t cp;
        n = rf_utf8_decode(s->p + i, s->len - i, &cp);
        if (!n) n = 1;
        if (lower ? is_upper(cp) : is_lower(cp)) return false;
        if (utf8proc_category((utf8proc_int32_t)cp) == UTF8PROC_CATEGORY_LT) return false;
        any |= lower ? is_lower(cp) : is_upper(cp);
    }
    return any;
}

bool rf_jinja_islower(const struct rf_jstr *s) { return all_case(s, true); }
bool rf_jinja_isupper(const struct rf_jstr *s) { return all_case(s, false); }

/* ---- cutting -------------------------------------------------------------------------------------------------- */

static bool strips(const struct rf_jstr *set, const char *p, size_t n) /* is the character at p[n] one to strip? */
{
    uint32_t cp;
    if (!set) return rf_utf8_decode(p, n, &cp) && rf_jinja_is_space(cp);
    for (size_t i = 0, k; i < set->len; i += k) {
        k = 1;
        while (i + k < set->len && (set->p[i + k] & 0xc0) == 0x80) k++;
        if (k == n && !memcmp(set->p + i, p, n)) return true;
    }
    return false;
}

rf_status rf_jinja_strip(struct rf_jinja *J, struct rf_jstr *s, struct rf_jv chars, bool left, bool right, struct rf_jv *out)
{
    const struct rf_jstr *set = NULL;
    size_t from = 0, to = s->len;
    if (chars.kind == RF_JV_STR) set = chars.s;
    else if (chars.kind != RF_JV_MISSING && chars.kind != RF_JV_NONE)
        return rf_jinja_fail(J, "strip arg must be None or str, not %s", rf_jinja_type(chars));
    RF_TRY(rf_jinja_step(J, s->len + (set ? set->len : 0)));
    while (left && from < to) {
        size_t n = 1;
        while (from + n < to && (s->p[from + n] & 0xc0) == 0x80) n++;
        if (!strips(set, s->p + from, n)) break;
        if (set) RF_TRY(rf_jinja_step(J, 4 * (size_t)set->len));
        from += n;
    }
    while (right && to > from) {
        size_t k = to - 1;
        while (k > from && (s->p[k] & 0xc0) == 0x80) k--;
        if (!strips(set, s->p + k, to - k)) break;
        if (set) RF_TRY(rf_jinja_step(J, 4 * (size_t)set->len));
        to = k;
    }
    return rf_jinja_str_slice(J, s, from, to, out);
}

rf_status rf_jinja_replace(struct rf_jinja *J, const struct rf_jstr *s, const struct rf_jstr *from, const struct rf_jstr *to,
                           int64_t count, struct rf_jv *out)
{
    struct rf_jsb b = {.J = J};
    size_t at = 0;
    RF_TRY(rf_jinja_search_step(J, from, s->len));
    if (!from->len) { /* between all characters */
        for (size_t i = 0; count != 0 && i <= s->len; count--) {
            RF_TRY(rf_jinja_step(J, to->len));
            rf_jinja_sb_str(&b, to);
            if (i == s->len) {
                at = i;
                break;
            }
            do i++;
            while (i < s->len && (s->p[i] & 0xc0) == 0x80);
            rf_jinja_sb_slice(&b, s, at, i);
            at = i;
        }
    }
    while (from->len && count != 0) {
        size_t hit = rf_jinja_find(s, from, at, s->len);
        if (hit == SIZE_MAX) break;
        RF_TRY(rf_jinja_step(J, to->len));
        rf_jinja_sb_slice(&b, s, at, hit);
        rf_jinja_sb_str(&b, to);
        at = hit + from->len;
        count--;
    }
    rf_jinja_sb_slice(&b, s, at, s->len);
    return rf_jinja_sb_done(&b, out);
}

/* strict: items must be strings (str.join); else they are made into text (the filter). */
rf_status rf_jinja_join(struct rf_jinja *J, const struct rf_jstr *sep, struct rf_jv of, bool strict, struct rf_jv *out)
{
    struct rf_jsb b = {.J = J};
    struct rf_jiter it;
    struct rf_jv v;
    bool more;
    RF_TRY(rf_jinja_iter(J, of, &it));
    for (size_t i = 0;; i++) {
        RF_TRY(rf_jinja_next(J, &it, &v, &more));
        if (!more) break;
        if (strict && v.kind != RF_JV_STR)
            return rf_jinja_fail(J, "sequence item %zu: expected str instance, %s found", i, rf_jinja_type(v));
        if (i) rf_jinja_sb_str(&b, sep);
        RF_TRY(rf_jinja_str(J, v, &v));
        RF_TRY(rf_jinja_step(J, v.s->len + sep->len));
        rf_jinja_sb_str(&b, v.s);
    }
    return rf_jinja_sb_done(&b, out);
}

rf_status rf_jinja_center(struct rf_jinja *J, struct rf_jstr *s, int64_t width, const struct rf_jstr *fill, char how,
                          struct rf_jv *out)
{
    static const struct rf_jstr space = {.p = " ", .len = 1, .n_chars = 1, .trusted = true};
    struct rf_jsb b = {.J = J};
    if (!fill) fill = &space;
    if (fill->n_chars != 1) return rf_jinja_fail(J, "The fill character must be exactly one character long");
    int64_t pad = width > s->n_chars ? width - s->n_chars : 0;
    if ((uint64_t)pad > J->arena.max) return rf_fail(J->err, RF_TOO_LARGE, "chat template line %u: the budget of memory is used up", J->line);
    RF_TRY(rf_jinja_step(J, 8 * (size_t)pad));
    int64_t left = how == 'l' ? 0 : how == 'r' ? pad : pad / 2 + (pad & width & 1); /* CPython's rounding */
    rf_jinja_sb_fill(&b, fill, left);
    rf_jinja_sb_str(&b, s);
    rf_jinja_sb_fill(&b, fill, pad - left);
    RF_TRY(rf_jinja_sb_done(&b, out));
    out->s->markup = s->markup;
    return RF_OK;
}

/* Bytes of the line break at i, 0 if none: what str.splitlines takes for one. */
static size_t line_break(const struct rf_jstr *s, size_t i)
{
    uint32_t cp;
    unsigned n = rf_utf8_decode(s->p + i, s->len - i, &cp);
    if (cp == '\r' && i + 1 < s->len && s->p[i + 1] == '\n') return 2;
    return (cp >= 10 && cp <= 13) || (cp >= 0x1c && cp <= 0x1e) || cp == 0x85 || cp == 0x2028 || cp == 0x2029 ? n : 0;
}

rf_status rf_jinja_splitlines(struct rf_jinja *J, struct rf_jstr *s, bool keep_ends, struct rf_jv *out)
{
    struct rf_jv list, line;
    size_t from = 0;
    RF_TRY(rf_jinja_list(J, RF_JV_LIST, 0, &list));
    RF_TRY(rf_jinja_step(J, 6 * (size_t)s->len));
    for (size_t i = 0; i < s->len;) {
        size_t n = line_break(s, i);
        i += n ? n : 1;
        if (!n && i < s->len) continue;
        RF_TRY(rf_jinja_str_slice(J, s, from, n && !keep_ends ? i - n : i, &line));
        RF_TRY(rf_jinja_push(J, list.l, line));
        from = i;
    }
    *out = list;
    return RF_OK;
}

static size_t space_len(const struct rf_jstr *s, size_t i)
{
    uint32_t cp;
    unsigned n = rf_utf8_decode(s->p + i, s->len - i, &cp);
    return n && rf_jinja_is_space(cp) ? n : 0;
}

static size_t space_len_before(const struct rf_jstr *s, size_t i)
{
    size_t k = i - 1;
    while (k > 0 && (s->p[k] & 0xc0) == 0x80) k--;
    return space_len(s, k) == i - k ? i - k : 0;
}

static rf_status split_space(struct rf_jinja *J, struct rf_jstr *s, int64_t max, struct rf_jlist *l)
{
    struct rf_jv part;
    size_t i = 0, n;
    for (;;) {
        while (i < s->len && (n = space_len(s, i))) i += n;
        if (i >= s->len) return RF_OK;
        size_t from = i, to;
        if (max-- == 0) { /* the rest, with the white space at its end */
            to = i = s->len;
        } else {
            while (i < s->len && !space_len(s, i)) i++;
            to = i;
        }
        RF_TRY(rf_jinja_str_slice(J, s, from, to, &part));
        RF_TRY(rf_jinja_push(J, l, part));
    }
}

static rf_status rsplit_space(struct rf_jinja *J, struct rf_jstr *s, int64_t max, struct rf_jlist *l)
{
    struct rf_jv part;
    size_t i = s->len, n;
    for (;;) {
        while (i > 0 && (n = space_len_before(s, i))) i -= n;
        if (!i) return RF_OK;
        size_t to = i, from = 0;
        if (max-- == 0) {
            i = 0;
        } else {
            while (i > 0 && !space_len_before(s, i)) i--;
            from = i;
        }
        RF_TRY(rf_jinja_str_slice(J, s, from, to, &part));
        RF_TRY(rf_jinja_push(J, l, part));
    }
}

static rf_status split_sep(struct rf_jinja *J, struct rf_jstr *s, const struct rf_jstr *sep, int64_t max, bool right,
                           struct rf_jlist *l)
{
    struct rf_jv part;
    size_t from = 0, to = s->len;
    for (;;) {
        size_t hit = SIZE_MAX;
        if (max != 0 && right) RF_TRY(rf_jinja_rfind(J, s, sep, 0, to, &hit));
        else if (max != 0) hit = rf_jinja_find(s, sep, from, to);
        max--;
        bool last = hit == SIZE_MAX;
        RF_TRY(rf_jinja_str_slice(J, s, right && !last ? hit + sep->len : from, right || last ? to : hit, &part));
        RF_TRY(rf_jinja_push(J, l, part));
        if (last) return RF_OK;
        if (right) to = hit;
        else from = hit + sep->len;
    }
}

rf_status rf_jinja_split(struct rf_jinja *J, struct rf_jstr *s, struct rf_jv sep, int64_t max, bool from_right, struct rf_jv *out)
{
    struct rf_jv list;
    RF_TRY(rf_jinja_list(J, RF_JV_LIST, 0, &list));
    RF_TRY(rf_jinja_step(J, 2 * (size_t)s->len));
    if (sep.kind == RF_JV_STR) RF_TRY(rf_jinja_search_step(J, sep.s, s->len));
    if (sep.kind == RF_JV_MISSING || sep.kind == RF_JV_NONE) {
        RF_TRY(from_right ? rsplit_space(J, s, max, list.l) : split_space(J, s, max, list.l));
    } else {
        if (sep.kind != RF_JV_STR) return rf_jinja_fail(J, "must be str or None, not %s", rf_jinja_type(sep));
        if (!sep.s->len) return rf_jinja_fail(J, "empty separator");
        RF_TRY(split_sep(J, s, sep.s, max, from_right, list.l));
    }
    for (size_t i = 0; from_right && i < list.l->n / 2; i++) {
        struct rf_jv t = list.l->v[i];
        list.l->v[i] = list.l->v[list.l->n - 1 - i];
        list.l->v[list.l->n - 1 - i] = t;
    }
    *out = list;
    return RF_OK;
}
