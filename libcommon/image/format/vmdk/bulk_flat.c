/* New flat images: a descriptor, and the bytes of the disk in one file (monolithicFlat, vmfs) or in many. */
#include <stdlib.h>

#include "libcommon/base/checked.h"
#include "libcommon/image/format/vmdk/bulk_writer.h"

struct flat_bulk {
	struct vmdk_bulk_options o;
	struct vmdk_files files;
	uint64_t piece; /* bytes of a file but the last */
	vmdk_sum sum;
};

static int flat_begin(struct bulk *b, struct err *err)
{
	struct flat_bulk *s = calloc(1, sizeof(*s));

	if (!s)
		return err_nomem(err);
	b->priv = s;
	b->granule = 4096;
	if (vmdk_bulk_options_parse(b, &s->o, err) < 0)
		return -1;

	uint64_t most =
		s->o.subformat == SUB_SPLIT_FLAT ? NEW_SPLIT_SECTORS : INT64_MAX / VMDK_SECTOR;

	s->piece = most * VMDK_SECTOR;
	if (vmdk_files_open(b, &s->o, most, &s->files, err) < 0)
		return -1;
	for (size_t i = 0; i < s->files.n && !b->measuring; i++)
		if (bfile_truncate(s->files.f[i].file, s->files.f[i].sectors * VMDK_SECTOR, err) <
		    0)
			return -1;
	return 0;
}

static int flat_encode(struct bulk *b, struct bulk_unit *u, struct err *err)
{
	struct flat_bulk *s = b->priv;

	return vmdk_sum_unit(&s->sum, u, err);
}

static int flat_store(struct bulk *b, struct bulk_unit *u, struct err *err)
{
	struct flat_bulk *s = b->priv;

	for (size_t done = 0; done < u->len;) {
		uint64_t off = u->off + done, at = off % s->piece;
		size_t n = (size_t)min_u64(u->len - done, s->piece - at);
		struct bfile *f = s->files.f[off / s->piece].file;
		int rc = u->src ? vmdk_copy(b, f, u->src, u->src_off + done, at, n, err)
				: vmdk_write_plain(f, u->data + done, at, n, err);

		if (rc < 0)
			return -1;
		done += n;
	}
	return 0;
}

static int flat_finish(struct bulk *b, struct err *err)
{
	struct flat_bulk *s = b->priv;
	uint64_t len;
	uint32_t cid;

	if (vmdk_cid(b, s->sum, &cid, err) < 0 ||
	    vmdk_write_text(b, &s->o, cid, &s->files, s->o.subformat == SUB_VMFS ? "VMFS" : "FLAT",
			    &len, err) < 0)
		return -1;
	if (b->measuring)
		return bfile_truncate(b->file, len + s->o.sectors * VMDK_SECTOR, err);
	return vmdk_files_commit(&s->files, err);
}

static void flat_abort(struct bulk *b)
{
	struct flat_bulk *s = b->priv;

	if (!s)
		return;
	vmdk_files_close(b, &s->files);
	free(s);
	b->priv = NULL;
}

static int flat_measure(const struct bulk_params *p, uint64_t data_granules, uint32_t granule,
			uint64_t *ret_required, uint64_t *ret_full, struct err *err)
{
	(void)data_granules, (void)granule, (void)err;
	*ret_required = *ret_full = round_up(p->size, VMDK_SECTOR);
	return 0;
}

const struct bulk_ops vmdk_flat_bulk_ops = {
	.begin = flat_begin,
	.encode = flat_encode,
	.store = flat_store,
	.finish = flat_finish,
	.abort = flat_abort,
	.can_copy = true,
	.measure = flat_measure,
};
