/* The limits among the options of vmctl set. */
#ifndef VMKIT_CMD_VMCTL_SET_LIMITS_H
#define VMKIT_CMD_VMCTL_SET_LIMITS_H

#include "cmd/vmctl/vmctl.h"
#include "libcommon/host/limits.h"

/** struct set_limits - as the command line has them, and understood */
struct set_limits {
	const char *cpu_limit, *memory_limit;
	unsigned cpu_shares;
	struct opt_list pin, disk, net;
	/* by set_limits_parse(); owned */
	struct cpu_limits cpu;
	uint64_t memory;
	struct pin *pins;
	struct disk_limits *disks;
	struct net_limits *nets;
	char **texts; /* what the two above borrow from */
	size_t n_texts;
};

/** set_limits_parse() - all of it, before anything is changed; ERR_USAGE; set_limits_release() in any case */
int set_limits_parse(struct set_limits *l, struct err *err);
void set_limits_release(struct set_limits *l);
/** set_limits_apply() - @where: DOMAIN_LIVE or DOMAIN_CONFIG */
int set_limits_apply(const struct set_limits *l, struct domain *d, unsigned where, struct err *err);
/** set_limits_print() - "limits" of docs/schema/vmctl-set.json, a line each */
void set_limits_print(const char *when, const json_t *limits);

#endif
