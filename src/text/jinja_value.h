/* jinja_value.h - the values of the template interpreter: small copies that point into an arena.
 *
 * Strings are UTF-8 and immutable, and each byte knows whether it came from the template (trusted) or from the request.
 * A slice shares its parent's bytes; a concatenation grows in place when its left side ends its block, so that building
 * a prompt piece by piece stays linear. Lists work the same way. Only namespaces, cyclers, joiners, loops and generators
 * have state; no other value can change, as in Jinja's immutable sandbox.
 */
#ifndef RF_TEXT_JINJA_VALUE_H
#define RF_TEXT_JINJA_VALUE_H

#include "base/arena.h"
#include "base/status.h"

enum rf_jv_kind {
    RF_JV_MISSING, /* no value: an argument not given, a variable not set; never seen by a template */
    RF_JV_UNDEF,
    RF_JV_NONE,
    RF_JV_BOOL,
    RF_JV_INT,
    RF_JV_BIGINT, /* an integer of the request beyond 64 bits: can be printed and compared with ==, no arithmetic */
    RF_JV_FLOAT,
    RF_JV_STR,
    RF_JV_LIST,
    RF_JV_TUPLE,
    RF_JV_DICT,
    RF_JV_RANGE,
    RF_JV_VIEW, /* dict.keys(), .values(), .items() */
    RF_JV_GEN,  /* a lazy sequence that can be walked once */
    RF_JV_NAMESPACE,
    RF_JV_LOOP,
    RF_JV_MACRO,
    RF_JV_GLOBAL, /* a built-in function */
    RF_JV_METHOD, /* a built-in method bound to its object */
    RF_JV_CYCLER,
    RF_JV_JOINER,
    RF_JV_SELF, /* `self`, or one of its blocks */
};

struct rf_jv {
    uint8_t kind;
    bool from_data; /* numbers: came from the request, so their digits are not trusted text */
    union {
        bool b;
        int64_t i;
        double f;
        struct rf_jstr *s;         /* STR, BIGINT */
        struct rf_jlist *l;        /* LIST, TUPLE */
        struct rf_jdict *d;        /* DICT, NAMESPACE */
        struct rf_jrange *r;
        struct rf_jview *view;
        struct rf_jgen *gen;
        struct rf_jloop *loop;
        struct rf_jmacro *macro;
        struct rf_jmethod *method;
        struct rf_jcycler *cycler; /* CYCLER, JOINER */
        const struct rf_jglobal *global;
        const struct rf_jpart *part; /* SELF: the block, NULL for `self` */
        const struct rf_jundef *u;  /* UNDEF: may be NULL */
    };
};

struct rf_jblock { /* bytes that the string at its end may grow into */
    char *p;
    uint8_t *t;
    size_t used, cap;
};

struct rf_jstr {
    const char *p;
    const uint8_t *t; /* 1 per trusted byte; NULL: all are as `trusted` says */
    struct rf_jblock *block;
    uint32_t len, n_chars; /* bytes, code points */
    bool trusted;
    bool markup; /* Python's Markup: escapes what is added to it */
};

struct rf_jroom { size_t used, cap; }; /* of the array behind a list */

struct rf_jlist {
    struct rf_jv *v;
    size_t n;
    struct rf_jroom *room; /* may be NULL */
    bool is_group;         /* a tuple of groupby: has .grouper and .list */
};

struct rf_jentry { struct rf_jv key, value; uint64_t hash; };

struct rf_jdict { /* insertion order; index is used from 9 entries on */
    struct rf_jentry *e;
    uint32_t n, cap;
    uint32_t *index; /* entry + 1, 0 is free; n_index is a power of two */
    uint32_t n_index;
};

struct rf_jrange { int64_t start, stop, step, n; };
struct rf_jview { struct rf_jdict *d; char what; /* 'k', 'v', 'i' */ };
struct rf_jundef { const char *hint; }; /* why: the text of the error when it is used */
struct rf_jmethod { struct rf_jv self; int id; };
struct rf_jcycler { struct rf_jv *v; size_t n, at; };

/* Walks anything iterable. For a generator it shares the generator's state. */
struct rf_jiter { struct rf_jv of; size_t at; };

static inline struct rf_jv rf_jv_none(void) { return (struct rf_jv){.kind = RF_JV_NONE}; }
static inline struct rf_jv rf_jv_missing(void) { return (struct rf_jv){.kind = RF_JV_MISSING}; }
static inline struct rf_jv rf_jv_bool(bool b) { return (struct rf_jv){.kind = RF_JV_BOOL, .b = b}; }
static inline struct rf_jv rf_jv_int(int64_t i) { return (struct rf_jv){.kind = RF_JV_INT, .i = i}; }
static inline struct rf_jv rf_jv_float(double f) { return (struct rf_jv){.kind = RF_JV_FLOAT, .f = f}; }
static inline struct rf_jv rf_jv_str(struct rf_jstr *s) { return (struct rf_jv){.kind = RF_JV_STR, .s = s}; }
static inline bool rf_jv_is_num(struct rf_jv v) /* usable in arithmetic */
{
    return v.kind == RF_JV_INT || v.kind == RF_JV_FLOAT || v.kind == RF_JV_BOOL;
}
static inline bool rf_jv_is_int(struct rf_jv v) { return v.kind == RF_JV_INT || v.kind == RF_JV_BOOL; }
static inline int64_t rf_jv_i64(struct rf_jv v) { return v.kind == RF_JV_BOOL ? v.b : v.i; }
static inline double rf_jv_f64(struct rf_jv v) { return v.kind == RF_JV_FLOAT ? v.f : (double)rf_jv_i64(v); }

#endif
