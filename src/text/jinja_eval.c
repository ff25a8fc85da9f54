/* Expressions: operators with Python's meaning, attribute and item access as in Jinja's sandbox, calls. */
#include "text/jinja_run.h"

#include <math.h>

/* ---- arguments ------------------------------------------------------------------------------------------------ */

static rf_status eval_args(struct rf_jinja *J, const struct rf_jargs_ast *g, struct rf_jargs *out)
{
    struct rf_jv star = rf_jv_missing(), kw = rf_jv_missing();
    size_t n_pos, n_kw;
    *out = (struct rf_jargs){0};
    if (!g) return RF_OK;
    if (g->star) {
        RF_TRY(rf_jinja_eval(J, g->star, &star));
        RF_TRY(rf_jinja_collect(J, star, &star));
    }
    if (g->star_star) {
        RF_TRY(rf_jinja_eval(J, g->star_star, &kw));
        if (kw.kind != RF_JV_DICT) return rf_jinja_fail(J, "argument after ** must be a mapping, not %s", rf_jinja_type(kw));
    }
    n_pos = g->n_pos + (star.kind == RF_JV_LIST ? star.l->n : 0);
    n_kw = g->n_kw + (kw.kind == RF_JV_DICT ? kw.d->n : 0);
    if (n_pos) RF_TRY(rf_jinja_alloc(J, n_pos, sizeof *out->pos, &out->pos));
    if (n_kw) RF_TRY(rf_jinja_alloc(J, n_kw, sizeof *out->kw, &out->kw));
    if (n_kw) RF_TRY(rf_jinja_alloc(J, n_kw, sizeof *out->kw_name, &out->kw_name));
    for (uint32_t i = 0; i < g->n_pos; i++) RF_TRY(rf_jinja_eval(J, g->pos[i], &out->pos[i]));
    for (size_t i = g->n_pos; i < n_pos; i++) out->pos[i] = star.l->v[i - g->n_pos];
    for (uint32_t i = 0; i < g->n_kw; i++) {
        out->kw_name[i] = g->kw_name[i];
        RF_TRY(rf_jinja_eval(J, g->kw_value[i], &out->kw[i]));
    }
    for (size_t i = g->n_kw; i < n_kw; i++) {
        const struct rf_jentry *e = &kw.d->e[i - g->n_kw];
        if (e->key.kind != RF_JV_STR) return rf_jinja_fail(J, "keywords must be strings");
        out->kw_name[i] = e->key.s;
        out->kw[i] = e->value;
    }
    out->n_pos = (uint32_t)n_pos;
    out->n_kw = (uint32_t)n_kw;
    return RF_OK;
}

rf_status rf_jinja_bind(struct rf_jinja *J, const char *fn, const struct rf_jargs *args, const char *params, unsigned required,
                        struct rf_jv *out)
{
    unsigned n = 0;
    for (const char *p = params; *p; n++) {
        size_t len = strcspn(p, ",");
        out[n] = n < args->n_pos ? args->pos[n] : rf_jv_missing();
        for (uint32_t k = 0; k < args->n_kw; k++) {
            if (args->kw_name[k]->len != len || memcmp(args->kw_name[k]->p, p, len)) continue;
            if (out[n].kind != RF_JV_MISSING)
                return rf_jinja_fail(J, "%s() got multiple values for argument '%.*s'", fn, (int)len, p);
            out[n] = args->kw[k];
        }
        if (n < required && out[n].kind == RF_JV_MISSING)
            return rf_jinja_fail(J, "%s() misses its argument '%.*s'", fn, (int)len, p);
        p += len + (p[len] == ',');
    }
    if (args->n_pos > n) return rf_jinja_fail(J, "%s() takes at most %u arguments, %u were given", fn, n, args->n_pos);
    for (uint32_t k = 0; k < args->n_kw; k++) {
        const struct rf_jstr *name = args->kw_name[k];
        bool known = false;
        for (const char *p = params; *p && !known;) {
            size_t len = strcspn(p, ",");
            known = name->len == len && !memcmp(name->p, p, len);
            p += len + (p[len] == ',');
        }
        if (!known)
            return rf_jinja_fail(J, "%s() got an unexpected keyword argument '%.*s'", fn, (int)RF_MIN(name->len, 100u), name->p);
    }
    return RF_OK;
}

const struct rf_jbuiltin *rf_jinja_builtin(const struct rf_jbuiltin *table, size_t n, const char *name, size_t len)
{
    for (size_t i = 0; i < n; i++)
        if (strlen(table[i].name) == len && !memcmp(table[i].name, name, len)) return &table[i];
    return NULL;
}

rf_status rf_jinja_builtin_call(struct rf_jinja *J, const struct rf_jbuiltin *b, struct rf_jv self, const struct rf_jargs *args,
                                struct rf_jv *out)
{
    struct rf_jv a[RF_JINJA_PARAMS];
    if (b->raw) return b->raw(J, self, args, out);
    RF_TRY(rf_jinja_bind(J, b->name, args, b->params, b->required, a));
    return b->fn(J, self, a, out);
}

/* ---- calls ---------------------------------------------------------------------------------------------------- */

rf_status rf_jinja_call(struct rf_jinja *J, struct rf_jv fn, const struct rf_jargs *args, struct rf_jv *out)
{
    RF_TRY(rf_jinja_use(J, fn));
    switch (fn.kind) {
    case RF_JV_METHOD: return rf_jinja_method_call(J, fn.method, args, out);
    case RF_JV_GLOBAL: return fn.global->fn(J, fn, args, out);
    case RF_JV_MACRO: return rf_jinja_macro_call(J, fn.macro, args, out);
    case RF_JV_JOINER: return rf_jinja_stateful_call(J, fn, out);
    case RF_JV_SELF:
        if (fn.part) return rf_jinja_part_call(J, fn.part, args, out);
        return rf_jinja_fail(J, "'%s' object is not callable", rf_jinja_type(fn));
    case RF_JV_LOOP:
        if (args->n_pos != 1 || args->n_kw) return rf_jinja_fail(J, "loop() takes one argument");
        return rf_jinja_loop_call(J, fn.loop, args->pos[0], out);
    default: return rf_jinja_fail(J, "'%s' object is not callable", rf_jinja_type(fn));
    }
}

/* ---- attributes and items ------------------------------------------------------------------------------------- */

rf_status rf_jinja_to_int(struct rf_jinja *J, struct rf_jv v, int64_t *out)
{
    RF_TRY(rf_jinja_use(J, v));
    if (!rf_jv_is_int(v)) return rf_jinja_fail(J, "'%s' object cannot be interpreted as an integer", rf_jinja_type(v));
    *out = rf_jv_i64(v);
    return RF_OK;
}

static rf_status no_attr(struct rf_jinja *J, struct rf_jv of, const struct rf_jstr *name, struct rf_jv *out)
{
    return rf_jinja_undefined(J, out, "'%s object' has no attribute '%.*s'", rf_jinja_type(of), (int)RF_MIN(name->len, 100u), name->p);
}

/* What a macro tells of itself. */
static rf_status macro_attribute(struct rf_jinja *J, const struct rf_jmacro_ast *m, const struct rf_jstr *name, struct rf_jv *out, bool *found)
{
    const struct { const char *name; bool yes; } rows[] = {
        { "catch_kwargs", m->uses_kwargs }, { "catch_varargs", m->uses_varargs }, { "caller", m->uses_caller },
        { "explicit_caller", m->explicit_caller },
    };
    *found = true;
    for (size_t i = 0; i < RF_COUNT(rows); i++)
        if (rf_jinja_str_is(name, rows[i].name)) {
            *out = rf_jv_bool(rows[i].yes);
            return RF_OK;
        }
    if (rf_jinja_str_is(name, "name")) {
        *out = rf_jv_str(m->name);
        return RF_OK;
    }
    *found = rf_jinja_str_is(name, "arguments");
    if (!*found) return RF_OK;
    RF_TRY(rf_jinja_list(J, RF_JV_TUPLE, m->n_params, out));
    for (uint32_t i = 0; i < m->n_params; i++) RF_TRY(rf_jinja_push(J, out->l, rf_jv_str(J->t->sym[m->params[i]])));
    return RF_OK;
}

/* What ranges, cyclers and joiners tell of themselves, and self of its blocks. */
static rf_status own_attribute(struct rf_jinja *J, struct rf_jv of, const struct rf_jstr *name, struct rf_jv *out, bool *found)
{
    const struct rf_jcycler *c = of.cycler;
    *found = true;
    if (of.kind == RF_JV_RANGE) {
        const struct { const char *name; int64_t v; } rows[] = { { "start", of.r->start }, { "stop", of.r->stop }, { "step", of.r->step } };
        for (size_t i = 0; i < RF_COUNT(rows); i++)
            if (rf_jinja_str_is(name, rows[i].name)) return *out = rf_jv_int(rows[i].v), RF_OK;
    } else if (of.kind == RF_JV_JOINER) {
        if (rf_jinja_str_is(name, "sep")) return *out = c->v[0], RF_OK;
        if (rf_jinja_str_is(name, "used")) return *out = rf_jv_bool(c->at), RF_OK;
    } else if (of.kind == RF_JV_CYCLER) {
        if (rf_jinja_str_is(name, "current")) return *out = c->v[c->at], RF_OK;
        if (rf_jinja_str_is(name, "pos")) return *out = rf_jv_int((int64_t)c->at), RF_OK;
        if (rf_jinja_str_is(name, "items")) {
            RF_TRY(rf_jinja_list(J, RF_JV_TUPLE, c->n, out));
            for (size_t i = 0; i < c->n; i++) RF_TRY(rf_jinja_push(J, out->l, c->v[i]));
            return RF_OK;
        }
    } else if (of.kind == RF_JV_SELF && !of.part) {
        for (const struct rf_jpart *p = J->t->parts; p; p = p->next)
            if (rf_jinja_str_eq(p->name, name)) return *out = (struct rf_jv){ .kind = RF_JV_SELF, .part = p }, RF_OK;
    } else if (rf_jinja_number_attr(of, name, out)) {
        return RF_OK;
    }
    *found = false;
    return RF_OK;
}

/* Python has these, and a prompt has no use for them: bytes, HTML. Said by name, not as if they were unknown. */
static rf_status refuse(struct rf_jinja *J, struct rf_jv of, const struct rf_jstr *name)
{
    enum { TEXT = 1, NUMBER = 2, MARKUP = 4 };
    static const struct { const char *name; unsigned of; } rows[] = {
        { "encode", TEXT }, { "to_bytes", NUMBER }, { "from_bytes", NUMBER }, { "fromhex", NUMBER }, { "striptags", MARKUP }, { "unescape", MARKUP },
        { "escape", MARKUP },
    };
    bool num = rf_jv_is_num(of) || of.kind == RF_JV_BIGINT;
    unsigned is = num ? NUMBER : of.kind != RF_JV_STR ? 0 : of.s->markup ? TEXT | MARKUP : TEXT;
    for (size_t i = 0; i < RF_COUNT(rows); i++)
        if (rows[i].of & is && rf_jinja_str_is(name, rows[i].name))
            return rf_fail(J->err, RF_UNSUPPORTED, "chat template line %u: the method '%s.%s' is not supported", J->line, rf_jinja_type(of), rows[i].name);
    return RF_OK;
}

/* What Python's getattr finds; *found false where it finds nothing. */
static rf_status python_attr(struct rf_jinja *J, struct rf_jv of, struct rf_jstr *name, struct rf_jv *out, bool *found)
{
    bool unsafe = false;
    int id;
    struct rf_jv *v;
    *found = true;
    if (of.kind == RF_JV_LOOP && !rf_jinja_method(of, name, &id, &unsafe)) {
        RF_TRY(rf_jinja_loop_attr(J, of.loop, name, out));
        *found = out->kind != RF_JV_UNDEF || !strncmp(out->u->hint, "there is", 8);
        return RF_OK;
    }
    if (of.kind == RF_JV_NAMESPACE) {
        RF_TRY(rf_jinja_dict_get(J, of.d, rf_jv_str(name), &v));
        *found = v != NULL;
        if (v) *out = *v;
        return RF_OK;
    }
    if (of.kind == RF_JV_TUPLE && of.l->is_group && (rf_jinja_str_is(name, "grouper") || rf_jinja_str_is(name, "list"))) {
        *out = of.l->v[name->len == 4];
        return RF_OK;
    }
    RF_TRY(own_attribute(J, of, name, out, found));
    if (*found) return RF_OK;
    *found = true;
    if (of.kind == RF_JV_MACRO) {
        RF_TRY(macro_attribute(J, of.macro->ast, name, out, found));
        if (*found) return RF_OK;
    }
    *found = rf_jinja_method(of, name, &id, &unsafe);
    if (!*found) return refuse(J, of, name);
    if (unsafe)
        return rf_jinja_undefined(J, out, "access to attribute '%.*s' of '%s' object is unsafe.", (int)RF_MIN(name->len, 100u),
                                  name->p, rf_jinja_type(of));
    struct rf_jmethod *m;
    RF_TRY(rf_jinja_alloc(J, 1, sizeof *m, &m));
    *m = (struct rf_jmethod){of, id};
    *out = (struct rf_jv){.kind = RF_JV_METHOD, .method = m};
    return RF_OK;
}

static bool is_dunder(const struct rf_jstr *s)
{
    return s->len > 4 && !memcmp(s->p, "__", 2) && !memcmp(s->p + s->len - 2, "__", 2);
}

rf_status rf_jinja_attr(struct rf_jinja *J, struct rf_jv of, struct rf_jstr *name, struct rf_jv *out)
{
    bool found;
    struct rf_jv *v;
    if (of.kind == RF_JV_UNDEF && rf_jinja_str_is(name, "__class__"))
        return rf_jinja_undefined(J, out, "access to attribute '__class__' of 'Undefined' object is unsafe.");
    RF_TRY(rf_jinja_use(J, of));
    if (!is_dunder(name)) {
        RF_TRY(python_attr(J, of, name, out, &found));
        if (found) return RF_OK;
    }
    if (of.kind == RF_JV_DICT) {
        RF_TRY(rf_jinja_dict_get(J, of.d, rf_jv_str(name), &v));
        if (v) {
            *out = *v;
            return RF_OK;
        }
    }
    return no_attr(J, of, name, out);
}

/* Element i of a sequence; *found false if it is out of range or of has no elements. */
static rf_status element(struct rf_jinja *J, struct rf_jv of, int64_t i, struct rf_jv *out, bool *found)
{
    size_t n;
    *found = of.kind != RF_JV_VIEW && rf_jinja_len(of, &n);
    if (!*found) return RF_OK;
    if (i < 0) i += (int64_t)n;
    *found = i >= 0 && (uint64_t)i < n;
    if (!*found) return RF_OK;
    switch (of.kind) {
    case RF_JV_STR: {
        RF_TRY(rf_jinja_step(J, of.s->n_chars == of.s->len ? 0 : 3 * (size_t)of.s->len));
        size_t at = rf_jinja_char_at(of.s, (size_t)i), end = at + 1;
        while (end < of.s->len && (of.s->p[end] & 0xc0) == 0x80) end++;
        return rf_jinja_str_slice(J, of.s, at, end, out);
    }
    case RF_JV_LIST:
    case RF_JV_TUPLE: *out = of.l->v[i]; return RF_OK;
    case RF_JV_RANGE: *out = rf_jv_int(of.r->start + i * of.r->step); return RF_OK;
    default: *found = false; return RF_OK;
    }
}

rf_status rf_jinja_item(struct rf_jinja *J, struct rf_jv of, struct rf_jv key, struct rf_jv *out)
{
    bool found = false;
    struct rf_jv *v = NULL;
    RF_TRY(rf_jinja_use(J, of));
    if (of.kind == RF_JV_DICT) {
        if (rf_jinja_hashable(key)) RF_TRY(rf_jinja_dict_get(J, of.d, key, &v));
        found = v != NULL;
        if (found) *out = *v;
    } else if (rf_jv_is_int(key)) {
        RF_TRY(element(J, of, rf_jv_i64(key), out, &found));
    }
    if (found) return RF_OK;
    if (key.kind == RF_JV_STR && !is_dunder(key.s)) {
        RF_TRY(python_attr(J, of, key.s, out, &found));
        if (found) return RF_OK;
    }
    if (key.kind == RF_JV_STR) return no_attr(J, of, key.s, out);
    if (key.kind == RF_JV_INT) return rf_jinja_undefined(J, out, "%s object has no element %lld", rf_jinja_type(of), (long long)key.i);
    return rf_jinja_undefined(J, out, "%s object has no such element", rf_jinja_type(of));
}

/* ---- slices --------------------------------------------------------------------------------------------------- */

static rf_status slice_part(struct rf_jinja *J, const struct rf_jnode *n, struct rf_jv *out, bool *ok)
{
    *out = rf_jv_none();
    if (n) RF_TRY(rf_jinja_eval(J, n, out));
    if (out->kind != RF_JV_NONE && !rf_jv_is_int(*out)) *ok = false;
    return RF_OK;
}

static int64_t clamp(struct rf_jv v, int64_t n, int64_t lo, int64_t hi, int64_t otherwise)
{
    if (v.kind == RF_JV_NONE) return otherwise;
    int64_t i = rf_jv_i64(v);
    if (i < 0) i = i < -n ? lo : i + n;
    return RF_MIN(RF_MAX(i, lo), hi);
}

static rf_status slice_str(struct rf_jinja *J, struct rf_jstr *s, int64_t from, int64_t count, int64_t step, struct rf_jv *out)
{
    struct rf_jsb b = {.J = J};
    struct rf_jv one;
    RF_TRY(rf_jinja_step(J, s->len));
    if (step == 1) {
        size_t lo = rf_jinja_char_at(s, (size_t)from), hi = rf_jinja_char_at(s, (size_t)(from + count));
        return rf_jinja_str_slice(J, s, lo, hi, out);
    }
    uint32_t *at; /* byte offset of each character */
    RF_TRY(rf_jinja_step(J, 8 * (size_t)s->len));
    RF_TRY(rf_jinja_alloc(J, (size_t)s->n_chars + 1, sizeof *at, &at));
    for (uint32_t i = 0, k = 0; i <= s->len; i++)
        if (i == s->len || (s->p[i] & 0xc0) != 0x80) at[k++] = i;
    for (int64_t i = 0, c = from; i < count; i++, c += step) rf_jinja_sb_slice(&b, s, at[c], at[c + 1]);
    RF_TRY(rf_jinja_sb_done(&b, &one));
    one.s->markup = s->markup;
    *out = one;
    return RF_OK;
}

static rf_status eval_slice(struct rf_jinja *J, struct rf_jv of, const struct rf_jnode *n, struct rf_jv *out)
{
    struct rf_jv from, to, step;
    size_t len;
    bool ok = of.kind == RF_JV_STR || of.kind == RF_JV_LIST || of.kind == RF_JV_TUPLE || of.kind == RF_JV_RANGE;
    RF_TRY(slice_part(J, n->a, &from, &ok));
    RF_TRY(slice_part(J, n->b, &to, &ok));
    RF_TRY(slice_part(J, n->c, &step, &ok));
    RF_TRY(rf_jinja_use(J, of));
    if (!ok) return rf_jinja_fail(J, "'%s' object cannot be sliced so", rf_jinja_type(of));
    rf_jinja_len(of, &len);
    int64_t k = step.kind == RF_JV_NONE ? 1 : rf_jv_i64(step), size = (int64_t)len;
    if (!k) return rf_jinja_fail(J, "slice step cannot be zero");
    k = RF_MAX(RF_MIN(k, INT32_MAX), -INT32_MAX);
    int64_t lo = k > 0 ? clamp(from, size, 0, size, 0) : clamp(from, size, -1, size - 1, size - 1);
    int64_t hi = k > 0 ? clamp(to, size, 0, size, size) : clamp(to, size, -1, size - 1, -1);
    int64_t count = k > 0 ? (hi > lo ? (hi - lo + k - 1) / k : 0) : (lo > hi ? (lo - hi - k - 1) / -k : 0);
    if (of.kind == RF_JV_STR) return slice_str(J, of.s, count ? lo : 0, count, count ? k : 1, out);
    if (of.kind == RF_JV_RANGE) {
        struct rf_jrange *r;
        RF_TRY(rf_jinja_alloc(J, 1, sizeof *r, &r));
        *r = (struct rf_jrange){of.r->start + lo * of.r->step, of.r->start + hi * of.r->step, of.r->step * k, count};
        *out = (struct rf_jv){.kind = RF_JV_RANGE, .r = r};
        return RF_OK;
    }
    struct rf_jv list;
    RF_TRY(rf_jinja_list(J, of.kind, k == 1 ? 0 : (size_t)count, &list));
    if (k == 1 && count) { /* shares: lists never change */
        list.l->v = of.l->v + lo;
        list.l->n = (size_t)count;
    }
    for (int64_t i = 0; k != 1 && i < count; i++) RF_TRY(rf_jinja_push(J, list.l, of.l->v[lo + i * k]));
    *out = list;
    return RF_OK;
}

/* ---- operators ------------------------------------------------------------------------------------------------ */

static const char *op_text(enum rf_jtok_kind op)
{
    static const char *const names[] = {"+", "-", "*", "/", "//", "%", "** or pow()"};
    return names[op - RF_JT_ADD];
}

static rf_status unsupported(struct rf_jinja *J, enum rf_jtok_kind op, struct rf_jv a, struct rf_jv b)
{
    return rf_jinja_fail(J, "unsupported operand type(s) for %s: '%s' and '%s'", op_text(op), rf_jinja_type(a), rf_jinja_type(b));
}

static rf_status overflow(struct rf_jinja *J) { return rf_jinja_fail(J, "the result does not fit a 64-bit integer"); }

static rf_status float_op(struct rf_jinja *J, enum rf_jtok_kind op, double x, double y, struct rf_jv *out)
{
    double r = 0;
    if ((op == RF_JT_DIV || op == RF_JT_FLOORDIV || op == RF_JT_MOD) && y == 0) return rf_jinja_fail(J, "division by zero");
    switch (op) {
    case RF_JT_ADD: r = x + y; break;
    case RF_JT_SUB: r = x - y; break;
    case RF_JT_MUL: r = x * y; break;
    case RF_JT_DIV: r = x / y; break;
    case RF_JT_POW:
        if (x == 0 && y < 0) return rf_jinja_fail(J, "0.0 cannot be raised to a negative power");
        if (x < 0 && isfinite(x) && isfinite(y) && y != floor(y)) return rf_jinja_fail(J, "complex numbers are not supported");
        r = pow(x, y);
        if (isinf(r) && isfinite(x) && isfinite(y)) return rf_jinja_fail(J, "the result is too large for a float");
        break;
    default: { /* floor division and the remainder with the divisor's sign, as Python defines them */
        double mod = fmod(x, y), div = (x - mod) / y;
        if (mod != 0 && (y < 0) != (mod < 0)) {
            mod += y;
            div -= 1;
        } else if (mod == 0) {
            mod = copysign(0.0, y);
        }
        if (div != 0) {
            double f = floor(div);
            div = div - f > 0.5 ? f + 1 : f;
        } else {
            div = copysign(0.0, x / y);
        }
        r = op == RF_JT_MOD ? mod : div;
    }
    }
    *out = rf_jv_float(r);
    return RF_OK;
}

static rf_status int_pow(struct rf_jinja *J, int64_t x, int64_t y, struct rf_jv *out)
{
    int64_t r = 1;
    if (y < 0) {
        if (!x) return rf_jinja_fail(J, "0.0 cannot be raised to a negative power");
        *out = rf_jv_float(pow((double)x, (double)y));
        return RF_OK;
    }
    while (y) {
        if ((y & 1) && __builtin_mul_overflow(r, x, &r)) return overflow(J);
        y >>= 1;
        if (y && __builtin_mul_overflow(x, x, &x)) return overflow(J);
    }
    *out = rf_jv_int(r);
    return RF_OK;
}

/* x / y rounded once, as Python does, where both as doubles would be rounded first. */
static double quotient(int64_t x, int64_t y)
{
    const int64_t exact = (int64_t)1 << 53;
    if (!x || (x >= -exact && x <= exact && y >= -exact && y <= exact)) return (double)x / (double)y;
    const uint64_t a = x < 0 ? -(uint64_t)x : (uint64_t)x, b = y < 0 ? -(uint64_t)y : (uint64_t)y;
    const int up = __builtin_clzll(a);
    const unsigned __int128 n = (unsigned __int128)(a << up) << 64;
    unsigned __int128 q = n / b; /* 2^64 or more */
    const int down = 64 - __builtin_clzll((uint64_t)(q >> 64));
    const bool rest = n % b || q << (128 - down);
    const double r = ldexp((double)((uint64_t)(q >> down) | rest), down - 64 - up); /* 64 bits, the lowest also for what was left: one rounding */
    return (x < 0) != (y < 0) ? -r : r;
}

static rf_status int_op(struct rf_jinja *J, enum rf_jtok_kind op, int64_t x, int64_t y, struct rf_jv *out)
{
    int64_t r = 0;
    bool bad = false;
    switch (op) {
    case RF_JT_ADD: bad = __builtin_add_overflow(x, y, &r); break;
    case RF_JT_SUB: bad = __builtin_sub_overflow(x, y, &r); break;
    case RF_JT_MUL: bad = __builtin_mul_overflow(x, y, &r); break;
    case RF_JT_DIV:
        if (!y) return rf_jinja_fail(J, "division by zero");
        *out = rf_jv_float(quotient(x, y));
        return RF_OK;
    case RF_JT_POW: return int_pow(J, x, y, out);
    default:
        if (!y) return rf_jinja_fail(J, "integer division or modulo by zero");
        if (y == -1) { /* INT64_MIN / -1 traps */
            bad = op == RF_JT_FLOORDIV && __builtin_sub_overflow(0, x, &r);
            break;
        }
        r = op == RF_JT_MOD ? x % y : x / y;
        if (x % y && (x % y < 0) != (y < 0)) r += op == RF_JT_MOD ? y : -1;
    }
    if (bad) return overflow(J);
    *out = rf_jv_int(r);
    return RF_OK;
}

static rf_status repeat(struct rf_jinja *J, struct rf_jv v, int64_t times, struct rf_jv *out)
{
    struct rf_jsb b = {.J = J};
    struct rf_jv r;
    if (v.kind == RF_JV_STR) {
        if (times > 0 && v.s->len && (uint64_t)times > J->arena.max / v.s->len)
            return rf_fail(J->err, RF_TOO_LARGE, "chat template line %u: the budget of memory is used up", J->line);
        for (int64_t i = 0; i < times && v.s->len; i++) {
            RF_TRY(rf_jinja_step(J, 0));
            rf_jinja_sb_str(&b, v.s);
        }
        RF_TRY(rf_jinja_sb_done(&b, out));
        out->s->markup = v.s->markup;
        return RF_OK;
    }
    RF_TRY(rf_jinja_list(J, v.kind, 0, &r));
    for (int64_t i = 0; i < times && v.l->n; i++) {
        RF_TRY(rf_jinja_step(J, v.l->n * 16));
        for (size_t k = 0; k < v.l->n; k++) RF_TRY(rf_jinja_push(J, r.l, v.l->v[k]));
    }
    *out = r;
    return RF_OK;
}

static rf_status join_lists(struct rf_jinja *J, struct rf_jv a, struct rf_jv b, struct rf_jv *out)
{
    struct rf_jlist *l;
    RF_TRY(rf_jinja_alloc(J, 1, sizeof *l, &l));
    *l = *a.l;
    l->is_group = false;
    for (size_t i = 0; i < b.l->n; i++) RF_TRY(rf_jinja_push(J, l, b.l->v[i]));
    *out = (struct rf_jv){.kind = a.kind, .l = l};
    return RF_OK;
}

rf_status rf_jinja_arith(struct rf_jinja *J, enum rf_jtok_kind op, struct rf_jv a, struct rf_jv b, struct rf_jv *out)
{
    bool seq_a = a.kind == RF_JV_STR || a.kind == RF_JV_LIST || a.kind == RF_JV_TUPLE;
    bool seq_b = b.kind == RF_JV_STR || b.kind == RF_JV_LIST || b.kind == RF_JV_TUPLE;
    if (op == RF_JT_MOD && a.kind == RF_JV_STR) return rf_jinja_percent(J, a.s, b, out);
    RF_TRY(rf_jinja_use(J, a));
    RF_TRY(rf_jinja_use(J, b));
    if (rf_jv_is_num(a) && rf_jv_is_num(b)) {
        bool data = a.from_data || b.from_data;
        if (rf_jv_is_int(a) && rf_jv_is_int(b)) RF_TRY(int_op(J, op, rf_jv_i64(a), rf_jv_i64(b), out));
        else RF_TRY(float_op(J, op, rf_jv_f64(a), rf_jv_f64(b), out));
        out->from_data = data;
        return RF_OK;
    }
    if (op == RF_JT_ADD && seq_a && a.kind == b.kind)
        return a.kind == RF_JV_STR ? rf_jinja_concat(J, a.s, b.s, out) : join_lists(J, a, b, out);
    if (op == RF_JT_ADD && seq_a && seq_b)
        return rf_jinja_fail(J, "can only concatenate %s (not \"%s\") to %s", rf_jinja_type(a), rf_jinja_type(b), rf_jinja_type(a));
    if (op == RF_JT_MUL && seq_a && rf_jv_is_int(b)) return repeat(J, a, rf_jv_i64(b), out);
    if (op == RF_JT_MUL && seq_b && rf_jv_is_int(a)) return repeat(J, b, rf_jv_i64(a), out);
    return unsupported(J, op, a, b);
}

rf_status rf_jinja_compare(struct rf_jinja *J, enum rf_jtok_kind op, struct rf_jv a, struct rf_jv b, bool *out)
{
    static const char *const text[] = {"==", "!=", ">", ">=", "<", "<="};
    int c;
    if (op == RF_JT_EQ || op == RF_JT_NE) {
        RF_TRY(rf_jinja_eq(J, a, b, out));
        *out ^= op == RF_JT_NE;
        return RF_OK;
    }
    if (op == RF_JT_IN || op == RF_JT_NOTIN) {
        RF_TRY(rf_jinja_in(J, a, b, out));
        *out ^= op == RF_JT_NOTIN;
        return RF_OK;
    }
    RF_TRY(rf_jinja_cmp(J, a, b, text[op - RF_JT_EQ], &c));
    *out = op == RF_JT_GT ? c == 1 : op == RF_JT_GTEQ ? c == 0 || c == 1 : op == RF_JT_LT ? c == -1 : c == 0 || c == -1;
    return RF_OK;
}

static rf_status eval_compare(struct rf_jinja *J, const struct rf_jnode *n, struct rf_jv *out)
{
    struct rf_jv left, right;
    bool yes = true;
    RF_TRY(rf_jinja_eval(J, n->a, &left));
    for (uint32_t i = 0; i < n->n && yes; i++) {
        RF_TRY(rf_jinja_eval(J, n->list[i], &right));
        J->line = n->line;
        RF_TRY(rf_jinja_compare(J, n->ops[i], left, right, &yes));
        left = right;
    }
    *out = rf_jv_bool(yes);
    return RF_OK;
}

static rf_status eval_concat(struct rf_jinja *J, const struct rf_jnode *n, struct rf_jv *out)
{
    struct rf_jv v, sum;
    RF_TRY(rf_jinja_str_from(J, "", 0, true, &sum));
    for (uint32_t i = 0; i < n->n; i++) {
        RF_TRY(rf_jinja_eval(J, n->list[i], &v));
        RF_TRY(rf_jinja_str(J, v, &v));
        struct rf_jstr plain = *v.s;
        plain.markup = false; /* joining does not escape */
        RF_TRY(rf_jinja_concat(J, sum.s, &plain, &sum));
        if (sum.s == &plain) {
            RF_TRY(rf_jinja_alloc(J, 1, sizeof *sum.s, &sum.s));
            *sum.s = plain;
        }
    }
    *out = sum;
    return RF_OK;
}

static rf_status eval_unary(struct rf_jinja *J, const struct rf_jnode *n, struct rf_jv *out)
{
    struct rf_jv v;
    RF_TRY(rf_jinja_eval(J, n->a, &v));
    RF_TRY(rf_jinja_use(J, v));
    if (!rf_jv_is_num(v))
        return rf_jinja_fail(J, "bad operand type for unary %c: '%s'", n->kind == RF_JN_NEG ? '-' : '+', rf_jinja_type(v));
    if (v.kind == RF_JV_FLOAT) {
        *out = rf_jv_float(n->kind == RF_JN_NEG ? -v.f : v.f);
    } else {
        int64_t i = rf_jv_i64(v);
        if (n->kind == RF_JN_NEG && __builtin_sub_overflow(0, i, &i)) return overflow(J);
        *out = rf_jv_int(i);
    }
    out->from_data = v.from_data;
    return RF_OK;
}

/* ---- the rest ------------------------------------------------------------------------------------------------- */

static rf_status eval_list(struct rf_jinja *J, const struct rf_jnode *n, struct rf_jv *out)
{
    struct rf_jv list, v;
    RF_TRY(rf_jinja_list(J, n->kind == RF_JN_LIST ? RF_JV_LIST : RF_JV_TUPLE, n->n, &list));
    for (uint32_t i = 0; i < n->n; i++) {
        RF_TRY(rf_jinja_eval(J, n->list[i], &v));
        RF_TRY(rf_jinja_push(J, list.l, v));
    }
    *out = list;
    return RF_OK;
}

static rf_status eval_dict(struct rf_jinja *J, const struct rf_jnode *n, struct rf_jv *out)
{
    struct rf_jv d, key, v;
    RF_TRY(rf_jinja_dict(J, &d));
    for (uint32_t i = 0; i < n->n; i += 2) {
        RF_TRY(rf_jinja_eval(J, n->list[i], &key));
        RF_TRY(rf_jinja_eval(J, n->list[i + 1], &v));
        RF_TRY(rf_jinja_dict_set(J, d.d, key, v));
    }
    *out = d;
    return RF_OK;
}

static rf_status eval_logic(struct rf_jinja *J, const struct rf_jnode *n, struct rf_jv *out)
{
    RF_TRY(rf_jinja_eval(J, n->a, out));
    if (rf_jinja_truth(*out) == (n->kind == RF_JN_OR)) return RF_OK;
    return rf_jinja_eval(J, n->b, out);
}

static rf_status eval_cond(struct rf_jinja *J, const struct rf_jnode *n, struct rf_jv *out)
{
    struct rf_jv test;
    RF_TRY(rf_jinja_eval(J, n->b, &test));
    if (rf_jinja_truth(test)) return rf_jinja_eval(J, n->a, out);
    if (n->c) return rf_jinja_eval(J, n->c, out);
    return rf_jinja_undefined(J, out, "the inline if-expression on line %u evaluated to false and no else section was defined.", n->line);
}

static rf_status eval_call(struct rf_jinja *J, const struct rf_jnode *n, struct rf_jv *out)
{
    struct rf_jv fn;
    struct rf_jargs args;
    RF_TRY(rf_jinja_eval(J, n->a, &fn));
    RF_TRY(eval_args(J, n->args, &args));
    J->line = n->line;
    return rf_jinja_call(J, fn, &args, out);
}

/* The chain of filters that ends in n, applied to `in` where the chain begins with nothing. */
rf_status rf_jinja_eval_filters(struct rf_jinja *J, const struct rf_jnode *n, struct rf_jv in, struct rf_jv *out)
{
    struct rf_jargs args;
    struct rf_jv v = in;
    RF_TRY(rf_jinja_enter(J));
    if (n->a && n->a->kind == RF_JN_FILTER) RF_TRY(rf_jinja_eval_filters(J, n->a, in, &v));
    else if (n->a) RF_TRY(rf_jinja_eval(J, n->a, &v));
    RF_TRY(eval_args(J, n->args, &args));
    J->line = n->line;
    rf_status s = rf_jinja_filter(J, n->value.s, v, &args, out);
    J->nest--;
    return s;
}

static rf_status eval_test(struct rf_jinja *J, const struct rf_jnode *n, struct rf_jv *out)
{
    struct rf_jv v;
    struct rf_jargs args;
    bool yes;
    RF_TRY(rf_jinja_eval(J, n->a, &v));
    RF_TRY(eval_args(J, n->args, &args));
    J->line = n->line;
    RF_TRY(rf_jinja_test(J, n->value.s, v, &args, &yes));
    *out = rf_jv_bool(yes);
    return RF_OK;
}

static rf_status eval_access(struct rf_jinja *J, const struct rf_jnode *n, struct rf_jv *out)
{
    struct rf_jv of, key;
    RF_TRY(rf_jinja_eval(J, n->a, &of));
    J->line = n->line;
    if (n->kind == RF_JN_ATTR) return rf_jinja_attr(J, of, n->value.s, out);
    if (n->b->kind == RF_JN_SLICE) return eval_slice(J, of, n->b, out);
    RF_TRY(rf_jinja_eval(J, n->b, &key));
    return rf_jinja_item(J, of, key, out);
}

static rf_status eval_bin(struct rf_jinja *J, const struct rf_jnode *n, struct rf_jv *out)
{
    struct rf_jv a, b;
    RF_TRY(rf_jinja_eval(J, n->a, &a));
    RF_TRY(rf_jinja_eval(J, n->b, &b));
    J->line = n->line;
    return rf_jinja_arith(J, n->op, a, b, out);
}

static rf_status eval_kind(struct rf_jinja *J, const struct rf_jnode *n, struct rf_jv *out)
{
    struct rf_jv v;
    switch (n->kind) {
    case RF_JN_TUPLE:
    case RF_JN_LIST: return eval_list(J, n, out);
    case RF_JN_DICT: return eval_dict(J, n, out);
    case RF_JN_NOT:
        RF_TRY(rf_jinja_eval(J, n->a, &v));
        *out = rf_jv_bool(!rf_jinja_truth(v));
        return RF_OK;
    case RF_JN_NEG:
    case RF_JN_POS: return eval_unary(J, n, out);
    case RF_JN_AND:
    case RF_JN_OR: return eval_logic(J, n, out);
    case RF_JN_BIN: return eval_bin(J, n, out);
    case RF_JN_CONCAT: return eval_concat(J, n, out);
    case RF_JN_COMPARE: return eval_compare(J, n, out);
    case RF_JN_COND: return eval_cond(J, n, out);
    case RF_JN_ATTR:
    case RF_JN_ITEM: return eval_access(J, n, out);
    case RF_JN_CALL: return eval_call(J, n, out);
    case RF_JN_FILTER: return rf_jinja_eval_filters(J, n, rf_jv_missing(), out);
    case RF_JN_TEST: return eval_test(J, n, out);
    default: return rf_jinja_undefined(J, out, "a slice stands alone"); /* x[1:2, 3]: no type takes it */
    }
}

rf_status rf_jinja_eval(struct rf_jinja *J, const struct rf_jnode *n, struct rf_jv *out)
{
    J->line = n->line;
    RF_TRY(rf_jinja_step(J, 0));
    if (n->kind == RF_JN_CONST) {
        *out = n->value;
        return RF_OK;
    }
    if (n->kind == RF_JN_NAME) return rf_jinja_lookup(J, n->sym, out);
    RF_TRY(rf_jinja_enter(J));
    rf_status s = eval_kind(J, n, out);
    J->nest--;
    return s;
}
