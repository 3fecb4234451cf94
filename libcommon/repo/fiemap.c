/* FIEMAP: see fiemap.h. */
#include "libcommon/repo/fiemap.h"

#include <errno.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"

enum { BATCH = 2048, PLACES_MOST = 1 << 20 };

#define VAGUE                                                                                      \
	(FIEMAP_EXTENT_UNKNOWN | FIEMAP_EXTENT_DELALLOC | FIEMAP_EXTENT_ENCODED |                  \
	 FIEMAP_EXTENT_DATA_ENCRYPTED | FIEMAP_EXTENT_NOT_ALIGNED | FIEMAP_EXTENT_DATA_INLINE |    \
	 FIEMAP_EXTENT_DATA_TAIL)

static int add(struct places *p, size_t *room, const struct fiemap_extent *e, struct err *err)
{
	if (p->n == *room) {
		size_t more = *room ? *room * 2 : 256;
		struct place *items = reallocarray(p->items, more, sizeof(*items));

		if (!items)
			return err_nomem(err);
		p->items = items;
		*room = more;
	}
	if (p->n >= PLACES_MOST)
		return err_set(err, ERR_UNSUPPORTED, "the file lies in more than %d pieces",
			       PLACES_MOST);
	p->items[p->n++] = (struct place){
		.off = e->fe_logical,
		.len = e->fe_length,
		.at = e->fe_physical,
		.unwritten = e->fe_flags & FIEMAP_EXTENT_UNWRITTEN,
		.vague = e->fe_flags & VAGUE,
	};
	return 0;
}

int places_read(int fd, struct places *ret, struct err *err)
{
	CLEANUP_FREE struct fiemap *map =
		calloc(1, sizeof(*map) + BATCH * sizeof(struct fiemap_extent));
	struct places p = {0};
	uint64_t next = 0;
	size_t room = 0;
	bool last = false;

	if (!map)
		return err_nomem(err);
	while (!last) {
		memset(map, 0, sizeof(*map));
		map->fm_start = next;
		map->fm_length = FIEMAP_MAX_OFFSET - next;
		map->fm_flags = FIEMAP_FLAG_SYNC;
		map->fm_extent_count = BATCH;
		if (ioctl(fd, FS_IOC_FIEMAP, map) < 0) {
			places_free(&p);
			err_sys(err, "cannot ask where the file lies");
			return err_set(err, ERR_UNSUPPORTED,
				       "the file system does not tell where "
				       "the file lies");
		}
		last = map->fm_mapped_extents == 0;
		for (unsigned i = 0; i < map->fm_mapped_extents; i++) {
			const struct fiemap_extent *e = &map->fm_extents[i];

			if (e->fe_length == 0 || e->fe_logical < next ||
			    add(&p, &room, e, err) < 0) {
				places_free(&p);
				return err_set(err, ERR_UNSUPPORTED,
					       "the places of the file make no sense");
			}
			next = e->fe_logical + e->fe_length;
			last |= (e->fe_flags & FIEMAP_EXTENT_LAST) != 0;
		}
	}
	*ret = p;
	return 0;
}

void places_free(struct places *p)
{
	free(p->items);
	*p = (struct places){0};
}

/* What lies at @off: a place (then *@ret_len bytes of it follow) or a hole (NULL) */
static const struct place *at(const struct places *p, uint64_t off, uint64_t *ret_len)
{
	size_t lo = 0, hi = p->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (p->items[mid].off + p->items[mid].len <= off)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo == p->n) {
		*ret_len = UINT64_MAX;
		return NULL;
	}
	if (p->items[lo].off > off) {
		*ret_len = p->items[lo].off - off;
		return NULL;
	}
	*ret_len = p->items[lo].off + p->items[lo].len - off;
	return &p->items[lo];
}

uint64_t places_same(const struct places *a, const struct places *b, uint64_t off, uint64_t len,
		     bool *ret_same)
{
	uint64_t na, nb;
	const struct place *x = at(a, off, &na), *y = at(b, off, &nb);

	if (!x && !y)
		*ret_same = true;
	else
		*ret_same = x && y && !x->vague && !y->vague && x->unwritten == y->unwritten &&
			    x->at + (off - x->off) == y->at + (off - y->off);
	return min_u64(len, min_u64(na, nb));
}
