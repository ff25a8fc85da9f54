#include "base/mem.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

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

enum { HUGE = 2 << 20 };

/* Asks for huge pages where whole ones fit: fewer faults now, fewer TLB misses later. Only a wish, so its answer is not read. */
static void wish_huge(void *p, size_t n)
{
    uintptr_t from = ((uintptr_t)p + HUGE - 1) / HUGE * HUGE, to = ((uintptr_t)p + n) / HUGE * HUGE;
    if (p && from < to) (void)madvise((void *)from, to - from, MADV_HUGEPAGE);
}

void *rf_alloc_array(size_t n, size_t size)
{
    if (denied()) return NULL;
    void *p = calloc(n ? n : 1, size ? size : 1); /* refuses an overflow */
    if (p && n >= HUGE / (size ? size : 1)) wish_huge(p, n * size);
    return p;
}

void *rf_realloc_array(void *p, size_t n, size_t size)
{
    size_t bytes;
    if (!rf_mul(n, size, &bytes) || denied()) return NULL;
    void *q = realloc(p, bytes ? bytes : 1);
    if (!p && q) wish_huge(q, bytes); /* not while growing: the kernel moves a block of one kind of pages without a copy */
    return q;
}

void *rf_alloc_aligned(size_t align, size_t n)
{
    void *p = NULL;
    if (n >= HUGE && align < HUGE) align = HUGE;
    if (denied() || posix_memalign(&p, align, n ? n : 1)) return NULL;
    wish_huge(p, n);
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
