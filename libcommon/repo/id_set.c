/* A set of ids: see id_set.h. Ids are digests, so their first bytes are the hash. */
#include "libcommon/repo/id_set.h"

#include <stdlib.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/repo/page.h"

static struct repo_id *find(const struct id_set *s, const struct repo_id *id)
{
	size_t i = (size_t)get_le64(id->bytes) & (s->room - 1);

	while (!id_is_none(&s->slots[i]) && memcmp(&s->slots[i], id, sizeof(*id)) != 0)
		i = (i + 1) & (s->room - 1);
	return &s->slots[i];
}

static int grow(struct id_set *s, struct err *err)
{
	struct id_set more = {.room = s->room ? 2 * s->room : 64};

	more.slots = calloc(more.room, sizeof(*more.slots));
	if (!more.slots)
		return err_nomem(err);
	for (size_t i = 0; i < s->room; i++)
		if (!id_is_none(&s->slots[i]))
			*find(&more, &s->slots[i]) = s->slots[i];
	free(s->slots);
	s->slots = more.slots;
	s->room = more.room;
	return 0;
}

int id_set_add(struct id_set *s, const struct repo_id *id, struct err *err)
{
	if (s->n >= s->room / 2 && grow(s, err) < 0)
		return -1;

	struct repo_id *slot = find(s, id);

	if (!id_is_none(slot))
		return 0;
	*slot = *id;
	s->n++;
	return 1;
}

bool id_set_has(const struct id_set *s, const struct repo_id *id)
{
	return s->room && !id_is_none(id) && !id_is_none(find(s, id));
}

void id_set_clear(struct id_set *s)
{
	free(s->slots);
	memset(s, 0, sizeof(*s));
}
