/* Small parts of a PC: see legacy.h. */
#include "libcommon/runner/legacy.h"

#include <string.h>
#include <time.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"

enum {
	PM_TIMER_HZ = 3579545,
	PM_POWER_BUTTON = 1 << 8, /* of status and enable */
	PM_SCI_ENABLED = 1,
	PM_SLEEP = 1 << 13,
	/* Data to read and none ever ends, nothing to be written: Linux finds no controller after 16 reads, and its reset
	 * does not wait 65536 times for the input buffer to drain. */
	KBC_ABSENT = 0xfd,
	KBC_RESET = 0xfe,
	PVPANIC_PANICKED = 1,
};

void legacy_init(struct legacy *l, const struct irq_sink *irq)
{
	memset(l, 0, sizeof(*l));
	(void)pthread_mutex_init(&l->lock, NULL);
	l->irq = irq;
	l->pm_control = PM_SCI_ENABLED;
}

/* At 0x15 the first 640 KiB; at 0x17 and 0x30 KiB above 1 MiB, up to 64 MiB; at 0x34 units of 64 KiB above 16 MiB; at 0x5b
 * those above 4 GiB */
void legacy_set_memory(struct legacy *l, uint64_t low, uint64_t high)
{
	uint64_t above_1m = low > 1 << 20 ? min_u64((low >> 10) - 1024, UINT16_MAX) : 0;
	uint64_t above_16m = low > 16 << 20 ? min_u64((low - (16 << 20)) >> 16, UINT16_MAX) : 0;

	put_le16(l->cmos + 0x15, 640);
	put_le16(l->cmos + 0x17, (uint16_t)above_1m);
	put_le16(l->cmos + 0x30, (uint16_t)above_1m);
	put_le16(l->cmos + 0x34, (uint16_t)above_16m);
	put_le16(l->cmos + 0x5b, (uint16_t)(high >> 16));
	l->cmos[0x5d] = (uint8_t)(high >> 32);
}

static uint8_t bcd(int v)
{
	return (uint8_t)(v / 10 % 10 << 4 | v % 10);
}

static uint8_t cmos_value(const struct legacy *l, uint8_t index)
{
	time_t now = time(NULL);
	struct tm tm;

	if (!gmtime_r(&now, &tm))
		memset(&tm, 0, sizeof(tm));
	switch (index) {
	case 0x00:
		return bcd(tm.tm_sec);
	case 0x02:
		return bcd(tm.tm_min);
	case 0x04:
		return bcd(tm.tm_hour);
	case 0x06:
		return bcd(tm.tm_wday + 1);
	case 0x07:
		return bcd(tm.tm_mday);
	case 0x08:
		return bcd(tm.tm_mon + 1);
	case 0x09:
		return bcd(tm.tm_year % 100);
	case 0x32:
		return bcd(19 + tm.tm_year / 100);
	case 0x0a:
		return 0x26; /* no update under way */
	case 0x0b:
		return 0x02; /* 24 hours, BCD */
	case 0x0c:
		return 0; /* no interrupt */
	case 0x0d:
		return 0x80; /* the battery is good */
	default:
		return l->cmos[index];
	}
}

static uint32_t cmos_read(void *dev, uint16_t off, unsigned size)
{
	struct legacy *l = dev;
	uint8_t v;

	(void)size;
	(void)pthread_mutex_lock(&l->lock);
	v = off ? cmos_value(l, l->cmos_index) : 0xff;
	(void)pthread_mutex_unlock(&l->lock);
	return v;
}

static void cmos_write(void *dev, uint16_t off, unsigned size, uint32_t value)
{
	struct legacy *l = dev;

	(void)size;
	(void)pthread_mutex_lock(&l->lock);
	if (off)
		l->cmos[l->cmos_index] = (uint8_t)value;
	else
		l->cmos_index = value & 0x7f;
	(void)pthread_mutex_unlock(&l->lock);
}

static uint32_t i8042_read(void *dev, uint16_t off, unsigned size)
{
	(void)dev;
	(void)off;
	(void)size;
	return KBC_ABSENT;
}

static void i8042_write(void *dev, uint16_t off, unsigned size, uint32_t value)
{
	struct legacy *l = dev;

	(void)off;
	(void)size;
	if ((uint8_t)value == KBC_RESET)
		l->event(l->ctx, LEGACY_RESET);
}

static uint32_t pm_timer(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint32_t)((uint64_t)t.tv_sec * PM_TIMER_HZ +
			  (uint64_t)t.tv_nsec * PM_TIMER_HZ / 1000000000);
}

/* With the lock held */
static void pm_update(struct legacy *l)
{
	irq_line(l->irq, PM_SCI, l->pm_status & l->pm_enable & PM_POWER_BUTTON);
}

void legacy_update(struct legacy *l)
{
	(void)pthread_mutex_lock(&l->lock);
	pm_update(l);
	(void)pthread_mutex_unlock(&l->lock);
}

/* The block as the 12 bytes that it is, read at any width */
static uint32_t pm_read(void *dev, uint16_t off, unsigned size)
{
	struct legacy *l = dev;
	uint8_t raw[PM_PORTS + 4] = {0};
	uint32_t timer = pm_timer(), v = 0;

	(void)pthread_mutex_lock(&l->lock);
	memcpy(raw, &l->pm_status, 2);
	memcpy(raw + 2, &l->pm_enable, 2);
	memcpy(raw + 4, &l->pm_control, 2);
	(void)pthread_mutex_unlock(&l->lock);
	memcpy(raw + 8, &timer, 4);
	memcpy(&v, raw + off, size);
	return v;
}

static void pm_write(void *dev, uint16_t off, unsigned size, uint32_t value)
{
	struct legacy *l = dev;
	bool off_now = false;

	if (size < 2)
		return;
	(void)pthread_mutex_lock(&l->lock);
	if (off == 0)
		l->pm_status &= (uint16_t)~value; /* ones clear */
	if (off == 0 && size == 4)
		l->pm_enable = (uint16_t)(value >> 16);
	if (off == 2)
		l->pm_enable = (uint16_t)value;
	if (off == 4) {
		l->pm_control = (uint16_t)(value & ~(uint32_t)PM_SLEEP) | PM_SCI_ENABLED;
		off_now = (value & PM_SLEEP) && (value >> 10 & 7) == PM_SLEEP_OFF;
	}
	pm_update(l);
	(void)pthread_mutex_unlock(&l->lock);
	if (off_now)
		l->event(l->ctx, LEGACY_POWEROFF);
}

bool legacy_power_wanted(struct legacy *l)
{
	bool wanted;

	(void)pthread_mutex_lock(&l->lock);
	wanted = l->pm_enable & PM_POWER_BUTTON;
	(void)pthread_mutex_unlock(&l->lock);
	return wanted;
}

void legacy_press_power(struct legacy *l)
{
	(void)pthread_mutex_lock(&l->lock);
	l->pm_status |= PM_POWER_BUTTON;
	pm_update(l);
	(void)pthread_mutex_unlock(&l->lock);
}

static uint32_t pvpanic_read(void *dev, uint16_t off, unsigned size)
{
	(void)dev;
	(void)off;
	(void)size;
	return PVPANIC_PANICKED; /* the events it understands */
}

static void pvpanic_write(void *dev, uint16_t off, unsigned size, uint32_t value)
{
	struct legacy *l = dev;

	(void)off;
	(void)size;
	if (value & PVPANIC_PANICKED)
		l->event(l->ctx, LEGACY_PANIC);
}

bool legacy_attach(struct legacy *l, struct bus *bus)
{
	const struct bus_range ranges[] = {
		{CMOS_PORT, 2, cmos_read, cmos_write, l, true},
		{I8042_STATUS, 1, i8042_read, i8042_write, l, true},
		{PM_PORT, PM_PORTS, pm_read, pm_write, l, false},
		{PVPANIC_PORT, 1, pvpanic_read, pvpanic_write, l, true},
	};

	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++)
		if (!bus_add(bus, &ranges[i]))
			return false;
	return true;
}
