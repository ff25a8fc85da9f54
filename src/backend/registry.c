#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/backend.h"
#include "backend/cpu/cpu.h"
#include "backend/gpu/gpu.h"

static rf_status cpu_open(struct rf_backend **out, const struct rf_backend_options *opt, int index, struct rf_error *err)
{
    (void)index;
    if (opt->attention && strcmp(opt->attention, "auto") && strcmp(opt->attention, "reference"))
        return rf_fail_param(err, RF_INVALID, "attention", "attention \"%.40s\" is not the CPU's: expected auto or reference", opt->attention);
    return rf_cpu_open(out, opt, err);
}

/* A card without code for it is an error like any other; without a card there is nothing to say. */
static rf_status no_code(const struct rf_gpu_vendor *v, int index, struct rf_error *err)
{
    struct rf_gpu_device d;
    RF_TRY(rf_gpu_device_open(&d, v, index, err));
    rf_fail(err, RF_DEVICE, "%s: %s%s%s is there, but this build has no code for such devices: build it on this machine (clang-19 "
                            "and lld-19, or nvcc), or with -Dgpu_targets=all, or use --device cpu or "
                            "--allow-cpu", d.id, d.name, d.arch[0] ? ", " : "", d.arch);
    rf_gpu_device_close(&d);
    return RF_DEVICE;
}

static rf_status gpu_open(struct rf_backend **out, const struct rf_gpu_vendor *v, const struct rf_backend_options *opt, int index, struct rf_error *err)
{
    const struct rf_gpu_object *o = rf_gpu_objects;
    while (o->vendor && strcmp(o->vendor, v->name)) o++;
    if (!o->vendor) return no_code(v, index, err);
    return rf_gpu_open(out, v, opt, index, err);
}

static rf_status cuda_open(struct rf_backend **out, const struct rf_backend_options *opt, int index, struct rf_error *err)
{
    return gpu_open(out, &rf_gpu_cuda, opt, index, err);
}

static rf_status hip_open(struct rf_backend **out, const struct rf_backend_options *opt, int index, struct rf_error *err)
{
    return gpu_open(out, &rf_gpu_hip, opt, index, err);
}

/* In the order in which "auto" asks: AMD before NVIDIA, GPUs before the CPU. */
static const struct {
    const char *name;
    bool numbered; /* "cuda" is "cuda:0" */
    rf_status (*open)(struct rf_backend **out, const struct rf_backend_options *opt, int index, struct rf_error *err);
} devices[] = {
    {"hip", true, hip_open},
    {"cuda", true, cuda_open},
    {"cpu", false, cpu_open},
};
enum { N_DEVICE = sizeof devices / sizeof *devices, AUTO_CARDS = 16 };

/* Does `want` name device i? Sets *index. */
static bool named(int i, const char *want, int *index)
{
    size_t n = strlen(devices[i].name);
    *index = 0;
    if (strncmp(want, devices[i].name, n)) return false;
    if (!want[n]) return true;
    if (!devices[i].numbered || want[n] != ':' || strspn(want + n + 1, "0123456789") != strlen(want + n + 1) || !want[n + 1] || strlen(want + n) > 5)
        return false;
    *index = atoi(want + n + 1);
    return true;
}

/* Why devices that are there were passed over: the first of them. */
static void note_passed(struct rf_backend *b, const struct rf_error *why)
{
    size_t n = strlen(b->info.detail);
    snprintf(b->info.detail + n, sizeof b->info.detail - n, "; instead of %s", why->message);
}

/* The first GPU that works. RF_NOT_FOUND: there is none at all; else the error of the first one that is there and does not work. */
static rf_status any_gpu(struct rf_backend **out, const struct rf_backend_options *opt, struct rf_error *err)
{
    struct rf_error first = {0}, e = {0};
    for (int i = 0; i < N_DEVICE; i++)
        for (int index = 0; devices[i].numbered && index < AUTO_CARDS; index++) {
            rf_status s = devices[i].open(out, opt, index, &e);
            if (!s && first.status) note_passed(*out, &first);
            if (!s) return RF_OK;
            if (s == RF_NOT_FOUND || (s == RF_INVALID && index)) break; /* no more of this kind */
            if (!first.status) first = e;
            if (s == RF_INVALID) break; /* an option: no card will like it */
        }
    if (!first.status) return RF_NOT_FOUND;
    if (err) *err = first;
    return first.status;
}

/* A GPU that is there and does not work is an error, not a reason to take the CPU, unless the caller allows that. */
static rf_status open_auto(struct rf_backend **out, const struct rf_backend_options *opt, struct rf_error *err)
{
    struct rf_error gpu = {0};
    rf_status s = any_gpu(out, opt, &gpu);
    if (s && s != RF_NOT_FOUND && (s == RF_INVALID || !opt->allow_cpu)) {
        if (err) *err = gpu;
        return s;
    }
    if (!s) return RF_OK;
    RF_TRY(cpu_open(out, opt, 0, err));
    if (gpu.status) note_passed(*out, &gpu);
    return RF_OK;
}

rf_status rf_backend_open(struct rf_backend **out, const struct rf_backend_options *opt, struct rf_error *err)
{
    static const struct rf_backend_options defaults;
    if (!opt) opt = &defaults;
    *out = NULL;
    const char *want = opt->device && *opt->device ? opt->device : "auto";
    if (!strcmp(want, "auto")) return open_auto(out, opt, err);
    for (int i = 0, index; i < N_DEVICE; i++)
        if (named(i, want, &index)) return devices[i].open(out, opt, index, err);
    return rf_fail_param(err, RF_INVALID, "device", "device \"%.40s\" does not exist here: expected one of auto, cpu, cuda:N, hip:N", want);
}

void rf_backend_close(struct rf_backend *b)
{
    if (b) b->close(b);
}
