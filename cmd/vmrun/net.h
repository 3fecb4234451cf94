/* --net and --publish of vmrun run. */
#ifndef VMKIT_CMD_VMRUN_NET_H
#define VMKIT_CMD_VMRUN_NET_H

#include "libcommon/cli/cli.h"
#include "libcommon/runner/net.h"
#include "libcommon/runner/runner.h"

struct nets {
	struct net *net[MACHINE_NETS_MAX];
	size_t n;
	bool user_first; /* the guest's first interface is passt's */
};

/** nets_open() - what @specs and @publish say; a port that is published wants the user-mode network. ERR_USAGE, and those of
 *  net_open_*(). On failure nothing is left open */
int nets_open(struct nets *ret, const struct opt_list *specs, const struct opt_list *publish,
	      struct err *err);
void nets_close(struct nets *n);

/** net_parse_port() - [ADDRESS:]PORT[:GUESTPORT][/tcp|/udp] as passt wants it. @ret: owned. Return: 0 or -1: ERR_USAGE */
int net_parse_port(const char *text, bool *ret_udp, char **ret, struct err *err);

#endif
