/* Random writes: the driver's functions. */
#ifndef VMKIT_FORMAT_VMDK_WRITE_H
#define VMKIT_FORMAT_VMDK_WRITE_H

#include "libcommon/image/format/vmdk/vmdk.h"

/** vmdk_writer_open() - for IMAGE_RDWR; ERR_UNSUPPORTED for extents that can only be read */
int vmdk_writer_open(struct image *img, struct err *err);
void vmdk_writer_close(struct image *img);

/* For resize.c: the first change, as it is told to children and marked; where the next grain of an extent goes */
int vmdk_begin_change(struct image *img, struct err *err);
uint64_t vmdk_extent_end(const struct vmdk *v, size_t i);
void vmdk_set_extent_end(struct vmdk *v, size_t i, uint64_t end);
/** vmdk_forget_grain() - its table names it no more */
int vmdk_forget_grain(struct vmdk_extent *x, uint64_t no, struct err *err);
/** vmdk_put_descriptor() - @text for the old one of @old bytes, durable */
int vmdk_put_descriptor(struct image *img, const char *text, size_t old, struct err *err);
/** vmdk_find_cid() - after a change of the descriptor: where the writer changes it */
int vmdk_find_cid(struct image *img, struct err *err);
int vmdk_resize(struct image *img, uint64_t size, struct err *err);

int vmdk_write(struct image *img, const void *buf, uint64_t off, size_t len, struct err *err);
int vmdk_write_zeroes(struct image *img, uint64_t off, uint64_t len, bool may_unmap,
		      struct err *err);
int vmdk_flush(struct image *img, struct err *err);
int vmdk_settle(struct image *img, struct err *err);

/* adopt.c */
int vmdk_adopt(struct image *img, const struct image *base, const char *name, struct err *err);

#endif
