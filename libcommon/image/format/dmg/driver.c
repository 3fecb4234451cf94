/* DMG as a struct image_format: probing, the trailer, extents, reading, info, check. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/image/format/dmg/dmg.h"
#include "libcommon/image/slots.h"

/* More than the tables of a 1 TiB disk; longer ones are no disk that anyone distributes */
#define PLIST_MOST (64ULL << 20)

static int dmg_probe(const uint8_t *head, size_t head_len, const uint8_t *tail, size_t tail_len,
		     uint64_t size)
{
	(void)size;
	if (tail_len >= DMG_TRAILER && memcmp(tail + tail_len - DMG_TRAILER, "koly", 4) == 0)
		return 100;
	/* Encrypted ones are told by name */
	return head_len >= 8 && memcmp(head, "encrcdsa", 8) == 0 ? 90 : 0;
}

static int no_trailer(struct bfile *file, struct err *err)
{
	uint8_t head[8];

	if (bfile_pread(file, head, sizeof(head), 0, NULL) == 0 && !memcmp(head, "encrcdsa", 8))
		return err_set(err, ERR_UNSUPPORTED,
			       "the image is encrypted: its content cannot be read");
	return err_set(err, ERR_CORRUPT, "no koly trailer in the last %d bytes", DMG_TRAILER);
}

static int read_trailer(struct bfile *file, struct dmg *d, struct err *err)
{
	uint64_t size = bfile_size(file);
	uint8_t t[DMG_TRAILER];

	if (size < DMG_TRAILER || bfile_pread(file, t, sizeof(t), size - DMG_TRAILER, NULL) < 0 ||
	    memcmp(t, "koly", 4) != 0)
		return no_trailer(file, err);
	if (get_be32(t + 4) != 4)
		return err_set(err, ERR_UNSUPPORTED, "DMG version %" PRIu32, get_be32(t + 4));
	if (get_be32(t + 60) > 1)
		return err_set(err, ERR_UNSUPPORTED, "the image consists of %" PRIu32 " files",
			       get_be32(t + 60));
	d->data_offset = get_be64(t + 24);
	d->plist_offset = get_be64(t + 216);
	d->plist_len = get_be64(t + 224);
	d->sectors = get_be64(t + 492);
	if (!d->plist_len)
		return err_set(err, ERR_UNSUPPORTED,
			       "the image has no property list (a resource fork of Mac OS 9?)");
	if (!range_inside(d->plist_offset, d->plist_len, size - DMG_TRAILER))
		return err_set(err, ERR_CORRUPT,
			       "a property list of %" PRIu64 " bytes at offset %" PRIu64
			       " of a file of %" PRIu64 " bytes",
			       d->plist_len, d->plist_offset, size);
	if (d->plist_len > PLIST_MOST)
		return err_set(err, ERR_UNSUPPORTED, "a property list of %" PRIu64 " bytes",
			       d->plist_len);
	if (d->sectors > INT64_MAX / DMG_SECTOR)
		return err_set(err, ERR_CORRUPT, "a disk of %" PRIu64 " sectors", d->sectors);
	return 0;
}

static void dmg_close(struct image *img)
{
	struct dmg *d = img->priv;

	slots_free(d->decoded);
	free(d->chunks);
	free(d);
	img->priv = NULL;
}

static int dmg_open(struct image *img, const struct image_open_opts *opts, struct err *err)
{
	struct dmg *d;

	if (opts && opts->snapshot)
		return err_set(err, ERR_UNSUPPORTED, "DMG images have no snapshots");
	d = calloc(1, sizeof(*d));
	if (!d)
		return err_nomem(err);
	img->priv = d;
	if (read_trailer(img->file, d, err) < 0 || dmg_chunks_read(img->file, d, err) < 0 ||
	    (!(img->flags & IMAGE_INFO) && dmg_decode_init(d, err) < 0)) {
		dmg_close(img);
		return -1;
	}
	img->size = d->sectors * DMG_SECTOR;
	return 0;
}

static int dmg_map(struct image *img, uint64_t off, uint64_t max, struct extent *ret,
		   struct err *err)
{
	const struct dmg *d = img->priv;
	const struct dmg_chunk *c = dmg_chunk_at(d, off / DMG_SECTOR);
	uint64_t start = c ? c->sector * DMG_SECTOR : img->size;

	(void)err;
	if (start > off) {
		ret->kind = EXTENT_ZERO;
		ret->len = min_u64(max, start - off);
		return 0;
	}
	ret->kind = EXTENT_DATA;
	ret->len = min_u64(max, start + c->sectors * DMG_SECTOR - off);
	ret->file = img->file;
	if (c->kind == DMG_RAW) {
		ret->host_off = c->off + (off - start);
		ret->host_len = ret->len;
		return 0;
	}
	ret->codec = CODEC_OPAQUE; /* chunks are not at multiples of their size */
	ret->host_off = c->off;
	ret->host_len = c->len;
	return 0;
}

static int dmg_read_encoded(struct image *img, const struct extent *e, void *buf, uint64_t off,
			    size_t len, struct err *err)
{
	const struct dmg *d = img->priv;
	const struct dmg_chunk *c = dmg_chunk_at(d, off / DMG_SECTOR);

	(void)e;
	if (dmg_read_chunk(img->file, d, c, buf, (size_t)(off - c->sector * DMG_SECTOR), len, err) <
	    0)
		return err_object(err, img->name);
	return 0;
}

static int dmg_info(struct image *img, json_t *obj, struct err *err)
{
	const struct dmg *d = img->priv;
	char kinds[64] = "";
	size_t used = 0;

	for (unsigned k = DMG_ZLIB; k < DMG_KINDS; k++)
		if (d->kinds >> k & 1)
			used += (size_t)snprintf(kinds + used, sizeof(kinds) - used, "%s%s",
						 used ? ", " : "", dmg_kind_name(k));

	json_t *o = json_pack("{s:s, s:I}", "compression_type", used ? kinds : "none", "chunks",
			      (json_int_t)d->n_chunks);

	return !o || json_object_set_new(obj, "format_specific", o) ? err_nomem(err) : 0;
}

/* Opening has checked the tables; what is left is whether every chunk decodes. */
static int dmg_check(struct image *img, unsigned flags, void (*report)(void *, const char *),
		     void *ctx, struct image_check_result *ret, struct err *err)
{
	const struct dmg *d = img->priv;
	CLEANUP_FREE uint8_t *buf = NULL;

	if (flags & (CHECK_REPAIR_LEAKS | CHECK_REPAIR_ALL))
		return err_set(err, ERR_UNSUPPORTED, "DMG images cannot be mended");
	ret->total_clusters = ret->allocated_clusters = d->n_chunks;
	for (size_t i = 0; i < d->n_chunks; i++) {
		const struct dmg_chunk *c = &d->chunks[i];
		struct err why = ERR_INIT;
		uint8_t *more;

		ret->image_end = max_u64(ret->image_end, c->off + c->len);
		if (c->kind == DMG_RAW)
			continue;
		ret->compressed_clusters++;
		if (!(flags & CHECK_DEEP))
			continue;
		more = realloc(buf, (size_t)c->sectors * DMG_SECTOR);
		if (!more)
			return err_nomem(err);
		buf = more;
		if (dmg_read_chunk(img->file, d, c, buf, 0, (size_t)c->sectors * DMG_SECTOR, &why) <
		    0) {
			if (ret->corruptions++ < 1000 && report)
				report(ctx, why.message);
		}
	}
	return 0;
}

const struct image_format image_format_dmg = {
	.name = "dmg",
	.description = "Apple disk image (UDIF): plain, zlib and bzip2 chunks; read only",
	.probe = dmg_probe,
	.open = dmg_open,
	.close = dmg_close,
	.map = dmg_map,
	.read_encoded = dmg_read_encoded,
	.info = dmg_info,
	.check = dmg_check,
};
