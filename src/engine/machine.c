/* machine.c - rf_machine_describe: what the machine has, as JSON. */
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "backend/probe.h"
#include "base/mem.h"

enum { GPUS = 64 };

static json_t *gpu_json(const struct rf_probe_gpu *g)
{
    json_t *o = json_pack("{s:s, s:b, s:b}", "device", g->id, "found", g->found, "usable", g->usable);
    if (g->reason[0]) json_object_set_new(o, "reason", json_string(g->reason));
    if (!g->name[0]) return o;
    json_object_set_new(o, "name", json_string(g->name));
    json_object_set_new(o, "arch", json_string(g->arch));
    json_object_set_new(o, "driver", json_integer(g->driver));
    json_object_set_new(o, "code_object", g->code[0] ? json_string(g->code) : json_null());
    json_object_set_new(o, "memory_total", json_integer((json_int_t)g->memory_total));
    json_object_set_new(o, "memory_free", json_integer((json_int_t)g->memory_free));
    json_object_set_new(o, "upload_gb_per_s", json_real(g->upload_gbs));
    json_object_set_new(o, "download_gb_per_s", json_real(g->download_gbs));
    return o;
}

static json_t *objects_json(void)
{
    struct rf_probe_object list[64];
    json_t *out = json_array();
    size_t n = rf_probe_objects(list, RF_COUNT(list));
    for (size_t i = 0; i < n; i++)
        json_array_append_new(out, json_pack("{s:s, s:s, s:I}", "vendor", list[i].vendor, "arch", list[i].arch, "bytes", (json_int_t)list[i].bytes));
    return out;
}

rf_status rf_machine_describe(uint32_t n_threads, char **out, struct rf_error *err)
{
    struct rf_probe_cpu cpu;
    *out = NULL;
    struct rf_probe_gpu *gpu = rf_alloc_array(GPUS, sizeof *gpu);
    if (!gpu) return rf_fail_nomem(err, "list of devices", GPUS * sizeof *gpu);
    rf_status s = rf_probe_cpu(&cpu, n_threads, err);
    size_t n = s ? 0 : rf_probe_gpus(gpu, GPUS);
    json_t *root = s ? NULL : json_pack("{s:{s:s, s:i, s:i, s:I, s:I, s:f}, s:o, s:o}", "cpu", "instructions", cpu.isa, "usable_cores", (int)cpu.usable_cores,
                                        "threads", (int)cpu.n_threads, "memory_total", (json_int_t)cpu.memory_total, "memory_free",
                                        (json_int_t)cpu.memory_free, "read_gb_per_s", cpu.read_gbs, "gpus", json_array(), "code_objects", objects_json());
    for (size_t i = 0; root && i < n; i++) json_array_append_new(json_object_get(root, "gpus"), gpu_json(&gpu[i]));
    char *text = root ? json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(5)) : NULL;
    json_decref(root);
    rf_free(gpu);
    if (!s && !text) s = rf_fail_nomem(err, "description of the machine", 0);
    if (text && !(*out = rf_strdup(text))) s = rf_fail_nomem(err, "description of the machine", strlen(text));
    free(text);
    return s;
}
