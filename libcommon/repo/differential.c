/* Restoring over a disk that is nearly right: what the target holds is hashed, and only chunks whose id is another one
 * are fetched and written.
 *
 * The target is written in place. A run that was killed leaves a mixture, which the next run makes right.
 */
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/iszero.h"
#include "libcommon/base/pipeline.h"
#include "libcommon/base/stop.h"
#include "libcommon/repo/delta.h"
#include "libcommon/repo/disk_image.h"
#include "libcommon/repo/pace.h"
#include "libcommon/repo/repo.h"
#include "libcommon/repo/store.h"

enum { PIECE = 1 << 20, PAGES = 64 };

struct job {
	struct store *st;
	struct tree tree;
	struct page_cache *cache;
	struct image *target;
	const struct differential_opts *opts;
	struct pace pace;
	uint8_t **bufs; /* one of PIECE bytes a worker */
	_Atomic uint64_t written;
};

/* What the target holds is all read, what differs is fetched and written: reading stands for the work. */
static int look(struct job *j, uint8_t *buf, uint64_t off, size_t len, struct err *err)
{
	pace_wait(&j->pace, len);
	return stop_check(err) < 0 ? -1 : image_read(j->target, buf, off, len, err);
}

static int put(struct job *j, const void *data, uint64_t off, size_t len, struct err *err)
{
	j->written += len;
	return image_write(j->target, data, off, len, err);
}

/* The target must read as zero in [off, end). */
static int zeros(struct job *j, uint8_t *buf, uint64_t off, uint64_t end, struct err *err)
{
	while (off < end) {
		struct extent e;
		uint64_t len;

		if (image_extent(j->target, off, end - off, &e, err) < 0)
			return -1;
		len = e.kind == EXTENT_DATA ? min_u64(e.len, PIECE) : e.len;
		if (e.kind == EXTENT_DATA) {
			if (look(j, buf, off, len, err) < 0)
				return -1;
			if (!is_zero(buf, len)) {
				j->written += len;
				if (image_write_zeroes(j->target, off, len, true, err) < 0)
					return -1;
			}
		}
		off += len;
	}
	return 0;
}

static int chunk(struct job *j, uint8_t *buf, uint64_t base, const struct page_chunk *c,
		 struct err *err)
{
	uint64_t off = base + c->off;
	struct repo_id id;

	if (look(j, buf, off, c->len, err) < 0 ||
	    store_id(j->st, BLOB_CHUNK, buf, c->len, &id, err) < 0)
		return -1;
	if (memcmp(id.bytes, c->id.bytes, sizeof(id.bytes)) == 0)
		return 0;
	if (chunk_get(j->st, c, 0, buf, c->len, err) < 0)
		return err_prefix(err, "bytes %" PRIu64 "-%" PRIu64 " of the disk", off,
				  off + c->len - 1);
	return put(j, buf, off, c->len, err);
}

static int region(struct job *j, uint8_t *buf, const struct page *p, uint64_t base, uint64_t end,
		  struct err *err)
{
	uint64_t at = base;

	for (size_t i = 0; p && i < p->n; i++) {
		const struct page_chunk *c = &p->chunks[i];

		if (c->len > end - base || c->off > end - base - c->len || c->len > PIECE)
			return err_set(err, ERR_CORRUPT,
				       "page of the region at %" PRIu64 " is longer than the disk",
				       base);
		if (zeros(j, buf, at, base + c->off, err) < 0 || chunk(j, buf, base, c, err) < 0)
			return -1;
		at = base + c->off + c->len;
	}
	return zeros(j, buf, at, end, err);
}

static int one_region(void *ctx, size_t i, unsigned worker, struct err *err)
{
	struct job *j = ctx;
	uint64_t base = i * (uint64_t)CHUNK_REGION;
	uint64_t end = min_u64(base + CHUNK_REGION, j->tree.size);
	const struct page *p;
	int rc;

	if (tree_leaf(&j->tree, j->cache, i, &p, err) < 0)
		return -1;
	rc = region(j, j->bufs[worker], p, base, end, err);
	page_cache_put(j->cache, p);
	progress_add(j->opts->progress, end - base);
	return rc;
}

static int run(struct job *j, unsigned threads, struct err *err)
{
	int rc = 0;

	j->bufs = calloc(threads, sizeof(*j->bufs));
	if (!j->bufs)
		return err_nomem(err);
	for (unsigned i = 0; i < threads; i++)
		if (!(j->bufs[i] = malloc(PIECE)))
			rc = err_nomem(err);
	if (rc == 0)
		rc = parallel_for(tree_regions(j->tree.size), threads, one_region, j, err);
	for (unsigned i = 0; i < threads; i++)
		free(j->bufs[i]);
	free(j->bufs);
	return rc == 0 ? image_flush(j->target, err) : rc;
}

int repo_restore_differential(struct repo *repo, const struct snapshot *snap, const char *disk,
			      struct image *target, const struct differential_opts *opts,
			      uint64_t *ret_written, struct err *err)
{
	const struct snapshot_disk *d;
	struct job j = {.st = repo_store(repo),
			.target = target,
			.opts = opts,
			.pace = PACE_INIT(opts->rate_limit)};
	unsigned threads = opts->threads ? opts->threads : threads_default();
	int rc;

	if (snapshot_find_disk(snap, disk, &d, err) < 0)
		return -1;
	if (image_size(target) < d->size)
		return err_set(err, ERR_NO_SPACE, "has %" PRIu64 " bytes, the disk %" PRIu64,
			       image_size(target), d->size);
	j.tree = (struct tree){d->root, d->tree_levels, d->size};
	if (page_cache_new(&j.cache, j.st, PAGES, err) < 0)
		return -1;
	progress_begin(opts->progress, "restore", d->size);
	rc = run(&j, threads, err);
	page_cache_free(j.cache);
	*ret_written = j.written;
	return rc;
}
