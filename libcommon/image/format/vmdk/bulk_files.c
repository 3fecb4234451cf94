/* The extent files of a new image that consists of several, and writing to them. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/iszero.h"
#include "libcommon/image/format/vmdk/bulk_writer.h"

#define HOLE_STEP 4096U	 /* zeros are left out by blocks of it */
#define HOLE_MIN  16384U /* and from this length on: shorter ones are not worth a system call */

/* "DIR/disk.vmdk" to "DIR/disk-s001.vmdk" */
static char *file_path(const struct vmdk_bulk_options *o, const char *target, size_t i)
{
	size_t len = strlen(target);
	char *path;
	int rc;

	if (len > 5 && !strcasecmp(target + len - 5, ".vmdk"))
		len -= 5;
	if (o->subformat == SUB_SPLIT_SPARSE || o->subformat == SUB_SPLIT_FLAT)
		rc = asprintf(&path, "%.*s-%c%03zu.vmdk", (int)len, target,
			      o->subformat == SUB_SPLIT_FLAT ? 'f' : 's', i + 1);
	else
		rc = asprintf(&path, "%.*s-flat.vmdk", (int)len, target);
	return rc < 0 ? NULL : path;
}

static int open_file(struct bulk *b, struct vmdk_file *f, struct err *err)
{
	int fd;

	if (outfile_open(&f->of, f->path, b->params->outfile_flags, err) < 0)
		return err_prefix(err, "extent file");
	fd = fcntl(outfile_fd(f->of), F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		return err_sys(err, "cannot duplicate a descriptor");
	return bfile_of_fd(&f->file, fd, f->path, true, err);
}

int vmdk_files_open(struct bulk *b, const struct vmdk_bulk_options *o, uint64_t most,
		    struct vmdk_files *s, struct err *err)
{
	const char *target = b->measuring ? "disk.vmdk" : b->params->target_path;
	uint64_t left = o->sectors, n = max_u64(div_up(left, most), 1);

	if (!target)
		return err_set(err, ERR_USAGE, "a %s VMDK has several files: it needs a name",
			       o->create_type);
	if (n > VMDK_EXTENTS_MAX)
		return err_set(err, ERR_USAGE, "the disk would be split into more than %u files",
			       VMDK_EXTENTS_MAX);

	const char *slash = strrchr(target, '/');

	if (strpbrk(slash ? slash : target, "\"\n\r"))
		return err_set(err, ERR_USAGE,
			       "a quote in the name cannot be told in a descriptor");
	b->has_files = true;
	s->f = calloc(n, sizeof(*s->f));
	if (!s->f)
		return err_nomem(err);
	for (; s->n < n; left -= s->f[s->n++].sectors) {
		struct vmdk_file *f = &s->f[s->n];

		f->sectors = min_u64(left, most);
		f->path = file_path(o, target, s->n);
		f->name = f->path ? strdup(f->path + (slash ? slash + 1 - target : 0)) : NULL;
		if (!f->name) {
			free(f->path);
			return err_nomem(err);
		}
		if (!b->measuring && open_file(b, f, err) < 0) {
			s->n++; /* to be freed */
			return -1;
		}
	}
	return 0;
}

int vmdk_files_commit(struct vmdk_files *s, struct err *err)
{
	for (size_t i = 0; i < s->n; i++) {
		struct vmdk_file *f = &s->f[i];

		if (!f->of)
			continue;
		bfile_close(f->file);
		f->file = NULL;
		if (outfile_commit(steal_ptr(&f->of), err) < 0)
			return -1;
		f->committed = true;
	}
	return 0;
}

void vmdk_files_close(const struct bulk *b, struct vmdk_files *s)
{
	for (size_t i = 0; i < s->n; i++) {
		struct vmdk_file *f = &s->f[i];

		bfile_close(f->file);
		outfile_discard(f->of);
		if (f->committed && !b->committed)
			(void)unlink(f->path); /* it was made by us a moment ago */
		free(f->path);
		free(f->name);
	}
	free(s->f);
	*s = (struct vmdk_files){0};
}

int vmdk_write_plain(struct bfile *f, const uint8_t *p, uint64_t host, size_t len, struct err *err)
{
	size_t from = 0, at = 0;

	while (at < len) {
		size_t z = at;

		while (z < len && is_zero(p + z, (size_t)min_u64(HOLE_STEP, len - z)))
			z += (size_t)min_u64(HOLE_STEP, len - z);
		if (z - at >= HOLE_MIN || (z > at && (z == len || from == at))) {
			if (at > from && bfile_pwrite(f, p + from, at - from, host + from, err) < 0)
				return -1;
			from = z;
		}
		at = z + (size_t)min_u64(HOLE_STEP, len - z);
	}
	return len > from ? bfile_pwrite(f, p + from, len - from, host + from, err) : 0;
}

int vmdk_copy(struct bulk *b, struct bfile *to, struct bfile *src, uint64_t src_off, uint64_t host,
	      uint64_t len, struct err *err)
{
	/* bulk_copy_range() writes to the bulk's file: one that stands for it. What the file system refused of
	 * one of them it refuses of all. */
	struct bulk at = {.ops = b->ops,
			  .params = b->params,
			  .file = to,
			  .copy_refused = atomic_load(&b->copy_refused)};
	int rc = bulk_copy_range(&at, src, src_off, host, len, err);

	atomic_fetch_or(&b->copy_refused, atomic_load(&at.copy_refused));
	atomic_fetch_add(&b->cloned_bytes, atomic_load(&at.cloned_bytes));
	return rc;
}
