/* args.h - one struct per kernel, shared by device code and host; and the list of all kernels.
 *
 * Weight rows in device memory ("planes", made by pack.c): a row's codes, then its high bits, then its scales, then its
 * super-block factors, each plane whole and aligned to 4 bytes, the row rounded up to 16. An "octet" is the 8 values one lane takes at a
 * time: values o..o+3 and 16+o..19+o of a block of 32 for quantised types (o = 4 * (octet % 4)), 8 in a row for float types.
 */
#ifndef RF_GPU_ARGS_H
#define RF_GPU_ARGS_H

#if defined(__cplusplus) || defined(RF_GPU_EMU)
typedef unsigned long long rf_gpu_ptr;
#else
#include <stdint.h>
typedef uint64_t rf_gpu_ptr;
#endif

enum { RF_GPU_CHUNK = 64, RF_GPU_TILE = 16, RF_GPU_HEAD_MAX = 256, RF_GPU_ATTN_THREADS = 128, RF_GPU_MM_WARPS = 4 };

struct probe_args { rf_gpu_ptr out; };
struct embed_args { rf_gpu_ptr w, token, out; unsigned row_bytes, cols; float scale; };
struct rmsnorm_args { rf_gpu_ptr x, residual, sum, w, y; unsigned cols, x_stride, y_stride, threads; float eps; };
struct matmul_args { rf_gpu_ptr w, x, bias, out; unsigned row_bytes, rows, cols, m, out_stride; };
struct rope_kv_args {
    rf_gpu_ptr q, k, v, table, pos, seq, block, kv;
    rf_gpu_ptr block_bytes, slot_offset; /* of the KV store */
    unsigned q_stride, kv_stride, n_head, n_kv_head, head_dim, rot_dim, style, table_stride, type, threads;
};
struct attn_args {
    rf_gpu_ptr q, out, part, tile, pos, block, kv, block_bytes, slot_offset;
    unsigned q_stride, out_stride, n_head, n_kv_head, head_dim, table_stride, window, type, n_chunk, split;
    float scale, softcap;
};
struct attn_merge_args { rf_gpu_ptr out, part, pos; unsigned out_stride, n_head, head_dim, n_chunk, window; };
struct attn_tile { unsigned seq, tok, row, n_row; }; /* n_row rows (token-major, heads of one KV head) from row of the sequence on;
                                                        tok: the sequence's first token */
struct glu_args { rf_gpu_ptr gate, up, out, n; unsigned act; };
struct add_args { rf_gpu_ptr a, b, out, n; float b_scale; };
struct softcap_args { rf_gpu_ptr x, n; float cap, scale; };
struct gather_args { rf_gpu_ptr x, row, out; unsigned cols, n, step; };

/* X(kernel, its args): weights.c counts on four kernels a type in this order. */
#define RF_GPU_TYPE_KERNELS_(X, t) \
    X(embed_##t, embed_args) X(matmul_##t##_1, matmul_args) X(matmul_##t##_4, matmul_args) X(matmul_##t##_8, matmul_args)
#define RF_GPU_KERNELS(X)                                                                                                    \
    X(probe, probe_args) X(rmsnorm, rmsnorm_args) X(rope_kv, rope_kv_args) X(attn, attn_args) X(attn_merge, attn_merge_args) \
    X(glu, glu_args) X(add, add_args) X(softcap, softcap_args) X(gather, gather_args)                                        \
    RF_GPU_TYPE_KERNELS_(X, f32) RF_GPU_TYPE_KERNELS_(X, f16) RF_GPU_TYPE_KERNELS_(X, bf16)                                  \
    RF_GPU_TYPE_KERNELS_(X, q4_0) RF_GPU_TYPE_KERNELS_(X, q4_1) RF_GPU_TYPE_KERNELS_(X, q5_0)                                \
    RF_GPU_TYPE_KERNELS_(X, q5_1) RF_GPU_TYPE_KERNELS_(X, q8_0) RF_GPU_TYPE_KERNELS_(X, q2_k)                                \
    RF_GPU_TYPE_KERNELS_(X, q3_k) RF_GPU_TYPE_KERNELS_(X, q4_k) RF_GPU_TYPE_KERNELS_(X, q5_k) RF_GPU_TYPE_KERNELS_(X, q6_k)

#endif
