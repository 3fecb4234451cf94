/* The extents of a disk: opening what the descriptor lists, flat ones, and which one an offset lies in. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/log.h"
#include "libcommon/image/cache.h"
#include "libcommon/image/codec.h"
#include "libcommon/image/format/vmdk/vmdk.h"

/* Slices of tables kept for all extents together: 4 MiB, which map 64 GiB of 64 KiB grains. */
enum { SLICE = 4096, SLICES = 1024 };

/* The name for messages: from a header, so without control bytes */
static int prefix_name(const char *name, struct err *err)
{
	char shown[160];
	size_t i;

	for (i = 0; name[i] && i + 1 < sizeof(shown); i++)
		shown[i] = (unsigned char)name[i] < 0x20 || name[i] == 0x7f ? '?' : name[i];
	shown[i] = '\0';
	return err_prefix(err, "extent %s", shown);
}

/* Each file once: partitions of a disk may be flat extents of one file */
static int open_file(struct image *img, const struct image_open_opts *opts, const char *name,
		     bool writable, struct bfile **ret, struct err *err)
{
	struct vmdk *v = img->priv;
	struct bfile *file = NULL;

	for (size_t i = 0; i < v->n_files; i++)
		if (!strcmp(v->file_names[i], name)) {
			*ret = v->files[i];
			return 0;
		}
	if (!v->files) {
		v->files = calloc(v->d.n_lines, sizeof(struct bfile *));
		v->file_names = calloc(v->d.n_lines, sizeof(char *));
	}

	char *copy = strdup(name);

	if (!v->files || !v->file_names || !copy) {
		free(copy);
		return err_nomem(err);
	}
	if (image_open_named(img, opts, name, writable, &file, err) < 0) {
		free(copy);
		return prefix_name(name, err);
	}
	v->file_names[v->n_files] = copy;
	*ret = v->files[v->n_files++] = file;
	return 0;
}

static int check_flat(const struct vmdk_extent *x, struct err *err)
{
	uint64_t size = bfile_size(x->file);

	if (range_inside(x->flat_off, x->len, size))
		return 0;
	return err_set(err, ERR_CORRUPT,
		       "has %" PRIu64 " bytes, the descriptor says %" PRIu64 " at offset %" PRIu64,
		       size, x->len, x->flat_off);
}

static int open_kind(struct vmdk_extent *x, bool full, struct err *err)
{
	switch (x->kind) {
	case VMDK_ZERO:
		return 0;
	case VMDK_FLAT:
		return check_flat(x, err);
	case VMDK_SPARSE:
		return vmdk_sparse_open(x, full, err);
	case VMDK_COWD:
		return vmdk_cowd_open(x, full, err);
	case VMDK_SESPARSE:
		break;
	}
	return vmdk_sesparse_open(x, full, err);
}

static int open_line(struct image *img, const struct image_open_opts *opts,
		     const struct vmdk_line *l, struct vmdk_extent *x, struct err *err)
{
	bool writable = (img->flags & IMAGE_RDWR) && l->access == VMDK_RW;

	x->flat_off = l->offset * VMDK_SECTOR;
	if (l->kind == VMDK_ZERO || (img->flags & IMAGE_INFO))
		return 0;
	if (l->access == VMDK_NOACCESS)
		return err_set(err, ERR_UNSUPPORTED, "an extent may not be accessed (NOACCESS)");
	if (open_file(img, opts, l->name, writable, &x->file, err) < 0)
		return -1;
	if (open_kind(x, true, err) < 0)
		return prefix_name(l->name, err);
	if (x->kind != VMDK_FLAT && x->capacity < x->len) {
		err_set(err, ERR_CORRUPT, "has %" PRIu64 " bytes, the descriptor says %" PRIu64,
			x->capacity, x->len);
		return prefix_name(l->name, err);
	}
	return 0;
}

int vmdk_extents_open(struct image *img, const struct image_open_opts *opts, struct err *err)
{
	struct vmdk *v = img->priv;
	uint64_t start = 0;

	if (!v->d.n_lines)
		return err_set(err, ERR_CORRUPT, "the descriptor lists no extents");
	v->extents = calloc(v->d.n_lines, sizeof(*v->extents));
	if (!v->extents)
		return err_nomem(err);
	for (size_t i = 0; i < v->d.n_lines; i++) {
		const struct vmdk_line *l = &v->d.lines[i];
		struct vmdk_extent *x = &v->extents[v->n_extents];

		if (!l->sectors)
			continue;
		x->kind = l->kind;
		x->access = l->access;
		x->start = start;
		x->len = l->sectors * VMDK_SECTOR;
		if (!u64_add(start, x->len, &start) || start > INT64_MAX)
			return err_set(err, ERR_CORRUPT, "the extents are too long together");
		v->n_extents++;
		if (open_line(img, opts, l, x, err) < 0)
			return -1;
	}
	img->size = start;
	return 0;
}

void vmdk_extents_close(struct vmdk *v)
{
	for (size_t i = 0; i < v->n_extents; i++)
		table_cache_free(v->extents[i].cache);
	for (size_t i = 0; i < v->n_files; i++) {
		bfile_close(v->files[i]);
		free(v->file_names[i]);
	}
	free(v->files);
	free(v->file_names);
	free(v->extents);
}

/* Core decodes units that lie on one grid over the whole disk; others are decoded here. */
static void set_grid(struct image *img, const struct vmdk *v)
{
	for (size_t i = 0; i < v->n_extents; i++)
		if (v->extents[i].grain > img->cluster_size)
			img->cluster_size = (uint32_t)v->extents[i].grain;
	for (size_t i = 0; i < v->n_extents; i++) {
		struct vmdk_extent *x = &v->extents[i];
		uint64_t end = x->start + x->len;

		x->packed_units = x->compressed && x->grain == img->cluster_size &&
				  !(x->start & (x->grain - 1)) &&
				  (!(end & (x->grain - 1)) || end == img->size);
	}
}

int vmdk_extent_caches(struct image *img, struct err *err)
{
	struct vmdk *v = img->priv;
	unsigned slices = (unsigned)max_u64(SLICES / max_u64(v->n_extents, 1), 2);

	set_grid(img, v);
	for (size_t i = 0; i < v->n_extents; i++) {
		struct vmdk_extent *x = &v->extents[i];

		if (x->grain && x->file &&
		    table_cache_new(&x->cache, x->file, SLICE, slices, err) < 0)
			return -1;
	}
	return 0;
}

struct vmdk_extent *vmdk_extent_at(const struct vmdk *v, uint64_t off)
{
	size_t a = 0, b = v->n_extents;

	while (b - a > 1) {
		size_t m = a + (b - a) / 2;

		if (v->extents[m].start <= off)
			a = m;
		else
			b = m;
	}
	return &v->extents[a];
}

static int flat_map(struct vmdk *v, struct vmdk_extent *x, uint64_t off, uint64_t max,
		    struct extent *ret, struct err *err)
{
	uint64_t at = x->flat_off + (off - x->start), len;
	bool data, known;

	pthread_mutex_lock(&v->flat_lock);
	known = at >= x->memo_start && at < x->memo_end;
	data = x->memo_data;
	len = x->memo_end - at;
	pthread_mutex_unlock(&v->flat_lock);
	if (!known) {
		/* To the end of the extent: the rest will be asked for next. */
		if (bfile_map(x->file, at, x->start + x->len - off, &data, &len, err) < 0)
			return -1;
		pthread_mutex_lock(&v->flat_lock);
		x->memo_start = at;
		x->memo_end = v->writer ? at : at + len; /* what is written to changes */
		x->memo_data = data;
		pthread_mutex_unlock(&v->flat_lock);
	}
	ret->off = off;
	ret->len = min_u64(min_u64(max, len), x->start + x->len - off);
	ret->kind = data ? EXTENT_DATA : EXTENT_ZERO;
	ret->codec = CODEC_NONE;
	ret->file = data ? x->file : NULL;
	ret->host_off = data ? at : 0;
	ret->host_len = data ? ret->len : 0;
	return 0;
}

int vmdk_map(struct image *img, uint64_t off, uint64_t max, struct extent *ret, struct err *err)
{
	struct vmdk *v = img->priv;
	struct vmdk_extent *x = vmdk_extent_at(v, off);

	max = min_u64(max, x->start + x->len - off);
	if (x->kind == VMDK_FLAT)
		return flat_map(v, x, off, max, ret, err);
	if (x->kind != VMDK_ZERO) {
		if (vmdk_tables_map(x, off, max, ret, err) < 0)
			return x->file != img->file ? err_object(err, x->file->name) : -1;
		return 0;
	}
	*ret = (struct extent){.off = off, .len = max, .kind = EXTENT_ZERO};
	return 0;
}

/* Compressed grains off the grid: rare enough to do without a cache. */
int vmdk_read_encoded(struct image *img, const struct extent *e, void *buf, uint64_t off,
		      size_t len, struct err *err)
{
	struct vmdk_extent *x = vmdk_extent_at(img->priv, off);
	size_t at = (size_t)((off - x->start) & (x->grain - 1)), got = 0;
	size_t need = (size_t)min_u64(x->grain, x->len - (off - x->start - at));
	uint8_t *packed = malloc(e->host_len), *plain = malloc(x->grain);
	int rc = -1;

	if (!packed || !plain)
		err_nomem(err);
	else if (bfile_pread_padded(x->file, packed, (size_t)e->host_len, e->host_off, err) == 0 &&
		 codec_decode(CODEC_ZLIB, packed, (size_t)e->host_len, plain, x->grain, &got,
			      err) == 0)
		rc = got < need ? err_set(err, ERR_CORRUPT,
					  "grain at offset %" PRIu64 " decodes to %zu bytes",
					  e->host_off, got)
				: 0;
	if (rc == 0)
		memcpy(buf, plain + at, len);
	free(packed);
	free(plain);
	return rc;
}
