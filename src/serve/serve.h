/* serve.h - the HTTP server: OpenAI routes, tokenizer routes, health, metrics. Bytes and JSON, never tensors.
 *
 * A server listens from rf_serve_create on. Until a model is attached, /health answers 503 "Loading model", /v1/models
 * lists the model by name, and everything that needs the model answers 503 with Retry-After.
 *
 *   rf_serve_create(&s, &opt, &err);           // bound, listening, threads running
 *   ... load the model, create the engine ...
 *   rf_serve_attach(s, model, engine);         // from now on requests are served
 *   rf_serve_run(s, drain_timeout_s);          // returns after rf_serve_stop, when all is answered or aborted
 *   rf_serve_free(s); rf_engine_free(engine); rf_model_close(model);
 *
 * Threads: one event loop, one watcher, a few workers, all the server's own; no signal handlers and no global state.
 * A client that goes away (also by closing only its sending side after the request) has its request aborted at once,
 * be it streaming, waiting or queued.
 */
#ifndef RF_SERVE_SERVE_H
#define RF_SERVE_SERVE_H

#include "base/log.h"
#include "rocmforge.h"

struct rf_serve;

/* Models on demand, for a server without a fixed one: requests load what they name, one model at a time. list and find are
 * called from any thread, open and close from one at a time. */
struct rf_serve_pool {
    void *ctx;
    /* Calls see(to, name) for every name that can be asked for, in order. */
    void (*list)(void *ctx, void (*see)(void *to, const char *name), void *to);
    /* The listed spelling of `name`; of the default where name is NULL. RF_NOT_FOUND, with the nearest names. */
    rf_status (*find)(void *ctx, const char *name, char *id, size_t cap, struct rf_error *err);
    rf_status (*open)(void *ctx, const char *id, struct rf_model **m, struct rf_engine **e, struct rf_error *err);
    void (*close)(void *ctx, struct rf_model *m, struct rf_engine *e);
};

struct rf_serve_options { /* zero: the default in brackets; strings are copied */
    const char *host;                    /* ["127.0.0.1"] name or address; Host headers are checked if it is loopback */
    uint16_t port;                       /* 0: a free one, see rf_serve_port */
    const char *model_id;                /* the served name; required unless there is a pool */
    const struct rf_serve_pool *pool;    /* [NULL: one fixed model, see rf_serve_attach]; must outlive the server */
    const char *const *aliases;          /* further names that requests may use */
    size_t n_aliases;
    const char *const *api_keys;         /* [none: no authentication] any of them opens every route */
    size_t n_api_keys;
    const char *const *allowed_hosts;    /* further Host names accepted on a loopback address */
    size_t n_allowed_hosts;
    const char *const *cors_origins;     /* [none: no CORS headers] exact origins, or one "*" */
    size_t n_cors_origins;
    bool open_metrics;                   /* /metrics needs no key */
    bool isolate_keys;                   /* prefix cache is shared only between requests of one key */
    bool neutral_sampling;               /* ignore the model's own sampling recommendation */
    size_t max_body;                     /* [32 MB] bytes of one request body; larger is 413 */
    size_t max_bodies;                   /* [512 MB] bytes of all bodies being read or parsed; beyond is 503 */
    uint32_t max_connections;            /* [16384, less where the descriptor limit is lower] */
    uint32_t n_workers;                  /* [2] threads that parse and tokenise */
    uint32_t max_pending;                /* [1024] requests waiting for a worker, and as many for a model; beyond is 503 */
    uint32_t
        max_sequences; /* [1280] in the engine, running or queued; beyond, requests are 503 before they are parsed */
    double header_timeout_s;             /* [10] from the first byte to the end of the headers */
    double idle_timeout_s;               /* [75] between requests, and without progress inside one */
    double ping_s;                       /* [10] silence after which a stream gets a comment line */
    double slow_reader_s;                /* [10] how long a full buffer may stay full before the request is aborted */
    size_t stream_buffer;                /* [256 KB] bytes held for one stream before its reader counts as slow */
    struct rf_log log;                   /* one line per request at RF_LOG_INFO; never a prompt, never a key */
};

/* RF_INVALID (options), RF_IO (address in use, unknown host), RF_NOMEM. */
rf_status rf_serve_create(struct rf_serve **out, const struct rf_serve_options *opt, struct rf_error *err);
uint16_t rf_serve_port(const struct rf_serve *s);
const char *rf_serve_url(const struct rf_serve *s);     /* "http://127.0.0.1:8080", for people */
/* Both must outlive rf_serve_free. Once only. */
rf_status rf_serve_attach(struct rf_serve *s, struct rf_model *m, struct rf_engine *e, struct rf_error *err);
/* Async-signal-safe. The first call begins the drain, the second ends it at once. */
void rf_serve_stop(struct rf_serve *s);
/* Blocks until rf_serve_stop; then refuses new work with 503, lets running requests end for at most drain_timeout_s,
 * aborts the rest with an error. RF_DEVICE if a device failed under it (then it stops by itself). */
rf_status rf_serve_run(struct rf_serve *s, double drain_timeout_s);
/* Stops if it runs, aborts what is left, joins the threads. NULL is fine. */
void rf_serve_free(struct rf_serve *s);

#endif
