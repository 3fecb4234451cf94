/* Deep check: every compressed cluster is decoded, on all cores. */
#include "libcommon/image/format/qcow2/check.h"

#include <inttypes.h>
#include <stdlib.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/pipeline.h"
#include "libcommon/base/stop.h"
#include "libcommon/image/codec.h"

struct worker {
	uint8_t *packed, *plain;
	size_t packed_room;
};

/* One L2 table at a time; the verdicts are gathered by entry, so that reports come in the order of the table */
struct deep {
	struct check *c;
	const uint8_t *table;
	uint64_t table_off;
	bool *bad;
	uint32_t *todo;
	struct worker *workers;
};

static int decode_entry(void *ctx, size_t i, unsigned worker, struct err *err)
{
	struct deep *d = ctx;
	struct worker *w = &d->workers[worker];
	const struct qcow2 *q = d->c->q;
	uint32_t index = d->todo[i];
	struct qcow2_cluster k;
	struct err local = ERR_INIT;
	size_t len = 0, host_len;

	if (stop_check(err))
		return -1;
	qcow2_decode(q, get_be64(d->table + (size_t)index * q->l2_entry_size), &k);
	if (k.host_off >= d->c->file_size)
		return 0; /* told by the check of references */
	host_len = (size_t)min_u64(k.host_len, d->c->file_size - k.host_off);
	if (!w->packed) {
		w->packed = malloc(w->packed_room);
		w->plain = malloc(q->cluster_size);
		if (!w->packed || !w->plain)
			return err_nomem(err);
	}
	if (bfile_pread(d->c->file, w->packed, host_len, k.host_off, err))
		return -1;
	if (codec_decode(q->h.compression_type == QCOW2_COMPRESSION_ZSTD ? CODEC_ZSTD
									 : CODEC_DEFLATE,
			 w->packed, host_len, w->plain, q->cluster_size, &len, &local)) {
		if (local.code == ERR_NO_MEMORY)
			return err_nomem(err);
		d->bad[index] = true;
	} else if (len < q->cluster_size) {
		d->bad[index] = true;
	}
	return 0;
}

static int deep_table(struct deep *d, unsigned threads, struct err *err)
{
	const struct qcow2 *q = d->c->q;
	uint32_t entries = 1U << q->l2_bits, n = 0;

	for (uint32_t i = 0; i < entries; i++) {
		d->bad[i] = false;
		if (get_be64(d->table + (size_t)i * q->l2_entry_size) & QCOW2_FLAG_COMPRESSED)
			d->todo[n++] = i;
	}
	if (n && parallel_for(n, threads, decode_entry, d, err))
		return -1;
	for (uint32_t i = 0; i < n; i++) {
		struct qcow2_cluster k;

		if (!d->bad[d->todo[i]])
			continue;
		qcow2_decode(q, get_be64(d->table + (size_t)d->todo[i] * q->l2_entry_size), &k);
		check_corrupt(d->c,
			      "L2 table at offset %" PRIu64 ", entry %" PRIu32
			      ": compressed cluster at offset %" PRIu64 " cannot be decoded",
			      d->table_off, d->todo[i], k.host_off);
	}
	return 0;
}

static int deep_all(struct deep *d, uint8_t *table, unsigned threads, struct err *err)
{
	for (size_t i = 0; i < d->c->n_l2; i++) {
		d->table_off = d->c->l2[i].off;
		if (bfile_pread(d->c->file, table, d->c->q->cluster_size, d->table_off, err))
			return err_prefix(err, "L2 table at offset %" PRIu64, d->table_off);
		if (deep_table(d, threads, err))
			return -1;
	}
	return 0;
}

int check_deep(struct check *c, struct err *err)
{
	unsigned threads = threads_default();
	size_t entries = (size_t)1 << c->q->l2_bits;
	CLEANUP_FREE uint8_t *table = malloc(c->q->cluster_size);
	CLEANUP_FREE bool *bad = calloc(entries, sizeof(*bad));
	CLEANUP_FREE uint32_t *todo = calloc(entries, sizeof(*todo));
	CLEANUP_FREE struct worker *workers = calloc(threads, sizeof(*workers));
	struct deep d = {.c = c, .table = table, .bad = bad, .todo = todo, .workers = workers};
	int rc;

	if (!table || !bad || !todo || !workers)
		return err_nomem(err);
	if (qcow2_external_data(c->q) || c->q->h.crypt_method != QCOW2_CRYPT_NONE)
		return 0; /* nothing is compressed, or nothing can be decoded */
	for (unsigned i = 0; i < threads; i++)
		workers[i].packed_room = 2 * (size_t)c->q->cluster_size + 512;
	rc = deep_all(&d, table, threads, err);
	for (unsigned i = 0; i < threads; i++) {
		free(workers[i].packed);
		free(workers[i].plain);
	}
	return rc;
}
