/* jinja_parse.c - statements, and the parser's door: tokens to a syntax tree. */
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "text/jinja_parse.h"

static rf_status parse_body(struct parser *ps, const char *const *ends, struct rf_jnode **out);

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
        if (rf_jp_is(ps, RF_JT_BLOCK_END) || rf_jp_is(ps, RF_JT_RPAREN) || rf_jp_is_word(ps, "in")) break;
        RF_TRY(parse_target_one(ps, with_namespace, &e));
        RF_TRY(rf_jp_add(ps, &v, e));
        if (!rf_jp_skip_if(ps, RF_JT_COMMA)) break;
        is_tuple = true;
    }
    if (!v.n) return rf_jp_unexpected(ps, "a name to assign to");
    if (!is_tuple) {
        *out = v.v[0];
        return RF_OK;
    }
    RF_TRY(rf_jp_make(ps, RF_JN_TUPLE, line, out));
    return rf_jp_finish_list(*out, &v);
}

static rf_status parse_target_one(struct parser *ps, bool with_namespace, struct rf_jnode **out)
{
    const struct rf_jtok *t = ps->tok;
    bool bracket = t->kind == RF_JT_LBRACKET;
    if (t->kind == RF_JT_LPAREN) {
        rf_jp_next(ps);
        RF_TRY(rf_jp_enter(ps));
        RF_TRY(parse_target(ps, with_namespace, out));
        rf_jp_leave(ps);
        return rf_jp_expect(ps, RF_JT_RPAREN);
    }
    if (bracket || t->kind != RF_JT_NAME) return rf_jp_unexpected(ps, "a name to assign to");
    if (rf_jp_is_word(ps, "true") || rf_jp_is_word(ps, "false") || rf_jp_is_word(ps, "none") || rf_jp_is_word(ps, "True") || rf_jp_is_word(ps, "False") ||
        rf_jp_is_word(ps, "None"))
        return FAIL(ps, "a constant cannot be assigned to", t->line);
    RF_TRY(rf_jp_make(ps, RF_JN_NAME, t->line, out));
    RF_TRY(rf_jp_symbol(ps, t->p, t->len, &(*out)->sym));
    rf_jp_next(ps);
    if (!with_namespace || !rf_jp_skip_if(ps, RF_JT_DOT)) return RF_OK;
    if (!rf_jp_is(ps, RF_JT_NAME)) return rf_jp_unexpected(ps, "an attribute name");
    struct rf_jstr *s;
    RF_TRY(rf_jp_text(ps, ps->tok->p, ps->tok->len, &s));
    (*out)->kind = RF_JN_NSREF;
    (*out)->value = rf_jv_str(s);
    rf_jp_next(ps);
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
    RF_TRY(rf_jp_scope_open(ps, &save, &scope));
    RF_TRY(parse_body(ps, ends, out));
    (*out)->scope = scope;
    rf_jp_scope_close(ps, &save);
    return RF_OK;
}

static rf_status parse_set(struct parser *ps, struct rf_jnode **out)
{
    struct rf_jnode *n;
    RF_TRY(rf_jp_make(ps, RF_JN_SET, ps->tok->line, &n));
    rf_jp_next(ps);
    RF_TRY(parse_target(ps, true, &n->a));
    *out = n;
    if (rf_jp_skip_if(ps, RF_JT_ASSIGN)) {
        RF_TRY(rf_jp_tuple(ps, true, NULL, false, &n->b));
        return rf_jp_note_store(ps, n->a, false);
    }
    n->kind = RF_JN_SETBLOCK;
    RF_TRY(rf_jp_filters(ps, NULL, false, &n->b));
    RF_TRY(rf_jp_note_store(ps, n->a, false));
    RF_TRY(parse_scoped_body(ps, end_set, &n->c));
    rf_jp_next(ps);
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
    RF_TRY(rf_jp_scope_open(ps, &save, &scope));
    RF_TRY(rf_jp_note_store(ps, n->a, true));
    RF_TRY(rf_jp_expression(ps, &n->c));
    rf_jp_scope_close(ps, &save);
    return RF_OK;
}

static rf_status parse_for(struct parser *ps, struct rf_jnode **out)
{
    struct rf_jnode *n;
    struct saved save;
    struct rf_jscope *scope;
    uint32_t line = ps->tok->line;
    RF_TRY(rf_jp_make(ps, RF_JN_FOR, line, &n));
    *out = n;
    rf_jp_next(ps);
    RF_TRY(parse_target(ps, false, &n->a));
    if (target_names(n->a, RF_JSYM_LOOP)) return FAIL(ps, "the special variable 'loop' cannot be a loop's target", line);
    if (!rf_jp_skip_word(ps, "in")) return rf_jp_unexpected(ps, "in");
    RF_TRY(rf_jp_tuple(ps, false, "recursive", false, &n->b));
    if (rf_jp_skip_word(ps, "if")) RF_TRY(parse_for_test(ps, n));
    n->op = rf_jp_skip_word(ps, "recursive");
    n->list = rf_arena_array(ps->a, 2, sizeof *n->list);
    if (!n->list) return rf_jp_no_room(ps);
    RF_TRY(rf_jp_scope_open(ps, &save, &scope));
    RF_TRY(rf_jp_note_store(ps, n->a, true));
    RF_TRY(rf_jp_scope_note(ps, RF_JSYM_LOOP, false));
    ps->in_loop++;
    RF_TRY(parse_body(ps, end_for_else, &n->list[0]));
    ps->in_loop--;
    n->list[0]->scope = scope;
    rf_jp_scope_close(ps, &save);
    bool with_else = rf_jp_is_word(ps, "else");
    rf_jp_next(ps);
    if (!with_else) return RF_OK;
    RF_TRY(parse_scoped_body(ps, end_for, &n->list[1]));
    rf_jp_next(ps);
    return RF_OK;
}

static rf_status parse_if(struct parser *ps, struct rf_jnode **out)
{
    struct vec v = {0};
    struct rf_jnode *n, *e;
    RF_TRY(rf_jp_make(ps, RF_JN_IF, ps->tok->line, &n));
    *out = n;
    unsigned opened = 0; /* conditions of elif are read only if the ones before fail: they are in a branch too */
    bool more = true;
    for (; more; opened++) {
        rf_jp_next(ps);
        RF_TRY(rf_jp_tuple(ps, false, NULL, false, &e));
        RF_TRY(rf_jp_add(ps, &v, e));
        if (!opened) ps->in_branch++;
        RF_TRY(parse_body(ps, end_if_else, &e));
        RF_TRY(rf_jp_add(ps, &v, e));
        more = rf_jp_is_word(ps, "elif");
    }
    if (rf_jp_is_word(ps, "else")) {
        rf_jp_next(ps);
        RF_TRY(parse_body(ps, end_if, &n->a));
    }
    ps->in_branch--;
    rf_jp_next(ps);
    return rf_jp_finish_list(n, &v);
}

static rf_status parse_signature(struct parser *ps, struct rf_jmacro_ast *m)
{
    struct vec params = {0}, defaults = {0};
    RF_TRY(rf_jp_expect(ps, RF_JT_LPAREN));
    while (!rf_jp_is(ps, RF_JT_RPAREN)) {
        struct rf_jnode *arg, *e;
        if (params.n) RF_TRY(rf_jp_expect(ps, RF_JT_COMMA));
        RF_TRY(parse_target_one(ps, false, &arg));
        if (arg->kind != RF_JN_NAME) return FAIL(ps, "a macro's argument must be a name", arg->line);
        if (rf_jp_skip_if(ps, RF_JT_ASSIGN)) {
            RF_TRY(rf_jp_expression(ps, &e));
            RF_TRY(rf_jp_add(ps, &defaults, e));
        } else if (defaults.n) {
            return FAIL(ps, "an argument without default follows one with a default", arg->line);
        }
        if (arg->sym == RF_JSYM_CALLER) m->explicit_caller = true;
        RF_TRY(rf_jp_note_store(ps, arg, true));
        RF_TRY(rf_jp_add(ps, &params, arg));
    }
    rf_jp_next(ps);
    m->params = rf_arena_array(ps->a, params.n, sizeof *m->params);
    if (!m->params) return rf_jp_no_room(ps);
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
    if (!m) return rf_jp_no_room(ps);
    RF_TRY(rf_jp_scope_open(ps, save, &m->scope));
    RF_TRY(rf_jp_enter(ps));
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
    rf_jp_next(ps);
    ps->in_loop = in_loop;
    ps->n_macro--;
    rf_jp_leave(ps);
    rf_jp_scope_close(ps, save);
    return RF_OK;
}

static rf_status parse_macro(struct parser *ps, struct rf_jnode **out)
{
    struct rf_jnode *n, *name;
    struct saved save;
    RF_TRY(rf_jp_make(ps, RF_JN_MACRO, ps->tok->line, &n));
    *out = n;
    rf_jp_next(ps);
    RF_TRY(parse_target_one(ps, false, &name));
    if (name->kind != RF_JN_NAME) return FAIL(ps, "a macro needs a name", name->line);
    RF_TRY(rf_jp_note_store(ps, name, false));
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
    RF_TRY(rf_jp_make(ps, RF_JN_CALLBLOCK, ps->tok->line, &n));
    *out = n;
    rf_jp_next(ps);
    RF_TRY(macro_open(ps, rf_jp_is(ps, RF_JT_LPAREN), &save, &m));
    struct saved inner = {ps->scope, ps->in_branch};
    rf_jp_scope_close(ps, &save); /* the call itself belongs to the scope outside */
    ps->n_macro--;
    RF_TRY(rf_jp_expression(ps, &n->a));
    if (n->a->kind != RF_JN_CALL) return FAIL(ps, "a call block needs a call", n->line);
    ps->n_macro++;
    rf_jp_scope_close(ps, &inner);
    m->name = ps->t->sym[RF_JSYM_CALLER];
    n->macro = m;
    return macro_body(ps, m, end_call, &save);
}

static rf_status parse_filter_block(struct parser *ps, struct rf_jnode **out)
{
    RF_TRY(rf_jp_make(ps, RF_JN_FILTERBLOCK, ps->tok->line, out));
    rf_jp_next(ps);
    RF_TRY(rf_jp_filters(ps, NULL, true, &(*out)->b));
    RF_TRY(parse_scoped_body(ps, end_filter, &(*out)->c));
    rf_jp_next(ps);
    return RF_OK;
}

static rf_status parse_with(struct parser *ps, struct rf_jnode **out)
{
    struct vec v = {0};
    struct rf_jnode *n;
    struct saved save;
    struct rf_jscope *scope;
    RF_TRY(rf_jp_make(ps, RF_JN_WITH, ps->tok->line, &n));
    *out = n;
    rf_jp_next(ps);
    while (!rf_jp_is(ps, RF_JT_BLOCK_END)) {
        struct rf_jnode *target, *e;
        if (v.n) RF_TRY(rf_jp_expect(ps, RF_JT_COMMA));
        RF_TRY(parse_target(ps, false, &target));
        RF_TRY(rf_jp_expect(ps, RF_JT_ASSIGN));
        RF_TRY(rf_jp_expression(ps, &e));
        RF_TRY(rf_jp_add(ps, &v, target));
        RF_TRY(rf_jp_add(ps, &v, e));
    }
    RF_TRY(rf_jp_finish_list(n, &v));
    RF_TRY(rf_jp_scope_open(ps, &save, &scope));
    for (uint32_t i = 0; i < v.n; i += 2) RF_TRY(rf_jp_note_store(ps, v.v[i], true));
    RF_TRY(parse_body(ps, end_with, &n->c));
    n->c->scope = scope;
    rf_jp_scope_close(ps, &save);
    rf_jp_next(ps);
    return RF_OK;
}

/* {% generation %}: its body is shown as it is, in a scope of its own. */
static rf_status parse_generation(struct parser *ps, struct rf_jnode **out)
{
    unsigned in_loop = ps->in_loop;
    RF_TRY(rf_jp_make(ps, RF_JN_SCOPE, ps->tok->line, out));
    rf_jp_next(ps);
    ps->in_loop = 0;
    RF_TRY(parse_scoped_body(ps, end_generation, &(*out)->c));
    ps->in_loop = in_loop;
    rf_jp_next(ps);
    return RF_OK;
}

static rf_status parse_autoescape(struct parser *ps, struct rf_jnode **out)
{
    struct rf_jnode *on;
    uint32_t line = ps->tok->line;
    RF_TRY(rf_jp_make(ps, RF_JN_SCOPE, line, out));
    rf_jp_next(ps);
    RF_TRY(rf_jp_expression(ps, &on));
    if (on->kind != RF_JN_CONST || on->value.kind != RF_JV_BOOL || on->value.b)
        return FAIL(ps, "'autoescape' is not supported but with false: a prompt is no HTML; the filter 'e' escapes", line);
    RF_TRY(parse_scoped_body(ps, end_autoescape, &(*out)->c));
    rf_jp_next(ps);
    return RF_OK;
}

/* A block is shown where it stands, and again by self.name(). Its names are its own and the top level's, or with "scoped" those around it:
 * Jinja compiles it as a function, so it starts as one, whatever it stands in. */
static rf_status parse_block(struct parser *ps, struct rf_jnode **out)
{
    struct rf_jpart *part = rf_arena_alloc(ps->a, sizeof *part);
    struct rf_jscope *around = ps->scope;
    unsigned in_loop = ps->in_loop, n_macro = ps->n_macro;
    char buf[64];
    if (!part) return rf_jp_no_room(ps);
    RF_TRY(rf_jp_make(ps, RF_JN_SCOPE, ps->tok->line, out));
    rf_jp_next(ps);
    if (!rf_jp_is(ps, RF_JT_NAME)) return rf_jp_unexpected(ps, "a block's name");
    for (const struct rf_jpart *p = ps->t->parts; p; p = p->next)
        if (p->name->len == ps->tok->len && !memcmp(p->name->p, ps->tok->p, ps->tok->len))
            return FAIL(ps, "the block '%s' is defined twice", ps->tok->line, rf_jp_tok_text(ps->tok, buf));
    RF_TRY(rf_jp_text(ps, ps->tok->p, ps->tok->len, &part->name));
    part->next = ps->t->parts; /* known before its body: a block in it must have another name */
    ps->t->parts = part;
    rf_jp_next(ps);
    (*out)->op = !rf_jp_skip_word(ps, "scoped");
    if (rf_jp_is_word(ps, "required")) return FAIL(ps, "a 'required' block cannot be shown: no template extends this one", ps->tok->line);
    ps->scope = NULL;
    ps->in_loop = ps->n_macro = 0;
    RF_TRY(parse_scoped_body(ps, end_block, &(*out)->c));
    ps->scope = around;
    ps->in_loop = in_loop;
    ps->n_macro = n_macro;
    rf_jp_next(ps);
    if (rf_jp_is(ps, RF_JT_NAME) && ps->tok->len == part->name->len && !memcmp(ps->tok->p, part->name->p, part->name->len)) rf_jp_next(ps);
    part->body = (*out)->c;
    return RF_OK;
}

static rf_status parse_print(struct parser *ps, struct rf_jnode **out)
{
    struct vec v = {0};
    RF_TRY(rf_jp_make(ps, RF_JN_BODY, ps->tok->line, out));
    rf_jp_next(ps);
    while (!rf_jp_is(ps, RF_JT_BLOCK_END)) {
        struct rf_jnode *n;
        if (v.n) RF_TRY(rf_jp_expect(ps, RF_JT_COMMA));
        RF_TRY(rf_jp_make(ps, RF_JN_OUTPUT, ps->tok->line, &n));
        RF_TRY(rf_jp_expression(ps, &n->a));
        RF_TRY(rf_jp_add(ps, &v, n));
    }
    return rf_jp_finish_list(*out, &v);
}

static rf_status parse_statement(struct parser *ps, struct rf_jnode **out)
{
    uint32_t line = ps->tok->line;
    char buf[64];
    if (!rf_jp_is(ps, RF_JT_NAME)) return rf_jp_unexpected(ps, "a tag's name");
    if (rf_jp_is_word(ps, "set")) return parse_set(ps, out);
    if (rf_jp_is_word(ps, "if")) return parse_if(ps, out);
    if (rf_jp_is_word(ps, "for")) return parse_for(ps, out);
    if (rf_jp_is_word(ps, "macro")) return parse_macro(ps, out);
    if (rf_jp_is_word(ps, "call")) return parse_call_block(ps, out);
    if (rf_jp_is_word(ps, "filter")) return parse_filter_block(ps, out);
    if (rf_jp_is_word(ps, "with")) return parse_with(ps, out);
    if (rf_jp_is_word(ps, "print")) return parse_print(ps, out);
    if (rf_jp_is_word(ps, "generation")) return parse_generation(ps, out);
    if (rf_jp_is_word(ps, "autoescape")) return parse_autoescape(ps, out);
    if (rf_jp_is_word(ps, "block")) return parse_block(ps, out);
    if (rf_jp_is_word(ps, "break") || rf_jp_is_word(ps, "continue")) {
        if (!ps->in_loop) return FAIL(ps, "'%s' outside of a loop", line, rf_jp_tok_text(ps->tok, buf));
        RF_TRY(rf_jp_make(ps, rf_jp_is_word(ps, "break") ? RF_JN_BREAK : RF_JN_CONTINUE, line, out));
        rf_jp_next(ps);
        return RF_OK;
    }
    if (rf_jp_is_word(ps, "extends") || rf_jp_is_word(ps, "include") || rf_jp_is_word(ps, "import") || rf_jp_is_word(ps, "from"))
        return FAIL(ps, "'%s' is not available: a chat template stands alone", line, rf_jp_tok_text(ps->tok, buf));
    return FAIL(ps, "unknown tag '%s'", line, rf_jp_tok_text(ps->tok, buf));
}

/* Statements until one of the words in `ends` begins a tag (it stays the current token), or the template's end. */
static rf_status parse_statements(struct parser *ps, const char *const *ends, struct rf_jnode **out)
{
    struct vec v = {0};
    uint32_t line = ps->tok->line;
    for (;;) {
        struct rf_jnode *n = NULL;
        struct rf_jstr *s;
        if (rf_jp_is(ps, RF_JT_EOF)) {
            if (ends) return FAIL(ps, "the template ends, expected '%s'", ps->tok->line, ends[0]);
            break;
        }
        if (rf_jp_is(ps, RF_JT_DATA)) {
            RF_TRY(rf_jp_make(ps, RF_JN_DATA, ps->tok->line, &n));
            RF_TRY(rf_jp_text(ps, ps->tok->p, ps->tok->len, &s));
            n->value = rf_jv_str(s);
            rf_jp_next(ps);
        } else if (rf_jp_is(ps, RF_JT_VAR_BEGIN)) {
            RF_TRY(rf_jp_make(ps, RF_JN_OUTPUT, ps->tok->line, &n));
            rf_jp_next(ps);
            RF_TRY(rf_jp_tuple(ps, true, NULL, false, &n->a));
            RF_TRY(rf_jp_expect(ps, RF_JT_VAR_END));
        } else {
            rf_jp_next(ps);
            for (const char *const *w = ends; w && *w; w++)
                if (rf_jp_is_word(ps, *w)) goto done;
            RF_TRY(parse_statement(ps, &n));
            RF_TRY(rf_jp_expect(ps, RF_JT_BLOCK_END));
        }
        RF_TRY(rf_jp_add(ps, &v, n));
    }
done:
    RF_TRY(rf_jp_make(ps, RF_JN_BODY, line, out));
    return rf_jp_finish_list(*out, &v);
}

static rf_status parse_body(struct parser *ps, const char *const *ends, struct rf_jnode **out)
{
    RF_TRY(rf_jp_enter(ps));
    rf_jp_skip_if(ps, RF_JT_COLON);
    RF_TRY(rf_jp_expect(ps, RF_JT_BLOCK_END));
    RF_TRY(parse_statements(ps, ends, out));
    rf_jp_leave(ps);
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
    static const char *const fixed[RF_JSYM_FIXED] = {"loop", "caller", "kwargs", "varargs", "self"};
    static const struct rf_jtok start = {.line = 1};
    struct rf_jtok *tok;
    struct saved save;
    struct rf_jscope *root;
    uint32_t sym;
    ps->tok = &start;
    char *s = normalise(ps->a, src, &len);
    if (!s) return rf_jp_no_room(ps);
    RF_TRY(rf_jinja_lex(ps->a, s, len, &tok, ps->err));
    ps->tok = tok;
    for (size_t i = 0; i < RF_JSYM_FIXED; i++) RF_TRY(rf_jp_symbol(ps, fixed[i], strlen(fixed[i]), &sym));
    RF_TRY(rf_jp_scope_open(ps, &save, &root));
    RF_TRY(parse_statements(ps, NULL, &ps->t->body));
    ps->t->body->scope = root;
    return rf_jp_scopes_finish(ps);
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
