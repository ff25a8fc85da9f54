#include "backend/probe.h"

#include <stdio.h>
#include <string.h>

#include "backend/cpu/isa.h"
#include "backend/cpu/pool.h"
#include "backend/gpu/gpu.h"
#include "base/clock.h"
#include "base/mem.h"

/* ---- GPUs ---- */

enum { COPY_BYTES = 64 << 20, COPIES = 8 };

static double copy_speed(struct rf_gpu *g, uint64_t dev, void *host, bool up)
{
    double best = 0;
    for (int round = 0; round < 3; round++) { /* the first warms up */
        double t0 = rf_now();
        int rc = 0;
        for (int i = 0; !rc && i < COPIES; i++)
            rc = up ? g->dev.api.upload(dev, host, COPY_BYTES, g->stream) : g->dev.api.download(host, dev, COPY_BYTES, g->stream);
        if (!rc) rc = g->dev.api.stream_sync(g->stream);
        double s = rf_now() - t0;
        if (rc || s <= 0) return 0;
        best = RF_MAX(best, (double)COPY_BYTES * COPIES / s * 1e-9);
    }
    return best;
}

static void measure_copies(struct rf_gpu *g, struct rf_probe_gpu *out)
{
    uint64_t dev = 0;
    void *host = NULL;
    if (!g->dev.api.host_alloc(&host, COPY_BYTES, 0) && !g->dev.api.alloc(&dev, COPY_BYTES)) {
        memset(host, 0, COPY_BYTES);
        out->upload_gbs = copy_speed(g, dev, host, true);
        out->download_gbs = copy_speed(g, dev, host, false);
    }
    if (dev) g->dev.api.free(dev);
    if (host) g->dev.api.host_free(host);
}

static void device_facts(struct rf_probe_gpu *out, const struct rf_gpu_device *d)
{
    size_t free_ = 0, total = 0;
    snprintf(out->name, sizeof out->name, "%s", d->name);
    snprintf(out->arch, sizeof out->arch, "%s", d->arch);
    out->driver = d->version;
    if (!d->api.mem_info(&free_, &total)) out->memory_free = free_, out->memory_total = total;
}

/* One row; false where there is no device of this number and an earlier one has said what there is. */
static bool probe_one(const struct rf_gpu_vendor *v, int index, struct rf_probe_gpu *out)
{
    struct rf_backend *b = NULL;
    struct rf_gpu_device d;
    struct rf_error err = {0};
    *out = (struct rf_probe_gpu){0};
    snprintf(out->id, sizeof out->id, "%s:%d", v->name, index);
    rf_status s = rf_gpu_device_open(&d, v, index, &err);
    if (s == RF_INVALID || (s == RF_NOT_FOUND && index)) return false;
    out->found = s != RF_NOT_FOUND;
    if (!s) {
        device_facts(out, &d);
        rf_gpu_device_close(&d);
        s = rf_backend_open(&b, &(struct rf_backend_options){.device = out->id, .n_threads = 1}, &err);
    }
    snprintf(out->reason, sizeof out->reason, "%s", s ? err.message : "");
    out->usable = !s;
    if (s) return true;
    struct rf_gpu *g = rf_gpu_of(b);
    snprintf(out->code, sizeof out->code, "%s", g->object->arch);
    measure_copies(g, out);
    rf_backend_close(b);
    return true;
}

size_t rf_probe_gpus(struct rf_probe_gpu *out, size_t max)
{
    static const struct rf_gpu_vendor *const vendors[] = {&rf_gpu_cuda, &rf_gpu_hip};
    size_t n = 0;
    for (size_t i = 0; i < RF_COUNT(vendors); i++)
        for (int k = 0; n < max && probe_one(vendors[i], k, &out[n]); k++) {
            bool more = out[n].found && out[n].driver; /* a driver that does not start has no second card to show */
            n++;
            if (!more) break;
        }
    return n;
}

size_t rf_probe_objects(struct rf_probe_object *out, size_t max)
{
    size_t n = 0;
    for (const struct rf_gpu_object *o = rf_gpu_objects; o->vendor; o++) {
        if (!strcmp(o->arch, "emulator")) continue;
        bool part = n && !strcmp(out[n - 1].vendor, o->vendor) && !strcmp(out[n - 1].arch, o->arch);
        if (!part && n == max) break;
        if (!part) out[n++] = (struct rf_probe_object){.vendor = o->vendor, .arch = o->arch};
        out[n - 1].bytes += o->bytes;
    }
    return n;
}

/* ---- CPU ---- */

enum { READ_BYTES = 512 << 20, ROUNDS = 4 };

struct reading { const uint64_t *data; size_t n; uint64_t *sum; /* [threads][8] */ };

static void read_part(void *ctx, unsigned tid, unsigned n_threads)
{
    struct reading *r = ctx;
    size_t from = r->n / n_threads * tid / 8 * 8, to = tid + 1 == n_threads ? r->n : r->n / n_threads * (tid + 1) / 8 * 8;
    uint64_t s[8] = {0};
    for (size_t i = from; i + 8 <= to; i += 8)
        for (size_t k = 0; k < 8; k++) s[k] += r->data[i + k];
    for (size_t k = 0; k < 8; k++) r->sum[tid * 8 + k] = s[k];
}

static void touch_part(void *ctx, unsigned tid, unsigned n_threads)
{
    struct reading *r = ctx;
    size_t from = r->n / n_threads * tid, to = tid + 1 == n_threads ? r->n : r->n / n_threads * (tid + 1);
    memset((void *)(uintptr_t)(r->data + from), 1, (to - from) * sizeof *r->data);
}

static void measure_reads(struct rf_pool *p, struct rf_probe_cpu *out)
{
    size_t bytes = (size_t)RF_MIN((uint64_t)READ_BYTES, out->memory_free / 4) & ~(size_t)4095;
    uint64_t *data = bytes ? rf_alloc_aligned(4096, bytes) : NULL, *sum = rf_alloc_array((size_t)rf_pool_size(p) * 8, sizeof *sum);
    struct reading r = {data, bytes / sizeof *data, sum};
    if (data && sum) rf_pool_run(p, touch_part, &r);
    for (int i = 0; data && sum && i < ROUNDS; i++) {
        double t0 = rf_now();
        rf_pool_run(p, read_part, &r);
        out->read_gbs = RF_MAX(out->read_gbs, (double)bytes / (rf_now() - t0) * 1e-9);
    }
    rf_free(data);
    rf_free(sum);
}

rf_status rf_probe_cpu(struct rf_probe_cpu *out, uint32_t n_threads, struct rf_error *err)
{
    struct rf_backend *b;
    struct rf_pool *p;
    unsigned isa;
    *out = (struct rf_probe_cpu){.usable_cores = rf_pool_usable_cores()};
    RF_TRY(rf_isa_detect("auto", &isa, err));
    rf_isa_text(isa, out->isa, sizeof out->isa);
    RF_TRY(rf_backend_open(&b, &(struct rf_backend_options){.device = "cpu", .n_threads = 1}, err));
    out->memory_total = b->info.memory_total;
    out->memory_free = b->info.memory_free;
    rf_backend_close(b);
    RF_TRY(rf_pool_create(&p, n_threads ? n_threads : out->usable_cores, err));
    out->n_threads = rf_pool_size(p);
    measure_reads(p, out);
    rf_pool_free(p);
    return RF_OK;
}
