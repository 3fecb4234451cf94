/* What a machine has used, in the text format of Prometheus. */
#ifndef VMKIT_CMD_VMRUN_METRICS_H
#define VMKIT_CMD_VMRUN_METRICS_H

#include <jansson.h>
#include <stdio.h>

#include "libcommon/cli/cli.h"

/** metrics_print() - @figures: as stats --json has them; @name: of the machine, "" when it has none */
void metrics_print(FILE *out, const char *name, const json_t *figures);

/* --metrics FILE of a run: opened before anything is done, written at its end */
struct metrics {
	struct outfile *file; /* NULL: not wanted */
	json_t *figures;      /* an object that the machine fills */
	double since;
};

int metrics_begin(struct metrics *m, const char *path, struct err *err);

/**
 * metrics_end() - @rc and @err: how the run ended, and with it its status
 * Return: @rc; -1 with *@err when the file could not be written and nothing else was wrong
 */
int metrics_end(struct metrics *m, const char *name, const struct cli *cli, int rc,
		struct err *err);

#endif
