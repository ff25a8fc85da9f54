/* chat.h - messages of a request to prompt tokens; shared by the chat and the tokenize routes. */
#ifndef RF_SERVE_CHAT_H
#define RF_SERVE_CHAT_H

#include "serve/internal.h"
#include "serve/params.h"

/* Checks and normalises p->messages, renders the template. *ids is freed with rf_free. Errors name "messages". */
rf_status rf_serve_chat_tokens(const struct rf_served *on, const struct rf_params *p, int32_t **ids, size_t *n,
                               struct rf_error *err);
/* RF_TOO_LONG if so many bytes cannot fit the context however they are tokenised. */
rf_status rf_serve_bytes_check(const struct rf_served *on, size_t bytes, const char *field, struct rf_error *err);

#endif
