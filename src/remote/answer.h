/* answer.h - the body of an answer becomes text: chunks of /v1/chat/completions and /v1/completions as an event stream, or the whole
 * of one as JSON where a server does not stream. No network here: bytes in, calls of the sink out.
 */
#ifndef RF_REMOTE_ANSWER_H
#define RF_REMOTE_ANSWER_H

#include <jansson.h>

#include "remote/remote.h"
#include "remote/sse.h"

enum { RF_REMOTE_JSON_MAX = 4 << 20, RF_REMOTE_TEXT_MAX = 256 << 20 }; /* bytes: a whole body; the text of one answer */

struct rf_remote_reader {
    const char *from;                    /* who is read, for messages */
    const struct rf_remote_sink *sink;
    struct rf_remote_answer *answer;
    bool stream;                         /* events; else one JSON value */
    struct rf_sse sse;
    struct rf_buf whole;
    size_t n_events, n_text;
    double asked, first, last;           /* rf_now(): sent; first and last text */
    bool done;                           /* "[DONE]": what follows is not for us */
};

/* type: the Content-Type. RF_CORRUPT where it is neither events nor JSON. */
rf_status rf_remote_reader_start(struct rf_remote_reader *r, const char *type, struct rf_error *err);
rf_status rf_remote_reader_feed(struct rf_remote_reader *r, const char *p, size_t n, struct rf_error *err);
/* The connection has ended: RF_IO where the answer had not. */
rf_status rf_remote_reader_end(struct rf_remote_reader *r, struct rf_error *err);
void rf_remote_reader_release(struct rf_remote_reader *r);

/* What an error object says: {"error":{"message":...}} and the other spellings in use. NULL if nothing. Borrowed. */
const char *rf_remote_said(const json_t *root);
/* Is it the prompt that is too long? */
bool rf_remote_is_too_long(const json_t *root);

#endif
