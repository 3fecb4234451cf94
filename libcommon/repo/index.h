/* The index: which blob lies where. A cache of the packs' tables, in immutable sorted runs.
 *
 *	run	= header block... firsts filter packs
 *	header	= "VMKITIDX" | le32 version 1 | le32 flags 0 | 16 repository id | 32 salt | le64 entries | le32 blocks
 *		  | le32 packs | le64 filter bytes | 24 zero | 16 tag
 *	block	= up to 42 entries sealed: entry times 42 | le16 used | 14 zero | tag: 2048 bytes
 *	entry	= 32 id | le64 place | le64 extent
 *	place	= section offset (32 bits) | pack number << 32 (24) | type << 56
 *	extent	= section length (22 bits) | offset in frame << 22 (21) | (length - 1) << 43 (20)
 *	firsts	= be64 of the first id of each block	(sealed in pieces of 64 KiB)
 *	filter	= blocked Bloom filter, blocks of 64 bytes	(likewise)
 *	packs	= 16-byte pack ids, sorted		(likewise)
 *
 * Resident are firsts, filter and packs (about 2 bytes a blob); a lookup that the filter lets through costs one ranged
 * read of 2 KiB, which is authentic or counts as damaged. Runs are read, not mapped: a bad sector is then an error and
 * not a SIGBUS, and an object store serves them too.
 */
#ifndef VMKIT_REPO_INDEX_H
#define VMKIT_REPO_INDEX_H

#include <stdatomic.h>

#include "libcommon/repo/pack.h"

enum {
	INDEX_HEADER = 128,
	INDEX_BLOCK = 2048,
	INDEX_ENTRY = 48,
	INDEX_BLOCK_ENTRIES = 42,
	INDEX_PLACES = 8, /* of one blob that are looked at */
	INDEX_NAME_MAX = 48,
};

/** struct blob_place - where one copy of a blob lies */
struct blob_place {
	uint8_t pack[PACK_ID];
	uint32_t section_off, section_len, off, len;
	uint8_t type;
};

struct index_entry {
	struct repo_id id;
	struct blob_place place;
};

/** struct run - an open index run; any thread may look things up */
struct run {
	char name[INDEX_NAME_MAX];
	struct crypto *crypto;
	struct backend_object *object;
	struct seal_key key;
	uint64_t n_entries, n_filter; /* filter: blocks of 64 bytes */
	uint32_t n_blocks, n_packs;
	uint64_t *firsts;
	uint64_t *filter;
	uint8_t *packs;
	uint64_t size;
	atomic_bool damaged; /* a block could not be read: nobody asks it here any more */
	atomic_bool wrong;   /* and its bytes were to blame, or the disk; not the way to it */
};

/** run_open() - header and resident parts are authentic when it returns 0 */
int run_open(struct run **ret, struct backend *b, struct crypto *c, const char *name,
	     struct err *err);
/** run_open_object() - the same for an object that is open already (consumed) */
int run_open_object(struct run **ret, struct crypto *c, const char *name, struct backend_object *o,
		    uint64_t size, struct err *err);
void run_free(struct run *r);

/** run_find() - Return: number of places put into @ret (at most @max); -1: the run counts as damaged */
int run_find(struct run *r, const struct repo_id *id, struct blob_place *ret, size_t max,
	     struct err *err);

/** run_block() - decrypted entries of one block; *@ret_n of them */
int run_block(struct run *r, uint32_t block, struct index_entry ret[INDEX_BLOCK_ENTRIES],
	      size_t *ret_n, struct err *err);

/** run_has_pack() - the run names the pack, with or without blobs */
bool run_has_pack(const struct run *r, const uint8_t pack[PACK_ID]);

/** struct run_builder - a new run: entries in order of id, then finish */
struct run_builder;
/** run_builder_new() - @packs: @n_packs sorted ids of PACK_ID bytes, copied; @max_entries sizes the filter */
int run_builder_new(struct run_builder **ret, struct backend *b, struct crypto *c,
		    const uint8_t *packs, size_t n_packs, uint64_t max_entries, struct err *err);
int run_builder_add(struct run_builder *rb, const struct index_entry *e, struct err *err);
/** run_builder_finish() - durable on 0; consumed in any case */
int run_builder_finish(struct run_builder *rb, char ret_name[INDEX_NAME_MAX], struct err *err);
void run_builder_discard(struct run_builder *rb);

/** index_write() - a run of @n entries (sorted here) and @n_packs packs (sorted here) */
int index_write(struct backend *b, struct crypto *c, struct index_entry *entries, size_t n,
		uint8_t *packs, size_t n_packs, char ret_name[INDEX_NAME_MAX], struct err *err);

/** index_merge() - one run of several, without what is in the @n_without packs of @without (sorted). When nothing
 *  else is in them there is no new run, and the name is empty */
int index_merge(struct backend *b, struct crypto *c, struct run **runs, size_t n,
		const uint8_t *without, size_t n_without, char ret_name[INDEX_NAME_MAX],
		struct err *err);

/** pack_in() - is the pack among the @n sorted ids? */
bool pack_in(const uint8_t *packs, size_t n, const uint8_t pack[PACK_ID]);

int index_entry_compare(const void *a, const void *b);

#endif
