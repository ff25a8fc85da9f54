/* Pattern -> NFA (Thompson 1968) -> DFA by subset construction over *ordered* state lists, so that the first alternative
 * wins as in a backtracking matcher (Cox, "Regular Expression Matching: the Virtual Machine Approach"). A lookahead on
 * one character stays in the list and is decided by the next symbol; a transition therefore says two things: where to
 * go, and whether a match ended before the symbol just read.
 */
#include "text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "base/buf.h"
#include "base/mem.h"
#include "text/regex_ast.h"
#include "text/unicode.h"

#define MAX_INST 16384
#define MAX_STATE 8192
#define MAX_SYM 250
#define MAX_CELLS ((size_t)1 << 20)
#define MAX_LIST ((size_t)1 << 21)
#define MAX_WORK (1u << 19) /* entries of lists looked at, about 3 ms; patterns in use take up to 55,000 */

struct rf_regex {
    uint8_t ascii[128];
    uint8_t byte_sym[256];  /* symbol of the character that stands for a byte */
    uint32_t *bound;        /* [n_bound] rising starts of the intervals above 0 */
    uint32_t n_bound;
    uint8_t (*cell)[RF_CAT_N]; /* [n_bound + 1]: symbol by interval and category */
    uint32_t n_sym;         /* one more, n_sym, stands for the end of the text */
    uint32_t *trans;        /* [n_state][n_sym + 1]: next << 1 | matched; state 0 is dead, 1 the start */
    uint32_t n_state;
    pcre2_code *pcre;       /* instead of all of the above */
    pcre2_match_context *pcre_ctx[2]; /* a small and a large match limit */
};

/* ---- NFA ---- */

enum op { OP_CLASS, OP_ASSERT, OP_SPLIT, OP_JUMP, OP_MATCH };
struct inst { enum op op; uint32_t x, y, cls; bool end_ok; };

struct build {
    struct rx rx;
    struct inst inst[MAX_INST];
    uint32_t n_inst, work;
    bool bad;
    struct rf_regex *re;
    uint64_t (*has)[4];      /* [n_cls]: bit set over symbols */
    uint32_t *list;          /* states' pcs, one after another */
    size_t n_list, cap_list;
    struct { size_t from; uint32_t n; uint32_t hash; } state[MAX_STATE];
    uint32_t bucket[MAX_STATE * 2]; /* state number + 1 */
    size_t cap_trans;
    uint32_t seen[MAX_INST], stamp;  /* pcs in the list being made */
    uint32_t done[MAX_INST];         /* pcs processed in this step */
    uint32_t stack[2 * MAX_INST + 8];
    uint32_t todo[2 * MAX_INST + 8];
};

static uint32_t put(struct build *b, enum op op, uint32_t x, uint32_t y)
{
    if (b->n_inst >= MAX_INST) {
        b->bad = true;
        return 0;
    }
    b->inst[b->n_inst] = (struct inst){ .op = op, .x = x, .y = y };
    return b->n_inst++;
}

static void emit(struct build *b, int nd);

static void emit_rep(struct build *b, int nd)
{
    const struct rx_node *n = &b->rx.node[nd];
    for (uint32_t i = 0; i < n->min && !b->bad; i++) emit(b, n->child);
    if (n->max == RX_INF) {
        uint32_t at = put(b, OP_SPLIT, 0, 0);
        emit(b, n->child);
        put(b, OP_JUMP, at, 0);
        b->inst[at].x = n->lazy ? b->n_inst : at + 1;
        b->inst[at].y = n->lazy ? at + 1 : b->n_inst;
        return;
    }
    uint32_t count = n->max - n->min;
    uint32_t *fix = rf_alloc_array(count + 1, sizeof *fix);
    if (!fix) b->bad = true;
    for (uint32_t i = 0; i < count && !b->bad; i++) {
        fix[i] = put(b, OP_SPLIT, 0, 0);
        emit(b, n->child);
    }
    for (uint32_t i = 0; i < count && !b->bad; i++) {
        b->inst[fix[i]].x = n->lazy ? b->n_inst : fix[i] + 1;
        b->inst[fix[i]].y = n->lazy ? fix[i] + 1 : b->n_inst;
    }
    rf_free(fix);
}

static void emit(struct build *b, int nd)
{
    const struct rx_node *n = &b->rx.node[nd];
    if (b->bad) return;
    switch ((enum rx_kind)n->kind) {
    case RX_EMPTY: break;
    case RX_CLASS:
    case RX_ASSERT: {
        uint32_t at = put(b, n->kind == RX_CLASS ? OP_CLASS : OP_ASSERT, 0, 0);
        b->inst[at].cls = n->cls;
        b->inst[at].end_ok = n->end_ok;
        break;
    }
    case RX_CAT:
        for (int c = n->child; c >= 0; c = b->rx.node[c].next) emit(b, c);
        break;
    case RX_ALT: {
        uint32_t jumps = UINT32_MAX; /* chain of jumps to patch, linked through x */
        for (int c = n->child; c >= 0 && !b->bad; c = b->rx.node[c].next) {
            bool last = b->rx.node[c].next < 0;
            uint32_t at = last ? 0 : put(b, OP_SPLIT, 0, 0);
            emit(b, c);
            if (last) break;
            jumps = put(b, OP_JUMP, jumps, 0);
            b->inst[at].x = at + 1;
            b->inst[at].y = b->n_inst;
        }
        while (jumps != UINT32_MAX && !b->bad) {
            uint32_t next = b->inst[jumps].x;
            b->inst[jumps].x = b->n_inst;
            jumps = next;
        }
        break;
    }
    case RX_REP: emit_rep(b, nd); break;
    }
}

/* ---- classes of characters ---- */

static int cmp_u32(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static bool make_bounds(struct build *b)
{
    struct rf_regex *re = b->re;
    re->bound = rf_alloc_array(2 * (size_t)b->rx.n_item + 1, sizeof *re->bound);
    if (!re->bound) return false;
    uint32_t n = 0;
    for (uint32_t i = 0; i < b->rx.n_item; i++) {
        if (b->rx.item[i].kind != RX_I_RANGE) continue;
        if (b->rx.item[i].a) re->bound[n++] = b->rx.item[i].a;
        re->bound[n++] = b->rx.item[i].b + 1;
    }
    qsort(re->bound, n, sizeof *re->bound, cmp_u32);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < n; i++)
        if (!kept || re->bound[kept - 1] != re->bound[i]) re->bound[kept++] = re->bound[i];
    re->n_bound = kept;
    return true;
}

static uint32_t interval_of(const struct rf_regex *re, uint32_t cp)
{
    uint32_t lo = 0, hi = re->n_bound; /* number of bounds <= cp */
    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;
        if (re->bound[mid] <= cp) lo = mid + 1;
        else hi = mid;
    }
    return lo;
}

static uint8_t symbol_of(const struct rf_regex *re, uint32_t cp) { return re->cell[interval_of(re, cp)][rf_uni_cat(cp)]; }

/* Characters that no class of the pattern tells apart share a symbol. */
static bool make_symbols(struct build *b)
{
    struct rf_regex *re = b->re;
    const struct rx *r = &b->rx;
    size_t words = (r->n_cls + 63) / 64 + 1;
    uint64_t *sig = rf_alloc_array((MAX_SYM + 1) * words, sizeof *sig);
    re->cell = rf_alloc_array((size_t)re->n_bound + 1, sizeof *re->cell);
    b->has = rf_alloc_array((size_t)r->n_cls + 1, sizeof *b->has);
    bool ok = sig && re->cell && b->has;
    for (uint32_t iv = 0; ok && iv <= re->n_bound; iv++)
        for (unsigned cat = 0; ok && cat < RF_CAT_N; cat++) {
            uint32_t cp = iv ? re->bound[iv - 1] : 0, s = 0;
            uint64_t *mine = sig + MAX_SYM * words;
            memset(mine, 0, words * sizeof *mine);
            for (uint32_t c = 0; c < r->n_cls; c++)
                if (rx_class_has(r, c, cp, cat)) mine[c / 64] |= 1ull << (c % 64);
            while (s < re->n_sym && memcmp(sig + s * words, mine, words * sizeof *mine)) s++;
            if (s == MAX_SYM) ok = false;
            else if (s == re->n_sym) memcpy(sig + re->n_sym++ * words, mine, words * sizeof *mine);
            if (ok) re->cell[iv][cat] = (uint8_t)s;
        }
    for (uint32_t s = 0; ok && s < re->n_sym; s++)
        for (uint32_t c = 0; c < r->n_cls; c++)
            if (sig[s * words + c / 64] >> (c % 64) & 1) b->has[c][s / 64] |= 1ull << (s % 64);
    for (uint32_t c = 0; ok && c < 128; c++) re->ascii[c] = symbol_of(re, c);
    for (unsigned c = 0; ok && c < 256; c++) re->byte_sym[c] = symbol_of(re, rf_byte_to_char((uint8_t)c));
    rf_free(sig);
    return ok;
}

/* ---- DFA ---- */

/* Appends pc and what it reaches without reading to the list being made, in order of preference. */
static void closure(struct build *b, uint32_t pc, uint32_t *mark, uint32_t *out, size_t *n_out)
{
    size_t top = 0;
    b->stack[top++] = pc;
    while (top) {
        pc = b->stack[--top];
        if (mark[pc] == b->stamp) continue;
        mark[pc] = b->stamp;
        const struct inst *in = &b->inst[pc];
        if (in->op == OP_JUMP) b->stack[top++] = in->x;
        else if (in->op == OP_SPLIT) {
            b->stack[top++] = in->y;
            b->stack[top++] = in->x;
        } else out[(*n_out)++] = pc;
    }
}

static bool list_room(struct build *b, size_t more)
{
    if (b->n_list + more <= b->cap_list) return true;
    size_t cap = b->cap_list ? b->cap_list * 2 : 65536;
    while (cap < b->n_list + more) cap *= 2;
    if (cap > MAX_LIST * 2) return false;
    uint32_t *p = rf_realloc_array(b->list, cap, sizeof *p);
    if (!p) return false;
    b->list = p;
    b->cap_list = cap;
    return true;
}

/* The state whose list is list[n_list .. n_list + n): an old one, or this one taken up. 0 if n is 0; UINT32_MAX: full. */
static uint32_t state_find(struct build *b, uint32_t n)
{
    if (!n) return 0;
    const uint32_t *l = b->list + b->n_list;
    uint32_t hash = (uint32_t)rf_hash(l, n * sizeof *l, 0);
    uint32_t mask = MAX_STATE * 2 - 1, at = hash & mask;
    for (; b->bucket[at]; at = (at + 1) & mask) {
        uint32_t s = b->bucket[at] - 1;
        if (b->state[s].hash == hash && b->state[s].n == n && !memcmp(b->list + b->state[s].from, l, n * sizeof *l)) return s;
    }
    if (b->re->n_state == MAX_STATE) return UINT32_MAX;
    uint32_t s = b->re->n_state++;
    b->state[s].from = b->n_list;
    b->state[s].n = n;
    b->state[s].hash = hash;
    b->bucket[at] = s + 1;
    b->n_list += n;
    return s;
}

static bool inst_takes(const struct build *b, const struct inst *in, uint32_t sym)
{
    if (sym == b->re->n_sym) return in->op == OP_ASSERT && in->end_ok;
    return b->has[in->cls][sym / 64] >> (sym % 64) & 1;
}

/* Where state s goes on sym. */
static uint32_t step(struct build *b, uint32_t s, uint32_t sym)
{
    bool matched = false;
    size_t n_new = 0, top = 0;
    b->stamp++;
    if ((b->work += b->state[s].n) > MAX_WORK) return UINT32_MAX;
    for (uint32_t i = 0; i < b->state[s].n && !matched; i++) {
        b->todo[top++] = b->list[b->state[s].from + i];
        while (top && !matched) {
            uint32_t pc = b->todo[--top];
            const struct inst *in = &b->inst[pc];
            if (b->done[pc] == b->stamp && in->op != OP_CLASS) continue;
            if (in->op == OP_MATCH) matched = true;
            else if (!inst_takes(b, in, sym)) continue;
            else if (in->op == OP_CLASS) closure(b, pc + 1, b->seen, b->list + b->n_list, &n_new);
            else {
                /* the condition holds: what lies behind it is decided by this same symbol, in order */
                size_t n = 0;
                uint32_t *behind = b->list + b->n_list + n_new;
                b->done[pc] = b->stamp;
                closure(b, pc + 1, b->done, behind, &n);
                if (top + n > sizeof b->todo / sizeof *b->todo) return UINT32_MAX;
                for (size_t k = n; k-- > 0;) {
                    b->done[behind[k]] = 0;
                    b->todo[top++] = behind[k];
                }
            }
        }
    }
    uint32_t next = sym == b->re->n_sym ? 0 : state_find(b, (uint32_t)n_new);
    return next == UINT32_MAX ? next : next << 1 | matched;
}

static bool make_dfa(struct build *b)
{
    struct rf_regex *re = b->re;
    size_t row = re->n_sym + 1, n = 0;
    if (!list_room(b, 2 * (size_t)b->n_inst + 8)) return false;
    re->n_state = 1; /* dead */
    b->stamp = 1;
    closure(b, 0, b->seen, b->list, &n);
    state_find(b, (uint32_t)n);
    for (uint32_t s = 0; s < re->n_state; s++) {
        if (((size_t)s + 1) * row > b->cap_trans) {
            size_t cap = b->cap_trans ? b->cap_trans * 2 : 64 * row;
            if (cap > MAX_CELLS) return false;
            uint32_t *t = rf_realloc_array(re->trans, cap, sizeof *t);
            if (!t) return false;
            re->trans = t;
            b->cap_trans = cap;
        }
        for (uint32_t sym = 0; sym <= re->n_sym; sym++) {
            if (!list_room(b, 2 * (size_t)b->n_inst + 8)) return false;
            uint32_t t = s ? step(b, s, sym) : 0;
            if (t == UINT32_MAX) return false;
            re->trans[s * row + sym] = t;
        }
    }
    return true;
}

static bool compile_dfa(struct rf_regex *re, const char *pattern, size_t n)
{
    struct build *b = rf_alloc_array(1, sizeof *b);
    if (!b) return false;
    b->re = re;
    bool ok = rx_parse(&b->rx, pattern, n) && make_bounds(b) && make_symbols(b);
    if (ok) {
        emit(b, b->rx.root);
        put(b, OP_MATCH, 0, 0);
        ok = !b->bad && make_dfa(b);
    }
    rf_free(b->list);
    rf_free(b->has);
    rf_free(b);
    return ok;
}

/* ---- PCRE2, for what is left ---- */

enum { SMALL_LIMIT = 2000, LARGE_LIMIT = 1000000 };

static rf_status compile_pcre(struct rf_regex *re, const char *pattern, size_t n, struct rf_error *err)
{
    int code = 0;
    PCRE2_SIZE at = 0;
    uint32_t flags = PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C | PCRE2_MULTILINE;
    struct rf_buf same = { .max = 1 << 20 };
    char why[120] = "too long";
    const char *odd = n > 16384 ? why : rx_vet(pattern, n, &same);
    if (!odd && same.bad) {
        rf_buf_release(&same);
        return rf_fail_nomem(err, "regex", same.max);
    }
    re->pcre = odd ? NULL : pcre2_compile((PCRE2_SPTR)rf_buf_str(&same), same.len, flags, &code, &at, NULL);
    rf_buf_release(&same);
    if (!re->pcre) {
        if (code) pcre2_get_error_message(code, (PCRE2_UCHAR *)why, sizeof why);
        return rf_fail(err, RF_UNSUPPORTED, "tokenizer: regex: found \"%.*s\", expected a supported pattern (%s)", (int)RF_MIN(n, (size_t)200), pattern,
                       odd ? odd : why);
    }
    for (int i = 0; i < 2; i++) {
        re->pcre_ctx[i] = pcre2_match_context_create(NULL);
        if (!re->pcre_ctx[i]) return rf_fail_nomem(err, "regex context", 0);
        pcre2_set_match_limit(re->pcre_ctx[i], i ? LARGE_LIMIT : SMALL_LIMIT);
        pcre2_set_depth_limit(re->pcre_ctx[i], 100000);
        pcre2_set_heap_limit(re->pcre_ctx[i], 16384); /* KiB */
    }
    return RF_OK;
}

rf_status rf_regex_compile(struct rf_regex **out, const char *pattern, size_t n, struct rf_error *err)
{
    struct rf_regex *re = rf_alloc_array(1, sizeof *re);
    *out = NULL;
    if (!re) return rf_fail_nomem(err, "regex", sizeof *re);
    if (!compile_dfa(re, pattern, n)) {
        rf_free(re->bound);
        rf_free(re->cell);
        rf_free(re->trans);
        memset(re, 0, sizeof *re);
        rf_status st = compile_pcre(re, pattern, n, err);
        if (st) {
            rf_regex_free(re);
            return st;
        }
    }
    *out = re;
    return RF_OK;
}

void rf_regex_free(struct rf_regex *re)
{
    if (!re) return;
    rf_free(re->bound);
    rf_free(re->cell);
    rf_free(re->trans);
    pcre2_match_context_free(re->pcre_ctx[0]);
    pcre2_match_context_free(re->pcre_ctx[1]);
    pcre2_code_free(re->pcre);
    rf_free(re);
}

bool rf_regex_is_linear(const struct rf_regex *re) { return !re->pcre; }

/* ---- running ---- */

/* End of the match that starts at `at`, or SIZE_MAX. */
static size_t match_utf8(const struct rf_regex *re, const char *s, size_t n, size_t at, uint64_t *steps)
{
    size_t row = re->n_sym + 1, last = SIZE_MAX, from = at;
    uint32_t t, state = 1;
    while (at < n) {
        unsigned char c = (unsigned char)s[at];
        unsigned len = 1, sym;
        if (c < 0x80) {
            sym = re->ascii[c];
        } else {
            uint32_t cp;
            bool ok;
            len = rf_uni_next(s + at, n - at, &cp, &ok);
            sym = symbol_of(re, cp);
        }
        t = re->trans[state * row + sym];
        if (t & 1) last = at;
        state = t >> 1;
        if (!state) {
            *steps += at - from + 1;
            return last;
        }
        at += len;
    }
    if (re->trans[state * row + re->n_sym] & 1) last = n;
    *steps += at - from + 1;
    return last;
}

static size_t match_bytes(const struct rf_regex *re, const char *s, size_t n, size_t at, uint64_t *steps)
{
    size_t row = re->n_sym + 1, last = SIZE_MAX;
    uint32_t state = 1;
    for (; at < n; at++) {
        uint32_t t = re->trans[state * row + re->byte_sym[(unsigned char)s[at]]];
        (*steps)++;
        if (t & 1) last = at;
        state = t >> 1;
        if (!state) return last;
    }
    return re->trans[state * row + re->n_sym] & 1 ? n : last;
}

/* Nearly every match is cheap; one that needs the large limit is charged for it, so that a text's total is bounded. */
static rf_status find_pcre(const struct rf_regex *re, const char *s, size_t n, size_t at, uint64_t *steps, struct rf_regex_hit *hit)
{
    pcre2_match_data *md = pcre2_match_data_create(8, NULL);
    if (!md) return RF_NOMEM;
    int rc = PCRE2_ERROR_MATCHLIMIT;
    for (int i = 0; i < 2 && rc == PCRE2_ERROR_MATCHLIMIT && *steps / 64 <= n + LARGE_LIMIT; i++) {
        rc = pcre2_match(re->pcre, (PCRE2_SPTR)s, n, at, PCRE2_NO_UTF_CHECK, md, re->pcre_ctx[i]);
        *steps += i ? LARGE_LIMIT : 1;
    }
    if (rc >= 0) {
        const PCRE2_SIZE *ov = pcre2_get_ovector_pointer(md);
        hit->from = ov[0];
        hit->to = RF_MAX(ov[0], ov[1]);
    }
    pcre2_match_data_free(md);
    return rc >= 0 ? RF_OK : rc == PCRE2_ERROR_NOMATCH ? RF_NOT_FOUND : RF_TOO_LARGE;
}

rf_status rf_regex_find(const struct rf_regex *re, const char *s, size_t n, size_t at, enum rf_regex_mode mode,
                        uint64_t *steps, struct rf_regex_hit *hit)
{
    if (re->pcre) return find_pcre(re, s, n, at, steps, hit);
    while (at <= n) {
        size_t to = mode == RF_REGEX_UTF8 ? match_utf8(re, s, n, at, steps) : match_bytes(re, s, n, at, steps);
        if (to != SIZE_MAX) {
            hit->from = at;
            hit->to = to;
            return RF_OK;
        }
        if (*steps / 64 > n + 64) return RF_TOO_LARGE;
        uint32_t cp;
        bool ok;
        at += at == n || mode == RF_REGEX_BYTES ? 1 : rf_uni_next(s + at, n - at, &cp, &ok);
    }
    return RF_NOT_FOUND;
}

static rf_status find_literal(const struct rf_scan *c, struct rf_regex_hit *hit)
{
    const char *f = c->literal.n && c->n - c->at >= c->literal.n ? memmem(c->s + c->at, c->n - c->at, c->literal.s, c->literal.n) : NULL;
    if (!f) return RF_NOT_FOUND;
    hit->from = (size_t)(f - c->s);
    hit->to = hit->from + c->literal.n;
    return RF_OK;
}

rf_status rf_scan_next(struct rf_scan *c, struct rf_regex_hit *hit)
{
    while (c->n && c->at <= c->n) {
        rf_status st = c->regex ? rf_regex_find(c->regex, c->s, c->n, c->at, c->mode, &c->steps, hit) : find_literal(c, hit);
        if (st) return st;
        bool empty = hit->from == hit->to, again = empty && c->any && hit->from == c->last;
        uint32_t cp;
        bool ok;
        c->at = hit->to;
        if (empty) c->at += c->at == c->n || c->mode == RF_REGEX_BYTES ? 1 : rf_uni_next(c->s + c->at, c->n - c->at, &cp, &ok);
        if (again) continue;
        c->last = hit->to;
        c->any = true;
        return RF_OK;
    }
    return RF_NOT_FOUND;
}
