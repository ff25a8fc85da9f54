/* The tables agree with themselves: every recipe reads what was written before it, every role fits its registers. */
#include "arch/arch.h"
#include "base/mem.h"
#include "check.h"

static const char *const names[] = {"llama", "mistral", "qwen2", "qwen3", "gemma3"};

/* Width of each register as the dimension that fills it. */
static const enum rf_dim width[RF_REG_COUNT] = {
    [RF_REG_X] = RF_DIM_EMBD, [RF_REG_H] = RF_DIM_EMBD, [RF_REG_Q] = RF_DIM_Q, [RF_REG_K] = RF_DIM_KV, [RF_REG_V] = RF_DIM_KV,
    [RF_REG_A] = RF_DIM_Q, [RF_REG_Y] = RF_DIM_EMBD, [RF_REG_G] = RF_DIM_FF, [RF_REG_U] = RF_DIM_FF,
};

static void check_step(const struct rf_recipe_step *s, bool *written)
{
    CHECK(written[s->in]);
    if (s->op == RF_STEP_ROPE_KV) CHECK(written[RF_REG_K] && written[RF_REG_V]);
    if (s->op == RF_STEP_GLU) CHECK(written[RF_REG_U]);
    for (size_t i = 0; i < 3 && s->role[i]; i++) {
        const struct rf_role_row *row = &rf_role_rows[s->role[i]];
        CHECK(row->gguf && row->hf);
        switch (s->op) {
        case RF_STEP_MATMUL:
            CHECK_INT(row->cols, width[s->in]);
            CHECK_INT(row->rows, width[s->out[i]]);
            break;
        case RF_STEP_NORM: CHECK_INT(row->cols, width[s->in]); break;
        case RF_STEP_HEAD_NORM: CHECK_INT(row->cols, RF_DIM_HEAD); break;
        default: CHECK(!"a step without weights has a role");
        }
        written[s->out[i]] = true;
    }
    written[s->out[0]] = true;
}

TEST(recipes_fit_their_registers)
{
    for (size_t i = 0; i < RF_COUNT(names); i++) {
        const struct rf_arch *a = rf_arch_by_gguf(names[i], strlen(names[i]));
        REQUIRE(a);
        bool written[RF_REG_COUNT] = {[RF_REG_X] = true};
        size_t n = 0;
        for (const struct rf_recipe_step *s = a->layer; s->op != RF_STEP_END; s++, n++) check_step(s, written);
        CHECK(n > 8);
    }
}

TEST(families_are_found_in_both_spellings)
{
    CHECK_STR(rf_arch_by_hf("Qwen2ForCausalLM", 16)->name, "qwen2");
    CHECK_STR(rf_arch_by_hf("MistralForCausalLM", 18)->name, "mistral");
    CHECK_STR(rf_arch_by_gguf("gemma3", 6)->name, "gemma3");
    CHECK(!rf_arch_by_gguf("gemma", 5));
    CHECK(!rf_arch_by_gguf("gemma33", 7));
    CHECK(!rf_arch_by_hf("", 0));
    char list[128];
    rf_arch_list(list, sizeof list);
    CHECK_STR(list, "llama, mistral, qwen2, qwen3, gemma3");
    rf_arch_list(list, 8);
    CHECK_INT(strlen(list), 7);
}

TEST(hyper_parameter_rows_are_inside_their_struct)
{
    for (size_t i = 0; i < rf_hparam_n_rows; i++) {
        const struct rf_hparam_row *r = &rf_hparam_rows[i];
        CHECK(r->offset + 8 <= sizeof(struct rf_hparams));
        CHECK(r->min < r->max);
        CHECK(r->gguf[0] || r->hf[0]);
        for (size_t j = 0; j < i; j++) CHECK(rf_hparam_rows[j].offset != r->offset);
    }
}

int main(void)
{
    RUN(recipes_fit_their_registers);
    RUN(families_are_found_in_both_spellings);
    RUN(hyper_parameter_rows_are_inside_their_struct);
    return check_end();
}
