/* The table of backends, and the names of objects. */
#include "libcommon/repo/backend.h"

#include <string.h>

static const struct {
	const char *scheme;
	int (*open)(struct backend **ret, const char *name, struct err *err);
	int (*init)(const char *name, struct err *err);
} backends[] = {
	{"s3:", backend_s3_open, backend_s3_init},
	{"dir:", backend_dir_open, backend_dir_init},
	{"", backend_dir_open, backend_dir_init}, /* what names no scheme is a folder */
};

static size_t find(const char *url, const char **ret_name, struct err *err)
{
	size_t i = 0;

	while (strncmp(url, backends[i].scheme, strlen(backends[i].scheme)) != 0)
		i++;
	*ret_name = url + strlen(backends[i].scheme);
	if (!**ret_name)
		err_set(err, ERR_USAGE, "the repository has no name");
	return i;
}

int backend_open_url(struct backend **ret, const char *url, struct err *err)
{
	const char *name;
	size_t i = find(url, &name, err);

	return *name ? backends[i].open(ret, name, err) : -1;
}

int backend_init_url(const char *url, struct err *err)
{
	const char *name;
	size_t i = find(url, &name, err);

	return *name ? backends[i].init(name, err) : -1;
}

static bool part_valid(const char *p, size_t len)
{
	if (!len || len > 100 || *p == '.')
		return false;
	for (size_t i = 0; i < len; i++)
		if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-",
			    p[i]))
			return false;
	return true;
}

bool backend_name_valid(const char *name)
{
	if (strlen(name) >= BACKEND_NAME_MAX)
		return false;
	for (int parts = 0; parts < 3; parts++) {
		size_t len = strcspn(name, "/");

		if (!part_valid(name, len))
			return false;
		if (!name[len])
			return true;
		name += len + 1;
	}
	return false;
}
