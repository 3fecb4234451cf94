/* Files of this host into a file system of a disk: ext3 and ext4, each file by one transaction of the journal. */
#ifndef VMKIT_GUEST_PUT_H
#define VMKIT_GUEST_PUT_H

#include "libcommon/base/progress.h"
#include "libcommon/guest/guest.h"

struct put_opts {
	bool force;		   /* a file that exists is replaced */
	bool has_mode;		   /* else the host file's permissions, without set-id bits */
	uint32_t mode, uid, gid;   /* mode: 07777 */
	bool dry_run;		   /* all but the writing */
	struct progress *progress; /* may be NULL */
};

/** struct put_target - an open file system that is being written to */
struct put_target;

/**
 * put_open() - a volume for writing
 * @v: of an image that is open for writing
 * ERR_UNSUPPORTED: no ext file system, not clean, no journal, quota or other things that are not kept up here
 */
int put_open(struct put_target **ret, const struct volume *v, struct err *err);
void put_close(struct put_target *t);

/**
 * put_file() - one file as @name in the folder of inode @dir
 * @fd: of a file with a size, read from its start
 * The file is there with all its bytes, or as it was before, whenever the machine stops. ERR_EXISTS, ERR_NO_SPACE, ...
 * ERR_UNSUPPORTED: the folder, or the file that is replaced, is encrypted, immutable, append-only or folds case
 */
int put_file(struct put_target *t, uint64_t dir, const char *name, int fd,
	     const struct put_opts *opts, struct err *err);

#endif
