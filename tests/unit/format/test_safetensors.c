/* safetensors, held to the letter: what is read, what is refused, shards, truncation, mutations. */
#include "base/mem.h"
#include "base/rng.h"
#include "check.h"
#include "ggufmake.h"

static rf_status open_header(const char *header, size_t data, struct rf_error *err)
{
    struct rf_buf b = {0};
    double seconds;
    mk_safetensors(&b, header, data);
    rf_status s = mk_open(mk_write("x.safetensors", b.data, b.len), err, &seconds);
    if (seconds > MK_LIMIT) CHECK_FAIL_("took %.3f s: %.100s", seconds, header);
    rf_buf_release(&b);
    return s;
}

#define GOOD_HEADER                                                                                                   \
    "{\"__metadata__\":{\"format\":\"pt\",\"q\\\"\":\"\\n\"},"                                                        \
    "\"w\":{\"dtype\":\"BF16\",\"shape\":[3,5],\"data_offsets\":[8,38]},"                                             \
    "\"first\":{\"shape\":[2],\"data_offsets\":[0,8],\"dtype\":\"F32\"},"                                             \
    "\"scalar\":{\"dtype\":\"F16\",\"shape\":[],\"data_offsets\":[38,40]},"                                           \
    "\"f8 \\u00e9\":{\"dtype\":\"F8_E4M3\",\"shape\":[2,3,4,5,6],\"data_offsets\":[40,760]},"                         \
    "\"f4\":{\"dtype\":\"F4\",\"shape\":[4,2],\"data_offsets\":[760,764]},"                                           \
    "\"i\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[764,772]}}   "
enum { GOOD_DATA = 772 };

TEST(reads_a_file)
{
    struct rf_buf b = {0};
    struct rf_weights *w = NULL;
    struct rf_error err = {0};
    mk_safetensors(&b, GOOD_HEADER, 0);
    size_t data = b.len;
    for (int i = 0; i < GOOD_DATA; i++) rf_buf_putc(&b, (char)i);
    rf_status s = rf_weights_open(&w, mk_write("good.safetensors", b.data, b.len), &err);
    CHECK_STR(err.message, "");
    REQUIRE(!s);
    CHECK_INT(rf_weights_source(w), RF_SOURCE_HF);
    CHECK_STR(rf_weights_dir(w), mk_dir);
    CHECK_INT(rf_weights_n_tensor(w), 6);
    CHECK_INT(rf_weights_file_bytes(w), data + GOOD_DATA);
    const struct rf_tensor_view *t = rf_weights_find(w, "w"), *f8 = rf_weights_find(w, "f8 \xc3\xa9"),
                                *scalar = rf_weights_find(w, "scalar");
    REQUIRE(t && f8 && scalar);
    CHECK_INT(t->type, RF_TYPE_BF16);
    CHECK_INT(t->n_dim, 2);
    CHECK_INT(t->dim[0], 5);
    CHECK_INT(t->dim[1], 3);
    CHECK_INT(t->bytes, 30);
    CHECK_INT(t->data[0], 8);
    CHECK_INT(scalar->n_dim, 1);
    CHECK_INT(scalar->dim[0], 1);
    CHECK_INT(f8->n_dim, 4);
    CHECK_INT(f8->dim[0], 6);
    CHECK_INT(f8->dim[3], 2 * 3);
    CHECK(!rf_type_get(f8->type));
    CHECK_STR(rf_weights_type_name(f8->type), "F8_E4M3");
    CHECK_STR(rf_weights_type_name(rf_weights_find(w, "f4")->type), "F4");
    CHECK_STR(rf_weights_type_name(RF_TYPE_Q4_K), "Q4_K");
    CHECK_STR(rf_weights_type_name(UINT32_MAX), "?");
    CHECK(!rf_type_get(rf_weights_find(w, "i")->type));
    rf_weights_close(w);
    rf_buf_release(&b);
    mk_remove("good.safetensors");
}

#define T(rest) "{\"t\":{" rest "}}"
#define F32_2 "\"dtype\":\"F32\",\"shape\":[2],"

static const struct { const char *name, *header; size_t data; rf_status want; const char *says;
} bad[] = {
    {"no object", "[]", 0, RF_CORRUPT, "'{' as the first byte"},
    {"space first", " {}", 0, RF_CORRUPT, "'{' as the first byte"},
    {"empty header", "", 0, RF_CORRUPT, "'{' as the first byte"},
    {"cut off", "{", 0, RF_CORRUPT, "JSON ends"},
    {"text behind", "{}x", 0, RF_CORRUPT, "the end"},
    {"NUL behind", "{}\x01", 0, RF_CORRUPT, "the end"},
    {"data without tensors", "{}", 8, RF_CORRUPT, "the file holds 8"},
    {"trailing comma", "{\"__metadata__\":{},}", 0, RF_CORRUPT, "a string"},
    {"name twice", "{\"t\":{" F32_2 "\"data_offsets\":[0,8]},\"t\":{" F32_2 "\"data_offsets\":[8,16]}}", 16, RF_CORRUPT,
     "stands twice"},
    {"name twice, escaped", "{\"t\":{" F32_2 "\"data_offsets\":[0,8]},\"\\u0074\":{" F32_2 "\"data_offsets\":[8,16]}}",
     16, RF_CORRUPT, "stands twice"},
    {"metadata twice", "{\"__metadata__\":{},\"__metadata__\":{}}", 0, RF_CORRUPT, "only once"},
    {"metadata with a number", "{\"__metadata__\":{\"a\":1}}", 0, RF_CORRUPT, "a string"},
    {"field twice", T(F32_2 "\"shape\":[2],\"data_offsets\":[0,8]"), 8, RF_CORRUPT, "\"shape\" stands twice"},
    {"unknown field", T(F32_2 "\"data_offsets\":[0,8],\"x\":1"), 8, RF_CORRUPT, "\"x\" is unknown"},
    {"no dtype", T("\"shape\":[2],\"data_offsets\":[0,8]"), 8, RF_CORRUPT, "no dtype"},
    {"no shape", T("\"dtype\":\"F32\",\"data_offsets\":[0,8]"), 8, RF_CORRUPT, "no shape"},
    {"no offsets", T("\"dtype\":\"F32\",\"shape\":[2]"), 8, RF_CORRUPT, "no data_offsets"},
    {"unknown dtype", T("\"dtype\":\"F31\",\"shape\":[2],\"data_offsets\":[0,8]"), 8, RF_UNSUPPORTED, "\"F31\""},
    {"dtype as number", T("\"dtype\":32,\"shape\":[2],\"data_offsets\":[0,8]"), 8, RF_CORRUPT, "a string"},
    {"dimension 0", T("\"dtype\":\"F32\",\"shape\":[2,0],\"data_offsets\":[0,0]"), 0, RF_CORRUPT, "dimension 1 is 0"},
    {"dimension -1", T("\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,8]"), 8, RF_CORRUPT, "a dimension"},
    {"dimension 1.5", T("\"dtype\":\"F32\",\"shape\":[1.5],\"data_offsets\":[0,8]"), 8, RF_CORRUPT, "a dimension"},
    {"dimension 2e0", T("\"dtype\":\"F32\",\"shape\":[2e0],\"data_offsets\":[0,8]"), 8, RF_CORRUPT, "a dimension"},
    {"dimension 2^64", T("\"dtype\":\"F32\",\"shape\":[18446744073709551616],\"data_offsets\":[0,0]"), 0, RF_CORRUPT,
     "a dimension"},
    {"product wraps", T("\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]"), 0, RF_CORRUPT,
     "below 2^63"},
    {"bytes wrap", T("\"dtype\":\"F32\",\"shape\":[4611686018427387904],\"data_offsets\":[0,0]"), 0, RF_CORRUPT,
     "data_offsets"},
    {"17 dimensions", T("\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]"), 4,
     RF_UNSUPPORTED, "more than 16"},
    {"half a byte", T("\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,2]"), 2, RF_CORRUPT, "data_offsets"},
    {"size too small", T(F32_2 "\"data_offsets\":[0,4]"), 4, RF_CORRUPT, "expected 8 bytes"},
    {"size too large", T(F32_2 "\"data_offsets\":[0,12]"), 12, RF_CORRUPT, "expected 8 bytes"},
    {"end before begin", T(F32_2 "\"data_offsets\":[8,0]"), 8, RF_CORRUPT, "data_offsets [8, 0]"},
    {"three offsets", T(F32_2 "\"data_offsets\":[0,8,8]"), 8, RF_CORRUPT, "two offsets"},
    {"one offset", T(F32_2 "\"data_offsets\":[8]"), 8, RF_CORRUPT, "two offsets"},
    {"no offset", T(F32_2 "\"data_offsets\":[]"), 8, RF_CORRUPT, "two offsets"},
    {"file too short", T(F32_2 "\"data_offsets\":[0,8]"), 7, RF_CORRUPT, "truncated"},
    {"file too long", T(F32_2 "\"data_offsets\":[0,8]"), 9, RF_CORRUPT, "the file holds 9"},
    {"not from 0", T(F32_2 "\"data_offsets\":[8,16]"), 16, RF_CORRUPT, "begins at 8, expected 0"},
    {"offset 2^63", T(F32_2 "\"data_offsets\":[9223372036854775808,9223372036854775816]"), 8, RF_CORRUPT, "an offset"},
    {"offset near 2^63", T(F32_2 "\"data_offsets\":[9223372036854775792,9223372036854775800]"), 8, RF_CORRUPT,
     "truncated"},
    {"hole", "{\"a\":{" F32_2 "\"data_offsets\":[0,8]},\"b\":{" F32_2 "\"data_offsets\":[12,20]}}", 20, RF_CORRUPT,
     "begins at 12, expected 8"},
    {"overlap", "{\"a\":{" F32_2 "\"data_offsets\":[0,8]},\"b\":{" F32_2 "\"data_offsets\":[4,12]}}", 12, RF_CORRUPT,
     "begins at 4, expected 8"},
    {"same place", "{\"a\":{" F32_2 "\"data_offsets\":[0,8]},\"b\":{" F32_2 "\"data_offsets\":[0,8]}}", 8, RF_CORRUPT,
     "expected 8"},
    {"bad UTF-8", "{\"\xff\":{" F32_2 "\"data_offsets\":[0,8]}}", 8, RF_CORRUPT, "UTF-8"},
    {"lone surrogate", "{\"\\ud800\":{" F32_2 "\"data_offsets\":[0,8]}}", 8, RF_CORRUPT, "surrogate"},
    {"control byte", "{\"a\nb\":{" F32_2 "\"data_offsets\":[0,8]}}", 8, RF_CORRUPT, "control byte"},
    {"bad escape", "{\"\\x\":1}", 0, RF_CORRUPT, "escape"},
    {"single quotes", "{'t':1}", 0, RF_CORRUPT, "a string"},
    {"NaN", T("\"dtype\":\"F32\",\"shape\":[NaN],\"data_offsets\":[0,8]"), 8, RF_CORRUPT, "a value"},
    {"leading zero", T("\"dtype\":\"F32\",\"shape\":[02],\"data_offsets\":[0,8]"), 8, RF_CORRUPT, "leading zeros"},
};

TEST(refuses_bad_headers)
{
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct rf_error err;
        rf_status s = open_header(bad[i].header, bad[i].data, &err);
        if (s != bad[i].want || !strstr(err.message, bad[i].says) || !strstr(err.message, "x.safetensors"))
            CHECK_FAIL_("%s: got %s \"%s\", want %s \"%s\"", bad[i].name, rf_status_name(s), err.message,
                        rf_status_name(bad[i].want), bad[i].says);
    }
}

TEST(refuses_bad_lengths)
{
    static const uint64_t length[] = {3, 100000001, INT64_MAX, (uint64_t)1 << 63, UINT64_MAX, UINT64_MAX - 7};
    struct rf_error err;
    for (size_t i = 0; i < sizeof length / sizeof *length; i++) {
        struct rf_buf b = {0};
        mk_le(&b, length[i], 8);
        rf_buf_puts(&b, "{}");
        CHECK_INT(mk_open(mk_write("x.safetensors", b.data, b.len), &err, NULL), RF_CORRUPT);
        CHECK(strstr(err.message, "header length"));
        rf_buf_release(&b);
    }
    CHECK_INT(mk_open(mk_write("x.safetensors", "1234", 4), &err, NULL), RF_CORRUPT);
    CHECK_INT(mk_open(mk_write("x.safetensors", "", 0), &err, NULL), RF_CORRUPT);
    CHECK_INT(mk_open(mk_write("x.safetensors", "\2\0\0\0\0\0\0\0{}", 10), &err, NULL), RF_OK);
}

/* A million brackets, a 20 MB name: an answer within the limits, whatever the size. */
TEST(deep_and_long_headers)
{
    struct rf_error err;
    struct rf_buf b = {0};
    for (int i = 0; i < 1000000; i++) rf_buf_puts(&b, "{\"a\":");
    CHECK(open_header(b.data, 0, &err) != RF_OK);
    rf_buf_clear(&b);
    rf_buf_puts(&b, "{\"t\":");
    for (int i = 0; i < 1000000; i++) rf_buf_putc(&b, '[');
    CHECK(open_header(b.data, 0, &err) != RF_OK);
    rf_buf_clear(&b);
    rf_buf_puts(&b, "{\"");
    for (int i = 0; i < 2000000; i++) rf_buf_puts(&b, "\\u00e9");
    CHECK(open_header(b.data, 0, &err) != RF_OK);
    rf_buf_release(&b);
}

TEST(truncation_at_every_4k)
{
    struct rf_error err;
    struct rf_buf header = {0}, b = {0};
    size_t end = 0;
    rf_buf_putc(&header, '{');
    for (int i = 0; i < 300; i++, end += 400)
        rf_buf_printf(&header,
                      "%s\"model.layers.%d.weight\":{\"dtype\":\"F32\",\"shape\":[10,10],\"data_offsets\":[%zu,%zu]}",
                      i ? "," : "", i, end, end + 400);
    rf_buf_putc(&header, '}');
    mk_safetensors(&b, header.data, end);
    CHECK_INT(mk_open(mk_write("cut.safetensors", b.data, b.len), &err, NULL), RF_OK);
    for (size_t n = 0; n < b.len; n += 4096)
        if (mk_open(mk_write("cut.safetensors", b.data, n), &err, NULL) != RF_CORRUPT)
            CHECK_FAIL_("cut at %zu opened", n);
    CHECK_INT(mk_open(mk_write("cut.safetensors", b.data, b.len - 1), &err, NULL), RF_CORRUPT);
    mk_remove("cut.safetensors");
    rf_buf_release(&header);
    rf_buf_release(&b);
}

TEST(ten_thousand_mutations)
{
    static const char swap[] = "{}[]\":,0123456789-+eE.\\u \n\xff";
    struct rf_rng r = {check_seed()};
    struct rf_buf b = {0};
    double worst = 0;
    int opened = 0;
    for (int i = 0; i < 10000; i++) {
        struct rf_error err;
        double seconds;
        rf_buf_clear(&b);
        mk_safetensors(&b, GOOD_HEADER, GOOD_DATA);
        size_t header = b.len - GOOD_DATA;
        for (uint32_t k = 1 + rf_rng_below(&r, 3); k; k--) {
            size_t at = rf_rng_below(&r, (uint32_t)header);
            b.data[at] = rf_rng_below(&r, 2) ? swap[rf_rng_below(&r, sizeof swap - 1)] : (char)rf_rng_u64(&r);
        }
        if (!rf_rng_below(&r, 8)) b.len = rf_rng_below(&r, (uint32_t)b.len);
        rf_status s = mk_open(mk_write("mutant.safetensors", b.data, b.len), &err, &seconds);
        opened += !s;
        worst = RF_MAX(worst, seconds);
        if (s && !*err.message) CHECK_FAIL_("mutation %d: %s without a message", i, rf_status_name(s));
    }
    printf("# %d of 10000 opened, slowest %.4f s\n", opened, worst);
    CHECK(worst < MK_LIMIT);
    mk_remove("mutant.safetensors");
    rf_buf_release(&b);
}

/* ---- shards ------------------------------------------------------------------------------------------------------ */

static void shard(const char *name, const char *tensor)
{
    struct rf_buf b = {0};
    char header[256];
    snprintf(header, sizeof header, "{\"%s\":{" F32_2 "\"data_offsets\":[0,8]}}", tensor);
    mk_safetensors(&b, header, 8);
    mk_write(name, b.data, b.len);
    rf_buf_release(&b);
}

#define INDEX(map) "{\"metadata\":{\"total_size\":16,\"deep\":[[{}]]},\"weight_map\":{" map "}}"
#define A_IN_1 "\"a\":\"m-00001-of-00002.safetensors\""
#define B_IN_2 "\"b\":\"m-00002-of-00002.safetensors\""

static const struct { const char *index; rf_status want; const char *says;
} bad_index[] = {
    {INDEX(A_IN_1), RF_OK, ""}, /* the other shard is not this model's */
    {INDEX(A_IN_1 "," B_IN_2 ",\"c\":\"m-00003.safetensors\""), RF_NOT_FOUND,
     "shard \"m-00003.safetensors\" is missing"},
    {INDEX(A_IN_1 ",\"c\":\"m-00001-of-00002.safetensors\""), RF_CORRUPT, "names 2 tensors, the shards hold 1"},
    {INDEX("\"b\":\"m-00001-of-00002.safetensors\",\"a\":\"m-00002-of-00002.safetensors\""), RF_CORRUPT,
     "expected elsewhere"},
    {INDEX(A_IN_1 ",\"a\":\"m-00002-of-00002.safetensors\""), RF_CORRUPT, "stands twice"},
    {INDEX("\"a\":\"../x.safetensors\""), RF_INVALID, "bare name"},
    {INDEX("\"a\":\"/etc/x.safetensors\""), RF_INVALID, "bare name"},
    {INDEX("\"a\":\"sub/x.safetensors\""), RF_INVALID, "bare name"},
    {INDEX("\"a\":\"..\""), RF_INVALID, "bare name"},
    {INDEX("\"a\":\"\""), RF_INVALID, "bare name"},
    {INDEX("\"a\":\"x\\u0000.safetensors\""), RF_INVALID, "bare name"},
    {INDEX("\"a\":\".safetensors\""), RF_INVALID, "bare name"},
    {INDEX("\"a\":\"config.json\""), RF_INVALID, "bare name"},
    {INDEX("\"a\":7"), RF_CORRUPT, "a string"},
    {INDEX(""), RF_CORRUPT, "no weight_map"},
    {"{\"weight_map\":[]}", RF_CORRUPT, "an object"},
    {"{}", RF_CORRUPT, "no weight_map"},
    {"[]", RF_CORRUPT, "an object"},
    {"", RF_CORRUPT, "an object"},
    {"{\"weight_map\":{" A_IN_1 "},\"weight_map\":{" B_IN_2 "}}", RF_CORRUPT, "only once"},
};

TEST(shards)
{
    struct rf_weights *w = NULL;
    struct rf_error err = {0};
    mkdir(mk_path("hf"), 0700);
    shard("hf/m-00001-of-00002.safetensors", "a");
    shard("hf/m-00002-of-00002.safetensors", "b");
    mk_text("hf/config.json", "{\"hidden_size\":8}");
    CHECK_INT(mk_open(mk_path("hf"), &err, NULL), RF_NOT_FOUND);
    CHECK(strstr(err.message, "no model.safetensors.index.json"));
    mk_text("hf/model.safetensors.index.json", INDEX(B_IN_2 "," A_IN_1));
    static const char *const ways[] = {"hf", "hf/model.safetensors.index.json", "hf/m-00002-of-00002.safetensors"};
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        rf_status s = rf_weights_open(&w, mk_path(ways[i]), &err);
        if (s) CHECK_FAIL_("%s: %s", ways[i], err.message);
        REQUIRE(!s);
        CHECK_INT(rf_weights_n_tensor(w), 2);
        CHECK_INT(rf_weights_find(w, "b")->file, 1);
        CHECK_INT(rf_weights_fact(w, "hidden_size")->i, 8);
        CHECK_STR(rf_weights_dir(w), mk_path("hf"));
        rf_weights_close(w);
    }
    for (size_t i = 0; i < sizeof bad_index / sizeof *bad_index; i++) {
        mk_text("hf/model.safetensors.index.json", bad_index[i].index);
        rf_status s = mk_open(mk_path("hf"), &err, NULL);
        if (s != bad_index[i].want || !strstr(err.message, bad_index[i].says))
            CHECK_FAIL_("%s: got %s \"%s\"", bad_index[i].index, rf_status_name(s), err.message);
    }
}

TEST(allocation_torture)
{
    struct rf_error err;
    mk_text("hf/model.safetensors.index.json", INDEX(A_IN_1 "," B_IN_2));
    bool done = false;
    for (uint64_t k = 1; k < 300 && !done; k++) {
        rf_mem_fail_at(k);
        rf_status s = mk_open(mk_path("hf"), &err, NULL);
        rf_mem_fail_at(0);
        done = !s;
        if (s && s != RF_NOMEM) CHECK_FAIL_("allocation %d: %s \"%s\"", (int)k, rf_status_name(s), err.message);
    }
    CHECK(done);
}

TEST(stays_small)
{
#ifdef MK_SLOW
    SKIP("sanitizers need memory themselves");
#endif
    CHECK(mk_max_rss_mb() < 50);
}

int main(void)
{
    mk_dir_begin();
    RUN(reads_a_file);
    RUN(refuses_bad_headers);
    RUN(refuses_bad_lengths);
    RUN(truncation_at_every_4k);
    RUN(ten_thousand_mutations);
    RUN(shards);
    RUN(allocation_torture);
    RUN(stays_small);
    RUN(deep_and_long_headers);
    mk_dir_end();
    return check_end();
}
