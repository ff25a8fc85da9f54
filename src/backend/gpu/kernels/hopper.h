/* hopper.h - what only sm_90a has: warp-group products, copies by the copy engine counted on barriers, clusters. Vendor code, part of
 * the dialect; G_HOPPER says that it is there.
 * Addresses of shared memory are 32-bit (g_shared_at). PTX ISA 8.0, chapters 9.7.8, 9.7.13, 9.7.15.
 */
#ifndef RF_GPU_HOPPER_H
#define RF_GPU_HOPPER_H

#include "matrix.h"

#if defined(__CUDA_ARCH_FEAT_SM90_ALL) && !defined(__clang__)
#define G_HOPPER
#define G_KERNEL_CLUSTER(threads, n) extern "C" __global__ __cluster_dims__(n, 1, 1) __launch_bounds__(threads, 1) void

G_FN g_u32 g_grid_x(void) { return gridDim.x; }
G_FN float g_rcp(float x) { float r; asm("rcp.approx.f32 %0, %1;" : "=f"(r) : "f"(x)); return r; } /* 1 / x, off by an ulp at most */
G_FN g_u32 g_processors(void) { g_u32 n; asm("mov.u32 %0, %%nsmid;" : "=r"(n)); return n; }
G_FN g_u32 g_cluster_size(void) { g_u32 n; asm("mov.u32 %0, %%cluster_nctaid.x;" : "=r"(n)); return n; }
G_FN g_u32 g_cluster_rank(void) { g_u32 r; asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(r)); return r; }
G_FN void g_cluster_sync(void)
{
    asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
}
#define g_registers_more(n) asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(n))
#define g_registers_less(n) asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(n))

/* Four floats at the same place of shared memory in block `rank` of the cluster. */
G_FN struct g_f4 g_shared_load4(g_u32 at, g_u32 rank)
{
    struct g_f4 f;
    asm volatile("{\n.reg .b32 a;\nmapa.shared::cluster.u32 a, %4, %5;\nld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [a];\n}"
                 : "=f"(f.v[0]), "=f"(f.v[1]), "=f"(f.v[2]), "=f"(f.v[3]) : "r"(at), "r"(rank) : "memory");
    return f;
}
G_FN void g_bar_init(g_u32 bar, g_u32 count) { asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(bar), "r"(count) : "memory"); }
G_FN void g_bar_init_done(void) { asm volatile("fence.mbarrier_init.release.cluster;\nfence.proxy.async.shared::cta;" ::: "memory"); }
G_FN void g_bar_expect(g_u32 bar, g_u32 bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(bar), "r"(bytes) : "memory");
}
/* Arrives at the same barrier of block `rank` of the cluster. Says that reads are over, so it needs no order over the cluster: that would
 * wait for all of the block's memory traffic. */
G_FN void g_bar_arrive_at(g_u32 bar, g_u32 rank)
{
    asm volatile("{\n.reg .b32 a;\nmapa.shared::cluster.u32 a, %0, %1;\nmbarrier.arrive.shared::cluster.b64 _, [a];\n}" ::"r"(bar), "r"(rank)
                 : "memory");
}
G_FN void g_bar_arrive_here(g_u32 bar) { asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(bar) : "memory"); }
G_FN void g_bar_wait(g_u32 bar, g_u32 parity)
{
    g_u32 done;
    do {
        asm volatile("{\n.reg .pred p;\nmbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\nselp.u32 %0, 1, 0, p;\n}"
                     : "=r"(done) : "r"(bar), "r"(parity) : "memory");
    } while (!done);
}
G_FN void g_bulk_load(g_u32 to, g_u64 from, g_u32 bytes, g_u32 bar)
{
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(to), "l"(from), "r"(bytes), "r"(bar)
                 : "memory");
}
/* To the same place of every block in `mask`, counted on each one's barrier. */
G_FN void g_bulk_load_all(g_u32 to, g_u64 from, g_u32 bytes, g_u32 bar, g_u32 mask)
{
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1], %2, [%3], %4;" ::"r"(to), "l"(from),
                 "r"(bytes), "r"(bar), "h"((g_u16)mask)
                 : "memory");
}

G_FN void g_wgmma_begin(void) { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
G_FN void g_wgmma_commit(void) { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
#define g_wgmma_wait(n) asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(n) : "memory")

#define G_D8(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), "+f"(d[i + 7])
#define G_D64(i) G_D8(i), G_D8(i + 8), G_D8(i + 16), G_D8(i + 24), G_D8(i + 32), G_D8(i + 40), G_D8(i + 48), G_D8(i + 56)
/* d (64 x 256, 4 warps) = x w^T + (more ? d : 0), 16 values of k, bf16. d[4 j + i]: row 16 warp + lane / 4 + 8 (i / 2), column 8 j + 2 (lane % 4) + i % 2. */
G_FN void g_wgmma_64x256(float *d, g_u64 x, g_u64 w, int more)
{
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %130, 0;\nwgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 {"
                 "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
                 "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63,"
                 "%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79,%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95,"
                 "%96,%97,%98,%99,%100,%101,%102,%103,%104,%105,%106,%107,%108,%109,%110,%111,%112,%113,%114,%115,%116,%117,%118,%119,%120,%121,"
                 "%122,%123,%124,%125,%126,%127}, %128, %129, p, 1, 1, 0, 0;\n}"
                 : G_D64(0), G_D64(64) : "l"(x), "l"(w), "r"(more));
}
/* d (64 x 64, 4 warps) += w x^T, 16 values of k. w: 64 rows as for g_wgmma_rows, or (f16) the lane's part of them, that of m16n8k16 (matrix.h) for the 16 rows of its warp;
 * x: rows as before. d[4 j + i]: row 16 warp + lane / 4 + 8 (i / 2), column 8 j + 2 (lane % 4) + i % 2. */
#define G_D_64X64 "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31}"
G_FN void g_wgmma_64x64_bf16(float *d, g_u64 w, g_u64 x)
{
    asm volatile("wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 " G_D_64X64 ", %32, %33, 1, 1, 1, 0, 0;"
                 : G_D8(0), G_D8(8), G_D8(16), G_D8(24) : "l"(w), "l"(x));
}
G_FN void g_wgmma_64x64_f16(float *d, const g_u32 *w, g_u64 x)
{
    asm volatile("wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 " G_D_64X64 ", {%32,%33,%34,%35}, %36, 1, 1, 1, 0;"
                 : G_D8(0), G_D8(8), G_D8(16), G_D8(24) : "r"(w[0]), "r"(w[1]), "r"(w[2]), "r"(w[3]), "l"(x));
}

#elif defined(RF_EMU_HOPPER)
#define G_HOPPER
#define G_KERNEL_CLUSTER(threads, n) enum { emu_cluster = n }; G_KERNEL(threads)
G_FN g_u32 g_grid_x(void) { return rf_emu_now.grid_x; }
G_FN float g_rcp(float x) { return 1.0f / x; }
G_FN g_u32 g_processors(void) { return RF_EMU_PROCESSORS; }
G_FN g_u32 g_cluster_size(void) { return rf_emu_now.ranks; }
G_FN g_u32 g_cluster_rank(void) { return rf_emu_now.rank; }
#define g_cluster_sync() rf_emu_cluster_sync(__LINE__)
#define g_registers_more rf_emu_registers
#define g_registers_less rf_emu_registers
#define g_shared_at rf_emu_shared_at
G_FN struct g_f4 g_shared_load4(g_u32 at, g_u32 rank) { return *(struct g_f4 *)rf_emu_shared_of(at, rank, sizeof(struct g_f4)); }
#define g_bar_init rf_emu_bar_init
#define g_bar_init_done() ((void)0)
#define g_bar_expect(bar, bytes) rf_emu_bar_arrive(bar, g_cluster_rank(), bytes)
#define g_bar_arrive_at(bar, rank) rf_emu_bar_arrive(bar, rank, 0)
#define g_bar_arrive_here(bar) rf_emu_bar_arrive(bar, g_cluster_rank(), 0)
#define g_bar_wait(bar, parity) rf_emu_bar_wait(bar, parity, __LINE__)
#define g_bulk_load(to, from, bytes, bar) rf_emu_bulk_load(to, from, bytes, bar, 1u << g_cluster_rank())
#define g_bulk_load_all rf_emu_bulk_load
#define g_wgmma_begin rf_emu_wgmma_begin
#define g_wgmma_commit rf_emu_wgmma_commit
#define g_wgmma_wait(n) rf_emu_wgmma_wait(n, __LINE__)
#define g_wgmma_64x256(d, x, w, more) rf_emu_wgmma(256, d, 0, x, w, 0, more, __LINE__)
#define g_wgmma_64x64_bf16(d, w, x) rf_emu_wgmma(64, d, 0, w, x, 0, 1, __LINE__)
#define g_wgmma_64x64_f16(d, w, x) rf_emu_wgmma(64, d, w, 0, x, 1, 1, __LINE__)
#endif

#if defined(G_HOPPER)
struct __attribute__((aligned(8))) g_f2 { float v[2]; };
/* Operand of wgmma: rows of 128 bytes in the order of g_blob_at, eight rows a group of 1024 bytes. */
G_FN g_u64 g_wgmma_rows(g_u32 at) { return (g_u64)((at & 0x3ffff) >> 4) | (g_u64)1 << 16 | (g_u64)(1024 >> 4) << 32 | (g_u64)1 << 62; }
#endif
#endif
