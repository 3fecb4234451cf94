/* libcommon/cli: what is printed: wrapping, tables, suggestions, escaping, progress lines, JSON strings. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "libcommon/cli/internal.h"

static char *text;
static size_t text_len;

static FILE *begin(void)
{
	free(text);
	text = NULL;
	return open_memstream(&text, &text_len);
}

static void test_wrap(void **state)
{
	FILE *f = begin();

	(void)state;
	help_wrap(f, 0, 2, 12, "one two three four");
	(void)fclose(f);
	assert_string_equal(text, "  one two\n  three four\n");

	f = begin();
	help_wrap(f, 3, 5, 20, "a word-that-is-longer-than-the-line b");
	(void)fclose(f);
	assert_string_equal(text, "  a\n     word-that-is-longer-than-the-line\n     b\n");

	f = begin();
	help_wrap(f, 0, 0, 10, "first\n\nsecond");
	(void)fclose(f);
	assert_string_equal(text, "first\n\nsecond\n");

	f = begin();
	help_wrap(f, 0, 0, 12, "one two\nthree four\n  in\n\nfive\n");
	(void)fclose(f);
	assert_string_equal(text, "one two\nthree four\nin\n\nfive\n\n");
}

static void test_suggest(void **state)
{
	static const char *const verbs[] = {"info",  "convert", "create",
					    "check", "compare", "snapshot"};
	static const struct {
		const char *word, *nearest;
	} cases[] = {{"covert", "convert"},
		     {"inof", "info"},
		     {"crate", "create"},
		     {"chekc", "check"},
		     {"snap", "snapshot"},
		     {"xyzzy", NULL},
		     {"", NULL},
		     {"i", NULL},
		     {"convertconvertconvertconvertconvert", NULL}};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *got = cli_suggest(cases[i].word, verbs, 6);

		if (cases[i].nearest)
			assert_string_equal(got, cases[i].nearest);
		else
			assert_null(got);
	}
}

static void test_table(void **state)
{
	static const char *const heads[] = {"NAME", "SIZE", "NOTE"};
	static const char *const first[] = {"a", "10 B", ""};
	static const char *const second[] = {"caf\xc3\xa9 x", "7 B", "\033[2J"};
	struct table *t = table_new(heads, "lrl");
	FILE *f = begin();

	(void)state;
	table_row(t, first);
	table_row(t, second);
	table_print(t, f);
	table_free(t);
	(void)fclose(f);
	assert_string_equal(text,
			    "NAME    SIZE  NOTE\na       10 B\ncaf\xc3\xa9 x   7 B  \\x1b[2J\n");
}

static void assert_printable(const char *in, const char *out)
{
	char *got = cli_printable(in);

	assert_string_equal(got, out);
	free(got);
}

static void test_printable(void **state)
{
	(void)state;
	assert_printable("plain \xe2\x82\xac text", "plain \xe2\x82\xac text");
	assert_printable("\033]0;x\007\n\r\t", "\\x1b]0;x\\x07\\x0a\\x0d\\x09");
	assert_printable("\xff\xc3", "\\xff\\xc3");
	assert_printable("\xc2\x9b", "\\xc2\\x9b");	     /* C1: CSI */
	assert_printable("\xc0\xaf", "\\xc0\\xaf");	     /* overlong */
	assert_printable("\xed\xa0\x80", "\\xed\\xa0\\x80"); /* surrogate */
	assert_printable("\xf0\x9f\x92\xbe", "\xf0\x9f\x92\xbe");
	assert_printable("\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80");
	assert_printable("", "");
}

static void test_json_string(void **state)
{
	json_t *j = cli_json_string("a\xff"
				    "b\xc3\xa9");

	(void)state;
	assert_string_equal(json_string_value(j), "a\xef\xbf\xbd"
						  "b\xc3\xa9");
	json_decref(j);
	j = cli_json_string("plain");
	assert_string_equal(json_string_value(j), "plain");
	json_decref(j);
}

static void test_progress_text(void **state)
{
	char buf[256];

	(void)state;
	progress_text("convert", 1ULL << 30, 4ULL << 30, 4, 256.0 * (1 << 20), 0, buf, sizeof(buf));
	assert_string_equal(buf, "convert   25 %  1.00 GiB of 4.00 GiB  256 MiB/s  12.0 s left");
	progress_text("copy", 3, 4, 1, 1, 4, buf, sizeof(buf));
	assert_string_equal(buf, "copy  [===>]  75 %  3 B of 4 B  1 B/s  1.00 s left");
	progress_text("copy", 4, 4, 1, 1, 4, buf, sizeof(buf));
	assert_string_equal(buf, "copy  [====] 100 %  4 B of 4 B  1 B/s");
	progress_text("read", 2048, 0, 2, 1024, 24, buf, sizeof(buf)); /* a pipe: no end is known */
	assert_string_equal(buf, "read  2.00 KiB  1.00 KiB/s  2.00 s");
	progress_text("copy", 9, 4, 1, 0, 0, buf, sizeof(buf)); /* more than was said */
	assert_string_equal(buf, "copy  100 %  9 B of 4 B  0 B/s");
	progress_text("a very long name of a stage", 9, 4, 1, 0, 24, buf,
		      10); /* cut, not overrun */
	assert_string_equal(buf, "a very lo");
}

static void test_statuses(void **state)
{
	const char *pos = "0 done, 3 differ, or not, 128+N signal";
	char buf[64];

	(void)state;
	assert_true(help_next_status(&pos, buf, sizeof(buf)));
	assert_string_equal(buf, "0 done");
	assert_true(help_next_status(&pos, buf, sizeof(buf)));
	assert_string_equal(buf, "3 differ, or not");
	assert_true(help_next_status(&pos, buf, sizeof(buf)));
	assert_string_equal(buf, "128+N signal");
	assert_false(help_next_status(&pos, buf, sizeof(buf)));
}

static void test_option_form(void **state)
{
	static const struct opt o[] = {
		{'f', "format", OPT_STRING, NULL, "FORMAT", "h", .env = NULL},
		{.name = "quick", .type = OPT_FLAG, .help = "h"},
		{'c', "compress", OPT_OPTIONAL, NULL, "ALG", "h", .env = NULL},
		{.name = "mode", .type = OPT_CHOICE, .choices = "a|b", .help = "h"},
	};
	char buf[64];

	(void)state;
	help_option_form(&o[0], buf, sizeof(buf));
	assert_string_equal(buf, "-f, --format FORMAT");
	help_option_form(&o[1], buf, sizeof(buf));
	assert_string_equal(buf, "    --quick");
	help_option_form(&o[2], buf, sizeof(buf));
	assert_string_equal(buf, "-c, --compress[=ALG]");
	help_option_form(&o[3], buf, sizeof(buf));
	assert_string_equal(buf, "    --mode a|b");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wrap),	    cmocka_unit_test(test_suggest),
		cmocka_unit_test(test_table),	    cmocka_unit_test(test_printable),
		cmocka_unit_test(test_json_string), cmocka_unit_test(test_progress_text),
		cmocka_unit_test(test_statuses),    cmocka_unit_test(test_option_form),
	};
	int rc = cmocka_run_group_tests(tests, NULL, NULL);

	free(text);
	return rc;
}
