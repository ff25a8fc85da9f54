#include "kv/pool.h"

#include "base/mem.h"

enum { NONE = -1 };

struct block {
    uint32_t pins;
    bool cached;
    int32_t prev, next; /* in the free stack (next only) or in the idle queue */
};

struct rf_kv_pool {
    uint32_t n, n_free, n_idle;
    int32_t free_top, idle_first, idle_last; /* idle_first was let go first */
    struct block b[];
};

rf_status rf_kv_pool_create(struct rf_kv_pool **out, uint32_t n_blocks, struct rf_error *err)
{
    size_t bytes = 0;
    *out = NULL;
    if (!n_blocks || n_blocks > INT32_MAX)
        return rf_fail_param(err, RF_INVALID, "kv_blocks", "KV pool of %u blocks: expected 1 to %d", n_blocks,
                             INT32_MAX);
    if (!rf_mul(n_blocks, sizeof(struct block), &bytes) || !rf_add(bytes, sizeof(struct rf_kv_pool), &bytes))
        return rf_fail_nomem(err, "KV pool", SIZE_MAX);
    struct rf_kv_pool *p = rf_alloc_array(1, bytes);
    if (!p) return rf_fail_nomem(err, "KV pool", bytes);
    p->n = p->n_free = n_blocks;
    p->idle_first = p->idle_last = NONE;
    for (uint32_t i = 0; i < n_blocks; i++) p->b[i].next = i + 1 < n_blocks ? (int32_t)(i + 1) : NONE;
    *out = p;
    return RF_OK;
}

void rf_kv_pool_free(struct rf_kv_pool *p) { rf_free(p); }

rf_status rf_kv_pool_take(struct rf_kv_pool *p, int32_t *block)
{
    if (p->free_top == NONE) return RF_FULL;
    struct block *b = &p->b[*block = p->free_top];
    p->free_top = b->next;
    p->n_free--;
    *b = (struct block){.pins = 1, .prev = NONE, .next = NONE};
    return RF_OK;
}

static void idle_remove(struct rf_kv_pool *p, int32_t block)
{
    struct block *b = &p->b[block];
    if (b->prev == NONE) p->idle_first = b->next;
    else p->b[b->prev].next = b->next;
    if (b->next == NONE) p->idle_last = b->prev;
    else p->b[b->next].prev = b->prev;
    b->prev = b->next = NONE;
    p->n_idle--;
}

static void idle_append(struct rf_kv_pool *p, int32_t block)
{
    struct block *b = &p->b[block];
    b->prev = p->idle_last;
    b->next = NONE;
    if (p->idle_last == NONE) p->idle_first = block;
    else p->b[p->idle_last].next = block;
    p->idle_last = block;
    p->n_idle++;
}

rf_status rf_kv_pool_take_cached(struct rf_kv_pool *p, int32_t *block)
{
    if (p->idle_first == NONE) return RF_FULL;
    *block = p->idle_first;
    idle_remove(p, *block);
    p->b[*block] = (struct block){.pins = 1, .prev = NONE, .next = NONE};
    return RF_OK;
}

void rf_kv_pool_pin(struct rf_kv_pool *p, int32_t block)
{
    if (!p->b[block].pins++) idle_remove(p, block);
}

void rf_kv_pool_unpin(struct rf_kv_pool *p, int32_t block)
{
    struct block *b = &p->b[block];
    if (--b->pins) return;
    if (b->cached) {
        idle_append(p, block);
    } else {
        b->next = p->free_top;
        p->free_top = block;
        p->n_free++;
    }
}

void rf_kv_pool_set_cached(struct rf_kv_pool *p, int32_t block, bool cached) { p->b[block].cached = cached; }

uint32_t rf_kv_pool_pins(const struct rf_kv_pool *p, int32_t block) { return p->b[block].pins; }
bool rf_kv_pool_cached(const struct rf_kv_pool *p, int32_t block) { return p->b[block].cached; }
uint32_t rf_kv_pool_n_blocks(const struct rf_kv_pool *p) { return p->n; }
uint32_t rf_kv_pool_n_free(const struct rf_kv_pool *p) { return p->n_free; }
uint32_t rf_kv_pool_n_idle(const struct rf_kv_pool *p) { return p->n_idle; }

bool rf_kv_pool_check(const struct rf_kv_pool *p)
{
    uint32_t n_free = 0, n_idle = 0, n_pinned = 0;
    for (int32_t i = p->free_top; i != NONE; i = p->b[i].next)
        if (p->b[i].pins || p->b[i].cached || ++n_free > p->n) return false;
    for (int32_t i = p->idle_first, prev = NONE; i != NONE; prev = i, i = p->b[i].next)
        if (p->b[i].pins || !p->b[i].cached || p->b[i].prev != prev || ++n_idle > p->n) return false;
    for (uint32_t i = 0; i < p->n; i++) n_pinned += p->b[i].pins > 0;
    return n_free == p->n_free && n_idle == p->n_idle && n_free + n_idle + n_pinned == p->n;
}
