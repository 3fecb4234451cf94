/* Files that share blocks. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/io.h"
#include "libcommon/snap/private.h"

static int dress_fd(int fd, const struct stat *like, struct err *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_sys(err, "cannot look at it");
	/* The owner first: it clears bits of the mode */
	if ((like->st_uid != st.st_uid || like->st_gid != st.st_gid) &&
	    fchown(fd, like->st_uid, like->st_gid) < 0)
		return err_sys(err, "cannot give the file to its owner");
	if (fchmod(fd, like->st_mode & 07777) < 0)
		return err_sys(err, "cannot set the mode");
	return io_fsync(fd, err);
}

int dress(const char *path, const struct stat *like, struct err *err)
{
	CLEANUP_CLOSE int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		err_sys(err, "cannot open");
	else if (dress_fd(fd, like, err) == 0)
		return 0;
	return err_object(err, path);
}

static int fill(int from, int fd, const struct stat *like, struct err *err)
{
	if (ioctl(fd, FICLONE, from) < 0) {
		if (errno == EOPNOTSUPP || errno == EXDEV || errno == EINVAL || errno == ENOTTY ||
		    errno == ENOSYS)
			return err_set(
				err, ERR_UNSUPPORTED,
				"the file system cannot share blocks between files (reflink)");
		return err_sys(err, "cannot clone");
	}
	return dress_fd(fd, like, err);
}

int clone_file(int from, const char *to, const struct stat *like, struct err *err)
{
	CLEANUP_CLOSE int fd = open(to, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	int whole;

	if (fd < 0) {
		err_sys(err, "cannot create");
		return err_object(err, to);
	}
	whole = fill(from, fd, like, err);
	if (whole == 0)
		whole = io_close(steal_fd(&fd), err);
	if (whole == 0)
		whole = io_fsync_parent(to, err);
	if (whole < 0)
		(void)unlink(to);
	return whole < 0 ? err_object(err, to) : 0;
}
