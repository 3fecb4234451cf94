/* Before a migration: what could be in the way, and what has to be made on the other side. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/vmctl/migrate.h"
#include "cmd/vmctl/place.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/host/rewrite.h"
#include "libcommon/image/copy/engine.h"

static int check_source(struct domain *d, struct err *err)
{
	enum domain_state state;

	if (domain_state(d, &state, NULL, err) < 0)
		return -1;
	if (state != DOMAIN_RUNNING && state != DOMAIN_PAUSED) {
		err_set(err, ERR_FAILED, "is %s", domain_state_name(state));
		err_object(err, domain_name(d));
		return err_hint(err, "vmbackup backup --domain and restore --define move one that "
				     "does not run");
	}
	return domain_idle(d, err);
}

/* A definition with the same UUID is replaced; another machine of the name is in the way, and one that runs too. */
static int check_target(struct domain *d, struct host *to, struct err *err)
{
	const char *keys[] = {domain_name(d), domain_uuid(d)};

	for (size_t i = 0; i < 2; i++) {
		enum domain_state state = DOMAIN_OFF;
		struct err why = ERR_INIT;
		struct domain *other;
		bool same;

		if (host_find(to, keys[i], &other, &why) < 0) {
			if (why.code == ERR_NOT_FOUND)
				continue;
			*err = why;
			return -1;
		}
		same = strcmp(domain_uuid(other), domain_uuid(d)) == 0;
		(void)domain_state(other, &state, NULL, NULL);
		domain_close(other);
		if (!same)
			err_set(err, ERR_EXISTS, "the target has another machine of this name");
		else if (state != DOMAIN_OFF)
			err_set(err, ERR_EXISTS, "is %s on the target already",
				domain_state_name(state));
		else
			continue;
		return err_object(err, domain_name(d));
	}
	return 0;
}

static int target_path(const struct migrate_args *a, const struct domain_disk *disk, char **ret,
		       struct err *err)
{
	const char *base = strrchr(disk->source, '/');

	if (!a->disk_dir)
		*ret = strdup(disk->source);
	else if (asprintf(ret, "%s/%s", a->disk_dir, base ? base + 1 : disk->source) < 0)
		*ret = NULL;
	return *ret ? 0 : err_nomem(err);
}

/* An empty image of the same size: what the machine has not written stays unallocated. */
static int make_image(const struct domain_disk *disk, const char *path, struct err *err)
{
	const struct image_open_opts how = {.format = disk->format,
					    .flags = IMAGE_SHARED | IMAGE_NO_BACKING};
	struct copy_opts opts = {.target_format = disk->format};
	struct image *img;

	if (image_open(&img, disk->source, &how, err) < 0)
		return err_object(err, disk->source);
	opts.params.size = image_size(img);
	image_close(img);
	return image_create(path, &opts, err) < 0 ? err_object(err, path) : 0;
}

static int plan_disk(struct migrate_plan *p, size_t i, const struct migrate_args *a, bool local,
		     bool make, struct err *err)
{
	const struct domain_disk *disk = &p->disks[i];

	if (disk->kind == DISK_ELSEWHERE)
		return err_set(err, ERR_UNSUPPORTED,
			       "disk %s is no file or device: --storage shared", disk->target);
	if (target_path(a, disk, &p->targets[i], err) < 0)
		return -1;
	if (!local)
		return 0;
	if (strcmp(p->targets[i], disk->source) == 0) {
		err_set(err, ERR_USAGE, "disk %s would be copied onto itself", disk->target);
		return err_hint(err,
				"--disk-dir names another folder, --storage shared copies none");
	}
	if (access(p->targets[i], F_OK) == 0) {
		err_set(err, ERR_EXISTS, "there is a file in the place of disk %s", disk->target);
		return err_object(err, p->targets[i]);
	}
	if (!make)
		return 0;
	p->made[i] = true;
	return make_image(disk, p->targets[i], err);
}

/* Zeros that are sent must not fill the target's images. */
static int rewrite(struct migrate_plan *p, const char *xml, bool live, char **ret, struct err *err)
{
	struct xmldoc *x;
	int rc = 0;

	if (xmldoc_parse(&x, xml, "domain", err) < 0)
		return -1;
	for (size_t i = 0; rc == 0 && i < p->n_disks; i++) {
		char path[96];

		rc = rewrite_disk(x, p->disks[i].target, p->targets[i], p->disks[i].format, err);
		(void)snprintf(path, sizeof(path),
			       "/domain/devices/disk[target/@dev='%.32s']/driver",
			       p->disks[i].target);
		if (rc == 0 && live) {
			(void)xmldoc_set_attribute(x, path, 0, "discard", "unmap");
			(void)xmldoc_set_attribute(x, path, 0, "detect_zeroes", "unmap");
		}
	}
	if (rc == 0)
		rc = xmldoc_text(x, ret, err);
	xmldoc_free(x);
	return rc;
}

static int plan_storage(struct migrate_plan *p, struct domain *d, const struct migrate_args *a,
			bool local, bool make, struct err *err)
{
	CLEANUP_FREE char *live = NULL, *config = NULL;

	if (domain_migratable_xml(d, &live, err) < 0 ||
	    domain_xml(d, DOMAIN_XML_CONFIG | DOMAIN_XML_SECRETS, &config, err) < 0 ||
	    domain_disks(live, &p->disks, &p->n_disks, err) < 0)
		return -1;
	p->targets = calloc(p->n_disks + 1, sizeof(*p->targets));
	p->made = calloc(p->n_disks + 1, sizeof(*p->made));
	p->names = calloc(p->n_disks + 1, sizeof(*p->names));
	if (!p->targets || !p->made || !p->names)
		return err_nomem(err);
	for (size_t i = 0; i < p->n_disks; i++) {
		p->names[i] = p->disks[i].target;
		if (plan_disk(p, i, a, local, make, err) < 0)
			return -1;
	}
	if (rewrite(p, live, true, &p->xml, err) < 0 ||
	    rewrite(p, config, false, &p->config_xml, err) < 0)
		return -1;
	p->m.copy_disks = true;
	p->m.disks = p->names;
	p->m.n_disks = p->n_disks;
	p->m.xml = p->xml;
	p->m.config_xml = p->config_xml;
	return 0;
}

int migrate_plan(struct migrate_plan *ret, struct domain *d, struct host *to, const char *to_uri,
		 const struct migrate_args *a, bool make, struct err *err)
{
	bool local = to_uri && strstr(to_uri, ":///");
	bool copy = a->storage && strcmp(a->storage, "copy") == 0;

	*ret = (struct migrate_plan){
		.m = {.to_uri = to_uri,
		      /* A host may not know its own name; for one on this machine there is no need. */
		      .data_uri = a->data_uri ? a->data_uri
				  : local     ? "tcp://127.0.0.1"
					      : NULL,
		      .bandwidth = a->bandwidth,
		      .peer_to_peer = a->peer_to_peer,
		      .auto_converge = a->auto_converge,
		      .unsafe = a->unsafe || copy}};
	if (domain_migrate_check(d, to, err) < 0 || check_source(d, err) < 0 ||
	    check_target(d, to, err) < 0)
		return -1;
	return copy ? plan_storage(ret, d, a, local, make, err) : 0;
}

void migrate_plan_release(struct migrate_plan *p, bool failed)
{
	for (size_t i = 0; i < p->n_disks; i++) {
		if (failed && p->made && p->made[i])
			(void)unlink(p->targets[i]);
		if (p->targets)
			free(p->targets[i]);
	}
	free(p->targets);
	free(p->made);
	free((void *)p->names);
	free(p->xml);
	free(p->config_xml);
	domain_disks_free(p->disks, p->n_disks);
}
