/* What a killed change left is finished or undone. */
#include <dirent.h>
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

/* ".NAME.memory" of the folder; Return: false for other names */
static bool names_memory(const char *file, char ret[SNAP_NAME_MAX + 1])
{
	static const char suffix[] = ".memory";
	size_t len = strlen(file);

	if (file[0] != '.' || len <= sizeof(suffix) || len > SNAP_NAME_MAX + sizeof(suffix) ||
	    strcmp(file + len - (sizeof(suffix) - 1), suffix) != 0)
		return false;
	(void)snprintf(ret, SNAP_NAME_MAX + 1, "%.*s", (int)(len - sizeof(suffix)), file + 1);
	return snap_name_check(ret, NULL) == 0;
}

int remove_lost_memory(struct snap_disk *d, struct err *err)
{
	char name[SNAP_NAME_MAX + 1];
	struct snap_entry *list = NULL;
	size_t n = 0;
	struct dirent *e;
	DIR *dir = opendir(d->dir);
	bool listed = false;
	int rc = 0;

	while (dir && rc == 0 && (e = readdir(dir))) {
		bool wanted = false;

		if (!names_memory(e->d_name, name))
			continue;
		if (!listed)
			rc = list_entries(d, &list, &n, err);
		listed = true;
		for (size_t i = 0; i < n; i++)
			wanted = wanted || strcmp(list[i].name, name) == 0;
		if (rc == 0 && !wanted)
			rc = remove_memory(d, name, err);
	}
	snap_list_free(list, n);
	if (dir)
		(void)closedir(dir);
	return rc;
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
	if (rc == 0) {
		rc = recover_disk(d, progress, ret, err);
		if (rc == 0)
			rc = remove_lost_memory(d, err);
	}
	snap_close(d);
	if (rc > 0)
		rc = set_recover(path, progress, ret, err);
	return rc < 0 ? err_object(err, path) : 0;
}
