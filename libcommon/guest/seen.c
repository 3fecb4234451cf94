/* Nodes that were met before: see seen.h. */
#include "libcommon/guest/seen.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

struct met {
	int volume;
	uint64_t id;
	char path[];
};

static int compare(const void *a, const void *b)
{
	const struct met *x = a, *y = b;

	if (x->volume != y->volume)
		return x->volume < y->volume ? -1 : 1;
	return x->id < y->id ? -1 : x->id > y->id;
}

int seen_add(struct seen *s, int volume, uint64_t id, const char *path, const char **ret_earlier,
	     struct err *err)
{
	size_t len = strlen(path) + 1;
	struct met *m = malloc(sizeof(*m) + len);
	struct met *const *found;

	if (!m)
		return err_nomem(err);
	m->volume = volume;
	m->id = id;
	memcpy(m->path, path, len);
	found = tsearch(m, &s->tree, compare);
	if (found && *found == m) {
		*ret_earlier = NULL;
		return 0;
	}
	free(m);
	if (!found)
		return err_nomem(err);
	*ret_earlier = (*found)->path;
	return 0;
}

void seen_release(struct seen *s)
{
	tdestroy(s->tree, free);
	s->tree = NULL;
}
