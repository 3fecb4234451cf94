/* Disks of all other machines of the host: what they lean on stays. */
#include <stdlib.h>
#include <string.h>

#include "cmd/vmsnap/domain.h"

static int add(void *ctx, const char *domain, const char *file, struct err *err)
{
	struct disk_set *t = ctx;
	struct snap_known *more = reallocarray(t->known, t->n_known + 1, sizeof(*more));

	if (!more)
		return err_nomem(err);
	t->known = more;
	more[t->n_known] = (struct snap_known){.path = strdup(file), .owner = strdup(domain)};
	if (more[t->n_known].path && more[t->n_known].owner) {
		t->n_known++;
		return 0;
	}
	free(more[t->n_known].path);
	free(more[t->n_known].owner);
	return err_nomem(err);
}

int known_find(struct disk_set *t, struct err *err)
{
	return t->domain ? host_files(t->host, domain_uuid(t->domain), add, t, err) : 0;
}

void known_free(struct disk_set *t)
{
	for (size_t i = 0; i < t->n_known; i++) {
		free(t->known[i].path);
		free(t->known[i].owner);
	}
	free(t->known);
}

int snaps_open(struct disk_set *t, struct snap_disk ***ret, struct err *err)
{
	if (snap_set_open(ret, t->paths, t->n, err) < 0)
		return -1;
	for (size_t i = 0; i < t->n; i++)
		snap_know((*ret)[i], t->known, t->n_known);
	return 0;
}

int one_snap(struct one *o, struct snap_disk **ret, struct err *err)
{
	if (snap_open(ret, one_path(o), true, err) < 0)
		return -1;
	snap_know(*ret, o->set.known, o->set.n_known);
	return 0;
}
