/* Block devices: fixed size, no holes, zeroing by the device where it can. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stddef.h>
#include <sys/ioctl.h>

#include "libcommon/image/protocol/backends.h"

/* PUNCH_HOLE on a device is a discard that the kernel vouches to read as zero, else it refuses; ZERO_RANGE
 * and BLKZEROOUT may have the kernel write the zeros: still better than copying them there. */
static int blockdev_zero(struct bfile *f, uint64_t off, uint64_t len, bool unmap, struct err *err)
{
	int r = 0;

	if (unmap)
		r = fd_fallocate(f, CAN_PUNCH_HOLE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off,
				 len, err);
	if (r == 0)
		r = fd_fallocate(f, CAN_ZERO_RANGE, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, off,
				 len, err);
	if (r != 0)
		return r < 0 ? -1 : 0;

	if (__atomic_load_n(&f->can, __ATOMIC_RELAXED) & CAN_BLKZEROOUT) {
		uint64_t range[2] = {off, len};

		if (ioctl(f->fd, BLKZEROOUT, range) == 0)
			return 0;
		if (errno == ENOTTY || errno == EOPNOTSUPP)
			__atomic_fetch_and(&f->can, ~(unsigned)CAN_BLKZEROOUT, __ATOMIC_RELAXED);
		else if (errno != EINVAL) /* EINVAL: not whole sectors */
			return err_sys(err, "cannot zero the device");
	}
	return bfile_write_zeros(f, off, len, err);
}

static int blockdev_discard(struct bfile *f, uint64_t off, uint64_t len, struct err *err)
{
	int r = fd_fallocate(f, CAN_PUNCH_HOLE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off,
			     len, err);

	return r < 0 ? -1 : 0;
}

const struct bfile_ops bfile_blockdev_ops = {
	.name = "blockdev",
	.pread = fd_pread,
	.pwrite = fd_pwrite,
	.flush = fd_flush,
	.zero = blockdev_zero,
	.discard = blockdev_discard,
	.close = fd_close,
};
