/* Statements: output, conditions, loops, assignments, macros. */
#include "text/jinja_run.h"

/* A status of this file's own, on its way from break or continue to the loop. */
enum { FLOW_BREAK = 1000, FLOW_CONTINUE };

static rf_status exec_list(struct rf_jinja *J, const struct rf_jnode *body);

/* ---- output --------------------------------------------------------------------------------------------------- */

static rf_status add_span(struct rf_jinja *J, size_t from, size_t to)
{
    struct rf_spans *s = J->spans;
    if (!s || from == to) return RF_OK;
    if (s->n && s->span[s->n - 1].to == from) {
        s->span[s->n - 1].to = to;
        return RF_OK;
    }
    if (s->n == s->cap) {
        size_t cap = s->cap ? 2 * s->cap : 64;
        struct rf_span *p = rf_realloc_array(s->span, cap, sizeof *p);
        if (!p) return rf_fail_nomem(J->err, "spans of a chat template", cap * sizeof *p);
        s->span = p;
        s->cap = cap;
    }
    s->span[s->n++] = (struct rf_span){from, to};
    return RF_OK;
}

rf_status rf_jinja_emit(struct rf_jinja *J, const struct rf_jstr *s)
{
    if (!s->len) return RF_OK;
    if (J->capture) {
        rf_jinja_sb_str(J->capture, s);
        return J->capture->bad ? J->capture->bad : rf_jinja_step(J, s->len);
    }
    RF_TRY(rf_jinja_step(J, s->len));
    if (s->len > J->output) return rf_fail(J->err, RF_TOO_LARGE, "chat template line %u: the output is too long", J->line);
    J->output -= s->len;
    size_t at = J->out->len;
    if (rf_buf_append(J->out, s->p, s->len)) return rf_fail(J->err, J->out->bad, "chat template: no room for the output");
    if (!s->t) return s->trusted ? add_span(J, at, at + s->len) : RF_OK;
    for (size_t i = 0, from; i < s->len;) {
        while (i < s->len && !s->t[i]) i++;
        for (from = i; i < s->len && s->t[i];) i++;
        RF_TRY(add_span(J, at + from, at + i));
    }
    return RF_OK;
}

/* ---- variables ------------------------------------------------------------------------------------------------ */

rf_status rf_jinja_env_open(struct rf_jinja *J, const struct rf_jscope *scope, struct rf_jenv *parent, struct rf_jenv **out)
{
    struct rf_jenv *e;
    RF_TRY(rf_jinja_alloc(J, 1, sizeof *e, &e));
    e->parent = parent;
    e->cap = scope ? scope->n_ref : 0;
    if (e->cap) RF_TRY(rf_jinja_alloc(J, e->cap, sizeof *e->b, &e->b));
    for (uint32_t i = 0; scope && i < scope->n_unset; i++)
        e->b[e->n++] = (struct rf_jbind){scope->unset[i], rf_jv_missing()};
    *out = e;
    return RF_OK;
}

rf_status rf_jinja_lookup(struct rf_jinja *J, uint32_t sym, struct rf_jv *out)
{
    const struct rf_jv *v = NULL;
    bool in_block = false;
    for (const struct rf_jenv *e = J->env; e->parent && !v; e = e->parent) {
        in_block |= e->is_block;
        for (uint32_t i = 0; i < e->n && !v; i++)
            if (e->b[i].sym == sym) v = &e->b[i].value;
    }
    if (!v) v = in_block && J->root[sym].kind == RF_JV_MISSING ? &J->given[sym] : &J->root[sym];
    if (v->kind != RF_JV_MISSING) {
        *out = *v;
        return RF_OK;
    }
    const struct rf_jstr *name = J->t->sym[sym];
    if (rf_jinja_str_is(name, "lipsum")) return rf_fail(J->err, RF_UNSUPPORTED, "chat template line %u: the function 'lipsum' is not supported", J->line);
    return rf_jinja_undefined(J, out, "'%.*s' is undefined", (int)RF_MIN(name->len, 100u), name->p);
}

static rf_status set_var(struct rf_jinja *J, uint32_t sym, struct rf_jv v)
{
    struct rf_jenv *e = J->env;
    if (!e->parent) {
        J->root[sym] = v;
        return RF_OK;
    }
    for (uint32_t i = 0; i < e->n; i++) {
        if (e->b[i].sym != sym) continue;
        e->b[i].value = v;
        return RF_OK;
    }
    if (e->n == e->cap) {
        uint32_t cap = e->cap ? 2 * e->cap : 4;
        struct rf_jbind *b;
        RF_TRY(rf_jinja_alloc(J, cap, sizeof *b, &b));
        if (e->n) memcpy(b, e->b, e->n * sizeof *b);
        e->b = b;
        e->cap = cap;
    }
    e->b[e->n++] = (struct rf_jbind){sym, v};
    return RF_OK;
}

static rf_status unpack(struct rf_jinja *J, const struct rf_jnode *target, struct rf_jv v)
{
    struct rf_jv *items, more_v;
    struct rf_jiter it;
    bool more;
    RF_TRY(rf_jinja_alloc(J, target->n, sizeof *items, &items));
    if (!rf_jinja_iterable(v)) return rf_jinja_fail(J, "cannot unpack non-iterable %s object", rf_jinja_type(v));
    RF_TRY(rf_jinja_iter(J, v, &it));
    for (uint32_t i = 0; i < target->n; i++) {
        RF_TRY(rf_jinja_next(J, &it, &items[i], &more));
        if (!more) return rf_jinja_fail(J, "not enough values to unpack (expected %u, got %u)", target->n, i);
    }
    RF_TRY(rf_jinja_next(J, &it, &more_v, &more));
    if (more) return rf_jinja_fail(J, "too many values to unpack (expected %u)", target->n);
    for (uint32_t i = 0; i < target->n; i++) RF_TRY(rf_jinja_assign(J, target->list[i], items[i]));
    return RF_OK;
}

rf_status rf_jinja_assign(struct rf_jinja *J, const struct rf_jnode *target, struct rf_jv v)
{
    struct rf_jv ns;
    if (target->kind == RF_JN_NAME) return set_var(J, target->sym, v);
    if (target->kind == RF_JN_TUPLE) return unpack(J, target, v);
    RF_TRY(rf_jinja_lookup(J, target->sym, &ns));
    if (ns.kind != RF_JV_NAMESPACE) return rf_jinja_fail(J, "cannot assign attribute on non-namespace object");
    return rf_jinja_dict_set(J, ns.d, target->value, v);
}

/* ---- capturing ------------------------------------------------------------------------------------------------ */

/* Runs body in a new scope under `parent` and gives what it printed. */
static rf_status capture(struct rf_jinja *J, const struct rf_jnode *body, struct rf_jenv *env, struct rf_jv *out)
{
    struct rf_jsb sb = {.J = J}, *outer = J->capture;
    struct rf_jenv *env_outer = J->env;
    J->capture = &sb;
    J->env = env;
    rf_status s = exec_list(J, body);
    J->capture = outer;
    J->env = env_outer;
    return s ? s : rf_jinja_sb_done(&sb, out);
}

static rf_status capture_scoped(struct rf_jinja *J, const struct rf_jnode *body, struct rf_jv *out)
{
    struct rf_jenv *env;
    RF_TRY(rf_jinja_env_open(J, body->scope, J->env, &env));
    return capture(J, body, env, out);
}

static rf_status deeper(struct rf_jinja *J)
{
    if (J->depth >= J->max_depth)
        return rf_fail(J->err, RF_TOO_LARGE, "chat template line %u: calls nested deeper than %u", J->line, J->max_depth);
    J->depth++;
    return RF_OK;
}

/* ---- macros --------------------------------------------------------------------------------------------------- */

static bool take_kw(const struct rf_jargs *args, bool *taken, const struct rf_jstr *name, struct rf_jv *out)
{
    for (uint32_t i = 0; i < args->n_kw; i++) {
        if (taken[i] || !rf_jinja_str_eq(args->kw_name[i], name)) continue;
        taken[i] = true;
        *out = args->kw[i];
        return true;
    }
    return false;
}

static rf_status macro_specials(struct rf_jinja *J, const struct rf_jmacro_ast *m, const struct rf_jargs *args, bool *taken)
{
    const char *name = m->name->p;
    int len = (int)RF_MIN(m->name->len, 100u);
    struct rf_jv v;
    if (m->uses_caller && !m->explicit_caller) {
        if (!take_kw(args, taken, J->t->sym[RF_JSYM_CALLER], &v)) RF_TRY(rf_jinja_undefined(J, &v, "No caller defined"));
        RF_TRY(set_var(J, RF_JSYM_CALLER, v));
    }
    if (m->uses_kwargs) RF_TRY(rf_jinja_dict(J, &v));
    for (uint32_t i = 0; i < args->n_kw; i++) {
        if (taken[i]) continue;
        if (!m->uses_kwargs)
            return rf_jinja_fail(J, "macro '%.*s' takes no keyword argument '%.*s'", len, name,
                                 (int)RF_MIN(args->kw_name[i]->len, 100u), args->kw_name[i]->p);
        RF_TRY(rf_jinja_dict_set(J, v.d, rf_jv_str((struct rf_jstr *)args->kw_name[i]), args->kw[i]));
    }
    if (m->uses_kwargs) RF_TRY(set_var(J, RF_JSYM_KWARGS, v));
    if (!m->uses_varargs) {
        if (args->n_pos <= m->n_params) return RF_OK;
        return rf_jinja_fail(J, "macro '%.*s' takes not more than %u argument(s)", len, name, m->n_params);
    }
    RF_TRY(rf_jinja_list(J, RF_JV_TUPLE, 0, &v));
    for (uint32_t i = m->n_params; i < args->n_pos; i++) RF_TRY(rf_jinja_push(J, v.l, args->pos[i]));
    return set_var(J, RF_JSYM_VARARGS, v);
}

static rf_status macro_bind(struct rf_jinja *J, const struct rf_jmacro_ast *m, const struct rf_jargs *args)
{
    bool *taken, *given;
    RF_TRY(rf_jinja_alloc(J, args->n_kw, sizeof *taken, &taken));
    RF_TRY(rf_jinja_alloc(J, m->n_params, sizeof *given, &given));
    for (uint32_t i = 0; i < m->n_params; i++) {
        struct rf_jv v = rf_jv_missing();
        given[i] = i < args->n_pos || take_kw(args, taken, J->t->sym[m->params[i]], &v);
        if (i < args->n_pos) v = args->pos[i];
        RF_TRY(set_var(J, m->params[i], v));
    }
    RF_TRY(macro_specials(J, m, args, taken));
    for (uint32_t i = 0; i < m->n_params; i++) { /* defaults see the arguments before them */
        struct rf_jv v;
        const struct rf_jstr *name = J->t->sym[m->params[i]];
        if (given[i]) continue;
        uint32_t first = m->n_params - m->n_defaults;
        if (i >= first) RF_TRY(rf_jinja_eval(J, m->defaults[i - first], &v));
        else RF_TRY(rf_jinja_undefined(J, &v, "parameter '%.*s' was not provided", (int)RF_MIN(name->len, 100u), name->p));
        RF_TRY(set_var(J, m->params[i], v));
    }
    return RF_OK;
}

rf_status rf_jinja_macro_call(struct rf_jinja *J, const struct rf_jmacro *m, const struct rf_jargs *args, struct rf_jv *out)
{
    struct rf_jenv *env, *outer = J->env;
    RF_TRY(deeper(J));
    RF_TRY(rf_jinja_env_open(J, m->ast->scope, m->env, &env));
    J->env = env;
    rf_status s = macro_bind(J, m->ast, args);
    if (!s) s = capture(J, m->ast->body, env, out);
    J->env = outer;
    J->depth--;
    return s;
}

static rf_status make_macro(struct rf_jinja *J, const struct rf_jmacro_ast *ast, struct rf_jv *out)
{
    struct rf_jmacro *m;
    RF_TRY(rf_jinja_alloc(J, 1, sizeof *m, &m));
    *m = (struct rf_jmacro){ast, J->env};
    *out = (struct rf_jv){.kind = RF_JV_MACRO, .macro = m};
    return RF_OK;
}

static rf_status exec_call_block(struct rf_jinja *J, const struct rf_jnode *n)
{
    struct rf_jv caller, v, s;
    struct rf_jnode call = *n->a;
    struct rf_jargs_ast args = *n->a->args;
    struct rf_jnode given = {.kind = RF_JN_CONST, .line = n->line};
    RF_TRY(make_macro(J, n->macro, &caller));
    given.value = caller;
    RF_TRY(rf_jinja_alloc(J, args.n_kw + 1, sizeof *args.kw_name, &args.kw_name));
    RF_TRY(rf_jinja_alloc(J, args.n_kw + 1, sizeof *args.kw_value, &args.kw_value));
    for (uint32_t i = 0; i < args.n_kw; i++) {
        args.kw_name[i] = n->a->args->kw_name[i];
        args.kw_value[i] = n->a->args->kw_value[i];
    }
    args.kw_name[args.n_kw] = J->t->sym[RF_JSYM_CALLER];
    args.kw_value[args.n_kw++] = &given;
    call.args = &args;
    RF_TRY(rf_jinja_eval(J, &call, &v));
    RF_TRY(rf_jinja_str(J, v, &s));
    return rf_jinja_emit(J, s.s);
}

/* ---- loops ---------------------------------------------------------------------------------------------------- */

static rf_status loop_peek(struct rf_jinja *J, struct rf_jloop *l)
{
    bool more;
    if (l->after.kind != RF_JV_MISSING || l->peeked_end) return RF_OK;
    RF_TRY(rf_jinja_next(J, &l->it, &l->after, &more));
    if (!more) {
        l->after = rf_jv_missing();
        l->peeked_end = true;
    }
    return RF_OK;
}

static rf_status loop_length(struct rf_jinja *J, struct rf_jloop *l, struct rf_jv *out)
{
    if (!l->has_length && !rf_jinja_len(l->of, &l->length)) { /* a generator: take what is left of it into a list */
        struct rf_jv rest;
        struct rf_jiter it = l->it;
        RF_TRY(rf_jinja_collect(J, it.of, &rest));
        l->it = (struct rf_jiter){rest, 0};
        l->length = rest.l->n + (size_t)(l->index0 + 1) + (l->after.kind != RF_JV_MISSING);
    }
    l->has_length = true;
    *out = rf_jv_int((int64_t)l->length);
    return RF_OK;
}

rf_status rf_jinja_loop_attr(struct rf_jinja *J, struct rf_jloop *l, const struct rf_jstr *name, struct rf_jv *out)
{
    if (rf_jinja_str_is(name, "index0")) *out = rf_jv_int(l->index0);
    else if (rf_jinja_str_is(name, "index")) *out = rf_jv_int(l->index0 + 1);
    else if (rf_jinja_str_is(name, "first")) *out = rf_jv_bool(l->index0 == 0);
    else if (rf_jinja_str_is(name, "depth")) *out = rf_jv_int((int64_t)l->depth0 + 1);
    else if (rf_jinja_str_is(name, "depth0")) *out = rf_jv_int((int64_t)l->depth0);
    else if (rf_jinja_str_is(name, "length")) return loop_length(J, l, out);
    else if (rf_jinja_str_is(name, "last")) {
        RF_TRY(loop_peek(J, l));
        *out = rf_jv_bool(l->after.kind == RF_JV_MISSING);
    } else if (rf_jinja_str_is(name, "revindex") || rf_jinja_str_is(name, "revindex0")) {
        RF_TRY(loop_length(J, l, out));
        out->i -= l->index0 + (name->len == 9);
    } else if (rf_jinja_str_is(name, "previtem")) {
        if (l->index0 == 0) return rf_jinja_undefined(J, out, "there is no previous item");
        *out = l->before;
    } else if (rf_jinja_str_is(name, "nextitem")) {
        RF_TRY(loop_peek(J, l));
        if (l->after.kind == RF_JV_MISSING) return rf_jinja_undefined(J, out, "there is no next item");
        *out = l->after;
    } else {
        return rf_jinja_undefined(J, out, "'LoopContext object' has no attribute '%.*s'", (int)RF_MIN(name->len, 100u), name->p);
    }
    return RF_OK;
}

rf_status rf_jinja_loop_changed(struct rf_jinja *J, struct rf_jloop *l, const struct rf_jargs *args, struct rf_jv *out)
{
    struct rf_jv now;
    bool same = false;
    RF_TRY(rf_jinja_list(J, RF_JV_TUPLE, 0, &now));
    for (uint32_t i = 0; i < args->n_pos; i++) RF_TRY(rf_jinja_push(J, now.l, args->pos[i]));
    if (l->changed_set) RF_TRY(rf_jinja_eq(J, now, l->last_changed, &same));
    l->changed_set = true;
    l->last_changed = now;
    *out = rf_jv_bool(!same);
    return RF_OK;
}

static rf_status loop_next(struct rf_jinja *J, struct rf_jloop *l, bool *more)
{
    struct rf_jv v = l->after;
    *more = v.kind != RF_JV_MISSING;
    l->after = rf_jv_missing();
    if (!*more) {
        if (l->peeked_end) return RF_OK;
        RF_TRY(rf_jinja_next(J, &l->it, &v, more));
        if (!*more) return RF_OK;
    }
    l->index0++;
    l->before = l->current;
    l->current = v;
    return RF_OK;
}

static rf_status run_loop(struct rf_jinja *J, const struct rf_jnode *n, struct rf_jloop *l)
{
    bool untouched = true, more; /* else runs unless an iteration came to its end, as in Jinja */
    struct rf_jv self = {.kind = RF_JV_LOOP, .loop = l};
    for (;;) {
        struct rf_jenv *env;
        rf_status s;
        J->line = n->line;
        RF_TRY(loop_next(J, l, &more));
        if (!more) break;
        RF_TRY(rf_jinja_env_open(J, n->list[0]->scope, l->outer, &env));
        J->env = env;
        s = set_var(J, RF_JSYM_LOOP, self);
        if (!s) s = rf_jinja_assign(J, n->a, l->current);
        if (!s) s = exec_list(J, n->list[0]);
        J->env = l->outer;
        if ((int)s == FLOW_BREAK) break;
        if ((int)s == FLOW_CONTINUE) continue;
        if (s) return s;
        untouched = false;
    }
    if (!n->list[1] || !untouched) return RF_OK;
    struct rf_jenv *env;
    RF_TRY(rf_jinja_env_open(J, n->list[1]->scope, l->outer, &env));
    J->env = env;
    rf_status s = exec_list(J, n->list[1]);
    J->env = l->outer;
    return s;
}

static rf_status exec_for_over(struct rf_jinja *J, const struct rf_jnode *n, struct rf_jv of, size_t depth0)
{
    struct rf_jloop *l;
    RF_TRY(rf_jinja_alloc(J, 1, sizeof *l, &l));
    if (n->c) {
        struct rf_jgen *g;
        RF_TRY(rf_jinja_gen(J, RF_JGEN_FOR_TEST, of, &g, &of));
        g->node = n;
        g->env = J->env;
    }
    *l = (struct rf_jloop){.J = J, .of = of, .index0 = -1, .depth0 = depth0, .node = n, .outer = J->env,
                           .after = rf_jv_missing(), .current = rf_jv_missing(), .before = rf_jv_missing()};
    RF_TRY(rf_jinja_iter(J, of, &l->it));
    return run_loop(J, n, l);
}

rf_status rf_jinja_loop_call(struct rf_jinja *J, struct rf_jloop *l, struct rf_jv of, struct rf_jv *out)
{
    if (!l->node->op) return rf_jinja_fail(J, "The loop must have the 'recursive' marker to be called recursively.");
    struct rf_jsb sb = {.J = J}, *outer = J->capture;
    struct rf_jenv *env = J->env;
    RF_TRY(deeper(J));
    J->capture = &sb;
    J->env = l->outer;
    rf_status s = exec_for_over(J, l->node, of, l->depth0 + 1);
    J->capture = outer;
    J->env = env;
    J->depth--;
    return s ? s : rf_jinja_sb_done(&sb, out);
}

/* ---- statements ----------------------------------------------------------------------------------------------- */

static rf_status exec_if(struct rf_jinja *J, const struct rf_jnode *n)
{
    for (uint32_t i = 0; i < n->n; i += 2) {
        struct rf_jv v;
        RF_TRY(rf_jinja_eval(J, n->list[i], &v));
        if (rf_jinja_truth(v)) return exec_list(J, n->list[i + 1]);
    }
    return n->a ? exec_list(J, n->a) : RF_OK;
}

static rf_status exec_with(struct rf_jinja *J, const struct rf_jnode *n)
{
    struct rf_jenv *env, *outer = J->env;
    struct rf_jv *v;
    RF_TRY(rf_jinja_alloc(J, n->n, sizeof *v, &v));
    for (uint32_t i = 0; i < n->n; i += 2) RF_TRY(rf_jinja_eval(J, n->list[i + 1], &v[i]));
    RF_TRY(rf_jinja_env_open(J, n->c->scope, outer, &env));
    J->env = env;
    rf_status s = RF_OK;
    for (uint32_t i = 0; i < n->n && !s; i += 2) s = rf_jinja_assign(J, n->list[i], v[i]);
    if (!s) s = exec_list(J, n->c);
    J->env = outer;
    return s;
}

static struct rf_jenv *top_level(struct rf_jinja *J)
{
    struct rf_jenv *e = J->env;
    while (e->parent) e = e->parent;
    return e;
}

rf_status rf_jinja_part_call(struct rf_jinja *J, const struct rf_jpart *part, const struct rf_jargs *args, struct rf_jv *out)
{
    struct rf_jenv *env;
    if (args->n_pos || args->n_kw) return rf_jinja_fail(J, "self.%.*s() takes no argument", (int)RF_MIN(part->name->len, 100u), part->name->p);
    RF_TRY(deeper(J));
    rf_status s = rf_jinja_env_open(J, part->body->scope, top_level(J), &env);
    if (!s) env->is_block = true;
    if (!s) s = capture(J, part->body, env, out);
    J->depth--;
    return s;
}

static rf_status exec_scope(struct rf_jinja *J, const struct rf_jnode *n)
{
    const struct rf_jnode *body = n->c;
    struct rf_jenv *env, *outer = J->env;
    RF_TRY(rf_jinja_env_open(J, body->scope, n->op ? top_level(J) : outer, &env));
    env->is_block = n->op;
    J->env = env;
    rf_status s = exec_list(J, body);
    J->env = outer;
    return s;
}

static rf_status exec_captured(struct rf_jinja *J, const struct rf_jnode *n) /* set and filter blocks */
{
    struct rf_jv v;
    RF_TRY(capture_scoped(J, n->c, &v));
    J->line = n->line;
    if (n->b) RF_TRY(rf_jinja_eval_filters(J, n->b, v, &v));
    if (n->kind == RF_JN_SETBLOCK) return rf_jinja_assign(J, n->a, v);
    RF_TRY(rf_jinja_use(J, v));
    if (v.kind != RF_JV_STR) return rf_jinja_fail(J, "a filter block must give a string, not '%s'", rf_jinja_type(v)); /* Jinja joins it with the text around */
    return rf_jinja_emit(J, v.s);
}

static rf_status exec_one(struct rf_jinja *J, const struct rf_jnode *n)
{
    struct rf_jv v;
    J->line = n->line;
    RF_TRY(rf_jinja_step(J, 0));
    switch (n->kind) {
    case RF_JN_DATA: return rf_jinja_emit(J, n->value.s);
    case RF_JN_OUTPUT:
        RF_TRY(rf_jinja_eval(J, n->a, &v));
        RF_TRY(rf_jinja_str(J, v, &v));
        return rf_jinja_emit(J, v.s);
    case RF_JN_IF: return exec_if(J, n);
    case RF_JN_FOR:
        RF_TRY(rf_jinja_eval(J, n->b, &v));
        return exec_for_over(J, n, v, 0);
    case RF_JN_SET:
        RF_TRY(rf_jinja_eval(J, n->b, &v));
        return rf_jinja_assign(J, n->a, v);
    case RF_JN_SETBLOCK:
    case RF_JN_FILTERBLOCK: return exec_captured(J, n);
    case RF_JN_MACRO:
        RF_TRY(make_macro(J, n->macro, &v));
        return set_var(J, n->sym, v);
    case RF_JN_CALLBLOCK: return exec_call_block(J, n);
    case RF_JN_WITH: return exec_with(J, n);
    case RF_JN_SCOPE: return exec_scope(J, n);
    case RF_JN_BREAK: return (rf_status)FLOW_BREAK;
    case RF_JN_CONTINUE: return (rf_status)FLOW_CONTINUE;
    case RF_JN_BODY: return exec_list(J, n);
    default: return rf_fail(J->err, RF_INTERNAL, "chat template line %u: unknown statement %u", n->line, n->kind);
    }
}

static rf_status exec_list(struct rf_jinja *J, const struct rf_jnode *body)
{
    RF_TRY(rf_jinja_enter(J));
    rf_status s = RF_OK;
    for (uint32_t i = 0; i < body->n && !s; i++) s = exec_one(J, body->list[i]);
    J->nest--;
    return s;
}

rf_status rf_jinja_exec(struct rf_jinja *J, const struct rf_jnode *body) { return exec_list(J, body); }
