/* virtio-console with several ports (VIRTIO 1.2, 5.3): the three streams of a command in the guest, and a channel to the init that
 * runs it.
 *
 * Ports: 0 control (the guest says "status N\n", we say signal numbers, a byte each), 1 standard input, 2 output, 3 error; they
 * have names that init looks for ("vmrun.0", ...). Our end of input closes port 1, a reader of ours that went away closes
 * port 2 or 3, and the guest sees either as what it is on a pipe.
 */
#ifndef VMKIT_RUNNER_VIRTIO_CONSOLE_H
#define VMKIT_RUNNER_VIRTIO_CONSOLE_H

#include "libcommon/runner/virtio.h"

enum { CONSOLE_PORTS = 4, CONSOLE_MESSAGES_MAX = 64, CONSOLE_SIGNALS_MAX = 16 };

struct console_message {
	uint32_t port;
	uint16_t event, value;
};

struct virtio_console {
	struct virtio_dev dev;
	int fd[CONSOLE_PORTS]; /* [1] is read, [2] and [3] are written; borrowed */
	/* Set by the owner: */
	void (*wake)(void *ctx);			  /* .input_wanted changed */
	bool (*give_up)(void *ctx);			  /* nobody waits for output any more */
	void (*failed)(void *ctx, const struct err *err); /* output cannot be written */
	void *ctx;

	atomic_bool no_nowait;	  /* pipes of this kernel cannot be written to with RWF_NOWAIT */
	atomic_bool input_wanted; /* the guest waits for input, and there was none */
	pthread_mutex_t lock;	  /* guards all below */
	struct console_message message[CONSOLE_MESSAGES_MAX];
	unsigned first_message, messages;
	uint8_t signal[CONSOLE_SIGNALS_MAX];
	unsigned signals;
	bool open[CONSOLE_PORTS];   /* by the guest */
	bool closed[CONSOLE_PORTS]; /* by us, for good */
	char line[32];		    /* of the control channel */
	unsigned line_len;
	int status;	      /* of the command; -1: not told */
	bool ready;	      /* init waits for a command */
	const uint8_t *first; /* goes to the control port before signals; borrowed */
	size_t first_len;
};

int virtio_console_init(struct virtio_console *c, int in, int out, int errors,
			const struct guest_memory *mem, struct err *err);

/** virtio_console_input() - there is input to read now */
void virtio_console_input(struct virtio_console *c);

/** virtio_console_signal() - for the command in the guest; Return: false when nobody there listens, or not yet */
bool virtio_console_signal(struct virtio_console *c, int number);

/** virtio_console_ready() - does init wait for a command? */
bool virtio_console_ready(struct virtio_console *c);

/** virtio_console_drain() - write what the guest left in its queues; when it runs no more */
void virtio_console_drain(struct virtio_console *c);

/** virtio_console_status() - the command's, or -1 */
int virtio_console_status(struct virtio_console *c);

#endif
