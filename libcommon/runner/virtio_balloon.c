/* virtio-balloon: see virtio_balloon.h. */
#include "libcommon/runner/virtio_balloon.h"

#include <string.h>
#include <sys/mman.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/clock.h"
#include "libcommon/runner/state.h"

#define F_STATS	    (UINT64_C(1) << 1)
#define F_OOM	    (UINT64_C(1) << 2) /* the guest may take memory back before it kills for want of it */
#define F_REPORTING (UINT64_C(1) << 5)

enum {
	PAGE = 4096,
	Q_INFLATE = 0,
	Q_DEFLATE = 1,
	QUEUES = 4,
	C_PAGES = 0,
	C_ACTUAL = 4,
	PAGES_MAX = 1 << 16, /* of a request; Linux has 256 */
	STAT_LEN = 10,
	STATS_MAX = 64,
};

/* Of whole pages. What is no guest memory, or cannot be given up (huge pages), stays as it is. */
static void give_up(void *start, uint64_t len)
{
	if (start && len)
		(void)madvise(start, len, MADV_DONTNEED);
}

/* Page numbers come one by one; neighbours are given up at once */
static int64_t inflate(const struct guest_memory *mem, struct virtq_chain *c)
{
	struct iovec *iov = c->iov;
	unsigned n = c->readable;
	uint64_t low = 0, high = 0; /* pages [low, high) are waiting */
	uint8_t raw[4];

	if (c->readable_len > PAGES_MAX * sizeof(raw))
		return VIRTIO_BAD;
	while (virtq_take(&iov, &n, raw, sizeof(raw)) == sizeof(raw)) {
		uint64_t page = get_le32(raw);

		if (page == high && high) {
			high++;
		} else if (page + 1 == low) {
			low--;
		} else {
			give_up(guest_range(mem, low * PAGE, (high - low) * PAGE),
				(high - low) * PAGE);
			low = page;
			high = page + 1;
		}
	}
	give_up(guest_range(mem, low * PAGE, (high - low) * PAGE), (high - low) * PAGE);
	return 0;
}

/* The parts are free pages; what is of a page only in part is not touched */
static int64_t report(struct virtio_balloon *b, struct virtq_chain *c)
{
	for (unsigned i = c->readable; i < c->readable + c->writable; i++) {
		uintptr_t start = (uintptr_t)c->iov[i].iov_base, end = start + c->iov[i].iov_len;
		size_t skip = (size_t)(round_up(start, PAGE) - start);

		end -= end % PAGE;
		if (start + skip >= end)
			continue;
		give_up((uint8_t *)c->iov[i].iov_base + skip, end - start - skip);
		(void)atomic_fetch_add(&b->reported, end - start - skip);
	}
	return 0;
}

static void take_stats(struct virtio_balloon *b, struct virtq_chain *c)
{
	struct iovec *iov = c->iov;
	unsigned n = c->readable;
	uint8_t raw[STAT_LEN];

	for (int i = 0; i < STATS_MAX; i++) {
		unsigned tag;

		if (virtq_take(&iov, &n, raw, sizeof(raw)) < sizeof(raw))
			break;
		tag = get_le16(raw);
		if (tag >= BALLOON_STATS)
			continue;
		b->stat[tag] = get_le64(raw + 2);
		b->known |= 1U << tag;
	}
	b->told++;
	(void)pthread_cond_broadcast(&b->fresh);
}

/* The guest's buffer waits with us until somebody wants to know */
static int64_t stats(struct virtio_balloon *b, struct virtq_chain *c)
{
	bool wanted;

	(void)pthread_mutex_lock(&b->lock);
	wanted = b->wanted;
	b->wanted = false;
	if (!wanted)
		take_stats(b, c);
	(void)pthread_mutex_unlock(&b->lock);
	return wanted ? 0 : VIRTIO_LATER;
}

/* Which queue is which depends on what the driver has agreed to */
static int64_t request(struct virtio_dev *d, unsigned queue, struct virtq_chain *c)
{
	struct virtio_balloon *b = d->priv;

	if (queue == Q_INFLATE)
		return inflate(d->queue[queue].ring.mem, c);
	if (queue == Q_DEFLATE)
		return 0;
	if (queue == 2 && virtio_has(d, F_STATS))
		return stats(b, c);
	if (virtio_has(d, F_REPORTING))
		return report(b, c);
	return VIRTIO_BAD;
}

static void config_write(struct virtio_dev *d, uint32_t off, unsigned size, uint64_t value)
{
	if (off == C_ACTUAL && size == 4)
		put_le32(d->config + C_ACTUAL, (uint32_t)value);
}

static void save(struct virtio_dev *d, struct state_out *out)
{
	state_put(out, d->config, d->config_len);
}

static void load(struct virtio_dev *d, struct state_in *in)
{
	state_get(in, d->config, d->config_len);
}

static const struct virtio_type type = {
	.id = VIRTIO_BALLOON,
	.class_code = 0x00ff00,
	.request = request,
	.config_write = config_write,
	.save = save,
	.load = load,
};

int virtio_balloon_init(struct virtio_balloon *b, const struct guest_memory *mem, struct err *err)
{
	struct virtio_dev *d = &b->dev;

	if (virtio_init(d, &type, QUEUES, mem, err) < 0)
		return -1;
	(void)pthread_mutex_init(&b->lock, NULL);
	(void)pthread_cond_init(&b->fresh, NULL);
	d->priv = b;
	d->features |= F_STATS | F_OOM | F_REPORTING;
	d->config_len = 16;
	return 0;
}

void virtio_balloon_set(struct virtio_balloon *b, uint64_t bytes)
{
	(void)pthread_mutex_lock(&b->dev.lock);
	put_le32(b->dev.config + C_PAGES, (uint32_t)min_u64(bytes / PAGE, UINT32_MAX));
	(void)pthread_mutex_unlock(&b->dev.lock);
	virtio_raise(&b->dev, -1);
}

void virtio_balloon_size(struct virtio_balloon *b, uint64_t *ret_target, uint64_t *ret_actual)
{
	(void)pthread_mutex_lock(&b->dev.lock);
	*ret_target = (uint64_t)get_le32(b->dev.config + C_PAGES) * PAGE;
	*ret_actual = (uint64_t)get_le32(b->dev.config + C_ACTUAL) * PAGE;
	(void)pthread_mutex_unlock(&b->dev.lock);
}

uint32_t virtio_balloon_stats(struct virtio_balloon *b, unsigned wait_ms,
			      uint64_t ret[BALLOON_STATS])
{
	struct timespec until = clock_after(CLOCK_REALTIME, wait_ms);
	uint32_t known;
	unsigned told;

	(void)pthread_mutex_lock(&b->lock);
	told = b->told;
	if (wait_ms && told) {
		b->wanted = true;
		virtio_wake(&b->dev, 2);
		while (b->told == told && pthread_cond_timedwait(&b->fresh, &b->lock, &until) == 0)
			;
	}
	memcpy(ret, b->stat, sizeof(b->stat));
	known = b->known;
	(void)pthread_mutex_unlock(&b->lock);
	return known;
}
