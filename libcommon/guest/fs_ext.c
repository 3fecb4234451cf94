/* Files of ext2, ext3 and ext4, through libext2fs. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/stop.h"
#include "libcommon/guest/ext_private.h"
#include "libcommon/guest/fs.h"

enum { INLINE_MOST = 64 << 10 };

static int fail(errcode_t rc, const char *what, struct err *err)
{
	if (stop_check(err) < 0)
		return -1;
	if (rc == EXT2_ET_NO_MEMORY)
		return err_nomem(err);
	return err_set(err, ERR_CORRUPT, "cannot read %s of the ext file system: %s", what,
		       error_message(rc));
}

static int ext_fs_open(struct fs *fs, struct err *err)
{
	CLEANUP_FREE struct ext *e = calloc(1, sizeof(*e));

	if (!e)
		return err_nomem(err);
	e->io.v = fs->v;
	if (ext_open(&e->io, true, &e->fs, err) < 0)
		return -1;
	fs->priv = steal_ptr(&e);
	return 0;
}

static void ext_fs_close(struct fs *fs)
{
	struct ext *e = fs->priv;

	ext2fs_free(e->fs);
	free(e);
}

static int ext_root(struct fs *fs, struct fs_node *ret, struct err *err)
{
	(void)fs, (void)err;
	*ret = (struct fs_node){.id = EXT2_ROOT_INO, .type = FS_DIR};
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

/* The whole inode, of which the library's structure has the first 156 bytes */
static int read_inode(struct ext *e, uint64_t number, struct ext2_inode_large *ret, struct err *err)
{
	errcode_t rc;

	if (!number || number > e->fs->super->s_inodes_count)
		return err_set(err, ERR_CORRUPT,
			       "inode %" PRIu64 " is named, the ext file system has %" PRIu32,
			       number, e->fs->super->s_inodes_count);
	memset(ret, 0, sizeof(*ret));
	rc = ext2fs_read_inode_full(e->fs, (ext2_ino_t)number, (struct ext2_inode *)ret,
				    sizeof(*ret));
	return rc ? fail(rc, "an inode", err) : 0;
}

static int ext_fill(struct fs *fs, struct fs_node *node, struct err *err)
{
	struct ext *e = fs->priv;
	struct ext2_inode_large inode;
	uint32_t rdev;

	ext_io_allow(&e->io);
	if (read_inode(e, node->id, &inode, err) < 0)
		return -1;
	node->type = type_of_mode(inode.i_mode);
	node->mode = inode.i_mode & 07777;
	node->uid = inode.i_uid | (uint32_t)inode.osd2.linux2.l_i_uid_high << 16;
	node->gid = inode.i_gid | (uint32_t)inode.osd2.linux2.l_i_gid_high << 16;
	node->links = inode.i_links_count;
	/* The upper half is something else in old folders */
	node->size = inode.i_size | (node->type == FS_DIR ? 0 : (uint64_t)inode.i_size_high << 32);
	if (node->size > INT64_MAX)
		return err_set(err, ERR_CORRUPT, "inode %" PRIu64 " has %" PRIu64 " bytes",
			       node->id, node->size);
	node->mtime = (int32_t)inode.i_mtime;
	if (e->fs->super->s_inode_size > 128 && inode.i_extra_isize >= 8) {
		/* Two bits of epoch below the nanoseconds */
		node->mtime += (int64_t)(inode.i_mtime_extra & 3) << 32;
		node->mtime_ns = (inode.i_mtime_extra >> 2) % 1000000000;
	}
	if (node->type == FS_CHAR || node->type == FS_BLOCK) {
		rdev = inode.i_block[0];
		if (rdev) {
			node->major = rdev >> 8 & 0xff;
			node->minor = rdev & 0xff;
		} else {
			rdev = inode.i_block[1];
			node->major = rdev >> 8 & 0xfff;
			node->minor = (rdev & 0xff) | (rdev >> 12 & 0xfff00);
		}
	}
	return 0;
}

/* ---- folders */

struct lister {
	struct ext *e;
	struct fs_list *list;
	struct err *err;
	bool failed;
};

static int add_entry(ext2_ino_t dir, int entry, struct ext2_dir_entry *d, int offset, int blocksize,
		     char *buf, void *priv)
{
	static const enum fs_type types[] = {
		[EXT2_FT_UNKNOWN] = FS_UNKNOWN, [EXT2_FT_REG_FILE] = FS_FILE,
		[EXT2_FT_DIR] = FS_DIR,		[EXT2_FT_CHRDEV] = FS_CHAR,
		[EXT2_FT_BLKDEV] = FS_BLOCK,	[EXT2_FT_FIFO] = FS_FIFO,
		[EXT2_FT_SOCK] = FS_SOCKET,	[EXT2_FT_SYMLINK] = FS_SYMLINK,
	};
	struct lister *l = priv;
	unsigned type = (unsigned)ext2fs_dirent_file_type(d);
	struct fs_node node = {.id = d->inode};

	(void)dir, (void)entry, (void)offset, (void)blocksize, (void)buf;
	node.type = type < sizeof(types) / sizeof(types[0]) ? types[type] : FS_UNKNOWN;
	/* Only the inode counts: a name that says otherwise would be a trap */
	if (node.type == FS_UNKNOWN && d->inode != 0)
		l->failed =
			ext_fill(&(struct fs){.priv = l->e, .v = l->e->io.v}, &node, l->err) < 0;
	if (!l->failed)
		l->failed = fs_list_add(l->list, d->name, (size_t)ext2fs_dirent_name_len(d), &node,
					l->err) < 0;
	return l->failed || stop_requested() ? DIRENT_ABORT : 0;
}

static int ext_list(struct fs *fs, const struct fs_node *dir, struct fs_list *ret, struct err *err)
{
	struct ext *e = fs->priv;
	struct lister l = {.e = e, .list = ret, .err = err};
	struct ext2_inode_large inode;
	errcode_t rc;

	ext_io_allow(&e->io);
	if (read_inode(e, dir->id, &inode, err) < 0)
		return -1;
	if (!S_ISDIR(inode.i_mode))
		return err_set(err, ERR_CORRUPT,
			       "inode %" PRIu64 " is named as a folder, which it is not", dir->id);
	if (inode.i_flags & EXT4_ENCRYPT_FL)
		return err_set(err, ERR_UNSUPPORTED, "the folder is encrypted");
	rc = ext2fs_dir_iterate2(e->fs, (ext2_ino_t)dir->id, 0, NULL, add_entry, &l);
	if (l.failed || stop_check(err) < 0)
		return -1;
	return rc ? fail(rc, "a folder", err) : 0;
}

static int ext_lookup(struct fs *fs, const struct fs_node *dir, const char *name,
		      struct fs_node *ret, bool *ret_found, struct err *err)
{
	struct ext *e = fs->priv;
	ext2_ino_t number = 0;
	struct ext2_inode_large inode;
	errcode_t rc;

	*ret_found = false;
	ext_io_allow(&e->io);
	if (read_inode(e, dir->id, &inode, err) < 0)
		return -1;
	if (!S_ISDIR(inode.i_mode))
		return err_set(err, ERR_CORRUPT,
			       "inode %" PRIu64 " is named as a folder, which it is not", dir->id);
	if (strlen(name) > EXT2_NAME_LEN)
		return 0;
	rc = ext2fs_lookup(e->fs, (ext2_ino_t)dir->id, name, (int)strlen(name), NULL, &number);
	if (rc == EXT2_ET_FILE_NOT_FOUND)
		return 0;
	if (rc)
		return fail(rc, "a folder", err);
	*ret = (struct fs_node){.id = number};
	*ret_found = true;
	return fs_fill(fs, ret, err);
}

/* ---- where a file lies */

static int add_run(struct ext *e, struct fs_map *m, uint64_t logical, uint64_t physical,
		   uint64_t blocks, struct err *err)
{
	uint64_t bs = e->fs->blocksize, off, place;

	if (!u64_mul(logical, bs, &off) || !u64_mul(physical, bs, &place))
		return err_set(err, ERR_CORRUPT, "a file has its block %" PRIu64 " at %" PRIu64,
			       logical, physical);
	return fs_map_add(m, &e->io.v, off, place, blocks * bs, err);
}

static int map_extents(struct ext *e, ext2_ino_t number, struct ext2_inode_large *inode,
		       struct fs_map *m, struct err *err)
{
	ext2_extent_handle_t handle;
	struct ext2fs_extent x;
	errcode_t rc;
	int r = 0;

	rc = ext2fs_extent_open2(e->fs, number, (struct ext2_inode *)inode, &handle);
	if (rc)
		return fail(rc, "the extents", err);
	rc = ext2fs_extent_get(handle, EXT2_EXTENT_ROOT, &x);
	while (rc == 0 && r == 0) {
		if (x.e_flags & EXT2_EXTENT_FLAGS_LEAF && !(x.e_flags & EXT2_EXTENT_FLAGS_UNINIT))
			r = add_run(e, m, x.e_lblk, x.e_pblk, x.e_len, err);
		if (r == 0)
			r = stop_check(err);
		rc = ext2fs_extent_get(handle, EXT2_EXTENT_NEXT_LEAF, &x);
	}
	ext2fs_extent_free(handle);
	if (r < 0)
		return -1;
	/* An empty file has no root to give */
	if (rc != EXT2_ET_EXTENT_NO_NEXT && rc != EXT2_ET_NO_CURRENT_NODE &&
	    rc != EXT2_ET_EXTENT_NOT_FOUND)
		return fail(rc, "the extents", err);
	return 0;
}

struct mapper {
	struct ext *e;
	struct fs_map *map;
	struct err *err;
	bool failed;
};

static int add_block(ext2_filsys fs, blk64_t *block, e2_blkcnt_t logical, blk64_t ref, int ref_off,
		     void *priv)
{
	struct mapper *m = priv;

	(void)fs, (void)ref, (void)ref_off;
	if (logical < 0)
		return 0;
	m->failed = add_run(m->e, m->map, (uint64_t)logical, *block, 1, m->err) < 0;
	return m->failed || stop_requested() ? BLOCK_ABORT : 0;
}

static int map_blocks(struct ext *e, ext2_ino_t number, struct fs_map *map, struct err *err)
{
	struct mapper m = {.e = e, .map = map, .err = err};
	errcode_t rc;

	rc = ext2fs_block_iterate3(e->fs, number, BLOCK_FLAG_READ_ONLY | BLOCK_FLAG_DATA_ONLY, NULL,
				   add_block, &m);
	if (m.failed || stop_check(err) < 0)
		return -1;
	return rc ? fail(rc, "the blocks of a file", err) : 0;
}

static int map_inline(struct ext *e, ext2_ino_t number, struct fs_map *map, struct err *err)
{
	size_t len = 0;
	errcode_t rc;

	rc = ext2fs_inline_data_size(e->fs, number, &len);
	if (rc)
		return fail(rc, "a file in its inode", err);
	if (map->size > INLINE_MOST || len > INLINE_MOST)
		return err_set(err, ERR_CORRUPT, "a file of %" PRIu64 " bytes lies in its inode",
			       map->size);
	map->bytes = calloc(1, INLINE_MOST);
	if (!map->bytes)
		return err_nomem(err);
	rc = ext2fs_inline_data_get(e->fs, number, NULL, map->bytes, &len);
	return rc ? fail(rc, "a file in its inode", err) : 0;
}

static int ext_map(struct fs *fs, const struct fs_node *node, struct fs_map *ret, struct err *err)
{
	struct ext *e = fs->priv;
	ext2_ino_t number = (ext2_ino_t)node->id;
	struct ext2_inode_large inode;

	ext_io_allow(&e->io);
	if (read_inode(e, node->id, &inode, err) < 0)
		return -1;
	if (inode.i_flags & EXT4_ENCRYPT_FL)
		return err_set(err, ERR_UNSUPPORTED, "the file is encrypted");
	if (ext2fs_is_fast_symlink((struct ext2_inode *)&inode)) {
		if (ret->size > sizeof(inode.i_block))
			return err_set(err, ERR_CORRUPT, "a symbolic link of %" PRIu64 " bytes",
				       ret->size);
		ret->bytes = malloc(sizeof(inode.i_block));
		if (!ret->bytes)
			return err_nomem(err);
		memcpy(ret->bytes, inode.i_block, sizeof(inode.i_block));
		return 0;
	}
	if (inode.i_flags & EXT4_INLINE_DATA_FL)
		return map_inline(e, number, ret, err);
	if (inode.i_flags & EXT4_EXTENTS_FL)
		return map_extents(e, number, &inode, ret, err);
	return map_blocks(e, number, ret, err);
}

const struct fs_ops fs_ext = {
	.name = "ext",
	.open = ext_fs_open,
	.close = ext_fs_close,
	.root = ext_root,
	.list = ext_list,
	.fill = ext_fill,
	.map = ext_map,
	.lookup = ext_lookup,
};
