/* request.c - one request on the event loop: libmicrohttpd's callbacks, from the request line to the log line. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "serve/events.h"
#include "serve/internal.h"
#include "serve/web.h"

#define BODY_GRACE_MS 30000 /* a body may take this long, and more by its length: */
#define BODY_RATE 64        /* ... bytes per millisecond */
#define STREAM_BLOCK 8192
#define SOCKET_BUFFER (256 * 1024)

/* ---- answers ----------------------------------------------------------------------------------------------------- */

static void add_cors(struct rf_call *c, struct MHD_Response *r)
{
    if (!c->origin) return;
    rf_serve_call_header(c, r, "Access-Control-Allow-Origin", c->origin);
    rf_serve_call_header(c, r, "Vary", "Origin");
    if (c->method != RF_OPTIONS) {
        rf_serve_call_header(c, r, "Access-Control-Expose-Headers", "x-request-id, retry-after");
        return;
    }
    rf_serve_call_header(c, r, "Access-Control-Allow-Methods", c->route ? c->route->allow : "GET, POST, OPTIONS");
    rf_serve_call_header(
        c, r, "Access-Control-Allow-Headers",
        "authorization, content-type, x-api-key, x-request-id, openai-beta, openai-organization, "
        "openai-project, x-stainless-arch, x-stainless-async, x-stainless-helper-method, x-stainless-lang, "
        "x-stainless-os, x-stainless-package-version, x-stainless-poll-helper, x-stainless-retry-count, "
        "x-stainless-runtime, x-stainless-runtime-version, x-stainless-timeout");
    rf_serve_call_header(c, r, "Access-Control-Max-Age", "600");
}

static enum MHD_Result queue(struct rf_call *c, struct MHD_Response *r, unsigned status)
{
    if (!r) return MHD_NO;
    rf_serve_call_header(c, r, "x-request-id", c->id);
    rf_serve_call_header(c, r, "X-Content-Type-Options", "nosniff");
    add_cors(c, r);
    c->sent_status = status;
    enum MHD_Result ok = c->serve->http.queue_response(c->mhd, status, r);
    c->serve->http.destroy_response(r);
    return ok;
}

static enum MHD_Result answer(struct rf_call *c)
{
    struct rf_reply *a = &c->reply;
    char retry[16];
    size_t len = 0;
    if (a->file) {
        struct MHD_Response *page = rf_serve_web_response(c);
        return queue(c, page, a->status);
    }
    char *body = rf_buf_take(&a->body, &len);
    if (!body) return MHD_NO;
    struct MHD_Response *r = c->serve->http.create_response_from_buffer_with_free_callback(len, body, rf_free);
    if (!r) {
        rf_free(body);
        return MHD_NO;
    }
    if (a->status != 204) rf_serve_call_header(c, r, "Content-Type", a->type ? a->type : "application/json");
    if (a->allow) rf_serve_call_header(c, r, "Allow", a->allow);
    if (a->status == 401) rf_serve_call_header(c, r, "WWW-Authenticate", "Bearer");
    if (a->retry_after) {
        snprintf(retry, sizeof retry, "%u", a->retry_after);
        rf_serve_call_header(c, r, "Retry-After", retry);
    }
    if (a->final) rf_serve_call_header(c, r, "x-should-retry", "false");
    if (a->close || (a->status == 503 && atomic_load(&c->serve->draining)))
        rf_serve_call_header(c, r, "Connection", "close");
    return queue(c, r, a->status);
}

static enum MHD_Result begin_stream(struct rf_call *c)
{
    struct MHD_Response *r =
        c->serve->http.create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK, rf_serve_stream_read, c, NULL);
    if (!r) return MHD_NO;
    rf_serve_call_header(c, r, "Content-Type", "text/event-stream; charset=utf-8");
    rf_serve_call_header(c, r, "Cache-Control", "no-cache");
    rf_serve_call_header(c, r, "X-Accel-Buffering", "no");
    return queue(c, r, 200);
}

/* ---- the steps of a request -------------------------------------------------------------------------------------- */

static enum rf_method method_of(const char *m)
{
    static const struct { const char *name; enum rf_method method; } names[] = {
        {"GET", RF_GET}, {"HEAD", RF_HEAD}, {"POST", RF_POST}, {"OPTIONS", RF_OPTIONS}};
    for (size_t i = 0; i < RF_COUNT(names); i++)
        if (!strcmp(m, names[i].name)) return names[i].method;
    return RF_METHOD_OTHER;
}

/* What stands behind the scheme where a proxy sent the whole address, NULL. */
static const char *behind_scheme(const char *uri)
{
    return !strncasecmp(uri, "http://", 7) ? uri + 7 : !strncasecmp(uri, "https://", 8) ? uri + 8 : NULL;
}

/* The path alone: without query, scheme and host. */
static char *path_of(const char *uri)
{
    const char *rest = behind_scheme(uri);
    if (rest) {
        rest += strcspn(rest, "/?#");
        uri = *rest == '/' ? rest : "/";
    }
    return rf_strndup(uri, strcspn(uri, "?#"));
}

void *rf_serve_on_uri(void *cls, const char *uri, struct MHD_Connection *mhd)
{
    struct rf_serve *s = cls;
    const union MHD_ConnectionInfo *info = s->http.get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct rf_conn *conn = info ? info->socket_context : NULL;
    if (!conn) return NULL;
    struct rf_call *c = rf_serve_call_create(s, mhd);
    if (!c) return NULL;
    c->conn = conn;
    c->target = path_of(uri);
    const char *rest = behind_scheme(uri);
    if (rest && !(c->authority = rf_strndup(rest, strcspn(rest, "/?#")))) {
        rf_free(c->target); /* as if there had been no room for the path */
        c->target = NULL;
    }
    c->body.max = s->opt.max_body;
    rf_serve_conn_enter(conn, RF_CONN_HEAD);
    return c;
}

static bool has_space(const char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s <= ' ' || *s == 0x7f) return true;
    return false;
}

static enum MHD_Result on_headers(struct rf_call *c, const char *method, const char *version)
{
    c->headers_done = true;
    c->version = version;
    c->method = method_of(method);
    rf_serve_http_id(c);
    const char *length = rf_serve_http_header(c, "Content-Length");
    double bytes = length ? strtod(length, NULL) : (double)c->serve->opt.max_body;
    atomic_store(&c->conn->allowance_ms, BODY_GRACE_MS + (int64_t)(RF_MIN(bytes, 1e15) / BODY_RATE));
    rf_serve_conn_enter(c->conn, RF_CONN_BODY);
    if (!c->target) return MHD_NO;
    if (!rf_serve_http_framing(c)) return answer(c);
    if (has_space(c->target) || !rf_serve_http_decode(c->target)) {
        rf_serve_reply_error(&c->reply, 400, NULL, "bad_request",
                             "The path holds a space, a control byte or a bad %% escape");
        return MHD_YES;
    }
    c->route = rf_serve_route_find(c->target, &c->rest);
    rf_serve_http_check(c);
    return c->early ? answer(c) : MHD_YES;
}

/* Once the request has its answer, the rest of the body is only counted. */
static enum MHD_Result on_body(struct rf_call *c, const char *data, size_t n)
{
    struct rf_serve *s = c->serve;
    c->body_seen += n;
    if (c->reply.status || !(c->route->flags & RF_ROUTE_WORK))
        return c->body_seen / 8 > s->opt.max_body ? MHD_NO : MHD_YES;
    if (atomic_fetch_add(&s->body_bytes, n) + n > s->opt.max_bodies)
        rf_serve_reply_error(&c->reply, 503, NULL, "overloaded", "Too many request bodies at once; try again");
    c->body_charged += n;
    rf_status st = rf_buf_append(&c->body, data, n);
    if (st == RF_TOO_LARGE)
        rf_serve_reply_error(&c->reply, 413, NULL, "request_too_large", "The request body is larger than %zu bytes",
                             s->opt.max_body);
    else if (st)
        rf_serve_reply_error(&c->reply, 503, NULL, "out_of_memory", "not enough memory for the request body");
    if (c->reply.status) rf_buf_release(&c->body);
    return MHD_YES;
}

static enum MHD_Result sleep_or_close(struct rf_call *c) /* unlocks */
{
    bool ok = rf_serve_call_suspend_locked(c);
    pthread_mutex_unlock(&c->lock);
    return ok ? MHD_YES : MHD_NO;
}

static void run_whole(struct rf_call *c) /* a route that fills the reply and starts nothing */
{
    c->route->run(c);
    if (c->reply.body.bad) rf_serve_reply_error(&c->reply, 503, NULL, "out_of_memory", "not enough memory for the answer");
}

static void run_apart(struct rf_call *c) /* the same on a worker */
{
    run_whole(c);
    rf_serve_call_ready(c);
}

static enum MHD_Result hand_over(struct rf_call *c)
{
    struct rf_serve *s = c->serve;
    void (*run)(struct rf_call *) = c->route->flags & RF_ROUTE_DISK ? run_apart : c->route->run;
    if (s->opt.pool && c->route->flags & RF_ROUTE_MODEL) run = rf_serve_pool_run;
    rf_serve_conn_enter(c->conn, RF_CONN_BUSY);
    if (c->route->flags & RF_ROUTE_GEN) rf_serve_watch_add(s, c->conn, c);
    pthread_mutex_lock(&c->lock);
    c->phase = RF_PHASE_WORK;
    rf_status st = rf_serve_work_post(s, c, run, false);
    if (st) c->phase = RF_PHASE_READ;
    pthread_mutex_unlock(&c->lock);
    if (st) {
        rf_serve_reply_error(&c->reply, 503, NULL, "queue_full", "Too many requests are waiting; try again");
        return answer(c);
    }
    return MHD_YES;
}

static enum MHD_Result dispatch(struct rf_call *c)
{
    struct rf_serve *s = c->serve;
    const struct rf_route *r = c->route;
    if (c->reply.status) return answer(c);
    if (r->flags & RF_ROUTE_MODEL && !s->opt.pool && !(c->on = rf_served_get(s))) {
        rf_serve_reply_error(&c->reply, 503, NULL, "loading", "Loading model");
        return answer(c);
    }
    if (r->flags & RF_ROUTE_GEN && atomic_load(&s->draining)) {
        rf_serve_reply_error(&c->reply, 503, NULL, "shutting_down", "The server is shutting down");
        return answer(c);
    }
    if (r->flags & RF_ROUTE_GEN &&
        atomic_load(&s->n_sequences) >= s->opt.max_sequences) { /* no work for what is then refused */
        rf_serve_reply_error(&c->reply, 503, NULL, "queue_full",
                             "The queue is full: %u sequences run or wait; try again", s->opt.max_sequences);
        return answer(c);
    }
    if (r->flags & RF_ROUTE_WORK || (r->flags & RF_ROUTE_DISK && s->opt.pool)) return hand_over(c);
    run_whole(c);
    return answer(c);
}

/* A stream's first event decides whether it becomes a stream at all: an error before it is still an HTTP status. */
static bool failed_first(struct rf_call *c) /* locked */
{
    struct rf_record r;
    size_t pos = 0;
    if (!rf_serve_record_next(&c->log, &pos, &r)) return false;
    if (r.kind == RF_EVENT_ERROR && r.has_error) {
        rf_serve_reply_status(&c->reply, &r.error);
        return true;
    }
    if (r.kind != RF_EVENT_ERROR && !(r.kind == RF_EVENT_DONE && r.finish == RF_FINISH_ABORT)) return false;
    struct rf_error err = {0};
    rf_fail(&err, RF_SHUTDOWN, "the request was aborted by the server");
    rf_serve_reply_status(&c->reply, &err);
    return true;
}

static enum MHD_Result on_complete(struct rf_call *c)
{
    pthread_mutex_lock(&c->lock);
    enum rf_phase phase = c->phase;
    pthread_mutex_unlock(&c->lock);
    if (phase == RF_PHASE_READ) {
        enum MHD_Result ok = dispatch(c);
        if (!ok || c->sent_status) return ok;
    }
    pthread_mutex_lock(&c->lock);
    if (c->gone) {
        pthread_mutex_unlock(&c->lock);
        return MHD_NO;
    }
    if (c->phase == RF_PHASE_WAIT && c->gen->p.stream && (c->log.len || c->hold_over)) {
        bool failed = failed_first(c);
        c->phase = failed ? RF_PHASE_READY : RF_PHASE_STREAM;
        if (!failed) c->t_sent = rf_now();
        pthread_mutex_unlock(&c->lock);
        return failed ? answer(c) : begin_stream(c);
    }
    if (c->phase != RF_PHASE_READY) return sleep_or_close(c);
    pthread_mutex_unlock(&c->lock);
    return answer(c);
}

enum MHD_Result rf_serve_on_request(void *cls, struct MHD_Connection *mhd, const char *url, const char *method,
                                    const char *version, const char *data, size_t *size, void **con_cls)
{
    struct rf_call *c = *con_cls;
    (void)cls;
    (void)mhd;
    (void)url;
    if (!c) return MHD_NO;
    if (!c->headers_done) return on_headers(c, method, version);
    if (*size) {
        enum MHD_Result ok = on_body(c, data, *size);
        *size = 0;
        return ok;
    }
    return on_complete(c);
}

/* ---- the end ----------------------------------------------------------------------------------------------------- */

static void log_line(struct rf_call *c, unsigned status)
{
    static const char *const names[] = {
        [RF_GET] = "GET", [RF_HEAD] = "HEAD", [RF_POST] = "POST", [RF_OPTIONS] = "OPTIONS"};
    const char *m = (size_t)c->method < RF_COUNT(names) && names[c->method] ? names[c->method] : "-";
    size_t prompt = 0, done = 0;
    if (status == 200 && c->gen) { /* not before: a worker may still be making it */
        prompt = c->gen->prompt_tokens;
        for (size_t i = 0; c->gen->seqs && i < c->gen->n_seqs; i++) done += c->gen->seqs[i].n_tokens;
    }
    /* What is polled or only a file of the page, and went well, is no news. */
    bool quiet = c->route && c->route->flags & (RF_ROUTE_OPEN | RF_ROUTE_METRICS) && status < 400;
    rf_log(&c->serve->opt.log, quiet ? RF_LOG_DEBUG : RF_LOG_INFO,
           "%s %s %.200s %u prompt=%zu completion=%zu %.1fms", c->id[0] ? c->id : "-", m, c->target ? c->target : "-",
           status, prompt, done, (rf_now() - c->t0) * 1e3);
}

static void unlink_call(struct rf_call *c, bool cut_off)
{
    struct rf_serve *s = c->serve;
    pthread_mutex_lock(&s->lock);
    s->n_disconnects += cut_off;
    if (c->prev) c->prev->next = c->next;
    else s->calls = c->next;
    if (c->next) c->next->prev = c->prev;
    pthread_mutex_unlock(&s->lock);
}

void rf_serve_on_completed(void *cls, struct MHD_Connection *mhd, void **con_cls, enum MHD_RequestTerminationCode why)
{
    struct rf_serve *s = cls;
    struct rf_call *c = *con_cls;
    (void)mhd;
    *con_cls = NULL;
    if (!c) return;
    rf_serve_watch_remove(s, c->conn);
    pthread_mutex_lock(&c->lock);
    c->completed = true;
    bool live = c->n_live > 0 || c->phase == RF_PHASE_WORK, streaming = c->phase == RF_PHASE_STREAM;
    pthread_mutex_unlock(&c->lock);
    bool whole = why == MHD_REQUEST_TERMINATED_COMPLETED_OK;
    unsigned status = c->sent_status && (whole || !live) ? c->sent_status : 499;
    unlink_call(c, status == 499);
    if (live) rf_serve_call_abandon(c);
    if (streaming && (c->gen->failed || !whole)) shutdown(c->conn->fd, SHUT_RDWR); /* after an error frame: close */
    rf_serve_metrics_count(s, c->route, status);
    log_line(c, status);
    rf_serve_conn_enter(c->conn, RF_CONN_IDLE);
    rf_serve_call_unref(c);
}

void rf_serve_on_connection(void *cls, struct MHD_Connection *mhd, void **socket_cls,
                            enum MHD_ConnectionNotificationCode what)
{
    struct rf_serve *s = cls;
    if (what == MHD_CONNECTION_NOTIFY_CLOSED) {
        rf_serve_conn_close(s, *socket_cls);
        *socket_cls = NULL;
        return;
    }
    const union MHD_ConnectionInfo *info = s->http.get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
    int size = SOCKET_BUFFER;
    struct rf_conn *conn = NULL;
    if (!info || rf_serve_conn_open(s, info->connect_fd, &conn)) return; /* its requests are then refused */
    setsockopt(info->connect_fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    *socket_cls = conn;
}
