/* bench_gpu - products, attention and choosing tokens on a GPU backend: microseconds, GB/s of weights, TFLOP/s. Not a test.
 *
 *   bench_gpu [DEVICE [few|many|attention|choose|all]]   cuda:0 and all by default; few: 1 to 8 rows, many: 16 to 2,048
 *
 * Shares are of what an H200 was measured to do: 4.29 TB/s of memory, 790 TFLOP/s of bf16 products.
 * Weights are rotated over at least 256 MB, so that caches do not hold them. Times are wall clock over many calls with one wait at
 * the end: launches overlap as they do in a step.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backend/backend.h"
#include "base/mem.h"
#include "base/rng.h"

static struct rf_backend *b;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void check(rf_status s, const char *what)
{
    if (!s) return;
    fprintf(stderr, "bench_gpu: %s: %s\n", what, b ? b->info.detail : rf_status_name(s));
    exit(1);
}

static rf_dev filled(uint64_t n)
{
    struct rf_rng r = {1};
    rf_dev p;
    float *x = malloc(n * sizeof *x);
    for (uint64_t i = 0; i < n; i++) x[i] = i < 100003 ? (float)rf_rng_normal(&r) : x[i - 100003];
    check(b->mem->alloc(b, n * sizeof *x, &p, NULL), "alloc");
    check(b->mem->upload(b, NULL, p, x, n * sizeof *x), "upload");
    check(b->mem->stream_sync(b, NULL), "upload");
    free(x);
    return p;
}

/* One random row, repeated: the arithmetic does not mind, and encoding stays quick. */
static void *repeated(uint32_t type, uint64_t rows, uint64_t cols)
{
    struct rf_rng r = {7};
    uint64_t row;
    float *x = malloc(cols * sizeof *x);
    if (!rf_type_row_bytes(type, cols, &row)) exit(1);
    char *w = malloc(rows * row);
    for (uint64_t i = 0; i < cols; i++) x[i] = (float)rf_rng_normal(&r);
    rf_type_get(type)->encode(x, w, cols);
    for (uint64_t i = 1; i < rows; i++) memcpy(w + i * row, w, row);
    free(x);
    return w;
}

static void products(uint32_t type, uint64_t rows, uint64_t cols, bool many)
{
    enum { MOST = 64 };
    static const uint32_t few_rows[] = {1, 2, 4, 8}, many_rows[] = {16, 32, 64, 128, 512, 2048};
    const uint32_t *ms = many ? many_rows : few_rows, n_ms = many ? RF_COUNT(many_rows) : RF_COUNT(few_rows);
    struct rf_weight *w[MOST];
    void *data = repeated(type, rows, cols);
    struct rf_weight_desc d = {.name = "w", .type = type, .rows = rows, .cols = cols, .data = data};
    uint64_t bytes = 0;
    uint32_t n = 0;
    bool copied;
    for (; n < MOST && (!n || n * bytes < 256u << 20); n++) {
        check(b->mem->weight_create(b, &d, &w[n], &copied, NULL), "weight");
        bytes = b->mem->weight_bytes(w[n]);
    }
    free(data);
    for (size_t i = 0; i < 2 * n_ms; i++) {
        uint32_t m = ms[i / 2], calls = m > 64 ? 20 : 100;
        bool precise = i & 1;
        if (precise && (!many || (m != 64 && m != 2048))) continue;
        rf_dev x = filled((uint64_t)m * cols), out = filled((uint64_t)m * rows);
        double best = 1e9;
        for (int turn = 0; turn < 4; turn++) { /* the first one warms up */
            double from = now();
            for (uint32_t k = 0; k < calls; k++) {
                struct rf_matmul_args a = {.x = x, .rows = m, .n_w = 1, .w = {w[k % n]}, .out = {out}, .out_stride = {(uint32_t)rows}, .precise = precise};
                check(b->ops->matmul(b, NULL, &a), "matmul");
            }
            check(b->mem->stream_sync(b, NULL), "matmul");
            double t = (now() - from) / calls;
            if (turn && t < best) best = t;
        }
        double gbs = (double)bytes / best * 1e-9, tflops = 2e-12 * (double)rows * (double)cols * m / best;
        printf("%-5s %6llu x %5llu  M %4u%s  %9.1f us  %6.0f GB/s %3.0f%%  %7.2f TFLOP/s %3.0f%%\n", rf_type_name(type), (unsigned long long)rows,
               (unsigned long long)cols, m, precise ? " precise" : "        ", best * 1e6, gbs, gbs / 42.90, tflops, tflops / 7.90);
        fflush(stdout);
        b->mem->free(b, x);
        b->mem->free(b, out);
    }
    for (uint32_t i = 0; i < n; i++) b->mem->weight_free(b, w[i]);
}

static void attention(uint32_t n_head, uint32_t n_kv, uint32_t dim, uint32_t n_tok, uint32_t past)
{
    uint32_t n_block = (past + n_tok) / 16 + 1, calls = n_tok > 8 ? 10 : 200;
    struct rf_kv_desc d = {.n_block = n_block, .n_slot = 1, .n_kv_head = n_kv, .head_dim = dim, .type = RF_KV_F16};
    struct rf_kv_store *kv;
    check(b->mem->kv_create(b, &d, &kv, NULL), "kv");
    int32_t *pos = malloc(n_tok * sizeof *pos), *table = malloc(n_block * sizeof *table), first[] = {0, (int32_t)n_tok};
    for (uint32_t i = 0; i < n_tok; i++) pos[i] = (int32_t)(past + i);
    for (uint32_t i = 0; i < n_block; i++) table[i] = (int32_t)i;
    const int32_t *tables[] = {table};
    struct rf_batch batch = {.n_tok = n_tok, .n_seq = 1, .n_group = 1, .token = pos, .pos = pos, .seq_first = first, .block_table = tables, .table_stride = n_block};
    rf_dev q = filled((uint64_t)n_tok * n_head * dim), out = filled((uint64_t)n_tok * n_head * dim);
    struct rf_attention_args a = {.q = q, .out = out, .q_stride = n_head * dim, .out_stride = n_head * dim, .n_head = n_head, .n_kv_head = n_kv,
                                  .head_dim = dim, .scale = 0.1f, .kv = kv};
    check(b->ops->batch_begin(b, NULL, &batch), "batch");
    double best = 1e9;
    for (int turn = 0; turn < 4; turn++) {
        double from = now();
        for (uint32_t k = 0; k < calls; k++) check(b->ops->attention(b, NULL, &a), "attention");
        check(b->mem->stream_sync(b, NULL), "attention");
        double t = (now() - from) / calls;
        if (turn && t < best) best = t;
    }
    double tflops = 4e-12 * n_head * dim * n_tok * (past + 0.5 * (n_tok + 1)) / best; /* causal: half of the square */
    printf("attention %u/%u heads of %u, %4u tokens after %4u: %9.1f us  %7.2f TFLOP/s %3.0f%%\n", n_head, n_kv, dim, n_tok, past, best * 1e6, tflops, tflops / 7.90);
    b->mem->free(b, q), b->mem->free(b, out);
    b->mem->kv_free(b, kv);
    free(pos), free(table);
}

/* Tokens from rows of a vocabulary of 128,256, logits normal with deviation 3; then with logprobs. */
static void choosing(uint32_t n_row)
{
    enum { V = 128256, ROWS = 64, CALLS = 50 };
    static const struct { const char *name; struct rf_choice c; } mode[] = {
        {"greedy", {.by = RF_CHOICE_BEST, .n_top = -1}},
        {"greedy, 5 logprobs", {.by = RF_CHOICE_BEST, .n_top = 5}},
        {"temperature 1", {.by = RF_CHOICE_DRAW, .scale = 1, .top_p = RF_CHOICE_ALL, .n_top = -1}},
        {"top_k 40, top_p 0.95", {.by = RF_CHOICE_DRAW, .scale = 1, .top_k = 40, .top_p = UINT64_C(17524406870024073216), .n_top = -1}},
        {"top_p 0.9, t 0.6", {.by = RF_CHOICE_DRAW, .scale = 1 / 0.6f, .top_p = UINT64_C(16602069666338596864), .n_top = -1}},
        {"top_p 0.95, flat", {.by = RF_CHOICE_DRAW, .scale = 0.2f, .top_p = UINT64_C(17524406870024073216), .n_top = -1}}};
    float *x = malloc(sizeof(float) * V * n_row);
    struct rf_rng r = {1};
    for (size_t i = 0; i < (size_t)V * n_row; i++) x[i] = (float)(3 * rf_rng_normal(&r));
    rf_dev logits, out, top;
    check(b->mem->alloc(b, sizeof(float) * V * n_row, &logits, NULL) || b->mem->upload(b, NULL, logits, x, sizeof(float) * V * n_row), "logits");
    check(b->mem->alloc(b, sizeof(struct rf_chosen) * n_row, &out, NULL), "tokens");
    check(b->mem->alloc(b, RF_CHOICE_TOP * sizeof(struct rf_chosen_top) * n_row, &top, NULL), "logprobs");
    for (size_t m = 0; m < RF_COUNT(mode); m++) {
        struct rf_choice c[ROWS];
        int32_t zero[ROWS] = {0}, index[ROWS], first[ROWS + 1];
        for (uint32_t i = 0; i < n_row; i++) {
            c[i] = mode[m].c;
            c[i].draw = rf_rng_u64(&r);
            index[i] = first[i] = (int32_t)i;
        }
        first[n_row] = (int32_t)n_row;
        struct rf_batch batch = {.n_tok = n_row, .n_seq = n_row, .n_out = n_row, .token = zero, .pos = zero, .seq_first = first, .out_row = index, .choice = c};
        check(b->ops->batch_begin(b, NULL, &batch), "batch");
        double best = 1e9;
        for (int turn = 0; turn < 4; turn++) {
            double from = now();
            for (int k = 0; k < CALLS; k++)
                check(b->ops->choose(b, NULL, &(struct rf_choose_args){.logits = logits, .chosen = out, .top = top, .n_vocab = V}), "choose");
            check(b->mem->stream_sync(b, NULL), "choose");
            double t = (now() - from) / CALLS;
            if (turn && t < best) best = t;
        }
        printf("choose %2u rows, %-22s %9.1f us\n", n_row, mode[m].name, best * 1e6);
    }
    b->mem->free(b, logits), b->mem->free(b, out), b->mem->free(b, top);
    free(x);
}

int main(int argc, char **argv)
{
    struct rf_error err = {0};
    static const uint32_t types[] = {RF_TYPE_Q4_K, RF_TYPE_Q6_K, RF_TYPE_Q8_0, RF_TYPE_BF16};
    const char *what = argc > 2 ? argv[2] : "all";
    if (rf_backend_open(&b, &(struct rf_backend_options){.device = argc > 1 ? argv[1] : "cuda:0"}, &err)) {
        fprintf(stderr, "bench_gpu: %s\n", err.message);
        return 1;
    }
    printf("%s: %s\n", b->info.name, b->info.detail);
    for (int many = 0; many < 2; many++)
        for (size_t i = 0; i < RF_COUNT(types) && (!strcmp(what, "all") || !strcmp(what, many ? "many" : "few")); i++) {
            products(types[i], 4096, 4096, many);
            products(types[i], 14336, 4096, many);
            products(types[i], 4096, 14336, many);
        }
    if (!strcmp(what, "all") || !strcmp(what, "attention")) {
        attention(32, 8, 128, 1, 1000);
        attention(32, 8, 128, 1, 8000);
        attention(32, 8, 128, 512, 1536);
        attention(32, 8, 128, 2048, 0);
        attention(32, 8, 128, 2048, 6144);
        attention(16, 8, 256, 2048, 0);
        attention(14, 2, 64, 2048, 0);
    }
    if (!strcmp(what, "all") || !strcmp(what, "choose")) {
        choosing(1);
        choosing(64);
    }
    rf_backend_close(b);
    return 0;
}
