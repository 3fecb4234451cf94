/* Files of FAT12, FAT16 and FAT32 with long names: Microsoft's "FAT: General Overview of On-Disk Format", 1.03, and the
 * chapter on long names in its successor, the EFI FAT32 specification. */
#include "libcommon/image/disk/fat.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/stop.h"
#include "libcommon/guest/fs.h"
#include "libcommon/image/utf16.h"

enum {
	ENTRY = 32,
	DIR_MOST = 65536 * ENTRY, /* the specification's bound for a folder */
	ATTR_READ_ONLY = 1,
	ATTR_VOLUME = 8,
	ATTR_DIR = 16,
	ATTR_LONG = 15,
	LONG_PARTS = 20, /* of 13 UTF-16 units: 255 and a NUL */
	LONG_UNITS = 13,
	PIECE = 64 << 10, /* of the table */
};

/* Files are known by the place of their entry, folders by their first cluster: two names for one are seen */
#define DIR_ID (1ULL << 63)

struct fat_fs {
	struct fat f;
	uint8_t *piece; /* a part of the table: that of piece_at */
	uint64_t piece_at;
	size_t piece_len;
};

static int fat_open(struct fs *fs, struct err *err)
{
	CLEANUP_FREE struct fat_fs *x = calloc(1, sizeof(*x));
	bool found;

	if (!x)
		return err_nomem(err);
	if (fat_find(&fs->v, &x->f, &found, err) < 0)
		return -1;
	if (!found)
		return err_set(err, ERR_CORRUPT, "the FAT boot sector contradicts itself");
	x->piece = malloc(PIECE + 4);
	if (!x->piece)
		return err_nomem(err);
	x->piece_at = UINT64_MAX;
	fs->priv = steal_ptr(&x);
	return 0;
}

static void fat_close(struct fs *fs)
{
	struct fat_fs *x = fs->priv;

	free(x->piece);
	free(x);
}

static int fat_root(struct fs *fs, struct fs_node *ret, struct err *err)
{
	const struct fat_fs *x = fs->priv;

	(void)err;
	*ret = (struct fs_node){.id = DIR_ID | x->f.root_cluster,
				.type = FS_DIR,
				.filled = true,
				.mode = 0755,
				.links = 1,
				.start = x->f.root_cluster};
	return 0;
}

/* The table's entry for @cluster, through one piece that is kept */
static int next_cluster(struct fs *fs, uint32_t cluster, uint32_t *ret, struct err *err)
{
	enum { ENTRIES = PIECE / 4 }; /* even, for FAT12 */
	struct fat_fs *x = fs->priv;
	uint64_t first = cluster / ENTRIES * ENTRIES;

	if (x->piece_at != first) {
		uint64_t n = min_u64(ENTRIES, x->f.clusters + 2 - first);

		x->piece_at = UINT64_MAX;
		if (volume_read(&fs->v, x->piece, x->f.fat_off + first * x->f.bits / 8,
				(size_t)div_up(n * x->f.bits, 8), err) < 0)
			return -1;
		x->piece_at = first;
	}
	*ret = fat_entry(&x->f, x->piece, cluster - first);
	return 0;
}

/* The chain from @start on, until @most bytes or its end. Loops are found as Brent does: one cluster is remembered, and a
 * later one each time that twice as many have passed. */
static int map_chain(struct fs *fs, uint32_t start, uint64_t most, struct fs_map *m,
		     uint64_t *ret_len, struct err *err)
{
	const struct fat_fs *x = fs->priv;
	uint32_t last = x->f.bits == 32 ? 0x0ffffff7 : x->f.bits == 16 ? 0xfff7 : 0xff7;
	uint64_t off = 0, n = 0, power = 1;
	uint32_t mark = 0;

	for (uint32_t c = start; off < most && c < last; off += x->f.cluster, n++) {
		if (c < 2 || c >= x->f.clusters + 2)
			return err_set(err, ERR_CORRUPT,
				       "a chain of the FAT leads to cluster %" PRIu32
				       ", there are %" PRIu64,
				       c, x->f.clusters);
		if (c == mark)
			return err_set(err, ERR_CORRUPT,
				       "a chain of the FAT is a loop, at cluster %" PRIu32, c);
		if (n == power) {
			mark = c;
			power *= 2;
		}
		if (n % 4096 == 0 && stop_check(err) < 0)
			return -1;
		if (fs_map_add(m, &fs->v, off, x->f.data_off + (uint64_t)(c - 2) * x->f.cluster,
			       x->f.cluster, err) < 0 ||
		    next_cluster(fs, c, &c, err) < 0)
			return -1;
	}
	*ret_len = off;
	return 0;
}

static int fat_map(struct fs *fs, const struct fs_node *node, struct fs_map *ret, struct err *err)
{
	uint64_t len;

	if (!ret->size)
		return 0;
	if (map_chain(fs, (uint32_t)node->start, ret->size, ret, &len, err) < 0)
		return -1;
	if (len < ret->size)
		return err_set(err, ERR_CORRUPT,
			       "a file has %" PRIu64
			       " bytes, its chain in the FAT ends at %" PRIu64,
			       ret->size, len);
	return 0;
}

/* ---- folders */

struct long_name {
	uint8_t units[LONG_PARTS * LONG_UNITS * 2];
	unsigned parts, left; /* left: parts that must still come */
	uint8_t sum;
};

static uint8_t short_sum(const uint8_t *name)
{
	unsigned sum = 0;

	for (unsigned i = 0; i < 11; i++)
		sum = (((sum & 1) << 7) + (sum >> 1) + name[i]) & 0xff;
	return (uint8_t)sum;
}

/* The parts of a long name come last first */
static void take_long(struct long_name *l, const uint8_t *e)
{
	unsigned number = e[0] & 0x1f;
	uint8_t *at;

	if (e[0] & 0x40) {
		l->parts = l->left = number;
		l->sum = e[13];
	}
	if (!number || number > LONG_PARTS || number != l->left || e[13] != l->sum) {
		l->parts = 0;
		return;
	}
	at = l->units + (size_t)(number - 1) * LONG_UNITS * 2;
	memcpy(at, e + 1, 10);
	memcpy(at + 10, e + 14, 12);
	memcpy(at + 22, e + 28, 4);
	l->left--;
}

/* NAME.EXT; Windows NT keeps in byte 12 that a part is in lower case. Above ASCII it is some code page: "_" */
static size_t short_name(const uint8_t *e, char ret[13])
{
	size_t n = 0;

	for (unsigned i = 0; i < 11; i++) {
		unsigned c = i == 0 && e[0] == 5 ? 0xe5 : e[i];
		bool lower = e[12] & (i < 8 ? 8 : 16);

		if (c == ' ')
			continue;
		if (i >= 8 && !memchr(ret, '.', n))
			ret[n++] = '.';
		ret[n++] = (char)(c > 126 || c < 32 ? '_' : lower ? tolower((int)c) : (int)c);
	}
	return n;
}

/* A local time without a zone: taken as UTC */
static int64_t fat_time(unsigned date, unsigned clock)
{
	struct tm tm = {.tm_year = (int)(date >> 9) + 80,
			.tm_mon = (int)(date >> 5 & 15) - 1,
			.tm_mday = (int)(date & 31),
			.tm_hour = (int)(clock >> 11),
			.tm_min = (int)(clock >> 5 & 63),
			.tm_sec = (int)(clock & 31) * 2};

	return date ? (int64_t)timegm(&tm) : 0;
}

static int add_entry(struct fs_list *list, const struct long_name *l, const uint8_t *e,
		     uint64_t place, struct err *err)
{
	CLEANUP_FREE char *name = NULL;
	bool dir = e[11] & ATTR_DIR;
	struct fs_node node = {.id = place,
			       .type = dir ? FS_DIR : FS_FILE,
			       .filled = true,
			       .mode = e[11] & ATTR_READ_ONLY ? 0555 : 0755,
			       .links = 1,
			       .size = dir ? 0 : get_le32(e + 28),
			       .mtime = fat_time(get_le16(e + 24), get_le16(e + 22)),
			       .start = get_le16(e + 26) | (uint32_t)get_le16(e + 20) << 16};
	char plain[13];
	size_t len;

	if (dir)
		node.id = DIR_ID | node.start;
	else
		node.mode &= 0666;
	if (e[0] == '.')
		return 0;
	if (l->parts && !l->left && l->sum == short_sum(e)) {
		if (utf16_to_utf8(l->units, (size_t)l->parts * LONG_UNITS * 2, false, &name, err) <
		    0)
			return -1;
		return fs_list_add(list, name, strlen(name), &node, err);
	}
	len = short_name(e, plain);
	return fs_list_add(list, plain, len, &node, err);
}

static int parse_dir(struct fs_list *list, const uint8_t *dir, size_t len, const struct fs_map *m,
		     struct err *err)
{
	struct long_name l = {.parts = 0};
	size_t run = 0;

	for (size_t at = 0; at + ENTRY <= len; at += ENTRY) {
		const uint8_t *e = dir + at;

		if (e[0] == 0)
			return 0;
		if (e[0] == 0xe5) {
			l.parts = 0;
			continue;
		}
		if ((e[11] & 0x3f) == ATTR_LONG) {
			take_long(&l, e);
			continue;
		}
		while (m->runs[run].off + m->runs[run].len <= at)
			run++;
		if (!(e[11] & ATTR_VOLUME) &&
		    add_entry(list, &l, e, m->runs[run].place + (at - m->runs[run].off), err) < 0)
			return -1;
		l.parts = 0;
	}
	return 0;
}

static int fat_list(struct fs *fs, const struct fs_node *dir, struct fs_list *ret, struct err *err)
{
	const struct fat_fs *x = fs->priv;
	CLEANUP_FREE uint8_t *bytes = NULL;
	struct fs_map m = {0};
	uint64_t len = 0;
	int rc;

	/* Folders below the root name it as cluster 0 */
	if (dir->start == 0 && x->f.bits != 32) {
		len = (uint64_t)x->f.root_entries * ENTRY;
		rc = fs_map_add(&m, &fs->v, 0, x->f.root_off, len, err);
	} else {
		rc = map_chain(fs, dir->start ? (uint32_t)dir->start : x->f.root_cluster, DIR_MOST,
			       &m, &len, err);
	}
	m.size = len;
	if (rc == 0) {
		bytes = malloc(len + 1);
		rc = bytes ? fs_read(fs, &m, bytes, 0, (size_t)len, err) : err_nomem(err);
	}
	if (rc == 0)
		rc = parse_dir(ret, bytes, (size_t)len, &m, err);
	fs_map_release(&m);
	return rc;
}

static int fat_fill(struct fs *fs, struct fs_node *node, struct err *err)
{
	(void)fs, (void)node, (void)err;
	return 0; /* an entry has it all */
}

const struct fs_ops fs_fat = {
	.name = "fat",
	.open = fat_open,
	.close = fat_close,
	.root = fat_root,
	.list = fat_list,
	.fill = fat_fill,
	.map = fat_map,
	.ignores_case = true,
};
