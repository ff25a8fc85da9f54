/* mem.h - allocation with checked sizes. Every allocation of the library goes through here, so that tests can make the
 * k-th one fail (rf_mem_fail_at) and count them (rf_mem_count).
 *
 * Sizes that a file, a user or the context decides go through rf_mul / rf_add first: they return false on overflow.
 */
#ifndef RF_BASE_MEM_H
#define RF_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void *rf_alloc(size_t n);                       /* uninitialised; NULL on failure; n = 0 gives a valid pointer */
void *rf_alloc_array(size_t n, size_t size);    /* zeroed; NULL on overflow or failure */
void *rf_realloc_array(void *p, size_t n, size_t size); /* NULL on overflow or failure, p stays valid then */
void *rf_alloc_aligned(size_t align, size_t n); /* align a power of two >= 8; freed with rf_free */
char *rf_strdup(const char *s);
char *rf_strndup(const char *s, size_t n);      /* copies n bytes, adds NUL */
/* rf_free (rocmforge.h) frees them all. Large zeroed and aligned ones ask for huge pages. */

static inline bool rf_mul(size_t a, size_t b, size_t *out) { return !__builtin_mul_overflow(a, b, out); }
static inline bool rf_add(size_t a, size_t b, size_t *out) { return !__builtin_add_overflow(a, b, out); }
static inline bool rf_mul64(uint64_t a, uint64_t b, uint64_t *out) { return !__builtin_mul_overflow(a, b, out); }
static inline bool rf_add64(uint64_t a, uint64_t b, uint64_t *out) { return !__builtin_add_overflow(a, b, out); }

/* Fault points for tests: allocation number k from now (1 = the next) fails, 0 turns it off. Process-wide by nature. */
void rf_mem_fail_at(uint64_t k);
uint64_t rf_mem_count(void); /* allocations so far */

#define RF_COUNT(a) (sizeof(a) / sizeof *(a))
#define RF_MIN(a, b) ((a) < (b) ? (a) : (b))
#define RF_MAX(a, b) ((a) > (b) ? (a) : (b))

#endif
