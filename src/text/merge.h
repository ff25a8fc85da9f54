/* merge.h - private: the merge loop of bpe.c and spm.c, written once and instantiated per key function.
 *
 * key(c, word, n, a, b, &id): 32-bit key of merging neighbours a and b (smaller first) and the token they become;
 * RF_TOK_NONE if they do not merge. Must depend on a, b and their place only.
 * note(c, a, b, id): a and b have become neighbours that may merge; the pair to the left of a merge is told before the one to its right.
 */
#ifndef RF_TEXT_MERGE_H
#define RF_TEXT_MERGE_H

#include "text/tok.h"

#define RF_MERGE_SHORT 24 /* symbols; below, a scan beats the heap */

rf_status rf_merge_reserve(struct rf_tok_call *c, size_t n);
rf_status rf_heap_reserve(struct rf_tok_call *c, size_t n);
void rf_heap_push(struct rf_tok_call *c, uint64_t v);
uint64_t rf_heap_pop(struct rf_tok_call *c);
void rf_heap_make(struct rf_tok_call *c); /* of heap[0..n_heap) in any order */
/* True: the word's ids were pushed. Else *slot is where the caller sets count (or s = NULL on failure); may be NULL. */
bool rf_word_recall(struct rf_tok_call *c, const char *s, size_t n, struct rf_word **slot, rf_status *st);

/* In: sym[0..n_sym) with id and off. Out: a list from symbol 0 through next, ended by RF_TOK_NONE. */
#define RF_DEFINE_MERGE(name, key, note)                                                                               \
    static inline void name##_join(struct rf_sym *sym, uint32_t a, uint32_t id)                                        \
    {                                                                                                                  \
        uint32_t b = sym[a].next;                                                                                      \
        sym[a].id = id;                                                                                                \
        sym[a].next = sym[b].next;                                                                                     \
        if (sym[b].next != RF_TOK_NONE) sym[sym[b].next].prev = a;                                                     \
        sym[b].prev = b; /* dead: nothing but symbol 0 has no prev, and 0 never dies */                                \
    }                                                                                                                  \
    static inline uint32_t name##_ask(struct rf_tok_call *c, const char *w, size_t n, const struct rf_sym *a,          \
                                      const struct rf_sym *b, uint32_t *id)                                            \
    {                                                                                                                  \
        uint32_t k = key(c, w, n, a, b, id);                                                                           \
        if (k != RF_TOK_NONE) note(c, a, b, *id);                                                                      \
        return k;                                                                                                      \
    }                                                                                                                  \
    static void name##_merge_short(struct rf_tok_call *c, const char *w, size_t n, uint32_t n_sym)                     \
    {                                                                                                                  \
        struct rf_sym *sym = c->sym;                                                                                   \
        uint32_t rank[RF_MERGE_SHORT], to[RF_MERGE_SHORT];                                                             \
        for (uint32_t i = 0; i < n_sym; i++)                                                                           \
            rank[i] = i + 1 < n_sym ? name##_ask(c, w, n, &sym[i], &sym[i + 1], &to[i]) : RF_TOK_NONE;                 \
        for (;;) {                                                                                                     \
            uint32_t at = 0;                                                                                           \
            for (uint32_t i = sym[0].next; i != RF_TOK_NONE; i = sym[i].next)                                          \
                if (rank[i] < rank[at]) at = i;                                                                        \
            if (rank[at] == RF_TOK_NONE) return;                                                                       \
            name##_join(sym, at, to[at]);                                                                              \
            uint32_t nx = sym[at].next, pv = sym[at].prev;                                                             \
            if (pv != RF_TOK_NONE) rank[pv] = name##_ask(c, w, n, &sym[pv], &sym[at], &to[pv]);                        \
            rank[at] = nx != RF_TOK_NONE ? name##_ask(c, w, n, &sym[at], &sym[nx], &to[at]) : RF_TOK_NONE;             \
        }                                                                                                              \
    }                                                                                                                  \
    static rf_status name##_merge(struct rf_tok_call *c, const char *w, size_t n, uint32_t n_sym)                      \
    {                                                                                                                  \
        struct rf_sym *sym = c->sym;                                                                                   \
        for (uint32_t i = 0; i < n_sym; i++) {                                                                         \
            sym[i].prev = i ? i - 1 : RF_TOK_NONE;                                                                     \
            sym[i].next = i + 1 < n_sym ? i + 1 : RF_TOK_NONE;                                                         \
        }                                                                                                              \
        if (n_sym < 2) return RF_OK;                                                                                   \
        if (n_sym <= RF_MERGE_SHORT) {                                                                                 \
            name##_merge_short(c, w, n, n_sym);                                                                        \
            return RF_OK;                                                                                              \
        }                                                                                                              \
        RF_TRY(rf_heap_reserve(c, 3 * (size_t)n_sym));                                                                 \
        c->n_heap = 0;                                                                                                 \
        uint32_t id = 0;                                                                                               \
        for (uint32_t i = 0; i + 1 < n_sym; i++) {                                                                     \
            uint32_t k = name##_ask(c, w, n, &sym[i], &sym[i + 1], &id);                                               \
            if (k != RF_TOK_NONE) c->heap[c->n_heap++] = (uint64_t)k << 32 | i;                                        \
        }                                                                                                              \
        rf_heap_make(c);                                                                                               \
        while (c->n_heap) {                                                                                            \
            uint64_t top = rf_heap_pop(c);                                                                             \
            uint32_t at = (uint32_t)top, k;                                                                            \
            if (sym[at].prev == at || sym[at].next == RF_TOK_NONE) continue;                                           \
            if (key(c, w, n, &sym[at], &sym[sym[at].next], &id) != (uint32_t)(top >> 32)) continue;                    \
            name##_join(sym, at, id);                                                                                  \
            uint32_t nx = sym[at].next, pv = sym[at].prev;                                                             \
            if (pv != RF_TOK_NONE && (k = name##_ask(c, w, n, &sym[pv], &sym[at], &id)) != RF_TOK_NONE)                \
                rf_heap_push(c, (uint64_t)k << 32 | pv);                                                               \
            if (nx != RF_TOK_NONE && (k = name##_ask(c, w, n, &sym[at], &sym[nx], &id)) != RF_TOK_NONE)                \
                rf_heap_push(c, (uint64_t)k << 32 | at);                                                               \
        }                                                                                                              \
        return RF_OK;                                                                                                  \
    }

#endif
