/* Prometheus text: see metrics.h. A metric's lines stand together. */
#include "cmd/vmrun/metrics.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/io.h"
#include "libcommon/base/outfile.h"
#include "libcommon/base/stop.h"

struct metric {
	const char *name, *type, *help, *key;
	const char *list, *label; /* of devices; NULL: of the machine itself */
};

static const struct metric metrics[] = {
	{"vmrun_memory_bytes", "gauge", "memory that the guest has", "memory", NULL, NULL},
	{"vmrun_memory_resident_bytes", "gauge", "of it what the host has in its own",
	 "memory_resident", NULL, NULL},
	{"vmrun_cpu_seconds_total", "counter", "processor time of a vCPU's thread", "cpu_seconds",
	 "cpus", "cpu"},
	{"vmrun_cpu_exits_total", "counter", "exits from the guest that vmrun answered", "exits",
	 "cpus", "cpu"},
	{"vmrun_disk_reads_total", "counter", "reads that are done", "reads", "disks", "disk"},
	{"vmrun_disk_read_bytes_total", "counter", "bytes read", "read_bytes", "disks", "disk"},
	{"vmrun_disk_writes_total", "counter", "writes that are done", "writes", "disks", "disk"},
	{"vmrun_disk_written_bytes_total", "counter", "bytes written", "written_bytes", "disks",
	 "disk"},
	{"vmrun_disk_flushes_total", "counter", "flushes", "flushes", "disks", "disk"},
	{"vmrun_disk_errors_total", "counter", "requests that failed", "errors", "disks", "disk"},
	{"vmrun_net_link", "gauge", "1: the network is there", "link", "nets", "net"},
	{"vmrun_net_receive_packets_total", "counter", "frames to the guest", "rx_packets", "nets",
	 "net"},
	{"vmrun_net_receive_bytes_total", "counter", "bytes to the guest", "rx_bytes", "nets",
	 "net"},
	{"vmrun_net_receive_drops_total", "counter", "frames to the guest that did not fit",
	 "rx_dropped", "nets", "net"},
	{"vmrun_net_transmit_packets_total", "counter", "frames from the guest", "tx_packets",
	 "nets", "net"},
	{"vmrun_net_transmit_bytes_total", "counter", "bytes from the guest", "tx_bytes", "nets",
	 "net"},
	{"vmrun_net_transmit_drops_total", "counter", "frames from the guest that were wrong",
	 "tx_dropped", "nets", "net"},
};

static void head(FILE *out, const char *name, const char *type, const char *help)
{
	(void)fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* Names of machines and devices have nothing that needs to be escaped */
static void line(FILE *out, const struct metric *m, const char *machine, const json_t *of, size_t i)
{
	const char *device = json_string_value(json_object_get(of, "name"));
	const json_t *v = json_object_get(of, m->key);

	if (!json_is_number(v) && !json_is_boolean(v))
		return;
	(void)fprintf(out, "%s{name=\"%s\"", m->name, machine);
	if (m->label && device)
		(void)fprintf(out, ",%s=\"%s\"", m->label, device);
	else if (m->label)
		(void)fprintf(out, ",%s=\"%zu\"", m->label, i);
	if (json_is_integer(v))
		(void)fprintf(out, "} %" JSON_INTEGER_FORMAT "\n", json_integer_value(v));
	else
		(void)fprintf(out, "} %.9g\n",
			      json_is_boolean(v) ? json_is_true(v) : json_real_value(v));
}

void metrics_print(FILE *out, const char *name, const json_t *figures)
{
	for (size_t i = 0; i < sizeof(metrics) / sizeof(metrics[0]); i++) {
		const struct metric *m = &metrics[i];
		const json_t *list = m->list ? json_object_get(figures, m->list) : NULL;

		if (m->list ? !json_array_size(list) : !json_object_get(figures, m->key))
			continue;
		head(out, m->name, m->type, m->help);
		if (!m->list)
			line(out, m, name, figures, 0);
		for (size_t k = 0; k < json_array_size(list); k++)
			line(out, m, name, json_array_get(list, k), k);
	}
}

static double now(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int metrics_begin(struct metrics *m, const char *path, struct err *err)
{
	*m = (struct metrics){.since = now()};
	if (!path)
		return 0;
	m->figures = json_object();
	if (!m->figures)
		return err_nomem(err);
	return outfile_open(&m->file, path, OUTFILE_FORCE, err);
}

/* As cli gives it to the caller */
static int status_of(const struct cli *cli, int rc, const struct err *err)
{
	if (rc == 0)
		return cli->status;
	if (err->code == ERR_CANCELLED)
		return 128 + stop_signal();
	return cli->failure_status ? cli->failure_status : err_status(err->code);
}

static int write_all(struct metrics *m, const char *name, int status, struct err *err)
{
	CLEANUP_FREE char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	if (!f)
		return err_nomem(err);
	head(f, "vmrun_status", "gauge", "exit status of the last run");
	(void)fprintf(f, "vmrun_status{name=\"%s\"} %d\n", name, status);
	head(f, "vmrun_duration_seconds", "gauge", "how long it took");
	(void)fprintf(f, "vmrun_duration_seconds{name=\"%s\"} %.3f\n", name, now() - m->since);
	head(f, "vmrun_end_timestamp_seconds", "gauge", "when it ended");
	(void)fprintf(f, "vmrun_end_timestamp_seconds{name=\"%s\"} %lld\n", name,
		      (long long)time(NULL));
	metrics_print(f, name, m->figures);
	if (fclose(f) != 0)
		return err_nomem(err);
	return io_write(outfile_fd(m->file), text, len, err);
}

int metrics_end(struct metrics *m, const char *name, const struct cli *cli, int rc, struct err *err)
{
	struct outfile *file = m->file;
	struct err why = ERR_INIT;
	int written;

	if (!file) {
		json_decref(m->figures);
		return rc;
	}
	written = write_all(m, name ? name : "", status_of(cli, rc, err), &why);
	json_decref(m->figures);
	if (written < 0)
		outfile_discard(file);
	else
		written = outfile_commit(file, &why);
	if (rc < 0 || written == 0)
		return rc;
	*err = why;
	return -1;
}
