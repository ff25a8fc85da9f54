/* regex_ast.h - private to regex.c, regex_parse.c and regex_vet.c: the parsed pattern. */
#ifndef RF_TEXT_REGEX_AST_H
#define RF_TEXT_REGEX_AST_H

#include "text/regex.h"

#define RX_MAX_NODES 8192
#define RX_MAX_ITEMS 4096
#define RX_MAX_CLASSES 512
#define RX_MAX_DEPTH 64
#define RX_INF UINT32_MAX

enum rx_kind { RX_EMPTY, RX_CLASS, RX_CAT, RX_ALT, RX_REP, RX_ASSERT };

struct rx_node {
    uint8_t kind;
    bool lazy, possessive;
    uint32_t min, max;   /* REP */
    uint32_t cls;        /* CLASS, ASSERT: the set the next character must be of */
    bool end_ok;         /* ASSERT: also holds at the end of the text */
    int child, next;     /* children of CAT and ALT are a list; -1 ends it */
};

/* One part of a class: a set of categories, a range, or another class. */
enum rx_item_kind { RX_I_CATS, RX_I_RANGE, RX_I_CLASS };
struct rx_item { enum rx_item_kind kind; uint32_t a, b; int next; };
struct rx_class {
    int items;           /* list, -1 ends it */
    int and_cls;         /* this && that, -1 */
    bool neg;            /* of the whole, && included */
};

struct rx {
    struct rx_node node[RX_MAX_NODES];
    struct rx_item item[RX_MAX_ITEMS];
    struct rx_class cls[RX_MAX_CLASSES];
    uint32_t n_node, n_item, n_cls;
    int root;
};

/* False: outside the dialect (PCRE2 may know it). */
bool rx_parse(struct rx *r, const char *pat, size_t n);
/* Appends to out what PCRE2 reads as Oniguruma reads pat. NULL, or what stands there that has no such spelling (out is then of no use). */
struct rf_buf;
const char *rx_vet(const char *pat, size_t n, struct rf_buf *out);
/* The categories of \p{name}; false: no such property of categories. */
bool rx_prop_cats(const char *name, uint32_t *cats);
/* Do these two letters fold as one character does (U+00DF, U+FB00 to U+FB06)? Oniguruma then matches that too under (?i). */
bool rx_fold_together(uint32_t a, uint32_t b);
/* Is a character of category cat at cp in the class? */
bool rx_class_has(const struct rx *r, uint32_t cls, uint32_t cp, unsigned cat);

#endif
