/* A transaction through the journal of ext3 and ext4, as the kernel's jbd2 would write it.
 *
 * A machine that is killed at any moment finds either none or all of the blocks: its kernel or e2fsck replays what is
 * whole in the journal, and does not see what is not.
 */
#ifndef VMKIT_GUEST_JOURNAL_H
#define VMKIT_GUEST_JOURNAL_H

#include "libcommon/guest/fs.h"
#include "libcommon/guest/overlay.h"

struct journal {
	struct fs_map map; /* of the journal's file */
	uint8_t super[1024];
	uint32_t blocks, first, sequence;
};

/**
 * journal_open() - the empty journal of a clean file system; journal_release() after success
 * @fs: ext, through which the journal's file is found
 * ERR_UNSUPPORTED: there is none, it lies elsewhere, or it holds something
 */
int journal_open(struct journal *j, struct fs *fs, uint32_t inode, size_t block_size,
		 struct err *err);
void journal_release(struct journal *j);

/** struct journal_super - the file system's superblock at each stage; 1024 bytes with right checksums */
struct journal_super {
	const uint8_t *old_recover; /* as it is, but marked as in need of recovery */
	const uint8_t *new_recover; /* as it shall be, but marked so */
	const uint8_t *new_clean;   /* as it shall be */
};

/** journal_commit() - write the changed blocks of @o, all or none; the overlay is empty afterwards */
int journal_commit(struct journal *j, struct overlay *o, const struct journal_super *super,
		   struct err *err);

#endif
