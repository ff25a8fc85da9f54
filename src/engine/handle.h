/* handle.h - struct rf_model: one opened model, shared by the engines on it. Private to this room. */
#ifndef RF_ENGINE_HANDLE_H
#define RF_ENGINE_HANDLE_H

#include <pthread.h>

#include "base/arena.h"
#include "model/model.h"
#include "text/template.h"
#include "text/tokenizer.h"

struct rf_model {
    struct rf_weights *weights;     /* mapped as long as the model lives: the backend reads from it */
    struct rf_tokenizer *tokenizer; /* NULL with RF_OPEN_META */
    struct rf_template *chat, *chat_tools; /* NULL if none; chat_tools: the one for requests with tools, else NULL */
    struct rf_error chat_err;       /* why chat is NULL although the model has one; status RF_OK if it has none */
    bool has_template, adds_bos;
    struct rf_backend *backend;     /* NULL without weights */
    struct rf_lm *lm;
    _Atomic bool lost;              /* a file changed under it: nothing is computed any more */
    _Atomic bool stuck;             /* an engine's thread hangs in the driver: nothing of this may be given back */
    pthread_mutex_t device;         /* the backend serves one thread at a time: engines hold this during a step */
    bool device_ready;              /* the mutex exists */
    struct rf_model_info info;
    struct rf_arena arena;          /* strings of info; stop */
    void *advice, *messages;        /* json_t: the options' "sampling" and "messages"; NULL: none */
    uint32_t n_ctx_advised;         /* its num_ctx; 0: none */
    const char **stop;              /* its stop strings; they live in advice */
    size_t n_stop;
};

/* open.c: RF_IO, now and from then on, if a file of the model was changed in place. */
rf_status rf_handle_check(struct rf_model *m, struct rf_error *err);
/* describe.c: fills info from the facts, and from the language model where there is one. */
rf_status rf_handle_info_fill(struct rf_model *m, const char *path, struct rf_error *err);
/* chat.c: finds and parses the chat template; a broken one is kept as chat_err, not an error. */
rf_status rf_handle_chat_open(struct rf_model *m, const char *override, struct rf_error *err);

/* advice.c: keeps the options' system message, sampling and messages; RF_INVALID if these are not the JSON they should be. */
rf_status rf_handle_advice_open(struct rf_model *m, const struct rf_model_options *opt, struct rf_error *err);
void rf_handle_advice_apply(const struct rf_model *m, struct rf_sampling *s);
/* Puts the options' system message, where a conversation brings none, and their messages before it. messages: a json_t list. False: no memory. */
bool rf_handle_advice_begin(const struct rf_model *m, void *messages);
void rf_handle_advice_close(struct rf_model *m);

/* A fact under the GGUF key "<arch>.<gguf>" or the config.json key `hf` (also below text_config); NULL if absent. */
const struct rf_fact *rf_handle_fact(const struct rf_weights *w, const char *gguf, const char *hf);

#endif
