/* http.c - what is checked about a request before its body is looked at: framing, Host, key, origin, type, size. */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#include "serve/internal.h"

/* A body this many times too large is still read to its end, so that the client sees the answer. */
#define DRAIN_FACTOR 8

const char *rf_serve_http_header(struct rf_call *c, const char *name)
{
    return c->serve->http.lookup_connection_value(c->mhd, MHD_HEADER_KIND, name);
}

static bool is_token(const char *s)
{
    if (!*s) return false;
    for (; *s; s++)
        if (*s <= ' ' || *s == 0x7f || (unsigned char)*s >= 0x80 || strchr("()<>@,;:\\\"/[]?={}", *s)) return false;
    return true;
}

struct scan { unsigned n_length, n_coding, n_host, n_type; bool bad_name; };

static enum MHD_Result scan_header(void *cls, enum MHD_ValueKind kind, const char *key, const char *value)
{
    struct scan *s = cls;
    (void)kind;
    (void)value;
    s->bad_name |= !is_token(key);
    s->n_length += !strcasecmp(key, "Content-Length");
    s->n_coding += !strcasecmp(key, "Transfer-Encoding");
    s->n_host += !strcasecmp(key, "Host");
    s->n_type += !strcasecmp(key, "Content-Type");
    return MHD_YES;
}

/* Answers at once and closes: what follows on this connection cannot be trusted to be where it seems. */
static bool refuse_now(struct rf_call *c, unsigned status, const char *code, const char *message)
{
    rf_serve_reply_error(&c->reply, status, NULL, code, "%s", message);
    c->reply.close = true;
    c->early = true;
    return false;
}

static bool is_http_1_1(struct rf_call *c)
{
    return strcmp(c->version, "HTTP/1.0") > 0;
}

bool rf_serve_http_framing(struct rf_call *c)
{
    struct scan s = {0};
    c->serve->http.get_connection_values(c->mhd, MHD_HEADER_KIND, scan_header, &s);
    const char *length = rf_serve_http_header(c, "Content-Length"),
               *coding = rf_serve_http_header(c, "Transfer-Encoding");
    if (s.bad_name) return refuse_now(c, 400, "bad_request", "A header's name is not a token");
    if (!s.n_host && is_http_1_1(c)) return refuse_now(c, 400, "bad_request", "HTTP/1.1 requests need a Host header");
    if (s.n_host > 1) return refuse_now(c, 400, "bad_request", "More than one Host header");
    if (s.n_type > 1) return refuse_now(c, 400, "bad_request", "More than one Content-Type header");
    if (s.n_length > 1) return refuse_now(c, 400, "bad_request", "More than one Content-Length header");
    if (s.n_length && s.n_coding) return refuse_now(c, 400, "bad_request", "Both Content-Length and Transfer-Encoding");
    if (s.n_coding > 1 || (coding && strcasecmp(coding, "chunked")))
        return refuse_now(c, 400, "bad_request", "Transfer-Encoding: only \"chunked\" is understood");
    if (length && (!*length || strspn(length, "0123456789") != strlen(length)))
        return refuse_now(c, 400, "bad_request", "Content-Length is not a number");
    return true;
}

/* ---- Host and origin --------------------------------------------------------------------------------------------- */

static bool host_name(const char *host, char *out, size_t cap) /* without port, brackets and final dot, lower case */
{
    size_t n;
    if (*host == '[') {
        const char *end = strchr(++host, ']');
        if (!end) return false;
        n = (size_t)(end - host);
    } else {
        n = strcspn(host, ":");
    }
    if (n && host[n - 1] == '.') n--;
    if (!n || n >= cap) return false;
    for (size_t i = 0; i < n; i++) out[i] = (char)(host[i] >= 'A' && host[i] <= 'Z' ? host[i] + 32 : host[i]);
    out[n] = 0;
    return true;
}

bool rf_serve_host_is_loopback(const char *host)
{
    char name[256];
    struct in_addr v4;
    struct in6_addr v6;
    if (inet_pton(AF_INET6, host, &v6) == 1) return IN6_IS_ADDR_LOOPBACK(&v6); /* an address without brackets */
    if (!host_name(host, name, sizeof name)) return false;
    size_t n = strlen(name);
    if (!strcmp(name, "localhost") || (n > 10 && !strcmp(name + n - 10, ".localhost"))) return true;
    if (inet_pton(AF_INET, name, &v4) == 1) return ntohl(v4.s_addr) >> 24 == 127;
    return inet_pton(AF_INET6, name, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

/* A page from elsewhere may have its name point at 127.0.0.1 (DNS rebinding); its Host header then gives it away. */
static bool check_host(struct rf_call *c)
{
    const struct rf_serve *s = c->serve;
    const char *host = c->authority ? c->authority : rf_serve_http_header(c, "Host");
    char name[256], mine[256];
    if (!s->loopback || !host || rf_serve_host_is_loopback(host)) return true;
    if (host_name(host, name, sizeof name)) {
        if (host_name(s->opt.host, mine, sizeof mine) && !strcmp(name, mine)) return true;
        for (size_t i = 0; i < s->opt.n_allowed_hosts; i++)
            if (host_name(s->opt.allowed_hosts[i], mine, sizeof mine) && !strcmp(name, mine)) return true;
    }
    rf_serve_reply_error(&c->reply, 403, NULL, "host_not_allowed",
                         "This server listens on a loopback address and does not answer for that Host");
    return false;
}

static void find_origin(struct rf_call *c)
{
    const struct rf_serve *s = c->serve;
    const char *origin = s->opt.n_cors_origins ? rf_serve_http_header(c, "Origin") : NULL;
    for (size_t i = 0; origin && i < s->opt.n_cors_origins; i++)
        if (!strcmp(s->opt.cors_origins[i], "*") || !strcmp(s->opt.cors_origins[i], origin))
            c->origin = s->opt.cors_origins[i];
}

/* ---- keys -------------------------------------------------------------------------------------------------------- */

static const char *sent_key(struct rf_call *c)
{
    const char *a = rf_serve_http_header(c, "Authorization");
    if (a && !strncasecmp(a, "Bearer ", 7)) {
        a += 7;
        return a + strspn(a, " ");
    }
    return rf_serve_http_header(c, "x-api-key");
}

/* Every key is compared to its end, so that time tells nothing. */
static bool check_key(struct rf_call *c)
{
    const struct rf_serve *s = c->serve;
    unsigned open = RF_ROUTE_OPEN | (s->opt.open_metrics ? (unsigned)RF_ROUTE_METRICS : 0u);
    if (!s->opt.n_api_keys || (c->route && (c->route->flags & open))) return true;
    const char *key = sent_key(c);
    uint8_t d[RF_SERVE_DIGEST], mix[2 * RF_SERVE_DIGEST];
    unsigned hit = 0;
    rf_serve_sha256(key ? key : "", key ? strlen(key) : 0, d);
    for (size_t i = 0; i < s->opt.n_api_keys; i++) {
        unsigned diff = 0;
        for (size_t k = 0; k < sizeof d; k++) diff |= d[k] ^ s->keys[i][k];
        hit |= diff == 0;
    }
    if (key && hit) {
        memcpy(mix, s->secret, RF_SERVE_DIGEST);
        memcpy(mix + RF_SERVE_DIGEST, d, RF_SERVE_DIGEST);
        rf_serve_sha256(mix, sizeof mix, d);
        if (s->opt.isolate_keys) memcpy(&c->key_salt, d, sizeof c->key_salt);
        return true;
    }
    rf_serve_reply_error(&c->reply, 401, NULL, "invalid_api_key", "Incorrect API key provided%s",
                         key ? "." : ": none was sent. Send it as Authorization: Bearer, or as x-api-key.");
    return false;
}

/* ---- route, type, size ------------------------------------------------------------------------------------------- */

static bool check_route(struct rf_call *c)
{
    if (c->method == RF_OPTIONS && (c->route || !strcmp(c->target, "*"))) {
        c->reply.status = 204;
        c->reply.allow = c->route ? c->route->allow : "GET, HEAD, POST, OPTIONS";
        return false;
    }
    if (!check_key(c)) return false;
    if (!c->route) {
        rf_serve_reply_error(&c->reply, 404, NULL, "not_found", "There is nothing at %.200s", c->target);
        return false;
    }
    if (!(c->route->methods & c->method)) {
        rf_serve_reply_error(&c->reply, 405, NULL, "method_not_allowed", "This route takes %s", c->route->allow);
        c->reply.allow = c->route->allow;
        return false;
    }
    return true;
}

static bool check_type(struct rf_call *c)
{
    const char *type = rf_serve_http_header(c, "Content-Type"), *coding = rf_serve_http_header(c, "Content-Encoding");
    if (!(c->route->flags & RF_ROUTE_WORK)) return true;
    if (coding && strcasecmp(coding, "identity")) {
        rf_serve_reply_error(&c->reply, 415, NULL, "unsupported_encoding",
                             "Content-Encoding: only identity is accepted");
        return false;
    }
    if (!type) return true;
    size_t n = strcspn(type, "; \t");
    if (n == 16 && !strncasecmp(type, "application/json", n)) return true;
    if (n > 17 && !strncasecmp(type, "application/", 12) && !strncasecmp(type + n - 5, "+json", 5)) return true;
    rf_serve_reply_error(&c->reply, 415, NULL, "unsupported_media_type", "Content-Type: found %.100s, expected application/json (curl: -H 'Content-Type: application/json')", type);
    return false;
}

/* A page of another site can send a body without a type and never read the answer, but it would make us compute. Browsers
 * say where a request comes from (W3C Fetch Metadata); other programs do not, and pass. */
static bool check_site(struct rf_call *c)
{
    const char *site = rf_serve_http_header(c, "Sec-Fetch-Site");
    if (!(c->route->flags & RF_ROUTE_WORK) || !site || c->origin || strcmp(site, "cross-site")) return true;
    rf_serve_reply_error(&c->reply, 403, NULL, "forbidden_origin",
                         "Requests from pages of other sites are refused; --cors-origin allows a site");
    return false;
}

static bool check_size(struct rf_call *c)
{
    const char *length = rf_serve_http_header(c, "Content-Length");
    uint64_t max = c->serve->opt.max_body, n = length ? strtoull(length, NULL, 10) : 0;
    if (n <= max) return true;
    rf_serve_reply_error(&c->reply, 413, NULL, "request_too_large",
                         "The request body has %llu bytes, at most %llu are accepted", (unsigned long long)n,
                         (unsigned long long)max);
    c->early = c->reply.close = n / DRAIN_FACTOR > max;
    return false;
}

bool rf_serve_http_check(struct rf_call *c)
{
    bool ok = check_host(c);
    if (ok) {
        find_origin(c);
        ok = check_route(c) && check_site(c) && check_type(c) && check_size(c);
    }
    if (!ok && rf_serve_http_header(c, "Expect")) c->early = c->reply.close = true; /* spare the client its body */
    return ok;
}

/* ---- paths and ids ----------------------------------------------------------------------------------------------- */

static int hex(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    c |= 32;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool rf_serve_http_decode(char *path)
{
    char *out = path;
    for (char *p = path; *p; p++) {
        if (*p != '%') {
            *out++ = *p;
            continue;
        }
        int hi = hex(p[1]), lo = hi < 0 ? -1 : hex(p[2]);
        if (lo < 0 || !(hi | lo)) return false;
        *out++ = (char)(hi << 4 | lo);
        p += 2;
    }
    *out = 0;
    return true;
}

void rf_serve_http_id(struct rf_call *c)
{
    const char *sent = rf_serve_http_header(c, "x-request-id");
    size_t n = sent ? strlen(sent) : 0;
    static const char fine[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:";
    if (n && n <= RF_SERVE_ID_MAX && strspn(sent, fine) == n) {
        memcpy(c->id, sent, n + 1);
        return;
    }
    uint64_t r[2] = {0};
    if (getrandom(r, sizeof r, 0) < 0) r[0] = atomic_fetch_add(&c->serve->id_counter, 1);
    snprintf(c->id, sizeof c->id, "req_%016llx%016llx", (unsigned long long)r[0], (unsigned long long)r[1]);
}
