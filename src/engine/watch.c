/* watch.c - the watchdog: a forward pass that does not end means that the device, or its driver, hangs.
 *
 * The engine's thread cannot be helped then. Under the lock, with step_since still set, the watchdog takes over all that the thread owns: it
 * ends every request with an error, and from then on the engine takes none. Should the thread come back, it finds `hung` and leaves
 * without touching anything.
 */
#include <math.h>

#include "base/clock.h"
#include "base/mem.h"
#include "engine/engine.h"

void rf_engine_watch_begin(struct rf_engine *e)
{
    if (!e->has_watcher) return;
    pthread_mutex_lock(&e->lock);
    e->step_since = rf_now();
    if (e->watch_idle) pthread_cond_signal(&e->tick);
    pthread_mutex_unlock(&e->lock);
}

void rf_engine_watch_end(struct rf_engine *e)
{
    if (!e->has_watcher) return;
    pthread_mutex_lock(&e->lock);
    e->step_since = 0;
    e->gave_up = e->hung;
    pthread_mutex_unlock(&e->lock);
}

/* Owner from here on. */
static void end_all(struct rf_engine *e, struct rf_req *mail)
{
    struct rf_error err;
    for (struct rf_req *r = mail, *next; r; r = next) {
        next = r->next;
        rf_sched_add(e->sched, &r->seq);
    }
    e->now.n_failed_steps++;
    rf_fail(&err, RF_DEVICE, "%s: a step did not end within %g s (--step-timeout): the device or its driver hangs", e->model->backend->info.name,
            e->step_timeout_s);
    rf_engine_fail_everyone(e, &err);
}

static void *watch_main(void *arg)
{
    struct rf_engine *e = arg;
    pthread_mutex_lock(&e->lock);
    while (!e->watch_stop && !e->hung) {
        double now = rf_now(), end = e->step_since + e->step_timeout_s;
        e->watch_idle = !e->step_since;
        if (e->watch_idle) {
            pthread_cond_wait(&e->tick, &e->lock);
        } else if (now >= end) {
            e->hung = true;
        } else {
            struct timespec until = {.tv_sec = (time_t)floor(end), .tv_nsec = (long)((end - floor(end)) * 1e9)};
            pthread_cond_timedwait(&e->tick, &e->lock, &until);
        }
    }
    bool hung = e->hung;
    struct rf_req *mail = e->mail_first;
    if (hung) e->mail_first = e->mail_last = NULL;
    pthread_mutex_unlock(&e->lock);
    if (hung) end_all(e, mail);
    return NULL;
}

rf_status rf_engine_watch_start(struct rf_engine *e, struct rf_error *err)
{
    if (!(e->step_timeout_s > 0)) return RF_OK;
    e->has_watcher = !pthread_create(&e->watcher, NULL, watch_main, e);
    return e->has_watcher ? RF_OK : rf_fail(err, RF_NOMEM, "watchdog thread: no thread to be had");
}

void rf_engine_watch_stop(struct rf_engine *e)
{
    if (!e->has_watcher) return;
    pthread_mutex_lock(&e->lock);
    e->watch_stop = true;
    pthread_cond_signal(&e->tick);
    pthread_mutex_unlock(&e->lock);
    pthread_join(e->watcher, NULL);
}
