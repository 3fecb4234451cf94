/* vmimg convert to an OVA: the machine from options and a libvirt domain, disks from any images. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>

#include "cmd/vmimg/packages.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/io.h"
#include "libcommon/base/size.h"
#include "libcommon/package/package.h"

#define MEMORY_DEFAULT (1ULL << 30)

enum { DOMAIN_BYTES_MAX = 1 << 20 };

const char *machine_options_given(const struct machine_options *o)
{
	return o->name	       ? "--name"
	       : o->cpus       ? "--cpus"
	       : o->memory     ? "--memory"
	       : o->firmware   ? "--firmware"
	       : o->os	       ? "--os"
	       : o->domain_xml ? "--domain-xml"
	       : o->nics.count ? "--nic"
			       : NULL;
}

static int set(char **field, const char *value, struct err *err)
{
	*field = strdup(value);
	return *field ? 0 : err_nomem(err);
}

/* NETWORK[,MODEL] */
static int add_nic(struct machine *m, const char *text, struct err *err)
{
	const char *comma = strrchr(text, ',');
	struct machine_nic *nic = machine_add_nic(m, err);

	if (!nic)
		return -1;
	if (!*text || comma == text)
		return err_set(err, ERR_USAGE, "--nic: the name of a network is wanted");
	nic->network = comma ? strndup(text, (size_t)(comma - text)) : strdup(text);
	if (!nic->network)
		return err_nomem(err);
	return comma && comma[1] ? set(&nic->model, comma + 1, err) : 0;
}

static int add_domain(struct machine *m, const char *path, struct err *err)
{
	CLEANUP_FREE char *text = NULL;
	size_t len;

	if (io_read_file(path, DOMAIN_BYTES_MAX, &text, &len, err) < 0 ||
	    machine_of_domain(m, text, len, err) < 0)
		return err_object(err, path);
	return 0;
}

/* "web1" of "/srv/web1.ova" */
static int name_of_target(struct machine *m, const char *target, struct err *err)
{
	const char *slash = strrchr(target, '/'), *base = slash ? slash + 1 : target;
	size_t n = strlen(base);

	if (n > 4 && strcasecmp(base + n - 4, ".ova") == 0)
		n -= 4;
	m->name = strcmp(target, "-") == 0 ? strdup("machine") : strndup(base, n);
	return m->name ? 0 : err_nomem(err);
}

/* Options win over the domain, the domain over the defaults. */
static int describe(struct machine *m, const struct machine_options *o, const char *target,
		    struct err *err)
{
	if (o->name && set(&m->name, o->name, err) < 0)
		return -1;
	m->cpus = o->cpus;
	m->memory = o->memory;
	if (o->firmware)
		m->firmware = strcmp(o->firmware, "bios") == 0	? FIRMWARE_BIOS
			      : strcmp(o->firmware, "efi") == 0 ? FIRMWARE_EFI
								: FIRMWARE_EFI_SECURE;
	for (size_t i = 0; i < o->nics.count; i++)
		if (add_nic(m, o->nics.items[i], err) < 0)
			return -1;
	if (o->domain_xml && add_domain(m, o->domain_xml, err) < 0)
		return -1;
	if (o->os && machine_set_os(m, o->os, err) < 0)
		return -1;
	if (!m->name && name_of_target(m, target, err) < 0)
		return -1;
	if (!m->cpus)
		m->cpus = 1;
	if (!m->memory)
		m->memory = MEMORY_DEFAULT;
	/* Hypervisors count in MiB, VMware in steps of four of them. */
	m->memory = round_up(m->memory, 4 << 20);
	return 0;
}

static json_t *source_names(struct image *const *disks, size_t n)
{
	json_t *list = json_array();

	for (size_t i = 0; list && i < n; i++)
		(void)json_array_append_new(list, cli_json_string(image_name(disks[i])));
	return list;
}

static int dry_run_result(struct cli *cli, struct image *const *disks, size_t n, const char *target,
			  bool exists, struct err *err)
{
	uint64_t size = 0;
	char text[SIZE_TEXT_MAX];

	for (size_t i = 0; i < n; i++)
		size += image_is_stream(disks[i]) ? 0 : image_size(disks[i]);
	if (cli->json)
		return cli_print_json(cli,
				      json_pack("{s:o, s:o, s:s, s:I, s:b, s:b}", "sources",
						source_names(disks, n), "target",
						cli_json_string(target), "target_format", "ova",
						"virtual_size", (json_int_t)size, "would_replace",
						(int)exists, "dry_run", 1),
				      err);
	(void)printf("would %s %s: ova, %zu disk%s, %s virtual\n", exists ? "replace" : "write",
		     target, n, n == 1 ? "" : "s", size_format(size, text));
	return 0;
}

static int dry_run(struct cli *cli, struct image *const *disks, size_t n, const char *target,
		   bool force, struct err *err)
{
	struct stat st;
	bool exists = strcmp(target, "-") != 0 && stat(target, &st) == 0;

	if (exists && !force) {
		err_set(err, ERR_EXISTS, "exists already");
		err_hint(err, "--force replaces it");
		return err_object(err, target);
	}
	return dry_run_result(cli, disks, n, target, exists, err);
}

static int write_package(struct cli *cli, const struct machine *m, struct image *const *disks,
			 size_t n, const char *target, const struct ova_write_opts *opts,
			 struct err *err)
{
	struct ova_write_stats s;
	struct timespec a, b;

	clock_gettime(CLOCK_MONOTONIC, &a);
	if (ova_write(m, disks, n, target, opts, &s, err) < 0)
		return -1;
	clock_gettime(CLOCK_MONOTONIC, &b);
	if (!cli->json)
		return 0;

	long ms = (b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000;

	return cli_print_json(
		cli,
		json_pack("{s:o, s:o, s:s, s:I, s:I, s:I, s:I, s:I, s:b, s:f}", "sources",
			  source_names(disks, n), "target", cli_json_string(target),
			  "target_format", "ova", "virtual_size", (json_int_t)s.virtual_size,
			  "data_bytes", (json_int_t)s.data_bytes, "read_bytes",
			  (json_int_t)s.read_bytes, "file_size", (json_int_t)s.file_size,
			  "actual_size", (json_int_t)s.target_bytes, "verified", (int)opts->verify,
			  "seconds", (double)ms / 1000),
		err);
}

/* Its machine would be lost without a word. */
static int refuse_packages(char **sources, size_t n, const char *format, struct err *err)
{
	for (size_t i = 0; i < n; i++) {
		if (!package_named(sources[i], format))
			continue;
		err_set(err, ERR_USAGE, "is a package, of which only disks can be taken");
		err_hint(err, "name each as ova:FILE#DISK, and describe the machine by options");
		return err_object(err, sources[i]);
	}
	return 0;
}

int convert_to_package(struct cli *cli, char **sources, size_t n, const char *target,
		       const struct machine_options *machine, const struct image_open_opts *open,
		       const struct ova_write_opts *opts, bool dry, struct err *err)
{
	CLEANUP_FREE struct image **disks = calloc(n + 1, sizeof(struct image *));
	struct machine m = {0};
	int rc;

	if (!disks)
		return err_nomem(err);
	rc = refuse_packages(sources, n, open->format, err);
	if (rc == 0)
		rc = describe(&m, machine, target, err);
	for (size_t i = 0; i < n && rc == 0; i++)
		rc = image_open(&disks[i], sources[i], open, err);
	if (rc == 0)
		rc = dry ? dry_run(cli, disks, n, target, opts->force, err)
			 : write_package(cli, &m, disks, n, target, opts, err);
	for (size_t i = 0; i < n; i++)
		image_close(disks[i]);
	machine_release(&m);
	return rc;
}
