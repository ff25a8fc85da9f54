/* Every slot of a GPU backend against the CPU's plain C, on the device that RF_TEST_DEVICE names (cuda:0 by default). In CI that is
 * the emulator at warp 32 (cuda) and 64 (hip), see meson.build; on a machine with a card, the card.
 *
 * Both sides get the same calls on the same numbers. Besides: a row alone has the bits it has in a batch, and attention has
 * the same bits however a prompt is cut and its blocks are strewn.
 */
#include "gpu_help.h"

static uint64_t seed;
static const char *device;
static struct rf_backend *cpu, *gpu;

/* ---- elements and rows ---- */

static const float odd[] = {0, -0.0f, 1, -1, 1e-30f, 1e30f, -1e30f, 88, -88, 20, -20, 0.5f, -0.24f, 0.26f, INFINITY, NAN};

TEST(elements)
{
    static const uint32_t sizes[] = {1, 31, 64, 257, 3000};
    struct rf_rng r = {seed};
    for (size_t k = 0; k < RF_COUNT(sizes); k++) {
        uint32_t n = sizes[k];
        float *a = normal(n, &r, 3), *b = normal(n, &r, 1), *out[2] = {floats(n), floats(n)};
        for (uint32_t i = 0; i < n; i += 3) a[i] = odd[i / 3 % RF_COUNT(odd)];
        for (int op = 0; op < RF_ACT_RELU + 4; op++) {
            for (int side = 0; side < 2; side++) {
                struct rf_backend *be = side ? gpu : cpu;
                rf_dev x = put(be, a, n * 4), y = put(be, b, n * 4);
                rf_status s;
                if (op <= RF_ACT_RELU) s = be->ops->glu(be, NULL, &(struct rf_glu_args){.gate = x, .up = y, .out = x, .rows = 1, .cols = n, .act = (enum rf_act)op});
                else if (op == RF_ACT_RELU + 1) s = be->ops->add(be, NULL, &(struct rf_add_args){.a = x, .b = y, .out = x, .n = n, .b_scale = 0.75f});
                else s = be->ops->softcap(be, NULL, &(struct rf_softcap_args){.x = x, .n = n, .cap = op == RF_ACT_RELU + 2 ? 0.0f : 30.0f, .scale = 0.5f});
                CHECK_INT(s, RF_OK);
                get(be, out[side], x, n * 4);
                be->mem->free(be, x), be->mem->free(be, y);
            }
            char what[32];
            snprintf(what, sizeof what, "op %d of %u", op, n);
            check_near(out[1], out[0], n, 4e-6, 1e-7, what);
        }
        free(a), free(b), free(out[0]), free(out[1]);
    }
}

TEST(rmsnorm)
{
    static const uint32_t cols[] = {8, 64, 96, 128, 256, 640, 896, 2056, 8200};
    struct rf_rng r = {seed};
    for (size_t k = 0; k < RF_COUNT(cols); k++)
        for (int mode = 0; mode < 3; mode++) {
            uint32_t n = cols[k], rows = 5, stride = n + (mode == 1 ? 4 : 0), dense = rows * n;
            float *x = normal((size_t)rows * stride, &r, mode == 2 ? 1e10 : 1), *w = normal(n, &r, 1), *res = normal(dense, &r, 1);
            float *y[2] = {floats((size_t)rows * stride), floats((size_t)rows * stride)}, *sum[2] = {floats(dense), floats(dense)};
            for (int side = 0; side < 2; side++) {
                struct rf_backend *b = side ? gpu : cpu;
                rf_dev dx = put(b, x, (size_t)rows * stride * 4), dw = put(b, w, n * 4), dr = put(b, res, dense * 4);
                struct rf_rmsnorm_args a = {.x = dx, .residual = mode != 1 ? dr : 0, .sum = dr, .w = dw, .y = dx, .rows = rows, .cols = n,
                                            .x_stride = stride, .y_stride = stride, .eps = 1e-6f};
                CHECK_INT(b->ops->rmsnorm(b, NULL, &a), RF_OK);
                get(b, y[side], dx, (size_t)rows * stride * 4);
                get(b, sum[side], dr, dense * 4);
                b->mem->free(b, dx), b->mem->free(b, dw), b->mem->free(b, dr);
            }
            check_near(y[1], y[0], (size_t)rows * stride, 2e-6, 1e-12, "norm");
            check_near(sum[1], sum[0], dense, 0, 0, "sum");
            free(x), free(w), free(res), free(y[0]), free(y[1]), free(sum[0]), free(sum[1]);
        }
}

TEST(gather)
{
    enum { N = 20, COLS = 200 };
    float x[N * COLS], out[N * COLS];
    for (int i = 0; i < N * COLS; i++) x[i] = (float)i;
    int32_t rows[] = {0, 3, 4, 19}, first[] = {0, N}, zero[N] = {0};
    struct rf_batch batch = {.n_tok = N, .n_seq = 1, .n_out = 4, .token = zero, .pos = zero, .seq_first = first, .out_row = rows};
    for (int in_place = 0; in_place < 2; in_place++) {
        rf_dev dx = put(gpu, x, sizeof x), to = in_place ? dx : put(gpu, out, sizeof out);
        CHECK_INT(gpu->ops->batch_begin(gpu, NULL, &batch), RF_OK);
        CHECK_INT(gpu->ops->gather(gpu, NULL, &(struct rf_gather_args){.x = dx, .out = to, .cols = COLS}), RF_OK);
        get(gpu, out, to, 4 * COLS * 4);
        for (int i = 0; i < 4; i++) CHECK(!memcmp(out + i * COLS, x + rows[i] * COLS, COLS * 4));
        gpu->mem->free(gpu, dx);
        if (!in_place) gpu->mem->free(gpu, to);
    }
}

/* ---- weights: every type, lookups and products ---- */

TEST(embed)
{
    enum { ROWS = 12 };
    struct rf_rng r = {seed};
    for (size_t k = 0; k < RF_COUNT(types); k++) {
        const struct rf_type_info *ti = rf_type_get(types[k]);
        uint32_t cols = ti->block == 256 ? 768 : ti->block == 32 ? 96 + 256 : 264;
        void *data = encoded(types[k], ROWS, cols, &r);
        struct rf_weight *w = weight(gpu, types[k], ROWS, cols, data);
        int32_t tok[] = {0, 11, 5, 5, 7}, first[] = {0, 5};
        struct rf_batch batch = {.n_tok = 5, .n_seq = 1, .token = tok, .pos = tok, .seq_first = first};
        float *out = floats(5 * cols), *want = floats(cols);
        rf_dev to = put(gpu, out, 5 * cols * 4);
        CHECK_INT(gpu->ops->batch_begin(gpu, NULL, &batch), RF_OK);
        CHECK_INT(gpu->ops->embed(gpu, NULL, &(struct rf_embed_args){.w = w, .out = to, .scale = 1}), RF_OK);
        get(gpu, out, to, 5 * cols * 4);
        for (int t = 0; t < 5; t++) {
            ti->decode((const char *)data + (size_t)tok[t] * (cols / ti->block * ti->bytes), want, cols);
            check_near(out + (size_t)t * cols, want, cols, 2e-6, 2e-6, ti->name); /* scale * q - min in one rounding */
        }
        uint64_t pad_rows = types[k] == RF_TYPE_BF16 ? 128 : 16, pad_cols = RF_MAX(ti->block, 128u); /* no more than padding and a few bytes of scales */
        uint64_t padded = pad_rows * ((cols + pad_cols - 1) / pad_cols) * pad_cols / ti->block * ti->bytes;
        CHECK(gpu->mem->weight_bytes(w) * 100 <= padded * 105);
        tok[2] = ROWS;
        gpu->ops->batch_begin(gpu, NULL, &batch);
        CHECK_INT(gpu->ops->embed(gpu, NULL, &(struct rf_embed_args){.w = w, .out = to, .scale = 1}), RF_INTERNAL);
        gpu->mem->weight_free(gpu, w);
        gpu->mem->free(gpu, to);
        free(data), free(out), free(want);
    }
}

/* out[rows][stride] of one side. */
static void matmul(struct rf_backend *b, struct rf_weight *const *w, uint32_t n_w, const float *x, uint32_t rows, uint32_t cols, uint32_t n_out,
                   const float *bias, uint32_t stride, float *out)
{
    rf_dev dx = put(b, x, (size_t)rows * cols * 4), db = put(b, bias, n_out * 4), to = put(b, out, (size_t)n_w * rows * stride * 4);
    struct rf_matmul_args a = {.x = dx, .rows = rows, .n_w = n_w};
    for (uint32_t i = 0; i < n_w; i++) {
        a.w[i] = w[i];
        a.bias[i] = i == 1 ? 0 : db;
        a.out[i] = to + (rf_dev)i * rows * stride * 4;
        a.out_stride[i] = stride;
    }
    CHECK_INT(b->ops->matmul(b, NULL, &a), RF_OK);
    get(b, out, to, (size_t)n_w * rows * stride * 4);
    b->mem->free(b, dx), b->mem->free(b, db), b->mem->free(b, to);
}

TEST(matmul_every_type)
{
    enum { OUT = 37, STRIDE = 40, M = 8 }; /* more rows: test_gpu_gemm */
    static const uint32_t ms[] = {1, 2, 4, 5, M};
    struct rf_rng r = {seed};
    for (size_t k = 0; k < RF_COUNT(types); k++) {
        const struct rf_type_info *ti = rf_type_get(types[k]);
        uint32_t cols = ti->block == 256 ? 768 : ti->block == 32 ? 96 + 256 : 264;
        void *data = encoded(types[k], OUT, cols, &r);
        float *x = normal((size_t)M * cols, &r, 1), *bias = normal(OUT, &r, 1);
        float *want = floats(2 * M * STRIDE), *got = floats(2 * M * STRIDE), *batch = floats(2 * M * STRIDE);
        struct rf_weight *wc[] = {weight(cpu, types[k], OUT, cols, data), NULL}, *wg[] = {weight(gpu, types[k], OUT, cols, data), NULL};
        wc[1] = wc[0], wg[1] = wg[0];
        for (size_t i = 0; i < RF_COUNT(ms); i++) {
            uint32_t m = ms[i];
            if (check_quick() && (k + i) % 3) continue;
            memset(want, 0x11, 2 * M * STRIDE * 4), memset(got, 0x11, 2 * M * STRIDE * 4);
            matmul(cpu, wc, 2, x, m, cols, OUT, bias, STRIDE, want);
            matmul(gpu, wg, 2, x, m, cols, OUT, bias, STRIDE, got);
            check_near(got, want, (size_t)2 * m * STRIDE, 1e-5, 1e-4, ti->name);
        }
        matmul(gpu, wg, 1, x, M, cols, OUT, bias, STRIDE, batch);
        for (uint32_t m = 0; m < M; m++) {
            matmul(gpu, wg, 1, x + (size_t)m * cols, 1, cols, OUT, bias, STRIDE, got);
            if (memcmp(got, batch + (size_t)m * STRIDE, OUT * 4)) CHECK_FAIL_("%s: row %u alone has other bits than in a batch", ti->name, m);
        }
        cpu->mem->weight_free(cpu, wc[0]);
        gpu->mem->weight_free(gpu, wg[0]);
        free(data), free(x), free(bias), free(want), free(got), free(batch);
    }
}

/* ---- one row, with what stands around its product ---- */

enum around { PLAIN, NORM = 1, ADD = 2, GLU = 4 };

/* x normed, times two weights of `rows` rows: what `what` asks for, in one call or slot by slot; out holds [rows] or (PLAIN, NORM) [2][rows]. */
static void around(struct rf_weight *const *w, int what, bool fused, const float *x, const float *norm, uint32_t cols, const float *bias, uint32_t rows, float *out)
{
    rf_dev dx = put(gpu, x, cols * 4), dn = put(gpu, norm, cols * 4), db = put(gpu, bias, rows * 4), y = put(gpu, x, cols * 4);
    rf_dev to = put(gpu, out, 2 * rows * 4), sum = put(gpu, bias, rows * 4);
    struct rf_rmsnorm_args n = {.x = dx, .w = dn, .y = y, .rows = 1, .cols = cols, .x_stride = cols, .y_stride = cols, .eps = 1e-5f};
    struct rf_glu_args glu = {.gate = to, .up = to + rows * 4, .out = to, .rows = 1, .cols = rows, .act = RF_ACT_GELU};
    struct rf_matmul_args a = {.x = what & NORM ? y : dx, .rows = 1, .n_w = what & ADD ? 1 : 2, .w = {w[0], w[1]}, .bias = {db}, .out = {to, to + rows * 4},
                               .out_stride = {rows, rows}};
    if (fused) {
        a.norm = what & NORM ? &n : NULL;
        a.add = what & ADD ? sum : 0;
        a.glu = what & GLU ? &glu : NULL;
    } else if (what & NORM) {
        CHECK_INT(gpu->ops->rmsnorm(gpu, NULL, &n), RF_OK);
    }
    CHECK_INT(gpu->ops->matmul(gpu, NULL, &a), RF_OK);
    if (!fused && what & GLU) CHECK_INT(gpu->ops->glu(gpu, NULL, &glu), RF_OK);
    if (!fused && what & ADD) CHECK_INT(gpu->ops->add(gpu, NULL, &(struct rf_add_args){.a = sum, .b = to, .out = sum, .n = rows, .b_scale = 1}), RF_OK);
    get(gpu, out, what & ADD ? sum : to, (what & (ADD | GLU) ? 1 : 2) * rows * 4);
    gpu->mem->free(gpu, dx), gpu->mem->free(gpu, dn), gpu->mem->free(gpu, db), gpu->mem->free(gpu, y), gpu->mem->free(gpu, to), gpu->mem->free(gpu, sum);
}

/* The same bits as slot by slot: every type, also those of two types, of different heights, or of rows too long for a norm in one go. */
TEST(one_row_with_what_stands_around)
{
    enum { OUT = 150, OTHER = 37 };
    static const int whats[] = {PLAIN, NORM, ADD, NORM | ADD, GLU, NORM | GLU};
    struct rf_rng r = {seed};
    for (size_t k = 0; k < RF_COUNT(types); k++) {
        const struct rf_type_info *ti = rf_type_get(types[k]);
        uint32_t cols = k == 2 ? 8256 : ti->block == 256 ? 768 : ti->block == 32 ? 96 + 256 : 264;
        const uint32_t second = types[k] == RF_TYPE_Q4_K ? RF_TYPE_Q6_K : RF_TYPE_BF16;
        void *data[] = {encoded(types[k], OUT, cols, &r), encoded(second, OUT, cols, &r)};
        float *x = normal(cols, &r, 3), *norm = normal(cols, &r, 1), *bias = normal(OUT, &r, 1), *got = floats(2 * OUT), *want = floats(2 * OUT);
        struct rf_weight *same[] = {weight(gpu, types[k], OUT, cols, data[0]), weight(gpu, types[k], OUT, cols, data[0])};
        struct rf_weight *other[] = {same[0], weight(gpu, second, OUT, cols, data[1])}, *low[] = {same[0], weight(gpu, types[k], OTHER, cols, data[0])};
        for (size_t i = 0; i < RF_COUNT(whats); i++) {
            struct rf_weight *const *w[] = {same, other, low};
            for (int j = 0; j < (whats[i] & GLU ? 2 : 3); j++) {
                if (check_quick() && (k + i + (size_t)j) % 3) continue;
                memset(got, 0x11, 2 * OUT * 4), memset(want, 0x11, 2 * OUT * 4);
                around(w[j], whats[i], false, x, norm, cols, bias, OUT, want);
                around(w[j], whats[i], true, x, norm, cols, bias, OUT, got);
                if (memcmp(got, want, 2 * OUT * 4)) CHECK_FAIL_("%s: %d around weights %d: other bits than slot by slot", ti->name, whats[i], j);
            }
        }
        gpu->mem->weight_free(gpu, same[0]), gpu->mem->weight_free(gpu, same[1]), gpu->mem->weight_free(gpu, other[1]), gpu->mem->weight_free(gpu, low[1]);
        free(data[0]), free(data[1]), free(x), free(norm), free(bias), free(got), free(want);
    }
}

TEST(weights_that_cannot_be)
{
    struct rf_error err = {0};
    struct rf_weight *w;
    bool copied;
    float x[16] = {0};
    struct rf_weight_desc d = {.name = "odd", .type = RF_TYPE_F32, .rows = 1, .cols = 12, .data = x};
    CHECK_INT(gpu->mem->weight_create(gpu, &d, &w, &copied, &err), RF_UNSUPPORTED);
    CHECK(!w && strstr(err.message, "odd"));
    d.cols = 8, d.type = 16;
    CHECK_INT(gpu->mem->weight_create(gpu, &d, &w, &copied, &err), RF_UNSUPPORTED);
    d.type = RF_TYPE_F32, d.rows = 1u << 30, d.cols = 1 << 20;
    CHECK_INT(gpu->mem->weight_create(gpu, &d, &w, &copied, &err), RF_NOMEM);
    CHECK(strstr(err.message, "needs 4503599627370496 bytes"));
}

/* ---- rope, cache and attention ---- */

struct shape {
    const char *name;
    uint32_t n_head, n_kv, dim, rot, window;
    float softcap;
    enum rf_rope_style style;
    enum rf_kv_type type;
};
static const struct shape shapes[] = {
    {"qwen 0.5B", 14, 2, 64, 64, 0, 0, RF_ROPE_NEOX, RF_KV_F16},
    {"gemma window", 4, 1, 256, 256, 90, 0, RF_ROPE_NEOX, RF_KV_BF16},
    {"part rope, softcap", 3, 3, 40, 24, 0, 20, RF_ROPE_PAIRS, RF_KV_F32},
    {"wide group", 20, 1, 32, 32, 0, 0, RF_ROPE_NONE, RF_KV_BF16},
};
enum { SEQS = 3, STRIDE = 16 };
static uint32_t lens[SEQS] = {150, 1, 70};

struct world {
    const struct shape *s;
    float *q[SEQS], *k[SEQS], *v[SEQS], inv_freq[128];
};

static void world_make(struct world *w, const struct shape *s)
{
    struct rf_rng r = {seed ^ s->dim};
    *w = (struct world){.s = s};
    for (uint32_t i = 0; i < s->rot / 2; i++) w->inv_freq[i] = (float)pow(10000, -2.0 * i / s->rot);
    for (int i = 0; i < SEQS; i++) {
        w->q[i] = normal((size_t)lens[i] * s->n_head * s->dim, &r, 1);
        w->k[i] = normal((size_t)lens[i] * s->n_kv * s->dim, &r, 1);
        w->v[i] = normal((size_t)lens[i] * s->n_kv * s->dim, &r, 1);
    }
}

static void world_free(struct world *w)
{
    for (int i = 0; i < SEQS; i++) free(w->q[i]), free(w->k[i]), free(w->v[i]);
}

/* Steps of `chunk` tokens of all sequences at once, rotation and append by attention (fused) or before it; q and outputs land in out[sequence]. */
static void walk(struct rf_backend *b, const struct world *w, uint32_t chunk, bool backward_blocks, bool fused, float **out)
{
    const struct shape *s = w->s;
    uint32_t qd = s->n_head * s->dim, kd = s->n_kv * s->dim, at = 0;
    struct rf_error err = {0};
    struct rf_kv_store *kv = NULL;
    struct rf_kv_desc d = {.n_block = SEQS * STRIDE, .n_slot = 2, .n_kv_head = s->n_kv, .head_dim = s->dim, .type = s->type};
    if (b->mem->kv_create(b, &d, &kv, &err)) {
        CHECK_FAIL_("%s", err.message);
        return;
    }
    rf_dev freq = put(b, w->inv_freq, sizeof w->inv_freq);
    for (bool more = true; more; at += chunk) {
        int32_t first[SEQS + 1] = {0}, table[SEQS * STRIDE], pos[512], n_seq = 0, seq[SEQS];
        float *Q = floats((size_t)512 * qd), *K = floats((size_t)512 * kd), *V = floats((size_t)512 * kd);
        int32_t n = 0;
        for (int i = 0; i < SEQS; i++) {
            uint32_t end = RF_MIN(lens[i], at + chunk);
            if (at >= lens[i]) continue;
            for (int j = 0; j < STRIDE; j++)
                table[n_seq * STRIDE + j] = j * 16 >= (int)lens[i] ? -1 : backward_blocks ? SEQS * STRIDE - 1 - (i * STRIDE + j) : i * STRIDE + j;
            for (uint32_t p = at; p < end; p++, n++) {
                pos[n] = (int32_t)p;
                memcpy(Q + (size_t)n * qd, w->q[i] + (size_t)p * qd, qd * 4);
                memcpy(K + (size_t)n * kd, w->k[i] + (size_t)p * kd, kd * 4);
                memcpy(V + (size_t)n * kd, w->v[i] + (size_t)p * kd, kd * 4);
            }
            seq[n_seq++] = i;
            first[n_seq] = n;
        }
        more = n > 0;
        if (more) {
            const int32_t *tables[] = {table};
            rf_dev q = put(b, Q, (size_t)n * qd * 4), k = put(b, K, (size_t)n * kd * 4), v = put(b, V, (size_t)n * kd * 4), o = put(b, Q, (size_t)n * qd * 4);
            struct rf_batch batch = {.n_tok = (uint32_t)n, .n_seq = (uint32_t)n_seq, .n_group = 1, .token = pos, .pos = pos, .seq_first = first,
                                     .block_table = tables, .table_stride = STRIDE};
            CHECK_INT(b->ops->batch_begin(b, NULL, &batch), RF_OK);
            struct rf_rope_kv_args rope = {.q = q, .k = k, .v = v, .q_stride = qd, .kv_stride = kd, .n_head = s->n_head, .n_kv_head = s->n_kv,
                .head_dim = s->dim, .rot_dim = s->rot, .style = s->style, .inv_freq = freq, .mscale = 1.25f, .kv = kv, .slot = 1};
            if (!fused) CHECK_INT(b->ops->rope_kv(b, NULL, &rope), RF_OK);
            struct rf_attention_args a = {.rope = fused ? &rope : NULL,.q = q, .out = o, .q_stride = qd, .out_stride = qd, .n_head = s->n_head, .n_kv_head = s->n_kv,
                .head_dim = s->dim, .scale = (float)(1 / sqrt(s->dim)), .softcap = s->softcap, .window = s->window, .kv = kv, .slot = 1};
            CHECK_INT(b->ops->attention(b, NULL, &a), RF_OK);
            get(b, Q, o, (size_t)n * qd * 4);
            for (int i = 0; i < n_seq; i++)
                memcpy(out[seq[i]] + (size_t)at * qd, Q + (size_t)first[i] * qd, (size_t)(first[i + 1] - first[i]) * qd * 4);
            b->mem->free(b, q), b->mem->free(b, k), b->mem->free(b, v), b->mem->free(b, o);
        }
        free(Q), free(K), free(V);
    }
    b->mem->free(b, freq);
    b->mem->kv_free(b, kv);
}

/* Every way of attending against the CPU. flash rounds queries and weights to the cache's type: 2^-11 or 2^-8 of a value of about 1. */
static const char *const ways[] = {"auto", "reference", "flash", "paged-split"};

TEST(attention)
{
    struct rf_backend *whole = gpu;
    struct rf_error err = {0};
    for (size_t k = 0; k < RF_COUNT(ways); k++) {
        if (rf_backend_open(&gpu, &(struct rf_backend_options){.device = device, .attention = ways[k]}, &err)) {
            CHECK_FAIL_("%s", err.message);
            break;
        }
        for (size_t i = 0; i < RF_COUNT(shapes); i++) {
            if (check_quick() && (k + i) % 3) continue;
            struct world w;
            float *want[SEQS], *base[SEQS], *out[SEQS];
            struct rf_kv_desc d = {.n_block = 1, .n_slot = 1, .n_kv_head = shapes[i].n_kv, .head_dim = shapes[i].dim, .type = shapes[i].type};
            struct rf_kv_store *kv = NULL;
            rf_status s = gpu->mem->kv_create(gpu, &d, &kv, &err);
            gpu->mem->kv_free(gpu, kv);
            if (s == RF_UNSUPPORTED) { /* said so, by name */
                CHECK(!strcmp(ways[k], "flash") && strstr(err.message, "flash wants") && (shapes[i].type == RF_KV_F32 || shapes[i].dim > 128));
                err = (struct rf_error){0};
                continue;
            }
            CHECK_INT(s, RF_OK);
            CHECK(strstr(gpu->info.attention, k ? ways[k] : "paged-split"));
            world_make(&w, &shapes[i]);
            size_t row = (size_t)shapes[i].n_head * shapes[i].dim;
            for (int q = 0; q < SEQS; q++) want[q] = floats(lens[q] * row), base[q] = floats(lens[q] * row), out[q] = floats(lens[q] * row);
            walk(cpu, &w, 150, false, false, want);
            walk(gpu, &w, 150, false, true, base);
            const bool rounds = strstr(gpu->info.attention, "flash") && !strstr(gpu->info.attention, "wants");
            const double allowed = !rounds ? 2e-6 : shapes[i].type == RF_KV_F16 ? 2e-3 : 1.6e-2;
            for (int q = 0; q < SEQS; q++) check_near(base[q], want[q], lens[q] * row, rounds ? allowed : 1e-5, allowed, shapes[i].name);
            for (int c = 0; c < 2; c++) { /* 53: chunks of attention and of the prompt never meet */
                walk(gpu, &w, c ? 53 : 75, c, c, out);
                for (int q = 0; q < SEQS; q++)
                    if (memcmp(base[q], out[q], lens[q] * row * 4)) CHECK_FAIL_("%s, %s: cut %d, sequence %d: other bits", ways[k], shapes[i].name, c, q);
            }
            for (int q = 0; q < SEQS; q++) free(want[q]), free(base[q]), free(out[q]);
            world_free(&w);
        }
        rf_backend_close(gpu);
    }
    gpu = whole;
    CHECK_INT(rf_backend_open(&whole, &(struct rf_backend_options){.device = device, .attention = "flush"}, &err), RF_INVALID);
}

/* Token by token, as in decoding: near the reference, and the same bits wherever the blocks lie and whoever rotates and appends. */
TEST(attention_token_by_token)
{
    for (size_t i = 0; i < RF_COUNT(shapes); i++) {
        struct world w;
        float *want[SEQS], *base[SEQS], *out[SEQS];
        world_make(&w, &shapes[i]);
        size_t row = (size_t)shapes[i].n_head * shapes[i].dim;
        for (int q = 0; q < SEQS; q++) want[q] = floats(lens[q] * row), base[q] = floats(lens[q] * row), out[q] = floats(lens[q] * row);
        walk(cpu, &w, 150, false, false, want);
        walk(gpu, &w, 1, false, false, base);
        walk(gpu, &w, 1, true, true, out);
        const double allowed = shapes[i].type == RF_KV_BF16 ? 2e-5 : 4e-6; /* queries and weights in two parts of bf16: 2^-17 of each */
        for (int q = 0; q < SEQS; q++) {
            check_near(base[q], want[q], lens[q] * row, 1e-5, allowed, shapes[i].name);
            if (memcmp(base[q], out[q], lens[q] * row * 4)) CHECK_FAIL_("%s: sequence %d: other bits with other blocks", shapes[i].name, q);
        }
        for (int q = 0; q < SEQS; q++) free(want[q]), free(base[q]), free(out[q]);
        world_free(&w);
    }
}

/* More rows and heads than pieces of work are handed out at once, at all lengths, over one sequence's blocks: near the reference, the same bits from a
 * second launch, and in any company: up to 8 rows are one kind, more are another (docs/architecture.md). */
TEST(attention_of_many_rows)
{
    enum { ROWS = 70, HEADS = 16, DIM = 24, KEYS = 320, COLS = HEADS * DIM };
    const uint32_t n_row = check_quick() ? 66 : ROWS;
    struct rf_rng r = {seed};
    struct rf_error err = {0};
    float *x = normal((size_t)KEYS * COLS, &r, 1), *v = normal((size_t)KEYS * COLS, &r, 1), *out[4];
    int32_t pos[KEYS], first[ROWS + 1], whole[] = {0, KEYS}, table[ROWS * KEYS / 16];
    const int32_t *tables[] = {table};
    for (int i = 0; i < 4; i++) out[i] = floats(ROWS * COLS);
    for (int i = 0; i < ROWS * KEYS / 16; i++) table[i] = i * 7 % (KEYS / 16);
    for (int i = 0; i <= ROWS; i++) first[i] = i;
    for (int side = 0; side < 2; side++) {
        struct rf_backend *b = side ? gpu : cpu;
        struct rf_kv_store *kv;
        struct rf_kv_desc d = {.n_block = KEYS / 16, .n_slot = 1, .n_kv_head = HEADS, .head_dim = DIM, .type = RF_KV_F16};
        REQUIRE(b->mem->kv_create(b, &d, &kv, &err) == RF_OK);
        rf_dev k = put(b, x, (size_t)KEYS * COLS * 4), dv = put(b, v, (size_t)KEYS * COLS * 4), q = put(b, v, (size_t)KEYS * COLS * 4), o = put(b, x, ROWS * COLS * 4);
        for (int i = 0; i < KEYS; i++) pos[i] = i;
        struct rf_batch batch = {.n_tok = KEYS, .n_seq = 1, .n_group = 1, .token = pos, .pos = pos, .seq_first = whole, .block_table = tables, .table_stride = KEYS / 16};
        struct rf_rope_kv_args rope = {.q = q, .k = k, .v = dv, .q_stride = COLS, .kv_stride = COLS, .n_head = HEADS, .n_kv_head = HEADS, .head_dim = DIM, .kv = kv};
        struct rf_attention_args a = {.q = q, .out = o, .q_stride = COLS, .out_stride = COLS, .n_head = HEADS, .n_kv_head = HEADS, .head_dim = DIM, .scale = 0.2f, .kv = kv};
        CHECK_INT(b->ops->batch_begin(b, NULL, &batch), RF_OK);
        CHECK_INT(b->ops->rope_kv(b, NULL, &rope), RF_OK);
        for (uint32_t i = 0; i < n_row; i++) pos[i] = (int32_t)(i * 131 % KEYS);
        batch.n_tok = batch.n_seq = n_row;
        batch.seq_first = first;
        for (int turn = 0; turn < 1 + side; turn++) {
            CHECK_INT(b->ops->batch_begin(b, NULL, &batch), RF_OK);
            CHECK_INT(b->ops->attention(b, NULL, &a), RF_OK);
            get(b, out[side + turn], o, (size_t)n_row * COLS * 4);
        }
        CHECK(!side || !memcmp(out[1], out[2], (size_t)n_row * COLS * 4));
        for (uint32_t few = 0; few < 2 && side; few++)
            for (uint32_t i = 0; i < (few ? 8 : n_row - 8); i += few ? 1 : 19) { /* 9 of them; then 8, and each alone */
                batch.n_tok = batch.n_seq = few && i ? 1 : few ? 8 : 9;
                batch.pos = pos + i;
                a.q = q + (rf_dev)i * COLS * 4;
                CHECK_INT(b->ops->batch_begin(b, NULL, &batch), RF_OK);
                CHECK_INT(b->ops->attention(b, NULL, &a), RF_OK);
                get(b, few && !i ? out[1] : out[3], o, (size_t)batch.n_tok * COLS * 4);
                if (few && !i) continue;
                if (memcmp(out[3], out[1] + i * COLS, (size_t)batch.n_tok * COLS * 4)) CHECK_FAIL_("rows from %u on have other bits in other company", i);
            }
        b->mem->free(b, k), b->mem->free(b, dv), b->mem->free(b, q), b->mem->free(b, o);
        b->mem->kv_free(b, kv);
    }
    check_near(out[2], out[0], (size_t)n_row * COLS, 1e-5, 4e-6, "many rows");
    check_near(out[1], out[0], 8 * COLS, 1e-5, 4e-6, "few rows");
    for (int i = 0; i < 4; i++) free(out[i]);
    free(x), free(v);
}

/* The table of angles grows with the positions that steps ask for; each of them as if sine and cosine had been asked. */
TEST(rotation_at_any_position)
{
    enum { STYLES = 2, DIM = 64, FAR = 131072 };
    static const int32_t at[] = {0, 1, 255, 256, 257, 1023, 1024, 5000, 70001, 131071, 3};
    struct rf_error err = {0};
    struct rf_kv_store *kv;
    struct rf_kv_desc d = {.n_block = 1, .n_slot = 1, .n_kv_head = 1, .head_dim = DIM, .type = RF_KV_F32};
    REQUIRE(gpu->mem->kv_create(gpu, &d, &kv, &err) == RF_OK);
    struct rf_rng r = {seed};
    int32_t *table = malloc(FAR / 16 * sizeof *table), first[] = {0, 1};
    float *x = normal(DIM, &r, 1), got[DIM], want[DIM], inv_freq[DIM / 2];
    REQUIRE(table != NULL);
    memset(table, 0xff, FAR / 16 * sizeof *table);
    for (int i = 0; i < DIM / 2; i++) inv_freq[i] = (float)pow(10000, -2.0 * i / DIM);
    const int32_t *tables[] = {table};
    rf_dev freq = put(gpu, inv_freq, sizeof inv_freq);
    for (size_t k = 0; k < RF_COUNT(at) * STYLES; k++) {
        const int32_t pos = at[k / STYLES];
        const bool pairs = k % STYLES;
        rf_dev q = put(gpu, x, sizeof got), other = put(gpu, x, sizeof got), v = put(gpu, x, sizeof got);
        struct rf_batch batch = {.n_tok = 1, .n_seq = 1, .n_group = 1, .token = &pos, .pos = &pos, .seq_first = first, .block_table = tables, .table_stride = FAR / 16};
        table[pos / 16] = 0;
        CHECK_INT(gpu->ops->batch_begin(gpu, NULL, &batch), RF_OK);
        CHECK_INT(gpu->ops->rope_kv(gpu, NULL, &(struct rf_rope_kv_args){.q = q, .k = other, .v = v, .q_stride = DIM, .kv_stride = DIM, .n_head = 1,
            .n_kv_head = 1, .head_dim = DIM, .rot_dim = DIM, .style = pairs ? RF_ROPE_PAIRS : RF_ROPE_NEOX, .inv_freq = freq, .mscale = 1.25f, .kv = kv}), RF_OK);
        get(gpu, got, q, sizeof got);
        for (int i = 0; i < DIM / 2; i++) {
            const int a = pairs ? 2 * i : i, b = pairs ? 2 * i + 1 : i + DIM / 2;
            const double angle = (double)pos * inv_freq[i], c = cos(angle) * 1.25, s = sin(angle) * 1.25;
            want[a] = (float)(x[a] * c - x[b] * s);
            want[b] = (float)(x[b] * c + x[a] * s);
        }
        check_near(got, want, DIM, 1e-6, 1e-6, pairs ? "pairs" : "halves");
        table[pos / 16] = -1;
        gpu->mem->free(gpu, q), gpu->mem->free(gpu, v), gpu->mem->free(gpu, other);
    }
    gpu->mem->free(gpu, freq);
    gpu->mem->kv_free(gpu, kv);
    free(x), free(table);
}

TEST(kv_copy_and_missing_blocks)
{
    struct rf_error err = {0};
    struct rf_kv_store *kv;
    struct rf_kv_desc d = {.n_block = 4, .n_slot = 2, .n_kv_head = 2, .head_dim = 64, .type = RF_KV_F16};
    REQUIRE(gpu->mem->kv_create(gpu, &d, &kv, &err) == RF_OK);
    struct rf_rng r = {seed};
    float *x = normal(128, &r, 1), *one = floats(128), *two = floats(128);
    int32_t pos[] = {16}, first[] = {0, 1}, table[] = {-1, 2};
    const int32_t *tables[] = {table};
    struct rf_batch batch = {.n_tok = 1, .n_seq = 1, .n_group = 1, .token = pos, .pos = pos, .seq_first = first, .block_table = tables, .table_stride = 2};
    rf_dev q = put(gpu, x, 512), out = put(gpu, x, 512);
    struct rf_rope_kv_args rope = {.q = q, .k = q, .v = q, .q_stride = 128, .kv_stride = 128, .n_head = 2, .n_kv_head = 2, .head_dim = 64, .kv = kv, .slot = 1};
    struct rf_attention_args a = {.q = q, .out = out, .q_stride = 128, .out_stride = 128, .n_head = 2, .n_kv_head = 2, .head_dim = 64,
                                  .scale = 1, .window = 1, .kv = kv, .slot = 1};
    CHECK_INT(gpu->ops->batch_begin(gpu, NULL, &batch), RF_OK);
    CHECK_INT(gpu->ops->rope_kv(gpu, NULL, &rope), RF_OK);
    CHECK_INT(gpu->ops->attention(gpu, NULL, &a), RF_OK);
    get(gpu, one, out, 512);
    int32_t from[] = {2}, to[] = {3};
    CHECK_INT(gpu->ops->kv_copy(gpu, NULL, &(struct rf_kv_copy_args){.kv = kv, .from = from, .to = to, .n = 1}), RF_OK);
    table[1] = 3;
    CHECK_INT(gpu->ops->batch_begin(gpu, NULL, &batch), RF_OK);
    CHECK_INT(gpu->ops->attention(gpu, NULL, &a), RF_OK);
    get(gpu, two, out, 512);
    CHECK(!memcmp(one, two, 512));
    a.window = 0; /* needs block 0 of the sequence, which is gone */
    CHECK_INT(gpu->ops->attention(gpu, NULL, &a), RF_INTERNAL);
    table[1] = 4;
    CHECK_INT(gpu->ops->batch_begin(gpu, NULL, &batch), RF_OK);
    CHECK_INT(gpu->ops->rope_kv(gpu, NULL, &rope), RF_INTERNAL);
    to[0] = 4;
    CHECK_INT(gpu->ops->kv_copy(gpu, NULL, &(struct rf_kv_copy_args){.kv = kv, .from = from, .to = to, .n = 1}), RF_INTERNAL);
    d.head_dim = 260;
    struct rf_kv_store *none;
    CHECK_INT(gpu->mem->kv_create(gpu, &d, &none, &err), RF_UNSUPPORTED);
    gpu->mem->free(gpu, q), gpu->mem->free(gpu, out);
    gpu->mem->kv_free(gpu, kv);
    free(x), free(one), free(two);
}

int main(void)
{
    struct rf_error err = {0};
    int code;
    seed = check_seed();
    if (!open_device(&gpu, &device, &code)) return code;
    if (rf_backend_open(&cpu, &(struct rf_backend_options){.device = "cpu", .n_threads = 1, .isa = "ref"}, &err)) {
        printf("Bail out! %s\n", err.message);
        return 1;
    }
    if (check_quick()) lens[0] = 80, lens[2] = 35; /* two chunks of keys still */
    RUN(elements);
    RUN(rmsnorm);
    RUN(gather);
    RUN(embed);
    RUN(matmul_every_type);
    RUN(one_row_with_what_stands_around);
    RUN(weights_that_cannot_be);
    RUN(attention);
    RUN(attention_token_by_token);
    RUN(attention_of_many_rows);
    RUN(rotation_at_any_position);
    RUN(kv_copy_and_missing_blocks);
    rf_backend_close(gpu);
    rf_backend_close(cpu);
    return check_end();
}
