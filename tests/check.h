/* check.h - the whole test framework of the C tests: checks that count, a TAP line per test, a seed that is printed.
 *
 *   TEST(adds) { CHECK(1 + 1 == 2); CHECK_INT(1 + 1, 2); CHECK_STR("a", "a"); }
 *   int main(void) { RUN(adds); return check_end(); }
 *
 * A failed check prints where and what and goes on; SKIP("why") ends a test as skipped.
 */
#ifndef RF_TESTS_CHECK_H
#define RF_TESTS_CHECK_H

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct { int n_test, n_failed, bad; const char *skip; } check_;

#define TEST(name) static void name(void)
#define RUN(name) check_run_(#name, name)

#define CHECK_FAIL_(...)                                   \
    do {                                                   \
        if (check_.bad++ < 20) {                           \
            printf("# %s:%d: ", __FILE__, __LINE__);       \
            printf(__VA_ARGS__);                           \
            printf("\n");                                  \
        }                                                  \
    } while (0)

#define CHECK(cond)                                        \
    do {                                                   \
        if (!(cond)) CHECK_FAIL_("failed: %s", #cond);     \
    } while (0)
/* Ends the test where going on makes no sense. */
#define REQUIRE(cond)                                      \
    do {                                                   \
        if (!(cond)) {                                     \
            CHECK_FAIL_("failed: %s", #cond);              \
            return;                                        \
        }                                                  \
    } while (0)
#define CHECK_INT(got, want)                                                                         \
    do {                                                                                             \
        intmax_t got_ = (intmax_t)(got), want_ = (intmax_t)(want);                                   \
        if (got_ != want_) CHECK_FAIL_("%s: got %" PRIdMAX ", want %" PRIdMAX, #got, got_, want_);   \
    } while (0)
#define CHECK_STR(got, want)                                                                         \
    do {                                                                                             \
        const char *got_ = (got), *want_ = (want);                                                   \
        if (!got_ || strcmp(got_, want_)) CHECK_FAIL_("%s: got \"%s\", want \"%s\"", #got, got_ ? got_ : "(null)", want_); \
    } while (0)
#define CHECK_NEAR(got, want, tol)                                                                   \
    do {                                                                                             \
        double got_ = (got), want_ = (want), tol_ = (tol);                                           \
        if (!(fabs(got_ - want_) <= tol_)) CHECK_FAIL_("%s: got %.9g, want %.9g +- %g", #got, got_, want_, tol_); \
    } while (0)
#define SKIP(why)                                          \
    do {                                                   \
        check_.skip = (why);                               \
        return;                                            \
    } while (0)

static inline void check_run_(const char *name, void (*fn)(void))
{
    check_.bad = 0;
    check_.skip = NULL;
    fn();
    check_.n_test++;
    if (check_.bad) check_.n_failed++;
    printf("%s %d - %s%s%s\n", check_.bad ? "not ok" : "ok", check_.n_test, name, check_.skip && !check_.bad ? " # SKIP " : "",
           check_.skip && !check_.bad ? check_.skip : "");
    fflush(stdout);
}

static inline int check_end(void)
{
    printf("1..%d\n", check_.n_test);
    return check_.n_failed ? 1 : 0;
}

/* RF_TEST_SEED overrides; printed so that a failure can be had again. */
static inline uint64_t check_seed(void)
{
    const char *s = getenv("RF_TEST_SEED");
    uint64_t seed = s ? strtoull(s, NULL, 0) : 20260101;
    printf("# seed %" PRIu64 "\n", seed);
    return seed;
}

/* RF_TEST_QUICK: the sanitizer pass, many times slower, takes fewer rounds and shapes. */
static inline bool check_quick(void) { return getenv("RF_TEST_QUICK") != NULL; }

/* Test data beside the repository (vocab, templates); NULL if absent. */
static inline const char *check_shared(void)
{
    const char *s = getenv("RF_SHARED");
    return s ? s : "../shared";
}

#endif
