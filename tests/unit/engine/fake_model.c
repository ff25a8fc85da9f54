#include "fake_model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "sample/row.h"
#include "text/template.h"
#include "text/tokenizer.h"

struct fake_shape fake_shape = {1, {0}, 4096};
struct fake_control fake;

/* ---- the toy language model ---- */

static uint64_t mix(uint64_t h, uint64_t v)
{
    h = (h ^ v) * UINT64_C(0x9e3779b97f4a7c15);
    return h ^ (h >> 29);
}

static void logits_of(uint64_t h, float *x)
{
    for (uint32_t i = 0; i < FAKE_VOCAB; i++) {
        x[i] = (float)(mix(h, i) >> 40) * 0x1p-22f; /* 0..4 */
        if ((i >= 128 && i < 256) || i == FAKE_BOS || i == FAKE_POISON || i < 32) x[i] -= 3.5f;
    }
    x[FAKE_EOS] = h % 61 == 0 ? 9.0f : -9.0f;
}

static uint32_t first_read(uint32_t window, uint32_t pos) { return window && pos >= window ? pos - window + 1 : 0; }

void fake_logits(const int32_t *token, uint32_t n, float *x)
{
    uint64_t h = 1;
    for (uint32_t g = 0; g < fake_shape.n_group; g++)
        for (uint32_t i = first_read(fake_shape.window[g], n - 1); i < n; i++) h = mix(h, (uint64_t)token[i] + 1);
    logits_of(h, x);
    for (uint32_t i = 0; i < n; i++)
        if (token[i] == FAKE_POISON) x[5] = NAN;
}

uint32_t fake_greedy(int32_t *token, uint32_t n, uint32_t n_new, bool ignore_eos)
{
    float x[FAKE_VOCAB];
    uint32_t made = 0;
    while (made < n_new) {
        int32_t best = 0;
        fake_logits(token, n + made, x);
        for (int32_t i = 1; i < FAKE_VOCAB; i++)
            if (x[i] > x[best]) best = i;
        token[n + made++] = best;
        if (best == FAKE_EOS && !ignore_eos) break;
    }
    return made;
}

struct rf_lm { struct rf_lm_shape shape; };
struct slot { int32_t token, pos; };
enum { FAKE_EDITS = 4096, FAKE_COPIES = 512 };
/* A step as it began: nothing is computed before its end, and the engine's arrays are the next step's by then. */
struct flight {
    struct rf_batch batch;
    int32_t *token, *pos, *seq_first, *out_row, *table[RF_MAX_KV_GROUPS];
    struct rf_choice *choice;
    struct rf_choice_edit *edit;
    struct rf_chosen *chosen;
    struct rf_chosen_top *top; /* [max_out][RF_CHOICE_TOP] */
    int32_t from[FAKE_COPIES], to[FAKE_COPIES]; /* blocks to copy first */
    uint32_t n_copy, n_chosen; /* n_chosen: when computed */
    bool fails;
};
struct rf_runner {
    struct rf_runner_options opt;
    struct slot (*kv)[RF_KV_BLOCK_TOKENS];
    float *logits;
    uint32_t stride, n_begun, n_ended;
    struct flight flight[2];
};

rf_status rf_lm_open(struct rf_lm **out, const struct rf_weights *w, struct rf_backend *b, struct rf_error *err)
{
    (void)w, (void)b;
    struct rf_lm *m = rf_alloc_array(1, sizeof *m);
    *out = m;
    if (!m) return rf_fail_nomem(err, "fake", 1);
    m->shape = (struct rf_lm_shape){.n_vocab = FAKE_VOCAB,
                                    .n_layer = 2,
                                    .n_embd = 8,
                                    .n_head = 2,
                                    .n_kv_head = 1,
                                    .head_dim = 4,
                                    .n_ctx_train = fake_shape.n_ctx,
                                    .n_group = fake_shape.n_group,
                                    .n_slot = 1};
    for (uint32_t g = 0; g < fake_shape.n_group; g++) m->shape.group[g] = (struct rf_kv_group){fake_shape.window[g], 1};
    return RF_OK;
}
rf_status rf_lm_load(struct rf_lm *m, void (*progress)(void *ctx, double fraction), void *progress_ctx, struct rf_error *err)
{
    (void)m, (void)err;
    if (progress) progress(progress_ctx, 1.0);
    return RF_OK;
}
uint64_t rf_lm_weight_bytes(const struct rf_lm *m) { return (void)m, 0; }
uint64_t rf_runner_scratch_bytes(const struct rf_lm *m, const struct rf_runner_options *opt, uint32_t n_ctx)
{
    return (void)m, (void)opt, (void)n_ctx, 0;
}
void rf_lm_close(struct rf_lm *m) { rf_free(m); }
const struct rf_lm_shape *rf_lm_shape_get(const struct rf_lm *m) { return &m->shape; }
uint64_t rf_lm_kv_block_bytes(const struct rf_lm *m, enum rf_kv_type t) { return (void)m, (void)t, 128; }

static bool make_flight(struct rf_runner *r, struct flight *f)
{
    const struct rf_runner_options *o = &r->opt;
    bool ok = (f->token = rf_alloc_array(o->max_tok, sizeof *f->token)) && (f->pos = rf_alloc_array(o->max_tok, sizeof *f->pos)) &&
              (f->seq_first = rf_alloc_array((size_t)o->max_seq + 1, sizeof *f->seq_first)) &&
              (f->out_row = rf_alloc_array(o->max_out, sizeof *f->out_row)) && (f->choice = rf_alloc_array(o->max_out, sizeof *f->choice)) &&
              (f->edit = rf_alloc_array(FAKE_EDITS, sizeof *f->edit)) && (f->chosen = rf_alloc_array(o->max_out, sizeof *f->chosen)) &&
              (f->top = rf_alloc_array((size_t)o->max_out * RF_CHOICE_TOP, sizeof *f->top));
    for (uint32_t g = 0; ok && g < fake_shape.n_group; g++)
        ok = (f->table[g] = rf_alloc_array((size_t)o->max_seq * r->stride, sizeof *f->table[g])) != NULL;
    return ok;
}

static void drop_flight(struct flight *f)
{
    void *part[] = {f->token, f->pos, f->seq_first, f->out_row, f->choice, f->edit, f->chosen, f->top};
    for (size_t i = 0; i < RF_COUNT(part); i++) rf_free(part[i]);
    for (uint32_t g = 0; g < RF_MAX_KV_GROUPS; g++) rf_free(f->table[g]);
}

rf_status rf_runner_create(struct rf_runner **out, struct rf_lm *m, const struct rf_runner_options *opt,
                           struct rf_error *err)
{
    struct rf_runner *r = rf_alloc_array(1, sizeof *r);
    *out = NULL;
    if (!r) return rf_fail_nomem(err, "fake", 1);
    r->opt = *opt;
    r->stride = m->shape.n_ctx_train / RF_KV_BLOCK_TOKENS + 1;
    r->kv = rf_alloc_array(opt->n_block, sizeof *r->kv);
    r->logits = rf_alloc_array((size_t)opt->max_out * FAKE_VOCAB, sizeof *r->logits);
    if (!r->kv || !r->logits || !make_flight(r, &r->flight[0]) || !make_flight(r, &r->flight[1])) {
        rf_runner_free(r);
        return rf_fail_nomem(err, "fake", 1);
    }
    memset(r->kv, 0xff, opt->n_block * sizeof *r->kv);
    *out = r;
    return RF_OK;
}

void rf_runner_free(struct rf_runner *r)
{
    if (!r) return;
    for (int i = 0; i < 2; i++) drop_flight(&r->flight[i]);
    rf_free(r->kv);
    rf_free(r->logits);
    rf_free(r);
}

/* Made when the step that begins next is. */
rf_status rf_runner_kv_copy(struct rf_runner *r, const int32_t *from, const int32_t *to, uint32_t n,
                            struct rf_error *err)
{
    (void)err;
    struct flight *f = &r->flight[r->n_begun % 2];
    for (uint32_t i = 0; i < n && f->n_copy < FAKE_COPIES; i++, f->n_copy++) f->from[f->n_copy] = from[i], f->to[f->n_copy] = to[i];
    fake.n_copy += n;
    if (f->n_copy == FAKE_COPIES) fake.n_error++;
    return RF_OK;
}

static struct slot *slot_of(struct rf_runner *r, const struct rf_batch *b, uint32_t s, uint32_t g, uint32_t pos)
{
    uint32_t i = pos / RF_KV_BLOCK_TOKENS;
    int32_t block = i < b->table_stride ? b->block_table[g][(size_t)s * b->table_stride + i] : -1;
    if (block < 0 || (uint32_t)block >= r->opt.n_block) {
        fake.n_error++;
        return NULL;
    }
    return &r->kv[block][pos % RF_KV_BLOCK_TOKENS];
}

static void row(struct rf_runner *r, const struct rf_batch *b, uint32_t s, uint32_t pos, float *x)
{
    uint64_t h = 1;
    bool poison = false;
    for (uint32_t g = 0; g < b->n_group; g++)
        for (uint32_t i = first_read(fake_shape.window[g], pos); i <= pos; i++) {
            struct slot *k = slot_of(r, b, s, g, i);
            if (!k || k->pos != (int32_t)i) {
                fake.n_error++;
                continue;
            }
            h = mix(h, (uint64_t)k->token + 1);
            poison |= k->token == FAKE_POISON;
        }
    logits_of(h, x);
    if (poison) x[5] = NAN;
}

static void check_batch(struct rf_runner *r, const struct rf_batch *b)
{
    bool ok = b->n_tok && b->n_tok <= r->opt.max_tok && b->n_seq && b->n_seq <= r->opt.max_seq &&
              b->n_out <= r->opt.max_out && b->n_group == fake_shape.n_group && b->seq_first[0] == 0 &&
              b->seq_first[b->n_seq] == (int32_t)b->n_tok;
    for (uint32_t i = 1; i < b->n_out; i++) ok &= b->out_row[i] > b->out_row[i - 1];
    for (uint32_t s = 0; s < b->n_seq; s++)
        for (int32_t t = b->seq_first[s] + 1; t < b->seq_first[s + 1]; t++) ok &= b->pos[t] == b->pos[t - 1] + 1;
    if (!ok) fake.n_error++;
}

/* ---- the choice of a token, by the words of base/choice.h ---- */

struct ranked { float x; double w; int32_t id; };
static int by_rank(const void *pa, const void *pb)
{
    const struct ranked *a = pa, *b = pb;
    return a->x != b->x ? (a->x < b->x) - (a->x > b->x) : (a->id > b->id) - (a->id < b->id);
}

static int32_t draw(const struct rf_choice *c, struct ranked *r)
{
    float x[FAKE_VOCAB], w[FAKE_VOCAB];
    uint64_t total = 0, sum = 0, mass[FAKE_VOCAB] = {0};
    uint32_t n = FAKE_VOCAB, kept = 0;
    for (uint32_t i = 0; i < n; i++) x[i] = r[i].x;
    rf_row_exp(x, n, x[0], c->scale, w);
    if (c->top_k) n = RF_MIN(n, c->top_k);
    for (uint32_t i = 0; i < n; i++) total += rf_choice_mass(w[i]);
    const uint64_t part = c->top_p == RF_CHOICE_ALL ? total : rf_choice_part(c->top_p, total);
    for (; kept < n && (!kept || sum < part); kept++) sum += rf_choice_mass(w[kept]);
    total = sum = 0;
    for (uint32_t i = 0; i < kept; i++)
        if (!i || w[i] >= c->min_p) total += mass[r[i].id] = rf_choice_mass(w[i]);
    const uint64_t at = rf_choice_part(c->draw, total);
    for (int32_t i = 0; i < FAKE_VOCAB; i++)
        if ((sum += mass[i]) > at) return i;
    return r[0].id;
}

static void choose(const struct rf_choice *c, const float *raw, struct rf_chosen *out, struct rf_chosen_top *top)
{
    struct ranked r[FAKE_VOCAB], t[FAKE_VOCAB];
    *out = (struct rf_chosen){.state = RF_CHOSEN_NAN, .token = -7, .max = raw[0]};
    for (int32_t i = 0; i < FAKE_VOCAB; i++) {
        if (!isfinite(raw[i])) return;
        r[i] = t[i] = (struct ranked){.x = raw[i], .id = i};
        out->max = RF_MAX(out->max, raw[i]);
    }
    for (uint32_t i = 0; i < c->n_edit; i++) {
        const struct rf_choice_edit *e = &c->edit[i];
        float x = r[e->token].x + e->add;
        if (e->divide != 1.0f) x = x > 0 ? x / e->divide : x * e->divide;
        r[e->token].x = x - e->minus;
    }
    qsort(r, FAKE_VOCAB, sizeof *r, by_rank);
    qsort(t, FAKE_VOCAB, sizeof *t, by_rank);
    out->state = r[0].x == -INFINITY ? RF_CHOSEN_FORBIDDEN : RF_CHOSEN_TOKEN;
    out->token = c->by == RF_CHOICE_BEST ? r[0].id : draw(c, r);
    double sum = 0;
    for (int32_t i = 0; i < FAKE_VOCAB; i++) sum += exp((double)raw[i] - (double)out->max);
    out->sum = (float)sum;
    out->logit = raw[out->token];
    out->n_top = c->n_top > 0 ? (uint32_t)c->n_top : 0;
    for (uint32_t i = 0; i < out->n_top; i++) top[i] = (struct rf_chosen_top){.logit = t[i].x, .token = t[i].id};
}

/* ---- steps ---- */

bool rf_runner_chooses(const struct rf_runner *r) { return (void)r, fake.overlaps; }

bool rf_runner_overlaps(const struct rf_runner *r) { return (void)r, fake.overlaps; }

rf_status rf_runner_begin(struct rf_runner *r, const struct rf_batch *b, struct rf_error *err)
{
    (void)err;
    struct flight *f = &r->flight[r->n_begun % 2];
    uint32_t n_edit = 0;
    check_batch(r, b);
    if (r->n_begun - r->n_ended >= (fake.overlaps ? 2u : 1u)) fake.n_error++;
    memcpy(f->token, b->token, b->n_tok * sizeof *f->token);
    memcpy(f->pos, b->pos, b->n_tok * sizeof *f->pos);
    memcpy(f->seq_first, b->seq_first, (b->n_seq + 1) * sizeof *f->seq_first);
    memcpy(f->out_row, b->out_row, b->n_out * sizeof *f->out_row);
    for (uint32_t g = 0; g < b->n_group; g++) memcpy(f->table[g], b->block_table[g], (size_t)b->n_seq * b->table_stride * sizeof *f->table[g]);
    for (uint32_t i = 0; b->choice && i < b->n_out; i++) {
        f->choice[i] = b->choice[i];
        f->choice[i].edit = f->edit + n_edit;
        if (n_edit + b->choice[i].n_edit > FAKE_EDITS) fake.n_error++, f->choice[i].n_edit = 0;
        if (f->choice[i].n_edit) memcpy(f->edit + n_edit, b->choice[i].edit, f->choice[i].n_edit * sizeof *f->edit);
        n_edit += f->choice[i].n_edit;
    }
    f->batch = *b;
    f->batch.token = f->token, f->batch.pos = f->pos, f->batch.seq_first = f->seq_first, f->batch.out_row = f->out_row;
    f->batch.choice = b->choice ? f->choice : NULL;
    f->batch.block_table = (const int32_t *const *)f->table;
    r->n_begun++;
    return RF_OK;
}

/* Tokens that the step before chose. */
static void feed(struct flight *f, const struct flight *before)
{
    for (uint32_t i = 0; i < f->batch.n_tok; i++) {
        const uint32_t row = (uint32_t)(-1 - f->token[i]);
        if (f->token[i] >= 0) continue;
        if (row >= before->n_chosen || before->chosen[row].state == RF_CHOSEN_NONE) fake.n_error++, f->token[i] = 0;
        else f->token[i] = before->chosen[row].state == RF_CHOSEN_TOKEN ? before->chosen[row].token : 0;
    }
}

static void compute(struct rf_runner *r, struct flight *f)
{
    const struct rf_batch *b = &f->batch;
    uint32_t s = 0;
    for (uint32_t i = f->n_copy; i-- > 0;) memcpy(r->kv[f->to[i]], r->kv[f->from[i]], sizeof r->kv[0]); /* any order must do */
    for (uint32_t q = 0; q < b->n_seq; q++)
        for (int32_t t = b->seq_first[q]; t < b->seq_first[q + 1]; t++)
            for (uint32_t g = 0; g < b->n_group; g++) {
                struct slot *k = slot_of(r, b, q, g, (uint32_t)b->pos[t]);
                if (k) *k = (struct slot){b->token[t], b->pos[t]};
            }
    f->n_chosen = b->n_out;
    for (uint32_t i = 0; i < b->n_out; i++) {
        float *x = r->logits + (size_t)i * FAKE_VOCAB;
        while (b->seq_first[s + 1] <= b->out_row[i]) s++;
        row(r, b, s, (uint32_t)b->pos[b->out_row[i]], x);
        f->chosen[i] = (struct rf_chosen){0};
        if (b->choice && b->choice[i].by != RF_CHOICE_NONE) choose(&b->choice[i], x, &f->chosen[i], f->top + (size_t)i * RF_CHOICE_TOP);
    }
}

rf_status rf_runner_end(struct rf_runner *r, struct rf_step_out *out, struct rf_error *err)
{
    struct flight *f = &r->flight[r->n_ended % 2];
    while (fake.gate) usleep(200);
    if (fake.delay_us) usleep(fake.delay_us);
    fake.n_forward++;
    fake.n_token += f->batch.n_tok;
    if (f->batch.n_seq > fake.max_batch) fake.max_batch = f->batch.n_seq;
    const bool fails = (fake.fail_forward && !--fake.fail_forward) || f->fails;
    if (!fails) feed(f, &r->flight[(r->n_ended + 1) % 2]);
    if (!fails) compute(r, f);
    r->n_ended++;
    f->fails = false;
    if (r->n_begun != r->n_ended) r->flight[r->n_ended % 2].fails = fails; /* what has begun goes down with it */
    f->n_copy = 0;
    if (fails) return rf_fail(err, RF_DEVICE, "fake device: injected fault");
    *out = (struct rf_step_out){.logits = r->logits, .chosen = f->batch.choice ? f->chosen : NULL, .top = f->top};
    return RF_OK;
}

/* ---- backend, weights ---- */

static void close_backend(struct rf_backend *b) { rf_free(b); }

rf_status rf_backend_open(struct rf_backend **out, const struct rf_backend_options *opt, struct rf_error *err)
{
    (void)opt;
    *out = rf_alloc_array(1, sizeof **out);
    if (!*out) return rf_fail_nomem(err, "fake", 1);
    (*out)->close = close_backend;
    (*out)->info.name = "fake";
    (*out)->info.memory_free = 1 << 20;
    (*out)->info.host_memory = true;
    return RF_OK;
}
void rf_backend_close(struct rf_backend *b) { b->close(b); }

struct rf_weights { char path[256]; };

rf_status rf_weights_open(struct rf_weights **out, const char *path, struct rf_error *err)
{
    *out = NULL;
    if (!strcmp(path, "missing")) return rf_fail(err, RF_NOT_FOUND, "missing: no such file");
    *out = rf_alloc_array(1, sizeof **out);
    if (!*out) return rf_fail_nomem(err, "fake", 1);
    snprintf((*out)->path, sizeof (*out)->path, "%s", path);
    return RF_OK;
}
void rf_weights_close(struct rf_weights *w) { rf_free(w); }

rf_status rf_weights_check(const struct rf_weights *w, struct rf_error *err)
{
    return !strcmp(w->path, "victim") && fake.changed ? rf_fail(err, RF_IO, "toy: the file was changed") : RF_OK;
}
enum rf_source rf_weights_source(const struct rf_weights *w) { return (void)w, RF_SOURCE_GGUF; }
const char *rf_weights_dir(const struct rf_weights *w) { return (void)w, "."; }
uint64_t rf_weights_file_bytes(const struct rf_weights *w) { return (void)w, 1000; }
const char *rf_weights_quantization(const struct rf_weights *w) { return (void)w, "F32"; }
size_t rf_weights_n_tensor(const struct rf_weights *w) { return (void)w, 1; }
const struct rf_tensor_view *rf_weights_tensor(const struct rf_weights *w, size_t i)
{
    static const struct rf_tensor_view t = {
        .name = {"blk.0.\"x\"\n", 10}, .type = 12, .n_dim = 2, .dim = {256, 2, 1, 1}, .bytes = 288};
    return (void)w, (void)i, &t;
}

#define TEXT(s) {s, sizeof s - 1}
static const struct rf_fact facts[] = {
    {.key = TEXT("general.architecture"), .kind = RF_FACT_STRING, .str = TEXT("toy")},
    {.key = TEXT("general.name"), .kind = RF_FACT_STRING, .str = TEXT("Toy")},
    {.key = TEXT("toy.context_length"), .kind = RF_FACT_INT, .i = 77, .f = 77},
    {.key = TEXT("general.sampling.temp"), .kind = RF_FACT_FLOAT, .f = 0.5},
    {.key = TEXT("general.sampling.top_k"), .kind = RF_FACT_INT, .i = 20, .f = 20},
    {.key = TEXT("general.sampling.top_p"), .kind = RF_FACT_FLOAT, .f = 7},
    {.key = TEXT("tokenizer.chat_template"), .kind = RF_FACT_STRING, .str = TEXT("{{ x }}")},
    {.key = TEXT("bad\xff"), .kind = RF_FACT_FLOAT, .f = NAN},
};
size_t rf_weights_n_fact(const struct rf_weights *w) { return (void)w, RF_COUNT(facts); }
const struct rf_fact *rf_weights_fact_at(const struct rf_weights *w, size_t i) { return (void)w, &facts[i]; }
const struct rf_fact *rf_weights_fact(const struct rf_weights *w, const char *key)
{
    (void)w;
    for (size_t i = 0; i < RF_COUNT(facts); i++)
        if (facts[i].key.n == strlen(key) && !memcmp(facts[i].key.s, key, strlen(key))) return &facts[i];
    return NULL;
}
bool rf_fact_item_int(const struct rf_fact *f, uint64_t i, int64_t *out) { return (void)f, (void)i, (void)out, false; }
bool rf_fact_item_float(const struct rf_fact *f, uint64_t i, double *out) { return (void)f, (void)i, (void)out, false; }
bool rf_fact_item_str(const struct rf_fact *f, uint64_t i, struct rf_str *out)
{
    return (void)f, (void)i, (void)out, false;
}
rf_status rf_weights_read_side_file(const struct rf_weights *w, const char *name, struct rf_buf *out,
                                    struct rf_error *err)
{
    return (void)w, (void)out, rf_fail(err, RF_NOT_FOUND, "%s: no such file", name);
}
const char *rf_weights_type_name(uint32_t id) { return id == 12 ? "Q4_K" : "?"; }

/* ---- tokenizer: bytes, three special tokens, a few words ---- */

static const char *const words[] = {"hello", " wor", "ld", "\xe2\x82\xac", "ST", "OP", "\xe2\x82", "\xac"};
static char bytes[256];

rf_status rf_tokenizer_open(struct rf_tokenizer **out, const struct rf_weights *w, struct rf_error *err)
{
    (void)w;
    *out = rf_alloc(1);
    return *out ? RF_OK : rf_fail_nomem(err, "fake", 1);
}
void rf_tokenizer_close(struct rf_tokenizer *t) { rf_free(t); }
uint32_t rf_tokenizer_n_vocab(const struct rf_tokenizer *t) { return (void)t, FAKE_VOCAB; }
int32_t rf_tokenizer_bos(const struct rf_tokenizer *t) { return (void)t, FAKE_BOS; }
int32_t rf_tokenizer_eos(const struct rf_tokenizer *t) { return (void)t, FAKE_EOS; }
bool rf_tokenizer_is_eog(const struct rf_tokenizer *t, int32_t id) { return (void)t, id == FAKE_EOS; }
void rf_ids_release(struct rf_ids *ids)
{
    rf_free(ids->id);
    *ids = (struct rf_ids){0};
}

static rf_status push_id(struct rf_ids *ids, int32_t id)
{
    if (ids->n == ids->cap) {
        int32_t *p = rf_realloc_array(ids->id, ids->cap = ids->cap * 2 + 64, sizeof *p);
        if (!p) return RF_NOMEM;
        ids->id = p;
    }
    ids->id[ids->n++] = id;
    return RF_OK;
}

static const struct { const char *s; int32_t id; } special[] = {{"<s>", FAKE_BOS}, {"</s>", FAKE_EOS}};

rf_status rf_tokenizer_encode(const struct rf_tokenizer *t, const char *text, size_t len, uint32_t flags,
                              const struct rf_span *trusted, size_t n_trusted, struct rf_ids *ids, struct rf_error *err)
{
    (void)t;
    if (flags & RF_TOK_ADD_SPECIAL && push_id(ids, FAKE_BOS)) return rf_fail_nomem(err, "ids", len);
    for (size_t i = 0; i < len;) {
        int32_t id = (unsigned char)text[i];
        size_t n = 1;
        for (size_t k = 0; flags & RF_TOK_PARSE_SPECIAL && k < RF_COUNT(special); k++) {
            size_t m = strlen(special[k].s);
            bool here = i + m <= len && !memcmp(text + i, special[k].s, m), ok = !trusted;
            for (size_t s = 0; here && s < n_trusted; s++) ok |= trusted[s].from <= i && i + m <= trusted[s].to;
            if (here && ok) id = special[k].id, n = m;
        }
        if (push_id(ids, id)) return rf_fail_nomem(err, "ids", len);
        i += n;
    }
    return RF_OK;
}

struct rf_str rf_tokenizer_bytes(const struct rf_tokenizer *t, int32_t id)
{
    (void)t;
    if (id >= 0 && id < 256) return (struct rf_str){&bytes[id], 1};
    if (id == FAKE_BOS) return (struct rf_str)TEXT("<s>");
    if (id == FAKE_EOS) return (struct rf_str)TEXT("</s>");
    const char *w = id >= FAKE_WORDS && id < FAKE_VOCAB ? words[(size_t)(id - FAKE_WORDS) % RF_COUNT(words)] : "";
    return (struct rf_str){w, strlen(w)};
}

__attribute__((constructor)) static void fill_bytes(void)
{
    for (int i = 0; i < 256; i++) bytes[i] = (char)i;
}

void rf_detok_init(struct rf_detok *d, const struct rf_tokenizer *t, bool skip_special)
{
    *d = (struct rf_detok){.t = t, .skip_special = skip_special, .at_start = true};
}

rf_status rf_detok_push(struct rf_detok *d, int32_t id, struct rf_buf *out)
{
    struct rf_str s = rf_tokenizer_bytes(d->t, id);
    if (d->skip_special && id >= FAKE_BOS && id <= FAKE_POISON) return RF_OK;
    for (size_t i = 0; i < s.n; i++) {
        uint32_t cp;
        d->held[d->n_held++] = s.s[i];
        while (d->n_held) {
            unsigned n = rf_utf8_decode(d->held, d->n_held, &cp);
            if (!n && rf_utf8_incomplete_tail(d->held, d->n_held) == d->n_held) break;
            if (n ? rf_buf_append(out, d->held, n) : rf_buf_puts(out, "\xef\xbf\xbd")) return RF_NOMEM;
            if (!n) n = 1;
            memmove(d->held, d->held + n, d->n_held -= n);
        }
    }
    return RF_OK;
}

rf_status rf_detok_finish(struct rf_detok *d, struct rf_buf *out)
{
    rf_status st = d->n_held ? rf_buf_puts(out, "\xef\xbf\xbd") : RF_OK;
    d->n_held = 0;
    return st;
}

rf_status rf_tokenizer_decode(const struct rf_tokenizer *t, const int32_t *ids, size_t n, bool skip_special,
                              struct rf_buf *out)
{
    for (size_t i = 0; i < n; i++) {
        struct rf_str s = rf_tokenizer_bytes(t, ids[i]);
        if (!(skip_special && ids[i] >= FAKE_BOS && ids[i] <= FAKE_POISON) && rf_buf_append(out, s.s, s.n))
            return RF_NOMEM;
    }
    return RF_OK;
}

/* ---- template: "<s>" as its own text, then the variables as JSON ---- */

struct rf_template { int unused; };

rf_status rf_template_parse(struct rf_template **out, const char *source, size_t len, struct rf_error *err)
{
    *out = NULL;
    if (len == 3 && !memcmp(source, "bad", 3)) return rf_fail(err, RF_INVALID, "chat template line 1: bad");
    *out = rf_alloc_array(1, sizeof **out);
    return *out ? RF_OK : rf_fail_nomem(err, "fake", 1);
}
void rf_template_free(struct rf_template *t) { rf_free(t); }
void rf_spans_release(struct rf_spans *s)
{
    rf_free(s->span);
    *s = (struct rf_spans){0};
}
rf_status rf_template_run(const struct rf_template *t, const char *json, size_t len, const char *const *vars,
                          int64_t now, const struct rf_template_limits *limits, struct rf_buf *out,
                          struct rf_spans *trusted, struct rf_error *err)
{
    (void)t, (void)vars, (void)now, (void)limits;
    if (rf_buf_puts(out, "<s>") || rf_buf_append(out, json, len)) return rf_fail_nomem(err, "fake", len);
    if (trusted) {
        if (!(trusted->span = rf_alloc_array(1, sizeof *trusted->span))) return rf_fail_nomem(err, "fake", 1);
        trusted->span[0] = (struct rf_span){0, 3};
        trusted->n = trusted->cap = 1;
    }
    return RF_OK;
}
