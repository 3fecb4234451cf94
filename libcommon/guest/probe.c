/* Superblocks: see probe.h. Each probe says whether it knows the volume; a contradiction means that it does not. */
#include "libcommon/guest/probe.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/iszero.h"
#include "libcommon/image/disk/ext_io.h"
#include "libcommon/image/disk/fat.h"

enum {
	HEAD = 72 << 10, /* reaches btrfs' superblock at 64 KiB */
	SUPER = 1024,
};

/* The first HEAD bytes; zeros behind the volume's end */
struct head {
	const struct volume *v;
	uint8_t *b;
};

void uuid_text(const uint8_t id[16], char ret[40])
{
	size_t n = 0;

	for (unsigned i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			ret[n++] = '-';
		(void)snprintf(ret + n, 3, "%02x", id[i]);
		n += 2;
	}
	ret[n] = '\0';
}

/* Up to a NUL, without spaces at the end */
static void set_label(struct fs_info *i, const uint8_t *p, size_t len)
{
	size_t n = strnlen((const char *)p, len < sizeof(i->label) ? len : sizeof(i->label) - 1);

	while (n && p[n - 1] == ' ')
		n--;
	memcpy(i->label, p, n);
	i->label[n] = '\0';
}

static void set_used(struct fs_info *i, uint64_t free_bytes)
{
	i->has_used = free_bytes <= i->size;
	i->used = i->has_used ? i->size - free_bytes : 0;
}

static uint64_t times(uint64_t a, uint64_t b)
{
	uint64_t r;

	return u64_mul(a, b, &r) ? r : 0;
}

static bool probe_ext(const struct head *h, struct fs_info *i)
{
	const uint8_t *s = h->b + SUPER;
	uint32_t compat = get_le32(s + 92), incompat = get_le32(s + 96),
		 ro_compat = get_le32(s + 100), shift = get_le32(s + 24);
	uint64_t blocks = get_le32(s + 4), free_blocks = get_le32(s + 12);

	if (get_le16(s + 56) != EXT2_SUPER_MAGIC || shift > 6)
		return false;
	if (incompat & EXT4_FEATURE_INCOMPAT_64BIT) {
		blocks |= (uint64_t)get_le32(s + 336) << 32;
		free_blocks |= (uint64_t)get_le32(s + 344) << 32;
	}
	/* What ext3 does not know is ext4's, as blkid tells them apart */
	i->type = ro_compat & ~7U || incompat & ~0x16U	     ? "ext4"
		  : compat & EXT3_FEATURE_COMPAT_HAS_JOURNAL ? "ext3"
							     : "ext2";
	i->family = "ext";
	i->size = times(blocks, 1024ULL << shift);
	set_used(i, times(free_blocks, 1024ULL << shift));
	set_label(i, s + 120, 16);
	uuid_text(s + 104, i->uuid);
	i->has_clean = true;
	i->clean = ext_is_clean(s);
	return true;
}

static bool probe_xfs(const struct head *h, struct fs_info *i)
{
	const uint8_t *s = h->b;

	if (memcmp(s, "XFSB", 4) != 0)
		return false;
	i->type = "xfs";
	i->size = times(get_be64(s + 8), get_be32(s + 4));
	set_used(i, times(get_be64(s + 144), get_be32(s + 4)));
	set_label(i, s + 108, 12);
	uuid_text(s + 32, i->uuid);
	return true;
}

static bool probe_btrfs(const struct head *h, struct fs_info *i)
{
	const uint8_t *s = h->b + (64 << 10);

	if (memcmp(s + 64, "_BHRfS_M", 8) != 0)
		return false;
	i->type = "btrfs";
	i->size = get_le64(s + 112);
	i->used = get_le64(s + 120);
	i->has_used = i->used <= i->size;
	set_label(i, s + 299, 256);
	uuid_text(s + 32, i->uuid);
	return true;
}

static bool probe_luks(const struct head *h, struct fs_info *i)
{
	const uint8_t *s = h->b;
	unsigned version = get_be16(s + 6);

	if (memcmp(s, "LUKS\xba\xbe", 6) != 0)
		return false;
	i->type = "crypto_LUKS";
	if (version == 2)
		set_label(i, s + 24, 48);
	memcpy(i->uuid, s + 168, sizeof(i->uuid) - 1);
	return true;
}

static bool probe_lvm(const struct head *h, struct fs_info *i)
{
	static const uint8_t groups[] = {6, 4, 4, 4, 4, 4, 6};

	for (unsigned sector = 0; sector < 4; sector++) {
		const uint8_t *s = h->b + sector * 512;
		size_t n = 0;

		if (memcmp(s, "LABELONE", 8) != 0 || memcmp(s + 24, "LVM2 001", 8) != 0)
			continue;
		i->type = "LVM2_member";
		s += 32;
		for (unsigned g = 0; g < sizeof(groups); s += groups[g++]) {
			if (g)
				i->uuid[n++] = '-';
			memcpy(i->uuid + n, s, groups[g]);
			n += groups[g];
		}
		i->uuid[n] = '\0';
		return true;
	}
	return false;
}

static bool probe_raid(const struct head *h, struct fs_info *i)
{
	const uint8_t *s = get_le32(h->b) == 0xa92b4efc		 ? h->b
			   : get_le32(h->b + 4096) == 0xa92b4efc ? h->b + 4096
								 : NULL;

	if (!s || get_le32(s + 4) != 1)
		return false;
	i->type = "linux_raid_member";
	set_label(i, s + 32, 32);
	uuid_text(s + 16, i->uuid);
	return true;
}

static bool probe_swap(const struct head *h, struct fs_info *i)
{
	static const unsigned pages[] = {4096, 8192, 16384, 65536};

	for (unsigned p = 0; p < 4; p++) {
		const uint8_t *end = h->b + pages[p] - 10;

		if (memcmp(end, "SWAPSPACE2", 10) != 0 && memcmp(end, "S1SUSPEND", 9) != 0 &&
		    memcmp(end, "S2SUSPEND", 9) != 0)
			continue;
		i->type = *end == 'S' && end[1] == 'W' ? "swap" : "swsuspend";
		i->size = times((uint64_t)get_le32(h->b + 1028) + 1, pages[p]);
		uuid_text(h->b + 1036, i->uuid);
		set_label(i, h->b + 1052, 16);
		return true;
	}
	return false;
}

static bool probe_ntfs(const struct head *h, struct fs_info *i)
{
	const uint8_t *s = h->b;

	if (memcmp(s + 3, "NTFS    ", 8) != 0)
		return false;
	i->type = "ntfs";
	i->size = times(get_le64(s + 40), get_le16(s + 11));
	(void)snprintf(i->uuid, sizeof(i->uuid), "%016" PRIX64, get_le64(s + 72));
	return true;
}

static bool probe_simple(const struct head *h, struct fs_info *i)
{
	const uint8_t *s = h->b;

	if (memcmp(s + 3, "EXFAT   ", 8) == 0) {
		i->type = "exfat";
		(void)snprintf(i->uuid, sizeof(i->uuid), "%04X-%04X", get_le16(s + 102),
			       get_le16(s + 100));
	} else if (memcmp(s + 3, "-FVE-FS-", 8) == 0) {
		i->type = "BitLocker";
	} else if (memcmp(s, "hsqs", 4) == 0) {
		i->type = "squashfs";
		i->size = get_le64(s + 40);
	} else if (get_le32(s + SUPER) == 0xf2f52010) {
		i->type = "f2fs";
		uuid_text(s + SUPER + 108, i->uuid);
	} else if (memcmp(s + 32769, "CD001", 5) == 0) {
		i->type = "iso9660";
		set_label(i, s + 32808, 32);
		i->size = times(get_le32(s + 32848), get_le16(s + 32896));
	} else {
		return false;
	}
	return true;
}

/* ---- FAT: the label is an entry of the root folder */

static void fat_label(const struct volume *v, const struct fat *f, struct fs_info *i)
{
	enum { ENTRY = 32, MOST = 64 << 10, VOLUME = 8, KINDS = 0x3f };
	uint64_t len = f->bits == 32 ? f->cluster : (uint64_t)f->root_entries * ENTRY,
		 off = f->bits == 32 ? f->data_off + (uint64_t)(f->root_cluster - 2) * f->cluster
				     : f->root_off;
	CLEANUP_FREE uint8_t *root = NULL;

	len = min_u64(len, MOST);
	root = malloc(len + 1);
	if (!root || (f->bits == 32 && f->root_cluster < 2) ||
	    volume_read(v, root, off, (size_t)len, NULL) < 0)
		return;
	for (uint64_t at = 0; at + ENTRY <= len && root[at]; at += ENTRY) {
		const uint8_t *e = root + at;

		if (e[0] == 0xe5 || (e[11] & KINDS) == 0xf || (e[11] & 0x18) != VOLUME)
			continue;
		set_label(i, e, 11);
		return;
	}
}

static void fat_usage(const struct volume *v, const struct fat *f, const uint8_t *boot,
		      struct fs_info *i)
{
	CLEANUP_FREE uint8_t *table = NULL;
	uint64_t clusters = 0;
	uint8_t b[512];

	if (f->bits == 32) { /* FSInfo: a hint that may say "unknown" */
		if (volume_read(v, b, (uint64_t)get_le16(boot + 48) * f->sector, sizeof(b), NULL) <
			    0 ||
		    get_le32(b) != 0x41615252 || get_le32(b + 484) != 0x61417272)
			return;
		clusters = get_le32(b + 488);
	} else {
		table = malloc(f->fat_len + 4);
		if (!table || volume_read(v, table, f->fat_off, (size_t)f->fat_len, NULL) < 0)
			return;
		for (uint64_t c = 2; c < f->clusters + 2; c++)
			clusters += fat_entry(f, table, c) == 0;
	}
	if (clusters <= f->clusters)
		set_used(i, clusters * f->cluster);
}

static bool probe_fat(const struct head *h, struct fs_info *i)
{
	struct fat f;
	bool found;
	const uint8_t *ids;

	if (fat_find(h->v, &f, &found, NULL) < 0 || !found)
		return false;
	ids = h->b + (f.bits == 32 ? 67 : 39);
	i->type = "vfat";
	i->family = "fat";
	i->size = f.data_off + f.clusters * f.cluster;
	(void)snprintf(i->uuid, sizeof(i->uuid), "%04X-%04X", get_le16(ids + 2), get_le16(ids));
	fat_label(h->v, &f, i);
	fat_usage(h->v, &f, h->b, i);
	i->has_clean = true;
	i->clean = !f.dirty;
	return true;
}

int fs_probe(const struct volume *v, struct fs_info *ret, struct err *err)
{
	/* Containers first, and swap before the rest: mkswap leaves old signatures of others in place */
	static bool (*const probes[])(const struct head *, struct fs_info *) = {
		probe_luks, probe_lvm,	probe_raid, probe_swap,	  probe_ext,
		probe_xfs,  probe_ntfs, probe_fat,  probe_simple, probe_btrfs,
	};
	CLEANUP_FREE uint8_t *b = calloc(1, HEAD);
	const struct head h = {v, b};

	*ret = (struct fs_info){0};
	if (!b)
		return err_nomem(err);
	if (volume_read(v, b, 0, (size_t)min_u64(v->len, HEAD), err) < 0)
		return -1;
	for (size_t i = 0; i < sizeof(probes) / sizeof(probes[0]) && !ret->type; i++)
		if (!probes[i](&h, ret))
			*ret = (struct fs_info){0};
	if (!ret->type)
		ret->type = is_zero(b, HEAD) ? "empty" : "unknown";
	if (!ret->family)
		ret->family = ret->type;
	return 0;
}
