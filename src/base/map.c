#include "base/map.h"

#include <string.h>
#include <time.h>

#include "base/mem.h"

struct rf_map_slot {
    const void *key; /* NULL: free */
    uint32_t len, value;
    uint64_t hash;
};

static uint64_t mix(uint64_t a, uint64_t b)
{
    __uint128_t r = (__uint128_t)a * b;
    return (uint64_t)r ^ (uint64_t)(r >> 64);
}

uint64_t rf_hash(const void *p, size_t n, uint64_t seed)
{
    const unsigned char *s = p;
    uint64_t h = seed ^ 0x9e3779b97f4a7c15u, w;
    size_t left = n;
    for (; left >= 8; left -= 8, s += 8) {
        memcpy(&w, s, 8);
        h = mix(h ^ w, 0xd6e8feb86659fd93u);
    }
    w = rf_hash_tail(s, left);
    h = mix(h ^ w, 0xa0761d6478bd642fu);
    return mix(h ^ n, 0xe7037ed1a0b428dbu);
}

static struct rf_map_slot *find(struct rf_map_slot *slots, size_t cap, const void *key, size_t len, uint64_t h)
{
    for (size_t i = h & (cap - 1);; i = (i + 1) & (cap - 1)) {
        struct rf_map_slot *s = &slots[i];
        if (!s->key || (s->hash == h && s->len == len && (!len || !memcmp(s->key, key, len)))) return s;
    }
}

rf_status rf_map_reserve(struct rf_map *m, size_t n)
{
    size_t cap = m->cap ? m->cap : 16;
    while (cap / 4 * 3 <= n) {
        if (cap > SIZE_MAX / 2) return RF_TOO_LARGE;
        cap *= 2;
    }
    if (cap == m->cap) return RF_OK;
    if (!m->seed) {
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        m->seed = mix((uint64_t)t.tv_nsec ^ (uintptr_t)m, (uint64_t)t.tv_sec | 1) | 1;
    }
    struct rf_map_slot *slots = rf_alloc_array(cap, sizeof *slots);
    if (!slots) return RF_NOMEM;
    for (size_t i = 0; i < m->cap; i++) {
        struct rf_map_slot *s = &m->slots[i];
        if (s->key) *find(slots, cap, s->key, s->len, s->hash) = *s;
    }
    rf_free(m->slots);
    m->slots = slots;
    m->cap = cap;
    return RF_OK;
}

rf_status rf_map_set(struct rf_map *m, const void *key, size_t len, uint32_t value, uint32_t *old)
{
    if (len > UINT32_MAX) return RF_TOO_LARGE;
    RF_TRY(rf_map_reserve(m, m->n + 1));
    uint64_t h = rf_hash(key, len, m->seed);
    struct rf_map_slot *s = find(m->slots, m->cap, key, len, h);
    if (old) *old = s->key ? s->value : RF_MAP_NONE;
    if (!s->key) {
        *s = (struct rf_map_slot){.key = key ? key : "", .len = (uint32_t)len, .hash = h};
        m->n++;
    }
    s->value = value;
    return RF_OK;
}

uint32_t rf_map_get(const struct rf_map *m, const void *key, size_t len)
{
    if (!m->cap) return RF_MAP_NONE;
    const struct rf_map_slot *s = find(m->slots, m->cap, key, len, rf_hash(key, len, m->seed));
    return s->key ? s->value : RF_MAP_NONE;
}

void rf_map_release(struct rf_map *m)
{
    rf_free(m->slots);
    *m = (struct rf_map){0};
}
