/* Parallels hard disk images (.hdd, .hds), read only: a header, a block allocation table, clusters.
 *
 * Two versions of the same layout: "WithoutFreeSpace" counts places in sectors and has 32 bits of size,
 * "WithouFreSpacExt" counts them in clusters. Snapshots lie in other files that a DiskDescriptor.xml names: one file
 * is one layer. Source: the format's description in QEMU's docs/interop/parallels.txt.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/log.h"
#include "libcommon/image/cache.h"
#include "libcommon/image/format.h"

enum {
	HEADER_SIZE = 64,
	SECTOR = 512,
	SECTORS_MOST = 131072, /* a cluster: 64 MiB */
	SLICE = 16384,
	SLICES = 64,
};

#define IN_USE 0x746f6e59U

struct parallels {
	struct table_cache *bat;
	uint32_t entries;
	uint32_t cluster; /* bytes; no power of two in old images (63 sectors) */
	uint32_t unit;	  /* of the table's entries, bytes */
	bool ext, in_use;
};

static bool is_magic(const uint8_t *p, bool *ret_ext)
{
	*ret_ext = memcmp(p, "WithouFreSpacExt", 16) == 0;
	return *ret_ext || memcmp(p, "WithoutFreeSpace", 16) == 0;
}

static int parallels_probe(const uint8_t *head, size_t head_len, const uint8_t *tail,
			   size_t tail_len, uint64_t size)
{
	bool ext;

	(void)tail, (void)tail_len, (void)size;
	if (head_len < HEADER_SIZE || !is_magic(head, &ext))
		return 0;
	return get_le32(head + 16) == 2 ? 100 : 60;
}

static int parse(struct image *img, struct parallels *p, const uint8_t *h, struct err *err)
{
	uint32_t version = get_le32(h + 16), tracks = get_le32(h + 28);
	uint64_t sectors = get_le64(h + 36), table_end;

	if (!is_magic(h, &p->ext))
		return err_set(err, ERR_CORRUPT, "no Parallels signature at offset 0");
	if (version != 2)
		return err_set(err, ERR_UNSUPPORTED, "Parallels version %" PRIu32, version);
	if (!tracks)
		return err_set(err, ERR_CORRUPT, "clusters of 0 sectors");
	if (tracks > SECTORS_MOST)
		return err_set(err, ERR_UNSUPPORTED, "clusters of %" PRIu32 " sectors", tracks);
	if (!p->ext)
		sectors &= 0xffffffff; /* the upper half may hold anything */
	if (sectors > INT64_MAX / SECTOR)
		return err_set(err, ERR_CORRUPT, "a disk of %" PRIu64 " sectors", sectors);
	p->entries = get_le32(h + 32);
	if (p->entries < div_up(sectors, tracks))
		return err_set(err, ERR_CORRUPT,
			       "%" PRIu32 " clusters of %" PRIu32 " sectors for a disk of %" PRIu64,
			       p->entries, tracks, sectors);
	table_end = HEADER_SIZE + 4ULL * p->entries;
	if (table_end > bfile_size(img->file))
		return err_set(err, ERR_CORRUPT,
			       "the allocation table ends at offset %" PRIu64
			       ", the file at %" PRIu64,
			       table_end, bfile_size(img->file));
	p->cluster = tracks * SECTOR;
	p->unit = p->ext ? p->cluster : SECTOR;
	p->in_use = get_le32(h + 44) == IN_USE;
	img->size = sectors * SECTOR;
	img->cluster_size = p->cluster;
	return 0;
}

static void parallels_close(struct image *img)
{
	struct parallels *p = img->priv;

	table_cache_free(p->bat);
	free(p);
	img->priv = NULL;
}

static int parallels_open(struct image *img, const struct image_open_opts *opts, struct err *err)
{
	uint8_t header[HEADER_SIZE];
	struct parallels *p;

	if (opts && opts->snapshot)
		return err_set(err, ERR_UNSUPPORTED, "Parallels images have no snapshots inside");
	if (bfile_pread(img->file, header, sizeof(header), 0, err) < 0)
		return -1;
	p = calloc(1, sizeof(*p));
	if (!p)
		return err_nomem(err);
	img->priv = p;
	if (parse(img, p, header, err) < 0 ||
	    table_cache_new(&p->bat, img->file, SLICE, SLICES, err) < 0) {
		parallels_close(img);
		return -1;
	}
	if (p->in_use && !(img->flags & IMAGE_INFO))
		log_warning("%s: was not closed, its last changes may be missing", img->name);
	return 0;
}

/* The entry at @p and how many of the @n entries there go on like it: all absent, or side by side */
static uint32_t run(const uint8_t *p, uint32_t n, uint32_t step)
{
	uint64_t first = get_le32(p);
	uint32_t i = 1;

	while (i < n && get_le32(p + 4 * (size_t)i) == first + (first ? (uint64_t)i * step : 0))
		i++;
	return i;
}

static int parallels_map(struct image *img, uint64_t off, uint64_t max, struct extent *ret,
			 struct err *err)
{
	struct parallels *p = img->priv;
	uint32_t index = (uint32_t)(off / p->cluster), in = (uint32_t)(off % p->cluster), n, entry;
	uint64_t host, end = bfile_size(img->file);
	const uint8_t *at;
	size_t room;

	if (table_cache_get(p->bat, HEADER_SIZE + 4ULL * index, &at, &room, err) < 0)
		return -1;
	n = (uint32_t)min_u64(div_up(in + max, p->cluster), p->entries - index);
	entry = get_le32(at);
	n = run(at, (uint32_t)min_u64(n, room / 4), p->cluster / p->unit);
	table_cache_put(p->bat, at);
	ret->len = min_u64(max, (uint64_t)n * p->cluster - in);
	if (!entry) {
		ret->kind = EXTENT_UNALLOCATED;
		return 0;
	}
	host = (uint64_t)entry * p->unit + in;
	if (host < HEADER_SIZE + 4ULL * p->entries || host >= end)
		return err_set(err, ERR_CORRUPT,
			       "cluster %" PRIu32 " of the disk is said to lie at offset %" PRIu64
			       " of a file of %" PRIu64 " bytes",
			       index, host - in, end);
	ret->kind = EXTENT_DATA;
	ret->file = img->file;
	ret->host_off = host;
	ret->len = ret->host_len = min_u64(ret->len, end - host);
	return 0;
}

static int parallels_info(struct image *img, json_t *obj, struct err *err)
{
	const struct parallels *p = img->priv;
	json_t *o =
		json_pack("{s:s, s:b}", "compat", p->ext ? "ext" : "old", "dirty", (int)p->in_use);

	return !o || json_object_set_new(obj, "format_specific", o) ? err_nomem(err) : 0;
}

extern const struct image_format image_format_parallels;
const struct image_format image_format_parallels = {
	.name = "parallels",
	.description = "Parallels hard disk, both table formats; read only",
	.probe = parallels_probe,
	.open = parallels_open,
	.close = parallels_close,
	.map = parallels_map,
	.info = parallels_info,
};
