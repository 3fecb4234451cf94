/* image_commit(): the overlay's own extents into its backing file. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/pipeline.h"
#include "libcommon/base/stop.h"
#include "libcommon/image/copy/chain_private.h"
#include "libcommon/image/layers.h"

enum { PIECE = 1 << 20 };

struct commit_unit {
	uint64_t off, end; /* end: progress counts what was passed over */
	size_t len;
	bool zero; /* zlen bytes */
	uint64_t zero_len;
	uint8_t *buf;
};

struct committing {
	struct image *overlay, *base;
	struct progress *progress;
	uint64_t pos; /* produce's */
	_Atomic uint64_t data_bytes, zero_bytes;
	bool adopted; /* the overlay knows the base by what that is since the first write */
};

static int unit_begin(void *ctx, void *unit, struct err *err)
{
	struct commit_unit *u = unit;

	(void)ctx;
	u->buf = malloc(PIECE);
	return u->buf ? 0 : err_nomem(err);
}

static void unit_end(void *ctx, void *unit)
{
	(void)ctx;
	free(((struct commit_unit *)unit)->buf);
}

static int produce(void *ctx, void *unit, struct err *err)
{
	struct committing *c = ctx;
	struct commit_unit *u = unit;
	uint64_t size = image_size(c->overlay);

	while (c->pos < size) {
		struct extent e;

		if (stop_check(err) < 0 ||
		    image_extent(c->overlay, c->pos, size - c->pos, &e, err) < 0)
			return -1;
		u->off = c->pos;
		u->zero = e.kind == EXTENT_ZERO;
		u->zero_len = e.len;
		u->len = (size_t)min_u64(e.len, PIECE);
		c->pos += e.kind == EXTENT_DATA ? u->len : e.len;
		u->end = c->pos;
		if (e.kind != EXTENT_UNALLOCATED)
			return 1;
		progress_add(c->progress, e.len);
	}
	return 0;
}

static int work(void *ctx, void *unit, struct err *err)
{
	struct committing *c = ctx;
	struct commit_unit *u = unit;

	if (u->zero)
		return 0;
	return image_read(c->overlay, u->buf, u->off, u->len, err);
}

/* Before the first write. Some formats know the layer below by an ID of its content, which that changes. The overlay takes
 * the new one at once: it can be read, and this be done again, whatever ends it. */
static int adopt(struct committing *c, struct err *err)
{
	if (c->adopted || !image_can_adopt(c->overlay, false))
		return 0;
	if (image_adopt(c->overlay, c->base, NULL, err) < 0)
		return -1;
	c->adopted = true;
	return 0;
}

static int store(void *ctx, void *unit, struct err *err)
{
	struct committing *c = ctx;
	struct commit_unit *u = unit;

	if (adopt(c, err) < 0)
		return -1;
	if (u->zero) {
		c->zero_bytes += u->zero_len;
		if (image_write_zeroes(c->base, u->off, u->zero_len, true, err) < 0)
			return -1;
	} else {
		c->data_bytes += u->len;
		if (image_write(c->base, u->buf, u->off, u->len, err) < 0)
			return -1;
	}
	progress_add(c->progress, u->end - u->off);
	return 0;
}

/* What an internal snapshot shows of the backing file would change with it, unseen. */
int chain_refuse_snapshots(struct image *img, struct err *err)
{
	json_t *info, *list;

	if (image_info(img, &info, err) < 0)
		return -1;
	list = json_object_get(info, "snapshots");

	size_t n = list ? json_array_size(list) : 0;

	json_decref(info);
	if (n == 0)
		return 0;
	err_set(err, ERR_UNSUPPORTED, "has internal snapshots, which would show something else");
	return err_object(err, image_name(img));
}

/* The layer below, open for writing, found by the rules of every chain */
static int open_base(const struct image *overlay, const char *format,
		     const struct image_open_opts *open_opts, struct image **ret, struct err *err)
{
	struct image_open_opts opts = *open_opts;
	struct bfile *file;
	char *path;

	if (trust_open(overlay, open_opts, overlay->backing_name, false, &file, &path, err) < 0)
		return err_prefix(err, "backing file");
	bfile_close(file);
	opts.format = format;
	opts.flags = IMAGE_RDWR;

	int rc = image_open(ret, path, &opts, err);

	free(path);
	return rc < 0 ? err_prefix(err, "backing file") : 0;
}

static int commit_data(struct committing *c, const struct chain_opts *opts, struct chain_stats *ret,
		       struct err *err)
{
	static const struct pipeline_ops ops = {.unit_size = sizeof(struct commit_unit),
						.unit_init = unit_begin,
						.unit_free = unit_end,
						.produce = produce,
						.work = work,
						.store = store};
	uint64_t size = image_size(c->overlay);

	progress_begin(opts->progress, "commit", size);
	if (ret->grown_to && (adopt(c, err) < 0 || image_resize(c->base, size, err) < 0))
		return -1;
	if (pipeline_run(&ops, c, opts->threads, 0, err) < 0 || image_flush(c->base, err) < 0)
		return -1;
	ret->data_bytes = c->data_bytes;
	ret->zero_bytes = c->zero_bytes;
	return 0;
}

/* For --dry-run: what the overlay holds */
static int count(struct image *overlay, struct chain_stats *ret, struct err *err)
{
	struct extent e;

	for (uint64_t pos = 0, size = image_size(overlay); pos < size; pos += e.len) {
		if (stop_check(err) < 0 || image_extent(overlay, pos, size - pos, &e, err) < 0)
			return -1;
		ret->data_bytes += e.kind == EXTENT_DATA ? e.len : 0;
		ret->zero_bytes += e.kind == EXTENT_ZERO ? e.len : 0;
	}
	return 0;
}

static int commit(struct committing *c, const struct chain_opts *opts, struct chain_stats *ret,
		  struct err *err)
{
	bool forget = !opts->keep && image_can_forget(c->overlay);

	if (chain_refuse_snapshots(c->overlay, err) < 0)
		return -1;
	if (image_size(c->base) < ret->size)
		ret->grown_to = ret->size;
	ret->emptied = forget;
	if (opts->dry_run)
		return count(c->overlay, ret, err);
	if (commit_data(c, opts, ret, err) < 0)
		return -1;
	if (forget &&
	    (image_forget(c->overlay, 0, ret->size, err) < 0 || image_flush(c->overlay, err) < 0))
		return err_prefix(err, "all is in the backing file, but the overlay is not empty");
	return 0;
}

int image_commit(const char *name, const struct chain_opts *opts, struct chain_stats *ret,
		 struct err *err)
{
	struct image_open_opts open_opts = {.format = opts->format,
					    .allow_dirs = opts->allow_dirs,
					    .n_allow_dirs = opts->n_allow_dirs};
	struct committing c = {.progress = opts->progress};
	const char *base_format;
	int rc;

	*ret = (struct chain_stats){0};
	/* The chain as a reader sees it: formats stated, no loop, the right parent */
	if (image_open(&c.overlay, name, &open_opts, err) < 0)
		return -1;
	if (!c.overlay->backing) {
		err_set(err, ERR_USAGE, "has no backing file to commit into");
		rc = err_object(err, name);
		image_close(c.overlay);
		return rc;
	}
	base_format = image_format_name(c.overlay->backing); /* static */
	(void)snprintf(ret->backing, sizeof(ret->backing), "%s", c.overlay->backing_name);
	ret->size = image_size(c.overlay);
	open_opts.format = image_format_name(c.overlay);
	open_opts.flags = IMAGE_NO_BACKING;
	if (!opts->dry_run && (image_can_adopt(c.overlay, false) || !opts->keep))
		open_opts.flags |= IMAGE_RDWR;
	image_close(c.overlay);
	c.overlay = NULL;
	rc = image_open(&c.overlay, name, &open_opts, err);
	if (rc == 0 && !c.overlay->backing_name) /* somebody else was quicker */
		rc = err_set(err, ERR_USAGE, "has no backing file to commit into");
	if (rc == 0)
		rc = open_base(c.overlay, base_format, &open_opts, &c.base, err);
	/* Both are locked now: since the first look, either may have become another one */
	if (rc == 0)
		rc = image_check_base(c.overlay, c.base, err);
	if (rc == 0)
		rc = commit(&c, opts, ret, err);
	image_close(c.base);
	image_close(c.overlay);
	return rc < 0 ? err_object(err, name) : 0;
}
