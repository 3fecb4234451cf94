/* The file system of `vmbackup mount`: see mount_fuse.h.
 *
 * libfuse3 is loaded when it is needed, as libcurl is. Its low-level interface fits: a node's number is its place in the
 * tree, which never changes, so the kernel may keep whatever it was told. The loop is our own: libfuse's ends by
 * pthread_cancel(), which the store's locks would not survive.
 */
#define FUSE_USE_VERSION 35
#include "cmd/vmbackup/mount_fuse.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "cmd/vmbackup/mount_disks.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/log.h"

#define FUSE_FUNCTIONS(F)                                                                          \
	F(fuse_add_direntry)                                                                       \
	F(fuse_opt_free_args)                                                                      \
	F(fuse_reply_attr)                                                                         \
	F(fuse_reply_buf)                                                                          \
	F(fuse_reply_entry)                                                                        \
	F(fuse_reply_err)                                                                          \
	F(fuse_reply_lseek)                                                                        \
	F(fuse_reply_open)                                                                         \
	F(fuse_reply_readlink)                                                                     \
	F(fuse_req_userdata)                                                                       \
	F(fuse_session_destroy)                                                                    \
	F(fuse_session_exited)                                                                     \
	F(fuse_session_fd)                                                                         \
	F(fuse_session_mount)                                                                      \
	F(fuse_session_new)                                                                        \
	F(fuse_session_process_buf)                                                                \
	F(fuse_session_receive_buf)                                                                \
	F(fuse_session_unmount)                                                                    \
	F(fuse_set_log_func)

#define FUSE_MEMBER(name) __typeof__(name) *(name);

static struct {
	FUSE_FUNCTIONS(FUSE_MEMBER)
} lib; /* filled before there are threads */

struct mount_fs {
	const struct mount_tree *tree;
	struct mount_disks disks;
	struct fuse_session *session;
	int fd;		/* borrowed from the session */
	int stop, gone; /* eventfds: from us to the threads, and the other way */
	pthread_t threads[MOUNT_THREADS];
	unsigned n_threads;
	/* The MiB of the disk that was told last to be damaged: the kernel asks again, page by page. */
	_Atomic uint64_t told;
};

/* What never changes may be asked once: a day. */
static const double forever = 86400;

static int load(struct err *err)
{
	void *handle = dlopen("libfuse3.so.3", RTLD_NOW | RTLD_LOCAL);

	if (!handle) {
		err_set(err, ERR_UNSUPPORTED, "mount needs libfuse3.so.3, which is not here");
		return err_hint(err, "install fuse3");
	}
/* A slot is a pointer to a function, of which POSIX says that it fits a void pointer. */
#define FUSE_FIND(name)                                                                            \
	do {                                                                                       \
		void *address = dlsym(handle, #name);                                              \
                                                                                                   \
		if (!address)                                                                      \
			return err_set(err, ERR_UNSUPPORTED, "the libfuse3 here has no %s",        \
				       #name);                                                     \
		memcpy(&lib.name, &address, sizeof(address));                                      \
	} while (0);
	FUSE_FUNCTIONS(FUSE_FIND)
#undef FUSE_FIND
	return 0;
}

/* What libfuse has to say: while it mounts that is the reason why it cannot, later a warning. */
static char reason[256];
static bool mounted;

static void __attribute__((format(printf, 2, 0)))
hear(enum fuse_log_level level, const char *fmt, va_list ap)
{
	char text[sizeof(reason)];

	if (level > FUSE_LOG_WARNING || vsnprintf(text, sizeof(text), fmt, ap) < 0)
		return;
	text[strcspn(text, "\n")] = '\0';
	if (mounted)
		log_warning("%s", text);
	else
		(void)snprintf(reason, sizeof(reason), "%s", text);
}

int mount_fs_check(struct err *err)
{
	CLEANUP_CLOSE int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return err_set(err, ERR_UNSUPPORTED, "mount needs /dev/fuse: %s", strerror(errno));
	return load(err);
}

static struct mount_fs *fs_of(fuse_req_t req)
{
	return lib.fuse_req_userdata(req);
}

/* The kernel only knows numbers that it was told, and the root's. */
static const struct mount_node *node_of(fuse_req_t req, fuse_ino_t ino)
{
	const struct mount_tree *t = fs_of(req)->tree;

	return &t->nodes[ino >= 1 && ino <= t->n ? ino - 1 : 0];
}

static void fill(const struct mount_tree *t, const struct mount_node *node, struct stat *st)
{
	*st = (struct stat){
		.st_ino = (ino_t)(node - t->nodes) + 1,
		.st_mode = node->mode,
		.st_nlink = S_ISDIR(node->mode) ? 2 : 1,
		.st_uid = geteuid(),
		.st_gid = getegid(),
		.st_size = (off_t)node->size,
		.st_blocks = (blkcnt_t)((node->data_bytes + 511) / 512),
		.st_blksize = 1 << 17,
		.st_atim.tv_sec = node->mtime,
		.st_mtim.tv_sec = node->mtime,
		.st_ctim.tv_sec = node->mtime,
	};
}

static void do_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	const struct mount_tree *t = fs_of(req)->tree;
	const struct mount_node *node = mount_tree_find(t, node_of(req, parent), name);
	struct fuse_entry_param e = {.attr_timeout = forever, .entry_timeout = forever};

	if (!node) {
		(void)lib.fuse_reply_err(req, ENOENT);
		return;
	}
	fill(t, node, &e.attr);
	e.ino = e.attr.st_ino;
	(void)lib.fuse_reply_entry(req, &e);
}

static void do_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct stat st;

	(void)fi;
	fill(fs_of(req)->tree, node_of(req, ino), &st);
	(void)lib.fuse_reply_attr(req, &st, forever);
}

static void do_readlink(fuse_req_t req, fuse_ino_t ino)
{
	const char *target = node_of(req, ino)->target;

	if (target)
		(void)lib.fuse_reply_readlink(req, target);
	else
		(void)lib.fuse_reply_err(req, EINVAL);
}

static void do_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		       struct fuse_file_info *fi)
{
	const struct mount_tree *t = fs_of(req)->tree;
	const struct mount_node *dir = node_of(req, ino), *node;
	CLEANUP_FREE char *buf = malloc(size);
	size_t used = 0, n;

	(void)fi;
	if (!buf) {
		(void)lib.fuse_reply_err(req, ENOMEM);
		return;
	}
	for (uint64_t i = (uint64_t)off; i < (uint64_t)dir->n + 2; i++) {
		struct stat st;

		node = i == 0 ? dir : &t->nodes[i == 1 ? dir->parent : dir->first + i - 2];
		fill(t, node, &st);
		n = lib.fuse_add_direntry(req, buf + used, size - used,
					  i == 0   ? "."
					  : i == 1 ? ".."
						   : node->name,
					  &st, (off_t)i + 1);
		if (n > size - used)
			break;
		used += n;
	}
	(void)lib.fuse_reply_buf(req, buf, used);
}

static void do_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	if ((fi->flags & O_ACCMODE) != O_RDONLY) {
		(void)lib.fuse_reply_err(req, EROFS); /* somebody mounted it anew for writing */
		return;
	}
	fi->keep_cache = 1;
	(void)lib.fuse_reply_open(req, fi);
}

/* The reader gets a number; the sentence goes where the user looks. */
static int failed(struct mount_fs *fs, const struct mount_node *node, off_t off,
		  const struct err *err)
{
	uint64_t place = (uint64_t)(node - fs->tree->nodes) << 32 | (uint64_t)off >> 20;
	char id[9];

	if (atomic_exchange(&fs->told, place) != place)
		log_warning("%s@%s:%s: %s", node->snap->vm, snapshot_short_id(&node->snap->id, id),
			    node->disk->name, err->message);
	return err->code == ERR_NO_MEMORY ? ENOMEM : EIO;
}

static void do_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	const struct mount_node *node = node_of(req, ino);
	struct mount_fs *fs = fs_of(req);
	CLEANUP_FREE char *buf = NULL;
	struct err err = ERR_INIT;
	struct mount_slot *slot;
	int rc = 0;

	(void)fi;
	if (off < 0 || (uint64_t)off >= node->size)
		size = 0;
	else if (size > node->size - (uint64_t)off)
		size = (size_t)(node->size - (uint64_t)off);
	if (size) {
		buf = malloc(size);
		rc = buf ? mount_disks_get(&fs->disks, node, &slot, &err) : err_nomem(&err);
		if (rc == 0) {
			rc = image_read(slot->image, buf, (uint64_t)off, size, &err);
			mount_disks_put(&fs->disks, slot);
		}
	}
	if (rc < 0)
		(void)lib.fuse_reply_err(req, failed(fs, node, off, &err));
	else
		(void)lib.fuse_reply_buf(req, buf, size);
}

/* The first byte at or behind @off that is data or is not; the size when there is none. */
static int seek(struct image *img, bool data, uint64_t off, uint64_t size, uint64_t *ret,
		struct err *err)
{
	struct extent e;

	for (; off < size; off += e.len) {
		if (image_extent(img, off, size - off, &e, err) < 0)
			return -1;
		if ((e.kind == EXTENT_DATA) == data)
			break;
	}
	*ret = off;
	return 0;
}

static void do_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence,
		     struct fuse_file_info *fi)
{
	const struct mount_node *node = node_of(req, ino);
	struct mount_fs *fs = fs_of(req);
	struct err err = ERR_INIT;
	struct mount_slot *slot;
	uint64_t at = 0;
	int rc;

	(void)fi;
	if (whence != SEEK_DATA && whence != SEEK_HOLE) {
		(void)lib.fuse_reply_err(req, EINVAL);
		return;
	}
	if (off < 0 || (uint64_t)off >= node->size) {
		(void)lib.fuse_reply_err(req, ENXIO);
		return;
	}
	rc = mount_disks_get(&fs->disks, node, &slot, &err);
	if (rc == 0) {
		rc = seek(slot->image, whence == SEEK_DATA, (uint64_t)off, node->size, &at, &err);
		mount_disks_put(&fs->disks, slot);
	}
	if (rc < 0)
		(void)lib.fuse_reply_err(req, failed(fs, node, off, &err));
	else if (whence == SEEK_DATA && at == node->size)
		(void)lib.fuse_reply_err(req, ENXIO);
	else
		(void)lib.fuse_reply_lseek(req, (off_t)at);
}

static const struct fuse_lowlevel_ops ops = {
	.lookup = do_lookup,
	.getattr = do_getattr,
	.readlink = do_readlink,
	.readdir = do_readdir,
	.open = do_open,
	.read = do_read,
	.lseek = do_lseek,
};

static void ring(int fd)
{
	const uint64_t one = 1;

	if (write(fd, &one, sizeof(one)) < 0) {
		/* The counter is full: it was rung already. */
	}
}

static void *serve(void *arg)
{
	struct mount_fs *fs = arg;
	struct pollfd fds[] = {{.fd = fs->fd, .events = POLLIN},
			       {.fd = fs->stop, .events = POLLIN}};
	struct fuse_buf buf = {0};

	while (!lib.fuse_session_exited(fs->session)) {
		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			break;
		if (fds[1].revents)
			break;

		int n = lib.fuse_session_receive_buf(fs->session, &buf);

		if (n > 0)
			lib.fuse_session_process_buf(fs->session, &buf);
		else if (n < 0 && n != -EAGAIN && n != -EINTR)
			break;
	}
	if (!fds[1].revents)
		ring(fs->gone);
	free(buf.mem);
	return NULL;
}

static int start_threads(struct mount_fs *fs, struct err *err)
{
	sigset_t all, old;

	(void)sigfillset(&all); /* signals are the main thread's */
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	for (; fs->n_threads < MOUNT_THREADS; fs->n_threads++) {
		int rc = pthread_create(&fs->threads[fs->n_threads], NULL, serve, fs);

		if (rc) {
			errno = rc;
			break;
		}
	}
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	return fs->n_threads ? 0 : err_sys(err, "cannot start a thread");
}

static int mount_at(struct mount_fs *fs, const char *dir, struct err *err)
{
	char name[] = "vmbackup", flag[] = "-o",
	     text[] = "ro,nosuid,nodev,default_permissions,"
		      "fsname=vmbackup,subtype=vmbackup";
	char *argv[] = {name, flag, text, NULL};
	struct fuse_args args = {.argc = 3, .argv = argv};

	lib.fuse_set_log_func(hear);
	fs->session = lib.fuse_session_new(&args, &ops, sizeof(ops), fs);
	lib.fuse_opt_free_args(&args);
	if (!fs->session || lib.fuse_session_mount(fs->session, dir) < 0) {
		err_set(err, ERR_UNSUPPORTED, "cannot mount: %s",
			*reason ? reason : "libfuse does not say why");
		return err_object(err, dir);
	}
	mounted = true;
	fs->fd = lib.fuse_session_fd(fs->session);
	/* All threads wake up when there is a request, and one gets it. */
	if (fcntl(fs->fd, F_SETFL, fcntl(fs->fd, F_GETFL) | O_NONBLOCK) < 0)
		return err_sys(err, "cannot prepare /dev/fuse");
	return 0;
}

int mount_fs_start(struct mount_fs **ret, struct repo *repo, const struct mount_tree *tree,
		   const char *dir, struct err *err)
{
	struct mount_fs *fs = calloc(1, sizeof(*fs));

	if (!fs)
		return err_nomem(err);
	fs->tree = tree;
	mount_disks_init(&fs->disks, repo);
	fs->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	fs->gone = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fs->stop < 0 || fs->gone < 0)
		err_sys(err, "cannot make an event counter");
	else if (mount_at(fs, dir, err) == 0 && start_threads(fs, err) == 0) {
		*ret = fs;
		return 0;
	}
	mount_fs_stop(fs);
	return -1;
}

int mount_fs_gone(const struct mount_fs *fs)
{
	return fs->gone;
}

void mount_fs_stop(struct mount_fs *fs)
{
	if (fs->stop >= 0)
		ring(fs->stop);
	for (unsigned i = 0; i < fs->n_threads; i++)
		(void)pthread_join(fs->threads[i], NULL);
	if (fs->session) {
		if (mounted)
			lib.fuse_session_unmount(fs->session);
		lib.fuse_session_destroy(fs->session);
	}
	mount_disks_close(&fs->disks);
	if (fs->stop >= 0)
		(void)close(fs->stop);
	if (fs->gone >= 0)
		(void)close(fs->gone);
	free(fs);
}
