/* runner.c - the recipe laid out flat over all layers, and the walk over it.
 *
 * At creation every step of every layer becomes one entry with its arguments filled in: addresses of scratch, weights and
 * cache slots never change afterwards. A forward pass sets the row counts and calls the backend's slots in order.
 * Three rewrites happen once, here:
 *   - an ADD followed by a NORM of X becomes one fused slot call, across layer borders too;
 *   - so does a ROPE_KV followed by its ATTENTION;
 *   - in the last layer, only the rows whose logits are wanted go on behind attention (for a prompt chunk without
 *     outputs that is none).
 * Where the backend fuses, steps of one row whose logits are wanted have a second layout: norms, sums and activations are part of the products
 * beside them, and nothing is gathered. Where it fuses rows, norms and activations are part of the products in the first layout, too.
 */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "model/lm.h"

enum { MAX_RECORDED = 64 }; /* rows */
enum { TOP_BYTES = RF_CHOICE_TOP * sizeof(struct rf_chosen_top), CHOSEN_BYTES = sizeof(struct rf_chosen) + TOP_BYTES }; /* of a row */
enum rows { ROWS_TOK, ROWS_OUT };

enum call { CALL_EMBED, CALL_NORM, CALL_MATMUL, CALL_ROPE_KV, CALL_ATTENTION, CALL_GLU, CALL_ADD, CALL_GATHER, CALL_SOFTCAP, CALL_CHOOSE };

struct entry {
    enum call call;
    enum rows rows;
    uint32_t per_row;   /* norm rows or elements per batch row */
    struct rf_rope_kv_args rope; /* attention: what it does first */
    struct rf_rmsnorm_args norm; /* a product: the same */
    struct rf_glu_args glu;      /* and what it does last */
    union {
        struct rf_embed_args embed;
        struct rf_rmsnorm_args norm;
        struct rf_matmul_args matmul;
        struct rf_rope_kv_args rope;
        struct rf_attention_args attention;
        struct rf_glu_args glu;
        struct rf_add_args add;
        struct rf_gather_args gather;
        struct rf_softcap_args softcap;
        struct rf_choose_args choose;
    } u;
};

struct program { struct entry *entry; uint32_t n, cap; };

struct rf_runner {
    struct rf_lm *m;
    struct rf_runner_options opt;
    struct rf_kv_store *kv;
    rf_dev scratch;              /* one allocation: registers behind each other */
    rf_dev reg[RF_REG_COUNT];     /* where each register lies for the step being laid out */
    rf_dev x_out;                 /* [max_out][n_embd]: X behind the last attention */
    uint32_t width[RF_REG_COUNT];
    rf_dev spare;                /* see struct layout */
    uint64_t spare_bytes;
    rf_dev logits;               /* [max_out][n_vocab], in scratch */
    float *host_logits;          /* where device memory is not host memory: from the first step on whose logits are wanted there */
    rf_dev chosen;               /* where the backend chooses: [max_out] struct rf_chosen, then their lists */
    struct program prog, one;    /* one: of steps of one row; empty where the backend does not fuse */
    bool lays_one;               /* while the second is laid out */
    struct rf_batch batch;       /* of the step that began last */
    struct flight {              /* a step under way */
        struct rf_dev_event *done; /* where begin returns before its end */
        struct rf_chosen *chosen;  /* host memory: [max_out], then their lists; the second's lies behind the first's */
        uint32_t n_tok, n_choice;  /* n_choice: rows with choices */
    } flight[2];
    uint32_t n_begun, n_ended;
};

uint64_t rf_lm_kv_block_bytes(const struct rf_lm *m, enum rf_kv_type kv_type)
{
    struct rf_kv_desc d = {.n_block = 1, .n_slot = m->shape.n_slot, .n_kv_head = m->shape.n_kv_head,
                           .head_dim = m->shape.head_dim, .type = kv_type ? kv_type : m->shape.auto_kv_type};
    return m->b->mem->kv_block_bytes(m->b, &d);
}

/* ---- layout ---- */

static void widths(const struct rf_lm *m, uint32_t width[RF_REG_COUNT])
{
    const struct rf_hparams *hp = &m->hp;
    uint32_t embd = (uint32_t)hp->n_embd, q = (uint32_t)(hp->n_head * hp->head_dim), kv = (uint32_t)(hp->n_kv_head * hp->head_dim);
    const uint32_t w[RF_REG_COUNT] = {
        [RF_REG_X] = embd, [RF_REG_H] = embd, [RF_REG_Q] = q, [RF_REG_K] = kv, [RF_REG_V] = kv, [RF_REG_A] = q,
        [RF_REG_Y] = embd, [RF_REG_G] = (uint32_t)hp->n_ff, [RF_REG_U] = (uint32_t)hp->n_ff,
    };
    memcpy(width, w, sizeof w);
}

/* Scratch memory: places and sizes in bytes. */
struct layout {
    uint32_t width[RF_REG_COUNT];
    uint64_t at[RF_REG_COUNT], logits;
    uint64_t spare, bytes; /* spare: from there to the end is nobody's while G is projected to Y */
};

/* `rows` rows of `width` f32, in whole lines. */
static bool size_of(uint64_t rows, uint64_t width, uint64_t *bytes)
{
    if (!rf_mul64(rows, width * sizeof(float), bytes) || !rf_add64(*bytes, 63, bytes)) return false;
    *bytes &= ~63ull;
    return true;
}

/* False where it is too much for 64 bits. Registers that are never alive together in any recipe (arch/table.c) share a place: A is written when H was read,
 * Y when Q, K and V were, U when they and Y were. G's also takes A's rows of outputs (add_layer). Logits are made of H's rows of outputs when all behind
 * those is dead, and read before the next step. */
static bool place(const struct rf_lm *m, const struct rf_runner_options *opt, struct layout *l)
{
    uint64_t of[RF_REG_COUNT], *at = l->at, qk, qkv, rows, logits;
    widths(m, l->width);
    for (int i = 0; i < RF_REG_COUNT; i++)
        if (!size_of(opt->max_tok, l->width[i], &of[i])) return false;
    if (!size_of(RF_MIN(opt->max_out, opt->max_tok), l->width[RF_REG_H], &rows) || !size_of(opt->max_out, m->shape.n_vocab, &logits)) return false;
    if (!rf_add64(of[RF_REG_Q], of[RF_REG_K], &qk) || !rf_add64(qk, of[RF_REG_V], &qkv)) return false;
    at[RF_REG_X] = 0;
    at[RF_REG_H] = at[RF_REG_A] = of[RF_REG_X];
    if (!rf_add64(at[RF_REG_H], RF_MAX(of[RF_REG_H], of[RF_REG_A]), &at[RF_REG_G])) return false;
    if (!rf_add64(at[RF_REG_G], RF_MAX(of[RF_REG_G], of[RF_REG_A]), &at[RF_REG_U])) return false;
    if (!rf_add64(at[RF_REG_U], RF_MAX(RF_MAX(of[RF_REG_U], of[RF_REG_Y]), qkv), &l->bytes)) return false;
    l->logits = at[RF_REG_H] + rows;
    if (!rf_add64(l->logits, logits, &logits)) return false;
    l->bytes = RF_MAX(l->bytes, logits);
    at[RF_REG_Y] = at[RF_REG_Q] = at[RF_REG_U];
    at[RF_REG_K] = at[RF_REG_Q] + of[RF_REG_Q];
    at[RF_REG_V] = at[RF_REG_Q] + qk;
    l->spare = at[RF_REG_Y] + of[RF_REG_Y];
    return true;
}

uint64_t rf_runner_scratch_bytes(const struct rf_lm *m, const struct rf_runner_options *opt, uint32_t n_ctx)
{
    uint32_t embd = (uint32_t)m->hp.n_embd;
    struct layout l;
    if (!place(m, opt, &l)) return UINT64_MAX;
    const uint32_t *w = l.width;
    struct rf_scratch_desc d = {.rows = opt->max_tok, .max_seq = opt->max_seq, .cols = RF_MAX(RF_MAX(w[RF_REG_Q], w[RF_REG_G]), embd),
                                .bare_cols = RF_MAX(w[RF_REG_Q], embd), .spare = l.bytes - l.spare,
                                .widest = RF_MAX(RF_MAX(w[RF_REG_Q] + 2 * w[RF_REG_K], 2 * w[RF_REG_G]), m->shape.n_vocab),
                                .n_head = m->shape.n_head, .head_dim = m->shape.head_dim, .n_group = m->shape.n_group, .rot_dim = m->rope_dim,
                                .n_angles = m->hp.rope_theta_local > 0 ? 2 : 1, .n_ctx = n_ctx, .max_out = opt->max_out, .n_vocab = m->shape.n_vocab,
                                .type = opt->kv_type ? opt->kv_type : m->shape.auto_kv_type, .precise = opt->precise || m->has_f32};
    return l.bytes + (uint64_t)opt->max_out * ((uint64_t)embd * sizeof(float) + CHOSEN_BYTES) + m->b->mem->scratch_bytes(m->b, &d);
}

static rf_status alloc_scratch(struct rf_runner *r, struct rf_error *err)
{
    struct rf_backend *b = r->m->b;
    uint32_t embd = (uint32_t)r->m->hp.n_embd;
    struct layout l;
    if (!place(r->m, &r->opt, &l))
        return rf_fail(err, RF_TOO_LARGE, "scratch for %u tokens a step and logits of %u of them is too large", r->opt.max_tok, r->opt.max_out);
    memcpy(r->width, l.width, sizeof r->width);
    RF_TRY(b->mem->alloc(b, l.bytes, &r->scratch, err));
    for (int i = 0; i < RF_REG_COUNT; i++) r->reg[i] = r->scratch + l.at[i];
    r->logits = r->scratch + l.logits;
    r->spare = r->scratch + l.spare;
    r->spare_bytes = l.bytes - l.spare;
    RF_TRY(b->mem->alloc(b, (uint64_t)r->opt.max_out * embd * sizeof(float), &r->x_out, err));
    if (b->info.host_memory) return RF_OK;
    for (int i = 0; i < 2; i++) RF_TRY(b->mem->event_create(b, &r->flight[i].done, err));
    if (b->info.choose_vocab < r->m->shape.n_vocab) return RF_OK;
    uint64_t chosen = (uint64_t)r->opt.max_out * CHOSEN_BYTES; /* less than logits */
    RF_TRY(b->mem->alloc(b, chosen, &r->chosen, err));
    void *host;
    RF_TRY(b->mem->host_alloc(b, 2 * chosen, &host, err));
    for (int i = 0; i < 2; i++) r->flight[i].chosen = (struct rf_chosen *)((char *)host + (uint64_t)i * chosen);
    return RF_OK;
}

static struct program *laid(struct rf_runner *r) { return r->lays_one ? &r->one : &r->prog; }
/* The last entry if it is a `call`. */
static struct entry *last(struct rf_runner *r, enum call call)
{
    struct program *p = laid(r);
    return p->n && p->entry[p->n - 1].call == call ? &p->entry[p->n - 1] : NULL;
}

/* The entries are counted before: a layer's steps (products twice) plus gathers, and five around the layers. */
static struct entry *push(struct rf_runner *r, enum call call, enum rows rows)
{
    struct program *p = laid(r);
    if (p->n == p->cap) return NULL;
    struct entry *e = &p->entry[p->n++];
    *e = (struct entry){.call = call, .rows = rows};
    return e;
}

static bool add_norm(struct rf_runner *r, enum rows rows, rf_dev x, rf_dev y, uint32_t cols, rf_dev w)
{
    const struct entry *add = last(r, CALL_ADD);
    rf_dev residual = 0;
    if (add && add->u.add.out == x && add->rows == rows) {
        residual = add->u.add.b; /* x + y then norm of x: one pass */
        laid(r)->n--;
    }
    struct entry *e = push(r, CALL_NORM, rows);
    if (!e) return false;
    e->per_row = 1;
    e->u.norm = (struct rf_rmsnorm_args){.x = x, .y = y, .w = w, .cols = cols, .x_stride = cols, .y_stride = cols,
                                         .eps = (float)r->m->hp.rms_eps};
    if (residual) {
        e->u.norm.residual = residual;
        e->u.norm.sum = x;
    }
    return true;
}

/* The tables mark roles for backends that round inputs coarsely. */
static bool is_precise(const struct rf_runner *r, enum rf_role role)
{
    return r->opt.precise || (rf_role_rows[role].precise && !r->m->b->info.fine_inputs);
}

/* Does a step behind s read what a register holds at s? */
static bool read_later(const struct rf_recipe_step *s, enum rf_reg reg)
{
    for (s++; s->op != RF_STEP_END; s++) {
        if (s->in == reg || (s->op == RF_STEP_ADD && s->out[0] == reg) || (s->op == RF_STEP_GLU && reg == RF_REG_U)) return true;
        if (s->out[0] == reg) return false;
    }
    return false;
}

/* Are norms and activations part of products in what is being laid out? */
static bool fuses(const struct rf_runner *r) { return r->lays_one || r->m->b->info.fuses_rows; }

/* The product takes along the norm that makes its x, where that is the entry before it. */
static bool push_matmul(struct rf_runner *r, const struct rf_matmul_args *a, enum rows rows, bool may_fuse)
{
    const struct entry *n = fuses(r) && may_fuse ? last(r, CALL_NORM) : NULL;
    const bool fused = n && n->u.norm.y == a->x && !(r->lays_one && n->u.norm.residual) && n->per_row == 1 && n->rows == rows;
    const struct rf_rmsnorm_args norm = fused ? n->u.norm : (struct rf_rmsnorm_args){0};
    laid(r)->n -= fused;
    struct entry *e = push(r, CALL_MATMUL, rows);
    if (!e) return false;
    e->u.matmul = *a;
    e->norm = norm;
    e->u.matmul.norm = fused ? &e->norm : NULL; /* entries stay where they are */
    return true;
}

/* One call for a step's products; a second one where some are precise and some are not. */
static bool add_matmul(struct rf_runner *r, const struct rf_recipe_step *s, const struct rf_lm_layer *l, enum rows rows)
{
    uint32_t n = 0;
    while (n < RF_MATMUL_MAX && s->role[n]) n++;
    for (int precise = 0; precise < 2; precise++) {
        struct rf_matmul_args a = {.x = r->reg[s->in], .outputs = rows == ROWS_OUT, .precise = precise};
        if (s->in == RF_REG_G && s->out[0] == RF_REG_Y && !read_later(s, RF_REG_U)) {
            a.spare = r->spare;
            a.spare_bytes = r->spare_bytes;
        }
        for (uint32_t i = 0; i < RF_MATMUL_MAX && s->role[i]; i++) {
            if (is_precise(r, s->role[i]) != precise) continue;
            const struct rf_lm_tensor *t = &l->t[s->role[i]];
            a.w[a.n_w] = t->w;
            a.bias[a.n_w] = t->bias;
            a.out[a.n_w] = r->reg[s->out[i]];
            a.out_stride[a.n_w++] = r->width[s->out[i]];
        }
        if (a.n_w && !push_matmul(r, &a, rows, a.n_w == n && !read_later(s, s->in))) return false;
    }
    return true;
}

/* Moves a register to rows of outputs only; it lives at `to` from here on. */
static bool add_gather(struct rf_runner *r, enum rf_reg reg, rf_dev to)
{
    struct entry *e = push(r, CALL_GATHER, ROWS_OUT);
    if (!e) return false;
    e->u.gather = (struct rf_gather_args){.x = r->reg[reg], .out = to, .cols = r->width[reg]};
    r->reg[reg] = to;
    return true;
}

static bool add_attention(struct rf_runner *r, const struct rf_lm_layer *l)
{
    const struct rf_hparams *hp = &r->m->hp;
    const struct entry *before = last(r, CALL_ROPE_KV);
    const bool fused = before;
    const struct rf_rope_kv_args rope = fused ? before->u.rope : (struct rf_rope_kv_args){0};
    laid(r)->n -= fused;
    struct entry *e = push(r, CALL_ATTENTION, ROWS_TOK);
    if (!e) return false;
    e->rope = rope;
    e->u.attention = (struct rf_attention_args){
        .q = r->reg[RF_REG_Q], .out = r->reg[RF_REG_A], .q_stride = r->width[RF_REG_Q], .out_stride = r->width[RF_REG_A],
        .n_head = (uint32_t)hp->n_head, .n_kv_head = (uint32_t)hp->n_kv_head, .head_dim = (uint32_t)hp->head_dim,
        .scale = (float)hp->attn_scale, .softcap = (float)hp->attn_softcap, .window = l->window, .kv = r->kv, .slot = l->slot,
        .group = l->group, .rope = fused ? &e->rope : NULL}; /* entries stay where they are */
    return true;
}

static bool add_rope(struct rf_runner *r, const struct rf_lm_layer *l)
{
    struct rf_lm *m = r->m;
    bool halves = (m->rotation == RF_ROTATION_HALVES);
    struct entry *e = push(r, CALL_ROPE_KV, ROWS_TOK);
    if (!e) return false;
    e->u.rope = (struct rf_rope_kv_args){
        .q = r->reg[RF_REG_Q], .k = r->reg[RF_REG_K], .v = r->reg[RF_REG_V], .q_stride = r->width[RF_REG_Q],
        .kv_stride = r->width[RF_REG_K], .n_head = m->shape.n_head, .n_kv_head = m->shape.n_kv_head,
        .head_dim = m->shape.head_dim, .rot_dim = m->rope_dim, .style = halves ? RF_ROPE_NEOX : RF_ROPE_PAIRS,
        .inv_freq = l->local_rope ? m->inv_freq_local : m->inv_freq, .mscale = l->local_rope ? 1 : m->mscale, .kv = r->kv,
        .slot = l->slot, .group = l->group};
    return true;
}

/* The product that makes `in`, which step s reads and nobody after it, if it is the last entry and s may become part of it. */
static struct entry *fusible(struct rf_runner *r, const struct rf_recipe_step *s, rf_dev in)
{
    struct entry *e = fuses(r) ? last(r, CALL_MATMUL) : NULL;
    const bool last_reader = s->out[0] == s->in || !read_later(s, s->in);
    return e && last_reader && e->u.matmul.out[0] == in && !e->u.matmul.add && !e->u.matmul.glu ? e : NULL;
}

static bool add_step(struct rf_runner *r, const struct rf_recipe_step *s, const struct rf_lm_layer *l, enum rows rows)
{
    const struct rf_hparams *hp = &r->m->hp;
    static const enum rf_act act[] = {[RF_ACTIVATION_SILU] = RF_ACT_SILU, [RF_ACTIVATION_GELU_TANH] = RF_ACT_GELU_TANH,
                                      [RF_ACTIVATION_GELU] = RF_ACT_GELU, [RF_ACTIVATION_RELU] = RF_ACT_RELU};
    rf_dev in = r->reg[s->in], out = r->reg[s->out[0]];
    uint32_t head = (uint32_t)hp->head_dim, width = r->width[s->in];
    struct rf_glu_args glu;
    struct entry *e;
    switch (s->op) {
    case RF_STEP_END: return true;
    case RF_STEP_NORM: return add_norm(r, rows, in, out, width, l->t[s->role[0]].vec);
    case RF_STEP_HEAD_NORM:
        if (!add_norm(r, rows, in, in, head, l->t[s->role[0]].vec)) return false;
        last(r, CALL_NORM)->per_row = width / head;
        return true;
    case RF_STEP_MATMUL: return add_matmul(r, s, l, rows);
    case RF_STEP_ROPE_KV: return add_rope(r, l);
    case RF_STEP_ATTENTION: return add_attention(r, l);
    case RF_STEP_ADD:
        if (r->lays_one && (e = fusible(r, s, in)) && e->u.matmul.n_w == 1) {
            e->u.matmul.add = out;
            return true;
        }
        if (!(e = push(r, CALL_ADD, rows))) return false;
        e->per_row = width;
        e->u.add = (struct rf_add_args){.a = out, .b = in, .out = out, .b_scale = 1};
        return true;
    case RF_STEP_GLU:
        glu = (struct rf_glu_args){.gate = in, .up = r->reg[RF_REG_U], .out = out, .rows = 1, .cols = width, .act = act[hp->activation]};
        if ((e = fusible(r, s, in)) && e->u.matmul.n_w == 2 && e->u.matmul.out[1] == glu.up) {
            e->glu = glu;
            e->u.matmul.glu = &e->glu;
            return true;
        }
        if (!(e = push(r, CALL_GLU, rows))) return false;
        e->u.glu = glu;
        return true;
    }
    return false;
}

static bool add_layer(struct rf_runner *r, uint32_t i)
{
    const struct rf_lm_layer *l = &r->m->layers[i];
    enum rows rows = ROWS_TOK;
    for (const struct rf_recipe_step *s = r->m->arch->layer; s->op != RF_STEP_END; s++) {
        if (!add_step(r, s, l, rows)) return false;
        if (s->op == RF_STEP_ATTENTION && i + 1 == r->m->shape.n_layer && !r->lays_one) {
            if (!add_gather(r, RF_REG_A, r->reg[RF_REG_G]) || !add_gather(r, RF_REG_X, r->x_out)) return false;
            rows = ROWS_OUT;
        }
    }
    return true;
}

static bool add_ends(struct rf_runner *r, bool head)
{
    struct rf_lm *m = r->m;
    struct entry *e;
    if (head) {
        if (!(e = push(r, CALL_EMBED, ROWS_TOK))) return false;
        e->u.embed = (struct rf_embed_args){.w = m->t[RF_ROLE_TOKEN_EMBD].w, .out = r->reg[RF_REG_X],
                                            .scale = m->arch->embed_scaled ? sqrtf((float)m->hp.n_embd) : 1};
        return true;
    }
    if (!add_norm(r, ROWS_OUT, r->reg[RF_REG_X], r->reg[RF_REG_H], r->width[RF_REG_X], m->t[RF_ROLE_OUTPUT_NORM].vec)) return false;
    const struct rf_matmul_args logits = {.x = r->reg[RF_REG_H], .n_w = 1, .w = {m->output}, .out = {r->logits},
                                          .bias = {m->t[RF_ROLE_OUTPUT].bias}, .out_stride = {m->shape.n_vocab}, .outputs = true,
                                          .precise = is_precise(r, RF_ROLE_OUTPUT)};
    if (!push_matmul(r, &logits, ROWS_OUT, true)) return false;
    if (m->hp.logit_softcap > 0) {
        if (!(e = push(r, CALL_SOFTCAP, ROWS_OUT))) return false;
        e->per_row = m->shape.n_vocab;
        e->u.softcap = (struct rf_softcap_args){.x = r->logits, .cap = (float)m->hp.logit_softcap, .scale = 1};
    }
    if (r->chosen) {
        if (!(e = push(r, CALL_CHOOSE, ROWS_OUT))) return false;
        e->u.choose = (struct rf_choose_args){.logits = r->logits, .chosen = r->chosen, .top = r->chosen + r->opt.max_out * sizeof(struct rf_chosen),
                                              .n_vocab = m->shape.n_vocab};
    }
    return true;
}

static rf_status lay_out(struct rf_runner *r, bool one, struct rf_error *err)
{
    uint32_t per_layer = 2, n_layer = r->m->shape.n_layer;
    for (const struct rf_recipe_step *s = r->m->arch->layer; s->op != RF_STEP_END; s++) per_layer += 1 + (s->op == RF_STEP_MATMUL);
    r->lays_one = one;
    struct program *p = laid(r);
    p->cap = per_layer * n_layer + 8;
    p->entry = rf_alloc_array(p->cap, sizeof *p->entry);
    if (!p->entry) return rf_fail_nomem(err, "program", p->cap * sizeof *p->entry);
    bool ok = add_ends(r, true);
    for (uint32_t i = 0; ok && i < n_layer; i++) ok = add_layer(r, i);
    if (!ok || !add_ends(r, false)) return rf_fail(err, RF_INTERNAL, "recipe of %s does not fit its program", r->m->arch->name);
    return RF_OK;
}

rf_status rf_runner_create(struct rf_runner **out, struct rf_lm *m, const struct rf_runner_options *opt, struct rf_error *err)
{
    *out = NULL;
    struct rf_runner *r = rf_alloc_array(1, sizeof *r);
    if (!r) return rf_fail_nomem(err, "runner", sizeof *r);
    r->m = m;
    r->opt = *opt;
    struct rf_kv_desc d = {.n_block = opt->n_block, .n_slot = m->shape.n_slot, .n_kv_head = m->shape.n_kv_head,
                           .head_dim = m->shape.head_dim, .type = opt->kv_type ? opt->kv_type : m->shape.auto_kv_type};
    rf_status s = m->b->mem->kv_create(m->b, &d, &r->kv, err);
    if (!s) s = alloc_scratch(r, err);
    if (!s && m->b->info.fuses) s = lay_out(r, true, err);
    if (!s) s = lay_out(r, false, err); /* the last: it moves registers */
    if (s) {
        rf_runner_free(r);
        return s;
    }
    *out = r;
    return RF_OK;
}

void rf_runner_free(struct rf_runner *r)
{
    if (!r) return;
    struct rf_backend *b = r->m->b;
    b->ops->record_drop(b, r);
    if (r->n_begun != r->n_ended) b->mem->stream_sync(b, NULL);
    for (int i = 0; i < 2; i++)
        if (r->flight[i].done) b->mem->event_free(b, r->flight[i].done);
    if (r->kv) b->mem->kv_free(b, r->kv);
    if (r->scratch) b->mem->free(b, r->scratch);
    if (r->x_out) b->mem->free(b, r->x_out);
    if (r->chosen) b->mem->free(b, r->chosen);
    b->mem->host_free(b, r->host_logits);
    b->mem->host_free(b, r->flight[0].chosen);
    rf_free(r->prog.entry);
    rf_free(r->one.entry);
    rf_free(r);
}

/* ---- the walk ---- */

static rf_status run_entry(struct rf_backend *b, struct entry *e, uint32_t rows)
{
    const struct rf_backend_ops *ops = b->ops;
    switch (e->call) {
    case CALL_EMBED: return ops->embed(b, NULL, &e->u.embed);
    case CALL_NORM: e->u.norm.rows = rows * e->per_row; return ops->rmsnorm(b, NULL, &e->u.norm);
    case CALL_MATMUL: e->u.matmul.rows = e->norm.rows = e->glu.rows = rows; return ops->matmul(b, NULL, &e->u.matmul);
    case CALL_ROPE_KV: return ops->rope_kv(b, NULL, &e->u.rope);
    case CALL_ATTENTION: return ops->attention(b, NULL, &e->u.attention);
    case CALL_GLU: e->u.glu.rows = rows; return ops->glu(b, NULL, &e->u.glu);
    case CALL_ADD: e->u.add.n = (uint64_t)rows * e->per_row; return ops->add(b, NULL, &e->u.add);
    case CALL_GATHER: return ops->gather(b, NULL, &e->u.gather);
    case CALL_SOFTCAP: e->u.softcap.n = (uint64_t)rows * e->per_row; return ops->softcap(b, NULL, &e->u.softcap);
    case CALL_CHOOSE: return ops->choose(b, NULL, &e->u.choose);
    }
    return RF_INTERNAL;
}

/* Tokens are known, or rows that the step under way chooses for. */
static bool check_tokens(const struct rf_runner *r, const struct rf_batch *batch)
{
    const bool under_way = r->n_begun != r->n_ended;
    const uint32_t n_row = under_way ? r->flight[r->n_ended % 2].n_choice : 0;
    for (uint32_t i = 0; i < batch->n_tok; i++)
        if (batch->token[i] < 0 && (uint32_t)(-1 - batch->token[i]) >= n_row) return false;
    return r->n_begun - r->n_ended < (rf_runner_overlaps(r) ? 2u : 1u);
}

static rf_status check_batch(const struct rf_runner *r, const struct rf_batch *batch, struct rf_error *err)
{
    const struct rf_runner_options *o = &r->opt;
    if (batch->n_tok && batch->n_tok <= o->max_tok && batch->n_seq && batch->n_seq <= o->max_seq && batch->n_out <= o->max_out &&
        batch->n_group == r->m->shape.n_group && (!batch->choice || r->chosen) &&
        check_tokens(r, batch))
        return RF_OK;
    return rf_fail(err, RF_INTERNAL, "batch of %u tokens, %u sequences, %u outputs, %u groups does not fit a runner for %u, %u, %u, %u",
                   batch->n_tok, batch->n_seq, batch->n_out, batch->n_group, o->max_tok, o->max_seq, o->max_out,
                   r->m->shape.n_group);
}

static rf_status run_slots(struct rf_runner *r, const struct rf_batch *batch)
{
    const bool one = r->one.n && batch->n_tok + batch->n_pad == 1 && batch->n_out + batch->n_pad == 1;
    const struct program *p = one ? &r->one : &r->prog;
    rf_status s = RF_OK;
    for (uint32_t i = 0; !s && i < p->n; i++) {
        struct entry *e = &p->entry[i];
        uint32_t rows = (e->rows == ROWS_TOK ? batch->n_tok : batch->n_out) + batch->n_pad;
        if (rows && (e->call != CALL_CHOOSE || batch->choice)) s = run_entry(r->m->b, e, rows);
    }
    return s;
}

/* Rows to add so that a step of one token a sequence has a shape that the backend may have recorded; false: no such step. */
static bool decode_pad(const struct rf_runner *r, const struct rf_batch *batch, uint32_t *n_pad)
{
    uint32_t rows = 1;
    while (rows < batch->n_tok) rows *= 2;
    if (!r->m->b->info.records || batch->n_tok != batch->n_seq || batch->n_out != batch->n_tok || rows > MAX_RECORDED || rows > r->opt.max_tok ||
        rows > r->opt.max_out)
        return false;
    *n_pad = rows - batch->n_tok;
    return true;
}

static rf_status run_step(struct rf_runner *r, struct rf_batch *batch)
{
    struct rf_backend *b = r->m->b;
    enum rf_record what = RF_RECORD_NONE;
    bool ran = true, decode = decode_pad(r, batch, &batch->n_pad);
    if (r->opt.precise) batch->bulk_end = NULL;
    rf_status s = b->ops->batch_begin(b, NULL, batch);
    if (!s && decode) s = b->ops->record_begin(b, NULL, r, batch->n_tok + batch->n_pad, &what);
    if (s || what == RF_RECORD_DONE) return s;
    s = run_slots(r, batch);
    if (!decode) return s;
    rf_status end = b->ops->record_end(b, NULL, &ran);
    return s ? s : end ? end : ran ? RF_OK : run_slots(r, batch);
}

bool rf_runner_chooses(const struct rf_runner *r) { return r->chosen != 0; }

static bool any_choice(const struct rf_batch *batch)
{
    for (uint32_t i = 0; batch->choice && i < batch->n_out; i++)
        if (batch->choice[i].by != RF_CHOICE_NONE) return true;
    return false;
}

/* Logits to the host: of runs of rows that nobody chose for. */
static rf_status fetch_logits(struct rf_runner *r, const struct rf_batch *batch)
{
    const struct rf_backend_mem *mem = r->m->b->mem;
    uint64_t n_vocab = r->m->shape.n_vocab;
    for (uint32_t i = 0, end; i < batch->n_out; i = end + 1) {
        for (end = i; end < batch->n_out && (!batch->choice || batch->choice[end].by == RF_CHOICE_NONE);) end++;
        uint64_t at = i * n_vocab, n = (end - i) * n_vocab;
        void *host = r->host_logits;
        if (!n) continue;
        if (!host) RF_TRY(mem->host_alloc(r->m->b, r->opt.max_out * n_vocab * sizeof(float), &host, NULL)); /* its size was checked */
        r->host_logits = host;
        RF_TRY(mem->download(r->m->b, NULL, r->host_logits + at, r->logits + at * sizeof(float), n * sizeof(float)));
    }
    return RF_OK;
}

static rf_status fetch_chosen(struct rf_runner *r, const struct rf_batch *batch, struct rf_chosen *to)
{
    const struct rf_backend_mem *mem = r->m->b->mem;
    bool lists = false;
    for (uint32_t i = 0; i < batch->n_out; i++) lists |= batch->choice[i].n_top > 0;
    size_t heads = r->opt.max_out * sizeof(struct rf_chosen);
    RF_TRY(mem->download(r->m->b, NULL, to, r->chosen, batch->n_out * sizeof(struct rf_chosen)));
    return lists ? mem->download(r->m->b, NULL, (char *)to + heads, r->chosen + heads, (uint64_t)batch->n_out * TOP_BYTES) : RF_OK;
}

bool rf_runner_overlaps(const struct rf_runner *r) { return !r->m->b->info.host_memory; }

static rf_status step_failed(const struct rf_runner *r, uint32_t n_tok, rf_status s, struct rf_error *err)
{
    const struct rf_backend *b = r->m->b;
    return rf_fail(err, s, "%s: a step of %u tokens %s", b->info.name, n_tok, s == RF_DEVICE ? b->info.detail : "failed");
}

rf_status rf_runner_begin(struct rf_runner *r, const struct rf_batch *given, struct rf_error *err)
{
    RF_TRY(check_batch(r, given, err));
    struct rf_backend *b = r->m->b;
    struct flight *f = &r->flight[r->n_begun % 2];
    r->batch = *given; /* backends borrow it until the last slot */
    r->batch.n_pad = 0;
    r->batch.fed = r->n_begun != r->n_ended ? r->chosen : 0;
    if (!any_choice(&r->batch)) r->batch.choice = NULL;
    rf_status s = run_step(r, &r->batch);
    if (!s && !b->info.host_memory) s = fetch_logits(r, &r->batch);
    if (!s && r->batch.choice) s = fetch_chosen(r, &r->batch, f->chosen);
    if (!s && f->done) s = b->mem->event_record(b, f->done, NULL);
    if (s) return step_failed(r, given->n_tok, s, err);
    f->n_tok = given->n_tok;
    f->n_choice = r->batch.choice ? given->n_out : 0;
    r->n_begun++;
    return RF_OK;
}

rf_status rf_runner_end(struct rf_runner *r, struct rf_step_out *out, struct rf_error *err)
{
    struct rf_backend *b = r->m->b;
    const struct flight *f = &r->flight[r->n_ended++ % 2];
    rf_status s = f->done ? b->mem->event_sync(b, f->done) : b->mem->stream_sync(b, NULL);
    if (s) return step_failed(r, f->n_tok, s, err);
    *out = (struct rf_step_out){.logits = b->info.host_memory ? (const float *)r->logits : r->host_logits,
                                .chosen = f->n_choice ? f->chosen : NULL,
                                .top = f->n_choice ? (const struct rf_chosen_top *)(f->chosen + r->opt.max_out) : NULL};
    return RF_OK;
}

rf_status rf_runner_kv_copy(struct rf_runner *r, const int32_t *from, const int32_t *to, uint32_t n, struct rf_error *err)
{
    struct rf_backend *b = r->m->b;
    struct rf_kv_copy_args a = {.kv = r->kv, .from = from, .to = to, .n = n};
    rf_status s = n ? b->ops->kv_copy(b, NULL, &a) : RF_OK;
    return s ? rf_fail(err, s, "%s: copying %u KV blocks failed", b->info.name, n) : RF_OK;
}
