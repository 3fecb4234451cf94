/* snap: names; the engines are tested with real disks in tests/bats/vmsnap.bats. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "libcommon/snap/snap.h"

static void names(void **state)
{
	static const char *const good[] = {"a", "before-upgrade", "2026-11-23T10:00", "_x.y+z",
					   "1a"};
	static const char *const bad[] = {"",	".a",  "-a",	   "a/b", "a b",
					  "12", "a@b", "\xc3\xa4", "a\n"};
	char longest[SNAP_NAME_MAX + 2];
	struct err err = ERR_INIT;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_int_equal(snap_name_check(good[i], &err), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(snap_name_check(bad[i], &err), -1);
		assert_int_equal(err.code, ERR_USAGE);
	}
	memset(longest, 'a', sizeof(longest));
	longest[SNAP_NAME_MAX + 1] = '\0';
	assert_int_equal(snap_name_check(longest, &err), -1);
	longest[SNAP_NAME_MAX] = '\0';
	assert_int_equal(snap_name_check(longest, &err), 0);
}

static void refuses_what_is_no_file(void **state)
{
	struct snap_disk *d;
	struct err err = ERR_INIT;

	(void)state;
	assert_int_equal(snap_open(&d, "qemu:///system/web", true, &err), -1);
	assert_int_equal(err.code, ERR_UNSUPPORTED);
	err_clear(&err);
	assert_int_equal(snap_open(&d, "/dev/null", false, &err), -1);
	assert_int_equal(err.code, ERR_UNSUPPORTED);
	err_clear(&err);
	assert_int_equal(snap_open(&d, "/nonexistent/disk", false, &err), -1);
	assert_int_equal(err.code, ERR_NOT_FOUND);
	snap_close(NULL);
}

/* What could not be opened is nobody's: the caller may close all that he has */
static void fails_with_nothing_opened(void **state)
{
	char dir[] = "/tmp/test_snap.XXXXXX", disk[64], folder[80], journal[128];
	static const char text[] = "{\"version\":1,\"operation\":\"swap\",\"name\":\"\","
				   "\"file\":\"\",\"inode\":1}";
	struct snap_disk *d = (struct snap_disk *)(uintptr_t)1;
	struct err err = ERR_INIT;
	FILE *f;

	(void)state;
	assert_non_null(mkdtemp(dir));
	(void)snprintf(disk, sizeof(disk), "%s/d.raw", dir);
	(void)snprintf(folder, sizeof(folder), "%s.snap", disk);
	(void)snprintf(journal, sizeof(journal), "%s/.journal.json", folder);
	f = fopen(disk, "w");
	assert_non_null(f);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(mkdir(folder, 0700), 0);
	f = fopen(journal, "w");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(snap_open(&d, disk, true, &err), -1);
	assert_int_equal(err.code, ERR_FAILED);
	assert_null(d);
	d = (struct snap_disk *)(uintptr_t)1;
	assert_int_equal(snap_open(&d, "/dev/null", true, NULL), -1);
	assert_null(d);
	assert_int_equal(unlink(journal), 0);
	assert_int_equal(rmdir(folder), 0);
	assert_int_equal(unlink(disk), 0);
	assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names),
		cmocka_unit_test(fails_with_nothing_opened),
		cmocka_unit_test(refuses_what_is_no_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
