/* arena.h - many small allocations with one lifetime, freed together. All-zero is a valid empty arena.
 * Not thread-safe. Alignment of every piece: 16 bytes.
 */
#ifndef RF_BASE_ARENA_H
#define RF_BASE_ARENA_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

struct rf_arena {
    struct rf_arena_chunk *head;
    size_t total; /* bytes handed out */
    size_t max;   /* 0: no limit; else allocations beyond it fail */
    bool full;    /* the last refusal was max's, not the system's */
};

void *rf_arena_alloc(struct rf_arena *a, size_t n);                     /* zeroed; NULL on failure */
void *rf_arena_array(struct rf_arena *a, size_t n, size_t size);        /* checked n * size */
char *rf_arena_strndup(struct rf_arena *a, const char *s, size_t n);    /* adds NUL */
void rf_arena_release(struct rf_arena *a);
/* After a NULL: RF_TOO_LARGE if what is made here outgrew max, else RF_NOMEM. bytes: what was asked for. */
rf_status rf_arena_fail(const struct rf_arena *a, struct rf_error *err, const char *what, size_t bytes);

#endif
