#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

rf_status rf_buf_reserve(struct rf_buf *b, size_t more)
{
    if (b->bad) return b->bad;
    size_t need, max = b->max ? b->max : RF_BUF_MAX;
    if (!rf_add(b->len, more, &need) || need > max) return b->bad = RF_TOO_LARGE;
    if (b->data && need < b->cap) return RF_OK;
    size_t cap = RF_MAX(need + 1, RF_MIN(b->cap * 2, max + 1));
    cap = RF_MAX(cap, 64);
    char *p = rf_realloc_array(b->data, cap, 1);
    if (!p) return b->bad = RF_NOMEM;
    b->data = p;
    b->cap = cap;
    b->data[b->len] = 0;
    return RF_OK;
}

rf_status rf_buf_append(struct rf_buf *b, const void *p, size_t n)
{
    RF_TRY(rf_buf_reserve(b, n));
    if (n) memcpy(b->data + b->len, p, n);
    b->len += n;
    b->data[b->len] = 0;
    return RF_OK;
}

rf_status rf_buf_puts(struct rf_buf *b, const char *s) { return rf_buf_append(b, s, strlen(s)); }
rf_status rf_buf_putc(struct rf_buf *b, char c) { return rf_buf_append(b, &c, 1); }

rf_status rf_buf_printf(struct rf_buf *b, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    rf_status s = n < 0 ? RF_INTERNAL : rf_buf_reserve(b, (size_t)n);
    if (!s) {
        vsnprintf(b->data + b->len, (size_t)n + 1, fmt, again);
        b->len += (size_t)n;
    }
    va_end(again);
    return s;
}

const char *rf_buf_str(const struct rf_buf *b) { return b->data ? b->data : ""; }

void rf_buf_clear(struct rf_buf *b)
{
    b->len = 0;
    b->bad = RF_OK;
    if (b->data) b->data[0] = 0;
}

char *rf_buf_take(struct rf_buf *b, size_t *len)
{
    if (b->bad || rf_buf_reserve(b, 0)) return NULL;
    char *p = b->data;
    if (len) *len = b->len;
    *b = (struct rf_buf){.max = b->max};
    return p;
}

void rf_buf_release(struct rf_buf *b)
{
    rf_free(b->data);
    *b = (struct rf_buf){.max = b->max};
}
