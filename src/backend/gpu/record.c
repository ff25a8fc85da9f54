/* record.c - steps of one shape as recorded launches. Kernels of a step read what changes (tokens, positions, tables) from
 * the plan in device memory, so the same launches with the same arguments do the next step.
 *
 * A recording holds addresses: every release of device memory makes all of them void (rf_gpu.epoch). A shape is recorded the second
 * time it comes, so that the first reply does not wait for it, and what slots allocate on first use is there.
 */
#include <string.h>

#include "backend/gpu/gpu.h"

/* Voids a recording; a step that repeats it may be under way. */
static void drop_launches(struct rf_gpu *g, struct rf_gpu_record *r)
{
    if (!r->exec) return;
    g->dev.vendor->bind(&g->dev);
    g->dev.api.stream_sync(g->stream);
    g->dev.api.graph_exec_destroy(r->exec);
    r->exec = NULL;
}

static void forget(struct rf_gpu *g, struct rf_gpu_record *r)
{
    drop_launches(g, r);
    *r = (struct rf_gpu_record){0};
}

static struct rf_gpu_record *find(struct rf_gpu *g, const void *owner, uint32_t rows, bool choice)
{
    struct rf_gpu_record *old = &g->record[0];
    for (int i = 0; i < RF_GPU_RECORDS; i++) {
        struct rf_gpu_record *r = &g->record[i];
        if (r->owner == owner && r->rows == rows && r->choice == choice) return r;
        if (r->used < old->used) old = r;
    }
    forget(g, old);
    old->owner = owner;
    old->rows = rows;
    old->choice = choice;
    return old;
}

rf_status rf_gpu_record_begin(struct rf_backend *b, struct rf_stream *s, const void *owner, uint32_t rows, enum rf_record *what)
{
    struct rf_gpu *g = rf_gpu_of(b);
    *what = RF_RECORD_NONE;
    if (g->fault || g->no_record) return g->fault;
    struct rf_gpu_record *r = find(g, owner, rows, g->batch->choice != NULL);
    bool good = r->seen && r->epoch == g->epoch && g->max_pos < r->pos_limit;
    r->used = ++g->record_clock;
    if (r->exec && good) {
        int rc = g->dev.vendor->bind(&g->dev);
        if (!rc) rc = g->dev.api.graph_launch(r->exec, rf_gpu_stream(g, s));
        *what = RF_RECORD_DONE;
        return rc ? rf_gpu_slot(g, rc, "a recorded step") : RF_OK;
    }
    drop_launches(g, r);
    r->seen = true;
    r->capturing = good && !g->dev.vendor->bind(&g->dev) && !g->dev.api.capture_begin(rf_gpu_stream(g, s), RF_GPU_CAPTURE_RELAXED);
    g->recording = r;
    g->pos_limit = UINT32_MAX;
    *what = r->capturing ? RF_RECORD_NEW : RF_RECORD_NONE;
    return RF_OK;
}

rf_status rf_gpu_record_end(struct rf_backend *b, struct rf_stream *s, bool *ran)
{
    struct rf_gpu *g = rf_gpu_of(b);
    struct rf_gpu_record *r = g->recording;
    void *graph = NULL;
    *ran = true;
    g->recording = NULL;
    if (!r) return g->fault;
    r->epoch = g->epoch;
    r->pos_limit = g->pos_limit;
    if (!r->capturing) return g->fault;
    r->capturing = false;
    int rc = g->dev.api.capture_end(rf_gpu_stream(g, s), &graph);
    if (g->fault) return g->fault;
    if (!rc) rc = g->dev.api.graph_instantiate(&r->exec, graph, 0);
    if (graph) g->dev.api.graph_destroy(graph);
    if (rc) { /* a driver that cannot: steps run launch by launch from now on, this one too */
        r->exec = NULL;
        g->no_record = true;
        *ran = false;
        return RF_OK;
    }
    rc = g->dev.api.graph_launch(r->exec, rf_gpu_stream(g, s));
    return rc ? rf_gpu_slot(g, rc, "a recorded step") : RF_OK;
}

void rf_gpu_record_drop(struct rf_backend *b, const void *owner)
{
    struct rf_gpu *g = rf_gpu_of(b);
    for (int i = 0; i < RF_GPU_RECORDS; i++)
        if (g->record[i].owner && (!owner || g->record[i].owner == owner)) forget(g, &g->record[i]);
}
