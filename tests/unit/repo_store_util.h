/* A repository for a test: made, opened, filled with blobs that a seed names. */
#ifndef TESTS_UNIT_REPO_STORE_UTIL_H
#define TESTS_UNIT_REPO_STORE_UTIL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "libcommon/repo/store_private.h"

static char folder[64];
static char path[128];
static struct err err;
static const char *passphrase = "correct horse";

static int key_get(void *ctx, bool confirm, char **ret, struct err *e)
{
	(void)ctx;
	(void)confirm;
	(void)e;
	*ret = strdup(passphrase);
	return *ret ? 0 : -1;
}

static void key_release(void *ctx, char *p)
{
	(void)ctx;
	free(p);
}

static const struct repo_key_source key_source = {.get = key_get, .release = key_release};

static inline void must(int rc)
{
	if (rc)
		fail_msg("%s: %s", err.object, err.message);
}

static unsigned repo_parity; /* percent, of what make_repo() makes */

static inline void make_repo(const char *name, bool encrypt)
{
	const struct repo_init_opts o = {
		.encrypt = encrypt, .scrypt_log2n = 10, .parity = repo_parity};

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	err_clear(&err);
	must(repo_init(path, &o, &key_source, &err));
}

static inline struct repo *open_repo(void)
{
	struct repo *r;

	err_clear(&err);
	must(repo_open(&r, path, &key_source, &err));
	return r;
}

/* Blob @seed: a length from 1 to 64 KiB and half-random bytes, both from the seed alone. */
static size_t blob(uint64_t seed, uint8_t *buf)
{
	uint64_t x = seed * 0x9e3779b97f4a7c15ULL + 1;
	size_t len = 1 + (size_t)(seed * 7919 % 65536);

	for (size_t i = 0; i < len; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		buf[i] = (uint8_t)(x & 0x1f);
	}
	return len;
}

static inline bool put_one(struct store *st, struct store_writer *w, unsigned worker, uint64_t seed)
{
	uint8_t *buf = malloc(65536);
	size_t len = blob(seed, buf);
	struct err e = ERR_INIT;
	struct repo_id id;
	bool is_new = false;

	assert_int_equal(store_id(st, BLOB_CHUNK, buf, len, &id, &e), 0);
	if (store_put(w, worker, BLOB_CHUNK, &id, buf, len, &is_new, &e))
		fail_msg("put: %s", e.message);
	free(buf);
	return is_new;
}

/* Return: 0 right, -1 with the error; wrong bytes end the test */
static inline int get_one(struct store *st, uint64_t seed, struct err *e)
{
	uint8_t *want = malloc(65536), *got = malloc(65536);
	size_t len = blob(seed, want);
	struct repo_id id;
	int rc;

	assert_int_equal(store_id(st, BLOB_CHUNK, want, len, &id, e), 0);
	rc = store_get(st, BLOB_CHUNK, &id, got, len, e);
	if (!rc && memcmp(want, got, len))
		fail_msg("wrong data for blob %llu", (unsigned long long)seed);
	free(want);
	free(got);
	return rc;
}

/* Blobs @from to @to through one writer; Return: how many were new */
static inline unsigned put_range(struct store *st, uint64_t from, uint64_t to)
{
	const struct store_writer_opts o = {.level = 1, .workers = 1};
	struct store_writer *w;
	uint64_t stored;
	unsigned n = 0;

	must(store_writer_new(&w, st, &o, &err));
	for (uint64_t i = from; i < to; i++)
		n += put_one(st, w, 0, i);
	must(store_writer_finish(w, &stored, &err));
	return n;
}

/* Return: how many of the blobs could not be had */
static inline unsigned get_range(struct store *st, uint64_t from, uint64_t to)
{
	unsigned bad = 0;

	for (uint64_t i = from; i < to; i++) {
		struct err e = ERR_INIT;

		if (get_one(st, i, &e)) {
			assert_true(e.code == ERR_CORRUPT || e.code == ERR_NOT_FOUND);
			bad++;
		}
	}
	return bad;
}

static inline int make_folder(void **state)
{
	(void)state;
	/* hundreds of small repositories with all their fsyncs: in memory where that can be */
	snprintf(folder, sizeof(folder), "%s/vmkit-test-store-XXXXXX",
		 access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
	return mkdtemp(folder) ? 0 : -1;
}

static inline int remove_folder(void **state)
{
	char command[200];

	(void)state;
	snprintf(command, sizeof(command), "chmod -R u+w %s && rm -rf %s", folder, folder);
	return system(command);
}

#endif
