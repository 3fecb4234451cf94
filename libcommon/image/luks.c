/* LUKS version 1: see luks.h. The header is hostile until its digest fits. */
#include "libcommon/image/luks.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/libcrypto.h"
#include "libcommon/base/stop.h"

enum {
	HEADER = 592,
	SLOTS = 8,
	SLOT = 48,
	SLOT_ACTIVE = 0x00AC71F3,
	KEY_MOST = 64,
	STRIPES_MOST = 4000,
	DIGEST = 20,
	SALT = 32,
	ITERATIONS_MOST = 1 << 26, /* some 20 s; QEMU and cryptsetup take what lasts 2 s */
	AT_CIPHER = 8,
	AT_MODE = 40,
	AT_HASH = 72,
	AT_KEY_BYTES = 108,
	AT_DIGEST = 112,
	AT_DIGEST_SALT = 132,
	AT_DIGEST_ITERATIONS = 164,
	AT_UUID = 168,
	AT_SLOTS = 208,
	SLOT_EMPTY = 0x0000DEAD,
	SLOT_SECTORS = 504, /* of new headers: 64 * 4000 bytes, to a multiple of 4 KiB */
	FIRST_SLOT_SECTOR = 8,
	ITERATIONS_LEAST = 100000,
	CALIBRATION_NS = 10000000,
};

struct luks {
	const EVP_CIPHER *cipher; /* static */
	uint8_t key[KEY_MOST];
};

struct header {
	uint8_t raw[HEADER];
	const EVP_MD *hash;
	uint32_t key_len;
};

static int parse(struct header *h, struct luks *l, struct err *err)
{
	const uint8_t *p = h->raw;
	char hash[33] = "";

	if (memcmp(p, "LUKS\xba\xbe", 6) != 0)
		return err_set(err, ERR_CORRUPT, "there is no LUKS header where it should be");
	if (get_be16(p + 6) != 1)
		return err_set(err, ERR_UNSUPPORTED, "LUKS version %u is not read here",
			       get_be16(p + 6));
	h->key_len = get_be32(p + AT_KEY_BYTES);
	if (strncmp((const char *)p + AT_CIPHER, "aes", 32) != 0 ||
	    strncmp((const char *)p + AT_MODE, "xts-plain64", 32) != 0 ||
	    (h->key_len != 32 && h->key_len != 64))
		return err_set(err, ERR_UNSUPPORTED,
			       "LUKS with the cipher %.31s-%.31s and keys of %" PRIu32
			       " bytes is not read here, only AES-XTS with plain64",
			       (const char *)p + AT_CIPHER, (const char *)p + AT_MODE, h->key_len);
	memcpy(hash, p + AT_HASH, 32);
	h->hash = EVP_get_digestbyname(hash);
	if (!h->hash)
		return err_set(err, ERR_UNSUPPORTED, "LUKS with an unknown hash");
	l->cipher = h->key_len == 64 ? EVP_aes_256_xts() : EVP_aes_128_xts();
	return 0;
}

static int derive(const struct header *h, const void *from, size_t from_len, const uint8_t *salt,
		  uint32_t iterations, uint8_t *ret, size_t len, struct err *err)
{
	if (!iterations || iterations > ITERATIONS_MOST)
		return err_set(err, ERR_CORRUPT, "the LUKS header wants %" PRIu32 " iterations",
			       iterations);
	if (from_len > INT32_MAX || PKCS5_PBKDF2_HMAC(from, (int)from_len, salt, SALT,
						      (int)iterations, h->hash, (int)len, ret) != 1)
		return err_set(err, ERR_FAILED, "cannot derive a key");
	return 0;
}

/* Each piece of the block becomes the hash of its number and itself */
static int diffuse(const struct header *h, uint8_t *block, struct err *err)
{
	uint8_t digest[EVP_MAX_MD_SIZE], in[4 + EVP_MAX_MD_SIZE];
	size_t size = (size_t)EVP_MD_get_size(h->hash);

	for (uint32_t i = 0, at = 0; at < h->key_len; i++, at += (uint32_t)size) {
		size_t n = (size_t)min_u64(size, h->key_len - at);

		put_be32(in, i);
		memcpy(in + 4, block + at, n);
		if (EVP_Digest(in, 4 + n, digest, NULL, h->hash, NULL) != 1)
			return err_set(err, ERR_FAILED, "cannot hash");
		memcpy(block + at, digest, n);
	}
	return 0;
}

/* The key was split so that every stripe is needed */
static int merge(const struct header *h, const uint8_t *material, uint32_t stripes, uint8_t *ret,
		 struct err *err)
{
	memset(ret, 0, h->key_len);
	for (uint32_t s = 0; s < stripes; s++) {
		for (uint32_t i = 0; i < h->key_len; i++)
			ret[i] ^= material[(size_t)s * h->key_len + i];
		if (s + 1 < stripes && diffuse(h, ret, err) < 0)
			return -1;
	}
	return 0;
}

/* *@ret_found: @l->key is the disk's */
static int try_slot(const struct header *h, const uint8_t *slot, struct bfile *file, uint64_t off,
		    uint64_t len, const char *passphrase, struct luks *l, bool *ret_found,
		    struct err *err)
{
	uint32_t stripes = get_be32(slot + 44);
	uint64_t place = (uint64_t)get_be32(slot + 40) * LUKS_SECTOR,
		 size = round_up((uint64_t)h->key_len * stripes, LUKS_SECTOR);
	uint8_t candidate[KEY_MOST], digest[DIGEST], *material;
	int rc;

	if (!stripes || stripes > STRIPES_MOST || !range_inside(place, size, len))
		return err_set(err, ERR_CORRUPT,
			       "the key material of a LUKS slot lies at offset %" PRIu64
			       ", outside of its header",
			       place);
	material = OPENSSL_malloc(size);
	if (!material)
		return err_nomem(err);
	rc = bfile_pread(file, material, (size_t)size, off + place, err);
	if (rc == 0)
		rc = derive(h, passphrase, strlen(passphrase), slot + 8, get_be32(slot + 4), l->key,
			    h->key_len, err);
	if (rc == 0)
		rc = luks_crypt(l, false, material, (size_t)size, 0, err);
	if (rc == 0)
		rc = merge(h, material, stripes, candidate, err);
	if (rc == 0)
		rc = derive(h, candidate, h->key_len, h->raw + AT_DIGEST_SALT,
			    get_be32(h->raw + AT_DIGEST_ITERATIONS), digest, DIGEST, err);
	*ret_found = rc == 0 && CRYPTO_memcmp(digest, h->raw + AT_DIGEST, DIGEST) == 0;
	if (*ret_found)
		memcpy(l->key, candidate, h->key_len);
	OPENSSL_cleanse(candidate, sizeof(candidate));
	OPENSSL_clear_free(material, size);
	return rc;
}

int luks_open(struct luks **ret, struct bfile *file, uint64_t off, uint64_t len,
	      const char *passphrase, struct err *err)
{
	struct luks *l = calloc(1, sizeof(*l));
	bool found = false;
	struct header h;
	int rc;

	if (!l)
		return err_nomem(err);
	if (len < HEADER)
		rc = err_set(err, ERR_CORRUPT, "a LUKS header of %" PRIu64 " bytes", len);
	else
		rc = bfile_pread(file, h.raw, HEADER, off, err);
	if (rc == 0)
		rc = parse(&h, l, err);
	for (unsigned i = 0; i < SLOTS && rc == 0 && !found; i++) {
		const uint8_t *slot = h.raw + AT_SLOTS + (size_t)i * SLOT;

		if (get_be32(slot) != SLOT_ACTIVE)
			continue;
		rc = stop_check(err);
		if (rc == 0)
			rc = try_slot(&h, slot, file, off, len, passphrase, l, &found, err);
	}
	if (rc == 0 && !found)
		rc = err_set(err, ERR_DENIED, "the passphrase opens none of its LUKS key slots");
	if (rc < 0) {
		luks_close(l);
		return -1;
	}
	*ret = l;
	return 0;
}

void luks_close(struct luks *l)
{
	if (!l)
		return;
	OPENSSL_cleanse(l, sizeof(*l));
	free(l);
}

int luks_crypt(const struct luks *l, bool encrypt, uint8_t *buf, size_t len, uint64_t sector,
	       struct err *err)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	bool good = ctx && EVP_CipherInit_ex(ctx, l->cipher, NULL, l->key, NULL, encrypt) == 1;
	uint8_t iv[16] = {0};
	int n;

	for (size_t at = 0; at < len && good; at += LUKS_SECTOR, sector++) {
		put_le64(iv, sector);
		good = EVP_CipherInit_ex(ctx, NULL, NULL, NULL, iv, -1) == 1 &&
		       EVP_CipherUpdate(ctx, buf + at, &n, buf + at, LUKS_SECTOR) == 1;
	}
	EVP_CIPHER_CTX_free(ctx);
	return good ? 0
		    : err_set(err, ERR_FAILED, "cannot %s a sector",
			      encrypt ? "encrypt" : "decrypt");
}

/* ---- new headers */

static int random_bytes(void *buf, size_t len, struct err *err)
{
	return RAND_priv_bytes(buf, (int)len) == 1
		       ? 0
		       : err_set(err, ERR_FAILED, "the system gives no random bytes");
}

int luks_new(struct luks **ret, struct err *err)
{
	struct luks *l = calloc(1, sizeof(*l));

	if (!l)
		return err_nomem(err);
	l->cipher = EVP_aes_256_xts();
	if (random_bytes(l->key, sizeof(l->key), err) < 0) {
		luks_close(l);
		return -1;
	}
	*ret = l;
	return 0;
}

/* Processor time of this thread: a busy machine must not make weaker keys */
static uint64_t cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

/* What @n iterations take of the processor, at least: time that a hypervisor gave to others counts
 * as spent in the guest, and one such moment would make keys weaker by far, so it is measured until
 * three runs were too long */
static int least_cpu_ns(const struct header *h, uint32_t n, uint64_t *ret, struct err *err)
{
	static const uint8_t salt[SALT];
	uint8_t key[KEY_MOST];

	*ret = UINT64_MAX;
	for (int run = 0; run < 3 && *ret >= CALIBRATION_NS; run++) {
		uint64_t start = cpu_ns();

		if (derive(h, "", 0, salt, n, key, h->key_len, err) < 0)
			return -1;
		*ret = min_u64(*ret, cpu_ns() - start);
	}
	return 0;
}

/* Iterations that take @ms */
static int calibrate(const struct header *h, unsigned ms, uint32_t *ret, struct err *err)
{
	uint64_t spent = 0;
	uint32_t n = 4096;

	for (;; n *= 2) {
		if (least_cpu_ns(h, n, &spent, err) < 0)
			return -1;
		if (spent >= CALIBRATION_NS || n > ITERATIONS_MOST / 2)
			break;
	}

	uint64_t want = (uint64_t)n * ms * 1000000U / max_u64(spent, 1);

	*ret = (uint32_t)min_u64(max_u64(want, ITERATIONS_LEAST), ITERATIONS_MOST);
	return 0;
}

/* The other way of merge(): random stripes, and a last one that gives @key */
static int split(const struct header *h, const uint8_t *key, uint8_t *material, struct err *err)
{
	uint8_t block[KEY_MOST] = {0};
	size_t last = (size_t)(STRIPES_MOST - 1) * h->key_len;
	int rc = random_bytes(material, last, err);

	for (size_t at = 0; at < last && rc == 0; at += h->key_len) {
		for (uint32_t i = 0; i < h->key_len; i++)
			block[i] ^= material[at + i];
		rc = diffuse(h, block, err);
	}
	for (uint32_t i = 0; i < h->key_len; i++)
		material[last + i] = block[i] ^ key[i];
	OPENSSL_cleanse(block, sizeof(block));
	return rc;
}

/* All fields but the digest and the slot in use */
static int put_fields(struct header *h, struct err *err)
{
	uint8_t *p = h->raw, id[16];

	memcpy(p, "LUKS\xba\xbe", 6);
	put_be16(p + 6, 1);
	memcpy(p + AT_CIPHER, "aes", 3);
	memcpy(p + AT_MODE, "xts-plain64", 11);
	memcpy(p + AT_HASH, "sha256", 6);
	put_be32(p + 104, LUKS_NEW_BYTES / LUKS_SECTOR); /* where a bare LUKS device has its data */
	put_be32(p + AT_KEY_BYTES, h->key_len);
	if (random_bytes(id, sizeof(id), err) < 0)
		return -1;
	(void)snprintf((char *)p + AT_UUID, 40,
		       "%02x%02x%02x%02x-%02x%02x-4%x%02x-%x%x%02x-%02x%02x%02x%02x%02x%02x", id[0],
		       id[1], id[2], id[3], id[4], id[5], id[6] & 15U, id[7], 8U | (id[8] & 3U),
		       id[8] >> 4, id[9], id[10], id[11], id[12], id[13], id[14], id[15]);
	for (uint32_t i = 0; i < SLOTS; i++) {
		uint8_t *slot = p + AT_SLOTS + (size_t)i * SLOT;

		put_be32(slot, SLOT_EMPTY);
		put_be32(slot + 40, FIRST_SLOT_SECTOR + i * SLOT_SECTORS);
		put_be32(slot + 44, STRIPES_MOST);
	}
	return 0;
}

/* The first slot: the key that @passphrase gives encrypts the split master key */
static int fill_slot(struct header *h, const struct luks *l, const char *passphrase,
		     uint32_t iterations, uint8_t *material, struct err *err)
{
	struct luks by = {.cipher = l->cipher};
	uint8_t *slot = h->raw + AT_SLOTS;
	int rc;

	put_be32(slot, SLOT_ACTIVE);
	put_be32(slot + 4, iterations);
	rc = random_bytes(slot + 8, SALT, err);
	if (rc == 0)
		rc = derive(h, passphrase, strlen(passphrase), slot + 8, iterations, by.key,
			    h->key_len, err);
	if (rc == 0)
		rc = split(h, l->key, material, err);
	if (rc == 0)
		rc = luks_crypt(&by, true, material, (size_t)h->key_len * STRIPES_MOST, 0, err);
	OPENSSL_cleanse(&by, sizeof(by));
	return rc;
}

int luks_new_header(const struct luks *l, const char *passphrase, unsigned iter_time, uint8_t *buf,
		    struct err *err)
{
	struct header h = {.hash = EVP_sha256(), .key_len = KEY_MOST};
	uint32_t iterations;

	if (put_fields(&h, err) < 0 || calibrate(&h, iter_time, &iterations, err) < 0 ||
	    random_bytes(h.raw + AT_DIGEST_SALT, SALT, err) < 0)
		return -1;
	/* The master key is random: nobody finds it by trying, so its digest may be cheap, as cryptsetup's is */
	put_be32(h.raw + AT_DIGEST_ITERATIONS, iterations / 8);
	if (derive(&h, l->key, h.key_len, h.raw + AT_DIGEST_SALT, iterations / 8, h.raw + AT_DIGEST,
		   DIGEST, err) < 0 ||
	    fill_slot(&h, l, passphrase, iterations, buf + (size_t)FIRST_SLOT_SECTOR * LUKS_SECTOR,
		      err) < 0)
		return -1;
	memcpy(buf, h.raw, HEADER);
	return 0;
}
