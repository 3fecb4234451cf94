/* jbd2: see journal.h. Documentation/filesystems/ext4/journal.rst of Linux; all numbers are big endian.
 *
 * The features of the journal are reduced while a transaction of ours is in it (no checksums, tags of 8 or 12 bytes): its
 * superblock says so, and is put back afterwards.
 */
#include "libcommon/guest/journal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/image/image.h"

enum {
	MAGIC_SIZE = 4,
	TYPE_DESCRIPTOR = 1,
	TYPE_COMMIT = 2,
	TYPE_SUPER_V2 = 4,
	HEADER = 12,
	UUID = 16,
	/* fields of the journal's superblock */
	AT_BLOCK_SIZE = 12,
	AT_BLOCKS = 16,
	AT_FIRST = 20,
	AT_SEQUENCE = 24,
	AT_START = 28,
	AT_ERRNO = 32,
	AT_COMPAT = 36,
	AT_INCOMPAT = 40,
	AT_UUID = 48,
	AT_CHECKSUM_TYPE = 80,
	AT_FAST_BLOCKS = 84,
	AT_CHECKSUM = 252,
	INCOMPAT_64BIT = 2,
	INCOMPAT_FAST = 0x20,
	INCOMPAT_KNOWN = 0x3f,
	FAST_DEFAULT = 256,
	/* of a tag */
	TAG_ESCAPED = 1,
	TAG_SAME_UUID = 2,
	TAG_LAST = 8,
	SUPER = 1024, /* place and size of the file system's superblock */
};
#define MAGIC 0xc03b3998U

int journal_open(struct journal *j, struct fs *fs, uint32_t inode, size_t block_size,
		 struct err *err)
{
	struct fs_node node = {.id = inode};
	uint32_t fast = 0, incompat;

	*j = (struct journal){0};
	if (!inode)
		return err_set(err, ERR_UNSUPPORTED,
			       "the file system has no journal of its own: a write that is cut off "
			       "would damage it");
	if (fs_map(fs, &node, &j->map, err) < 0)
		return -1;
	if (j->map.size < SUPER || fs_read(fs, &j->map, j->super, 0, SUPER, err) < 0) {
		journal_release(j);
		return err_set(err, ERR_CORRUPT, "the journal cannot be read");
	}
	j->blocks = get_be32(j->super + AT_BLOCKS);
	j->first = get_be32(j->super + AT_FIRST);
	j->sequence = get_be32(j->super + AT_SEQUENCE);
	incompat = get_be32(j->super + AT_INCOMPAT);
	if (incompat & INCOMPAT_FAST) {
		fast = get_be32(j->super + AT_FAST_BLOCKS);
		fast = fast ? fast : FAST_DEFAULT;
	}
	if (get_be32(j->super) != MAGIC || get_be32(j->super + 4) != TYPE_SUPER_V2 ||
	    incompat & ~(uint32_t)INCOMPAT_KNOWN || get_be32(j->super + AT_START) ||
	    get_be32(j->super + AT_ERRNO)) {
		journal_release(j);
		err_set(err, ERR_UNSUPPORTED, "the journal is not empty, or of an unknown kind");
		return err_hint(err, "start the machine and stop it, or run e2fsck on it");
	}
	if (get_be32(j->super + AT_BLOCK_SIZE) != block_size || !j->first || fast >= j->blocks ||
	    j->first >= j->blocks - fast || j->map.size / block_size < j->blocks) {
		journal_release(j);
		return err_set(err, ERR_CORRUPT, "the journal's superblock contradicts itself");
	}
	j->blocks -= fast;
	return 0;
}

void journal_release(struct journal *j)
{
	fs_map_release(&j->map);
	*j = (struct journal){0};
}

static int volume_write(const struct volume *v, const void *buf, uint64_t off, size_t len,
			struct err *err)
{
	if (!range_inside(off, len, v->len))
		return err_set(err, ERR_CORRUPT, "a block of the file system lies behind its end");
	return image_write(v->img, buf, v->off + off, len, err);
}

/* Block @n of the journal's file */
static int journal_write(const struct journal *j, const struct overlay *o, uint32_t n,
			 const void *buf, size_t len, struct err *err)
{
	uint64_t off = (uint64_t)n * o->block_size;

	for (size_t i = 0; i < j->map.n; i++) {
		const struct fs_run *r = &j->map.runs[i];

		if (off >= r->off && off + len <= r->off + r->len)
			return volume_write(&o->v, buf, r->place + (off - r->off), len, err);
	}
	return err_set(err, ERR_CORRUPT, "the journal has a hole");
}

static void block_header(const struct journal *j, uint8_t *b, uint32_t type)
{
	put_be32(b, MAGIC);
	put_be32(b + 4, type);
	put_be32(b + 8, j->sequence);
}

/* As many blocks from @first on as one descriptor names; *@ret_next block of the journal */
static int write_group(const struct journal *j, struct overlay *o, size_t first, uint32_t *at,
		       size_t *ret_n, struct err *err)
{
	bool wide = get_be32(j->super + AT_INCOMPAT) & INCOMPAT_64BIT;
	size_t tag = wide ? 12 : 8, room = (o->block_size - HEADER - UUID) / tag,
	       n = (size_t)min_u64(room, o->n - first), pos = HEADER;
	CLEANUP_FREE uint8_t *b = calloc(1, o->block_size), *copy = malloc(o->block_size);

	if (!b || !copy)
		return err_nomem(err);
	block_header(j, b, TYPE_DESCRIPTOR);
	for (size_t i = 0; i < n; i++) {
		const struct overlay_block *block = &o->blocks[first + i];
		unsigned flags = (i ? TAG_SAME_UUID : 0U) | (i + 1 == n ? TAG_LAST : 0U);

		memcpy(copy, block->new, o->block_size);
		if (get_be32(copy) == MAGIC) { /* it would look like one of the journal's own */
			memset(copy, 0, MAGIC_SIZE);
			flags |= TAG_ESCAPED;
		}
		if (!wide && block->number > UINT32_MAX)
			return err_set(err, ERR_CORRUPT, "the journal takes no block %" PRIu64,
				       block->number);
		put_be32(b + pos, (uint32_t)block->number);
		put_be16(b + pos + 6, (uint16_t)flags);
		if (wide)
			put_be32(b + pos + 8, (uint32_t)(block->number >> 32));
		pos += tag;
		if (i == 0) {
			memcpy(b + pos, j->super + AT_UUID, UUID);
			pos += UUID;
		}
		if (journal_write(j, o, *at + 1 + (uint32_t)i, copy, o->block_size, err) < 0)
			return -1;
	}
	if (journal_write(j, o, *at, b, o->block_size, err) < 0)
		return -1;
	*at += 1 + (uint32_t)n;
	*ret_n = n;
	return 0;
}

static int write_transaction(const struct journal *j, struct overlay *o, struct err *err)
{
	size_t tags = (o->block_size - HEADER - UUID) / 12, n = 0;
	uint64_t needed = o->n + div_up(o->n, tags) + 1;
	CLEANUP_FREE uint8_t *b = calloc(1, o->block_size);
	uint32_t at = j->first;

	if (!b)
		return err_nomem(err);
	if (needed > j->blocks - j->first)
		return err_set(err, ERR_UNSUPPORTED,
			       "the change needs %" PRIu64
			       " blocks of the journal, which has %" PRIu32,
			       needed, j->blocks - j->first);
	for (size_t i = 0; i < o->n; i += n)
		if (write_group(j, o, i, &at, &n, err) < 0)
			return -1;
	block_header(j, b, TYPE_COMMIT);
	if (journal_write(j, o, at, b, o->block_size, err) < 0)
		return -1;
	return image_flush(o->v.img, err);
}

/* The journal's superblock; @start 0: it is empty */
static int write_super(const struct journal *j, struct overlay *o, uint32_t start, struct err *err)
{
	uint8_t s[SUPER];

	memcpy(s, j->super, sizeof(s));
	if (start) {
		put_be32(s + AT_COMPAT, 0);
		put_be32(s + AT_INCOMPAT, get_be32(s + AT_INCOMPAT) & INCOMPAT_64BIT);
		s[AT_CHECKSUM_TYPE] = 0;
		put_be32(s + AT_CHECKSUM, 0);
		put_be32(s + AT_START, start);
	}
	if (journal_write(j, o, 0, s, sizeof(s), err) < 0)
		return -1;
	return image_flush(o->v.img, err);
}

static int write_fs_super(struct overlay *o, const uint8_t *super, struct err *err)
{
	if (volume_write(&o->v, super, SUPER, SUPER, err) < 0)
		return -1;
	return image_flush(o->v.img, err);
}

static int write_in_place(struct overlay *o, struct err *err)
{
	for (size_t i = 0; i < o->n; i++)
		if (volume_write(&o->v, o->blocks[i].new, o->blocks[i].number * o->block_size,
				 o->block_size, err) < 0)
			return -1;
	return image_flush(o->v.img, err);
}

int journal_commit(struct journal *j, struct overlay *o, const struct journal_super *super,
		   struct err *err)
{
	/* The superblock among the blocks must ask for recovery until all of them are in their places */
	if (overlay_write(o, super->new_recover, SUPER, SUPER, err) < 0)
		return -1;
	overlay_prune(o);
	/* From the journal's superblock on, and not before, the new blocks count */
	if (write_transaction(j, o, err) < 0 || write_fs_super(o, super->old_recover, err) < 0 ||
	    write_super(j, o, j->first, err) < 0 || write_in_place(o, err) < 0)
		return -1;
	/* With the old features and their checksum the old superblock is whole again: empty, the same sequence. What the
	 * journal holds would be replayed by nobody: it starts at 0. */
	if (write_super(j, o, 0, err) < 0 || write_fs_super(o, super->new_clean, err) < 0)
		return -1;
	overlay_clear(o);
	return 0;
}
