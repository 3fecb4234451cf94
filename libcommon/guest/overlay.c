/* Blocks that are to be written: see overlay.h. */
#include "libcommon/guest/overlay.h"

#include <stdlib.h>
#include <string.h>

#include "libcommon/base/checked.h"

enum { BLOCKS_MOST = 1 << 16 };

/* Where @number is, or would be */
static size_t find(const struct overlay *o, uint64_t number)
{
	size_t low = 0, high = o->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (o->blocks[mid].number < number)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static bool holds(const struct overlay *o, size_t i, uint64_t number)
{
	return i < o->n && o->blocks[i].number == number;
}

int overlay_read(struct overlay *o, void *buf, uint64_t off, size_t len, struct err *err)
{
	uint8_t *out = buf;

	if (volume_read(&o->v, buf, off, len, err) < 0)
		return -1;
	/* What is changed lies over it */
	for (size_t i = find(o, off / o->block_size); i < o->n; i++) {
		uint64_t start = o->blocks[i].number * o->block_size, from = max_u64(start, off),
			 to = min_u64(start + o->block_size, off + len);

		if (start >= off + len)
			break;
		memcpy(out + (from - off), o->blocks[i].new + (from - start), (size_t)(to - from));
	}
	return 0;
}

static int add(struct overlay *o, size_t at, uint64_t number, struct err *err)
{
	struct overlay_block b = {.number = number};

	if (o->n == o->room) {
		size_t room = o->room ? 2 * o->room : 64;
		struct overlay_block *more;

		if (o->n >= BLOCKS_MOST)
			return err_set(err, ERR_UNSUPPORTED, "more than %d blocks change at once",
				       BLOCKS_MOST);
		more = reallocarray(o->blocks, room, sizeof(*more));
		if (!more)
			return err_nomem(err);
		o->blocks = more;
		o->room = room;
	}
	b.old = malloc(o->block_size);
	b.new = malloc(o->block_size);
	if (!b.old || !b.new ||
	    volume_read(&o->v, b.old, number * o->block_size, o->block_size, err) < 0) {
		if (!b.old || !b.new)
			err_nomem(err);
		free(b.old);
		free(b.new);
		return -1;
	}
	memcpy(b.new, b.old, o->block_size);
	memmove(o->blocks + at + 1, o->blocks + at, (o->n - at) * sizeof(b));
	o->blocks[at] = b;
	o->n++;
	return 0;
}

int overlay_write(struct overlay *o, const void *buf, uint64_t off, size_t len, struct err *err)
{
	const uint8_t *in = buf;

	while (len) {
		uint64_t number = off / o->block_size, inside = off % o->block_size;
		size_t n = (size_t)min_u64(len, o->block_size - inside), i = find(o, number);

		if (!holds(o, i, number) && add(o, i, number, err) < 0)
			return -1;
		memcpy(o->blocks[i].new + inside, in, n);
		in += n;
		off += n;
		len -= n;
	}
	return 0;
}

static void drop(struct overlay_block *b)
{
	free(b->old);
	free(b->new);
}

void overlay_prune(struct overlay *o)
{
	size_t kept = 0;

	for (size_t i = 0; i < o->n; i++) {
		if (memcmp(o->blocks[i].old, o->blocks[i].new, o->block_size) == 0)
			drop(&o->blocks[i]);
		else
			o->blocks[kept++] = o->blocks[i];
	}
	o->n = kept;
}

void overlay_clear(struct overlay *o)
{
	for (size_t i = 0; i < o->n; i++)
		drop(&o->blocks[i]);
	o->n = 0;
}

void overlay_release(struct overlay *o)
{
	overlay_clear(o);
	free(o->blocks);
	*o = (struct overlay){0};
}
