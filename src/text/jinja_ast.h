/* jinja_ast.h - tokens and syntax tree of a chat template. Everything lives in the template's arena and never changes
 * after parsing, so that many renders may walk it at once.
 */
#ifndef RF_TEXT_JINJA_AST_H
#define RF_TEXT_JINJA_AST_H

#include "text/jinja_value.h"

enum rf_jtok_kind {
    RF_JT_EOF, RF_JT_DATA, RF_JT_VAR_BEGIN, RF_JT_VAR_END, RF_JT_BLOCK_BEGIN, RF_JT_BLOCK_END,
    RF_JT_NAME, RF_JT_STRING, RF_JT_INT, RF_JT_FLOAT,
    RF_JT_ADD, RF_JT_SUB, RF_JT_MUL, RF_JT_DIV, RF_JT_FLOORDIV, RF_JT_MOD, RF_JT_POW, RF_JT_TILDE,
    RF_JT_LBRACKET, RF_JT_RBRACKET, RF_JT_LPAREN, RF_JT_RPAREN, RF_JT_LBRACE, RF_JT_RBRACE,
    RF_JT_EQ, RF_JT_NE, RF_JT_GT, RF_JT_GTEQ, RF_JT_LT, RF_JT_LTEQ,
    RF_JT_ASSIGN, RF_JT_DOT, RF_JT_COLON, RF_JT_PIPE, RF_JT_COMMA, RF_JT_SEMICOLON,
    RF_JT_IN, RF_JT_NOTIN, /* operators of a comparison; the lexer gives names */
};

struct rf_jtok {
    enum rf_jtok_kind kind;
    uint32_t line;
    const char *p; /* NAME, DATA: source text; STRING: decoded */
    size_t len;
    struct rf_jv num; /* INT, FLOAT */
};

/* Cuts the source into tokens. Newlines must be '\n' already. *out is an array in the arena that ends with EOF. */
rf_status rf_jinja_lex(struct rf_arena *a, const char *src, size_t len, struct rf_jtok **out, struct rf_error *err);
/* After a NULL of the arena while reading line `line`: RF_TOO_LARGE if the template outgrew it, else RF_NOMEM. */
rf_status rf_jinja_no_room(const struct rf_arena *a, uint32_t line, struct rf_error *err);
bool rf_jinja_is_space(uint32_t cp); /* Python's str.isspace for one character */
bool rf_jinja_is_printable(uint32_t cp); /* str.isprintable */

enum rf_jnode_kind {
    RF_JN_CONST,   /* value */
    RF_JN_NAME,    /* sym */
    RF_JN_TUPLE, RF_JN_LIST, /* list[n] */
    RF_JN_DICT,    /* list[n]: key, value, key, value ... */
    RF_JN_NOT, RF_JN_NEG, RF_JN_POS, /* a */
    RF_JN_AND, RF_JN_OR,             /* a, b */
    RF_JN_BIN,     /* a op b */
    RF_JN_CONCAT,  /* list[n] */
    RF_JN_COMPARE, /* a, then list[n] with ops[n] */
    RF_JN_COND,    /* a if b else c (c may be NULL) */
    RF_JN_ATTR,    /* a.value */
    RF_JN_ITEM,    /* a[b] */
    RF_JN_SLICE,   /* a:b:c, each may be NULL */
    RF_JN_CALL,    /* a(args) */
    RF_JN_FILTER,  /* a | value(args); a is NULL in filter blocks */
    RF_JN_TEST,    /* a is value(args) */
    RF_JN_NSREF,   /* sym.value as a target of set */

    RF_JN_DATA,    /* value */
    RF_JN_OUTPUT,  /* a */
    RF_JN_IF,      /* list[n]: condition, body, condition, body ...; a: else body or NULL */
    RF_JN_FOR,     /* a target, b iterable, c condition or NULL, list[0] body, list[1] else or NULL */
    RF_JN_SET,     /* a target, b value */
    RF_JN_SETBLOCK, /* a target, b filter chain or NULL, c body */
    RF_JN_MACRO,   /* sym, macro */
    RF_JN_CALLBLOCK, /* a call, macro */
    RF_JN_FILTERBLOCK, /* b filter chain, c body */
    RF_JN_WITH,    /* list[n]: target, value ...; c body */
    RF_JN_SCOPE,   /* c body in a scope of its own: generation, autoescape; op 1: a block, which sees only what the top level has */
    RF_JN_BREAK, RF_JN_CONTINUE,
    RF_JN_BODY,    /* list[n] statements; scope set where it opens one */
};

struct rf_jscope { /* what one scope of the source refers to; used while parsing and when a scope is entered */
    struct rf_jscope *parent, *next;
    struct rf_jref { uint32_t sym; bool unset_first; } *ref;
    uint32_t n_ref, cap_ref;
    uint32_t *unset; /* these start as undefined even if the request has a variable of that name */
    uint32_t n_unset;
};

struct rf_jargs_ast {
    struct rf_jnode **pos;
    struct rf_jnode **kw_value;
    const struct rf_jstr **kw_name;
    uint32_t n_pos, n_kw;
    struct rf_jnode *star, *star_star;
};

struct rf_jmacro_ast {
    struct rf_jstr *name;
    uint32_t *params;            /* symbols */
    struct rf_jnode **defaults;  /* of the last n_defaults params */
    uint32_t n_params, n_defaults;
    bool uses_caller, uses_kwargs, uses_varargs, explicit_caller;
    struct rf_jscope *scope;
    struct rf_jnode *body;
};

struct rf_jnode {
    uint8_t kind;
    uint8_t op; /* BIN: the token; FOR: 1 if recursive */
    uint32_t line;
    uint32_t sym;
    uint32_t n;
    struct rf_jnode *a, *b, *c;
    struct rf_jnode **list;
    union {
        uint8_t *ops;               /* COMPARE */
        struct rf_jargs_ast *args;  /* CALL, FILTER, TEST */
        struct rf_jscope *scope;    /* BODY */
        struct rf_jmacro_ast *macro;
    };
    struct rf_jv value;
};

enum rf_jsym { /* the first symbols of every template */
    RF_JSYM_LOOP, RF_JSYM_CALLER, RF_JSYM_KWARGS, RF_JSYM_VARARGS, RF_JSYM_SELF, RF_JSYM_FIXED
};

struct rf_jpart { /* a block, which self.name() shows again */
    struct rf_jstr *name;
    struct rf_jnode *body;
    struct rf_jpart *next;
};

struct rf_template {
    struct rf_arena arena;
    struct rf_jnode *body;
    struct rf_jpart *parts;
    struct rf_jstr **sym; /* names by symbol */
    uint32_t n_sym;
};

rf_status rf_jinja_parse(struct rf_template *t, const char *src, size_t len, struct rf_error *err);

/* A string in an arena; counts its characters. The bytes are borrowed. NULL if memory is out. */
struct rf_jstr *rf_jinja_str_make(struct rf_arena *a, const char *p, size_t len, bool trusted);

#endif
