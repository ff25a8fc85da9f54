/* jinja_run.h - one render: its budgets, its variables, and what the files of the interpreter share.
 *
 * Every function that can fail returns rf_status after filling J->err with "chat template line N: what". Values live in
 * J->arena until the render ends. Python's and Jinja's semantics are the specification; tests compare with them.
 */
#ifndef RF_TEXT_JINJA_RUN_H
#define RF_TEXT_JINJA_RUN_H

#include <string.h>

#include "base/mem.h"
#include "text/jinja_ast.h"
#include "text/template.h"

enum { RF_JINJA_MAX_NEST = 700 }; /* C recursion of one render, whatever the mixture of reasons */

struct rf_jenv { /* variables of one scope that is being executed */
    struct rf_jenv *parent; /* NULL: the root, whose variables lie in J->root by symbol */
    struct rf_jbind { uint32_t sym; struct rf_jv value; } *b;
    uint32_t n, cap;
    bool is_block; /* below it the request's variables are seen, even those that the top level sets later */
};

/* Builds a string in the arena. All-zero plus J is empty; an error sticks in `bad` until rf_jinja_sb_done. */
struct rf_jsb {
    struct rf_jinja *J;
    char *p;
    uint8_t *t; /* trust per byte, once both kinds were seen */
    size_t len, cap;
    bool trusted;
    rf_status bad;
};

struct rf_jinja {
    const struct rf_template *t;
    struct rf_arena arena;
    uint64_t steps;             /* left */
    size_t output;              /* bytes left */
    uint32_t max_depth, depth;  /* macros, loops called recursively */
    uint32_t nest;              /* C recursion */
    uint32_t line;
    struct rf_jv *root;         /* [n_sym] variables of the template's top level and, below them, of the request */
    struct rf_jv *given;        /* [n_sym] those of the request alone; NULL where no block is */
    struct rf_jenv *env;
    struct rf_jsb *capture;     /* where output goes; NULL: to `out` */
    struct rf_buf *out;
    struct rf_spans *spans;     /* may be NULL */
    int64_t now;
    struct rf_error *err;
};

/* ---- jinja_value.c: errors, budgets, making and walking values -------------------------------------------------- */

rf_status rf_jinja_fail(struct rf_jinja *J, const char *fmt, ...) RF_PRINTF(2, 3);
rf_status rf_jinja_step(struct rf_jinja *J, size_t bytes); /* one step, and one more per 64 bytes of work */
rf_status rf_jinja_enter(struct rf_jinja *J);              /* before recursing; leave with J->nest-- */
rf_status rf_jinja_alloc(struct rf_jinja *J, size_t n, size_t size, void *out); /* zeroed array; *(void **)out */
const char *rf_jinja_type(struct rf_jv v);                 /* Python's name of the type */
rf_status rf_jinja_undefined(struct rf_jinja *J, struct rf_jv *out, const char *fmt, ...) RF_PRINTF(3, 4);
rf_status rf_jinja_use(struct rf_jinja *J, struct rf_jv v); /* fails if v is undefined, saying why */

rf_status rf_jinja_list(struct rf_jinja *J, enum rf_jv_kind kind, size_t cap, struct rf_jv *out);
rf_status rf_jinja_push(struct rf_jinja *J, struct rf_jlist *l, struct rf_jv v); /* only onto a list just made */
rf_status rf_jinja_pair(struct rf_jinja *J, struct rf_jv a, struct rf_jv b, struct rf_jv *out); /* a tuple */

rf_status rf_jinja_dict(struct rf_jinja *J, struct rf_jv *out);
rf_status rf_jinja_dict_set(struct rf_jinja *J, struct rf_jdict *d, struct rf_jv key, struct rf_jv value);
/* *out is NULL if absent. An unhashable key fails. */
rf_status rf_jinja_dict_get(struct rf_jinja *J, const struct rf_jdict *d, struct rf_jv key, struct rf_jv **out);
bool rf_jinja_hashable(struct rf_jv v);

bool rf_jinja_truth(struct rf_jv v);
rf_status rf_jinja_eq(struct rf_jinja *J, struct rf_jv a, struct rf_jv b, bool *out);
/* <0, 0, >0, or 2 for unordered (NaN). Fails where Python has no order. op is for the message. */
rf_status rf_jinja_cmp(struct rf_jinja *J, struct rf_jv a, struct rf_jv b, const char *op, int *out);
rf_status rf_jinja_in(struct rf_jinja *J, struct rf_jv needle, struct rf_jv hay, bool *out);
bool rf_jinja_len(struct rf_jv v, size_t *n); /* false: has no length */
bool rf_jinja_iterable(struct rf_jv v);
rf_status rf_jinja_iter(struct rf_jinja *J, struct rf_jv of, struct rf_jiter *it);
rf_status rf_jinja_next(struct rf_jinja *J, struct rf_jiter *it, struct rf_jv *out, bool *more);
rf_status rf_jinja_collect(struct rf_jinja *J, struct rf_jv of, struct rf_jv *out); /* a new list of the items */
rf_status rf_jinja_sort(struct rf_jinja *J, struct rf_jv *v, struct rf_jv *key, size_t n, bool reverse); /* stable */

/* ---- jinja_text.c: strings ------------------------------------------------------------------------------------- */

void rf_jinja_sb_add(struct rf_jsb *b, const char *p, size_t n, bool trusted);
void rf_jinja_sb_slice(struct rf_jsb *b, const struct rf_jstr *s, size_t from, size_t to); /* bytes, with their trust */
void rf_jinja_sb_fill(struct rf_jsb *b, const struct rf_jstr *fill, int64_t n); /* fill n times; n <= 0 is none */
void rf_jinja_sb_lit(struct rf_jsb *b, const char *s); /* text of the interpreter's own: not trusted */
rf_status rf_jinja_sb_done(struct rf_jsb *b, struct rf_jv *out);
static inline void rf_jinja_sb_str(struct rf_jsb *b, const struct rf_jstr *s) { rf_jinja_sb_slice(b, s, 0, s->len); }
static inline bool rf_jinja_trust_at(const struct rf_jstr *s, size_t i) { return s->t ? s->t[i] != 0 : s->trusted; }

rf_status rf_jinja_str_slice(struct rf_jinja *J, struct rf_jstr *s, size_t from, size_t to, struct rf_jv *out); /* bytes */
rf_status rf_jinja_str_from(struct rf_jinja *J, const char *p, size_t n, bool trusted, struct rf_jv *out); /* copies */
rf_status rf_jinja_concat(struct rf_jinja *J, struct rf_jstr *a, struct rf_jstr *b, struct rf_jv *out);
rf_status rf_jinja_escape(struct rf_jinja *J, const struct rf_jstr *s, struct rf_jv *out); /* HTML; gives Markup */
size_t rf_jinja_char_at(const struct rf_jstr *s, size_t i); /* byte offset of character i (<= n_chars) */
size_t rf_jinja_chars(const struct rf_jstr *s, size_t from, size_t to); /* characters in a byte range */
bool rf_jinja_str_is(const struct rf_jstr *s, const char *lit);
bool rf_jinja_str_eq(const struct rf_jstr *a, const struct rf_jstr *b);
/* First place of needle in s at or after byte `from` and wholly before `to`, or SIZE_MAX. */
rf_status rf_jinja_search_step(struct rf_jinja *J, const struct rf_jstr *needle, size_t n); /* before a search through n bytes */
size_t rf_jinja_find(const struct rf_jstr *s, const struct rf_jstr *needle, size_t from, size_t to);
rf_status rf_jinja_rfind(struct rf_jinja *J, const struct rf_jstr *s, const struct rf_jstr *needle, size_t from, size_t to,
                         size_t *at); /* the last place in [from, to), or SIZE_MAX */
unsigned rf_jinja_float_repr(double f, char out[40]); /* as Python prints it */

rf_status rf_jinja_str(struct rf_jinja *J, struct rf_jv v, struct rf_jv *out);  /* str(v) */
rf_status rf_jinja_repr(struct rf_jsb *b, struct rf_jv v);                      /* repr(v) */
void rf_jinja_str_repr(struct rf_jsb *b, const struct rf_jstr *s);

/* ---- jinja_json.c ---------------------------------------------------------------------------------------------- */

/* The JSON object at json to J->root. Names of trusted_vars make trusted text. */
rf_status rf_jinja_json_vars(struct rf_jinja *J, const char *json, size_t len, const char *const *trusted_vars);
struct rf_jargs;
rf_status rf_jinja_tojson(struct rf_jinja *J, struct rf_jv v, const struct rf_jargs *args, struct rf_jv *out);

/* ---- jinja_eval.c: expressions --------------------------------------------------------------------------------- */

struct rf_jargs {
    struct rf_jv *pos;
    struct rf_jv *kw;
    const struct rf_jstr **kw_name;
    uint32_t n_pos, n_kw;
};

rf_status rf_jinja_eval(struct rf_jinja *J, const struct rf_jnode *n, struct rf_jv *out);
rf_status rf_jinja_eval_filters(struct rf_jinja *J, const struct rf_jnode *n, struct rf_jv in, struct rf_jv *out);
rf_status rf_jinja_call(struct rf_jinja *J, struct rf_jv fn, const struct rf_jargs *args, struct rf_jv *out);
rf_status rf_jinja_attr(struct rf_jinja *J, struct rf_jv of, struct rf_jstr *name, struct rf_jv *out); /* of.name */
rf_status rf_jinja_item(struct rf_jinja *J, struct rf_jv of, struct rf_jv key, struct rf_jv *out);     /* of[key] */
rf_status rf_jinja_arith(struct rf_jinja *J, enum rf_jtok_kind op, struct rf_jv a, struct rf_jv b, struct rf_jv *out);
rf_status rf_jinja_compare(struct rf_jinja *J, enum rf_jtok_kind op, struct rf_jv a, struct rf_jv b, bool *out);
/* Sorts arguments to parameters. params: "name,name,..."; out[i] is MISSING where nothing was given; the first
 * `required` must be. */
rf_status rf_jinja_bind(struct rf_jinja *J, const char *fn, const struct rf_jargs *args, const char *params, unsigned required,
                        struct rf_jv *out);

/* ---- jinja_exec.c: statements ---------------------------------------------------------------------------------- */

struct rf_jloop {
    struct rf_jinja *J;
    struct rf_jiter it;
    struct rf_jv of, current, before, after; /* after: MISSING unless peeked */
    bool peeked_end, has_length, changed_set;
    int64_t index0;
    size_t length, depth0;
    struct rf_jv last_changed;
    const struct rf_jnode *node;
    struct rf_jenv *outer;
};

struct rf_jmacro {
    const struct rf_jmacro_ast *ast;
    struct rf_jenv *env; /* where it was defined */
};

rf_status rf_jinja_exec(struct rf_jinja *J, const struct rf_jnode *body);
rf_status rf_jinja_emit(struct rf_jinja *J, const struct rf_jstr *s);
rf_status rf_jinja_part_call(struct rf_jinja *J, const struct rf_jpart *part, const struct rf_jargs *args, struct rf_jv *out); /* self.name() */
rf_status rf_jinja_macro_call(struct rf_jinja *J, const struct rf_jmacro *m, const struct rf_jargs *args, struct rf_jv *out);
rf_status rf_jinja_loop_call(struct rf_jinja *J, struct rf_jloop *l, struct rf_jv of, struct rf_jv *out);
rf_status rf_jinja_loop_attr(struct rf_jinja *J, struct rf_jloop *l, const struct rf_jstr *name, struct rf_jv *out);
rf_status rf_jinja_loop_changed(struct rf_jinja *J, struct rf_jloop *l, const struct rf_jargs *args, struct rf_jv *out);
rf_status rf_jinja_lookup(struct rf_jinja *J, uint32_t sym, struct rf_jv *out);
rf_status rf_jinja_assign(struct rf_jinja *J, const struct rf_jnode *target, struct rf_jv v);
rf_status rf_jinja_env_open(struct rf_jinja *J, const struct rf_jscope *scope, struct rf_jenv *parent, struct rf_jenv **out);

/* ---- built-ins ------------------------------------------------------------------------------------------------- */

typedef rf_status rf_jfilter_fn(struct rf_jinja *J, struct rf_jv self, struct rf_jv *a, struct rf_jv *out);
typedef rf_status rf_jraw_fn(struct rf_jinja *J, struct rf_jv self, const struct rf_jargs *args, struct rf_jv *out);

struct rf_jbuiltin { /* a row of a table of filters, tests or methods: fn with bound arguments, or raw */
    const char *name;
    rf_jfilter_fn *fn;
    rf_jraw_fn *raw;
    const char *params; /* of fn; at most RF_JINJA_PARAMS */
    unsigned required;
};
enum { RF_JINJA_PARAMS = 8 };
const struct rf_jbuiltin *rf_jinja_builtin(const struct rf_jbuiltin *table, size_t n, const char *name, size_t len);
rf_status rf_jinja_builtin_call(struct rf_jinja *J, const struct rf_jbuiltin *b, struct rf_jv self, const struct rf_jargs *args,
                                struct rf_jv *out);

rf_status rf_jinja_filter(struct rf_jinja *J, const struct rf_jstr *name, struct rf_jv in, const struct rf_jargs *args,
                          struct rf_jv *out);
bool rf_jinja_has_filter(const struct rf_jstr *name);
rf_status rf_jinja_test(struct rf_jinja *J, const struct rf_jstr *name, struct rf_jv in, const struct rf_jargs *args, bool *out);
bool rf_jinja_has_test(const struct rf_jstr *name);
extern const struct rf_jbuiltin rf_jinja_text_filters[]; /* those on strings; ends with a NULL name */

/* A method of a string, list, tuple, dict ...; false if the type has none of that name. *unsafe: the sandbox hides it. */
bool rf_jinja_method(struct rf_jv of, const struct rf_jstr *name, int *id, bool *unsafe);
rf_status rf_jinja_method_call(struct rf_jinja *J, const struct rf_jmethod *m, const struct rf_jargs *args, struct rf_jv *out);

bool rf_jinja_number_attr(struct rf_jv of, const struct rf_jstr *name, struct rf_jv *out); /* jinja_number.c; false: none of that name */
rf_jfilter_fn rf_jinja_bit_length, rf_jinja_bit_count, rf_jinja_conjugate, rf_jinja_is_integer, rf_jinja_ratio, rf_jinja_hex;
rf_status rf_jinja_pprint(struct rf_jinja *J, struct rf_jv v, struct rf_jv *out); /* jinja_pprint.c */

struct rf_jglobal { const char *name; rf_jraw_fn *fn; };
const struct rf_jglobal *rf_jinja_global(const struct rf_jstr *name); /* NULL if there is none */
rf_status rf_jinja_stateful_call(struct rf_jinja *J, struct rf_jv of, struct rf_jv *out); /* joiner() */

/* Helpers that filters and methods share (jinja_filter_text.c, jinja_method.c). */
enum rf_jcase { RF_JCASE_UPPER, RF_JCASE_LOWER, RF_JCASE_CAPITALIZE, RF_JCASE_TITLE, RF_JCASE_SWAP, RF_JCASE_FOLD };
rf_status rf_jinja_case(struct rf_jinja *J, const struct rf_jstr *s, enum rf_jcase how, struct rf_jv *out);
rf_status rf_jinja_strip(struct rf_jinja *J, struct rf_jstr *s, struct rf_jv chars, bool left, bool right, struct rf_jv *out);
rf_status rf_jinja_replace(struct rf_jinja *J, const struct rf_jstr *s, const struct rf_jstr *from, const struct rf_jstr *to,
                           int64_t count, struct rf_jv *out);
rf_status rf_jinja_join(struct rf_jinja *J, const struct rf_jstr *sep, struct rf_jv of, bool strict, struct rf_jv *out);
rf_status rf_jinja_center(struct rf_jinja *J, struct rf_jstr *s, int64_t width, const struct rf_jstr *fill, char how,
                          struct rf_jv *out); /* how: 'c', 'l', 'r' */
rf_status rf_jinja_splitlines(struct rf_jinja *J, struct rf_jstr *s, bool keep_ends, struct rf_jv *out);
rf_status rf_jinja_split(struct rf_jinja *J, struct rf_jstr *s, struct rf_jv sep, int64_t max, bool from_right, struct rf_jv *out);
bool rf_jinja_islower(const struct rf_jstr *s);
bool rf_jinja_isupper(const struct rf_jstr *s);
rf_status rf_jinja_percent(struct rf_jinja *J, const struct rf_jstr *fmt, struct rf_jv arg, struct rf_jv *out); /* fmt % arg */
rf_status rf_jinja_format(struct rf_jinja *J, const struct rf_jstr *fmt, const struct rf_jargs *args, struct rf_jv *out);
rf_status rf_jinja_to_int(struct rf_jinja *J, struct rf_jv v, int64_t *out); /* an index or count: int or bool, else fails */

/* ---- generators (jinja_gen.c): lazy as in Python, so that an error in an item nobody asks for stays unseen -------- */

enum rf_jgen_op {
    RF_JGEN_MAP_ATTR, RF_JGEN_MAP_FILTER, RF_JGEN_SELECT, RF_JGEN_UNIQUE, RF_JGEN_BATCH, RF_JGEN_ITEMS, RF_JGEN_WALK,
    RF_JGEN_REVERSED, RF_JGEN_FOR_TEST,
};
struct rf_jgen {
    enum rf_jgen_op op;
    struct rf_jiter it;
    struct rf_jv attr;            /* attribute path, or MISSING */
    struct rf_jv fallback;        /* default of map, fill of batch; or MISSING */
    const struct rf_jstr *name;   /* filter or test */
    struct rf_jargs args;
    bool want;                    /* SELECT: keeps where the test is this */
    bool case_sensitive;
    size_t at, n;                 /* BATCH: items per batch; REVERSED: items left */
    struct rf_jdict *seen;        /* UNIQUE */
    const struct rf_jnode *node;  /* FOR_TEST: the for statement */
    struct rf_jenv *env;
    bool running;
};
rf_status rf_jinja_gen(struct rf_jinja *J, enum rf_jgen_op op, struct rf_jv of, struct rf_jgen **g, struct rf_jv *out);
rf_status rf_jinja_gen_next(struct rf_jinja *J, struct rf_jgen *g, struct rf_jv *out, bool *more);
/* item.a.b.0 for the path "a.b.0" (or an integer); MISSING path gives the item. */
rf_status rf_jinja_path(struct rf_jinja *J, struct rf_jv item, struct rf_jv path, struct rf_jv fallback, struct rf_jv *out);
rf_status rf_jinja_fold(struct rf_jinja *J, struct rf_jv v, struct rf_jv *out); /* lower case if a string */

#endif
