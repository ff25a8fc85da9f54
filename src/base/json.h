/* json.h - a strict pull reader for the JSON that does not fit a tree: safetensors headers, indexes, configurations, tokenizers,
 * the variables of a chat template.
 *
 * RFC 8259 with checked UTF-8, no lone surrogates, bounded depth, no recursion, no tree: the caller walks the text and
 * keeps what it wants, so a hostile header costs its own length and nothing more. Requests go through jansson.
 *
 *   rf_json_enter(j, '{'); while (!(s = rf_json_next(j, &more)) && more) { rf_json_key(j, &key); ...value... }
 */
#ifndef RF_BASE_JSON_H
#define RF_BASE_JSON_H

#include "base/arena.h"
#include "base/buf.h"

enum { RF_JSON_DEPTH = 64, RF_JSON_MAX_DEPTH = 512 };

struct rf_json {
    const char *s;
    size_t n, pos;
    const char *name;         /* of the file, for messages */
    struct rf_arena *arena;   /* holds strings that had escapes; others are borrowed from s */
    struct rf_error *err;
    bool python;              /* NaN, Infinity, -Infinity are numbers too, as Python writes them */
    bool huge;                /* numbers that no double holds are numbers too: infinite, their text in str */
    rf_status broken;         /* what a mistake in the text is; 0: RF_CORRUPT */
    unsigned max_depth;       /* at most RF_JSON_MAX_DEPTH; 0: RF_JSON_DEPTH */
    unsigned depth;
    struct { char close; bool any; } level[RF_JSON_MAX_DEPTH];
};

enum rf_json_kind { RF_JSON_NULL, RF_JSON_BOOL, RF_JSON_NUMBER, RF_JSON_STRING, RF_JSON_ARRAY, RF_JSON_OBJECT };

rf_status rf_json_peek(struct rf_json *j, enum rf_json_kind *kind);    /* of the value that comes next */
rf_status rf_json_enter(struct rf_json *j, char open);                 /* '{' or '[' must come next */
rf_status rf_json_next(struct rf_json *j, bool *more);                 /* past a comma, or past the closing bracket */
/* rf_json_next for lists of known length: one more value must come; none may. */
rf_status rf_json_item(struct rf_json *j, const char *expected);
rf_status rf_json_last(struct rf_json *j, const char *expected);
rf_status rf_json_key(struct rf_json *j, struct rf_str *key);          /* and its colon */
rf_status rf_json_string(struct rf_json *j, struct rf_str *out);
/* Inside an array, behind rf_json_next: as many ["a", "b"] without escapes as follow each other, at most max, for vocabularies that have
 * merges by the 100,000. What comes then is read, or complained about, by the other calls, beginning with rf_json_next (where 0 were
 * taken nothing was: the value itself comes). Whether the strings are UTF-8 is not checked: they are to be compared with ones that are. */
struct rf_json_pair { struct rf_str a, b; };
size_t rf_json_pairs(struct rf_json *j, struct rf_json_pair *out, size_t max);
rf_status rf_json_u64(struct rf_json *j, const char *what, uint64_t *out); /* a whole number >= 0 that fits int64 */
struct rf_json_value {
    enum rf_json_kind kind;   /* NULL, BOOL, NUMBER or STRING */
    bool integer, fits;       /* NUMBER: written without fraction and exponent; and i holds it */
    int64_t i;                /* also BOOL */
    double f;                 /* NUMBER */
    struct rf_str str;        /* STRING; NUMBER: as written */
};
rf_status rf_json_scalar(struct rf_json *j, struct rf_json_value *v);
rf_status rf_json_skip(struct rf_json *j);                             /* any value, checked in full */
rf_status rf_json_end(struct rf_json *j);                              /* nothing but white space may follow */
/* RF_CORRUPT (or broken) naming file and byte. */
rf_status rf_json_fail(struct rf_json *j, const char *expected);

#endif
