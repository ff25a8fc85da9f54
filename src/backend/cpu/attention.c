/* attention.c - how paged attention is shared out; the arithmetic is in the kernels, see kern.h.
 *
 * A tile is some successive tokens of one sequence with all query heads of one KV head. For each chunk of keys the tile's
 * keys and values are brought to f32 in the thread's scratch once, and all rows of the tile pass over them.
 *
 * Short runs of tokens (decode) are cut by chunks too: every (tile, chunk) is an item of its own that writes its parts to
 * memory, and when all are there the parts are merged, a row per item. Long runs (prefill) merge as they go. Either way a row
 * sees the same parts in the same order, so its bits are the same.
 */
#include <stdatomic.h>

#include "backend/cpu/cpu.h"
#include "base/mem.h"

enum {
    SPLIT_TOKENS = 16,             /* sequences with at most this many tokens in the step are cut by chunks ... */
    SPLIT_BYTES = 64 << 20,        /* ... as long as all parts fit here */
    TILE_ROWS = 128,
};

struct item {
    uint32_t seq, tok, n_tok; /* tokens tok .. tok + n_tok - 1 of the batch */
    uint32_t chunk0, chunk1;
    size_t part;              /* split: index of the first part (of chunk0, KV head 0), NONE otherwise */
};
#define NONE SIZE_MAX

struct merge { /* one split tile's rows */
    uint32_t tok, n_tok, chunk0, chunk1;
    size_t part;
};

struct job {
    struct rf_cpu *c;
    const struct rf_attention_args *a;
    uint32_t group, head_pad, part_floats; /* query heads per KV head; floats of a part */
    struct item *item;
    struct merge *merge;
    size_t n_item, n_merge;
    float *parts;  /* [part index][part_floats]; index = item's part + ((kv head * n_chunk + chunk) * n_tok + token) * group + head */
    char *threads; /* [thread][thread_bytes] */
    size_t thread_bytes;
    atomic_bool fault; /* a block table without a block where a key is needed */
};

/* Per-thread scratch, in floats: keys, values, scores, parts of RF_ATTN_ROWS rows, states of a tile's rows. */
struct space {
    float *k, *v, *score, *part, *state;
};

static size_t tile_rows(const struct job *j) { return RF_MAX((size_t)TILE_ROWS, j->group); }

static size_t space_bytes(const struct job *j)
{
    size_t floats = (size_t)RF_ATTN_CHUNK * (j->a->head_dim + j->head_pad) + RF_ATTN_ROWS * RF_ATTN_CHUNK +
                    (RF_ATTN_ROWS + tile_rows(j)) * j->part_floats;
    return (floats * sizeof(float) + 127) & ~(size_t)63;
}

static struct space space_of(const struct job *j, unsigned tid)
{
    struct space s;
    s.k = (float *)(j->threads + tid * j->thread_bytes);
    s.v = s.k + (size_t)RF_ATTN_CHUNK * j->a->head_dim;
    s.score = s.v + (size_t)RF_ATTN_CHUNK * j->head_pad;
    s.part = s.score + RF_ATTN_ROWS * RF_ATTN_CHUNK;
    s.state = s.part + (size_t)RF_ATTN_ROWS * j->part_floats;
    return s;
}

/* First key that a token at pos sees. */
static uint32_t first_key(uint32_t pos, uint32_t window) { return window && pos + 1 > window ? pos + 1 - window : 0; }

/* Keys of one chunk that a token at pos sees, as places in the chunk; false if none. */
static bool keys_of(uint32_t pos, uint32_t window, uint32_t chunk, uint32_t *lo, uint32_t *hi)
{
    uint32_t base = chunk * RF_ATTN_CHUNK, first = first_key(pos, window);
    *lo = first > base ? first - base : 0;
    *hi = pos < base ? 0 : RF_MIN(pos + 1 - base, (uint32_t)RF_ATTN_CHUNK);
    return *lo < *hi;
}

/* ---- one chunk of one tile ---- */

/* Few rows read the blocks as they are stored: bringing them to f32 would cost as much as it saves. */
static bool reads_blocks(const struct job *j, const struct item *it)
{
    return j->a->kv->desc.type != RF_KV_F32 && it->n_tok * j->group <= RF_ATTN_ROWS;
}

/* The chunk's blocks, those that some token of the tile sees: their addresses, or their contents as f32. */
static bool load_chunk(const struct job *j, const struct item *it, uint32_t kv_head, uint32_t chunk, const struct space *s,
                       const void **block)
{
    const struct rf_attention_args *a = j->a;
    const struct rf_batch *batch = j->c->batch;
    enum rf_kv_type type = a->kv->desc.type;
    const int32_t *table = batch->block_table[a->group] + (size_t)it->seq * batch->table_stride;
    uint32_t first = (uint32_t)batch->pos[it->tok], last = (uint32_t)batch->pos[it->tok + it->n_tok - 1];
    uint32_t base = chunk * RF_ATTN_CHUNK, lo = RF_MAX(first_key(first, a->window), base) - base;
    uint32_t hi = last < base ? 0 : RF_MIN(last + 1 - base, (uint32_t)RF_ATTN_CHUNK);
    for (uint32_t i = lo / RF_KV_BLOCK_TOKENS; i * RF_KV_BLOCK_TOKENS < hi; i++) {
        uint32_t at = chunk * RF_ATTN_BLOCKS + i;
        block[i] = at < batch->table_stride
            ? rf_cpu_kv_head(a->kv, table[at], a->slot, kv_head * rf_kv_head_bytes(type, a->head_dim)) : NULL;
        if (!block[i]) return false;
        if (reads_blocks(j, it)) continue;
        j->c->kern.kv_get[type](block[i], s->k + i * RF_KV_BLOCK_TOKENS, s->v + (size_t)i * RF_KV_BLOCK_TOKENS * j->head_pad,
                                a->head_dim);
    }
    return true;
}

/* Parts of all rows that see keys of the chunk. split: to memory; else merged into the states. False: a block is missing. */
static bool run_chunk(const struct job *j, const struct item *it, uint32_t kv_head, uint32_t chunk, const struct space *s)
{
    const struct rf_attention_args *a = j->a;
    struct rf_attn_row row[RF_ATTN_ROWS];
    float *state[RF_ATTN_ROWS];
    struct rf_attn_part_args p = {.row = row, .head_dim = a->head_dim, .head_pad = j->head_pad, .type = a->kv->desc.type,
                                  .scale = a->scale, .softcap = a->softcap, .score = s->score};
    if (!load_chunk(j, it, kv_head, chunk, s, p.block)) return false;
    if (!reads_blocks(j, it)) p.k = s->k, p.v = s->v;
    uint32_t n_rows = it->n_tok * j->group;
    for (uint32_t r = 0; r < n_rows; r++) {
        uint32_t tok = it->tok + r / j->group, head = kv_head * j->group + r % j->group, lo, hi;
        if (keys_of((uint32_t)j->c->batch->pos[tok], a->window, chunk, &lo, &hi)) {
            size_t at = it->part + ((size_t)kv_head * n_rows + r);
            state[p.n_row] = s->state + (size_t)r * j->part_floats;
            row[p.n_row] = (struct rf_attn_row){
                .q = (const float *)a->q + (size_t)tok * a->q_stride + (size_t)head * a->head_dim,
                .part = it->part != NONE ? j->parts + at * j->part_floats : s->part + (size_t)p.n_row * j->part_floats,
                .lo = lo, .hi = hi};
            p.n_row++;
        }
        if (p.n_row < RF_ATTN_ROWS && r + 1 < n_rows) continue;
        if (p.n_row) j->c->kern.attn_part(&p);
        for (uint32_t i = 0; it->part == NONE && i < p.n_row; i++) j->c->kern.attn_merge(state[i], row[i].part, j->head_pad);
        p.n_row = 0;
    }
    return true;
}

static void run_item(struct job *j, const struct item *it, uint32_t kv_head, const struct space *s)
{
    const struct rf_attention_args *a = j->a;
    uint32_t n_rows = it->n_tok * j->group;
    for (uint32_t r = 0; it->part == NONE && r < n_rows; r++) rf_attn_state_clear(s->state + (size_t)r * j->part_floats, j->head_pad);
    for (uint32_t chunk = it->chunk0; chunk < it->chunk1; chunk++) {
        if (run_chunk(j, it, kv_head, chunk, s)) continue;
        atomic_store(&j->fault, true);
        return;
    }
    for (uint32_t r = 0; it->part == NONE && r < n_rows; r++) {
        uint32_t tok = it->tok + r / j->group, head = kv_head * j->group + r % j->group;
        j->c->kern.attn_finish(s->state + (size_t)r * j->part_floats,
                               (float *)a->out + (size_t)tok * a->out_stride + (size_t)head * a->head_dim, a->head_dim);
    }
}

/* Row r of a split tile: its parts in rising order of chunks. */
static void run_merge(const struct job *j, const struct merge *m, uint32_t kv_head, uint32_t r, float *state)
{
    const struct rf_attention_args *a = j->a;
    uint32_t tok = m->tok + r / j->group, head = kv_head * j->group + r % j->group, lo, hi, n_rows = m->n_tok * j->group;
    rf_attn_state_clear(state, j->head_pad);
    for (uint32_t chunk = m->chunk0; chunk < m->chunk1; chunk++) {
        if (!keys_of((uint32_t)j->c->batch->pos[tok], a->window, chunk, &lo, &hi)) continue;
        size_t at = m->part + ((size_t)(chunk - m->chunk0) * a->n_kv_head + kv_head) * n_rows + r;
        j->c->kern.attn_merge(state, j->parts + at * j->part_floats, j->head_pad);
    }
    j->c->kern.attn_finish(state, (float *)a->out + (size_t)tok * a->out_stride + (size_t)head * a->head_dim, a->head_dim);
}

static void run_job(void *ctx, unsigned tid, unsigned n_threads)
{
    (void)n_threads;
    struct job *j = ctx;
    struct space s = space_of(j, tid);
    uint32_t n_kv = j->a->n_kv_head;
    size_t from, to;
    while (rf_pool_next(j->c->pool, j->n_item * n_kv, 1, &from, &to))
        run_item(j, &j->item[from / n_kv], (uint32_t)(from % n_kv), &s);
    if (!j->n_merge) return;
    rf_pool_barrier(j->c->pool); /* the merges read parts of all threads */
    while (rf_pool_next(j->c->pool, j->n_merge * n_kv, 1, &from, &to)) {
        const struct merge *m = &j->merge[from / n_kv];
        for (uint32_t r = 0; r < m->n_tok * j->group; r++) run_merge(j, m, (uint32_t)(from % n_kv), r, s.state);
    }
}

/* ---- the work list ---- */

/* Counts (out NULL) or writes the items and merges of all sequences, longest first within a sequence; *n_part counts parts. */
static void plan(struct job *j, bool write, size_t *n_part)
{
    const struct rf_batch *batch = j->c->batch;
    uint32_t tile = (uint32_t)RF_MAX(tile_rows(j) / j->group, (size_t)1), window = j->a->window;
    j->n_item = j->n_merge = *n_part = 0;
    for (uint32_t s = 0; s < batch->n_seq; s++) {
        uint32_t first = (uint32_t)batch->seq_first[s], last = (uint32_t)batch->seq_first[s + 1], n = last - first;
        if (!n) continue;
        uint32_t c0 = first_key((uint32_t)batch->pos[first], window) / RF_ATTN_CHUNK;
        uint32_t c1 = (uint32_t)batch->pos[last - 1] / RF_ATTN_CHUNK + 1;
        size_t rows = (size_t)n * j->group * j->a->n_kv_head, parts = rows * (c1 - c0);
        if (n <= SPLIT_TOKENS && n <= tile && c1 - c0 > 1 && (*n_part + parts) * j->part_floats * sizeof(float) <= SPLIT_BYTES) {
            if (write) j->merge[j->n_merge] = (struct merge){.tok = first, .n_tok = n, .chunk0 = c0, .chunk1 = c1, .part = *n_part};
            j->n_merge++;
            for (uint32_t c = c0; c < c1; c++, *n_part += rows, j->n_item++)
                if (write)
                    j->item[j->n_item] = (struct item){.seq = s, .tok = first, .n_tok = n, .chunk0 = c, .chunk1 = c + 1, .part = *n_part};
            continue;
        }
        for (uint32_t end = last; end > first; j->n_item++) { /* the last tokens see the most keys */
            uint32_t from = first + (end - first - 1) / tile * tile;
            if (write)
                j->item[j->n_item] = (struct item){.seq = s, .tok = from, .n_tok = end - from, .part = NONE,
                    .chunk0 = first_key((uint32_t)batch->pos[from], window) / RF_ATTN_CHUNK,
                    .chunk1 = (uint32_t)batch->pos[end - 1] / RF_ATTN_CHUNK + 1};
            end = from;
        }
    }
}

rf_status rf_cpu_attention(struct rf_backend *b, struct rf_stream *st, const struct rf_attention_args *a)
{
    struct rf_cpu *c = rf_cpu_of(b);
    if (a->group >= c->batch->n_group || !a->n_kv_head || a->n_head % a->n_kv_head ||
        !rf_cpu_kv_fits(a->kv, a->slot, a->n_kv_head, a->head_dim))
        return RF_INTERNAL;
    if (a->rope) RF_TRY(b->ops->rope_kv(b, st, a->rope));
    struct job j = {.c = c, .a = a, .group = a->n_head / a->n_kv_head, .head_pad = rf_attn_head_pad(a->head_dim)};
    j.part_floats = RF_ATTN_PART_HEAD + j.head_pad;
    size_t n_part;
    plan(&j, false, &n_part);
    if (!j.n_item) return RF_OK;
    RF_TRY(rf_cpu_scratch_need(&c->items, j.n_item * sizeof *j.item + j.n_merge * sizeof *j.merge));
    RF_TRY(rf_cpu_scratch_need(&c->parts, n_part * j.part_floats * sizeof(float)));
    j.thread_bytes = space_bytes(&j);
    RF_TRY(rf_cpu_scratch_need(&c->threads, j.thread_bytes * rf_pool_size(c->pool)));
    j.item = c->items.data;
    j.merge = (struct merge *)(j.item + j.n_item);
    j.parts = c->parts.data;
    j.threads = c->threads.data;
    plan(&j, true, &n_part);
    rf_pool_run(c->pool, run_job, &j);
    return atomic_load(&j.fault) ? RF_INTERNAL : RF_OK;
}
