/* lock.h: the bytes that QEMU looks at, and who refuses whom. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "libcommon/base/err.h"
#include "libcommon/image/lock.h"

static char path[] = "/tmp/vmkit-lock-XXXXXX";

static int open_it(void)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static void take(int fd, short byte)
{
	struct flock l = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

	assert_int_equal(fcntl(fd, F_OFD_SETLK, &l), 0);
}

static bool held(int fd, short byte)
{
	struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

	assert_int_equal(fcntl(fd, F_OFD_GETLK, &l), 0);
	return l.l_type != F_UNLCK;
}

static void assert_only_held(int fd, const short *bytes)
{
	for (short b = 95; b < 215; b++) {
		bool wanted = false;

		for (const short *w = bytes; *w; w++)
			wanted |= *w == b;
		assert_int_equal(held(fd, b), wanted);
	}
}

static void test_bytes(void **state)
{
	static const short reader[] = {100, 201, 203, 0}, writer[] = {100, 101, 103, 201, 203, 0};
	static const short none[] = {0};
	struct err err = ERR_INIT;
	int other = open_it(), fd = open_it();

	(void)state;
	assert_int_equal(lock_take(fd, false, &err), 0);
	assert_only_held(other, reader);
	close(fd);
	assert_only_held(other, none);
	fd = open_it();
	assert_int_equal(lock_take(fd, true, &err), 0);
	assert_only_held(other, writer);
	close(fd);
	close(other);
}

static void test_who_refuses_whom(void **state)
{
	struct err err = ERR_INIT;
	int a = open_it(), b = open_it(), c = open_it();

	(void)state;
	assert_int_equal(lock_take(a, false, &err), 0);
	assert_int_equal(lock_take(b, false, &err), 0); /* readers beside each other */
	assert_int_equal(lock_take(c, true, &err), -1);
	assert_int_equal(err.code, ERR_BUSY);
	close(a);
	close(b);
	close(c);

	a = open_it();
	b = open_it();
	c = open_it();
	assert_int_equal(lock_take(a, true, &err), 0);
	assert_int_equal(lock_take(b, false, &err), -1);
	assert_int_equal(err.code, ERR_BUSY);
	assert_non_null(strstr(err.message, "test_lock")); /* by name and pid */
	assert_int_equal(lock_take(c, true, &err), -1);
	close(a);
	close(b);
	close(c);
}

/* What a QEMU process holds: a guest disk; a reader with -U; a base that is not consistent (block commit). */
static void test_qemu_holders(void **state)
{
	struct err err = ERR_INIT;
	int qemu = open_it(), fd = open_it();

	(void)state;
	take(qemu, 100);
	assert_int_equal(lock_take(fd, true, &err), 0); /* reads, and shares all */
	close(fd);
	take(qemu, 101);
	fd = open_it();
	assert_int_equal(lock_take(fd, false, &err), -1);
	close(fd);
	close(qemu);

	qemu = open_it();
	take(qemu, 200);
	fd = open_it();
	assert_int_equal(lock_take(fd, false, &err), -1);
	assert_non_null(strstr(err.message, "read"));
	close(fd);
	close(qemu);
}

static void test_leaves_file_alone(void **state)
{
	struct err err = ERR_INIT;
	int fd = open(path, O_RDONLY | O_CLOEXEC); /* a lock needs no right to write */

	(void)state;
	assert_int_equal(lock_take(fd, false, &err), 0);
	assert_int_equal(lseek(fd, 0, SEEK_END), 0);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_who_refuses_whom),
		cmocka_unit_test(test_qemu_holders),
		cmocka_unit_test(test_leaves_file_alone),
	};
	int fd = mkstemp(path);

	if (fd < 0)
		return 1;
	close(fd);

	int r = cmocka_run_group_tests(tests, NULL, NULL);

	unlink(path);
	return r;
}
