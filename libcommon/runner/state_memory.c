/* Guest memory of a saved machine: mapped or unpacked. See state.h. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <zstd.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/io.h"
#include "libcommon/runner/state.h"
#include "libcommon/runner/state_private.h"

/* The file's pages lie where anonymous ones were: what the guest changes is this process's own */
static int map_file(const struct state *s, struct guest_memory *m, struct err *err)
{
	uint64_t at = s->memory_off;

	for (unsigned i = 0; i < m->regions; i++) {
		struct guest_region *r = &m->region[i];

		if (mmap(r->host, r->size, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, s->fd, (off_t)at) == MAP_FAILED)
			return err_sys(err, "cannot map the saved memory");
		r->mapped = true;
		at += r->size;
	}
	return 0;
}

/* The place of byte @at of all memory; a unit never crosses regions, which begin at multiples of its size */
static uint8_t *place(const struct guest_memory *m, uint64_t at)
{
	for (unsigned i = 0; i < m->regions; i++) {
		if (at < m->region[i].size)
			return m->region[i].host + at;
		at -= m->region[i].size;
	}
	return NULL;
}

static int unpack_unit(const struct state *s, ZSTD_DCtx *z, uint64_t off, uint32_t len,
		       uint8_t *packed, size_t room, uint8_t *to, size_t n, struct err *err)
{
	size_t done;

	if (len > room || !range_inside(off, len, s->memory_off + s->memory_len))
		return err_set(err, ERR_CORRUPT,
			       "its memory is damaged: a unit of %" PRIu32 " bytes at %" PRIu64,
			       len, off);
	if (io_pread(s->fd, packed, len, off, err) < 0)
		return -1;
	done = ZSTD_decompressDCtx(z, to, n, packed, len);
	if (ZSTD_isError(done) || done != n)
		return err_set(err, ERR_CORRUPT, "its memory is damaged: %s",
			       ZSTD_isError(done) ? ZSTD_getErrorName(done)
						  : "a unit is too short");
	return 0;
}

static int unpack_all(const struct state *s, const struct guest_memory *m, ZSTD_DCtx *z,
		      struct err *err)
{
	uint64_t units = div_up(s->memory, STATE_UNIT), off = s->memory_off + units * 4;
	size_t room = ZSTD_compressBound(STATE_UNIT);
	CLEANUP_FREE uint8_t *table = NULL, *packed = NULL;

	if (units * 4 > s->memory_len)
		return err_set(err, ERR_CORRUPT, "its memory is damaged: it is too short");
	table = malloc((size_t)units * 4);
	packed = malloc(room);
	if (!table || !packed)
		return err_nomem(err);
	if (io_pread(s->fd, table, (size_t)units * 4, s->memory_off, err) < 0)
		return -1;
	for (uint64_t i = 0; i < units; i++) {
		uint32_t len = get_le32(table + 4 * i);
		size_t n = (size_t)min_u64(STATE_UNIT, s->memory - i * STATE_UNIT);

		if (len &&
		    unpack_unit(s, z, off, len, packed, room, place(m, i * STATE_UNIT), n, err) < 0)
			return -1;
		off += len;
	}
	return 0;
}

int state_memory(const struct state *s, struct guest_memory *ret, struct err *err)
{
	ZSTD_DCtx *z;
	int rc;

	if (guest_memory_create(ret, s->memory, err) < 0)
		return -1;
	if (!s->compressed) {
		rc = map_file(s, ret, err);
	} else {
		z = ZSTD_createDCtx();
		rc = z ? unpack_all(s, ret, z, err) : err_nomem(err);
		ZSTD_freeDCtx(z);
	}
	if (rc < 0)
		guest_memory_destroy(ret);
	return rc;
}
