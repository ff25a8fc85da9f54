/* base: buffers, arenas, the map, UTF-8, checked allocation, status text. */
#include "base/arena.h"
#include "base/buf.h"
#include "base/json.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/utf8.h"
#include "check.h"

/* Under sanitizers an impossible size is NULL, as without them. */
const char *__asan_default_options(void), *__tsan_default_options(void);
const char *__asan_default_options(void) { return "allocator_may_return_null=1"; }
const char *__tsan_default_options(void) { return "allocator_may_return_null=1"; }

TEST(checked_arithmetic)
{
    size_t r;
    uint64_t r64;
    CHECK(rf_mul(SIZE_MAX / 2, 2, &r) && r == SIZE_MAX - 1);
    CHECK(!rf_mul(SIZE_MAX / 2 + 1, 2, &r));
    CHECK(rf_add(SIZE_MAX, 0, &r) && !rf_add(SIZE_MAX, 1, &r));
    CHECK(!rf_mul64(UINT64_MAX, 2, &r64) && !rf_add64(UINT64_MAX, 1, &r64));
}

TEST(allocations_fail_on_demand)
{
    uint64_t before = rf_mem_count();
    void *p = rf_alloc(0);
    CHECK(p != NULL);
    rf_free(p);
    CHECK_INT(rf_mem_count() - before, 1);
    rf_mem_fail_at(2);
    void *a = rf_alloc(8), *b = rf_alloc(8), *c = rf_alloc(8);
    rf_mem_fail_at(0);
    CHECK(a && !b && c);
    rf_free(a), rf_free(c);
    CHECK(!rf_alloc_array(SIZE_MAX / 2, 4));
    CHECK(!rf_realloc_array(NULL, SIZE_MAX / 2, 4));
    char *z = rf_alloc_array(100, 3);
    for (int i = 0; i < 300; i++) CHECK(z[i] == 0);
    rf_free(z);
    char *al = rf_alloc_aligned(4096, 10);
    CHECK(al && (uintptr_t)al % 4096 == 0);
    rf_free(al);
    char *s = rf_strndup("hello", 3);
    CHECK_STR(s, "hel");
    rf_free(s);
    rf_free(NULL);
}

TEST(status_text)
{
    struct rf_error e = {0};
    CHECK_INT(rf_fail(&e, RF_CORRUPT, "found %d, expected %d", 1, 2), RF_CORRUPT);
    CHECK_STR(e.message, "found 1, expected 2");
    CHECK_STR(e.param, "");
    CHECK_INT(rf_fail_param(&e, RF_INVALID, "top_p", "out of range"), RF_INVALID);
    CHECK_STR(e.param, "top_p");
    CHECK_INT(rf_fail_nomem(&e, "thing", 12345), RF_NOMEM);
    CHECK(strstr(e.message, "12345") && strstr(e.message, "thing"));
    CHECK_INT(rf_fail(NULL, RF_IO, "nobody listens"), RF_IO);
    char big[2000];
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = 0;
    rf_fail(&e, RF_IO, "%s", "a\n\x1b[2J\x7f \xff\xc3+ \xc2\x9b \xed\xa0\x80 h\xc3\xa9 \xe2\x82");
    CHECK_STR(e.message, "a?" "?[2J? ?" "?+ ? ??" "? h\xc3\xa9 ?");
    rf_fail(&e, RF_IO, "%s", big);
    CHECK(strlen(e.message) == sizeof e.message - 1);
    CHECK_INT(rf_status_http(RF_OK), 200);
    CHECK_INT(rf_status_http(RF_TOO_LONG), 400);
    for (int s = RF_OK; s <= RF_INTERNAL; s++) CHECK(rf_status_name((rf_status)s)[0]);
}

TEST(buffer)
{
    struct rf_buf b = {0};
    CHECK_STR(rf_buf_str(&b), "");
    for (int i = 0; i < 1000; i++) CHECK_INT(rf_buf_printf(&b, "%d,", i), RF_OK);
    CHECK_INT(b.len, 3890);
    CHECK(!strncmp(b.data, "0,1,2,", 6) && b.data[b.len] == 0);
    CHECK_INT(rf_buf_append(&b, "a\0b", 3), RF_OK);
    CHECK(b.data[b.len - 2] == 0);
    rf_buf_clear(&b);
    CHECK_STR(rf_buf_str(&b), "");
    CHECK_INT(rf_buf_puts(&b, "moved"), RF_OK);
    size_t n;
    char *p = rf_buf_take(&b, &n);
    CHECK_STR(p, "moved");
    CHECK_INT(n, 5);
    CHECK(!b.data);
    rf_free(p);
    p = rf_buf_take(&b, &n);
    CHECK(p && n == 0);
    rf_free(p);
    rf_buf_release(&b);
}

TEST(buffer_has_a_maximum)
{
    struct rf_buf b = {.max = 100};
    for (int i = 0; i < 100; i++) CHECK_INT(rf_buf_putc(&b, 'x'), RF_OK);
    CHECK_INT(rf_buf_putc(&b, 'y'), RF_TOO_LARGE);
    CHECK_INT(b.bad, RF_TOO_LARGE);
    CHECK_INT(b.len, 100);
    CHECK_INT(rf_buf_append(&b, "", 0), RF_TOO_LARGE); /* sticky */
    CHECK(!rf_buf_take(&b, NULL));
    rf_buf_clear(&b);
    CHECK_INT(rf_buf_puts(&b, "again"), RF_OK);
    rf_buf_release(&b);
    CHECK_INT(b.max, 100);
    rf_mem_fail_at(1);
    CHECK_INT(rf_buf_puts(&b, "no memory"), RF_NOMEM);
    rf_mem_fail_at(0);
    CHECK_INT(rf_buf_reserve(&b, SIZE_MAX), RF_NOMEM);
    rf_buf_release(&b);
}

TEST(arena)
{
    struct rf_arena a = {0};
    struct rf_rng r = {check_seed()};
    for (int i = 0; i < 2000; i++) {
        size_t n = rf_rng_below(&r, 300);
        unsigned char *p = rf_arena_alloc(&a, n);
        REQUIRE(p);
        CHECK((uintptr_t)p % 16 == 0);
        for (size_t k = 0; k < n; k++) CHECK(p[k] == 0);
        memset(p, 0xff, n);
    }
    CHECK(rf_arena_alloc(&a, 1 << 20) != NULL); /* larger than a chunk */
    CHECK_STR(rf_arena_strndup(&a, "borrowed", 3), "bor");
    CHECK(!rf_arena_array(&a, SIZE_MAX / 2, 4) && !rf_arena_alloc(&a, SIZE_MAX));
    rf_arena_release(&a);
    a.max = 1000;
    CHECK(rf_arena_alloc(&a, 900) != NULL && !rf_arena_alloc(&a, 200));
    rf_arena_release(&a);
    CHECK(a.max == 1000 && rf_arena_alloc(&a, 900) != NULL);
    rf_arena_release(&a);
    rf_mem_fail_at(1);
    CHECK(!rf_arena_alloc(&a, 1));
    rf_mem_fail_at(0);
}

TEST(map_against_a_plain_list)
{
    enum { N = 3000 };
    static char key[N][16];
    static uint32_t want[N];
    struct rf_map m = {0};
    struct rf_rng r = {check_seed()};
    CHECK_INT(rf_map_get(&m, "x", 1), RF_MAP_NONE);
    for (int i = 0; i < N; i++) {
        snprintf(key[i], sizeof key[i], "k%d", i);
        want[i] = RF_MAP_NONE;
    }
    for (int step = 0; step < 20000; step++) {
        uint32_t i = rf_rng_below(&r, N), v = rf_rng_below(&r, 1000000), old;
        if (step % 3) {
            REQUIRE(rf_map_set(&m, key[i], strlen(key[i]), v, &old) == RF_OK);
            CHECK_INT(old, want[i]);
            want[i] = v;
        } else CHECK_INT(rf_map_get(&m, key[i], strlen(key[i])), want[i]);
    }
    size_t n = 0;
    for (int i = 0; i < N; i++) n += want[i] != RF_MAP_NONE;
    CHECK_INT(m.n, n);
    uint32_t old;
    CHECK_INT(rf_map_set(&m, "", 0, 7, &old), RF_OK); /* the empty key is a key */
    CHECK_INT(rf_map_get(&m, "", 0), 7);
    CHECK_INT(rf_map_set(&m, "a\0b", 3, 1, NULL), RF_OK);
    CHECK_INT(rf_map_get(&m, "a\0c", 3), RF_MAP_NONE);
    rf_map_release(&m);
    CHECK_INT(rf_map_get(&m, "k1", 2), RF_MAP_NONE);
    rf_mem_fail_at(1);
    CHECK_INT(rf_map_set(&m, "x", 1, 1, NULL), RF_NOMEM);
    rf_mem_fail_at(0);
    rf_map_release(&m);
    CHECK(rf_hash("abc", 3, 1) != rf_hash("abc", 3, 2) && rf_hash("abc", 3, 1) != rf_hash("abd", 3, 1));
}

TEST(utf8_every_code_point)
{
    char out[4];
    uint32_t cp;
    for (uint32_t c = 0; c <= 0x10ffff; c++) {
        if (c >= 0xd800 && c <= 0xdfff) continue;
        unsigned n = rf_utf8_encode(c, out);
        if (rf_utf8_decode(out, n, &cp) != n || cp != c || !rf_utf8_valid(out, n)) CHECK_FAIL_("U+%04X", c);
        for (unsigned k = 1; k < n; k++) {
            if (rf_utf8_decode(out, k, &cp) != 0 || cp != 0xfffd) CHECK_FAIL_("U+%04X cut to %u", c, k);
            if (rf_utf8_incomplete_tail(out, k) != k) CHECK_FAIL_("U+%04X tail of %u", c, k);
        }
        if (rf_utf8_incomplete_tail(out, n) != 0) CHECK_FAIL_("U+%04X is whole", c);
    }
}

TEST(utf8_refuses_what_rfc_3629_refuses)
{
    static const char *const bad[] = {"\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xe0\x80\x80", "\xe0\x9f\xbf", "\xed\xa0\x80",
        "\xed\xbf\xbf", "\xf0\x80\x80\x80", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "\xc3(", "\xe2\x28\xa1",
        "\xe2\x82(", "ok\xe2\x82", "\xf8\x88\x80\x80\x80"};
    for (size_t i = 0; i < RF_COUNT(bad); i++) CHECK(!rf_utf8_valid(bad[i], strlen(bad[i])));
    CHECK(rf_utf8_valid("", 0) && rf_utf8_valid("a\0b", 3));
    CHECK_INT(rf_utf8_incomplete_tail("a\xe2\x82", 3), 2);
    CHECK_INT(rf_utf8_incomplete_tail("a\xe2(", 3), 0);
    CHECK_INT(rf_utf8_incomplete_tail("\xc0", 1), 0);        /* can never become a character */
    CHECK_INT(rf_utf8_incomplete_tail("\xe0\x80", 2), 0);    /* overlong: neither can this */
    CHECK_INT(rf_utf8_incomplete_tail("\xed\xa0", 2), 0);    /* surrogate */
    CHECK_INT(rf_utf8_incomplete_tail("", 0), 0);
}

TEST(utf8_bad_subparts)
{
    static const struct { const char *s; unsigned n; } cases[] = {
        {"\xbf", 1}, {"\xed\x8b", 2}, {"\xed\xa0\x80", 1}, {"\xf0\x9f\x98", 3}, {"\xf0\x9f\x98 ", 3}, {"\xc2", 1}, {"\xff\x80", 1}, {"\xe2\x82\xc3", 2},
    };
    for (size_t i = 0; i < RF_COUNT(cases); i++) CHECK_INT(rf_utf8_bad(cases[i].s, strlen(cases[i].s)), cases[i].n);
}

static rf_status read_scalar(const char *s, size_t n, struct rf_arena *a, struct rf_json_value *v)
{
    struct rf_error err = {0};
    struct rf_json j = {.s = s, .n = n, .name = "t", .arena = a, .err = &err};
    rf_status st = rf_json_scalar(&j, v);
    return st ? st : rf_json_end(&j);
}

TEST(json_numbers_are_strtods)
{
    static const char *const hard[] = {"0.1", "-0.0", "0.30000000000000004", "9007199254740993.0", "9007199254740992.5", "9007199254740993.5",
        "1.7976931348623157", "0.0000000000000000001", "9999999999999999999", "18446744073709551615", "9223372036854775808", "-3.4494800567626953",
        "4503599627370497.5", "4503599627370496.5", "1234567890.123456789", "0.999999999999999999", "1e-7", "2.5E3", "1.00000000000000011102230246251565"};
    struct rf_rng r = {check_seed()};
    struct rf_json_value v;
    for (int i = 0; i < 200000; i++) {
        char s[64];
        if (i < (int)RF_COUNT(hard)) snprintf(s, sizeof s, "%s", hard[i]);
        else if (i % 3 == 0) snprintf(s, sizeof s, "%.*f", 1 + (int)rf_rng_below(&r, 18), (double)(float)((double)rf_rng_below(&r, 1 << 24) / 1e5 - 50));
        else {
            unsigned whole = 1 + rf_rng_below(&r, 12), places = 1 + rf_rng_below(&r, 9);
            size_t k = 0;
            s[k++] = (char)('1' + rf_rng_below(&r, 9));
            while (k < whole) s[k++] = (char)('0' + rf_rng_below(&r, 10));
            s[k++] = '.';
            while (places--) s[k++] = (char)('0' + rf_rng_below(&r, 10));
            s[k] = 0;
        }
        CHECK(!read_scalar(s, strlen(s), NULL, &v) && v.kind == RF_JSON_NUMBER);
        double want = strtod(s, NULL);
        if (memcmp(&v.f, &want, sizeof want) && strcmp(s, "-0")) CHECK_FAIL_("%s: found %.17g, expected %.17g", s, v.f, want);
    }
}

TEST(json_strings_end_where_they_end) /* quotes, escapes and control bytes at every place of a word of eight */
{
    for (int n = 0; n < 40; n++)
        for (int at = 0; at <= n; at++) {
            char s[64] = "\"";
            struct rf_json_value v;
            struct rf_arena a = {0};
            memset(s + 1, 'x', (size_t)n);
            s[n + 1] = '"';
            CHECK(!read_scalar(s, (size_t)n + 2, &a, &v) && v.str.n == (size_t)n && (!n || !memcmp(v.str.s, s + 1, (size_t)n)));
            CHECK(read_scalar(s, (size_t)n + 1, &a, &v) == RF_CORRUPT);
            if (at == n) continue;
            s[at + 1] = '"';
            CHECK(read_scalar(s, (size_t)n + 2, &a, &v) == RF_CORRUPT && v.str.n == (size_t)at);
            s[at + 1] = '\n';
            CHECK(read_scalar(s, (size_t)n + 2, &a, &v) == RF_CORRUPT);
            s[at + 1] = '\xc3';
            CHECK(read_scalar(s, (size_t)n + 2, &a, &v) == RF_CORRUPT);
            if (at + 1 == n) continue;
            s[at + 2] = '\xa9';
            CHECK(!read_scalar(s, (size_t)n + 2, &a, &v) && v.str.n == (size_t)n);
            memcpy(s + at + 1, "\\n", 2);
            CHECK(!read_scalar(s, (size_t)n + 2, &a, &v) && v.str.n == (size_t)n - 1 && v.str.s[at] == '\n');
            s[at + 2] = '\xc3';
            CHECK(read_scalar(s, (size_t)n + 2, &a, &v) == RF_CORRUPT);
            rf_arena_release(&a);
        }
}

/* The pairs of the list at s, through rf_json_pairs or without it; how many, and how it ended. */
static rf_status read_pairs(const char *s, size_t n, bool many, struct rf_json_pair *out, size_t max, size_t *got, size_t *pos)
{
    struct rf_arena arena = {0};
    struct rf_json j = {.s = s, .n = n, .name = "pairs", .arena = &arena};
    bool more = false;
    rf_status st = rf_json_enter(&j, '[');
    *got = 0;
    while (!st && !(st = rf_json_next(&j, &more)) && more && *got < max) {
        size_t k = many ? rf_json_pairs(&j, out + *got, max - *got) : 0;
        *got += k;
        if (k) continue;
        st = rf_json_enter(&j, '[');
        if (!st) st = rf_json_item(&j, "a");
        if (!st) st = rf_json_string(&j, &out[*got].a);
        if (!st) st = rf_json_item(&j, "b");
        if (!st) st = rf_json_string(&j, &out[*got].b);
        if (!st) st = rf_json_last(&j, "no more");
        *got += !st;
    }
    *pos = j.pos;
    rf_arena_release(&arena);
    return st;
}

TEST(json_pairs_are_what_the_other_calls_read) /* a list with bytes changed: the same pairs, the same end */
{
    static const char whole[] = "[\n  [\n    \"a\",\n    \"bc\"\n  ],\n  [\n    \"abc\xe2\x96\x81""defghij\",\n    \"0123\xc3\xa9\"\n  ],\n  [\n    \"\",\n    \"x\"\n  ]\n]x",
                      bytes[] = " \"\\,[]x\n\x01\xe2\x96\xed\xa0n\r{";
    struct rf_rng r = {0};
    unsigned taken = 0, failed = 0;
    for (int i = 0; i < 200000; i++) {
        char s[sizeof whole];
        struct rf_json_pair a[4], b[4];
        size_t na, nb, pa, pb, max = 1 + rf_rng_below(&r, 4);
        memcpy(s, whole, sizeof s);
        for (uint32_t k = rf_rng_below(&r, 4); k; k--) s[rf_rng_below(&r, sizeof s - 1)] = bytes[rf_rng_below(&r, sizeof bytes - 1)];
        size_t n = i % 2 ? sizeof s - 1 : rf_rng_below(&r, sizeof s);
        if (!rf_utf8_valid(s, n)) continue;
        rf_status sa = read_pairs(s, n, true, a, max, &na, &pa), sb = read_pairs(s, n, false, b, max, &nb, &pb);
        CHECK(sa == sb && na == nb && (sa || pa == pb));
        for (size_t k = 0; k < na && k < nb; k++) /* an escape makes a copy, elsewhere */
            CHECK(a[k].a.n == b[k].a.n && a[k].b.n == b[k].b.n && (memchr(s, '\\', n) || (a[k].a.s == b[k].a.s && a[k].b.s == b[k].b.s)));
        taken += na > 1;
        failed += sa != RF_OK;
    }
    CHECK(taken > 20000 && failed > 20000);
}

int main(void)
{
    RUN(checked_arithmetic);
    RUN(allocations_fail_on_demand);
    RUN(status_text);
    RUN(buffer);
    RUN(buffer_has_a_maximum);
    RUN(arena);
    RUN(map_against_a_plain_list);
    RUN(utf8_every_code_point);
    RUN(utf8_refuses_what_rfc_3629_refuses);
    RUN(utf8_bad_subparts);
    RUN(json_numbers_are_strtods);
    RUN(json_strings_end_where_they_end);
    RUN(json_pairs_are_what_the_other_calls_read);
    return check_end();
}
