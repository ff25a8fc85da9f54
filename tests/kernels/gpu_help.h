/* gpu_help.h - arrays on a side, random numbers, weights: what the GPU's kernel tests share. */
#include <math.h>

#include "backend/backend.h"
#include "base/mem.h"
#include "base/rng.h"
#include "check.h"

/* Opens the device that RF_TEST_DEVICE names, cuda:0 by default, and says what it is. False: main ends with *code, skipped where there is none. */
static inline bool open_device(struct rf_backend **gpu, const char **device, int *code)
{
    struct rf_error err = {0};
    *device = getenv("RF_TEST_DEVICE") ? getenv("RF_TEST_DEVICE") : "cuda:0";
    rf_status s = rf_backend_open(gpu, &(struct rf_backend_options){.device = *device}, &err);
    *code = s && s != RF_NOT_FOUND;
    if (s) printf(*code ? "Bail out! %s\n" : "1..0 # SKIP %s\n", err.message);
    else printf("# %s: %s\n", (*gpu)->info.name, (*gpu)->info.detail);
    return !s;
}

static inline rf_dev put(struct rf_backend *b, const void *data, size_t bytes)
{
    rf_dev p = 0;
    struct rf_error err = {0};
    if (b->mem->alloc(b, bytes, &p, &err)) CHECK_FAIL_("%s", err.message);
    else if (b->mem->upload(b, NULL, p, data, bytes)) CHECK_FAIL_("upload: %s", b->info.detail);
    return p;
}
static inline void get(struct rf_backend *b, void *to, rf_dev from, size_t bytes)
{
    if (b->mem->download(b, NULL, to, from, bytes) || b->mem->stream_sync(b, NULL)) CHECK_FAIL_("download: %s", b->info.detail);
}
static inline float *floats(size_t n) { return calloc(n + 1, sizeof(float)); }
static inline float *normal(size_t n, struct rf_rng *r, double scale)
{
    float *x = floats(n);
    for (size_t i = 0; i < n; i++) x[i] = (float)(rf_rng_normal(r) * scale);
    return x;
}
/* |got - want| <= abs + rel |want|, NaN and Inf agree. Prints the largest difference where it is too large. */
static inline void check_near(const float *got, const float *want, size_t n, double rel, double abs_, const char *what)
{
    int bad = 0;
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)got[i] - (double)want[i]);
        bool ok = isnan(want[i]) ? isnan(got[i]) : isinf(want[i]) ? got[i] == want[i] : d <= abs_ + rel * fabs((double)want[i]);
        if (!ok && bad++ < 3) CHECK_FAIL_("%s: [%zu] got %.9g, want %.9g", what, i, (double)got[i], (double)want[i]);
    }
}

static const uint32_t types[] = {RF_TYPE_F32, RF_TYPE_F16, RF_TYPE_BF16, RF_TYPE_Q4_0, RF_TYPE_Q4_1, RF_TYPE_Q5_0, RF_TYPE_Q5_1,
                                 RF_TYPE_Q8_0, RF_TYPE_Q2_K, RF_TYPE_Q3_K, RF_TYPE_Q4_K, RF_TYPE_Q5_K, RF_TYPE_Q6_K, RF_TYPE_F8_E4M3};

static inline void *encoded(uint32_t type, uint64_t rows, uint64_t cols, struct rf_rng *r)
{
    float *x = normal(rows * cols, r, 1);
    uint64_t row;
    if (!rf_type_row_bytes(type, cols, &row)) abort();
    void *w = malloc(rows * row);
    for (uint64_t i = 0; i < rows; i++) rf_type_get(type)->encode(x + i * cols, (char *)w + i * row, cols);
    free(x);
    return w;
}

static inline struct rf_weight *weight(struct rf_backend *b, uint32_t type, uint64_t rows, uint64_t cols, const void *data)
{
    struct rf_weight *w = NULL;
    struct rf_error err = {0};
    bool copied;
    struct rf_weight_desc d = {.name = "w", .type = type, .rows = rows, .cols = cols, .data = data, .gather = true};
    if (b->mem->weight_create(b, &d, &w, &copied, &err)) CHECK_FAIL_("%s", err.message);
    return w;
}

