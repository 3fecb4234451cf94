/* New encrypted images: a LUKS header behind the qcow2 header, clusters encrypted when their place is known. */
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/image/format/qcow2/bulk_writer.h"
#include "libcommon/image/luks.h"
#include "libcommon/image/secret.h"

uint64_t qcow2_bulk_crypt_clusters(const struct qcow2_bulk_options *o)
{
	return o->encrypt ? div_up(LUKS_NEW_BYTES, 1ULL << o->cluster_bits) : 0;
}

/* The passphrase is asked for before hours of work, its slow key derived at their end. */
int qcow2_bulk_crypt_begin(struct bulk *b, struct err *err)
{
	struct qcow2_bulk *s = b->priv;

	b->needs_data = true;
	if (b->measuring)
		return 0;
	if (image_secret_get(b->file->name, true, &s->passphrase, err) < 0)
		return err_prefix(err, "the new image is encrypted (LUKS)");
	return luks_new(&s->luks, err);
}

void qcow2_bulk_crypt_release(struct qcow2_bulk *s)
{
	if (s->passphrase)
		image_secret_release(s->passphrase);
	luks_close(s->luks);
}

int qcow2_bulk_crypt_store(struct bulk *b, struct bulk_unit *u, const uint8_t *data, size_t len,
			   uint64_t host, struct err *err)
{
	const struct qcow2_bulk *s = b->priv;

	if (u->src)
		return err_set(err, ERR_FAILED, "a unit to encrypt has no data");
	if (bulk_reserve(u, len, err) < 0)
		return -1;
	memcpy(u->encoded, data, len);
	if (luks_crypt(s->luks, true, u->encoded, len, host / LUKS_SECTOR, err) < 0)
		return -1;
	return bfile_pwrite(b->file, u->encoded, len, host, err);
}

int qcow2_bulk_crypt_finish(struct bulk *b, struct err *err)
{
	const struct qcow2_bulk *s = b->priv;
	uint64_t off = (uint64_t)QCOW2_LUKS_CLUSTER << s->o.cluster_bits,
		 len = qcow2_bulk_crypt_clusters(&s->o) << s->o.cluster_bits;
	CLEANUP_FREE uint8_t *buf = calloc(1, LUKS_NEW_WRITTEN);

	if (!buf)
		return err_nomem(err);
	if (luks_new_header(s->luks, s->passphrase, s->o.iter_time, buf, err) < 0)
		return -1;
	/* The other key slots are empty */
	if (!b->params->target_is_zero && bfile_zero(b->file, off, len, false, err) < 0)
		return -1;
	return bfile_pwrite(b->file, buf, LUKS_NEW_WRITTEN, off, err);
}
