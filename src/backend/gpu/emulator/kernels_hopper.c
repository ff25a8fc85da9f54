/* kernels_hopper.c - the kernels that Hopper's code has instead of others, or alone (RF_EMU_HOPPER=1); as kernels_emu.c. */
#define RF_EMU_HOPPER
#include "backend/gpu/emulator/emu.h"
#include "backend/gpu/kernels/gemm.gpu"
#include "backend/gpu/kernels/gemm_few.gpu"

#define HOPPER_KERNELS(X) X(gemm_shape, gemm_shape_args, 0) X(gemm, gemm_args, emu_cluster)
#define STREAM(name, args) X(name, args, 0)

#define X(name, args, cluster) \
    static void call_##name(const void *a) { name(*(const struct args *)a); }
HOPPER_KERNELS(X)
RF_GPU_OTHER_KERNELS(STREAM)
#undef X
const struct rf_emu_kernel rf_emu_hopper[] = {
#define X(name, args, cluster) {#name, call_##name, sizeof(struct args), cluster},
    HOPPER_KERNELS(X)
    RF_GPU_OTHER_KERNELS(STREAM)
#undef X
};
const size_t rf_emu_n_hopper = sizeof rf_emu_hopper / sizeof *rf_emu_hopper;
