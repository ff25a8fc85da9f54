#include "sample/sample.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "sample/row.h"

struct cand { float key; int32_t id; float w; }; /* smaller key is preferred, then smaller id; w is its weight */

enum { SPARE_EDITS = 65536 };

struct rf_sampler {
    uint32_t n_vocab, n_edit, cap_edit;
    float *work;              /* [n_vocab] changed logits */
    float *w;                 /* [n_vocab] weights */
    uint32_t *place;          /* [n_vocab] a token's edit, counted from 1; kept zero between calls */
    struct rf_choice_edit *edit; /* [cap_edit] */
    struct cand *cand;        /* [n_vocab] */
    struct rf_row_best *best; /* [n_vocab] */
    uint64_t *strip;          /* [n_vocab / RF_ROW_STRIP + 1] sums of weights */
    uint64_t *kept;           /* [n_vocab / 64 + 1] bits; kept zero between calls */
};

rf_status rf_sampler_create(struct rf_sampler **out, uint32_t n_vocab, struct rf_error *err)
{
    *out = NULL;
    struct rf_sampler *s = rf_alloc_array(1, sizeof *s);
    if (!s) return rf_fail_nomem(err, "sampler", sizeof *s);
    s->n_vocab = n_vocab;
    s->cap_edit = n_vocab + SPARE_EDITS;
    s->work = rf_alloc_array(n_vocab, sizeof *s->work);
    s->w = rf_alloc_array(n_vocab, sizeof *s->w);
    s->place = rf_alloc_array(n_vocab, sizeof *s->place);
    s->edit = rf_alloc_array(s->cap_edit, sizeof *s->edit);
    s->cand = rf_alloc_array(n_vocab, sizeof *s->cand);
    s->best = rf_alloc_array(n_vocab, sizeof *s->best);
    s->strip = rf_alloc_array(n_vocab / RF_ROW_STRIP + 1, sizeof *s->strip);
    s->kept = rf_alloc_array(n_vocab / 64 + 1, sizeof *s->kept);
    if (!s->work || !s->w || !s->place || !s->edit || !s->cand || !s->best || !s->strip || !s->kept) {
        rf_sampler_free(s);
        return rf_fail_nomem(err, "sampler", n_vocab * sizeof *s->cand);
    }
    *out = s;
    return RF_OK;
}

void rf_sampler_free(struct rf_sampler *s)
{
    if (!s) return;
    void *part[] = {s->work, s->w, s->place, s->edit, s->cand, s->best, s->strip, s->kept};
    for (size_t i = 0; i < RF_COUNT(part); i++) rf_free(part[i]);
    rf_free(s);
}

void rf_sampler_rewind(struct rf_sampler *s) { s->n_edit = 0; }

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

/* ---- what changes single logits ---- */

/* The edit of a token among those behind `first`, made where there is none; NULL: full. */
static struct rf_choice_edit *edit_of(struct rf_sampler *s, uint32_t first, int32_t token)
{
    uint32_t at = s->place[token];
    if (at) return &s->edit[first + at - 1];
    if (s->n_edit == s->cap_edit) return NULL;
    struct rf_choice_edit *e = &s->edit[s->n_edit++];
    *e = (struct rf_choice_edit){.token = token, .divide = 1};
    s->place[token] = s->n_edit - first;
    return e;
}

/* minus holds the count of a token in the output until all are counted: exact up to 2^24. */
static bool penalise(struct rf_sampler *s, const struct rf_sample_in *in, uint32_t first)
{
    const struct rf_sampling *p = in->params;
    struct rf_choice_edit *e;
    if (p->repetition_penalty != 1.0f)
        for (uint32_t i = 0; i < in->n_token; i++) {
            if (!(e = edit_of(s, first, in->token[i]))) return false;
            e->divide = p->repetition_penalty;
        }
    if (p->presence_penalty == 0 && p->frequency_penalty == 0) return true;
    for (uint32_t i = in->n_prompt; i < in->n_token; i++) {
        if (!(e = edit_of(s, first, in->token[i]))) return false;
        e->minus++;
    }
    for (uint32_t i = first; i < s->n_edit; i++)
        if (s->edit[i].minus > 0) s->edit[i].minus = s->edit[i].minus * p->frequency_penalty + p->presence_penalty;
    return true;
}

bool rf_sampling_reads_text(const struct rf_sampling *p)
{
    return p->repetition_penalty != 1.0f || p->presence_penalty != 0 || p->frequency_penalty != 0;
}

static bool list_edits(struct rf_sampler *s, const struct rf_sample_in *in, uint32_t first)
{
    const struct rf_sampling *p = in->params;
    bool too_short = p->min_tokens > 0 && in->n_token - in->n_prompt < (uint32_t)p->min_tokens;
    struct rf_choice_edit *e;
    for (size_t i = 0; i < p->n_logit_bias; i++) {
        if (!(e = edit_of(s, first, p->logit_bias[i].token))) return false;
        e->add += p->logit_bias[i].bias;
    }
    if (rf_sampling_reads_text(p) && !penalise(s, in, first)) return false;
    for (size_t i = 0; too_short && i < in->n_ends; i++) {
        if (!(e = edit_of(s, first, in->ends[i]))) return false;
        e->minus = INFINITY;
    }
    return true;
}

/* Appends the row's edits; false: no room, and none are there. */
static bool add_edits(struct rf_sampler *s, const struct rf_sample_in *in, uint32_t first)
{
    bool whole = list_edits(s, in, first);
    for (uint32_t i = first; i < s->n_edit; i++) s->place[s->edit[i].token] = 0;
    if (!whole) s->n_edit = first;
    return whole;
}

/* The row after everything that changes single logits; the raw row itself where nothing does. */
static const float *adjust(struct rf_sampler *s, const struct rf_sample_in *in)
{
    rf_sampler_rewind(s);
    add_edits(s, in, 0); /* has room: a row has at most n_vocab */
    if (!s->n_edit && !in->n_processor) return in->logits;
    memcpy(s->work, in->logits, s->n_vocab * sizeof *s->work);
    for (uint32_t i = 0; i < s->n_edit; i++) {
        const struct rf_choice_edit *e = &s->edit[i];
        float x = s->work[e->token] + e->add;
        if (e->divide != 1.0f) x = x > 0 ? x / e->divide : x * e->divide;
        s->work[e->token] = RF_MIN(x, FLT_MAX) - e->minus;
    }
    for (size_t i = 0; i < in->n_processor; i++) in->processor[i].apply(in->processor[i].ctx, s->work, s->n_vocab);
    return s->work;
}

/* Counter-based: the random bits for output token `i` of a request. */
static uint64_t draw(uint64_t seed, uint64_t i)
{
    struct rf_rng r = {seed};
    r.state = rf_rng_u64(&r) ^ (i * UINT64_C(0xd1342543de82ef95) + 1);
    return rf_rng_u64(&r);
}

static struct rf_choice choice_of(const struct rf_sample_in *in, uint32_t n_vocab)
{
    const struct rf_sampling *p = in->params;
    if (p->temperature <= 0) return (struct rf_choice){.by = RF_CHOICE_BEST};
    return (struct rf_choice){.by = RF_CHOICE_DRAW,
                              .scale = 1.0f / RF_MAX(p->temperature, 1e-30f),
                              .top_k = p->top_k > 0 && (uint32_t)p->top_k < n_vocab ? (uint32_t)p->top_k : 0,
                              .min_p = p->min_p,
                              .top_p = p->top_p < 1 ? (uint64_t)((double)p->top_p * 0x1p64) : RF_CHOICE_ALL,
                              .draw = draw(in->seed, in->n_token - in->n_prompt)};
}

void rf_sample_choice(struct rf_sampler *s, const struct rf_sample_in *in, struct rf_choice *out)
{
    const struct rf_sampling *p = in->params;
    uint32_t first = s->n_edit;
    *out = (struct rf_choice){.by = RF_CHOICE_NONE};
    bool typical = p->temperature > 0 && p->typical_p < 1;
    if (typical || in->n_processor || p->logprobs > RF_CHOICE_TOP || !add_edits(s, in, first)) return;
    *out = choice_of(in, s->n_vocab);
    out->n_top = p->logprobs;
    out->edit = s->edit + first;
    out->n_edit = s->n_edit - first;
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
static uint32_t take_mass(struct cand *c, uint32_t n, uint64_t mass)
{
    uint32_t from = 0, to = n;
    while (to - from > 1) {
        struct cand pivot = median(c + from, to - from);
        uint32_t mid = from;
        uint64_t sum = 0;
        for (uint32_t i = from; i < to; i++)
            if (preferred(c[i], pivot)) {
                sum += rf_choice_mass(c[i].w);
                swap(&c[i], &c[mid++]);
            }
        if (mid > from && sum >= mass) {
            to = mid;
            continue;
        }
        /* The pivot itself is the next of them. */
        for (uint32_t i = mid; i < to; i++)
            if (c[i].id == pivot.id) swap(&c[i], &c[mid]);
        sum += rf_choice_mass(pivot.w);
        if (sum >= mass) return mid + 1;
        mass -= sum;
        from = mid + 1;
    }
    return RF_MIN(from + 1, n);
}

static uint64_t mass_of(const struct cand *c, uint32_t n)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < n; i++) sum += rf_choice_mass(c[i].w);
    return sum;
}

static uint32_t keep_typical(struct cand *c, uint32_t n, float typical_p)
{
    uint64_t mass = mass_of(c, n);
    double total = (double)mass * 0x1p-40, entropy = 0;
    for (uint32_t i = 0; i < n; i++)
        if (c[i].w > 0) entropy -= (double)c[i].w / total * log((double)c[i].w / total);
    for (uint32_t i = 0; i < n; i++)
        c[i].key = c[i].w > 0 ? (float)fabs(-log((double)c[i].w / total) - entropy) : INFINITY;
    return take_mass(c, n, RF_MAX((uint64_t)((double)typical_p * (double)mass), UINT64_C(1)));
}

/* The k largest as candidates, weights with temperature. */
static uint32_t from_top_k(struct rf_sampler *s, const float *x, uint32_t k, float scale)
{
    uint32_t n = rf_row_top(x, s->n_vocab, k, s->best);
    for (uint32_t i = 0; i < n; i++) s->work[i] = s->best[i].x; /* x may be work: it is done with */
    float max = s->work[0];
    rf_row_exp(s->work, n, max, scale, s->w);
    for (uint32_t i = 0; i < n; i++) s->cand[i] = (struct cand){-s->best[i].x, s->best[i].i, s->w[i]};
    return n;
}

static uint32_t gather(struct rf_sampler *s, const float *x, float at_least)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->n_vocab; i++)
        if (s->w[i] >= at_least) s->cand[n++] = (struct cand){-x[i], (int32_t)i, s->w[i]};
    return n;
}

/* A draw from candidates, by rising id. */
static int32_t pick(struct rf_sampler *s, const struct cand *c, uint32_t n, uint64_t bits)
{
    uint64_t at = rf_choice_part(bits, mass_of(c, n));
    uint32_t words = s->n_vocab / 64 + 1;
    int32_t found = -1;
    for (uint32_t i = 0; i < n; i++) {
        s->w[c[i].id] = c[i].w;
        s->kept[c[i].id / 64] |= UINT64_C(1) << c[i].id % 64;
    }
    for (uint32_t k = 0; k < words; k++) {
        for (uint64_t b = s->kept[k]; b && found < 0; b &= b - 1) {
            uint32_t id = k * 64 + (uint32_t)__builtin_ctzll(b);
            uint64_t m = rf_choice_mass(s->w[id]);
            if (m > at) found = (int32_t)id;
            else at -= m;
        }
        s->kept[k] = 0;
    }
    return found;
}

/* A draw from the whole row: strips of weights first, then one strip. */
static int32_t pick_any(struct rf_sampler *s, uint64_t total, uint64_t bits)
{
    uint64_t at = rf_choice_part(bits, total);
    uint32_t j = 0;
    for (; at >= s->strip[j]; j++) at -= s->strip[j];
    for (uint32_t i = j * RF_ROW_STRIP;; i++) {
        uint64_t m = rf_choice_mass(s->w[i]);
        if (m > at) return (int32_t)i;
        at -= m;
    }
}

static uint64_t weigh_strips(struct rf_sampler *s)
{
    uint64_t total = 0;
    for (uint32_t from = 0; from < s->n_vocab; from += RF_ROW_STRIP) {
        uint64_t sum = rf_row_mass(s->w + from, RF_MIN(s->n_vocab - from, (uint32_t)RF_ROW_STRIP));
        s->strip[from / RF_ROW_STRIP] = sum;
        total += sum;
    }
    return total;
}

static int32_t choose(struct rf_sampler *s, const float *x, float max, const struct rf_choice *c, float typical_p)
{
    uint32_t n, n_vocab = s->n_vocab;
    uint64_t total;
    if (c->top_k) {
        n = from_top_k(s, x, c->top_k, c->scale);
        total = mass_of(s->cand, n);
    } else {
        rf_row_exp(x, n_vocab, max, c->scale, s->w);
        total = weigh_strips(s);
        if (c->top_p == RF_CHOICE_ALL && c->min_p <= 0 && typical_p >= 1) return pick_any(s, total, c->draw);
        /* All weights below this together are less than what top_p leaves out: none of them is in the nucleus. */
        double below = (double)~c->top_p * 0x1p-64 * (double)total * 0x1p-40 / n_vocab * 0.99;
        n = gather(s, x, RF_MAX((float)below, c->min_p));
    }
    if (c->top_p != RF_CHOICE_ALL) n = take_mass(s->cand, n, RF_MAX(rf_choice_part(c->top_p, total), UINT64_C(1)));
    if (c->min_p > 0) {
        uint32_t kept = 0;
        for (uint32_t i = 0; i < n; i++)
            if (s->cand[i].w >= c->min_p) s->cand[kept++] = s->cand[i]; /* the best one weighs 1 */
        n = kept;
    }
    if (typical_p < 1) n = keep_typical(s->cand, n, typical_p);
    return pick(s, s->cand, n, c->draw);
}

static rf_status bad_row(uint32_t n_new, struct rf_error *err)
{
    return rf_fail(err, RF_NUMERIC, "logits of output token %u: found NaN or Inf, expected finite numbers", n_new);
}

static rf_status none_left(uint32_t n_new, struct rf_error *err)
{
    return rf_fail(err, RF_NUMERIC, "output token %u: every token is forbidden, expected one to choose", n_new);
}

rf_status rf_sample(struct rf_sampler *s, const struct rf_sample_in *in, int32_t *token, struct rf_error *err)
{
    uint32_t n_new = in->n_token - in->n_prompt;
    if (!rf_row_finite(in->logits, s->n_vocab)) return bad_row(n_new, err);
    const float *x = adjust(s, in);
    struct rf_choice c = choice_of(in, s->n_vocab);
    uint32_t best = c.by == RF_CHOICE_BEST ? rf_row_argmax(x, s->n_vocab) : 0;
    float max = c.by == RF_CHOICE_BEST ? x[best] : rf_row_max(x, s->n_vocab);
    if (!(max > -INFINITY)) return none_left(n_new, err);
    *token = c.by == RF_CHOICE_BEST ? (int32_t)best : choose(s, x, max, &c, in->params->typical_p);
    return RF_OK;
}

rf_status rf_sample_chosen(const struct rf_chosen *c, uint32_t n_new, int32_t *token, struct rf_error *err)
{
    if (c->state == RF_CHOSEN_NAN) return bad_row(n_new, err);
    if (c->state == RF_CHOSEN_FORBIDDEN) return none_left(n_new, err);
    *token = c->token;
    return RF_OK;
}

void rf_sample_chosen_logprob(const struct rf_chosen *c, const struct rf_chosen_top *list, uint32_t n_top, float *logprob,
                              struct rf_top_logprob *top)
{
    double all = (double)c->max + log((double)c->sum);
    *logprob = (float)((double)c->logit - all);
    for (uint32_t i = 0; i < n_top; i++) top[i] = (struct rf_top_logprob){list[i].token, (float)((double)list[i].logit - all)};
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
