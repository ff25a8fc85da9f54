/* The parser: tokens to a syntax tree, by recursive descent with the grammar and precedences of Jinja2's documentation
 * (or, and, not, comparisons, + -, ~, * / // %, **, unary, postfix, filters and tests).
 *
 * It also notes, per scope, which names are read and which are set first: Jinja decides at compile time whether a name
 * can be a variable of the request, and templates see the difference.
 */
#include <string.h>

#include "base/map.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "text/jinja_ast.h"

enum { MAX_DEPTH = 150, MAX_NAMES = 512, MAX_KEYWORDS = 255, MAX_SOURCE = 1 << 20, MAX_ARENA = 48 << 20 };

struct parser {
    struct rf_template *t;
    struct rf_arena *a;
    const struct rf_jtok *tok;
    struct rf_map syms;
    uint32_t cap_sym;
    struct rf_jscope *scope, *scopes; /* the current one; all, for the end */
    unsigned in_branch;               /* if-branches open within the current scope */
    unsigned in_loop;                 /* loops open within the current macro */
    unsigned depth;
    struct rf_jmacro_ast *macro[MAX_DEPTH + 1];
    unsigned n_macro;
    struct rf_error *err;
};

struct vec { struct rf_jnode **v; uint32_t n, cap; };

#define FAIL(ps, ...) rf_fail((ps)->err, RF_INVALID, "chat template line %u: " __VA_ARGS__)
#define TOO_LARGE(ps) rf_fail((ps)->err, RF_TOO_LARGE, "chat template line %u: the template is too large", (ps)->tok->line)

static rf_status parse_expression(struct parser *ps, struct rf_jnode **out);
static rf_status parse_or(struct parser *ps, struct rf_jnode **out);
static rf_status parse_unary(struct parser *ps, bool with_filter, struct rf_jnode **out);
static rf_status parse_primary(struct parser *ps, struct rf_jnode **out);
static rf_status parse_tuple(struct parser *ps, bool with_cond, const char *end_word, bool parenthesised, struct rf_jnode **out);
static rf_status parse_filters(struct parser *ps, struct rf_jnode *of, bool first_inline, struct rf_jnode **out);
static rf_status parse_body(struct parser *ps, const char *const *ends, struct rf_jnode **out);

/* ---- tokens, nodes, names ------------------------------------------------------------------------------------- */

static bool is(const struct parser *ps, enum rf_jtok_kind kind) { return ps->tok->kind == kind; }

static bool tok_is_word(const struct rf_jtok *t, const char *word)
{
    return t->kind == RF_JT_NAME && strlen(word) == t->len && !memcmp(t->p, word, t->len);
}

static bool is_word(const struct parser *ps, const char *word) { return tok_is_word(ps->tok, word); }

static void next(struct parser *ps)
{
    if (ps->tok->kind != RF_JT_EOF) ps->tok++;
}

static bool skip_if(struct parser *ps, enum rf_jtok_kind kind)
{
    bool yes = is(ps, kind);
    if (yes) next(ps);
    return yes;
}

static bool skip_word(struct parser *ps, const char *word)
{
    bool yes = is_word(ps, word);
    if (yes) next(ps);
    return yes;
}

static const char *tok_text(const struct rf_jtok *t, char buf[64])
{
    static const char *const names[] = {
        "end of template", "text", "{{", "}}", "{%", "%}", "name", "string", "integer", "float", "+", "-", "*", "/", "//", "%",
        "**", "~", "[", "]", "(", ")", "{", "}", "==", "!=", ">", ">=", "<", "<=", "=", ".", ":", "|", ",", ";", "in", "not in"};
    if (t->kind != RF_JT_NAME) return names[t->kind];
    size_t n = RF_MIN(t->len, (size_t)40);
    memcpy(buf, t->p, n);
    buf[n] = 0;
    return buf;
}

static rf_status unexpected(struct parser *ps, const char *expected)
{
    char buf[64];
    return FAIL(ps, "unexpected '%s', expected %s", ps->tok->line, tok_text(ps->tok, buf), expected);
}

static rf_status expect(struct parser *ps, enum rf_jtok_kind kind)
{
    struct rf_jtok t = {.kind = kind};
    char buf[64];
    if (is(ps, kind)) {
        next(ps);
        return RF_OK;
    }
    return unexpected(ps, tok_text(&t, buf));
}

static rf_status enter(struct parser *ps)
{
    if (++ps->depth > MAX_DEPTH) return FAIL(ps, "nested deeper than %d", ps->tok->line, MAX_DEPTH);
    return RF_OK;
}

static void leave(struct parser *ps) { ps->depth--; }

static rf_status make(struct parser *ps, enum rf_jnode_kind kind, uint32_t line, struct rf_jnode **out)
{
    struct rf_jnode *n = rf_arena_alloc(ps->a, sizeof *n);
    if (!n) return TOO_LARGE(ps);
    n->kind = (uint8_t)kind;
    n->line = line;
    *out = n;
    return RF_OK;
}

static rf_status add(struct parser *ps, struct vec *v, struct rf_jnode *n)
{
    if (v->n == v->cap) {
        uint32_t cap = v->cap ? 2 * v->cap : 4;
        struct rf_jnode **p = rf_arena_array(ps->a, cap, sizeof *p);
        if (!p) return TOO_LARGE(ps);
        if (v->n) memcpy(p, v->v, v->n * sizeof *p);
        v->v = p;
        v->cap = cap;
    }
    v->v[v->n++] = n;
    return RF_OK;
}

static rf_status text(struct parser *ps, const char *p, size_t len, struct rf_jstr **out)
{
    *out = rf_jinja_str_make(ps->a, p, len, true);
    return *out ? RF_OK : TOO_LARGE(ps);
}

static rf_status symbol(struct parser *ps, const char *p, size_t len, uint32_t *out)
{
    struct rf_template *t = ps->t;
    *out = rf_map_get(&ps->syms, p, len);
    if (*out != RF_MAP_NONE) return RF_OK;
    if (t->n_sym == ps->cap_sym) {
        uint32_t cap = ps->cap_sym ? 2 * ps->cap_sym : 64;
        struct rf_jstr **v = rf_arena_array(ps->a, cap, sizeof *v);
        if (!v) return TOO_LARGE(ps);
        if (t->n_sym) memcpy(v, t->sym, t->n_sym * sizeof *v);
        t->sym = v;
        ps->cap_sym = cap;
    }
    struct rf_jstr *name;
    RF_TRY(text(ps, p, len, &name));
    if (rf_map_set(&ps->syms, name->p, len, t->n_sym, NULL)) return TOO_LARGE(ps);
    t->sym[t->n_sym] = name;
    *out = t->n_sym++;
    return RF_OK;
}

/* ---- scopes --------------------------------------------------------------------------------------------------- */

struct saved { struct rf_jscope *scope; unsigned in_branch; };

static rf_status scope_open(struct parser *ps, struct saved *save, struct rf_jscope **out)
{
    struct rf_jscope *s = rf_arena_alloc(ps->a, sizeof *s);
    if (!s) return TOO_LARGE(ps);
    *save = (struct saved){ps->scope, ps->in_branch};
    s->parent = ps->scope;
    s->next = ps->scopes;
    ps->scope = ps->scopes = s;
    ps->in_branch = 0;
    *out = s;
    return RF_OK;
}

static void scope_close(struct parser *ps, const struct saved *save)
{
    ps->scope = save->scope;
    ps->in_branch = save->in_branch;
}

static bool scope_has(const struct rf_jscope *s, uint32_t sym)
{
    for (uint32_t i = 0; i < s->n_ref; i++)
        if (s->ref[i].sym == sym) return true;
    return false;
}

static rf_status scope_note(struct parser *ps, uint32_t sym, bool unset_first)
{
    struct rf_jscope *s = ps->scope;
    if (scope_has(s, sym)) return RF_OK;
    if (s->n_ref == MAX_NAMES) return FAIL(ps, "more than %d names in one scope", ps->tok->line, MAX_NAMES);
    if (s->n_ref == s->cap_ref) {
        uint32_t cap = s->cap_ref ? 2 * s->cap_ref : 8;
        struct rf_jref *v = rf_arena_array(ps->a, cap, sizeof *v);
        if (!v) return TOO_LARGE(ps);
        if (s->n_ref) memcpy(v, s->ref, s->n_ref * sizeof *v);
        s->ref = v;
        s->cap_ref = cap;
    }
    s->ref[s->n_ref++] = (struct rf_jref){sym, unset_first};
    return RF_OK;
}

static rf_status note_load(struct parser *ps, uint32_t sym)
{
    for (unsigned i = 0; i < ps->n_macro; i++) {
        struct rf_jmacro_ast *m = ps->macro[i];
        if (sym == RF_JSYM_CALLER) m->uses_caller = true;
        if (sym == RF_JSYM_KWARGS) m->uses_kwargs = true;
        if (sym == RF_JSYM_VARARGS) m->uses_varargs = true;
    }
    return scope_note(ps, sym, false);
}

/* Notes what an assignment target sets. as_param: the scope itself brings the value (loop targets, arguments). */
static rf_status note_store(struct parser *ps, const struct rf_jnode *target, bool as_param)
{
    if (target->kind == RF_JN_NAME) return scope_note(ps, target->sym, !as_param && !ps->in_branch);
    if (target->kind == RF_JN_NSREF) return note_load(ps, target->sym);
    for (uint32_t i = 0; i < target->n; i++) RF_TRY(note_store(ps, target->list[i], as_param));
    return RF_OK;
}

/* After parsing: names that a scope sets before it reads them, and that no scope around it knows, start undefined. */
static rf_status scopes_finish(struct parser *ps)
{
    for (struct rf_jscope *s = ps->scopes; s; s = s->next) {
        s->unset = rf_arena_array(ps->a, s->n_ref, sizeof *s->unset);
        if (!s->unset) return TOO_LARGE(ps);
        for (uint32_t i = 0; i < s->n_ref; i++) {
            bool outer = !s->ref[i].unset_first;
            for (const struct rf_jscope *p = s->parent; p && !outer; p = p->parent) outer = scope_has(p, s->ref[i].sym);
            if (!outer) s->unset[s->n_unset++] = s->ref[i].sym;
        }
    }
    return RF_OK;
}

/* ---- expressions ---------------------------------------------------------------------------------------------- */

static rf_status parse_name(struct parser *ps, struct rf_jnode **out)
{
    static const struct { const char *word; uint8_t kind; bool b; } consts[] = {
        {"true", RF_JV_BOOL, true}, {"True", RF_JV_BOOL, true}, {"false", RF_JV_BOOL, false}, {"False", RF_JV_BOOL, false},
        {"none", RF_JV_NONE, false}, {"None", RF_JV_NONE, false}};
    const struct rf_jtok *t = ps->tok;
    next(ps);
    for (size_t i = 0; i < RF_COUNT(consts); i++) {
        if (!tok_is_word(t, consts[i].word)) continue;
        RF_TRY(make(ps, RF_JN_CONST, t->line, out));
        (*out)->value = (struct rf_jv){.kind = consts[i].kind, .b = consts[i].b};
        return RF_OK;
    }
    RF_TRY(make(ps, RF_JN_NAME, t->line, out));
    RF_TRY(symbol(ps, t->p, t->len, &(*out)->sym));
    return note_load(ps, (*out)->sym);
}

static rf_status parse_string(struct parser *ps, struct rf_jnode **out)
{
    const struct rf_jtok *first = ps->tok;
    size_t len = 0, at = 0;
    for (const struct rf_jtok *t = first; t->kind == RF_JT_STRING; t++) len += t->len;
    char *p = rf_arena_alloc(ps->a, len);
    if (!p) return TOO_LARGE(ps);
    for (; is(ps, RF_JT_STRING); next(ps)) {
        if (ps->tok->len) memcpy(p + at, ps->tok->p, ps->tok->len);
        at += ps->tok->len;
    }
    RF_TRY(make(ps, RF_JN_CONST, first->line, out));
    struct rf_jstr *s;
    RF_TRY(text(ps, p, len, &s));
    (*out)->value = rf_jv_str(s);
    return RF_OK;
}

static rf_status finish_list(struct rf_jnode *n, const struct vec *v)
{
    n->list = v->v;
    n->n = v->n;
    return RF_OK;
}

static rf_status parse_list(struct parser *ps, struct rf_jnode **out)
{
    struct vec v = {0};
    RF_TRY(make(ps, RF_JN_LIST, ps->tok->line, out));
    next(ps);
    while (!is(ps, RF_JT_RBRACKET)) {
        struct rf_jnode *e;
        if (v.n) RF_TRY(expect(ps, RF_JT_COMMA));
        if (is(ps, RF_JT_RBRACKET)) break;
        RF_TRY(parse_expression(ps, &e));
        RF_TRY(add(ps, &v, e));
    }
    next(ps);
    return finish_list(*out, &v);
}

static rf_status parse_dict(struct parser *ps, struct rf_jnode **out)
{
    struct vec v = {0};
    RF_TRY(make(ps, RF_JN_DICT, ps->tok->line, out));
    next(ps);
    while (!is(ps, RF_JT_RBRACE)) {
        struct rf_jnode *key, *value;
        if (v.n) RF_TRY(expect(ps, RF_JT_COMMA));
        if (is(ps, RF_JT_RBRACE)) break;
        RF_TRY(parse_expression(ps, &key));
        RF_TRY(expect(ps, RF_JT_COLON));
        RF_TRY(parse_expression(ps, &value));
        RF_TRY(add(ps, &v, key));
        RF_TRY(add(ps, &v, value));
    }
    next(ps);
    return finish_list(*out, &v);
}

static rf_status parse_primary(struct parser *ps, struct rf_jnode **out)
{
    const struct rf_jtok *t = ps->tok;
    switch (t->kind) {
    case RF_JT_NAME: return parse_name(ps, out);
    case RF_JT_STRING: return parse_string(ps, out);
    case RF_JT_INT:
    case RF_JT_FLOAT:
        RF_TRY(make(ps, RF_JN_CONST, t->line, out));
        (*out)->value = t->num;
        next(ps);
        return RF_OK;
    case RF_JT_LPAREN:
        next(ps);
        RF_TRY(parse_tuple(ps, true, NULL, true, out));
        return expect(ps, RF_JT_RPAREN);
    case RF_JT_LBRACKET: return parse_list(ps, out);
    case RF_JT_LBRACE: return parse_dict(ps, out);
    default: return unexpected(ps, "an expression");
    }
}

static rf_status parse_slice_part(struct parser *ps, struct rf_jnode **out)
{
    if (is(ps, RF_JT_COLON) || is(ps, RF_JT_RBRACKET) || is(ps, RF_JT_COMMA)) return RF_OK;
    return parse_expression(ps, out);
}

static rf_status parse_subscribed(struct parser *ps, struct rf_jnode **out)
{
    struct rf_jnode *from = NULL, *to = NULL, *step = NULL;
    uint32_t line = ps->tok->line;
    if (!is(ps, RF_JT_COLON)) {
        RF_TRY(parse_expression(ps, &from));
        if (!is(ps, RF_JT_COLON)) {
            *out = from;
            return RF_OK;
        }
    }
    next(ps);
    RF_TRY(parse_slice_part(ps, &to));
    if (skip_if(ps, RF_JT_COLON)) RF_TRY(parse_slice_part(ps, &step));
    RF_TRY(make(ps, RF_JN_SLICE, line, out));
    (*out)->a = from;
    (*out)->b = to;
    (*out)->c = step;
    return RF_OK;
}

static rf_status parse_subscript(struct parser *ps, struct rf_jnode *of, struct rf_jnode **out)
{
    const struct rf_jtok *t = ps->tok;
    struct vec v = {0};
    next(ps);
    if (t->kind == RF_JT_DOT && is(ps, RF_JT_NAME)) {
        struct rf_jstr *s;
        RF_TRY(make(ps, RF_JN_ATTR, t->line, out));
        RF_TRY(text(ps, ps->tok->p, ps->tok->len, &s));
        (*out)->a = of;
        (*out)->value = rf_jv_str(s);
        next(ps);
        return RF_OK;
    }
    RF_TRY(make(ps, RF_JN_ITEM, t->line, out));
    (*out)->a = of;
    if (t->kind == RF_JT_DOT) {
        if (!is(ps, RF_JT_INT)) return unexpected(ps, "a name or a number");
        RF_TRY(make(ps, RF_JN_CONST, t->line, &(*out)->b));
        (*out)->b->value = ps->tok->num;
        next(ps);
        return RF_OK;
    }
    while (!is(ps, RF_JT_RBRACKET)) {
        struct rf_jnode *e;
        if (v.n) RF_TRY(expect(ps, RF_JT_COMMA));
        RF_TRY(parse_subscribed(ps, &e));
        RF_TRY(add(ps, &v, e));
    }
    next(ps);
    if (v.n == 1) {
        (*out)->b = v.v[0];
        return RF_OK;
    }
    for (uint32_t i = 0; i < v.n; i++)
        if (v.v[i]->kind == RF_JN_SLICE) return FAIL(ps, "a slice must stand alone between its brackets", t->line);
    RF_TRY(make(ps, RF_JN_TUPLE, t->line, &(*out)->b));
    return finish_list((*out)->b, &v);
}

static rf_status parse_args(struct parser *ps, struct rf_jargs_ast **out)
{
    struct rf_jargs_ast *g = rf_arena_alloc(ps->a, sizeof *g);
    struct vec pos = {0}, kw = {0}, names = {0}; /* names: constants, one per kw */
    uint32_t line = ps->tok->line;
    if (!g) return TOO_LARGE(ps);
    RF_TRY(expect(ps, RF_JT_LPAREN));
    for (bool first = true; !is(ps, RF_JT_RPAREN); first = false) {
        struct rf_jnode *e;
        if (!first) {
            RF_TRY(expect(ps, RF_JT_COMMA));
            if (is(ps, RF_JT_RPAREN)) break;
        }
        if (is(ps, RF_JT_MUL) && !g->star && !g->star_star) {
            next(ps);
            RF_TRY(parse_expression(ps, &g->star));
        } else if (is(ps, RF_JT_POW) && !g->star_star) {
            next(ps);
            RF_TRY(parse_expression(ps, &g->star_star));
        } else if (is(ps, RF_JT_NAME) && ps->tok[1].kind == RF_JT_ASSIGN && !g->star_star) {
            struct rf_jnode *name;
            struct rf_jstr *s;
            RF_TRY(text(ps, ps->tok->p, ps->tok->len, &s));
            RF_TRY(make(ps, RF_JN_CONST, ps->tok->line, &name));
            name->value = rf_jv_str(s);
            if (names.n == MAX_KEYWORDS) return FAIL(ps, "more than %d keyword arguments", line, MAX_KEYWORDS);
            for (uint32_t i = 0; i < names.n; i++)
                if (names.v[i]->value.s->len == s->len && !memcmp(names.v[i]->value.s->p, s->p, s->len))
                    return FAIL(ps, "the argument '%.40s' is given twice", line, s->p);
            next(ps);
            next(ps);
            RF_TRY(parse_expression(ps, &e));
            RF_TRY(add(ps, &names, name));
            RF_TRY(add(ps, &kw, e));
        } else if (!g->star && !g->star_star && !kw.n && !is(ps, RF_JT_MUL) && !is(ps, RF_JT_POW)) {
            RF_TRY(parse_expression(ps, &e));
            RF_TRY(add(ps, &pos, e));
        } else {
            return FAIL(ps, "the arguments of this call are out of order", line);
        }
    }
    next(ps);
    g->pos = pos.v;
    g->n_pos = pos.n;
    g->kw_value = kw.v;
    g->n_kw = kw.n;
    g->kw_name = rf_arena_array(ps->a, kw.n, sizeof *g->kw_name);
    if (!g->kw_name) return TOO_LARGE(ps);
    for (uint32_t i = 0; i < kw.n; i++) g->kw_name[i] = names.v[i]->value.s;
    *out = g;
    return RF_OK;
}

static rf_status parse_call(struct parser *ps, struct rf_jnode *of, struct rf_jnode **out)
{
    struct rf_jnode *n;
    RF_TRY(make(ps, RF_JN_CALL, ps->tok->line, &n));
    n->a = of;
    RF_TRY(parse_args(ps, &n->args));
    *out = n;
    return RF_OK;
}

static rf_status parse_postfix(struct parser *ps, struct rf_jnode **n)
{
    for (;;) {
        if (is(ps, RF_JT_DOT) || is(ps, RF_JT_LBRACKET)) RF_TRY(parse_subscript(ps, *n, n));
        else if (is(ps, RF_JT_LPAREN)) RF_TRY(parse_call(ps, *n, n));
        else return RF_OK;
    }
}

/* A dotted name of a filter or test. */
static rf_status parse_dotted(struct parser *ps, struct rf_jv *out)
{
    char buf[128];
    size_t n = 0;
    do {
        if (!is(ps, RF_JT_NAME)) return unexpected(ps, "a name");
        if (n + ps->tok->len + 2 > sizeof buf) return FAIL(ps, "a name is too long", ps->tok->line);
        if (n) buf[n++] = '.';
        memcpy(buf + n, ps->tok->p, ps->tok->len);
        n += ps->tok->len;
        next(ps);
    } while (skip_if(ps, RF_JT_DOT));
    char *copy = rf_arena_strndup(ps->a, buf, n);
    if (!copy) return TOO_LARGE(ps);
    struct rf_jstr *s;
    RF_TRY(text(ps, copy, n, &s));
    *out = rf_jv_str(s);
    return RF_OK;
}

static rf_status parse_filters(struct parser *ps, struct rf_jnode *of, bool first_inline, struct rf_jnode **out)
{
    while (first_inline || is(ps, RF_JT_PIPE)) {
        struct rf_jnode *n;
        if (!first_inline) next(ps);
        first_inline = false;
        RF_TRY(make(ps, RF_JN_FILTER, ps->tok->line, &n));
        n->a = of;
        RF_TRY(parse_dotted(ps, &n->value));
        if (is(ps, RF_JT_LPAREN)) RF_TRY(parse_args(ps, &n->args));
        of = n;
    }
    *out = of;
    return RF_OK;
}

static rf_status parse_test(struct parser *ps, struct rf_jnode *of, struct rf_jnode **out)
{
    struct rf_jnode *n;
    next(ps);
    bool negated = skip_word(ps, "not");
    RF_TRY(make(ps, RF_JN_TEST, ps->tok->line, &n));
    n->a = of;
    RF_TRY(parse_dotted(ps, &n->value));
    enum rf_jtok_kind k = ps->tok->kind;
    bool word = k == RF_JT_NAME && !is_word(ps, "else") && !is_word(ps, "or") && !is_word(ps, "and");
    if (k == RF_JT_LPAREN) {
        RF_TRY(parse_args(ps, &n->args));
    } else if (word || k == RF_JT_STRING || k == RF_JT_INT || k == RF_JT_FLOAT || k == RF_JT_LBRACKET || k == RF_JT_LBRACE) {
        struct vec v = {0};
        struct rf_jnode *arg;
        if (is_word(ps, "is")) return FAIL(ps, "tests with 'is' cannot be chained", ps->tok->line);
        RF_TRY(parse_primary(ps, &arg));
        RF_TRY(parse_postfix(ps, &arg));
        RF_TRY(add(ps, &v, arg));
        n->args = rf_arena_alloc(ps->a, sizeof *n->args);
        if (!n->args) return TOO_LARGE(ps);
        n->args->pos = v.v;
        n->args->n_pos = 1;
    }
    *out = n;
    if (!negated) return RF_OK;
    RF_TRY(make(ps, RF_JN_NOT, n->line, out));
    (*out)->a = n;
    return RF_OK;
}

static rf_status parse_filter_expr(struct parser *ps, struct rf_jnode **n)
{
    for (;;) {
        if (is(ps, RF_JT_PIPE)) RF_TRY(parse_filters(ps, *n, false, n));
        else if (is_word(ps, "is")) RF_TRY(parse_test(ps, *n, n));
        else if (is(ps, RF_JT_LPAREN)) RF_TRY(parse_call(ps, *n, n));
        else return RF_OK;
    }
}

static rf_status parse_unary(struct parser *ps, bool with_filter, struct rf_jnode **out)
{
    uint32_t line = ps->tok->line;
    RF_TRY(enter(ps));
    if (is(ps, RF_JT_SUB) || is(ps, RF_JT_ADD)) {
        enum rf_jnode_kind kind = is(ps, RF_JT_SUB) ? RF_JN_NEG : RF_JN_POS;
        struct rf_jnode *a;
        next(ps);
        RF_TRY(parse_unary(ps, false, &a));
        RF_TRY(make(ps, kind, line, out));
        (*out)->a = a;
    } else {
        RF_TRY(parse_primary(ps, out));
    }
    RF_TRY(parse_postfix(ps, out));
    if (with_filter) RF_TRY(parse_filter_expr(ps, out));
    leave(ps);
    return RF_OK;
}

static rf_status bin(struct parser *ps, enum rf_jtok_kind op, uint32_t line, struct rf_jnode **left, struct rf_jnode *right)
{
    struct rf_jnode *n;
    RF_TRY(make(ps, RF_JN_BIN, line, &n));
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
    while (skip_if(ps, RF_JT_POW)) {
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
        next(ps);
        RF_TRY(parse_pow(ps, &right));
        RF_TRY(bin(ps, op, line, out, right));
    }
}

static rf_status parse_concat(struct parser *ps, struct rf_jnode **out)
{
    struct vec v = {0};
    uint32_t line = ps->tok->line;
    RF_TRY(parse_product(ps, out));
    if (!is(ps, RF_JT_TILDE)) return RF_OK;
    RF_TRY(add(ps, &v, *out));
    while (skip_if(ps, RF_JT_TILDE)) {
        RF_TRY(parse_product(ps, out));
        RF_TRY(add(ps, &v, *out));
    }
    RF_TRY(make(ps, RF_JN_CONCAT, line, out));
    return finish_list(*out, &v);
}

static rf_status parse_sum(struct parser *ps, struct rf_jnode **out)
{
    RF_TRY(parse_concat(ps, out));
    for (;;) {
        enum rf_jtok_kind op = ps->tok->kind;
        uint32_t line = ps->tok->line;
        struct rf_jnode *right;
        if (op != RF_JT_ADD && op != RF_JT_SUB) return RF_OK;
        next(ps);
        RF_TRY(parse_concat(ps, &right));
        RF_TRY(bin(ps, op, line, out, right));
    }
}

static bool take_compare_op(struct parser *ps, uint8_t *op)
{
    enum rf_jtok_kind k = ps->tok->kind;
    if (k >= RF_JT_EQ && k <= RF_JT_LTEQ) {
        *op = (uint8_t)k;
        next(ps);
    } else if (is_word(ps, "in")) {
        *op = RF_JT_IN;
        next(ps);
    } else if (is_word(ps, "not") && tok_is_word(ps->tok + 1, "in")) {
        *op = RF_JT_NOTIN;
        next(ps);
        next(ps);
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
        RF_TRY(add(ps, &v, right));
    }
    if (!v.n) return RF_OK;
    RF_TRY(make(ps, RF_JN_COMPARE, line, out));
    (*out)->a = left;
    (*out)->ops = rf_arena_alloc(ps->a, v.n);
    if (!(*out)->ops) return TOO_LARGE(ps);
    memcpy((*out)->ops, ops, v.n);
    return finish_list(*out, &v);
}

static rf_status parse_not(struct parser *ps, struct rf_jnode **out)
{
    uint32_t line = ps->tok->line;
    if (!skip_word(ps, "not")) return parse_compare(ps, out);
    struct rf_jnode *a;
    RF_TRY(enter(ps));
    RF_TRY(parse_not(ps, &a));
    leave(ps);
    RF_TRY(make(ps, RF_JN_NOT, line, out));
    (*out)->a = a;
    return RF_OK;
}

static rf_status logic(struct parser *ps, enum rf_jnode_kind kind, struct rf_jnode **left, struct rf_jnode *right)
{
    struct rf_jnode *n;
    RF_TRY(make(ps, kind, right->line, &n));
    n->a = *left;
    n->b = right;
    *left = n;
    return RF_OK;
}

static rf_status parse_and(struct parser *ps, struct rf_jnode **out)
{
    RF_TRY(parse_not(ps, out));
    while (skip_word(ps, "and")) {
        struct rf_jnode *right;
        RF_TRY(parse_not(ps, &right));
        RF_TRY(logic(ps, RF_JN_AND, out, right));
    }
    return RF_OK;
}

static rf_status parse_or(struct parser *ps, struct rf_jnode **out)
{
    RF_TRY(parse_and(ps, out));
    while (skip_word(ps, "or")) {
        struct rf_jnode *right;
        RF_TRY(parse_and(ps, &right));
        RF_TRY(logic(ps, RF_JN_OR, out, right));
    }
    return RF_OK;
}

static rf_status parse_expression(struct parser *ps, struct rf_jnode **out)
{
    uint32_t line = ps->tok->line;
    RF_TRY(enter(ps));
    RF_TRY(parse_or(ps, out));
    while (skip_word(ps, "if")) {
        struct rf_jnode *n;
        RF_TRY(make(ps, RF_JN_COND, line, &n));
        n->a = *out;
        RF_TRY(parse_or(ps, &n->b));
        if (skip_word(ps, "else")) RF_TRY(parse_expression(ps, &n->c));
        *out = n;
    }
    leave(ps);
    return RF_OK;
}

static rf_status parse_tuple(struct parser *ps, bool with_cond, const char *end_word, bool parenthesised, struct rf_jnode **out)
{
    struct vec v = {0};
    uint32_t line = ps->tok->line;
    bool is_tuple = false;
    for (;;) {
        struct rf_jnode *e;
        if (v.n) RF_TRY(expect(ps, RF_JT_COMMA));
        if (is(ps, RF_JT_VAR_END) || is(ps, RF_JT_BLOCK_END) || is(ps, RF_JT_RPAREN)) break;
        if (end_word && is_word(ps, end_word)) break;
        RF_TRY(with_cond ? parse_expression(ps, &e) : parse_or(ps, &e));
        RF_TRY(add(ps, &v, e));
        if (!is(ps, RF_JT_COMMA)) break;
        is_tuple = true;
    }
    if (!is_tuple && v.n) {
        *out = v.v[0];
        return RF_OK;
    }
    if (!is_tuple && !parenthesised) return unexpected(ps, "an expression");
    RF_TRY(make(ps, RF_JN_TUPLE, line, out));
    return finish_list(*out, &v);
}

/* ---- statements ----------------------------------------------------------------------------------------------- */

/* One name, namespace attribute or parenthesised tuple of an assignment. */
static rf_status parse_target_one(struct parser *ps, bool with_namespace, struct rf_jnode **out);

/* Targets with commas; ends before `=`, `in`, a closing parenthesis or the tag's end. */
static rf_status parse_target(struct parser *ps, bool with_namespace, struct rf_jnode **out)
{
    struct vec v = {0};
    uint32_t line = ps->tok->line;
    bool is_tuple = false;
    for (;;) {
        struct rf_jnode *e;
        if (is(ps, RF_JT_BLOCK_END) || is(ps, RF_JT_RPAREN) || is_word(ps, "in")) break;
        RF_TRY(parse_target_one(ps, with_namespace, &e));
        RF_TRY(add(ps, &v, e));
        if (!skip_if(ps, RF_JT_COMMA)) break;
        is_tuple = true;
    }
    if (!v.n) return unexpected(ps, "a name to assign to");
    if (!is_tuple) {
        *out = v.v[0];
        return RF_OK;
    }
    RF_TRY(make(ps, RF_JN_TUPLE, line, out));
    return finish_list(*out, &v);
}

static rf_status parse_target_one(struct parser *ps, bool with_namespace, struct rf_jnode **out)
{
    const struct rf_jtok *t = ps->tok;
    bool bracket = t->kind == RF_JT_LBRACKET;
    if (t->kind == RF_JT_LPAREN) {
        next(ps);
        RF_TRY(enter(ps));
        RF_TRY(parse_target(ps, with_namespace, out));
        leave(ps);
        return expect(ps, RF_JT_RPAREN);
    }
    if (bracket || t->kind != RF_JT_NAME) return unexpected(ps, "a name to assign to");
    if (is_word(ps, "true") || is_word(ps, "false") || is_word(ps, "none") || is_word(ps, "True") || is_word(ps, "False") ||
        is_word(ps, "None"))
        return FAIL(ps, "a constant cannot be assigned to", t->line);
    RF_TRY(make(ps, RF_JN_NAME, t->line, out));
    RF_TRY(symbol(ps, t->p, t->len, &(*out)->sym));
    next(ps);
    if (!with_namespace || !skip_if(ps, RF_JT_DOT)) return RF_OK;
    if (!is(ps, RF_JT_NAME)) return unexpected(ps, "an attribute name");
    struct rf_jstr *s;
    RF_TRY(text(ps, ps->tok->p, ps->tok->len, &s));
    (*out)->kind = RF_JN_NSREF;
    (*out)->value = rf_jv_str(s);
    next(ps);
    return RF_OK;
}

static const char *const end_set[] = {"endset", NULL};
static const char *const end_for[] = {"endfor", NULL};
static const char *const end_for_else[] = {"endfor", "else", NULL};
static const char *const end_if[] = {"endif", NULL};
static const char *const end_if_else[] = {"elif", "else", "endif", NULL};
static const char *const end_macro[] = {"endmacro", NULL};
static const char *const end_call[] = {"endcall", NULL};
static const char *const end_filter[] = {"endfilter", NULL};
static const char *const end_with[] = {"endwith", NULL};
static const char *const end_generation[] = {"endgeneration", NULL};
static const char *const end_autoescape[] = {"endautoescape", NULL};
static const char *const end_block[] = {"endblock", NULL};

/* The body behind a tag, in a scope of its own, up to one of `ends`, which stays the current token. */
static rf_status parse_scoped_body(struct parser *ps, const char *const *ends, struct rf_jnode **out)
{
    struct saved save;
    struct rf_jscope *scope;
    RF_TRY(scope_open(ps, &save, &scope));
    RF_TRY(parse_body(ps, ends, out));
    (*out)->scope = scope;
    scope_close(ps, &save);
    return RF_OK;
}

static rf_status parse_set(struct parser *ps, struct rf_jnode **out)
{
    struct rf_jnode *n;
    RF_TRY(make(ps, RF_JN_SET, ps->tok->line, &n));
    next(ps);
    RF_TRY(parse_target(ps, true, &n->a));
    *out = n;
    if (skip_if(ps, RF_JT_ASSIGN)) {
        RF_TRY(parse_tuple(ps, true, NULL, false, &n->b));
        return note_store(ps, n->a, false);
    }
    n->kind = RF_JN_SETBLOCK;
    RF_TRY(parse_filters(ps, NULL, false, &n->b));
    RF_TRY(note_store(ps, n->a, false));
    RF_TRY(parse_scoped_body(ps, end_set, &n->c));
    next(ps);
    return RF_OK;
}

static bool target_names(const struct rf_jnode *t, uint32_t sym)
{
    if (t->kind == RF_JN_NAME) return t->sym == sym;
    for (uint32_t i = 0; i < t->n; i++)
        if (target_names(t->list[i], sym)) return true;
    return false;
}

static rf_status parse_for_test(struct parser *ps, struct rf_jnode *n)
{
    struct saved save;
    struct rf_jscope *scope;
    RF_TRY(scope_open(ps, &save, &scope));
    RF_TRY(note_store(ps, n->a, true));
    RF_TRY(parse_expression(ps, &n->c));
    scope_close(ps, &save);
    return RF_OK;
}

static rf_status parse_for(struct parser *ps, struct rf_jnode **out)
{
    struct rf_jnode *n;
    struct saved save;
    struct rf_jscope *scope;
    uint32_t line = ps->tok->line;
    RF_TRY(make(ps, RF_JN_FOR, line, &n));
    *out = n;
    next(ps);
    RF_TRY(parse_target(ps, false, &n->a));
    if (target_names(n->a, RF_JSYM_LOOP)) return FAIL(ps, "the special variable 'loop' cannot be a loop's target", line);
    if (!skip_word(ps, "in")) return unexpected(ps, "in");
    RF_TRY(parse_tuple(ps, false, "recursive", false, &n->b));
    if (skip_word(ps, "if")) RF_TRY(parse_for_test(ps, n));
    n->op = skip_word(ps, "recursive");
    n->list = rf_arena_array(ps->a, 2, sizeof *n->list);
    if (!n->list) return TOO_LARGE(ps);
    RF_TRY(scope_open(ps, &save, &scope));
    RF_TRY(note_store(ps, n->a, true));
    RF_TRY(scope_note(ps, RF_JSYM_LOOP, false));
    ps->in_loop++;
    RF_TRY(parse_body(ps, end_for_else, &n->list[0]));
    ps->in_loop--;
    n->list[0]->scope = scope;
    scope_close(ps, &save);
    bool with_else = is_word(ps, "else");
    next(ps);
    if (!with_else) return RF_OK;
    RF_TRY(parse_scoped_body(ps, end_for, &n->list[1]));
    next(ps);
    return RF_OK;
}

static rf_status parse_if(struct parser *ps, struct rf_jnode **out)
{
    struct vec v = {0};
    struct rf_jnode *n, *e;
    RF_TRY(make(ps, RF_JN_IF, ps->tok->line, &n));
    *out = n;
    unsigned opened = 0; /* conditions of elif are read only if the ones before fail: they are in a branch too */
    bool more = true;
    for (; more; opened++) {
        next(ps);
        RF_TRY(parse_tuple(ps, false, NULL, false, &e));
        RF_TRY(add(ps, &v, e));
        if (!opened) ps->in_branch++;
        RF_TRY(parse_body(ps, end_if_else, &e));
        RF_TRY(add(ps, &v, e));
        more = is_word(ps, "elif");
    }
    if (is_word(ps, "else")) {
        next(ps);
        RF_TRY(parse_body(ps, end_if, &n->a));
    }
    ps->in_branch--;
    next(ps);
    return finish_list(n, &v);
}

static rf_status parse_signature(struct parser *ps, struct rf_jmacro_ast *m)
{
    struct vec params = {0}, defaults = {0};
    RF_TRY(expect(ps, RF_JT_LPAREN));
    while (!is(ps, RF_JT_RPAREN)) {
        struct rf_jnode *arg, *e;
        if (params.n) RF_TRY(expect(ps, RF_JT_COMMA));
        RF_TRY(parse_target_one(ps, false, &arg));
        if (arg->kind != RF_JN_NAME) return FAIL(ps, "a macro's argument must be a name", arg->line);
        if (skip_if(ps, RF_JT_ASSIGN)) {
            RF_TRY(parse_expression(ps, &e));
            RF_TRY(add(ps, &defaults, e));
        } else if (defaults.n) {
            return FAIL(ps, "an argument without default follows one with a default", arg->line);
        }
        if (arg->sym == RF_JSYM_CALLER) m->explicit_caller = true;
        RF_TRY(note_store(ps, arg, true));
        RF_TRY(add(ps, &params, arg));
    }
    next(ps);
    m->params = rf_arena_array(ps->a, params.n, sizeof *m->params);
    if (!m->params) return TOO_LARGE(ps);
    for (uint32_t i = 0; i < params.n; i++) m->params[i] = params.v[i]->sym;
    m->n_params = params.n;
    m->defaults = defaults.v;
    m->n_defaults = defaults.n;
    for (uint32_t i = 0; m->explicit_caller && i < params.n - defaults.n; i++)
        if (params.v[i]->sym == RF_JSYM_CALLER) return FAIL(ps, "the argument 'caller' needs a default", params.v[i]->line);
    return RF_OK;
}

/* Signature (where with_args) and, after `between` parsed what stands before the body, the body of a macro. */
static rf_status macro_open(struct parser *ps, bool with_args, struct saved *save, struct rf_jmacro_ast **out)
{
    struct rf_jmacro_ast *m = rf_arena_alloc(ps->a, sizeof *m);
    if (!m) return TOO_LARGE(ps);
    RF_TRY(scope_open(ps, save, &m->scope));
    RF_TRY(enter(ps));
    ps->macro[ps->n_macro++] = m;
    if (with_args) RF_TRY(parse_signature(ps, m));
    *out = m;
    return RF_OK;
}

static rf_status macro_body(struct parser *ps, struct rf_jmacro_ast *m, const char *const *ends, const struct saved *save)
{
    unsigned in_loop = ps->in_loop;
    ps->in_loop = 0;
    RF_TRY(parse_body(ps, ends, &m->body));
    next(ps);
    ps->in_loop = in_loop;
    ps->n_macro--;
    leave(ps);
    scope_close(ps, save);
    return RF_OK;
}

static rf_status parse_macro(struct parser *ps, struct rf_jnode **out)
{
    struct rf_jnode *n, *name;
    struct saved save;
    RF_TRY(make(ps, RF_JN_MACRO, ps->tok->line, &n));
    *out = n;
    next(ps);
    RF_TRY(parse_target_one(ps, false, &name));
    if (name->kind != RF_JN_NAME) return FAIL(ps, "a macro needs a name", name->line);
    RF_TRY(note_store(ps, name, false));
    n->sym = name->sym;
    RF_TRY(macro_open(ps, true, &save, &n->macro));
    n->macro->name = ps->t->sym[n->sym];
    return macro_body(ps, n->macro, end_macro, &save);
}

static rf_status parse_call_block(struct parser *ps, struct rf_jnode **out)
{
    struct rf_jnode *n;
    struct saved save;
    struct rf_jmacro_ast *m;
    RF_TRY(make(ps, RF_JN_CALLBLOCK, ps->tok->line, &n));
    *out = n;
    next(ps);
    RF_TRY(macro_open(ps, is(ps, RF_JT_LPAREN), &save, &m));
    struct saved inner = {ps->scope, ps->in_branch};
    scope_close(ps, &save); /* the call itself belongs to the scope outside */
    ps->n_macro--;
    RF_TRY(parse_expression(ps, &n->a));
    if (n->a->kind != RF_JN_CALL) return FAIL(ps, "a call block needs a call", n->line);
    ps->n_macro++;
    scope_close(ps, &inner);
    m->name = ps->t->sym[RF_JSYM_CALLER];
    n->macro = m;
    return macro_body(ps, m, end_call, &save);
}

static rf_status parse_filter_block(struct parser *ps, struct rf_jnode **out)
{
    RF_TRY(make(ps, RF_JN_FILTERBLOCK, ps->tok->line, out));
    next(ps);
    RF_TRY(parse_filters(ps, NULL, true, &(*out)->b));
    RF_TRY(parse_scoped_body(ps, end_filter, &(*out)->c));
    next(ps);
    return RF_OK;
}

static rf_status parse_with(struct parser *ps, struct rf_jnode **out)
{
    struct vec v = {0};
    struct rf_jnode *n;
    struct saved save;
    struct rf_jscope *scope;
    RF_TRY(make(ps, RF_JN_WITH, ps->tok->line, &n));
    *out = n;
    next(ps);
    while (!is(ps, RF_JT_BLOCK_END)) {
        struct rf_jnode *target, *e;
        if (v.n) RF_TRY(expect(ps, RF_JT_COMMA));
        RF_TRY(parse_target(ps, false, &target));
        RF_TRY(expect(ps, RF_JT_ASSIGN));
        RF_TRY(parse_expression(ps, &e));
        RF_TRY(add(ps, &v, target));
        RF_TRY(add(ps, &v, e));
    }
    RF_TRY(finish_list(n, &v));
    RF_TRY(scope_open(ps, &save, &scope));
    for (uint32_t i = 0; i < v.n; i += 2) RF_TRY(note_store(ps, v.v[i], true));
    RF_TRY(parse_body(ps, end_with, &n->c));
    n->c->scope = scope;
    scope_close(ps, &save);
    next(ps);
    return RF_OK;
}

/* Tags whose body is shown as it is, in a scope of its own. */
static rf_status parse_scope_tag(struct parser *ps, const char *const *ends, struct rf_jnode **out)
{
    struct rf_jnode *unused;
    bool block = ends == end_block, caller = ends == end_generation;
    RF_TRY(make(ps, RF_JN_SCOPE, ps->tok->line, out));
    next(ps);
    if (ends == end_autoescape) RF_TRY(parse_expression(ps, &unused));
    if (block) {
        if (!is(ps, RF_JT_NAME)) return unexpected(ps, "a block's name");
        next(ps);
        skip_word(ps, "scoped");
    }
    unsigned in_loop = ps->in_loop;
    if (block || caller) ps->in_loop = 0;
    RF_TRY(parse_scoped_body(ps, ends, &(*out)->c));
    ps->in_loop = in_loop;
    next(ps);
    if (block && is(ps, RF_JT_NAME)) next(ps);
    return RF_OK;
}

static rf_status parse_print(struct parser *ps, struct rf_jnode **out)
{
    struct vec v = {0};
    RF_TRY(make(ps, RF_JN_BODY, ps->tok->line, out));
    next(ps);
    while (!is(ps, RF_JT_BLOCK_END)) {
        struct rf_jnode *n;
        if (v.n) RF_TRY(expect(ps, RF_JT_COMMA));
        RF_TRY(make(ps, RF_JN_OUTPUT, ps->tok->line, &n));
        RF_TRY(parse_expression(ps, &n->a));
        RF_TRY(add(ps, &v, n));
    }
    return finish_list(*out, &v);
}

static rf_status parse_statement(struct parser *ps, struct rf_jnode **out)
{
    uint32_t line = ps->tok->line;
    char buf[64];
    if (!is(ps, RF_JT_NAME)) return unexpected(ps, "a tag's name");
    if (is_word(ps, "set")) return parse_set(ps, out);
    if (is_word(ps, "if")) return parse_if(ps, out);
    if (is_word(ps, "for")) return parse_for(ps, out);
    if (is_word(ps, "macro")) return parse_macro(ps, out);
    if (is_word(ps, "call")) return parse_call_block(ps, out);
    if (is_word(ps, "filter")) return parse_filter_block(ps, out);
    if (is_word(ps, "with")) return parse_with(ps, out);
    if (is_word(ps, "print")) return parse_print(ps, out);
    if (is_word(ps, "generation")) return parse_scope_tag(ps, end_generation, out);
    if (is_word(ps, "autoescape")) return parse_scope_tag(ps, end_autoescape, out);
    if (is_word(ps, "block")) return parse_scope_tag(ps, end_block, out);
    if (is_word(ps, "break") || is_word(ps, "continue")) {
        if (!ps->in_loop) return FAIL(ps, "'%s' outside of a loop", line, tok_text(ps->tok, buf));
        RF_TRY(make(ps, is_word(ps, "break") ? RF_JN_BREAK : RF_JN_CONTINUE, line, out));
        next(ps);
        return RF_OK;
    }
    if (is_word(ps, "extends") || is_word(ps, "include") || is_word(ps, "import") || is_word(ps, "from"))
        return FAIL(ps, "'%s' is not available: a chat template stands alone", line, tok_text(ps->tok, buf));
    return FAIL(ps, "unknown tag '%s'", line, tok_text(ps->tok, buf));
}

/* Statements until one of the words in `ends` begins a tag (it stays the current token), or the template's end. */
static rf_status parse_statements(struct parser *ps, const char *const *ends, struct rf_jnode **out)
{
    struct vec v = {0};
    uint32_t line = ps->tok->line;
    for (;;) {
        struct rf_jnode *n = NULL;
        struct rf_jstr *s;
        if (is(ps, RF_JT_EOF)) {
            if (ends) return FAIL(ps, "the template ends, expected '%s'", ps->tok->line, ends[0]);
            break;
        }
        if (is(ps, RF_JT_DATA)) {
            RF_TRY(make(ps, RF_JN_DATA, ps->tok->line, &n));
            RF_TRY(text(ps, ps->tok->p, ps->tok->len, &s));
            n->value = rf_jv_str(s);
            next(ps);
        } else if (is(ps, RF_JT_VAR_BEGIN)) {
            RF_TRY(make(ps, RF_JN_OUTPUT, ps->tok->line, &n));
            next(ps);
            RF_TRY(parse_tuple(ps, true, NULL, false, &n->a));
            RF_TRY(expect(ps, RF_JT_VAR_END));
        } else {
            next(ps);
            for (const char *const *w = ends; w && *w; w++)
                if (is_word(ps, *w)) goto done;
            RF_TRY(parse_statement(ps, &n));
            RF_TRY(expect(ps, RF_JT_BLOCK_END));
        }
        RF_TRY(add(ps, &v, n));
    }
done:
    RF_TRY(make(ps, RF_JN_BODY, line, out));
    return finish_list(*out, &v);
}

static rf_status parse_body(struct parser *ps, const char *const *ends, struct rf_jnode **out)
{
    RF_TRY(enter(ps));
    skip_if(ps, RF_JT_COLON);
    RF_TRY(expect(ps, RF_JT_BLOCK_END));
    RF_TRY(parse_statements(ps, ends, out));
    leave(ps);
    return RF_OK;
}

/* ---- the door ------------------------------------------------------------------------------------------------- */

/* Newlines to '\n', and one at the very end is left out, as Jinja does. */
static char *normalise(struct rf_arena *a, const char *src, size_t *len)
{
    char *s = rf_arena_alloc(a, *len);
    size_t n = 0;
    if (!s) return NULL;
    for (size_t i = 0; i < *len; i++) {
        if (src[i] == '\r' && i + 1 < *len && src[i + 1] == '\n') continue;
        s[n++] = src[i] == '\r' ? '\n' : src[i];
    }
    *len = n && s[n - 1] == '\n' ? n - 1 : n;
    return s;
}

static rf_status parse_all(struct parser *ps, const char *src, size_t len)
{
    static const char *const fixed[RF_JSYM_FIXED] = {"loop", "caller", "kwargs", "varargs"};
    static const struct rf_jtok start = {.line = 1};
    struct rf_jtok *tok;
    struct saved save;
    struct rf_jscope *root;
    uint32_t sym;
    ps->tok = &start;
    char *s = normalise(ps->a, src, &len);
    if (!s) return TOO_LARGE(ps);
    RF_TRY(rf_jinja_lex(ps->a, s, len, &tok, ps->err));
    ps->tok = tok;
    for (size_t i = 0; i < RF_JSYM_FIXED; i++) RF_TRY(symbol(ps, fixed[i], strlen(fixed[i]), &sym));
    RF_TRY(scope_open(ps, &save, &root));
    RF_TRY(parse_statements(ps, NULL, &ps->t->body));
    ps->t->body->scope = root;
    return scopes_finish(ps);
}

rf_status rf_jinja_parse(struct rf_template *t, const char *src, size_t len, struct rf_error *err)
{
    struct parser ps = {.t = t, .a = &t->arena, .err = err};
    if (len > MAX_SOURCE)
        return rf_fail(err, RF_TOO_LARGE, "chat template: %zu bytes of source, at most %d are allowed", len, MAX_SOURCE);
    if (!rf_utf8_valid(src, len)) return rf_fail(err, RF_INVALID, "chat template: the source is not valid UTF-8");
    t->arena.max = MAX_ARENA;
    rf_status s = parse_all(&ps, src, len);
    rf_map_release(&ps.syms);
    return s;
}
