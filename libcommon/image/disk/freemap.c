/* Lists of free ranges, what is in a volume, and swap space. */
#include "libcommon/image/disk/freemap.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/iszero.h"

enum {
	RANGES_MOST = 4 << 20,
	GRAIN = 4096, /* smaller pieces free nothing anywhere */
	HEAD = 4096,
};

void freemap_release(struct freemap *m)
{
	free(m->ranges);
	*m = (struct freemap){0};
}

int volume_read(const struct volume *v, void *buf, uint64_t off, size_t len, struct err *err)
{
	if (!range_inside(off, len, v->len))
		return err_set(err, ERR_CORRUPT,
			       "the file system has its tables at offset %" PRIu64
			       ", beyond its end at %" PRIu64,
			       off, v->len);
	return image_read(v->img, buf, v->off + off, len, err);
}

int freemap_add(struct freemap *m, const struct volume *v, uint64_t off, uint64_t len,
		struct err *err)
{
	if (!range_inside(off, len, v->len))
		return err_set(err, ERR_CORRUPT,
			       "the file system is larger than its partition of %" PRIu64 " bytes",
			       v->len);

	uint64_t start = round_up(v->off + off, GRAIN), end = round_down(v->off + off + len, GRAIN);
	struct free_range *last = m->n ? &m->ranges[m->n - 1] : NULL;

	if (start >= end)
		return 0;
	m->bytes += end - start;
	if (last && last->off + last->len == start) {
		last->len += end - start;
		return 0;
	}
	if (m->n == m->room) {
		size_t room = m->room ? 2 * m->room : 256;
		struct free_range *more = reallocarray(m->ranges, room, sizeof(*more));

		if (!more)
			return err_nomem(err);
		m->ranges = more;
		m->room = room;
	}
	if (m->n >= RANGES_MOST)
		return err_set(err, ERR_UNSUPPORTED, "more than %d free ranges", RANGES_MOST);
	m->ranges[m->n++] = (struct free_range){start, end - start};
	return 0;
}

int freemap_bits(struct freemap *m, const struct volume *v, const uint8_t *bits, uint64_t first,
		 uint64_t count, uint64_t start, uint64_t unit, struct err *err)
{
	for (uint64_t i = 0, n; i < count; i += n) {
		bool used = bits[i / 8] >> (i % 8) & 1;

		for (n = 1; i + n < count; n++) {
			/* Whole bytes at once where they are all alike */
			if ((i + n) % 8 == 0 && i + n + 8 <= count &&
			    bits[(i + n) / 8] == (used ? 0xff : 0))
				n += 7;
			else if ((bits[(i + n) / 8] >> ((i + n) % 8) & 1) != used)
				break;
		}
		if (!used && freemap_add(m, v, start + (first + i) * unit, n * unit, err) < 0)
			return -1;
	}
	return 0;
}

/* ---- swap: include/linux/swap.h, union swap_header; the signature ends the first page */

static const uint32_t page_sizes[] = {4096, 8192, 16384, 65536};

static int find_swap(const struct volume *v, uint32_t *ret_page, char name[11], struct err *err)
{
	static const char *const names[] = {"SWAPSPACE2", "S1SUSPEND", "S2SUSPEND", "ULSUSPEND",
					    "LINHIB0001"};

	*ret_page = 0;
	for (size_t i = 0; i < sizeof(page_sizes) / sizeof(page_sizes[0]); i++) {
		if (v->len < page_sizes[i])
			return 0;
		if (volume_read(v, name, page_sizes[i] - 10, 10, err) < 0)
			return -1;
		name[10] = '\0';
		for (size_t j = 0; j < sizeof(names) / sizeof(names[0]); j++)
			if (strncmp(name, names[j], strlen(names[j])) == 0) {
				*ret_page = page_sizes[i];
				return 0;
			}
	}
	return 0;
}

static int swap_probe(const struct volume *v, bool *ret, struct err *err)
{
	uint32_t page;
	char name[11];

	if (find_swap(v, &page, name, err) < 0)
		return -1;
	*ret = page > 0;
	return 0;
}

static int swap_read(const struct volume *v, struct freemap *m, struct err *err)
{
	uint32_t page;
	char name[11];
	uint8_t h[8];

	if (find_swap(v, &page, name, err) < 0 || volume_read(v, h, 1024, sizeof(h), err) < 0)
		return -1;
	if (strcmp(name, "SWAPSPACE2") != 0)
		return err_set(err, ERR_UNSUPPORTED,
			       "the swap space holds a machine that is suspended to disk");
	if (get_le32(h) != 1)
		return err_set(err, ERR_UNSUPPORTED, "version %" PRIu32 " of swap space is unknown",
			       get_le32(h));
	return freemap_add(m, v, page, (uint64_t)get_le32(h + 4) * page, err);
}

const struct free_reader free_swap = {"swap", swap_probe, swap_read};

/* ---- what is known by name only */

static const struct {
	const char *name, *magic;
	unsigned off;
} others[] = {
	{"luks", "LUKS\xba\xbe", 0},  {"lvm", "LABELONE", 512}, {"exfat", "EXFAT   ", 3},
	{"bitlocker", "-FVE-FS-", 3}, {"squashfs", "hsqs", 0},
};

static const char *other_name(const uint8_t *head, size_t len)
{
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (memcmp(head + others[i].off, others[i].magic, strlen(others[i].magic)) == 0)
			return others[i].name;
	return is_zero(head, len) ? "empty" : "unknown";
}

int freemap_read(const struct volume *v, struct freemap *m, const char **ret_name, struct err *err)
{
	/* swap first: mkswap leaves old signatures of others in place */
	static const struct free_reader *const readers[] = {&free_swap, &free_ext, &free_xfs,
							    &free_ntfs, &free_fat};
	uint8_t head[HEAD];
	size_t len = (size_t)min_u64(v->len, sizeof(head));

	memset(head, 0, sizeof(head));
	if (volume_read(v, head, 0, len, err) < 0)
		return -1;
	*ret_name = other_name(head, sizeof(head));
	if (strcmp(*ret_name, "unknown") != 0 && strcmp(*ret_name, "empty") != 0)
		return 0;
	for (size_t i = 0; i < sizeof(readers) / sizeof(readers[0]); i++) {
		bool found = false;

		if (readers[i]->probe(v, &found, err) < 0)
			return -1;
		if (!found)
			continue;
		*ret_name = readers[i]->name;
		return readers[i]->read(v, m, err);
	}
	return 0;
}
