/* The local folder of one S3 repository: see s3_local(). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/repo/backend_s3_private.h"

enum { PATH_CAP = 4096 };

static const char *environment(const char *name)
{
	const char *v = secure_getenv(name);

	return v && *v ? v : NULL;
}

static int cache_folder(char path[PATH_CAP], struct err *err)
{
	const char *own = environment("VMKIT_CACHE_DIR"), *xdg = environment("XDG_CACHE_HOME");
	char home[1024];
	int n;

	if (own)
		n = snprintf(path, PATH_CAP, "%s", own);
	else if (xdg)
		n = snprintf(path, PATH_CAP, "%s/vmkit", xdg);
	else if (s3_home(home, sizeof(home)) == 0)
		n = snprintf(path, PATH_CAP, "%s/.cache/vmkit", home);
	else
		return err_set(err, ERR_USAGE, "there is no cache folder: set VMKIT_CACHE_DIR");
	return n < PATH_CAP - 200 ? 0
				  : err_set(err, ERR_USAGE, "the cache folder's name is too long");
}

static int make_folders(char *path, struct err *err)
{
	for (char *p = path + 1;; p++) {
		char c = *p;

		if (c && c != '/')
			continue;
		*p = 0;
		if (mkdir(path, 0700) && errno != EEXIST) {
			err_sys(err, "cannot make the cache folder");
			return err_object(err, path);
		}
		*p = c;
		if (!c)
			return 0;
	}
}

int s3_local(const struct s3_config *c, const char *folder, int *ret_fd, struct err *err)
{
	CLEANUP_FREE char *path = malloc(PATH_CAP);
	char where[1024], digest[S3_HEX];
	size_t n;
	int fd;

	if (!path)
		return err_nomem(err);
	if (cache_folder(path, err))
		return -1;
	snprintf(where, sizeof(where), "%s/%s/%s", c->base, c->bucket, c->prefix);
	if (s3_sha256(where, strlen(where), digest, err))
		return -1;
	n = strlen(path);
	snprintf(path + n, PATH_CAP - n, "/s3/%.32s/%s", digest, folder);
	if (make_folders(path, err))
		return -1;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0) {
		err_sys(err, "cannot open the cache folder");
		return err_object(err, path);
	}
	*ret_fd = fd;
	return 0;
}

int s3_lock_file(int fd, struct err *err)
{
	struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	if (!fcntl(fd, F_OFD_SETLK, &fl))
		return 1;
	if (errno == EAGAIN || errno == EACCES)
		return 0;
	return err_sys(err, "cannot lock a local file");
}
