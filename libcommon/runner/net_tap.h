/* Tap devices by descriptor: see net.h. */
#ifndef VMKIT_RUNNER_NET_TAP_H
#define VMKIT_RUNNER_NET_TAP_H

#include "libcommon/runner/net.h"

/** net_tap_take() - @fd, consumed on success, is that of the interface @name with these IFF_ @flags */
int net_tap_take(struct net **ret, int fd, const char *name, unsigned flags, struct err *err);

#endif
