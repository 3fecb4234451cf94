/* What is to be done about a machine, from what was seen of it: pure decisions for vmctl watch, which carries them out.
 *
 * Times are milliseconds of any clock that only goes forward.
 */
#ifndef VMKIT_HOST_POLICY_H
#define VMKIT_HOST_POLICY_H

#include <stdbool.h>
#include <stdint.h>

/* ---- trying again */

struct backoff_opts {
	uint64_t delay_ms,
		max_delay_ms; /* before the second try, doubled before each further one */
	uint64_t settle_ms;   /* what was well for so long begins anew */
	unsigned tries;	      /* then it is given up */
};

/** struct backoff - zeroed: nothing was tried */
struct backoff {
	unsigned tries;
	uint64_t next_ms, good_since_ms;
	bool told; /* that it was given up */
};

/** backoff_due() - is a try due now? Never after opts->tries of them */
bool backoff_due(const struct backoff *b, const struct backoff_opts *o, uint64_t now_ms);
/** backoff_tried() - count one */
void backoff_tried(struct backoff *b, const struct backoff_opts *o, uint64_t now_ms);
/** backoff_gave_up() - true once, when all tries are used up and the time of the last is over */
bool backoff_gave_up(struct backoff *b, const struct backoff_opts *o, uint64_t now_ms);
/** backoff_good() - it is well now */
void backoff_good(struct backoff *b, const struct backoff_opts *o, uint64_t now_ms);

/* ---- memory */

/** struct memory_view - bytes; guest_*: as the balloon's driver says, 0 when it does not */
struct memory_view {
	uint64_t now, least, most;
	uint64_t guest_total, guest_usable;
	uint64_t host_free, host_reserve;
};

/**
 * policy_memory() - what the machine should have
 *
 * A guest that has less than a tenth left gets a quarter more, as far as the host has more free than its reserve. When the
 * host has less than that, a guest gives what it does not use: half as much again as it uses stays. Steps below 5 % are none.
 * Return: view->now when nothing is to be changed
 */
uint64_t policy_memory(const struct memory_view *v);

/* ---- processors */

enum { LOAD_LOW = 20, LOAD_HIGH_TIMES = 3, LOAD_LOW_TIMES = 10 };

/** struct load - zeroed: nothing was seen */
struct load {
	double cpu_seconds;
	uint64_t at_ms;
	unsigned high, low, cpus;
};

/**
 * policy_cpus() - how many it should have, seen at @now_ms
 *
 * One more when @high percent of them were used LOAD_HIGH_TIMES times on end, one less when what is used would load one less by
 * under LOAD_LOW percent LOAD_LOW_TIMES times.
 */
unsigned policy_cpus(struct load *l, double cpu_seconds, unsigned cpus, unsigned least,
		     unsigned most, unsigned high, uint64_t now_ms);

#endif
