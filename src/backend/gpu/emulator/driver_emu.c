/* driver_emu.c - the emulator behind the names and shapes of a vendor's driver library: libcuda.so.1 (RF_EMU_HIP undefined)
 * or libamdhip64.so.6. First on LD_LIBRARY_PATH it lets the whole backend run without a GPU. As with a real one, work is taken at once and done
 * later (queue.h).
 *
 * Environment: RF_EMU_ORDER=forward|backward|random, RF_EMU_SEED, RF_EMU_MEMORY (bytes of the device, 1 GiB by default),
 * RF_EMU_FAIL_AT=k (the k-th driver call from then on fails, as a sticky device fault does), RF_EMU_DEVICES, RF_EMU_INIT (what the
 * driver's init returns), RF_EMU_NO_CODE=k (cards up to k take no code object), RF_EMU_FAULT (a file: while it is there, waiting for the
 * device fails, or, if the file begins with h, hangs), RF_EMU_STATS (a file that gets, when the process ends, "allocations N peak BYTES
 * live BYTES calls N"), RF_EMU_HOPPER=1 (NVIDIA: the kernels that Hopper alone has, clusters).
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/gpu/emulator/emu.h"
#include "backend/gpu/emulator/queue.h"

#define EXPORT __attribute__((visibility("default")))
#ifdef RF_EMU_HIP
#define N(cuda, hip) EXPORT int hip
#else
#define N(cuda, hip) EXPORT int cuda
#endif

#ifdef RF_EMU_HIP
enum { MAX_SHARED = 64 << 10 };
#else
enum { MAX_SHARED = 227 << 10 };
#endif
#ifdef RF_EMU_TSAN
enum { MOST_CLUSTER = 2 }; /* each thread is one of TSan's, which has 8,128 */
#else
enum { MOST_CLUSTER = 8 };
#endif
enum { FAULT = 700, BAD = 1, NO_MEMORY = 2, NOT_FOUND = 500, NO_BINARY = 209 };
static int current; /* the card that was opened last */

static uint64_t number(const char *name, uint64_t otherwise)
{
    const char *s = getenv(name);
    return s ? strtoull(s, NULL, 0) : otherwise;
}

/* Counts calls; a fault stays until the next init. */
static uint64_t n_calls, fail_at;
static int step(void)
{
    n_calls++;
    return fail_at && n_calls >= fail_at ? FAULT : 0;
}
#define STEP()              \
    do {                    \
        int rc_ = step();   \
        if (rc_) return rc_; \
    } while (0)

N(cuInit, hipInit)(unsigned flags)
{
    (void)flags;
    n_calls = 0;
    fail_at = number("RF_EMU_FAIL_AT", 0);
    const char *order = getenv("RF_EMU_ORDER");
    rf_emu_set_order(!order || order[0] == 'f' ? RF_EMU_FORWARD : order[0] == 'b' ? RF_EMU_BACKWARD : RF_EMU_RANDOM,
                     (uint32_t)number("RF_EMU_SEED", 1));
    int rc = (int)number("RF_EMU_INIT", 0);
    return rc ? rc : step();
}
N(cuDeviceGetCount, hipGetDeviceCount)(int *n)
{
    STEP();
    *n = (int)number("RF_EMU_DEVICES", 1);
    return 0;
}
N(cuDeviceGet, hipDeviceGet)(int *d, int i)
{
    STEP();
    *d = current = i;
    return 0;
}
N(cuDeviceGetName, hipDeviceGetName)(char *s, int n, int d)
{
    (void)d;
    STEP();
    snprintf(s, (size_t)n, "emulator, warp %d", G_WARP);
    return 0;
}
N(cuDriverGetVersion, hipDriverGetVersion)(int *v)
{
    STEP();
    *v = 13000;
    return 0;
}
#ifdef RF_EMU_HIP
EXPORT int hipSetDevice(int d)
{
    (void)d;
    return step();
}
EXPORT const char *hipGetErrorString(int rc) { return rc == FAULT ? "emulated fault" : rc == NO_MEMORY ? "out of memory" : "error"; }
#else
EXPORT int cuDeviceGetAttribute(int *v, int attribute, int d)
{
    (void)d;
    STEP();
    *v = attribute == 75 ? 9 : attribute == 16 ? 3 : 0; /* compute capability 9.0, three multiprocessors */
    return 0;
}
EXPORT int cuDevicePrimaryCtxRetain(void **c, int d)
{
    (void)d;
    STEP();
    *c = (void *)(uintptr_t)rf_emu_kernels;
    return 0;
}
EXPORT int cuDevicePrimaryCtxRelease_v2(int d)
{
    (void)d;
    return 0;
}
EXPORT int cuFuncSetAttribute(void *f, int attribute, int v)
{
    (void)f;
    STEP();
    return attribute == 8 && v <= MAX_SHARED ? 0 : BAD;
}
EXPORT int cuCtxSetCurrent(void *c)
{
    (void)c;
    return step();
}
EXPORT int cuGetErrorString(int rc, const char **s)
{
    *s = rc == FAULT ? "emulated fault" : rc == NO_MEMORY ? "out of memory" : "error";
    return 0;
}
#endif

static struct { uint64_t allocations, used, peak; } memory;

__attribute__((destructor)) static void tell(void)
{
    const char *path = getenv("RF_EMU_STATS");
    FILE *f = path && n_calls ? fopen(path, "we") : NULL;
    if (!f) return;
    fprintf(f, "allocations %llu peak %llu live %llu calls %llu\n", (unsigned long long)memory.allocations, (unsigned long long)memory.peak,
            (unsigned long long)memory.used, (unsigned long long)n_calls);
    fclose(f);
}

/* RF_EMU_FAULT: asked where the host waits for work up to `upto` of the queue. */
static int wait_device(uint64_t upto)
{
    const char *path = getenv("RF_EMU_FAULT");
    for (FILE *f; path && (f = fopen(path, "re"));) {
        int kind = fgetc(f);
        fclose(f);
        if (kind != 'h') return FAULT;
        usleep(20000);
    }
    STEP();
    return rf_emu_queue_wait(upto);
}

/* Queues a copy of `bytes` of `data`. */
static int later(int (*run)(void *data), const void *data, size_t bytes)
{
    void *own = malloc(bytes);
    if (own) memcpy(own, data, bytes);
    return rf_emu_queue_add(run, own) ? 0 : NO_MEMORY;
}

/* ---- memory: a size stands in front of each piece ---- */

static uint64_t memory_total(void) { return number("RF_EMU_MEMORY", UINT64_C(1) << 30); }

N(cuMemGetInfo_v2, hipMemGetInfo)(size_t *free_, size_t *total)
{
    STEP();
    *total = memory_total();
    *free_ = *total - memory.used;
    return 0;
}
N(cuMemAlloc_v2, hipMalloc)(uint64_t *p, size_t n)
{
    STEP();
    *p = 0;
    if (!n) return BAD;
    if (n > memory_total() - memory.used) return NO_MEMORY;
    uint64_t *q = aligned_alloc(256, (n + 256 + 255) & ~(size_t)255);
    if (!q) return NO_MEMORY;
    q[0] = n;
    memory.used += n;
    memory.allocations++;
    if (memory.used > memory.peak) memory.peak = memory.used;
    memset((char *)q + 256, 0xff, n); /* NaN: device memory is not zeroed */
    *p = (uint64_t)(uintptr_t)q + 256;
    return 0;
}
N(cuMemFree_v2, hipFree)(uint64_t p)
{
    if (!p) return 0;
    uint64_t *q = (uint64_t *)(uintptr_t)(p - 256);
    rf_emu_queue_wait(rf_emu_queue_end()); /* what still runs may use it */
    memory.used -= q[0];
    free(q);
    return 0;
}
N(cuMemHostAlloc, hipHostMalloc)(void **p, size_t n, unsigned flags)
{
    (void)flags;
    STEP();
    *p = rf_emu_pinned_take(n);
    return *p ? 0 : NO_MEMORY;
}
N(cuMemFreeHost, hipHostFree)(void *p)
{
    rf_emu_queue_wait(rf_emu_queue_end());
    rf_emu_pinned_give(p);
    return 0;
}

struct copy { void *to; const void *from; size_t n; };
static int run_copy(void *data)
{
    struct copy *c = data;
    memmove(c->to, c->from, c->n);
    free(c);
    return 0;
}
static int copy_later(uint64_t to, uint64_t from, size_t n)
{
    return later(run_copy, &(struct copy){(void *)(uintptr_t)to, (const void *)(uintptr_t)from, n}, sizeof(struct copy));
}
static int run_kept_copy(void *data)
{
    struct copy *c = data;
    memcpy(c->to, c + 1, c->n);
    free(c);
    return 0;
}
struct fill { void *to; size_t n; int v; };
static int run_fill(void *data)
{
    struct fill *f = data;
    memset(f->to, f->v, f->n);
    free(f);
    return 0;
}
N(cuMemcpyHtoDAsync_v2, hipMemcpyHtoDAsync)(uint64_t to, const void *from, size_t n, void *stream)
{
    (void)stream;
    STEP();
    if (rf_emu_pinned(from)) return copy_later(to, (uint64_t)(uintptr_t)from, n);
    struct copy *c = malloc(sizeof *c + n);
    if (!c) return NO_MEMORY;
    *c = (struct copy){.to = (void *)(uintptr_t)to, .n = n};
    memcpy(c + 1, from, n);
    return rf_emu_queue_add(run_kept_copy, c) ? 0 : NO_MEMORY;
}
N(cuMemcpyDtoHAsync_v2, hipMemcpyDtoHAsync)(void *to, uint64_t from, size_t n, void *stream)
{
    (void)stream;
    STEP();
    if (rf_emu_pinned(to)) return copy_later((uint64_t)(uintptr_t)to, from, n);
    int rc = rf_emu_queue_wait(rf_emu_queue_end());
    if (!rc) memcpy(to, (const void *)(uintptr_t)from, n);
    return rc;
}
N(cuMemcpyDtoDAsync_v2, hipMemcpyDtoDAsync)(uint64_t to, uint64_t from, size_t n, void *stream)
{
    (void)stream;
    STEP();
    return copy_later(to, from, n);
}
N(cuMemsetD8Async, hipMemsetD8Async)(uint64_t to, unsigned char v, size_t n, void *stream)
{
    (void)stream;
    STEP();
    return later(run_fill, &(struct fill){(void *)(uintptr_t)to, n, v}, sizeof(struct fill));
}

/* ---- modules and launches: the kernels are linked in, any object is taken ---- */

N(cuModuleLoadData, hipModuleLoadData)(void **m, const void *image)
{
    static const char ours[] = "no code: ", end[] =
#ifdef RF_EMU_HIP
        "difference to the other.\n"; /* packed as that */
#else
        "real driver\n";
#endif
    STEP();
    if (!strncmp(image, ours, sizeof ours - 1) && (strlen(image) < sizeof end || strcmp((const char *)image + strlen(image) - (sizeof end - 1), end))) return NO_BINARY;
    if (current < (int)number("RF_EMU_NO_CODE", 0)) return NO_BINARY;
    *m = (void *)(uintptr_t)rf_emu_kernels;
    return 0;
}
N(cuModuleUnload, hipModuleUnload)(void *m)
{
    (void)m;
    return 0;
}
static const struct rf_emu_kernel *find(const struct rf_emu_kernel *all, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(all[i].name, name)) return &all[i];
    return NULL;
}
N(cuModuleGetFunction, hipModuleGetFunction)(void **f, void *m, const char *name)
{
    (void)m;
    STEP();
    const struct rf_emu_kernel *k = NULL;
#ifndef RF_EMU_HIP
    if (number("RF_EMU_HOPPER", 0)) k = find(rf_emu_hopper, rf_emu_n_hopper, name);
#endif
    if (!k) k = find(rf_emu_kernels, rf_emu_n_kernels, name);
    *f = (void *)(uintptr_t)k;
    return k ? 0 : NOT_FOUND;
}
/* Recorded launches: a list with copies of their arguments. */
struct node { struct node *next; const struct rf_emu_kernel *e; unsigned grid[3], cluster, threads, shared; void *args; };
struct graph { struct node *first, **end; atomic_int uses; };
static struct graph *capturing;

static struct node *node_new(const struct rf_emu_kernel *e, const unsigned grid[3], unsigned cluster, unsigned threads, unsigned shared, const void *args)
{
    struct node *n = calloc(1, sizeof *n);
    if (!n || !(n->args = malloc(e->bytes))) {
        free(n);
        return NULL;
    }
    memcpy(n->args, args, e->bytes);
    memcpy(n->grid, grid, sizeof n->grid);
    n->e = e, n->cluster = cluster, n->threads = threads, n->shared = shared;
    return n;
}
static void node_free(struct node *n)
{
    free(n->args);
    free(n);
}
static int node_run(const struct node *n) { return rf_emu_launch(n->e->call, n->args, n->grid, n->cluster, n->threads, n->shared) ? 0 : BAD; }
static int run_node(void *data)
{
    int rc = node_run(data);
    node_free(data);
    return rc;
}
static void graph_release(struct graph *g)
{
    if (atomic_fetch_sub(&g->uses, 1) > 1) return;
    for (struct node *n = g->first, *next; n; n = next) {
        next = n->next;
        node_free(n);
    }
    free(g);
}
/* cluster: 0 where the launch does not say it. */
static int launch(const struct rf_emu_kernel *e, const unsigned grid[3], unsigned cluster, unsigned threads, unsigned shared, const void *args)
{
    STEP();
    if (shared > MAX_SHARED || (cluster && e->cluster && cluster != e->cluster)) return BAD;
    struct node *n = node_new(e, grid, e->cluster ? e->cluster : cluster ? cluster : 1, threads, shared, args);
    if (!n) return NO_MEMORY;
    if (!capturing) return rf_emu_queue_add(run_node, n) ? 0 : NO_MEMORY;
    *capturing->end = n;
    capturing->end = &n->next;
    return 0;
}
N(cuLaunchKernel, hipModuleLaunchKernel)(void *f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                                         unsigned shared, void *stream, void **params, void **extra)
{
    (void)stream;
    return by != 1 || bz != 1 || extra ? BAD : launch(f, (unsigned[]){gx, gy, gz}, 0, bx, shared, params[0]);
}

#ifndef RF_EMU_HIP
enum { CLUSTER_DIMENSION = 4, PROGRAMMATIC_SERIALIZATION = 6 }; /* the second changes no result */
struct launch_attribute { int id; char pad[4]; union { char bytes[64]; int value; unsigned size[3]; } v; };
struct launch_config { unsigned grid[3], block[3], shared; void *stream; struct launch_attribute *attribute; unsigned n_attribute; };
EXPORT int cuLaunchKernelEx(const struct launch_config *c, void *f, void **params, void **extra)
{
    unsigned cluster = 0;
    for (unsigned i = 0; i < c->n_attribute; i++) {
        const struct launch_attribute *a = &c->attribute[i];
        if (a->id == CLUSTER_DIMENSION && a->v.size[0] && a->v.size[1] == 1 && a->v.size[2] == 1) cluster = a->v.size[0];
        else if (a->id != PROGRAMMATIC_SERIALIZATION) return BAD;
    }
    return c->block[1] != 1 || c->block[2] != 1 || extra ? BAD : launch(f, c->grid, cluster, c->block[0], c->shared, params[0]);
}
EXPORT int cuOccupancyMaxActiveClusters(int *n, void *f, const struct launch_config *c)
{
    (void)f;
    STEP();
    if (c->n_attribute != 1 || c->attribute->id != CLUSTER_DIMENSION || !c->attribute->v.size[0]) return BAD;
    *n = c->attribute->v.size[0] <= MOST_CLUSTER ? (int)(RF_EMU_PROCESSORS / c->attribute->v.size[0]) : 0;
    return 0;
}
#endif

/* ---- streams and events: all streams are one ---- */

static char token;
struct event { uint64_t at; }; /* of the queue */
N(cuStreamCreate, hipStreamCreateWithFlags)(void **s, unsigned flags)
{
    (void)flags;
    STEP();
    *s = &token;
    return 0;
}
N(cuStreamDestroy_v2, hipStreamDestroy)(void *s)
{
    (void)s;
    return 0;
}
N(cuStreamSynchronize, hipStreamSynchronize)(void *s)
{
    (void)s;
    return wait_device(rf_emu_queue_end());
}
N(cuStreamWaitEvent, hipStreamWaitEvent)(void *s, void *e, unsigned flags)
{
    (void)s;
    (void)e;
    (void)flags;
    return step();
}
N(cuEventCreate, hipEventCreateWithFlags)(void **e, unsigned flags)
{
    (void)flags;
    STEP();
    *e = calloc(1, sizeof(struct event));
    return *e ? 0 : NO_MEMORY;
}
N(cuEventDestroy_v2, hipEventDestroy)(void *e)
{
    free(e);
    return 0;
}
N(cuEventRecord, hipEventRecord)(void *e, void *s)
{
    (void)s;
    STEP();
    ((struct event *)e)->at = rf_emu_queue_end();
    return 0;
}
N(cuEventSynchronize, hipEventSynchronize)(void *e) { return wait_device(((struct event *)e)->at); }

/* ---- graphs ---- */

N(cuStreamBeginCapture_v2, hipStreamBeginCapture)(void *s, int mode)
{
    (void)s;
    (void)mode;
    STEP();
    if (capturing || !(capturing = calloc(1, sizeof *capturing))) return BAD;
    capturing->end = &capturing->first;
    atomic_init(&capturing->uses, 1);
    return 0;
}
N(cuStreamEndCapture, hipStreamEndCapture)(void *s, void **graph)
{
    (void)s;
    *graph = capturing;
    capturing = NULL;
    return *graph ? step() : BAD;
}
N(cuGraphInstantiateWithFlags, hipGraphInstantiateWithFlags)(void **exec, void *graph, unsigned long long flags)
{
    (void)flags;
    STEP();
    atomic_fetch_add(&((struct graph *)graph)->uses, 1);
    *exec = graph;
    return 0;
}
static int run_graph(void *data)
{
    struct graph *g = *(struct graph **)data;
    int rc = 0;
    for (const struct node *n = g->first; n && !rc; n = n->next) rc = node_run(n);
    graph_release(g);
    free(data);
    return rc;
}
N(cuGraphLaunch, hipGraphLaunch)(void *exec, void *s)
{
    (void)s;
    STEP();
    atomic_fetch_add(&((struct graph *)exec)->uses, 1);
    return later(run_graph, &exec, sizeof exec);
}
N(cuGraphExecDestroy, hipGraphExecDestroy)(void *exec)
{
    graph_release(exec);
    return 0;
}
N(cuGraphDestroy, hipGraphDestroy)(void *graph)
{
    graph_release(graph);
    return 0;
}
