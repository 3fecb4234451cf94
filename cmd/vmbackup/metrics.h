/* What `vmbackup run` tells Prometheus: a file for node_exporter's textfile collector. */
#ifndef VMKIT_CMD_VMBACKUP_METRICS_H
#define VMKIT_CMD_VMBACKUP_METRICS_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "libcommon/base/err.h"

/** struct machine_metrics - of one machine's backup in this run */
struct machine_metrics {
	const char *machine;
	int status; /* exit status of its backup; -1: it was not tried */
	uint64_t read_bytes, new_bytes, stored_bytes;
	double seconds;
};

struct run_metrics {
	const char *profile;
	int status; /* of the run */
	time_t began;
	double seconds;
	const struct machine_metrics *machines;
	size_t n_machines;
};

/** metrics_write() - replace the file at once; the times of last success of what failed now are kept from the old one */
int metrics_write(const char *path, const struct run_metrics *m, struct err *err);

#endif
