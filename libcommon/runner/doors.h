/* Doorbells: a guest's write to an address, of any size, becomes a count in an eventfd, and no vCPU leaves the guest for it.
 * By KVM, or a test that counts. Callable from any thread. */
#ifndef VMKIT_RUNNER_DOORS_H
#define VMKIT_RUNNER_DOORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct doors {
	/* Return: false when that is not to be had: such writes come as they ever did */
	bool (*set)(void *ctx, uint64_t addr, int fd, bool on);
	void *ctx;
};

/* @d NULL: there are none */
static inline bool door_set(const struct doors *d, uint64_t addr, int fd, bool on)
{
	return d && d->set && d->set(d->ctx, addr, fd, on);
}

#endif
