/* Random writing of a VHDX, shared by write.c, log_write.c, resize.c and map.c.
 *
 * Bytes of the disk go to their place at once, new blocks to the end of the file. Sectors of 4 KiB of tables (entries of
 * the BAT, bits of bitmaps, metadata) that changed stay in memory until a flush, which is one transaction: data durable;
 * all the sectors as one entry of the log, durable; in their places, durable. So what a crash leaves is the tables
 * before the flush or, with the log replayed, those after it. The header names the log from the first entry on until
 * settle() or close().
 */
#ifndef VMKIT_FORMAT_VHDX_WRITER_H
#define VMKIT_FORMAT_VHDX_WRITER_H

#include <pthread.h>

#include "libcommon/image/format/vhdx/vhdx.h"

enum {
	/* of one log entry: one sector of descriptors has room for 126, and half a MiB for the entry with a rest */
	VHDX_PENDING_MOST = 120,
	/* that one step of a write may change: bits of a block of 256 MiB, entries of the block and its bitmap */
	VHDX_STEP_MOST = 20,
};

struct vhdx_sector {
	uint64_t off; /* in the file */
	uint8_t *bytes;
};

struct vhdx_writer {
	pthread_mutex_t slow; /* one at a time allocates, sets bits, flushes; held over I/O */
	/* What follows: read by map, changed by who holds @slow as well */
	pthread_rwlock_t lock;
	struct bfile over; /* the file with @pending over it; reads are under one of the locks */
	struct vhdx_sector pending[VHDX_PENDING_MOST];
	unsigned n;
	/* ---- under @slow */
	bool begun; /* the header has new GUIDs; read without it as well */
	bool ready; /* it has one of the file at least, and @end is known */
	bool failed;
	uint64_t end;	  /* where the next block goes: a multiple of 1 MiB, nothing is behind it */
	uint32_t log_pos; /* begin or middle of the log */
	uint64_t log_sequence;
};

int vhdx_open_writer(struct image *img, struct err *err);
void vhdx_close_writer(struct image *img);

/* log_write.c; all: @slow is held */
/** vhdx_begin_tables() - before the first byte is changed that the disk does not show */
int vhdx_begin_tables(struct image *img, struct err *err);
/** vhdx_begin_change() - before the first byte is changed that it does */
int vhdx_begin_change(struct image *img, struct err *err);
/** vhdx_patch() - bytes of a table, seen at once, in the file with the next commit; @cache: of that table, or NULL */
int vhdx_patch(struct image *img, struct table_cache *cache, uint64_t off, const void *bytes,
	       size_t len, struct err *err);
/** vhdx_reserve() - the next VHDX_STEP_MOST sectors patched will be in one transaction */
int vhdx_reserve(struct image *img, struct err *err);
/** vhdx_commit() - data and tables are durable */
int vhdx_commit(struct image *img, struct err *err);
/** vhdx_release_log() - after a commit: the header names no log any more */
int vhdx_release_log(struct image *img, struct err *err);
/** vhdx_find_end() - w->end from the tables; ERR_CORRUPT when two blocks share a place */
int vhdx_find_end(struct image *img, struct err *err);
/** vhdx_make_place() - @len bytes at the end of the file that read as zero; a multiple of 1 MiB */
int vhdx_make_place(struct image *img, uint64_t len, uint64_t *ret, struct err *err);

/* write.c, resize.c: struct image_format's */
int vhdx_write(struct image *img, const void *buf, uint64_t off, size_t len, struct err *err);
int vhdx_write_zeroes(struct image *img, uint64_t off, uint64_t len, bool may_unmap,
		      struct err *err);
int vhdx_discard(struct image *img, uint64_t off, uint64_t len, struct err *err);
int vhdx_flush(struct image *img, struct err *err);
int vhdx_settle(struct image *img, struct err *err);
int vhdx_resize(struct image *img, uint64_t size, struct err *err);

#endif
