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

/* Messages carry names out of hostile files, and may have been cut inside a character. */
static void fill(struct rf_error *err, rf_status s, const char *param, const char *fmt, va_list ap)
{
    if (!err) return;
    err->status = s;
    snprintf(err->param, sizeof err->param, "%s", param);
    vsnprintf(err->message, sizeof err->message, fmt, ap);
    rf_utf8_printable(err->param, sizeof err->param, err->param);
    rf_utf8_printable(err->message, sizeof err->message, err->message);
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
