/* Files of a disk as a tar archive: see extract.h. pax, so that names, sizes, times and holes are kept as they are. */
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/io.h"
#include "libcommon/base/stop.h"
#include "libcommon/guest/extract.h"
#include "libcommon/guest/seen.h"
#include "libcommon/package/libs.h"

enum {
	CHUNK = 1 << 20,
	SPARSE_MOST = 100000, /* runs; a file with more is written whole */
};

struct tarring {
	const struct archive_lib *lib;
	const struct extract_opts *opts;
	struct extract_stats *stats;
	struct archive *archive;
	struct seen links;
	const char *top;
	uint8_t *buf;
	int fd;
	bool stopped;	   /* after a failure nothing may make the archive look whole */
	struct err failed; /* of the descriptor: libarchive would only say that it failed */
};

static la_ssize_t write_out(struct archive *a, void *ctx, const void *buf, size_t len)
{
	struct tarring *t = ctx;

	(void)a;
	if (t->stopped || io_write(t->fd, buf, len, &t->failed) < 0)
		return -1;
	return (la_ssize_t)len;
}

static int fail(struct tarring *t, struct err *err)
{
	const char *why = t->lib->archive_error_string(t->archive);

	if (t->failed.code != ERR_NONE) {
		if (err)
			*err = t->failed;
		return -1;
	}
	return err_set(err, ERR_FAILED, "cannot write the archive: %s", why ? why : "no reason");
}

static unsigned file_type(enum fs_type type)
{
	static const unsigned types[] = {
		[FS_FILE] = S_IFREG,	[FS_DIR] = S_IFDIR,   [FS_SYMLINK] = S_IFLNK,
		[FS_CHAR] = S_IFCHR,	[FS_BLOCK] = S_IFBLK, [FS_FIFO] = S_IFIFO,
		[FS_SOCKET] = S_IFSOCK, [FS_UNKNOWN] = 0,
	};

	return types[type];
}

/* Is the file whole but for holes that are worth it? */
static void add_holes(struct tarring *t, struct archive_entry *e, const struct fs_map *m)
{
	uint64_t off = 0, len, data = 0;
	size_t n = 0;

	for (fs_data(m, 0, &off, &len); len && n <= SPARSE_MOST; fs_data(m, off, &off, &len)) {
		data += len;
		off += len;
		n++;
	}
	if (data == m->size || n > SPARSE_MOST)
		return;
	for (fs_data(m, 0, &off, &len); len; fs_data(m, off, &off, &len)) {
		t->lib->archive_entry_sparse_add_entry(e, (la_int64_t)off, (la_int64_t)len);
		off += len;
	}
	if (!n)
		t->lib->archive_entry_sparse_add_entry(e, 0, 0);
}

/* Holes too: the library leaves out what it was told of them */
static int write_data(struct tarring *t, struct fs *fs, const struct fs_map *m, struct err *err)
{
	for (uint64_t off = 0, n; off < m->size; off += n) {
		n = min_u64(CHUNK, m->size - off);
		if (stop_check(err) < 0 || fs_read(fs, m, t->buf, off, (size_t)n, err) < 0)
			return -1;
		if (t->lib->archive_write_data(t->archive, t->buf, (size_t)n) < 0)
			return fail(t, err);
		t->stats->bytes += n;
		progress_add(t->opts->progress, n);
	}
	return 0;
}

static int header(struct tarring *t, struct archive_entry *e, struct err *err)
{
	/* A warning says that a name is not UTF-8: it is kept as it is */
	return t->lib->archive_write_header(t->archive, e) < ARCHIVE_WARN ? fail(t, err) : 0;
}

static int add_content(struct tarring *t, struct archive_entry *e, const struct guest_item *item,
		       const char *path, struct err *err)
{
	const struct archive_lib *lib = t->lib;
	struct fs_node *node = item->node;
	CLEANUP_FREE char *target = NULL;
	const char *earlier = NULL;
	struct fs_map m;
	int rc;

	if (node->type == FS_SYMLINK) {
		if (fs_readlink(item->fs, node, &target, err) < 0)
			return -1;
		lib->archive_entry_set_symlink(e, target);
	}
	if (node->type == FS_CHAR || node->type == FS_BLOCK) {
		lib->archive_entry_set_rdevmajor(e, node->major);
		lib->archive_entry_set_rdevminor(e, node->minor);
	}
	if (node->type == FS_FILE && node->links > 1 &&
	    seen_add(&t->links, item->volume, node->id, path, &earlier, err) < 0)
		return -1;
	if (earlier)
		lib->archive_entry_set_hardlink(e, earlier);
	if (node->type != FS_FILE || earlier)
		return header(t, e, err);
	if (fs_map(item->fs, node, &m, err) < 0)
		return -1;
	lib->archive_entry_set_size(e, (la_int64_t)m.size);
	add_holes(t, e, &m);
	rc = header(t, e, err);
	if (rc == 0)
		rc = write_data(t, item->fs, &m, err);
	fs_map_release(&m);
	return rc;
}

static int visit(void *ctx, const struct guest_item *item, struct err *err)
{
	struct tarring *t = ctx;
	const struct archive_lib *lib = t->lib;
	CLEANUP_FREE char *path = NULL;
	const struct fs_node *node = item->node;
	struct archive_entry *e;
	int rc;

	if (item->when == ITEM_LEAVE)
		return 0;
	if (fs_fill(item->fs, item->node, err) < 0)
		return -1;
	if (node->type == FS_SOCKET || node->type == FS_UNKNOWN) { /* tar has none */
		t->stats->skipped++;
		return 0;
	}
	if (asprintf(&path, "%s%s%s",
		     *t->top	   ? t->top
		     : *item->path ? ""
				   : ".",
		     *t->top && *item->path ? "/" : "", item->path) < 0)
		return err_nomem(err);
	e = lib->archive_entry_new();
	if (!e)
		return err_nomem(err);
	lib->archive_entry_set_pathname(e, path);
	lib->archive_entry_set_filetype(e, file_type(node->type));
	lib->archive_entry_set_perm(e, (__LA_MODE_T)node->mode);
	lib->archive_entry_set_uid(e, node->uid);
	lib->archive_entry_set_gid(e, node->gid);
	lib->archive_entry_set_mtime(e, (time_t)node->mtime, (long)node->mtime_ns);
	rc = add_content(t, e, item, path, err);
	lib->archive_entry_free(e);
	t->stats->entries++;
	return rc;
}

static int open_archive(struct tarring *t, struct err *err)
{
	const struct archive_lib *lib = t->lib;

	if (lib->archive_write_set_format_pax_restricted(t->archive) < ARCHIVE_WARN ||
	    lib->archive_write_open(t->archive, t, NULL, write_out, NULL) < ARCHIVE_WARN)
		return fail(t, err);
	return 0;
}

static int tar_places(struct guest *g, const struct guest_place *places, size_t n,
		      struct tarring *t, struct err *err)
{
	int rc;

	t->archive = t->lib->archive_write_new();
	t->buf = malloc(CHUNK);
	rc = t->archive && t->buf ? open_archive(t, err) : err_nomem(err);
	for (size_t i = 0; i < n && rc == 0; i++) {
		t->top = strrchr(places[i].path, '/') + 1;
		rc = guest_walk(g, &places[i], true, visit, t, err);
	}
	if (rc == 0 && t->lib->archive_write_close(t->archive) < ARCHIVE_WARN)
		rc = fail(t, err);
	t->stopped = rc < 0;
	if (t->archive)
		t->lib->archive_write_free(t->archive);
	seen_release(&t->links);
	free(t->buf);
	return rc;
}

int guest_tar(struct guest *g, const struct guest_place *places, size_t n, int fd,
	      const struct extract_opts *opts, struct extract_stats *stats, struct err *err)
{
	struct tarring t = {.lib = archive_lib(err),
			    .opts = opts,
			    .stats = stats,
			    .fd = fd,
			    .failed = ERR_INIT};
	locale_t utf8, before;
	int rc;

	if (!t.lib)
		return -1;
	/* Names are UTF-8 whatever the locale is; those that are not stay bytes, with a header that says so */
	utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
	before = utf8 ? uselocale(utf8) : (locale_t)0;
	rc = tar_places(g, places, n, &t, err);
	if (utf8) {
		uselocale(before);
		freelocale(utf8);
	}
	return rc;
}
