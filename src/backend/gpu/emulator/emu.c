/* emu.c - fibers, barriers, warp collectives and shared memory of the emulator.
 *
 * Under TSan each fiber is a thread of its own, ordered by barriers and, within its warp, by collectives (whose results hang on what all
 * lanes gave): a block whose threads touch the same memory without one between them is reported, in whatever order they ran. Blocks of a
 * launch follow each other. This file is built without TSan, or its own tables would be reported.
 */
#include "backend/gpu/emulator/emu.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "quant/type.h"

#if defined(__SANITIZE_ADDRESS__)
#define EMU_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define EMU_ASAN 1
#endif
#endif
#ifdef EMU_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#ifdef RF_EMU_TSAN
#include <sanitizer/tsan_interface.h>
void AnnotateIgnoreWritesBegin(const char *file, int line);
void AnnotateIgnoreWritesEnd(const char *file, int line);
#endif

enum { MAX_THREADS = 1024, MAX_SHARED = 8, STACK = 256 << 10 };
enum state { READY, AT_BLOCK, AT_WARP, DONE };

struct fiber {
#if defined(__x86_64__)
    void *sp;
#else
    ucontext_t uc;
#endif
    char *stack;
    void *fake; /* ASan's */
    void *twin; /* TSan's */
    enum state state;
    int line;
    uint32_t phase, n_sync;
};

struct warp { uint32_t n; int line; char met[2]; };
struct shared { int id; void *p; size_t bytes; };

/* One device, used by one thread at a time, as a driver's default context is. */
static struct {
    struct fiber fiber[MAX_THREADS], scheduler;
    struct fiber *running;
    struct warp warp[MAX_THREADS];
    int slot[2][MAX_THREADS];
    struct { float *c; const uint32_t *a, *b; } mma[MAX_THREADS];
    struct shared shared[MAX_SHARED];
    uint32_t dynamic, n_shared, n_thread, n_live, n_at_block;
    int block_line;
    void (*kernel)(const void *args);
    const void *args;
    enum rf_emu_order order;
    uint32_t random;
    const void *host_stack;
    size_t host_stack_bytes;
    char begin, barrier[2], end; /* TSan's: addresses that stand for an order */
} emu = {.random = 1};

struct rf_emu_thread rf_emu_now;

static void die(const char *what)
{
    fprintf(stderr, "emulator: %s at block (%u,%u,%u) thread %u\n", what, rf_emu_now.bx, rf_emu_now.by, rf_emu_now.bz, rf_emu_now.tid);
    for (uint32_t i = 0; i < emu.n_thread; i++)
        if (emu.fiber[i].state != DONE && (!i || emu.fiber[i].line != emu.fiber[i - 1].line))
            fprintf(stderr, "  thread %u waits (state %d) at line %d\n", i, (int)emu.fiber[i].state, emu.fiber[i].line);
    abort();
}

/* ---- switching ---- */

#if defined(__x86_64__)
void rf_emu_swap(void **save, void *to); /* saves what the ABI keeps over calls; ucontext would make two system calls */
__asm__(".text\n.globl rf_emu_swap\n.type rf_emu_swap,@function\nrf_emu_swap:\n"
        "pushq %rbp\npushq %rbx\npushq %r12\npushq %r13\npushq %r14\npushq %r15\n"
        "movq %rsp,(%rdi)\nmovq %rsi,%rsp\n"
        "popq %r15\npopq %r14\npopq %r13\npopq %r12\npopq %rbx\npopq %rbp\nret\n.size rf_emu_swap,.-rf_emu_swap\n");
#endif

/* What was done before publish(place) is seen by whoever comes behind observe(place). */
static void publish(void *place)
{
#ifdef RF_EMU_TSAN
    __tsan_release(place);
#else
    (void)place;
#endif
}

static void observe(void *place)
{
#ifdef RF_EMU_TSAN
    __tsan_acquire(place);
#else
    (void)place;
#endif
}

static void switch_to(struct fiber *from, struct fiber *to)
{
#ifdef RF_EMU_TSAN
    __tsan_switch_to_fiber(to->twin, __tsan_switch_to_fiber_no_sync);
#endif
#ifdef EMU_ASAN
    bool home = to == &emu.scheduler;
    __sanitizer_start_switch_fiber(from->state == DONE ? NULL : &from->fake, home ? emu.host_stack : to->stack,
                                   home ? emu.host_stack_bytes : (size_t)STACK);
#endif
#if defined(__x86_64__)
    rf_emu_swap(&from->sp, to->sp);
#else
    swapcontext(&from->uc, &to->uc);
#endif
#ifdef EMU_ASAN
    const void *stack;
    size_t bytes;
    __sanitizer_finish_switch_fiber(from->fake, &stack, &bytes);
    if (from != &emu.scheduler) emu.host_stack = stack, emu.host_stack_bytes = bytes;
#endif
}

static void park(enum state why)
{
    emu.running->state = why;
    switch_to(emu.running, &emu.scheduler);
}

static void fiber_main(void)
{
#ifdef EMU_ASAN
    __sanitizer_finish_switch_fiber(NULL, &emu.host_stack, &emu.host_stack_bytes);
#endif
    observe(&emu.begin);
    emu.kernel(emu.args);
    publish(&emu.end);
    emu.n_live--;
    park(DONE);
    abort();
}

static void fiber_start(struct fiber *f)
{
    if (!f->stack) {
        f->stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (f->stack == MAP_FAILED) die("no memory for stacks");
    }
#ifdef EMU_ASAN
    __asan_unpoison_memory_region(f->stack, STACK);
#endif
#ifdef RF_EMU_TSAN
    if (!f->twin) f->twin = __tsan_create_fiber(0);
#endif
#if defined(__x86_64__)
    void **sp = (void **)(f->stack + STACK);
    *--sp = NULL;
    *--sp = (void *)fiber_main;
    for (int i = 0; i < 6; i++) *--sp = NULL;
    f->sp = sp;
#else
    getcontext(&f->uc);
    f->uc.uc_stack.ss_sp = f->stack;
    f->uc.uc_stack.ss_size = STACK;
    f->uc.uc_link = NULL;
    makecontext(&f->uc, fiber_main, 0);
#endif
    f->state = READY;
    f->phase = f->n_sync = 0;
    f->line = 0;
    f->fake = NULL;
}

/* ---- what kernels call ---- */

void rf_emu_block_sync(int line)
{
    char *barrier = &emu.barrier[emu.running->n_sync++ & 1]; /* two: a fast thread may be one ahead */
    emu.running->line = line;
    publish(barrier);
    if (emu.n_at_block && emu.block_line != line) die("a barrier reached at two different lines");
    if (emu.n_live != emu.n_thread) die("a barrier after some threads left the kernel");
    emu.block_line = line;
    if (++emu.n_at_block < emu.n_live) {
        park(AT_BLOCK);
        observe(barrier);
        return;
    }
    observe(barrier);
    emu.n_at_block = 0;
    for (uint32_t i = 0; i < emu.n_thread; i++)
        if (emu.fiber[i].state == AT_BLOCK) emu.fiber[i].state = READY;
}

int rf_emu_shfl(int v, uint32_t lane, int line)
{
    struct fiber *f = emu.running;
    uint32_t tid = rf_emu_now.tid, w = tid / G_WARP, phase = f->phase++ & 1; /* two sets: a fast lane may be one call ahead */
    if (w * G_WARP + G_WARP > emu.n_thread) die("a collective in a part of a warp");
    if (emu.warp[w].n && emu.warp[w].line != line) die("a collective reached at two different lines");
    emu.warp[w].line = f->line = line;
    emu.slot[phase][tid] = v;
    publish(&emu.warp[w].met[phase]);
    if (++emu.warp[w].n < G_WARP) park(AT_WARP);
    else {
        emu.warp[w].n = 0;
        for (uint32_t i = w * G_WARP; i < (w + 1) * G_WARP; i++)
            if (emu.fiber[i].state == AT_WARP) emu.fiber[i].state = READY;
    }
    observe(&emu.warp[w].met[phase]);
    return emu.slot[phase][w * G_WARP + lane % G_WARP];
}

/* Where the units hold operands and results. Lane l, value e of its operand; element i of D. */
static void operand_at(enum rf_emu_unit unit, bool is_b, uint32_t l, uint32_t e, uint32_t *row, uint32_t *k)
{
    uint32_t reg = e / 2;
    if (unit == RF_EMU_MMA8 && is_b) *row = l / 4, *k = 2 * (l % 4) + e % 2 + 8 * reg;
    else if (unit <= RF_EMU_MMA) *row = l / 4 + 8 * (reg % 2), *k = 2 * (l % 4) + e % 2 + 8 * (reg / 2);
    else *row = l % 16, *k = unit == RF_EMU_RDNA3 ? e : 8 * (l / 16) + e;
}
static void result_at(enum rf_emu_unit unit, uint32_t l, uint32_t i, uint32_t *m, uint32_t *n)
{
    if (unit <= RF_EMU_MMA) *m = l / 4 + 8 * (i / 2 % 2), *n = 2 * (l % 4) + i % 2 + 8 * (i / 4);
    else *m = unit == RF_EMU_RDNA3 ? 2 * i + l / 16 : unit == RF_EMU_RDNA4 ? 8 * (l / 16) + i : 4 * (l / 16) + i, *n = l % 16;
}

static void mma_run(enum rf_emu_unit unit, uint32_t first, int f16)
{
    float x[2][16][32] = {{{0}}};
    uint32_t r, k, m, n;
    for (uint32_t l = 0; l < G_WARP; l++)
        for (int b = 0; b < 2; b++)
            for (uint32_t e = 0; e < (unit == RF_EMU_RDNA3 ? 16u : unit == RF_EMU_MMA8 && b ? 4u : 8u); e++) {
                uint32_t w = (b ? emu.mma[first + l].b : emu.mma[first + l].a)[e / 2];
                uint16_t h = (uint16_t)(e % 2 ? w >> 16 : w);
                operand_at(unit, b, l, e, &r, &k);
                x[b][r][k] = f16 ? rf_f16_to_f32(h) : rf_bf16_to_f32(h);
            }
    for (uint32_t l = 0; l < G_WARP; l++)
        for (uint32_t i = 0; i < (unit == RF_EMU_MMA8 || unit == RF_EMU_CDNA ? 4u : 8u); i++) {
            result_at(unit, l, i, &m, &n);
            double sum = 0;
            for (k = 0; k < 32; k++) sum += (double)x[0][m][k] * (double)x[1][n][k];
            emu.mma[first + l].c[i] += (float)sum;
        }
}

void rf_emu_mma(enum rf_emu_unit unit, float *c, const uint32_t *a, const uint32_t *b, int f16, int line)
{
    uint32_t tid = rf_emu_now.tid, w = tid / G_WARP;
    if (w * G_WARP + G_WARP > emu.n_thread) die("a matrix step in a part of a warp");
    if (emu.warp[w].n && emu.warp[w].line != line) die("a collective reached at two different lines");
    emu.warp[w].line = emu.running->line = line;
    emu.mma[tid].c = c, emu.mma[tid].a = a, emu.mma[tid].b = b;
    if (++emu.warp[w].n < G_WARP) {
        park(AT_WARP);
        return;
    }
    mma_run(unit, w * G_WARP, f16);
    emu.warp[w].n = 0;
    for (uint32_t i = w * G_WARP; i < (w + 1) * G_WARP; i++)
        if (emu.fiber[i].state == AT_WARP) emu.fiber[i].state = READY;
}

void *rf_emu_shared(int id, size_t bytes)
{
    for (uint32_t i = 0; i < emu.n_shared; i++)
        if (emu.shared[i].id == id) return emu.shared[i].p;
    if (emu.n_shared == MAX_SHARED) die("too many shared arrays");
    if (!bytes) die("dynamic shared memory that the launch did not ask for");
    void *p;
#ifdef RF_EMU_TSAN
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__); /* this thread's no more than the others' */
#endif
    if (posix_memalign(&p, 1024, bytes)) die("no memory");
    memset(p, 0xff, bytes); /* NaN, so that unset reads show */
#ifdef RF_EMU_TSAN
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
#endif
    emu.shared[emu.n_shared++] = (struct shared){id, p, bytes};
    return p;
}

/* Addresses of 32 bits: 1 + the array's number, and 24 bits of place. */
uint32_t rf_emu_shared_at(const void *p)
{
    for (uint32_t i = 0; i < emu.n_shared; i++)
        if ((const char *)p >= (char *)emu.shared[i].p && (const char *)p < (char *)emu.shared[i].p + emu.shared[i].bytes)
            return (i + 1) << 24 | (uint32_t)((const char *)p - (char *)emu.shared[i].p);
    die("an address that is not of shared memory");
    return 0;
}

void *rf_emu_shared_of(uint32_t at, size_t bytes)
{
    uint32_t i = at >> 24, place = at & 0xffffff;
    if (!i || i > emu.n_shared || place + bytes > emu.shared[i - 1].bytes) die("shared memory that is not there");
    return (char *)emu.shared[i - 1].p + place;
}

/* A counting barrier (PTX: mbarrier) in 8 bytes of shared memory. A phase ends when all have arrived and all bytes that were announced are there. */
struct bar { uint16_t count, pending; int32_t bytes; };
enum { BAR_PHASE = 0x8000, BAR_TURNS = 1 << 22 };

static struct bar bar_get(uint32_t at)
{
    struct bar b;
    memcpy(&b, rf_emu_shared_of(at, sizeof b), sizeof b);
    return b;
}

static void bar_put(uint32_t at, struct bar b)
{
    if (!(b.pending & ~BAR_PHASE) && !b.bytes) b.pending = (uint16_t)(((b.pending & BAR_PHASE) ^ BAR_PHASE) | b.count);
    memcpy(rf_emu_shared_of(at, sizeof b), &b, sizeof b);
}

void rf_emu_bar_init(uint32_t at, uint32_t count)
{
    if (!count || count >= BAR_PHASE) die("a barrier of so many");
    bar_put(at, (struct bar){(uint16_t)count, (uint16_t)count, 0});
}

void rf_emu_bar_arrive(uint32_t at, uint32_t bytes)
{
    struct bar b = bar_get(at);
    publish(rf_emu_shared_of(at, 8));
    if (!(b.pending & ~BAR_PHASE)) die("more arrivals than a barrier counts");
    b.pending--;
    b.bytes += (int32_t)bytes;
    bar_put(at, b);
}

void rf_emu_bar_bytes(uint32_t at, uint32_t bytes)
{
    struct bar b = bar_get(at);
    publish(rf_emu_shared_of(at, 8));
    b.bytes -= (int32_t)bytes;
    bar_put(at, b);
}

void rf_emu_bar_wait(uint32_t at, uint32_t parity, int line)
{
    emu.running->line = line;
    for (int turn = 0; (bar_get(at).pending & BAR_PHASE) / BAR_PHASE == (parity & 1); turn++) {
        if (turn == BAR_TURNS) die("a barrier's phase that never ends");
        park(READY);
    }
    observe(rf_emu_shared_of(at, 8));
}

int rf_emu_decodes(void)
{
    const char *way = getenv("RF_EMU_DECODE");
    return !way || strcmp(way, "plain");
}

size_t rf_emu_dynamic(void) { return emu.dynamic; }

float rf_emu_h2f(uint16_t h) { return rf_f16_to_f32(h); }
uint16_t rf_emu_f2h(float f) { return rf_f32_to_f16(f); }

/* ---- launches ---- */

void rf_emu_set_order(enum rf_emu_order order, uint32_t seed)
{
    emu.order = order;
    emu.random = seed | 1;
}

static uint32_t next_random(void)
{
    emu.random ^= emu.random << 13;
    emu.random ^= emu.random >> 17;
    return emu.random ^= emu.random << 5;
}

static void run_block(uint32_t bx, uint32_t by, uint32_t bz)
{
    uint16_t order[MAX_THREADS];
    uint32_t n = emu.n_thread;
    for (uint32_t i = 0; i < n; i++) {
        order[i] = (uint16_t)(emu.order == RF_EMU_BACKWARD ? n - 1 - i : i);
        fiber_start(&emu.fiber[i]);
        emu.warp[i].n = 0;
    }
    emu.n_live = n;
    emu.n_at_block = 0;
#ifdef RF_EMU_TSAN
    emu.scheduler.twin = __tsan_get_current_fiber();
#endif
    publish(&emu.begin);
    while (emu.n_live) {
        bool ran = false;
        for (uint32_t i = n - 1; emu.order == RF_EMU_RANDOM && i; i--) {
            uint32_t j = next_random() % (i + 1);
            uint16_t t = order[i];
            order[i] = order[j];
            order[j] = t;
        }
        for (uint32_t i = 0; i < n; i++) {
            struct fiber *f = &emu.fiber[order[i]];
            if (f->state != READY) continue;
            ran = true;
            emu.running = f;
            rf_emu_now = (struct rf_emu_thread){order[i], bx, by, bz};
            switch_to(&emu.scheduler, f);
        }
        if (!ran) die("a deadlock");
    }
    observe(&emu.end);
    for (uint32_t i = 0; i < emu.n_shared; i++) free(emu.shared[i].p);
    emu.n_shared = 0;
}

int rf_emu_launch(void (*kernel)(const void *args), const void *args, const uint32_t grid[3], uint32_t threads, uint32_t shared)
{
    if (!threads || threads > MAX_THREADS || !grid[0] || !grid[1] || !grid[2] || grid[1] > 65535 || grid[2] > 65535) return 0;
    emu.kernel = kernel;
    emu.args = args;
    emu.n_thread = threads;
    emu.dynamic = shared;
    for (uint32_t z = 0; z < grid[2]; z++)
        for (uint32_t y = 0; y < grid[1]; y++)
            for (uint32_t x = 0; x < grid[0]; x++) run_block(x, y, z);
    return 1;
}
