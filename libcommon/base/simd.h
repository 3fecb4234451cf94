/* After routines that use wide vector registers and do not clean up behind themselves. */
#ifndef VMKIT_BASE_SIMD_H
#define VMKIT_BASE_SIMD_H

/**
 * simd_done() - the upper halves of the vector registers are no longer in use
 *
 * ISA-L returns without saying so, and what SSE code comes next then waits for them at each instruction: zlib took 1.6
 * times as long behind it (AMD EPYC, 2026). The compiler says it by itself behind what it makes.
 */
static inline void simd_done(void)
{
#if defined(__x86_64__)
	if (__builtin_cpu_supports("avx"))
		__asm__ volatile("vzeroupper");
#endif
}

#endif
