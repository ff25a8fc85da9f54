/* chat.h - one conversation: messages to tokens, an answer streamed to standard output. With a model that this program runs, or with one
 * of another server (chat_remote.c).
 */
#ifndef RF_CLI_CHAT_H
#define RF_CLI_CHAT_H

#include <jansson.h>

#include "cli/cli.h"
#include "remote/remote.h"

struct rf_chat {
    struct rf_model *model;
    struct rf_engine *engine;
    struct rf_remote *remote; /* instead of both */
    json_t *listed, *id;      /* its models as it lists them, NULL if it does not; the name of the one that is asked */
    bool uncounted;           /* the last answer's tokens were not counted by it */
    json_t *messages;        /* user and assistant in turn; the system message is rf_cli.system */
};

/* The conversation with its system message first, as the API and templates have it; to be json_decref'd. */
rf_status rf_chat_messages(const struct rf_cli *c, const struct rf_chat *chat, json_t **out, struct rf_error *err);
/* What is to be said next, as tokens (rf_free): through the chat template; without one, or with --raw, the last message as it
 * is. */
rf_status rf_chat_encode(const struct rf_cli *c, const struct rf_chat *chat, int32_t **ids, size_t *n, struct rf_error *err);
/* Streams the answer, ends it at Ctrl-C. *text gets what was said (may be NULL), *u its numbers. Exit code; RF_EXIT_FAILED with
 * err->status RF_TOO_LONG, not printed, where the conversation does not fit the context. */
int rf_chat_answer(const struct rf_cli *c, struct rf_chat *chat, struct rf_buf *text, struct rf_usage *u, enum rf_finish *finish,
                   struct rf_error *err);
/* Text for people: to a terminal without control characters, to a pipe as it is. Whole UTF-8 characters. False if nobody reads. */
bool rf_chat_print(bool terminal, const char *text, size_t n);
/* Appends a message; the text must be UTF-8. */
rf_status rf_chat_add(struct rf_chat *chat, const char *role, const char *text, size_t len, struct rf_error *err);

/* No --server; false also, with the error printed, where an option is there that needs one. */
bool rf_chat_is_local(const struct rf_cli *c);
/* Opens c->server and chooses the model; the line's only word may turn out to be the prompt: then it moves to c->arg[1]. Exit code, with
 * the error printed. */
int rf_chat_connect(struct rf_cli *c, struct rf_chat *chat);
void rf_chat_disconnect(struct rf_chat *chat);
/* rf_chat_answer there. */
int rf_chat_ask(const struct rf_cli *c, struct rf_chat *chat, struct rf_buf *text, struct rf_usage *u, enum rf_finish *finish, struct rf_error *err);

/* The conversation on a terminal, until /bye. Exit code. */
int rf_cli_repl(const struct rf_cli *c, struct rf_chat *chat);

#endif
