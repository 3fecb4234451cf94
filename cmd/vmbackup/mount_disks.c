/* The disks of a mounted repository that are open: see mount_disks.h. */
#include "cmd/vmbackup/mount_disks.h"

void mount_disks_init(struct mount_disks *d, struct repo *repo)
{
	*d = (struct mount_disks){.repo = repo};
	(void)pthread_mutex_init(&d->lock, NULL);
}

void mount_disks_close(struct mount_disks *d)
{
	for (size_t i = 0; i < MOUNT_DISKS; i++)
		image_close(d->slots[i].image);
	(void)pthread_mutex_destroy(&d->lock);
}

/* The one that is open; else a free one; else that of which nobody has read for the longest time. There are more slots
 * than threads, so one without users is always there. */
static struct mount_slot *find_slot(struct mount_disks *d, const struct mount_node *node)
{
	struct mount_slot *best = NULL;

	for (size_t i = 0; i < MOUNT_DISKS; i++) {
		struct mount_slot *s = &d->slots[i];

		if (s->node == node)
			return s;
		if (!s->users && (!best || s->last_use < best->last_use))
			best = s;
	}
	return best;
}

static int open_in(struct mount_disks *d, struct mount_slot *s, const struct mount_node *node,
		   struct err *err)
{
	image_close(s->image);
	*s = (struct mount_slot){0};
	/* No object is read for it, so the others need not wait long. */
	if (repo_open_disk(d->repo, node->snap, node->disk->name, &s->image, err) < 0)
		return -1;
	s->node = node;
	return 0;
}

int mount_disks_get(struct mount_disks *d, const struct mount_node *node, struct mount_slot **ret,
		    struct err *err)
{
	struct mount_slot *s;
	int rc = 0;

	(void)pthread_mutex_lock(&d->lock);
	s = find_slot(d, node);
	if (!s)
		rc = err_set(err, ERR_FAILED, "too many disks in use at once");
	else if (s->node != node)
		rc = open_in(d, s, node, err);
	if (rc == 0) {
		s->users++;
		s->last_use = ++d->uses;
		*ret = s;
	}
	(void)pthread_mutex_unlock(&d->lock);
	return rc;
}

void mount_disks_put(struct mount_disks *d, struct mount_slot *slot)
{
	(void)pthread_mutex_lock(&d->lock);
	slot->users--;
	(void)pthread_mutex_unlock(&d->lock);
}
