/* Files of a disk into a folder: see extract.h.
 *
 * Every name is used once, below a descriptor of the folder it belongs to, which was made or opened without following
 * links: a link that the disk brings, or that lies in the folder already, leads nowhere.
 */
#include "libcommon/guest/extract.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/io.h"
#include "libcommon/base/log.h"
#include "libcommon/base/outfile.h"
#include "libcommon/base/stop.h"
#include "libcommon/guest/seen.h"

enum { CHUNK = 1 << 20 };

struct extractor {
	const struct extract_opts *opts;
	struct extract_stats *stats;
	const char *top; /* the name of the place, "" for a root */
	int dirs[GUEST_DEPTH_MOST + 2];
	bool made[GUEST_DEPTH_MOST + 2];
	size_t depth; /* dirs[0] is the target */
	struct seen links;
	uint8_t *buf;
};

static int parent(const struct extractor *x)
{
	return x->dirs[x->depth];
}

static void times_of(const struct fs_node *node, struct timespec ret[2])
{
	ret[0] = (struct timespec){.tv_nsec = UTIME_OMIT};
	ret[1] = (struct timespec){.tv_sec = node->mtime, .tv_nsec = node->mtime_ns};
}

static int copy_data(struct extractor *x, struct fs *fs, const struct fs_map *m, int fd,
		     struct err *err)
{
	uint64_t off = 0, len;

	if (ftruncate(fd, (off_t)m->size) < 0)
		return err_sys(err, "cannot make a file of this size");
	for (fs_data(m, 0, &off, &len); len; fs_data(m, off, &off, &len)) {
		size_t n = (size_t)min_u64(len, CHUNK);

		if (stop_check(err) < 0 || fs_read(fs, m, x->buf, off, n, err) < 0 ||
		    io_pwrite(fd, x->buf, n, off, err) < 0)
			return -1;
		off += n;
		x->stats->bytes += n;
		progress_add(x->opts->progress, n);
	}
	return 0;
}

/* What is replaced goes when the new file is whole and on the disk; a file that is new can be had again. */
static int create(const struct extractor *x, const char *name, struct outfile **ret,
		  struct err *err)
{
	struct stat st;
	bool there = fstatat(parent(x), name, &st, AT_SYMLINK_NOFOLLOW) == 0;
	unsigned flags = OUTFILE_PRIVATE | (x->opts->force ? OUTFILE_FORCE : 0) |
			 (there ? 0 : OUTFILE_NO_SYNC);

	return outfile_open_at(ret, parent(x), name, flags, err);
}

/* A link, by @from and @target of linkat(), or of symlinkat() where @from is -1 */
static int make_link(int from, const char *target, int dir, const char *name)
{
	return from < 0 ? symlinkat(target, dir, name) : linkat(from, target, dir, name, 0);
}

/* Over a file that exists only with --force, and then by rename: the name is never missing */
static int put_link(const struct extractor *x, int from, const char *target, const char *name,
		    struct err *err)
{
	const char *kind = from < 0 ? "symbolic" : "hard";
	CLEANUP_FREE char *tmp = NULL;
	int rc;

	if (make_link(from, target, parent(x), name) == 0)
		return 0;
	if (errno != EEXIST || !x->opts->force)
		return err_sys(err, "cannot make a %s link", kind);
	tmp = outfile_temporary_name(name);
	if (!tmp)
		return err_nomem(err);
	if (make_link(from, target, parent(x), tmp) < 0)
		return err_sys(err, "cannot make a %s link", kind);
	rc = renameat(parent(x), tmp, parent(x), name) < 0
		     ? err_sys(err, "cannot make a %s link", kind)
		     : 0;
	/* Also after success: renaming one name of a file to another does nothing */
	(void)unlinkat(parent(x), tmp, 0);
	return rc;
}

static int put_file(struct extractor *x, const struct guest_item *item, struct err *err)
{
	struct fs_map m;
	struct timespec times[2];
	struct outfile *of = NULL;
	int fd, rc;

	if (fs_map(item->fs, item->node, &m, err) < 0)
		return -1;
	rc = create(x, item->name, &of, err);
	fd = rc < 0 ? -1 : outfile_fd(of);
	if (rc == 0)
		rc = copy_data(x, item->fs, &m, fd, err);
	fs_map_release(&m);
	times_of(item->node, times);
	if (rc == 0 && (fchmod(fd, item->node->mode & 0777) < 0 || futimens(fd, times) < 0))
		rc = err_sys(err, "cannot set mode and time");
	if (rc == 0)
		return outfile_commit(of, err);
	outfile_discard(of);
	return -1;
}

static int put_symlink(struct extractor *x, const struct guest_item *item, struct err *err)
{
	CLEANUP_FREE char *target = NULL;
	struct timespec times[2];

	if (fs_fill(item->fs, item->node, err) < 0 ||
	    fs_readlink(item->fs, item->node, &target, err) < 0)
		return -1;
	if (put_link(x, -1, target, item->name, err) < 0)
		return -1;
	times_of(item->node, times);
	(void)utimensat(parent(x), item->name, times, AT_SYMLINK_NOFOLLOW); /* not everywhere */
	return 0;
}

/* *@ret_done: the file was made already under another name, and this is now a link to it */
static int try_hard_link(struct extractor *x, const struct guest_item *item, bool *ret_done,
			 struct err *err)
{
	CLEANUP_FREE char *path = NULL;
	const char *earlier;

	*ret_done = false;
	if (fs_fill(item->fs, item->node, err) < 0)
		return -1;
	if (item->node->links < 2)
		return 0;
	if (asprintf(&path, "%s%s%s", x->top, *x->top && *item->path ? "/" : "", item->path) < 0)
		return err_nomem(err);
	if (seen_add(&x->links, item->volume, item->node->id, path, &earlier, err) < 0)
		return -1;
	if (!earlier)
		return 0;
	if (put_link(x, x->dirs[0], earlier, item->name, err) < 0)
		return -1;
	*ret_done = true;
	return 0;
}

static int put_leaf(struct extractor *x, const struct guest_item *item, struct err *err)
{
	bool done = false;

	if (fs_fill(item->fs, item->node, err) < 0)
		return -1;
	switch (item->node->type) {
	case FS_FILE:
		if (try_hard_link(x, item, &done, err) < 0)
			return -1;
		x->stats->entries++;
		return done ? 0 : put_file(x, item, err);
	case FS_SYMLINK:
		x->stats->entries++;
		return put_symlink(x, item, err);
	default:
		x->stats->skipped++;
		log_info("%s: neither a file nor a folder: left out", item->path);
		return 0;
	}
}

static int enter(struct extractor *x, const struct guest_item *item, struct err *err)
{
	bool made = false;
	int fd;

	if (!*item->name) { /* a root: what is in it comes into the target */
		fd = fcntl(parent(x), F_DUPFD_CLOEXEC, 0);
	} else {
		made = mkdirat(parent(x), item->name, 0700) == 0;
		if (!made && errno != EEXIST)
			return err_sys(err, "cannot make a folder");
		fd = openat(parent(x), item->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	}
	if (fd < 0)
		return err_sys(err, "cannot enter a folder");
	x->dirs[++x->depth] = fd;
	x->made[x->depth] = made;
	x->stats->entries++;
	return 0;
}

static int leave(struct extractor *x, const struct guest_item *item, struct err *err)
{
	int fd = x->dirs[x->depth], rc = fs_fill(item->fs, item->node, err);
	struct timespec times[2];

	times_of(item->node, times);
	if (rc == 0 && x->made[x->depth] &&
	    (fchmod(fd, item->node->mode & 0777) < 0 || futimens(fd, times) < 0))
		rc = err_sys(err, "cannot set mode and time");
	x->depth--;
	(void)close(fd);
	return rc;
}

static int visit(void *ctx, const struct guest_item *item, struct err *err)
{
	struct extractor *x = ctx;

	switch (item->when) {
	case ITEM_ENTER:
		return enter(x, item, err);
	case ITEM_LEAVE:
		return leave(x, item, err);
	case ITEM_LEAF:
		break;
	}
	return put_leaf(x, item, err);
}

int guest_extract(struct guest *g, const struct guest_place *place, const char *dir,
		  const struct extract_opts *opts, struct extract_stats *stats, struct err *err)
{
	CLEANUP_FREE struct extractor *x = calloc(1, sizeof(*x));
	int rc;

	if (!x)
		return err_nomem(err);
	if (mkdir(dir, 0777) < 0 && errno != EEXIST) {
		err_sys(err, "cannot make the folder");
		return err_object(err, dir);
	}
	x->dirs[0] = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (x->dirs[0] < 0) {
		err_sys(err, "cannot enter the folder");
		return err_object(err, dir);
	}
	x->opts = opts;
	x->stats = stats;
	x->top = strrchr(place->path, '/') + 1;
	x->buf = malloc(CHUNK);
	rc = x->buf ? guest_walk(g, place, true, visit, x, err) : err_nomem(err);
	seen_release(&x->links);
	for (size_t i = 0; i <= x->depth; i++)
		(void)close(x->dirs[i]);
	free(x->buf);
	return rc;
}

int guest_copy_out(struct fs *fs, struct fs_node *node, int fd, struct err *err)
{
	CLEANUP_FREE uint8_t *buf = malloc(CHUNK);
	struct fs_map m;
	int rc = 0;

	if (!buf)
		return err_nomem(err);
	if (fs_map(fs, node, &m, err) < 0)
		return -1;
	for (uint64_t off = 0, n; off < m.size && rc == 0; off += n) {
		n = min_u64(CHUNK, m.size - off);
		rc = stop_check(err);
		if (rc == 0)
			rc = fs_read(fs, &m, buf, off, (size_t)n, err);
		if (rc == 0)
			rc = io_write(fd, buf, (size_t)n, err);
	}
	fs_map_release(&m);
	return rc;
}

static int get_places(struct guest *g, const struct guest_place *places, size_t n,
		      const char *target, int fd, const struct extract_opts *opts, struct err *err)
{
	bool tar = strcmp(target, "-") == 0;
	struct extract_stats stats = {0};
	int rc = tar ? guest_tar(g, places, n, fd, opts, &stats, err) : 0;

	for (size_t i = 0; i < n && rc == 0 && !tar; i++)
		rc = guest_extract(g, &places[i], target, opts, &stats, err);
	if (rc < 0 || !stats.skipped)
		return rc;
	err_set(err, ERR_DIFFERS, "%" PRIu64 " devices, pipes or sockets were left out",
		stats.skipped);
	return tar ? -1 : err_hint(err, "a tar archive (-) has devices and pipes");
}

int guest_get(struct guest *g, char *const *specs, size_t n, const char *target, int fd,
	      const struct extract_opts *opts, struct err *err)
{
	struct guest_place *places = calloc(n ? n : 1, sizeof(*places));
	size_t found = 0;
	int rc = 0;

	if (!places)
		return err_nomem(err);
	while (found < n && rc == 0) {
		rc = guest_find(g, specs[found], GUEST_NO_FOLLOW, &places[found], err);
		found += rc == 0;
	}
	if (rc == 0)
		rc = get_places(g, places, n, target, fd, opts, err);
	for (size_t i = 0; i < found; i++)
		guest_place_release(&places[i]);
	free(places);
	return rc;
}
