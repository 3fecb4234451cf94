/* OVF and OVA packages: machines with their disks, in a folder or in one tar file.
 *
 * Disks inside are struct images, read where they lie: nothing is unpacked, but for gzip-compressed ones, which go
 * through a nameless file in TMPDIR. Once package_register() was called image_open() takes "x.ova", "x.ovf" (of one
 * disk) and "ova:x.ova#DISK" (by id, file name, or number from 1), and any name with the format "ova".
 *
 * Calls down: image/ and base/. image/ knows nothing of packages.
 */
#ifndef VMKIT_PACKAGE_PACKAGE_H
#define VMKIT_PACKAGE_PACKAGE_H

#include <jansson.h>

#include "libcommon/image/image.h"
#include "libcommon/package/ovf.h"

struct package;

/** package_register() - make image_open() know packages; at start, before there are threads */
void package_register(void);

/** package_named() - would image_open() take @name for a package, and not for a disk in one? @format: NULL: by suffix */
bool package_named(const char *name, const char *format);

/** package_path() - @name without "ova:"; borrowed */
const char *package_path(const char *name);

/**
 * package_open() - read the index and the descriptor, no disk
 * @name: a path; "-": standard input, which is spooled when it is a pipe
 * @flags: IMAGE_SHARED, IMAGE_NO_LOCK
 * Return: 0 or -1 (ERR_CORRUPT, ERR_UNSUPPORTED, ERR_DENIED: a file outside of the package)
 */
int package_open(struct package **ret, const char *name, unsigned flags, struct err *err);
void package_close(struct package *p);

/** package_ovf() - the descriptor; borrowed */
const struct ovf *package_ovf(const struct package *p);
bool package_is_ova(const struct package *p);

/** package_find_disk() - by id, file name or number from 1; @name NULL: the only one; ERR_NOT_FOUND, ERR_USAGE */
int package_find_disk(const struct package *p, const char *name, size_t *ret_index,
		      struct err *err);

/** package_open_disk() - *@ret lives on when the package is closed; @opts may be NULL */
int package_open_disk(struct package *p, size_t index, const struct image_open_opts *opts,
		      struct image **ret, struct err *err);

/** package_info() - what `vmimg info --json` prints; *@ret is owned */
int package_info(struct package *p, json_t **ret, struct err *err);

/**
 * package_check() - order of members, names, sizes, every digest of the manifest, the certificate's signature
 * @deep: check each disk too, decompressing it
 * @report: one sentence a fault
 * Return: 0 with the number of faults, or -1: could not check
 */
int package_check(struct package *p, bool deep, void (*report)(void *ctx, const char *sentence),
		  void *ctx, uint64_t *ret_faults, struct err *err);

#endif
