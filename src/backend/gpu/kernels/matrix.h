/* matrix.h - products of 16 x 16 tiles by a warp on the matrix unit: D[m][n] += sum over k of A[m][k] B[n][k], 16-bit in, f32 out.
 *
 * Operands stand in shared memory as "blobs": rows of 64 values (128 bytes), of which 16-byte chunk c of row r stands at chunk
 * c ^ (r & 7), so that eight rows of one chunk fall into different banks. A step takes G_MAT_CHUNKS chunks of k. A lane may hold any k as long as it
 * holds the same of A and B: only the hardware's idea of rows, and of who holds which element of D, is followed.
 * f16 is 0 for bf16 operands and 1 for f16; a constant after inlining. Vendor builtins stay here and in dialect.h.
 *
 * Maps of D: NVIDIA m16n8k16 (twice), AMD RDNA3 and RDNA4 (16x16x16, 32 lanes), CDNA2 and 3 (16x16x16, 64 lanes); elsewhere plain
 * arithmetic. The emulator takes NVIDIA's at warp 32 and CDNA's at 64, or what G_MAT_RDNA3 or G_MAT_RDNA4 says.
 */
#ifndef RF_GPU_MATRIX_H
#define RF_GPU_MATRIX_H

#include "dialect.h"

#if defined(G_MAT_RDNA3) || defined(G_MAT_RDNA4) /* the emulator's build chose */
#elif defined(RF_GPU_EMU) && G_WARP == 64
#define G_MAT_CDNA
#elif defined(RF_GPU_EMU)
#define G_MAT_NV
#elif defined(__AMDGCN__)
#if defined(__GFX12__)
#define G_MAT_RDNA4
#elif defined(__GFX11__)
#define G_MAT_RDNA3
#elif defined(__gfx90a__) || defined(__gfx942__) || defined(__gfx950__)
#define G_MAT_CDNA
#endif
#elif !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
#define G_MAT_NV
#endif

/* Before a loop over steps of k, n of them: RDNA and chips without a unit have too few registers for the operands of all. */
#if defined(G_MAT_NV) || defined(G_MAT_CDNA)
#define G_MAT_UNROLL(n) G_UNROLL(n)
#else
#define G_MAT_UNROLL(n) G_UNROLL(1)
#endif

/* Whether single tokens attend on the unit (decode.gpu): RDNA's compiler keeps too much in registers, and spills. In the emulator a test chooses. */
#if defined(RF_GPU_EMU)
#define G_MAT_DECODES rf_emu_decodes()
#elif defined(G_MAT_NV) || defined(G_MAT_CDNA)
#define G_MAT_DECODES 1
#else
#define G_MAT_DECODES 0
#endif

/* Two values as bf16, the first in the low half. */
#if defined(G_MAT_NV) && !defined(RF_GPU_EMU)
G_FN g_u32 g_f2bf2(float a, float b) { g_u32 r; asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(b), "f"(a)); return r; }
#else
G_FN g_u32 g_f2bf2(float a, float b) { return g_f2bf(a) | (g_u32)g_f2bf(b) << 16; }
#endif

/* Byte offset of a chunk in a blob. */
G_FN g_u32 g_blob_at(g_u32 row, g_u32 chunk) { return row * 128 + ((chunk ^ (row & 7)) << 4); }

#define G_MAT_ACC (256 / G_WARP) /* elements of D a lane holds */
struct g_mat_acc { float v[G_MAT_ACC]; };

#if defined(G_MAT_NV) /* ---- registers: (row g, k 2t), (g + 8, 2t), (g, 2t + 8), (g + 8, 2t + 8), g = lane / 4, t = lane % 4 ---- */
#define G_MAT_CHUNKS 2
struct g_mat { g_u32 v[4]; };
G_FN g_u32 g_mat_row_of(g_u32 lane, g_u32 i) { return (lane >> 2) + ((i & 2) ? 8 : 0); }
G_FN g_u32 g_mat_col_of(g_u32 lane, g_u32 i) { return (lane & 3) * 2 + (i & 1) + ((i & 4) ? 8 : 0); }
#if defined(RF_GPU_EMU)
G_FN void g_mat_load(struct g_mat *f, const g_u8 *blob, g_u32 row, g_u32 chunk)
{
    for (g_u32 r = 0; r < 4; r++)
        f->v[r] = *(const g_u32 *)(blob + g_blob_at(row + g_lane() / 4 + 8 * (r & 1), chunk + (r >> 1)) + 4 * (g_lane() & 3));
}
/* The operand B[n][k] from rows of k: values n = 8 chunk .. + 15 of rows k .. k + 15. */
G_FN void g_mat_load_turned(struct g_mat *f, const g_u8 *blob, g_u32 row, g_u32 chunk)
{
    for (g_u32 r = 0; r < 4; r++) {
        g_u32 k = row + 2 * (g_lane() & 3) + 8 * (r >> 1), at = 2 * (g_lane() >> 2), c = chunk + (r & 1);
        f->v[r] = *(const g_u16 *)(blob + g_blob_at(k, c) + at) | (g_u32) * (const g_u16 *)(blob + g_blob_at(k + 1, c) + at) << 16;
    }
}
#else
#if defined(__clang__)
G_FN g_u32 g_shared_at(const void *p) { return (g_u32)(unsigned long)(__attribute__((address_space(3))) const void *)p; }
#else
G_FN g_u32 g_shared_at(const void *p) { return (g_u32)__cvta_generic_to_shared(p); }
#endif
G_FN void g_mat_load(struct g_mat *f, const g_u8 *blob, g_u32 row, g_u32 chunk)
{
    g_u32 at = g_shared_at(blob) + g_blob_at(row + (g_lane() & 15), chunk + (g_lane() >> 4));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(f->v[0]), "=r"(f->v[1]), "=r"(f->v[2]), "=r"(f->v[3]) : "r"(at) : "memory");
}
G_FN void g_mat_load_turned(struct g_mat *f, const g_u8 *blob, g_u32 row, g_u32 chunk)
{
    g_u32 at = g_shared_at(blob) + g_blob_at(row + (g_lane() & 7) + 8 * (g_lane() >> 4), chunk + (g_lane() >> 3 & 1));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(f->v[0]), "=r"(f->v[1]), "=r"(f->v[2]), "=r"(f->v[3]) : "r"(at) : "memory");
}
/* The bare step: 16 x 16 times 16 x 8, operands in the order of PTX's m16n8k16. */
#define G_MMA_(type)                                                                                                              \
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." type "." type ".f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};" \
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]))
G_FN void g_mma_bf16(float *c, const g_u32 *a, const g_u32 *b) { G_MMA_("bf16"); }
G_FN void g_mma_f16(float *c, const g_u32 *a, const g_u32 *b) { G_MMA_("f16"); }
G_FN void g_mat_mma(struct g_mat_acc *c, const struct g_mat *a, const struct g_mat *b, int f16)
{
    const g_u32 left[2] = {b->v[0], b->v[2]}, right[2] = {b->v[1], b->v[3]};
    if (f16) {
        g_mma_f16(c->v, a->v, left);
        g_mma_f16(c->v + 4, a->v, right);
    } else {
        g_mma_bf16(c->v, a->v, left);
        g_mma_bf16(c->v + 4, a->v, right);
    }
}
#endif

#elif defined(G_MAT_RDNA3) || defined(G_MAT_RDNA4) || defined(G_MAT_CDNA) /* ---- a lane holds whole chunks of one row ---- */
#if defined(G_MAT_RDNA3) /* both halves of the warp hold the same 16 values of k */
#define G_MAT_CHUNKS 2
struct g_mat { g_u32 v[8]; };
G_FN g_u32 g_mat_row_of(g_u32 lane, g_u32 i) { return 2 * i + (lane >> 4); }
#define G_MAT_FIRST 0
#elif defined(G_MAT_RDNA4)
#define G_MAT_CHUNKS 2
struct g_mat { g_u32 v[4]; };
G_FN g_u32 g_mat_row_of(g_u32 lane, g_u32 i) { return 8 * (lane >> 4) + i; }
#define G_MAT_FIRST (g_lane() >> 4)
#else
#define G_MAT_CHUNKS 4
struct g_mat { g_u32 v[4]; };
G_FN g_u32 g_mat_row_of(g_u32 lane, g_u32 i) { return 4 * (lane >> 4) + i; }
#define G_MAT_FIRST (g_lane() >> 4)
#endif
#define G_MAT_WORDS (sizeof(struct g_mat) / 4)
G_FN g_u32 g_mat_col_of(g_u32 lane, g_u32 i)
{
    (void)i;
    return lane & 15;
}
G_FN void g_mat_load(struct g_mat *f, const g_u8 *blob, g_u32 row, g_u32 chunk)
{
    for (g_u32 c = 0; c < G_MAT_WORDS / 4; c++) {
        struct g_u4 u = *(const struct g_u4 *)(blob + g_blob_at(row + (g_lane() & 15), chunk + G_MAT_FIRST + c));
        for (g_u32 i = 0; i < 4; i++) f->v[4 * c + i] = u.v[i];
    }
}
G_FN void g_mat_load_turned(struct g_mat *f, const g_u8 *blob, g_u32 row, g_u32 chunk)
{
    const g_u32 n = g_lane_here() & 15, c = chunk + (n >> 3), at = 2 * (n & 7);
    for (g_u32 i = 0; i < G_MAT_WORDS; i++) {
        g_u32 k = row + 8 * G_MAT_FIRST + 2 * i;
        f->v[i] = *(const g_u16 *)(blob + g_blob_at(k, c) + at) | (g_u32) * (const g_u16 *)(blob + g_blob_at(k + 1, c) + at) << 16;
    }
}
#if !defined(RF_GPU_EMU)
typedef float g_v8f __attribute__((ext_vector_type(8)));
typedef float g_v4f __attribute__((ext_vector_type(4)));
typedef short g_v16s __attribute__((ext_vector_type(16)));
typedef short g_v8s __attribute__((ext_vector_type(8)));
typedef short g_v4s __attribute__((ext_vector_type(4)));
typedef _Float16 g_v16h __attribute__((ext_vector_type(16)));
typedef _Float16 g_v8h __attribute__((ext_vector_type(8)));
typedef _Float16 g_v4h __attribute__((ext_vector_type(4)));
struct g_mat_half { g_u32 v[2]; };
G_FN void g_mat_mma(struct g_mat_acc *c, const struct g_mat *a, const struct g_mat *b, int f16)
{
#if defined(G_MAT_RDNA3)
    g_v8f d = __builtin_bit_cast(g_v8f, *c);
    d = f16 ? __builtin_amdgcn_wmma_f32_16x16x16_f16_w32(__builtin_bit_cast(g_v16h, *a), __builtin_bit_cast(g_v16h, *b), d)
            : __builtin_amdgcn_wmma_f32_16x16x16_bf16_w32(__builtin_bit_cast(g_v16s, *a), __builtin_bit_cast(g_v16s, *b), d);
#elif defined(G_MAT_RDNA4)
    g_v8f d = __builtin_bit_cast(g_v8f, *c);
    d = f16 ? __builtin_amdgcn_wmma_f32_16x16x16_f16_w32_gfx12(__builtin_bit_cast(g_v8h, *a), __builtin_bit_cast(g_v8h, *b), d)
            : __builtin_amdgcn_wmma_f32_16x16x16_bf16_w32_gfx12(__builtin_bit_cast(g_v8s, *a), __builtin_bit_cast(g_v8s, *b), d);
#else
    g_v4f d = __builtin_bit_cast(g_v4f, *c);
    for (int i = 0; i < 2; i++) { /* the first and the second half of each lane's chunk */
        struct g_mat_half x = {{a->v[2 * i], a->v[2 * i + 1]}}, y = {{b->v[2 * i], b->v[2 * i + 1]}};
        d = f16 ? __builtin_amdgcn_mfma_f32_16x16x16f16(__builtin_bit_cast(g_v4h, x), __builtin_bit_cast(g_v4h, y), d, 0, 0, 0)
                : __builtin_amdgcn_mfma_f32_16x16x16bf16_1k(__builtin_bit_cast(g_v4s, x), __builtin_bit_cast(g_v4s, y), d, 0, 0, 0);
    }
#endif
    *c = __builtin_bit_cast(struct g_mat_acc, d);
}
#endif

#else /* ---- no matrix unit: an operand is a place in shared memory, a lane makes its elements of D itself ---- */
#define G_MAT_CHUNKS 2
struct g_mat { const g_u8 *blob; g_u32 row, chunk, turned; };
G_FN g_u32 g_mat_row_of(g_u32 lane, g_u32 i) { return (lane + i * G_WARP) >> 4; }
G_FN g_u32 g_mat_col_of(g_u32 lane, g_u32 i) { return (lane + i * G_WARP) & 15; }
G_FN void g_mat_load(struct g_mat *f, const g_u8 *blob, g_u32 row, g_u32 chunk) { *f = (struct g_mat){blob, row, chunk, 0}; }
G_FN void g_mat_load_turned(struct g_mat *f, const g_u8 *blob, g_u32 row, g_u32 chunk) { *f = (struct g_mat){blob, row, chunk, 1}; }
G_FN float g_mat_at(const struct g_mat *f, g_u32 row, g_u32 k, int f16)
{
    g_u32 r = f->row + (f->turned ? k : row), c = f->turned ? row : k;
    g_u16 h = *(const g_u16 *)(f->blob + g_blob_at(r, f->chunk + (c >> 3)) + 2 * (c & 7));
    return f16 ? g_h2f(h) : g_bf2f(h);
}
G_FN void g_mat_mma(struct g_mat_acc *c, const struct g_mat *a, const struct g_mat *b, int f16)
{
    G_UNROLL(1)
    for (g_u32 k = 0; k < 16; k++)
        G_UNROLL(8)
        for (g_u32 i = 0; i < G_MAT_ACC; i++)
            c->v[i] = g_fma(g_mat_at(a, g_mat_row_of(g_lane(), i), k, f16), g_mat_at(b, g_mat_col_of(g_lane(), i), k, f16), c->v[i]);
}
#endif

/* Element i of the calling lane: its row and column of D. */
G_FN g_u32 g_mat_row(g_u32 i) { return g_mat_row_of(g_lane(), i); }
G_FN g_u32 g_mat_col(g_u32 i) { return g_mat_col_of(g_lane(), i); }

/* Rows of D that a lane has elements of: how many, to which of them (slot) element i belongs, a slot's row, and the lanes that share a row. */
#if defined(G_MAT_NV)
#define G_MAT_SLOTS 2
#define G_MAT_SLOT(i) (((i) >> 1) & 1)
#define G_MAT_SHARE 4
G_FN g_u32 g_mat_slot_row(g_u32 slot) { return g_mat_row(2 * slot); }
#else
#define G_MAT_SLOTS G_MAT_ACC
#define G_MAT_SLOT(i) (i)
#define G_MAT_SHARE 16
G_FN g_u32 g_mat_slot_row(g_u32 slot) { return g_mat_row(slot); }
#endif
G_FN float g_mat_row_max(float v)
{
    for (int m = G_MAT_SHARE / 2; m; m >>= 1) {
        float o = g_shfl_xor(v, m);
        v = o > v ? o : v;
    }
    return v;
}
G_FN float g_mat_row_sum(float v)
{
    for (int m = G_MAT_SHARE / 2; m; m >>= 1) v += g_shfl_xor(v, m);
    return v;
}
/* D folded: rows r and r + 8 added, r below 8. Of that a lane keeps G_MAT_KEPT elements (where two lanes come to the same, both keep it) of
 * G_MAT_KEPT_SLOTS rows; element i of D belongs to slot G_MAT_KEPT_SLOT(i), element k of what is kept stands where element G_MAT_KEPT_AT(k) of D does. */
#if defined(G_MAT_NV)
#define G_MAT_KEPT 4
#define G_MAT_KEPT_SLOTS 1
#define G_MAT_KEPT_SLOT(i) 0
#define G_MAT_KEPT_AT(k) ((k) + ((k) & 2))
#else
#if defined(G_MAT_RDNA4) || defined(G_MAT_CDNA)
#define G_MAT_KEPT G_MAT_ACC
#else
#define G_MAT_KEPT (G_MAT_ACC / 2)
#endif
#define G_MAT_KEPT_SLOTS G_MAT_KEPT
#define G_MAT_KEPT_SLOT(i) ((i) % G_MAT_KEPT)
#define G_MAT_KEPT_AT(k) (k)
#endif
G_FN float g_mat_fold(const struct g_mat_acc *c, g_u32 k)
{
#if defined(G_MAT_RDNA4) || defined(G_MAT_CDNA) /* the other half of the warp has the other row */
    return c->v[k] + g_shfl_xor(c->v[k], G_WARP / 2);
#else
    return c->v[G_MAT_KEPT_AT(k)] + c->v[G_MAT_KEPT_AT(k) + (G_MAT_KEPT_SLOTS == 1 ? 2 : G_MAT_KEPT)];
#endif
}
G_FN g_u32 g_mat_kept_row(g_u32 k) { return g_mat_row(G_MAT_KEPT_AT(k)) & 7; }
G_FN g_u32 g_mat_kept_col(g_u32 k) { return g_mat_col(G_MAT_KEPT_AT(k)); }
/* Two values of an operand: f16 or bf16, the first in the low half. */
G_FN g_u32 g_mat_pair(float a, float b, int f16) { return f16 ? g_f2h(a) | (g_u32)g_f2h(b) << 16 : g_f2bf2(a, b); }
/* What rounding a value so leaves. */
G_FN float g_mat_rest(float a, int f16) { return a - (f16 ? g_h2f(g_f2h(a)) : g_bf2f((g_u16)g_f2bf2(a, 0))); }

#if defined(RF_GPU_EMU)
#if defined(G_MAT_NV)
#define G_MAT_UNIT RF_EMU_MMA
#define g_mma_bf16(c, a, b) rf_emu_mma(RF_EMU_MMA8, c, a, b, 0, __LINE__)
#define g_mma_f16(c, a, b) rf_emu_mma(RF_EMU_MMA8, c, a, b, 1, __LINE__)
#elif defined(G_MAT_RDNA3)
#define G_MAT_UNIT RF_EMU_RDNA3
#elif defined(G_MAT_RDNA4)
#define G_MAT_UNIT RF_EMU_RDNA4
#else
#define G_MAT_UNIT RF_EMU_CDNA
#endif
#define g_mat_mma(c, a, b, f16) rf_emu_mma(G_MAT_UNIT, (c)->v, (a)->v, (b)->v, f16, __LINE__)
#endif

/* A kernel of which `blocks` blocks share a processor: sets the registers a thread may have. */
#if !defined(RF_GPU_EMU) && !defined(__AMDGCN__) && !defined(__clang__)
#define G_KERNEL_SHARING(threads, blocks) extern "C" __global__ __launch_bounds__(threads, blocks) void
#else
#define G_KERNEL_SHARING(threads, blocks) G_KERNEL(threads)
#endif

/* What lanes of a warp wrote to shared memory before, all of them may read behind. */
#if defined(RF_GPU_EMU)
#define g_warp_join() ((void)g_shfl_xor_i(0, 0))
#elif defined(__AMDGCN__)
G_FN void g_warp_join(void)
{
    __builtin_amdgcn_fence(__ATOMIC_ACQ_REL, "wavefront");
    __builtin_amdgcn_wave_barrier();
}
#elif defined(__clang__)
G_FN void g_warp_join(void) { __nvvm_bar_warp_sync(~0u); }
#else
G_FN void g_warp_join(void) { __syncwarp(); }
#endif

/* ---- copies of 16 bytes into shared memory that may still be under way: commit closes a group, wait leaves the youngest n groups open ---- */
#if defined(G_MAT_NV) && !defined(RF_GPU_EMU)
G_FN void g_copy16(void *to, const void *from)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(g_shared_at(to)), "l"(from) : "memory");
}
G_FN void g_copy_commit(void) { asm volatile("cp.async.commit_group;" ::: "memory"); }
#define g_copy_wait(n) asm volatile("cp.async.wait_group %0;" ::"n"(n) : "memory")
#else
G_FN void g_copy16(void *to, const void *from) { *(struct g_u4 *)to = *(const struct g_u4 *)from; }
G_FN void g_copy_commit(void) {}
#define g_copy_wait(n) ((void)0)
#endif
#endif
