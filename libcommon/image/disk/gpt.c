/* GPT: UEFI specification, chapter 5.3. Headers with their CRCs, entries, and a table moved to a new disk size. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/iszero.h"
#include "libcommon/image/disk/partition_private.h"

enum {
	HEADER_LEAST = 92,
	ENTRY_LEAST = 128,
	ENTRY_MOST = 4096,
	ENTRIES_MOST = 1 << 20, /* bytes; 128 entries of 128 bytes are the rule */
	PARTS_MOST = 1024,	/* in use */
	/* fields of the header */
	AT_SIZE = 12,
	AT_CRC = 16,
	AT_MY_LBA = 24,
	AT_ALTERNATE = 32,
	AT_FIRST = 40,
	AT_LAST = 48,
	AT_ENTRIES = 72,
	AT_COUNT = 80,
	AT_ENTRY_SIZE = 84,
	AT_ENTRIES_CRC = 88,
};

uint32_t gpt_crc32(const void *data, size_t len)
{
	static const uint32_t nibble[16] = {0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac,
					    0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
					    0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
					    0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
	const uint8_t *p = data;
	uint32_t crc = 0xffffffff;

	for (size_t i = 0; i < len; i++) {
		crc ^= p[i];
		crc = crc >> 4 ^ nibble[crc & 15];
		crc = crc >> 4 ^ nibble[crc & 15];
	}
	return ~crc;
}

static uint32_t header_crc(const uint8_t *h, uint32_t len)
{
	uint8_t copy[ENTRY_MOST];

	memcpy(copy, h, len);
	put_le32(copy + AT_CRC, 0);
	return gpt_crc32(copy, len);
}

/* Good by itself: its place, its size, its CRC, its bounds. What is not is simply no header. */
static bool header_good(const uint8_t *h, uint64_t lba, uint32_t sector_size, uint64_t sectors)
{
	uint32_t len = get_le32(h + AT_SIZE), count = get_le32(h + AT_COUNT),
		 each = get_le32(h + AT_ENTRY_SIZE);
	uint64_t first = get_le64(h + AT_FIRST), last = get_le64(h + AT_LAST), bytes;

	if (memcmp(h, "EFI PART", 8) != 0 || len < HEADER_LEAST || len > sector_size ||
	    header_crc(h, len) != get_le32(h + AT_CRC) || get_le64(h + AT_MY_LBA) != lba)
		return false;
	if (each < ENTRY_LEAST || each > ENTRY_MOST || !is_pow2(each) || !count)
		return false;
	bytes = (uint64_t)count * each;
	if (bytes > ENTRIES_MOST || first < 2 || first > last || last > INT64_MAX / sector_size)
		return false;
	return range_inside(get_le64(h + AT_ENTRIES), div_up(bytes, sector_size), sectors);
}

/* The header at @lba with its entries, both owned by the caller; *@ret_good false: there is none */
static int read_header(struct image *img, uint64_t lba, uint32_t sector_size, uint8_t **ret_header,
		       uint8_t **ret_entries, bool *ret_good, struct err *err)
{
	uint64_t sectors = image_size(img) / sector_size;
	CLEANUP_FREE uint8_t *h = NULL;
	CLEANUP_FREE uint8_t *entries = NULL;

	*ret_good = false;
	if (lba >= sectors)
		return 0;
	h = malloc(sector_size);
	if (!h)
		return err_nomem(err);
	if (image_read(img, h, lba * sector_size, sector_size, err) < 0)
		return -1;
	if (!header_good(h, lba, sector_size, sectors))
		return 0;

	size_t len = (size_t)get_le32(h + AT_COUNT) * get_le32(h + AT_ENTRY_SIZE);

	entries = calloc(1, (size_t)round_up(len, sector_size));
	if (!entries)
		return err_nomem(err);
	if (image_read(img, entries, get_le64(h + AT_ENTRIES) * sector_size, len, err) < 0)
		return -1;
	if (gpt_crc32(entries, len) != get_le32(h + AT_ENTRIES_CRC))
		return 0;
	*ret_header = steal_ptr(&h);
	*ret_entries = steal_ptr(&entries);
	*ret_good = true;
	return 0;
}

static int read_entries(struct partition_table *t, struct err *err)
{
	uint32_t each = get_le32(t->header + AT_ENTRY_SIZE);
	uint64_t most = INT64_MAX / t->sector_size;

	for (size_t i = 0; i < t->entries_len / each; i++) {
		const uint8_t *e = t->entries + i * each;
		uint64_t first = get_le64(e + 32), last = get_le64(e + 40);
		struct partition p = {.number = (unsigned)i + 1};

		if (is_zero(e, 16))
			continue;
		if (first > last || last >= most)
			return err_set(err, ERR_CORRUPT,
				       "partition %zu goes from sector %" PRIu64 " to %" PRIu64,
				       i + 1, first, last);
		if (t->n >= PARTS_MOST)
			return err_set(err, ERR_UNSUPPORTED, "more than %d partitions", PARTS_MOST);
		memcpy(p.guid, e, 16);
		p.off = first * t->sector_size;
		p.len = (last - first + 1) * t->sector_size;
		if (partition_add(t, &p, err) < 0)
			return -1;
	}
	return 0;
}

/* With sectors of @sector_size; the primary header wins, then one at the end of the disk. */
static int try_sectors(struct image *img, uint32_t sector_size, bool search,
		       struct partition_table *t, bool *ret_found, struct err *err)
{
	uint64_t sectors = image_size(img) / sector_size;
	CLEANUP_FREE uint8_t *other = NULL;
	CLEANUP_FREE uint8_t *other_entries = NULL;

	*ret_found = false;
	if (read_header(img, 1, sector_size, &t->header, &t->entries, &t->primary_good, err) < 0)
		return -1;
	if (!t->primary_good && (!search || sectors < 3))
		return 0;

	uint64_t at = t->primary_good ? get_le64(t->header + AT_ALTERNATE) : sectors - 1;

	if (at > 1 &&
	    read_header(img, at, sector_size, &other, &other_entries, &t->backup_good, err) < 0)
		return -1;
	if (!t->primary_good) {
		if (!t->backup_good)
			return 0;
		t->header = steal_ptr(&other);
		t->entries = steal_ptr(&other_entries);
	} else if (t->backup_good &&
		   (get_le32(other + AT_ENTRIES_CRC) != get_le32(t->header + AT_ENTRIES_CRC) ||
		    get_le64(other + AT_ALTERNATE) != 1)) {
		t->backup_good = false; /* of another table */
	}
	t->scheme = PARTITIONS_GPT;
	t->sector_size = sector_size;
	t->entries_len =
		(size_t)get_le32(t->header + AT_COUNT) * get_le32(t->header + AT_ENTRY_SIZE);
	t->alternate_lba = at;
	t->first_usable = get_le64(t->header + AT_FIRST);
	t->last_usable = get_le64(t->header + AT_LAST);
	t->entries_lba = t->primary_good ? get_le64(t->header + AT_ENTRIES) : 2;
	*ret_found = true;
	if (t->entries_lba < 2 ||
	    t->entries_lba + div_up(t->entries_len, sector_size) > t->first_usable)
		return err_set(err, ERR_CORRUPT,
			       "the entries of the GPT reach into the usable sectors, from %" PRIu64
			       " on",
			       t->first_usable);
	return read_entries(t, err);
}

int gpt_read(struct image *img, bool protective, struct partition_table *t, bool *ret_found,
	     struct err *err)
{
	if (try_sectors(img, 512, protective, t, ret_found, err) < 0)
		return -1;
	return *ret_found ? 0 : try_sectors(img, 4096, protective, t, ret_found, err);
}

bool gpt_is_at_end(const struct partition_table *t, uint64_t size)
{
	uint64_t sectors = size / t->sector_size;

	return t->primary_good && t->backup_good && t->alternate_lba == sectors - 1 &&
	       t->last_usable == partition_room(t, size) / t->sector_size - 1;
}

static int write_header(struct image *img, const struct partition_table *t, uint64_t lba,
			uint64_t alternate, uint64_t entries, uint64_t last, struct err *err)
{
	uint32_t len = get_le32(t->header + AT_SIZE);
	CLEANUP_FREE uint8_t *h = malloc(t->sector_size);

	if (!h)
		return err_nomem(err);
	memcpy(h, t->header, t->sector_size);
	put_le64(h + AT_MY_LBA, lba);
	put_le64(h + AT_ALTERNATE, alternate);
	put_le64(h + AT_LAST, last);
	put_le64(h + AT_ENTRIES, entries);
	put_le32(h + AT_CRC, header_crc(h, len));
	if (image_write(img, h, lba * t->sector_size, t->sector_size, err) < 0)
		return -1;
	return image_flush(img, err);
}

static int write_entries(struct image *img, const struct partition_table *t, uint64_t lba,
			 struct err *err)
{
	size_t len = (size_t)round_up(t->entries_len, t->sector_size);

	if (image_write(img, t->entries, lba * t->sector_size, len, err) < 0)
		return -1;
	return image_flush(img, err);
}

/* The one partition of a protective MBR covers the disk. A hybrid MBR is somebody's own work: left alone. */
static int write_protective(struct image *img, uint64_t sectors, struct err *err)
{
	uint8_t s[512], *entry = NULL;
	unsigned used = 0;

	if (image_read(img, s, 0, sizeof(s), err) < 0)
		return -1;
	for (unsigned i = 0; i < 4; i++) {
		uint8_t *e = s + 446 + (size_t)i * 16;

		used += e[4] != 0;
		if (e[4] == MBR_PROTECTIVE)
			entry = e;
	}
	if (!entry || used != 1 || get_le32(entry + 8) != 1)
		return 0;

	uint32_t count = (uint32_t)min_u64(sectors - 1, UINT32_MAX);

	if (get_le32(entry + 12) == count)
		return 0;
	put_le32(entry + 12, count);
	if (image_write(img, s, 0, sizeof(s), err) < 0)
		return -1;
	return image_flush(img, err);
}

/* An old backup inside a larger disk would be found by those who search for one. */
static int wipe_old(struct image *img, const struct partition_table *t, uint64_t last_lba,
		    struct err *err)
{
	uint64_t ss = t->sector_size, at = t->alternate_lba * ss;

	if (!t->backup_good || t->alternate_lba >= last_lba ||
	    !range_inside(at, ss, image_size(img)))
		return 0;
	for (size_t i = 0; i < t->n; i++)
		if (at + ss > t->parts[i].off && at < t->parts[i].off + t->parts[i].len)
			return 0;
	/* Inside of what is the backup now it has been overwritten already. */
	if (t->alternate_lba >= last_lba - div_up(t->entries_len, ss))
		return 0;
	return image_write_zeroes(img, at, ss, true, err);
}

int gpt_move(struct image *img, const struct partition_table *t, uint64_t size, struct err *err)
{
	uint64_t sectors = size / t->sector_size, last = sectors - 1;
	uint64_t entries = partition_room(t, size) / t->sector_size;

	/* While the primary entries are damaged, their backup, wherever it is, stays: it is not at @last unless
	 * it is right there already. */
	if (write_entries(img, t, entries, err) < 0 ||
	    write_header(img, t, last, 1, entries, entries - 1, err) < 0)
		return err_prefix(err, "backup GPT");
	if (!t->primary_good && write_entries(img, t, t->entries_lba, err) < 0)
		return err_prefix(err, "primary GPT");
	if (write_header(img, t, 1, last, t->entries_lba, entries - 1, err) < 0)
		return err_prefix(err, "primary GPT");
	if (write_protective(img, sectors, err) < 0)
		return err_prefix(err, "protective MBR");
	return wipe_old(img, t, last, err);
}
