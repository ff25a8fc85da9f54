#include "remote/http.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/library.h"
#include "base/mem.h"

/* The part of libcurl's ABI that is used; its numbers are fixed for good (curl.h, multi.h). */
enum {
    OPT_WRITEDATA = 10001, OPT_URL = 10002, OPT_ERRORBUFFER = 10010, OPT_POSTFIELDS = 10015, OPT_USERAGENT = 10018, OPT_HTTPHEADER = 10023,
    OPT_NOPROXY = 10177, OPT_WRITEFUNCTION = 20011, OPT_POSTFIELDSIZE_LARGE = 30120, OPT_NOSIGNAL = 99, OPT_CONNECTTIMEOUT_MS = 156,
    OPT_PROTOCOLS = 181, OPT_TCP_KEEPALIVE = 213,
    INFO_CONTENT_TYPE = 0x100000 + 18, INFO_REDIRECT_URL = 0x100000 + 31, INFO_RESPONSE_CODE = 0x200000 + 2, INFO_RETRY_AFTER = 0x600000 + 57,
    PROTOCOL_HTTP = 1, PROTOCOL_HTTPS = 2, GLOBAL_DEFAULT = 3, MESSAGE_DONE = 1, ERROR_SIZE = 256,
    E_RESOLVE = 6, E_CONNECT = 7, E_CERTIFICATE = 60, E_CA_FILE = 77,
};
struct curl_message { int kind; void *easy; union { void *any; int code; } data; };

/* The calls, in the order of their table; the calls of libcurl that take more than one kind of value are variadic there too. */
#define CALLS(X)                                                                                                                        \
    X(int, global_init, (long flags)) X(void, global_cleanup, (void)) X(void *, easy_init, (void))                                      \
    X(int, easy_setopt, (void *easy, int option, ...)) X(int, easy_getinfo, (void *easy, int info, ...))                                \
    X(void, easy_cleanup, (void *easy)) X(const char *, easy_strerror, (int code)) X(void *, slist_append, (void *list, const char *s)) \
    X(void, slist_free_all, (void *list)) X(void *, multi_init, (void)) X(int, multi_add_handle, (void *multi, void *easy))             \
    X(int, multi_remove_handle, (void *multi, void *easy)) X(int, multi_perform, (void *multi, int *n_running))                         \
    X(int, multi_poll, (void *multi, void *fds, unsigned n_fds, int timeout_ms, int *n_ready))                                          \
    X(struct curl_message *, multi_info_read, (void *multi, int *n_left)) X(int, multi_cleanup, (void *multi))
#define POINTER(type, name, args) type (*name) args;
#define SYMBOL(type, name, args) "curl_" #name,
struct curl { CALLS(POINTER) };

struct rf_http { void *multi; struct curl curl; };

enum { POLL_MS = 100, CONNECT_MS = 10000 };

/* ---- the library ---- */

static rf_status load(struct rf_http *h, struct rf_error *err)
{
    static const char *const names[] = {"libcurl.so.4", "libcurl-gnutls.so.4", NULL}, *const symbols[] = {CALLS(SYMBOL)};
    const char *why = "";
    void *library = rf_library_open(names, &why);
    if (!library)
        return rf_fail(err, RF_UNSUPPORTED, "libcurl, which talks to other servers, does not load (%.200s): install it: apt install libcurl4 (Debian, "
                       "Ubuntu), dnf install libcurl (Fedora), pacman -S curl (Arch)", why);
    const char *missing = rf_library_fill(library, symbols, RF_COUNT(symbols), &h->curl);
    if (missing) return rf_fail(err, RF_UNSUPPORTED, "libcurl lacks %s: it is too old, 7.66 or newer is needed", missing);
    if (h->curl.global_init(GLOBAL_DEFAULT)) return rf_fail(err, RF_IO, "libcurl cannot be started");
    h->multi = h->curl.multi_init();
    if (h->multi) return RF_OK;
    h->curl.global_cleanup();
    return rf_fail_nomem(err, "libcurl", 0);
}

rf_status rf_http_open(struct rf_http **out, struct rf_error *err)
{
    struct rf_http *h = rf_alloc_array(1, sizeof *h);
    *out = NULL;
    if (!h) return rf_fail_nomem(err, "HTTP client", sizeof *h);
    rf_status st = load(h, err);
    if (st) {
        rf_http_close(h);
        return st;
    }
    *out = h;
    return RF_OK;
}

void rf_http_close(struct rf_http *h)
{
    if (!h) return;
    if (h->multi) {
        h->curl.multi_cleanup(h->multi);
        h->curl.global_cleanup();
    }
    rf_free(h);
}

/* ---- one request ---- */

struct transfer {
    struct rf_http *h;
    const struct rf_http_request *q;
    struct rf_http_reply *r;
    struct rf_error *err;
    void *easy;
    bool known;        /* *r is filled */
    rf_status refused; /* by q->data */
};

static void read_head(struct transfer *t)
{
    const struct curl *c = &t->h->curl;
    const char *type = NULL, *to = NULL;
    int64_t wait = 0;
    size_t n = 0;
    if (t->known) return;
    t->known = true;
    c->easy_getinfo(t->easy, INFO_RESPONSE_CODE, &t->r->status);
    c->easy_getinfo(t->easy, INFO_CONTENT_TYPE, &type);
    c->easy_getinfo(t->easy, INFO_REDIRECT_URL, &to);
    c->easy_getinfo(t->easy, INFO_RETRY_AFTER, &wait);
    for (; type && type[n] && type[n] != ';' && type[n] != ' ' && n + 1 < sizeof t->r->type; n++) t->r->type[n] = (char)tolower((unsigned char)type[n]);
    snprintf(t->r->location, sizeof t->r->location, "%s", to ? to : "");
    t->r->retry_after_s = (long)RF_MIN(RF_MAX(wait, 0), 1000000);
}

/* libcurl's write callback: another number than it was given ends the transfer. */
static size_t on_data(char *p, size_t size, size_t count, void *ctx)
{
    struct transfer *t = ctx;
    size_t n = size * count;
    read_head(t);
    t->refused = t->q->data(t->q->ctx, t->r, p, n, t->err);
    return t->refused ? n + 1 : n;
}

/* curl takes http_proxy even for servers on this machine. */
static bool is_loopback(const char *url)
{
    static const char *const names[] = {"localhost", "127.", "[::1]"};
    const char *host = strstr(url, "://");
    for (size_t i = 0; host && i < RF_COUNT(names); i++)
        if (!strncmp(host + 3, names[i], strlen(names[i]))) return true;
    return false;
}

static bool set_up(struct transfer *t, void **headers, char *problem)
{
    const struct curl *c = &t->h->curl;
    const struct rf_http_request *q = t->q;
    char line[1200];
    const char *const lines[] = {"Content-Type: application/json", "Accept: text/event-stream, application/json", "Expect:"};
    for (size_t i = q->body ? 0 : 1; i < RF_COUNT(lines); i++) {
        void *more = c->slist_append(*headers, lines[i]);
        if (!more) return false;
        *headers = more;
    }
    if (q->key) {
        snprintf(line, sizeof line, "Authorization: Bearer %s", q->key);
        void *more = c->slist_append(*headers, line);
        if (!more) return false;
        *headers = more;
    }
    bool bad = c->easy_setopt(t->easy, OPT_URL, q->url);
    bad |= c->easy_setopt(t->easy, OPT_PROTOCOLS, (long)(PROTOCOL_HTTP | PROTOCOL_HTTPS));
    bad |= c->easy_setopt(t->easy, OPT_NOSIGNAL, 1L);
    bad |= c->easy_setopt(t->easy, OPT_TCP_KEEPALIVE, 1L);
    bad |= c->easy_setopt(t->easy, OPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
    bad |= c->easy_setopt(t->easy, OPT_USERAGENT, "rocmforge/" RF_VERSION);
    bad |= c->easy_setopt(t->easy, OPT_ERRORBUFFER, problem);
    bad |= c->easy_setopt(t->easy, OPT_HTTPHEADER, *headers);
    bad |= c->easy_setopt(t->easy, OPT_WRITEFUNCTION, on_data);
    bad |= c->easy_setopt(t->easy, OPT_WRITEDATA, t);
    if (q->body) {
        bad |= c->easy_setopt(t->easy, OPT_POSTFIELDSIZE_LARGE, (int64_t)q->body_len);
        bad |= c->easy_setopt(t->easy, OPT_POSTFIELDS, q->body);
    }
    if (is_loopback(q->url)) bad |= c->easy_setopt(t->easy, OPT_NOPROXY, "*");
    return !bad;
}

static rf_status tell(const struct transfer *t, int code, const char *problem)
{
    static const struct { int code; const char *remedy; } rows[] = {
        {E_RESOLVE, "; is the name right?"},
        {E_CONNECT, "; is the server running there? One of ours starts with: rocmforge serve"},
        {E_CERTIFICATE, "; its certificate is not one that this system trusts: add its authority to the system's store"},
        {E_CA_FILE, "; install the system's list of certificate authorities (ca-certificates)"},
    };
    const char *remedy = "";
    for (size_t i = 0; i < RF_COUNT(rows); i++)
        if (rows[i].code == code) remedy = rows[i].remedy;
    return rf_fail(t->err, RF_IO, "%.150s: %.180s%s", t->q->url, *problem ? problem : t->h->curl.easy_strerror(code), remedy);
}

static rf_status perform(struct transfer *t, const char *problem)
{
    const struct curl *c = &t->h->curl;
    double until = t->q->timeout_s > 0 ? rf_now() + t->q->timeout_s : 0;
    for (int running = 1, ready, left;;) {
        if (c->multi_perform(t->h->multi, &running)) return rf_fail(t->err, RF_IO, "%.200s: libcurl gave up", t->q->url);
        if (t->refused) return t->refused;
        if (t->q->enough && *t->q->enough) return RF_OK;
        if (t->q->stopped && t->q->stopped(t->q->ctx)) return RF_CANCELLED;
        if (until > 0 && rf_now() > until) return rf_fail(t->err, RF_IO, "%.200s: no whole answer in %.0f s", t->q->url, t->q->timeout_s);
        for (struct curl_message *m; (m = c->multi_info_read(t->h->multi, &left));)
            if (m->kind == MESSAGE_DONE) return m->data.code ? tell(t, m->data.code, problem) : RF_OK;
        if (!running) return rf_fail(t->err, RF_IO, "%.200s: the connection ended", t->q->url);
        c->multi_poll(t->h->multi, NULL, 0, POLL_MS, &ready);
    }
}

rf_status rf_http_send(struct rf_http *h, const struct rf_http_request *q, struct rf_http_reply *r, struct rf_error *err)
{
    char problem[ERROR_SIZE] = "";
    void *headers = NULL;
    struct transfer t = {.h = h, .q = q, .r = r, .err = err, .easy = h->curl.easy_init()};
    *r = (struct rf_http_reply){0};
    rf_status st = RF_OK;
    if (!t.easy || !set_up(&t, &headers, problem)) st = rf_fail(err, RF_IO, "%.200s: libcurl cannot take this request", q->url);
    else if (h->curl.multi_add_handle(h->multi, t.easy)) st = rf_fail_nomem(err, "libcurl", 0);
    if (!st) {
        st = perform(&t, problem);
        read_head(&t);
        h->curl.multi_remove_handle(h->multi, t.easy);
    }
    if (t.easy) h->curl.easy_cleanup(t.easy);
    h->curl.slist_free_all(headers);
    return st;
}
