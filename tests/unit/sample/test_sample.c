/* Sampling against a naive oracle that sorts everything in double, and the row passes against plain loops. */
#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"
#include "check.h"
#include "sample/row.h"
#include "sample/sample.h"

enum { MAX_V = 200000 };
static uint64_t seed;
static float logits[MAX_V], other[MAX_V];

static struct rf_sampling neutral(void)
{
    return (struct rf_sampling){.temperature = 1, .top_p = 1, .typical_p = 1, .repetition_penalty = 1, .max_tokens = -1,
                                .logprobs = -1, .prompt_logprobs = -1};
}

static void random_row(struct rf_rng *r, float *x, uint32_t n, double spread)
{
    for (uint32_t i = 0; i < n; i++) x[i] = (float)(rf_rng_normal(r) * spread);
}

/* ---- the oracle ---- */

struct tok { int id; double l, p, key; };
static struct tok toks[MAX_V];

static int by_logit(const void *a, const void *b)
{
    const struct tok *x = a, *y = b;
    return x->l != y->l ? (x->l < y->l ? 1 : -1) : x->id - y->id;
}
static int by_key(const void *a, const void *b)
{
    const struct tok *x = a, *y = b;
    return x->key != y->key ? (x->key > y->key ? 1 : -1) : x->id - y->id;
}
static void normalise(uint32_t n)
{
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) sum += toks[i].p;
    for (uint32_t i = 0; i < n; i++) toks[i].p /= sum;
}
static uint32_t until(uint32_t n, double mass)
{
    double sum = 0;
    for (uint32_t i = 0; i < n; i++)
        if ((sum += toks[i].p) >= mass) return i + 1;
    return n;
}

/* What may be drawn, in toks[0..), with probabilities. */
static uint32_t oracle(const float *x, uint32_t n, const struct rf_sampling *p)
{
    for (uint32_t i = 0; i < n; i++) toks[i] = (struct tok){.id = (int)i, .l = (double)x[i]};
    qsort(toks, n, sizeof *toks, by_logit);
    for (uint32_t i = n; i-- > 0;) toks[i].p = exp((toks[i].l - toks[0].l) / (double)p->temperature);
    if (p->top_k > 0 && (uint32_t)p->top_k < n) n = (uint32_t)p->top_k;
    normalise(n);
    if (p->top_p < 1) n = until(n, (double)p->top_p);
    normalise(n);
    if (p->min_p > 0) {
        uint32_t k = 0;
        while (k < n && toks[k].p >= (double)p->min_p * toks[0].p) k++;
        n = k;
    }
    normalise(n);
    if (p->typical_p < 1) {
        double h = 0;
        for (uint32_t i = 0; i < n; i++) h -= toks[i].p > 0 ? toks[i].p * log(toks[i].p) : 0;
        for (uint32_t i = 0; i < n; i++) toks[i].key = fabs(-log(toks[i].p) - h);
        qsort(toks, n, sizeof *toks, by_key);
        n = until(n, (double)p->typical_p);
        normalise(n);
    }
    return n;
}

static int32_t draw_one(struct rf_sampler *s, const float *x, const struct rf_sampling *p, uint64_t sd)
{
    struct rf_sample_in in = {.logits = x, .params = p, .seed = sd};
    int32_t t = -1;
    CHECK_INT(rf_sample(s, &in, &t, NULL), RF_OK);
    return t;
}

/* ---- tests ---- */

TEST(row_passes)
{
    struct rf_rng r = {seed};
    static const uint32_t sizes[] = {1, 2, 15, 16, 17, 31, 100, 1023, 1024, 1025, 5000};
    for (size_t k = 0; k < RF_COUNT(sizes); k++) {
        uint32_t n = sizes[k], best = 0;
        double sum = 0;
        random_row(&r, logits, n, 4);
        for (uint32_t i = 0; i < n; i += 3) logits[i] = floorf(logits[i]); /* ties */
        for (uint32_t i = 1; i < n; i++)
            if (logits[i] > logits[best]) best = i;
        CHECK_INT(rf_row_argmax(logits, n), best);
        double worst = 0, got = rf_row_exp(logits, n, logits[best], 0.7f, other);
        for (uint32_t i = 0; i < n; i++) {
            double want = exp((double)((logits[i] - logits[best]) * 0.7f));
            worst = fmax(worst, fabs((double)other[i] - want) / want);
            sum += want;
        }
        CHECK(worst < 3e-7);
        CHECK_NEAR(got, sum, 1e-6 * sum);
        uint64_t mass = 0, strips = 0;
        for (uint32_t i = 0; i < n; i++) mass += rf_choice_mass(other[i]);
        for (uint32_t i = 0; i < n; i += RF_ROW_STRIP) strips += rf_row_mass(other + i, RF_MIN(n - i, (uint32_t)RF_ROW_STRIP));
        CHECK(mass == strips && fabs((double)mass * 0x1p-40 - sum) < 1e-6 * sum);
        struct rf_row_best top[64];
        uint32_t n_top = rf_row_top(logits, n, 40, top);
        CHECK_INT(n_top, RF_MIN(n, 40u));
        struct rf_sampling p = neutral();
        oracle(logits, n, &p);
        for (uint32_t i = 0; i < n_top; i++) CHECK(top[i].i == toks[i].id && top[i].x == logits[top[i].i]);
        CHECK(rf_row_finite(logits, n));
        for (int bad = 0; bad < 3; bad++) {
            float keep = logits[n - 1];
            logits[n - 1] = bad == 0 ? NAN : bad == 1 ? INFINITY : -INFINITY;
            CHECK(!rf_row_finite(logits, n));
            logits[n - 1] = keep;
        }
    }
    logits[0] = -1000;
    CHECK(rf_row_exp(logits, 1, 0, 1, other) == 0.0);
}

TEST(filters_equal_the_oracle)
{
    struct rf_rng r = {seed + 1};
    static bool may[MAX_V], seen[MAX_V];
    for (int round = 0; round < 300 && !check_.bad; round++) {
        uint32_t n = 2 + rf_rng_below(&r, round % 10 ? 60 : 3000);
        struct rf_sampler *s;
        struct rf_sampling p = neutral();
        REQUIRE(!rf_sampler_create(&s, n, NULL));
        random_row(&r, logits, n, 1 + 4 * rf_rng_unit(&r));
        if (rf_rng_below(&r, 3) == 0)
            for (uint32_t i = 0; i < n; i++) logits[i] = roundf(logits[i]); /* many ties */
        p.temperature = (float)(0.1 + 1.9 * rf_rng_unit(&r));
        if (rf_rng_below(&r, 2)) p.top_k = (int32_t)rf_rng_below(&r, n + 4);
        if (rf_rng_below(&r, 2)) p.top_p = (float)rf_rng_unit(&r);
        if (rf_rng_below(&r, 3) == 0) p.min_p = (float)rf_rng_unit(&r) * 0.3f;
        if (rf_rng_below(&r, 3) == 0) p.typical_p = (float)rf_rng_unit(&r);
        memset(may, 0, n);
        memset(seen, 0, n);
        uint32_t m = oracle(logits, n, &p);
        for (uint32_t i = 0; i < m; i++) may[toks[i].id] = true;
        for (uint64_t sd = 0; sd < 600; sd++) {
            int32_t t = draw_one(s, logits, &p, sd);
            CHECK(t >= 0 && (uint32_t)t < n && may[t]);
            if (t >= 0) seen[t] = true;
        }
        for (uint32_t i = 0; i < m; i++)
            if (toks[i].p > 0.04) CHECK(seen[toks[i].id]); /* missing one has odds below 1e-10 */
        rf_sampler_free(s);
    }
}

TEST(frequencies)
{
    struct rf_rng r = {seed + 2};
    enum { N = 3000, DRAWS = 40000 };
    static uint32_t count[N];
    struct rf_sampler *s;
    REQUIRE(!rf_sampler_create(&s, N, NULL));
    random_row(&r, logits, N, 3);
    for (int mode = 0; mode < 4; mode++) {
        struct rf_sampling p = neutral();
        double chi = 0, n_big = 0;
        p.temperature = mode == 0 ? 1.0f : 0.6f;
        if (mode == 2) p.top_k = 30;
        if (mode == 3) p.top_p = 0.8f;
        uint32_t m = oracle(logits, N, &p);
        memset(count, 0, sizeof count);
        for (uint64_t i = 0; i < DRAWS; i++) count[draw_one(s, logits, &p, seed + i)]++;
        for (uint32_t i = 0; i < m; i++) {
            double want = toks[i].p * DRAWS;
            if (want < 20) continue;
            chi += (count[toks[i].id] - want) * (count[toks[i].id] - want) / want;
            n_big++;
        }
        CHECK(chi < n_big + 6 * sqrt(2 * n_big));
    }
    rf_sampler_free(s);
}

TEST(greedy_is_exact)
{
    struct rf_sampler *s;
    struct rf_sampling p = neutral();
    REQUIRE(!rf_sampler_create(&s, 100, NULL));
    p.temperature = 0;
    p.top_k = 1;
    for (int i = 0; i < 100; i++) logits[i] = 1;
    CHECK_INT(draw_one(s, logits, &p, 1), 0); /* the lowest id of equals */
    logits[50] = logits[70] = nextafterf(1, 2);
    CHECK_INT(draw_one(s, logits, &p, 1), 50);
    /* A temperature so small that nothing else has weight: the same. */
    p.temperature = 1e-20f;
    p.top_k = 0;
    logits[70] = 1;
    CHECK_INT(draw_one(s, logits, &p, 3), 50);
    rf_sampler_free(s);
}

TEST(penalties_bias_min_tokens)
{
    struct rf_sampler *s;
    struct rf_sampling p = neutral();
    const int32_t tok[] = {1, 2, 2, 3, 3, 3, 4};
    const int32_t ends[] = {9};
    const struct rf_logit_bias bias[] = {{7, 2.5f}, {8, -1}};
    struct rf_sample_in in = {
        .logits = logits, .params = &p, .token = tok, .n_prompt = 3, .n_token = 7, .ends = ends, .n_ends = 1};
    int32_t t;
    REQUIRE(!rf_sampler_create(&s, 10, NULL));
    p.temperature = 0;
    /* presence 1, frequency 0.5: token 3 (three times in the output) loses 2.5, token 4 loses 1.5, 2 (prompt only) none. */
    for (int i = 0; i < 10; i++) logits[i] = 0;
    logits[3] = 3.1f;
    logits[4] = 2.0f;
    logits[2] = 0.55f;
    p.presence_penalty = 1;
    p.frequency_penalty = 0.5f;
    CHECK(!rf_sample(s, &in, &t, NULL) && t == 3); /* 0.6 */
    logits[3] = 3.0f;                              /* 0.5 */
    CHECK(!rf_sample(s, &in, &t, NULL) && t == 2);
    p.presence_penalty = p.frequency_penalty = 0;
    /* repetition 2 over prompt and output, once per token */
    p.repetition_penalty = 2;
    CHECK(!rf_sample(s, &in, &t, NULL) && t == 3); /* 1.5 */
    logits[6] = 1.6f;
    CHECK(!rf_sample(s, &in, &t, NULL) && t == 6);
    for (int i = 0; i < 10; i++) logits[i] = -1;
    logits[1] = -0.6f; /* becomes -1.2 */
    CHECK(!rf_sample(s, &in, &t, NULL) && t == 0);
    p.repetition_penalty = 1;
    p.logit_bias = bias;
    p.n_logit_bias = 2;
    CHECK(!rf_sample(s, &in, &t, NULL) && t == 7);
    p.n_logit_bias = 0;
    logits[9] = 5;
    CHECK(!rf_sample(s, &in, &t, NULL) && t == 9);
    p.min_tokens = 5; /* four so far */
    CHECK(!rf_sample(s, &in, &t, NULL) && t == 1);
    p.min_tokens = 4;
    CHECK(!rf_sample(s, &in, &t, NULL) && t == 9);
    rf_sampler_free(s);
}

static void allow_only(void *ctx, float *x, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if ((int32_t)i != *(int32_t *)ctx) x[i] = -INFINITY;
}

TEST(processors_and_numeric)
{
    struct rf_sampler *s;
    struct rf_sampling p = neutral();
    struct rf_error err;
    int32_t only = 13, none = -5, t;
    struct rf_logit_processor proc = {allow_only, &only};
    struct rf_sample_in in = {.logits = logits, .params = &p, .processor = &proc, .n_processor = 1};
    REQUIRE(!rf_sampler_create(&s, 2000, NULL));
    memset(logits, 0, sizeof logits);
    for (int i = 0; i < 8; i++) { /* through every path of choose */
        p.temperature = i == 7 ? 0 : 1;
        p.top_k = i & 1 ? 5 : 0;
        p.top_p = i & 2 ? 0.9f : 1;
        p.typical_p = i & 4 ? 0.9f : 1;
        CHECK(!rf_sample(s, &in, &t, NULL) && t == 13);
        proc.ctx = &none;
        CHECK_INT(rf_sample(s, &in, &t, &err), RF_NUMERIC);
        proc.ctx = &only;
    }
    logits[1999] = NAN;
    CHECK_INT(rf_sample(s, &in, &t, &err), RF_NUMERIC);
    float lp;
    CHECK_INT(rf_sample_logprob(logits, 2000, 0, 0, &lp, NULL, &err), RF_NUMERIC);
    rf_sampler_free(s);
}

TEST(logprobs)
{
    struct rf_rng r = {seed + 3};
    struct rf_top_logprob top[5];
    float lp;
    random_row(&r, logits, 1000, 5);
    struct rf_sampling p = neutral();
    oracle(logits, 1000, &p);
    CHECK(!rf_sample_logprob(logits, 1000, 17, 5, &lp, top, NULL));
    for (int i = 0; i < 1000; i++)
        if (toks[i].id == 17) CHECK_NEAR(lp, log(toks[i].p), 1e-5);
    for (int i = 0; i < 5; i++) {
        CHECK_INT(top[i].token, toks[i].id);
        CHECK_NEAR(top[i].logprob, log(toks[i].p), 1e-5);
    }
}

TEST(seeds)
{
    struct rf_sampler *s, *s2;
    struct rf_sampling p = neutral();
    int differ = 0;
    REQUIRE(!rf_sampler_create(&s, 500, NULL) && !rf_sampler_create(&s2, 500, NULL));
    memset(logits, 0, sizeof logits);
    for (uint64_t i = 0; i < 100; i++) {
        int32_t a = draw_one(s, logits, &p, i);
        draw_one(s2, logits, &p, i + 1000); /* another row in between changes nothing */
        CHECK_INT(draw_one(s2, logits, &p, i), a);
        differ += a != draw_one(s, logits, &p, i + 1);
    }
    CHECK(differ > 90);
    rf_sampler_free(s);
    rf_sampler_free(s2);
}

TEST(ranges)
{
    struct rf_error err;
    const struct rf_logit_bias bad_token = {100, 1}, bad_bias = {1, NAN};
    const struct { const char *name; struct rf_sampling p;
    } bad[] = {
#define BAD(field, ...)                                                                                                \
    {                                                                                                                  \
#field, { .temperature = 1, .top_p = 1, .typical_p = 1, .repetition_penalty = 1, .field = __VA_ARGS__ }        \
    }
        BAD(min_p, -0.1f),
        BAD(min_p, NAN),
        BAD(presence_penalty, INFINITY),
        BAD(frequency_penalty, NAN),
        BAD(min_tokens, -1),
        BAD(logprobs, 5000),
        BAD(prompt_logprobs, -2),
        BAD(logit_bias, &bad_token, .n_logit_bias = 1),
        BAD(logit_bias, &bad_bias, .n_logit_bias = 1)};
    for (size_t i = 0; i < RF_COUNT(bad); i++) {
        CHECK_INT(rf_sampling_check(&bad[i].p, 100, &err), RF_INVALID);
        CHECK_STR(err.param, bad[i].name);
    }
    struct rf_sampling p = neutral();
    CHECK_INT(rf_sampling_check(&p, 100, &err), RF_OK);
    p.temperature = NAN;
    CHECK_INT(rf_sampling_check(&p, 100, &err), RF_INVALID);
    p.temperature = 1;
    p.repetition_penalty = 0;
    CHECK_INT(rf_sampling_check(&p, 100, &err), RF_INVALID);
}

TEST(speed)
{
    struct rf_rng r = {seed + 4};
    struct rf_sampler *s;
    static const struct { const char *name; float t, top_p, typical; int32_t k; } mode[] = {
        {"greedy", 0, 1, 1, 0}, {"plain", 1, 1, 1, 0}, {"top_k 40", 1, 1, 1, 40}, {"top_p 0.95", 1, 0.95f, 1, 0},
        {"top_k 20 top_p 0.8", 0.7f, 0.8f, 1, 20}, {"typical 0.9", 1, 1, 0.9f, 0}};
    REQUIRE(!rf_sampler_create(&s, 152000, NULL));
    random_row(&r, logits, 152000, 3);
    uint64_t allocs = rf_mem_count();
    for (size_t i = 0; i < RF_COUNT(mode); i++) {
        struct rf_sampling p = neutral();
        p.temperature = mode[i].t;
        p.top_p = mode[i].top_p;
        p.typical_p = mode[i].typical;
        p.top_k = mode[i].k;
        double best = 1e9;
        for (uint64_t k = 0; k < 10; k++) {
            double t0 = rf_now();
            draw_one(s, logits, &p, k);
            best = fmin(best, rf_now() - t0);
        }
        printf("# %-20s %7.1f us per row of 152000\n", mode[i].name, 1e6 * best);
    }
    CHECK_INT(rf_mem_count(), allocs);
    rf_sampler_free(s);
}

int main(void)
{
    seed = check_seed();
    RUN(row_passes);
    RUN(filters_equal_the_oracle);
    RUN(frequencies);
    RUN(greedy_is_exact);
    RUN(penalties_bias_min_tokens);
    RUN(processors_and_numeric);
    RUN(logprobs);
    RUN(seeds);
    RUN(ranges);
    RUN(speed);
    return check_end();
}
