/* cmd_run.c - a conversation, or one prompt and one streamed answer. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/chat.h"

/* The prompt: the argument, else all that comes through a pipe. False on a terminal: that is a conversation. */
static bool has_prompt(const struct rf_cli *c) { return c->n_arg > 1 || !isatty(STDIN_FILENO); }

static void print_speed(const struct rf_usage *u)
{
    double steps = u->completion_tokens > 1 ? u->completion_tokens - 1 : 0;
    fprintf(stderr, "prompt %u tokens (%u cached) in %.2f s, %.1f tokens/s; answer %u tokens in %.2f s, %.1f tokens/s\n",
            u->prompt_tokens, u->cached_tokens, u->prefill_s, u->prefill_s > 0 ? (u->prompt_tokens - u->cached_tokens) / u->prefill_s : 0,
            u->completion_tokens, u->decode_s, u->decode_s > 0 ? steps / u->decode_s : 0);
}

static int answer_once(const struct rf_cli *c, struct rf_chat *chat, const struct rf_buf *prompt)
{
    struct rf_error err = {0};
    struct rf_usage u = {0};
    enum rf_finish finish = RF_FINISH_NONE;
    if (rf_chat_add(chat, "user", rf_buf_str(prompt), prompt->len, &err)) return rf_cli_fail(&err, RF_EXIT_FAILED);
    int code = rf_chat_answer(c, chat, NULL, &u, &finish, &err);
    if (err.status == RF_TOO_LONG) rf_cli_fail(&err, 0);
    if (c->verbose && finish != RF_FINISH_NONE) print_speed(&u);
    return code;
}

int rf_cli_run(const struct rf_cli *c)
{
    struct rf_buf prompt = {0};
    bool once = has_prompt(c);
    if (!once && !isatty(STDOUT_FILENO)) {
        fprintf(stderr, "rocmforge: run needs a prompt where its output is no terminal: rocmforge run MODEL \"...\"\n");
        return RF_EXIT_USAGE;
    }
    if (once && !(c->n_arg > 1 ? !rf_buf_puts(&prompt, c->arg[1]) : rf_cli_read(NULL, &prompt))) {
        rf_buf_release(&prompt);
        return RF_EXIT_USAGE;
    }
    int code = RF_EXIT_MODEL;
    struct rf_chat chat = {.model = rf_cli_open_model(c, 0)};
    if (chat.model) {
        code = RF_EXIT_FAILED;
        chat.engine = rf_cli_open_engine(c, chat.model);
        chat.messages = json_array();
        if (chat.engine && once) {
            rf_cli_catch_interrupt();
            code = answer_once(c, &chat, &prompt);
        } else if (chat.engine) {
            code = rf_cli_repl(c, &chat);
        }
    }
    json_decref(chat.messages);
    rf_engine_free(chat.engine);
    rf_model_close(chat.model);
    rf_buf_release(&prompt);
    return code;
}
