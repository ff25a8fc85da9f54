/* gpu.c - opening a GPU, launches, streams and events. */
#include "backend/gpu/gpu.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "base/mem.h"

enum { MIN_ALLOC = 256, PROBE_THREADS = 64 };

/* ---- faults, launches ---- */

rf_status rf_gpu_slot(struct rf_gpu *g, int rc, const char *what)
{
    if (!rc || g->fault) return g->fault;
    struct rf_error err = {0};
    g->fault = RF_DEVICE;
    rf_gpu_check(&g->dev, rc, what, &err);
    snprintf(g->base.info.detail, sizeof g->base.info.detail, "failed: %s", err.message);
    return g->fault;
}

static const char *const kernel_names[] = {
#define X(name, args) #name,
    RF_GPU_KERNELS(X)
    RF_GPU_OTHER_KERNELS(X)
#undef X
};

static int allow_shared(struct rf_gpu *g, enum rf_gpu_kernel k, uint32_t shared)
{
    int rc = g->dev.vendor->bind(&g->dev);
    if (rc || shared <= g->shared[k]) return rc;
    rc = g->dev.vendor->allow_shared(&g->dev, g->fn[k], shared);
    if (!rc) g->shared[k] = shared;
    return rc;
}

rf_status rf_gpu_allow_shared(struct rf_gpu *g, enum rf_gpu_kernel k, uint32_t shared)
{
    if (g->fault) return g->fault;
    int rc = allow_shared(g, k, shared);
    return rc ? rf_gpu_slot(g, rc, kernel_names[k]) : RF_OK;
}

/* cluster: blocks of one in a launch that may start early; 0: an ordinary launch. */
static rf_status launch(struct rf_gpu *g, struct rf_stream *s, enum rf_gpu_kernel k, uint64_t gx, uint32_t gy, uint32_t gz, uint32_t threads,
                        uint32_t shared, const void *args, uint32_t cluster)
{
    if (g->fault) return g->fault;
    if (!gx || !gy || !gz) return RF_OK;
    if (gx > INT32_MAX || gy > 65535 || gz > 65535) return RF_INTERNAL;
    void *params[] = {(void *)(uintptr_t)args};
    int rc = allow_shared(g, k, shared);
    if (!rc && cluster && g->dev.vendor->launch_early)
        rc = g->dev.vendor->launch_early(&g->dev, g->fn[k], (uint32_t[]){(uint32_t)gx, gy, gz}, cluster, threads, shared, rf_gpu_stream(g, s), params);
    else if (!rc) rc = g->dev.api.launch(g->fn[k], (unsigned)gx, gy, gz, threads, 1, 1, shared, rf_gpu_stream(g, s), params, NULL);
    return rc ? rf_gpu_slot(g, rc, kernel_names[k]) : RF_OK;
}

rf_status rf_gpu_launch_shared(struct rf_gpu *g, struct rf_stream *s, enum rf_gpu_kernel k, uint64_t gx, uint32_t gy, uint32_t gz, uint32_t threads,
                               uint32_t shared, const void *args)
{
    return launch(g, s, k, gx, gy, gz, threads, shared, args, 0);
}

rf_status rf_gpu_launch_early(struct rf_gpu *g, struct rf_stream *s, enum rf_gpu_kernel k, uint64_t gx, uint32_t gy, uint32_t gz, uint32_t threads,
                              uint32_t shared, const void *args)
{
    return launch(g, s, k, gx, gy, gz, threads, shared, args, 1);
}

rf_status rf_gpu_launch_cluster(struct rf_gpu *g, struct rf_stream *s, enum rf_gpu_kernel k, uint64_t gx, uint32_t cluster, uint32_t threads, uint32_t shared,
                                const void *args)
{
    return launch(g, s, k, gx, 1, 1, threads, shared, args, cluster);
}

rf_status rf_gpu_launch(struct rf_gpu *g, struct rf_stream *s, enum rf_gpu_kernel k, uint64_t gx, uint32_t gy, uint32_t gz, uint32_t threads,
                        const void *args)
{
    return rf_gpu_launch_shared(g, s, k, gx, gy, gz, threads, 0, args);
}

/* ---- memory ---- */

rf_status rf_gpu_buffer_need(struct rf_gpu *g, struct rf_gpu_buffer *b, size_t bytes)
{
    if (b->sent && b->bytes) {
        rf_status s = rf_gpu_slot(g, g->dev.api.event_sync(b->sent), "waiting for an upload");
        if (s) return s;
    }
    if (bytes <= b->bytes) return RF_OK;
    size_t want = bytes < SIZE_MAX / 2 ? bytes + bytes / 4 + 4096 : bytes; /* so that slow growth costs few allocations */
    void *sent = b->sent;
    b->sent = NULL;
    rf_gpu_buffer_release(g, b);
    b->sent = sent;
    int rc = b->sent ? 0 : g->dev.api.event_create(&b->sent, g->dev.vendor->event_flags);
    if (!rc) rc = g->dev.api.host_alloc(&b->host, want, 0);
    if (rc) return rf_gpu_slot(g, rc, "pinned memory");
    RF_TRY(rf_gpu_alloc(g, want, "the step's plan", &b->dev, NULL));
    b->bytes = want;
    return RF_OK;
}

rf_status rf_gpu_buffer_send(struct rf_gpu *g, struct rf_gpu_buffer *b, size_t bytes, struct rf_stream *s)
{
    int rc = g->dev.api.upload(b->dev, b->host, bytes, rf_gpu_stream(g, s));
    if (!rc) rc = g->dev.api.event_record(b->sent, rf_gpu_stream(g, s));
    return rc ? rf_gpu_slot(g, rc, "upload of the step's plan") : g->fault;
}

void rf_gpu_buffer_release(struct rf_gpu *g, struct rf_gpu_buffer *b)
{
    if (b->host) g->dev.api.host_free(b->host);
    if (b->dev) rf_gpu_free(g, b->dev, b->bytes);
    if (b->sent) g->dev.api.event_destroy(b->sent);
    *b = (struct rf_gpu_buffer){0};
}

static rf_status mem_alloc(struct rf_backend *b, uint64_t bytes, rf_dev *out, struct rf_error *err)
{
    struct rf_gpu *g = rf_gpu_of(b);
    RF_TRY(rf_gpu_piece_take(g, bytes, false, "an allocation", out, err));
    rf_status s = bytes ? rf_gpu_check(&g->dev, g->dev.api.fill(*out, 0, bytes, g->stream), "clearing memory", err) : RF_OK;
    if (s) {
        rf_gpu_piece_give(g, *out);
        *out = 0;
    }
    return s;
}

static void mem_free(struct rf_backend *b, rf_dev p) { rf_gpu_piece_give(rf_gpu_of(b), p); }

static rf_status mem_host_alloc(struct rf_backend *b, uint64_t bytes, void **out, struct rf_error *err)
{
    struct rf_gpu *g = rf_gpu_of(b);
    *out = NULL;
    RF_TRY(rf_gpu_check(&g->dev, g->dev.vendor->bind(&g->dev), "choosing the device", err));
    return rf_gpu_check(&g->dev, g->dev.api.host_alloc(out, RF_MAX(bytes, (uint64_t)MIN_ALLOC), 0), "pinned memory", err);
}

static void mem_host_free(struct rf_backend *b, void *p)
{
    if (p) rf_gpu_of(b)->dev.api.host_free(p);
}

static rf_status mem_upload(struct rf_backend *b, struct rf_stream *s, rf_dev to, const void *from, uint64_t bytes)
{
    struct rf_gpu *g = rf_gpu_of(b);
    if (!bytes || g->fault) return g->fault;
    rf_gpu_angles_drop(g, to, bytes);
    g->act.of = 0;
    int rc = g->dev.vendor->bind(&g->dev);
    if (!rc) rc = g->dev.api.upload(to, from, bytes, rf_gpu_stream(g, s));
    return rf_gpu_slot(g, rc, "upload");
}

static rf_status mem_download(struct rf_backend *b, struct rf_stream *s, void *to, rf_dev from, uint64_t bytes)
{
    struct rf_gpu *g = rf_gpu_of(b);
    if (!bytes || g->fault) return g->fault;
    int rc = g->dev.vendor->bind(&g->dev);
    if (!rc) rc = g->dev.api.download(to, from, bytes, rf_gpu_stream(g, s));
    return rf_gpu_slot(g, rc, "download");
}

/* ---- streams and events: a door's struct is the vendor's own handle ---- */

static rf_status stream_create(struct rf_backend *b, struct rf_stream **out, struct rf_error *err)
{
    struct rf_gpu *g = rf_gpu_of(b);
    void *s = NULL;
    *out = NULL;
    RF_TRY(rf_gpu_check(&g->dev, g->dev.vendor->bind(&g->dev), "choosing the device", err));
    RF_TRY(rf_gpu_check(&g->dev, g->dev.api.stream_create(&s, g->dev.vendor->stream_flags), "creating a stream", err));
    *out = s;
    return RF_OK;
}

static void stream_free(struct rf_backend *b, struct rf_stream *s)
{
    if (s) rf_gpu_of(b)->dev.api.stream_destroy(s);
}

static rf_status stream_sync(struct rf_backend *b, struct rf_stream *s)
{
    struct rf_gpu *g = rf_gpu_of(b);
    int rc = g->dev.vendor->bind(&g->dev);
    return rf_gpu_slot(g, rc ? rc : g->dev.api.stream_sync(rf_gpu_stream(g, s)), "waiting for the stream");
}

static rf_status event_create(struct rf_backend *b, struct rf_dev_event **out, struct rf_error *err)
{
    struct rf_gpu *g = rf_gpu_of(b);
    void *e = NULL;
    *out = NULL;
    RF_TRY(rf_gpu_check(&g->dev, g->dev.vendor->bind(&g->dev), "choosing the device", err));
    RF_TRY(rf_gpu_check(&g->dev, g->dev.api.event_create(&e, g->dev.vendor->event_flags), "creating an event", err));
    *out = e;
    return RF_OK;
}

static void event_free(struct rf_backend *b, struct rf_dev_event *e)
{
    if (e) rf_gpu_of(b)->dev.api.event_destroy(e);
}

static rf_status event_record(struct rf_backend *b, struct rf_dev_event *e, struct rf_stream *s)
{
    struct rf_gpu *g = rf_gpu_of(b);
    return rf_gpu_slot(g, g->dev.api.event_record(e, rf_gpu_stream(g, s)), "recording an event");
}

static rf_status event_wait(struct rf_backend *b, struct rf_stream *s, struct rf_dev_event *e)
{
    struct rf_gpu *g = rf_gpu_of(b);
    return rf_gpu_slot(g, g->dev.api.stream_wait(rf_gpu_stream(g, s), e, 0), "waiting for an event");
}

static rf_status event_sync(struct rf_backend *b, struct rf_dev_event *e)
{
    struct rf_gpu *g = rf_gpu_of(b);
    return rf_gpu_slot(g, g->dev.api.event_sync(e), "waiting for an event");
}

static const struct rf_backend_mem gpu_mem = {
    .alloc = mem_alloc,
    .free = mem_free,
    .host_alloc = mem_host_alloc,
    .host_free = mem_host_free,
    .upload = mem_upload,
    .download = mem_download,
    .stream_create = stream_create,
    .stream_free = stream_free,
    .stream_sync = stream_sync,
    .event_create = event_create,
    .event_free = event_free,
    .event_record = event_record,
    .event_wait = event_wait,
    .event_sync = event_sync,
    .reserve = rf_gpu_reserve,
    .weight_size = rf_gpu_weight_size,
    .scratch_bytes = rf_gpu_scratch_bytes,
    .weight_create = rf_gpu_weight_create,
    .weight_free = rf_gpu_weight_free,
    .weight_bytes = rf_gpu_weight_bytes,
    .kv_block_bytes = rf_gpu_kv_block_bytes,
    .kv_create = rf_gpu_kv_create,
    .kv_free = rf_gpu_kv_free,
};

/* ---- open and close ---- */

static void modules_unload(struct rf_gpu *g)
{
    while (g->n_module) g->dev.api.module_unload(g->module[--g->n_module]);
}

static void gpu_close(struct rf_backend *b)
{
    struct rf_gpu *g = rf_gpu_of(b);
    if (g->dev.context) {
        g->dev.vendor->bind(&g->dev);
        if (g->stream) g->dev.api.stream_sync(g->stream);
        rf_gpu_record_drop(b, NULL);
        for (int i = 0; i < RF_GPU_ANGLES; i++) rf_gpu_free(g, g->angles[i].table, rf_gpu_angles_bytes(&g->angles[i]));
        rf_gpu_scratch_release(g, &g->work);
        rf_gpu_scratch_release(g, &g->counts);
        rf_gpu_buffer_release(g, &g->plan);
        rf_gpu_buffer_release(g, &g->tiles);
        rf_gpu_buffer_release(g, &g->flash.tiles);
        for (int i = 0; i < 2; i++) rf_gpu_buffer_release(g, &g->staging[i]);
        rf_gpu_free(g, g->act.dev, g->act.bytes);
        rf_gpu_memory_release(g);
        if (g->stream) g->dev.api.stream_destroy(g->stream);
        modules_unload(g);
        rf_gpu_device_close(&g->dev);
    }
    rf_free(g);
}

/* Unpacks an object, a zero byte behind it (PTX is text); whoever calls frees *code. */
static rf_status unpack(const struct rf_gpu_object *o, unsigned char **code, struct rf_error *err)
{
    const struct rf_gpu_object *from = o->base >= 0 ? &rf_gpu_objects[o->base] : NULL;
    unsigned char *base = NULL, *out = *code = NULL;
    if (from) RF_TRY(unpack(from, &base, err));
    ZSTD_DCtx *ctx = ZSTD_createDCtx();
    rf_status s = ctx && (out = rf_alloc(o->bytes + 1)) ? RF_OK : rf_fail_nomem(err, "GPU code", o->bytes + 1);
    if (!s && from && ZSTD_isError(ZSTD_DCtx_refPrefix(ctx, base, from->bytes))) s = rf_fail_nomem(err, "GPU code", from->bytes);
    if (!s && ZSTD_decompressDCtx(ctx, out, o->bytes, o->packed, o->packed_bytes) != o->bytes)
        s = rf_fail(err, RF_INTERNAL, "GPU code for %s: this program's copy of it is damaged: install it again", o->arch);
    ZSTD_freeDCtx(ctx);
    rf_free(base);
    if (s) {
        rf_free(out);
        return s;
    }
    out[o->bytes] = 0;
    *code = out;
    return RF_OK;
}

/* Unpacks one part and gives it to the driver: *rc is what that says. */
static rf_status load_part(struct rf_gpu *g, const struct rf_gpu_object *o, int *rc, struct rf_error *err)
{
    unsigned char *code;
    RF_TRY(unpack(o, &code, err));
    *rc = g->dev.api.module_load(&g->module[g->n_module], code);
    if (!*rc) g->n_module++;
    rf_free(code);
    return RF_OK;
}

static rf_status find_kernels(struct rf_gpu *g, struct rf_error *err)
{
    for (int i = 0; i < RF_GPU_N_KERNEL; i++) {
        int rc = 1;
        for (uint32_t m = 0; rc && m < g->n_module; m++) rc = g->dev.api.module_function(&g->fn[i], g->module[m], kernel_names[i]);
        if (rc && i >= RF_GPU_N_COMMON) g->fn[i] = NULL;
        else RF_TRY(rf_gpu_check(&g->dev, rc, kernel_names[i], err));
    }
    return RF_OK;
}

/* How far code is from a device: 0 made for it (sm_90a runs on sm_90), then NVIDIA's older ones, the nearest first, what has no number (PTX), newer ones. */
static unsigned long code_distance(const char *code, const char *device)
{
    enum { OTHER = 10000, NEWER };
    size_t n = strlen(device);
    if (n && !strncmp(code, device, n) && (!code[n] || !code[n + 1]) && (code[n] < '0' || code[n] > '9')) return 0;
    if (strncmp(code, "sm_", 3) || strncmp(device, "sm_", 3)) return OTHER;
    unsigned long of = strtoul(code + 3, NULL, 10), has = strtoul(device + 3, NULL, 10);
    return of <= has ? RF_MIN(1 + has - of, (unsigned long)OTHER - 1) : NEWER;
}

const struct rf_gpu_object *rf_gpu_object_next(const struct rf_gpu_object *all, const char *vendor, const char *arch, const struct rf_gpu_object *last)
{
    const struct rf_gpu_object *best = NULL;
    unsigned long after = last ? code_distance(last->arch, arch) : 0, nearest = ULONG_MAX;
    for (const struct rf_gpu_object *o = all; o->vendor; o++) {
        bool part = o > all && !strcmp(o->vendor, o[-1].vendor) && !strcmp(o->arch, o[-1].arch);
        if (part || strcmp(o->vendor, vendor)) continue;
        unsigned long d = code_distance(o->arch, arch);
        if (d >= nearest || (last && (d < after || (d == after && o <= last)))) continue;
        nearest = d;
        best = o;
    }
    return best;
}

/* The parts of the first embedded architecture that the driver takes, nearest first: drivers refuse objects of others. */
static rf_status load_modules(struct rf_gpu *g, struct rf_error *err)
{
    char tried[160] = "";
    int rc = 0;
    const struct rf_gpu_object *o = NULL;
    while (!g->n_module && (o = rf_gpu_object_next(rf_gpu_objects, g->dev.vendor->name, g->dev.arch, o))) {
        size_t n = strlen(tried);
        snprintf(tried + n, sizeof tried - n, "%s%s", n ? ", " : "", o->arch);
        rc = 0;
        for (const struct rf_gpu_object *p = o; !rc && g->n_module < RF_GPU_PARTS && p->vendor && !strcmp(p->vendor, o->vendor) && !strcmp(p->arch, o->arch); p++)
            RF_TRY(load_part(g, p, &rc, err));
        if (rc) modules_unload(g);
        else g->object = o;
    }
    if (g->n_module) return find_kernels(g, err);
    const char *text = rc ? g->dev.vendor->text(&g->dev, rc) : NULL;
    return rf_fail(err, RF_DEVICE, "%s: %s: no code object for %s among those of this build (%s; the driver says: %s, error %d): build with "
                                   "-Dgpu_targets=all, update the driver, or use --device cpu or --allow-cpu", g->dev.id, g->dev.name,
                   g->dev.arch[0] ? g->dev.arch : "its architecture", tried, text ? text : "nothing", rc);
}

/* The first launch: proves that code runs here, and asks it how wide a warp is. */
static rf_status probe(struct rf_gpu *g, struct rf_error *err)
{
    rf_dev p;
    RF_TRY(rf_gpu_alloc(g, MIN_ALLOC, "the first kernel", &p, err));
    rf_status s = rf_gpu_launch(g, NULL, RF_GPU_K_probe, 1, 1, 1, PROBE_THREADS, &(struct probe_args){.out = p});
    uint32_t told[3] = {0};
    int rc = s ? 0 : g->dev.api.download(told, p, sizeof told, g->stream);
    if (!s && !rc) rc = g->dev.api.stream_sync(g->stream);
    g->warp = told[0];
    g->has_mma = told[1];
    g->decodes_matrix = told[2];
    if (s) s = rf_fail(err, s, "%s: the first kernel %s", g->dev.id, g->base.info.detail);
    else s = rf_gpu_check(&g->dev, rc, "running the first kernel", err);
    if (!s && g->warp != 32 && g->warp != 64)
        s = rf_fail(err, RF_DEVICE, "%s: the first kernel reports a warp of %u threads, expected 32 or 64", g->dev.id, g->warp);
    rf_gpu_free(g, p, MIN_ALLOC);
    return s;
}

rf_status rf_gpu_open(struct rf_backend **out, const struct rf_gpu_vendor *v, const struct rf_backend_options *opt, int index, struct rf_error *err)
{
    *out = NULL;
    struct rf_gpu *g = rf_alloc_array(1, sizeof *g);
    if (!g) return rf_fail_nomem(err, "gpu backend", sizeof *g);
    g->memory_fraction = opt->memory_fraction > 0 ? opt->memory_fraction : RF_MEMORY_FRACTION;
    g->base = (struct rf_backend){.mem = &gpu_mem, .ops = &rf_gpu_ops, .close = gpu_close};
    rf_status s = rf_gpu_attention_named(opt->attention, &g->attention, err);
    if (!s) s = rf_gpu_device_open(&g->dev, v, index, err);
    if (!s) s = rf_gpu_check(&g->dev, g->dev.api.stream_create(&g->stream, v->stream_flags), "creating a stream", err);
    if (!s) s = load_modules(g, err);
    if (!s) s = probe(g, err);
    if (s) {
        gpu_close(&g->base);
        return s;
    }
    struct rf_backend_info *i = &g->base.info;
    i->name = g->dev.id;
    i->n_threads = 1;
    i->records = i->fine_inputs = true;
    i->fuses = g->has_mma;
    i->fuses_rows = rf_gpu_has_stream(g);
    i->choose_vocab = RF_GPU_SAMPLE_STRIP * RF_GPU_SAMPLE_STRIPS;
    rf_gpu_memory_count(g);
    snprintf(i->detail, sizeof i->detail, "%s%s%s, code %s, driver %d, %.1f of %.1f GiB may be used", g->dev.name, g->dev.arch[0] ? ", " : "", g->dev.arch,
             g->object->arch, g->dev.version, (double)i->memory_free / (1 << 30), (double)i->memory_total / (1 << 30));
    *out = &g->base;
    return RF_OK;
}
