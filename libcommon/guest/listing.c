/* Lists of files: see listing.h. */
#include "libcommon/guest/listing.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "libcommon/base/cleanup.h"

struct printer {
	const struct listing_opts *o;
	uint64_t rows;
	const char *place; /* as it is shown for the place itself */
	bool children;	   /* the place itself is not shown */
};

static int put(const struct printer *p, const char *text, struct err *err)
{
	return p->o->put(text, strlen(text), err);
}

static char type_letter(enum fs_type type)
{
	return "-dlcbps?"[type];
}

static const char *type_name(enum fs_type type)
{
	static const char *const names[] = {"file",  "directory", "symlink", "char",
					    "block", "fifo",	  "socket",  "unknown"};

	return names[type];
}

static void time_text(int64_t t, char ret[40])
{
	time_t seconds = (time_t)t;
	struct tm tm;

	if (!gmtime_r(&seconds, &tm) || strftime(ret, 40, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		(void)snprintf(ret, 40, "1970-01-01T00:00:00Z");
}

static int print_json(struct printer *p, const char *path, const struct fs_node *n,
		      const char *target, struct err *err)
{
	const struct listing_opts *o = p->o;
	CLEANUP_FREE char *text = NULL;
	char mtime[40], mode[16];
	json_t *j;

	time_text(n->mtime, mtime);
	(void)snprintf(mode, sizeof(mode), "%04" PRIo32, n->mode);
	j = json_pack("{s:o, s:s, s:s, s:I, s:I, s:I, s:I, s:s}", "path", o->json_text(path),
		      "type", type_name(n->type), "mode", mode, "uid", (json_int_t)n->uid, "gid",
		      (json_int_t)n->gid, "links", (json_int_t)n->links, "size",
		      (json_int_t)n->size, "mtime", mtime);
	if (j && target)
		(void)json_object_set_new(j, "target", o->json_text(target));
	text = j ? json_dumps(j, JSON_COMPACT | JSON_PRESERVE_ORDER) : NULL;
	json_decref(j);
	if (!text)
		return err_nomem(err);
	if (put(p,
		o->json_lines ? ""
		: p->rows     ? ",\n  "
			      : "[\n  ",
		err) < 0 ||
	    put(p, text, err) < 0)
		return -1;
	return o->json_lines ? put(p, "\n", err) : 0;
}

static int print_long(const struct printer *p, const struct fs_node *n, struct err *err)
{
	static const char letters[] = "rwxrwxrwx";
	char mode[11] = {type_letter(n->type)}, mtime[40], size[40], row[160];

	for (unsigned i = 0; i < 9; i++)
		mode[1 + i] = n->mode & 0400U >> i ? letters[i] : '-';
	if (n->mode & 04000)
		mode[3] = n->mode & 0100 ? 's' : 'S';
	if (n->mode & 02000)
		mode[6] = n->mode & 010 ? 's' : 'S';
	if (n->mode & 01000)
		mode[9] = n->mode & 1 ? 't' : 'T';
	time_text(n->mtime, mtime);
	if (n->type == FS_CHAR || n->type == FS_BLOCK)
		(void)snprintf(size, sizeof(size), "%" PRIu32 ",%" PRIu32, n->major, n->minor);
	else
		(void)snprintf(size, sizeof(size), "%" PRIu64, n->size);
	(void)snprintf(row, sizeof(row), "%s %3" PRIu32 " %5" PRIu32 " %5" PRIu32 " %12s %s ", mode,
		       n->links, n->uid, n->gid, size, mtime);
	return put(p, row, err);
}

static int print_name(const struct printer *p, const char *path, const char *target,
		      struct err *err)
{
	const struct listing_opts *o = p->o;
	CLEANUP_FREE char *name = o->printable(path), *to = target ? o->printable(target) : NULL;

	if (o->null_end)
		return o->put(path, strlen(path) + 1, err);
	if (!name || (target && !to))
		return err_nomem(err);
	if (put(p, name, err) < 0 || (to && (put(p, " -> ", err) < 0 || put(p, to, err) < 0)))
		return -1;
	return put(p, "\n", err);
}

static int print(struct printer *p, const char *path, struct fs *fs, struct fs_node *n,
		 struct err *err)
{
	const struct listing_opts *o = p->o;
	CLEANUP_FREE char *target = NULL;
	int rc;

	if ((o->json || o->long_form) &&
	    (fs_fill(fs, n, err) < 0 ||
	     (n->type == FS_SYMLINK && fs_readlink(fs, n, &target, err) < 0)))
		return -1;
	if (o->json) {
		rc = print_json(p, path, n, target, err);
	} else {
		rc = o->long_form ? print_long(p, n, err) : 0;
		if (rc == 0)
			rc = print_name(p, path, target, err);
	}
	p->rows++;
	return rc;
}

static int visit(void *ctx, const struct guest_item *item, struct err *err)
{
	struct printer *p = ctx;

	if (item->when == ITEM_LEAVE || (!*item->path && p->children))
		return 0;
	return print(p, *item->path ? item->path : p->place, item->fs, item->node, err);
}

static int list(struct printer *p, struct guest *g, const char *spec, struct err *err)
{
	const struct listing_opts *o = p->o;
	struct guest_place place;
	int rc;

	/* As ls: a link to a folder is followed, but with -l and -d */
	if (guest_find(g, spec, o->long_form || o->itself ? GUEST_NO_FOLLOW : 0, &place, err) < 0)
		return -1;
	p->place = place.path;
	p->children = place.node.type == FS_DIR && !o->itself;
	if (p->children)
		rc = guest_walk(g, &place, o->recursive, visit, p, err);
	else
		rc = print(p, place.path, place.fs, &place.node, err);
	guest_place_release(&place);
	return rc < 0 ? err_object(err, spec) : 0;
}

int listing_check(const struct listing_opts *o, struct err *err)
{
	if (o->null_end && (o->json || o->long_form))
		return err_set(err, ERR_USAGE,
			       "-0 prints names alone: neither with -l nor with --json");
	if (o->recursive && o->itself)
		return err_set(err, ERR_USAGE, "-R and -d exclude each other");
	return 0;
}

int listing_print(struct guest *g, char *const *specs, size_t n, const struct listing_opts *o,
		  struct err *err)
{
	struct printer p = {.o = o};
	int rc = n ? 0 : list(&p, g, "/", err);

	for (size_t i = 0; i < n && rc == 0; i++)
		rc = list(&p, g, specs[i], err);
	if (rc == 0 && o->json && !o->json_lines)
		rc = put(&p, p.rows ? "\n]\n" : "[]\n", err);
	return rc;
}
