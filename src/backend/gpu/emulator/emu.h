/* emu.h - the dialect on a CPU: one fiber per GPU thread, one block (on Hopper one cluster) at a time, in plain C.
 *
 * A barrier or a warp collective parks the fiber until all have come; arriving at different places is reported and aborts.
 * Shared memory is filled with NaN before each block. Threads run forward, backward or in random order (rf_emu_order).
 * G_WARP (32 or 64) is set by the build.
 */
#ifndef RF_GPU_EMU_H
#define RF_GPU_EMU_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifndef G_WARP
#error "G_WARP is 32 or 64"
#endif

#define G_FN static inline __attribute__((unused))
#define G_KERNEL(threads) static __attribute__((unused)) void
#define G_KERNEL_DENSE(threads, blocks) G_KERNEL(threads)
#define G_SHARED(T, name, n) T *name = (T *)rf_emu_shared(__LINE__, sizeof(T) * (n))

#define G_DYNAMIC(T, name) T *name = (T *)rf_emu_shared(0, rf_emu_dynamic())

struct rf_emu_kernel { const char *name; void (*call)(const void *args); size_t bytes; uint32_t cluster; }; /* bytes: of its arguments; cluster: 0 where the launch says it */
extern const struct rf_emu_kernel rf_emu_kernels[], rf_emu_hopper[]; /* all; those that Hopper has instead, or alone */
extern const size_t rf_emu_n_kernels, rf_emu_n_hopper;
enum { RF_EMU_PROCESSORS = 8 }; /* of an emulated Hopper */

struct rf_emu_thread { uint32_t tid, bx, by, bz, rank, ranks, grid_x; }; /* rank: of ranks blocks of its cluster */
extern struct rf_emu_thread rf_emu_now; /* of the running fiber */

enum rf_emu_order { RF_EMU_FORWARD, RF_EMU_BACKWARD, RF_EMU_RANDOM };

void *rf_emu_shared(int id, size_t bytes);
/* What kernels/hopper.h wants. Shared memory by addresses of 18 bits, from 1024 on, as a block sees its own; `rank`: in that block of the cluster. */
uint32_t rf_emu_shared_at(const void *p);
void *rf_emu_shared_of(uint32_t at, uint32_t rank, size_t bytes);
void rf_emu_cluster_sync(int line);
void rf_emu_bar_init(uint32_t at, uint32_t count);
void rf_emu_bar_arrive(uint32_t at, uint32_t rank, uint32_t bytes); /* and announces so many bytes */
void rf_emu_bar_wait(uint32_t at, uint32_t parity, int line);
void rf_emu_bulk_load(uint32_t to, uint64_t from, uint32_t bytes, uint32_t bar, uint32_t mask); /* mask: to these blocks */
/* d (64 x n) = x w^T + (more ? d : 0), 16 values of k, f16 or bf16: w by its descriptor, x likewise or (a not NULL) in registers. */
void rf_emu_wgmma(uint32_t n, float *d, const uint32_t *a, uint64_t x, uint64_t w, int f16, int more, int line);
void rf_emu_wgmma_begin(void);
void rf_emu_wgmma_commit(void);
void rf_emu_wgmma_wait(uint32_t most, int line);
void rf_emu_registers(uint32_t n); /* of each thread of a warp group from now on */
int rf_emu_decodes(void); /* kernels/matrix.h: not where RF_EMU_DECODE is "plain" */
size_t rf_emu_dynamic(void); /* bytes of shared memory that the launch asked for */
void rf_emu_block_sync(int line);
int rf_emu_shfl(int v, uint32_t lane, int line);
/* A matrix step of the calling warp (kernels/matrix.h): c += a b. Operands are words of two values, f16 or bf16. */
enum rf_emu_unit { RF_EMU_MMA8, RF_EMU_MMA, RF_EMU_RDNA3, RF_EMU_RDNA4, RF_EMU_CDNA }; /* m16n8k16, that twice, and AMD's */
void rf_emu_mma(enum rf_emu_unit unit, float *c, const uint32_t *a, const uint32_t *b, int f16, int line);
/* Runs one launch; false: the shape is none that a device takes. */
int rf_emu_launch(void (*kernel)(const void *args), const void *args, const uint32_t grid[3], uint32_t cluster, uint32_t threads, uint32_t shared);
void rf_emu_set_order(enum rf_emu_order order, uint32_t seed);

G_FN uint32_t g_tid(void) { return rf_emu_now.tid; }
G_FN uint32_t g_bx(void) { return rf_emu_now.bx; }
G_FN uint32_t g_by(void) { return rf_emu_now.by; }
G_FN uint32_t g_bz(void) { return rf_emu_now.bz; }
G_FN uint32_t g_lane(void) { return rf_emu_now.tid % G_WARP; }
#define g_sync() rf_emu_block_sync(__LINE__)
#define g_shfl_xor_i(v, m) rf_emu_shfl(v, g_lane() ^ (uint32_t)(m), __LINE__)
G_FN float g_asf(uint32_t x)
{
    float f;
    memcpy(&f, &x, 4);
    return f;
}
G_FN uint32_t g_asu(float x)
{
    uint32_t u;
    memcpy(&u, &x, 4);
    return u;
}
G_FN float g_exp2(float x) { return exp2f(x); }
G_FN float g_fma(float a, float b, float c) { return fmaf(a, b, c); }
float rf_emu_h2f(uint16_t h);
uint16_t rf_emu_f2h(float f);
G_FN float g_h2f(uint16_t h) { return rf_emu_h2f(h); }
G_FN uint16_t g_f2h(float f) { return rf_emu_f2h(f); }
G_FN void g_pdl_wait(void) {}
G_FN void g_pdl_launch(void) {}
G_FN void g_publish(void) {}
G_FN void g_observe(void) {}
G_FN uint32_t g_arrive(uint32_t *count) { return (*count)++; } /* one block at a time */
G_FN uint32_t g_ticket(uint32_t *count) { return (*count)++; }
G_FN uint32_t g_fma2(uint32_t a, uint32_t b, uint32_t c)
{
    uint32_t lo = g_f2h(fmaf(g_h2f((uint16_t)a), g_h2f((uint16_t)b), g_h2f((uint16_t)c)));
    return lo | (uint32_t)g_f2h(fmaf(g_h2f((uint16_t)(a >> 16)), g_h2f((uint16_t)(b >> 16)), g_h2f((uint16_t)(c >> 16)))) << 16;
}
G_FN uint32_t g_add2(uint32_t a, uint32_t b) { return g_fma2(a, 0x3c003c00u, b); }
G_FN uint32_t g_mul2(uint32_t a, uint32_t b) { return g_fma2(a, b, 0x80008000u); }
G_FN uint32_t g_and_or(uint32_t a, uint32_t b, uint32_t c) { return (a & b) | c; }
G_FN uint32_t g_perm(uint32_t a, uint32_t b, uint32_t sel)
{
    uint64_t all = a | (uint64_t)b << 32;
    uint32_t r = 0;
    for (int i = 0; i < 4; i++) r |= (uint32_t)(all >> (8 * ((sel >> (4 * i)) & 7)) & 255) << (8 * i);
    return r;
}

#endif
