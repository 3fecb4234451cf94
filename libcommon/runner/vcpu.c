/* vCPUs: registers at the start, a thread each that runs the guest and answers its exits. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "libcommon/base/clock.h"
#include "libcommon/runner/confine.h"
#include "libcommon/runner/machine_private.h"

enum {
	CR0_PE = 1,
	CR0_ET = 0x10,
	CR4_PAE = 0x20,
	EFER_LME = 0x100,
	EFER_LMA = 0x400,
	TSS_32 = 11, /* busy */
	KICK_AGAIN_MS = 20
};
#define CR0_PG UINT64_C(0x80000000)

static struct kvm_segment segment(uint16_t selector, bool code)
{
	return (struct kvm_segment){
		.limit = 0xffffffff,
		.selector = selector,
		.type = code ? 0xb : 3,
		.present = 1,
		.db = !code,
		.s = 1,
		.l = code,
		.g = 1,
	};
}

/* Protected mode without paging, segments of 4 GiB, as PVH wants it */
static int set_registers_pvh(int fd, const struct linux_boot *boot, struct err *err)
{
	struct kvm_regs regs = {.rip = boot->entry, .rbx = LINUX_PARAMS, .rflags = 2};
	struct kvm_sregs sregs;

	if (ioctl(fd, KVM_GET_SREGS, &sregs) < 0)
		return err_sys(err, "KVM does not tell registers");
	sregs.cs = segment(LINUX_CODE, true);
	sregs.cs.l = 0;
	sregs.cs.db = 1;
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = segment(LINUX_DATA, false);
	sregs.tr = (struct kvm_segment){.limit = 0x67, .type = TSS_32, .present = 1};
	sregs.cr0 = CR0_PE | CR0_ET;
	sregs.cr4 = 0;
	sregs.efer = 0;
	if (ioctl(fd, KVM_SET_SREGS, &sregs) < 0 || ioctl(fd, KVM_SET_REGS, &regs) < 0)
		return err_sys(err, "KVM does not take the registers for 32-bit code");
	return 0;
}

/* Long mode over the identity map, as the boot protocol wants it */
static int set_registers(int fd, const struct linux_boot *boot, struct err *err)
{
	struct kvm_regs regs = {
		.rip = boot->entry, .rsi = LINUX_PARAMS, .rsp = LINUX_STACK, .rflags = 2};
	struct kvm_sregs sregs;

	if (ioctl(fd, KVM_GET_SREGS, &sregs) < 0)
		return err_sys(err, "KVM does not tell registers");
	sregs.cs = segment(LINUX_CODE, true);
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = segment(LINUX_DATA, false);
	sregs.gdt.base = LINUX_GDT;
	sregs.gdt.limit = 31;
	sregs.cr0 = CR0_PG | CR0_PE | CR0_ET;
	sregs.cr3 = LINUX_TABLES;
	sregs.cr4 = CR4_PAE;
	sregs.efer = EFER_LME | EFER_LMA;
	if (ioctl(fd, KVM_SET_SREGS, &sregs) < 0 || ioctl(fd, KVM_SET_REGS, &regs) < 0)
		return err_sys(err, "KVM does not take the registers for 64-bit code");
	return 0;
}

/* Each by itself: a KVM that cannot set one runs what it can. */
static void set_msrs(int fd)
{
	static const struct kvm_msr_entry wanted[] = {
		{.index = 0x1a0, .data = 1},	 /* IA32_MISC_ENABLE: fast strings */
		{.index = 0x2ff, .data = 0x806}, /* MTRRdefType: on, write-back */
	};

	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		/* a kvm_msrs has its entries behind it */
		_Alignas(struct kvm_msrs)
			uint8_t one[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)] = {0};
		const struct kvm_msrs head = {.nmsrs = 1};

		memcpy(one, &head, sizeof(head));
		memcpy(one + sizeof(head), &wanted[i], sizeof(wanted[i]));
		(void)ioctl(fd, KVM_SET_MSRS, one);
	}
}

int vcpu_create(struct machine *m, unsigned index, const struct linux_boot *boot, struct err *err)
{
	struct vcpu *v = &m->vcpu[index];

	*v = (struct vcpu){.m = m, .index = index, .fd = -1};
	if (kvm_vcpu(&m->kvm, index, m->opts->cpus, &v->fd, err) < 0)
		return -1;
	v->run = mmap(NULL, m->kvm.run_size, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
	if (v->run == MAP_FAILED) {
		err_sys(err, "KVM does not share memory with vCPU %u", index);
		(void)close(v->fd);
		return -1;
	}
	m->vcpus++;
	set_msrs(v->fd);
	if (index || !boot)
		return 0;
	return boot->pvh ? set_registers_pvh(v->fd, boot, err) : set_registers(v->fd, boot, err);
}

static void port_exit(struct vcpu *v)
{
	const struct kvm_run *r = v->run;
	uint8_t *data = (uint8_t *)v->run + r->io.data_offset;

	for (uint32_t i = 0; i < r->io.count; i++, data += r->io.size)
		bus_access(&v->m->ports, r->io.direction == KVM_EXIT_IO_OUT, r->io.port, r->io.size,
			   data);
}

/* The instruction that KVM could not emulate, for the sentence */
static void instruction_text(struct vcpu *v, char text[64])
{
	const struct kvm_run *r = v->run;
	unsigned n = 0, at;

	if (r->internal.suberror == KVM_INTERNAL_ERROR_EMULATION && r->internal.ndata >= 2 &&
	    (r->emulation_failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES))
		n = r->emulation_failure.insn_size > 15 ? 15 : r->emulation_failure.insn_size;
	at = (unsigned)snprintf(text, 64, "%s", n ? ", instruction" : "");
	for (unsigned i = 0; i < n; i++)
		at += (unsigned)snprintf(text + at, 64 - at, " %02x",
					 r->emulation_failure.insn_bytes[i]);
}

static void cannot_go_on(struct vcpu *v, const char *what, uint64_t number)
{
	struct kvm_regs regs = {0};
	struct err err = ERR_INIT;
	char text[64] = "";

	(void)ioctl(v->fd, KVM_GET_REGS, &regs);
	if (v->run->exit_reason == KVM_EXIT_INTERNAL_ERROR)
		instruction_text(v, text);
	err_set(&err, ERR_UNSUPPORTED,
		"KVM cannot run what the guest does: %s %#" PRIx64 " at %#" PRIx64 "%s", what,
		number, (uint64_t)regs.rip, text);
	machine_ends(v->m, MACHINE_FAILED, &err);
}

static void system_event(struct vcpu *v)
{
	switch (v->run->system_event.type) {
	case KVM_SYSTEM_EVENT_SHUTDOWN:
		machine_ends(v->m, MACHINE_POWEROFF, NULL);
		break;
	case KVM_SYSTEM_EVENT_CRASH:
		machine_ends(v->m, MACHINE_PANIC, NULL);
		break;
	default:
		machine_ends(v->m, MACHINE_RESET, NULL);
		break;
	}
}

static void answer_exit(struct vcpu *v)
{
	struct kvm_run *r = v->run;

	switch (r->exit_reason) {
	case KVM_EXIT_IO:
		port_exit(v);
		break;
	case KVM_EXIT_MMIO:
		if (r->mmio.len <= 8)
			machine_mmio(v->m, r->mmio.is_write, r->mmio.phys_addr, r->mmio.len,
				     r->mmio.data);
		break;
	case KVM_EXIT_INTR:
	case KVM_EXIT_IRQ_WINDOW_OPEN:
		break;
	case KVM_EXIT_SHUTDOWN:
		machine_ends(v->m, MACHINE_CRASHED, NULL);
		break;
	case KVM_EXIT_SYSTEM_EVENT:
		system_event(v);
		break;
	case KVM_EXIT_FAIL_ENTRY:
		cannot_go_on(v, "entry failed with", r->fail_entry.hardware_entry_failure_reason);
		break;
	case KVM_EXIT_INTERNAL_ERROR:
		cannot_go_on(v, "internal error", r->internal.suberror);
		break;
	default:
		cannot_go_on(v, "exit", r->exit_reason);
		break;
	}
}

void machine_settle(struct vcpu *v)
{
	do
		__atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
	while (ioctl(v->fd, KVM_RUN, 0) == 0 && (answer_exit(v), !atomic_load(&v->m->ended)));
	__atomic_store_n(&v->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
}

static void *vcpu_thread(void *arg)
{
	struct vcpu *v = arg;
	struct err err = ERR_INIT;
	struct timespec t = {0};

	atomic_store(&v->tid, gettid());
	confine_thread();
	while (!atomic_load(&v->m->ended)) {
		machine_park(v);
		/* It may have ended while it was paused, saved perhaps: what the guest did from here on would be on its
		 * disks and not in its memory. */
		if (atomic_load(&v->m->ended))
			break;
		if (ioctl(v->fd, KVM_RUN, 0) == 0) {
			(void)atomic_fetch_add_explicit(&v->exits, 1, memory_order_relaxed);
			answer_exit(v);
		} else if (errno != EINTR && errno != EAGAIN) {
			/* EAGAIN: a vCPU that was not started yet got an event; EINTR: a kick */
			err_sys(&err, "KVM does not run vCPU %u", v->index);
			err.code = ERR_UNSUPPORTED;
			machine_ends(v->m, MACHINE_FAILED, &err);
		} else {
			/* Who kicks has set what for before: that is looked at now. */
			__atomic_store_n(&v->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
		}
	}
	(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	atomic_store(&v->spent_ns,
		     (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec + 1 /* never none */);
	return NULL;
}

static void on_kick(int number)
{
	(void)number; /* it makes KVM_RUN and write() return */
}

int vcpu_start(struct vcpu *v, struct err *err)
{
	struct sigaction sa = {.sa_handler = on_kick};
	sigset_t kick;
	int rc;

	(void)sigemptyset(&sa.sa_mask);
	(void)sigaction(SIGRTMIN, &sa, NULL);
	/* The caller has blocked all signals, for this thread to inherit; this one is for it. */
	(void)sigemptyset(&kick);
	(void)sigaddset(&kick, SIGRTMIN);
	(void)pthread_sigmask(SIG_UNBLOCK, &kick, NULL);
	rc = pthread_create(&v->thread, NULL, vcpu_thread, v);
	(void)pthread_sigmask(SIG_BLOCK, &kick, NULL);
	if (rc) {
		errno = rc;
		return err_sys(err, "cannot start a thread");
	}
	v->running = true;
	return 0;
}

void vcpu_kick(struct vcpu *v)
{
	/* The flag is for the moment before it enters the guest, the signal for when it is in there. */
	__atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
	(void)pthread_kill(v->thread, SIGRTMIN);
}

bool vcpu_stop(struct vcpu *v)
{
	struct timespec until;

	if (v->running) {
		vcpu_kick(v);
		until = clock_after(CLOCK_REALTIME, KICK_AGAIN_MS);
		v->running = pthread_timedjoin_np(v->thread, NULL, &until) == ETIMEDOUT;
		if (v->running)
			return false;
	}
	(void)munmap(v->run, v->m->kvm.run_size);
	(void)close(v->fd);
	return true;
}
