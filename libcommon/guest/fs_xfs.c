/* Files of XFS, versions 4 and 5: Linux' "XFS Algorithms & Data Structures", 3rd edition. All numbers are big endian.
 *
 * The log is not replayed: of a machine that was not stopped the last changes may be missing. Inode numbers say where an
 * inode lies, so no tree of inodes is read; folders are read block by block, their hash trees are not looked at.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/stop.h"
#include "libcommon/guest/fs.h"

enum {
	SUPER = 512,
	FORMAT_DEV = 0,
	FORMAT_LOCAL = 1,
	FORMAT_EXTENTS = 2,
	FORMAT_BTREE = 3,
	FLAG_REALTIME = 1,
	FLAG2_BIGTIME = 8,
	FLAG2_NREXT64 = 16,
	INCOMPAT_FTYPE = 1,
	INCOMPAT_KNOWN = 0x1ff,
	FEATURE2_FTYPE = 0x200,
	VERSION_MOREBITS = 0x8000,
	LINK_HEADER = 56, /* in front of a remote link's text, version 5 */
	LEVELS_MOST = 16,
};
#define DIR_DATA_END (1ULL << 35) /* a folder's names lie below; its hash tree above */

struct xfs {
	uint32_t block, inode_size, ag_blocks, ag_count, dir_block;
	unsigned block_log, ag_block_log, inode_per_block_log;
	uint64_t root;
	bool v5, has_types;
};

/* An inode as it is on the disk, and what of it is needed */
struct inode {
	uint8_t raw[2048];
	uint16_t mode;
	uint8_t format;
	uint64_t size, extents;
	const uint8_t *fork;
	size_t fork_len;
};

static int corrupt_super(const char *what, struct err *err)
{
	return err_set(err, ERR_CORRUPT, "the XFS superblock contradicts itself: %s", what);
}

static int parse_super(const struct fs *fs, const uint8_t *s, struct xfs *x, struct err *err)
{
	unsigned version = get_be16(s + 100), dir_log = s[192];
	uint64_t bytes;

	x->block = get_be32(s + 4);
	x->ag_blocks = get_be32(s + 84);
	x->ag_count = get_be32(s + 88);
	x->inode_size = get_be16(s + 104);
	x->block_log = s[120];
	x->inode_per_block_log = s[123];
	x->ag_block_log = s[124];
	x->root = get_be64(s + 56);
	x->v5 = (version & 15) == 5;
	if (!x->v5 && (version & 15) != 4)
		return err_set(err, ERR_UNSUPPORTED, "version %u of XFS is not read here",
			       version & 15);
	if (x->block_log < 9 || x->block_log > 16 || x->block != 1U << x->block_log)
		return corrupt_super("blocks", err);
	if (x->inode_size < 256 || x->inode_size > 2048 || !is_pow2(x->inode_size) ||
	    x->inode_per_block_log > 8 || x->inode_size << x->inode_per_block_log != x->block)
		return corrupt_super("inodes", err);
	if (!x->ag_blocks || !x->ag_count || x->ag_block_log > 31 ||
	    x->ag_blocks > 1ULL << x->ag_block_log)
		return corrupt_super("allocation groups", err);
	if (dir_log > 7 || x->block_log + dir_log > 16)
		return corrupt_super("folders", err);
	if (!u64_mul(get_be64(s + 8), x->block, &bytes) || bytes > fs->v.len)
		return err_set(err, ERR_CORRUPT,
			       "the XFS file system has %" PRIu64 " blocks of %" PRIu32
			       " bytes, its partition %" PRIu64 " bytes",
			       get_be64(s + 8), x->block, fs->v.len);
	x->dir_block = x->block << dir_log;
	x->has_types = x->v5 ? get_be32(s + 216) & INCOMPAT_FTYPE
			     : version & VERSION_MOREBITS && get_be32(s + 200) & FEATURE2_FTYPE;
	if (x->v5 && get_be32(s + 216) & ~(uint32_t)INCOMPAT_KNOWN)
		return err_set(err, ERR_UNSUPPORTED, "XFS with the unknown features %#" PRIx32,
			       get_be32(s + 216) & ~(uint32_t)INCOMPAT_KNOWN);
	return 0;
}

static int xfs_open(struct fs *fs, struct err *err)
{
	CLEANUP_FREE struct xfs *x = calloc(1, sizeof(*x));
	uint8_t s[SUPER];

	if (!x)
		return err_nomem(err);
	if (volume_read(&fs->v, s, 0, sizeof(s), err) < 0 || parse_super(fs, s, x, err) < 0)
		return -1;
	fs->priv = steal_ptr(&x);
	return 0;
}

static void xfs_close(struct fs *fs)
{
	free(fs->priv);
}

static int xfs_root(struct fs *fs, struct fs_node *ret, struct err *err)
{
	const struct xfs *x = fs->priv;

	(void)err;
	*ret = (struct fs_node){.id = x->root, .type = FS_DIR};
	return 0;
}

/* Block numbers hold the allocation group in front. Return: bytes of the volume, UINT64_MAX: nowhere */
static uint64_t block_place(const struct xfs *x, uint64_t number)
{
	uint64_t group = number >> x->ag_block_log,
		 inside = number & ((1ULL << x->ag_block_log) - 1);

	if (group >= x->ag_count || inside >= x->ag_blocks)
		return UINT64_MAX;
	return (group * x->ag_blocks + inside) << x->block_log;
}

/* ---- inodes */

static int read_inode(struct fs *fs, uint64_t number, struct inode *ret, struct err *err)
{
	const struct xfs *x = fs->priv;
	uint64_t place = block_place(x, number >> x->inode_per_block_log);
	size_t start;

	if (place == UINT64_MAX)
		return err_set(err, ERR_CORRUPT,
			       "inode %" PRIu64 " lies outside of the XFS file system", number);
	place += (number & ((1U << x->inode_per_block_log) - 1)) * x->inode_size;
	if (volume_read(&fs->v, ret->raw, place, x->inode_size, err) < 0)
		return -1;
	start = ret->raw[4] == 3 ? 176 : 100;
	if (memcmp(ret->raw, "IN", 2) != 0 || ret->raw[4] < 1 || ret->raw[4] > 3 ||
	    (ret->raw[4] == 3 && get_be64(ret->raw + 152) != number))
		return err_set(err, ERR_CORRUPT, "there is no XFS inode %" PRIu64, number);
	ret->mode = get_be16(ret->raw + 2);
	ret->format = ret->raw[5];
	ret->size = get_be64(ret->raw + 56);
	ret->extents = ret->raw[4] == 3 && get_be64(ret->raw + 120) & FLAG2_NREXT64
			       ? get_be64(ret->raw + 24)
			       : get_be32(ret->raw + 76);
	ret->fork = ret->raw + start;
	ret->fork_len = x->inode_size - start;
	if (ret->raw[82] && (size_t)ret->raw[82] * 8 < ret->fork_len)
		ret->fork_len = (size_t)ret->raw[82] * 8;
	if (ret->size > INT64_MAX)
		return err_set(err, ERR_CORRUPT, "XFS inode %" PRIu64 " has %" PRIu64 " bytes",
			       number, ret->size);
	return 0;
}

static enum fs_type type_of_mode(uint32_t mode)
{
	return S_ISREG(mode)	? FS_FILE
	       : S_ISDIR(mode)	? FS_DIR
	       : S_ISLNK(mode)	? FS_SYMLINK
	       : S_ISCHR(mode)	? FS_CHAR
	       : S_ISBLK(mode)	? FS_BLOCK
	       : S_ISFIFO(mode) ? FS_FIFO
	       : S_ISSOCK(mode) ? FS_SOCKET
				: FS_UNKNOWN;
}

static int xfs_fill(struct fs *fs, struct fs_node *node, struct err *err)
{
	struct inode i;

	if (read_inode(fs, node->id, &i, err) < 0)
		return -1;
	node->type = type_of_mode(i.mode);
	node->mode = i.mode & 07777;
	node->uid = get_be32(i.raw + 8);
	node->gid = get_be32(i.raw + 12);
	node->links = i.raw[4] == 1 ? get_be16(i.raw + 6) : get_be32(i.raw + 16);
	node->size = i.size;
	if (i.raw[4] == 3 && get_be64(i.raw + 120) & FLAG2_BIGTIME) {
		uint64_t ns = get_be64(i.raw + 40);

		node->mtime = (int64_t)(ns / 1000000000) - (1LL << 31);
		node->mtime_ns = (uint32_t)(ns % 1000000000);
	} else {
		node->mtime = (int32_t)get_be32(i.raw + 40);
		node->mtime_ns = get_be32(i.raw + 44) % 1000000000;
	}
	if ((node->type == FS_CHAR || node->type == FS_BLOCK) && i.format == FORMAT_DEV) {
		node->major = get_be32(i.fork) >> 18 & 0x3fff;
		node->minor = get_be32(i.fork) & 0x3ffff;
	}
	return 0;
}

/* ---- where a file lies */

/* @end: where the last one ended; unwritten ones count too, so that leaves in a loop are found */
static int add_extents(struct fs *fs, const uint8_t *p, uint64_t n, uint64_t *end, struct fs_map *m,
		       struct err *err)
{
	const struct xfs *x = fs->priv;

	for (; n; n--, p += 16) {
		uint64_t high = get_be64(p), low = get_be64(p + 8),
			 first = high >> 9 & ((1ULL << 54) - 1), count = low & ((1U << 21) - 1),
			 place = block_place(x, (high & 0x1ff) << 43 | low >> 21);

		if (first < *end || !count || first >> (62 - x->block_log))
			return err_set(err, ERR_CORRUPT,
				       "the extents of an XFS inode are in disorder");
		*end = first + count;
		/* Allocated and not written yet: zeros */
		if (high >> 63)
			continue;
		if (place == UINT64_MAX)
			return err_set(err, ERR_CORRUPT,
				       "an XFS extent lies outside of the file system");
		if (fs_map_add(m, &fs->v, first << x->block_log, place, count << x->block_log,
			       err) < 0)
			return -1;
	}
	return 0;
}

/* A block of the tree of extents: *@ret_n records of @level, behind a header of *@ret_head bytes */
static int read_node(struct fs *fs, uint64_t number, unsigned level, uint8_t *b, size_t *ret_head,
		     unsigned *ret_n, struct err *err)
{
	const struct xfs *x = fs->priv;
	uint64_t place = block_place(x, number);
	size_t head = x->v5 ? 72 : 24;

	if (place == UINT64_MAX)
		return err_set(err, ERR_CORRUPT,
			       "a tree of XFS extents leads out of the file system");
	if (stop_check(err) < 0 || volume_read(&fs->v, b, place, x->block, err) < 0)
		return -1;
	*ret_head = head;
	*ret_n = get_be16(b + 6);
	if (memcmp(b, x->v5 ? "BMA3" : "BMAP", 4) != 0 || get_be16(b + 4) != level || !*ret_n ||
	    head + 16ULL * *ret_n > x->block)
		return err_set(err, ERR_CORRUPT,
			       "a tree of XFS extents has no node at offset %" PRIu64, place);
	return 0;
}

/* Down to the first leaf, then along the leaves. Those in a loop are in disorder. */
static int map_tree(struct fs *fs, const struct inode *i, struct fs_map *m, struct err *err)
{
	const struct xfs *x = fs->priv;
	CLEANUP_FREE uint8_t *b = malloc(x->block);
	size_t keys = (i->fork_len - 4) / 16, head;
	unsigned level = get_be16(i->fork), n = get_be16(i->fork + 2);
	uint64_t next, end = 0;

	if (!b)
		return err_nomem(err);
	if (!level || level > LEVELS_MOST || !n || n > keys)
		return err_set(err, ERR_CORRUPT, "the root of a tree of XFS extents is damaged");
	next = get_be64(i->fork + 4 + keys * 8);
	while (level--) {
		if (read_node(fs, next, level, b, &head, &n, err) < 0)
			return -1;
		if (level)
			next = get_be64(b + head + (x->block - head) / 16 * 8);
	}
	for (;;) {
		if (add_extents(fs, b + head, n, &end, m, err) < 0)
			return -1;
		next = get_be64(b + 16);
		if (next == UINT64_MAX)
			return 0;
		if (read_node(fs, next, 0, b, &head, &n, err) < 0)
			return -1;
	}
}

static int map_fork(struct fs *fs, const struct inode *i, struct fs_map *m, struct err *err)
{
	uint64_t end = 0;

	if (i->format == FORMAT_EXTENTS) {
		if (i->extents > i->fork_len / 16)
			return err_set(err, ERR_CORRUPT,
				       "an XFS inode has %" PRIu64 " extents, and room for %zu",
				       i->extents, i->fork_len / 16);
		return add_extents(fs, i->fork, i->extents, &end, m, err);
	}
	if (i->format == FORMAT_BTREE)
		return map_tree(fs, i, m, err);
	return err_set(err, ERR_CORRUPT, "an XFS inode keeps its data in an unknown way (%u)",
		       i->format);
}

/* A link that is too long for its inode: in version 5 each block has a header of its own */
static int map_long_link(struct fs *fs, const struct inode *i, struct fs_map *m, struct err *err)
{
	const struct xfs *x = fs->priv;
	size_t head = x->v5 ? LINK_HEADER : 0, per = x->block - head;
	CLEANUP_FREE uint8_t *block = malloc(x->block);
	struct fs_map blocks = {.size = div_up(i->size, per) * x->block};
	int rc;

	m->bytes = malloc(i->size + 1);
	if (!block || !m->bytes)
		return err_nomem(err);
	rc = map_fork(fs, i, &blocks, err);
	for (uint64_t at = 0, off = 0, n; at < i->size && rc == 0; at += n, off += x->block) {
		n = min_u64(per, i->size - at);
		rc = fs_read(fs, &blocks, block, off, x->block, err);
		if (rc == 0 && head && memcmp(block, "XSLM", 4) != 0)
			rc = err_set(err, ERR_CORRUPT, "a symbolic link of XFS is damaged");
		if (rc == 0)
			memcpy(m->bytes + at, block + head, (size_t)n);
	}
	fs_map_release(&blocks);
	return rc;
}

static int xfs_map(struct fs *fs, const struct fs_node *node, struct fs_map *ret, struct err *err)
{
	struct inode i;

	if (read_inode(fs, node->id, &i, err) < 0)
		return -1;
	if (get_be16(i.raw + 90) & FLAG_REALTIME)
		return err_set(err, ERR_UNSUPPORTED, "the file lies on XFS' realtime device");
	if (!S_ISLNK(i.mode))
		return map_fork(fs, &i, ret, err);
	if (i.size > FS_LINK_MOST)
		return err_set(err, ERR_CORRUPT, "a symbolic link of %" PRIu64 " bytes", i.size);
	if (i.format != FORMAT_LOCAL)
		return map_long_link(fs, &i, ret, err);
	if (i.size > i.fork_len)
		return err_set(err, ERR_CORRUPT, "a symbolic link of %" PRIu64 " bytes in an inode",
			       i.size);
	ret->bytes = malloc(i.size + 1);
	if (!ret->bytes)
		return err_nomem(err);
	memcpy(ret->bytes, i.fork, (size_t)i.size);
	return 0;
}

/* ---- folders */

static int add_name(struct fs *fs, struct fs_list *l, uint64_t number, const uint8_t *name,
		    size_t len, unsigned type, struct err *err)
{
	static const enum fs_type types[] = {FS_UNKNOWN, FS_FILE, FS_DIR,    FS_CHAR,
					     FS_BLOCK,	 FS_FIFO, FS_SOCKET, FS_SYMLINK};
	struct fs_node node = {.id = number, .type = type < 8 ? types[type] : FS_UNKNOWN};

	if (node.type == FS_UNKNOWN && fs_fill(fs, &node, err) < 0)
		return -1;
	return fs_list_add(l, (const char *)name, len, &node, err);
}

static int list_short(struct fs *fs, const struct inode *i, struct fs_list *l, struct err *err)
{
	const struct xfs *x = fs->priv;
	const uint8_t *p = i->fork, *end = p + min_u64(i->size, i->fork_len);
	size_t wide = p[1] ? 8 : 4;
	unsigned n = p[0];

	for (p += 2 + wide; n; n--) {
		size_t len = p < end ? p[0] : 0, all = 3 + len + x->has_types + wide;
		const uint8_t *number = p + 3 + len + x->has_types;

		if (!len || (size_t)(end - p) < all)
			return err_set(err, ERR_CORRUPT, "an XFS folder in an inode is damaged");
		if (add_name(fs, l, wide == 8 ? get_be64(number) : get_be32(number), p + 3, len,
			     x->has_types ? p[3 + len] : 0, err) < 0)
			return -1;
		p += all;
	}
	return 0;
}

/* One block of names */
static int list_block(struct fs *fs, const uint8_t *b, struct fs_list *l, struct err *err)
{
	const struct xfs *x = fs->priv;
	bool single = memcmp(b, "XD2B", 4) == 0 || memcmp(b, "XDB3", 4) == 0;
	size_t at = x->v5 ? 64 : 16, end = x->dir_block;

	if (!single && memcmp(b, "XD2D", 4) != 0 && memcmp(b, "XDD3", 4) != 0)
		return err_set(err, ERR_CORRUPT, "a block of an XFS folder is damaged");
	if (single) { /* its hash table is behind the names */
		uint64_t table = 8 + 8ULL * get_be32(b + end - 8);

		if (table > end - at)
			return err_set(err, ERR_CORRUPT, "a block of an XFS folder is damaged");
		end -= (size_t)table;
	}
	while (at + 16 <= end) {
		size_t len = b[at + 8], all;

		if (get_be16(b + at) == 0xffff) {
			all = get_be16(b + at + 2);
			if (all < 8 || all % 8)
				return err_set(err, ERR_CORRUPT,
					       "a gap in an XFS folder has %zu bytes", all);
			at += all;
			continue;
		}
		all = (size_t)round_up(8 + 1 + len + x->has_types + 2, 8);
		if (all > end - at)
			return err_set(err, ERR_CORRUPT, "a name in an XFS folder is cut");
		if (add_name(fs, l, get_be64(b + at), b + at + 9, len,
			     x->has_types ? b[at + 9 + len] : 0, err) < 0)
			return -1;
		at += all;
	}
	return 0;
}

static int xfs_list(struct fs *fs, const struct fs_node *dir, struct fs_list *ret, struct err *err)
{
	const struct xfs *x = fs->priv;
	CLEANUP_FREE uint8_t *b = malloc(x->dir_block);
	struct fs_map m = {.size = DIR_DATA_END};
	struct inode i;
	uint64_t next = 0;
	int rc;

	if (!b)
		return err_nomem(err);
	if (read_inode(fs, dir->id, &i, err) < 0)
		return -1;
	if (!S_ISDIR(i.mode))
		return err_set(err, ERR_CORRUPT,
			       "inode %" PRIu64 " is named as a folder, which it is not", dir->id);
	if (i.format == FORMAT_LOCAL)
		return list_short(fs, &i, ret, err);
	rc = map_fork(fs, &i, &m, err);
	for (size_t r = 0; r < m.n && rc == 0; r++) {
		const struct fs_run *run = &m.runs[r];
		uint64_t end = min_u64(run->off + run->len, DIR_DATA_END);

		for (uint64_t off = max_u64(next, round_down(run->off, x->dir_block));
		     off < end && rc == 0; off += x->dir_block) {
			rc = stop_check(err);
			if (rc == 0)
				rc = fs_read(fs, &m, b, off, x->dir_block, err);
			if (rc == 0)
				rc = list_block(fs, b, ret, err);
			next = off + x->dir_block;
		}
	}
	fs_map_release(&m);
	return rc;
}

const struct fs_ops fs_xfs = {
	.name = "xfs",
	.open = xfs_open,
	.close = xfs_close,
	.root = xfs_root,
	.list = xfs_list,
	.fill = xfs_fill,
	.map = xfs_map,
};
