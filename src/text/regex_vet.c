/* Patterns are written for Oniguruma; PCRE2 reads most of them otherwise somewhere: \h, \w, \b, {,n}, (?m), [[:punct:]], script
 * names. Each construct is passed on, spelled anew so that it means the same, or refused.
 */
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "text/regex_ast.h"
#include "text/unicode.h"

/* \w: letters, marks, decimal digits, letter numbers, connectors, letters in circles; outside brackets also Latin-1's fractions. */
#define WORD "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{24B6}-\\x{24E9}\\x{1F130}-\\x{1F149}\\x{1F150}-\\x{1F169}\\x{1F170}-\\x{1F189}"
#define SPACE "\\p{White_Space}" /* \\s of PCRE2 has U+180E too */
#define WORD_OUT WORD "\\x{B2}\\x{B3}\\x{B9}\\x{BC}-\\x{BE}"

struct vet {
    const char *s;
    size_t n, at;
    struct rf_buf *out;
    const char *why;         /* first construct that is not taken; NULL: none */
    unsigned depth;
    bool icase, names, refers;
    uint32_t last;           /* the literal just passed on, 0: something else */
};

static void put(struct vet *v, const char *text) { rf_buf_append(v->out, text, strlen(text)); }
static void refuse(struct vet *v, const char *why) { v->why = v->why ? v->why : why; }

static bool accept(struct vet *v, const char *lit)
{
    size_t n = strlen(lit);
    if (v->n - v->at < n || memcmp(v->s + v->at, lit, n)) return false;
    v->at += n;
    return true;
}

static int look(const struct vet *v) { return v->at < v->n ? (unsigned char)v->s[v->at] : -1; }
static bool is_digit(int c) { return c >= '0' && c <= '9'; }

static bool is_alnum(int c) { return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

static void put_char(struct vet *v, uint32_t cp)
{
    char text[16];
    snprintf(text, sizeof text, "\\x{%X}", cp);
    if (v->icase && cp >= 0x80) refuse(v, "(?i) with a letter outside ASCII");
    put(v, text);
}

/* Fixed-width or braced hexadecimal digits. */
static uint32_t read_hex(struct vet *v, unsigned digits, bool braced)
{
    uint32_t cp = 0;
    unsigned k = 0;
    for (; k < digits && v->at < v->n; k++, v->at++) {
        int c = look(v), d = is_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (d < 0) break;
        cp = cp * 16 + (uint32_t)d;
    }
    if ((braced ? !k || !accept(v, "}") : k != digits) || cp > 0x10FFFF || (cp >= 0xD800 && cp < 0xE000)) refuse(v, "a code point");
    return cp;
}

/* ---- properties ---- */

/* Behind \p or \P. Scripts by themselves, where PCRE2 would add what they share with others. */
static void property(struct vet *v, bool neg)
{
    static const char *const plain[] = {
        "L", "Lu", "Ll", "Lt", "Lm", "Lo", "M", "Mn", "Mc", "Me", "N", "Nd", "Nl", "No", "P", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po",
        "S", "Sm", "Sc", "Sk", "So", "Z", "Zs", "Zl", "Zp", "Cc", "Cf", "Co",
    };
    static const char *const scripts[] = {
        "Han", "Hiragana", "Katakana", "Hangul", "Latin", "Greek", "Cyrillic", "Arabic", "Hebrew", "Thai", "Devanagari", "Bengali",
        "Tamil", "Telugu", "Armenian", "Georgian", "Khmer", "Lao", "Myanmar", "Tibetan", "Ethiopic", "Mongolian",
    };
    static const struct { const char *name, *spelled; } others[] = {
        { "Letter", "L" }, { "Mark", "M" }, { "Number", "N" }, { "Punctuation", "P" }, { "Symbol", "S" }, { "Separator", "Z" },
        { "Uppercase_Letter", "Lu" }, { "Lowercase_Letter", "Ll" }, { "Decimal_Number", "Nd" }, { "Any", "Any" },
        { "Emoji", "Emoji" }, { "White_Space", "White_Space" },
    };
    char name[32], text[48];
    const char *spelled = NULL;
    size_t k = 0;
    if (!accept(v, "{")) {
        refuse(v, "\\p without braces");
        return;
    }
    if (accept(v, "^")) neg = !neg;
    for (; k + 1 < sizeof name && look(v) > ' ' && look(v) != '}'; v->at++) name[k++] = v->s[v->at];
    name[k] = 0;
    if (!accept(v, "}")) refuse(v, "a property");
    for (size_t i = 0; i < RF_COUNT(plain) && !spelled; i++)
        if (!strcmp(name, plain[i])) spelled = plain[i];
    for (size_t i = 0; i < RF_COUNT(others) && !spelled; i++)
        if (!strcmp(name, others[i].name)) spelled = others[i].spelled;
    bool cased = spelled && *spelled == 'L' && spelled[1] && strchr("ult", spelled[1]);
    if (cased && v->icase) refuse(v, "(?i) with a property of case");
    for (size_t i = 0; i < RF_COUNT(scripts) && !spelled; i++)
        if (!strcmp(name, scripts[i])) {
            spelled = scripts[i];
            put(v, neg ? "\\P{sc:" : "\\p{sc:");
            put(v, spelled);
            put(v, "}");
            return;
        }
    if (!spelled) {
        refuse(v, "a property");
        return;
    }
    snprintf(text, sizeof text, "\\%c{%s}", neg ? 'P' : 'p', spelled);
    put(v, text);
}

/* ---- escapes ---- */

/* Escapes that are one character in both places. */
static bool char_escape(struct vet *v, uint32_t *cp)
{
    static const struct { char c; uint32_t cp; } rows[] = {
        { 'n', '\n' }, { 'r', '\r' }, { 't', '\t' }, { 'f', '\f' }, { 'v', '\v' }, { 'a', 7 }, { 'e', 27 },
    };
    bool ok;
    for (size_t i = 0; i < RF_COUNT(rows); i++)
        if (look(v) == rows[i].c) {
            v->at++;
            *cp = rows[i].cp;
            return true;
        }
    if (accept(v, "x{")) *cp = read_hex(v, 6, true);
    else if (accept(v, "x")) *cp = read_hex(v, 2, false);
    else if (accept(v, "u")) *cp = read_hex(v, 4, false);
    else if (is_alnum(look(v))) return false;
    else v->at += rf_uni_next(v->s + v->at, v->n - v->at, cp, &ok);
    return true;
}

static const char *set_escape(int c, bool in_class)
{
    static const struct { char c; const char *outside, *inside; } rows[] = {
        { 's', SPACE, SPACE }, { 'S', "\\P{White_Space}", "\\P{White_Space}" }, { 'd', "\\p{Nd}", "\\p{Nd}" }, { 'D', "\\P{Nd}", "\\P{Nd}" },
        { 'w', "[" WORD_OUT "]", WORD }, { 'W', "[^" WORD_OUT "]", NULL }, { 'h', "[0-9A-Fa-f]", "0-9A-Fa-f" }, { 'H', "[^0-9A-Fa-f]", NULL },
        { 'A', "\\A", NULL }, { 'z', "\\z", NULL }, { 'Z', "\\Z", NULL }, { 'R', "\\R", NULL },
    };
    for (size_t i = 0; i < RF_COUNT(rows); i++)
        if (rows[i].c == c) return in_class ? rows[i].inside : rows[i].outside;
    return NULL;
}

/* Behind a backslash. True: *cp is one character, not passed on yet. */
static bool escape(struct vet *v, bool in_class, uint32_t *cp)
{
    const char *set = set_escape(look(v), in_class);
    if (v->at >= v->n) refuse(v, "a backslash at the end");
    else if (set) {
        v->at++;
        put(v, set);
    } else if (accept(v, "p")) property(v, false);
    else if (accept(v, "P")) property(v, true);
    else if (!in_class && look(v) >= '1' && look(v) <= '9' && !(v->at + 1 < v->n && is_digit(v->s[v->at + 1]))) {
        char text[8];
        snprintf(text, sizeof text, "\\%c", v->s[v->at++]);
        put(v, text);
        v->refers = true;
    } else if (char_escape(v, cp)) return true;
    else refuse(v, "an escape");
    return false;
}

/* ---- classes ---- */

static bool posix(struct vet *v)
{
    static const struct { const char *name, *spelled; } rows[] = {
        { "[:digit:]", "\\p{Nd}" }, { "[:space:]", SPACE }, { "[:punct:]", "\\p{P}\\p{S}" }, { "[:xdigit:]", "0-9A-Fa-f" }, { "[:ascii:]", "\\x{0}-\\x{7F}" },
    };
    for (size_t i = 0; i < RF_COUNT(rows); i++)
        if (accept(v, rows[i].name)) {
            put(v, rows[i].spelled);
            return true;
        }
    return false;
}

/* One character, not passed on (true), or a set, passed on. */
static bool class_part(struct vet *v, uint32_t *cp)
{
    bool ok;
    if (accept(v, "\\")) return escape(v, true, cp);
    if (posix(v)) return false;
    if (look(v) == '[' || accept(v, "&&")) refuse(v, "a class in a class");
    v->at += rf_uni_next(v->s + v->at, v->n - v->at, cp, &ok);
    return true;
}

/* Behind the opening bracket. */
static void class(struct vet *v)
{
    put(v, accept(v, "^") ? "[^" : "[");
    if (look(v) == ']') refuse(v, "a bracket that closes an empty class");
    for (bool first = true; !v->why && look(v) != ']'; first = false) {
        uint32_t lo = 0, hi = 0;
        if (v->at >= v->n) {
            refuse(v, "a class without end");
            return;
        }
        bool dash = look(v) == '-', one = class_part(v, &lo), range = v->at + 1 < v->n && look(v) == '-' && v->s[v->at + 1] != ']';
        if (dash && !first && look(v) != ']') refuse(v, "a dash between other parts of a class");
        if (range && !one) refuse(v, "a range of sets");
        if (one) put_char(v, lo);
        if (!range || v->why) continue;
        v->at++;
        put(v, "-");
        if (!class_part(v, &hi) || hi < lo) refuse(v, "a range of sets");
        put_char(v, hi);
    }
    if (!accept(v, "]")) refuse(v, "a class without end");
    put(v, "]");
}

/* ---- groups and quantifiers ---- */

static bool alternatives(struct vet *v);

/* Behind "(". False: nothing that may be repeated. */
static bool group(struct vet *v)
{
    static const struct { const char *from, *to; bool repeats; } rows[] = {
        { "?:", "(?:", true }, { "?=", "(?=", false }, { "?!", "(?!", false }, { "?<=", "(?<=", false }, { "?<!", "(?<!", false },
        { "?>", "(?>", true }, { "?m:", "(?s:", true }, { "?i:", "(?i:", true }, { "?-i:", "(?-i:", true },
    };
    bool icase = v->icase, repeats = true;
    size_t i = 0;
    if (++v->depth > RX_MAX_DEPTH) refuse(v, "so many groups in groups");
    if (v->why) return false;
    while (i < RF_COUNT(rows) && !accept(v, rows[i].from)) i++;
    if (i < RF_COUNT(rows)) {
        put(v, rows[i].to);
        repeats = rows[i].repeats;
        v->icase = (icase || !strcmp(rows[i].from, "?i:")) && strcmp(rows[i].from, "?-i:");
    } else if (accept(v, "?<")) { /* a name, which only makes plain groups catch nothing */
        while (is_alnum(look(v)) || look(v) == '_') v->at++;
        if (!accept(v, ">")) refuse(v, "a group's name");
        v->names = true;
        put(v, "(?:");
    } else if (look(v) == '?') {
        refuse(v, "a group of this kind");
    } else {
        put(v, "(");
    }
    alternatives(v);
    if (!accept(v, ")")) refuse(v, "a group without end");
    put(v, ")");
    v->icase = icase;
    v->depth--;
    return repeats;
}

static void put_number(struct vet *v, uint32_t x)
{
    char text[16];
    snprintf(text, sizeof text, "%u", x);
    put(v, text);
}

/* {n}, {n,}, {,m} or {n,m}; false, nothing read: a brace that is itself. */
static bool counted(struct vet *v)
{
    size_t at = v->at;
    uint32_t n[2] = { 0, 0 };
    bool given[2] = { false, false }, comma = false;
    if (!accept(v, "{")) return false;
    for (int i = 0; i < 2; i++) {
        for (; is_digit(look(v)) && n[i] < 10000; v->at++, given[i] = true) n[i] = n[i] * 10 + (uint32_t)(look(v) - '0');
        if (!i) comma = accept(v, ",");
    }
    if ((!given[0] && !given[1]) || (!comma && given[1]) || !accept(v, "}")) {
        v->at = at;
        return false;
    }
    if (given[1] && n[1] < n[0]) refuse(v, "a count that falls");
    put(v, "{");
    put_number(v, n[0]);
    if (comma) put(v, ",");
    if (comma && given[1]) put_number(v, n[1]);
    put(v, "}");
    if (look(v) == '+' || (look(v) == '?' && !comma)) refuse(v, "a sign behind a count");
    if (accept(v, "?")) put(v, "?");
    return true;
}

static bool quantifier(struct vet *v)
{
    static const char *const signs[] = { "*+", "*?", "*", "++", "+?", "+", "?+", "??", "?" };
    for (size_t i = 0; i < RF_COUNT(signs); i++)
        if (accept(v, signs[i])) {
            put(v, signs[i]);
            return true;
        }
    return counted(v);
}

static void literal(struct vet *v, uint32_t cp)
{
    if (v->icase && rx_fold_together(v->last, cp)) refuse(v, "(?i) with ss, st, ff, fi or fl");
    put_char(v, cp);
    v->last = cp;
}

/* False: nothing that may be repeated. */
static bool atom(struct vet *v)
{
    uint32_t cp = 0, last = v->last;
    bool ok;
    v->last = 0;
    if (accept(v, "(?#")) {
        while (look(v) >= 0 && look(v) != ')') v->at += look(v) == '\\' ? 2 : 1;
        if (v->at >= v->n || !accept(v, ")")) refuse(v, "a comment without end");
        return false;
    }
    if (accept(v, "(")) return group(v);
    if (accept(v, "[")) {
        class(v);
        return true;
    }
    if (accept(v, ".")) {
        put(v, ".");
        return true;
    }
    if (look(v) == '^' || look(v) == '$') {
        put(v, v->s[v->at++] == '^' ? "^" : "$");
        return false;
    }
    if (accept(v, "\\b")) {
        put(v, "(?:(?<=[" WORD_OUT "])(?![" WORD_OUT "])|(?<![" WORD_OUT "])(?=[" WORD_OUT "]))");
        return false;
    }
    if (accept(v, "\\B")) {
        put(v, "(?:(?<=[" WORD_OUT "])(?=[" WORD_OUT "])|(?<![" WORD_OUT "])(?![" WORD_OUT "]))");
        return false;
    }
    if (accept(v, "\\")) {
        bool place = strchr("AzZ", look(v) < 0 ? 1 : look(v)) != NULL;
        if (escape(v, false, &cp)) {
            v->last = last;
            literal(v, cp);
        }
        return !place;
    }
    v->at += rf_uni_next(v->s + v->at, v->n - v->at, &cp, &ok);
    v->last = last;
    literal(v, cp);
    return true;
}

static bool alternatives(struct vet *v)
{
    while (!v->why && v->at < v->n && look(v) != ')') {
        if (accept(v, "|")) {
            put(v, "|");
            v->last = 0;
            continue;
        }
        if (strchr("*+?", look(v))) refuse(v, "a sign with nothing to repeat");
        bool repeats = atom(v), again = quantifier(v);
        if (again) v->last = 0;
        if (again && !repeats) refuse(v, "a place that is repeated");
        if (again && strchr("*+?", look(v) < 0 ? 1 : look(v))) refuse(v, "a repetition that is repeated");
    }
    return !v->why;
}

const char *rx_vet(const char *pat, size_t n, struct rf_buf *out)
{
    struct vet v = { .s = pat, .n = n, .out = out };
    if (!rf_utf8_valid(pat, n)) return "bytes that are no UTF-8";
    if (accept(&v, "(?i)")) {
        v.icase = true;
        put(&v, "(?i)");
    } else if (accept(&v, "(?m)")) {
        put(&v, "(?s)");
    }
    if (alternatives(&v) && v.at < n) refuse(&v, "a bracket that closes nothing");
    if (v.names && v.refers) refuse(&v, "references beside names");
    return v.why;
}
