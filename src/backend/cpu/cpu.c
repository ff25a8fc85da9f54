/* cpu.c - the CPU as a device: its memory is the process's own, its streams and events are always done. */
#include "backend/cpu/cpu.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"

/* ---- memory ---- */

/* calloc gives large pieces as untouched zero pages; the pointer it gave stands in front of the aligned one. */
void *rf_cpu_zeroed(uint64_t bytes)
{
    uint64_t all;
    if (!rf_add64(bytes, 64 + sizeof(void *), &all) || all > SIZE_MAX) return NULL;
    char *raw = rf_alloc_array((size_t)all, 1);
    if (!raw) return NULL;
    void **p = (void **)(((uintptr_t)raw + sizeof(void *) + 63) & ~(uintptr_t)63);
    p[-1] = raw;
    return p;
}

void rf_cpu_zeroed_free(void *p)
{
    if (p) rf_free(((void **)p)[-1]);
}

rf_status rf_cpu_scratch_need(struct rf_cpu_scratch *s, size_t bytes)
{
    if (bytes <= s->bytes) return RF_OK;
    size_t want = bytes < SIZE_MAX / 2 ? bytes + bytes / 4 : bytes; /* so that slow growth costs few allocations */
    void *p = rf_alloc_aligned(64, want);
    if (!p) return RF_NOMEM;
    rf_free(s->data);
    *s = (struct rf_cpu_scratch){.data = p, .bytes = want};
    return RF_OK;
}

void rf_cpu_scratch_release(struct rf_cpu_scratch *s)
{
    rf_free(s->data);
    *s = (struct rf_cpu_scratch){0};
}

static rf_status mem_alloc(struct rf_backend *b, uint64_t bytes, rf_dev *out, struct rf_error *err)
{
    (void)b;
    void *p = rf_cpu_zeroed(bytes);
    *out = (rf_dev)p;
    return p ? RF_OK : rf_fail_nomem(err, "cpu memory", (size_t)bytes);
}

static void mem_free(struct rf_backend *b, rf_dev p)
{
    (void)b;
    rf_cpu_zeroed_free((void *)p);
}

static rf_status mem_host_alloc(struct rf_backend *b, uint64_t bytes, void **out, struct rf_error *err)
{
    (void)b;
    *out = bytes <= SIZE_MAX ? rf_alloc_aligned(64, (size_t)bytes) : NULL;
    return *out ? RF_OK : rf_fail_nomem(err, "host memory", (size_t)bytes);
}

static void mem_host_free(struct rf_backend *b, void *p)
{
    (void)b;
    rf_free(p);
}

static rf_status mem_upload(struct rf_backend *b, struct rf_stream *s, rf_dev to, const void *from, uint64_t bytes)
{
    (void)b;
    (void)s;
    if (bytes) memcpy((void *)to, from, (size_t)bytes);
    return RF_OK;
}

static rf_status mem_download(struct rf_backend *b, struct rf_stream *s, void *to, rf_dev from, uint64_t bytes)
{
    (void)b;
    (void)s;
    if (bytes) memcpy(to, (const void *)from, (size_t)bytes);
    return RF_OK;
}

/* ---- streams and events: slots return when their work is done, so there is nothing to wait for ---- */

struct rf_stream { char unused; };
struct rf_dev_event { char unused; };

static rf_status stream_create(struct rf_backend *b, struct rf_stream **out, struct rf_error *err)
{
    (void)b;
    *out = rf_alloc_array(1, sizeof **out);
    return *out ? RF_OK : rf_fail_nomem(err, "cpu stream", sizeof **out);
}

static void stream_free(struct rf_backend *b, struct rf_stream *s)
{
    (void)b;
    rf_free(s);
}

static rf_status stream_sync(struct rf_backend *b, struct rf_stream *s)
{
    (void)b;
    (void)s;
    return RF_OK;
}

static rf_status event_create(struct rf_backend *b, struct rf_dev_event **out, struct rf_error *err)
{
    (void)b;
    *out = rf_alloc_array(1, sizeof **out);
    return *out ? RF_OK : rf_fail_nomem(err, "cpu event", sizeof **out);
}

static void event_free(struct rf_backend *b, struct rf_dev_event *e)
{
    (void)b;
    rf_free(e);
}

static rf_status event_record(struct rf_backend *b, struct rf_dev_event *e, struct rf_stream *s)
{
    (void)b;
    (void)e;
    (void)s;
    return RF_OK;
}

static rf_status event_wait(struct rf_backend *b, struct rf_stream *s, struct rf_dev_event *e)
{
    (void)b;
    (void)s;
    (void)e;
    return RF_OK;
}

static rf_status event_sync(struct rf_backend *b, struct rf_dev_event *e)
{
    (void)b;
    (void)e;
    return RF_OK;
}

/* ---- weights: the backend's weight is the linear layer's own struct ---- */

static rf_status weight_create(struct rf_backend *b, const struct rf_weight_desc *d, struct rf_weight **out, bool *copied,
                               struct rf_error *err)
{
    struct rf_cpu *c = rf_cpu_of(b);
    return rf_linear_create((struct rf_linear **)out, d, c->isa, c->pool, copied, err);
}

static void weight_free(struct rf_backend *b, struct rf_weight *w)
{
    (void)b;
    rf_linear_free((struct rf_linear *)w);
}

static uint64_t weight_bytes(const struct rf_weight *w) { return rf_linear_bytes((const struct rf_linear *)w); }

static rf_status reserve(struct rf_backend *b, uint64_t bytes, struct rf_error *err)
{
    (void)b, (void)bytes, (void)err; /* the system hands out pages as they are touched */
    return RF_OK;
}

static rf_status weight_size(const struct rf_backend *b, const struct rf_weight_desc *d, uint64_t *bytes, struct rf_error *err)
{
    uint64_t row;
    (void)b;
    if (rf_type_row_bytes(d->type, d->cols, &row) && rf_mul64(row, d->rows, bytes)) return RF_OK;
    return rf_fail(err, RF_UNSUPPORTED, "%s: rows of %llu values of type %s", d->name, (unsigned long long)d->cols, rf_type_name(d->type));
}

static uint64_t scratch_bytes(const struct rf_backend *b, const struct rf_scratch_desc *d)
{
    (void)b, (void)d;
    return 0;
}

static const struct rf_backend_mem cpu_mem = {
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
    .reserve = reserve,
    .weight_size = weight_size,
    .scratch_bytes = scratch_bytes,
    .weight_create = weight_create,
    .weight_free = weight_free,
    .weight_bytes = weight_bytes,
    .kv_block_bytes = rf_cpu_kv_block_bytes,
    .kv_create = rf_cpu_kv_create,
    .kv_free = rf_cpu_kv_free,
};

/* ---- open and close ---- */

static void cpu_close(struct rf_backend *b)
{
    struct rf_cpu *c = rf_cpu_of(b);
    for (int i = 0; i < RF_CPU_ANGLES; i++) rf_cpu_scratch_release(&c->angles[i].cs);
    rf_cpu_scratch_release(&c->tok_seq);
    for (int i = 0; i < RF_CPU_LOTS; i++) rf_cpu_scratch_release(&c->lots[i].row);
    rf_cpu_scratch_release(&c->items);
    rf_cpu_scratch_release(&c->parts);
    rf_cpu_scratch_release(&c->threads);
    rf_linear_scratch_free(c->linear);
    rf_pool_free(c->pool);
    rf_free(c);
}

/* MemAvailable: what may be taken without swapping; free pages alone would leave out the page cache. */
static uint64_t memory_available(void)
{
    char line[128];
    unsigned long long kib = 0;
    FILE *f = fopen("/proc/meminfo", "re");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "MemAvailable: %llu", &kib) == 1) break;
    if (f) fclose(f);
    return (uint64_t)kib << 10;
}

static void describe(struct rf_cpu *c, const char *cap)
{
    char isa[96];
    struct rf_backend_info *i = &c->base.info;
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    i->name = "cpu";
    i->memory_total = pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size : 0;
    i->memory_free = memory_available();
    i->n_threads = rf_pool_size(c->pool);
    i->host_memory = true;
    rf_isa_text(c->isa, isa, sizeof isa);
    bool capped = cap && strcmp(cap, "auto");
    snprintf(i->detail, sizeof i->detail, "%u thread%s of %u usable core%s, %s%s%s%s", i->n_threads, i->n_threads == 1 ? "" : "s",
             rf_pool_usable_cores(), rf_pool_usable_cores() == 1 ? "" : "s", isa, capped ? " (capped at " : "",
             capped ? cap : "", capped ? ")" : "");
}

rf_status rf_cpu_open(struct rf_backend **out, const struct rf_backend_options *opt, struct rf_error *err)
{
    *out = NULL;
    struct rf_cpu *c = rf_alloc_array(1, sizeof *c);
    if (!c) return rf_fail_nomem(err, "cpu backend", sizeof *c);
    c->base.mem = &cpu_mem;
    c->base.ops = &rf_cpu_ops;
    c->base.close = cpu_close;
    rf_status s = rf_isa_detect(opt->isa, &c->isa, err);
    if (!s) s = rf_pool_create(&c->pool, opt->n_threads ? opt->n_threads : rf_pool_usable_cores(), err);
    if (!s) s = rf_linear_scratch_create(&c->linear, err);
    if (s) {
        cpu_close(&c->base);
        return s;
    }
    rf_kern_init(&c->kern, c->isa);
    c->has_bulk = rf_linear_has_bulk(c->isa);
    describe(c, opt->isa);
    *out = &c->base;
    return RF_OK;
}
