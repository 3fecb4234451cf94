/* Bulk writing for formats that allocate in large blocks (VHD, VHDX): units come in granules of 4 KiB, whatever the
 * block size, so that a disk of scattered small blocks is neither read nor written in whole ones.
 *
 * encode() notes which granules of a unit hold data and adds their hash to the unit; place() asks for ranges and
 * sums the hashes; store() writes the granules that hold data. The sum does not depend on how the disk was cut into
 * units, so an id made of it follows from the content alone. Bytes that are moved without being read (reflinks)
 * count by the file and place that they come from.
 */
#ifndef VMKIT_IMAGE_BLOCKS_H
#define VMKIT_IMAGE_BLOCKS_H

#include <pthread.h>

#include "libcommon/image/bulk.h"

enum { BLOCKS_GRANULE = 4096 };

/** blocks_unit_init(), blocks_unit_free(), blocks_encode() - for struct bulk_ops as they are */
int blocks_unit_init(struct bulk *b, struct bulk_unit *u, struct err *err);
void blocks_unit_free(struct bulk *b, struct bulk_unit *u);
int blocks_encode(struct bulk *b, struct bulk_unit *u, struct err *err);

/** blocks_save(), blocks_load() - the same */
size_t blocks_save(const struct bulk *b, const struct bulk_unit *u, uint8_t *out);
int blocks_load(struct bulk *b, struct bulk_unit *u, const uint8_t *in, size_t len,
		struct err *err);

/** blocks_has_data() - does [off, off + len) of the disk, inside the encoded unit @u, hold data? */
bool blocks_has_data(const struct bulk_unit *u, uint64_t off, uint64_t len);

/** blocks_store() - the granules with data of [off, off + len), inside @u, to @host of the target */
int blocks_store(struct bulk *b, struct bulk_unit *u, uint64_t off, uint64_t len, uint64_t host,
		 struct err *err);

/**
 * blocks_see_holes() - for map() of large blocks: a hole of the file in an extent of data reads as zero
 * So a disk of scattered small blocks costs what it holds, not what its blocks have room for. Not for writers: a hole
 * is a place that can be written to. @e is cut to what is alike.
 */
int blocks_see_holes(struct extent *e, struct err *err);

/**
 * blocks_write() - write() of such a format: in place where @look_up, which is map() without holes, finds data of
 * img->file; else by @write_slow, one at a time under @slow
 * @write_slow: looks again, for another writer may have been there meanwhile; *@ret_done: how many of @len bytes it wrote
 */
int blocks_write(struct image *img, const void *buf, uint64_t off, size_t len,
		 pthread_mutex_t *slow,
		 int (*look_up)(struct image *img, uint64_t off, uint64_t max, struct extent *ret,
				struct err *err),
		 int (*write_slow)(struct image *img, const uint8_t *buf, uint64_t off, size_t len,
				   size_t *ret_done, struct err *err),
		 struct err *err);

/**
 * blocks_whole_sectors() - [off, off + len) widened to sectors of @sector bytes, what is around it as it reads now
 * Return: 0; *@ret is NULL when they were whole, else owned by the caller, *@off and *@len are those of *@ret
 */
int blocks_whole_sectors(struct image *img, uint32_t sector, const uint8_t *buf, uint64_t *off,
			 size_t *len, uint8_t **ret, struct err *err);

/** struct blocks_id - what ids are made from; zeroed at begin */
struct blocks_id {
	uint64_t lo, hi;
};

/** blocks_id_add() - in place(): all of @u */
void blocks_id_add(struct blocks_id *id, const struct bulk_unit *u);

/**
 * blocks_uuid() - a UUID (RFC 9562, in the order of its text) from @id, or random ones with params->random_ids
 * @salt: @salt_len bytes of what else tells this image, and this id of it, from others
 */
int blocks_uuid(const struct bulk_params *p, const struct blocks_id *id, const void *salt,
		size_t salt_len, uint8_t ret[16], struct err *err);

/** blocks_uuid_text() - "6ba7b810-9dad-41d1-80b4-00c04fd430c8" of 16 bytes in that order; returns @buf */
enum { BLOCKS_UUID_TEXT = 37 };
char *blocks_uuid_text(const uint8_t uuid[16], char buf[BLOCKS_UUID_TEXT]);

/** blocks_time() - seconds since 1970 for headers: SOURCE_DATE_EPOCH, the present with random_ids, else 0 */
uint64_t blocks_time(const struct bulk_params *p);

/** blocks_on() - is the -o option @name on? Core has checked its value. */
bool blocks_on(const struct bulk_params *p, const char *name, bool otherwise);

#endif
