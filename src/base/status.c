#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

struct row { const char *name; int http; };

static const struct row rows[] = {
#define X(id, text, http) [id] = {text, http},
    RF_STATUS_LIST(X)
#undef X
};

static const struct row *row_of(rf_status s)
{
    return (size_t)s < sizeof rows / sizeof *rows ? &rows[s] : &rows[RF_INTERNAL];
}

const char *rf_version(void) { return RF_VERSION; }
const char *rf_status_name(rf_status s) { return row_of(s)->name; }
int rf_status_http(rf_status s) { return row_of(s)->http; }

/* Messages carry names out of hostile files, and may have been cut inside a character: control characters (C1 too, which
 * terminals obey) and bytes that are no UTF-8 become '?', so that a line stays one line and any reader takes it. */
static void clean(char *s)
{
    size_t n = strlen(s), to = 0, k;
    for (size_t at = 0; at < n; at += k) {
        uint32_t cp;
        k = rf_utf8_decode(s + at, n - at, &cp);
        bool fine = k && cp >= 0x20 && (cp < 0x7f || cp > 0x9f);
        k = k ? k : rf_utf8_bad(s + at, n - at);
        if (fine) memmove(s + to, s + at, k);
        else s[to] = '?';
        to += fine ? k : 1;
    }
    s[to] = 0;
}

static void fill(struct rf_error *err, rf_status s, const char *param, const char *fmt, va_list ap)
{
    if (!err) return;
    err->status = s;
    snprintf(err->param, sizeof err->param, "%s", param);
    vsnprintf(err->message, sizeof err->message, fmt, ap);
    clean(err->param);
    clean(err->message);
}

rf_status rf_fail(struct rf_error *err, rf_status s, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fill(err, s, "", fmt, ap);
    va_end(ap);
    return s;
}

rf_status rf_fail_param(struct rf_error *err, rf_status s, const char *param, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fill(err, s, param, fmt, ap);
    va_end(ap);
    return s;
}

rf_status rf_fail_nomem(struct rf_error *err, const char *what, size_t bytes)
{
    return rf_fail(err, RF_NOMEM, "%s: %zu bytes of memory could not be had", what, bytes);
}
