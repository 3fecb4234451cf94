/* The KVM machine: described by a struct machine_opts, run until it ends.
 *
 * It has 1 to 16 vCPUs, memory, the interrupt chips and the timer of a PC in the kernel, a serial console, ACPI with power
 * button and reset, a clock, pvpanic, and virtio-1 devices on PCI: a random number generator, and one disk an image,
 * one interface a net.
 * It starts a Linux bzImage at its 64-bit entry. Nothing that the guest does makes this process do more than that; what it
 * never needs it gives up before, for good (confine.h).
 */
#ifndef VMKIT_RUNNER_RUNNER_H
#define VMKIT_RUNNER_RUNNER_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libcommon/base/err.h"

struct control;
struct disk;
struct image;
struct net;
struct share;
struct state;
struct vsock;

/* Slots of PCI: 32, of which the bridge, the generator of random numbers and the streams take one each */
enum {
	MACHINE_CPUS_MAX = 16,
	MACHINE_DISKS_MAX = 24,
	MACHINE_NETS_MAX = 4,
	MACHINE_SHARES_MAX = 8
};

struct machine_streams {
	int in, out, errors; /* descriptors; borrowed */
	/* What a machine that waits for a command (.prepare) gets on its control port; borrowed, @first_len 0: nothing */
	const void *first;
	size_t first_len;
};

/* A folder that the guest mounts by @tag (virtio_fs.h) */
struct machine_share {
	struct share *share; /* borrowed */
	const char *tag;
};

struct machine_opts {
	const char *kvm;      /* NULL: /dev/kvm */
	const char *firmware; /* what starts the machine, a BIOS or UEFI; NULL: a kernel does */
	struct image *firmware_vars; /* see struct firmware_opts */
	const char *firmware_template;
	const char *kernel; /* path of a bzImage */
	const char *initrd; /* path or NULL */
	const char *command_line;
	uint64_t memory;	   /* bytes */
	bool huge_pages;	   /* of the host's pool, not together with a balloon */
	unsigned cpus;		   /* 1 to MACHINE_CPUS_MAX */
	struct disk *const *disks; /* borrowed; vda, vdb, ... */
	size_t n_disks;
	json_t *figures; /* an object that gets what CONTROL_STATS tells, at the end; NULL: not wanted. Borrowed */
	struct net *const *nets; /* borrowed; not used by others meanwhile */
	size_t n_nets;
	const struct machine_share *shares; /* borrowed */
	size_t n_shares;		    /* at most MACHINE_SHARES_MAX */
	struct vsock *vsock;		    /* NULL: the guest has none. Borrowed */
	uint32_t vsock_cid;
	bool balloon;
	int input, output;   /* of the serial console; -1: none. Borrowed */
	int escape;	     /* a byte of @input that ends the machine; -1: none */
	uint64_t timeout_ms; /* 0: none; the disks get five seconds more for what they are at */
	/* A command in the guest, which vmrun-init in the initial RAM disk runs: its streams; the first stop signal is handed
	 * on to it. NULL: none */
	const struct machine_streams *streams;
	struct control *control; /* answers for the machine while it runs; NULL: none. Borrowed */
	/* Ends, saved to the empty file @prepare_fd (borrowed), when vmrun-init says that it waits for a command */
	bool prepare;
	int prepare_fd;
	/* A saved machine that goes on, instead of a kernel (state.h); its memory, cpus and disks are the same. NULL: none.
	 * Borrowed */
	const struct state *restore;
	int initrd_fd; /* a second initial RAM disk behind the first; -1: none. Borrowed */
};

enum machine_end {
	MACHINE_RUNNING,
	MACHINE_POWEROFF,
	MACHINE_RESET,	 /* it asked to be started again */
	MACHINE_PANIC,	 /* told by pvpanic */
	MACHINE_CRASHED, /* triple fault */
	MACHINE_TIMEOUT,
	MACHINE_ESCAPED, /* the escape byte came */
	MACHINE_STOPPED, /* by the control socket, the guest was not asked */
	MACHINE_SAVED,	 /* the same, when its state was saved just before */
	MACHINE_FAILED,	 /* see err */
};

struct machine_result {
	enum machine_end end;
	int status;	     /* the command's; -1 when it was not told */
	char last_line[200]; /* of the serial console, where that has no output */
};

/**
 * machine_run() - build the machine, run it to its end, flush its disks, take it down
 *
 * A stop signal (base/stop.h) ends it with ERR_CANCELLED; a reader of the console that went away with ERR_PIPE.
 * Return: 0 with *@ret, or -1: ERR_UNSUPPORTED (KVM is absent or odd), ERR_DENIED, ERR_USAGE (memory), errors of
 * linux_load(), ERR_FAILED, ERR_TIMEOUT (a disk that did not answer had to be given up)
 */
int machine_run(const struct machine_opts *opts, struct machine_result *ret, struct err *err);

#endif
