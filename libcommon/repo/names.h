/* Lists of names as store_object_list() gives them. */
#ifndef VMKIT_REPO_NAMES_H
#define VMKIT_REPO_NAMES_H

#include <stddef.h>
#include <stdlib.h>

static inline void names_free(char **names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(names[i]);
	free(names);
}

#endif
