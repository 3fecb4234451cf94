/* libcommon/cli: parsing from tables, defaults, configuration. */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "libcommon/cli/internal.h"

static struct {
	bool flag, other;
	unsigned count, number;
	const char *string, *choice, *optional, *bundled, *from_env;
	struct opt_list list;
	uint64_t size, ms;
} v;

static const struct opt table[] = {
	{'f', "flag", OPT_FLAG, &v.flag, .help = "h"},
	{'g', "other", OPT_FLAG, &v.other, .help = "h"},
	{'v', "count", OPT_COUNT, &v.count, .help = "h"},
	{'n', "number", OPT_UINT, &v.number, .help = "h", .min = 2, .max = 9},
	{'s', "string", OPT_STRING, &v.string, .help = "h"},
	{'m', "choice", OPT_CHOICE, &v.choice, .help = "h", .choices = "off|full|a-b"},
	{'c', "optional", OPT_OPTIONAL, &v.optional, .help = "h"},
	{'p', "bundled", OPT_OPTIONAL, &v.bundled, .help = "h", .choices = "bar|json"},
	{'o', "list", OPT_LIST, &v.list, .help = "h"},
	{'S', "size", OPT_SIZE, &v.size, .help = "h"},
	{'T', "time", OPT_DURATION, &v.ms, .help = "h"},
	{.name = "from-env",
	 .type = OPT_STRING,
	 .value = &v.from_env,
	 .help = "h",
	 .env = "VMKIT_TEST_VALUE"},
	{.name = "secret", .type = OPT_FLAG, .value = &v.other, .help = "h", .hidden = true},
	OPT_END,
};
static const struct opt_set set = {.tables = {table}};

static char *args[16];
static int n_args, used;
static struct err err;

#define PARSE(...) parse(false, (const char *const[]){__VA_ARGS__, NULL})

static int parse(bool until_argument, const char *const *words)
{
	static char copies[16][64];
	char *argv[17];
	int argc = 0;

	opt_release(&set);
	memset(&v, 0, sizeof(v));
	err = ERR_INIT;
	for (; words[argc]; argc++) {
		(void)snprintf(copies[argc], sizeof(copies[argc]), "%s", words[argc]);
		argv[argc] = copies[argc];
	}
	return opt_parse(&set, argc, argv, until_argument, args, &n_args, &used, &err);
}

static void assert_refused(const char *part)
{
	assert_int_equal(err.code, ERR_USAGE);
	if (!strstr(err.message, part))
		fail_msg("'%s' does not say '%s'", err.message, part);
}

static void test_forms(void **state)
{
	(void)state;
	assert_int_equal(PARSE("--string=a=b", "-fg", "x", "-n5", "-S", "1k", "--time", "2m", "y"),
			 0);
	assert_string_equal(v.string, "a=b");
	assert_true(v.flag && v.other);
	assert_int_equal(v.number, 5);
	assert_int_equal(v.size, 1024);
	assert_int_equal(v.ms, 120000);
	assert_int_equal(n_args, 2);
	assert_string_equal(args[0], "x");
	assert_string_equal(args[1], "y");

	assert_int_equal(PARSE("-vvv", "-fsvalue", "--", "--flag", "-", "--"), 0);
	assert_int_equal(v.count, 3);
	assert_string_equal(v.string, "value");
	assert_int_equal(n_args, 3);
	assert_string_equal(args[0], "--flag");
	assert_string_equal(args[2], "--");

	assert_int_equal(PARSE("-", "--string", "--flag", "--string="), 0);
	assert_int_equal(n_args, 1);
	assert_string_equal(v.string, ""); /* the last one wins, empty or not */
	assert_false(v.flag);
}

static void test_lists_and_choices(void **state)
{
	(void)state;
	assert_int_equal(PARSE("-o", "a", "-ob=1", "--list=c", "--list", "-d"), 0);
	assert_int_equal(v.list.count, 4);
	assert_string_equal(v.list.items[1], "b=1");
	assert_string_equal(v.list.items[3], "-d");
	assert_int_equal(PARSE("--choice", "a-b"), 0);
	assert_string_equal(v.choice, "a-b");
	assert_int_equal(PARSE("-m", "of"), -1);
	assert_refused("'of' is not one of: off, full, a-b");
	assert_int_equal(PARSE("--choice=off|full"), -1);
	assert_int_equal(PARSE("--choice="), -1);
}

static void test_optional_values(void **state)
{
	(void)state;
	assert_int_equal(PARSE("-c", "x"), 0); /* never takes the next word */
	assert_string_equal(v.optional, "");
	assert_int_equal(n_args, 1);
	assert_int_equal(PARSE("-czstd:3"), 0);
	assert_string_equal(v.optional, "zstd:3");
	assert_int_equal(PARSE("--optional=zlib", "--flag"), 0);
	assert_string_equal(v.optional, "zlib");
	assert_true(v.flag);
	assert_int_equal(PARSE("-pf"), 0); /* with choices: the letter is a flag */
	assert_string_equal(v.bundled, "");
	assert_true(v.flag);
	assert_int_equal(PARSE("--bundled=json"), 0);
	assert_string_equal(v.bundled, "json");
	assert_int_equal(PARSE("--bundled=x"), -1);
}

static void test_refusals(void **state)
{
	(void)state;
	assert_int_equal(PARSE("--flagg"), -1);
	assert_refused("unknown option '--flagg'");
	assert_string_equal(err.hint, "did you mean --flag?");
	assert_int_equal(PARSE("--secre"), -1);
	assert_string_equal(err.hint, "");    /* hidden ones are not told */
	assert_int_equal(PARSE("--fla"), -1); /* no abbreviation */
	assert_int_equal(PARSE("-x"), -1);
	assert_refused("unknown option '-x'");
	assert_int_equal(PARSE("--flag=1"), -1);
	assert_refused("takes no value");
	assert_int_equal(PARSE("--string"), -1);
	assert_refused("needs a value");
	assert_int_equal(PARSE("-s"), -1);
	assert_int_equal(PARSE("--size=1.5"), -1);
	assert_refused("--size: ");
	assert_int_equal(PARSE("--time=soon"), -1);
	assert_refused("--time: ");
}

static void test_numbers(void **state)
{
	static const char *const bad[] = {"",	"-1", "+3",  "1",	   "10",
					  "3x", " 3", "0x3", "4294967296", "99999999999999999999"};

	(void)state;
	assert_int_equal(PARSE("-n", "2"), 0);
	assert_int_equal(PARSE("-n", "9"), 0);
	assert_int_equal(PARSE("-n", "03"), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(PARSE("-n", bad[i]), -1);
		assert_int_equal(err.code, ERR_USAGE);
	}
	assert_int_equal(PARSE("-n", "10"), -1);
	assert_refused("10 is not in 2 to 9");
}

static void test_until_argument(void **state)
{
	static const char *const words[] = {"-f", "-s", "value", "verb", "-g", NULL};

	(void)state;
	assert_int_equal(parse(true, words), 0);
	assert_int_equal(used, 3);
	assert_int_equal(n_args, 0);
	assert_true(v.flag);
	assert_false(v.other);
}

static void test_config(void **state)
{
	char text[] = "# comment\n\n from_env = /srv/a \n[other]\nfrom_env = no\n[prog]\nkey2=\"  "
		      "x \"\nhome = ~/y\n";
	char late[] = "from_env = later\n";
	char *bad[] = {strdup("novalue\n"), strdup("a = 1\nKey = 1\n"), strdup("= 3")};

	(void)state;
	assert_int_equal(setenv("HOME", "/h", 1), 0);
	config_free();
	assert_null(config_get("from_env"));
	assert_int_equal(config_parse("prog", "f", text, &err), 0);
	assert_string_equal(config_get("from_env"), "/srv/a");
	assert_string_equal(config_get("key2"), "  x ");
	assert_string_equal(cli_config("home"), "/h/y");
	assert_int_equal(config_parse("prog", "f", late, &err), 0);
	assert_string_equal(config_get("from_env"), "later");
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(config_parse("prog", "f.conf", bad[i], &err), -1);
		assert_int_equal(err.code, ERR_USAGE);
		assert_string_equal(err.object, "f.conf");
		assert_non_null(strstr(err.message, i == 1 ? "line 2" : "line 1"));
		free(bad[i]);
	}
	config_free();
}

static void test_defaults(void **state)
{
	char text[] = "from_env = file\n";

	(void)state;
	assert_true(opt_has_env(&set));
	assert_int_equal(unsetenv("VMKIT_TEST_VALUE"), 0);
	v.from_env = NULL;
	opt_defaults(&set);
	assert_null(v.from_env);
	assert_int_equal(config_parse("prog", "f", text, &err), 0);
	opt_defaults(&set);
	assert_string_equal(v.from_env, "file");
	assert_int_equal(setenv("VMKIT_TEST_VALUE", "environment", 1), 0);
	opt_defaults(&set);
	assert_string_equal(v.from_env, "environment");
	assert_int_equal(setenv("VMKIT_TEST_VALUE", "", 1), 0); /* empty: as if unset */
	opt_defaults(&set);
	assert_string_equal(v.from_env, "file");
	config_free();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_forms),		cmocka_unit_test(test_lists_and_choices),
		cmocka_unit_test(test_optional_values), cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_numbers),		cmocka_unit_test(test_until_argument),
		cmocka_unit_test(test_config),		cmocka_unit_test(test_defaults),
	};
	int rc = cmocka_run_group_tests(tests, NULL, NULL);

	opt_release(&set);
	return rc;
}
