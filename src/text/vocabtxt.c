/* vocab.txt: WordPiece, a piece a line, the line's number its id; options in tokenizer_config.json (BertTokenizer's names). */
#include <string.h>

#include "text/hfadded.h"

static rf_status read_lines(struct rf_tokenizer *t, const struct rf_added_list *added, struct rf_error *err)
{
    const char *s = rf_buf_str(&t->file), *nl;
    size_t n = t->file.len, lines = 0;
    for (size_t at = 0; at < n; at = nl ? (size_t)(nl - s) + 1 : n, lines++) nl = memchr(s + at, '\n', n - at);
    if (!lines) return rf_fail(err, RF_CORRUPT, "vocab.txt: found nothing, expected a piece a line");
    if (added->end > 4 * (uint64_t)lines + 65536) return rf_fail(err, RF_CORRUPT, "tokenizer_config.json: found added token %u beside %zu pieces", added->end - 1, lines);
    RF_TRY(rf_tok_alloc(t, RF_MAX(lines, (size_t)added->end), false, err));
    uint32_t id = 0;
    for (size_t at = 0; at < n; at = nl ? (size_t)(nl - s) + 1 : n, id++) {
        nl = memchr(s + at, '\n', n - at);
        size_t len = (nl ? (size_t)(nl - s) : n) - at;
        if (len && s[at + len - 1] == '\r') len--;
        t->vocab.piece[id] = (struct rf_str){ s + at, len };
        t->attr[id] = RF_TOKEN_NORMAL;
    }
    rf_vocab_add_all(&t->vocab);
    return RF_OK;
}

static void set_norm(struct rf_tokenizer *t, const struct rf_weights *w)
{
    bool lower = rf_tok_config_bool(w, "do_lower_case", true);
    t->norm[t->n_norm++] = (struct rf_norm_step){
        .kind = RF_NORM_BERT,
        .flags = RF_BERT_CLEAN | (rf_tok_config_bool(w, "tokenize_chinese_chars", true) ? RF_BERT_CJK : 0u) |
                 (rf_tok_config_bool(w, "strip_accents", lower) ? RF_BERT_ACCENTS : 0u) | (lower ? RF_BERT_LOWER : 0u),
    };
}

/* The token that the configuration names so, else the usual spelling; control from now on. */
static int32_t special(struct rf_tokenizer *t, const struct rf_weights *w, const char *name, const char *usual)
{
    int32_t id = rf_tok_named(t, w, name);
    if (id < 0) id = (int32_t)rf_vocab_find(&t->vocab, usual, strlen(usual));
    if (id >= 0) t->attr[id] = RF_TOKEN_CONTROL;
    return id;
}

static rf_status build(struct rf_tokenizer *t, const struct rf_weights *w, struct rf_added_list *added, struct rf_error *err)
{
    static const char *const known[] = { "BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer", "MobileBertTokenizer", "LayoutLMTokenizer", "MPNetTokenizer",
                                         "FunnelTokenizer", "DPRQuestionEncoderTokenizer", "DPRContextEncoderTokenizer", "SplinterTokenizer", "PreTrainedTokenizer" };
    const struct rf_fact *cls = rf_weights_fact(w, "tokenizer_config.tokenizer_class");
    bool ok = !cls;
    for (size_t i = 0; i < RF_COUNT(known) && !ok; i++) ok = rf_tok_class_is(w, known[i]);
    if (!ok)
        return rf_fail(err, RF_UNSUPPORTED, "vocab.txt: found tokenizer_class \"%.*s\", expected BertTokenizer or one like it, or a tokenizer.json",
                       (int)RF_MIN(cls->str.n, (size_t)60), cls->str.s);
    RF_TRY(rf_added_list_folder(added, t, w, err));
    RF_TRY(read_lines(t, added, err));
    set_norm(t, w);
    RF_TRY(rf_pretok_add_regex(t, "\\s", 2, RF_REMOVED, err));
    RF_TRY(rf_pretok_add_regex(t, RF_PUNCT, sizeof RF_PUNCT - 1, RF_ISOLATED, err));
    t->model = RF_TOK_WORDPIECE;
    t->max_word_chars = 100;
    t->word_prefix = (struct rf_str){ "##", 2 };
    RF_TRY(rf_json_decoder_wordpiece(t, t->word_prefix, err));
    RF_TRY(rf_added_apply(t, added, err));
    int32_t cls_id = special(t, w, "cls_token", "[CLS]"), sep = special(t, w, "sep_token", "[SEP]");
    special(t, w, "pad_token", "[PAD]");
    special(t, w, "mask_token", "[MASK]");
    int32_t unk = special(t, w, "unk_token", "[UNK]");
    if (unk >= 0) t->unk = (uint32_t)unk;
    t->bos = cls_id;
    t->eos = sep;
    if (cls_id >= 0) RF_TRY(rf_tok_put_around(t, false, cls_id, err));
    if (sep >= 0) RF_TRY(rf_tok_put_around(t, true, sep, err));
    rf_tok_mark_eog(t, w);
    RF_TRY(rf_added_sets(t, added, err));
    return rf_tok_make_bytes(t, err);
}

rf_status rf_tok_open_vocab_txt(struct rf_tokenizer *t, const struct rf_weights *w, struct rf_error *err)
{
    struct rf_added_list added = { .raw = true };
    RF_TRY(rf_weights_read_side_file(w, "vocab.txt", &t->file, err));
    rf_status st = build(t, w, &added, err);
    rf_added_list_release(&added);
    return st;
}
