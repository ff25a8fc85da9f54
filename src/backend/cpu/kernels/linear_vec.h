/* linear_vec.h - the vector words that the other linear_*.h are written in, for the instruction set the file is compiled for.
 *
 * vf: VL floats; vi: VL int32, or 4*VL bytes. Loads and stores of vi are aligned to their size, those of vf are not.
 */
#ifndef RF_BACKEND_CPU_KERNELS_LINEAR_VEC_H
#define RF_BACKEND_CPU_KERNELS_LINEAR_VEC_H

#include <stdint.h>
#include <string.h>

#define INL static inline __attribute__((always_inline))
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#define NO_UNROLL _Pragma("clang loop unroll(disable)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#define NO_UNROLL _Pragma("GCC unroll 1")
#endif

INL uint32_t load_u32(const void *p)
{
    uint32_t x;
    memcpy(&x, p, sizeof x);
    return x;
}

#if defined(__AVX512F__)
#include <immintrin.h>
enum { VL = 16 };
typedef __m512 vf;
typedef __m512i vi;
INL vf vf_load(const float *p) { return _mm512_loadu_ps(p); }
INL void vf_store(float *p, vf x) { _mm512_storeu_ps(p, x); }
INL vf vf_set1(float x) { return _mm512_set1_ps(x); }
INL vf vf_add(vf a, vf b) { return _mm512_add_ps(a, b); }
INL vf vf_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
INL vf vf_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
INL vf vf_fnma(vf a, vf b, vf c) { return _mm512_fnmadd_ps(a, b, c); } /* c - a b */
INL vi vf_bits(vf a) { return _mm512_castps_si512(a); }
INL vi vi_max32(vi a, vi b) { return _mm512_max_epi32(a, b); }
INL int32_t vi_hmax32(vi a) { return _mm512_reduce_max_epi32(a); }
INL vf vf_f16(const uint8_t *p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p)); }
INL vf vf_f8(const uint8_t *p, int odd) /* the first or second byte of each of VL pairs, an E4M3 but no NaN, over 256: the same bits as a half */
{
    __m256i x = _mm256_loadu_si256((const __m256i *)p);
    if (!odd) x = _mm256_slli_epi16(x, 8);
    __m256i sign = _mm256_and_si256(x, _mm256_set1_epi16((short)0x8000));
    return _mm512_cvtph_ps(_mm256_or_si256(sign, _mm256_and_si256(_mm256_srli_epi16(x, 1), _mm256_set1_epi16(0x3f80))));
}
INL vi vi_load(const void *p) { return _mm512_load_si512(p); }
INL void vi_store(void *p, vi x) { _mm512_store_si512(p, x); }
INL vi vi_set1(int32_t x) { return _mm512_set1_epi32(x); }
INL vi vi_set1_8(int x) { return _mm512_set1_epi8((char)x); }
INL vi vi_and(vi a, vi b) { return _mm512_and_si512(a, b); }
INL vi vi_or(vi a, vi b) { return _mm512_or_si512(a, b); }
INL vi vi_xor(vi a, vi b) { return _mm512_xor_si512(a, b); }
INL vi vi_sub8(vi a, vi b) { return _mm512_sub_epi8(a, b); }
#define vi_shl16(x, n) _mm512_slli_epi16(x, n)
#define vi_shr16(x, n) _mm512_srli_epi16(x, n)
#define vi_shl32(x, n) _mm512_slli_epi32(x, n)
#define vi_shr32(x, n) _mm512_srli_epi32(x, n)
#define vi_sar32(x, n) _mm512_srai_epi32(x, n)
INL vf vi_cvt(vi x) { return _mm512_cvtepi32_ps(x); }
INL vi vf_round(vf x) { return _mm512_cvtps_epi32(x); } /* to nearest even */
INL int32_t vi_hsum(vi x) { return _mm512_reduce_add_epi32(x); }
INL void vi_store8(int8_t *p, vi x) { _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8(x)); }
INL vf vi_float(vi a) { return _mm512_castsi512_ps(a); }
INL vi vi_gather(const uint8_t *p, size_t stride) /* a dword of each of 16 rows; 15 * stride fits 32 bits */
{
    vi at = _mm512_mullo_epi32(_mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0), vi_set1((int32_t)stride));
    return _mm512_i32gather_epi32(at, p, 1);
}
INL void vi_store16(uint8_t *p, vi x) { _mm256_storeu_si256((__m256i *)p, _mm512_cvtepi32_epi16(x)); }
/* dot of unsigned bytes w with signed bytes x, added to c */
INL vi vi_dot(vi c, vi w, vi x) { return _mm512_dpbusd_epi32(c, w, x); }
#define PREFETCH(p) _mm_prefetch((const char *)(p), _MM_HINT_T0)

#elif defined(__AVX2__)
#include <immintrin.h>
enum { VL = 8 };
typedef __m256 vf;
typedef __m256i vi;
INL vf vf_load(const float *p) { return _mm256_loadu_ps(p); }
INL void vf_store(float *p, vf x) { _mm256_storeu_ps(p, x); }
INL vf vf_set1(float x) { return _mm256_set1_ps(x); }
INL vf vf_add(vf a, vf b) { return _mm256_add_ps(a, b); }
INL vf vf_mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
INL vf vf_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
INL vf vf_fnma(vf a, vf b, vf c) { return _mm256_fnmadd_ps(a, b, c); } /* c - a b */
INL vi vf_bits(vf a) { return _mm256_castps_si256(a); }
INL vi vi_max32(vi a, vi b) { return _mm256_max_epi32(a, b); }
INL int32_t vi_hmax32(vi a)
{
    __m128i x = _mm_max_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    x = _mm_max_epi32(x, _mm_shuffle_epi32(x, 0x4e));
    return _mm_cvtsi128_si32(_mm_max_epi32(x, _mm_shuffle_epi32(x, 0xb1)));
}
INL vf vf_f16(const uint8_t *p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)); }
INL vf vf_f8(const uint8_t *p, int odd)
{
    __m128i x = _mm_loadu_si128((const __m128i *)p);
    if (!odd) x = _mm_slli_epi16(x, 8);
    __m128i sign = _mm_and_si128(x, _mm_set1_epi16((short)0x8000));
    return _mm256_cvtph_ps(_mm_or_si128(sign, _mm_and_si128(_mm_srli_epi16(x, 1), _mm_set1_epi16(0x3f80))));
}
INL vi vi_load(const void *p) { return _mm256_load_si256(p); }
INL void vi_store(void *p, vi x) { _mm256_store_si256(p, x); }
INL vi vi_set1(int32_t x) { return _mm256_set1_epi32(x); }
INL vi vi_set1_8(int x) { return _mm256_set1_epi8((char)x); }
INL vi vi_and(vi a, vi b) { return _mm256_and_si256(a, b); }
INL vi vi_or(vi a, vi b) { return _mm256_or_si256(a, b); }
INL vi vi_xor(vi a, vi b) { return _mm256_xor_si256(a, b); }
INL vi vi_sub8(vi a, vi b) { return _mm256_sub_epi8(a, b); }
#define vi_shl16(x, n) _mm256_slli_epi16(x, n)
#define vi_shr16(x, n) _mm256_srli_epi16(x, n)
#define vi_shl32(x, n) _mm256_slli_epi32(x, n)
#define vi_shr32(x, n) _mm256_srli_epi32(x, n)
#define vi_sar32(x, n) _mm256_srai_epi32(x, n)
INL vf vi_cvt(vi x) { return _mm256_cvtepi32_ps(x); }
INL vi vf_round(vf x) { return _mm256_cvtps_epi32(x); } /* to nearest even */
INL int32_t vi_hsum(vi x)
{
    __m128i y = _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    y = _mm_add_epi32(y, _mm_shuffle_epi32(y, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(y, _mm_shuffle_epi32(y, 0xb1)));
}
INL void vi_store8(int8_t *p, vi x)
{
    __m128i y = _mm_packs_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    _mm_storel_epi64((__m128i *)p, _mm_packs_epi16(y, y));
}
INL vf vi_float(vi a) { return _mm256_castsi256_ps(a); }
INL vi vi_gather(const uint8_t *p, size_t stride)
{
    vi at = _mm256_mullo_epi32(_mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0), vi_set1((int32_t)stride));
    return _mm256_i32gather_epi32((const int *)p, at, 1);
}
INL void vi_store16(uint8_t *p, vi x)
{
    x = _mm256_and_si256(x, _mm256_set1_epi32(0xffff));
    _mm_storeu_si128((__m128i *)p, _mm_packus_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1)));
}
INL vi vi_dot(vi c, vi w, vi x) /* w below 128, or the 16-bit sums would saturate */
{
    return _mm256_add_epi32(c, _mm256_madd_epi16(_mm256_maddubs_epi16(w, x), _mm256_set1_epi16(1)));
}
#define PREFETCH(p) _mm_prefetch((const char *)(p), _MM_HINT_T0)

#elif defined(__ARM_NEON)
#include <arm_neon.h>
enum { VL = 4 };
typedef float32x4_t vf;
typedef int32x4_t vi;
#define U8(x) vreinterpretq_u8_s32(x)
#define U16(x) vreinterpretq_u16_s32(x)
#define U32(x) vreinterpretq_u32_s32(x)
INL vf vf_load(const float *p) { return vld1q_f32(p); }
INL void vf_store(float *p, vf x) { vst1q_f32(p, x); }
INL vf vf_set1(float x) { return vdupq_n_f32(x); }
INL vf vf_add(vf a, vf b) { return vaddq_f32(a, b); }
INL vf vf_mul(vf a, vf b) { return vmulq_f32(a, b); }
INL vf vf_fma(vf a, vf b, vf c) { return vfmaq_f32(c, a, b); }
INL vf vf_fnma(vf a, vf b, vf c) { return vfmsq_f32(c, a, b); } /* c - a b */
INL vi vf_bits(vf a) { return vreinterpretq_s32_f32(a); }
INL vi vi_max32(vi a, vi b) { return vmaxq_s32(a, b); }
INL int32_t vi_hmax32(vi a) { return vmaxvq_s32(a); }
INL vf vf_f16(const uint8_t *p) { return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(p))); }
INL vf vf_f8(const uint8_t *p, int odd)
{
    uint16x4_t x = vreinterpret_u16_u8(vld1_u8(p));
    if (!odd) x = vshl_n_u16(x, 8);
    uint16x4_t half = vorr_u16(vand_u16(x, vdup_n_u16(0x8000)), vand_u16(vshr_n_u16(x, 1), vdup_n_u16(0x3f80)));
    return vcvt_f32_f16(vreinterpret_f16_u16(half));
}
INL vi vi_load(const void *p) { return vld1q_s32(p); }
INL void vi_store(void *p, vi x) { vst1q_s32(p, x); }
INL vi vi_set1(int32_t x) { return vdupq_n_s32(x); }
INL vi vi_set1_8(int x) { return vreinterpretq_s32_s8(vdupq_n_s8((int8_t)x)); }
INL vi vi_and(vi a, vi b) { return vandq_s32(a, b); }
INL vi vi_or(vi a, vi b) { return vorrq_s32(a, b); }
INL vi vi_xor(vi a, vi b) { return veorq_s32(a, b); }
INL vi vi_sub8(vi a, vi b) { return vreinterpretq_s32_u8(vsubq_u8(U8(a), U8(b))); }
#define vi_shl16(x, n) vreinterpretq_s32_u16(vshlq_u16(U16(x), vdupq_n_s16(n)))
#define vi_shr16(x, n) vreinterpretq_s32_u16(vshlq_u16(U16(x), vdupq_n_s16(-(n))))
#define vi_shl32(x, n) vshlq_s32(x, vdupq_n_s32(n))
#define vi_shr32(x, n) vreinterpretq_s32_u32(vshlq_u32(U32(x), vdupq_n_s32(-(n))))
#define vi_sar32(x, n) vshlq_s32(x, vdupq_n_s32(-(n)))
INL vf vi_cvt(vi x) { return vcvtq_f32_s32(x); }
INL vi vf_round(vf x) { return vcvtnq_s32_f32(x); } /* to nearest even */
INL int32_t vi_hsum(vi x) { return vaddvq_s32(x); }
INL void vi_store8(int8_t *p, vi x)
{
    int16x4_t y = vmovn_s32(x);
    uint32_t z = vget_lane_u32(vreinterpret_u32_s8(vmovn_s16(vcombine_s16(y, y))), 0);
    memcpy(p, &z, 4);
}
INL vf vi_float(vi a) { return vreinterpretq_f32_s32(a); }
INL vi vi_gather(const uint8_t *p, size_t stride)
{
    int32_t x[4] = {(int32_t)load_u32(p), (int32_t)load_u32(p + stride), (int32_t)load_u32(p + 2 * stride),
                    (int32_t)load_u32(p + 3 * stride)};
    return vld1q_s32(x);
}
INL void vi_store16(uint8_t *p, vi x) { vst1_u8(p, vreinterpret_u8_u16(vmovn_u32(U32(x)))); }
INL vi vi_dot(vi c, vi w, vi x) { return vdotq_s32(c, vreinterpretq_s8_s32(w), vreinterpretq_s8_s32(x)); } /* w < 128 */
#define PREFETCH(p) __builtin_prefetch(p)
#endif

/* The bf16 of even and of odd k in VL pairs. */
INL vf bf16_even(vi pairs) { return vi_float(vi_shl32(pairs, 16)); }
INL vf bf16_odd(vi pairs) { return vi_float(vi_and(pairs, vi_set1((int32_t)0xffff0000))); }

enum { NV = 32 / VL, VB = 4 * VL }; /* vectors of the 32 rows of a panel; bytes of a vector */

#endif
