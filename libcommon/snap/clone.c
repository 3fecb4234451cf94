/* Files that share blocks. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/io.h"
#include "libcommon/base/outfile.h"
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
	return fchmod(fd, like->st_mode & 07777) < 0 ? err_sys(err, "cannot set the mode") : 0;
}

int dress(const char *path, const struct stat *like, struct err *err)
{
	CLEANUP_CLOSE int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		err_sys(err, "cannot open");
	else if (dress_fd(fd, like, err) == 0 && io_fsync(fd, err) == 0)
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

/* Under its name when it is whole: a clone of a user's is in no journal */
int clone_file(int from, const char *to, const struct stat *like, struct err *err)
{
	struct outfile *of;
	int rc;

	if (outfile_open(&of, to, OUTFILE_PRIVATE, err) < 0)
		return err_object(err, to);
	rc = fill(from, outfile_fd(of), like, err);
	if (rc < 0)
		outfile_discard(of);
	else
		rc = outfile_commit(of, err);
	return rc < 0 ? err_object(err, to) : 0;
}
