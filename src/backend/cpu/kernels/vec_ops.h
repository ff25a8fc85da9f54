/* vec_ops.h - the kernels of kern.h in vector words; one source for every instruction set.
 *
 * A file per instruction set includes its vec_*.h (V lanes, v_add, v_fma, ...) and then this one, and gets vec_init(). What is
 * not better here than in ref (GELU by erf) stays ref's.
 *
 * Elements are computed alike in full vectors and in tails, and sums run in an order that only the row's own length or key
 * range decides: that is what the promise of equal bits rests on.
 */
#ifndef RF_BACKEND_CPU_KERNELS_VEC_OPS_H
#define RF_BACKEND_CPU_KERNELS_VEC_OPS_H

#include <math.h>
#include <string.h>

#include "backend/cpu/kern.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* ---- exp and tanh ---- */

/* e^x within 1 ulp; 0 below -104, Inf above 88.72, NaN stays. x = n ln 2 + r, |r| <= ln 2 / 2, e^r = 1 + r + r^2 Q(r) with
 * Q fitted here for least relative error (3e-9); ln 2 in two parts (Cody & Waite 1980). */
ALWAYS_INLINE vf v_exp(vf x)
{
    x = v_min(v_set(89.0f), v_max(v_set(-110.0f), x));
    vf n = v_round(v_mul(x, v_set(1.44269504f)));
    vf r = v_fnma(n, v_set(-0x1.05c610p-29f), v_fnma(n, v_set(0x1.62e430p-1f), x));
    vf q = v_fma(v_set(0x1.6a2434p-10f), r, v_set(0x1.1239e2p-7f));
    q = v_fma(q, r, v_set(0x1.5558f2p-5f));
    q = v_fma(q, r, v_set(0x1.555492p-3f));
    q = v_fma(q, r, v_set(0x1.fffffcp-2f));
    return v_ldexp(v_add(v_fma(q, v_mul(r, r), r), v_set(1.0f)), n);
}

/* tanh: an odd polynomial fitted here below 0.625, 1 - 2 / (e^2|x| + 1) above. */
ALWAYS_INLINE vf v_tanh(vf x)
{
    vf a = v_abs(x), s = v_mul(x, x);
    vf p = v_fma(v_set(-0x1.75e120p-8f), s, v_set(0x1.522676p-6f));
    p = v_fma(p, s, v_set(-0x1.b83c54p-5f));
    p = v_fma(p, s, v_set(0x1.110726p-3f));
    p = v_fma(p, s, v_set(-0x1.555532p-2f));
    p = v_fma(v_mul(p, s), x, x);
    vf e = v_sub(v_set(1.0f), v_div(v_set(2.0f), v_add(v_exp(v_add(a, a)), v_set(1.0f))));
    return v_select_lt(a, v_set(0.625f), p, v_copysign(e, x));
}

/* ---- elements ---- */

ALWAYS_INLINE vf act_silu(vf x) { return v_div(x, v_add(v_set(1.0f), v_exp(v_sub(v_set(0.0f), x)))); }
/* 0.5 x (1 + tanh u) = x / (1 + e^-2u), u = sqrt(2 / pi) (x + 0.044715 x^3) */
ALWAYS_INLINE vf act_gelu_tanh(vf x)
{
    vf u2 = v_mul(v_mul(x, v_set(-1.5957691216f)), v_fma(v_mul(x, x), v_set(0.044715f), v_set(1.0f)));
    return v_div(x, v_add(v_set(1.0f), v_exp(u2)));
}
ALWAYS_INLINE vf act_relu(vf x) { return v_max(v_set(0.0f), x); }

#define GLU(act)                                                                                                    \
    static void glu_##act(const float *gate, const float *up, float *out, size_t n)                                 \
    {                                                                                                               \
        size_t i = 0;                                                                                               \
        for (; i + V <= n; i += V) v_store(out + i, v_mul(act_##act(v_load(gate + i)), v_load(up + i)));            \
        unsigned left = (unsigned)(n - i);                                                                          \
        if (left) v_store_n(out + i, v_mul(act_##act(v_load_n(gate + i, left)), v_load_n(up + i, left)), left);     \
    }
GLU(silu)
GLU(gelu_tanh)
GLU(relu)
#undef GLU

static void add(const float *a, const float *b, float *out, size_t n, float b_scale)
{
    vf s = v_set(b_scale);
    size_t i = 0;
    for (; i + V <= n; i += V) v_store(out + i, v_fma(s, v_load(b + i), v_load(a + i)));
    unsigned left = (unsigned)(n - i);
    if (left) v_store_n(out + i, v_fma(s, v_load_n(b + i, left), v_load_n(a + i, left)), left);
}

static void softcap(float *x, size_t n, float cap, float scale)
{
    vf in = v_set(cap != 0 ? scale / cap : scale), out = v_set(cap);
    size_t i = 0;
    for (; i < n; i += V) {
        unsigned left = n - i < V ? (unsigned)(n - i) : V;
        vf v = v_mul(left < V ? v_load_n(x + i, left) : v_load(x + i), in);
        if (cap != 0) v = v_mul(v_tanh(v), out);
        if (left < V) v_store_n(x + i, v, left);
        else v_store(x + i, v);
    }
}

/* ---- rows ---- */

/* Four running sums; the tail goes to the first. The sum is stored where there is a residual. */
ALWAYS_INLINE float square_sum(const float *x, const float *residual, float *sum, uint32_t n)
{
    vf acc[4] = {v_set(0.0f), v_set(0.0f), v_set(0.0f), v_set(0.0f)};
    uint32_t i = 0;
    for (; i + 4 * V <= n; i += 4 * V)
        for (int k = 0; k < 4; k++) {
            vf a = v_load(x + i + k * V);
            if (residual) v_store(sum + i + k * V, a = v_add(a, v_load(residual + i + k * V)));
            acc[k] = v_fma(a, a, acc[k]);
        }
    for (; i < n; i += V) {
        unsigned left = n - i < V ? n - i : V;
        vf a = v_load_n(x + i, left);
        if (residual) v_store_n(sum + i, a = v_add(a, v_load_n(residual + i, left)), left);
        acc[0] = v_fma(a, a, acc[0]);
    }
    return v_sum(v_add(v_add(acc[0], acc[1]), v_add(acc[2], acc[3])));
}

static void rmsnorm(const float *x, const float *residual, float *sum, const float *w, float *y, uint32_t n, float eps)
{
    double squares = residual ? square_sum(x, residual, sum, n) : square_sum(x, NULL, NULL, n);
    const float *a = residual ? sum : x;
    if (!(squares <= __FLT_MAX__)) { /* too large for f32, or really Inf or NaN */
        squares = 0;
        for (uint32_t i = 0; i < n; i++) squares += (double)a[i] * a[i];
    }
    double factor = 1 / sqrt(squares / n + (double)eps);
    vf f = v_set((float)factor);
    uint32_t i = 0;
    for (; i + V <= n; i += V) v_store(y + i, v_mul(v_mul(v_load(a + i), f), v_load(w + i)));
    unsigned left = n - i;
    if (left) v_store_n(y + i, v_mul(v_mul(v_load_n(a + i, left), f), v_load_n(w + i, left)), left);
}

static void rope(float *x, const float *cs, uint32_t n_head, uint32_t head_dim, uint32_t rot_dim, enum rf_rope_style style)
{
    uint32_t half = rot_dim / 2;
    for (uint32_t h = 0; h < n_head; h++, x += head_dim) {
        if (style == RF_ROPE_PAIRS) { /* no vector words for interleaving: the compiler finds its own */
            for (uint32_t i = 0; i < half; i++) {
                float a = x[2 * i], b = x[2 * i + 1];
                x[2 * i] = a * cs[i] - b * cs[half + i];
                x[2 * i + 1] = b * cs[i] + a * cs[half + i];
            }
            continue;
        }
        for (uint32_t i = 0; i < half; i += V) {
            unsigned n = half - i < V ? half - i : V;
            vf a = v_load_n(x + i, n), b = v_load_n(x + half + i, n), c = v_load_n(cs + i, n), s = v_load_n(cs + half + i, n);
            v_store_n(x + i, v_fnma(b, s, v_mul(a, c)), n);
            v_store_n(x + half + i, v_fma(a, s, v_mul(b, c)), n);
        }
    }
}

/* ---- the cache ---- */

#ifdef RF_VEC_X86
/* 8 values to 16 bits; head sizes are multiples of 8. Rounds to nearest even like ref, NaN stays NaN. */
ALWAYS_INLINE __m128i put8_f16(const float *p) { return _mm256_cvtps_ph(_mm256_loadu_ps(p), _MM_FROUND_TO_NEAREST_INT); }
ALWAYS_INLINE __m128i put8_bf16(const float *p)
{
    __m256 f = _mm256_loadu_ps(p);
    __m256i u = _mm256_castps_si256(f), odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    __m256i r = _mm256_add_epi32(_mm256_add_epi32(u, odd), _mm256_set1_epi32(0x7fff));
    __m256i nan = _mm256_or_si256(u, _mm256_set1_epi32(0x400000));
    r = _mm256_blendv_epi8(r, nan, _mm256_castps_si256(_mm256_cmp_ps(f, f, _CMP_UNORD_Q)));
    r = _mm256_srli_epi32(r, 16);
    return _mm_packus_epi32(_mm256_castsi256_si128(r), _mm256_extracti128_si256(r, 1));
}

#define KV_PUT(name)                                                                                        \
    static void kv_put_##name(const float *k, const float *v, void *block, uint32_t at, uint32_t head_dim)  \
    {                                                                                                       \
        uint16_t *keys = (uint16_t *)block + at, row[8];                                                    \
        uint16_t *values = (uint16_t *)block + 16 * head_dim + at * rf_attn_head_pad(head_dim);             \
        for (uint32_t d = 0; d < head_dim; d += 8) {                                                        \
            _mm_storeu_si128((__m128i *)(values + d), put8_##name(v + d));                                  \
            _mm_storeu_si128((__m128i *)row, put8_##name(k + d));                                           \
            for (uint32_t i = 0; i < 8; i++) keys[16 * (d + i)] = row[i];                                   \
        }                                                                                                   \
    }
KV_PUT(f16)
KV_PUT(bf16)
#undef KV_PUT
#endif

ALWAYS_INLINE vf v_from_f32(const float *p) { return v_load(p); }

#define KV_GET(name, T)                                                                                       \
    static void kv_get_##name(const void *block, float *k, float *v, uint32_t head_dim)                       \
    {                                                                                                         \
        const T *keys = block, *values = keys + 16 * head_dim;                                                \
        for (uint32_t d = 0; d < head_dim; d++)                                                               \
            for (uint32_t i = 0; i < 16; i += V)                                                              \
                v_store(k + d * RF_ATTN_CHUNK + i, v_from_##name(keys + 16 * d + i));                         \
        for (uint32_t i = 0; i < 16 * rf_attn_head_pad(head_dim); i += V) v_store(v + i, v_from_##name(values + i));    \
    }
KV_GET(f16, uint16_t)
KV_GET(bf16, uint16_t)
KV_GET(f32, float)
#undef KV_GET

/* ---- attention ----
 *
 * A tile is R rows by W vectors of accumulators, all of them in registers: R, W and the source F are constants at every
 * call, so the loops over them unroll. Each accumulator is one chain of fma over d (scores) or over keys (values).
 */

enum source { FROM_SCRATCH, FROM_F16, FROM_BF16 }; /* f32 in a->k, a->v, or a->block as stored */

ALWAYS_INLINE vf v_from(const char *p, const enum source F)
{
    if (F == FROM_SCRATCH) return v_load((const float *)(const void *)p);
    return F == FROM_F16 ? v_from_f16((const uint16_t *)(const void *)p) : v_from_bf16((const uint16_t *)(const void *)p);
}

ALWAYS_INLINE void score_tile(const struct rf_attn_part_args *a, uint32_t r0, uint32_t key, const enum source F,
                              const unsigned R, const unsigned W)
{
    vf acc[V_ROWS][V_WIDE];
    const float *q[V_ROWS];
    const char *k[V_WIDE];
    const size_t step = F == FROM_SCRATCH ? RF_ATTN_CHUNK * sizeof(float) : 16 * sizeof(uint16_t); /* from d to d + 1 */
    for (unsigned w = 0; w < W; w++) {
        uint32_t at = key + w * V;
        k[w] = F == FROM_SCRATCH ? (const char *)(a->k + at) : (const char *)((const uint16_t *)a->block[at / 16] + at % 16);
    }
    for (unsigned r = 0; r < R; r++) {
        q[r] = a->row[r0 + r].q;
        for (unsigned w = 0; w < W; w++) acc[r][w] = v_set(0.0f);
    }
    for (uint32_t d = 0; d < a->head_dim; d++) {
        vf kv[V_WIDE];
        for (unsigned w = 0; w < W; w++) kv[w] = v_from(k[w] + d * step, F);
        for (unsigned r = 0; r < R; r++) {
            vf x = v_set(q[r][d]);
            for (unsigned w = 0; w < W; w++) acc[r][w] = v_fma(x, kv[w], acc[r][w]);
        }
    }
    for (unsigned r = 0; r < R; r++)
        for (unsigned w = 0; w < W; w++) v_store(a->score + (r0 + r) * RF_ATTN_CHUNK + key + w * V, acc[r][w]);
}

ALWAYS_INLINE void value_tile(const struct rf_attn_part_args *a, uint32_t r0, uint32_t lo, uint32_t hi, uint32_t d,
                              const enum source F, const unsigned R, const unsigned W)
{
    vf acc[V_ROWS][V_WIDE];
    const float *p = a->score + r0 * RF_ATTN_CHUNK;
    const size_t size = F == FROM_SCRATCH ? sizeof(float) : sizeof(uint16_t), step = a->head_pad * size; /* from key to key */
    for (unsigned r = 0; r < R; r++)
        for (unsigned w = 0; w < W; w++) acc[r][w] = v_load(a->row[r0 + r].part + RF_ATTN_PART_HEAD + d + w * V);
    while (lo < hi) { /* a run of keys that lie behind each other: all, or a block's */
        uint32_t end = F == FROM_SCRATCH || hi < (lo | 15) + 1 ? hi : (lo | 15) + 1;
        const char *v = F == FROM_SCRATCH ? (const char *)(a->v + (size_t)lo * a->head_pad + d)
                                          : (const char *)((const uint16_t *)a->block[lo / 16] + 16 * a->head_dim + lo % 16 * a->head_pad + d);
        for (; lo < end; lo++, v += step) {
            vf x[V_WIDE];
            for (unsigned w = 0; w < W; w++) x[w] = v_from(v + w * V * size, F);
            for (unsigned r = 0; r < R; r++) {
                vf pr = v_set(p[r * RF_ATTN_CHUNK + lo]);
                for (unsigned w = 0; w < W; w++) acc[r][w] = v_fma(pr, x[w], acc[r][w]);
            }
        }
    }
    for (unsigned r = 0; r < R; r++)
        for (unsigned w = 0; w < W; w++) v_store(a->row[r0 + r].part + RF_ATTN_PART_HEAD + d + w * V, acc[r][w]);
}

/* Rows r0 .. r0 + R - 1, keys [lo, hi) in whole blocks of 16. */
ALWAYS_INLINE void score_rows(const struct rf_attn_part_args *a, uint32_t r0, uint32_t lo, uint32_t hi, const enum source F,
                              const unsigned R)
{
    for (; lo + V_WIDE * V <= hi; lo += V_WIDE * V) score_tile(a, r0, lo, F, R, V_WIDE);
    if (V_WIDE > 2 && lo + 2 * V <= hi) score_tile(a, r0, lo, F, R, 2), lo += 2 * V;
    for (; lo < hi; lo += V) score_tile(a, r0, lo, F, R, 1);
}

/* Adds p * v of keys [lo, hi) to rows r0 .. r0 + R - 1. */
ALWAYS_INLINE void value_rows(const struct rf_attn_part_args *a, uint32_t r0, uint32_t lo, uint32_t hi, const enum source F,
                              const unsigned R)
{
    uint32_t d = 0;
    for (; d + V_WIDE * V <= a->head_pad; d += V_WIDE * V) value_tile(a, r0, lo, hi, d, F, R, V_WIDE);
    if (V_WIDE > 2 && d + 2 * V <= a->head_pad) value_tile(a, r0, lo, hi, d, F, R, 2), d += 2 * V;
    for (; d < a->head_pad; d += V) value_tile(a, r0, lo, hi, d, F, R, 1);
}

typedef void tile_fn(const struct rf_attn_part_args *a, uint32_t r0, unsigned n, uint32_t lo, uint32_t hi);
#define TILES(name, rows, F)                                                                                     \
    static void name(const struct rf_attn_part_args *a, uint32_t r0, unsigned n, uint32_t lo, uint32_t hi)       \
    {                                                                                                            \
        switch (n) {                                                                                             \
        case 1: rows(a, r0, lo, hi, F, 1); break;                                                                \
        case 2: rows(a, r0, lo, hi, F, 2); break;                                                                \
        case 3: rows(a, r0, lo, hi, F, 3); break;                                                                \
        case 4: rows(a, r0, lo, hi, F, 4); break;                                                                \
        case 5: rows(a, r0, lo, hi, F, 5); break;                                                                \
        default: rows(a, r0, lo, hi, F, 6); break;                                                               \
        }                                                                                                        \
    }
TILES(scores_scratch, score_rows, FROM_SCRATCH)
TILES(scores_f16, score_rows, FROM_F16)
TILES(scores_bf16, score_rows, FROM_BF16)
TILES(values_scratch, value_rows, FROM_SCRATCH)
TILES(values_f16, value_rows, FROM_F16)
TILES(values_bf16, value_rows, FROM_BF16)
#undef TILES

/* Scores of one row to exp(s - max), its max and sum to the part. */
static void soften(const struct rf_attn_part_args *a, const struct rf_attn_row *row, float *s)
{
    vf scale = v_set(a->softcap != 0 ? a->scale / a->softcap : a->scale), cap = v_set(a->softcap);
    vf top = v_set(-__FLT_MAX__), sum = v_set(0.0f); /* finite: a score of -Inf weighs 0 also where no other key is */
    uint32_t from = row->lo / V * V;
    for (uint32_t t = from; t < row->hi; t += V) {
        vf x = v_mul(v_load(s + t), scale);
        if (a->softcap != 0) x = v_mul(v_tanh(x), cap);
        if (t < row->lo || t + V > row->hi)
            x = v_keep(x, t < row->lo ? row->lo - t : 0, t + V > row->hi ? row->hi - t : V, -INFINITY);
        top = v_max(x, top); /* NaN is left out here and comes back through the sum */
        v_store(s + t, x);
    }
    float max = v_top(top);
    top = v_set(max);
    for (uint32_t t = from; t < row->hi; t += V) {
        vf x = v_sub(v_load(s + t), top);
        vf p = v_select_lt(x, v_set(-80.0f), v_set(0.0f), v_exp(x)); /* the sum is at least 1; below are slow denormals */
        sum = v_add(sum, p);
        v_store(s + t, p);
    }
    memset(row->part, 0, (RF_ATTN_PART_HEAD + a->head_pad) * sizeof(float));
    row->part[0] = max;
    row->part[1] = v_sum(sum);
}

/* Values of rows r0 .. r0 + n - 1: keys that all rows see go through one tile, what is before and behind them row by row, so
 * that each row adds its own keys in rising order. */
static void add_values(const struct rf_attn_part_args *a, uint32_t r0, unsigned n, tile_fn *values)
{
    uint32_t lo = 0, hi = RF_ATTN_CHUNK;
    for (unsigned r = 0; r < n; r++) {
        lo = lo > a->row[r0 + r].lo ? lo : a->row[r0 + r].lo;
        hi = hi < a->row[r0 + r].hi ? hi : a->row[r0 + r].hi;
    }
    if (lo >= hi) {
        for (unsigned r = 0; r < n; r++) values(a, r0 + r, 1, a->row[r0 + r].lo, a->row[r0 + r].hi);
        return;
    }
    for (unsigned r = 0; r < n; r++)
        if (a->row[r0 + r].lo < lo) values(a, r0 + r, 1, a->row[r0 + r].lo, lo);
    values(a, r0, n, lo, hi);
    for (unsigned r = 0; r < n; r++)
        if (a->row[r0 + r].hi > hi) values(a, r0 + r, 1, hi, a->row[r0 + r].hi);
}

static void attn_part(const struct rf_attn_part_args *a)
{
    tile_fn *scores = a->k ? scores_scratch : a->type == RF_KV_F16 ? scores_f16 : scores_bf16;
    tile_fn *values = a->k ? values_scratch : a->type == RF_KV_F16 ? values_f16 : values_bf16;
    uint32_t n_tile = (a->n_row + V_ROWS - 1) / V_ROWS;
    for (uint32_t i = 0, r0 = 0; i < n_tile; i++) {
        unsigned n = (a->n_row - r0 + n_tile - i - 1) / (n_tile - i); /* tiles of even height */
        uint32_t lo = RF_ATTN_CHUNK, hi = 0;
        for (unsigned r = 0; r < n; r++) {
            lo = lo < a->row[r0 + r].lo ? lo : a->row[r0 + r].lo;
            hi = hi > a->row[r0 + r].hi ? hi : a->row[r0 + r].hi;
        }
        scores(a, r0, n, lo & ~15u, (hi + 15) & ~15u);
        for (unsigned r = 0; r < n; r++) soften(a, &a->row[r0 + r], a->score + (r0 + r) * RF_ATTN_CHUNK);
        add_values(a, r0, n, values);
        r0 += n;
    }
}

static void attn_merge(float *state, const float *part, uint32_t head_pad)
{
    if (state[0] == -INFINITY) { /* the first part: most rows of short prompts have no other */
        memcpy(state, part, (RF_ATTN_PART_HEAD + head_pad) * sizeof(float));
        return;
    }
    float max = state[0] > part[0] ? state[0] : part[0];
    vf a = v_set(v_lane0(v_exp(v_set(state[0] - max)))), b = v_set(v_lane0(v_exp(v_set(part[0] - max))));
    state[0] = max;
    state[1] = v_lane0(v_fma(v_set(state[1]), a, v_mul(v_set(part[1]), b)));
    state += RF_ATTN_PART_HEAD;
    part += RF_ATTN_PART_HEAD;
    for (uint32_t d = 0; d < head_pad; d += V) v_store(state + d, v_fma(v_load(state + d), a, v_mul(v_load(part + d), b)));
}

static void attn_finish(const float *state, float *out, uint32_t head_dim)
{
    vf sum = v_set(state[1]);
    for (uint32_t d = 0; d < head_dim; d += V) {
        unsigned n = head_dim - d < V ? head_dim - d : V;
        v_store_n(out + d, v_div(v_load(state + RF_ATTN_PART_HEAD + d), sum), n); /* the state is padded to 16 */
    }
}

static void vec_init(struct rf_kern *k)
{
    k->rmsnorm = rmsnorm;
    k->glu[RF_ACT_SILU] = glu_silu;
    k->glu[RF_ACT_GELU_TANH] = glu_gelu_tanh;
    k->glu[RF_ACT_RELU] = glu_relu;
    k->add = add;
    k->softcap = softcap;
    k->rope = rope;
#ifdef RF_VEC_X86
    k->kv_put[RF_KV_F16] = kv_put_f16;
    k->kv_put[RF_KV_BF16] = kv_put_bf16;
#endif
    k->kv_get[RF_KV_F16] = kv_get_f16;
    k->kv_get[RF_KV_BF16] = kv_get_bf16;
    k->kv_get[RF_KV_F32] = kv_get_f32;
    k->attn_part = attn_part;
    k->attn_merge = attn_merge;
    k->attn_finish = attn_finish;
}

#endif
