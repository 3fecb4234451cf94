/* Snapshots of a running machine: announced for each disk, made by libvirt at one moment, then written down. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/vmsnap/domain.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/log.h"
#include "libcommon/host/guard.h"

/* Does the machine write to @overlays now? Return: 1, 0, -1 it cannot be asked */
static int has_switched(struct disk_set *t, char *const *overlays, size_t n_overlays,
			struct err *err)
{
	struct domain_disk *disks;
	size_t n, found = 0;

	if (domain_files(t->domain, t->running, &disks, &n, err) < 0)
		return -1;
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < n_overlays; k++)
			found += overlays[k] && strcmp(disks[i].source, overlays[k]) == 0;
	domain_disks_free(disks, n);
	return found > 0;
}

/* With the guest's file systems at rest, if it can be had */
static int overlay(struct disk_set *t, char *const *overlays, const struct live_opts *opts,
		   bool *ret_frozen, struct err *err)
{
	struct err why = ERR_INIT, thaw = ERR_INIT;
	struct freeze freeze;
	bool frozen = false;
	int rc;

	if (opts->guard && guard_freeze(opts->guard, t->domain, 0, &why) == 0)
		frozen = true;
	else if (opts->quiesce == QUIESCE_REQUIRE) {
		if (err)
			*err = why;
		return err_prefix(err, "the guest cannot be made to stand still");
	}
	rc = live_overlay(t, overlays, NULL, NULL, err);
	if (frozen) {
		frozen = guard_thaw(opts->guard, &freeze, &thaw) == 0 && freeze.held;
		if (thaw.code)
			log_warning("%s: the guest is still frozen: %s", domain_name(t->domain),
				    thaw.message);
	} else if (rc == 0 && opts->guard) {
		log_warning("%s: as after a power cut: %s", domain_name(t->domain), why.message);
	}
	*ret_frozen = frozen;
	return rc;
}

static int finish(struct disk_set *t, struct snap_disk **disks, char *const *overlays,
		  struct err *err)
{
	int done = has_switched(t, overlays, t->n, err);

	if (done < 0)
		return err_hint(err, "vmsnap -c URI recover DOMAIN asks it again");
	for (size_t i = 0; i < t->n; i++)
		if (snap_live_end(disks[i], done, err) < 0)
			return err_hint(err, "vmsnap -c URI recover DOMAIN goes on with it");
	return domain_forget_chains(t->domain, err) < 0 ? -1 : done;
}

/* That of @disks whose file is @path */
static struct snap_disk *disk_at(struct snap_disk **disks, size_t n, const char *path)
{
	CLEANUP_FREE char *real = realpath(path, NULL);

	for (size_t i = 0; real && i < n; i++)
		if (strcmp(snap_path(disks[i]), real) == 0)
			return disks[i];
	return NULL;
}

static int announce(struct disk_set *t, struct snap_disk **disks, const char *name, size_t i,
		    char **ret_overlay, struct err *err)
{
	struct snap_disk *d = disk_at(disks, t->n, t->paths[i]);

	if (d)
		return snap_live_begin(d, name, ret_overlay, err);
	err_set(err, ERR_FAILED, "is not the file that has its present state");
	return err_object(err, t->paths[i]);
}

int live_create(struct disk_set *t, struct snap_disk **disks, const char *name,
		const struct live_opts *opts, bool *ret_frozen, struct err *err)
{
	char **overlays = calloc(t->n, sizeof(*overlays));
	CLEANUP_FREE char *memory = opts->memory ? snap_memory_path(disks[0], name) : NULL;
	struct err why = ERR_INIT;
	size_t n = 0;
	int rc = overlays && (memory || !opts->memory) ? 0 : err_nomem(err), done;

	*ret_frozen = false;
	while (rc == 0 && n < t->n) {
		rc = announce(t, disks, name, n, &overlays[n], err);
		n += rc == 0;
	}
	if (rc == 0) {
		rc = memory ? live_overlay(t, overlays, memory, opts->progress, err)
			    : overlay(t, overlays, opts, ret_frozen, err);
		done = finish(t, disks, overlays, rc < 0 ? &why : err);
		/* An error that came with the answer, or after all was done */
		if (done < 0)
			rc = -1;
		else if (done > 0)
			rc = 0;
		else if (rc == 0)
			rc = err_set(err, ERR_FAILED, "the machine did not go on in the overlays");
	} else {
		for (size_t i = 0; i < n; i++)
			(void)snap_live_end(disk_at(disks, t->n, t->paths[i]), false, NULL);
	}
	if (rc == 0 && opts->quiesce == QUIESCE_REQUIRE && !*ret_frozen)
		rc = err_set(
			err, ERR_DIFFERS,
			"the snapshot is made, but the guest did not stand still all the time");
	for (size_t i = 0; overlays && i < t->n; i++)
		free(overlays[i]);
	free(overlays);
	return rc;
}

int live_recover(struct disk_set *t, struct progress *progress, enum snap_recovered *ret,
		 struct err *err)
{
	for (size_t i = 0; i < t->n; i++) {
		CLEANUP_FREE char *fresh = NULL;
		struct snap_disk *d;
		int done, rc;

		/* Who began it may be gone, but libvirt goes on with it */
		if (t->running && domain_idle(t->domain, err) < 0)
			return -1;
		if (snap_live_pending(t->paths[i], &d, &fresh, err) < 0)
			return -1;
		if (!d) {
			if (live_recover_fold(t, i, progress, ret, err) < 0)
				return -1;
			continue;
		}
		done = has_switched(t, &fresh, 1, err);
		rc = done < 0 ? -1 : snap_live_end(d, done, err);
		snap_close(d);
		if (rc < 0)
			return -1;
		*ret = done ? SNAP_FINISHED : SNAP_UNDONE;
	}
	return 0;
}
