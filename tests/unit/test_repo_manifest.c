/* Manifests: to JSON and back, and what a reader refuses. */
#include "libcommon/repo/manifest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char *encode(void)
{
	struct snapshot_file files[] = {
		{.path = (char[]){"/a/b.qcow2"},
		 .dev = 7,
		 .ino = 9,
		 .size = 1000,
		 .mtime_ns = -5,
		 .ctime_ns = 6},
		{.path = (char[]){"/a/b\xff"}, .dev = 7, .ino = 10, .size = 2000},
	};
	struct snapshot_disk disks[] = {
		{.name = (char[]){"vda"},
		 .source = (char[]){"b.qcow2"},
		 .format = (char[]){"qcow2"},
		 .change_source = (char[]){"scan"},
		 .size = 5ULL << 30,
		 .data_bytes = 12,
		 .new_bytes = 11,
		 .stored_bytes = 10,
		 .root = {.bytes = {1, 2, 3}},
		 .tree_levels = 2,
		 .files = files,
		 .n_files = 2},
		{.name = (char[]){"vdb"},
		 .format = (char[]){"raw"},
		 .change_source = (char[]){"unchanged file"},
		 .checkpoint = (char[]){"vmkit-1"}},
	};
	char *tags[] = {(char[]){"weekly"}, (char[]){"\"odd\""}};
	struct snapshot s = {
		.id = {.bytes = {0xaa, 0xbb}},
		.seq = 17,
		.vm = (char[]){"web"},
		.host = (char[]){"host"},
		.time = (char[]){"2026-11-23T10:00:00Z"},
		.tool = (char[]){"vmkit"},
		.tags = tags,
		.n_tags = 2,
		.disks = disks,
		.n_disks = 2,
		.seconds = 1.5,
		.has_parent = true,
		.parent = {.bytes = {0xcc}},
	};
	struct err err = ERR_INIT;
	size_t len;
	char *text;

	assert_int_equal(manifest_encode(&s, &text, &len, &err), 0);
	assert_int_equal(strlen(text), len);
	return text;
}

static void test_round(void **unused)
{
	char *text = encode(), *again;
	struct err err = ERR_INIT;
	struct snapshot s, copy;
	size_t len;

	(void)unused;
	assert_int_equal(manifest_decode(text, strlen(text), &s, &err), 0);
	assert_string_equal(s.vm, "web");
	assert_int_equal(s.seq, 17);
	assert_int_equal(s.n_tags, 2);
	assert_string_equal(s.tags[1], "\"odd\"");
	assert_int_equal(s.n_disks, 2);
	assert_int_equal(s.disks[0].size, 5ULL << 30);
	assert_int_equal(s.disks[0].tree_levels, 2);
	assert_int_equal(s.disks[0].n_files, 2);
	assert_int_equal(s.disks[0].files[0].mtime_ns, -5);
	assert_string_equal(s.disks[0].files[1].path, "/a/b?");
	assert_null(s.disks[1].source);
	assert_true(s.has_parent);
	assert_int_equal(s.parent.bytes[0], 0xcc);
	assert_int_equal(manifest_copy(&s, &copy, &err), 0);
	assert_int_equal(manifest_encode(&copy, &again, &len, &err), 0);
	assert_string_equal(text, again);
	manifest_clear(&s);
	manifest_clear(&copy);
	free(text);
	free(again);
}

static char *replace(const char *text, const char *from, const char *to)
{
	const char *at = strstr(text, from);
	char *out = NULL;

	assert_non_null(at);
	assert_true(asprintf(&out, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from)) > 0);
	return out;
}

static void test_refused(void **unused)
{
	static const struct {
		const char *from, *to;
		enum err_code code;
	} cases[] = {
		{"\"version\":1", "\"version\":2", ERR_UNSUPPORTED},
		{"\"version\":1", "\"version\":0", ERR_CORRUPT},
		{"\"version\":1", "\"version\":\"1\"", ERR_CORRUPT},
		{"\"seq\":17", "\"seq\":-17", ERR_CORRUPT},
		{"\"seq\":17", "\"seq\":1.5", ERR_CORRUPT},
		{"\"seq\":17", "\"seq\":17,\"seq\":18", ERR_CORRUPT},
		{"\"vm\":\"web\"", "\"vm\":\"../web\"", ERR_CORRUPT},
		{"\"vm\":\"web\"", "\"vm\":\"\"", ERR_CORRUPT},
		{"\"vm\":\"web\"", "\"vm\":null", ERR_CORRUPT},
		{"\"name\":\"vda\"", "\"name\":\"v/da\"", ERR_CORRUPT},
		{"\"levels\":2", "\"levels\":1", ERR_CORRUPT},
		{"\"levels\":2", "\"levels\":200000000000", ERR_CORRUPT},
		{"\"size\":5368709120", "\"size\":9223372036854775807", ERR_CORRUPT},
		{"\"size\":5368709120", "\"size\":92233720368547758070", ERR_CORRUPT},
		{"2026-11-23T10:00:00Z", "2026-13-23T10:00:00Z", ERR_CORRUPT},
		{"2026-11-23T10:00:00Z", "yesterday", ERR_CORRUPT},
		{"\"aabb0000", "\"aabb000g", ERR_CORRUPT},
		{"\"aabb0000", "\"aabb", ERR_CORRUPT},
		{"\"tags\":[", "\"tags\":[1,", ERR_CORRUPT},
		{"\"disks\":[", "\"disks\":[[],", ERR_CORRUPT},
		{"\"files\":[", "\"files\":[{},", ERR_CORRUPT},
		{"\"seconds\":1.5", "\"seconds\":\"1\"", ERR_CORRUPT},
	};
	char *text = encode();

	(void)unused;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		char *bad = replace(text, cases[i].from, cases[i].to);
		struct err err = ERR_INIT;
		struct snapshot s;

		if (manifest_decode(bad, strlen(bad), &s, &err) == 0)
			fail_msg("%s was taken", cases[i].to);
		if (err.code != cases[i].code)
			fail_msg("%s: %s", cases[i].to, err.message);
		free(bad);
	}
	for (size_t len = 0; len < strlen(text); len++) {
		struct snapshot s;

		assert_int_equal(manifest_decode(text, len, &s, NULL), -1);
	}
	free(text);
}

static void test_times(void **unused)
{
	int64_t t;

	(void)unused;
	assert_int_equal(manifest_time("1970-01-02T00:00:01Z", &t), 0);
	assert_int_equal(t, 86401);
	assert_int_equal(manifest_time("1970-01-02T00:00:01", &t), -1);
	assert_int_equal(manifest_time("1970-01-02T24:00:01Z", &t), -1);
	assert_int_equal(manifest_time("1970-01-02T00:00:01Zx", &t), -1);
	assert_int_equal(manifest_time("", &t), -1);
}

static void test_names(void **unused)
{
	char longest[66];

	(void)unused;
	memset(longest, 'a', 65);
	longest[65] = '\0';
	assert_true(repo_name_valid("a"));
	assert_true(repo_name_valid("web-1.example_x"));
	assert_false(repo_name_valid(""));
	assert_false(repo_name_valid(".a"));
	assert_false(repo_name_valid("-a"));
	assert_false(repo_name_valid("a/b"));
	assert_false(repo_name_valid("a b"));
	assert_false(repo_name_valid("a\xc3\xa4"));
	assert_false(repo_name_valid(longest));
	assert_true(repo_name_valid(longest + 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_times),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
