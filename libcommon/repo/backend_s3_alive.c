/* Which sessions of this machine have ended, known at once and not when their leases run out.
 *
 * Each process that has a session keeps a file of that name in the local folder "sessions", and a lock of the kernel on it,
 * which ends with the process. That is proof for those who see the same file under the same kernel: the boot id tells a
 * kernel from others that share a home over a network, device and inode a mount from another of the same files. Nobody
 * else is believed dead for it, a machine of before a reboot neither: its disk may be a copy of one that lives.
 *
 * What a process sent just before its death may arrive after it. So the file says until when a request can that matters
 * to others: from before it is sent until it is answered. All of it is a help: without a file only time tells.
 */
#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "libcommon/base/io.h"
#include "libcommon/base/log.h"
#include "libcommon/repo/backend_s3_private.h"

enum { BOOT_ID = 36, OLD_FILE_S = 86400 };

static const char magic[8] = "vmalive1";

struct record {
	char magic[8];
	char boot[BOOT_ID + 4];
	uint64_t device, inode;
	int64_t until; /* by the server's clock, something of it may still arrive; 0: nothing is under way */
};

static bool boot_id(char ret[BOOT_ID + 4])
{
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t n;

	memset(ret, 0, BOOT_ID + 4);
	if (fd < 0)
		return false;
	n = read(fd, ret, BOOT_ID);
	close(fd);
	return n == BOOT_ID;
}

/* With alive_lock held. */
static int folder(struct s3_backend *b)
{
	struct err why = ERR_INIT;

	if (b->alive_dir == -1 &&
	    s3_local(s3_http_config(b->http), "sessions", &b->alive_dir, &why)) {
		log_info("%s", why.message);
		b->alive_dir = -2;
	}
	return b->alive_dir;
}

/* With alive_lock held. The file may say more than is true, and never less: rather there is none. */
static int say_until(struct s3_backend *b, int64_t until, struct err *err)
{
	bool more = until > b->alive_until;

	if (b->alive_fd < 0 || until == b->alive_until)
		return 0;
	if (!io_pwrite(b->alive_fd, &until, sizeof(until), offsetof(struct record, until), err)) {
		b->alive_until = until;
		return 0;
	}
	if (more && ftruncate(b->alive_fd, 0) && unlinkat(b->alive_dir, b->who, 0))
		return -1;
	if (more) {
		close(b->alive_fd);
		b->alive_fd = -1;
	}
	err_clear(err);
	return 0;
}

/* Files of the dead whose leases are long gone. */
static void sweep(int dir)
{
	int copy = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = copy < 0 ? NULL : fdopendir(copy);
	const struct dirent *e;

	if (!d && copy >= 0)
		close(copy);
	while (d && (e = readdir(d))) {
		struct err why = ERR_INIT;
		struct stat st;
		int fd;

		if (fstatat(dir, e->d_name, &st, AT_SYMLINK_NOFOLLOW) || !S_ISREG(st.st_mode) ||
		    st.st_mtime > time(NULL) - OLD_FILE_S)
			continue;
		fd = openat(dir, e->d_name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
		if (fd >= 0 && s3_lock_file(fd, &why) > 0)
			(void)unlinkat(dir, e->d_name, 0);
		if (fd >= 0)
			close(fd);
	}
	if (d)
		closedir(d);
}

void s3_alive_begin(struct s3_backend *b)
{
	struct record r = {.until = 0};
	struct err why = ERR_INIT;
	struct stat st;
	int dir, fd = -1;

	pthread_mutex_lock(&b->alive_lock);
	dir = boot_id(r.boot) ? folder(b) : -1;
	if (dir >= 0) {
		sweep(dir);
		fd = openat(dir, b->who, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	}
	if (fd >= 0) {
		memcpy(r.magic, magic, sizeof(r.magic));
		if (s3_lock_file(fd, &why) > 0 && !fstat(fd, &st)) {
			r.device = st.st_dev;
			r.inode = st.st_ino;
			if (!io_pwrite(fd, &r, sizeof(r), 0, &why)) {
				b->alive_fd = fd;
				fd = -1;
			}
		}
		if (fd >= 0) {
			(void)unlinkat(dir, b->who, 0);
			close(fd);
		}
	}
	pthread_mutex_unlock(&b->alive_lock);
}

int s3_alive_sends(struct s3_backend *b, int64_t signed_at, struct err *err)
{
	int64_t until = signed_at + S3_OLD_REQUEST_S;
	int rc = 0;

	pthread_mutex_lock(&b->alive_lock);
	if (until > b->alive_sent)
		b->alive_sent = until;
	if (until > b->alive_until)
		rc = say_until(b, until, err);
	pthread_mutex_unlock(&b->alive_lock);
	return rc;
}

void s3_alive_begins_request(struct s3_backend *b)
{
	pthread_mutex_lock(&b->alive_lock);
	b->alive_requests++;
	pthread_mutex_unlock(&b->alive_lock);
}

void s3_alive_ends_request(struct s3_backend *b, bool sure)
{
	struct err why = ERR_INIT;

	pthread_mutex_lock(&b->alive_lock);
	b->alive_requests--;
	/* A try that nobody answered may be under way long after another one was. */
	if (!sure)
		b->alive_unsure = b->alive_sent;
	if (!b->alive_requests)
		(void)say_until(b, b->alive_unsure, &why);
	pthread_mutex_unlock(&b->alive_lock);
}

bool s3_alive_is_unsure(struct s3_backend *b)
{
	bool unsure;

	pthread_mutex_lock(&b->alive_lock);
	unsure = b->alive_unsure > s3_http_now(b->http);
	pthread_mutex_unlock(&b->alive_lock);
	return unsure;
}

bool s3_alive_ended(struct s3_backend *b, const char *who)
{
	struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	char name[S3_WHO_DIGITS + 1] = "", boot[BOOT_ID + 4];
	bool ended = false;
	struct record r;
	struct stat st;
	int dir, fd = -1;

	memcpy(name, who, S3_WHO_DIGITS);
	pthread_mutex_lock(&b->alive_lock);
	dir = boot_id(boot) ? folder(b) : -1;
	if (dir >= 0)
		fd = openat(dir, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	pthread_mutex_unlock(&b->alive_lock);
	if (fd < 0)
		return false;
	/* First the lock: what is read after the owner's end is final. */
	if (!fcntl(fd, F_OFD_GETLK, &fl) && fl.l_type == F_UNLCK &&
	    pread(fd, &r, sizeof(r), 0) == (ssize_t)sizeof(r) && !fstat(fd, &st))
		ended = !memcmp(r.magic, magic, sizeof(r.magic)) &&
			!memcmp(r.boot, boot, sizeof(boot)) && r.device == st.st_dev &&
			r.inode == st.st_ino && s3_http_now(b->http) >= r.until;
	close(fd);
	return ended;
}

void s3_alive_end(struct s3_backend *b, bool leases_gone)
{
	if (b->alive_fd >= 0 && leases_gone)
		(void)unlinkat(b->alive_dir, b->who, 0);
	if (b->alive_fd >= 0)
		close(b->alive_fd);
	if (b->alive_dir >= 0)
		close(b->alive_dir);
}
