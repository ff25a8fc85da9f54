/* cmd_run.c - one prompt, one streamed answer. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "cli/cli.h"

/* The prompt: the argument, else all of standard input. */
static bool read_prompt(const struct rf_cli *c, struct rf_buf *prompt)
{
    if (c->n_arg > 1) return !rf_buf_puts(prompt, c->arg[1]);
    if (isatty(STDIN_FILENO)) {
        fprintf(stderr, "rocmforge: run needs a prompt: rocmforge run MODEL \"...\", or text through a pipe\n");
        return false;
    }
    return rf_cli_read(NULL, prompt);
}

/* Prompt text -> token ids, through the chat template unless --raw or the model has none. */
static rf_status encode(const struct rf_cli *c, const struct rf_model *m, const struct rf_buf *prompt, int32_t **ids, size_t *n,
                        struct rf_error *err)
{
    struct rf_model_info info;
    rf_model_info_get(m, &info);
    if (c->raw || !info.has_template)
        return rf_model_tokenize(m, rf_buf_str(prompt), prompt->len, RF_TOK_ADD_SPECIAL | RF_TOK_PARSE_SPECIAL, ids, n, err);
    json_t *messages = json_array(), *vars = json_object();
    rf_status s = RF_OK;
    if (c->system) json_array_append_new(messages, json_pack("{s:s, s:s}", "role", "system", "content", c->system));
    json_t *content = json_stringn(rf_buf_str(prompt), prompt->len);
    if (!content) s = rf_fail(err, RF_INVALID, "the prompt is not valid UTF-8");
    json_array_append_new(messages, json_pack("{s:s, s:o}", "role", "user", "content", content ? content : json_null()));
    json_object_set_new(vars, "messages", messages);
    json_object_set_new(vars, "add_generation_prompt", json_true());
    char *text = json_dumps(vars, JSON_COMPACT);
    if (!s && !text) s = rf_fail_nomem(err, "prompt", prompt->len);
    if (!s) s = rf_model_chat(m, text, strlen(text), NULL, NULL, ids, n, err);
    free(text);
    json_decref(vars);
    return s;
}

static void print_speed(const struct rf_usage *u)
{
    double steps = u->completion_tokens > 1 ? u->completion_tokens - 1 : 0;
    fprintf(stderr, "prompt %u tokens (%u cached) in %.2f s, %.1f tokens/s; answer %u tokens in %.2f s, %.1f tokens/s\n",
            u->prompt_tokens, u->cached_tokens, u->prefill_s, u->prefill_s > 0 ? (u->prompt_tokens - u->cached_tokens) / u->prefill_s : 0,
            u->completion_tokens, u->decode_s, u->decode_s > 0 ? steps / u->decode_s : 0);
}

/* Prints events until the last one. */
static int stream(const struct rf_cli *c, struct rf_engine *e, uint64_t id)
{
    int code = RF_EXIT_OK;
    bool aborted = false, newline = true;
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
            if (!rf_cli_write(ev->text, ev->text_len)) { /* the reader is gone: nobody to answer */
                aborted = true;
                code = RF_EXIT_FAILED;
                rf_engine_abort(e, id);
            }
        }
        enum rf_event_kind kind = ev->kind;
        if (kind == RF_EVENT_ERROR) code = rf_cli_fail(ev->error, RF_EXIT_FAILED);
        if (kind == RF_EVENT_DONE || kind == RF_EVENT_ERROR) {
            if (!newline || aborted) rf_cli_write("\n", 1);
            if (c->verbose) print_speed(&ev->usage);
            rf_event_free(ev);
            return code;
        }
        rf_event_free(ev);
    }
}

int rf_cli_run(const struct rf_cli *c)
{
    struct rf_buf prompt = {0};
    struct rf_error err = {0};
    struct rf_logit_bias bias[RF_CLI_LIST_MAX];
    struct rf_request req = {0};
    struct rf_engine *e = NULL;
    int32_t *ids = NULL;
    uint64_t id;
    int code = RF_EXIT_USAGE;
    if (!rf_cli_check_kv_type(c) || !read_prompt(c, &prompt)) goto out_prompt;
    code = RF_EXIT_MODEL;
    struct rf_model *m = rf_cli_open_model(c, 0);
    if (!m) goto out_prompt;
    code = RF_EXIT_USAGE;
    if (!rf_cli_sampling(c, m, &req.sampling, bias)) goto out;
    code = RF_EXIT_FAILED;
    if (encode(c, m, &prompt, &ids, &req.n_tokens, &err)) {
        rf_cli_fail(&err, 0);
        goto out;
    }
    req.tokens = ids;
    if (!(e = rf_cli_open_engine(c, m))) goto out;
    rf_cli_catch_interrupt();
    if (rf_engine_submit(e, &req, 1, &id, &err))
        rf_cli_fail(&err, 0);
    else
        code = stream(c, e, id);
out:
    rf_engine_free(e);
    rf_free(ids);
    rf_model_close(m);
out_prompt:
    rf_buf_release(&prompt);
    return code;
}
