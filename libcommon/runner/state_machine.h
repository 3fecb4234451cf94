/* A machine's state, part by part: what save.c writes and restore.c reads. For the runner alone. */
#ifndef VMKIT_RUNNER_STATE_MACHINE_H
#define VMKIT_RUNNER_STATE_MACHINE_H

#include "libcommon/runner/machine_private.h"
#include "libcommon/runner/state.h"

/* state_kvm.c: its vCPUs stand still, or were never started */
int state_save_kvm(struct machine *m, struct state_out *o, struct err *err);
int state_load_kvm(struct machine *m, const struct state *s, struct err *err);
/** state_load_cpuid() - before vCPUs are made: they get what the guest had, if this host has all of it */
int state_load_cpuid(struct kvm *k, const struct state *s, struct err *err);

/** machine_virtio() - the virtio device in a slot of PCI, or NULL; they are the ones with MSI-X */
struct virtio_dev *machine_virtio(struct machine *m, unsigned slot);

/* state_devices.c: nothing is served, see virtio_freeze() */
int state_save_devices(struct machine *m, struct state_out *o, struct err *err);
/** state_load_devices() - before the first instruction; lines and messages that may be wanted are raised once more */
int state_load_devices(struct machine *m, const struct state *s, struct err *err);

#endif
