#include "cli/chat.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"

rf_status rf_chat_messages(const struct rf_cli *c, const struct rf_chat *chat, json_t **out, struct rf_error *err)
{
    json_t *messages = json_array(), *system = c->system && *c->system ? json_string(c->system) : NULL;
    rf_status s = RF_OK;
    if (!messages) s = rf_fail_nomem(err, "conversation", 0);
    else if (c->system && *c->system && !system) s = rf_fail(err, RF_INVALID, "the system message is not valid UTF-8");
    else if (system && json_array_append_new(messages, json_pack("{s:s, s:O}", "role", "system", "content", system))) s = rf_fail_nomem(err, "conversation", 0);
    else if (json_array_extend(messages, chat->messages)) s = rf_fail_nomem(err, "conversation", 0);
    json_decref(system);
    if (s) json_decref(messages);
    else *out = messages;
    return s;
}

static rf_status encode_messages(const struct rf_cli *c, const struct rf_chat *chat, int32_t **ids, size_t *n, struct rf_error *err)
{
    json_t *messages, *vars = json_object();
    rf_status said = rf_chat_messages(c, chat, &messages, err);
    if (said) {
        json_decref(vars);
        return said;
    }
    json_object_set_new(vars, "messages", messages);
    json_object_set_new(vars, "add_generation_prompt", json_true());
    char *text = json_dumps(vars, JSON_COMPACT);
    rf_status s = text ? rf_model_chat(chat->model, text, strlen(text), NULL, NULL, ids, n, err) : rf_fail_nomem(err, "conversation", 0);
    free(text);
    json_decref(vars);
    return s;
}

rf_status rf_chat_encode(const struct rf_cli *c, const struct rf_chat *chat, int32_t **ids, size_t *n, struct rf_error *err)
{
    struct rf_model_info info;
    rf_model_info_get(chat->model, &info);
    if (!c->raw && info.has_template) return encode_messages(c, chat, ids, n, err);
    const json_t *last = json_object_get(json_array_get(chat->messages, json_array_size(chat->messages) - 1), "content");
    return rf_model_tokenize(chat->model, json_string_value(last), json_string_length(last), RF_TOK_ADD_SPECIAL | RF_TOK_PARSE_SPECIAL, ids, n,
                             err);
}

rf_status rf_chat_add(struct rf_chat *chat, const char *role, const char *text, size_t len, struct rf_error *err)
{
    json_t *content = json_stringn(text, len);
    if (!content) return rf_fail(err, RF_INVALID, "the text is not valid UTF-8");
    if (json_array_append_new(chat->messages, json_pack("{s:s, s:o}", "role", role, "content", content)))
        return rf_fail_nomem(err, "conversation", len);
    return RF_OK;
}

/* A terminal obeys control characters, and a model may have been made to write them: there they become '?', line ends and tabs
 * stay. text is whole UTF-8 characters. A pipe gets the bytes as they are. */
bool rf_chat_print(bool terminal, const char *text, size_t n)
{
    char out[512];
    size_t at = 0;
    if (!terminal) return rf_cli_write(text, n);
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i], next = i + 1 < n ? (unsigned char)text[i + 1] : 0;
        bool c1 = c == 0xc2 && next >= 0x80 && next < 0xa0, control = (c < 0x20 && c != '\n' && c != '\t') || c == 0x7f || c1;
        out[at++] = control ? '?' : (char)c;
        i += c1;
        if (at == sizeof out) {
            if (!rf_cli_write(out, at)) return false;
            at = 0;
        }
    }
    return rf_cli_write(out, at);
}

/* Prints events until the last one. */
static int stream(struct rf_engine *e, uint64_t id, struct rf_buf *text, struct rf_usage *u, enum rf_finish *finish)
{
    int code = RF_EXIT_OK;
    bool aborted = false, newline = true, terminal = isatty(STDOUT_FILENO);
    for (;;) {
        struct rf_event *ev = NULL;
        rf_status s = rf_engine_poll(e, id, 100, &ev);
        if (rf_cli_interrupted() && !aborted) {
            aborted = true;
            code = RF_EXIT_INTERRUPTED;
            rf_engine_abort(e, id);
        }
        if (s == RF_AGAIN) continue;
        if (s) return RF_EXIT_FAILED;
        if (ev->text_len && !aborted) {
            newline = ev->text[ev->text_len - 1] == '\n';
            if (text) rf_buf_append(text, ev->text, ev->text_len);
            if (!rf_chat_print(terminal, ev->text, ev->text_len)) { /* the reader is gone: nobody to answer */
                aborted = true;
                code = RF_EXIT_FAILED;
                rf_engine_abort(e, id);
            }
        }
        bool last = ev->kind == RF_EVENT_DONE || ev->kind == RF_EVENT_ERROR;
        if (last && (!newline || aborted)) rf_cli_write("\n", 1);
        if (ev->kind == RF_EVENT_ERROR) code = rf_cli_fail(ev->error, RF_EXIT_FAILED);
        if (last) *u = ev->usage, *finish = ev->finish;
        rf_event_free(ev);
        if (last) return code;
    }
}

/* A length that the model's files advise is no demand: it ends where the context does, and minds --min-tokens. */
static void keep_to_context(const struct rf_cli *c, struct rf_engine *e, size_t n_prompt, struct rf_sampling *s)
{
    struct rf_stats st;
    if (c->has_max_tokens || s->max_tokens < 0) return;
    rf_engine_stats(e, &st);
    size_t room = n_prompt < st.max_model_len ? st.max_model_len - n_prompt : 1; /* without any, the engine says so */
    s->max_tokens = (int32_t)RF_MIN((size_t)RF_MAX(s->max_tokens, s->min_tokens), room);
}

int rf_chat_answer(const struct rf_cli *c, struct rf_chat *chat, struct rf_buf *text, struct rf_usage *u, enum rf_finish *finish,
                   struct rf_error *err)
{
    struct rf_logit_bias bias[RF_CLI_LIST_MAX];
    struct rf_request req = {0};
    int32_t *ids = NULL;
    uint64_t id;
    if (chat->remote) return rf_chat_ask(c, chat, text, u, finish, err);
    *err = (struct rf_error){0};
    if (!rf_cli_sampling(c, chat->model, &req.sampling, bias)) return RF_EXIT_USAGE;
    rf_status s = rf_chat_encode(c, chat, &ids, &req.n_tokens, err);
    if (!s) keep_to_context(c, chat->engine, req.n_tokens, &req.sampling);
    req.tokens = ids;
    if (!s) s = rf_engine_submit(chat->engine, &req, 1, &id, err);
    rf_free(ids);
    if (!s) return stream(chat->engine, id, text, u, finish);
    if (s != RF_TOO_LONG) rf_cli_fail(err, 0);
    return RF_EXIT_FAILED;
}
