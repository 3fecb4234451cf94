/* Another size for a disk of one extent, flat or hosted sparse. What is new is durable before the header names it; the
 * descriptor, which may say less than the extent has, is last when a disk grows and first when it shrinks.
 *
 * A grain directory that is too short is made anew at the end of the file, with the tables it had and empty ones behind
 * them: grains do not move.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/stop.h"
#include "libcommon/image/cache.h"
#include "libcommon/image/format/vmdk/write.h"

/* ---- the descriptor */

/* Behind "KEY = \"" at the beginning of a line; NULL: there is none */
static char *value_of(char *text, const char *key)
{
	size_t n = strlen(key);

	for (char *p = text; p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL) {
		char *v = p + n;

		if (strncmp(p, key, n) != 0)
			continue;
		v += strspn(v, " \t");
		if (*v++ != '=')
			continue;
		v += strspn(v, " \t");
		return *v == '"' ? v + 1 : NULL;
	}
	return NULL;
}

/* Only old guests look at it */
static uint64_t cylinders_of(char *text, uint64_t sectors)
{
	const char *h = value_of(text, "ddb.geometry.heads"),
		   *s = value_of(text, "ddb.geometry.sectors");
	uint64_t heads = h ? strtoull(h, NULL, 10) : 0, per_track = s ? strtoull(s, NULL, 10) : 0;

	if (!heads || !per_track || heads > 255 || per_track > 63)
		return 0;
	sectors /= heads * per_track;
	return heads == 16 ? min_u64(sectors, 16383) : max_u64(sectors, 1);
}

/* "RW 2048 SPARSE ..." of the only extent: where its number is */
static char *extent_number(char *text)
{
	for (char *p = text; p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL) {
		char *v = p + strspn(p, " \t");

		if (strncasecmp(v, "RW", 2) != 0 || (v[2] != ' ' && v[2] != '\t'))
			continue;
		v += 2;
		v += strspn(v, " \t");
		if (*v >= '0' && *v <= '9')
			return v;
	}
	return NULL;
}

/* @text with the digits at @at replaced; owned */
static char *with_number(const char *text, const char *at, uint64_t n)
{
	char *ret;

	if (asprintf(&ret, "%.*s%" PRIu64 "%s", (int)(at - text), text, n,
		     at + strspn(at, "0123456789")) < 0)
		return NULL;
	return ret;
}

/* The descriptor's text for a disk of @size bytes; *@ret is owned. @ret_old: how long it was */
static int describe(struct image *img, uint64_t size, char **ret, size_t *ret_old, struct err *err)
{
	const struct vmdk *v = img->priv;
	size_t room = (size_t)v->desc_room;
	CLEANUP_FREE char *text = malloc(room + 1), *sized = NULL;
	uint64_t cylinders;
	char *at;

	if (!text)
		return err_nomem(err);
	if (bfile_pread(img->file, text, room, v->desc_off, err) < 0)
		return -1;
	text[room] = '\0';
	*ret_old = strlen(text);
	at = extent_number(text);
	if (!at)
		return err_set(err, ERR_UNSUPPORTED,
			       "the descriptor has no size that can be changed");
	sized = with_number(text, at, size / VMDK_SECTOR);
	if (!sized)
		return err_nomem(err);
	cylinders = cylinders_of(sized, size / VMDK_SECTOR);
	at = value_of(sized, "ddb.geometry.cylinders");
	*ret = cylinders && at ? with_number(sized, at, cylinders) : strdup(sized);
	if (!*ret)
		return err_nomem(err);
	/* An embedded one has its sectors and no more */
	if (v->extents[0].file == img->file && strlen(*ret) > room) {
		free(*ret);
		return err_set(err, ERR_UNSUPPORTED, "the descriptor has no room for the new size");
	}
	return 0;
}

int vmdk_put_descriptor(struct image *img, const char *text, size_t old, struct err *err)
{
	struct vmdk *v = img->priv;
	size_t len = strlen(text), all = len > old ? len : old;
	CLEANUP_FREE char *padded = calloc(1, all + 1);
	bool embedded = v->extents[0].file == img->file;

	if (!padded)
		return err_nomem(err);
	memcpy(padded, text, len);
	if (bfile_pwrite(img->file, padded, embedded ? all : len, v->desc_off, err) < 0)
		return -1;
	if (!embedded) {
		if (len < old && bfile_truncate(img->file, len, err) < 0)
			return -1;
		v->desc_room = len;
	}
	return bfile_flush(img->file, err);
}

/* ---- sparse extents */

static int put_header(struct vmdk_extent *x, const struct vmdk_header *h, struct err *err)
{
	uint8_t sector[VMDK_SECTOR];

	vmdk_header_encode(h, sector);
	if (bfile_flush(x->file, err) < 0 ||
	    bfile_pwrite(x->file, sector, sizeof(sector), 0, err) < 0)
		return -1;
	return bfile_flush(x->file, err);
}

/* The rest of the last grain may hold anything, and will be seen */
static int clear_tail(struct image *img, struct vmdk_extent *x, struct err *err)
{
	uint64_t in = img->size & (x->grain - 1), start = img->size - in;
	struct extent e;

	if (!in)
		return 0;
	if (vmdk_map(img, start, in, &e, err) < 0)
		return -1;
	return e.kind == EXTENT_DATA
		       ? bfile_zero(x->file, e.host_off + in, x->grain - in, true, err)
		       : 0;
}

/* A directory of @entries at *@end, which moves behind it: the @old tables of the one at @from, then new ones, all zero */
static int new_directory(struct vmdk_extent *x, uint64_t from, uint64_t old, uint64_t entries,
			 uint64_t *end, uint64_t *ret, struct err *err)
{
	uint64_t bytes = round_up(4 * entries, VMDK_SECTOR), table = 4ULL * x->gtes,
		 tables = *end + bytes, all = tables + (entries - old) * table;
	CLEANUP_FREE uint8_t *dir = calloc(1, (size_t)bytes);

	if (!dir)
		return err_nomem(err);
	if (all / VMDK_SECTOR > UINT32_MAX)
		return err_set(err, ERR_UNSUPPORTED, "a sparse extent cannot be longer than 2 TiB");
	if (bfile_pread(x->file, dir, (size_t)(4 * old), from, err) < 0)
		return -1;
	for (uint64_t i = old; i < entries; i++)
		put_le32(dir + 4 * i, (uint32_t)((tables + (i - old) * table) / VMDK_SECTOR));
	if (bfile_size(x->file) < all && bfile_truncate(x->file, all, err) < 0)
		return -1;
	if (bfile_zero(x->file, tables, all - tables, false, err) < 0 ||
	    bfile_pwrite(x->file, dir, (size_t)bytes, *end, err) < 0)
		return -1;
	*ret = *end;
	*end = round_up(all, VMDK_SECTOR);
	return 0;
}

static int grow_sparse(struct image *img, struct vmdk_extent *x, uint64_t size, struct err *err)
{
	struct vmdk *v = img->priv;
	struct vmdk_header h = x->h;
	uint64_t entries = div_up(size, x->grain * x->gtes), old = x->gd_entries,
		 end = vmdk_extent_end(v, 0), gd = x->gd_off, rgd = x->rgd_off;

	if (entries > UINT32_MAX / 4)
		return err_set(err, ERR_UNSUPPORTED, "a sparse extent of %" PRIu64 " tables",
			       entries);
	if (clear_tail(img, x, err) < 0)
		return -1;
	if (entries > old) {
		if ((rgd && new_directory(x, x->rgd_off, old, entries, &end, &rgd, err) < 0) ||
		    new_directory(x, x->gd_off, old, entries, &end, &gd, err) < 0)
			return -1;
		h.gd_offset = gd / VMDK_SECTOR;
		h.rgd_offset = rgd / VMDK_SECTOR;
		h.flags = rgd ? h.flags | VMDK_RGD : h.flags & ~(uint32_t)VMDK_RGD;
		vmdk_set_extent_end(v, 0, end);
	}
	h.capacity = max_u64(h.capacity, size / VMDK_SECTOR);
	h.unclean = 1;
	if (put_header(x, &h, err) < 0)
		return -1;
	x->h = h;
	x->gd_off = gd;
	x->rgd_off = rgd;
	x->gd_entries = max_u64(entries, old);
	x->capacity = h.capacity * VMDK_SECTOR;
	table_cache_drop(x->cache);
	return 0;
}

/* What lies beyond must not come back when the disk grows again; its grains stay where they are, unused. */
static int shrink_sparse(struct image *img, struct vmdk_extent *x, uint64_t size, struct err *err)
{
	struct vmdk_header h = x->h;
	uint64_t from = round_up(size, x->grain), end = round_up(img->size, x->grain);

	for (uint64_t off = from; off < end; off += x->grain)
		if ((off % (x->grain * x->gtes) == 0 && stop_check(err) < 0) ||
		    vmdk_forget_grain(x, off / x->grain, err) < 0)
			return -1;
	h.capacity = size / VMDK_SECTOR;
	h.unclean = 1;
	if (put_header(x, &h, err) < 0)
		return -1;
	x->h = h;
	x->capacity = size;
	x->gd_entries = div_up(size, x->grain * x->gtes);
	return 0;
}

/* ---- flat extents */

static int grow_flat(struct image *img, struct vmdk_extent *x, uint64_t size, struct err *err)
{
	uint64_t have = bfile_size(x->file);

	if (have > img->size &&
	    bfile_zero(x->file, img->size, min_u64(have, size) - img->size, true, err) < 0)
		return -1;
	if (have < size && bfile_truncate(x->file, size, err) < 0)
		return -1;
	return bfile_flush(x->file, err);
}

static int change(struct image *img, struct vmdk_extent *x, uint64_t size, const char *text,
		  size_t old, struct err *err)
{
	bool flat = x->kind == VMDK_FLAT;

	if (size > img->size)
		return (flat ? grow_flat(img, x, size, err) : grow_sparse(img, x, size, err)) < 0
			       ? -1
			       : vmdk_put_descriptor(img, text, old, err);
	if (vmdk_put_descriptor(img, text, old, err) < 0)
		return -1;
	return flat ? bfile_truncate(x->file, size, err) : shrink_sparse(img, x, size, err);
}

int vmdk_resize(struct image *img, uint64_t size, struct err *err)
{
	struct vmdk *v = img->priv;
	struct vmdk_extent *x = &v->extents[0];
	CLEANUP_FREE char *text = NULL;
	size_t old = 0;

	if (size % VMDK_SECTOR || !size)
		return err_set(err, ERR_USAGE, "%" PRIu64 " bytes are not a number of sectors",
			       size);
	if (v->n_extents != 1 || v->d.n_lines != 1 || x->start || x->flat_off)
		return err_set(err, ERR_UNSUPPORTED, "a disk of several extents is not resized");
	if (v->d.parent_cid != VMDK_NO_PARENT)
		return err_set(err, ERR_UNSUPPORTED,
			       "a disk with a parent has the size of its parent");
	if (size == img->size)
		return 0;
	if (describe(img, size, &text, &old, err) < 0 || vmdk_begin_change(img, err) < 0 ||
	    change(img, x, size, text, old, err) < 0)
		return -1;
	v->d.lines[0].sectors = size / VMDK_SECTOR;
	x->len = img->size = size;
	x->memo_start = x->memo_end = 0;
	return 0;
}
