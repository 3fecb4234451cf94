/* Opening images: probing, standard input, chains and their limits. What a header may name: trust.c. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/io.h"
#include "libcommon/base/stop.h"
#include "libcommon/image/codec.h"
#include "libcommon/image/layers.h"

enum { MAX_LAYERS = 256, MAX_OPENERS = 8 };

typedef int opener(struct image **, const char *, const struct image_open_opts *, struct err *);

/* Filled at start, before there are threads; only read afterwards. */
static struct {
	const char *scheme;
	opener *open;
} openers[MAX_OPENERS];

void image_register_opener(const char *scheme, opener *open_fn)
{
	for (size_t i = 0; i < MAX_OPENERS; i++) {
		if (openers[i].scheme && strcmp(openers[i].scheme, scheme) != 0)
			continue;
		openers[i].scheme = scheme;
		openers[i].open = open_fn;
		return;
	}
	abort(); /* more schemes than the table has room for: a programmer's error */
}

int image_new(struct image **ret, const char *name, unsigned flags, struct err *err)
{
	struct image *img = calloc(1, sizeof(*img));

	if (!img)
		return err_nomem(err);
	img->flags = flags;
	img->name = strdup(name);
	if (!img->name) {
		free(img);
		return err_nomem(err);
	}
	if (image_format_find(&img->format, "raw", err) < 0) {
		image_close(img);
		return -1;
	}
	*ret = img;
	return 0;
}

static void close_layer(struct image *img)
{
	codec_cache_free(img->codec_cache);
	if (img->stream)
		stream_free(img);
	else if (img->priv && img->format->close)
		img->format->close(img);
	bfile_close(img->file);
	free(img->backing_name);
	free(img->backing_format);
	free(img->path);
	free(img->files);
	free(img->name);
	free(img);
}

void image_close(struct image *img)
{
	while (img) { /* top first: a layer may still need what is below it */
		struct image *below = img->backing;

		close_layer(img);
		img = below;
	}
}

static const struct image_format *best_format(const uint8_t *head, size_t head_len,
					      const uint8_t *tail, size_t tail_len, uint64_t size)
{
	const struct image_format *best = NULL;
	int best_score = 0;

	for (const struct image_format *const *f = image_formats; *f; f++) {
		int score = (*f)->probe ? (*f)->probe(head, head_len, tail, tail_len, size) : 0;

		if (score > best_score) {
			best = *f;
			best_score = score;
		}
	}
	return best;
}

/* *@ret is NULL when no format knows it: then it is raw, where raw may be guessed. */
static int probe_file(struct bfile *file, const struct image_format **ret, struct err *err)
{
	uint64_t size = bfile_size(file);
	size_t head_len = (size_t)min_u64(size, IMAGE_PROBE_LEN),
	       tail_len = (size_t)min_u64(size, 512);
	CLEANUP_FREE uint8_t *head = malloc(IMAGE_PROBE_LEN);
	uint8_t tail[512];

	if (!head)
		return err_nomem(err);
	if (bfile_pread(file, head, head_len, 0, err) < 0 ||
	    bfile_pread(file, tail, tail_len, size - tail_len, err) < 0)
		return -1;
	*ret = best_format(head, head_len, tail, tail_len, size);
	return 0;
}

int image_note_file(struct image *img, const struct bfile *f, struct err *err)
{
	struct stat *more = reallocarray(img->files, img->n_files + 1, sizeof(*more));

	if (!more)
		return err_nomem(err);
	img->files = more;
	if (f->fd < 0 || fstat(f->fd, &more[img->n_files]) < 0)
		more[img->n_files] = (struct stat){0}; /* no regular file */
	img->n_files++;
	return 0;
}

/* Give the layer its format and let the driver read the headers. img->file is open. */
static int open_layer(struct image *img, const char *format, const struct image_open_opts *opts,
		      struct err *err)
{
	if (image_note_file(img, img->file, err) < 0)
		return -1;
	if (format) {
		if (image_format_find(&img->format, format, err) < 0)
			return -1;
	} else {
		const struct image_format *found = NULL;

		if (probe_file(img->file, &found, err) < 0)
			return -1;
		if (!found && img->guessed) {
			err_set(err, ERR_UNSUPPORTED,
				"looks raw, but the image above it does not say so");
			return err_hint(err, "if it is raw, say so: vmimg rebase -u -F raw IMAGE");
		}
		if (found)
			img->format = found;
	}
	if (img->format->open(img, opts, err) < 0) {
		img->priv = NULL; /* the driver has freed it */
		return err_object(err, img->name);
	}
	if (img->guessed && img->backing_name) {
		char shown[160];

		err_set(err, ERR_UNSUPPORTED,
			"was only guessed to be %s, and names the backing file %s",
			img->format->name,
			trust_printable(img->backing_name, shown, sizeof(shown)));
		return err_hint(
			err, "state the format in the image above it: vmimg rebase -u -F %s IMAGE",
			img->format->name);
	}
	if (img->cluster_size >= 512 && img->cluster_size <= CODEC_UNIT_MAX &&
	    is_pow2(img->cluster_size) && !(img->flags & IMAGE_INFO))
		return codec_cache_new(&img->codec_cache, img->cluster_size, err);
	return 0;
}

/* The name inside the header stays in the message: it is the one the reader can look for. */
static int in_backing(const struct image *overlay, struct err *err)
{
	return err_prefix(err, "backing file of %s", overlay->name);
}

static int open_backing(struct image *top, struct image *overlay, unsigned depth,
			const struct image_open_opts *opts, struct err *err)
{
	struct image_open_opts below = {.flags = top->flags & (IMAGE_SHARED | IMAGE_NO_LOCK)};
	CLEANUP_FREE char *path = NULL;
	struct bfile *file = NULL;
	struct image *img;

	if (depth >= MAX_LAYERS)
		return err_set(err, ERR_CORRUPT, "the chain has more than %d layers", MAX_LAYERS);
	if (opts) {
		below.allow_dirs = opts->allow_dirs;
		below.n_allow_dirs = opts->n_allow_dirs;
	}
	if (trust_open(overlay, &below, overlay->backing_name, false, &file, &path, err) < 0)
		return in_backing(overlay, err);
	for (struct image *i = top; i; i = i->backing)
		if (same_file(i->file, file)) {
			err_set(err, ERR_CORRUPT, "loop: %s is in the chain already", path);
			bfile_close(file);
			return in_backing(overlay, err);
		}
	if (image_new(&img, path, below.flags, err) < 0) {
		bfile_close(file);
		return -1;
	}
	img->file = file;
	img->path = steal_ptr(&path);
	img->guessed = !overlay->backing_format;
	overlay->backing = img; /* closed with the top from now on */
	if (overlay->backing_format &&
	    image_format_find(&img->format, overlay->backing_format, NULL) < 0) {
		char shown[80];

		err_set(err, ERR_UNSUPPORTED, "unknown format %s",
			trust_printable(overlay->backing_format, shown, sizeof(shown)));
		return in_backing(overlay, err);
	}
	if (open_layer(img, overlay->backing_format, &below, err) < 0)
		return in_backing(overlay, err);
	if (overlay->format->check_backing && overlay->format->check_backing(overlay, err) < 0)
		return err_object(err, overlay->name);
	return 0;
}

static int open_chain(struct image *top, const struct image_open_opts *opts, struct err *err)
{
	unsigned depth = 1;

	if (top->flags &
	    (IMAGE_NO_BACKING | IMAGE_INFO | IMAGE_CHECK)) /* check looks at one layer */
		return 0;
	for (struct image *i = top; i->backing_name; i = i->backing, depth++)
		if (open_backing(top, i, depth, opts, err) < 0)
			return -1;
	return 0;
}

/* @file is consumed. @path: what names inside are relative to; NULL: they may only lead below allow_dirs. */
static int open_on_file(struct image **ret, struct bfile *file, const char *name, const char *path,
			const struct image_open_opts *opts, struct err *err)
{
	static const struct image_open_opts none;
	struct image *img;

	if (!opts)
		opts = &none;
	if (image_new(&img, name, opts->flags, err) < 0) {
		bfile_close(file);
		return -1;
	}
	img->file = file;
	if (path && !(img->path = strdup(path))) {
		image_close(img);
		return err_nomem(err);
	}
	if (open_layer(img, opts->format, opts, err) < 0 || open_chain(img, opts, err) < 0) {
		err_object(err, name);
		image_close(img);
		return -1;
	}
	*ret = img;
	return 0;
}

int image_open_bfile(struct image **ret_image, struct bfile *file,
		     const struct image_open_opts *opts, struct err *err)
{
	return open_on_file(ret_image, file, file->name, NULL, opts, err);
}

/* A pipe, @fd consumed: raw is streamed, what has tables must be spooled. */
static int open_pipe(struct image **ret, int fd, const char *name,
		     const struct image_open_opts *opts, struct err *err)
{
	CLEANUP_CLOSE int owned = fd;
	CLEANUP_FREE uint8_t *head = malloc(IMAGE_PROBE_LEN);
	const struct image_format *format = NULL;
	struct bfile *file;

	if (!head)
		return err_nomem(err);
	if (opts && (opts->flags & IMAGE_RDWR))
		return err_set(err, ERR_USAGE, "a pipe cannot be written to as an image");

	ssize_t n = io_read_upto(fd, head, IMAGE_PROBE_LEN, err);

	if (n < 0)
		return -1;
	if (opts && opts->format) {
		if (image_format_find(&format, opts->format, err) < 0)
			return -1;
	} else {
		format = best_format(head, (size_t)n, NULL, 0, 0);
	}
	if (!format || strcmp(format->name, "raw") == 0) {
		if (opts && opts->snapshot)
			return err_set(err, ERR_UNSUPPORTED, "raw images have no snapshots");
		return stream_new(ret, steal_fd(&owned), name, head, (size_t)n, err);
	}
	if (stream_spool(fd, name, head, (size_t)n, &file, err) < 0)
		return -1;

	struct image_open_opts spooled = opts ? *opts : (struct image_open_opts){0};

	spooled.flags |=
		IMAGE_NO_LOCK; /* of the spool file; the chain's files are locked as always */
	return open_on_file(ret, file, name, NULL, &spooled, err);
}

static int open_stdin(struct image **ret, const struct image_open_opts *opts, struct err *err)
{
	static const char name[] = "standard input";
	struct stat st;
	CLEANUP_CLOSE int fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
	struct bfile *file;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(err, "cannot use standard input");
	if (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode)) {
		if (opts && (opts->flags & IMAGE_RDWR))
			return err_set(err, ERR_USAGE, "standard input is for reading only");
		if (bfile_of_fd(&file, steal_fd(&fd), name, false, err) < 0)
			return -1;
		return open_on_file(ret, file, name, NULL, opts, err);
	}
	if (isatty(fd))
		return err_set(err, ERR_USAGE, "will not read an image from a terminal");
	return open_pipe(ret, steal_fd(&fd), name, opts, err);
}

static int open_path(struct image **ret, const char *path, const struct image_open_opts *opts,
		     struct err *err)
{
	unsigned flags = opts ? opts->flags : 0;
	unsigned how = flags & IMAGE_RDWR ? BFILE_RDWR : 0;
	struct bfile *file;
	struct stat st;

	if (stat(path, &st) == 0 && S_ISFIFO(st.st_mode)) { /* also <(COMMAND) of a shell */
		int fd;

		do /* waits for a writer */
			fd = open(path, O_RDONLY | O_CLOEXEC);
		while (fd < 0 && errno == EINTR && !stop_requested());
		if (fd < 0)
			return stop_check(err) < 0 ? -1 : err_sys(err, "cannot open");
		return open_pipe(ret, fd, path, opts, err);
	}
	if (!(flags & (IMAGE_SHARED | IMAGE_NO_LOCK)))
		how |= flags & IMAGE_RDWR ? BFILE_LOCK_WRITE : BFILE_LOCK_SHARED;
	if (bfile_open(&file, path, how, err) < 0) {
		if (err && err->sys == ENOENT && strstr(path, "://"))
			err_set(err, ERR_UNSUPPORTED, "nothing here opens such names");
		return -1;
	}
	return open_on_file(ret, file, path, path, opts, err);
}

/* Schemes are how a name begins; ".ova" is how it ends, or the format that was asked for. */
static bool opener_fits(const char *scheme, const char *name, const struct image_open_opts *opts)
{
	size_t n = strlen(name), m = strlen(scheme);

	if (scheme[0] != '.')
		return strncmp(name, scheme, m) == 0;
	if (opts && opts->format)
		return strcmp(opts->format, scheme + 1) == 0;
	return n > m && strcasecmp(name + n - m, scheme) == 0;
}

int image_open(struct image **ret_image, const char *name, const struct image_open_opts *opts,
	       struct err *err)
{
	int r;

	if (opts && (opts->flags & IMAGE_RDWR) && ((opts->flags & IMAGE_SHARED) || opts->snapshot))
		return err_set(err, ERR_USAGE, "%s cannot be written to",
			       opts->snapshot ? "a snapshot" : "an image shared with a writer");
	for (size_t i = 0; i < MAX_OPENERS && openers[i].scheme; i++)
		if (opener_fits(openers[i].scheme, name, opts))
			return openers[i].open(ret_image, name, opts, err);
	if (strcmp(name, "-") == 0)
		r = open_stdin(ret_image, opts, err);
	else
		r = open_path(ret_image, name, opts, err);
	return r < 0 ? err_object(err, name) : 0;
}
