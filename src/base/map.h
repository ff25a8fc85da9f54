/* map.h - hash map from byte strings to uint32_t, open addressing, keys borrowed (they must outlive the map).
 * Seeded per map, so that a hostile vocabulary cannot choose its collisions. All-zero is a valid empty map.
 */
#ifndef RF_BASE_MAP_H
#define RF_BASE_MAP_H

#include <string.h>

#include "base/status.h"

#define RF_MAP_NONE UINT32_MAX

struct rf_map {
    struct rf_map_slot *slots;
    size_t n, cap; /* cap is a power of two or 0 */
    uint64_t seed;
};

rf_status rf_map_reserve(struct rf_map *m, size_t n);
/* Sets key to value; *old (may be NULL) gets the previous value or RF_MAP_NONE. */
rf_status rf_map_set(struct rf_map *m, const void *key, size_t len, uint32_t value, uint32_t *old);
uint32_t rf_map_get(const struct rf_map *m, const void *key, size_t len); /* RF_MAP_NONE if absent */
void rf_map_release(struct rf_map *m);

/* n < 8 bytes as one number, without a call: of equal n, different bytes give different numbers. */
static inline uint64_t rf_hash_tail(const void *p, size_t n)
{
    const unsigned char *s = p;
    uint32_t low, high;
    if (n < 4) return n ? s[0] | (uint64_t)s[n / 2] << 8 | (uint64_t)s[n - 1] << 16 : 0;
    memcpy(&low, s, 4);
    memcpy(&high, s + n - 4, 4);
    return low | (uint64_t)high << 32;
}

uint64_t rf_hash(const void *p, size_t n, uint64_t seed); /* wyhash-style mixing, our own; not cryptographic */

#endif
