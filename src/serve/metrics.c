/* metrics.c - GET /metrics in the text format 0.0.4: vLLM's, llama.cpp's and SGLang's names, so that dashboards and
 * routers work, and our own. Labels are the served model and fixed words; nothing a client sends ever becomes one.
 */
#include <stddef.h>
#include <string.h>

#include "serve/internal.h"

static const unsigned statuses[] = {200, 204, 304, 400, 401, 403, 404, 405, 408,
                                    413, 415, 429, 499, 500, 503, 0}; /* 0: others */
_Static_assert(RF_COUNT(statuses) <= RF_SERVE_CODES, "more statuses than counters");

void rf_serve_metrics_count(struct rf_serve *s, const struct rf_route *r, unsigned status)
{
    size_t i = 0;
    while (statuses[i] && statuses[i] != status) i++;
    pthread_mutex_lock(&s->lock);
    s->http_count[rf_serve_route_index(r)][i]++;
    pthread_mutex_unlock(&s->lock);
}

struct out { struct rf_buf *b; const char *labels; const struct rf_stats *st; };

static void head(struct rf_buf *b, const char *name, const char *type, const char *help)
{
    rf_buf_printf(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void one(const struct out *o, const char *name, const char *type, const char *help, double value)
{
    head(o->b, name, type, help);
    rf_buf_printf(o->b, "%s{%s} %.17g\n", name, o->labels, value);
}

enum of { OF_U32, OF_U64, OF_F64 };

static const struct { const char *name, *type, *help; enum of of; size_t at; } rows[] = {
#define S(f) offsetof(struct rf_stats, f)
    {"vllm:num_requests_running", "gauge", "Sequences in the running batch.", OF_U32, S(n_running)},
    {"vllm:num_requests_waiting", "gauge", "Sequences waiting to be scheduled.", OF_U32, S(n_waiting)},
    {"vllm:prompt_tokens_total", "counter", "Prompt tokens processed.", OF_U64, S(prompt_tokens)},
    {"vllm:generation_tokens_total", "counter", "Tokens generated.", OF_U64, S(generation_tokens)},
    {"vllm:num_preemptions_total", "counter", "Sequences preempted for want of KV blocks.", OF_U64, S(n_preemptions)},
    {"vllm:prefix_cache_queries_total", "counter", "Prompt tokens looked up in the prefix cache.", OF_U64,
     S(prefix_queries)},
    {"vllm:prefix_cache_hits_total", "counter", "Prompt tokens found in the prefix cache.", OF_U64, S(prefix_hits)},
    {"vllm:admission_rejections", "counter", "Requests refused at admission.", OF_U64, S(rejected)},
    {"llamacpp:requests_processing", "gauge", "Sequences in the running batch.", OF_U32, S(n_running)},
    {"llamacpp:requests_deferred", "gauge", "Sequences waiting to be scheduled.", OF_U32, S(n_waiting)},
    {"llamacpp:prompt_tokens_total", "counter", "Prompt tokens processed.", OF_U64, S(prompt_tokens)},
    {"llamacpp:prompt_seconds_total", "counter", "Time spent on prompts.", OF_F64, S(prefill_s)},
    {"llamacpp:tokens_predicted_total", "counter", "Tokens generated.", OF_U64, S(generation_tokens)},
    {"llamacpp:tokens_predicted_seconds_total", "counter", "Time spent on generating.", OF_F64, S(decode_s)},
    {"llamacpp:n_decode_total", "counter", "Steps of the engine.", OF_U64, S(n_steps)},
    {"llamacpp:n_tokens_max", "gauge", "Most tokens that one sequence has had.", OF_U32, S(max_seq_tokens)},
    {"sglang:num_running_reqs", "gauge", "Sequences in the running batch.", OF_U32, S(n_running)},
    {"sglang:num_queue_reqs", "gauge", "Sequences waiting to be scheduled.", OF_U32, S(n_waiting)},
    {"rocmforge_async_steps_total", "counter", "Steps that began while the step before was still running.", OF_U64, S(n_async_steps)},
    {"rocmforge_waiting_tokens", "gauge", "Prompt tokens of waiting sequences.", OF_U64, S(waiting_tokens)},
    {"rocmforge_kv_blocks", "gauge", "KV blocks in the pool.", OF_U32, S(n_blocks)},
    {"rocmforge_kv_blocks_free", "gauge", "KV blocks that are free or only cached.", OF_U32, S(n_blocks_free)},
    {"rocmforge_engine_steps_total", "counter", "Steps of the engine.", OF_U64, S(n_steps)},
    {"rocmforge_cached_tokens_total", "counter", "Prompt tokens that needed no prefill.", OF_U64, S(cached_tokens)},
    {"rocmforge_prefill_seconds_total", "counter", "Time spent on prefill.", OF_F64, S(prefill_s)},
    {"rocmforge_decode_seconds_total", "counter", "Time spent on decoding.", OF_F64, S(decode_s)},
};

static const struct { const char *name, *help; size_t at; bool tokens; } hists[] = {
    {"vllm:time_to_first_token_seconds", "Time to the first token.", S(ttft), false},
    {"vllm:inter_token_latency_seconds", "Time between two tokens of a sequence.", S(itl), false},
    {"vllm:e2e_request_latency_seconds", "Time of a whole sequence.", S(e2e), false},
    {"vllm:request_queue_time_seconds", "Time waiting.", S(queue), false},
    {"vllm:request_prefill_time_seconds", "Time from scheduling to the first token.", S(prefill), false},
    {"vllm:request_decode_time_seconds", "Time from the first token to the last.", S(decode), false},
    {"vllm:request_inference_time_seconds", "Time from scheduling to the last token.", S(inference), false},
    {"vllm:request_prompt_tokens", "Prompt tokens of a sequence.", S(prompt_len), true},
    {"vllm:request_generation_tokens", "Generated tokens of a sequence.", S(generation_len), true},
    {"vllm:iteration_tokens_total", "Tokens of one engine step.", S(step_tokens), true},
#undef S
};

static void histogram(const struct out *o, const char *name, const char *help, const struct rf_histogram *h,
                      bool tokens)
{
    const double *bounds = rf_histogram_bounds(tokens);
    uint64_t sum = 0;
    head(o->b, name, "histogram", help);
    for (int i = 0; i < RF_HIST_BUCKETS; i++) {
        sum += h->bucket[i];
        rf_buf_printf(o->b, "%s_bucket{%s,le=\"%g\"} %llu\n", name, o->labels, bounds[i], (unsigned long long)sum);
    }
    sum += h->bucket[RF_HIST_BUCKETS];
    rf_buf_printf(o->b, "%s_bucket{%s,le=\"+Inf\"} %llu\n%s_sum{%s} %.17g\n%s_count{%s} %llu\n", name, o->labels,
                  (unsigned long long)sum, name, o->labels, h->sum, name, o->labels, (unsigned long long)sum);
}

static double value(const struct rf_stats *st, enum of of, size_t at)
{
    const char *p = (const char *)st + at;
    if (of == OF_U32) return *(const uint32_t *)p;
    if (of == OF_U64) return (double)*(const uint64_t *)p;
    return *(const double *)p;
}

static double part(double a, double of) { return of > 0 ? a / of : 0; }

static void engine_metrics(const struct out *o)
{
    static const struct { enum rf_finish f; const char *name; } ends[] = {
        {RF_FINISH_STOP, "stop"}, {RF_FINISH_LENGTH, "length"}, {RF_FINISH_ABORT, "abort"}};
    const struct rf_stats *st = o->st;
    for (size_t i = 0; i < RF_COUNT(rows); i++)
        one(o, rows[i].name, rows[i].type, rows[i].help, value(st, rows[i].of, rows[i].at));
    double used = st->n_blocks ? 1.0 - (double)st->n_blocks_free / st->n_blocks : 0;
    one(o, "vllm:kv_cache_usage_perc", "gauge", "Part of the KV blocks in use, 0 to 1.", used);
    one(o, "sglang:token_usage", "gauge", "Part of the KV blocks in use, 0 to 1.", used);
    one(o, "llamacpp:prompt_tokens_seconds", "gauge", "Prompt tokens per second of prefill, since the start.",
        part((double)st->prompt_tokens, st->prefill_s));
    one(o, "llamacpp:predicted_tokens_seconds", "gauge", "Generated tokens per second of decoding, since the start.",
        part((double)st->generation_tokens, st->decode_s));
    one(o, "llamacpp:n_busy_slots_per_decode", "gauge", "Sequences per step, since the start.",
        part((double)st->n_step_seqs, (double)st->n_steps));
    head(o->b, "vllm:request_success_total", "counter", "Sequences ended, by reason.");
    for (size_t i = 0; i < RF_COUNT(ends); i++)
        rf_buf_printf(o->b, "vllm:request_success_total{%s,finished_reason=\"%s\"} %llu\n", o->labels, ends[i].name,
                      (unsigned long long)st->finished[ends[i].f]);
    one(o, "rocmforge_request_failed_total", "counter", "Sequences ended by an error.",
        (double)st->finished[RF_FINISH_ERROR]);
    head(o->b, "vllm:cache_config_info", "gauge", "Layout of the KV cache.");
    rf_buf_printf(o->b, "vllm:cache_config_info{%s,block_size=\"%u\",num_gpu_blocks=\"%u\"} 1\n", o->labels,
                  st->block_tokens, st->n_blocks);
    head(o->b, "vllm:lora_requests_info", "gauge", "Adapters, of which there are none; the value is the time.");
    rf_buf_printf(o->b,
                  "vllm:lora_requests_info{%s,max_lora=\"0\",running_lora_adapters=\"\",waiting_lora_adapters=\"\"} "
                  "%lld\n",
                  o->labels, (long long)rf_unix_time());
    for (size_t i = 0; i < RF_COUNT(hists); i++)
        histogram(o, hists[i].name, hists[i].help, (const struct rf_histogram *)((const char *)st + hists[i].at),
                  hists[i].tokens);
}

/* One copy under the lock, text after it: a scrape never holds the event loop's lock while it prints. */
static void http_metrics(struct rf_serve *s, struct rf_buf *b)
{
    uint64_t count[RF_SERVE_ROUTES_MAX + 1][RF_SERVE_CODES], gone, slow;
    size_t conns;
    pthread_mutex_lock(&s->lock);
    memcpy(count, s->http_count, sizeof count);
    gone = s->n_disconnects;
    slow = s->n_slow;
    conns = s->n_conns;
    pthread_mutex_unlock(&s->lock);
    head(b, "rocmforge_http_requests_total", "counter", "HTTP requests by route and status; 499: the client left.");
    for (size_t r = 0; r <= rf_serve_route_count(); r++)
        for (size_t i = 0; i < RF_COUNT(statuses); i++) {
            if (!count[r][i]) continue;
            rf_buf_printf(b, "rocmforge_http_requests_total{route=\"%s\",status=\"",
                          r < rf_serve_route_count() ? rf_serve_route_at(r)->path : "other");
            if (statuses[i]) rf_buf_printf(b, "%u\"} %llu\n", statuses[i], (unsigned long long)count[r][i]);
            else rf_buf_printf(b, "other\"} %llu\n", (unsigned long long)count[r][i]);
        }
    head(b, "rocmforge_http_connections", "gauge", "Open connections.");
    rf_buf_printf(b, "rocmforge_http_connections %zu\n", conns);
    head(b, "rocmforge_http_disconnects_total", "counter", "Requests that ended before their answer was complete.");
    rf_buf_printf(b, "rocmforge_http_disconnects_total %llu\n", (unsigned long long)gone);
    head(b, "rocmforge_http_slow_readers_total", "counter", "Streams aborted because nobody read them.");
    rf_buf_printf(b, "rocmforge_http_slow_readers_total %llu\n", (unsigned long long)slow);
    head(b, "rocmforge_build_info", "gauge", "Version of the server.");
    rf_buf_printf(b, "rocmforge_build_info{version=\"%s\"} 1\n", rf_version());
}

static void label_value(struct rf_buf *b, const char *s)
{
    for (; *s; s++) {
        if (*s == '\\' || *s == '"') rf_buf_putc(b, '\\');
        if (*s == '\n') rf_buf_puts(b, "\\n");
        else rf_buf_putc(b, *s);
    }
}

void rf_serve_metrics_run(struct rf_call *c)
{
    struct rf_serve *s = c->serve;
    struct rf_served *on = rf_served_get(s);
    struct rf_stats st = {0};
    struct rf_buf labels = {0};
    if (on) {
        rf_engine_stats(on->engine, &st);
        rf_buf_puts(&labels, "model_name=\"");
        label_value(&labels, on->id);
        rf_buf_puts(&labels, "\",engine=\"0\"");
        engine_metrics(&(struct out){&c->reply.body, rf_buf_str(&labels), &st});
        rf_buf_release(&labels);
        rf_served_put(s, on);
    }
    http_metrics(s, &c->reply.body);
    c->reply.status = 200;
    c->reply.type = "text/plain; version=0.0.4; charset=utf-8";
}
