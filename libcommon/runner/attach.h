/* Who else looks at a machine's serial console, and types there: peers of its control socket. Each sees all that comes from the moment
 * it is there, after the last lines before. One that does not read loses bytes, and never makes the guest wait.
 *
 * Threads: attach_put() by any vCPU, attach_add() by the control thread, the rest by the main loop.
 */
#ifndef VMKIT_RUNNER_ATTACH_H
#define VMKIT_RUNNER_ATTACH_H

#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct serial;

enum { ATTACH_MAX = 4, ATTACH_RING = 65536, ATTACH_HISTORY = 4096 /* bytes that a new one gets */ };

struct attach {
	pthread_mutex_t lock; /* guards all below */
	struct {
		int fd;	      /* -1: nobody */
		uint64_t pos; /* bytes of the console that it has, or has lost */
	} peer[ATTACH_MAX];
	unsigned peers;
	uint64_t total; /* bytes that the guest has written */
	bool told;	/* the main loop knows that there are new ones */
	uint8_t ring[ATTACH_RING];
};

void attach_init(struct attach *a);

/** attach_put() - a byte of the guest's; Return: true when the main loop has to look */
bool attach_put(struct attach *a, uint8_t byte);

bool attach_is_full(struct attach *a);

/** attach_add() - @fd is consumed, non-blocking; one too many is closed */
void attach_add(struct attach *a, int fd);

/** attach_poll() - what to wait for; @input: their bytes are wanted too */
void attach_poll(struct attach *a, struct pollfd p[ATTACH_MAX], bool input);

/** attach_serve() - after that wait; bytes go to @s as far as it has room */
void attach_serve(struct attach *a, const struct pollfd p[ATTACH_MAX], struct serial *s);

/** attach_end() - the last bytes, and the end; also when nobody was there */
void attach_end(struct attach *a);

#endif
