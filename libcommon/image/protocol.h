/* Where the bytes of an image file are: a file, a block device, a pipe. Formats see this only.
 *
 * Threads: bfile_pread(), bfile_pwrite(), bfile_map() may be called at once; size changes are the format's to
 * order.
 */
#ifndef VMKIT_IMAGE_PROTOCOL_H
#define VMKIT_IMAGE_PROTOCOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libcommon/base/err.h"

struct bfile;

struct bfile_ops {
	const char *name; /* "file", "blockdev", "memory" (fuzzing and tests) */
	int (*pread)(struct bfile *f, void *buf, size_t len, uint64_t off, struct err *err);
	int (*pwrite)(struct bfile *f, const void *buf, size_t len, uint64_t off, struct err *err);
	int (*flush)(struct bfile *f, struct err *err);
	int (*truncate)(struct bfile *f, uint64_t size, struct err *err);
	/* Make [off, off + len) read as zero, keeping or freeing the blocks. NULL: writes zeros */
	int (*zero)(struct bfile *f, uint64_t off, uint64_t len, bool unmap, struct err *err);
	/* *ret_len bytes from off on are data (true) or a hole (false) */
	int (*map)(struct bfile *f, uint64_t off, uint64_t max, bool *ret_data, uint64_t *ret_len,
		   struct err *err);
	/* A hint that [off, off + len) is not needed: frees the blocks where that leaves zeros. NULL: nothing */
	int (*discard)(struct bfile *f, uint64_t off, uint64_t len, struct err *err);
	void (*close)(struct bfile *f);
};

struct bfile {
	const struct bfile_ops *ops;
	char *name;    /* for messages; owned */
	int fd;	       /* the plain descriptor, or -1; for copy_file_range and reflinks */
	uint64_t size; /* kept true by pwrite beyond the end and truncate; read with bfile_size() */
	bool writable;
	bool is_blockdev;
	unsigned can; /* file.c, blockdev.c: ways of zeroing not refused yet; atomic */
	void *priv;
};

enum bfile_open_flags {
	BFILE_RDWR = 1,
	BFILE_LOCK_SHARED = 2, /* read lock: nobody may write meanwhile (QEMU-compatible) */
	BFILE_LOCK_WRITE = 4,  /* write lock */
	BFILE_FOLLOWED = 16,   /* named by an image: regular files only */
};

/** bfile_open() - a path: regular file or block device; ERR_BUSY names the lock that is held */
int bfile_open(struct bfile **ret, const char *path, unsigned flags, struct err *err);

/** bfile_of_fd() - around an open descriptor of a regular file or block device, owned by the bfile from now
 *  on, on failure too */
int bfile_of_fd(struct bfile **ret, int fd, const char *name, bool writable, struct err *err);

/** bfile_of_memory() - @data is borrowed and must outlive it; read only */
int bfile_of_memory(struct bfile **ret, const void *data, size_t len, struct err *err);

void bfile_close(struct bfile *f);

uint64_t bfile_size(const struct bfile *f); /* an atomic load */

/** bfile_pread() - exactly @len bytes; ERR_CORRUPT when the file ends before */
int bfile_pread(struct bfile *f, void *buf, size_t len, uint64_t off, struct err *err);

/** bfile_pread_padded() - as bfile_pread(), with zeros behind the end of the file */
int bfile_pread_padded(struct bfile *f, void *buf, size_t len, uint64_t off, struct err *err);

int bfile_pwrite(struct bfile *f, const void *buf, size_t len, uint64_t off, struct err *err);
int bfile_flush(struct bfile *f, struct err *err);
int bfile_truncate(struct bfile *f, uint64_t size, struct err *err);
int bfile_zero(struct bfile *f, uint64_t off, uint64_t len, bool unmap, struct err *err);
/** bfile_discard() - free the blocks of [off, off + len) if that costs no writing; else nothing */
int bfile_discard(struct bfile *f, uint64_t off, uint64_t len, struct err *err);

/** bfile_allocated() - bytes of storage in use (st_blocks); the size where that is unknown */
uint64_t bfile_allocated(const struct bfile *f);

/** bfile_map() - *ret_len bytes in [1, max] from @off on are data or a hole; @off is below the size */
int bfile_map(struct bfile *f, uint64_t off, uint64_t max, bool *ret_data, uint64_t *ret_len,
	      struct err *err);

#endif
