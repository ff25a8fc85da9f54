#include <string.h>

#include "base/mem.h"
#include "engine/engine.h"

/* Seconds from 1 ms to 10 minutes, tokens from 1 to 512 k, about evenly spaced on a log scale. */
static const double seconds[RF_HIST_BUCKETS] = {0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25,
                                                0.5, 0.75, 1, 2.5, 5, 10, 30, 60, 120, 600};
static const double tokens[RF_HIST_BUCKETS] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192,
                                               16384, 32768, 65536, 131072, 262144, 524288};

const double *rf_histogram_bounds(bool of_tokens) { return of_tokens ? tokens : seconds; }

void rf_histogram_add(struct rf_histogram *h, bool of_tokens, double v)
{
    const double *bound = rf_histogram_bounds(of_tokens);
    size_t i = 0;
    while (i < RF_HIST_BUCKETS && v > bound[i]) i++;
    h->bucket[i]++;
    h->sum += v;
    h->count++;
}
