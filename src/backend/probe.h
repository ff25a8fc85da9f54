/* probe.h - what this machine has, for `rocmforge doctor`: every device this build knows, usable or why not, and the speed of
 * memory. Opens devices and closes them again; no model is needed. Thread: any, one at a time.
 */
#ifndef RF_BACKEND_PROBE_H
#define RF_BACKEND_PROBE_H

#include "base/status.h"

struct rf_probe_gpu {
    char id[16];          /* "cuda:0" */
    bool found, usable;   /* found: there is a card, or something is wrong with its driver; else reason says what is missing */
    char name[128], arch[32], code[32]; /* code: the embedded object that it runs, "" if none */
    int driver;           /* the driver's own version number */
    uint64_t memory_total, memory_free;
    double upload_gbs, download_gbs; /* measured with pinned memory; 0 if not */
    char reason[512];     /* device, reason and remedy where it is not usable */
};

/* At most max rows, at least one per vendor of this build. */
size_t rf_probe_gpus(struct rf_probe_gpu *out, size_t max);

struct rf_probe_object { const char *vendor, *arch; size_t bytes; };
/* The GPU code that this build carries. */
size_t rf_probe_objects(struct rf_probe_object *out, size_t max);

struct rf_probe_cpu {
    char isa[96];                  /* "avx2 avx512 avx512bf16 amx" */
    unsigned usable_cores, n_threads;
    double read_gbs;               /* measured: n_threads read their own part of a buffer far larger than caches */
    uint64_t memory_total, memory_free;
};

/* n_threads 0: one per usable core. */
rf_status rf_probe_cpu(struct rf_probe_cpu *out, uint32_t n_threads, struct rf_error *err);

#endif
