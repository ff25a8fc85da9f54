#include "serve/json.h"

#include <math.h>
#include <string.h>

#include "base/utf8.h"
#include "serve/internal.h"

/* s[i] is the opening quote; the place behind the closing one, or n. */
static size_t skip_string(const char *s, size_t n, size_t i)
{
    for (i++; i < n; i++) {
        if (s[i] == '\\') i++;
        else if (s[i] == '"') return i + 1;
    }
    return n;
}

/* Brackets and commas bound what the parser may recurse and allocate; being well-formed is the parser's own check. */
static rf_status guard(const char *s, size_t n, struct rf_error *err)
{
    size_t depth = 0, values = 0;
    for (size_t i = 0; i < n;) {
        char c = s[i];
        if (c == '"') {
            i = skip_string(s, n, i);
            continue;
        }
        if (c == '[' || c == '{') {
            values++;
            if (++depth > RF_SERVE_DEPTH)
                return rf_fail(err, RF_INVALID, "JSON body, byte %zu: nesting deeper than %d levels", i,
                               RF_SERVE_DEPTH);
        } else if ((c == ']' || c == '}') && depth) {
            depth--;
        } else if (c == ',') {
            values++;
        }
        if (values > RF_SERVE_VALUES)
            return rf_fail(err, RF_INVALID, "JSON body: more than %d values", RF_SERVE_VALUES);
        i++;
    }
    return RF_OK;
}

/* The top-level key whose value holds byte pos, so that a number out of range can be named. */
static void find_key(const char *s, size_t n, size_t pos, char *out, size_t cap)
{
    size_t depth = 0, key = 0, key_len = 0;
    bool value = false;
    for (size_t i = 0; i < n && i < pos;) {
        if (s[i] == '"') {
            size_t end = skip_string(s, n, i);
            if (depth == 1 && !value && end > i + 1) {
                key = i + 1;
                key_len = end - i - 2;
            }
            i = end;
            continue;
        }
        if (s[i] == '[' || s[i] == '{') depth++;
        else if ((s[i] == ']' || s[i] == '}') && depth) depth--;
        else if (s[i] == ':' && depth == 1) value = true;
        else if (s[i] == ',' && depth == 1) value = false;
        i++;
    }
    size_t len = value ? RF_MIN(key_len, cap - 1) : 0;
    memcpy(out, s + key, len);
    out[len] = 0;
    if (!rf_utf8_valid(out, len)) out[0] = 0;
}

rf_status rf_serve_json_parse(const char *text, size_t len, json_t **out, struct rf_error *err)
{
    json_error_t je;
    char key[64];
    *out = NULL;
    if (!len) return rf_fail(err, RF_INVALID, "request body: empty, expected a JSON object");
    if (!rf_utf8_valid(text, len)) return rf_fail(err, RF_INVALID, "request body: not valid UTF-8");
    RF_TRY(guard(text, len, err));
    json_t *root = json_loadb(text, len, JSON_ALLOW_NUL, &je);
    if (!root) {
        enum json_error_code code = json_error_code(&je);
        if (code == json_error_out_of_memory || !je.text[0]) return rf_fail_nomem(err, "request body", len);
        if (code == json_error_numeric_overflow) {
            find_key(text, len, je.position > 0 ? (size_t)je.position : 0, key, sizeof key);
            return rf_fail_param(err, RF_INVALID, key, "%s: number out of range", key[0] ? key : "request body");
        }
        return rf_fail(err, RF_INVALID, "request body is not valid JSON: line %d, column %d: %s", je.line, je.column,
                       je.text);
    }
    if (!json_is_object(root)) {
        json_decref(root);
        return rf_fail(err, RF_INVALID, "request body: expected a JSON object");
    }
    *out = root;
    return RF_OK;
}

void rf_serve_json_str(struct rf_buf *b, const char *s, size_t n)
{
    static const char hex[] = "0123456789abcdef", shorts[] = "btn?fr"; /* 8..13; 11 has no short form */
    rf_buf_putc(b, '"');
    size_t start = 0, i = 0;
    while (i < n) {
        unsigned char c = (unsigned char)s[i];
        if (c >= 0x20 && c < 0x80 && c != '"' && c != '\\' && c != 0x7f) {
            i++;
            continue;
        }
        uint32_t cp;
        unsigned k = c < 0x80 ? 1 : rf_utf8_decode(s + i, n - i, &cp);
        if (c >= 0x80 && k) {
            i += k;
            continue;
        }
        if (i > start) rf_buf_append(b, s + start, i - start);
        if (!k) rf_buf_puts(b, "\xef\xbf\xbd");
        else if (c == '"' || c == '\\') rf_buf_append(b, (char[]){'\\', (char)c}, 2);
        else if (c >= 8 && c <= 13 && c != 11) rf_buf_append(b, (char[]){'\\', shorts[c - 8]}, 2);
        else rf_buf_append(b, (char[]){'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]}, 6);
        start = i += k ? 1 : rf_utf8_bad(s + i, n - i);
    }
    if (i > start) rf_buf_append(b, s + start, i - start);
    rf_buf_putc(b, '"');
}

void rf_serve_json_cstr(struct rf_buf *b, const char *s)
{
    if (s) rf_serve_json_str(b, s, strlen(s));
    else rf_buf_puts(b, "null");
}

/* Token lists run to millions of numbers, for which printf is too slow. */
void rf_serve_json_int(struct rf_buf *b, int64_t x)
{
    char text[24];
    size_t at = sizeof text;
    uint64_t u = x < 0 ? 0 - (uint64_t)x : (uint64_t)x;
    do text[--at] = (char)('0' + u % 10);
    while (u /= 10);
    if (x < 0) text[--at] = '-';
    rf_buf_append(b, text + at, sizeof text - at);
}

void rf_serve_json_logprob(struct rf_buf *b, float x)
{
    if (isfinite(x)) rf_buf_printf(b, "%.9g", (double)x);
    else rf_buf_puts(b, "-9999.0");
}
