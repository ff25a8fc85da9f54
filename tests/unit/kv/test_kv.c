/* The KV room against a naive model: whole prefixes compared, no hash, no lists, and a memory whose every slot says which
 * prefix it holds. A million random operations over several shapes, hash widths included. */
#include "base/mem.h"
#include "base/rng.h"
#include "check.h"
#include "kv/table.h"

enum { T = RF_KV_TOKENS, MAX_BLOCK = 40, MAX_SEQ = 5, MAX_TOK = 112, MAX_IDX = MAX_TOK / T };

/* ---- the naive model ---- */

struct nblock {
    int pins;
    bool known;
    uint32_t group, n_tok;
    uint64_t salt, stamp; /* stamp: when it was last let go */
    int32_t tok[MAX_TOK];
    uint64_t mem[T];      /* what the forward pass would have written: a hash of the prefix up to and with the slot */
};
struct nseq {
    bool open;
    uint32_t handle, n_tok, computed, n_entry[RF_KV_MAX_GROUPS], live[RF_KV_MAX_GROUPS], n_indexed;
    uint64_t salt;
    int32_t tok[MAX_TOK], table[RF_KV_MAX_GROUPS][MAX_IDX];
};
static struct nblock nb[MAX_BLOCK];
static struct nseq ns[MAX_SEQ];
static uint64_t stamp;
static struct rf_kv_options opt;
static uint64_t n_hit_tokens, n_copies, n_full;

static uint32_t reach(uint32_t w, uint32_t p) { return w && p >= w ? p - w + 1 : 0; }
static uint32_t ceil_t(uint32_t n) { return (n + T - 1) / T; }

static uint64_t prefix_hash(const int32_t *tok, uint32_t n, uint64_t salt)
{
    uint64_t h = salt * 1000003 + 17;
    for (uint32_t i = 0; i < n; i++) h = (h ^ (uint64_t)(tok[i] + 1)) * UINT64_C(0x100000001b3) + 7;
    return h;
}

static int naive_find(uint32_t g, uint64_t salt, const int32_t *tok, uint32_t n)
{
    for (uint32_t b = 0; b < opt.n_block; b++)
        if (nb[b].known && nb[b].group == g && nb[b].salt == salt && nb[b].n_tok == n && !memcmp(nb[b].tok, tok, n * 4))
            return (int)b;
    return -1;
}

static uint32_t naive_hit(const struct nseq *s, uint32_t want)
{
    uint32_t most = RF_MIN(s->n_tok / T, ceil_t(want));
    for (uint32_t h = most; h > 0; h--) {
        bool ok = true;
        for (uint32_t g = 0; g < opt.n_group && ok; g++)
            for (uint32_t i = reach(opt.window[g], RF_MIN(h * T, want)) / T; i < h && ok; i++)
                ok = naive_find(g, s->salt, s->tok, (i + 1) * T) >= 0;
        if (ok) return h;
    }
    return 0;
}

static void unpin(int b)
{
    if (--nb[b].pins == 0) nb[b].stamp = ++stamp;
}

/* The block the room chose must be one that the naive model would allow: any free one, else the one idle longest. */
static void naive_take(int32_t b)
{
    int oldest = -1, n_free = 0;
    for (uint32_t i = 0; i < opt.n_block; i++) {
        if (nb[i].pins) continue;
        if (!nb[i].known) n_free++;
        else if (oldest < 0 || nb[i].stamp < nb[oldest].stamp) oldest = (int)i;
    }
    CHECK(b >= 0 && (uint32_t)b < opt.n_block && nb[b].pins == 0);
    if (n_free) CHECK(!nb[b].known);
    else CHECK_INT(b, oldest);
    nb[b].known = false;
    nb[b].pins = 1;
    memset(nb[b].mem, 0xee, sizeof nb[b].mem);
}

static uint32_t naive_available(void)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < opt.n_block; i++) n += nb[i].pins == 0;
    return n;
}

/* ---- operations on both ---- */

static void random_prompt(struct rf_rng *r, struct nseq *s)
{
    s->n_tok = 1 + rf_rng_below(r, MAX_TOK - 8);
    if (rf_rng_below(r, 3) == 0) s->n_tok = RF_MAX(s->n_tok / T, 1u) * T;
    for (uint32_t i = 0; i < s->n_tok; i++) {
        if (i % T == 0) s->tok[i] = (int32_t)rf_rng_below(r, 2);
        else s->tok[i] = i % T == 15 && rf_rng_below(r, 40) == 0 ? 9 : s->tok[i - 1];
    }
}

static void op_open(struct rf_kv *kv, struct rf_rng *r, struct nseq *s)
{
    *s = (struct nseq){.open = true, .salt = rf_rng_below(r, 2)};
    random_prompt(r, s);
    CHECK_INT(rf_kv_open(kv, s->salt, &s->handle), RF_OK);
    uint32_t want = rf_rng_below(r, 4) ? s->n_tok - 1 : rf_rng_below(r, s->n_tok + 1);
    uint32_t hit = opt.no_prefix ? 0 : naive_hit(s, want);
    uint32_t got = rf_kv_match(kv, s->handle, s->tok, s->n_tok, want);
    CHECK_INT(got, RF_MIN(hit * T, want));
    s->computed = got;
    s->n_indexed = got / T;
    n_hit_tokens += got;
    for (uint32_t g = 0; g < opt.n_group; g++) {
        s->n_entry[g] = hit;
        s->live[g] = reach(opt.window[g], got) / T;
        for (uint32_t i = 0; i < hit; i++) {
            s->table[g][i] = i < s->live[g] ? -1 : naive_find(g, s->salt, s->tok, (i + 1) * T);
            if (s->table[g][i] >= 0) nb[s->table[g][i]].pins++;
        }
    }
}

static void op_close(struct rf_kv *kv, struct nseq *s)
{
    const int32_t *from, *to;
    uint32_t n_copy = rf_kv_copies(kv, &from, &to); /* its own: copies that were not made are dropped */
    for (uint32_t i = 0; i < n_copy; i++) unpin(from[i]);
    rf_kv_close(kv, s->handle);
    for (uint32_t i = MAX_IDX; i-- > 0;)
        for (uint32_t g = 0; g < opt.n_group; g++)
            if (i < s->n_entry[g] && s->table[g][i] >= 0) unpin(s->table[g][i]);
    s->open = false;
}

/* Follows what reserve did to the tables, up to where it ran out of blocks. */
static void follow_reserve(struct rf_kv *kv, struct nseq *s, uint32_t upto)
{
    const int32_t *from, *to;
    uint32_t n_copy = rf_kv_copies(kv, &from, &to);
    for (uint32_t g = 0; g < opt.n_group; g++) {
        uint32_t n, first = s->computed / T;
        const int32_t *t = rf_kv_table(kv, s->handle, g, &n);
        for (uint32_t i = 0; i < n; i++) {
            if (i >= s->n_entry[g]) {
                naive_take(t[i]);
                s->table[g][i] = t[i];
            } else if (t[i] != s->table[g][i]) { /* copied on write */
                CHECK_INT(i, first);
                CHECK(nb[s->table[g][i]].pins > 1);
                naive_take(t[i]);
                s->table[g][i] = t[i];
                bool listed = false;
                for (uint32_t c = 0; c < n_copy; c++) listed |= to[c] == t[i];
                CHECK(listed);
                n_copies++;
            } else if (i == first && nb[t[i]].pins == 1 && i * T <= s->computed) {
                nb[t[i]].known = false; /* its only user writes it */
            }
        }
        s->n_entry[g] = n;
        if (n < ceil_t(upto) || nb[t[first]].pins > 1) return;
    }
}

static void do_copies(struct rf_kv *kv)
{
    const int32_t *from, *to;
    uint32_t n = rf_kv_copies(kv, &from, &to);
    for (uint32_t i = 0; i < n; i++) {
        memcpy(nb[to[i]].mem, nb[from[i]].mem, sizeof nb[0].mem);
    }
    int32_t f[MAX_SEQ * RF_KV_MAX_GROUPS];
    for (uint32_t i = 0; i < n; i++) f[i] = from[i];
    rf_kv_copies_done(kv);
    for (uint32_t i = 0; i < n; i++) unpin(f[i]);
}

static void check_reads(const struct nseq *s, uint32_t pos)
{
    for (uint32_t g = 0; g < opt.n_group; g++)
        for (uint32_t p = reach(opt.window[g], pos); p <= pos; p++) {
            int32_t b = s->table[g][p / T];
            CHECK(b >= 0);
            if (b >= 0) CHECK(nb[b].mem[p % T] == prefix_hash(s->tok, p + 1, s->salt));
        }
}

static void op_commit(struct rf_kv *kv, struct nseq *s, uint32_t upto)
{
    for (uint32_t p = s->computed; p < upto; p++)
        for (uint32_t g = 0; g < opt.n_group; g++) {
            struct nblock *b = &nb[s->table[g][p / T]];
            CHECK(b->pins == 1 && !b->known);
            b->mem[p % T] = prefix_hash(s->tok, p + 1, s->salt);
        }
    check_reads(s, s->computed);
    check_reads(s, upto - 1);
    rf_kv_commit(kv, s->handle, s->tok, upto);
    s->computed = upto;
    for (; !opt.no_prefix && s->n_indexed < upto / T; s->n_indexed++)
        for (uint32_t g = 0; g < opt.n_group; g++) {
            uint32_t n = (s->n_indexed + 1) * T;
            int32_t b = s->table[g][s->n_indexed];
            if (b < 0 || nb[b].known || naive_find(g, s->salt, s->tok, n) >= 0) continue;
            nb[b].known = true;
            nb[b].group = g;
            nb[b].salt = s->salt;
            nb[b].n_tok = n;
            memcpy(nb[b].tok, s->tok, n * 4);
        }
    for (uint32_t g = 0; g < opt.n_group; g++)
        for (; s->live[g] < reach(opt.window[g], upto) / T; s->live[g]++) {
            unpin(s->table[g][s->live[g]]);
            s->table[g][s->live[g]] = -1;
        }
}

static void op_step(struct rf_kv *kv, struct rf_rng *r, struct nseq *s)
{
    if (s->computed == s->n_tok && s->n_tok < MAX_TOK) s->tok[s->n_tok++] = (int32_t)rf_rng_below(r, 2); /* decode */
    uint32_t most = RF_MIN(s->n_tok - s->computed, opt.max_step_tokens);
    if (!most) {
        op_close(kv, s);
        return;
    }
    uint32_t upto = s->computed + 1 + rf_rng_below(r, most), before = naive_available();
    uint32_t missing = rf_kv_missing(kv, s->handle, upto);
    rf_status st = rf_kv_reserve(kv, s->handle, upto);
    follow_reserve(kv, s, upto);
    if (st) {
        CHECK_INT(st, RF_FULL);
        CHECK_INT(naive_available(), 0);
        n_full++;
        op_close(kv, s); /* preempted */
        return;
    }
    CHECK(missing <= before);
    if (rf_rng_below(r, 30) == 0) { /* the step failed: nothing was computed */
        op_close(kv, s);
        return;
    }
    do_copies(kv);
    op_commit(kv, s, upto);
}

static void compare(struct rf_kv *kv)
{
    CHECK(rf_kv_check(kv));
    CHECK_INT(rf_kv_available(kv), naive_available());
    for (uint32_t b = 0; b < opt.n_block; b++) {
        CHECK_INT(rf_kv_pool_pins(rf_kv_pool(kv), (int32_t)b), nb[b].pins);
        CHECK_INT(rf_kv_pool_cached(rf_kv_pool(kv), (int32_t)b), nb[b].known);
    }
    for (int i = 0; i < MAX_SEQ; i++)
        for (uint32_t g = 0; ns[i].open && g < opt.n_group; g++) {
            uint32_t n;
            const int32_t *t = rf_kv_table(kv, ns[i].handle, g, &n);
            CHECK_INT(n, ns[i].n_entry[g]);
            CHECK(!memcmp(t, ns[i].table[g], n * 4));
            CHECK(n - ns[i].live[g] <= rf_kv_need(kv, MAX_TOK));
        }
}

static void drive(struct rf_rng *r, uint32_t n_op)
{
    struct rf_kv *kv;
    memset(nb, 0, sizeof nb);
    memset(ns, 0, sizeof ns);
    n_hit_tokens = n_copies = n_full = 0;
    REQUIRE(rf_kv_create(&kv, &opt, NULL) == RF_OK);
    uint64_t before = rf_mem_count();
    for (uint32_t op = 0; op < n_op && !check_.bad; op++) {
        struct nseq *s = &ns[rf_rng_below(r, opt.max_seqs)];
        if (!s->open) op_open(kv, r, s);
        else if (rf_rng_below(r, 12) == 0) op_close(kv, s);
        else op_step(kv, r, s);
        if (op % 32 == 0) compare(kv);
    }
    CHECK_INT(rf_mem_count(), before);
    for (int i = 0; i < MAX_SEQ; i++)
        if (ns[i].open) op_close(kv, &ns[i]);
    compare(kv);
    CHECK_INT(rf_kv_available(kv), opt.n_block);
    printf("# blocks %u groups %u window %u bits %u: %llu tokens hit, %llu copies, %llu times full\n", opt.n_block,
           opt.n_group, opt.window[0], opt.hash_bits, (unsigned long long)n_hit_tokens, (unsigned long long)n_copies,
           (unsigned long long)n_full);
    if (!opt.no_prefix) CHECK(n_hit_tokens > 0);
    if (!check_quick()) CHECK(n_full > 0);
    rf_kv_free(kv);
}

static uint64_t seed;

TEST(random_operations)
{
    static const struct { uint32_t n_block, n_group, w[3]; bool off; unsigned bits;
    } shapes[] = {
        {20, 1, {0}, false, 0},         {20, 1, {0}, false, 4},     {14, 1, {24}, false, 4},
        {36, 3, {0, 20, 40}, false, 4}, {30, 2, {33, 0}, false, 1}, {24, 2, {16, 48}, false, 0},
        {20, 1, {0}, true, 0},          {7, 1, {2}, false, 2},      {40, 2, {0, 17}, false, 0},
        {9, 1, {0}, false, 4},
    };
    struct rf_rng r = {seed};
    for (size_t i = 0; i < RF_COUNT(shapes); i++) {
        opt = (struct rf_kv_options){.n_block = shapes[i].n_block, .n_group = shapes[i].n_group, .max_seqs = MAX_SEQ,
                                     .max_tokens = MAX_TOK, .max_step_tokens = 40, .no_prefix = shapes[i].off,
                                     .hash_bits = shapes[i].bits};
        memcpy(opt.window, shapes[i].w, sizeof shapes[i].w);
        drive(&r, check_quick() ? 10000 : 100000);
    }
}

static struct rf_kv *small(uint32_t n_block, uint32_t window)
{
    struct rf_kv *kv;
    struct rf_kv_options o = {.n_block = n_block, .n_group = 1, .window = {window}, .max_seqs = 4, .max_tokens = 256,
                              .max_step_tokens = 256};
    return rf_kv_create(&kv, &o, NULL) ? NULL : kv;
}

/* Computes all of tok in one step and returns the tokens that were cached. */
static uint32_t compute(struct rf_kv *kv, const int32_t *tok, uint32_t n, uint32_t *seq)
{
    CHECK_INT(rf_kv_open(kv, 0, seq), RF_OK);
    uint32_t hit = rf_kv_match(kv, *seq, tok, n, n - 1);
    CHECK_INT(rf_kv_reserve(kv, *seq, n), RF_OK);
    rf_kv_copies_done(kv);
    rf_kv_commit(kv, *seq, tok, n);
    return hit;
}

TEST(whole_prompt_cached)
{
    struct rf_kv *kv = small(16, 0);
    uint32_t a, b;
    int32_t tok[64];
    for (int i = 0; i < 64; i++) tok[i] = i;
    REQUIRE(kv);
    CHECK_INT(compute(kv, tok, 64, &a), 0);
    /* While a lives its last block is shared: b gets a copy of it, and computes one token. */
    CHECK_INT(rf_kv_open(kv, 0, &b), RF_OK);
    CHECK_INT(rf_kv_match(kv, b, tok, 64, 63), 63);
    CHECK_INT(rf_kv_reserve(kv, b, 64), RF_OK);
    const int32_t *from, *to;
    uint32_t n;
    CHECK_INT(rf_kv_copies(kv, &from, &to), 1);
    CHECK_INT(from[0], rf_kv_table(kv, a, 0, &n)[3]);
    CHECK_INT(to[0], rf_kv_table(kv, b, 0, &n)[3]);
    rf_kv_copies_done(kv);
    rf_kv_commit(kv, b, tok, 64);
    CHECK_INT(rf_kv_available(kv), 11);
    rf_kv_close(kv, a);
    rf_kv_close(kv, b);
    /* Alone, no copy is needed, and the block is known again afterwards. */
    for (int k = 0; k < 3; k++) {
        CHECK_INT(compute(kv, tok, 64, &a), 63);
        CHECK_INT(rf_kv_copies(kv, &from, &to), 0);
        rf_kv_close(kv, a);
    }
    CHECK(rf_kv_check(kv));
    CHECK_INT(rf_kv_available(kv), 16);
    rf_kv_free(kv);
}

TEST(eviction_takes_the_oldest_tail)
{
    struct rf_kv *kv = small(8, 0);
    int32_t tok[128], other[64];
    uint32_t a, b;
    for (int i = 0; i < 128; i++) tok[i] = i;
    for (int i = 0; i < 64; i++) other[i] = 1000 + i;
    REQUIRE(kv);
    compute(kv, tok, 128, &a);
    rf_kv_close(kv, a);
    compute(kv, other, 32, &b); /* takes two blocks: the end of the long one */
    rf_kv_close(kv, b);
    CHECK_INT(compute(kv, tok, 128, &a), 96);
    rf_kv_close(kv, a);
    rf_kv_free(kv);
}

TEST(window_gives_back)
{
    struct rf_kv *kv = small(40, 32);
    int32_t tok[256];
    uint32_t a, b, n;
    for (int i = 0; i < 256; i++) tok[i] = i;
    REQUIRE(kv);
    compute(kv, tok, 200, &a);
    const int32_t *t = rf_kv_table(kv, a, 0, &n);
    CHECK_INT(n, 13);
    for (uint32_t i = 0; i < 13; i++) CHECK_INT(t[i] < 0, i < (200 - 31) / 16); /* position 200 reads 169.. */
    CHECK_INT(rf_kv_available(kv), 40 - 3);
    CHECK_INT(rf_kv_open(kv, 0, &b), RF_OK);
    CHECK_INT(rf_kv_match(kv, b, tok, 200, 199), 192);
    t = rf_kv_table(kv, b, 0, &n);
    CHECK_INT(n, 12);
    for (uint32_t i = 0; i < 12; i++) CHECK_INT(t[i] < 0, i < (192 - 31) / 16);
    rf_kv_close(kv, a);
    rf_kv_close(kv, b);
    CHECK(rf_kv_check(kv));
    rf_kv_free(kv);
}

TEST(salt_separates)
{
    struct rf_kv *kv = small(16, 0);
    int32_t tok[64] = {0};
    uint32_t a, b;
    REQUIRE(kv);
    compute(kv, tok, 64, &a);
    CHECK_INT(rf_kv_open(kv, 7, &b), RF_OK);
    CHECK_INT(rf_kv_match(kv, b, tok, 64, 63), 0);
    rf_kv_close(kv, a);
    rf_kv_close(kv, b);
    rf_kv_free(kv);
}

TEST(no_memory_is_an_answer)
{
    struct rf_kv_options o = {.n_block = 8, .n_group = 2, .max_seqs = 2, .max_tokens = 64, .max_step_tokens = 16};
    struct rf_error err;
    for (uint64_t k = 1;; k++) {
        struct rf_kv *kv;
        rf_mem_fail_at(k);
        rf_status st = rf_kv_create(&kv, &o, &err);
        rf_mem_fail_at(0);
        rf_kv_free(kv);
        if (!st) break;
        CHECK_INT(st, RF_NOMEM);
        CHECK(!kv && k < 100);
    }
    struct rf_kv *kv;
    o.n_block = 0;
    CHECK_INT(rf_kv_create(&kv, &o, &err), RF_INVALID);
    o.n_block = 8;
    o.n_group = 17;
    CHECK_INT(rf_kv_create(&kv, &o, &err), RF_INVALID);
}

int main(void)
{
    seed = check_seed();
    RUN(whole_prompt_cached);
    RUN(eviction_takes_the_oldest_tail);
    RUN(window_gives_back);
    RUN(salt_separates);
    RUN(no_memory_is_an_answer);
    RUN(random_operations);
    return check_end();
}
