/* bench_linear - speed of rf_linear: packing, one row (GB/s of weights), few and many rows (Gop/s), beside roofs measured in
 * the same minute: how fast the threads can read memory, and how fast they can do nothing but 8-bit dot products.
 *
 *   bench_linear [--isa auto|avx2|avx512] [--types Q5_0,Q4_K,..] [--threads 2] [--mb 256] [--shape 4864x896]
 *                [--against avx512]: takes turns with another instruction set and prints how many times faster --isa is
 */
#include <stdio.h>

#include "base/clock.h"
#include "linear_help.h"
#if defined(__x86_64__)
#include <immintrin.h>
#endif

struct options {
    const char *isa, *types, *against;
    unsigned threads;
    size_t mb, rows, cols;
};

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(double *v, size_t n)
{
    qsort(v, n, sizeof *v, by_size);
    return v[n / 2];
}

/* One thread is timed by the processor time it got, so that numbers mean something on a busy machine. */
static double seconds(const struct rf_pool *pool)
{
    struct timespec t;
    if (rf_pool_size(pool) > 1) return rf_now();
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- roofs ---- */

struct probe {
    const uint8_t *p;
    size_t n, rounds;
};
static volatile uint64_t sink;

#if defined(__x86_64__)
__attribute__((target("avx512f"))) static uint64_t read_all(const uint8_t *p, size_t n)
{
    __m512i s[4] = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()};
    for (size_t i = 0; i < n; i += 256)
        for (size_t k = 0; k < 4; k++) {
            _mm_prefetch((const char *)p + i + k * 64 + 6144, _MM_HINT_T0);
            s[k] = _mm512_xor_si512(s[k], _mm512_load_si512(p + i + k * 64));
        }
    return (uint64_t)_mm512_reduce_add_epi64(_mm512_xor_si512(_mm512_xor_si512(s[0], s[1]), _mm512_xor_si512(s[2], s[3])));
}

__attribute__((target("avx512f,avx512vnni"))) static uint64_t dots(size_t rounds)
{
    __m512i c[12], x = _mm512_set1_epi8(1);
    for (int i = 0; i < 12; i++) c[i] = _mm512_set1_epi32(i);
    for (size_t n = 0; n < rounds; n++)
        for (int i = 0; i < 12; i++) {
            c[i] = _mm512_dpbusd_epi32(c[i], x, x);
            __asm__ volatile("" : "+v"(c[i]));
        }
    __m512i s = c[0];
    for (int i = 1; i < 12; i++) s = _mm512_add_epi32(s, c[i]);
    return (uint64_t)_mm512_reduce_add_epi32(s);
}
#define DOT_OPS 128.0
#else
static uint64_t read_all(const uint8_t *p, size_t n)
{
    uint64_t s = 0;
    for (size_t i = 0; i < n / 8; i++) s ^= ((const uint64_t *)(const void *)p)[i];
    return s;
}
static uint64_t dots(size_t rounds)
{
    return rounds;
}
#define DOT_OPS 0.0
#endif

static void read_thread(void *ctx, unsigned tid, unsigned n)
{
    const struct probe *p = ctx;
    size_t per = p->n / n / 4096 * 4096;
    sink = read_all(p->p + tid * per, per);
}

static void dot_thread(void *ctx, unsigned tid, unsigned n)
{
    (void)tid;
    (void)n;
    sink = dots(((struct probe *)ctx)->rounds);
}

static double probe_read(struct rf_pool *pool, const uint8_t *p, size_t n)
{
    double v[5];
    struct probe pr = {.p = p, .n = n};
    for (size_t i = 0; i < RF_COUNT(v); i++) {
        double t = seconds(pool);
        rf_pool_run(pool, read_thread, &pr);
        v[i] = (double)n / (seconds(pool) - t) * 1e-9;
    }
    return median(v, RF_COUNT(v));
}

static double probe_dot(struct rf_pool *pool)
{
    double best = 0;
    struct probe pr = {.rounds = 1000000};
    for (int i = 0; i < 5; i++) {
        double t = seconds(pool);
        rf_pool_run(pool, dot_thread, &pr);
        best = fmax(best, (double)pr.rounds * 12 * DOT_OPS * rf_pool_size(pool) / (seconds(pool) - t) * 1e-9);
    }
    return best;
}

/* ---- one type, one shape ---- */

static void bench(const struct options *o, const struct lin_type *t, unsigned isa, struct rf_pool *pool, size_t rows, size_t cols)
{
    size_t bytes = lin_bytes(t->type, rows, cols), n = o->mb * 1048576 / bytes + 1;
    uint8_t *file = rf_alloc(bytes);
    struct rf_linear **w = rf_alloc_array(n, sizeof *w), *warm;
    struct rf_linear_scratch *s;
    struct rf_rng rng = {1};
    bool copied;
    lin_fill(t, file, bytes, 1e-3f, &rng);
    struct rf_weight_desc d = {.name = "w", .type = t->type, .rows = rows, .cols = cols, .data = file};
    if (rf_linear_scratch_create(&s, NULL) || rf_linear_create(&warm, &d, isa, pool, &copied, NULL)) exit(1);
    rf_linear_free(warm);
    double t0 = seconds(pool);
    for (size_t i = 0; i < n; i++)
        if (rf_linear_create(&w[i], &d, isa, pool, &copied, NULL)) exit(1);
    double pack = (double)(n * bytes) / (seconds(pool) - t0) * 1e-9, dot = probe_dot(pool);
    uint8_t *buf = rf_alloc_aligned(4096, o->mb * 1048576);
    madvise(buf, o->mb * 1048576, MADV_HUGEPAGE);
    memset(buf, 1, o->mb * 1048576);
    double read = probe_read(pool, buf, o->mb * 1048576);
    printf("%-5s %zux%zu  pack %.1f GB/s  read roof %.1f GB/s  dot roof %.0f Gop/s\n", rf_type_name(t->type), rows, cols, pack, read,
           dot);
    static const uint32_t ms[] = {1, 2, 4, 8, 12, 16, 32, 64, 512};
    float *x = rf_alloc_array(512 * cols, 4), *y = rf_alloc_aligned(64, 512 * rows * 4);
    lin_fill_x(x, 512, cols, &rng);
    for (size_t k = 0; k < RF_COUNT(ms); k++) {
        double v[7], ops = 2.0 * (double)rows * (double)cols * ms[k];
        size_t count = RF_MAX(RF_MIN(n, (size_t)(2e10 / ops)), (size_t)1);
        for (size_t r = 0; r < RF_COUNT(v); r++) {
            t0 = seconds(pool);
            for (size_t i = 0; i < count; i++) (void)lin_run1(pool, s, w[(r * count + i) % n], x, ms[k], NULL, y, (uint32_t)rows);
            v[r] = (seconds(pool) - t0) / (double)count;
        }
        double sec = median(v, RF_COUNT(v)), gb = (double)bytes / sec * 1e-9, gop = ops / sec * 1e-9;
        printf("   M=%-4u %8.1f us %6.1f GB/s (%3.0f%%) %7.0f Gop/s (%3.0f%%)\n", ms[k], sec * 1e6, gb, 100 * gb / read, gop,
               dot > 0 ? 100 * gop / dot : 0.0);
        fflush(stdout);
    }
    for (size_t i = 0; i < n; i++) rf_linear_free(w[i]);
    rf_linear_scratch_free(s);
    rf_free(w);
    rf_free(file);
    rf_free(buf);
    rf_free(x);
    rf_free(y);
}

/* The same weights for two instruction sets, in short turns: a busy machine slows both alike. */
static void compare(const struct lin_type *t, const unsigned isa[2], struct rf_pool *pool, size_t rows, size_t cols)
{
    static const uint32_t ms[] = {1, 3, 5, 8, 12, 16, 24, 32, 64, 512};
    size_t bytes = lin_bytes(t->type, rows, cols);
    uint8_t *file = rf_alloc(bytes);
    struct rf_linear *w[2];
    struct rf_linear_scratch *s;
    struct rf_rng rng = {1};
    bool copied;
    lin_fill(t, file, bytes, 1e-3f, &rng);
    struct rf_weight_desc d = {.name = "w", .type = t->type, .rows = rows, .cols = cols, .data = file};
    float *x = rf_alloc_array(512 * cols, 4), *y = rf_alloc_aligned(64, 512 * rows * 4);
    lin_fill_x(x, 512, cols, &rng);
    if (rf_linear_scratch_create(&s, NULL)) exit(1);
    for (int i = 0; i < 2; i++)
        if (rf_linear_create(&w[i], &d, isa[i], pool, &copied, NULL)) exit(1);
    printf("%-5s %zux%zu times faster:", rf_type_name(t->type), rows, cols);
    for (size_t k = 0; k < RF_COUNT(ms); k++) {
        double v[2][15];
        for (size_t r = 0; r < 15; r++)
            for (int i = 0; i < 2; i++) {
                double t0 = seconds(pool);
                for (uint32_t n = 0; n < RF_MAX(64 / ms[k], 1u); n++) (void)lin_run1(pool, s, w[i], x, ms[k], NULL, y, (uint32_t)rows);
                v[i][r] = seconds(pool) - t0;
            }
        printf("  M=%u %.2f", ms[k], median(v[1], 15) / median(v[0], 15));
        fflush(stdout);
    }
    printf("\n");
    rf_linear_free(w[0]);
    rf_linear_free(w[1]);
    rf_linear_scratch_free(s);
    rf_free(file);
    rf_free(x);
    rf_free(y);
}

int main(int argc, char **argv)
{
    struct options o = {.isa = "auto", .types = "Q5_0,Q4_K,Q6_K,Q8_0", .threads = 2, .mb = 256, .rows = 4864, .cols = 896};
    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--isa")) o.isa = argv[i + 1];
        if (!strcmp(argv[i], "--against")) o.against = argv[i + 1];
        if (!strcmp(argv[i], "--types")) o.types = argv[i + 1];
        if (!strcmp(argv[i], "--threads")) o.threads = (unsigned)atoi(argv[i + 1]);
        if (!strcmp(argv[i], "--mb")) o.mb = (size_t)atoi(argv[i + 1]);
        if (!strcmp(argv[i], "--shape") && sscanf(argv[i + 1], "%zux%zu", &o.rows, &o.cols) != 2) return 2;
    }
    struct rf_pool *pool;
    unsigned isa[2] = {0, 0};
    char text[64];
    struct rf_error err;
    if (rf_isa_detect(o.isa, &isa[0], &err) || (o.against && rf_isa_detect(o.against, &isa[1], &err)) || rf_pool_create(&pool, o.threads, &err)) {
        fprintf(stderr, "%s\n", err.message);
        return 2;
    }
    rf_isa_text(isa[0], text, sizeof text);
    printf("isa %s, %u threads\n", text, o.threads);
    for (size_t t = 0; t < RF_COUNT(lin_types); t++) {
        const char *name = rf_type_name(lin_types[t].type), *at = strstr(o.types, name);
        size_t n = strlen(name);
        while (at && ((at > o.types && at[-1] != ',') || (at[n] && at[n] != ','))) at = strstr(at + 1, name);
        size_t block = rf_type_get(lin_types[t].type)->block, cols = o.cols % block ? o.cols / block * block + block : o.cols;
        if (!at && strcmp(o.types, "all")) continue;
        if (o.against)
            compare(&lin_types[t], isa, pool, o.rows, cols);
        else
            bench(&o, &lin_types[t], isa[0], pool, o.rows, cols);
    }
    rf_pool_free(pool);
    return 0;
}
