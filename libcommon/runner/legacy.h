/* Small parts of a PC: the clock (CMOS), the reset line of the keyboard controller, ACPI's power registers, pvpanic.
 *
 * Threads: any; each has a lock where it has state.
 */
#ifndef VMKIT_RUNNER_LEGACY_H
#define VMKIT_RUNNER_LEGACY_H

#include <pthread.h>
#include <stdint.h>

#include "libcommon/runner/bus.h"
#include "libcommon/runner/irq.h"

enum {
	CMOS_PORT = 0x70,
	I8042_STATUS = 0x64,
	PM_PORT = 0x600, /* PM1 event block; +4 control; +8 timer */
	PM_PORTS = 12,
	PM_SCI = 9,
	PM_SLEEP_OFF = 5, /* SLP_TYP that \_S5 names */
	PVPANIC_PORT = 0x505,
};

enum legacy_event { LEGACY_RESET, LEGACY_POWEROFF, LEGACY_PANIC };

struct legacy {
	pthread_mutex_t lock;
	uint8_t cmos_index;
	uint8_t cmos[128];
	uint16_t pm_status, pm_enable, pm_control;
	const struct irq_sink *irq;
	void (*event)(void *ctx, enum legacy_event e); /* called without the lock */
	void *ctx;
};

void legacy_init(struct legacy *l, const struct irq_sink *irq);

/** legacy_set_memory() - what CMOS says of memory: @low bytes below 4 GiB, @high above */
void legacy_set_memory(struct legacy *l, uint64_t low, uint64_t high);

/** legacy_attach() - all of them on the port bus; Return: false when its table is full */
bool legacy_attach(struct legacy *l, struct bus *bus);

/** legacy_update() - the interrupt line is what the registers say: after they were loaded */
void legacy_update(struct legacy *l);

/** legacy_power_wanted() - has the guest enabled the power button's event? */
bool legacy_power_wanted(struct legacy *l);

/** legacy_press_power() - the power button: an ACPI interrupt */
void legacy_press_power(struct legacy *l);

#endif
