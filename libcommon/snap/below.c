/* The file that a header names as its backing file, in the forms that QEMU knows. What is not understood is no "none". */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/snap/private.h"

/* Drivers of QEMU that lead to another host, or to no file: "nbd+unix", "gluster+tcp" are theirs */
static bool is_far(const char *driver, size_t len)
{
	static const char *const far[] = {"nbd",  "http",  "https",    "ftp",	  "ftps", "ssh",
					  "rbd",  "iscsi", "iser",     "gluster", "nfs",  "vxhs",
					  "nvme", "fat",   "sheepdog", "vvfat"};
	const char *plus = memchr(driver, '+', len);

	if (plus)
		len = (size_t)(plus - driver);
	for (size_t i = 0; i < sizeof(far) / sizeof(far[0]); i++)
		if (strlen(far[i]) == len && memcmp(far[i], driver, len) == 0)
			return true;
	return false;
}

struct found {
	const char *file; /* the last of them */
	unsigned files;
	bool far;
};

/* Keys may be written with dots: "file.filename" */
static void search(const json_t *value, struct found *f)
{
	const char *key;
	json_t *v;
	size_t i;

	for (i = 0; i < json_array_size(value); i++)
		search(json_array_get(value, i), f);
	json_object_foreach((json_t *)(uintptr_t)value, key, v)
	{
		const char *dot = strrchr(key, '.'), *last = dot ? dot + 1 : key;
		const char *text = json_string_value(v);

		if (!text)
			search(v, f);
		else if (strcmp(last, "driver") == 0)
			f->far = f->far || is_far(text, strlen(text));
		else if (strcmp(last, "filename") == 0) {
			f->file = text;
			f->files++;
		}
	}
}

/* Relative to the folder of @path; owned; NULL without memory */
static char *join(const char *path, const char *name)
{
	const char *slash = strrchr(path, '/');
	char *full;

	if (*name == '/' || !slash)
		return strdup(name);
	return asprintf(&full, "%.*s%s", (int)(slash - path + 1), path, name) < 0 ? NULL : full;
}

char *below_path(const char *path, const char *name)
{
	if (strncmp(name, "json:", 5) == 0)
		return NULL;
	return join(path, strncmp(name, "file:", 5) == 0 ? name + 5 : name);
}

/* Return: true when the file is there */
static bool stat_below(const char *path, const char *name, struct below *ret)
{
	CLEANUP_FREE char *full = join(path, name);
	struct stat st;

	if (!full || stat(full, &st) < 0)
		return false;
	ret->dev = st.st_dev;
	ret->ino = st.st_ino;
	return true;
}

static void below_json(const char *path, const char *text, struct below *ret)
{
	json_t *o = json_loads(text, 0, NULL);
	struct found f = {0};

	search(o, &f);
	if (f.files == 1 && !f.far) {
		if (strncmp(f.file, "file:", 5) == 0)
			f.file += 5;
		/* A relative one is meant from where a QEMU once ran */
		ret->unclear = !stat_below(path, f.file, ret) && *f.file != '/';
	} else {
		ret->unclear = f.files > 0 || !f.far;
	}
	json_decref(o);
}

void below_find(const char *path, const char *name, struct below *ret)
{
	const char *end = strpbrk(name, ":/");

	*ret = (struct below){0};
	if (strncmp(name, "json:", 5) == 0) {
		below_json(path, name + 5, ret);
		return;
	}
	if (strncmp(name, "file:", 5) == 0) {
		name += 5;
		end = NULL;
	}
	/* A colon may be part of a file's name */
	if (!stat_below(path, name, ret) && end && *end == ':')
		ret->unclear = !is_far(name, (size_t)(end - name));
}
