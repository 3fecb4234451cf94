/* virtio-blk: see virtio_blk.h. A request's header is copied before it is looked at; data go between the image and guest
 * memory without a copy of ours. */
#include "libcommon/runner/virtio_blk.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/log.h"
#include "libcommon/base/stop.h"

enum {
	SECTOR = 512,
	HEADER = 16,
	SEGMENTS_MAX = VIRTQ_SIZE_MAX - 2, /* beside header and status */
	REQUEST_MAX = 64 << 20, /* bytes; Linux asks for 1.25 MiB at most unless told otherwise */
	RANGES_MAX = 32,	/* of one discard or write-zeroes */
	RANGE_LEN = 16,
	RANGE_SECTORS_MAX = 1 << 21, /* 1 GiB: no request keeps a queue for long */
	WARNINGS_MAX = 10,
};

enum request_type {
	T_IN = 0,
	T_OUT = 1,
	T_FLUSH = 4,
	T_GET_ID = 8,
	T_DISCARD = 11,
	T_WRITE_ZEROES = 13
};
enum request_status { S_OK = 0, S_IOERR = 1, S_UNSUPPORTED = 2 };

#define F_SEG_MAX      (UINT64_C(1) << 2)
#define F_RO	       (UINT64_C(1) << 5)
#define F_BLK_SIZE     (UINT64_C(1) << 6)
#define F_FLUSH	       (UINT64_C(1) << 9)
#define F_MQ	       (UINT64_C(1) << 12)
#define F_DISCARD      (UINT64_C(1) << 13)
#define F_WRITE_ZEROES (UINT64_C(1) << 14)

struct request {
	struct virtio_blk *blk;
	uint32_t type;
	uint64_t sector;
	struct iovec *readable,
		*writable; /* behind the header; the status byte is in the last writable */
	unsigned readables, writables;
	uint64_t readable_len, writable_len; /* without header and status */
};

static int failed(struct virtio_blk *b, const char *what, uint64_t off, const struct err *err)
{
	unsigned n = atomic_fetch_add(&b->errors, 1);

	if (n < WARNINGS_MAX &&
	    !stop_requested()) /* else it was cancelled, and why is told at the end */
		log_warning("%s: %s at %" PRIu64 " failed: %s%s", disk_name(b->disk), what, off,
			    err->message,
			    n == WARNINGS_MAX - 1 ? " (further failures are not told)" : "");
	return S_IOERR;
}

static bool good_range(const struct request *r, uint64_t len, uint64_t *ret_off)
{
	return u64_mul(r->sector, SECTOR, ret_off) && len && len % SECTOR == 0 &&
	       len <= REQUEST_MAX && range_inside(*ret_off, len, disk_size(r->blk->disk));
}

static int transfer(struct request *r, bool write)
{
	struct iovec *iov = write ? r->readable : r->writable;
	uint64_t left = write ? r->readable_len : r->writable_len, off;
	struct err err = ERR_INIT;

	if (!good_range(r, left, &off))
		return S_IOERR;
	for (; left; iov++) {
		size_t n = (size_t)min_u64(iov->iov_len, left);

		if (write ? disk_write(r->blk->disk, iov->iov_base, off, n, &err)
			  : disk_read(r->blk->disk, iov->iov_base, off, n, &err))
			return failed(r->blk, write ? "write" : "read", off, &err);
		off += n;
		left -= n;
	}
	return S_OK;
}

static int flush(struct request *r)
{
	struct err err = ERR_INIT;

	return disk_flush(r->blk->disk, &err) ? failed(r->blk, "flush", 0, &err) : S_OK;
}

static int get_id(struct request *r)
{
	size_t done = 0;

	for (unsigned i = 0; i < r->writables && done < sizeof(r->blk->serial); i++) {
		size_t n = (size_t)min_u64(r->writable[i].iov_len, sizeof(r->blk->serial) - done);

		n = (size_t)min_u64(n, r->writable_len - done);
		memcpy(r->writable[i].iov_base, r->blk->serial + done, n);
		done += n;
	}
	return done ? S_OK : S_IOERR;
}

static int one_range(struct request *r, const uint8_t *raw)
{
	uint64_t off, len = (uint64_t)get_le32(raw + 8) * SECTOR;
	uint32_t flags = get_le32(raw + 12);
	struct err err = ERR_INIT;

	if (!u64_mul(get_le64(raw), SECTOR, &off) || len > (uint64_t)RANGE_SECTORS_MAX * SECTOR ||
	    !range_inside(off, len, disk_size(r->blk->disk)))
		return S_IOERR;
	if (flags & ~(r->type == T_DISCARD ? 0U : 1U))
		return S_UNSUPPORTED;
	if (!len)
		return S_OK;
	if (r->type == T_DISCARD)
		return disk_discard(r->blk->disk, off, len, &err)
			       ? failed(r->blk, "discard", off, &err)
			       : S_OK;
	return disk_zero(r->blk->disk, off, len, flags & 1, &err)
		       ? failed(r->blk, "zeroing", off, &err)
		       : S_OK;
}

static int ranges(struct request *r)
{
	uint8_t raw[RANGE_LEN];

	if (disk_read_only(r->blk->disk))
		return S_IOERR;
	if (!r->readable_len || r->readable_len % RANGE_LEN ||
	    r->readable_len > RANGES_MAX * RANGE_LEN)
		return S_UNSUPPORTED;
	for (uint64_t left = r->readable_len; left; left -= RANGE_LEN) {
		int status;

		(void)virtq_take(&r->readable, &r->readables, raw, sizeof(raw));
		status = one_range(r, raw);
		if (status != S_OK)
			return status;
	}
	return S_OK;
}

static int serve(struct request *r)
{
	switch (r->type) {
	case T_IN:
		return transfer(r, false);
	case T_OUT:
		return disk_read_only(r->blk->disk) ? S_IOERR : transfer(r, true);
	case T_FLUSH:
		return flush(r);
	case T_GET_ID:
		return get_id(r);
	case T_DISCARD:
	case T_WRITE_ZEROES:
		return ranges(r);
	default:
		return S_UNSUPPORTED;
	}
}

static void count(atomic_ullong *counter, uint64_t n)
{
	(void)atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static void count_request(const struct request *r)
{
	struct virtio_blk *b = r->blk;

	switch (r->type) {
	case T_IN:
		count(&b->reads, 1);
		count(&b->read_bytes, r->writable_len);
		break;
	case T_OUT:
		count(&b->writes, 1);
		count(&b->written_bytes, r->readable_len);
		break;
	case T_FLUSH:
		count(&b->flushes, 1);
		break;
	case T_DISCARD:
	case T_WRITE_ZEROES:
		count(&b->discards, 1);
		break;
	default:
		break;
	}
}

static int64_t request(struct virtio_dev *d, unsigned queue, struct virtq_chain *c)
{
	struct request r = {
		.blk = d->priv,
		.readable = c->iov,
		.writable = c->iov + c->readable,
		.readables = c->readable,
		.writables = c->writable,
	};
	const struct iovec *last = &c->iov[c->readable + c->writable - 1];
	uint8_t header[HEADER], *status;
	int answer;

	(void)queue;
	if (c->readable_len < HEADER || !c->writable_len)
		return VIRTIO_BAD; /* nowhere to say that it failed */
	status = (uint8_t *)last->iov_base + last->iov_len - 1;
	(void)virtq_take(&r.readable, &r.readables, header, HEADER);
	r.type = get_le32(header);
	r.sector = get_le64(header + 8);
	r.readable_len = c->readable_len - HEADER;
	r.writable_len = c->writable_len - 1;
	answer = serve(&r);
	if (answer == S_OK)
		count_request(&r);
	*status = (uint8_t)answer;
	return (int64_t)min_u64(r.type == T_OUT ? 1 : c->writable_len, UINT32_MAX);
}

static const struct virtio_type type = {
	.id = VIRTIO_BLK, .class_code = 0x010000, .request = request};

int virtio_blk_init(struct virtio_blk *b, struct disk *disk, unsigned number, unsigned queues,
		    const struct guest_memory *mem, struct err *err)
{
	struct virtio_dev *d = &b->dev;

	if (virtio_init(d, &type, queues, mem, err) < 0)
		return -1;
	b->disk = disk;
	atomic_store(&b->errors, 0);
	memset(b->serial, 0, sizeof(b->serial));
	(void)snprintf(b->serial, sizeof(b->serial), "vmkit-%u", number);
	d->priv = b;
	d->features |= F_SEG_MAX | F_BLK_SIZE | F_FLUSH | F_MQ;
	d->features |= disk_read_only(disk) ? F_RO : F_DISCARD | F_WRITE_ZEROES;
	d->config_len = 60;
	put_le64(d->config, disk_size(disk) / SECTOR);
	put_le32(d->config + 12, SEGMENTS_MAX);
	put_le32(d->config + 20, SECTOR);
	put_le16(d->config + 34, (uint16_t)queues);
	put_le32(d->config + 36, RANGE_SECTORS_MAX);
	put_le32(d->config + 40, RANGES_MAX);
	put_le32(d->config + 44, 8); /* discards in blocks of 4 KiB */
	put_le32(d->config + 48, RANGE_SECTORS_MAX);
	put_le32(d->config + 52, RANGES_MAX);
	d->config[56] = 1; /* zeroes may unmap */
	return 0;
}
