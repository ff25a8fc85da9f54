#include "backend/gpu/emulator/queue.h"

#include <pthread.h>
#include <stdlib.h>

struct work { struct work *next; int (*run)(void *data); void *data; };
struct pinned { struct pinned *next; size_t bytes; char pad[48], at[]; };
_Static_assert(offsetof(struct pinned, at) == 64, "pinned memory begins at a multiple of 64 bytes");

static struct {
    pthread_mutex_t lock;
    struct work *first, **last;
    uint64_t n_taken, n_done;
    int rc;
    struct pinned *pinned;
} q = {.lock = PTHREAD_MUTEX_INITIALIZER};

bool rf_emu_queue_add(int (*run)(void *data), void *data)
{
    struct work *w = data ? malloc(sizeof *w) : NULL;
    if (!w) {
        free(data);
        return false;
    }
    *w = (struct work){.run = run, .data = data};
    pthread_mutex_lock(&q.lock);
    *(q.first ? q.last : &q.first) = w;
    q.last = &w->next;
    q.n_taken++;
    pthread_mutex_unlock(&q.lock);
    return true;
}

uint64_t rf_emu_queue_end(void)
{
    pthread_mutex_lock(&q.lock);
    uint64_t n = q.n_taken;
    pthread_mutex_unlock(&q.lock);
    return n;
}

int rf_emu_queue_wait(uint64_t upto)
{
    pthread_mutex_lock(&q.lock);
    while (q.first && q.n_done < upto) {
        struct work *w = q.first;
        int rc = w->run(w->data);
        if (!q.rc) q.rc = rc;
        q.first = w->next;
        q.n_done++;
        free(w);
    }
    int rc = q.rc;
    q.rc = 0;
    pthread_mutex_unlock(&q.lock);
    return rc;
}

void *rf_emu_pinned_take(size_t bytes)
{
    struct pinned *p = bytes < SIZE_MAX - 128 ? aligned_alloc(64, (sizeof *p + bytes + 63) & ~(size_t)63) : NULL;
    if (!p) return NULL;
    pthread_mutex_lock(&q.lock);
    p->next = q.pinned;
    p->bytes = bytes;
    q.pinned = p;
    pthread_mutex_unlock(&q.lock);
    return p->at;
}

void rf_emu_pinned_give(void *at)
{
    pthread_mutex_lock(&q.lock);
    struct pinned **link = &q.pinned;
    while (*link && (*link)->at != at) link = &(*link)->next;
    struct pinned *p = *link;
    if (p) *link = p->next;
    pthread_mutex_unlock(&q.lock);
    free(p);
}

bool rf_emu_pinned(const void *at)
{
    pthread_mutex_lock(&q.lock);
    const struct pinned *p = q.pinned;
    while (p && ((const char *)at < p->at || (const char *)at >= p->at + p->bytes)) p = p->next;
    pthread_mutex_unlock(&q.lock);
    return p;
}
