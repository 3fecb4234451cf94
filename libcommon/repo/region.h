/* One region of 16 MiB of a disk: read, chunked, hashed, stored; the page that describes it. For backup.c alone. */
#ifndef VMKIT_REPO_REGION_H
#define VMKIT_REPO_REGION_H

#include <pthread.h>
#include <stdatomic.h>

#include "libcommon/base/progress.h"
#include "libcommon/image/changes.h"
#include "libcommon/repo/chunker.h"
#include "libcommon/repo/pace.h"
#include "libcommon/repo/page.h"
#include "libcommon/repo/tree.h"

/** struct scan - one disk while it is read; shared by the workers, which raise the counters */
struct scan {
	struct store *st;
	struct store_writer *writer; /* NULL: dry run, nothing is stored */
	struct image *image;
	uint64_t size; /* of the disk */
	struct chunker chunker;
	struct progress *progress;
	struct tree_builder *builder;
	const struct tree *parent; /* NULL: none */
	struct page_cache *cache;  /* of the parent's pages, or of @like's */
	const struct tree *like;   /* deltas are made anew as this tree has them; NULL: none */
	bool look_up;	   /* the parent is only good for bases of deltas: all else is looked up */
	bool trust_parent; /* nothing in the repository is known to be damaged: what the parent holds at
				      the same place is there, without a look into the index */
	const struct changes
		*changes; /* since the parent; NULL: unknown, everything is read. Only with
					  @trust_parent, and @data_bytes begins as the parent's */
	int level;	  /* zstd, of deltas */
	struct pace pace; /* of reading */
	_Atomic uint64_t data_bytes, read_bytes, new_bytes, chunks, new_chunks;
};

/** struct scan_worker - buffers of one thread, about 1.5 MiB */
struct scan_worker {
	uint8_t *buf; /* SCAN_BUF bytes */
	struct page_chunk *chunks;
	size_t n_chunks;
	uint8_t *page;
	struct delta_maker *delta; /* when the first is made */
};
enum { SCAN_READ = 1 << 20, SCAN_BUF = SCAN_READ + CHUNK_MAX };

int scan_worker_init(struct scan_worker *w, struct err *err);
void scan_worker_free(struct scan_worker *w);

/** scan_region() - region @region of @s->image: the leaf goes to @s->builder; any thread, each with its own @w */
int scan_region(struct scan *s, struct scan_worker *w, unsigned worker, uint64_t region,
		struct err *err);

/** scan_bytes() - the same for a region whose @len bytes lie in memory; *@ret_leaf is none when all are zero */
int scan_bytes(struct scan *s, struct scan_worker *w, unsigned worker, const uint8_t *data,
	       size_t len, struct repo_id *ret_leaf, struct err *err);

/** scan_put_page() - @ctx is a struct scan: stores a page with worker 0; for tree_builder_finish() */
int scan_put_page(void *ctx, const uint8_t *data, size_t len, struct repo_id *ret, struct err *err);

#endif
