/* Plans: the extents of the source cut into units of work. One thread (produce) plans.
 *
 * A unit is not a contiguous range but up to RUNS_MAX runs: a disk with 60000 separate 4 KiB blocks must not
 * become 60000 rounds of the pipeline, and zeros between blocks must not be filled, scanned and dropped.
 */
#include "libcommon/base/checked.h"
#include "libcommon/base/stop.h"
#include "libcommon/image/copy/parts.h"

bool same_inode(const struct stat *a, const struct stat *b)
{
	if (S_ISBLK(a->st_mode) && S_ISBLK(b->st_mode))
		return a->st_rdev == b->st_rdev;
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* Do both extents, which begin at the same guest offset, lie at the same place of the same file? */
static bool same_place(const struct extent *a, const struct extent *b)
{
	struct stat sa, sb;

	if (!a->file || !b->file || a->host_off != b->host_off || a->codec != b->codec)
		return false;
	if (a->codec == CODEC_OPAQUE || a->layer->format != b->layer->format)
		return false;
	if (a->file == b->file)
		return true;
	return a->file->fd >= 0 && b->file->fd >= 0 && fstat(a->file->fd, &sa) == 0 &&
	       fstat(b->file->fd, &sb) == 0 && same_inode(&sa, &sb);
}

int plan_pair(struct image *a, struct image *b, uint64_t b_size, uint64_t off, uint64_t max,
	      struct extent *ret, enum pair_kind *ret_kind, struct err *err)
{
	struct extent eb = {.kind = EXTENT_UNALLOCATED};

	if (image_extent(a, off, max, ret, err) < 0)
		return err_object(err, image_name(a));

	bool zero = ret->kind != EXTENT_DATA;

	*ret_kind = zero ? PAIR_ZERO : PAIR_DATA;
	if (!b)
		return 0;
	if (off < b_size) {
		if (image_extent(b, off, min_u64(ret->len, b_size - off), &eb, err) < 0)
			return err_object(err, image_name(b));
		ret->len = min_u64(ret->len, eb.len);
	}
	if (zero && eb.kind != EXTENT_DATA)
		*ret_kind = PAIR_SAME;
	else if (!zero && eb.kind == EXTENT_DATA && same_place(ret, &eb))
		*ret_kind = PAIR_SAME;
	return 0;
}

/* The extent at p->pos, from the last answer while it lasts. */
static int next_extent(struct plan *p, struct extent *ret, enum pair_kind *ret_kind,
		       struct err *err)
{
	uint64_t done = p->pos - p->last.off;

	if (p->last.len == 0 || done >= p->last.len) {
		if (plan_pair(p->src, p->base, p->base_size, p->pos, p->size - p->pos, &p->last,
			      &p->last_kind, err) < 0)
			return -1;
		if (p->last.off != p->pos || p->last.len == 0)
			return err_set(err, ERR_FAILED, "the extent at %llu is empty",
				       (unsigned long long)p->pos);
		if (p->want_all && p->last_kind == PAIR_SAME)
			p->last_kind = p->last.kind == EXTENT_DATA ? PAIR_DATA : PAIR_ZERO;
		done = 0;
	}
	*ret = p->last;
	*ret_kind = p->last_kind;
	ret->off += done;
	ret->len -= done;
	if (ret->file && ret->codec == CODEC_NONE)
		ret->host_off += done;
	return 0;
}

/* The target may be a device that the source reads from by way of its chain or its data file. */
static int refuse_target(struct plan *p, const struct bfile *file, struct err *err)
{
	struct stat st;

	if (!file || file == p->checked || !p->forbidden)
		return 0;
	p->checked = file;
	if (file->fd >= 0 && fstat(file->fd, &st) == 0 && same_inode(&st, p->forbidden))
		return err_set(err, ERR_USAGE, "the target is a file that the source consists of");
	return 0;
}

static int add_zeros(struct plan *p, struct unit *u, uint64_t end, struct err *err)
{
	struct run *r = unit_add_run(u, err);

	if (!r)
		return -1;
	r->kind = RUN_ZERO;
	r->off = p->covered;
	r->len = end - p->covered;
	p->covered = end;
	return 0;
}

static bool is_plain(const struct extent *e)
{
	return e->file && e->codec == CODEC_NONE;
}

/* Bytes [a, b) of extent @e as a part of @r. */
static int add_part(struct plan *p, struct unit *u, struct run *r, const struct extent *e,
		    uint64_t a, uint64_t b, struct err *err)
{
	struct part part = {.off = a, .len = (size_t)(b - a)};

	if (p->takes && e->file && e->codec != CODEC_NONE && part.len == p->granule &&
	    a % p->granule == 0 && e->len == part.len && e->layer->cluster_size == p->granule &&
	    e->layer->codec_cache && e->host_len && e->host_len < 2ULL * p->granule &&
	    p->takes->ops->takes(p->takes, e->codec)) {
		part.layer = e->layer;
		part.codec = e->codec;
		part.host_off = e->host_off;
		part.host_len = e->host_len;
		part.file = e->file;
	} else if (is_plain(e) && !p->base) {
		part.file = e->file;
		part.host_off = e->host_off + (a - e->off);
		/* Where a container's file ends inside a cluster its format says what that means. */
		if (!range_inside(part.host_off, part.len, bfile_size(e->file)))
			part.file = NULL;
	}
	return unit_add_part(u, r, &part, err);
}

static bool can_share(struct plan *p, const struct bfile *file)
{
	struct stat st;

	if (file == p->cloned)
		return true;
	if (file->fd < 0 || fstat(file->fd, &st) < 0 || !S_ISREG(st.st_mode) ||
	    st.st_dev != p->clone_dev)
		return false;
	p->cloned = file;
	return true;
}

/* Whole granules of a plain extent that need no buffer. Return: 1 taken, 0 no, -1 */
static int add_clone(struct plan *p, struct unit *u, const struct extent *e, struct err *err)
{
	uint64_t end = round_down(e->off + e->len, p->granule);

	if (!p->clone || !is_plain(e) || !can_share(p, e->file) || e->off & (p->granule - 1) ||
	    e->host_off & (ZERO_BLOCK - 1) || e->off < p->covered || end <= e->off)
		return 0;
	end = min_u64(end, e->off + round_down(BULK_UNIT_MAX, p->granule));
	if (!range_inside(e->host_off, end - e->off, bfile_size(e->file)))
		return 0;
	if (p->want_zeros && e->off > p->covered && add_zeros(p, u, e->off, err) < 0)
		return -1;

	struct run *r = unit_add_run(u, err);

	if (!r)
		return -1;
	r->kind = RUN_CLONE;
	r->off = e->off;
	r->len = end - e->off;
	p->covered = end;
	p->pos = end;
	return add_part(p, u, r, e, r->off, end, err) < 0 ? -1 : 1;
}

/* Begin a run at @start or make the last one longer; Return: NULL with *@ret_full: the unit has no room */
static struct run *grow_run(struct plan *p, struct unit *u, uint64_t start, bool *ret_full,
			    struct err *err)
{
	struct run *last = u->n_runs ? &u->runs[u->n_runs - 1] : NULL;
	uint64_t gap_max = p->base ? 0 : p->gap_max;

	if (last && last->kind == RUN_DATA && start - p->covered <= gap_max) {
		uint64_t gap = start - p->covered;

		*ret_full = u->bytes + gap + p->granule > p->unit_bytes;
		if (*ret_full)
			return NULL;
		u->bytes += gap;
		return last;
	}
	*ret_full = u->bytes + p->granule > p->unit_bytes;
	if (*ret_full)
		return NULL;
	if (p->want_zeros && !p->base && start > p->covered && add_zeros(p, u, start, err) < 0)
		return NULL;

	struct run *r = unit_add_run(u, err);

	if (r) {
		r->kind = RUN_DATA;
		r->off = start;
		r->buf_off = u->bytes;
	}
	return r;
}

/* Return: 1 when the unit is full and nothing was taken, 0, -1 */
static int add_data(struct plan *p, struct unit *u, const struct extent *e, struct err *err)
{
	uint64_t a = e->off, b = a + e->len;

	if (refuse_target(p, e->file, err) < 0)
		return -1;
	if (a < p->covered) { /* the rest of a granule that the last run covers */
		p->pos = min_u64(b, p->covered);
		if (p->base)
			return 0; /* its runs are read whole */
		return add_part(p, u, &u->runs[u->n_runs - 1], e, a, p->pos, err);
	}

	int rc = add_clone(p, u, e, err);

	if (rc)
		return rc < 0 ? -1 : 0;

	uint64_t start = round_down(a, p->granule);
	bool full = false;
	struct run *r = grow_run(p, u, start, &full, err);

	if (!r)
		return full ? 1 : -1;

	uint64_t next = round_up(a + 1, p->granule);

	if (p->clone && is_plain(e) && a > start && b > next)
		b = next; /* what follows can be cloned */

	uint64_t end = min_u64(round_up(b, p->granule), start + (p->unit_bytes - u->bytes));

	b = min_u64(b, end);
	if (p->base)
		rc = add_part(p, u, r, e, max_u64(start, p->covered), min_u64(end, p->size), err);
	else
		rc = add_part(p, u, r, e, a, b, err);
	u->bytes += (size_t)(end - start);
	p->covered = end;
	p->pos = b;
	r->len = min_u64(end, p->disk_size) - r->off;
	return rc;
}

/* Zeros over a base that may hold data: whole granules become zero runs, what shares a granule with other
 * bytes is stored as data. */
static int add_zeros_over_base(struct plan *p, struct unit *u, const struct extent *e,
			       struct err *err)
{
	uint64_t end = e->off + e->len;
	struct extent part = *e;

	if (end < p->size)
		end = round_down(end, p->granule);
	if (e->off < p->covered || e->off & (p->granule - 1) || end <= e->off) {
		part.len = min_u64(e->len, round_up(e->off + 1, p->granule) - e->off);
		part.file = NULL;
		return add_data(p, u, &part, err);
	}
	p->covered = e->off;
	if (add_zeros(p, u, end, err) < 0)
		return -1;
	p->pos = end;
	return 0;
}

void plan_init(struct plan *p, struct image *src, uint32_t granule)
{
	*p = (struct plan){.src = src,
			   .size = image_size(src),
			   .disk_size = image_size(src),
			   .granule = granule,
			   .gap_max = GAP_MAX,
			   .unit_bytes = granule > UNIT_BYTES ? granule : UNIT_BYTES,
			   .runs_max = RUNS_MAX};
}

int plan_next(struct plan *p, struct unit *u, struct err *err)
{
	u->n_runs = u->n_parts = 0;
	u->bytes = 0;
	u->begin = p->pos;
	while (p->pos < p->size) {
		struct extent e = {0};
		enum pair_kind kind = PAIR_SAME;
		bool tail = p->pos < p->covered;
		int rc = 0;

		if (!tail && (u->bytes >= p->unit_bytes || u->n_runs + 2 > p->runs_max))
			break;
		if (stop_check(err) < 0 || next_extent(p, &e, &kind, err) < 0)
			return -1;
		if (tail)
			e.len = min_u64(e.len, p->covered - p->pos);
		if (kind == PAIR_DATA)
			rc = add_data(p, u, &e, err);
		else if (kind == PAIR_ZERO && p->base && p->want_zeros)
			rc = add_zeros_over_base(p, u, &e, err);
		else
			p->pos += e.len;
		if (rc < 0)
			return -1;
		if (rc > 0)
			break;
	}
	if (p->pos >= p->size && p->want_zeros && !p->base && p->covered < p->size &&
	    u->n_runs < p->runs_max && add_zeros(p, u, p->size, err) < 0)
		return -1;
	u->end = p->pos;
	return u->n_runs > 0;
}
