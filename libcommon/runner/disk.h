/* A guest's disk: a struct image, read-only or not, or an image under a layer that is thrown away.
 *
 * Threads: all but open and close may be called from many threads at once.
 */
#ifndef VMKIT_RUNNER_DISK_H
#define VMKIT_RUNNER_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libcommon/base/err.h"

struct disk;
struct image;

enum disk_mode { DISK_WRITE, DISK_READ_ONLY, DISK_EPHEMERAL };

/**
 * disk_open() - @img is borrowed and must outlive the disk
 *
 * DISK_EPHEMERAL: what the guest writes goes to a nameless sparse file in TMPDIR; @img is only read.
 * Return: 0 with *@ret owned (disk_close()), or -1
 */
int disk_open(struct disk **ret, struct image *img, enum disk_mode mode, struct err *err);
void disk_close(struct disk *d);

/**
 * disk_guard() - the image is raw because nothing else was seen in it: it has to stay so
 *
 * A guest that writes another format's header to its disk would choose how the file is read the next time, and a
 * backing file with it. Such writes are refused from now on (ERR_DENIED). Before the disk is used.
 */
void disk_guard(struct disk *d);

/** disk_size() - bytes, whole sectors of 512: what is behind the last one is not the guest's */
uint64_t disk_size(const struct disk *d);
bool disk_read_only(const struct disk *d);
const char *disk_name(const struct disk *d); /* borrowed */

/* All of [@off, @off + @len) inside of the disk, or ERR_USAGE; writes to a read-only disk are ERR_DENIED */
int disk_read(struct disk *d, void *buf, uint64_t off, size_t len, struct err *err);
int disk_write(struct disk *d, const void *buf, uint64_t off, size_t len, struct err *err);
int disk_zero(struct disk *d, uint64_t off, uint64_t len, bool may_unmap, struct err *err);
int disk_discard(struct disk *d, uint64_t off, uint64_t len, struct err *err);
int disk_flush(struct disk *d, struct err *err);

struct state;
struct state_out;
struct state_writer;

/** disk_image() - borrowed */
struct image *disk_image(const struct disk *d);
enum disk_mode disk_mode(const struct disk *d);

/* Saved machines (disk_saved.c), while nobody uses the disk. Of disks that are not ephemeral nothing is saved. */
int disk_save_layer(struct disk *d, unsigned index, struct state_writer *w, struct state_out *o,
		    struct err *err);
/** disk_load_layer() - what was saved of the layer lies below this one, which is new; @s is borrowed and must outlive it */
int disk_load_layer(struct disk *d, unsigned index, const struct state *s, struct err *err);

#endif
