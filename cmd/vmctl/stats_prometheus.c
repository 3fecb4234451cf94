/* Prometheus text: see stats.h. A metric's lines stand together, so machines are walked once a metric. */
#include <string.h>

#include "cmd/vmctl/stats.h"

struct metric {
	const char *name, *type, *help, *key;
	const char *list, *label; /* of devices; NULL: of the machine itself */
};

static const struct metric metrics[] = {
	{"vm_stale", "gauge", "1: the machine was busy, some of its values are missing", "stale",
	 NULL, NULL},
	{"vm_cpus", "gauge", "virtual processors", "cpus", NULL, NULL},
	{"vm_cpu_seconds_total", "counter", "processor time used", "cpu_seconds", NULL, NULL},
	{"vm_memory_bytes", "gauge", "memory that the machine has", "memory", NULL, NULL},
	{"vm_memory_max_bytes", "gauge", "memory that it may get", "memory_max", NULL, NULL},
	{"vm_memory_resident_bytes", "gauge", "memory of the host that it takes", "memory_resident",
	 NULL, NULL},
	{"vm_guest_memory_usable_bytes", "gauge", "memory that the guest could give to programs",
	 "guest_memory_usable", NULL, NULL},
	{"vm_disk_read_bytes_total", "counter", "bytes read", "read_bytes", "disks", "disk"},
	{"vm_disk_read_requests_total", "counter", "reads", "read_requests", "disks", "disk"},
	{"vm_disk_write_bytes_total", "counter", "bytes written", "write_bytes", "disks", "disk"},
	{"vm_disk_write_requests_total", "counter", "writes", "write_requests", "disks", "disk"},
	{"vm_disk_capacity_bytes", "gauge", "virtual size", "capacity", "disks", "disk"},
	{"vm_disk_allocation_bytes", "gauge", "bytes of the image in use", "allocation", "disks",
	 "disk"},
	{"vm_network_receive_bytes_total", "counter", "bytes received", "rx_bytes", "interfaces",
	 "interface"},
	{"vm_network_receive_drops_total", "counter", "packets dropped", "rx_drops", "interfaces",
	 "interface"},
	{"vm_network_transmit_bytes_total", "counter", "bytes sent", "tx_bytes", "interfaces",
	 "interface"},
	{"vm_network_transmit_drops_total", "counter", "packets dropped", "tx_drops", "interfaces",
	 "interface"},
};

/* NAME="text" with what the format wants escaped */
static void label(FILE *out, const char *before, const char *name, const char *text)
{
	(void)fprintf(out, "%s%s=\"", before, name);
	for (; *text; text++) {
		if (*text == '\n')
			(void)fputs("\\n", out);
		else if (*text == '"' || *text == '\\')
			(void)fprintf(out, "\\%c", *text);
		else
			(void)fputc(*text, out);
	}
	(void)fputc('"', out);
}

static const char *text_of(const json_t *obj, const char *key)
{
	const char *s = json_string_value(json_object_get(obj, key));

	return s ? s : "";
}

static void head(FILE *out, const char *name, const char *type, const char *help)
{
	(void)fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void line(FILE *out, const struct metric *m, const json_t *machine, const json_t *of)
{
	const json_t *v = json_object_get(of, m->key);

	if (!json_is_number(v) && !json_is_boolean(v))
		return;
	(void)fputs(m->name, out);
	label(out, "{", "host", text_of(machine, "host"));
	label(out, ",", "name", text_of(machine, "name"));
	if (m->label)
		label(out, ",", m->label, text_of(of, "name"));
	if (json_is_integer(v))
		(void)fprintf(out, "} %" JSON_INTEGER_FORMAT "\n", json_integer_value(v));
	else
		(void)fprintf(out, "} %.9g\n",
			      json_is_boolean(v) ? json_is_true(v) : json_real_value(v));
}

static void of_machine(FILE *out, const struct metric *m, const json_t *machine)
{
	const json_t *list = m->list ? json_object_get(machine, m->list) : NULL;

	if (!m->list)
		line(out, m, machine, machine);
	for (size_t i = 0; i < json_array_size(list); i++)
		line(out, m, machine, json_array_get(list, i));
}

static void state_of(FILE *out, const json_t *machine)
{
	const char *is = text_of(machine, "state");

	for (int s = 0; s < DOMAIN_STATE_COUNT; s++) {
		const char *name = domain_state_name((enum domain_state)s);

		label(out, "vm_state{", "host", text_of(machine, "host"));
		label(out, ",", "name", text_of(machine, "name"));
		label(out, ",", "state", name);
		(void)fprintf(out, "} %d\n", strcmp(is, name) == 0);
	}
}

void stats_prometheus(FILE *out, const struct vmctl_answer *answers, size_t n)
{
	head(out, "vm_host_up", "gauge", "1: the host answered");
	for (size_t i = 0; i < n; i++) {
		const json_t *first = json_array_get(answers[i].value, 0);
		const char *name = *answers[i].name ? answers[i].name
				   : first	    ? text_of(first, "host")
						    : "default";

		label(out, "vm_host_up{", "host", name);
		(void)fprintf(out, "} %d\n", answers[i].value != NULL);
	}
	head(out, "vm_state", "gauge", "1: the machine is in this state");
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < json_array_size(answers[i].value); k++)
			state_of(out, json_array_get(answers[i].value, k));
	for (size_t m = 0; m < sizeof(metrics) / sizeof(metrics[0]); m++) {
		head(out, metrics[m].name, metrics[m].type, metrics[m].help);
		for (size_t i = 0; i < n; i++)
			for (size_t k = 0; k < json_array_size(answers[i].value); k++)
				of_machine(out, &metrics[m], json_array_get(answers[i].value, k));
	}
}
