/* vmctl clone: a machine like another, with disks and identities of its own. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/vmctl/place.h"
#include "cmd/vmctl/vmctl.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/host/xmldoc.h"
#include "libcommon/image/copy/engine.h"

static const char disks[] = "/domain/devices/disk[not(@device) or @device='disk']";

enum { DISKS_MAX = 64 };

static struct {
	const char *dir;
	bool linked, start;
} o;

static const struct opt options[] = {
	{.name = "linked",
	 .type = OPT_FLAG,
	 .value = &o.linked,
	 .help = "disks keep only what differs from the other machine's, which must stay off"},
	{.name = "dir",
	 .type = OPT_STRING,
	 .value = &o.dir,
	 .arg = "DIR",
	 .help = "where the disks go (default: where libvirt keeps images)",
	 .complete = COMPLETE_DIR},
	{.name = "start", .type = OPT_FLAG, .value = &o.start, .help = "start it"},
	OPT_END,
};

static const char *const examples[] = {
	"vmctl clone web web2",
	"vmctl clone --linked --start golden test1",
	NULL,
};

/* struct cloning - files that were made, to be removed when it fails */
struct cloning {
	struct cli *cli;
	struct host *host;
	struct xmldoc *x;
	const char *name;
	char *files[DISKS_MAX];
	size_t n;
	char uuid[UUID_TEXT_MAX];
};

static int make_disk(struct cloning *c, const char *source, const char *format, const char *target,
		     struct err *err)
{
	const struct image_open_opts how = {.format = format};
	struct copy_opts opts = {.target_format = o.linked ? "qcow2" : format,
				 .progress = &c->cli->progress};
	struct copy_stats stats;
	struct image *img;
	int rc;

	if (image_open(&img, source, &how, err) < 0)
		return -1;
	if (o.linked) {
		opts.params.size = image_size(img);
		opts.params.backing_name = source;
		opts.params.backing_format = format;
	}
	rc = o.linked ? image_create(target, &opts, err)
		      : image_copy(img, target, &opts, &stats, err);
	image_close(img);
	return rc;
}

/* Disk number @i, to "NAME-TARGET.SUFFIX" */
static int clone_disk(struct cloning *c, size_t i, struct err *err)
{
	CLEANUP_FREE char *source = xmldoc_get_nth(c->x, disks, i, "source/@file | source/@dev");
	CLEANUP_FREE char *format = xmldoc_get_nth(c->x, disks, i, "driver/@type");
	CLEANUP_FREE char *dev = xmldoc_get_nth(c->x, disks, i, "target/@dev");
	CLEANUP_FREE char *base = NULL;
	char path[512], *file;

	if (!source || !dev)
		return err_set(err, ERR_UNSUPPORTED, "disk %s is no file: it cannot be cloned",
			       dev ? dev : "?");
	if (asprintf(&base, "%s-%s", c->name, dev) < 0) {
		base = NULL;
		return err_nomem(err);
	}
	if (place_disk(c->host, o.dir, base, o.linked || !format ? "qcow2" : format, &file, err) <
	    0)
		return -1;
	if (make_disk(c, source, format ? format : "raw", file, err) < 0) {
		free(file);
		return err_prefix(err, "disk %s", dev);
	}
	c->files[c->n++] = file;
	(void)snprintf(path, sizeof(path), "(%s)[%zu]/source", disks, i + 1);
	if (!xmldoc_set_attribute(c->x, path, 0, "file", file))
		return err_nomem(err);
	(void)snprintf(path, sizeof(path), "(%s)[%zu]/source/@dev", disks, i + 1);
	(void)xmldoc_remove(c->x, path);
	(void)snprintf(path, sizeof(path), "(%s)[%zu]", disks, i + 1);
	if (!xmldoc_set_attribute(c->x, path, 0, "type", "file"))
		return err_nomem(err);
	if (o.linked) {
		(void)snprintf(path, sizeof(path), "(%s)[%zu]/driver", disks, i + 1);
		if (!xmldoc_set_attribute(c->x, path, 0, "type", "qcow2"))
			return err_set(err, ERR_UNSUPPORTED, "disk %s has no <driver>", dev);
	}
	return 0;
}

/* What must not be the same twice. */
static int new_identity(struct cloning *c, struct err *err)
{
	static const char macs[] = "/domain/devices/interface/mac";
	size_t n = xmldoc_count(c->x, macs);

	if (place_uuid(c->uuid, err) < 0)
		return -1;
	if (!xmldoc_set(c->x, "/domain/uuid", c->uuid) ||
	    !xmldoc_set(c->x, "/domain/name", c->name))
		return err_set(err, ERR_FAILED, "the definition has no name or UUID");
	(void)xmldoc_set(c->x, "/domain/sysinfo/system/entry[@name='uuid']", c->uuid);
	for (size_t i = 0; i < n; i++) {
		char mac[18];

		if (place_mac(mac, err) < 0)
			return -1;
		if (!xmldoc_set_attribute(c->x, macs, i, "address", mac))
			return err_nomem(err);
	}
	/* libvirt makes these anew from the name */
	(void)xmldoc_remove(c->x, "/domain/os/nvram");
	(void)xmldoc_remove(c->x, "/domain/devices/channel[@type='unix']/source");
	(void)xmldoc_remove(c->x, "/domain/devices/interface/target");
	return 0;
}

static int define(struct cloning *c, struct err *err)
{
	CLEANUP_FREE char *text = NULL;
	struct domain *d;
	int rc = 0;

	if (xmldoc_text(c->x, &text, err) < 0 || host_define(c->host, text, &d, err) < 0)
		return -1;
	if (o.start)
		rc = domain_act(d, DOMAIN_START, err);
	if (rc < 0)
		(void)domain_act(d, DOMAIN_UNDEFINE, NULL);
	domain_close(d);
	return rc;
}

static int tell(struct cloning *c, struct err *err)
{
	json_t *files = json_array();

	if (!c->cli->json) {
		json_decref(files);
		return 0;
	}
	for (size_t i = 0; files && i < c->n; i++)
		json_array_append_new(files, cli_json_string(c->files[i]));
	return cli_print_json(c->cli,
			      json_pack("{s:o, s:s, s:b, s:o}", "name", cli_json_string(c->name),
					"uuid", c->uuid, "linked", (int)o.linked, "disks", files),
			      err);
}

static int run_on(struct cloning *c, struct domain *from, struct err *err)
{
	CLEANUP_FREE char *xml = NULL;
	enum domain_state state;
	struct domain *other;
	struct err why = ERR_INIT;
	size_t n;
	int rc = 0;

	if (domain_state(from, &state, NULL, err) < 0)
		return -1;
	if (state != DOMAIN_OFF)
		return err_set(err, ERR_BUSY, "is %s: its disks change", domain_state_name(state));
	if (host_find(c->host, c->name, &other, &why) == 0) {
		domain_close(other);
		err_set(err, ERR_EXISTS, "there is a machine of this name");
		return err_object(err, c->name);
	}
	if (why.code != ERR_NOT_FOUND) {
		*err = why;
		return -1;
	}
	if (domain_xml(from, DOMAIN_XML_CONFIG | DOMAIN_XML_SECRETS, &xml, err) < 0 ||
	    xmldoc_parse(&c->x, xml, "domain", err) < 0)
		return -1;
	n = xmldoc_count(c->x, disks);
	if (n > DISKS_MAX)
		return err_set(err, ERR_UNSUPPORTED, "%zu disks are too many", n);
	for (size_t i = 0; rc == 0 && i < n; i++)
		rc = clone_disk(c, i, err);
	if (rc == 0)
		rc = new_identity(c, err);
	if (rc == 0)
		rc = define(c, err);
	for (size_t i = 0; rc < 0 && i < c->n; i++)
		(void)unlink(c->files[i]);
	return rc < 0 ? -1 : tell(c, err);
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	struct cloning c = {.cli = cli, .name = argv[1]};
	struct domain *from;
	int rc;

	(void)argc;
	if (vmctl_find(argv[0], false, &c.host, &from, err) < 0)
		return -1;
	rc = run_on(&c, from, err);
	if (rc < 0)
		err_object(err, argv[0]);
	xmldoc_free(c.x);
	for (size_t i = 0; i < c.n; i++)
		free(c.files[i]);
	domain_close(from);
	host_close(c.host);
	return rc;
}

const struct verb verb_clone = {
	.name = "clone",
	.usage = "[OPTIONS] NAME NEW",
	.summary = "make a machine like another, with its own disks, UUID and network addresses",
	.details =
		"NAME must be off. Disks are copied (on XFS and btrfs they share blocks) or, with "
		"--linked, begin as overlays of its disks, which must then never change again. "
		"What is inside the guest (host name, machine-id, ssh keys) stays as it is. When "
		"anything fails nothing is left.",
	.options = options,
	.examples = examples,
	.statuses =
		"0 done, 4 no such machine, 5 NEW exists, 6 it is not off, 7 no connection, 9 a "
		"disk is no file, 13 no space",
	.min_args = 2,
	.max_args = 2,
	.json = true,
	.progress = true,
	.complete_args = COMPLETE_MACHINE,
	.run = run,
};
