/* What machines have used, in the words of libvirt's driver: fields that vmrun does not count are null. */
#include "libcommon/host/stats.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libcommon/host/builtin/builtin.h"

static void copy(json_t *to, const char *ours, const json_t *from, const char *theirs)
{
	const json_t *v = json_object_get(from, theirs);

	(void)json_object_set_new(
		to, ours, json_is_integer(v) ? json_integer(json_integer_value(v)) : json_null());
}

static json_t *one_disk(const struct builtin_disk *d, size_t i, const json_t *said)
{
	char name[] = "vda";
	json_t *o, *source = json_string(d->file);
	struct stat st;
	bool there = stat(d->file, &st) == 0;

	name[2] = (char)('a' + i);
	o = json_pack("{s:s, s:o}", "name", name, "source", source ? source : json_string("?"));
	copy(o, "read_bytes", said, "read_bytes");
	copy(o, "read_requests", said, "reads");
	copy(o, "write_bytes", said, "written_bytes");
	copy(o, "write_requests", said, "writes");
	copy(o, "flush_requests", said, "flushes");
	copy(o, "capacity", said, "size");
	(void)json_object_set_new(o, "allocation",
				  there ? json_integer((json_int_t)st.st_blocks * 512)
					: json_null());
	(void)json_object_set_new(o, "file_bytes",
				  there ? json_integer((json_int_t)st.st_size) : json_null());
	return o;
}

static json_t *cpu_seconds(const json_t *answer)
{
	const json_t *list = json_object_get(answer, "cpus");
	double sum = 0;

	if (!json_is_array(list))
		return json_null();
	for (size_t i = 0; i < json_array_size(list); i++)
		sum += json_number_value(json_object_get(json_array_get(list, i), "cpu_seconds"));
	return json_real(sum);
}

static json_t *one_machine(const char *uri, const struct builtin_machine *m,
			   const struct builtin_now *now)
{
	json_t *disks = json_array(), *said = json_object_get(now->answer, "disks"), *o;
	bool stale = now->pid < 0 && now->state == DOMAIN_RUNNING;

	for (size_t i = 0; i < m->n_disks; i++)
		(void)json_array_append_new(disks,
					    one_disk(&m->disks[i], i, json_array_get(said, i)));
	o = json_pack("{s:s, s:s, s:s, s:s, s:s, s:b, s:o, s:o, s:[], s:i, s:i, s:I, s:I}", "host",
		      uri, "name", m->name, "uuid", m->uuid, "state", domain_state_name(now->state),
		      "reason", now->reason, "stale", (int)stale, "cpu_seconds",
		      cpu_seconds(now->answer), "disks", disks, "interfaces", "cpus", (int)m->cpus,
		      "cpus_max", (int)m->cpus, "memory", (json_int_t)m->memory, "memory_max",
		      (json_int_t)m->memory);
	copy(o, "memory_resident", now->answer, "memory_resident");
	(void)json_object_set_new(o, "guest_memory", json_null());
	(void)json_object_set_new(o, "guest_memory_usable", json_null());
	return o;
}

int builtin_stats(struct host *h, json_t **ret, struct err *err)
{
	const struct builtin_host *b = builtin_of(h);
	json_t *list = json_array();
	char **names;
	size_t n;
	int rc = 0;

	if (!list)
		return err_nomem(err);
	if (builtin_names(b, &names, &n, err) < 0) {
		json_decref(list);
		return -1;
	}
	for (size_t i = 0; rc == 0 && i < n; i++) {
		struct builtin_machine m;
		struct builtin_now now;

		if (builtin_load(b, names[i], &m, NULL) < 0)
			continue; /* gone since, or broken: list tells */
		rc = builtin_now(b, names[i], &now, err);
		if (rc == 0) {
			(void)json_array_append_new(list, one_machine(h->uri, &m, &now));
			json_decref(now.answer);
		}
		builtin_release(&m);
	}
	builtin_names_free(names, n);
	if (rc < 0) {
		json_decref(list);
		return -1;
	}
	*ret = list;
	return 0;
}

/* Bytes that can be had without swapping; 0: not told */
static uint64_t memory_available(void)
{
	FILE *f = fopen("/proc/meminfo", "re");
	unsigned long long kib = 0;
	char line[256];

	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, "MemAvailable:", 13) == 0)
			kib = strtoull(line + 13, NULL, 10);
	if (f)
		(void)fclose(f);
	return kib * 1024;
}

int builtin_node(struct host *h, json_t **ret, struct err *err)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN), pages = sysconf(_SC_PHYS_PAGES),
	     page = sysconf(_SC_PAGESIZE);
	uint64_t available = memory_available();
	char name[256] = "";
	struct domain_info *list;
	size_t n, running = 0;

	if (host_list(h, &list, &n, err) < 0)
		return -1;
	for (size_t i = 0; i < n; i++)
		running += list[i].state != DOMAIN_OFF;
	host_list_free(list, n);
	(void)gethostname(name, sizeof(name) - 1);
	*ret = json_pack("{s:s, s:s, s:I, s:I, s:o, s:I, s:I, s:n}", "uri", h->uri, "hostname",
			 name, "cpus", (json_int_t)cpus, "memory", (json_int_t)pages * page,
			 "memory_free",
			 available ? json_integer((json_int_t)available) : json_null(), "machines",
			 (json_int_t)n, "running", (json_int_t)running, "libvirt");
	return *ret ? 0 : err_nomem(err);
}
