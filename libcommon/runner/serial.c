/* The 16550A: see serial.h. */
#include "libcommon/runner/serial.h"

#include <string.h>

enum {
	R_DATA = 0,
	R_IER = 1,
	R_IIR = 2,
	R_FCR = 2,
	R_LCR = 3,
	R_MCR = 4,
	R_LSR = 5,
	R_MSR = 6,
	R_SCRATCH = 7
};
enum {
	IER_RX = 1,
	IER_THRE = 2,
	IIR_NONE = 1,
	IIR_THRE = 2,
	IIR_RX = 4,
	IIR_FIFOS = 0xc0,
	FCR_ENABLE = 1,
	FCR_CLEAR_RX = 2,
	LCR_DLAB = 0x80,
	LSR_DATA = 1,
	LSR_EMPTY = 0x60, /* holding register and transmitter: what is written is out at once */
	MCR_DTR = 1,
	MCR_RTS = 2,
	MCR_OUT1 = 4,
	MCR_OUT2 = 8, /* gates the interrupt on a PC */
	MCR_LOOP = 0x10,
	MSR_CTS = 0x10,
	MSR_DSR = 0x20,
	MSR_RI = 0x40,
	MSR_DCD = 0x80,
};

void serial_init(struct serial *s, const struct irq_sink *irq)
{
	memset(s, 0, sizeof(*s));
	(void)pthread_mutex_init(&s->lock, NULL);
	s->irq = irq;
	s->dll = 1; /* 115200 baud */
	s->mcr = MCR_OUT2;
}

static uint8_t interrupt(const struct serial *s)
{
	if ((s->ier & IER_RX) && s->fifo_len)
		return IIR_RX;
	if ((s->ier & IER_THRE) && s->thre_pending)
		return IIR_THRE;
	return IIR_NONE;
}

/* Interrupts of ISA are edges: a line that stays high while another cause comes would be seen once only, so it falls first. */
static void update_line(struct serial *s, bool again)
{
	bool high = interrupt(s) != IIR_NONE && (s->mcr & MCR_OUT2) && !(s->mcr & MCR_LOOP);

	if (s->line && (again || !high))
		irq_line(s->irq, SERIAL_GSI, false);
	if (high && (!s->line || again))
		irq_line(s->irq, SERIAL_GSI, true);
	s->line = high;
}

static uint8_t take(struct serial *s)
{
	uint8_t v = 0;
	bool was_full = s->fifo_len == SERIAL_FIFO;

	if (s->fifo_len) {
		v = s->fifo[s->fifo_start];
		s->fifo_start = (s->fifo_start + 1) % SERIAL_FIFO;
		s->fifo_len--;
	}
	if (s->room && (was_full || !s->fifo_len))
		s->room(s->ctx);
	return v;
}

static bool put(struct serial *s, uint8_t byte)
{
	if (s->fifo_len == SERIAL_FIFO)
		return false;
	s->fifo[(s->fifo_start + s->fifo_len++) % SERIAL_FIFO] = byte;
	return true;
}

/* In loopback the four outputs are the four inputs */
static uint8_t modem_status(const struct serial *s)
{
	if (!(s->mcr & MCR_LOOP))
		return MSR_CTS | MSR_DSR | MSR_DCD;
	return (uint8_t)((s->mcr & MCR_RTS ? MSR_CTS : 0) | (s->mcr & MCR_DTR ? MSR_DSR : 0) |
			 (s->mcr & MCR_OUT1 ? MSR_RI : 0) | (s->mcr & MCR_OUT2 ? MSR_DCD : 0));
}

static uint8_t read_iir(struct serial *s)
{
	uint8_t v = interrupt(s);

	if (v == IIR_THRE)
		s->thre_pending = false;
	return v | (s->fcr & FCR_ENABLE ? IIR_FIFOS : 0);
}

static uint8_t read_reg(struct serial *s, uint16_t off)
{
	bool dlab = s->lcr & LCR_DLAB;

	switch (off) {
	case R_DATA:
		return dlab ? s->dll : take(s);
	case R_IER:
		return dlab ? s->dlm : s->ier;
	case R_IIR:
		return read_iir(s);
	case R_LCR:
		return s->lcr;
	case R_MCR:
		return s->mcr;
	case R_LSR:
		return (uint8_t)(LSR_EMPTY | (s->fifo_len ? LSR_DATA : 0));
	case R_MSR:
		return modem_status(s);
	default:
		return s->scratch;
	}
}

static void transmit(struct serial *s, uint8_t v)
{
	if (s->mcr & MCR_LOOP)
		(void)put(s, v);
	else if (s->output)
		s->output(s->ctx, v);
	s->thre_pending = true;
}

static void write_reg(struct serial *s, uint16_t off, uint8_t v)
{
	bool dlab = s->lcr & LCR_DLAB;

	switch (off) {
	case R_DATA:
		if (dlab)
			s->dll = v;
		else
			transmit(s, v);
		break;
	case R_IER:
		if (dlab) {
			s->dlm = v;
			break;
		}
		/* Enabling it tells at once that the transmitter is empty */
		if ((v & IER_THRE) && !(s->ier & IER_THRE))
			s->thre_pending = true;
		s->ier = v & 0x0f;
		break;
	case R_FCR:
		s->fcr = v;
		if (v & FCR_CLEAR_RX) {
			s->fifo_len = 0;
			if (s->room)
				s->room(s->ctx);
		}
		break;
	case R_LCR:
		s->lcr = v;
		break;
	case R_MCR:
		s->mcr = v & 0x1f;
		break;
	case R_SCRATCH:
		s->scratch = v;
		break;
	default:
		break;
	}
}

uint32_t serial_read(void *serial, uint16_t off, unsigned size)
{
	struct serial *s = serial;
	uint8_t v;

	(void)size;
	(void)pthread_mutex_lock(&s->lock);
	v = read_reg(s, off);
	update_line(s, false);
	(void)pthread_mutex_unlock(&s->lock);
	return v;
}

void serial_write(void *serial, uint16_t off, unsigned size, uint32_t value)
{
	struct serial *s = serial;

	(void)size;
	(void)pthread_mutex_lock(&s->lock);
	write_reg(s, off, (uint8_t)value);
	update_line(s, off == R_DATA || off == R_IER);
	(void)pthread_mutex_unlock(&s->lock);
}

size_t serial_room(struct serial *s)
{
	size_t n;

	(void)pthread_mutex_lock(&s->lock);
	n = s->mcr & MCR_LOOP ? 0 : SERIAL_FIFO - s->fifo_len;
	(void)pthread_mutex_unlock(&s->lock);
	return n;
}

size_t serial_input(struct serial *s, const uint8_t *data, size_t len)
{
	size_t n = 0;

	(void)pthread_mutex_lock(&s->lock);
	while (n < len && put(s, data[n]))
		n++;
	update_line(s, true);
	(void)pthread_mutex_unlock(&s->lock);
	return n;
}
