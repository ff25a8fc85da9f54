/* Products of many rows on the matrix unit against sums in double, on the device that RF_TEST_DEVICE names (meson.build: the emulator at
 * warp 32 and 64). Also: a row has the same bits wherever it stands and whatever stands beside it, within one kind of product.
 *
 * Tolerance. Rounding to bf16 (8 bits) is off by 2^-8 at most, by 2^-8 / sqrt 3 or less as a root mean square; so a sum of K products of
 * standard deviations sx, sw is off by at most sqrt(2 K / 3) 2^-8 sx sw that way. Five times that is allowed. Precise products keep 16 bits of
 * both sides: 2^-16 in the same place, and what f32 sums lose.
 */
#include "backend/gpu/gpu.h"
#include "gpu_help.h"

static uint64_t seed;
static struct rf_backend *gpu;

struct product { uint32_t rows, cols, n_w, n_out[RF_MATMUL_MAX]; struct rf_weight *w[RF_MATMUL_MAX]; bool precise; size_t spare; };

/* out of weight i at out + i * rows * stride; columns behind n_out[i] keep what they had. */
static void multiply(const struct product *p, const float *x, const float *bias, uint32_t stride, float *out)
{
    size_t plane = (size_t)p->rows * stride;
    rf_dev dx = put(gpu, x, (size_t)p->rows * p->cols * 4), db = put(gpu, bias, stride * 4), to = put(gpu, out, p->n_w * plane * 4);
    struct rf_matmul_args a = {.x = dx, .rows = p->rows, .n_w = p->n_w, .precise = p->precise, .spare_bytes = p->spare};
    if (p->spare) CHECK_INT(gpu->mem->alloc(gpu, p->spare + 64, &a.spare, NULL), RF_OK);
    for (uint32_t i = 0; i < p->n_w; i++) {
        a.w[i] = p->w[i];
        a.bias[i] = i == 1 ? 0 : db;
        a.out[i] = to + i * plane * 4;
        a.out_stride[i] = stride;
    }
    CHECK_INT(gpu->ops->matmul(gpu, NULL, &a), RF_OK);
    get(gpu, out, to, p->n_w * plane * 4);
    for (size_t i = 0; a.spare && i < 64; i++) { /* nothing behind it is touched */
        char end[64];
        get(gpu, end, a.spare + p->spare, sizeof end);
        CHECK_INT(end[i], 0);
    }
    if (a.spare) gpu->mem->free(gpu, a.spare);
    gpu->mem->free(gpu, dx), gpu->mem->free(gpu, db), gpu->mem->free(gpu, to);
}

static double tolerance(bool precise, uint32_t cols, double scale)
{
    return 5 * sqrt(2.0 * cols / 3) * scale * (precise ? 1.0 / 65536 + cols * 3e-8 : 1.0 / 256);
}

/* Largest error over its tolerance. */
static double worst(const float *got, const float *x, const float *w, const float *bias, uint32_t rows, uint32_t cols, uint32_t n, uint32_t stride, double allowed)
{
    double most = 0;
    for (uint32_t m = 0; m < rows; m++)
        for (uint32_t j = 0; j < n; j++) {
            double sum = bias ? (double)bias[j] : 0;
            for (uint32_t k = 0; k < cols; k++) sum += (double)x[(size_t)m * cols + k] * (double)w[(size_t)j * cols + k];
            double e = fabs(sum - (double)got[(size_t)m * stride + j]) / allowed;
            if (!(e <= most)) most = isnan(e) ? INFINITY : e;
        }
    return most;
}

/* large: k is cut into splits. */
static uint32_t cols_of(const struct rf_type_info *ti, bool large) { return ti->block == 256 ? (large ? 1280 : 256) : ti->block == 32 ? (large ? 608 : 96) : (large ? 520 : 40); }

/* Share of the tolerance that is allowed. On NVIDIA up to 64 rows of these types keep 11 bits of x and all of the weights (on Hopper 11 bits), so an eighth; but of
 * what a minimum is taken off from, which is up to twice as large. */
static double share_of(uint32_t type, uint32_t rows, bool precise)
{
    const bool others = type == RF_TYPE_F32 || type == RF_TYPE_BF16 || type == RF_TYPE_Q4_1 || type == RF_TYPE_Q5_1 || type == RF_TYPE_Q2_K || type == RF_TYPE_Q3_K;
    if (precise || strncmp(gpu->info.name, "cuda", 4) || rows > 64 || others) return 1;
    return type == RF_TYPE_Q4_K || type == RF_TYPE_Q5_K ? 0.25 : 0.125;
}

TEST(every_type)
{
    static const uint32_t rows[] = {9, 16, 33, 65, 130};
    struct rf_rng r = {seed};
    for (size_t k = 0; k < RF_COUNT(types); k++) {
        const struct rf_type_info *ti = rf_type_get(types[k]);
        double most[2] = {0};
        for (size_t i = 0; i < RF_COUNT(rows); i++) {
            if (check_quick() && (k + i) % 3) continue;
            struct product p = {.rows = rows[i], .cols = cols_of(ti, i & 1), .n_w = 2, .n_out = {37, 140}, .precise = i == 2 || i == 3};
            const uint32_t stride = 144;
            void *data[2] = {encoded(types[k], p.n_out[0], p.cols, &r), encoded(types[k], p.n_out[1], p.cols, &r)};
            float *x = normal((size_t)p.rows * p.cols, &r, 1), *bias = normal(stride, &r, 1), *w = floats((size_t)140 * p.cols);
            float *out = floats((size_t)2 * p.rows * stride);
            bool precise = p.precise || types[k] == RF_TYPE_F32;
            double error = 0;
            for (uint32_t j = 0; j < 2; j++) p.w[j] = weight(gpu, types[k], p.n_out[j], p.cols, data[j]);
            for (size_t e = 0; e < (size_t)2 * p.rows * stride; e++) out[e] = 12345;
            multiply(&p, x, bias, stride, out);
            for (uint32_t j = 0; j < 2; j++) {
                ti->decode(data[j], w, (uint64_t)p.n_out[j] * p.cols);
                float *plane = out + (size_t)j * p.rows * stride;
                error = fmax(error, worst(plane, x, w, j ? NULL : bias, p.rows, p.cols, p.n_out[j], stride, tolerance(precise, p.cols, 1)));
                for (uint32_t m = 0; m < p.rows; m++) CHECK(plane[(size_t)m * stride + p.n_out[j]] == 12345);
                gpu->mem->weight_free(gpu, p.w[j]);
            }
            if (error > share_of(types[k], rows[i], precise))
                CHECK_FAIL_("%s, %u rows%s: off by %.3g times the tolerance", ti->name, p.rows, precise ? ", precise" : "", error);
            most[precise] = fmax(most[precise], error);
            free(data[0]), free(data[1]), free(x), free(bias), free(w), free(out);
        }
        printf("# %s: error %.2f of the tolerance, precise %.2f\n", ti->name, most[0], most[1]);
    }
}

/* Shapes that are no multiples of tiles, and few or many of them: fewer steps than a ring has stages, as many, more; blocks that take several pieces one after the
 * other, k cut into splits, or shared out over a cluster of up to 8 blocks (Hopper). An odd stride stores values one by one, an even one pairs where there is no bias. */
TEST(shapes)
{
    static const struct { uint32_t type, rows, cols, n[3], stride; bool precise; } shapes[] = {
        {RF_TYPE_BF16, 257, 64, {1, 2}, 2, false},             {RF_TYPE_BF16, 65, 256, {128, 128}, 128, false},       {RF_TYPE_BF16, 520, 136, {513}, 515, false},
        {RF_TYPE_BF16, 400, 1600, {130, 129}, 130, false},     {RF_TYPE_BF16, 128, 1288, {5, 256}, 257, false},       {RF_TYPE_F16, 129, 328, {127, 2, 256}, 256, false},
        {RF_TYPE_F16, 255, 320, {40, 250}, 250, true},         {RF_TYPE_Q8_0, 256, 1056, {129}, 131, false},          {RF_TYPE_Q4_K, 300, 768, {386, 129, 3}, 386, false},
        {RF_TYPE_Q6_K, 130, 1280, {7, 255}, 256, true},        {RF_TYPE_F8_E4M3, 384, 224, {256, 130}, 256, false},   {RF_TYPE_F8_E4M3, 70, 1056, {33, 128}, 128, true},
        {RF_TYPE_F32, 100, 520, {64, 200}, 200, false},        {RF_TYPE_BF16, 20, 1032, {200}, 200, false},
        {RF_TYPE_BF16, 65, 5952, {513}, 513, false},          /* four clusters share three pieces: runs end where pieces do not */
        {RF_TYPE_BF16, 66, 1544, {1030, 250}, 1030, false},   /* a fifth piece and a sixth are shared when four are done */
        {RF_TYPE_BF16, 258, 1600, {300, 100}, 300, false},    /* two groups of two clusters: three pieces each */
        {RF_TYPE_BF16, 20, 776, {257, 512, 300}, 512, false}, /* so many tiles share nothing out: their ring turns */
        {RF_TYPE_Q8_0, 64, 1056, {255, 256, 3}, 256, false},
        {RF_TYPE_Q4_K, 33, 1280, {200}, 203, false},           {RF_TYPE_F16, 9, 2088, {17}, 18, false},               {RF_TYPE_F8_E4M3, 40, 1184, {300, 31}, 300, false},
    };
    const bool hopper = getenv("RF_EMU_HOPPER");
    const size_t every = getenv("RF_TEST_SMALL") ? 5 : check_quick() && !hopper ? 3 : 1;
    struct rf_rng r = {seed};
    if (hopper) CHECK(rf_gpu_has_stream(rf_gpu_of(gpu)));
    for (size_t k = every - 1; k < RF_COUNT(shapes); k += every) {
        struct product p = {.rows = shapes[k].rows, .cols = shapes[k].cols, .precise = shapes[k].precise};
        const uint32_t stride = shapes[k].stride;
        while (p.n_w < 3 && shapes[k].n[p.n_w]) p.n_out[p.n_w] = shapes[k].n[p.n_w], p.n_w++;
        const size_t plane = (size_t)p.rows * stride;
        const bool precise = p.precise || shapes[k].type == RF_TYPE_F32;
        float *x = normal((size_t)p.rows * p.cols, &r, 1), *bias = normal(stride, &r, 1), *out = floats(p.n_w * plane), *w[3];
        for (uint32_t j = 0; j < p.n_w; j++) {
            void *data = encoded(shapes[k].type, p.n_out[j], p.cols, &r);
            w[j] = floats((size_t)p.n_out[j] * p.cols);
            rf_type_get(shapes[k].type)->decode(data, w[j], (uint64_t)p.n_out[j] * p.cols);
            p.w[j] = weight(gpu, shapes[k].type, p.n_out[j], p.cols, data);
            free(data);
        }
        for (size_t e = 0; e < p.n_w * plane; e++) out[e] = 12345;
        multiply(&p, x, bias, stride, out);
        for (uint32_t j = 0; j < p.n_w; j++) {
            const double e = worst(out + j * plane, x, w[j], j == 1 ? NULL : bias, p.rows, p.cols, p.n_out[j], stride, tolerance(precise, p.cols, 1));
            if (e > share_of(shapes[k].type, p.rows, precise)) CHECK_FAIL_("shape %zu, weight %u: off by %.3g times the tolerance", k, j, e);
            for (uint32_t m = 0; m < p.rows; m++)
                for (uint32_t n = p.n_out[j]; n < stride; n++) CHECK(out[j * plane + (size_t)m * stride + n] == 12345);
            gpu->mem->weight_free(gpu, p.w[j]);
            free(w[j]);
        }
        free(x), free(bias), free(out);
    }
    if (hopper) CHECK_INT(rf_gpu_of(gpu)->gemm.shape.persistent, 1);
}

/* Three weights of different types and odd sizes in one call. */
TEST(mixed_weights)
{
    static const uint32_t mixes[][3] = {{RF_TYPE_Q4_K, RF_TYPE_Q4_K, RF_TYPE_Q6_K}, {RF_TYPE_BF16, RF_TYPE_Q4_K, RF_TYPE_BF16}, {RF_TYPE_F16, RF_TYPE_BF16, RF_TYPE_F32}};
    struct rf_rng r = {seed};
    for (size_t k = 0; k < RF_COUNT(mixes); k++)
        for (int precise = 0; precise < 2; precise++) {
            struct product p = {.rows = k ? 70 : 20, .cols = 256, .n_w = 3, .n_out = {130, 3, 257}, .precise = precise};
            const uint32_t stride = 259;
            float *x = normal((size_t)p.rows * p.cols, &r, 1), *bias = normal(stride, &r, 1), *out = floats((size_t)3 * p.rows * stride), *w[3];
            for (uint32_t j = 0; j < 3; j++) {
                void *data = encoded(mixes[k][j], p.n_out[j], p.cols, &r);
                w[j] = floats((size_t)p.n_out[j] * p.cols);
                rf_type_get(mixes[k][j])->decode(data, w[j], (uint64_t)p.n_out[j] * p.cols);
                p.w[j] = weight(gpu, mixes[k][j], p.n_out[j], p.cols, data);
                free(data);
            }
            multiply(&p, x, bias, stride, out);
            for (uint32_t j = 0; j < 3; j++) {
                double e = worst(out + (size_t)j * p.rows * stride, x, w[j], j == 1 ? NULL : bias, p.rows, p.cols, p.n_out[j], stride, tolerance(precise, p.cols, 1));
                if (e > 1) CHECK_FAIL_("mix %zu, weight %u, precise %d: off by %.3g times the tolerance", k, j, precise, e);
                gpu->mem->weight_free(gpu, p.w[j]);
                free(w[j]);
            }
            free(x), free(bias), free(out);
        }
}

/* A row's bits: at the front and at the back, among few and among many rows of the same kind of product. */
TEST(rows_stand_alone)
{
    static const struct { uint32_t type, few, many, cols; } kinds[] = {
        {RF_TYPE_Q4_K, 9, 64, 512}, {RF_TYPE_Q4_K, 300, 700, 512}, {RF_TYPE_BF16, 11, 40, 512}, {RF_TYPE_BF16, 300, 420, 1600}, {RF_TYPE_F8_E4M3, 9, 64, 512}};
    struct rf_rng r = {seed};
    for (size_t k = 0; k < RF_COUNT(kinds); k++) {
        enum { OUT = 65, STRIDE = 66 };
        const uint32_t cols = kinds[k].cols;
        void *data = encoded(kinds[k].type, OUT, cols, &r);
        float *x = normal((size_t)kinds[k].many * cols, &r, 1), *bias = normal(STRIDE, &r, 1);
        float *some = floats((size_t)kinds[k].many * STRIDE), *all = floats((size_t)kinds[k].many * STRIDE);
        struct product p = {.rows = kinds[k].many, .cols = cols, .n_w = 1, .n_out = {OUT}, .w = {weight(gpu, kinds[k].type, OUT, cols, data)}};
        multiply(&p, x, bias, STRIDE, all);
        p.rows = kinds[k].few;
        for (uint32_t from = 0; from + p.rows <= kinds[k].many; from += kinds[k].many - p.rows) {
            multiply(&p, x + (size_t)from * cols, bias, STRIDE, some);
            for (uint32_t m = 0; m < p.rows; m++)
                if (memcmp(some + (size_t)m * STRIDE, all + (size_t)(from + m) * STRIDE, OUT * 4)) CHECK_FAIL_("kind %zu: row %u from %u has other bits", k, m, from);
        }
        gpu->mem->weight_free(gpu, p.w[0]);
        free(data), free(x), free(bias), free(some), free(all);
    }
}

/* However little memory there is for expanded weights, and whoever lends it: the same bits. */
TEST(memory_does_not_matter)
{
    enum { COLS = 256, STRIDE = 390, ROWS = 270, TILE_ROW = 128 * COLS * 2, X = 512 * COLS * 2 }; /* bytes of 128 columns of the result, and of x */
    static const uint32_t mixes[][3] = {{RF_TYPE_Q4_K, RF_TYPE_Q6_K, RF_TYPE_Q4_K}, {RF_TYPE_BF16, RF_TYPE_Q4_K, RF_TYPE_F16}};
    static const struct { uint64_t w; size_t spare; } rooms[] = {{4 * TILE_ROW, X - 1}, {4 * TILE_ROW, X + TILE_ROW}, {4 * TILE_ROW, X + 3 * TILE_ROW},
                                                                 {4 * TILE_ROW, 2 * X + 5 * TILE_ROW}};
    struct rf_gpu *g = rf_gpu_of(gpu);
    struct rf_rng r = {seed};
    for (size_t k = 0; k < RF_COUNT(mixes); k++)
        for (int precise = 0; precise < 2 - (k || check_quick()); precise++) {
            struct product p = {.rows = ROWS, .cols = COLS, .n_w = 3, .n_out = {386, 40, 130}, .precise = precise};
            const size_t plane = (size_t)p.rows * STRIDE, bytes = 3 * plane * sizeof(float);
            float *x = normal((size_t)p.rows * COLS, &r, 1), *bias = normal(STRIDE, &r, 1), *whole = floats(3 * plane), *out = floats(3 * plane);
            for (uint32_t j = 0; j < 3; j++) {
                void *data = encoded(mixes[k][j], p.n_out[j], COLS, &r);
                p.w[j] = weight(gpu, mixes[k][j], p.n_out[j], COLS, data);
                free(data);
            }
            multiply(&p, x, bias, STRIDE, whole);
            for (size_t i = 0; i < RF_COUNT(rooms); i++) {
                rf_gpu_scratch_release(g, &g->work);
                g->gemm.w_most = rooms[i].w;
                p.spare = rooms[i].spare;
                memset(out, 0, bytes);
                multiply(&p, x, bias, STRIDE, out);
                if (memcmp(out, whole, bytes)) CHECK_FAIL_("mix %zu, precise %d, room %zu: other bits", k, precise, i);
                CHECK(g->work.bytes <= rooms[i].w + (p.spare >= (size_t)X << precise ? 0 : X << precise));
            }
            g->gemm.w_most = 0;
            for (uint32_t j = 0; j < 3; j++) gpu->mem->weight_free(gpu, p.w[j]);
            free(x), free(bias), free(whole), free(out);
        }
}

/* What norm and activation leave beside their rows for the product behind them gives what the rows alone give (but for halves below 2^-14: the factors differ). */
TEST(maker_of_x_does_not_matter)
{
    enum { COLS = 512, OUT = 70, STRIDE = 72 };
    static const uint32_t rows[] = {2, 12, 33, 64, 65}, kinds[] = {RF_TYPE_Q8_0, RF_TYPE_BF16, RF_TYPE_Q4_K};
    struct rf_rng r = {seed};
    struct product p = {.cols = COLS, .n_w = 3, .n_out = {OUT, OUT, OUT}};
    for (uint32_t j = 0; j < 3; j++) {
        void *data = encoded(kinds[j], OUT, COLS, &r);
        p.w[j] = weight(gpu, kinds[j], OUT, COLS, data);
        free(data);
    }
    for (size_t i = 0; i < RF_COUNT(rows); i++)
        for (int glu = 0; glu < 2; glu++) {
            const uint32_t n = rows[i] * COLS, plane = rows[i] * STRIDE;
            float *a = normal(n, &r, 1), *b = normal(n, &r, 1), *y = floats(n), *got = floats(3 * plane), *want = floats(3 * plane), *bias = floats(STRIDE);
            rf_dev da = put(gpu, a, n * 4), db = put(gpu, b, n * 4), to = put(gpu, got, 3 * plane * 4);
            struct rf_matmul_args m = {.x = da, .rows = rows[i], .n_w = 3};
            for (uint32_t j = 0; j < 3; j++) m.w[j] = p.w[j], m.out[j] = to + j * plane * 4, m.out_stride[j] = STRIDE;
            if (glu) CHECK_INT(gpu->ops->glu(gpu, NULL, &(struct rf_glu_args){.gate = da, .up = db, .out = da, .rows = rows[i], .cols = COLS}), RF_OK);
            else CHECK_INT(gpu->ops->rmsnorm(gpu, NULL, &(struct rf_rmsnorm_args){.x = da, .w = db, .y = da, .rows = rows[i], .cols = COLS, .x_stride = COLS,
                                                                                  .y_stride = COLS, .eps = 1e-6f}), RF_OK);
            CHECK_INT(gpu->ops->matmul(gpu, NULL, &m), RF_OK);
            get(gpu, y, da, n * 4);
            get(gpu, got, to, 3 * plane * 4);
            gpu->mem->free(gpu, da), gpu->mem->free(gpu, db), gpu->mem->free(gpu, to);
            p.rows = rows[i];
            multiply(&p, y, bias, STRIDE, want);
            for (uint32_t j = 0; j < 3; j++)
                for (uint32_t k = 0; k < plane; k++) {
                    const double is = got[j * plane + k], should = want[j * plane + k];
                    if (k % STRIDE >= OUT || fabs(is - should) < 1e-3) continue;
                    CHECK_FAIL_("%u rows, %s, weight %u: [%u] is %g, expected %g", rows[i], glu ? "glu" : "norm", j, k, is, should);
                    break;
                }
            free(a), free(b), free(y), free(got), free(want), free(bias);
        }
    for (uint32_t j = 0; j < 3; j++) gpu->mem->weight_free(gpu, p.w[j]);
}

/* Norm, gate and up, activation, down: as three calls (where the device keeps x in tiles between them), and slot by slot. k is cut at other places where pieces share it, so
 * sums differ in their last bits there and activations in bf16's; so they do where a product's own SiLU or GELU has another reciprocal. Elsewhere no bit differs. */
TEST(what_stands_around)
{
    static const struct { uint32_t type[3], rows, cols, ff; enum rf_act act; bool precise, residual, bias, cut; uint64_t w_most; } kinds[] = {
        {{RF_TYPE_BF16, RF_TYPE_BF16, RF_TYPE_BF16}, 65, 256, 512, RF_ACT_SILU, false, true, false, false, 0},
        {{RF_TYPE_BF16, RF_TYPE_BF16, RF_TYPE_BF16}, 200, 1664, 320, RF_ACT_GELU_TANH, false, false, false, true, 0},
        {{RF_TYPE_BF16, RF_TYPE_BF16, RF_TYPE_BF16}, 300, 1600, 192, RF_ACT_GELU, false, true, true, true, 0},
        {{RF_TYPE_Q4_K, RF_TYPE_Q4_K, RF_TYPE_Q6_K}, 270, 256, 1280, RF_ACT_SILU, false, true, false, false, 4 * 128 * 256 * 2},
        {{RF_TYPE_BF16, RF_TYPE_Q8_0, RF_TYPE_Q8_0}, 520, 96, 384, RF_ACT_RELU, false, true, true, false, 4 * 128 * 128 * 2},
        {{RF_TYPE_F16, RF_TYPE_Q4_0, RF_TYPE_F8_E4M3}, 130, 96, 448, RF_ACT_SILU, false, false, true, false, 0},
        {{RF_TYPE_BF16, RF_TYPE_Q8_0, RF_TYPE_Q8_0}, 520, 96, 704, RF_ACT_SILU, false, true, false, false, 4 * 128 * 128 * 2}, /* one of the two lies ready: slices of both */
        {{RF_TYPE_F16, RF_TYPE_Q4_0, RF_TYPE_F8_E4M3}, 300, 96, 448, RF_ACT_SILU, false, false, false, false, 0},
        {{RF_TYPE_Q8_0, RF_TYPE_Q8_0, RF_TYPE_Q8_0}, 70, 128, 96, RF_ACT_SILU, false, true, false, false, 0}, /* no whole blobs */
        {{RF_TYPE_Q8_0, RF_TYPE_Q8_0, RF_TYPE_Q8_0}, 129, 128, 128, RF_ACT_SILU, true, true, false, false, 0},
        {{RF_TYPE_BF16, RF_TYPE_BF16, RF_TYPE_BF16}, 20, 256, 256, RF_ACT_SILU, false, true, false, false, 0}};
    const size_t every = check_quick() && !getenv("RF_EMU_HOPPER") ? 2 : 1;
    struct rf_gpu *g = rf_gpu_of(gpu);
    struct rf_rng r = {seed};
    g->act.f32 = false; /* other tests' weights of this type are gone */
    for (size_t k = 0; k < RF_COUNT(kinds); k += every) {
        const uint32_t rows = kinds[k].rows, cols = kinds[k].cols, ff = kinds[k].ff, n_in[3] = {cols, cols, ff}, n_out[3] = {ff, ff, cols};
        float *x = normal((size_t)rows * cols, &r, 1), *residual = normal((size_t)rows * cols, &r, 1), *norm = normal(cols, &r, 1), *bias = normal(2 * ff, &r, 1);
        float *got[2] = {floats((size_t)rows * cols), floats((size_t)rows * cols)}, *sum[2] = {floats((size_t)rows * cols), floats((size_t)rows * cols)};
        struct rf_weight *w[3];
        for (uint32_t j = 0; j < 3; j++) {
            void *data = encoded(kinds[k].type[j], n_out[j], n_in[j], &r);
            w[j] = weight(gpu, kinds[k].type[j], n_out[j], n_in[j], data);
            free(data);
        }
        rf_gpu_scratch_release(g, &g->work);
        g->gemm.w_most = kinds[k].w_most;
        rf_dev dn = put(gpu, norm, cols * 4), db = put(gpu, bias, 2 * ff * 4);
        bool own = false; /* the product has made activations itself */
        for (int whole = 0; whole < 2; whole++) {
            float *nothing = floats((size_t)rows * (cols + 2 * ff));
            rf_dev dx = put(gpu, x, (size_t)rows * cols * 4), dr = put(gpu, residual, (size_t)rows * cols * 4), h = put(gpu, nothing, (size_t)rows * (cols + 2 * ff) * 4);
            rf_dev gate = h + (rf_dev)rows * cols * 4, up = gate + (rf_dev)rows * ff * 4;
            const struct rf_rmsnorm_args n = {.x = dx, .residual = kinds[k].residual ? dr : 0, .sum = dx, .w = dn, .y = h, .rows = rows, .cols = cols, .x_stride = cols,
                                              .y_stride = cols, .eps = 1e-6f};
            const struct rf_glu_args a = {.gate = gate, .up = up, .out = gate, .rows = rows, .cols = ff, .act = kinds[k].act};
            struct rf_matmul_args m = {.x = h, .rows = rows, .n_w = 2, .w = {w[0], w[1]}, .out = {gate, up}, .out_stride = {ff, ff}, .precise = kinds[k].precise};
            const struct rf_matmul_args down = {.x = gate, .rows = rows, .n_w = 1, .w = {w[2]}, .out = {dr}, .out_stride = {cols}, .precise = kinds[k].precise};
            if (kinds[k].bias) m.bias[0] = db, m.bias[1] = db + ff * 4;
            if (whole) m.norm = &n, m.glu = &a;
            else CHECK_INT(gpu->ops->rmsnorm(gpu, NULL, &n), RF_OK);
            CHECK_INT(gpu->ops->matmul(gpu, NULL, &m), RF_OK);
            own = rf_gpu_act_tiles_of(g, gate, rows, ff);
            if (rf_gpu_has_stream(g)) CHECK_INT(own, whole && rows > 64 && ff % 64 == 0 && !kinds[k].precise && !kinds[k].bias && kinds[k].act <= RF_ACT_GELU_TANH);
            if (!whole) CHECK_INT(gpu->ops->glu(gpu, NULL, &a), RF_OK);
            CHECK_INT(gpu->ops->matmul(gpu, NULL, &down), RF_OK);
            get(gpu, got[whole], dr, (size_t)rows * cols * 4);
            get(gpu, sum[whole], dx, (size_t)rows * cols * 4);
            gpu->mem->free(gpu, dx), gpu->mem->free(gpu, dr), gpu->mem->free(gpu, h);
            free(nothing);
        }
        double most = 0, size = 0;
        for (size_t i = 0; i < (size_t)rows * cols; i++) {
            most = fmax(most, fabs((double)got[0][i] - (double)got[1][i]));
            size += (double)got[0][i] * (double)got[0][i] / rows / cols;
        }
        CHECK(size > 0.1 && isfinite(size));
        if (most > (kinds[k].cut || own ? 0.003 * sqrt(size) : 0)) CHECK_FAIL_("kind %zu: off by %g of %g", k, most, sqrt(size));
        CHECK(!memcmp(sum[0], sum[1], (size_t)rows * cols * 4));
        g->gemm.w_most = 0;
        gpu->mem->free(gpu, dn), gpu->mem->free(gpu, db);
        for (uint32_t j = 0; j < 3; j++) gpu->mem->weight_free(gpu, w[j]);
        for (int i = 0; i < 2; i++) free(got[i]), free(sum[i]);
        free(x), free(residual), free(norm), free(bias);
    }
}

/* Tiles of 128 columns that a launch takes: even, no more than there is room for, and on an H200 no more turns of its 66 pairs of blocks than whole weights need. */
TEST(launches_fill_the_chip)
{
    static const struct { uint32_t rows, left, room, turns; } h200[] = {
        {2048, 224, 64, 14}, {2048, 32, 18, 2}, {2048, 48, 64, 3}, {1024, 224, 64, 7}, {1536, 32, 28, 2}, {512, 224, 64, 4}, {768, 224, 64, 6}};
    const struct gemm_shape shape = {.persistent = 1, .processors = 132}, plain = {.processors = 132};
    for (size_t i = 0; i < RF_COUNT(h200); i++) {
        uint32_t turns = 0, taken = 0;
        for (uint32_t left = h200[i].left, t; left; left -= t) {
            t = rf_gpu_gemm_share(&shape, h200[i].rows, left, h200[i].room);
            REQUIRE(t && t % 2 == 0 && t <= h200[i].room && t <= left);
            turns += ((h200[i].rows + 255) / 256 * (t / 2) + 65) / 66;
            taken += t;
        }
        CHECK_INT(taken, h200[i].left);
        CHECK_INT(turns, h200[i].turns);
        CHECK_INT(rf_gpu_gemm_share(&shape, 256, h200[i].left, h200[i].room), RF_MIN(h200[i].left, h200[i].room)); /* splits go by it: never by rows */
        CHECK_INT(rf_gpu_gemm_share(&plain, h200[i].rows, h200[i].left, h200[i].room), RF_MIN(h200[i].left, h200[i].room));
    }
    CHECK_INT(rf_gpu_gemm_share(&shape, 2048, 0, 0), 0);
    CHECK_INT(rf_gpu_gemm_share(&shape, 2048, 10, 2), 2);
}

/* NaN and Inf stay in their rows and columns; large and small numbers keep their precision. */
TEST(extremes)
{
    enum { ROWS = 20, COLS = 64, OUT = 20 };
    static const double scales[] = {1e-20, 1e15};
    struct rf_rng r = {seed};
    float *wx = normal(OUT * COLS, &r, 1), *bias = floats(OUT), *out = floats(ROWS * OUT);
    struct product p = {.rows = ROWS, .cols = COLS, .n_w = 1, .n_out = {OUT}, .w = {weight(gpu, RF_TYPE_F32, OUT, COLS, wx)}};
    for (size_t k = 0; k < RF_COUNT(scales); k++) {
        float *x = normal(ROWS * COLS, &r, scales[k]);
        multiply(&p, x, bias, OUT, out);
        CHECK(worst(out, x, wx, NULL, ROWS, COLS, OUT, OUT, tolerance(true, COLS, scales[k])) <= 1);
        free(x);
    }
    float *x = normal(ROWS * COLS, &r, 1);
    x[3 * COLS + 5] = NAN, x[7 * COLS + 1] = INFINITY;
    multiply(&p, x, bias, OUT, out);
    for (uint32_t m = 0; m < ROWS; m++)
        for (uint32_t j = 0; j < OUT; j++) CHECK(m == 3 ? isnan(out[m * OUT + j]) : m == 7 ? !isfinite(out[m * OUT + j]) : isfinite(out[m * OUT + j]));
    gpu->mem->weight_free(gpu, p.w[0]);
    free(wx), free(bias), free(out), free(x);
}

int main(void)
{
    const char *device;
    int code;
    seed = check_seed();
    if (!open_device(&gpu, &device, &code)) return code;
    RUN(every_type);
    RUN(shapes);
    RUN(mixed_weights);
    RUN(rows_stand_alone);
    RUN(memory_does_not_matter);
    RUN(maker_of_x_does_not_matter);
    RUN(what_stands_around);
    RUN(launches_fill_the_chip);
    RUN(extremes);
    rf_backend_close(gpu);
    return check_end();
}
