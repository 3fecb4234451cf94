/* The parent's content ID in the descriptor of a child, changed. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/image/format/vmdk/write.h"

static char *parent_cid(char *text, size_t *ret_digits)
{
	static const char key[] = "parentCID=";

	for (char *p = text; p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL) {
		if (strncasecmp(p, key, strlen(key)) != 0)
			continue;
		p += strlen(key);
		*ret_digits = strspn(p, "0123456789abcdefABCDEF");
		return *ret_digits ? p : NULL;
	}
	return NULL;
}

/* QEMU writes no leading zeros: what has less digits is moved aside. An embedded descriptor has its sectors and no more */
static int make_room(struct image *img, char *text, const char *at, size_t digits, const char *cid,
		     struct err *err)
{
	struct vmdk *v = img->priv;
	CLEANUP_FREE char *longer = NULL;

	if (asprintf(&longer, "%.*s%s%s", (int)(at - text), text, cid, at + digits) < 0) {
		longer = NULL;
		return err_nomem(err);
	}
	if (v->extents[0].file == img->file && strlen(longer) > v->desc_room)
		return err_set(err, ERR_UNSUPPORTED,
			       "the descriptor has no room for the parent's content ID");
	if (vmdk_put_descriptor(img, longer, strlen(text), err) < 0)
		return -1;
	return vmdk_find_cid(img, err);
}

int vmdk_adopt(struct image *img, const struct image *base, struct err *err)
{
	struct vmdk *v = img->priv;
	const struct vmdk *below = base->priv;
	size_t room = (size_t)v->desc_room, digits = 0;
	CLEANUP_FREE char *text = malloc(room + 1);
	char cid[9];
	const char *at;
	int rc;

	if (!text)
		return err_nomem(err);
	if (bfile_pread(img->file, text, room, v->desc_off, err) < 0)
		return -1;
	text[room] = '\0';
	at = parent_cid(text, &digits);
	if (!at)
		return err_set(err, ERR_UNSUPPORTED,
			       "the descriptor has no content ID of a parent that can be changed");
	(void)snprintf(cid, sizeof(cid), "%08" PRIx32, below->d.cid);
	if (digits == 8)
		rc = bfile_pwrite(img->file, cid, 8, v->desc_off + (uint64_t)(at - text), err);
	else
		rc = make_room(img, text, at, digits, cid, err);
	if (rc < 0 || bfile_flush(img->file, err) < 0)
		return -1;
	v->d.parent_cid = below->d.cid;
	return 0;
}
