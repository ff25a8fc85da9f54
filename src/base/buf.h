/* buf.h - a growable byte buffer with a maximum, always NUL-terminated behind its last byte.
 *
 * All-zero is a valid empty buffer with the default maximum (RF_BUF_MAX). Once an append fails the buffer is marked
 * bad, keeps what it has, and every later append is refused: callers may append freely and check once.
 */
#ifndef RF_BASE_BUF_H
#define RF_BASE_BUF_H

#include "base/status.h"

#define RF_BUF_MAX ((size_t)1 << 30)

struct rf_str { const char *s; size_t n; }; /* borrowed bytes, not NUL-ended */

struct rf_buf {
    char *data;      /* NULL while empty; use rf_buf_str for a string that is never NULL */
    size_t len, cap;
    size_t max;      /* 0: RF_BUF_MAX */
    rf_status bad;   /* RF_OK, RF_NOMEM or RF_TOO_LARGE */
};

rf_status rf_buf_append(struct rf_buf *b, const void *p, size_t n);
rf_status rf_buf_puts(struct rf_buf *b, const char *s);
rf_status rf_buf_putc(struct rf_buf *b, char c);
rf_status rf_buf_printf(struct rf_buf *b, const char *fmt, ...) RF_PRINTF(2, 3);
rf_status rf_buf_reserve(struct rf_buf *b, size_t more);
const char *rf_buf_str(const struct rf_buf *b);
void rf_buf_clear(struct rf_buf *b);                 /* keeps the memory */
char *rf_buf_take(struct rf_buf *b, size_t *len);    /* moves the bytes out (rf_free); never NULL unless bad */
void rf_buf_release(struct rf_buf *b);

#endif
