/* Units of formats with large blocks: which granules hold data, their hash, storing them: see blocks.h. */
#include "libcommon/image/blocks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/iszero.h"
#include "libcommon/image/format.h"

enum {
	WORDS = BULK_UNIT_MAX / BLOCKS_GRANULE / 64 + 1,
	GAP_GRANULES = 4, /* zeros up to this long are written: cheaper than a system call more */
};

struct blocks_unit {
	uint64_t data[WORDS]; /* a bit a granule */
	struct blocks_id sum;
};

int blocks_unit_init(struct bulk *b, struct bulk_unit *u, struct err *err)
{
	(void)b;
	u->priv = calloc(1, sizeof(struct blocks_unit));
	return u->priv ? 0 : err_nomem(err);
}

void blocks_unit_free(struct bulk *b, struct bulk_unit *u)
{
	(void)b;
	free(u->priv);
	u->priv = NULL;
}

static void add_hash(struct blocks_unit *p, const void *bytes, size_t len, uint64_t seed)
{
	XXH128_hash_t h = XXH3_128bits_withSeed(bytes, len, seed);

	p->sum.lo += h.low64;
	p->sum.hi += h.high64;
}

/* The bytes are never read: what they are called is all there is to hash. */
static void add_source(struct blocks_unit *p, const struct bulk_unit *u)
{
	uint64_t what[6] = {u->off, u->len, u->src_off};
	struct stat st;

	if (u->src->fd >= 0 && fstat(u->src->fd, &st) == 0) {
		what[3] = (uint64_t)st.st_ino;
		what[4] = (uint64_t)st.st_mtim.tv_sec;
		what[5] = (uint64_t)st.st_mtim.tv_nsec;
	}
	add_hash(p, what, sizeof(what), 1);
}

int blocks_encode(struct bulk *b, struct bulk_unit *u, struct err *err)
{
	struct blocks_unit *p = u->priv;
	size_t n = div_up(u->len, BLOCKS_GRANULE);

	(void)b;
	if (u->off % BLOCKS_GRANULE || n > (size_t)64 * WORDS)
		return err_set(err, ERR_FAILED, "a unit begins inside a granule or is too long");
	memset(p, 0, sizeof(*p));
	if (u->src) {
		add_source(p, u);
		memset(p->data, 0xff, sizeof(p->data));
		return 0;
	}
	for (size_t i = 0; i < n; i++) {
		const uint8_t *at = u->data + i * BLOCKS_GRANULE;

		/* The last one is padded with zeros */
		if (is_zero(at, BLOCKS_GRANULE))
			continue;
		p->data[i / 64] |= 1ULL << i % 64;
		add_hash(p, at, BLOCKS_GRANULE, u->off + i * BLOCKS_GRANULE);
	}
	return 0;
}

size_t blocks_save(const struct bulk *b, const struct bulk_unit *u, uint8_t *out)
{
	(void)b;
	memcpy(out, u->priv, sizeof(struct blocks_unit));
	return sizeof(struct blocks_unit);
}

int blocks_load(struct bulk *b, struct bulk_unit *u, const uint8_t *in, size_t len, struct err *err)
{
	(void)b;
	if (bulk_load_len(len, sizeof(struct blocks_unit), err) < 0)
		return -1;
	memcpy(u->priv, in, len);
	return 0;
}

static bool has_data(const struct blocks_unit *p, uint64_t i)
{
	return p->data[i / 64] >> i % 64 & 1;
}

bool blocks_has_data(const struct bulk_unit *u, uint64_t off, uint64_t len)
{
	uint64_t first = (off - u->off) / BLOCKS_GRANULE;
	uint64_t end = div_up(off - u->off + len, BLOCKS_GRANULE);

	for (uint64_t i = first; i < end; i++)
		if (has_data(u->priv, i))
			return true;
	return false;
}

int blocks_store(struct bulk *b, struct bulk_unit *u, uint64_t off, uint64_t len, uint64_t host,
		 struct err *err)
{
	const struct blocks_unit *p = u->priv;
	uint64_t in = off - u->off, first = in / BLOCKS_GRANULE,
		 end = div_up(in + len, BLOCKS_GRANULE), i = first;

	if (u->src)
		return bulk_copy_range(b, u->src, u->src_off + in, host, len, err);
	while (i < end) {
		uint64_t last, from, to;

		if (!has_data(p, i)) {
			i++;
			continue;
		}
		last = i;
		for (uint64_t j = i + 1; j < end && j - last <= GAP_GRANULES; j++)
			if (has_data(p, j))
				last = j;
		from = i * BLOCKS_GRANULE;
		to = min_u64((last + 1) * BLOCKS_GRANULE, in + len);
		if (bfile_pwrite(b->file, u->data + from, (size_t)(to - from), host + from - in,
				 err) < 0)
			return -1;
		i = last + 1;
	}
	return 0;
}

int blocks_see_holes(struct extent *e, struct err *err)
{
	bool data = true;
	uint64_t len = e->len;

	if (e->kind != EXTENT_DATA || !e->file || e->file->fd < 0 || e->file->is_blockdev)
		return 0;
	if (bfile_map(e->file, e->host_off, e->len, &data, &len, err) < 0)
		return -1;
	e->len = min_u64(e->len, len);
	e->host_len = e->len;
	if (data)
		return 0;
	e->kind = EXTENT_ZERO;
	e->file = NULL;
	e->host_off = e->host_len = 0;
	return 0;
}

int blocks_write(struct image *img, const void *buf, uint64_t off, size_t len,
		 pthread_mutex_t *slow,
		 int (*look_up)(struct image *img, uint64_t off, uint64_t max, struct extent *ret,
				struct err *err),
		 int (*write_slow)(struct image *img, const uint8_t *buf, uint64_t off, size_t len,
				   size_t *ret_done, struct err *err),
		 struct err *err)
{
	const uint8_t *p = buf;

	while (len) {
		struct extent e = {0};
		size_t n;
		int rc;

		if (look_up(img, off, len, &e, err) < 0)
			return -1;
		n = (size_t)e.len;
		if (e.kind == EXTENT_DATA) {
			rc = bfile_pwrite(img->file, p, n, e.host_off, err);
		} else {
			pthread_mutex_lock(slow);
			rc = write_slow(img, p, off, len, &n, err);
			pthread_mutex_unlock(slow);
		}
		if (rc < 0)
			return -1;
		p += n;
		off += n;
		len -= n;
	}
	return 0;
}

int blocks_whole_sectors(struct image *img, uint32_t sector, const uint8_t *buf, uint64_t *off,
			 size_t *len, uint8_t **ret, struct err *err)
{
	uint64_t from = round_down(*off, sector), to = round_up(*off + *len, sector);
	CLEANUP_FREE uint8_t *whole = NULL;

	*ret = NULL;
	if (from == *off && to == *off + *len)
		return 0;
	whole = malloc((size_t)(to - from));
	if (!whole)
		return err_nomem(err);
	if (image_read(img, whole, from, sector, err) < 0 ||
	    (to - from > sector &&
	     image_read(img, whole + (to - from - sector), to - sector, sector, err) < 0))
		return -1;
	memcpy(whole + (*off - from), buf, *len);
	*off = from;
	*len = (size_t)(to - from);
	*ret = steal_ptr(&whole);
	return 0;
}

void blocks_id_add(struct blocks_id *id, const struct bulk_unit *u)
{
	const struct blocks_unit *p = u->priv;

	id->lo += p->sum.lo;
	id->hi += p->sum.hi;
}

int blocks_uuid(const struct bulk_params *p, const struct blocks_id *id, const void *salt,
		size_t salt_len, uint8_t ret[16], struct err *err)
{
	XXH128_hash_t h = XXH3_128bits_withSeed(salt, salt_len, p->size);
	uint64_t mix[4] = {id->lo, id->hi, h.low64, h.high64};

	if (p->random_ids) {
		if (getrandom(ret, 16, 0) != 16)
			return err_sys(err, "cannot get random bytes");
	} else {
		h = XXH3_128bits(mix, sizeof(mix));
		for (size_t i = 0; i < 8; i++) {
			ret[i] = (uint8_t)(h.high64 >> 8 * i);
			ret[8 + i] = (uint8_t)(h.low64 >> 8 * i);
		}
	}
	/* Version 4: random; 8: made in a way of one's own */
	ret[6] = (uint8_t)((ret[6] & 0x0f) | (p->random_ids ? 0x40 : 0x80));
	ret[8] = (uint8_t)((ret[8] & 0x3f) | 0x80);
	return 0;
}

char *blocks_uuid_text(const uint8_t u[16], char buf[BLOCKS_UUID_TEXT])
{
	(void)snprintf(buf, BLOCKS_UUID_TEXT,
		       "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", u[0],
		       u[1], u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12],
		       u[13], u[14], u[15]);
	return buf;
}

uint64_t blocks_time(const struct bulk_params *p)
{
	const char *epoch = getenv("SOURCE_DATE_EPOCH");
	char *end;

	if (p->random_ids)
		return (uint64_t)time(NULL);
	if (!epoch || *epoch < '0' || *epoch > '9')
		return 0;

	uint64_t t = strtoull(epoch, &end, 10);

	return *end ? 0 : t;
}

bool blocks_on(const struct bulk_params *p, const char *name, bool otherwise)
{
	const char *v = bulk_option(p, name);

	if (!v)
		return otherwise;
	return !*v || !strcmp(v, "on") || !strcmp(v, "true") || !strcmp(v, "yes") ||
	       !strcmp(v, "1");
}
