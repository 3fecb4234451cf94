/* What KVM holds of a machine, saved and loaded: processors, interrupt chips, timer, clock. See state_machine.h.
 *
 * Order matters (Documentation/virt/kvm/api.rst, and what others found out): the registers that say in which mode the local APIC
 * is come before it, its deadline after it; what waits to be delivered comes last, the clock before the first instruction.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/runner/state_machine.h"

enum {
	MSRS_MAX = 1024,
	MSR_TSC_DEADLINE = 0x6e0,
	LVT_TIMER = 0x320, /* of the local APIC's registers */
	LVT_DEADLINE = 1 << 18,
	XSAVE_MAX = 65536,
	CHIPS = 3,
};

/* Parts of a VCPU section, in the order in which they are loaded */
enum part {
	P_SREGS = 1,
	P_REGS,
	P_XSAVE,
	P_XCRS,
	P_DEBUGREGS,
	P_TSC_KHZ,
	P_MSRS,
	P_LAPIC,
	P_EVENTS,
	P_MP_STATE,
	P_END
};

static const struct {
	const char *what;
	unsigned long get, set;
	size_t size;
} simple[P_END] = {
	[P_SREGS] = {"system registers", KVM_GET_SREGS, KVM_SET_SREGS, sizeof(struct kvm_sregs)},
	[P_REGS] = {"registers", KVM_GET_REGS, KVM_SET_REGS, sizeof(struct kvm_regs)},
	[P_XCRS] = {"XCRs", KVM_GET_XCRS, KVM_SET_XCRS, sizeof(struct kvm_xcrs)},
	[P_DEBUGREGS] = {"debug registers", KVM_GET_DEBUGREGS, KVM_SET_DEBUGREGS,
			 sizeof(struct kvm_debugregs)},
	[P_LAPIC] = {"local APIC", KVM_GET_LAPIC, KVM_SET_LAPIC, sizeof(struct kvm_lapic_state)},
	[P_EVENTS] = {"events", KVM_GET_VCPU_EVENTS, KVM_SET_VCPU_EVENTS,
		      sizeof(struct kvm_vcpu_events)},
	[P_MP_STATE] = {"run state", KVM_GET_MP_STATE, KVM_SET_MP_STATE,
			sizeof(struct kvm_mp_state)},
};

static void put_part(struct state_out *o, enum part part, const void *data, size_t len)
{
	state_put_int(o, (uint64_t)part);
	state_put_int(o, len);
	state_put(o, data, len);
}

/* ---- MSRs */

struct msr_list {
	uint32_t n, indices[MSRS_MAX];
};

struct msrs {
	uint32_t n, pad;
	struct kvm_msr_entry entries[MSRS_MAX];
};

static void known_msrs(const struct kvm *k, struct msr_list *list)
{
	list->n = MSRS_MAX;
	if (ioctl(k->fd, KVM_GET_MSR_INDEX_LIST, list) < 0)
		list->n = 0;
}

/* From or to KVM, without those that it refuses: it names more than each processor has. Return: how many it took, which
 * are then the first of @all */
static uint32_t move_msrs(int fd, unsigned long request, struct msrs *all)
{
	struct msrs *some = malloc(sizeof(*some));
	uint32_t good = 0, at = 0;

	while (some && at < all->n) {
		int n;

		some->n = all->n - at;
		some->pad = 0;
		memcpy(some->entries, all->entries + at, some->n * sizeof(some->entries[0]));
		n = ioctl(fd, request, some);
		if (n < 0)
			n = 0;
		memmove(all->entries + good, some->entries, (size_t)n * sizeof(some->entries[0]));
		good += (uint32_t)n;
		at += (uint32_t)n + 1; /* the one behind these was refused */
	}
	free(some);
	return good;
}

static void save_msrs(const struct vcpu *v, const struct msr_list *list, struct state_out *o)
{
	struct msrs *all = calloc(1, sizeof(*all));

	if (!all) {
		o->failed = true;
		return;
	}
	all->n = list->n;
	for (uint32_t i = 0; i < list->n; i++)
		all->entries[i].index = list->indices[i];
	all->n = move_msrs(v->fd, KVM_GET_MSRS, all);
	put_part(o, P_MSRS, all->entries, all->n * sizeof(all->entries[0]));
	free(all);
}

static int load_msrs(const struct vcpu *v, const uint8_t *data, size_t len, uint64_t *ret_deadline,
		     struct err *err)
{
	CLEANUP_FREE struct msrs *all = calloc(1, sizeof(*all));

	if (!all)
		return err_nomem(err);
	if (len > sizeof(all->entries) || len % sizeof(all->entries[0]))
		return err_set(err, ERR_CORRUPT, "its section VCPU is damaged");
	all->n = (uint32_t)(len / sizeof(all->entries[0]));
	memcpy(all->entries, data, len);
	for (uint32_t i = 0; i < all->n; i++)
		if (all->entries[i].index == MSR_TSC_DEADLINE)
			*ret_deadline = all->entries[i].data;
	(void)move_msrs(v->fd, KVM_SET_MSRS, all);
	return 0;
}

/* A deadline that was over is none any more, though its interrupt may not have come: it comes once more, at once. */
static void load_deadline(const struct vcpu *v, uint64_t deadline)
{
	struct kvm_lapic_state apic;
	struct msrs *one;
	uint32_t lvt;

	if (ioctl(v->fd, KVM_GET_LAPIC, &apic) < 0)
		return;
	memcpy(&lvt, apic.regs + LVT_TIMER, sizeof(lvt));
	one = calloc(1, sizeof(*one));
	if (!one || !(lvt & LVT_DEADLINE)) {
		free(one);
		return;
	}
	one->n = 1;
	one->entries[0].index = MSR_TSC_DEADLINE;
	one->entries[0].data = deadline ? deadline : 1;
	(void)ioctl(v->fd, KVM_SET_MSRS, one);
	free(one);
}

/* ---- vCPUs */

static size_t xsave_size(const struct kvm *k)
{
	int size = ioctl(k->vm, KVM_CHECK_EXTENSION, KVM_CAP_XSAVE2);

	return size > (int)sizeof(struct kvm_xsave) ? (size_t)size : sizeof(struct kvm_xsave);
}

static int save_xsave(const struct kvm *k, const struct vcpu *v, struct state_out *o,
		      struct err *err)
{
	size_t size = xsave_size(k);
	CLEANUP_FREE uint8_t *area = calloc(1, size);

	if (!area)
		return err_nomem(err);
	if (ioctl(v->fd, size > sizeof(struct kvm_xsave) ? KVM_GET_XSAVE2 : KVM_GET_XSAVE, area) <
	    0)
		return err_sys(err, "KVM does not tell the vector registers of vCPU %u", v->index);
	put_part(o, P_XSAVE, area, size);
	return 0;
}

static int save_vcpu(const struct machine *m, const struct vcpu *v, const struct msr_list *list,
		     struct state_out *o, struct err *err)
{
	_Alignas(16) uint8_t raw[4096];
	size_t at = state_begin(o, "VCPU", v->index);
	uint64_t khz;

	/* It first: what it waits for is sorted by asking */
	if (ioctl(v->fd, KVM_GET_MP_STATE, raw) < 0)
		return err_sys(err, "KVM does not tell whether vCPU %u runs", v->index);
	for (int p = P_SREGS; p < P_END; p++) {
		if (p == P_XSAVE && save_xsave(&m->kvm, v, o, err) < 0)
			return -1;
		if (p == P_TSC_KHZ) {
			int got = ioctl(v->fd, KVM_GET_TSC_KHZ, 0);

			khz = got > 0 ? (uint64_t)got : 0;
			put_part(o, P_TSC_KHZ, &khz, sizeof(khz));
		}
		if (p == P_MSRS)
			save_msrs(v, list, o);
		if (!simple[p].size)
			continue;
		memset(raw, 0, sizeof(raw));
		if (ioctl(v->fd, simple[p].get, raw) < 0)
			return err_sys(err, "KVM does not tell the %s of vCPU %u", simple[p].what,
				       v->index);
		put_part(o, (enum part)p, raw, simple[p].size);
	}
	state_end(o, at);
	return 0;
}

static int refused(const char *what, unsigned index, struct err *err)
{
	err_sys(err, "KVM does not take the saved %s of vCPU %u", what, index);
	if (err)
		err->code = errno == EINVAL ? ERR_CORRUPT : ERR_UNSUPPORTED;
	return -1;
}

static int load_xsave(const struct kvm *k, const struct vcpu *v, const uint8_t *data, size_t len,
		      struct err *err)
{
	size_t size = xsave_size(k);
	CLEANUP_FREE uint8_t *area = calloc(1, size);

	if (!area)
		return err_nomem(err);
	if (len > size)
		return err_set(err, ERR_UNSUPPORTED,
			       "its vector registers take %zu bytes, this processor's %zu", len,
			       size);
	memcpy(area, data, len);
	return ioctl(v->fd, KVM_SET_XSAVE, area) < 0 ? refused("vector registers", v->index, err)
						     : 0;
}

static int load_part(const struct machine *m, const struct vcpu *v, enum part p,
		     const uint8_t *data, size_t len, uint64_t *deadline, struct err *err)
{
	_Alignas(16) uint8_t raw[4096];
	uint64_t khz;

	if (p == P_XSAVE)
		return load_xsave(&m->kvm, v, data, len, err);
	if (p == P_MSRS)
		return load_msrs(v, data, len, deadline, err);
	if (len != (p == P_TSC_KHZ ? sizeof(khz) : simple[p].size))
		return err_set(err, ERR_CORRUPT, "its section VCPU is damaged");
	if (p == P_TSC_KHZ) {
		/* A processor that cannot do it: the guest's kvmclock knows the factor. */
		memcpy(&khz, data, sizeof(khz));
		if (khz && (int)khz != ioctl(v->fd, KVM_GET_TSC_KHZ, 0))
			(void)ioctl(v->fd, KVM_SET_TSC_KHZ, khz);
		return 0;
	}
	memset(raw, 0, sizeof(raw));
	memcpy(raw, data, len);
	if (ioctl(v->fd, simple[p].set, raw) < 0)
		return refused(simple[p].what, v->index, err);
	if (p == P_LAPIC)
		load_deadline(v, *deadline);
	return 0;
}

static int load_vcpu(const struct machine *m, const struct vcpu *v, const struct state *s,
		     struct err *err)
{
	uint64_t deadline = 0;
	struct state_in in;

	(void)state_find(s, "VCPU", v->index, &in);
	for (uint64_t p = P_SREGS; p < P_END; p++) {
		uint64_t part = state_get_int(&in), len = state_get_int(&in);
		const uint8_t *data = in.data + in.at;

		if (in.failed || part != p || len > in.len - in.at || len > XSAVE_MAX)
			return err_set(err, ERR_CORRUPT, "its section VCPU is damaged");
		in.at += (size_t)len;
		if (load_part(m, v, (enum part)p, data, (size_t)len, &deadline, err) < 0)
			return -1;
	}
	return state_done(&in, "VCPU", err);
}

/* ---- the rest */

/* An empty section: the guest never looked for the timer */
static int save_pit(struct kvm *k, struct state_out *o, struct err *err)
{
	size_t at = state_begin(o, "PIT2", 0);
	struct kvm_pit_state2 pit;

	memset(&pit, 0, sizeof(pit));
	if (kvm_has_pit(k)) {
		if (ioctl(k->vm, KVM_GET_PIT2, &pit) < 0)
			return err_sys(err, "KVM does not tell the state of the timer");
		state_put(o, &pit, sizeof(pit));
	}
	state_end(o, at);
	return 0;
}

static int load_pit(struct kvm *k, const struct state *s, struct err *err)
{
	struct kvm_pit_state2 pit;
	struct state_in in;

	if (state_find(s, "PIT2", 0, &in) && !in.len)
		return 0;
	state_get(&in, &pit, sizeof(pit));
	if (state_done(&in, "PIT2", err) < 0)
		return -1;
	if (!kvm_make_pit(k) || ioctl(k->vm, KVM_SET_PIT2, &pit) < 0)
		return err_set(err, ERR_CORRUPT, "KVM does not take its timer");
	return 0;
}

static int save_chips(struct kvm *k, struct state_out *o, struct err *err)
{
	struct kvm_clock_data clock;
	size_t at = state_begin(o, "CHIP", 0);

	for (uint32_t i = 0; i < CHIPS; i++) {
		struct kvm_irqchip chip = {.chip_id = i};

		if (ioctl(k->vm, KVM_GET_IRQCHIP, &chip) < 0)
			return err_sys(err, "KVM does not tell the state of interrupt chip %u", i);
		state_put(o, &chip, sizeof(chip));
	}
	state_end(o, at);
	if (save_pit(k, o, err) < 0)
		return -1;
	at = state_begin(o, "CLCK", 0);
	memset(&clock, 0, sizeof(clock));
	if (ioctl(k->vm, KVM_GET_CLOCK, &clock) < 0)
		return err_sys(err, "KVM does not tell its clock");
	state_put_int(o, clock.clock);
	state_end(o, at);
	return 0;
}

static int load_chips(struct kvm *k, const struct state *s, struct err *err)
{
	struct kvm_clock_data clock = {0};
	struct state_in in;

	(void)state_find(s, "CHIP", 0, &in);
	for (uint32_t i = 0; i < CHIPS; i++) {
		struct kvm_irqchip chip;

		state_get(&in, &chip, sizeof(chip));
		chip.chip_id = i;
		if (!in.failed && ioctl(k->vm, KVM_SET_IRQCHIP, &chip) < 0)
			return err_set(err, ERR_CORRUPT, "KVM does not take its interrupt chips");
	}
	if (state_done(&in, "CHIP", err) < 0)
		return -1;
	if (load_pit(k, s, err) < 0)
		return -1;
	(void)state_find(s, "CLCK", 0, &in);
	clock.clock = state_get_int(&in);
	if (state_done(&in, "CLCK", err) < 0)
		return -1;
	if (ioctl(k->vm, KVM_SET_CLOCK, &clock) < 0)
		return err_set(err, ERR_CORRUPT, "KVM does not take its clock");
	return 0;
}

int state_save_kvm(struct machine *m, struct state_out *o, struct err *err)
{
	CLEANUP_FREE struct msr_list *list = malloc(sizeof(*list));
	size_t at;

	if (!list)
		return err_nomem(err);
	known_msrs(&m->kvm, list);
	at = state_begin(o, "CPID", 0);
	state_put(o, m->kvm.cpuid.entries, m->kvm.cpuid.nent * sizeof(m->kvm.cpuid.entries[0]));
	state_end(o, at);
	for (unsigned i = 0; i < m->vcpus; i++)
		if (save_vcpu(m, &m->vcpu[i], list, o, err) < 0)
			return -1;
	return save_chips(&m->kvm, o, err);
}

int state_load_kvm(struct machine *m, const struct state *s, struct err *err)
{
	for (unsigned i = 0; i < m->vcpus; i++)
		if (load_vcpu(m, &m->vcpu[i], s, err) < 0)
			return -1;
	return load_chips(&m->kvm, s, err);
}

/* ---- CPUID */

/* Leaves whose bits are features: which of EAX, EBX, ECX, EDX */
static const struct {
	uint32_t function, index;
	bool reg[4];
} features[] = {
	{1, 0, {false, false, true, true}},	      {7, 0, {false, true, true, true}},
	{7, 1, {true, false, false, false}},	      {0xd, 0, {true, false, false, true}},
	{0xd, 1, {true, false, false, false}},	      {0x80000001, 0, {false, false, true, true}},
	{0x80000008, 0, {false, true, false, false}},
};

static const struct kvm_cpuid_entry2 *leaf(const struct kvm_cpuid_entry2 *e, uint32_t n,
					   uint32_t function, uint32_t index)
{
	for (uint32_t i = 0; i < n; i++)
		if (e[i].function == function && e[i].index == index)
			return &e[i];
	return NULL;
}

static int lacking(const char *reg, uint32_t function, uint32_t bits, struct err *err)
{
	return err_set(err, ERR_UNSUPPORTED,
		       "this processor, or its KVM, lacks what the guest was started with (CPUID "
		       "%#" PRIx32 " %s, bits %#" PRIx32 ")",
		       function, reg, bits);
}

static int check_cpuid(const struct kvm *k, const struct kvm_cpuid_entry2 *then, uint32_t n,
		       struct err *err)
{
	static const char *const names[] = {"EAX", "EBX", "ECX", "EDX"};
	static const struct kvm_cpuid_entry2 none;
	const struct kvm_cpuid_entry2 *a = leaf(then, n, 0, 0),
				      *b = leaf(k->cpuid.entries, k->cpuid.nent, 0, 0);

	if (!a || !b || a->ebx != b->ebx || a->ecx != b->ecx || a->edx != b->edx)
		return err_set(err, ERR_UNSUPPORTED,
			       "the guest was started on another maker's processor");
	for (size_t i = 0; i < sizeof(features) / sizeof(features[0]); i++) {
		a = leaf(then, n, features[i].function, features[i].index);
		b = leaf(k->cpuid.entries, k->cpuid.nent, features[i].function, features[i].index);
		if (!a)
			continue;
		if (!b)
			b = &none;

		const uint32_t was[] = {a->eax, a->ebx, a->ecx, a->edx},
			       is[] = {b->eax, b->ebx, b->ecx, b->edx};

		for (size_t r = 0; r < 4; r++)
			if (features[i].reg[r] && (was[r] & ~is[r]))
				return lacking(names[r], features[i].function, was[r] & ~is[r],
					       err);
	}
	return 0;
}

int state_load_cpuid(struct kvm *k, const struct state *s, struct err *err)
{
	struct kvm_cpuid_entry2 then[KVM_CPUID_MAX];
	struct state_in in;
	uint32_t n;

	if (!state_find(s, "CPID", 0, &in) || in.len % sizeof(then[0]) || in.len > sizeof(then))
		return err_set(err, ERR_CORRUPT, "its section CPID is damaged");
	n = (uint32_t)(in.len / sizeof(then[0]));
	state_get(&in, then, in.len);
	if (check_cpuid(k, then, n, err) < 0)
		return -1;
	memcpy(k->cpuid.entries, then, in.len);
	k->cpuid.nent = n;
	return 0;
}
