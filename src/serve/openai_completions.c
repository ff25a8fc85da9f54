/* openai_completions.c - POST /v1/completions: one or many prompts, as text or token ids. */
#include <string.h>

#include "serve/chat.h"
#include "serve/events.h"
#include "serve/json.h"

#define PROMPTS_MAX 1024
#define SEQS_MAX 4096

static rf_status empty(struct rf_error *err)
{
    return rf_fail_param(err, RF_INVALID, "prompt", "prompt: found an empty prompt, expected text or token ids");
}

static rf_status from_text(struct rf_call *c, json_t *v, struct rf_prompt *p, struct rf_error *err)
{
    struct rf_gen *g = c->gen;
    const char *s = json_string_value(v);
    size_t n = json_string_length(v);
    if (!n) return empty(err);
    RF_TRY(rf_serve_bytes_check(c->on, n, "prompt", err));
    uint32_t flags = RF_TOK_PARSE_SPECIAL | (g->p.add_special ? RF_TOK_ADD_SPECIAL : 0u);
    RF_TRY(rf_model_tokenize(c->on->model, s, n, flags, &p->ids, &p->n, err));
    if (!p->n) return empty(err);
    if (!g->p.echo) return RF_OK;
    p->text = rf_strndup(s, n);
    p->text_len = n;
    return p->text ? RF_OK : rf_fail_nomem(err, "prompt", n);
}

static rf_status from_ids(struct rf_call *c, json_t *v, struct rf_prompt *p, struct rf_error *err)
{
    size_t n = json_array_size(v);
    if (!n) return empty(err);
    p->ids = rf_alloc_array(n, sizeof *p->ids);
    if (!p->ids) return rf_fail_nomem(err, "prompt", n * sizeof *p->ids);
    p->n = n;
    for (size_t i = 0; i < n; i++)
        RF_TRY(rf_serve_param_token(json_array_get(v, i), c->on->info.n_vocab, "prompt", &p->ids[i], err));
    if (!c->gen->p.echo) return RF_OK;
    return rf_model_detokenize(c->on->model, p->ids, n, false, &p->text, &p->text_len, err);
}

static rf_status prompts(struct rf_call *c, struct rf_gen *g, struct rf_error *err)
{
    json_t *v = g->p.prompt, *first = json_array_get(v, 0);
    bool many = json_is_array(v) && !json_is_integer(first) && json_array_size(v) > 0;
    size_t n = many ? json_array_size(v) : 1;
    if (!v) return rf_fail_param(err, RF_INVALID, "prompt", "prompt: missing, expected a string or token ids");
    if (n > PROMPTS_MAX || n * g->n_each > SEQS_MAX)
        return rf_fail_param(err, RF_INVALID, "prompt",
                             "prompt: %zu prompts with %u sequences each, expected at most %d prompts and "
                             "%d sequences",
                             n, g->n_each, PROMPTS_MAX, SEQS_MAX);
    g->prompts = rf_alloc_array(n, sizeof *g->prompts);
    if (!g->prompts) return rf_fail_nomem(err, "prompt", n * sizeof *g->prompts);
    g->n_prompts = n;
    for (size_t i = 0; i < n; i++) {
        json_t *p = many ? json_array_get(v, i) : v;
        if (json_is_string(p)) RF_TRY(from_text(c, p, &g->prompts[i], err));
        else if (json_is_array(p)) RF_TRY(from_ids(c, p, &g->prompts[i], err));
        else
            return rf_fail_param(
                err, RF_INVALID, "prompt",
                "prompt: expected a string, an array of strings, of token ids, or of arrays of token ids");
    }
    return RF_OK;
}

static rf_status start(struct rf_call *c, struct rf_error *err)
{
    json_t *root;
    RF_TRY(rf_serve_call_json(c, &root, err));
    struct rf_gen *g = rf_serve_gen_create(c, RF_GEN_COMPLETION);
    if (!g) {
        json_decref(root);
        return rf_fail_nomem(err, "request", sizeof *g);
    }
    g->root = root;
    rf_buf_release(&c->body);
    RF_TRY(rf_serve_params_read(root, RF_P_COMP, c->on->info.n_vocab, &g->arena, &g->p, err));
    if (!rf_serve_model_check(c, g->p.model)) return RF_NOT_FOUND;
    if (g->p.max_tokens == 0 && !g->p.echo)
        return rf_fail_param(err, RF_INVALID, "max_tokens",
                             "max_tokens: found 0, which is only of use together with echo");
    g->n_each = (uint32_t)RF_MAX(g->p.n, g->p.best_of);
    return prompts(c, g, err);
}

void rf_serve_completions_run(struct rf_call *c)
{
    struct rf_error err = {0};
    rf_status st = start(c, &err);
    if (!st) {
        rf_serve_gen_submit(c);
        return;
    }
    if (!c->reply.status) {
        if (!err.status) err.status = st;
        rf_serve_reply_status(&c->reply, &err);
    }
    rf_serve_call_ready(c);
}
