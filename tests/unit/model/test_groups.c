/* Layers into KV groups: every layer has a place of its own, groups are of one kind, no pattern needs too many. */
#include "base/rng.h"
#include "check.h"
#include "model/lm.h"

static void check_plan(const struct rf_lm_shape *s, const struct rf_lm_layer *layers)
{
    bool used[RF_MAX_KV_GROUPS][1024] = {{false}};
    uint32_t count[RF_MAX_KV_GROUPS] = {0};
    REQUIRE(s->n_group >= 1 && s->n_group <= RF_MAX_KV_GROUPS);
    for (uint32_t i = 0; i < s->n_layer; i++) {
        const struct rf_lm_layer *l = &layers[i];
        REQUIRE(l->group < s->n_group && l->slot < s->n_slot);
        CHECK(!used[l->group][l->slot]);
        used[l->group][l->slot] = true;
        count[l->group]++;
        CHECK_INT(s->group[l->group].window, l->window);
    }
    for (uint32_t g = 0; g < s->n_group; g++) CHECK_INT(count[g], s->group[g].n_layer);
}

static struct rf_lm_layer layers[1024];

static struct rf_lm_shape plan(uint32_t n, uint32_t period, uint32_t window)
{
    struct rf_lm_shape s = {.n_layer = n};
    memset(layers, 0, sizeof layers);
    for (uint32_t i = 0; i < n; i++) layers[i].window = period && (i + 1) % period ? window : 0;
    CHECK_INT(rf_kv_groups_plan(&s, layers, NULL), RF_OK);
    check_plan(&s, layers);
    return s;
}

TEST(known_models)
{
    struct rf_lm_shape s = plan(24, 0, 0); /* Qwen2.5 0.5B: one table */
    CHECK_INT(s.n_group, 1);
    CHECK_INT(s.n_slot, 24);
    s = plan(18, 6, 512); /* Gemma 3 270M: 15 windowed, 3 full, nothing wasted */
    CHECK_INT(s.n_group, 6);
    CHECK_INT(s.n_slot, 3);
    s = plan(26, 6, 512); /* Gemma 3 1B: 22 and 4 */
    CHECK(s.n_group * s.n_slot - 26 <= 2);
    s = plan(1, 0, 0);
    CHECK_INT(s.n_slot, 1);
}

TEST(random_patterns)
{
    struct rf_rng r = {check_seed()};
    for (int k = 0; k < 2000; k++) {
        struct rf_lm_shape s = {.n_layer = 1 + rf_rng_below(&r, 200)};
        uint32_t share = rf_rng_below(&r, 101);
        memset(layers, 0, sizeof layers);
        for (uint32_t i = 0; i < s.n_layer; i++) layers[i].window = rf_rng_below(&r, 100) < share ? 128 : 0;
        REQUIRE(rf_kv_groups_plan(&s, layers, NULL) == RF_OK);
        check_plan(&s, layers);
        CHECK(s.n_group * s.n_slot < 2 * s.n_layer + RF_MAX_KV_GROUPS);
    }
}

TEST(two_windows_are_refused_by_name)
{
    struct rf_lm_shape s = {.n_layer = 2};
    struct rf_error err = {0};
    memset(layers, 0, sizeof layers);
    layers[0].window = 128;
    layers[1].window = 256;
    CHECK_INT(rf_kv_groups_plan(&s, layers, &err), RF_UNSUPPORTED);
    CHECK(strstr(err.message, "128") && strstr(err.message, "256"));
}

/* Values of the published formulas, computed with PyPI transformers' rope utilities for dim 128. */
TEST(rope_scaling_laws)
{
    struct rf_hparams hp = {.rope_theta = 500000, .rope_scaling = RF_ROPE_SCALE_LLAMA3, .rope_factor = 8, .rope_low = 1,
                            .rope_high = 4, .rope_orig_ctx = 8192};
    float f[64], m;
    rf_rope_inv_freq(&hp, 500000, true, 128, f, &m);
    CHECK_NEAR(f[0], 1, 1e-7);
    CHECK_NEAR(f[63] * 8, pow(500000, -126.0 / 128), 1e-10);
    CHECK_NEAR(m, 1, 0);
    hp.rope_scaling = RF_ROPE_SCALE_LINEAR;
    rf_rope_inv_freq(&hp, 10000, true, 128, f, &m);
    CHECK_NEAR(f[0], 0.125, 1e-8);
    rf_rope_inv_freq(&hp, 10000, false, 128, f, &m);
    CHECK_NEAR(f[0], 1, 1e-7);
    hp = (struct rf_hparams){.rope_scaling = RF_ROPE_SCALE_YARN, .rope_factor = 4, .rope_orig_ctx = 32768, .rope_beta_fast = 32, .rope_beta_slow = 1, .rope_truncate = 1};
    rf_rope_inv_freq(&hp, 1000000, true, 128, f, &m);
    CHECK_NEAR(m, 0.1 * log(4) + 1, 1e-6);
    CHECK_NEAR(f[0], 1, 1e-7);
    CHECK_NEAR(f[63] * 4, pow(1000000, -126.0 / 128), 1e-11);
}

int main(void)
{
    RUN(known_models);
    RUN(random_patterns);
    RUN(two_windows_are_refused_by_name);
    RUN(rope_scaling_laws);
    return check_end();
}
