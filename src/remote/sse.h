/* sse.h - server-sent events out of bytes as they come (WHATWG HTML, "Server-sent events", parsing and interpreting).
 *
 * Lines end with LF, CR or CR LF, wherever the bytes are cut; a byte order mark may stand before the first. Lines of "data" are
 * joined by LF, "event" names the event, a line that begins with ':' is a comment, and an empty line ends the event. "id" and "retry"
 * are for clients that connect again; we do not. What follows the last empty line is no event.
 *
 * Whoever sends may be hostile: a line and an event have a most, and nothing else grows. All-zero is a parser before its first byte.
 */
#ifndef RF_REMOTE_SSE_H
#define RF_REMOTE_SSE_H

#include <stdbool.h>

#include "base/buf.h"

enum { RF_SSE_LINE_MAX = 1 << 20, RF_SSE_EVENT_MAX = 4 << 20 }; /* bytes */

struct rf_sse_event { struct rf_str name, data; }; /* name is empty where the stream gives none; both borrowed during the call */

/* Anything but RF_OK ends the feeding with it; err is the handler's to fill. */
typedef rf_status (*rf_sse_fn)(void *ctx, const struct rf_sse_event *ev, struct rf_error *err);

struct rf_sse {
    struct rf_buf line, name, data;
    bool begun;      /* a line has ended: no byte order mark any more */
    bool after_cr;   /* an LF that comes now belongs to the line before */
    bool has_data;
};

/* Calls fn for every event that these bytes end. RF_TOO_LARGE, RF_NOMEM or what fn said; the parser is of no use then. */
rf_status rf_sse_feed(struct rf_sse *s, const char *p, size_t n, rf_sse_fn fn, void *ctx, struct rf_error *err);
void rf_sse_release(struct rf_sse *s);

#endif
