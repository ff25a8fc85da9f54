/* cuda.c - the CUDA driver API's names, numbers and habits. One of the two files that know a vendor. */
#include <stdio.h>
#include <string.h>

#include "backend/gpu/driver.h"

enum { NO_DEVICE = 100, DRIVER_TOO_OLD = 35, MISMATCH = 803, NO_COMPAT = 804, COMPUTE_MAJOR = 75, COMPUTE_MINOR = 76, PROCESSORS = 16, MAX_DYNAMIC_SHARED = 8 };
enum { ATTRIBUTE, SET_CURRENT, RELEASE, FUNCTION_SET, LAUNCH_EX, CLUSTERS };
enum { CLUSTER_DIMENSION = 4, PROGRAMMATIC_SERIALIZATION = 6 };

static const char *const libraries[] = {"libcuda.so.1", NULL};

static rf_status absent(int rc, struct rf_error *err)
{
    if (!rc || rc == NO_DEVICE) return rf_fail(err, RF_NOT_FOUND, "cuda: the driver is there, but it finds no device");
    const char *why = rc == DRIVER_TOO_OLD || rc == NO_COMPAT ? ", too old for this card"
                      : rc == MISMATCH                        ? ", its library and its kernel module are of different versions: reboot"
                                                              : "";
    return rf_fail(err, RF_DEVICE, "cuda: the driver does not start (error %d%s): update the NVIDIA driver (nvidia-smi must work), or use --device cpu or --allow-cpu",
                   rc, why);
}

static void fetch(struct rf_gpu_device *d, int i, const char *name)
{
    void *p = rf_gpu_symbol(d, name);
    memcpy(&d->extra[i], &p, sizeof p);
}

static int bind(struct rf_gpu_device *d) { return ((int (*)(void *))d->extra[SET_CURRENT])(d->context); }

/* CUDA C Programming Guide, compute capabilities. */
static uint32_t shared_max(const char *arch)
{
    static const struct { const char *arch; uint32_t kib; } rows[] = {{"sm_80", 163}, {"sm_90", 227}, {"sm_100", 227}, {"sm_103", 227}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (!strcmp(rows[i].arch, arch)) return rows[i].kib << 10;
    return 99 << 10;
}

static int start(struct rf_gpu_device *d)
{
    int major = 0, minor = 0, rc;
    int (*retain)(void **, int);
    void *p = rf_gpu_symbol(d, "cuDevicePrimaryCtxRetain");
    memcpy(&retain, &p, sizeof p);
    fetch(d, ATTRIBUTE, "cuDeviceGetAttribute");
    fetch(d, SET_CURRENT, "cuCtxSetCurrent");
    fetch(d, RELEASE, "cuDevicePrimaryCtxRelease_v2");
    fetch(d, FUNCTION_SET, "cuFuncSetAttribute");
    fetch(d, LAUNCH_EX, "cuLaunchKernelEx"); /* CUDA 12 */
    fetch(d, CLUSTERS, "cuOccupancyMaxActiveClusters");
    if (!retain || !d->extra[ATTRIBUTE] || !d->extra[SET_CURRENT] || !d->extra[RELEASE] || !d->extra[FUNCTION_SET]) return NO_DEVICE;
    int (*attribute)(int *, int, int) = (int (*)(int *, int, int))d->extra[ATTRIBUTE];
    if ((rc = attribute(&major, COMPUTE_MAJOR, d->handle)) || (rc = attribute(&minor, COMPUTE_MINOR, d->handle))) return rc;
    int processors = 0;
    if (!attribute(&processors, PROCESSORS, d->handle) && processors > 0) d->processors = (uint32_t)processors;
    d->has_early = major >= 9;
    snprintf(d->arch, sizeof d->arch, "sm_%d%d", major, minor);
    d->shared_max = shared_max(d->arch);
    if ((rc = retain(&d->context, d->handle))) return rc;
    return bind(d);
}

static void stop(struct rf_gpu_device *d) { ((int (*)(int))d->extra[RELEASE])(d->handle); }

static int allow_shared(struct rf_gpu_device *d, void *fn, unsigned bytes)
{
    return ((int (*)(void *, int, int))d->extra[FUNCTION_SET])(fn, MAX_DYNAMIC_SHARED, (int)bytes);
}

/* CUlaunchConfig and its attributes. */
struct launch_attribute { int id; char pad[4]; union { char bytes[64]; int value; unsigned size[3]; } v; };
struct launch_config { unsigned grid[3], block[3], shared; void *stream; struct launch_attribute *attribute; unsigned n_attribute; };

static int launch_early(struct rf_gpu_device *d, void *fn, const uint32_t grid[3], uint32_t cluster, uint32_t threads, uint32_t shared, void *stream, void **params)
{
    struct launch_attribute attribute[2] = {{.id = PROGRAMMATIC_SERIALIZATION, .v.value = 1}, {.id = CLUSTER_DIMENSION, .v.size = {cluster, 1, 1}}};
    struct launch_config c = {.grid = {grid[0], grid[1], grid[2]}, .block = {threads, 1, 1}, .shared = shared, .stream = stream, .attribute = attribute,
                              .n_attribute = cluster > 1 ? 2 : 1};
    if (!d->extra[LAUNCH_EX] || !d->has_early) return d->api.launch(fn, grid[0], grid[1], grid[2], threads, 1, 1, shared, stream, params, NULL);
    return ((int (*)(const struct launch_config *, void *, void **, void **))d->extra[LAUNCH_EX])(&c, fn, params, NULL);
}

static uint32_t clusters(struct rf_gpu_device *d, void *fn, uint32_t cluster, uint32_t threads, uint32_t shared)
{
    struct launch_attribute size = {.id = CLUSTER_DIMENSION, .v.size = {cluster, 1, 1}};
    struct launch_config c = {.grid = {cluster, 1, 1}, .block = {threads, 1, 1}, .shared = shared, .attribute = &size, .n_attribute = 1};
    int n = 0, (*ask)(int *, void *, const struct launch_config *) = (int (*)(int *, void *, const struct launch_config *))d->extra[CLUSTERS];
    return ask && d->extra[LAUNCH_EX] && !ask(&n, fn, &c) && n > 0 ? (uint32_t)n : 0;
}

static const char *text(struct rf_gpu_device *d, int rc)
{
    const char *s = NULL;
    int (*error_string)(int, const char **);
    void *p = rf_gpu_symbol(d, "cuGetErrorString");
    memcpy(&error_string, &p, sizeof p);
    if (error_string) error_string(rc, &s);
    return s;
}

const struct rf_gpu_vendor rf_gpu_cuda = {
    .name = "cuda",
    .libraries = libraries,
    .names = {"cuInit", "cuDriverGetVersion", "cuDeviceGetCount", "cuDeviceGet", "cuDeviceGetName", "cuMemGetInfo_v2", "cuMemAlloc_v2",
              "cuMemFree_v2", "cuMemHostAlloc", "cuMemFreeHost", "cuMemcpyHtoDAsync_v2", "cuMemcpyDtoHAsync_v2",
              "cuMemcpyDtoDAsync_v2", "cuMemsetD8Async", "cuModuleLoadData", "cuModuleUnload", "cuModuleGetFunction",
              "cuLaunchKernel", "cuStreamCreate", "cuStreamDestroy_v2", "cuStreamSynchronize", "cuStreamWaitEvent", "cuEventCreate",
              "cuEventDestroy_v2", "cuEventRecord", "cuEventSynchronize", "cuStreamBeginCapture_v2", "cuStreamEndCapture",
              "cuGraphInstantiateWithFlags", "cuGraphLaunch", "cuGraphExecDestroy", "cuGraphDestroy"},
    .absent = absent,
    .start = start,
    .stop = stop,
    .bind = bind,
    .allow_shared = allow_shared,
    .launch_early = launch_early,
    .clusters = clusters,
    .text = text,
    .stream_flags = 1,
    .event_flags = 2,
};
