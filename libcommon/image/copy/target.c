/* The target: what is under its name, what must not be overwritten, how it becomes whole. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/io.h"
#include "libcommon/image/copy/parts.h"
#include "libcommon/image/copy/resume.h"
#include "libcommon/image/preset.h"
#include "libcommon/image/protocol/nbd.h"

/* Write-back is asked for this often, so that fsync at the end finds little left to do. */
enum { WRITEBACK_BYTES = 32 << 20 };

int target_format(const struct image_format **ret, const char *name, const char *target,
		  struct err *err)
{
	struct stat st;

	if (!name && (strcmp(target, "-") == 0 || nbd_is_uri(target) ||
		      (stat(target, &st) == 0 && S_ISBLK(st.st_mode))))
		name = "raw";
	if (name) {
		if (image_format_find(ret, name, err) < 0)
			return -1;
	} else {
		*ret = image_format_of_suffix(target);
		if (!*ret) {
			err_set(err, ERR_USAGE, "the suffix does not tell a format");
			err_hint(err, "-O FORMAT names one, for example -O raw");
			return err_object(err, target);
		}
	}
	if (!(*ret)->bulk)
		return err_set(err, ERR_UNSUPPORTED, "format %s can only be read", (*ret)->name);
	return 0;
}

/* No layer of @img may be the file that @t replaces or writes to. */
static int refuse_layers(const struct target *t, struct image *img, const char *what,
			 struct err *err)
{
	bool nbd = nbd_is_uri(t->name);

	for (struct image *layer = img; layer && (t->has_id || nbd); layer = image_backing(layer)) {
		struct stat st;

		if (!layer->file)
			continue;
		if (nbd ? strcmp(layer->file->name, t->name) != 0
			: layer->file->fd < 0 || fstat(layer->file->fd, &st) < 0 ||
				    !same_inode(&st, &t->id))
			continue;
		err_set(err, ERR_USAGE, "is %s%s itself", layer == img ? "" : "a layer of ", what);
		return err_object(err, t->name);
	}
	return 0;
}

/* Does a file of @src's chain lie on the file system @dev? */
static bool has_file_on(struct image *src, dev_t dev)
{
	for (struct image *layer = src; layer; layer = image_backing(layer))
		for (size_t i = 0; i < layer->n_files; i++)
			if (S_ISREG(layer->files[i].st_mode) && layer->files[i].st_dev == dev)
				return true;
	return false;
}

bool target_can_clone(struct image *src, int fd)
{
	static const uint8_t block[ZERO_BLOCK];
	struct file_clone_range range = {.src_fd = fd};
	struct stat st;

	if (!src || fstat(fd, &st) < 0 || !has_file_on(src, st.st_dev))
		return false;
	/* File systems without it say so of an empty file too. ext4 writes a file that was once cut to nothing out to the
	 * disk when it is closed (auto_da_alloc), so nothing is tried there. */
	if (ioctl(fd, FICLONERANGE, &range) < 0 && (errno == EOPNOTSUPP || errno == ENOTTY))
		return false;
	if (pwrite(fd, block, sizeof(block), 0) != sizeof(block))
		return false;
	range.src_length = range.dest_offset = ZERO_BLOCK;

	bool can = ioctl(fd, FICLONERANGE, &range) == 0;

	return ftruncate(fd, 0) == 0 && can;
}

static int open_file(struct target *t, struct image *src, struct err *err)
{
	unsigned flags =
		(t->opts->force ? OUTFILE_FORCE : 0) | (t->opts->no_sync ? OUTFILE_NO_SYNC : 0);
	struct err busy = ERR_INIT;
	int fd;

	/* A file that will be replaced must not be somebody's running disk. */
	if (t->opts->force && t->has_id && S_ISREG(t->id.st_mode) &&
	    bfile_open(&t->old, t->name, BFILE_RDWR | BFILE_LOCK_WRITE, &busy) < 0) {
		t->old = NULL;
		if (busy.code == ERR_BUSY) {
			if (err)
				*err = busy;
			return -1;
		}
	}
	if (t->opts->resume) {
		if (resume_open(&t->resume, t, src, flags, err) < 0)
			return -1;
	} else if (outfile_open(&t->of, t->name, flags, err) < 0) {
		return -1;
	}
	fd = fcntl(outfile_fd(t->of), F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		return err_sys(err, "cannot duplicate a descriptor");
	if (!t->resume)
		t->can_clone = target_can_clone(src, fd);
	return bfile_of_fd(&t->file, fd, t->name, true, err);
}

static int open_device(struct target *t, struct err *err)
{
	bool nbd = nbd_is_uri(t->name);

	if (!t->opts->force) {
		err_set(err, ERR_EXISTS, "is a%s and would be overwritten",
			nbd ? "n NBD export" : " block device");
		err_hint(err, "--force writes to it");
		return err_object(err, t->name);
	}
	if (nbd) {
		if (nbd_file_open(&t->file, t->name, true, err) < 0)
			return -1;
	} else if (bfile_open(&t->file, t->name, BFILE_RDWR | BFILE_LOCK_WRITE, err) < 0) {
		return -1;
	}
	t->params.target_is_zero = false;
	return 0;
}

/* Before a device's first byte is lost. */
static int check_room(struct target *t, struct image *src, struct err *err)
{
	uint64_t required = t->params.size, full, room = bfile_size(t->file);

	if (t->bulk.ops->measure && !t->params.compress &&
	    image_measure(src, t->format->name, &t->params, false, &required, &full, err) < 0)
		return -1;
	if (required <= room)
		return 0;
	err_set(err, ERR_NO_SPACE, "has %" PRIu64 " bytes, %" PRIu64 " are needed", room, required);
	return err_object(err, t->name);
}

static int open_spool(struct target *t, struct image *src, struct err *err)
{
	int fd;

	if (io_nameless(&fd, err) < 0)
		return -1;
	t->can_clone = target_can_clone(src, fd);
	return bfile_of_fd(&t->file, fd, "standard output", true, err);
}

/* A part of a larger file that the caller writes. */
static int take_file(struct target *t, struct err *err)
{
	if (!t->bulk.ops->can_stream)
		return err_set(err, ERR_UNSUPPORTED, "%s cannot be written in order",
			       t->format->name);
	t->kind = TARGET_PIPE;
	t->file = t->opts->target_file;
	return 0;
}

static int choose(struct target *t, struct image *src, struct err *err)
{
	if (t->opts->target_file)
		return take_file(t, err);
	if (strcmp(t->name, "-") == 0) {
		t->has_id = fstat(STDOUT_FILENO, &t->id) == 0 && !S_ISFIFO(t->id.st_mode);
		t->params.target_path = NULL;
		/* Only raw content is already in the order of a stream. */
		t->kind = strcmp(t->format->name, "raw") == 0		? TARGET_STREAM
			  : t->bulk.ops->can_stream && !t->opts->verify ? TARGET_PIPE
									: TARGET_SPOOL;
	} else {
		t->has_id = stat(t->name, &t->id) == 0;
		t->kind = nbd_is_uri(t->name) || (t->has_id && S_ISBLK(t->id.st_mode))
				  ? TARGET_DEVICE
				  : TARGET_FILE;
	}
	if (refuse_layers(t, src, "the source", err) < 0 ||
	    refuse_layers(t, t->base, "the backing file", err) < 0)
		return -1;
	if (t->opts->resume && t->kind != TARGET_FILE)
		return err_set(err, ERR_USAGE, "only the writing of a file can be resumed");
	switch (t->kind) {
	case TARGET_FILE:
		return open_file(t, src, err);
	case TARGET_DEVICE:
		return open_device(t, err) < 0 ? -1 : check_room(t, src, err);
	case TARGET_SPOOL:
		return open_spool(t, src, err);
	case TARGET_PIPE:
		stream_begin(t);
		return stream_file(&t->file, err);
	case TARGET_STREAM:
		if (t->params.backing_name || t->params.compress || t->params.n_options)
			return err_set(err, ERR_USAGE,
				       "a raw stream has no backing file, compression or options");
		stream_begin(t);
	}
	return 0;
}

int target_open(struct target *t, struct image *src, const char *name, const struct copy_opts *opts,
		uint64_t size, struct err *err)
{
	*t = (struct target){.name = name, .opts = opts, .params = opts->params};
	t->params.threads = opts->threads;
	t->params.target_is_zero = true;
	t->params.target_path = name;
	t->params.size = size;
	t->params.outfile_flags =
		(opts->force ? OUTFILE_FORCE : 0) | (opts->no_sync ? OUTFILE_NO_SYNC : 0);
	if (target_format(&t->format, opts->target_format, name, err) < 0 ||
	    bulk_check_options(t->format, &t->params, err) < 0)
		return -1;
	if (t->params.backing_name && base_open(&t->base, name, opts, &t->params, err) < 0)
		return -1;
	t->bulk.ops = bulk_ops_of(t->format, &t->params);
	t->bulk.base = t->base;
	if (t->params.size == 0 && t->base && !src)
		t->params.size = image_size(t->base);
	if (choose(t, src, err) < 0) {
		target_close(t);
		return -1;
	}
	if (t->kind == TARGET_STREAM)
		return 0;
	t->bulk.params = &t->params;
	t->bulk.file = t->file;
	t->begun = true;
	if (t->bulk.ops->begin(&t->bulk, err) < 0) {
		err_object(err, name);
		target_close(t);
		return -1;
	}
	if (opts->resume && target_check_resume(t, err) < 0) {
		target_close(t);
		return -1;
	}
	if (!is_pow2(t->bulk.granule) || t->bulk.granule > BULK_UNIT_MAX) {
		target_close(t);
		return err_set(err, ERR_UNSUPPORTED, "units of %" PRIu32 " bytes", t->bulk.granule);
	}
	return 0;
}

int target_check_resume(const struct target *t, struct err *err)
{
	const char *why = t->kind != TARGET_FILE     ? "it is no file"
			  : t->bulk.not_resumable    ? t->bulk.not_resumable
			  : t->bulk.has_files	     ? "it consists of several files"
			  : !t->bulk.ops->can_resume ? "its format has no way to"
						     : NULL;

	if (!why)
		return 0;
	err_set(err, ERR_USAGE, "the writing of this target cannot be resumed: %s", why);
	return err_object(err, t->name);
}

/* Does the target hold what @src holds? By its name, or by its descriptor while it has none. */
static int verify(const struct target *t, bool by_name, struct image *src, struct err *err)
{
	const struct image_open_opts opts = {.format = t->format->name,
					     .flags = IMAGE_NO_LOCK,
					     .allow_dirs = t->opts->allow_dirs,
					     .n_allow_dirs = t->opts->n_allow_dirs};
	struct compare_result result;
	struct bfile *file;
	struct image *img;
	int rc, fd;

	if (by_name) {
		rc = image_open(&img, t->name, &opts, err);
	} else {
		fd = fcntl(t->file->fd, F_DUPFD_CLOEXEC, 0);
		if (fd < 0)
			return err_sys(err, "cannot duplicate a descriptor");
		rc = bfile_of_fd(&file, fd, t->name, false, err);
		if (rc == 0)
			rc = image_open_bfile(&img, file, &opts, err);
	}
	if (rc < 0)
		return err_prefix(err, "verifying the target");
	rc = image_compare(src, img, t->opts->threads, false, false, t->opts->progress, &result,
			   err);
	image_close(img);
	/* A device goes on behind the disk with what it held before. */
	if (t->kind == TARGET_DEVICE && result.first_difference >= image_size(src))
		result.equal = true;
	if (rc == 0 && !result.equal) {
		err_set(err, ERR_CORRUPT,
			"what was written differs from the source at offset %" PRIu64,
			result.first_difference);
		rc = err_object(err, t->name);
	}
	return rc;
}

/* An image that names others is only found whole beside them. */
static bool names_others(const struct target *t)
{
	return t->params.backing_name || t->bulk.has_files || bulk_option(&t->params, "data_file");
}

static int finish_file(struct target *t, bool verify_by_name, struct image *src, struct err *err)
{
	int rc = 0;

	/* Windows refuses sparse files */
	if (t->opts->preset && t->opts->preset->no_holes && bfile_size(t->file) &&
	    fallocate(t->file->fd, 0, 0, (off_t)bfile_size(t->file)) < 0 && errno != EOPNOTSUPP)
		return err_sys(err, "cannot allocate %" PRIu64 " bytes", bfile_size(t->file));
	rc = outfile_commit(t->of, err);
	t->of = NULL;
	if (rc == 0 && verify_by_name) {
		rc = verify(t, true, src, err);
		if (rc < 0)
			(void)unlink(t->name); /* it was made by us a moment ago */
	}
	return rc;
}

static int finish_bulk(struct target *t, struct image *src, struct err *err)
{
	bool check = t->opts->verify && src;
	bool by_name =
		check && t->kind != TARGET_SPOOL && (names_others(t) || t->kind == TARGET_DEVICE);

	if (t->bulk.ops->finish && t->bulk.ops->finish(&t->bulk, err) < 0)
		return err_object(err, t->name);
	if (check && !by_name && verify(t, false, src, err) < 0) {
		if (t->resume && (!err || err->code == ERR_CORRUPT))
			resume_forget(t->resume); /* it would differ again */
		return -1;
	}
	switch (t->kind) {
	case TARGET_FILE:
		return finish_file(t, by_name, src, err);
	case TARGET_DEVICE:
		if (!t->opts->no_sync && bfile_flush(t->file, err) < 0)
			return err_object(err, t->name);
		return by_name ? verify(t, true, src, err) : 0;
	case TARGET_SPOOL:
		return spool_send(t->file->fd, bfile_size(t->file), err);
	case TARGET_STREAM:
	case TARGET_PIPE:
		break;
	}
	return 0;
}

int target_finish(struct target *t, struct image *src, struct copy_stats *stats, struct err *err)
{
	struct stat st;

	if (t->kind == TARGET_STREAM)
		return stream_end(t, t->params.size, err) < 0 ? err_object(err, "standard output")
							      : 0;
	if (finish_bulk(t, src, err) < 0)
		return -1;
	t->bulk.committed = true;
	stats->resumed_bytes = t->resume ? resume_bytes(t->resume) : 0;
	stats->cloned_bytes = atomic_load(&t->bulk.cloned_bytes);
	if (t->kind == TARGET_FILE && fstat(t->file->fd, &st) == 0) {
		stats->target_bytes = (uint64_t)st.st_blocks * 512;
		stats->file_size = (uint64_t)st.st_size;
	}
	return 0;
}

void target_close(struct target *t)
{
	bool whole = t->bulk.committed;

	if (t->begun && t->bulk.ops->abort)
		t->bulk.ops->abort(&t->bulk);
	if (t->file && t->file != t->opts->target_file)
		bfile_close(t->file);
	outfile_discard(t->of);
	resume_close(t->resume, whole);
	if (t->old)
		bfile_close(t->old);
	image_close(t->base);
	*t = (struct target){0};
}

void target_stored(struct target *t, uint64_t len)
{
	if (t->opts->no_sync || (t->kind != TARGET_FILE && t->kind != TARGET_DEVICE))
		return;

	uint64_t before = atomic_fetch_add_explicit(&t->unsynced, len, memory_order_relaxed);

	/* Only a hint: what it cannot do fsync does. */
	if (before / WRITEBACK_BYTES != (before + len) / WRITEBACK_BYTES)
		(void)sync_file_range(t->file->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
}
