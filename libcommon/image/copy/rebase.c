/* image_rebase(): what the old backing file has and the new one has not goes into the overlay. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/iszero.h"
#include "libcommon/base/pipeline.h"
#include "libcommon/base/stop.h"
#include "libcommon/image/copy/chain_private.h"
#include "libcommon/image/copy/parts.h"

enum { PIECE = 1 << 20 };

struct rebase_unit {
	uint64_t off, end;
	uint64_t len; /* whole clusters, but for the disk's end */
	bool zero;    /* all of it reads as zero now */
	uint8_t *old, *new;
};

struct rebasing {
	struct image *img, *base; /* base: the new one; NULL */
	uint64_t base_size;
	uint64_t cluster;
	struct progress *progress;
	bool dry_run;
	uint64_t pos; /* produce's */
	_Atomic uint64_t data_bytes, zero_bytes;
};

static int unit_begin(void *ctx, void *unit, struct err *err)
{
	struct rebase_unit *u = unit;
	const struct rebasing *r = ctx;
	size_t room = (size_t)max_u64(PIECE, r->cluster);

	u->old = malloc(room);
	u->new = malloc(room);
	return u->old && u->new ? 0 : err_nomem(err);
}

static void unit_end(void *ctx, void *unit)
{
	struct rebase_unit *u = unit;

	(void)ctx;
	free(u->old);
	free(u->new);
}

/* The next clusters that do not show the same by the look of the extents. A cluster that is not all of one kind
 * is compared whole: what the overlay holds itself is then written once more, which does no harm. */
static int produce(void *ctx, void *unit, struct err *err)
{
	struct rebasing *r = ctx;
	struct rebase_unit *u = unit;
	uint64_t size = image_size(r->img);

	while (r->pos < size) {
		enum pair_kind kind = PAIR_SAME;
		struct extent e;

		if (stop_check(err) < 0)
			return -1;
		if (plan_pair(r->img, r->base, r->base_size, r->pos, size - r->pos, &e, &kind,
			      err) < 0)
			return -1;

		bool own = e.depth == 0 && e.kind != EXTENT_UNALLOCATED;
		uint64_t whole = r->pos + e.len == size ? e.len : round_down(e.len, r->cluster);

		if (!r->base && kind == PAIR_ZERO)
			kind = PAIR_SAME;
		u->off = r->pos;
		u->zero = kind == PAIR_ZERO && whole;
		if (whole && !own && kind == PAIR_DATA)
			whole = min_u64(whole, max_u64(PIECE, r->cluster));
		u->len = whole ? whole : min_u64(r->cluster, size - r->pos);
		r->pos = u->end = u->off + u->len;
		if (!whole || (!own && kind != PAIR_SAME))
			return 1;
		progress_add(r->progress, u->len);
	}
	return 0;
}

static int work(void *ctx, void *unit, struct err *err)
{
	struct rebasing *r = ctx;
	struct rebase_unit *u = unit;
	size_t len = (size_t)u->len;
	uint64_t have = u->off < r->base_size ? min_u64(len, r->base_size - u->off) : 0;

	if (u->zero)
		return 0;
	if (image_read(r->img, u->old, u->off, len, err) < 0)
		return -1;
	memset(u->new + have, 0, len - (size_t)have);
	return have ? image_read(r->base, u->new, u->off, (size_t)have, err) : 0;
}

static int put(struct rebasing *r, const uint8_t *data, uint64_t off, uint64_t len, struct err *err)
{
	if (!data || is_zero(data, (size_t)len)) {
		r->zero_bytes += len;
		return r->dry_run ? 0 : image_write_zeroes(r->img, off, len, true, err);
	}
	r->data_bytes += len;
	return r->dry_run ? 0 : image_write(r->img, data, off, (size_t)len, err);
}

static int store(void *ctx, void *unit, struct err *err)
{
	struct rebasing *r = ctx;
	struct rebase_unit *u = unit;

	if (u->zero && put(r, NULL, u->off, u->len, err) < 0)
		return -1;
	for (uint64_t at = 0, n; !u->zero && at < u->len; at += n) {
		n = min_u64(u->len - at, r->cluster);
		if (memcmp(u->old + at, u->new + at, (size_t)n) != 0 &&
		    put(r, u->old + at, u->off + at, n, err) < 0)
			return -1;
	}
	progress_add(r->progress, u->end - u->off);
	return 0;
}

static int write_differences(struct image *img, struct image *base, const struct chain_opts *opts,
			     struct chain_stats *ret, struct err *err)
{
	static const struct pipeline_ops ops = {.unit_size = sizeof(struct rebase_unit),
						.unit_init = unit_begin,
						.unit_free = unit_end,
						.produce = produce,
						.work = work,
						.store = store};
	struct rebasing r = {.img = img,
			     .base = base,
			     .base_size = base ? image_size(base) : 0,
			     .cluster = max_u64(img->cluster_size, 512),
			     .progress = opts->progress,
			     .dry_run = opts->dry_run};

	progress_begin(opts->progress, "rebase", image_size(img));
	if (pipeline_run(&ops, &r, opts->threads, 0, err) < 0)
		return -1;
	ret->data_bytes = r.data_bytes;
	ret->zero_bytes = r.zero_bytes;
	/* What was written is durable before the header says that it is needed. */
	return opts->dry_run ? 0 : image_flush(img, err);
}

/* The new backing file must not lead to the overlay itself. */
static int refuse_loop(const struct image *img, struct image *base, struct err *err)
{
	for (struct image *layer = base; layer; layer = image_backing(layer)) {
		struct stat a, b;

		if (layer->file && layer->file->fd >= 0 && img->file->fd >= 0 &&
		    fstat(layer->file->fd, &a) == 0 && fstat(img->file->fd, &b) == 0 &&
		    same_inode(&a, &b))
			return err_set(err, ERR_USAGE, "the new backing file %s the image itself",
				       layer == base ? "is" : "leads to");
	}
	return 0;
}

static int open_new(const char *overlay, const char *backing, const char *format,
		    const struct chain_opts *opts, struct image **ret, const char **ret_format,
		    struct err *err)
{
	const struct copy_opts copy = {.allow_dirs = opts->allow_dirs,
				       .n_allow_dirs = opts->n_allow_dirs};
	struct bulk_params params = {.backing_name = backing, .backing_format = format};

	if (base_open(ret, overlay, &copy, &params, err) < 0)
		return -1;
	*ret_format = params.backing_format;
	return 0;
}

/* Formats that know the layer below by an ID of its content, which has to be of the same format */
static bool adopts(const struct image *img)
{
	return !image_can_set_backing(img) && image_can_adopt(img, false);
}

static int can_adopt(const struct image *img, const struct image *base, struct err *err)
{
	const char *f = image_format_name(img);

	if (base && !strcmp(image_format_name(base), f))
		return 0;
	err_set(err, ERR_UNSUPPORTED, "%s images need a backing file, and one of their own format",
		f);
	return err_hint(err, "vmimg convert makes an image without a backing file, or of another "
			     "format");
}

/* @base: open, or NULL where the format is content with a name */
static int name_backing(struct image *img, struct image *base, const char *backing,
			const char *format, struct err *err)
{
	bool same = img->backing_name && !strcmp(backing, img->backing_name);

	if (adopts(img))
		return image_adopt(img, base, same ? NULL : backing, err);
	return image_set_backing(img, *backing ? backing : NULL, format, err);
}

/* The header alone. A file that is not there, or must not be opened, is taken on the user's word. */
static int change_header(const char *name, const char *backing, const char *format,
			 const struct image_open_opts *open_opts, const struct chain_opts *opts,
			 struct chain_stats *ret, struct err *err)
{
	struct image *img, *base = NULL;
	char *kept = NULL;
	int rc = 0;

	if (image_open(&img, name, open_opts, err) < 0)
		return -1;
	ret->size = image_size(img);
	if (!backing && img->backing_name)
		backing = kept = strdup(img->backing_name);
	if (!backing)
		rc = img->backing_name ? err_nomem(err)
				       : err_set(err, ERR_USAGE, "has no backing file");
	if (rc == 0 && *backing && (!format || adopts(img)) &&
	    (rc = open_new(name, backing, format, opts, &base, &format, err)) < 0 && !format)
		err_hint(err, "-F FORMAT states the format of the backing file");
	if (rc == 0)
		rc = refuse_loop(img, base, err);
	if (rc == 0 && adopts(img))
		rc = can_adopt(img, base, err);
	if (rc == 0 && !opts->dry_run)
		rc = name_backing(img, base, backing, format, err);
	if (rc == 0)
		(void)snprintf(ret->backing, sizeof(ret->backing), "%s", backing);
	image_close(base);
	image_close(img);
	free(kept);
	return rc;
}

static int rebase(const char *name, const char *backing, const char *format,
		  struct image_open_opts *open_opts, const struct chain_opts *opts,
		  struct chain_stats *ret, struct err *err)
{
	struct image *img = NULL, *base = NULL;
	int rc;

	/* Reading first: the new chain can only be looked through for the image while that is not locked. */
	open_opts->flags = IMAGE_INFO;
	rc = image_open(&img, name, open_opts, err);
	if (rc == 0 && *backing)
		rc = open_new(name, backing, format, opts, &base, &format, err);
	if (rc == 0)
		rc = refuse_loop(img, base, err);
	image_close(img);
	img = NULL;
	open_opts->flags = IMAGE_RDWR;
	if (rc == 0)
		rc = image_open(&img, name, open_opts, err);
	if (rc == 0 && adopts(img) && image_can_adopt(img, true)) {
		rc = can_adopt(img, base, err);
	} else if (rc == 0 && !image_can_set_backing(img)) {
		rc = err_set(err, ERR_UNSUPPORTED,
			     "the backing file of %s images cannot be changed",
			     image_format_name(img));
		err_hint(err, "vmimg convert -B FILE makes a new overlay");
	}
	if (rc == 0)
		rc = chain_refuse_snapshots(img, err);
	if (rc == 0)
		rc = write_differences(img, base, opts, ret, err);
	if (rc == 0 && !opts->dry_run)
		rc = name_backing(img, base, backing, format, err);
	if (rc == 0) {
		ret->size = image_size(img);
		(void)snprintf(ret->backing, sizeof(ret->backing), "%s", backing);
	}
	image_close(img);
	image_close(base);
	return rc;
}

int image_rebase(const char *overlay, const char *backing, const char *backing_format,
		 const struct chain_opts *opts, struct chain_stats *ret, struct err *err)
{
	struct image_open_opts open_opts = {.format = opts->format,
					    .flags = IMAGE_RDWR | IMAGE_NO_BACKING,
					    .allow_dirs = opts->allow_dirs,
					    .n_allow_dirs = opts->n_allow_dirs};
	const struct image_format *f;
	int rc;

	*ret = (struct chain_stats){0};
	if (backing_format && image_format_find(&f, backing_format, err) < 0)
		return -1;
	if (!backing && !opts->header)
		return err_set(err, ERR_USAGE, "a backing file is wanted");
	rc = opts->header
		     ? change_header(overlay, backing, backing_format, &open_opts, opts, ret, err)
		     : rebase(overlay, backing, backing_format, &open_opts, opts, ret, err);
	return rc < 0 ? err_object(err, overlay) : 0;
}
