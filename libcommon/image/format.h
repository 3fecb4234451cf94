/* What a format driver provides, and what core gives it. For libcommon/image/format/ and core only.
 *
 * A driver maps: for a guest offset it says where the bytes of its own layer are (map()). Core does the
 * rest: it follows the chain, reads plain extents from the host file, inflates compressed ones, fills zeros.
 * A NULL member means the default that its comment names. One const struct image_format per format, listed in
 * format/table.c; nothing else names a format.
 */
#ifndef VMKIT_IMAGE_FORMAT_H
#define VMKIT_IMAGE_FORMAT_H

#include <sys/stat.h>

#include "libcommon/image/bulk.h"
#include "libcommon/image/image.h"
#include "libcommon/image/protocol.h"
#include "libcommon/image/snapshot.h"

struct changes;

struct image_format {
	const char *name;	 /* "qcow2" */
	const char *description; /* one line for --help and README */
	bool can_name_files;	 /* its header may name backing or data files */
	bool backing_unnamed;	 /* knows the layer below by an ID alone, see adopt() */
	/* QEMU's name where it is another one: accepted, and written into headers. NULL: the same */
	const char *qemu_name;
	/* NULL-terminated, without the dot: target format by file name */
	const char *const *suffixes;

	/* 0: not mine; else how sure, 100 = magic and version fit. @head has up to IMAGE_PROBE_LEN bytes, @tail
	 * the last up to 512; size of the file, 0 if unknown. NULL: never probed. */
	int (*probe)(const uint8_t *head, size_t head_len, const uint8_t *tail, size_t tail_len,
		     uint64_t size);

	/* Fill img->size, img->priv, and img->backing_name/backing_format when there is one; img->file is open.
	 * Nothing is written on a read-only open. On failure free what was made; core closes img->file. */
	int (*open)(struct image *img, const struct image_open_opts *opts, struct err *err);
	void (*close)(struct image *img);

	/* The extent at @off of this layer alone; kind EXTENT_UNALLOCATED hands over to the backing file.
	 * Fills off, len, kind, codec, file, host_off, host_len; core fills depth and layer. Any thread. */
	int (*map)(struct image *img, uint64_t off, uint64_t max, struct extent *ret,
		   struct err *err);

	/* For extents with CODEC_OPAQUE, which core cannot decode. NULL: the driver has none. */
	int (*read_encoded)(struct image *img, const struct extent *e, void *buf, uint64_t off,
			    size_t len, struct err *err);

	/* Random writes; NULL: ERR_UNSUPPORTED */
	int (*write)(struct image *img, const void *buf, uint64_t off, size_t len, struct err *err);
	/* NULL: core writes zero bytes */
	int (*write_zeroes)(struct image *img, uint64_t off, uint64_t len, bool may_unmap,
			    struct err *err);
	/* NULL: nothing is done */
	int (*discard)(struct image *img, uint64_t off, uint64_t len, struct err *err);
	/* NULL: the file is flushed */
	int (*flush)(struct image *img, struct err *err);
	/* Flushed, and as after close(): see image_settle(). NULL: a flush leaves nothing to close() */
	int (*settle)(struct image *img, struct err *err);
	/* Sets img->size */
	int (*resize)(struct image *img, uint64_t size, struct err *err);
	/* As if the clusters that lie in the range had never been written: the backing file shows. NULL: cannot */
	int (*forget)(struct image *img, uint64_t off, uint64_t len, struct err *err);
	/* Another backing file, or none (NULL), in the header: the old header or the new one is on the disk at any
	 * moment. Sets img->backing_name and backing_format; the open layers stay. NULL: ERR_UNSUPPORTED */
	int (*set_backing)(struct image *img, const char *name, const char *format,
			   struct err *err);

	/* The header takes @base, an open image of the same format, for the layer that this one was made on, whatever it
	 * says that its content is by now. @name: how it shall call it, NULL: as it did. Durable, the old header or the
	 * new one at any moment. NULL: layers are not known by their content */
	int (*adopt)(struct image *img, const struct image *base, const char *name,
		     struct err *err);

	/* The layer below is open now: is it the one that this image was made on (CID, UUID, time)? NULL: any is */
	int (*check_backing)(struct image *img, struct err *err);

	/* Add cluster_size, snapshots, format_specific... to core's object. NULL: nothing to add */
	int (*info)(struct image *img, json_t *obj, struct err *err);
	/* NULL: ERR_UNSUPPORTED */
	int (*check)(struct image *img, unsigned flags, void (*report)(void *, const char *),
		     void *ctx, struct image_check_result *ret, struct err *err);

	/* image_dirty_bitmap(). NULL: ERR_UNSUPPORTED */
	int (*dirty_bitmap)(struct image *img, const char *name, struct changes *ret,
			    struct err *err);

	/* Internal snapshots: see snapshot.h. NULL: ERR_UNSUPPORTED */
	const struct snapshot_ops *snapshots;

	/* New images: see bulk.h. NULL: read only format */
	const struct bulk_ops *bulk;
	/* Subformats with writers of their own: the one for these options, which are in the table. NULL: bulk */
	const struct bulk_ops *(*bulk_for)(const struct bulk_params *p);
	/* -o KEY=VALUE, for parsing, help and completion; ends with a NULL name */
	const struct image_option *create_options;
};

#define IMAGE_PROBE_LEN 65536

/* The handle; the fields above the line are set by core before open() is called. */
struct image {
	const struct image_format *format;
	struct bfile *file; /* owned by core */
	char *name;
	unsigned flags;
	/* ---- set by the driver's open() */
	uint64_t size;
	void *priv;
	uint32_t cluster_size; /* 0: none; granularity for info, plans and bulk units */
	uint32_t sector_size;  /* of the disk, where the format says so; 0: it does not */
	char *backing_name;    /* owned by core after open; as the header has it */
	char *backing_format;  /* owned by core; NULL: not named */
	/* ---- core's own */
	struct image *backing;
	/* Decoded compression units, shared by all readers; may be NULL */
	struct codec_cache *codec_cache;
	bool stream;  /* priv is stream.c's; there is no file */
	bool guessed; /* a backing file whose format nobody stated: may not name files */
	char *path;   /* resolved where a chain led here, else as given; NULL: no folder */
	/* What the files of this layer were when they were opened, before a byte of them was read: @file first.
	 * Zeroed for what is no file */
	struct stat *files;
	size_t n_files;
};

/** image_formats - the static table, NULL-terminated (format/table.c) */
extern const struct image_format *const image_formats[];

/** bulk_ops_of() - the writer of @f for @p; @f->bulk is not NULL */
const struct bulk_ops *bulk_ops_of(const struct image_format *f, const struct bulk_params *p);

/** image_format_find() - by name; ERR_USAGE with the nearest name in the hint */
int image_format_find(const struct image_format **ret, const char *name, struct err *err);

/** image_format_header_name() - how a header shall name format @name: as QEMU does; static, or @name itself */
const char *image_format_header_name(const char *name);

/** image_format_of_suffix() - by the file name's suffix; NULL when none fits */
const struct image_format *image_format_of_suffix(const char *path);

/**
 * image_open_named() - for drivers: open a file that a header names (data file, extent file) as a bfile
 * @name: from the image: relative to the folder of @img; confined as open.c says
 * Return: 0 with an owned bfile, or -1: ERR_DENIED with a hint about --allow-backing, ERR_NOT_FOUND, ...
 */
int image_open_named(struct image *img, const struct image_open_opts *opts, const char *name,
		     bool writable, struct bfile **ret, struct err *err);

#endif
