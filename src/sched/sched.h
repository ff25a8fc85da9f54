/* sched.h - who computes what in the next step.
 *
 * Pure: no clock, no threads, no device. It owns the order of sequences and asks src/kv for blocks.
 *
 * A step has one token budget. In it come first the decodes (one token each), then chunks of running prefills, then
 * waiting sequences, each class in order of (priority, arrival). Nothing waits for a fuller batch. A sequence that was
 * preempted keeps its place in that order and its tokens; they are prefilled again like a prompt.
 *
 * When the pool is full, the last running sequence in that order is preempted: its blocks go (they stay in the prefix
 * index while nobody needs them) and it waits. A waiting one is admitted only if all its tokens fit beside what running
 * prefills still need, and never in a step that preempted; the first that does not fit holds back those behind it, so
 * that a long prompt is not starved by short ones. Alone, it is always admitted: whoever adds a sequence has checked
 * that rf_kv_need of its longest possible length is within the pool.
 *
 * Thread: engine, no locks. Only create allocates.
 */
#ifndef RF_SCHED_SCHED_H
#define RF_SCHED_SCHED_H

#include "kv/table.h"

struct rf_sched;

enum rf_sched_state { RF_SCHED_OUT, RF_SCHED_WAITING, RF_SCHED_RUNNING };

/* One sequence; the caller's memory, embedded in whatever it keeps about a request. */
struct rf_sched_seq {
    /* The caller's; changed only between plans. */
    const int32_t *token; /* [n_token] prompt and all generated so far */
    uint32_t n_token;
    uint32_t want_from;   /* logits are wanted for tokens from here on; < n_token (n_token - 1: the last alone) */
    int32_t priority;     /* smaller runs sooner */
    double deadline;      /* on the caller's clock; 0: none */
    uint64_t salt;

    /* The scheduler's; read only. */
    enum rf_sched_state state;
    uint64_t arrival;
    uint32_t kv;          /* of rf_kv_*, while running */
    uint32_t n_cached;    /* tokens that the prefix index saved at the last admission */
    uint32_t n_preempted;
    bool admitted;        /* has run at least once */
    int32_t item;         /* place in the plan being made, -1 */
    struct rf_sched_seq *prev, *next;
};

struct rf_sched_options { uint32_t max_seqs, max_step_tokens, max_out; }; /* max_out >= max_seqs */

/* Tokens from..from+n-1 of seq are computed; the last n_out of them give logits. seq is NULL for a place that was given up. */
struct rf_sched_item { struct rf_sched_seq *seq; uint32_t from, n, n_out; };

struct rf_sched_plan {
    struct rf_sched_item *item; /* [n_item] decodes first; borrowed until the next plan */
    uint32_t n_item, n_tok, n_out;
    uint32_t n_preempted;       /* by this plan */
};

rf_status rf_sched_create(struct rf_sched **out, const struct rf_sched_options *opt, struct rf_kv *kv, struct rf_error *err);
void rf_sched_free(struct rf_sched *s);

void rf_sched_add(struct rf_sched *s, struct rf_sched_seq *seq);    /* joins the waiting ones */
void rf_sched_remove(struct rf_sched *s, struct rf_sched_seq *seq); /* leaves, its blocks free at once; fine if out */
/* A sequence whose deadline is at or before now, or NULL. */
struct rf_sched_seq *rf_sched_expired(struct rf_sched *s, double now);

/* Plans a step and reserves its blocks. n_item 0: nothing to do (or, rarely, everything was preempted: plan again). */
const struct rf_sched_plan *rf_sched_plan_make(struct rf_sched *s);
/* The plan's tokens have been computed. Not called after a failed step. */
void rf_sched_plan_commit(struct rf_sched *s);

/* A step ahead: while one is under way, its tokens may count as computed (advance), its sequences may get a token that nobody knows yet, and
 * the next plan may be made. Not before rf_sched_may_plan_ahead: nobody is preempted while its blocks are in use. When the step has ended, index
 * lets others find what it computed; item[n_item] is a copy of the plan, seq NULL where the sequence left since. */
bool rf_sched_may_plan_ahead(const struct rf_sched *s);
void rf_sched_plan_advance(struct rf_sched *s);
void rf_sched_index(struct rf_sched *s, const struct rf_sched_item *item, uint32_t n_item);

uint32_t rf_sched_n_waiting(const struct rf_sched *s);
uint32_t rf_sched_n_running(const struct rf_sched *s);
struct rf_sched_seq *rf_sched_first(const struct rf_sched *s, enum rf_sched_state which); /* then ->next; NULL if none */
bool rf_sched_check(const struct rf_sched *s); /* walks everything; for tests */

#endif
