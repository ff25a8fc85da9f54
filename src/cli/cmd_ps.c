/* cmd_ps.c - what a running server holds, from /v1/models and /metrics. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "cli/cli.h"
#include "cli/http_get.h"

static const struct { const char *metric, *key; } gauges[] = {
    {"vllm:num_requests_running", "running"}, {"vllm:num_requests_waiting", "waiting"}, {"vllm:kv_cache_usage_perc", "kv_usage"},
    {"vllm:prompt_tokens_total", "prompt_tokens"}, {"vllm:generation_tokens_total", "generated_tokens"},
};

static rf_status fetch(const struct rf_cli *c, const char *path, struct rf_buf *body, struct rf_error *err)
{
    unsigned status = 0;
    RF_TRY(rf_cli_http_get(c->host, (uint16_t)c->port, path, c->api_key.n ? c->api_key.item[0] : NULL, body, &status, err));
    if (status == 200) return RF_OK;
    if (status == 401) return rf_fail(err, RF_INVALID, "the server wants a key: rocmforge ps --api-key KEY, or ROCMFORGE_API_KEY");
    return rf_fail(err, RF_IO, "the server answers %s with status %u", path, status);
}

/* The value of a metric without looking at its labels. */
static bool metric(const char *text, const char *name, double *value)
{
    size_t n = strlen(name);
    for (const char *p = text; p && *p; p = strchr(p, '\n'), p = p ? p + 1 : NULL) {
        if (strncmp(p, name, n) || (p[n] != '{' && p[n] != ' ')) continue;
        const char *end = strchr(p, '\n'), *blank = NULL;
        for (const char *q = p; q && *q && q != end; q++)
            if (*q == ' ') blank = q;
        if (!blank) return false;
        *value = strtod(blank + 1, NULL);
        return true;
    }
    return false;
}

static void add_gauges(json_t *o, const char *metrics)
{
    double v;
    for (size_t i = 0; i < RF_COUNT(gauges); i++)
        if (metric(metrics, gauges[i].metric, &v)) json_object_set_new(o, gauges[i].key, json_real(v));
}

/* The models that are loaded: those with facts. Several names of one model are one row. */
static json_t *collect(const json_t *list, const char *metrics)
{
    json_t *out = json_array(), *m;
    size_t i;
    const char *last_root = NULL;
    json_array_foreach(json_object_get(list, "data"), i, m) {
        const json_t *meta = json_object_get(m, "meta");
        const char *root = json_string_value(json_object_get(m, "root"));
        if (!json_is_object(meta) || (last_root && root && !strcmp(root, last_root))) continue;
        last_root = root;
        json_t *o = json_pack("{s:O*, s:O*, s:O*, s:O*, s:O*}", "name", json_object_get(m, "id"), "architecture",
                              json_object_get(meta, "architecture"), "quantization", json_object_get(meta, "quantization"), "bytes",
                              json_object_get(meta, "size"), "context", json_object_get(m, "max_model_len"));
        if (!o) continue;
        add_gauges(o, metrics);
        json_array_append_new(out, o);
    }
    return out;
}

static void print_table(const json_t *models, size_t n_served)
{
    size_t i;
    json_t *m;
    if (!json_array_size(models)) {
        printf("The server is up and holds no model yet; it serves %zu, each loaded when a request names it.\n", n_served);
        return;
    }
    printf("%-40s %-9s %-8s %8s %8s %8s %8s %6s %10s\n", "NAME", "FAMILY", "QUANT", "SIZE", "CONTEXT", "RUNNING", "WAITING", "KV", "GENERATED");
    json_array_foreach((json_t *)models, i, m) {
        char size[32];
        static const char *const keys[3] = {"name", "architecture", "quantization"};
        char text[3][256];
        for (size_t k = 0; k < 3; k++) {
            const char *v = json_string_value(json_object_get(m, keys[k]));
            rf_utf8_printable(text[k], sizeof text[k], v ? v : "");
        }
        rf_cli_human_bytes((uint64_t)json_integer_value(json_object_get(m, "bytes")), size, sizeof size);
        printf("%-40s %-9s %-8s %8s %8lld %8.0f %8.0f %5.0f%% %10.0f\n", text[0], text[1], text[2], size,
               (long long)json_integer_value(json_object_get(m, "context")), json_number_value(json_object_get(m, "running")),
               json_number_value(json_object_get(m, "waiting")), 100 * json_number_value(json_object_get(m, "kv_usage")),
               json_number_value(json_object_get(m, "generated_tokens")));
    }
}

int rf_cli_ps(const struct rf_cli *c)
{
    struct rf_buf list = {0}, metrics = {0};
    struct rf_error err = {0};
    json_t *root = NULL;
    rf_status s = fetch(c, "/v1/models", &list, &err);
    if (!s) s = fetch(c, "/metrics", &metrics, &err);
    if (!s && !(root = json_loadb(rf_buf_str(&list), list.len, 0, NULL)))
        s = rf_fail(&err, RF_IO, "what answers at %.100s port %lld is no model server", c->host, (long long)c->port);
    int code = RF_EXIT_OK;
    if (s) {
        code = rf_cli_fail(&err, RF_EXIT_FAILED);
    } else {
        json_t *models = collect(root, rf_buf_str(&metrics));
        if (c->json) {
            code = rf_cli_print_json(json_pack("{s:o}", "models", models));
        } else {
            print_table(models, json_array_size(json_object_get(root, "data")));
            json_decref(models);
        }
    }
    json_decref(root);
    rf_buf_release(&list);
    rf_buf_release(&metrics);
    return code;
}
