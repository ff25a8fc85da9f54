/* vec_avx512.h - the vector words that vec_ops.h is written in: 16 lanes. */
#ifndef RF_BACKEND_CPU_KERNELS_X86_VEC_AVX512_H
#define RF_BACKEND_CPU_KERNELS_X86_VEC_AVX512_H

#include <immintrin.h>
#include <stdint.h>

enum { V = 16, V_ROWS = 6, V_WIDE = 4 }; /* lanes; accumulators of a tile: rows x vectors */
typedef __m512 vf;

static inline __mmask16 v_first(unsigned n) { return (__mmask16)((1u << n) - 1); } /* n <= 16 */

static inline vf v_set(float f) { return _mm512_set1_ps(f); }
static inline vf v_load(const float *p) { return _mm512_loadu_ps(p); }
static inline void v_store(float *p, vf v) { _mm512_storeu_ps(p, v); }
static inline vf v_load_n(const float *p, unsigned n) { return _mm512_maskz_loadu_ps(v_first(n), p); }
static inline void v_store_n(float *p, vf v, unsigned n) { _mm512_mask_storeu_ps(p, v_first(n), v); }
static inline vf v_add(vf a, vf b) { return _mm512_add_ps(a, b); }
static inline vf v_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
static inline vf v_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
static inline vf v_div(vf a, vf b) { return _mm512_div_ps(a, b); }
static inline vf v_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
static inline vf v_fnma(vf a, vf b, vf c) { return _mm512_fnmadd_ps(a, b, c); } /* c - a * b */
static inline vf v_max(vf a, vf b) { return _mm512_max_ps(a, b); }              /* b where either is NaN */
static inline vf v_min(vf a, vf b) { return _mm512_min_ps(a, b); }              /* b where either is NaN */
static inline vf v_abs(vf a) { return _mm512_abs_ps(a); }
static inline vf v_copysign(vf mag, vf sign)
{
    return _mm512_or_ps(mag, _mm512_and_ps(sign, _mm512_set1_ps(-0.0f))); /* mag >= 0 */
}
static inline vf v_select_lt(vf a, vf b, vf yes, vf no) /* NaN: no */
{
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), no, yes);
}
static inline vf v_round(vf a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
static inline vf v_ldexp(vf a, vf n) { return _mm512_scalef_ps(a, n); } /* a * 2^n, n whole */
static inline vf v_keep(vf a, unsigned lo, unsigned hi, float other) /* lanes lo..hi-1 of a, other elsewhere; hi <= V */
{
    return _mm512_mask_blend_ps(v_first(hi) & (__mmask16)~v_first(lo), _mm512_set1_ps(other), a);
}
static inline float v_lane0(vf a) { return _mm512_cvtss_f32(a); }
static inline float v_sum(vf a)
{
    __m256 b = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 c = _mm_add_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps(b, 1));
    c = _mm_add_ps(c, _mm_movehl_ps(c, c));
    return _mm_cvtss_f32(_mm_add_ss(c, _mm_shuffle_ps(c, c, 1)));
}
static inline float v_top(vf a) /* greatest lane; none is NaN */
{
    __m256 b = _mm256_max_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 c = _mm_max_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps(b, 1));
    c = _mm_max_ps(c, _mm_movehl_ps(c, c));
    return _mm_cvtss_f32(_mm_max_ss(c, _mm_shuffle_ps(c, c, 1)));
}

/* KV types: V values from and 8 values to memory. */
static inline vf v_from_f16(const uint16_t *p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p)); }
static inline vf v_from_bf16(const uint16_t *p)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)), 16));
}
#define RF_VEC_X86 1

#endif
