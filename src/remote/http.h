/* http.h - HTTP and HTTPS requests through the system's libcurl, which is loaded when the first server is opened: no other command
 * waits for it or needs it installed.
 *
 * Redirects are not followed (a key would go along), compressed answers are not asked for, and only http and https are spoken. Proxies
 * come from the environment, as curl's own; never for this machine itself. Thread: the caller's, one request at a time.
 */
#ifndef RF_REMOTE_HTTP_H
#define RF_REMOTE_HTTP_H

#include <stdbool.h>

#include "base/status.h"

struct rf_http;

struct rf_http_reply {
    long status;          /* 200, ... */
    char type[128];       /* Content-Type in small letters, without parameters; "" if none */
    char location[256];   /* where a redirect leads, "" if nowhere */
    long retry_after_s;   /* 0: it did not say */
};

struct rf_http_request {
    const char *url, *key;                /* key: sent as "Authorization: Bearer", may be NULL */
    const char *body; size_t body_len;    /* JSON to POST; NULL: GET */
    double timeout_s;                     /* for all of it; 0: none, beyond 10 s to connect */
    /* A piece of the answer's body, with status and type known; anything but RF_OK ends the request with it. */
    rf_status (*data)(void *ctx, const struct rf_http_reply *r, const char *p, size_t n, struct rf_error *err);
    bool (*stopped)(void *ctx);           /* asked at least ten times a second: RF_CANCELLED; may be NULL */
    const bool *enough;                   /* set by data: the rest is not waited for, and all is well; may be NULL */
    void *ctx;
};

/* RF_UNSUPPORTED where there is no libcurl, with the package's name. */
rf_status rf_http_open(struct rf_http **out, struct rf_error *err);
void rf_http_close(struct rf_http *h); /* NULL is fine */

/* RF_OK whatever the status; RF_IO where the connection failed or ended early. url is checked by the caller: no blanks, no controls. */
rf_status rf_http_send(struct rf_http *h, const struct rf_http_request *q, struct rf_http_reply *r, struct rf_error *err);

#endif
