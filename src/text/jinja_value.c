#include "text/jinja_run.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/map.h"

/* ---- errors and budgets --------------------------------------------------------------------------------------- */

rf_status rf_jinja_fail(struct rf_jinja *J, const char *fmt, ...)
{
    char text[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < ' ') *c = ' ';
    return rf_fail(J->err, RF_INVALID, "chat template line %u: %s", J->line, text);
}

static rf_status over(struct rf_jinja *J, const char *what)
{
    return rf_fail(J->err, RF_TOO_LARGE, "chat template line %u: %s", J->line, what);
}

rf_status rf_jinja_step(struct rf_jinja *J, size_t bytes)
{
    uint64_t cost = 1 + bytes / 64;
    if (J->steps < cost) return over(J, "the budget of steps is used up");
    J->steps -= cost;
    return RF_OK;
}

rf_status rf_jinja_enter(struct rf_jinja *J)
{
    if (J->nest >= RF_JINJA_MAX_NEST) return over(J, "nested too deeply (maximum recursion depth exceeded)");
    J->nest++;
    return RF_OK;
}

rf_status rf_jinja_alloc(struct rf_jinja *J, size_t n, size_t size, void *out)
{
    size_t bytes;
    if (!rf_mul(n, size, &bytes)) return over(J, "the budget of memory is used up");
    RF_TRY(rf_jinja_step(J, bytes / 4));
    void *p = rf_arena_alloc(&J->arena, bytes);
    if (!p) return J->arena.full ? over(J, "the budget of memory is used up") : rf_fail_nomem(J->err, "a chat template", bytes);
    *(void **)out = p;
    return RF_OK;
}

const char *rf_jinja_type(struct rf_jv v)
{
    static const char *const names[] = {
        "missing", "Undefined", "NoneType", "bool", "int", "int", "float", "str", "list", "tuple", "dict", "range", "dict_items",
        "generator", "Namespace", "LoopContext", "Macro", "function", "builtin_function_or_method", "Cycler", "Joiner",
        "TemplateReference"};
    if (v.kind == RF_JV_STR && v.s->markup) return "Markup";
    if (v.kind == RF_JV_SELF && v.part) return "BlockReference";
    return names[v.kind];
}

rf_status rf_jinja_undefined(struct rf_jinja *J, struct rf_jv *out, const char *fmt, ...)
{
    struct rf_jundef *u;
    char text[200], *copy;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    RF_TRY(rf_jinja_alloc(J, 1, sizeof *u, &u));
    RF_TRY(rf_jinja_alloc(J, strlen(text) + 1, 1, &copy));
    u->hint = strcpy(copy, text);
    *out = (struct rf_jv){.kind = RF_JV_UNDEF, .u = u};
    return RF_OK;
}

rf_status rf_jinja_use(struct rf_jinja *J, struct rf_jv v)
{
    if (v.kind != RF_JV_UNDEF) return RF_OK;
    return rf_jinja_fail(J, "%s", v.u ? v.u->hint : "an undefined value is used");
}

/* ---- lists ---------------------------------------------------------------------------------------------------- */

rf_status rf_jinja_list(struct rf_jinja *J, enum rf_jv_kind kind, size_t cap, struct rf_jv *out)
{
    struct rf_jlist *l;
    RF_TRY(rf_jinja_alloc(J, 1, sizeof *l, &l));
    if (cap) {
        RF_TRY(rf_jinja_alloc(J, 1, sizeof *l->room, &l->room));
        RF_TRY(rf_jinja_alloc(J, cap, sizeof *l->v, &l->v));
        l->room->cap = cap;
    }
    *out = (struct rf_jv){.kind = (uint8_t)kind, .l = l};
    return RF_OK;
}

rf_status rf_jinja_push(struct rf_jinja *J, struct rf_jlist *l, struct rf_jv v)
{
    if (!l->room || l->room->used != l->n || l->n == l->room->cap) {
        struct rf_jv *p;
        size_t cap = RF_MAX(2 * l->n, (size_t)4);
        RF_TRY(rf_jinja_alloc(J, 1, sizeof *l->room, &l->room));
        RF_TRY(rf_jinja_alloc(J, cap, sizeof *p, &p));
        if (l->n) memcpy(p, l->v, l->n * sizeof *p);
        l->v = p;
        *l->room = (struct rf_jroom){l->n, cap};
    }
    l->v[l->n++] = v;
    l->room->used = l->n;
    return RF_OK;
}

rf_status rf_jinja_pair(struct rf_jinja *J, struct rf_jv a, struct rf_jv b, struct rf_jv *out)
{
    struct rf_jv t;
    RF_TRY(rf_jinja_list(J, RF_JV_TUPLE, 2, &t));
    RF_TRY(rf_jinja_push(J, t.l, a));
    RF_TRY(rf_jinja_push(J, t.l, b));
    *out = t;
    return RF_OK;
}

/* ---- dicts ---------------------------------------------------------------------------------------------------- */

enum { DICT_SMALL = 8 };

bool rf_jinja_hashable(struct rf_jv v)
{
    if (v.kind == RF_JV_LIST || v.kind == RF_JV_DICT || (v.kind == RF_JV_VIEW && v.view->what != 'v')) return false;
    if (v.kind != RF_JV_TUPLE) return true;
    for (size_t i = 0; i < v.l->n; i++) /* a tuple in a tuple ... : as deep as the expression that made it, at most */
        if (v.l->v[i].kind == RF_JV_TUPLE || !rf_jinja_hashable(v.l->v[i])) return false;
    return true;
}

/* Hashing and comparing a key reads all of it: that is paid for, or a long key looked up in a loop costs nothing. */
static rf_status pay_for_key(struct rf_jinja *J, struct rf_jv key)
{
    size_t bytes = key.kind == RF_JV_STR ? key.s->len : 0;
    for (size_t i = 0; key.kind == RF_JV_TUPLE && i < key.l->n; i++) bytes += 16 + (key.l->v[i].kind == RF_JV_STR ? key.l->v[i].s->len : 0);
    return bytes < 64 ? RF_OK : rf_jinja_step(J, bytes);
}

static uint64_t hash_value(const struct rf_jinja *J, struct rf_jv v)
{
    uint64_t seed = (uint64_t)(uintptr_t)J; /* differs per render: collisions cannot be prepared */
    double f;
    switch (v.kind) {
    case RF_JV_STR: return rf_hash(v.s->p, v.s->len, seed);
    case RF_JV_BOOL:
    case RF_JV_INT: /* equal numbers hash alike whatever their type */
    case RF_JV_FLOAT:
        f = rf_jv_f64(v) + 0.0; /* -0.0 is 0.0 */
        return rf_hash(&f, sizeof f, seed + 1);
    case RF_JV_TUPLE:
        for (size_t i = 0; i < v.l->n; i++) seed = 31 * seed + hash_value(J, v.l->v[i]);
        return seed;
    default: return seed + v.kind;
    }
}

static rf_status dict_find(struct rf_jinja *J, const struct rf_jdict *d, struct rf_jv key, uint64_t hash, uint32_t *at)
{
    bool same;
    *at = UINT32_MAX;
    if (!d->n_index) {
        for (uint32_t i = 0; i < d->n; i++) {
            if (d->e[i].hash != hash) continue;
            RF_TRY(rf_jinja_eq(J, d->e[i].key, key, &same));
            if (same) *at = i;
        }
        return RF_OK;
    }
    for (uint32_t k = (uint32_t)hash & (d->n_index - 1); d->index[k]; k = (k + 1) & (d->n_index - 1)) {
        uint32_t i = d->index[k] - 1;
        if (d->e[i].hash != hash) continue;
        RF_TRY(rf_jinja_eq(J, d->e[i].key, key, &same));
        if (same) {
            *at = i;
            return RF_OK;
        }
    }
    return RF_OK;
}

static void index_put(struct rf_jdict *d, uint32_t i)
{
    uint32_t k = (uint32_t)d->e[i].hash & (d->n_index - 1);
    while (d->index[k]) k = (k + 1) & (d->n_index - 1);
    d->index[k] = i + 1;
}

static rf_status dict_grow(struct rf_jinja *J, struct rf_jdict *d)
{
    uint32_t cap = d->cap ? 2 * d->cap : 4;
    struct rf_jentry *e;
    RF_TRY(rf_jinja_alloc(J, cap, sizeof *e, &e));
    if (d->n) memcpy(e, d->e, d->n * sizeof *e);
    d->e = e;
    d->cap = cap;
    if (cap <= DICT_SMALL) return RF_OK;
    RF_TRY(rf_jinja_alloc(J, (size_t)cap * 2, sizeof *d->index, &d->index));
    d->n_index = 2 * cap;
    for (uint32_t i = 0; i < d->n; i++) index_put(d, i);
    return RF_OK;
}

rf_status rf_jinja_dict(struct rf_jinja *J, struct rf_jv *out)
{
    struct rf_jdict *d;
    RF_TRY(rf_jinja_alloc(J, 1, sizeof *d, &d));
    *out = (struct rf_jv){.kind = RF_JV_DICT, .d = d};
    return RF_OK;
}

rf_status rf_jinja_dict_set(struct rf_jinja *J, struct rf_jdict *d, struct rf_jv key, struct rf_jv value)
{
    uint32_t at;
    if (!rf_jinja_hashable(key)) return rf_jinja_fail(J, "unhashable type: '%s'", rf_jinja_type(key));
    RF_TRY(pay_for_key(J, key));
    uint64_t hash = hash_value(J, key);
    RF_TRY(dict_find(J, d, key, hash, &at));
    if (at != UINT32_MAX) {
        d->e[at].value = value;
        return RF_OK;
    }
    if (d->n == d->cap) RF_TRY(dict_grow(J, d));
    d->e[d->n] = (struct rf_jentry){key, value, hash};
    if (d->n_index) index_put(d, d->n);
    d->n++;
    return RF_OK;
}

rf_status rf_jinja_dict_get(struct rf_jinja *J, const struct rf_jdict *d, struct rf_jv key, struct rf_jv **out)
{
    uint32_t at;
    *out = NULL;
    if (!rf_jinja_hashable(key)) return rf_jinja_fail(J, "unhashable type: '%s'", rf_jinja_type(key));
    if (!d->n) return RF_OK;
    RF_TRY(pay_for_key(J, key));
    RF_TRY(dict_find(J, d, key, hash_value(J, key), &at));
    if (at != UINT32_MAX) *out = &d->e[at].value;
    return RF_OK;
}

/* ---- truth, equality, order ----------------------------------------------------------------------------------- */

bool rf_jinja_len(struct rf_jv v, size_t *n)
{
    switch (v.kind) {
    case RF_JV_UNDEF: *n = 0; return true;
    case RF_JV_STR: *n = v.s->n_chars; return true;
    case RF_JV_LIST:
    case RF_JV_TUPLE: *n = v.l->n; return true;
    case RF_JV_DICT: *n = v.d->n; return true;
    case RF_JV_RANGE: *n = (size_t)v.r->n; return true;
    case RF_JV_VIEW: *n = v.view->d->n; return true;
    default: return false;
    }
}

bool rf_jinja_truth(struct rf_jv v)
{
    size_t n;
    switch (v.kind) {
    case RF_JV_MISSING:
    case RF_JV_UNDEF:
    case RF_JV_NONE: return false;
    case RF_JV_BOOL: return v.b;
    case RF_JV_INT: return v.i != 0;
    case RF_JV_FLOAT: return v.f != 0;
    case RF_JV_LOOP: return true;
    default: return !rf_jinja_len(v, &n) || n > 0;
    }
}

static rf_status eq_dict(struct rf_jinja *J, const struct rf_jdict *a, const struct rf_jdict *b, bool *out)
{
    *out = a->n == b->n;
    for (uint32_t i = 0; i < a->n && *out; i++) {
        struct rf_jv *other;
        RF_TRY(rf_jinja_dict_get(J, b, a->e[i].key, &other));
        *out = other != NULL;
        if (other) RF_TRY(rf_jinja_eq(J, a->e[i].value, *other, out));
    }
    return RF_OK;
}

static bool eq_num(struct rf_jv a, struct rf_jv b)
{
    if (rf_jv_is_int(a) && rf_jv_is_int(b)) return rf_jv_i64(a) == rf_jv_i64(b);
    if (rf_jv_is_int(b)) {
        struct rf_jv t = a;
        a = b;
        b = t;
    }
    if (!rf_jv_is_int(a)) return a.f == b.f;
    if (!(b.f >= -0x1p63 && b.f < 0x1p63)) return false;
    return (int64_t)b.f == rf_jv_i64(a) && (double)(int64_t)b.f == b.f; /* exact, as in Python */
}

static rf_status eq_containers(struct rf_jinja *J, struct rf_jv a, struct rf_jv b, bool *out)
{
    RF_TRY(rf_jinja_enter(J));
    if (a.kind == RF_JV_DICT) {
        RF_TRY(eq_dict(J, a.d, b.d, out));
    } else {
        *out = a.l->n == b.l->n;
        for (size_t i = 0; i < a.l->n && *out; i++) RF_TRY(rf_jinja_eq(J, a.l->v[i], b.l->v[i], out));
    }
    J->nest--;
    return RF_OK;
}

rf_status rf_jinja_eq(struct rf_jinja *J, struct rf_jv a, struct rf_jv b, bool *out)
{
    RF_TRY(rf_jinja_step(J, 0));
    *out = false;
    if (rf_jv_is_num(a) && rf_jv_is_num(b)) {
        *out = eq_num(a, b);
        return RF_OK;
    }
    if (a.kind != b.kind) return RF_OK;
    switch (a.kind) {
    case RF_JV_UNDEF:
    case RF_JV_NONE: *out = true; break;
    case RF_JV_STR:
    case RF_JV_BIGINT:
        *out = rf_jinja_str_eq(a.s, b.s);
        return rf_jinja_step(J, *out ? a.s->len : 0);
    case RF_JV_LIST:
    case RF_JV_TUPLE:
    case RF_JV_DICT: return eq_containers(J, a, b, out);
    case RF_JV_RANGE:
        *out = a.r->n == b.r->n && (!a.r->n || (a.r->start == b.r->start && (a.r->n == 1 || a.r->step == b.r->step)));
        break;
    case RF_JV_METHOD: *out = a.method->id == b.method->id && a.method->self.kind == b.method->self.kind &&
                              a.method->self.s == b.method->self.s;
        break;
    default: *out = a.s == b.s; break; /* all the rest is equal only to itself */
    }
    return RF_OK;
}

static int order(int64_t a, int64_t b) { return (a > b) - (a < b); }

static rf_status cmp_lists(struct rf_jinja *J, const struct rf_jlist *a, const struct rf_jlist *b, const char *op, int *out)
{
    for (size_t i = 0; i < a->n && i < b->n; i++) {
        bool same;
        RF_TRY(rf_jinja_eq(J, a->v[i], b->v[i], &same));
        if (same) continue;
        RF_TRY(rf_jinja_enter(J));
        RF_TRY(rf_jinja_cmp(J, a->v[i], b->v[i], op, out));
        J->nest--;
        return RF_OK;
    }
    *out = order((int64_t)a->n, (int64_t)b->n);
    return RF_OK;
}

/* -1, 0, 1; 2: no order. */
static int order_floats(double x, double y) { return x < y ? -1 : x > y ? 1 : x == y ? 0 : 2; }
static int order_mixed(int64_t i, double f) /* exact, as in Python: 2^53 + 1 is more than 2^53 as a float */
{
    if (!(f >= -0x1p63 && f < 0x1p63)) return order_floats(0, f);
    return i != (int64_t)f ? order(i, (int64_t)f) : order_floats(0, f - (double)(int64_t)f);
}

rf_status rf_jinja_cmp(struct rf_jinja *J, struct rf_jv a, struct rf_jv b, const char *op, int *out)
{
    RF_TRY(rf_jinja_step(J, 0));
    RF_TRY(rf_jinja_use(J, a));
    RF_TRY(rf_jinja_use(J, b));
    if (rf_jv_is_int(a) && rf_jv_is_int(b)) {
        *out = order(rf_jv_i64(a), rf_jv_i64(b));
    } else if (rf_jv_is_num(a) && rf_jv_is_num(b)) {
        *out = rf_jv_is_int(a) ? order_mixed(rf_jv_i64(a), b.f) : rf_jv_is_int(b) ? order_mixed(rf_jv_i64(b), a.f) : order_floats(a.f, b.f);
        if (rf_jv_is_int(b) && *out != 2) *out = -*out;
    } else if (a.kind == RF_JV_STR && b.kind == RF_JV_STR) { /* UTF-8 sorts as its code points do */
        RF_TRY(rf_jinja_step(J, RF_MIN(a.s->len, b.s->len)));
        int c = memcmp(a.s->p, b.s->p, RF_MIN(a.s->len, b.s->len));
        *out = c ? (c > 0) - (c < 0) : order(a.s->len, b.s->len);
    } else if (a.kind == b.kind && (a.kind == RF_JV_LIST || a.kind == RF_JV_TUPLE)) {
        return cmp_lists(J, a.l, b.l, op, out);
    } else {
        return rf_jinja_fail(J, "'%s' not supported between instances of '%s' and '%s'", op, rf_jinja_type(a), rf_jinja_type(b));
    }
    return RF_OK;
}

rf_status rf_jinja_in(struct rf_jinja *J, struct rf_jv needle, struct rf_jv hay, bool *out)
{
    struct rf_jiter it;
    struct rf_jv v;
    bool more;
    *out = false;
    if (hay.kind == RF_JV_STR) {
        if (needle.kind != RF_JV_STR)
            return rf_jinja_fail(J, "'in <string>' requires string as left operand, not %s", rf_jinja_type(needle));
        RF_TRY(rf_jinja_search_step(J, needle.s, hay.s->len));
        *out = rf_jinja_find(hay.s, needle.s, 0, hay.s->len) != SIZE_MAX;
        return RF_OK;
    }
    if (hay.kind == RF_JV_DICT || (hay.kind == RF_JV_VIEW && hay.view->what == 'k')) {
        struct rf_jv *found;
        RF_TRY(rf_jinja_dict_get(J, hay.kind == RF_JV_DICT ? hay.d : hay.view->d, needle, &found));
        *out = found != NULL;
        return RF_OK;
    }
    if (!rf_jinja_iterable(hay)) return rf_jinja_fail(J, "argument of type '%s' is not iterable", rf_jinja_type(hay));
    RF_TRY(rf_jinja_iter(J, hay, &it));
    for (;;) {
        RF_TRY(rf_jinja_next(J, &it, &v, &more));
        if (!more) return RF_OK;
        RF_TRY(rf_jinja_eq(J, v, needle, out));
        if (*out) return RF_OK;
    }
}

/* ---- walking -------------------------------------------------------------------------------------------------- */

bool rf_jinja_iterable(struct rf_jv v)
{
    size_t n;
    return v.kind == RF_JV_GEN || v.kind == RF_JV_LOOP || rf_jinja_len(v, &n);
}

rf_status rf_jinja_iter(struct rf_jinja *J, struct rf_jv of, struct rf_jiter *it)
{
    if (!rf_jinja_iterable(of) || of.kind == RF_JV_LOOP)
        return rf_jinja_fail(J, "'%s' object is not iterable", rf_jinja_type(of));
    *it = (struct rf_jiter){of, 0};
    return RF_OK;
}

static rf_status entry_value(struct rf_jinja *J, const struct rf_jentry *e, char what, struct rf_jv *out)
{
    if (what == 'i') return rf_jinja_pair(J, e->key, e->value, out);
    *out = what == 'k' ? e->key : e->value;
    return RF_OK;
}

rf_status rf_jinja_next(struct rf_jinja *J, struct rf_jiter *it, struct rf_jv *out, bool *more)
{
    struct rf_jv of = it->of;
    RF_TRY(rf_jinja_step(J, 0));
    *more = true;
    switch (of.kind) {
    case RF_JV_STR:
        if (it->at >= of.s->len) break;
        size_t from = it->at;
        do it->at++;
        while (it->at < of.s->len && (of.s->p[it->at] & 0xc0) == 0x80);
        RF_TRY(rf_jinja_str_slice(J, of.s, from, it->at, out));
        if (of.s->markup) RF_TRY(rf_jinja_str_from(J, of.s->p + from, it->at - from, rf_jinja_trust_at(of.s, from), out));
        return RF_OK; /* the characters of Markup are plain strings */
    case RF_JV_LIST:
    case RF_JV_TUPLE:
        if (it->at >= of.l->n) break;
        *out = of.l->v[it->at++];
        return RF_OK;
    case RF_JV_DICT:
        if (it->at >= of.d->n) break;
        *out = of.d->e[it->at++].key;
        return RF_OK;
    case RF_JV_RANGE:
        if (it->at >= (size_t)of.r->n) break;
        *out = rf_jv_int(of.r->start + of.r->step * (int64_t)it->at++);
        return RF_OK;
    case RF_JV_VIEW:
        if (it->at >= of.view->d->n) break;
        return entry_value(J, &of.view->d->e[it->at++], of.view->what, out);
    case RF_JV_GEN: return rf_jinja_gen_next(J, of.gen, out, more);
    default: break;
    }
    *more = false;
    return RF_OK;
}

rf_status rf_jinja_collect(struct rf_jinja *J, struct rf_jv of, struct rf_jv *out)
{
    struct rf_jiter it;
    struct rf_jv v, list;
    size_t n = 0;
    bool more;
    RF_TRY(rf_jinja_iter(J, of, &it));
    rf_jinja_len(of, &n);
    RF_TRY(rf_jinja_list(J, RF_JV_LIST, n, &list));
    for (;;) {
        RF_TRY(rf_jinja_next(J, &it, &v, &more));
        if (!more) break;
        RF_TRY(rf_jinja_push(J, list.l, v));
    }
    *out = list;
    return RF_OK;
}

/* ---- sorting -------------------------------------------------------------------------------------------------- */

struct pair { struct rf_jv key; size_t at; };

static rf_status merge(struct rf_jinja *J, struct pair *a, struct pair *tmp, size_t n, size_t width, bool reverse)
{
    for (size_t lo = 0; lo < n; lo += 2 * width) {
        size_t mid = RF_MIN(lo + width, n), hi = RF_MIN(lo + 2 * width, n), i = lo, j = mid, k = lo;
        while (i < mid && j < hi) {
            int c;
            RF_TRY(rf_jinja_cmp(J, a[j].key, a[i].key, "<", &c));
            bool right = reverse ? c == 1 : c == -1; /* equal ones keep their order, also in reverse */
            tmp[k++] = right ? a[j++] : a[i++];
        }
        while (i < mid) tmp[k++] = a[i++];
        while (j < hi) tmp[k++] = a[j++];
    }
    memcpy(a, tmp, n * sizeof *a);
    return RF_OK;
}

rf_status rf_jinja_sort(struct rf_jinja *J, struct rf_jv *v, struct rf_jv *key, size_t n, bool reverse)
{
    struct pair *a, *tmp;
    struct rf_jv *copy;
    RF_TRY(rf_jinja_alloc(J, n, sizeof *a, &a));
    RF_TRY(rf_jinja_alloc(J, n, sizeof *tmp, &tmp));
    RF_TRY(rf_jinja_alloc(J, n, sizeof *copy, &copy));
    for (size_t i = 0; i < n; i++) a[i] = (struct pair){key[i], i};
    for (size_t width = 1; width < n; width *= 2) RF_TRY(merge(J, a, tmp, n, width, reverse));
    if (n) memcpy(copy, v, n * sizeof *v);
    for (size_t i = 0; i < n; i++) v[i] = copy[a[i].at];
    return RF_OK;
}
