/* The scheduler against a naive one (arrays sorted anew each step, blocks as plain numbers), and its promises with the
 * prefix index and windows on: budgets kept, order kept, everybody finishes. */
#include "base/mem.h"
#include "base/rng.h"
#include "check.h"
#include "sched/sched.h"

enum { T = RF_KV_TOKENS, N_SEQ = 12, MAX_TOK = 120 };

struct actor {
    struct rf_sched_seq q;
    int32_t tok[MAX_TOK];
    uint32_t n_prompt, n_total, done_logits; /* done_logits: next position whose logits are missing */
    bool rows;                               /* logits of every prompt token are wanted */
    /* naive model */
    uint32_t computed, n_block;
    int state;
};
static struct actor actors[N_SEQ];
static struct rf_kv *kv;
static struct rf_sched *sched;
static struct rf_sched_options sopt;
static uint32_t n_block;
static uint64_t seed, n_preempted, n_finished, n_planned;

static bool first_of(const struct actor *a, const struct actor *b)
{
    return a->q.priority != b->q.priority ? a->q.priority < b->q.priority : a->q.arrival < b->q.arrival;
}

/* All actors in a state, in order. */
static uint32_t sorted(int state, struct actor **out)
{
    uint32_t n = 0;
    for (int i = 0; i < N_SEQ; i++)
        if (actors[i].state == state) out[n++] = &actors[i];
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t k = i + 1; k < n; k++)
            if (first_of(out[k], out[i])) {
                struct actor *t = out[i];
                out[i] = out[k];
                out[k] = t;
            }
    return n;
}

static uint32_t ceil_t(uint32_t n) { return (n + T - 1) / T; }

static int64_t naive_free(void)
{
    int64_t n = n_block;
    for (int i = 0; i < N_SEQ; i++) n -= actors[i].n_block;
    return n;
}

struct naive_item { struct actor *a; uint32_t from, n, n_out; };
struct naive_plan { struct naive_item item[4 * N_SEQ]; uint32_t n; };

static uint32_t sum(const struct naive_plan *p, bool out)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->n; i++)
        if (p->item[i].a) n += out ? p->item[i].n_out : p->item[i].n;
    return n;
}

static uint32_t naive_chunk(const struct naive_plan *p, const struct actor *a, uint32_t *n_out)
{
    uint32_t n = 0, out = 0;
    for (uint32_t t = a->computed; t < a->q.n_token && sum(p, false) + n < sopt.max_step_tokens; t++) {
        bool row = t >= a->q.want_from;
        if (row && sum(p, true) + out == sopt.max_out) break;
        n++;
        out += row;
    }
    *n_out = out;
    return n;
}

static void naive_run(struct naive_plan *p, struct actor *a, bool *preempted)
{
    uint32_t n_out, n = naive_chunk(p, a, &n_out);
    if (!n) return;
    while (naive_free() < (int64_t)ceil_t(a->computed + n) - a->n_block) {
        struct actor *run[N_SEQ];
        struct actor *v = run[sorted(RF_SCHED_RUNNING, run) - 1];
        /* What could be had stays with a until it is closed. */
        for (uint32_t i = 0; i < p->n; i++)
            if (p->item[i].a == v) p->item[i].a = NULL;
        v->state = RF_SCHED_WAITING;
        v->computed = v->n_block = 0;
        *preempted = true;
        if (v == a) return;
    }
    a->n_block = RF_MAX(a->n_block, ceil_t(a->computed + n));
    p->item[p->n++] = (struct naive_item){a, a->computed, n, n_out};
}

static void naive_make(struct naive_plan *p)
{
    struct actor *run[N_SEQ], *wait[N_SEQ];
    bool preempted = false;
    p->n = 0;
    for (int decodes = 1; decodes >= 0; decodes--) {
        uint32_t n = sorted(RF_SCHED_RUNNING, run);
        for (uint32_t i = 0; i < n; i++)
            if (run[i]->state == RF_SCHED_RUNNING && (run[i]->q.n_token - run[i]->computed == 1) == decodes)
                naive_run(p, run[i], &preempted);
    }
    while (!preempted && sorted(RF_SCHED_WAITING, wait)) {
        struct actor *a = wait[0];
        uint32_t n_run = sorted(RF_SCHED_RUNNING, run), n_out, n;
        int64_t need = ceil_t(a->q.n_token + (n_run > 0)), room = naive_free();
        for (uint32_t i = 0; i < n_run; i++)
            room -= RF_MAX((int64_t)ceil_t(run[i]->q.n_token) - run[i]->n_block, 0);
        if (n_run == sopt.max_seqs || sum(p, false) == sopt.max_step_tokens) break;
        if (!(n = naive_chunk(p, a, &n_out)) || (n_run && need > room)) break;
        a->state = RF_SCHED_RUNNING;
        a->n_block = ceil_t(n);
        p->item[p->n++] = (struct naive_item){a, 0, n, n_out};
    }
}

static void compare(const struct rf_sched_plan *plan, const struct naive_plan *want)
{
    uint32_t k = 0;
    for (uint32_t i = 0; i < want->n; i++) {
        if (!want->item[i].a) continue;
        REQUIRE(k < plan->n_item);
        CHECK(plan->item[k].seq == &want->item[i].a->q);
        CHECK_INT(plan->item[k].from, want->item[i].from);
        CHECK_INT(plan->item[k].n, want->item[i].n);
        CHECK_INT(plan->item[k].n_out, want->item[i].n_out);
        k++;
    }
    CHECK_INT(plan->n_item, k);
    for (int i = 0; i < N_SEQ; i++) CHECK_INT(actors[i].q.state, actors[i].state);
}

static void check_promises(const struct rf_sched_plan *plan)
{
    uint32_t n_tok = 0, n_out = 0;
    bool prefill = false;
    for (uint32_t i = 0; i < plan->n_item; i++) {
        const struct rf_sched_item *it = &plan->item[i];
        REQUIRE(it->seq && it->n > 0);
        CHECK_INT(it->from, rf_kv_computed(kv, it->seq->kv));
        bool decode = it->n == 1 && it->seq->n_token - it->from == 1 && it->from >= 1;
        if (!decode) prefill = true;
        else if (prefill) CHECK(it->seq->n_cached == it->from); /* only one that was just admitted out of the cache */
        n_tok += it->n;
        n_out += it->n_out;
    }
    CHECK(n_tok == plan->n_tok && n_tok <= sopt.max_step_tokens);
    CHECK(n_out == plan->n_out && n_out <= sopt.max_out);
    CHECK(rf_sched_n_running(sched) <= sopt.max_seqs);
    if (rf_sched_n_running(sched) + rf_sched_n_waiting(sched) && !plan->n_preempted) CHECK(plan->n_item > 0);
    n_planned += plan->n_item;
}

static void add(struct rf_rng *r, struct actor *a)
{
    *a = (struct actor){.state = RF_SCHED_WAITING};
    a->n_prompt = 1 + rf_rng_below(r, MAX_TOK - 20);
    a->n_total = a->n_prompt + 1 + rf_rng_below(r, MAX_TOK - a->n_prompt);
    a->rows = rf_rng_below(r, 6) == 0;
    for (uint32_t i = 0; i < a->n_prompt; i++) a->tok[i] = (int32_t)(i % T ? a->tok[i - 1] : (int)rf_rng_below(r, 2));
    a->q = (struct rf_sched_seq){.token = a->tok, .n_token = a->n_prompt, .want_from = a->rows ? 0 : a->n_prompt - 1,
                                 .priority = (int32_t)rf_rng_below(r, 3) - 1,
                                 .deadline = rf_rng_below(r, 20) ? 0 : 1 + rf_rng_below(r, 100)};
    a->done_logits = a->q.want_from;
    rf_sched_add(sched, &a->q);
}

static void finish(struct actor *a)
{
    rf_sched_remove(sched, &a->q);
    a->state = RF_SCHED_OUT;
    a->computed = a->n_block = 0;
}

/* What the engine does with a plan: commits, then takes the logits and appends a token to whom they complete. */
static void commit(struct rf_rng *r, const struct rf_sched_plan *plan)
{
    static const int32_t *f, *t;
    rf_kv_copies(kv, &f, &t);
    rf_kv_copies_done(kv);
    rf_sched_plan_commit(sched);
    for (uint32_t i = 0; i < plan->n_item; i++) {
        struct actor *a = (struct actor *)plan->item[i].seq;
        uint32_t end = plan->item[i].from + plan->item[i].n;
        a->computed = end;
        if (!plan->item[i].n_out) continue;
        CHECK(end - plan->item[i].n_out <= a->done_logits); /* no position whose logits were wanted is skipped */
        a->done_logits = a->q.want_from = end;
        if (end < a->q.n_token) continue;
        if (a->q.n_token == a->n_total) {
            n_finished++;
            finish(a);
            continue;
        }
        a->tok[a->q.n_token++] = (int32_t)rf_rng_below(r, 2);
        a->q.want_from = a->q.n_token - 1;
    }
}

static void drive(struct rf_rng *r, uint32_t n_op, const uint32_t *window, uint32_t n_group, bool naive)
{
    struct rf_kv_options ko = {.n_block = n_block, .n_group = n_group, .max_seqs = sopt.max_seqs, .max_tokens = MAX_TOK,
                               .max_step_tokens = sopt.max_step_tokens, .no_prefix = naive, .hash_bits = 4};
    struct naive_plan want;
    memcpy(ko.window, window, n_group * sizeof *window);
    memset(actors, 0, sizeof actors);
    n_preempted = n_finished = n_planned = 0;
    REQUIRE(!rf_kv_create(&kv, &ko, NULL) && !rf_sched_create(&sched, &sopt, kv, NULL));
    REQUIRE(rf_kv_need(kv, MAX_TOK) <= n_block);
    uint64_t allocs = rf_mem_count();
    for (uint32_t op = 0; op < n_op && !check_.bad; op++) {
        struct actor *a = &actors[rf_rng_below(r, N_SEQ)];
        if (a->state == RF_SCHED_OUT && rf_rng_below(r, 3)) {
            add(r, a);
        } else if (rf_rng_below(r, 40) == 0) {
            finish(a); /* aborted, or out already */
        } else {
            if (naive) naive_make(&want);
            const struct rf_sched_plan *plan = rf_sched_plan_make(sched);
            n_preempted += plan->n_preempted;
            if (naive) compare(plan, &want);
            for (int i = 0; i < N_SEQ; i++) actors[i].state = (int)actors[i].q.state;
            check_promises(plan);
            if (rf_rng_below(r, 50)) commit(r, plan);
            else
                for (uint32_t i = plan->n_item; i-- > 0;) finish((struct actor *)plan->item[i].seq); /* a failed step */
        }
        if (op % 16 == 0) CHECK(rf_sched_check(sched));
    }
    for (int step = 0; step < 20000 && rf_sched_n_running(sched) + rf_sched_n_waiting(sched) && !check_.bad; step++)
        commit(r, rf_sched_plan_make(sched));
    CHECK_INT(rf_sched_n_running(sched) + rf_sched_n_waiting(sched), 0); /* nobody is left behind */
    CHECK_INT(rf_kv_available(kv), n_block);
    CHECK_INT(rf_mem_count(), allocs);
    printf("# %u blocks, %u groups, %s: %llu planned, %llu finished, %llu preempted\n", n_block, n_group,
           naive ? "naive" : "promises", (unsigned long long)n_planned, (unsigned long long)n_finished,
           (unsigned long long)n_preempted);
    CHECK(n_finished > 0 && n_preempted > 0);
    rf_sched_free(sched);
    rf_kv_free(kv);
}

TEST(equals_naive)
{
    static const struct { uint32_t n_block, seqs, tokens, out; } shape[] = {
        {10, 4, 32, 4}, {16, 6, 20, 8}, {8, 3, 64, 3}, {24, 10, 10, 10}, {12, 12, 100, 40}};
    struct rf_rng r = {seed};
    for (size_t i = 0; i < RF_COUNT(shape); i++) {
        n_block = shape[i].n_block;
        sopt = (struct rf_sched_options){shape[i].seqs, shape[i].tokens, shape[i].out};
        drive(&r, check_quick() ? 12000 : 120000, (const uint32_t[]){0}, 1, true);
    }
}

TEST(promises_with_prefix_and_windows)
{
    static const struct { uint32_t n_block, seqs, tokens, out, n_group, window[3]; } shape[] = {
        {10, 4, 32, 4, 1, {0}},       {20, 6, 20, 8, 2, {0, 24}}, {14, 6, 24, 6, 2, {33, 16}},
        {28, 10, 30, 12, 3, {0, 40, 17}}};
    struct rf_rng r = {seed + 1};
    for (size_t i = 0; i < RF_COUNT(shape); i++) {
        n_block = shape[i].n_block;
        sopt = (struct rf_sched_options){shape[i].seqs, shape[i].tokens, shape[i].out};
        drive(&r, check_quick() ? 10000 : 100000, shape[i].window, shape[i].n_group, false);
    }
}

/* One actor with a prompt of n tokens. */
static struct actor *one(int i, uint32_t n, int32_t priority)
{
    struct actor *a = &actors[i];
    *a = (struct actor){.n_prompt = n, .n_total = MAX_TOK, .done_logits = n - 1};
    for (uint32_t t = 0; t < n; t++) a->tok[t] = i * 1000 + (int32_t)t;
    a->q = (struct rf_sched_seq){.token = a->tok, .n_token = n, .want_from = n - 1, .priority = priority};
    rf_sched_add(sched, &a->q);
    return a;
}

static void open_small(uint32_t blocks)
{
    struct rf_kv_options ko = {
        .n_block = blocks, .n_group = 1, .max_seqs = 4, .max_tokens = MAX_TOK, .max_step_tokens = 64};
    sopt = (struct rf_sched_options){4, 64, 4};
    CHECK(!rf_kv_create(&kv, &ko, NULL) && !rf_sched_create(&sched, &sopt, kv, NULL));
}

TEST(decodes_first_then_chunks_in_order)
{
    struct rf_rng r = {1};
    open_small(32);
    struct actor *a = one(0, 30, 0);
    const struct rf_sched_plan *p = rf_sched_plan_make(sched);
    CHECK_INT(p->n_item, 1); /* alone it never waits */
    CHECK_INT(p->item[0].n, 30);
    commit(&r, p);
    struct actor *b = one(1, 100, 0), *c = one(2, 10, -1);
    p = rf_sched_plan_make(sched);
    CHECK_INT(p->n_item, 3);
    CHECK(p->item[0].seq == &a->q && p->item[0].n == 1);
    CHECK(p->item[1].seq == &c->q && p->item[1].n == 10); /* the smaller priority runs sooner */
    CHECK(p->item[2].seq == &b->q && p->item[2].n == 53 && p->item[2].n_out == 0);
    commit(&r, p);
    p = rf_sched_plan_make(sched);
    CHECK_INT(p->n_item, 3);
    CHECK(p->item[2].seq == &b->q && p->item[2].from == 53 && p->item[2].n == 47 && p->item[2].n_out == 1);
    for (int i = 0; i < 3; i++) rf_sched_remove(sched, &actors[i].q);
    CHECK_INT(rf_kv_available(kv), 32);
    rf_sched_free(sched);
    rf_kv_free(kv);
}

TEST(a_plan_ahead_of_the_step_under_way)
{
    struct rf_sched_item under_way[2];
    open_small(7);
    struct actor *a = one(0, 30, 0), *b = one(1, 47, 0);
    const struct rf_sched_plan *p = rf_sched_plan_make(sched); /* 30 of a, 34 of b */
    rf_sched_plan_commit(sched);
    CHECK(rf_sched_may_plan_ahead(sched)); /* b's next token needs no block more than its prompt; one to copy each */
    a->tok[a->q.n_token++] = 1;
    p = rf_sched_plan_make(sched); /* the last of both: a's new token, 13 of b */
    CHECK_INT(p->n_item, 2);
    memcpy(under_way, p->item, sizeof under_way);
    rf_sched_plan_advance(sched);
    a->tok[a->q.n_token++] = b->tok[b->q.n_token++] = 0; /* nobody knows them yet */
    a->q.want_from = a->q.n_token - 1, b->q.want_from = b->q.n_token - 1;
    p = rf_sched_plan_make(sched);
    CHECK_INT(p->n_item, 2);
    CHECK(p->item[0].n == 1 && p->item[0].from == 31 && p->item[1].n == 1 && p->item[1].from == 47);
    CHECK_INT(rf_kv_prefix_n_node(rf_kv_prefix(kv)), 3); /* blocks of the step under way are unknown: 16 of a, 32 of b */
    rf_sched_remove(sched, &b->q);                       /* left meanwhile */
    under_way[under_way[0].seq == &b->q ? 0 : 1].seq = NULL;
    a->tok[31] = 7;
    rf_sched_index(sched, under_way, 2);
    CHECK_INT(rf_kv_prefix_n_node(rf_kv_prefix(kv)), 3); /* a has 31 */
    rf_sched_plan_commit(sched);
    CHECK_INT(rf_kv_prefix_n_node(rf_kv_prefix(kv)), 4);
    struct actor *c = one(2, 60, 0);
    p = rf_sched_plan_make(sched);
    rf_sched_plan_commit(sched);
    CHECK(c->q.state == RF_SCHED_RUNNING && !rf_sched_may_plan_ahead(sched)); /* a block for each, and no room for copies */
    rf_sched_remove(sched, &a->q), rf_sched_remove(sched, &c->q);
    CHECK(rf_sched_check(sched));
    CHECK_INT(rf_kv_available(kv), 7);
    rf_sched_free(sched);
    rf_kv_free(kv);
}

TEST(deadlines)
{
    open_small(8);
    struct actor *a = one(0, 5, 0), *b = one(1, 5, 0);
    rf_sched_remove(sched, &b->q);
    b->q.deadline = 2.0;
    rf_sched_add(sched, &b->q);
    CHECK(rf_sched_expired(sched, 1.9) == NULL);
    CHECK(rf_sched_expired(sched, 2.0) == &b->q);
    rf_sched_remove(sched, &b->q);
    CHECK(rf_sched_expired(sched, 99) == NULL);
    rf_sched_remove(sched, &a->q);
    rf_sched_remove(sched, &a->q);
    CHECK(rf_sched_check(sched));
    rf_sched_free(sched);
    rf_kv_free(kv);
}

int main(void)
{
    seed = check_seed();
    RUN(decodes_first_then_chunks_in_order);
    RUN(a_plan_ahead_of_the_step_under_way);
    RUN(deadlines);
    RUN(equals_naive);
    RUN(promises_with_prefix_and_windows);
    return check_end();
}
