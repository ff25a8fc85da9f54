/* cpu.h - inside the CPU backend: its struct, and what its files share. cpu.c: memory, open, close. ops.c: the op slots.
 * attention.c: how attention is shared out. kv.c: the KV store.
 */
#ifndef RF_BACKEND_CPU_CPU_H
#define RF_BACKEND_CPU_CPU_H

#include "backend/backend.h"
#include "backend/cpu/kern.h"
#include "backend/cpu/linear.h"
#include "backend/cpu/pool.h"

/* Grow-only scratch, 64-byte aligned, contents lost on growth. */
struct rf_cpu_scratch {
    void *data;
    size_t bytes;
};

/* Cosines and sines of one step's positions; the layers of a step share them. */
struct rf_cpu_angles {
    rf_dev inv_freq; /* 0: empty */
    uint32_t rot_dim;
    float mscale;
    struct rf_cpu_scratch cs; /* [n_tok][rot_dim]: cosines, then sines */
};
enum { RF_CPU_ANGLES = 4 };

/* Which rows of the step are plain and which bulk: of its tokens, of its outputs. */
enum { RF_CPU_TOKENS, RF_CPU_OUTPUTS, RF_CPU_LOTS };
struct rf_cpu_lots {
    struct rf_cpu_scratch row;
    struct rf_linear_rows rows;
};

struct rf_cpu {
    struct rf_backend base;
    unsigned isa;
    struct rf_kern kern;
    struct rf_pool *pool;
    struct rf_linear_scratch *linear;
    bool has_bulk; /* bulk rows are worth telling apart */

    const struct rf_batch *batch; /* of the running step */
    struct rf_cpu_scratch tok_seq; /* [n_tok] uint32_t: the sequence a token belongs to */
    struct rf_cpu_lots lots[RF_CPU_LOTS];
    struct rf_cpu_angles angles[RF_CPU_ANGLES];
    uint32_t next_angles;

    struct rf_cpu_scratch items, parts, threads; /* attention: work list, split parts, per-thread space */
};

struct rf_kv_store {
    struct rf_kv_desc desc;
    size_t slot_bytes, block_bytes; /* a block holds its slots, a slot its heads: see kern.h */
    uint8_t *data;
};

static inline struct rf_cpu *rf_cpu_of(struct rf_backend *b) { return (struct rf_cpu *)b; }

/* Makes s at least `bytes` large; RF_NOMEM leaves it as it was. */
rf_status rf_cpu_scratch_need(struct rf_cpu_scratch *s, size_t bytes);
void rf_cpu_scratch_release(struct rf_cpu_scratch *s);

/* Zeroed, 64-byte aligned, pages untouched until used. NULL on failure or overflow. */
void *rf_cpu_zeroed(uint64_t bytes);
void rf_cpu_zeroed_free(void *p);

/* kv.c */
uint64_t rf_cpu_kv_block_bytes(const struct rf_backend *b, const struct rf_kv_desc *d);
rf_status rf_cpu_kv_create(struct rf_backend *b, const struct rf_kv_desc *d, struct rf_kv_store **out, struct rf_error *err);
void rf_cpu_kv_free(struct rf_backend *b, struct rf_kv_store *kv);
rf_status rf_cpu_kv_copy(struct rf_backend *b, struct rf_stream *s, const struct rf_kv_copy_args *a);
/* The memory of one head of one block; NULL if the block is out of range (given back, or a caller's bug). */
static inline uint8_t *rf_cpu_kv_head(const struct rf_kv_store *kv, int32_t block, uint32_t slot, size_t head_offset)
{
    if (block < 0 || (uint32_t)block >= kv->desc.n_block) return NULL;
    return kv->data + (size_t)block * kv->block_bytes + slot * kv->slot_bytes + head_offset;
}
/* Does a layer of this shape fit the store's slots? */
bool rf_cpu_kv_fits(const struct rf_kv_store *kv, uint32_t slot, uint32_t n_kv_head, uint32_t head_dim);

/* attention.c */
rf_status rf_cpu_attention(struct rf_backend *b, struct rf_stream *s, const struct rf_attention_args *a);

extern const struct rf_backend_ops rf_cpu_ops;

rf_status rf_cpu_open(struct rf_backend **out, const struct rf_backend_options *opt, struct rf_error *err);

#endif
