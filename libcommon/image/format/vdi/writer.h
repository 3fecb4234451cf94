/* What writes to a VDI in place: the map in memory, and how it gets to the file. For this folder alone. */
#ifndef VMKIT_FORMAT_VDI_WRITER_H
#define VMKIT_FORMAT_VDI_WRITER_H

#include <pthread.h>

#include "libcommon/image/format/vdi/vdi.h"

enum { VDI_MAP_PAGE = 4096, VDI_MAP_MOST = 64 << 20 };

struct vdi_writer {
	/* Guards all below. But for vdi_resize(), mappings of blocks never change once made, so a host offset outlives
	 * the lock */
	pthread_rwlock_t lock;
	uint8_t *map;	/* as in the file; whole pages */
	uint8_t *dirty; /* a byte a page of it */
	size_t pages;
	uint32_t next; /* index of the next block */
	bool changed;  /* the modification UUID is new */
	bool unsaved;  /* some page is dirty */
	bool failed; /* a resize: the map here is not the file's, nothing may be written any more */
};

/* All with the lock held for writing */
uint32_t vdi_entry_at(const struct vdi_writer *w, uint32_t block);
void vdi_set_entry(struct vdi_writer *w, uint32_t block, uint32_t entry);
/** vdi_begin_change() - before anything else is written */
int vdi_begin_change(struct image *img, struct err *err);
/** vdi_make_place() - the block's place at @host, at the end of the file, reads as zero afterwards */
int vdi_make_place(struct image *img, uint64_t host, struct err *err);
/** vdi_save_map() - the count of blocks, durable with all data; then what has changed of the map, which is not durable yet */
int vdi_save_map(struct image *img, struct err *err);

#endif
