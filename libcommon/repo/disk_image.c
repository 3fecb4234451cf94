/* A snapshot's disk read as an image: see disk_image.h.
 *
 * Chunks that follow each other are one extent, so that convert and restore see few and large ones. Whole chunks go
 * straight into the reader's buffer; of the two at the ends of a read the part that is wanted comes from the store's
 * frame cache.
 */
#include "libcommon/repo/disk_image.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/checked.h"
#include "libcommon/image/format.h"
#include "libcommon/repo/delta.h"
#include "libcommon/repo/store.h"

enum { CACHED_PAGES = 128 };

struct disk {
	struct repo *owned;
	struct store *st;
	struct tree tree;
	struct page_cache *cache;
};

static void disk_close(struct image *img)
{
	struct disk *d = img->priv;

	page_cache_free(d->cache);
	repo_close(d->owned);
	free(d);
}

/* What the page says of @off: a run of chunks, or of zeros. A region's page may only speak of the disk. */
static int map_page(const struct page *p, uint64_t region_end, uint64_t base, uint32_t at,
		    uint64_t max, struct extent *ret, struct err *err)
{
	size_t i = page_find(p, at);
	uint32_t end = at;

	if (i < p->n && p->chunks[p->n - 1].off + p->chunks[p->n - 1].len > region_end - base)
		return err_set(err, ERR_CORRUPT,
			       "page of the region at %" PRIu64 " is longer than the disk", base);
	if (i == p->n || p->chunks[i].off > at) {
		uint64_t next = i == p->n ? region_end : base + p->chunks[i].off;

		ret->kind = EXTENT_ZERO;
		ret->len = min_u64(next - (base + at), max);
		return 0;
	}
	for (; i < p->n && p->chunks[i].off <= end && end - at < max; i++)
		end = p->chunks[i].off + p->chunks[i].len;
	ret->kind = EXTENT_DATA;
	ret->codec = CODEC_OPAQUE;
	ret->len = min_u64(end - at, max);
	return 0;
}

static int disk_map(struct image *img, uint64_t off, uint64_t max, struct extent *ret,
		    struct err *err)
{
	struct disk *d = img->priv;
	uint64_t region = off / CHUNK_REGION, base = region * CHUNK_REGION;
	uint64_t end = min_u64(base + CHUNK_REGION, img->size);
	const struct page *p;
	int rc = 0;

	ret->off = off;
	ret->kind = EXTENT_ZERO;
	ret->len = min_u64(end - off, max);
	if (tree_leaf(&d->tree, d->cache, region, &p, err) < 0)
		return -1;
	if (p)
		rc = map_page(p, end, base, (uint32_t)(off - base), max, ret, err);
	page_cache_put(d->cache, p);
	return rc;
}

static int read_chunk(struct disk *d, const struct page_chunk *c, uint32_t at, uint8_t *buf,
		      uint32_t len, struct err *err)
{
	return chunk_get(d->st, c, at - c->off, buf, len, err);
}

static int read_page(struct disk *d, const struct page *p, uint32_t at, uint8_t *buf, uint32_t len,
		     struct err *err)
{
	for (size_t i = page_find(p, at); len; i++) {
		const struct page_chunk *c = &p->chunks[i];

		if (i >= p->n || c->off > at)
			return err_set(err, ERR_FAILED, "no chunk at offset %u of a region", at);

		uint32_t n = c->off + c->len - at < len ? c->off + c->len - at : len;

		if (read_chunk(d, c, at, buf, n, err) < 0)
			return err_prefix(err, "chunk at offset %u of its region", c->off);
		buf += n;
		at += n;
		len -= n;
	}
	return 0;
}

/* An extent lies in one region: map() cuts there. */
static int disk_read_encoded(struct image *img, const struct extent *e, void *buf, uint64_t off,
			     size_t len, struct err *err)
{
	struct disk *d = img->priv;
	uint64_t region = off / CHUNK_REGION, base = region * CHUNK_REGION;
	const struct page *p;
	int rc;

	(void)e;
	if (tree_leaf(&d->tree, d->cache, region, &p, err) < 0)
		return -1;
	if (!p)
		return err_set(err, ERR_FAILED, "no data at offset %" PRIu64, off);
	rc = read_page(d, p, (uint32_t)(off - base), buf, (uint32_t)len, err);
	page_cache_put(d->cache, p);
	return rc < 0 ? err_prefix(err, "bytes %" PRIu64 "-%" PRIu64 " of the disk", off,
				   off + len - 1)
		      : 0;
}

static const struct image_format repo_disk_format = {
	.name = "repo",
	.description = "a disk of a snapshot in a vmbackup repository",
	.close = disk_close,
	.map = disk_map,
	.read_encoded = disk_read_encoded,
};

int disk_image_new(struct image **ret, struct repo *repo, struct repo *owned,
		   const struct tree *tree, const char *name, struct err *err)
{
	struct image *img = calloc(1, sizeof(*img));
	struct disk *d = calloc(1, sizeof(*d));

	if (!img || !d || !(img->name = strdup(name)))
		goto nomem;
	d->st = repo_store(repo);
	d->tree = *tree;
	if (page_cache_new(&d->cache, d->st, CACHED_PAGES, NULL) < 0)
		goto nomem;
	d->owned = owned;
	img->format = &repo_disk_format;
	img->size = tree->size;
	img->priv = d;
	*ret = img;
	return 0;
nomem:
	if (img)
		free(img->name);
	free(img);
	free(d);
	return err_nomem(err);
}

int snapshot_find_disk(const struct snapshot *snap, const char *disk,
		       const struct snapshot_disk **ret, struct err *err)
{
	char names[200] = "";

	for (size_t i = 0; i < snap->n_disks; i++) {
		size_t used = strlen(names);

		if (disk ? strcmp(disk, snap->disks[i].name) == 0 : snap->n_disks == 1) {
			*ret = &snap->disks[i];
			return 0;
		}
		(void)snprintf(names + used, sizeof(names) - used, "%s%s", used ? ", " : "",
			       snap->disks[i].name);
	}
	if (disk)
		err_set(err, ERR_NOT_FOUND, "the snapshot has no disk %s", disk);
	else
		err_set(err, ERR_USAGE, "the snapshot has %zu disks: say which one, NAME@WHEN:DISK",
			snap->n_disks);
	return err_hint(err, "its disks: %s", names);
}

int repo_open_disk(struct repo *repo, const struct snapshot *snap, const char *disk,
		   struct image **ret, struct err *err)
{
	const struct snapshot_disk *d;
	char name[256], id[9];

	if (snapshot_find_disk(snap, disk, &d, err) < 0)
		return -1;
	(void)snprintf(name, sizeof(name), "%s@%s:%s", snap->vm, snapshot_short_id(&snap->id, id),
		       d->name);

	struct tree tree = {d->root, d->tree_levels, d->size};

	return disk_image_new(ret, repo, NULL, &tree, name, err);
}
