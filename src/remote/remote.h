/* remote.h - a client of another server that speaks OpenAI's API: ours, llama-server, Ollama, vLLM, or a service.
 *
 * Thread: the caller's. A server may be hostile: what it sends is bounded (sse.h, answer.h), its words reach error lines only as
 * rf_fail leaves them, and no redirect is followed.
 */
#ifndef RF_REMOTE_REMOTE_H
#define RF_REMOTE_REMOTE_H

#include <stdbool.h>

#include <jansson.h>

#include "base/status.h"

struct rf_remote;

/* Told by who owns the models that it lists: which fields beyond OpenAI's it takes. */
enum rf_remote_kind { RF_REMOTE_OTHER = 1, RF_REMOTE_OURS = 2, RF_REMOTE_VLLM = 4, RF_REMOTE_LLAMA_CPP = 8, RF_REMOTE_OLLAMA = 16 };

enum rf_remote_part { RF_REMOTE_TEXT, RF_REMOTE_REASONING };

struct rf_remote_sink {
    /* Whole UTF-8 characters, not NUL-ended. false: nobody reads any more, the answer ends with RF_CANCELLED. */
    bool (*text)(void *ctx, enum rf_remote_part part, const char *s, size_t n);
    bool (*stopped)(void *ctx); /* asked ten times a second: true closes the connection, RF_CANCELLED */
    void *ctx;
};

struct rf_remote_answer {
    enum rf_finish finish;      /* STOP, LENGTH; NONE: it did not end */
    bool wants_tool;            /* it ended in a call of a tool */
    bool has_usage;             /* the server counted tokens */
    struct rf_usage usage;      /* tokens of the server; seconds of this side's clock: to the first text, from then on */
};

/* url: http://HOST[:PORT][/PATH] or https; without a path "/v1" is meant, without a scheme http. key may be NULL. Loads libcurl;
 * sends nothing yet. RF_INVALID with what is wrong in url or key. */
rf_status rf_remote_open(struct rf_remote **out, const char *url, const char *key, struct rf_error *err);
void rf_remote_close(struct rf_remote *r); /* NULL is fine */
const char *rf_remote_url(const struct rf_remote *r); /* with its path, as requests go there */

/* GET /models: *out is its array "data", to be json_decref'd; those entries that are objects with an id. Learns the kind. RF_NOT_FOUND
 * where the server has no such list. */
rf_status rf_remote_models(struct rf_remote *r, json_t **out, struct rf_error *err);
enum rf_remote_kind rf_remote_kind(const struct rf_remote *r); /* RF_REMOTE_OTHER until it is known */
const char *rf_remote_kind_name(enum rf_remote_kind kind);     /* "Ollama", ..., "this server" */

/* POST body to path ("/chat/completions" or "/completions"); "stream" and "stream_options" are set here. RF_OK once the answer has
 * ended; RF_CANCELLED; RF_TOO_LONG where the prompt does not fit; else err says what, where and what to do. answer is filled as far as it came. */
rf_status rf_remote_ask(struct rf_remote *r, const char *path, json_t *body, const struct rf_remote_sink *sink, struct rf_remote_answer *answer,
                        struct rf_error *err);

#endif
