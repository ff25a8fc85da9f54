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

/* memcmp's answer for pieces, which are short: no call for those of 4 to 16 bytes. */
static inline bool same(const char *a, const char *b, size_t n)
{
    uint64_t x, y, p, q;
    uint32_t v, w, r, u;
    if (n >= 8 && n <= 16) {
        memcpy(&x, a, 8), memcpy(&y, b, 8);
        memcpy(&p, a + n - 8, 8), memcpy(&q, b + n - 8, 8);
        return !((x ^ y) | (p ^ q));
    }
    if (n < 4 || n > 16) return !memcmp(a, b, n);
    memcpy(&v, a, 4), memcpy(&w, b, 4);
    memcpy(&r, a + n - 4, 4), memcpy(&u, b + n - 4, 4);
    return !((v ^ w) | (r ^ u));
}

enum { INLINE = 8 };

static struct rf_vocab_slot key_of(const char *s, size_t n, uint64_t h)
{
    struct rf_vocab_slot k = { 0, n <= INLINE ? (uint32_t)n : (uint32_t)(h >> 32) | 1u << 31, 0 };
    if (n < INLINE) k.head = rf_hash_tail(s, n);
    else memcpy(&k.head, s, sizeof k.head);
    return k;
}

static struct rf_vocab_slot *seek(const struct rf_vocab *v, const char *s, size_t n, uint64_t h)
{
    struct rf_vocab_slot k = key_of(s, n, h);
    for (uint32_t i = (uint32_t)h & v->mask;; i = (i + 1) & v->mask) {
        struct rf_vocab_slot *at = &v->slot[i];
        if (!at->id) return at;
        if (at->tag != k.tag || at->head != k.head) continue;
        if (n <= INLINE || (v->piece[at->id - 1].n == n && same(v->piece[at->id - 1].s, s, n))) return at;
    }
}

static void add_hashed(struct rf_vocab *v, uint32_t id, uint64_t h)
{
    struct rf_vocab_slot *at = seek(v, v->piece[id].s, v->piece[id].n, h);
    if (at->id) return;
    *at = key_of(v->piece[id].s, v->piece[id].n, h);
    at->id = id + 1;
}

void rf_vocab_add(struct rf_vocab *v, uint32_t id) { add_hashed(v, id, rf_hash(v->piece[id].s, v->piece[id].n, v->seed)); }

/* Tables are larger than caches: asking for a batch of slots before using the first hides most of the wait. */
enum { BATCH = 32 };

void rf_vocab_add_all(struct rf_vocab *v)
{
    uint64_t h[BATCH];
    for (uint32_t i = 0; i < v->n; i += BATCH) {
        uint32_t k = RF_MIN(v->n - i, (uint32_t)BATCH);
        for (uint32_t j = 0; j < k; j++) {
            h[j] = rf_hash(v->piece[i + j].s, v->piece[i + j].n, v->seed);
            __builtin_prefetch(&v->slot[(uint32_t)h[j] & v->mask], 1);
        }
        for (uint32_t j = 0; j < k; j++)
            if (v->piece[i + j].n) add_hashed(v, i + j, h[j]);
    }
}

void rf_vocab_find_many(const struct rf_vocab *v, struct rf_vocab_query *q, size_t n)
{
    for (size_t j = 0; j < n; j++) {
        q[j].hash = rf_hash(q[j].s, q[j].n, v->seed);
        __builtin_prefetch(&v->slot[(uint32_t)q[j].hash & v->mask]);
    }
    for (size_t j = 0; j < n; j++) {
        q[j].id = q[j].n <= INLINE ? 0 : v->slot[(uint32_t)q[j].hash & v->mask].id;
        if (q[j].id) __builtin_prefetch(&v->piece[q[j].id - 1]);
    }
    for (size_t j = 0; j < n; j++)
        if (q[j].id) __builtin_prefetch(v->piece[q[j].id - 1].s);
    for (size_t j = 0; j < n; j++) q[j].id = seek(v, q[j].s, q[j].n, q[j].hash)->id - 1u;
}

uint32_t rf_vocab_find(const struct rf_vocab *v, const char *s, size_t n)
{
    if (!v->slot) return RF_TOK_NONE;
    return seek(v, s, n, rf_hash(s, n, v->seed))->id - 1u; /* 0 - 1 is RF_TOK_NONE */
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

/* Is piece id the joined text? right is without its prefix. */
static bool is_join(const struct rf_vocab *v, uint32_t id, struct rf_str left, struct rf_str right)
{
    return id < v->n && v->piece[id].n == left.n + right.n && same(v->piece[id].s, left.s, left.n) &&
           same(v->piece[id].s + left.n, right.s, right.n);
}

static rf_status find_join(const struct rf_vocab *v, struct rf_str left, struct rf_str right, struct rf_buf *tmp, uint32_t *id)
{
    rf_buf_clear(tmp);
    rf_buf_append(tmp, left.s, left.n);
    rf_buf_append(tmp, right.s, right.n);
    *id = tmp->bad ? RF_TOK_NONE : rf_vocab_find(v, rf_buf_str(tmp), tmp->len);
    return tmp->bad;
}

rf_status rf_merges_load(struct rf_tokenizer *t, const void *list, size_t n, bool strict,
                         bool (*get)(const void *list, size_t i, struct rf_merge_pair *out), struct rf_error *err)
{
    struct rf_merge_pair m[BATCH];
    struct rf_vocab_query q[2 * BATCH];
    uint32_t rank[BATCH], id[BATCH], last = 0;
    struct rf_buf tmp = { 0 };
    size_t cut = t->word_prefix.n;
    rf_status st = rf_merges_init(&t->merges, n, err);
    for (size_t i = 0; i < n && !st;) {
        uint32_t k = 0;
        for (; k < BATCH && i < n; i++) {
            if (!get(list, i, &m[k])) continue;
            q[2 * k] = (struct rf_vocab_query){ .s = m[k].left.s, .n = m[k].left.n };
            q[2 * k + 1] = (struct rf_vocab_query){ .s = m[k].right.s, .n = m[k].right.n };
            rank[k++] = (uint32_t)i;
        }
        rf_vocab_find_many(&t->vocab, q, 2 * (size_t)k);
        for (uint32_t j = 0; j < k && !st; j++) {
            /* the result is nearly always the last merge's result again, or the piece behind it, so they are tried first */
            struct rf_str right = m[j].right;
            if (right.n >= cut) right.s += cut, right.n -= cut;
            for (id[j] = last; id[j] <= last + 1 && !is_join(&t->vocab, id[j], m[j].left, right); id[j]++) continue;
            if (id[j] > last + 1 && find_join(&t->vocab, m[j].left, right, &tmp, &id[j]))
                st = rf_fail_nomem(err, "merges", m[j].left.n + right.n);
            if (id[j] != RF_TOK_NONE) last = id[j];
            uint64_t h = ((uint64_t)q[2 * j].id << 32 | q[2 * j + 1].id) * 0x9e3779b97f4a7c15u;
            __builtin_prefetch(&t->merges.slot[(uint32_t)(h >> 32) & t->merges.mask], 1);
        }
        for (uint32_t j = 0; j < k && !st; j++) {
            uint32_t left = q[2 * j].id, right = q[2 * j + 1].id;
            if (left != RF_TOK_NONE && right != RF_TOK_NONE && id[j] != RF_TOK_NONE) rf_merges_add(&t->merges, left, right, rank[j], id[j]);
            else if (strict)
                st = rf_fail(err, RF_CORRUPT, "merge %u: found \"%.*s %.*s\", expected pieces of the vocabulary", rank[j],
                             (int)RF_MIN(m[j].left.n, (size_t)60), m[j].left.s, (int)RF_MIN(m[j].right.n, (size_t)60), m[j].right.s);
        }
    }
    rf_buf_release(&tmp);
    return st;
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
