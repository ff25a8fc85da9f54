/* kern.h - the CPU kernels of everything but the weight matrices, as one table.
 *
 * Filled by ref (plain C, the definition: sums in double), then overwritten per instruction set, weakest first. All work on
 * plain pointers and on one thread; ops.c and attention.c share the work out. Every kernel gives a row the same bits
 * wherever and beside whatever it stands.
 *
 * KV memory. For one block of 16 tokens and one KV head: keys transposed, [head_dim][16], then values, [16][head_pad];
 * head_pad is head_dim rounded up to 16, and the values behind head_dim stay zero.
 *
 * Attention works on chunks of RF_ATTN_CHUNK keys that start at multiples of RF_ATTN_CHUNK, whatever the prompt's cut:
 * attn_part gives each row (one token, one head) the chunk's part {max, sum of exp(s - max), sum of exp(s - max) v}, and
 * attn_merge adds parts in rising order of chunks (Milakov & Gimelshein 2018, arXiv 1805.02867). Keys outside a row's
 * range are skipped, not added as zeros. So a row's bits do not depend on tiles, threads or chunks of prefill.
 */
#ifndef RF_BACKEND_CPU_KERN_H
#define RF_BACKEND_CPU_KERN_H

#include "backend/backend.h"

enum {
    RF_ATTN_CHUNK = 128, /* keys of a part */
    RF_ATTN_BLOCKS = RF_ATTN_CHUNK / RF_KV_BLOCK_TOKENS,
    RF_ATTN_HEAD_MAX = 256,
    RF_ATTN_PART_HEAD = 16, /* floats in front of a part's sums: [0] max, [1] sum */
};

static inline uint32_t rf_attn_head_pad(uint32_t head_dim) { return (head_dim + 15) & ~15u; }

/* One row of attention: a token's query head. */
struct rf_attn_row {
    const float *q; /* [head_dim] */
    float *part;    /* [RF_ATTN_PART_HEAD + head_pad] */
    uint32_t lo, hi; /* keys lo..hi-1 of the chunk, 0 <= lo < hi <= RF_ATTN_CHUNK */
};

struct rf_attn_part_args {
    const struct rf_attn_row *row;
    uint32_t n_row, head_dim, head_pad;
    const float *k;       /* [head_dim][RF_ATTN_CHUNK], valid where some row looks; NULL: read `block` */
    const float *v;       /* [RF_ATTN_CHUNK][head_pad] */
    const void *block[RF_ATTN_BLOCKS]; /* the chunk's blocks as they are stored; same bits as from k and v, cheaper for few rows */
    enum rf_kv_type type; /* of block */
    float scale, softcap; /* s = scale * q.k, then softcap * tanh(s / softcap) unless 0 */
    float *score;         /* scratch: [RF_ATTN_ROWS][RF_ATTN_CHUNK] */
};
enum { RF_ATTN_ROWS = 12 }; /* most rows that attn_part may take through its scratch at a time */

struct rf_kern {
    /* a = x + residual (residual may be NULL), stored to sum where residual is given; y = a / sqrt(mean(a^2) + eps) * w */
    void (*rmsnorm)(const float *x, const float *residual, float *sum, const float *w, float *y, uint32_t n, float eps);
    void (*glu[RF_ACT_RELU + 1])(const float *gate, const float *up, float *out, size_t n); /* by enum rf_act */
    void (*add)(const float *a, const float *b, float *out, size_t n, float b_scale);
    void (*softcap)(float *x, size_t n, float cap, float scale);

    /* Rotates n_head heads, `head_dim` apart, by cs = rot_dim / 2 cosines, then as many sines. */
    void (*rope)(float *x, const float *cs, uint32_t n_head, uint32_t head_dim, uint32_t rot_dim, enum rf_rope_style style);
    /* One token's key and value of one head into place `at` (0..15) of a block; by enum rf_kv_type. */
    void (*kv_put[RF_KV_BF16 + 1])(const float *k, const float *v, void *block, uint32_t at, uint32_t head_dim);
    /* One block to f32: keys to k[d * RF_ATTN_CHUNK + 0..15], values to v[0..15][head_pad]. */
    void (*kv_get[RF_KV_BF16 + 1])(const void *block, float *k, float *v, uint32_t head_dim);

    void (*attn_part)(const struct rf_attn_part_args *a);
    void (*attn_merge)(float *state, const float *part, uint32_t head_pad);
    void (*attn_finish)(const float *state, float *out, uint32_t head_dim); /* out = sums / sum */
};

void rf_kern_init(struct rf_kern *k, unsigned isa); /* isa: enum rf_isa flags; later ones win */

/* Each overwrites what it does better; init_ref fills every slot. */
void rf_kern_init_ref(struct rf_kern *k);
void rf_kern_init_avx2(struct rf_kern *k);
void rf_kern_init_avx512(struct rf_kern *k);
void rf_kern_init_neon(struct rf_kern *k);

/* The state that attn_merge starts from. */
static inline void rf_attn_state_clear(float *state, uint32_t head_pad)
{
    for (uint32_t i = 0; i < RF_ATTN_PART_HEAD + head_pad; i++) state[i] = 0;
    state[0] = -__builtin_inff();
}

static inline uint32_t rf_kv_elem_bytes(enum rf_kv_type t) { return t == RF_KV_F32 ? 4 : 2; }
/* Bytes of one block of one KV head. */
static inline size_t rf_kv_head_bytes(enum rf_kv_type t, uint32_t head_dim)
{
    return (size_t)RF_KV_BLOCK_TOKENS * (head_dim + rf_attn_head_pad(head_dim)) * rf_kv_elem_bytes(t);
}

#endif
