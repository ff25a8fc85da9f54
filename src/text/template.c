/* The door of the template interpreter: parse once, render many times. */
#include "text/template.h"

#include "base/mem.h"
#include "text/jinja_run.h"

rf_status rf_template_parse(struct rf_template **out, const char *source, size_t len, struct rf_error *err)
{
    struct rf_template *t = rf_alloc_array(1, sizeof *t);
    *out = NULL;
    if (!t) return rf_fail_nomem(err, "a chat template", sizeof *t);
    rf_status s = rf_jinja_parse(t, source, len, err);
    if (s) {
        rf_template_free(t);
        return s;
    }
    *out = t;
    return RF_OK;
}

void rf_template_free(struct rf_template *t)
{
    if (!t) return;
    rf_arena_release(&t->arena);
    rf_free(t);
}

void rf_spans_release(struct rf_spans *s)
{
    rf_free(s->span);
    *s = (struct rf_spans){0};
}

/* The root's variables: built-in functions, over them the request's, over them nothing where the template sets first. */
static rf_status root_vars(struct rf_jinja *J, const char *json, size_t len, const char *const *trusted_vars)
{
    const struct rf_template *t = J->t;
    RF_TRY(rf_jinja_alloc(J, t->n_sym, sizeof *J->root, &J->root));
    for (uint32_t i = 0; i < t->n_sym; i++) {
        const struct rf_jglobal *g = rf_jinja_global(t->sym[i]);
        if (g) J->root[i] = (struct rf_jv){.kind = RF_JV_GLOBAL, .global = g};
    }
    RF_TRY(rf_jinja_json_vars(J, json, len, trusted_vars));
    J->root[RF_JSYM_SELF] = (struct rf_jv){.kind = RF_JV_SELF};
    if (t->parts) {
        RF_TRY(rf_jinja_alloc(J, t->n_sym, sizeof *J->given, &J->given));
        memcpy(J->given, J->root, t->n_sym * sizeof *J->given);
    }
    for (uint32_t i = 0; i < t->body->scope->n_unset; i++) J->root[t->body->scope->unset[i]] = rf_jv_missing();
    return RF_OK;
}

rf_status rf_template_run(const struct rf_template *t, const char *json, size_t json_len, const char *const *trusted_vars,
                          int64_t now, const struct rf_template_limits *limits, struct rf_buf *out, struct rf_spans *trusted,
                          struct rf_error *err)
{
    static const struct rf_template_limits none;
    if (!limits) limits = &none;
    struct rf_jenv root = {0};
    struct rf_jinja J = {.t = t, .out = out, .spans = trusted, .now = now, .err = err, .env = &root, .line = 1,
                         .steps = limits->steps ? limits->steps : 1000000,
                         .output = limits->output ? limits->output : (size_t)16 << 20,
                         .max_depth = limits->depth ? limits->depth : 100};
    J.arena.max = limits->memory ? limits->memory : (size_t)48 << 20;
    if (trusted) trusted->n = 0;
    rf_status s = root_vars(&J, json, json_len, trusted_vars);
    if (!s) s = rf_jinja_exec(&J, t->body);
    rf_arena_release(&J.arena);
    return s;
}
