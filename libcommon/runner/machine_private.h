/* What machine.c, vcpu.c and console.c share. */
#ifndef VMKIT_RUNNER_MACHINE_PRIVATE_H
#define VMKIT_RUNNER_MACHINE_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "libcommon/runner/attach.h"
#include "libcommon/runner/bus.h"
#include "libcommon/runner/control.h"
#include "libcommon/runner/firmware.h"
#include "libcommon/runner/grace.h"
#include "libcommon/runner/kvm.h"
#include "libcommon/runner/legacy.h"
#include "libcommon/runner/linux.h"
#include "libcommon/runner/memory.h"
#include "libcommon/runner/pci.h"
#include "libcommon/runner/piix4.h"
#include "libcommon/runner/runner.h"
#include "libcommon/runner/serial.h"
#include "libcommon/runner/virtio_balloon.h"
#include "libcommon/runner/virtio_blk.h"
#include "libcommon/runner/virtio_console.h"
#include "libcommon/runner/virtio_fs.h"
#include "libcommon/runner/virtio_net.h"
#include "libcommon/runner/virtio_rng.h"
#include "libcommon/runner/virtio_vsock.h"

struct machine;

struct vcpu {
	struct machine *m;
	unsigned index;
	int fd;
	struct kvm_run *run;
	pthread_t thread;
	bool running;
	atomic_int tid;		/* of its thread, for who pins it; 0: not yet */
	atomic_ullong exits;	/* from the guest to here */
	atomic_ullong spent_ns; /* of its thread, once that has ended */
};

struct machine {
	const struct machine_opts *opts;
	struct kvm kvm;
	struct guest_memory mem;
	struct firmware firmware;
	struct bus ports;
	struct pci_bus pci;
	struct pci_dev bridge;
	struct piix4 piix4; /* with UEFI firmware */
	struct legacy legacy;
	struct serial serial;
	struct attach attach;
	struct virtio_dev *rng; /* NULL until made; so are those below */
	struct virtio_blk *blk[MACHINE_DISKS_MAX];
	struct virtio_console *streams;
	struct virtio_net *net[MACHINE_NETS_MAX];
	struct virtio_fs *fs[MACHINE_SHARES_MAX];
	struct virtio_balloon *balloon;
	struct virtio_vsock *vsock;
	struct vcpu vcpu[MACHINE_CPUS_MAX];
	unsigned vcpus;	    /* made */
	int wake;	    /* eventfd: the main loop has something to look at */
	int signals;	    /* signalfd: SIGINT, SIGTERM, SIGHUP while the machine runs */
	bool ran;	    /* all of its vCPUs were started */
	struct grace grace; /* after the deadline */
	int stopped_by;	    /* the signal that ended it, or 0; the main loop's alone */

	uint64_t deadline_ms; /* by CLOCK_MONOTONIC; 0: none. Set before the vCPUs' threads look */

	pthread_mutex_t lock; /* guards the two below */
	enum machine_end end;
	struct err err;
	atomic_bool ended;
	atomic_bool paused;	/* changed with the lock */
	atomic_bool saved;	/* and has not run since */
	unsigned parked;	/* vCPUs that wait; with the lock */
	pthread_cond_t parking; /* one of these three has changed */
	char line[200];		/* of the serial console, written by it alone */
	unsigned line_len;
	char last_line[200];
};

/** machine_ends() - the first who says so decides how; callable from any thread. @err: for MACHINE_FAILED, else NULL */
void machine_ends(struct machine *m, enum machine_end how, const struct err *err);

/** machine_wake() - have the main loop look */
void machine_wake(struct machine *m);

/** machine_mmio() - an access of the guest to where it has no memory */
void machine_mmio(struct machine *m, bool write, uint64_t addr, unsigned size, void *data);

/** machine_add_virtio() - a device that was initialized, into the next slot; its threads start */
int machine_add_virtio(struct machine *m, struct virtio_dev *d, struct err *err);

/* extras.c: devices that not every machine has */
int machine_make_extras(struct machine *m, struct err *err);
void machine_free_extras(struct machine *m);
/** machine_confine_files() - what the threads that are started from now on may open: shared folders */
void machine_confine_files(const struct machine *m);
/** machine_free_device() - NULL is allowed; @d is the first member of what calloc() gave */
void machine_free_device(struct virtio_dev *d);

/* pause.c */
/** machine_pause() - no vCPU runs when this returns, unless one waits for the reader of its console and stops after that */
void machine_pause(struct machine *m);
/** machine_resume() - also when it is not paused */
void machine_resume(struct machine *m);
/** machine_park() - where a vCPU's thread waits while the machine is paused */
void machine_park(struct vcpu *v);

/** machine_settle() - finish what the guest's last exit began: its registers are whole after it; by its own thread */
void machine_settle(struct vcpu *v);
/** machine_parked() - does no vCPU run? */
bool machine_parked(struct machine *m);

/* save.c */
/** machine_save() - the machine's state into the empty file @fd; it is paused afterwards, also on failure */
int machine_save(struct machine *m, int fd, bool compress, struct err *err);

/** machine_prepared() - it waits for a command: it ends, saved */
void machine_prepared(struct machine *m);

/* answer.c */
/** machine_answer() - a control_fn; @ctx: the machine, with its vCPUs started */
int machine_answer(void *ctx, const struct control_request *r, json_t *answer, struct err *err);

/** machine_figures() - what it has used, into @answer; with all devices made, vCPUs running or ended */
void machine_figures(struct machine *m, json_t *answer);

/** machine_take_peer() - a control_take_fn */
void machine_take_peer(void *ctx, int fd);

/* vcpu.c */
/** vcpu_create() - @boot: what the first one starts with; NULL: its registers are loaded later */
int vcpu_create(struct machine *m, unsigned index, const struct linux_boot *boot, struct err *err);
int vcpu_start(struct vcpu *v, struct err *err);
/** vcpu_kick() - out of the guest for a moment; only while it runs */
void vcpu_kick(struct vcpu *v);
/** vcpu_stop() - out of the guest, its thread ended, all of it freed. Return: false when it has not ended yet: again */
bool vcpu_stop(struct vcpu *v);

/* console.c */
void console_attach(struct machine *m);
/** console_wants_input() - is there a reader for standard input's bytes? */
bool console_wants_input(struct machine *m);
/** console_forward() - what is there of the input goes to the guest; Return: false at its end */
bool console_forward(struct machine *m);

#endif
