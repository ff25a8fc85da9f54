/* cmd_bench.c - speed of prompts (pp) and of generation (tg), for one or several sequences together; or of single kernels.
 *
 * pp: all prompts of one repetition go in at once, time until the last has its first token. tg: from the moment every
 * sequence has its first token until all have n more. Tokens are random and seeded, the prefix cache is off.
 */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"
#include "cli/cli.h"

enum { MAX_BATCHES = 16, MAX_SEQS = 1024, MAX_ROWS = 1 << 14, TG_PROMPT = 8, MAX_SIDE = 1 << 20 };

/* What the callbacks of one repetition count; `lock` guards all of it. */
struct watch {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    unsigned n_seq, n_first, n_done, n_failed;
    double t_all_first, t_last;
    struct rf_error err;
};

struct seq { struct watch *w; bool started; };

static void on_event(void *ctx, const struct rf_event *ev)
{
    struct seq *q = ctx;
    struct watch *w = q->w;
    pthread_mutex_lock(&w->lock);
    double now = rf_now();
    if (ev->n_tokens && !q->started) {
        q->started = true;
        if (++w->n_first == w->n_seq) w->t_all_first = now;
    }
    if (ev->n_tokens) w->t_last = now;
    if (ev->kind == RF_EVENT_ERROR) {
        w->n_failed++;
        w->err = *ev->error;
    }
    if (ev->kind == RF_EVENT_DONE || ev->kind == RF_EVENT_ERROR) w->n_done++;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
}

struct test { const char *name; unsigned n, batch, prompt; int32_t generate; };

/* One repetition; seconds of the measured part. */
static rf_status once(struct rf_engine *e, const struct test *t, uint32_t n_vocab, struct rf_rng *rng, double *seconds, struct rf_error *err)
{
    struct watch w = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER, .n_seq = t->batch};
    struct seq seq[MAX_SEQS];
    struct rf_request req[MAX_SEQS];
    uint64_t id[MAX_SEQS];
    size_t n = (size_t)t->batch * t->prompt;
    int32_t *tokens = rf_alloc_array(n, sizeof *tokens);
    if (!tokens) return rf_fail_nomem(err, "bench prompts", n * sizeof *tokens);
    for (size_t i = 0; i < n; i++) tokens[i] = (int32_t)rf_rng_below(rng, n_vocab);
    for (unsigned i = 0; i < t->batch; i++) {
        seq[i] = (struct seq){.w = &w};
        req[i] = (struct rf_request){.tokens = tokens + (size_t)i * t->prompt, .n_tokens = t->prompt, .on_event = on_event, .ctx = &seq[i]};
        rf_sampling_default(&req[i].sampling);
        req[i].sampling.temperature = 0;
        req[i].sampling.ignore_eos = true;
        req[i].sampling.max_tokens = t->generate;
    }
    double t0 = rf_now();
    rf_status s = rf_engine_submit(e, req, t->batch, id, err);
    pthread_mutex_lock(&w.lock);
    bool aborted = false;
    while (!s && w.n_done < t->batch) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 100000000;
        if (until.tv_nsec >= 1000000000) until.tv_sec++, until.tv_nsec -= 1000000000;
        pthread_cond_timedwait(&w.wake, &w.lock, &until);
        if (rf_cli_interrupted() && !aborted) {
            aborted = true;
            pthread_mutex_unlock(&w.lock);
            for (unsigned i = 0; i < t->batch; i++) rf_engine_abort(e, id[i]);
            pthread_mutex_lock(&w.lock);
        }
    }
    pthread_mutex_unlock(&w.lock);
    rf_free(tokens);
    if (!s && w.n_failed) *err = w.err, s = w.err.status;
    if (!s && aborted) s = rf_fail(err, RF_CANCELLED, "interrupted");
    *seconds = t->generate > 1 ? w.t_last - w.t_all_first : w.t_all_first - t0;
    return s;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Median and standard deviation of tokens per second over the repetitions, after one warm-up. */
static rf_status measure(struct rf_engine *e, const struct test *t, uint32_t n_vocab, int64_t reps, struct rf_rng *rng, double *median,
                         double *stddev, struct rf_error *err)
{
    double v[1000], s, mean = 0, var = 0;
    struct test warm = *t;
    struct rf_cli_progress bar = {.what = t->name};
    if (t->generate > 1) warm.generate = RF_MIN(t->generate, 8);
    RF_TRY(once(e, &warm, n_vocab, rng, &s, err));
    for (int64_t i = 0; i < reps; i++) {
        rf_cli_show_progress(&bar, (double)i / (double)reps);
        rf_status st = once(e, t, n_vocab, rng, &s, err);
        if (st) {
            rf_cli_end_progress(&bar);
            return st;
        }
        v[i] = (double)t->n * t->batch / s;
        mean += v[i] / (double)reps;
    }
    rf_cli_end_progress(&bar);
    for (int64_t i = 0; i < reps; i++) var += (v[i] - mean) * (v[i] - mean) / (double)(reps > 1 ? reps - 1 : 1);
    qsort(v, (size_t)reps, sizeof *v, by_value);
    *median = reps % 2 ? v[reps / 2] : (v[reps / 2 - 1] + v[reps / 2]) / 2;
    *stddev = sqrt(var);
    return RF_OK;
}

static void machine(char *out, size_t cap, const struct rf_model_info *info)
{
    char line[256], cpu[200] = "unknown CPU";
    FILE *f = fopen("/proc/cpuinfo", "re");
    while (f && fgets(line, sizeof line, f))
        if (!strncmp(line, "model name", 10) && strchr(line, ':')) {
            snprintf(cpu, sizeof cpu, "%s", strchr(line, ':') + 2);
            cpu[strcspn(cpu, "\n")] = 0;
            break;
        }
    if (f) fclose(f);
    snprintf(out, cap, "%s; %s", cpu, info->device);
}

static bool parse_batches(const char *given, unsigned most, unsigned *batch, size_t *n)
{
    const char *text = given;
    for (*n = 0; *text && *n < MAX_BATCHES;) {
        char *end;
        unsigned long b = strtoul(text, &end, 10);
        if (end == text || (*end && *end != ',') || b < 1 || b > most) break;
        batch[(*n)++] = (unsigned)b;
        text = *end ? end + 1 : end;
    }
    if (*n && !*text) return true;
    fprintf(stderr, "rocmforge: --batch is \"%.80s\", expected up to %d numbers from 1 to %u, such as 1,8\n", given, (int)MAX_BATCHES, most);
    return false;
}

static void print_row(json_t *rows, bool json, const struct test *t, double median, double stddev)
{
    json_array_append_new(rows, json_pack("{s:s, s:i, s:i, s:f, s:f}", "test", t->name, "n", (int)t->n, "batch", (int)t->batch,
                                          "tokens_per_s", median, "stddev", stddev));
    if (!json) printf("%s%-6u batch %-4u %10.1f +- %-7.1f tokens/s\n", t->name, t->n, t->batch, median, stddev), fflush(stdout);
}

static rf_status run_tests(const struct rf_cli *c, struct rf_engine *e, const struct rf_model_info *info, const unsigned *batch,
                           size_t n_batch, json_t *rows, struct rf_error *err)
{
    struct rf_rng rng = {.state = c->has_seed ? (uint64_t)c->seed : 1};
    for (size_t i = 0; i < n_batch; i++) {
        const struct test tests[] = {
            {"pp", (unsigned)c->pp, batch[i], (unsigned)c->pp, 1},
            {"tg", (unsigned)c->tg, batch[i], TG_PROMPT, (int32_t)c->tg + 1},
        };
        for (size_t k = 0; k < RF_COUNT(tests); k++) {
            double median, stddev;
            if (!tests[k].n) continue;
            RF_TRY(measure(e, &tests[k], info->n_vocab, c->reps, &rng, &median, &stddev, err));
            print_row(rows, c->json, &tests[k], median, stddev);
        }
    }
    return RF_OK;
}

/* ---- --kernels ---- */

struct kernels { const struct rf_cli *c; json_t *rows; char device[384]; };

static bool on_device(void *ctx, const char *name, const char *detail)
{
    struct kernels *k = ctx;
    snprintf(k->device, sizeof k->device, "%s: %s", name, detail);
    if (!k->c->json) printf("%s\n%-9s %-12s %6s %8s %8s %12s %9s %6s %9s\n", k->device, "kernel", "", "rows", "outputs", "inputs", "us", "GB/s", "memory", "TFLOP/s");
    return !rf_cli_interrupted();
}

static bool on_kernel(void *ctx, const struct rf_kernel_speed *r)
{
    struct kernels *k = ctx;
    json_array_append_new(k->rows, json_pack("{s:s, s:s, s:i, s:i, s:i, s:f, s:f, s:f, s:f}", "kernel", r->kernel, "what", r->what, "rows", (int)r->rows, "outputs",
                                             (int)r->outputs, "inputs", (int)r->inputs, "us", r->us, "gb_per_s", r->gb_per_s, "share", r->share, "tflop_per_s",
                                             r->tflop_per_s));
    if (!k->c->json)
        printf("%-9s %-12s %6u %8u %8u %12.1f %9.1f %5.0f%% %9.3f\n", r->kernel, r->what, r->rows, r->outputs, r->inputs, r->us, r->gb_per_s, 100 * r->share,
               r->tflop_per_s);
    fflush(stdout);
    return !rf_cli_interrupted();
}

static bool parse_shapes(const char *given, struct rf_kernel_shape *shape, size_t *n)
{
    const char *text = given;
    for (*n = 0; *text && *n < MAX_BATCHES;) {
        char *x, *end;
        unsigned long outputs = strtoul(text, &x, 10), inputs = *x == 'x' ? strtoul(x + 1, &end, 10) : 0;
        if (outputs < 1 || outputs > MAX_SIDE || inputs < 1 || inputs > MAX_SIDE || inputs % 32 || (*end && *end != ',')) break;
        shape[(*n)++] = (struct rf_kernel_shape){(uint32_t)outputs, (uint32_t)inputs};
        text = *end ? end + 1 : end;
    }
    if (*n && !*text) return true;
    fprintf(stderr, "rocmforge: --shapes is \"%.80s\", expected up to %d matrices of 1 to %d rows and a multiple of 32 columns, such as 4096x4096,14336x4096\n", given,
            (int)MAX_BATCHES, (int)MAX_SIDE);
    return false;
}

static int bench_kernels(const struct rf_cli *c)
{
    uint32_t rows[MAX_BATCHES];
    struct rf_kernel_shape shapes[MAX_BATCHES];
    struct kernels k = {.c = c};
    struct rf_error err = {0};
    struct rf_model_options open = {.device = c->device, .isa = c->isa, .attention = c->attention, .n_threads = (uint32_t)c->threads, .allow_cpu = c->allow_cpu,
                                    .gpu_memory_fraction = c->gpu_memory_fraction};
    struct rf_kernel_bench b = {.open = &open, .shapes = shapes, .rows = rows, .context = c->ctx ? (uint32_t)c->ctx : 4096, .reps = (uint32_t)c->reps,
                                .on_device = on_device, .on_row = on_kernel, .ctx = &k};
    if (!parse_batches(c->batch ? c->batch : "1,8,64,512", MAX_ROWS, rows, &b.n_rows) ||
        !parse_shapes(c->shapes ? c->shapes : "4096x4096,14336x4096,4096x14336", shapes, &b.n_shapes))
        return RF_EXIT_USAGE;
    k.rows = json_array();
    rf_cli_catch_interrupt();
    rf_status s = rf_bench_kernels(&b, &err);
    json_t *out = s ? NULL : json_pack("{s:O, s:s}", "rows", k.rows, "device", k.device);
    char *text = out ? json_dumps(out, JSON_COMPACT | JSON_REAL_PRECISION(6)) : NULL;
    if (c->json && text) puts(text);
    free(text);
    json_decref(out);
    json_decref(k.rows);
    return s == RF_CANCELLED ? rf_cli_fail(&err, RF_EXIT_INTERRUPTED) : s ? rf_cli_fail(&err, RF_EXIT_FAILED) : RF_EXIT_OK;
}

int rf_cli_bench(const struct rf_cli *c)
{
    unsigned batch[MAX_BATCHES], most = 1;
    size_t n_batch;
    struct rf_model_info info;
    struct rf_error err = {0};
    char where[512];
    if (c->kernels && !c->n_arg) return bench_kernels(c);
    if (!c->n_arg) {
        fprintf(stderr, "rocmforge: bench needs MODEL, or --kernels\n  See: rocmforge bench --help\n");
        return RF_EXIT_USAGE;
    }
    if (c->kernels || c->shapes) {
        fprintf(stderr, "rocmforge: --kernels and --shapes go without a model: leave \"%.80s\" out, or them\n", c->arg[0]);
        return RF_EXIT_USAGE;
    }
    if (!parse_batches(c->batch ? c->batch : "1", MAX_SEQS, batch, &n_batch)) return RF_EXIT_USAGE;
    for (size_t i = 0; i < n_batch; i++) most = RF_MAX(most, batch[i]);
    struct rf_model *m = rf_cli_open_model(c, 0);
    if (!m) return RF_EXIT_MODEL;
    rf_model_info_get(m, &info);
    struct rf_cli mine = *c;
    int64_t per_seq = RF_MAX(c->pp + 1, c->tg + TG_PROMPT + 1);
    mine.no_prefix_cache = true;
    if (!mine.ctx) mine.ctx = RF_MAX(per_seq, 16);
    if (!mine.max_seqs) mine.max_seqs = most;
    struct rf_engine *e = rf_cli_open_engine(&mine, m);
    int code = RF_EXIT_FAILED;
    if (e) {
        json_t *rows = json_array();
        rf_cli_catch_interrupt();
        machine(where, sizeof where, &info);
        if (!c->json) printf("%s, %s, %s\n", info.name, info.quantization, where);
        rf_status s = run_tests(c, e, &info, batch, n_batch, rows, &err);
        if (s)
            code = rf_cli_fail(&err, s == RF_CANCELLED ? RF_EXIT_INTERRUPTED : RF_EXIT_FAILED);
        else
            code = RF_EXIT_OK;
        json_t *out = json_pack("{s:O, s:s, s:s, s:s}", "rows", rows, "model", info.name, "quantization", info.quantization, "machine", where);
        char *text = out ? json_dumps(out, JSON_COMPACT | JSON_REAL_PRECISION(6)) : NULL;
        if (!s && c->json && text) puts(text);
        free(text);
        json_decref(out);
        json_decref(rows);
    }
    rf_engine_free(e);
    rf_model_close(m);
    return code;
}
