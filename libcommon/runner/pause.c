/* Pausing: the vCPUs' threads wait here instead of in the guest. */
#include <errno.h>
#include <sys/ioctl.h>
#include <time.h>

#include "libcommon/base/clock.h"
#include "libcommon/runner/machine_private.h"

enum { KICK_AGAIN_MS = 20, KICKS = 150 };

void machine_park(struct vcpu *v)
{
	struct machine *m = v->m;

	if (!atomic_load(&m->paused))
		return;
	machine_settle(v);
	(void)pthread_mutex_lock(&m->lock);
	m->parked++;
	(void)pthread_cond_broadcast(&m->parking);
	while (atomic_load(&m->paused) && !atomic_load(&m->ended))
		(void)pthread_cond_wait(&m->parking, &m->lock);
	m->parked--;
	(void)pthread_mutex_unlock(&m->lock);
	/* The guest's watchdogs are told that time stood still; a guest without kvmclock has no ear for it. */
	(void)ioctl(v->fd, KVM_KVMCLOCK_CTRL, 0);
}

void machine_pause(struct machine *m)
{
	(void)pthread_mutex_lock(&m->lock);
	atomic_store(&m->paused, true);
	for (int i = 0; i < KICKS && m->parked < m->vcpus && !atomic_load(&m->ended); i++) {
		struct timespec until;

		for (unsigned k = 0; k < m->vcpus; k++)
			vcpu_kick(&m->vcpu[k]);
		until = clock_after(CLOCK_REALTIME, KICK_AGAIN_MS);
		while (m->parked < m->vcpus && !atomic_load(&m->ended) &&
		       pthread_cond_timedwait(&m->parking, &m->lock, &until) != ETIMEDOUT)
			;
	}
	(void)pthread_mutex_unlock(&m->lock);
}

bool machine_parked(struct machine *m)
{
	bool all;

	(void)pthread_mutex_lock(&m->lock);
	all = atomic_load(&m->paused) && m->parked == m->vcpus && !atomic_load(&m->ended);
	(void)pthread_mutex_unlock(&m->lock);
	return all;
}

void machine_resume(struct machine *m)
{
	(void)pthread_mutex_lock(&m->lock);
	atomic_store(&m->paused, false);
	atomic_store(&m->saved, false);
	(void)pthread_cond_broadcast(&m->parking);
	(void)pthread_mutex_unlock(&m->lock);
}
