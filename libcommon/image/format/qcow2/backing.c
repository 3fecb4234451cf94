/* Another backing file in the header of an existing image.
 *
 * The first cluster is written anew: fixed fields and extensions that nobody here knows stay as they are, but for
 * the name and the format of the backing file. What decides (fields and extensions) changes with one write of one
 * block, so that a killed writer leaves the old header or the new one.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/image/format/qcow2/writer.h"

enum { BLOCK = 4096, AT_NAME = 8, AT_NAME_LEN = 16 };

struct layout {
	uint8_t *bytes; /* a cluster, zeroed beyond what is used */
	size_t size;	/* of it */
	size_t end;	/* of the extensions, with their end mark */
	size_t name_off, name_len;
};

static bool add_extension(struct layout *l, uint32_t type, const void *data, size_t len)
{
	size_t whole = 8 + (size_t)round_up(len, 8);

	if (whole + 8 > l->size - l->end)
		return false;
	put_be32(l->bytes + l->end, type);
	put_be32(l->bytes + l->end + 4, (uint32_t)len);
	memcpy(l->bytes + l->end + 8, data, len);
	l->end += whole;
	return true;
}

/* The extensions of @old but for the format, which comes first. The header has been parsed: lengths are sound. */
static bool add_extensions(struct layout *l, const uint8_t *old, const char *format, bool names)
{
	uint64_t end = get_be64(old + AT_NAME) ? get_be64(old + AT_NAME) : l->size;

	size_t pos = l->end;

	if (format && !add_extension(l, QCOW2_EXT_BACKING_FORMAT, format, strlen(format)))
		return false;
	while (pos + 8 <= end) {
		uint32_t type = get_be32(old + pos), len = get_be32(old + pos + 4);

		if (type == QCOW2_EXT_END || len > end - pos - 8)
			break;
		if (type != QCOW2_EXT_BACKING_FORMAT &&
		    (names || type != QCOW2_EXT_FEATURE_NAMES) &&
		    !add_extension(l, type, old + pos + 8, len))
			return false;
		pos += 8 + (size_t)round_up(len, 8);
	}
	l->end += 8;
	return true;
}

/* Inside the first block if there is room; else behind it, not over the old name, which still counts */
static bool place_name(struct layout *l, const uint8_t *old)
{
	uint64_t old_off = get_be64(old + AT_NAME), old_end = old_off + get_be32(old + AT_NAME_LEN);

	l->name_off = l->end;
	if (!l->name_len || l->end + l->name_len <= min_u64(BLOCK, l->size))
		return l->end <= l->size;
	l->name_off = (size_t)max_u64(l->end, BLOCK);
	if (l->name_off < old_end && old_off < l->name_off + l->name_len)
		l->name_off = (size_t)round_up(old_end, 8);
	if (l->name_off > l->size || l->name_len > l->size - l->name_off)
		l->name_off = l->end;
	return l->name_len <= l->size - l->name_off;
}

static bool lay_out(struct layout *l, const uint8_t *old, size_t header_length, const char *name,
		    const char *format, bool feature_names)
{
	memset(l->bytes, 0, l->size);
	memcpy(l->bytes, old, header_length);
	l->end = header_length;
	l->name_len = name ? strlen(name) : 0;
	put_be64(l->bytes + AT_NAME, 0);
	put_be32(l->bytes + AT_NAME_LEN, 0);
	if (!add_extensions(l, old, name ? format : NULL, feature_names) || !place_name(l, old))
		return false;
	if (name) {
		put_be64(l->bytes + AT_NAME, l->name_off);
		put_be32(l->bytes + AT_NAME_LEN, (uint32_t)l->name_len);
		memcpy(l->bytes + l->name_off, name, l->name_len);
	}
	return true;
}

static int store(struct image *img, const struct layout *l, struct err *err)
{
	size_t first = (size_t)min_u64(max_u64(BLOCK, round_up(l->end, 512)), l->size);

	if (l->name_len && l->name_off + l->name_len > first &&
	    (bfile_pwrite(img->file, l->bytes + l->name_off, l->name_len, l->name_off, err) < 0 ||
	     bfile_flush(img->file, err) < 0))
		return -1;
	if (bfile_pwrite(img->file, l->bytes, first, 0, err) < 0)
		return -1;
	return bfile_flush(img->file, err);
}

static int rewrite(struct image *img, const char *name, const char *format, struct err *err)
{
	struct qcow2 *q = img->priv;
	CLEANUP_FREE uint8_t *old = malloc(q->cluster_size);
	CLEANUP_FREE uint8_t *bytes = malloc(q->cluster_size);
	struct layout l = {.bytes = bytes, .size = q->cluster_size};

	if (!old || !bytes)
		return err_nomem(err);
	if (bfile_pread_padded(img->file, old, q->cluster_size, 0, err) < 0)
		return -1;
	/* The names of features are only an aid for messages */
	if (!lay_out(&l, old, q->h.header_length, name, format, true) &&
	    !lay_out(&l, old, q->h.header_length, name, format, false))
		return err_set(
			err, ERR_USAGE,
			"the name of the backing file does not fit into a cluster of %" PRIu32
			" bytes",
			q->cluster_size);
	return store(img, &l, err);
}

static char *copy(const char *s)
{
	return s ? strdup(s) : NULL;
}

int qcow2_set_backing(struct image *img, const char *name, const char *format, struct err *err)
{
	struct qcow2 *q = img->priv;
	char *names[4] = {NULL};
	int rc = -1;

	format = name && format ? image_format_header_name(format) : NULL;
	if (name && (!*name || strlen(name) > QCOW2_MAX_BACKING_NAME))
		return err_set(err, ERR_USAGE,
			       "name of the backing file has %zu bytes, from 1 to %u are possible",
			       strlen(name), QCOW2_MAX_BACKING_NAME);
	if (name && q->h.autoclear & QCOW2_AUTOCLEAR_DATA_RAW)
		return err_set(err, ERR_USAGE,
			       "with a raw data file there cannot be a backing file");
	for (int i = 0; i < 4; i++)
		names[i] = copy(i % 2 ? format : name);
	if ((name && (!names[0] || !names[2])) || (format && (!names[1] || !names[3])))
		err_nomem(err);
	else if (qcow2_flush(img, err) == 0 && rewrite(img, name, format, err) == 0)
		rc = 0;
	if (rc == 0) {
		free(q->h.backing_name);
		free(q->h.backing_format);
		free(img->backing_name);
		free(img->backing_format);
		q->h.backing_name = names[0];
		q->h.backing_format = names[1];
		img->backing_name = names[2];
		img->backing_format = names[3];
	} else {
		for (int i = 0; i < 4; i++)
			free(names[i]);
	}
	return rc;
}
