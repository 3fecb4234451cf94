/* LUKS version 1, as it lies in encrypted qcow2 images: a passphrase opens a key slot, its key the sectors.
 *
 * Source: "LUKS On-Disk Format Specification", version 1.2.3. AES-XTS with plain64 sector numbers alone, which is what QEMU and
 * cryptsetup make unless told otherwise. Sectors have 512 bytes.
 */
#ifndef VMKIT_IMAGE_LUKS_H
#define VMKIT_IMAGE_LUKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libcommon/base/err.h"
#include "libcommon/image/protocol.h"

enum {
	LUKS_SECTOR = 512,
	LUKS_NEW_WRITTEN = 4096 + 504 * LUKS_SECTOR, /* a new header and its first key slot */
	LUKS_NEW_BYTES =
		4096 + 8 * 504 * LUKS_SECTOR, /* with the seven empty ones, as QEMU makes it */
};

struct luks;

/**
 * luks_open() - find the slot that @passphrase opens; *@ret is owned: luks_close()
 * @off, @len: where header and key material lie in @file
 * ERR_DENIED: no slot opens; ERR_UNSUPPORTED: another version or cipher; ERR_CORRUPT
 */
int luks_open(struct luks **ret, struct bfile *file, uint64_t off, uint64_t len,
	      const char *passphrase, struct err *err);
void luks_close(struct luks *l);

/** luks_new() - a random master key of AES-256-XTS; *@ret is owned: luks_close() */
int luks_new(struct luks **ret, struct err *err);

/**
 * luks_new_header() - of what luks_new() made: salts, digest, and a key slot that @passphrase opens
 * @iter_time: milliseconds of this processor that a try of a passphrase shall cost, at least 100 000 iterations (SHA-256)
 * @buf: LUKS_NEW_WRITTEN bytes, zeroed
 */
int luks_new_header(const struct luks *l, const char *passphrase, unsigned iter_time, uint8_t *buf,
		    struct err *err);

/** luks_crypt() - whole sectors, in place, the first of them number @sector; any thread */
int luks_crypt(const struct luks *l, bool encrypt, uint8_t *buf, size_t len, uint64_t sector,
	       struct err *err);

#endif
