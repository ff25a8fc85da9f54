/* row.h - passes over one row of logits, written so that the compiler turns them into vector code. Pure, any thread. */
#ifndef RF_SAMPLE_ROW_H
#define RF_SAMPLE_ROW_H

#include <stdbool.h>
#include <stdint.h>

bool rf_row_finite(const float *x, uint32_t n);     /* no NaN, no Inf */
float rf_row_max(const float *x, uint32_t n);       /* -INFINITY for n = 0; no NaN in x */
uint32_t rf_row_argmax(const float *x, uint32_t n); /* the lowest index among equals */

enum { RF_ROW_STRIP = 1024 };
/* y[i] = exp((x[i] - max) * scale), about 2 ulp, 0 below exp(-87); scale > 0, x[i] <= max. Returns the sum of all. y may be x.
 * kernels/sample.gpu computes the same bits. */
double rf_row_exp(const float *x, uint32_t n, float max, float scale, float *y);
/* The sum of rf_choice_mass (base/choice.h) of weights from 0 to 1; n <= RF_ROW_STRIP. */
uint64_t rf_row_mass(const float *w, uint32_t n);
/* log(sum(exp(x))) */
double rf_row_logsumexp(const float *x, uint32_t n);

struct rf_row_best { float x; int32_t i; };
/* The k largest, largest first, lower index first among equals; k >= 1. Returns how many: min(k, n). */
uint32_t rf_row_top(const float *x, uint32_t n, uint32_t k, struct rf_row_best *best);

#endif
