/* vmimg ls: names inside of a disk. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cmd/vmimg/inside.h"
#include "libcommon/base/cleanup.h"

static bool long_form, recursive, null_end, itself;

static const struct opt options[] = {
	{'l', "long", OPT_FLAG, &long_form,
	 .help = "kind, permissions, owner, group, size and time too"},
	{'R', "recursive", OPT_FLAG, &recursive, .help = "all that is below, by its path"},
	{'d', "directory", OPT_FLAG, &itself, .help = "a folder itself, not what is in it"},
	{'0', "null", OPT_FLAG, &null_end, .help = "names as they are, each ended by a NUL byte"},
	INSIDE_OPTIONS,
	OPT_END};

static const char *const examples[] = {"vmimg ls -l disk.qcow2 /etc", "vmimg ls disk.vhdx 1:/EFI",
				       "vmimg ls -R -0 disk.raw /var/log | xargs -0 -n 1 echo",
				       NULL};

struct printer {
	struct cli *cli;
	uint64_t rows;
};

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
		      const char *target)
{
	const char *before = p->cli->json_lines ? "" : p->rows ? ",\n  " : "[\n  ";
	char mtime[40], mode[16];
	json_t *o;
	int rc;

	time_text(n->mtime, mtime);
	(void)snprintf(mode, sizeof(mode), "%04" PRIo32, n->mode);
	o = json_pack("{s:o, s:s, s:s, s:I, s:I, s:I, s:I, s:s}", "path", cli_json_string(path),
		      "type", type_name(n->type), "mode", mode, "uid", (json_int_t)n->uid, "gid",
		      (json_int_t)n->gid, "links", (json_int_t)n->links, "size",
		      (json_int_t)n->size, "mtime", mtime);
	if (o && target)
		(void)json_object_set_new(o, "target", cli_json_string(target));
	rc = o && fputs(before, stdout) >= 0 &&
			     json_dumpf(o, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER) == 0
		     ? 0
		     : -1;
	json_decref(o);
	if (rc == 0 && p->cli->json_lines && putchar('\n') == EOF)
		rc = -1;
	return rc;
}

static void print_long(const struct fs_node *n)
{
	static const char letters[] = "rwxrwxrwx";
	char mode[11] = {type_letter(n->type)}, mtime[40], size[40];

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
	(void)printf("%s %3" PRIu32 " %5" PRIu32 " %5" PRIu32 " %12s %s ", mode, n->links, n->uid,
		     n->gid, size, mtime);
}

static int print_name(const char *path, const char *target, struct err *err)
{
	CLEANUP_FREE char *name = cli_printable(path), *to = target ? cli_printable(target) : NULL;

	if (!name || (target && !to))
		return err_nomem(err);
	if (null_end)
		(void)fputs(path, stdout);
	else
		(void)printf("%s%s%s", name, to ? " -> " : "", to ? to : "");
	return putchar(null_end ? '\0' : '\n') == EOF ? -1 : 0;
}

static int print(struct printer *p, const char *path, const struct guest_item *item,
		 struct err *err)
{
	CLEANUP_FREE char *target = NULL;
	struct fs_node *n = item->node;
	int rc;

	errno = 0;
	if (p->cli->json || long_form) {
		if (fs_fill(item->fs, n, err) < 0 ||
		    (n->type == FS_SYMLINK && fs_readlink(item->fs, n, &target, err) < 0))
			return -1;
	}
	if (p->cli->json) {
		rc = print_json(p, path, n, target);
	} else {
		if (long_form)
			print_long(n);
		rc = print_name(path, target, err);
	}
	p->rows++;
	return rc < 0 && errno ? err_sys(err, "cannot write to standard output") : rc;
}

struct listing {
	struct printer *printer;
	const char *path; /* of the place, as it is shown for the place itself */
	bool children;	  /* the place itself is not shown */
};

static int visit(void *ctx, const struct guest_item *item, struct err *err)
{
	const struct listing *l = ctx;

	if (item->when == ITEM_LEAVE || (!*item->path && l->children))
		return 0;
	return print(l->printer, *item->path ? item->path : l->path, item, err);
}

static int list(struct printer *p, struct guest *g, const char *spec, struct err *err)
{
	struct guest_place place;
	struct listing l = {.printer = p};
	bool folder;
	int rc;

	/* As ls: a link to a folder is followed, but with -l and -d */
	if (guest_find(g, spec, long_form || itself ? GUEST_NO_FOLLOW : 0, &place, err) < 0)
		return -1;
	folder = place.node.type == FS_DIR;
	l.path = place.path;
	l.children = folder && !itself;
	if (itself || !folder) {
		const struct guest_item item = {
			.volume = place.volume, .fs = place.fs, .node = &place.node};

		rc = print(p, place.path, &item, err);
	} else {
		rc = guest_walk(g, &place, recursive, visit, &l, err);
	}
	guest_place_release(&place);
	return rc < 0 ? err_object(err, spec) : 0;
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	struct printer p = {.cli = cli};
	struct image *img;
	struct guest *g;
	int rc = 0;

	if (null_end && (cli->json || long_form))
		return err_set(err, ERR_USAGE,
			       "-0 prints names alone: neither with -l nor with --json");
	if (recursive && itself)
		return err_set(err, ERR_USAGE, "-R and -d exclude each other");
	if (inside_open(argv[0], &img, &g, err) < 0)
		return -1;
	if (argc == 1)
		rc = list(&p, g, "/", err);
	for (int i = 1; i < argc && rc == 0; i++)
		rc = list(&p, g, argv[i], err);
	inside_close(img, g);
	if (rc == 0 && cli->json && !cli->json_lines)
		(void)fputs(p.rows ? "\n]\n" : "[]\n", stdout);
	return rc;
}

const struct verb verb_ls = {
	.name = "ls",
	.usage = "[OPTIONS] IMAGE [[PARTITION:]PATH...]",
	.summary = "list files that are inside of a disk",
	.details = INSIDE_PATHS
	"\n"
	"Names are sorted by their bytes, hidden ones among them. Control characters in them are "
	"shown as \\xNN.",
	.options = options,
	.examples = examples,
	.statuses = INSIDE_STATUSES,
	.min_args = 1,
	.max_args = 1000,
	.json = true,
	.complete_args = COMPLETE_FILE,
	.run = run,
};
