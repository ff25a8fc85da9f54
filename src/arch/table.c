/* table.c - the families. To add one, see docs/adding.md. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "arch/arch.h"
#include "base/mem.h"

#define FIELD(f) offsetof(struct rf_hparams, f)
#define INT(f, fallback, min, max) RF_HP_INT, FIELD(f), fallback, min, max
#define FLT(f, fallback, min, max) RF_HP_FLOAT, FIELD(f), fallback, min, max

/* Fallbacks below 0 that are no value of the field mean "not said"; hparams.c derives those. */
const struct rf_hparam_row rf_hparam_rows[] = {
    {INT(n_layer, NAN, 1, 1024), {"%s.block_count"}, {"num_hidden_layers"}},
    {INT(n_embd, NAN, 1, 1 << 20), {"%s.embedding_length"}, {"hidden_size"}},
    {INT(n_ff, NAN, 1, 1 << 22), {"%s.feed_forward_length"}, {"intermediate_size"}},
    {INT(n_head, NAN, 1, 4096), {"%s.attention.head_count"}, {"num_attention_heads"}},
    {INT(n_kv_head, -1, 1, 4096), {"%s.attention.head_count_kv"}, {"num_key_value_heads"}},
    {INT(head_dim, -1, 1, 1024), {"%s.attention.key_length"}, {"head_dim"}},
    {INT(n_ctx, 2048, 1, 1 << 28), {"%s.context_length"}, {"max_position_embeddings"}},
    {INT(window, 0, 0, 1 << 28), {"%s.attention.sliding_window"}, {"sliding_window"}},
    {INT(window_period, -1, 1, 1024), {"%s.attention.sliding_window_pattern"}, {"sliding_window_pattern", "_sliding_window_pattern"}},
    {INT(window_from, 0, 0, 4096), {NULL}, {"max_window_layers"}},
    {INT(use_window, -1, 0, 1), {NULL}, {"use_sliding_window"}},
    {INT(tied, -1, 0, 1), {NULL}, {"tie_word_embeddings"}},
    {FLT(rms_eps, 1e-6, 0, 1), {"%s.attention.layer_norm_rms_epsilon"}, {"rms_norm_eps"}},
    {FLT(rope_theta, 10000, 1, 1e18), {"%s.rope.freq_base"},
     {"rope_parameters.full_attention.rope_theta", "rope_parameters.rope_theta", "rope_theta"}},
    {FLT(rope_theta_local, -1, 1, 1e18), {"%s.rope.freq_base_swa"},
     {"rope_parameters.sliding_attention.rope_theta", "rope_local_base_freq"}},
    {FLT(rope_fraction, 1, 0.01, 1), {NULL},
     {"rope_parameters.full_attention.partial_rotary_factor", "rope_parameters.partial_rotary_factor", "partial_rotary_factor"}},
    {INT(rope_dim, 0, 0, 1024), {"%s.rope.dimension_count"}, {NULL}},
    {FLT(rope_factor, 1, 1e-3, 1e6), {"%s.rope.scaling.factor", "%s.rope.scale_linear"},
     {"rope_parameters.full_attention.factor", "rope_parameters.factor", "rope_scaling.factor"}},
    {FLT(rope_low, 1, 1e-6, 1e6), {NULL},
     {"rope_parameters.full_attention.low_freq_factor", "rope_parameters.low_freq_factor", "rope_scaling.low_freq_factor"}},
    {FLT(rope_high, 4, 1e-6, 1e6), {NULL},
     {"rope_parameters.full_attention.high_freq_factor", "rope_parameters.high_freq_factor", "rope_scaling.high_freq_factor"}},
    {FLT(rope_orig_ctx, 0, 0, 1e12), {"%s.rope.scaling.original_context_length"},
     {"rope_parameters.full_attention.original_max_position_embeddings", "rope_parameters.original_max_position_embeddings",
      "rope_scaling.original_max_position_embeddings"}},
    {FLT(rope_beta_fast, 32, 1e-6, 1e6), {"%s.rope.scaling.yarn_beta_fast"},
     {"rope_parameters.full_attention.beta_fast", "rope_parameters.beta_fast", "rope_scaling.beta_fast"}},
    {FLT(rope_beta_slow, 1, 1e-6, 1e6), {"%s.rope.scaling.yarn_beta_slow"},
     {"rope_parameters.full_attention.beta_slow", "rope_parameters.beta_slow", "rope_scaling.beta_slow"}},
    {FLT(rope_attn_factor, 0, 0, 1e6), {"%s.rope.scaling.attn_factor", "%s.rope.scaling.yarn_attn_factor"},
     {"rope_parameters.full_attention.attention_factor", "rope_parameters.attention_factor", "rope_scaling.attention_factor"}},
    {FLT(rope_mscale, 0, 0, 1e6), {NULL},
     {"rope_parameters.full_attention.mscale", "rope_parameters.mscale", "rope_scaling.mscale"}},
    {FLT(rope_mscale_all, 0, 0, 1e6), {NULL},
     {"rope_parameters.full_attention.mscale_all_dim", "rope_parameters.mscale_all_dim", "rope_scaling.mscale_all_dim"}},
    {INT(rope_truncate, 1, 0, 1), {NULL},
     {"rope_parameters.full_attention.truncate", "rope_parameters.truncate", "rope_scaling.truncate"}},
    {FLT(attn_scale, 0, 0, 1e6), {"%s.attention.scale"}, {NULL}},
    {FLT(query_scalar, 0, 0, 1e6), {NULL}, {"query_pre_attn_scalar"}},
    {FLT(attn_softcap, 0, 0, 1e6), {"%s.attn_logit_softcapping"}, {"attn_logit_softcapping"}},
    {FLT(logit_softcap, 0, 0, 1e6), {"%s.final_logit_softcapping"}, {"final_logit_softcapping"}},
};
const size_t rf_hparam_n_rows = RF_COUNT(rf_hparam_rows);

#define L "layers.%u."
const struct rf_role_row rf_role_rows[RF_ROLE_COUNT] = {
    [RF_ROLE_TOKEN_EMBD] = {"token_embd.weight", "embed_tokens.weight", RF_DIM_VOCAB, RF_DIM_EMBD},
    [RF_ROLE_OUTPUT_NORM] = {"output_norm.weight", "norm.weight", RF_DIM_ONE, RF_DIM_EMBD, .is_norm = true},
    [RF_ROLE_OUTPUT] = {"output.weight", "lm_head.weight", RF_DIM_VOCAB, RF_DIM_EMBD, .optional = true, .precise = true},
    [RF_ROLE_ROPE_FREQS] = {"rope_freqs.weight", NULL, RF_DIM_ONE, RF_DIM_HALF_ROPE, .optional = true},
    [RF_ROLE_ATTN_NORM] = {"blk.%u.attn_norm.weight", L "input_layernorm.weight", RF_DIM_ONE, RF_DIM_EMBD, .is_norm = true},
    [RF_ROLE_Q] = {"blk.%u.attn_q.weight", L "self_attn.q_proj.weight", RF_DIM_Q, RF_DIM_EMBD},
    [RF_ROLE_K] = {"blk.%u.attn_k.weight", L "self_attn.k_proj.weight", RF_DIM_KV, RF_DIM_EMBD, .precise = true},
    [RF_ROLE_V] = {"blk.%u.attn_v.weight", L "self_attn.v_proj.weight", RF_DIM_KV, RF_DIM_EMBD, .precise = true},
    [RF_ROLE_O] = {"blk.%u.attn_output.weight", L "self_attn.o_proj.weight", RF_DIM_EMBD, RF_DIM_Q},
    [RF_ROLE_Q_NORM] = {"blk.%u.attn_q_norm.weight", L "self_attn.q_norm.weight", RF_DIM_ONE, RF_DIM_HEAD, .is_norm = true},
    [RF_ROLE_K_NORM] = {"blk.%u.attn_k_norm.weight", L "self_attn.k_norm.weight", RF_DIM_ONE, RF_DIM_HEAD, .is_norm = true},
    [RF_ROLE_POST_ATTN_NORM] = {"blk.%u.post_attention_norm.weight", L "post_attention_layernorm.weight", RF_DIM_ONE,
                                RF_DIM_EMBD, .is_norm = true},
    [RF_ROLE_FFN_NORM] = {"blk.%u.ffn_norm.weight", L "post_attention_layernorm.weight", RF_DIM_ONE, RF_DIM_EMBD,
                          .is_norm = true},
    [RF_ROLE_GATE] = {"blk.%u.ffn_gate.weight", L "mlp.gate_proj.weight", RF_DIM_FF, RF_DIM_EMBD},
    [RF_ROLE_UP] = {"blk.%u.ffn_up.weight", L "mlp.up_proj.weight", RF_DIM_FF, RF_DIM_EMBD},
    [RF_ROLE_DOWN] = {"blk.%u.ffn_down.weight", L "mlp.down_proj.weight", RF_DIM_EMBD, RF_DIM_FF},
    [RF_ROLE_POST_FFN_NORM] = {"blk.%u.post_ffw_norm.weight", L "post_feedforward_layernorm.weight", RF_DIM_ONE,
                               RF_DIM_EMBD, .is_norm = true},
};

/* ---- layers. Registers: X residual stream, H normed input, Q K V A attention, G U feed-forward, Y branch output ---- */

#define NORM(from, to, r) {RF_STEP_NORM, RF_REG_##from, {RF_REG_##to}, {RF_ROLE_##r}}
#define HEAD_NORM(reg, r) {RF_STEP_HEAD_NORM, RF_REG_##reg, {RF_REG_##reg}, {RF_ROLE_##r}}
#define QKV {RF_STEP_MATMUL, RF_REG_H, {RF_REG_Q, RF_REG_K, RF_REG_V}, {RF_ROLE_Q, RF_ROLE_K, RF_ROLE_V}}
#define ROPE_KV {RF_STEP_ROPE_KV, RF_REG_Q, {RF_REG_Q}, {RF_ROLE_NONE}}
#define ATTENTION {RF_STEP_ATTENTION, RF_REG_Q, {RF_REG_A}, {RF_ROLE_NONE}}
#define PROJECT(from, r) {RF_STEP_MATMUL, RF_REG_##from, {RF_REG_Y}, {RF_ROLE_##r}}
#define GATE_UP {RF_STEP_MATMUL, RF_REG_H, {RF_REG_G, RF_REG_U}, {RF_ROLE_GATE, RF_ROLE_UP}}
#define GLU {RF_STEP_GLU, RF_REG_G, {RF_REG_G}, {RF_ROLE_NONE}}
#define ADD {RF_STEP_ADD, RF_REG_Y, {RF_REG_X}, {RF_ROLE_NONE}}
#define END {RF_STEP_END, RF_REG_X, {RF_REG_X}, {RF_ROLE_NONE}}

static const struct rf_recipe_step llama_layer[] = {
    NORM(X, H, ATTN_NORM), QKV, ROPE_KV, ATTENTION, PROJECT(A, O), ADD,
    NORM(X, H, FFN_NORM), GATE_UP, GLU, PROJECT(G, DOWN), ADD, END,
};

static const struct rf_recipe_step qwen3_layer[] = {
    NORM(X, H, ATTN_NORM), QKV, HEAD_NORM(Q, Q_NORM), HEAD_NORM(K, K_NORM), ROPE_KV, ATTENTION, PROJECT(A, O), ADD,
    NORM(X, H, FFN_NORM), GATE_UP, GLU, PROJECT(G, DOWN), ADD, END,
};

static const struct rf_recipe_step gemma3_layer[] = {
    NORM(X, H, ATTN_NORM), QKV, HEAD_NORM(Q, Q_NORM), HEAD_NORM(K, K_NORM), ROPE_KV, ATTENTION, PROJECT(A, O),
    NORM(Y, Y, POST_ATTN_NORM), ADD,
    NORM(X, H, FFN_NORM), GATE_UP, GLU, PROJECT(G, DOWN), NORM(Y, Y, POST_FFN_NORM), ADD, END,
};

static const struct rf_role_name gemma3_names[] = {
    {RF_ROLE_FFN_NORM, "blk.%u.ffn_norm.weight", L "pre_feedforward_layernorm.weight"},
    {RF_ROLE_NONE, NULL, NULL},
};

static const struct rf_arch archs[] = {
    {.name = "llama", .gguf = "llama", .hf = {"LlamaForCausalLM"}, .layer = llama_layer,
     .rotation_gguf = RF_ROTATION_PAIRS, .rotation_hf = RF_ROTATION_HALVES},
    {.name = "mistral", .gguf = "mistral", .hf = {"MistralForCausalLM"}, .layer = llama_layer,
     .rotation_gguf = RF_ROTATION_PAIRS, .rotation_hf = RF_ROTATION_HALVES, .window_rule = RF_WINDOW_ALL},
    {.name = "qwen2", .gguf = "qwen2", .hf = {"Qwen2ForCausalLM"}, .layer = llama_layer,
     .window_rule = RF_WINDOW_FLAGGED},
    {.name = "qwen3", .gguf = "qwen3", .hf = {"Qwen3ForCausalLM"}, .layer = qwen3_layer,
     .window_rule = RF_WINDOW_FLAGGED},
    {.name = "gemma3", .gguf = "gemma3", .hf = {"Gemma3ForCausalLM", "Gemma3ForConditionalGeneration"},
     .layer = gemma3_layer, .names = gemma3_names, .window_rule = RF_WINDOW_PERIOD, .activation = RF_ACTIVATION_GELU_TANH,
     .embed_scaled = true, .norm_offset_hf = 1, .default_window_period = 6, .default_theta_local = 10000,
     .wide_scale_layers = 62},
};

static bool same(const char *a, const char *b, size_t len) { return a && strlen(a) == len && !memcmp(a, b, len); }

const struct rf_arch *rf_arch_by_gguf(const char *name, size_t len)
{
    for (size_t i = 0; i < RF_COUNT(archs); i++)
        if (same(archs[i].gguf, name, len)) return &archs[i];
    return NULL;
}

const struct rf_arch *rf_arch_by_hf(const char *name, size_t len)
{
    for (size_t i = 0; i < RF_COUNT(archs); i++)
        for (size_t j = 0; j < RF_COUNT(archs[i].hf); j++)
            if (same(archs[i].hf[j], name, len)) return &archs[i];
    return NULL;
}

void rf_arch_list(char *out, size_t cap)
{
    size_t n = 0;
    out[0] = 0;
    for (size_t i = 0; i < RF_COUNT(archs) && n < cap; i++)
        n += (size_t)snprintf(out + n, cap - n, "%s%s", i ? ", " : "", archs[i].name);
}
