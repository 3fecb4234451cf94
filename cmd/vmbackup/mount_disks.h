/* The disks of `vmbackup mount` that are open: each on its first use, and so many at most. Any thread. */
#ifndef VMKIT_CMD_VMBACKUP_MOUNT_DISKS_H
#define VMKIT_CMD_VMBACKUP_MOUNT_DISKS_H

#include <pthread.h>

#include "cmd/vmbackup/mount_tree.h"

enum { MOUNT_THREADS = 8, MOUNT_DISKS = 2 * MOUNT_THREADS };

struct mount_disks {
	struct repo *repo;    /* borrowed */
	pthread_mutex_t lock; /* guards what follows */
	uint64_t uses;
	struct mount_slot {
		const struct mount_node *node; /* NULL: free */
		struct image *image;
		unsigned users;
		uint64_t last_use;
	} slots[MOUNT_DISKS];
};

void mount_disks_init(struct mount_disks *d, struct repo *repo);
void mount_disks_close(struct mount_disks *d);

/** mount_disks_get() - the image of a file, opened when it is not; never more than one a thread at once.
 *  *@ret is borrowed until mount_disks_put() */
int mount_disks_get(struct mount_disks *d, const struct mount_node *node, struct mount_slot **ret,
		    struct err *err);
void mount_disks_put(struct mount_disks *d, struct mount_slot *slot);

#endif
