/* Partition tables on a virtual disk: MBR with logical partitions, GPT; read, and GPT moved to a new disk size.
 *
 * What is read is hostile: counts and places are bounded before memory is taken or the disk is read. Works over
 * struct image, so any format will do.
 */
#ifndef VMKIT_IMAGE_DISK_PARTITION_H
#define VMKIT_IMAGE_DISK_PARTITION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libcommon/base/err.h"
#include "libcommon/image/image.h"

enum partition_scheme { PARTITIONS_NONE, PARTITIONS_MBR, PARTITIONS_GPT };

struct partition {
	unsigned number; /* as Linux counts: 1 to 4, logical ones from 5; GPT: the entry, from 1 */
	uint64_t off, len; /* bytes of the disk; the end may lie behind the disk's */
	uint8_t type;	   /* MBR: the system byte */
	uint8_t guid[16];  /* GPT: type, as stored */
};

struct partition_table {
	enum partition_scheme scheme;
	uint32_t sector_size; /* 512, or 4096 where a GPT says so */
	struct partition *parts;
	size_t n;
	/* GPT: the header that was believed (the primary one unless it is damaged), and its entries */
	bool primary_good,
		backup_good;	   /* backup: where the header says, not where the disk ends now */
	uint8_t *header, *entries; /* a sector; entries_len bytes */
	size_t entries_len;
	uint64_t alternate_lba; /* of the backup header, as the primary one says */
	uint64_t first_usable, last_usable;
	uint64_t entries_lba; /* of the primary entries */
};

/**
 * partition_table_read() - what the disk holds; partition_table_release() after success
 * Return: 0, also when there is no table (PARTITIONS_NONE), or -1: ERR_CORRUPT where there is one that cannot be
 * believed: a protective MBR without any good GPT, logical partitions in a loop
 */
int partition_table_read(struct image *img, struct partition_table *ret, struct err *err);
void partition_table_release(struct partition_table *t);

const char *partition_scheme_name(enum partition_scheme s); /* "none", "mbr", "gpt" */

/** partition_last() - the one that ends last; NULL: there is none */
const struct partition *partition_last(const struct partition_table *t);

/** partition_room() - bytes from the start of a disk of @size that partitions may cover: less than all with GPT */
uint64_t partition_room(const struct partition_table *t, uint64_t size);

/** partition_least_size() - the smallest disk that @t fits on, in whole sectors */
uint64_t partition_least_size(const struct partition_table *t);

/** gpt_is_at_end() - both headers are good and say what belongs to a disk of @size */
bool gpt_is_at_end(const struct partition_table *t, uint64_t size);

/**
 * gpt_move() - make the GPT fit a disk of @size bytes: backup, then primary header, then the protective MBR
 * @img: open for writing, at least @size bytes long; grow it before, shrink it afterwards
 * @t: with partition_least_size() of at most @size
 * A good header is on the disk at any moment; each step is flushed.
 */
int gpt_move(struct image *img, const struct partition_table *t, uint64_t size, struct err *err);

/* Both for gpt_move() and tests. CRC-32 of IEEE 802.3 */
uint32_t gpt_crc32(const void *data, size_t len);

#endif
