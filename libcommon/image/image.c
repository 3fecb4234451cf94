/* Reading, writing and asking a virtual disk: the calls of image.h after open. Opening: open.c. */
#include "libcommon/image/image.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/image/codec.h"
#include "libcommon/image/layers.h"

uint64_t image_size(const struct image *img)
{
	return img->size;
}

const char *image_name(const struct image *img)
{
	return img->name;
}

const char *image_format_name(const struct image *img)
{
	return img->format->name;
}

struct image *image_backing(const struct image *img)
{
	return img->backing;
}

bool image_is_stream(const struct image *img)
{
	return img->stream;
}

ssize_t image_read_stream(struct image *img, void *buf, size_t len, struct err *err)
{
	if (!img->stream)
		return err_set(err, ERR_USAGE, "%s is not a stream", img->name);
	return stream_read(img, buf, len, err);
}

static int check_range(const struct image *img, uint64_t off, uint64_t len, const char *what,
		       struct err *err)
{
	if (img->stream)
		err_set(err, ERR_USAGE, "a pipe can only be read in order");
	else if (!range_inside(off, len, img->size))
		err_set(err, ERR_USAGE,
			"cannot %s %" PRIu64 " bytes at offset %" PRIu64 ": the disk has %" PRIu64,
			what, len, off, img->size);
	else
		return 0;
	return err_object(err, img->name);
}

/* One layer's answer, held to the contract of map(). */
static int map_layer(struct image *layer, uint64_t off, uint64_t max, struct extent *ret,
		     struct err *err)
{
	*ret = (struct extent){.off = off};
	if (layer->format->map(layer, off, max, ret, err) < 0)
		return err_object(err, layer->name);
	if (ret->off != off || ret->len == 0 || ret->len > max)
		return err_set(err, ERR_FAILED,
			       "the %s driver mapped %" PRIu64 " bytes at %" PRIu64,
			       layer->format->name, ret->len, ret->off);
	return 0;
}

int image_extent(struct image *img, uint64_t off, uint64_t max, struct extent *ret, struct err *err)
{
	struct image *layer = img;
	unsigned depth = 0;

	if (check_range(img, off, 1, "map", err) < 0)
		return -1;
	max = min_u64(max ? max : 1, img->size - off);
	for (;; depth++) {
		if (map_layer(layer, off, max, ret, err) < 0)
			return -1;
		ret->depth = depth;
		ret->layer = layer;
		if (ret->kind != EXTENT_UNALLOCATED || !layer->backing)
			return 0;
		max = ret->len;
		if (off >= layer->backing->size)
			return 0; /* a shorter backing file reads as zero behind its end */
		layer = layer->backing;
		max = min_u64(max, layer->size - off);
	}
}

static int read_compressed(const struct extent *e, void *buf, size_t len, struct err *err)
{
	struct image *layer = e->layer;

	if (!layer->codec_cache || !e->file) {
		err_set(err, ERR_UNSUPPORTED, "compressed clusters in an image without clusters");
		return err_object(err, layer->name);
	}

	uint64_t start = round_down(e->off, layer->cluster_size);
	size_t at = (size_t)(e->off - start);
	size_t need = (size_t)min_u64(layer->cluster_size, layer->size - start);

	return codec_read(layer->codec_cache, e, need, buf, at, len, err);
}

/* A file may end inside its last cluster: the rest reads as zero. A cluster wholly behind the end is missing. */
static int read_plain(const struct extent *e, void *buf, size_t len, struct err *err)
{
	uint64_t size = bfile_size(e->file);
	uint64_t unit = max_u64(e->layer->cluster_size, 1), first = e->host_off, end, last;

	if (!u64_add(first, len, &end)) {
		err_set(err, ERR_CORRUPT, "data lie at offset %" PRIu64, first);
		return err_object(err, e->file->name);
	}
	if (end <= size)
		return bfile_pread(e->file, buf, len, first, err);
	last = is_pow2(unit) ? round_down(end - 1, unit) : end - 1;
	if (last >= size) {
		err_set(err, ERR_CORRUPT,
			"file ends at offset %" PRIu64 ", data of the disk at %" PRIu64
			" lie behind it, at %" PRIu64,
			size, e->off, max_u64(first, size));
		return err_object(err, e->file->name);
	}
	return bfile_pread_padded(e->file, buf, len, first, err);
}

static int read_extent(const struct extent *e, void *buf, size_t len, struct err *err)
{
	if (e->kind != EXTENT_DATA) {
		memset(buf, 0, len);
		return 0;
	}
	switch (e->codec) {
	case CODEC_NONE:
		if (e->file)
			return read_plain(e, buf, len, err);
		/* fall through */
	case CODEC_OPAQUE:
		if (e->layer->format->read_encoded)
			return e->layer->format->read_encoded(e->layer, e, buf, e->off, len, err);
		err_set(err, ERR_UNSUPPORTED, "this data cannot be decoded");
		return err_object(err, e->layer->name);
	case CODEC_DEFLATE:
	case CODEC_ZLIB:
	case CODEC_ZSTD:
		break;
	}
	return read_compressed(e, buf, len, err);
}

int image_read(struct image *img, void *buf, uint64_t off, size_t len, struct err *err)
{
	uint8_t *p = buf;

	if (check_range(img, off, len, "read", err) < 0)
		return -1;
	while (len) {
		struct extent e;

		if (image_extent(img, off, len, &e, err) < 0 ||
		    read_extent(&e, p, (size_t)e.len, err) < 0)
			return -1;
		p += e.len;
		off += e.len;
		len -= (size_t)e.len;
	}
	return 0;
}

static int check_write(const struct image *img, uint64_t off, uint64_t len, const char *what,
		       struct err *err)
{
	if (!(img->flags & IMAGE_RDWR)) {
		err_set(err, ERR_USAGE, "is open for reading only");
		return err_object(err, img->name);
	}
	if (!img->format->write) {
		err_set(err, ERR_UNSUPPORTED, "%s images cannot be written to in place",
			img->format->name);
		return err_object(err, img->name);
	}
	return check_range(img, off, len, what, err);
}

static int named(const struct image *img, int r, struct err *err)
{
	return r < 0 ? err_object(err, img->name) : 0;
}

int image_write(struct image *img, const void *buf, uint64_t off, size_t len, struct err *err)
{
	if (check_write(img, off, len, "write", err) < 0)
		return -1;
	if (!len)
		return 0;

	int r = img->format->write(img, buf, off, len, err);

	/* Space of a compressed cluster may be given to another one now. */
	codec_cache_drop(img->codec_cache);
	return named(img, r, err);
}

int image_write_zeroes(struct image *img, uint64_t off, uint64_t len, bool may_unmap,
		       struct err *err)
{
	static const uint8_t zeros[64 << 10];
	int r = 0;

	if (check_write(img, off, len, "zero", err) < 0)
		return -1;
	if (len && img->format->write_zeroes) {
		r = img->format->write_zeroes(img, off, len, may_unmap, err);
		len = 0;
	}
	while (len && r == 0) {
		size_t n = (size_t)min_u64(len, sizeof(zeros));

		r = img->format->write(img, zeros, off, n, err);
		off += n;
		len -= n;
	}
	codec_cache_drop(img->codec_cache);
	return named(img, r, err);
}

int image_discard(struct image *img, uint64_t off, uint64_t len, struct err *err)
{
	if (check_write(img, off, len, "discard", err) < 0)
		return -1;
	if (!len || !img->format->discard)
		return 0;

	int r = img->format->discard(img, off, len, err);

	codec_cache_drop(img->codec_cache);
	return named(img, r, err);
}

int image_flush(struct image *img, struct err *err)
{
	if (!(img->flags & IMAGE_RDWR) || img->stream)
		return 0;
	return named(img,
		     img->format->flush ? img->format->flush(img, err)
					: bfile_flush(img->file, err),
		     err);
}

int image_settle(struct image *img, struct err *err)
{
	if (!(img->flags & IMAGE_RDWR) || !img->format->settle)
		return image_flush(img, err);
	return named(img, img->format->settle(img, err), err);
}

int image_resize(struct image *img, uint64_t size, struct err *err)
{
	if (check_write(img, 0, 0, "resize", err) < 0)
		return -1;
	if (!img->format->resize) {
		err_set(err, ERR_UNSUPPORTED, "%s images cannot be resized", img->format->name);
		return err_object(err, img->name);
	}
	if (size > INT64_MAX) {
		err_set(err, ERR_USAGE, "%" PRIu64 " bytes are more than a disk can have", size);
		return err_object(err, img->name);
	}
	return named(img, img->format->resize(img, size, err), err);
}

bool image_can_forget(const struct image *img)
{
	return img->format->forget;
}

bool image_can_set_backing(const struct image *img)
{
	return img->format->set_backing;
}

bool image_can_adopt(const struct image *img, bool by_name)
{
	return img->format->adopt && !(by_name && img->format->backing_unnamed);
}

int image_check_base(struct image *img, struct image *base, struct err *err)
{
	int rc = 0;

	if (img->format->check_backing && base->format == img->format) {
		img->backing = base;
		rc = img->format->check_backing(img, err);
		img->backing = NULL;
	}
	return named(img, rc, err);
}

int image_adopt(struct image *img, struct image *base, const char *name, struct err *err)
{
	if (check_write(img, 0, 0, "change", err) < 0)
		return -1;
	if (!img->format->adopt || base->format != img->format) {
		err_set(err, ERR_UNSUPPORTED, "%s images do not know %s images by their content",
			img->format->name, base->format->name);
		return err_object(err, img->name);
	}
	/* What it is now, first: that it can be done is known, and the next one takes the fewest steps */
	if (img->format->adopt(img, base, name, err) < 0)
		return named(img, -1, err);
	if (!(base->flags & IMAGE_RDWR))
		return 0;
	if (base->format->write(base, "", 0, 0, err) < 0)
		return named(base, -1, err);
	return named(img, img->format->adopt(img, base, name, err), err);
}

int image_forget(struct image *img, uint64_t off, uint64_t len, struct err *err)
{
	if (check_write(img, off, len, "forget", err) < 0)
		return -1;
	if (!img->format->forget) {
		err_set(err, ERR_UNSUPPORTED, "%s images cannot forget what was written",
			img->format->name);
		return err_object(err, img->name);
	}

	int r = len ? img->format->forget(img, off, len, err) : 0;

	codec_cache_drop(img->codec_cache);
	return named(img, r, err);
}

int image_set_backing(struct image *img, const char *name, const char *format, struct err *err)
{
	if (check_write(img, 0, 0, "change", err) < 0)
		return -1;
	if (!img->format->set_backing) {
		err_set(err, ERR_UNSUPPORTED, "the backing file of %s images cannot be changed",
			img->format->name);
		return err_object(err, img->name);
	}
	return named(img, img->format->set_backing(img, name, format, err), err);
}

/* Sets @key to @value, which is consumed; NULL when there was no memory for it. */
static int put(json_t *obj, const char *key, json_t *value, struct err *err)
{
	return json_object_set_new(obj, key, value) < 0 ? err_nomem(err) : 0;
}

/* Names of the file system and of headers are bytes, JSON is UTF-8: what is not becomes printable. */
static json_t *text(const char *s)
{
	json_t *j = json_string(s);

	if (j)
		return j;

	size_t n = strlen(s);
	CLEANUP_FREE char *copy = malloc(n + 1);

	if (!copy)
		return NULL;
	for (size_t i = 0; i <= n; i++)
		copy[i] = (unsigned char)s[i] < 0x80 ? s[i] : '?';
	return json_string(copy);
}

static int info_backing(struct image *img, json_t *obj, struct err *err)
{
	if (!img->backing_name)
		return 0;
	if (put(obj, "backing_file", text(img->backing_name), err) < 0)
		return -1;
	if (img->backing_format && put(obj, "backing_format", text(img->backing_format), err) < 0)
		return -1;

	/* Where QEMU would look for it; said, not opened. */
	const char *name =
		strncmp(img->backing_name, "file:", 5) ? img->backing_name : img->backing_name + 5;
	const char *slash = img->path ? strrchr(img->path, '/') : NULL;
	CLEANUP_FREE char *full = NULL;

	if (img->backing)
		return put(obj, "backing_path", text(img->backing->name), err);
	if (name[strcspn(name, ":/")] == ':')
		return 0;
	if (name[0] != '/' && slash &&
	    asprintf(&full, "%.*s/%s", (int)(slash - img->path), img->path, name) < 0)
		return err_nomem(err);
	return put(obj, "backing_path", text(full ? full : name), err);
}

int image_info(struct image *img, json_t **ret, struct err *err)
{
	json_t *obj = json_object();

	if (!obj)
		return err_nomem(err);
	if (put(obj, "name", text(img->name), err) < 0 ||
	    put(obj, "format", json_string(img->format->name), err) < 0)
		goto failed;
	if (img->size != IMAGE_SIZE_UNKNOWN &&
	    put(obj, "virtual_size", json_integer((json_int_t)img->size), err) < 0)
		goto failed;
	if (img->file &&
	    (put(obj, "actual_size", json_integer((json_int_t)bfile_allocated(img->file)), err) <
		     0 ||
	     put(obj, "file_size", json_integer((json_int_t)bfile_size(img->file)), err) < 0))
		goto failed;
	if (img->cluster_size && put(obj, "cluster_size", json_integer(img->cluster_size), err) < 0)
		goto failed;
	if (info_backing(img, obj, err) < 0)
		goto failed;
	if (img->format->info && !img->stream && img->format->info(img, obj, err) < 0) {
		err_object(err, img->name);
		goto failed;
	}
	*ret = obj;
	return 0;
failed:
	json_decref(obj);
	return -1;
}

int image_check(struct image *img, unsigned flags, void (*report)(void *ctx, const char *sentence),
		void *ctx, struct image_check_result *ret, struct err *err)
{
	*ret = (struct image_check_result){0};
	if (img->stream || !img->format->check) {
		err_set(err, ERR_UNSUPPORTED, "%s images have nothing to check", img->format->name);
		return err_object(err, img->name);
	}
	if ((flags & (CHECK_REPAIR_LEAKS | CHECK_REPAIR_ALL)) && !(img->flags & IMAGE_RDWR)) {
		err_set(err, ERR_USAGE, "is open for reading only");
		return err_object(err, img->name);
	}
	return named(img, img->format->check(img, flags, report, ctx, ret, err), err);
}
