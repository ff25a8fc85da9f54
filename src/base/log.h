/* log.h - one line per event on standard error, control bytes escaped, no prompts and no keys.
 *
 * A logger is a value passed down by whoever made it; the library itself logs nothing unless it was given one.
 */
#ifndef RF_BASE_LOG_H
#define RF_BASE_LOG_H

#include "base/status.h"

enum rf_log_level { RF_LOG_ERROR, RF_LOG_WARN, RF_LOG_INFO, RF_LOG_DEBUG };

struct rf_log {
    enum rf_log_level level; /* lines above it are dropped; all-zero logs errors only */
    bool json;               /* JSON lines instead of plain text */
};

void rf_log(const struct rf_log *l, enum rf_log_level level, const char *fmt, ...) RF_PRINTF(3, 4);

#endif
