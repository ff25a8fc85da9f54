/* memory.c - device memory: what may be used, pieces of large allocations, and what slots take on first use.
 *
 * A model's weights and vectors lie in one allocation (reserve); what comes without a reservation and is small shares slabs. All that is
 * allocated counts against the fraction of the device's memory that the options give.
 */
#include <inttypes.h>

#include "backend/gpu/gpu.h"
#include "base/mem.h"

enum { SLAB = 64 << 20, MIN_ALLOC = 256 };

struct rf_gpu_slab {
    struct rf_gpu_slab *next;
    rf_dev dev;
    uint64_t bytes, used;
    uint32_t n_live;
    bool reserved; /* kept until a piece was taken, also while it is empty */
};

int rf_gpu_memory_count(struct rf_gpu *g)
{
    size_t free_, total;
    int rc = g->dev.api.mem_info(&free_, &total);
    if (rc) return rc;
    uint64_t limit = (uint64_t)((double)total * g->memory_fraction);
    g->base.info.memory_free = RF_MIN((uint64_t)free_, limit > g->memory_used ? limit - g->memory_used : 0);
    g->base.info.memory_total = total;
    return 0;
}

rf_status rf_gpu_alloc(struct rf_gpu *g, uint64_t bytes, const char *what, rf_dev *out, struct rf_error *err)
{
    *out = 0;
    uint64_t p = 0;
    if (g->fault) return rf_fail(err, g->fault, "%s: %s", g->dev.id, g->base.info.detail);
    RF_TRY(rf_gpu_check(&g->dev, g->dev.vendor->bind(&g->dev), "choosing the device", err));
    RF_TRY(rf_gpu_check(&g->dev, rf_gpu_memory_count(g), "asking for free memory", err));
    if (bytes > g->base.info.memory_free)
        return rf_fail(err, RF_NOMEM, "%s: %s needs %" PRIu64 " bytes, but %" PRIu64 " of %" PRIu64 " bytes of device memory may be used (free, and within "
                                      "--gpu-memory-fraction %g)", g->dev.id, what, bytes, g->base.info.memory_free, g->base.info.memory_total,
                       g->memory_fraction);
    bytes = RF_MAX(bytes, (uint64_t)MIN_ALLOC);
    RF_TRY(rf_gpu_check(&g->dev, g->dev.api.alloc(&p, bytes), what, err));
    *out = (rf_dev)p;
    g->memory_used += bytes;
    rf_gpu_memory_count(g);
    return RF_OK;
}

/* What is known about addresses in p..p + bytes holds no longer. */
static void forget(struct rf_gpu *g, rf_dev p, uint64_t bytes)
{
    rf_gpu_angles_drop(g, p, RF_MAX(bytes, 1u));
    g->act.of = 0;
    g->epoch++;
}

void rf_gpu_free(struct rf_gpu *g, rf_dev p, uint64_t bytes)
{
    if (!p) return;
    forget(g, p, bytes);
    g->dev.vendor->bind(&g->dev);
    g->dev.api.free(p); /* waits for work that uses it; after a fault it reports that fault again */
    g->memory_used -= RF_MAX(bytes, (uint64_t)MIN_ALLOC);
    rf_gpu_memory_count(g);
}

/* ---- pieces ---- */

static rf_status slab_add(struct rf_gpu *g, uint64_t bytes, const char *what, struct rf_gpu_slab **out, struct rf_error *err)
{
    struct rf_gpu_slab *s = rf_alloc_array(1, sizeof *s);
    if (!s) return rf_fail_nomem(err, what, sizeof *s);
    s->bytes = bytes;
    rf_status st = rf_gpu_alloc(g, bytes, what, &s->dev, err);
    if (st) {
        rf_free(s);
        return st;
    }
    s->next = g->slabs;
    *out = g->slabs = s;
    return RF_OK;
}

static void slab_remove(struct rf_gpu *g, struct rf_gpu_slab **link)
{
    struct rf_gpu_slab *s = *link;
    *link = s->next;
    rf_gpu_free(g, s->dev, s->bytes);
    rf_free(s);
}

rf_status rf_gpu_piece_take(struct rf_gpu *g, uint64_t bytes, bool share, const char *what, rf_dev *out, struct rf_error *err)
{
    struct rf_gpu_slab *s = g->slabs;
    uint64_t need = rf_dev_piece(bytes);
    *out = 0;
    while (s && s->bytes - s->used < need) s = s->next;
    if (!s) {
        rf_gpu_memory_count(g);
        bool large = !share || need >= SLAB / 4 || g->base.info.memory_free <= 4 * (uint64_t)SLAB;
        RF_TRY(slab_add(g, large ? bytes : SLAB, what, &s, err));
    }
    *out = s->dev + s->used;
    s->used = RF_MIN(s->used + need, s->bytes);
    s->n_live++;
    s->reserved = false;
    return RF_OK;
}

void rf_gpu_piece_give(struct rf_gpu *g, rf_dev p)
{
    for (struct rf_gpu_slab **link = &g->slabs; p && *link; link = &(*link)->next) {
        struct rf_gpu_slab *s = *link;
        if (p < s->dev || p - s->dev >= RF_MAX(s->bytes, (uint64_t)MIN_ALLOC)) continue;
        forget(g, p, 1);
        if (!--s->n_live && !s->reserved) slab_remove(g, link);
        return;
    }
}

rf_status rf_gpu_reserve(struct rf_backend *b, uint64_t bytes, struct rf_error *err)
{
    struct rf_gpu_slab *s;
    RF_TRY(slab_add(rf_gpu_of(b), rf_dev_piece(bytes), "the model's weights", &s, err));
    s->reserved = true;
    return RF_OK;
}

void rf_gpu_memory_release(struct rf_gpu *g)
{
    while (g->slabs) slab_remove(g, &g->slabs);
}

/* ---- what slots take ---- */

uint64_t rf_gpu_scratch_bytes(const struct rf_backend *b, const struct rf_scratch_desc *d)
{
    const struct rf_gpu *g = (const struct rf_gpu *)b;
    uint64_t pos = 1024, table = ((uint64_t)d->n_ctx + RF_KV_BLOCK_TOKENS - 1) / RF_KV_BLOCK_TOKENS;
    while (pos < d->n_ctx) pos *= 2; /* the last position is n_ctx - 1 */
    uint64_t work = RF_MAX(RF_MAX(rf_gpu_gemm_scratch(g, d), rf_gpu_attention_scratch(g, d)), rf_gpu_sample_scratch(d->n_vocab, d->max_out));
    uint64_t all = work + rf_gpu_act_scratch(g, d) + d->n_angles * pos * d->rot_dim * sizeof(float) +
                   (table * d->max_seq * d->n_group + 4 * (uint64_t)d->rows) * sizeof(int32_t) * 5 / 4;
    uint64_t held = g->work.bytes + g->act.bytes + g->counts.bytes + g->staging[0].bytes + g->staging[1].bytes;
    all = RF_MAX(all, rf_gpu_stage_bytes()); /* staging goes when the first step comes */
    return all > held ? all - held : 0;
}
