/* One disk into the store: see disk_scan.h.
 *
 * A disk has a writer of its own, so that no frame mixes disks and what was stored for it is known.
 */
#include "libcommon/repo/disk_scan.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/pipeline.h"
#include "libcommon/repo/region.h"

enum { PARENT_PAGES = 64 };

struct regions {
	struct scan *scan;
	struct scan_worker *workers;
};

static int one_region(void *ctx, size_t i, unsigned worker, struct err *err)
{
	struct regions *r = ctx;

	return scan_region(r->scan, &r->workers[worker], worker, i, err);
}

static int scan_all(struct scan *s, unsigned threads, struct err *err)
{
	struct regions r = {.scan = s, .workers = calloc(threads, sizeof(*r.workers))};
	int rc = r.workers ? 0 : err_nomem(err);

	for (unsigned i = 0; rc == 0 && i < threads; i++)
		rc = scan_worker_init(&r.workers[i], err);
	if (rc == 0)
		rc = parallel_for(tree_regions(s->size), threads, one_region, &r, err);
	for (unsigned i = 0; r.workers && i < threads; i++)
		scan_worker_free(&r.workers[i]);
	free(r.workers);
	return rc;
}

/* A stream: regions are read in order into whole buffers, chunked on all threads, and noted in order. A unit is in one
 * thread's hands at a time, so its number can be the store's worker number. */
struct stream {
	struct scan *scan;
	_Atomic unsigned next_worker;
	uint64_t regions, bytes; /* produced; only the producer touches them until the end */
	uint64_t committed;
	bool ended;
};

struct stream_unit {
	struct scan_worker work;
	unsigned worker;
	uint8_t *data;
	size_t len;
	struct repo_id leaf;
};

static int stream_init(void *ctx, void *unit, struct err *err)
{
	struct stream *t = ctx;
	struct stream_unit *u = unit;

	u->worker = t->next_worker++;
	u->data = malloc(CHUNK_REGION);
	if (!u->data)
		return err_nomem(err);
	return scan_worker_init(&u->work, err);
}

static void stream_free(void *ctx, void *unit)
{
	struct stream_unit *u = unit;

	(void)ctx;
	free(u->data);
	scan_worker_free(&u->work);
}

static int stream_produce(void *ctx, void *unit, struct err *err)
{
	struct stream *t = ctx;
	struct stream_unit *u = unit;

	if (t->ended)
		return 0;
	u->len = 0;
	while (u->len < CHUNK_REGION) {
		size_t want = CHUNK_REGION - u->len < SCAN_READ ? CHUNK_REGION - u->len : SCAN_READ;
		ssize_t n;

		pace_wait(&t->scan->pace, want);
		n = image_read_stream(t->scan->image, u->data + u->len, want, err);
		if (n < 0)
			return -1;
		u->len += (size_t)n;
		progress_add(t->scan->progress, (uint64_t)n);
		if ((size_t)n < want) {
			t->ended = true;
			break;
		}
	}
	if (u->len == 0)
		return 0;
	t->bytes += u->len;
	t->scan->read_bytes += u->len;
	if (++t->regions > TREE_DISK_MAX / CHUNK_REGION)
		return err_set(err, ERR_UNSUPPORTED, "more than a disk can have (64 PiB)");
	return 1;
}

static int stream_work(void *ctx, void *unit, struct err *err)
{
	struct stream *t = ctx;
	struct stream_unit *u = unit;

	return scan_bytes(t->scan, &u->work, u->worker, u->data, u->len, &u->leaf, err);
}

static int stream_commit(void *ctx, void *unit, struct err *err)
{
	struct stream *t = ctx;
	struct stream_unit *u = unit;
	uint64_t region = t->committed++;

	if (id_is_none(&u->leaf))
		return 0;
	if (tree_builder_grow(t->scan->builder, region + 1, err) < 0)
		return -1;
	return tree_builder_set(t->scan->builder, region, &u->leaf, err);
}

static const struct pipeline_ops stream_ops = {
	.unit_size = sizeof(struct stream_unit),
	.unit_init = stream_init,
	.unit_free = stream_free,
	.produce = stream_produce,
	.work = stream_work,
	.commit = stream_commit,
};

static int scan_stream(struct scan *s, unsigned threads, unsigned units, struct err *err)
{
	struct stream t = {.scan = s};

	if (pipeline_run(&stream_ops, &t, threads, units, err) < 0)
		return -1;
	s->size = t.bytes;
	return tree_builder_grow(s->builder, tree_regions(s->size), err);
}

static void take_counts(struct disk_scan *d, const struct scan *s)
{
	d->data_bytes = s->data_bytes;
	d->read_bytes = s->read_bytes;
	d->new_bytes = s->new_bytes;
	d->chunks = s->chunks;
	d->new_chunks = s->new_chunks;
}

static int read_disk(struct disk_scan *d, struct scan *s, unsigned workers, struct err *err)
{
	bool stream = d->size == IMAGE_SIZE_UNKNOWN;

	if (tree_builder_new(&s->builder, stream ? 0 : tree_regions(d->size), err) < 0)
		return -1;
	if ((stream ? scan_stream(s, d->threads, workers, err) : scan_all(s, d->threads, err)) < 0)
		return -1;
	return tree_builder_finish(s->builder, s->size, scan_put_page, s, &d->tree, err);
}

static int prepare(struct disk_scan *d, struct scan *s, unsigned workers, struct err *err)
{
	const struct store_writer_opts opts = {.level = d->level, .workers = workers};
	const uint8_t *secret;
	size_t len;

	secret = store_chunker_secret(d->st, &len);
	if (chunker_init(&s->chunker, secret, len, err) < 0 ||
	    page_cache_new(&s->cache, d->st, PARENT_PAGES + 4 * d->threads, err) < 0)
		return -1;
	return d->dry_run ? 0 : store_writer_new(&s->writer, d->st, &opts, err);
}

int disk_scan_run(struct disk_scan *d, struct err *err)
{
	struct scan s = {
		.st = d->st,
		.image = d->image,
		.size = d->size,
		.progress = d->progress,
		.parent = d->parent,
		.trust_parent = d->trust_parent && d->parent,
		.changes = d->parent && d->trust_parent && d->parent->size == d->size ? d->changes
										      : NULL,
		.level = d->level,
		.pace = PACE_INIT(d->rate_limit),
		.data_bytes = d->changes ? d->parent_data_bytes : 0,
	};
	/* A stream has one unit more than threads, so that one can be read while all others are chunked. */
	unsigned workers = d->size == IMAGE_SIZE_UNKNOWN ? d->threads + 1 : d->threads;
	int rc;

	rc = prepare(d, &s, workers, err);
	if (rc == 0)
		rc = read_disk(d, &s, workers, err);
	if (rc == 0 && s.writer)
		rc = store_writer_finish(steal_ptr(&s.writer), &d->stored_bytes, err);
	if (s.writer)
		store_writer_discard(s.writer);
	take_counts(d, &s);
	tree_builder_free(s.builder);
	page_cache_free(s.cache);
	return rc;
}
