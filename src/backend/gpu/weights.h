/* weights.h - inside the GPU backend: a weight matrix in device memory (kernels/weights.h says how it lies there). */
#ifndef RF_BACKEND_GPU_WEIGHTS_H
#define RF_BACKEND_GPU_WEIGHTS_H

#include "backend/gpu/gpu.h"

struct rf_gpu_weight {
    rf_dev dev;
    uint64_t rows, cols, bytes;
    uint32_t type;             /* enum rf_type */
    uint32_t n_tile, n_chunk;  /* row tiles of 16, those that pad included; chunks along k */
    enum rf_gpu_kernel kernel; /* embed_TYPE; pack_rows_ and the three products follow */
};

/* Tiles of the large product (kernels/gemm_args.h) that so many rows, and so many columns, take. */
static inline uint32_t rf_gpu_row_tiles(uint32_t rows) { return (rows + RF_GPU_GEMM_ROWS - 1) / RF_GPU_GEMM_ROWS; }
static inline uint64_t rf_gpu_k_tiles(uint64_t cols) { return (cols + RF_GPU_GEMM_K - 1) / RF_GPU_GEMM_K; }

/* A type's place in RF_GPU_TYPES (kernels/args.h), by which kernels of a kind follow each other. */
static inline uint32_t rf_gpu_weight_number(const struct rf_gpu_weight *w)
{
    return (uint32_t)(w->kernel - RF_GPU_K_embed_f32) / (RF_GPU_K_embed_f16 - RF_GPU_K_embed_f32);
}
/* Has a form for the matrix unit: kernels/matmul.gpu. */
bool rf_gpu_is_matrix_type(uint32_t type);
/* Weights from `first` on that one launch takes: of one type, up to RF_GPU_MM_WEIGHTS. */
uint32_t rf_gpu_same_type(const struct rf_matmul_args *a, uint32_t first);
static inline const struct rf_gpu_weight *rf_gpu_weight_of(const struct rf_weight *w) { return (const struct rf_gpu_weight *)w; }

#endif
