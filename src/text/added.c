#include <stdlib.h>
#include <string.h>

#include "text/tok.h"

static int cmp_added(const void *a, const void *b)
{
    const struct rf_added *x = a, *y = b;
    int c = memcmp(x->text.s, y->text.s, RF_MIN(x->text.n, y->text.n));
    if (c) return c;
    if (x->text.n != y->text.n) return x->text.n < y->text.n ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

struct keyed { uint64_t key; uint32_t at; };

/* First eight bytes, the first one highest: orders as memcmp does, as far as it goes. */
static uint64_t head_of(struct rf_str s)
{
    uint64_t k = 0;
    for (size_t i = 0; i < 8; i++) k = k << 8 | (i < s.n ? (unsigned char)s.s[i] : 0);
    return k;
}

/* Counts and deals out by each byte of the key, last one first: stable. Returns where the result lies, k or tmp. */
static struct keyed *radix(struct keyed *k, struct keyed *tmp, uint32_t n)
{
    for (unsigned shift = 0; shift < 64; shift += 8) {
        uint32_t start[257] = { 0 };
        for (uint32_t i = 0; i < n; i++) start[(k[i].key >> shift & 255) + 1]++;
        if (start[(k[0].key >> shift & 255) + 1] == n) continue;
        for (unsigned b = 0; b < 255; b++) start[b + 1] += start[b];
        for (uint32_t i = 0; i < n; i++) tmp[start[k[i].key >> shift & 255]++] = k[i];
        struct keyed *t = k;
        k = tmp, tmp = t;
    }
    return k;
}

/* Sorts as qsort with cmp_added would; false: no memory. A Unigram vocabulary of 250,000 is sorted at every start. */
static bool sort_added(struct rf_added *tok, uint32_t n)
{
    struct keyed *k = rf_alloc_array(n, 2 * sizeof *k);
    struct rf_added *copy = rf_alloc_array(n, sizeof *copy);
    if (k && copy) {
        for (uint32_t i = 0; i < n; i++) k[i] = (struct keyed){ head_of(tok[i].text), i };
        memcpy(copy, tok, n * sizeof *tok);
        const struct keyed *sorted = radix(k, k + n, n);
        for (uint32_t i = 0; i < n; i++) tok[i] = copy[sorted[i].at];
        for (uint32_t i = 0, j; i < n; i = j) {
            for (j = i + 1; j < n && sorted[j].key == sorted[i].key; j++) continue;
            if (j - i > 1) qsort(tok + i, j - i, sizeof *tok, cmp_added);
        }
    }
    bool ok = k && copy;
    rf_free(k);
    rf_free(copy);
    return ok;
}

void rf_added_build(struct rf_added_set *a, struct rf_added *tok, uint32_t n)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < n; i++)
        if (tok[i].text.n && tok[i].text.n <= RF_TOK_MAX_ADDED_LEN) tok[kept++] = tok[i];
    n = kept;
    if (n && (n < 1024 || !sort_added(tok, n))) qsort(tok, n, sizeof *tok, cmp_added);
    kept = 0;
    for (uint32_t i = 0; i < n; i++) {
        bool again = kept && tok[kept - 1].text.n == tok[i].text.n && !memcmp(tok[kept - 1].text.s, tok[i].text.s, tok[i].text.n);
        if (!again) tok[kept++] = tok[i];
    }
    a->tok = tok;
    a->n = kept;
    uint32_t at = 0;
    for (unsigned b = 0; b < 256; b++) {
        a->first[b] = at;
        while (at < kept && (unsigned char)tok[at].text.s[0] == b) at++;
    }
    a->first[256] = kept;
}

/* First token in [lo, hi) whose byte d is >= c (all share the first d bytes). Ones that end before d sort first. */
static uint32_t bound(const struct rf_added_set *a, uint32_t lo, uint32_t hi, size_t d, int c)
{
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        int at = a->tok[mid].text.n > d ? (unsigned char)a->tok[mid].text.s[d] : -1;
        if (at < c) lo = mid + 1;
        else hi = mid;
    }
    return lo;
}

void rf_added_narrow(const struct rf_added_set *a, uint32_t *lo, uint32_t *hi, size_t d, unsigned char c)
{
    *lo = bound(a, *lo, *hi, d, c);
    *hi = bound(a, *lo, *hi, d, c + 1);
}

const struct rf_added *rf_added_match(const struct rf_added_set *a, const char *s, size_t n)
{
    unsigned char c = (unsigned char)*s;
    uint32_t lo = a->first[c], hi = a->first[c + 1];
    const struct rf_added *best = NULL;
    for (size_t d = 1; lo < hi; d++) {
        if (a->tok[lo].text.n == d) best = &a->tok[lo];
        if (d == n) break;
        rf_added_narrow(a, &lo, &hi, d, (unsigned char)s[d]);
    }
    return best;
}
