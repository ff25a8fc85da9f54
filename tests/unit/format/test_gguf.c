/* GGUF: what is read right, and every bad file of the advisories refused in one line, quickly and in little memory. */
#include <fcntl.h>

#include "base/rng.h"
#include "check.h"
#include "ggufmake.h"

#define DIM(...) (const uint64_t[]){__VA_ARGS__}

static void add_string_array(struct rf_buf *b, const char *key, int n)
{
    mk_key(b, key, MK_ARRAY);
    mk_le(b, MK_STRING, 4);
    mk_le(b, (uint64_t)n, 8);
    for (int i = 0; i < n; i++) {
        char s[16];
        snprintf(s, sizeof s, "t%d", i);
        mk_str(b, i == 3 ? "" : s);
    }
}

enum { N_GOOD_KV = 17 };

/* A file with every value type, three tensors (one of a type nobody knows) and 2 * 4096 bytes of data. */
static void good(struct rf_buf *b, uint64_t version)
{
    mk_begin(b, version, 4, N_GOOD_KV);
    mk_key(b, "general.architecture", MK_STRING);
    mk_str(b, "llama");
    mk_kv(b, "general.alignment", MK_U32, 64, 4);
    mk_kv(b, "u8", MK_U8, 200, 1);
    mk_kv(b, "i8", MK_I8, 0x80, 1);
    mk_kv(b, "u16", MK_U16, 65535, 2);
    mk_kv(b, "i16", MK_I16, 0xffff, 2);
    mk_kv(b, "u32", MK_U32, 4000000000u, 4);
    mk_kv(b, "i32", MK_I32, 0xffffffffu, 4);
    mk_kv(b, "f32", MK_F32, 0x3fc00000, 4);
    mk_kv(b, "yes", MK_BOOL, 1, 1);
    mk_kv(b, "u64", MK_U64, INT64_MAX, 8);
    mk_kv(b, "i64", MK_I64, (uint64_t)INT64_MIN, 8);
    mk_kv(b, "f64", MK_F64, 0xbff8000000000000u, 8);
    add_string_array(b, "tokens", 1000);
    mk_key(b, "scores", MK_ARRAY);
    mk_le(b, MK_F32, 4);
    mk_le(b, 2, 8);
    mk_le(b, 0x3f800000, 4);
    mk_le(b, 0xc0000000, 4);
    mk_key(b, "nested", MK_ARRAY);
    mk_le(b, MK_ARRAY, 4);
    mk_le(b, 2, 8);
    for (int i = 0; i < 2; i++) {
        mk_le(b, MK_U16, 4);
        mk_le(b, 1, 8);
        mk_le(b, 7, 2);
    }
    mk_key(b, "none", MK_ARRAY);
    mk_le(b, MK_U32, 4);
    mk_le(b, 0, 8);
    mk_tensor(b, "a", 2, DIM(256, 3), RF_TYPE_Q4_K, 0);         /* 432 bytes */
    mk_tensor(b, "later", 1, DIM(1000), RF_TYPE_F32, 4096);
    mk_tensor(b, "odd", 4, DIM(7, 1, 2, 3), 123, 448);          /* unknown type: up to the next */
    mk_tensor(b, "h", 3, DIM(5, 3, 2), RF_TYPE_F16, 3968);
    mk_pad(b, 64);
    mk_zeros(b, 8192);
}

TEST(reads_all_types)
{
    for (uint64_t version = 2; version <= 3; version++) {
        struct rf_buf b = {0};
        struct rf_weights *w = NULL;
        struct rf_error err = {0};
        good(&b, version);
        const char *path = mk_write("good.gguf", b.data, b.len);
        rf_status s = rf_weights_open(&w, path, &err);
        CHECK_STR(err.message, "");
        REQUIRE(!s);
        CHECK_INT(rf_weights_source(w), RF_SOURCE_GGUF);
        CHECK_STR(rf_weights_path(w), path);
        CHECK_STR(rf_weights_dir(w), mk_dir);
        CHECK_INT(rf_weights_file_bytes(w), b.len);
        CHECK_INT(rf_weights_n_fact(w), N_GOOD_KV);
        CHECK_INT(rf_weights_fact(w, "u8")->i, 200);
        CHECK_INT(rf_weights_fact(w, "i8")->i, -128);
        CHECK_INT(rf_weights_fact(w, "u16")->i, 65535);
        CHECK_INT(rf_weights_fact(w, "i16")->i, -1);
        CHECK_INT(rf_weights_fact(w, "u32")->i, 4000000000);
        CHECK_INT(rf_weights_fact(w, "i32")->i, -1);
        CHECK_NEAR(rf_weights_fact(w, "i32")->f, -1, 0);
        CHECK_NEAR(rf_weights_fact(w, "f32")->f, 1.5, 0);
        CHECK_INT(rf_weights_fact(w, "yes")->kind, RF_FACT_BOOL);
        CHECK_INT(rf_weights_fact(w, "yes")->i, 1);
        CHECK_INT(rf_weights_fact(w, "u64")->i, INT64_MAX);
        CHECK_INT(rf_weights_fact(w, "i64")->i, INT64_MIN);
        CHECK_NEAR(rf_weights_fact(w, "f64")->f, -1.5, 0);
        CHECK(!rf_weights_fact(w, "absent") && !rf_weights_find(w, "absent") && !rf_weights_fact_at(w, 99) &&
              !rf_weights_tensor(w, 9));
        rf_weights_close(w);
        rf_buf_release(&b);
    }
}

TEST(reads_arrays)
{
    struct rf_buf b = {0};
    struct rf_weights *w = NULL;
    good(&b, 3);
    REQUIRE(!rf_weights_open(&w, mk_write("good.gguf", b.data, b.len), NULL));
    const struct rf_fact *tokens = rf_weights_fact(w, "tokens"), *scores = rf_weights_fact(w, "scores");
    struct rf_str s = {0};
    double d = 0;
    int64_t i = 0;
    CHECK_INT(tokens->n_items, 1000);
    CHECK_INT(tokens->item_kind, RF_FACT_STRING);
    CHECK(rf_fact_item_str(tokens, 999, &s) && s.n == 4 && !memcmp(s.s, "t999", 4));
    CHECK(rf_fact_item_str(tokens, 3, &s) && s.n == 0);
    CHECK(!rf_fact_item_str(tokens, 1000, &s) && !rf_fact_item_int(tokens, 0, &i) &&
          !rf_fact_item_float(tokens, 0, &d));
    CHECK(rf_fact_item_float(scores, 1, &d) && d == -2);
    CHECK(!rf_fact_item_int(scores, 0, &i) && !rf_fact_item_str(scores, 0, &s) && !rf_fact_item_float(scores, 2, &d));
    CHECK_INT(rf_weights_fact(w, "nested")->item_kind, RF_FACT_ARRAY);
    CHECK(!rf_fact_item_int(rf_weights_fact(w, "nested"), 0, &i));
    CHECK_INT(rf_weights_fact(w, "none")->n_items, 0);
    CHECK(!rf_fact_item_int(rf_weights_fact(w, "u8"), 0, &i));
    rf_weights_close(w);
    rf_buf_release(&b);
}

TEST(places_tensors)
{
    struct rf_buf b = {0};
    struct rf_weights *w = NULL;
    good(&b, 3);
    REQUIRE(!rf_weights_open(&w, mk_write("good.gguf", b.data, b.len), NULL));
    const struct rf_tensor_view *a = rf_weights_find(w, "a"), *odd = rf_weights_find(w, "odd"),
                                *h = rf_weights_find(w, "h"), *later = rf_weights_find(w, "later");
    REQUIRE(a && odd && h && later);
    CHECK_INT(a->bytes, 3 * 144);
    CHECK_INT(a->n_dim, 2);
    CHECK_INT(a->dim[0], 256);
    CHECK_INT(a->dim[1], 3);
    CHECK_INT(a->dim[3], 1);
    CHECK_INT(odd->type, 123);
    CHECK_INT(odd->bytes, 3968 - 448);
    CHECK_INT(odd->data - a->data, 448);
    CHECK_INT(h->bytes, 60);
    CHECK_INT(later->bytes, 4000);
    CHECK_INT(later->data - a->data, 4096);
    CHECK(rf_weights_tensor(w, 1) == later); /* file order */
    rf_weights_drop(w, later);
    CHECK_INT(later->data[3999], 0);
    rf_weights_close(w);
    rf_buf_release(&b);
}

/* ---- bad files --------------------------------------------------------------------------------------------------- */

/* One file per row: written by make with the row's numbers, refused with the status and words given. */
struct bad {
    const char *name;
    void (*make)(struct rf_buf *b, const struct bad *r);
    uint64_t x, y;
    const char *key;
    rf_status want;
    const char *says;
};

static void counts(struct rf_buf *b, const struct bad *r)
{
    mk_begin(b, 3, r->x, r->y);
    mk_zeros(b, 256);
}

static void version(struct rf_buf *b, const struct bad *r)
{
    mk_begin(b, r->x, 0, 0);
}

static void few_bytes(struct rf_buf *b, const struct bad *r)
{
    mk_begin(b, 3, 0, 1);
    b->len = r->x;
}

static void magic(struct rf_buf *b, const struct bad *r)
{
    rf_buf_puts(b, r->key);
    mk_zeros(b, 64);
}

static void key_length(struct rf_buf *b, const struct bad *r)
{
    mk_begin(b, 3, 0, 1);
    mk_le(b, r->x, 8);
    mk_zeros(b, 100000);
}

static void string_length(struct rf_buf *b, const struct bad *r)
{
    mk_begin(b, 3, 0, 1);
    mk_key(b, "tokenizer.chat_template", MK_STRING);
    mk_le(b, r->x, 8);
    mk_zeros(b, 64);
}

/* key with an array of x items of type y, then 64 bytes. */
static void array_count(struct rf_buf *b, const struct bad *r)
{
    mk_begin(b, 3, 0, 1);
    mk_key(b, "tokenizer.ggml.tokens", MK_ARRAY);
    mk_le(b, r->y, 4);
    mk_le(b, r->x, 8);
    mk_zeros(b, 64);
}

static void array_string_length(struct rf_buf *b, const struct bad *r)
{
    mk_begin(b, 3, 0, 1);
    mk_key(b, "tokenizer.ggml.tokens", MK_ARRAY);
    mk_le(b, MK_STRING, 4);
    mk_le(b, 3, 8);
    mk_str(b, "fine");
    mk_le(b, r->x, 8);
    mk_zeros(b, 64);
}

static void deep_array(struct rf_buf *b, const struct bad *r)
{
    mk_begin(b, 3, 0, 1);
    mk_key(b, "deep", MK_ARRAY);
    for (uint64_t i = 0; i < r->x; i++) {
        mk_le(b, MK_ARRAY, 4);
        mk_le(b, 1, 8);
    }
    mk_zeros(b, 64);
}

static void wide_array(struct rf_buf *b, const struct bad *r)
{
    mk_begin(b, 3, 0, 1);
    mk_key(b, "wide", MK_ARRAY);
    mk_le(b, MK_ARRAY, 4);
    mk_le(b, r->x, 8);
    for (uint64_t i = 0; i < r->y; i++) {
        mk_le(b, MK_U8, 4);
        mk_le(b, 0, 8);
    }
}

static void value_type(struct rf_buf *b, const struct bad *r)
{
    mk_begin(b, 3, 0, 1);
    mk_key(b, "k", r->x);
    mk_zeros(b, 64);
}

/* One key of type y with the 4 or 8 bytes of x. */
static void one_kv(struct rf_buf *b, const struct bad *r)
{
    static const int bytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 8, 0, 8, 8, 8};
    mk_begin(b, 3, 0, 1);
    mk_kv(b, r->key, r->y, r->x, bytes[r->y]);
    mk_zeros(b, 64);
}

static void twice(struct rf_buf *b, const struct bad *r)
{
    mk_begin(b, 3, r->x, r->y);
    for (uint64_t i = 0; i < r->y; i++) mk_kv(b, "same", MK_U8, 1, 1);
    for (uint64_t i = 0; i < r->x; i++) mk_tensor(b, "same", 1, DIM(8), RF_TYPE_F32, 32 * i);
    mk_pad(b, 32);
    mk_zeros(b, 256);
}

static void tensor_type(struct rf_buf *b, const struct bad *r)
{
    mk_begin(b, 3, 1, 0);
    mk_tensor(b, "t", 2, DIM(r->x, 4), r->y, 0);
    mk_pad(b, 32);
    mk_zeros(b, 4096);
}

static void n_dims(struct rf_buf *b, const struct bad *r)
{
    mk_begin(b, 3, 1, 0);
    mk_tensor(b, "t", r->x, DIM(1, 1, 1, 1, 1, 1, 1, 1), RF_TYPE_F32, 0);
    mk_pad(b, 32);
    mk_zeros(b, 256);
}

static void dims(struct rf_buf *b, const struct bad *r)
{
    mk_begin(b, 3, 1, 0);
    mk_tensor(b, "t", 2, DIM(r->x, r->y), RF_TYPE_F32, 0);
    mk_pad(b, 32);
    mk_zeros(b, 256);
}

static void offset(struct rf_buf *b, const struct bad *r)
{
    mk_begin(b, 3, 1, 0);
    mk_tensor(b, "t", 1, DIM(8), r->y, r->x);
    mk_pad(b, 32);
    mk_zeros(b, 256);
}

/* x tensors whose sizes add up beyond 2^64. */
static void cumulative(struct rf_buf *b, const struct bad *r)
{
    mk_begin(b, 3, r->x, 0);
    for (uint64_t i = 0; i < r->x; i++) {
        char name[16];
        snprintf(name, sizeof name, "t%d", (int)i);
        mk_tensor(b, name, 1, DIM((uint64_t)1 << 60), RF_TYPE_F32, i << 62);
    }
    mk_pad(b, 32);
    mk_zeros(b, 4096);
}

static void overlap(struct rf_buf *b, const struct bad *r)
{
    mk_begin(b, 3, 2, 0);
    mk_tensor(b, "t0", 1, DIM(16), r->y, r->x);
    mk_tensor(b, "t1", 1, DIM(16), RF_TYPE_F32, 0);
    mk_pad(b, 32);
    mk_zeros(b, 4096);
}

static void names(struct rf_buf *b, const struct bad *r)
{
    mk_begin(b, 3, r->x ? 0 : 1, r->x);
    mk_str(b, "");
    mk_zeros(b, 256);
}

static const struct bad bad[] = {
    {"four bytes", few_bytes, 4, 0, 0, RF_CORRUPT, "version at byte 4"},
    {"no bytes", few_bytes, 0, 0, 0, RF_CORRUPT, "shorter than 4"},
    {"three bytes", few_bytes, 3, 0, 0, RF_CORRUPT, "shorter than 4"},
    {"header cut", few_bytes, 20, 0, 0, RF_CORRUPT, "key count at byte 16"},
    {"no key", few_bytes, 24, 0, 0, RF_CORRUPT, "do not fit"},
    {"magic of GGML", magic, 0, 0, "lmgg", RF_CORRUPT, "other magic"},
    {"magic of a web page", magic, 0, 0, "<!DOCTYPE html>", RF_CORRUPT, "other magic"},
    {"version 0", version, 0, 0, 0, RF_UNSUPPORTED, "version 0"},
    {"version 1", version, 1, 0, 0, RF_UNSUPPORTED, "version 1"},
    {"version 4", version, 4, 0, 0, RF_UNSUPPORTED, "version 4"},
    {"big-endian", version, 0x03000000, 0, 0, RF_UNSUPPORTED, "big-endian"},
    {"n_tensors 2^60", counts, (uint64_t)1 << 60, 0, 0, RF_CORRUPT, "do not fit"},
    {"n_tensors 2^64-1", counts, UINT64_MAX, 0, 0, RF_CORRUPT, "do not fit"},
    {"n_kv 2^60", counts, 0, (uint64_t)1 << 60, 0, RF_CORRUPT, "do not fit"},
    {"n_kv 2^63", counts, 0, (uint64_t)1 << 63, 0, RF_CORRUPT, "do not fit"},
    {"n_kv 17, no bytes for it", counts, 0, 18, 0, RF_CORRUPT, "empty key"},
    {"key length 2^63-1", key_length, INT64_MAX, 0, 0, RF_CORRUPT, "length 9223372036854775807"},
    {"key length 2^64-1", key_length, UINT64_MAX, 0, 0, RF_CORRUPT, "length 18446744073709551615"},
    {"key length 2^64-8", key_length, UINT64_MAX - 7, 0, 0, RF_CORRUPT, "length"},
    {"key of 64 KiB", key_length, 65536, 0, 0, RF_CORRUPT, "at most 65535"},
    {"string length 2^63-1", string_length, INT64_MAX, 0, 0, RF_CORRUPT, "tokenizer.chat_template"},
    {"string length 2^64-1", string_length, UINT64_MAX, 0, 0, RF_CORRUPT, "tokenizer.chat_template"},
    {"string one byte too long", string_length, 65, 0, 0, RF_CORRUPT, "length 65, at most 64"},
    {"array of 2^63-1 strings", array_count, INT64_MAX, MK_STRING, 0, RF_CORRUPT, "tokenizer.ggml.tokens"},
    {"array of 2^61 uint64 (product wraps)", array_count, (uint64_t)1 << 61, MK_U64, 0, RF_CORRUPT,
     "tokenizer.ggml.tokens"},
    {"array of 2^61+1 uint64", array_count, ((uint64_t)1 << 61) + 1, MK_U64, 0, RF_CORRUPT, "items of uint64"},
    {"array of 2^62 float32", array_count, (uint64_t)1 << 62, MK_F32, 0, RF_CORRUPT, "items of float32"},
    {"array of 65 bytes in 64", array_count, 65, MK_U8, 0, RF_CORRUPT, "65 items of uint8, 64 bytes left"},
    {"array of 9 strings in 64 bytes", array_count, 9, MK_STRING, 0, RF_CORRUPT, "72 expected"},
    {"array of type 13", array_count, 1, 13, 0, RF_CORRUPT, "array of type 13"},
    {"array of 2^60 arrays", array_count, (uint64_t)1 << 60, MK_ARRAY, 0, RF_CORRUPT, "items of array"},
    {"string in array 2^64-1", array_string_length, UINT64_MAX, 0, 0, RF_CORRUPT, "string 1 of 3"},
    {"string in array 2^31", array_string_length, (uint64_t)1 << 31, 0, 0, RF_CORRUPT, "length 2147483648"},
    {"arrays 5 deep", deep_array, 5, 0, 0, RF_TOO_LARGE, "nested deeper"},
    {"arrays 100000 deep", deep_array, 100000, 0, 0, RF_TOO_LARGE, "nested deeper"},
    {"array of 1000 arrays, 999 there", wide_array, 1000, 999, 0, RF_CORRUPT, "wide"},
    {"value type 13", value_type, 13, 0, 0, RF_CORRUPT, "value type 13"},
    {"value type 2^32-1", value_type, UINT32_MAX, 0, 0, RF_CORRUPT, "value type 4294967295"},
    {"uint64 above int64", one_kv, (uint64_t)1 << 63, MK_U64, "big", RF_CORRUPT, "2^63-1"},
    {"bool 2", one_kv, 2, MK_BOOL, "truth", RF_CORRUPT, "0 or 1"},
    {"alignment 0", one_kv, 0, MK_U32, "general.alignment", RF_CORRUPT, "found 0"},
    {"alignment 3", one_kv, 3, MK_U32, "general.alignment", RF_CORRUPT, "power of two"},
    {"alignment 24", one_kv, 24, MK_U32, "general.alignment", RF_CORRUPT, "power of two"},
    {"alignment 4", one_kv, 4, MK_U32, "general.alignment", RF_CORRUPT, "8 to 65536"},
    {"alignment 2^31", one_kv, (uint64_t)1 << 31, MK_U32, "general.alignment", RF_CORRUPT, "2147483648"},
    {"alignment 2^17", one_kv, 1 << 17, MK_U32, "general.alignment", RF_CORRUPT, "131072"},
    {"alignment -32", one_kv, (uint32_t)-32, MK_I32, "general.alignment", RF_CORRUPT, "-32"},
    {"alignment 32.0", one_kv, 0x42000000, MK_F32, "general.alignment", RF_CORRUPT, "float32"},
    {"split.count 3 in one file", one_kv, 3, MK_U16, "split.count", RF_INVALID, "-00001-of-00003"},
    {"split.no -1", one_kv, UINT32_MAX, MK_I32, "split.no", RF_CORRUPT, "-1"},
    {"key twice", twice, 0, 2, 0, RF_CORRUPT, "\"same\" stands twice"},
    {"tensor twice", twice, 2, 1, 0, RF_CORRUPT, "tensor \"same\" stands twice"},
    {"empty key", names, 1, 0, 0, RF_CORRUPT, "empty key"},
    {"empty tensor name", names, 0, 0, 0, RF_CORRUPT, "empty tensor name"},
    {"0 dimensions", n_dims, 0, 0, 0, RF_CORRUPT, "0 dimensions"},
    {"5 dimensions", n_dims, 5, 0, 0, RF_CORRUPT, "5 dimensions"},
    {"2^32-1 dimensions", n_dims, UINT32_MAX, 0, 0, RF_CORRUPT, "4294967295 dimensions"},
    {"dimension 0", dims, 0, 1, 0, RF_CORRUPT, "dimension 0 is 0"},
    {"dimensions [0, 256]", dims, 0, 256, 0, RF_CORRUPT, "dimension 0 is 0"},
    {"dimensions [256, 0]", dims, 256, 0, 0, RF_CORRUPT, "dimension 1 is 0"},
    {"dimensions [2^63-1, 2]", dims, INT64_MAX, 2, 0, RF_CORRUPT, "dimension 1 is 2"},
    {"dimensions [2^63, 1]", dims, (uint64_t)1 << 63, 1, 0, RF_CORRUPT, "dimension 0"},
    {"dimensions [2^32, 2^32]", dims, (uint64_t)1 << 32, (uint64_t)1 << 32, 0, RF_CORRUPT, "dimension 1"},
    {"dimension 2^42+1", dims, ((uint64_t)1 << 42) + 1, 1, 0, RF_CORRUPT, "truncated"},
    {"dimension 2^62 (bytes wrap to 0)", dims, (uint64_t)1 << 62, 1, 0, RF_CORRUPT, "tensor \"t\""},
    {"dimensions [2^61, 2] of 4 bytes", dims, (uint64_t)1 << 61, 2, 0, RF_CORRUPT, "tensor \"t\""},
    {"Q4_K row of 128", tensor_type, 128, RF_TYPE_Q4_K, 0, RF_CORRUPT, "block of 256"},
    {"Q8_0 row of 33", tensor_type, 33, RF_TYPE_Q8_0, 0, RF_CORRUPT, "block of 32"},
    {"Q4_K row of 2^60", tensor_type, (uint64_t)1 << 60, RF_TYPE_Q4_K, 0, RF_CORRUPT, "tensor \"t\""},
    {"offset unaligned", offset, 8, RF_TYPE_F32, 0, RF_CORRUPT, "multiple of the alignment"},
    {"offset behind the end", offset, 256, RF_TYPE_F32, 0, RF_CORRUPT, "truncated"},
    {"offset 2^63", offset, (uint64_t)1 << 63, RF_TYPE_F32, 0, RF_CORRUPT, "truncated"},
    {"offset 2^64-32", offset, UINT64_MAX - 31, RF_TYPE_F32, 0, RF_CORRUPT, "truncated"},
    {"offset 2^64-32, unknown type", offset, UINT64_MAX - 31, 99, 0, RF_CORRUPT, "truncated"},
    {"unknown type at the end", offset, 256, 99, 0, RF_CORRUPT, "truncated"},
    {"sizes add up to 2^64", cumulative, 4, 0, 0, RF_CORRUPT, "tensor \"t"},
    {"sizes add up to 2^66", cumulative, 16, 0, 0, RF_CORRUPT, "tensor \"t"},
    {"tensors overlap", overlap, 32, RF_TYPE_F32, 0, RF_CORRUPT, "run into the next"},
    {"tensors at one place", overlap, 0, RF_TYPE_F32, 0, RF_CORRUPT, "run into the next"},
    {"unknown type at one place", overlap, 0, 99, 0, RF_CORRUPT, "run into the next"},
};

TEST(refuses_bad_files)
{
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct rf_buf b = {0};
        struct rf_error err;
        double seconds;
        bad[i].make(&b, &bad[i]);
        rf_status s = mk_open(mk_write("bad.gguf", b.data, b.len), &err, &seconds);
        if (s != bad[i].want || !strstr(err.message, bad[i].says) || !strstr(err.message, "bad.gguf"))
            CHECK_FAIL_("%s: got %s \"%s\", want %s \"%s\"", bad[i].name, rf_status_name(s), err.message,
                        rf_status_name(bad[i].want), bad[i].says);
        if (seconds > MK_LIMIT) CHECK_FAIL_("%s: took %.3f s", bad[i].name, seconds);
        rf_buf_release(&b);
    }
#ifndef MK_SLOW
    CHECK(mk_max_rss_mb() < 50);
#endif
}

/* A gigabyte (of holes) whose header asks for work: the limits strike first. */
TEST(large_files_are_cheap_to_refuse)
{
    static const struct {
        uint64_t type, n;
    } rows[] = {{MK_STRING, 100 << 20}, {MK_STRING, 2 << 20}, {MK_ARRAY, 50 << 20},
                {MK_ARRAY, 2 << 20},    {MK_U64, 100 << 20},  {MK_U8, 1000 << 20}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct bad r = {.x = rows[i].n, .y = rows[i].type};
        struct rf_buf b = {0};
        struct rf_error err;
        double seconds;
        array_count(&b, &r);
        const char *path = mk_write("big.gguf", b.data, b.len);
        REQUIRE(!truncate(path, (off_t)1 << 30));
        rf_status s = mk_open(path, &err, &seconds);
        bool fits = rows[i].n == 2 << 20; /* within the limits: no tensors, so a file of one long array */
        if (s != (fits ? RF_OK : RF_TOO_LARGE)) CHECK_FAIL_("row %zu: %s %s", i, rf_status_name(s), err.message);
        if (!fits && seconds > MK_LIMIT) CHECK_FAIL_("row %zu: took %.3f s", i, seconds);
        rf_buf_release(&b);
    }
    mk_remove("big.gguf");
#ifndef MK_SLOW
    CHECK(mk_max_rss_mb() < 50);
#endif
}

/* Names out of the file reach the message cut short, without control bytes or broken UTF-8. */
TEST(error_lines_are_clean)
{
    struct rf_buf b = {0};
    struct rf_error err;
    mk_begin(&b, 3, 0, 1);
    mk_key(&b, "evil\n\x1b[2J\xff\xc3", 77);
    CHECK_INT(mk_open(mk_write("bad.gguf", b.data, b.len), &err, NULL), RF_CORRUPT);
    CHECK(strstr(err.message, "evil??[2J??") && !strchr(err.message, '\n'));
    rf_buf_release(&b);
}

TEST(truncation_at_every_4k)
{
    struct rf_buf b = {0};
    struct rf_error err;
    mk_begin(&b, 3, 16, 2);
    add_string_array(&b, "tokenizer.ggml.tokens", 4000);
    add_string_array(&b, "tokenizer.ggml.merges", 4000);
    for (int i = 0; i < 16; i++) {
        char name[32];
        snprintf(name, sizeof name, "blk.%d.weight", i);
        mk_tensor(&b, name, 2, DIM(256, 32), RF_TYPE_Q6_K, (uint64_t)i * 32 * 224);
    }
    mk_pad(&b, 32);
    mk_zeros(&b, 15 * 32 * 224 + 32 * 210);
    CHECK_INT(mk_open(mk_write("cut.gguf", b.data, b.len), &err, NULL), RF_OK);
    for (size_t n = 0; n < b.len; n += 4096) {
        double seconds;
        rf_status s = mk_open(mk_write("cut.gguf", b.data, n), &err, &seconds);
        if (s != RF_CORRUPT || seconds > MK_LIMIT) CHECK_FAIL_("cut at %zu: %s in %.3f s", n, rf_status_name(s), seconds);
    }
    CHECK_INT(mk_open(mk_write("cut.gguf", b.data, b.len - 1), &err, NULL), RF_CORRUPT);
    rf_buf_release(&b);
}

static void mutate(struct rf_buf *b, size_t header, struct rf_rng *r)
{
    static const uint64_t edge[] = {0,
                                    1,
                                    7,
                                    8,
                                    13,
                                    255,
                                    65535,
                                    65536,
                                    INT32_MAX,
                                    (uint64_t)1 << 31,
                                    UINT32_MAX,
                                    (uint64_t)1 << 32,
                                    (uint64_t)1 << 60,
                                    (uint64_t)1 << 61,
                                    (uint64_t)1 << 62,
                                    INT64_MAX,
                                    (uint64_t)1 << 63,
                                    UINT64_MAX};
    for (uint32_t k = 1 + rf_rng_below(r, 4); k; k--) {
        size_t at = rf_rng_below(r, (uint32_t)header - 8);
        uint64_t v = edge[rf_rng_below(r, sizeof edge / sizeof *edge)];
        switch (rf_rng_below(r, 5)) {
        case 0: b->data[at] = (char)rf_rng_u64(r); break;
        case 1: b->data[at] ^= (char)(1 << rf_rng_below(r, 8)); break;
        case 2: memcpy(b->data + at, &v, 8); break;
        case 3: memcpy(b->data + at, &v, 4); break;
        default: memmove(b->data + at, b->data + rf_rng_below(r, (uint32_t)header - 8), 8); break;
        }
    }
    if (!rf_rng_below(r, 8)) b->len = rf_rng_below(r, (uint32_t)b->len);
}

TEST(ten_thousand_mutations)
{
    struct rf_rng r = {check_seed()};
    struct rf_buf original = {0}, b = {0};
    double worst = 0;
    int opened = 0;
    good(&original, 3);
    size_t header = original.len - 8192;
    for (int i = 0; i < 10000; i++) {
        struct rf_error err;
        double seconds;
        rf_buf_clear(&b);
        rf_buf_append(&b, original.data, original.len);
        mutate(&b, header, &r);
        rf_status s = mk_open(mk_write("mutant.gguf", b.data, b.len), &err, &seconds);
        opened += !s;
        worst = RF_MAX(worst, seconds);
        if (s && !*err.message) CHECK_FAIL_("mutation %d: %s without a message", i, rf_status_name(s));
    }
    printf("# %d of 10000 opened, slowest %.4f s\n", opened, worst);
    CHECK(worst < MK_LIMIT);
    rf_buf_release(&original);
    rf_buf_release(&b);
}

/* ---- paths and splits -------------------------------------------------------------------------------------------- */

TEST(regular_files_only)
{
    struct rf_error err;
    double seconds;
    REQUIRE(!mkfifo(mk_path("pipe.gguf"), 0600));
    CHECK_INT(mk_open(mk_path("pipe.gguf"), &err, &seconds), RF_INVALID);
    CHECK(seconds < MK_LIMIT);
    REQUIRE(!mkfifo(mk_path("pipe.safetensors"), 0600));
    CHECK_INT(mk_open(mk_path("pipe.safetensors"), &err, NULL), RF_INVALID);
    CHECK_INT(mk_open("/dev/zero", &err, &seconds), RF_INVALID);
    CHECK(seconds < MK_LIMIT && strstr(err.message, "/dev/zero"));
    CHECK(mk_open("/proc/self/maps", &err, &seconds) != RF_OK && seconds < MK_LIMIT);
    CHECK_INT(mk_open(mk_path("absent.gguf"), &err, NULL), RF_NOT_FOUND);
    CHECK(strstr(err.message, "absent.gguf"));
    CHECK_INT(mk_open("", &err, NULL), RF_INVALID);
    char path[3000];
    memset(path, 'x', sizeof path);
    path[sizeof path - 1] = 0;
    CHECK_INT(mk_open(path, &err, NULL), RF_TOO_LARGE);
    mk_remove("pipe.gguf");
    mk_remove("pipe.safetensors");
}

/* One part of a split file with one tensor named after it. */
static void part(const char *name, uint64_t no, uint64_t count, uint64_t total, const char *tensor)
{
    struct rf_buf b = {0};
    mk_begin(&b, 3, 1, 4);
    mk_kv(&b, "split.no", MK_U16, no, 2);
    mk_kv(&b, "split.count", MK_U16, count, 2);
    mk_kv(&b, "split.tensors.count", MK_I32, total, 4);
    mk_kv(&b, "part", MK_U16, no, 2);
    mk_tensor(&b, tensor, 1, DIM(8), RF_TYPE_F32, 0);
    mk_pad(&b, 32);
    mk_zeros(&b, 32);
    mk_write(name, b.data, b.len);
    rf_buf_release(&b);
}

TEST(split_files)
{
    struct rf_weights *w = NULL;
    struct rf_error err = {0};
    mkdir(mk_path("split"), 0700);
    part("split/m-00001-of-00003.gguf", 0, 3, 3, "a");
    part("split/m-00002-of-00003.gguf", 1, 3, 3, "b");
    part("split/m-00003-of-00003.gguf", 2, 3, 3, "c");
    static const char *const ways[] = {"split/m-00001-of-00003.gguf", "split/m-00002-of-00003.gguf", "split", "split/"};
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        REQUIRE(!rf_weights_open(&w, mk_path(ways[i]), &err));
        CHECK_INT(rf_weights_n_tensor(w), 3);
        CHECK_INT(rf_weights_n_fact(w), 4); /* the first part's */
        CHECK_INT(rf_weights_fact(w, "part")->i, 0);
        CHECK_INT(rf_weights_find(w, "c")->file, 2);
        CHECK_STR(rf_weights_dir(w), mk_path("split"));
        rf_weights_close(w);
    }
    part("split/m-00003-of-00003.gguf", 1, 3, 3, "c");
    CHECK_INT(mk_open(mk_path(ways[0]), &err, NULL), RF_CORRUPT);
    CHECK(strstr(err.message, "split.no 1") && strstr(err.message, "m-00003-of-00003.gguf"));
    part("split/m-00003-of-00003.gguf", 2, 3, 3, "a");
    CHECK_INT(mk_open(mk_path(ways[0]), &err, NULL), RF_CORRUPT);
    CHECK(strstr(err.message, "stands twice"));
    mk_remove("split/m-00003-of-00003.gguf");
    CHECK_INT(mk_open(mk_path(ways[0]), &err, NULL), RF_NOT_FOUND);
    CHECK(strstr(err.message, "m-00003-of-00003.gguf"));
    part("split/m-00003-of-00003.gguf", 2, 3, 3, "c");
    part("split/m-00001-of-00003.gguf", 0, 3, 4, "a");
    CHECK_INT(mk_open(mk_path(ways[0]), &err, NULL), RF_CORRUPT);
    CHECK(strstr(err.message, "split.tensors.count is 4"));
    part("split/m-00001-of-00003.gguf", 0, 2, 3, "a");
    CHECK_INT(mk_open(mk_path(ways[0]), &err, NULL), RF_CORRUPT);
    CHECK(strstr(err.message, "its name says 3"));
}

TEST(folders_of_gguf)
{
    struct rf_buf b = {0};
    struct rf_error err;
    good(&b, 3);
    mkdir(mk_path("one"), 0700);
    CHECK_INT(mk_open(mk_path("one"), &err, NULL), RF_NOT_FOUND);
    mk_write("one/x.gguf", b.data, b.len);
    mk_write("one/mmproj-x.gguf", "x", 1); /* a projector beside its model */
    CHECK_INT(mk_open(mk_path("one"), &err, NULL), RF_OK);
    mk_write("one/y.gguf", b.data, b.len);
    CHECK_INT(mk_open(mk_path("one"), &err, NULL), RF_INVALID);
    CHECK(strstr(err.message, "2 GGUF models") && strstr(err.message, "x.gguf"));
    rf_buf_release(&b);
}

/* The k-th allocation fails, for every k: an error, no crash, no leak. */
TEST(allocation_torture)
{
    struct rf_buf b = {0};
    struct rf_error err;
    good(&b, 3);
    const char *path = mk_write("good.gguf", b.data, b.len);
    bool done = false;
    for (uint64_t k = 1; k < 200 && !done; k++) {
        rf_mem_fail_at(k);
        rf_status s = mk_open(path, &err, NULL);
        rf_mem_fail_at(0);
        done = !s;
        if (s && s != RF_NOMEM) CHECK_FAIL_("allocation %d: %s \"%s\"", (int)k, rf_status_name(s), err.message);
    }
    CHECK(done);
    rf_buf_release(&b);
}

int main(void)
{
    mk_dir_begin();
    RUN(refuses_bad_files);
    RUN(large_files_are_cheap_to_refuse);
    RUN(reads_all_types);
    RUN(reads_arrays);
    RUN(places_tensors);
    RUN(error_lines_are_clean);
    RUN(truncation_at_every_4k);
    RUN(ten_thousand_mutations);
    RUN(regular_files_only);
    RUN(split_files);
    RUN(folders_of_gguf);
    RUN(allocation_torture);
    mk_dir_end();
    return check_end();
}
