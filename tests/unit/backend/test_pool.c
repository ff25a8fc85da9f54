/* The thread pool: every thread runs every job once, barriers meet, dynamic sharing hands out each item once. */
#include "backend/cpu/pool.h"

#include <sched.h>
#include <stdatomic.h>
#include <time.h>

#include "backend/cpu/isa.h"
#include "base/clock.h"
#include "base/mem.h"
#include "check.h"

enum { ITEMS = 1000 };

struct job {
    struct rf_pool *pool;
    unsigned seen[64];
    unsigned char item[2][ITEMS];
    unsigned after[64];
};

static void body(void *ctx, unsigned tid, unsigned n)
{
    struct job *j = ctx;
    size_t from, to;
    j->seen[tid] += n;
    while (rf_pool_next(j->pool, ITEMS, 7, &from, &to))
        for (size_t i = from; i < to; i++) j->item[0][i]++;
    rf_pool_barrier(j->pool);
    while (rf_pool_next(j->pool, ITEMS, 1, &from, &to))
        for (size_t i = from; i < to; i++) j->item[1][i] = (unsigned char)(j->item[0][ITEMS - 1 - i] + 1);
    rf_pool_barrier(j->pool);
    unsigned sum = 0;
    for (size_t i = 0; i < ITEMS; i++) sum += j->item[1][i];
    j->after[tid] = sum;
}

static void many_jobs(unsigned n_threads, int rounds, bool sleeps)
{
    struct rf_pool *p;
    struct rf_error err = {0};
    REQUIRE(rf_pool_create(&p, n_threads, &err) == RF_OK);
    CHECK_INT(rf_pool_size(p), n_threads);
    static struct job j;
    for (int r = 0; r < rounds; r++) {
        memset(&j, 0, sizeof j);
        j.pool = p;
        rf_pool_run(p, body, &j);
        for (unsigned t = 0; t < n_threads; t++) {
            CHECK_INT(j.seen[t], n_threads);
            CHECK_INT(j.after[t], 2 * ITEMS);
        }
        for (int i = 0; i < ITEMS; i++) CHECK_INT(j.item[0][i], 1);
        if (sleeps) nanosleep(&(struct timespec){.tv_nsec = 300000}, NULL);
    }
    rf_pool_free(p);
}

TEST(one_thread) { many_jobs(1, 200, false); }
TEST(two_threads) { many_jobs(2, 3000, false); }
TEST(two_threads_that_sleep_between_jobs) { many_jobs(2, 300, true); }
TEST(more_threads_than_cores) { many_jobs(7, 100, false); }

static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

TEST(idle_threads_use_no_cpu)
{
    struct rf_pool *p;
    REQUIRE(rf_pool_create(&p, 2, NULL) == RF_OK);
    static struct job j;
    j.pool = p;
    rf_pool_run(p, body, &j);
    nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    double before = cpu_seconds();
    nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);
    CHECK(cpu_seconds() - before < 0.02);
    rf_pool_free(p);
}

TEST(bad_counts_are_refused)
{
    struct rf_pool *p;
    struct rf_error err = {0};
    CHECK_INT(rf_pool_create(&p, 0, &err), RF_INVALID);
    CHECK(!p);
    CHECK_STR(err.param, "n_threads");
    CHECK_INT(rf_pool_create(&p, 100000, &err), RF_INVALID);
    rf_pool_free(NULL);
}

TEST(failed_allocations_are_reported)
{
    for (uint64_t k = 1; k <= 2; k++) {
        struct rf_pool *p;
        struct rf_error err = {0};
        rf_mem_fail_at(k);
        CHECK_INT(rf_pool_create(&p, 2, &err), RF_NOMEM);
        rf_mem_fail_at(0);
        CHECK(!p);
    }
}

TEST(usable_cores_follow_the_affinity_mask)
{
    cpu_set_t old, one;
    REQUIRE(sched_getaffinity(0, sizeof old, &old) == 0);
    unsigned n = rf_pool_usable_cores();
    CHECK(n >= 1 && n <= (unsigned)CPU_COUNT(&old));
    int cpu = 0;
    while (!CPU_ISSET(cpu, &old)) cpu++;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    REQUIRE(sched_setaffinity(0, sizeof one, &one) == 0);
    CHECK_INT(rf_pool_usable_cores(), 1);
    sched_setaffinity(0, sizeof old, &old);
}

TEST(isa_caps)
{
    unsigned all, isa;
    char text[128], small[6];
    struct rf_error err = {0};
    REQUIRE(rf_isa_detect(NULL, &all, &err) == RF_OK);
    REQUIRE(rf_isa_detect("auto", &isa, &err) == RF_OK);
    CHECK_INT(isa, all);
    REQUIRE(rf_isa_detect("ref", &isa, &err) == RF_OK);
    CHECK_INT(isa, 0);
    rf_isa_text(isa, text, sizeof text);
    CHECK_STR(text, "ref");
    REQUIRE(rf_isa_detect("avx2", &isa, &err) == RF_OK);
    CHECK((isa & ~(unsigned)RF_ISA_AVX2) == 0);
    REQUIRE(rf_isa_detect("avx512", &isa, &err) == RF_OK);
    CHECK(!(isa & RF_ISA_AMX) && (isa & ~all) == 0);
    CHECK_INT(rf_isa_detect("sse9", &isa, &err), RF_INVALID);
    CHECK_STR(err.param, "isa");
    rf_isa_text(RF_ISA_AVX2 | RF_ISA_AVX512, text, sizeof text);
    CHECK_STR(text, "avx2 avx512");
    rf_isa_text(RF_ISA_AVX2 | RF_ISA_AVX512, small, sizeof small);
    CHECK(strlen(small) < sizeof small);
    rf_isa_text(all, text, sizeof text);
    printf("# this machine: %s, %u cores\n", text, rf_pool_usable_cores());
}

int main(void)
{
    RUN(one_thread);
    RUN(two_threads);
    RUN(two_threads_that_sleep_between_jobs);
    RUN(more_threads_than_cores);
    RUN(idle_threads_use_no_cpu);
    RUN(bad_counts_are_refused);
    RUN(failed_allocations_are_reported);
    RUN(usable_cores_follow_the_affinity_mask);
    RUN(isa_caps);
    return check_end();
}
