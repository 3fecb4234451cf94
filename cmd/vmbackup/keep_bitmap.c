/* Dirty bitmaps of our own: see keep_bitmap.h. Nothing here makes a backup fail: without a bitmap the next one reads more. */
#include "cmd/vmbackup/keep_bitmap.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "cmd/vmbackup/child.h"
#include "cmd/vmbackup/profile.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/digest.h"
#include "libcommon/base/log.h"
#include "libcommon/image/dirty_bitmap.h"
#include "libcommon/image/format.h"
#include "libcommon/repo/sentinel.h"

#define MARKS "marks" /* the bitmap of the image that is only there to be merged */

static int run(struct words *w, struct err *err)
{
	const struct child_opts opts = {.keep = -1};
	CLEANUP_FREE char *out = NULL;
	int status = 0;

	if (child_run(w->items, &opts, &out, &status, err) < 0)
		return -1;
	if (status == 127)
		return err_set(err, ERR_UNSUPPORTED, "%s is not installed", w->items[0]);
	return status ? err_set(err, ERR_FAILED, "%s ended with status %d", w->items[0], status)
		      : 0;
}

/* run_words("qemu-img", "create", ..., NULL) */
static int run_words(struct err *err, const char *first, ...)
{
	struct words w = {0};
	va_list ap;
	int rc = 0;

	va_start(ap, first);
	for (const char *word = first; word && rc == 0; word = va_arg(ap, const char *))
		rc = words_add(&w, word, err);
	va_end(ap);
	if (rc == 0)
		rc = run(&w, err);
	words_free(&w);
	return rc;
}

/* Writes of zeros into an empty image: QEMU sets the bits. */
static int set_marks(const char *image, const char *name, uint64_t size, struct err *err)
{
	uint64_t places[SENTINELS_MAX];
	unsigned n = sentinel_places(name, size, places);
	struct words w = {0};
	int rc = words_add(&w, "qemu-io", err) < 0 || words_add(&w, "-f", err) < 0 ||
				 words_add(&w, "qcow2", err) < 0
			 ? -1
			 : 0;

	if (!n)
		rc = err_set(err, ERR_UNSUPPORTED, "the disk has no room for marks");
	for (unsigned i = 0; rc == 0 && i < n; i++) {
		char text[80];

		(void)snprintf(text, sizeof(text), "write -z %" PRIu64 " %" PRIu64, places[i],
			       min_u64(SENTINEL_GRANULE, size - places[i]));
		rc = words_add(&w, "-c", err) < 0 ? -1 : words_add(&w, text, err);
	}
	if (rc == 0)
		rc = words_add(&w, image, err);
	if (rc == 0)
		rc = run(&w, err);
	words_free(&w);
	return rc;
}

static int make_in(const char *marks, const char *path, const char *name, uint64_t size,
		   struct err *err)
{
	char length[32];

	(void)snprintf(length, sizeof(length), "%" PRIu64, size);
	return run_words(err, "qemu-img", "create", "-q", "-f", "qcow2", marks, length,
			 (char *)NULL) < 0 ||
			       run_words(err, "qemu-img", "bitmap", "--add", "-g", "65536", "-f",
					 "qcow2", marks, MARKS, (char *)NULL) < 0 ||
			       set_marks(marks, name, size, err) < 0 ||
			       run_words(err, "qemu-img", "bitmap", "--add", "-g", "65536",
					 "--merge", MARKS, "-b", marks, "-F", "qcow2", "-f",
					 "qcow2", path, name, (char *)NULL) < 0
		       ? -1
		       : 0;
}

static int make(const char *path, const char *name, uint64_t size, struct err *err)
{
	const char *tmp = getenv("TMPDIR");
	CLEANUP_FREE char *dir = NULL, *marks = NULL;
	int rc;

	if (asprintf(&dir, "%s/vmkit-marks-XXXXXX", tmp && *tmp ? tmp : "/tmp") < 0) {
		dir = NULL;
		return err_nomem(err);
	}
	if (!mkdtemp(dir))
		return err_sys(err, "cannot make a folder in TMPDIR");
	if (asprintf(&marks, "%s/marks.qcow2", dir) < 0) {
		marks = NULL;
		rc = err_nomem(err);
	} else {
		rc = make_in(marks, path, name, size, err);
		(void)unlink(marks);
	}
	(void)rmdir(dir);
	return rc;
}

/* Nothing was written since the bitmap began: no reason for another one. */
static bool is_fresh(struct image *img, const char *name)
{
	struct err why = ERR_INIT;
	struct changes *c;
	bool others = true, fresh;

	if (!name || !sentinel_is_ours(name) || changes_new(&c, NULL) < 0)
		return false;
	fresh = image_dirty_bitmap(img, name, c, &why) == 0 &&
		sentinel_all_set(name, image_size(img), c, &others) && !others;
	changes_free(c);
	return fresh;
}

/* What the newest snapshot of the disk began with; owned, NULL: none */
static char *newest(struct repo *repo, const char *vm, const char *disk)
{
	struct snapshot *list;
	char *name = NULL;
	size_t n;

	if (repo_list(repo, vm, &list, &n, NULL, NULL) < 0)
		return NULL;
	for (size_t i = n; i-- > 0 && !name;)
		for (size_t k = 0; k < list[i].n_disks; k++)
			if (strcmp(list[i].disks[k].name, disk) == 0 && list[i].disks[k].checkpoint)
				name = strdup(list[i].disks[k].checkpoint);
	snapshots_free(list, n);
	return name;
}

static int new_name(struct repo *repo, char **ret, struct err *err)
{
	char uuid[33], prefix[SENTINEL_NAME_MAX], hex[17];
	uint8_t random[8];

	if (getrandom(random, sizeof(random), 0) != sizeof(random))
		return err_sys(err, "no random bytes");
	repo_uuid(repo, uuid);
	sentinel_prefix(uuid, prefix);
	hex_encode(random, sizeof(random), hex);
	if (asprintf(ret, "%s%s", prefix, hex) < 0) {
		*ret = NULL;
		return err_nomem(err);
	}
	return 0;
}

static int begin(struct repo *repo, const char *vm, const char *disk, const char *path,
		 const struct image_open_opts *opts, char **ret, struct err *err)
{
	CLEANUP_FREE char *old = NULL;
	struct image *img;
	uint64_t size;
	bool usable, fresh;

	if (image_open(&img, path, opts, err) < 0)
		return -1;
	usable = strcmp(image_format_name(img), "qcow2") == 0 && img->file && img->file->fd >= 0;
	size = image_size(img);
	old = usable ? newest(repo, vm, disk) : NULL;
	fresh = usable && is_fresh(img, old);
	image_close(img);
	if (!usable)
		return err_set(err, ERR_UNSUPPORTED, "only qcow2 files have them");
	if (fresh) {
		*ret = steal_ptr(&old);
		return 0;
	}
	if (new_name(repo, ret, err) < 0)
		return -1;
	if (make(path, *ret, size, err) == 0)
		return 0;
	free(steal_ptr(ret));
	return -1;
}

void keep_bitmap_begin(struct repo *repo, const char *vm, const char *disk, const char *path,
		       const struct image_open_opts *opts, char **ret)
{
	struct err why = ERR_INIT;

	*ret = NULL;
	if (begin(repo, vm, disk, path, opts, ret, &why) < 0)
		log_warning("disk %s: no bitmap is kept: %s", disk, why.message);
}

static int remove_others(struct repo *repo, const char *path, const struct image_open_opts *opts,
			 const char *name, struct err *err)
{
	char uuid[33], prefix[SENTINEL_NAME_MAX];
	json_t *info, *bitmap;
	struct image *img;
	size_t i;
	int rc;

	if (image_open(&img, path, opts, err) < 0)
		return -1;
	rc = image_info(img, &info, err);
	image_close(img);
	if (rc < 0)
		return -1;
	repo_uuid(repo, uuid);
	sentinel_prefix(uuid, prefix);
	json_array_foreach(json_object_get(json_object_get(info, "format_specific"), "bitmaps"), i,
			   bitmap)
	{
		const char *other = json_string_value(json_object_get(bitmap, "name"));

		if (rc == 0 && other && strncmp(other, prefix, strlen(prefix)) == 0 &&
		    strcmp(other, name) != 0)
			rc = run_words(err, "qemu-img", "bitmap", "--remove", "-f", "qcow2", path,
				       other, (char *)NULL);
	}
	json_decref(info);
	return rc;
}

void keep_bitmap_end(struct repo *repo, const char *disk, const char *path,
		     const struct image_open_opts *opts, const char *name)
{
	struct err why = ERR_INIT;

	if (remove_others(repo, path, opts, name, &why) < 0)
		log_info("disk %s: an older bitmap stays: %s", disk, why.message);
}
