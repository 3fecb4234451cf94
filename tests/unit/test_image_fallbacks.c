/* What the kernel or file system refuses: openat2, fallocate, O_TMPFILE; forced by a seccomp filter in a child. */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "libcommon/image/format.h"
#include "libcommon/image/image.h"
#include "libcommon/image/protocol.h"

static char dir[] = "/tmp/vmkit-fallback-XXXXXX";

/* @flags: only when the third argument has one of these bits; 0: always */
static bool refuse_syscall(long number, unsigned flags, int error)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)number, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
		BPF_JUMP(BPF_JMP | (flags ? BPF_JSET : BPF_JGE) | BPF_K, flags, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof(code) / sizeof(code[0]), code};

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

enum { NO_FILTER = 77 };

static int in_child(int (*fn)(void), long number, unsigned flags, int error)
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(refuse_syscall(number, flags, error) ? fn() : NO_FILTER);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == NO_FILTER)
		skip();
	return WEXITSTATUS(status);
}

/* A name in an image's header, through image_open_named() on a raw image that stands for any. */
static int open_named(const char *name)
{
	struct image_open_opts opts = {.format = "raw"};
	struct err err = ERR_INIT;
	struct image *img;
	struct bfile *f;
	char path[64];
	int code = ERR_NONE;

	(void)snprintf(path, sizeof(path), "%s/in/image", dir);
	if (image_open(&img, path, &opts, &err) < 0)
		return 100;
	if (image_open_named(img, &opts, name, false, &f, &err) == 0)
		bfile_close(f);
	else
		code = (int)err.code;
	image_close(img);
	return code;
}

static int open_names(void)
{
	if (open_named("other") != ERR_NONE)
		return 1;
	if (open_named("../outside") != ERR_DENIED || open_named("link") != ERR_DENIED)
		return 2;
	if (open_named("inner") != ERR_NONE) /* a link that stays inside */
		return 3;
	if (open_named("folder") != ERR_DENIED || open_named("missing") != ERR_NOT_FOUND)
		return 4;
	return open_named("image") == ERR_CORRUPT ? 0 : 5; /* itself */
}

static void test_openat2(void **state)
{
	(void)state;
	assert_int_equal(open_names(), 0);
	assert_int_equal(in_child(open_names, SYS_openat2, 0, ENOSYS), 0);
}

static int zero_some(void)
{
	struct err err = ERR_INIT;
	struct bfile *f;
	char path[64], buf[9000];

	(void)snprintf(path, sizeof(path), "%s/zeros", dir);
	(void)unlink(path);

	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0 || bfile_of_fd(&f, fd, path, true, &err) < 0)
		return 1;
	memset(buf, 0x77, sizeof(buf));
	for (int unmap = 0; unmap < 2; unmap++) {
		if (bfile_pwrite(f, buf, sizeof(buf), 0, &err) < 0 ||
		    bfile_zero(f, 1, 4095, unmap, &err) < 0 ||
		    bfile_zero(f, 8999, 700000, unmap, &err) < 0 ||
		    bfile_discard(f, 100000, 4096, &err) < 0)
			return 2;
		if (bfile_size(f) != 708999)
			return 3;

		char got[9100];

		if (bfile_pread(f, got, sizeof(got), 0, &err) < 0 || got[0] != 0x77 ||
		    got[1] != 0 || got[4095] != 0 || got[4096] != 0x77 || got[8998] != 0x77 ||
		    got[8999] != 0 || bfile_truncate(f, 0, &err) < 0)
			return 4;
	}
	bfile_close(f);
	return 0;
}

static void test_fallocate(void **state)
{
	(void)state;
	assert_int_equal(zero_some(), 0);
	assert_int_equal(in_child(zero_some, SYS_fallocate, 0, EOPNOTSUPP), 0);
}

static int map_holes(void)
{
	struct image_open_opts opts = {.format = "raw"};
	struct err err = ERR_INIT;
	struct image *img;
	struct extent e;
	char path[64];

	(void)snprintf(path, sizeof(path), "%s/in/image", dir);
	if (image_open(&img, path, &opts, &err) < 0 || image_extent(img, 0, 65536, &e, &err) < 0)
		return 1;

	int r = e.kind == EXTENT_DATA && e.len == 65536 ? 0 : 2;

	image_close(img);
	return r;
}

static void test_no_seek_hole(void **state)
{
	(void)state;
	assert_int_equal(map_holes(), 2); /* a hole, where they are known */
	assert_int_equal(in_child(map_holes, SYS_lseek, 0, EINVAL), 0);
}

static int spool_qcow2(void)
{
	static uint8_t head[104] = {'Q', 'F', 'I', 0xfb,
				    0,	 0,   0,   9}; /* version 9: found, then refused */
	struct err err = ERR_INIT;
	struct image *img;
	int p[2];

	setenv("TMPDIR", dir, 1);
	if (pipe(p) < 0 || write(p[1], head, sizeof(head)) < 0 || dup2(p[0], STDIN_FILENO) < 0)
		return 1;
	close(p[1]);
	if (image_open(&img, "-", NULL, &err) == 0)
		return 2;
	return err.code == ERR_UNSUPPORTED ? 0 : 3;
}

static void test_spool(void **state)
{
	char command[96];

	(void)state;
	assert_int_equal(in_child(spool_qcow2, SYS_openat2, 0, ENOSYS), 0);
	assert_int_equal(in_child(spool_qcow2, SYS_openat, O_TMPFILE & ~O_DIRECTORY, EOPNOTSUPP),
			 0);
	(void)snprintf(command, sizeof(command),
		       "test -z \"$(find %s/ -mindepth 1 -name 'vmkit-*')\"", dir);
	assert_int_equal(system(command), 0);
}

static int setup(void **state)
{
	char command[512];

	(void)state;
	if (!mkdtemp(dir))
		return -1;
	(void)snprintf(
		command, sizeof(command),
		"cd %s && mkdir -p in/folder && truncate -s 64k in/image in/other outside && "
		"ln -s ../outside in/link && ln -s other in/inner",
		dir);
	return system(command);
}

static int teardown(void **state)
{
	char command[64];

	(void)state;
	(void)snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_openat2),
		cmocka_unit_test(test_fallocate),
		cmocka_unit_test(test_no_seek_hole),
		cmocka_unit_test(test_spool),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
