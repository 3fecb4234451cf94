/* Grain directory and grain tables: guest offset to host offset.
 *
 * Both are read in slices through a cache, never whole. Where an entry of the directory or of a table is damaged (it
 * leads outside of the file) or a directory entry is missing, the redundant directory of a hosted sparse extent has the
 * second copy. Grains that follow each other in the file are answered as one extent.
 */
#include <inttypes.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/log.h"
#include "libcommon/image/cache.h"
#include "libcommon/image/format/vmdk/vmdk.h"

enum { SLICES_JOINED = 64 }; /* looked at by one call */

uint64_t vmdk_entry_get(const struct vmdk_extent *x, const uint8_t *p)
{
	return x->kind == VMDK_SESPARSE ? get_le64(p) : get_le32(p);
}

/* seSparse: the number of the grain has its lowest 12 bits on top */
static enum vmdk_grain decode_sesparse(const struct vmdk_extent *x, uint64_t e, uint64_t *ret_off)
{
	uint64_t number = (e & 0x0fff000000000000) >> 48 | (e & 0x0000ffffffffffff) << 12;

	switch (e >> 60) {
	case 0:
		return e ? GRAIN_BAD : GRAIN_NONE;
	case 1: /* unmapped by the guest */
	case 2:
		return GRAIN_ZERO;
	case 3:
		return u64_mul(number, x->grain, ret_off) &&
				       u64_add(*ret_off, x->grain_base, ret_off) &&
				       *ret_off < bfile_size(x->file)
			       ? GRAIN_DATA
			       : GRAIN_BAD;
	default:
		return GRAIN_BAD;
	}
}

enum vmdk_grain vmdk_decode_entry(const struct vmdk_extent *x, uint64_t e, uint64_t *ret_off)
{
	if (x->kind == VMDK_SESPARSE)
		return decode_sesparse(x, e, ret_off);
	if (!e)
		return GRAIN_NONE;
	/* Sector 1 never holds a grain: with or without the header's flag it means zeros */
	if (e == 1 && x->kind == VMDK_SPARSE)
		return GRAIN_ZERO;
	*ret_off = e * VMDK_SECTOR;
	return *ret_off < bfile_size(x->file) ? GRAIN_DATA : GRAIN_BAD;
}

bool vmdk_decode_dir(const struct vmdk_extent *x, uint64_t e, uint64_t *ret_off)
{
	uint64_t len = (uint64_t)x->gtes * vmdk_entry_size(x);

	*ret_off = 0;
	if (!e)
		return true;
	if (x->kind == VMDK_SESPARSE) {
		if (e >> 32 != 0x10000000)
			return false;
		*ret_off = x->table_base + (e & UINT32_MAX) * len;
	} else {
		*ret_off = e * VMDK_SECTOR;
	}
	return *ret_off >= VMDK_SECTOR && range_inside(*ret_off, len, bfile_size(x->file));
}

int vmdk_entry_read(struct vmdk_extent *x, uint64_t off, uint64_t *ret, struct err *err)
{
	const uint8_t *p;
	size_t room;

	if (table_cache_get(x->cache, off, &p, &room, err) < 0)
		return -1;
	*ret = vmdk_entry_get(x, p);
	table_cache_put(x->cache, p);
	return 0;
}

bool vmdk_dir_at(struct vmdk_extent *x, uint64_t dir, uint64_t index, uint64_t *ret_off)
{
	uint64_t e;

	*ret_off = 0;
	return vmdk_entry_read(x, dir + index * vmdk_entry_size(x), &e, NULL) == 0 &&
	       vmdk_decode_dir(x, e, ret_off);
}

static void tell_redundant(struct vmdk_extent *x, uint64_t index)
{
	if (!atomic_exchange(&x->told, true))
		log_warning("%s: the grain directory is damaged at entry %" PRIu64
			    ", the redundant one is used",
			    x->file->name, index);
}

int vmdk_table_at(struct vmdk_extent *x, uint64_t index, uint64_t *ret_off, struct err *err)
{
	bool good = vmdk_dir_at(x, x->gd_off, index, ret_off);
	uint64_t other;

	if (good && *ret_off)
		return 0;
	if (x->rgd_off && vmdk_dir_at(x, x->rgd_off, index, &other) && (other || !good)) {
		tell_redundant(x, index);
		*ret_off = other;
		return 0;
	}
	if (!good)
		return err_set(err, ERR_CORRUPT,
			       "grain directory at offset %" PRIu64 ", entry %" PRIu64
			       ": the table lies outside of the file",
			       x->gd_off, index);
	return 0;
}

/* What the redundant table says of a grain whose entry is damaged */
static enum vmdk_grain second_opinion(struct vmdk_extent *x, uint64_t grain_no, uint64_t *ret_off)
{
	uint64_t table, e;
	enum vmdk_grain g = GRAIN_BAD;

	if (x->rgd_off && vmdk_dir_at(x, x->rgd_off, grain_no / x->gtes, &table) && table &&
	    vmdk_entry_read(x, table + grain_no % x->gtes * vmdk_entry_size(x), &e, NULL) == 0)
		g = vmdk_decode_entry(x, e, ret_off);
	if (g != GRAIN_BAD)
		tell_redundant(x, grain_no / x->gtes);
	return g;
}

/* Grains that are alike, as far as they are known */
struct run {
	enum vmdk_grain kind;
	uint64_t count; /* grains; 0: none yet */
	uint64_t host;
};

/* Return: the grain goes on what the run has */
static bool join(const struct vmdk_extent *x, struct run *r, enum vmdk_grain kind, uint64_t host,
		 uint64_t count)
{
	if (r->count &&
	    (kind != r->kind ||
	     (kind == GRAIN_DATA && (x->compressed || host != r->host + r->count * x->grain))))
		return false;
	if (!r->count) {
		r->kind = kind;
		r->host = host;
	}
	r->count += count;
	return true;
}

static int bad_entry(const struct vmdk_extent *x, uint64_t table, uint64_t grain_no, uint64_t e,
		     struct err *err)
{
	return err_set(err, ERR_CORRUPT,
		       "grain table at offset %" PRIu64 ", entry %" PRIu64 ": %#" PRIx64
		       " leads outside of the file",
		       table, grain_no % x->gtes, e);
}

/* One slice of a table. Return: 1 the run may go on behind it, 0 it ends, -1 */
static int walk_slice(struct vmdk_extent *x, uint64_t table, uint64_t *grain_no, uint64_t end,
		      struct run *r, struct err *err)
{
	unsigned size = vmdk_entry_size(x);
	uint64_t stop = min_u64(end, *grain_no - *grain_no % x->gtes + x->gtes);
	const uint8_t *p, *at;
	size_t room;
	int rc = 1;

	if (table_cache_get(x->cache, table + *grain_no % x->gtes * size, &p, &room, err) < 0)
		return -1;
	for (at = p; *grain_no < stop && room >= size; at += size, room -= size) {
		uint64_t host = 0, e = vmdk_entry_get(x, at);
		enum vmdk_grain g = vmdk_decode_entry(x, e, &host);

		if (g == GRAIN_BAD)
			g = second_opinion(x, *grain_no, &host);
		if (g == GRAIN_BAD && !r->count)
			rc = bad_entry(x, table, *grain_no, e, err);
		else if (g == GRAIN_BAD || !join(x, r, g, host, 1))
			rc = 0;
		if (rc <= 0)
			break;
		++*grain_no;
	}
	table_cache_put(x->cache, p);
	return rc;
}

/* Grains from @grain_no on, before @end */
static int find_run(struct vmdk_extent *x, uint64_t grain_no, uint64_t end, struct run *r,
		    struct err *err)
{
	for (unsigned i = 0; grain_no < end && i < SLICES_JOINED; i++) {
		uint64_t table, left = x->gtes - grain_no % x->gtes;
		int rc;

		if (vmdk_table_at(x, grain_no / x->gtes, &table, err) < 0)
			return r->count ? 0 : -1;
		if (table) {
			rc = walk_slice(x, table, &grain_no, end, r, err);
		} else {
			rc = join(x, r, GRAIN_NONE, 0, left);
			grain_no += left;
		}
		if (rc < 0 && r->count)
			return 0;
		if (rc <= 0)
			return rc;
	}
	return 0;
}

static int answer_data(struct vmdk_extent *x, uint64_t grain_no, uint64_t in, uint64_t host,
		       struct extent *ret, struct err *err)
{
	ret->kind = EXTENT_DATA;
	ret->file = x->file;
	if (!x->compressed) {
		ret->codec = CODEC_NONE;
		ret->host_off = host + in;
		ret->host_len = ret->len;
		return 0;
	}
	ret->codec = x->packed_units ? CODEC_ZLIB : CODEC_OPAQUE;
	return vmdk_marker_read(x, host, grain_no, &ret->host_off, &ret->host_len, err);
}

int vmdk_tables_map(struct vmdk_extent *x, uint64_t off, uint64_t max, struct extent *ret,
		    struct err *err)
{
	uint64_t rel = off - x->start, in = rel & (x->grain - 1), grain_no = rel / x->grain;
	struct run r = {0};

	max = min_u64(max, x->len - rel);
	if (find_run(x, grain_no, div_up(rel + max, x->grain), &r, err) < 0)
		return -1;
	ret->off = off;
	ret->len = min_u64(max, r.count * x->grain - in);
	ret->codec = CODEC_NONE;
	ret->file = NULL;
	ret->host_off = ret->host_len = 0;
	if (r.kind == GRAIN_DATA)
		return answer_data(x, grain_no, in, r.host, ret, err);
	ret->kind = r.kind == GRAIN_ZERO ? EXTENT_ZERO : EXTENT_UNALLOCATED;
	return 0;
}
