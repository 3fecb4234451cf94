/* Encrypted images: LUKS over the clusters, each sector keyed by where it lies in the file. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/image/format/qcow2/qcow2.h"
#include "libcommon/image/luks.h"
#include "libcommon/image/secret.h"

enum { CHUNK = 256 << 10 };

/* Parts of a sector are read, changed and written: two of them must not do so at once. Guards the sectors of all images */
static pthread_mutex_t partial = PTHREAD_MUTEX_INITIALIZER;

int qcow2_unlock(struct image *img, struct err *err)
{
	struct qcow2 *q = img->priv;
	char *passphrase;
	int rc;

	if (q->h.crypt_method != QCOW2_CRYPT_LUKS)
		return err_set(
			err, ERR_UNSUPPORTED,
			"the image is encrypted in QEMU's old way (AES), which is not read here");
	if (!q->h.luks_len)
		return err_set(err, ERR_CORRUPT, "the image is encrypted, but has no LUKS header");
	if (image_secret_get(img->name, false, &passphrase, err) < 0)
		return err_prefix(err, "the image is encrypted (LUKS)");
	rc = luks_open(&q->luks, img->file, q->h.luks_offset, q->h.luks_len, passphrase, err);
	image_secret_release(passphrase);
	return rc;
}

static struct bfile *data_of(const struct qcow2 *q, struct image *img)
{
	return q->data_file ? q->data_file : img->file;
}

int qcow2_read_encoded(struct image *img, const struct extent *e, void *buf, uint64_t off,
		       size_t len, struct err *err)
{
	const struct qcow2 *q = img->priv;
	CLEANUP_FREE uint8_t *chunk = malloc(CHUNK + LUKS_SECTOR);
	uint8_t *out = buf;

	if (!chunk)
		return err_nomem(err);
	if (!q->luks)
		return err_set(err, ERR_DENIED, "the image is encrypted, and was not unlocked");
	while (len) {
		uint64_t host = e->host_off + (off - e->off), start = round_down(host, LUKS_SECTOR);
		size_t skip = (size_t)(host - start), n = (size_t)min_u64(len, CHUNK - skip),
		       whole = (size_t)round_up(skip + n, LUKS_SECTOR);

		if (bfile_pread_padded(e->file, chunk, whole, start, err) < 0 ||
		    luks_crypt(q->luks, false, chunk, whole, start / LUKS_SECTOR, err) < 0)
			return -1;
		memcpy(out, chunk + skip, n);
		out += n;
		off += n;
		len -= n;
	}
	return 0;
}

/* What lies in the sector at @start besides what is written */
static int read_sector(struct image *img, const struct qcow2 *q, uint8_t *sector, uint64_t start,
		       struct err *err)
{
	if (bfile_pread_padded(data_of(q, img), sector, LUKS_SECTOR, start, err) < 0)
		return -1;
	return luks_crypt(q->luks, false, sector, LUKS_SECTOR, start / LUKS_SECTOR, err);
}

static int write_chunk(struct image *img, const struct qcow2 *q, uint8_t *chunk, const uint8_t *in,
		       size_t n, uint64_t host, struct err *err)
{
	uint64_t start = round_down(host, LUKS_SECTOR);
	size_t skip = (size_t)(host - start), whole = (size_t)round_up(skip + n, LUKS_SECTOR);

	if (skip && read_sector(img, q, chunk, start, err) < 0)
		return -1;
	if (skip + n < whole && (whole > LUKS_SECTOR || !skip) &&
	    read_sector(img, q, chunk + whole - LUKS_SECTOR, start + whole - LUKS_SECTOR, err) < 0)
		return -1;
	memcpy(chunk + skip, in, n);
	if (luks_crypt(q->luks, true, chunk, whole, start / LUKS_SECTOR, err) < 0)
		return -1;
	return bfile_pwrite(data_of(q, img), chunk, whole, start, err);
}

int qcow2_write_encrypted(struct image *img, const void *buf, size_t len, uint64_t host,
			  struct err *err)
{
	const struct qcow2 *q = img->priv;
	CLEANUP_FREE uint8_t *chunk = malloc(CHUNK + LUKS_SECTOR);
	bool whole = host % LUKS_SECTOR == 0 && len % LUKS_SECTOR == 0;
	const uint8_t *in = buf;
	int rc = 0;

	if (!chunk)
		return err_nomem(err);
	if (!whole)
		pthread_mutex_lock(&partial);
	while (len && rc == 0) {
		size_t n = (size_t)min_u64(len, CHUNK - host % LUKS_SECTOR);

		rc = write_chunk(img, q, chunk, in, n, host, err);
		in += n;
		host += n;
		len -= n;
	}
	if (!whole)
		pthread_mutex_unlock(&partial);
	return rc;
}
