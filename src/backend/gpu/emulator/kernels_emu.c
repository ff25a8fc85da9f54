/* kernels_emu.c - every kernel, compiled as plain C for the processor, and the list of them by name. */
#include "backend/gpu/emulator/emu.h"
#include "backend/gpu/kernels/all.gpu"

#define X(name, args) \
    static void call_##name(const void *a) { name(*(const struct args *)a); }
RF_GPU_KERNELS(X)
#undef X
const struct rf_emu_kernel rf_emu_kernels[] = {
#define X(name, args) {#name, call_##name, sizeof(struct args), 0},
    RF_GPU_KERNELS(X)
#undef X
};
const size_t rf_emu_n_kernels = sizeof rf_emu_kernels / sizeof *rf_emu_kernels;
