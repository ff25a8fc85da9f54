/* The type table, the half-precision conversions in full, decode against committed vectors, encode by round trip. */
#include "base/rng.h"
#include "check.h"
#include "quant/type.h"

#include "quant_vectors.h"

TEST(table)
{
    uint64_t bytes;
    static const struct { uint32_t id; const char *name; uint32_t block, bytes; } rows[] = {
#define X(e, id, name, block, bytes) {id, name, block, bytes},
        RF_TYPE_LIST(X)
#undef X
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct rf_type_info *t = rf_type_get(rows[i].id);
        REQUIRE(t);
        CHECK_STR(t->name, rows[i].name);
        CHECK_STR(rf_type_name(rows[i].id), rows[i].name);
        CHECK_INT(t->block, rows[i].block);
        CHECK_INT(t->bytes, rows[i].bytes);
        CHECK(t->decode && t->encode);
        CHECK(rf_type_row_bytes(rows[i].id, 512, &bytes) && bytes == 512 / t->block * t->bytes);
        CHECK_INT(rf_type_row_bytes(rows[i].id, 511, &bytes), t->block == 1);
        CHECK(rf_type_row_bytes(rows[i].id, 0, &bytes) && bytes == 0);
    }
    CHECK(!rf_type_get(16) && !rf_type_get(4) && !rf_type_get(RF_TYPE_MAX) && !rf_type_get(UINT32_MAX));
    CHECK_STR(rf_type_name(17), "IQ2_XS");
    CHECK_STR(rf_type_name(15), "Q8_K");
    CHECK_STR(rf_type_name(39), "MXFP4");
    CHECK_STR(rf_type_name(63), "?");
    CHECK_STR(rf_type_name(UINT32_MAX), "?");
    CHECK(!rf_type_row_bytes(16, 256, &bytes));
    CHECK(!rf_type_row_bytes(RF_TYPE_F32, UINT64_MAX / 2, &bytes));
}

TEST(every_half_comes_back)
{
    for (uint32_t h = 0; h < 65536; h++) {
        float f = rf_f16_to_f32((uint16_t)h), b = rf_bf16_to_f32((uint16_t)h);
        if (isnan(f)) CHECK(isnan(rf_f16_to_f32(rf_f32_to_f16(f))));
        else CHECK_INT(rf_f32_to_f16(f), h);
        if (isnan(b)) CHECK(isnan(rf_bf16_to_f32(rf_f32_to_bf16(b))));
        else CHECK_INT(rf_f32_to_bf16(b), h);
    }
}

TEST(every_f8_comes_back)
{
    for (unsigned b = 0; b < 256; b++) {
        float f = rf_f8_to_f32((uint8_t)b);
        CHECK_INT(rf_f8_is_nan((uint8_t)b), isnan(f) != 0);
        if (!isnan(f)) CHECK_INT(rf_f32_to_f8(f), b);
    }
    CHECK(rf_f8_to_f32(0x7e) == 448.0f && rf_f8_to_f32(0x81) == -0x1p-9f && rf_f8_to_f32(0x08) == 0x1p-6f);
    CHECK_INT(rf_f32_to_f8(INFINITY), 0x7e);
    CHECK_INT(rf_f32_to_f8(-1e9f), 0xfe);
    CHECK_INT(rf_f32_to_f8(NAN) & 0x7f, 0x7f);
    CHECK_INT(rf_f32_to_f8(1e-30f), 0);
    CHECK_INT(rf_f32_to_f8(0x1p-10f), 0); /* halfway to the smallest: to even */
    CHECK_INT(rf_f32_to_f8(0x1.8p-9f), 2);
}

/* The nearest half by search in the sorted list of all positive halves; ties to the even one. */
TEST(f16_rounds_to_nearest_even)
{
    struct rf_rng r = {check_seed()};
    for (int i = 0; i < 200000; i++) {
        uint32_t lo = rf_rng_below(&r, 0x7bff); /* below the largest finite half */
        double a = rf_f16_to_f32((uint16_t)lo), b = rf_f16_to_f32((uint16_t)(lo + 1)), mid = (a + b) / 2;
        uint32_t even = lo & 1 ? lo + 1 : lo;
        CHECK_INT(rf_f32_to_f16((float)mid), even); /* exact in f32 */
        CHECK_INT(rf_f32_to_f16(nextafterf((float)mid, 1e30f)), lo + 1);
        CHECK_INT(rf_f32_to_f16(-nextafterf((float)mid, 0)), lo | 0x8000);
    }
    CHECK_INT(rf_f32_to_f16(65519.0f), 0x7bff);
    CHECK_INT(rf_f32_to_f16(65520.0f), 0x7c00);
    CHECK_INT(rf_f32_to_f16(-INFINITY), 0xfc00);
    CHECK_INT(rf_f32_to_f16(1e-30f), 0);
    CHECK_INT(rf_f32_to_bf16(1.00390625f), 0x3f80); /* half way, down to even */
    CHECK_INT(rf_f32_to_bf16(1.01171875f), 0x3f82); /* half way, up to even */
    CHECK_INT(rf_f32_to_bf16(3.4e38f), 0x7f80);
}

TEST(decode_as_gguf_does)
{
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        const struct rf_type_info *t = rf_type_get(vectors[i].type);
        float out[512];
        uint32_t got;
        /* an odd address: tensor data need not be aligned */
        uint64_t bytes;
        REQUIRE(rf_type_row_bytes(vectors[i].type, vectors[i].n, &bytes));
        unsigned char *raw = malloc(bytes + 1);
        memcpy(raw + 1, vectors[i].raw, bytes);
        t->decode(raw + 1, out, vectors[i].n);
        for (uint32_t k = 0; k < vectors[i].n; k++) {
            memcpy(&got, &out[k], 4);
            if (got != vectors[i].want[k]) CHECK_FAIL_("%s [%u]: got %08x, want %08x", t->name, k, got, vectors[i].want[k]);
        }
        free(raw);
    }
}

TEST(encode_round_trip)
{
    static const struct { uint32_t type; double rms; } bounds[] = {
        {RF_TYPE_F32, 0}, {RF_TYPE_F16, 3e-4}, {RF_TYPE_BF16, 2.5e-3}, {RF_TYPE_Q8_0, 0.008}, {RF_TYPE_Q5_1, 0.06}, {RF_TYPE_Q5_0, 0.06},
        {RF_TYPE_Q4_1, 0.12}, {RF_TYPE_Q4_0, 0.13}, {RF_TYPE_Q6_K, 0.035}, {RF_TYPE_Q5_K, 0.06}, {RF_TYPE_Q4_K, 0.11},
        {RF_TYPE_Q3_K, 0.25}, {RF_TYPE_Q2_K, 0.45}, {RF_TYPE_F8_E4M3, 0.035},
    };
    struct rf_rng r = {check_seed()};
    static float x[4096], y[4096];
    static unsigned char q[4096 * 4];
    for (size_t i = 0; i < sizeof bounds / sizeof *bounds; i++)
        for (int e = -12; e <= 4; e += 4) { /* scales well inside half precision's range */
            double scale = pow(10, e / 4.0), sum = 0;
            for (int k = 0; k < 4096; k++) x[k] = (float)(rf_rng_normal(&r) * scale);
            const struct rf_type_info *t = rf_type_get(bounds[i].type);
            t->encode(x, q, 4096);
            t->decode(q, y, 4096);
            for (int k = 0; k < 4096; k++) sum += ((double)x[k] - y[k]) * ((double)x[k] - y[k]);
            double rms = sqrt(sum / 4096) / scale;
            if (!(rms <= bounds[i].rms)) CHECK_FAIL_("%s at scale %g: rms error %g", t->name, scale, rms);
        }
}

TEST(encode_survives_anything)
{
    static float x[512], y[512];
    static unsigned char q[2048];
    static const float odd[] = {0, -0.0f, NAN, INFINITY, -INFINITY, 3.4e38f, -3.4e38f, 1e-45f, 1};
    for (uint32_t id = 0; id < RF_TYPE_MAX; id++) {
        const struct rf_type_info *t = rf_type_get(id);
        if (!t) continue;
        for (int mode = 0; mode < 10; mode++) {
            for (int k = 0; k < 512; k++) x[k] = mode == 9 ? odd[k * 7 % 9] : odd[mode];
            t->encode(x, q, 512);
            t->decode(q, y, 512);
            for (int k = 0; k < 512 && mode < 2; k++) CHECK(y[k] == 0);
        }
    }
}

int main(void)
{
    RUN(table);
    RUN(every_half_comes_back);
    RUN(every_f8_comes_back);
    RUN(f16_rounds_to_nearest_even);
    RUN(decode_as_gguf_does);
    RUN(encode_round_trip);
    RUN(encode_survives_anything);
    return check_end();
}
