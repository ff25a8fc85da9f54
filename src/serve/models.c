/* models.c - the list of served models, health and version. */
#include <string.h>

#include "serve/internal.h"
#include "serve/json.h"

static bool served(const struct rf_serve *s, const char *name)
{
    if (!strcmp(name, s->opt.model_id)) return true;
    for (size_t i = 0; i < s->opt.n_aliases; i++)
        if (!strcmp(name, s->opt.aliases[i])) return true;
    return false;
}

bool rf_serve_model_check(struct rf_call *c, const char *name)
{
    if (!name || c->serve->opt.pool || served(c->serve, name)) return true; /* a pool has bound it by name */
    rf_serve_reply_error(&c->reply, 404, "model", "model_not_found",
                         "The model `%.200s` does not exist or is not served here.", name);
    return false;
}

/* on: the model in service if it is this one, else NULL. */
static void model_json(const struct rf_serve *s, const char *id, const struct rf_served *on, struct rf_buf *b)
{
    rf_buf_puts(b, "{\"id\":");
    rf_serve_json_cstr(b, id);
    rf_buf_printf(b,
                  ",\"object\":\"model\",\"created\":%lld,\"owned_by\":\"rocmforge\",\"root\":", (long long)s->created);
    rf_serve_json_cstr(b, s->opt.pool ? id : s->opt.model_id);
    if (!on) {
        rf_buf_puts(b, ",\"parent\":null,\"max_model_len\":null,\"meta\":null}");
        return;
    }
    const struct rf_model_info *i = &on->info;
    rf_buf_printf(b,
                  ",\"parent\":null,\"max_model_len\":%u,\"meta\":{\"n_vocab\":%u,\"n_ctx_train\":%u,\"n_embd\":%u,"
                  "\"n_params\":%llu,\"size\":%llu,\"architecture\":",
                  on->max_model_len, i->n_vocab, i->n_ctx_train, i->n_embd, (unsigned long long)i->n_params,
                  (unsigned long long)i->file_bytes);
    rf_serve_json_cstr(b, i->architecture);
    rf_buf_puts(b, ",\"quantization\":");
    rf_serve_json_cstr(b, i->quantization);
    rf_buf_puts(b, "}}");
}

struct listing { struct rf_call *c; struct rf_served *on; size_t n; };

static void add_model(void *to, const char *name)
{
    struct listing *l = to;
    const struct rf_serve *s = l->c->serve;
    if (l->n++) rf_buf_putc(&l->c->reply.body, ',');
    model_json(s, name, l->on && (!s->opt.pool || !strcmp(l->on->id, name)) ? l->on : NULL, &l->c->reply.body);
}

void rf_serve_models_run(struct rf_call *c)
{
    struct rf_serve *s = c->serve;
    struct listing l = {.c = c, .on = rf_served_get(s)};
    rf_buf_puts(&c->reply.body, "{\"object\":\"list\",\"data\":[");
    if (s->opt.pool) s->opt.pool->list(s->opt.pool->ctx, add_model, &l);
    else add_model(&l, s->opt.model_id);
    for (size_t i = 0; !s->opt.pool && i < s->opt.n_aliases; i++) add_model(&l, s->opt.aliases[i]);
    rf_buf_puts(&c->reply.body, "]}");
    rf_served_put(s, l.on);
    c->reply.status = 200;
}

void rf_serve_model_run(struct rf_call *c)
{
    struct rf_serve *s = c->serve;
    char id[RF_SERVE_NAME_MAX];
    struct rf_error err = {0};
    if (!s->opt.pool) {
        if (!rf_serve_model_check(c, c->rest)) return;
        snprintf(id, sizeof id, "%s", c->rest);
    } else if (s->opt.pool->find(s->opt.pool->ctx, c->rest, id, sizeof id, &err)) {
        rf_serve_reply_error(&c->reply, 404, "model", "model_not_found", "%s", err.message);
        return;
    }
    struct listing l = {.c = c, .on = rf_served_get(s)};
    add_model(&l, id);
    rf_served_put(s, l.on);
    c->reply.status = 200;
}

/* RF_AGAIN while the fixed model is not there yet, RF_IO once its file was changed under it. */
static rf_status model_state(struct rf_serve *s, struct rf_error *err)
{
    struct rf_served *on = rf_served_get(s);
    rf_status st = on ? rf_model_check(on->model, err) : RF_AGAIN;
    rf_served_put(s, on);
    return st;
}

void rf_serve_health_run(struct rf_call *c)
{
    struct rf_serve *s = c->serve;
    struct rf_error err = {0};
    rf_status model = s->opt.pool ? RF_OK : model_state(s, &err); /* a pool loads what is missing with the next request */
    if (atomic_load(&s->failed))
        rf_serve_reply_error(&c->reply, 503, NULL, "device_error", "A device failed; the server is stopping");
    else if (atomic_load(&s->draining))
        rf_serve_reply_error(&c->reply, 503, NULL, "shutting_down", "The server is shutting down");
    else if (model == RF_AGAIN) rf_serve_reply_error(&c->reply, 503, NULL, "loading", "Loading model");
    else if (model) rf_serve_reply_error(&c->reply, 503, NULL, "model_lost", "%s", err.message);
    else {
        c->reply.status = 200;
        rf_buf_puts(&c->reply.body, "{\"status\":\"ok\"}");
    }
}

void rf_serve_version_run(struct rf_call *c)
{
    c->reply.status = 200;
    rf_buf_printf(&c->reply.body, "{\"version\":\"%s\"}", rf_version());
}
