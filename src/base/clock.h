/* clock.h - the monotonic clock. Rooms that decide by time take it as an argument; only outer rooms read it. */
#ifndef RF_BASE_CLOCK_H
#define RF_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline double rf_now(void) /* seconds, monotonic */
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static inline int64_t rf_unix_time(void) /* seconds since 1970, for people and APIs only */
{
    return (int64_t)time(NULL);
}

#endif
