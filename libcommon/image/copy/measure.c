/* How large a target would be. */
#include <stdio.h>
#include <sys/mman.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/iszero.h"
#include "libcommon/base/pipeline.h"
#include "libcommon/image/copy/parts.h"

struct measuring {
	struct image *src;
	struct plan plan;  /* produce's */
	uint64_t granules; /* commit's */
};

static int init(void *ctx, void *unit, struct err *err)
{
	struct measuring *m = ctx;

	return unit_init(unit, m->plan.unit_bytes, false, err);
}

static void release(void *ctx, void *unit)
{
	(void)ctx;
	unit_release(unit, NULL);
}

static int produce(void *ctx, void *unit, struct err *err)
{
	struct measuring *m = ctx;

	return plan_next(&m->plan, unit, err);
}

/* Leaves in the unit the number of granules that are not all zero. */
static int scan(void *ctx, void *unit, struct err *err)
{
	struct measuring *m = ctx;
	struct unit *u = unit;
	uint32_t granule = m->plan.granule;

	if (unit_read(u, m->src, err) < 0)
		return -1;
	u->read_bytes = 0;
	for (size_t at = 0; at < u->bytes; at += granule)
		u->read_bytes += !is_zero(u->buf + at, granule);
	return 0;
}

static int add(void *ctx, void *unit, struct err *err)
{
	struct measuring *m = ctx;
	struct unit *u = unit;

	(void)err;
	m->granules += u->read_bytes;
	return 0;
}

static int count_extents(struct measuring *m, struct err *err)
{
	struct unit u = {0};
	int rc;

	while ((rc = plan_next(&m->plan, &u, err)) > 0)
		m->granules += u.bytes / m->plan.granule;
	unit_release(&u, NULL);
	return rc;
}

static int count(struct image *src, uint32_t granule, unsigned threads, bool scanning,
		 uint64_t *ret_granules, struct err *err)
{
	static const struct pipeline_ops ops = {.unit_size = sizeof(struct unit),
						.unit_init = init,
						.unit_free = release,
						.produce = produce,
						.work = scan,
						.commit = add};
	struct measuring m = {.src = src};
	int rc;

	plan_init(&m.plan, src, granule);
	m.plan.gap_max = 0;
	rc = scanning ? pipeline_run(&ops, &m, threads, 0, err) : count_extents(&m, err);
	*ret_granules = m.granules;
	return rc;
}

/* The granule that @format chooses for @params: it begins to write to a file in memory. */
static int find_granule(const struct image_format *format, const struct bulk_params *params,
			uint32_t *ret, struct err *err)
{
	struct bulk b = {.ops = format->bulk, .params = params};
	int fd = memfd_create("vmkit-measure", MFD_CLOEXEC);
	int rc;

	if (fd < 0)
		return err_sys(err, "cannot create a file in memory");
	if (bfile_of_fd(&b.file, fd, "measure", true, err) < 0)
		return -1;
	rc = b.ops->begin(&b, err);
	*ret = b.granule;
	if (b.ops->abort)
		b.ops->abort(&b);
	bfile_close(b.file);
	return rc;
}

static int measure(struct image *src, const struct image_format *format, struct bulk_params *params,
		   bool scanning, uint64_t *ret_required, uint64_t *ret_full, struct err *err)
{
	uint64_t granules = 0;
	uint32_t granule = 0;

	if (params->size == 0 && src)
		params->size = image_size(src);
	if (find_granule(format, params, &granule, err) < 0)
		return -1;
	if (src && count(src, granule, params->threads, scanning, &granules, err) < 0)
		return -1;
	if (format->bulk->measure)
		return format->bulk->measure(params, granules, granule, ret_required, ret_full,
					     err);
	*ret_full = params->size;
	*ret_required = min_u64(granules * granule, params->size);
	return 0;
}

int image_measure(struct image *src, const char *format, const struct bulk_params *params,
		  bool scanning, uint64_t *ret_required, uint64_t *ret_full, struct err *err)
{
	const struct image_format *f;
	struct bulk_params p = *params;
	struct image *spool = NULL;
	int rc;

	if (image_format_find(&f, format, err) < 0)
		return -1;
	if (!f->bulk)
		return err_set(err, ERR_UNSUPPORTED, "format %s can only be read", f->name);
	p.target_path = NULL;
	p.target_is_zero = true;
	if (bulk_check_options(f, &p, err) < 0)
		return -1;
	if (src && image_is_stream(src)) {
		if (spool_image(src, NULL, &spool, err) < 0)
			return -1;
		src = spool;
	}
	rc = measure(src, f, &p, scanning, ret_required, ret_full, err);
	image_close(spool);
	return rc;
}
