/* jinja_names.c - the parser's tokens, nodes and names, and per scope which names are read and which are set first: Jinja
 * decides at compile time whether a name can be a variable of the request, and templates see the difference.
 */
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "text/jinja_parse.h"

/* ---- tokens, nodes, names ------------------------------------------------------------------------------------- */

bool rf_jp_is(const struct parser *ps, enum rf_jtok_kind kind) { return ps->tok->kind == kind; }

bool rf_jp_tok_is_word(const struct rf_jtok *t, const char *word)
{
    return t->kind == RF_JT_NAME && strlen(word) == t->len && !memcmp(t->p, word, t->len);
}

bool rf_jp_is_word(const struct parser *ps, const char *word) { return rf_jp_tok_is_word(ps->tok, word); }

void rf_jp_next(struct parser *ps)
{
    if (ps->tok->kind != RF_JT_EOF) ps->tok++;
}

bool rf_jp_skip_if(struct parser *ps, enum rf_jtok_kind kind)
{
    bool yes = rf_jp_is(ps, kind);
    if (yes) rf_jp_next(ps);
    return yes;
}

bool rf_jp_skip_word(struct parser *ps, const char *word)
{
    bool yes = rf_jp_is_word(ps, word);
    if (yes) rf_jp_next(ps);
    return yes;
}

const char *rf_jp_tok_text(const struct rf_jtok *t, char buf[64])
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

rf_status rf_jp_no_room(struct parser *ps) { return rf_jinja_no_room(ps->a, ps->tok->line, ps->err); }

rf_status rf_jp_unexpected(struct parser *ps, const char *expected)
{
    char buf[64];
    return FAIL(ps, "unexpected '%s', expected %s", ps->tok->line, rf_jp_tok_text(ps->tok, buf), expected);
}

rf_status rf_jp_expect(struct parser *ps, enum rf_jtok_kind kind)
{
    struct rf_jtok t = {.kind = kind};
    char buf[64];
    if (rf_jp_is(ps, kind)) {
        rf_jp_next(ps);
        return RF_OK;
    }
    return rf_jp_unexpected(ps, rf_jp_tok_text(&t, buf));
}

rf_status rf_jp_enter(struct parser *ps)
{
    if (++ps->depth > MAX_DEPTH) return FAIL(ps, "nested deeper than %d", ps->tok->line, MAX_DEPTH);
    return RF_OK;
}

void rf_jp_leave(struct parser *ps) { ps->depth--; }

rf_status rf_jp_make(struct parser *ps, enum rf_jnode_kind kind, uint32_t line, struct rf_jnode **out)
{
    struct rf_jnode *n = rf_arena_alloc(ps->a, sizeof *n);
    if (!n) return rf_jp_no_room(ps);
    n->kind = (uint8_t)kind;
    n->line = line;
    *out = n;
    return RF_OK;
}

rf_status rf_jp_add(struct parser *ps, struct vec *v, struct rf_jnode *n)
{
    if (v->n == v->cap) {
        uint32_t cap = v->cap ? 2 * v->cap : 4;
        struct rf_jnode **p = rf_arena_array(ps->a, cap, sizeof *p);
        if (!p) return rf_jp_no_room(ps);
        if (v->n) memcpy(p, v->v, v->n * sizeof *p);
        v->v = p;
        v->cap = cap;
    }
    v->v[v->n++] = n;
    return RF_OK;
}

rf_status rf_jp_text(struct parser *ps, const char *p, size_t len, struct rf_jstr **out)
{
    *out = rf_jinja_str_make(ps->a, p, len, true);
    return *out ? RF_OK : rf_jp_no_room(ps);
}

rf_status rf_jp_symbol(struct parser *ps, const char *p, size_t len, uint32_t *out)
{
    struct rf_template *t = ps->t;
    *out = rf_map_get(&ps->syms, p, len);
    if (*out != RF_MAP_NONE) return RF_OK;
    if (t->n_sym == ps->cap_sym) {
        uint32_t cap = ps->cap_sym ? 2 * ps->cap_sym : 64;
        struct rf_jstr **v = rf_arena_array(ps->a, cap, sizeof *v);
        if (!v) return rf_jp_no_room(ps);
        if (t->n_sym) memcpy(v, t->sym, t->n_sym * sizeof *v);
        t->sym = v;
        ps->cap_sym = cap;
    }
    struct rf_jstr *name;
    RF_TRY(rf_jp_text(ps, p, len, &name));
    if (rf_map_set(&ps->syms, name->p, len, t->n_sym, NULL)) return rf_fail_nomem(ps->err, "a chat template", len);
    t->sym[t->n_sym] = name;
    *out = t->n_sym++;
    return RF_OK;
}

/* ---- scopes --------------------------------------------------------------------------------------------------- */

rf_status rf_jp_scope_open(struct parser *ps, struct saved *save, struct rf_jscope **out)
{
    struct rf_jscope *s = rf_arena_alloc(ps->a, sizeof *s);
    if (!s) return rf_jp_no_room(ps);
    *save = (struct saved){ps->scope, ps->in_branch};
    s->parent = ps->scope;
    s->next = ps->scopes;
    ps->scope = ps->scopes = s;
    ps->in_branch = 0;
    *out = s;
    return RF_OK;
}

void rf_jp_scope_close(struct parser *ps, const struct saved *save)
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

rf_status rf_jp_scope_note(struct parser *ps, uint32_t sym, bool unset_first)
{
    struct rf_jscope *s = ps->scope;
    if (scope_has(s, sym)) return RF_OK;
    if (s->n_ref == MAX_NAMES) return FAIL(ps, "more than %d names in one scope", ps->tok->line, MAX_NAMES);
    if (s->n_ref == s->cap_ref) {
        uint32_t cap = s->cap_ref ? 2 * s->cap_ref : 8;
        struct rf_jref *v = rf_arena_array(ps->a, cap, sizeof *v);
        if (!v) return rf_jp_no_room(ps);
        if (s->n_ref) memcpy(v, s->ref, s->n_ref * sizeof *v);
        s->ref = v;
        s->cap_ref = cap;
    }
    s->ref[s->n_ref++] = (struct rf_jref){sym, unset_first};
    return RF_OK;
}

rf_status rf_jp_note_load(struct parser *ps, uint32_t sym)
{
    for (unsigned i = 0; i < ps->n_macro; i++) {
        struct rf_jmacro_ast *m = ps->macro[i];
        if (sym == RF_JSYM_CALLER) m->uses_caller = true;
        if (sym == RF_JSYM_KWARGS) m->uses_kwargs = true;
        if (sym == RF_JSYM_VARARGS) m->uses_varargs = true;
    }
    return rf_jp_scope_note(ps, sym, false);
}

/* Notes what an assignment target sets. as_param: the scope itself brings the value (loop targets, arguments). */
rf_status rf_jp_note_store(struct parser *ps, const struct rf_jnode *target, bool as_param)
{
    if (target->kind == RF_JN_NAME) return rf_jp_scope_note(ps, target->sym, !as_param && !ps->in_branch);
    if (target->kind == RF_JN_NSREF) return rf_jp_note_load(ps, target->sym);
    for (uint32_t i = 0; i < target->n; i++) RF_TRY(rf_jp_note_store(ps, target->list[i], as_param));
    return RF_OK;
}

/* After parsing: names that a scope sets before it reads them, and that no scope around it knows, start undefined. */
rf_status rf_jp_scopes_finish(struct parser *ps)
{
    for (struct rf_jscope *s = ps->scopes; s; s = s->next) {
        s->unset = rf_arena_array(ps->a, s->n_ref, sizeof *s->unset);
        if (!s->unset) return rf_jp_no_room(ps);
        for (uint32_t i = 0; i < s->n_ref; i++) {
            bool outer = !s->ref[i].unset_first;
            for (const struct rf_jscope *p = s->parent; p && !outer; p = p->parent) outer = scope_has(p, s->ref[i].sym);
            if (!outer) s->unset[s->n_unset++] = s->ref[i].sym;
        }
    }
    return RF_OK;
}
