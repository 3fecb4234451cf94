/* Pages: the nodes of a disk's tree, content-addressed blobs of type BLOB_PAGE.
 *
 *	page 2   = "VPG2" as a leaf, then: deltas:u32, that many times (index:u32 bases:u32 id:32 bytes length:u32,
 *		   that many times (id:32 bytes length:u32))	; chunks that are stored as a delta, ascending; at least one
 *	page     = "VPG1" level:u8 0:u8 0:u8 0:u8 count:u32 (leaf | interior)	; all integers little-endian
 *	leaf     = count * word:u32 , one id:32 bytes for each word that is a chunk , one mark:16 bytes for each	; level 0,
 *		   one region of 16 MiB
 *	word     = bit 31: a run of zeros; bits 30..0: length in bytes
 *	interior = bitmap:32 bytes , count * id:32 bytes				; level 1..4, up to 256 children
 *
 * A region's words follow each other from its start. What comes after the last word reads as zero, so the last word
 * is a chunk, and a region of zeros has no page: its parent's bit is 0. A mark is store_mark() of the chunk: it tells
 * the next backup that the bytes are still the same, in a fifth of an id's time. There is one encoding for each content: a
 * decoder refuses any other, so equal content has an equal id.
 */
#ifndef VMKIT_REPO_PAGE_H
#define VMKIT_REPO_PAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libcommon/base/err.h"
#include "libcommon/repo/chunker.h"
#include "libcommon/repo/repo.h"

enum {
	PAGE_HEADER = 12,
	PAGE_FANOUT = 256,
	PAGE_LEVELS_MAX = 4, /* 256^4 regions of 16 MiB: 64 PiB */
	PAGE_WORDS_MAX = CHUNK_REGION / CHUNK_BLOCK,
	PAGE_MARK = 16,
	PAGE_BASES_MAX = 4,
	PAGE_DELTA_MAX = 4 + 4 + 36 + PAGE_BASES_MAX * 36,
	PAGE_BYTES_MAX = PAGE_HEADER + PAGE_WORDS_MAX * (4 + 32 + PAGE_MARK + PAGE_DELTA_MAX) + 4,
};

struct page_base {
	struct repo_id id;
	uint32_t len;
};

/** struct page_delta - how a chunk is stored that has no blob of its own: as what differs from chunks that have one */
struct page_delta {
	struct repo_id id; /* of a blob of type BLOB_DELTA */
	uint32_t len;	   /* of that blob; 0: the chunk is a blob itself */
	uint32_t n_bases;
	struct page_base
		bases[PAGE_BASES_MAX]; /* one after the other; BLOB_MAX bytes in all at most */
};

struct page_chunk {
	uint32_t off, len; /* bytes, @off from the region's start */
	struct repo_id id; /* of the content, however it is stored */
	uint8_t mark[PAGE_MARK];
	struct page_delta delta;
};

struct page {
	unsigned level;
	size_t n;		   /* leaf: chunks; interior: children that are there */
	struct page_chunk *chunks; /* leaf; ascending, what lies between them reads as zero */
	struct repo_id *children;  /* interior: PAGE_FANOUT, absent ones are id_none() */
};

/** id_is_none() - the all-zero id stands for "nothing there: zeros" */
bool id_is_none(const struct repo_id *id);

/**
 * page_encode_leaf() - @chunks ascending, at least one, offsets and lengths as the chunker makes them
 * @ret: PAGE_BYTES_MAX bytes; Return: bytes used
 */
size_t page_encode_leaf(const struct page_chunk *chunks, size_t n, uint8_t *ret);

/** page_encode_interior() - @children: PAGE_FANOUT ids, at least one there; @ret as above; Return: bytes used */
size_t page_encode_interior(unsigned level, const struct repo_id *children, uint8_t *ret);

/** page_decode() - @level: the level that is expected; ERR_CORRUPT; *@ret is owned: page_free() */
int page_decode(struct page **ret, const uint8_t *data, size_t len, unsigned level,
		struct err *err);

void page_free(struct page *p);

/** page_find() - index of the first chunk that ends behind @off (an offset in the region), or p->n */
size_t page_find(const struct page *p, uint32_t off);

#endif
