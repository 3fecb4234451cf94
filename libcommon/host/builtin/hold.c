/* A machine lets go of its disks for a moment, which a snapshot needs: it is saved, and goes on from there. See snapshot.h.
 *
 * NAME.held is there from before it is saved until it runs again. It is empty while the disks are changed: a start compares
 * them with what they were then, and refuses others. Afterwards it has their sizes and times of that moment (position.h), an
 * array of one for each disk, which vmrun restore compares them with: once the guest has written, nothing goes on from that
 * memory again. Who comes after a holder that was killed writes them only when the disks stand where they stood (stands.c),
 * or below new files that hold nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/io.h"
#include "libcommon/base/iszero.h"
#include "libcommon/base/outfile.h"
#include "libcommon/base/stop.h"
#include "libcommon/host/builtin/builtin.h"
#include "libcommon/runner/state.h"

char *builtin_held_file(const struct builtin_host *b, const char *name)
{
	char *path = builtin_path(b->state, name, "held");
	struct stat st;

	if (path && stat(path, &st) == 0 && st.st_size)
		return path;
	free(path);
	return NULL;
}

bool builtin_is_held(const struct builtin_host *b, const char *name)
{
	CLEANUP_FREE char *path = builtin_path(b->state, name, "held");

	return path && access(path, F_OK) == 0;
}

void builtin_forget_held(const struct builtin_host *b, const char *name)
{
	CLEANUP_FREE char *path = builtin_path(b->state, name, "held");

	if (path)
		(void)unlink(path);
}

int builtin_hold(struct domain *d, struct err *err)
{
	const struct builtin_host *b = builtin_of(d->host);
	CLEANUP_FREE char *path = builtin_path(b->state, d->name, "held");

	if (!path)
		return err_nomem(err);
	if (outfile_write(path, "", 0, OUTFILE_FORCE | OUTFILE_PRIVATE, err) < 0)
		return -1;
	if (builtin_put_aside(d, NULL, err) == 0)
		return 0;
	/* Unless it is off all the same, or nobody knows: then recover asks again */
	if (!builtin_saved(b, d->name))
		(void)unlink(path);
	return -1;
}

int builtin_held(struct domain *d, bool *ret, struct err *err)
{
	(void)err;
	*ret = builtin_is_held(builtin_of(d->host), d->name);
	return 0;
}

/* It runs, and its disks go on with it: what was saved is nothing worth. NAME.held last, so that one who is killed on the way
 * is found again */
static int went_on(const struct builtin_host *b, const char *name, struct err *err)
{
	CLEANUP_FREE char *path = builtin_path(b->state, name, "save");

	if (!path)
		return err_nomem(err);
	if (unlink(path) < 0 && errno != ENOENT) {
		err_sys(err, "cannot remove");
		return err_object(err, path);
	}
	builtin_forget_held(b, name);
	return 0;
}

int builtin_let_go(struct domain *d, bool same, struct err *err)
{
	const struct builtin_host *b = builtin_of(d->host);
	struct builtin_machine m;
	bool runs;
	int rc;

	/* Who held it may have been killed before it was off */
	if (builtin_settle(d, true, &runs, err) < 0)
		return -1;
	if (runs)
		return went_on(b, d->name, err);
	if (!builtin_saved(b, d->name)) {
		builtin_forget_held(b, d->name);
		return 0;
	}
	if (builtin_load(b, d->name, &m, err) < 0)
		return -1;
	rc = same ? 0 : builtin_stands(b, &m, err);
	if (rc == 0)
		rc = builtin_write_positions(b, &m, err);
	if (rc == 0)
		rc = builtin_go_on(b, &m, err);
	builtin_release(&m);
	return rc;
}

enum { COPY_STEP = 1 << 20 };

/* Zeros as holes, as they were; @buf: COPY_STEP bytes */
static int copy_data(int from, int to, off_t size, uint8_t *buf, struct err *err)
{
	for (off_t at = 0; at < size;) {
		off_t data = lseek(from, at, SEEK_DATA);
		size_t n;

		if (data < 0 && errno == ENXIO)
			break;
		at = data > at ? data : at;
		n = size - at < COPY_STEP ? (size_t)(size - at) : COPY_STEP;
		if (stop_check(err) < 0 || io_pread(from, buf, n, (uint64_t)at, err) < 0 ||
		    (!is_zero(buf, n) && io_pwrite(to, buf, n, (uint64_t)at, err) < 0))
			return -1;
		at += (off_t)n;
	}
	return 0;
}

static int copy(int from, int to, struct err *err)
{
	CLEANUP_FREE uint8_t *buf = NULL;
	struct stat st;

	if (fstat(from, &st) < 0 || ftruncate(to, st.st_size) < 0)
		return err_sys(err, "cannot set the size");
	if (ioctl(to, FICLONE, from) == 0)
		return 0;
	buf = malloc(COPY_STEP);
	return buf ? copy_data(from, to, st.st_size, buf, err) : err_nomem(err);
}

/* Nobody writes to either: a second name will do, where it can be had */
int builtin_held_memory(struct domain *d, const char *path, struct err *err)
{
	CLEANUP_FREE char *own = builtin_path(builtin_of(d->host)->state, d->name, "save");
	CLEANUP_CLOSE int from = -1;
	struct outfile *of;
	int rc;

	if (!own)
		return err_nomem(err);
	if (link(own, path) == 0)
		return io_fsync_parent(path, err);
	from = open(own, O_RDONLY | O_CLOEXEC);
	if (from < 0) {
		err_sys(err, "cannot open");
		return err_object(err, own);
	}
	if (outfile_open(&of, path, OUTFILE_PRIVATE, err) < 0)
		return -1;
	rc = copy(from, outfile_fd(of), err);
	if (rc == 0)
		return outfile_commit(of, err);
	outfile_discard(of);
	return err_object(err, path);
}

static int compare(const struct builtin_machine *m, const struct state *s, struct err *err)
{
	const char *said = json_string_value(json_object_get(s->conf, "name"));

	if (!said || strcmp(said, m->name) != 0)
		return err_set(err, ERR_DIFFERS, "is the memory of another machine than %s",
			       m->name);
	if (s->n_disks != m->n_disks || s->n_nets != m->n_nics)
		return err_set(err, ERR_DIFFERS,
			       "is of a machine with %zu disks and %zu network interfaces, which "
			       "has %zu and %zu now",
			       s->n_disks, s->n_nets, m->n_disks, m->n_nics);
	return 0;
}

int builtin_check_memory(struct domain *d, const char *path, struct err *err)
{
	struct builtin_machine m;
	struct state *s;
	int rc;

	if (builtin_load(builtin_of(d->host), d->name, &m, err) < 0)
		return -1;
	rc = state_open(&s, path, err);
	if (rc == 0) {
		rc = compare(&m, s, err);
		state_close(s);
	}
	builtin_release(&m);
	return rc < 0 ? err_object(err, path) : 0;
}

int builtin_restore_memory(struct domain *d, const char *path, struct err *err)
{
	const struct builtin_host *b = builtin_of(d->host);
	struct builtin_machine m;
	int rc;

	if (builtin_load(b, d->name, &m, err) < 0)
		return -1;
	rc = builtin_forget_saved(b, d->name, err);
	if (rc == 0)
		rc = builtin_write_positions(b, &m, err);
	if (rc == 0)
		rc = keeper_start(b, &m, path, KEEPER_HELD, err);
	builtin_release(&m);
	return rc;
}
