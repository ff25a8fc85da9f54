#include "backend/cpu/isa.h"

#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/mem.h"

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

static const struct {
    const char *name;
    unsigned flag;
} names[] = {
    {"avx2", RF_ISA_AVX2}, {"avx512", RF_ISA_AVX512},   {"avx512bf16", RF_ISA_AVX512BF16}, {"amx", RF_ISA_AMX},
    {"neon", RF_ISA_NEON}, {"dotprod", RF_ISA_DOTPROD}, {"i8mm", RF_ISA_I8MM},
};

/* What each cap lets through. */
static const struct {
    const char *name;
    unsigned allows;
} caps[] = {
    {"auto", ~0u},
    {"ref", 0},
    {"avx2", RF_ISA_AVX2},
    {"avx512", RF_ISA_AVX2 | RF_ISA_AVX512},
    {"avx512bf16", RF_ISA_AVX2 | RF_ISA_AVX512 | RF_ISA_AVX512BF16},
    {"amx", RF_ISA_AVX2 | RF_ISA_AVX512 | RF_ISA_AVX512BF16 | RF_ISA_AMX},
    {"neon", RF_ISA_NEON | RF_ISA_DOTPROD | RF_ISA_I8MM},
};

#if defined(__x86_64__)
/* CPUID 7.0 EDX: bit 22 bf16, 24 tiles, 25 int8. Linux gives the tile registers (state component 18) only to processes
 * that ask (Documentation/arch/x86/xstate.rst). */
static bool amx_usable(void)
{
    enum { ARCH_REQ_XCOMP_PERM_ = 0x1023, XFEATURE_XTILEDATA_ = 18 };
    unsigned a, b, c, d, need = 1u << 22 | 1u << 24 | 1u << 25;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & need) != need) return false;
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM_, XFEATURE_XTILEDATA_) == 0;
}

static bool has_f16c(void) /* CPUID 1 ECX bit 29; the compiler's builtin has no name for it */
{
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & 1u << 29);
}

static unsigned detect(unsigned allows)
{
    unsigned isa = 0;
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c()) isa |= RF_ISA_AVX2;
    if (isa && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni")) {
        isa |= RF_ISA_AVX512;
        if (__builtin_cpu_supports("avx512bf16")) isa |= RF_ISA_AVX512BF16;
        /* asked for only where it may be used */
        if ((allows & RF_ISA_AMX) && (isa & RF_ISA_AVX512BF16) && amx_usable()) isa |= RF_ISA_AMX;
        /* Intel starts a vdpbf16ps every other cycle: half as many products as f32 fma has. It is used there if its cap asks for it. */
        if ((allows & RF_ISA_AMX) && !(isa & RF_ISA_AMX) && __builtin_cpu_is("intel")) isa &= ~(unsigned)RF_ISA_AVX512BF16;
    }
    return isa & allows;
}
#elif defined(__aarch64__)
static unsigned detect(unsigned allows)
{
    unsigned isa = RF_ISA_NEON;
    if (getauxval(AT_HWCAP) & 1u << 20) isa |= RF_ISA_DOTPROD;  /* HWCAP_ASIMDDP */
    if (getauxval(AT_HWCAP2) & 1u << 13) isa |= RF_ISA_I8MM;    /* HWCAP2_I8MM */
    return isa & allows;
}
#else
static unsigned detect(unsigned allows)
{
    (void)allows;
    return 0;
}
#endif

rf_status rf_isa_detect(const char *cap, unsigned *isa, struct rf_error *err)
{
    for (size_t i = 0; i < RF_COUNT(caps); i++)
        if (!strcmp(cap ? cap : "auto", caps[i].name)) {
            *isa = detect(caps[i].allows);
            return RF_OK;
        }
    return rf_fail_param(err, RF_INVALID, "isa", "isa \"%.40s\": expected auto, ref, avx2, avx512, avx512bf16, amx or neon", cap);
}

void rf_isa_text(unsigned isa, char *out, size_t cap)
{
    size_t at = 0;
    if (cap) out[0] = 0;
    for (size_t i = 0; i < RF_COUNT(names); i++) {
        if (!(isa & names[i].flag) || at >= cap) continue;
        int n = snprintf(out + at, cap - at, "%s%s", at ? " " : "", names[i].name);
        at += n > 0 ? (size_t)n : 0;
    }
    if (!at && cap) snprintf(out, cap, "ref");
}
