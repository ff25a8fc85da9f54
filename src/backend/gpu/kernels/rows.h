/* rows.h - what kernels of single rows and products of one row (matmul_one.h) both do to a row, with the same bits. */
#ifndef RF_GPU_ROWS_H
#define RF_GPU_ROWS_H

#include "dialect.h"

/* RMSNorm's factor on a row of n values whose squares add to s. */
G_FN float norm_factor(float s, g_u32 n, float eps) { return 1.0f / __builtin_sqrtf(s / (float)n + eps); }

G_FN float act_silu(float x) { return x / (1.0f + g_exp(-x)); }
/* 0.5 x (1 + tanh u) without the cancellation, u = sqrt(2 / pi) (x + 0.044715 x^3). arXiv 1606.08415 */
G_FN float act_gelu_tanh(float x) { return x / (1.0f + g_exp(-1.5957691f * (x + 0.044715f * x * x * x))); }
/* Half x erfc(-x / sqrt 2). erfc(a) = t e^(-a^2 + P(t)), t = 1 / (1 + a / 2): Press et al., Numerical Recipes, 6.2; 1.2e-7 */
G_FN float act_gelu(float x)
{
    float z = x * 0.70710678f, a = z < 0 ? -z : z, t = 1.0f / (1.0f + 0.5f * a);
    float c = g_fma(t, g_fma(t, g_fma(t, g_fma(t, 0.17087277f, -0.82215223f), 1.48851587f), -1.13520398f), 0.27886807f);
    c = g_fma(t, g_fma(t, g_fma(t, g_fma(t, c, -0.18628806f), 0.09678418f), 0.37409196f), 1.00002368f);
    float erfc_a = t * g_exp(-a * a - 1.26551223f + t * c);
    return 0.5f * x * (z < 0 ? erfc_a : 2.0f - erfc_a);
}
/* act: enum rf_act of backend.h */
G_FN float activation(float g, g_u32 act)
{
    if (act == 0) return act_silu(g);
    if (act == 1) return act_gelu_tanh(g);
    if (act == 2) return act_gelu(g);
    return g < 0 ? 0.0f : g;
}
#endif
