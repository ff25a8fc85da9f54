/* json.h - a strict pull reader for the JSON inside model files: safetensors headers, indexes, configurations.
 *
 * RFC 8259 with checked UTF-8, no lone surrogates, bounded depth, no recursion, no tree: the caller walks the text and
 * keeps what it wants, so a hostile header costs its own length and nothing more. Requests go through jansson.
 *
 *   rf_json_enter(j, '{'); while (!(s = rf_json_next(j, &more)) && more) { rf_json_key(j, &key); ...value... }
 */
#ifndef RF_FORMAT_JSON_H
#define RF_FORMAT_JSON_H

#include "base/arena.h"
#include "format/weights.h"

enum { RF_JSON_DEPTH = 64 };

struct rf_json {
    const char *s;
    size_t n, pos;
    const char *name;         /* of the file, for messages */
    struct rf_arena *arena;   /* holds strings that had escapes; others are borrowed from s */
    struct rf_error *err;
    bool python;              /* NaN, Infinity, -Infinity are numbers too, as Python writes them */
    unsigned depth;
    struct { char close; bool any; } level[RF_JSON_DEPTH];
};

enum rf_json_kind { RF_JSON_NULL, RF_JSON_BOOL, RF_JSON_NUMBER, RF_JSON_STRING, RF_JSON_ARRAY, RF_JSON_OBJECT };

rf_status rf_json_peek(struct rf_json *j, enum rf_json_kind *kind);    /* of the value that comes next */
rf_status rf_json_enter(struct rf_json *j, char open);                 /* '{' or '[' must come next */
rf_status rf_json_next(struct rf_json *j, bool *more);                 /* past a comma, or past the closing bracket */
rf_status rf_json_key(struct rf_json *j, struct rf_str *key);          /* and its colon */
rf_status rf_json_string(struct rf_json *j, struct rf_str *out);
rf_status rf_json_u64(struct rf_json *j, const char *what, uint64_t *out); /* a whole number >= 0 that fits int64 */
/* null, bool, number or string into kind, i, f, str; *null says which were null. */
rf_status rf_json_scalar(struct rf_json *j, struct rf_fact *f, bool *null);
rf_status rf_json_skip(struct rf_json *j);                             /* any value, checked in full */
rf_status rf_json_end(struct rf_json *j);                              /* nothing but white space may follow */
/* RF_CORRUPT naming file and byte. */
rf_status rf_json_fail(struct rf_json *j, const char *expected);

#endif
