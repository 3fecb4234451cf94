/* image_copy(): plan, read, encode, place, store. */
#include <inttypes.h>
#include <string.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/log.h"
#include "libcommon/base/pipeline.h"
#include "libcommon/base/stop.h"
#include "libcommon/image/copy/parts.h"
#include "libcommon/image/copy/resume.h"
#include "libcommon/image/preset.h"
#include "libcommon/image/protocol/nbd.h"

struct copy {
	struct image *src;
	const struct copy_opts *opts;
	struct target target;
	struct plan plan;    /* produce's */
	struct rate rate;    /* produce's */
	uint64_t stream_pos; /* produce's: bytes read from a stream */
	bool stream_ended;
	uint64_t units;	       /* produce's: planned */
	bool planned;	       /* all of them */
	bool again;	       /* what was to be resumed did not fit and is gone */
	struct digest *digest; /* commit's, as all below */
	uint64_t digest_pos;
	uint64_t read_bytes, data_bytes, passed_bytes;
};

static int copy_unit_init(void *ctx, void *unit, struct err *err)
{
	struct copy *c = ctx;

	if (unit_init(unit, c->plan.unit_bytes, c->target.base != NULL, err) < 0)
		return -1;
	return c->plan.takes ? unit_keep_packed(unit, c->plan.granule, err) : 0;
}

static void copy_unit_free(void *ctx, void *unit)
{
	struct copy *c = ctx;

	unit_release(unit, c->target.begun ? &c->target.bulk : NULL);
}

/* Is @u stored since a former process had it? Then it is not read, but for the digest. */
static bool is_done(const struct copy *c, const struct unit *u)
{
	return c->target.resume && resume_done(c->target.resume, u->no);
}

static int produce_plan(void *ctx, void *unit, struct err *err)
{
	struct copy *c = ctx;
	struct unit *u = unit;
	int rc = plan_next(&c->plan, u, err);

	if (rc <= 0)
		return rc;
	u->no = c->units++;
	if (is_done(c, u) && !c->digest)
		return 1;
	return rate_wait(&c->rate, u->bytes, err) < 0 ? -1 : 1;
}

/* A stream has no extents: its next bytes are one run. */
static int produce_stream(void *ctx, void *unit, struct err *err)
{
	struct copy *c = ctx;
	struct unit *u = unit;
	size_t len = c->plan.unit_bytes;
	ssize_t n = c->stream_ended ? 0 : image_read_stream(c->src, u->buf, len, err);

	if (n < 0)
		return err_object(err, image_name(c->src));
	c->stream_ended = (size_t)n < len;
	if (n == 0)
		return 0;
	if (rate_wait(&c->rate, (uint64_t)n, err) < 0)
		return -1;
	u->n_runs = u->n_parts = 0;

	struct run *r = unit_add_run(u, err);

	if (!r)
		return -1;
	r->kind = RUN_DATA;
	r->off = c->stream_pos;
	r->len = (uint64_t)n;
	u->bytes = (size_t)round_up((uint64_t)n, c->plan.granule);
	memset(u->buf + n, 0, u->bytes - (size_t)n);
	u->read_bytes = (uint64_t)n;
	u->begin = c->stream_pos;
	c->stream_pos += (uint64_t)n;
	u->end = c->stream_pos;
	return 1;
}

static int copy_work(void *ctx, void *unit, struct err *err)
{
	struct copy *c = ctx;
	struct unit *u = unit;

	if (is_done(c, u)) {
		u->read_bytes = u->passed_bytes = 0;
		if (c->digest && unit_read(u, c->src, err) < 0)
			return -1;
		return resume_load(c->target.resume, u, &c->target.bulk, err);
	}
	if (!image_is_stream(c->src) && unit_read(u, c->src, err) < 0)
		return -1;
	if (c->target.kind == TARGET_STREAM)
		return 0;
	if (unit_cut(u, &c->target, err) < 0)
		return -1;
	return unit_encode(u, &c->target.bulk, err) < 0 ? err_object(err, c->target.name) : 0;
}

/* Zeros where the target would show something else; not where its backing file is zero as well. */
static int place_zeros(struct copy *c, const struct run *r, struct err *err)
{
	struct target *t = &c->target;
	struct bulk *b = &t->bulk;
	uint64_t at = r->off, end = r->off + r->len, covered = r->off;

	if (!b->ops->place_zero)
		return 0;
	if (!t->base)
		return b->ops->place_zero(b, r->off, r->len, err);
	end = min_u64(end, image_size(t->base));
	while (at < end) {
		struct extent e = {0};

		if (image_extent(t->base, at, end - at, &e, err) < 0)
			return err_object(err, image_name(t->base));
		at += e.len;
		if (e.kind != EXTENT_DATA || at <= covered)
			continue;

		uint64_t from = max_u64(round_down(e.off, b->granule), covered);
		uint64_t to = min_u64(round_up(at, b->granule), r->off + r->len);

		if (b->ops->place_zero(b, from, to - from, err) < 0)
			return -1;
		covered = to;
	}
	return 0;
}

/* Bulk units and zero runs ascend each by itself: merge them. */
static int place_unit(struct copy *c, struct unit *u, struct err *err)
{
	struct bulk *b = &c->target.bulk;
	unsigned next = 0;

	for (unsigned i = 0; i <= u->n_runs; i++) {
		const struct run *r = i < u->n_runs ? &u->runs[i] : NULL;

		if (r && r->kind != RUN_ZERO)
			continue;
		for (; next < u->n_bulk && (!r || u->bulk[next]->off < r->off); next++) {
			if (b->ops->place && b->ops->place(b, u->bulk[next], err) < 0)
				return -1;
			c->data_bytes += u->bulk[next]->len;
		}
		if (r && place_zeros(c, r, err) < 0)
			return -1;
	}
	return 0;
}

static int stream_unit(struct copy *c, const struct unit *u, struct err *err)
{
	for (unsigned i = 0; i < u->n_runs; i++) {
		const struct run *r = &u->runs[i];

		if (r->kind != RUN_DATA)
			continue;
		if (stream_write(&c->target, r->off, u->buf + r->buf_off, (size_t)r->len, err) < 0)
			return err_object(err, "standard output");
		c->data_bytes += r->len;
	}
	return 0;
}

static int copy_store(void *ctx, void *unit, struct err *err)
{
	struct copy *c = ctx;
	struct unit *u = unit;
	struct bulk *b = &c->target.bulk;
	struct resume *resume = c->target.resume;
	uint64_t stored = 0;

	if (is_done(c, u))
		return 0;
	for (unsigned i = 0; i < u->n_bulk; i++) {
		if (b->ops->store(b, u->bulk[i], err) < 0)
			return err_object(err, c->target.name);
		stored += u->bulk[i]->len;
	}
	target_stored(&c->target, stored);
	return resume ? resume_stored(resume, u->no, err) : 0;
}

static int copy_commit(void *ctx, void *unit, struct err *err)
{
	struct copy *c = ctx;
	struct unit *u = unit;

	c->read_bytes += u->read_bytes;
	c->passed_bytes += u->passed_bytes;
	if (c->digest && digest_unit(c->digest, &c->digest_pos, u, err) < 0)
		return -1;
	if (c->target.kind == TARGET_STREAM) {
		if (stream_unit(c, u, err) < 0)
			return -1;
	} else if (place_unit(c, u, err) < 0) {
		return err_object(err, c->target.name);
	} else if (c->target.resume &&
		   resume_placed(c->target.resume, u, &c->target.bulk, err) < 0) {
		return -1;
	} else if (c->target.kind == TARGET_PIPE && copy_store(c, u, err) < 0) {
		return -1;
	}
	progress_add(c->opts->progress, u->end - u->begin);
	return 0;
}

static void set_up_plan(struct copy *c)
{
	struct target *t = &c->target;
	struct plan *p = &c->plan;
	bool bulk = t->kind != TARGET_STREAM;
	struct stat st;

	plan_init(p, c->src, bulk ? t->bulk.granule : ZERO_BLOCK);
	if (image_is_stream(c->src))
		p->size = 0;
	p->disk_size = t->params.size;
	p->base = t->base;
	p->base_size = t->base ? image_size(t->base) : 0;
	p->want_zeros = bulk && (t->base || !t->params.target_is_zero);
	p->want_all = c->digest != NULL;
	p->clone = t->can_clone && t->bulk.ops->can_copy && !t->bulk.needs_data && !c->digest &&
		   !t->params.compress && !t->base;
	if (p->clone && fstat(t->file->fd, &st) == 0)
		p->clone_dev = st.st_dev;
	else
		p->clone = false;
	if (bulk && !t->base && t->bulk.ops->takes)
		p->takes = &t->bulk;
	p->forbidden = t->has_id ? &t->id : NULL;
	if (t->params.compress) {
		p->runs_max = RUNS_MAX_COMPRESSED;
		p->unit_bytes = UNIT_BYTES_COMPRESSED; /* no granule is larger */
	}
}

static int run(struct copy *c, struct copy_stats *stats, struct err *err)
{
	bool stream = image_is_stream(c->src), out = c->target.kind == TARGET_STREAM;
	const struct pipeline_ops ops = {
		.unit_size = sizeof(struct unit),
		.unit_init = copy_unit_init,
		.unit_free = copy_unit_free,
		.produce = stream ? produce_stream : produce_plan,
		.work = stream && out ? NULL : copy_work,
		.commit = copy_commit,
		.store = out || c->target.kind == TARGET_PIPE ? NULL : copy_store};

	set_up_plan(c);
	progress_begin(c->opts->progress, "convert", stream ? 0 : c->plan.size);
	if (pipeline_run(&ops, c, c->opts->threads, 0, err) < 0)
		return -1;
	c->planned = true;
	if (c->target.resume && resume_done(c->target.resume, c->units))
		return err_set(err, ERR_CORRUPT, "the record has units that the disk has not");
	if (stream) {
		c->target.params.size = c->stream_pos;
		/* The end may have been zeros, which nobody wrote. */
		if (!out && bfile_truncate(c->target.file, c->stream_pos, err) < 0)
			return err_object(err, c->target.name);
	} else if (c->opts->progress) {
		atomic_store(&c->opts->progress->done, c->plan.size); /* holes at the end */
	}
	if (c->digest && (digest_zeros(c->digest, c->target.params.size - c->digest_pos, err) < 0 ||
			  digest_final(c->digest, stats->digest, err) < 0))
		return -1;
	return target_finish(&c->target, c->src, stats, err);
}

/* Open the target for @c->src, which is final: a spool file has taken the place of a stream if needed. */
static int open_target(struct copy *c, const char *target, struct err *err)
{
	uint64_t size = image_is_stream(c->src) ? 0 : image_size(c->src);
	uint64_t want = c->opts->params.size;

	if (c->opts->preset &&
	    image_preset_size(c->opts->preset, max_u64(want, size), &want, err) < 0)
		return -1;
	if (want && want < size)
		return err_set(err, ERR_USAGE,
			       "a disk of %" PRIu64 " bytes does not fit into one of %" PRIu64,
			       size, want);
	if (want > size && (image_is_stream(c->src) || c->opts->params.backing_name))
		return err_set(err, ERR_USAGE, "the size of this target is that of the source");
	return target_open(&c->target, c->src, target, c->opts, max_u64(want, size), err);
}

/* Partition tables and file systems count in sectors: a guest may not find them on the new disk. */
static void warn_of_sectors(const struct copy *c)
{
	const struct target *t = &c->target;
	uint32_t from = c->src->sector_size, to = t->bulk.sector_size ? t->bulk.sector_size : 512;

	if (from && from != to && t->kind != TARGET_DEVICE)
		log_warning("%s: has sectors of %" PRIu32 " bytes, the target of %" PRIu32
			    ": partition tables count in sectors",
			    image_name(c->src), from, to);
}

static int copy_from(struct copy *c, const char *target, struct copy_stats *stats, struct err *err)
{
	int rc;

	if (c->opts->digest && digest_new(&c->digest, c->opts->digest, err) < 0)
		return -1;
	if (open_target(c, target, err) < 0) {
		digest_free(c->digest);
		return -1;
	}
	warn_of_sectors(c);
	c->rate.limit = c->opts->rate_limit;
	rc = run(c, stats, err);
	c->again = rc < 0 && c->target.resume &&
		   resume_unfit(c->target.resume, c->planned ? c->units : UINT64_MAX);
	stats->virtual_size = c->target.params.size;
	stats->read_bytes = c->read_bytes;
	stats->passed_bytes = c->passed_bytes;
	stats->data_bytes = c->data_bytes;
	target_close(&c->target);
	digest_free(c->digest);
	return rc;
}

int image_copy_check(struct image *src, const char *target, const struct copy_opts *opts,
		     const char **ret_format, struct err *err)
{
	struct copy_opts dry = *opts;
	struct copy c = {.src = src, .opts = &dry};
	int rc = 0;

	dry.resume = false; /* what is left of a former call stays */
	if (opts->preset && opts->preset->archive) {
		*ret_format = "tar.gz";
		return archive_check(opts, err);
	}
	if (opts->digest && digest_new(&c.digest, opts->digest, err) < 0)
		return -1;
	digest_free(c.digest);
	if (open_target(&c, target, err) < 0) /* nothing is written before the first unit */
		return -1;
	warn_of_sectors(&c);
	*ret_format = c.target.format->name;
	if (opts->resume)
		rc = target_check_resume(&c.target, err);
	target_close(&c.target);
	return rc;
}

/* Can @target take a disk whose size is known at its end only? */
static int takes_stream(const struct copy_opts *opts, const char *target, bool *ret,
			struct err *err)
{
	const struct image_format *format;
	struct stat st;

	if (target_format(&format, opts->target_format, target, err) < 0)
		return -1;
	*ret = strcmp(format->name, "raw") == 0 && !opts->verify && !opts->preset &&
	       !opts->params.backing_name && !nbd_is_uri(target) &&
	       !(stat(target, &st) == 0 && S_ISBLK(st.st_mode));
	return 0;
}

int image_copy(struct image *src, const char *target, const struct copy_opts *opts,
	       struct copy_stats *ret, struct err *err)
{
	struct copy c = {.src = src, .opts = opts};
	struct image *spool = NULL;
	bool direct = true;
	int rc;

	*ret = (struct copy_stats){0};
	if (opts->preset && opts->preset->archive)
		return archive_copy(src, target, opts, ret, err);
	if (image_is_stream(src)) {
		if (takes_stream(opts, target, &direct, err) < 0)
			return -1;
		if (!direct) {
			if (spool_image(src, opts->progress, &spool, err) < 0)
				return -1;
			c.src = spool;
		}
	}
	rc = copy_from(&c, target, ret, err);
	if (rc < 0 && c.again) {
		err_clear(err);
		c = (struct copy){.src = c.src, .opts = opts};
		rc = copy_from(&c, target, ret, err);
	}
	image_close(spool);
	return rc;
}
