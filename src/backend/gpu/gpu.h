/* gpu.h - inside the GPU backend: its struct, and what its files share. gpu.c: open, launches, streams. memory.c: device memory. weights.c: packing and
 * products. ops.c: the other slots. attention.c: KV store and attention. sample.c: tokens.
 *
 * All work goes to one stream unless a caller names another. A driver error in a slot is sticky: the slot and all later ones
 * return RF_DEVICE, and info.detail says what failed.
 */
#ifndef RF_BACKEND_GPU_GPU_H
#define RF_BACKEND_GPU_GPU_H

#include "backend/backend.h"
#include "backend/gpu/driver.h"
#include "backend/gpu/kernels/args.h"

enum rf_gpu_kernel {
#define X(name, args) RF_GPU_K_##name,
    RF_GPU_KERNELS(X)
    RF_GPU_N_COMMON, /* every architecture has those before */
    RF_GPU_LAST_COMMON = RF_GPU_N_COMMON - 1,
    RF_GPU_OTHER_KERNELS(X)
#undef X
    RF_GPU_N_KERNEL
};

/* Grow-only memory with a pinned twin for uploads; contents lost on growth. */
struct rf_gpu_buffer {
    rf_dev dev;
    void *host;
    size_t bytes;
    void *sent; /* event behind the last upload: before it, host must not be written */
};

/* One step's shape in device memory, places in plan.dev. Its head (args.h) says where tables are: that changes from step to step. */
struct rf_gpu_plan {
    rf_dev token, pos, seq, out_row;
    rf_dev block[RF_GPU_GROUPS];
    uint32_t n_row, n_out; /* tokens and outputs of the step, and those that pad */
};

/* cos and sin of positions 0..n_pos-1 for one set of frequencies. */
struct rf_gpu_angles {
    rf_dev inv_freq; /* 0: empty */
    uint32_t rot_dim, n_pos;
    float mscale;
    rf_dev table; /* [n_pos][rot_dim]: cosines, then sines */
};
static inline uint64_t rf_gpu_angles_bytes(const struct rf_gpu_angles *t) { return (uint64_t)t->n_pos * t->rot_dim * sizeof(float); }
enum { RF_GPU_ANGLES = 4, RF_GPU_CHECKS = 8 };

/* Rows of block tables that were found whole in this step. */
struct rf_gpu_checked { uint32_t group, window, n_block; };

/* Device memory that only grows; contents lost on growth. */
struct rf_gpu_scratch { rf_dev dev; uint64_t bytes; };

struct rf_gpu_gemm { /* gemm.c */
    struct gemm_shape shape; /* threads 0: not asked yet */
    uint32_t clusters[RF_GPU_STREAM_KINDS][RF_GPU_CLUSTER]; /* gemm_stream.c, of its kernels: 1 + how many clusters of 1 + i blocks run at once; 0: not asked yet */
    uint64_t w_most;         /* bytes that expanded weights may take; 0: as many as a plan counts with (tests take fewer) */
};

struct rf_gpu_flash { /* flash.c: tiles of the sequences from `first` on, for `group` query heads a KV head; group 0: none yet */
    struct rf_gpu_buffer tiles;
    uint32_t group, first, n_tile;
};
enum rf_gpu_attention { RF_GPU_ATTENTION_AUTO, RF_GPU_ATTENTION_REFERENCE, RF_GPU_ATTENTION_FLASH, RF_GPU_ATTENTION_SPLIT };

/* x in the form of kernels/act.h: that of `rows` rows at `of`, as last made. */
struct rf_gpu_act {
    rf_dev dev;
    uint64_t bytes;
    bool half, bf16; /* forms that this model's weights want */
    bool f32;        /* there are weights for which x is not rounded to 16 bits */
    struct act_args at;
    rf_dev of;
    uint32_t rows, cols;
};

/* record.c: the launches of a step of `rows` rows of `owner`. */
struct rf_gpu_record {
    const void *owner; /* NULL: free */
    bool choice;       /* with the slot choose */
    uint32_t rows, pos_limit;
    uint64_t used, epoch;
    bool seen, capturing;
    void *exec;
};
enum { RF_GPU_RECORDS = 16, RF_GPU_CAPTURE_RELAXED = 2 };

enum { RF_GPU_PARTS = 4 }; /* most code objects of an architecture */

struct rf_gpu_slab; /* memory.c: a large allocation that weights share */

struct rf_gpu {
    struct rf_backend base;
    struct rf_gpu_device dev;
    const struct rf_gpu_object *object; /* the code object in use */
    void *module[RF_GPU_PARTS], *fn[RF_GPU_N_KERNEL];
    uint32_t n_module;
    uint32_t shared[RF_GPU_N_KERNEL]; /* dynamic shared memory that each kernel is allowed so far */
    void *stream;
    uint32_t warp;
    bool has_mma; /* products of few rows take x as kernels/act.h says */
    bool decodes_matrix; /* single tokens attend on the matrix unit */
    rf_status fault;
    double memory_fraction;
    uint64_t memory_used; /* bytes that are allocated */

    const struct rf_batch *batch; /* of the running step */
    struct rf_gpu_buffer plan, tiles;
    struct rf_gpu_plan at;
    uint32_t max_pos, tile_group, n_tile; /* tiles hold the list for this many query heads per KV head; 0: none yet */
    struct rf_gpu_checked checked[RF_GPU_CHECKS];
    uint32_t n_checked;

    struct rf_gpu_angles angles[RF_GPU_ANGLES];
    uint32_t next_angles;
    /* work: of one slot at a time: expanded weights, rounded activations and sums of splits (gemm.c, gemm_few.c), parts of attention, choosing tokens. Launches of a stream
     * come in order, and none touches it before its g_pdl_wait. counts: how many parts of a row of attention are there, 0 between launches. */
    struct rf_gpu_scratch work, counts;

    struct rf_gpu_gemm gemm;
    struct rf_gpu_flash flash;
    enum rf_gpu_attention attention; /* as asked for */
    struct rf_gpu_act act;
    struct rf_gpu_record record[RF_GPU_RECORDS], *recording; /* recording: between begin and end */
    uint64_t record_clock, epoch;                            /* epoch: counts releases of device memory */
    uint32_t pos_limit;                                      /* positions that what the running step uses is good for */
    bool no_record;
    struct rf_gpu_slab *slabs;
    struct rf_gpu_buffer staging[2]; /* weights on their way up, as in the file */
};

static inline struct rf_gpu *rf_gpu_of(struct rf_backend *b) { return (struct rf_gpu *)b; }
static inline void *rf_gpu_stream(const struct rf_gpu *g, struct rf_stream *s) { return s ? (void *)s : g->stream; }

/* Slots: remembers the first fault and turns every rc but 0 into RF_DEVICE. */
rf_status rf_gpu_slot(struct rf_gpu *g, int rc, const char *what);
/* One launch of `threads` threads a block; args is the kernel's struct. Empty grids are no work. */
rf_status rf_gpu_launch(struct rf_gpu *g, struct rf_stream *s, enum rf_gpu_kernel k, uint64_t gx, uint32_t gy, uint32_t gz, uint32_t threads,
                        const void *args);
/* The same with `shared` bytes of shared memory whose size the launch chooses (G_DYNAMIC in the kernel). */
rf_status rf_gpu_launch_shared(struct rf_gpu *g, struct rf_stream *s, enum rf_gpu_kernel k, uint64_t gx, uint32_t gy, uint32_t gz, uint32_t threads,
                               uint32_t shared, const void *args);
/* The same for kernels with a g_pdl_wait (dialect.h): they may start while the one before still runs. */
rf_status rf_gpu_launch_early(struct rf_gpu *g, struct rf_stream *s, enum rf_gpu_kernel k, uint64_t gx, uint32_t gy, uint32_t gz, uint32_t threads,
                              uint32_t shared, const void *args);
/* The same in clusters of so many blocks: 1, or fewer than vendor->clusters allows. */
rf_status rf_gpu_launch_cluster(struct rf_gpu *g, struct rf_stream *s, enum rf_gpu_kernel k, uint64_t gx, uint32_t cluster, uint32_t threads, uint32_t shared,
                                const void *args);
/* Before something is asked of a kernel's launches with so much shared memory. */
rf_status rf_gpu_allow_shared(struct rf_gpu *g, enum rf_gpu_kernel k, uint32_t shared);
/* At least `bytes` of device memory and as much pinned host memory that may be written now. */
rf_status rf_gpu_buffer_need(struct rf_gpu *g, struct rf_gpu_buffer *b, size_t bytes);
rf_status rf_gpu_buffer_send(struct rf_gpu *g, struct rf_gpu_buffer *b, size_t bytes, struct rf_stream *s);
void rf_gpu_buffer_release(struct rf_gpu *g, struct rf_gpu_buffer *b);
/* memory.c. Device memory, not zeroed. Refuses, with numbers, what does not fit, before asking the driver; bytes are the same at both. */
rf_status rf_gpu_alloc(struct rf_gpu *g, uint64_t bytes, const char *what, rf_dev *out, struct rf_error *err);
void rf_gpu_free(struct rf_gpu *g, rf_dev p, uint64_t bytes);

int rf_gpu_memory_count(struct rf_gpu *g);    /* fills info.memory_free and memory_total */
void rf_gpu_memory_release(struct rf_gpu *g); /* slabs that are left */
/* A piece of a slab with room, else an allocation of its own, or (share, small) a slab that others will share. */
rf_status rf_gpu_piece_take(struct rf_gpu *g, uint64_t bytes, bool share, const char *what, rf_dev *out, struct rf_error *err);
void rf_gpu_piece_give(struct rf_gpu *g, rf_dev p);
rf_status rf_gpu_reserve(struct rf_backend *b, uint64_t bytes, struct rf_error *err);
uint64_t rf_gpu_scratch_bytes(const struct rf_backend *b, const struct rf_scratch_desc *d);
/* Its parts: gemm.c, attention.c, weights.c. */
uint64_t rf_gpu_gemm_scratch(const struct rf_gpu *g, const struct rf_scratch_desc *d);
uint64_t rf_gpu_attention_scratch(const struct rf_gpu *g, const struct rf_scratch_desc *d);
uint64_t rf_gpu_act_scratch(const struct rf_gpu *g, const struct rf_scratch_desc *d);
uint64_t rf_gpu_stage_bytes(void);

/* weights.c */
rf_status rf_gpu_weight_size(const struct rf_backend *b, const struct rf_weight_desc *d, uint64_t *bytes, struct rf_error *err);
rf_status rf_gpu_weight_create(struct rf_backend *b, const struct rf_weight_desc *d, struct rf_weight **out, bool *copied,
                               struct rf_error *err);
void rf_gpu_weight_free(struct rf_backend *b, struct rf_weight *w);
uint64_t rf_gpu_weight_bytes(const struct rf_weight *w);
rf_status rf_gpu_matmul(struct rf_backend *b, struct rf_stream *s, const struct rf_matmul_args *a);
rf_status rf_gpu_embed(struct rf_backend *b, struct rf_stream *s, const struct rf_embed_args *a);
/* Where a kernel that makes rows at `of` also puts them in the form of kernels/act.h; all 0 where nobody wants that. */
rf_status rf_gpu_act_make(struct rf_gpu *g, rf_dev of, uint32_t rows, uint32_t cols, float factor, struct act_args *at);
/* Factors: f16 holds up to 65504 / factor, sums of 32 values too. Normed rows are small, products of gate and up are the largest. */
#define RF_GPU_FACTOR_NORM 0.125f
#define RF_GPU_FACTOR_ATTENTION 0.125f
#define RF_GPU_FACTOR_GLU 0.0625f
#define RF_GPU_FACTOR_ANY 0.25f
/* The form of a product's x, not in blobs: what its maker left, or made now. Rows up to RF_GPU_FEW_MOST where some weights have a form for halves. */
rf_status rf_gpu_act_get(struct rf_gpu *g, struct rf_stream *s, rf_dev x, uint32_t rows, uint32_t cols, struct act_args *at);
/* Blobs of x for gemm_stream.c that its maker left; 0: there are none. */
rf_dev rf_gpu_act_blobs(const struct rf_gpu *g, rf_dev x, uint32_t rows, uint32_t cols, bool bf16);
static inline uint32_t rf_gpu_pad_rows(uint32_t rows) { return (rows + 15) / 16 * 16; }
/* Where `rows` rows of `cols` floats would stand, x of the large product in its tiles instead, as bf16: room: whether they fit there; make: at is for whoever makes them; of: where
 * they are, 0 if x is floats. */
bool rf_gpu_act_tiles_room(const struct rf_gpu *g, uint32_t rows, uint32_t cols);
void rf_gpu_act_tiles_make(struct rf_gpu *g, rf_dev x, uint32_t rows, uint32_t cols, struct act_args *at);
rf_dev rf_gpu_act_tiles_of(const struct rf_gpu *g, rf_dev x, uint32_t rows, uint32_t cols);
/* The factor that the maker of a row at x chose for its form. */
float rf_gpu_act_factor(const struct rf_gpu *g, rf_dev x, uint32_t rows, uint32_t cols);
/* What was written at p is no longer what the form was made of. */
void rf_gpu_act_drop(struct rf_gpu *g, rf_dev p);

/* one.c: products of one row, with what stands around them (kernels/matmul_one.h). fits: there is such a kernel for weights first .. first + n_w of one type; takes: for all of
 * a call, norm, add and glu included; one: runs it; pieces: a call slot by slot. */
bool rf_gpu_one_fits(const struct rf_gpu *g, const struct rf_matmul_args *a, uint32_t first, uint32_t n_w);
bool rf_gpu_one_takes(const struct rf_gpu *g, const struct rf_matmul_args *a);
rf_status rf_gpu_one(struct rf_gpu *g, struct rf_stream *s, const struct rf_matmul_args *a, uint32_t first, uint32_t n_w);
rf_status rf_gpu_one_pieces(struct rf_backend *b, struct rf_stream *s, const struct rf_matmul_args *a);

enum { RF_GPU_FEW_ROWS = 8 }; /* products of more rows go to the matrix unit */
/* gemm.c: products of many rows on the matrix unit. Same arguments as the slot, norm and glu included; scratch is taken on first use. */
rf_status rf_gpu_gemm(struct rf_gpu *g, struct rf_stream *s, const struct rf_matmul_args *a);
/* Of `left` tiles of 128 columns, where the scratch has room for `room` (even, 2 at least): how many the next launch takes, so that its blocks fill the chip best. */
uint32_t rf_gpu_gemm_share(const struct gemm_shape *shape, uint32_t rows, uint32_t left, uint32_t room);
/* gemm_few.c: the same for 9 to 64 rows, straight from packed weights. Takes: whether it can. shape: asked for before. */
bool rf_gpu_gemm_few_takes(const struct rf_gpu *g, const struct rf_matmul_args *a);
rf_status rf_gpu_gemm_few(struct rf_gpu *g, struct rf_stream *s, const struct rf_matmul_args *a, bool x_rest, bool w_rest);
/* gemm_stream.c: the same on Hopper, for the types that it has. has: this device's code has such products. */
static inline bool rf_gpu_has_stream(const struct rf_gpu *g) { return g->fn[RF_GPU_K_gemm_stream_bf16]; }
bool rf_gpu_gemm_stream_takes(const struct rf_gpu *g, const struct rf_matmul_args *a);
rf_status rf_gpu_gemm_stream(struct rf_gpu *g, struct rf_stream *s, const struct rf_matmul_args *a);
rf_status rf_gpu_scratch_need(struct rf_gpu *g, struct rf_gpu_scratch *s, uint64_t bytes, const char *what);
void rf_gpu_scratch_release(struct rf_gpu *g, struct rf_gpu_scratch *s);

/* sample.c. Of the plan: words that the step's choices take behind word `at`, and they themselves. */
size_t rf_gpu_sample_ints(const struct rf_batch *batch, size_t n_out);
void rf_gpu_sample_plan(const struct rf_batch *batch, size_t n_out, int32_t *plan, size_t at);
uint64_t rf_gpu_sample_scratch(uint32_t n_vocab, uint32_t rows); /* bytes */
rf_status rf_gpu_choose(struct rf_backend *b, struct rf_stream *s, const struct rf_choose_args *a);

/* record.c */
rf_status rf_gpu_record_begin(struct rf_backend *b, struct rf_stream *s, const void *owner, uint32_t rows, enum rf_record *what);
rf_status rf_gpu_record_end(struct rf_backend *b, struct rf_stream *s, bool *ran);
void rf_gpu_record_drop(struct rf_backend *b, const void *owner); /* NULL: all */

/* ops.c */
rf_status rf_gpu_rmsnorm(struct rf_gpu *g, struct rf_stream *s, const struct rf_rmsnorm_args *a, bool tiles); /* tiles: for the large product, at y */
rf_status rf_gpu_glu(struct rf_gpu *g, struct rf_stream *s, const struct rf_glu_args *a);
uint32_t rf_gpu_norm_threads(uint32_t cols); /* that work on a row's norm: by its width alone, so the order of additions is the same for any number of rows */
extern const struct rf_backend_ops rf_gpu_ops;
void rf_gpu_angles_drop(struct rf_gpu *g, rf_dev from, uint64_t bytes); /* tables made of frequencies in this range */

/* attention.c */
uint64_t rf_gpu_kv_block_bytes(const struct rf_backend *b, const struct rf_kv_desc *d);
rf_status rf_gpu_kv_create(struct rf_backend *b, const struct rf_kv_desc *d, struct rf_kv_store **out, struct rf_error *err);
void rf_gpu_kv_free(struct rf_backend *b, struct rf_kv_store *kv);
rf_status rf_gpu_kv_copy(struct rf_backend *b, struct rf_stream *s, const struct rf_kv_copy_args *a);
rf_status rf_gpu_rope_kv(struct rf_backend *b, struct rf_stream *s, const struct rf_rope_kv_args *a);
rf_status rf_gpu_attention(struct rf_backend *b, struct rf_stream *s, const struct rf_attention_args *a);
/* The way of attending that `name` (NULL: auto) means; RF_INVALID lists them. */
rf_status rf_gpu_attention_named(const char *name, enum rf_gpu_attention *out, struct rf_error *err);
/* flash.c: attention on the matrix unit for the sequences from first_seq on; p without its tiles. */
bool rf_gpu_flash_takes(const struct rf_gpu *g, uint32_t head_dim, enum rf_kv_type type);
rf_status rf_gpu_flash(struct rf_gpu *g, struct rf_stream *s, struct flash_args *p, enum rf_kv_type type, uint32_t first_seq);
/* Finds or makes the table of positions 0..max_pos. */
rf_status rf_gpu_angles_get(struct rf_gpu *g, struct rf_stream *s, const struct rf_rope_kv_args *a, rf_dev *out);

rf_status rf_gpu_open(struct rf_backend **out, const struct rf_gpu_vendor *v, const struct rf_backend_options *opt, int index, struct rf_error *err);

#endif
