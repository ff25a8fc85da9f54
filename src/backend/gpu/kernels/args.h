/* args.h - one struct per kernel, shared by device code and host; and the list of all kernels.
 *
 * How weights lie in device memory: weights.h.
 */
#ifndef RF_GPU_ARGS_H
#define RF_GPU_ARGS_H

#if defined(__cplusplus) || defined(RF_GPU_EMU)
typedef unsigned long long rf_gpu_ptr;
#else
#include <stdint.h>
typedef uint64_t rf_gpu_ptr;
#endif

enum { RF_GPU_CHUNK = 64, RF_GPU_TILE = 16, RF_GPU_HEAD_MAX = 256, RF_GPU_ATTN_THREADS = 128 };
enum { RF_GPU_MM_GROUPS = 8, RF_GPU_MM_TILES = 8, RF_GPU_MM_WEIGHTS = 3 }; /* matmul: groups of 32 threads a block, most row tiles a block, weights */
enum { RF_GPU_ONE_HALVES = 2, RF_GPU_ONE_THREADS = 32 * RF_GPU_ONE_HALVES * RF_GPU_MM_GROUPS, RF_GPU_NORM_ROW = 8192 }; /* matmul_one.h; rows that a norm keeps at hand */

/* X(type, values of a chunk along k, bytes of a chunk of 16 rows): weights.h. bf16 has a place of its own for chunks. */
#define RF_GPU_TYPES(X)                                                                                                       \
    X(f32, 128, 8192) X(f16, 128, 4096) X(bf16, 64, 2048) X(q4_0, 128, 1152) X(q4_1, 128, 1280) X(q5_0, 128, 1408)            \
    X(q5_1, 128, 1536) X(q8_0, 128, 2176) X(q2_k, 256, 1344) X(q3_k, 256, 1824) X(q4_k, 256, 2368) X(q5_k, 256, 2880) X(q6_k, 256, 3360) \
    X(f8, 128, 2112)

/* The step's plan in device memory: int32 words; a table's place is in words from the plan's start. Then tokens, positions, .. (gpu.h). */
enum { RF_GPU_PLAN_STRIDE, RF_GPU_PLAN_TABLE, RF_GPU_PLAN_HEAD = 32, RF_GPU_GROUPS = 16 }; /* most cache groups of a model */
enum { RF_GPU_PLAN_ROWS = 30, RF_GPU_PLAN_EDITS }; /* sample_row of each output; their edits: places in words from the plan's start */
/* decode.gpu: most runs of a row (by plain arithmetic, too), most query heads and most warps of a block, keys that a warp's ring has room for (one
 * step's, where a small block is worth more than copies under way). */
enum { RF_GPU_SPLITS = 32, RF_GPU_PLAIN_RUNS = 16, RF_GPU_DECODE_HEADS = 8, RF_GPU_DECODE_WARPS = 4, RF_GPU_DECODE_RING = 32, RF_GPU_DECODE_STEP = 16 };
#define decode_heads(dim) ((dim) > 128 ? RF_GPU_DECODE_HEADS / 2u : RF_GPU_DECODE_HEADS + 0u) /* query heads of a block, by plain arithmetic */

/* act.h: a row's blocks of 32, those that pad to a multiple of 8 included; half, bf16: 0 where not wanted. pad_rows: not 0 for blobs of so many rows. */
struct act_args { rf_gpu_ptr half, bf16, sum; unsigned blocks, pad_rows; float factor; unsigned pad; };

struct probe_args { rf_gpu_ptr out; };
struct embed_args { rf_gpu_ptr w, token, out; unsigned n_chunk, cols; float scale; };
struct pack_args { rf_gpu_ptr file, to, file_row; unsigned rows, cols, n_chunk, first_tile, tiles, pad; }; /* file: `rows` rows from tile first_tile on; to: the whole matrix */
/* y: 0 where the form alone is wanted; cols are RF_GPU_NORM_ROW at most then */
struct rmsnorm_args { rf_gpu_ptr x, residual, sum, w, y; struct act_args act; unsigned cols, x_stride, y_stride, threads; float eps; };
struct matmul_weight { rf_gpu_ptr w, bias, out, add; unsigned rows, out_stride, block_end, pad; }; /* block_end: thread blocks (one row: tiles) up to and with this weight */
/* tiles: of a block. For one row (matmul_one.h): w[].add: 0, or the row that the product is added to; norm: 0, or what x is normed with first, by norm_threads;
 * glu: 0, or 1 + the activation of w[0], whose out takes act(gate) * up; tiles, extra, most: of a share, shares with one more, tiles at most; from share
 * `split` on tiles2 and extra2, of the last weight, whose tiles begin at first2. */
struct matmul_args {
    struct matmul_weight w[RF_GPU_MM_WEIGHTS];
    rf_gpu_ptr x, norm;
    struct act_args act;
    unsigned n_w, n_chunk, cols, m, tiles, blocks, extra, most, glu, norm_threads, split, first2, tiles2, extra2;
    float eps;
    unsigned pad;
};
struct act_row_args { rf_gpu_ptr x; struct act_args act; unsigned cols, step; };
enum { RF_GPU_ROPE_HEADS = 8 };
struct rope_kv_args {
    rf_gpu_ptr q, k, v, table, pos, seq, plan, kv;
    rf_gpu_ptr block_bytes, slot_offset; /* of the KV store */
    unsigned q_stride, kv_stride, n_head, n_kv_head, head_dim, rot_dim, style, type, group, n_block;
};
struct attn_args {
    rf_gpu_ptr q, out, part, tile, pos, block, kv, block_bytes, slot_offset;
    unsigned q_stride, out_stride, n_head, n_kv_head, head_dim, table_stride, window, type, n_chunk, split;
    float scale, softcap;
};
struct attn_merge_args { rf_gpu_ptr out, part, pos; unsigned out_stride, n_head, head_dim, n_chunk, window; };
struct attn_tile { unsigned seq, tok, row, n_row; }; /* n_row rows (token-major, heads of one KV head) from row of the sequence on;
                                                        tok: the sequence's first token */
/* append: q and k come as products made them, and k and v go to the cache here. part: of a row and query head, values [run][head_dim], then max and
 * sum [run][2]; count: on the matrix unit pieces of work that were drawn, then arrivals [row][blocks of a row], 0 between launches. n_row, warps,
 * grid (blocks of the launch), run (keys of one, where 16 or fewer do) and ring (keys): on the matrix unit. */
struct decode_args {
    rf_gpu_ptr q, k, v, out, part, count, plan, pos, kv, block_bytes, slot_offset, table;
    struct act_args act;
    unsigned q_stride, kv_stride, out_stride, n_head, n_kv_head, head_dim, rot_dim, style, window, type, group, n_block, append; /* group: the cache group */
    unsigned splits, n_row, warps, grid, run, ring; /* splits: most runs, parts' stride, 16 or 32 */
    float scale, softcap;
};
struct glu_args { rf_gpu_ptr gate, up, out; struct act_args form; unsigned cols, act; };
struct add_args { rf_gpu_ptr a, b, out, n; float b_scale; };
struct softcap_args { rf_gpu_ptr x, n; float cap, scale; };
struct gather_args { rf_gpu_ptr x, row, out; unsigned cols, n, step; };
struct feed_args { rf_gpu_ptr token, chosen; unsigned n, pad; }; /* chosen: struct sample_chosen of the step before */

/* sample.gpu. Tokens are cut into strips; most strips of a row, most listed tokens of a strip, most logprobs (base/choice.h). */
enum { RF_GPU_SAMPLE_STRIP = 4096, RF_GPU_SAMPLE_STRIPS = 256, RF_GPU_SAMPLE_LIST = 1024, RF_GPU_SAMPLE_GROUPS = 64, RF_GPU_SAMPLE_TOP = 32 };
struct sample_row { rf_gpu_ptr draw, top_p; unsigned by, top_k, edit_first, n_edit; float scale, min_p; int n_top; unsigned pad; }; /* struct rf_choice */
struct sample_edit { unsigned token; float add, divide, minus, raw; };       /* raw: the logit before, left by the device */
enum { RF_GPU_CHOSEN_TOKEN = 1 };                                            /* enum rf_chosen_state */
struct sample_chosen { unsigned token, state; float logit, max, sum; unsigned n_top; }; /* struct rf_chosen */
struct sample_strip { rf_gpu_ptr mass; float raw_max, raw_sum, max, sum; unsigned best, bad, n_list, pad; };
struct sample_args { rf_gpu_ptr logits, plan, strip, group, list, top, out, out_top; unsigned n_vocab, n_strip; };

#include "gemm_args.h"

/* X(kernel, its args): weights.c counts on five kernels a type in this order. */
#define RF_GPU_TYPE_KERNELS_(X, t) \
    X(embed_##t, embed_args) X(pack_rows_##t, pack_args) X(matmul_##t##_1, matmul_args) X(matmul_##t##_4, matmul_args) X(matmul_##t##_8, matmul_args)
#define RF_GPU_KERNELS(X)                                                                                                    \
    X(probe, probe_args) X(rmsnorm, rmsnorm_args) X(rope_kv, rope_kv_args) X(attn, attn_args) X(attn_merge, attn_merge_args) \
    X(attn_decode, decode_args) X(attn_decode_64, decode_args) X(attn_decode_128, decode_args) X(attn_decode_256, decode_args)  \
    X(matmul_q4_k_q6_k_1, matmul_args) X(act_rows, act_row_args) X(glu, glu_args) X(glu_rows, glu_args) X(add, add_args) X(softcap, softcap_args)               \
    X(gather, gather_args) X(feed, feed_args) RF_GPU_GEMM_KERNELS(X)                                                                            \
    X(sample_scan, sample_args) X(sample_weigh, sample_args) X(sample_pick, sample_args)                                     \
    RF_GPU_TYPE_KERNELS_(X, f32) RF_GPU_TYPE_KERNELS_(X, f16) RF_GPU_TYPE_KERNELS_(X, bf16)                                  \
    RF_GPU_TYPE_KERNELS_(X, q4_0) RF_GPU_TYPE_KERNELS_(X, q4_1) RF_GPU_TYPE_KERNELS_(X, q5_0)                                \
    RF_GPU_TYPE_KERNELS_(X, q5_1) RF_GPU_TYPE_KERNELS_(X, q8_0) RF_GPU_TYPE_KERNELS_(X, q2_k)                                \
    RF_GPU_TYPE_KERNELS_(X, q3_k) RF_GPU_TYPE_KERNELS_(X, q4_k) RF_GPU_TYPE_KERNELS_(X, q5_k) RF_GPU_TYPE_KERNELS_(X, q6_k)  \
    RF_GPU_TYPE_KERNELS_(X, f8)

/* Those that only some architectures' code has: a function that is not there is 0 in struct rf_gpu. */
#define RF_GPU_OTHER_KERNELS(X)                                                                                              \
    X(gemm_sum, gemm_args)                                                                                                       \
    X(gemm_stream_f16, gemm_stream_args) X(gemm_stream_bf16, gemm_stream_args) X(gemm_stream_q4_0, gemm_stream_args)         \
    X(gemm_stream_q5_0, gemm_stream_args) X(gemm_stream_q8_0, gemm_stream_args) X(gemm_stream_q4_k, gemm_stream_args)        \
    X(gemm_stream_q5_k, gemm_stream_args) X(gemm_stream_q6_k, gemm_stream_args) X(gemm_stream_f8, gemm_stream_args)

#endif
