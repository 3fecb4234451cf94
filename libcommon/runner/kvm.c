/* /dev/kvm: see kvm.h. */
#include "libcommon/runner/kvm.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { API_VERSION = 12, ROM_SLOT = 8 /* behind those of memory */ };

/* Below the highest ROM, above the local APICs: three pages and one that Intel's KVM wants for real mode. */
#define TSS_ADDRESS	 0xfeffd000
#define IDENTITY_ADDRESS 0xfeffc000

static const struct {
	int cap;
	const char *what;
} needed[] = {
	{KVM_CAP_USER_MEMORY, "memory of user space"},
	{KVM_CAP_IRQCHIP, "interrupt chips in the kernel"},
	{KVM_CAP_PIT2, "a timer (i8254) in the kernel"},
	{KVM_CAP_SIGNAL_MSI, "message-signalled interrupts"},
	{KVM_CAP_IMMEDIATE_EXIT, "leaving a vCPU at once"},
	{KVM_CAP_EXT_CPUID, "CPUID of its own"},
	{KVM_CAP_MP_STATE, "more than one vCPU"},
};

static int open_device(struct kvm *k, const char *path, struct err *err)
{
	k->fd = open(path, O_RDWR | O_CLOEXEC);
	if (k->fd >= 0)
		return 0;
	err_sys(err, "cannot open %s", path);
	if (err && (errno == EACCES || errno == EPERM))
		return err_hint(err, "who may is in its group, mostly kvm: usermod -a -G kvm USER");
	if (err)
		err->code = ERR_UNSUPPORTED;
	return err_hint(
		err,
		"this host has no KVM: no virtualization in its processor, switched off in its "
		"firmware, or the module kvm is not loaded");
}

/* The local APIC is KVM's, and so is its timer: whether it has deadlines is not a matter of the processor. */
static void offer_deadline_timer(struct kvm *k)
{
	bool can = ioctl(k->fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0;

	for (uint32_t i = 0; can && i < k->cpuid.nent; i++)
		if (k->cpuid.entries[i].function == 1)
			k->cpuid.entries[i].ecx |= 1 << 24;
}

int kvm_open(struct kvm *k, const char *path, struct err *err)
{
	int version, size;

	memset(k, 0, sizeof(*k));
	k->fd = k->vm = -1;
	if (open_device(k, path, err) < 0)
		return -1;
	version = ioctl(k->fd, KVM_GET_API_VERSION, 0);
	if (version < 0)
		return err_set(err, ERR_UNSUPPORTED, "%s is not KVM", path);
	if (version != API_VERSION)
		return err_set(err, ERR_UNSUPPORTED,
			       "%s speaks version %d of its interface, not %d", path, version,
			       API_VERSION);
	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++)
		if (ioctl(k->fd, KVM_CHECK_EXTENSION, needed[i].cap) <= 0)
			return err_set(err, ERR_UNSUPPORTED, "%s lacks %s (capability %d)", path,
				       needed[i].what, needed[i].cap);
	size = ioctl(k->fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (size < (int)sizeof(struct kvm_run))
		return err_set(err, ERR_UNSUPPORTED,
			       "%s shares %d bytes with a vCPU, %zu are needed", path, size,
			       sizeof(struct kvm_run));
	k->run_size = (size_t)size;
	k->cpuid.nent = KVM_CPUID_MAX;
	if (ioctl(k->fd, KVM_GET_SUPPORTED_CPUID, &k->cpuid) < 0)
		return err_sys(err, "%s does not tell which CPUID it supports", path);
	offer_deadline_timer(k);
	return 0;
}

static void set_line(void *ctx, unsigned gsi, bool high)
{
	const struct kvm *k = ctx;
	struct kvm_irq_level level = {.irq = gsi, .level = high};

	(void)ioctl(k->vm, KVM_IRQ_LINE, &level);
}

/* No irqfd: the thread that interrupts is ours in any case, and this call costs it 0.38 us where a write to an irqfd costs
 * 0.45 us (2026-11-26), which would want KVM's routing table to follow every vector that the guest masks or moves. */
static void send_msi(void *ctx, uint64_t address, uint32_t data)
{
	const struct kvm *k = ctx;
	struct kvm_msi msi = {.address_lo = (uint32_t)address,
			      .address_hi = (uint32_t)(address >> 32),
			      .data = data};

	(void)ioctl(k->vm, KVM_SIGNAL_MSI,
		    &msi); /* an address that is no APIC's is the guest's own fault */
}

/* A KVM of before 4.4 knows no doors for any size: its guests' kicks go through us */
static bool set_door(void *ctx, uint64_t addr, int fd, bool on)
{
	const struct kvm *k = ctx;
	struct kvm_ioeventfd door = {
		.addr = addr, .fd = fd, .flags = on ? 0 : KVM_IOEVENTFD_FLAG_DEASSIGN};

	return ioctl(k->vm, KVM_IOEVENTFD, &door) == 0;
}

static int add_memory(struct kvm *k, const struct guest_memory *mem, struct err *err)
{
	for (unsigned i = 0; i < mem->regions; i++) {
		struct kvm_userspace_memory_region r = {
			.slot = i,
			.guest_phys_addr = mem->region[i].start,
			.memory_size = mem->region[i].size,
			.userspace_addr = (uint64_t)(uintptr_t)mem->region[i].host,
		};

		if (ioctl(k->vm, KVM_SET_USER_MEMORY_REGION, &r) < 0)
			return err_sys(err, "KVM does not take %llu MiB of memory at %#llx",
				       (unsigned long long)r.memory_size >> 20,
				       (unsigned long long)r.guest_phys_addr);
	}
	return 0;
}

int kvm_create(struct kvm *k, const struct guest_memory *mem, struct err *err)
{
	uint64_t identity = IDENTITY_ADDRESS;

	do
		k->vm = ioctl(k->fd, KVM_CREATE_VM, 0);
	while (k->vm < 0 && errno == EINTR);
	if (k->vm < 0)
		return err_sys(err, "KVM does not make a machine");
	/* Only some processors need these two; a KVM that does not know them needs none. */
	(void)ioctl(k->vm, KVM_SET_IDENTITY_MAP_ADDR, &identity);
	(void)ioctl(k->vm, KVM_SET_TSS_ADDR, TSS_ADDRESS);
	if (ioctl(k->vm, KVM_CREATE_IRQCHIP, 0) < 0)
		return err_sys(err, "KVM does not make interrupt chips");
	(void)pthread_mutex_init(&k->pit_lock, NULL);
	k->irq = (struct irq_sink){set_line, send_msi, k};
	k->doors = (struct doors){set_door, k};
	return add_memory(k, mem, err);
}

bool kvm_show_rom(const struct kvm *k, unsigned rom, bool on)
{
	struct kvm_userspace_memory_region r = {
		.slot = ROM_SLOT + rom,
		.flags = KVM_MEM_READONLY,
		.guest_phys_addr = k->rom[rom].start,
		.memory_size = on ? k->rom[rom].size : 0,
		.userspace_addr = (uint64_t)(uintptr_t)k->rom[rom].host,
	};

	return ioctl(k->vm, KVM_SET_USER_MEMORY_REGION, &r) == 0;
}

int kvm_add_rom(struct kvm *k, uint64_t start, const void *host, size_t size, struct err *err)
{
	unsigned rom = k->roms;

	k->rom[rom].start = start;
	k->rom[rom].size = size;
	k->rom[rom].host = host;
	if (!kvm_show_rom(k, rom, true))
		return err_set(err, ERR_UNSUPPORTED,
			       "KVM does not take memory that can only be read, for firmware: %s",
			       strerror(errno));
	k->roms++;
	return (int)rom;
}

void kvm_close(struct kvm *k)
{
	if (k->vm >= 0)
		(void)close(k->vm);
	if (k->fd >= 0)
		(void)close(k->fd);
	k->vm = k->fd = -1;
}

int kvm_vcpu(struct kvm *k, unsigned index, unsigned count, int *ret_fd, struct err *err)
{
	struct {
		uint32_t nent, padding;
		struct kvm_cpuid_entry2 entries[KVM_CPUID_MAX];
	} cpuid;
	int fd = ioctl(k->vm, KVM_CREATE_VCPU, (unsigned long)index);

	if (fd < 0)
		return err_sys(err, "KVM does not make vCPU %u", index);
	memcpy(&cpuid, &k->cpuid, sizeof(cpuid));
	kvm_cpuid_filter(cpuid.entries, cpuid.nent, index, count);
	if (ioctl(fd, KVM_SET_CPUID2, &cpuid) < 0) {
		err_sys(err, "KVM refuses the CPUID that it supports itself");
		(void)close(fd);
		return -1;
	}
	*ret_fd = fd;
	return 0;
}
