/* What disk.c and disk_saved.c share. */
#ifndef VMKIT_RUNNER_DISK_PRIVATE_H
#define VMKIT_RUNNER_DISK_PRIVATE_H

#include <pthread.h>

#include "libcommon/runner/disk.h"

enum { DISK_BLOCK = 4096 };

/** struct disk_run - blocks [first, first + count) of the disk lie at @place of a saved machine's file */
struct disk_run {
	uint64_t first, count, place;
};

struct disk {
	struct image *img;
	enum disk_mode mode;
	uint64_t size;
	/* DISK_EPHEMERAL: the lock is held for writing while bits or blocks change */
	pthread_rwlock_t lock;
	int fd;
	uint64_t *ours; /* bitmap */
	/* Between the layer and the image: the layer of the machine that this one was restored from; never changed */
	struct {
		int fd; /* borrowed */
		struct disk_run *run;
		size_t n; /* 0: there is none */
	} saved;
	/* disk_guard(): the lock orders writes to the places where formats are told by */
	bool guarded;
	pthread_mutex_t guard_lock;
};

/* Of an ephemeral disk, with the lock held */
bool disk_is_ours(const struct disk *d, uint64_t block);
int disk_read_layered(const struct disk *d, uint8_t *buf, uint64_t off, size_t len,
		      struct err *err);

/** disk_read_below() - what lies below the layer */
int disk_read_below(const struct disk *d, uint8_t *buf, uint64_t off, size_t len, struct err *err);

#endif
