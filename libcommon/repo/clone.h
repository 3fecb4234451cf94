/* Reflink clones kept beside an image: what lies at another place of the disk than the clone's has changed since.
 *
 * While the clone is there its blocks cannot be given to anybody else, and a write to the image goes to fresh ones. So the
 * same place on the file system means the same bytes, with none of them read. The clone's own file is held against
 * its inode, size and times as the manifest has them.
 */
#ifndef VMKIT_REPO_CLONE_H
#define VMKIT_REPO_CLONE_H

#include "libcommon/image/changes.h"
#include "libcommon/image/image.h"
#include "libcommon/repo/repo.h"

/** clone_usable() - has the snapshot a clone that is there as it was, of an image like this one? */
bool clone_usable(struct image *img, const struct snapshot_disk *then);

/** clone_changes() - fill @c; ERR_UNSUPPORTED and others: no answer */
int clone_changes(struct image *img, const struct snapshot_disk *then, struct changes *c,
		  struct err *err);

/** clone_keep() - clone the image's file beside it, for snapshot @id of repository @repo; *@ret is owned, its path too.
 *  ERR_UNSUPPORTED: the file system cannot share blocks, or the image is not one plain file */
int clone_keep(struct image *img, const uint8_t repo[16], const struct repo_id *id,
	       struct snapshot_file *ret, struct err *err);

/** clone_remove_others() - clones of the image that this repository left, but for @keep */
void clone_remove_others(struct image *img, const uint8_t repo[16],
			 const struct snapshot_file *keep);

#endif
