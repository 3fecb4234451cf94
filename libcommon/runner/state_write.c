/* Writing a saved machine's file: see state.h. The head comes last: what was interrupted is no state. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/io.h"
#include "libcommon/base/iszero.h"
#include "libcommon/runner/state.h"
#include "libcommon/runner/state_private.h"

enum { PAGE = 4096, PAGES = STATE_UNIT / PAGE, LEVEL = 1 };

#define PRESENT                                                                                    \
	(UINT64_C(1) << 63 |                                                                       \
	 UINT64_C(1) << 62) /* or swapped out: Documentation/admin-guide/mm/pagemap.rst */

/* Which pages of a unit were ever touched: reading others would give them memory. Without pagemap, or where a file lies
 * behind: all */
static void touched(int pagemap, const struct guest_region *r, uint64_t off, size_t pages,
		    bool ret[PAGES])
{
	uint64_t entry[PAGES];
	off_t at = (off_t)(((uintptr_t)r->host + off) / PAGE * sizeof(entry[0]));
	bool known = !r->mapped && pagemap >= 0 &&
		     pread(pagemap, entry, pages * sizeof(entry[0]), at) ==
			     (ssize_t)(pages * sizeof(entry[0]));

	for (size_t i = 0; i < pages; i++)
		ret[i] = !known || (entry[i] & PRESENT);
}

/* Those pages that hold something, in as few writes as can be; the others stay holes */
static int write_plain(struct state_writer *w, const uint8_t *from, const bool *want, size_t pages,
		       uint64_t at, struct err *err)
{
	for (size_t i = 0; i < pages;) {
		size_t n = 0;

		while (i + n < pages && want[i + n] && !is_zero(from + (i + n) * PAGE, PAGE))
			n++;
		if (n && io_pwrite(w->fd, from + i * PAGE, n * PAGE, at + i * PAGE, err) < 0)
			return -1;
		i += n ? n : 1;
	}
	return 0;
}

struct packer {
	ZSTD_CCtx *z;
	uint8_t *packed, *table;
	size_t room;
	uint64_t unit, at;
};

static int write_packed(struct state_writer *w, struct packer *p, const uint8_t *from,
			const bool *want, size_t pages, struct err *err)
{
	bool any = false;
	size_t n;

	for (size_t i = 0; i < pages && !any; i++)
		any = want[i] && !is_zero(from + i * PAGE, PAGE);
	put_le32(p->table + 4 * p->unit++, 0);
	if (!any)
		return 0;
	n = ZSTD_compress2(p->z, p->packed, p->room, from, pages * PAGE);
	if (ZSTD_isError(n))
		return err_set(err, ERR_FAILED, "cannot compress: %s", ZSTD_getErrorName(n));
	put_le32(p->table + 4 * (p->unit - 1), (uint32_t)n);
	if (io_pwrite(w->fd, p->packed, n, p->at, err) < 0)
		return -1;
	p->at += n;
	return 0;
}

static int write_region(struct state_writer *w, struct packer *p, const struct guest_region *r,
			int pagemap, uint64_t at, struct err *err)
{
	bool want[PAGES];

	for (uint64_t off = 0; off < r->size; off += STATE_UNIT) {
		size_t pages = (size_t)min_u64(PAGES, (r->size - off) / PAGE);
		int rc;

		if (w->give_up && w->give_up(w->ctx))
			return err_set(err, ERR_BUSY, "the machine ended while it was saved");
		touched(pagemap, r, off, pages, want);
		rc = p ? write_packed(w, p, r->host + off, want, pages, err)
		       : write_plain(w, r->host + off, want, pages, at + off, err);
		if (rc < 0)
			return -1;
	}
	return 0;
}

static int write_regions(struct state_writer *w, struct packer *p, const struct guest_memory *m,
			 struct err *err)
{
	int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC), rc = 0;
	uint64_t at = STATE_HEAD;

	for (unsigned i = 0; rc == 0 && i < m->regions; i++) {
		rc = write_region(w, p, &m->region[i], pagemap, at, err);
		at += m->region[i].size;
	}
	if (pagemap >= 0)
		(void)close(pagemap);
	return rc;
}

static int write_compressed(struct state_writer *w, const struct guest_memory *m, struct err *err)
{
	uint64_t units = div_up(w->memory, STATE_UNIT);
	struct packer p = {.at = STATE_HEAD + units * 4, .room = ZSTD_compressBound(STATE_UNIT)};
	int rc;

	p.z = ZSTD_createCCtx();
	p.table = malloc((size_t)units * 4);
	p.packed = malloc(p.room);
	if (!p.z || !p.table || !p.packed ||
	    ZSTD_isError(ZSTD_CCtx_setParameter(p.z, ZSTD_c_compressionLevel, LEVEL)) ||
	    ZSTD_isError(ZSTD_CCtx_setParameter(p.z, ZSTD_c_checksumFlag, 1)))
		rc = err_nomem(err);
	else
		rc = write_regions(w, &p, m, err);
	if (rc == 0)
		rc = io_pwrite(w->fd, p.table, (size_t)units * 4, STATE_HEAD, err);
	w->memory_len = p.at - STATE_HEAD;
	ZSTD_freeCCtx(p.z);
	free(p.table);
	free(p.packed);
	return rc;
}

int state_write_memory(struct state_writer *w, const struct guest_memory *m, struct err *err)
{
	int rc;

	w->memory = 0;
	for (unsigned i = 0; i < m->regions; i++)
		w->memory += m->region[i].size;
	w->memory_len = w->memory;
	rc = w->compress ? write_compressed(w, m, err) : write_regions(w, NULL, m, err);
	w->at = round_up(STATE_HEAD + w->memory_len, PAGE);
	return rc;
}

int state_write_end(struct state_writer *w, const struct state_out *sections, struct err *err)
{
	uint8_t head[STATE_HEAD] = {0};
	char digest[DIGEST_HEX_MAX];

	if (sections->failed)
		return err_nomem(err);
	memcpy(head, STATE_MAGIC, 8);
	put_le32(head + STATE_AT_VERSION, STATE_VERSION);
	put_le32(head + STATE_AT_FLAGS,
		 (w->compress ? STATE_COMPRESSED : 0U) | (w->waits ? STATE_WAITS : 0U));
	put_le64(head + STATE_AT_GUEST, w->memory);
	put_le64(head + STATE_AT_MEMORY, STATE_HEAD);
	put_le64(head + STATE_AT_MEMORY + 8, w->memory_len);
	put_le64(head + STATE_AT_SECTIONS, w->at);
	put_le64(head + STATE_AT_SECTIONS + 8, sections->len);
	put_le64(head + STATE_AT_LENGTH, w->at + sections->len);
	if (state_digest(sections->data, sections->len, digest, err) < 0)
		return -1;
	memcpy(head + STATE_AT_SECTIONS_DIGEST, digest, STATE_DIGEST);
	if (state_digest(head, STATE_AT_HEAD_DIGEST, digest, err) < 0)
		return -1;
	memcpy(head + STATE_AT_HEAD_DIGEST, digest, STATE_DIGEST);
	if (io_pwrite(w->fd, sections->data, sections->len, w->at, err) < 0)
		return -1;
	return io_pwrite(w->fd, head, sizeof(head), 0, err);
}
