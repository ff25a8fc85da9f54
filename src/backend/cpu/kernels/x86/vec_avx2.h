/* vec_avx2.h - the vector words that vec_ops.h is written in: 8 lanes. */
#ifndef RF_BACKEND_CPU_KERNELS_X86_VEC_AVX2_H
#define RF_BACKEND_CPU_KERNELS_X86_VEC_AVX2_H

#include <immintrin.h>
#include <stdint.h>

enum { V = 8, V_ROWS = 6, V_WIDE = 2 }; /* lanes; accumulators of a tile: rows x vectors, 12 of 16 registers */
typedef __m256 vf;

static inline __m256i v_below(unsigned n) /* all ones in lanes 0..n-1 */
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

static inline vf v_set(float f) { return _mm256_set1_ps(f); }
static inline vf v_load(const float *p) { return _mm256_loadu_ps(p); }
static inline void v_store(float *p, vf v) { _mm256_storeu_ps(p, v); }
static inline vf v_load_n(const float *p, unsigned n) { return _mm256_maskload_ps(p, v_below(n)); }
static inline void v_store_n(float *p, vf v, unsigned n) { _mm256_maskstore_ps(p, v_below(n), v); }
static inline vf v_add(vf a, vf b) { return _mm256_add_ps(a, b); }
static inline vf v_sub(vf a, vf b) { return _mm256_sub_ps(a, b); }
static inline vf v_mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
static inline vf v_div(vf a, vf b) { return _mm256_div_ps(a, b); }
static inline vf v_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
static inline vf v_fnma(vf a, vf b, vf c) { return _mm256_fnmadd_ps(a, b, c); } /* c - a * b */
static inline vf v_max(vf a, vf b) { return _mm256_max_ps(a, b); }              /* b where either is NaN */
static inline vf v_min(vf a, vf b) { return _mm256_min_ps(a, b); }              /* b where either is NaN */
static inline vf v_abs(vf a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
static inline vf v_copysign(vf mag, vf sign)
{
    return _mm256_or_ps(mag, _mm256_and_ps(sign, _mm256_set1_ps(-0.0f))); /* mag >= 0 */
}
static inline vf v_select_lt(vf a, vf b, vf yes, vf no) /* NaN: no */
{
    return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(a, b, _CMP_LT_OQ));
}
static inline vf v_round(vf a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
static inline vf v_ldexp(vf a, vf n) /* a * 2^n, n whole, -250 < n < 250: by two factors, so that each is a normal number */
{
    __m256i i = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(i, 1), rest = _mm256_sub_epi32(i, half);
    __m256i bias = _mm256_set1_epi32(127);
    a = _mm256_mul_ps(a, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(half, bias), 23)));
    return _mm256_mul_ps(a, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(rest, bias), 23)));
}
static inline vf v_keep(vf a, unsigned lo, unsigned hi, float other) /* lanes lo..hi-1 of a, other elsewhere; hi <= V */
{
    __m256 in = _mm256_castsi256_ps(_mm256_andnot_si256(v_below(lo), v_below(hi)));
    return _mm256_blendv_ps(_mm256_set1_ps(other), a, in);
}
static inline float v_lane0(vf a) { return _mm256_cvtss_f32(a); }
static inline float v_sum(vf a)
{
    __m128 c = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    c = _mm_add_ps(c, _mm_movehl_ps(c, c));
    return _mm_cvtss_f32(_mm_add_ss(c, _mm_shuffle_ps(c, c, 1)));
}
static inline float v_top(vf a) /* greatest lane; none is NaN */
{
    __m128 c = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    c = _mm_max_ps(c, _mm_movehl_ps(c, c));
    return _mm_cvtss_f32(_mm_max_ss(c, _mm_shuffle_ps(c, c, 1)));
}

static inline vf v_from_f16(const uint16_t *p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)); }
static inline vf v_from_bf16(const uint16_t *p)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p)), 16));
}
#define RF_VEC_X86 1

#endif
