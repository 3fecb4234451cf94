/* One frame: blobs compressed together and sealed, as a section of a pack. Bytes in memory only.
 *
 *	section	= header table-sealed payload-sealed
 *	header	= "VMFR" | u8 type | u8 flags | 2 zero | le32 number | le32 table length | le32 payload length | 12 zero
 *	table	= le32 blobs | le32 raw length | blobs times (32 id | le32 length) | zeros up to a multiple of 512
 *	payload	= the blobs one after the other, one zstd frame when flags say so
 *
 * Each of the two is followed by its tag; header and number are bound in both.
 */
#ifndef VMKIT_REPO_FRAME_H
#define VMKIT_REPO_FRAME_H

#include "libcommon/repo/crypto.h"
#include "libcommon/repo/store.h"

enum {
	PACK_ID = 16,
	FRAME_HEADER = 32,
	FRAME_BLOBS_MAX = 4096,
	FRAME_RAW_MAX = 2 << 20,
	FRAME_TABLE_MAX = 8 + FRAME_BLOBS_MAX * 36 + 512,
	FRAME_SECTION_MAX = FRAME_HEADER + FRAME_TABLE_MAX + FRAME_RAW_MAX + 2 * CRYPTO_TAG,
};
enum { FRAME_ZSTD = 1 };

struct frame_blob {
	struct repo_id id;
	uint32_t len;
};

/** struct frame_header - decoded and bounded */
struct frame_header {
	uint8_t type, flags; /* enum blob_type */
	uint32_t number, table_len, payload_len;
};

/** frame_section_len() - of the whole section */
static inline uint32_t frame_section_len(const struct frame_header *h)
{
	return FRAME_HEADER + h->table_len + h->payload_len + 2 * CRYPTO_TAG;
}

/** frame_header_decode() - of FRAME_HEADER bytes; ERR_CORRUPT */
int frame_header_decode(const uint8_t *p, struct frame_header *ret, struct err *err);

/** struct frame_codec - zstd contexts and buffers of one thread */
struct frame_codec;
int frame_codec_new(struct frame_codec **ret, int level, struct err *err);
void frame_codec_free(struct frame_codec *f);

/** frame_compress() - and decompress again, and compare; *@ret_payload is borrowed until the next call (or is @raw) */
int frame_compress(struct frame_codec *f, const uint8_t *raw, size_t len,
		   const uint8_t **ret_payload, size_t *ret_len, uint8_t *ret_flags,
		   struct err *err);

/** frame_table_len() - of a table with so many blobs */
uint32_t frame_table_len(size_t n_blobs);

/** frame_seal() - a section into @out (frame_section_len() bytes); @h has all fields set */
int frame_seal(struct crypto *c, const struct seal_key *key, const uint8_t pack[PACK_ID],
	       const struct frame_header *h, const struct frame_blob *blobs, size_t n,
	       const uint8_t *payload, uint8_t *out, struct err *err);

/** frame_open_table() - from a section in memory (payload not needed): *@ret_n blobs into @ret (FRAME_BLOBS_MAX) */
int frame_open_table(struct crypto *c, const struct seal_key *key, const uint8_t pack[PACK_ID],
		     const uint8_t *section, const struct frame_header *h, struct frame_blob *ret,
		     size_t *ret_n, uint32_t *ret_raw, struct err *err);

/** frame_open_payload() - decrypt only, in place; @section is a whole one */
int frame_open_payload(struct crypto *c, const struct seal_key *key, const uint8_t pack[PACK_ID],
		       uint8_t *section, const struct frame_header *h, struct err *err);

/** frame_expand() - after frame_open_payload(): raw bytes into @out (FRAME_RAW_MAX); ERR_CORRUPT for a bomb */
int frame_expand(struct frame_codec *f, const uint8_t *section, const struct frame_header *h,
		 uint8_t *out, uint32_t *ret_raw, struct err *err);

#endif
