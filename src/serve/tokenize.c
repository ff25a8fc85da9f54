/* tokenize.c - POST /tokenize and /detokenize, in vLLM's shapes. */
#include <string.h>

#include "serve/chat.h"
#include "serve/json.h"

static rf_status read_request(struct rf_call *c, unsigned route, struct rf_arena *a, json_t **root, struct rf_params *p,
                              struct rf_error *err)
{
    RF_TRY(rf_serve_call_json(c, root, err));
    rf_sampling_default(&p->sampling);
    RF_TRY(rf_serve_params_read(*root, route, c->on->info.n_vocab, a, p, err));
    return rf_serve_model_check(c, p->model) ? RF_OK : RF_NOT_FOUND;
}

static void tokens_json(struct rf_call *c, const int32_t *ids, size_t n, bool with_strs)
{
    struct rf_buf *b = &c->reply.body;
    rf_buf_printf(b, "{\"count\":%zu,\"max_model_len\":%u,\"tokens\":[", n, c->on->max_model_len);
    for (size_t i = 0; i < n; i++) {
        if (i) rf_buf_putc(b, ',');
        rf_serve_json_int(b, ids[i]);
    }
    rf_buf_puts(b, "],\"token_strs\":");
    if (!with_strs) {
        rf_buf_puts(b, "null}");
        return;
    }
    rf_buf_putc(b, '[');
    for (size_t i = 0; i < n; i++) {
        size_t len = 0;
        const char *s = rf_model_token_bytes(c->on->model, ids[i], &len);
        if (i) rf_buf_putc(b, ',');
        rf_serve_json_str(b, s ? s : "", len);
    }
    rf_buf_puts(b, "]}");
}

static rf_status tokenize(struct rf_call *c, const struct rf_params *p, struct rf_error *err)
{
    int32_t *ids = NULL;
    size_t n = 0;
    if (p->prompt && p->messages)
        return rf_fail_param(err, RF_INVALID, "messages", "messages: not together with prompt");
    if (p->messages) {
        RF_TRY(rf_serve_chat_tokens(c->on, p, &ids, &n, err));
    } else {
        if (!json_is_string(p->prompt))
            return rf_fail_param(err, RF_INVALID, "prompt", "prompt: expected a string, or messages");
        uint32_t flags = RF_TOK_PARSE_SPECIAL | (p->add_special ? RF_TOK_ADD_SPECIAL : 0u);
        RF_TRY(rf_model_tokenize(c->on->model, json_string_value(p->prompt),
                                 json_string_length(p->prompt), flags, &ids, &n, err));
    }
    tokens_json(c, ids, n, p->return_token_strs);
    rf_free(ids);
    return RF_OK;
}

static rf_status detokenize(struct rf_call *c, const struct rf_params *p, struct rf_error *err)
{
    size_t n = json_array_size(p->tokens), len = 0;
    char *text = NULL;
    if (!p->tokens) return rf_fail_param(err, RF_INVALID, "tokens", "tokens: missing, expected an array of token ids");
    int32_t *ids = rf_alloc_array(n, sizeof *ids);
    if (!ids) return rf_fail_nomem(err, "tokens", n * sizeof *ids);
    rf_status st = RF_OK;
    for (size_t i = 0; !st && i < n; i++)
        st = rf_serve_param_token(json_array_get(p->tokens, i), c->on->info.n_vocab, "tokens", &ids[i], err);
    if (!st) st = rf_model_detokenize(c->on->model, ids, n, false, &text, &len, err);
    if (!st) {
        rf_buf_puts(&c->reply.body, "{\"prompt\":");
        rf_serve_json_str(&c->reply.body, text, len);
        rf_buf_putc(&c->reply.body, '}');
    }
    rf_free(text);
    rf_free(ids);
    return st;
}

static void run(struct rf_call *c, unsigned route,
                rf_status (*fn)(struct rf_call *, const struct rf_params *, struct rf_error *))
{
    struct rf_error err = {0};
    struct rf_params p = {0};
    struct rf_arena a = {0};
    json_t *root = NULL;
    rf_status st = read_request(c, route, &a, &root, &p, &err);
    if (!st) st = fn(c, &p, &err);
    if (!st) {
        c->reply.status = 200;
        c->reply.type = "application/json";
        if (c->reply.body.bad)
            rf_serve_reply_error(&c->reply, 503, NULL, "out_of_memory", "not enough memory for the answer");
    } else if (!c->reply.status) {
        if (!err.status) err.status = st;
        rf_serve_reply_status(&c->reply, &err);
    }
    json_decref(root);
    rf_arena_release(&a);
    rf_serve_call_ready(c);
}

void rf_serve_tokenize_run(struct rf_call *c) { run(c, RF_P_TOK, tokenize); }
void rf_serve_detokenize_run(struct rf_call *c) { run(c, RF_P_DETOK, detokenize); }
