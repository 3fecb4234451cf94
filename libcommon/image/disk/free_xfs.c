/* Free blocks of XFS, versions 4 and 5: Linux' "XFS Algorithms & Data Structures", 3rd edition. Big endian.
 *
 * Each allocation group has a tree of its free extents, sorted by block. It counts only when the log has nothing to
 * replay: the last record in it is the one that unmounting writes. The head of the log is found as the kernel does, by
 * the cycle number that each of its sectors begins with; where that is in doubt the file system is refused.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/stop.h"
#include "libcommon/image/disk/freemap.h"

enum {
	SUPER = 512,
	LOG_SECTOR = 512, /* "basic blocks", whatever the device's sectors */
	LOG_MAGIC = (int)0xfeedbabe,
	LOG_CYCLES = 32 << 10, /* bytes of a record that one sector of header describes */
	LOG_RECORD_MOST = 256 << 10,
	OP_UNMOUNT = 0x20,
	INCOMPAT_NEEDS_REPAIR = 0x10,
	INCOMPAT_KNOWN = 0x1ff,
	LEVELS_MOST = 9,
	NO_BLOCK = -1, /* of 32 bits */
};

struct xfs {
	const struct volume *v;
	uint32_t block, sector, group_blocks, groups;
	unsigned group_log;
	uint64_t blocks; /* of the file system */
	uint64_t log_off, log_sectors;
	bool v5;
};

static int contradicts(const char *what, struct err *err)
{
	return err_set(err, ERR_CORRUPT, "the XFS file system contradicts itself: %s", what);
}

static int find_log(const uint8_t *s, struct xfs *x, struct err *err)
{
	uint64_t start = get_be64(s + 48), blocks = get_be32(s + 96);
	uint64_t group = start >> x->group_log, in = start & ((1ULL << x->group_log) - 1);

	if (!start)
		return err_set(err, ERR_UNSUPPORTED,
			       "the log of the XFS file system lies on another device");
	if (group >= x->groups || in + blocks > x->group_blocks || !blocks)
		return contradicts("its log", err);
	x->log_off = (group * x->group_blocks + in) * x->block;
	x->log_sectors = blocks * x->block / LOG_SECTOR;
	return 0;
}

static int parse(const uint8_t *s, struct xfs *x, struct err *err)
{
	unsigned version = get_be16(s + 100) & 15, block_log = s[120];
	uint64_t bytes;

	x->block = get_be32(s + 4);
	x->blocks = get_be64(s + 8);
	x->group_blocks = get_be32(s + 84);
	x->groups = get_be32(s + 88);
	x->sector = get_be16(s + 102);
	x->group_log = s[124];
	x->v5 = version == 5;
	if (version != 4 && version != 5)
		return err_set(err, ERR_UNSUPPORTED, "version %u of XFS is not read here", version);
	if (x->v5 && (get_be32(s + 216) & ~(uint32_t)INCOMPAT_KNOWN))
		return err_set(err, ERR_UNSUPPORTED, "XFS with the unknown features %#" PRIx32,
			       get_be32(s + 216) & ~(uint32_t)INCOMPAT_KNOWN);
	if (s[126] || (x->v5 && get_be32(s + 216) & INCOMPAT_NEEDS_REPAIR))
		return err_set(err, ERR_UNSUPPORTED, "the XFS file system needs a repair");
	if (block_log < 9 || block_log > 16 || x->block != 1U << block_log || x->sector < 512 ||
	    !is_pow2(x->sector) || x->sector > x->block || x->group_log > 31 || !x->groups ||
	    !x->group_blocks || x->group_blocks > 1ULL << x->group_log)
		return contradicts("its sizes", err);
	if ((uint64_t)x->groups != div_up(x->blocks, x->group_blocks))
		return contradicts("its allocation groups", err);
	if (!u64_mul(x->blocks, x->block, &bytes) || bytes > x->v->len)
		return err_set(err, ERR_CORRUPT,
			       "the XFS file system has %" PRIu64 " blocks of %" PRIu32
			       " bytes, its partition %" PRIu64 " bytes",
			       x->blocks, x->block, x->v->len);
	return find_log(s, x, err);
}

/* ---- is the log done with? */

static int log_read(const struct xfs *x, uint64_t sector, uint8_t ret[LOG_SECTOR], struct err *err)
{
	return volume_read(x->v, ret, x->log_off + sector % x->log_sectors * LOG_SECTOR, LOG_SECTOR,
			   err);
}

static int log_cycle(const struct xfs *x, uint64_t sector, uint32_t *ret, struct err *err)
{
	uint8_t s[LOG_SECTOR];

	if (log_read(x, sector, s, err) < 0)
		return -1;
	*ret = get_be32(get_be32(s) == (uint32_t)LOG_MAGIC ? s + 4 : s);
	return 0;
}

/* The first sector that was not written in the newest cycle: in [0, log_sectors] */
static int log_head(const struct xfs *x, uint64_t *ret, struct err *err)
{
	uint64_t low = 0, high = x->log_sectors;
	uint32_t newest, cycle;

	if (log_cycle(x, 0, &newest, err) < 0)
		return -1;
	while (high - low > 1) {
		uint64_t middle = low + (high - low) / 2;

		if (log_cycle(x, middle, &cycle, err) < 0)
			return -1;
		if (cycle == newest)
			low = middle;
		else
			high = middle;
	}
	*ret = high;
	return newest ? 0 : contradicts("its log is empty", err);
}

/* Does the record that begins with sector @s, at @at, end at @head, and say that nothing follows? */
static int is_unmount(const struct xfs *x, const uint8_t *s, uint64_t at, uint64_t head, bool *ret,
		      struct err *err)
{
	uint32_t len = get_be32(s + 12), size = get_be32(s + 320);
	uint64_t header = 1;
	uint8_t op[LOG_SECTOR];

	*ret = false;
	if (get_be32(s + 8) & 2 && size > LOG_CYCLES && size <= LOG_RECORD_MOST)
		header = div_up(size, LOG_CYCLES);
	if (get_be32(s + 40) != 1 || len > LOG_RECORD_MOST ||
	    at + header + div_up(len, LOG_SECTOR) != head)
		return 0;
	if (log_read(x, at + header, op, err) < 0)
		return -1;
	*ret = op[9] & OP_UNMOUNT;
	return 0;
}

static int check_log(const struct xfs *x, struct err *err)
{
	/* The unmount record is padded to the log's stripe at most */
	const uint64_t look_back = (LOG_RECORD_MOST + LOG_RECORD_MOST / 64) / LOG_SECTOR;
	uint64_t head;
	uint8_t s[LOG_SECTOR];
	bool clean = false;

	if (log_head(x, &head, err) < 0)
		return -1;
	head += x->log_sectors; /* it is a ring: the record may begin before its end */
	for (uint64_t n = 1; n <= min_u64(look_back, x->log_sectors); n++) {
		if (log_read(x, head - n, s, err) < 0)
			return -1;
		if (get_be32(s) != (uint32_t)LOG_MAGIC)
			continue;
		if (is_unmount(x, s, head - n, head, &clean, err) < 0)
			return -1;
		break;
	}
	if (clean)
		return 0;
	return err_set(err, ERR_UNSUPPORTED,
		       "the XFS file system was not unmounted: its log has to be replayed first");
}

/* ---- free extents */

struct group {
	uint32_t no, len; /* blocks */
	uint32_t root, levels;
	uint64_t end; /* of the last extent */
	uint64_t free;
};

static int read_block(const struct xfs *x, const struct group *g, uint32_t no, unsigned level,
		      uint8_t *buf, struct err *err)
{
	const char *magic = x->v5 ? "AB3B" : "ABTB";
	size_t most = (x->block - (x->v5 ? 56U : 16U)) / (level ? 12 : 8);

	if (no >= g->len)
		return contradicts("a tree of free extents leads out of its group", err);
	if (volume_read(x->v, buf, ((uint64_t)g->no * x->group_blocks + no) * x->block, x->block,
			err) < 0)
		return -1;
	if (memcmp(buf, magic, 4) || get_be16(buf + 4) != level || get_be16(buf + 6) > most)
		return contradicts("a tree of free extents", err);
	return 0;
}

static int add_leaf(const struct xfs *x, struct group *g, const uint8_t *leaf, struct freemap *m,
		    struct err *err)
{
	const uint8_t *r = leaf + (x->v5 ? 56 : 16);
	unsigned n = get_be16(leaf + 6);

	for (unsigned i = 0; i < n; i++, r += 8) {
		uint64_t start = get_be32(r), count = get_be32(r + 4);

		if (start < g->end || !count || start + count > g->len)
			return contradicts("its free extents", err);
		g->end = start + count;
		g->free += count;
		if (freemap_add(m, x->v, ((uint64_t)g->no * x->group_blocks + start) * x->block,
				count * x->block, err) < 0)
			return -1;
	}
	return 0;
}

/* Down to the first leaf, then along to the right. */
static int add_group(const struct xfs *x, struct group *g, uint8_t *buf, struct freemap *m,
		     struct err *err)
{
	size_t header = x->v5 ? 56 : 16, keys = (x->block - header) / 12;
	uint32_t no = g->root, visited = 0;

	for (unsigned level = g->levels; level-- > 0;) {
		if (read_block(x, g, no, level, buf, err) < 0)
			return -1;
		if (level == 0)
			break;
		if (!get_be16(buf + 6))
			return contradicts("an empty node of free extents", err);
		no = get_be32(buf + header + keys * 8);
	}
	for (;;) {
		if (stop_check(err) < 0 || add_leaf(x, g, buf, m, err) < 0)
			return -1;
		no = get_be32(buf + 12);
		if (no == (uint32_t)NO_BLOCK)
			return 0;
		if (++visited >= g->len)
			return contradicts("its free extents run in a circle", err);
		if (read_block(x, g, no, 0, buf, err) < 0)
			return -1;
	}
}

static int read_group(const struct xfs *x, uint32_t no, uint8_t *buf, struct freemap *m,
		      struct err *err)
{
	uint64_t first = (uint64_t)no * x->group_blocks;
	struct group g = {.no = no};
	uint64_t free;

	if (volume_read(x->v, buf, first * x->block + x->sector, 64, err) < 0)
		return -1;
	g.len = get_be32(buf + 12);
	g.root = get_be32(buf + 16);
	g.levels = get_be32(buf + 28);
	free = get_be32(buf + 52);
	if (memcmp(buf, "XAGF", 4) || get_be32(buf + 8) != no ||
	    g.len != min_u64(x->group_blocks, x->blocks - first) || !g.levels ||
	    g.levels > LEVELS_MOST)
		return contradicts("an allocation group", err);
	if (add_group(x, &g, buf, m, err) < 0)
		return -1;
	return g.free == free ? 0 : contradicts("a count of free blocks", err);
}

static int xfs_probe(const struct volume *v, bool *ret, struct err *err)
{
	uint8_t s[4];

	*ret = false;
	if (v->len < SUPER)
		return 0;
	if (volume_read(v, s, 0, sizeof(s), err) < 0)
		return -1;
	*ret = memcmp(s, "XFSB", 4) == 0;
	return 0;
}

static int xfs_read(const struct volume *v, struct freemap *m, struct err *err)
{
	struct xfs x = {.v = v};
	uint8_t s[SUPER];
	CLEANUP_FREE uint8_t *buf = NULL;

	if (volume_read(v, s, 0, sizeof(s), err) < 0 || parse(s, &x, err) < 0 ||
	    check_log(&x, err) < 0)
		return -1;
	buf = malloc(x.block);
	if (!buf)
		return err_nomem(err);
	for (uint32_t i = 0; i < x.groups; i++)
		if (read_group(&x, i, buf, m, err) < 0)
			return -1;
	return 0;
}

const struct free_reader free_xfs = {"xfs", xfs_probe, xfs_read};
