/* Mending a sparse VMDK from its redundant directory and tables: only where one of the two leads outside of the file and the
 * other does not, so that nothing is guessed and a reader sees what it saw. Two that differ and could both be right stay. */
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/iszero.h"
#include "libcommon/image/cache.h"
#include "libcommon/image/format/vmdk/check.h"

static bool may_mend(const struct vmdk_check *c)
{
	return c->flags & CHECK_REPAIR_ALL && c->x->kind == VMDK_SPARSE && !c->x->compressed &&
	       c->x->rgd_off && c->x->file->writable;
}

void vmdk_mended(struct vmdk_check *c)
{
	c->res->corruptions--;
	c->res->corruptions_fixed++;
}

static bool leads_out(const struct vmdk_extent *x, const uint8_t *entry)
{
	uint64_t unused;

	return vmdk_decode_entry(x, vmdk_entry_get(x, entry), &unused) == GRAIN_BAD;
}

/* Tables lie in front of all grains. A directory's damaged entry may lead to one, whose bytes are the guest's. */
static bool is_table_place(const struct vmdk_extent *x, uint64_t table)
{
	uint64_t len = (uint64_t)x->gtes * vmdk_entry_size(x), end;

	return x->h.overhead < UINT64_MAX / VMDK_SECTOR && u64_add(table, len, &end) &&
	       end <= x->h.overhead * VMDK_SECTOR;
}

/* Do all entries that differ lead out of the file in one of the two? */
static bool explains_itself(const struct vmdk_extent *x, const uint8_t *a, const uint8_t *b)
{
	unsigned size = vmdk_entry_size(x);

	for (uint32_t i = 0; i < x->gtes; i++) {
		const uint8_t *p = a + (size_t)i * size, *q = b + (size_t)i * size;

		if (memcmp(p, q, size) && leads_out(x, p) == leads_out(x, q))
			return false;
	}
	return true;
}

int vmdk_mend_tables(struct vmdk_check *c, uint64_t table, uint8_t *a, uint64_t other, uint8_t *b,
		     uint64_t *ret, struct err *err)
{
	const struct vmdk_extent *x = c->x;
	unsigned size = vmdk_entry_size(x);

	*ret = 0;
	if (!may_mend(c) || table == other || !is_table_place(x, table) ||
	    !is_table_place(x, other) || !explains_itself(x, a, b))
		return 0;
	for (uint32_t i = 0; i < x->gtes; i++) {
		uint8_t *p = a + (size_t)i * size, *q = b + (size_t)i * size;
		bool first = leads_out(x, p);

		if (memcmp(p, q, size) == 0)
			continue;
		if (bfile_pwrite(x->file, first ? q : p, size,
				 (first ? table : other) + (uint64_t)i * size, err) < 0)
			return -1;
		memcpy(first ? p : q, first ? q : p, size);
		++*ret;
	}
	return 0;
}

static bool mends_leaks(const struct vmdk_check *c)
{
	return c->flags & (CHECK_REPAIR_LEAKS | CHECK_REPAIR_ALL) && c->x->file->writable;
}

/* A grain here, nothing there */
static bool half_told(const struct vmdk_extent *x, const uint8_t *a, const uint8_t *b)
{
	uint64_t unused;
	enum vmdk_grain p = vmdk_decode_entry(x, vmdk_entry_get(x, a), &unused);
	enum vmdk_grain q = vmdk_decode_entry(x, vmdk_entry_get(x, b), &unused);

	return (p == GRAIN_NONE && q != GRAIN_BAD) || (q == GRAIN_NONE && p != GRAIN_BAD);
}

int vmdk_settle_tables(struct vmdk_check *c, const uint8_t *a, uint64_t other, uint8_t *b,
		       uint64_t *ret, uint64_t *ret_mended, struct err *err)
{
	const struct vmdk_extent *x = c->x;
	unsigned size = vmdk_entry_size(x);
	uint64_t n = 0;

	*ret = *ret_mended = 0;
	if (x->kind != VMDK_SPARSE || !x->h.unclean)
		return 0;
	for (uint32_t i = 0; i < x->gtes; i++) {
		const uint8_t *p = a + (size_t)i * size, *q = b + (size_t)i * size;

		if (memcmp(p, q, size) == 0)
			continue;
		if (!half_told(x, p, q))
			return 0;
		n++;
	}
	*ret = n;
	if (!mends_leaks(c))
		return 0;
	for (uint32_t i = 0; i < x->gtes; i++) {
		const uint8_t *p = a + (size_t)i * size;

		if (memcmp(p, b + (size_t)i * size, size) == 0)
			continue;
		if (bfile_pwrite(x->file, p, size, other + (uint64_t)i * size, err) < 0)
			return -1;
		memcpy(b + (size_t)i * size, p, size);
	}
	*ret_mended = n;
	return 0;
}

/* One table's copy */
static int settle_copy(struct vmdk_extent *x, uint64_t table, uint64_t copy, uint8_t *a, uint8_t *b,
		       struct err *err)
{
	unsigned size = vmdk_entry_size(x);

	if (!table || !copy || table == copy || !is_table_place(x, table) ||
	    !is_table_place(x, copy))
		return 0;
	if (bfile_pread(x->file, a, (size_t)x->gtes * size, table, err) < 0 ||
	    bfile_pread(x->file, b, (size_t)x->gtes * size, copy, err) < 0)
		return -1;
	for (uint32_t i = 0; i < x->gtes; i++) {
		const uint8_t *p = a + (size_t)i * size, *q = b + (size_t)i * size;

		if (memcmp(p, q, size) == 0 || !half_told(x, p, q))
			continue;
		if (bfile_pwrite(x->file, p, size, copy + (uint64_t)i * size, err) < 0)
			return -1;
		table_cache_update(x->cache, copy + (uint64_t)i * size, p, size);
	}
	return 0;
}

int vmdk_settle_copies(struct vmdk_extent *x, struct err *err)
{
	size_t len = (size_t)x->gtes * vmdk_entry_size(x);
	CLEANUP_FREE uint8_t *a = NULL, *b = NULL;
	uint64_t table, copy;

	if (x->kind != VMDK_SPARSE || x->compressed || !x->h.unclean || !x->rgd_off)
		return 0;
	a = malloc(len);
	b = malloc(len);
	if (!a || !b)
		return err_nomem(err);
	for (uint64_t i = 0; i < x->gd_entries; i++) {
		/* What is damaged is for check */
		if (!vmdk_dir_at(x, x->gd_off, i, &table) || !vmdk_dir_at(x, x->rgd_off, i, &copy))
			continue;
		if (settle_copy(x, table, copy, a, b, err) < 0)
			return -1;
	}
	return 0;
}

int vmdk_mend_mark(struct vmdk_check *c, bool sound, bool *ret_mended, struct err *err)
{
	static const uint8_t closed = 0;

	*ret_mended = sound && mends_leaks(c);
	if (!*ret_mended)
		return 0;
	/* What was mended before is durable before the mark that explains it goes */
	if (bfile_flush(c->x->file, err) < 0)
		return -1;
	return bfile_pwrite(c->x->file, &closed, 1, VMDK_UNCLEAN_AT, err);
}

/* Where the table would be that @dir does not name: in the row of its neighbours, or of all behind the directory. It is
 * that when it says what the other one does. */
static int look_there(struct vmdk_check *c, uint64_t at, uint64_t other, const uint8_t *copy,
		      uint8_t *buf, bool *ret, struct err *err)
{
	size_t len = (size_t)c->x->gtes * vmdk_entry_size(c->x);

	*ret = false;
	if (at % VMDK_SECTOR || at == other || at / VMDK_SECTOR > UINT32_MAX || at < VMDK_SECTOR ||
	    !range_inside(at, len, bfile_size(c->x->file)))
		return 0;
	if (bfile_pread(c->x->file, buf, len, at, err) < 0)
		return -1;
	*ret = memcmp(buf, copy, len) == 0;
	return 0;
}

int vmdk_mend_directory(struct vmdk_check *c, uint64_t dir, uint64_t index, uint64_t other,
			const uint8_t *copy, bool *ret, struct err *err)
{
	struct vmdk_extent *x = c->x;
	size_t len = (size_t)x->gtes * vmdk_entry_size(x);
	CLEANUP_FREE uint8_t *buf = NULL;
	uint64_t places[3], near;
	unsigned n = 0;
	uint8_t entry[4];

	*ret = false;
	if (!may_mend(c) || !is_table_place(x, other) ||
	    is_zero(copy, len)) /* nothing could be told by zeros */
		return 0;
	buf = malloc(len);
	if (!buf)
		return err_nomem(err);
	places[n++] = round_up(dir + x->gd_entries * 4, VMDK_SECTOR) + index * len;
	if (index && vmdk_dir_at(x, dir, index - 1, &near) && near)
		places[n++] = near + len;
	if (index + 1 < x->gd_entries && vmdk_dir_at(x, dir, index + 1, &near) && near > len)
		places[n++] = near - len;
	for (unsigned i = 0; i < n && !*ret; i++) {
		if (look_there(c, places[i], other, copy, buf, ret, err) < 0)
			return -1;
		if (!*ret)
			continue;
		put_le32(entry, (uint32_t)(places[i] / VMDK_SECTOR));
		if (bfile_pwrite(x->file, entry, sizeof(entry), dir + index * sizeof(entry), err) <
		    0)
			return -1;
	}
	return 0;
}
