/* Reading tar and gzip through libarchive: see ova_read.h. */
#include "libcommon/package/ova_read.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/io.h"
#include "libcommon/base/iszero.h"
#include "libcommon/base/stop.h"
#include "libcommon/package/libs.h"
#include "libcommon/package/range.h"

enum { READ_BLOCK = 64 << 10, SPOOL_BLOCK = 64 << 10 };

/* What libarchive reads from. */
struct source {
	struct bfile *file;
	uint64_t pos;
	uint8_t *buf;
	struct err err; /* of the file below; libarchive's own word for it says less */
};

static la_ssize_t source_read(struct archive *a, void *ctx, const void **ret)
{
	struct source *s = ctx;
	uint64_t size = bfile_size(s->file);
	size_t n = s->pos >= size ? 0 : (size_t)min_u64(READ_BLOCK, size - s->pos);

	(void)a;
	if (n && bfile_pread(s->file, s->buf, n, s->pos, &s->err) < 0)
		return ARCHIVE_FATAL;
	s->pos += n;
	*ret = s->buf;
	return (la_ssize_t)n;
}

static la_int64_t source_skip(struct archive *a, void *ctx, la_int64_t request)
{
	struct source *s = ctx;
	uint64_t size = bfile_size(s->file);

	(void)a;
	if (request <= 0 || s->pos >= size)
		return 0;

	uint64_t n = min_u64((uint64_t)request, size - s->pos);

	s->pos += n;
	return (la_int64_t)n;
}

static int archive_err(const struct archive_lib *lib, struct archive *a, const struct source *s,
		       const char *what, struct err *err)
{
	const char *text = lib->archive_error_string(a);

	if (s->err.code != ERR_NONE) {
		if (err)
			*err = s->err;
		return -1;
	}
	return err_set(err, ERR_CORRUPT, "%s: %s", what, text ? text : "not understood");
}

static struct archive *open_source(const struct archive_lib *lib, struct source *s, bool gzip,
				   struct err *err)
{
	struct archive *a = lib->archive_read_new();

	if (!a) {
		err_nomem(err);
		return NULL;
	}
	if ((gzip ? lib->archive_read_support_format_raw(a) != ARCHIVE_OK ||
			     lib->archive_read_support_filter_gzip(a) < ARCHIVE_WARN
		  : lib->archive_read_support_format_tar(a) != ARCHIVE_OK) ||
	    lib->archive_read_set_read_callback(a, source_read) != ARCHIVE_OK ||
	    lib->archive_read_set_skip_callback(a, source_skip) != ARCHIVE_OK ||
	    lib->archive_read_set_callback_data(a, s) != ARCHIVE_OK ||
	    lib->archive_read_open1(a) != ARCHIVE_OK) {
		archive_err(lib, a, s, gzip ? "gzip" : "tar archive", err);
		lib->archive_read_free(a);
		return NULL;
	}
	return a;
}

static int name_member(const struct archive_lib *lib, struct archive_entry *e, char **ret,
		       struct err *err)
{
	const char *name = lib->archive_entry_pathname(e);

	if (!name)
		name = lib->archive_entry_pathname_utf8(e);
	while (name && name[0] == '.' && name[1] == '/')
		name += 2;
	if (!name || !*name)
		return err_set(err, ERR_CORRUPT, "a member of the archive has no name");
	if (strlen(name) > OVA_NAME_MAX)
		return err_set(err, ERR_UNSUPPORTED, "a member's name has %zu characters",
			       strlen(name));
	*ret = strdup(name);
	return *ret ? 0 : err_nomem(err);
}

/* A member after its header was read: *@ret_use is false for folders. */
static int look_at(const struct archive_lib *lib, struct archive *a, struct archive_entry *e,
		   uint64_t file_size, struct ova_member *ret, bool *ret_use, struct err *err)
{
	CLEANUP_FREE char *name = NULL;
	int64_t size = lib->archive_entry_size(e), off = lib->archive_filter_bytes(a, 0);

	if (name_member(lib, e, &name, err) < 0)
		return -1;
	*ret_use = lib->archive_entry_filetype(e) != AE_IFDIR;
	if (!*ret_use)
		return 0;
	if (lib->archive_entry_filetype(e) != AE_IFREG || lib->archive_entry_hardlink(e) ||
	    lib->archive_entry_sparse_count(e) > 0)
		return err_set(err, ERR_UNSUPPORTED, "member %s is not a plain file", name);
	if (size < 0 || off < 0 || !range_inside((uint64_t)off, (uint64_t)size, file_size))
		return err_set(err, ERR_CORRUPT,
			       "member %s has %" PRId64 " bytes at offset %" PRId64
			       ", the archive ends at %" PRIu64,
			       name, size, off, file_size);
	*ret = (struct ova_member){steal_ptr(&name), (uint64_t)off, (uint64_t)size};
	return 0;
}

/* Two members of one name: what is verified might not be what is read. */
static int refuse_twins(const struct ova_member *list, size_t n, struct err *err)
{
	for (size_t i = 0; i + 1 < n; i++)
		if (strcmp(list[i].name, list[n - 1].name) == 0)
			return err_set(err, ERR_CORRUPT, "two members are called %s", list[i].name);
	return 0;
}

int ova_index(struct bfile *file, struct ova_member **ret, size_t *ret_n, struct err *err)
{
	const struct archive_lib *lib = archive_lib(err);
	CLEANUP_FREE uint8_t *buf = malloc(READ_BLOCK);
	struct source s = {.file = file, .buf = buf};
	struct ova_member *list = NULL;
	struct archive_entry *e;
	struct archive *a;
	size_t n = 0;
	int rc;

	if (!buf)
		return err_nomem(err);
	if (!lib || !(a = open_source(lib, &s, false, err)))
		return -1;
	while ((rc = lib->archive_read_next_header(a, &e)) == ARCHIVE_OK || rc == ARCHIVE_WARN) {
		struct ova_member m = {0};
		bool use;

		if (n >= OVA_MEMBERS_MAX) {
			rc = err_set(err, ERR_UNSUPPORTED, "the archive has more than %u members",
				     OVA_MEMBERS_MAX);
			goto failed;
		}
		if (look_at(lib, a, e, bfile_size(file), &m, &use, err) < 0)
			goto failed;
		if (!use)
			continue;

		struct ova_member *more = reallocarray(list, n + 1, sizeof(*more));

		if (!more) {
			free(m.name);
			err_nomem(err);
			goto failed;
		}
		list = more;
		list[n++] = m;
		if (refuse_twins(list, n, err) < 0)
			goto failed;
	}
	if (rc != ARCHIVE_EOF) {
		archive_err(lib, a, &s, "tar archive", err);
		goto failed;
	}
	lib->archive_read_free(a);
	*ret = list;
	*ret_n = n;
	return 0;
failed:
	lib->archive_read_free(a);
	ova_index_free(list, n);
	return -1;
}

void ova_index_free(struct ova_member *members, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(members[i].name);
	free(members);
}

/* All that comes out of @a into @fd, zeros as holes. */
static int unpack(const struct archive_lib *lib, struct archive *a, const struct source *s, int fd,
		  uint64_t limit, struct err *err)
{
	CLEANUP_FREE uint8_t *buf = malloc(SPOOL_BLOCK);
	uint64_t off = 0;

	if (!buf)
		return err_nomem(err);
	for (;;) {
		la_ssize_t n = lib->archive_read_data(a, buf, SPOOL_BLOCK);

		if (n < 0)
			return archive_err(lib, a, s, "gzip", err);
		if (n == 0)
			break;
		if (stop_check(err) < 0)
			return -1;
		if ((uint64_t)n > limit - off)
			return err_set(err, ERR_CORRUPT,
				       "the compressed disk has more than the %" PRIu64
				       " bytes that its capacity allows",
				       limit);
		if (!is_zero(buf, (size_t)n) && io_pwrite(fd, buf, (size_t)n, off, err) < 0)
			return err_prefix(err, "temporary file");
		off += (uint64_t)n;
	}
	if (ftruncate(fd, (off_t)off) < 0)
		return err_sys(err, "temporary file");
	return 0;
}

int ova_gunzip(struct bfile *in, uint64_t limit, struct bfile **ret, struct err *err)
{
	const struct archive_lib *lib = archive_lib(err);
	CLEANUP_FREE uint8_t *buf = malloc(READ_BLOCK);
	struct source s = {.file = in, .buf = buf};
	CLEANUP_CLOSE int fd = -1;
	struct archive_entry *e;
	struct archive *a;
	int rc = -1;

	if (!buf)
		return err_nomem(err);
	if (!lib || io_nameless(&fd, err) < 0 || !(a = open_source(lib, &s, true, err)))
		return -1;
	if (lib->archive_read_next_header(a, &e) < ARCHIVE_WARN)
		archive_err(lib, a, &s, "gzip", err);
	else if (lib->archive_filter_code(a, 0) != ARCHIVE_FILTER_GZIP)
		err_set(err, ERR_CORRUPT, "the descriptor says gzip, the file is none");
	else
		rc = unpack(lib, a, &s, fd, limit, err);
	lib->archive_read_free(a);
	return rc < 0 ? -1 : bfile_of_fd(ret, steal_fd(&fd), in->name, false, err);
}
