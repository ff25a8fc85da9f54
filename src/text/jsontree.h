/* jsontree.h - private: the small parts of tokenizer.json (everything but vocabulary and merges) as a tree. */
#ifndef RF_TEXT_JSONTREE_H
#define RF_TEXT_JSONTREE_H

#include "base/json.h"
#include "text/tok.h"

struct rf_jnode {
    enum rf_json_kind kind;
    struct rf_str key, str;
    double num;                       /* NUMBER, BOOL */
    struct rf_jnode *child, *next;    /* members or items in order */
};

/* Reads the value that comes next. Nodes live in j->arena; at most *left of them. */
rf_status rf_jtree_read(struct rf_json *j, uint32_t *left, struct rf_jnode **out);
const struct rf_jnode *rf_jtree_get(const struct rf_jnode *n, const char *key);        /* NULL: absent, null or n NULL */
struct rf_str rf_jtree_str(const struct rf_jnode *n, const char *key);                 /* empty if absent */
bool rf_jtree_bool(const struct rf_jnode *n, const char *key, bool fallback);
int64_t rf_jtree_int(const struct rf_jnode *n, const char *key, int64_t fallback);

/* Standard base64, up to the first '='; *out lies in the arena. */
rf_status rf_tok_base64(struct rf_arena *arena, struct rf_str b, struct rf_str *out, struct rf_error *err);

/* Their JSON objects into steps of t; NULL or null adds none. RF_UNSUPPORTED names the type. */
rf_status rf_json_normalizer(struct rf_tokenizer *t, const struct rf_jnode *n, struct rf_error *err);
rf_status rf_json_pretokenizer(struct rf_tokenizer *t, const struct rf_jnode *n, struct rf_error *err);
rf_status rf_json_decoder(struct rf_tokenizer *t, const struct rf_jnode *n, struct rf_error *err);
rf_status rf_json_decoder_wordpiece(struct rf_tokenizer *t, struct rf_str prefix, struct rf_error *err); /* with cleanup */
rf_status rf_json_postprocessor(struct rf_tokenizer *t, const struct rf_jnode *n, struct rf_error *err);

#endif
