/* bench_decode - attention of single tokens on a GPU backend, by rows and context: microseconds a layer, GB/s of keys and values. Not a test.
 *
 *   bench_decode [DEVICE]   cuda:0 by default
 *
 * Rotation, append and attention of one token of each of so many sequences, 32 layers as one recorded step, a layer's share of it. Shares are of what an
 * H200 was measured to copy, 4.29 TB/s. Layers go around over as much memory as caches do not hold. rocmforge bench --kernels measures everything else.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/backend.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"

static struct rf_backend *b;

static void check(rf_status s, const char *what)
{
    if (!s) return;
    fprintf(stderr, "bench_decode: %s: %s\n", what, b ? b->info.detail : rf_status_name(s));
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

/* One token of each of n_row sequences that are n_ctx long then, their blocks strewn over the store. Layers go around over as much memory as caches do not hold. */
static void decoding(uint32_t n_head, uint32_t n_kv, uint32_t dim, uint32_t n_row, uint32_t n_ctx)
{
    enum { LAYERS = 32, STEPS = 12, MOST = 64 };
    const uint32_t stride = (n_ctx + 15) / 16, n_block = n_row * stride;
    const uint64_t bytes = (uint64_t)n_row * n_ctx * n_kv * dim * 4, slots = 1 + ((uint64_t)512 << 20) / bytes;
    struct rf_kv_desc d = {.n_block = n_block, .n_slot = (uint32_t)RF_MIN(slots, (uint64_t)LAYERS), .n_kv_head = n_kv, .head_dim = dim, .type = RF_KV_F16};
    struct rf_kv_store *kv;
    struct rf_rng r = {3};
    check(b->mem->kv_create(b, &d, &kv, NULL), "kv");
    int32_t *table = malloc(n_block * sizeof *table), zero[MOST] = {0}, pos[MOST], first[MOST + 1], index[MOST];
    for (uint32_t i = 0; i < n_block; i++) { /* any order is as good as another */
        const uint32_t j = (uint32_t)(rf_rng_u64(&r) % (i + 1));
        table[i] = table[j];
        table[j] = (int32_t)i;
    }
    for (uint32_t i = 0; i <= n_row; i++) first[i] = (int32_t)i;
    for (uint32_t i = 0; i < n_row; i++) pos[i] = (int32_t)n_ctx - 1, index[i] = (int32_t)i;
    const int32_t *tables[] = {table};
    struct rf_batch batch = {.n_tok = n_row, .n_seq = n_row, .n_out = n_row, .n_group = 1, .token = zero, .pos = pos, .seq_first = first, .out_row = index,
                             .block_table = tables, .table_stride = stride};
    rf_dev q = filled((uint64_t)n_row * n_head * dim), out = filled((uint64_t)n_row * n_head * dim), k = filled((uint64_t)n_row * n_kv * dim), freq = filled(dim / 2);
    struct rf_rope_kv_args rope = {.q = q, .k = k, .v = k, .q_stride = n_head * dim, .kv_stride = n_kv * dim, .n_head = n_head, .n_kv_head = n_kv, .head_dim = dim,
                                   .rot_dim = dim, .style = RF_ROPE_NEOX, .inv_freq = freq, .mscale = 1, .kv = kv};
    struct rf_attention_args a = {.q = q, .out = out, .q_stride = n_head * dim, .out_stride = n_head * dim, .n_head = n_head, .n_kv_head = n_kv, .head_dim = dim,
                                  .scale = 0.1f, .kv = kv, .rope = &rope};
    double best = 1e9;
    for (int turn = 0; turn < 4; turn++) {
        double from = rf_now();
        for (int step = 0; step < STEPS; step++) {
            enum rf_record what;
            bool ran = true;
            check(b->ops->batch_begin(b, NULL, &batch), "batch");
            check(b->ops->record_begin(b, NULL, &a, n_row, &what), "record");
            for (uint32_t i = 0; i < LAYERS && what != RF_RECORD_DONE; i++) {
                rope.slot = a.slot = i % d.n_slot;
                check(b->ops->attention(b, NULL, &a), "attention");
            }
            if (what != RF_RECORD_DONE) check(b->ops->record_end(b, NULL, &ran), "record");
        }
        check(b->mem->stream_sync(b, NULL), "attention");
        double t = (rf_now() - from) / (STEPS * LAYERS);
        if (turn && t < best) best = t;
    }
    b->ops->record_drop(b, &a);
    printf("decoding %u/%u heads of %u, %2u rows at %4u: %8.2f us a layer  %6.0f GB/s %3.0f%%\n", n_head, n_kv, dim, n_row, n_ctx, best * 1e6, (double)bytes / best * 1e-9,
           (double)bytes / best * 1e-9 / 42.90);
    fflush(stdout);
    b->mem->free(b, q), b->mem->free(b, out), b->mem->free(b, k), b->mem->free(b, freq);
    b->mem->kv_free(b, kv);
    free(table);
}

int main(int argc, char **argv)
{
    static const uint32_t rows[] = {1, 8, 64}, ctx[] = {256, 1024, 2048, 8192};
    struct rf_error err = {0};
    if (rf_backend_open(&b, &(struct rf_backend_options){.device = argc > 1 ? argv[1] : "cuda:0"}, &err)) {
        fprintf(stderr, "bench_decode: %s\n", err.message);
        return 1;
    }
    printf("%s: %s\n", b->info.name, b->info.detail);
    for (size_t i = 0; i < RF_COUNT(rows) * RF_COUNT(ctx); i++) decoding(32, 8, 128, rows[i / RF_COUNT(ctx)], ctx[i % RF_COUNT(ctx)]);
    decoding(14, 2, 64, 64, 2048);
    decoding(16, 8, 256, 64, 2048);
    rf_backend_close(b);
    return 0;
}
