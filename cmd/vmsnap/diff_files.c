/* Names of changed files: see diff_files.h. */
#include "cmd/vmsnap/diff_files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/log.h"
#include "libcommon/guest/compare.h"

struct telling {
	json_t *list; /* NULL: printed */
	bool null_end;
	char missed[128]; /* the first volume that is not read */
};

static const char *kind(const struct fs_node *n)
{
	static const char *const names[] = {
		[FS_FILE] = "file",	   [FS_DIR] = "directory",	[FS_SYMLINK] = "symlink",
		[FS_CHAR] = "char-device", [FS_BLOCK] = "block-device", [FS_FIFO] = "fifo",
		[FS_SOCKET] = "socket",	   [FS_UNKNOWN] = "unknown",
	};

	return names[n->type];
}

static json_t *size_of(const struct fs_node *n)
{
	return n && n->type == FS_FILE ? json_integer((json_int_t)n->size) : json_null();
}

static int tell(void *ctx, const struct guest_difference *d, struct err *err)
{
	static const char *const words[] = {"added", "removed", "content", "attributes"};
	static const char letters[] = "ADMm";
	CLEANUP_FREE char *shown = NULL;
	struct telling *t = ctx;

	if (t->list)
		return json_array_append_new(t->list,
					     json_pack("{s:o, s:s, s:s, s:o, s:o}", "path",
						       cli_json_string(d->path), "change",
						       words[d->what], "type",
						       kind(d->b ? d->b : d->a), "size_a",
						       size_of(d->a), "size_b", size_of(d->b))) < 0
			       ? err_nomem(err)
			       : 0;
	if (t->null_end) {
		(void)fwrite(d->path, 1, strlen(d->path) + 1, stdout);
		return 0;
	}
	shown = cli_printable(d->path);
	if (!shown)
		return err_nomem(err);
	(void)printf("%c %s\n", letters[d->what], shown);
	return 0;
}

/* Swap and what is no file system at all have no files that could be missed */
static int unread(void *ctx, const char *volume, const char *type, struct err *err)
{
	struct telling *t = ctx;

	(void)err;
	if (strcmp(type, "swap") == 0 || strcmp(type, "unknown") == 0)
		return 0;
	log_warning("%s%sa file system of type %s has changed, which is not read here",
		    *volume ? volume : "", *volume ? ": " : "", type);
	if (!*t->missed)
		(void)snprintf(t->missed, sizeof(t->missed), "%s", type);
	return 0;
}

static void unclean(void *ctx, const char *volume)
{
	(void)ctx;
	log_warning("%s%swas in use: what its journal holds is not seen", volume,
		    *volume ? ": " : "");
}

int diff_files(struct image *a, struct image *b, const struct changes *changed, json_t *list,
	       bool null_end, struct err *err)
{
	struct telling t = {.list = list, .null_end = null_end};
	const struct guest_compare how = {
		.tell = tell, .unread = unread, .unclean = unclean, .ctx = &t};
	struct guest *x = NULL, *y = NULL;
	int rc = guest_open(&x, a, err) < 0 || guest_open(&y, b, err) < 0 ? -1 : 0;

	if (rc == 0)
		rc = guest_compare(x, y, changed, &how, err);
	guest_close(x);
	guest_close(y);
	if (rc == 0 && *t.missed)
		return err_set(err, ERR_DIFFERS,
			       "files of a changed file system of type %s are not named", t.missed);
	return rc;
}
