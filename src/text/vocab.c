#include <string.h>

#include "base/map.h"
#include "text/tok.h"

static uint32_t table_size(size_t n)
{
    uint32_t cap = 16;
    while (cap < n + n / 2) cap *= 2;
    return cap;
}

rf_status rf_vocab_init(struct rf_vocab *v, uint32_t n, struct rf_error *err)
{
    if (n > RF_TOK_MAX_VOCAB) return rf_fail(err, RF_TOO_LARGE, "vocabulary: found %u pieces, expected at most %u", n, RF_TOK_MAX_VOCAB);
    uint32_t cap = table_size(n);
    v->piece = rf_alloc_array(n, sizeof *v->piece);
    v->slot = rf_alloc_array(cap, sizeof *v->slot);
    v->n = n;
    v->mask = cap - 1;
    v->seed = (uint64_t)(uintptr_t)v->piece * 0x9e3779b97f4a7c15u; /* differs from run to run */
    if (!v->piece || !v->slot) return rf_fail_nomem(err, "vocabulary", n * sizeof *v->piece + cap * sizeof *v->slot);
    return RF_OK;
}

static struct rf_vocab_slot *seek(const struct rf_vocab *v, const char *s, size_t n, uint32_t *tag)
{
    uint64_t h = rf_hash(s, n, v->seed);
    uint32_t i = (uint32_t)h & v->mask;
    *tag = (uint32_t)(h >> 32);
    for (;; i = (i + 1) & v->mask) {
        struct rf_vocab_slot *at = &v->slot[i];
        if (!at->id) return at;
        if (at->tag == *tag && v->piece[at->id - 1].n == n && !memcmp(v->piece[at->id - 1].s, s, n)) return at;
    }
}

void rf_vocab_add(struct rf_vocab *v, uint32_t id)
{
    uint32_t tag;
    struct rf_vocab_slot *at = seek(v, v->piece[id].s, v->piece[id].n, &tag);
    if (at->id) return;
    at->tag = tag;
    at->id = id + 1;
}

uint32_t rf_vocab_find(const struct rf_vocab *v, const char *s, size_t n)
{
    uint32_t tag;
    if (!v->slot) return RF_TOK_NONE;
    return seek(v, s, n, &tag)->id - 1u; /* 0 - 1 is RF_TOK_NONE */
}

void rf_vocab_release(struct rf_vocab *v)
{
    rf_free(v->piece);
    rf_free(v->slot);
    memset(v, 0, sizeof *v);
}

rf_status rf_merges_init(struct rf_merges *m, size_t n, struct rf_error *err)
{
    if (n > RF_TOK_MAX_VOCAB) return rf_fail(err, RF_TOO_LARGE, "merges: found %zu, expected at most %u", n, RF_TOK_MAX_VOCAB);
    uint32_t cap = table_size(n);
    m->slot = rf_alloc_array(cap, sizeof *m->slot);
    m->mask = cap - 1;
    return m->slot ? RF_OK : rf_fail_nomem(err, "merges", cap * sizeof *m->slot);
}

void rf_merges_add(struct rf_merges *m, uint32_t left, uint32_t right, uint32_t rank, uint32_t id)
{
    uint64_t h = ((uint64_t)left << 32 | right) * 0x9e3779b97f4a7c15u;
    uint32_t i = (uint32_t)(h >> 32) & m->mask;
    while (m->slot[i].id && (m->slot[i].left != left || m->slot[i].right != right)) i = (i + 1) & m->mask;
    m->slot[i] = (struct rf_merge){ .left = left, .right = right, .rank = rank, .id = id + 1 };
}

int rf_tok_byte_piece(struct rf_str p)
{
    if (p.n != 6 || memcmp(p.s, "<0x", 3) || p.s[5] != '>') return -1;
    int v = 0;
    for (int i = 3; i < 5; i++) {
        char c = p.s[i];
        if (c >= '0' && c <= '9') v = v * 16 + (c - '0');
        else if (c >= 'A' && c <= 'F') v = v * 16 + (c - 'A' + 10);
        else if (c >= 'a' && c <= 'f') v = v * 16 + (c - 'a' + 10);
        else return -1;
    }
    return v;
}
