/* The parent in the descriptor of a child, changed: its content ID, its name. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/image/format/vmdk/write.h"

static const char cid_key[] = "parentCID=", hint_key[] = "parentFileNameHint=\"";

/* What follows @key at the beginning of a line, up to one of @ends; NULL: there is none */
static char *value_of(char *text, const char *key, const char *ends, size_t *ret_len)
{
	for (char *p = text; p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL) {
		if (strncasecmp(p, key, strlen(key)) != 0)
			continue;
		p += strlen(key);
		*ret_len = strcspn(p, ends);
		return p;
	}
	return NULL;
}

/* *@text, owned, with another value */
static int replace(char **text, const char *key, const char *ends, const char *value,
		   struct err *err)
{
	size_t len = 0;
	const char *at = value_of(*text, key, ends, &len);
	char *ret;

	if (!at)
		return err_set(err, ERR_UNSUPPORTED, "the descriptor has no %.*s",
			       (int)strcspn(key, "="), key);
	if (asprintf(&ret, "%.*s%s%s", (int)(at - *text), *text, value, at + len) < 0)
		return err_nomem(err);
	free(*text);
	*text = ret;
	return 0;
}

static int check_name(const char *name, char *text, struct err *err)
{
	size_t len = 0;
	const char *encoding = value_of(text, "encoding=\"", "\"", &len);
	bool plain = true;

	for (const char *c = name; *c; c++)
		plain = plain && !((unsigned char)*c & 0x80);
	if (strpbrk(name, "\"\r\n") || !strncmp(name, "file:", 5) ||
	    (!plain && !(encoding && len == 5 && !strncasecmp(encoding, "UTF-8", 5))))
		return err_set(err, ERR_USAGE, "the descriptor cannot name %.300s", name);
	return 0;
}

/* An embedded descriptor has its sectors and no more */
static int put_text(struct image *img, const char *text, size_t old, struct err *err)
{
	const struct vmdk *v = img->priv;

	if (v->extents[0].file == img->file && strlen(text) > v->desc_room)
		return err_set(err, ERR_UNSUPPORTED, "the descriptor has no room for the parent");
	if (vmdk_put_descriptor(img, text, old, err) < 0)
		return -1;
	return vmdk_find_cid(img, err);
}

int vmdk_adopt(struct image *img, const struct image *base, const char *name, struct err *err)
{
	struct vmdk *v = img->priv;
	uint32_t parent = ((const struct vmdk *)base->priv)->d.cid;
	size_t room = (size_t)v->desc_room, len = 0, old;
	CLEANUP_FREE char *text = malloc(room + 1);
	const char *at;
	char cid[9];
	int rc;

	if (!text)
		return err_nomem(err);
	if (bfile_pread(img->file, text, room, v->desc_off, err) < 0)
		return -1;
	text[room] = '\0';
	old = strlen(text);
	(void)snprintf(cid, sizeof(cid), "%08" PRIx32, parent);
	at = value_of(text, cid_key, " \t\r\n", &len);
	if (at && len == 8 && !name) {
		rc = bfile_pwrite(img->file, cid, 8, v->desc_off + (uint64_t)(at - text), err);
	} else {
		/* QEMU writes no leading zeros: what has less digits moves what follows */
		rc = replace(&text, cid_key, " \t\r\n", cid, err);
		if (rc == 0 && name && (rc = check_name(name, text, err)) == 0)
			rc = replace(&text, hint_key, "\"", name, err);
		if (rc == 0)
			rc = put_text(img, text, old, err);
	}
	if (rc < 0 || bfile_flush(img->file, err) < 0)
		return -1;
	v->d.parent_cid = parent;
	return 0;
}
