#include "sched/sched.h"

#include "base/mem.h"

struct list { struct rf_sched_seq *first, *last; uint32_t n; }; /* in order of before() */

struct rf_sched {
    struct rf_sched_options opt;
    struct rf_kv *kv;
    struct list waiting, running;
    uint64_t n_arrival;
    uint32_t n_deadline;
    struct rf_sched_plan plan;
    uint32_t n_live; /* items of the plan that are not given up */
    /* The waiting one that did not fit last time, and the blocks there were: it is not tried again before there are more. */
    const struct rf_sched_seq *blocked;
    int64_t blocked_spare;
};

static bool before(const struct rf_sched_seq *a, const struct rf_sched_seq *b)
{
    return a->priority != b->priority ? a->priority < b->priority : a->arrival < b->arrival;
}

static void list_insert(struct list *l, struct rf_sched_seq *q)
{
    struct rf_sched_seq *at = l->last; /* most join at the end */
    while (at && before(q, at)) at = at->prev;
    q->prev = at;
    q->next = at ? at->next : l->first;
    if (q->prev) q->prev->next = q;
    else l->first = q;
    if (q->next) q->next->prev = q;
    else l->last = q;
    l->n++;
}

static void list_remove(struct list *l, struct rf_sched_seq *q)
{
    if (q->prev) q->prev->next = q->next;
    else l->first = q->next;
    if (q->next) q->next->prev = q->prev;
    else l->last = q->prev;
    q->prev = q->next = NULL;
    l->n--;
}

rf_status rf_sched_create(struct rf_sched **out, const struct rf_sched_options *opt, struct rf_kv *kv,
                          struct rf_error *err)
{
    *out = NULL;
    if (!opt->max_seqs || !opt->max_step_tokens || opt->max_out < opt->max_seqs)
        return rf_fail(err, RF_INVALID,
                       "scheduler: %u sequences, %u tokens, %u rows of logits per step: expected none 0, "
                       "rows >= sequences",
                       opt->max_seqs, opt->max_step_tokens, opt->max_out);
    struct rf_sched *s = rf_alloc_array(1, sizeof *s);
    if (!s) return rf_fail_nomem(err, "scheduler", sizeof *s);
    s->opt = *opt;
    s->kv = kv;
    /* A sequence that is preempted after it was planned leaves a hole behind. */
    s->plan.item = rf_alloc_array(2 * (size_t)opt->max_seqs, sizeof *s->plan.item);
    if (!s->plan.item) {
        rf_free(s);
        return rf_fail_nomem(err, "scheduler", opt->max_seqs * sizeof *s->plan.item);
    }
    *out = s;
    return RF_OK;
}

void rf_sched_free(struct rf_sched *s)
{
    if (!s) return;
    rf_free(s->plan.item);
    rf_free(s);
}

void rf_sched_add(struct rf_sched *s, struct rf_sched_seq *seq)
{
    seq->arrival = ++s->n_arrival;
    seq->state = RF_SCHED_WAITING;
    seq->item = -1;
    s->n_deadline += seq->deadline > 0;
    list_insert(&s->waiting, seq);
}

/* Takes a sequence out of the plan being made. */
static void give_up(struct rf_sched *s, struct rf_sched_seq *q)
{
    if (q->item < 0) return;
    struct rf_sched_item *it = &s->plan.item[q->item];
    s->plan.n_tok -= it->n;
    s->plan.n_out -= it->n_out;
    *it = (struct rf_sched_item){0};
    q->item = -1;
    s->n_live--;
}

void rf_sched_remove(struct rf_sched *s, struct rf_sched_seq *seq)
{
    if (seq->state == RF_SCHED_OUT) return;
    give_up(s, seq);
    if (seq->state == RF_SCHED_RUNNING) rf_kv_close(s->kv, seq->kv);
    list_remove(seq->state == RF_SCHED_RUNNING ? &s->running : &s->waiting, seq);
    s->n_deadline -= seq->deadline > 0;
    seq->state = RF_SCHED_OUT;
    s->blocked = NULL;
}

struct rf_sched_seq *rf_sched_expired(struct rf_sched *s, double now)
{
    struct rf_sched_seq *first[] = {s->running.first, s->waiting.first};
    for (size_t i = 0; s->n_deadline && i < RF_COUNT(first); i++)
        for (struct rf_sched_seq *q = first[i]; q; q = q->next)
            if (q->deadline > 0 && q->deadline <= now) return q;
    return NULL;
}

static void preempt(struct rf_sched *s, struct rf_sched_seq *q)
{
    give_up(s, q);
    rf_kv_close(s->kv, q->kv);
    list_remove(&s->running, q);
    list_insert(&s->waiting, q);
    q->state = RF_SCHED_WAITING;
    q->n_preempted++;
    s->plan.n_preempted++;
}

/* How many tokens from `from` on fit into what is left of the step; *n_out of them give logits. */
static uint32_t chunk(const struct rf_sched *s, const struct rf_sched_seq *q, uint32_t from, uint32_t *n_out)
{
    uint32_t n = RF_MIN(q->n_token - from, s->opt.max_step_tokens - s->plan.n_tok),
             out = s->opt.max_out - s->plan.n_out;
    uint32_t silent = q->want_from > from ? q->want_from - from : 0; /* tokens without logits */
    if (n > silent && n - silent > out) n = silent + out;
    *n_out = n > silent ? n - silent : 0;
    return n;
}

static void plan_item(struct rf_sched *s, struct rf_sched_seq *q, uint32_t from, uint32_t n, uint32_t n_out)
{
    q->item = (int32_t)s->plan.n_item;
    s->plan.item[s->plan.n_item++] = (struct rf_sched_item){q, from, n, n_out};
    s->plan.n_tok += n;
    s->plan.n_out += n_out;
    s->n_live++;
}

/* Plans a running sequence, preempting from the end of the order while blocks are short. False if it had to go itself. */
static bool plan_running(struct rf_sched *s, struct rf_sched_seq *q)
{
    uint32_t from = rf_kv_computed(s->kv, q->kv), n_out, n = chunk(s, q, from, &n_out);
    if (!n) return true;
    while (rf_kv_reserve(s->kv, q->kv, from + n)) {
        struct rf_sched_seq *victim = s->running.last;
        preempt(s, victim);
        if (victim == q) return false;
    }
    plan_item(s, q, from, n, n_out);
    return true;
}

static void plan_all_running(struct rf_sched *s, bool decodes)
{
    for (struct rf_sched_seq *q = s->running.first, *next; q; q = next) {
        bool decode = q->n_token - rf_kv_computed(s->kv, q->kv) == 1;
        if (decode == decodes && !plan_running(s, q)) return; /* q was the last in the order */
        next = q->next;
    }
}

/* Blocks not spoken for: there are, less what running prefills will still take. */
static int64_t spare(const struct rf_sched *s)
{
    int64_t n = rf_kv_available(s->kv);
    for (const struct rf_sched_seq *q = s->running.first; q; q = q->next) n -= rf_kv_missing(s->kv, q->kv, q->n_token);
    return n;
}

/* Lets the first waiting sequence run if it fits. */
static bool admit(struct rf_sched *s)
{
    struct rf_sched_seq *q = s->waiting.first;
    uint32_t n_out, n, from;
    int64_t free_now = spare(s);
    bool alone = !s->running.n;
    if (!alone && s->blocked == q && free_now <= s->blocked_spare) return false;
    if (rf_kv_open(s->kv, q->salt, &q->kv)) return false;
    from = rf_kv_match(s->kv, q->kv, q->token, q->n_token, q->want_from);
    n = chunk(s, q, from, &n_out);
    if (!n) { /* no logits left in this step */
        rf_kv_close(s->kv, q->kv);
        return false;
    }
    /* One token more than there are: the next decode shall not preempt at once. */
    bool fits = rf_kv_missing(s->kv, q->kv, q->n_token + !alone) <= spare(s);
    if ((!fits && !alone) || rf_kv_reserve(s->kv, q->kv, from + n)) {
        rf_kv_close(s->kv, q->kv);
        s->blocked = q;
        s->blocked_spare = free_now;
        return false;
    }
    s->blocked = NULL;
    list_remove(&s->waiting, q);
    list_insert(&s->running, q);
    q->state = RF_SCHED_RUNNING;
    q->n_cached = from;
    q->admitted = true;
    plan_item(s, q, from, n, n_out);
    return true;
}

/* Closes the holes that preempted sequences left. */
static void compact(struct rf_sched *s)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->plan.n_item; i++) {
        if (!s->plan.item[i].seq) continue;
        s->plan.item[n] = s->plan.item[i];
        s->plan.item[n].seq->item = (int32_t)n;
        n++;
    }
    s->plan.n_item = n;
}

const struct rf_sched_plan *rf_sched_plan_make(struct rf_sched *s)
{
    struct rf_sched_plan *p = &s->plan;
    for (uint32_t i = 0; i < p->n_item; i++)
        if (p->item[i].seq) p->item[i].seq->item = -1;
    p->n_item = p->n_tok = p->n_out = p->n_preempted = 0;
    s->n_live = 0;
    plan_all_running(s, true);
    plan_all_running(s, false);
    while (!p->n_preempted && s->waiting.first && s->running.n < s->opt.max_seqs && p->n_tok < s->opt.max_step_tokens)
        if (!admit(s)) break;
    compact(s);
    return p;
}

bool rf_sched_may_plan_ahead(const struct rf_sched *s)
{
    int64_t left = rf_kv_available(s->kv);
    for (const struct rf_sched_seq *q = s->running.first; q && left >= 0; q = q->next)
        left -= rf_kv_missing(s->kv, q->kv, q->n_token + 1) + rf_kv_n_group(s->kv); /* and a copy in each group */
    return left >= 0;
}

void rf_sched_plan_advance(struct rf_sched *s)
{
    for (uint32_t i = 0; i < s->plan.n_item; i++) {
        const struct rf_sched_item *it = &s->plan.item[i];
        if (it->seq) rf_kv_advance(s->kv, it->seq->kv, it->from + it->n);
    }
}

void rf_sched_index(struct rf_sched *s, const struct rf_sched_item *item, uint32_t n_item)
{
    for (uint32_t i = 0; i < n_item; i++)
        if (item[i].seq) rf_kv_index(s->kv, item[i].seq->kv, item[i].seq->token, item[i].from + item[i].n);
}

void rf_sched_plan_commit(struct rf_sched *s)
{
    for (uint32_t i = 0; i < s->plan.n_item; i++) {
        const struct rf_sched_item *it = &s->plan.item[i];
        if (it->seq) rf_kv_commit(s->kv, it->seq->kv, it->seq->token, it->from + it->n);
    }
}

uint32_t rf_sched_n_waiting(const struct rf_sched *s) { return s->waiting.n; }
uint32_t rf_sched_n_running(const struct rf_sched *s) { return s->running.n; }

struct rf_sched_seq *rf_sched_first(const struct rf_sched *s, enum rf_sched_state which)
{
    return which == RF_SCHED_RUNNING ? s->running.first : which == RF_SCHED_WAITING ? s->waiting.first : NULL;
}

bool rf_sched_check(const struct rf_sched *s)
{
    const struct list *list[] = {&s->waiting, &s->running};
    static const enum rf_sched_state state[] = {RF_SCHED_WAITING, RF_SCHED_RUNNING};
    uint32_t n_deadline = 0;
    for (size_t i = 0; i < RF_COUNT(list); i++) {
        uint32_t n = 0;
        const struct rf_sched_seq *prev = NULL;
        for (const struct rf_sched_seq *q = list[i]->first; q; prev = q, q = q->next, n++) {
            if (q->state != state[i] || q->prev != prev || (prev && !before(prev, q))) return false;
            n_deadline += q->deadline > 0;
        }
        if (n != list[i]->n || prev != list[i]->last) return false;
    }
    return n_deadline == s->n_deadline && s->running.n <= s->opt.max_seqs && rf_kv_check(s->kv);
}
