/* tokenizer.json: the vocabulary and the merges are read in one walk into flat arrays, the rest into a small tree. */
#include <math.h>
#include <string.h>

#include "text/hfadded.h"

struct entry { struct rf_str text; double score; uint32_t id; };

struct file {
    struct rf_json j;
    uint32_t nodes_left;
    struct rf_jnode *added, *norm, *pre, *post, *decoder, *model; /* model without vocab and merges */
    struct entry *entry;
    struct rf_json_pair *merge;
    size_t n_entry, cap_entry, n_merge, cap_merge;
    bool unigram;
};

/* room: how many there may be, to begin with; too few costs copies, too many costs nothing before it is used. */
static rf_status grow(void *list, size_t n, size_t *cap, size_t size, size_t room, struct rf_error *err)
{
    if (n < *cap) return RF_OK;
    if (n >= RF_TOK_MAX_VOCAB) return rf_fail(err, RF_TOO_LARGE, "tokenizer.json: found more than %u pieces or merges", RF_TOK_MAX_VOCAB);
    size_t c = *cap ? *cap * 2 : RF_MAX(RF_MIN(room, (size_t)RF_TOK_MAX_VOCAB), (size_t)64);
    void *old;
    memcpy(&old, list, sizeof old);
    void *p = rf_realloc_array(old, c, size);
    if (!p) return rf_fail_nomem(err, "tokenizer.json", c * size);
    memcpy(list, &p, sizeof p);
    *cap = c;
    return RF_OK;
}

static rf_status read_number(struct file *f, double *out)
{
    struct rf_json_value v;
    RF_TRY(rf_json_scalar(&f->j, &v));
    if (v.kind != RF_JSON_NUMBER) return rf_json_fail(&f->j, "a number");
    *out = v.f;
    return RF_OK;
}

/* {"piece": id, ...} or, for Unigram, [["piece", score], ...]. */
static rf_status read_vocab(struct file *f)
{
    static const char scored[] = "a pair of piece and score";
    enum rf_json_kind kind;
    bool more;
    rf_status st;
    RF_TRY(rf_json_peek(&f->j, &kind));
    f->unigram = kind == RF_JSON_ARRAY;
    RF_TRY(rf_json_enter(&f->j, f->unigram ? '[' : '{'));
    f->n_entry = 0;
    while (!(st = rf_json_next(&f->j, &more)) && more) {
        RF_TRY(grow(&f->entry, f->n_entry, &f->cap_entry, sizeof *f->entry, f->j.n / 48, f->j.err));
        struct entry *e = &f->entry[f->n_entry];
        e->score = 0;
        e->id = (uint32_t)f->n_entry++;
        if (f->unigram) {
            RF_TRY(rf_json_enter(&f->j, '['));
            RF_TRY(rf_json_item(&f->j, scored));
            RF_TRY(rf_json_string(&f->j, &e->text));
            RF_TRY(rf_json_item(&f->j, scored));
            RF_TRY(read_number(f, &e->score));
            RF_TRY(rf_json_last(&f->j, scored));
        } else {
            uint64_t id;
            RF_TRY(rf_json_key(&f->j, &e->text));
            RF_TRY(rf_json_u64(&f->j, "token id", &id));
            if (id >= RF_TOK_MAX_VOCAB) return rf_json_fail(&f->j, "a token id below 16777216");
            e->id = (uint32_t)id;
        }
    }
    return st;
}

/* ["a b", ...] or [["a", "b"], ...] */
static rf_status read_merges(struct file *f)
{
    static const char pair[] = "a pair of pieces";
    enum rf_json_kind kind;
    bool more;
    rf_status st;
    RF_TRY(rf_json_enter(&f->j, '['));
    f->n_merge = 0;
    while (!(st = rf_json_next(&f->j, &more)) && more) {
        RF_TRY(grow(&f->merge, f->n_merge, &f->cap_merge, sizeof *f->merge, f->j.n / 48, f->j.err));
        size_t n = rf_json_pairs(&f->j, &f->merge[f->n_merge], f->cap_merge - f->n_merge);
        f->n_merge += n;
        if (n) continue;
        struct rf_json_pair *m = &f->merge[f->n_merge++];
        *m = (struct rf_json_pair){ { "", 0 }, { "", 0 } };
        RF_TRY(rf_json_peek(&f->j, &kind));
        if (kind == RF_JSON_ARRAY) {
            RF_TRY(rf_json_enter(&f->j, '['));
            RF_TRY(rf_json_item(&f->j, pair));
            RF_TRY(rf_json_string(&f->j, &m->a));
            RF_TRY(rf_json_item(&f->j, pair));
            RF_TRY(rf_json_string(&f->j, &m->b));
            RF_TRY(rf_json_last(&f->j, pair));
            continue;
        }
        RF_TRY(rf_json_string(&f->j, &m->a));
        const char *gap = m->a.n ? memchr(m->a.s, ' ', m->a.n) : NULL;
        if (!gap) return rf_json_fail(&f->j, "a merge of two pieces");
        m->b = (struct rf_str){ gap + 1, (size_t)(m->a.s + m->a.n - gap - 1) };
        m->a.n = (size_t)(gap - m->a.s);
    }
    return st;
}

static rf_status read_model(struct file *f)
{
    bool more;
    rf_status st;
    struct rf_jnode *n = rf_arena_alloc(f->j.arena, sizeof *n);
    if (!n) return rf_fail_nomem(f->j.err, "tokenizer.json", sizeof *n);
    n->kind = RF_JSON_OBJECT;
    struct rf_jnode **tail = &n->child;
    f->model = n;
    RF_TRY(rf_json_enter(&f->j, '{'));
    while (!(st = rf_json_next(&f->j, &more)) && more) {
        struct rf_str key;
        RF_TRY(rf_json_key(&f->j, &key));
        if (rf_str_is(key, "vocab")) RF_TRY(read_vocab(f));
        else if (rf_str_is(key, "merges")) RF_TRY(read_merges(f));
        else {
            RF_TRY(rf_jtree_read(&f->j, &f->nodes_left, tail));
            (*tail)->key = key;
            tail = &(*tail)->next;
        }
    }
    return st;
}

static rf_status read_file(struct file *f)
{
    bool more;
    rf_status st;
    RF_TRY(rf_json_enter(&f->j, '{'));
    while (!(st = rf_json_next(&f->j, &more)) && more) {
        struct rf_str key;
        struct { const char *name; struct rf_jnode **to; } parts[] = {
            { "added_tokens", &f->added }, { "normalizer", &f->norm }, { "pre_tokenizer", &f->pre },
            { "post_processor", &f->post }, { "decoder", &f->decoder },
        };
        bool known = false;
        RF_TRY(rf_json_key(&f->j, &key));
        for (size_t i = 0; i < RF_COUNT(parts) && !known; i++)
            if (rf_str_is(key, parts[i].name)) {
                RF_TRY(rf_jtree_read(&f->j, &f->nodes_left, parts[i].to));
                known = true;
            }
        if (!known && rf_str_is(key, "model")) RF_TRY(read_model(f));
        else if (!known) RF_TRY(rf_json_skip(&f->j));
    }
    RF_TRY(st);
    RF_TRY(rf_json_end(&f->j));
    if (!f->model || !f->n_entry) return rf_fail(f->j.err, RF_CORRUPT, "tokenizer.json: found no model.vocab, expected one");
    return RF_OK;
}

/* ---- into the tokenizer ---- */

static rf_status set_vocab(struct rf_tokenizer *t, const struct file *f, const struct rf_added_list *added, struct rf_error *err)
{
    uint64_t n = added->end;
    for (size_t i = 0; i < f->n_entry; i++) n = RF_MAX(n, f->entry[i].id + 1ull);
    if (n > 4 * (f->n_entry + (uint64_t)added->n) + 65536)
        return rf_fail(err, RF_CORRUPT, "%s: found token id %llu among %zu tokens", f->j.name, (unsigned long long)n - 1, f->n_entry + added->n);
    RF_TRY(rf_tok_alloc(t, n, f->unigram, err));
    for (size_t i = 0; i < f->n_entry; i++) {
        const struct entry *e = &f->entry[i];
        t->vocab.piece[e->id] = e->text;
        t->attr[e->id] = RF_TOKEN_NORMAL;
        if (f->unigram) t->score[e->id] = isnan(e->score) ? -1e30 : e->score;
    }
    rf_vocab_add_all(&t->vocab);
    return RF_OK;
}

static bool get_merge(const void *list, size_t i, struct rf_merge_pair *out)
{
    const struct rf_json_pair *p = (const struct rf_json_pair *)list + i;
    *out = (struct rf_merge_pair){ p->a, p->b };
    return true;
}

static rf_status set_model(struct rf_tokenizer *t, const struct file *f, struct rf_error *err)
{
    const struct rf_jnode *m = f->model;
    struct rf_str type = rf_jtree_str(m, "type"), unk = rf_jtree_str(m, "unk_token");
    if (unk.n) t->unk = rf_vocab_find(&t->vocab, unk.s, unk.n);
    t->byte_fallback = rf_jtree_bool(m, "byte_fallback", false);
    t->fuse_unk = rf_jtree_bool(m, "fuse_unk", false);
    t->word_prefix = rf_jtree_str(m, "continuing_subword_prefix");
    t->word_suffix = rf_jtree_str(m, "end_of_word_suffix");
    if (rf_str_is(type, "BPE") || (!type.n && f->n_merge)) {
        const struct rf_jnode *dropout = rf_jtree_get(m, "dropout");
        if (dropout && dropout->kind == RF_JSON_NUMBER && dropout->num > 0) /* merges left out at random, for training */
            return rf_fail(err, RF_UNSUPPORTED, "tokenizer.json: model: found dropout %g, expected null: the same text would give other ids each time; "
                           "set it to null to run the model", dropout->num);
        t->model = RF_TOK_BPE;
        t->ignore_merges = rf_jtree_bool(m, "ignore_merges", false);
        return rf_merges_load(t, f->merge, f->n_merge, true, get_merge, err);
    }
    if (rf_str_is(type, "Unigram") || (!type.n && f->unigram)) {
        t->model = RF_TOK_UNIGRAM;
        t->fuse_unk = true;
        int64_t id = rf_jtree_int(m, "unk_id", -1);
        t->unk = id >= 0 && id < t->vocab.n ? (uint32_t)id : RF_TOK_NONE;
        if (!f->unigram) return rf_fail(err, RF_CORRUPT, "tokenizer.json: found Unigram without scores");
        return rf_unigram_prepare(t, err);
    }
    if (rf_str_is(type, "WordPiece") || (!type.n && rf_jtree_get(m, "max_input_chars_per_word"))) {
        int64_t max = rf_jtree_int(m, "max_input_chars_per_word", 100);
        t->model = RF_TOK_WORDPIECE;
        t->max_word_chars = (uint32_t)RF_MIN(RF_MAX(max, 0), 4096);
        return RF_OK;
    }
    t->model = RF_TOK_WORDLEVEL;
    return rf_str_is(type, "WordLevel") || !type.n ? RF_OK
           : rf_fail(err, RF_UNSUPPORTED, "tokenizer.json: model: found type \"%.*s\", expected BPE, Unigram, WordPiece or WordLevel", (int)RF_MIN(type.n, (size_t)60), type.s);
}

static rf_status finish(struct rf_tokenizer *t, const struct rf_added_list *added, const struct rf_weights *w, struct rf_error *err)
{
    RF_TRY(rf_added_sets(t, added, err));
    if (t->unk != RF_TOK_NONE && t->attr[t->unk] == RF_TOKEN_NORMAL) t->attr[t->unk] = RF_TOKEN_UNKNOWN;
    t->bos = rf_tok_named(t, w, "bos_token");
    t->eos = rf_tok_named(t, w, "eos_token");
    rf_tok_mark_eog(t, w);
    rf_tok_find_byte_ids(t);
    /* Words must stay whole where marks say that one ends, or where neighbours of a dropped character may merge. */
    bool whole = t->word_prefix.n || t->word_suffix.n || (t->unk == RF_TOK_NONE && !t->byte_fallback);
    if (t->model == RF_TOK_BPE && !t->byte_level && !t->ignore_merges && !whole) RF_TRY(rf_spm_prepare(t, err));
    return rf_tok_make_bytes(t, err);
}

/* Behind a ByteLevel normalizer added tokens stand among the alphabet of bytes, in which nothing is white space. */
static rf_status among_bytes(struct rf_added_list *added, struct rf_error *err)
{
    for (uint32_t i = 0; i < added->n; i++) {
        struct rf_added *a = &added->tok[i];
        if (!(a->flags & RF_ADDED_NORMALIZED)) continue;
        if (a->flags & RF_ADDED_SINGLE_WORD)
            return rf_fail(err, RF_UNSUPPORTED, "tokenizer.json: added_tokens: found \"%.*s\" normalized and single_word beside a ByteLevel normalizer",
                           (int)RF_MIN(a->text.n, (size_t)60), a->text.s);
        a->flags &= ~(uint32_t)(RF_ADDED_LSTRIP | RF_ADDED_RSTRIP);
    }
    return RF_OK;
}

static rf_status build(struct rf_tokenizer *t, struct file *f, struct rf_added_list *added, const struct rf_weights *w, struct rf_error *err)
{
    added->alone = true;
    RF_TRY(rf_added_list_json(added, f->added, err));
    RF_TRY(set_vocab(t, f, added, err));
    RF_TRY(rf_json_normalizer(t, f->norm, err));
    if (t->byte_level) RF_TRY(among_bytes(added, err));
    RF_TRY(rf_json_pretokenizer(t, f->pre, err));
    RF_TRY(rf_added_apply(t, added, err));
    RF_TRY(set_model(t, f, err));
    if (t->byte_level && t->model != RF_TOK_BPE)
        return rf_fail(err, RF_UNSUPPORTED, "tokenizer.json: found ByteLevel before a model that is not BPE");
    RF_TRY(rf_json_decoder(t, f->decoder, err));
    RF_TRY(rf_json_postprocessor(t, f->post, err));
    return finish(t, added, w, err);
}

/* ---- vocab.json with merges.txt ---- */

/* "a b" a line; the first may be a comment ("#version: 0.2"). */
static rf_status read_merge_lines(struct file *f, const char *s, size_t n, struct rf_error *err)
{
    for (size_t at = 0, line = 1; at < n; line++) {
        const char *nl = memchr(s + at, '\n', n - at);
        size_t end = nl ? (size_t)(nl - s) : n, len = end - at;
        const char *from = s + at, *gap = len ? memchr(from, ' ', len) : NULL;
        at = end + 1;
        if (len && from[len - 1] == '\r') len--;
        if (!len || (line == 1 && len > 8 && !memcmp(from, "#version", 8))) continue;
        if (!gap || gap == from || gap + 1 >= from + len)
            return rf_fail(err, RF_CORRUPT, "merges.txt: line %zu: found \"%.*s\", expected two pieces", line, (int)RF_MIN(len, (size_t)60), from);
        RF_TRY(grow(&f->merge, f->n_merge, &f->cap_merge, sizeof *f->merge, n / 8, err));
        f->merge[f->n_merge++] = (struct rf_json_pair){ { from, (size_t)(gap - from) }, { gap + 1, (size_t)(from + len - gap - 1) } };
    }
    return RF_OK;
}

/* Tokenizers of the Python package `transformers` that keep their vocabulary so. around: <s> and </s>, as RoBERTa. */
static const struct pair_row { const char *cls, *model, *pre; bool around; } pair_rows[] = {
    { "GPT2Tokenizer", "gpt2", "gpt-2", false },     { "Qwen2Tokenizer", "qwen2", "qwen2", false },
    { "Qwen2Tokenizer", "qwen3", "qwen2", false },   { "Qwen2Tokenizer", "qwen2_moe", "qwen2", false },
    { "CodeGenTokenizer", "codegen", "gpt-2", false }, { "CodeGenTokenizer", "phi", "gpt-2", false },
    { "WhisperTokenizer", "whisper", "gpt-2", false }, { "GPTNeoXTokenizer", "gpt_neox", "gpt-neox", false },
    { "RobertaTokenizer", "roberta", "gpt-2", true }, { "BartTokenizer", "bart", "gpt-2", true },
    { "LongformerTokenizer", "longformer", "gpt-2", true }, { "LEDTokenizer", "led", "gpt-2", true },
    { "GPT2Tokenizer", "opt", "gpt-2", false },      { "GPT2Tokenizer", "gpt_bigcode", "starcoder", false },
};

static const struct pair_row *find_pair(const struct rf_weights *w)
{
    const struct rf_fact *type = rf_weights_fact(w, "model_type"), *cls = rf_weights_fact(w, "tokenizer_config.tokenizer_class");
    for (size_t i = 0; i < RF_COUNT(pair_rows); i++)
        if (rf_tok_class_is(w, pair_rows[i].cls)) return &pair_rows[i];
    if (cls) return NULL;
    for (size_t i = 0; i < RF_COUNT(pair_rows); i++)
        if (type && type->kind == RF_FACT_STRING && rf_str_is(type->str, pair_rows[i].model)) return &pair_rows[i];
    return type ? NULL : &pair_rows[0];
}

/* A token of the configuration, or the one that such tokenizers have where it is silent. */
static int32_t named_or(const struct rf_tokenizer *t, const struct rf_weights *w, const char *name, const char *fallback)
{
    int32_t id = rf_tok_named(t, w, name);
    return id >= 0 ? id : (int32_t)rf_vocab_find(&t->vocab, fallback, strlen(fallback));
}

static rf_status build_pair(struct rf_tokenizer *t, struct file *f, struct rf_added_list *added, const struct rf_weights *w, struct rf_error *err)
{
    const struct pair_row *row = find_pair(w);
    const struct rf_fact *cls = rf_weights_fact(w, "tokenizer_config.tokenizer_class");
    static const char *const special[] = { "<s>", "</s>", "<pad>", "<mask>", "<unk>", "<|endoftext|>" };
    struct rf_split_step prefix = { .kind = RF_SPLIT_PREFIX_SPACE };
    if (!row)
        return rf_fail(err, RF_UNSUPPORTED, "vocab.json: found tokenizer_class \"%.*s\", expected one of GPT-2's, Qwen2's or RoBERTa's kind, or a tokenizer.json",
                       cls ? (int)RF_MIN(cls->str.n, (size_t)60) : 0, cls ? cls->str.s : "");
    if (rf_tok_config_bool(w, "add_prefix_space", false)) t->split[t->n_split++] = prefix;
    RF_TRY(rf_added_list_folder(added, t, w, err));
    RF_TRY(set_vocab(t, f, added, err));
    RF_TRY(rf_pretok_by_name(t, (struct rf_str){ row->pre, strlen(row->pre) }, err));
    t->add_bos = false;
    t->model = RF_TOK_BPE;
    RF_TRY(rf_merges_load(t, f->merge, f->n_merge, true, get_merge, err));
    RF_TRY(rf_added_apply(t, added, err));
    for (size_t i = 0; i < RF_COUNT(special) && !added->n; i++) {
        uint32_t id = rf_vocab_find(&t->vocab, special[i], strlen(special[i]));
        if (id != RF_TOK_NONE) t->attr[id] = RF_TOKEN_CONTROL;
    }
    RF_TRY(finish(t, added, w, err));
    int32_t first = named_or(t, w, row->around ? "cls_token" : "bos_token", row->around ? "<s>" : "<|endoftext|>");
    int32_t last = named_or(t, w, row->around ? "sep_token" : "eos_token", row->around ? "</s>" : "<|endoftext|>");
    if (t->eos < 0 && last >= 0) {
        t->eos = last;
        t->eog[last] = 1;
    }
    if ((row->around || rf_tok_config_bool(w, "add_bos_token", false)) && first >= 0) RF_TRY(rf_tok_put_around(t, false, first, err));
    if ((row->around || rf_tok_config_bool(w, "add_eos_token", false)) && last >= 0) RF_TRY(rf_tok_put_around(t, true, last, err));
    return RF_OK;
}

/* ---- open ---- */

static rf_status with_file(struct rf_tokenizer *t, const struct rf_weights *w, const char *name, const struct rf_buf *merges, struct rf_error *err)
{
    struct file *f = rf_alloc_array(1, sizeof *f);
    struct rf_added_list added = { 0 };
    if (!f) return rf_fail_nomem(err, name, sizeof *f);
    f->j = (struct rf_json){ .s = rf_buf_str(&t->file), .n = t->file.len, .name = name, .arena = &t->arena, .err = err };
    f->nodes_left = 1u << 20;
    rf_status st = merges ? read_vocab(f) : read_file(f);
    if (!st && merges) st = rf_json_end(&f->j);
    if (!st && merges) st = read_merge_lines(f, rf_buf_str(merges), merges->len, err);
    if (!st) st = merges ? build_pair(t, f, &added, w, err) : build(t, f, &added, w, err);
    rf_added_list_release(&added);
    rf_free(f->entry);
    rf_free(f->merge);
    rf_free(f);
    return st;
}

rf_status rf_tok_open_json(struct rf_tokenizer *t, const struct rf_weights *w, struct rf_error *err)
{
    RF_TRY(rf_weights_read_side_file(w, "tokenizer.json", &t->file, err));
    return with_file(t, w, "tokenizer.json", NULL, err);
}

rf_status rf_tok_open_pair(struct rf_tokenizer *t, const struct rf_weights *w, struct rf_error *err)
{
    struct rf_buf merges = { 0 };
    RF_TRY(rf_weights_read_side_file(w, "merges.txt", &merges, err));
    rf_status st = rf_weights_read_side_file(w, "vocab.json", &t->file, err);
    if (!st) st = with_file(t, w, "vocab.json", &merges, err);
    rf_buf_release(&merges);
    return st;
}
