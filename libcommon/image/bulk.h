/* Bulk writing: a new image of known content, in guest order, for convert and restore.
 *
 * The copy engine cuts the disk into units, aligned to @granule and at most BULK_UNIT_MAX bytes. For each unit
 * that is not all zero:
 *
 *	encode	any thread, no order	split into clusters, find zero ones, compress
 *	place	one at a time, ascending guest offsets	give each cluster its host offset; count
 *	store	any thread, no order	write the encoded bytes where place() put them
 *
 * and finish() writes the metadata, once, when all units are stored. What a unit does not cover stays
 * unallocated. So the output depends on content and options alone, never on the number of threads.
 */
#ifndef VMKIT_IMAGE_BULK_H
#define VMKIT_IMAGE_BULK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libcommon/base/err.h"
#include "libcommon/image/image.h"
#include "libcommon/image/protocol.h"

#define BULK_UNIT_MAX (2U << 20)
#define BULK_SAVE_MAX (32U << 10)

enum image_option_type { OPTION_BOOL, OPTION_SIZE, OPTION_STRING, OPTION_CHOICE };

/** struct image_option - one -o KEY=VALUE of a format */
struct image_option {
	const char *name;
	enum image_option_type type;
	const char *help;    /* one line; the default in parentheses */
	const char *choices; /* OPTION_CHOICE: "zlib|zstd" */
};

struct image_option_value {
	const char *name;
	const char *value; /* as given; checked against the table by core, parsed by the format */
};

/** struct bulk_params - what is to be made; borrowed during the whole writing */
struct bulk_params {
	uint64_t size; /* virtual size in bytes */
	const struct image_option_value *options;
	size_t n_options;
	bool compress;		   /* -c */
	enum codec compress_codec; /* CODEC_NONE: the format's own default */
	int compress_level;	   /* 0: default; INT_MIN..: the codec's scale */
	const char *backing_name;  /* NULL: none; as it shall stand in the header */
	const char *backing_format;
	/* A new file: unwritten bytes read as zero. false: an existing block device */
	bool target_is_zero;
	unsigned threads; /* hint for per-thread contexts */
	/* Final path: for extra files (data_file, extents) beside it; NULL: stream */
	const char *target_path;
	bool random_ids;
	unsigned outfile_flags; /* the engine's: --force and --no-sync, for such extra files */
};

struct bulk {
	const struct bulk_ops *ops;
	const struct bulk_params *params;
	struct bfile *file; /* borrowed: the target, writable */
	/* Set by begin(): units start and end at multiples of it (the disk's end excepted) */
	uint32_t granule;
	void *priv;
	/* The opened backing file, for what the header says of it; borrowed; NULL: none, or measuring */
	struct image *base;
	/* Set by begin(): what the format says of the disk's sectors; 0: nothing, which means 512 */
	uint32_t sector_size;
	bool measuring;	 /* @file only counts bytes: make no other files, count them there too */
	bool needs_data; /* Set by begin(): takes no units with src, whatever ops->can_copy says */
	/* Set by begin(): it consists of more files, and can only be read back by its name */
	bool has_files;
	/* Set by begin(): why a later process could not go on with it; NULL: it can, if ops->can_resume */
	const char *not_resumable;
	/* Set by the engine: the image is done and has its name; until then abort() removes extra files */
	bool committed;
	/* bulk_copy_range()'s own, any thread: */
	_Atomic unsigned copy_refused; /* ways the file system refused */
	_Atomic uint64_t cloned_bytes; /* moved by reflink */
};

/** struct bulk_packed - a granule as the source has it compressed; len 0: it has not, or not in a way that is taken */
struct bulk_packed {
	enum codec codec;
	uint32_t len;
	const uint8_t *p;
};

/** struct bulk_unit - guest bytes [off, off + len) in @data; buffers are recycled with the unit */
struct bulk_unit {
	uint64_t off;
	size_t len;
	uint8_t *data;	 /* len bytes, zero-padded by the engine up to a multiple of the granule */
	bool zero_known; /* (reserved for the engine) */
	const struct bulk_packed
		*packed; /* one a granule; NULL: none is. data is there all the same */
	/* for the format: */
	uint8_t *encoded; /* grown with bulk_reserve(); freed by the engine */
	size_t encoded_len, encoded_room;
	void *priv; /* made by unit_init, freed by unit_free: zstd context, cluster list */
	/* Move-nothing and kernel-copy path: data is not filled; the bytes are in src at src_off. Only offered
	 * when ops->can_copy is set and the unit is plain; store() must use bulk_copy_range(). */
	struct bfile *src;
	uint64_t src_off;
};

struct bulk_ops {
	/* params->options are known to be in the format's table. Writes nothing yet or header space. */
	int (*begin)(struct bulk *b, struct err *err);
	int (*unit_init)(struct bulk *b, struct bulk_unit *u, struct err *err); /* may be NULL */
	void (*unit_free)(struct bulk *b, struct bulk_unit *u);			/* may be NULL */
	int (*encode)(struct bulk *b, struct bulk_unit *u, struct err *err);	/* may be NULL */
	int (*place)(struct bulk *b, struct bulk_unit *u, struct err *err);	/* may be NULL */
	int (*store)(struct bulk *b, struct bulk_unit *u, struct err *err);
	/* A range that some source layer says reads as zero while the target has a backing file (or is a device
	 * that is not zero): ascending, between place() calls, never inside a unit. NULL: nothing to do */
	int (*place_zero)(struct bulk *b, uint64_t off, uint64_t len, struct err *err);
	int (*finish)(struct bulk *b, struct err *err);
	void (*abort)(struct bulk *b); /* free priv, remove extra files; after finish() as well */
	/* Would encode() take a granule that is compressed with @codec as it is? NULL: never */
	bool (*takes)(const struct bulk *b, enum codec codec);
	bool can_copy; /* uncompressed: takes units with src */
	/* A writing that a later process goes on with: place() of the units that were stored is repeated, in order and
	 * without their data, which brings the memory of the writer to where it was. save() writes what encode()
	 * left for place(), at most BULK_SAVE_MAX bytes, and says how many; load() puts it back. Both NULL: nothing */
	bool can_resume;
	size_t (*save)(const struct bulk *b, const struct bulk_unit *u, uint8_t *out);
	int (*load)(struct bulk *b, struct bulk_unit *u, const uint8_t *in, size_t len,
		    struct err *err);
	/* When units are stored in the order in which they were placed, all writes, those of finish() too, go
	 * on where the last one ended: a pipe will do */
	bool can_stream;
	/* Exact size of the file for a disk with these extents, uncompressed: `measure`. @data_at tells whether the
	 * granule at an index holds data. NULL: size of data */
	int (*measure)(const struct bulk_params *p, uint64_t data_granules, uint32_t granule,
		       uint64_t *ret_required, uint64_t *ret_fully_allocated, struct err *err);
};

/** bulk_reserve() - room for @len encoded bytes; Return: 0 or -1 (no memory) */
int bulk_reserve(struct bulk_unit *u, size_t len, struct err *err);

/** bulk_load_len() - ERR_CORRUPT unless @len is @want: for load() */
int bulk_load_len(size_t len, size_t want, struct err *err);

/** bulk_copy_range() - reflink, else copy_file_range, else read and write; remembers what is refused */
int bulk_copy_range(struct bulk *b, struct bfile *src, uint64_t src_off, uint64_t dst_off,
		    uint64_t len, struct err *err);

/** bulk_check_options() - every option is in @format's table with a value of its type, none twice; ERR_USAGE */
struct image_format;
int bulk_check_options(const struct image_format *format, const struct bulk_params *p,
		       struct err *err);

/** bulk_option() - the value of option @name, or NULL */
const char *bulk_option(const struct bulk_params *p, const char *name);

#endif
