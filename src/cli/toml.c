/* toml.c - a reader that goes forward once, line by line but for arrays. */
#include "cli/toml.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/utf8.h"

struct reader {
    const char *p, *end, *name;
    unsigned line;
    struct rf_arena *a;
    const char *tables[64]; /* seen so far */
    size_t n_table;
    const char **keys;      /* of the current table */
    size_t n_key, cap_key;
    struct rf_error *err;
};

static const char *const kinds[] = {"a string", "a whole number", "a number", "true or false", "an array"};
const char *rf_toml_kind_name(enum rf_toml_kind k) { return (size_t)k < RF_COUNT(kinds) ? kinds[k] : "?"; }

static rf_status bad(struct reader *r, const char *what) { return rf_fail(r->err, RF_INVALID, "%s:%u: %s", r->name, r->line, what); }

static void blanks(struct reader *r)
{
    while (r->p < r->end && (*r->p == ' ' || *r->p == '\t')) r->p++;
}

/* Blanks, a comment, the end of the line. */
static rf_status line_end(struct reader *r)
{
    blanks(r);
    if (r->p < r->end && *r->p == '#')
        while (r->p < r->end && *r->p != '\n') r->p++;
    if (r->p < r->end && *r->p == '\r' && r->p + 1 < r->end && r->p[1] == '\n') r->p++;
    if (r->p == r->end) return RF_OK;
    if (*r->p != '\n') return bad(r, "found more on this line, expected its end");
    r->p++;
    r->line++;
    return RF_OK;
}

static bool bare(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

static const char *keep(struct reader *r, const char *s, size_t n)
{
    const char *copy = rf_arena_strndup(r->a, s, n);
    if (!copy) rf_fail_nomem(r->err, r->name, n);
    return copy;
}

/* ---- strings ---- */

static rf_status escape(struct reader *r, struct rf_buf *out)
{
    static const char from[] = "btnfr\"\\", to[] = "\b\t\n\f\r\"\\";
    char c = r->p < r->end ? *r->p++ : 0, utf8[4];
    const char *at = c ? strchr(from, c) : NULL;
    if (at) return rf_buf_putc(out, to[at - from]);
    if (c != 'u' && c != 'U') return bad(r, "found an unknown escape in a string; '...' takes no escapes");
    uint32_t cp = 0;
    for (int i = c == 'u' ? 4 : 8; i; i--) {
        char h = r->p < r->end ? *r->p++ : 0;
        int v = h >= '0' && h <= '9' ? h - '0' : (h | 32) >= 'a' && (h | 32) <= 'f' ? (h | 32) - 'a' + 10 : -1;
        if (v < 0) return bad(r, "found a bad \\u escape");
        cp = cp << 4 | (uint32_t)v;
    }
    if (!cp || cp > 0x10ffff || (cp >= 0xd800 && cp < 0xe000)) return bad(r, "a \\u escape is no character");
    return rf_buf_append(out, utf8, rf_utf8_encode(cp, utf8));
}

static rf_status string(struct reader *r, const char **out)
{
    struct rf_buf b = {.max = RF_TOML_BYTES};
    char quote = *r->p++;
    rf_status s = RF_OK;
    if (r->p + 1 < r->end && r->p[0] == quote && r->p[1] == quote) return bad(r, "multi-line strings are not read here; use \\n");
    while (!s && r->p < r->end && *r->p != quote && *r->p != '\n') {
        if (*r->p == '\\' && quote == '"') {
            r->p++;
            s = escape(r, &b);
        } else {
            s = rf_buf_putc(&b, *r->p++);
        }
    }
    if (!s && (r->p == r->end || *r->p != quote)) s = bad(r, "a string has no end on its line");
    if (!s) r->p++;
    if (!s && (!rf_utf8_valid(rf_buf_str(&b), b.len) || memchr(rf_buf_str(&b), 0, b.len))) s = bad(r, "a string is not valid UTF-8 text");
    if (!s && !(*out = keep(r, rf_buf_str(&b), b.len))) s = RF_NOMEM;
    rf_buf_release(&b);
    return s;
}

/* ---- values ---- */

/* Spelling of a number: digits with single '_' between them, at most one '.', an exponent. */
static bool number(const char *s, size_t n, char *out, size_t cap, enum rf_toml_kind *kind)
{
    size_t at = 0;
    bool digit = false;
    *kind = RF_TOML_INT;
    if (n >= cap) return false;
    for (size_t i = 0; i < n; i++) {
        char c = s[i], next = i + 1 < n ? s[i + 1] : 0;
        bool is_digit = c >= '0' && c <= '9';
        if (c == '_' && digit && next >= '0' && next <= '9') continue;
        if ((c == '.' || c == 'e' || c == 'E') && digit) *kind = RF_TOML_REAL;
        else if ((c == '+' || c == '-') && (i == 0 || (s[i - 1] | 32) == 'e')) digit = false;
        else if (!is_digit) return false;
        digit = is_digit;
        out[at++] = c;
    }
    out[at] = 0;
    return digit;
}

static rf_status scalar(struct reader *r, enum rf_toml_kind *kind, const char **out)
{
    char text[64];
    if (r->p < r->end && (*r->p == '"' || *r->p == '\'')) {
        *kind = RF_TOML_STRING;
        return string(r, out);
    }
    const char *start = r->p;
    while (r->p < r->end && (bare(*r->p) || *r->p == '.' || *r->p == '+' || *r->p == ':')) r->p++;
    size_t n = (size_t)(r->p - start);
    if ((n == 4 && !memcmp(start, "true", 4)) || (n == 5 && !memcmp(start, "false", 5))) {
        *kind = RF_TOML_BOOL;
        *out = *start == 't' ? "true" : "false";
        return RF_OK;
    }
    if (!n && r->p < r->end && *r->p == '{') return bad(r, "inline tables are not read here; use [table]");
    if (!n) return bad(r, "found no value behind '='");
    if (!number(start, n, text, sizeof text, kind)) return bad(r, "found neither a number nor true nor false; text stands in quotes");
    *out = keep(r, text, strlen(text));
    return *out ? RF_OK : RF_NOMEM;
}

/* Blanks, comments and line ends inside an array. */
static rf_status array_gap(struct reader *r)
{
    for (;;) {
        blanks(r);
        if (r->p == r->end) return bad(r, "an array has no ']'");
        if (*r->p != '#' && *r->p != '\n' && *r->p != '\r') return RF_OK;
        RF_TRY(line_end(r));
    }
}

static rf_status array(struct reader *r, struct rf_toml *t)
{
    r->p++;
    for (;;) {
        enum rf_toml_kind kind;
        RF_TRY(array_gap(r));
        if (*r->p == ']') break;
        if (*r->p == '[') return bad(r, "arrays of arrays are not read here");
        if (t->n_item == RF_TOML_ITEMS) return rf_fail(r->err, RF_INVALID, "%s:%u: more than %d values", r->name, r->line, RF_TOML_ITEMS);
        RF_TRY(scalar(r, &kind, &t->item[t->n_item++]));
        RF_TRY(array_gap(r));
        if (*r->p == ',') r->p++;
        else if (*r->p != ']') return bad(r, "found no ',' or ']' behind a value of an array");
    }
    r->p++;
    return RF_OK;
}

/* ---- keys and tables ---- */

static rf_status key(struct reader *r, const char **out)
{
    if (r->p < r->end && (*r->p == '"' || *r->p == '\'')) return string(r, out);
    const char *start = r->p;
    while (r->p < r->end && bare(*r->p)) r->p++;
    if (r->p == start) return bad(r, "found no key; lines are: key = value, or [table]");
    *out = keep(r, start, (size_t)(r->p - start));
    return *out ? RF_OK : RF_NOMEM;
}

static rf_status table(struct reader *r, const char **name)
{
    r->p++;
    if (r->p < r->end && *r->p == '[') return bad(r, "arrays of tables are not read here");
    blanks(r);
    RF_TRY(key(r, name));
    blanks(r);
    if (r->p < r->end && *r->p == '.') return bad(r, "tables within tables are not read here");
    if (r->p == r->end || *r->p != ']') return bad(r, "found no ']' behind a table's name");
    r->p++;
    for (size_t i = 0; i < r->n_table; i++)
        if (!strcmp(r->tables[i], *name)) return bad(r, "this table was there before");
    if (r->n_table == RF_COUNT(r->tables)) return bad(r, "too many tables");
    r->tables[r->n_table++] = *name;
    r->n_key = 0;
    return RF_OK;
}

static rf_status remember_key(struct reader *r, const char *name)
{
    for (size_t i = 0; i < r->n_key; i++)
        if (!strcmp(r->keys[i], name)) return bad(r, "this key was there before");
    if (r->n_key == r->cap_key) {
        size_t cap = r->cap_key ? r->cap_key * 2 : 32;
        if (cap > 1024) return bad(r, "too many keys");
        const char **p = rf_realloc_array(r->keys, cap, sizeof *p);
        if (!p) return rf_fail_nomem(r->err, r->name, cap);
        r->keys = p;
        r->cap_key = cap;
    }
    r->keys[r->n_key++] = name;
    return RF_OK;
}

static rf_status pair(struct reader *r, struct rf_toml *t)
{
    t->line = r->line;
    t->n_item = 0;
    t->text = "";
    RF_TRY(key(r, &t->key));
    RF_TRY(remember_key(r, t->key));
    blanks(r);
    if (r->p < r->end && *r->p == '.') return bad(r, "dotted keys are not read here; use [table]");
    if (r->p == r->end || *r->p != '=') return bad(r, "found no '=' behind a key");
    r->p++;
    blanks(r);
    if (r->p == r->end || *r->p != '[') return scalar(r, &t->kind, &t->text);
    t->kind = RF_TOML_ARRAY;
    return array(r, t);
}

rf_status rf_toml_read(const char *text, size_t len, const char *name, struct rf_arena *a,
                       rf_status (*see)(void *ctx, const struct rf_toml *t, struct rf_error *err), void *ctx, struct rf_error *err)
{
    struct reader r = {.p = text, .end = text + len, .name = name, .line = 1, .a = a, .err = err};
    struct rf_toml t = {.table = ""};
    rf_status s = RF_OK;
    while (!s && r.p < r.end) {
        blanks(&r);
        bool is_table = r.p < r.end && *r.p == '[', blank = r.p == r.end || *r.p == '#' || *r.p == '\n' || *r.p == '\r';
        if (is_table) s = table(&r, &t.table);
        else if (!blank && !(s = pair(&r, &t))) s = see(ctx, &t, err);
        if (!s) s = line_end(&r);
    }
    rf_free(r.keys);
    return s;
}
