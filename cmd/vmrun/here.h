/* What run and restore share: disks of machines, a machine on this terminal, how it ended. */
#ifndef VMKIT_CMD_VMRUN_HERE_H
#define VMKIT_CMD_VMRUN_HERE_H

#include "libcommon/cli/cli.h"
#include "libcommon/runner/disk.h"
#include "libcommon/runner/runner.h"

/* What a machine's disks are made of; the images outlive the disks */
struct disks {
	struct image *image[MACHINE_DISKS_MAX];
	struct disk *disk[MACHINE_DISKS_MAX];
	size_t n;
};

struct disk_how {
	const char *format; /* NULL: probed */
	const struct opt_list *allow;
	enum disk_mode mode;
};

/** disks_image() - an image as it is opened for a disk; *@ret is owned */
int disks_image(struct image **ret, const char *name, const struct disk_how *how, bool writes,
		struct err *err);

/** disks_add() - one more; there is room */
int disks_add(struct disks *d, const char *name, const struct disk_how *how, struct err *err);
void disks_close(struct disks *d);

/** machine_run_here() - its serial line is our standard input and output, a terminal is raw meanwhile */
int machine_run_here(struct machine_opts *opts, struct machine_result *ret, struct err *err);

enum { TIMED_OUT = 124, OWN_FAILURE = 125 };

/** machine_command_told() - the status of a command in it becomes ours; Return: -1 when there is none */
int machine_command_told(struct cli *cli, const struct machine_result *r, uint64_t timeout_ms,
			 struct err *err);

/** machine_told() - how it ended; Return: 0 when it powered off, else -1 */
int machine_told(const struct machine_result *r, uint64_t timeout_ms, struct err *err);

#endif
