/* Who uses a repository in a folder: OFD read locks on the file config, one byte an epoch, far behind its end or not. The
 * kernel drops them with the process. The collector has a write lock on a byte of its own.
 */
#include "libcommon/repo/backend_dir_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "libcommon/base/log.h"

#define COLLECTOR_BYTE ((off_t)1 << 62)

static int lock_byte(int fd, int type, off_t byte)
{
	struct flock fl = {
		.l_type = (short)type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

	return fcntl(fd, F_OFD_SETLK, &fl);
}

/* A file system without locks has no collector either, so that nobody needs to see the session. Any other failure may be of
 * this moment alone: what is written in a session that a collector cannot see may lose its base. */
static bool has_no_locks(int error)
{
	return error == ENOSYS || error == EOPNOTSUPP || error == EINVAL || error == ENOLCK;
}

int dir_session(struct backend *b, uint64_t epoch, struct err *err)
{
	struct dir_backend *d = (struct dir_backend *)b;

	if (epoch >= (uint64_t)COLLECTOR_BYTE)
		return err_set(err, ERR_CORRUPT, "epoch %llu is out of bounds",
			       (unsigned long long)epoch);
	if (d->session >= 0 && d->epoch == epoch)
		return 0;
	if (d->session < 0) {
		d->session = openat(d->fd, "config", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
		if (d->session < 0)
			return err_sys(err, "cannot open config");
		d->epoch = epoch;
	}
	if (lock_byte(d->session, F_RDLCK, (off_t)epoch) < 0) {
		if (!has_no_locks(errno))
			return err_sys(err, "cannot lock config");
		log_debug("no lock on config: %s", strerror(errno));
	}
	if (d->epoch != epoch)
		(void)lock_byte(d->session, F_UNLCK, (off_t)d->epoch);
	d->epoch = epoch;
	return 0;
}

/* Asked through the session's own descriptor, so that its own lock does not count. */
int dir_sessions_before(struct backend *b, uint64_t epoch, bool *ret_any, struct err *err)
{
	struct dir_backend *d = (struct dir_backend *)b;
	struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = (off_t)epoch};

	*ret_any = false;
	if (!epoch)
		return 0;
	if (fcntl(d->session, F_OFD_GETLK, &fl) < 0)
		return err_sys(err, "cannot look at the locks of config");
	*ret_any = fl.l_type != F_UNLCK;
	return 0;
}

int dir_collector(struct backend *b, struct err *err)
{
	struct dir_backend *d = (struct dir_backend *)b;

	if (d->collector < 0)
		d->collector = openat(d->fd, "config", O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	if (d->collector < 0)
		return err_sys(err, "cannot open config for writing");
	if (!lock_byte(d->collector, F_WRLCK, COLLECTOR_BYTE))
		return 0;
	if (errno == EAGAIN || errno == EACCES)
		return err_set(err, ERR_BUSY, "another prune works in this repository");
	return err_sys(err, "cannot lock config: nothing can be collected on such a file system");
}

void dir_sessions_end(struct dir_backend *d)
{
	if (d->session >= 0)
		close(d->session);
	if (d->collector >= 0)
		close(d->collector);
}
