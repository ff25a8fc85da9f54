/* gemm_args.h - arguments of the kernels for many rows (gemm.gpu, gemm_few.gpu, flash.gpu). Part of args.h.
 *
 * Operands of the large product are tiles of 128 rows by 64 values of bf16, 16 KiB each: [row tile][k tile], inside as matrix.h says.
 * Where one bf16 is too coarse, a second set of tiles holds what the rounding left.
 */
#ifndef RF_GPU_GEMM_ARGS_H
#define RF_GPU_GEMM_ARGS_H

enum { RF_GPU_GEMM_ROWS = 128, RF_GPU_GEMM_K = 64, RF_GPU_GEMM_TILE = 16384, RF_GPU_GEMM_W = 3 };
enum { RF_GPU_GEMM_PART = 256 * 256 * 4, RF_GPU_SUM_QUADS = 4 }; /* bytes of a part of a piece, where k is shared out; gemm_sum's share of a thread */

/* What this build's gemm kernel wants: written by gemm_shape. */
struct gemm_shape { unsigned threads, shared, tile_cols, persistent, processors; };
struct gemm_shape_args { rf_gpu_ptr out; };

/* f32 rows to tiles of tile_rows rows. lo 0: no second set. order: of k, see x_place. factor: not 0 for f16 instead of bf16, of x times it. */
enum gemm_order { RF_GPU_ORDER_PLAIN, RF_GPU_ORDER_OCTETS, RF_GPU_ORDER_BF16 };
struct gemm_x_args { rf_gpu_ptr x, hi, lo; unsigned rows, cols, k_tiles, tile_rows, order; float factor; };
/* Packed weight rows from row tile (of 16) tile0 on to tiles of 128 rows. */
struct gemm_w_args { rf_gpu_ptr w, hi, lo; unsigned tile0, chunks, k_tiles; };
/* out[i][m][n] = sum over terms of x w[i]^T (+ bias): column tile t belongs to the last i with first[i] <= t. A term takes x or what x's
 * rounding left (its bit of x_terms), and w likewise. Sizes in tiles; first[] in tiles of 128, even.
 * Where the shape says that blocks are persistent, clusters come in `groups`, and each goes over every groups-th piece of 256 x 256 results: the first `whole` of these in
 * turns; the steps of all others, one piece's behind the other's, are cut into `shares` equal runs, whose sums lie in part (gemm_hopper.h) until gemm_sum adds them.
 * glu: 0, or 1 + the activation of w[0] (SiLU or GELU by tanh), of two weights of equal rows whose column tiles take turns, without bias;
 * out[0] takes act(w[0]) * w[1] as x of a product of so many columns, in bf16 tiles. */
struct gemm_args {
    rf_gpu_ptr part;
    rf_gpu_ptr x, x_lo, w[RF_GPU_GEMM_W], w_lo[RF_GPU_GEMM_W], bias[RF_GPU_GEMM_W], out[RF_GPU_GEMM_W];
    unsigned n[RF_GPU_GEMM_W], stride[RF_GPU_GEMM_W], first[RF_GPU_GEMM_W], n_w;
    unsigned rows, row_tiles, col_tiles, k_tiles, terms, x_terms, w_terms, groups, whole, shares, glu;
};

/* Up to 64 rows of x (tiles of pad_rows rows) times packed weights of one type: w[i] ends before row tile end[i] of the launch. splits > 1:
 * each split's share of k goes to part[split][row][16 * tiles], gemm_few_sum adds them. x_lo, w_rest: what roundings left counts too. Types with a matrix form
 * (gemm_few_mma.h) take x from act and hold `stages` chunks of it; x_lo is then no address. */
enum { RF_GPU_FEW_MOST = 64 };
struct gemm_few_args {
    struct act_args act;
    rf_gpu_ptr x, x_lo, part, w[RF_GPU_GEMM_W], bias[RF_GPU_GEMM_W], out[RF_GPU_GEMM_W];
    unsigned n[RF_GPU_GEMM_W], stride[RF_GPU_GEMM_W], end[RF_GPU_GEMM_W], n_w;
    unsigned rows, pad_rows, n_chunk, splits, w_rest, stages;
};

/* The same on Hopper (gemm_stream.h), x in blobs of pad_rows rows (gemm_x): w[i] ends before tile end[i] of the launch, a tile being 256 weight rows; sums times scale are
 * the results. X(type, values and bytes of a chunk, stages of the ring). */
#define RF_GPU_STREAM_TYPES(X)                                                                                            \
    X(f16, 128, 4096, 2) X(q4_0, 128, 1152, 6) X(q5_0, 128, 1408, 5) X(q8_0, 128, 2176, 4) X(f8, 128, 2112, 4) X(q4_k, 256, 2368, 3) X(q5_k, 256, 2880, 2) X(q6_k, 256, 3360, 2)
enum { RF_GPU_STREAM_ROWS = 256, RF_GPU_STREAM_THREADS = 640, RF_GPU_STREAM_MOST = 6, RF_GPU_STREAM_BF16 = 5, RF_GPU_STREAM_KINDS = 9, RF_GPU_CLUSTER = 8 };
/* weight rows of a tile; most stages, and bf16's; types; blocks of a cluster that any card takes */
/* Bytes of a stage: blobs of 64 rows of x, and the chunks of 16 row tiles; whole kilobytes. */
#define RF_GPU_STREAM_STAGE(values, bytes) (((values) * 128 + 16 * (bytes) + 1023) / 1024 * 1024)
struct gemm_stream_args {
    rf_gpu_ptr x, w[RF_GPU_GEMM_W], bias[RF_GPU_GEMM_W], out[RF_GPU_GEMM_W];
    unsigned n[RF_GPU_GEMM_W], stride[RF_GPU_GEMM_W], end[RF_GPU_GEMM_W], n_w, rows, pad_rows, n_chunk, stages;
    float scale;
};

/* Attention of many rows: tiles of up to 64 rows (struct attn_tile) by KV heads. */
enum { RF_GPU_FLASH_ROWS = 64 };
struct flash_args {
    rf_gpu_ptr q, out, tile, pos, block, kv, block_bytes, slot_offset;
    unsigned q_stride, out_stride, n_head, n_kv_head, head_dim, table_stride, window;
    float scale, softcap;
};

#define RF_GPU_GEMM_KERNELS(X)                                                                                                  \
    X(gemm_shape, gemm_shape_args) X(gemm_x, gemm_x_args) X(gemm, gemm_args)                                                                            \
    X(gemm_w_f32, gemm_w_args) X(gemm_w_f16, gemm_w_args) X(gemm_w_bf16, gemm_w_args) X(gemm_w_q4_0, gemm_w_args)               \
    X(gemm_w_q4_1, gemm_w_args) X(gemm_w_q5_0, gemm_w_args) X(gemm_w_q5_1, gemm_w_args) X(gemm_w_q8_0, gemm_w_args)             \
    X(gemm_w_q2_k, gemm_w_args) X(gemm_w_q3_k, gemm_w_args) X(gemm_w_q4_k, gemm_w_args) X(gemm_w_q5_k, gemm_w_args)             \
    X(gemm_w_q6_k, gemm_w_args) X(gemm_w_f8, gemm_w_args)                                                                       \
    X(flash_f16_64, flash_args) X(flash_f16_128, flash_args) X(flash_f16_256, flash_args) X(flash_bf16_64, flash_args)          \
    X(flash_bf16_128, flash_args) X(flash_bf16_256, flash_args)                                                                 \
    X(gemm_few_sum, gemm_few_args) X(gemm_few_f16, gemm_few_args) X(gemm_few_bf16, gemm_few_args)                               \
    X(gemm_few_q4_0, gemm_few_args) X(gemm_few_q4_1, gemm_few_args) X(gemm_few_q5_0, gemm_few_args)                             \
    X(gemm_few_q5_1, gemm_few_args) X(gemm_few_q8_0, gemm_few_args) X(gemm_few_q2_k, gemm_few_args)                             \
    X(gemm_few_q3_k, gemm_few_args) X(gemm_few_q4_k, gemm_few_args) X(gemm_few_q5_k, gemm_few_args)                             \
    X(gemm_few_q6_k, gemm_few_args) X(gemm_few_f8, gemm_few_args)

#endif
