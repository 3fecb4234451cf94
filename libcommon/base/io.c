/* Whole reads and writes: see io.h. */
#include "libcommon/base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/err.h"
#include "libcommon/base/stop.h"

ssize_t io_pread_upto(int fd, void *buf, size_t len, uint64_t off, struct err *err)
{
	size_t done = 0;

	if (off > INT64_MAX || len > INT64_MAX - off)
		return err_set(err, ERR_CORRUPT,
			       "offset %" PRIu64 " is beyond what a file can have", off);
	while (done < len) {
		ssize_t n = pread(fd, (char *)buf + done, len - done, (off_t)(off + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(err, "cannot read %zu bytes at offset %" PRIu64, len - done,
				       off + done);
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

int io_pread(int fd, void *buf, size_t len, uint64_t off, struct err *err)
{
	ssize_t n = io_pread_upto(fd, buf, len, off, err);

	if (n < 0)
		return -1;
	if ((size_t)n < len)
		return err_set(err, ERR_CORRUPT,
			       "file ends at offset %" PRIu64 ", %zu bytes are missing there",
			       off + (uint64_t)n, len - (size_t)n);
	return 0;
}

int io_pwrite(int fd, const void *buf, size_t len, uint64_t off, struct err *err)
{
	size_t done = 0;

	if (off > INT64_MAX || len > INT64_MAX - off)
		return err_set(err, ERR_FAILED, "offset %" PRIu64 " is beyond what a file can have",
			       off);
	while (done < len) {
		ssize_t n = pwrite(fd, (const char *)buf + done, len - done, (off_t)(off + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n == 0)
			errno = ENOSPC; /* a block device's end */
		if (n <= 0)
			return err_sys(err, "cannot write %zu bytes at offset %" PRIu64, len - done,
				       off + done);
		done += (size_t)n;
	}
	return 0;
}

/* A stalled pipe must not outlive a stop signal, and the signal may reach another thread than the one that
 * waits: so waiting is done here, in steps, never inside read() or write(). */
static int wait_ready(int fd, short events, struct err *err)
{
	enum { STEP_MS = 100 };
	struct pollfd p = {.fd = fd, .events = events};

	for (;;) {
		int n = poll(&p, 1, STEP_MS);

		/* An error of poll() or of the descriptor is told better by what comes next. */
		if (n > 0 || (n < 0 && errno != EINTR))
			return 0;
		if (stop_check(err) < 0)
			return -1;
	}
}

ssize_t io_read_upto(int fd, void *buf, size_t len, struct err *err)
{
	size_t done = 0;

	while (done < len) {
		if (wait_ready(fd, POLLIN, err) < 0)
			return -1;

		ssize_t n = read(fd, (char *)buf + done, len - done);

		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n < 0)
			return err_sys(err, "cannot read");
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

/* What a ready pipe takes without blocking: all it has room for where the kernel can be asked (6.4), else
 * PIPE_BUF bytes, for which "ready" means room. */
static ssize_t write_some(int fd, const void *buf, size_t len)
{
	struct iovec iov = {.iov_base = (void *)(uintptr_t)buf, .iov_len = len};
	ssize_t n = pwritev2(fd, &iov, 1, -1, RWF_NOWAIT);

	if (n >= 0 || (errno != EOPNOTSUPP && errno != ENOSYS && errno != EINVAL))
		return n;
	return write(fd, buf, len < PIPE_BUF ? len : PIPE_BUF);
}

int io_write(int fd, const void *buf, size_t len, struct err *err)
{
	struct stat st;
	bool blocks = fstat(fd, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode);
	size_t done = 0;

	while (done < len) {
		const char *p = (const char *)buf + done;

		if (blocks && wait_ready(fd, POLLOUT, err) < 0)
			return -1;

		ssize_t n = blocks ? write_some(fd, p, len - done) : write(fd, p, len - done);

		if (n < 0 && (errno == EINTR || (blocks && errno == EAGAIN)))
			continue;
		if (n < 0)
			return err_sys(err, "cannot write");
		done += (size_t)n;
	}
	return 0;
}

int io_fsync(int fd, struct err *err)
{
	/* Pipes, sockets and some special files cannot be synced: nothing to lose there. */
	if (fsync(fd) < 0 && errno != EINVAL && errno != ENOTSUP)
		return err_sys(err, "cannot bring data to the disk (fsync)");
	return 0;
}

int io_close(int fd, struct err *err)
{
	/* On Linux the descriptor is gone even when close says EINTR: never call it twice. */
	if (close(fd) < 0 && errno != EINTR)
		return err_sys(err, "cannot finish writing (close)");
	return 0;
}

int io_fsync_parent(const char *path, struct err *err)
{
	CLEANUP_FREE char *dir = strdup(path);

	if (!dir)
		return err_nomem(err);

	char *slash = strrchr(dir, '/');

	if (slash == dir)
		slash[1] = '\0';
	else if (slash)
		*slash = '\0';

	CLEANUP_CLOSE int fd = open(slash ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return err_sys(err, "cannot open the folder of %s", path);
	return io_fsync(fd, err);
}

int io_nameless(int *ret_fd, struct err *err)
{
	const char *dir = getenv("TMPDIR");
	CLEANUP_FREE char *name = NULL;

	if (!dir || !*dir)
		dir = "/var/tmp";
	*ret_fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (*ret_fd >= 0)
		return 0;
	if (asprintf(&name, "%s/vmkit-XXXXXX", dir) < 0) {
		name = NULL;
		return err_nomem(err);
	}
	*ret_fd = mkostemp(name, O_CLOEXEC);
	if (*ret_fd < 0) {
		err_sys(err, "cannot create a temporary file in %s", dir);
		return err_hint(err, "TMPDIR names the folder for temporary files");
	}
	(void)unlink(name);
	return 0;
}

int io_read_file(const char *path, size_t max, char **ret_data, size_t *ret_len, struct err *err)
{
	CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return err_sys(err, "cannot open");

	struct stat st;
	size_t room = 4096;

	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0)
		room = (uint64_t)st.st_size < max ? (size_t)st.st_size : max;

	CLEANUP_FREE char *data = malloc(room + 2);

	if (!data)
		return err_nomem(err);

	size_t len = 0;

	for (;;) {
		ssize_t n = io_read_upto(fd, data + len, room + 1 - len, err);

		if (n < 0)
			return -1;
		len += (size_t)n;
		if (len <= room)
			break;
		if (room >= max)
			return err_set(err, ERR_CORRUPT, "larger than %zu bytes", max);
		room = room > max / 2 ? max : room * 2;

		char *more = realloc(data, room + 2);

		if (!more)
			return err_nomem(err);
		data = more;
	}
	data[len] = '\0';
	*ret_data = steal_ptr(&data);
	*ret_len = len;
	return 0;
}
