#include "base/arena.h"

#include <string.h>

#include "base/mem.h"
#include "rocmforge.h"

enum { CHUNK = 64 * 1024, ALIGN = 16 };

struct rf_arena_chunk {
    struct rf_arena_chunk *next;
    size_t used, cap;
    _Alignas(ALIGN) char data[];
};

void *rf_arena_alloc(struct rf_arena *a, size_t n)
{
    size_t need;
    a->full = false;
    if (!rf_add(n ? n : 1, ALIGN - 1, &need)) return NULL;
    need &= ~(size_t)(ALIGN - 1);
    a->full = a->max && (need > a->max || a->total > a->max - need);
    if (a->full) return NULL;
    struct rf_arena_chunk *c = a->head;
    if (!c || c->cap - c->used < need) {
        size_t cap = RF_MAX(need, (size_t)CHUNK), bytes;
        if (!rf_add(cap, sizeof *c, &bytes) || !(c = rf_alloc(bytes))) return NULL;
        *c = (struct rf_arena_chunk){.next = a->head, .cap = cap};
        a->head = c;
    }
    void *p = c->data + c->used;
    c->used += need;
    a->total += need;
    return memset(p, 0, need);
}

void *rf_arena_array(struct rf_arena *a, size_t n, size_t size)
{
    size_t bytes;
    return rf_mul(n, size, &bytes) ? rf_arena_alloc(a, bytes) : NULL;
}

char *rf_arena_strndup(struct rf_arena *a, const char *s, size_t n)
{
    size_t bytes;
    char *p = rf_add(n, 1, &bytes) ? rf_arena_alloc(a, bytes) : NULL;
    if (p && n) memcpy(p, s, n);
    return p;
}

rf_status rf_arena_fail(const struct rf_arena *a, struct rf_error *err, const char *what, size_t bytes)
{
    if (!a->full) return rf_fail_nomem(err, what, bytes);
    return rf_fail(err, RF_TOO_LARGE, "%s: %zu bytes more than the %zu in use, at most %zu are allowed", what, bytes, a->total, a->max);
}

void rf_arena_release(struct rf_arena *a)
{
    for (struct rf_arena_chunk *c = a->head, *next; c; c = next) {
        next = c->next;
        rf_free(c);
    }
    *a = (struct rf_arena){.max = a->max};
}
