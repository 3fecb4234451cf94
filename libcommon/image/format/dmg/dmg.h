/* DMG, Apple's disk image (UDIF), read only: what the files of this folder share.
 *
 * The last 512 bytes ("koly") say where an XML property list lies; its resource-fork/blkx array holds block tables
 * ("mish") in base64; they list chunks: runs of sectors that are zero, plain, or compressed. Numbers are big endian.
 */
#ifndef VMKIT_FORMAT_DMG_H
#define VMKIT_FORMAT_DMG_H

#include "libcommon/image/format.h"

enum { DMG_SECTOR = 512, DMG_TRAILER = 512 };

enum dmg_kind { DMG_RAW, DMG_ZLIB, DMG_BZIP2, DMG_ADC, DMG_LZFSE, DMG_LZMA, DMG_KINDS };

/** struct dmg_chunk - stored sectors; what no chunk has is zero */
struct dmg_chunk {
	uint64_t sector, sectors; /* of the disk */
	uint64_t off, len;	  /* of the file */
	enum dmg_kind kind;
};

struct dmg {
	uint64_t data_offset, plist_offset, plist_len;
	struct dmg_chunk *chunks; /* by sector, none overlaps another one */
	size_t n_chunks, room;
	uint64_t sectors;      /* of the disk */
	unsigned kinds;	       /* a bit each */
	struct slots *decoded; /* chunks; NULL: nothing is compressed */
};

/** struct dmg_data - what the property list's block tables are handed to, in pieces */
struct dmg_data {
	int (*begin)(void *ctx, struct err *err);
	int (*bytes)(void *ctx, const uint8_t *p, size_t n, struct err *err);
	int (*end)(void *ctx, struct err *err);
	void *ctx;
};

/** dmg_plist_read() - each <data> of the array under the key "blkx", decoded; one pass in little memory (plist.c) */
int dmg_plist_read(struct bfile *file, uint64_t off, uint64_t len, const struct dmg_data *out,
		   struct err *err);

/** dmg_chunks_read() - all block tables: fills chunks, n_chunks, kinds; raises sectors (chunks.c) */
int dmg_chunks_read(struct bfile *file, struct dmg *d, struct err *err);

/** dmg_chunk_at() - the chunk that holds @sector, or the next one behind it, or NULL */
const struct dmg_chunk *dmg_chunk_at(const struct dmg *d, uint64_t sector);

/** dmg_decode_init() - the cache of decoded chunks, or a refusal by name of a codec that we do not have (decode.c) */
int dmg_decode_init(struct dmg *d, struct err *err);
/** dmg_read_chunk() - bytes [at, at + len) of what @c decodes to; any thread */
int dmg_read_chunk(struct bfile *file, const struct dmg *d, const struct dmg_chunk *c, void *buf,
		   size_t at, size_t len, struct err *err);

const char *dmg_kind_name(enum dmg_kind kind);

extern const struct image_format image_format_dmg;

#endif
