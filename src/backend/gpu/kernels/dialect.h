/* dialect.h - the small language that kernels are written in: C without templates, overloads or references, built by nvcc,
 * by clang for NVIDIA (-x cuda, no headers), by clang for AMD (-x hip, no headers) and by any C compiler for the emulator.
 *
 * Rules. One by-value args struct per kernel (args.h). Width of a warp is G_WARP, 32 or 64. Collectives are called by whole
 * warps. No libm names. No contraction by the compiler (-fmad=false, -ffp-contract=off): where a fused multiply-add is meant
 * g_fma says so, and a row's sum has one order of additions in every kernel that computes it.
 * Vendor builtins and inline assembly stay in this file.
 */
#ifndef RF_GPU_DIALECT_H
#define RF_GPU_DIALECT_H

typedef unsigned char g_u8;
typedef signed char g_i8;
typedef unsigned short g_u16;
typedef unsigned int g_u32;
typedef unsigned long long g_u64;

#if defined(RF_GPU_EMU) /* ---- the emulator ---- */
#include "backend/gpu/emulator/emu.h"

#elif defined(__AMDGCN__) /* ---- AMD ---- */
#define __device__ __attribute__((device))
#define __shared__ __attribute__((shared))
#define G_FN static __device__ __attribute__((always_inline)) inline
#define G_KERNEL(threads) extern "C" __attribute__((global)) __attribute__((amdgpu_flat_work_group_size(1, threads))) void
#define G_KERNEL_DENSE(threads, blocks) G_KERNEL(threads)
#define G_SHARED(T, name, n) __shared__ T name[n]
#define G_DYNAMIC(T, name) extern __shared__ __attribute__((aligned(1024))) g_u8 g_dynamic[]; T *name = (T *)g_dynamic
#if defined(__GFX9__)
#define G_WARP 64
#else
#define G_WARP 32
#endif
G_FN g_u32 g_tid(void) { return __builtin_amdgcn_workitem_id_x(); }
G_FN g_u32 g_bx(void) { return __builtin_amdgcn_workgroup_id_x(); }
G_FN g_u32 g_by(void) { return __builtin_amdgcn_workgroup_id_y(); }
G_FN g_u32 g_bz(void) { return __builtin_amdgcn_workgroup_id_z(); }
G_FN g_u32 g_lane(void)
{
#if G_WARP == 32
    return __builtin_amdgcn_mbcnt_lo(~0u, 0u);
#else
    return __builtin_amdgcn_mbcnt_hi(~0u, __builtin_amdgcn_mbcnt_lo(~0u, 0u));
#endif
}
G_FN g_u32 g_lane_here(void) /* g_lane, of which nothing is worked out before a loop and kept in registers through it */
{
    g_u32 lane = g_lane();
    asm volatile("" : "+v"(lane));
    return lane;
}
G_FN void g_sync(void) /* s_barrier alone orders no memory */
{
    __builtin_amdgcn_fence(__ATOMIC_RELEASE, "workgroup");
    __builtin_amdgcn_s_barrier();
    __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "workgroup");
}
G_FN void g_pdl_wait(void) {}
G_FN void g_pdl_launch(void) {}
G_FN void g_publish(void) { __builtin_amdgcn_fence(__ATOMIC_RELEASE, "agent"); }
G_FN void g_observe(void) { __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "agent"); }
G_FN g_u32 g_arrive(g_u32 *count) { return __hip_atomic_fetch_add(count, 1u, __ATOMIC_ACQ_REL, __HIP_MEMORY_SCOPE_AGENT); }
G_FN g_u32 g_ticket(g_u32 *count) { return __hip_atomic_fetch_add(count, 1u, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_AGENT); }
G_FN int g_shfl_xor_i(int v, int m) { return __builtin_amdgcn_ds_bpermute((int)((g_lane() ^ (g_u32)m) << 2), v); }
G_FN float g_asf(g_u32 x) { return __builtin_bit_cast(float, x); }
G_FN g_u32 g_asu(float x) { return __builtin_bit_cast(g_u32, x); }
G_FN float g_exp2(float x) { return __builtin_amdgcn_exp2f(x); }
G_FN float g_fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
G_FN float g_h2f(g_u16 h) { return (float)__builtin_bit_cast(_Float16, h); }
G_FN g_u16 g_f2h(float f) { return __builtin_bit_cast(g_u16, (_Float16)f); }

#else /* ---- NVIDIA ---- */
#define G_WARP 32
#if defined(__clang__)
#define __device__ __attribute__((device))
#define __shared__ __attribute__((shared))
#define G_FN static __device__ __attribute__((always_inline)) inline
#define G_KERNEL(threads) extern "C" __attribute__((global)) __attribute__((launch_bounds(threads))) void
#define G_KERNEL_DENSE(threads, blocks) extern "C" __attribute__((global)) __attribute__((launch_bounds(threads, blocks))) void
G_FN g_u32 g_tid(void) { return __nvvm_read_ptx_sreg_tid_x(); }
G_FN g_u32 g_bx(void) { return __nvvm_read_ptx_sreg_ctaid_x(); }
G_FN g_u32 g_by(void) { return __nvvm_read_ptx_sreg_ctaid_y(); }
G_FN g_u32 g_bz(void) { return __nvvm_read_ptx_sreg_ctaid_z(); }
G_FN int g_shfl_xor_i(int v, int m) { return __nvvm_shfl_sync_bfly_i32(~0u, v, m, 31); }
G_FN float g_asf(g_u32 x) { return __builtin_bit_cast(float, x); }
G_FN g_u32 g_asu(float x) { return __builtin_bit_cast(g_u32, x); }
G_FN float g_fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
#else
#define G_FN static __device__ __forceinline__
#define G_KERNEL(threads) extern "C" __global__ __launch_bounds__(threads) void
#define G_KERNEL_DENSE(threads, blocks) extern "C" __global__ __launch_bounds__(threads, blocks) void /* so many blocks share a multiprocessor */
G_FN g_u32 g_tid(void) { return threadIdx.x; }
G_FN g_u32 g_bx(void) { return blockIdx.x; }
G_FN g_u32 g_by(void) { return blockIdx.y; }
G_FN g_u32 g_bz(void) { return blockIdx.z; }
G_FN int g_shfl_xor_i(int v, int m) { return __shfl_xor_sync(~0u, v, m); }
G_FN float g_asf(g_u32 x) { return __uint_as_float(x); }
G_FN g_u32 g_asu(float x) { return __float_as_uint(x); }
G_FN float g_fma(float a, float b, float c) { return __fmaf_rn(a, b, c); }
#endif
#define G_SHARED(T, name, n) __shared__ T name[n]
#define G_DYNAMIC(T, name) extern __shared__ __attribute__((aligned(1024))) g_u8 g_dynamic[]; T *name = (T *)g_dynamic
G_FN void g_sync(void) { __syncthreads(); }
G_FN g_u32 g_lane(void) { return g_tid() & 31; }
G_FN float g_exp2(float x) { float r; asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x)); return r; }
G_FN float g_h2f(g_u16 h) { float r; asm("cvt.f32.f16 %0, %1;" : "=f"(r) : "h"(h)); return r; }
G_FN g_u16 g_f2h(float f) { g_u16 r; asm("cvt.rn.f16.f32 %0, %1;" : "=h"(r) : "f"(f)); return r; }
/* pairs of halves; bytes 0-3 are a's, 4-7 b's, a nibble of sel picks one */
G_FN g_u32 g_fma2(g_u32 a, g_u32 b, g_u32 c) { g_u32 r; asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(b), "r"(c)); return r; }
G_FN g_u32 g_add2(g_u32 a, g_u32 b) { g_u32 r; asm("add.rn.f16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b)); return r; }
G_FN g_u32 g_mul2(g_u32 a, g_u32 b) { g_u32 r; asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b)); return r; }
G_FN g_u32 g_and_or(g_u32 a, g_u32 b, g_u32 c) { g_u32 r; asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(r) : "r"(a), "r"(b), "r"(c)); return r; }
G_FN g_u32 g_perm(g_u32 a, g_u32 b, g_u32 sel) { g_u32 r; asm("prmt.b32 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(b), "r"(sel)); return r; }
/* The last of some blocks finishes what all of them began. Every thread of each calls g_publish behind its stores to memory, then g_sync; one calls
 * g_arrive, which counts; where the count tells that its block is the last, the block reads what the others stored behind another g_sync and
 * g_observe, and leaves the count at 0. PTX: bar.sync and an acq_rel operation at gpu scope are cumulative, so the other two are empty here. */
G_FN void g_publish(void) {}
G_FN void g_observe(void) {}
G_FN g_u32 g_arrive(g_u32 *count)
{
    g_u32 before;
    asm volatile("atom.acq_rel.gpu.global.add.u32 %0, [%1], 1;" : "=r"(before) : "l"(count) : "memory");
    return before;
}
G_FN g_u32 g_ticket(g_u32 *count) /* counts, and orders nothing */
{
    g_u32 before;
    asm volatile("atom.relaxed.gpu.global.add.u32 %0, [%1], 1;" : "=r"(before) : "l"(count) : "memory");
    return before;
}
/* Programmatic dependent launch: the next kernel may start when all blocks have called g_pdl_launch or ended; it must not touch what earlier
 * kernels of the step write or read before its g_pdl_wait, which at least one block of every kernel calls: what was there before the step (weights, the
 * plan, keys and values of earlier tokens) may be read at once. Nothing where the launch did not ask for it. */
G_FN void g_pdl_wait(void) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
G_FN void g_pdl_launch(void) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
#endif

/* ---- common to all ---- */
#if defined(RF_GPU_EMU)
#define G_UNROLL(n)
#else
#define G_PRAGMA(text) _Pragma(#text)
#define G_UNROLL(n) G_PRAGMA(unroll n) /* before a loop: register arrays need constant indices */
#endif
#if defined(__NVPTX__) && defined(__clang__) /* leaves an unrolled loop early; clang does not unroll one with two ends, whose arrays then lie in memory */
#define G_NO_MORE continue
#else
#define G_NO_MORE break
#endif
#if defined(__AMDGCN__) && !defined(RF_GPU_EMU) /* before a loop that stays one: clang would unroll it, load for all turns at once, and spill */
#define G_ROLLED G_UNROLL(1)
#else
#define G_ROLLED
#endif
#if defined(RF_GPU_EMU) || !defined(__AMDGCN__)
#define g_lane_here g_lane
#endif
#define G_LOG2E 1.4426950408889634f
#define G_LOWEST (-3.402823466e38f)

struct __attribute__((aligned(16))) g_f4 { float v[4]; };
struct __attribute__((aligned(16))) g_u4 { g_u32 v[4]; };
struct __attribute__((aligned(8))) g_u2 { g_u32 v[2]; };

/* Weights: read once, so they should not push other data out of the caches. */
#if !defined(RF_GPU_EMU) && !defined(__AMDGCN__)
G_FN struct g_u4 g_stream16(const void *p)
{
    struct g_u4 u;
    asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];" : "=r"(u.v[0]), "=r"(u.v[1]), "=r"(u.v[2]), "=r"(u.v[3]) : "l"(p));
    return u;
}
#else
G_FN struct g_u4 g_stream16(const void *p) { return *(const struct g_u4 *)p; }
#endif
G_FN float g_shfl_xor(float v, int m) { return g_asf((g_u32)g_shfl_xor_i((int)g_asu(v), m)); }
G_FN float g_bf2f(g_u16 b) { return g_asf((g_u32)b << 16); }
G_FN g_u16 g_f2bf(float f) /* nearest even, NaN stays NaN */
{
    g_u32 u = g_asu(f);
    if ((u & 0x7fffffffu) > 0x7f800000u) return (g_u16)((u >> 16) | 0x40u);
    return (g_u16)((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}
G_FN float g_warp_sum(float v)
{
    for (int m = G_WARP / 2; m; m >>= 1) v += g_shfl_xor(v, m);
    return v;
}
G_FN float g_warp_max(float v)
{
    for (int m = G_WARP / 2; m; m >>= 1) {
        float o = g_shfl_xor(v, m);
        v = o > v ? o : v;
    }
    return v;
}
G_FN float g_block_max(float v, float *red, g_u32 threads)
{
    v = g_warp_max(v);
    if (g_lane() == 0) red[g_tid() / G_WARP] = v;
    g_sync();
    float s = red[0];
    for (g_u32 i = 1; i < (threads + G_WARP - 1) / G_WARP; i++) s = red[i] > s ? red[i] : s;
    g_sync();
    return s;
}
/* Sum over the block; red holds a float per warp. Every thread gets the result. */
G_FN float g_block_sum(float v, float *red, g_u32 threads)
{
    v = g_warp_sum(v);
    if (g_lane() == 0) red[g_tid() / G_WARP] = v;
    g_sync();
    float s = 0;
    for (g_u32 i = 0; i < (threads + G_WARP - 1) / G_WARP; i++) s += red[i];
    g_sync();
    return s;
}
/* An integer below 2^23 as float, without the slow conversion unit: 2^23 + q has q as its last bits. */
G_FN float g_small(g_u32 q) { return g_asf(q | 0x4b000000u) - 8388608.0f; }
G_FN float g_exp(float x) { return g_exp2(x * G_LOG2E); }
/* tanh: a series near 0, where 1 - 2 / (e^2x + 1) would cancel. */
G_FN float g_tanh(float x)
{
    float a = x < 0 ? -x : x, s = x * x;
    if (a < 0.25f) {
        float p = g_fma(s, g_fma(s, g_fma(s, g_fma(s, 0.021869489f, -0.053968254f), 0.13333334f), -0.33333334f), 1.0f);
        return x * p;
    }
    if (a > 12.0f) return x < 0 ? -1.0f : 1.0f;
    float t = 1.0f - 2.0f / (g_exp(2 * a) + 1.0f);
    return x != x ? x : x < 0 ? -t : t;
}
#endif
