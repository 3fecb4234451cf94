/* The passphrases of a repository: finding the one that opens it, listing, adding and removing them. No data is ever
 * rewritten: each key holds the same master key.
 */
#include "libcommon/repo/keyring.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/digest.h"
#include "libcommon/base/libcrypto.h"

#define PREFIX "keys/"

static int get_passphrase(const struct repo_key_source *key, bool confirm, char **ret,
			  struct err *err)
{
	if (!key || !key->get) {
		err_set(err, ERR_DENIED, "the repository is encrypted and there is no passphrase");
		return err_hint(err, "set VMKIT_PASSWORD_FILE or VMKIT_PASSWORD_COMMAND");
	}
	return key->get(key->ctx, confirm, ret, err);
}

int keyring_add(struct backend *b, const struct repo_config *cfg, const uint8_t master[CRYPTO_KEY],
		unsigned scrypt_log2n, const struct repo_key_source *key,
		char ret_name[KEYRING_NAME_MAX], struct err *err)
{
	uint8_t file[KEYFILE_SIZE], random[16];
	char *passphrase = NULL;
	int rc;

	if (get_passphrase(key, true, &passphrase, err))
		return -1;
	rc = keyfile_wrap(master, cfg->uuid, passphrase, scrypt_log2n, file, err);
	key->release(key->ctx, passphrase);
	if (rc || crypto_random(random, sizeof(random), err))
		return -1;
	memcpy(ret_name, PREFIX, sizeof(PREFIX));
	hex_encode(random, sizeof(random), ret_name + strlen(PREFIX));
	return backend_create(b, ret_name, file, sizeof(file), err);
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
	char *name; /* of the key that was found; KEYRING_NAME_MAX bytes or NULL */
	unsigned seen, damaged;
	bool found;
};

static int try_key(void *ctx, const char *name, struct err *err)
{
	struct key_search *s = ctx;
	uint8_t data[KEYFILE_SIZE + 1];
	struct err why = ERR_INIT;
	size_t len;

	if (s->found || s->seen >= KEYRING_MAX)
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
	if (s->name)
		(void)snprintf(s->name, KEYRING_NAME_MAX, "%s", name);
	return 0;
}

int keyring_unlock(struct backend *b, const struct repo_config *cfg,
		   const struct repo_key_source *key, uint8_t ret_master[CRYPTO_KEY],
		   char ret_name[KEYRING_NAME_MAX], struct err *err)
{
	struct key_search s = {.backend = b, .cfg = cfg, .master = ret_master, .name = ret_name};
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

int keyring_read_config(struct backend *b, uint8_t ret_data[CONFIG_SIZE + 1],
			struct repo_config *ret, struct err *err)
{
	size_t len;

	if (read_small(b, "config", ret_data, CONFIG_SIZE + 1, &len, err)) {
		/* a hint: the place itself is missing, a bucket */
		if (err && err->code == ERR_NOT_FOUND && !err->hint[0])
			return err_set(err, ERR_NOT_FOUND, "there is no repository (no config)");
		return -1;
	}
	if (config_decode(ret_data, len, ret, err))
		return err_prefix(err, "config");
	return 0;
}

/* An open folder, the master key, and the key that it came from. */
struct keyring {
	struct backend *backend;
	struct repo_config cfg;
	uint8_t master[CRYPTO_KEY];
	char current[KEYRING_NAME_MAX];
};

static int keyring_open(struct keyring *k, const char *url, const struct repo_key_source *key,
			struct err *err)
{
	uint8_t data[CONFIG_SIZE + 1];
	struct crypto *c;
	int rc;

	if (backend_open_url(&k->backend, url, err))
		return err_object(err, url);
	rc = keyring_read_config(k->backend, data, &k->cfg, err);
	if (!rc && !k->cfg.encrypted)
		rc = err_set(err, ERR_USAGE, "the repository is not encrypted: it has no keys");
	if (!rc)
		rc = keyring_unlock(k->backend, &k->cfg, key, k->master, k->current, err);
	if (!rc)
		rc = crypto_new(&c, k->master, k->cfg.uuid, err);
	if (!rc) {
		rc = config_check(c, data, err);
		crypto_free(c);
	}
	if (!rc)
		return 0;
	OPENSSL_cleanse(k->master, sizeof(k->master));
	backend_close(k->backend);
	return err_object(err, url);
}

static void keyring_close(struct keyring *k)
{
	OPENSSL_cleanse(k->master, sizeof(k->master));
	backend_close(k->backend);
}

struct key_list {
	struct keyring *k;
	struct repo_key_info *keys;
	size_t n;
};

static int list_one(void *ctx, const char *name, struct err *err)
{
	struct key_list *l = ctx;
	struct repo_key_info *p = reallocarray(l->keys, l->n + 1, sizeof(*p));
	uint8_t data[KEYFILE_SIZE + 1], id[16];
	struct err why = ERR_INIT;
	size_t len;

	if (!p)
		return err_nomem(err);
	l->keys = p;
	if (hex_decode(name + strlen(PREFIX), id, sizeof(id)) < 0)
		return 0; /* no key of ours */
	p += l->n++;
	*p = (struct repo_key_info){.current = !strcmp(name, l->k->current)};
	memcpy(p->id, name + strlen(PREFIX), sizeof(p->id) - 1);
	if (read_small(l->k->backend, name, data, sizeof(data), &len, &why) ||
	    keyfile_check(data, len, l->k->cfg.uuid, &why)) {
		p->damaged = true;
		return 0;
	}
	p->generated = keyfile_is_generated(data);
	return 0;
}

static int compare_keys(const void *a, const void *b)
{
	return strcmp(((const struct repo_key_info *)a)->id, ((const struct repo_key_info *)b)->id);
}

static int list_keys(struct keyring *k, struct key_list *l, struct err *err)
{
	*l = (struct key_list){.k = k};
	if (backend_list(k->backend, "keys", list_one, l, err)) {
		free(l->keys);
		return -1;
	}
	if (l->n)
		qsort(l->keys, l->n, sizeof(*l->keys), compare_keys);
	return 0;
}

int repo_keys(const char *url, const struct repo_key_source *key, struct repo_key_info **ret,
	      size_t *ret_n, struct err *err)
{
	struct key_list l;
	struct keyring k;
	int rc;

	if (keyring_open(&k, url, key, err))
		return -1;
	rc = list_keys(&k, &l, err);
	keyring_close(&k);
	if (rc)
		return err_object(err, url);
	*ret = l.keys;
	*ret_n = l.n;
	return 0;
}

static int add(struct keyring *k, const struct repo_key_source *fresh, unsigned scrypt_log2n,
	       char ret_id[REPO_KEY_ID + 1], struct err *err)
{
	char name[KEYRING_NAME_MAX];
	struct key_list l;

	if (list_keys(k, &l, err))
		return -1;
	free(l.keys);
	if (l.n >= KEYRING_MAX)
		return err_set(err, ERR_FAILED, "there are %zu keys, and at most %d are tried", l.n,
			       KEYRING_MAX);
	if (keyring_add(k->backend, &k->cfg, k->master, scrypt_log2n, fresh, name, err))
		return -1;
	memcpy(ret_id, name + strlen(PREFIX), REPO_KEY_ID + 1);
	return 0;
}

int repo_key_add(const char *url, const struct repo_key_source *key,
		 const struct repo_key_source *fresh, unsigned scrypt_log2n, bool replace,
		 char ret_id[REPO_KEY_ID + 1], struct err *err)
{
	struct keyring k;
	int rc;

	if (keyring_open(&k, url, key, err))
		return -1;
	rc = add(&k, fresh, scrypt_log2n, ret_id, err);
	/* The new one is durable: killed here, both open the repository. */
	if (!rc && replace)
		rc = backend_remove(k.backend, k.current, err) ||
				     backend_sync(k.backend, "keys", err)
			     ? -1
			     : 0;
	keyring_close(&k);
	return rc ? err_object(err, url) : 0;
}

/* The key that opened the repository just now stays, so there is always one that is known to work. */
static int find_key(const struct key_list *l, const char *id, const struct repo_key_info **ret,
		    struct err *err)
{
	size_t len = strlen(id), found = 0;

	for (size_t i = 0; i < l->n; i++)
		if (len >= 4 && !strncmp(l->keys[i].id, id, len)) {
			*ret = &l->keys[i];
			found++;
		}
	if (found != 1) {
		err_set(err, found ? ERR_USAGE : ERR_NOT_FOUND,
			found ? "is the beginning of several keys' ids" : "no such key");
		err_object(err, id);
		return err_hint(err, "vmbackup key list shows the ids; four digits are needed");
	}
	if (!(*ret)->current)
		return 0;
	err_set(err, ERR_USAGE, "this is the key in use, which stays%s",
		l->n == 1 ? ": it is the last one" : "");
	err_object(err, id);
	return err_hint(err, "open the repository with another one to remove it, or say "
			     "vmbackup key change");
}

int repo_key_remove(const char *url, const struct repo_key_source *key, const char *id,
		    struct err *err)
{
	const struct repo_key_info *found = NULL;
	char name[KEYRING_NAME_MAX];
	struct key_list l;
	struct keyring k;
	int rc;

	if (keyring_open(&k, url, key, err))
		return -1;
	rc = list_keys(&k, &l, err);
	if (!rc) {
		rc = find_key(&l, id, &found, err);
		if (!rc) {
			(void)snprintf(name, sizeof(name), PREFIX "%s", found->id);
			rc = backend_remove(k.backend, name, err) ||
					     backend_sync(k.backend, "keys", err)
				     ? -1
				     : 0;
		}
		free(l.keys);
	}
	keyring_close(&k);
	return rc ? err_object(err, url) : 0;
}
