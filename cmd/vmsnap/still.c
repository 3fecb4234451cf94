/* Snapshots of a running machine whose disks cannot be changed under it (vmrun's): it stands still for them. Its memory goes to a file,
 * its disks are then free, the engine that fits makes the snapshot, and the machine goes on from that file. With memory kept
 * the file becomes the snapshot's. The disks have the same bytes before and after, so that it may go on whatever came between.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cmd/vmsnap/domain.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/stop.h"

static double now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* What can be known is found while it runs */
static int look(struct disk_set *t, struct snap_disk **disks, const char *name, struct err *err)
{
	enum domain_state state;
	struct snap_entry *list;
	size_t n;

	if (domain_state(t->domain, &state, NULL, err) < 0)
		return -1;
	if (state != DOMAIN_RUNNING) {
		err_set(err, ERR_UNSUPPORTED,
			"is %s: it would run after a snapshot, for which it is saved",
			domain_state_name(state));
		err_hint(err, "vmctl resume, or vmctl stop");
		return err_object(err, domain_name(t->domain));
	}
	for (size_t i = 0; i < t->n; i++) {
		bool taken = false;

		if (snap_list(disks[i], &list, &n, err) < 0)
			return -1;
		for (size_t k = 0; k < n; k++)
			taken = taken || strcmp(list[k].name, name) == 0;
		snap_list_free(list, n);
		if (taken) {
			err_set(err, ERR_EXISTS, "there is a snapshot %s already", name);
			return err_object(err, snap_path(disks[i]));
		}
	}
	return live_memory_fits(t, snap_path(disks[0]), err);
}

static int change(struct disk_set *t, struct snap_disk **disks, const char *name,
		  enum snap_engine engine, const char *memory, struct err *err)
{
	if (memory && domain_held_memory(t->domain, memory, err) < 0)
		return -1;
	if (snap_set_create(disks, t->n, name, engine, err) == 0)
		return 0;
	if (memory)
		(void)unlink(memory);
	return -1;
}

int still_create(struct disk_set *t, struct snap_disk **disks, const char *name,
		 enum snap_engine engine, bool memory, double *ret_ms, struct err *err)
{
	CLEANUP_FREE char *file = memory ? snap_memory_path(disks[0], name) : NULL;
	struct err why = ERR_INIT;
	double began;
	int rc, gone;

	if (memory && !file)
		return err_nomem(err);
	if (look(t, disks, name, err) < 0)
		return -1;
	began = now_ms();
	if (domain_hold(t->domain, err) < 0)
		return -1;
	rc = stop_check(err) < 0 ? -1 : change(t, disks, name, engine, file, err);
	(void)stop_defer(true);
	gone = domain_let_go(t->domain, true, &why);
	(void)stop_defer(false);
	if (gone < 0) {
		if (rc == 0) {
			*err = why;
			err_prefix(err, "the snapshot is made, but the machine does not go on");
		}
		return err_hint(err, "vmsnap recover lets it go on: its memory is kept");
	}
	*ret_ms = now_ms() - began;
	return rc;
}

int still_recover(struct disk_set *t, bool unchanged, enum snap_recovered *ret, struct err *err)
{
	enum domain_state state;
	bool held;
	int rc;

	if (domain_held(t->domain, &held, err) < 0)
		return -1;
	if (!held)
		return 0;
	(void)stop_defer(true);
	rc = domain_let_go(t->domain, unchanged, err);
	(void)stop_defer(false);
	if (rc < 0)
		return -1;
	/* One that was off all the same is not ours to start */
	if (domain_state(t->domain, &state, NULL, err) < 0)
		return -1;
	t->running = state != DOMAIN_OFF && state != DOMAIN_CRASHED;
	if (*ret == SNAP_NOTHING)
		*ret = SNAP_FINISHED;
	return 0;
}
