/* Filters on sequences, dicts and numbers; those on strings are in jinja_filter_text.c. */
#include "text/jinja_run.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define FILTER(name) static rf_status name(struct rf_jinja *J, struct rf_jv v, struct rf_jv *a, struct rf_jv *out)

static bool given(struct rf_jv v) { return v.kind != RF_JV_MISSING && v.kind != RF_JV_NONE; }

/* ---- sequences ------------------------------------------------------------------------------------------------ */

FILTER(f_length)
{
    size_t n;
    (void)a;
    if (v.kind == RF_JV_LOOP) return rf_jinja_loop_attr(J, v.loop, &(struct rf_jstr){.p = "length", .len = 6}, out);
    if (!rf_jinja_len(v, &n)) return rf_jinja_fail(J, "object of type '%s' has no len()", rf_jinja_type(v));
    *out = rf_jv_int((int64_t)n);
    return RF_OK;
}

FILTER(f_first)
{
    struct rf_jiter it;
    bool more;
    (void)a;
    RF_TRY(rf_jinja_iter(J, v, &it));
    RF_TRY(rf_jinja_next(J, &it, out, &more));
    return more ? RF_OK : rf_jinja_undefined(J, out, "No first item, sequence was empty.");
}

FILTER(f_last)
{
    struct rf_jv list;
    (void)a;
    if (v.kind == RF_JV_GEN) return rf_jinja_fail(J, "'generator' object is not reversible");
    RF_TRY(rf_jinja_collect(J, v, &list));
    if (!list.l->n) return rf_jinja_undefined(J, out, "No last item, sequence was empty.");
    *out = list.l->v[list.l->n - 1];
    return RF_OK;
}

FILTER(f_list)
{
    (void)a;
    return rf_jinja_collect(J, v, out);
}

FILTER(f_items)
{
    struct rf_jgen *g;
    struct rf_jview *view;
    (void)a;
    if (v.kind != RF_JV_UNDEF && v.kind != RF_JV_DICT) return rf_jinja_fail(J, "Can only get item pairs from a mapping.");
    if (v.kind == RF_JV_DICT) {
        RF_TRY(rf_jinja_alloc(J, 1, sizeof *view, &view));
        *view = (struct rf_jview){v.d, 'i'};
        v = (struct rf_jv){.kind = RF_JV_VIEW, .view = view};
    }
    return rf_jinja_gen(J, RF_JGEN_ITEMS, v, &g, out);
}

FILTER(f_reverse)
{
    struct rf_jgen *g;
    struct rf_jv list;
    (void)a;
    if (v.kind == RF_JV_STR) {
        struct rf_jsb b = {.J = J};
        RF_TRY(rf_jinja_step(J, 16 * (size_t)v.s->len));
        for (size_t to = v.s->len; to > 0;) {
            size_t from = to - 1;
            while (from > 0 && (v.s->p[from] & 0xc0) == 0x80) from--;
            rf_jinja_sb_slice(&b, v.s, from, to);
            to = from;
        }
        return rf_jinja_sb_done(&b, out);
    }
    RF_TRY(rf_jinja_collect(J, v, &list));
    RF_TRY(rf_jinja_gen(J, RF_JGEN_REVERSED, list, &g, out));
    g->n = list.l->n;
    return RF_OK;
}

FILTER(f_join)
{
    struct rf_jgen *g;
    struct rf_jv sep;
    if (given(a[1])) {
        RF_TRY(rf_jinja_gen(J, RF_JGEN_MAP_ATTR, v, &g, &v));
        g->attr = a[1];
    }
    if (a[0].kind == RF_JV_MISSING) RF_TRY(rf_jinja_str_from(J, "", 0, true, &sep));
    else RF_TRY(rf_jinja_str(J, a[0], &sep));
    return rf_jinja_join(J, sep.s, v, false, out);
}

/* The values to sort by: the attribute paths in attr ("a,b" gives a list of both), folded unless case_sensitive. */
static rf_status sort_keys(struct rf_jinja *J, const struct rf_jlist *l, struct rf_jv attr, bool many, bool case_sensitive,
                           struct rf_jv fallback, struct rf_jv **out)
{
    struct rf_jv paths, comma, key, part, *keys;
    RF_TRY(rf_jinja_alloc(J, l->n, sizeof *keys, &keys));
    RF_TRY(rf_jinja_list(J, RF_JV_LIST, 0, &paths));
    if (many && attr.kind == RF_JV_STR) {
        RF_TRY(rf_jinja_str_from(J, ",", 1, true, &comma));
        RF_TRY(rf_jinja_split(J, attr.s, comma, -1, false, &paths));
    } else {
        RF_TRY(rf_jinja_push(J, paths.l, attr));
    }
    for (size_t i = 0; i < l->n; i++) {
        RF_TRY(rf_jinja_list(J, RF_JV_LIST, paths.l->n, &key));
        for (size_t k = 0; k < paths.l->n; k++) {
            RF_TRY(rf_jinja_path(J, l->v[i], paths.l->v[k], fallback, &part));
            if (!case_sensitive) RF_TRY(rf_jinja_fold(J, part, &part));
            RF_TRY(rf_jinja_push(J, key.l, part));
        }
        keys[i] = many ? key : key.l->v[0];
    }
    *out = keys;
    return RF_OK;
}

FILTER(f_sort) /* reverse, case_sensitive, attribute */
{
    struct rf_jv list, *keys;
    RF_TRY(rf_jinja_collect(J, v, &list));
    RF_TRY(sort_keys(J, list.l, a[2], true, rf_jinja_truth(a[1]), rf_jv_missing(), &keys));
    RF_TRY(rf_jinja_sort(J, list.l->v, keys, list.l->n, rf_jinja_truth(a[0])));
    *out = list;
    return RF_OK;
}

FILTER(f_dictsort) /* case_sensitive, by, reverse */
{
    struct rf_jv list, *keys, item, key;
    bool by_value = a[1].kind == RF_JV_STR && rf_jinja_str_is(a[1].s, "value");
    if (a[1].kind != RF_JV_MISSING && !by_value && !(a[1].kind == RF_JV_STR && rf_jinja_str_is(a[1].s, "key")))
        return rf_jinja_fail(J, "You can only sort by either \"key\" or \"value\"");
    RF_TRY(rf_jinja_use(J, v));
    if (v.kind != RF_JV_DICT) return rf_jinja_fail(J, "'%s' object has no attribute 'items'", rf_jinja_type(v));
    RF_TRY(rf_jinja_list(J, RF_JV_LIST, v.d->n, &list));
    RF_TRY(rf_jinja_alloc(J, v.d->n, sizeof *keys, &keys));
    for (uint32_t i = 0; i < v.d->n; i++) {
        key = by_value ? v.d->e[i].value : v.d->e[i].key;
        if (!rf_jinja_truth(a[0])) RF_TRY(rf_jinja_fold(J, key, &key));
        keys[i] = key;
        RF_TRY(rf_jinja_pair(J, v.d->e[i].key, v.d->e[i].value, &item));
        RF_TRY(rf_jinja_push(J, list.l, item));
    }
    RF_TRY(rf_jinja_sort(J, list.l->v, keys, list.l->n, rf_jinja_truth(a[2])));
    *out = list;
    return RF_OK;
}

FILTER(f_groupby) /* attribute, default, case_sensitive */
{
    struct rf_jv list, groups, *keys, *order, group = {0}, last = rf_jv_missing(), real, pair;
    bool sensitive = rf_jinja_truth(a[2]), same;
    RF_TRY(rf_jinja_collect(J, v, &list));
    RF_TRY(sort_keys(J, list.l, a[0], false, sensitive, a[1], &keys));
    RF_TRY(rf_jinja_alloc(J, list.l->n, sizeof *order, &order));
    for (size_t i = 0; i < list.l->n; i++) order[i] = rf_jv_int((int64_t)i);
    RF_TRY(rf_jinja_sort(J, order, keys, list.l->n, false));
    RF_TRY(rf_jinja_list(J, RF_JV_LIST, 0, &groups));
    for (size_t i = 0; i < list.l->n; i++) {
        struct rf_jv item = list.l->v[order[i].i], key = keys[order[i].i];
        same = false;
        if (last.kind != RF_JV_MISSING) RF_TRY(rf_jinja_eq(J, last, key, &same));
        if (!same) {
            RF_TRY(rf_jinja_list(J, RF_JV_LIST, 0, &group));
            RF_TRY(rf_jinja_path(J, item, a[0], a[1], &real));
            RF_TRY(rf_jinja_pair(J, real, group, &pair));
            pair.l->is_group = true;
            RF_TRY(rf_jinja_push(J, groups.l, pair));
        }
        last = key;
        RF_TRY(rf_jinja_push(J, group.l, item));
    }
    *out = groups;
    return RF_OK;
}

FILTER(f_unique) /* case_sensitive, attribute */
{
    struct rf_jgen *g;
    struct rf_jv seen;
    RF_TRY(rf_jinja_gen(J, RF_JGEN_UNIQUE, v, &g, out));
    RF_TRY(rf_jinja_dict(J, &seen));
    g->seen = seen.d;
    g->case_sensitive = rf_jinja_truth(a[0]);
    g->attr = a[1];
    return RF_OK;
}

static rf_status extreme(struct rf_jinja *J, struct rf_jv v, struct rf_jv *a, int want, struct rf_jv *out)
{
    struct rf_jv list, *keys;
    size_t best = 0;
    int c;
    RF_TRY(rf_jinja_collect(J, v, &list));
    if (!list.l->n) return rf_jinja_undefined(J, out, "No aggregated item, sequence was empty.");
    RF_TRY(sort_keys(J, list.l, a[1], false, rf_jinja_truth(a[0]), rf_jv_missing(), &keys));
    for (size_t i = 1; i < list.l->n; i++) {
        RF_TRY(rf_jinja_cmp(J, keys[i], keys[best], want < 0 ? "<" : ">", &c));
        if (c == want) best = i;
    }
    *out = list.l->v[best];
    return RF_OK;
}
FILTER(f_min) { return extreme(J, v, a, -1, out); }
FILTER(f_max) { return extreme(J, v, a, 1, out); }

FILTER(f_sum) /* attribute, start */
{
    struct rf_jiter it;
    struct rf_jv item, sum = a[1].kind == RF_JV_MISSING ? rf_jv_int(0) : a[1];
    bool more;
    if (sum.kind == RF_JV_STR) return rf_jinja_fail(J, "sum() can't sum strings [use ''.join(seq) instead]");
    RF_TRY(rf_jinja_iter(J, v, &it));
    for (;;) {
        RF_TRY(rf_jinja_next(J, &it, &item, &more));
        if (!more) break;
        RF_TRY(rf_jinja_path(J, item, a[0], rf_jv_missing(), &item));
        RF_TRY(rf_jinja_arith(J, RF_JT_ADD, sum, item, &sum));
    }
    *out = sum;
    return RF_OK;
}

FILTER(f_batch) /* linecount, fill_with */
{
    struct rf_jgen *g;
    int64_t n;
    RF_TRY(rf_jinja_to_int(J, a[0], &n));
    if (n <= 0) return rf_jinja_fail(J, "batch: the size must be positive");
    RF_TRY(rf_jinja_gen(J, RF_JGEN_BATCH, v, &g, out));
    g->n = (size_t)n;
    g->fallback = a[1];
    return RF_OK;
}

FILTER(f_slice) /* slices, fill_with */
{
    struct rf_jgen *g;
    struct rf_jv list, parts, part;
    int64_t n;
    RF_TRY(rf_jinja_to_int(J, a[0], &n));
    RF_TRY(rf_jinja_collect(J, v, &list));
    if (!n) return rf_jinja_fail(J, "integer division or modulo by zero");
    RF_TRY(rf_jinja_list(J, RF_JV_LIST, 0, &parts));
    int64_t each = (int64_t)list.l->n / n, extra = (int64_t)list.l->n % n, at = 0;
    for (int64_t i = 0; i < n; i++) {
        RF_TRY(rf_jinja_list(J, RF_JV_LIST, 0, &part));
        for (int64_t k = 0; k < each + (i < extra); k++) RF_TRY(rf_jinja_push(J, part.l, list.l->v[at++]));
        if (given(a[1]) && i >= extra) RF_TRY(rf_jinja_push(J, part.l, a[1]));
        RF_TRY(rf_jinja_push(J, parts.l, part));
    }
    return rf_jinja_gen(J, RF_JGEN_WALK, parts, &g, out);
}

static rf_status empty_gen(struct rf_jinja *J, struct rf_jv *out) /* nothing to walk: arguments are not even looked at */
{
    struct rf_jgen *g;
    struct rf_jv nothing;
    RF_TRY(rf_jinja_list(J, RF_JV_LIST, 0, &nothing));
    return rf_jinja_gen(J, RF_JGEN_WALK, nothing, &g, out);
}

static rf_status f_map(struct rf_jinja *J, struct rf_jv v, const struct rf_jargs *args, struct rf_jv *out)
{
    struct rf_jgen *g;
    struct rf_jv a[2];
    if (!rf_jinja_truth(v)) return empty_gen(J, out);
    if (args->n_pos) {
        if (args->pos[0].kind != RF_JV_STR) return rf_jinja_fail(J, "map requires a filter's name");
        RF_TRY(rf_jinja_gen(J, RF_JGEN_MAP_FILTER, v, &g, out));
        g->name = args->pos[0].s;
        g->args = *args;
        g->args.pos++;
        g->args.n_pos--;
        return RF_OK;
    }
    if (!args->n_kw) return rf_jinja_fail(J, "map requires a filter argument");
    RF_TRY(rf_jinja_bind(J, "map", args, "attribute,default", 0, a));
    RF_TRY(rf_jinja_gen(J, RF_JGEN_MAP_ATTR, v, &g, out));
    g->attr = a[0];
    g->fallback = a[1];
    return RF_OK;
}

static rf_status select_with(struct rf_jinja *J, struct rf_jv v, const struct rf_jargs *args, bool attr, bool want, struct rf_jv *out)
{
    struct rf_jgen *g;
    uint32_t off = attr;
    if (!rf_jinja_truth(v)) return empty_gen(J, out);
    if (attr && !args->n_pos) return rf_jinja_fail(J, "Missing parameter for attribute name");
    RF_TRY(rf_jinja_gen(J, RF_JGEN_SELECT, v, &g, out));
    g->want = want;
    if (attr) g->attr = args->pos[0];
    if (args->n_pos <= off) return RF_OK;
    if (args->pos[off].kind != RF_JV_STR) return rf_jinja_fail(J, "select requires a test's name");
    g->name = args->pos[off].s;
    g->args = *args;
    g->args.pos += off + 1;
    g->args.n_pos -= off + 1;
    return RF_OK;
}
#define SELECT(name, attr, want)                                                                                         \
    static rf_status name(struct rf_jinja *J, struct rf_jv v, const struct rf_jargs *args, struct rf_jv *out)            \
    {                                                                                                                    \
        return select_with(J, v, args, attr, want, out);                                                                 \
    }
SELECT(f_select, false, true)
SELECT(f_reject, false, false)
SELECT(f_selectattr, true, true)
SELECT(f_rejectattr, true, false)

/* ---- single values -------------------------------------------------------------------------------------------- */

FILTER(f_default) /* default_value, boolean */
{
    *out = v;
    if (v.kind != RF_JV_UNDEF && !(rf_jinja_truth(a[1]) && !rf_jinja_truth(v))) return RF_OK;
    *out = a[0];
    return a[0].kind == RF_JV_MISSING ? rf_jinja_str_from(J, "", 0, true, out) : RF_OK;
}

FILTER(f_attr) /* the attribute alone, never the item */
{
    int id;
    bool unsafe = false;
    RF_TRY(rf_jinja_use(J, v));
    if (a[0].kind != RF_JV_STR) return rf_jinja_fail(J, "attr: the name must be a string");
    if (v.kind == RF_JV_DICT && !rf_jinja_method(v, a[0].s, &id, &unsafe))
        return rf_jinja_undefined(J, out, "'dict object' has no attribute '%.*s'", (int)RF_MIN(a[0].s->len, 100u), a[0].s->p);
    return rf_jinja_attr(J, v, a[0].s, out);
}

FILTER(f_abs)
{
    (void)a;
    RF_TRY(rf_jinja_use(J, v));
    if (!rf_jv_is_num(v)) return rf_jinja_fail(J, "bad operand type for abs(): '%s'", rf_jinja_type(v));
    *out = v;
    if (v.kind == RF_JV_FLOAT) out->f = fabs(v.f);
    else if (rf_jv_i64(v) == INT64_MIN) return rf_jinja_fail(J, "the result does not fit a 64-bit integer");
    else *out = rf_jv_int(llabs(rf_jv_i64(v)));
    out->from_data = v.from_data;
    return RF_OK;
}

/* Text of a number as Python's int() and float() take it: no outer white space, single '_' between digits. */
static bool number_text(const struct rf_jstr *s, char *buf, size_t cap)
{
    size_t from = 0, to = s->len, n = 0;
    while (from < to && rf_jinja_is_space((unsigned char)s->p[from]) && (unsigned char)s->p[from] < 0x80) from++;
    while (to > from && rf_jinja_is_space((unsigned char)s->p[to - 1]) && (unsigned char)s->p[to - 1] < 0x80) to--;
    if (to == from || to - from >= cap) return false;
    for (size_t i = from; i < to; i++) {
        if (s->p[i] == '_') {
            bool inner = i > from && i + 1 < to && s->p[i - 1] != '_' && s->p[i + 1] != '_' && s->p[i - 1] != '.' && s->p[i + 1] != '.';
            if (!inner) return false;
        } else if (!s->p[i] || (unsigned char)s->p[i] >= 0x80) {
            return false;
        } else {
            buf[n++] = s->p[i];
        }
    }
    buf[n] = 0;
    return true;
}

static bool parse_float(const struct rf_jstr *s, double *out)
{
    char buf[256], *end;
    if (!number_text(s, buf, sizeof buf)) return false;
    if (strpbrk(buf, "xXpP(") || buf[0] == ' ') return false; /* hexadecimal and nan(...) are C, not Python */
    for (const char *c = buf; *c; c++)
        if (*c <= ' ') return false;
    *out = strtod(buf, &end);
    return *end == 0;
}

static bool parse_int(const struct rf_jstr *s, int64_t base, int64_t *out, bool *big)
{
    char buf[256];
    const char *p = buf;
    bool negative;
    uint64_t v = 0;
    *big = false;
    if ((base != 0 && base < 2) || base > 36 || !number_text(s, buf, sizeof buf)) return false;
    negative = *p == '-';
    if (*p == '-' || *p == '+') p++;
    if (*p == '0' && p[1]) {
        char c = p[1] | 0x20;
        int64_t prefix = c == 'x' ? 16 : c == 'o' ? 8 : c == 'b' ? 2 : 0;
        if (prefix && (base == prefix || base == 0)) {
            base = prefix;
            p += 2;
        }
    }
    if (base == 0) base = 10;
    if (!*p) return false;
    for (; *p; p++) {
        char c = *p | 0x20;
        int d = *p >= '0' && *p <= '9' ? *p - '0' : c >= 'a' && c <= 'z' ? c - 'a' + 10 : 99;
        if (d >= base) return false;
        if (__builtin_mul_overflow(v, (uint64_t)base, &v) || __builtin_add_overflow(v, (uint64_t)d, &v)) *big = true;
    }
    if (v > (uint64_t)INT64_MAX + negative) *big = true;
    *out = negative ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

FILTER(f_int) /* default, base */
{
    int64_t base = 10, i = 0;
    double f = NAN;
    bool big = false, ok = false;
    RF_TRY(rf_jinja_use(J, v));
    if (a[1].kind != RF_JV_MISSING) RF_TRY(rf_jinja_to_int(J, a[1], &base));
    if (v.kind == RF_JV_STR) {
        ok = parse_int(v.s, base, &i, &big);
        if (!ok && !parse_float(v.s, &f)) f = NAN;
    } else if (rf_jv_is_int(v)) {
        ok = true;
        i = rf_jv_i64(v);
    } else if (v.kind == RF_JV_BIGINT) {
        *out = v;
        return RF_OK;
    } else if (v.kind == RF_JV_FLOAT) {
        f = v.f;
        if (isinf(f)) return rf_jinja_fail(J, "cannot convert float infinity to integer");
    }
    if (!ok && isfinite(f)) {
        ok = true;
        big = !(f > -0x1p63 && f < 0x1p63);
        i = big ? 0 : (int64_t)f;
    }
    if (big) return rf_jinja_fail(J, "the result does not fit a 64-bit integer");
    *out = ok ? rf_jv_int(i) : a[0].kind == RF_JV_MISSING ? rf_jv_int(0) : a[0];
    if (ok) out->from_data = v.from_data || (v.kind == RF_JV_STR && !v.s->trusted);
    return RF_OK;
}

FILTER(f_float) /* default */
{
    double f = 0;
    bool ok = true;
    RF_TRY(rf_jinja_use(J, v));
    if (v.kind == RF_JV_STR) ok = parse_float(v.s, &f);
    else if (v.kind == RF_JV_BIGINT) f = strtod(v.s->p, NULL);
    else if (rf_jv_is_num(v)) f = rf_jv_f64(v);
    else ok = false;
    *out = ok ? rf_jv_float(f) : a[0].kind == RF_JV_MISSING ? rf_jv_float(0) : a[0];
    if (ok) out->from_data = v.from_data || (v.kind == RF_JV_STR && !v.s->trusted);
    return RF_OK;
}

static rf_status round_common(struct rf_jinja *J, struct rf_jv v, int64_t digits, struct rf_jv *out)
{
    char buf[400];
    *out = v;
    if (rf_jv_is_int(v)) {
        int64_t i = rf_jv_i64(v), unit = 1;
        for (int64_t k = digits; k < 0 && unit; k++) unit = unit > INT64_MAX / 10 ? 0 : unit * 10;
        if (digits < 0 && !unit) i = 0;
        if (digits < 0 && unit) { /* to the nearest multiple, halves to even */
            int64_t low = i - ((i % unit) + unit) % unit, rest = i - low;
            bool up = rest > unit - rest || (rest == unit - rest && (low / unit) % 2);
            if (up && __builtin_add_overflow(low, unit, &low)) return rf_jinja_fail(J, "the result does not fit a 64-bit integer");
            i = low;
        }
        *out = rf_jv_int(i);
        return RF_OK;
    }
    if (!isfinite(v.f) || digits > 300) return RF_OK;
    if (digits >= 0) {
        snprintf(buf, sizeof buf, "%.*f", (int)digits, v.f);
        out->f = fabs(v.f) < 1e60 ? strtod(buf, NULL) : v.f;
    } else if (digits < -308) {
        out->f = copysign(0, v.f);
    } else {
        double unit = pow(10, (double)-digits);
        out->f = nearbyint(v.f / unit) * unit;
    }
    return RF_OK;
}

FILTER(f_round) /* precision, method */
{
    int64_t digits = 0;
    bool ceiling = a[1].kind == RF_JV_STR && rf_jinja_str_is(a[1].s, "ceil");
    bool flooring = a[1].kind == RF_JV_STR && rf_jinja_str_is(a[1].s, "floor");
    if (a[1].kind != RF_JV_MISSING && !ceiling && !flooring && !(a[1].kind == RF_JV_STR && rf_jinja_str_is(a[1].s, "common")))
        return rf_jinja_fail(J, "method must be common, ceil or floor");
    RF_TRY(rf_jinja_use(J, v));
    if (!rf_jv_is_num(v)) return rf_jinja_fail(J, "type %s doesn't define __round__ method", rf_jinja_type(v));
    if (a[0].kind != RF_JV_MISSING) RF_TRY(rf_jinja_to_int(J, a[0], &digits));
    if (!ceiling && !flooring) {
        RF_TRY(round_common(J, v, digits, out));
    } else if (rf_jv_is_int(v) && digits >= 0) {
        *out = rf_jv_float((double)rf_jv_i64(v)); /* Python's v * 10 ** digits is whole */
    } else {
        double unit = pow(10, (double)digits), x = rf_jv_f64(v) * unit;
        if (unit == 0) return rf_jinja_fail(J, "float division by zero");
        if (!isfinite(x)) return rf_jinja_fail(J, "cannot convert this float to an integer");
        *out = rf_jv_float((ceiling ? ceil(x) : floor(x)) / unit + 0.0);
    }
    out->from_data = v.from_data;
    return RF_OK;
}

FILTER(f_string)
{
    (void)a;
    return rf_jinja_str(J, v, out);
}

FILTER(f_filesizeformat) /* binary */
{
    static const char *const units[2][8] = {{"kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"},
                                            {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"}};
    struct rf_jv zero[1], f;
    char text[64];
    bool binary = rf_jinja_truth(a[0]);
    double base = binary ? 1024 : 1000, unit = base;
    zero[0] = rf_jv_none();
    RF_TRY(f_float(J, v, zero, &f));
    if (f.kind == RF_JV_NONE) return rf_jinja_fail(J, "could not convert %s to float", rf_jinja_type(v));
    if (!isfinite(f.f)) return rf_jinja_fail(J, "filesizeformat: not a finite number");
    if (f.f == 1) snprintf(text, sizeof text, "1 Byte");
    else if (f.f < base) snprintf(text, sizeof text, "%.0f Bytes", trunc(f.f));
    for (int i = 0; i < 8 && f.f >= base; i++) {
        unit *= base;
        if (f.f >= unit && i < 7) continue;
        snprintf(text, sizeof text, "%.1f %s", base * f.f / unit, units[binary][i]);
        break;
    }
    return rf_jinja_str_from(J, text, strlen(text), !f.from_data, out);
}

FILTER(f_pprint)
{
    (void)a;
    return rf_jinja_pprint(J, v, out);
}

static const struct rf_jbuiltin filters[] = {
    {"abs", f_abs, NULL, "", 0}, {"attr", f_attr, NULL, "name", 1}, {"batch", f_batch, NULL, "linecount,fill_with", 1},
    {"count", f_length, NULL, "", 0}, {"d", f_default, NULL, "default_value,boolean", 0},
    {"default", f_default, NULL, "default_value,boolean", 0}, {"dictsort", f_dictsort, NULL, "case_sensitive,by,reverse", 0},
    {"filesizeformat", f_filesizeformat, NULL, "binary", 0}, {"first", f_first, NULL, "", 0}, {"float", f_float, NULL, "default", 0},
    {"groupby", f_groupby, NULL, "attribute,default,case_sensitive", 1}, {"int", f_int, NULL, "default,base", 0},
    {"items", f_items, NULL, "", 0}, {"join", f_join, NULL, "d,attribute", 0}, {"last", f_last, NULL, "", 0},
    {"length", f_length, NULL, "", 0}, {"list", f_list, NULL, "", 0}, {"map", NULL, f_map, "", 0},
    {"max", f_max, NULL, "case_sensitive,attribute", 0}, {"min", f_min, NULL, "case_sensitive,attribute", 0},
    {"pprint", f_pprint, NULL, "", 0}, {"reject", NULL, f_reject, "", 0}, {"rejectattr", NULL, f_rejectattr, "", 0}, {"reverse", f_reverse, NULL, "", 0},
    {"round", f_round, NULL, "precision,method", 0}, {"select", NULL, f_select, "", 0}, {"selectattr", NULL, f_selectattr, "", 0},
    {"slice", f_slice, NULL, "slices,fill_with", 1}, {"sort", f_sort, NULL, "reverse,case_sensitive,attribute", 0},
    {"string", f_string, NULL, "", 0}, {"sum", f_sum, NULL, "attribute,start", 0}, {"tojson", NULL, rf_jinja_tojson, "", 0},
    {"unique", f_unique, NULL, "case_sensitive,attribute", 0}};

static const struct rf_jbuiltin *find(const struct rf_jstr *name)
{
    size_t n = 0;
    const struct rf_jbuiltin *b = rf_jinja_builtin(filters, RF_COUNT(filters), name->p, name->len);
    while (rf_jinja_text_filters[n].name) n++;
    return b ? b : rf_jinja_builtin(rf_jinja_text_filters, n, name->p, name->len);
}

/* Jinja's own that are not here: chance has no place in a prompt, and a prompt is no page. */
static bool is_refused(const struct rf_jstr *name) { return rf_jinja_str_is(name, "random") || rf_jinja_str_is(name, "urlize"); }

bool rf_jinja_has_filter(const struct rf_jstr *name) { return find(name) || is_refused(name); }

rf_status rf_jinja_filter(struct rf_jinja *J, const struct rf_jstr *name, struct rf_jv in, const struct rf_jargs *args,
                          struct rf_jv *out)
{
    const struct rf_jbuiltin *b = find(name);
    if (b) return rf_jinja_builtin_call(J, b, in, args, out);
    if (is_refused(name))
        return rf_fail(J->err, RF_UNSUPPORTED, "chat template line %u: the filter '%.*s' is not supported", J->line,
                       (int)name->len, name->p);
    return rf_jinja_fail(J, "No filter named '%.*s'.", (int)RF_MIN(name->len, 100u), name->p);
}
