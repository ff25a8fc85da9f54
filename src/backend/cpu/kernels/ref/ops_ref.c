/* ops_ref.c - the definition of every kernel of kern.h: obvious C, sums in double, never made faster. */
#include <math.h>
#include <string.h>

#include "backend/cpu/kern.h"

static void rmsnorm(const float *x, const float *residual, float *sum, const float *w, float *y, uint32_t n, float eps)
{
    double squares = 0;
    for (uint32_t i = 0; i < n; i++) {
        float a = residual ? x[i] + residual[i] : x[i];
        squares += (double)a * a;
    }
    double factor = 1 / sqrt(squares / n + (double)eps);
    for (uint32_t i = 0; i < n; i++) {
        float a = residual ? x[i] + residual[i] : x[i];
        if (residual) sum[i] = a;
        y[i] = (float)(a * factor * w[i]);
    }
}

static double act_silu(double x) { return x / (1 + exp(-x)); }
/* 0.5 x (1 + tanh u) without the cancellation, u = sqrt(2 / pi) (x + 0.044715 x^3). Hendrycks & Gimpel 2016, arXiv 1606.08415 */
static double act_gelu_tanh(double x) { return x / (1 + exp(-2 * 0.7978845608028654 * (x + 0.044715 * x * x * x))); }
static double act_gelu(double x) { return 0.5 * x * erfc(-x * 0.7071067811865476); }
static double act_relu(double x) { return x < 0 ? 0 : x; }

#define GLU(act)                                                                    \
    static void glu_##act(const float *gate, const float *up, float *out, size_t n) \
    {                                                                               \
        for (size_t i = 0; i < n; i++) out[i] = (float)(act_##act(gate[i]) * up[i]); \
    }
GLU(silu)
GLU(gelu_tanh)
GLU(gelu)
GLU(relu)

static void add(const float *a, const float *b, float *out, size_t n, float b_scale)
{
    for (size_t i = 0; i < n; i++) out[i] = a[i] + b_scale * b[i];
}

static float capped(double x, float cap) { return (float)(cap != 0 ? cap * tanh(x / cap) : x); }

static void softcap(float *x, size_t n, float cap, float scale)
{
    for (size_t i = 0; i < n; i++) x[i] = capped((double)x[i] * scale, cap);
}

static void rope(float *x, const float *cs, uint32_t n_head, uint32_t head_dim, uint32_t rot_dim, enum rf_rope_style style)
{
    uint32_t half = rot_dim / 2;
    for (uint32_t h = 0; h < n_head; h++, x += head_dim)
        for (uint32_t i = 0; i < half; i++) {
            float *a = style == RF_ROPE_PAIRS ? x + 2 * i : x + i, *b = style == RF_ROPE_PAIRS ? a + 1 : a + half;
            float a0 = *a, b0 = *b, c = cs[i], s = cs[half + i];
            *a = a0 * c - b0 * s;
            *b = b0 * c + a0 * s;
        }
}

static float load_f16(uint16_t h) { return rf_f16_to_f32(h); }
static float load_bf16(uint16_t h) { return rf_bf16_to_f32(h); }
static float load_f32(float f) { return f; }
static uint16_t store_f16(float f) { return rf_f32_to_f16(f); }
static uint16_t store_bf16(float f) { return rf_f32_to_bf16(f); }
static float store_f32(float f) { return f; }

#define KV(name, T)                                                                                       \
    static void kv_put_##name(const float *k, const float *v, void *block, uint32_t at, uint32_t head_dim) \
    {                                                                                                     \
        T *keys = block, *values = keys + 16 * head_dim + at * rf_attn_head_pad(head_dim);                 \
        for (uint32_t d = 0; d < head_dim; d++) {                                                         \
            keys[16 * d + at] = store_##name(k[d]);                                                       \
            values[d] = store_##name(v[d]);                                                               \
        }                                                                                                 \
    }                                                                                                     \
    static void kv_get_##name(const void *block, float *k, float *v, uint32_t head_dim)                   \
    {                                                                                                     \
        const T *keys = block, *values = keys + 16 * head_dim;                                            \
        for (uint32_t d = 0; d < head_dim; d++)                                                           \
            for (uint32_t t = 0; t < 16; t++) k[d * RF_ATTN_CHUNK + t] = load_##name(keys[16 * d + t]);    \
        for (uint32_t i = 0; i < 16 * rf_attn_head_pad(head_dim); i++) v[i] = load_##name(values[i]);     \
    }
KV(f16, uint16_t)
KV(bf16, uint16_t)
KV(f32, float)

static float stored(const struct rf_attn_part_args *a, uint32_t key, uint32_t at) /* value `at` of the key's block */
{
    const void *block = a->block[key / RF_KV_BLOCK_TOKENS];
    if (a->type == RF_KV_F32) return ((const float *)block)[at];
    uint16_t h = ((const uint16_t *)block)[at];
    return a->type == RF_KV_F16 ? load_f16(h) : load_bf16(h);
}

static float key_at(const struct rf_attn_part_args *a, uint32_t key, uint32_t d)
{
    return a->k ? a->k[d * RF_ATTN_CHUNK + key] : stored(a, key, 16 * d + key % 16);
}

static float value_at(const struct rf_attn_part_args *a, uint32_t key, uint32_t d)
{
    return a->k ? a->v[key * a->head_pad + d] : stored(a, key, 16 * a->head_dim + key % 16 * a->head_pad + d);
}

static void attn_part(const struct rf_attn_part_args *a)
{
    for (uint32_t r = 0; r < a->n_row; r++) {
        const struct rf_attn_row *row = &a->row[r];
        double sum = 0, out[RF_ATTN_HEAD_MAX] = {0};
        float max = -__FLT_MAX__; /* finite, so that a score of -inf weighs 0 also where no other key is */
        for (uint32_t t = row->lo; t < row->hi; t++) {
            double dot = 0;
            for (uint32_t d = 0; d < a->head_dim; d++) dot += (double)row->q[d] * key_at(a, t, d);
            a->score[t] = capped(dot * a->scale, a->softcap);
            if (a->score[t] > max) max = a->score[t];
        }
        for (uint32_t t = row->lo; t < row->hi; t++) {
            double p = exp((double)a->score[t] - max);
            sum += p;
            for (uint32_t d = 0; d < a->head_dim; d++) out[d] += p * value_at(a, t, d);
        }
        memset(row->part, 0, (RF_ATTN_PART_HEAD + a->head_pad) * sizeof(float));
        row->part[0] = max;
        row->part[1] = (float)sum;
        for (uint32_t d = 0; d < a->head_dim; d++) row->part[RF_ATTN_PART_HEAD + d] = (float)out[d];
    }
}

static void attn_merge(float *state, const float *part, uint32_t head_pad)
{
    float max = state[0] > part[0] ? state[0] : part[0];
    double a = exp((double)state[0] - max), b = exp((double)part[0] - max);
    state[0] = max;
    state[1] = (float)(state[1] * a + part[1] * b);
    for (uint32_t d = RF_ATTN_PART_HEAD; d < RF_ATTN_PART_HEAD + head_pad; d++) state[d] = (float)(state[d] * a + part[d] * b);
}

static void attn_finish(const float *state, float *out, uint32_t head_dim)
{
    for (uint32_t d = 0; d < head_dim; d++) out[d] = state[RF_ATTN_PART_HEAD + d] / state[1];
}

void rf_kern_init_ref(struct rf_kern *k)
{
    *k = (struct rf_kern){
        .rmsnorm = rmsnorm,
        .glu = {[RF_ACT_SILU] = glu_silu, [RF_ACT_GELU_TANH] = glu_gelu_tanh, [RF_ACT_GELU] = glu_gelu, [RF_ACT_RELU] = glu_relu},
        .add = add,
        .softcap = softcap,
        .rope = rope,
        .kv_put = {[RF_KV_F16] = kv_put_f16, [RF_KV_BF16] = kv_put_bf16, [RF_KV_F32] = kv_put_f32},
        .kv_get = {[RF_KV_F16] = kv_get_f16, [RF_KV_BF16] = kv_get_bf16, [RF_KV_F32] = kv_get_f32},
        .attn_part = attn_part,
        .attn_merge = attn_merge,
        .attn_finish = attn_finish,
    };
}
