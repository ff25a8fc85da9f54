/* openai_chat.c - POST /v1/chat/completions: messages to template variables, template to tokens, to the engine. */
#include <stdlib.h>
#include <string.h>

#include "serve/chat.h"
#include "serve/events.h"
#include "serve/json.h"

static const struct { const char *name, *as; } roles[] = {
    {"system", "system"}, {"developer", "system"}, {"user", "user"}, {"assistant", "assistant"}, {"tool", "tool"},
    {"function", "tool"},
};

/* Names that a request may not set behind the template's back. */
static const char *const reserved[] = {"messages",  "tools",    "documents", "add_generation_prompt",
                                       "bos_token", "eos_token"};

static rf_status part_text(json_t *part, size_t i, struct rf_buf *out, struct rf_error *err)
{
    const char *type = json_string_value(json_object_get(part, "type"));
    if (!type)
        return rf_fail_param(err, RF_INVALID, "messages",
                             "messages[%zu].content: each part must be an object with a type", i);
    const char *key = !strcmp(type, "text") ? "text" : !strcmp(type, "refusal") ? "refusal" : NULL;
    if (!key)
        return rf_fail_param(err, RF_UNSUPPORTED, "messages",
                             "messages[%zu].content: parts of type \"%.40s\" are not supported "
                             "by this model; only text is",
                             i, type);
    json_t *t = json_object_get(part, key);
    if (!json_is_string(t))
        return rf_fail_param(err, RF_INVALID, "messages", "messages[%zu].content: a %s part needs a string \"%s\"", i,
                             type, key);
    rf_buf_append(out, json_string_value(t), json_string_length(t));
    return RF_OK;
}

/* String, null where the role allows it, or text parts joined. A new reference in *out. */
static rf_status content(json_t *msg, size_t i, bool may_be_null, json_t **out, struct rf_error *err)
{
    json_t *v = json_object_get(msg, "content");
    if (json_is_string(v)) {
        *out = json_incref(v);
        return RF_OK;
    }
    if (!v || json_is_null(v)) {
        if (!may_be_null)
            return rf_fail_param(err, RF_INVALID, "messages",
                                 "messages[%zu].content: found null, expected a string or parts", i);
        *out = json_null();
        return RF_OK;
    }
    if (!json_is_array(v))
        return rf_fail_param(err, RF_INVALID, "messages",
                             "messages[%zu].content: expected a string or an array of parts", i);
    struct rf_buf text = {0};
    rf_status st = RF_OK;
    for (size_t k = 0; !st && k < json_array_size(v); k++) st = part_text(json_array_get(v, k), i, &text, err);
    if (!st && !(*out = json_stringn(rf_buf_str(&text), text.len))) st = rf_fail_nomem(err, "messages", text.len);
    rf_buf_release(&text);
    return st;
}

/* Arguments travel as a JSON string; templates want the object in it. Text that is not an object stays text. */
static rf_status tool_calls(json_t *msg, size_t i, struct rf_error *err)
{
    json_t *calls = json_object_get(msg, "tool_calls"), *call;
    size_t k;
    if (!calls || json_is_null(calls)) return RF_OK;
    if (!json_is_array(calls))
        return rf_fail_param(err, RF_INVALID, "messages", "messages[%zu].tool_calls: expected an array", i);
    json_array_foreach(calls, k, call) {
        json_t *fn = json_object_get(call, "function"), *args = json_object_get(fn, "arguments"), *parsed;
        if (!json_is_object(fn) || !json_is_string(json_object_get(fn, "name")))
            return rf_fail_param(err, RF_INVALID, "messages",
                                 "messages[%zu].tool_calls[%zu]: expected a function with a name", i, k);
        if (!json_is_string(args)) continue;
        if (rf_serve_json_parse(json_string_value(args), json_string_length(args), &parsed, NULL)) continue;
        json_object_set_new(fn, "arguments", parsed);
    }
    return RF_OK;
}

static rf_status message(json_t *msg, size_t i, json_t **out, size_t *bytes, struct rf_error *err)
{
    const char *as = NULL, *role = json_string_value(json_object_get(msg, "role"));
    json_t *text = NULL;
    if (!json_is_object(msg)) return rf_fail_param(err, RF_INVALID, "messages", "messages[%zu]: expected an object", i);
    if (!role) return rf_fail_param(err, RF_INVALID, "messages", "messages[%zu].role: expected a string", i);
    for (size_t k = 0; k < RF_COUNT(roles); k++)
        if (!strcmp(role, roles[k].name)) as = roles[k].as;
    if (!as)
        return rf_fail_param(err, RF_INVALID, "messages",
                             "messages[%zu].role: found \"%.40s\", expected system, developer, user, "
                             "assistant, tool or function",
                             i, role);
    RF_TRY(tool_calls(msg, i, err));
    bool may_be_null = !strcmp(as, "assistant");
    RF_TRY(content(msg, i, may_be_null, &text, err));
    *bytes += json_string_length(text);
    json_t *m = json_copy(msg);
    if (!m || json_object_set_new(m, "content", text) || json_object_set_new(m, "role", json_string(as))) {
        json_decref(m);
        return rf_fail_nomem(err, "messages", 0);
    }
    if (json_is_null(json_object_get(m, "tool_calls"))) json_object_del(m, "tool_calls");
    *out = m;
    return RF_OK;
}

static rf_status kwargs(json_t *vars, const struct rf_params *p, struct rf_error *err)
{
    for (size_t i = 0; p->template_kwargs && i < RF_COUNT(reserved); i++)
        if (json_object_get(p->template_kwargs, reserved[i]))
            return rf_fail_param(err, RF_INVALID, "chat_template_kwargs",
                                 "chat_template_kwargs: \"%s\" cannot be set here", reserved[i]);
    if (p->template_kwargs) json_object_update(vars, p->template_kwargs);
    if (p->reasoning_effort) json_object_set_new(vars, "reasoning_effort", json_string(p->reasoning_effort));
    if (p->documents) json_object_set(vars, "documents", p->documents);
    if (p->tools && json_array_size(p->tools)) json_object_set(vars, "tools", p->tools);
    json_object_set_new(vars, "add_generation_prompt", json_boolean(p->add_generation_prompt));
    return RF_OK;
}

/* A byte bound before anything is rendered: so many bytes cannot be so few tokens. */
rf_status rf_serve_bytes_check(const struct rf_served *on, size_t bytes, const char *field, struct rf_error *err)
{
    if (bytes / on->max_token_bytes <= on->max_model_len) return RF_OK;
    return rf_fail_param(
        err, RF_TOO_LONG, field,
        "This model's maximum context length is %u tokens. However, %zu bytes of %s were sent, which is more than "
        "%u tokens can hold. Please reduce the length.",
        on->max_model_len, bytes, field, on->max_model_len);
}

static rf_status variables(const struct rf_served *on, const struct rf_params *p, json_t *vars, struct rf_error *err)
{
    size_t n = json_array_size(p->messages), bytes = 0;
    if (!p->messages)
        return rf_fail_param(err, RF_INVALID, "messages", "messages: missing, expected an array of messages");
    if (!n)
        return rf_fail_param(err, RF_INVALID, "messages",
                             "messages: found an empty array, expected at least one message");
    json_t *list = json_array();
    if (!list || json_object_set_new(vars, "messages", list)) return rf_fail_nomem(err, "messages", n);
    for (size_t i = 0; i < n; i++) {
        json_t *m = NULL;
        RF_TRY(message(json_array_get(p->messages, i), i, &m, &bytes, err));
        if (json_array_append_new(list, m)) return rf_fail_nomem(err, "messages", n);
    }
    RF_TRY(rf_serve_bytes_check(on, bytes, "messages", err));
    return kwargs(vars, p, err);
}

rf_status rf_serve_chat_tokens(const struct rf_served *on, const struct rf_params *p, int32_t **ids, size_t *n,
                               struct rf_error *err)
{
    json_t *vars = json_object();
    char *text = NULL;
    rf_status st = vars ? variables(on, p, vars, err) : rf_fail_nomem(err, "messages", 0);
    if (!st && !(text = json_dumps(vars, JSON_COMPACT))) st = rf_fail_nomem(err, "messages", 0);
    json_decref(vars);
    if (!st) {
        st = rf_model_chat(on->model, text, strlen(text), NULL, NULL, ids, n, err);
        /* whatever a template finds wrong, the request is what it found it in */
        if (st && st != RF_NOMEM && st != RF_INTERNAL) {
            if (err->status != RF_UNSUPPORTED) err->status = RF_INVALID;
            if (!err->param[0]) snprintf(err->param, sizeof err->param, "messages");
        }
    }
    free(text);
    return st;
}

/* Tools reach the template, but what the model then writes is not parsed into calls here. */
static rf_status check_tools(const struct rf_params *p, struct rf_error *err)
{
    const char *choice = json_string_value(p->tool_choice);
    bool none = choice && !strcmp(choice, "none"), some = json_array_size(p->tools) > 0;
    if (p->tool_choice && !(none || (choice && !strcmp(choice, "auto"))))
        return rf_fail_param(err, RF_UNSUPPORTED, "tool_choice",
                             "tool_choice: not supported yet by this server; it accepts only \"none\"");
    if (some && !none)
        return rf_fail_param(err, RF_UNSUPPORTED, "tools",
                             "tools: calling tools is not supported yet by this server; with "
                             "tool_choice \"none\" they are shown to the model");
    return RF_OK;
}

static rf_status start(struct rf_call *c, struct rf_error *err)
{
    json_t *root;
    RF_TRY(rf_serve_call_json(c, &root, err));
    struct rf_gen *g = rf_serve_gen_create(c, RF_GEN_CHAT);
    if (!g) {
        json_decref(root);
        return rf_fail_nomem(err, "request", sizeof *g);
    }
    g->root = root;
    rf_buf_release(&c->body);
    RF_TRY(rf_serve_params_read(root, RF_P_CHAT, c->on->info.n_vocab, &g->arena, &g->p, err));
    if (!rf_serve_model_check(c, g->p.model)) return RF_NOT_FOUND;
    RF_TRY(check_tools(&g->p, err));
    g->n_each = (uint32_t)g->p.n;
    g->prompts = rf_alloc_array(1, sizeof *g->prompts);
    if (!g->prompts) return rf_fail_nomem(err, "request", sizeof *g->prompts);
    g->n_prompts = 1;
    return rf_serve_chat_tokens(c->on, &g->p, &g->prompts[0].ids, &g->prompts[0].n, err);
}

void rf_serve_chat_run(struct rf_call *c)
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
