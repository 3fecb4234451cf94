/* Files into ext3 and ext4: see put.h.
 *
 * Data go straight to blocks that are free so far, where they harm nobody. Whatever else libext2fs changes stays in an
 * overlay in memory until it is complete, and then goes through the journal.
 */
#include "libcommon/guest/put.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/holes.h"
#include "libcommon/base/io.h"
#include "libcommon/base/stop.h"
#include "libcommon/guest/ext_private.h"
#include "libcommon/guest/journal.h"
#include "libcommon/image/image.h"

enum { SUPER = 1024, CHUNK = 1 << 20 };

struct put_target {
	struct overlay overlay;
	struct ext ext;
	struct fs fs; /* over ext: for maps of files */
	struct journal journal;
	uint64_t free; /* bytes, before anything was changed */
	uint8_t *buf;  /* CHUNK */
};

static int fail(errcode_t rc, const char *what, struct err *err)
{
	if (stop_check(err) < 0)
		return -1;
	if (rc == EXT2_ET_NO_MEMORY)
		return err_nomem(err);
	if (rc == EXT2_ET_BLOCK_ALLOC_FAIL || rc == EXT2_ET_INODE_ALLOC_FAIL)
		return err_set(err, ERR_NO_SPACE, "the file system is full: %s", error_message(rc));
	return err_set(err, ERR_FAILED, "cannot %s: %s", what, error_message(rc));
}

/* ---- opening */

static int over_read(struct ext_io *io, void *buf, uint64_t off, size_t len)
{
	return overlay_read(io->overlay, buf, off, len, NULL);
}

static int over_write(struct ext_io *io, const void *buf, uint64_t off, size_t len)
{
	return overlay_write(io->overlay, buf, off, len, NULL);
}

static int check_features(const struct ext2_super_block *s, struct err *err)
{
	const char *what =
		s->s_feature_ro_compat & EXT4_FEATURE_RO_COMPAT_QUOTA	  ? "quotas"
		: s->s_feature_ro_compat & EXT4_FEATURE_RO_COMPAT_PROJECT ? "project quotas"
		: s->s_feature_ro_compat & EXT4_FEATURE_RO_COMPAT_VERITY  ? "fs-verity"
		: s->s_feature_incompat & EXT4_FEATURE_INCOMPAT_MMP	  ? "multi-mount protection"
		: s->s_feature_ro_compat & EXT4_FEATURE_RO_COMPAT_READONLY
			? "the mark that it is read-only"
			: NULL;

	if (!what)
		return 0;
	return err_set(err, ERR_UNSUPPORTED, "the ext file system has %s: not written to here",
		       what);
}

static int open_fs(struct put_target *t, const struct volume *v, struct err *err)
{
	uint8_t s[SUPER];
	bool found;
	errcode_t rc;

	if (ext_probe(v, &found, err) < 0)
		return -1;
	if (!found)
		return err_set(err, ERR_UNSUPPORTED,
			       "no ext3 or ext4: only to those is written here");
	if (volume_read(v, s, SUPER, sizeof(s), err) < 0)
		return -1;
	if (get_le32(s + 24) > 6)
		return err_set(err, ERR_CORRUPT, "the ext superblock contradicts itself");
	t->overlay.v = *v;
	t->overlay.block_size = (size_t)1024 << get_le32(s + 24);
	t->ext.io = (struct ext_io){
		.v = *v, .overlay = &t->overlay, .over_read = over_read, .over_write = over_write};
	if (ext_open(&t->ext.io, false, &t->ext.fs, err) < 0)
		return -1;
	if (check_features(t->ext.fs->super, err) < 0)
		return -1;
	t->ext.io.reads_left =
		UINT64_MAX; /* it was not unbounded work that was asked for: all bitmaps */
	rc = ext2fs_read_bitmaps(t->ext.fs);
	if (rc)
		return fail(rc, "read the bitmaps", err);
	t->free = ext2fs_free_blocks_count(t->ext.fs->super) * t->overlay.block_size;
	/* As the kernel: copies of the superblock are e2fsck's */
	t->ext.fs->flags |= EXT2_FLAG_MASTER_SB_ONLY;
	t->fs = (struct fs){.ops = &fs_ext, .v = *v, .priv = &t->ext};
	return journal_open(&t->journal, &t->fs, t->ext.fs->super->s_journal_inum,
			    t->overlay.block_size, err);
}

int put_open(struct put_target **ret, const struct volume *v, struct err *err)
{
	struct put_target *t = calloc(1, sizeof(*t));

	if (!t)
		return err_nomem(err);
	t->buf = malloc(CHUNK);
	if (!t->buf || open_fs(t, v, err) < 0) {
		if (!t->buf)
			err_nomem(err);
		put_close(t);
		return -1;
	}
	*ret = t;
	return 0;
}

void put_close(struct put_target *t)
{
	if (!t)
		return;
	journal_release(&t->journal);
	if (t->ext.fs)
		ext2fs_free(t->ext.fs); /* nothing is flushed */
	overlay_release(&t->overlay);
	free(t->buf);
	free(t);
}

/* ---- one file */

struct source {
	int fd;
	struct stat st;
	bool holes; /* they can be found */
};

/* *@first, *@n: the blocks of the next data from block *@first on; *@n 0: there are none */
static int next_data(const struct source *src, uint64_t bs, uint64_t *first, uint64_t *n,
		     struct err *err)
{
	off_t data = (off_t)(*first * bs), hole;

	*n = 0;
	if (data >= src->st.st_size)
		return 0;
	if (!src->holes) {
		*n = div_up((uint64_t)src->st.st_size, bs) - *first;
		return 0;
	}
	data = lseek(src->fd, data, SEEK_DATA);
	if (data < 0 && errno == ENXIO)
		return 0;
	hole = data < 0 ? -1 : lseek(src->fd, data, SEEK_HOLE);
	if (hole < 0)
		return err_sys(err, "cannot find the file's data");
	*first = (uint64_t)data / bs;
	*n = div_up((uint64_t)hole, bs) - *first;
	return 0;
}

static int no_space(const struct put_target *t, const struct source *src, struct err *err)
{
	uint64_t bs = t->overlay.block_size, needed = 0, first = 0, n;

	do {
		if (next_data(src, bs, &first, &n, err) < 0)
			return -1;
		needed += n;
		first += n; /* two pieces of data may share a block */
	} while (n);
	return err_set(err, ERR_NO_SPACE,
		       "the file system is full: the file needs %" PRIu64 " bytes and what "
		       "describes it, %" PRIu64 " bytes are free",
		       needed * bs, t->free);
}

static int allocate(struct put_target *t, ext2_ino_t number, const struct source *src,
		    struct err *err)
{
	uint64_t bs = t->overlay.block_size, first = 0, n;
	errcode_t rc;

	do {
		if (next_data(src, bs, &first, &n, err) < 0)
			return -1;
		rc = n ? ext2fs_fallocate(t->ext.fs, EXT2_FALLOCATE_FORCE_INIT, number, NULL, ~0ULL,
					  first, n)
		       : 0;
		if (rc == EXT2_ET_BLOCK_ALLOC_FAIL)
			return no_space(t, src, err);
		if (rc)
			return fail(rc, "allocate blocks", err);
		first += n;
	} while (n);
	return 0;
}

/* To where the file's blocks lie now; the rest of the last one is zeros */
static int write_data(struct put_target *t, ext2_ino_t number, const struct source *src,
		      const struct put_opts *opts, struct err *err)
{
	struct fs_node node = {.id = number};
	struct fs_map m;
	int rc = 0;

	if (fs_map(&t->fs, &node, &m, err) < 0)
		return -1;
	for (size_t i = 0; i < m.n && rc == 0; i++) {
		for (uint64_t done = 0, n; done < m.runs[i].len && rc == 0; done += n) {
			uint64_t off = m.runs[i].off + done;
			ssize_t got;

			n = min_u64(CHUNK, m.runs[i].len - done);
			got = io_pread_upto(src->fd, t->buf, (size_t)n, off, err);
			if (got < 0 || stop_check(err) < 0) {
				rc = -1;
				break;
			}
			memset(t->buf + got, 0, (size_t)n - (size_t)got);
			rc = image_write(t->fs.v.img, t->buf, t->fs.v.off + m.runs[i].place + done,
					 (size_t)n, err);
			progress_add(opts->progress, (uint64_t)got);
		}
	}
	fs_map_release(&m);
	return rc;
}

static int make_inode(struct put_target *t, ext2_ino_t dir, const struct source *src,
		      const struct put_opts *opts, ext2_ino_t *ret, struct err *err)
{
	ext2_filsys fs = t->ext.fs;
	uint32_t mode = opts->has_mode ? opts->mode : src->st.st_mode & 0777;
	struct ext2_inode inode = {.i_mode = (uint16_t)(S_IFREG | mode),
				   .i_uid = (uint16_t)opts->uid,
				   .i_gid = (uint16_t)opts->gid,
				   .i_links_count = 1,
				   .i_mtime = (uint32_t)src->st.st_mtime};
	errcode_t rc;

	inode.i_atime = inode.i_ctime = (uint32_t)time(NULL);
	inode.osd2.linux2.l_i_uid_high = (uint16_t)(opts->uid >> 16);
	inode.osd2.linux2.l_i_gid_high = (uint16_t)(opts->gid >> 16);
	rc = ext2fs_inode_size_set(fs, &inode, src->st.st_size);
	if (rc == 0)
		rc = ext2fs_new_inode(fs, dir, inode.i_mode, NULL, ret);
	if (rc == 0 && ext2fs_has_feature_extents(fs->super)) {
		ext2_extent_handle_t handle;

		rc = ext2fs_extent_open2(fs, *ret, &inode, &handle);
		if (rc == 0)
			ext2fs_extent_free(handle);
	}
	if (rc == 0)
		rc = ext2fs_write_new_inode(fs, *ret, &inode);
	if (rc)
		return fail(rc, "make an inode", err);
	ext2fs_inode_alloc_stats2(fs, *ret, 1, 0);
	return 0;
}

/* What of a folder, or of a file that is to be replaced, forbids it: the kernel would, or it has keys or rules for names
 * that are not known here */
static int check_flags(struct put_target *t, ext2_ino_t number, const char *what, struct err *err)
{
	struct ext2_inode inode;
	errcode_t rc = ext2fs_read_inode(t->ext.fs, number, &inode);
	const char *how;

	if (rc)
		return fail(rc, "read an inode", err);
	how = inode.i_flags & EXT4_ENCRYPT_FL	  ? "encrypted"
	      : inode.i_flags & EXT4_CASEFOLD_FL  ? "one whose names have no case"
	      : inode.i_flags & EXT2_IMMUTABLE_FL ? "immutable"
	      : inode.i_flags & EXT2_APPEND_FL	  ? "append-only"
						  : NULL;
	return how ? err_set(err, ERR_UNSUPPORTED, "the %s is %s: not written to here", what, how)
		   : 0;
}

/* The name goes; the file too when it was its last one */
static int remove_old(struct put_target *t, ext2_ino_t dir, const char *name, ext2_ino_t old,
		      struct err *err)
{
	ext2_filsys fs = t->ext.fs;
	struct ext2_inode_large inode;
	struct ext2_inode *small = (struct ext2_inode *)&inode;
	errcode_t rc;

	rc = ext2fs_read_inode_full(fs, old, small, sizeof(inode));
	if (rc == 0 && !S_ISREG(inode.i_mode))
		return err_set(err, ERR_EXISTS, "exists, and is no plain file");
	if (rc == 0)
		rc = ext2fs_unlink(fs, dir, name, old, 0);
	if (rc == 0 && --inode.i_links_count == 0) {
		if (ext2fs_inode_has_valid_blocks2(fs, small))
			rc = ext2fs_punch(fs, old, small, NULL, 0, ~0ULL);
		if (rc == 0)
			rc = ext2fs_free_ext_attr(fs, old, &inode);
		inode.i_dtime = (uint32_t)time(NULL);
		if (rc == 0)
			ext2fs_inode_alloc_stats2(fs, old, -1, 0);
	}
	if (rc == 0)
		rc = ext2fs_write_inode_full(fs, old, small, sizeof(inode));
	return rc ? fail(rc, "remove the old file", err) : 0;
}

static int link_name(struct put_target *t, ext2_ino_t dir, const char *name, ext2_ino_t number,
		     struct err *err)
{
	ext2_filsys fs = t->ext.fs;
	struct ext2_inode inode;
	errcode_t rc = ext2fs_link(fs, dir, name, number, EXT2_FT_REG_FILE);

	if (rc == EXT2_ET_DIR_NO_SPACE) {
		rc = ext2fs_expand_dir(fs, dir);
		if (rc == 0)
			rc = ext2fs_link(fs, dir, name, number, EXT2_FT_REG_FILE);
	}
	if (rc == 0)
		rc = ext2fs_read_inode(fs, dir, &inode);
	inode.i_mtime = inode.i_ctime = (uint32_t)time(NULL);
	if (rc == 0)
		rc = ext2fs_write_inode(fs, dir, &inode);
	return rc ? fail(rc, "add the name to its folder", err) : 0;
}

static int find_old(struct put_target *t, ext2_ino_t dir, const char *name, bool force,
		    ext2_ino_t *ret, struct err *err)
{
	errcode_t rc = ext2fs_lookup(t->ext.fs, dir, name, (int)strlen(name), NULL, ret);

	if (rc == EXT2_ET_FILE_NOT_FOUND) {
		*ret = 0;
		return 0;
	}
	if (rc)
		return fail(rc, "look for the name", err);
	if (!force)
		return err_set(err, ERR_EXISTS, "exists already");
	return check_flags(t, *ret, "file that exists", err);
}

/* ---- the transaction */

/* *@ret: the file system's superblock with or without the mark, and its checksum */
static int stage_super(struct put_target *t, const struct ext2_super_block *from, bool recover,
		       uint8_t ret[SUPER], struct err *err)
{
	struct ext2_super_block s = *from;
	errcode_t rc;

	if (recover)
		s.s_feature_incompat |= EXT3_FEATURE_INCOMPAT_RECOVER;
	rc = ext2fs_superblock_csum_set(t->ext.fs, &s);
	if (rc)
		return fail(rc, "sign the superblock", err);
	memcpy(ret, &s, SUPER);
	return 0;
}

static int commit(struct put_target *t, const struct ext2_super_block *old, struct err *err)
{
	uint8_t old_recover[SUPER], new_recover[SUPER], new_clean[SUPER];
	const struct journal_super super = {old_recover, new_recover, new_clean};
	struct ext2_super_block new;
	errcode_t rc = ext2fs_flush(t->ext.fs);

	if (rc)
		return fail(rc, "put the changes together", err);
	if (overlay_read(&t->overlay, &new, SUPER, SUPER, err) < 0 ||
	    stage_super(t, old, true, old_recover, err) < 0 ||
	    stage_super(t, &new, true, new_recover, err) < 0 ||
	    stage_super(t, &new, false, new_clean, err) < 0)
		return -1;
	return journal_commit(&t->journal, &t->overlay, &super, err);
}

int put_file(struct put_target *t, uint64_t dir, const char *name, int fd,
	     const struct put_opts *opts, struct err *err)
{
	ext2_ino_t parent = (ext2_ino_t)dir, number = 0, old = 0;
	struct ext2_super_block before;
	struct source src = {.fd = fd, .holes = holes_told(fd)};

	if (fstat(fd, &src.st) < 0)
		return err_sys(err, "cannot look at the file");
	if (!S_ISREG(src.st.st_mode))
		return err_set(err, ERR_UNSUPPORTED, "is no plain file");
	if (strlen(name) > EXT2_NAME_LEN)
		return err_set(err, ERR_USAGE, "a name of more than %d bytes", EXT2_NAME_LEN);
	if (volume_read(&t->fs.v, &before, SUPER, SUPER, err) < 0 ||
	    check_flags(t, parent, "folder", err) < 0 ||
	    find_old(t, parent, name, opts->force, &old, err) < 0 ||
	    make_inode(t, parent, &src, opts, &number, err) < 0 ||
	    allocate(t, number, &src, err) < 0)
		return -1;
	if (old && remove_old(t, parent, name, old, err) < 0)
		return -1;
	if (link_name(t, parent, name, number, err) < 0)
		return -1;
	if (opts->dry_run)
		return 0;
	if (write_data(t, number, &src, opts, err) < 0 || image_flush(t->fs.v.img, err) < 0)
		return -1;
	return commit(t, &before, err);
}
