/* The names of `vmbackup mount`: MACHINE/ID/DISK.raw and MACHINE/latest, made once and never changed after. */
#ifndef VMKIT_CMD_VMBACKUP_MOUNT_TREE_H
#define VMKIT_CMD_VMBACKUP_MOUNT_TREE_H

#include <sys/types.h>
#include <time.h>

#include "libcommon/repo/repo.h"

struct mount_node {
	char *name;
	mode_t mode; /* S_IFDIR, S_IFLNK or S_IFREG, and permissions */
	uint32_t parent;
	uint32_t first, n; /* of a folder: its entries, by name */
	time_t mtime;	   /* the snapshot's; of a folder above: the newest one's */
	uint64_t size, data_bytes;
	const char *target; /* of a link; borrowed from the node it leads to */
	const struct snapshot *snap;
	const struct snapshot_disk *disk; /* of a file */
};

struct mount_tree {
	struct mount_node
		*nodes; /* 0 is the root; an entry's number is all that the kernel knows of it */
	uint32_t n;
	struct snapshot *list; /* what nodes borrow from */
	size_t n_list;
};

/**
 * mount_tree_make() - look at the repository once
 * @spec: a machine (all its snapshots), or NAME@WHEN[:DISK]; NULL: everything
 * Return: 0, or -1: ERR_NOT_FOUND, ERR_USAGE. @ret is owned: mount_tree_free(), on success only
 */
int mount_tree_make(struct mount_tree *ret, struct repo *repo, const char *spec, struct err *err);
void mount_tree_free(struct mount_tree *t);

/** mount_tree_find() - an entry of the folder @dir; NULL when there is none */
const struct mount_node *mount_tree_find(const struct mount_tree *t, const struct mount_node *dir,
					 const char *name);

#endif
