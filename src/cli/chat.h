/* chat.h - one conversation: messages to tokens, an answer streamed to standard output. */
#ifndef RF_CLI_CHAT_H
#define RF_CLI_CHAT_H

#include <jansson.h>

#include "cli/cli.h"

struct rf_chat {
    struct rf_model *model;
    struct rf_engine *engine;
    json_t *messages;        /* user and assistant in turn; the system message is rf_cli.system */
};

/* What is to be said next, as tokens (rf_free): through the chat template; without one, or with --raw, the last message as it
 * is. */
rf_status rf_chat_encode(const struct rf_cli *c, const struct rf_chat *chat, int32_t **ids, size_t *n, struct rf_error *err);
/* Streams the answer, ends it at Ctrl-C. *text gets what was said (may be NULL), *u its numbers. Exit code; RF_EXIT_FAILED with
 * err->status RF_TOO_LONG, not printed, where the conversation does not fit the context. */
int rf_chat_answer(const struct rf_cli *c, const struct rf_chat *chat, struct rf_buf *text, struct rf_usage *u, enum rf_finish *finish,
                   struct rf_error *err);
/* Appends a message; the text must be UTF-8. */
rf_status rf_chat_add(struct rf_chat *chat, const char *role, const char *text, size_t len, struct rf_error *err);

/* The conversation on a terminal, until /bye. Exit code. */
int rf_cli_repl(const struct rf_cli *c, struct rf_chat *chat);

#endif
