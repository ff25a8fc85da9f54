/* engine.h - struct rf_engine. Private to this room.
 *
 * One thread owns sequences, blocks, scheduler, sampler and the runner. Others post requests to its mailbox and flag
 * aborts; `lock` guards what both touch (marked so below) and is never held during a forward pass or a callback.
 * When a step hangs, the watchdog's thread becomes the owner, under `lock` (watch.c), and ends all requests.
 */
#ifndef RF_ENGINE_ENGINE_H
#define RF_ENGINE_ENGINE_H

#include <pthread.h>

#include "engine/box.h"
#include "engine/request.h"
#include "sample/sample.h"

enum { RF_ENGINE_HASH = 1024 };

/* A step that has begun and not ended. Where a device works on its own, a second one may begin behind it. */
struct rf_flight {
    struct rf_sched_item *item; /* [max_seqs] a copy of the plan's; seq is NULL for a request that has ended since */
    uint32_t n_item, n_tok, n_prefill;
    double since;
    bool open;    /* each row is chosen on the device, none needs to be known for the next choice: that may begin */
    bool counted; /* the scheduler takes its tokens for computed */
};

struct rf_engine {
    /* Fixed after create. */
    struct rf_model *model;
    struct rf_req_limits limits;
    int32_t *eog;
    uint32_t n_group, max_seqs, max_step_tokens, max_out, n_block, max_queue;
    bool plans_ahead;
    uint64_t max_queue_tokens;
    pthread_t thread, watcher;
    double step_timeout_s;                    /* 0: nobody watches */
    bool has_lock, has_wake, has_news, has_tick, has_thread, has_watcher;

    /* The engine's thread alone. */
    struct rf_runner *runner;
    struct rf_kv *kv;
    struct rf_sched *sched;
    struct rf_sampler *sampler;
    int32_t *tok, *pos, *seq_first, *bulk_end, *out_row; /* inputs of a step, laid out once */
    struct rf_flight flight[2];
    uint32_t first_flight, n_flight;          /* the one that ends next; under way */
    double t_ended;                           /* when the last step did */
    struct rf_req **untold;                   /* [max_seqs] requests with something to tell; NULL: told meanwhile */
    uint32_t n_untold;
    struct rf_choice *choice;                 /* [max_out]; NULL where the device does not choose */
    int32_t *table[RF_MAX_KV_GROUPS];         /* [max_seqs][blocks of max_model_len] */
    struct rf_stats now;                      /* published at the end of each step */
    uint64_t started_tokens;                  /* prompt tokens that left the queue since then */
    bool gave_up;                             /* came back from a step that had hung: owns nothing any more */

    /* Guarded by lock. */
    pthread_mutex_t lock;
    pthread_cond_t wake;                      /* the engine's thread waits for work */
    pthread_cond_t news;                      /* others wait for the end of requests (box.h: for events) */
    struct rf_req *mail_first, *mail_last;
    struct rf_req *live[RF_ENGINE_HASH];      /* by id, from submit to the last event */
    struct rf_box *box[RF_ENGINE_HASH];       /* by id, from submit until the last event is fetched */
    uint64_t next_id, seed, waiting_tokens, n_rejected;
    uint32_t n_live, n_pollers;
    bool any_aborted, draining, abort_all, stopping;
    pthread_cond_t tick;                      /* the watchdog waits for a step, or for the end */
    double step_since;                        /* when the running forward pass began; 0: none runs */
    bool watch_idle, watch_stop, hung;
    struct rf_stats stats;
};

/* step.c: plans, runs and tells one step. */
void rf_engine_step(struct rf_engine *e);
/* step.c: when no request is left: tells what is untold, then waits for steps that still run for requests that are gone. */
void rf_engine_land(struct rf_engine *e);
/* step.c: sends the events that the last step left: while the next one runs on a device, or now. */
void rf_engine_tell_untold(struct rf_engine *e);
/* step.c: ends a request with its last event; err only for RF_FINISH_ERROR. r is gone after it. */
void rf_engine_finish(struct rf_engine *e, struct rf_req *r, enum rf_finish why, int32_t stop_token, const struct rf_error *err);

/* step.c: ends all requests, running and waiting, with an error. */
void rf_engine_fail_everyone(struct rf_engine *e, const struct rf_error *err);

/* watch.c: the watchdog over forward passes. begin and end go around each; gave_up is set at the end of one that had hung. */
rf_status rf_engine_watch_start(struct rf_engine *e, struct rf_error *err);
void rf_engine_watch_begin(struct rf_engine *e);
void rf_engine_watch_end(struct rf_engine *e);
void rf_engine_watch_stop(struct rf_engine *e); /* joins the watchdog; nothing is watched from then on */

/* engine.c: hands an event to its callback or box; takes the request out of the shared tables. */
void rf_engine_tell(struct rf_engine *e, const struct rf_req *r, struct rf_event *ev);
void rf_engine_retire(struct rf_engine *e, struct rf_req *r);

/* stats.c */
void rf_histogram_add(struct rf_histogram *h, bool of_tokens, double v);

#endif
