/* The server of shared folders against a kernel that lies: names that lead out, requests that are cut off, numbers of nodes and
 * files that are none, a share that is only to be read. Also what an honest kernel gets. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cmocka.h>
#include <linux/fuse.h>

#include "libcommon/runner/share.h"

struct guest {
	struct share *share;
	char dir[64], path[128]; /* of the test; what is shared below it */
	uint64_t unique;
	uint8_t in[4096], out[SHARE_IO_MAX];
	int64_t body; /* bytes of the last answer, without its header */
};

static const uint8_t *body(const struct guest *g)
{
	return g->out + sizeof(struct fuse_out_header);
}

/* One request of @len bytes at @arg; Return: the answer's error */
static int ask(struct guest *g, uint32_t opcode, uint64_t node, const void *arg, size_t len)
{
	struct fuse_in_header h = {.len = (uint32_t)(sizeof(h) + len),
				   .opcode = opcode,
				   .unique = ++g->unique,
				   .nodeid = node};
	struct iovec in[3], out[2] = {{g->out, 7}, {g->out + 7, sizeof(g->out) - 7}};
	struct fuse_out_header o;
	int64_t n;

	memcpy(g->in, &h, sizeof(h));
	memcpy(g->in + sizeof(h), arg ? arg : "", len);
	/* Cut anywhere: no driver need know where structures end */
	in[0] = (struct iovec){g->in, 13};
	in[1] = (struct iovec){g->in + 13, 30};
	in[2] = (struct iovec){g->in + 43, sizeof(g->in) - 43};
	n = share_serve(g->share, in, 3, sizeof(h) + len, out, 2, sizeof(g->out));
	assert_true(n >= (int64_t)sizeof(o));
	memcpy(&o, g->out, sizeof(o));
	assert_int_equal(o.len, n);
	assert_int_equal(o.unique, g->unique);
	g->body = n - (int64_t)sizeof(o);
	return -o.error;
}

static int ask_name(struct guest *g, uint32_t opcode, uint64_t node, const char *name)
{
	return ask(g, opcode, node, name, strlen(name) + 1);
}

/* A structure and a name behind it */
static int ask_both(struct guest *g, uint32_t opcode, uint64_t node, const void *arg, size_t len,
		    const char *name)
{
	uint8_t buf[2048];

	memcpy(buf, arg, len);
	memcpy(buf + len, name, strlen(name) + 1);
	return ask(g, opcode, node, buf, len + strlen(name) + 1);
}

static uint64_t found(const struct guest *g)
{
	struct fuse_entry_out e;

	assert_true(g->body >= (int64_t)sizeof(e));
	memcpy(&e, body(g), sizeof(e));
	return e.nodeid;
}

static uint64_t look_up(struct guest *g, uint64_t node, const char *name)
{
	assert_int_equal(ask_name(g, FUSE_LOOKUP, node, name), 0);
	return found(g);
}

static void init(struct guest *g)
{
	const struct fuse_init_in in = {.major = 7, .minor = 36, .flags = FUSE_MAX_PAGES};
	struct fuse_init_out o;

	assert_int_equal(ask(g, FUSE_INIT, 0, &in, sizeof(in)), 0);
	memcpy(&o, body(g), sizeof(o));
	assert_int_equal(o.major, 7);
	assert_int_equal(o.max_write, SHARE_IO_MAX);
}

static void write_file(const char *dir, const char *name, const char *text)
{
	char path[256];
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static struct guest *start(bool read_only, unsigned fds)
{
	struct guest *g = calloc(1, sizeof(*g));
	char path[256];

	assert_non_null(g);
	(void)snprintf(g->dir, sizeof(g->dir), "/tmp/vmkit-share.XXXXXX");
	assert_non_null(mkdtemp(g->dir));
	(void)snprintf(g->path, sizeof(g->path), "%s/shared", g->dir);
	assert_int_equal(mkdir(g->path, 0755), 0);
	write_file(g->dir, "secret", "outside");
	write_file(g->path, "file", "inside");
	(void)snprintf(path, sizeof(path), "%s/sub", g->path);
	assert_int_equal(mkdir(path, 0755), 0);
	write_file(path, "deep", "deeper");
	(void)snprintf(path, sizeof(path), "%s/out", g->path);
	assert_int_equal(symlink("../secret", path), 0);
	assert_int_equal(share_open(&g->share, g->path, read_only, fds, NULL), 0);
	init(g);
	return g;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static void end(struct guest *g)
{
	share_close(g->share);
	(void)nftw(g->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(g);
}

static int host_stat(const struct guest *g, const char *name, struct stat *st)
{
	char path[256];

	(void)snprintf(path, sizeof(path), "%s/%s", g->path, name);
	return lstat(path, st);
}

/* ---- */

static void names_that_lead_out(void **state)
{
	static const char *const names[] = {
		"..", ".", "", "/etc/passwd", "sub/deep", "../secret", "sub/..", "file/", "/"};
	const struct fuse_mkdir_in dir = {.mode = 0755};
	const struct fuse_create_in create = {.flags = O_WRONLY, .mode = S_IFREG | 0644};
	const struct fuse_rename_in to = {.newdir = FUSE_ROOT_ID};
	struct guest *g = start(false, 64);
	uint64_t sub = look_up(g, FUSE_ROOT_ID, "sub"), link;

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char both[64];
		int n;

		assert_int_equal(ask_name(g, FUSE_LOOKUP, sub, names[i]), EINVAL);
		assert_int_equal(ask_name(g, FUSE_UNLINK, sub, names[i]), EINVAL);
		assert_int_equal(ask_name(g, FUSE_RMDIR, sub, names[i]), EINVAL);
		assert_int_equal(ask_both(g, FUSE_MKDIR, sub, &dir, sizeof(dir), names[i]), EINVAL);
		assert_int_equal(ask_both(g, FUSE_CREATE, sub, &create, sizeof(create), names[i]),
				 EINVAL);
		assert_int_equal(ask_both(g, FUSE_LINK, sub, &sub, sizeof(sub), names[i]), EINVAL);
		memcpy(both, &to, sizeof(to));
		n = snprintf(both + sizeof(to), sizeof(both) - sizeof(to), "deep%c%s", 0, names[i]);
		assert_int_equal(ask(g, FUSE_RENAME, sub, both, sizeof(to) + (size_t)n + 1),
				 EINVAL);
	}
	/* A link is text, and nothing that could be opened or gone through */
	link = look_up(g, FUSE_ROOT_ID, "out");
	assert_int_equal(ask(g, FUSE_READLINK, link, NULL, 0), 0);
	assert_int_equal(g->body, 9);
	assert_memory_equal(body(g), "../secret", 9);
	assert_int_equal(
		ask(g, FUSE_OPEN, link, &(struct fuse_open_in){0}, sizeof(struct fuse_open_in)),
		EACCES);
	assert_int_equal(ask_name(g, FUSE_LOOKUP, link, "secret"), ENOTDIR);
	assert_int_equal(ask_both(g, FUSE_CREATE, FUSE_ROOT_ID, &create, sizeof(create), "out"),
			 EACCES);
	end(g);
}

static void files(void **state)
{
	struct fuse_create_in create = {.flags = O_RDWR, .mode = S_IFREG | 0666};
	struct guest *g = start(false, 64);
	struct fuse_write_in w = {.size = 5, .offset = 3};
	struct fuse_read_in r = {.size = 100};
	struct fuse_open_out o;
	struct stat st;
	uint64_t node;
	uint8_t buf[sizeof(w) + 5];

	(void)state;
	assert_int_equal(ask_both(g, FUSE_CREATE, FUSE_ROOT_ID, &create, sizeof(create), "new"), 0);
	node = found(g);
	memcpy(&o, body(g) + sizeof(struct fuse_entry_out), sizeof(o));
	assert_int_equal(host_stat(g, "new", &st), 0);
	assert_int_equal(st.st_mode & 07777, 0666); /* whatever our umask is */
	w.fh = o.fh;
	memcpy(buf, &w, sizeof(w));
	memcpy(buf + sizeof(w), "hello", 5);
	assert_int_equal(ask(g, FUSE_WRITE, node, buf, sizeof(buf)), 0);
	r.fh = o.fh;
	assert_int_equal(ask(g, FUSE_READ, node, &r, sizeof(r)), 0);
	assert_int_equal(g->body, 8);
	assert_memory_equal(body(g), "\0\0\0hello", 8);
	/* More bytes than were brought, more than there is room for, beyond all files */
	w.size = 6;
	memcpy(buf, &w, sizeof(w));
	assert_int_equal(ask(g, FUSE_WRITE, node, buf, sizeof(buf)), EINVAL);
	w.size = UINT32_MAX;
	memcpy(buf, &w, sizeof(w));
	assert_int_equal(ask(g, FUSE_WRITE, node, buf, sizeof(buf)), EINVAL);
	r.size = SHARE_IO_MAX;
	assert_int_equal(ask(g, FUSE_READ, node, &r, sizeof(r)), EINVAL);
	r.size = 1;
	r.offset = UINT64_MAX;
	assert_int_equal(ask(g, FUSE_READ, node, &r, sizeof(r)), EINVAL);
	/* What is open is of one node, and of one kind */
	r.offset = 0;
	assert_int_equal(ask(g, FUSE_READ, FUSE_ROOT_ID, &r, sizeof(r)), EBADF);
	assert_int_equal(ask(g, FUSE_READDIR, node, &r, sizeof(r)), EBADF);
	r.fh = 77;
	assert_int_equal(ask(g, FUSE_READ, node, &r, sizeof(r)), EBADF);
	/* Removed while it is open and known */
	assert_int_equal(ask_name(g, FUSE_UNLINK, FUSE_ROOT_ID, "new"), 0);
	assert_int_equal(ask(g, FUSE_GETATTR, node, &(struct fuse_getattr_in){0},
			     sizeof(struct fuse_getattr_in)),
			 0);
	r.fh = o.fh;
	assert_int_equal(ask(g, FUSE_READ, node, &r, sizeof(r)), 0);
	assert_int_equal(ask(g, FUSE_RELEASE, node, &(struct fuse_release_in){.fh = o.fh},
			     sizeof(struct fuse_release_in)),
			 0);
	assert_int_equal(ask(g, FUSE_READ, node, &r, sizeof(r)), EBADF);
	end(g);
}

/* Each request, each length below its own: an error, and nothing is read that is not there */
static void cut_off(void **state)
{
	struct guest *g = start(false, 64);

	(void)state;
	for (uint32_t op = 0; op < 60; op++) {
		if (op == FUSE_DESTROY || op == FUSE_INIT)
			continue;
		for (size_t len = 0; len < 150; len++) {
			uint8_t *exact = calloc(1, len + 1);

			memset(exact, 0xff, len);
			(void)ask(g, op, FUSE_ROOT_ID, exact, len);
			(void)ask(g, op, 12345678901, exact, len);
			free(exact);
		}
	}
	assert_int_equal(ask_name(g, FUSE_LOOKUP, FUSE_ROOT_ID, "file"), 0);
	/* A name without an end */
	assert_int_equal(ask(g, FUSE_LOOKUP, FUSE_ROOT_ID, "file", 4), EINVAL);
	assert_int_equal(ask(g, 4096, FUSE_ROOT_ID, NULL, 0), ENOSYS);
	end(g);
}

static void headers_that_lie(void **state)
{
	struct guest *g = start(false, 64);
	struct fuse_in_header h = {.len = sizeof(h), .opcode = FUSE_STATFS, .nodeid = 1};
	struct iovec in = {&h, sizeof(h)}, out = {g->out, sizeof(g->out)};

	(void)state;
	h.len = sizeof(h) + 1;
	assert_int_equal(share_serve(g->share, &in, 1, sizeof(h), &out, 1, sizeof(g->out)),
			 SHARE_BAD);
	h.len = sizeof(h) - 1;
	in = (struct iovec){&h, sizeof(h)};
	out = (struct iovec){g->out, sizeof(g->out)};
	assert_int_equal(share_serve(g->share, &in, 1, sizeof(h), &out, 1, sizeof(g->out)),
			 SHARE_BAD);
	h.len = sizeof(h);
	in = (struct iovec){&h, sizeof(h) - 1};
	out = (struct iovec){g->out, sizeof(g->out)};
	assert_int_equal(share_serve(g->share, &in, 1, sizeof(h) - 1, &out, 1, sizeof(g->out)),
			 SHARE_BAD);
	/* No room for an answer's header, or for its body */
	in = (struct iovec){&h, sizeof(h)};
	out = (struct iovec){g->out, 15};
	assert_int_equal(share_serve(g->share, &in, 1, sizeof(h), &out, 1, 15), SHARE_BAD);
	in = (struct iovec){&h, sizeof(h)};
	out = (struct iovec){g->out, 20};
	assert_int_equal(share_serve(g->share, &in, 1, sizeof(h), &out, 1, 20), 16);
	assert_int_equal(((struct fuse_out_header *)(void *)g->out)->error, -EIO);
	/* No answer is wanted */
	in = (struct iovec){&h, sizeof(h)};
	assert_int_equal(share_serve(g->share, &in, 1, sizeof(h), NULL, 0, 0), 0);
	end(g);
}

static void read_only(void **state)
{
	const struct fuse_create_in create = {.flags = O_WRONLY, .mode = S_IFREG | 0644};
	struct guest *g = start(true, 64);
	uint64_t file = look_up(g, FUSE_ROOT_ID, "file");
	struct stat st;

	(void)state;
	assert_int_equal(ask_both(g, FUSE_CREATE, FUSE_ROOT_ID, &create, sizeof(create), "new"),
			 EROFS);
	assert_int_equal(ask_name(g, FUSE_UNLINK, FUSE_ROOT_ID, "file"), EROFS);
	for (uint32_t flags = 1; flags < 4; flags++)
		assert_int_equal(ask(g, FUSE_OPEN, file, &(struct fuse_open_in){.flags = flags},
				     sizeof(struct fuse_open_in)),
				 EROFS);
	assert_int_equal(ask(g, FUSE_OPEN, file, &(struct fuse_open_in){.flags = O_TRUNC},
			     sizeof(struct fuse_open_in)),
			 0);
	assert_int_equal(ask(g, FUSE_SETATTR, file, &(struct fuse_setattr_in){.valid = FATTR_SIZE},
			     sizeof(struct fuse_setattr_in)),
			 EROFS);
	assert_int_equal(host_stat(g, "file", &st), 0);
	assert_int_equal(st.st_size, 6);
	end(g);
}

static void no_devices_no_privileges(void **state)
{
	struct fuse_mknod_in node = {.mode = S_IFCHR | 0666, .rdev = 0x103};
	struct guest *g = start(false, 64);
	uint64_t file = look_up(g, FUSE_ROOT_ID, "file");
	struct fuse_setattr_in set = {.valid = FATTR_MODE, .mode = 04755};
	struct stat st;
	char path[256];

	(void)state;
	assert_int_equal(ask_both(g, FUSE_MKNOD, FUSE_ROOT_ID, &node, sizeof(node), "null"), EPERM);
	node.mode = S_IFBLK | 0666;
	assert_int_equal(ask_both(g, FUSE_MKNOD, FUSE_ROOT_ID, &node, sizeof(node), "null"), EPERM);
	node.mode = S_IFIFO | 0640;
	assert_int_equal(ask_both(g, FUSE_MKNOD, FUSE_ROOT_ID, &node, sizeof(node), "pipe"), 0);
	/* It would wait for a writer on the host */
	assert_int_equal(
		ask(g, FUSE_OPEN, found(g), &(struct fuse_open_in){0}, sizeof(struct fuse_open_in)),
		EACCES);
	assert_int_equal(ask(g, FUSE_SETATTR, file, &set, sizeof(set)), EPERM);
	set = (struct fuse_setattr_in){.valid = FATTR_UID, .uid = 12345};
	assert_int_equal(ask(g, FUSE_SETATTR, file, &set, sizeof(set)), EPERM);
	set = (struct fuse_setattr_in){.valid = FATTR_UID | FATTR_GID};
	assert_int_equal(ask(g, FUSE_SETATTR, file, &set, sizeof(set)), 0);
	set = (struct fuse_setattr_in){.valid = FATTR_MODE | FATTR_SIZE, .mode = 0600, .size = 2};
	assert_int_equal(ask(g, FUSE_SETATTR, file, &set, sizeof(set)), 0);
	assert_int_equal(host_stat(g, "file", &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(st.st_size, 2);
	if (getuid() == 0) {
		(void)snprintf(path, sizeof(path), "%s/device", g->path);
		if (mknod(path, S_IFCHR | 0666, makedev(1, 3)) == 0)
			assert_int_equal(ask(g, FUSE_OPEN, look_up(g, FUSE_ROOT_ID, "device"),
					     &(struct fuse_open_in){0},
					     sizeof(struct fuse_open_in)),
					 EACCES);
	}
	end(g);
}

/* More files than descriptors: what was closed is found again, what was replaced meanwhile is not taken for it */
static void more_than_descriptors(void **state)
{
	enum { FILES = 300 };
	struct guest *g = start(false, SHARE_FDS_MIN);
	uint64_t node[FILES], sub = look_up(g, FUSE_ROOT_ID, "sub");
	const struct fuse_getattr_in attr = {0};
	struct fuse_rename_in to = {.newdir = FUSE_ROOT_ID};
	char path[256], name[32];
	struct stat st;

	(void)state;
	(void)snprintf(path, sizeof(path), "%s/sub", g->path);
	for (int i = 0; i < FILES; i++) {
		(void)snprintf(name, sizeof(name), "%d", i);
		write_file(path, name, name);
		node[i] = look_up(g, sub, name);
	}
	for (int i = 0; i < FILES; i++)
		assert_int_equal(ask(g, FUSE_GETATTR, node[i], &attr, sizeof(attr)), 0);
	/* Their folder moves, by the guest's hand */
	assert_int_equal(ask_both(g, FUSE_RENAME, FUSE_ROOT_ID, &to, sizeof(to), "sub"), EINVAL);
	{
		char both[64];

		memcpy(both, &to, sizeof(to));
		memcpy(both + sizeof(to), "sub\0moved", 10);
		assert_int_equal(ask(g, FUSE_RENAME, FUSE_ROOT_ID, both, sizeof(to) + 10), 0);
	}
	for (int i = 0; i < FILES; i++) {
		assert_int_equal(ask(g, FUSE_GETATTR, node[i], &attr, sizeof(attr)), 0);
		(void)snprintf(name, sizeof(name), "moved/%d", i);
		assert_int_equal(host_stat(g, name, &st), 0);
		assert_int_equal(((const struct fuse_attr_out *)(const void *)body(g))->attr.ino,
				 st.st_ino);
	}
	/* Node 0 has lost its descriptor by now, and its name leads to another file */
	(void)snprintf(path, sizeof(path), "%s/moved", g->path);
	write_file(path, "other", "other");
	(void)snprintf(path, sizeof(path), "%s/moved/other", g->path);
	(void)snprintf(name, sizeof(name), "%s", "/moved/0");
	{
		char over[256];

		(void)snprintf(over, sizeof(over), "%s/moved/0", g->path);
		assert_int_equal(rename(path, over), 0);
	}
	assert_int_equal(ask(g, FUSE_GETATTR, node[0], &attr, sizeof(attr)), ESTALE);
	/* ... or out of the share: a folder that was replaced by a link is none */
	(void)snprintf(path, sizeof(path), "%s/moved", g->path);
	(void)snprintf(name, sizeof(name), "%s", "x");
	{
		char away[256];

		(void)snprintf(away, sizeof(away), "%s/away", g->dir);
		assert_int_equal(rename(path, away), 0);
		assert_int_equal(symlink(away, path), 0);
	}
	init(g); /* nothing is known from before */
	assert_int_equal(ask(g, FUSE_GETATTR, node[1], &attr, sizeof(attr)), ESTALE);
	assert_int_equal(ask_name(g, FUSE_LOOKUP, look_up(g, FUSE_ROOT_ID, "moved"), "1"), ENOTDIR);
	end(g);
}

static void forgetting(void **state)
{
	struct guest *g = start(false, 64);
	struct fuse_forget_in forget = {.nlookup = UINT64_MAX};
	struct {
		struct fuse_batch_forget_in in;
		struct fuse_forget_one one[2];
	} batch = {.in = {.count = 3}};
	const struct fuse_getattr_in attr = {0};
	uint64_t sub = look_up(g, FUSE_ROOT_ID, "sub"), deep = look_up(g, sub, "deep");

	(void)state;
	/* The folder is kept for the file in it */
	(void)ask(g, FUSE_FORGET, sub, &forget, sizeof(forget));
	assert_int_equal(ask(g, FUSE_GETATTR, deep, &attr, sizeof(attr)), 0);
	(void)ask(g, FUSE_FORGET, deep, &forget, sizeof(forget));
	assert_int_equal(ask(g, FUSE_GETATTR, deep, &attr, sizeof(attr)), ESTALE);
	assert_int_equal(ask(g, FUSE_GETATTR, sub, &attr, sizeof(attr)), ESTALE);
	(void)ask(g, FUSE_FORGET, FUSE_ROOT_ID, &forget, sizeof(forget));
	assert_int_equal(ask(g, FUSE_GETATTR, FUSE_ROOT_ID, &attr, sizeof(attr)), 0);
	assert_int_equal(ask(g, FUSE_BATCH_FORGET, 0, &batch, sizeof(batch)), EINVAL);
	sub = look_up(g, FUSE_ROOT_ID, "sub");
	batch.in.count = 2;
	batch.one[0] = (struct fuse_forget_one){sub, 1};
	batch.one[1] = (struct fuse_forget_one){sub, 1};
	assert_int_equal(ask(g, FUSE_BATCH_FORGET, 0, &batch, sizeof(batch)), 0);
	assert_int_equal(ask(g, FUSE_GETATTR, sub, &attr, sizeof(attr)), ESTALE);
	end(g);
}

/* What is mounted below the share is an empty folder */
static void mounts(void **state)
{
	const struct fuse_mkdir_in dir = {.mode = 0755};
	struct guest *g;
	char path[256];
	uint64_t sub;

	(void)state;
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		skip();
	g = start(false, 64);
	(void)snprintf(path, sizeof(path), "%s/sub", g->path);
	assert_int_equal(mount("proc", path, "proc", 0, NULL), 0);
	sub = look_up(g, FUSE_ROOT_ID, "sub");
	assert_int_equal(ask_name(g, FUSE_LOOKUP, sub, "self"), ENOENT);
	assert_int_equal(ask_name(g, FUSE_LOOKUP, sub, "version"), ENOENT);
	assert_int_equal(ask_both(g, FUSE_MKDIR, sub, &dir, sizeof(dir), "x"), EACCES);
	assert_int_equal(
		ask(g, FUSE_OPENDIR, sub, &(struct fuse_open_in){0}, sizeof(struct fuse_open_in)),
		0);
	{
		struct fuse_read_in in = {.size = 4096};

		in.fh = ((const struct fuse_open_out *)(const void *)body(g))->fh;
		assert_int_equal(ask(g, FUSE_READDIR, sub, &in, sizeof(in)), 0);
		assert_int_equal(g->body, 0);
	}
	assert_int_equal(umount2(path, MNT_DETACH), 0);
	end(g);
}

static void roots_that_are_none(void **state)
{
	struct share *s;
	struct err err = ERR_INIT;

	(void)state;
	assert_int_equal(share_open(&s, "/proc", true, 64, &err), -1);
	assert_int_equal(err.code, ERR_USAGE);
	assert_int_equal(share_open(&s, "/dev/null", true, 64, &err), -1);
	assert_int_equal(err.code, ERR_USAGE);
	assert_int_equal(share_open(&s, "/nothing/here", true, 64, &err), -1);
	assert_int_equal(err.code, ERR_NOT_FOUND);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_that_lead_out),
		cmocka_unit_test(files),
		cmocka_unit_test(cut_off),
		cmocka_unit_test(headers_that_lie),
		cmocka_unit_test(read_only),
		cmocka_unit_test(no_devices_no_privileges),
		cmocka_unit_test(more_than_descriptors),
		cmocka_unit_test(forgetting),
		cmocka_unit_test(mounts),
		cmocka_unit_test(roots_that_are_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
