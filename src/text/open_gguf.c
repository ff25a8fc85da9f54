#include <math.h>
#include <string.h>

#include "text/hfadded.h"

static const struct rf_fact *fact(const struct rf_weights *w, const char *key, enum rf_fact_kind kind)
{
    const struct rf_fact *f = rf_weights_fact(w, key);
    return f && f->kind == kind ? f : NULL;
}

/* A token id out of the header: in range, or -1. */
static int32_t fact_id(const struct rf_weights *w, const struct rf_tokenizer *t, const char *key, int64_t fallback)
{
    const struct rf_fact *f = fact(w, key, RF_FACT_INT);
    int64_t id = f ? f->i : fallback;
    return id >= 0 && id < t->vocab.n ? (int32_t)id : -1;
}

static bool fact_bool(const struct rf_weights *w, const char *key, bool fallback)
{
    const struct rf_fact *f = fact(w, key, RF_FACT_BOOL);
    return f ? f->i != 0 : fallback;
}

static rf_status load_pieces(struct rf_tokenizer *t, const struct rf_weights *w, struct rf_error *err)
{
    const struct rf_fact *f = rf_weights_fact(w, "tokenizer.ggml.tokens");
    if (!f || f->kind != RF_FACT_ARRAY || f->item_kind != RF_FACT_STRING || !f->n_items)
        return rf_fail(err, RF_CORRUPT, "tokenizer.ggml.tokens: found %s, expected an array of strings", f ? "something else" : "nothing");
    if (f->n_items > RF_TOK_MAX_VOCAB)
        return rf_fail(err, RF_TOO_LARGE, "tokenizer.ggml.tokens: found %llu pieces, expected at most %u",
                       (unsigned long long)f->n_items, RF_TOK_MAX_VOCAB);
    RF_TRY(rf_vocab_init(&t->vocab, (uint32_t)f->n_items, err));
    for (uint32_t i = 0; i < t->vocab.n; i++) {
        if (!rf_fact_item_str(f, i, &t->vocab.piece[i])) return rf_fail(err, RF_CORRUPT, "tokenizer.ggml.tokens: item %u is no string", i);
    }
    rf_vocab_add_all(&t->vocab);
    return RF_OK;
}

static rf_status load_types(struct rf_tokenizer *t, const struct rf_weights *w, struct rf_error *err)
{
    static const uint8_t attr_of[] = { RF_TOKEN_NORMAL, RF_TOKEN_NORMAL, RF_TOKEN_UNKNOWN, RF_TOKEN_CONTROL,
                                       RF_TOKEN_USER, RF_TOKEN_UNUSED, RF_TOKEN_BYTE };
    const struct rf_fact *f = rf_weights_fact(w, "tokenizer.ggml.token_type");
    t->attr = rf_alloc_array(t->vocab.n, 1);
    t->eog = rf_alloc_array(t->vocab.n, 1);
    if (!t->attr || !t->eog) return rf_fail_nomem(err, "token types", t->vocab.n);
    if (!f) return RF_OK;
    if (f->kind != RF_FACT_ARRAY || f->item_kind != RF_FACT_INT || f->n_items < t->vocab.n)
        return rf_fail(err, RF_CORRUPT, "tokenizer.ggml.token_type: found %llu items, expected %u integers",
                       (unsigned long long)f->n_items, t->vocab.n);
    for (uint32_t i = 0; i < t->vocab.n; i++) {
        int64_t v;
        if (!rf_fact_item_int(f, i, &v) || v < 0 || v >= (int64_t)RF_COUNT(attr_of)) v = 1;
        t->attr[i] = attr_of[v];
    }
    return RF_OK;
}

static rf_status load_scores(struct rf_tokenizer *t, const struct rf_weights *w, struct rf_error *err)
{
    const struct rf_fact *f = rf_weights_fact(w, "tokenizer.ggml.scores");
    if (!f || f->kind != RF_FACT_ARRAY || (f->item_kind != RF_FACT_FLOAT && f->item_kind != RF_FACT_INT) || f->n_items < t->vocab.n)
        return rf_fail(err, RF_CORRUPT, "tokenizer.ggml.scores: found %llu items, expected %u numbers",
                       (unsigned long long)(f ? f->n_items : 0), t->vocab.n);
    t->score = rf_alloc_array(t->vocab.n, sizeof *t->score);
    if (!t->score) return rf_fail_nomem(err, "scores", t->vocab.n * sizeof *t->score);
    for (uint32_t i = 0; i < t->vocab.n; i++) {
        double v;
        if (!rf_fact_item_float(f, i, &v) || isnan(v)) return rf_fail(err, RF_CORRUPT, "tokenizer.ggml.scores: item %u is no number", i);
        t->score[i] = v;
    }
    return RF_OK;
}

/* A merge is "left right"; a piece may itself start with a space. */
static bool get_merge(const void *list, size_t i, struct rf_merge_pair *out)
{
    struct rf_str m;
    if (!rf_fact_item_str(list, i, &m) || m.n < 3) return false;
    const char *gap = memchr(m.s + 1, ' ', m.n - 1);
    if (!gap) return false;
    out->left = (struct rf_str){ m.s, (size_t)(gap - m.s) };
    out->right = (struct rf_str){ gap + 1, (size_t)(m.s + m.n - gap - 1) };
    return true;
}

static rf_status load_merges(struct rf_tokenizer *t, const struct rf_weights *w, struct rf_error *err)
{
    const struct rf_fact *f = rf_weights_fact(w, "tokenizer.ggml.merges");
    if (!f || f->kind != RF_FACT_ARRAY || (f->n_items && f->item_kind != RF_FACT_STRING) || f->n_items > RF_TOK_MAX_VOCAB)
        return rf_fail(err, RF_CORRUPT, "tokenizer.ggml.merges: found %s, expected an array of strings", f ? "something else" : "nothing");
    return rf_merges_load(t, f, f->n_items, false, get_merge, err);
}

/* Files from before tokenizer.ggml.pre existed say by their architecture what they are. */
static struct rf_str guess_pre(const struct rf_tokenizer *t, const struct rf_weights *w)
{
    static const struct { const char *arch, *pre; } rows[] = {
        { "gptneox", "gpt-neox" }, { "gpt2", "gpt-2" },         { "qwen2", "qwen2" },       { "qwen", "qwen" },       { "falcon", "falcon" },
        { "starcoder", "starcoder" }, { "mpt", "mpt" },         { "phi2", "phi-2" },        { "command-r", "command-r" },
        { "stablelm", "gpt-neox" }, { "bloom", "bloom" },       { "refact", "refact" },     { "olmo", "olmo" },
    };
    const struct rf_fact *a = fact(w, "general.architecture", RF_FACT_STRING);
    for (size_t i = 0; a && i < RF_COUNT(rows); i++)
        if (rf_str_is(a->str, rows[i].arch)) return (struct rf_str){ rows[i].pre, strlen(rows[i].pre) };
    if (a && rf_str_is(a->str, "llama") && t->vocab.n >= 128000) return (struct rf_str){ "llama-bpe", 9 };
    return (struct rf_str){ "default", 7 };
}

/* The first Qwen came with ranks alone, where any pair whose bytes are a token merges; a converter's list of merges has one
 * pair a token, which is not the same. Pieces become bytes, so that neighbours can be joined and looked up. */
static rf_status open_ranked(struct rf_tokenizer *t, struct rf_error *err)
{
    struct rf_vocab bytes = { 0 };
    rf_status st = rf_vocab_init(&bytes, t->vocab.n, err);
    t->score = rf_alloc_array(t->vocab.n, sizeof *t->score);
    if (!st && !t->score) st = rf_fail_nomem(err, "vocabulary", t->vocab.n * sizeof *t->score);
    for (uint32_t i = 0; i < t->vocab.n && !st; i++) {
        struct rf_str p = t->vocab.piece[i];
        char *to = rf_arena_alloc(&t->arena, p.n + 1);
        if (!to) st = rf_fail_nomem(err, "vocabulary", p.n);
        else bytes.piece[i] = t->attr[i] == RF_TOKEN_NORMAL ? (struct rf_str){ to, rf_bytes_of_alphabet(p, to) } : p;
    }
    if (st) {
        rf_vocab_release(&bytes);
        return st;
    }
    rf_vocab_release(&t->vocab);
    t->vocab = bytes;
    rf_vocab_add_all(&t->vocab);
    rf_tok_set_ranked(t);
    return RF_OK;
}

static rf_status open_bpe(struct rf_tokenizer *t, const struct rf_weights *w, struct rf_error *err)
{
    const struct rf_fact *pre = fact(w, "tokenizer.ggml.pre", RF_FACT_STRING);
    t->model = RF_TOK_BPE;
    struct rf_str name = pre ? pre->str : guess_pre(t, w);
    const struct rf_fact *arch = fact(w, "general.architecture", RF_FACT_STRING);
    if (arch && rf_str_is(arch->str, "qwen") && rf_str_is(name, "qwen2")) name = (struct rf_str){ "qwen", 4 };
    if (fact_bool(w, "tokenizer.ggml.normalizer.lowercase", false)) t->norm[t->n_norm++].kind = RF_NORM_LOWER;
    RF_TRY(rf_pretok_by_name(t, name, err));
    if (t->ranked) return open_ranked(t, err);
    return load_merges(t, w, err);
}

static rf_status open_spm(struct rf_tokenizer *t, const struct rf_weights *w, struct rf_error *err)
{
    static const struct rf_str space = { " ", 1 }, meta = { "\xE2\x96\x81", 3 };
    bool prefix = fact_bool(w, "tokenizer.ggml.add_space_prefix", true);
    t->model = RF_TOK_SPM;
    t->decode = RF_DECODE_SPM;
    t->decode_strip = prefix;
    t->byte_fallback = true;
    t->add_bos = true;
    RF_TRY(load_scores(t, w, err));
    if (fact_bool(w, "tokenizer.ggml.remove_extra_whitespaces", false)) t->norm[t->n_norm++].kind = RF_NORM_SQUEEZE;
    if (prefix) t->norm[t->n_norm++] = (struct rf_norm_step){ .kind = RF_NORM_PREPEND, .content = meta };
    t->norm[t->n_norm++] = (struct rf_norm_step){ .kind = RF_NORM_REPLACE, .pattern = space, .content = meta };
    return rf_spm_prepare(t, err);
}

static rf_status open_wordpiece(struct rf_tokenizer *t, const struct rf_weights *w, struct rf_error *err)
{
    bool lower = fact_bool(w, "tokenizer.ggml.normalizer.lowercase", true);
    bool strip = fact_bool(w, "tokenizer.ggml.normalizer.strip_accents", lower);
    t->model = RF_TOK_WORDPIECE;
    t->decode = RF_DECODE_WORDPIECE;
    t->decode_strip = true;
    t->max_word_chars = 100;
    t->word_first = (struct rf_str){ "\xE2\x96\x81", 3 }; /* GGUF writes "▁word" and "piece" for "word" and "##piece" */
    t->norm[t->n_norm++] = (struct rf_norm_step){ .kind = RF_NORM_BERT, .flags = RF_BERT_CLEAN | RF_BERT_CJK };
    t->norm[t->n_norm - 1].flags |= (lower ? RF_BERT_LOWER : 0) | (strip ? RF_BERT_ACCENTS : 0);
    RF_TRY(rf_pretok_add_regex(t, "\\s", 2, RF_REMOVED, err));
    return rf_pretok_add_regex(t, RF_PUNCT, sizeof RF_PUNCT - 1, RF_ISOLATED, err);
}

static rf_status open_unigram(struct rf_tokenizer *t, const struct rf_weights *w, struct rf_error *err)
{
    static const struct rf_str space = { " ", 1 }, meta = { "\xE2\x96\x81", 3 };
    const struct rf_fact *map = rf_weights_fact(w, "tokenizer.ggml.precompiled_charsmap");
    t->model = RF_TOK_UNIGRAM;
    t->float_sums = true;
    t->fuse_unk = true;
    t->decode = RF_DECODE_SPM;
    t->decode_strip = fact_bool(w, "tokenizer.ggml.add_space_prefix", true);
    t->add_eos = true;
    RF_TRY(load_scores(t, w, err));
    if (map && map->kind == RF_FACT_ARRAY && map->n_items) {
        char *blob = map->n_items < (1u << 26) ? rf_arena_alloc(&t->arena, map->n_items) : NULL;
        if (!blob) return rf_fail_nomem(err, "precompiled_charsmap", map->n_items);
        for (uint64_t i = 0; i < map->n_items; i++) {
            int64_t v = 0;
            if (!rf_fact_item_int(map, i, &v)) return rf_fail(err, RF_CORRUPT, "tokenizer.ggml.precompiled_charsmap: item %llu is no byte", (unsigned long long)i);
            blob[i] = (char)v;
        }
        t->norm[t->n_norm++] = (struct rf_norm_step){ .kind = RF_NORM_CHARSMAP, .pattern = { blob, map->n_items } };
    }
    if (fact_bool(w, "tokenizer.ggml.remove_extra_whitespaces", true)) t->norm[t->n_norm++].kind = RF_NORM_SQUEEZE;
    if (t->decode_strip) t->norm[t->n_norm++] = (struct rf_norm_step){ .kind = RF_NORM_PREPEND, .content = meta };
    t->norm[t->n_norm++] = (struct rf_norm_step){ .kind = RF_NORM_REPLACE, .pattern = space, .content = meta };
    return rf_unigram_prepare(t, err);
}

/* What stands around a text: [CLS] ... [SEP] for BERT, BOS and EOS as the header says else. */
static rf_status set_ends(struct rf_tokenizer *t, const struct rf_weights *w, struct rf_error *err)
{
    bool bert = t->model == RF_TOK_WORDPIECE;
    int32_t first = t->bos, last = t->eos;
    if (bert || t->add_sep || fact_bool(w, "tokenizer.ggml.add_sep_token", false)) {
        first = fact_id(w, t, "tokenizer.ggml.cls_token_id", t->bos);
        last = fact_id(w, t, "tokenizer.ggml.seperator_token_id", t->eos);
        if (t->bos < 0) t->bos = first;
        if (t->eos < 0) t->eos = last;
    }
    bool sep = fact_bool(w, "tokenizer.ggml.add_sep_token", bert || t->add_sep);
    bool add_first = fact_bool(w, "tokenizer.ggml.add_bos_token", t->add_bos || t->add_sep || bert);
    bool add_last = fact_bool(w, "tokenizer.ggml.add_eos_token", t->add_eos) || sep;
    t->prefix_ids = rf_alloc_array(1, sizeof *t->prefix_ids);
    t->suffix_ids = rf_alloc_array(1, sizeof *t->suffix_ids);
    if (!t->prefix_ids || !t->suffix_ids) return rf_fail_nomem(err, "tokenizer", 8);
    if (add_first && first >= 0) t->prefix_ids[t->n_prefix++] = (uint32_t)first;
    if (add_last && last >= 0) t->suffix_ids[t->n_suffix++] = (uint32_t)last;
    return RF_OK;
}

/* User-defined pieces are text that is always one token; control ones only where the caller parses them. A marker that
 * a converter called user-defined ("<|im_end|>", "<end_of_turn>") counts as control: user text must not reach it. */
void rf_tok_hide_special(struct rf_tokenizer *t)
{
    for (uint32_t i = 0; i < t->vocab.n; i++)
        if (t->attr[i] == RF_TOKEN_USER && rf_tok_looks_special(t->vocab.piece[i])) t->attr[i] = RF_TOKEN_CONTROL;
}

/* Where the header is silent, a family's usual id counts only if that token looks like one ("<s>", "[CLS]"). */
static int usual(const struct rf_tokenizer *t, int id)
{
    struct rf_str p = id >= 0 && (uint32_t)id < t->vocab.n ? t->vocab.piece[id] : (struct rf_str){ "", 0 };
    return p.n > 1 && (*p.s == '<' || *p.s == '[' || t->attr[id] == RF_TOKEN_CONTROL) ? id : -1;
}

rf_status rf_tok_open_gguf(struct rf_tokenizer *t, const struct rf_weights *w, struct rf_error *err)
{
    static const struct {
        const char *name;
        rf_status (*open)(struct rf_tokenizer *, const struct rf_weights *, struct rf_error *);
        int bos, eos, unk; /* where the header is silent */
    } models[] = {
        { "gpt2", open_bpe, 11, 11, -1 }, { "gemma4", open_bpe, -1, -1, 3 }, { "llama", open_spm, 1, 2, 0 },
        { "bert", open_wordpiece, 101, -1, 100 }, { "t5", open_unigram, -1, 1, 2 },
    };
    static const struct rf_added_list none; /* the attributes say it all */
    const struct rf_fact *f = fact(w, "tokenizer.ggml.model", RF_FACT_STRING);
    if (!f) return rf_fail(err, RF_NOT_FOUND, "tokenizer.ggml.model: found nothing, expected a tokenizer's name");
    for (size_t i = 0; i < RF_COUNT(models); i++) {
        if (!rf_str_is(f->str, models[i].name)) continue;
        RF_TRY(load_pieces(t, w, err));
        RF_TRY(load_types(t, w, err));
        t->bos = fact_id(w, t, "tokenizer.ggml.bos_token_id", usual(t, models[i].bos));
        t->eos = fact_id(w, t, "tokenizer.ggml.eos_token_id", usual(t, models[i].eos));
        t->unk = (uint32_t)fact_id(w, t, "tokenizer.ggml.unknown_token_id", models[i].unk); /* -1 is RF_TOK_NONE */
        RF_TRY(models[i].open(t, w, err));
        RF_TRY(set_ends(t, w, err));
        rf_tok_mark_eog(t, w);
        rf_tok_hide_special(t);
        RF_TRY(rf_added_sets(t, &none, err));
        rf_tok_find_byte_ids(t);
        return rf_tok_make_bytes(t, err);
    }
    return rf_fail(err, RF_UNSUPPORTED, "tokenizer.ggml.model: found \"%.*s\", expected gpt2, llama, bert or t5",
                   (int)RF_MIN(f->str.n, (size_t)60), f->str.s);
}
