/* table.h - the block tables of running sequences, one per cache group, over one pool and one prefix index.
 *
 * A group is a set of layers that share block tables: full attention (window 0) keeps every block; a sliding window of w
 * tokens needs positions p-w+1..p for position p, and blocks wholly behind that are given back (entry -1).
 *
 * The life of a sequence: open -> match (take over cached blocks) -> { reserve -> [the forward pass] -> commit }* -> close.
 * Only commit says that tokens have been computed, so a step that fails leaves nothing to undo (but for advance, whose tokens nobody else has
 * heard of before index).
 *
 * A block that others use or the index knows is never written: reserve takes a private copy (rf_kv_copies lists it; the
 * engine copies before the forward pass), or, where this sequence is the only user, takes it out of the index.
 *
 * Thread: engine, no locks. Only create allocates.
 */
#ifndef RF_KV_TABLE_H
#define RF_KV_TABLE_H

#include "kv/pool.h"
#include "kv/prefix.h"

enum { RF_KV_MAX_GROUPS = 16 };
#define RF_KV_NO_SEQ UINT32_MAX

struct rf_kv;

struct rf_kv_options {
    uint32_t n_block;
    uint32_t n_group;
    uint32_t window[RF_KV_MAX_GROUPS]; /* 0: full attention */
    uint32_t max_seqs;                 /* open at once */
    uint32_t max_tokens;               /* of one sequence */
    uint32_t max_step_tokens;          /* of one sequence in one step */
    bool no_prefix;
    unsigned hash_bits;                /* of the prefix index; 0: all (tests shorten it) */
};

rf_status rf_kv_create(struct rf_kv **out, const struct rf_kv_options *opt, struct rf_error *err);
void rf_kv_free(struct rf_kv *kv);

/* Most blocks that one sequence of n tokens ever holds at once. */
uint32_t rf_kv_need(const struct rf_kv *kv, uint32_t n_token);
/* The same before there is a pool: n_group, window and max_step_tokens are read. */
uint32_t rf_kv_options_need(const struct rf_kv_options *opt, uint32_t n_token);
uint32_t rf_kv_available(const struct rf_kv *kv); /* free or idle */
uint32_t rf_kv_n_group(const struct rf_kv *kv);

/* Opens an empty sequence; RF_FULL when max_seqs are open. */
rf_status rf_kv_open(struct rf_kv *kv, uint64_t salt, uint32_t *seq);
/* Takes over the longest cached prefix of an empty sequence. Positions from want_from (<= n_token) on are not taken, so
 * that the forward pass gives their logits. Returns the number of tokens that need not be computed. */
uint32_t rf_kv_match(struct rf_kv *kv, uint32_t seq, const int32_t *token, uint32_t n_token, uint32_t want_from);
/* Makes positions computed..upto-1 writable. RF_FULL: not enough blocks; what was got stays with the sequence. */
rf_status rf_kv_reserve(struct rf_kv *kv, uint32_t seq, uint32_t upto);
/* token[0..upto-1] are computed now: indexes full blocks, gives back those behind the window. */
void rf_kv_commit(struct rf_kv *kv, uint32_t seq, const int32_t *token, uint32_t upto);
/* Its halves, where steps are planned before the one under way has ended: tokens count as computed, and what a window gives back may be
 * written by steps that begin later; full blocks of tokens that have been computed are indexed. */
void rf_kv_advance(struct rf_kv *kv, uint32_t seq, uint32_t upto);
void rf_kv_index(struct rf_kv *kv, uint32_t seq, const int32_t *token, uint32_t upto);
void rf_kv_close(struct rf_kv *kv, uint32_t seq);

uint32_t rf_kv_computed(const struct rf_kv *kv, uint32_t seq);
/* Blocks that are still to be taken until n_token tokens fit. */
uint32_t rf_kv_missing(const struct rf_kv *kv, uint32_t seq, uint32_t n_token);
/* Entry i holds tokens 16*i..16*i+15; *n entries. Borrowed until the next call that changes the sequence. */
const int32_t *rf_kv_table(const struct rf_kv *kv, uint32_t seq, uint32_t group, uint32_t *n);

/* Copies to make before the next forward pass, in any order; then rf_kv_copies_done. */
uint32_t rf_kv_copies(const struct rf_kv *kv, const int32_t **from, const int32_t **to);
void rf_kv_copies_done(struct rf_kv *kv);

const struct rf_kv_pool *rf_kv_pool(const struct rf_kv *kv);
const struct rf_kv_prefix *rf_kv_prefix(const struct rf_kv *kv);
bool rf_kv_check(const struct rf_kv *kv); /* walks everything; for tests */

#endif
