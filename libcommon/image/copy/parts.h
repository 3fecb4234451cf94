/* The copy engine inside: what its files share. Nobody outside this folder includes it.
 *
 *	plan.c		extents to units of work
 *	unit.c		a unit: its buffer, reading it, cutting it into bulk units
 *	copy.c		image_copy(): the pipeline
 *	target.c	choosing, making, finishing, dropping the target
 *	resume.c identity.c	going on with what was interrupted: resume.h
 *	outstream.c	to a pipe in order; spool files
 *	base.c		the backing file of a new image; create.c: image_create()
 *	archive.c	disk.raw in a tar.gz
 *	commit.c rebase.c	work on chains: chain.h
 *	compare.c image_digest.c measure.c rate.c	one subject each
 */
#ifndef VMKIT_COPY_PARTS_H
#define VMKIT_COPY_PARTS_H

#include <stdatomic.h>
#include <sys/stat.h>

#include "libcommon/base/digest.h"
#include "libcommon/base/outfile.h"
#include "libcommon/image/bulk.h"
#include "libcommon/image/copy/engine.h"
#include "libcommon/image/format.h"

enum {
	ZERO_BLOCK = 4096,	/* what a hole is worth making for */
	UNIT_BYTES = 512 << 10, /* data in a unit of work: a unit stays in the second-level cache */
	GAP_MAX = 16 << 10,	/* zeros shorter than this are read over rather than cut around */
	RUNS_MAX = 64,		/* separate ranges in a unit */
	UNIT_BYTES_COMPRESSED =
		2 << 20,	  /* long runs of clusters: the format learns from the first ones */
	RUNS_MAX_COMPRESSED = 16, /* each keeps a buffer of encoded bytes */
};

/* Bytes of a run that come from somewhere; what no part covers is zero. */
struct part {
	uint64_t off; /* guest */
	size_t len;
	struct bfile *file; /* borrowed; NULL: image_read() finds the bytes */
	uint64_t host_off;
	/* Not NULL: a granule whose compressed bytes, host_len of them, may be taken as they are */
	struct image *layer;
	uint64_t host_len;
	enum codec codec;
};

enum run_kind { RUN_DATA, RUN_CLONE, RUN_ZERO };

/* A guest range of a unit, aligned to the granule. Runs of a unit and of consecutive units ascend. */
struct run {
	enum run_kind kind;
	uint64_t off, len; /* data and clone: at most the unit's room */
	size_t buf_off;	   /* RUN_DATA: where in the unit's buffer */
	unsigned first_part, n_parts;
};

/* A unit of work: some runs, one buffer. */
struct unit {
	struct run *runs;
	unsigned n_runs, runs_room;
	struct part *parts;
	unsigned n_parts, parts_room;
	size_t bytes;	     /* of the buffer in use */
	uint64_t read_bytes; /* that came from the source */
	uint64_t begin, end; /* guest range that this unit settles, for progress */
	uint64_t no;	     /* copy.c: in the order of the plan */
	uint8_t *buf, *base_buf;
	size_t buf_size;
	/* Of each granule of buf, when the target takes compressed ones (else NULL); their bytes */
	struct bulk_packed *packed;
	size_t n_packed;
	uint8_t *packed_bytes;
	size_t packed_room;
	uint64_t passed_bytes;	 /* guest bytes in packed */
	struct bulk_unit **bulk; /* made as needed, kept with the unit */
	unsigned n_bulk, bulk_made, bulk_room;
};

enum pair_kind { PAIR_SAME, PAIR_ZERO, PAIR_DATA };

/* Where planning stands; used by produce alone. */
struct plan {
	struct image *src;
	struct image
		*base; /* what the target shows where nothing is stored; NULL: zeros or a device */
	uint64_t base_size;
	uint64_t size;	    /* guest bytes to plan */
	uint64_t disk_size; /* of the target: only its last run may end inside a granule */
	uint64_t gap_max;   /* zeros up to this long are read over rather than cut around */
	uint32_t granule;
	size_t unit_bytes; /* a multiple of the granule */
	unsigned runs_max;
	bool want_zeros; /* emit RUN_ZERO */
	bool want_all;	 /* a digest is wanted: data equal to the base's is read as well */
	const struct bulk
		*takes;	 /* compressed granules that it takes are parts of their own; NULL: none */
	bool clone;	 /* emit RUN_CLONE for plain aligned ranges */
	dev_t clone_dev; /* which files can be shared */
	const struct bfile *cloned; /* the last one that can */
	uint64_t pos;		    /* guest offset of the next extent to look at */
	uint64_t covered;	    /* a multiple of the granule: settled up to here */
	struct extent last;	    /* the last answer, and what it was taken for */
	enum pair_kind last_kind;
	/* the target's file, never to be read from */
	const struct stat *forbidden;
	const struct bfile *checked; /* the last one that was compared with it */
};

/** plan_next() - fill @u; Return: 1, 0 at the end, -1 */
int plan_next(struct plan *p, struct unit *u, struct err *err);

/**
 * plan_pair() - the extent of @a at @off, and whether @b shows the same there by the look of the extents
 * @b: NULL: not compared; @b_size: beyond it @b is zero
 * PAIR_SAME: both zero, or the same bytes of the same file; PAIR_ZERO: @a is zero, @b may not be.
 * ret->len is cut to where the answer holds.
 */
int plan_pair(struct image *a, struct image *b, uint64_t b_size, uint64_t off, uint64_t max,
	      struct extent *ret, enum pair_kind *ret_kind, struct err *err);

bool same_inode(const struct stat *a, const struct stat *b);

int unit_init(struct unit *u, size_t buf_size, bool with_base, struct err *err);
/** unit_keep_packed() - after unit_init(): granules of a compressed source are kept as they are, too */
int unit_keep_packed(struct unit *u, uint32_t granule, struct err *err);
/** unit_release() - @b frees the formats' parts; may be NULL */
void unit_release(struct unit *u, struct bulk *b);
struct run *unit_add_run(struct unit *u, struct err *err);
int unit_add_part(struct unit *u, struct run *r, const struct part *part, struct err *err);

/** unit_read() - fill the buffer; sets u->read_bytes */
int unit_read(struct unit *u, struct image *src, struct err *err);

struct target;
/** unit_cut() - make bulk units of the runs: without zeros at their ends, without what the base has */
int unit_cut(struct unit *u, struct target *t, struct err *err);

/** unit_next_bulk() - one more bulk unit of @u, fresh but with the buffers it had; NULL: error */
struct bulk_unit *unit_next_bulk(struct unit *u, struct bulk *b, struct err *err);

/** unit_encode() - the bulk units of @u, ready to be placed */
int unit_encode(struct unit *u, struct bulk *b, struct err *err);

/** unit_take_all() - as unit_cut() and unit_encode(), believing that all of the runs is data: nothing was read */
int unit_take_all(struct unit *u, struct bulk *b, struct err *err);

/* read from the file or with image_read(): shared with compare.c */
int part_read(struct image *img, const struct part *part, void *buf, struct err *err);

enum target_kind { TARGET_FILE, TARGET_DEVICE, TARGET_STREAM, TARGET_SPOOL, TARGET_PIPE };

struct target {
	enum target_kind kind;
	const char *name;
	const struct image_format *format;
	const struct copy_opts *opts;
	struct outfile *of; /* TARGET_FILE */
	struct bfile *old;  /* the file that will be replaced, locked; or NULL */
	struct bfile *file;
	struct bulk bulk;
	struct bulk_params params;
	bool begun;
	bool can_clone;	    /* source and target share blocks: tried with one */
	struct image *base; /* owned: the new image's backing file; NULL */
	struct stat id;	    /* what is under the name now */
	bool has_id;
	uint64_t stream_pos;   /* TARGET_STREAM: bytes written; guarded by the order of commits */
	bool stream_seeks;     /* standard output is a fresh regular file: holes are skipped */
	struct resume *resume; /* NULL: a file without a name is written */
	_Atomic uint64_t unsynced; /* bytes stored since write-back was last asked for */
};

/**
 * target_open() - decide what @name is, refuse what must not be written, begin the bulk writing
 * @src: may be NULL (create); @size: virtual size, 0 for a stream
 * On failure nothing is left; on success target_close() is due.
 */
int target_open(struct target *t, struct image *src, const char *name, const struct copy_opts *opts,
		uint64_t size, struct err *err);

/** target_can_clone() - does the file system of @fd share blocks, and has it a file of @src? Tried; @fd is empty afterwards */
bool target_can_clone(struct image *src, int fd);

/** target_check_resume() - ERR_USAGE when opts->resume is wanted of what cannot */
int target_check_resume(const struct target *t, struct err *err);

/** target_finish() - metadata, verification, fsync, the name; @src to compare with, may be NULL */
int target_finish(struct target *t, struct image *src, struct copy_stats *stats, struct err *err);

/** target_close() - after finish or instead of it: then the target is dropped */
void target_close(struct target *t);

/** target_stored() - @len bytes were stored: begin to write them back while copying goes on */
void target_stored(struct target *t, uint64_t len);

/** target_format() - by name or by suffix */
int target_format(const struct image_format **ret, const char *name, const char *target,
		  struct err *err);

int stream_write(struct target *t, uint64_t off, const void *buf, size_t len, struct err *err);
int stream_end(struct target *t, uint64_t size, struct err *err);
void stream_begin(struct target *t);
/** stream_file() - standard output as a file that can only be written to in order (TARGET_PIPE) */
int stream_file(struct bfile **ret, struct err *err);

/** spool_send() - all of @fd to standard output */
int spool_send(int fd, uint64_t size, struct err *err);
/** spool_image() - read a stream to its end into a spool file and open that as raw; owned */
int spool_image(struct image *stream, struct progress *progress, struct image **ret,
		struct err *err);

/** archive_copy() - image_copy() for a preset that wants an archive */
int archive_copy(struct image *src, const char *target, const struct copy_opts *opts,
		 struct copy_stats *ret, struct err *err);
/** archive_check() - options that it cannot have */
int archive_check(const struct copy_opts *opts, struct err *err);

/** base_open() - the backing file that @params name, as opening the finished @target would find it */
int base_open(struct image **ret, const char *target, const struct copy_opts *opts,
	      struct bulk_params *params, struct err *err);

/** digest_unit() - the runs of @u and the zeros before them; *@pos is where the digest stands */
int digest_unit(struct digest *d, uint64_t *pos, const struct unit *u, struct err *err);

/** plan_init() - for reading all of @src in blocks of @granule */
void plan_init(struct plan *p, struct image *src, uint32_t granule);

/* Bytes a second: one thread (produce) waits. */
struct rate {
	uint64_t limit; /* 0: none */
	uint64_t spent, since_ns;
};
int rate_wait(struct rate *r, uint64_t bytes, struct err *err);

#endif
