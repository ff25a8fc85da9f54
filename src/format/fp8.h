/* fp8.h - F8_E4M3 tensors of a Hugging Face folder, whose scales are a tensor of their own: value = byte x scale.
 *
 * The scales of X stand in X_scale_inv (DeepSeek, Qwen: in spite of its name a factor) or X_scale (vLLM's "fp8", compressed-tensors, fbgemm,
 * ModelOpt, Quark), as F32, F16, BF16 or F8_E8M0, one for each
 *   tensor   shape [] or [1] or [1, 1]
 *   row      [rows] or [rows, 1]
 *   block    [R, C] or [R, 1, C, 1]: R = ceil(rows / r), C = ceil(cols / c), r x c out of quantization_config (weight_block_size; block_structure of
 *            compressed-tensors' first group); where it says nothing 128 x 128 if that fits, else rows / R x cols / C where both are whole
 * No such tensor: 1, where config.json says nothing of a quantization, else an error. Another shape is refused. Scales of inputs and of the KV cache have no
 * use here: inputs keep 16 bits or more, the cache its own type. NaN, in bytes or scales, is refused where it is read: nothing computed from such a model
 * means anything.
 *
 * Rows are given out as RF_TYPE_F8_E4M3 where a scale stays the same over each 128 columns from a multiple of 128 on and rows are whole blocks
 * of 32, else (MXFP8, blocks of 64) as BF16, of which a scale that is a power of two takes nothing away; other scales are rounded by it, as
 * transformers does when it dequantizes.
 */
#ifndef RF_FORMAT_FP8_H
#define RF_FORMAT_FP8_H

#include "format/weights.h"

struct rf_fp8 {
    const struct rf_tensor_view *q, *scale; /* scale NULL: 1 */
    uint64_t rows, cols;
    uint64_t block_rows, block_cols;        /* that share a scale */
    uint64_t scale_cols;                    /* scales in a row of them */
    uint32_t type;                          /* what rows are given out as: enum rf_type */
    float value[256];                       /* of each byte */
};

bool rf_fp8_is(const struct rf_tensor_view *t);
/* How t's scales lie; data is not read. RF_CORRUPT names tensor, shape found and shapes expected. */
rf_status rf_fp8_find(struct rf_fp8 *out, const struct rf_weights *w, const struct rf_tensor_view *t, struct rf_error *err);
/* RF_CORRUPT if a scale is no number, or beyond 2^64. */
rf_status rf_fp8_check(const struct rf_fp8 *f, const struct rf_weights *w, struct rf_error *err);
/* Rows first .. first + n in f->type, stride bytes apart. False if a byte among them is NaN; they are written all the same. Any thread. */
bool rf_fp8_rows(const struct rf_fp8 *f, uint64_t first, uint64_t n, void *dst, size_t stride);
/* One row as floats, cols of them; false as above. */
bool rf_fp8_values(const struct rf_fp8 *f, uint64_t row, float *dst);

#endif
