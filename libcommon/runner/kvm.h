/* /dev/kvm: a virtual machine with interrupt chips, its memory, its vCPUs. The only place beside vcpu.c and
 * state_kvm.c that speaks to it. */
#ifndef VMKIT_RUNNER_KVM_H
#define VMKIT_RUNNER_KVM_H

#include <linux/kvm.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libcommon/base/err.h"
#include "libcommon/runner/bus.h"
#include "libcommon/runner/doors.h"
#include "libcommon/runner/irq.h"
#include "libcommon/runner/memory.h"

enum { KVM_CPUS_MAX = 16, KVM_CPUID_MAX = 128, KVM_ROMS_MAX = 2 };

struct kvm {
	int fd, vm;
	size_t run_size; /* of the area that a vCPU shares with us */
	struct {
		uint32_t nent, padding;
		struct kvm_cpuid_entry2 entries[KVM_CPUID_MAX];
	} cpuid; /* what this KVM supports, as the ioctl wants it */
	struct irq_sink irq;
	struct doors doors;
	struct {
		uint64_t start, size;
		const void *host;
	} rom[KVM_ROMS_MAX];
	unsigned roms;
	pthread_mutex_t pit_lock; /* guards the next */
	bool has_pit;
};

/**
 * kvm_open() - open @path and see that all is there that a machine needs
 *
 * Return: 0 or -1: ERR_UNSUPPORTED (there is none, or it lacks something: the sentence says what), ERR_DENIED
 */
int kvm_open(struct kvm *k, const char *path, struct err *err);

/** kvm_create() - the machine: interrupt chips, memory. After kvm_open(); Return: 0 or -1 */
int kvm_create(struct kvm *k, const struct guest_memory *mem, struct err *err);

/** kvm_add_rom() - memory that the guest can only read, at @start; @host outlives the machine. At most KVM_ROMS_MAX.
 *  Return: its number, for kvm_show_rom(), or -1 */
int kvm_add_rom(struct kvm *k, uint64_t start, const void *host, size_t size, struct err *err);

/** kvm_show_rom() - from now on it is there for the guest, or it is not, and each access of the guest's comes to us. Any
 *  thread, not two for one ROM. Return: false when KVM does not do it */
bool kvm_show_rom(const struct kvm *k, unsigned rom, bool on);

/** kvm_close() - also after a failed kvm_open() or kvm_create() */
void kvm_close(struct kvm *k);

/** kvm_vcpu() - a vCPU's descriptor, with its CPUID set: *@ret_fd is owned; Return: 0 or -1 */
int kvm_vcpu(struct kvm *k, unsigned index, unsigned count, int *ret_fd, struct err *err);

/** kvm_attach_pit() - the ports of the timer: it is made at the first access (kvm_pit.c) */
void kvm_attach_pit(struct kvm *k, struct bus *ports);

/** kvm_make_pit() - make it now, unless it is there; Return: is it? */
bool kvm_make_pit(struct kvm *k);
bool kvm_has_pit(struct kvm *k);

/** kvm_cpuid_filter() - what vCPU @index of @count sees: APIC ids, topology, no performance counters. cpuid.c */
void kvm_cpuid_filter(struct kvm_cpuid_entry2 *entries, unsigned n, unsigned index, unsigned count);

#endif
