/* backend.h - the door to a device: memory, streams and events, and one typed slot per operation.
 *
 * A backend has no hole in its table: what it cannot do it refuses by name when the weight or the KV store is made, never
 * in the middle of a step, and never by hopping to another device.
 *
 * Device addresses (rf_dev) are plain numbers to everyone else: arithmetic on them is fine, reading through them is not.
 * Slots enqueue on a stream and may return before the work is done; on the CPU they return when it is done.
 * Activations are f32, row-major. Slots return RF_DEVICE on a sticky fault, else RF_OK.
 *
 * Promise (all backends): a row's result depends on that row alone (and on whether its token is one of the prompt's bulk, see
 * struct rf_batch), never on how many rows run beside it or on how a prompt was cut into chunks. On the CPU this means equal bits; it is
 * what makes batched = alone exact.
 *
 * Thread: one thread at a time per backend, but for *_create and *_free of weights (loader thread).
 */
#ifndef RF_BACKEND_BACKEND_H
#define RF_BACKEND_BACKEND_H

#include "base/choice.h"
#include "base/status.h"
#include "quant/type.h"

typedef uintptr_t rf_dev; /* device address, 0 = none */

enum { RF_KV_BLOCK_TOKENS = 16, RF_BULK_TOKENS = 128, RF_DEV_ALIGN = 256 };
/* What a piece of `bytes` takes of a reservation: multiples of RF_DEV_ALIGN, at least one; too much stays too much. */
static inline uint64_t rf_dev_piece(uint64_t bytes)
{
    const uint64_t align = RF_DEV_ALIGN;
    return bytes > UINT64_MAX - align ? bytes : ((bytes ? bytes : 1) + align - 1) & ~(align - 1);
}
#define RF_MEMORY_FRACTION 0.9

struct rf_backend;
struct rf_stream;   /* NULL is the default stream */
struct rf_dev_event;
struct rf_weight;   /* one weight matrix in the backend's own layout */
struct rf_kv_store; /* the memory behind all KV blocks of one engine */

struct rf_backend_info {
    const char *name;     /* "cpu", "cuda:0" */
    char detail[256];     /* one line for people: what was chosen and why */
    char attention[192];  /* the same about attention, "" before a KV store is made */
    uint64_t memory_total, memory_free; /* free: that the engine may still take (a GPU: within options.memory_fraction) */
    uint32_t n_threads;
    bool records;         /* steps of n_tok + n_pad rows, 1, 2, 4 .. 64, are worth padding: see record_begin */
    bool fine_inputs;     /* products round their inputs to 16-bit floats at most: precise is worth its time only where somebody asks for it */
    bool fuses;           /* a step of one row is faster with the fields norm, add and glu of struct rf_matmul_args */
    bool fuses_rows;      /* steps of many rows are, with norm and glu */
    uint32_t choose_vocab; /* the slot `choose` takes rows of so many logits; 0: there is no such slot */
    bool host_memory;     /* device addresses are host pointers: results may be read in place after stream_sync */
};

/* ---- weights ---- */

struct rf_weight_desc {
    const char *name;     /* for messages */
    uint32_t type;        /* enum rf_type */
    uint64_t rows, cols;  /* rows = outputs, cols = inputs; data is rows x cols in file layout */
    const void *data;     /* host memory, must stay mapped unless *copied says the backend took a copy; NULL with fetch */
    /* NULL, or where rows come from that lie in no file as they are: writes rows first .. first + n in the type's form, stride bytes apart. Called
     * for each row once, from any thread, several at a time, before weight_create returns. */
    void (*fetch)(void *ctx, uint64_t first, uint64_t n, void *dst, size_t stride);
    bool gather;          /* rows are looked up too (token embedding): keep a layout that can do both */
    /* NULL, or told of parts of data (never of fetched rows) that are copied while others still wait, by any thread: their pages may go. */
    void (*copied_part)(void *ctx, const void *part, uint64_t bytes);
    void *ctx;
};

/* ---- KV store ---- */

struct rf_kv_desc {
    uint32_t n_block;     /* blocks in the pool */
    uint32_t n_slot;      /* layers that share one block id: slot 0..n_slot-1 */
    uint32_t n_kv_head, head_dim; /* of the widest layer */
    enum rf_kv_type type; /* never AUTO here */
};

/* What a step may look like, for scratch_bytes. */
struct rf_scratch_desc {
    uint32_t rows, max_seq;      /* most tokens of a step, and sequences */
    uint32_t cols, widest;       /* most inputs and outputs of a product */
    uint32_t bare_cols;          /* most inputs of a product without spare memory; those with more have `spare` bytes */
    uint64_t spare;
    uint32_t n_head, head_dim, n_group;
    uint32_t rot_dim, n_angles;  /* of rotary embedding, and how many sets of frequencies */
    uint32_t n_ctx;              /* positions */
    enum rf_kv_type type;        /* of the cache; never AUTO */
    uint32_t max_out, n_vocab; /* rows that tokens are chosen from */
    bool precise;                /* all products are, or weights of F32 want them so */
};

/* ---- one step's shape, host arrays, valid until the step's last slot was called ---- */

struct rf_batch {
    uint32_t n_tok, n_seq, n_out, n_group;
    const int32_t *token;      /* [n_tok]; below 0 where `fed` says so: the token that row -1 - token[i] of the step before chose */
    const int32_t *pos;        /* [n_tok] position in its sequence */
    const int32_t *seq_first;  /* [n_seq + 1]: sequence s owns tokens seq_first[s] .. seq_first[s+1]-1, in position order */
    const int32_t *out_row;    /* [n_out]: tokens whose logits are wanted, rising */
    const int32_t *const *block_table; /* [n_group] -> [n_seq][table_stride]: block of tokens 16*i..16*i+15, -1 = given back */
    uint32_t table_stride;
    const int32_t *bulk_end;   /* NULL, or [n_seq]: tokens at lower positions are the bulk of a prompt, as many times RF_BULK_TOKENS as it holds. A
                                  backend may round their products otherwise where that is faster for many: the same wherever the prompt is cut */
    const struct rf_choice *choice; /* NULL, or [n_out]: what the slot choose is to do with each output's row */
    rf_dev fed;                /* 0, or where the slot choose put those tokens (struct rf_chosen); a row without a token gives token 0 */
    uint32_t n_pad;            /* 0, or (decoding, recorded steps) rows and outputs that run behind the last and that nobody reads */
};

/* ---- arguments of the op slots. Shapes in elements; strides are between rows. ---- */

struct rf_embed_args {   /* out[t] = weight row of batch->token[t], times scale */
    const struct rf_weight *w;
    rf_dev out;          /* [n_tok][cols] */
    float scale;
};
struct rf_rmsnorm_args { /* y = a / sqrt(mean(a^2) + eps) * w, a = x (+ residual). Zhang & Sennrich 2019, arXiv 1910.07467 */
    rf_dev x;            /* [rows][cols], row stride x_stride */
    rf_dev residual;     /* 0, or [rows][cols] dense: added to x, and the sum stored to `sum` */
    rf_dev sum;          /* where x + residual goes (may be residual itself) */
    rf_dev w;            /* [cols] f32 device vector */
    rf_dev y;            /* [rows][cols], row stride y_stride; may be x */
    uint32_t rows, cols, x_stride, y_stride;
    float eps;
};
enum rf_act { RF_ACT_SILU, RF_ACT_GELU_TANH, RF_ACT_GELU, RF_ACT_RELU };
struct rf_glu_args {     /* out = act(gate) * up. Shazeer 2020, arXiv 2002.05202 */
    rf_dev gate, up, out; /* [rows][cols] dense; out may be gate */
    uint32_t rows, cols;
    enum rf_act act;
};
enum { RF_MATMUL_MAX = 3 };
struct rf_matmul_args {  /* out[i] = x * w[i]^T (+ bias[i]): up to three weights read one input */
    rf_dev x;            /* [rows][cols] dense */
    uint32_t rows, n_w;
    const struct rf_weight *w[RF_MATMUL_MAX];
    rf_dev bias[RF_MATMUL_MAX]; /* 0 or [w rows] f32 */
    rf_dev out[RF_MATMUL_MAX];  /* [rows][w[i] rows], row stride out_stride[i] */
    uint32_t out_stride[RF_MATMUL_MAX];
    bool outputs;        /* rows are those of the batch's out_row; else all its tokens */
    bool precise;        /* a backend that rounds x (to int8, say) also multiplies what the rounding left: for the logits */
    rf_dev spare;        /* 64-byte aligned memory that is nobody's during the call, for whatever the backend needs; spare_bytes of it */
    uint64_t spare_bytes;
    /* What stands around the product, where info.fuses or fuses_rows says that it is worth it. Nobody else reads norm->y, nor gate and up of glu, and glu->out only the
     * next product, precise where this one is. */
    const struct rf_rmsnorm_args *norm; /* NULL, or what is done first, of one row without residual: x is its y */
    rf_dev add;          /* 0, or (n_w 1) [rows][w rows] dense: add += product, and nobody reads out[0] */
    const struct rf_glu_args *glu; /* NULL, or (n_w 2) what is done behind it with gate = out[0], up = out[1] */
};
enum rf_rope_style { RF_ROPE_NONE, RF_ROPE_NEOX, RF_ROPE_PAIRS }; /* halves (i, i+rot/2) or neighbours (2i, 2i+1) */
struct rf_rope_kv_args { /* rotates q and k in place, then appends k and v to the cache. Su et al. 2021, arXiv 2104.09864 */
    rf_dev q, k, v;      /* [n_tok][n_head*head_dim], [n_tok][n_kv_head*head_dim] x2, row strides below */
    uint32_t q_stride, kv_stride;
    uint32_t n_head, n_kv_head, head_dim, rot_dim;
    enum rf_rope_style style;
    rf_dev inv_freq;     /* [rot_dim/2] f32: angle = pos * inv_freq[i]; scaling laws are already in it */
    float mscale;        /* factor on cos and sin (YaRN), usually 1 */
    struct rf_kv_store *kv;
    uint32_t slot, group;
};
struct rf_attention_args { /* causal attention over the paged cache, grouped heads; softmax(q k / .. ) v in f32 */
    rf_dev q, out;       /* [n_tok][n_head*head_dim], row strides below */
    uint32_t q_stride, out_stride;
    uint32_t n_head, n_kv_head, head_dim;
    float scale;         /* on q.k */
    float softcap;       /* 0, or cap: cap * tanh(s / cap) before the mask */
    uint32_t window;     /* 0, or a token sees itself and the window-1 before it */
    const struct rf_kv_store *kv;
    uint32_t slot, group;
    const struct rf_rope_kv_args *rope; /* NULL, or what is done before, of the same q, heads, cache, slot and group: afterwards nobody may count on what q and k hold */
};
struct rf_add_args { rf_dev a, b, out; uint64_t n; float b_scale; }; /* out = a + b_scale * b; out may be a or b */
struct rf_gather_args { rf_dev x, out; uint32_t cols; };            /* out[i] = x[batch->out_row[i]] */
struct rf_softcap_args { rf_dev x; uint64_t n; float cap, scale; }; /* x = cap * tanh(x * scale / cap); cap 0: x * scale */
struct rf_choose_args {  /* a token from each output's row of logits, as batch->choice says (base/choice.h) */
    rf_dev logits;       /* [n_out][n_vocab]; rows with edits are changed */
    rf_dev chosen;       /* [n_out] struct rf_chosen */
    rf_dev top;          /* [n_out][RF_CHOICE_TOP] struct rf_chosen_top, of which chosen says how many count */
    uint32_t n_vocab;
};
struct rf_kv_copy_args { struct rf_kv_store *kv; const int32_t *from, *to; uint32_t n; }; /* copy-on-write */

/* First struct: memory, streams, events. */
struct rf_backend_mem {
    rf_status (*alloc)(struct rf_backend *b, uint64_t bytes, rf_dev *out, struct rf_error *err); /* zeroed, 64-byte aligned */
    void (*free)(struct rf_backend *b, rf_dev p);
    /* Host memory that the device copies to and from at full speed, 64-byte aligned. */
    rf_status (*host_alloc)(struct rf_backend *b, uint64_t bytes, void **out, struct rf_error *err);
    void (*host_free)(struct rf_backend *b, void *p);
    rf_status (*upload)(struct rf_backend *b, struct rf_stream *s, rf_dev to, const void *from, uint64_t bytes);
    rf_status (*download)(struct rf_backend *b, struct rf_stream *s, void *to, rf_dev from, uint64_t bytes);
    rf_status (*stream_create)(struct rf_backend *b, struct rf_stream **out, struct rf_error *err);
    void (*stream_free)(struct rf_backend *b, struct rf_stream *s);
    rf_status (*stream_sync)(struct rf_backend *b, struct rf_stream *s);
    rf_status (*event_create)(struct rf_backend *b, struct rf_dev_event **out, struct rf_error *err);
    void (*event_free)(struct rf_backend *b, struct rf_dev_event *e);
    rf_status (*event_record)(struct rf_backend *b, struct rf_dev_event *e, struct rf_stream *s);
    rf_status (*event_wait)(struct rf_backend *b, struct rf_stream *s, struct rf_dev_event *e); /* stream waits */
    rf_status (*event_sync)(struct rf_backend *b, struct rf_dev_event *e);                      /* caller waits */

    /* Device memory for weights and small allocations to come, as one piece. What is not reserved is allocated as it comes. */
    rf_status (*reserve)(struct rf_backend *b, uint64_t bytes, struct rf_error *err);
    /* What weight_create will take of a reservation, data not read; refuses what it would refuse. */
    rf_status (*weight_size)(const struct rf_backend *b, const struct rf_weight_desc *d, uint64_t *bytes, struct rf_error *err);
    /* Most device memory that the slots take on first use, about. */
    uint64_t (*scratch_bytes)(const struct rf_backend *b, const struct rf_scratch_desc *d);

    /* Takes one matrix. *copied says that desc->data is no longer needed and its pages may go. RF_UNSUPPORTED names the
     * tensor and type. resident counts bytes of device memory. */
    rf_status (*weight_create)(struct rf_backend *b, const struct rf_weight_desc *d, struct rf_weight **out, bool *copied,
                               struct rf_error *err);
    void (*weight_free)(struct rf_backend *b, struct rf_weight *w);
    uint64_t (*weight_bytes)(const struct rf_weight *w); /* resident bytes beyond the mapped file */

    uint64_t (*kv_block_bytes)(const struct rf_backend *b, const struct rf_kv_desc *d);
    rf_status (*kv_create)(struct rf_backend *b, const struct rf_kv_desc *d, struct rf_kv_store **out, struct rf_error *err);
    void (*kv_free)(struct rf_backend *b, struct rf_kv_store *kv);
};

/* What record_begin did with a step: nothing (call the slots), began to take down the slots called until record_end, which also runs them, or
 * ran what was taken down before (call no slot). */
enum rf_record { RF_RECORD_NONE, RF_RECORD_NEW, RF_RECORD_DONE };

/* Second struct: the operations. batch_begin takes the step's shape before the first slot that needs it; the arrays are
 * borrowed until the step's last slot. */
struct rf_backend_ops {
    rf_status (*batch_begin)(struct rf_backend *b, struct rf_stream *s, const struct rf_batch *batch);
    rf_status (*embed)(struct rf_backend *b, struct rf_stream *s, const struct rf_embed_args *a);
    rf_status (*rmsnorm)(struct rf_backend *b, struct rf_stream *s, const struct rf_rmsnorm_args *a);
    rf_status (*matmul)(struct rf_backend *b, struct rf_stream *s, const struct rf_matmul_args *a);
    rf_status (*rope_kv)(struct rf_backend *b, struct rf_stream *s, const struct rf_rope_kv_args *a);
    rf_status (*attention)(struct rf_backend *b, struct rf_stream *s, const struct rf_attention_args *a);
    rf_status (*glu)(struct rf_backend *b, struct rf_stream *s, const struct rf_glu_args *a);
    rf_status (*add)(struct rf_backend *b, struct rf_stream *s, const struct rf_add_args *a);
    rf_status (*gather)(struct rf_backend *b, struct rf_stream *s, const struct rf_gather_args *a);
    rf_status (*softcap)(struct rf_backend *b, struct rf_stream *s, const struct rf_softcap_args *a);
    /* NULL where rows of logits are host memory anyhow. Called only in steps with batch->choice. */
    rf_status (*choose)(struct rf_backend *b, struct rf_stream *s, const struct rf_choose_args *a);
    rf_status (*kv_copy)(struct rf_backend *b, struct rf_stream *s, const struct rf_kv_copy_args *a);

    /* Decoding steps of one shape are the same calls with the same arguments but for what batch_begin is told: a backend may take them down once and
     * repeat them. Between batch_begin and record_end; owner, rows (n_tok + n_pad) and whether there are choices name the shape. record_end is called after
     * NONE and NEW; *ran false: what was taken down did not run, call the slots. record_drop before anything that the owner's
     * slots name goes away. Backends that record nothing say NONE. */
    rf_status (*record_begin)(struct rf_backend *b, struct rf_stream *s, const void *owner, uint32_t rows, enum rf_record *what);
    rf_status (*record_end)(struct rf_backend *b, struct rf_stream *s, bool *ran);
    void (*record_drop)(struct rf_backend *b, const void *owner);
};

/* Every backend's own struct begins with this. */
struct rf_backend {
    const struct rf_backend_mem *mem;
    const struct rf_backend_ops *ops;
    void (*close)(struct rf_backend *b);
    struct rf_backend_info info;
};

struct rf_backend_options {
    const char *device;  /* "auto", "cpu", "cuda:N", "hip:N" */
    bool allow_cpu;      /* auto: a GPU that is there but does not work is passed over; info.detail says why */
    uint32_t n_threads;  /* 0: one per usable core */
    const char *isa;     /* "auto" or a cap */
    double memory_fraction; /* of a GPU's memory, most that the engine takes in all; 0: RF_MEMORY_FRACTION */
    const char *attention; /* NULL or "auto", "reference", "flash", "paged-split": what a GPU attends with */
};

/* Registry and auto-selection: opens the best device that `device` allows. */
rf_status rf_backend_open(struct rf_backend **out, const struct rf_backend_options *opt, struct rf_error *err);
void rf_backend_close(struct rf_backend *b);

#endif
