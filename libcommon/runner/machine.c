/* The machine as a whole: made, run, taken down. See runner.h. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "libcommon/base/libcrypto.h"
#include "libcommon/base/log.h"
#include "libcommon/base/stop.h"
#include "libcommon/runner/acpi.h"
#include "libcommon/runner/confine.h"
#include "libcommon/runner/disk.h"
#include "libcommon/runner/machine_private.h"
#include "libcommon/runner/state_machine.h"

enum {
	DISK_QUEUES_MAX = 4,
	PCI_PORT = 0xcf8,
	PCI_PORTS = 8,
	GRACE_MS = 5000 /* for the disks' last requests, when the time is over */
};

void machine_wake(struct machine *m)
{
	uint64_t one = 1;

	while (write(m->wake, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

void machine_ends(struct machine *m, enum machine_end how, const struct err *err)
{
	(void)pthread_mutex_lock(&m->lock);
	if (m->end == MACHINE_RUNNING) {
		m->end = how;
		if (err)
			m->err = *err;
	}
	atomic_store(&m->ended, true);
	(void)pthread_cond_broadcast(&m->parking);
	(void)pthread_mutex_unlock(&m->lock);
	machine_wake(m);
}

void machine_mmio(struct machine *m, bool write, uint64_t addr, unsigned size, void *data)
{
	uint64_t v = 0;
	unsigned bar;
	uint32_t off;
	struct pci_dev *d = pci_bus_find(&m->pci, addr, size, &bar, &off);

	if (size != 1 && size != 2 && size != 4 && size != 8)
		d = NULL;
	else if (firmware_mmio(&m->firmware, write, addr, size, data))
		return;
	if (!d) {
		if (!write)
			memset(data, 0xff, size);
		return;
	}
	if (write) {
		memcpy(&v, data, size);
		d->ops->bar_write(d, bar, off, size, v);
		return;
	}
	v = d->ops->bar_read(d, bar, off, size);
	memcpy(data, &v, size);
}

static void on_legacy(void *ctx, enum legacy_event e)
{
	machine_ends(ctx,
		     e == LEGACY_POWEROFF ? MACHINE_POWEROFF
		     : e == LEGACY_PANIC  ? MACHINE_PANIC
					  : MACHINE_RESET,
		     NULL);
}

static void on_pci_reset(void *ctx)
{
	machine_ends(ctx, MACHINE_RESET, NULL);
}

/* The host bridge that firmware and Linux know as the 440FX's */
static void make_buses(struct machine *m)
{
	const struct bus_range pci = {PCI_PORT,	      PCI_PORTS, pci_port_read,
				      pci_port_write, &m->pci,	 false};

	pci_bus_init(&m->pci, &m->kvm.irq);
	m->pci.doors = &m->kvm.doors;
	m->pci.reset = on_pci_reset;
	m->pci.reset_ctx = m;
	pci_dev_init(&m->bridge, 0x8086, 0x1237, 0x060000, 0x1af4, 0x1100);
	(void)pci_bus_add(&m->pci, &m->bridge);
	if (m->firmware.uefi)
		(void)piix4_add(&m->piix4, &m->pci); /* slot 1: all are free */
	(void)bus_add(&m->ports, &pci);
	kvm_attach_pit(&m->kvm, &m->ports);
	legacy_init(&m->legacy, &m->kvm.irq);
	legacy_set_memory(&m->legacy, m->mem.region[0].size,
			  m->mem.regions > 1 ? m->mem.region[1].size : 0);
	m->legacy.event = on_legacy;
	m->legacy.ctx = m;
	(void)legacy_attach(&m->legacy, &m->ports); /* the table has room for all of ours */
	console_attach(m);
}

int machine_add_virtio(struct machine *m, struct virtio_dev *d, struct err *err)
{
	if (!pci_bus_add(&m->pci, &d->pci))
		return err_set(err, ERR_USAGE, "too many devices for one PCI bus");
	return virtio_start(d, err);
}

static int make_disk(struct machine *m, unsigned i, struct err *err)
{
	unsigned queues = m->opts->cpus < DISK_QUEUES_MAX ? m->opts->cpus : DISK_QUEUES_MAX;
	struct virtio_blk *b = calloc(1, sizeof(*b));

	if (!b)
		return err_nomem(err);
	m->blk[i] = b;
	if (virtio_blk_init(b, m->opts->disks[i], i, queues, &m->mem, err) < 0)
		return -1;
	return machine_add_virtio(m, &b->dev, err);
}

static void wake_main(void *ctx)
{
	machine_wake(ctx);
}

static uint64_t now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* What a command wrote before the guest powered off is still wanted */
static bool nobody_waits(void *ctx)
{
	struct machine *m = ctx;
	bool off;

	if (!atomic_load(&m->ended))
		return false;
	(void)pthread_mutex_lock(&m->lock);
	if (m->end == MACHINE_POWEROFF && m->deadline_ms && now_ms() >= m->deadline_ms)
		m->end = MACHINE_TIMEOUT;
	off = m->end == MACHINE_POWEROFF;
	(void)pthread_mutex_unlock(&m->lock);
	return !off || stop_requested();
}

static void output_failed(void *ctx, const struct err *err)
{
	machine_ends(ctx, MACHINE_FAILED, err);
}

static int make_streams(struct machine *m, struct err *err)
{
	const struct machine_streams *s = m->opts->streams;
	struct virtio_console *c = calloc(1, sizeof(*c));

	if (!c)
		return err_nomem(err);
	m->streams = c;
	if (virtio_console_init(c, s->in, s->out, s->errors, &m->mem, err) < 0)
		return -1;
	c->first = s->first;
	c->first_len = s->first_len;
	c->wake = wake_main;
	c->give_up = nobody_waits;
	c->failed = output_failed;
	c->ctx = m;
	return machine_add_virtio(m, &c->dev, err);
}

/* The disks first: their slots, and so their names in the guest, do not depend on what else there is */
static int make_devices(struct machine *m, struct err *err)
{
	make_buses(m);
	for (unsigned i = 0; i < m->opts->n_disks; i++)
		if (make_disk(m, i, err) < 0)
			return -1;
	if (m->opts->streams && make_streams(m, err) < 0)
		return -1;
	m->rng = calloc(1, sizeof(*m->rng));
	if (!m->rng)
		return err_nomem(err);
	if (virtio_rng_init(m->rng, &m->mem, err) < 0 || machine_add_virtio(m, m->rng, err) < 0)
		return -1;
	return machine_make_extras(m, err);
}

/* What may fail by the user's doing; no thread is started, and signals come as ever */
static int load(struct machine *m, struct linux_boot *ret_boot, struct err *err)
{
	const struct machine_opts *o = m->opts;

	if (o->restore)
		return state_memory(o->restore, &m->mem, err) < 0 ||
				       kvm_open(&m->kvm, o->kvm ? o->kvm : "/dev/kvm", err) < 0 ||
				       state_load_cpuid(&m->kvm, o->restore, err) < 0
			       ? -1
			       : 0;
	if ((o->huge_pages ? guest_memory_create_huge : guest_memory_create)(&m->mem, o->memory,
									     err) < 0)
		return -1;
	if (o->firmware)
		return firmware_load(&m->firmware,
				     &(struct firmware_opts){o->firmware, o->firmware_vars,
							     o->firmware_template},
				     &m->mem, o->cpus, err) < 0 ||
				       kvm_open(&m->kvm, o->kvm ? o->kvm : "/dev/kvm", err) < 0
			       ? -1
			       : 0;
	if (linux_load(&m->mem, o->kernel, o->initrd, o->initrd_fd, o->command_line, ret_boot,
		       err) < 0 ||
	    kvm_open(&m->kvm, o->kvm ? o->kvm : "/dev/kvm", err) < 0)
		return -1;
	return 0;
}

/* All but the vCPUs' threads */
static int make(struct machine *m, const struct linux_boot *boot, struct err *err)
{
	const struct machine_opts *o = m->opts;
	uint8_t *acpi;

	if (!o->restore && !o->firmware) {
		acpi = guest_range(&m->mem, ACPI_BASE, ACPI_SPACE);
		memset(acpi, 0, ACPI_SPACE);
		(void)acpi_build(acpi, ACPI_BASE, o->cpus, PCI_WINDOW);
	}
	if (kvm_create(&m->kvm, &m->mem, err) < 0 || make_devices(m, err) < 0)
		return -1;
	if (o->firmware && firmware_attach(&m->firmware, &m->ports, &m->kvm, err) < 0)
		return -1;
	for (unsigned i = 0; i < o->cpus; i++)
		if (vcpu_create(m, i, o->restore || o->firmware ? NULL : boot, err) < 0)
			return -1;
	if (o->restore &&
	    (state_load_kvm(m, o->restore, err) < 0 || state_load_devices(m, o->restore, err) < 0))
		return -1;
	return 0;
}

/* Those that end a machine, but for what is ignored (nohup): a descriptor would tell of it all the same */
static void stop_signals(sigset_t *ret)
{
	static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
	struct sigaction now;

	(void)sigemptyset(ret);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		if (sigaction(numbers[i], NULL, &now) < 0 || now.sa_handler != SIG_IGN)
			(void)sigaddset(ret, numbers[i]);
}

/* Return: its number, 0 when there is none */
static int next_signal(struct machine *m)
{
	struct signalfd_siginfo info;

	return read(m->signals, &info, sizeof(info)) == sizeof(info) ? (int)info.ssi_signo : 0;
}

/* They are read here and do not become a stop_request(): that would end what the disks' threads do in between, and so
 * connections that a command which is only asked to end, or the last flush, still needs.
 * A command gets the first signal, as it would without a machine around it; the second ends the machine. While nobody in
 * the guest hears of it the first does. */
static void take_signal(struct machine *m, bool *handed_on)
{
	int number = next_signal(m);

	if (!number)
		return;
	if (m->streams && !m->opts->prepare && !*handed_on &&
	    virtio_console_signal(m->streams, number)) {
		*handed_on = true;
		return;
	}
	m->stopped_by = number;
	machine_ends(m, MACHINE_FAILED, NULL);
}

/* One wait for what comes first: an event of ours, input, the deadline (@left_ms, 0: none), a signal. */
static void wait_once(struct machine *m, uint64_t left_ms, bool *input, bool *handed_on,
		      const sigset_t *mask)
{
	const struct timespec wait = {(time_t)(left_ms / 1000), (long)(left_ms % 1000) * 1000000};
	bool stream = m->streams && atomic_load(&m->streams->input_wanted);
	struct pollfd p[4 + ATTACH_MAX] = {
		{.fd = m->wake, .events = POLLIN},
		{.fd = *input && console_wants_input(m) ? m->opts->input : -1, .events = POLLIN},
		{.fd = stream ? m->opts->streams->in : -1, .events = POLLIN},
		{.fd = m->signals, .events = POLLIN},
	};
	uint64_t drop;

	attach_poll(&m->attach, p + 4, console_wants_input(m));
	if (ppoll(p, 4 + ATTACH_MAX, left_ms ? &wait : NULL, mask) < 0)
		return;
	if ((p[0].revents & POLLIN) && read(m->wake, &drop, sizeof(drop)) < 0)
		return;
	if (p[3].revents)
		take_signal(m, handed_on);
	if (p[1].revents)
		*input = console_forward(m);
	if (p[2].revents)
		virtio_console_input(m->streams);
	attach_serve(&m->attach, p + 4, &m->serial);
}

/* Until the machine ends. @mask: other signals, a terminal's, come only while we wait. */
static void watch(struct machine *m, const sigset_t *mask)
{
	uint64_t deadline = m->deadline_ms;
	bool input = m->opts->input >= 0, handed_on = false;

	while (!atomic_load(&m->ended)) {
		uint64_t now = now_ms();

		if (deadline && now >= deadline)
			machine_ends(m, MACHINE_TIMEOUT, NULL);
		else if (m->opts->prepare && virtio_console_ready(m->streams))
			machine_prepared(m);
		else
			wait_once(m, deadline ? deadline - now : 0, &input, &handed_on, mask);
	}
}

/* The machine is off, and a vCPU still waits for the reader of what the guest has said before: a signal ends that. */
static void hurry(struct machine *m)
{
	int number = next_signal(m);

	if (!number)
		return;
	m->stopped_by = number;
	(void)pthread_mutex_lock(&m->lock);
	if (m->end == MACHINE_POWEROFF)
		m->end = MACHINE_FAILED;
	(void)pthread_mutex_unlock(&m->lock);
}

/* Signals are for the main loop: threads inherit the mask. Faults of our own stay deadly.
 * Return: -1 when one came before */
static int take_signals(struct machine *m, sigset_t *ret_before, sigset_t *ret_waiting,
			struct err *err)
{
	static const int faults[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL};
	sigset_t all, ours;

	(void)sigfillset(&all);
	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		(void)sigdelset(&all, faults[i]);
	(void)pthread_sigmask(SIG_BLOCK, &all, ret_before);
	stop_signals(&ours);
	(void)sigorset(ret_waiting, ret_before, &ours);
	m->signals = signalfd(-1, &ours, SFD_CLOEXEC | SFD_NONBLOCK);
	if (m->signals < 0)
		return err_sys(err, "cannot make a signalfd");
	return stop_check(err);
}

static int run(struct machine *m, struct err *err)
{
	struct linux_boot boot;
	sigset_t before, waiting;
	int rc;

	if (load(m, &boot, err) < 0)
		return stop_requested() ? stop_check(err) : -1;
	rc = take_signals(m, &before, &waiting, err);
	if (rc == 0) {
		if (m->opts->prepare) /* it is saved by a thread that may open no library then */
			(void)libcrypto_load();
		machine_confine_files(m);
	}
	if (rc == 0)
		rc = make(m, &boot, err);
	if (rc == 0)
		confine_process();
	m->deadline_ms = m->opts->timeout_ms ? now_ms() + m->opts->timeout_ms : 0;
	for (unsigned i = 0; rc == 0 && i < m->vcpus; i++)
		rc = vcpu_start(&m->vcpu[i], err);
	if (rc == 0 && m->opts->control)
		control_attach(m->opts->control, machine_answer, machine_take_peer, m);
	m->ran = rc == 0;
	if (rc == 0)
		watch(m, &waiting);
	if (m->opts->control)
		control_detach(m->opts->control);
	atomic_store(&m->ended, true);
	if (m->end == MACHINE_TIMEOUT)
		grace_start(&m->grace, GRACE_MS);
	machine_resume(m);
	for (unsigned i = 0; i < m->vcpus; i++)
		while (!vcpu_stop(&m->vcpu[i]))
			hurry(m);
	/* One that comes when the machine has ended must not end the disks' last requests */
	if (!m->stopped_by && m->signals >= 0)
		(void)next_signal(m);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	return rc;
}

void machine_free_device(struct virtio_dev *d)
{
	if (!d)
		return;
	if (d->type)
		virtio_stop(d);
	free(d);
}

/* However the machine ended: what it wrote is kept. */
static int flush_disks(struct machine *m, struct err *err)
{
	int rc = 0;

	for (size_t i = 0; i < m->opts->n_disks; i++) {
		struct err one = ERR_INIT;

		if (disk_flush(m->opts->disks[i], &one) == 0)
			continue;
		err_object(&one, disk_name(m->opts->disks[i]));
		if (rc == 0 && err)
			*err = one;
		rc = -1;
	}
	if (firmware_flush(&m->firmware, rc == 0 ? err : NULL) < 0)
		rc = -1;
	return rc;
}

int machine_run(const struct machine_opts *opts, struct machine_result *ret, struct err *err)
{
	struct machine *m = calloc(1, sizeof(*m));
	int rc;

	if (!m)
		return err_nomem(err);
	m->opts = opts;
	m->kvm.fd = m->kvm.vm = m->signals = -1;
	(void)pthread_mutex_init(&m->lock, NULL);
	(void)pthread_cond_init(&m->parking, NULL);
	attach_init(&m->attach);
	m->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	rc = m->wake < 0 ? err_sys(err, "cannot make an eventfd") : run(m, err);
	attach_end(&m->attach);
	if (m->streams && m->end == MACHINE_POWEROFF)
		virtio_console_drain(m->streams);
	/* What was cut off is no success. */
	if (m->streams && m->end == MACHINE_POWEROFF && stop_requested()) {
		m->stopped_by = stop_signal();
		m->end = MACHINE_FAILED;
	}
	if (m->opts->figures && m->ran)
		machine_figures(m, m->opts->figures);
	ret->status = m->streams ? virtio_console_status(m->streams) : -1;
	machine_free_device(m->streams ? &m->streams->dev : NULL);
	machine_free_device(m->rng);
	machine_free_extras(m);
	for (unsigned i = 0; i < MACHINE_DISKS_MAX; i++)
		machine_free_device(m->blk[i] ? &m->blk[i]->dev : NULL);
	if (rc == 0)
		rc = flush_disks(m, err);
	if (grace_end(&m->grace))
		rc = err_set(err, ERR_TIMEOUT,
			     "the guest was not done in time, and then a disk did not answer for "
			     "%d s: its last writes may be lost",
			     GRACE_MS / 1000);
	kvm_close(&m->kvm);
	guest_memory_destroy(&m->mem);
	firmware_free(&m->firmware);
	if (m->wake >= 0)
		(void)close(m->wake);
	if (m->signals >= 0)
		(void)close(m->signals);
	if (m->stopped_by)
		stop_request(m->stopped_by);
	if (rc == 0 && m->end == MACHINE_FAILED && m->stopped_by) {
		rc = stop_check(err);
	} else if (rc == 0 && m->end == MACHINE_FAILED) {
		*err = m->err;
		rc = -1;
	}
	ret->end = m->end;
	memcpy(ret->last_line, m->last_line, sizeof(ret->last_line));
	free(m);
	return rc;
}
