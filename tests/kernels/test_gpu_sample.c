/* Tokens chosen on a GPU against the host's sampler, on the device that RF_TEST_DEVICE names (cuda:0 by default; in CI the emulator).
 *
 * Both get the same logits, so they must choose the same token, always: weights are whole numbers (base/choice.h). Logprobs within 2e-5.
 * RF_TEST_ROUNDS=n: that many rounds of random rows (60 by default, 8 under RF_TEST_QUICK; 8 rows each).
 */
#include <stdlib.h>

#include "gpu_help.h"
#include "sample/sample.h"

enum { MAX_V = 140000, ROWS = 8, HISTORY = 60 };

static uint64_t seed;
static const char *device;
static struct rf_backend *gpu;
static float logits[ROWS][MAX_V];

struct row { struct rf_sampling p; struct rf_sample_in in; int32_t token[HISTORY], ends[2]; struct rf_logit_bias bias[5]; };
static struct row rows[ROWS];

static void random_logits(struct rf_rng *r, float *x, uint32_t n)
{
    static const double spreads[] = {0, 0.02, 1, 3, 8, 200};
    double spread = spreads[rf_rng_below(r, RF_COUNT(spreads))];
    uint32_t shape = rf_rng_below(r, 5);
    for (uint32_t i = 0; i < n; i++) {
        x[i] = (float)(rf_rng_normal(r) * spread);
        if (shape == 0) x[i] = roundf(x[i]); /* many ties, both zeros */
        if (shape == 1 && i % 7 == 0) x[i] = -x[i / 2];
    }
    if (shape == 2) x[rf_rng_below(r, n)] = 30; /* sure of one */
}

static void random_params(struct rf_rng *r, struct row *q, uint32_t n)
{
    struct rf_sampling *p = &q->p;
    uint32_t n_token = rf_rng_below(r, HISTORY) + 1, n_prompt = rf_rng_below(r, n_token + 1);
    *p = (struct rf_sampling){.temperature = rf_rng_below(r, 6) ? (float)(0.05 + 2 * rf_rng_unit(r)) : 0, .top_p = 1, .typical_p = 1, .repetition_penalty = 1,
                              .logprobs = -1};
    if (rf_rng_below(r, 20) == 0) p->temperature = rf_rng_below(r, 2) ? 100 : 1e-20f;
    if (rf_rng_below(r, 2)) p->top_k = (int32_t)rf_rng_below(r, rf_rng_below(r, 2) ? 50 : n + 3);
    if (rf_rng_below(r, 2)) p->top_p = (float)rf_rng_unit(r);
    if (rf_rng_below(r, 8) == 0) p->top_p = rf_rng_below(r, 2) ? 0 : 0.9999f;
    if (rf_rng_below(r, 3) == 0) p->min_p = (float)(rf_rng_unit(r) * rf_rng_unit(r));
    if (rf_rng_below(r, 3) == 0) p->repetition_penalty = 0.5f + (float)rf_rng_unit(r);
    if (rf_rng_below(r, 3) == 0) p->presence_penalty = (float)rf_rng_normal(r);
    if (rf_rng_below(r, 3) == 0) p->frequency_penalty = (float)rf_rng_normal(r);
    if (rf_rng_below(r, 3) == 0) p->min_tokens = 30;
    if (rf_rng_below(r, 2)) p->logprobs = (int32_t)rf_rng_below(r, rf_rng_below(r, 3) ? 6 : RF_CHOICE_TOP + 1);
    p->logit_bias = q->bias;
    p->n_logit_bias = rf_rng_below(r, 3) ? 0 : RF_COUNT(q->bias);
    for (size_t i = 0; i < RF_COUNT(q->bias); i++)
        q->bias[i] = (struct rf_logit_bias){(int32_t)rf_rng_below(r, RF_MIN(n, 9u)), (float)rf_rng_normal(r) * 10}; /* some twice */
    for (uint32_t i = 0; i < n_token; i++) q->token[i] = (int32_t)rf_rng_below(r, RF_MIN(n, 40u));
    for (int i = 0; i < 2; i++) q->ends[i] = (int32_t)rf_rng_below(r, n);
    q->in = (struct rf_sample_in){.params = p, .seed = rf_rng_u64(r), .token = q->token, .n_prompt = n_prompt, .n_token = n_token, .ends = q->ends, .n_ends = 2};
}

/* One step's outputs: `n_row` rows of n logits, chosen on the device and by the host. */
static void compare(struct rf_sampler *s, uint32_t n, uint32_t n_row)
{
    int32_t zero[ROWS] = {0}, index[ROWS], first[ROWS + 1];
    struct rf_choice choice[ROWS];
    struct rf_chosen chosen[ROWS];
    static struct rf_chosen_top top[ROWS][RF_CHOICE_TOP];
    float *flat = floats((size_t)n_row * n);
    rf_sampler_rewind(s);
    for (uint32_t i = 0; i < n_row; i++) {
        index[i] = first[i] = (int32_t)i;
        memcpy(flat + (size_t)i * n, logits[i], n * sizeof(float));
        rf_sample_choice(s, &rows[i].in, &choice[i]);
    }
    first[n_row] = (int32_t)n_row;
    struct rf_batch batch = {.n_tok = n_row, .n_seq = n_row, .n_out = n_row, .token = zero, .pos = zero, .seq_first = first, .out_row = index, .choice = choice};
    rf_dev x = put(gpu, flat, (size_t)n_row * n * sizeof(float)), out = put(gpu, chosen, sizeof chosen), lists = put(gpu, top, sizeof top);
    CHECK_INT(gpu->ops->batch_begin(gpu, NULL, &batch), RF_OK);
    CHECK_INT(gpu->ops->choose(gpu, NULL, &(struct rf_choose_args){.logits = x, .chosen = out, .top = lists, .n_vocab = n}), RF_OK);
    get(gpu, chosen, out, sizeof *chosen * n_row);
    get(gpu, top, lists, sizeof *top * n_row);
    get(gpu, flat, x, (size_t)n_row * n * sizeof(float));
    for (uint32_t i = 0; i < n_row; i++) {
        struct row *q = &rows[i];
        int32_t want = -1, got = -1;
        q->in.logits = logits[i];
        if (choice[i].by == RF_CHOICE_NONE) {
            CHECK_INT(chosen[i].state, RF_CHOSEN_NONE);
            CHECK(!memcmp(flat + (size_t)i * n, logits[i], n * sizeof(float)));
            continue;
        }
        rf_status a = rf_sample(s, &q->in, &want, NULL), b = rf_sample_chosen(&chosen[i], 0, &got, NULL);
        if (a != b || want != got)
            CHECK_FAIL_("row of %u: %s %d, want %s %d (t %g k %d p %g min %g)", n, rf_status_name(b), got, rf_status_name(a), want, (double)q->p.temperature,
                        q->p.top_k, (double)q->p.top_p, (double)q->p.min_p);
        if (a || b || q->p.logprobs < 0) continue;
        struct rf_top_logprob wt[RF_CHOICE_TOP], gt[RF_CHOICE_TOP];
        float wl, gl;
        uint32_t k = RF_MIN((uint32_t)q->p.logprobs, n);
        CHECK(!rf_sample_logprob(logits[i], n, want, k, &wl, wt, NULL));
        rf_sample_chosen_logprob(&chosen[i], top[i], k, &gl, gt);
        CHECK_INT(chosen[i].n_top, k);
        CHECK_NEAR(gl, wl, 2e-5 * (1 + fabs(wl)));
        for (uint32_t j = 0; j < k; j++) {
            CHECK_INT(gt[j].token, wt[j].token);
            CHECK_NEAR(gt[j].logprob, wt[j].logprob, 2e-5 * (1 + fabs(wt[j].logprob)));
        }
    }
    gpu->mem->free(gpu, x), gpu->mem->free(gpu, out), gpu->mem->free(gpu, lists);
    free(flat);
}

TEST(random_rows)
{
    static const uint32_t sizes[] = {1, 2, 31, 300, 300, 1000, 4095, 4096, 4097, 9001};
    const char *rounds = getenv("RF_TEST_ROUNDS");
    struct rf_rng r = {seed};
    for (int round = 0; round < (rounds ? atoi(rounds) : check_quick() ? 8 : 60) && !check_.bad; round++) {
        uint32_t n = sizes[round % RF_COUNT(sizes)], n_row = 1 + rf_rng_below(&r, ROWS);
        struct rf_sampler *s;
        REQUIRE(!rf_sampler_create(&s, n, NULL));
        for (uint32_t i = 0; i < n_row; i++) {
            random_logits(&r, logits[i], n);
            random_params(&r, &rows[i], n);
        }
        compare(s, n, n_row);
        rf_sampler_free(s);
    }
}

/* A vocabulary of many strips; filters that leave few tokens and such that leave too many for a list. */
TEST(large_rows)
{
    static const struct { float t, p, min; int32_t k; double spread; } mode[] = {
        {1, 1, 0, 0, 3}, {1, 0.95f, 0, 0, 5}, {1, 0.95f, 0, 0, 0.5}, {1, 0.9f, 0, 0, 3}, {0.7f, 0.99f, 0, 0, 2},
        {1, 1, 0, 40, 2}, {1, 0.9f, 0.01f, 2000, 1}, {2, 1, 0.05f, 0, 3}, {1, 1, 0, 9000, 1}};
    struct rf_rng r = {seed + 1};
    struct rf_sampler *s;
    const uint32_t n = MAX_V / 4 - 13;
    REQUIRE(!rf_sampler_create(&s, n, NULL));
    for (size_t m = 0; m < RF_COUNT(mode); m++) {
        for (uint32_t i = 0; i < n; i++) logits[0][i] = (float)(rf_rng_normal(&r) * mode[m].spread);
        memcpy(logits[1], logits[0], n * sizeof(float));
        for (int i = 0; i < 2; i++) {
            random_params(&r, &rows[i], n);
            rows[i].p = (struct rf_sampling){.temperature = mode[m].t, .top_p = mode[m].p, .min_p = mode[m].min, .top_k = mode[m].k, .typical_p = 1,
                                             .repetition_penalty = 1, .logprobs = i ? 5 : -1};
        }
        compare(s, n, 2);
    }
    rf_sampler_free(s);
}

TEST(bad_rows_alone)
{
    struct rf_rng r = {seed + 2};
    struct rf_sampler *s;
    const uint32_t n = 5000;
    REQUIRE(!rf_sampler_create(&s, n, NULL));
    for (int round = 0; round < 4; round++) {
        for (uint32_t i = 0; i < ROWS; i++) {
            random_logits(&r, logits[i], n);
            random_params(&r, &rows[i], n);
        }
        logits[1][rf_rng_below(&r, n)] = NAN;
        logits[3][n - 1] = INFINITY;
        logits[4][0] = -INFINITY;
        rows[5].p.typical_p = 0.5f; /* the host's alone */
        rows[5].p.temperature = 1;
        rows[6].p.logprobs = RF_CHOICE_TOP + 1;
        compare(s, n, ROWS);
    }
    /* every token masked */
    rf_sampler_free(s);
    REQUIRE(!rf_sampler_create(&s, 2, NULL));
    for (int greedy = 0; greedy < 2; greedy++) {
        random_params(&r, &rows[0], 2);
        rows[0].p.temperature = greedy ? 0 : 1;
        rows[0].p.min_tokens = 1000;
        rows[0].ends[0] = 0;
        rows[0].ends[1] = 1;
        compare(s, 2, 1);
    }
    rf_sampler_free(s);
}

int main(void)
{
    int code;
    seed = check_seed();
    if (!open_device(&gpu, &device, &code)) return code;
    RUN(random_rows);
    RUN(large_rows);
    RUN(bad_rows_alone);
    rf_backend_close(gpu);
    return check_end();
}
