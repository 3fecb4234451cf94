/* Reflink clones: see clone.h. */
#include "libcommon/repo/clone.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/digest.h"
#include "libcommon/base/log.h"
#include "libcommon/image/format.h"
#include "libcommon/repo/fiemap.h"
#include "libcommon/repo/source.h"

#define SUFFIX ".clone"

enum { ID_DIGITS = 16 };

static bool same_numbers(const struct snapshot_file *a, const struct snapshot_file *b)
{
	return a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
	       a->mtime_ns == b->mtime_ns && a->ctime_ns == b->ctime_ns;
}

bool clone_usable(struct image *img, const struct snapshot_disk *then)
{
	struct snapshot_file now = {0};

	if (!then->clone.path || !img->file || (img->flags & IMAGE_SHARED) ||
	    strcmp(then->format, image_format_name(img)) != 0 ||
	    !source_stat(then->clone.path, &now))
		return false;
	if (same_numbers(&now, &then->clone))
		return true;
	log_info("%s: is not the clone that the backup left", then->clone.path);
	return false;
}

/* One piece of the file that both have at the same place of it: what lies elsewhere on the device changed. */
static int compare_plain(const struct places *a, const struct places *b, const struct extent *e,
			 uint64_t len, struct changes *c, struct err *err)
{
	for (uint64_t done = 0; done < len;) {
		bool same;
		uint64_t n = places_same(a, b, e->host_off + done, len - done, &same);

		if (!same && changes_add(c, e->off + done, n, err) < 0)
			return -1;
		done += n;
	}
	return 0;
}

static bool unit_same(const struct places *a, const struct places *b, uint64_t off, uint64_t len)
{
	for (uint64_t done = 0; done < len;) {
		bool same;

		done += places_same(a, b, off + done, len - done, &same);
		if (!same)
			return false;
	}
	return true;
}

static int compare_extents(const struct places *pa, const struct places *pb, const struct extent *a,
			   const struct extent *b, uint64_t len, struct changes *c, struct err *err)
{
	if (a->kind != EXTENT_DATA && b->kind != EXTENT_DATA)
		return 0; /* zeros in both */
	if (a->kind != b->kind || a->codec != b->codec || !a->file || !b->file ||
	    a->host_off != b->host_off)
		return changes_add(c, a->off, len, err);
	if (a->codec == CODEC_NONE)
		return compare_plain(pa, pb, a, len, c, err);
	if (a->codec == CODEC_OPAQUE || a->host_len != b->host_len ||
	    !unit_same(pa, pb, a->host_off, a->host_len))
		return changes_add(c, a->off, len, err);
	return 0;
}

static int compare_images(struct image *img, struct image *clone, struct changes *c,
			  struct err *err)
{
	struct places pa = {0}, pb = {0};
	uint64_t size = image_size(img), off = 0;
	int rc = -1;

	if (image_size(clone) != size || image_backing(img))
		return err_set(err, ERR_UNSUPPORTED, "the clone is of another disk");
	if (places_read(img->file->fd, &pa, err) == 0 &&
	    places_read(clone->file->fd, &pb, err) == 0)
		rc = 0;
	/* Extents of a raw file are no help: pages in memory make data of blocks that were never written. */
	if (rc == 0 && strcmp(image_format_name(img), "raw") == 0) {
		const struct extent whole = {.len = size};

		rc = compare_plain(&pa, &pb, &whole, size, c, err);
		off = size;
	}
	while (rc == 0 && off < size) {
		struct extent a, b;

		rc = image_extent(img, off, size - off, &a, err);
		if (rc == 0)
			rc = image_extent(clone, off, size - off, &b, err);
		if (rc == 0) {
			uint64_t len = min_u64(a.len, b.len);

			rc = compare_extents(&pa, &pb, &a, &b, len, c, err);
			off += len;
		}
	}
	places_free(&pa);
	places_free(&pb);
	return rc;
}

int clone_changes(struct image *img, const struct snapshot_disk *then, struct changes *c,
		  struct err *err)
{
	struct image_open_opts opts = {
		.format = then->format,
		.flags = IMAGE_NO_BACKING,
	};
	struct image *clone;
	int rc;

	if (image_open(&clone, then->clone.path, &opts, err) < 0)
		return -1;
	rc = clone->file ? compare_images(img, clone, c, err)
			 : err_set(err, ERR_UNSUPPORTED, "the clone is no plain file");
	image_close(clone);
	return rc;
}

/* ---- keeping one */

/* "FOLDER/.NAME.vmkit-REPO-"; owned */
static char *prefix(struct image *img, const uint8_t repo[16])
{
	CLEANUP_FREE char *path = realpath(img->file->name, NULL);
	char hex[2 * 4 + 1], *slash, *out;

	if (!path)
		return NULL;
	hex_encode(repo, 4, hex);
	slash = strrchr(path, '/');
	if (asprintf(&out, "%.*s/.%s.vmkit-%s-", (int)(slash - path), path, slash + 1, hex) < 0)
		return NULL;
	return out;
}

static int make(int from, const char *path, struct err *err)
{
	CLEANUP_CLOSE int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0400);

	if (fd < 0)
		return err_sys(err, "cannot make a clone");
	if (ioctl(fd, FICLONE, from) < 0) {
		int e = errno;

		(void)unlink(path);
		return err_set(err, ERR_UNSUPPORTED, "the file system cannot share blocks: %s",
			       strerror(e));
	}
	if (fsync(fd) < 0) {
		(void)unlink(path);
		return err_sys(err, "cannot bring the clone to the disk");
	}
	return 0;
}

int clone_keep(struct image *img, const uint8_t repo[16], const struct repo_id *id,
	       struct snapshot_file *ret, struct err *err)
{
	CLEANUP_FREE char *path = NULL;
	CLEANUP_FREE char *pre = NULL;
	char hex[2 * sizeof(id->bytes) + 1];

	if (!img->file || img->file->fd < 0 || img->file->is_blockdev || image_backing(img) ||
	    (img->flags & IMAGE_SHARED))
		return err_set(err, ERR_UNSUPPORTED,
			       "only an image of one plain file that nobody writes to is cloned");
	hex_encode(id->bytes, sizeof(id->bytes), hex);
	pre = prefix(img, repo);
	if (!pre || asprintf(&path, "%s%.*s" SUFFIX, pre, ID_DIGITS, hex) < 0) {
		path = NULL;
		return err_nomem(err);
	}
	if (make(img->file->fd, path, err) < 0)
		return -1;
	if (!source_stat(path, ret)) {
		(void)unlink(path);
		return err_set(err, ERR_FAILED, "the clone has gone");
	}
	ret->path = steal_ptr(&path);
	return 0;
}

void clone_remove_others(struct image *img, const uint8_t repo[16],
			 const struct snapshot_file *keep)
{
	CLEANUP_FREE char *pre = img->file ? prefix(img, repo) : NULL;
	char *slash = pre ? strrchr(pre, '/') : NULL;
	const struct dirent *e;
	DIR *dir;

	if (!slash)
		return;
	*slash = '\0';
	dir = opendir(*pre ? pre : "/");
	while (dir && (e = readdir(dir)) != NULL) {
		size_t n = strlen(slash + 1), len = strlen(e->d_name);
		CLEANUP_FREE char *path = NULL;

		if (len != n + ID_DIGITS + strlen(SUFFIX) ||
		    strncmp(e->d_name, slash + 1, n) != 0 ||
		    strcmp(e->d_name + len - strlen(SUFFIX), SUFFIX) != 0 ||
		    asprintf(&path, "%s/%s", pre, e->d_name) < 0)
			continue;
		if (keep && keep->path && strcmp(path, keep->path) == 0)
			continue;
		if (unlink(path) < 0)
			log_warning("%s: cannot be removed: %s", path, strerror(errno));
	}
	if (dir)
		(void)closedir(dir);
}
