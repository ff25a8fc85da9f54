/* web.c - the page at / and its files: found, compressed where the client takes gzip, not sent twice. */
#include <string.h>
#include <strings.h>

#include "serve/internal.h"
#include "serve/web.h"

/* trusted-types: nothing may become HTML from a string, whatever a model writes. */
#define POLICY                                                                                                        \
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "  \
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

static const struct { const char *name, *value; } headers[] = {
    {"Content-Security-Policy", POLICY},
    {"X-Frame-Options", "DENY"},
    {"Referrer-Policy", "no-referrer"},
    {"Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()"},
    {"Cross-Origin-Opener-Policy", "same-origin"},
    {"Cross-Origin-Resource-Policy", "same-origin"},
    {"Cache-Control", "no-cache"}, /* kept, but asked about each time: a new binary has a new page */
    {"Vary", "Accept-Encoding"},
};

/* Steps through a comma-separated header: *at moves on, the item is [*item, *item + n). */
static size_t next_item(const char **at, const char **item)
{
    *at += strspn(*at, ", \t");
    *item = *at;
    size_t n = strcspn(*at, ",");
    *at += n;
    while (n && ((*item)[n - 1] == ' ' || (*item)[n - 1] == '\t')) n--;
    return n;
}

static bool weight_is_zero(const char *params, size_t n) /* what follows the coding's name: ";q=0", ";q=0.000" */
{
    while (n && strchr("; \t", *params)) params++, n--;
    if (n < 3 || strncasecmp(params, "q=0", 3)) return false;
    for (size_t i = 3; i < n; i++)
        if (!strchr(".0 \t", params[i])) return false;
    return true;
}

static bool takes_gzip(const char *accept)
{
    const char *item;
    for (size_t n; accept && (n = next_item(&accept, &item)) > 0;) {
        size_t k = 0;
        while (k < n && !strchr("; \t", item[k])) k++;
        if (k == 4 && !strncasecmp(item, "gzip", 4)) return !weight_is_zero(item + k, n - k);
    }
    return false;
}

static bool has_tag(const char *sent, const char *tag) /* If-None-Match, compared weakly */
{
    const char *item;
    for (size_t n; sent && (n = next_item(&sent, &item)) > 0;) {
        if (n == 1 && *item == '*') return true;
        if (n > 2 && !strncmp(item, "W/", 2)) item += 2, n -= 2;
        if (n == strlen(tag) && !strncmp(item, tag, n)) return true;
    }
    return false;
}

struct MHD_Response *rf_serve_web_response(struct rf_call *c)
{
    const struct rf_web_file *f = c->reply.file;
    bool packed = takes_gzip(rf_serve_http_header(c, "Accept-Encoding"));
    char tag[96];
    snprintf(tag, sizeof tag, "\"%s%s\"", f->tag, packed ? "-gz" : "");
    bool same = has_tag(rf_serve_http_header(c, "If-None-Match"), tag);
    const void *body = packed ? f->packed : f->plain;
    size_t n = packed ? f->n_packed : f->n_plain;
    struct MHD_Response *r = c->serve->http.create_response_from_buffer(same ? 0 : n, (void *)body, MHD_RESPMEM_PERSISTENT);
    if (!r) return NULL;
    c->reply.status = same ? 304 : 200;
    rf_serve_call_header(c, r, "ETag", tag);
    if (!same) rf_serve_call_header(c, r, "Content-Type", f->type);
    if (!same && packed) rf_serve_call_header(c, r, "Content-Encoding", "gzip");
    for (size_t i = 0; i < RF_COUNT(headers); i++) rf_serve_call_header(c, r, headers[i].name, headers[i].value);
    return r;
}

static void answer(struct rf_call *c, const char *name)
{
    for (const struct rf_web_file *f = rf_web_files; f->name; f++) {
        if (strcmp(f->name, name)) continue;
        c->reply.file = f;
        c->reply.status = 200;
        return;
    }
    rf_serve_reply_error(&c->reply, 404, NULL, "not_found", "There is nothing at %.200s", c->target);
}

void rf_serve_page_run(struct rf_call *c) { answer(c, "index.html"); }
void rf_serve_web_run(struct rf_call *c) { answer(c, c->rest); }
