/* Partition tables: which one a disk has; MBR and its chain of logical partitions. GPT: gpt.c. */
#include "libcommon/image/disk/partition.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/image/disk/partition_private.h"

enum {
	MBR_SECTOR = 512,
	MBR_TABLE = 446,
	MBR_ENTRY = 16,
	LOGICAL_MOST = 256, /* Linux takes 60; a chain that is longer is a loop */
};

struct mbr_entry {
	uint8_t status, type;
	uint32_t first, count; /* sectors */
};

static struct mbr_entry mbr_entry(const uint8_t *sector, unsigned i)
{
	const uint8_t *p = sector + MBR_TABLE + (size_t)i * MBR_ENTRY;

	return (struct mbr_entry){p[0], p[4], get_le32(p + 8), get_le32(p + 12)};
}

static bool is_extended(uint8_t type)
{
	return type == 0x05 || type == 0x0f || type == 0x85;
}

int partition_add(struct partition_table *t, const struct partition *p, struct err *err)
{
	struct partition *more = reallocarray(t->parts, t->n + 1, sizeof(*more));

	if (!more)
		return err_nomem(err);
	t->parts = more;
	t->parts[t->n++] = *p;
	return 0;
}

/* The boot sector of a file system has the same signature: there the entries are code or text. */
static bool is_mbr(const uint8_t *s)
{
	unsigned used = 0;

	if (s[510] != 0x55 || s[511] != 0xaa)
		return false;
	for (unsigned i = 0; i < 4; i++) {
		struct mbr_entry e = mbr_entry(s, i);

		if (e.status & 0x7f)
			return false;
		if (!e.type)
			continue;
		if (!e.first || !e.count)
			return false;
		used++;
	}
	return used > 0;
}

static int add_mbr(struct partition_table *t, unsigned number, uint8_t type, uint64_t first,
		   uint32_t count, struct err *err)
{
	const struct partition p = {.number = number,
				    .type = type,
				    .off = first * MBR_SECTOR,
				    .len = (uint64_t)count * MBR_SECTOR};

	return partition_add(t, &p, err);
}

/* The extended partition itself counts: what is behind its end is not in it. */
static int read_logical(struct image *img, struct partition_table *t, uint32_t start,
			unsigned *number, struct err *err)
{
	uint64_t at = start;

	for (unsigned i = 0; i < LOGICAL_MOST; i++) {
		uint8_t s[MBR_SECTOR];

		if (!range_inside(at * MBR_SECTOR, MBR_SECTOR, image_size(img)))
			return err_set(err, ERR_CORRUPT,
				       "a table of logical partitions lies at sector %" PRIu64
				       ", beyond the end of the disk",
				       at);
		if (image_read(img, s, at * MBR_SECTOR, MBR_SECTOR, err) < 0)
			return -1;
		if (s[510] != 0x55 || s[511] != 0xaa)
			return i == 0 ? 0 /* an extended partition that nobody has filled */
				      : err_set(err, ERR_CORRUPT,
						"no table of logical partitions at sector %" PRIu64,
						at);

		struct mbr_entry e = mbr_entry(s, 0), next = mbr_entry(s, 1);

		if (e.type && e.count &&
		    add_mbr(t, (*number)++, e.type, at + e.first, e.count, err) < 0)
			return -1;
		if (!is_extended(next.type) || !next.count)
			return 0;
		at = (uint64_t)start + next.first;
	}
	return err_set(err, ERR_CORRUPT, "the chain of logical partitions has more than %d links",
		       LOGICAL_MOST);
}

static int read_mbr(struct image *img, const uint8_t *s, struct partition_table *t, struct err *err)
{
	unsigned logical = 5;

	t->scheme = PARTITIONS_MBR;
	for (unsigned i = 0; i < 4; i++) {
		struct mbr_entry e = mbr_entry(s, i);

		if (!e.type)
			continue;
		if (add_mbr(t, i + 1, e.type, e.first, e.count, err) < 0)
			return -1;
		if (is_extended(e.type) && read_logical(img, t, e.first, &logical, err) < 0)
			return -1;
	}
	return 0;
}

static bool is_protective(const uint8_t *s)
{
	for (unsigned i = 0; i < 4; i++)
		if (mbr_entry(s, i).type == MBR_PROTECTIVE)
			return true;
	return false;
}

static int read_table(struct image *img, struct partition_table *t, struct err *err)
{
	uint8_t s[MBR_SECTOR];
	bool found = false;

	if (image_size(img) < MBR_SECTOR)
		return 0;
	if (image_read(img, s, 0, sizeof(s), err) < 0)
		return -1;

	bool mbr = is_mbr(s), protective = mbr && is_protective(s);

	if (gpt_read(img, protective, t, &found, err) < 0)
		return -1;
	if (found)
		return 0;
	if (protective)
		return err_set(err, ERR_CORRUPT,
			       "the MBR says that there is a GPT, but neither of its headers is "
			       "good");
	return mbr ? read_mbr(img, s, t, err) : 0;
}

int partition_table_read(struct image *img, struct partition_table *ret, struct err *err)
{
	*ret = (struct partition_table){.sector_size = MBR_SECTOR};
	if (read_table(img, ret, err) == 0)
		return 0;
	partition_table_release(ret);
	return err_object(err, image_name(img));
}

void partition_table_release(struct partition_table *t)
{
	free(t->parts);
	free(t->header);
	free(t->entries);
	*t = (struct partition_table){0};
}

const char *partition_scheme_name(enum partition_scheme s)
{
	return s == PARTITIONS_GPT ? "gpt" : s == PARTITIONS_MBR ? "mbr" : "none";
}

const struct partition *partition_last(const struct partition_table *t)
{
	const struct partition *last = NULL;

	for (size_t i = 0; i < t->n; i++)
		if (!last || t->parts[i].off + t->parts[i].len > last->off + last->len)
			last = &t->parts[i];
	return last;
}

/* Sectors at the end of the disk that the backup GPT takes */
static uint64_t backup_sectors(const struct partition_table *t)
{
	return t->scheme == PARTITIONS_GPT ? 1 + div_up(t->entries_len, t->sector_size) : 0;
}

uint64_t partition_room(const struct partition_table *t, uint64_t size)
{
	uint64_t sectors = size / t->sector_size, taken = backup_sectors(t);

	return sectors > taken ? (sectors - taken) * t->sector_size : 0;
}

uint64_t partition_least_size(const struct partition_table *t)
{
	const struct partition *last = partition_last(t);
	uint64_t end = last ? div_up(last->off + last->len, t->sector_size) : 0;

	/* With GPT the first usable sector stays where it is, and one is the least there may be */
	if (t->scheme == PARTITIONS_GPT)
		end = max_u64(end, t->first_usable + 1);
	return (end + backup_sectors(t)) * t->sector_size;
}
