/* json.h - JSON in and out: a guarded parser for strangers' bodies, and a writer straight into a buffer. */
#ifndef RF_SERVE_JSON_H
#define RF_SERVE_JSON_H

#include <jansson.h>

#include "base/buf.h"

/* Parses an object. Depth and number of values are checked before anything is allocated. RF_INVALID; err->param names
 * the top-level field in which a number does not fit, where that is the fault. */
rf_status rf_serve_json_parse(const char *text, size_t len, json_t **out, struct rf_error *err);

/* "..." with everything escaped that must be; bytes that are not UTF-8 become U+FFFD. */
void rf_serve_json_str(struct rf_buf *b, const char *s, size_t n);
void rf_serve_json_cstr(struct rf_buf *b, const char *s); /* NULL gives null */
void rf_serve_json_int(struct rf_buf *b, int64_t x);
/* A log probability; JSON has no infinity, so that -inf and NaN become -9999. */
void rf_serve_json_logprob(struct rf_buf *b, float x);

#endif
