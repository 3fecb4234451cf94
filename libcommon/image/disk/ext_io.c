/* libext2fs over a virtual disk: see ext_io.h. The name of the "device" is the address of a struct ext_io, in hex. */
#include "libcommon/image/disk/ext_io.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/stop.h"

enum {
	SUPER = 1024,
	GROUPS_MOST = 1 << 20, /* 128 TiB with blocks of 4 KiB; descriptors take 64 MiB then */
	CLEAN = 1,
	ERRORS = 2,
};

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
	io->private_data = (void *)(uintptr_t)strtoull(name, NULL, 16); /* written by ext_open() */
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
	struct ext_io *ext = io->private_data;
	uint64_t unit = (uint64_t)io->block_size, off;
	uint64_t len = count < 0 ? (uint64_t) - (int64_t)count : (uint64_t)count * unit;

	if (!ext->reads_left || stop_check(NULL) < 0)
		return EXT2_ET_SHORT_READ;
	ext->reads_left--;
	if (!u64_mul(block, unit, &off) || !range_inside(off, len, ext->v.len))
		return EXT2_ET_SHORT_READ;
	if ((ext->over_read ? ext->over_read(ext, buf, off, (size_t)len)
			    : volume_read(&ext->v, buf, off, (size_t)len, NULL)) < 0)
		return EXT2_ET_SHORT_READ;
	return 0;
}

static errcode_t io_read(io_channel io, unsigned long block, int count, void *buf)
{
	return io_read64(io, block, count, buf);
}

static errcode_t io_write64(io_channel io, unsigned long long block, int count, const void *buf)
{
	struct ext_io *ext = io->private_data;
	uint64_t unit = (uint64_t)io->block_size, off;
	uint64_t len = count < 0 ? (uint64_t) - (int64_t)count : (uint64_t)count * unit;

	if (!ext->over_write)
		return EXT2_ET_RO_FILSYS;
	if (!u64_mul(block, unit, &off) || !range_inside(off, len, ext->v.len) ||
	    ext->over_write(ext, buf, off, (size_t)len) < 0)
		return EXT2_ET_SHORT_WRITE;
	return 0;
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

int ext_probe(const struct volume *v, bool *ret, struct err *err)
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

bool ext_is_clean(const uint8_t *super)
{
	return get_le16(super + 58) & CLEAN && !(get_le16(super + 58) & ERRORS) &&
	       !(get_le32(super + 96) & EXT3_FEATURE_INCOMPAT_RECOVER);
}

/* Before libext2fs takes memory for what the superblock claims */
static int check_super(const struct volume *v, bool dirty_too, struct err *err)
{
	uint8_t s[1024];
	uint64_t blocks, bytes;

	if (volume_read(v, s, SUPER, sizeof(s), err) < 0)
		return -1;

	uint32_t first = get_le32(s + 20), shift = get_le32(s + 24), per_group = get_le32(s + 32),
		 incompat = get_le32(s + 96);

	blocks = get_le32(s + 4) |
		 (incompat & EXT4_FEATURE_INCOMPAT_64BIT ? (uint64_t)get_le32(s + 336) << 32 : 0);
	if (shift > 6 || !per_group || !u64_mul(blocks, 1024ULL << shift, &bytes) || bytes > v->len)
		return err_set(err, ERR_CORRUPT,
			       "the ext file system has %" PRIu64 " blocks of 2^%" PRIu32
			       " bytes, its partition %" PRIu64 " bytes",
			       blocks, 10 + shift, v->len);
	/* libext2fs 1.47 writes bitmaps behind their end when the first block is any other */
	if (first > (shift == 0))
		return err_set(err, ERR_CORRUPT, "the ext file system begins at its block %" PRIu32,
			       first);
	if (blocks / per_group >= GROUPS_MOST)
		return err_set(err, ERR_UNSUPPORTED,
			       "the ext file system has more than %d block groups", GROUPS_MOST);
	if (!dirty_too && !ext_is_clean(s)) {
		err_set(err, ERR_UNSUPPORTED, "the ext file system was not unmounted cleanly");
		return err_hint(err, "start the machine and stop it, or run e2fsck on it");
	}
	return 0;
}

void ext_io_allow(struct ext_io *io)
{
	io->reads_left = io->v.len / 1024 + 1000;
}

static void name_errors(void)
{
	initialize_ext2_error_table();
}

int ext_open(struct ext_io *io, bool dirty_too, ext2_filsys *ret, struct err *err)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	char name[32];
	errcode_t rc;

	(void)pthread_once(&once, name_errors); /* else error_message() knows numbers alone */
	if (check_super(&io->v, dirty_too, err) < 0)
		return -1;
	ext_io_allow(io);
	(void)snprintf(name, sizeof(name), "%" PRIxPTR, (uintptr_t)io);
	*ret = NULL;
	rc = ext2fs_open(name, EXT2_FLAG_64BITS | (io->over_write ? EXT2_FLAG_RW : 0), 0, 0,
			 &manager, ret);
	if (rc)
		return err_set(err, ERR_UNSUPPORTED, "cannot read the ext file system: %s",
			       error_message(rc));
	return 0;
}
