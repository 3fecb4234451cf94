/* Growing and shrinking a disk with a guard for what is on it. */
#include "libcommon/image/disk/resize.h"

#include <inttypes.h>
#include <stdlib.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/iszero.h"
#include "libcommon/base/size.h"
#include "libcommon/base/stop.h"

enum { SCAN_BYTES = 1 << 20 };

/* The first byte at or behind @off that is not zero; UINT64_MAX: none */
static int find_data(struct image *img, uint64_t off, uint64_t *ret, struct err *err)
{
	CLEANUP_FREE uint8_t *buf = malloc(SCAN_BYTES);
	struct extent e;

	*ret = UINT64_MAX;
	if (!buf)
		return err_nomem(err);
	for (; off < image_size(img); off += e.len) {
		if (stop_check(err) < 0 || image_extent(img, off, SCAN_BYTES, &e, err) < 0)
			return -1;
		if (e.kind != EXTENT_DATA)
			continue;
		if (image_read(img, buf, off, (size_t)e.len, err) < 0)
			return -1;
		if (is_zero(buf, (size_t)e.len))
			continue;
		for (size_t i = 0;; i++)
			if (buf[i]) {
				*ret = off + i;
				return 0;
			}
	}
	return 0;
}

static int guard_data(struct image *img, uint64_t size, struct err *err)
{
	uint64_t at;

	if (find_data(img, size, &at, err) < 0)
		return -1;
	if (at == UINT64_MAX)
		return 0;
	err_set(err, ERR_USAGE,
		"there is no partition table, and data at offset %" PRIu64
		" lie beyond the new end",
		at);
	return err_hint(err, "--force cuts them off");
}

static int guard(struct image *img, const struct partition_table *t, uint64_t size, struct err *err)
{
	const struct partition *last = partition_last(t);
	uint64_t least = partition_least_size(t);
	char text[SIZE_TEXT_MAX];

	if (t->scheme == PARTITIONS_NONE)
		return guard_data(img, size, err);
	if (size >= least)
		return 0;
	if (last && last->off + last->len > partition_room(t, size))
		err_set(err, ERR_USAGE,
			"partition %u ends at offset %" PRIu64
			", beyond what is left for partitions (%" PRIu64 " bytes)",
			last->number, last->off + last->len, partition_room(t, size));
	else
		err_set(err, ERR_USAGE, "the partition table does not fit");
	return err_hint(err, "the smallest possible size is %" PRIu64 " (%s)", least,
			size_format(least, text));
}

static int resize(struct image *img, struct partition_table *t, uint64_t size,
		  const struct disk_resize_opts *opts, struct disk_resize_result *ret,
		  struct err *err)
{
	uint64_t old = image_size(img);
	bool move = t->scheme == PARTITIONS_GPT && !opts->keep_table && !gpt_is_at_end(t, size);

	if (size < old && !opts->force && guard(img, t, size, err) < 0)
		return -1;
	/* Forced below what its partitions need: nothing good can be written. */
	if (size < partition_least_size(t))
		move = false;
	ret->table_moved = move;
	if (opts->dry_run)
		return 0;
	if (move && size < old && gpt_move(img, t, size, err) < 0)
		return -1;
	if (size != old && (image_resize(img, size, err) < 0 || image_flush(img, err) < 0))
		return -1;
	if (move && size >= old && gpt_move(img, t, size, err) < 0)
		return -1;
	return image_flush(img, err);
}

int disk_resize(struct image *img, uint64_t size, const struct disk_resize_opts *opts,
		struct disk_resize_result *ret, struct err *err)
{
	struct partition_table t = {.sector_size = 512};
	uint64_t old = image_size(img);

	if (size < old && !opts->shrink) {
		err_set(err, ERR_USAGE, "%" PRIu64 " bytes are less than the disk has, %" PRIu64,
			size, old);
		err_hint(err, "--shrink makes a disk smaller");
		return err_object(err, image_name(img));
	}
	/* Without a guard and with the table left alone it does not matter what the table is. */
	if (!(opts->force && opts->keep_table) && partition_table_read(img, &t, err) < 0)
		return err_hint(err, "--force --keep-table resizes without a look at it");

	const struct partition *last = partition_last(&t);

	*ret = (struct disk_resize_result){.old_size = old,
					   .new_size = size,
					   .scheme = t.scheme,
					   .partitions_end = last ? last->off + last->len : 0};
	int rc = resize(img, &t, size, opts, ret, err);

	partition_table_release(&t);
	return rc < 0 ? err_object(err, image_name(img)) : 0;
}
