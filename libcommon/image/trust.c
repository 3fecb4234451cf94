/* Files that an image names: what may be opened, and how it is found.
 *
 * A name is taken relative to the folder of the image that holds it, as QEMU does. Where it leads, all links
 * resolved, must be a regular file below that folder, below the folder where the image itself really lies, or
 * below one of the folders that the caller allowed. Names with a scheme ("json:", "nbd:", "host_device:") are
 * refused; "file:" is taken off. The resolved path is opened with openat2 beneath the folder and without
 * following links, so that nothing can be swapped in between.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/image/layers.h"
#include "libcommon/image/lock.h"

char *trust_printable(const char *name, char *buf, size_t room)
{
	size_t i;

	for (i = 0; name[i] && i + 1 < room; i++)
		buf[i] = (unsigned char)name[i] < 0x20 || name[i] == 0x7f ? '?' : name[i];
	buf[i] = '\0';
	return buf;
}

bool same_file(const struct bfile *a, const struct bfile *b)
{
	struct stat x, y;

	return a->fd >= 0 && b->fd >= 0 && fstat(a->fd, &x) == 0 && fstat(b->fd, &y) == 0 &&
	       x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* The folder part of @path: owned. */
static char *folder_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	if (!slash)
		return strdup(".");
	return strndup(path, slash == path ? 1 : (size_t)(slash - path));
}

/* The part of @path behind @root and its slash, or NULL when it is not below it. Both are resolved. */
static const char *part_below(const char *root, const char *path)
{
	size_t n = strlen(root);

	if (strcmp(root, "/") == 0)
		return path + 1;
	return strncmp(path, root, n) == 0 && path[n] == '/' ? path + n + 1 : NULL;
}

/* Without openat2 (seccomp, kernels before 5.6): open the last name only, and see where it really was. */
static int open_checked(const char *path, int flags)
{
	char link[32], real[PATH_MAX];
	int fd = open(path, flags | O_NOFOLLOW);

	if (fd < 0)
		return -1;
	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);

	ssize_t n = readlink(link, real, sizeof(real) - 1);

	if (n >= 0)
		real[n] = '\0';
	if (n < 0 || strcmp(real, path) != 0) {
		(void)close(fd);
		errno = EXDEV;
		return -1;
	}
	return fd;
}

static int open_beneath(const char *root, const char *path, int flags)
{
	struct open_how how = {.flags = (unsigned)(flags | O_CLOEXEC),
			       .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS |
					  RESOLVE_NO_MAGICLINKS};
	CLEANUP_CLOSE int dir = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (dir < 0)
		return -1;

	int fd = (int)syscall(SYS_openat2, dir, part_below(root, path), &how, sizeof(how));

	if (fd < 0 && (errno == ENOSYS || errno == EPERM))
		fd = open_checked(path, flags | O_CLOEXEC);
	return fd;
}

/* A folder that confines: resolved, or NULL when it does not exist. */
static char *allowed_root(const struct image *img, const struct image_open_opts *opts, size_t i)
{
	CLEANUP_FREE char *folder = NULL;

	if (i >= 2)
		return realpath(opts->allow_dirs[i - 2], NULL);
	if (!img->path)
		return NULL;
	if (i == 0) {
		folder = folder_of(img->path);
	} else {
		CLEANUP_FREE char *real = realpath(img->path, NULL);

		folder = real ? folder_of(real) : NULL;
	}
	return folder ? realpath(folder, NULL) : NULL;
}

/* The first allowed folder that @path (resolved) lies in, or NULL: owned. */
static char *root_of(const struct image *img, const struct image_open_opts *opts, const char *path)
{
	size_t n = 2 + (opts ? opts->n_allow_dirs : 0);

	for (size_t i = 0; i < n; i++) {
		CLEANUP_FREE char *root = allowed_root(img, opts, i);

		if (root && part_below(root, path))
			return steal_ptr(&root);
	}
	return NULL;
}

static int denied(const char *name, const char *path, struct err *err)
{
	char shown[160], folder[200];
	CLEANUP_FREE char *dir = folder_of(path);

	err_set(err, ERR_DENIED, "names the file %s, which lies outside its folder",
		trust_printable(name, shown, sizeof(shown)));
	err_hint(err, "if you trust the image: --allow-backing %s",
		 trust_printable(dir ? dir : "DIR", folder, sizeof(folder)));
	return -1;
}

/* Where @name leads: a resolved path below an allowed folder. */
static int resolve(const struct image *img, const struct image_open_opts *opts, const char *name,
		   char **ret_path, char **ret_root, struct err *err)
{
	CLEANUP_FREE char *joined = NULL, *folder = img->path ? folder_of(img->path) : strdup(".");
	char shown[160];

	if (!folder || (name[0] != '/' && asprintf(&joined, "%s/%s", folder, name) < 0))
		return err_nomem(err);

	const char *path = joined ? joined : name;
	CLEANUP_FREE char *real = realpath(path, NULL);
	int saved = errno;

	if (!real) {
		/* Whether a file exists is only said about the folders that may be looked into. */
		CLEANUP_FREE char *dir = folder_of(path);
		CLEANUP_FREE char *real_dir = dir ? realpath(dir, NULL) : NULL;
		CLEANUP_FREE char *probe = NULL;

		if (real_dir && asprintf(&probe, "%s/x", strcmp(real_dir, "/") ? real_dir : "") < 0)
			return err_nomem(err);

		CLEANUP_FREE char *root = probe ? root_of(img, opts, probe) : NULL;

		if (!root)
			return denied(name, path, err);
		errno = saved;
		return err_sys(err, "cannot open %s", trust_printable(path, shown, sizeof(shown)));
	}
	*ret_root = root_of(img, opts, real);
	if (!*ret_root)
		return denied(name, real, err);
	*ret_path = steal_ptr(&real);
	return 0;
}

/* "json:..." and the like: a colon before the first slash, as QEMU sees it. "file:" is taken off. */
static const char *plain_name(const char *name, struct err *err)
{
	char shown[160];

	if (strncmp(name, "file:", 5) == 0)
		name += 5;

	size_t n = strcspn(name, ":/");

	if (name[n] == ':') {
		err_set(err, ERR_DENIED, "names %s, which is not a plain file name",
			trust_printable(name, shown, sizeof(shown)));
		return NULL;
	}
	if (!*name) {
		err_set(err, ERR_CORRUPT, "names a file with an empty name");
		return NULL;
	}
	return name;
}

int trust_open(const struct image *img, const struct image_open_opts *opts, const char *name,
	       bool writable, struct bfile **ret, char **ret_path, struct err *err)
{
	CLEANUP_FREE char *path = NULL, *root = NULL;
	struct stat seen, st;
	char shown[160];

	name = plain_name(name, err);
	if (!name || resolve(img, opts, name, &path, &root, err) < 0)
		return -1;

	/* O_PATH opens nothing yet: a device or fifo is never touched. */
	CLEANUP_CLOSE int there = open_beneath(root, path, O_PATH);

	if (there < 0 || fstat(there, &seen) < 0)
		return err_sys(err, "cannot open %s", trust_printable(path, shown, sizeof(shown)));
	if (!S_ISREG(seen.st_mode))
		return err_set(err, ERR_DENIED, "names %s, which is not a regular file",
			       trust_printable(path, shown, sizeof(shown)));

	CLEANUP_CLOSE int fd =
		open_beneath(root, path, (writable ? O_RDWR : O_RDONLY) | O_NONBLOCK);

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(err, "cannot open %s", trust_printable(path, shown, sizeof(shown)));
	if (st.st_dev != seen.st_dev || st.st_ino != seen.st_ino)
		return err_set(err, ERR_BUSY, "%s was replaced while it was opened",
			       trust_printable(path, shown, sizeof(shown)));
	if (!(img->flags & (IMAGE_NO_LOCK | IMAGE_SHARED)) && lock_take(fd, writable, err) < 0)
		return err_prefix(err, "%s", trust_printable(path, shown, sizeof(shown)));
	if (bfile_of_fd(ret, steal_fd(&fd), path, writable, err) < 0)
		return -1;
	*ret_path = steal_ptr(&path);
	return 0;
}

int image_open_named(struct image *img, const struct image_open_opts *opts, const char *name,
		     bool writable, struct bfile **ret, struct err *err)
{
	CLEANUP_FREE char *path = NULL;
	char shown[160];

	if (img->guessed) {
		err_set(err, ERR_UNSUPPORTED, "was only guessed to be %s, and names the file %s",
			img->format->name, trust_printable(name, shown, sizeof(shown)));
		return err_hint(err,
				"state the format in the image above it: qemu-img rebase -u -F %s",
				img->format->name);
	}
	if (trust_open(img, opts, name, writable, ret, &path, err) < 0)
		return -1;
	if (same_file(*ret, img->file)) {
		bfile_close(*ret);
		*ret = NULL;
		return err_set(err, ERR_CORRUPT, "loop: the image names itself");
	}
	if (image_note_file(img, *ret, err) < 0) {
		bfile_close(*ret);
		*ret = NULL;
		return -1;
	}
	return 0;
}
