/* Between the verb (report.c) and what recorded samples say (report_advice.c).
 */
#ifndef VMKIT_CMD_VMCTL_REPORT_H
#define VMKIT_CMD_VMCTL_REPORT_H

#include "cmd/vmctl/vmctl.h"

/** report_samples_path() - where --record keeps them: in the user's state;
 * owned; NULL: nowhere */
char *report_samples_path(void);

/** report_record() - add a sample of each machine that runs to the file;
 * @stats: as host_stats() gives them */
int report_record(const char *path, const json_t *stats, struct err *err);

/**
 * report_advice() - what to shrink or grow, of samples not older than @age_s
 * @least: a machine with fewer samples gets no advice
 * *@ret: a list, as "advice" in docs/schema/vmctl-report.json; owned.
 * *@ret_samples: how many were looked at
 */
int report_advice(const char *path, uint64_t age_s, unsigned least, json_t **ret,
		  size_t *ret_samples, struct err *err);

#endif
