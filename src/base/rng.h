/* rng.h - a small seeded generator (splitmix64, Steele, Lea, Flood 2014). State is the caller's; never for secrets. */
#ifndef RF_BASE_RNG_H
#define RF_BASE_RNG_H

#include <math.h>
#include <stdint.h>

struct rf_rng { uint64_t state; };

static inline uint64_t rf_rng_u64(struct rf_rng *r)
{
    uint64_t z = (r->state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}
static inline uint32_t rf_rng_below(struct rf_rng *r, uint32_t n) /* [0, n), n > 0 */
{
    return (uint32_t)(((rf_rng_u64(r) >> 32) * n) >> 32);
}
static inline double rf_rng_unit(struct rf_rng *r) /* [0, 1) */
{
    return (double)(rf_rng_u64(r) >> 11) * 0x1p-53;
}
static inline double rf_rng_normal(struct rf_rng *r) /* Box-Muller, one of the pair */
{
    double u = 1.0 - rf_rng_unit(r), v = rf_rng_unit(r);
    return sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v);
}

#endif
