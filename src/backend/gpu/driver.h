/* driver.h - one table of function pointers over a vendor's driver library, filled by dlopen: no toolkit, no vendor header.
 *
 * cuda.c and hip.c hold the vendors' names and everything in which they differ; nothing else in the engine knows a vendor.
 * All calls return 0 or the vendor's error number; rf_gpu_check makes an error of it that says device, call, number and text.
 */
#ifndef RF_BACKEND_GPU_DRIVER_H
#define RF_BACKEND_GPU_DRIVER_H

#include <stddef.h>

#include "base/status.h"

struct rf_gpu_api {
    int (*init)(unsigned flags);
    int (*version)(int *v);
    int (*count)(int *n);
    int (*device_get)(int *device, int index);
    int (*device_name)(char *name, int cap, int device);
    int (*mem_info)(size_t *free, size_t *total);
    int (*alloc)(uint64_t *p, size_t n);
    int (*free)(uint64_t p);
    int (*host_alloc)(void **p, size_t n, unsigned flags);
    int (*host_free)(void *p);
    int (*upload)(uint64_t to, const void *from, size_t n, void *stream);
    int (*download)(void *to, uint64_t from, size_t n, void *stream);
    int (*copy)(uint64_t to, uint64_t from, size_t n, void *stream);
    int (*fill)(uint64_t to, unsigned char v, size_t n, void *stream);
    int (*module_load)(void **m, const void *image);
    int (*module_unload)(void *m);
    int (*module_function)(void **f, void *m, const char *name);
    int (*launch)(void *f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared,
                  void *stream, void **params, void **extra);
    int (*stream_create)(void **s, unsigned flags);
    int (*stream_destroy)(void *s);
    int (*stream_sync)(void *s);
    int (*stream_wait)(void *s, void *event, unsigned flags);
    int (*event_create)(void **e, unsigned flags);
    int (*event_destroy)(void *e);
    int (*event_record)(void *e, void *stream);
    int (*event_sync)(void *e);
    int (*capture_begin)(void *stream, int mode);
    int (*capture_end)(void *stream, void **graph);
    int (*graph_instantiate)(void **exec, void *graph, unsigned long long flags);
    int (*graph_launch)(void *exec, void *stream);
    int (*graph_exec_destroy)(void *exec);
    int (*graph_destroy)(void *graph);
    /* those that only one vendor has are fetched by its file through rf_gpu_symbol */
};
enum { RF_GPU_API_COUNT = sizeof(struct rf_gpu_api) / sizeof(void (*)(void)) };

struct rf_gpu_device;

struct rf_gpu_vendor {
    const char *name;               /* "cuda": also the prefix of device names */
    const char *const *libraries;   /* names for dlopen, best first, NULL ends */
    const char *names[RF_GPU_API_COUNT]; /* in the order of struct rf_gpu_api */
    /* What a failed init or an empty device list means: RF_NOT_FOUND where there is no card, else an error with a remedy. */
    rf_status (*absent)(int rc, struct rf_error *err);
    /* Makes the device usable and fills d->arch. Returns a driver error number, 0 is good. */
    int (*start)(struct rf_gpu_device *d);
    void (*stop)(struct rf_gpu_device *d);
    int (*bind)(struct rf_gpu_device *d); /* the calling thread works with this device from now on */
    int (*allow_shared)(struct rf_gpu_device *d, void *fn, unsigned bytes); /* launches of fn may ask for so much shared memory */
    /* A launch that may start before the one in front of it ends (kernels/dialect.h: g_pdl_wait), in clusters of so many blocks (more than 1
     * only where `clusters` says that they run); NULL: there is no such thing. */
    int (*launch_early)(struct rf_gpu_device *d, void *fn, const uint32_t grid[3], uint32_t cluster, uint32_t threads, uint32_t shared, void *stream, void **params);
    /* How many clusters of so many blocks of fn run at once; 0 where the driver does not say. NULL where launch_early is. */
    uint32_t (*clusters)(struct rf_gpu_device *d, void *fn, uint32_t cluster, uint32_t threads, uint32_t shared);
    const char *(*text)(struct rf_gpu_device *d, int rc);
    bool operands_shared; /* operands of the matrix unit change places by way of shared memory */
    unsigned stream_flags, event_flags; /* non-blocking; no timing */
};
extern const struct rf_gpu_vendor rf_gpu_cuda, rf_gpu_hip;

/* hip.c: "gfx90a" of the index-th card that the kernel driver lists below `root` (its nodes' gfx_target_version); "" where that cannot be
 * told: visible devices were narrowed and the cards differ. */
void rf_gpu_hip_arch(const char *root, int index, char *out, size_t cap);

struct rf_gpu_device {
    const struct rf_gpu_vendor *vendor;
    struct rf_gpu_api api;
    void *library;
    int index, handle, version;
    void *context;                       /* the vendor's */
    bool has_early;                      /* launches may start early */
    uint32_t processors;                 /* multiprocessors; 0: the driver does not say */
    uint32_t shared_max;                 /* bytes of shared memory that a block may have */
    void (*extra[6])(void);              /* the vendor's own calls, cast where they are used */
    char id[16], name[128], arch[32];    /* "cuda:0", "NVIDIA H100", "sm_90" ("" where the driver does not say) */
};

/* Loads the library, starts device `index`. RF_NOT_FOUND: no library or no card (auto goes on to the next device);
 * RF_INVALID: no such index; anything else: a card that is there and cannot be used, with reason and remedy. */
rf_status rf_gpu_device_open(struct rf_gpu_device *d, const struct rf_gpu_vendor *v, int index, struct rf_error *err);
void rf_gpu_device_close(struct rf_gpu_device *d);

/* An extra function of the library; NULL if it has none. */
void *rf_gpu_symbol(struct rf_gpu_device *d, const char *name);

/* RF_OK for rc 0, else RF_DEVICE (RF_NOMEM for 2, both vendors' "out of memory") with "cuda:0: what: text (error rc)". */
rf_status rf_gpu_check(struct rf_gpu_device *d, int rc, const char *what, struct rf_error *err);

/* Code objects embedded in this build, the parts of an architecture one behind the other; .vendor NULL ends. */
struct rf_gpu_object {
    const char *vendor, *arch; /* "cuda", "sm_90a" */
    const unsigned char *packed; /* zstd */
    size_t bytes, packed_bytes;
    int base; /* index of the object whose bytes are packed's prefix (zstd --patch-from), itself without one; -1: none */
};
extern const struct rf_gpu_object rf_gpu_objects[];

/* The first part of the architecture of `all` to be tried after `last` (NULL: the first of all) on a device that the driver calls `arch` ("": it
 * does not say): code for exactly that, NVIDIA's for older chips, newest first, then PTX, then what will hardly be taken; among equals the order
 * of `all`. NULL: that was the last. */
const struct rf_gpu_object *rf_gpu_object_next(const struct rf_gpu_object *all, const char *vendor, const char *arch, const struct rf_gpu_object *last);

#endif
