/* The unchanged-file test: see source.h. */
#include "libcommon/repo/source.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "libcommon/image/format.h"

enum { LAYERS_MAX = 256, SETTLE_S = 2 };

static int64_t to_ns(struct timespec t)
{
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Formats whose bytes are all in img->file: of others a change could go unseen. A qcow2 image may keep its data in a
 * file of its own, which the description of the format names. */
static bool only_one_file(struct image *layer)
{
	const char *format = image_format_name(layer);
	struct err why = ERR_INIT;
	json_t *info, *specific;
	bool one;

	if (strcmp(format, "raw") == 0)
		return true;
	if (strcmp(format, "qcow2") != 0 || image_info(layer, &info, &why) < 0)
		return false;
	specific = json_object_get(info, "format_specific");
	one = json_is_object(specific) && !json_object_get(specific, "data_file") &&
	      !json_object_get(info, "data_file");
	json_decref(info);
	return one;
}

static void take_numbers(const struct stat *st, struct snapshot_file *ret)
{
	ret->dev = (uint64_t)st->st_dev & INT64_MAX;
	ret->ino = (uint64_t)st->st_ino & INT64_MAX;
	ret->size = (uint64_t)st->st_size;
	ret->mtime_ns = to_ns(st->st_mtim);
	ret->ctime_ns = to_ns(st->st_ctim);
}

bool source_stat(const char *path, struct snapshot_file *ret)
{
	struct stat st;

	if (lstat(path, &st) < 0 || !S_ISREG(st.st_mode))
		return false;
	take_numbers(&st, ret);
	return true;
}

static bool add_file(struct image *layer, struct snapshot_file *ret)
{
	struct stat st;

	if (!layer->file || layer->file->fd < 0 || layer->stream || (layer->flags & IMAGE_SHARED) ||
	    fstat(layer->file->fd, &st) < 0 || !S_ISREG(st.st_mode) || !only_one_file(layer))
		return false;
	ret->path = strdup(layer->file->name);
	take_numbers(&st, ret);
	return ret->path != NULL;
}

bool source_files(struct image *img, struct snapshot_file **ret, size_t *ret_n)
{
	struct snapshot_file *files = NULL;
	size_t n = 0, room = 0;

	for (struct image *l = img; l; l = image_backing(l)) {
		if (n == room) {
			struct snapshot_file *more = reallocarray(files, room + 8, sizeof(*more));

			if (!more || n >= LAYERS_MAX) {
				source_files_free(more ? more : files, n);
				return false;
			}
			files = more;
			room += 8;
		}
		if (!add_file(l, &files[n])) {
			source_files_free(files, n);
			return false;
		}
		n++;
	}
	*ret = files;
	*ret_n = n;
	return true;
}

void source_files_free(struct snapshot_file *files, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(files[i].path);
	free(files);
}

bool source_same_files(const struct snapshot_file *a, size_t na, const struct snapshot_file *b,
		       size_t nb)
{
	if (na != nb || na == 0)
		return false;
	for (size_t i = 0; i < na; i++)
		if (a[i].dev != b[i].dev || a[i].ino != b[i].ino || a[i].size != b[i].size ||
		    a[i].mtime_ns != b[i].mtime_ns || a[i].ctime_ns != b[i].ctime_ns)
			return false;
	return true;
}

bool source_unchanged(const struct snapshot_disk *then, int64_t began,
		      const struct snapshot_file *now, size_t n_now, uint64_t size,
		      const char *format)
{
	if (then->size != size || strcmp(then->format, format) != 0 ||
	    !source_same_files(then->files, then->n_files, now, n_now))
		return false;
	for (size_t i = 0; i < n_now; i++) {
		int64_t settled = (began - SETTLE_S) * 1000000000;

		if (now[i].mtime_ns >= settled || now[i].ctime_ns >= settled)
			return false;
	}
	return true;
}

/* ---- for people: what was read, and what state that is */

const char *const snapshot_consistencies[] = {"quiesced", "offline", "crash",
					      "unknown",  "none",    NULL};

static size_t rank(const char *consistency)
{
	size_t i = 0;

	while (snapshot_consistencies[i] && strcmp(snapshot_consistencies[i], consistency) != 0)
		i++;
	return i;
}

const char *snapshot_consistency(const struct snapshot *s)
{
	const char *least = NULL;

	for (size_t i = 0; i < s->n_disks; i++) {
		const char *c = s->disks[i].consistency;

		if (!c)
			return NULL;
		if (!least || rank(c) > rank(least))
			least = c;
	}
	return least;
}

static bool has_scheme(const char *name, const char *scheme)
{
	return strncmp(name, scheme, strlen(scheme)) == 0;
}

const char *source_kind(struct image *img)
{
	if (image_is_stream(img))
		return "stream";
	if (!img->file)
		return has_scheme(image_format_name(img), "repo") ? "repository" : "file";
	if (strcmp(img->file->ops->name, "nbd") == 0)
		return "nbd";
	if (img->file->is_blockdev)
		return "block device";
	return "file";
}

/* QEMU and vmkit lock files; nobody locks a device that is mounted, or knows who writes behind an NBD server. A pipe
 * says nothing at all. */
const char *source_consistency(struct image *img)
{
	for (struct image *l = img; l; l = image_backing(l)) {
		const char *kind = source_kind(l);

		if (l->flags & IMAGE_SHARED)
			return "none";
		if (strcmp(kind, "file") != 0 && strcmp(kind, "repository") != 0)
			return "unknown";
	}
	return "offline";
}
