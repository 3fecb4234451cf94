/* How large a target would be: the bulk writer is run on a file that keeps nothing but its size.
 *
 * So the figure is right for every layout that a format has, sparse tables and preallocation included.
 */
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/pipeline.h"
#include "libcommon/image/copy/parts.h"

static void grow_to(struct bfile *f, uint64_t end)
{
	uint64_t size = bfile_size(f);

	while (size < end && !__atomic_compare_exchange_n(&f->size, &size, end, true,
							  __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
}

static int sink_pread(struct bfile *f, void *buf, size_t len, uint64_t off, struct err *err)
{
	(void)f, (void)off, (void)err;
	memset(buf, 0, len);
	return 0;
}

static int sink_pwrite(struct bfile *f, const void *buf, size_t len, uint64_t off, struct err *err)
{
	(void)buf, (void)err;
	grow_to(f, off + len);
	return 0;
}

static int sink_flush(struct bfile *f, struct err *err)
{
	(void)f, (void)err;
	return 0;
}

static int sink_truncate(struct bfile *f, uint64_t size, struct err *err)
{
	(void)err;
	__atomic_store_n(&f->size, size, __ATOMIC_RELAXED);
	return 0;
}

static int sink_zero(struct bfile *f, uint64_t off, uint64_t len, bool unmap, struct err *err)
{
	(void)unmap, (void)err;
	grow_to(f, off + len);
	return 0;
}

static int sink_map(struct bfile *f, uint64_t off, uint64_t max, bool *ret_data, uint64_t *ret_len,
		    struct err *err)
{
	(void)f, (void)off, (void)err;
	*ret_data = false;
	*ret_len = max;
	return 0;
}

static void sink_close(struct bfile *f)
{
	(void)f;
}

static const struct bfile_ops sink_ops = {.name = "sink",
					  .pread = sink_pread,
					  .pwrite = sink_pwrite,
					  .flush = sink_flush,
					  .truncate = sink_truncate,
					  .zero = sink_zero,
					  .map = sink_map,
					  .close = sink_close};

struct measuring {
	struct image *src;
	struct target target; /* its bulk writer alone */
	struct plan plan;     /* produce's */
	bool scan;
};

static int init(void *ctx, void *unit, struct err *err)
{
	struct measuring *m = ctx;

	return m->scan ? unit_init(unit, m->plan.unit_bytes, false, err) : 0;
}

static void release(void *ctx, void *unit)
{
	struct measuring *m = ctx;

	unit_release(unit, &m->target.bulk);
}

static int produce(void *ctx, void *unit, struct err *err)
{
	struct measuring *m = ctx;

	return plan_next(&m->plan, unit, err);
}

static int work(void *ctx, void *unit, struct err *err)
{
	struct measuring *m = ctx;
	struct unit *u = unit;

	if (!m->scan)
		return unit_take_all(u, &m->target.bulk, err);
	if (unit_read(u, m->src, err) < 0 || unit_cut(u, &m->target, err) < 0)
		return -1;
	return unit_encode(u, &m->target.bulk, err);
}

static int commit(void *ctx, void *unit, struct err *err)
{
	struct measuring *m = ctx;
	struct unit *u = unit;
	struct bulk *b = &m->target.bulk;

	for (unsigned i = 0; b->ops->place && i < u->n_bulk; i++)
		if (b->ops->place(b, u->bulk[i], err) < 0)
			return -1;
	return 0;
}

static int measure(struct measuring *m, uint64_t *ret_required, struct err *err)
{
	static const struct pipeline_ops ops = {.unit_size = sizeof(struct unit),
						.unit_init = init,
						.unit_free = release,
						.produce = produce,
						.work = work,
						.commit = commit};
	struct bulk *b = &m->target.bulk;

	if (b->ops->begin(b, err) < 0)
		return -1;
	if (m->src) {
		plan_init(&m->plan, m->src, b->granule);
		m->plan.disk_size = b->params->size;
		m->plan.gap_max = 0;
		/* Nothing but extents to look at: threads would only pass units around. */
		if (pipeline_run(&ops, m, m->scan ? b->params->threads : 1, 0, err) < 0)
			return -1;
	}
	if (b->ops->finish && b->ops->finish(b, err) < 0)
		return -1;
	*ret_required = bfile_size(b->file);
	return 0;
}

static int measure_with(struct image *src, const struct image_format *f,
			const struct bulk_params *params, bool scan, uint64_t *ret_required,
			uint64_t *ret_full, struct err *err)
{
	const struct bulk_ops *ops = bulk_ops_of(f, params);
	struct measuring m = {.src = src, .scan = scan || params->compress || !ops->can_copy};
	struct bfile *sink = calloc(1, sizeof(*sink));
	int rc;

	if (!sink || !(sink->name = strdup("measure"))) {
		free(sink);
		return err_nomem(err);
	}
	sink->ops = &sink_ops;
	sink->fd = -1;
	sink->writable = true;
	m.target.params = *params;
	m.target.bulk = (struct bulk){
		.ops = ops, .params = &m.target.params, .file = sink, .measuring = true};
	rc = measure(&m, ret_required, err);
	if (ops->abort)
		ops->abort(&m.target.bulk);
	bfile_close(sink);
	*ret_full = params->size;
	if (rc == 0 && ops->measure) {
		uint64_t unused;

		rc = ops->measure(params, 0, m.target.bulk.granule, &unused, ret_full, err);
	}
	return rc;
}

int image_measure(struct image *src, const char *format, const struct bulk_params *params,
		  bool scan, uint64_t *ret_required, uint64_t *ret_full, struct err *err)
{
	const struct image_format *f;
	struct bulk_params p = *params;
	struct image *spool = NULL;
	int rc;

	if (image_format_find(&f, format, err) < 0)
		return -1;
	if (!f->bulk)
		return err_set(err, ERR_UNSUPPORTED, "format %s can only be read", f->name);
	p.target_path = NULL; /* no file appears */
	p.target_is_zero = true;
	if (bulk_check_options(f, &p, err) < 0)
		return -1;
	if (src && image_is_stream(src)) {
		if (spool_image(src, NULL, &spool, err) < 0)
			return -1;
		src = spool;
	}
	if (p.size == 0 && src)
		p.size = image_size(src);
	rc = measure_with(src, f, &p, scan, ret_required, ret_full, err);
	image_close(spool);
	return rc;
}
