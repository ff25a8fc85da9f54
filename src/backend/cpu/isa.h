/* isa.h - what this CPU can do, as flags; a cap ("avx2") hides the stronger ones for tests and comparison. */
#ifndef RF_BACKEND_CPU_ISA_H
#define RF_BACKEND_CPU_ISA_H

#include "base/status.h"

enum rf_isa {
    RF_ISA_AVX2 = 1u << 0,     /* AVX2, FMA, F16C */
    RF_ISA_AVX512 = 1u << 1,   /* F BW DQ VL VNNI */
    RF_ISA_AVX512BF16 = 1u << 2, /* vdpbf16ps */
    RF_ISA_AMX = 1u << 3,      /* tiles, int8, bf16, and the kernel let us use them */
    RF_ISA_NEON = 1u << 4,
    RF_ISA_DOTPROD = 1u << 5,
    RF_ISA_I8MM = 1u << 6,
};

/* cap: "auto" or NULL (all), "ref" (none), "avx2", "avx512", "avx512bf16", "amx", "neon". Unknown: RF_INVALID with the list. */
rf_status rf_isa_detect(const char *cap, unsigned *isa, struct rf_error *err);
void rf_isa_text(unsigned isa, char *out, size_t cap); /* "avx2 avx512 avx512bf16" */

#endif
