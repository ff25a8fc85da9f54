#include <string.h>

#include "text/regex_ast.h"
#include "text/unicode.h"

struct parser {
    struct rx *r;
    const char *s;
    size_t n, at;
    bool icase, in_class;
    uint32_t last;           /* the literal before this one */
    unsigned depth;
    bool bad;
};

static int parse_alt(struct parser *p);

static int node_add(struct parser *p, enum rx_kind kind)
{
    if (p->r->n_node == RX_MAX_NODES) {
        p->bad = true;
        return 0;
    }
    struct rx_node *nd = &p->r->node[p->r->n_node];
    memset(nd, 0, sizeof *nd);
    nd->kind = (uint8_t)kind;
    nd->child = nd->next = -1;
    return (int)p->r->n_node++;
}

static uint32_t class_add(struct parser *p)
{
    if (p->r->n_cls == RX_MAX_CLASSES) {
        p->bad = true;
        return 0;
    }
    p->r->cls[p->r->n_cls] = (struct rx_class){ .items = -1, .and_cls = -1 };
    return p->r->n_cls++;
}

static void item_add(struct parser *p, uint32_t cls, enum rx_item_kind kind, uint32_t a, uint32_t b)
{
    if (p->r->n_item == RX_MAX_ITEMS) {
        p->bad = true;
        return;
    }
    p->r->item[p->r->n_item] = (struct rx_item){ .kind = kind, .a = a, .b = b, .next = p->r->cls[cls].items };
    p->r->cls[cls].items = (int)p->r->n_item++;
}

bool rx_class_has(const struct rx *r, uint32_t cls, uint32_t cp, unsigned cat)
{
    const struct rx_class *c = &r->cls[cls];
    bool in = false;
    for (int i = c->items; i >= 0 && !in; i = r->item[i].next) {
        const struct rx_item *it = &r->item[i];
        if (it->kind == RX_I_CATS) in = it->a >> cat & 1;
        else if (it->kind == RX_I_RANGE) in = cp >= it->a && cp <= it->b;
        else in = rx_class_has(r, it->a, cp, cat);
    }
    if (in && c->and_cls >= 0) in = rx_class_has(r, (uint32_t)c->and_cls, cp, cat);
    return in != c->neg;
}

static bool peek(const struct parser *p, const char *lit)
{
    size_t n = strlen(lit);
    return p->n - p->at >= n && !memcmp(p->s + p->at, lit, n);
}

static bool accept(struct parser *p, const char *lit)
{
    if (!peek(p, lit)) return false;
    p->at += strlen(lit);
    return true;
}

static uint32_t next_char(struct parser *p)
{
    uint32_t cp;
    bool ok;
    p->at += rf_uni_next(p->s + p->at, p->n - p->at, &cp, &ok);
    if (!ok) p->bad = true;
    return cp;
}

/* Unicode Scripts.txt, script Han. */
static const uint32_t han[][2] = {
    { 0x2E80, 0x2E99 },   { 0x2E9B, 0x2EF3 },   { 0x2F00, 0x2FD5 },   { 0x3005, 0x3005 },   { 0x3007, 0x3007 },
    { 0x3021, 0x3029 },   { 0x3038, 0x303B },   { 0x3400, 0x4DBF },   { 0x4E00, 0x9FFF },   { 0xF900, 0xFA6D },
    { 0xFA70, 0xFAD9 },   { 0x16FE2, 0x16FE3 }, { 0x16FF0, 0x16FF1 }, { 0x20000, 0x2A6DF }, { 0x2A700, 0x2B739 },
    { 0x2B740, 0x2B81D }, { 0x2B820, 0x2CEA1 }, { 0x2CEB0, 0x2EBE0 }, { 0x2EBF0, 0x2EE5D }, { 0x2F800, 0x2FA1D },
    { 0x30000, 0x3134A }, { 0x31350, 0x323AF },
};

static const struct { const char *name; uint32_t cats; } props[] = {
    { "L", RF_SET_L }, { "M", RF_SET_M }, { "N", RF_SET_N }, { "P", RF_SET_P }, { "S", RF_SET_S }, { "Z", RF_SET_Z },
    { "C", RF_SET_C }, { "Letter", RF_SET_L }, { "Mark", RF_SET_M }, { "Number", RF_SET_N }, { "Punctuation", RF_SET_P },
    { "Lu", RF_CATS(LU) }, { "Ll", RF_CATS(LL) }, { "Lt", RF_CATS(LT) }, { "Lm", RF_CATS(LM) }, { "Lo", RF_CATS(LO) },
    { "Mn", RF_CATS(MN) }, { "Mc", RF_CATS(MC) }, { "Me", RF_CATS(ME) }, { "Nd", RF_CATS(ND) }, { "Nl", RF_CATS(NL) },
    { "No", RF_CATS(NO) }, { "Pc", RF_CATS(PC) }, { "Pd", RF_CATS(PD) }, { "Ps", RF_CATS(PS) }, { "Pe", RF_CATS(PE) },
    { "Pi", RF_CATS(PI) }, { "Pf", RF_CATS(PF) }, { "Po", RF_CATS(PO) }, { "Sm", RF_CATS(SM) }, { "Sc", RF_CATS(SC) },
    { "Sk", RF_CATS(SK) }, { "So", RF_CATS(SO) }, { "Zs", RF_CATS(ZS) }, { "Zl", RF_CATS(ZL) }, { "Zp", RF_CATS(ZP) },
    { "Cf", RF_CATS(CF) }, { "Cc", RF_CATS(CC) | RF_CATS(CC_SPACE) }, { "Co", RF_CATS(CO) }, { "Cn", RF_CATS(CN) },
};

bool rx_prop_cats(const char *name, uint32_t *cats)
{
    for (size_t i = 0; i < sizeof props / sizeof *props; i++)
        if (!strcmp(name, props[i].name)) {
            *cats = props[i].cats;
            return true;
        }
    return false;
}

/* \p{Name} behind the letter p or P. Adds to the class. */
static void parse_prop(struct parser *p, uint32_t cls, bool neg)
{
    char name[24];
    size_t n = 0;
    if (accept(p, "{")) {
        if (accept(p, "^")) neg = !neg;
        while (p->at < p->n && p->s[p->at] != '}' && n + 1 < sizeof name) name[n++] = p->s[p->at++];
        if (!accept(p, "}")) p->bad = true;
    } else {
        p->bad = true; /* Oniguruma takes \pL for the letters p and L */
    }
    name[n] = 0;
    if (!strcmp(name, "Han")) {
        if (neg) p->bad = true; /* only \p{Han} and [^\p{Han}] are in use */
        for (size_t i = 0; i < sizeof han / sizeof *han; i++) item_add(p, cls, RX_I_RANGE, han[i][0], han[i][1]);
        return;
    }
    uint32_t cats;
    if (rx_prop_cats(name, &cats)) item_add(p, cls, RX_I_CATS, neg ? ~cats : cats, 0);
    else p->bad = true;
}

static uint32_t parse_hex(struct parser *p, unsigned digits)
{
    uint32_t v = 0;
    for (unsigned i = 0; i < digits; i++) {
        if (p->at >= p->n) {
            p->bad = true;
            return 0;
        }
        char c = p->s[p->at++];
        uint32_t d = c >= '0' && c <= '9'   ? (uint32_t)(c - '0')
                     : c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a' + 10)
                     : c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A' + 10)
                                            : 99;
        if (d == 99) {
            p->bad = true;
            return 0;
        }
        v = v * 16 + d;
    }
    return v;
}

/* Letters, marks, decimal digits, connectors, letter numbers, letters in circles; and, as Oniguruma has it outside
 * brackets, the fractions and superscripts of Latin-1. */
static void add_word(struct parser *p, uint32_t cls, bool neg)
{
    static const uint32_t more[][2] = {
        { 0x24B6, 0x24E9 }, { 0x1F130, 0x1F149 }, { 0x1F150, 0x1F169 }, { 0x1F170, 0x1F189 }, { 0xB2, 0xB3 }, { 0xB9, 0xB9 }, { 0xBC, 0xBE },
    };
    uint32_t in = neg ? class_add(p) : cls;
    item_add(p, in, RX_I_CATS, RF_SET_L | RF_SET_M | RF_CATS(ND) | RF_CATS(NL) | RF_CATS(PC), 0);
    for (size_t i = 0; i < (p->in_class ? 4 : sizeof more / sizeof *more); i++) item_add(p, in, RX_I_RANGE, more[i][0], more[i][1]);
    if (!neg) return;
    p->r->cls[in].neg = true;
    item_add(p, cls, RX_I_CLASS, in, 0);
}

/* Behind a backslash. True: *cp is one character; false: a set was added to the open class. */
static bool parse_escape(struct parser *p, uint32_t cls, uint32_t *cp)
{
    if (p->at >= p->n) {
        p->bad = true;
        return true;
    }
    char c = p->s[p->at++];
    switch (c) {
    case 's': item_add(p, cls, RX_I_CATS, RF_SET_SPACE, 0); return false;
    case 'S': item_add(p, cls, RX_I_CATS, ~RF_SET_SPACE, 0); return false;
    case 'w':
    case 'W': add_word(p, cls, c == 'W'); return false;
    case 'd': item_add(p, cls, RX_I_CATS, RF_CATS(ND), 0); return false;
    case 'D': item_add(p, cls, RX_I_CATS, ~RF_CATS(ND), 0); return false;
    case 'p': parse_prop(p, cls, false); return false;
    case 'P': parse_prop(p, cls, true); return false;
    case 'n': *cp = '\n'; return true;
    case 'r': *cp = '\r'; return true;
    case 't': *cp = '\t'; return true;
    case 'f': *cp = '\f'; return true;
    case 'v': *cp = '\v'; return true;
    case 'x':
        if (peek(p, "{")) {
            size_t end = p->at + 1;
            while (end < p->n && p->s[end] != '}') end++;
            unsigned digits = (unsigned)(end - p->at - 1);
            p->at++;
            *cp = digits && digits <= 6 ? parse_hex(p, digits) : 0;
            if (!digits || digits > 6 || !accept(p, "}")) p->bad = true;
        } else {
            *cp = parse_hex(p, 2);
        }
        return true;
    case 'u': *cp = parse_hex(p, 4); return true;
    default: break;
    }
    bool word = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (word) p->bad = true; /* \b, \w, back references ...: not ours */
    p->at--;
    *cp = next_char(p);
    return true;
}

/* Adds lo..hi, and under (?i) the other case; Unicode folds U+017F to s and U+212A to k. */
static void range_add(struct parser *p, uint32_t cls, uint32_t lo, uint32_t hi)
{
    if (lo > hi) {
        p->bad = true;
        return;
    }
    item_add(p, cls, RX_I_RANGE, lo, hi);
    if (!p->icase) return;
    if (hi >= 0x80) p->bad = true;
    for (uint32_t c = 'a'; c <= 'z'; c++) {
        uint32_t up = c - 32;
        if (c >= lo && c <= hi) item_add(p, cls, RX_I_RANGE, up, up);
        if (up >= lo && up <= hi) item_add(p, cls, RX_I_RANGE, c, c);
        if ((c < lo || c > hi) && (up < lo || up > hi)) continue;
        if (c == 's') item_add(p, cls, RX_I_RANGE, 0x17F, 0x17F);
        if (c == 'k') item_add(p, cls, RX_I_RANGE, 0x212A, 0x212A);
    }
}


static uint32_t parse_class_char(struct parser *p, uint32_t cls, bool *one)
{
    uint32_t cp = 0;
    *one = true;
    p->in_class = true;
    if (accept(p, "\\")) *one = parse_escape(p, cls, &cp);
    else cp = next_char(p);
    p->in_class = false;
    return cp;
}

/* Up to, not including, the closing bracket. */
static void parse_class_items(struct parser *p, uint32_t cls)
{
    for (bool start = true; !p->bad; start = false) {
        if (p->at >= p->n || peek(p, "[:")) {
            p->bad = true;
        } else if (peek(p, "]") && !start) {
            return;
        } else if (accept(p, "&&")) {
            uint32_t right = class_add(p);
            p->r->cls[cls].and_cls = (int)right;
            if (++p->depth > RX_MAX_DEPTH) p->bad = true;
            else parse_class_items(p, right);
            p->depth--;
            return;
        } else if (accept(p, "[")) {
            uint32_t in = class_add(p);
            p->r->cls[in].neg = accept(p, "^");
            if (++p->depth > RX_MAX_DEPTH) p->bad = true;
            else parse_class_items(p, in);
            p->depth--;
            if (!accept(p, "]")) p->bad = true;
            item_add(p, cls, RX_I_CLASS, in, 0);
        } else {
            bool one, one_hi = true;
            uint32_t lo = parse_class_char(p, cls, &one), hi = lo;
            if (!one) continue;
            if (peek(p, "-") && p->at + 1 < p->n && p->s[p->at + 1] != ']') {
                p->at++;
                hi = parse_class_char(p, cls, &one_hi);
                if (!one_hi) p->bad = true;
            }
            range_add(p, cls, lo, hi);
        }
    }
}

static int class_node(struct parser *p, enum rx_kind kind, uint32_t cls)
{
    int nd = node_add(p, kind);
    p->r->node[nd].cls = cls;
    return nd;
}

/* Behind "(?=" or "(?!": one character or class, then ')'. */
static int parse_lookahead(struct parser *p, bool neg)
{
    int inner = parse_alt(p);
    if (!accept(p, ")") || p->bad || p->r->node[inner].kind != RX_CLASS) {
        p->bad = true;
        return inner;
    }
    uint32_t cls = class_add(p);
    item_add(p, cls, RX_I_CLASS, p->r->node[inner].cls, 0);
    p->r->cls[cls].neg = neg;
    int nd = class_node(p, RX_ASSERT, cls);
    p->r->node[nd].end_ok = neg;
    return nd;
}

static int parse_group(struct parser *p)
{
    bool icase = p->icase;
    int nd;
    if (++p->depth > RX_MAX_DEPTH) {
        p->bad = true;
        return 0;
    }
    if (accept(p, "?=")) nd = parse_lookahead(p, false);
    else if (accept(p, "?!")) nd = parse_lookahead(p, true);
    else {
        if (accept(p, "?i:")) p->icase = true;
        else if (!accept(p, "?:") && peek(p, "?")) p->bad = true;
        nd = parse_alt(p);
        if (!accept(p, ")")) p->bad = true;
    }
    p->icase = icase;
    p->depth--;
    return nd;
}

bool rx_fold_together(uint32_t a, uint32_t b)
{
    static const char *const pairs[] = { "ss", "st", "ff", "fi", "fl" };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        if ((a | 32) == (uint32_t)pairs[i][0] && (b | 32) == (uint32_t)pairs[i][1]) return true;
    return false;
}

static int parse_atom(struct parser *p)
{
    if (peek(p, "(") || peek(p, "[")) p->last = 0;
    if (accept(p, "(")) return parse_group(p);
    uint32_t cls = class_add(p), cp = 0;
    if (accept(p, "[")) {
        p->r->cls[cls].neg = accept(p, "^");
        parse_class_items(p, cls);
        if (!accept(p, "]")) p->bad = true;
        return class_node(p, RX_CLASS, cls);
    }
    if (accept(p, ".")) {
        item_add(p, cls, RX_I_RANGE, '\n', '\n');
        p->r->cls[cls].neg = true;
        return class_node(p, RX_CLASS, cls);
    }
    if (accept(p, "$")) { /* end of text or of any line, as Oniguruma has it */
        item_add(p, cls, RX_I_RANGE, '\n', '\n');
        int nd = class_node(p, RX_ASSERT, cls);
        p->r->node[nd].end_ok = true;
        return nd;
    }
    if (peek(p, "^") || peek(p, "*") || peek(p, "+") || peek(p, "?") || peek(p, "{")) {
        p->bad = true;
        return 0;
    }
    bool one = true;
    if (accept(p, "\\")) one = parse_escape(p, cls, &cp);
    else cp = next_char(p);
    if (one) range_add(p, cls, cp, cp);
    if (p->icase && rx_fold_together(p->last, cp)) p->bad = true;
    p->last = cp;
    return class_node(p, RX_CLASS, cls);
}

static bool parse_number(struct parser *p, uint32_t *v)
{
    size_t start = p->at;
    *v = 0;
    while (p->at < p->n && p->s[p->at] >= '0' && p->s[p->at] <= '9' && *v < 100000)
        *v = *v * 10 + (uint32_t)(p->s[p->at++] - '0');
    return p->at > start;
}

/* A quantifier, if one follows. {n,m} has no possessive form in Oniguruma's own syntax: a + behind it repeats it. */
static bool parse_quantifier(struct parser *p, struct rx_node *q)
{
    q->min = 0;
    q->max = RX_INF;
    if (accept(p, "{")) {
        bool low = parse_number(p, &q->min);
        q->max = q->min;
        if (accept(p, ",") && !parse_number(p, &q->max)) q->max = RX_INF;
        if (!low || !accept(p, "}") || q->max < q->min || q->min > 1024 || (q->max != RX_INF && q->max > 1024)) p->bad = true;
        q->lazy = accept(p, "?");
        return true;
    }
    if (accept(p, "?")) q->max = 1;
    else if (accept(p, "+")) q->min = 1;
    else if (!accept(p, "*")) return false;
    if (accept(p, "?")) q->lazy = true;
    else if (accept(p, "+")) q->possessive = true;
    return true;
}

/* Possessive X is greedy X that may stop only where no X follows: X++ is X+(?!X), X?+ is X|(?!X). X is one character. */
static int possessive(struct parser *p, int rep)
{
    int x = p->r->node[rep].child, cat = node_add(p, RX_CAT);
    if (p->r->node[x].kind != RX_CLASS) p->bad = true;
    uint32_t cls = class_add(p);
    item_add(p, cls, RX_I_CLASS, p->r->node[x].cls, 0);
    p->r->cls[cls].neg = true;
    int stop = class_node(p, RX_ASSERT, cls);
    p->r->node[stop].end_ok = true;
    if (p->r->node[rep].max == 1) {
        p->r->node[cat].kind = RX_ALT;
        p->r->node[cat].child = x;
        p->r->node[x].next = stop;
        return cat;
    }
    p->r->node[cat].child = rep;
    p->r->node[rep].next = stop;
    return cat;
}

static int parse_repeat(struct parser *p)
{
    int nd = parse_atom(p);
    for (struct rx_node q = { 0 }; !p->bad && parse_quantifier(p, &q); q = (struct rx_node){ 0 }) {
        if (p->r->node[nd].kind == RX_ASSERT) p->bad = true;
        int rep = node_add(p, RX_REP);
        struct rx_node *r = &p->r->node[rep];
        r->min = q.min;
        r->max = q.max;
        r->lazy = q.lazy;
        r->child = nd;
        nd = q.possessive ? possessive(p, rep) : rep;
    }
    return nd;
}

static int parse_cat(struct parser *p)
{
    int cat = node_add(p, RX_CAT), last = -1, count = 0;
    while (!p->bad && p->at < p->n && !peek(p, "|") && !peek(p, ")")) {
        int nd = parse_repeat(p);
        if (last < 0) p->r->node[cat].child = nd;
        else p->r->node[last].next = nd;
        last = nd;
        count++;
    }
    return count == 1 ? last : cat;
}

static int parse_alt(struct parser *p)
{
    int first = parse_cat(p);
    if (!peek(p, "|")) return first;
    int alt = node_add(p, RX_ALT), last = first;
    p->r->node[alt].child = first;
    while (!p->bad && accept(p, "|")) {
        p->last = 0;
        int nd = parse_cat(p);
        p->r->node[last].next = nd;
        last = nd;
    }
    return alt;
}

bool rx_parse(struct rx *r, const char *pat, size_t n)
{
    struct parser p = { .r = r, .s = pat, .n = n };
    r->n_node = r->n_item = r->n_cls = 0;
    if (n > 16384) return false;
    if (accept(&p, "(?i)")) p.icase = true;
    r->root = parse_alt(&p);
    return !p.bad && p.at == n;
}
