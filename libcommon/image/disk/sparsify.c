/* Partitions, their free maps, and what is done with them. */
#include "libcommon/image/disk/sparsify.h"

#include <inttypes.h>
#include <stdlib.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/stop.h"
#include "libcommon/image/layers.h"

void sparsify_release(struct sparsify_plan *p)
{
	free(p->parts);
	freemap_release(&p->map);
	*p = (struct sparsify_plan){0};
}

static int by_offset(const void *a, const void *b)
{
	const struct sparsify_part *x = a, *y = b;

	return x->off < y->off ? -1 : x->off > y->off;
}

static bool is_container(const struct partition_table *t, const struct partition *p)
{
	return t->scheme == PARTITIONS_MBR &&
	       (p->type == 0x05 || p->type == 0x0f || p->type == 0x85);
}

static int list_parts(struct image *img, const struct partition_table *t, struct sparsify_plan *p,
		      struct err *err)
{
	uint64_t size = image_size(img), end = 0;

	p->scheme = t->scheme;
	p->parts = calloc(t->n + 1, sizeof(*p->parts));
	if (!p->parts)
		return err_nomem(err);
	if (t->scheme == PARTITIONS_NONE)
		p->parts[p->n++] = (struct sparsify_part){.len = size};
	for (size_t i = 0; i < t->n; i++) {
		const struct partition *part = &t->parts[i];

		if (is_container(t, part))
			continue;
		if (!range_inside(part->off, part->len, size))
			return err_set(err, ERR_CORRUPT,
				       "partition %u ends at offset %" PRIu64
				       ", the disk has %" PRIu64 " bytes",
				       part->number, part->off + part->len, size);
		p->parts[p->n++] = (struct sparsify_part){
			.number = part->number, .off = part->off, .len = part->len};
	}
	qsort(p->parts, p->n, sizeof(*p->parts), by_offset);
	/* What is free in one must not be in use in another. */
	for (size_t i = 0; i < p->n; i++) {
		if (p->parts[i].off < end)
			return err_set(err, ERR_CORRUPT, "partition %u begins inside another one",
				       p->parts[i].number);
		end = p->parts[i].off + p->parts[i].len;
	}
	return 0;
}

/* Keep the partitions that were asked for. */
static int choose(struct sparsify_plan *p, const unsigned *numbers, size_t n, struct err *err)
{
	size_t kept = 0;

	if (!n)
		return 0;
	for (size_t i = 0; i < n; i++) {
		size_t j = 0;

		while (j < p->n && (p->parts[j].number != numbers[i] || !numbers[i]))
			j++;
		if (j == p->n)
			return err_set(err, ERR_NOT_FOUND, "there is no partition %u", numbers[i]);
	}
	for (size_t j = 0; j < p->n; j++)
		for (size_t i = 0; i < n; i++)
			if (p->parts[j].number == numbers[i]) {
				p->parts[kept++] = p->parts[j];
				break;
			}
	p->n = kept;
	return 0;
}

static int read_part(struct image *img, struct sparsify_part *part, struct freemap *map,
		     struct err *err)
{
	const struct volume v = {.img = img, .off = part->off, .len = part->len};
	uint64_t before = map->bytes;

	if (stop_check(err) < 0)
		return -1;
	if (freemap_read(&v, map, &part->filesystem, err) < 0)
		return part->number ? err_prefix(err, "partition %u", part->number) : -1;
	part->free_bytes = map->bytes - before;
	return 0;
}

int sparsify_plan(struct image *img, const unsigned *numbers, size_t n_numbers,
		  struct sparsify_plan *ret, struct err *err)
{
	struct partition_table t;
	int rc;

	*ret = (struct sparsify_plan){0};
	if (partition_table_read(img, &t, err) < 0)
		return -1;
	rc = list_parts(img, &t, ret, err);
	partition_table_release(&t);
	if (rc == 0)
		rc = choose(ret, numbers, n_numbers, err);
	for (size_t i = 0; rc == 0 && i < ret->n; i++)
		rc = read_part(img, &ret->parts[i], &ret->map, err);
	if (rc == 0)
		return 0;
	sparsify_release(ret);
	return err_object(err, image_name(img));
}

int sparsify_in_place(struct image *img, const struct sparsify_plan *p, struct progress *progress,
		      struct err *err)
{
	if (!img->format->discard) {
		err_set(err, ERR_UNSUPPORTED, "%s images cannot give space back in place",
			img->format->name);
		err_hint(err, "name a TARGET: the copy leaves out what is free");
		return err_object(err, image_name(img));
	}
	progress_begin(progress, "sparsify", p->map.bytes);
	for (size_t i = 0; i < p->map.n; i++) {
		if (stop_check(err) < 0 ||
		    image_discard(img, p->map.ranges[i].off, p->map.ranges[i].len, err) < 0)
			return -1;
		progress_add(progress, p->map.ranges[i].len);
	}
	return image_flush(img, err);
}

uint64_t sparsify_allocated(const struct image *img)
{
	return img->file ? bfile_allocated(img->file) : 0;
}

/* ---- the view: a layer over the image that holds nothing but zeros for what is free */

static int view_map(struct image *img, uint64_t off, uint64_t max, struct extent *ret,
		    struct err *err)
{
	const struct freemap *m = &((const struct sparsify_plan *)img->priv)->map;
	size_t low = 0, high = m->n;

	(void)err;
	while (low < high) { /* the first range that ends behind @off */
		size_t mid = low + (high - low) / 2;

		if (m->ranges[mid].off + m->ranges[mid].len > off)
			high = mid;
		else
			low = mid + 1;
	}

	const struct free_range *r = low < m->n ? &m->ranges[low] : NULL;
	bool inside = r && r->off <= off;

	ret->off = off;
	ret->kind = inside ? EXTENT_ZERO : EXTENT_UNALLOCATED;
	ret->len = inside ? min_u64(max, r->off + r->len - off)
		   : r	  ? min_u64(max, r->off - off)
			  : max;
	return 0;
}

int sparsify_view(struct image *img, const struct sparsify_plan *p, struct image **ret,
		  struct err *err)
{
	static const struct image_format format = {
		.name = "sparsified", .description = "zeros where a disk is free", .map = view_map};
	union {
		const struct sparsify_plan *borrowed;
		void *priv;
	} plan = {.borrowed = p};
	struct image *view;

	if (image_new(&view, image_name(img), img->flags, err) < 0) {
		image_close(img);
		return -1;
	}
	view->format = &format;
	view->priv = plan.priv;
	view->size = image_size(img);
	view->backing = img;
	*ret = view;
	return 0;
}
