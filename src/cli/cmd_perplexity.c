/* cmd_perplexity.c - exp of the mean negative log likelihood of a text.
 *
 * The text's tokens are cut into chunks of --ctx (512), BOS first where the model wants one; chunks know nothing of each
 * other, and every token but a chunk's first is scored. A tail shorter than two tokens is left out.
 */
#include <math.h>
#include <stdio.h>

#include "base/mem.h"
#include "cli/cli.h"

enum { IN_FLIGHT = 4 };

struct sums { double nll, nll2; uint64_t n; };

static void add(struct sums *s, const struct rf_event *ev)
{
    for (size_t i = 0; i < ev->n_logprobs; i++) {
        double x = -(double)ev->logprobs[i].logprob;
        s->nll += x;
        s->nll2 += x * x;
        s->n++;
    }
}

static rf_status collect(struct rf_engine *e, uint64_t id, struct sums *sums, struct rf_error *err)
{
    for (;;) {
        struct rf_event *ev = NULL;
        rf_status s = rf_engine_poll(e, id, 100, &ev);
        if (rf_cli_interrupted()) {
            rf_event_free(ev);
            return rf_fail(err, RF_CANCELLED, "interrupted");
        }
        if (s == RF_AGAIN) continue;
        if (s) return rf_fail(err, s, "the engine lost request %llu", (unsigned long long)id);
        enum rf_event_kind kind = ev->kind;
        if (kind == RF_EVENT_PROMPT) add(sums, ev);
        if (kind == RF_EVENT_ERROR) *err = *ev->error;
        rf_event_free(ev);
        if (kind == RF_EVENT_ERROR) return err->status;
        if (kind == RF_EVENT_DONE) return RF_OK;
    }
}

/* One chunk as a request; buf holds chunk + 1 ids. */
static rf_status submit(struct rf_engine *e, const int32_t *ids, size_t n, int32_t bos, int32_t *buf, uint64_t *id, struct rf_error *err)
{
    struct rf_request r = {0};
    rf_sampling_default(&r.sampling);
    r.sampling.temperature = 0;
    r.sampling.max_tokens = 0;
    r.sampling.prompt_logprobs = 0;
    if (bos >= 0) buf[r.n_tokens++] = bos;
    for (size_t i = 0; i < n; i++) buf[r.n_tokens++] = ids[i];
    r.tokens = buf;
    return rf_engine_submit(e, &r, 1, id, err);
}

static void report(const struct rf_cli *c, const struct sums *s, size_t chunk)
{
    double mean = s->nll / (double)s->n, var = s->nll2 / (double)s->n - mean * mean;
    double ppl = exp(mean), se = ppl * sqrt(fmax(var, 0) / (double)s->n);
    if (c->json)
        printf("{\"perplexity\":%.6f,\"stderr\":%.6f,\"tokens\":%llu,\"chunk\":%zu}\n", ppl, se, (unsigned long long)s->n, chunk);
    else
        printf("perplexity %.4f +- %.4f over %llu tokens, chunks of %zu\n", ppl, se, (unsigned long long)s->n, chunk);
}

static rf_status score(const struct rf_cli *c, struct rf_engine *e, const int32_t *ids, size_t n, size_t chunk, int32_t bos,
                       struct sums *sums, struct rf_error *err)
{
    uint64_t id[IN_FLIGHT];
    int32_t *buf = rf_alloc_array(chunk + 1, sizeof *buf);
    size_t body = chunk - (bos >= 0 ? 1 : 0), next = 0, done = 0, chunks = 0;
    struct rf_cli_progress bar = {.what = "scoring"};
    rf_status s = buf ? RF_OK : rf_fail_nomem(err, "chunk", chunk * sizeof *buf);
    while (!s && (next < n || done < chunks)) {
        size_t len = n - next < body ? n - next : body;
        bool more = next < n && len + (bos >= 0 ? 1 : 0) >= 2;
        if (more && chunks - done < IN_FLIGHT) {
            s = submit(e, ids + next, len, bos, buf, &id[chunks++ % IN_FLIGHT], err);
            next += len;
            continue;
        }
        if (!more) next = n;
        if (done == chunks) break;
        s = collect(e, id[done++ % IN_FLIGHT], sums, err);
        if (!c->verbose) rf_cli_show_progress(&bar, (double)done * (double)body / (double)n);
        if (!s && c->verbose && sums->n) fprintf(stderr, "chunk %zu: %.4f\n", done, exp(sums->nll / (double)sums->n));
    }
    rf_cli_end_progress(&bar);
    rf_free(buf);
    return s;
}

int rf_cli_perplexity(const struct rf_cli *c)
{
    struct rf_buf text = {0};
    struct rf_error err = {0};
    struct rf_engine *e = NULL;
    struct sums sums = {0};
    int32_t *ids = NULL;
    size_t n = 0, chunk = c->ctx ? (size_t)c->ctx : 512;
    int code = RF_EXIT_FAILED;
    if (!rf_cli_read(c->arg[1], &text)) goto out_text;
    code = RF_EXIT_MODEL;
    struct rf_model *m = rf_cli_open_model(c, 0);
    if (!m) goto out_text;
    code = RF_EXIT_FAILED;
    struct rf_cli with_ctx = *c;
    with_ctx.ctx = (int64_t)chunk;
    with_ctx.no_prefix_cache = true;
    if (!(e = rf_cli_open_engine(&with_ctx, m))) goto out;
    rf_cli_catch_interrupt();
    /* BOS where the tokenizer adds it by itself: encode nothing and look. */
    int32_t *start = NULL;
    size_t n_start = 0;
    rf_status s = rf_model_tokenize(m, "", 0, RF_TOK_ADD_SPECIAL, &start, &n_start, &err);
    int32_t bos = n_start ? start[0] : -1;
    rf_free(start);
    if (!s) s = rf_model_tokenize(m, rf_buf_str(&text), text.len, 0, &ids, &n, &err);
    if (!s) s = score(c, e, ids, n, chunk, bos, &sums, &err);
    if (!s && !sums.n) s = rf_fail(&err, RF_INVALID, "%s: %zu tokens are too few to score", c->arg[1], n);
    if (s == RF_CANCELLED)
        code = RF_EXIT_INTERRUPTED;
    else if (s)
        rf_cli_fail(&err, 0);
    else
        code = RF_EXIT_OK;
    if (!s) report(c, &sums, chunk);
out:
    rf_engine_free(e);
    rf_free(ids);
    rf_model_close(m);
out_text:
    rf_buf_release(&text);
    return code;
}
