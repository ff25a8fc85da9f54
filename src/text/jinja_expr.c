/* jinja_expr.c - expressions, by recursive descent with the grammar and precedences of Jinja2's documentation (or, and, not,
 * comparisons, + -, ~, * / // %, **, unary, postfix, filters and tests).
 */
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "text/jinja_parse.h"

static rf_status parse_or(struct parser *ps, struct rf_jnode **out);
static rf_status parse_unary(struct parser *ps, bool with_filter, struct rf_jnode **out);
static rf_status parse_primary(struct parser *ps, struct rf_jnode **out);

/* ---- expressions ---------------------------------------------------------------------------------------------- */

static rf_status parse_name(struct parser *ps, struct rf_jnode **out)
{
    static const struct { const char *word; uint8_t kind; bool b; } consts[] = {
        {"true", RF_JV_BOOL, true}, {"True", RF_JV_BOOL, true}, {"false", RF_JV_BOOL, false}, {"False", RF_JV_BOOL, false},
        {"none", RF_JV_NONE, false}, {"None", RF_JV_NONE, false}};
    const struct rf_jtok *t = ps->tok;
    rf_jp_next(ps);
    for (size_t i = 0; i < RF_COUNT(consts); i++) {
        if (!rf_jp_tok_is_word(t, consts[i].word)) continue;
        RF_TRY(rf_jp_make(ps, RF_JN_CONST, t->line, out));
        (*out)->value = (struct rf_jv){.kind = consts[i].kind, .b = consts[i].b};
        return RF_OK;
    }
    RF_TRY(rf_jp_make(ps, RF_JN_NAME, t->line, out));
    RF_TRY(rf_jp_symbol(ps, t->p, t->len, &(*out)->sym));
    return rf_jp_note_load(ps, (*out)->sym);
}

static rf_status parse_string(struct parser *ps, struct rf_jnode **out)
{
    const struct rf_jtok *first = ps->tok;
    size_t len = 0, at = 0;
    for (const struct rf_jtok *t = first; t->kind == RF_JT_STRING; t++) len += t->len;
    char *p = rf_arena_alloc(ps->a, len);
    if (!p) return rf_jp_no_room(ps);
    for (; rf_jp_is(ps, RF_JT_STRING); rf_jp_next(ps)) {
        if (ps->tok->len) memcpy(p + at, ps->tok->p, ps->tok->len);
        at += ps->tok->len;
    }
    RF_TRY(rf_jp_make(ps, RF_JN_CONST, first->line, out));
    struct rf_jstr *s;
    RF_TRY(rf_jp_text(ps, p, len, &s));
    (*out)->value = rf_jv_str(s);
    return RF_OK;
}

rf_status rf_jp_finish_list(struct rf_jnode *n, const struct vec *v)
{
    n->list = v->v;
    n->n = v->n;
    return RF_OK;
}

static rf_status parse_list(struct parser *ps, struct rf_jnode **out)
{
    struct vec v = {0};
    RF_TRY(rf_jp_make(ps, RF_JN_LIST, ps->tok->line, out));
    rf_jp_next(ps);
    while (!rf_jp_is(ps, RF_JT_RBRACKET)) {
        struct rf_jnode *e;
        if (v.n) RF_TRY(rf_jp_expect(ps, RF_JT_COMMA));
        if (rf_jp_is(ps, RF_JT_RBRACKET)) break;
        RF_TRY(rf_jp_expression(ps, &e));
        RF_TRY(rf_jp_add(ps, &v, e));
    }
    rf_jp_next(ps);
    return rf_jp_finish_list(*out, &v);
}

static rf_status parse_dict(struct parser *ps, struct rf_jnode **out)
{
    struct vec v = {0};
    RF_TRY(rf_jp_make(ps, RF_JN_DICT, ps->tok->line, out));
    rf_jp_next(ps);
    while (!rf_jp_is(ps, RF_JT_RBRACE)) {
        struct rf_jnode *key, *value;
        if (v.n) RF_TRY(rf_jp_expect(ps, RF_JT_COMMA));
        if (rf_jp_is(ps, RF_JT_RBRACE)) break;
        RF_TRY(rf_jp_expression(ps, &key));
        RF_TRY(rf_jp_expect(ps, RF_JT_COLON));
        RF_TRY(rf_jp_expression(ps, &value));
        RF_TRY(rf_jp_add(ps, &v, key));
        RF_TRY(rf_jp_add(ps, &v, value));
    }
    rf_jp_next(ps);
    return rf_jp_finish_list(*out, &v);
}

static rf_status parse_primary(struct parser *ps, struct rf_jnode **out)
{
    const struct rf_jtok *t = ps->tok;
    switch (t->kind) {
    case RF_JT_NAME: return parse_name(ps, out);
    case RF_JT_STRING: return parse_string(ps, out);
    case RF_JT_INT:
    case RF_JT_FLOAT:
        RF_TRY(rf_jp_make(ps, RF_JN_CONST, t->line, out));
        (*out)->value = t->num;
        rf_jp_next(ps);
        return RF_OK;
    case RF_JT_LPAREN:
        rf_jp_next(ps);
        RF_TRY(rf_jp_tuple(ps, true, NULL, true, out));
        return rf_jp_expect(ps, RF_JT_RPAREN);
    case RF_JT_LBRACKET: return parse_list(ps, out);
    case RF_JT_LBRACE: return parse_dict(ps, out);
    default: return rf_jp_unexpected(ps, "an expression");
    }
}

static rf_status parse_slice_part(struct parser *ps, struct rf_jnode **out)
{
    if (rf_jp_is(ps, RF_JT_COLON) || rf_jp_is(ps, RF_JT_RBRACKET) || rf_jp_is(ps, RF_JT_COMMA)) return RF_OK;
    return rf_jp_expression(ps, out);
}

static rf_status parse_subscribed(struct parser *ps, struct rf_jnode **out)
{
    struct rf_jnode *from = NULL, *to = NULL, *step = NULL;
    uint32_t line = ps->tok->line;
    if (!rf_jp_is(ps, RF_JT_COLON)) {
        RF_TRY(rf_jp_expression(ps, &from));
        if (!rf_jp_is(ps, RF_JT_COLON)) {
            *out = from;
            return RF_OK;
        }
    }
    rf_jp_next(ps);
    RF_TRY(parse_slice_part(ps, &to));
    if (rf_jp_skip_if(ps, RF_JT_COLON)) RF_TRY(parse_slice_part(ps, &step));
    RF_TRY(rf_jp_make(ps, RF_JN_SLICE, line, out));
    (*out)->a = from;
    (*out)->b = to;
    (*out)->c = step;
    return RF_OK;
}

static rf_status parse_subscript(struct parser *ps, struct rf_jnode *of, struct rf_jnode **out)
{
    const struct rf_jtok *t = ps->tok;
    struct vec v = {0};
    rf_jp_next(ps);
    if (t->kind == RF_JT_DOT && rf_jp_is(ps, RF_JT_NAME)) {
        struct rf_jstr *s;
        RF_TRY(rf_jp_make(ps, RF_JN_ATTR, t->line, out));
        RF_TRY(rf_jp_text(ps, ps->tok->p, ps->tok->len, &s));
        (*out)->a = of;
        (*out)->value = rf_jv_str(s);
        rf_jp_next(ps);
        return RF_OK;
    }
    RF_TRY(rf_jp_make(ps, RF_JN_ITEM, t->line, out));
    (*out)->a = of;
    if (t->kind == RF_JT_DOT) {
        if (!rf_jp_is(ps, RF_JT_INT)) return rf_jp_unexpected(ps, "a name or a number");
        RF_TRY(rf_jp_make(ps, RF_JN_CONST, t->line, &(*out)->b));
        (*out)->b->value = ps->tok->num;
        rf_jp_next(ps);
        return RF_OK;
    }
    while (!rf_jp_is(ps, RF_JT_RBRACKET)) {
        struct rf_jnode *e;
        if (v.n) RF_TRY(rf_jp_expect(ps, RF_JT_COMMA));
        RF_TRY(parse_subscribed(ps, &e));
        RF_TRY(rf_jp_add(ps, &v, e));
    }
    rf_jp_next(ps);
    if (v.n == 1) {
        (*out)->b = v.v[0];
        return RF_OK;
    }
    for (uint32_t i = 0; i < v.n; i++)
        if (v.v[i]->kind == RF_JN_SLICE) return FAIL(ps, "a slice must stand alone between its brackets", t->line);
    RF_TRY(rf_jp_make(ps, RF_JN_TUPLE, t->line, &(*out)->b));
    return rf_jp_finish_list((*out)->b, &v);
}

static rf_status parse_args(struct parser *ps, struct rf_jargs_ast **out)
{
    struct rf_jargs_ast *g = rf_arena_alloc(ps->a, sizeof *g);
    struct vec pos = {0}, kw = {0}, names = {0}; /* names: constants, one per kw */
    uint32_t line = ps->tok->line;
    if (!g) return rf_jp_no_room(ps);
    RF_TRY(rf_jp_expect(ps, RF_JT_LPAREN));
    for (bool first = true; !rf_jp_is(ps, RF_JT_RPAREN); first = false) {
        struct rf_jnode *e;
        if (!first) {
            RF_TRY(rf_jp_expect(ps, RF_JT_COMMA));
            if (rf_jp_is(ps, RF_JT_RPAREN)) break;
        }
        if (rf_jp_is(ps, RF_JT_MUL) && !g->star && !g->star_star) {
            rf_jp_next(ps);
            RF_TRY(rf_jp_expression(ps, &g->star));
        } else if (rf_jp_is(ps, RF_JT_POW) && !g->star_star) {
            rf_jp_next(ps);
            RF_TRY(rf_jp_expression(ps, &g->star_star));
        } else if (rf_jp_is(ps, RF_JT_NAME) && ps->tok[1].kind == RF_JT_ASSIGN && !g->star_star) {
            struct rf_jnode *name;
            struct rf_jstr *s;
            RF_TRY(rf_jp_text(ps, ps->tok->p, ps->tok->len, &s));
            RF_TRY(rf_jp_make(ps, RF_JN_CONST, ps->tok->line, &name));
            name->value = rf_jv_str(s);
            if (names.n == MAX_KEYWORDS) return FAIL(ps, "more than %d keyword arguments", line, MAX_KEYWORDS);
            for (uint32_t i = 0; i < names.n; i++)
                if (names.v[i]->value.s->len == s->len && !memcmp(names.v[i]->value.s->p, s->p, s->len))
                    return FAIL(ps, "the argument '%.40s' is given twice", line, s->p);
            rf_jp_next(ps);
            rf_jp_next(ps);
            RF_TRY(rf_jp_expression(ps, &e));
            RF_TRY(rf_jp_add(ps, &names, name));
            RF_TRY(rf_jp_add(ps, &kw, e));
        } else if (!g->star && !g->star_star && !kw.n && !rf_jp_is(ps, RF_JT_MUL) && !rf_jp_is(ps, RF_JT_POW)) {
            RF_TRY(rf_jp_expression(ps, &e));
            RF_TRY(rf_jp_add(ps, &pos, e));
        } else {
            return FAIL(ps, "the arguments of this call are out of order", line);
        }
    }
    rf_jp_next(ps);
    g->pos = pos.v;
    g->n_pos = pos.n;
    g->kw_value = kw.v;
    g->n_kw = kw.n;
    g->kw_name = rf_arena_array(ps->a, kw.n, sizeof *g->kw_name);
    if (!g->kw_name) return rf_jp_no_room(ps);
    for (uint32_t i = 0; i < kw.n; i++) g->kw_name[i] = names.v[i]->value.s;
    *out = g;
    return RF_OK;
}

static rf_status parse_call(struct parser *ps, struct rf_jnode *of, struct rf_jnode **out)
{
    struct rf_jnode *n;
    RF_TRY(rf_jp_make(ps, RF_JN_CALL, ps->tok->line, &n));
    n->a = of;
    RF_TRY(parse_args(ps, &n->args));
    *out = n;
    return RF_OK;
}

static rf_status parse_postfix(struct parser *ps, struct rf_jnode **n)
{
    for (;;) {
        if (rf_jp_is(ps, RF_JT_DOT) || rf_jp_is(ps, RF_JT_LBRACKET)) RF_TRY(parse_subscript(ps, *n, n));
        else if (rf_jp_is(ps, RF_JT_LPAREN)) RF_TRY(parse_call(ps, *n, n));
        else return RF_OK;
    }
}

/* A dotted name of a filter or test. */
static rf_status parse_dotted(struct parser *ps, struct rf_jv *out)
{
    char buf[128];
    size_t n = 0;
    do {
        if (!rf_jp_is(ps, RF_JT_NAME)) return rf_jp_unexpected(ps, "a name");
        if (n + ps->tok->len + 2 > sizeof buf) return FAIL(ps, "a name is too long", ps->tok->line);
        if (n) buf[n++] = '.';
        memcpy(buf + n, ps->tok->p, ps->tok->len);
        n += ps->tok->len;
        rf_jp_next(ps);
    } while (rf_jp_skip_if(ps, RF_JT_DOT));
    char *copy = rf_arena_strndup(ps->a, buf, n);
    if (!copy) return rf_jp_no_room(ps);
    struct rf_jstr *s;
    RF_TRY(rf_jp_text(ps, copy, n, &s));
    *out = rf_jv_str(s);
    return RF_OK;
}

rf_status rf_jp_filters(struct parser *ps, struct rf_jnode *of, bool first_inline, struct rf_jnode **out)
{
    while (first_inline || rf_jp_is(ps, RF_JT_PIPE)) {
        struct rf_jnode *n;
        if (!first_inline) rf_jp_next(ps);
        first_inline = false;
        RF_TRY(rf_jp_make(ps, RF_JN_FILTER, ps->tok->line, &n));
        n->a = of;
        RF_TRY(parse_dotted(ps, &n->value));
        if (rf_jp_is(ps, RF_JT_LPAREN)) RF_TRY(parse_args(ps, &n->args));
        of = n;
    }
    *out = of;
    return RF_OK;
}

static rf_status parse_test(struct parser *ps, struct rf_jnode *of, struct rf_jnode **out)
{
    struct rf_jnode *n;
    rf_jp_next(ps);
    bool negated = rf_jp_skip_word(ps, "not");
    RF_TRY(rf_jp_make(ps, RF_JN_TEST, ps->tok->line, &n));
    n->a = of;
    RF_TRY(parse_dotted(ps, &n->value));
    enum rf_jtok_kind k = ps->tok->kind;
    bool word = k == RF_JT_NAME && !rf_jp_is_word(ps, "else") && !rf_jp_is_word(ps, "or") && !rf_jp_is_word(ps, "and");
    if (k == RF_JT_LPAREN) {
        RF_TRY(parse_args(ps, &n->args));
    } else if (word || k == RF_JT_STRING || k == RF_JT_INT || k == RF_JT_FLOAT || k == RF_JT_LBRACKET || k == RF_JT_LBRACE) {
        struct vec v = {0};
        struct rf_jnode *arg;
        if (rf_jp_is_word(ps, "is")) return FAIL(ps, "tests with 'is' cannot be chained", ps->tok->line);
        RF_TRY(parse_primary(ps, &arg));
        RF_TRY(parse_postfix(ps, &arg));
        RF_TRY(rf_jp_add(ps, &v, arg));
        n->args = rf_arena_alloc(ps->a, sizeof *n->args);
        if (!n->args) return rf_jp_no_room(ps);
        n->args->pos = v.v;
        n->args->n_pos = 1;
    }
    *out = n;
    if (!negated) return RF_OK;
    RF_TRY(rf_jp_make(ps, RF_JN_NOT, n->line, out));
    (*out)->a = n;
    return RF_OK;
}

static rf_status parse_filter_expr(struct parser *ps, struct rf_jnode **n)
{
    for (;;) {
        if (rf_jp_is(ps, RF_JT_PIPE)) RF_TRY(rf_jp_filters(ps, *n, false, n));
        else if (rf_jp_is_word(ps, "is")) RF_TRY(parse_test(ps, *n, n));
        else if (rf_jp_is(ps, RF_JT_LPAREN)) RF_TRY(parse_call(ps, *n, n));
        else return RF_OK;
    }
}

static rf_status parse_unary(struct parser *ps, bool with_filter, struct rf_jnode **out)
{
    uint32_t line = ps->tok->line;
    RF_TRY(rf_jp_enter(ps));
    if (rf_jp_is(ps, RF_JT_SUB) || rf_jp_is(ps, RF_JT_ADD)) {
        enum rf_jnode_kind kind = rf_jp_is(ps, RF_JT_SUB) ? RF_JN_NEG : RF_JN_POS;
        struct rf_jnode *a;
        rf_jp_next(ps);
        RF_TRY(parse_unary(ps, false, &a));
        RF_TRY(rf_jp_make(ps, kind, line, out));
        (*out)->a = a;
    } else {
        RF_TRY(parse_primary(ps, out));
    }
    RF_TRY(parse_postfix(ps, out));
    if (with_filter) RF_TRY(parse_filter_expr(ps, out));
    rf_jp_leave(ps);
    return RF_OK;
}

static rf_status bin(struct parser *ps, enum rf_jtok_kind op, uint32_t line, struct rf_jnode **left, struct rf_jnode *right)
{
    struct rf_jnode *n;
    RF_TRY(rf_jp_make(ps, RF_JN_BIN, line, &n));
    n->op = (uint8_t)op;
    n->a = *left;
    n->b = right;
    *left = n;
    return RF_OK;
}

static rf_status parse_pow(struct parser *ps, struct rf_jnode **out)
{
    uint32_t line = ps->tok->line;
    RF_TRY(parse_unary(ps, true, out));
    while (rf_jp_skip_if(ps, RF_JT_POW)) {
        struct rf_jnode *right;
        RF_TRY(parse_unary(ps, true, &right));
        RF_TRY(bin(ps, RF_JT_POW, line, out, right));
    }
    return RF_OK;
}

static rf_status parse_product(struct parser *ps, struct rf_jnode **out)
{
    RF_TRY(parse_pow(ps, out));
    for (;;) {
        enum rf_jtok_kind op = ps->tok->kind;
        uint32_t line = ps->tok->line;
        struct rf_jnode *right;
        if (op != RF_JT_MUL && op != RF_JT_DIV && op != RF_JT_FLOORDIV && op != RF_JT_MOD) return RF_OK;
        rf_jp_next(ps);
        RF_TRY(parse_pow(ps, &right));
        RF_TRY(bin(ps, op, line, out, right));
    }
}

static rf_status parse_concat(struct parser *ps, struct rf_jnode **out)
{
    struct vec v = {0};
    uint32_t line = ps->tok->line;
    RF_TRY(parse_product(ps, out));
    if (!rf_jp_is(ps, RF_JT_TILDE)) return RF_OK;
    RF_TRY(rf_jp_add(ps, &v, *out));
    while (rf_jp_skip_if(ps, RF_JT_TILDE)) {
        RF_TRY(parse_product(ps, out));
        RF_TRY(rf_jp_add(ps, &v, *out));
    }
    RF_TRY(rf_jp_make(ps, RF_JN_CONCAT, line, out));
    return rf_jp_finish_list(*out, &v);
}

static rf_status parse_sum(struct parser *ps, struct rf_jnode **out)
{
    RF_TRY(parse_concat(ps, out));
    for (;;) {
        enum rf_jtok_kind op = ps->tok->kind;
        uint32_t line = ps->tok->line;
        struct rf_jnode *right;
        if (op != RF_JT_ADD && op != RF_JT_SUB) return RF_OK;
        rf_jp_next(ps);
        RF_TRY(parse_concat(ps, &right));
        RF_TRY(bin(ps, op, line, out, right));
    }
}

static bool take_compare_op(struct parser *ps, uint8_t *op)
{
    enum rf_jtok_kind k = ps->tok->kind;
    if (k >= RF_JT_EQ && k <= RF_JT_LTEQ) {
        *op = (uint8_t)k;
        rf_jp_next(ps);
    } else if (rf_jp_is_word(ps, "in")) {
        *op = RF_JT_IN;
        rf_jp_next(ps);
    } else if (rf_jp_is_word(ps, "not") && rf_jp_tok_is_word(ps->tok + 1, "in")) {
        *op = RF_JT_NOTIN;
        rf_jp_next(ps);
        rf_jp_next(ps);
    } else {
        return false;
    }
    return true;
}

static rf_status parse_compare(struct parser *ps, struct rf_jnode **out)
{
    struct vec v = {0};
    uint8_t ops[64], op;
    uint32_t line = ps->tok->line;
    struct rf_jnode *left, *right;
    RF_TRY(parse_sum(ps, &left));
    *out = left;
    while (take_compare_op(ps, &op)) {
        if (v.n == sizeof ops) return FAIL(ps, "more than %zu comparisons in a row", line, sizeof ops);
        ops[v.n] = op;
        RF_TRY(parse_sum(ps, &right));
        RF_TRY(rf_jp_add(ps, &v, right));
    }
    if (!v.n) return RF_OK;
    RF_TRY(rf_jp_make(ps, RF_JN_COMPARE, line, out));
    (*out)->a = left;
    (*out)->ops = rf_arena_alloc(ps->a, v.n);
    if (!(*out)->ops) return rf_jp_no_room(ps);
    memcpy((*out)->ops, ops, v.n);
    return rf_jp_finish_list(*out, &v);
}

static rf_status parse_not(struct parser *ps, struct rf_jnode **out)
{
    uint32_t line = ps->tok->line;
    if (!rf_jp_skip_word(ps, "not")) return parse_compare(ps, out);
    struct rf_jnode *a;
    RF_TRY(rf_jp_enter(ps));
    RF_TRY(parse_not(ps, &a));
    rf_jp_leave(ps);
    RF_TRY(rf_jp_make(ps, RF_JN_NOT, line, out));
    (*out)->a = a;
    return RF_OK;
}

static rf_status logic(struct parser *ps, enum rf_jnode_kind kind, struct rf_jnode **left, struct rf_jnode *right)
{
    struct rf_jnode *n;
    RF_TRY(rf_jp_make(ps, kind, right->line, &n));
    n->a = *left;
    n->b = right;
    *left = n;
    return RF_OK;
}

static rf_status parse_and(struct parser *ps, struct rf_jnode **out)
{
    RF_TRY(parse_not(ps, out));
    while (rf_jp_skip_word(ps, "and")) {
        struct rf_jnode *right;
        RF_TRY(parse_not(ps, &right));
        RF_TRY(logic(ps, RF_JN_AND, out, right));
    }
    return RF_OK;
}

static rf_status parse_or(struct parser *ps, struct rf_jnode **out)
{
    RF_TRY(parse_and(ps, out));
    while (rf_jp_skip_word(ps, "or")) {
        struct rf_jnode *right;
        RF_TRY(parse_and(ps, &right));
        RF_TRY(logic(ps, RF_JN_OR, out, right));
    }
    return RF_OK;
}

rf_status rf_jp_expression(struct parser *ps, struct rf_jnode **out)
{
    uint32_t line = ps->tok->line;
    RF_TRY(rf_jp_enter(ps));
    RF_TRY(parse_or(ps, out));
    while (rf_jp_skip_word(ps, "if")) {
        struct rf_jnode *n;
        RF_TRY(rf_jp_make(ps, RF_JN_COND, line, &n));
        n->a = *out;
        RF_TRY(parse_or(ps, &n->b));
        if (rf_jp_skip_word(ps, "else")) RF_TRY(rf_jp_expression(ps, &n->c));
        *out = n;
    }
    rf_jp_leave(ps);
    return RF_OK;
}

rf_status rf_jp_tuple(struct parser *ps, bool with_cond, const char *end_word, bool parenthesised, struct rf_jnode **out)
{
    struct vec v = {0};
    uint32_t line = ps->tok->line;
    bool is_tuple = false;
    for (;;) {
        struct rf_jnode *e;
        if (v.n) RF_TRY(rf_jp_expect(ps, RF_JT_COMMA));
        if (rf_jp_is(ps, RF_JT_VAR_END) || rf_jp_is(ps, RF_JT_BLOCK_END) || rf_jp_is(ps, RF_JT_RPAREN)) break;
        if (end_word && rf_jp_is_word(ps, end_word)) break;
        RF_TRY(with_cond ? rf_jp_expression(ps, &e) : parse_or(ps, &e));
        RF_TRY(rf_jp_add(ps, &v, e));
        if (!rf_jp_is(ps, RF_JT_COMMA)) break;
        is_tuple = true;
    }
    if (!is_tuple && v.n) {
        *out = v.v[0];
        return RF_OK;
    }
    if (!is_tuple && !parenthesised) return rf_jp_unexpected(ps, "an expression");
    RF_TRY(rf_jp_make(ps, RF_JN_TUPLE, line, out));
    return rf_jp_finish_list(*out, &v);
}
