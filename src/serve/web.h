/* web.h - the page at /: its files, embedded at build time by web/embed.py, and how they are answered.
 *
 * The page holds nothing secret and so needs no key; what it asks of the API does. It loads nothing from elsewhere: the
 * policy in web.c lets a browser fetch from this server only and run no script but these files.
 */
#ifndef RF_SERVE_WEB_H
#define RF_SERVE_WEB_H

#include <stddef.h>

struct MHD_Response;
struct rf_call;

struct rf_web_file {
    const char *name;             /* behind /web/; the page itself is "index.html" */
    const char *type;             /* Content-Type */
    const char *tag;              /* hex digest of the contents, for ETag */
    const unsigned char *plain, *packed; /* as it is, and as gzip */
    size_t n_plain, n_packed;
};

extern const struct rf_web_file rf_web_files[]; /* ends with name NULL; generated */

/* The answer to c->reply.file: the file, or 304 where the client has it. Sets c->reply.status. NULL: no memory. */
struct MHD_Response *rf_serve_web_response(struct rf_call *c);

#endif
