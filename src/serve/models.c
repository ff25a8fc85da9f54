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
    if (!name || served(c->serve, name)) return true;
    rf_serve_reply_error(&c->reply, 404, "model", "model_not_found",
                         "The model `%.200s` does not exist or is not served here.", name);
    return false;
}

static void model_json(const struct rf_serve *s, const char *id, struct rf_buf *b)
{
    bool ready = rf_serve_engine((struct rf_serve *)s) != NULL;
    rf_buf_puts(b, "{\"id\":");
    rf_serve_json_cstr(b, id);
    rf_buf_printf(b,
                  ",\"object\":\"model\",\"created\":%lld,\"owned_by\":\"rocmforge\",\"root\":", (long long)s->created);
    rf_serve_json_cstr(b, s->opt.model_id);
    if (!ready) {
        rf_buf_puts(b, ",\"parent\":null,\"max_model_len\":null,\"meta\":null}");
        return;
    }
    const struct rf_model_info *i = &s->info;
    rf_buf_printf(b,
                  ",\"parent\":null,\"max_model_len\":%u,\"meta\":{\"n_vocab\":%u,\"n_ctx_train\":%u,\"n_embd\":%u,"
                  "\"n_params\":%llu,\"size\":%llu,\"architecture\":",
                  s->max_model_len, i->n_vocab, i->n_ctx_train, i->n_embd, (unsigned long long)i->n_params,
                  (unsigned long long)i->file_bytes);
    rf_serve_json_cstr(b, i->architecture);
    rf_buf_puts(b, ",\"quantization\":");
    rf_serve_json_cstr(b, i->quantization);
    rf_buf_puts(b, "}}");
}

void rf_serve_models_run(struct rf_call *c)
{
    const struct rf_serve *s = c->serve;
    rf_buf_puts(&c->reply.body, "{\"object\":\"list\",\"data\":[");
    model_json(s, s->opt.model_id, &c->reply.body);
    for (size_t i = 0; i < s->opt.n_aliases; i++) {
        rf_buf_putc(&c->reply.body, ',');
        model_json(s, s->opt.aliases[i], &c->reply.body);
    }
    rf_buf_puts(&c->reply.body, "]}");
    c->reply.status = 200;
}

void rf_serve_model_run(struct rf_call *c)
{
    if (!rf_serve_model_check(c, c->rest)) return;
    model_json(c->serve, c->rest, &c->reply.body);
    c->reply.status = 200;
}

void rf_serve_health_run(struct rf_call *c)
{
    struct rf_serve *s = c->serve;
    if (atomic_load(&s->failed))
        rf_serve_reply_error(&c->reply, 503, NULL, "device_error", "A device failed; the server is stopping");
    else if (atomic_load(&s->draining))
        rf_serve_reply_error(&c->reply, 503, NULL, "shutting_down", "The server is shutting down");
    else if (!rf_serve_engine(s)) rf_serve_reply_error(&c->reply, 503, NULL, "loading", "Loading model");
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
