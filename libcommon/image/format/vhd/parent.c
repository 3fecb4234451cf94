/* The parent of a differencing VHD: finding it by the names and the UUID in the header, and other ones there.
 *
 * A header has two sectors and no copy. So another one is written elsewhere, both footers lead there, and back when it is in
 * the old one's place as well: at any moment there is a whole one, and what it names.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/log.h"
#include "libcommon/image/blocks.h"
#include "libcommon/image/format/vhd/writer.h"
#include "libcommon/image/utf16.h"

enum { NAMES_MOST = 4 };

static int another_disk(const struct vhd *v, const char *name, const uint8_t uuid[16],
			struct err *err)
{
	char want[BLOCKS_UUID_TEXT], have[BLOCKS_UUID_TEXT];

	err_set(err, ERR_CORRUPT,
		"parent %s is not the disk that this one was made over: its UUID is %s, not %s",
		name, blocks_uuid_text(uuid, have), blocks_uuid_text(v->header.parent_uuid, want));
	return err_hint(err, "if it is right: vmimg rebase -u -F vhd");
}

/* Is @name the parent? Return: 1 yes, 0 no such file or not for us to open, -1 it is another disk */
static int try_parent(struct image *img, const struct vhd *v, const struct image_open_opts *opts,
		      const char *name, struct err *err)
{
	struct bfile *file;
	uint8_t uuid[16];
	uint32_t time_;
	int rc;

	if (image_open_named(img, opts, name, false, &file, NULL) < 0)
		return 0;
	rc = vhd_uuid_of(file, uuid, &time_, err);
	bfile_close(file);
	if (rc < 0)
		return err_prefix(err, "parent %s", name);
	if (memcmp(uuid, v->header.parent_uuid, 16) != 0)
		return another_disk(v, name, uuid, err);
	/* Copying a file is no change to a disk: the time is not held against it. */
	if (time_ != v->header.parent_time)
		log_info("%s: the parent %s has another time stamp than recorded", img->name, name);
	return 1;
}

/* Core opens img->backing_name by its rules; here is chosen which of the names it shall be. */
int vhd_find_parent(struct image *img, struct vhd *v, const struct image_open_opts *opts,
		    struct err *err)
{
	bool look = !(img->flags & (IMAGE_INFO | IMAGE_CHECK | IMAGE_NO_BACKING)) && !img->guessed;
	char *names[NAMES_MOST], *chosen = NULL;
	unsigned n;
	int rc = 0;

	if (vhd_parent_names(img, v, names, NAMES_MOST, &n, err) < 0)
		return -1;
	for (unsigned i = 0; i < n && look && rc == 0; i++) {
		rc = try_parent(img, v, opts, names[i], err);
		if (rc > 0)
			chosen = names[i];
	}
	if (!chosen && n && rc == 0)
		chosen = names[0]; /* core says why it cannot be opened */
	for (unsigned i = 0; i < n; i++)
		if (names[i] != chosen)
			free(names[i]);
	if (rc < 0)
		return -1;
	img->backing_name = chosen;
	if (!chosen)
		return look ? err_set(err, ERR_CORRUPT, "a differencing disk names no parent") : 0;
	/* "The parent is a VHD": so it is never probed */
	img->backing_format = strdup("vhd");
	return img->backing_format ? 0 : err_nomem(err);
}

int vhd_check_backing(struct image *img, struct err *err)
{
	const struct vhd *v = img->priv, *below = img->backing->priv;

	return memcmp(below->footer.uuid, v->header.parent_uuid, 16)
		       ? another_disk(v, img->backing->name, below->footer.uuid, err)
		       : 0;
}

int vhd_put_names(struct vhd_header *h, uint8_t header_bytes[VHD_HEADER_BYTES], uint64_t at,
		  const char *name, uint8_t **ret, size_t *ret_len, struct err *err)
{
	const char *base = strrchr(name, '/') ? strrchr(name, '/') + 1 : name;
	bool absolute = name[0] == '/';
	size_t len = strlen(name) + 3, n;
	CLEANUP_FREE char *path = NULL;
	CLEANUP_FREE uint8_t *unicode = NULL, *locator = NULL;

	if (!strncmp(name, "file:", 5))
		return err_set(err, ERR_USAGE, "a VHD names its parent by a plain path");
	path = malloc(len);
	if (!path)
		return err_nomem(err);
	/* "dir/a.vhd" in the header is ".\dir\a.vhd" for Windows; what is absolute stays as it is */
	(void)snprintf(path, len, "%s%s", absolute ? "" : ".\\", name);
	for (char *c = path; *c && !absolute; c++)
		if (*c == '/')
			*c = '\\';
	if (utf8_to_utf16(path, false, &locator, &len, err) < 0 ||
	    utf8_to_utf16(base, true, &unicode, &n, err) < 0)
		return -1;
	if (len > VHD_LOCATOR_MOST || n > VHD_NAME_BYTES - 2)
		return err_set(err, ERR_USAGE, "the name of the parent is too long for a VHD");
	memset(header_bytes + VHD_NAME_AT, 0, VHD_NAME_BYTES);
	memcpy(header_bytes + VHD_NAME_AT, unicode, n);
	memset(h->locators, 0, sizeof(h->locators));
	h->locators[0] =
		(struct vhd_locator){.code = absolute ? VHD_LOCATOR_W2KU : VHD_LOCATOR_W2RU,
				     .length = (uint32_t)len,
				     .offset = at};
	*ret = steal_ptr(&locator);
	*ret_len = len;
	return 0;
}

/* ---- another parent */

/* Both footers lead to @bytes, durable, at @at. */
static int lead_to(struct image *img, uint64_t at, const uint8_t bytes[VHD_HEADER_BYTES],
		   struct err *err)
{
	struct vhd *v = img->priv;

	if (bfile_pwrite(img->file, bytes, VHD_HEADER_BYTES, at, err) < 0)
		return -1;
	v->footer.data_offset = at;
	vhd_footer_encode(&v->footer, v->footer_bytes);
	return vhd_put_both_footers(img, err);
}

static int replace_header(struct image *img, const uint8_t bytes[VHD_HEADER_BYTES], struct err *err)
{
	struct vhd *v = img->priv;
	struct vhd_writer *w = v->writer;
	uint64_t home = v->footer.data_offset, away = round_up(w->next, VHD_SECTOR);

	if (vhd_take(img, away + VHD_HEADER_BYTES, err) < 0 || lead_to(img, away, bytes, err) < 0 ||
	    lead_to(img, home, bytes, err) < 0)
		return -1;
	vhd_find_end(v, w);
	return vhd_cut(img, err);
}

/* Where a locator of @len bytes goes: in front of the table, where what is there is named no more, else to the end */
static int locator_place(struct image *img, uint64_t len, uint64_t *ret, struct err *err)
{
	const struct vhd *v = img->priv;
	uint64_t room = round_up(len, VHD_SECTOR);
	bool usable = v->footer.data_offset == VHD_HEADER_AT &&
		      v->header.bat_offset >= VHD_LOCATOR_AT + room;

	for (size_t i = 0; i < VHD_LOCATORS; i++)
		if (v->header.locators[i].code &&
		    v->header.locators[i].offset < VHD_LOCATOR_AT + room)
			usable = false;
	for (uint32_t i = 0; usable && i < v->entries; i++)
		if (v->writer->bat[i] != VHD_UNUSED &&
		    (uint64_t)v->writer->bat[i] * VHD_SECTOR < VHD_LOCATOR_AT + room)
			usable = false;
	if (usable) {
		*ret = VHD_LOCATOR_AT;
		return 0;
	}
	*ret = round_up(v->writer->next, VHD_SECTOR);
	return vhd_take(img, *ret + room, err);
}

/* What @name needs beside the header, durable */
static int put_locator(struct image *img, struct vhd_header *h, uint8_t bytes[VHD_HEADER_BYTES],
		       const char *name, struct err *err)
{
	CLEANUP_FREE uint8_t *locator = NULL, *whole = NULL;
	uint64_t at = 0;
	size_t len;

	if (vhd_put_names(h, bytes, 0, name, &locator, &len, err) < 0)
		return -1;
	whole = calloc(1, round_up(len, VHD_SECTOR));
	if (!whole)
		return err_nomem(err);
	memcpy(whole, locator, len);
	if (locator_place(img, len, &at, err) < 0 ||
	    bfile_pwrite(img->file, whole, round_up(len, VHD_SECTOR), at, err) < 0)
		return -1;
	h->locators[0].offset = at;
	return bfile_flush(img->file, err);
}

static int change_header(struct image *img, const struct vhd *below, const char *name,
			 struct err *err)
{
	struct vhd *v = img->priv;
	struct vhd_header h = v->header;
	uint8_t bytes[VHD_HEADER_BYTES];

	memcpy(bytes, v->header_bytes, sizeof(bytes));
	memcpy(h.parent_uuid, below->footer.uuid, 16);
	h.parent_time = below->footer.timestamp;
	if (name && put_locator(img, &h, bytes, name, err) < 0)
		return -1;
	vhd_header_encode(&h, bytes);
	/* On the way the old header and the new one count */
	v->header = h;
	if (replace_header(img, bytes, err) < 0) {
		v->writer->failed = true;
		return -1;
	}
	memcpy(v->header_bytes, bytes, sizeof(bytes));
	return 0;
}

static int adopt(struct image *img, const struct vhd *below, const char *name, struct err *err)
{
	struct vhd *v = img->priv;
	const char *slash = name ? strrchr(name, '/') : NULL;
	char *names[2] = {name ? strdup(slash ? slash + 1 : name) : NULL,
			  name ? strdup(name) : NULL};
	int rc = name && (!names[0] || !names[1]) ? err_nomem(err)
						  : change_header(img, below, name, err);

	if (name && rc == 0) {
		free(v->header.parent_name);
		v->header.parent_name = names[0];
		free(img->backing_name);
		img->backing_name = names[1];
	} else {
		free(names[0]);
		free(names[1]);
	}
	return rc;
}

int vhd_adopt(struct image *img, const struct image *base, const char *name, struct err *err)
{
	struct vhd *v = img->priv;
	const struct vhd *below = base->priv;
	int rc = 0;

	if (v->footer.type != VHD_DIFFERENCING)
		return err_set(err, ERR_USAGE, "is no differencing disk");
	if (vhd_flush(img, err) < 0)
		return -1;
	pthread_mutex_lock(&v->writer->slow);
	if (name || memcmp(v->header.parent_uuid, below->footer.uuid, 16) != 0 ||
	    v->header.parent_time != below->footer.timestamp)
		rc = adopt(img, below, name, err);
	pthread_mutex_unlock(&v->writer->slow);
	return rc;
}
