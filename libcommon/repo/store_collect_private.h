/* What the files of the collector share: store_collect*.c only. */
#ifndef VMKIT_REPO_STORE_COLLECT_PRIVATE_H
#define VMKIT_REPO_STORE_COLLECT_PRIVATE_H

#include "libcommon/repo/collect.h"
#include "libcommon/repo/store_private.h"

/* One pack; bytes are plain ones, as the index knows them. */
struct pack_use {
	uint8_t id[PACK_ID];
	uint64_t live, dead, size;
	bool gone; /* the index names it, and it is not there */
	bool bad;  /* some of it is damaged */
	bool lost; /* and some of that is needed, and nowhere else */
	bool go;   /* one worker a pack clears it */
};

struct collection {
	struct store *st;
	const struct collect_opts *o;
	struct prune_result *res;
	struct pack_use *packs; /* by id */
	size_t n, cap;
	struct id_set suspects;
	struct store_writer *writer; /* while packs are emptied */
	uint8_t **bufs;		     /* BLOB_MAX, one a worker */
	struct pack_use **chosen;
	size_t n_chosen, left_out; /* left_out: there is no room to rewrite them now */
	bool no_rewriting;	   /* there is no room for it, whatever the file system says */
};

/* store_collect_choose.c */
/** collect_list() - the packs that are there, and those that should be */
int collect_list(struct collection *c, struct err *err);
struct pack_use *collect_find(const struct collection *c, const uint8_t id[PACK_ID]);
bool collect_live(const struct collection *c, const struct repo_id *id);
uint64_t collect_blobs(const struct store *st);

typedef int collect_entry_fn(struct collection *c, const struct index_entry *e, struct err *err);
/** collect_each() - all that the index knows. @begin (may be NULL): what is counted starts anew when a damaged run is
 *  replaced by its packs' tables */
int collect_each(struct collection *c, void (*begin)(struct collection *c), collect_entry_fn *fn,
		 struct err *err);
/** collect_confirm() - the truth about the suspects */
int collect_confirm(struct collection *c, struct err *err);
/** collect_choose() - which packs should go: .chosen, by id; of those that there is room to rewrite. The others are .left_out */
int collect_choose(struct collection *c, struct err *err);
/** collect_estimate() - for a dry run */
void collect_estimate(struct collection *c);

#endif
