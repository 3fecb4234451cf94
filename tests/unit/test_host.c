/* What the host layer has without any libvirt: XML by XPath, calls with an end, base64. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "libcommon/base/base64.h"
#include "libcommon/host/call.h"
#include "libcommon/host/xmldoc.h"

/* RFC 4648, section 10 */
static void base64_vectors(void **state)
{
	static const char *const pairs[][2] = {
		{"", ""},
		{"f", "Zg=="},
		{"fo", "Zm8="},
		{"foo", "Zm9v"},
		{"foob", "Zm9vYg=="},
		{"fooba", "Zm9vYmE="},
		{"foobar", "Zm9vYmFy"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		char *text = base64_encode(pairs[i][0], strlen(pairs[i][0]));
		void *data;
		size_t len;

		assert_string_equal(text, pairs[i][1]);
		assert_int_equal(base64_decode(pairs[i][1], &data, &len), 0);
		assert_int_equal(len, strlen(pairs[i][0]));
		assert_memory_equal(data, pairs[i][0], len);
		free(text);
		free(data);
	}
}

static void base64_bad(void **state)
{
	static const char *const bad[] = {
		"Z", "Zg", "Zg=", "Z===", "====", "Zg==Zg==", "Zm9 ", "Zm9v\n"};
	void *data;
	size_t len;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(base64_decode(bad[i], &data, &len), -1);
}

static void xml_read(void **state)
{
	struct xmldoc *x;
	struct err err = ERR_INIT;
	char *text;

	(void)state;
	assert_int_equal(xmldoc_parse(&x, "<d><a k='1'>x&amp;y</a><a k='2'/></d>", "d", &err), 0);
	assert_int_equal(xmldoc_count(x, "/d/a"), 2);
	assert_int_equal(xmldoc_count(x, "/d/b"), 0);
	text = xmldoc_get(x, "/d/a");
	assert_string_equal(text, "x&y");
	free(text);
	text = xmldoc_get_nth(x, "/d/a", 1, "@k");
	assert_string_equal(text, "2");
	free(text);
	assert_null(xmldoc_get_nth(x, "/d/a", 2, "@k"));
	text = xmldoc_node_nth(x, "/d/a", 1);
	assert_string_equal(text, "<a k=\"2\"/>");
	free(text);
	xmldoc_free(x);
}

static void xml_change(void **state)
{
	struct xmldoc *x;
	struct err err = ERR_INIT;
	char *text;

	(void)state;
	assert_int_equal(xmldoc_parse(&x, "<d><a/><b/><b/></d>", "d", &err), 0);
	assert_true(xmldoc_set(x, "/d/a", "<&>"));
	assert_true(xmldoc_set_attribute(x, "/d/a", 0, "k", "\"<"));
	assert_false(xmldoc_set(x, "/d/z", "1"));
	assert_int_equal(xmldoc_remove(x, "/d/b"), 2);
	assert_int_equal(xmldoc_add(x, "/d", "<c n='1'/>", &err), 0);
	assert_int_equal(xmldoc_add(x, "/d", "<c", &err), -1);
	assert_int_equal(err.code, ERR_USAGE);
	text = xmldoc_get(x, "/d/a");
	assert_string_equal(text, "<&>");
	free(text);
	text = xmldoc_get(x, "/d/a/@k");
	assert_string_equal(text, "\"<");
	free(text);
	text = xmldoc_node_nth(x, "/d", 0);
	assert_string_equal(text, "<d><a k=\"&quot;&lt;\">&lt;&amp;&gt;</a><c n=\"1\"/></d>");
	free(text);
	xmldoc_free(x);
}

static void xml_hostile(void **state)
{
	static const char *const bad[] = {
		"", "<d>", "x", "<!DOCTYPE d [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><d>&e;</d>",
		"<d>&e;</d>"};
	struct err err = ERR_INIT;
	struct xmldoc *x;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(xmldoc_parse(&x, bad[i], "d", &err), -1);
		assert_int_equal(err.code, ERR_USAGE);
	}
}

static int quick(void *arg, struct err *err)
{
	(void)arg;
	return err_set(err, ERR_BUSY, "said");
}

static _Atomic int dropped;

static int slow(void *arg, struct err *err)
{
	static const struct timespec t = {.tv_nsec = 300000000};

	(void)arg;
	(void)err;
	(void)nanosleep(&t, NULL);
	return 0;
}

static void drop(void *arg)
{
	(void)arg;
	dropped++;
}

static void calls_end(void **state)
{
	static const struct timespec t = {.tv_nsec = 10000000};
	struct err err = ERR_INIT;
	bool lost;

	(void)state;
	assert_int_equal(call_within(quick, drop, NULL, 10000, &lost, &err), -1);
	assert_false(lost);
	assert_int_equal(err.code, ERR_BUSY);
	assert_int_equal(dropped, 0);
	assert_int_equal(call_within(slow, drop, NULL, 10000, &lost, &err), 0);
	assert_false(lost);
	assert_int_equal(call_within(slow, drop, NULL, 50, &lost, &err), -1);
	assert_true(lost);
	assert_int_equal(err.code, ERR_CONNECTION);
	for (int i = 0; i < 1000 && !dropped; i++) /* the thread cleans up by itself */
		(void)nanosleep(&t, NULL);
	assert_int_equal(dropped, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(base64_vectors), cmocka_unit_test(base64_bad),
		cmocka_unit_test(xml_read),	  cmocka_unit_test(xml_change),
		cmocka_unit_test(xml_hostile),	  cmocka_unit_test(calls_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
