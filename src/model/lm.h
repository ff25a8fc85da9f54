/* lm.h - inside the model room: the loaded model as its files share it. */
#ifndef RF_MODEL_LM_H
#define RF_MODEL_LM_H

#include "arch/arch.h"
#include "model/model.h"

/* One tensor of a role: a matrix in the backend's form, or a vector of f32 in device memory. */
struct rf_lm_tensor {
    struct rf_weight *w;
    rf_dev vec, bias;
};

struct rf_lm_layer {
    struct rf_lm_tensor t[RF_ROLE_COUNT]; /* only layer roles are used */
    uint32_t window;                      /* 0: full attention */
    uint32_t group, slot;                 /* where its KV lives */
    bool local_rope;
};

struct rf_lm {
    struct rf_backend *b;
    const struct rf_weights *w;
    uint64_t weight_bytes;                      /* of device memory */
    bool has_f32;                               /* among its matrices */
    const struct rf_arch *arch;
    struct rf_hparams hp;
    enum rf_rotation rotation;                  /* of this file's spelling */
    struct rf_lm_shape shape;
    struct rf_lm_tensor t[RF_ROLE_LAYER_FIRST]; /* embedding, output norm, output */
    struct rf_lm_layer *layers;                 /* [n_layer] */
    const struct rf_weight *output;             /* lm_head, or the embedding where tied */
    rf_dev inv_freq, inv_freq_local;            /* [rope_dim / 2] f32 */
    float mscale;
    uint32_t rope_dim;
};

/* Facts of the file -> hyper-parameters, checked and derived. n_vocab is the caller's (it is a tensor's shape). */
rf_status rf_hparams_read(struct rf_hparams *hp, const struct rf_arch **arch, const struct rf_weights *w, struct rf_error *err);
/* Window of each layer, 0 = full. window[n_layer]. */
rf_status rf_hparams_windows(const struct rf_hparams *hp, const struct rf_arch *arch, const struct rf_weights *w,
                             uint32_t *window, struct rf_error *err);

/* inv_freq[dim / 2] for a base and scaling; *mscale is YaRN's factor on cos and sin (1 otherwise). Formulas: linear
 * position interpolation (arXiv 2306.15595), YaRN (arXiv 2309.00071), Llama 3.1's piecewise rule (its model card). */
void rf_rope_inv_freq(const struct rf_hparams *hp, double theta, bool scaled, uint32_t dim, float *inv_freq, float *mscale);

/* Divides layers into KV groups: fills shape->n_group, n_slot, group[] and each layer's group and slot. */
rf_status rf_kv_groups_plan(struct rf_lm_shape *shape, struct rf_lm_layer *layers, struct rf_error *err);

#endif
