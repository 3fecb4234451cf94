/* Parity of a pack: Reed-Solomon over blocks of 4 KiB, so that a damaged sector is healed and not just found.
 *
 *	parity		= map shard-block... map	; stands between the last frame of a pack and its table
 *	map (n x 4096)	= "VMKITPAR" | le32 version 1 | le32 data blocks | le32 stride | le16 shards | le16 extra | 16 pack id
 *			  | 16 zero | le64 XXH3 of the map with this field zero | le32 hash of each block | zeros
 *
 * What is before the parity, from the pack's first byte, are the data blocks, the last one filled up with zeros. Shard i
 * is the blocks [i * stride, (i + 1) * stride), shard by shard; block j of each shard is column j. A column's extra
 * blocks are GF(2^8) sums of its data blocks, so that as many of its blocks may be bad as there are extra ones. Hashes only
 * tell where the damage is; whether what comes out is right is told by the tags of the frames, as ever.
 *
 * Bytes and offsets; nothing here knows keys. docs/repository-format.md, "Parity".
 */
#ifndef VMKIT_REPO_PARITY_H
#define VMKIT_REPO_PARITY_H

#include "libcommon/repo/pack.h"

enum {
	PARITY_BLOCK = 4096,
	PARITY_SHARDS = 100, /* of data, at most */
	PARITY_PERCENT_MAX = REPO_PARITY_MAX,
	PARITY_HEAD = 64,
	PARITY_PACK_MAX =
		256 << 20, /* bytes: a pack is about 64 MiB, and held in memory when it is healed */
};

/** struct parity_shape - all in blocks, but shards and extra, which count shards */
struct parity_shape {
	uint32_t data, stride, shards, extra;
	uint32_t map; /* blocks of one of the two maps */
};

/** parity_shape() - for @end bytes of header and frames; @percent 1 to PARITY_PERCENT_MAX */
void parity_shape(uint64_t end, unsigned percent, struct parity_shape *ret);

/** parity_end() - where the parity ends and the table begins */
uint64_t parity_end(const struct parity_shape *s);

/**
 * parity_make() - the parity of the first @end bytes of @src, handed to @put in order of its offsets
 *
 * Needs memory for the extra blocks and a stripe of 256 KiB. *@ret_end: where it ends. With @percent 0 there is none.
 */
int parity_make(struct pack_source *src, uint64_t end, unsigned percent,
		int (*put)(void *ctx, uint64_t off, const void *buf, size_t len, struct err *err),
		void *ctx, uint64_t *ret_end, struct err *err);

/**
 * parity_check() - do the blocks of a pack have the hashes that its map gives them?
 * @frames_end: end of the last frame; @table: offset of the table
 * @ret_bad: blocks that do not, maps included; a map that is not there counts as one
 *
 * A pack whose table follows its frames has no parity: 0 then. Return: 0; -1 when it could not look.
 */
int parity_check(struct pack_source *src, uint64_t frames_end, uint64_t table, uint64_t *ret_bad,
		 struct err *err);

/** struct parity_report - what parity_heal() found */
struct parity_report {
	bool found;	   /* a map: there is parity, and it is whole enough to be of use */
	uint64_t bad;	   /* blocks that were bad, maps included */
	uint64_t left;	   /* of them those that are bad still */
	uint64_t data_end; /* end of the data blocks */
	uint64_t end;	   /* end of the parity */
	char ranges[200];  /* of the bad blocks, in bytes: "4096-8191, 65536-69631" */
};

/**
 * parity_heal() - heal a pack in memory
 * @buf: its @len bytes, malloc()ed; made longer when parity was cut off
 *
 * Only blocks that get the hash that the map gives them are changed. Return: 0, also when nothing was found or could be
 * done; -1 without memory.
 */
int parity_heal(uint8_t **buf, size_t *len, const uint8_t id[PACK_ID], struct parity_report *ret,
		struct err *err);

#endif
