/* libcommon/base: whole reads and writes, files that appear only when whole. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "libcommon/base/err.h"
#include "libcommon/base/io.h"
#include "libcommon/base/outfile.h"

static char folder[] = "/tmp/vmkit-test-base-XXXXXX";
static char path[64], other[64];
static struct err err;

static void assert_content(const char *name, const char *want)
{
	char *data;
	size_t len;

	assert_int_equal(io_read_file(name, 4096, &data, &len, &err), 0);
	assert_int_equal(len, strlen(want));
	assert_string_equal(data, want);
	free(data);
}

static void assert_only(const char *names)
{
	char command[256];

	(void)snprintf(command, sizeof(command), "test \"$(ls -A %s | tr '\\n' ' ')\" = '%s'",
		       folder, names);
	assert_int_equal(system(command), 0);
}

static int fresh(void **state)
{
	(void)state;
	(void)unlink(path);
	(void)unlink(other);
	err = ERR_INIT;
	return 0;
}

static void test_io_exact(void **state)
{
	char buf[8] = "";
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	(void)state;
	assert_int_equal(io_pwrite(fd, "abcdef", 6, 10, &err), 0);
	assert_int_equal(io_pread(fd, buf, 6, 10, &err), 0);
	assert_memory_equal(buf, "abcdef", 6);
	assert_int_equal(io_pread(fd, buf, 7, 10, &err), -1);
	assert_int_equal(err.code, ERR_CORRUPT);
	assert_non_null(strstr(err.message, "ends at offset 16"));
	assert_int_equal(io_pread_upto(fd, buf, 8, 14, &err), 2);
	assert_int_equal(io_pread_upto(fd, buf, 8, 100, &err), 0);
	assert_int_equal(io_pread_upto(fd, buf, 8, UINT64_MAX - 3, &err), -1);
	assert_int_equal(io_pread_upto(fd, buf, 8, INT64_MAX, &err), -1);
	assert_int_equal(io_pwrite(fd, buf, 8, INT64_MAX - 7, &err), -1);
	assert_int_equal(io_fsync(fd, &err), 0);
	assert_int_equal(io_close(fd, &err), 0);
	assert_int_equal(io_close(fd, &err), -1); /* EBADF is told */
	assert_int_equal(io_fsync_parent(path, &err), 0);
	assert_int_equal(io_fsync_parent("/", &err), 0);
}

static void test_io_full_disk(void **state)
{
	int fd = open("/dev/full", O_RDWR | O_CLOEXEC);

	(void)state;
	assert_int_equal(io_write(fd, "x", 1, &err), -1);
	assert_int_equal(err.code, ERR_NO_SPACE);
	assert_int_equal(io_pwrite(fd, "x", 1, 0, &err), -1);
	assert_int_equal(err.code, ERR_NO_SPACE);
	(void)close(fd);
}

static void test_io_pipe(void **state)
{
	char buf[100000];
	int fds[2], status;

	(void)state;
	assert_int_equal(pipe(fds), 0);

	pid_t pid = fork();

	if (pid == 0) { /* more than a pipe holds, in odd pieces */
		for (int i = 0; i < 100; i++)
			if (io_write(fds[1], buf, 777, NULL) < 0)
				_exit(1);
		_exit(0);
	}
	(void)close(fds[1]);
	assert_int_equal(io_read_upto(fds[0], buf, 50000, &err), 50000);
	assert_int_equal(io_read_upto(fds[0], buf, sizeof(buf), &err), 27700);
	assert_int_equal(io_read_upto(fds[0], buf, sizeof(buf), &err), 0);
	(void)close(fds[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);

	(void)signal(SIGPIPE, SIG_IGN);
	assert_int_equal(pipe(fds), 0);
	(void)close(fds[0]);
	assert_int_equal(io_write(fds[1], "x", 1, &err), -1);
	assert_int_equal(err.code, ERR_PIPE);
	assert_int_equal(io_fsync(fds[1], &err), 0); /* nothing to lose in a pipe */
	(void)close(fds[1]);
}

static void test_io_read_file(void **state)
{
	char *data;
	size_t len;

	(void)state;
	assert_int_equal(io_read_file("/proc/self/status", 1 << 16, &data, &len, &err),
			 0); /* says size 0 */
	assert_true(len > 100 && data[len] == '\0');
	free(data);
	assert_int_equal(outfile_write(path, "12345", 5, OUTFILE_NO_SYNC, &err), 0);
	assert_int_equal(io_read_file(path, 5, &data, &len, &err), 0);
	assert_int_equal(len, 5);
	free(data);
	assert_int_equal(io_read_file(path, 4, &data, &len, &err), -1);
	assert_int_equal(err.code, ERR_CORRUPT);
	assert_int_equal(io_read_file("/dev/zero", 100000, &data, &len, &err), -1);
	assert_int_equal(err.code, ERR_CORRUPT);
	assert_int_equal(io_read_file(folder, 5, &data, &len, &err), -1);
	assert_int_equal(io_read_file("/nonexistent", 5, &data, &len, &err), -1);
	assert_int_equal(err.code, ERR_NOT_FOUND);
}

/* The same promises with a nameless file and with a temporary name. */
static void outfile_cycle(unsigned how)
{
	struct outfile *of;

	assert_int_equal(outfile_open(&of, path, how, &err), 0);
	assert_string_equal(outfile_path(of), path);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(io_write(outfile_fd(of), "one", 3, &err), 0);
	assert_int_equal(outfile_commit(of, &err), 0);
	assert_content(path, "one");
	assert_only("file ");

	assert_int_equal(outfile_open(&of, path, how, &err), -1); /* there is one */
	assert_int_equal(err.code, ERR_EXISTS);
	assert_string_equal(err.object, path);

	assert_int_equal(outfile_open(&of, path, how | OUTFILE_FORCE, &err), 0);
	assert_int_equal(io_write(outfile_fd(of), "two", 3, &err), 0);
	assert_content(path, "one"); /* not before commit */
	assert_int_equal(outfile_commit(of, &err), 0);
	assert_content(path, "two");
	assert_only("file ");

	assert_int_equal(outfile_open(&of, path, how | OUTFILE_FORCE, &err), 0);
	outfile_discard(of);
	assert_content(path, "two");
	assert_only("file ");
	assert_int_equal(unlink(path), 0);
}

static void test_outfile_nameless(void **state)
{
	(void)state;
	outfile_cycle(0);
}

static void test_outfile_named(void **state)
{
	(void)state;
	outfile_cycle(OUTFILE_NAMED);
	outfile_discard(NULL);
}

/* Two writers of one name without FORCE: the second commit must not replace the first. */
static void test_outfile_race(void **state)
{
	struct outfile *a, *b;

	(void)state;
	for (unsigned how = 0; how <= OUTFILE_NAMED; how += OUTFILE_NAMED) {
		assert_int_equal(outfile_open(&a, path, how, &err), 0);
		assert_int_equal(outfile_open(&b, path, how, &err), 0);
		assert_int_equal(io_write(outfile_fd(a), "a", 1, &err), 0);
		assert_int_equal(io_write(outfile_fd(b), "b", 1, &err), 0);
		assert_int_equal(outfile_commit(a, &err), 0);
		assert_int_equal(outfile_commit(b, &err), -1);
		assert_int_equal(err.code, ERR_EXISTS);
		assert_content(path, "a");
		assert_only("file ");
		assert_int_equal(unlink(path), 0);
	}
}

static void test_outfile_link(void **state)
{
	struct stat st;

	(void)state;
	assert_int_equal(outfile_write(other, "old", 3, OUTFILE_NO_SYNC, &err), 0);
	assert_int_equal(symlink(other, path), 0);
	assert_int_equal(outfile_write(path, "new", 3, OUTFILE_FORCE | OUTFILE_PRIVATE, &err), 0);
	assert_int_equal(lstat(path, &st), 0);
	assert_true(S_ISLNK(st.st_mode));
	assert_content(other, "new");
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

static void test_outfile_refusals(void **state)
{
	struct outfile *of;

	(void)state;
	assert_int_equal(outfile_open(&of, folder, OUTFILE_FORCE, &err), -1);
	assert_int_equal(outfile_open(&of, "/nonexistent/x", 0, &err), -1);
	assert_int_equal(err.code, ERR_NOT_FOUND);
	assert_string_equal(err.object, "/nonexistent/x");
	assert_int_equal(outfile_open(&of, "/dev/null", OUTFILE_FORCE, &err), -1);
	assert_only("");
}

static void test_outfile_kill(void **state)
{
	char command[128];
	struct outfile *of;
	int fds[2], status;

	(void)state;
	for (unsigned how = 0; how <= OUTFILE_NAMED; how += OUTFILE_NAMED) {
		assert_int_equal(pipe(fds), 0);

		pid_t pid = fork();

		if (pid == 0) {
			if (outfile_open(&of, path, how, &err) < 0 ||
			    io_write(outfile_fd(of), "x", 1, &err) < 0)
				_exit(1);
			if (how)
				outfile_remove_all_from_signal();
			if (write(fds[1], "r", 1) != 1)
				_exit(1);
			pause();
		}
		assert_true(read(fds[0], command, 1) == 1);
		assert_int_equal(kill(pid, SIGKILL), 0);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		(void)close(fds[0]);
		(void)close(fds[1]);
		assert_only(""); /* a nameless file leaves nothing even without a handler */
	}
}

/* Below a descriptor: links are replaced, not followed; the handler finds the file's temporary name */
static void test_outfile_at(void **state)
{
	int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC), status;
	struct outfile *of;
	struct stat st;

	(void)state;
	assert_true(dir >= 0);
	for (unsigned how = 0; how <= OUTFILE_NAMED; how += OUTFILE_NAMED) {
		assert_int_equal(symlinkat("/nonexistent/elsewhere", dir, "f"), 0);
		assert_int_equal(outfile_open_at(&of, dir, "f", how, &err), -1);
		assert_int_equal(err.code, ERR_EXISTS);
		assert_int_equal(outfile_open_at(&of, dir, "f", how | OUTFILE_FORCE, &err), 0);
		assert_int_equal(io_write(outfile_fd(of), "x", 1, &err), 0);
		assert_int_equal(fstatat(dir, "f", &st, AT_SYMLINK_NOFOLLOW), 0);
		assert_true(S_ISLNK(st.st_mode)); /* as it was until the new one is whole */
		assert_int_equal(outfile_commit(of, &err), 0);
		assert_int_equal(fstatat(dir, "f", &st, AT_SYMLINK_NOFOLLOW), 0);
		assert_true(S_ISREG(st.st_mode) && st.st_size == 1);
		assert_int_equal(unlinkat(dir, "f", 0), 0);
		assert_only("");
	}
	assert_int_equal(mkdirat(dir, "f", 0700), 0);
	assert_int_equal(outfile_open_at(&of, dir, "f", OUTFILE_FORCE, &err), -1);
	assert_int_equal(unlinkat(dir, "f", AT_REMOVEDIR), 0);

	pid_t pid = fork();

	if (pid == 0) {
		if (outfile_open_at(&of, dir, "f", OUTFILE_NAMED, &err) < 0)
			_exit(1);
		outfile_remove_all_from_signal();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_only("");
	(void)close(dir);
}

/* A name of 255 bytes, the most there is, must work too. */
static void test_outfile_long_name(void **state)
{
	char name[512];
	size_t len;

	(void)state;
	(void)snprintf(name, sizeof(name), "%s/", folder);
	len = strlen(name);
	memset(name + len, 'n', 255);
	name[len + 255] = '\0';
	assert_int_equal(outfile_write(name, "x", 1, OUTFILE_NAMED, &err), 0);
	assert_int_equal(outfile_write(name, "y", 1, OUTFILE_FORCE, &err), 0);
	assert_content(name, "y");
	assert_int_equal(unlink(name), 0);
	assert_only("");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_io_exact, fresh),
		cmocka_unit_test_setup(test_io_full_disk, fresh),
		cmocka_unit_test_setup(test_io_pipe, fresh),
		cmocka_unit_test_setup(test_io_read_file, fresh),
		cmocka_unit_test_setup(test_outfile_nameless, fresh),
		cmocka_unit_test_setup(test_outfile_named, fresh),
		cmocka_unit_test_setup(test_outfile_race, fresh),
		cmocka_unit_test_setup(test_outfile_link, fresh),
		cmocka_unit_test_setup(test_outfile_refusals, fresh),
		cmocka_unit_test_setup(test_outfile_kill, fresh),
		cmocka_unit_test_setup(test_outfile_at, fresh),
		cmocka_unit_test_setup(test_outfile_long_name, fresh),
	};
	int rc;

	if (!mkdtemp(folder))
		return 1;
	(void)snprintf(path, sizeof(path), "%s/file", folder);
	(void)snprintf(other, sizeof(other), "%s/other", folder);
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	(void)fresh(NULL);
	(void)rmdir(folder);
	return rc;
}
