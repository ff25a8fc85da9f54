/* fp8.c - which scale belongs to which byte, and rows of both together. */
#include "format/fp8.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "format/weights_priv.h"

enum { RUN = 128 }; /* columns over which a packed row's scale must stay the same: a chunk of the GPU's weights */

bool rf_fp8_is(const struct rf_tensor_view *t) { return t->type == RF_TYPE_FOREIGN_F8_E4M3; }

/* ---- geometry ---- */

/* r x c out of config.json; false if it says nothing. */
static bool declared(const struct rf_weights *w, uint64_t *r, uint64_t *c)
{
    static const char *const keys[] = {"quantization_config.weight_block_size", "quantization_config.config_groups.group_0.weights.block_structure"};
    for (size_t i = 0; i < RF_COUNT(keys); i++) {
        const struct rf_fact *f = rf_weights_fact(w, keys[i]);
        int64_t a, b;
        if (!f || f->kind != RF_FACT_ARRAY || f->n_items != 2 || !rf_fact_item_int(f, 0, &a) || !rf_fact_item_int(f, 1, &b) || a < 1 || b < 1) continue;
        *r = (uint64_t)a;
        *c = (uint64_t)b;
        return true;
    }
    return false;
}

static uint64_t ceil_div(uint64_t n, uint64_t by) { return n / by + (n % by != 0); }

static bool blocks_fit(const struct rf_fp8 *f, uint64_t R, uint64_t C, uint64_t r, uint64_t c) { return ceil_div(f->rows, r) == R && ceil_div(f->cols, c) == C; }

static bool lay_out(struct rf_fp8 *f, const struct rf_weights *w)
{
    const uint64_t *d = f->scale->dim;
    const bool spread = f->scale->n_dim == 4 && d[0] == 1 && d[2] == 1; /* ModelOpt's blocks: [R, 1, C, 1] */
    const uint64_t R = spread ? d[3] : d[1], C = spread ? d[1] : d[0];
    uint64_t r = 128, c = 128;
    f->block_rows = f->rows;
    f->block_cols = f->cols;
    f->scale_cols = 1;
    if (!spread && (d[2] != 1 || d[3] != 1)) return false;
    if (R == 1 && C == 1) return true;
    if ((f->scale->n_dim == 1 && C == f->rows) || (f->scale->n_dim > 1 && R == f->rows && C == 1)) {
        f->block_rows = 1;
        return true;
    }
    if (f->scale->n_dim == 1) return false;
    bool said = declared(w, &r, &c);
    if (!blocks_fit(f, R, C, r, c)) {
        if (said || f->rows % R || f->cols % C) return false;
        r = f->rows / R;
        c = f->cols / C;
    }
    f->block_rows = r;
    f->block_cols = c;
    f->scale_cols = C;
    return true;
}

static rf_status refuse_shape(const struct rf_fp8 *f, const struct rf_weights *w, struct rf_error *err)
{
    struct rf_quoted q;
    uint64_t r = 128, c = 128;
    declared(w, &r, &c);
    const uint64_t *d = f->scale->dim;
    char shape[64];
    if (f->scale->n_dim == 1) snprintf(shape, sizeof shape, "[%llu]", (unsigned long long)d[0]);
    else snprintf(shape, sizeof shape, "[%s%llu, %llu]", f->scale->n_dim > 2 ? ".., " : "", (unsigned long long)d[1], (unsigned long long)d[0]);
    return rf_fail(err, RF_CORRUPT, "%s: tensor \"%s\": shape %s for %llu x %llu weights, expected one scale, one for each row ([%llu, 1]) or one for each %llu x %llu block "
                   "([%llu, %llu])", rf_format_short(rf_weights_path(w)), rf_format_quote(&q, f->scale->name), shape, (unsigned long long)f->rows, (unsigned long long)f->cols,
                   (unsigned long long)f->rows, (unsigned long long)r, (unsigned long long)c, (unsigned long long)ceil_div(f->rows, r),
                   (unsigned long long)ceil_div(f->cols, c));
}

static const struct rf_tensor_view *find_scale(const struct rf_weights *w, const struct rf_tensor_view *t)
{
    static const char *const ends[] = {"_scale_inv", "_scale"};
    const struct rf_tensor_view *s = NULL;
    char name[320];
    for (size_t i = 0; i < RF_COUNT(ends) && !s && t->name.n < 256; i++) {
        snprintf(name, sizeof name, "%.*s%s", (int)t->name.n, t->name.s, ends[i]);
        s = rf_weights_find(w, name);
    }
    return s;
}

rf_status rf_fp8_find(struct rf_fp8 *f, const struct rf_weights *w, const struct rf_tensor_view *t, struct rf_error *err)
{
    struct rf_quoted q;
    *f = (struct rf_fp8){.q = t, .rows = t->dim[1], .cols = t->dim[0], .block_rows = t->dim[1], .block_cols = t->dim[0], .scale_cols = 1};
    if (t->dim[2] != 1 || t->dim[3] != 1)
        return rf_fail(err, RF_UNSUPPORTED, "%s: tensor \"%s\": F8_E4M3 of more than two dimensions", rf_format_short(rf_weights_path(w)), rf_format_quote(&q, t->name));
    for (unsigned b = 0; b < 256; b++) f->value[b] = rf_f8_to_f32((uint8_t)b);
    f->scale = find_scale(w, t);
    if (!f->scale && rf_weights_fact(w, "quantization_config.quant_method"))
        return rf_fail(err, RF_CORRUPT, "%s: tensor \"%s\": no scales beside it (%s_scale_inv or %s_scale), though config.json says that the model is quantized",
                       rf_format_short(rf_weights_path(w)), rf_format_quote(&q, t->name), q.s, q.s);
    if (f->scale && f->scale->type != RF_TYPE_F32 && f->scale->type != RF_TYPE_F16 && f->scale->type != RF_TYPE_BF16 && f->scale->type != RF_TYPE_FOREIGN_F8_E8M0)
        return rf_fail(err, RF_UNSUPPORTED, "%s: tensor \"%s\": scales of type %s, expected F32, F16, BF16 or F8_E8M0", rf_format_short(rf_weights_path(w)),
                       rf_format_quote(&q, f->scale->name), rf_weights_type_name(f->scale->type));
    if (f->scale && !lay_out(f, w)) return refuse_shape(f, w, err);
    bool runs = f->block_cols >= f->cols || f->block_cols % RUN == 0;
    f->type = runs && f->cols % 32 == 0 ? RF_TYPE_F8_E4M3 : RF_TYPE_BF16;
    return RF_OK;
}

/* ---- numbers ---- */

static float scale_at(const struct rf_fp8 *f, uint64_t i)
{
    const uint8_t *p = f->scale->data;
    float v;
    switch (f->scale->type) {
    case RF_TYPE_F32: memcpy(&v, p + 4 * i, 4); return v;
    case RF_TYPE_F16: return rf_f16_to_f32((uint16_t)(p[2 * i] | p[2 * i + 1] << 8));
    case RF_TYPE_BF16: return rf_bf16_to_f32((uint16_t)(p[2 * i] | p[2 * i + 1] << 8));
    default: return p[i] == 255 ? NAN : ldexpf(1.0f, p[i] - 127); /* F8_E8M0: an exponent alone (OCP Microscaling Formats, 5.4.1) */
    }
}

static float scale_of(const struct rf_fp8 *f, uint64_t row, uint64_t col)
{
    return f->scale ? scale_at(f, row / f->block_rows * f->scale_cols + col / f->block_cols) : 1.0f;
}

rf_status rf_fp8_check(const struct rf_fp8 *f, const struct rf_weights *w, struct rf_error *err)
{
    if (!f->scale) return RF_OK;
    struct rf_quoted q;
    uint64_t n = ceil_div(f->rows, f->block_rows) * f->scale_cols; /* no more than there are: lay_out */
    for (uint64_t i = 0; i < n; i++)
        if (!(fabsf(scale_at(f, i)) <= 0x1p64f))
            return rf_fail(err, RF_CORRUPT, "%s: tensor \"%s\": value %llu is %g, expected a number up to 2^64", rf_format_short(rf_weights_path(w)),
                           rf_format_quote(&q, f->scale->name), (unsigned long long)i, (double)scale_at(f, i));
    return RF_OK;
}

static bool has_nan(const uint8_t *q, uint64_t n)
{
    uint8_t bad = 0; /* rf_f8_is_nan, 16 and more at a time */
    for (uint64_t i = 0; i < n; i++) bad |= (uint8_t)((q[i] & 0x7f) + 1);
    return bad & 0x80;
}

static void packed_row(const struct rf_fp8 *f, uint64_t row, const uint8_t *q, uint8_t *dst)
{
    for (uint64_t k = 0; k < f->cols; k += RUN) {
        float d = scale_of(f, row, k);
        for (uint64_t i = k; i < RF_MIN(k + RUN, f->cols); i += 32, dst += 36) {
            memcpy(dst, &d, 4);
            memcpy(dst + 4, q + i, 32);
        }
    }
}

static void values(const struct rf_fp8 *f, uint64_t row, const uint8_t *q, uint64_t from, uint64_t n, float *dst)
{
    for (uint64_t k = from, end; k < from + n; k = end) { /* to where the next scale begins */
        float d = scale_of(f, row, k);
        uint64_t left = f->block_cols - k % f->block_cols;
        end = from + n - k <= left ? from + n : k + left;
        for (uint64_t i = k; i < end; i++) dst[i - from] = f->value[q[i]] * d;
    }
}

bool rf_fp8_rows(const struct rf_fp8 *f, uint64_t first, uint64_t n, void *dst, size_t stride)
{
    const uint8_t *q = f->q->data + first * f->cols;
    uint8_t *to = dst;
    bool nan = false;
    for (uint64_t r = 0; r < n; r++, q += f->cols, to += stride) {
        nan |= has_nan(q, f->cols);
        if (f->type == RF_TYPE_F8_E4M3) {
            packed_row(f, first + r, q, to);
            continue;
        }
        for (uint64_t k = 0; k < f->cols; k += RUN) {
            float part[RUN];
            uint64_t m = RF_MIN(f->cols - k, (uint64_t)RUN);
            values(f, first + r, q, k, m, part);
            rf_type_get(RF_TYPE_BF16)->encode(part, to + 2 * k, m);
        }
    }
    return !nan;
}

bool rf_fp8_values(const struct rf_fp8 *f, uint64_t row, float *dst)
{
    const uint8_t *q = f->q->data + row * f->cols;
    values(f, row, q, 0, f->cols, dst);
    return !has_nan(q, f->cols);
}
