/* Modules of a kernel: see modules.h. */
#include "libcommon/runner/modules.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/io.h"
#include "libcommon/runner/linux.h"

enum { DEP_MAX = 16 << 20, H_MAGIC = 0x202, H_KERNEL_VERSION = 0x20e, HEADER_LEN = 0x280 };

/* "kernel/a/virtio-rng.ko.xz" is virtio_rng: "-" and "_" are the same in names of modules */
static bool is_named(const char *path, size_t len, const char *name)
{
	const char *base = memrchr(path, '/', len);
	size_t n = strlen(name);

	base = base ? base + 1 : path;
	if ((size_t)(path + len - base) < n + 3 || strncmp(base + n, ".ko", 3) != 0)
		return false;
	for (size_t i = 0; i < n; i++)
		if ((base[i] == '-' ? '_' : base[i]) != (name[i] == '-' ? '_' : name[i]))
			return false;
	return true;
}

static int add_path(struct modules *m, const char *path, size_t len, struct err *err)
{
	for (size_t i = 0; i < m->n; i++)
		if (strncmp(m->path[i], path, len) == 0 && !m->path[i][len])
			return 0;
	if (m->n == MODULES_MAX)
		return err_set(err, ERR_UNSUPPORTED, "more than %d modules are needed",
			       MODULES_MAX);
	m->path[m->n] = strndup(path, len);
	return m->path[m->n] ? (void)m->n++, 0 : err_nomem(err);
}

/* "a.ko: b.ko c.ko": the last one is loaded first */
static int add_line(struct modules *m, const char *line, size_t colon, size_t len, struct err *err)
{
	size_t end = len;

	while (end > colon + 1) {
		size_t start = end;

		while (start > colon + 1 && line[start - 1] != ' ')
			start--;
		if (end > start && add_path(m, line + start, end - start, err) < 0)
			return -1;
		end = start > colon + 1 ? start - 1 : start;
	}
	return add_path(m, line, colon, err);
}

int modules_add(struct modules *m, const char *folder, const char *name, struct err *err)
{
	CLEANUP_FREE char *path = NULL, *text = NULL;
	size_t len;

	if (asprintf(&path, "%s/modules.dep", folder) < 0) {
		path = NULL;
		return err_nomem(err);
	}
	if (access(path, F_OK) < 0)
		return 0;
	if (io_read_file(path, DEP_MAX, &text, &len, err) < 0)
		return -1;
	for (const char *line = text; line < text + len;) {
		size_t n = strcspn(line, "\n"), colon = strcspn(line, ":\n");

		if (colon < n && is_named(line, colon, name))
			return add_line(m, line, colon, n, err);
		line += n + 1;
	}
	return 0;
}

/* @file: modules.dep ("kernel/a.ko: ...") or modules.builtin ("kernel/a.ko"). Return: 1, 0, or -1 when it is not there */
static int is_listed(const char *folder, const char *file, const char *name)
{
	CLEANUP_FREE char *path = NULL, *text = NULL;
	size_t len;

	if (asprintf(&path, "%s/%s", folder, file) < 0) {
		path = NULL;
		return -1;
	}
	if (access(path, F_OK) < 0 || io_read_file(path, DEP_MAX, &text, &len, NULL) < 0)
		return -1;
	for (const char *line = text; line < text + len; line += strcspn(line, "\n") + 1)
		if (is_named(line, strcspn(line, ":\n"), name))
			return 1;
	return 0;
}

bool modules_has(const char *folder, const char *name)
{
	int module = is_listed(folder, "modules.dep", name);

	return module != 0 || is_listed(folder, "modules.builtin", name) == 1;
}

void modules_free(struct modules *m)
{
	for (size_t i = 0; i < m->n; i++)
		free(m->path[i]);
	m->n = 0;
}

int kernel_version(const char *kernel, char ret[KERNEL_VERSION_MAX], struct err *err)
{
	CLEANUP_CLOSE int fd = -1;
	uint64_t size;
	uint8_t h[HEADER_LEN] = {0};
	uint16_t at;

	ret[0] = '\0';
	if (linux_open(kernel, &fd, &size, err) < 0)
		return -1;
	if (io_pread_upto(fd, h, sizeof(h), 0, err) < 0)
		return err_object(err, kernel);
	at = get_le16(h + H_KERNEL_VERSION);
	if (memcmp(h + H_MAGIC, "HdrS", 4) != 0 || !at)
		return 0;
	if (io_pread_upto(fd, ret, KERNEL_VERSION_MAX - 1, 0x200U + at, NULL) < 0)
		ret[0] = '\0';
	ret[KERNEL_VERSION_MAX - 1] = '\0';
	ret[strcspn(ret, " \n")] = '\0';
	if (strchr(ret, '/') || ret[0] == '.')
		ret[0] = '\0'; /* it becomes part of a path */
	return 0;
}
