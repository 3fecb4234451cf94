/* A virtual disk, whatever its format: the one interface that convert, backup, snapshots and the runner use.
 *
 * A struct image is one layer of a chain together with all that lies below it: reading it gives what a guest
 * would read. Offsets and lengths are bytes of the virtual disk.
 *
 * Threads: image_read(), image_extent() and the getters may be called from many threads at once on one handle.
 * image_write(), image_write_zeroes(), image_discard() and image_flush() as well: a format orders its own
 * metadata; writes that overlap each other at the same time have no defined order. open, close, resize
 * and check are one caller's alone.
 *
 * Trust: the bytes of an image are hostile. No header makes the program open a file that the caller did not
 * name, but for files in the folder of the image that names them, or below one of @allow_dirs (open.c).
 */
#ifndef VMKIT_IMAGE_IMAGE_H
#define VMKIT_IMAGE_IMAGE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "libcommon/base/err.h"

struct image;
struct bfile;

enum image_open_flags {
	/* Random writes wanted; else nothing is ever written, not even a lock file */
	IMAGE_RDWR = 1 << 0,
	/* This layer only: what it does not hold reads as zero */
	IMAGE_NO_BACKING = 1 << 1,
	/* Read although another process may write (-U); no consistent state promised */
	IMAGE_SHARED = 1 << 2,
	/* Take no lock, ask for none: for files that no other process can see */
	IMAGE_NO_LOCK = 1 << 3,
	/* For check and repair: dirty or corrupt marks do not refuse the open; no backing file */
	IMAGE_CHECK = 1 << 4,
	/* Headers only: no data file, no backing file, no table is read beyond them */
	IMAGE_INFO = 1 << 5,
};

/** struct image_open_opts - how to open; zeroed means: probe, read only, follow the chain */
struct image_open_opts {
	/* NULL: probe; raw when nothing else fits. Inside a chain raw is never guessed, and a guessed
	 * layer may not name files itself (a guest may have written that header into a raw disk):
	 * ERR_UNSUPPORTED with a hint */
	const char *format;
	unsigned flags; /* enum image_open_flags */
	/* Internal snapshot to read instead of the present state: name or id; NULL */
	const char *snapshot;
	/* Folders below which chains may lead; borrowed; may be NULL */
	const char *const *allow_dirs;
	size_t n_allow_dirs;
};

/**
 * image_open() - open an image by name
 * @name: a path; "-" is standard input (raw is streamed, other formats are spooled); names with a scheme
 *	("nbd://", "repo:") go to the opener registered for it
 * @opts: NULL = zeroed
 *
 * Return: 0, or -1: ERR_NOT_FOUND, ERR_BUSY (locked by another process), ERR_CORRUPT, ERR_UNSUPPORTED,
 * ERR_DENIED (a chain leaves the allowed folders). The error names the object. *@ret_image is owned by the
 * caller: image_close().
 */
int image_open(struct image **ret_image, const char *name, const struct image_open_opts *opts,
	       struct err *err);

/**
 * image_open_bfile() - as image_open(), for what is open already: fuzz targets, tests, spooled streams
 * @file: consumed, on failure too; a name inside the image may only lead below allow_dirs
 */
int image_open_bfile(struct image **ret_image, struct bfile *file,
		     const struct image_open_opts *opts, struct err *err);

/** image_close() - NULL is fine. Written data is only safe after image_flush() said 0. */
void image_close(struct image *img);

/** image_size() - bytes; IMAGE_SIZE_UNKNOWN while a stream has not ended */
uint64_t image_size(const struct image *img);
#define IMAGE_SIZE_UNKNOWN UINT64_MAX

const char *image_name(const struct image *img);	/* as given to open; borrowed */
const char *image_format_name(const struct image *img); /* "qcow2"; static */
struct image *image_backing(const struct image *img);	/* next layer or NULL; borrowed */

/** image_is_stream() - may only be read once, in order: image_read_stream() */
bool image_is_stream(const struct image *img);

/** image_read() - read exactly [off, off + len); beyond the size is ERR_USAGE; Return: 0 or -1 */
int image_read(struct image *img, void *buf, uint64_t off, size_t len, struct err *err);

/** image_read_stream() - the next bytes of a stream; fewer than @len only at the end; one caller;
 *  Return: bytes, or -1 */
ssize_t image_read_stream(struct image *img, void *buf, size_t len, struct err *err);

enum extent_kind {
	EXTENT_DATA,	    /* some layer holds bytes for it (which may happen to be zero) */
	EXTENT_ZERO,	    /* some layer says: reads as zero */
	EXTENT_UNALLOCATED, /* no layer says anything: reads as zero */
};

enum codec {
	CODEC_NONE = 0,
	CODEC_DEFLATE, /* raw deflate, window up to 4 KiB: qcow2 zlib */
	CODEC_ZLIB,    /* RFC 1950: VMDK streamOptimized */
	CODEC_ZSTD,    /* one frame */
	CODEC_OPAQUE,  /* only the format can decode it (encrypted): image_read() */
};

/**
 * struct extent - a guest range of one kind
 *
 * When @file is not NULL the stored bytes lie at @host_off of it. With CODEC_NONE byte i of the extent is byte
 * @host_off + i. With another codec the extent is exactly one compression unit and @host_len bytes hold it.
 */
struct extent {
	uint64_t off, len;
	enum extent_kind kind;
	unsigned depth; /* 0: this image, 1: its backing file, ...; of the layer that answers */
	enum codec codec;
	struct bfile *file; /* borrowed, lives as long as the image; NULL: no plain place */
	uint64_t host_off;
	uint64_t host_len; /* stored bytes of a compressed extent (may be rounded up to sectors) */
	struct image *layer; /* whose extent it is; borrowed */
};

/**
 * image_extent() - the extent that starts at @off
 * @off: below image_size()
 * @max: the longest extent wanted, at least 1; the answer may be shorter than what is alike
 *
 * An extent that a format cannot split (a compressed cluster) is cut to [off, off + max) too; then
 * @host_off and @host_len still describe the whole unit and len < unit size.
 * Return: 0 with @ret->len in [1, max], or -1.
 */
int image_extent(struct image *img, uint64_t off, uint64_t max, struct extent *ret,
		 struct err *err);

/* Random writes: crash-safe metadata order; data are on the disk after image_flush(). Beyond the size: ERR_USAGE */
int image_write(struct image *img, const void *buf, uint64_t off, size_t len, struct err *err);
int image_write_zeroes(struct image *img, uint64_t off, uint64_t len, bool may_unmap,
		       struct err *err);
int image_discard(struct image *img, uint64_t off, uint64_t len, struct err *err);
int image_flush(struct image *img, struct err *err);

/**
 * image_settle() - flush, and leave the files as image_close() would: closing changes them no more, unless something is
 * written again. Nobody writes meanwhile.
 */
int image_settle(struct image *img, struct err *err);

/** image_resize() - new virtual size; growing reads as zero; shrinking drops the end for good */
int image_resize(struct image *img, uint64_t size, struct err *err);

/** image_can_forget() - image_forget() works; image_can_set_backing(), image_can_adopt() likewise, @by_name: with a name */
bool image_can_forget(const struct image *img);
bool image_can_set_backing(const struct image *img);
bool image_can_adopt(const struct image *img, bool by_name);

/** image_forget() - whole clusters of [off, off + len) as if never written, so that the backing file shows */
int image_forget(struct image *img, uint64_t off, uint64_t len, struct err *err);

/** image_set_backing() - name another backing file, or none (NULL), in the header, durably; nothing is opened */
int image_set_backing(struct image *img, const char *name, const char *format, struct err *err);

/**
 * image_check_base() - is @base, open, what @img was made on, as far as its format tells? @img is open without its backing file
 * Return: 0, or -1 with ERR_CORRUPT
 */
int image_check_base(struct image *img, struct image *base, struct err *err);

/**
 * image_adopt() - @base, open, is what @img was made on, though its content ID, UUID or GUID is another one by now
 * @name: how the header shall call it, from the image's folder; NULL: as it does. ERR_UNSUPPORTED: another format
 * When @base is open for writing it gets its new ID here, for all that is written to it after. @img is open for
 * writing, with or without its chain.
 */
int image_adopt(struct image *img, struct image *base, const char *name, struct err *err);

/**
 * image_info() - what `vmimg info --json` prints for one layer: name, format, virtual_size, actual_size,
 * cluster_size, backing_file, backing_format, snapshots[], format_specific{}; see docs/schema/vmimg-info.json
 * *@ret is owned (json_decref). The list fields are bounded (1000 entries, then "truncated": true).
 */
int image_info(struct image *img, json_t **ret, struct err *err);

enum image_check_flags {
	CHECK_REPAIR_LEAKS = 1,
	CHECK_REPAIR_ALL = 2,
	CHECK_DEEP = 4, /* decompress every cluster */
};

struct image_check_result {
	uint64_t corruptions, leaks, corruptions_fixed, leaks_fixed;
	uint64_t image_end; /* highest byte in use of the file */
	uint64_t total_clusters, allocated_clusters, compressed_clusters, fragmented_clusters;
};

/**
 * image_check() - look for faults, and mend what can be mended without guessing
 * @report: one sentence a fault (at most 1000 of them, then one that says so); may be NULL
 * Return: 0 (faults are in @ret), -1: could not check; ERR_UNSUPPORTED for formats with nothing to check.
 */
int image_check(struct image *img, unsigned flags, void (*report)(void *ctx, const char *sentence),
		void *ctx, struct image_check_result *ret, struct err *err);

/** image_register_opener() - names that begin with @scheme ("repo:", "nbd://") go to @open; at start only. A scheme
 *  that begins with a dot (".ova") is a suffix instead, or the name of a format that the caller asks for */
void image_register_opener(const char *scheme,
			   int (*open)(struct image **, const char *,
				       const struct image_open_opts *, struct err *));

#endif
