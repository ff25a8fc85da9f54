/* box.h - events that wait for rf_engine_poll: one box per request without a callback. Private to this room.
 *
 * Token events that nobody has fetched yet are joined into one, so a box never holds more than the request's own output.
 * Not locked: the engine's lock guards every box.
 */
#ifndef RF_ENGINE_BOX_H
#define RF_ENGINE_BOX_H

#include <pthread.h>

#include "base/status.h"

struct rf_box_event;

struct rf_box {
    uint64_t id;
    struct rf_box_event *first, *last, *final; /* final was made at creation: the end can always be told */
    bool ended, lost;                          /* lost: memory ran out for an event; the final one says so */
    pthread_cond_t news;                       /* so that only those who wait for this request wake up */
    uint32_t n_waiting;                        /* threads in rf_engine_poll: the box stays until they have left */
    struct rf_box *hash_next;
};

struct rf_box *rf_box_create(void);
void rf_box_free(struct rf_box *b);
void rf_box_put(struct rf_box *b, const struct rf_event *ev);
/* The oldest event (rf_event_free), or NULL. *last says that nothing comes after it. */
struct rf_event *rf_box_take(struct rf_box *b, bool *last);

#endif
