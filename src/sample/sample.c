#include "sample/sample.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "sample/row.h"

struct cand { float key; int32_t id; float w; }; /* smaller key is preferred, then smaller id; w is its weight */

struct rf_sampler {
    uint32_t n_vocab;
    float *work;              /* [n_vocab] changed logits */
    float *w;                 /* [n_vocab] weights */
    uint32_t *count;          /* [n_vocab] times in the output; kept zero between calls */
    struct cand *cand;        /* [n_vocab] */
    struct rf_row_best *best; /* [n_vocab] */
    double *strip;            /* [n_vocab / RF_ROW_STRIP + 1] */
};

rf_status rf_sampler_create(struct rf_sampler **out, uint32_t n_vocab, struct rf_error *err)
{
    *out = NULL;
    struct rf_sampler *s = rf_alloc_array(1, sizeof *s);
    if (!s) return rf_fail_nomem(err, "sampler", sizeof *s);
    s->n_vocab = n_vocab;
    s->work = rf_alloc_array(n_vocab, sizeof *s->work);
    s->w = rf_alloc_array(n_vocab, sizeof *s->w);
    s->count = rf_alloc_array(n_vocab, sizeof *s->count);
    s->cand = rf_alloc_array(n_vocab, sizeof *s->cand);
    s->best = rf_alloc_array(n_vocab, sizeof *s->best);
    s->strip = rf_alloc_array(n_vocab / RF_ROW_STRIP + 1, sizeof *s->strip);
    if (!s->work || !s->w || !s->count || !s->cand || !s->best || !s->strip) {
        rf_sampler_free(s);
        return rf_fail_nomem(err, "sampler", n_vocab * sizeof *s->cand);
    }
    *out = s;
    return RF_OK;
}

void rf_sampler_free(struct rf_sampler *s)
{
    if (!s) return;
    void *part[] = {s->work, s->w, s->count, s->cand, s->best, s->strip};
    for (size_t i = 0; i < RF_COUNT(part); i++) rf_free(part[i]);
    rf_free(s);
}

rf_status rf_sampling_check(const struct rf_sampling *p, uint32_t n_vocab, struct rf_error *err)
{
    const struct { const char *name; double value, min, max; } range[] = {
        {"temperature", p->temperature, 0, 100},
        {"top_p", p->top_p, 0, 1},
        {"min_p", p->min_p, 0, 1},
        {"typical_p", p->typical_p, 0, 1},
        {"repetition_penalty", p->repetition_penalty, 0.001, 1000},
        {"presence_penalty", p->presence_penalty, -100, 100},
        {"frequency_penalty", p->frequency_penalty, -100, 100},
        {"min_tokens", p->min_tokens, 0, INT32_MAX},
        {"logprobs", p->logprobs, -1, RF_SAMPLE_MAX_TOP},
        {"prompt_logprobs", p->prompt_logprobs, -1, RF_SAMPLE_MAX_TOP},
    };
    for (size_t i = 0; i < RF_COUNT(range); i++)
        if (!(range[i].value >= range[i].min && range[i].value <= range[i].max))
            return rf_fail_param(err, RF_INVALID, range[i].name, "%s: found %g, expected %g to %g", range[i].name,
                                 range[i].value, range[i].min, range[i].max);
    for (size_t i = 0; i < p->n_logit_bias; i++) {
        const struct rf_logit_bias *b = &p->logit_bias[i];
        if (b->token < 0 || (uint32_t)b->token >= n_vocab)
            return rf_fail_param(err, RF_INVALID, "logit_bias", "logit_bias: found token %d, expected 0 to %u",
                                 b->token, n_vocab - 1);
        if (!(fabsf(b->bias) <= 1e6f))
            return rf_fail_param(err, RF_INVALID, "logit_bias",
                                 "logit_bias of token %d: found %g, expected -1e6 to 1e6", b->token, (double)b->bias);
    }
    return RF_OK;
}

static void penalise(struct rf_sampler *s, const struct rf_sample_in *in)
{
    const struct rf_sampling *p = in->params;
    for (uint32_t i = in->n_prompt; i < in->n_token; i++) s->count[in->token[i]]++;
    /* The high bit marks a token as dealt with. */
    for (uint32_t i = 0; i < in->n_token; i++) {
        int32_t t = in->token[i];
        uint32_t c = s->count[t];
        if (c >> 31) continue;
        s->count[t] = c | UINT32_C(1) << 31;
        float *x = &s->work[t];
        if (p->repetition_penalty != 1.0f) *x = *x > 0 ? *x / p->repetition_penalty : *x * p->repetition_penalty;
        if (c) *x -= (float)c * p->frequency_penalty + p->presence_penalty;
    }
    for (uint32_t i = 0; i < in->n_token; i++) s->count[in->token[i]] = 0;
}

/* The row after everything that changes single logits; the raw row itself where nothing does. */
static const float *adjust(struct rf_sampler *s, const struct rf_sample_in *in)
{
    const struct rf_sampling *p = in->params;
    bool penalties = p->repetition_penalty != 1.0f || p->presence_penalty != 0 || p->frequency_penalty != 0;
    bool too_short = p->min_tokens > 0 && in->n_token - in->n_prompt < (uint32_t)p->min_tokens && in->n_ends;
    if (!p->n_logit_bias && !penalties && !too_short && !in->n_processor) return in->logits;
    memcpy(s->work, in->logits, s->n_vocab * sizeof *s->work);
    for (size_t i = 0; i < p->n_logit_bias; i++) s->work[p->logit_bias[i].token] += p->logit_bias[i].bias;
    if (penalties) penalise(s, in);
    for (size_t i = 0; too_short && i < in->n_ends; i++) s->work[in->ends[i]] = -INFINITY;
    for (size_t i = 0; i < in->n_processor; i++) in->processor[i].apply(in->processor[i].ctx, s->work, s->n_vocab);
    return s->work;
}

/* Counter-based: the draw for output token `i` of a request. */
static double draw(uint64_t seed, uint64_t i)
{
    struct rf_rng r = {seed};
    r.state = rf_rng_u64(&r) ^ (i * UINT64_C(0xd1342543de82ef95) + 1);
    return rf_rng_unit(&r);
}

/* ---- a set of candidates ---- */

static bool preferred(struct cand a, struct cand b) { return a.key != b.key ? a.key < b.key : a.id < b.id; }

static void swap(struct cand *a, struct cand *b)
{
    struct cand t = *a;
    *a = *b;
    *b = t;
}

static struct cand median(const struct cand *c, uint32_t n)
{
    struct cand x = c[0], y = c[n / 2], z = c[n - 1];
    if (preferred(y, x)) swap(&x, &y);
    if (preferred(z, y)) y = preferred(z, x) ? x : z;
    return y;
}

/* Moves the smallest set of most preferred candidates whose weights reach `mass` to the front and returns its size
 * (at least 1). Weighted quickselect: linear on average. */
static uint32_t take_mass(struct cand *c, uint32_t n, double mass)
{
    uint32_t from = 0, to = n;
    while (to - from > 1) {
        struct cand pivot = median(c + from, to - from);
        uint32_t mid = from;
        double sum = 0;
        for (uint32_t i = from; i < to; i++)
            if (preferred(c[i], pivot)) {
                sum += (double)c[i].w;
                swap(&c[i], &c[mid++]);
            }
        if (mid > from && sum >= mass) {
            to = mid;
            continue;
        }
        /* The pivot itself is the next of them. */
        for (uint32_t i = mid; i < to; i++)
            if (c[i].id == pivot.id) swap(&c[i], &c[mid]);
        sum += (double)pivot.w;
        if (sum >= mass) return mid + 1;
        mass -= sum;
        from = mid + 1;
    }
    return RF_MIN(from + 1, n);
}

static double weight_of(const struct cand *c, uint32_t n)
{
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) sum += (double)c[i].w;
    return sum;
}

static uint32_t keep_typical(struct cand *c, uint32_t n, float typical_p)
{
    double total = weight_of(c, n), entropy = 0;
    for (uint32_t i = 0; i < n; i++)
        if (c[i].w > 0) entropy -= (double)c[i].w / total * log((double)c[i].w / total);
    for (uint32_t i = 0; i < n; i++)
        c[i].key = c[i].w > 0 ? (float)fabs(-log((double)c[i].w / total) - entropy) : INFINITY;
    return take_mass(c, n, (double)typical_p * total);
}

/* The k largest as candidates, weights with temperature. */
static uint32_t from_top_k(struct rf_sampler *s, const float *x, uint32_t k, float scale)
{
    uint32_t n = rf_row_top(x, s->n_vocab, k, s->best);
    for (uint32_t i = 0; i < n; i++)
        s->cand[i] = (struct cand){-s->best[i].x, s->best[i].i, expf((s->best[i].x - s->best[0].x) * scale)};
    return n;
}

static uint32_t gather(struct rf_sampler *s, const float *x, float at_least)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->n_vocab; i++)
        if (s->w[i] >= at_least) s->cand[n++] = (struct cand){-x[i], (int32_t)i, s->w[i]};
    return n;
}

static int32_t pick(const struct cand *c, uint32_t n, double u)
{
    double at = u * weight_of(c, n), sum = 0;
    int32_t last = c[0].id;
    for (uint32_t i = 0; i < n; i++) {
        if (!(c[i].w > 0)) continue;
        sum += (double)c[i].w;
        last = c[i].id;
        if (sum > at) break;
    }
    return last;
}

/* A draw from the whole row: strips of weights first, then one strip. */
static int32_t pick_any(const struct rf_sampler *s, double total, double u)
{
    double at = u * total;
    uint32_t j = 0, n_strip = (s->n_vocab + RF_ROW_STRIP - 1) / RF_ROW_STRIP, last = 0;
    for (; j + 1 < n_strip && at >= s->strip[j]; j++) at -= s->strip[j];
    for (uint32_t i = j * RF_ROW_STRIP; i < s->n_vocab; i++) {
        if (!(s->w[i] > 0)) continue;
        last = i;
        if ((at -= (double)s->w[i]) < 0) return (int32_t)i;
    }
    while (!last && j-- > 0) /* rounding at the very end */
        for (uint32_t i = j * RF_ROW_STRIP; i < (j + 1) * RF_ROW_STRIP; i++)
            if (s->w[i] > 0) last = i;
    return (int32_t)last;
}

static int32_t choose(struct rf_sampler *s, const float *x, float max, const struct rf_sampling *p, double u)
{
    uint32_t n, n_vocab = s->n_vocab;
    bool top_k = p->top_k > 0 && (uint32_t)p->top_k < n_vocab;
    float scale = 1.0f / RF_MAX(p->temperature, 1e-30f);
    double total;
    if (top_k) {
        n = from_top_k(s, x, (uint32_t)p->top_k, scale);
        total = weight_of(s->cand, n);
    } else {
        total = rf_row_exp(x, n_vocab, max, scale, s->w, s->strip);
        if (p->top_p >= 1 && p->min_p <= 0 && p->typical_p >= 1) return pick_any(s, total, u);
        /* All weights below this together are less than 1 - top_p: none of them is in the nucleus. */
        double below = p->top_p < 1 ? (1.0 - (double)p->top_p) * total / n_vocab * 0.99 : 0;
        n = gather(s, x, RF_MAX((float)below, p->min_p));
    }
    if (p->top_p < 1) n = take_mass(s->cand, n, (double)p->top_p * total);
    if (p->min_p > 0) {
        uint32_t kept = 0;
        for (uint32_t i = 0; i < n; i++)
            if (s->cand[i].w >= p->min_p) s->cand[kept++] = s->cand[i]; /* the best one weighs 1 */
        n = kept;
    }
    if (p->typical_p < 1) n = keep_typical(s->cand, n, p->typical_p);
    return pick(s->cand, n, u);
}

rf_status rf_sample(struct rf_sampler *s, const struct rf_sample_in *in, int32_t *token, struct rf_error *err)
{
    if (!rf_row_finite(in->logits, s->n_vocab))
        return rf_fail(err, RF_NUMERIC, "logits of output token %u: found NaN or Inf, expected finite numbers",
                       in->n_token - in->n_prompt);
    const float *x = adjust(s, in);
    if (in->params->temperature <= 0) {
        *token = (int32_t)rf_row_argmax(x, s->n_vocab);
        if (x[*token] > -INFINITY) return RF_OK;
    } else {
        float max = rf_row_max(x, s->n_vocab);
        if (max > -INFINITY) {
            *token = choose(s, x, max, in->params, draw(in->seed, in->n_token - in->n_prompt));
            return RF_OK;
        }
    }
    return rf_fail(err, RF_NUMERIC, "output token %u: every token is forbidden, expected one to choose",
                   in->n_token - in->n_prompt);
}

rf_status rf_sample_logprob(const float *logits, uint32_t n_vocab, int32_t token, uint32_t n_top, float *logprob,
                            struct rf_top_logprob *top, struct rf_error *err)
{
    struct rf_row_best best[RF_SAMPLE_MAX_TOP];
    if (!rf_row_finite(logits, n_vocab))
        return rf_fail(err, RF_NUMERIC, "logits: found NaN or Inf, expected finite numbers");
    double all = rf_row_logsumexp(logits, n_vocab);
    *logprob = (float)((double)logits[token] - all);
    n_top = n_top ? rf_row_top(logits, n_vocab, n_top, best) : 0;
    for (uint32_t i = 0; i < n_top; i++) top[i] = (struct rf_top_logprob){best[i].i, (float)((double)best[i].x - all)};
    return RF_OK;
}
