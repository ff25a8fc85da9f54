/* prefix.h - which cached blocks hold which tokens, so that an equal prefix is not computed twice.
 *
 * A tree of nodes: a node is 16 tokens behind its parent's tokens, and names at most one block per cache group that
 * holds their keys and values. Nodes are found through a hash that chains over the path (hash(parent hash, tokens)), and
 * believed only after the parent and all 16 tokens compare equal: by induction the whole prefix is verified, so a bad or
 * short hash costs time and never a wrong answer. First nodes also carry the salt.
 *
 * A node lives while it has a block, a child, or a holder. One without a block is still a step on the way to its
 * children: a sliding window gives early blocks back and can use the late ones.
 *
 * Thread: engine, no locks. Only create allocates; when every node is in use, new prefixes are simply not remembered.
 */
#ifndef RF_KV_PREFIX_H
#define RF_KV_PREFIX_H

#include "base/status.h"

enum { RF_KV_TOKENS = 16 }; /* tokens of a block; the engine checks that it is the backend's number */
#define RF_KV_NO_NODE UINT32_MAX

struct rf_kv_prefix;

/* hash_bits 0 or 64: the whole hash; fewer bits make collisions for tests. */
rf_status rf_kv_prefix_create(struct rf_kv_prefix **out, uint32_t n_node, uint32_t n_group, unsigned hash_bits,
                              struct rf_error *err);
void rf_kv_prefix_free(struct rf_kv_prefix *x);

/* The node of these 16 tokens behind parent (RF_KV_NO_NODE: the start, in salt's own tree), or RF_KV_NO_NODE. */
uint32_t rf_kv_prefix_find(const struct rf_kv_prefix *x, uint32_t parent, uint64_t salt, const int32_t *token);
/* The same, made if absent; RF_KV_NO_NODE if there is no room. The caller holds it or gives it a block at once. */
uint32_t rf_kv_prefix_add(struct rf_kv_prefix *x, uint32_t parent, uint64_t salt, const int32_t *token);

void rf_kv_prefix_hold(struct rf_kv_prefix *x, uint32_t node);
void rf_kv_prefix_unhold(struct rf_kv_prefix *x, uint32_t node); /* may end it and the bare nodes above it */

int32_t rf_kv_prefix_block(const struct rf_kv_prefix *x, uint32_t node, uint32_t group); /* -1: none */
/* block -1 takes the entry out, which may end the node and the bare nodes above it. */
void rf_kv_prefix_set_block(struct rf_kv_prefix *x, uint32_t node, uint32_t group, int32_t block);

uint32_t rf_kv_prefix_n_node(const struct rf_kv_prefix *x);
bool rf_kv_prefix_check(const struct rf_kv_prefix *x); /* walks everything; for tests */

#endif
