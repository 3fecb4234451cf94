/* Collection: removing packs. Which blobs are needed the caller says, who knows snapshots and trees. For prune.c.
 *
 *	1  what an earlier collection condemned and nobody can need any more is swept
 *	2  all that is needed is marked; packs with too much that is not are chosen; what is needed of them is stored anew
 *	3  they are condemned: epochs/N (store_epoch.c)
 *	4  when no session below N lives: snapshots that came since are marked too, packs that these need are let off, and the
 *	   rest goes: first out of the index, then the packs
 *
 * Killed anywhere, nothing that is needed is gone: what was stored anew is there twice, what was condemned waits for the
 * next collection.
 */
#ifndef VMKIT_REPO_COLLECT_H
#define VMKIT_REPO_COLLECT_H

#include "libcommon/repo/id_set.h"
#include "libcommon/repo/store.h"

struct collect_ops {
	/* Mark what snapshots need that were not looked at before; @blobs: how many the index knows */
	int (*mark)(void *ctx, uint64_t blobs, struct err *err);
	/* Is it needed? May say yes in error, never no. Any thread, while mark and confirm do not run */
	bool (*live)(void *ctx, const struct repo_id *id);
	/* Find out which of @suspects are needed in truth; live() is exact for them from then on */
	int (*confirm)(void *ctx, const struct id_set *suspects, struct err *err);
};

struct collect_opts {
	const struct collect_ops *ops;
	void *ctx;
	unsigned max_unused, threads;
	uint64_t wait_ms;
	bool dry_run;
	struct progress *progress;
};

/** store_can_collect() - ERR_UNSUPPORTED where nobody knows who uses the repository */
int store_can_collect(struct store *st, struct err *err);

int store_collect(struct store *st, const struct collect_opts *o, struct prune_result *ret,
		  struct err *err);

#endif
