/* Patterns are written for Oniguruma; PCRE2 reads most of them otherwise somewhere: \h, \w, \b, {,n}, (?m), [[:punct:]], script
 * names. Each construct is passed on, spelled anew so that it means the same, or refused.
 *
 * Oniguruma as `tokenizers` has it knows Unicode 16, PCRE2 10.42 knows 14. So a set stands there with what the two later versions added
 * to it. Where PCRE2's own set has added characters that it should not (\P inside a class; the one that was moved), the class becomes
 * two: one for characters that were not added, one for those that were.
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

enum part { ANY_CHAR, OLD_CHAR, ADDED_CHAR };

struct vet {
    const char *s;
    size_t n, at;
    struct rf_buf *out;
    const char *why;         /* first construct that is not taken; NULL: none */
    unsigned depth;
    bool icase, names, refers;
    uint32_t last;           /* the literal just passed on, 0: something else */
    enum part part;          /* which characters the class being passed on is for */
    bool apart;              /* ... which has to be two */
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

/* A property: by categories, or by which of the added characters have it. */
struct prop { const char *spelled; uint32_t cats; bool neg; uint32_t added[13][2]; };

/* Scripts by themselves, where PCRE2 would add what they share with others. */
static const struct prop others[] = {
    { "sc:Han", 0, false, { { 0x2B739, 0x2B739 }, { 0x2EBF0, 0x2EE5D }, { 0x31350, 0x323AF } } },
    { "sc:Hiragana", 0, false, { { 0x1B132, 0x1B132 } } }, { "sc:Katakana", 0, false, { { 0x1B155, 0x1B155 } } },
    { "sc:Latin", 0, false, { { 0xA7CB, 0xA7CD }, { 0xA7DA, 0xA7DC }, { 0x1DF25, 0x1DF2A } } },
    { "sc:Cyrillic", 0, false, { { 0x1C89, 0x1C8A }, { 0x1E030, 0x1E06D }, { 0x1E08F, 0x1E08F } } },
    { "sc:Arabic", 0, false, { { 0x897, 0x897 }, { 0x10EC2, 0x10EC4 }, { 0x10EFC, 0x10EFF } } },
    { "sc:Devanagari", 0, false, { { 0x11B00, 0x11B09 } } }, { "sc:Lao", 0, false, { { 0xECE, 0xECE } } },
    { "sc:Myanmar", 0, false, { { 0x116D0, 0x116E3 } } }, { .spelled = "sc:Hangul" }, { .spelled = "sc:Greek" }, { .spelled = "sc:Hebrew" },
    { .spelled = "sc:Thai" }, { .spelled = "sc:Bengali" }, { .spelled = "sc:Tamil" }, { .spelled = "sc:Telugu" }, { .spelled = "sc:Armenian" },
    { .spelled = "sc:Georgian" }, { .spelled = "sc:Khmer" }, { .spelled = "sc:Tibetan" }, { .spelled = "sc:Ethiopic" },
    { .spelled = "sc:Mongolian" }, { .spelled = "White_Space" }, { "Any", 0, false, { { 1, 0x10FFFF } } },
    { "Emoji", 0, false, { { 0x1F6DC, 0x1F6DC }, { 0x1FA75, 0x1FA77 }, { 0x1FA87, 0x1FA89 }, { 0x1FA8F, 0x1FA8F }, { 0x1FAAD, 0x1FAAF },
        { 0x1FABB, 0x1FABF }, { 0x1FAC6, 0x1FAC6 }, { 0x1FACE, 0x1FACF }, { 0x1FADA, 0x1FADC }, { 0x1FADF, 0x1FADF }, { 0x1FAE8, 0x1FAE9 },
        { 0x1FAF7, 0x1FAF8 } } },
};
static const struct prop all = { .cats = UINT32_MAX };
static const struct prop word = { .cats = RF_SET_L | RF_SET_M | RF_CATS(ND) | RF_CATS(NL) | RF_CATS(PC) };

static bool has(const struct prop *p, uint32_t cp)
{
    bool in = rf_uni_in(cp, p->cats);
    for (size_t i = 0; i < RF_COUNT(p->added) && p->added[i][0]; i++) in = in || (cp >= p->added[i][0] && cp <= p->added[i][1]);
    return in != p->neg;
}

/* The added characters of a property, as part of a class. */
static void put_added(struct vet *v, const struct prop *p)
{
    uint32_t lo = 0, hi = 0, from = 1, to = 0;
    char text[32];
    bool more = true;
    for (size_t i = 0; more && !v->out->bad; i++) {
        more = rf_uni_added(i, &lo, &hi);
        if (more && !has(p, lo)) continue;
        if (more && lo == to + 1) {
            to = hi;
            continue;
        }
        snprintf(text, sizeof text, "\\x{%X}-\\x{%X}", from, to);
        if (from <= to) put(v, text);
        from = lo;
        to = hi;
    }
}

static void put_only(struct vet *v, enum part part)
{
    put(v, part == ADDED_CHAR ? "(?=[" : "(?![");
    put_added(v, &all);
    put(v, "])");
}

/* As part of a class: what PCRE2 knows by that name, if any, and what was added. */
static void put_prop(struct vet *v, const struct prop *p)
{
    bool moved = !(p->cats & RF_CATS(MN)) != !(p->cats & RF_CATS(MC));
    v->apart |= p->neg || moved;
    if (v->part != ADDED_CHAR && p->spelled) {
        put(v, p->neg ? "\\P{" : "\\p{");
        put(v, p->spelled);
        put(v, "}");
    }
    if (v->part != OLD_CHAR) put_added(v, p);
}

/* Behind the opening of a property. False: none that is known. */
static bool read_prop(struct vet *v, bool neg, struct prop *p)
{
    static const struct { const char *name, *spelled; } longer[] = {
        { "Letter", "L" }, { "Mark", "M" }, { "Number", "N" }, { "Punctuation", "P" }, { "Symbol", "S" }, { "Separator", "Z" },
        { "Uppercase_Letter", "Lu" }, { "Lowercase_Letter", "Ll" }, { "Decimal_Number", "Nd" },
    };
    static const char *const names[] = {
        "L", "Lu", "Ll", "Lt", "Lm", "Lo", "M", "Mn", "Mc", "Me", "N", "Nd", "Nl", "No", "P", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po",
        "S", "Sm", "Sc", "Sk", "So", "Z", "Zs", "Zl", "Zp", "Cc", "Cf", "Co",
    };
    char name[32];
    size_t k = 0;
    if (accept(v, "^")) neg = !neg;
    for (; k + 1 < sizeof name && look(v) > ' ' && look(v) != '}'; v->at++) name[k++] = v->s[v->at];
    name[k] = 0;
    if (!accept(v, "}")) refuse(v, "a property");
    const char *spelled = name;
    for (size_t i = 0; i < RF_COUNT(longer); i++)
        if (!strcmp(name, longer[i].name)) spelled = longer[i].spelled;
    *p = (struct prop){ 0 };
    for (size_t i = 0; i < RF_COUNT(names); i++)
        if (!strcmp(spelled, names[i]) && rx_prop_cats(names[i], &p->cats)) p->spelled = names[i];
    for (size_t i = 0; i < RF_COUNT(others) && !p->spelled; i++) {
        size_t skip = strncmp(others[i].spelled, "sc:", 3) ? 0 : 3;
        if (!strcmp(name, others[i].spelled + skip)) *p = others[i];
    }
    p->neg = neg;
    if (p->spelled && *p->spelled == 'L' && p->spelled[1] && strchr("ult", p->spelled[1]) && v->icase) refuse(v, "(?i) with a property of case");
    return p->spelled != NULL;
}

/* One for added characters is never empty: U+10FFFF is none of them. */
static void open_class(struct vet *v, bool neg)
{
    put(v, neg ? "[^" : "[");
    if (v->part == ADDED_CHAR) put(v, "\\x{10FFFF}");
}

/* A set by itself: PCRE2's own name outside a class, what was added beside it. */
static void put_alone(struct vet *v, struct prop p)
{
    bool neg = p.neg;
    p.neg = false;
    v->apart = false;
    size_t from = v->out->len;
    put(v, neg ? "[^" : "[");
    put_prop(v, &p);
    put(v, "]");
    if (!v->apart || v->out->bad) return;
    v->out->len = from;
    put(v, "(?:");
    for (v->part = OLD_CHAR; v->part <= ADDED_CHAR; v->part++) {
        put_only(v, v->part);
        open_class(v, neg);
        put_prop(v, &p);
        put(v, v->part == OLD_CHAR ? "]|" : "])");
    }
    v->part = ANY_CHAR;
}

/* Behind \p or \P. */
static void property(struct vet *v, bool neg, bool in_class)
{
    struct prop p;
    if (!accept(v, "{")) refuse(v, "\\p without braces");
    else if (!read_prop(v, neg, &p)) refuse(v, "a property");
    else if (in_class) put_prop(v, &p);
    else put_alone(v, p);
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

static void put_word(struct vet *v, bool in_class)
{
    if (v->part != ADDED_CHAR) put(v, in_class ? WORD : WORD_OUT);
    if (v->part != OLD_CHAR) put_added(v, &word);
}

/* A class of word characters outside brackets, put between before and behind. */
static void put_word_class(struct vet *v, const char *before, const char *behind)
{
    put(v, before);
    put_word(v, false);
    put(v, behind);
}

static bool set_escape(struct vet *v, bool in_class)
{
    static const struct { char c; const char *outside, *inside; } rows[] = {
        { 's', SPACE, SPACE }, { 'S', "\\P{White_Space}", "\\P{White_Space}" }, { 'h', "[0-9A-Fa-f]", "0-9A-Fa-f" }, { 'H', "[^0-9A-Fa-f]", NULL },
        { 'A', "\\A", NULL }, { 'z', "\\z", NULL }, { 'Z', "\\Z", NULL }, { 'R', "\\R", NULL },
    };
    int c = look(v);
    struct prop digit = { .spelled = "Nd", .cats = RF_CATS(ND), .neg = c == 'D' };
    const char *set = NULL;
    for (size_t i = 0; i < RF_COUNT(rows); i++)
        if (rows[i].c == c) set = in_class ? rows[i].inside : rows[i].outside;
    if (set) put(v, set);
    else if ((c == 'd' || c == 'D') && in_class) put_prop(v, &digit);
    else if (c == 'd' || c == 'D') put_alone(v, digit);
    else if (c == 'w' && in_class) put_word(v, true);
    else if ((c == 'w' || c == 'W') && !in_class) put_word_class(v, c == 'w' ? "[" : "[^", "]");
    else return false;
    v->at++;
    return true;
}

/* Behind a backslash. True: *cp is one character, not passed on yet. */
static bool escape(struct vet *v, bool in_class, uint32_t *cp)
{
    if (v->at >= v->n) refuse(v, "a backslash at the end");
    else if (set_escape(v, in_class)) return false;
    else if (accept(v, "p")) property(v, false, in_class);
    else if (accept(v, "P")) property(v, true, in_class);
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
    static const struct prop digit = { .spelled = "Nd", .cats = RF_CATS(ND) }, punct[] = { { .spelled = "P", .cats = RF_SET_P }, { .spelled = "S", .cats = RF_SET_S } };
    if (accept(v, "[:digit:]")) put_prop(v, &digit);
    else if (accept(v, "[:space:]")) put(v, SPACE);
    else if (accept(v, "[:xdigit:]")) put(v, "0-9A-Fa-f");
    else if (accept(v, "[:ascii:]")) put(v, "\\x{0}-\\x{7F}");
    else if (accept(v, "[:punct:]")) {
        put_prop(v, &punct[0]);
        put_prop(v, &punct[1]);
    } else return false;
    return true;
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

/* Behind the opening bracket and "^". */
static void class_body(struct vet *v, bool neg)
{
    open_class(v, neg);
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

/* Behind the opening bracket. */
static void class(struct vet *v)
{
    bool neg = accept(v, "^");
    size_t at = v->at, from = v->out->len;
    v->apart = false;
    class_body(v, neg);
    if (!v->apart || v->why || v->out->bad) return;
    v->out->len = from;
    put(v, "(?:");
    for (v->part = OLD_CHAR; v->part <= ADDED_CHAR; v->part++) {
        v->at = at;
        put_only(v, v->part);
        class_body(v, neg);
        put(v, v->part == OLD_CHAR ? "|" : ")");
    }
    v->part = ANY_CHAR;
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
        put_word_class(v, "(?:(?<=[", "])");
        put_word_class(v, "(?![", "])|");
        put_word_class(v, "(?<![", "])");
        put_word_class(v, "(?=[", "]))");
        return false;
    }
    if (accept(v, "\\B")) {
        put_word_class(v, "(?:(?<=[", "])");
        put_word_class(v, "(?=[", "])|");
        put_word_class(v, "(?<![", "])");
        put_word_class(v, "(?![", "]))");
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
    while (!v->why && !v->out->bad && v->at < v->n && look(v) != ')') {
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
