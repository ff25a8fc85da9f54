/* emu.c - fibers, barriers, warp collectives and shared memory of the emulator.
 *
 * The blocks of a cluster run side by side, one cluster at a time. What Hopper does by itself is done at the worst moment that is allowed: products of warp
 * groups read their operands and write their sums when somebody waits for them; a bulk copy is made when it is ordered, when nothing else can go on
 * (threads running backward), or at any time between (in random order).
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
void __tsan_read_range(void *at, unsigned long bytes);
void AnnotateIgnoreWritesBegin(const char *file, int line);
void AnnotateIgnoreWritesEnd(const char *file, int line);
#endif

enum { MAX_THREADS = 1024, MAX_SHARED = 8, MAX_BLOCKS = 8, STACK = 256 << 10 };
enum { GROUP = 128, MAX_OPS = 32, MAX_COMMITS = 16, MAX_COPIES = 4096, REGISTERS = 65536, SHARED_AT = 1024, SHARED_END = 256 << 10 };
enum state { READY, AT_BLOCK, AT_CLUSTER, AT_WARP, AT_GROUP, AT_BAR, DONE };

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
    uint32_t tid, rank, phase, n_sync[2], n_wait, registers;
    const char *bar; /* AT_BAR: until that one's phase of this parity is over */
    uint32_t parity;
    uint32_t n_op, n_commit, commit[MAX_COMMITS]; /* products of its warp group that it ordered, and how many each commit found */
    bool fenced;
};

struct meeting { uint32_t n; int line; char place[2]; }; /* place: TSan's; two, since a fast thread may be one ahead */
struct warp { uint32_t n; int line; char met[2]; };
struct shared { int id; void *p; uint32_t at; size_t bytes; };
/* wgmma: 64 rows of x by n of w; x by its descriptor, or in registers (a). */
struct op { float *d[GROUP]; const uint32_t *a[GROUP]; uint64_t x, w; uint32_t n, got; int f16, more, line; bool in_registers; };
struct group { struct op op[MAX_OPS]; uint32_t n_done, due; struct meeting wait; };
struct block {
    struct fiber fiber[MAX_THREADS];
    struct warp warp[MAX_THREADS];
    int slot[2][MAX_THREADS];
    struct { float *c; const uint32_t *a, *b; } mma[MAX_THREADS];
    struct group group[MAX_THREADS / GROUP];
    struct shared shared[MAX_SHARED];
    struct meeting meeting;
    uint32_t n_shared, shared_end, n_live;
};
struct copy { const void *from; uint32_t to, bytes, bar, rank; };

/* One device, used by one thread at a time, as a driver's default context is. */
static struct {
    struct block block[MAX_BLOCKS], *here;
    struct fiber scheduler, *running;
    struct copy copy[MAX_COPIES];
    struct meeting meeting; /* of the cluster */
    uint32_t dynamic, n_block, n_thread, n_copy; /* n_thread: of a block */
    void (*kernel)(const void *args);
    const void *args;
    enum rf_emu_order order;
    uint32_t random;
    const void *host_stack;
    size_t host_stack_bytes;
    char begin, end, engine; /* TSan's: addresses that stand for an order */
} emu = {.random = 1};

struct rf_emu_thread rf_emu_now;

static void die(const char *what)
{
    fprintf(stderr, "emulator: %s at block (%u,%u,%u) thread %u\n", what, rf_emu_now.bx, rf_emu_now.by, rf_emu_now.bz, rf_emu_now.tid);
    for (uint32_t r = 0; r < emu.n_block; r++)
        for (uint32_t i = 0; i < emu.n_thread; i++) {
            const struct fiber *f = &emu.block[r].fiber[i];
            if (f->state != DONE && (!i || f->line != f[-1].line)) fprintf(stderr, "  block %u thread %u waits (state %d) at line %d\n", r, i, (int)f->state, f->line);
        }
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
    if (emu.running->n_op != emu.here->group[emu.running->tid / GROUP].n_done) die("a thread that leaves products of its warp group under way");
    emu.here->n_live--;
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
    f->phase = f->n_sync[0] = f->n_sync[1] = f->n_wait = f->registers = f->n_op = f->n_commit = 0;
    f->fenced = false;
    f->line = 0;
    f->fake = NULL;
}

/* ---- what kernels call ---- */

/* All threads of n blocks from `first` on come together. */
static void meet(struct meeting *m, enum state why, struct block *first, uint32_t n, int line)
{
    char *place = &m->place[emu.running->n_sync[why == AT_CLUSTER]++ & 1];
    uint32_t live = 0;
    emu.running->line = line;
    publish(place);
    for (uint32_t i = 0; i < n; i++) live += first[i].n_live;
    if (m->n && m->line != line) die("a barrier reached at two different lines");
    if (live != n * emu.n_thread) die("a barrier after some threads left the kernel");
    m->line = line;
    if (++m->n < live) {
        park(why);
        observe(place);
        return;
    }
    observe(place);
    m->n = 0;
    for (uint32_t b = 0; b < n; b++)
        for (uint32_t i = 0; i < emu.n_thread; i++)
            if (first[b].fiber[i].state == why) first[b].fiber[i].state = READY;
}

void rf_emu_block_sync(int line) { meet(&emu.here->meeting, AT_BLOCK, emu.here, 1, line); }
void rf_emu_cluster_sync(int line) { meet(&emu.meeting, AT_CLUSTER, emu.block, emu.n_block, line); }

int rf_emu_shfl(int v, uint32_t lane, int line)
{
    struct block *b = emu.here;
    struct fiber *f = emu.running;
    uint32_t tid = rf_emu_now.tid, w = tid / G_WARP, phase = f->phase++ & 1; /* two sets: a fast lane may be one call ahead */
    if (w * G_WARP + G_WARP > emu.n_thread) die("a collective in a part of a warp");
    if (b->warp[w].n && b->warp[w].line != line) die("a collective reached at two different lines");
    b->warp[w].line = f->line = line;
    b->slot[phase][tid] = v;
    publish(&b->warp[w].met[phase]);
    if (++b->warp[w].n < G_WARP) park(AT_WARP);
    else {
        b->warp[w].n = 0;
        for (uint32_t i = w * G_WARP; i < (w + 1) * G_WARP; i++)
            if (b->fiber[i].state == AT_WARP) b->fiber[i].state = READY;
    }
    observe(&b->warp[w].met[phase]);
    return b->slot[phase][w * G_WARP + lane % G_WARP];
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
                uint32_t w = (b ? emu.here->mma[first + l].b : emu.here->mma[first + l].a)[e / 2];
                uint16_t h = (uint16_t)(e % 2 ? w >> 16 : w);
                operand_at(unit, b, l, e, &r, &k);
                x[b][r][k] = f16 ? rf_f16_to_f32(h) : rf_bf16_to_f32(h);
            }
    for (uint32_t l = 0; l < G_WARP; l++)
        for (uint32_t i = 0; i < (unit == RF_EMU_MMA8 || unit == RF_EMU_CDNA ? 4u : 8u); i++) {
            result_at(unit, l, i, &m, &n);
            double sum = 0;
            for (k = 0; k < 32; k++) sum += (double)x[0][m][k] * (double)x[1][n][k];
            emu.here->mma[first + l].c[i] += (float)sum;
        }
}

void rf_emu_mma(enum rf_emu_unit unit, float *c, const uint32_t *a, const uint32_t *b, int f16, int line)
{
    uint32_t tid = rf_emu_now.tid, w = tid / G_WARP;
    if (w * G_WARP + G_WARP > emu.n_thread) die("a matrix step in a part of a warp");
    if (emu.here->warp[w].n && emu.here->warp[w].line != line) die("a collective reached at two different lines");
    emu.here->warp[w].line = emu.running->line = line;
    emu.here->mma[tid].c = c, emu.here->mma[tid].a = a, emu.here->mma[tid].b = b;
    if (++emu.here->warp[w].n < G_WARP) {
        park(AT_WARP);
        return;
    }
    mma_run(unit, w * G_WARP, f16);
    emu.here->warp[w].n = 0;
    for (uint32_t i = w * G_WARP; i < (w + 1) * G_WARP; i++)
        if (emu.here->fiber[i].state == AT_WARP) emu.here->fiber[i].state = READY;
}

void *rf_emu_shared(int id, size_t bytes)
{
    struct block *b = emu.here;
    for (uint32_t i = 0; i < b->n_shared; i++)
        if (b->shared[i].id == id) return b->shared[i].p;
    if (b->n_shared == MAX_SHARED) die("too many shared arrays");
    if (!bytes) die("dynamic shared memory that the launch did not ask for");
    if (bytes > SHARED_END - b->shared_end) die("more shared memory than there is");
    void *p;
#ifdef RF_EMU_TSAN
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__); /* this thread's no more than the others' */
#endif
    if (posix_memalign(&p, 1024, bytes)) die("no memory");
    memset(p, 0xff, bytes); /* NaN, so that unset reads show */
#ifdef RF_EMU_TSAN
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
#endif
    b->shared[b->n_shared++] = (struct shared){id, p, b->shared_end, bytes};
    b->shared_end += (uint32_t)(bytes + 1023) & ~1023u;
    return p;
}

/* ---- Hopper: shared memory by addresses, counting barriers, copies, products of warp groups (PTX ISA 8.0, 9.7.8, 9.7.12.15, 9.7.15) ---- */

static struct block *block_of(uint32_t rank)
{
    if (rank >= emu.n_block) die("a block that the cluster does not have");
    if (!emu.block[rank].n_live) die("shared memory of a block that left the kernel");
    return &emu.block[rank];
}

static void *shared_of(const struct block *b, uint32_t at, size_t bytes)
{
    for (uint32_t i = 0; i < b->n_shared; i++) {
        const struct shared *s = &b->shared[i];
        if (at >= s->at && at - s->at <= s->bytes && bytes <= s->bytes - (at - s->at)) return (char *)s->p + (at - s->at);
    }
    die("shared memory that is not there");
    return NULL;
}

uint32_t rf_emu_shared_at(const void *p)
{
    const struct block *b = emu.here;
    for (uint32_t i = 0; i < b->n_shared; i++)
        if ((const char *)p >= (char *)b->shared[i].p && (const char *)p < (char *)b->shared[i].p + b->shared[i].bytes)
            return b->shared[i].at + (uint32_t)((const char *)p - (char *)b->shared[i].p);
    die("an address that is not of shared memory");
    return 0;
}

void *rf_emu_shared_of(uint32_t at, uint32_t rank, size_t bytes) { return shared_of(block_of(rank), at, bytes); }

/* A counting barrier (PTX: mbarrier) in 8 bytes of shared memory. A phase ends when all have arrived and all bytes that were announced are there. */
struct bar { uint16_t count, pending; int32_t bytes; };
enum { BAR_PHASE = 0x8000, BAR_BYTES = 1 << 20 };

static struct bar bar_get(const void *at)
{
    struct bar b;
    memcpy(&b, at, sizeof b);
    if (!b.count || b.count >= BAR_PHASE) die("a barrier that nobody has set");
    return b;
}

static void bar_put(void *at, struct bar b)
{
    if (b.bytes <= -BAR_BYTES || b.bytes >= BAR_BYTES) die("more bytes than a barrier counts");
    if (!(b.pending & ~BAR_PHASE) && !b.bytes) b.pending = (uint16_t)(((b.pending & BAR_PHASE) ^ BAR_PHASE) | b.count);
    memcpy(at, &b, sizeof b);
}

void rf_emu_bar_init(uint32_t at, uint32_t count)
{
    if (!count || count >= BAR_PHASE || at % 8) die("a barrier of so many, or there");
    bar_put(shared_of(emu.here, at, 8), (struct bar){(uint16_t)count, (uint16_t)count, 0});
}

void rf_emu_bar_arrive(uint32_t at, uint32_t rank, uint32_t bytes)
{
    void *p = shared_of(block_of(rank), at, 8);
    struct bar b = bar_get(p);
    publish(p);
    if (!(b.pending & ~BAR_PHASE)) die("more arrivals than a barrier counts");
    b.pending--;
    b.bytes += (int32_t)bytes;
    bar_put(p, b);
}

static bool bar_over(const void *at, uint32_t parity) { return (bar_get(at).pending & BAR_PHASE) / BAR_PHASE != (parity & 1); }

void rf_emu_bar_wait(uint32_t at, uint32_t parity, int line)
{
    struct fiber *f = emu.running;
    f->line = line;
    f->bar = shared_of(emu.here, at, 8);
    f->parity = parity;
    if (!bar_over(f->bar, parity)) park(AT_BAR);
    observe(shared_of(emu.here, at, 8));
}

static uint32_t next_random(void)
{
    emu.random ^= emu.random << 13;
    emu.random ^= emu.random >> 17;
    return emu.random ^= emu.random << 5;
}

static void deliver(const struct copy *c)
{
    struct block *to = block_of(c->rank);
    void *bar = shared_of(to, c->bar, 8);
    memcpy(shared_of(to, c->to, c->bytes), c->from, c->bytes);
    struct bar b = bar_get(bar);
    publish(bar);
    b.bytes -= (int32_t)c->bytes;
    bar_put(bar, b);
}

void rf_emu_bulk_load(uint32_t to, uint64_t from, uint32_t bytes, uint32_t bar, uint32_t mask)
{
    if (!bytes || (to | from | bytes) % 16) die("a bulk copy that is not of 16-byte pieces");
    if (!mask || mask >> emu.n_block) die("a bulk copy to blocks that the cluster does not have");
    for (uint32_t rank = 0; rank < emu.n_block; rank++) {
        const struct copy c = {(const void *)(uintptr_t)from, to, bytes, bar, rank};
        if (!(mask >> rank & 1)) continue;
        if (emu.order == RF_EMU_FORWARD || (emu.order == RF_EMU_RANDOM && next_random() & 1)) {
            deliver(&c);
            continue;
        }
        if (emu.n_copy == MAX_COPIES) die("too many copies under way");
        publish(&emu.engine);
        emu.copy[emu.n_copy++] = c;
    }
}

/* The copy engine's turn: some of what is under way; one at least where all threads wait. False: there was none. */
static bool engine_run(bool all_wait)
{
    bool any = false;
    for (uint32_t i = 0; i < emu.n_copy;) {
        const bool now = emu.order == RF_EMU_RANDOM ? next_random() % 4 == 0 : all_wait && !any;
        if (!now && !(all_wait && !any && i + 1 == emu.n_copy)) {
            i++;
            continue;
        }
        if (!any) observe(&emu.engine);
        deliver(&emu.copy[i]);
        emu.copy[i] = emu.copy[--emu.n_copy];
        any = true;
    }
    return any;
}

/* Rows of 16 values of k by a descriptor of shared memory: k in a row, 128-byte swizzle, groups of eight rows. What else the hardware can do is refused. */
static void rows_read(uint64_t d, uint32_t rows, int f16, float (*out)[256])
{
    const uint32_t start = (uint32_t)(d & 0x3fff) << 4, leading = d >> 16 & 0x3fff, stride = (uint32_t)(d >> 32 & 0x3fff) << 4;
    if (d >> 62 != 1) die("a descriptor without the swizzle of 128 bytes");
    if (d & ~(UINT64_C(0x3fff) | UINT64_C(0x3fff) << 16 | UINT64_C(0x3fff) << 32 | UINT64_C(3) << 62)) die("a descriptor with a base offset, or bits that have no meaning");
    if (leading != 1) die("a descriptor whose leading offset is not 1");
    if (!stride || stride % 1024) die("a descriptor whose groups of eight rows do not begin at multiples of 1024 bytes");
    if (start % 1024 > 96 || start % 32) die("a descriptor that begins within its eight rows, or ends behind them");
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t half = 0; half < 2; half++) {
            const uint32_t line = start + r / 8 * stride + r % 8 * 128 + 16 * half, at = line ^ (line >> 3 & 0x70); /* by the address itself */
            const uint16_t *p = shared_of(emu.here, at, 16);
#ifdef RF_EMU_TSAN
            __tsan_read_range((void *)(uintptr_t)p, 16);
#endif
            for (uint32_t k = 0; k < 8; k++) out[8 * half + k][r] = f16 ? rf_f16_to_f32(p[k]) : rf_bf16_to_f32(p[k]);
        }
}

static void op_run(struct op *o)
{
    static float x[16][256], w[16][256], d[64][256];
    uint32_t r, k;
    if (o->got != GROUP) die("a product that not all of a warp group ordered");
    if (!o->in_registers) rows_read(o->x, 64, o->f16, x);
    for (uint32_t t = 0; o->in_registers && t < GROUP; t++)
        for (uint32_t e = 0; e < 8; e++) {
            const uint16_t h = (uint16_t)(o->a[t][e / 2] >> (e % 2 * 16));
            operand_at(RF_EMU_MMA, false, t % 32, e, &r, &k);
            x[k][t / 32 * 16 + r] = o->f16 ? rf_f16_to_f32(h) : rf_bf16_to_f32(h);
        }
    rows_read(o->w, o->n, o->f16, w);
    for (uint32_t t = 0; t < GROUP; t++)
        for (uint32_t i = 0; i < o->n / 2; i++) d[t / 32 * 16 + t % 32 / 4 + 8 * (i / 2 % 2)][8 * (i / 4) + t % 4 * 2 + i % 2] = o->more ? o->d[t][i] : 0;
    for (uint32_t m = 0; m < 64; m++)
        for (k = 0; k < 16; k++)
            for (uint32_t n = 0; n < o->n; n++) d[m][n] += x[k][m] * w[k][n];
    for (uint32_t t = 0; t < GROUP; t++)
        for (uint32_t i = 0; i < o->n / 2; i++) o->d[t][i] = d[t / 32 * 16 + t % 32 / 4 + 8 * (i / 2 % 2)][8 * (i / 4) + t % 4 * 2 + i % 2];
    o->got = 0;
}

static struct group *group_of(const struct fiber *f)
{
    if (f->tid / GROUP * GROUP + GROUP > emu.n_thread) die("a product by a part of a warp group");
    return &emu.here->group[f->tid / GROUP];
}

void rf_emu_wgmma_begin(void) { emu.running->fenced = true; }

void rf_emu_wgmma(uint32_t n, float *d, const uint32_t *a, uint64_t x, uint64_t w, int f16, int more, int line)
{
    struct fiber *f = emu.running;
    struct group *g = group_of(f);
    f->line = line;
    if (!f->fenced) die("a product of a warp group without wgmma.fence before it");
    if (f->n_op - g->n_done >= MAX_OPS) die("too many products of a warp group under way");
    struct op *o = &g->op[f->n_op++ % MAX_OPS];
    if (!o->got) o->x = x, o->w = w, o->n = n, o->f16 = f16, o->more = more, o->line = line, o->in_registers = a;
    if (o->x != x || o->w != w || o->n != n || o->f16 != f16 || o->more != more || o->line != line || o->in_registers != (a != NULL))
        die("a product of a warp group in which its threads differ");
    o->d[f->tid % GROUP] = d, o->a[f->tid % GROUP] = a;
    o->got++;
}

void rf_emu_wgmma_commit(void)
{
    struct fiber *f = emu.running;
    f->commit[f->n_commit++ % MAX_COMMITS] = f->n_op;
    f->fenced = false; /* asked for before each batch, which is more than PTX wants of operands in shared memory */
}

void rf_emu_wgmma_wait(uint32_t most, int line)
{
    struct fiber *f = emu.running;
    struct group *g = group_of(f);
    const uint32_t due = f->n_commit > most ? f->commit[(f->n_commit - most - 1) % MAX_COMMITS] : 0;
    char *place = &g->wait.place[f->n_wait++ & 1];
    if (most >= MAX_COMMITS) die("a wait for so few");
    if (g->wait.n && (g->wait.line != line || g->due != due)) die("a wait for products of a warp group in which its threads differ");
    g->wait.line = f->line = line;
    g->due = due;
    publish(place);
    if (++g->wait.n < GROUP) park(AT_GROUP);
    else {
        observe(place);
        for (; g->n_done < due; g->n_done++) op_run(&g->op[g->n_done % MAX_OPS]);
        publish(place);
        g->wait.n = 0;
        for (uint32_t i = f->tid / GROUP * GROUP, end = i + GROUP; i < end; i++)
            if (emu.here->fiber[i].state == AT_GROUP) emu.here->fiber[i].state = READY;
    }
    observe(place);
}

void rf_emu_registers(uint32_t n)
{
    if (n % 8 || n < 24 || n > 256) die("setmaxnreg of so many");
    emu.running->registers = n;
}

/* After setmaxnreg the block's threads together hold no more than a processor has, or one of them would wait for ever. */
static void registers_check(const struct block *b)
{
    uint32_t sum = 0, asked = 0;
    for (uint32_t i = 0; i < emu.n_thread; i++) {
        const uint32_t n = b->fiber[i].registers;
        if (n != b->fiber[i / GROUP * GROUP].registers) die("setmaxnreg in a part of a warp group");
        sum += n ? n : (REGISTERS / emu.n_thread) & ~7u;
        asked += n;
    }
    if (asked && sum > REGISTERS) die("setmaxnreg of more registers than there are");
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

static void run_cluster(uint32_t grid_x, uint32_t bx, uint32_t by, uint32_t bz)
{
    static uint16_t order[MAX_BLOCKS * MAX_THREADS];
    const uint32_t n = emu.n_thread * emu.n_block;
    for (uint32_t r = 0; r < emu.n_block; r++) {
        struct block *b = &emu.block[r];
        for (uint32_t i = 0; i < emu.n_thread; i++) {
            b->fiber[i].tid = i, b->fiber[i].rank = r;
            fiber_start(&b->fiber[i]);
            b->warp[i].n = 0;
        }
        for (uint32_t i = 0; i < MAX_THREADS / GROUP; i++) {
            b->group[i].n_done = b->group[i].wait.n = 0;
            for (uint32_t k = 0; k < MAX_OPS; k++) b->group[i].op[k].got = 0;
        }
        b->n_live = emu.n_thread;
        b->meeting.n = 0;
        b->shared_end = SHARED_AT;
    }
    for (uint32_t i = 0; i < n; i++) order[i] = (uint16_t)(emu.order == RF_EMU_BACKWARD ? n - 1 - i : i);
    emu.meeting.n = emu.n_copy = 0;
#ifdef RF_EMU_TSAN
    emu.scheduler.twin = __tsan_get_current_fiber();
#endif
    publish(&emu.begin);
    for (uint32_t live = n; live;) {
        bool ran = false;
        for (uint32_t i = n - 1; emu.order == RF_EMU_RANDOM && i; i--) {
            uint32_t j = next_random() % (i + 1);
            uint16_t t = order[i];
            order[i] = order[j];
            order[j] = t;
        }
        for (uint32_t i = 0; i < n; i++) {
            const uint32_t rank = order[i] / emu.n_thread, tid = order[i] % emu.n_thread;
            struct fiber *f = &emu.block[rank].fiber[tid];
            if (f->state == AT_BAR && bar_over(f->bar, f->parity)) f->state = READY;
            if (f->state != READY) continue;
            ran = true;
            emu.running = f;
            emu.here = &emu.block[rank];
            rf_emu_now = (struct rf_emu_thread){tid, bx + rank, by, bz, rank, emu.n_block, grid_x};
            switch_to(&emu.scheduler, f);
            live -= f->state == DONE;
        }
        if (live && !engine_run(!ran) && !ran) die("a deadlock");
    }
    observe(&emu.end);
    if (emu.n_copy) die("a copy that nobody waited for");
    for (uint32_t r = 0; r < emu.n_block; r++) {
        struct block *b = &emu.block[r];
        registers_check(b);
        for (uint32_t i = 0; i < b->n_shared; i++) free(b->shared[i].p);
        b->n_shared = 0;
    }
}

int rf_emu_launch(void (*kernel)(const void *args), const void *args, const uint32_t grid[3], uint32_t cluster, uint32_t threads, uint32_t shared)
{
    if (!threads || threads > MAX_THREADS || !grid[0] || !grid[1] || !grid[2] || grid[1] > 65535 || grid[2] > 65535) return 0;
    if (!cluster || cluster > MAX_BLOCKS || grid[0] % cluster) return 0;
    emu.kernel = kernel;
    emu.args = args;
    emu.n_block = cluster;
    emu.n_thread = threads;
    emu.dynamic = shared;
    for (uint32_t z = 0; z < grid[2]; z++)
        for (uint32_t y = 0; y < grid[1]; y++)
            for (uint32_t x = 0; x < grid[0]; x += cluster) run_cluster(grid[0], x, y, z);
    return 1;
}
