/* The life of a repository handle: init, open, close. */
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/digest.h"
#include "libcommon/base/libcrypto.h"
#include "libcommon/repo/keyring.h"
#include "libcommon/repo/parity.h"
#include "libcommon/repo/store_private.h"

enum { DEFAULT_LEVEL = 3, PLACE_MAX = 2048 };

struct repo {
	char *url;
	struct store *store;
};

struct store *repo_store(struct repo *repo)
{
	return repo->store;
}

int repo_key_generate(char ret[KEY_GENERATED_LEN + 1], struct err *err)
{
	return key_generate(ret, err);
}

/* The config comes last and makes it a repository. */
static int init_objects(struct backend *b, const struct repo_init_opts *opts,
			const struct repo_key_source *key, struct err *err)
{
	struct repo_config cfg = {.version = opts->version ? opts->version : REPO_VERSION,
				  .encrypted = opts->encrypt,
				  .block_bits = 12,
				  .chunk_min_bits = 14,
				  .chunk_avg_bits = 16,
				  .chunk_max_bits = 18,
				  .region_bits = 24,
				  .level = (uint8_t)(opts->compression_level
							     ? opts->compression_level
							     : DEFAULT_LEVEL),
				  .parity = (uint8_t)opts->parity};
	uint8_t master[CRYPTO_KEY], data[CONFIG_SIZE];
	char name[KEYRING_NAME_MAX];
	struct crypto *c = NULL;
	int rc;

	if (cfg.version < 2 || cfg.version > REPO_VERSION)
		return err_set(err, ERR_USAGE, "version %u is not in 2 to %d", cfg.version,
			       REPO_VERSION);
	if (opts->compression_level > 22)
		return err_set(err, ERR_USAGE, "compression level %u is not in 1 to 22",
			       opts->compression_level);
	if (opts->parity > PARITY_PERCENT_MAX)
		return err_set(err, ERR_USAGE, "%u percent of parity are not in 0 to %d",
			       opts->parity, PARITY_PERCENT_MAX);
	if (crypto_random(cfg.uuid, sizeof(cfg.uuid), err) ||
	    crypto_random(master, sizeof(master), err))
		return -1;
	config_encode(&cfg, data);
	rc = opts->encrypt ? keyring_add(b, &cfg, master, opts->scrypt_log2n, key, name, err) : 0;
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

static int open_crypto(struct backend *b, const struct repo_key_source *key,
		       struct repo_config *cfg, struct crypto **ret, struct err *err)
{
	uint8_t data[CONFIG_SIZE + 1], master[CRYPTO_KEY];
	int rc;

	if (keyring_read_config(b, data, cfg, err) ||
	    (cfg->encrypted && keyring_unlock(b, cfg, key, master, NULL, err)))
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

bool repo_same_place(struct repo *a, struct repo *b)
{
	char x[PLACE_MAX], y[PLACE_MAX];

	backend_place(a->store->backend, x, sizeof(x));
	backend_place(b->store->backend, y, sizeof(y));
	return !memcmp(a->store->config.uuid, b->store->config.uuid, CRYPTO_UUID) && !strcmp(x, y);
}

void repo_uuid(struct repo *repo, char ret[33])
{
	hex_encode(repo->store->config.uuid, CRYPTO_UUID, ret);
}
