/* How devices interrupt a guest, whoever delivers it: KVM, or a test that counts. Callable from any thread. */
#ifndef VMKIT_RUNNER_IRQ_H
#define VMKIT_RUNNER_IRQ_H

#include <stdbool.h>
#include <stdint.h>

struct irq_sink {
	void (*line)(void *ctx, unsigned gsi, bool high);
	void (*msi)(void *ctx, uint64_t address, uint32_t data);
	void *ctx;
};

static inline void irq_line(const struct irq_sink *s, unsigned gsi, bool high)
{
	if (s->line)
		s->line(s->ctx, gsi, high);
}

static inline void irq_msi(const struct irq_sink *s, uint64_t address, uint32_t data)
{
	if (s->msi)
		s->msi(s->ctx, address, data);
}

#endif
