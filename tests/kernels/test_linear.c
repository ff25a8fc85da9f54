/* Every kernel of rf_linear, every type and instruction set, against plain C: packing, rows, products, bits.
 *
 * Tolerance classes. "sum": |y - exact| <= 2e-6 * sum |w x| for f32 sums (activations as the kernel sees them). "round": rms error
 * against the product with unrounded activations, relative to the root of the sum of (w x)^2: 4e-2 with outlier channels,
 * 4e-3 where they are rounded to bf16.
 */
#include "../check.h"
#include <float.h>

#include "linear_help.h"

static uint64_t seed;
static struct rf_pool *pools[2]; /* 1 and 3 threads */
static const char *const isa_names[] = {"ref", "avx2", "avx512", "avx512bf16", "amx", "neon"};
static struct { const char *name; unsigned isa; } isas[8];
static int n_isa;

static void find_isas(void)
{
    for (size_t i = 0; i < RF_COUNT(isa_names); i++) {
        unsigned isa = 0;
        if (rf_isa_detect(isa_names[i], &isa, NULL)) continue;
        bool seen = !isa && getenv("RF_TEST_SMALL"); /* under an emulated processor plain C, tested on a real one, takes too long */
        for (int k = 0; k < n_isa; k++) seen |= isas[k].isa == isa;
        if (seen) continue;
        isas[n_isa].name = isa_names[i];
        isas[n_isa++].isa = isa;
        printf("# testing %s\n", isa_names[i]);
    }
}

/* A weight in guarded memory, packed for one instruction set, its exact values, and what its kernels do to activations. */
struct fixture {
    const struct lin_type *t;
    size_t rows, cols, bytes;
    uint8_t *file;
    double *exact; /* [rows][cols] */
    struct rf_linear *w;
    struct rf_linear_scratch *scratch;
    bool int8, bf16; /* what activations are rounded to */
};

static bool fixture_init(struct fixture *f, const struct lin_type *t, size_t rows, size_t cols, float factor, unsigned isa,
                         struct rf_rng *rng)
{
    *f = (struct fixture){.t = t, .rows = rows, .cols = cols, .bytes = lin_bytes(t->type, rows, cols)};
    f->file = lin_guarded(f->bytes);
    lin_fill(t, f->file, f->bytes, factor, rng);
    const struct rf_type_info *ti = rf_type_get(t->type);
    float *row = rf_alloc(cols * sizeof *row);
    f->exact = rf_alloc(rows * cols * sizeof *f->exact);
    for (size_t r = 0; r < rows; r++) {
        ti->decode(f->file + r * (f->bytes / rows), row, cols);
        for (size_t k = 0; k < cols; k++) f->exact[r * cols + k] = row[k];
    }
    rf_free(row);
    struct rf_weight_desc d = {.name = "w", .type = t->type, .rows = rows, .cols = cols, .data = f->file};
    bool copied;
    struct rf_error err = {0};
    rf_status s = rf_linear_create(&f->w, &d, isa, pools[1], &copied, &err);
    CHECK_INT(s, RF_OK);
    CHECK_INT(copied, isa != 0);
    f->int8 = isa && ti->block > 1 && t->type != RF_TYPE_F8_E4M3;
    f->bf16 = (isa & (RF_ISA_AVX512BF16 | RF_ISA_AMX)) && t->type == RF_TYPE_BF16;
    CHECK_INT(rf_linear_scratch_create(&f->scratch, NULL), RF_OK);
    return s == RF_OK;
}

static void fixture_release(struct fixture *f)
{
    lin_guarded_free(f->file, f->bytes);
    rf_free(f->exact);
    rf_linear_free(f->w);
    rf_linear_scratch_free(f->scratch);
}

/* The activations as the kernels round them: int8 times a scale per 32. */
static void rounded(const float *x, size_t cols, double *y)
{
    for (size_t k = 0; k < cols; k += 32) {
        float most = 0;
        for (size_t i = 0; i < 32; i++) most = fmaxf(most, fabsf(x[k + i]));
        float scale = most * (1.0f / 127.0f), inv = 127.0f / most;
        for (size_t i = 0; i < 32; i++) y[k + i] = most < 0x1p-100f ? 0.0 : nearbyintf(x[k + i] * inv) * (double)scale;
    }
}

static void check_product(const struct fixture *f, const float *x, size_t m_rows, const float *bias, const float *y, size_t stride,
                          const char *isa)
{
    double *q = rf_alloc(f->cols * sizeof *q), err = 0, norm = 0, worst = 0;
    for (size_t m = 0; m < m_rows; m++) {
        const float *xr = x + m * f->cols;
        for (size_t k = 0; k < f->cols; k++) q[k] = xr[k];
        if (f->int8) rounded(xr, f->cols, q);
        for (size_t k = 0; f->bf16 && k < f->cols; k++) q[k] = rf_bf16_to_f32(rf_f32_to_bf16(xr[k]));
        for (size_t r = 0; r < f->rows; r++) {
            double sum = 0, size = 0, exact = 0;
            for (size_t k = 0; k < f->cols; k++) {
                double p = f->exact[r * f->cols + k] * q[k];
                sum += p;
                size += fabs(p);
                norm += p * p;
                exact += f->exact[r * f->cols + k] * xr[k];
            }
            double b = bias ? bias[r] : 0, got = y[m * stride + r];
            worst = fmax(worst, fabs(got - sum - b) / (size + fabs(b) + 1e-30));
            norm += b * b;
            err += (got - exact - b) * (got - exact - b);
            if (!(fabs(got - sum - b) <= 2e-6 * (size + fabs(b)) + 1e-30))
                CHECK_FAIL_("%s %s %zux%zu row %zu out %zu: got %.9g, want %.9g (size %.3g)", isa, rf_type_name(f->t->type), f->rows,
                            f->cols, m, r, got, sum + b, size);
        }
    }
    double rms = sqrt(err / (norm + 1e-300));
    if (!(rms <= (f->int8 ? 4e-2 : f->bf16 ? 4e-3 : 2e-6)) && norm > 1e-20)
        CHECK_FAIL_("%s %s %zux%zu: relative rms error %.3g", isa, rf_type_name(f->t->type), f->rows, f->cols, rms);
    rf_free(q);
}

static bool cols_fit(const struct lin_type *t, size_t cols)
{
    return cols % rf_type_get(t->type)->block == 0;
}

TEST(rows_come_back_as_in_the_file)
{
    static const size_t shapes[][2] = {{1, 256}, {31, 512}, {33, 1024}, {70, 256}, {5, 896}, {40, 33}, {3, 1}, {65, 7}};
    struct rf_rng rng = {seed};
    for (int i = 0; i < n_isa; i++)
        for (size_t t = 0; t < RF_COUNT(lin_types); t++)
            for (size_t k = 0; k < RF_COUNT(shapes); k++) {
                struct fixture f;
                if (!cols_fit(&lin_types[t], shapes[k][1])) continue;
                if (!fixture_init(&f, &lin_types[t], shapes[k][0], shapes[k][1], 1e-3f, isas[i].isa, &rng)) return;
                CHECK_INT(rf_linear_rows(f.w), f.rows);
                CHECK_INT(rf_linear_cols(f.w), f.cols);
                float *got = rf_alloc(f.cols * 4), *want = rf_alloc(f.cols * 4);
                for (size_t r = 0; r < f.rows; r++) {
                    rf_type_get(f.t->type)->decode(f.file + r * (f.bytes / f.rows), want, f.cols);
                    rf_linear_row(f.w, r, got);
                    if (memcmp(got, want, f.cols * 4))
                        CHECK_FAIL_("%s %s row %zu of %zux%zu", isas[i].name, rf_type_name(f.t->type), r, f.rows, f.cols);
                }
                rf_free(got);
                rf_free(want);
                fixture_release(&f);
            }
}

/* One shape: products of 1..m_most rows, with and without bias, threads 1 and 3, inputs and outputs ending at a guard page. */
static void products(const struct lin_type *t, size_t rows, size_t cols, size_t m_most, float factor, float x_factor, int i,
                     struct rf_rng *rng)
{
    struct fixture f;
    if (!cols_fit(t, cols) || !fixture_init(&f, t, rows, cols, factor, isas[i].isa, rng)) return;
    size_t nx = m_most * cols * 4, ny = m_most * rows * 4;
    float *x = lin_guarded(nx), *y = lin_guarded(ny), *alone = lin_guarded(rows * 4), *bias = lin_guarded(rows * 4);
    lin_fill_x(x, m_most, cols, rng);
    for (size_t k = 0; k < m_most * cols; k++) x[k] *= x_factor;
    for (size_t k = 0; k < rows; k++) bias[k] = (float)rf_rng_normal(rng) * factor;
    float *all = rf_alloc(ny);
    CHECK_INT(lin_run1(pools[1], f.scratch, f.w, x, (uint32_t)m_most, bias, all, (uint32_t)rows), RF_OK);
    check_product(&f, x, m_most, bias, all, rows, isas[i].name);
    for (size_t m = 1; m < m_most; m += m < 17 ? 1 : 13) { /* every count gives the same bits, from both pools */
        float *ym = y + (m_most - m) * rows;
        const float *xm = x + (m_most - m) * cols;
        CHECK_INT(lin_run1(pools[m % 2], f.scratch, f.w, xm, (uint32_t)m, bias, ym, (uint32_t)rows), RF_OK);
        if (memcmp(ym, all + (m_most - m) * rows, m * rows * 4))
            CHECK_FAIL_("%s %s %zux%zu: %zu rows differ from %zu", isas[i].name, rf_type_name(t->type), rows, cols, m, m_most);
    }
    CHECK_INT(lin_run1(pools[0], f.scratch, f.w, x, 1, NULL, alone, (uint32_t)rows), RF_OK);
    check_product(&f, x, 1, NULL, alone, rows, isas[i].name);
    rf_free(all);
    lin_guarded_free(x, nx);
    lin_guarded_free(y, ny);
    lin_guarded_free(alone, rows * 4);
    lin_guarded_free(bias, rows * 4);
    fixture_release(&f);
}

TEST(products_of_every_type_and_shape)
{
    static const size_t shapes[][3] = {{64, 256, 70}, {33, 512, 19}, {1, 768, 7},  {70, 896, 33}, {31, 32, 5},
                                       {96, 1120, 8}, {47, 33, 9},   {32, 1, 3},   {65, 259, 14}};
    struct rf_rng rng = {seed + 1};
    for (int i = 0; i < n_isa; i++)
        for (size_t t = 0; t < RF_COUNT(lin_types); t++)
            for (size_t k = 0; k < RF_COUNT(shapes); k++)
                products(&lin_types[t], shapes[k][0], shapes[k][1], shapes[k][2], 1e-3f, 1.0f, i, &rng);
}

TEST(every_number_of_outputs)
{
    struct rf_rng rng = {seed + 2};
    static const uint32_t some[] = {RF_TYPE_Q5_0, RF_TYPE_Q4_K, RF_TYPE_F16};
    for (int i = 0; i < n_isa; i++)
        for (size_t t = 0; t < RF_COUNT(lin_types); t++)
            for (size_t k = 0; k < RF_COUNT(some); k++)
                if (lin_types[t].type == some[k])
                    for (size_t rows = 1; rows <= 70; rows += 3) products(&lin_types[t], rows, 256, 3, 1e-3f, 1.0f, i, &rng);
}

TEST(extreme_scales)
{
    /* f16 from subnormal to the largest, activations from where blocks count as zero to huge */
    static const float factors[] = {0.0f, 1e-7f, 40000.0f}, xs[] = {1e-20f, 1e25f};
    struct rf_rng rng = {seed + 3};
    for (int i = 0; i < n_isa; i++)
        for (size_t t = 0; t < RF_COUNT(lin_types); t++)
            for (size_t k = 0; k < RF_COUNT(factors) * RF_COUNT(xs); k++)
                products(&lin_types[t], 40, 512, 4, fminf(factors[k / 2], rf_type_get(lin_types[t].type)->block == 1 ? 100.0f : 1e9f), xs[k % 2], i, &rng);
}

/* Rows that are zero, subnormal, NaN or Inf leave their neighbours alone. */
TEST(odd_inputs_stay_in_their_row)
{
    enum { ROWS = 37, COLS = 512, M = 11 };
    struct rf_rng rng = {seed + 4};
    float *x = rf_alloc(M * COLS * 4), *clean = rf_alloc(M * ROWS * 4), *y = rf_alloc(M * ROWS * 4);
    lin_fill_x(x, M, COLS, &rng);
    for (int i = 0; i < n_isa; i++)
        for (size_t t = 0; t < RF_COUNT(lin_types); t++) {
            struct fixture f;
            if (!fixture_init(&f, &lin_types[t], ROWS, COLS, 1e-3f, isas[i].isa, &rng)) return;
            float *bad = rf_alloc(M * COLS * 4);
            memcpy(bad, x, M * COLS * 4);
            for (size_t k = 0; k < COLS; k++) bad[2 * COLS + k] = 0, bad[5 * COLS + k] = k % 2 ? 1e-40f : -1e-40f;
            bad[3 * COLS + 77] = NAN;
            bad[7 * COLS + 300] = INFINITY;
            bad[8 * COLS + 511] = -INFINITY;
            CHECK_INT(lin_run1(pools[1], f.scratch, f.w, x, M, NULL, clean, ROWS), RF_OK);
            CHECK_INT(lin_run1(pools[1], f.scratch, f.w, bad, M, NULL, y, ROWS), RF_OK);
            for (size_t m = 0; m < M; m++) {
                const float *row = y + m * ROWS;
                for (size_t r = 0; r < ROWS; r++) {
                    if (m == 2) CHECK(row[r] == 0.0f);
                    if (m == 5) CHECK(fabsf(row[r]) < 1e-30f);
                    /* a weight may be exactly 0: 0 * Inf is NaN, so never finite */
                    if (m == 3 || m == 7 || m == 8) CHECK(!isfinite(row[r]));
                }
                if (m != 2 && m != 3 && m != 5 && m != 7 && m != 8) CHECK(!memcmp(row, clean + m * ROWS, ROWS * 4));
            }
            rf_free(bad);
            fixture_release(&f);
        }
    rf_free(x);
    rf_free(clean);
    rf_free(y);
}

/* Three weights of different types read one input; the result is each alone. More rows than one chunk. */
TEST(three_weights_one_input)
{
    enum { M = 530, COLS = 256, N = 3 };
    static const size_t pick[][N] = {{3, 12, 10}, {6, 3, 0}, {8, 9, 11}, {1, 2, 5}, {13, 3, 2}}, rows[N] = {64, 33, 7};
    struct rf_rng rng = {seed + 5};
    float *x = rf_alloc(M * COLS * 4), *bias = rf_alloc(64 * 4), *out[N], *alone = rf_alloc(M * 64 * 4);
    lin_fill_x(x, M, COLS, &rng);
    for (size_t k = 0; k < 64; k++) bias[k] = (float)k;
    for (int i = 0; i < n_isa; i++)
        for (size_t p = 0; p < RF_COUNT(pick); p++) {
            struct fixture f[N];
            struct rf_matmul_args a = {.x = (rf_dev)x, .rows = M, .n_w = N};
            for (size_t k = 0; k < N; k++) {
                if (!fixture_init(&f[k], &lin_types[pick[p][k]], rows[k], COLS, 1e-3f, isas[i].isa, &rng)) return;
                out[k] = rf_alloc(M * 80 * 4);
                a.w[k] = (const struct rf_weight *)f[k].w;
                a.out[k] = (rf_dev)out[k];
                a.out_stride[k] = 80;
                a.bias[k] = k == 1 ? (rf_dev)bias : 0;
            }
            CHECK_INT(rf_linear_run(pools[1], f[0].scratch, &a, NULL), RF_OK);
            uint64_t before = rf_mem_count();
            CHECK_INT(rf_linear_run(pools[1], f[0].scratch, &a, NULL), RF_OK);
            CHECK_INT(rf_mem_count(), before); /* no allocation once the scratch has grown */
            for (size_t k = 0; k < N; k++) {
                CHECK_INT(lin_run1(pools[0], f[k].scratch, f[k].w, x, M, k == 1 ? bias : NULL, alone, (uint32_t)rows[k]), RF_OK);
                for (size_t m = 0; m < M; m++) CHECK(!memcmp(out[k] + m * 80, alone + m * rows[k], rows[k] * 4));
                rf_free(out[k]);
            }
            for (size_t k = 0; k < N; k++) fixture_release(&f[k]);
        }
    rf_free(x);
    rf_free(bias);
    rf_free(alone);
}

/* Precise products, of quantised and float weights together: what int8 rounding leaves is multiplied too, so the error is
 * a 254th of its square; a row alone has the bits it has among many; a NaN stays in its row; no allocation the second time. */
TEST(precise_products)
{
    enum { M = 300, COLS = 288, ROWS = 70, N = 2 };
    struct rf_rng rng = {seed + 6};
    float *x = rf_alloc(M * COLS * 4), *out[N], *alone = rf_alloc(ROWS * 4), bias[ROWS];
    lin_fill_x(x, M, COLS, &rng);
    for (size_t k = 0; k < ROWS; k++) bias[k] = (float)k;
    for (int i = 0; i < n_isa; i++)
        for (size_t t = 0; t < RF_COUNT(lin_types); t++) {
            if (!cols_fit(&lin_types[t], COLS)) continue;
            struct fixture f[N];
            struct rf_matmul_args a = {.x = (rf_dev)x, .rows = M, .n_w = N, .precise = true};
            for (size_t k = 0; k < N; k++) {
                if (!fixture_init(&f[k], &lin_types[k ? 3 : t], ROWS, COLS, 1e-3f, isas[i].isa, &rng)) return;
                out[k] = rf_alloc(M * ROWS * 4);
                a.w[k] = (const struct rf_weight *)f[k].w;
                a.out[k] = (rf_dev)out[k];
                a.out_stride[k] = ROWS;
            }
            a.bias[0] = (rf_dev)bias;
            CHECK_INT(rf_linear_run(pools[1], f[0].scratch, &a, NULL), RF_OK);
            uint64_t before = rf_mem_count();
            CHECK_INT(rf_linear_run(pools[1], f[0].scratch, &a, NULL), RF_OK);
            CHECK_INT(rf_mem_count(), before);
            double err = 0, size = 0;
            for (size_t m = 0; m < M; m++)
                for (size_t r = 0; r < ROWS; r++) {
                    double want = bias[r];
                    for (size_t k = 0; k < COLS; k++) {
                        double p = f[0].exact[r * COLS + k] * (double)x[m * COLS + k];
                        want += p;
                        size += p * p;
                    }
                    err += (out[0][m * ROWS + r] - want) * (out[0][m * ROWS + r] - want);
                    size += (double)bias[r] * (double)bias[r] * 1e-6;
                }
            if (!(sqrt(err / size) <= 2e-4))
                CHECK_FAIL_("%s %s: relative rms error %.3g", isas[i].name, rf_type_name(lin_types[t].type), sqrt(err / size));
            for (size_t m = 0; m < M; m += 37) {
                struct rf_matmul_args one = {.x = (rf_dev)(x + m * COLS), .rows = 1, .n_w = 1, .precise = true, .w = {a.w[0]},
                                             .out = {(rf_dev)alone}, .out_stride = {ROWS}, .bias = {(rf_dev)bias}};
                CHECK_INT(rf_linear_run(pools[0], f[0].scratch, &one, NULL), RF_OK);
                CHECK(!memcmp(alone, out[0] + m * ROWS, ROWS * 4));
            }
            float keep = x[5 * COLS + 7], *was = rf_alloc(M * ROWS * 4);
            memcpy(was, out[0], M * ROWS * 4);
            x[5 * COLS + 7] = NAN;
            CHECK_INT(rf_linear_run(pools[1], f[0].scratch, &a, NULL), RF_OK);
            x[5 * COLS + 7] = keep;
            for (size_t m = 0; m < M; m++)
                if (m == 5 ? isfinite(out[0][m * ROWS]) : memcmp(was + m * ROWS, out[0] + m * ROWS, ROWS * 4))
                    CHECK_FAIL_("%s %s row %zu beside a NaN: %g", isas[i].name, rf_type_name(lin_types[t].type), m, (double)out[0][m * ROWS]);
            rf_free(was);
            for (size_t k = 0; k < N; k++) {
                rf_free(out[k]);
                fixture_release(&f[k]);
            }
        }
    rf_free(x);
    rf_free(alone);
}

/* What linear_kern.h says that amx computes. x and w are bf16 already. */
static float amx_sum(const float *w, const float *x, size_t n)
{
    float y = 0;
    for (size_t k = 0; k < n; k += 32) {
        float chain[2] = {0, 0};
        for (size_t i = k; i < n && i < k + 32; i++) chain[i % 2] = fmaf(w[i], x[i], chain[i % 2]);
        y += chain[0] + chain[1];
    }
    return y;
}

/* BF16 weights where activations become bf16: the order of the sums bit for bit (amx), numbers too small for it, the largest
 * float, and weights that are Inf or NaN. */
TEST(bf16_products)
{
    enum { M = 67, COLS = 419, ROWS = 41 };
    static const struct lin_type bf16 = {RF_TYPE_BF16, {-1, -1}};
    struct rf_rng rng = {seed + 7};
    uint16_t *b = rf_alloc(ROWS * COLS * 2);
    float *x = rf_alloc(M * COLS * 4), *y = rf_alloc(M * ROWS * 4), w[COLS], r[COLS];
    for (int i = 0; i < n_isa; i++) {
        struct fixture f;
        if (!fixture_init(&f, &bf16, ROWS, COLS, 1.0f, isas[i].isa, &rng)) return;
        for (size_t k = 0; k < ROWS * COLS; k++) b[k] = rf_f32_to_bf16(ldexpf((float)rf_rng_normal(&rng), (int)rf_rng_below(&rng, 40) - 20));
        for (size_t k = 0; k < M * COLS; k++) x[k] = ldexpf((float)rf_rng_normal(&rng), (int)rf_rng_below(&rng, 40) - 20);
        for (size_t k = 0; k < COLS; k++) b[COLS + k] = 0x8001, x[COLS + k] = 0x1p-130f; /* output 1, row 1: all below 2^-126 */
        memset(x + 2 * COLS, 0, COLS * 4);
        x[2 * COLS + 418] = FLT_MAX; /* row 2: one product, by 2^-20 */
        for (size_t o = 0; o < ROWS; o++) b[o * COLS + 418] = rf_f32_to_bf16(0x1p-20f);
        b[1 * COLS + 418] = 0;
        b[3 * COLS + 7] = 0x7f80, b[4 * COLS + 9] = 0x7fc1; /* outputs 3 and 4: Inf, NaN */
        rf_linear_free(f.w);
        struct rf_weight_desc d = {.name = "w", .type = RF_TYPE_BF16, .rows = ROWS, .cols = COLS, .data = b};
        bool copied;
        CHECK_INT(rf_linear_create(&f.w, &d, isas[i].isa, pools[1], &copied, NULL), RF_OK);
        CHECK_INT(lin_run1(pools[1], f.scratch, f.w, x, M, NULL, y, ROWS), RF_OK);
        for (size_t m = 0; m < M; m++)
            for (size_t o = 0; o < ROWS; o++) {
                float got = y[m * ROWS + o];
                if (o == 3 || o == 4) CHECK(!isfinite(got));
                else if (o == 1 || m == 1) CHECK(fabsf(got) < 1e-30f);
                else if (m == 2) CHECK(fabsf(got / FLT_MAX * 0x1p20f - 1) < 0x1p-8f);
                else if (isas[i].isa & RF_ISA_AMX) {
                    for (size_t k = 0; k < COLS; k++) w[k] = rf_bf16_to_f32(b[o * COLS + k]), r[k] = rf_bf16_to_f32(rf_f32_to_bf16(x[m * COLS + k]));
                    float want = amx_sum(w, r, COLS);
                    if (memcmp(&want, &got, 4)) CHECK_FAIL_("row %zu output %zu: %.9g, want %.9g", m, o, (double)got, (double)want);
                }
            }
        fixture_release(&f);
    }
    rf_free(b);
    rf_free(x);
    rf_free(y);
}

/* Bulk rows of quantised weights are, bit for bit, what BF16 weights give that hold the decoded values, rounded; the plain rows
 * among them keep their bits, with precise and without; all in whatever order and number. */
TEST(bulk_rows)
{
    enum { M = 139, ROWS = 70, COLS = 768, SICK = 3 };
    struct rf_rng rng = {seed + 8};
    float *x = rf_alloc(M * COLS * 4), *y = rf_alloc(M * ROWS * 4), *want[2] = {rf_alloc(M * ROWS * 4), rf_alloc(M * ROWS * 4)}, bias[ROWS];
    uint16_t *b = rf_alloc(ROWS * COLS * 2);
    lin_fill_x(x, M, COLS, &rng);
    x[SICK * COLS + 1] = NAN;
    for (size_t k = 0; k < ROWS; k++) bias[k] = (float)k * 1e-2f;
    for (int i = 0; i < n_isa; i++)
        for (size_t t = 0; t < RF_COUNT(lin_types); t++) {
            struct fixture f;
            size_t cols = lin_types[t].type == RF_TYPE_Q4_0 || lin_types[t].type == RF_TYPE_Q8_0 ? COLS - 32 : COLS;
            if (!rf_linear_has_bulk(isas[i].isa) || rf_type_get(lin_types[t].type)->block == 1) continue;
            if (!fixture_init(&f, &lin_types[t], ROWS, cols, 1e-3f, isas[i].isa, &rng)) return;
            for (size_t k = 0; k < ROWS * cols; k++) b[k] = rf_f32_to_bf16((float)f.exact[k]);
            struct rf_weight_desc d = {.name = "w", .type = RF_TYPE_BF16, .rows = ROWS, .cols = cols, .data = b};
            struct rf_linear *wide;
            bool copied;
            CHECK_INT(rf_linear_create(&wide, &d, isas[i].isa, pools[1], &copied, NULL), RF_OK);
            CHECK_INT(lin_run1(pools[1], f.scratch, wide, x, M, bias, want[1], ROWS), RF_OK);
            for (int n = 0; n < 12; n++) {
                uint32_t row[M], n_lot[2] = {0}, m_rows = n < 2 ? M : 1 + (uint32_t)rf_rng_below(&rng, M), odds = n ? 1 + (uint32_t)rf_rng_below(&rng, 4) : 1;
                bool bulk[M];
                for (uint32_t m = 0; m < m_rows; m++) bulk[m] = odds == 1 || rf_rng_below(&rng, odds);
                for (int lot = 0; lot < 2; lot++)
                    for (uint32_t m = 0; m < m_rows; m++)
                        if (bulk[m] == lot) row[n_lot[0] + n_lot[1]] = m, n_lot[lot]++;
                struct rf_linear_rows rows = {row, n_lot[0], n_lot[1]};
                struct rf_matmul_args a = {.x = (rf_dev)x, .rows = m_rows, .n_w = 1, .w = {(const struct rf_weight *)f.w}, .bias = {(rf_dev)bias},
                                           .out = {(rf_dev)want[0]}, .out_stride = {ROWS}, .precise = n % 2};
                CHECK_INT(rf_linear_run(pools[1], f.scratch, &a, NULL), RF_OK);
                a.out[0] = (rf_dev)y;
                CHECK_INT(rf_linear_run(pools[n % 3 == 0], f.scratch, &a, &rows), RF_OK);
                for (uint32_t m = 0; m < m_rows; m++)
                    if (m == SICK ? isfinite(y[m * ROWS]) : memcmp(y + m * ROWS, want[bulk[m]] + m * ROWS, ROWS * 4))
                        CHECK_FAIL_("%s %s row %u of %u (%u bulk), bulk %d: %.9g, want %.9g", isas[i].name, rf_type_name(lin_types[t].type), m, m_rows,
                                    n_lot[1], bulk[m], (double)y[m * ROWS], (double)want[bulk[m]][m * ROWS]);
            }
            rf_linear_free(wide);
            fixture_release(&f);
        }
    rf_free(x);
    rf_free(y);
    rf_free(want[0]);
    rf_free(want[1]);
    rf_free(b);
}

struct fetched {
    const struct fixture *f;
    _Atomic unsigned calls[70]; /* of each row */
};

static void fetch(void *ctx, uint64_t first, uint64_t n, void *dst, size_t stride)
{
    struct fetched *x = ctx;
    size_t row = x->f->bytes / x->f->rows;
    for (uint64_t r = 0; r < n; r++) {
        memcpy((uint8_t *)dst + r * stride, x->f->file + (first + r) * row, row);
        x->calls[first + r]++;
    }
}

/* Rows that somebody writes, once each, give the weight that rows of a file give. */
TEST(fetched_rows)
{
    enum { ROWS = 70, M = 3 };
    static const size_t cols[] = {512, 33};
    struct rf_rng rng = {seed + 9};
    float x[M * 512], a[M * ROWS], b[M * ROWS];
    lin_fill_x(x, M, 512, &rng);
    for (int i = 0; i < n_isa; i++)
        for (size_t t = 0; t < RF_COUNT(lin_types); t++)
            for (size_t k = 0; k < RF_COUNT(cols); k++) {
                struct fixture f;
                if (!cols_fit(&lin_types[t], cols[k])) continue;
                if (!fixture_init(&f, &lin_types[t], ROWS, cols[k], 1e-3f, isas[i].isa, &rng)) return;
                struct fetched from = {.f = &f};
                struct rf_weight_desc d = {.name = "w", .type = lin_types[t].type, .rows = ROWS, .cols = cols[k], .fetch = fetch, .ctx = &from};
                struct rf_linear *w;
                bool copied;
                CHECK_INT(rf_linear_create(&w, &d, isas[i].isa, pools[1], &copied, NULL), RF_OK);
                for (size_t r = 0; r < ROWS; r++) CHECK_INT(from.calls[r], 1);
                CHECK_INT(lin_run1(pools[1], f.scratch, f.w, x, M, NULL, a, ROWS), RF_OK);
                CHECK_INT(lin_run1(pools[1], f.scratch, w, x, M, NULL, b, ROWS), RF_OK);
                CHECK(!memcmp(a, b, sizeof a));
                rf_linear_free(w);
                fixture_release(&f);
            }
}

TEST(refusals)
{
    uint8_t data[64] = {0};
    struct rf_linear *w;
    struct rf_error err;
    bool copied;
    struct rf_weight_desc d = {.name = "blk.0.odd", .type = 16, .rows = 1, .cols = 256, .data = data};
    CHECK_INT(rf_linear_create(&w, &d, 0, pools[0], &copied, &err), RF_UNSUPPORTED);
    CHECK(strstr(err.message, "blk.0.odd") && strstr(err.message, "IQ2_XXS"));
    d.type = RF_TYPE_Q4_0;
    d.cols = 33;
    CHECK_INT(rf_linear_create(&w, &d, 0, pools[0], &copied, &err), RF_CORRUPT);
    d.cols = 0;
    CHECK_INT(rf_linear_create(&w, &d, 0, pools[0], &copied, &err), RF_CORRUPT);
    d.cols = UINT64_MAX / 32 * 32;
    CHECK(rf_linear_create(&w, &d, isas[n_isa - 1].isa, pools[0], &copied, &err) != RF_OK);
    d.cols = 32;
    d.rows = UINT64_MAX;
    CHECK(rf_linear_create(&w, &d, isas[n_isa - 1].isa, pools[0], &copied, &err) != RF_OK);
    CHECK(w == NULL);
    rf_linear_free(NULL);
    rf_linear_scratch_free(NULL);
}

int main(void)
{
    seed = check_seed();
    find_isas();
    if (rf_pool_create(&pools[0], 1, NULL) || rf_pool_create(&pools[1], 3, NULL)) return 1;
    RUN(rows_come_back_as_in_the_file);
    RUN(products_of_every_type_and_shape);
    RUN(every_number_of_outputs);
    RUN(extreme_scales);
    RUN(odd_inputs_stay_in_their_row);
    RUN(three_weights_one_input);
    RUN(precise_products);
    RUN(bf16_products);
    RUN(bulk_rows);
    RUN(fetched_rows);
    RUN(refusals);
    rf_pool_free(pools[0]);
    rf_pool_free(pools[1]);
    return check_end();
}
