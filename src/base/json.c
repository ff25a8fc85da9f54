#include "base/json.h"

#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"

enum { MAX_NUMBER = 400 }; /* characters; a double in full has 17 digits */

rf_status rf_json_fail(struct rf_json *j, const char *expected)
{
    if (j->pos >= j->n)
        return rf_fail(j->err, j->broken ? j->broken : RF_CORRUPT, "%s: JSON ends at byte %zu, expected %s", j->name, j->pos, expected);
    unsigned char c = (unsigned char)j->s[j->pos];
    return rf_fail(j->err, j->broken ? j->broken : RF_CORRUPT, c > 0x20 && c < 0x7f ? "%s: JSON at byte %zu: found '%c', expected %s"
                                                            : "%s: JSON at byte %zu: found byte 0x%02x, expected %s",
                   j->name, j->pos, c, expected);
}

static size_t skip(const struct rf_json *j, size_t at)
{
    const char *s = j->s;
    size_t n = j->n;
    static const char eight[] = "        ";
    for (;; at++) {
        while (n - at >= 8 && !memcmp(s + at, eight, 8)) at += 8; /* indented files are mostly this */
        while (at < n && s[at] == ' ') at++;
        if (at >= n || (s[at] != '\n' && s[at] != '\t' && s[at] != '\r')) return at;
    }
}

static void space(struct rf_json *j) { j->pos = skip(j, j->pos); }

rf_status rf_json_peek(struct rf_json *j, enum rf_json_kind *kind)
{
    space(j);
    switch (j->pos < j->n ? j->s[j->pos] : 0) {
    case '{': *kind = RF_JSON_OBJECT; return RF_OK;
    case '[': *kind = RF_JSON_ARRAY; return RF_OK;
    case '"': *kind = RF_JSON_STRING; return RF_OK;
    case 't': case 'f': *kind = RF_JSON_BOOL; return RF_OK;
    case 'n': *kind = RF_JSON_NULL; return RF_OK;
    case '-': case '0': case '1': case '2': case '3': case '4': case '5': case '6': case '7': case '8': case '9':
        *kind = RF_JSON_NUMBER;
        return RF_OK;
    case 'N': case 'I':
        if (j->python) {
            *kind = RF_JSON_NUMBER;
            return RF_OK;
        }
        /* fall through */
    default: return rf_json_fail(j, "a value");
    }
}

rf_status rf_json_enter(struct rf_json *j, char open)
{
    space(j);
    if (j->pos >= j->n || j->s[j->pos] != open) return rf_json_fail(j, open == '{' ? "an object" : "an array");
    unsigned max = j->max_depth ? j->max_depth : RF_JSON_DEPTH;
    if (j->depth >= max) return rf_fail(j->err, RF_TOO_LARGE, "%s: JSON at byte %zu: nested deeper than %u", j->name, j->pos, max);
    j->level[j->depth].close = open == '{' ? '}' : ']';
    j->level[j->depth++].any = false;
    j->pos++;
    return RF_OK;
}

rf_status rf_json_item(struct rf_json *j, const char *expected)
{
    bool more = false;
    RF_TRY(rf_json_next(j, &more));
    return more ? RF_OK : rf_json_fail(j, expected);
}

rf_status rf_json_last(struct rf_json *j, const char *expected)
{
    bool more = false;
    RF_TRY(rf_json_next(j, &more));
    return more ? rf_json_fail(j, expected) : RF_OK;
}

rf_status rf_json_next(struct rf_json *j, bool *more)
{
    if (!j->depth) return rf_json_fail(j, "to be inside an object or array"); /* a caller that went on behind the last bracket */
    char close = j->level[j->depth - 1].close;
    bool any = j->level[j->depth - 1].any;
    space(j);
    char c = j->pos < j->n ? j->s[j->pos] : 0;
    *more = c != close;
    if (c == close && j->pos < j->n) {
        j->pos++;
        j->depth--;
        return RF_OK;
    }
    if (any) {
        if (c != ',') return rf_json_fail(j, close == '}' ? "',' or '}'" : "',' or ']'");
        j->pos++;
    }
    j->level[j->depth - 1].any = true;
    return RF_OK;
}

rf_status rf_json_key(struct rf_json *j, struct rf_str *key)
{
    RF_TRY(rf_json_string(j, key));
    space(j);
    if (j->pos >= j->n || j->s[j->pos] != ':') return rf_json_fail(j, "':'");
    j->pos++;
    return RF_OK;
}

static bool hex4(const char *s, size_t n, uint32_t *out)
{
    *out = 0;
    if (n < 4) return false;
    for (int i = 0; i < 4; i++) {
        char c = s[i];
        uint32_t d;
        if (c >= '0' && c <= '9')
            d = (uint32_t)(c - '0');
        else if ((c | 32) >= 'a' && (c | 32) <= 'f')
            d = (uint32_t)((c | 32) - 'a' + 10);
        else
            return false;
        *out = *out << 4 | d;
    }
    return true;
}

/* One escape at s[pos] == '\\'; moves behind it. At most as many bytes come out as went in. */
static rf_status escape(struct rf_json *j, char *out, size_t *n)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *hit = j->pos + 1 < j->n && j->s[j->pos + 1] && j->s[j->pos + 1] != 'u' ? strchr(from, j->s[j->pos + 1]) : NULL;
    uint32_t cp, low;
    if (hit) {
        out[(*n)++] = to[hit - from];
        j->pos += 2;
        return RF_OK;
    }
    size_t at = j->pos, left = j->n - at;
    if (left < 6 || j->s[at + 1] != 'u' || !hex4(j->s + at + 2, left - 2, &cp))
        return rf_json_fail(j, "a valid escape");
    if (cp >= 0xd800 && cp < 0xe000) {
        if (cp >= 0xdc00 || left < 12 || j->s[at + 6] != '\\' || j->s[at + 7] != 'u' ||
            !hex4(j->s + at + 8, left - 8, &low) || low < 0xdc00 || low >= 0xe000)
            return rf_json_fail(j, "a whole surrogate pair");
        cp = 0x10000 + ((cp - 0xd800) << 10) + (low - 0xdc00);
        j->pos += 6;
    }
    j->pos += 6;
    *n += rf_utf8_encode(cp, out + *n);
    return RF_OK;
}

static rf_status unescape(struct rf_json *j, size_t start, size_t end, struct rf_str *out)
{
    char *p = rf_arena_alloc(j->arena, end - start + 16); /* slack: a mapped file may change under us */
    size_t n = 0;
    if (!p) return rf_arena_fail(j->arena, j->err, j->name, end - start);
    for (j->pos = start; j->pos < end;) {
        const char *from = j->s + j->pos, *back = memchr(from, '\\', end - j->pos);
        size_t run = back ? (size_t)(back - from) : end - j->pos;
        memcpy(p + n, from, run);
        n += run;
        j->pos += run;
        if (back) RF_TRY(escape(j, p, &n));
    }
    *out = (struct rf_str){p, n};
    return RF_OK;
}

/* First quote, backslash or control byte at or after s[at], eight bytes at a time; adds the bytes before it to *seen. */
static size_t plain(const char *s, size_t n, size_t at, uint64_t *seen)
{
    const uint64_t ones = 0x0101010101010101u, high = ones << 7;
    for (uint64_t w; n - at >= sizeof w; at += sizeof w) {
        memcpy(&w, s + at, sizeof w);
        uint64_t quote = w ^ ones * '"', back = w ^ ones * '\\';
        uint64_t stop = (((quote - ones) & ~quote) | ((back - ones) & ~back) | ((w - ones * 0x20) & ~w)) & high;
        if (stop) { /* the lowest bit is right; above it a carry may tell stories */
            *seen |= w & ((stop & -stop) - 1);
            return at + (unsigned)__builtin_ctzll(stop) / 8;
        }
        *seen |= w;
    }
    for (; at < n && s[at] != '"' && s[at] != '\\' && (unsigned char)s[at] >= 0x20; at++) *seen |= (unsigned char)s[at];
    return at;
}

rf_status rf_json_string(struct rf_json *j, struct rf_str *out)
{
    space(j);
    if (j->pos >= j->n || j->s[j->pos] != '"') return rf_json_fail(j, "a string");
    size_t start = ++j->pos, end;
    uint64_t seen = 0;
    bool escaped = false;
    for (;;) {
        j->pos = plain(j->s, j->n, j->pos, &seen);
        if (j->pos >= j->n) return rf_json_fail(j, "the end of a string");
        if (j->s[j->pos] == '"') break;
        if (j->s[j->pos] != '\\') return rf_json_fail(j, "no control byte in a string");
        escaped = true;
        if (j->pos + 1 < j->n) seen |= (unsigned char)j->s[j->pos + 1];
        j->pos += j->n - j->pos > 1 ? 2 : 1; /* an escaped quote does not end it */
    }
    end = j->pos;
    if (seen & 0x8080808080808080u && !rf_utf8_valid(j->s + start, end - start)) {
        j->pos = start;
        return rf_json_fail(j, "valid UTF-8 in the string that starts here");
    }
    *out = (struct rf_str){j->s + start, end - start};
    if (escaped) RF_TRY(unescape(j, start, end, out));
    j->pos = end + 1;
    return RF_OK;
}

/* What stands between two strings again and again: files written by programs repeat themselves to the blank. */
struct gap { const char *s; size_t n, first; }; /* first: how far the first mark reaches */

/* The marks in turn, white space before each; the same bytes as last time are taken at once. */
static bool cross(const struct rf_json *j, size_t *at, struct gap *g, const char *marks)
{
    size_t from = *at, to = from, first = 0;
    if (g->n && j->n - from >= g->n && !memcmp(j->s + from, g->s, g->n)) {
        *at += g->n;
        return true;
    }
    for (const char *m = marks; *m; m++) {
        to = skip(j, to);
        if (to >= j->n || j->s[to++] != *m) return false;
        if (m == marks) first = to - from;
    }
    *g = (struct gap){j->s + from, to - from, first};
    *at = to;
    return true;
}

/* The rest of a string that has no escapes, with its closing quote. */
static bool rest_of_string(const struct rf_json *j, size_t *at, struct rf_str *out)
{
    uint64_t seen = 0;
    size_t from = *at, to = plain(j->s, j->n, from, &seen);
    *out = (struct rf_str){j->s + from, to - from};
    *at = to + 1;
    return to < j->n && j->s[to] == '"';
}

size_t rf_json_pairs(struct rf_json *j, struct rf_json_pair *out, size_t max)
{
    struct gap open = {0}, middle = {0}, between = {0}, close = {0};
    size_t at = j->pos, n = 0;
    if (!cross(j, &at, &open, "[\"")) return 0;
    while (n < max && rest_of_string(j, &at, &out[n].a) && cross(j, &at, &middle, ",\"") && rest_of_string(j, &at, &out[n].b)) {
        size_t end = at;
        bool more = cross(j, &at, &between, "],[\"");
        if (!more && !cross(j, &at, &close, "]")) break;
        j->pos = more ? end + between.first : at;
        n++;
        if (!more) break;
    }
    return n;
}

static bool literal(struct rf_json *j, const char *word)
{
    size_t n = strlen(word);
    if (j->n - j->pos < n || memcmp(j->s + j->pos, word, n)) return false;
    j->pos += n;
    return true;
}

static size_t digits(struct rf_json *j)
{
    size_t from = j->pos;
    while (j->pos < j->n && j->s[j->pos] >= '0' && j->s[j->pos] <= '9') j->pos++;
    return j->pos - from;
}

/* Up to 19 digits, no exponent: digits / 10^places in whole numbers, rounded once (to the nearest, ties to even), is what
 * strtod gives in a tenth of the time. Vocabularies have scores by the 100,000. */
static bool short_decimal(const char *s, size_t n, double *out)
{
    uint64_t digits = 0, ten = 1;
    bool negative = *s == '-', point = false;
    if (n - negative > 20) return false;
    for (size_t i = negative; i < n; i++) {
        if (s[i] == '.') {
            point = true;
            continue;
        }
        if (s[i] < '0' || s[i] > '9' || (i - negative >= 19 && !point)) return false;
        digits = digits * 10 + (uint64_t)(s[i] - '0');
        if (point) ten *= 10;
    }
    *out = negative ? -0.0 : 0.0;
    if (!digits) return true;
    int up = 64 + __builtin_clzll(digits);
    __uint128_t all = (__uint128_t)digits << up, q = all / ten;
    int cut = (q >> 64 ? 128 - __builtin_clzll((uint64_t)(q >> 64)) : 64 - __builtin_clzll((uint64_t)q)) - 53;
    __uint128_t top = q >> cut, rest = q - (top << cut), half = (__uint128_t)1 << (cut - 1);
    top += rest > half || (rest == half && (q * ten != all || top & 1));
    double v = ldexp((double)(uint64_t)top, cut - up);
    *out = negative ? -v : v;
    return true;
}

/* strtod under the "C" locale, whatever the host program has set. */
static bool to_double(const char *s, size_t n, bool huge, double *out)
{
    char text[MAX_NUMBER + 1];
    if (short_decimal(s, n, out)) return true;
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (!c) return false;
    memcpy(text, s, n);
    text[n] = 0;
    *out = strtod_l(text, NULL, c);
    freelocale(c);
    return huge || isfinite(*out);
}

static bool to_int64(const char *s, size_t n, bool negative, int64_t *out)
{
    int64_t v = 0; /* counted downwards: the negative range is the larger one */
    for (size_t i = 0; i < n; i++)
        if (__builtin_mul_overflow(v, 10, &v) || __builtin_sub_overflow(v, s[i] - '0', &v)) return false;
    return negative ? (*out = v, true) : !__builtin_sub_overflow(0, v, out);
}

static rf_status number(struct rf_json *j, struct rf_json_value *v)
{
    size_t start = j->pos;
    bool whole = true;
    *v = (struct rf_json_value){.kind = RF_JSON_NUMBER};
    if (j->python && (literal(j, "NaN") || literal(j, "Infinity") || literal(j, "-Infinity"))) {
        v->f = j->s[start] == 'N' ? (double)NAN : j->s[start] == '-' ? -(double)INFINITY : (double)INFINITY;
        return RF_OK;
    }
    if (j->s[j->pos] == '-') j->pos++;
    size_t first = j->pos, n = digits(j);
    if (!n || (n > 1 && j->s[first] == '0')) return rf_json_fail(j, "a number without leading zeros");
    if (j->pos < j->n && j->s[j->pos] == '.') {
        whole = false;
        j->pos++;
        if (!digits(j)) return rf_json_fail(j, "a digit");
    }
    if (j->pos < j->n && (j->s[j->pos] | 32) == 'e') {
        whole = false;
        j->pos++;
        if (j->pos < j->n && (j->s[j->pos] == '+' || j->s[j->pos] == '-')) j->pos++;
        if (!digits(j)) return rf_json_fail(j, "a digit");
    }
    v->str = (struct rf_str){j->s + start, j->pos - start};
    v->integer = whole;
    v->fits = whole && to_int64(j->s + first, n, first > start, &v->i);
    if (v->fits) {
        v->f = (double)v->i;
        return RF_OK;
    }
    if (v->str.n > MAX_NUMBER || !to_double(v->str.s, v->str.n, j->huge, &v->f)) {
        j->pos = start;
        return rf_json_fail(j, j->huge ? "a number of at most 400 characters" : "a number that fits a double");
    }
    return RF_OK;
}

rf_status rf_json_scalar(struct rf_json *j, struct rf_json_value *v)
{
    *v = (struct rf_json_value){0};
    RF_TRY(rf_json_peek(j, &v->kind));
    switch (v->kind) {
    case RF_JSON_NULL: return literal(j, "null") ? RF_OK : rf_json_fail(j, "null");
    case RF_JSON_BOOL:
        v->i = j->s[j->pos] == 't';
        return literal(j, v->i ? "true" : "false") ? RF_OK : rf_json_fail(j, "true or false");
    case RF_JSON_NUMBER: return number(j, v);
    case RF_JSON_STRING: return rf_json_string(j, &v->str);
    case RF_JSON_ARRAY:
    case RF_JSON_OBJECT: break;
    }
    return rf_json_fail(j, "a plain value");
}

rf_status rf_json_u64(struct rf_json *j, const char *what, uint64_t *out)
{
    struct rf_json_value v;
    space(j);
    size_t at = j->pos;
    RF_TRY(rf_json_scalar(j, &v));
    if (v.kind != RF_JSON_NUMBER || !v.fits || v.i < 0) {
        j->pos = at;
        return rf_json_fail(j, what);
    }
    *out = (uint64_t)v.i;
    return RF_OK;
}

rf_status rf_json_skip(struct rf_json *j)
{
    unsigned base = j->depth;
    do {
        enum rf_json_kind kind = RF_JSON_NULL;
        RF_TRY(rf_json_peek(j, &kind));
        if (kind == RF_JSON_OBJECT || kind == RF_JSON_ARRAY) {
            RF_TRY(rf_json_enter(j, j->s[j->pos]));
        } else {
            struct rf_json_value v;
            RF_TRY(rf_json_scalar(j, &v));
        }
        while (j->depth > base) { /* leave what is finished, stop before the next value */
            bool more = false;
            struct rf_str key;
            char close = j->level[j->depth - 1].close;
            RF_TRY(rf_json_next(j, &more));
            if (!more) continue;
            if (close == '}') RF_TRY(rf_json_key(j, &key));
            break;
        }
    } while (j->depth > base);
    return RF_OK;
}

rf_status rf_json_end(struct rf_json *j)
{
    space(j);
    return j->pos == j->n ? RF_OK : rf_json_fail(j, "the end");
}
