/* The files of a package: members of an OVA, or files in the folder of an OVF, none outside of it. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/package/package_private.h"
#include "libcommon/package/range.h"

enum { CHUNKS_MAX = 4096, CHUNK_FILES_MAX = 256 };

/* Without openat2 (seccomp, kernels before 5.6): folder by folder, no links at all. */
static int open_steps(int dir, const char *name)
{
	CLEANUP_CLOSE int at = dup(dir);

	for (;;) {
		size_t n = strcspn(name, "/");
		bool last = name[n] == '\0';
		CLEANUP_FREE char *part = strndup(name, n);
		int next;

		if (!part || at < 0)
			return -1;
		next = openat(at, part,
			      last ? O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC
				   : O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (next < 0 || last)
			return next;
		(void)close(steal_fd(&at));
		at = next;
		name += n + 1;
	}
}

static int open_beneath(struct package *p, const char *name, struct bfile **ret, struct err *err)
{
	struct open_how how = {.flags = O_RDONLY | O_NONBLOCK | O_CLOEXEC,
			       .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
	CLEANUP_CLOSE int fd = (int)syscall(SYS_openat2, p->dir, name, &how, sizeof(how));
	struct stat st;

	if (fd < 0 && (errno == ENOSYS || errno == EPERM))
		fd = open_steps(p->dir, name);
	if (fd < 0 && (errno == EXDEV || errno == ELOOP))
		return err_set(err, ERR_DENIED, "the file %s leads out of the package's folder",
			       name);
	if (fd < 0)
		return err_sys(err, "cannot open %s", name);
	if (fstat(fd, &st) < 0)
		return err_sys(err, "cannot look at %s", name);
	if (!S_ISREG(st.st_mode))
		return err_set(err, ERR_DENIED, "%s is not a regular file", name);
	return bfile_of_fd(ret, steal_fd(&fd), name, false, err);
}

/* The OVA once more: what is made of it lives as long as it wants. */
static int another_handle(struct package *p, struct bfile **ret, struct err *err)
{
	int fd = p->file->fd >= 0 ? fcntl(p->file->fd, F_DUPFD_CLOEXEC, 0) : -1;

	if (fd < 0)
		return err_sys(err, "cannot duplicate a descriptor");
	return bfile_of_fd(ret, fd, p->name, false, err);
}

static int member_bytes(struct package *p, const size_t *members, size_t n, const char *name,
			struct bfile **ret, struct err *err)
{
	CLEANUP_FREE struct range_part *parts = calloc(n + 1, sizeof(*parts));
	struct bfile *base;

	if (!parts)
		return err_nomem(err);
	if (another_handle(p, &base, err) < 0)
		return -1;
	for (size_t i = 0; i < n; i++)
		parts[i] = (struct range_part){base, p->members[members[i]].off,
					       p->members[members[i]].size};
	if (range_file(ret, name, parts, n, &base, 1, err) < 0) {
		bfile_close(base);
		return -1;
	}
	return 0;
}

int package_bytes(struct package *p, const char *name, struct bfile **ret, struct err *err)
{
	size_t member;

	if (!p->ova)
		return open_beneath(p, name, ret, err);
	member = package_member(p, name);
	if (member == SIZE_MAX)
		return err_set(err, ERR_NOT_FOUND, "the archive has no member %s", name);
	return member_bytes(p, &member, 1, name, ret, err);
}

static void chunk_name(const struct ovf_file *f, size_t i, char *buf, size_t room)
{
	(void)snprintf(buf, room, "%s.%09zu", f->href, i);
}

/* All chunks but the last have the size that the descriptor gives; together they have that of the file. */
static int check_chunk(const struct ovf_file *f, const char *name, uint64_t size, bool last,
		       struct err *err)
{
	if (last ? size <= f->chunk_size : size == f->chunk_size)
		return 0;
	return err_set(err, ERR_CORRUPT, "chunk %s has %" PRIu64 " bytes instead of %" PRIu64, name,
		       size, f->chunk_size);
}

static int check_total(const struct ovf_file *f, const struct bfile *file, size_t n,
		       struct err *err)
{
	if (!f->has_size || bfile_size(file) == f->size)
		return 0;
	return err_set(err, ERR_CORRUPT, "%zu chunks of %s hold %" PRIu64 " of %" PRIu64 " bytes",
		       n, f->href, bfile_size(file), f->size);
}

static int member_chunks(struct package *p, const struct ovf_file *f, struct bfile **ret,
			 size_t *ret_n, struct err *err)
{
	CLEANUP_FREE size_t *members = calloc(CHUNKS_MAX, sizeof(*members));
	char name[OVA_NAME_MAX + 16];
	size_t n = 0, next;

	if (!members)
		return err_nomem(err);
	for (; n < CHUNKS_MAX; n++) {
		chunk_name(f, n, name, sizeof(name));
		members[n] = package_member(p, name);
		if (members[n] == SIZE_MAX)
			break;
	}
	if (n == 0)
		return err_set(err, ERR_NOT_FOUND, "the archive has no member %s", name);
	for (next = 0; next < n; next++) {
		const struct ova_member *m = &p->members[members[next]];

		if (check_chunk(f, m->name, m->size, next + 1 == n, err) < 0)
			return -1;
	}
	*ret_n = n;
	return member_bytes(p, members, n, f->href, ret, err);
}

static int folder_chunks(struct package *p, const struct ovf_file *f, struct bfile **ret,
			 size_t *ret_n, struct err *err)
{
	CLEANUP_FREE struct range_part *parts = calloc(CHUNK_FILES_MAX, sizeof(*parts));
	CLEANUP_FREE struct bfile **files = calloc(CHUNK_FILES_MAX, sizeof(struct bfile *));
	char name[OVA_NAME_MAX + 16];
	struct err why = ERR_INIT;
	size_t n = 0;
	int rc = -1;

	if (!parts || !files)
		return err_nomem(err);
	for (; n < CHUNK_FILES_MAX; n++) {
		chunk_name(f, n, name, sizeof(name));
		if (open_beneath(p, name, &files[n], &why) < 0)
			break;
		parts[n] = (struct range_part){files[n], 0, bfile_size(files[n])};
	}
	if (n < CHUNK_FILES_MAX && (n == 0 || why.code != ERR_NOT_FOUND)) {
		if (err)
			*err = why;
		goto undo;
	}
	for (size_t i = 0; i < n; i++)
		if (check_chunk(f, files[i]->name, parts[i].len, i + 1 == n, err) < 0)
			goto undo;
	rc = range_file(ret, f->href, parts, n, files, n, err);
	*ret_n = n;
undo:
	for (size_t i = 0; rc < 0 && i < n; i++)
		bfile_close(files[i]);
	return rc;
}

int package_file(struct package *p, const struct ovf_file *f, struct bfile **ret,
		 size_t *ret_chunks, struct err *err)
{
	size_t n = 0;

	if (!f->chunk_size) {
		if (package_bytes(p, f->href, ret, err) < 0)
			return -1;
	} else {
		if ((p->ova ? member_chunks(p, f, ret, &n, err)
			    : folder_chunks(p, f, ret, &n, err)) < 0)
			return -1;
		if (check_total(f, *ret, n, err) < 0) {
			bfile_close(*ret);
			return -1;
		}
	}
	if (ret_chunks)
		*ret_chunks = n;
	return 0;
}

int package_text(struct package *p, const char *name, size_t most, char **ret, size_t *ret_len,
		 struct err *err)
{
	CLEANUP_FREE char *text = NULL;
	struct bfile *f;
	uint64_t size;
	int rc;

	if (package_bytes(p, name, &f, err) < 0)
		return -1;
	size = bfile_size(f);
	if (size > most)
		rc = err_set(err, ERR_UNSUPPORTED, "%s has %" PRIu64 " bytes, more than %zu", name,
			     size, most);
	else if (!(text = malloc((size_t)size + 1)))
		rc = err_nomem(err);
	else
		rc = bfile_pread(f, text, (size_t)size, 0, err);
	bfile_close(f);
	if (rc < 0)
		return -1;
	text[size] = '\0';
	*ret_len = (size_t)size;
	*ret = steal_ptr(&text);
	return 0;
}

int package_beside(struct package *p, const char *suffix, char **ret, struct err *err)
{
	size_t len = strlen(p->ovf_name);
	struct bfile *f;

	if (asprintf(ret, "%.*s%s", (int)(len > 4 ? len - 4 : len), p->ovf_name, suffix) < 0) {
		*ret = NULL;
		return err_nomem(err);
	}
	if (package_bytes(p, *ret, &f, NULL) == 0) {
		bfile_close(f);
		return 0;
	}
	free(*ret);
	*ret = NULL;
	return 0;
}
