/* jinja_parse.h - what the parser's files share: jinja_names.c (tokens, nodes, names, scopes), jinja_expr.c (expressions)
 * and jinja_parse.c (statements and the door).
 */
#ifndef RF_TEXT_JINJA_PARSE_H
#define RF_TEXT_JINJA_PARSE_H

#include "base/map.h"
#include "text/jinja_ast.h"

enum { MAX_DEPTH = 150, MAX_NAMES = 512, MAX_KEYWORDS = 255, MAX_SOURCE = 1 << 19, MAX_ARENA = 48 << 20 };

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

struct saved { struct rf_jscope *scope; unsigned in_branch; };

/* ---- tokens, nodes, names, scopes ---- */

bool rf_jp_is(const struct parser *ps, enum rf_jtok_kind kind);
bool rf_jp_tok_is_word(const struct rf_jtok *t, const char *word);
bool rf_jp_is_word(const struct parser *ps, const char *word);
void rf_jp_next(struct parser *ps);
bool rf_jp_skip_if(struct parser *ps, enum rf_jtok_kind kind);
bool rf_jp_skip_word(struct parser *ps, const char *word);
const char *rf_jp_tok_text(const struct rf_jtok *t, char buf[64]);
/* After an allocation that failed: the template is too large, or there is no memory. */
rf_status rf_jp_no_room(struct parser *ps);
rf_status rf_jp_unexpected(struct parser *ps, const char *expected);
rf_status rf_jp_expect(struct parser *ps, enum rf_jtok_kind kind);
rf_status rf_jp_enter(struct parser *ps);
void rf_jp_leave(struct parser *ps);
rf_status rf_jp_make(struct parser *ps, enum rf_jnode_kind kind, uint32_t line, struct rf_jnode **out);
rf_status rf_jp_add(struct parser *ps, struct vec *v, struct rf_jnode *n);
rf_status rf_jp_text(struct parser *ps, const char *p, size_t len, struct rf_jstr **out);
rf_status rf_jp_symbol(struct parser *ps, const char *p, size_t len, uint32_t *out);
rf_status rf_jp_scope_open(struct parser *ps, struct saved *save, struct rf_jscope **out);
void rf_jp_scope_close(struct parser *ps, const struct saved *save);
rf_status rf_jp_scope_note(struct parser *ps, uint32_t sym, bool unset_first);
rf_status rf_jp_note_load(struct parser *ps, uint32_t sym);
/* Notes what an assignment target sets. as_param: the scope itself brings the value (loop targets, arguments). */
rf_status rf_jp_note_store(struct parser *ps, const struct rf_jnode *target, bool as_param);
/* After parsing: names that a scope sets before it reads them, and that no scope around it knows, start undefined. */
rf_status rf_jp_scopes_finish(struct parser *ps);

/* ---- expressions ---- */

rf_status rf_jp_finish_list(struct rf_jnode *n, const struct vec *v);
rf_status rf_jp_filters(struct parser *ps, struct rf_jnode *of, bool first_inline, struct rf_jnode **out);
rf_status rf_jp_expression(struct parser *ps, struct rf_jnode **out);
rf_status rf_jp_tuple(struct parser *ps, bool with_cond, const char *end_word, bool parenthesised, struct rf_jnode **out);

#endif
