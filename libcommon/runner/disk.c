/* Disks of guests: see disk.h. The ephemeral layer is a nameless sparse file of the disk's own offsets and one bit a block
 * of 4 KiB that says whether the file or the image has it. */
#include "libcommon/runner/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/io.h"
#include "libcommon/image/format.h"
#include "libcommon/image/image.h"
#include "libcommon/runner/disk_private.h"

enum { WORD_BITS = 64, TAIL = 512 };

int disk_open(struct disk **ret, struct image *img, enum disk_mode mode, struct err *err)
{
	struct disk *d = calloc(1, sizeof(*d));
	size_t words;

	if (!d)
		return err_nomem(err);
	d->img = img;
	d->mode = mode;
	d->fd = -1;
	d->size = round_down(image_size(img), 512);
	(void)pthread_rwlock_init(&d->lock, NULL);
	(void)pthread_mutex_init(&d->guard_lock, NULL);
	if (mode == DISK_EPHEMERAL) {
		words = (size_t)div_up(d->size, (uint64_t)DISK_BLOCK * WORD_BITS);
		d->ours = calloc(words + 1, sizeof(*d->ours));
		if (!d->ours) {
			disk_close(d);
			return err_nomem(err);
		}
		if (io_nameless(&d->fd, err) < 0) {
			disk_close(d);
			return -1;
		}
	}
	*ret = d;
	return 0;
}

void disk_close(struct disk *d)
{
	if (!d)
		return;
	if (d->fd >= 0)
		(void)close(d->fd); /* thrown away: its errors are nobody's */
	(void)pthread_rwlock_destroy(&d->lock);
	(void)pthread_mutex_destroy(&d->guard_lock);
	free(d->ours);
	free(d->saved.run);
	free(d);
}

uint64_t disk_size(const struct disk *d)
{
	return d->size;
}

bool disk_read_only(const struct disk *d)
{
	return d->mode == DISK_READ_ONLY;
}

struct image *disk_image(const struct disk *d)
{
	return d->img;
}

enum disk_mode disk_mode(const struct disk *d)
{
	return d->mode;
}

const char *disk_name(const struct disk *d)
{
	return image_name(d->img);
}

static int check_range(const struct disk *d, bool write, uint64_t off, uint64_t len,
		       struct err *err)
{
	if (!range_inside(off, len, d->size))
		return err_set(err, ERR_USAGE, "beyond the end of the disk");
	if (write && d->mode == DISK_READ_ONLY)
		return err_set(err, ERR_DENIED, "the disk is read-only");
	return 0;
}

bool disk_is_ours(const struct disk *d, uint64_t block)
{
	return d->ours[block / WORD_BITS] >> block % WORD_BITS & 1;
}

static void set_ours(struct disk *d, uint64_t off, uint64_t len)
{
	for (uint64_t b = off / DISK_BLOCK; b < div_up(off + len, DISK_BLOCK); b++)
		d->ours[b / WORD_BITS] |= UINT64_C(1) << b % WORD_BITS;
}

/* How far from @off on the same side has the bytes */
static uint64_t run(const struct disk *d, uint64_t off, uint64_t len)
{
	uint64_t end = round_down(off, DISK_BLOCK) + DISK_BLOCK;

	while (end < off + len &&
	       disk_is_ours(d, end / DISK_BLOCK) == disk_is_ours(d, off / DISK_BLOCK))
		end += DISK_BLOCK;
	return min_u64(end - off, len);
}

/* The file may end before what was zeroed */
static int read_ours(const struct disk *d, uint8_t *buf, uint64_t off, size_t len, struct err *err)
{
	ssize_t n = io_pread_upto(d->fd, buf, len, off, err);

	if (n < 0)
		return -1;
	memset(buf + n, 0, len - (size_t)n);
	return 0;
}

int disk_read_layered(const struct disk *d, uint8_t *buf, uint64_t off, size_t len, struct err *err)
{
	while (len) {
		size_t n = (size_t)run(d, off, len);

		if (disk_is_ours(d, off / DISK_BLOCK) ? read_ours(d, buf, off, n, err)
						      : disk_read_below(d, buf, off, n, err))
			return -1;
		buf += n;
		off += n;
		len -= n;
	}
	return 0;
}

/* The block that holds @off becomes ours with the bytes it has; with the lock held */
static int adopt(struct disk *d, uint64_t off, struct err *err)
{
	uint64_t start = round_down(off, DISK_BLOCK);
	size_t n = (size_t)min_u64(DISK_BLOCK, d->size - start);
	uint8_t block[DISK_BLOCK];

	if (disk_is_ours(d, start / DISK_BLOCK))
		return 0;
	if (disk_read_below(d, block, start, n, err) || io_pwrite(d->fd, block, n, start, err))
		return -1;
	set_ours(d, start, n);
	return 0;
}

/* Both ends of a range whose ends lie inside of blocks */
static int adopt_ends(struct disk *d, uint64_t off, uint64_t len, struct err *err)
{
	if (off % DISK_BLOCK && adopt(d, off, err))
		return -1;
	return (off + len) % DISK_BLOCK && off + len < d->size ? adopt(d, off + len, err) : 0;
}

static int layered_write(struct disk *d, const void *buf, uint64_t off, size_t len, struct err *err)
{
	int rc;

	(void)pthread_rwlock_wrlock(&d->lock);
	rc = adopt_ends(d, off, len, err);
	if (rc == 0)
		rc = io_pwrite(d->fd, buf, len, off, err);
	if (rc == 0)
		set_ours(d, off, len);
	(void)pthread_rwlock_unlock(&d->lock);
	return rc;
}

static int layered_zero(struct disk *d, uint64_t off, uint64_t len, struct err *err)
{
	static const uint8_t zeros[65536];
	int rc;

	(void)pthread_rwlock_wrlock(&d->lock);
	rc = adopt_ends(d, off, len, err);
	if (rc == 0 && fallocate(d->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off,
				 (off_t)len) < 0) {
		for (uint64_t at = 0; rc == 0 && at < len; at += sizeof(zeros))
			rc = io_pwrite(d->fd, zeros, (size_t)min_u64(len - at, sizeof(zeros)),
				       off + at, err);
	}
	if (rc == 0)
		set_ours(d, off, len);
	(void)pthread_rwlock_unlock(&d->lock);
	return rc;
}

void disk_guard(struct disk *d)
{
	d->guarded = d->mode == DISK_WRITE;
}

/* Would the file be taken for another format with these bytes? Return: its name, or NULL */
static const char *probed(const uint8_t *head, size_t head_len, const uint8_t *tail,
			  size_t tail_len, uint64_t size)
{
	for (const struct image_format *const *f = image_formats; *f; f++)
		if ((*f)->probe && (*f)->probe(head, head_len, tail, tail_len, size) > 0)
			return (*f)->name;
	return NULL;
}

/* The part of [@off, @off + @len) that lies in [@start, @start + @n) at its place in @to */
static void overlay(uint8_t *to, uint64_t start, size_t n, const uint8_t *from, uint64_t off,
		    size_t len)
{
	uint64_t a = max_u64(start, off), b = min_u64(start + n, off + len);

	if (a < b)
		memcpy(to + (a - start), from + (a - off), (size_t)(b - a));
}

/* With the guard's lock. @copy: the guest's bytes, which it can change no more */
static int check_header(struct disk *d, const uint8_t *copy, uint64_t off, size_t len,
			struct err *err)
{
	uint64_t size = image_size(d->img);
	size_t head_len = (size_t)min_u64(size, IMAGE_PROBE_LEN),
	       tail_len = (size_t)min_u64(size, TAIL);
	CLEANUP_FREE uint8_t *head = malloc(IMAGE_PROBE_LEN + TAIL);
	uint8_t *tail = head + IMAGE_PROBE_LEN;
	const char *name;

	if (!head)
		return err_nomem(err);
	if (image_read(d->img, head, 0, head_len, err) < 0 ||
	    image_read(d->img, tail, size - tail_len, tail_len, err) < 0)
		return -1;
	overlay(head, 0, head_len, copy, off, len);
	overlay(tail, size - tail_len, tail_len, copy, off, len);
	name = probed(head, head_len, tail, tail_len, size);
	if (!name)
		return 0;
	return err_set(
		err, ERR_DENIED,
		"it would make the raw image look like %s; if it is raw, say so: --format raw",
		name);
}

static int guarded_write(struct disk *d, const void *buf, uint64_t off, size_t len, struct err *err)
{
	uint64_t size = image_size(d->img);
	CLEANUP_FREE uint8_t *copy = NULL;
	int rc;

	if (off >= IMAGE_PROBE_LEN && off + len <= size - min_u64(size, TAIL))
		return image_write(d->img, buf, off, len, err);
	copy = malloc(len + 1);
	if (!copy)
		return err_nomem(err);
	memcpy(copy, buf, len);
	(void)pthread_mutex_lock(&d->guard_lock);
	rc = check_header(d, copy, off, len, err);
	if (rc == 0)
		rc = image_write(d->img, copy, off, len, err);
	(void)pthread_mutex_unlock(&d->guard_lock);
	return rc;
}

int disk_read(struct disk *d, void *buf, uint64_t off, size_t len, struct err *err)
{
	int rc;

	if (check_range(d, false, off, len, err) < 0)
		return -1;
	if (d->mode != DISK_EPHEMERAL)
		return image_read(d->img, buf, off, len, err);
	(void)pthread_rwlock_rdlock(&d->lock);
	rc = disk_read_layered(d, buf, off, len, err);
	(void)pthread_rwlock_unlock(&d->lock);
	return rc;
}

int disk_write(struct disk *d, const void *buf, uint64_t off, size_t len, struct err *err)
{
	if (check_range(d, true, off, len, err) < 0)
		return -1;
	if (d->mode == DISK_EPHEMERAL)
		return layered_write(d, buf, off, len, err);
	return d->guarded ? guarded_write(d, buf, off, len, err)
			  : image_write(d->img, buf, off, len, err);
}

int disk_zero(struct disk *d, uint64_t off, uint64_t len, bool may_unmap, struct err *err)
{
	if (check_range(d, true, off, len, err) < 0)
		return -1;
	return d->mode == DISK_EPHEMERAL ? layered_zero(d, off, len, err)
					 : image_write_zeroes(d->img, off, len, may_unmap, err);
}

int disk_discard(struct disk *d, uint64_t off, uint64_t len, struct err *err)
{
	if (check_range(d, true, off, len, err) < 0)
		return -1;
	return d->mode == DISK_EPHEMERAL ? layered_zero(d, off, len, err)
					 : image_discard(d->img, off, len, err);
}

int disk_flush(struct disk *d, struct err *err)
{
	return d->mode == DISK_WRITE ? image_flush(d->img, err) : 0;
}
