#include "backend/cpu/pool.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"

/* A word that threads wait on. A sleeper counts itself before it looks at the word for the last time and a waker changes
 * the word before it looks at the count, both sequentially consistent, so no wake-up is lost and a change that nobody
 * sleeps on costs no system call. */
struct waitword {
    _Alignas(64) atomic_uint value;
    atomic_uint sleepers;
};

struct rf_pool {
    struct waitword job;     /* grows by one with each run: the workers wait for it */
    struct waitword pending; /* workers still inside the job: the caller waits for 0 */
    struct waitword phase;   /* grows by one with each barrier */
    _Alignas(64) atomic_uint arrived;
    _Alignas(64) atomic_size_t next;
    _Alignas(64) rf_pool_fn fn; /* written before `job` changes, read after */
    void *ctx;
    bool quit;
    unsigned n_threads, n_started;
    struct worker {
        struct rf_pool *pool;
        pthread_t thread;
        unsigned tid;
    } *workers; /* [n_threads - 1]: threads 1 .. */
};

static const double spin_s = 50e-6;

static inline void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void futex(atomic_uint *word, int op, unsigned value)
{
    /* Every outcome (woken, value changed, signal) leads the caller to look at the word again. */
    syscall(SYS_futex, word, op | FUTEX_PRIVATE_FLAG, value, NULL, NULL, 0);
}

/* Returns once the word differs from old. */
static void wait_change(struct waitword *w, unsigned old)
{
    double end = 0;
    for (unsigned i = 0; atomic_load_explicit(&w->value, memory_order_acquire) == old; i++) {
        if (i % 128 == 127) { /* the clock costs about as much as the pauses between two looks at it */
            double now = rf_now();
            if (end == 0) end = now + spin_s;
            if (now > end) break;
        }
        relax();
    }
    if (atomic_load_explicit(&w->value, memory_order_acquire) != old) return;
    atomic_fetch_add(&w->sleepers, 1);
    while (atomic_load(&w->value) == old) futex(&w->value, FUTEX_WAIT, old);
    atomic_fetch_sub(&w->sleepers, 1);
}

static void wake(struct waitword *w)
{
    if (atomic_load(&w->sleepers)) futex(&w->value, FUTEX_WAKE, INT32_MAX);
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct rf_pool *p = w->pool;
    for (unsigned seen = 0;; seen++) {
        wait_change(&p->job, seen);
        if (p->quit) return NULL;
        p->fn(p->ctx, w->tid, p->n_threads);
        if (atomic_fetch_sub(&p->pending.value, 1) == 1) wake(&p->pending);
    }
}

static void release_workers(struct rf_pool *p)
{
    p->quit = true;
    atomic_fetch_add(&p->job.value, 1);
    wake(&p->job);
    for (unsigned i = 0; i < p->n_started; i++) pthread_join(p->workers[i].thread, NULL);
}

/* Workers take no signals: the program's handlers run where the program expects them. */
static rf_status start_workers(struct rf_pool *p, struct rf_error *err)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int e = 0;
    while (p->n_started + 1 < p->n_threads) {
        struct worker *w = &p->workers[p->n_started];
        *w = (struct worker){.pool = p, .tid = p->n_started + 1};
        if ((e = pthread_create(&w->thread, NULL, worker_main, w))) break;
        pthread_setname_np(w->thread, "rf-cpu");
        p->n_started++;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (!e) return RF_OK;
    return rf_fail(err, RF_NOMEM, "thread pool: starting thread %u of %u: %s", p->n_started + 2, p->n_threads, strerror(e));
}

rf_status rf_pool_create(struct rf_pool **out, unsigned n_threads, struct rf_error *err)
{
    *out = NULL;
    if (n_threads < 1 || n_threads > 1024)
        return rf_fail_param(err, RF_INVALID, "n_threads", "thread pool: %u threads asked for, expected 1 to 1024", n_threads);
    struct rf_pool *p = rf_alloc_aligned(64, sizeof *p);
    if (!p) return rf_fail_nomem(err, "thread pool", sizeof *p);
    memset(p, 0, sizeof *p);
    p->n_threads = n_threads;
    p->workers = rf_alloc_array(n_threads, sizeof *p->workers);
    rf_status s = p->workers ? start_workers(p, err) : rf_fail_nomem(err, "thread pool", n_threads * sizeof *p->workers);
    if (s) rf_pool_free(p);
    else *out = p;
    return s;
}

void rf_pool_free(struct rf_pool *p)
{
    if (!p) return;
    release_workers(p);
    rf_free(p->workers);
    rf_free(p);
}

unsigned rf_pool_size(const struct rf_pool *p) { return p->n_threads; }

void rf_pool_run(struct rf_pool *p, rf_pool_fn fn, void *ctx)
{
    atomic_store_explicit(&p->next, 0, memory_order_relaxed);
    if (p->n_threads == 1) {
        fn(ctx, 0, 1);
        return;
    }
    p->fn = fn;
    p->ctx = ctx;
    atomic_store_explicit(&p->pending.value, p->n_threads - 1, memory_order_relaxed);
    atomic_fetch_add(&p->job.value, 1);
    wake(&p->job);
    fn(ctx, 0, p->n_threads);
    unsigned left;
    while ((left = atomic_load_explicit(&p->pending.value, memory_order_acquire))) wait_change(&p->pending, left);
}

void rf_pool_barrier(struct rf_pool *p)
{
    unsigned phase = atomic_load_explicit(&p->phase.value, memory_order_acquire);
    if (atomic_fetch_add(&p->arrived, 1) + 1 < p->n_threads) {
        wait_change(&p->phase, phase);
        return;
    }
    atomic_store_explicit(&p->arrived, 0, memory_order_relaxed);
    atomic_store_explicit(&p->next, 0, memory_order_relaxed);
    atomic_fetch_add(&p->phase.value, 1);
    wake(&p->phase);
}

bool rf_pool_next(struct rf_pool *p, size_t n, size_t grain, size_t *from, size_t *to)
{
    size_t at = atomic_fetch_add_explicit(&p->next, grain, memory_order_relaxed);
    if (at >= n) return false;
    *from = at;
    *to = n - at < grain ? n : at + grain;
    return true;
}

/* ---- how many cores ---- */

static bool read_small(const char *path, char *out, size_t cap) /* procfs and cgroupfs files have no size: plain read */
{
    FILE *f = fopen(path, "re");
    if (!f) return false;
    size_t n = fread(out, 1, cap - 1, f);
    out[n] = 0;
    fclose(f);
    return n > 0;
}

/* quota / period in cores, rounded up; 0 if there is no quota. */
static unsigned quota_cores(double quota, double period)
{
    if (!(quota > 0 && period > 0)) return 0;
    double cores = quota / period;
    unsigned whole = cores >= 1024 ? 1024 : (unsigned)cores;
    return (double)whole < cores ? whole + 1 : whole;
}

static unsigned cgroup_cores(void)
{
    char text[4096], path[4400], a[64], b[64];
    double quota, period;
    unsigned best = 0;
    if (read_small("/proc/self/cgroup", text, sizeof text)) { /* v2: the line "0::/path"; every ancestor may have a quota */
        char *line0 = strncmp(text, "0::/", 4) ? strstr(text, "\n0::/") : text;
        char *dir = line0 ? strchr(line0, '/') : NULL;
        if (dir) dir[strcspn(dir, "\n")] = 0;
        while (dir) {
            snprintf(path, sizeof path, "/sys/fs/cgroup%s/cpu.max", dir);
            char line[128];
            if (read_small(path, line, sizeof line) && sscanf(line, "%lf %lf", &quota, &period) == 2) {
                unsigned c = quota_cores(quota, period);
                if (c && (!best || c < best)) best = c;
            }
            char *slash = strrchr(dir, '/');
            if (!slash || !*dir) break;
            *slash = 0;
        }
    }
    if (!best && read_small("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", a, sizeof a) &&
        read_small("/sys/fs/cgroup/cpu/cpu.cfs_period_us", b, sizeof b) && sscanf(a, "%lf", &quota) == 1 &&
        sscanf(b, "%lf", &period) == 1)
        best = quota_cores(quota, period);
    return best;
}

unsigned rf_pool_usable_cores(void)
{
    cpu_set_t set;
    long n = 0;
    if (sched_getaffinity(0, sizeof set, &set) == 0) n = CPU_COUNT(&set);
    else n = sysconf(_SC_NPROCESSORS_ONLN); /* more than 1,024 CPUs */
    unsigned cores = n < 1 ? 1 : n > 1024 ? 1024 : (unsigned)n, quota = cgroup_cores();
    return quota && quota < cores ? quota : cores;
}
