/* Deletions below a running machine: it writes one file of the chain down into the next and goes on without it. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cmd/vmsnap/domain.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/stop.h"

enum { POLL_MS = 50 };

static bool same_path(const char *a, const char *b)
{
	CLEANUP_FREE char *x = realpath(a, NULL);
	CLEANUP_FREE char *y = realpath(b, NULL);

	return strcmp(x ? x : a, y ? y : b) == 0;
}

/* As the domain calls it; owned; NULL: it is not in the chain */
static int find_in_chain(struct disk_set *t, const char *target, const char *path, char **ret,
			 struct err *err)
{
	char **files;
	size_t n;

	*ret = NULL;
	if (domain_chain(t->domain, t->running, target, &files, &n, err) < 0)
		return -1;
	for (size_t i = 0; i < n && !*ret; i++)
		if (same_path(files[i], path))
			*ret = steal_ptr(&files[i]);
	domain_chain_free(files, n);
	return 0;
}

static int give_up(struct disk_set *t, const char *target, struct err *err)
{
	(void)domain_block_end(t->domain, target, false, NULL);
	return stop_check(err);
}

/* Until the job is gone, by itself or at our word */
static int await_job(struct disk_set *t, const char *target, struct progress *progress,
		     struct err *err)
{
	static const struct timespec pause = {.tv_nsec = POLL_MS * 1000000L};
	struct err why = ERR_INIT;
	struct block_job job;

	for (;;) {
		if (domain_block_job(t->domain, target, &job, err) < 0)
			return -1;
		if (!job.runs)
			return 0;
		if (progress) {
			atomic_store(&progress->what, "commit");
			atomic_store(&progress->total, job.total);
			atomic_store(&progress->done, job.done);
		}
		if (job.ready && domain_block_end(t->domain, target, true, &why) < 0 &&
		    why.code != ERR_BUSY) {
			if (err)
				*err = why;
			return -1;
		}
		if (stop_requested())
			return give_up(t, target, err);
		(void)nanosleep(&pause, NULL);
	}
}

/* *@ret_refused: the machine is sure not to have begun */
static int begin(struct disk_set *t, const char *target, const char *top, const char *base,
		 bool relative, bool *ret_refused, struct err *err)
{
	struct block_job job;

	if (domain_commit_begin(t->domain, target, top, base, relative, t->rate, err) == 0)
		return 0;
	*ret_refused = domain_block_job(t->domain, target, &job, NULL) == 0 && !job.runs;
	return -1;
}

/* From any point on: what is announced, and may be done in part or all. Return: 1: @fold->top is not needed any more, 0 */
static int commit(struct disk_set *t, const char *target, struct snap_disk *d,
		  const struct snap_fold *fold, struct progress *progress, bool *ret_refused,
		  struct err *err)
{
	CLEANUP_FREE char *top = NULL, *base = NULL, *left = NULL;
	struct block_job job;

	if (find_in_chain(t, target, fold->top, &top, err) < 0 ||
	    find_in_chain(t, target, fold->base, &base, err) < 0)
		return -1;
	if (!base) {
		err_set(err, ERR_FAILED, "is not in the chain of the machine's disk %s", target);
		return err_object(err, fold->base);
	}
	if (!top)
		return 1;
	if (domain_block_job(t->domain, target, &job, err) < 0)
		return -1;
	if (job.runs && !job.commit)
		return err_set(err, ERR_BUSY, "disk %s has another block job", target);
	if (!job.runs && begin(t, target, top, base, fold->relative, ret_refused, err) < 0)
		return -1;
	if (snap_fold_begun(d, err) < 0)
		return -1;
	if (await_job(t, target, progress, err) < 0 ||
	    find_in_chain(t, target, fold->top, &left, err) < 0)
		return -1;
	return !left;
}

static int fold_on(struct disk_set *t, const char *target, struct snap_disk *d,
		   const struct snap_fold *fold, struct progress *progress, bool *ret_refused,
		   struct err *err)
{
	int done = commit(t, target, d, fold, progress, ret_refused, err);

	if (done == 0)
		done = err_set(err, ERR_FAILED, "the machine gave up disk %s: is there no space?",
			       target);
	if (done < 0 && *ret_refused)
		return err_object(err, domain_name(t->domain));
	if (done < 0) {
		err_hint(err, "vmsnap -c URI recover DOMAIN goes on with it");
		return err_object(err, domain_name(t->domain));
	}
	return snap_fold_end(d, err) < 0 ? -1 : domain_forget_chains(t->domain, err);
}

/* Of a machine that is off */
static int refuse_below_saved(const struct disk_set *t, struct snap_disk *d, const char *name,
			      struct err *err)
{
	struct snap_entry *e;
	bool in_place;

	if (!t->domain)
		return 0;
	if (snap_find(d, name, &e, err) < 0)
		return -1;
	in_place = e->engine != SNAP_EXTERNAL || !e->current;
	/* vmrun compares all files of a disk with those of then */
	if (domain_can_hold(t->domain))
		in_place = e->engine == SNAP_REFLINK;
	snap_list_free(e, 1);
	return disks_refuse(t, false, in_place, err);
}

int remove_snapshot(struct disk_set *t, const char *target, struct snap_disk *d, const char *name,
		    struct progress *progress, struct err *err)
{
	struct snap_fold fold;
	bool refused = false;
	struct block_job job;
	int rc;

	if (!t->running)
		return refuse_below_saved(t, d, name, err) < 0
			       ? -1
			       : snap_delete(d, name, progress, err);
	if (domain_idle(t->domain, err) < 0 || domain_block_job(t->domain, target, &job, err) < 0)
		return -1;
	if (job.runs) {
		err_set(err, ERR_BUSY, "disk %s has a block job", target);
		return err_object(err, domain_name(t->domain));
	}
	rc = snap_fold_begin(d, name, progress, &fold, err);
	if (rc <= 0)
		return rc;
	rc = fold_on(t, target, d, &fold, progress, &refused, err);
	if (refused)
		(void)snap_fold_cancel(d, NULL);
	snap_fold_release(&fold);
	return rc;
}

int live_recover_fold(struct disk_set *t, size_t i, struct progress *progress,
		      enum snap_recovered *ret, struct err *err)
{
	struct snap_fold fold;
	struct snap_disk *d;
	bool ignored = false;
	int rc;

	if (snap_fold_pending(t->paths[i], &d, &fold, err) < 0)
		return -1;
	if (!d)
		return 0;
	/* Off: its definition says which file it would go on in */
	rc = t->running ? fold_on(t, t->disks[i].target, d, &fold, progress, &ignored, err)
			: snap_fold_offline(d, same_path(t->disks[i].source, fold.base), progress,
					    err);
	*ret = SNAP_FINISHED;
	snap_fold_release(&fold);
	snap_close(d);
	return rc;
}
