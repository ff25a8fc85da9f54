#include "quant/type.h"

#include "base/mem.h"
#include "quant/block.h"

static const struct rf_type_info types[RF_TYPE_MAX] = {
#define X(e, id, name_, block_, bytes_) [id].name = name_, [id].block = block_, [id].bytes = bytes_,
    RF_TYPE_LIST(X)
#undef X
#define CODEC(id, fn) [id].decode = rf_##fn##_decode, [id].encode = rf_##fn##_encode
    CODEC(RF_TYPE_F32, f32),   CODEC(RF_TYPE_F16, f16),   CODEC(RF_TYPE_BF16, bf16), CODEC(RF_TYPE_Q4_0, q4_0),
    CODEC(RF_TYPE_Q4_1, q4_1), CODEC(RF_TYPE_Q5_0, q5_0), CODEC(RF_TYPE_Q5_1, q5_1), CODEC(RF_TYPE_Q8_0, q8_0),
    CODEC(RF_TYPE_Q2_K, q2_k), CODEC(RF_TYPE_Q3_K, q3_k), CODEC(RF_TYPE_Q4_K, q4_k), CODEC(RF_TYPE_Q5_K, q5_k),
    CODEC(RF_TYPE_Q6_K, q6_k), CODEC(RF_TYPE_F8_E4M3, f8_e4m3),
#undef CODEC
};

/* Types that files may hold and that we can only name. */
static const char *const other_names[RF_TYPE_MAX] = {
    [4] = "Q4_2",      [5] = "Q4_3",       [9] = "Q8_1",      [15] = "Q8_K",       [16] = "IQ2_XXS",    [17] = "IQ2_XS",
    [18] = "IQ3_XXS",  [19] = "IQ1_S",     [20] = "IQ4_NL",   [21] = "IQ3_S",      [22] = "IQ2_S",      [23] = "IQ4_XS",
    [24] = "I8",       [25] = "I16",       [26] = "I32",      [27] = "I64",        [28] = "F64",        [29] = "IQ1_M",
    [31] = "Q4_0_4_4", [32] = "Q4_0_4_8",  [33] = "Q4_0_8_8", [34] = "TQ1_0",      [35] = "TQ2_0",      [36] = "IQ4_NL_4_4",
    [37] = "IQ4_NL_4_8", [38] = "IQ4_NL_8_8", [39] = "MXFP4", [40] = "NVFP4",      [41] = "Q1_0",
};

const struct rf_type_info *rf_type_get(uint32_t id)
{
    return id < RF_TYPE_MAX && types[id].name ? &types[id] : NULL;
}

const char *rf_type_name(uint32_t id)
{
    if (id >= RF_TYPE_MAX) return "?";
    if (types[id].name) return types[id].name;
    return other_names[id] ? other_names[id] : "?";
}

bool rf_type_row_bytes(uint32_t id, uint64_t n, uint64_t *bytes)
{
    const struct rf_type_info *t = rf_type_get(id);
    if (!t || n % t->block) return false;
    return rf_mul64(n / t->block, t->bytes, bytes);
}
