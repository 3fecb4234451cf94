/* vmbackup backup --domain: which disks, and how they can be read. */
#include "cmd/vmbackup/domain.h"

#include <stdlib.h>
#include <string.h>

#include "cmd/vmbackup/live_dir.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/log.h"

void domain_report_release(struct domain_report *r)
{
	for (size_t i = 0; i < r->n_disks; i++)
		free(r->disks[i]);
	free(r->disks);
	free(r->incremental);
	free(r->name);
	*r = (struct domain_report){0};
}

static bool is_excluded(const struct domain_args *a, const char *target)
{
	for (size_t i = 0; i < a->exclude.count; i++)
		if (strcmp(a->exclude.items[i], target) == 0)
			return true;
	return false;
}

/* Excluded disks go to the end of the list, behind @r->n: the running machine's job must name them too. */
static int sort_disks(struct domain_run *r, size_t all, struct err *err)
{
	const struct domain_args *a = r->a;
	size_t kept = 0;

	for (size_t i = 0; i < all; i++) {
		struct domain_disk d = r->disks[i];

		if (is_excluded(a, d.target))
			continue;
		r->disks[i] = r->disks[kept];
		r->disks[kept++] = d;
	}
	if (all - kept != a->exclude.count) {
		err_set(err, ERR_NOT_FOUND, "has not all of the disks that are to be left out");
		return err_object(err, r->report->name);
	}
	r->n = kept;
	if (kept == 0) {
		err_set(err, ERR_NOT_FOUND, "has no disk to back up");
		return err_object(err, r->report->name);
	}
	return 0;
}

static int open_files(struct domain_run *r, const struct image_open_opts *open, struct err *err)
{
	struct image_open_opts opts = *open;

	for (size_t i = 0; i < r->n; i++) {
		const struct domain_disk *d = &r->disks[i];

		if (d->kind == DISK_ELSEWHERE) {
			err_set(err, ERR_UNSUPPORTED,
				"disk %s is of the kind %s: it can be read while the machine runs",
				d->target, d->source);
			return err_object(err, r->report->name);
		}
		opts.format = d->format;
		if (image_open(&r->out[i].image, d->source, &opts, err) < 0)
			return err_object(err, d->source);
	}
	return 0;
}

/* Off: the files themselves, locked while they are read. */
static int offline_backup(struct domain_run *r, const struct image_open_opts *open,
			  struct backup_stats *ret, struct err *err)
{
	struct domain_info info;

	if (domain_info(r->domain, &info, err) < 0 || open_files(r, open, err) < 0)
		return -1;
	domain_info_release(&info);
	r->report->consistency = info.saved ? "crash" : "offline";
	if (info.saved)
		log_warning("%s: its memory is saved and does not go into the backup",
			    r->report->name);
	for (size_t i = 0; i < r->n; i++)
		r->out[i].consistency = r->report->consistency;
	return repo_backup(r->repo, r->opts, ret, err);
}

static int find_disks(struct domain_run *r, const char *xml, struct err *err)
{
	struct domain_report *rep = r->report;
	size_t all;

	if (domain_disks(xml, &r->disks, &all, err) < 0)
		return -1;
	r->all = all;
	if (sort_disks(r, all, err) < 0)
		return -1;
	r->out = calloc(r->n, sizeof(*r->out));
	rep->disks = calloc(r->n, sizeof(*rep->disks));
	rep->incremental = calloc(r->n, sizeof(*rep->incremental));
	if (!r->out || !rep->disks || !rep->incremental)
		return err_nomem(err);
	for (size_t i = 0; i < r->n; i++) {
		r->out[i].name = r->disks[i].target;
		r->out[i].source = r->disks[i].source;
		if (!(rep->disks[rep->n_disks++] = strdup(r->disks[i].target)))
			return err_nomem(err);
	}
	return 0;
}

static int run(struct domain_run *r, const struct image_open_opts *open, struct backup_stats *ret,
	       struct err *err)
{
	CLEANUP_FREE char *live = NULL, *config = NULL;
	enum domain_state state;

	if (host_find(r->host, r->a->name, &r->domain, err) < 0 ||
	    domain_state(r->domain, &state, NULL, err) < 0 ||
	    domain_xml(r->domain, 0, &live, err) < 0 ||
	    domain_xml(r->domain, DOMAIN_XML_CONFIG | DOMAIN_XML_SECRETS, &config, err) < 0)
		return -1;
	r->report->name = strdup(domain_name(r->domain));
	if (!r->report->name)
		return err_nomem(err);
	r->report->state = domain_state_name(state);
	if (!r->opts->vm)
		r->opts->vm = r->report->name;
	if (!repo_name_valid(r->opts->vm)) {
		err_set(err, ERR_USAGE, "\"%s\" cannot be a name in the repository", r->opts->vm);
		return err_hint(err, "say another one with --vm");
	}
	if (find_disks(r, live, err) < 0)
		return -1;
	r->opts->machine = config;
	r->opts->disks = r->out;
	r->opts->n_disks = r->n;
	return state == DOMAIN_OFF || state == DOMAIN_CRASHED ? offline_backup(r, open, ret, err)
							      : live_backup(r, ret, err);
}

int domain_backup(const struct domain_args *a, struct backup_opts *opts,
		  const struct image_open_opts *open, struct backup_stats *ret,
		  struct domain_report *ret_report, struct err *err)
{
	struct domain_run r = {.a = a, .opts = opts, .report = ret_report};
	int rc;

	/* Before anything that could start a thread. */
	rc = guard_start(&r.guard, a->uri, live_dir_clear, err);
	if (rc == 0)
		rc = vmbackup_open(&r.repo, err);
	if (rc == 0)
		rc = host_open(&r.host, a->uri, 0, 0, err);
	if (rc == 0)
		rc = run(&r, open, ret, err);
	for (size_t i = 0; r.out && i < r.n; i++)
		image_close(r.out[i].image);
	free(r.out);
	domain_disks_free(r.disks, r.all);
	opts->machine = NULL;
	opts->disks = NULL;
	if (opts->vm == ret_report->name)
		opts->vm = NULL;
	domain_close(r.domain);
	host_close(r.host);
	repo_close(r.repo);
	guard_end(r.guard);
	return rc;
}
