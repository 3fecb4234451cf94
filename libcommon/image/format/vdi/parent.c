/* The parent of a differencing VDI: its header has a UUID, not a name.
 *
 * The rule: the parent is a file named *.vdi in the folder of the child (where it was named, and where it really
 * lies), or in one of the folders that the caller allowed. Headers of such files are looked at, links are not followed
 * and no device is opened; exactly one must have the UUID. Its name then goes the way of every backing file: core
 * confines it and opens it.
 */
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/io.h"
#include "libcommon/image/format/vdi/vdi.h"

/* Entries of a folder that are looked at: more is no place for a disk */
enum { ENTRIES_MOST = 10000 };

struct search {
	const struct image *img;
	const uint8_t *wanted; /* UUID */
	char *found;	       /* path; owned */
	struct stat found_id;
	char *second; /* another file with the same UUID */
};

static bool has_suffix(const char *name)
{
	size_t n = strlen(name);

	return n > 4 && strcasecmp(name + n - 4, ".vdi") == 0;
}

/* Is it a regular file whose header has the UUID? */
static bool is_wanted(const struct search *s, int dir, const char *name, struct stat *ret)
{
	uint8_t raw[VDI_HEADER_SIZE];
	struct vdi_header h;
	struct stat own;

	/* Nothing but a regular file is opened */
	if (fstatat(dir, name, ret, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(ret->st_mode))
		return false;

	CLEANUP_CLOSE int fd =
		openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, ret) < 0 || !S_ISREG(ret->st_mode))
		return false;
	if (s->img->file->fd >= 0 && fstat(s->img->file->fd, &own) == 0 &&
	    own.st_dev == ret->st_dev && own.st_ino == ret->st_ino)
		return false;
	return io_pread(fd, raw, sizeof(raw), 0, NULL) == 0 &&
	       get_le32(raw + 64) == VDI_SIGNATURE && vdi_header_parse(raw, &h, NULL) == 0 &&
	       memcmp(h.uuid, s->wanted, 16) == 0;
}

static int take(struct search *s, const char *folder, const char *name, const struct stat *st,
		struct err *err)
{
	char *path;

	if (s->found && s->found_id.st_dev == st->st_dev && s->found_id.st_ino == st->st_ino)
		return 0; /* the same file, by another folder or a hard link */
	if (asprintf(&path, "%s/%s", folder, name) < 0)
		return err_nomem(err);
	if (s->found) {
		free(s->second);
		s->second = path;
		return 0;
	}
	s->found = path;
	s->found_id = *st;
	return 0;
}

/* @folder must be resolved: what is found must not depend on the folder that names are relative to */
static int look_in(struct search *s, const char *folder, struct err *err)
{
	DIR *dir = folder ? opendir(folder) : NULL;
	struct dirent *e;
	struct stat st;
	int r = 0;

	if (!dir)
		return 0;
	for (unsigned n = 0; r == 0 && n < ENTRIES_MOST && (e = readdir(dir)); n++)
		if (has_suffix(e->d_name) && is_wanted(s, dirfd(dir), e->d_name, &st))
			r = take(s, folder, e->d_name, &st, err);
	(void)closedir(dir);
	return r;
}

static int look_beside(struct search *s, const char *path, struct err *err)
{
	const char *slash = path ? strrchr(path, '/') : NULL;
	CLEANUP_FREE char *folder =
		slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
	CLEANUP_FREE char *real = path && folder ? realpath(folder, NULL) : NULL;

	return look_in(s, real, err);
}

static int look_everywhere(struct search *s, const struct image_open_opts *opts, struct err *err)
{
	const char *path = s->img->path;
	CLEANUP_FREE char *real = path ? realpath(path, NULL) : NULL;

	if (look_beside(s, path, err) < 0 || look_beside(s, real, err) < 0)
		return -1;
	for (size_t i = 0; opts && i < opts->n_allow_dirs; i++) {
		CLEANUP_FREE char *folder = realpath(opts->allow_dirs[i], NULL);

		if (look_in(s, folder, err) < 0)
			return -1;
	}
	return 0;
}

int vdi_find_parent(struct image *img, const struct image_open_opts *opts, struct err *err)
{
	const struct vdi *v = img->priv;
	struct search s = {.img = img, .wanted = v->h.parent};
	char text[VDI_UUID_TEXT];
	int r = look_everywhere(&s, opts, err);

	if (r == 0 && s.second) {
		err_set(err, ERR_UNSUPPORTED,
			"two files have the UUID of the parent, %s: %.300s and %.300s",
			vdi_uuid_text(v->h.parent, text), s.found, s.second);
		r = err_hint(err, "move the one that is not the parent to another folder");
	} else if (r == 0 && !s.found) {
		err_set(err, ERR_NOT_FOUND,
			"the parent, a VDI image with the UUID %s, is not in its folder",
			vdi_uuid_text(v->h.parent, text));
		r = err_hint(err,
			     "put it beside this image, or name its folder: --allow-backing DIR");
	}
	free(s.second);
	if (r < 0) {
		free(s.found);
		return -1;
	}
	img->backing_name = s.found;
	img->backing_format = strdup("vdi");
	return img->backing_format ? 0 : err_nomem(err);
}

int vdi_check_backing(struct image *img, struct err *err)
{
	const struct vdi *v = img->priv, *below = img->backing->priv;
	char was[VDI_UUID_TEXT], is[VDI_UUID_TEXT];

	/* The folder may have changed since it was searched */
	if (memcmp(below->h.uuid, v->h.parent, 16) != 0)
		return err_set(err, ERR_CORRUPT, "the parent has the UUID %s instead of %s",
			       vdi_uuid_text(below->h.uuid, is), vdi_uuid_text(v->h.parent, was));
	if (!vdi_uuid_none(v->h.parent_modify) &&
	    memcmp(below->h.modify, v->h.parent_modify, 16) != 0) {
		err_set(err, ERR_CORRUPT,
			"the parent %.300s was written to since this image was made: its "
			"modification "
			"UUID is %s instead of %s",
			img->backing->name, vdi_uuid_text(below->h.modify, is),
			vdi_uuid_text(v->h.parent_modify, was));
		return err_hint(err, "if it is right: vmimg rebase -u -F vdi");
	}
	return 0;
}

int vdi_adopt(struct image *img, const struct image *base, const char *name, struct err *err)
{
	struct vdi *v = img->priv;
	const struct vdi *below = base->priv;

	if (name)
		return err_set(err, ERR_UNSUPPORTED,
			       "a VDI does not name its parent, but knows it by its UUID");
	if (memcmp(below->h.uuid, v->h.parent, 16) != 0)
		return err_set(err, ERR_USAGE, "%.300s has another UUID than the parent",
			       base->name);
	if (bfile_pwrite(img->file, below->h.modify, 16, VDI_OFF_PARENT_MODIFY, err) < 0 ||
	    bfile_flush(img->file, err) < 0)
		return -1;
	memcpy(v->h.parent_modify, below->h.modify, 16);
	return 0;
}
