#include "kv/table.h"

#include <string.h>

#include "base/mem.h"

enum { T = RF_KV_TOKENS };

struct seq {
    bool open;
    uint64_t salt;
    uint32_t computed;               /* tokens whose keys and values are in the blocks */
    uint32_t n_indexed;              /* leading blocks whose place in the tree is known: tail is the last one's node */
    uint32_t tail;                   /* held */
    bool unindexed;                  /* the index was full: stop remembering this sequence */
    uint32_t n[RF_KV_MAX_GROUPS];    /* entries of each table */
    uint32_t live[RF_KV_MAX_GROUPS]; /* first entry not given back */
};

struct known { uint32_t node, group; }; /* where the index has a cached block */

struct rf_kv {
    struct rf_kv_options opt;
    struct rf_kv_pool *pool;
    struct rf_kv_prefix *index;
    uint32_t stride;      /* entries of a table */
    struct seq *seq;      /* [max_seqs] */
    int32_t *table;       /* [max_seqs][n_group][stride] */
    struct known *known;  /* [n_block], meaningful while the block is cached */
    uint32_t *path;       /* [stride] scratch of match */
    uint32_t n_copy;
    int32_t *from, *to;   /* [max_seqs * n_group]; `from` stays pinned until the copy is made */
    uint32_t *copy_seq;
};

static uint32_t blocks(uint32_t n_token) { return n_token / T + (n_token % T != 0); }

/* First position that a token at pos reads. */
static uint32_t reach(uint32_t window, uint32_t pos) { return window && pos >= window ? pos - window + 1 : 0; }

static int32_t *table_of(const struct rf_kv *kv, uint32_t seq, uint32_t g)
{
    return kv->table + ((size_t)seq * kv->opt.n_group + g) * kv->stride;
}

rf_status rf_kv_create(struct rf_kv **out, const struct rf_kv_options *opt, struct rf_error *err)
{
    *out = NULL;
    if (!opt->n_group || opt->n_group > RF_KV_MAX_GROUPS || !opt->max_seqs || !opt->max_tokens || !opt->max_step_tokens)
        return rf_fail(err, RF_INVALID,
                       "KV cache of %u groups, %u sequences of %u tokens: expected 1..%d groups and no zero",
                       opt->n_group, opt->max_seqs, opt->max_tokens, RF_KV_MAX_GROUPS);
    struct rf_kv *kv = rf_alloc_array(1, sizeof *kv);
    if (!kv) return rf_fail_nomem(err, "KV cache", sizeof *kv);
    kv->opt = *opt;
    kv->stride = blocks(opt->max_tokens);
    size_t n_table = (size_t)opt->max_seqs * opt->n_group, n_entry = 0;
    /* Nodes without blocks can outnumber blocks only where windows give blocks back. */
    uint32_t n_node = opt->n_block > UINT32_MAX / 4 ? UINT32_MAX / 2 : 2 * opt->n_block + 64;
    rf_status st = rf_kv_pool_create(&kv->pool, opt->n_block, err);
    if (!st && !opt->no_prefix) st = rf_kv_prefix_create(&kv->index, n_node, opt->n_group, opt->hash_bits, err);
    if (!st) {
        kv->seq = rf_alloc_array(opt->max_seqs, sizeof *kv->seq);
        kv->table = rf_mul(n_table, kv->stride, &n_entry) ? rf_alloc_array(n_entry, sizeof *kv->table) : NULL;
        kv->known = rf_alloc_array(opt->n_block, sizeof *kv->known);
        kv->path = rf_alloc_array(kv->stride, sizeof *kv->path);
        kv->from = rf_alloc_array(n_table, sizeof *kv->from);
        kv->to = rf_alloc_array(n_table, sizeof *kv->to);
        kv->copy_seq = rf_alloc_array(n_table, sizeof *kv->copy_seq);
        if (!kv->seq || !kv->table || !kv->known || !kv->path || !kv->from || !kv->to || !kv->copy_seq)
            st = rf_fail_nomem(err, "KV block tables", n_entry * sizeof *kv->table);
    }
    if (st) rf_kv_free(kv);
    else *out = kv;
    return st;
}

void rf_kv_free(struct rf_kv *kv)
{
    if (!kv) return;
    rf_kv_pool_free(kv->pool);
    rf_kv_prefix_free(kv->index);
    void *part[] = {kv->seq, kv->table, kv->known, kv->path, kv->from, kv->to, kv->copy_seq};
    for (size_t i = 0; i < RF_COUNT(part); i++) rf_free(part[i]);
    rf_free(kv);
}

uint32_t rf_kv_options_need(const struct rf_kv_options *opt, uint32_t n_token)
{
    uint64_t need = 0;
    for (uint32_t g = 0; g < opt->n_group; g++) {
        uint64_t all = blocks(n_token), w = opt->window[g];
        /* A window and one step's tokens, at the worst alignment. */
        if (w) all = RF_MIN(all, (w + opt->max_step_tokens + T - 2) / T + 1);
        need += all;
    }
    return need > UINT32_MAX ? UINT32_MAX : (uint32_t)need;
}

uint32_t rf_kv_need(const struct rf_kv *kv, uint32_t n_token) { return rf_kv_options_need(&kv->opt, n_token); }

uint32_t rf_kv_available(const struct rf_kv *kv) { return rf_kv_pool_n_free(kv->pool) + rf_kv_pool_n_idle(kv->pool); }

uint32_t rf_kv_n_group(const struct rf_kv *kv) { return kv->opt.n_group; }

rf_status rf_kv_open(struct rf_kv *kv, uint64_t salt, uint32_t *seq)
{
    for (uint32_t i = 0; i < kv->opt.max_seqs; i++) {
        if (kv->seq[i].open) continue;
        kv->seq[i] = (struct seq){.open = true, .salt = salt, .tail = RF_KV_NO_NODE};
        *seq = i;
        return RF_OK;
    }
    return RF_FULL;
}

/* Takes a cached block out of the index; pinned it stays. */
static void forget(struct rf_kv *kv, int32_t block)
{
    rf_kv_pool_set_cached(kv->pool, block, false);
    rf_kv_prefix_set_block(kv->index, kv->known[block].node, kv->known[block].group, -1);
}

static rf_status take(struct rf_kv *kv, int32_t *block)
{
    if (!rf_kv_pool_take(kv->pool, block)) return RF_OK;
    RF_TRY(rf_kv_pool_take_cached(kv->pool, block));
    rf_kv_prefix_set_block(kv->index, kv->known[*block].node, kv->known[*block].group, -1);
    return RF_OK;
}

/* Where computing would begin after a hit of n_hit blocks. */
static uint32_t start_of(uint32_t n_hit, uint32_t want_from) { return RF_MIN(n_hit * T, want_from); }

/* The most leading blocks that can be taken over; their nodes are in kv->path. */
static uint32_t longest_hit(struct rf_kv *kv, uint64_t salt, const int32_t *token, uint32_t n_token, uint32_t want_from)
{
    uint32_t run[RF_KV_MAX_GROUPS] = {0}, best = 0, node = RF_KV_NO_NODE;
    /* Blocks wholly behind want_from would be taken over only to be computed again. */
    uint32_t most = RF_MIN(n_token / T, blocks(want_from));
    for (uint32_t i = 0; i < most; i++) {
        node = rf_kv_prefix_find(kv->index, node, salt, token + (size_t)i * T);
        if (node == RF_KV_NO_NODE) break;
        kv->path[i] = node;
        bool usable = true;
        for (uint32_t g = 0; g < kv->opt.n_group; g++) {
            uint32_t w = kv->opt.window[g];
            run[g] = rf_kv_prefix_block(kv->index, node, g) >= 0 ? run[g] + 1 : 0;
            if (!w && run[g] != i + 1) return best;
            usable &= run[g] >= i + 1 - reach(w, start_of(i + 1, want_from)) / T;
        }
        if (usable) best = i + 1;
    }
    return best;
}

uint32_t rf_kv_match(struct rf_kv *kv, uint32_t seq, const int32_t *token, uint32_t n_token, uint32_t want_from)
{
    struct seq *s = &kv->seq[seq];
    if (!kv->index || s->computed || s->n[0]) return s->computed;
    uint32_t n_hit = longest_hit(kv, s->salt, token, n_token, want_from), start = start_of(n_hit, want_from);
    if (!n_hit) return 0;
    for (uint32_t g = 0; g < kv->opt.n_group; g++) {
        int32_t *t = table_of(kv, seq, g);
        s->live[g] = reach(kv->opt.window[g], start) / T;
        s->n[g] = n_hit;
        for (uint32_t i = 0; i < n_hit; i++) {
            t[i] = i < s->live[g] ? -1 : rf_kv_prefix_block(kv->index, kv->path[i], g);
            if (t[i] >= 0) rf_kv_pool_pin(kv->pool, t[i]);
        }
    }
    s->computed = start;
    s->n_indexed = start / T;
    s->tail = s->n_indexed ? kv->path[s->n_indexed - 1] : RF_KV_NO_NODE;
    rf_kv_prefix_hold(kv->index, s->tail);
    return start;
}

/* Makes entry i of a table this sequence's own. */
static rf_status own(struct rf_kv *kv, uint32_t seq, int32_t *entry)
{
    int32_t block;
    if (rf_kv_pool_pins(kv->pool, *entry) == 1) {
        if (rf_kv_pool_cached(kv->pool, *entry)) forget(kv, *entry);
        return RF_OK;
    }
    RF_TRY(take(kv, &block));
    kv->from[kv->n_copy] = *entry; /* our pin moves to the list */
    kv->to[kv->n_copy] = block;
    kv->copy_seq[kv->n_copy++] = seq;
    *entry = block;
    return RF_OK;
}

rf_status rf_kv_reserve(struct rf_kv *kv, uint32_t seq, uint32_t upto)
{
    struct seq *s = &kv->seq[seq];
    uint32_t first = s->computed / T;
    if (upto > kv->opt.max_tokens) return RF_FULL;
    for (uint32_t g = 0; g < kv->opt.n_group; g++) {
        int32_t *t = table_of(kv, seq, g);
        /* At most the block that holds the first position can be one that others know: later ones were taken here. */
        if (upto > s->computed && first < s->n[g]) RF_TRY(own(kv, seq, &t[first]));
        for (; s->n[g] < blocks(upto); s->n[g]++) RF_TRY(take(kv, &t[s->n[g]]));
    }
    return RF_OK;
}

/* Finds or makes the tree's node for block i of the sequence, and lets it know our blocks where it has none. */
static bool index_block(struct rf_kv *kv, uint32_t seq, const int32_t *token, uint32_t i)
{
    struct seq *s = &kv->seq[seq];
    uint32_t node = rf_kv_prefix_add(kv->index, s->tail, s->salt, token + (size_t)i * T);
    if (node == RF_KV_NO_NODE) return false;
    rf_kv_prefix_hold(kv->index, node);
    rf_kv_prefix_unhold(kv->index, s->tail);
    s->tail = node;
    for (uint32_t g = 0; g < kv->opt.n_group; g++) {
        int32_t block = table_of(kv, seq, g)[i];
        if (block < 0 || rf_kv_pool_cached(kv->pool, block) || rf_kv_prefix_block(kv->index, node, g) >= 0) continue;
        rf_kv_prefix_set_block(kv->index, node, g, block);
        rf_kv_pool_set_cached(kv->pool, block, true);
        kv->known[block] = (struct known){node, g};
    }
    return true;
}

void rf_kv_index(struct rf_kv *kv, uint32_t seq, const int32_t *token, uint32_t upto)
{
    struct seq *s = &kv->seq[seq];
    while (kv->index && !s->unindexed && s->n_indexed < upto / T) {
        if (index_block(kv, seq, token, s->n_indexed)) s->n_indexed++;
        else s->unindexed = true;
    }
}

void rf_kv_advance(struct rf_kv *kv, uint32_t seq, uint32_t upto)
{
    struct seq *s = &kv->seq[seq];
    s->computed = upto;
    for (uint32_t g = 0; g < kv->opt.n_group; g++) {
        int32_t *t = table_of(kv, seq, g);
        for (uint32_t end = reach(kv->opt.window[g], upto) / T; s->live[g] < end; s->live[g]++) {
            if (t[s->live[g]] >= 0) rf_kv_pool_unpin(kv->pool, t[s->live[g]]);
            t[s->live[g]] = -1;
        }
    }
}

void rf_kv_commit(struct rf_kv *kv, uint32_t seq, const int32_t *token, uint32_t upto)
{
    rf_kv_index(kv, seq, token, upto);
    rf_kv_advance(kv, seq, upto);
}

/* A copy whose target is gone must not be made: the block may be another's by then. */
static void drop_copies(struct rf_kv *kv, uint32_t seq)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < kv->n_copy; i++) {
        if (kv->copy_seq[i] == seq) {
            rf_kv_pool_unpin(kv->pool, kv->from[i]);
            continue;
        }
        kv->from[n] = kv->from[i];
        kv->to[n] = kv->to[i];
        kv->copy_seq[n++] = kv->copy_seq[i];
    }
    kv->n_copy = n;
}

void rf_kv_close(struct rf_kv *kv, uint32_t seq)
{
    struct seq *s = &kv->seq[seq];
    uint32_t most = 0;
    if (!s->open) return;
    drop_copies(kv, seq);
    for (uint32_t g = 0; g < kv->opt.n_group; g++) most = RF_MAX(most, s->n[g]);
    /* Last blocks first: the end of a prefix is useless without its beginning, so it shall be evicted before it. */
    for (uint32_t i = most; i-- > 0;)
        for (uint32_t g = 0; g < kv->opt.n_group; g++) {
            int32_t block = i < s->n[g] ? table_of(kv, seq, g)[i] : -1;
            if (block >= 0) rf_kv_pool_unpin(kv->pool, block);
        }
    if (kv->index) rf_kv_prefix_unhold(kv->index, s->tail);
    s->open = false;
}

uint32_t rf_kv_computed(const struct rf_kv *kv, uint32_t seq) { return kv->seq[seq].computed; }

uint32_t rf_kv_missing(const struct rf_kv *kv, uint32_t seq, uint32_t n_token)
{
    const struct seq *s = &kv->seq[seq];
    uint32_t missing = 0;
    for (uint32_t g = 0; g < kv->opt.n_group; g++) {
        uint32_t held = s->n[g] - s->live[g], need = blocks(n_token) - RF_MIN(s->live[g], blocks(n_token));
        uint32_t w = kv->opt.window[g];
        if (w) need = RF_MIN(need, (w + kv->opt.max_step_tokens + T - 2) / T + 1);
        missing += need > held ? need - held : 0;
    }
    return missing;
}

const int32_t *rf_kv_table(const struct rf_kv *kv, uint32_t seq, uint32_t group, uint32_t *n)
{
    *n = kv->seq[seq].n[group];
    return table_of(kv, seq, group);
}

uint32_t rf_kv_copies(const struct rf_kv *kv, const int32_t **from, const int32_t **to)
{
    *from = kv->from;
    *to = kv->to;
    return kv->n_copy;
}

void rf_kv_copies_done(struct rf_kv *kv)
{
    for (uint32_t i = 0; i < kv->n_copy; i++) rf_kv_pool_unpin(kv->pool, kv->from[i]);
    kv->n_copy = 0;
}

const struct rf_kv_pool *rf_kv_pool(const struct rf_kv *kv) { return kv->pool; }
const struct rf_kv_prefix *rf_kv_prefix(const struct rf_kv *kv) { return kv->index; }

bool rf_kv_check(const struct rf_kv *kv)
{
    uint64_t pins = 0, held = kv->n_copy;
    if (!rf_kv_pool_check(kv->pool) || (kv->index && !rf_kv_prefix_check(kv->index))) return false;
    for (uint32_t b = 0; b < kv->opt.n_block; b++) {
        pins += rf_kv_pool_pins(kv->pool, (int32_t)b);
        if (rf_kv_pool_cached(kv->pool, (int32_t)b) &&
            rf_kv_prefix_block(kv->index, kv->known[b].node, kv->known[b].group) != (int32_t)b)
            return false;
    }
    for (uint32_t i = 0; i < kv->opt.max_seqs; i++)
        for (uint32_t g = 0; kv->seq[i].open && g < kv->opt.n_group; g++)
            for (uint32_t k = 0; k < kv->seq[i].n[g]; k++) {
                int32_t block = table_of(kv, i, g)[k];
                if ((block < 0) != (k < kv->seq[i].live[g])) return false;
                held += block >= 0;
            }
    return pins == held;
}
