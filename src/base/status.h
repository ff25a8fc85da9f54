/* status.h - errors: one struct, filled once by the innermost function, never rewritten above.
 *
 * A message says what, where, found, expected, in one line. rf_fail returns its status so that callers can write
 * `return rf_fail(err, RF_CORRUPT, "...")`. err may be NULL everywhere.
 */
#ifndef RF_BASE_STATUS_H
#define RF_BASE_STATUS_H

#include "rocmforge.h"

/* One row per status: name, short text, HTTP status that `serve` answers with. */
#define RF_STATUS_LIST(X)                                 \
    X(RF_OK, "ok", 200)                                   \
    X(RF_FULL, "full", 503)                               \
    X(RF_AGAIN, "nothing yet", 503)                       \
    X(RF_CANCELLED, "cancelled", 499)                     \
    X(RF_INVALID, "invalid argument", 400)                \
    X(RF_NOT_FOUND, "not found", 404)                     \
    X(RF_TOO_LONG, "too long", 400)                       \
    X(RF_TOO_LARGE, "too large", 413)                     \
    X(RF_UNSUPPORTED, "unsupported", 400)                 \
    X(RF_CORRUPT, "corrupt", 400)                         \
    X(RF_IO, "input/output error", 500)                   \
    X(RF_NOMEM, "out of memory", 503)                     \
    X(RF_DEADLINE, "deadline passed", 408)                \
    X(RF_SHUTDOWN, "shutting down", 503)                  \
    X(RF_DEVICE, "device error", 500)                     \
    X(RF_NUMERIC, "not a number", 500)                    \
    X(RF_INTERNAL, "internal error", 500)

int rf_status_http(rf_status s);

#if defined(__GNUC__)
#define RF_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define RF_PRINTF(f, a)
#endif

rf_status rf_fail(struct rf_error *err, rf_status s, const char *fmt, ...) RF_PRINTF(3, 4);
/* The same, naming the request field or option that is wrong. */
rf_status rf_fail_param(struct rf_error *err, rf_status s, const char *param, const char *fmt, ...) RF_PRINTF(4, 5);
/* RF_NOMEM with the size that could not be had. */
rf_status rf_fail_nomem(struct rf_error *err, const char *what, size_t bytes);

/* Leaves early with the callee's status; the callee has filled the error. */
#define RF_TRY(expr)                      \
    do {                                  \
        rf_status rf_try_s_ = (expr);     \
        if (rf_try_s_) return rf_try_s_;  \
    } while (0)

#endif
