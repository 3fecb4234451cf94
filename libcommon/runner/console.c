/* The serial console's two ends here: a descriptor to write to, one to read from. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "libcommon/runner/machine_private.h"

static void output_failed(struct machine *m)
{
	struct err err = ERR_INIT;

	err_sys(&err, "cannot write what the guest says");
	machine_ends(m, MACHINE_FAILED, &err);
}

/* Nobody listens: the last line that is not empty is kept, for it may say why the machine ended */
static void keep_byte(struct machine *m, uint8_t byte)
{
	if (byte != '\n' && byte != '\r' && m->line_len < sizeof(m->line) - 1) {
		m->line[m->line_len++] = (char)byte;
		return;
	}
	m->line[m->line_len] = '\0';
	if (m->line_len && byte == '\n')
		memcpy(m->last_line, m->line, m->line_len + 1);
	if (byte == '\n')
		m->line_len = 0;
}

/* A byte at a time, as the guest gives them: an exit costs more than the write. A full pipe makes the vCPU wait, until it
 * is kicked. */
static void put_byte(void *ctx, uint8_t byte)
{
	struct machine *m = ctx;

	if (attach_put(&m->attach, byte))
		machine_wake(m);
	if (m->opts->output < 0) {
		keep_byte(m, byte);
		return;
	}
	while (!atomic_load(&m->ended)) {
		struct pollfd p = {.fd = m->opts->output, .events = POLLOUT};

		if (write(m->opts->output, &byte, 1) == 1)
			return;
		if (errno == EAGAIN) /* someone made our descriptor non-blocking */
			(void)poll(&p, 1, 100);
		else if (errno != EINTR)
			output_failed(m);
	}
}

static void has_room(void *ctx)
{
	machine_wake(ctx);
}

void console_attach(struct machine *m)
{
	const struct bus_range r = {SERIAL_PORT,  SERIAL_PORTS, serial_read,
				    serial_write, &m->serial,	true};

	serial_init(&m->serial, &m->kvm.irq);
	m->serial.output = put_byte;
	m->serial.room = has_room;
	m->serial.ctx = m;
	(void)bus_add(&m->ports, &r);
}

bool console_wants_input(struct machine *m)
{
	return serial_room(&m->serial) > 0;
}

bool console_forward(struct machine *m)
{
	uint8_t buf[SERIAL_FIFO];
	size_t room = serial_room(&m->serial);
	const uint8_t *escape = NULL;
	ssize_t n;

	if (!room)
		return true;
	n = read(m->opts->input, buf, room);
	if (n < 0)
		return errno == EINTR || errno == EAGAIN;
	if (m->opts->escape >= 0)
		escape = memchr(buf, m->opts->escape, (size_t)n);
	(void)serial_input(&m->serial, buf, escape ? (size_t)(escape - buf) : (size_t)n);
	if (escape)
		machine_ends(m, MACHINE_ESCAPED, NULL);
	return n > 0;
}
