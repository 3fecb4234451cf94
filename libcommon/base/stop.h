/* Being stopped: the flag that signal handlers set and long loops ask.
 *
 * cli installs the handlers; libraries only ask. Safe from any thread and from signal handlers.
 */
#ifndef VMKIT_BASE_STOP_H
#define VMKIT_BASE_STOP_H

#include <stdbool.h>
#include <stdint.h>

struct err;

/** stop_request() - from a signal handler: ask every loop to end; the first signal's number stays */
void stop_request(int signal_number);

/** stop_requested() - true once a signal came */
bool stop_requested(void);

/** stop_signal() - the signal's number, 0 when none came */
int stop_signal(void);

/** stop_check() - Return: 0, or -1 with ERR_CANCELLED when a signal came */
int stop_check(struct err *err);

/** stop_sleep() - wait @ms. Return: 0, or -1 with ERR_CANCELLED when a signal came */
int stop_sleep(uint64_t ms, struct err *err);

/** stop_defer() - signals are kept, and not heard of, until it is called with false: for what has to be done in any case,
 *  and briefly. A second signal ends nobody meanwhile. Return: what it was before */
bool stop_defer(bool on);

/** stop_reset() - of a new process that goes its own way: what came before is forgotten */
void stop_reset(void);

#endif
