/* Files that differ between two states of one disk: by name, volume by volume. */
#ifndef VMKIT_GUEST_COMPARE_H
#define VMKIT_GUEST_COMPARE_H

#include "libcommon/guest/guest.h"
#include "libcommon/image/changes.h"

enum guest_change {
	GUEST_ADDED,
	GUEST_REMOVED,
	GUEST_CONTENT,	  /* or its kind, or where a link leads */
	GUEST_ATTRIBUTES, /* permissions, owner, times alone; of folders not the time */
};

/** struct guest_difference - both nodes are filled; NULL: it is not there */
struct guest_difference {
	const char *
		path; /* "/etc/fstab"; "VOLUME:/etc/fstab" where the disks have several file systems */
	enum guest_change what;
	const struct fs_node *a, *b;
};

struct guest_compare {
	int (*tell)(void *ctx, const struct guest_difference *d, struct err *err);
	/* @volume has changed, and is of a kind that is not read; @type as blkid says */
	int (*unread)(void *ctx, const char *volume, const char *type, struct err *err);
	/* @volume was in use: what its journal holds is not seen */
	void (*unclean)(void *ctx, const char *volume);
	void *ctx;
};

/**
 * guest_compare() - volumes are the same by their number or, logical ones, by their name
 * @changed: ranges of the disks outside of which they are the same; files are read only where they lie in them
 *
 * Paths come in the order of their bytes, folder by folder; a folder that is new or gone with all below it.
 */
int guest_compare(struct guest *a, struct guest *b, const struct changes *changed,
		  const struct guest_compare *how, struct err *err);

#endif
