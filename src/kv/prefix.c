#include "kv/prefix.h"

#include <string.h>

#include "base/map.h"
#include "base/mem.h"

#define NONE RF_KV_NO_NODE

struct node {
    uint64_t hash, salt;
    uint32_t parent, bucket_next; /* bucket_next also links the unused ones */
    uint32_t n_child, n_hold, n_block;
    bool live;
    int32_t token[RF_KV_TOKENS];
};

struct rf_kv_prefix {
    uint32_t n_node, n_group, n_live, n_bucket, unused; /* n_bucket is a power of two */
    uint64_t hash_mask;
    uint32_t *bucket;  /* [n_bucket] first node */
    int32_t *block;    /* [n_node][n_group] */
    struct node *node; /* [n_node] */
};

rf_status rf_kv_prefix_create(struct rf_kv_prefix **out, uint32_t n_node, uint32_t n_group, unsigned hash_bits,
                              struct rf_error *err)
{
    struct rf_kv_prefix *x = rf_alloc_array(1, sizeof *x);
    *out = NULL;
    if (!x) return rf_fail_nomem(err, "prefix index", sizeof *x);
    x->n_node = n_node;
    x->n_group = n_group;
    x->hash_mask = hash_bits && hash_bits < 64 ? (UINT64_C(1) << hash_bits) - 1 : UINT64_MAX;
    for (x->n_bucket = 16; x->n_bucket < n_node && x->n_bucket < UINT32_C(1) << 31;) x->n_bucket *= 2;
    size_t n_block;
    x->bucket = rf_alloc_array(x->n_bucket, sizeof *x->bucket);
    x->node = rf_alloc_array(n_node, sizeof *x->node);
    x->block = rf_mul(n_node, n_group, &n_block) ? rf_alloc_array(n_block, sizeof *x->block) : NULL;
    if (!x->bucket || !x->node || !x->block) {
        rf_kv_prefix_free(x);
        return rf_fail_nomem(err, "prefix index", (size_t)n_node * sizeof *x->node);
    }
    memset(x->bucket, 0xff, x->n_bucket * sizeof *x->bucket);
    for (uint32_t i = 0; i < n_node; i++) x->node[i].bucket_next = i + 1 < n_node ? i + 1 : NONE;
    x->unused = n_node ? 0 : NONE;
    *out = x;
    return RF_OK;
}

void rf_kv_prefix_free(struct rf_kv_prefix *x)
{
    if (!x) return;
    rf_free(x->bucket);
    rf_free(x->block);
    rf_free(x->node);
    rf_free(x);
}

static uint64_t hash_of(const struct rf_kv_prefix *x, uint32_t parent, uint64_t salt, const int32_t *token)
{
    uint64_t seed = parent == NONE ? salt ^ UINT64_C(0x9e3779b97f4a7c15) : x->node[parent].hash;
    return rf_hash(token, RF_KV_TOKENS * sizeof *token, seed) & x->hash_mask;
}

static uint32_t *bucket_of(const struct rf_kv_prefix *x, uint64_t hash)
{
    return &x->bucket[(hash ^ hash >> 32) & (x->n_bucket - 1)];
}

static uint32_t find(const struct rf_kv_prefix *x, uint64_t hash, uint32_t parent, uint64_t salt, const int32_t *token)
{
    for (uint32_t i = *bucket_of(x, hash); i != NONE; i = x->node[i].bucket_next) {
        const struct node *n = &x->node[i];
        if (n->hash == hash && n->parent == parent && (parent != NONE || n->salt == salt) &&
            !memcmp(n->token, token, sizeof n->token))
            return i;
    }
    return NONE;
}

uint32_t rf_kv_prefix_find(const struct rf_kv_prefix *x, uint32_t parent, uint64_t salt, const int32_t *token)
{
    return find(x, hash_of(x, parent, salt, token), parent, salt, token);
}

uint32_t rf_kv_prefix_add(struct rf_kv_prefix *x, uint32_t parent, uint64_t salt, const int32_t *token)
{
    uint64_t hash = hash_of(x, parent, salt, token);
    uint32_t i = find(x, hash, parent, salt, token);
    if (i != NONE || x->unused == NONE) return i;
    struct node *n = &x->node[i = x->unused];
    uint32_t *bucket = bucket_of(x, hash);
    x->unused = n->bucket_next;
    *n = (struct node){.hash = hash, .salt = salt, .parent = parent, .bucket_next = *bucket, .live = true};
    memcpy(n->token, token, sizeof n->token);
    for (uint32_t g = 0; g < x->n_group; g++) x->block[(size_t)i * x->n_group + g] = -1;
    *bucket = i;
    if (parent != NONE) x->node[parent].n_child++;
    x->n_live++;
    return i;
}

/* Ends node i if nothing needs it, then its parent, and so on up. */
static void prune(struct rf_kv_prefix *x, uint32_t i)
{
    while (i != NONE) {
        struct node *n = &x->node[i];
        if (n->n_child || n->n_hold || n->n_block) return;
        uint32_t parent = n->parent, *link = bucket_of(x, n->hash);
        while (*link != i) link = &x->node[*link].bucket_next;
        *link = n->bucket_next;
        n->live = false;
        n->bucket_next = x->unused;
        x->unused = i;
        x->n_live--;
        if (parent != NONE) x->node[parent].n_child--;
        i = parent;
    }
}

void rf_kv_prefix_hold(struct rf_kv_prefix *x, uint32_t node)
{
    if (node != NONE) x->node[node].n_hold++;
}

void rf_kv_prefix_unhold(struct rf_kv_prefix *x, uint32_t node)
{
    if (node == NONE) return;
    x->node[node].n_hold--;
    prune(x, node);
}

int32_t rf_kv_prefix_block(const struct rf_kv_prefix *x, uint32_t node, uint32_t group)
{
    return x->block[(size_t)node * x->n_group + group];
}

void rf_kv_prefix_set_block(struct rf_kv_prefix *x, uint32_t node, uint32_t group, int32_t block)
{
    int32_t *entry = &x->block[(size_t)node * x->n_group + group];
    x->node[node].n_block += (uint32_t)((block >= 0) - (*entry >= 0));
    *entry = block;
    if (block < 0) prune(x, node);
}

uint32_t rf_kv_prefix_n_node(const struct rf_kv_prefix *x) { return x->n_live; }

bool rf_kv_prefix_check(const struct rf_kv_prefix *x)
{
    uint32_t n_live = 0, n_child = 0, n_with_parent = 0, n_unused = 0, n_chained = 0;
    for (uint32_t i = 0; i < x->n_node; i++) {
        const struct node *n = &x->node[i];
        uint32_t n_block = 0;
        if (!n->live) continue;
        n_live++;
        n_child += n->n_child;
        n_with_parent += n->parent != NONE;
        for (uint32_t g = 0; g < x->n_group; g++) n_block += x->block[(size_t)i * x->n_group + g] >= 0;
        if (n_block != n->n_block || !(n->n_child || n->n_hold || n->n_block)) return false;
        if (n->parent != NONE && !x->node[n->parent].live) return false;
        if (rf_kv_prefix_find(x, n->parent, n->salt, n->token) != i) return false;
    }
    for (uint32_t i = x->unused; i != NONE; i = x->node[i].bucket_next)
        if (x->node[i].live || ++n_unused > x->n_node) return false;
    for (uint32_t b = 0; b < x->n_bucket; b++)
        for (uint32_t i = x->bucket[b]; i != NONE; i = x->node[i].bucket_next)
            if (!x->node[i].live || ++n_chained > x->n_node) return false;
    return n_live == x->n_live && n_live + n_unused == x->n_node && n_child == n_with_parent && n_chained == n_live;
}
