/* linear_help.h - random weights of every type and plain products, for the tests and the benchmark of rf_linear. */
#ifndef RF_TESTS_KERNELS_LINEAR_HELP_H
#define RF_TESTS_KERNELS_LINEAR_HELP_H

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "backend/cpu/linear.h"
#include "base/mem.h"
#include "base/rng.h"

static const struct lin_type {
    uint32_t type;
    int f16[2]; /* offsets of the f16 factors in a block, -1: none */
} lin_types[] = {
    {RF_TYPE_F32, {-1, -1}},  {RF_TYPE_F16, {-1, -1}},  {RF_TYPE_BF16, {-1, -1}}, {RF_TYPE_Q8_0, {0, -1}},   {RF_TYPE_Q4_0, {0, -1}},
    {RF_TYPE_Q4_1, {0, 2}},   {RF_TYPE_Q5_0, {0, -1}},  {RF_TYPE_Q5_1, {0, 2}},   {RF_TYPE_Q2_K, {80, 82}},  {RF_TYPE_Q3_K, {108, -1}},
    {RF_TYPE_Q4_K, {0, 2}},   {RF_TYPE_Q5_K, {0, 2}},   {RF_TYPE_Q6_K, {208, -1}},
    {RF_TYPE_F8_E4M3, {-1, -1}},
};

/* Memory that ends exactly at a page that cannot be touched. */
static inline void *lin_guarded(size_t n)
{
    size_t page = 4096, full = (n + page - 1) / page * page;
    uint8_t *p = mmap(NULL, full + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED || mprotect(p + full, page, PROT_NONE)) abort();
    return p + full - n;
}

static inline void lin_guarded_free(void *p, size_t n)
{
    size_t page = 4096, full = (n + page - 1) / page * page;
    munmap((uint8_t *)p + n - full, full + page);
}

static inline size_t lin_bytes(uint32_t type, size_t rows, size_t cols)
{
    uint64_t b = 0;
    if (!rf_type_row_bytes(type, cols, &b)) abort();
    return rows * b;
}

/* Random bits everywhere but in the factors, which get `factor` times 0.5..1.5, either sign. */
static inline void lin_fill(const struct lin_type *t, uint8_t *p, size_t n, float factor, struct rf_rng *rng)
{
    const struct rf_type_info *ti = rf_type_get(t->type);
    if (ti->block == 1) {
        for (size_t i = 0; i < n / ti->bytes; i++) {
            float f = (float)rf_rng_normal(rng) * factor;
            ti->encode(&f, p + i * ti->bytes, 1);
        }
        return;
    }
    for (size_t i = 0; i < n; i++) p[i] = (uint8_t)rf_rng_u64(rng);
    for (size_t i = 0; i < n; i += ti->bytes) {
        for (int k = 0; k < 2 && t->f16[k] >= 0; k++) {
            float f = factor * (0.5f + (float)rf_rng_unit(rng)) * (rf_rng_below(rng, 2) ? 1.0f : -1.0f);
            uint16_t h = rf_f32_to_f16(f);
            memcpy(p + i + t->f16[k], &h, 2);
        }
        if (t->type != RF_TYPE_F8_E4M3) continue;
        float d = factor * (0.5f + (float)rf_rng_unit(rng)) * (rf_rng_below(rng, 2) ? 1.0f : -1.0f);
        memcpy(p + i, &d, 4);
        for (int k = 4; k < 36; k++) p[i + (size_t)k] ^= rf_f8_is_nan(p[i + (size_t)k]); /* no file has these */
    }
}

/* Activations with a few channels much larger than the rest, as models have them. */
static inline void lin_fill_x(float *x, size_t rows, size_t cols, struct rf_rng *rng)
{
    for (size_t m = 0; m < rows; m++)
        for (size_t k = 0; k < cols; k++) x[m * cols + k] = (float)rf_rng_normal(rng) * (k % 97 == 5 ? 20.0f : 1.0f);
}

static inline rf_status lin_run1(struct rf_pool *pool, struct rf_linear_scratch *s, const struct rf_linear *w, const float *x,
                                 uint32_t rows, const float *bias, float *out, uint32_t stride)
{
    struct rf_matmul_args a = {.x = (rf_dev)x, .rows = rows, .n_w = 1, .w = {(const struct rf_weight *)w},
                               .bias = {(rf_dev)bias}, .out = {(rf_dev)out}, .out_stride = {stride}};
    return rf_linear_run(pool, s, &a, NULL);
}

#endif
