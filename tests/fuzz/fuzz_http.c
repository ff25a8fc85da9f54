/* fuzz_http: what clients send, before the fake engine. The first line says where the rest goes:
 *
 *   /v1/...    the body of a POST (or a GET) to that route, as a worker sees it
 *   RAW        bytes for a socket: a whole conversation
 *   other      a path; the rest is a Host header
 *
 * Whatever comes, the answer is whole JSON, or a stream of whole JSON frames.
 */
#include <arpa/inet.h>
#include <jansson.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/json.h"
#include "serve/events.h"
#include "unit/serve/fake_engine.h"

static struct rf_serve *serve;
static struct rf_model *model;
static struct rf_engine *engine;
static struct rf_conn *conn;
static int pair[2];

static void stop(void)
{
    rf_serve_conn_close(serve, conn);
    rf_serve_free(serve);
    rf_engine_free(engine);
    fake_model_free(model);
    close(pair[0]);
    close(pair[1]);
}

static void start(void)
{
    static const char *const aliases[] = {"org/other-name"};
    struct rf_serve_options o = {.model_id = "fake", .aliases = aliases, .n_aliases = 1, .n_workers = 1, .max_body = 1 << 20};
    struct rf_error err = {0};
    model = fake_model_create();
    engine = fake_engine_create(4096, 4096);
    if (rf_serve_create(&serve, &o, &err) || rf_serve_attach(serve, model, engine, &err)) abort();
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) || rf_serve_conn_open(serve, pair[0], &conn)) abort();
    atexit(stop);
}

/* ---- answers ----------------------------------------------------------------------------------------------------- */

/* jansson takes no "\u0000" in a key, which top_logprobs may have: that much is left to our own reader. */
static bool is_json(const char *s, size_t n)
{
    static struct rf_json j;
    struct rf_arena strings = {0};
    j = (struct rf_json){.s = s, .n = n, .name = "answer", .arena = &strings};
    bool ok = !rf_json_skip(&j) && !rf_json_end(&j);
    rf_arena_release(&strings);
    return ok;
}

static void check_json(const char *s, size_t n)
{
    json_error_t why;
    json_t *v = json_loadb(s, n, JSON_DECODE_ANY | JSON_ALLOW_NUL, &why);
    if (!v && !(json_error_code(&why) == json_error_null_byte_in_key && is_json(s, n))) abort();
    json_decref(v);
}

static void check_frames(const struct rf_buf *b)
{
    for (size_t at = 0; at < b->len;) {
        const char *p = b->data + at, *end = memmem(p, b->len - at, "\n\n", 2);
        if (!end) abort();
        size_t n = (size_t)(end - p);
        if (n >= 6 && !memcmp(p, "data: ", 6)) {
            if (n != 12 || memcmp(p, "data: [DONE]", 12)) check_json(p + 6, n - 6);
        } else if (p[0] != ':') {
            abort();
        }
        at += n + 2;
    }
}

static void drain(struct rf_call *c)
{
    struct rf_buf all = {0};
    char part[4096];
    for (ssize_t n; (n = rf_serve_stream_read(c, 0, part, sizeof part)) >= 0;) rf_buf_append(&all, part, (size_t)n);
    check_frames(&all);
    rf_buf_release(&all);
}

/* True once the call has its answer, or all events of its stream. */
static bool answered(struct rf_call *c, bool *stream)
{
    pthread_mutex_lock(&c->lock);
    *stream = c->phase == RF_PHASE_WAIT && c->gen->p.stream;
    bool done = c->phase == RF_PHASE_READY || (*stream && c->submitted && !c->n_live);
    pthread_mutex_unlock(&c->lock);
    return done;
}

static void call(const struct rf_route *r, const char *target, const char *rest, const char *body, size_t n)
{
    struct rf_call *c = rf_serve_call_create(serve, NULL);
    bool stream = false;
    if (!c) abort();
    c->conn = conn;
    c->route = r;
    c->on = r->flags & RF_ROUTE_MODEL ? rf_served_get(serve) : NULL;
    c->target = rf_strdup(target);
    c->rest = rest ? c->target + (rest - target) : NULL;
    c->method = r->methods & RF_POST ? RF_POST : RF_GET;
    c->body.max = serve->opt.max_body;
    rf_buf_append(&c->body, body, n);
    /* the fake engine's steering words can ask for hours */
    for (size_t i = 0; i < c->body.len; i++)
        if (c->body.data[i] == '@') c->body.data[i] = 'a';
    bool work = r->flags & RF_ROUTE_WORK;
    c->phase = work ? RF_PHASE_WORK : RF_PHASE_READ;
    r->run(c);
    while (work && !answered(c, &stream)) sched_yield();
    if (stream) drain(c);
    else if (c->reply.status < 200 || c->reply.status > 599 || c->reply.body.bad) abort();
    else if (!c->reply.file && c->reply.status != 304 && (!c->reply.type || strstr(c->reply.type, "json"))) check_json(c->reply.body.data, c->reply.body.len);
    void *con = c;
    rf_serve_on_completed(serve, NULL, &con, MHD_REQUEST_TERMINATED_COMPLETED_OK);
}

/* ---- a whole conversation ---------------------------------------------------------------------------------------- */

static void talk(const uint8_t *data, size_t n)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(rf_serve_port(serve)),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct linger now = {1, 0};
    struct timeval patience = {.tv_usec = 3000}; /* most of what is sent is no whole request and gets no answer */
    char got[4096];
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a)) abort();
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now); /* thousands of these a second: no port stays in TIME_WAIT */
    for (size_t at = 0; at < n;) {
        ssize_t k = send(fd, data + at, n - at, MSG_NOSIGNAL);
        if (k <= 0) break;
        at += (size_t)k;
    }
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    while (recv(fd, got, sizeof got, 0) > 0) {}
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char line[512];
    const uint8_t *nl = n ? memchr(data, '\n', n) : NULL;
    size_t k = nl ? (size_t)(nl - data) : n;
    if (!serve) start();
    if (k >= sizeof line) return 0;
    memcpy(line, data, k);
    line[k] = 0;
    const uint8_t *rest = nl ? nl + 1 : data + n;
    size_t n_rest = (size_t)(data + n - rest);
    if (!strcmp(line, "RAW")) {
        talk(rest, n_rest);
        return 0;
    }
    const char *tail;
    if (!rf_serve_http_decode(line)) return 0;
    const struct rf_route *r = rf_serve_route_find(line, &tail);
    if (r) {
        call(r, line, tail, (const char *)rest, n_rest);
    } else {
        char *host = strndup((const char *)rest, n_rest);
        rf_serve_host_is_loopback(host);
        free(host);
    }
    return 0;
}
