/* Writing OVAs: see ova_write.h.
 *
 * DSP0243 wants the descriptor first, and it holds the sizes of the compressed disks. So room is left for the longest
 * that it can be, the disks are written behind, and the descriptor comes last, filled up with blanks behind its root
 * element, which XML allows.
 */
#include "libcommon/package/ova_write.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/digest.h"
#include "libcommon/base/io.h"
#include "libcommon/base/outfile.h"
#include "libcommon/base/stop.h"
#include "libcommon/image/copy/engine.h"
#include "libcommon/image/protocol.h"
#include "libcommon/package/ovf.h"
#include "libcommon/package/package.h"
#include "libcommon/package/range.h"
#include "libcommon/package/tar.h"
#include "libcommon/package/xml.h"

enum { STEM_MAX = 64, SEND_CHUNK = 1 << 20 };

struct written {
	char href[STEM_MAX + 24];
	uint64_t off, size; /* of its bytes in the archive */
	char sha256[DIGEST_HEX_MAX];
};

struct ova {
	const struct machine *m;
	const struct ova_write_opts *opts;
	struct ova_write_stats *stats;
	int fd;
	uint64_t pos; /* where the next member goes */
	uint64_t mtime;
	char stem[STEM_MAX + 1]; /* of the names of all members */
	size_t n;
	struct written *disks;
	struct ovf_write_disk *described;
	uint64_t ovf_room; /* bytes of the descriptor, a multiple of TAR_BLOCK */
	char ovf_sha256[DIGEST_HEX_MAX];
};

/* ---- a disk as a file that grows inside the archive, digested on the way */

struct sink {
	int fd;
	uint64_t base;
	struct digest *digest;
};

static int sink_pread(struct bfile *f, void *buf, size_t len, uint64_t off, struct err *err)
{
	const struct sink *s = f->priv;

	return io_pread(s->fd, buf, len, s->base + off, err);
}

static int sink_pwrite(struct bfile *f, const void *buf, size_t len, uint64_t off, struct err *err)
{
	const struct sink *s = f->priv;
	uint64_t at = bfile_size(f);

	if (off < at)
		return err_set(err, ERR_FAILED, "a stream cannot go back to offset %" PRIu64, off);
	if (digest_zeros(s->digest, off - at, err) < 0 ||
	    digest_update(s->digest, buf, len, err) < 0)
		return -1;
	return io_pwrite(s->fd, buf, len, s->base + off, err);
}

static int sink_truncate(struct bfile *f, uint64_t size, struct err *err)
{
	const struct sink *s = f->priv;
	uint64_t at = bfile_size(f);

	if (size < at)
		return err_set(err, ERR_FAILED, "a stream cannot be made shorter");
	return digest_zeros(s->digest, size - at, err);
}

static void sink_close(struct bfile *f)
{
	(void)f; /* all of it is write_disk()'s */
}

static const struct bfile_ops sink_ops = {
	.name = "member",
	.pread = sink_pread,
	.pwrite = sink_pwrite,
	.truncate = sink_truncate,
	.close = sink_close,
};

/* ---- members */

static int write_header(struct ova *w, uint64_t at, const char *name, uint64_t size,
			struct err *err)
{
	uint8_t header[TAR_BLOCK];

	return tar_header(header, name, size, w->mtime, err) < 0
		       ? -1
		       : io_pwrite(w->fd, header, sizeof(header), at, err);
}

static int copy_disk(struct ova *w, struct image *disk, size_t i, struct bfile *file,
		     struct err *err)
{
	static const struct image_option_value options[] = {{"subformat", "streamOptimized"},
							    {"adapter_type", "lsilogic"}};
	const struct copy_opts opts = {
		.threads = w->opts->threads,
		.rate_limit = w->opts->rate_limit,
		.progress = w->opts->progress,
		.target_format = "vmdk",
		.target_file = file,
		.params = {.options = options,
			   .n_options = sizeof(options) / sizeof(options[0]),
			   .compress = true,
			   .compress_level = w->opts->level},
	};
	struct copy_stats stats;

	if (image_copy(disk, w->disks[i].href, &opts, &stats, err) < 0)
		return -1;
	w->described[i].capacity = round_up(stats.virtual_size, TAR_BLOCK);
	w->described[i].populated = stats.data_bytes;
	w->described[i].size = w->disks[i].size = bfile_size(file);
	w->stats->virtual_size += stats.virtual_size;
	w->stats->data_bytes += stats.data_bytes;
	w->stats->read_bytes += stats.read_bytes;
	return 0;
}

static int write_disk(struct ova *w, struct image *disk, size_t i, struct err *err)
{
	struct written *d = &w->disks[i];
	struct sink sink = {.fd = w->fd, .base = w->pos + TAR_BLOCK};
	struct bfile file = {.ops = &sink_ops, .fd = -1, .writable = true, .priv = &sink};
	int rc = -1;

	file.name = d->href;
	d->off = sink.base;
	if (digest_new(&sink.digest, "sha256", err) < 0)
		return -1;
	if (copy_disk(w, disk, i, &file, err) == 0 &&
	    digest_final(sink.digest, d->sha256, err) == 0)
		rc = write_header(w, w->pos, d->href, d->size, err);
	digest_free(sink.digest);
	w->pos = sink.base + round_up(d->size, TAR_BLOCK);
	return rc;
}

static int describe(struct ova *w, char **ret_text, size_t *ret_len, struct err *err)
{
	return ovf_write(w->m, w->described, w->n, ret_text, ret_len, err);
}

/* Room for the descriptor, whatever the sizes turn out to be. */
static int reserve(struct ova *w, struct err *err)
{
	CLEANUP_FREE char *text = NULL;
	size_t len;

	for (size_t i = 0; i < w->n; i++)
		w->described[i] = (struct ovf_write_disk){w->disks[i].href, UINT64_MAX, UINT64_MAX,
							  UINT64_MAX};
	if (describe(w, &text, &len, err) < 0)
		return -1;
	w->ovf_room = round_up(len + 1, TAR_BLOCK);
	w->pos = TAR_BLOCK + w->ovf_room;
	return 0;
}

static int digest_text(const char *text, size_t len, char *ret_hex, struct err *err)
{
	struct digest *d;
	int rc = -1;

	if (digest_new(&d, "sha256", err) < 0)
		return -1;
	if (digest_update(d, text, len, err) == 0)
		rc = digest_final(d, ret_hex, err);
	digest_free(d);
	return rc;
}

static int write_descriptor(struct ova *w, struct err *err)
{
	CLEANUP_FREE char *text = NULL, *whole = malloc((size_t)w->ovf_room);
	char name[STEM_MAX + 8];
	size_t len;

	if (!whole)
		return err_nomem(err);
	if (describe(w, &text, &len, err) < 0)
		return -1;
	if (len >= w->ovf_room)
		return err_set(err, ERR_FAILED, "the descriptor needs %zu of %" PRIu64 " bytes",
			       len, w->ovf_room);
	memcpy(whole, text, len);
	memset(whole + len, ' ', (size_t)w->ovf_room - len);
	whole[w->ovf_room - 1] = '\n';
	(void)snprintf(name, sizeof(name), "%s.ovf", w->stem);
	if (digest_text(whole, (size_t)w->ovf_room, w->ovf_sha256, err) < 0 ||
	    write_header(w, 0, name, w->ovf_room, err) < 0)
		return -1;
	return io_pwrite(w->fd, whole, (size_t)w->ovf_room, TAR_BLOCK, err);
}

/* The manifest, and the end of the archive: two empty blocks at least, up to a whole record. */
static int write_manifest(struct ova *w, struct err *err)
{
	size_t room = (w->n + 1) * (sizeof(w->disks[0].href) + 96), len;
	CLEANUP_FREE char *text = malloc(room);
	char name[STEM_MAX + 8];
	uint64_t end;

	if (!text)
		return err_nomem(err);
	len = (size_t)snprintf(text, room, "SHA256(%s.ovf)= %s\n", w->stem, w->ovf_sha256);
	for (size_t i = 0; i < w->n; i++)
		len += (size_t)snprintf(text + len, room - len, "SHA256(%s)= %s\n",
					w->disks[i].href, w->disks[i].sha256);
	(void)snprintf(name, sizeof(name), "%s.mf", w->stem);
	if (write_header(w, w->pos, name, len, err) < 0 ||
	    io_pwrite(w->fd, text, len, w->pos + TAR_BLOCK, err) < 0)
		return -1;
	end = w->pos + TAR_BLOCK + round_up(len, TAR_BLOCK) + 2 * TAR_BLOCK;
	end = div_up(end, TAR_RECORD) * TAR_RECORD;
	if (ftruncate(w->fd, (off_t)end) < 0)
		return err_sys(err, "cannot set the size");
	w->pos = end;
	return 0;
}

static int verify_disk(struct ova *w, struct image *disk, size_t i, struct err *err)
{
	const struct image_open_opts opts = {.format = "vmdk", .flags = IMAGE_NO_LOCK};
	const struct written *d = &w->disks[i];
	struct compare_result result;
	struct bfile *whole, *part;
	struct image *img;
	int rc, fd;

	if (image_is_stream(disk))
		return err_set(err, ERR_USAGE, "a pipe cannot be read again to verify what came");
	fd = fcntl(w->fd, F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		return err_sys(err, "cannot duplicate a descriptor");
	if (bfile_of_fd(&whole, fd, d->href, false, err) < 0)
		return -1;
	if (range_file(&part, d->href, &(struct range_part){whole, d->off, d->size}, 1, &whole, 1,
		       err) < 0) {
		bfile_close(whole);
		return -1;
	}
	if (image_open_bfile(&img, part, &opts, err) < 0)
		return -1;
	rc = image_compare(disk, img, w->opts->threads, false, false, w->opts->progress, &result,
			   err);
	image_close(img);
	if (rc == 0 && !result.equal)
		rc = err_set(err, ERR_CORRUPT,
			     "%s: what was written differs from the source at offset %" PRIu64,
			     d->href, result.first_difference);
	return rc;
}

static int write_all(struct ova *w, struct image *const *disks, struct err *err)
{
	for (size_t i = 0; i < w->n; i++)
		if (w->opts->verify && image_is_stream(disks[i]))
			return err_set(err, ERR_USAGE,
				       "a pipe cannot be read again to verify what was written");
	if (reserve(w, err) < 0)
		return -1;
	for (size_t i = 0; i < w->n; i++)
		if (write_disk(w, disks[i], i, err) < 0)
			return -1;
	if (write_descriptor(w, err) < 0 || write_manifest(w, err) < 0)
		return -1;
	for (size_t i = 0; w->opts->verify && i < w->n; i++)
		if (verify_disk(w, disks[i], i, err) < 0)
			return err_prefix(err, "verifying the target");
	return 0;
}

/* ---- the target */

static int send_out(int fd, uint64_t size, struct err *err)
{
	CLEANUP_FREE uint8_t *buf = malloc(SEND_CHUNK);

	if (!buf)
		return err_nomem(err);
	for (uint64_t at = 0; at < size; at += SEND_CHUNK) {
		size_t n = (size_t)min_u64(SEND_CHUNK, size - at);

		if (stop_check(err) < 0 || io_pread(fd, buf, n, at, err) < 0)
			return -1;
		if (io_write(STDOUT_FILENO, buf, n, err) < 0)
			return err_object(err, "standard output");
	}
	return 0;
}

static int to_stdout(struct ova *w, struct image *const *disks, struct err *err)
{
	CLEANUP_CLOSE int fd = -1;

	if (io_nameless(&fd, err) < 0)
		return -1;
	w->fd = fd;
	return write_all(w, disks, err) < 0 ? -1 : send_out(fd, w->pos, err);
}

/* The file behind the name of a source: "ova:FILE#DISK" lies in FILE. */
static bool is_file(const char *name, const struct stat *there)
{
	const char *path = package_path(name), *hash = path != name ? strrchr(path, '#') : NULL;
	CLEANUP_FREE char *file = hash ? strndup(path, (size_t)(hash - path)) : strdup(path);
	struct stat st;

	return file && stat(file, &st) == 0 && st.st_dev == there->st_dev &&
	       st.st_ino == there->st_ino;
}

/* Sources stay whole until the end, since the target is a file of its own; but who replaces one by its own package has
 * most likely mistyped. */
static int refuse_sources(struct image *const *disks, size_t n, const char *target, struct err *err)
{
	struct stat there;

	if (stat(target, &there) < 0)
		return 0;
	for (size_t i = 0; i < n; i++)
		for (struct image *layer = disks[i]; layer; layer = image_backing(layer))
			if (is_file(image_name(layer), &there))
				return err_set(err, ERR_USAGE, "is one of the sources itself");
	return 0;
}

static int to_file(struct ova *w, struct image *const *disks, const char *target, struct err *err)
{
	unsigned flags =
		(w->opts->force ? OUTFILE_FORCE : 0) | (w->opts->no_sync ? OUTFILE_NO_SYNC : 0);
	struct outfile *of;
	struct stat st;

	if (refuse_sources(disks, w->n, target, err) < 0 ||
	    outfile_open(&of, target, flags, err) < 0)
		return -1;
	w->fd = outfile_fd(of);
	if (write_all(w, disks, err) < 0) {
		outfile_discard(of);
		return -1;
	}
	if (fstat(w->fd, &st) == 0) {
		w->stats->file_size = (uint64_t)st.st_size;
		w->stats->target_bytes = (uint64_t)st.st_blocks * 512;
	}
	return outfile_commit(of, err);
}

/* Names of members from the machine's: letters that need no quoting anywhere, nor %20 in the descriptor. */
static void name_members(struct ova *w)
{
	size_t len = 0;

	for (const char *c = w->m->name; *c && len < STEM_MAX; c++) {
		bool plain = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') ||
			     (*c >= '0' && *c <= '9') || strchr("-_.", *c);

		w->stem[len] = plain && !(len == 0 && *c == '.') ? *c : '_';
		len++;
	}
	w->stem[len] = '\0';
	for (size_t i = 0; i < w->n; i++)
		(void)snprintf(w->disks[i].href, sizeof(w->disks[i].href), "%s-disk%u.vmdk",
			       w->stem, (unsigned)i + 1);
}

int ova_write(const struct machine *m, struct image *const *disks, size_t n, const char *target,
	      const struct ova_write_opts *opts, struct ova_write_stats *ret, struct err *err)
{
	const char *epoch = getenv("SOURCE_DATE_EPOCH");
	struct ova w = {.m = m, .opts = opts, .stats = ret, .n = n, .fd = -1};
	int rc = -1;

	*ret = (struct ova_write_stats){0};
	if (n == 0 || n > MACHINE_DISKS_MAX || !m->name || !*m->name)
		return err_set(err, ERR_USAGE, "a package needs a name and 1 to %u disks",
			       MACHINE_DISKS_MAX);
	if (epoch && !xml_number(epoch, &w.mtime))
		w.mtime = 0;
	w.disks = calloc(n, sizeof(*w.disks));
	w.described = calloc(n, sizeof(*w.described));
	if (!w.disks || !w.described) {
		err_nomem(err);
	} else {
		name_members(&w);
		rc = strcmp(target, "-") == 0 ? to_stdout(&w, disks, err)
					      : to_file(&w, disks, target, err);
	}
	free(w.disks);
	free(w.described);
	return rc < 0 ? err_object(err, target) : 0;
}
