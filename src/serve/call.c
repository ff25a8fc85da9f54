#include <sys/socket.h>

#include "serve/events.h"
#include "serve/internal.h"

struct rf_call *rf_serve_call_create(struct rf_serve *s, struct MHD_Connection *mhd)
{
    struct rf_call *c = rf_alloc_array(1, sizeof *c);
    if (!c) return NULL;
    c->serve = s;
    c->mhd = mhd;
    c->refs = 1;
    c->t0 = rf_now();
    c->created = rf_unix_time();
    pthread_mutex_init(&c->lock, NULL);
    pthread_mutex_lock(&s->lock);
    s->n_calls_alive++;
    c->next = s->calls;
    if (c->next) c->next->prev = c;
    s->calls = c;
    pthread_mutex_unlock(&s->lock);
    return c;
}

void rf_serve_call_ref(struct rf_call *c) { atomic_fetch_add(&c->refs, 1); }

void rf_serve_call_unref(struct rf_call *c)
{
    if (atomic_fetch_sub(&c->refs, 1) != 1) return;
    struct rf_serve *s = c->serve;
    rf_serve_gen_free(c->gen);
    rf_served_put(s, c->on);
    rf_free(c->want);
    json_decref(c->root);
    atomic_fetch_sub(&s->body_bytes, c->body_charged);
    rf_buf_release(&c->body);
    rf_buf_release(&c->log);
    rf_buf_release(&c->reply.body);
    rf_free(c->target);
    rf_free(c->authority);
    pthread_mutex_destroy(&c->lock);
    rf_free(c);
    pthread_mutex_lock(&s->lock);
    s->n_calls_alive--;
    pthread_cond_broadcast(&s->idle);
    pthread_mutex_unlock(&s->lock);
}

void rf_serve_call_header(struct rf_call *c, struct MHD_Response *r, const char *name, const char *value)
{
    c->serve->http.add_response_header(r, name, value);
}

void rf_serve_call_resume_locked(struct rf_call *c)
{
    if (!c->suspended || c->completed) return;
    c->suspended = false;
    c->serve->http.resume_connection(c->mhd);
}

bool rf_serve_call_suspend_locked(struct rf_call *c)
{
    if (atomic_load(&c->serve->closing)) return false;
    c->suspended = true;
    c->serve->http.suspend_connection(c->mhd);
    return true;
}

void rf_serve_call_ready(struct rf_call *c)
{
    pthread_mutex_lock(&c->lock);
    c->phase = RF_PHASE_READY;
    rf_serve_call_resume_locked(c);
    pthread_mutex_unlock(&c->lock);
}

void rf_serve_call_abandon(struct rf_call *c)
{
    pthread_mutex_lock(&c->lock);
    c->gone = true;
    bool abort_now = c->submitted && c->n_live;
    rf_serve_call_resume_locked(c);
    pthread_mutex_unlock(&c->lock);
    if (abort_now) rf_serve_gen_abort(c);
}
