/* Random writing of a VHD, shared by write.c, resize.c and map.c.
 *
 * A new block goes behind the last one. The footer is some way ahead, durable there before a block takes the place where it
 * was, so that the file has one at its end at any moment; closing brings it back and cuts the file. The entries of the
 * BAT and the bits of bitmaps that changed stay in memory until a flush: data first, [durable] then bits and entries,
 * [durable]. A killed writer leaves space that nothing names, never an entry that leads to bytes nobody wrote.
 */
#ifndef VMKIT_FORMAT_VHD_WRITER_H
#define VMKIT_FORMAT_VHD_WRITER_H

#include <pthread.h>

#include "libcommon/image/format/vhd/vhd.h"

/** struct vhd_bits - the bitmap of a block with bits that are not in the file yet */
struct vhd_bits {
	uint32_t block;
	uint8_t *bits;
};

enum { VHD_PENDING_MOST = 64 };

struct vhd_writer {
	/* One at a time allocates and sets bits; held over I/O */
	pthread_mutex_t slow;
	/* The tables below: read by map and writes in place, changed by who holds @slow */
	pthread_rwlock_t lock;
	uint32_t *bat; /* all entries, host order */
	uint32_t bat_room;
	uint8_t *bat_dirty; /* a byte a sector of the BAT */
	struct vhd_bits pending[VHD_PENDING_MOST];
	unsigned n_pending;
	bool tables_dirty;
	uint64_t next;	 /* where tables and blocks end */
	uint64_t stale;	 /* up to here the file may hold something from before behind @next */
	bool ahead;	 /* the footer is not at @next, by our doing */
	bool data_dirty; /* atomic */
	bool failed;	 /* a flush failed: what is on the disk is not known */
};

/** vhd_pending_bits() - those of @block, or NULL; under the lock */
const struct vhd_bits *vhd_pending_bits(const struct vhd_writer *w, uint32_t block);

/** vhd_write_tables() - flush data, then pending tables; @slow is held */
int vhd_write_tables(struct image *img, struct err *err);

/** vhd_take() - [w->next, @end) for what @slow is held for: the footer is behind it, durable; w->next is @end */
int vhd_take(struct image *img, uint64_t end, struct err *err);

/** vhd_cut() - the footer at w->next, the file ends with it; what was written is flushed */
int vhd_cut(struct image *img, struct err *err);

/** vhd_find_end() - w->next anew, from tables and blocks */
void vhd_find_end(const struct vhd *v, struct vhd_writer *w);

#endif
