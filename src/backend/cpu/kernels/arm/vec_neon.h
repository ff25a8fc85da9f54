/* vec_neon.h - the vector words that vec_ops.h is written in: 4 lanes of ARMv8-A. */
#ifndef RF_BACKEND_CPU_KERNELS_ARM_VEC_NEON_H
#define RF_BACKEND_CPU_KERNELS_ARM_VEC_NEON_H

#include <arm_neon.h>
#include <stdint.h>

enum { V = 4, V_ROWS = 6, V_WIDE = 4 }; /* lanes; accumulators of a tile: rows x vectors, 24 of 32 registers */
typedef float32x4_t vf;

static inline uint32x4_t v_below(unsigned n) /* all ones in lanes 0..n-1 */
{
    static const uint32_t lane[4] = {0, 1, 2, 3};
    return vcltq_u32(vld1q_u32(lane), vdupq_n_u32(n));
}

static inline vf v_set(float f) { return vdupq_n_f32(f); }
static inline vf v_load(const float *p) { return vld1q_f32(p); }
static inline void v_store(float *p, vf v) { vst1q_f32(p, v); }
static inline vf v_load_n(const float *p, unsigned n)
{
    float t[4] = {0};
    for (unsigned i = 0; i < n; i++) t[i] = p[i];
    return vld1q_f32(t);
}
static inline void v_store_n(float *p, vf v, unsigned n)
{
    float t[4];
    vst1q_f32(t, v);
    for (unsigned i = 0; i < n; i++) p[i] = t[i];
}
static inline vf v_add(vf a, vf b) { return vaddq_f32(a, b); }
static inline vf v_sub(vf a, vf b) { return vsubq_f32(a, b); }
static inline vf v_mul(vf a, vf b) { return vmulq_f32(a, b); }
static inline vf v_div(vf a, vf b) { return vdivq_f32(a, b); }
static inline vf v_fma(vf a, vf b, vf c) { return vfmaq_f32(c, a, b); }
static inline vf v_fnma(vf a, vf b, vf c) { return vfmsq_f32(c, a, b); } /* c - a * b */
static inline vf v_max(vf a, vf b) { return vbslq_f32(vcgtq_f32(a, b), a, b); } /* b where either is NaN */
static inline vf v_min(vf a, vf b) { return vbslq_f32(vcltq_f32(a, b), a, b); } /* b where either is NaN */
static inline vf v_abs(vf a) { return vabsq_f32(a); }
static inline vf v_copysign(vf mag, vf sign) { return vbslq_f32(vdupq_n_u32(0x80000000u), sign, mag); }
static inline vf v_select_lt(vf a, vf b, vf yes, vf no) { return vbslq_f32(vcltq_f32(a, b), yes, no); } /* NaN: no */
static inline vf v_round(vf a) { return vrndnq_f32(a); }
static inline vf v_ldexp(vf a, vf n) /* a * 2^n, n whole, -250 < n < 250: by two factors, so that each is a normal number */
{
    int32x4_t i = vcvtq_s32_f32(n), half = vshrq_n_s32(i, 1), rest = vsubq_s32(i, half), bias = vdupq_n_s32(127);
    a = vmulq_f32(a, vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(half, bias), 23)));
    return vmulq_f32(a, vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(rest, bias), 23)));
}
static inline vf v_keep(vf a, unsigned lo, unsigned hi, float other) /* lanes lo..hi-1 of a, other elsewhere; hi <= V */
{
    return vbslq_f32(vbicq_u32(v_below(hi), v_below(lo)), a, vdupq_n_f32(other));
}
static inline float v_lane0(vf a) { return vgetq_lane_f32(a, 0); }
static inline float v_sum(vf a) { return vaddvq_f32(a); }
static inline float v_top(vf a) { return vmaxvq_f32(a); } /* greatest lane; none is NaN */

static inline vf v_from_f16(const uint16_t *p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }
static inline vf v_from_bf16(const uint16_t *p) { return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16)); }

#endif
