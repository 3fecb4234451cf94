/* What `vmimg info` says of a qcow2 file beyond what every format has. */
#include "libcommon/image/format/qcow2/qcow2.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Names come from the image: not always UTF-8, sometimes with escape codes in them */
json_t *qcow2_json_string(const char *s)
{
	json_t *j = json_string(s);
	char *copy;

	if (j)
		return j;
	copy = strdup(s);
	if (!copy)
		return NULL;
	for (char *c = copy; *c; c++)
		if ((unsigned char)*c >= 0x7f)
			*c = '?';
	j = json_string(copy);
	free(copy);
	return j;
}

json_t *qcow2_json_time(uint32_t sec, uint32_t nsec)
{
	time_t t = (time_t)sec;
	char text[64], whole[96];
	struct tm tm;

	if (!gmtime_r(&t, &tm) || !strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm))
		return json_null();
	snprintf(whole, sizeof(whole), "%s.%03uZ", text, (unsigned)(nsec / 1000000U % 1000U));
	return json_string(whole);
}

static const char *encryption_name(uint32_t method)
{
	return method == QCOW2_CRYPT_LUKS ? "luks" : "aes";
}

/* 0 or -1: @value is consumed */
static int put(json_t *o, const char *key, json_t *value)
{
	return json_object_set_new(o, key, value);
}

static int fill_specific(json_t *o, const struct qcow2_header *h)
{
	int rc = put(o, "version", json_integer(h->version)) |
		 put(o, "compat", json_string(h->version == 2 ? "0.10" : "1.1")) |
		 put(o, "refcount_bits", json_integer(1 << h->refcount_order)) |
		 put(o, "compression_type",
		     json_string(h->compression_type == QCOW2_COMPRESSION_ZSTD ? "zstd" : "zlib")) |
		 put(o, "lazy_refcounts",
		     json_boolean(h->compatible & QCOW2_COMPAT_LAZY_REFCOUNTS)) |
		 put(o, "extended_l2", json_boolean(h->incompatible & QCOW2_INCOMPAT_EXTL2)) |
		 put(o, "dirty", json_boolean(h->incompatible & QCOW2_INCOMPAT_DIRTY)) |
		 put(o, "corrupt", json_boolean(h->incompatible & QCOW2_INCOMPAT_CORRUPT)) |
		 put(o, "encrypted", json_boolean(h->crypt_method != QCOW2_CRYPT_NONE));

	if (h->crypt_method != QCOW2_CRYPT_NONE)
		rc |= put(o, "encryption", json_string(encryption_name(h->crypt_method)));
	if (h->incompatible & QCOW2_INCOMPAT_DATA_FILE) {
		if (h->data_file)
			rc |= put(o, "data_file", qcow2_json_string(h->data_file));
		rc |= put(o, "data_file_raw",
			  json_boolean(h->autoclear & QCOW2_AUTOCLEAR_DATA_RAW));
	}
	return rc;
}

int qcow2_info(struct image *img, json_t *obj, struct err *err)
{
	const struct qcow2 *q = img->priv;
	json_t *specific = json_object(), *list = NULL;

	if (!specific || fill_specific(specific, &q->h)) {
		json_decref(specific);
		return err_nomem(err);
	}
	if (q->h.nb_bitmaps) {
		if (qcow2_bitmaps_json(img, &list, err)) {
			json_decref(specific);
			return -1;
		}
		if (put(specific, "bitmaps", list)) {
			json_decref(specific);
			return err_nomem(err);
		}
	}
	if (json_object_set_new(obj, "format_specific", specific))
		return err_nomem(err);
	if (qcow2_snapshots_json(img, &list, err))
		return -1;
	return json_object_set_new(obj, "snapshots", list) ? err_nomem(err) : 0;
}
