/* Shared folders of a machine that is saved: what the guest knew and had open is there when it goes on; what is not there any
 * more is stale, what could not be found again cannot be saved, and a section that lies leads nowhere. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <linux/fuse.h>

#include "libcommon/base/bytes.h"
#include "libcommon/runner/share.h"
#include "libcommon/runner/state.h"

static char dir[64];
static uint8_t request[512], reply[8192];
static struct share *share;

/* Return: the answer's error; its body is behind the header in reply */
static int ask(uint32_t opcode, uint64_t node, const void *arg, size_t len)
{
	const struct fuse_in_header h = {
		.len = (uint32_t)(sizeof(h) + len), .opcode = opcode, .nodeid = node};
	struct iovec in = {request, sizeof(h) + len}, out = {reply, sizeof(reply)};
	struct fuse_out_header o;

	memcpy(request, &h, sizeof(h));
	memcpy(request + sizeof(h), arg, len);
	assert_true(share_serve(share, &in, 1, in.iov_len, &out, 1, sizeof(reply)) > 0);
	memcpy(&o, reply, sizeof(o));
	return -o.error;
}

static uint64_t look_up(uint64_t node, const char *name)
{
	struct fuse_entry_out e;

	assert_int_equal(ask(FUSE_LOOKUP, node, name, strlen(name) + 1), 0);
	memcpy(&e, reply + sizeof(struct fuse_out_header), sizeof(e));
	return e.nodeid;
}

static uint64_t open_as(uint32_t opcode, uint64_t node, uint32_t flags)
{
	const struct fuse_open_in in = {.flags = flags};
	struct fuse_open_out o;

	assert_int_equal(ask(opcode, node, &in, sizeof(in)), 0);
	memcpy(&o, reply + sizeof(struct fuse_out_header), sizeof(o));
	return o.fh;
}

static int read_from(uint32_t opcode, uint64_t node, uint64_t fh)
{
	const struct fuse_read_in in = {.fh = fh, .size = 4000};

	return ask(opcode, node, &in, sizeof(in));
}

static void write_file(const char *name, const char *text)
{
	char path[128];
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static int start(void **state)
{
	const struct fuse_init_in in = {.major = 7, .minor = 36};
	char path[128];

	(void)state;
	(void)snprintf(dir, sizeof(dir), "/tmp/vmkit-saved.XXXXXX");
	assert_non_null(mkdtemp(dir));
	(void)snprintf(path, sizeof(path), "%s/sub", dir);
	assert_int_equal(mkdir(path, 0755), 0);
	write_file("sub/deep", "deeper");
	write_file("file", "inside");
	assert_int_equal(share_open(&share, dir, false, 64, NULL), 0);
	return ask(FUSE_INIT, 0, &in, sizeof(in));
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static int end(void **state)
{
	(void)state;
	share_close(share);
	return nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* The share is another one of the same folder. Return: is the section good? */
static bool load(const uint8_t *data, size_t len)
{
	struct state_in in = {.data = data, .len = len};

	share_close(share);
	assert_int_equal(share_open(&share, dir, false, 64, NULL), 0);
	share_load(share, &in);
	return state_done(&in, "VDEV", NULL) == 0;
}

static void it_goes_on(void **state)
{
	struct state_out o = {.data = NULL};
	uint64_t sub = look_up(FUSE_ROOT_ID, "sub"), deep = look_up(sub, "deep"),
		 file = look_up(FUSE_ROOT_ID, "file"), gone, list, fh, lost;
	const struct fuse_write_in w = {.fh = 2, .size = 1};
	uint8_t write[sizeof(w) + 1];
	char path[128];

	(void)state;
	write_file("gone", "gone");
	gone = look_up(FUSE_ROOT_ID, "gone");
	list = open_as(FUSE_OPENDIR, sub, 0);
	lost = open_as(FUSE_OPEN, gone, O_RDONLY);
	fh = open_as(FUSE_OPEN, deep, O_RDWR);
	assert_int_equal(fh, 2);
	assert_int_equal(share_can_save(share, NULL), 0);
	share_save(share, &o);
	(void)snprintf(path, sizeof(path), "%s/gone", dir);
	assert_int_equal(unlink(path), 0);
	write_file("new", "new");
	assert_true(load(o.data, o.len));
	assert_int_equal(read_from(FUSE_READ, deep, fh), 0);
	assert_memory_equal(reply + sizeof(struct fuse_out_header), "deeper", 6);
	memcpy(write, &w, sizeof(w));
	write[sizeof(w)] = 'D';
	assert_int_equal(ask(FUSE_WRITE, deep, write, sizeof(write)), 0);
	assert_int_equal(read_from(FUSE_READDIR, sub, list), 0);
	/* Known ones keep their numbers, new ones get others; what is gone is an error, and its handle's number not anybody's */
	assert_int_equal(look_up(FUSE_ROOT_ID, "file"), file);
	assert_int_equal(look_up(sub, "deep"), deep);
	assert_true(look_up(FUSE_ROOT_ID, "new") > gone);
	assert_int_equal(read_from(FUSE_READ, gone, lost), EBADF);
	assert_int_equal(ask(FUSE_GETATTR, gone, &(struct fuse_getattr_in){0},
			     sizeof(struct fuse_getattr_in)),
			 ESTALE);
	assert_int_equal(open_as(FUSE_OPEN, file, O_RDONLY), 3);
	state_out_free(&o);
}

static void removed_and_open(void **state)
{
	uint64_t file = look_up(FUSE_ROOT_ID, "file");
	struct fuse_release_in in = {.fh = open_as(FUSE_OPEN, file, O_RDONLY)};
	struct err err = ERR_INIT;
	struct state_out o = {.data = NULL};

	(void)state;
	assert_int_equal(ask(FUSE_UNLINK, FUSE_ROOT_ID, "file", 5), 0);
	assert_int_equal(share_can_save(share, &err), -1);
	assert_int_equal(err.code, ERR_UNSUPPORTED);
	assert_non_null(strstr(err.message, "file"));
	assert_int_equal(ask(FUSE_RELEASE, file, &in, sizeof(in)), 0);
	assert_int_equal(share_can_save(share, NULL), 0);
	share_save(share, &o);
	assert_true(load(o.data, o.len));
	state_out_free(&o);
}

enum { HEAD = 4 * 8, NODE_NAME = 8 * 8 };

/* Numbers and names of the section, one changed at a time */
static void lies(void **state)
{
	static const struct {
		size_t at;
		uint64_t v;
		bool good;
	} all[] = {
		{16, 1 << 20, false}, /* nodes */
		{16, 1, false},
		{24, 1000, false},	     /* handles */
		{HEAD, 1, false},	     /* a node's number: the root, */
		{HEAD, 1 << 20, false},	     /* too large, */
		{HEAD, 3, false},	     /* twice */
		{HEAD + 8, 0, false},	     /* its folder: none, */
		{HEAD + 8, 3, false},	     /* a file, */
		{HEAD + 8, 77, false},	     /* not there, */
		{HEAD + 8, 2, true},	     /* itself: it is never found */
		{HEAD + 24, S_IFREG, false}, /* its kind: what is in it has no folder */
		{HEAD + 32, 2, false},	     /* mounted: nothing is in it */
		{HEAD + 48, 1, true},	     /* another inode: stale */
		{HEAD + 56, 256, false},     /* length of its name */
		{HEAD + 56, 0, false},
	};
	struct state_out o = {.data = NULL};
	uint64_t sub = look_up(FUSE_ROOT_ID, "sub"), deep = look_up(sub, "deep");

	(void)state;
	(void)open_as(FUSE_OPEN, deep, O_RDONLY);
	share_save(share, &o);
	assert_int_equal(sub, 2);
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		uint8_t *lie = malloc(o.len);

		memcpy(lie, o.data, o.len);
		put_le64(lie + all[i].at, all[i].v);
		if (load(lie, o.len) != all[i].good)
			fail_msg("lie %zu", i);
		(void)ask(FUSE_LOOKUP, 2, "deep", 5);
		free(lie);
	}
	assert_memory_equal(o.data + HEAD + NODE_NAME, "sub", 3);
	memcpy(o.data + HEAD + NODE_NAME, "../", 3);
	assert_false(load(o.data, o.len));
	memcpy(o.data + HEAD + NODE_NAME, "..\0", 3);
	assert_false(load(o.data, o.len));
	for (size_t n = 0; n < o.len; n++)
		assert_false(load(o.data, n));
	state_out_free(&o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(it_goes_on, start, end),
		cmocka_unit_test_setup_teardown(removed_and_open, start, end),
		cmocka_unit_test_setup_teardown(lies, start, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
