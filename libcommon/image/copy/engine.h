/* The copy engine: convert, restore, compare, digest, measure as one pipeline over extents. */
#ifndef VMKIT_IMAGE_COPY_ENGINE_H
#define VMKIT_IMAGE_COPY_ENGINE_H

#include "libcommon/base/progress.h"
#include "libcommon/image/bulk.h"
#include "libcommon/image/image.h"

struct image_preset;

struct copy_opts {
	unsigned threads;   /* 0: all that this process may use */
	const char *digest; /* algorithm over the virtual content, or NULL */
	bool force;	    /* replace an existing target */
	bool no_sync;
	/* Read the target back and compare before it gets its name; not for "-" of raw */
	bool verify;
	/* Go on with what an interrupted call left, if source and options are the same; leave the same when
	 * interrupted. The target is a file; not with no_sync */
	bool resume;
	const char *
		source_state; /* for resume: what of the source is read, as the name of a snapshot; NULL */
	uint64_t rate_limit; /* bytes a second of data read; 0: none */
	struct progress *progress;
	const char *target_format; /* NULL: by the target's suffix; raw for "-" and block devices */
	/* Borrowed: written to in order, without going back, by formats that can be streamed; the target is a name
	 * only then, and nothing is synced or verified. NULL: the target is what it names */
	struct bfile *target_file;
	/* Folders outside of the target's where params.backing_name may lie */
	const char *const *allow_dirs;
	size_t n_allow_dirs;
	/* The disk grows to a size that this takes (preset.h), for an archive: it is written instead of an image. The
	 * format and options are the caller's: image_preset_apply(). NULL: none */
	const struct image_preset *preset;
	/* For the new image. size 0: the source's size; target_is_zero, target_path, threads: the engine's */
	struct bulk_params params;
};

struct copy_stats {
	uint64_t virtual_size;
	uint64_t data_bytes;	/* guest bytes stored */
	uint64_t read_bytes;	/* guest bytes read */
	uint64_t passed_bytes;	/* guest bytes that kept the compressed form that they had */
	uint64_t cloned_bytes;	/* moved by reflink */
	uint64_t target_bytes;	/* allocated size of the target file; 0 for a pipe */
	uint64_t resumed_bytes; /* of the disk that a former call had dealt with */
	uint64_t file_size;	/* the target file's length; 0 for a pipe */
	char digest[129];	/* lower-case hex; empty when none was asked for */
};

/**
 * image_copy() - make a new image at @target with the content of @src
 * @target: a path, a block device, or "-"
 *
 * The file appears under its name only when whole; on failure nothing is left. A target that is the source, or a
 * layer of its chain, is refused. With params.backing_name only what differs from the backing file is stored:
 * extents that lie at the same place of the same file are not even read. With resume what is not yet whole
 * is TARGET.part, with TARGET.part.record beside it. A stream is spooled to TMPDIR when
 * the target cannot be written without knowing the size.
 * Return: 0 or -1 (ERR_EXISTS, ERR_NO_SPACE, ERR_CANCELLED, ...).
 */
int image_copy(struct image *src, const char *target, const struct copy_opts *opts,
	       struct copy_stats *ret, struct err *err);

/**
 * image_copy_check() - for --dry-run: whether image_copy() would refuse; writes nothing
 * @ret_format: name of the target's format, static
 */
int image_copy_check(struct image *src, const char *target, const struct copy_opts *opts,
		     const char **ret_format, struct err *err);

/** image_create() - a new empty image; params.size is needed unless a backing file is given */
int image_create(const char *target, const struct copy_opts *opts, struct err *err);

struct compare_result {
	bool equal;
	uint64_t first_difference; /* byte offset; UINT64_MAX when equal */
	uint64_t differing_bytes;  /* in 4 KiB blocks' bytes when @all; else 0 */
	/* A longer image equals a shorter one if the rest is zero, unless strict */
	uint64_t size_a, size_b;
};

/** image_compare() - @all: go on after the first difference and count; Return: 0, or -1 for errors */
int image_compare(struct image *a, struct image *b, unsigned threads, bool all, bool strict,
		  struct progress *progress, struct compare_result *ret, struct err *err);

/** image_digest() - digest of the whole virtual content, holes as zeros; streams too */
int image_digest(struct image *img, const char *algorithm, unsigned threads,
		 struct progress *progress, char ret_hex[129], struct err *err);

/**
 * image_measure() - how large an uncompressed target would be
 * @src: NULL: an empty image of params->size bytes
 * @scan: read the data and leave out clusters that are all zero, as image_copy() does: then *@ret_required is
 *	exactly the size that it makes; without it the extents alone are counted, an upper bound
 * @ret_required: for the content; @ret_full: when every byte of the disk has been written
 */
int image_measure(struct image *src, const char *format, const struct bulk_params *params,
		  bool scan, uint64_t *ret_required, uint64_t *ret_full, struct err *err);

#endif
