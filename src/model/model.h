/* model.h - a language model on a backend: weights by role, the layer recipe resolved, one forward pass.
 *
 * struct rf_lm is the loaded model (weights, immutable, shared by engines). struct rf_runner is one engine's side of it:
 * scratch memory laid out once, KV store, logits. forward does no allocation.
 */
#ifndef RF_MODEL_MODEL_H
#define RF_MODEL_MODEL_H

#include "backend/backend.h"
#include "format/weights.h"

struct rf_lm;
struct rf_runner;

enum { RF_MAX_KV_GROUPS = 16 };

/* Layers that share block tables. All blocks of all groups come from one pool and have the same size: every group has
 * at most n_slot layers. window 0: full attention; else only the last `window` tokens are ever read. */
struct rf_kv_group { uint32_t window, n_layer; };

struct rf_lm_shape {
    uint32_t n_vocab, n_layer, n_embd, n_head, n_kv_head, head_dim, n_ctx_train;
    uint32_t n_group, n_slot;
    struct rf_kv_group group[RF_MAX_KV_GROUPS];
    uint64_t n_params;
    uint64_t resident_bytes;      /* weights held beyond the mapped file */
    enum rf_kv_type auto_kv_type; /* F32 where the weights are F32, else F16 */
};

/* Header and tensor list: everything is checked and sized, nothing is on the device yet. w and b must outlive it. */
rf_status rf_lm_open(struct rf_lm **out, const struct rf_weights *w, struct rf_backend *b, struct rf_error *err);
/* Device memory that load takes for weights. */
uint64_t rf_lm_weight_bytes(const struct rf_lm *m);
rf_status rf_lm_load(struct rf_lm *m, void (*progress)(void *ctx, double fraction), void *progress_ctx, struct rf_error *err);
void rf_lm_close(struct rf_lm *m);
const struct rf_lm_shape *rf_lm_shape_get(const struct rf_lm *m);
/* The backend's bytes for one block id (16 tokens of n_slot layers). kv_type may be AUTO. */
uint64_t rf_lm_kv_block_bytes(const struct rf_lm *m, enum rf_kv_type kv_type);

struct rf_runner_options {
    uint32_t max_tok, max_seq, max_out; /* largest batch */
    uint32_t n_block;
    enum rf_kv_type kv_type;
    bool precise;                       /* no product rounds its input; else only those that the tables mark */
};
/* Device memory beside weights and KV store for sequences of at most n_ctx tokens, about: the runner's, and what the slots take on
 * first use. n_block is not read. */
uint64_t rf_runner_scratch_bytes(const struct rf_lm *m, const struct rf_runner_options *opt, uint32_t n_ctx);
rf_status rf_runner_create(struct rf_runner **out, struct rf_lm *m, const struct rf_runner_options *opt, struct rf_error *err);
void rf_runner_free(struct rf_runner *r);
/* What a step left, host memory of the runner, valid until the next begin but one; logits until the next begin. */
struct rf_step_out {
    const float *logits;             /* [n_out][n_vocab]; with choices only rows of RF_CHOICE_NONE. May hold NaN or Inf: the caller checks per row */
    const struct rf_chosen *chosen;  /* [n_out], NULL without choices */
    const struct rf_chosen_top *top; /* [n_out][RF_CHOICE_TOP] */
};
/* Whether batches may have choices. */
bool rf_runner_chooses(const struct rf_runner *r);
/* Whether begin returns while the device works. */
bool rf_runner_overlaps(const struct rf_runner *r);
/* One step: begin starts it, end waits for it. Arrays of the batch are borrowed by begin alone; end follows a begin that was RF_OK. Where begin
 * returns while the device works and chooses, a second step may begin before the first one's end: its tokens below 0 are those that the first chose,
 * batch.fed is the runner's to set. Ends come in the order of begins. */
rf_status rf_runner_begin(struct rf_runner *r, const struct rf_batch *batch, struct rf_error *err);
rf_status rf_runner_end(struct rf_runner *r, struct rf_step_out *out, struct rf_error *err);
/* Copies whole blocks (copy-on-write), before the next forward. */
rf_status rf_runner_kv_copy(struct rf_runner *r, const int32_t *from, const int32_t *to, uint32_t n, struct rf_error *err);

#endif
