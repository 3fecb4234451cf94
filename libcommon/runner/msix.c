/* MSI-X: table, masks, pending bits. See pci.h. */
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/runner/pci.h"

enum {
	ENTRY = 16,
	ENTRY_DATA = 8,
	ENTRY_CONTROL = 12,
	PENDING = 0x800,
	CONTROL_ENABLE = 0x8000,
	CONTROL_MASK = 0x4000
};

void msix_init(struct msix *x, const struct irq_sink *irq, unsigned vectors, unsigned cap)
{
	x->irq = irq;
	x->vectors = vectors;
	x->cap = cap;
	msix_reset(x);
}

void msix_reset(struct msix *x)
{
	memset(x->table, 0, sizeof(x->table));
	for (unsigned i = 0; i < PCI_MSIX_MAX; i++)
		put_le32(x->table + ENTRY * i + ENTRY_CONTROL, 1); /* masked */
	x->pending = 0;
	x->enabled = x->masked = false;
}

/* With the lock held */
static void send(struct msix *x, unsigned vector)
{
	const uint8_t *e = x->table + ENTRY * vector;

	if (!x->enabled)
		return;
	if (x->masked || (e[ENTRY_CONTROL] & 1)) {
		x->pending |= UINT64_C(1) << vector;
		return;
	}
	x->pending &= ~(UINT64_C(1) << vector);
	irq_msi(x->irq, get_le64(e), get_le32(e + ENTRY_DATA));
}

static void send_pending(struct msix *x)
{
	for (unsigned i = 0; i < x->vectors; i++)
		if (x->pending >> i & 1)
			send(x, i);
}

void msix_control(struct msix *x, uint16_t word)
{
	(void)pthread_mutex_lock(&x->lock);
	x->enabled = word & CONTROL_ENABLE;
	x->masked = word & CONTROL_MASK;
	send_pending(x);
	(void)pthread_mutex_unlock(&x->lock);
}

bool msix_is_enabled(struct msix *x)
{
	bool on;

	(void)pthread_mutex_lock(&x->lock);
	on = x->enabled;
	(void)pthread_mutex_unlock(&x->lock);
	return on;
}

void msix_raise(struct msix *x, unsigned vector)
{
	(void)pthread_mutex_lock(&x->lock);
	if (vector < x->vectors)
		send(x, vector);
	(void)pthread_mutex_unlock(&x->lock);
}

uint64_t msix_bar_read(struct msix *x, uint32_t off, unsigned size)
{
	uint64_t v = 0;
	uint8_t pending[8];

	(void)pthread_mutex_lock(&x->lock);
	put_le64(pending, x->pending);
	if (range_inside(off, size, (uint64_t)ENTRY * x->vectors))
		memcpy(&v, x->table + off, size);
	else if (off >= PENDING && range_inside(off - PENDING, size, sizeof(pending)))
		memcpy(&v, pending + (off - PENDING), size);
	(void)pthread_mutex_unlock(&x->lock);
	return le64toh(v);
}

void msix_bar_write(struct msix *x, uint32_t off, unsigned size, uint64_t value)
{
	uint64_t v = htole64(value);

	if (size < 4) /* only whole words may be written */
		return;
	(void)pthread_mutex_lock(&x->lock);
	if (range_inside(off, size, (uint64_t)ENTRY * x->vectors)) {
		memcpy(x->table + off, &v, size);
		send_pending(x);
	}
	(void)pthread_mutex_unlock(&x->lock);
}
