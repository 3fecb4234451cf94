/* Ids, sealing, config and key files: known answers and refusals. */
#include "tests/unit/repo_store_util.h"

#include "libcommon/base/bytes.h"
#include "libcommon/base/digest.h"

static const uint8_t uuid[CRYPTO_UUID] = {1, 2, 3, 4};

static struct crypto *make(const uint8_t *master)
{
	struct crypto *c;

	must(crypto_new(&c, master, uuid, &err));
	return c;
}

static void test_plain_id(void **state)
{
	struct crypto *c = make(NULL);
	struct repo_id id;
	char hex[65];

	(void)state;
	/* printf '\1abc' | sha256sum */
	must(crypto_id(c, BLOB_CHUNK, "abc", 3, &id, &err));
	hex_encode(id.bytes, 32, hex);
	assert_string_equal(hex,
			    "1e18834c426d00e57788444cb3ccd62c771b420c095bb0c4e040a8c122c4570d");
	crypto_free(c);
}

static void test_keyed_ids(void **state)
{
	const uint8_t a[CRYPTO_KEY] = {1}, b[CRYPTO_KEY] = {2};
	struct crypto *x = make(a), *y = make(b);
	struct repo_id i, j, k, l;

	(void)state;
	must(crypto_id(x, BLOB_CHUNK, "abc", 3, &i, &err));
	must(crypto_id(y, BLOB_CHUNK, "abc", 3, &j, &err));
	must(crypto_id(x, BLOB_PAGE, "abc", 3, &k, &err));
	must(crypto_id(x, BLOB_CHUNK, "abc", 3, &l, &err)); /* a context is used again */
	assert_memory_not_equal(&i, &j, sizeof(i));
	assert_memory_not_equal(&i, &k, sizeof(i));
	assert_memory_equal(&i, &l, sizeof(i));
	crypto_free(x);
	crypto_free(y);
}

static void test_seal(void **state)
{
	const uint8_t salt[CRYPTO_SALT] = {7};
	struct crypto *c = make(salt);
	struct seal s = {.part = 1, .number = 2, .aad = "header", .aad_len = 6};
	uint8_t sealed[5 + CRYPTO_TAG], plain[5];
	struct seal_key key, other;

	(void)state;
	must(crypto_seal_key(c, "a", salt, &key, &err));
	must(crypto_seal_key(c, "b", salt, &other, &err));
	must(crypto_seal(c, &key, &s, "hello", 5, sealed, &err));
	must(crypto_open(c, &key, &s, sealed, 5, plain, &err));
	assert_memory_equal(plain, "hello", 5);
	assert_int_equal(crypto_open(c, &other, &s, sealed, 5, plain, &err), -1);
	assert_int_equal(err.code, ERR_CORRUPT);
	s.number = 3;
	assert_int_equal(crypto_open(c, &key, &s, sealed, 5, plain, &err), -1);
	s.number = 2;
	s.part = 0;
	assert_int_equal(crypto_open(c, &key, &s, sealed, 5, plain, &err), -1);
	s.part = 1;
	s.aad = "Header";
	assert_int_equal(crypto_open(c, &key, &s, sealed, 5, plain, &err), -1);
	crypto_free(c);
}

static void test_generated_key(void **state)
{
	uint8_t master[CRYPTO_KEY], got[CRYPTO_KEY], file[KEYFILE_SIZE];
	char key[KEY_GENERATED_LEN + 1], other[KEY_GENERATED_LEN + 1];

	(void)state;
	memset(master, 0x5a, sizeof(master));
	must(key_generate(key, &err));
	must(key_generate(other, &err));
	assert_string_not_equal(key, other);
	assert_int_equal(strlen(key), KEY_GENERATED_LEN);
	must(keyfile_wrap(master, uuid, key, 0, file, &err));
	assert_int_equal(file[12], 2); /* no scrypt */
	must(keyfile_unwrap(file, sizeof(file), uuid, key, got, &err));
	assert_memory_equal(master, got, sizeof(got));
	assert_int_equal(keyfile_unwrap(file, sizeof(file), uuid, other, got, &err), -1);
	assert_int_equal(err.code, ERR_DENIED);
	assert_int_equal(keyfile_unwrap(file, sizeof(file), uuid, "vmkit-key-", got, &err), -1);
	assert_int_equal(err.code, ERR_DENIED);
	file[13] = 15;
	assert_int_equal(keyfile_unwrap(file, sizeof(file), uuid, key, got, &err), -1);
	assert_int_equal(err.code, ERR_CORRUPT);

	/* what only looks like one is stretched */
	key[KEY_GENERATED_LEN - 1] = 'G';
	must(keyfile_wrap(master, uuid, key, 10, file, &err));
	assert_int_equal(file[12], 1);
}

static void test_keyfile(void **state)
{
	const uint8_t master[CRYPTO_KEY] = {9, 8, 7}, zero[CRYPTO_UUID] = {0};
	uint8_t file[KEYFILE_SIZE], got[CRYPTO_KEY];

	(void)state;
	must(keyfile_wrap(master, uuid, "secret", 10, file, &err));
	must(keyfile_unwrap(file, sizeof(file), uuid, "secret", got, &err));
	assert_memory_equal(got, master, sizeof(got));
	assert_int_equal(keyfile_unwrap(file, sizeof(file), uuid, "Secret", got, &err), -1);
	assert_int_equal(err.code, ERR_DENIED);
	assert_int_equal(keyfile_unwrap(file, sizeof(file), zero, "secret", got, &err), -1);
	assert_int_equal(err.code, ERR_CORRUPT);
	assert_int_equal(keyfile_unwrap(file, sizeof(file) - 1, uuid, "secret", got, &err), -1);
	file[13] = 40; /* 2^40: would take 1 PiB */
	assert_int_equal(keyfile_unwrap(file, sizeof(file), uuid, "secret", got, &err), -1);
	assert_int_equal(err.code, ERR_CORRUPT);
	file[13] = 20;
	file[15] = 2; /* each within its bounds, not together */
	assert_int_equal(keyfile_unwrap(file, sizeof(file), uuid, "secret", got, &err), -1);
	assert_int_equal(err.code, ERR_CORRUPT);
	must(keyfile_wrap(master, uuid, "secret", 0, file, &err));
	assert_int_equal(file[13], 15); /* 32 MiB */
	assert_int_equal(file[15], 3);
	must(keyfile_unwrap(file, sizeof(file), uuid, "secret", got, &err));
	assert_memory_equal(got, master, sizeof(got));
	assert_int_equal(keyfile_wrap(master, uuid, "secret", 30, file, &err), -1);
	assert_int_equal(err.code, ERR_USAGE);
}

static void test_config(void **state)
{
	struct repo_config cfg = {.version = REPO_VERSION,
				  .encrypted = true,
				  .block_bits = 12,
				  .chunk_min_bits = 14,
				  .chunk_avg_bits = 16,
				  .chunk_max_bits = 18,
				  .region_bits = 24,
				  .level = 3},
			   got;
	uint8_t data[CONFIG_SIZE];

	(void)state;
	config_encode(&cfg, data);
	must(config_decode(data, sizeof(data), &got, &err));
	assert_true(got.encrypted);
	assert_int_equal(got.region_bits, 24);
	put_le32(data + 8, REPO_VERSION + 1);
	assert_int_equal(config_decode(data, sizeof(data), &got, &err), -1);
	assert_int_equal(err.code, ERR_UNSUPPORTED);
	put_le32(data + 8, 1);
	put_le32(data + 12, 3);
	assert_int_equal(config_decode(data, sizeof(data), &got, &err), -1);
	assert_int_equal(err.code, ERR_UNSUPPORTED);
	put_le32(data + 12, 1);
	data[35] = 63;
	assert_int_equal(config_decode(data, sizeof(data), &got, &err), -1);
	assert_int_equal(err.code, ERR_CORRUPT);
	for (size_t len = 0; len < sizeof(data); len++)
		assert_int_equal(config_decode(data, len, &got, &err), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plain_id),      cmocka_unit_test(test_keyed_ids),
		cmocka_unit_test(test_seal),	      cmocka_unit_test(test_keyfile),
		cmocka_unit_test(test_generated_key), cmocka_unit_test(test_config),
	};

	return cmocka_run_group_tests_name("repo crypto", tests, NULL, NULL);
}
