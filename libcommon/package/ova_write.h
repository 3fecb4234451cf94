/* Writing OVAs: the descriptor, then the disks as streamOptimized VMDKs, then the manifest, in one pass over the disks. */
#ifndef VMKIT_PACKAGE_OVA_WRITE_H
#define VMKIT_PACKAGE_OVA_WRITE_H

#include "libcommon/base/progress.h"
#include "libcommon/image/image.h"
#include "libcommon/package/machine.h"

struct ova_write_opts {
	unsigned threads; /* 0: all that this process may use */
	bool force;	  /* replace an existing file */
	bool no_sync;
	bool verify; /* read the disks back and compare, before the file gets its name */
	int level;   /* of the compression; 0: default */
	uint64_t rate_limit;
	struct progress *progress;
};

struct ova_write_stats {
	uint64_t virtual_size; /* of all disks */
	uint64_t data_bytes, read_bytes;
	uint64_t file_size, target_bytes; /* 0 for standard output */
};

/**
 * ova_write() - a package of one machine
 * @m: name, cpus and memory must be set
 * @disks: raw streams too; in the order of the machine's buses
 * @target: a path, or "-": then the archive is built in a nameless file in TMPDIR, since sizes stand before data
 *
 * The same machine and content give the same bytes, to a file or a pipe; times are SOURCE_DATE_EPOCH, or 0.
 */
int ova_write(const struct machine *m, struct image *const *disks, size_t n, const char *target,
	      const struct ova_write_opts *opts, struct ova_write_stats *ret, struct err *err);

#endif
