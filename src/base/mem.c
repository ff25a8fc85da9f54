#include "base/mem.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "rocmforge.h"

/* The only process-wide state of the library: counters for tests, never read by product code. */
static atomic_uint_fast64_t n_alloc;
static atomic_uint_fast64_t fail_at;

static bool denied(void)
{
    uint64_t n = atomic_fetch_add_explicit(&n_alloc, 1, memory_order_relaxed) + 1;
    return n == atomic_load_explicit(&fail_at, memory_order_relaxed);
}

void rf_mem_fail_at(uint64_t k)
{
    atomic_store(&fail_at, k ? atomic_load(&n_alloc) + k : 0);
}

uint64_t rf_mem_count(void) { return atomic_load(&n_alloc); }

void *rf_alloc(size_t n)
{
    return denied() ? NULL : malloc(n ? n : 1);
}

void *rf_alloc_array(size_t n, size_t size)
{
    if (denied()) return NULL;
    return calloc(n ? n : 1, size ? size : 1);
}

void *rf_realloc_array(void *p, size_t n, size_t size)
{
    size_t bytes;
    if (!rf_mul(n, size, &bytes) || denied()) return NULL;
    return realloc(p, bytes ? bytes : 1);
}

void *rf_alloc_aligned(size_t align, size_t n)
{
    void *p = NULL;
    if (denied() || posix_memalign(&p, align, n ? n : 1)) return NULL;
    return p;
}

char *rf_strndup(const char *s, size_t n)
{
    size_t bytes;
    if (!rf_add(n, 1, &bytes)) return NULL;
    char *p = rf_alloc(bytes);
    if (!p) return NULL;
    memcpy(p, s, n);
    p[n] = 0;
    return p;
}

char *rf_strdup(const char *s) { return rf_strndup(s, strlen(s)); }

void rf_free(void *p) { free(p); }
