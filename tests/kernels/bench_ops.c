/* How fast the ops but the weight matrices are: time, GB/s or GFLOP/s, and the share of a roof measured in the same run.
 *   bench_ops [ISA] [THREADS]
 * With one thread the time is that thread's CPU time, which also means something on a machine that others use.
 */
#include "backend/cpu/cpu.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"
#include "check.h"

static double read_roof; /* GB/s of one thread summing 256 MB */

static bool cpu_time;
static double now(void)
{
    struct timespec t;
    clock_gettime(cpu_time ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double best(void (*fn)(void *), void *ctx)
{
    double least = 1e9, end = rf_now() + 0.25;
    for (int i = 0; i < 3 || rf_now() < end; i++) {
        double t = now();
        fn(ctx);
        t = now() - t;
        if (t < least) least = t;
    }
    return least;
}

static float *filled(size_t n)
{
    float *x = malloc(n * 4 + 64);
    struct rf_rng r = {n};
    for (size_t i = 0; i < n; i++) x[i] = (float)(rf_rng_unit(&r) * 2 - 1);
    return x;
}

static void sum_body(void *ctx)
{
    const uint64_t *p = ctx;
    uint64_t s[8] = {0};
    for (size_t i = 0; i < (32u << 20); i += 8)
        for (int k = 0; k < 8; k++) s[k] += p[i + (size_t)k];
    for (int k = 1; k < 8; k++) s[0] += s[k];
    volatile uint64_t sink = s[0];
    (void)sink;
}

struct rows { struct rf_backend *b; float *x, *y, *z, *w; uint32_t rows, cols; enum rf_act act; };
static void run_norm(void *ctx)
{
    struct rows *r = ctx;
    struct rf_rmsnorm_args a = {.x = (rf_dev)r->x, .residual = (rf_dev)r->y, .sum = (rf_dev)r->y, .w = (rf_dev)r->w, .y = (rf_dev)r->z,
                                .rows = r->rows, .cols = r->cols, .x_stride = r->cols, .y_stride = r->cols, .eps = 1e-6f};
    r->b->ops->rmsnorm(r->b, NULL, &a);
}
static void run_glu(void *ctx)
{
    struct rows *r = ctx;
    struct rf_glu_args a = {.gate = (rf_dev)r->x, .up = (rf_dev)r->y, .out = (rf_dev)r->z, .rows = r->rows, .cols = r->cols, .act = r->act};
    r->b->ops->glu(r->b, NULL, &a);
}

static void bench_rows(struct rf_backend *b, uint32_t rows, uint32_t cols)
{
    size_t n = (size_t)rows * cols;
    struct rows r = {.b = b, .x = filled(n), .y = filled(n), .z = filled(n), .w = filled(cols), .rows = rows, .cols = cols};
    double t = best(run_norm, &r);
    printf("rmsnorm + residual  %4u x %5u  %9.2f us  %6.1f GB/s\n", rows, cols, t * 1e6, 16.0 * (double)n / t / 1e9);
    static const char *const acts[] = {"silu", "gelu_tanh", "gelu", "relu"};
    for (int i = 0; i <= RF_ACT_RELU; i++) {
        r.act = (enum rf_act)i;
        t = best(run_glu, &r);
        printf("glu %-15s %4u x %5u  %9.2f us  %6.1f GB/s\n", acts[i], rows, cols, t * 1e6, 12.0 * (double)n / t / 1e9);
    }
    free(r.x), free(r.y), free(r.z), free(r.w);
}

struct shape { const char *name; uint32_t n_head, n_kv, dim, window, layers; };
struct attn { struct rf_backend *b; struct rf_attention_args a; struct rf_rope_kv_args r; };
static void run_attn(void *ctx)
{
    struct attn *t = ctx;
    t->b->ops->attention(t->b, NULL, &t->a);
}
static void run_rope(void *ctx)
{
    struct attn *t = ctx;
    t->b->ops->rope_kv(t->b, NULL, &t->r);
}

/* n_seq sequences, each with n_new tokens behind `past` others. */
static void bench_attention(struct rf_backend *b, const struct shape *s, uint32_t n_seq, uint32_t past, uint32_t n_new)
{
    uint32_t total = n_seq * n_new, stride = (past + n_new + 15) / 16, n_block = stride * n_seq, qd = s->n_head * s->dim, kd = s->n_kv * s->dim;
    int32_t *pos = malloc(total * 4), *first = malloc((n_seq + 1) * 4), *table = malloc(n_block * 4);
    for (uint32_t i = 0; i < n_block; i++) table[i] = (int32_t)(((uint64_t)i * 7919) % n_block);
    for (uint32_t q = 0; q <= n_seq; q++) first[q] = (int32_t)(q * n_new);
    struct rf_kv_store *kv;
    struct rf_kv_desc d = {.n_block = n_block, .n_slot = 1, .n_kv_head = s->n_kv, .head_dim = s->dim, .type = RF_KV_F16};
    struct rf_error err;
    if (b->mem->kv_create(b, &d, &kv, &err)) { printf("%s\n", err.message); return; }
    const int32_t *tables[] = {table};
    struct rf_batch batch = {.n_tok = total, .n_seq = n_seq, .n_group = 1, .token = pos, .pos = pos, .seq_first = first,
                             .block_table = tables, .table_stride = stride};
    uint32_t rows = RF_MAX(total, 512u * n_seq);
    float *q = filled((size_t)rows * qd), *k = filled((size_t)rows * kd), *v = filled((size_t)rows * kd), *o = filled((size_t)rows * qd), inv[128];
    for (int i = 0; i < 128; i++) inv[i] = 1.0f / (float)(i + 1);
    struct attn t = {.b = b,
        .r = {.q = (rf_dev)q, .k = (rf_dev)k, .v = (rf_dev)v, .q_stride = qd, .kv_stride = kd, .n_head = s->n_head, .n_kv_head = s->n_kv,
              .head_dim = s->dim, .rot_dim = s->dim, .style = RF_ROPE_NEOX, .inv_freq = (rf_dev)inv, .mscale = 1, .kv = kv},
        .a = {.q = (rf_dev)q, .out = (rf_dev)o, .q_stride = qd, .out_stride = qd, .n_head = s->n_head, .n_kv_head = s->n_kv,
              .head_dim = s->dim, .scale = 0.125f, .window = s->window, .kv = kv}};
    for (uint32_t at = 0; at < past; at += 512) { /* fill the cache */
        int32_t *p = malloc(512 * n_seq * 4), *f = malloc((n_seq + 1) * 4);
        uint32_t n = RF_MIN(512u, past - at);
        for (uint32_t i = 0; i < n * n_seq; i++) p[i] = (int32_t)(at + i % n);
        for (uint32_t i = 0; i <= n_seq; i++) f[i] = (int32_t)(i * n);
        struct rf_batch fill = batch;
        fill.n_tok = n * n_seq, fill.pos = p, fill.seq_first = f;
        b->ops->batch_begin(b, NULL, &fill);
        run_rope(&t);
        free(p), free(f);
    }
    for (uint32_t i = 0; i < total; i++) pos[i] = (int32_t)(past + i % n_new);
    b->ops->batch_begin(b, NULL, &batch);
    double tr = best(run_rope, &t), ta = best(run_attn, &t), keys = 0;
    for (uint32_t i = 0; i < n_new; i++) keys += s->window ? RF_MIN(past + i + 1, s->window) : past + i + 1;
    double flops = 4.0 * n_seq * keys * s->n_head * s->dim, bytes = 4.0 * n_seq * RF_MIN(past + n_new, s->window ? s->window : ~0u) * kd;
    printf("%-18s %u x %4u behind %5u  rope_kv %8.1f us  attention %9.1f us  %6.1f GFLOP/s  %5.1f GB/s (%3.0f%% of one thread's read)  x %u layers = %7.2f ms\n",
           s->name, n_seq, n_new, past, tr * 1e6, ta * 1e6, flops / ta / 1e9, bytes / ta / 1e9, 100 * bytes / ta / 1e9 / read_roof,
           s->layers, (ta + tr) * s->layers * 1e3);
    b->mem->kv_free(b, kv);
    free(pos), free(first), free(table), free(q), free(k), free(v), free(o);
}

int main(int argc, char **argv)
{
    struct rf_backend *b;
    struct rf_error err;
    struct rf_backend_options o = {.isa = argc > 1 ? argv[1] : "auto", .n_threads = argc > 2 ? (uint32_t)atoi(argv[2]) : 0};
    if (rf_cpu_open(&b, &o, &err)) {
        printf("%s\n", err.message);
        return 1;
    }
    cpu_time = b->info.n_threads == 1;
    void *big = malloc(256u << 20);
    memset(big, 1, 256u << 20);
    read_roof = 0.256 * 1.048576 / best(sum_body, big);
    free(big);
    printf("%s; one thread reads %.1f GB/s\n", b->info.detail, read_roof);
    bench_rows(b, 1, 896);
    bench_rows(b, 1, 4864);
    bench_rows(b, 512, 896);
    bench_rows(b, 512, 4864);
    static const struct shape qwen = {"qwen 0.5B", 14, 2, 64, 0, 24}, gemma = {"gemma 270M", 4, 1, 256, 512, 15}, llama = {"llama 8B", 32, 8, 128, 0, 32};
    bench_attention(b, &qwen, 1, 0, 512);
    bench_attention(b, &qwen, 1, 1536, 512);
    bench_attention(b, &qwen, 1, 2000, 18);
    bench_attention(b, &qwen, 1, 0, 2048);
    bench_attention(b, &qwen, 1, 100, 1);
    bench_attention(b, &qwen, 1, 2047, 1);
    bench_attention(b, &qwen, 8, 511, 1);
    bench_attention(b, &gemma, 1, 0, 512);
    bench_attention(b, &gemma, 1, 2047, 1);
    bench_attention(b, &llama, 1, 0, 512);
    bench_attention(b, &llama, 1, 4095, 1);
    bench_attention(b, &llama, 1, 30000, 1);
    b->close(b);
    return 0;
}
