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

static rf_status gpu_open(struct rf_backend **out, const struct rf_gpu_vendor *v, const struct rf_backend_options *opt, int index, struct rf_error *err)
{
    const struct rf_gpu_object *o = rf_gpu_objects;
    while (o->vendor && strcmp(o->vendor, v->name)) o++;
    if (!o->vendor) return rf_fail(err, RF_NOT_FOUND, "%s: this build has no code for such devices (-D%s=enabled)", v->name, v->name);
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

/* Best first: "auto" takes the first that is there. One that is there and does not work is an error, not a reason to go on,
 * unless the caller allows the CPU. */
static const struct {
    const char *name;
    bool numbered; /* "cuda" is "cuda:0" */
    rf_status (*open)(struct rf_backend **out, const struct rf_backend_options *opt, int index, struct rf_error *err);
} devices[] = {
    {"cuda", true, cuda_open},
    {"hip", true, hip_open},
    {"cpu", false, cpu_open},
};
enum { N_DEVICE = sizeof devices / sizeof *devices };

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

rf_status rf_backend_open(struct rf_backend **out, const struct rf_backend_options *opt, struct rf_error *err)
{
    static const struct rf_backend_options defaults;
    if (!opt) opt = &defaults;
    *out = NULL;
    const char *want = opt->device && *opt->device ? opt->device : "auto";
    bool any = !strcmp(want, "auto");
    char passed[sizeof((struct rf_error *)0)->message] = ""; /* why a device that is there was passed over */
    for (int i = 0; i < N_DEVICE; i++) {
        int index = 0;
        if (!any && !named(i, want, &index)) continue;
        rf_status s = devices[i].open(out, opt, index, err);
        bool cpu = !devices[i].numbered;
        if (any && cpu && !s && passed[0]) {
            size_t n = strlen((*out)->info.detail);
            snprintf((*out)->info.detail + n, sizeof (*out)->info.detail - n, "; instead of %s", passed);
        }
        if (!any || cpu || (s != RF_NOT_FOUND && !(s && opt->allow_cpu))) return s;
        if (s != RF_NOT_FOUND && err) snprintf(passed, sizeof passed, "%s", err->message);
    }
    return rf_fail_param(err, RF_INVALID, "device", "device \"%.40s\" does not exist here: expected one of auto, cpu, cuda:N, hip:N", want);
}

void rf_backend_close(struct rf_backend *b)
{
    if (b) b->close(b);
}
