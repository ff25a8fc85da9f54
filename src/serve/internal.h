/* internal.h - what the files of this room share. Not for others.
 *
 * One HTTP request is one rf_call. It is referenced by the event loop (until the request is completed), by the worker
 * queue (while a job is queued or runs) and by each live sequence of the engine; the last one frees it.
 *
 * Who writes what: the event loop fills the request part before any worker sees it. The worker fills reply and gen
 * while the connection is suspended. The engine's thread appends to the event log. call->lock guards the fields named
 * there. Locks are taken in this order: serve->lock, call->lock, then work.lock and those inside libmicrohttpd. No
 * rf_engine_* function is called with a lock held; pool.lock is taken last and alone but for a look at call->gone.
 */
#ifndef RF_SERVE_INTERNAL_H
#define RF_SERVE_INTERNAL_H

#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "serve/mhd.h"
#include "serve/serve.h"

#define RF_SERVE_DIGEST 32
#define RF_SERVE_ID_MAX 64
#define RF_SERVE_DEPTH 100          /* nesting of a request's JSON */
#define RF_SERVE_VALUES 2000000     /* values in a request's JSON: bounds what parsing may allocate */

#define RF_SERVE_NAME_MAX 512

struct rf_call;
struct rf_gen;

/* A model in service. Calls hold a reference from the moment they are bound to it until they are freed. */
struct rf_served {
    uint64_t refs;            /* pool.lock */
    char *id;                 /* the name in answers */
    struct rf_model *model;
    struct rf_engine *engine;
    struct rf_model_info info;
    uint32_t max_model_len, max_token_bytes;
};

/* ---- replies ----------------------------------------------------------------------------------------------------- */

struct rf_reply {
    unsigned status;          /* 0: none yet */
    const char *type;         /* Content-Type, static text */
    const char *allow;        /* Allow header, static text or NULL */
    unsigned retry_after;     /* seconds, 0: no header */
    bool final;               /* x-should-retry: false */
    bool close;               /* Connection: close */
    const struct rf_web_file *file; /* a file of the page instead of body */
    struct rf_buf body;
};

/* Replaces whatever reply there was. type, param, code as in OpenAI's error object, NULL becomes null. */
void rf_serve_reply_error(struct rf_reply *r, unsigned status, const char *param, const char *code, const char *fmt,
                          ...) RF_PRINTF(5, 6);
/* The HTTP answer to an error of the engine or of our own parsing. */
void rf_serve_reply_status(struct rf_reply *r, const struct rf_error *err);
/* {"error":{...}} alone, for streams too. */
void rf_serve_error_json(struct rf_buf *out, unsigned status, const char *param, const char *code, const char *message);
void rf_serve_error_event(struct rf_buf *out, const struct rf_error *err);
unsigned rf_serve_error_status(const struct rf_error *err, const char **code);

/* ---- routes ------------------------------------------------------------------------------------------------------ */

enum rf_method { RF_GET = 1, RF_HEAD = 2, RF_POST = 4, RF_OPTIONS = 8, RF_METHOD_OTHER = 16 };

enum rf_route_flags {
    RF_ROUTE_OPEN = 1u << 0,    /* needs no key */
    RF_ROUTE_MODEL = 1u << 1,   /* needs the model: 503 while it loads */
    RF_ROUTE_WORK = 1u << 2,    /* has a JSON body and runs on a worker */
    RF_ROUTE_GEN = 1u << 3,     /* starts sequences in the engine */
    RF_ROUTE_PREFIX = 1u << 4,  /* path is a prefix, the rest goes to call->rest */
    RF_ROUTE_METRICS = 1u << 5, /* needs no key if options say so */
    RF_ROUTE_DISK = 1u << 6,    /* asks the pool, which may look through folders: runs on a worker then */
};

struct rf_route {
    const char *path;
    unsigned methods;           /* of enum rf_method */
    const char *allow;
    unsigned flags;
    void (*run)(struct rf_call *c); /* fills c->reply, or starts c->gen */
};

#define RF_SERVE_ROUTES_MAX 16
#define RF_SERVE_CODES 24

/* ---- connections and calls --------------------------------------------------------------------------------------- */

enum rf_conn_state { RF_CONN_IDLE, RF_CONN_HEAD, RF_CONN_BODY, RF_CONN_BUSY };

struct rf_conn { /* lives in serve->conns, guarded by serve->lock except where said */
    int fd;
    uint32_t serial;
    size_t slot;
    struct rf_call *call;       /* being watched for a disconnect, or NULL */
    _Atomic int state;          /* enum rf_conn_state, written by the event loop */
    _Atomic int64_t since_ms;   /* when it entered that state */
    _Atomic int64_t allowance_ms; /* for RF_CONN_BODY: time the body may take */
    uint64_t seen_bytes;        /* watcher only */
    int64_t seen_since, begun_ms, checked_ms;
};

enum rf_phase {
    RF_PHASE_READ,    /* the request is being read */
    RF_PHASE_WORK,    /* a worker has it */
    RF_PHASE_WAIT,    /* sequences run; nothing sent yet */
    RF_PHASE_READY,   /* reply is there */
    RF_PHASE_STREAM,  /* stream headers are sent */
};

struct rf_job { struct rf_call *call; void (*run)(struct rf_call *c); struct rf_job *next; };

struct rf_call {
    struct rf_serve *serve;
    struct MHD_Connection *mhd; /* event loop, and whoever resumes under lock */
    struct rf_conn *conn;       /* event loop only */
    struct rf_call *prev, *next; /* serve->lock: list of calls that are not completed */
    _Atomic int refs;

    /* request; written by the event loop before the hand-over */
    const struct rf_route *route;
    enum rf_method method;
    const char *version;        /* "HTTP/1.1"; during rf_serve_http_framing only */
    char id[RF_SERVE_ID_MAX + 1];
    char *target;               /* decoded path */
    char *authority;            /* host of a request for a whole address, NULL: the Host header counts (RFC 9112, 3.2.2) */
    const char *rest;           /* behind a prefix route */
    struct rf_buf body;
    size_t body_seen, body_charged;
    bool headers_done, early;   /* early: answered without reading the body */
    const char *origin;         /* of the CORS list, or NULL */
    uint64_t key_salt;
    double t0;
    int64_t created;

    pthread_mutex_t lock;       /* guards from here ... */
    enum rf_phase phase;
    bool suspended;             /* the connection sleeps; resume it exactly once */
    bool completed;             /* the event loop has let go of mhd */
    bool gone;                  /* the client is, or it was too slow: abort */
    bool hold_over;             /* streams: do not wait for the first event any longer */
    bool ping;                  /* streams: send a comment line */
    bool overflow;              /* streams: the log was full, events were dropped */
    double over_since;          /* streams: since when the log is over its soft limit; 0: it is not */
    double t_wait, t_sent;      /* streams: submitted; last bytes taken */
    uint32_t n_live;            /* sequences whose last event has not come */
    bool submitted;
    struct rf_buf log;          /* event records, see events.h */
    /* ... to here */

    struct rf_served *on;       /* the model that answers; before any worker sees the call, or by the pool */
    char *want;                 /* pool: the id it waits for */
    json_t *root;               /* pool: the parsed body, until the route takes it */
    struct rf_reply reply;      /* worker, then event loop */
    struct rf_gen *gen;         /* worker, then whoever answers */
    struct rf_job job;          /* work.lock; in the queue at most once */
    unsigned sent_status;       /* for the log line */
};

/* ---- server ------------------------------------------------------------------------------------------------------ */

struct rf_serve {
    struct rf_serve_options opt;   /* defaults filled in, strings in arena */
    struct rf_arena arena;
    uint8_t (*keys)[RF_SERVE_DIGEST];
    uint8_t secret[RF_SERVE_DIGEST];
    bool loopback;
    char url[320];
    uint16_t port;
    int listen_fd, stop_fd;
    int64_t created;
    struct rf_mhd http;            /* the HTTP library; written before its first thread starts */
    struct MHD_Daemon *mhd;

    struct {                       /* pool.c */
        pthread_mutex_t lock;      /* guards this struct and every rf_served.refs; taken last */
        pthread_cond_t changed;
        struct rf_served *current; /* NULL: none yet, or one is on its way */
        struct rf_job *waiting, **tail; /* calls whose model is not there yet; each is referenced */
        uint32_t n_waiting;        /* at most max_pending */
        bool stop, running;
        pthread_t thread;
    } pool;

    _Atomic bool draining;         /* new generations are refused */
    _Atomic bool aborting;         /* running ones are being aborted */
    _Atomic bool closing;          /* no connection may sleep any more */
    _Atomic bool failed;           /* a device failed */
    _Atomic uint64_t body_bytes;
    _Atomic uint64_t n_sequences;  /* in the engine */
    _Atomic uint64_t id_counter;

    pthread_mutex_t lock;          /* guards conns, calls, counters below */
    struct rf_conn **conns;
    size_t n_conns, cap_conns;
    uint32_t next_serial;
    struct rf_call *calls;
    pthread_cond_t idle;           /* signalled when a call is freed */
    uint64_t n_calls_alive;        /* rf_call objects not freed yet */
    uint64_t http_count[RF_SERVE_ROUTES_MAX + 1][RF_SERVE_CODES];
    uint64_t n_disconnects, n_slow;

    struct {                       /* worker.c */
        pthread_mutex_t lock;
        pthread_cond_t more;
        struct rf_job *head, **tail;
        uint32_t n;
        bool stop;
        pthread_t thread[16];
        uint32_t n_threads;
    } work;

    struct {                       /* watch.c */
        int epoll_fd, wake_fd, door_fd; /* door: the listening socket, which the HTTP library owns */
        unsigned n_waits;          /* ticks since which somebody waits there; watcher only */
        pthread_t thread;
        bool running;
        _Atomic bool stop;
    } watch;
};

/* request.c: libmicrohttpd's callbacks; cls is the server */
void *rf_serve_on_uri(void *cls, const char *uri, struct MHD_Connection *mhd);
enum MHD_Result rf_serve_on_request(void *cls, struct MHD_Connection *mhd, const char *url, const char *method,
                                    const char *version, const char *data, size_t *size, void **con_cls);
void rf_serve_on_completed(void *cls, struct MHD_Connection *mhd, void **con_cls, enum MHD_RequestTerminationCode why);
void rf_serve_on_connection(void *cls, struct MHD_Connection *mhd, void **socket_cls,
                            enum MHD_ConnectionNotificationCode what);

/* call.c */
struct rf_call *rf_serve_call_create(struct rf_serve *s, struct MHD_Connection *mhd);
void rf_serve_call_ref(struct rf_call *c);
void rf_serve_call_unref(struct rf_call *c);
/* Adds a header to an answer; what does not fit into memory is left out. */
void rf_serve_call_header(struct rf_call *c, struct MHD_Response *r, const char *name, const char *value);
/* Wakes the connection if it sleeps. The caller holds c->lock. */
void rf_serve_call_resume_locked(struct rf_call *c);
/* Lets the connection sleep unless the server is closing; false: it must not. The caller holds c->lock; event loop. */
bool rf_serve_call_suspend_locked(struct rf_call *c);
/* The reply is complete: wakes the connection. */
void rf_serve_call_ready(struct rf_call *c);
/* The client is gone, too slow, or the server stops: aborts its sequences and wakes the connection. */
void rf_serve_call_abandon(struct rf_call *c);

/* worker.c */
rf_status rf_serve_work_start(struct rf_serve *s, struct rf_error *err);
void rf_serve_work_stop(struct rf_serve *s);
/* Takes a reference. RF_FULL beyond max_pending, never with force. */
rf_status rf_serve_work_post(struct rf_serve *s, struct rf_call *c, void (*run)(struct rf_call *c), bool force);

/* pool.c. get: the model in service with a reference, or NULL; put gives it back (NULL is fine). */
rf_status rf_served_create(struct rf_served **out, const char *id, struct rf_model *m, struct rf_engine *e,
                           struct rf_error *err);
struct rf_served *rf_served_get(struct rf_serve *s);
void rf_served_put(struct rf_serve *s, struct rf_served *on);
rf_status rf_serve_pool_start(struct rf_serve *s, struct rf_error *err);
void rf_serve_pool_refuse(struct rf_serve *s);  /* answers all that wait with 503; no more loading */
void rf_serve_pool_stop(struct rf_serve *s);
void rf_serve_pool_release(struct rf_serve *s); /* the last step: no call is left */
/* With a pool, what a worker runs instead of the route: binds the call to its model, or lets it wait. */
void rf_serve_pool_run(struct rf_call *c);
/* The request's JSON object, parsed once; the caller owns it. */
rf_status rf_serve_call_json(struct rf_call *c, json_t **root, struct rf_error *err);

/* watch.c */
rf_status rf_serve_watch_start(struct rf_serve *s, struct rf_error *err);
void rf_serve_watch_stop(struct rf_serve *s);
rf_status rf_serve_conn_open(struct rf_serve *s, int fd, struct rf_conn **out);
void rf_serve_conn_close(struct rf_serve *s, struct rf_conn *conn);
void rf_serve_conn_enter(struct rf_conn *conn, enum rf_conn_state state);
void rf_serve_watch_add(struct rf_serve *s, struct rf_conn *conn, struct rf_call *c);
void rf_serve_watch_remove(struct rf_serve *s, struct rf_conn *conn);

/* http.c: each fills c->reply and returns false if the request ends here */
bool rf_serve_http_framing(struct rf_call *c);          /* first of all: a request whose end is in doubt is answered and the connection closed */
bool rf_serve_http_check(struct rf_call *c);            /* Host, key, origin, content type, size */
const char *rf_serve_http_header(struct rf_call *c, const char *name);
bool rf_serve_http_decode(char *path);                  /* %XX in place; false on bad escapes or NUL */
void rf_serve_http_id(struct rf_call *c);
bool rf_serve_host_is_loopback(const char *host);

/* sha256.c */
void rf_serve_sha256(const void *p, size_t n, uint8_t out[RF_SERVE_DIGEST]);

/* routes */
void rf_serve_chat_run(struct rf_call *c);
void rf_serve_completions_run(struct rf_call *c);
void rf_serve_models_run(struct rf_call *c);
void rf_serve_model_run(struct rf_call *c);
void rf_serve_tokenize_run(struct rf_call *c);
void rf_serve_detokenize_run(struct rf_call *c);
void rf_serve_health_run(struct rf_call *c);
void rf_serve_version_run(struct rf_call *c);
void rf_serve_metrics_run(struct rf_call *c);
void rf_serve_page_run(struct rf_call *c);
void rf_serve_web_run(struct rf_call *c);

/* routes.c */
const struct rf_route *rf_serve_route_find(const char *path, const char **rest);
size_t rf_serve_route_index(const struct rf_route *r);  /* for counters; unknown routes count together, last */
size_t rf_serve_route_count(void);
const struct rf_route *rf_serve_route_at(size_t i);

/* models.c: true if name is served; else fills the reply with 404. NULL is the served model. */
bool rf_serve_model_check(struct rf_call *c, const char *name);

/* metrics.c */
void rf_serve_metrics_count(struct rf_serve *s, const struct rf_route *r, unsigned status);

#endif
