/* The metrics file: see metrics.h. */
#include "cmd/vmbackup/metrics.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/io.h"
#include "libcommon/base/outfile.h"

#define SUCCESS "vmkit_backup_last_success_timestamp_seconds"

enum { FILE_MAX = 4 << 20 };

/* The value on the line that begins with @series in the old file; 0: none */
static long long old_value(const char *old, const char *series)
{
	size_t len = strlen(series);

	for (const char *p = old; p && *p; p = strchr(p, '\n'), p = p ? p + 1 : NULL)
		if (strncmp(p, series, len) == 0 && p[len] == ' ')
			return strtoll(p + len + 1, NULL, 10);
	return 0;
}

static void head(FILE *f, const char *name, const char *help)
{
	(void)fprintf(f, "# HELP %s %s\n# TYPE %s gauge\n", name, help, name);
}

/* Names of machines and profiles need no escapes. */
static void success(FILE *f, const char *old, const struct run_metrics *m,
		    const struct machine_metrics *one)
{
	char series[256];
	long long when = (long long)m->began;

	(void)snprintf(series, sizeof(series), SUCCESS "{profile=\"%s\",machine=\"%s\"}",
		       m->profile, one->machine);
	if (one->status != 0)
		when = old_value(old, series);
	if (when)
		(void)fprintf(f, "%s %lld\n", series, when);
}

static void bytes(FILE *f, const struct run_metrics *m, const char *name, const char *help,
		  size_t offset)
{
	head(f, name, help);
	for (size_t i = 0; i < m->n_machines; i++)
		if (m->machines[i].status == 0)
			(void)fprintf(f, "%s{profile=\"%s\",machine=\"%s\"} %" PRIu64 "\n", name,
				      m->profile, m->machines[i].machine,
				      *(const uint64_t *)((const char *)&m->machines[i] + offset));
}

static void print(FILE *f, const char *old, const struct run_metrics *m)
{
	head(f, "vmkit_backup_last_run_timestamp_seconds", "When the last run began.");
	(void)fprintf(f, "vmkit_backup_last_run_timestamp_seconds{profile=\"%s\"} %lld\n",
		      m->profile, (long long)m->began);
	head(f, "vmkit_backup_status", "Exit status of the last run: 0 is success.");
	(void)fprintf(f, "vmkit_backup_status{profile=\"%s\"} %d\n", m->profile, m->status);
	head(f, "vmkit_backup_duration_seconds", "How long the last run took.");
	(void)fprintf(f, "vmkit_backup_duration_seconds{profile=\"%s\"} %.3f\n", m->profile,
		      m->seconds);
	head(f, "vmkit_backup_machine_status", "Exit status of a machine's backup; -1: not tried.");
	for (size_t i = 0; i < m->n_machines; i++)
		(void)fprintf(f, "vmkit_backup_machine_status{profile=\"%s\",machine=\"%s\"} %d\n",
			      m->profile, m->machines[i].machine, m->machines[i].status);
	head(f, SUCCESS, "When the last backup that succeeded began.");
	for (size_t i = 0; i < m->n_machines; i++)
		success(f, old, m, &m->machines[i]);
	bytes(f, m, "vmkit_backup_read_bytes", "Bytes read by the last backup.",
	      offsetof(struct machine_metrics, read_bytes));
	bytes(f, m, "vmkit_backup_new_bytes", "Bytes that the repository did not hold.",
	      offsetof(struct machine_metrics, new_bytes));
	bytes(f, m, "vmkit_backup_stored_bytes", "What these took, compressed.",
	      offsetof(struct machine_metrics, stored_bytes));
}

int metrics_write(const char *path, const struct run_metrics *m, struct err *err)
{
	CLEANUP_FREE char *old = NULL;
	CLEANUP_FREE char *text = NULL;
	struct err none = ERR_INIT;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	if (!f)
		return err_nomem(err);
	if (io_read_file(path, FILE_MAX, &old, &len, &none) < 0)
		old = NULL;
	print(f, old, m);
	if (fclose(f) != 0)
		return err_nomem(err);
	return outfile_write(path, text, strlen(text), OUTFILE_FORCE, err);
}
