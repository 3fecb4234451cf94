/* A set of ids: what was seen, what is bad. One thread at a time. */
#ifndef VMKIT_REPO_ID_SET_H
#define VMKIT_REPO_ID_SET_H

#include <stdbool.h>
#include <stddef.h>

#include "libcommon/repo/repo.h"

struct id_set {
	struct repo_id *slots; /* open addressing; the all-zero id is "free" and is never added */
	size_t n, room;
};

/** id_set_add() - Return: 1 when it was added, 0 when it was there, -1 without memory */
int id_set_add(struct id_set *s, const struct repo_id *id, struct err *err);
bool id_set_has(const struct id_set *s, const struct repo_id *id);
void id_set_clear(struct id_set *s);

#endif
