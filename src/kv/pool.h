/* pool.h - which blocks of KV memory are free, in use, or kept for later hits.
 *
 * A block is a number; only a backend knows the address behind it, so this room builds and is tested without a GPU.
 * A block is free (nobody knows it), pinned (n sequences use it) or idle (nobody uses it, but the prefix index knows
 * what it holds). Idle blocks queue in the order in which they were let go; the oldest is taken first.
 *
 * Thread: engine, no locks. Always true: n_free + n_idle + n_pinned == n_blocks (rf_kv_pool_check).
 * No function but create allocates.
 */
#ifndef RF_KV_POOL_H
#define RF_KV_POOL_H

#include "base/status.h"

struct rf_kv_pool;

rf_status rf_kv_pool_create(struct rf_kv_pool **out, uint32_t n_blocks, struct rf_error *err);
void rf_kv_pool_free(struct rf_kv_pool *p); /* NULL is fine */

/* Hands out one free block, pinned once. RF_FULL is an answer: take an idle one, preempt, or wait. */
rf_status rf_kv_pool_take(struct rf_kv_pool *p, int32_t *block);
/* Hands out the block that has been idle longest, pinned once and no longer cached: the caller takes it out of the
 * index. RF_FULL if none is idle. */
rf_status rf_kv_pool_take_cached(struct rf_kv_pool *p, int32_t *block);
void rf_kv_pool_pin(struct rf_kv_pool *p, int32_t block);   /* of a pinned or idle block */
void rf_kv_pool_unpin(struct rf_kv_pool *p, int32_t block); /* the last one makes it idle if cached, else free */
/* Says that the index knows (or no longer knows) this pinned block. */
void rf_kv_pool_set_cached(struct rf_kv_pool *p, int32_t block, bool cached);

uint32_t rf_kv_pool_pins(const struct rf_kv_pool *p, int32_t block);
bool rf_kv_pool_cached(const struct rf_kv_pool *p, int32_t block);
uint32_t rf_kv_pool_n_blocks(const struct rf_kv_pool *p);
uint32_t rf_kv_pool_n_free(const struct rf_kv_pool *p);
uint32_t rf_kv_pool_n_idle(const struct rf_kv_pool *p);

/* Walks everything; false if an invariant is broken. For tests. */
bool rf_kv_pool_check(const struct rf_kv_pool *p);

#endif
