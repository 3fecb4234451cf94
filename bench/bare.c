/* bare KERNEL MIB: what it costs to start tiny.S by nothing but the calls of KVM that any machine with interrupt chips, MIB of
 * memory and one vCPU needs. The guest's first port access ends it. */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

enum { ENTRIES = 128, AT = 0x200000 };

static void check(int rc, const char *what)
{
	if (rc >= 0)
		return;
	perror(what);
	exit(1);
}

static struct kvm_segment flat(uint16_t selector, uint8_t type)
{
	return (struct kvm_segment){.limit = 0xffffffff,
				    .selector = selector,
				    .type = type,
				    .present = 1,
				    .db = 1,
				    .s = 1,
				    .g = 1};
}

int main(int argc, char **argv)
{
	static struct {
		uint32_t nent, padding;
		struct kvm_cpuid_entry2 entries[ENTRIES];
	} cpuid = {.nent = ENTRIES};
	size_t size = (argc == 3 ? strtoul(argv[2], NULL, 10) : 0) << 20;
	int code = argc == 3 ? open(argv[1], O_RDONLY) : -1, kvm = open("/dev/kvm", O_RDWR);
	struct kvm_userspace_memory_region region = {.memory_size = size};
	struct kvm_regs regs = {.rip = AT, .rflags = 2};
	struct kvm_sregs sregs;
	struct kvm_run *run;
	int vm, cpu, len;
	uint8_t *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	check(code, "usage: bare CODE MIB");
	check(kvm, "/dev/kvm");
	check(memory == MAP_FAILED ? -1 : 0, "memory");
	check((int)read(code, memory + AT, 4096), "code");
	check(ioctl(kvm, KVM_GET_SUPPORTED_CPUID, &cpuid), "KVM_GET_SUPPORTED_CPUID");
	len = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	check(len, "KVM_GET_VCPU_MMAP_SIZE");
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	check(vm, "KVM_CREATE_VM");
	check(ioctl(vm, KVM_CREATE_IRQCHIP, 0), "KVM_CREATE_IRQCHIP");
	region.userspace_addr = (uint64_t)(uintptr_t)memory;
	check(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region), "KVM_SET_USER_MEMORY_REGION");
	cpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	check(cpu, "KVM_CREATE_VCPU");
	run = mmap(NULL, (size_t)len, PROT_READ | PROT_WRITE, MAP_SHARED, cpu, 0);
	check(run == MAP_FAILED ? -1 : 0, "vCPU");
	check(ioctl(cpu, KVM_SET_CPUID2, &cpuid), "KVM_SET_CPUID2");
	check(ioctl(cpu, KVM_GET_SREGS, &sregs), "KVM_GET_SREGS");
	sregs.cs = flat(8, 0xb);
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = flat(16, 3);
	sregs.cr0 |= 1;
	check(ioctl(cpu, KVM_SET_SREGS, &sregs), "KVM_SET_SREGS");
	check(ioctl(cpu, KVM_SET_REGS, &regs), "KVM_SET_REGS");
	check(ioctl(cpu, KVM_RUN, 0), "KVM_RUN");
	if (run->exit_reason == KVM_EXIT_IO && run->io.port == 0x604)
		return 0;
	fprintf(stderr, "bare: exit %u\n", run->exit_reason);
	return 1;
}
