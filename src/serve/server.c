/* server.c - life of the server: options, socket, threads, drain, end. */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "serve/events.h"
#include "serve/internal.h"

#define CONNECTION_MEMORY (32 * 1024) /* of which 16 KB hold the headers */
#define RESERVED_FDS 32               /* descriptors left for files, epoll and the like */
#define LAST_WORDS_S 2.0              /* for error answers to leave after an abort */

/* ---- options ----------------------------------------------------------------------------------------------------- */

static rf_status copy_string(struct rf_serve *s, const char **at, struct rf_error *err)
{
    if (!*at) return RF_OK;
    *at = rf_arena_strndup(&s->arena, *at, strlen(*at));
    return *at ? RF_OK : rf_fail_nomem(err, "server options", 0);
}

static rf_status copy_list(struct rf_serve *s, const char *const **list, size_t n, struct rf_error *err)
{
    const char **copy = rf_arena_array(&s->arena, n + 1, sizeof *copy);
    if (!copy) return rf_fail_nomem(err, "server options", n);
    for (size_t i = 0; i < n; i++) {
        copy[i] = (*list)[i];
        RF_TRY(copy_string(s, &copy[i], err));
    }
    *list = copy;
    return RF_OK;
}

#define DEFAULT(field, value) \
    do {                      \
        if (!(field)) (field) = (value); \
    } while (0)

static uint32_t connection_limit(uint32_t wanted)
{
    struct rlimit rl;
    uint64_t max = wanted;
    if (!getrlimit(RLIMIT_NOFILE, &rl) && rl.rlim_cur != RLIM_INFINITY)
        max = RF_MIN(max, rl.rlim_cur > 2 * RESERVED_FDS ? rl.rlim_cur - RESERVED_FDS : RF_MAX(rl.rlim_cur / 2, 1));
    return (uint32_t)max;
}

static rf_status copy_options(struct rf_serve *s, const struct rf_serve_options *opt, struct rf_error *err)
{
    struct rf_serve_options *o = &s->opt;
    *o = *opt;
    if (!o->pool && (!o->model_id || !*o->model_id))
        return rf_fail_param(err, RF_INVALID, "model_id", "server: no name for the model");
    DEFAULT(o->host, "127.0.0.1");
    DEFAULT(o->max_body, (size_t)32 << 20);
    DEFAULT(o->max_bodies, (size_t)512 << 20);
    DEFAULT(o->max_connections, 16384);
    DEFAULT(o->n_workers, 2);
    DEFAULT(o->max_pending, 1024);
    DEFAULT(o->max_sequences, 256 + 1024); /* what an engine with default options runs and queues */
    DEFAULT(o->header_timeout_s, 10);
    DEFAULT(o->idle_timeout_s, 75);
    DEFAULT(o->ping_s, 10);
    DEFAULT(o->slow_reader_s, 10);
    DEFAULT(o->stream_buffer, (size_t)256 << 10);
    o->max_connections = connection_limit(o->max_connections);
    RF_TRY(copy_string(s, &o->host, err));
    RF_TRY(copy_string(s, &o->model_id, err));
    RF_TRY(copy_list(s, &o->aliases, o->n_aliases, err));
    RF_TRY(copy_list(s, &o->allowed_hosts, o->n_allowed_hosts, err));
    RF_TRY(copy_list(s, &o->cors_origins, o->n_cors_origins, err));
    s->keys = rf_arena_array(&s->arena, o->n_api_keys + 1, sizeof *s->keys);
    if (!s->keys) return rf_fail_nomem(err, "server options", 0);
    for (size_t i = 0; i < o->n_api_keys; i++) {
        if (!*o->api_keys[i]) return rf_fail_param(err, RF_INVALID, "api_keys", "server: an API key is empty");
        rf_serve_sha256(o->api_keys[i], strlen(o->api_keys[i]), s->keys[i]);
    }
    o->api_keys = NULL; /* only digests are kept */
    return RF_OK;
}

/* ---- socket ------------------------------------------------------------------------------------------------------ */

static int listen_on(const struct addrinfo *a)
{
    int one = 1, fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->ai_protocol);
    if (fd < 0) return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (!bind(fd, a->ai_addr, a->ai_addrlen) && !listen(fd, 4096)) return fd;
    int e = errno;
    close(fd);
    errno = e;
    return -1;
}

static void describe_address(struct rf_serve *s)
{
    struct sockaddr_storage ss = {0};
    socklen_t n = sizeof ss;
    getsockname(s->listen_fd, (struct sockaddr *)&ss, &n);
    bool v6 = ss.ss_family == AF_INET6;
    s->port = ntohs(v6 ? ((struct sockaddr_in6 *)&ss)->sin6_port : ((struct sockaddr_in *)&ss)->sin_port);
    s->loopback = v6 ? IN6_IS_ADDR_LOOPBACK(&((struct sockaddr_in6 *)&ss)->sin6_addr)
                     : ntohl(((struct sockaddr_in *)&ss)->sin_addr.s_addr) >> 24 == 127;
    bool raw6 = strchr(s->opt.host, ':') != NULL;
    snprintf(s->url, sizeof s->url, raw6 ? "http://[%s]:%u" : "http://%s:%u", s->opt.host, s->port);
}

static rf_status open_socket(struct rf_serve *s, struct rf_error *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *list = NULL;
    char port[8];
    snprintf(port, sizeof port, "%u", s->opt.port);
    int e = getaddrinfo(s->opt.host, port, &hints, &list);
    if (e) return rf_fail_param(err, RF_IO, "host", "server: host %s: %s", s->opt.host, gai_strerror(e));
    for (int pass = 0; s->listen_fd < 0 && pass < 2; pass++) /* IPv4 first: "localhost" should mean 127.0.0.1 */
        for (struct addrinfo *a = list; a && s->listen_fd < 0; a = a->ai_next)
            if ((a->ai_family == AF_INET) == (pass == 0)) s->listen_fd = listen_on(a);
    e = errno;
    freeaddrinfo(list);
    if (s->listen_fd < 0)
        return rf_fail(err, RF_IO, "server: cannot listen on %s port %u: %s", s->opt.host, s->opt.port, strerror(e));
    describe_address(s);
    return RF_OK;
}

/* ---- begin ------------------------------------------------------------------------------------------------------- */

static size_t keep_escapes(void *cls, struct MHD_Connection *mhd, char *text) /* paths are decoded in http.c */
{
    (void)cls;
    (void)mhd;
    return strlen(text);
}

static rf_status start_http(struct rf_serve *s, struct rf_error *err)
{
    s->mhd = s->http.start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, rf_serve_on_request, s,
        MHD_OPTION_LISTEN_SOCKET, s->listen_fd,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)s->opt.max_connections,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)RF_MAX(s->opt.idle_timeout_s, 1.0),
        MHD_OPTION_STRICT_FOR_CLIENT, 0, /* its own refusals are not JSON: http.c checks what this would */
        MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes, NULL,
        MHD_OPTION_URI_LOG_CALLBACK, rf_serve_on_uri, s,
        MHD_OPTION_NOTIFY_COMPLETED, rf_serve_on_completed, s,
        MHD_OPTION_NOTIFY_CONNECTION, rf_serve_on_connection, s,
        MHD_OPTION_END);
    if (!s->mhd) return rf_fail(err, RF_IO, "server: the HTTP library did not start: %s", strerror(errno));
    s->listen_fd = -1; /* the library closes it */
    return RF_OK;
}

static rf_status start(struct rf_serve *s, const struct rf_serve_options *opt, struct rf_error *err)
{
    RF_TRY(copy_options(s, opt, err));
    RF_TRY(rf_mhd_load(&s->http, err));
    if (getrandom(s->secret, sizeof s->secret, 0) != sizeof s->secret)
        return rf_fail(err, RF_IO, "server: no random bytes: %s", strerror(errno));
    s->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->stop_fd < 0) return rf_fail(err, RF_IO, "server: no event descriptor: %s", strerror(errno));
    RF_TRY(open_socket(s, err));
    RF_TRY(rf_serve_work_start(s, err));
    RF_TRY(rf_serve_pool_start(s, err));
    RF_TRY(rf_serve_watch_start(s, err));
    return start_http(s, err);
}

rf_status rf_serve_create(struct rf_serve **out, const struct rf_serve_options *opt, struct rf_error *err)
{
    struct rf_serve *s = rf_alloc_array(1, sizeof *s);
    *out = NULL;
    if (!s) return rf_fail_nomem(err, "server", sizeof *s);
    s->listen_fd = s->stop_fd = s->watch.epoll_fd = s->watch.wake_fd = -1;
    s->created = rf_unix_time();
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->idle, NULL);
    pthread_mutex_init(&s->pool.lock, NULL);
    pthread_cond_init(&s->pool.changed, NULL);
    rf_status st = start(s, opt, err);
    if (st) rf_serve_free(s);
    else *out = s;
    return st;
}

uint16_t rf_serve_port(const struct rf_serve *s) { return s->port; }
const char *rf_serve_url(const struct rf_serve *s) { return s->url; }

rf_status rf_serve_attach(struct rf_serve *s, struct rf_model *m, struct rf_engine *e, struct rf_error *err)
{
    struct rf_served *on;
    if (s->opt.pool || s->pool.current) return rf_fail(err, RF_INVALID, "server: it has a model, or a pool, already");
    RF_TRY(rf_served_create(&on, s->opt.model_id, m, e, err));
    pthread_mutex_lock(&s->pool.lock);
    s->pool.current = on;
    pthread_mutex_unlock(&s->pool.lock);
    return RF_OK;
}

/* ---- end --------------------------------------------------------------------------------------------------------- */

void rf_serve_stop(struct rf_serve *s)
{
    uint64_t one = 1;
    int e = errno;
    if (write(s->stop_fd, &one, sizeof one) < 0) errno = e;
    errno = e;
}

static uint64_t stops(struct rf_serve *s, int timeout_ms)
{
    struct pollfd p = {.fd = s->stop_fd, .events = POLLIN};
    uint64_t n = 0;
    if (poll(&p, 1, timeout_ms) <= 0) return 0;
    return read(s->stop_fd, &n, sizeof n) == sizeof n ? n : 0;
}

/* Requests whose body is still coming in are not waited for. */
static bool busy(struct rf_serve *s)
{
    bool found = false;
    pthread_mutex_lock(&s->lock);
    for (struct rf_call *c = s->calls; c && !found; c = c->next) {
        pthread_mutex_lock(&c->lock);
        found = c->phase != RF_PHASE_READ;
        pthread_mutex_unlock(&c->lock);
    }
    pthread_mutex_unlock(&s->lock);
    return found;
}

/* Aborts what runs. References first: the engine is not called with a lock held. */
static void abort_calls(struct rf_serve *s)
{
    size_t n = 0, i = 0;
    pthread_mutex_lock(&s->lock);
    for (struct rf_call *c = s->calls; c; c = c->next) n++;
    struct rf_call **list = rf_alloc_array(n, sizeof *list);
    for (struct rf_call *c = s->calls; c && list; c = c->next) {
        rf_serve_call_ref(c);
        list[i++] = c;
    }
    pthread_mutex_unlock(&s->lock);
    for (size_t k = 0; k < i; k++) {
        pthread_mutex_lock(&list[k]->lock);
        bool live = list[k]->submitted && list[k]->n_live;
        pthread_mutex_unlock(&list[k]->lock);
        if (live) rf_serve_gen_abort(list[k]);
        rf_serve_call_unref(list[k]);
    }
    rf_free(list);
}

static void wake_calls(struct rf_serve *s)
{
    pthread_mutex_lock(&s->lock);
    for (struct rf_call *c = s->calls; c; c = c->next) {
        pthread_mutex_lock(&c->lock);
        rf_serve_call_resume_locked(c);
        pthread_mutex_unlock(&c->lock);
    }
    pthread_mutex_unlock(&s->lock);
}

static void wait_idle(struct rf_serve *s, double seconds, bool until_stop)
{
    double end = rf_now() + seconds;
    while (busy(s) && rf_now() < end) {
        if (!until_stop) poll(NULL, 0, 10);
        else if (stops(s, 10)) return;
    }
}

rf_status rf_serve_run(struct rf_serve *s, double drain_timeout_s)
{
    uint64_t n = 0;
    while (!n) n = stops(s, -1);
    atomic_store(&s->draining, true);
    if (n == 1 && !atomic_load(&s->failed)) wait_idle(s, drain_timeout_s, true);
    atomic_store(&s->aborting, true);
    rf_serve_pool_refuse(s);
    abort_calls(s);
    wait_idle(s, LAST_WORDS_S, false);
    return atomic_load(&s->failed) ? RF_DEVICE : RF_OK;
}

/* From here on no connection sleeps: libmicrohttpd cannot stop while one does. */
static void stop_http(struct rf_serve *s)
{
    if (!s->mhd) return;
    atomic_store(&s->draining, true);
    atomic_store(&s->aborting, true);
    atomic_store(&s->closing, true);
    wake_calls(s);
    s->http.stop_daemon(s->mhd); /* completes every call: what still runs in the engine is aborted */
    s->mhd = NULL;
}

void rf_serve_free(struct rf_serve *s)
{
    if (!s) return;
    stop_http(s);
    rf_serve_watch_stop(s);
    rf_serve_pool_stop(s);
    rf_serve_work_stop(s);
    pthread_mutex_lock(&s->lock);
    while (s->n_calls_alive) pthread_cond_wait(&s->idle, &s->lock); /* last events of aborted sequences */
    pthread_mutex_unlock(&s->lock);
    rf_serve_pool_release(s);
    if (s->listen_fd >= 0) close(s->listen_fd);
    if (s->stop_fd >= 0) close(s->stop_fd);
    pthread_cond_destroy(&s->pool.changed);
    pthread_mutex_destroy(&s->pool.lock);
    pthread_cond_destroy(&s->idle);
    pthread_mutex_destroy(&s->lock);
    rf_free(s->conns);
    rf_arena_release(&s->arena);
    rf_free(s);
}
