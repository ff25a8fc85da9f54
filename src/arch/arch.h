/* arch.h - what a model family is, as data: one row per architecture with its names in both spellings, where its
 * hyper-parameters stand, and its layer as a recipe of steps. The model room walks these tables; nothing else in the
 * project knows a family by name.
 *
 * Spellings: GGUF (general.architecture and blk.N.* tensor names) and Hugging Face (config.json, model.layers.N.*).
 */
#ifndef RF_ARCH_ARCH_H
#define RF_ARCH_ARCH_H

#include "base/status.h"

/* ---- hyper-parameters ---- */

/* What the gate of a feed-forward goes through. */
enum rf_activation { RF_ACTIVATION_SILU, RF_ACTIVATION_GELU_TANH, RF_ACTIVATION_GELU, RF_ACTIVATION_RELU };

enum rf_rope_scaling { RF_ROPE_SCALE_NONE, RF_ROPE_SCALE_LINEAR, RF_ROPE_SCALE_LLAMA3, RF_ROPE_SCALE_YARN };

struct rf_hparams {
    int64_t n_layer, n_embd, n_ff, n_head, n_kv_head, head_dim, n_ctx;
    int64_t window;            /* sliding window in tokens, 0 = none */
    int64_t window_period;     /* every window_period-th layer is full attention (gemma3) */
    int64_t window_from;       /* first layer with a window (qwen2's max_window_layers) */
    int64_t use_window;        /* -1 not said, 0 off, 1 on */
    int64_t tied;              /* -1 not said */
    double rms_eps;
    double rope_theta, rope_theta_local; /* local: of window layers, 0 = the same */
    double rope_fraction;      /* share of head_dim that is rotated */
    int64_t rope_dim;          /* or the rotated dimensions themselves, 0 = head_dim * rope_fraction */
    double rope_factor;        /* context extension factor */
    double rope_low, rope_high;          /* llama3: low_freq_factor, high_freq_factor */
    double rope_orig_ctx;
    double rope_beta_fast, rope_beta_slow, rope_attn_factor; /* yarn */
    double rope_mscale, rope_mscale_all; /* yarn: both given, their quotient scales attention; 0 = not said */
    int64_t rope_truncate;     /* yarn: the ramp's ends are whole dimensions */
    double attn_scale;         /* 0: 1/sqrt(head_dim) */
    double query_scalar;       /* gemma: attention scale is query_scalar^-1/2; 0 = not said */
    double attn_softcap, logit_softcap;  /* 0: none */
    enum rf_rope_scaling rope_scaling;
    enum rf_activation activation;
};

enum rf_hparam_kind { RF_HP_INT, RF_HP_FLOAT };

/* Where one field stands. `gguf` has %s for the architecture's prefix. The first spelling that is present counts. */
struct rf_hparam_row {
    enum rf_hparam_kind kind;
    size_t offset;             /* in struct rf_hparams */
    double fallback;           /* NAN: required */
    double min, max;           /* accepted range, inclusive */
    const char *gguf[2];
    const char *hf[4];
};
extern const struct rf_hparam_row rf_hparam_rows[];
extern const size_t rf_hparam_n_rows;

/* ---- tensors ---- */

enum rf_role {
    RF_ROLE_NONE,
    RF_ROLE_TOKEN_EMBD, RF_ROLE_OUTPUT_NORM, RF_ROLE_OUTPUT, RF_ROLE_ROPE_FREQS,
    RF_ROLE_LAYER_FIRST,       /* roles from here on exist once per layer */
    RF_ROLE_ATTN_NORM = RF_ROLE_LAYER_FIRST,
    RF_ROLE_Q, RF_ROLE_K, RF_ROLE_V, RF_ROLE_O, RF_ROLE_Q_NORM, RF_ROLE_K_NORM,
    RF_ROLE_POST_ATTN_NORM, RF_ROLE_FFN_NORM, RF_ROLE_GATE, RF_ROLE_UP, RF_ROLE_DOWN, RF_ROLE_POST_FFN_NORM,
    RF_ROLE_COUNT
};

/* Shape of a role's tensor, as names of hyper-parameter products: rows (outputs) x cols (inputs). */
enum rf_dim { RF_DIM_ONE, RF_DIM_VOCAB, RF_DIM_EMBD, RF_DIM_FF, RF_DIM_Q, RF_DIM_KV, RF_DIM_HEAD, RF_DIM_HALF_ROPE };

struct rf_role_row {
    const char *gguf, *hf;     /* patterns; %u is the layer; hf without its model prefix ("model.") */
    enum rf_dim rows, cols;    /* rows RF_DIM_ONE: a vector of cols */
    bool optional;             /* may be absent (tied output, factors) */
    bool is_norm;              /* a norm's weight: the family's norm_offset applies in Hugging Face spelling */
    bool precise;              /* small and sensitive, as what the KV cache keeps: computed without rounding its input */
};
extern const struct rf_role_row rf_role_rows[RF_ROLE_COUNT];

/* ---- recipe ---- */

enum rf_reg { RF_REG_X, RF_REG_H, RF_REG_Q, RF_REG_K, RF_REG_V, RF_REG_A, RF_REG_Y, RF_REG_G, RF_REG_U, RF_REG_COUNT };

enum rf_step_op {
    RF_STEP_END,
    RF_STEP_NORM,      /* out[0] = rmsnorm(in) * role[0] */
    RF_STEP_HEAD_NORM, /* the same per head, in place on in */
    RF_STEP_MATMUL,    /* out[i] = in * role[i]^T (+ bias where the file has one) */
    RF_STEP_ROPE_KV,   /* rotates Q and K, appends K and V to the cache */
    RF_STEP_ATTENTION, /* A = attention(Q) */
    RF_STEP_ADD,       /* X += in */
    RF_STEP_GLU,       /* G = act(G) * U */
};

struct rf_recipe_step {
    enum rf_step_op op;
    enum rf_reg in, out[3];
    enum rf_role role[3];
};

/* ---- families ---- */

enum rf_window_rule { RF_WINDOW_NEVER, RF_WINDOW_ALL, RF_WINDOW_PERIOD, RF_WINDOW_FLAGGED };
enum rf_rotation { RF_ROTATION_HALVES, RF_ROTATION_PAIRS };

struct rf_role_name { enum rf_role role; const char *gguf, *hf; }; /* where a family spells a role its own way */

struct rf_arch {
    const char *name;
    const char *gguf;          /* general.architecture, NULL if GGUF knows it under another row */
    const char *hf[4];         /* config.json architectures[0] */
    const struct rf_recipe_step *layer;
    const struct rf_role_name *names; /* ends with role 0; NULL if the common names do */
    enum rf_rotation rotation_gguf, rotation_hf;
    enum rf_window_rule window_rule;
    enum rf_activation activation; /* where the file names none */
    bool embed_scaled;         /* embeddings times sqrt(n_embd) */
    double norm_offset_hf;     /* added to norm weights in Hugging Face spelling */
    double default_window_period, default_theta_local;
    int64_t wide_scale_layers; /* GGUF does not say query_scalar: at this layer count it is n_embd / n_head */
};

const struct rf_arch *rf_arch_by_gguf(const char *name, size_t len); /* NULL if unknown */
const struct rf_arch *rf_arch_by_hf(const char *name, size_t len);
/* "llama, mistral, ..." for messages. */
void rf_arch_list(char *out, size_t cap);

#endif
