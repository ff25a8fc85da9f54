/* hip.c - the HIP runtime's names, numbers and habits. One of the two files that know a vendor. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/gpu/driver.h"

enum { INVALID = 1, NO_DEVICE = 100, INVALID_DEVICE = 101, SHARED_MAX = 64 << 10 /* LDS of every card */ };

static const char *const libraries[] = {"libamdhip64.so.7", "libamdhip64.so.6", "libamdhip64.so.5", NULL};

/* The runtime reports a card that it may not open as no card: the device node tells them apart. */
static rf_status absent(int rc, struct rf_error *err)
{
    if (!access("/dev/kfd", F_OK) && access("/dev/kfd", R_OK | W_OK))
        return rf_fail(err, RF_DEVICE, "hip: /dev/kfd may not be opened (%s): add this user to the groups render and video and log in again, "
                                       "or use --device cpu or --allow-cpu", strerror(errno));
    bool no_card = rc == INVALID_DEVICE && access("/dev/kfd", F_OK); /* a runtime alone, on a machine with other cards */
    if (!rc || rc == NO_DEVICE || no_card) return rf_fail(err, RF_NOT_FOUND, "hip: the runtime is there, but it finds no device");
    return rf_fail(err, RF_DEVICE, "hip: the runtime does not start (error %d): check the amdgpu kernel driver with rocminfo, or use --device cpu or --allow-cpu", rc);
}

static int bind(struct rf_gpu_device *d) { return ((int (*)(int))d->extra[0])(d->index); }

#define KFD_NODES "/sys/class/kfd/kfd/topology/nodes"

/* The target of one node: 90010 is gfx90a, 110000 gfx1100; 0 for a CPU, -1 where there is no such node. */
static long node_target(const char *root, int node)
{
    char path[512], key[64];
    long long v, target = 0;
    snprintf(path, sizeof path, "%s/%d/properties", root, node);
    FILE *f = fopen(path, "re");
    if (!f) return -1;
    while (fscanf(f, "%63s %lld", key, &v) == 2)
        if (!strcmp(key, "gfx_target_version")) target = v;
    fclose(f);
    return target > 0 && target < 1000000 ? (long)target : 0;
}

void rf_gpu_hip_arch(const char *root, int index, char *out, size_t cap)
{
    static const char *const narrows[] = {"HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL"};
    long found = 0, first = 0, target;
    bool narrowed = false, differ = false;
    for (size_t i = 0; i < sizeof narrows / sizeof *narrows; i++) narrowed |= getenv(narrows[i]) != NULL;
    for (int node = 0, card = 0; (target = node_target(root, node)) >= 0; node++) {
        if (!target) continue;
        if (!first) first = target;
        differ |= target != first;
        if (card++ == index) found = target;
    }
    if (narrowed) found = differ ? 0 : first;
    out[0] = 0;
    if (found) snprintf(out, cap, "gfx%ld%lx%lx", found / 10000, found / 100 % 100, found % 100);
}

static int start(struct rf_gpu_device *d)
{
    void *p = rf_gpu_symbol(d, "hipSetDevice");
    if (!p) return NO_DEVICE;
    memcpy(&d->extra[0], &p, sizeof p);
    d->shared_max = SHARED_MAX;
    rf_gpu_hip_arch(KFD_NODES, d->index, d->arch, sizeof d->arch);
    d->context = d; /* there is none to hold: only a mark that the device was started */
    return bind(d);
}

static void stop(struct rf_gpu_device *d) { (void)d; }

static int allow_shared(struct rf_gpu_device *d, void *fn, unsigned bytes) /* 64 KiB need no asking, and no kernel takes more here */
{
    (void)d, (void)fn;
    return bytes <= SHARED_MAX ? 0 : INVALID;
}

static const char *text(struct rf_gpu_device *d, int rc)
{
    const char *(*error_string)(int);
    void *p = rf_gpu_symbol(d, "hipGetErrorString");
    memcpy(&error_string, &p, sizeof p);
    return error_string ? error_string(rc) : NULL;
}

const struct rf_gpu_vendor rf_gpu_hip = {
    .name = "hip",
    .libraries = libraries,
    .names = {"hipInit", "hipDriverGetVersion", "hipGetDeviceCount", "hipDeviceGet", "hipDeviceGetName", "hipMemGetInfo", "hipMalloc",
              "hipFree", "hipHostMalloc", "hipHostFree", "hipMemcpyHtoDAsync", "hipMemcpyDtoHAsync", "hipMemcpyDtoDAsync",
              "hipMemsetD8Async", "hipModuleLoadData", "hipModuleUnload", "hipModuleGetFunction", "hipModuleLaunchKernel",
              "hipStreamCreateWithFlags", "hipStreamDestroy", "hipStreamSynchronize", "hipStreamWaitEvent",
              "hipEventCreateWithFlags", "hipEventDestroy", "hipEventRecord", "hipEventSynchronize",
              "hipStreamBeginCapture", "hipStreamEndCapture", "hipGraphInstantiateWithFlags", "hipGraphLaunch", "hipGraphExecDestroy",
              "hipGraphDestroy"},
    .absent = absent,
    .start = start,
    .stop = stop,
    .bind = bind,
    .allow_shared = allow_shared,
    .text = text,
    .operands_shared = true,
    .stream_flags = 1,
    .event_flags = 2,
};
