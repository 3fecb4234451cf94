/* The pure parts of the S3 backend: signatures (AWS's own examples), encoding, listings, errors, retries, configuration. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "libcommon/repo/s3_config.h"
#include "libcommon/repo/s3_retry.h"
#include "libcommon/repo/s3_sign.h"
#include "libcommon/repo/s3_xml.h"

static struct err err;

/* https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html, the four examples */
static void signatures(void **state)
{
	static const struct {
		const char *method, *path, *query, *payload, *signature;
		struct s3_header extra[4];
		size_t n;
	} v[] = {
		{"GET",
		 "/test.txt",
		 "",
		 s3_sha256_empty,
		 "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
		 {{"range", "bytes=0-9"}},
		 1},
		{"PUT",
		 "/test%24file.text",
		 "",
		 "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
		 "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
		 {{"date", "Fri, 24 May 2013 00:00:00 GMT"},
		  {"x-amz-storage-class", "REDUCED_REDUNDANCY"}},
		 2},
		{"GET",
		 "/",
		 "lifecycle=",
		 s3_sha256_empty,
		 "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
		 {{NULL, NULL}},
		 0},
		{"GET",
		 "/",
		 "max-keys=2&prefix=J",
		 s3_sha256_empty,
		 "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
		 {{NULL, NULL}},
		 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(v) / sizeof(*v); i++) {
		struct s3_header h[8] = {
			{"host", "examplebucket.s3.amazonaws.com"},
			{"x-amz-date", "20130524T000000Z"},
			{"x-amz-content-sha256", v[i].payload},
		};
		struct s3_to_sign s = {
			.method = v[i].method,
			.path = v[i].path,
			.query = v[i].query,
			.headers = h,
			.n_headers = 3 + v[i].n,
			.payload_sha256 = v[i].payload,
			.date = "20130524T000000Z",
			.region = "us-east-1",
			.access_key = "AKIAIOSFODNN7EXAMPLE",
			.secret_key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
		};
		char auth[S3_AUTH_MAX];

		memcpy(h + 3, v[i].extra, v[i].n * sizeof(*h));
		assert_int_equal(s3_sign(&s, auth, &err), 0);
		assert_non_null(strstr(auth, "Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/"
					     "s3/aws4_request,SignedHeaders="));
		assert_string_equal(strstr(auth, "Signature=") + 10, v[i].signature);
	}
}

static void signature_limits(void **state)
{
	char big[9000], auth[S3_AUTH_MAX];
	struct s3_header h[2] = {{"host", "h"}, {"x-amz-meta-x", big}};
	struct s3_to_sign s = {.method = "GET",
			       .path = "/",
			       .query = "",
			       .headers = h,
			       .n_headers = 2,
			       .payload_sha256 = s3_sha256_empty,
			       .date = "20130524T000000Z",
			       .region = "r",
			       .access_key = "a",
			       .secret_key = "s"};

	(void)state;
	memset(big, 'x', sizeof(big));
	big[sizeof(big) - 1] = 0;
	assert_int_equal(s3_sign(&s, auth, &err), -1);
	assert_int_equal(err.code, ERR_USAGE);
	s.n_headers = 1;
	assert_int_equal(s3_sign(&s, auth, &err), 0);
	s.secret_key = big;
	assert_int_equal(s3_sign(&s, auth, &err), -1);
	s.secret_key = "s";
	s.access_key = big;
	assert_int_equal(s3_sign(&s, auth, &err), -1);
	s.access_key = "a";
	s.region = big;
	assert_int_equal(s3_sign(&s, auth, &err), -1);
	s.n_headers = S3_HEADERS_MAX + 1;
	assert_int_equal(s3_sign(&s, auth, &err), -1);
}

static void encoding(void **state)
{
	char out[64], date[S3_DATE], sha[S3_HEX];

	(void)state;
	assert_int_equal(s3_encode("a/b c+~é", 1, out, sizeof(out)), 17);
	assert_string_equal(out, "a/b%20c%2B~%C3%A9");
	s3_encode("a/b=&", 0, out, sizeof(out));
	assert_string_equal(out, "a%2Fb%3D%26");
	assert_int_equal(s3_encode("abcd", 0, out, 4), -1);
	assert_int_equal(s3_encode("", 0, out, 4), 0);
	s3_date(1369353600, date);
	assert_string_equal(date, "20130524T000000Z");
	assert_int_equal(s3_sha256("", 0, sha, &err), 0);
	assert_string_equal(sha, s3_sha256_empty);
}

struct found {
	unsigned n;
	char last[S3_KEY_MAX], etag[128];
	uint64_t bytes;
};

static int note(void *ctx, const struct s3_list_entry *o, struct err *e)
{
	struct found *f = ctx;

	(void)e;
	f->n++;
	f->bytes += o->size;
	snprintf(f->last, sizeof(f->last), "%s", o->key);
	snprintf(f->etag, sizeof(f->etag), "%s", o->etag);
	return 0;
}

static int parse(const char *xml, struct found *f, struct s3_list_page *page)
{
	memset(f, 0, sizeof(*f));
	err_clear(&err);
	return s3_list_parse(xml, strlen(xml), note, f, page, &err);
}

static void listings(void **state)
{
	struct s3_list_page page;
	struct found f;

	(void)state;
	assert_int_equal(
		parse("<?xml version=\"1.0\"?>\n<!-- x --><ListBucketResult xmlns=\"u\">"
		      "<Name>b</Name><Contents><Key>a&amp;b&#x20AC;&#9731;</Key><Size>12</Size>"
		      "<Owner><ID>9</ID><Key>no</Key></Owner></Contents><Contents><Size>3</Size>"
		      "<Key>c</Key><StorageClass/><ETag>&quot;9a&quot;</ETag></"
		      "Contents><CommonPrefixes/>"
		      "<IsTruncated>true</IsTruncated><NextContinuationToken>t&lt;1"
		      "</NextContinuationToken></ListBucketResult>\n",
		      &f, &page),
		0);
	assert_int_equal(f.n, 2);
	assert_int_equal(f.bytes, 15);
	assert_string_equal(f.last, "c");
	assert_string_equal(f.etag, "\"9a\"");
	assert_true(page.truncated);
	assert_string_equal(page.token, "t<1");
	assert_int_equal(parse("<s3:ListBucketResult><s3:Contents><s3:Key>a&amp;b&#x20AC;&#9731;"
			       "</s3:Key><s3:Size>0</s3:Size></s3:Contents></s3:ListBucketResult>",
			       &f, &page),
			 0);
	assert_string_equal(f.last, "a&b\xe2\x82\xac\xe2\x98\x83");
	assert_false(page.truncated);
}

static void hostile_listings(void **state)
{
	static const char *const bad[] = {
		"",
		"hello",
		"<html></html>",
		"<ListBucketResult>",
		"<ListBucketResult></Other>",
		"<ListBucketResult/><ListBucketResult/>",
		"<!DOCTYPE x [<!ENTITY a \"b\">]><ListBucketResult/>",
		"<ListBucketResult><Contents></Contents></ListBucketResult>",
		"<ListBucketResult><Contents><Key>a</Key></Contents></ListBucketResult>",
		"<ListBucketResult><Contents><Key>a</Key><Size>-1</Size></Contents></"
		"ListBucketResult>",
		"<ListBucketResult><Contents><Key>a</Key><Size>99999999999999999999</Size></"
		"Contents>"
		"</ListBucketResult>",
		"<ListBucketResult><Contents><Key>&evil;</Key><Size>1</Size></Contents></"
		"ListBucketResult>",
		"<ListBucketResult><Contents><Key>&#0;</Key><Size>1</Size></Contents></"
		"ListBucketResult>",
		"<ListBucketResult><Contents><Key>&#xD800;</Key><Size>1</Size></Contents></"
		"ListBucketResult>",
		"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
		"<a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a>",
		"<ListBucketResult><x",
		"<ListBucketResult><!-- ",
		"<>",
	};
	struct s3_list_page page;
	struct found f;
	char *xml = malloc(9000);

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		if (!parse(bad[i], &f, &page))
			fail_msg("taken: %s", bad[i]);
		assert_int_equal(err.code, ERR_CORRUPT);
	}
	/* a key of 1024 bytes is the longest */
	for (int len = 1024; len < 1026; len++) {
		int n = snprintf(xml, 9000, "<ListBucketResult><Contents><Size>1</Size><Key>");

		memset(xml + n, 'k', (size_t)len);
		snprintf(xml + n + len, 100, "</Key></Contents></ListBucketResult>");
		assert_int_equal(parse(xml, &f, &page), len == 1024 ? 0 : -1);
	}
	free(xml);
}

static void errors(void **state)
{
	static const char text[] =
		"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please "
		"&lt;wait&gt;</Message><Resource><Code>no</Code></Resource></Error>";
	struct s3_error e;

	(void)state;
	s3_error_parse(text, strlen(text), &e);
	assert_string_equal(e.code, "SlowDown");
	assert_string_equal(e.message, "Please <wait>");
	s3_error_parse("<html>", 6, &e);
	assert_string_equal(e.code, "");
	s3_error_parse("<Error><Code>A</Co", 18, &e);
	assert_string_equal(e.code, "A");
	s3_error_parse("", 0, &e);
	assert_string_equal(e.code, "");
}

static void verdicts(void **state)
{
	static const struct {
		long status;
		const char *code;
		enum err_code want;
	} v[] = {
		{200, "", ERR_NONE},
		{206, "", ERR_NONE},
		{304, "", ERR_NONE},
		{412, "PreconditionFailed", ERR_EXISTS},
		{409, "ConditionalRequestConflict", ERR_TIMEOUT},
		{404, "NoSuchKey", ERR_NOT_FOUND},
		{404, "", ERR_NOT_FOUND},
		{403, "AccessDenied", ERR_DENIED},
		{403, "", ERR_DENIED},
		{403, "QuotaExceeded", ERR_NO_SPACE},
		{403, "RequestTimeTooSkewed", ERR_DENIED},
		{400, "RequestTimeout", ERR_TIMEOUT},
		{400, "BadDigest", ERR_TIMEOUT},
		{400, "AuthorizationHeaderMalformed", ERR_USAGE},
		{400, "", ERR_FAILED},
		{301, "", ERR_USAGE},
		{429, "", ERR_TIMEOUT},
		{500, "InternalError", ERR_TIMEOUT},
		{501, "NotImplemented", ERR_UNSUPPORTED},
		{503, "SlowDown", ERR_TIMEOUT},
		{507, "", ERR_NO_SPACE},
		{599, "", ERR_TIMEOUT},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(v) / sizeof(*v); i++)
		if (s3_verdict(v[i].status, v[i].code) != v[i].want)
			fail_msg("%ld %s", v[i].status, v[i].code);
}

static void delays(void **state)
{
	(void)state;
	assert_int_equal(s3_retry_delay_ms(1, 100), 100);
	assert_int_equal(s3_retry_delay_ms(1, 101), 0);
	assert_int_equal(s3_retry_delay_ms(2, 200), 200);
	assert_int_equal(s3_retry_delay_ms(5, 1600), 1600);
	assert_int_equal(s3_retry_delay_ms(9, 20000), 20000);
	assert_int_equal(s3_retry_delay_ms(9, 20001), 0);
	assert_int_equal(s3_retry_delay_ms(4000000000U, 20000), 20000);
	for (unsigned n = 0; n < 70; n++)
		assert_true(s3_retry_delay_ms(n, UINT64_MAX) <= 20000);
}

static void urls(void **state)
{
	static const char *const bad[] = {
		"s3:bucket",
		"s3://",
		"s3://ab",
		"s3://Bucket",
		"s3://bucket//a",
		"s3://bucket/a/./b",
		"s3://bucket/../b",
		"s3://bucket/a\nb",
		"s3://bucket/a//b/c",
		"bucket",
	};
	struct s3_config *c = calloc(1, sizeof(*c));
	char *longest = malloc(700);

	(void)state;
	assert_int_equal(s3_config_url(c, "s3://bucket", &err), 0);
	assert_string_equal(c->bucket, "bucket");
	assert_string_equal(c->prefix, "");
	assert_int_equal(s3_config_url(c, "//my-bucket/", &err), 0);
	assert_string_equal(c->prefix, "");
	assert_int_equal(s3_config_url(c, "s3://bucket/a b/..c/", &err), 0);
	assert_string_equal(c->prefix, "a b/..c/");
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		err_clear(&err);
		if (!s3_config_url(c, bad[i], &err))
			fail_msg("taken: %s", bad[i]);
		assert_int_equal(err.code, ERR_USAGE);
	}
	memset(longest, 'x', 700);
	memcpy(longest, "s3://bucket/", 12);
	longest[699] = 0;
	assert_int_equal(s3_config_url(c, longest, &err), -1);
	free(longest);
	free(c);
}

static void endpoints(void **state)
{
	static const struct {
		const char *text, *base, *host;
	} good[] = {
		{"https://s3.example.com", "https://s3.example.com", "s3.example.com"},
		{"https://h:443/", "https://h:443", "h"},
		{"http://h:80", "http://h:80", "h"},
		{"http://h:443", "http://h:443", "h:443"},
		{"https://h:4430", "https://h:4430", "h:4430"},
		{"http://127.0.0.1:7480", "http://127.0.0.1:7480", "127.0.0.1:7480"},
		{"http://[::1]:9", "http://[::1]:9", "[::1]:9"},
		{"https://[::1]", "https://[::1]", "[::1]"},
	};
	static const char *const bad[] = {
		"s3.example.com", "ftp://h",	"http://",	 "http://h:",	"http://h:x",
		"http://h/path",  "http://u@h", "https://h?x=1", "https://h h", "http://[::1",
	};
	struct s3_config *c = calloc(1, sizeof(*c));

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		if (s3_config_endpoint(c, good[i].text, &err))
			fail_msg("%s: %s", good[i].text, err.message);
		assert_string_equal(c->base, good[i].base);
		assert_string_equal(c->host, good[i].host);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		if (!s3_config_endpoint(c, bad[i], &err))
			fail_msg("taken: %s", bad[i]);
	free(c);
}

static void locks(void **state)
{
	static const char *const bad[] = {"",
					  "compliance",
					  "compliance:",
					  "compliance:0",
					  "legal:1",
					  "compliance:x",
					  "governance:-1",
					  "governance:1d",
					  "governance:36501"};
	struct s3_config *c = calloc(1, sizeof(*c));

	(void)state;
	assert_int_equal(s3_config_lock(c, "Compliance:30", &err), 0);
	assert_string_equal(c->lock_mode, "COMPLIANCE");
	assert_int_equal(c->lock_days, 30);
	assert_int_equal(s3_config_lock(c, "governance:36500", &err), 0);
	assert_string_equal(c->lock_mode, "GOVERNANCE");
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		if (!s3_config_lock(c, bad[i], &err) || err.code != ERR_USAGE)
			fail_msg("taken: %s", bad[i]);
	free(c);
}

static void profiles(void **state)
{
	static const char text[] =
		"# mine\n[other]\naws_access_key_id = no\n\n[default]\r\naws_access_key_id=AK\r\n"
		"aws_secret_access_key = S/K+=  \nregion = x\n[third]\naws_access_key_id\t=\tA3\n"
		"aws_secret_access_key=S3\naws_session_token=T3";
	struct s3_config *c = calloc(1, sizeof(*c));

	(void)state;
	assert_int_equal(s3_config_profile(c, text, "default", &err), 0);
	assert_string_equal(c->access_key, "AK");
	assert_string_equal(c->secret_key, "S/K+=");
	assert_string_equal(c->token, "");
	assert_int_equal(s3_config_profile(c, text, "third", &err), 0);
	assert_string_equal(c->access_key, "A3");
	assert_string_equal(c->token, "T3");
	s3_config_wipe(c);
	assert_int_equal(s3_config_profile(c, text, "other", &err), -1);
	assert_int_equal(err.code, ERR_DENIED);
	s3_config_wipe(c);
	assert_int_equal(s3_config_profile(c, text, "none", &err), -1);
	assert_int_equal(s3_config_profile(c, "", "default", &err), -1);
	free(c);
}

static void environment(void **state)
{
	const struct repo_s3_opts opts = {.retries = 4, .stall_ms = 1500};
	static const char *const names[] = {"AWS_ACCESS_KEY_ID",  "AWS_SECRET_ACCESS_KEY",
					    "AWS_SESSION_TOKEN",  "AWS_REGION",
					    "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL",
					    "AWS_CA_BUNDLE",	  "AWS_SHARED_CREDENTIALS_FILE",
					    "AWS_PROFILE",	  "HOME"};
	struct s3_config *c = calloc(1, sizeof(*c));
	char path[] = "/tmp/vmkit-s3.XXXXXX";
	int fd = mkstemp(path);

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		unsetenv(names[i]);
	assert_int_equal(s3_config_load(c, "s3://bucket/p", &opts, &err), -1);
	assert_int_equal(err.code, ERR_DENIED);
	assert_true(err.hint[0]);
	setenv("AWS_ACCESS_KEY_ID", "A", 1);
	assert_int_equal(s3_config_load(c, "s3://bucket/p", &opts, &err), -1);
	setenv("AWS_SECRET_ACCESS_KEY", "S", 1);
	assert_int_equal(s3_config_load(c, "s3://bucket/p", &opts, &err), 0);
	assert_string_equal(c->base, "https://s3.us-east-1.amazonaws.com");
	assert_string_equal(c->access_key, "A");
	assert_int_equal(c->retries, 4);
	assert_int_equal(c->stall_s, 2);
	setenv("AWS_DEFAULT_REGION", "eu-1", 1);
	setenv("AWS_ENDPOINT_URL", "http://h", 1);
	assert_int_equal(s3_config_load(c, "s3://bucket/p", &opts, &err), 0);
	assert_string_equal(c->region, "eu-1");
	assert_string_equal(c->base, "http://h");
	setenv("AWS_REGION", "bad/region", 1);
	assert_int_equal(s3_config_load(c, "s3://bucket/p", &opts, &err), -1);
	assert_int_equal(err.code, ERR_USAGE);
	unsetenv("AWS_REGION");
	unsetenv("AWS_ACCESS_KEY_ID");
	unsetenv("AWS_SECRET_ACCESS_KEY");
	setenv("AWS_SHARED_CREDENTIALS_FILE", path, 1);
	assert_int_equal(write(fd, "[p]\naws_access_key_id=X\naws_secret_access_key=Y\n", 49), 49);
	assert_int_equal(s3_config_load(c, "s3://bucket/p", &opts, &err), -1);
	setenv("AWS_PROFILE", "p", 1);
	assert_int_equal(s3_config_load(c, "s3://bucket/p", &opts, &err), 0);
	assert_string_equal(c->secret_key, "Y");
	close(fd);
	unlink(path);
	free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(signatures),
		cmocka_unit_test(signature_limits),
		cmocka_unit_test(encoding),
		cmocka_unit_test(listings),
		cmocka_unit_test(hostile_listings),
		cmocka_unit_test(errors),
		cmocka_unit_test(verdicts),
		cmocka_unit_test(delays),
		cmocka_unit_test(urls),
		cmocka_unit_test(endpoints),
		cmocka_unit_test(locks),
		cmocka_unit_test(profiles),
		cmocka_unit_test(environment),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
