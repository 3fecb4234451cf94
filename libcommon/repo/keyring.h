/* The folder keys/: the master key under any number of passphrases. For open.c and keyring.c. */
#ifndef VMKIT_REPO_KEYRING_H
#define VMKIT_REPO_KEYRING_H

#include "libcommon/repo/backend.h"
#include "libcommon/repo/keys.h"
#include "libcommon/repo/repo.h"

enum { KEYRING_MAX = 16, KEYRING_NAME_MAX = 48 };

/** keyring_read_config() - ERR_NOT_FOUND: there is no repository; its authenticator is not checked */
int keyring_read_config(struct backend *b, uint8_t ret_data[CONFIG_SIZE + 1],
			struct repo_config *ret, struct err *err);

/** keyring_unlock() - the master key, by the passphrase of @key; @ret_name (may be NULL): the object it came from */
int keyring_unlock(struct backend *b, const struct repo_config *cfg,
		   const struct repo_key_source *key, uint8_t ret_master[CRYPTO_KEY],
		   char ret_name[KEYRING_NAME_MAX], struct err *err);

/** keyring_add() - wrap @master with what @key gives (asked twice); durable on 0 */
int keyring_add(struct backend *b, const struct repo_config *cfg, const uint8_t master[CRYPTO_KEY],
		unsigned scrypt_log2n, const struct repo_key_source *key,
		char ret_name[KEYRING_NAME_MAX], struct err *err);

#endif
