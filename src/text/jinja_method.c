/* Methods of strings, numbers (jinja_number.c), lists, dicts, loops and cyclers: tables by type. What would change a value is listed as unsafe, as
 * in Jinja's immutable sandbox. */
#include "text/jinja_run.h"

#include <utf8proc.h>

#include "base/utf8.h"

static rf_status opt_int(struct rf_jinja *J, struct rf_jv v, int64_t otherwise, int64_t *out)
{
    *out = otherwise;
    return v.kind == RF_JV_MISSING ? RF_OK : rf_jinja_to_int(J, v, out);
}

static rf_status want_str(struct rf_jinja *J, struct rf_jv v)
{
    RF_TRY(rf_jinja_use(J, v));
    return v.kind == RF_JV_STR ? RF_OK : rf_jinja_fail(J, "must be str, not %s", rf_jinja_type(v));
}

#define METHOD(name) static rf_status name(struct rf_jinja *J, struct rf_jv self, struct rf_jv *a, struct rf_jv *out)
#define CASE_METHOD(name, how) \
    METHOD(name) { (void)a; return rf_jinja_case(J, self.s, how, out); }

CASE_METHOD(s_upper, RF_JCASE_UPPER)
CASE_METHOD(s_lower, RF_JCASE_LOWER)
CASE_METHOD(s_capitalize, RF_JCASE_CAPITALIZE)
CASE_METHOD(s_title, RF_JCASE_TITLE)
CASE_METHOD(s_swapcase, RF_JCASE_SWAP)
CASE_METHOD(s_casefold, RF_JCASE_FOLD)

METHOD(s_strip) { return rf_jinja_strip(J, self.s, a[0], true, true, out); }
METHOD(s_lstrip) { return rf_jinja_strip(J, self.s, a[0], true, false, out); }
METHOD(s_rstrip) { return rf_jinja_strip(J, self.s, a[0], false, true, out); }

static rf_status split(struct rf_jinja *J, struct rf_jv self, struct rf_jv *a, bool right, struct rf_jv *out)
{
    int64_t max;
    RF_TRY(opt_int(J, a[1], -1, &max));
    return rf_jinja_split(J, self.s, a[0], max < 0 ? -1 : max, right, out);
}
METHOD(s_split) { return split(J, self, a, false, out); }
METHOD(s_rsplit) { return split(J, self, a, true, out); }
METHOD(s_splitlines) { return rf_jinja_splitlines(J, self.s, rf_jinja_truth(a[0]), out); }
METHOD(s_join) { return rf_jinja_join(J, self.s, a[0], true, out); }

METHOD(s_replace)
{
    int64_t count;
    RF_TRY(want_str(J, a[0]));
    RF_TRY(want_str(J, a[1]));
    RF_TRY(opt_int(J, a[2], -1, &count));
    RF_TRY(rf_jinja_replace(J, self.s, a[0].s, a[1].s, count, out));
    out->s->markup = self.s->markup;
    return RF_OK;
}

/* Byte range of the optional start and end arguments; false if it is empty by being inverted. */
static rf_status char_range(struct rf_jinja *J, const struct rf_jstr *s, struct rf_jv from, struct rf_jv to, size_t *lo, size_t *hi,
                            bool *ok)
{
    int64_t n = s->n_chars, i = 0, k = n;
    if (from.kind != RF_JV_MISSING && from.kind != RF_JV_NONE) RF_TRY(rf_jinja_to_int(J, from, &i));
    if (to.kind != RF_JV_MISSING && to.kind != RF_JV_NONE) RF_TRY(rf_jinja_to_int(J, to, &k));
    if (i < 0) i = i < -n ? 0 : i + n;
    if (k < 0) k = k < -n ? 0 : k + n;
    k = RF_MIN(k, n);
    *ok = i <= k;
    RF_TRY(rf_jinja_step(J, s->len));
    *lo = *ok ? rf_jinja_char_at(s, (size_t)i) : 0;
    *hi = *ok ? rf_jinja_char_at(s, (size_t)k) : 0;
    return RF_OK;
}

static rf_status affix(struct rf_jinja *J, struct rf_jv self, struct rf_jv *a, bool at_end, struct rf_jv *out)
{
    size_t lo, hi, n = a[0].kind == RF_JV_TUPLE ? a[0].l->n : 1;
    const struct rf_jv *with = a[0].kind == RF_JV_TUPLE ? a[0].l->v : &a[0];
    bool ok;
    RF_TRY(char_range(J, self.s, a[1], a[2], &lo, &hi, &ok));
    *out = rf_jv_bool(false);
    for (size_t i = 0; i < n; i++) {
        if (with[i].kind != RF_JV_STR)
            return rf_jinja_fail(J, "%s first arg must be str or a tuple of str, not %s", at_end ? "endswith" : "startswith",
                                 rf_jinja_type(with[i]));
        const struct rf_jstr *w = with[i].s;
        RF_TRY(rf_jinja_step(J, w->len));
        if (ok && hi - lo >= w->len && !memcmp(self.s->p + (at_end ? hi - w->len : lo), w->p, w->len)) *out = rf_jv_bool(true);
    }
    return RF_OK;
}
METHOD(s_startswith) { return affix(J, self, a, false, out); }
METHOD(s_endswith) { return affix(J, self, a, true, out); }

static rf_status find(struct rf_jinja *J, struct rf_jv self, struct rf_jv *a, bool right, bool must, struct rf_jv *out)
{
    size_t lo, hi, at = SIZE_MAX;
    bool ok;
    RF_TRY(want_str(J, a[0]));
    RF_TRY(char_range(J, self.s, a[1], a[2], &lo, &hi, &ok));
    if (ok && !right) RF_TRY(rf_jinja_search_step(J, a[0].s, hi - lo));
    if (ok && !right) at = rf_jinja_find(self.s, a[0].s, lo, hi);
    if (ok && right) RF_TRY(rf_jinja_rfind(J, self.s, a[0].s, lo, hi, &at));
    if (at == SIZE_MAX && must) return rf_jinja_fail(J, "substring not found");
    *out = rf_jv_int(at == SIZE_MAX ? -1 : (int64_t)rf_jinja_chars(self.s, 0, at));
    return RF_OK;
}
METHOD(s_find) { return find(J, self, a, false, false, out); }
METHOD(s_rfind) { return find(J, self, a, true, false, out); }
METHOD(s_index) { return find(J, self, a, false, true, out); }
METHOD(s_rindex) { return find(J, self, a, true, true, out); }

METHOD(s_count)
{
    size_t lo, hi;
    int64_t n = 0;
    bool ok;
    RF_TRY(want_str(J, a[0]));
    RF_TRY(char_range(J, self.s, a[1], a[2], &lo, &hi, &ok));
    if (ok) RF_TRY(rf_jinja_search_step(J, a[0].s, hi - lo));
    if (ok && !a[0].s->len) n = (int64_t)rf_jinja_chars(self.s, lo, hi) + 1;
    while (ok && a[0].s->len && (lo = rf_jinja_find(self.s, a[0].s, lo, hi)) != SIZE_MAX) {
        n++;
        lo += a[0].s->len;
    }
    *out = rf_jv_int(n);
    return RF_OK;
}

static rf_status pad(struct rf_jinja *J, struct rf_jv self, struct rf_jv *a, char how, struct rf_jv *out)
{
    int64_t width;
    RF_TRY(rf_jinja_to_int(J, a[0], &width));
    if (a[1].kind != RF_JV_MISSING) RF_TRY(want_str(J, a[1]));
    return rf_jinja_center(J, self.s, width, a[1].kind == RF_JV_STR ? a[1].s : NULL, how, out);
}
METHOD(s_center) { return pad(J, self, a, 'c', out); }
METHOD(s_ljust) { return pad(J, self, a, 'l', out); }
METHOD(s_rjust) { return pad(J, self, a, 'r', out); }

METHOD(s_zfill)
{
    static const struct rf_jstr zero = {.p = "0", .len = 1, .n_chars = 1, .trusted = true};
    struct rf_jsb b = {.J = J};
    struct rf_jv digits, padded;
    int64_t width;
    size_t sign = self.s->len && (self.s->p[0] == '-' || self.s->p[0] == '+');
    RF_TRY(rf_jinja_to_int(J, a[0], &width));
    RF_TRY(rf_jinja_str_slice(J, self.s, sign, self.s->len, &digits));
    RF_TRY(rf_jinja_center(J, digits.s, width > 0 ? width - (int64_t)sign : 0, &zero, 'r', &padded));
    rf_jinja_sb_slice(&b, self.s, 0, sign);
    rf_jinja_sb_str(&b, padded.s);
    return rf_jinja_sb_done(&b, out);
}

static rf_status partition(struct rf_jinja *J, struct rf_jv self, struct rf_jv *a, bool right, struct rf_jv *out)
{
    struct rf_jv parts, t, p[3];
    struct rf_jstr *s = self.s;
    RF_TRY(want_str(J, a[0]));
    RF_TRY(rf_jinja_split(J, s, a[0], 1, right, &parts));
    RF_TRY(rf_jinja_str_slice(J, s, 0, 0, &p[right ? 0 : 2])); /* empty, and Markup if s is */
    p[1] = p[right ? 0 : 2];
    p[right ? 2 : 0] = parts.l->v[0];
    if (parts.l->n == 2) {
        size_t at = parts.l->v[0].s->len;
        p[0] = parts.l->v[0];
        RF_TRY(rf_jinja_str_slice(J, s, at, at + a[0].s->len, &p[1]));
        p[2] = parts.l->v[1];
    }
    RF_TRY(rf_jinja_list(J, RF_JV_TUPLE, 3, &t));
    for (int i = 0; i < 3; i++) RF_TRY(rf_jinja_push(J, t.l, p[i]));
    *out = t;
    return RF_OK;
}
METHOD(s_partition) { return partition(J, self, a, false, out); }
METHOD(s_rpartition) { return partition(J, self, a, true, out); }

METHOD(s_removeprefix)
{
    RF_TRY(want_str(J, a[0]));
    RF_TRY(rf_jinja_step(J, a[0].s->len));
    bool has = self.s->len >= a[0].s->len && !memcmp(self.s->p, a[0].s->p, a[0].s->len);
    return rf_jinja_str_slice(J, self.s, has ? a[0].s->len : 0, self.s->len, out);
}

METHOD(s_removesuffix)
{
    RF_TRY(want_str(J, a[0]));
    RF_TRY(rf_jinja_step(J, a[0].s->len));
    size_t n = a[0].s->len, len = self.s->len;
    bool has = len >= n && !memcmp(self.s->p + len - n, a[0].s->p, n);
    return rf_jinja_str_slice(J, self.s, 0, has ? len - n : len, out);
}

METHOD(s_expandtabs)
{
    struct rf_jsb b = {.J = J};
    int64_t size, col = 0;
    RF_TRY(opt_int(J, a[0], 8, &size));
    if (size > 1024) return rf_jinja_fail(J, "expandtabs: %lld columns are too many", (long long)size);
    for (size_t i = 0; i < self.s->len; i++) {
        char c = self.s->p[i];
        if (c != '\t') {
            rf_jinja_sb_slice(&b, self.s, i, i + 1);
            col = c == '\n' || c == '\r' ? 0 : col + ((c & 0xc0) != 0x80);
            continue;
        }
        RF_TRY(rf_jinja_step(J, 0));
        for (int64_t k = size > 0 ? size - col % size : 0; k > 0; k--, col++) rf_jinja_sb_add(&b, " ", 1, rf_jinja_trust_at(self.s, i));
    }
    return rf_jinja_sb_done(&b, out);
}

/* ---- character classes ---------------------------------------------------------------------------------------- */

static bool cat_in(uint32_t cp, unsigned set) { return set >> utf8proc_category((utf8proc_int32_t)cp) & 1; }
enum {
    CAT_ALPHA = 1u << UTF8PROC_CATEGORY_LU | 1u << UTF8PROC_CATEGORY_LL | 1u << UTF8PROC_CATEGORY_LT |
                1u << UTF8PROC_CATEGORY_LM | 1u << UTF8PROC_CATEGORY_LO,
    CAT_DECIMAL = 1u << UTF8PROC_CATEGORY_ND,
    CAT_NUMERIC = CAT_DECIMAL | 1u << UTF8PROC_CATEGORY_NL | 1u << UTF8PROC_CATEGORY_NO,
};

static bool is_superscript(uint32_t cp) /* Numeric_Type=Digit, the rows in common use */
{
    return cp == 0xb2 || cp == 0xb3 || cp == 0xb9 || cp == 0x2070 || (cp >= 0x2074 && cp <= 0x2079) || (cp >= 0x2080 && cp <= 0x2089) ||
           (cp >= 0x2460 && cp <= 0x2468) || (cp >= 0x2474 && cp <= 0x247c) || (cp >= 0x2488 && cp <= 0x2490) || cp == 0x24ea;
}

static bool c_alpha(uint32_t cp) { return cat_in(cp, CAT_ALPHA); }
static bool c_decimal(uint32_t cp) { return cat_in(cp, CAT_DECIMAL); }
static bool c_digit(uint32_t cp) { return c_decimal(cp) || is_superscript(cp); }
static bool c_numeric(uint32_t cp) { return cat_in(cp, CAT_NUMERIC); }
static bool c_alnum(uint32_t cp) { return c_alpha(cp) || c_numeric(cp); }
static bool c_ascii(uint32_t cp) { return cp < 0x80; }

static rf_status all(struct rf_jinja *J, const struct rf_jstr *s, bool (*test)(uint32_t), bool empty, struct rf_jv *out)
{
    bool yes = s->len ? true : empty;
    RF_TRY(rf_jinja_step(J, 2 * (size_t)s->len));
    for (size_t i = 0, n; i < s->len && yes; i += n) {
        uint32_t cp;
        n = rf_utf8_decode(s->p + i, s->len - i, &cp);
        yes = n && test(cp);
    }
    *out = rf_jv_bool(yes);
    return RF_OK;
}
#define CLASS_METHOD(name, test) \
    METHOD(name) { (void)a; return all(J, self.s, test, false, out); }
CLASS_METHOD(s_isalpha, c_alpha)
CLASS_METHOD(s_isdecimal, c_decimal)
CLASS_METHOD(s_isdigit, c_digit)
CLASS_METHOD(s_isnumeric, c_numeric)
CLASS_METHOD(s_isalnum, c_alnum)
CLASS_METHOD(s_isspace, rf_jinja_is_space)
METHOD(s_isascii) { (void)a; return all(J, self.s, c_ascii, true, out); }
METHOD(s_isprintable) { (void)a; return all(J, self.s, rf_jinja_is_printable, true, out); }

METHOD(s_islower)
{
    (void)a;
    *out = rf_jv_bool(rf_jinja_islower(self.s));
    return rf_jinja_step(J, 4 * (size_t)self.s->len);
}

METHOD(s_isupper)
{
    (void)a;
    *out = rf_jv_bool(rf_jinja_isupper(self.s));
    return rf_jinja_step(J, 4 * (size_t)self.s->len);
}

METHOD(s_istitle)
{
    struct rf_jv t;
    (void)a;
    RF_TRY(rf_jinja_case(J, self.s, RF_JCASE_TITLE, &t));
    bool any = false;
    for (size_t i = 0; i < self.s->len; i++) any |= (self.s->p[i] | 0x20) >= 'a' && (self.s->p[i] | 0x20) <= 'z';
    *out = rf_jv_bool(any && rf_jinja_str_eq(t.s, self.s));
    return RF_OK;
}

static rf_status s_format(struct rf_jinja *J, struct rf_jv self, const struct rf_jargs *args, struct rf_jv *out)
{
    return rf_jinja_format(J, self.s, args, out);
}

/* Python's format_map: the names of the format are looked up in one mapping. */
METHOD(s_format_map)
{
    struct rf_jargs args = {0};
    RF_TRY(rf_jinja_use(J, a[0]));
    if (a[0].kind != RF_JV_DICT) return rf_jinja_fail(J, "format_map() argument must be dict, not %s", rf_jinja_type(a[0]));
    const struct rf_jdict *d = a[0].d;
    RF_TRY(rf_jinja_alloc(J, d->n, sizeof *args.kw, &args.kw));
    RF_TRY(rf_jinja_alloc(J, d->n, sizeof *args.kw_name, &args.kw_name));
    for (uint32_t i = 0; i < d->n; i++) {
        if (d->e[i].key.kind != RF_JV_STR) continue;
        args.kw_name[args.n_kw] = d->e[i].key.s;
        args.kw[args.n_kw++] = d->e[i].value;
    }
    return rf_jinja_format(J, self.s, &args, out);
}

/* Python's identifiers: categories, and what Unicode lists one by one in Other_ID_Start and Other_ID_Continue, or leaves out of
 * XID_Start and XID_Continue because of its compatibility forms. */
enum { ID_START = 1, ID_MORE = 2 };
static const struct { uint32_t lo, hi; uint8_t is; } id_listed[] = {
    {0xb7, 0xb7, ID_MORE}, {0x37a, 0x37a, 0}, {0x387, 0x387, ID_MORE}, {0xe33, 0xe33, ID_MORE}, {0xeb3, 0xeb3, ID_MORE}, {0x1369, 0x1371, ID_MORE},
    {0x1885, 0x1886, ID_START | ID_MORE}, {0x19da, 0x19da, ID_MORE}, {0x2118, 0x2118, ID_START | ID_MORE}, {0x212e, 0x212e, ID_START | ID_MORE},
    {0x2e2f, 0x2e2f, 0}, {0xfc5e, 0xfc63, 0}, {0xfdfa, 0xfdfb, 0}, {0xfe70, 0xfe70, 0}, {0xfe72, 0xfe72, 0}, {0xfe74, 0xfe74, 0}, {0xfe76, 0xfe76, 0},
    {0xfe78, 0xfe78, 0}, {0xfe7a, 0xfe7a, 0}, {0xfe7c, 0xfe7c, 0}, {0xfe7e, 0xfe7e, 0}, {0xff9e, 0xff9f, ID_MORE},
};

static unsigned id_class(uint32_t cp)
{
    if (cp < 0x80) return (cp | 32) - 'a' < 26 || cp == '_' ? ID_START | ID_MORE : cp - '0' < 10 ? ID_MORE : 0;
    for (size_t i = 0; i < RF_COUNT(id_listed); i++)
        if (cp >= id_listed[i].lo && cp <= id_listed[i].hi) return id_listed[i].is;
    utf8proc_category_t c = utf8proc_category((int32_t)cp);
    if (cp == '_' || c == UTF8PROC_CATEGORY_NL || c_alpha(cp)) return ID_START | ID_MORE;
    return c == UTF8PROC_CATEGORY_MN || c == UTF8PROC_CATEGORY_MC || c == UTF8PROC_CATEGORY_ND || c == UTF8PROC_CATEGORY_PC ? ID_MORE : 0;
}

static bool c_id(uint32_t cp) { return id_class(cp) & ID_MORE; }

METHOD(s_isidentifier)
{
    uint32_t cp = 0;
    (void)a;
    RF_TRY(rf_jinja_step(J, 2 * (size_t)self.s->len));
    if (self.s->len) rf_utf8_decode(self.s->p, self.s->len, &cp);
    if (self.s->len && id_class(cp) & ID_START) return all(J, self.s, c_id, false, out);
    *out = rf_jv_bool(false);
    return RF_OK;
}

static rf_status one_char(struct rf_jinja *J, const struct rf_jstr *s, size_t *i, struct rf_jv *out)
{
    uint32_t cp;
    size_t at = *i;
    *i += RF_MAX(rf_utf8_decode(s->p + at, s->len - at, &cp), 1u);
    *out = (struct rf_jv){.kind = RF_JV_INT, .from_data = !rf_jinja_trust_at(s, at), .i = cp};
    return rf_jinja_step(J, 0);
}

/* A table for translate: {code point: code point, text or none}. */
METHOD(s_maketrans)
{
    struct rf_jv from, to;
    (void)self;
    RF_TRY(rf_jinja_dict(J, out));
    if (a[1].kind == RF_JV_MISSING) {
        if (a[0].kind != RF_JV_DICT) return rf_jinja_fail(J, "if you give only one argument to maketrans it must be a dict");
        for (uint32_t i = 0; i < a[0].d->n; i++) {
            size_t at = 0;
            from = a[0].d->e[i].key;
            if (from.kind == RF_JV_STR && from.s->n_chars == 1) RF_TRY(one_char(J, from.s, &at, &from));
            else if (!rf_jv_is_int(from)) return rf_jinja_fail(J, "keys in translate table must be strings of one character or integers");
            RF_TRY(rf_jinja_dict_set(J, out->d, from, a[0].d->e[i].value));
        }
        return RF_OK;
    }
    for (int i = 0; i < 3; i++)
        if (i < 2 || a[i].kind != RF_JV_MISSING) RF_TRY(want_str(J, a[i]));
    if (a[0].s->n_chars != a[1].s->n_chars) return rf_jinja_fail(J, "the first two maketrans arguments must have equal length");
    for (size_t i = 0, k = 0; i < a[0].s->len;) {
        RF_TRY(one_char(J, a[0].s, &i, &from));
        RF_TRY(one_char(J, a[1].s, &k, &to));
        RF_TRY(rf_jinja_dict_set(J, out->d, from, to));
    }
    for (size_t i = 0; a[2].kind == RF_JV_STR && i < a[2].s->len;) {
        RF_TRY(one_char(J, a[2].s, &i, &from));
        RF_TRY(rf_jinja_dict_set(J, out->d, from, rf_jv_none()));
    }
    return RF_OK;
}

METHOD(s_translate)
{
    struct rf_jsb b = {.J = J};
    struct rf_jv cp, *to;
    char text[4];
    RF_TRY(rf_jinja_use(J, a[0]));
    if (a[0].kind != RF_JV_DICT) return rf_jinja_fail(J, "translate: found a table of type %s, expected dict", rf_jinja_type(a[0]));
    for (size_t i = 0; i < self.s->len;) {
        size_t at = i;
        RF_TRY(one_char(J, self.s, &i, &cp));
        RF_TRY(rf_jinja_dict_get(J, a[0].d, cp, &to));
        if (!to) {
            rf_jinja_sb_slice(&b, self.s, at, i);
        } else if (to->kind == RF_JV_STR) {
            rf_jinja_sb_str(&b, to->s);
        } else if (rf_jv_is_int(*to)) {
            int64_t c = rf_jv_i64(*to);
            if (c < 0 || c > 0x10ffff || (c >= 0xd800 && c < 0xe000)) return rf_jinja_fail(J, "character mapping must be a character's number");
            rf_jinja_sb_add(&b, text, rf_utf8_encode((uint32_t)c, text), !to->from_data);
        } else if (to->kind != RF_JV_NONE) {
            return rf_jinja_fail(J, "character mapping must return integer, None or str");
        }
    }
    RF_TRY(rf_jinja_sb_done(&b, out));
    out->s->markup = self.s->markup;
    return RF_OK;
}

/* ---- lists, dicts, loops, cyclers ----------------------------------------------------------------------------- */

METHOD(l_index)
{
    int64_t from, to;
    size_t n;
    bool same;
    rf_jinja_len(self, &n);
    RF_TRY(opt_int(J, a[1], 0, &from));
    RF_TRY(opt_int(J, a[2], INT64_MAX, &to));
    if (from < 0) from = RF_MAX(from + (int64_t)n, 0);
    if (to < 0) to += (int64_t)n;
    for (int64_t i = from; i < (int64_t)n && i < to; i++) {
        struct rf_jv v;
        RF_TRY(rf_jinja_item(J, self, rf_jv_int(i), &v));
        RF_TRY(rf_jinja_eq(J, v, a[0], &same));
        if (!same) continue;
        *out = rf_jv_int(i);
        return RF_OK;
    }
    return rf_jinja_fail(J, "the value is not in the %s", rf_jinja_type(self));
}

METHOD(l_count)
{
    struct rf_jiter it;
    struct rf_jv v;
    bool more, same;
    int64_t n = 0;
    RF_TRY(rf_jinja_iter(J, self, &it));
    for (;;) {
        RF_TRY(rf_jinja_next(J, &it, &v, &more));
        if (!more) break;
        RF_TRY(rf_jinja_eq(J, v, a[0], &same));
        n += same;
    }
    *out = rf_jv_int(n);
    return RF_OK;
}

METHOD(l_copy)
{
    (void)a;
    return rf_jinja_collect(J, self, out);
}

METHOD(d_get)
{
    struct rf_jv *v;
    RF_TRY(rf_jinja_dict_get(J, self.d, a[0], &v));
    *out = v ? *v : a[1].kind == RF_JV_MISSING ? rf_jv_none() : a[1];
    return RF_OK;
}

static rf_status view(struct rf_jinja *J, struct rf_jv self, char what, struct rf_jv *out)
{
    struct rf_jview *v;
    RF_TRY(rf_jinja_alloc(J, 1, sizeof *v, &v));
    *v = (struct rf_jview){self.d, what};
    *out = (struct rf_jv){.kind = RF_JV_VIEW, .view = v};
    return RF_OK;
}
METHOD(d_keys) { (void)a; return view(J, self, 'k', out); }
METHOD(d_values) { (void)a; return view(J, self, 'v', out); }
METHOD(d_items) { (void)a; return view(J, self, 'i', out); }

METHOD(d_copy)
{
    (void)a;
    struct rf_jv d;
    RF_TRY(rf_jinja_dict(J, &d));
    for (uint32_t i = 0; i < self.d->n; i++) RF_TRY(rf_jinja_dict_set(J, d.d, self.d->e[i].key, self.d->e[i].value));
    *out = d;
    return RF_OK;
}

METHOD(d_fromkeys)
{
    struct rf_jiter it;
    struct rf_jv key;
    bool more;
    (void)self;
    RF_TRY(rf_jinja_dict(J, out));
    RF_TRY(rf_jinja_iter(J, a[0], &it));
    for (;;) {
        RF_TRY(rf_jinja_next(J, &it, &key, &more));
        if (!more) return RF_OK;
        RF_TRY(rf_jinja_dict_set(J, out->d, key, a[1].kind == RF_JV_MISSING ? rf_jv_none() : a[1]));
    }
}

static rf_status loop_cycle(struct rf_jinja *J, struct rf_jv self, const struct rf_jargs *args, struct rf_jv *out)
{
    if (!args->n_pos) return rf_jinja_fail(J, "no items for cycling given");
    *out = args->pos[self.loop->index0 % args->n_pos];
    return RF_OK;
}

static rf_status loop_changed(struct rf_jinja *J, struct rf_jv self, const struct rf_jargs *args, struct rf_jv *out)
{
    return rf_jinja_loop_changed(J, self.loop, args, out);
}

METHOD(cycler_next)
{
    (void)J, (void)a;
    struct rf_jcycler *c = self.cycler;
    *out = c->v[c->at];
    c->at = (c->at + 1) % c->n;
    return RF_OK;
}

METHOD(cycler_reset)
{
    (void)J, (void)a;
    self.cycler->at = 0;
    *out = rf_jv_none();
    return RF_OK;
}

/* ---- tables --------------------------------------------------------------------------------------------------- */

static const struct rf_jbuiltin methods[] = {
#define STR_FIRST 0
    {"upper", s_upper, NULL, "", 0}, {"lower", s_lower, NULL, "", 0}, {"capitalize", s_capitalize, NULL, "", 0},
    {"title", s_title, NULL, "", 0}, {"swapcase", s_swapcase, NULL, "", 0}, {"casefold", s_casefold, NULL, "", 0},
    {"strip", s_strip, NULL, "chars", 0}, {"lstrip", s_lstrip, NULL, "chars", 0}, {"rstrip", s_rstrip, NULL, "chars", 0},
    {"split", s_split, NULL, "sep,maxsplit", 0}, {"rsplit", s_rsplit, NULL, "sep,maxsplit", 0},
    {"splitlines", s_splitlines, NULL, "keepends", 0}, {"join", s_join, NULL, "iterable", 1},
    {"replace", s_replace, NULL, "old,new,count", 2}, {"startswith", s_startswith, NULL, "prefix,start,end", 1},
    {"endswith", s_endswith, NULL, "suffix,start,end", 1}, {"find", s_find, NULL, "sub,start,end", 1},
    {"rfind", s_rfind, NULL, "sub,start,end", 1}, {"index", s_index, NULL, "sub,start,end", 1},
    {"rindex", s_rindex, NULL, "sub,start,end", 1}, {"count", s_count, NULL, "sub,start,end", 1},
    {"center", s_center, NULL, "width,fillchar", 1}, {"ljust", s_ljust, NULL, "width,fillchar", 1},
    {"rjust", s_rjust, NULL, "width,fillchar", 1}, {"zfill", s_zfill, NULL, "width", 1},
    {"partition", s_partition, NULL, "sep", 1}, {"rpartition", s_rpartition, NULL, "sep", 1},
    {"removeprefix", s_removeprefix, NULL, "prefix", 1}, {"removesuffix", s_removesuffix, NULL, "suffix", 1},
    {"expandtabs", s_expandtabs, NULL, "tabsize", 0}, {"format", NULL, s_format, "", 0},
    {"isalpha", s_isalpha, NULL, "", 0}, {"isdecimal", s_isdecimal, NULL, "", 0}, {"isdigit", s_isdigit, NULL, "", 0},
    {"isnumeric", s_isnumeric, NULL, "", 0}, {"isalnum", s_isalnum, NULL, "", 0}, {"isspace", s_isspace, NULL, "", 0},
    {"isascii", s_isascii, NULL, "", 0}, {"islower", s_islower, NULL, "", 0}, {"isupper", s_isupper, NULL, "", 0},
    {"istitle", s_istitle, NULL, "", 0}, {"isprintable", s_isprintable, NULL, "", 0},
    {"format_map", s_format_map, NULL, "mapping", 1}, {"isidentifier", s_isidentifier, NULL, "", 0},
    {"maketrans", s_maketrans, NULL, "x,y,z", 1}, {"translate", s_translate, NULL, "table", 1},
#define LIST_FIRST 46
    {"index", l_index, NULL, "value,start,stop", 1}, {"count", l_count, NULL, "value", 1}, {"copy", l_copy, NULL, "", 0},
#define DICT_FIRST 49
    {"get", d_get, NULL, "key,default", 1}, {"keys", d_keys, NULL, "", 0}, {"values", d_values, NULL, "", 0},
    {"items", d_items, NULL, "", 0}, {"copy", d_copy, NULL, "", 0},
    {"fromkeys", d_fromkeys, NULL, "iterable,value", 1},
#define LOOP_FIRST 55
    {"cycle", NULL, loop_cycle, "", 0}, {"changed", NULL, loop_changed, "", 0},
#define CYCLER_FIRST 57
    {"next", cycler_next, NULL, "", 0}, {"reset", cycler_reset, NULL, "", 0},
#define INT_FIRST 59
    {"bit_length", rf_jinja_bit_length, NULL, "", 0}, {"bit_count", rf_jinja_bit_count, NULL, "", 0},
#define NUMBER_FIRST 61
    {"conjugate", rf_jinja_conjugate, NULL, "", 0}, {"as_integer_ratio", rf_jinja_ratio, NULL, "", 0},
#define FLOAT_FIRST 63
    {"is_integer", rf_jinja_is_integer, NULL, "", 0}, {"hex", rf_jinja_hex, NULL, "", 0},
#define METHODS_END 65
};
_Static_assert(RF_COUNT(methods) == METHODS_END, "the ranges above name the rows of each type");

static const char *const unsafe_list[] = {"append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove", NULL};
static const char *const unsafe_dict[] = {"clear", "pop", "popitem", "setdefault", "update", NULL};

bool rf_jinja_method(struct rf_jv of, const struct rf_jstr *name, int *id, bool *unsafe)
{
    const char *const *hidden = of.kind == RF_JV_LIST ? unsafe_list : of.kind == RF_JV_DICT ? unsafe_dict : NULL;
    int from = 0, to = 0;
    for (; hidden && *hidden; hidden++) {
        if (!rf_jinja_str_is(name, *hidden)) continue;
        *unsafe = true;
        *id = 0;
        return true;
    }
    switch (of.kind) {
    case RF_JV_STR: from = STR_FIRST, to = LIST_FIRST; break;
    case RF_JV_LIST: from = LIST_FIRST, to = DICT_FIRST; break;
    case RF_JV_TUPLE:
    case RF_JV_RANGE: from = LIST_FIRST, to = DICT_FIRST - 1; break;
    case RF_JV_DICT: from = DICT_FIRST, to = LOOP_FIRST; break;
    case RF_JV_LOOP: from = LOOP_FIRST, to = CYCLER_FIRST; break;
    case RF_JV_CYCLER: from = CYCLER_FIRST, to = INT_FIRST; break;
    case RF_JV_BOOL:
    case RF_JV_INT: from = INT_FIRST, to = FLOAT_FIRST; break;
    case RF_JV_FLOAT: from = NUMBER_FIRST, to = METHODS_END; break;
    default: break;
    }
    const struct rf_jbuiltin *b = rf_jinja_builtin(methods + from, (size_t)(to - from), name->p, name->len);
    if (b) *id = (int)(b - methods);
    return b != NULL;
}

rf_status rf_jinja_method_call(struct rf_jinja *J, const struct rf_jmethod *m, const struct rf_jargs *args, struct rf_jv *out)
{
    return rf_jinja_builtin_call(J, &methods[m->id], m->self, args, out);
}
