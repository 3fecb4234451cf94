/* Chunks that are stored as what differs from older chunks of the same place, and reading any chunk however it is stored.
 *
 *	blob	= one zstd frame, made with the bases, one after the other, as prefix; it gives the chunk
 *
 * Databases and logs change a few bytes of each 4 KiB block in place: 1300 changed chunks (90 MiB, 42 MiB compressed) of a
 * database took 0.7 MiB so (2026-11-26, SQLite, 4000 rows of 500 000 updated). Bases are always chunks with a blob of their
 * own, so a chain is never longer than one; what a page says needs (page.h), whoever marks, checks or copies follows.
 */
#ifndef VMKIT_REPO_DELTA_H
#define VMKIT_REPO_DELTA_H

#include "libcommon/repo/page.h"
#include "libcommon/repo/store.h"

/** struct delta_maker - contexts and buffers of one thread, about 4 MiB once it has worked */
struct delta_maker;
int delta_maker_new(struct delta_maker **ret, int level, struct err *err);
void delta_maker_free(struct delta_maker *m); /* NULL is fine */

/**
 * delta_choose() - the bases of a new chunk at [off, off + len) of a region: the chunks of the older page there, or what
 * these were made from. Return: false when there are none that this repository holds
 */
bool delta_choose(struct store *st, const struct page *older, uint32_t off, uint32_t len,
		  struct page_delta *ret);

/**
 * delta_make() - @d has its bases; *@ret is borrowed until the next call, @d gets its id and length
 * Return: 1; 0 when it is not worth it, or a base cannot be read; -1
 */
int delta_make(struct delta_maker *m, struct store *st, struct page_delta *d, const uint8_t *data,
	       size_t len, const uint8_t **ret, struct err *err);

/** chunk_get() - @len bytes from @off of the chunk, which match its id; any thread. Errors as store_get_range() */
int chunk_get(struct store *st, const struct page_chunk *c, size_t off, void *buf, size_t len,
	      struct err *err);

/** chunk_has() - is all there that the chunk needs? @has: store_has() or store_has_copy() */
bool chunk_has(struct store *st, const struct page_chunk *c,
	       bool (*has)(struct store *st, const struct repo_id *id));

#endif
