/* Lazy sequences: map, select, unique, batch, items, and the condition of a for loop. */
#include "text/jinja_run.h"

rf_status rf_jinja_gen(struct rf_jinja *J, enum rf_jgen_op op, struct rf_jv of, struct rf_jgen **g, struct rf_jv *out)
{
    RF_TRY(rf_jinja_alloc(J, 1, sizeof **g, g));
    (*g)->op = op;
    (*g)->attr = (*g)->fallback = rf_jv_missing();
    RF_TRY(rf_jinja_iter(J, of, &(*g)->it));
    *out = (struct rf_jv){.kind = RF_JV_GEN, .gen = *g};
    return RF_OK;
}

rf_status rf_jinja_path(struct rf_jinja *J, struct rf_jv item, struct rf_jv path, struct rf_jv fallback, struct rf_jv *out)
{
    *out = item;
    if (path.kind == RF_JV_MISSING || path.kind == RF_JV_NONE) return RF_OK;
    if (path.kind != RF_JV_STR) return rf_jinja_item(J, item, path, out);
    for (size_t from = 0, to; from <= path.s->len; from = to + 1) {
        const char *dot = memchr(path.s->p + from, '.', path.s->len - from);
        struct rf_jv key;
        to = dot ? (size_t)(dot - path.s->p) : path.s->len;
        RF_TRY(rf_jinja_str_slice(J, path.s, from, to, &key));
        bool number = to > from && to - from < 18;
        int64_t n = 0;
        for (size_t i = from; i < to && number; i++) {
            number = path.s->p[i] >= '0' && path.s->p[i] <= '9';
            n = 10 * n + (path.s->p[i] - '0');
        }
        if (number) key = rf_jv_int(n);
        RF_TRY(rf_jinja_item(J, *out, key, out));
        if (out->kind == RF_JV_UNDEF && fallback.kind != RF_JV_MISSING && fallback.kind != RF_JV_NONE) *out = fallback;
    }
    return RF_OK;
}

rf_status rf_jinja_fold(struct rf_jinja *J, struct rf_jv v, struct rf_jv *out)
{
    *out = v;
    return v.kind == RF_JV_STR ? rf_jinja_case(J, v.s, RF_JCASE_LOWER, out) : RF_OK;
}

static rf_status keeps(struct rf_jinja *J, struct rf_jgen *g, struct rf_jv item, bool *yes)
{
    struct rf_jv v;
    if (g->op == RF_JGEN_FOR_TEST) {
        struct rf_jenv *env, *outer = J->env;
        RF_TRY(rf_jinja_env_open(J, NULL, g->env, &env));
        J->env = env;
        rf_status s = rf_jinja_assign(J, g->node->a, item);
        if (!s) s = rf_jinja_eval(J, g->node->c, &v);
        J->env = outer;
        *yes = !s && rf_jinja_truth(v);
        return s;
    }
    RF_TRY(rf_jinja_path(J, item, g->attr, rf_jv_missing(), &v));
    if (g->op == RF_JGEN_UNIQUE) {
        struct rf_jv *seen;
        if (!g->case_sensitive) RF_TRY(rf_jinja_fold(J, v, &v));
        RF_TRY(rf_jinja_dict_get(J, g->seen, v, &seen));
        *yes = !seen;
        return seen ? RF_OK : rf_jinja_dict_set(J, g->seen, v, rf_jv_none());
    }
    if (g->name) RF_TRY(rf_jinja_test(J, g->name, v, &g->args, yes));
    else *yes = rf_jinja_truth(v);
    *yes = *yes == g->want;
    return RF_OK;
}

static rf_status next_batch(struct rf_jinja *J, struct rf_jgen *g, struct rf_jv *out, bool *more)
{
    struct rf_jv v;
    RF_TRY(rf_jinja_list(J, RF_JV_LIST, 0, out));
    while (out->l->n < g->n) {
        RF_TRY(rf_jinja_next(J, &g->it, &v, more));
        if (!*more) break;
        RF_TRY(rf_jinja_push(J, out->l, v));
    }
    *more = out->l->n > 0;
    while (*more && out->l->n < g->n && g->fallback.kind != RF_JV_MISSING && g->fallback.kind != RF_JV_NONE)
        RF_TRY(rf_jinja_push(J, out->l, g->fallback));
    return RF_OK;
}

static rf_status advance(struct rf_jinja *J, struct rf_jgen *g, struct rf_jv *out, bool *more)
{
    struct rf_jv v;
    bool yes;
    if (g->op == RF_JGEN_BATCH) return next_batch(J, g, out, more);
    if (g->op == RF_JGEN_REVERSED) {
        *more = g->n > 0;
        return *more ? rf_jinja_item(J, g->it.of, rf_jv_int((int64_t)--g->n), out) : RF_OK;
    }
    for (;;) {
        RF_TRY(rf_jinja_next(J, &g->it, &v, more));
        if (!*more) return RF_OK;
        if (g->op == RF_JGEN_MAP_ATTR) return rf_jinja_path(J, v, g->attr, g->fallback, out);
        if (g->op == RF_JGEN_MAP_FILTER) return rf_jinja_filter(J, g->name, v, &g->args, out);
        *out = v;
        if (g->op == RF_JGEN_ITEMS || g->op == RF_JGEN_WALK) return RF_OK;
        RF_TRY(keeps(J, g, v, &yes));
        if (yes) {
            *out = v;
            return RF_OK;
        }
    }
}

rf_status rf_jinja_gen_next(struct rf_jinja *J, struct rf_jgen *g, struct rf_jv *out, bool *more)
{
    if (g->running) return rf_jinja_fail(J, "generator already executing");
    RF_TRY(rf_jinja_enter(J));
    g->running = true;
    rf_status s = advance(J, g, out, more);
    g->running = false;
    J->nest--;
    return s;
}
