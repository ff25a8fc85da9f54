/* linear_kern.h - what the weight-matrix kernels of all instruction sets share: panel layouts, packed activations, and the
 * table of functions that linear.c dispatches through.
 *
 * Panels. A weight matrix is cut into panels of 32 rows (outputs). Inside a panel k runs forwards in units: one block of the
 * type's file format (2 values for F16 and BF16). A unit is the file's bytes of 32 rows, transposed by planes: a plane takes the same
 * 2 or 4 bytes of every row's block and lays the 32 rows side by side. Packed weights are therefore as large as the file, every
 * unit starts on 64 bytes, and a 64-byte vector of a 4-byte plane is 16 rows x 4 successive k: what vpdpbusd and sdot want.
 *
 * Activations are rounded to int8, one f32 scale per 32 values (float types take them as they are; F8_E4M3 is one, its weights are made
 * f32, byte times scale, one rounding). For each block of 32:
 *     t = sum16/32(w_int * x_int) as f32, times the weight's scale (for 16-value scales the two halves are added by fma)
 *     t = t - min * (sum of x_int)                  types with minimums only
 *     y = fma(t, activation scale, y)
 * in rising k with one accumulator per output. Integer sums are exact, so every kernel of one instruction set gives the same bits,
 * whatever the number of rows and however they are tiled. A block with a NaN or Inf gets a NaN scale, so its row is NaN and no other.
 * Blocks whose largest magnitude is below 2^-100 count as zero.
 *
 * BF16 weights take activations as they are too, but for two instruction sets that multiply bf16 pairs: there activations are rounded
 * to bf16, to nearest even (what is finite stays finite), and numbers below 2^-126 count as zero. Sums are f32, in an order
 * of their own that depends on k alone:
 *     avx512bf16   y = fma(w[2i], x[2i], fma(w[2i+1], x[2i+1], y)) in rising i
 *     amx          even and odd k of each 32 in two chains of fma from zero; y = y + (even chain + odd chain)
 *
 * Bulk rows. Tiles multiply bf16 several times as fast as anything multiplies bytes with a scale per 32 values, once a weight has
 * been made bf16 for many rows. Where the caller marks rows as bulk, amx so rounds what a quantised weight decodes to, to nearest even,
 * and does with it what it does with BF16 weights, bit for bit.
 */
#ifndef RF_BACKEND_CPU_KERNELS_LINEAR_KERN_H
#define RF_BACKEND_CPU_KERNELS_LINEAR_KERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    RF_LIN_PANEL = 32,  /* rows of a panel */
    RF_LIN_SLAB = 256,  /* values of k that are expanded and multiplied at a time (quantised types) */
    RF_LIN_FSLAB = 64,  /* the same for float types */
    RF_LIN_GROUP = 4,   /* panels whose sums are kept at a time: a slab of many activation rows stays in L2 for all of them */
    RF_LIN_CHUNK = 512, /* most activation rows of one task: their sums fit a thread's scratch */
};

enum rf_lin_plane_kind {
    RF_LIN_U16,      /* 2 bytes a row */
    RF_LIN_U32,      /* 4 bytes a row */
    RF_LIN_U32_SIGN, /* 4 signed bytes a row, stored + 128 */
    RF_LIN_U32_BITS, /* 32 high bits a row: bit 4g+j of the file is bit g of byte j here */
};
struct rf_lin_plane {
    uint8_t kind, offset; /* offset of the bytes in the file's block */
};
struct rf_lin_layout {
    uint32_t type;
    uint16_t block;         /* values of a unit */
    uint16_t file_bytes;    /* bytes of a unit of one row; 32 times this is the unit of a panel */
    uint8_t sub;            /* values per weight scale: 32 or 16; 0 for float types */
    uint8_t bias;           /* quantised values are stored unsigned, this much too large */
    bool min;               /* value = scale * q - min */
    uint8_t n_plane;
    const struct rf_lin_plane *plane;
};
const struct rf_lin_layout *rf_lin_layout_get(uint32_t type); /* NULL: no kernel for this type */
enum { RF_LIN_N_LAYOUT = 14 };
unsigned rf_lin_layout_index(const struct rf_lin_layout *l);  /* 0 .. RF_LIN_N_LAYOUT-1 */
/* Row r (0..31) of one unit back to its file bytes: the plain inverse of every pack. */
void rf_lin_unpack_unit(const struct rf_lin_layout *l, const uint8_t *unit, unsigned r, uint8_t *out);
/* One panel from 32 rows of file data, `stride` bytes apart: the plain version. */
void rf_lin_pack_plain(const struct rf_lin_layout *l, const uint8_t *src, size_t stride, size_t n_unit, uint8_t *dst);

/* Activations of one call. q, scale, aux are laid out by slab, then row, so that a slab of many rows is one dense piece. */
struct rf_lin_act {
    size_t rows, cols, n_slab;
    const uint32_t *row; /* NULL, or [rows]: where row m stands in x and in the output */
    const float *x;   /* [..][cols] */
    int8_t *q;        /* [n_slab][rows][256], zeros behind the last column */
    float *scale;     /* [n_slab][rows][8] */
    int16_t *sum;     /* [n_slab][rows][16] sums of 16 values of q */
    uint16_t *b;      /* bf16, zeros behind the last column; rf_lin_b says where */
};

/* Row m, column k of slab s in b: [n_slab][rows / 16, rounded up][8][16][32], so that 16 rows x 32 k, a tile, are 1 KB as it lies. */
static inline size_t rf_lin_b(const struct rf_lin_act *a, size_t s, size_t m, size_t k)
{
    return (s * ((a->rows + 15) / 16) + m / 16) * 16 * RF_LIN_SLAB + k / 32 * 512 + m % 16 * 32 + k % 32;
}
static inline size_t rf_lin_row(const struct rf_lin_act *a, size_t m) { return a->row ? a->row[m] : m; }

/* One weight against the activations. aux holds, per slab and row, what makes up for unsigned weights or minimums:
 * int32 -bias * (sum of q), or f32 (sum of q), 8 entries (sub = 32) or 16 (sub = 16). */
struct rf_lin_task {
    const struct rf_lin_layout *l;
    const struct rf_lin_act *act;
    const void *aux;
    const uint8_t *w;     /* panels; for ref the file's rows */
    size_t n_row, n_unit; /* outputs; units of a row */
    float *out;           /* [..][out_stride] */
    size_t out_stride;
    const float *bias;    /* NULL or [n_row] */
};

/* A thread's scratch. */
struct rf_lin_slab {
    _Alignas(64) uint8_t w[RF_LIN_SLAB * RF_LIN_PANEL]; /* [block][group of 4 k][row][4] */
    float s[RF_LIN_SLAB / 16 * RF_LIN_PANEL];           /* [scale][row] */
    float m[RF_LIN_SLAB / 16 * RF_LIN_PANEL];           /* [min][row] */
};
struct rf_lin_tmp {
    struct rf_lin_slab slab;
    _Alignas(64) float f[RF_LIN_FSLAB * RF_LIN_PANEL]; /* float types: [k][row] */
    _Alignas(64) uint16_t b[2 * RF_LIN_SLAB * RF_LIN_PANEL]; /* bulk rows: two slabs as a BF16 panel has them */
    float c[RF_LIN_GROUP][RF_LIN_CHUNK * RF_LIN_PANEL]; /* [panel][activation row][row] sums so far */
    double d[RF_LIN_CHUNK];                            /* ref's sums */
};

/* Rows m0..m1 (at most RF_LIN_CHUNK) of the activations against panels p0..p1. */
typedef void (*rf_lin_run_fn)(const struct rf_lin_task *t, size_t p0, size_t p1, size_t m0, size_t m1, struct rf_lin_tmp *tmp);

struct rf_lin_kern {
    const char *name;
    bool packed;          /* false: works on the file's rows */
    void (*pack)(const struct rf_lin_layout *l, const uint8_t *src, size_t stride, size_t n_unit, uint8_t *dst);
    void (*act)(const struct rf_lin_act *a, size_t slab0, size_t slab1, size_t m0, size_t m1);      /* to int8 */
    void (*act_bf16)(const struct rf_lin_act *a, size_t slab0, size_t slab1, size_t m0, size_t m1); /* NULL: BF16 weights take f32 */
    rf_lin_run_fn run[RF_LIN_N_LAYOUT];  /* by layout index */
    rf_lin_run_fn bulk[RF_LIN_N_LAYOUT]; /* for bulk rows, which act_bf16 rounds; NULL: there is no other way than run */
};

/* Each overwrites what it does better; init_ref fills every slot. The library has those of its own CPU family. */
void rf_lin_kern_init_ref(struct rf_lin_kern *k);
void rf_lin_kern_init_avx2(struct rf_lin_kern *k);
void rf_lin_kern_init_avx512(struct rf_lin_kern *k);
void rf_lin_kern_init_avx512bf16(struct rf_lin_kern *k); /* BF16 weights alone */
void rf_lin_kern_init_amx(struct rf_lin_kern *k);        /* BF16 weights and bulk rows; uses act_bf16 of the one before */
void rf_lin_kern_init_neon(struct rf_lin_kern *k);
void rf_lin_kern_init(struct rf_lin_kern *k, unsigned isa); /* isa: enum rf_isa flags */

#endif
