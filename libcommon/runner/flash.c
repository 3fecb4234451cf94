/* The command set of a NOR flash chip: see flash.h. */
#include "libcommon/runner/flash.h"

#include <string.h>

#include "libcommon/base/checked.h"

enum {
	CMD_ARRAY_TOO = 0x00, /* as QEMU's chip has it, and 0xf0, of AMD's chips */
	CMD_PROGRAM = 0x10,
	CMD_ERASE = 0x20,
	CMD_PROGRAM_TOO = 0x40,
	CMD_CLEAR_STATUS = 0x50,
	CMD_LOCK = 0x60,
	CMD_STATUS = 0x70,
	CMD_ID = 0x90,
	CMD_QUERY = 0x98,
	CMD_BUFFER = 0xe8,
	CMD_ARRAY_AMD = 0xf0,
	CMD_ARRAY = 0xff,
	CONFIRM = 0xd0,
	LOCK_SET = 0x01,
	ID_MAKER = 0x89, /* Intel */
	ID_DEVICE = 0x18,
	QUERY = 0x10, /* where the answer to CMD_QUERY begins */
};

void flash_init(struct flash *f, uint8_t *data, size_t size)
{
	memset(f, 0, sizeof(*f));
	(void)pthread_mutex_init(&f->lock, NULL);
	f->data = data;
	f->size = size;
	f->status = FLASH_READY;
}

/* ---- what was changed */

static void soil(struct flash *f, uint64_t off, uint64_t len)
{
	if (f->dirty == f->dirty_end) {
		f->dirty = off;
		f->dirty_end = off + len;
	}
	f->dirty = min_u64(f->dirty, off);
	f->dirty_end = max_u64(f->dirty_end, off + len);
}

static void hand_out(struct flash *f)
{
	if (f->dirty == f->dirty_end || !f->store)
		return;
	if (f->store(f->ctx, f->data + f->dirty, f->dirty, (size_t)(f->dirty_end - f->dirty),
		     &f->err) == 0)
		f->dirty = f->dirty_end = 0;
}

int flash_sync(struct flash *f, struct err *err)
{
	int rc;

	(void)pthread_mutex_lock(&f->lock);
	hand_out(f);
	rc = f->err.code == ERR_NONE ? 0 : -1;
	if (rc < 0 && err)
		*err = f->err;
	(void)pthread_mutex_unlock(&f->lock);
	return rc;
}

/* ---- modes */

static void array_mode(struct flash *f)
{
	bool was = !f->mode;

	f->mode = f->command = 0;
	if (was)
		return;
	hand_out(f);
	if (f->show)
		(void)f->show(f->ctx,
			      true); /* when not, its reads come here, and are answered alike */
}

static void answer_mode(struct flash *f, uint8_t mode)
{
	if (!f->mode && f->show)
		(void)f->show(f->ctx, false);
	f->mode = mode;
}

static void ends(struct flash *f, unsigned failed)
{
	f->status |= (uint8_t)(FLASH_READY | failed);
	f->command = 0;
}

static void done(struct flash *f)
{
	ends(f, 0);
}

static void wrong_sequence(struct flash *f)
{
	ends(f, FLASH_ERASE_FAILED | FLASH_PROGRAM_FAILED);
}

/* ---- commands */

/* A chip can only clear bits; QEMU's sets what it is told, and firmware that was tried on that may rely on it. */
static void program(struct flash *f, uint64_t off, unsigned size, uint64_t value)
{
	for (unsigned i = 0; i < size; i++)
		f->data[off + i] = (uint8_t)(value >> 8 * i);
	soil(f, off, size);
}

static void erase(struct flash *f, uint64_t off)
{
	off = round_down(off, FLASH_BLOCK);
	memset(f->data + off, 0xff, FLASH_BLOCK);
	soil(f, off, FLASH_BLOCK);
}

static void buffer_data(struct flash *f, uint64_t off, unsigned size, uint64_t value)
{
	uint64_t at;

	if (f->step == FLASH_FIRST) {
		f->buffer_at = round_down(off, FLASH_BUFFER);
		memcpy(f->buffer, f->data + f->buffer_at, FLASH_BUFFER);
		f->bad = false;
		f->step = FLASH_DATA;
	}
	at = off - f->buffer_at;
	if (off < f->buffer_at || !range_inside(at, size, FLASH_BUFFER))
		f->bad = true;
	for (unsigned i = 0; !f->bad && i < size; i++)
		f->buffer[at + i] = (uint8_t)(value >> 8 * i);
	f->left -= f->left < size ? f->left : size;
	if (!f->left)
		f->step = FLASH_CONFIRM;
}

static void buffered_write(struct flash *f, uint64_t off, unsigned size, uint64_t value)
{
	switch (f->step) {
	case FLASH_COUNT:
		f->left = (unsigned)(value & 0xffff) % FLASH_BUFFER + 1;
		f->step = FLASH_FIRST;
		break;
	case FLASH_FIRST:
	case FLASH_DATA:
		buffer_data(f, off, size, value);
		break;
	default:
		if ((uint8_t)value != CONFIRM || f->bad) {
			ends(f, f->bad ? FLASH_PROGRAM_FAILED
				       : FLASH_ERASE_FAILED | FLASH_PROGRAM_FAILED);
			break;
		}
		memcpy(f->data + f->buffer_at, f->buffer, FLASH_BUFFER);
		soil(f, f->buffer_at, FLASH_BUFFER);
		done(f);
		break;
	}
}

static void begin(struct flash *f, uint8_t command)
{
	switch (command) {
	case CMD_CLEAR_STATUS:
		f->status = 0;
		array_mode(f);
		break;
	case CMD_PROGRAM:
	case CMD_PROGRAM_TOO:
	case CMD_ERASE:
	case CMD_LOCK:
	case CMD_BUFFER:
		answer_mode(f, CMD_STATUS);
		f->command = command;
		f->step = FLASH_COUNT;
		if (command == CMD_BUFFER)
			f->status |= FLASH_READY; /* there is a buffer */
		break;
	case CMD_STATUS:
	case CMD_ID:
	case CMD_QUERY:
		answer_mode(f, command);
		break;
	default: /* CMD_ARRAY and its likes; what is no command changes nothing else */
		array_mode(f);
		break;
	}
}

static void go_on(struct flash *f, uint64_t off, unsigned size, uint64_t value)
{
	uint8_t v = (uint8_t)value;

	switch (f->command) {
	case CMD_PROGRAM:
	case CMD_PROGRAM_TOO:
		program(f, off, size, value);
		done(f);
		break;
	case CMD_ERASE:
	case CMD_LOCK: /* locks are told to be none: see CMD_ID */
		if (v == CMD_ARRAY) {
			array_mode(f);
		} else if (v == CONFIRM || (v == LOCK_SET && f->command == CMD_LOCK)) {
			if (f->command == CMD_ERASE)
				erase(f, off);
			done(f);
		} else {
			wrong_sequence(f);
		}
		break;
	default:
		buffered_write(f, off, size, value);
		break;
	}
}

void flash_write(struct flash *f, uint64_t off, unsigned size, uint64_t value)
{
	(void)pthread_mutex_lock(&f->lock);
	if (f->command)
		go_on(f, off, size, value);
	else
		begin(f, (uint8_t)value);
	(void)pthread_mutex_unlock(&f->lock);
}

/* ---- answers */

/* Of JESD68.01: its name, the Intel command set, 2.7 to 3.6 volts, times, size, geometry */
static uint8_t query(const struct flash *f, uint64_t off)
{
	const uint32_t blocks = (uint32_t)(f->size / FLASH_BLOCK) - 1;
	const uint8_t table[] = {
		'Q',
		'R',
		'Y',
		1,
		0, /* the command set, */
		0x31,
		0,
		0,
		0,
		0,
		0, /* and where what it adds is told */
		0x27,
		0x36,
		0,
		0, /* volts */
		7,
		7,
		10,
		0, /* typical times, 2^n: us a byte, us a buffer, ms a block, ms the chip */
		4,
		4,
		4,
		0, /* at most 2^n times that */
		(uint8_t)log2_u64(f->size),
		2,
		0,
		(uint8_t)log2_u64(FLASH_BUFFER),
		0,
		1, /* kind of blocks: */
		(uint8_t)blocks,
		(uint8_t)(blocks >> 8),
		FLASH_BLOCK >> 8 & 0xff,
		FLASH_BLOCK >> 16,
		'P',
		'R',
		'I',
		'1',
		'0'};

	return off >= QUERY && off - QUERY < sizeof(table) ? table[off - QUERY] : 0;
}

static uint8_t identity(uint64_t off)
{
	return (off & 0xff) == 0 ? ID_MAKER : (off & 0xff) == 1 ? ID_DEVICE : 0;
}

uint64_t flash_read(struct flash *f, uint64_t off, unsigned size)
{
	uint64_t v = 0;

	(void)pthread_mutex_lock(&f->lock);
	for (unsigned i = 0; i < size; i++) {
		uint8_t byte = f->data[off + i];

		if (f->mode == CMD_ID)
			byte = identity(off + i);
		else if (f->mode == CMD_QUERY)
			byte = query(f, off + i);
		else if (f->mode)
			byte = f->status;
		v |= (uint64_t)byte << 8 * i;
	}
	(void)pthread_mutex_unlock(&f->lock);
	return v;
}
