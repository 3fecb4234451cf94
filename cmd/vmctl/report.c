/* vmctl report: what hosts have given away against what they have, disks that
 * nobody uses, machines that are too large or small. */
#include "cmd/vmctl/report.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cmd/vmctl/place.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/size.h"
#include "libcommon/host/disks.h"
#include "libcommon/host/stats.h"
#include "libcommon/host/xmldoc.h"
#include "libcommon/image/image.h"

static struct {
	struct opt_list dirs;
	const char *samples;
	uint64_t age;
	unsigned least;
	bool record;
} o = {.age = 7ULL * 24 * 3600 * 1000, .least = 10};

static const struct opt options[] = {
	{.name = "record",
	 .type = OPT_FLAG,
	 .value = &o.record,
	 .help = "only add a sample of each machine that runs, for the advice: "
		 "every few minutes by "
		 "cron"},
	{.name = "samples",
	 .type = OPT_STRING,
	 .value = &o.samples,
	 .arg = "FILE",
	 .help = "where samples are (default: ~/.local/state/vmkit/samples.ndjson)",
	 .complete = COMPLETE_FILE},
	{.name = "age",
	 .type = OPT_DURATION,
	 .value = &o.age,
	 .arg = "TIME",
	 .help = "samples that are older do not count (default: 7d)"},
	{.name = "least-samples",
	 .type = OPT_UINT,
	 .value = &o.least,
	 .arg = "N",
	 .min = 2,
	 .max = 1000000,
	 .help = "no advice for a machine with fewer (default: 10)"},
	{.name = "dir",
	 .type = OPT_LIST,
	 .value = &o.dirs,
	 .arg = "DIR",
	 .help = "look for disks that nobody uses here too, besides where "
		 "machines' disks lie",
	 .complete = COMPLETE_DIR},
	OPT_END,
};

static const char *const examples[] = {
	"vmctl report --record",
	"vmctl -c all report",
	"vmctl report --json | jq -r '.orphans[].path'",
	NULL,
};

static uint64_t number(const json_t *v, const char *key)
{
	json_int_t n = json_integer_value(json_object_get(v, key));

	return n > 0 ? (uint64_t)n : 0;
}

/* ---- asking a host */

/* The image and what it stands on are used; *@capacity is what the guest sees.
 */
static void add_chain(json_t *used, const char *source, const char *format, uint64_t *capacity)
{
	const struct image_open_opts how = {.format = format,
					    .flags = IMAGE_NO_LOCK | IMAGE_SHARED};
	CLEANUP_FREE char *whole = realpath(source, NULL);
	struct image *img;

	if (whole)
		(void)json_object_set_new(used, whole, json_true());
	if (image_open(&img, source, &how, NULL) < 0)
		return;
	if (image_size(img) != IMAGE_SIZE_UNKNOWN)
		*capacity += image_size(img);
	for (const struct image *i = image_backing(img); i; i = image_backing(i)) {
		CLEANUP_FREE char *path = realpath(image_name(i), NULL);

		if (path)
			(void)json_object_set_new(used, path, json_true());
	}
	image_close(img);
}

/* CD-ROMs and what is only read are in use as well. */
static void add_others(json_t *used, const char *xml)
{
	static const char path[] = "/domain/devices/disk/source";
	struct xmldoc *x;

	if (xmldoc_parse(&x, xml, "domain", NULL) < 0)
		return;
	for (size_t i = 0, n = xmldoc_count(x, path); i < n; i++) {
		CLEANUP_FREE char *file = xmldoc_get_nth(x, path, i, "@file"),
				  *whole = file ? realpath(file, NULL) : NULL;

		if (whole)
			(void)json_object_set_new(used, whole, json_true());
	}
	xmldoc_free(x);
}

struct sums {
	uint64_t capacity, allocated;
	size_t disks;
};

static void add_disks(struct domain *d, unsigned flags, json_t *used, struct sums *s)
{
	CLEANUP_FREE char *xml = NULL;
	struct domain_disk *disks;
	size_t n;

	if (domain_xml(d, flags, &xml, NULL) < 0 || domain_disks(xml, &disks, &n, NULL) < 0)
		return;
	add_others(used, xml);
	for (size_t i = 0; i < n; i++) {
		CLEANUP_FREE char *whole =
			disks[i].kind == DISK_FILE ? realpath(disks[i].source, NULL) : NULL;
		struct stat st;

		if (!whole || stat(whole, &st) < 0)
			continue;
		/* Seen by another machine, or by the definition of what runs: counted once.
     */
		if (!json_is_object(json_object_get(used, whole))) {
			s->disks++;
			s->allocated += (uint64_t)st.st_blocks * 512;
			add_chain(used, whole, disks[i].format, &s->capacity);
			(void)json_object_set_new(used, whole, json_object());
		}
	}
	domain_disks_free(disks, n);
}

static int ask(struct host *h, void *ctx, json_t **ret, struct err *err)
{
	struct domain_info *list;
	struct sums disks = {0};
	uint64_t cpus = 0, cpus_run = 0, memory = 0, memory_run = 0;
	json_t *used = json_object(), *out;
	bool local = place_is_local(h);
	size_t n;

	(void)ctx;
	if (!used)
		return err_nomem(err);
	if (host_node(h, &out, err) < 0 || host_list(h, &list, &n, err) < 0) {
		json_decref(used);
		return -1;
	}
	for (size_t i = 0; i < n; i++) {
		bool runs = list[i].state != DOMAIN_OFF && list[i].state != DOMAIN_CRASHED;
		struct domain *d;

		cpus += list[i].cpus;
		memory += list[i].memory_max;
		cpus_run += runs ? list[i].cpus : 0;
		memory_run += runs ? list[i].memory : 0;
		if (!local || host_find(h, list[i].uuid, &d, NULL) < 0)
			continue;
		add_disks(d, 0, used, &disks);
		if (runs && list[i].persistent)
			add_disks(d, DOMAIN_XML_CONFIG, used, &disks);
		domain_close(d);
	}
	host_list_free(list, n);
	(void)json_object_set_new(out, "cpus_allocated", json_integer((json_int_t)cpus));
	(void)json_object_set_new(out, "cpus_running", json_integer((json_int_t)cpus_run));
	(void)json_object_set_new(out, "memory_allocated", json_integer((json_int_t)memory));
	(void)json_object_set_new(out, "memory_running", json_integer((json_int_t)memory_run));
	(void)json_object_set_new(out, "disks", json_integer((json_int_t)disks.disks));
	(void)json_object_set_new(out, "disk_capacity", json_integer((json_int_t)disks.capacity));
	(void)json_object_set_new(out, "disk_allocated", json_integer((json_int_t)disks.allocated));
	(void)json_object_del(out, "libvirt");
	(void)json_object_set_new(out, "used", used);
	*ret = out;
	return 0;
}

/* ---- disks that nobody uses */

static bool is_image(const char *name)
{
	static const char *const suffixes[] = {".qcow2", ".raw", ".img",  ".vmdk",
					       ".vdi",	 ".vhd", ".vhdx", ".qed"};
	const char *dot = strrchr(name, '.');

	for (size_t i = 0; dot && i < sizeof(suffixes) / sizeof(suffixes[0]); i++)
		if (strcmp(dot, suffixes[i]) == 0)
			return true;
	return false;
}

static void look_into(const char *dir, const json_t *used, json_t *orphans)
{
	DIR *d = opendir(dir);
	const struct dirent *e;

	while (d && (e = readdir(d))) {
		CLEANUP_FREE char *path = NULL;
		struct stat st;

		if (e->d_name[0] == '.' || !is_image(e->d_name))
			continue;
		if (asprintf(&path, "%s/%s", dir, e->d_name) < 0) {
			path = NULL;
			break;
		}
		if (!json_object_get(used, path) && lstat(path, &st) == 0 && S_ISREG(st.st_mode))
			(void)json_array_append_new(
				orphans, json_pack("{s:o, s:I, s:I}", "path", cli_json_string(path),
						   "bytes", (json_int_t)st.st_size, "allocated",
						   (json_int_t)st.st_blocks * 512));
	}
	if (d)
		(void)closedir(d);
}

/* Folders of all disks of all hosts: what one host has no use for may be
 * another's. */
static json_t *find_orphans(const json_t *used)
{
	json_t *dirs = json_object(), *orphans = json_array();
	const char *path;
	json_t *v;

	json_object_foreach((json_t *)(uintptr_t)used, path, v)
	{
		CLEANUP_FREE char *copy = strdup(path);
		char *slash = copy ? strrchr(copy, '/') : NULL;

		if (slash && slash != copy) {
			*slash = '\0';
			(void)json_object_set_new(dirs, copy, json_true());
		}
	}
	for (size_t i = 0; i < o.dirs.count; i++) {
		CLEANUP_FREE char *whole = realpath(o.dirs.items[i], NULL);

		if (whole)
			(void)json_object_set_new(dirs, whole, json_true());
	}
	json_object_foreach(dirs, path, v)
	{
		look_into(path, used, orphans);
	}
	json_decref(dirs);
	return orphans;
}

/* ---- telling */

static void ratio(const json_t *h, const char *allocated, const char *has, char ret[48])
{
	uint64_t a = number(h, allocated), b = number(h, has);

	(void)snprintf(ret, 48, "%.0f %%", b ? 100.0 * (double)a / (double)b : 0.0);
}

static void print_hosts(const json_t *hosts)
{
	static const char *const headers[] = {"HOST",  "CPUS",	     "GIVEN", "MEMORY",
					      "GIVEN", "DISKS SEEN", "TAKEN", NULL};
	struct table *t = table_new(headers, "lrrrrrr");
	const json_t *h;
	size_t i;

	if (!t)
		return;
	json_array_foreach(hosts, i, h)
	{
		char cpus[24], cpu[48], memory[SIZE_TEXT_MAX], mem[48], seen[SIZE_TEXT_MAX],
			taken[SIZE_TEXT_MAX];
		const char *cells[] = {json_string_value(json_object_get(h, "uri")),
				       cpus,
				       cpu,
				       size_format(number(h, "memory"), memory),
				       mem,
				       size_format(number(h, "disk_capacity"), seen),
				       size_format(number(h, "disk_allocated"), taken)};

		(void)snprintf(cpus, sizeof(cpus), "%u", (unsigned)number(h, "cpus"));
		ratio(h, "cpus_allocated", "cpus", cpu);
		ratio(h, "memory_allocated", "memory", mem);
		table_row(t, cells);
	}
	table_print(t, stdout);
	table_free(t);
}

static void print_text(const json_t *r)
{
	const json_t *v;
	char a[SIZE_TEXT_MAX], b[SIZE_TEXT_MAX];
	size_t i;

	print_hosts(json_object_get(r, "hosts"));
	json_array_foreach(json_object_get(r, "orphans"), i, v)
	{
		char *safe = cli_printable(json_string_value(json_object_get(v, "path")));

		(void)printf("no machine uses %s (%s)\n", safe ? safe : "?",
			     size_format(number(v, "allocated"), a));
		free(safe);
	}
	json_array_foreach(json_object_get(r, "advice"), i, v)
	{
		bool memory = strcmp(json_string_value(json_object_get(v, "what")), "memory") == 0;
		char *safe = cli_printable(json_string_value(json_object_get(v, "name")));

		if (memory)
			(void)printf("%s: %s memory from %s to %s\n", safe ? safe : "?",
				     json_string_value(json_object_get(v, "advice")),
				     size_format(number(v, "now"), a),
				     size_format(number(v, "better"), b));
		else
			(void)printf("%s: %s processors from %u to %u\n", safe ? safe : "?",
				     json_string_value(json_object_get(v, "advice")),
				     (unsigned)number(v, "now"), (unsigned)number(v, "better"));
		free(safe);
	}
}

static int collect(const struct vmctl_answer *a, size_t n, const char *path, json_t **ret,
		   struct err *err)
{
	json_t *used = json_object(), *hosts = json_array(), *advice;
	size_t samples;

	for (size_t i = 0; i < n; i++)
		if (a[i].value) {
			(void)json_object_update(used, json_object_get(a[i].value, "used"));
			(void)json_object_del(a[i].value, "used");
			(void)json_array_append(hosts, a[i].value);
		}
	if (report_advice(path, o.age / 1000, o.least, &advice, &samples, err) < 0) {
		json_decref(used);
		json_decref(hosts);
		return err_object(err, path);
	}
	*ret = json_pack("{s:o, s:o, s:o, s:I}", "hosts", hosts, "orphans", find_orphans(used),
			 "advice", advice, "samples", (json_int_t)samples);
	json_decref(used);
	return *ret ? 0 : err_nomem(err);
}

static int ask_stats(struct host *h, void *ctx, json_t **ret, struct err *err)
{
	(void)ctx;
	return host_stats(h, ret, err);
}

static int record(const char *path, struct err *err)
{
	struct vmctl_answer *a;
	struct err why = ERR_INIT;
	size_t n;
	int rc;

	if (vmctl_ask_all(ask_stats, NULL, &a, &n, err) < 0)
		return -1;
	rc = vmctl_verdict(a, n, err);
	for (size_t i = 0; i < n; i++)
		if (a[i].value && report_record(path, a[i].value, &why) < 0) {
			*err = why;
			rc = err_object(err, path);
		}
	vmctl_answers_free(a, n);
	return rc;
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	CLEANUP_FREE char *path = o.samples ? strdup(o.samples) : report_samples_path();
	struct vmctl_answer *a;
	struct err why = ERR_INIT;
	json_t *r;
	size_t n;
	int rc;

	(void)argc;
	(void)argv;
	if (!path)
		return err_set(err, ERR_USAGE, "HOME is not set: say --samples");
	if (o.record)
		return record(path, err);
	if (vmctl_ask_all(ask, NULL, &a, &n, err) < 0)
		return -1;
	rc = vmctl_verdict(a, n, err);
	if (rc == 0 || err->code == ERR_DIFFERS) {
		if (collect(a, n, path, &r, &why) < 0) {
			*err = why;
			rc = -1;
		} else if (cli->json) {
			rc = cli_print_json(cli, r, &why) < 0 ? (*err = why, -1) : rc;
		} else {
			print_text(r);
			json_decref(r);
		}
	}
	vmctl_answers_free(a, n);
	return rc;
}

const struct verb verb_report = {
	.name = "report",
	.usage = "[OPTIONS]",
	.summary = "what hosts have given away, disks that nobody uses, machines "
		   "of the wrong size",
	.details = "Processors and memory of all machines against what the host "
		   "has (more than 100 % "
		   "is overcommitted); what guests see of disks against what these "
		   "take, on this "
		   "machine; image files beside disks of machines that no machine "
		   "of the hosts asked "
		   "uses, nor any chain of theirs: look before you remove them, "
		   "they may be snapshots. "
		   "Advice comes from samples that --record took: of the "
		   "processors used all but the "
		   "busiest twentieth of the time a third is to be left free, of "
		   "the most memory used a "
		   "quarter.",
	.options = options,
	.examples = examples,
	.statuses = "0 done, 3 some hosts did not answer, 4 no host of that name, "
		    "7 none answered",
	.max_args = 0,
	.json = true,
	.run = run,
};
