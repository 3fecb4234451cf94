/* Ranges that may have changed: see changes.h. */
#include "libcommon/image/changes.h"

#include <stdlib.h>

enum { RANGES_MAX = 1 << 20 };

struct range {
	uint64_t start, end;
};

struct changes {
	struct range *ranges; /* ascending, apart from each other */
	size_t n, room;
	uint64_t gap; /* ranges that are no farther apart than this are one */
};

int changes_new(struct changes **ret, struct err *err)
{
	*ret = calloc(1, sizeof(**ret));
	return *ret ? 0 : err_nomem(err);
}

void changes_free(struct changes *c)
{
	if (!c)
		return;
	free(c->ranges);
	free(c);
}

/* Twice the gap until half of the room is free: 16 MiB of ranges say enough of any disk. */
static void thin_out(struct changes *c)
{
	while (c->n > RANGES_MAX / 2) {
		size_t kept = 0;

		c->gap = c->gap ? 2 * c->gap : 64 << 10;
		for (size_t i = 1; i < c->n; i++) {
			if (c->ranges[i].start - c->ranges[kept].end <= c->gap)
				c->ranges[kept].end = c->ranges[i].end;
			else
				c->ranges[++kept] = c->ranges[i];
		}
		c->n = kept + 1;
	}
}

static int make_room(struct changes *c, struct err *err)
{
	size_t more = c->room ? 2 * c->room : 64;
	struct range *ranges;

	if (c->n == RANGES_MAX)
		thin_out(c);
	if (c->n < c->room)
		return 0;
	ranges = reallocarray(c->ranges, more, sizeof(*ranges));
	if (!ranges)
		return err_nomem(err);
	c->ranges = ranges;
	c->room = more;
	return 0;
}

int changes_add(struct changes *c, uint64_t off, uint64_t len, struct err *err)
{
	struct range *last = c->n ? &c->ranges[c->n - 1] : NULL;

	if (len == 0)
		return 0;
	if ((last && off < last->end) || len > UINT64_MAX - off)
		return err_set(err, ERR_CORRUPT, "changed ranges come out of order");
	if (last && off - last->end <= c->gap) {
		last->end = off + len;
		return 0;
	}
	if (make_room(c, err) < 0)
		return -1;
	c->ranges[c->n++] = (struct range){off, off + len};
	return 0;
}

static size_t find(const struct changes *c, uint64_t off)
{
	size_t low = 0, high = c->n;

	while (low < high) { /* the first that ends behind off */
		size_t mid = low + (high - low) / 2;

		if (c->ranges[mid].end <= off)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

bool changes_run(const struct changes *c, uint64_t off, uint64_t *ret_start, uint64_t *ret_end)
{
	size_t i = find(c, off);

	if (i == c->n)
		return false;
	*ret_start = c->ranges[i].start;
	*ret_end = c->ranges[i].end;
	return true;
}

uint64_t changes_next(const struct changes *c, uint64_t off)
{
	uint64_t start, end;

	if (!changes_run(c, off, &start, &end))
		return UINT64_MAX;
	return start > off ? start : off;
}

bool changes_touch(const struct changes *c, uint64_t off, uint64_t len)
{
	uint64_t next = changes_next(c, off);

	return next != UINT64_MAX && next - off < len;
}

uint64_t changes_bytes(const struct changes *c)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < c->n; i++)
		sum += c->ranges[i].end - c->ranges[i].start;
	return sum;
}
