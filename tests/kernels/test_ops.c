/* Every CPU op but the weight matrices, through the backend's door, against oracles in double that share no code with it.
 *
 * The attention oracle knows nothing of blocks, chunks or tiles: it keeps each sequence's keys and values as plain arrays,
 * rounded to the cache's type, and does one softmax over all of them.
 */
#include <sys/mman.h>
#include <unistd.h>

#include "backend/cpu/cpu.h"
#include "backend/cpu/isa.h"
#include "base/mem.h"
#include "base/rng.h"
#include "check.h"

static uint64_t seed;
static bool small; /* RF_TEST_SMALL: less work, for an emulated processor; plain C is tested on a real one */
static const char *const isas[] = {"ref", "avx2", "avx512", "neon"};

static struct rf_backend *open_cpu(const char *isa, unsigned threads)
{
    struct rf_backend *b = NULL;
    struct rf_error err = {0};
    struct rf_backend_options o = {.device = "cpu", .n_threads = threads, .isa = isa};
    if (rf_cpu_open(&b, &o, &err)) CHECK_FAIL_("open: %s", err.message);
    return b;
}

static bool isa_here(const char *name)
{
    unsigned isa = 0, need = !strcmp(name, "avx2") ? RF_ISA_AVX2 : !strcmp(name, "avx512") ? RF_ISA_AVX512
                           : !strcmp(name, "neon") ? RF_ISA_NEON : 0;
    rf_isa_detect(name, &isa, NULL);
    return (isa & need) == need;
}
#define FOR_ISA(name) \
    for (size_t name##_i = 0; name##_i < RF_COUNT(isas); name##_i++) \
        for (const char *name = isa_here(isas[name##_i]) && !(small && !name##_i) ? isas[name##_i] : NULL; name; name = NULL)

static float *floats(size_t n) { return calloc(n + 1, sizeof(float)); }
static void fill(float *x, size_t n, struct rf_rng *r, double scale)
{
    for (size_t i = 0; i < n; i++) x[i] = (float)(rf_rng_normal(r) * scale);
}
static rf_dev dev(const float *p) { return (rf_dev)p; }

/* A piece that ends where an unreadable page starts: a kernel that reads or writes behind it dies. */
struct guarded { char *map; size_t bytes; float *x; };
static struct guarded guarded_new(size_t n)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), body = (n * 4 + page - 1) / page * page;
    struct guarded g = {.bytes = body + page};
    g.map = mmap(NULL, g.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(g.map + body, page, PROT_NONE);
    g.x = (float *)(g.map + body) - n;
    return g;
}
static void guarded_free(struct guarded *g) { munmap(g->map, g->bytes); }

/* |got - want| <= abs + rel * |want|; NaN and Inf must agree. */
static bool near(double got, double want, double rel, double abs_)
{
    if (isnan(want)) return isnan(got);
    if (isinf(want) || fabs(want) > 3.4028235e38) return isinf(got) ? signbit(got) == signbit(want) : fabs(got) > 3.4e38;
    return fabs(got - want) <= abs_ + rel * fabs(want);
}
#define CHECK_ALL_NEAR(got, want, n, rel, abs_, what)                                                            \
    do {                                                                                                         \
        int bad_ = 0;                                                                                            \
        for (size_t i_ = 0; i_ < (size_t)(n); i_++)                                                              \
            if (!near((got)[i_], (want)[i_], rel, abs_) && bad_++ < 3)                                           \
                CHECK_FAIL_("%s: [%zu] got %.9g, want %.9g", what, i_, (double)(got)[i_], (double)(want)[i_]);   \
    } while (0)

/* ---- elements and rows ---- */

static const float odd_values[] = {0, -0.0f, 1, -1, 1e-30f, -1e-30f, 1e30f, -1e30f, 88, -88, 104, -104, 20, -20, 0.5f, -0.624f,
                                   0.626f, 3e-39f, -1e-45f, 3.4e38f, -3.4e38f, INFINITY, -INFINITY, NAN};

static double want_act(enum rf_act act, double x)
{
    switch (act) {
    case RF_ACT_SILU: return x / (1 + exp(-x));
    case RF_ACT_GELU_TANH: return (double)(0.5L * x * (1 + tanhl(sqrtl(2 / M_PIl) * (x + 0.044715L * x * x * x))));
    case RF_ACT_GELU: return (double)(0.5L * x * (1 + erfl(x / sqrtl(2))));
    default: return x < 0 ? 0 : x;
    }
}

TEST(glu)
{
    static const uint32_t sizes[] = {1, 3, 7, 8, 9, 15, 16, 17, 31, 64, 100, 4864, 20001};
    FOR_ISA(isa) {
        struct rf_backend *b = open_cpu(isa, 2);
        struct rf_rng r = {seed};
        for (size_t i = 0; i < RF_COUNT(sizes); i++)
            for (int act = 0; act <= RF_ACT_RELU; act++) {
                uint32_t n = sizes[i];
                struct guarded g = guarded_new(n), u = guarded_new(n), o = guarded_new(n);
                double *want = calloc(n, sizeof *want);
                fill(g.x, n, &r, 3);
                fill(u.x, n, &r, 1);
                for (uint32_t k = 0; k < n; k++) {
                    if (k % 5 == 3) g.x[k] = odd_values[k / 5 % RF_COUNT(odd_values)];
                    want[k] = (float)want_act(act, g.x[k]) * (double)u.x[k];
                    /* act(-Inf) is the limit 0 in some forms and NaN in others: no promise but that its neighbours live */
                    if (isinf(g.x[k]) && g.x[k] < 0) g.x[k] = -1, want[k] = want_act(act, -1) * u.x[k];
                }
                struct rf_glu_args a = {.gate = dev(g.x), .up = dev(u.x), .out = dev(o.x), .rows = 1, .cols = n, .act = act};
                CHECK_INT(b->ops->glu(b, NULL, &a), RF_OK);
                /* e^y multiplies the rounding of y by y: relative precision ends where y is large and the value nearly 0 */
                CHECK_ALL_NEAR(o.x, want, n, 4e-6, act == RF_ACT_SILU || act == RF_ACT_RELU ? 1e-37 : 1e-9, isa);
                float *copy = floats(n);
                memcpy(copy, o.x, n * 4);
                a.out = a.gate;
                b->ops->glu(b, NULL, &a);
                CHECK(!memcmp(copy, g.x, n * 4));
                free(copy);
                free(want);
                guarded_free(&g), guarded_free(&u), guarded_free(&o);
            }
        b->close(b);
    }
}

TEST(add_and_softcap)
{
    static const uint32_t sizes[] = {1, 5, 8, 13, 16, 33, 896, 30011};
    FOR_ISA(isa) {
        struct rf_backend *b = open_cpu(isa, 2);
        struct rf_rng r = {seed};
        for (size_t i = 0; i < RF_COUNT(sizes); i++) {
            uint32_t n = sizes[i];
            struct guarded x = guarded_new(n), y = guarded_new(n), o = guarded_new(n);
            double *want = calloc(n, sizeof *want);
            fill(x.x, n, &r, 1);
            fill(y.x, n, &r, 1);
            for (uint32_t k = 0; k < n; k++) want[k] = (double)x.x[k] + 0.75 * y.x[k];
            struct rf_add_args a = {.a = dev(x.x), .b = dev(y.x), .out = dev(o.x), .n = n, .b_scale = 0.75f};
            CHECK_INT(b->ops->add(b, NULL, &a), RF_OK);
            CHECK_ALL_NEAR(o.x, want, n, 2e-7, 2e-7, isa);
            for (int mode = 0; mode < 3; mode++) {
                double cap = mode == 0 ? 0 : mode == 1 ? 30 : 0.5, scale = mode == 2 ? 1 : 0.25;
                for (uint32_t k = 0; k < n; k++) {
                    x.x[k] = (float)(rf_rng_normal(&r) * 40);
                    if (k % 7 == 2) x.x[k] = odd_values[k / 7 % RF_COUNT(odd_values)];
                    want[k] = cap != 0 ? cap * tanh(x.x[k] * scale / cap) : x.x[k] * scale;
                }
                struct rf_softcap_args s = {.x = dev(x.x), .n = n, .cap = (float)cap, .scale = (float)scale};
                CHECK_INT(b->ops->softcap(b, NULL, &s), RF_OK);
                CHECK_ALL_NEAR(x.x, want, n, 6e-7, 1e-37, isa);
            }
            free(want);
            guarded_free(&x), guarded_free(&y), guarded_free(&o);
        }
        b->close(b);
    }
}

TEST(rmsnorm)
{
    static const uint32_t cols[] = {1, 7, 16, 33, 64, 128, 640, 896, 2049};
    FOR_ISA(isa) {
        struct rf_backend *b = open_cpu(isa, 2);
        struct rf_rng r = {seed};
        for (size_t i = 0; i < RF_COUNT(cols); i++)
            for (int mode = 0; mode < 6; mode++) {
                uint32_t n = cols[i], rows = mode == 2 ? 1 : 9, stride = n + (mode == 1 ? 5 : 0);
                bool residual = mode & 1 || mode == 4;
                double scale = mode == 4 ? 1e15 : mode == 5 ? 1e-15 : 1;
                struct guarded x = guarded_new((size_t)rows * stride), res = guarded_new((size_t)rows * n), w = guarded_new(n),
                               y = guarded_new((size_t)rows * stride);
                double *want = calloc((size_t)rows * n, sizeof *want);
                float *sum = floats((size_t)rows * n);
                fill(x.x, (size_t)rows * stride, &r, scale);
                fill(res.x, (size_t)rows * n, &r, scale);
                fill(w.x, n, &r, 1);
                if (mode == 3) x.x[3 * stride] = NAN, x.x[5 * stride + n - 1] = INFINITY;
                for (uint32_t k = 0; k < rows; k++) {
                    double ss = 0;
                    for (uint32_t c = 0; c < n; c++) {
                        float v = x.x[k * stride + c] + (residual ? res.x[k * n + c] : 0);
                        sum[k * n + c] = v;
                        ss += (double)v * v;
                    }
                    for (uint32_t c = 0; c < n; c++) want[k * n + c] = sum[k * n + c] / sqrt(ss / n + 1e-6) * w.x[c];
                }
                struct rf_rmsnorm_args a = {.x = dev(x.x), .residual = residual ? dev(res.x) : 0, .sum = dev(res.x), .w = dev(w.x),
                                            .y = dev(y.x), .rows = rows, .cols = n, .x_stride = stride, .y_stride = stride, .eps = 1e-6f};
                CHECK_INT(b->ops->rmsnorm(b, NULL, &a), RF_OK);
                for (uint32_t k = 0; k < rows; k++) CHECK_ALL_NEAR(y.x + k * stride, want + k * n, n, 2e-6, 1e-12, isa);
                if (residual) CHECK_ALL_NEAR(res.x, sum, (size_t)rows * n, 0, 0, isa);
                free(want);
                free(sum);
                guarded_free(&x), guarded_free(&res), guarded_free(&w), guarded_free(&y);
            }
        b->close(b);
    }
}

TEST(gather)
{
    struct rf_backend *b = open_cpu("auto", 2);
    enum { N = 20, COLS = 13 };
    float x[N * COLS], out[N * COLS] = {0};
    for (int i = 0; i < N * COLS; i++) x[i] = (float)i;
    int32_t rows[] = {0, 3, 4, 19}, first[] = {0, N}, zero[N] = {0};
    struct rf_batch batch = {.n_tok = N, .n_seq = 1, .n_out = 4, .token = zero, .pos = zero, .seq_first = first, .out_row = rows};
    CHECK_INT(b->ops->batch_begin(b, NULL, &batch), RF_OK);
    CHECK_INT(b->ops->gather(b, NULL, &(struct rf_gather_args){.x = dev(x), .out = dev(out), .cols = COLS}), RF_OK);
    for (int i = 0; i < 4; i++) CHECK(!memcmp(out + i * COLS, x + rows[i] * COLS, COLS * 4));
    CHECK_INT(b->ops->gather(b, NULL, &(struct rf_gather_args){.x = dev(x), .out = dev(x), .cols = COLS}), RF_OK);
    CHECK(!memcmp(x, out, 4 * COLS * 4));
    b->close(b);
}

TEST(embed)
{
    enum { ROWS = 40, COLS = 256 };
    FOR_ISA(isa) {
        struct rf_backend *b = open_cpu(isa, 2);
        struct rf_rng r = {seed};
        float *w = floats(ROWS * COLS), *out = floats(7 * COLS);
        fill(w, ROWS * COLS, &r, 1);
        struct rf_weight_desc d = {.name = "embd", .type = RF_TYPE_F32, .rows = ROWS, .cols = COLS, .data = w, .gather = true};
        struct rf_weight *weight;
        bool copied;
        struct rf_error err = {0};
        if (b->mem->weight_create(b, &d, &weight, &copied, &err)) CHECK_FAIL_("%s", err.message);
        else {
            int32_t tok[] = {0, 39, 5, 5, 17, 31, 32}, first[] = {0, 7};
            struct rf_batch batch = {.n_tok = 7, .n_seq = 1, .token = tok, .pos = tok, .seq_first = first};
            CHECK_INT(b->ops->batch_begin(b, NULL, &batch), RF_OK);
            for (int s = 1; s <= 2; s++) {
                CHECK_INT(b->ops->embed(b, NULL, &(struct rf_embed_args){.w = weight, .out = dev(out), .scale = (float)s}), RF_OK);
                for (int t = 0; t < 7; t++)
                    for (int c = 0; c < COLS; c++) CHECK(out[t * COLS + c] == (float)s * w[tok[t] * COLS + c]);
            }
            tok[3] = ROWS;
            CHECK(b->ops->embed(b, NULL, &(struct rf_embed_args){.w = weight, .out = dev(out), .scale = 1}) != RF_OK);
            b->mem->weight_free(b, weight);
        }
        free(w);
        free(out);
        b->close(b);
    }
}

/* ---- attention: a little world of sequences with their own oracle ---- */

struct shape {
    const char *name;
    uint32_t n_head, n_kv, dim, rot, window;
    float softcap;
    enum rf_rope_style style;
    enum rf_kv_type type;
};
static const struct shape shapes[] = {
    {"qwen 0.5B", 14, 2, 64, 64, 0, 0, RF_ROPE_NEOX, RF_KV_F16},
    {"gemma 270M window", 4, 1, 256, 256, 512, 0, RF_ROPE_NEOX, RF_KV_BF16},
    {"llama 8B", 32, 8, 128, 128, 0, 0, RF_ROPE_PAIRS, RF_KV_F16},
    {"mha, part rope, softcap", 3, 3, 40, 24, 0, 20, RF_ROPE_PAIRS, RF_KV_F32},
    {"odd", 5, 1, 72, 36, 33, 5, RF_ROPE_NEOX, RF_KV_F16},
    {"wide group", 20, 1, 32, 32, 0, 0, RF_ROPE_NONE, RF_KV_BF16},
};

enum { MAX_SEQ = 4 };
struct world {
    const struct shape *s;
    uint32_t n_seq, len[MAX_SEQ];
    float *q[MAX_SEQ], *k[MAX_SEQ], *v[MAX_SEQ]; /* [len][heads * dim] before rope */
    double *want[MAX_SEQ];
    float inv_freq[128];
};

static float round_kv(float f, enum rf_kv_type t)
{
    return t == RF_KV_F16 ? rf_f16_to_f32(rf_f32_to_f16(f)) : t == RF_KV_BF16 ? rf_bf16_to_f32(rf_f32_to_bf16(f)) : f;
}

static void want_rope(const struct world *w, const float *x, double *out, uint32_t pos)
{
    const struct shape *s = w->s;
    for (uint32_t d = 0; d < s->dim; d++) out[d] = x[d];
    if (s->style == RF_ROPE_NONE) return;
    for (uint32_t i = 0; i < s->rot / 2; i++) {
        uint32_t a = s->style == RF_ROPE_PAIRS ? 2 * i : i, b = s->style == RF_ROPE_PAIRS ? 2 * i + 1 : i + s->rot / 2;
        double angle = (double)pos * w->inv_freq[i], c = cos(angle) * 1.25, sn = sin(angle) * 1.25;
        out[a] = x[a] * c - x[b] * sn;
        out[b] = x[b] * c + x[a] * sn;
    }
}

static void want_attention(struct world *w, uint32_t q)
{
    const struct shape *s = w->s;
    uint32_t n = w->len[q], group = s->n_head / s->n_kv;
    double *kr = calloc((size_t)n * s->n_kv * s->dim, 8), *qr = calloc(s->dim, 8), *p = calloc(n, 8);
    for (uint32_t t = 0; t < n; t++)
        for (uint32_t h = 0; h < s->n_kv; h++) {
            double *out = kr + ((size_t)t * s->n_kv + h) * s->dim;
            want_rope(w, w->k[q] + ((size_t)t * s->n_kv + h) * s->dim, out, t);
            for (uint32_t d = 0; d < s->dim; d++) out[d] = round_kv((float)out[d], s->type);
        }
    for (uint32_t t = 0; t < n; t++)
        for (uint32_t h = 0; h < s->n_head; h++) {
            want_rope(w, w->q[q] + ((size_t)t * s->n_head + h) * s->dim, qr, t);
            uint32_t first = s->window && t + 1 > s->window ? t + 1 - s->window : 0;
            double max = -INFINITY, sum = 0, *out = w->want[q] + ((size_t)t * s->n_head + h) * s->dim;
            for (uint32_t j = first; j <= t; j++) {
                double dot = 0;
                for (uint32_t d = 0; d < s->dim; d++) dot += qr[d] * kr[((size_t)j * s->n_kv + h / group) * s->dim + d];
                dot *= 1 / sqrt(s->dim);
                p[j] = s->softcap != 0 ? s->softcap * tanh(dot / s->softcap) : dot;
                max = fmax(max, p[j]);
            }
            for (uint32_t j = first; j <= t; j++) sum += p[j] = exp(p[j] - max);
            for (uint32_t d = 0; d < s->dim; d++) {
                double o = 0;
                for (uint32_t j = first; j <= t; j++)
                    o += p[j] * round_kv(w->v[q][((size_t)j * s->n_kv + h / group) * s->dim + d], s->type);
                out[d] = o / sum;
            }
        }
    free(kr), free(qr), free(p);
}

static void world_make(struct world *w, const struct shape *s, const uint32_t *len, uint32_t n_seq, double scale, bool oracle)
{
    struct rf_rng r = {seed ^ s->dim};
    *w = (struct world){.s = s, .n_seq = n_seq};
    for (uint32_t i = 0; i < s->rot / 2; i++) w->inv_freq[i] = (float)pow(10000, -2.0 * i / s->rot);
    for (uint32_t q = 0; q < n_seq; q++) {
        size_t n = w->len[q] = len[q];
        w->q[q] = floats(n * s->n_head * s->dim);
        w->k[q] = floats(n * s->n_kv * s->dim);
        w->v[q] = floats(n * s->n_kv * s->dim);
        w->want[q] = calloc(n * s->n_head * s->dim + 1, sizeof(double));
        fill(w->q[q], n * s->n_head * s->dim, &r, scale);
        fill(w->k[q], n * s->n_kv * s->dim, &r, scale);
        fill(w->v[q], n * s->n_kv * s->dim, &r, 1);
        if (oracle) want_attention(w, q);
    }
}

static void world_free(struct world *w)
{
    for (uint32_t q = 0; q < w->n_seq; q++) free(w->q[q]), free(w->k[q]), free(w->v[q]), free(w->want[q]);
}

/* How a run goes through the world: tokens per sequence and step, whether sequences run together, and the order of blocks. */
struct walk { uint32_t chunk; bool together; uint64_t shuffle; bool drop; };

struct cache {
    struct rf_kv_store *kv;
    int32_t *table, *stack; /* [n_seq][stride]; free blocks */
    uint32_t stride, n_block;
};

static void cache_make(struct cache *c, struct rf_backend *b, const struct world *w, uint64_t shuffle)
{
    uint32_t max = 0;
    for (uint32_t q = 0; q < w->n_seq; q++) max = RF_MAX(max, w->len[q]);
    *c = (struct cache){.stride = max / 16 + 2};
    c->n_block = c->stride * w->n_seq + 3;
    struct rf_error err = {0};
    struct rf_kv_desc d = {.n_block = c->n_block, .n_slot = 2, .n_kv_head = w->s->n_kv, .head_dim = w->s->dim, .type = w->s->type};
    if (b->mem->kv_create(b, &d, &c->kv, &err)) CHECK_FAIL_("%s", err.message);
    c->table = calloc((size_t)c->stride * w->n_seq, 4);
    c->stack = calloc(c->n_block, 4);
    struct rf_rng r = {shuffle};
    for (uint32_t i = 0; i < c->n_block; i++) c->stack[i] = (int32_t)i;
    for (uint32_t i = c->n_block - 1; shuffle && i > 0; i--) {
        uint32_t j = rf_rng_below(&r, i + 1);
        int32_t t = c->stack[i];
        c->stack[i] = c->stack[j];
        c->stack[j] = t;
    }
    for (uint32_t q = 0, at = 0; q < w->n_seq; q++)
        for (uint32_t i = 0; i < c->stride; i++) c->table[q * c->stride + i] = i * 16 < w->len[q] ? c->stack[at++] : -1;
}

static void cache_free(struct cache *c, struct rf_backend *b)
{
    b->mem->kv_free(b, c->kv);
    free(c->table), free(c->stack);
}

/* One step: sequence q's tokens at[q] .. at[q] + n[q] - 1. */
static void step(struct rf_backend *b, const struct world *w, struct cache *c, const uint32_t *at, const uint32_t *n, float **out)
{
    const struct shape *s = w->s;
    uint32_t total = 0, qd = s->n_head * s->dim, kd = s->n_kv * s->dim, qs = qd + 3, ks = kd + 5;
    int32_t first[MAX_SEQ + 1] = {0}, *table = calloc((size_t)c->stride * MAX_SEQ, 4);
    uint32_t seq[MAX_SEQ], n_seq = 0;
    for (uint32_t q = 0; q < w->n_seq; q++)
        if (n[q]) {
            memcpy(table + (size_t)n_seq * c->stride, c->table + (size_t)q * c->stride, c->stride * 4);
            seq[n_seq++] = q;
            first[n_seq] = (int32_t)(total += n[q]);
        }
    int32_t *pos = calloc(total, 4);
    float *Q = floats((size_t)total * qs), *K = floats((size_t)total * ks), *V = floats((size_t)total * ks), *O = floats((size_t)total * qs);
    for (uint32_t i = 0, t = 0; i < n_seq; i++)
        for (uint32_t k = 0; k < n[seq[i]]; k++, t++) {
            uint32_t p = at[seq[i]] + k;
            pos[t] = (int32_t)p;
            memcpy(Q + (size_t)t * qs, w->q[seq[i]] + (size_t)p * qd, qd * 4);
            memcpy(K + (size_t)t * ks, w->k[seq[i]] + (size_t)p * kd, kd * 4);
            memcpy(V + (size_t)t * ks, w->v[seq[i]] + (size_t)p * kd, kd * 4);
        }
    const int32_t *tables[] = {table};
    struct rf_batch batch = {.n_tok = total, .n_seq = n_seq, .n_group = 1, .token = pos, .pos = pos, .seq_first = first,
                             .block_table = tables, .table_stride = c->stride};
    CHECK_INT(b->ops->batch_begin(b, NULL, &batch), RF_OK);
    struct rf_rope_kv_args rope = {.q = dev(Q), .k = dev(K), .v = dev(V), .q_stride = qs, .kv_stride = ks, .n_head = s->n_head,
        .n_kv_head = s->n_kv, .head_dim = s->dim, .rot_dim = s->rot, .style = s->style, .inv_freq = dev(w->inv_freq),
        .mscale = 1.25f, .kv = c->kv, .slot = 1};
    CHECK_INT(b->ops->rope_kv(b, NULL, &rope), RF_OK);
    struct rf_attention_args a = {.q = dev(Q), .out = dev(O), .q_stride = qs, .out_stride = qs, .n_head = s->n_head,
        .n_kv_head = s->n_kv, .head_dim = s->dim, .scale = (float)(1 / sqrt(s->dim)), .softcap = s->softcap, .window = s->window,
        .kv = c->kv, .slot = 1};
    CHECK_INT(b->ops->attention(b, NULL, &a), RF_OK);
    for (uint32_t i = 0, t = 0; i < n_seq; i++)
        for (uint32_t k = 0; k < n[seq[i]]; k++, t++)
            memcpy(out[seq[i]] + (size_t)(at[seq[i]] + k) * qd, O + (size_t)t * qs, qd * 4);
    free(table), free(pos), free(Q), free(K), free(V), free(O);
}

static void walk_world(struct rf_backend *b, const struct world *w, struct walk walk, float **out)
{
    struct cache c;
    cache_make(&c, b, w, walk.shuffle);
    uint32_t at[MAX_SEQ] = {0}, lone = 0;
    for (;;) {
        uint32_t n[MAX_SEQ] = {0}, left = 0;
        for (uint32_t q = 0; q < w->n_seq; q++) {
            /* together: different chunks, so that decode runs beside prefill */
            uint32_t want = walk.together ? walk.chunk + q * 5 : q == lone ? walk.chunk : 0;
            n[q] = RF_MIN(want, w->len[q] - at[q]);
            left += n[q];
        }
        if (!left && ++lone >= w->n_seq) break;
        if (!left) continue;
        if (walk.drop && w->s->window)
            for (uint32_t q = 0; q < w->n_seq; q++)
                for (uint32_t i = 0; (i + 1) * 16 + w->s->window <= at[q] + 1; i++) c.table[q * c.stride + i] = -1;
        step(b, w, &c, at, n, out);
        for (uint32_t q = 0; q < w->n_seq; q++) at[q] += n[q];
        if (walk.together) lone = w->n_seq;
    }
    cache_free(&c, b);
}

static void out_new(const struct world *w, float **out)
{
    for (uint32_t q = 0; q < w->n_seq; q++) out[q] = floats((size_t)w->len[q] * w->s->n_head * w->s->dim);
}
static void out_free(const struct world *w, float **out)
{
    for (uint32_t q = 0; q < w->n_seq; q++) free(out[q]);
}

TEST(attention_against_oracle)
{
    static const uint32_t len[] = {170, 1, 37}, short_len[] = {40, 1, 17};
    for (size_t i = 0; i < RF_COUNT(shapes); i++) {
        struct world w;
        float *out[MAX_SEQ];
        world_make(&w, &shapes[i], small ? short_len : len, 3, 1, true);
        out_new(&w, out);
        FOR_ISA(isa) {
            struct rf_backend *b = open_cpu(isa, 2);
            char what[64];
            walk_world(b, &w, (struct walk){.chunk = 150, .together = true, .shuffle = 7}, out);
            snprintf(what, sizeof what, "%s, %s", isa, shapes[i].name);
            for (uint32_t q = 0; q < 3; q++)
                /* the cache rounds rotated keys: a last-bit difference before it can be one step of the type after it */
                CHECK_ALL_NEAR(out[q], w.want[q], (size_t)w.len[q] * w.s->n_head * w.s->dim, 1e-4,
                               w.s->type == RF_KV_F32 ? 4e-6 : 2e-3, what);
            b->close(b);
        }
        out_free(&w, out);
        world_free(&w);
    }
}

TEST(attention_long_window)
{
    static const uint32_t len[] = {1150};
    struct shape s = {"window", 2, 1, 64, 64, 300, 0, RF_ROPE_NEOX, RF_KV_F32};
    struct world w;
    float *out[MAX_SEQ];
    world_make(&w, &s, len, 1, 1, true);
    out_new(&w, out);
    FOR_ISA(isa) {
        struct rf_backend *b = open_cpu(isa, 2);
        walk_world(b, &w, (struct walk){.chunk = 400, .drop = true}, out);
        CHECK_ALL_NEAR(out[0], w.want[0], (size_t)len[0] * 128, 1e-4, 4e-6, isa);
        b->close(b);
    }
    out_free(&w, out);
    world_free(&w);
}

TEST(attention_extreme_scores)
{
    static const uint32_t len[] = {200};
    struct shape s = {"extreme", 2, 2, 64, 64, 0, 0, RF_ROPE_NEOX, RF_KV_F32};
    FOR_ISA(isa) {
        struct rf_backend *b = open_cpu(isa, 2);
        struct world w;
        float *out[MAX_SEQ];
        world_make(&w, &s, len, 1, 40, true); /* scores in the thousands: softmax is nearly one-hot */
        out_new(&w, out);
        walk_world(b, &w, (struct walk){.chunk = 64}, out);
        int bad = 0;
        for (size_t i = 0; i < (size_t)len[0] * 128; i++) bad += !near(out[0][i], w.want[0][i], 0.02, 0.02);
        CHECK(bad < 40); /* near ties are decided by the last bits of scores of that size */
        for (size_t i = 0; i < (size_t)len[0] * 128; i++) CHECK(isfinite(out[0][i]));
        out_free(&w, out);
        world_free(&w);
        b->close(b);
    }
}

/* The promise: equal bits for any cut of the prompt, any neighbours, any thread count, any order of blocks. */
TEST(attention_same_bits_however_it_is_run)
{
    static const uint32_t full[] = {270, 18, 161, 390}, few[] = {90, 18, 41, 130};
    const uint32_t *len = small ? few : full;
    static const struct walk walks[] = {
        {1000, true, 0, false}, {1, true, 3, true}, {1, false, 0, false}, {7, false, 5, true}, {128, true, 9, false},
        {61, true, 1, true}, {16, false, 2, false}, {333, false, 4, true},
    };
    FOR_ISA(isa) {
        struct rf_backend *one = open_cpu(isa, 1), *three = open_cpu(isa, 3);
        for (size_t i = 0; i < RF_COUNT(shapes); i++) {
            if ((!strcmp(isa, "ref") || small) && i > 0) continue; /* plain C does row by row: one shape shows it */
            struct world w;
            float *base[MAX_SEQ], *out[MAX_SEQ];
            uint32_t n_seq = shapes[i].n_head > 30 ? 3 : 4;
            if (!strcmp(isa, "ref")) n_seq = 2;
            world_make(&w, &shapes[i], len, n_seq, 1, false);
            out_new(&w, base);
            out_new(&w, out);
            walk_world(one, &w, walks[0], base);
            for (size_t k = 0; k < RF_COUNT(walks); k++) {
                for (uint32_t q = 0; q < w.n_seq; q++) memset(out[q], 0xee, (size_t)len[q] * w.s->n_head * w.s->dim * 4);
                walk_world(k % 2 ? one : three, &w, walks[k], out);
                for (uint32_t q = 0; q < w.n_seq; q++)
                    if (memcmp(base[q], out[q], (size_t)len[q] * w.s->n_head * w.s->dim * 4))
                        CHECK_FAIL_("%s, %s: walk %zu, sequence %u differs", isa, shapes[i].name, k, q);
            }
            out_free(&w, base);
            out_free(&w, out);
            world_free(&w);
        }
        one->close(one);
        three->close(three);
    }
}

/* A NaN in one sequence's key, value or query stays in that sequence, also when its blocks are used again. */
TEST(attention_nan_stays_in_its_row)
{
    static const uint32_t len[] = {50, 140};
    FOR_ISA(isa) {
        struct rf_backend *b = open_cpu(isa, 2);
        struct world w;
        float *base[MAX_SEQ], *out[MAX_SEQ];
        world_make(&w, &shapes[0], len, 2, 1, false);
        out_new(&w, base);
        out_new(&w, out);
        walk_world(b, &w, (struct walk){.chunk = 20, .together = true}, base);
        size_t row = (size_t)w.s->n_head * w.s->dim, krow = (size_t)w.s->n_kv * w.s->dim;
        w.k[0][30 * krow + 3] = NAN;
        w.v[0][40 * krow + 5] = INFINITY;
        w.q[1][7 * row + 1] = NAN;
        walk_world(b, &w, (struct walk){.chunk = 20, .together = true}, out);
        CHECK(!memcmp(base[0], out[0], 30 * row * 4));
        CHECK(isnan(out[0][30 * row]) && isnan(out[0][49 * row + 1]));
        CHECK(!memcmp(base[1], out[1], 7 * row * 4));
        CHECK(!memcmp(base[1] + 8 * row, out[1] + 8 * row, 132 * row * 4));
        CHECK(isnan(out[1][7 * row]));
        /* a block full of NaN, taken over by a shorter sequence, is not seen behind its last token */
        struct cache c;
        cache_make(&c, b, &w, 0);
        for (uint32_t i = 0; i < 16 * krow; i++) w.k[0][i] = w.v[0][i] = NAN;
        uint32_t at[MAX_SEQ] = {0}, n[MAX_SEQ] = {16, 0};
        step(b, &w, &c, at, n, out);
        c.table[c.stride] = c.table[0];
        n[0] = 0, n[1] = 5;
        step(b, &w, &c, at, n, out);
        CHECK(!memcmp(base[1], out[1], 5 * row * 4));
        cache_free(&c, b);
        out_free(&w, base);
        out_free(&w, out);
        world_free(&w);
        b->close(b);
    }
}

TEST(kv_copy_copies_all_slots)
{
    static const uint32_t len[] = {33};
    struct rf_backend *b = open_cpu("auto", 2);
    struct world w;
    struct cache c;
    float *one[MAX_SEQ], *two[MAX_SEQ];
    world_make(&w, &shapes[0], len, 1, 1, false);
    out_new(&w, one);
    out_new(&w, two);
    cache_make(&c, b, &w, 0);
    uint32_t at[MAX_SEQ] = {0}, n[MAX_SEQ] = {32};
    step(b, &w, &c, at, n, one);
    at[0] = 32, n[0] = 1;
    step(b, &w, &c, at, n, one);
    int32_t from[] = {c.table[0], c.table[1]}, to[] = {(int32_t)c.n_block - 1, (int32_t)c.n_block - 2};
    CHECK_INT(b->ops->kv_copy(b, NULL, &(struct rf_kv_copy_args){.kv = c.kv, .from = from, .to = to, .n = 2}), RF_OK);
    c.table[0] = to[0], c.table[1] = to[1];
    step(b, &w, &c, at, n, two);
    size_t row = (size_t)w.s->n_head * w.s->dim;
    CHECK(!memcmp(one[0] + 32 * row, two[0] + 32 * row, row * 4));
    to[0] = (int32_t)c.n_block;
    CHECK(b->ops->kv_copy(b, NULL, &(struct rf_kv_copy_args){.kv = c.kv, .from = from, .to = to, .n = 1}) != RF_OK);
    c.table[0] = -1; /* a key that is needed and gone is an error, never a read */
    int32_t pos[] = {32}, first[] = {0, 1};
    const int32_t *tables[] = {c.table};
    struct rf_batch batch = {.n_tok = 1, .n_seq = 1, .n_group = 1, .token = pos, .pos = pos, .seq_first = first,
                             .block_table = tables, .table_stride = c.stride};
    b->ops->batch_begin(b, NULL, &batch);
    struct rf_attention_args a = {.q = dev(w.q[0]), .out = dev(two[0]), .q_stride = (uint32_t)row, .out_stride = (uint32_t)row,
        .n_head = w.s->n_head, .n_kv_head = w.s->n_kv, .head_dim = w.s->dim, .scale = 1, .kv = c.kv, .slot = 1};
    CHECK_INT(b->ops->attention(b, NULL, &a), RF_INTERNAL);
    cache_free(&c, b);
    out_free(&w, one);
    out_free(&w, two);
    world_free(&w);
    b->close(b);
}

int main(void)
{
    seed = check_seed();
    small = getenv("RF_TEST_SMALL") != NULL;
    RUN(glu);
    RUN(add_and_softcap);
    RUN(rmsnorm);
    RUN(gather);
    RUN(embed);
    RUN(attention_against_oracle);
    RUN(attention_long_window);
    RUN(attention_extreme_scores);
    RUN(attention_same_bits_however_it_is_run);
    RUN(attention_nan_stays_in_its_row);
    RUN(kv_copy_copies_all_slots);
    return check_end();
}
