/* Free clusters of FAT12, FAT16 and FAT32: Microsoft's "FAT: General Overview of On-Disk Format", 1.03. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/stop.h"
#include "libcommon/image/disk/fat.h"

/* Return: true when the boot sector makes sense as FAT */
static bool parse(const uint8_t *b, uint64_t len, struct fat *f)
{
	uint32_t per_cluster = b[13], reserved = get_le16(b + 14), fats = b[16],
		 root = get_le16(b + 17);
	uint64_t total = get_le16(b + 19) ? get_le16(b + 19) : get_le32(b + 32);
	uint64_t fat = get_le16(b + 22) ? get_le16(b + 22) : get_le32(b + 36);

	f->sector = get_le16(b + 11);
	if (b[510] != 0x55 || b[511] != 0xaa || (b[0] != 0xeb && b[0] != 0xe9) || b[21] < 0xf0)
		return false;
	if (f->sector < 512 || f->sector > 4096 || !is_pow2(f->sector) || !is_pow2(per_cluster) ||
	    !reserved || !fats || fats > 4 || !fat || !total)
		return false;

	uint64_t data = reserved + fats * fat + div_up((uint64_t)root * 32, f->sector);

	if (data >= total || total * f->sector > len)
		return false;
	f->clusters = (total - data) / per_cluster;
	f->bits = f->clusters < 4085 ? 12 : f->clusters < 65525 ? 16 : 32;
	if ((f->bits == 32) != (get_le16(b + 22) == 0))
		return false;
	f->cluster = f->sector * per_cluster;
	f->fat_off = (uint64_t)reserved * f->sector;
	f->fat_len = div_up((f->clusters + 2) * f->bits, 8);
	f->data_off = data * f->sector;
	f->dirty = b[f->bits == 32 ? 65 : 37] & 1;
	f->root_entries = root;
	f->root_off = (reserved + fats * fat) * f->sector;
	f->root_cluster = f->bits == 32 ? get_le32(b + 44) & 0x0fffffff : 0;
	return f->clusters > 0 && f->fat_len <= fat * f->sector;
}

int fat_find(const struct volume *v, struct fat *f, bool *ret, struct err *err)
{
	uint8_t b[512];

	*ret = false;
	if (v->len < sizeof(b))
		return 0;
	if (volume_read(v, b, 0, sizeof(b), err) < 0)
		return -1;
	*ret = parse(b, v->len, f);
	return 0;
}

static int fat_probe(const struct volume *v, bool *ret, struct err *err)
{
	struct fat f;

	return fat_find(v, &f, ret, err);
}

uint32_t fat_entry(const struct fat *f, const uint8_t *buf, uint64_t i)
{
	if (f->bits == 32)
		return get_le32(buf + 4 * i) & 0x0fffffff;
	if (f->bits == 16)
		return get_le16(buf + 2 * i);

	uint32_t pair = get_le16(buf + i * 3 / 2);

	return i % 2 ? pair >> 4 : pair & 0xfff;
}

static int refuse_dirty(const struct fat *f, const uint8_t *table, struct err *err)
{
	bool dirty = f->dirty;

	if (f->bits == 16)
		dirty |= (get_le16(table + 2) & 0xc000) != 0xc000;
	if (f->bits == 32)
		dirty |= (get_le32(table + 4) & 0x0c000000) != 0x0c000000;
	if (!dirty)
		return 0;
	err_set(err, ERR_UNSUPPORTED, "the FAT file system was not unmounted cleanly");
	return err_hint(err, "start the machine and stop it, or run fsck.fat on it");
}

static int fat_read(const struct volume *v, struct freemap *m, struct err *err)
{
	enum { ENTRIES = 16384 }; /* a multiple of 2 for FAT12 */
	CLEANUP_FREE uint8_t *buf = malloc(ENTRIES * 4 + 1);
	struct fat f;
	bool found;

	if (!buf)
		return err_nomem(err);
	if (fat_find(v, &f, &found, err) < 0)
		return -1;
	if (!found)
		return err_set(err, ERR_CORRUPT, "the FAT has changed under our hands");
	for (uint64_t at = 0, n, start = 0; at < f.clusters + 2; at += n) {
		n = min_u64(ENTRIES, f.clusters + 2 - at);
		if (stop_check(err) < 0 || volume_read(v, buf, f.fat_off + at * f.bits / 8,
						       (size_t)div_up(n * f.bits, 8), err) < 0)
			return -1;
		if (at == 0 && refuse_dirty(&f, buf, err) < 0)
			return -1;
		for (uint64_t i = at ? 0 : 2; i < n; i += start) {
			for (start = 0; i + start < n && fat_entry(&f, buf, i + start) == 0;
			     start++)
				;
			if (start && freemap_add(m, v, f.data_off + (at + i - 2) * f.cluster,
						 start * f.cluster, err) < 0)
				return -1;
			start += start == 0;
		}
	}
	return 0;
}

const struct free_reader free_fat = {"fat", fat_probe, fat_read};
