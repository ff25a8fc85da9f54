/* The lexer: text outside tags, with Jinja's whitespace control (trim_blocks and lstrip_blocks are on), and tokens inside.
 * Rules follow Jinja2's documentation, section "Whitespace Control", and were checked against it by tests.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "text/jinja_ast.h"

enum { MAX_BRACKETS = 256 };

struct lexer {
    struct rf_arena *a;
    const char *s;
    size_t n, at;
    uint32_t line;
    struct rf_jtok *tok;
    size_t n_tok, cap;
    char closer[MAX_BRACKETS];
    unsigned depth;
    struct rf_error *err;
};

#define FAIL(lx, ...) rf_fail((lx)->err, RF_INVALID, "chat template line %u: " __VA_ARGS__)

bool rf_jinja_is_space(uint32_t cp)
{
    return (cp >= 9 && cp <= 13) || (cp >= 0x1c && cp <= 0x20) || cp == 0x85 || cp == 0xa0 || cp == 0x1680 ||
           (cp >= 0x2000 && cp <= 0x200a) || cp == 0x2028 || cp == 0x2029 || cp == 0x202f || cp == 0x205f || cp == 0x3000;
}

rf_status rf_jinja_no_room(const struct rf_arena *a, uint32_t line, struct rf_error *err)
{
    if (!a->full) return rf_fail(err, RF_NOMEM, "chat template line %u: no memory to read it", line);
    return rf_fail(err, RF_TOO_LARGE, "chat template line %u: the template is too large", line);
}

static rf_status no_room(const struct lexer *lx) { return rf_jinja_no_room(lx->a, lx->line, lx->err); }

static rf_status push(struct lexer *lx, struct rf_jtok t)
{
    if (lx->n_tok == lx->cap) {
        size_t cap = lx->cap ? 2 * lx->cap : 256;
        struct rf_jtok *v = rf_arena_array(lx->a, cap, sizeof *v);
        if (!v) return no_room(lx);
        if (lx->n_tok) memcpy(v, lx->tok, lx->n_tok * sizeof *v);
        lx->tok = v;
        lx->cap = cap;
    }
    lx->tok[lx->n_tok++] = t;
    return RF_OK;
}

static rf_status push_kind(struct lexer *lx, enum rf_jtok_kind kind)
{
    return push(lx, (struct rf_jtok){.kind = kind, .line = lx->line});
}

static void advance(struct lexer *lx, size_t to)
{
    for (; lx->at < to; lx->at++) lx->line += lx->s[lx->at] == '\n';
}

static size_t space_at(const struct lexer *lx, size_t i) /* bytes of the white space character at i, or 0 */
{
    uint32_t cp;
    if (i >= lx->n) return 0;
    unsigned len = rf_utf8_decode(lx->s + i, lx->n - i, &cp);
    return len && rf_jinja_is_space(cp) ? len : 0;
}

static size_t skip_space(const struct lexer *lx, size_t i)
{
    for (size_t k; (k = space_at(lx, i)); i += k) {}
    return i;
}

static bool looking_at(const struct lexer *lx, size_t i, const char *lit)
{
    size_t k = strlen(lit);
    return lx->n - i >= k && !memcmp(lx->s + i, lit, k);
}

static size_t back_over_space(const struct lexer *lx, size_t from, size_t to) /* end of [from, to) without its white space */
{
    while (to > from) {
        size_t i = to - 1;
        while (i > from && (lx->s[i] & 0xc0) == 0x80) i--;
        if (space_at(lx, i) != to - i) break;
        to = i;
    }
    return to;
}

/* The text from the current place to the tag at `tag`; sign is the character behind the tag's opening. */
static rf_status push_data(struct lexer *lx, size_t tag, char sign, bool lstrip)
{
    size_t from = lx->at, to = tag;
    if (sign == '-') {
        to = back_over_space(lx, from, to);
    } else if (sign != '+' && lstrip) {
        size_t bol = to;
        while (bol > from && lx->s[bol - 1] != '\n') bol--;
        if (bol > from || from == 0 || lx->s[from - 1] == '\n') {
            if (back_over_space(lx, bol, to) == bol) to = bol;
        }
    }
    struct rf_jtok t = {.kind = RF_JT_DATA, .line = lx->line, .p = lx->s + from, .len = to - from};
    if (t.len) RF_TRY(push(lx, t));
    advance(lx, tag);
    return RF_OK;
}

/* The end of a block tag or comment (close is "%}" or "#}") at i, with trimmed newline; 0 if there is none. */
static size_t tag_end(const struct lexer *lx, size_t i, const char *close)
{
    if (i >= lx->n) return 0;
    if (lx->s[i] == '+' && looking_at(lx, i + 1, close)) return i + 3;
    if (lx->s[i] == '-' && looking_at(lx, i + 1, close)) return skip_space(lx, i + 3);
    if (!looking_at(lx, i, close)) return 0;
    return i + 2 < lx->n && lx->s[i + 2] == '\n' ? i + 3 : i + 2;
}

static rf_status lex_comment(struct lexer *lx)
{
    for (size_t i = lx->at; i < lx->n; i++) {
        size_t end = tag_end(lx, i, "#}");
        if (end) {
            advance(lx, end);
            return RF_OK;
        }
    }
    return FAIL(lx, "this comment is never closed: missing #}", lx->line);
}

/* The word `word` behind an opening tag at i (after its sign), then its end. */
static size_t raw_tag(const struct lexer *lx, size_t i, const char *word)
{
    if (i < lx->n && (lx->s[i] == '-' || lx->s[i] == '+')) i++;
    i = skip_space(lx, i);
    if (!looking_at(lx, i, word)) return 0;
    return skip_space(lx, i + strlen(word));
}

static size_t raw_begin(const struct lexer *lx, size_t i) /* end of "{% raw %}" whose "{%" is at i, or 0 */
{
    i = raw_tag(lx, i + 2, "raw");
    if (!i) return 0;
    if (looking_at(lx, i, "-%}")) return skip_space(lx, i + 3);
    return looking_at(lx, i, "%}") ? i + 2 : 0;
}

static rf_status lex_raw(struct lexer *lx)
{
    for (size_t i = lx->at; i < lx->n; i++) {
        if (!looking_at(lx, i, "{%")) continue;
        size_t end = raw_tag(lx, i + 2, "endraw");
        if (!end || !(end = tag_end(lx, end, "%}"))) continue;
        RF_TRY(push_data(lx, i, lx->s[i + 2], true));
        advance(lx, end);
        return RF_OK;
    }
    return FAIL(lx, "this raw block is never closed: missing endraw", lx->line);
}

static bool is_name_char(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c >= 0x80;
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static size_t digits(const struct lexer *lx, size_t i) /* (\d+_)*\d+ */
{
    if (i >= lx->n || !is_digit(lx->s[i])) return i;
    while (i < lx->n && (is_digit(lx->s[i]) || (lx->s[i] == '_' && i + 1 < lx->n && is_digit(lx->s[i + 1])))) i++;
    return i;
}

static size_t based_digits(const struct lexer *lx, int *base) /* end of 0x.. 0o.. 0b.., or at */
{
    size_t i = lx->at;
    if (i + 2 >= lx->n || lx->s[i] != '0') return i;
    char c = lx->s[i + 1] | 0x20;
    *base = c == 'x' ? 16 : c == 'o' ? 8 : c == 'b' ? 2 : 0;
    if (!*base) return i;
    size_t end = i;
    for (size_t k = i + 2; k < lx->n; k++) {
        char d = lx->s[k];
        if (d == '_' && k + 1 < lx->n) continue;
        int v = is_digit(d) ? d - '0' : (d | 0x20) >= 'a' && (d | 0x20) <= 'f' ? (d | 0x20) - 'a' + 10 : 99;
        if (v >= *base) break;
        end = k + 1;
    }
    return end;
}

static rf_status lex_number(struct lexer *lx)
{
    char buf[512];
    int base = 10;
    size_t start = lx->at, end = based_digits(lx, &base), skip = 2;
    bool is_float = false;
    if (end == start) {
        base = 10;
        skip = 0;
        end = digits(lx, start);
        bool after_dot = start > 0 && lx->s[start - 1] == '.';
        size_t i = end, k;
        if (!after_dot && i < lx->n && lx->s[i] == '.' && (k = digits(lx, i + 1)) > i + 1) i = k, is_float = true;
        if (!after_dot && i < lx->n && (lx->s[i] | 0x20) == 'e') {
            size_t e = i + 1;
            if (e < lx->n && (lx->s[e] == '+' || lx->s[e] == '-')) e++;
            if ((k = digits(lx, e)) > e) i = k, is_float = true;
        }
        if (is_float) end = i;
        if (!is_float && lx->s[start] == '0') /* 0 and 00, but 01 is two numbers to Jinja */
            for (end = start + 1; end < lx->n && lx->s[end] == '0';) end++;
    }
    size_t n = 0;
    for (size_t i = start + skip; i < end; i++) {
        if (n + 1 >= sizeof buf) return FAIL(lx, "this number is too long", lx->line);
        if (lx->s[i] != '_') buf[n++] = lx->s[i];
    }
    buf[n] = 0;
    errno = 0;
    struct rf_jtok t = {.kind = is_float ? RF_JT_FLOAT : RF_JT_INT, .line = lx->line};
    t.num = is_float ? rf_jv_float(strtod(buf, NULL)) : rf_jv_int(strtoll(buf, NULL, base));
    if (!is_float && errno) return FAIL(lx, "the integer %s does not fit 64 bits", lx->line, buf);
    advance(lx, end);
    return push(lx, t);
}

static int hex_value(char c)
{
    return is_digit(c) ? c - '0' : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10 : -1;
}

/* One escape of a string literal: *i is behind the backslash. Appends to out. */
static rf_status unescape(struct lexer *lx, size_t *i, size_t end, char *out, size_t *n)
{
    static const char from[] = "\\'\"abfnrtv", to[] = "\\'\"\a\b\f\n\r\t\v";
    char c = lx->s[*i];
    const char *at = c ? strchr(from, c) : NULL;
    uint32_t cp = 0;
    if (at) {
        out[(*n)++] = to[at - from];
        ++*i;
        return RF_OK;
    }
    if (c == '\n') { /* a line continued */
        ++*i;
        return RF_OK;
    }
    if (c >= '0' && c <= '7') {
        for (unsigned k = 0; k < 3 && *i < end && lx->s[*i] >= '0' && lx->s[*i] <= '7'; k++) cp = 8 * cp + (lx->s[(*i)++] - '0');
        *n += rf_utf8_encode(cp, out + *n);
        return RF_OK;
    }
    unsigned width = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (!width) {
        if (c == 'N') return FAIL(lx, "named characters (\\N{...}) are not supported", lx->line);
        out[(*n)++] = '\\'; /* as in Python: unknown escapes stay */
        if ((unsigned char)c >= 0x80) { /* Jinja decodes such a character from its own escape, which is then escaped */
            *i += rf_utf8_decode(lx->s + *i, end - *i, &cp);
            *n += (size_t)sprintf(out + *n, cp < 0x100 ? "x%02x" : cp < 0x10000 ? "u%04x" : "U%08x", cp);
        }
        return RF_OK;
    }
    for (unsigned k = 1; k <= width; k++) {
        int h = *i + k < end ? hex_value(lx->s[*i + k]) : -1;
        if (h < 0) return FAIL(lx, "a \\%c escape needs %u hexadecimal digits", lx->line, c, width);
        cp = 16 * cp + (uint32_t)h;
    }
    if (cp > 0x10ffff || (cp >= 0xd800 && cp < 0xe000))
        return FAIL(lx, "the escape \\%c names no Unicode character", lx->line, c);
    *i += width + 1;
    *n += rf_utf8_encode(cp, out + *n);
    return RF_OK;
}

static rf_status lex_string(struct lexer *lx)
{
    char quote = lx->s[lx->at];
    size_t end = lx->at + 1, n = 0;
    while (end < lx->n && lx->s[end] != quote) end += lx->s[end] == '\\' ? 2 : 1;
    if (end >= lx->n) return FAIL(lx, "this string is never closed: missing %c", lx->line, quote);
    char *out = rf_arena_alloc(lx->a, 4 * (end - lx->at)); /* an escaped non-ASCII character may grow */
    if (!out) return no_room(lx);
    for (size_t i = lx->at + 1; i < end;) {
        if (lx->s[i] != '\\') {
            out[n++] = lx->s[i++];
            continue;
        }
        i++;
        RF_TRY(unescape(lx, &i, end, out, &n));
    }
    struct rf_jtok t = {.kind = RF_JT_STRING, .line = lx->line, .p = out, .len = n};
    advance(lx, end + 1);
    return push(lx, t);
}

static rf_status lex_operator(struct lexer *lx)
{
    static const struct { char text[3]; enum rf_jtok_kind kind; } ops[] = {
        {"//", RF_JT_FLOORDIV}, {"**", RF_JT_POW}, {"==", RF_JT_EQ}, {"!=", RF_JT_NE}, {">=", RF_JT_GTEQ}, {"<=", RF_JT_LTEQ},
        {"+", RF_JT_ADD}, {"-", RF_JT_SUB}, {"/", RF_JT_DIV}, {"*", RF_JT_MUL}, {"%", RF_JT_MOD}, {"~", RF_JT_TILDE},
        {"[", RF_JT_LBRACKET}, {"]", RF_JT_RBRACKET}, {"(", RF_JT_LPAREN}, {")", RF_JT_RPAREN}, {"{", RF_JT_LBRACE},
        {"}", RF_JT_RBRACE}, {">", RF_JT_GT}, {"<", RF_JT_LT}, {"=", RF_JT_ASSIGN}, {".", RF_JT_DOT}, {":", RF_JT_COLON},
        {"|", RF_JT_PIPE}, {",", RF_JT_COMMA}, {";", RF_JT_SEMICOLON}};
    char c = lx->s[lx->at];
    if (c == '(' || c == '[' || c == '{') {
        if (lx->depth == MAX_BRACKETS) return FAIL(lx, "more than %d open brackets", lx->line, MAX_BRACKETS);
        lx->closer[lx->depth++] = c == '(' ? ')' : c == '[' ? ']' : '}';
    } else if (c == ')' || c == ']' || c == '}') {
        if (!lx->depth) return FAIL(lx, "unexpected '%c'", lx->line, c);
        char want = lx->closer[--lx->depth];
        if (want != c) return FAIL(lx, "unexpected '%c', expected '%c'", lx->line, c, want);
    }
    for (size_t i = 0; i < RF_COUNT(ops); i++) {
        if (!looking_at(lx, lx->at, ops[i].text)) continue;
        RF_TRY(push_kind(lx, ops[i].kind));
        lx->at += strlen(ops[i].text);
        return RF_OK;
    }
    if (c > ' ' && c < 127) return FAIL(lx, "unexpected character '%c'", lx->line, c);
    return FAIL(lx, "unexpected byte 0x%02x", lx->line, (unsigned char)c);
}

/* Tokens up to the end of a tag that began with "{%" (block) or "{{". */
static rf_status lex_tag(struct lexer *lx, bool block)
{
    uint32_t opened = lx->line;
    lx->depth = 0;
    while (lx->at < lx->n) {
        size_t end = 0;
        if (!lx->depth && block) {
            end = tag_end(lx, lx->at, "%}");
        } else if (!lx->depth) {
            if (looking_at(lx, lx->at, "-}}")) end = skip_space(lx, lx->at + 3);
            else if (looking_at(lx, lx->at, "}}")) end = lx->at + 2;
        }
        if (end) {
            RF_TRY(push_kind(lx, block ? RF_JT_BLOCK_END : RF_JT_VAR_END));
            advance(lx, end);
            return RF_OK;
        }
        char c = lx->s[lx->at];
        size_t sp = skip_space(lx, lx->at);
        if (sp > lx->at) {
            advance(lx, sp);
        } else if (is_digit(c)) {
            RF_TRY(lex_number(lx));
        } else if (is_name_char((unsigned char)c)) {
            size_t from = lx->at;
            while (lx->at < lx->n && is_name_char((unsigned char)lx->s[lx->at])) lx->at++;
            RF_TRY(push(lx, (struct rf_jtok){.kind = RF_JT_NAME, .line = lx->line, .p = lx->s + from, .len = lx->at - from}));
        } else if (c == '\'' || c == '"') {
            RF_TRY(lex_string(lx));
        } else {
            RF_TRY(lex_operator(lx));
        }
    }
    return FAIL(lx, "this tag is never closed: missing %s", opened, block ? "%}" : "}}");
}

rf_status rf_jinja_lex(struct rf_arena *a, const char *src, size_t len, struct rf_jtok **out, struct rf_error *err)
{
    struct lexer lx = {.a = a, .s = src, .n = len, .line = 1, .err = err};
    while (lx.at < len) {
        size_t tag = lx.at;
        for (; tag < len; tag++) {
            const char *brace = memchr(src + tag, '{', len - tag);
            tag = brace ? (size_t)(brace - src) : len;
            if (tag + 1 < len && strchr("%{#", src[tag + 1]) && src[tag + 1]) break;
        }
        if (tag >= len) {
            RF_TRY(push_data(&lx, len, '+', false));
            break;
        }
        char kind = src[tag + 1], sign = tag + 2 < len ? src[tag + 2] : 0;
        RF_TRY(push_data(&lx, tag, sign, kind != '{'));
        size_t raw = kind == '%' ? raw_begin(&lx, tag) : 0;
        if (raw) {
            advance(&lx, raw);
            RF_TRY(lex_raw(&lx));
            continue;
        }
        advance(&lx, tag + 2 + (sign == '-' || sign == '+'));
        if (kind == '#') {
            RF_TRY(lex_comment(&lx));
            continue;
        }
        RF_TRY(push_kind(&lx, kind == '%' ? RF_JT_BLOCK_BEGIN : RF_JT_VAR_BEGIN));
        RF_TRY(lex_tag(&lx, kind == '%'));
    }
    RF_TRY(push_kind(&lx, RF_JT_EOF));
    *out = lx.tok;
    return RF_OK;
}
