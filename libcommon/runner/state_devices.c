/* The devices of a machine, saved and loaded: see state_machine.h.
 *
 * What a guest may write is taken as it was saved; what it may not is as the machine is made now, and has to fit: a slot holds
 * the same kind of device, a queue lies in memory, features were offered.
 */
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/runner/state_machine.h"

static int other_device(unsigned slot, struct err *err)
{
	return err_set(err, ERR_UNSUPPORTED,
		       "it was saved with other devices: slot %u of PCI is not the same", slot);
}

/* ---- PCI */

static void save_pci(struct pci_dev *d, struct state_out *o)
{
	size_t at = state_begin(o, "PCID", d->slot);

	state_put(o, d->config, sizeof(d->config));
	state_put_int(o, d->intx);
	(void)pthread_mutex_lock(&d->msix.lock);
	state_put_int(o, (d->msix.enabled ? 1U : 0U) | (d->msix.masked ? 2U : 0U));
	state_put_int(o, d->msix.pending);
	state_put(o, d->msix.table, sizeof(d->msix.table));
	(void)pthread_mutex_unlock(&d->msix.lock);
	state_end(o, at);
}

static int load_pci(struct pci_dev *d, const struct state *s, struct err *err)
{
	uint8_t config[sizeof(d->config)];
	uint64_t intx, flags;
	struct state_in in;

	if (!state_find(s, "PCID", d->slot, &in))
		return other_device(d->slot, err);
	state_get(&in, config, sizeof(config));
	intx = state_get_int(&in);
	flags = state_get_int(&in);
	d->msix.pending = state_get_int(&in);
	if (d->msix.vectors < 64)
		d->msix.pending &= (UINT64_C(1) << d->msix.vectors) - 1;
	state_get(&in, d->msix.table, sizeof(d->msix.table));
	if (memcmp(config, d->config, 4) != 0 || memcmp(config + 0x2c, d->config + 0x2c, 4) != 0)
		return other_device(d->slot, err);
	for (size_t i = 0; i < sizeof(config); i++)
		d->config[i] = (uint8_t)((d->config[i] & ~d->mask[i]) | (config[i] & d->mask[i]));
	d->intx = intx && d->msix.vectors;
	d->msix.enabled = d->msix.vectors && (flags & 1);
	d->msix.masked = flags & 2;
	return state_done(&in, "PCID", err);
}

/* ---- virtio */

static void save_queue(struct virtio_queue *q, struct state_out *o)
{
	const struct virtq *r = &q->ring;

	state_put_int(o, r->size);
	state_put_int(o, r->desc);
	state_put_int(o, r->avail);
	state_put_int(o, r->used);
	state_put_int(o, (r->enabled ? 1U : 0U) | (r->broken ? 2U : 0U));
	state_put_int(o, r->last_avail);
	state_put_int(o, r->used_index);
	state_put_int(o, atomic_load(&q->vector));
}

static bool load_queue(struct virtio_queue *q, struct state_in *in)
{
	struct virtq *r = &q->ring;
	uint64_t flags, vector;

	r->size = (uint16_t)state_get_int(in);
	r->desc = state_get_int(in);
	r->avail = state_get_int(in);
	r->used = state_get_int(in);
	flags = state_get_int(in);
	r->last_avail = (uint16_t)state_get_int(in);
	r->used_index = (uint16_t)state_get_int(in);
	vector = state_get_int(in);
	atomic_store(&q->vector,
		     vector < q->dev->pci.msix.vectors ? (unsigned)vector : VIRTIO_NO_VECTOR);
	r->broken = flags & 2;
	return !in->failed && (!(flags & 1) || virtq_enable(r));
}

static void save_virtio(struct virtio_dev *d, struct state_out *o)
{
	size_t at = state_begin(o, "VIRT", d->pci.slot);

	state_put_int(o, atomic_load(&d->status));
	state_put_int(o, d->driver_features);
	state_put_int(o, d->feature_select);
	state_put_int(o, d->driver_feature_select);
	state_put_int(o, d->queue_select);
	state_put_int(o, d->isr);
	state_put_int(o, atomic_load(&d->config_vector));
	state_put_int(o, d->queues);
	for (unsigned i = 0; i < d->queues; i++)
		save_queue(&d->queue[i], o);
	state_end(o, at);
}

static int load_virtio(struct virtio_dev *d, const struct state *s, struct err *err)
{
	uint64_t status, vector;
	struct state_in in;
	bool good = true;

	(void)state_find(s, "VIRT", d->pci.slot, &in);
	status = state_get_int(&in) & 0xff;
	d->driver_features = state_get_int(&in);
	d->feature_select = (uint32_t)state_get_int(&in);
	d->driver_feature_select = (uint32_t)state_get_int(&in);
	d->queue_select = (uint16_t)state_get_int(&in);
	d->isr = (unsigned)state_get_int(&in) & 3;
	vector = state_get_int(&in);
	atomic_store(&d->config_vector,
		     vector < d->pci.msix.vectors ? (unsigned)vector : VIRTIO_NO_VECTOR);
	if (state_get_int(&in) != d->queues)
		return in.failed ? state_done(&in, "VIRT", err) : other_device(d->pci.slot, err);
	for (unsigned i = 0; good && i < d->queues; i++)
		good = load_queue(&d->queue[i], &in);
	if (state_done(&in, "VIRT", err) < 0)
		return -1;
	if ((status & VIRTIO_FEATURES_OK) && (d->driver_features & ~d->features))
		return other_device(d->pci.slot, err);
	if (!good || ((status & VIRTIO_DRIVER_OK) && !(status & VIRTIO_FEATURES_OK)))
		return err_set(err, ERR_CORRUPT, "its section VIRT is damaged");
	atomic_store(&d->status, (unsigned)status);
	return 0;
}

/* An interrupt may have been on its way when the machine was saved; one too many is nothing. */
static void raise_again(struct virtio_dev *d)
{
	if (!(atomic_load(&d->status) & VIRTIO_DRIVER_OK))
		return;
	/* An interface whose link was down has one again. */
	if (d->type->id == VIRTIO_NET)
		virtio_raise(d, -1);
	for (unsigned i = 0; i < d->queues; i++) {
		if (!d->queue[i].ring.enabled)
			continue;
		virtio_raise(d, (int)i);
		virtio_wake(d, i);
	}
}

/* ---- the serial line, and small parts */

static void save_serial(struct serial *u, struct state_out *o)
{
	size_t at = state_begin(o, "SERL", 0);

	(void)pthread_mutex_lock(&u->lock);
	state_put(o,
		  (const uint8_t[]){u->ier, u->lcr, u->mcr, u->scratch, u->dll, u->dlm, u->fcr,
				    u->thre_pending},
		  8);
	state_put_int(o, u->fifo_len);
	for (unsigned i = 0; i < SERIAL_FIFO; i++)
		state_put(o, &u->fifo[(u->fifo_start + i) % SERIAL_FIFO], 1);
	(void)pthread_mutex_unlock(&u->lock);
	state_end(o, at);
}

static int load_serial(struct serial *u, const struct state *s, struct err *err)
{
	struct state_in in;
	uint8_t regs[8];
	uint64_t len;

	(void)state_find(s, "SERL", 0, &in);
	state_get(&in, regs, sizeof(regs));
	len = state_get_int(&in);
	state_get(&in, u->fifo, sizeof(u->fifo));
	if (len > SERIAL_FIFO)
		in.failed = true;
	if (state_done(&in, "SERL", err) < 0)
		return -1;
	u->ier = regs[0] & 0x0f;
	u->lcr = regs[1];
	u->mcr = regs[2];
	u->scratch = regs[3];
	u->dll = regs[4];
	u->dlm = regs[5];
	u->fcr = regs[6];
	u->thre_pending = regs[7];
	u->fifo_start = 0;
	u->fifo_len = (unsigned)len;
	return 0;
}

static void save_legacy(struct legacy *l, struct state_out *o)
{
	size_t at = state_begin(o, "LEGC", 0);

	(void)pthread_mutex_lock(&l->lock);
	state_put_int(o, l->cmos_index);
	state_put(o, l->cmos, sizeof(l->cmos));
	state_put_int(o, l->pm_status);
	state_put_int(o, l->pm_enable);
	state_put_int(o, l->pm_control);
	(void)pthread_mutex_unlock(&l->lock);
	state_end(o, at);
}

static int load_legacy(struct legacy *l, const struct state *s, struct err *err)
{
	struct state_in in;

	(void)state_find(s, "LEGC", 0, &in);
	l->cmos_index = (uint8_t)state_get_int(&in) & 0x7f;
	state_get(&in, l->cmos, sizeof(l->cmos));
	l->pm_status = (uint16_t)state_get_int(&in);
	l->pm_enable = (uint16_t)state_get_int(&in);
	l->pm_control = (uint16_t)state_get_int(&in);
	return state_done(&in, "LEGC", err);
}

/* ---- all of them */

struct virtio_dev *machine_virtio(struct machine *m, unsigned slot)
{
	struct pci_dev *d = m->pci.dev[slot];

	return d && d->msix.vectors ? (struct virtio_dev *)(void *)d : NULL;
}

int state_save_devices(struct machine *m, struct state_out *o, struct err *err)
{
	size_t at;

	save_serial(&m->serial, o);
	save_legacy(&m->legacy, o);
	at = state_begin(o, "PCIB", 0);
	state_put_int(o, m->pci.address);
	state_end(o, at);
	for (unsigned slot = 0; slot < PCI_SLOTS; slot++) {
		struct virtio_dev *d = machine_virtio(m, slot);

		if (d && d->type->can_save && d->type->can_save(d, err) < 0)
			return -1;
		if (m->pci.dev[slot])
			save_pci(m->pci.dev[slot], o);
		if (d)
			save_virtio(d, o);
		if (d && d->type->save) {
			at = state_begin(o, "VDEV", slot);
			d->type->save(d, o);
			state_end(o, at);
		}
	}
	return 0;
}

static int load_slot(struct machine *m, unsigned slot, const struct state *s, struct err *err)
{
	struct virtio_dev *d = machine_virtio(m, slot);
	struct state_in in;

	if (!m->pci.dev[slot])
		return state_find(s, "PCID", slot, &in) ? other_device(slot, err) : 0;
	if (load_pci(m->pci.dev[slot], s, err) < 0)
		return -1;
	if (d && load_virtio(d, s, err) < 0)
		return -1;
	if (!d || !d->type->load)
		return 0;
	(void)state_find(s, "VDEV", slot, &in);
	d->type->load(d, &in);
	return state_done(&in, "VDEV", err);
}

int state_load_devices(struct machine *m, const struct state *s, struct err *err)
{
	struct state_in in;

	if (load_serial(&m->serial, s, err) < 0 || load_legacy(&m->legacy, s, err) < 0)
		return -1;
	(void)state_find(s, "PCIB", 0, &in);
	m->pci.address = (uint32_t)state_get_int(&in);
	if (state_done(&in, "PCIB", err) < 0)
		return -1;
	for (unsigned slot = 0; slot < PCI_SLOTS; slot++)
		if (load_slot(m, slot, s, err) < 0)
			return -1;
	(void)serial_input(&m->serial, NULL, 0); /* its line, as it has to be */
	legacy_update(&m->legacy);
	for (unsigned slot = 0; slot < PCI_SLOTS; slot++) {
		struct virtio_dev *d = machine_virtio(m, slot);

		if (d && d->pci.intx)
			pci_intx(&d->pci, true);
		if (d)
			raise_again(d);
	}
	return 0;
}
