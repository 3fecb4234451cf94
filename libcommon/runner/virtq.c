/* Split virtqueues: see virtq.h. */
#include "libcommon/runner/virtq.h"

#include <stdatomic.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"

enum {
	DESC_NEXT = 1,
	DESC_WRITE = 2,
	DESC_INDIRECT = 4,
	DESC_SIZE = 16,
	AVAIL_NO_INTERRUPT = 1,
};

struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

void virtq_reset(struct virtq *q)
{
	*q = (struct virtq){.mem = q->mem, .size = VIRTQ_SIZE_MAX};
}

bool virtq_enable(struct virtq *q)
{
	if (q->size > VIRTQ_SIZE_MAX || !is_pow2(q->size) || q->desc % 16 || q->avail % 2 ||
	    q->used % 4)
		return false;
	q->desc_ring = guest_range(q->mem, q->desc, (uint64_t)DESC_SIZE * q->size);
	q->avail_ring = guest_range(q->mem, q->avail, 6 + UINT64_C(2) * q->size);
	q->used_ring = guest_range(q->mem, q->used, 6 + UINT64_C(8) * q->size);
	q->enabled = q->desc_ring && q->avail_ring && q->used_ring;
	return q->enabled;
}

/* The guest writes these while we read: each is loaded once. Rings are aligned, so the pointers are too. */
static uint16_t load16(const uint8_t *p)
{
	return le16toh(__atomic_load_n((const uint16_t *)(const void *)p, __ATOMIC_ACQUIRE));
}

static void store16(uint8_t *p, uint16_t v)
{
	__atomic_store_n((uint16_t *)(void *)p, htole16(v), __ATOMIC_RELEASE);
}

/* What was copied is looked at from here on: the compiler may not read guest memory again in the copy's place */
static void copied(void)
{
	atomic_signal_fence(memory_order_seq_cst);
}

static struct desc copy_desc(const uint8_t *table, uint16_t i)
{
	uint8_t raw[DESC_SIZE];

	memcpy(raw, table + (size_t)DESC_SIZE * i, sizeof(raw));
	copied();
	return (struct desc){get_le64(raw), get_le32(raw + 8), get_le16(raw + 12),
			     get_le16(raw + 14)};
}

/* Writable parts come after readable ones; no part is empty; the sum cannot wrap: 256 times 32 bits. */
static bool add_part(struct virtq *q, struct virtq_chain *c, const struct desc *d)
{
	void *p = guest_range(q->mem, d->addr, d->len);
	unsigned n = c->readable + c->writable;

	if (!p || n == VIRTQ_SIZE_MAX || (c->writable && !(d->flags & DESC_WRITE)))
		return false;
	c->iov[n] = (struct iovec){p, d->len};
	if (d->flags & DESC_WRITE) {
		c->writable++;
		c->writable_len += d->len;
	} else {
		c->readable++;
		c->readable_len += d->len;
	}
	return true;
}

/* Follow a chain in a table of @count descriptors. @may_indirect: the first may be the only one, and name another table. */
static bool follow(struct virtq *q, struct virtq_chain *c, const uint8_t *table, uint16_t count,
		   uint16_t i, bool may_indirect)
{
	for (unsigned steps = 0; steps < count && i < count; steps++) {
		struct desc d = copy_desc(table, i);

		if (d.flags & DESC_INDIRECT) {
			const uint8_t *inner;

			if (!may_indirect || (d.flags & DESC_NEXT) || d.len % DESC_SIZE || !d.len ||
			    d.len / DESC_SIZE > q->size)
				return false;
			inner = guest_range(q->mem, d.addr, d.len);
			return inner &&
			       follow(q, c, inner, (uint16_t)(d.len / DESC_SIZE), 0, false);
		}
		if (!add_part(q, c, &d))
			return false;
		if (!(d.flags & DESC_NEXT))
			return true;
		i = d.next;
	}
	return false;
}

int virtq_pop(struct virtq *q, struct virtq_chain *ret)
{
	uint16_t waiting, head;

	if (!q->enabled)
		return 0;
	if (q->broken)
		return -1;
	waiting = (uint16_t)(load16(q->avail_ring + 2) - q->last_avail);
	if (!waiting)
		return 0;
	head = load16(q->avail_ring + 4 + 2 * (size_t)(q->last_avail & (q->size - 1)));
	ret->head = head;
	ret->readable = ret->writable = 0;
	ret->readable_len = ret->writable_len = 0;
	if (waiting > q->size || !follow(q, ret, q->desc_ring, q->size, head, true)) {
		q->broken = true;
		return -1;
	}
	q->last_avail++;
	return 1;
}

void virtq_unpop(struct virtq *q)
{
	q->last_avail--;
}

void virtq_fill(struct virtq *q, unsigned ahead, uint16_t head, uint32_t written)
{
	uint8_t *slot = q->used_ring + 4 + 8 * (size_t)((q->used_index + ahead) & (q->size - 1U));

	put_le32(slot, head);
	put_le32(slot + 4, written);
}

void virtq_publish(struct virtq *q, unsigned n)
{
	q->used_index = (uint16_t)(q->used_index + n);
	store16(q->used_ring + 2, q->used_index);
}

void virtq_push(struct virtq *q, uint16_t head, uint32_t written)
{
	virtq_fill(q, 0, head, written);
	virtq_publish(q, 1);
}

bool virtq_wants_interrupt(const struct virtq *q)
{
	__atomic_thread_fence(
		__ATOMIC_SEQ_CST); /* our used index is seen before the flag is read */
	return q->enabled && !(load16(q->avail_ring) & AVAIL_NO_INTERRUPT);
}

size_t virtq_take(struct iovec **iov, unsigned *n, void *dst, size_t len)
{
	size_t done = 0;

	while (*n && done < len) {
		size_t part = (*iov)->iov_len < len - done ? (*iov)->iov_len : len - done;

		if (dst)
			memcpy((uint8_t *)dst + done, (*iov)->iov_base, part);
		(*iov)->iov_base = (uint8_t *)(*iov)->iov_base + part;
		(*iov)->iov_len -= part;
		if (!(*iov)->iov_len) {
			(*iov)++;
			(*n)--;
		}
		done += part;
	}
	copied();
	return done;
}
