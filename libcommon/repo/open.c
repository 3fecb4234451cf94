/* The life of a repository handle: init, open, close, info. */
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/digest.h"
#include "libcommon/repo/store_private.h"

enum { DEFAULT_LEVEL = 3, KEYS_MAX = 16, KEY_NAME_MAX = 48 };

struct repo {
	char *url;
	struct store *store;
};

struct store *repo_store(struct repo *repo)
{
	return repo->store;
}

static int get_passphrase(const struct repo_key_source *key, bool confirm, char **ret,
			  struct err *err)
{
	if (!key || !key->get) {
		err_set(err, ERR_DENIED, "the repository is encrypted and there is no passphrase");
		return err_hint(err, "set VMKIT_PASSWORD_FILE or VMKIT_PASSWORD_COMMAND");
	}
	return key->get(key->ctx, confirm, ret, err);
}

int repo_key_generate(char ret[KEY_GENERATED_LEN + 1], struct err *err)
{
	return key_generate(ret, err);
}

static int write_key(struct backend *b, const struct repo_config *cfg,
		     const uint8_t master[CRYPTO_KEY], const struct repo_init_opts *opts,
		     const struct repo_key_source *key, struct err *err)
{
	uint8_t file[KEYFILE_SIZE], random[16];
	char name[KEY_NAME_MAX] = "keys/", *passphrase = NULL;
	int rc;

	if (get_passphrase(key, true, &passphrase, err))
		return -1;
	rc = keyfile_wrap(master, cfg->uuid, passphrase, opts->scrypt_log2n, file, err);
	key->release(key->ctx, passphrase);
	if (rc || crypto_random(random, sizeof(random), err))
		return -1;
	hex_encode(random, sizeof(random), name + 5);
	return backend_create(b, name, file, sizeof(file), err);
}

/* The config comes last and makes it a repository. */
static int init_objects(struct backend *b, const struct repo_init_opts *opts,
			const struct repo_key_source *key, struct err *err)
{
	struct repo_config cfg = {.version = REPO_VERSION,
				  .encrypted = opts->encrypt,
				  .block_bits = 12,
				  .chunk_min_bits = 14,
				  .chunk_avg_bits = 16,
				  .chunk_max_bits = 18,
				  .region_bits = 24,
				  .level = (uint8_t)(opts->compression_level
							     ? opts->compression_level
							     : DEFAULT_LEVEL)};
	uint8_t master[CRYPTO_KEY], data[CONFIG_SIZE];
	struct crypto *c = NULL;
	int rc;

	if (opts->compression_level > 22)
		return err_set(err, ERR_USAGE, "compression level %u is not in 1 to 22",
			       opts->compression_level);
	if (crypto_random(cfg.uuid, sizeof(cfg.uuid), err) ||
	    crypto_random(master, sizeof(master), err))
		return -1;
	config_encode(&cfg, data);
	rc = opts->encrypt ? write_key(b, &cfg, master, opts, key, err) : 0;
	if (!rc)
		rc = crypto_new(&c, opts->encrypt ? master : NULL, cfg.uuid, err);
	OPENSSL_cleanse(master, sizeof(master));
	if (!rc)
		rc = config_seal(c, data, err);
	if (!rc)
		rc = backend_create(b, "config", data, sizeof(data), err);
	crypto_free(c);
	return rc;
}

int repo_init(const char *url, const struct repo_init_opts *opts, const struct repo_key_source *key,
	      struct err *err)
{
	struct backend *b;
	int rc;

	if (backend_init_url(url, err) || backend_open_url(&b, url, err))
		return err_object(err, url);
	rc = init_objects(b, opts, key, err);
	backend_close(b);
	return rc ? err_object(err, url) : 0;
}

static int read_small(struct backend *b, const char *name, uint8_t *buf, size_t cap,
		      size_t *ret_len, struct err *err)
{
	struct backend_object *o;
	uint64_t size;
	int rc;

	if (backend_open(b, name, &o, &size, err))
		return -1;
	*ret_len = size < cap ? (size_t)size : cap;
	rc = backend_object_read(o, 0, buf, *ret_len, err);
	backend_object_close(o);
	return rc;
}

struct key_search {
	struct backend *backend;
	const struct repo_config *cfg;
	const char *passphrase;
	uint8_t *master;
	unsigned seen, damaged;
	bool found;
};

static int try_key(void *ctx, const char *name, struct err *err)
{
	struct key_search *s = ctx;
	uint8_t data[KEYFILE_SIZE + 1];
	struct err why = ERR_INIT;
	size_t len;

	if (s->found || s->seen >= KEYS_MAX)
		return 0;
	s->seen++;
	if (read_small(s->backend, name, data, sizeof(data), &len, &why) ||
	    keyfile_unwrap(data, len, s->cfg->uuid, s->passphrase, s->master, &why)) {
		if (why.code != ERR_DENIED && why.code != ERR_CORRUPT &&
		    why.code != ERR_UNSUPPORTED) {
			*err = why;
			return err_object(err, name);
		}
		s->damaged += why.code != ERR_DENIED;
		return 0;
	}
	s->found = true;
	return 0;
}

static int unlock(struct backend *b, const struct repo_config *cfg,
		  const struct repo_key_source *key, uint8_t master[CRYPTO_KEY], struct err *err)
{
	struct key_search s = {.backend = b, .cfg = cfg, .master = master};
	char *passphrase = NULL;
	int rc;

	if (get_passphrase(key, false, &passphrase, err))
		return -1;
	s.passphrase = passphrase;
	rc = backend_list(b, "keys", try_key, &s, err);
	key->release(key->ctx, passphrase);
	if (rc || s.found)
		return rc;
	if (!s.seen)
		return err_set(err, ERR_CORRUPT, "has no key: the folder keys is empty");
	if (s.seen == s.damaged)
		return err_set(err, ERR_CORRUPT, "all %u keys are damaged or of another repository",
			       s.seen);
	return err_set(err, ERR_DENIED, "wrong passphrase");
}

static int read_config(struct backend *b, uint8_t data[CONFIG_SIZE + 1], struct repo_config *ret,
		       struct err *err)
{
	size_t len;

	if (read_small(b, "config", data, CONFIG_SIZE + 1, &len, err)) {
		/* a hint: the place itself is missing, a bucket */
		if (err && err->code == ERR_NOT_FOUND && !err->hint[0])
			return err_set(err, ERR_NOT_FOUND, "there is no repository (no config)");
		return -1;
	}
	if (config_decode(data, len, ret, err))
		return err_prefix(err, "config");
	return 0;
}

static int open_crypto(struct backend *b, const struct repo_key_source *key,
		       struct repo_config *cfg, struct crypto **ret, struct err *err)
{
	uint8_t data[CONFIG_SIZE + 1], master[CRYPTO_KEY];
	int rc;

	if (read_config(b, data, cfg, err) || (cfg->encrypted && unlock(b, cfg, key, master, err)))
		return -1;
	rc = crypto_new(ret, cfg->encrypted ? master : NULL, cfg->uuid, err);
	OPENSSL_cleanse(master, sizeof(master));
	if (!rc && config_check(*ret, data, err)) {
		crypto_free(*ret);
		return err_prefix(err, "config");
	}
	return rc;
}

int repo_open(struct repo **ret, const char *url, const struct repo_key_source *key,
	      struct err *err)
{
	struct err why = ERR_INIT;
	struct repo_config cfg;
	struct backend *b;
	struct crypto *c;
	struct repo *r;
	int rc;

	if (!err)
		err = &why;
	if (backend_open_url(&b, url, err))
		return err_object(err, url);
	if (open_crypto(b, key, &cfg, &c, err)) {
		backend_close(b);
		return err_object(err, url);
	}
	r = calloc(1, sizeof(*r));
	if (!r || !(r->url = strdup(url))) {
		free(r);
		crypto_free(c);
		backend_close(b);
		return err_nomem(err);
	}
	rc = store_open(&r->store, b, c, &cfg, err);
	if (rc) {
		free(r->url);
		free(r);
		return err_object(err, url);
	}
	*ret = r;
	return 0;
}

void repo_close(struct repo *repo)
{
	if (!repo)
		return;
	store_close(repo->store);
	free(repo->url);
	free(repo);
}

struct folder_sum {
	struct backend *backend;
	json_int_t n, bytes;
};

static int sum(void *ctx, const char *name, struct err *err)
{
	struct folder_sum *s = ctx;
	struct backend_object *o;
	struct err why = ERR_INIT;
	uint64_t size;

	(void)err;
	if (backend_open(s->backend, name, &o, &size, &why))
		return 0; /* gone, or no plain file: verify speaks of it */
	backend_object_close(o);
	s->n++;
	s->bytes += (json_int_t)size;
	return 0;
}

static uint64_t indexed_blobs(struct store *st)
{
	uint64_t n = 0;

	pthread_rwlock_rdlock(&st->runs_lock);
	for (size_t i = 0; i < st->n_runs; i++)
		n += st->runs[i]->n_entries;
	pthread_rwlock_unlock(&st->runs_lock);
	return n;
}

void repo_uuid(struct repo *repo, char ret[33])
{
	hex_encode(repo->store->config.uuid, CRYPTO_UUID, ret);
}

int repo_info_json(struct repo *repo, json_t **ret, struct err *err)
{
	static const char *const names[] = {"packs", "index", "snapshots", "keys", "bad"};
	struct store *st = repo->store;
	struct folder_sum s[5] = {{0}};
	char uuid[2 * CRYPTO_UUID + 1];
	json_int_t total = CONFIG_SIZE;

	if (store_refresh(st, err))
		return -1;
	for (size_t i = 0; i < 5; i++) {
		s[i].backend = st->backend;
		if (backend_list(st->backend, names[i], sum, &s[i], err))
			return -1;
		total += s[i].bytes;
	}
	hex_encode(st->config.uuid, CRYPTO_UUID, uuid);
	*ret = json_pack(
		"{s:s, s:s, s:i, s:b, s:s, s:i, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
		"repository", repo->url, "id", uuid, "version", (int)st->config.version,
		"encrypted", (int)st->config.encrypted, "cipher",
		st->config.encrypted ? "aes-256-gcm" : "none", "compression_level",
		(int)st->config.level, "packs", s[0].n, "pack_bytes", s[0].bytes, "index_runs",
		s[1].n, "index_bytes", s[1].bytes, "blobs", (json_int_t)indexed_blobs(st),
		"snapshots", s[2].n, "keys", s[3].n, "damage_records", s[4].n, "stored_bytes",
		total);
	return *ret ? 0 : err_nomem(err);
}
