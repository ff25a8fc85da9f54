/* http_get.h - one GET over TCP, for `ps`. HTTP/1.0, so that the answer ends where the connection does. */
#ifndef RF_CLI_HTTP_GET_H
#define RF_CLI_HTTP_GET_H

#include "base/buf.h"

/* body gets at most 16 MB. *status is HTTP's. key may be NULL. RF_IO where nobody listens or the answer is not HTTP. */
rf_status rf_cli_http_get(const char *host, uint16_t port, const char *path, const char *key, struct rf_buf *body, unsigned *status,
                          struct rf_error *err);

#endif
