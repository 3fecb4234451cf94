/* CPUID: what KVM supports, with the ids of one vCPU, a topology of one socket with a core each, and without what we have
 * not: performance counters. See kvm.h. */
#include "libcommon/base/checked.h"
#include "libcommon/runner/kvm.h"

enum { HTT = 1 << 28, CORES_ARE_THREADS = 1 << 1 };
#define HYPERVISOR UINT32_C(0x80000000)

static unsigned bits_for(unsigned count)
{
	return count > 1 ? log2_u64(count - 1) + 1 : 0;
}

/* Leaves 0xb and 0x1f: threads of a core (one), cores of a socket */
static void topology(struct kvm_cpuid_entry2 *e, unsigned id, unsigned count)
{
	e->edx = id;
	e->ecx = e->index;
	e->eax = e->ebx = 0;
	if (e->index == 0) {
		e->ebx = 1;
		e->ecx |= 1 << 8;
	} else if (e->index == 1) {
		e->eax = bits_for(count);
		e->ebx = count;
		e->ecx |= 2 << 8;
	}
}

static void one(struct kvm_cpuid_entry2 *e, unsigned id, unsigned count)
{
	switch (e->function) {
	case 1:
		e->ebx = (e->ebx & 0xffff) | count << 16 | id << 24;
		e->ecx |= HYPERVISOR;
		if (count > 1)
			e->edx |= HTT;
		else
			e->edx &= ~(uint32_t)HTT;
		break;
	case 4: /* caches: of a core, and as many cores as there are */
		e->eax = (e->eax & 0x3fff) | (count - 1) << 26;
		break;
	case 0xa: /* performance counters */
	case 0x80000022:
		e->eax = e->ebx = e->ecx = e->edx = 0;
		break;
	case 0xb:
	case 0x1f:
		topology(e, id, count);
		break;
	case 0x80000001:
		if (count > 1)
			e->ecx |= CORES_ARE_THREADS;
		else
			e->ecx &= ~(uint32_t)CORES_ARE_THREADS;
		break;
	case 0x80000008:
		e->ecx = (e->ecx & ~UINT32_C(0xf0ff)) | bits_for(count) << 12 | (count - 1);
		break;
	case 0x8000001e:
		e->eax = id;
		e->ebx = id;
		e->ecx = 0;
		break;
	default:
		break;
	}
}

void kvm_cpuid_filter(struct kvm_cpuid_entry2 *entries, unsigned n, unsigned index, unsigned count)
{
	for (unsigned i = 0; i < n; i++)
		one(&entries[i], index, count);
}
