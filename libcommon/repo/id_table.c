/* The set of pending blob ids: see id_table.h. */
#include "libcommon/repo/id_table.h"

#include <stdlib.h>
#include <string.h>

#include "libcommon/base/bytes.h"

static size_t home(const struct id_table *t, const struct repo_id *id)
{
	return (size_t)get_le64(id->bytes) & (t->cap - 1);
}

static size_t find(const struct id_table *t, const struct repo_id *id)
{
	size_t i = home(t, id);

	while (t->used[i] && memcmp(&t->slots[i], id, sizeof(*id)))
		i = (i + 1) & (t->cap - 1);
	return i;
}

static int grow(struct id_table *t, struct err *err)
{
	struct id_table n = {.cap = t->cap ? 2 * t->cap : 1024, .n = t->n};

	n.slots = malloc(n.cap * sizeof(*n.slots));
	n.used = calloc(n.cap, 1);
	if (!n.slots || !n.used) {
		free(n.slots);
		free(n.used);
		return err_nomem(err);
	}
	for (size_t i = 0; i < t->cap; i++)
		if (t->used[i]) {
			size_t to = find(&n, &t->slots[i]);

			n.slots[to] = t->slots[i];
			n.used[to] = 1;
		}
	free(t->slots);
	free(t->used);
	*t = n;
	return 0;
}

int id_table_add(struct id_table *t, const struct repo_id *id, struct err *err)
{
	size_t i;

	if (t->n * 2 >= t->cap && grow(t, err))
		return -1;
	i = find(t, id);
	if (t->used[i])
		return 0;
	t->used[i] = 1;
	t->slots[i] = *id;
	t->n++;
	return 1;
}

void id_table_remove(struct id_table *t, const struct repo_id *id)
{
	size_t hole, mask = t->cap - 1;

	if (!t->cap)
		return;
	hole = find(t, id);
	if (!t->used[hole])
		return;
	t->n--;
	/* Those behind the hole that would no longer be found move up. */
	for (size_t i = (hole + 1) & mask; t->used[i]; i = (i + 1) & mask) {
		size_t want = home(t, &t->slots[i]);

		if (((i - want) & mask) >= ((i - hole) & mask)) {
			t->slots[hole] = t->slots[i];
			hole = i;
		}
	}
	t->used[hole] = 0;
}

void id_table_free(struct id_table *t)
{
	free(t->slots);
	free(t->used);
	memset(t, 0, sizeof(*t));
}
