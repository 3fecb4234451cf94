/* The KVM machine: described by a struct machine_opts, run until it ends.
 *
 * It has 1 to 16 vCPUs, memory, the interrupt chips and the timer of a PC in the kernel, a serial console, ACPI with power
 * button and reset, a clock, pvpanic, and virtio-1 devices on PCI: a random number generator, and one disk an image.
 * It starts a Linux bzImage at its 64-bit entry. Nothing that the guest does makes this process do more than that.
 */
#ifndef VMKIT_RUNNER_RUNNER_H
#define VMKIT_RUNNER_RUNNER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libcommon/base/err.h"

struct disk;

enum { MACHINE_CPUS_MAX = 16, MACHINE_DISKS_MAX = 24 };

struct machine_opts {
	const char *kvm;    /* NULL: /dev/kvm */
	const char *kernel; /* path of a bzImage */
	const char *initrd; /* path or NULL */
	const char *command_line;
	uint64_t memory;	   /* bytes */
	unsigned cpus;		   /* 1 to MACHINE_CPUS_MAX */
	struct disk *const *disks; /* borrowed; vda, vdb, ... */
	size_t n_disks;
	int input, output;   /* of the serial console; @input -1: none. Borrowed */
	int escape;	     /* a byte of @input that ends the machine; -1: none */
	uint64_t timeout_ms; /* 0: none */
};

enum machine_end {
	MACHINE_RUNNING,
	MACHINE_POWEROFF,
	MACHINE_RESET,	 /* it asked to be started again */
	MACHINE_PANIC,	 /* told by pvpanic */
	MACHINE_CRASHED, /* triple fault */
	MACHINE_TIMEOUT,
	MACHINE_ESCAPED, /* the escape byte came */
	MACHINE_FAILED,	 /* see err */
};

/**
 * machine_run() - build the machine, run it to its end, flush its disks, take it down
 *
 * A stop signal (base/stop.h) ends it with ERR_CANCELLED; a reader of the console that went away with ERR_PIPE.
 * Return: 0 with *@ret_end, or -1: ERR_UNSUPPORTED (KVM is absent or odd), ERR_DENIED, ERR_USAGE (memory), errors of
 * linux_load(), ERR_FAILED
 */
int machine_run(const struct machine_opts *opts, enum machine_end *ret_end, struct err *err);

#endif
