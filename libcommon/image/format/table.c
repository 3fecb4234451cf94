/* The table of formats: a new one is a file of its own and a line here. */
#include <string.h>
#include <strings.h>

#include "libcommon/image/format.h"

extern const struct image_format image_format_raw, image_format_qcow2;
extern const struct image_format image_format_vhd, image_format_vhdx;
extern const struct image_format image_format_vmdk;
extern const struct image_format image_format_vdi;
extern const struct image_format image_format_parallels, image_format_qed, image_format_qcow;
extern const struct image_format image_format_dmg;

const struct image_format *const image_formats[] = {
	&image_format_qcow2,
	&image_format_vmdk,
	&image_format_vhd,
	&image_format_vhdx,
	&image_format_vdi,
	&image_format_parallels,
	&image_format_qed,
	&image_format_qcow,
	&image_format_dmg,
	&image_format_raw,
	NULL,
};

/* Edits from @a to @b (Levenshtein), for names of at most 15 characters; long ones are far from all. */
static unsigned distance(const char *a, const char *b)
{
	enum { MOST = 15 };
	unsigned row[MOST + 1];
	size_t n = strlen(a), m = strlen(b);

	if (n > MOST || m > MOST)
		return MOST;
	for (unsigned j = 0; j <= m; j++)
		row[j] = j;
	for (unsigned i = 1; i <= n; i++) {
		unsigned diagonal = row[0];

		row[0] = i;
		for (unsigned j = 1; j <= m; j++) {
			unsigned best = diagonal + (a[i - 1] != b[j - 1]);

			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			diagonal = row[j];
			row[j] = best;
		}
	}
	return row[m];
}

int image_format_find(const struct image_format **ret, const char *name, struct err *err)
{
	const struct image_format *nearest = NULL;
	unsigned least = 4;

	for (const struct image_format *const *f = image_formats; *f; f++) {
		unsigned d = distance(name, (*f)->name);

		if (d == 0 || ((*f)->qemu_name && strcmp(name, (*f)->qemu_name) == 0)) {
			*ret = *f;
			return 0;
		}
		if (d < least) {
			least = d;
			nearest = *f;
		}
	}
	err_set(err, ERR_USAGE, "unknown format %s", name);
	if (nearest)
		err_hint(err, "did you mean %s?", nearest->name);
	return -1;
}

const char *image_format_header_name(const char *name)
{
	for (const struct image_format *const *f = image_formats; *f; f++)
		if ((*f)->qemu_name && strcmp(name, (*f)->name) == 0)
			return (*f)->qemu_name;
	return name;
}

const struct image_format *image_format_of_suffix(const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *dot = strrchr(slash ? slash : path, '.');

	if (!dot)
		return NULL;
	for (const struct image_format *const *f = image_formats; *f; f++)
		for (const char *const *s = (*f)->suffixes; s && *s; s++)
			if (strcasecmp(dot + 1, *s) == 0)
				return *f;
	return NULL;
}
