/* What all bulk writers share: room for encoded bytes, copying in the kernel, options: see bulk.h. */
#include "libcommon/image/bulk.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/size.h"
#include "libcommon/image/format.h"

/* struct bulk, copy_refused */
enum { REFUSED_CLONE = 1, REFUSED_KERNEL_COPY = 2 };

enum { COPY_BUFFER = 256 << 10, CLONE_ALIGN = 4096 };

int bulk_reserve(struct bulk_unit *u, size_t len, struct err *err)
{
	if (len <= u->encoded_room)
		return 0;

	/* What was there is not kept by contract, but a growing list of clusters wants it. */
	uint8_t *more = realloc(u->encoded, len);

	if (!more)
		return err_nomem(err);
	u->encoded = more;
	u->encoded_room = len;
	return 0;
}

int bulk_load_len(size_t len, size_t want, struct err *err)
{
	if (len == want)
		return 0;
	return err_set(err, ERR_CORRUPT, "a unit of the record has %zu bytes instead of %zu", len,
		       want);
}

static bool refused(struct bulk *b, unsigned way)
{
	return atomic_load_explicit(&b->copy_refused, memory_order_relaxed) & way;
}

static void refuse(struct bulk *b, unsigned way)
{
	atomic_fetch_or_explicit(&b->copy_refused, way, memory_order_relaxed);
}

/* Errors that mean "not this way" and not "it failed". */
static bool not_this_way(int e)
{
	return e == EOPNOTSUPP || e == ENOTTY || e == EXDEV || e == EINVAL || e == ENOSYS ||
	       e == EPERM || e == ETXTBSY || e == EBADF;
}

/* bfile_pwrite() keeps the size true; what the kernel copied it did not see. */
static void size_at_least(struct bfile *f, uint64_t end)
{
	uint64_t size = __atomic_load_n(&f->size, __ATOMIC_RELAXED);

	while (size < end && !__atomic_compare_exchange_n(&f->size, &size, end, true,
							  __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
}

/* Return: 1 cloned, 0 not this way, -1 failed */
static int try_clone(struct bulk *b, struct bfile *src, uint64_t src_off, uint64_t dst_off,
		     uint64_t len, struct err *err)
{
	struct file_clone_range range = {.src_fd = src->fd,
					 .src_offset = src_off,
					 .src_length = len,
					 .dest_offset = dst_off};

	if (len == 0 || (src_off | dst_off | len) & (CLONE_ALIGN - 1) || refused(b, REFUSED_CLONE))
		return 0;
	if (ioctl(b->file->fd, FICLONERANGE, &range) == 0) {
		atomic_fetch_add_explicit(&b->cloned_bytes, len, memory_order_relaxed);
		return 1;
	}
	if (!not_this_way(errno))
		return err_sys(err, "cannot share %" PRIu64 " bytes at offset %" PRIu64, len,
			       dst_off);
	refuse(b, REFUSED_CLONE);
	return 0;
}

/* Copies as much as the kernel wants to; Return: bytes left to do, or -1 */
static int64_t try_kernel_copy(struct bulk *b, struct bfile *src, uint64_t src_off,
			       uint64_t dst_off, uint64_t len, struct err *err)
{
	off_t in = (off_t)src_off, out = (off_t)dst_off;

	while (len && !refused(b, REFUSED_KERNEL_COPY)) {
		ssize_t n = copy_file_range(src->fd, &in, b->file->fd, &out, len, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && not_this_way(errno)) {
			refuse(b, REFUSED_KERNEL_COPY);
			break;
		}
		if (n < 0)
			return err_sys(err, "cannot copy %" PRIu64 " bytes to offset %" PRIu64, len,
				       (uint64_t)out);
		if (n == 0)
			break; /* the source's end: reading below says so, with the offset */
		len -= (uint64_t)n;
	}
	return (int64_t)len;
}

int bulk_copy_range(struct bulk *b, struct bfile *src, uint64_t src_off, uint64_t dst_off,
		    uint64_t len, struct err *err)
{
	if (src->fd >= 0 && b->file->fd >= 0) {
		int rc = try_clone(b, src, src_off, dst_off, len, err);

		if (rc < 0)
			return -1;

		int64_t left = rc ? 0 : try_kernel_copy(b, src, src_off, dst_off, len, err);

		if (left < 0)
			return -1;
		src_off += len - (uint64_t)left;
		dst_off += len - (uint64_t)left;
		len = (uint64_t)left;
		size_at_least(b->file, dst_off);
	}
	if (len == 0)
		return 0;

	CLEANUP_FREE uint8_t *buf = malloc(COPY_BUFFER);

	if (!buf)
		return err_nomem(err);
	while (len) {
		size_t n = (size_t)min_u64(len, COPY_BUFFER);

		if (bfile_pread(src, buf, n, src_off, err) < 0 ||
		    bfile_pwrite(b->file, buf, n, dst_off, err) < 0)
			return -1;
		src_off += n;
		dst_off += n;
		len -= n;
	}
	return 0;
}

const struct bulk_ops *bulk_ops_of(const struct image_format *f, const struct bulk_params *p)
{
	return f->bulk_for ? f->bulk_for(p) : f->bulk;
}

const char *bulk_option(const struct bulk_params *p, const char *name)
{
	for (size_t i = 0; i < p->n_options; i++)
		if (strcmp(p->options[i].name, name) == 0)
			return p->options[i].value;
	return NULL;
}

/* Is @value one of "a|b|c"? */
static bool is_choice(const char *choices, const char *value)
{
	size_t len = strlen(value);

	while (choices) {
		const char *end = strchr(choices, '|');
		size_t n = end ? (size_t)(end - choices) : strlen(choices);

		if (n == len && memcmp(choices, value, n) == 0)
			return true;
		choices = end ? end + 1 : NULL;
	}
	return false;
}

static int check_value(const struct image_option *o, const char *value, struct err *err)
{
	uint64_t bytes;

	switch (o->type) {
	case OPTION_BOOL:
		if (!is_choice("on|off|true|false|yes|no|1|0", value))
			return err_set(err, ERR_USAGE, "option %s=%s: on or off is wanted", o->name,
				       value);
		break;
	case OPTION_SIZE:
		if (size_parse(value, &bytes, err) < 0)
			return err_prefix(err, "option %s", o->name);
		break;
	case OPTION_CHOICE:
		if (!is_choice(o->choices, value))
			return err_set(err, ERR_USAGE, "option %s=%s: one of %s is wanted", o->name,
				       value, o->choices);
		break;
	case OPTION_STRING:
		break;
	}
	return 0;
}

static int check_option(const struct image_format *format, const struct image_option_value *v,
			struct err *err)
{
	const struct image_option *o = format->create_options;

	while (o && o->name && strcmp(o->name, v->name))
		o++;
	if (o && o->name)
		return check_value(o, v->value, err);

	err_set(err, ERR_USAGE, "format %s has no option '%s'", format->name, v->name);

	char names[200] = "";
	size_t used = 0;

	for (o = format->create_options; o && o->name && used < sizeof(names); o++)
		used += (size_t)snprintf(names + used, sizeof(names) - used, "%s%s",
					 used ? ", " : "", o->name);
	return used ? err_hint(err, "its options: %s", names) : -1;
}

int bulk_check_options(const struct image_format *format, const struct bulk_params *p,
		       struct err *err)
{
	for (size_t i = 0; i < p->n_options; i++) {
		if (check_option(format, &p->options[i], err) < 0)
			return -1;
		for (size_t j = 0; j < i; j++)
			if (strcmp(p->options[i].name, p->options[j].name) == 0)
				return err_set(err, ERR_USAGE, "option '%s' is given twice",
					       p->options[i].name);
	}
	return 0;
}
