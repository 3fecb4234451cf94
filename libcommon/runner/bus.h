/* The port bus: which device answers which ports. Filled while a machine is made, then only read.
 *
 * Devices have locks of their own; two vCPUs may be in the same device's read or write at once.
 */
#ifndef VMKIT_RUNNER_BUS_H
#define VMKIT_RUNNER_BUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { BUS_RANGES_MAX = 16 };

struct bus_range {
	uint16_t base, len;
	/* @off lies in [0, len); @size is 1, 2 or 4, and 1 where .bytes is set. NULL: all ones, nothing */
	uint32_t (*read)(void *dev, uint16_t off, unsigned size);
	void (*write)(void *dev, uint16_t off, unsigned size, uint32_t value);
	void *dev;
	bool bytes; /* wider accesses are split */
};

struct bus {
	struct bus_range range[BUS_RANGES_MAX];
	unsigned ranges;
};

/** bus_add() - false when the table is full */
bool bus_add(struct bus *b, const struct bus_range *r);

/** bus_access() - one IN or OUT of @size bytes at @data; ports without a device read all ones */
void bus_access(const struct bus *b, bool out, uint16_t port, unsigned size, void *data);

#endif
