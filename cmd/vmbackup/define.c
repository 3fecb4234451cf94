/* Bringing a machine back: see define.h. */
#include "cmd/vmbackup/define.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/host/disks.h"
#include "libcommon/host/host.h"
#include "libcommon/host/rewrite.h"

struct define {
	struct cli *cli;
	struct repo *repo;
	const struct snapshot *s;
	const struct define_args *a;
	const struct copy_opts *opts;
	char *dir; /* absolute: libvirt has another folder */
	struct host *host;
	struct xmldoc *x;
	struct domain_disk *disks; /* of the description */
	size_t n_disks;
	char *name;
	char **files; /* written, one a disk of the snapshot */
	bool *fresh;  /* written by us, and not there before */
	json_t *report;
};

static const char *format_of(const struct define *d, const char *target)
{
	for (size_t i = 0; i < d->n_disks; i++)
		if (strcmp(d->disks[i].target, target) == 0)
			return d->disks[i].format;
	return NULL;
}

/* Is there a machine that this one would replace? */
static int check_place(struct define *d, struct err *err)
{
	CLEANUP_FREE char *uuid = xmldoc_get(d->x, "/domain/uuid");
	const char *keys[] = {d->name, d->a->name ? NULL : uuid};

	for (size_t i = 0; i < 2; i++) {
		enum domain_state state = DOMAIN_OFF;
		struct err why = ERR_INIT;
		struct domain *other;

		if (!keys[i])
			continue;
		if (host_find(d->host, keys[i], &other, &why) < 0) {
			if (why.code == ERR_NOT_FOUND)
				continue;
			*err = why;
			return -1;
		}
		(void)domain_state(other, &state, NULL, NULL);
		domain_close(other);
		if (state != DOMAIN_OFF)
			err_set(err, ERR_BUSY, "is %s", domain_state_name(state));
		else if (d->opts->force && !d->a->name)
			continue;
		else
			err_set(err, ERR_EXISTS, "there is a machine of this name or UUID");
		err_object(err, d->name);
		return err_hint(err, "--name NAME defines another one beside it");
	}
	return 0;
}

static int prepare(struct define *d, const char *dir, struct err *err)
{
	struct stat st;

	if (!d->s->machine || !strstr(d->s->machine, "<domain"))
		return err_set(err, ERR_NOT_FOUND,
			       "the snapshot has no libvirt XML: it is no backup of --domain");
	d->dir = realpath(dir, NULL);
	if (!d->dir || stat(d->dir, &st) < 0) {
		err_sys(err, "cannot be used");
		return err_object(err, dir);
	}
	if (!S_ISDIR(st.st_mode)) {
		err_set(err, ERR_USAGE, "is no folder: --define writes all disks into one");
		return err_object(err, dir);
	}
	if (xmldoc_parse(&d->x, d->s->machine, "the machine's description", err) < 0 ||
	    domain_disks(d->s->machine, &d->disks, &d->n_disks, err) < 0)
		return -1;
	if (d->a->name && rewrite_name(d->x, d->a->name, err) < 0)
		return -1;
	d->name = xmldoc_get(d->x, "/domain/name");
	d->files = calloc(d->s->n_disks, sizeof(*d->files));
	d->fresh = calloc(d->s->n_disks, sizeof(*d->fresh));
	d->report = json_array();
	if (!d->name || !d->files || !d->fresh || !d->report)
		return err_nomem(err);
	if (strchr(d->name, '/') || *d->name == '.')
		return err_set(err, ERR_USAGE, "\"%s\" cannot begin the name of a file", d->name);
	if (host_open(&d->host, d->a->uri, 0, 0, err) < 0)
		return -1;
	return check_place(d, err);
}

static int open_disk(struct define *d, size_t i, struct image **ret, struct copy_opts *opts,
		     struct err *err)
{
	const char *target = d->s->disks[i].name, *format = format_of(d, target);

	*opts = *d->opts;
	if (!format)
		return err_set(err, ERR_NOT_FOUND, "the machine's description has no disk %s",
			       target);
	if (!opts->target_format)
		opts->target_format = format;
	return repo_open_disk(d->repo, d->s, target, ret, err);
}

/* All of them are looked at before the first is written: with --force they replace others. */
static int check_disk(struct define *d, size_t i, struct err *err)
{
	const char *target = d->s->disks[i].name, *format;
	struct copy_opts opts;
	struct image *img;
	int rc;

	if (open_disk(d, i, &img, &opts, err) < 0)
		return -1;
	if (asprintf(&d->files[i], "%s/%s-%s.%s", d->dir, d->name, target, opts.target_format) <
	    0) {
		d->files[i] = NULL;
		rc = err_nomem(err);
	} else {
		rc = image_copy_check(img, d->files[i], &opts, &format, err) < 0
			     ? err_object(err, d->files[i])
			     : rewrite_disk(d->x, target, d->files[i], opts.target_format, err);
	}
	image_close(img);
	return rc;
}

static int restore_disk(struct define *d, size_t i, struct err *err)
{
	struct copy_opts opts;
	struct copy_stats stats;
	struct image *img;
	bool fresh = access(d->files[i], F_OK) < 0;
	int rc;

	if (open_disk(d, i, &img, &opts, err) < 0)
		return -1;
	rc = image_copy(img, d->files[i], &opts, &stats, err);
	image_close(img);
	if (rc < 0)
		return err_object(err, d->files[i]);
	d->fresh[i] = fresh;
	json_array_append_new(d->report,
			      json_pack("{s:s, s:o, s:I, s:I}", "disk", d->s->disks[i].name,
					"target", cli_json_string(d->files[i]), "virtual_size",
					(json_int_t)stats.virtual_size, "target_bytes",
					(json_int_t)stats.target_bytes));
	return 0;
}

static int say(struct define *d, const struct domain *made, struct err *err)
{
	CLEANUP_FREE char *name = NULL;
	char id[9];

	if (!d->cli->json)
		return 0;
	if (asprintf(&name, "%s@%s", d->s->vm, snapshot_short_id(&d->s->id, id)) < 0) {
		name = NULL;
		return err_nomem(err);
	}
	return cli_print_json(d->cli,
			      json_pack("{s:s, s:o, s:s, s:O}", "snapshot", name, "name",
					cli_json_string(d->name), "uuid", domain_uuid(made),
					"disks", d->report),
			      err);
}

static int run(struct define *d, const char *dir, struct err *err)
{
	CLEANUP_FREE char *text = NULL;
	struct domain *made;
	int rc;

	if (prepare(d, dir, err) < 0)
		return -1;
	for (size_t i = 0; i < d->s->n_disks; i++)
		if (check_disk(d, i, err) < 0)
			return -1;
	for (size_t i = 0; i < d->s->n_disks; i++)
		if (restore_disk(d, i, err) < 0)
			return -1;
	if (xmldoc_text(d->x, &text, err) < 0 || host_define(d->host, text, &made, err) < 0)
		return -1;
	for (size_t i = 0; i < d->s->n_disks; i++)
		d->fresh[i] = false; /* they are the machine's now */
	rc = say(d, made, err);
	domain_close(made);
	return rc;
}

int restore_define(struct cli *cli, struct repo *repo, const struct snapshot *s, const char *dir,
		   const struct define_args *a, const struct copy_opts *opts, struct err *err)
{
	struct define d = {.cli = cli, .repo = repo, .s = s, .a = a, .opts = opts};
	int rc = run(&d, dir, err);

	for (size_t i = 0; d.files && i < s->n_disks; i++) {
		if (d.fresh && d.fresh[i] && d.files[i])
			(void)unlink(d.files[i]);
		free(d.files[i]);
	}
	free(d.files);
	free(d.fresh);
	free(d.dir);
	free(d.name);
	json_decref(d.report);
	domain_disks_free(d.disks, d.n_disks);
	xmldoc_free(d.x);
	host_close(d.host);
	return rc;
}
