/* worker.c - a few threads that parse, render and tokenise, so that a long prompt never stops the event loop. */
#include <string.h>

#include "serve/internal.h"

static void *work(void *arg)
{
    struct rf_serve *s = arg;
    pthread_mutex_lock(&s->work.lock);
    for (;;) {
        while (!s->work.head && !s->work.stop) pthread_cond_wait(&s->work.more, &s->work.lock);
        struct rf_job *j = s->work.head;
        if (!j) break; /* stop, and nothing is left */
        s->work.head = j->next;
        if (!s->work.head) s->work.tail = &s->work.head;
        s->work.n--;
        pthread_mutex_unlock(&s->work.lock);
        struct rf_call *c = j->call; /* j is the call's own and may be queued again from inside run */
        j->run(c);
        rf_serve_call_unref(c);
        pthread_mutex_lock(&s->work.lock);
    }
    pthread_mutex_unlock(&s->work.lock);
    return NULL;
}

rf_status rf_serve_work_start(struct rf_serve *s, struct rf_error *err)
{
    pthread_mutex_init(&s->work.lock, NULL);
    pthread_cond_init(&s->work.more, NULL);
    s->work.tail = &s->work.head;
    uint32_t want = RF_MIN(s->opt.n_workers, (uint32_t)RF_COUNT(s->work.thread));
    for (uint32_t i = 0; i < want; i++) {
        int e = pthread_create(&s->work.thread[i], NULL, work, s);
        if (e) return rf_fail(err, RF_IO, "server: cannot start a worker thread: %s", strerror(e));
        s->work.n_threads++;
    }
    return RF_OK;
}

void rf_serve_work_stop(struct rf_serve *s)
{
    if (!s->work.tail) return;
    pthread_mutex_lock(&s->work.lock);
    s->work.stop = true;
    pthread_cond_broadcast(&s->work.more);
    pthread_mutex_unlock(&s->work.lock);
    for (uint32_t i = 0; i < s->work.n_threads; i++) pthread_join(s->work.thread[i], NULL);
    s->work.n_threads = 0;
    pthread_mutex_destroy(&s->work.lock);
    pthread_cond_destroy(&s->work.more);
    s->work.tail = NULL;
}

rf_status rf_serve_work_post(struct rf_serve *s, struct rf_call *c, void (*run)(struct rf_call *c), bool force)
{
    struct rf_job *j = &c->job;
    pthread_mutex_lock(&s->work.lock);
    if (!force && s->work.n >= s->opt.max_pending) {
        pthread_mutex_unlock(&s->work.lock);
        return RF_FULL;
    }
    rf_serve_call_ref(c);
    *j = (struct rf_job){c, run, NULL};
    *s->work.tail = j;
    s->work.tail = &j->next;
    s->work.n++;
    pthread_cond_signal(&s->work.more);
    pthread_mutex_unlock(&s->work.lock);
    return RF_OK;
}
