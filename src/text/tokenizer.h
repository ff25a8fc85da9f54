/* tokenizer.h - text to token ids and back, exactly as the model's own tokenizer does it.
 *
 * Built from GGUF keys (tokenizer.ggml.*), or from a folder's files, first found wins: tokenizer.json; ranks (tokenizer.model in
 * that form, tiktoken.model, *.tiktoken); tokenizer.model (SentencePiece); tekken.json; vocab.json with merges.txt; vocab.txt. The
 * latter with the added tokens of tokenizer_config.json or added_tokens.json. Immutable after open, so any thread may use
 * it. Encoding is linear in the text: pre-tokenizer regexes run as automata, merges by a heap. Pieces are borrowed from the
 * weights, which must outlive the tokenizer.
 *
 * Text may be any bytes. Byte-level vocabularies give each byte its token, so every text comes back; byte-fallback ones
 * give <0xXX>; in others an invalid byte is an unknown character. Normalizers leave invalid bytes alone.
 *
 * Control tokens (attribute CONTROL) are the file's own and any piece spelled "<|...|>" or like a known turn marker: they
 * come out of text only under RF_TOK_PARSE_SPECIAL. Other added tokens (USER) are text that is always one token.
 */
#ifndef RF_TEXT_TOKENIZER_H
#define RF_TEXT_TOKENIZER_H

#include "base/buf.h"
#include "format/weights.h"

struct rf_tokenizer;

enum rf_token_attr { RF_TOKEN_NORMAL, RF_TOKEN_UNKNOWN, RF_TOKEN_CONTROL, RF_TOKEN_USER, RF_TOKEN_UNUSED, RF_TOKEN_BYTE };

rf_status rf_tokenizer_open(struct rf_tokenizer **out, const struct rf_weights *w, struct rf_error *err);
void rf_tokenizer_close(struct rf_tokenizer *t);

uint32_t rf_tokenizer_n_vocab(const struct rf_tokenizer *t);
int32_t rf_tokenizer_bos(const struct rf_tokenizer *t);  /* -1 if none */
int32_t rf_tokenizer_eos(const struct rf_tokenizer *t);
/* Ends generation: EOS, end-of-turn and the like (generation_config's list included). */
bool rf_tokenizer_is_eog(const struct rf_tokenizer *t, int32_t id);
enum rf_token_attr rf_tokenizer_attr(const struct rf_tokenizer *t, int32_t id);
int32_t rf_tokenizer_find(const struct rf_tokenizer *t, const char *piece, size_t len); /* exact vocabulary text, -1 */

/* A growable array of ids; all-zero is empty. */
struct rf_ids { int32_t *id; size_t n, cap; };
void rf_ids_release(struct rf_ids *ids);

/* Half-open byte range of text in which special tokens may be recognised. */
struct rf_span { size_t from, to; };

/* Appends to ids. flags: enum rf_tokenize_flags. With RF_TOK_PARSE_SPECIAL and trusted not NULL, special tokens are
 * recognised only where they lie wholly inside one of the n_trusted rising, disjoint spans; elsewhere they are text. */
rf_status rf_tokenizer_encode(const struct rf_tokenizer *t, const char *text, size_t len, uint32_t flags,
                              const struct rf_span *trusted, size_t n_trusted, struct rf_ids *ids, struct rf_error *err);

/* Bytes of one token in running text ("▁the" -> " the", "<0x0A>" -> "\n"); borrowed. Control tokens give their spelling. */
struct rf_str rf_tokenizer_bytes(const struct rf_tokenizer *t, int32_t id);

/* Streaming detokenizer: what it appends to out is whole UTF-8, always; incomplete bytes wait, invalid ones become
 * U+FFFD. The concatenation equals decoding all ids at once. All-zero plus init. */
struct rf_detok {
    const struct rf_tokenizer *t;
    bool skip_special, at_start, began; /* at_start: no text yet (a caller whose text goes on behind other clears it); began: some token came */
    uint32_t owed, owed_from; /* a token, plus 1: its bytes from there on are others if it is the last one */
    bool owed_first;
    unsigned n_held;
    char held[8];
};
void rf_detok_init(struct rf_detok *d, const struct rf_tokenizer *t, bool skip_special);
rf_status rf_detok_push(struct rf_detok *d, int32_t id, struct rf_buf *out);
rf_status rf_detok_finish(struct rf_detok *d, struct rf_buf *out);
/* All at once, raw bytes as the decoder joins them (may be broken UTF-8 if ids are cut mid-character). */
rf_status rf_tokenizer_decode(const struct rf_tokenizer *t, const int32_t *ids, size_t n, bool skip_special, struct rf_buf *out);

#endif
