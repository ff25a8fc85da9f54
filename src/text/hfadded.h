/* hfadded.h - private: what the readers of Hugging Face folders share: added tokens, configured names, storage. */
#ifndef RF_TEXT_HFADDED_H
#define RF_TEXT_HFADDED_H

#include "text/jsontree.h"

/* All-zero is empty. Texts live in t->arena or in t->file. */
struct rf_added_list {
    struct rf_added *tok;
    uint32_t n, cap, end;    /* end: largest id + 1 */
    bool alone;              /* only what is listed is looked for in text, else also what the attributes say */
    bool raw;                /* all are looked for in raw text, whatever they say */
};

rf_status rf_added_list_json(struct rf_added_list *l, const struct rf_jnode *array, struct rf_error *err);
/* tokenizer_config.json's added_tokens_decoder, else added_tokens.json; neither is fine. */
rf_status rf_added_list_folder(struct rf_added_list *l, struct rf_tokenizer *t, const struct rf_weights *w, struct rf_error *err);
void rf_added_list_release(struct rf_added_list *l);
/* Their pieces and attributes; all ids are below vocab.n. Before the model is prepared. */
rf_status rf_added_apply(struct rf_tokenizer *t, const struct rf_added_list *l, struct rf_error *err);
/* t->added and t->added_norm. After the normalizer. */
rf_status rf_added_sets(struct rf_tokenizer *t, const struct rf_added_list *l, struct rf_error *err);

/* "bos_token" of tokenizer_config.json (text, or an object with content), else the id in config.json; -1. */
int32_t rf_tok_named(const struct rf_tokenizer *t, const struct rf_weights *w, const char *name);
bool rf_tok_config_bool(const struct rf_weights *w, const char *name, bool fallback); /* of tokenizer_config.json */
bool rf_tok_class_is(const struct rf_weights *w, const char *name);                   /* tokenizer_class, with or without "Fast" */
/* Vocabulary of n empty UNUSED pieces. */
rf_status rf_tok_alloc(struct rf_tokenizer *t, uint64_t n, bool scores, struct rf_error *err);
/* One more token before (behind) every text with RF_TOK_ADD_SPECIAL; at most 64. */
rf_status rf_tok_put_around(struct rf_tokenizer *t, bool behind, int64_t id, struct rf_error *err);

/* Other files that a folder may have instead of tokenizer.json; RF_NOT_FOUND where it has not. */
rf_status rf_tok_open_tiktoken(struct rf_tokenizer *t, const struct rf_weights *w, struct rf_error *err); /* ranks of bytes */
rf_status rf_tok_open_pair(struct rf_tokenizer *t, const struct rf_weights *w, struct rf_error *err);     /* vocab.json, merges.txt */
rf_status rf_tok_open_vocab_txt(struct rf_tokenizer *t, const struct rf_weights *w, struct rf_error *err); /* WordPiece */

#endif
