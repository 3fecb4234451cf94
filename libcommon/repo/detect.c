/* Finding what changed: see detect.h. */
#include "libcommon/repo/detect.h"

#include <inttypes.h>
#include <string.h>

#include "libcommon/base/log.h"
#include "libcommon/image/dirty_bitmap.h"
#include "libcommon/image/image.h"
#include "libcommon/repo/clone.h"
#include "libcommon/repo/manifest.h"
#include "libcommon/repo/sentinel.h"
#include "libcommon/repo/source.h"

static const struct snapshot_disk *find_disk(const struct snapshot *s, const char *name)
{
	for (size_t i = 0; i < s->n_disks; i++)
		if (strcmp(s->disks[i].name, name) == 0)
			return &s->disks[i];
	return NULL;
}

/* The newest snapshot's disk decides alone: an older one that fits is a file that was put back, times and all. */
static bool unchanged(struct detect *d, const struct snapshot *s, const struct snapshot_disk *p)
{
	int64_t began;

	if (!d->n_files || manifest_time(s->time, &began) < 0 ||
	    !source_unchanged(p, began, d->files, d->n_files, d->size,
			      image_format_name(d->image)) ||
	    !d->is_whole(d->ctx, p))
		return false;
	d->parent = p;
	d->how = "unchanged file";
	return true;
}

/* How many layers lie above what @p was read from; 0: it is not in this chain as it was then. A layer of another size
 * than the disk hides a part of those below it, so there is none. */
static unsigned layers_above(const struct detect *d, const struct snapshot *s,
			     const struct snapshot_disk *p)
{
	struct image *layer = d->image;
	unsigned above = 0;
	int64_t began;

	if (!p->n_files || p->n_files >= d->n_files || manifest_time(s->time, &began) < 0)
		return 0;
	for (; above < d->n_files - p->n_files; above++) {
		if (!layer || image_size(layer) != d->size)
			return 0;
		layer = image_backing(layer);
	}
	if (!layer || image_size(layer) != d->size ||
	    !source_unchanged(p, began, d->files + above, p->n_files, d->size,
			      image_format_name(layer)))
		return 0;
	return above;
}

static int overlay_changes(struct detect *d, unsigned above, struct changes *c, struct err *err)
{
	for (uint64_t off = 0; off < d->size;) {
		struct extent e;

		if (image_extent(d->image, off, d->size - off, &e, err) < 0)
			return -1;
		if (e.kind != EXTENT_UNALLOCATED && e.depth < above &&
		    changes_add(c, off, e.len, err) < 0)
			return -1;
		off += e.len;
	}
	return 0;
}

/* Try a source of changes with a fresh map; 1: it has answered */
static int answer(struct detect *d, const struct snapshot_disk *p, const char *how,
		  int (*fill)(struct detect *d, const struct snapshot_disk *p, unsigned above,
			      struct changes *c, struct err *err),
		  unsigned above, struct err *err)
{
	struct err why = ERR_INIT;
	struct changes *c;

	if (changes_new(&c, err) < 0)
		return -1;
	if (fill(d, p, above, c, &why) < 0) {
		log_info("disk %s: no %s: %s", d->name, how, why.message);
		changes_free(c);
		return 0;
	}
	log_info("disk %s: at most %" PRIu64 " bytes changed", d->name, changes_bytes(c));
	d->changes = d->own = c;
	d->parent = p;
	d->how = how;
	return 1;
}

static int fill_overlay(struct detect *d, const struct snapshot_disk *p, unsigned above,
			struct changes *c, struct err *err)
{
	(void)p;
	return overlay_changes(d, above, c, err);
}

static int fill_clone(struct detect *d, const struct snapshot_disk *p, unsigned above,
		      struct changes *c, struct err *err)
{
	(void)above;
	return clone_changes(d->image, p, c, err);
}

/* The layers below the bitmap's image are as they were then. A libvirt machine that was backed up while it ran left no list of
 * files: then there may be none below. */
static bool same_below(const struct detect *d, const struct snapshot *s,
		       const struct snapshot_disk *p)
{
	struct snapshot_disk below = *p;
	int64_t began;

	if (d->n_files == 1)
		return p->n_files <= 1;
	if (!d->n_files || p->n_files != d->n_files || manifest_time(s->time, &began) < 0)
		return false;
	below.files++;
	below.n_files--;
	return source_unchanged(&below, began, d->files + 1, d->n_files - 1, d->size, p->format);
}

static int fill_bitmap(struct detect *d, const struct snapshot_disk *p, unsigned above,
		       struct changes *c, struct err *err)
{
	bool others;

	(void)above;
	if (image_dirty_bitmap(d->image, p->checkpoint, c, err) < 0)
		return -1;
	if (!sentinel_is_ours(p->checkpoint) ||
	    sentinel_all_set(p->checkpoint, d->size, c, &others))
		return 0;
	return err_set(err, ERR_UNSUPPORTED, "bitmap %s was cleared since", p->checkpoint);
}

static int from_older(struct detect *d, const struct snapshot *s, const struct snapshot_disk *p,
		      struct err *err)
{
	unsigned above = layers_above(d, s, p);
	bool clone = clone_usable(d->image, p) && d->n_files == 1 && p->size == d->size;
	bool bitmap = p->checkpoint && p->size == d->size && same_below(d, s, p);
	int rc;

	if ((!above && !clone && !bitmap) || !d->is_whole(d->ctx, p))
		return 0;
	rc = bitmap ? answer(d, p, "dirty bitmap", fill_bitmap, 0, err) : 0;
	if (rc || (!above && !clone))
		return rc;
	if (above)
		return answer(d, p, "overlay", fill_overlay, above, err);
	return answer(d, p, "reflink clone", fill_clone, 0, err);
}

/* The caller says what changed since one snapshot. */
static bool told(struct detect *d)
{
	for (size_t i = d->n_older; d->disk->changes && i-- > 0;) {
		const struct snapshot *s = &d->older[i];
		const struct snapshot_disk *p;

		if (memcmp(s->id.bytes, d->disk->base.bytes, sizeof(s->id.bytes)) != 0)
			continue;
		p = find_disk(s, d->name);
		if (!p || p->size != d->size || !d->is_whole(d->ctx, p))
			return false;
		d->changes = d->disk->changes;
		d->parent = p;
		d->how = d->disk->changes_from;
		return true;
	}
	return false;
}

int detect_changes(struct detect *d, struct err *err)
{
	const struct snapshot_disk *newest = NULL;
	int rc = 0;

	d->changes = d->own = NULL;
	if (told(d))
		return 0;
	for (size_t i = d->n_older; rc == 0 && i-- > 0;) {
		const struct snapshot_disk *p = find_disk(&d->older[i], d->name);

		if (!p)
			continue;
		if (!newest && unchanged(d, &d->older[i], p))
			return 0;
		if (!newest)
			newest = p;
		rc = from_older(d, &d->older[i], p, err);
	}
	if (rc == 0) {
		d->parent = newest;
		d->how = "scan";
	}
	return rc < 0 ? -1 : 0;
}
