/* F8_E4M3 tensors and their scales: random geometries against plain arithmetic, what rows are given out as, what is refused. */
#include <math.h>

#include "base/rng.h"
#include "check.h"
#include "ggufmake.h"

enum { MOST = 300 };

/* A matrix, its scales [R][C], each for r x c of it. */
struct made {
    uint64_t rows, cols, r, c, R, C;
    const char *dtype;
    struct rf_buf q, s; /* bytes as in the file */
    double *scale;
};

static void put_scale(struct made *m, float v, uint64_t i)
{
    if (!strcmp(m->dtype, "F8_E8M0")) {
        int e;
        frexpf(v, &e);
        mk_le(&m->s, (uint64_t)(e + 127), 1);
        m->scale[i] = ldexp(1, e);
    } else if (!strcmp(m->dtype, "F32")) {
        uint32_t u;
        memcpy(&u, &v, 4);
        mk_le(&m->s, u, 4);
        m->scale[i] = v;
    } else {
        bool half = !strcmp(m->dtype, "F16");
        uint16_t u = half ? rf_f32_to_f16(v) : rf_f32_to_bf16(v);
        mk_le(&m->s, u, 2);
        m->scale[i] = half ? rf_f16_to_f32(u) : rf_bf16_to_f32(u);
    }
}

static void make(struct made *m, struct rf_rng *rng)
{
    m->R = (m->rows + m->r - 1) / m->r;
    m->C = (m->cols + m->c - 1) / m->c;
    m->scale = malloc(m->R * m->C * sizeof *m->scale);
    for (uint64_t i = 0; i < m->R * m->C; i++) put_scale(m, ldexpf(1 + (float)rf_rng_unit(rng), (int)rf_rng_below(rng, 12) - 8), i);
    for (uint64_t i = 0; i < m->rows * m->cols; i++) {
        uint8_t b = (uint8_t)rf_rng_u64(rng);
        rf_buf_putc(&m->q, (char)(rf_f8_is_nan(b) ? b ^ 1 : b));
    }
}

static void made_release(struct made *m)
{
    rf_buf_release(&m->q);
    rf_buf_release(&m->s);
    free(m->scale);
}

/* A folder of one matrix "w"; shape: of its scales, with what comes behind; config: of config.json. */
static rf_status open_made(const struct made *m, const char *suffix, const char *shape, const char *config, struct rf_weights **w, struct rf_error *err)
{
    char header[512];
    struct rf_buf b = {0};
    snprintf(header, sizeof header,
             "{\"w\":{\"dtype\":\"F8_E4M3\",\"shape\":[%llu,%llu],\"data_offsets\":[0,%zu]},\"w%s\":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[%zu,%zu]}}",
             (unsigned long long)m->rows, (unsigned long long)m->cols, m->q.len, suffix, m->dtype, shape, m->q.len, m->q.len + m->s.len);
    mk_safetensors(&b, header, 0);
    rf_buf_append(&b, m->q.data, m->q.len);
    rf_buf_append(&b, m->s.data, m->s.len);
    mk_text("config.json", config);
    mk_write("model.safetensors", b.data, b.len);
    rf_buf_release(&b);
    return rf_weights_open(w, mk_dir, err);
}

static float value(const struct made *m, uint64_t row, uint64_t col)
{
    return rf_f8_to_f32((uint8_t)m->q.data[row * m->cols + col]) * (float)m->scale[row / m->r * m->C + col / m->c];
}

/* Rows in either type, some at a time, are byte times scale; BF16's are that, rounded. */
static void check_rows(const struct rf_fp8 *f, const struct made *m, struct rf_rng *rng)
{
    uint64_t row_bytes;
    float got[MOST];
    REQUIRE(rf_type_row_bytes(f->type, m->cols, &row_bytes));
    for (uint64_t r = 0, n; r < m->rows; r += n) {
        n = 1 + rf_rng_below(rng, m->rows - r);
        uint8_t *p = malloc(n * (row_bytes + 3));
        CHECK(rf_fp8_rows(f, r, n, p, row_bytes + 3));
        for (uint64_t i = 0; i < n; i++) {
            rf_type_get(f->type)->decode(p + i * (row_bytes + 3), got, m->cols);
            for (uint64_t k = 0; k < m->cols; k++) {
                float want = value(m, r + i, k);
                if (f->type == RF_TYPE_BF16) want = rf_bf16_to_f32(rf_f32_to_bf16(want));
                if (got[k] != want) CHECK_FAIL_("%llu x %llu, blocks %llu x %llu: [%llu][%llu] is %g, want %g", (unsigned long long)m->rows,
                    (unsigned long long)m->cols, (unsigned long long)m->r, (unsigned long long)m->c, (unsigned long long)(r + i), (unsigned long long)k,
                    (double)got[k], (double)want);
            }
        }
        free(p);
    }
    CHECK(rf_fp8_values(f, m->rows - 1, got));
    for (uint64_t k = 0; k < m->cols; k++) CHECK(got[k] == value(m, m->rows - 1, k));
}

TEST(every_geometry)
{
    static const char *const dtypes[] = {"F32", "BF16", "F16", "F8_E8M0"}, *const suffixes[] = {"_scale", "_scale_inv"};
    static const uint64_t sizes[] = {1, 16, 32, 64, 128, 256};
    struct rf_rng rng = {check_seed()};
    for (int i = 0; i < 300; i++) {
        struct made m = {.rows = 1 + rf_rng_below(&rng, 40) * (i % 3 ? 1 : 7), .cols = i % 2 ? 32 * (1 + rf_rng_below(&rng, 9)) : 1 + rf_rng_below(&rng, MOST - 1)};
        char shape[64], config[128] = "{}";
        m.dtype = dtypes[rf_rng_below(&rng, 4)];
        const uint32_t kind = (uint32_t)rf_rng_below(&rng, 4);
        m.r = kind == 0 ? m.rows : kind == 1 ? 1 : sizes[rf_rng_below(&rng, RF_COUNT(sizes))];
        m.c = kind <= 1 ? m.cols : sizes[1 + rf_rng_below(&rng, RF_COUNT(sizes) - 1)];
        make(&m, &rng);
        if (kind == 0) strcpy(shape, i % 2 ? "[]" : "[1]");
        else if (kind == 1 && i % 2) snprintf(shape, sizeof shape, "[%llu]", (unsigned long long)m.R);
        else snprintf(shape, sizeof shape, kind == 3 ? "[%llu,1,%llu,1]" : "[%llu,%llu]", (unsigned long long)m.R, (unsigned long long)m.C);
        if (kind > 1)
            snprintf(config, sizeof config, i % 2 ? "{\"quantization_config\":{\"weight_block_size\":[%llu,%llu]}}"
                : "{\"quantization_config\":{\"config_groups\":{\"group_0\":{\"weights\":{\"block_structure\":[%llu,%llu]}}}}}", (unsigned long long)m.r, (unsigned long long)m.c);
        struct rf_weights *w = NULL;
        struct rf_error err = {0};
        struct rf_fp8 f;
        rf_status s = open_made(&m, suffixes[i / 2 % 2], shape, config, &w, &err);
        if (!s) s = rf_fp8_find(&f, w, rf_weights_find(w, "w"), &err);
        if (!s) s = rf_fp8_check(&f, w, &err);
        CHECK_STR(err.message, "");
        REQUIRE(!s);
        CHECK_INT(f.type, m.cols % 32 == 0 && (m.C == 1 || m.c % 128 == 0) ? RF_TYPE_F8_E4M3 : RF_TYPE_BF16);
        check_rows(&f, &m, &rng);
        rf_weights_close(w);
        made_release(&m);
    }
}

TEST(sizes_that_nobody_says)
{
    static const struct { uint64_t rows, cols, r, c; } cases[] = {{300, 260, 128, 128}, {128, 256, 64, 128}, {96, 256, 32, 64}, {64, 96, 1, 32}, {64, 256, 64, 128}};
    struct rf_rng rng = {check_seed()};
    for (size_t i = 0; i < RF_COUNT(cases); i++) {
        struct made m = {.rows = cases[i].rows, .cols = cases[i].cols, .r = cases[i].r, .c = cases[i].c, .dtype = "F32"};
        struct rf_weights *w = NULL;
        struct rf_fp8 f;
        char shape[64];
        make(&m, &rng);
        snprintf(shape, sizeof shape, "[%llu,%llu]", (unsigned long long)m.R, (unsigned long long)m.C);
        REQUIRE(!open_made(&m, "_scale", shape, "{}", &w, NULL));
        CHECK_INT(rf_fp8_find(&f, w, rf_weights_find(w, "w"), NULL), RF_OK);
        check_rows(&f, &m, &rng);
        rf_weights_close(w);
        made_release(&m);
    }
}

TEST(nan_and_strange_scales)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY, 0x1.8p64f};
    struct rf_rng rng = {check_seed()};
    struct made m = {.rows = 5, .cols = 64, .r = 1, .c = 64, .dtype = "F32"};
    struct rf_weights *w = NULL;
    struct rf_error err;
    struct rf_fp8 f;
    uint8_t rows[5 * 72];
    float v[64];
    make(&m, &rng);
    for (int at = 0; at < 5 * 64; at += 53) { /* NaN is seen in its row and no other */
        char was = m.q.data[at];
        m.q.data[at] = (char)(at % 2 ? 0x7f : 0xff);
        REQUIRE(!open_made(&m, "_scale", "[5,1]", "{}", &w, NULL) && !rf_fp8_find(&f, w, rf_weights_find(w, "w"), NULL));
        CHECK(!rf_fp8_rows(&f, 0, 5, rows, 72));
        for (int r = 0; r < 5; r++) {
            CHECK_INT(rf_fp8_rows(&f, (uint64_t)r, 1, rows, 72), r != at / 64);
            CHECK_INT(rf_fp8_values(&f, (uint64_t)r, v), r != at / 64);
        }
        rf_weights_close(w);
        m.q.data[at] = was;
    }
    for (size_t i = 0; i < RF_COUNT(bad); i++) {
        memcpy(m.s.data + 4 * i, &bad[i], 4);
        REQUIRE(!open_made(&m, "_scale", "[5,1]", "{}", &w, NULL) && !rf_fp8_find(&f, w, rf_weights_find(w, "w"), NULL));
        CHECK_INT(rf_fp8_check(&f, w, &err), RF_CORRUPT);
        CHECK(strstr(err.message, "w_scale") && strstr(err.message, "2^64"));
        rf_weights_close(w);
        memset(m.s.data + 4 * i, 0, 4); /* zero is a number */
    }
    made_release(&m);
}

int main(void)
{
    mk_dir_begin();
    RUN(every_geometry);
    RUN(sizes_that_nobody_says);
    RUN(nan_and_strange_scales);
    mk_dir_end();
    return check_end();
}
