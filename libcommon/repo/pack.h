/* Packs: objects of about 64 MiB that hold frames.
 *
 *	pack	= header frame... [parity] table footer		parity: parity.h
 *	header	= "VMKITPAK" | le32 version 1 | le32 flags 0 | 16 pack id | 32 salt | 16 repository id | 16 tag
 *	table	= a sealed object (crypto.h) of its own salt, bound to "table:" and the pack's id; what it says:
 *		  le32 frames | le32 blobs | frames times 24 bytes | blobs times (32 id | le32 length)
 *	footer	= "VMKITEND" | le64 offset of table | le64 length of table | 8 zero
 *
 * What lies between two frames that the table names (a killed writer reserved it and never wrote it) means nothing.
 * The table has a key of its own because an adopter may write another one after a killed writer wrote the first.
 */
#ifndef VMKIT_REPO_PACK_H
#define VMKIT_REPO_PACK_H

#include "libcommon/repo/backend.h"
#include "libcommon/repo/frame.h"

enum {
	PACK_HEADER = 96,
	PACK_FOOTER = 32,
	PACK_TARGET = 64 << 20,
	PACK_BLOBS_TARGET = 1 << 18,
	PACK_FRAMES_MAX = 1 << 17,
	PACK_BLOBS_MAX = 1 << 20,
	PACK_NAME_MAX = 48,
};

struct pack_frame {
	uint64_t off;
	struct frame_header header;
	uint32_t first, n; /* blobs */
};

/** struct pack_contents - which blobs lie where; zero-initialized; free with pack_contents_free() */
struct pack_contents {
	struct pack_frame *frames;
	struct frame_blob *blobs;
	size_t n_frames, n_blobs, cap_frames, cap_blobs;
};

int pack_contents_add(struct pack_contents *pc, uint64_t off, const struct frame_header *h,
		      const struct frame_blob *blobs, size_t n, struct err *err);
void pack_contents_free(struct pack_contents *pc);

/** pack_table_encode/decode() - plain bytes of the table; decode bounds everything against @pack_size */
int pack_table_encode(const struct pack_contents *pc, uint8_t **ret, size_t *ret_len,
		      struct err *err);
int pack_table_decode(const uint8_t *p, size_t len, uint64_t pack_size, struct pack_contents *ret,
		      struct err *err);

/** pack_name() - "packs/5f/5f.." */
void pack_name(const uint8_t id[PACK_ID], char ret[PACK_NAME_MAX]);
/** pack_name_decode() - false: no pack's name */
bool pack_name_decode(const char *name, uint8_t ret[PACK_ID]);

/** struct pack_source - where bytes of a pack come from: an object, or a temporary one under adoption, or memory */
struct pack_source {
	int (*read)(void *ctx, uint64_t off, void *buf, size_t len, struct err *err);
	void *ctx;
	uint64_t size;
	uint8_t id[PACK_ID];
	struct seal_key key; /* by pack_read_header(), as the next */
	uint8_t header[PACK_HEADER];
};

/** pack_header_encode() - a fresh salt; @ret_key is the pack's */
int pack_header_encode(struct crypto *c, const uint8_t id[PACK_ID], uint8_t ret[PACK_HEADER],
		       struct seal_key *ret_key, struct err *err);
int pack_read_header(struct crypto *c, struct pack_source *src, struct err *err);

/** pack_read_table() - through the footer; *@ret_off (NULL: not wanted): where the table begins */
int pack_read_table(struct crypto *c, struct pack_source *src, struct pack_contents *ret,
		    uint64_t *ret_off, struct err *err);

/** pack_scan() - forward, without the table: every frame whose header and table are authentic; with @deep also the
 *  payload and all ids (what adoption needs). *@ret_end: end of the last of them */
int pack_scan(struct crypto *c, struct pack_source *src, bool deep, struct pack_contents *ret,
	      uint64_t *ret_end, struct err *err);

/** pack_check_frame() - one frame against what the table says of it; @buf has FRAME_SECTION_MAX bytes, @raw
 *  FRAME_RAW_MAX or NULL when only the tags are looked at; @bad_blob is called for blobs whose id does not match */
int pack_check_frame(struct crypto *c, struct pack_source *src, struct frame_codec *codec,
		     const struct pack_contents *pc, const struct pack_frame *f, uint8_t *buf,
		     uint8_t *raw,
		     void (*bad_blob)(void *ctx, const struct frame_blob *b, enum blob_type type),
		     void *ctx, struct err *err);

/** pack_tail() - table and footer, as they stand at @off; owned */
int pack_tail(struct crypto *c, const uint8_t id[PACK_ID], const struct pack_contents *pc,
	      uint64_t off, uint8_t **ret, size_t *ret_len, struct err *err);

/** pack_finish() - write parity (@parity percent; 0: none), table and footer behind @end and commit; @w is consumed */
int pack_finish(struct crypto *c, struct backend_writer *w, const uint8_t id[PACK_ID],
		const struct pack_contents *pc, uint64_t end, unsigned parity, uint64_t *ret_size,
		struct err *err);

/** struct pack_reader - an object open as a pack, with its key */
struct pack_reader {
	struct pack_source src;
	struct backend_object *object;
};

int pack_reader_open(struct pack_reader *ret, struct backend *b, struct crypto *c,
		     const uint8_t id[PACK_ID], struct err *err);
void pack_reader_close(struct pack_reader *r);

#endif
