/* The implementations behind protocol.h; for protocol/ only. */
#ifndef VMKIT_IMAGE_PROTOCOL_BACKENDS_H
#define VMKIT_IMAGE_PROTOCOL_BACKENDS_H

#include "libcommon/image/protocol.h"

extern const struct bfile_ops bfile_file_ops, bfile_blockdev_ops, bfile_memory_ops;

/* Shared by file.c and blockdev.c: both are descriptors with positioned input and output. */
int fd_pread(struct bfile *f, void *buf, size_t len, uint64_t off, struct err *err);
int fd_pwrite(struct bfile *f, const void *buf, size_t len, uint64_t off, struct err *err);
int fd_flush(struct bfile *f, struct err *err);
void fd_close(struct bfile *f);

/**
 * fd_fallocate() - fallocate(@mode), unless it was refused before
 * @bit: the bit of f->can that stands for this way
 * Return: 1 done; 0 the file system or device cannot do it, and is not asked again; -1 failed
 */
int fd_fallocate(struct bfile *f, unsigned bit, int mode, uint64_t off, uint64_t len,
		 struct err *err);

enum { CAN_ZERO_RANGE = 1, CAN_PUNCH_HOLE = 2, CAN_BLKZEROOUT = 4, CAN_SEEK_HOLE = 8 };

/** bfile_write_zeros() - the last resort: zero bytes are written */
int bfile_write_zeros(struct bfile *f, uint64_t off, uint64_t len, struct err *err);

#endif
