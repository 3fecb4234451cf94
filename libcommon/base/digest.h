/* Digests by name, over OpenSSL. */
#ifndef VMKIT_BASE_DIGEST_H
#define VMKIT_BASE_DIGEST_H

#include <stddef.h>
#include <stdint.h>

struct err;
struct digest;

enum { DIGEST_MAX = 64, DIGEST_HEX_MAX = 2 * DIGEST_MAX + 1 };

/** digest_new() - @name: md5, sha1, sha256, sha384, sha512, blake2b; ERR_USAGE for others */
int digest_new(struct digest **ret_digest, const char *name, struct err *err);

/** digest_update() - one thread at a time */
int digest_update(struct digest *d, const void *buf, size_t len, struct err *err);

/** digest_zeros() - as digest_update() with @len zero bytes */
int digest_zeros(struct digest *d, uint64_t len, struct err *err);

/** digest_final() - the value in lower-case hexadecimal; the digest takes no more updates */
int digest_final(struct digest *d, char ret_hex[DIGEST_HEX_MAX], struct err *err);

/** digest_name() - canonical, static */
const char *digest_name(const struct digest *d);

void digest_free(struct digest *d);

/** hex_encode() - @ret has room for 2 * len + 1 */
void hex_encode(const void *data, size_t len, char *ret);

/** hex_decode() - exactly 2 * len hexadecimal digits, lower case as hex_encode() makes them, and
 *  the end; Return: 0 or -1, no error object */
int hex_decode(const char *text, void *ret, size_t len);

#endif
