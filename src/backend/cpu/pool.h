/* pool.h - the CPU backend's threads: one job at a time, run by all of them, the caller included as thread 0.
 *
 * Workers spin briefly for the next job (about 50 us), then sleep on a futex: no busy CPU when idle.
 */
#ifndef RF_BACKEND_CPU_POOL_H
#define RF_BACKEND_CPU_POOL_H

#include "base/status.h"

struct rf_pool;
typedef void (*rf_pool_fn)(void *ctx, unsigned tid, unsigned n_threads);

/* Cores this process may use: its affinity mask, cut by the cgroup's CPU quota (v1 or v2, rounded up). At least 1. */
unsigned rf_pool_usable_cores(void);

rf_status rf_pool_create(struct rf_pool **out, unsigned n_threads, struct rf_error *err); /* n_threads >= 1 */
void rf_pool_free(struct rf_pool *p);
unsigned rf_pool_size(const struct rf_pool *p);
void rf_pool_run(struct rf_pool *p, rf_pool_fn fn, void *ctx); /* returns when every thread has returned */
void rf_pool_barrier(struct rf_pool *p);                       /* inside fn: all threads of the running job meet */
/* Dynamic sharing of n items inside a job: hands out [*from, *to) of at most `grain` items, false when none is left.
 * The counter restarts with each run and with each rf_pool_barrier. */
bool rf_pool_next(struct rf_pool *p, size_t n, size_t grain, size_t *from, size_t *to);

#endif
