/* What a killed change left is finished or undone. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/snap/private.h"

int mend(const char *path, struct err *err)
{
	const struct image_open_opts opts = {.flags = IMAGE_RDWR | IMAGE_CHECK};
	struct image_check_result r;
	struct image *img;
	int rc;

	if (image_open(&img, path, &opts, err) < 0)
		return -1;
	rc = image_check(img, CHECK_REPAIR_LEAKS | CHECK_REPAIR_ALL, NULL, NULL, &r, err);
	image_close(img);
	if (rc == 0 && r.corruptions) {
		err_set(err, ERR_CORRUPT, "has faults that cannot be mended: vmimg check");
		return err_object(err, path);
	}
	return rc;
}

static int recover(struct snap_disk *d, const struct journal *j, struct progress *progress,
		   enum snap_recovered *ret, struct err *err)
{
	char record[SNAP_NAME_MAX + 8];
	CLEANUP_FREE char *path = NULL;
	struct stat st;

	(void)snprintf(record, sizeof(record), "%s.json", j->name);
	path = in_dir(d, record);
	if (!path)
		return err_nomem(err);
	if (disk_stat(d, &st, err) < 0)
		return -1;
	switch (j->op) {
	case OP_INTERNAL:
		*ret = SNAP_FINISHED;
		return mend(d->path, err);
	case OP_DELETE:
		*ret = SNAP_FINISHED;
		return delete_files(d, j, err);
	case OP_CREATE:
		*ret = access(path, F_OK) == 0 ? SNAP_FINISHED : SNAP_UNDONE;
		return *ret == SNAP_FINISHED ? 0 : remove_file(d, j->file, err);
	case OP_REVERT:
		*ret = st.st_ino == j->inode ? SNAP_UNDONE : SNAP_FINISHED;
		return *ret == SNAP_FINISHED ? remove_file(d, NEW_FILE, err)
					     : undo_revert(d, j, err);
	case OP_SWAP:
	case OP_MERGE:
	case OP_COMMIT:
		return external_recover(d, j, progress, ret, err);
	case OP_LIVE:
	case OP_FOLD:
		err_set(err, ERR_FAILED, "a change while its machine ran was interrupted");
		return err_hint(err,
				"vmsnap -c URI recover DOMAIN asks the machine how far it came");
	}
	return 0;
}

int recover_disk(struct snap_disk *d, struct progress *progress, enum snap_recovered *ret,
		 struct err *err)
{
	struct journal j;
	int found = journal_read(d, &j, err);

	if (found <= 0)
		return found;
	return recover(d, &j, progress, ret, err) < 0 ? -1 : journal_end(d, err);
}

int snap_recover(const char *path, struct progress *progress, enum snap_recovered *ret,
		 struct err *err)
{
	struct snap_disk *d;
	int rc;

	*ret = SNAP_NOTHING;
	if (lock_disk(&d, path, true, err) < 0)
		return -1;
	rc = set_pending(d);
	if (rc == 0)
		rc = recover_disk(d, progress, ret, err);
	snap_close(d);
	if (rc > 0)
		rc = set_recover(path, progress, ret, err);
	return rc < 0 ? err_object(err, path) : 0;
}
