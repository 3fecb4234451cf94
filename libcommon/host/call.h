/* Calls into a library that may never return, with an end. */
#ifndef VMKIT_HOST_CALL_H
#define VMKIT_HOST_CALL_H

#include <stdbool.h>
#include <stdint.h>

#include "libcommon/base/err.h"

/**
 * call_within() - run @fn(@arg) in a thread of its own, wait for it at most @timeout_ms
 * @arg: owned by the call from now on: when the wait ends early, @drop(@arg) is called by the thread once @fn returns,
 *	which may be never; otherwise the caller has it back
 *
 * Return: what @fn returned, with its error; or -1 with ERR_CONNECTION (no answer in time), ERR_CANCELLED (a signal),
 * and *@ret_lost is true: @arg is no more the caller's.
 */
int call_within(int (*fn)(void *arg, struct err *err), void (*drop)(void *arg), void *arg,
		uint64_t timeout_ms, bool *ret_lost, struct err *err);

#endif
