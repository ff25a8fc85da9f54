/* emu.h - the dialect on a CPU: one fiber per GPU thread, one block at a time, in plain C.
 *
 * A barrier or a warp collective parks the fiber until all have come; arriving at different places is reported and aborts.
 * Shared memory is filled with NaN before each block. Threads run forward, backward or in random order (rf_emu_order).
 * G_WARP (32 or 64) is set by the build.
 */
#ifndef RF_GPU_EMU_H
#define RF_GPU_EMU_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifndef G_WARP
#error "G_WARP is 32 or 64"
#endif

#define G_FN static inline __attribute__((unused))
#define G_KERNEL(threads) void
#define G_KERNEL_DENSE(threads, blocks) void
#define G_SHARED(T, name, n) T *name = (T *)rf_emu_shared(__LINE__, sizeof(T) * (n))

#define G_DYNAMIC(T, name) T *name = (T *)rf_emu_shared(0, rf_emu_dynamic())

struct rf_emu_kernel { const char *name; void (*call)(const void *args); size_t bytes; }; /* bytes: of its arguments */
extern const struct rf_emu_kernel rf_emu_kernels[];
extern const size_t rf_emu_n_kernels;

struct rf_emu_thread { uint32_t tid, bx, by, bz; };
extern struct rf_emu_thread rf_emu_now; /* of the running fiber */

enum rf_emu_order { RF_EMU_FORWARD, RF_EMU_BACKWARD, RF_EMU_RANDOM };

void *rf_emu_shared(int id, size_t bytes);
/* Shared memory by addresses of 32 bits, and counting barriers in it, as kernels/hopper.h wants them. */
uint32_t rf_emu_shared_at(const void *p);
void *rf_emu_shared_of(uint32_t at, size_t bytes);
void rf_emu_bar_init(uint32_t at, uint32_t count);
void rf_emu_bar_arrive(uint32_t at, uint32_t bytes); /* and announces so many bytes */
void rf_emu_bar_bytes(uint32_t at, uint32_t bytes);  /* which are there */
void rf_emu_bar_wait(uint32_t at, uint32_t parity, int line);
int rf_emu_decodes(void); /* kernels/matrix.h: not where RF_EMU_DECODE is "plain" */
size_t rf_emu_dynamic(void); /* bytes of shared memory that the launch asked for */
void rf_emu_block_sync(int line);
int rf_emu_shfl(int v, uint32_t lane, int line);
/* A matrix step of the calling warp (kernels/matrix.h): c += a b. Operands are words of two values, f16 or bf16. */
enum rf_emu_unit { RF_EMU_MMA8, RF_EMU_MMA, RF_EMU_RDNA3, RF_EMU_RDNA4, RF_EMU_CDNA }; /* m16n8k16, that twice, and AMD's */
void rf_emu_mma(enum rf_emu_unit unit, float *c, const uint32_t *a, const uint32_t *b, int f16, int line);
/* Runs one launch; false: the shape is none that a device takes. */
int rf_emu_launch(void (*kernel)(const void *args), const void *args, const uint32_t grid[3], uint32_t threads, uint32_t shared);
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
