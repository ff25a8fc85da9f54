/* cmd_run.c - a conversation, or one prompt and one streamed answer. */
#include <ctype.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/chat.h"

enum { PIPE_WAIT_MS = 2000 };

enum { RUN_SEQS = 8 }; /* one person's chat: what it asked before may stay in the cache; a server's share of a GPU would be too much */

/* The prompt: the argument, else all that comes through a pipe. False on a terminal: that is a conversation. */
static bool has_prompt(const struct rf_cli *c) { return c->n_arg > 1 || !isatty(STDIN_FILENO); }

/* What comes through a pipe stands before the prompt of the line: git diff | rocmforge run MODEL "Is this right?". A pipe that
 * nobody writes to and nobody closes is a supervisor's: after a while it is left alone. A file that was read from before belongs to
 * a loop of the shell: while read q; do rocmforge run MODEL "$q"; done < questions. */
static bool put_piped(struct rf_buf *prompt)
{
    struct stat st;
    struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
    if (fstat(STDIN_FILENO, &st) || !(S_ISFIFO(st.st_mode) || S_ISREG(st.st_mode))) return true;
    if (S_ISREG(st.st_mode) && lseek(STDIN_FILENO, 0, SEEK_CUR) > 0) return true;
    int ready = poll(&in, 1, PIPE_WAIT_MS);
    if (ready <= 0) {
        fprintf(stderr, "rocmforge: nothing came through the pipe in %d s: answering the prompt alone (< /dev/null does not wait)\n", PIPE_WAIT_MS / 1000);
        return true;
    }
    if (!rf_cli_read(NULL, prompt)) return false;
    while (prompt->len && isspace((unsigned char)prompt->data[prompt->len - 1])) prompt->data[--prompt->len] = 0;
    return !prompt->len || rf_cli_put(prompt, "\n\n");
}

static bool take_prompt(const struct rf_cli *c, struct rf_buf *prompt)
{
    return c->n_arg > 1 ? put_piped(prompt) && rf_cli_put(prompt, c->arg[1]) : rf_cli_read(NULL, prompt);
}

/* Nothing but space: a mistake in the command before the pipe. */
static bool is_empty(const struct rf_cli *c, const struct rf_buf *prompt)
{
    return !c->raw && strspn(rf_buf_str(prompt), " \t\r\n") >= prompt->len;
}

static void print_speed(const struct rf_chat *chat, const struct rf_usage *u)
{
    if (chat->uncounted) {
        fprintf(stderr, "first text after %.2f s, answer in %.2f s; the server counts no tokens\n", u->prefill_s, u->decode_s);
        return;
    }
    double steps = u->completion_tokens > 1 ? u->completion_tokens - 1 : 0;
    fprintf(stderr, "prompt %u tokens (%u cached) in %.2f s, %.1f tokens/s; answer %u tokens in %.2f s, %.1f tokens/s\n",
            u->prompt_tokens, u->cached_tokens, u->prefill_s, u->prefill_s > 0 ? (u->prompt_tokens - u->cached_tokens) / u->prefill_s : 0,
            u->completion_tokens, u->decode_s, u->decode_s > 0 ? steps / u->decode_s : 0);
}

static void tell_too_long(const struct rf_chat *chat, const struct rf_error *err)
{
    struct rf_model_info info;
    struct rf_stats st;
    rf_cli_fail(err, 0);
    if (chat->remote) {
        fprintf(stderr, "  That is all that the server takes: cut the text, or give the server a longer context\n");
        return;
    }
    rf_model_info_get(chat->model, &info);
    rf_engine_stats(chat->engine, &st);
    if (st.max_model_len < info.n_ctx_train)
        fprintf(stderr, "  The context is %u tokens; --ctx N makes it longer, up to the model's %u\n", st.max_model_len, info.n_ctx_train);
    else fprintf(stderr, "  That is all that this model takes: cut the text, or take a model with a longer context (rocmforge list)\n");
}

static int answer_once(const struct rf_cli *c, struct rf_chat *chat, const struct rf_buf *prompt)
{
    struct rf_error err = {0};
    struct rf_usage u = {0};
    enum rf_finish finish = RF_FINISH_NONE;
    if (rf_chat_add(chat, "user", rf_buf_str(prompt), prompt->len, &err)) return rf_cli_fail(&err, RF_EXIT_FAILED);
    int code = rf_chat_answer(c, chat, NULL, &u, &finish, &err);
    if (err.status == RF_TOO_LONG) tell_too_long(chat, &err);
    if (c->verbose && finish != RF_FINISH_NONE) print_speed(chat, &u);
    return code;
}

static int talk(const struct rf_cli *c, struct rf_chat *chat)
{
    struct rf_buf prompt = {0};
    bool once = has_prompt(c);
    if (!once && !isatty(STDOUT_FILENO)) {
        fprintf(stderr, "rocmforge: run needs a prompt where its output is no terminal: rocmforge run MODEL \"...\"\n");
        return RF_EXIT_USAGE;
    }
    if (once && !take_prompt(c, &prompt)) {
        rf_buf_release(&prompt);
        return RF_EXIT_FAILED;
    }
    int code = RF_EXIT_MODEL;
    if (!chat->remote) chat->model = rf_cli_open_model(c, 0); /* first: the only word on the line may be a question, no model */
    bool open = chat->model || chat->remote;
    if (open && once && is_empty(c, &prompt)) {
        fprintf(stderr, "rocmforge: the prompt is empty; expected text on the line or through the pipe\n");
        code = RF_EXIT_USAGE;
    } else if (open) {
        code = RF_EXIT_FAILED;
        struct rf_cli mine = *c;
        if (!mine.max_seqs) mine.max_seqs = RUN_SEQS;
        if (chat->model) chat->engine = rf_cli_open_engine(&mine, chat->model);
        chat->messages = json_array();
        if ((chat->engine || chat->remote) && once) {
            rf_cli_catch_interrupt();
            code = answer_once(c, chat, &prompt);
        } else if (chat->engine || chat->remote) {
            code = rf_cli_repl(c, chat);
        }
    }
    rf_buf_release(&prompt);
    return code;
}

int rf_cli_run(const struct rf_cli *c)
{
    struct rf_cli own = *c; /* its words move where the only one is a prompt for a server */
    struct rf_chat chat = {0};
    int code = rf_chat_is_local(c) ? RF_EXIT_OK : rf_chat_connect(&own, &chat);
    if (!code) code = talk(&own, &chat);
    json_decref(chat.messages);
    rf_engine_free(chat.engine);
    rf_model_close(chat.model);
    rf_chat_disconnect(&chat);
    return code;
}
