/* linear_avx512bf16.c - BF16 weights by vdpbf16ps: 32 outputs times up to 8 activation rows in 16 accumulators. Panels are
 * read where they lie, by decode and prefill alike; the arithmetic stands in linear_kern.h.
 */
#include "backend/cpu/kernels/linear_expand.h"

enum { ROWS = 8, PAIRS = RF_LIN_SLAB / 2, AHEAD = 6144 };

/* 16 floats to bf16, to nearest even, in the low halves; what is finite does not become Inf, NaN stays NaN. */
INL vi bf16_of(vf x)
{
    vi bits = vf_bits(x), size = vi_and(bits, vi_set1(0x7fffffff));
    __mmask16 finite = _mm512_cmplt_epi32_mask(size, vi_set1(0x7f800000)), nan = _mm512_cmpgt_epi32_mask(size, vi_set1(0x7f800000));
    vi low = _mm512_mask_min_epi32(size, finite, size, vi_set1(0x7f7f7fff));
    vi half = _mm512_add_epi32(vi_set1(0x7fff), vi_and(vi_shr32(low, 16), vi_set1(1)));
    low = vi_shr32(_mm512_mask_add_epi32(low, finite, low, half), 16);
    low = _mm512_mask_mov_epi32(low, nan, vi_set1(0x7fc0));
    return vi_or(low, vi_and(vi_shr32(bits, 16), vi_set1(0x8000)));
}

static void act_bf16(const struct rf_lin_act *a, size_t slab0, size_t slab1, size_t m0, size_t m1)
{
    for (size_t s = slab0; s < slab1; s++) {
        size_t n = RF_MIN(a->cols - s * RF_LIN_SLAB, (size_t)RF_LIN_SLAB);
        for (size_t m = m0; m < m1; m++) {
            const float *x = a->x + rf_lin_row(a, m) * a->cols + s * RF_LIN_SLAB;
            for (size_t i = 0; i < RF_LIN_SLAB; i += 16) {
                __mmask16 in = i >= n ? 0 : n - i < 16 ? (__mmask16)((1u << (n - i)) - 1) : 0xffff;
                vi_store16((uint8_t *)(a->b + rf_lin_b(a, s, m, i)), bf16_of(_mm512_maskz_loadu_ps(in, x + i)));
            }
        }
    }
}

INL void rows_bf16(int R, const uint8_t *w, const struct rf_lin_act *a, size_t m, size_t n_pair, bool ahead, float *c)
{
    vf f[ROWS][2];
    UNROLL for (int r = 0; r < R; r++) f[r][0] = f[r][1] = vf_set1(0);
    for (size_t s = 0; s < a->n_slab; s++) {
        const uint16_t *b[ROWS];
        UNROLL for (int r = 0; r < R; r++) b[r] = a->b + rf_lin_b(a, s, m + (size_t)r, 0);
        size_t n = RF_MIN(n_pair - s * PAIRS, (size_t)PAIRS);
        NO_UNROLL for (size_t i = 0; i < n; i++, w += 128) {
            __m512bh w0 = (__m512bh)vi_load(w), w1 = (__m512bh)vi_load(w + 64);
            if (ahead) {
                PREFETCH(w + AHEAD);
                PREFETCH(w + AHEAD + 64);
            }
            UNROLL for (int r = 0; r < R; r++) {
                __m512bh x = (__m512bh)vi_set1((int32_t)load_u32(b[r] + i / 16 * 512 + i % 16 * 2));
                f[r][0] = _mm512_dpbf16_ps(f[r][0], w0, x);
                f[r][1] = _mm512_dpbf16_ps(f[r][1], w1, x);
            }
        }
    }
    UNROLL for (int r = 0; r < R; r++) {
        vf_store(c + r * 32, f[r][0]);
        vf_store(c + r * 32 + 16, f[r][1]);
    }
}

static void run_bf16(const struct rf_lin_task *t, size_t p0, size_t p1, size_t m0, size_t m1, struct rf_lin_tmp *tmp)
{
    for (size_t p = p0; p < p1; p++) {
        const uint8_t *w = t->w + p * t->n_unit * 128;
        for (size_t m = m0; m < m1;) {
            float *c = tmp->c[0] + (m - m0) * RF_LIN_PANEL;
            bool ahead = m == m0; /* later rows find the panel in the cache */
            if (m1 - m >= 8) {
                rows_bf16(8, w, t->act, m, t->n_unit, ahead, c);
                m += 8;
            } else if (m1 - m >= 4) {
                rows_bf16(4, w, t->act, m, t->n_unit, ahead, c);
                m += 4;
            } else if (m1 - m >= 2) {
                rows_bf16(2, w, t->act, m, t->n_unit, ahead, c);
                m += 2;
            } else {
                rows_bf16(1, w, t->act, m++, t->n_unit, ahead, c);
            }
        }
        store_panels(t, p, p + 1, m0, m1, tmp);
    }
}

void rf_lin_kern_init_avx512bf16(struct rf_lin_kern *k)
{
    k->name = "avx512bf16";
    k->act_bf16 = act_bf16;
    k->run[rf_lin_layout_index(rf_lin_layout_get(RF_TYPE_BF16))] = run_bf16;
}
