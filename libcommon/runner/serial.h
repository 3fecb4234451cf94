/* A 16550A UART at 0x3f8, interrupt 4: what the guest writes goes to a descriptor, what comes in waits in a FIFO.
 *
 * Threads: any; one lock.
 */
#ifndef VMKIT_RUNNER_SERIAL_H
#define VMKIT_RUNNER_SERIAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libcommon/base/err.h"
#include "libcommon/runner/irq.h"

enum { SERIAL_PORT = 0x3f8, SERIAL_PORTS = 8, SERIAL_GSI = 4, SERIAL_FIFO = 64 };

struct serial {
	pthread_mutex_t lock;
	const struct irq_sink *irq;
	/* Bytes of the guest; called with the lock held; it must not call back */
	void (*output)(void *ctx, uint8_t byte);
	/* There is room for input again; called with the lock held */
	void (*room)(void *ctx);
	void *ctx;
	uint8_t ier, lcr, mcr, scratch, dll, dlm, fcr;
	bool thre_pending; /* the transmitter became empty and nobody was told */
	bool line;
	uint8_t fifo[SERIAL_FIFO];
	unsigned fifo_start, fifo_len;
};

void serial_init(struct serial *s, const struct irq_sink *irq);

/* For a struct bus_range with .bytes set */
uint32_t serial_read(void *serial, uint16_t off, unsigned size);
void serial_write(void *serial, uint16_t off, unsigned size, uint32_t value);

/** serial_room() - bytes of input that fit now */
size_t serial_room(struct serial *s);

/** serial_input() - Return: how many of @len bytes were taken */
size_t serial_input(struct serial *s, const uint8_t *data, size_t len);

#endif
