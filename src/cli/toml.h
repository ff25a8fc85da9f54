/* toml.h - the part of TOML 1.0 that a list of settings needs. Debian has no C library for it (its parsers are C++), and the
 * whole language is more than we want to accept: what is left out is refused by name, never read as something else.
 *
 *   # comment            key = "text" | 'text' | 12 | 0.5 | true | ["a", "b"]            [table]
 *
 * Left out: dates, inline tables, arrays of tables, dotted keys, multi-line strings, numbers that are not decimal.
 */
#ifndef RF_CLI_TOML_H
#define RF_CLI_TOML_H

#include "base/arena.h"
#include "base/status.h"

enum rf_toml_kind { RF_TOML_STRING, RF_TOML_INT, RF_TOML_REAL, RF_TOML_BOOL, RF_TOML_ARRAY };
const char *rf_toml_kind_name(enum rf_toml_kind k); /* "a string" */

enum { RF_TOML_ITEMS = 64, RF_TOML_BYTES = 1 << 20 };

struct rf_toml {
    const char *table, *key;    /* table "" above the first [..] */
    unsigned line;
    enum rf_toml_kind kind;
    const char *text;           /* the string; of a number or boolean its spelling, without '_' */
    const char *item[RF_TOML_ITEMS]; /* of an array: strings, or the spelling of numbers */
    size_t n_item;
};

/* Calls see for each key in order; stops at its first failure. All text lives in a. err says "name:line: ...". */
rf_status rf_toml_read(const char *text, size_t len, const char *name, struct rf_arena *a,
                       rf_status (*see)(void *ctx, const struct rf_toml *t, struct rf_error *err), void *ctx, struct rf_error *err);

#endif
