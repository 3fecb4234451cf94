/* The timer of a PC (i8254, and port 0x61), which is KVM's and is made when the guest first looks for it. Kernels that have the
 * local APIC's deadlines and kvmclock never do, and a machine without one ends 16 ms sooner: two grace periods (2026-11-26).
 *
 * KVM answers its ports from then on. The access that made it is applied to its state here.
 */
#include <stdatomic.h>
#include <string.h>
#include <sys/ioctl.h>

#include "libcommon/base/log.h"
#include "libcommon/runner/kvm.h"

enum {
	PIT_PORT = 0x40,
	PIT_PORTS = 4,
	SPEAKER_PORT = 0x61,
	CONTROL = 3,
	CHANNELS = 3,
	SPEAKER_CHANNEL = 2
};

/* A control word of 0x43; one that latches or reads back has nothing to find in a timer that was never set */
static void set_control(struct kvm_pit_state2 *s, uint8_t word)
{
	struct kvm_pit_channel_state *c;
	uint8_t access = word >> 4 & 3, mode = word >> 1 & 7;

	if (word >> 6 == CHANNELS || !access)
		return;
	c = &s->channels[word >> 6];
	c->rw_mode = c->read_state = c->write_state = access;
	c->mode = mode > 5 ? mode & 3 : mode;
	c->bcd = word & 1;
}

bool kvm_make_pit(struct kvm *k)
{
	static atomic_bool told; /* a guest can ask again and again */
	struct kvm_pit_config config = {.flags = KVM_PIT_SPEAKER_DUMMY}; /* port 0x61 too */
	int rc = 0;

	(void)pthread_mutex_lock(&k->pit_lock);
	if (!k->has_pit)
		rc = ioctl(k->vm, KVM_CREATE_PIT2, &config);
	k->has_pit = k->has_pit || rc == 0;
	(void)pthread_mutex_unlock(&k->pit_lock);
	if (rc < 0 && !atomic_exchange(&told, true))
		log_warning("KVM does not make a timer");
	return rc == 0;
}

bool kvm_has_pit(struct kvm *k)
{
	bool has;

	(void)pthread_mutex_lock(&k->pit_lock);
	has = k->has_pit;
	(void)pthread_mutex_unlock(&k->pit_lock);
	return has;
}

static uint32_t read_any(void *dev, uint16_t off, unsigned size)
{
	(void)off;
	(void)size;
	(void)kvm_make_pit(dev);
	return 0; /* as good a count, or a state of the speaker, as any */
}

static void write_pit(void *dev, uint16_t off, unsigned size, uint32_t value)
{
	struct kvm *k = dev;
	struct kvm_pit_state2 s;

	(void)size;
	if (!kvm_make_pit(k) || off != CONTROL || ioctl(k->vm, KVM_GET_PIT2, &s) < 0)
		return; /* a count for a channel that has no mode yet */
	set_control(&s, (uint8_t)value);
	(void)ioctl(k->vm, KVM_SET_PIT2, &s);
}

static void write_speaker(void *dev, uint16_t off, unsigned size, uint32_t value)
{
	struct kvm *k = dev;
	struct kvm_pit_state2 s;

	(void)off;
	(void)size;
	if (!kvm_make_pit(k) || ioctl(k->vm, KVM_GET_PIT2, &s) < 0)
		return;
	s.channels[SPEAKER_CHANNEL].gate = value & 1;
	(void)ioctl(k->vm, KVM_SET_PIT2, &s);
}

void kvm_attach_pit(struct kvm *k, struct bus *ports)
{
	const struct bus_range pit = {PIT_PORT, PIT_PORTS, read_any, write_pit, k, true},
			       speaker = {SPEAKER_PORT, 1, read_any, write_speaker, k, true};

	(void)bus_add(ports, &pit); /* the table has room for all of ours */
	(void)bus_add(ports, &speaker);
}
