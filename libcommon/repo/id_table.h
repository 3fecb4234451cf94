/* A set of blob ids with removal, for blobs on their way into an index run. Not locked. */
#ifndef VMKIT_REPO_ID_TABLE_H
#define VMKIT_REPO_ID_TABLE_H

#include "libcommon/repo/repo.h"

struct id_table {
	struct repo_id *slots; /* open addressing, linear probing */
	uint8_t *used;
	size_t n, cap;
};

/** id_table_add() - Return: 1 when it was not there, 0 when it was, -1 */
int id_table_add(struct id_table *t, const struct repo_id *id, struct err *err);
void id_table_remove(struct id_table *t, const struct repo_id *id);
void id_table_free(struct id_table *t);

#endif
