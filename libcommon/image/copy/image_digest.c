/* Digests of the whole virtual content, holes as zeros. */
#include "libcommon/base/checked.h"
#include "libcommon/base/pipeline.h"
#include "libcommon/image/copy/parts.h"

int digest_unit(struct digest *d, uint64_t *pos, const struct unit *u, struct err *err)
{
	for (unsigned i = 0; i < u->n_runs; i++) {
		const struct run *r = &u->runs[i];

		if (r->kind != RUN_DATA)
			continue;
		if (digest_zeros(d, r->off - *pos, err) < 0 ||
		    digest_update(d, u->buf + r->buf_off, (size_t)r->len, err) < 0)
			return -1;
		*pos = r->off + r->len;
	}
	return 0;
}

struct digesting {
	struct image *img;
	struct progress *progress;
	struct plan plan;      /* produce's */
	struct digest *digest; /* commit's */
	uint64_t pos;
};

static int init(void *ctx, void *unit, struct err *err)
{
	struct digesting *d = ctx;

	return unit_init(unit, d->plan.unit_bytes, false, err);
}

static void release(void *ctx, void *unit)
{
	(void)ctx;
	unit_release(unit, NULL);
}

static int produce(void *ctx, void *unit, struct err *err)
{
	struct digesting *d = ctx;

	return plan_next(&d->plan, unit, err);
}

static int work(void *ctx, void *unit, struct err *err)
{
	struct digesting *d = ctx;

	return unit_read(unit, d->img, err);
}

static int commit(void *ctx, void *unit, struct err *err)
{
	struct digesting *d = ctx;
	struct unit *u = unit;

	progress_add(d->progress, u->end - u->begin);
	return digest_unit(d->digest, &d->pos, u, err);
}

/* The next bytes of a stream are one run. */
static int produce_stream(void *ctx, void *unit, struct err *err)
{
	struct digesting *d = ctx;
	struct unit *u = unit;
	ssize_t n = image_read_stream(d->img, u->buf, d->plan.unit_bytes, err);

	if (n <= 0)
		return n < 0 ? err_object(err, image_name(d->img)) : 0;
	u->n_runs = 0;

	struct run *r = unit_add_run(u, err);

	if (!r)
		return -1;
	r->off = d->plan.pos;
	r->len = (uint64_t)n;
	u->begin = d->plan.pos;
	u->end = d->plan.pos += (uint64_t)n;
	return 1;
}

int image_digest(struct image *img, const char *algorithm, unsigned threads,
		 struct progress *progress, char ret_hex[129], struct err *err)
{
	struct digesting d = {.img = img, .progress = progress};
	bool stream = image_is_stream(img);
	const struct pipeline_ops ops = {.unit_size = sizeof(struct unit),
					 .unit_init = init,
					 .unit_free = release,
					 .produce = stream ? produce_stream : produce,
					 .work = stream ? NULL : work,
					 .commit = commit};
	int rc;

	plan_init(&d.plan, img, ZERO_BLOCK);
	if (digest_new(&d.digest, algorithm, err) < 0)
		return -1;
	progress_begin(progress, "digest", stream ? 0 : d.plan.size);
	rc = pipeline_run(&ops, &d, threads, 0, err);
	if (rc == 0 && !stream)
		rc = digest_zeros(d.digest, d.plan.size - d.pos, err);
	if (rc == 0)
		rc = digest_final(d.digest, ret_hex, err);
	digest_free(d.digest);
	return rc;
}
