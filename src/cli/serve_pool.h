/* serve_pool.h - the models of `list` behind a server without a fixed model: names, loading, closing. */
#ifndef RF_CLI_SERVE_POOL_H
#define RF_CLI_SERVE_POOL_H

#include "cli/cli.h"
#include "serve/serve.h"

struct rf_cli_pool;

/* Scans the disk once; later again where a name is asked for that is not there, and for lists that are some seconds old. */
rf_status rf_cli_pool_create(struct rf_cli_pool **out, const struct rf_cli *c, struct rf_error *err);
void rf_cli_pool_free(struct rf_cli_pool *p); /* NULL is fine; after the server */
const struct rf_serve_pool *rf_cli_pool_door(struct rf_cli_pool *p);
size_t rf_cli_pool_n(struct rf_cli_pool *p);  /* models that can be asked for */

#endif
