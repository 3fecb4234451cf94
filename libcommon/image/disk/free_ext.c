/* Free blocks of ext2, ext3 and ext4, through libext2fs with an I/O manager over the disk. */
#include <ext2fs/ext2fs.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/stop.h"
#include "libcommon/image/disk/freemap.h"

enum {
	SUPER = 1024,
	GROUPS_MOST = 1 << 20, /* 128 TiB with blocks of 4 KiB; descriptors take 64 MiB then */
	CLEAN = 1,
	ERRORS = 2,
};

/* ---- the I/O manager: the name of the "device" is the address of the volume, in hex */

static struct struct_io_manager manager; /* never written to */

static errcode_t io_open(const char *name, int flags, io_channel *ret)
{
	io_channel io = calloc(1, sizeof(*io));

	(void)flags;
	if (!io || !(io->name = strdup(name))) {
		free(io);
		return EXT2_ET_NO_MEMORY;
	}
	io->magic = EXT2_ET_MAGIC_IO_CHANNEL;
	io->manager = &manager;
	io->block_size = 1024;
	io->refcount = 1;
	io->private_data = (void *)(uintptr_t)strtoull(name, NULL, 16); /* written by ext_read() */
	*ret = io;
	return 0;
}

static errcode_t io_close(io_channel io)
{
	if (--io->refcount > 0)
		return 0;
	free(io->name);
	free(io);
	return 0;
}

static errcode_t io_set_blksize(io_channel io, int size)
{
	io->block_size = size;
	return 0;
}

static errcode_t io_read64(io_channel io, unsigned long long block, int count, void *buf)
{
	const struct volume *v = io->private_data;
	uint64_t unit = (uint64_t)io->block_size, off;
	uint64_t len = count < 0 ? (uint64_t) - (int64_t)count : (uint64_t)count * unit;

	if (!u64_mul(block, unit, &off) || volume_read(v, buf, off, (size_t)len, NULL) < 0)
		return EXT2_ET_SHORT_READ;
	return 0;
}

static errcode_t io_read(io_channel io, unsigned long block, int count, void *buf)
{
	return io_read64(io, block, count, buf);
}

static errcode_t io_write64(io_channel io, unsigned long long block, int count, const void *buf)
{
	(void)io, (void)block, (void)count, (void)buf;
	return EXT2_ET_RO_FILSYS;
}

static errcode_t io_write(io_channel io, unsigned long block, int count, const void *buf)
{
	return io_write64(io, block, count, buf);
}

static errcode_t io_flush(io_channel io)
{
	(void)io;
	return 0;
}

static struct struct_io_manager manager = {.magic = EXT2_ET_MAGIC_IO_MANAGER,
					   .name = "image",
					   .open = io_open,
					   .close = io_close,
					   .set_blksize = io_set_blksize,
					   .read_blk = io_read,
					   .write_blk = io_write,
					   .flush = io_flush,
					   .read_blk64 = io_read64,
					   .write_blk64 = io_write64};

/* ---- */

static int ext_probe(const struct volume *v, bool *ret, struct err *err)
{
	uint8_t magic[2];

	*ret = false;
	if (v->len < 2 * SUPER)
		return 0;
	if (volume_read(v, magic, SUPER + 56, 2, err) < 0)
		return -1;
	*ret = get_le16(magic) == EXT2_SUPER_MAGIC;
	return 0;
}

/* Before libext2fs takes memory for what the superblock claims */
static int check_super(const struct volume *v, struct err *err)
{
	uint8_t s[1024];
	uint64_t blocks, bytes;

	if (volume_read(v, s, SUPER, sizeof(s), err) < 0)
		return -1;

	uint32_t shift = get_le32(s + 24), per_group = get_le32(s + 32),
		 incompat = get_le32(s + 96);

	blocks = get_le32(s + 4) |
		 (incompat & EXT4_FEATURE_INCOMPAT_64BIT ? (uint64_t)get_le32(s + 336) << 32 : 0);
	if (shift > 6 || !per_group || !u64_mul(blocks, 1024ULL << shift, &bytes) || bytes > v->len)
		return err_set(err, ERR_CORRUPT,
			       "the ext file system has %" PRIu64 " blocks of 2^%" PRIu32
			       " bytes, its partition %" PRIu64 " bytes",
			       blocks, 10 + shift, v->len);
	if (blocks / per_group >= GROUPS_MOST)
		return err_set(err, ERR_UNSUPPORTED,
			       "the ext file system has more than %d block groups", GROUPS_MOST);
	if (!(get_le16(s + 58) & CLEAN) || get_le16(s + 58) & ERRORS ||
	    incompat & EXT3_FEATURE_INCOMPAT_RECOVER) {
		err_set(err, ERR_UNSUPPORTED, "the ext file system was not unmounted cleanly");
		return err_hint(err, "start the machine and stop it, or run e2fsck on it");
	}
	return 0;
}

static int add_free(ext2_filsys fs, const struct volume *v, struct freemap *m, struct err *err)
{
	uint64_t bs = fs->blocksize, end = ext2fs_blocks_count(fs->super);
	blk64_t at = fs->super->s_first_data_block, first, last;

	while (at < end && stop_check(err) == 0) {
		if (ext2fs_find_first_zero_block_bitmap2(fs->block_map, at, end - 1, &first))
			return 0;
		if (ext2fs_find_first_set_block_bitmap2(fs->block_map, first, end - 1, &last))
			last = end;
		if (last <= first)
			return err_set(err, ERR_CORRUPT, "the block bitmap contradicts itself");
		if (freemap_add(m, v, first * bs, (last - first) * bs, err) < 0)
			return -1;
		at = last;
	}
	return at < end ? -1 : 0;
}

static int ext_read(const struct volume *v, struct freemap *m, struct err *err)
{
	char name[32];
	ext2_filsys fs = NULL;
	errcode_t rc;

	if (check_super(v, err) < 0)
		return -1;
	(void)snprintf(name, sizeof(name), "%" PRIxPTR, (uintptr_t)v);
	rc = ext2fs_open(name, EXT2_FLAG_64BITS, 0, 0, &manager, &fs);
	if (rc)
		return err_set(err, ERR_UNSUPPORTED, "cannot read the ext file system: %s",
			       error_message(rc));
	rc = ext2fs_read_block_bitmap(fs);

	int r = rc ? err_set(err, ERR_CORRUPT, "cannot read the block bitmap: %s",
			     error_message(rc))
		   : add_free(fs, v, m, err);

	ext2fs_free(fs);
	return r;
}

const struct free_reader free_ext = {"ext", ext_probe, ext_read};
