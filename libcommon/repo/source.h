/* The files that a disk is read from, and whether they are as the last backup saw them. */
#ifndef VMKIT_REPO_SOURCE_H
#define VMKIT_REPO_SOURCE_H

#include <stdbool.h>

#include "libcommon/image/image.h"
#include "libcommon/repo/repo.h"

/**
 * source_files() - every file of the image's chain, as it is now
 * Return: true with an owned list (source_files_free()); false when they cannot be trusted to tell of a change:
 * a device, a stream, a layer whose files are not all known, an image that others may be writing to.
 */
bool source_files(struct image *img, struct snapshot_file **ret, size_t *ret_n);
void source_files_free(struct snapshot_file *files, size_t n);

/** source_stat() - the numbers of a plain file, no symbolic link followed; false: it is none. @ret->path is left */
bool source_stat(const char *path, struct snapshot_file *ret);

/** source_same_files() - the same files, sizes and times */
bool source_same_files(const struct snapshot_file *a, size_t na, const struct snapshot_file *b,
		       size_t nb);

/**
 * source_unchanged() - has @now's disk the content that @then has?
 * @began: seconds; when the backup that wrote @then began. A file changed within 2 s before it, or later, may have
 * changed again with the same time stamp.
 */
bool source_unchanged(const struct snapshot_disk *then, int64_t began,
		      const struct snapshot_file *now, size_t n_now, uint64_t size,
		      const char *format);

/** source_kind() - what the disk is read from, as struct snapshot_disk says; static */
const char *source_kind(struct image *img);

/** source_consistency() - what locks and kind tell of it, one of snapshot_consistencies; static */
const char *source_consistency(struct image *img);

#endif
