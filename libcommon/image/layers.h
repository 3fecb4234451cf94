/* What the files of image core share: opening, trust, streams. Nobody outside libcommon/image/ includes it. */
#ifndef VMKIT_IMAGE_LAYERS_H
#define VMKIT_IMAGE_LAYERS_H

#include "libcommon/image/format.h"

/**
 * trust_open() - open a file that @img names (trust.c)
 * @ret_path: the resolved path, owned by the caller; for messages and as the base of the next layer
 */
int trust_open(const struct image *img, const struct image_open_opts *opts, const char *name,
	       bool writable, struct bfile **ret, char **ret_path, struct err *err);

/** trust_printable() - @name with control bytes replaced: it comes from a header; returns @buf */
char *trust_printable(const char *name, char *buf, size_t room);

/** same_file() - both are the same inode */
bool same_file(const struct bfile *a, const struct bfile *b);

/** image_note_file() - add to img->files what @f is now; Return: 0 or -1 (no memory) */
int image_note_file(struct image *img, const struct bfile *f, struct err *err);

/** stream_new() - a raw image that is read once, in order, from the pipe @fd (owned from now on)
 *  @peeked: its first bytes, read already; copied */
int stream_new(struct image **ret, int fd, const char *name, const void *peeked, size_t peeked_len,
	       struct err *err);
ssize_t stream_read(struct image *img, void *buf, size_t len, struct err *err);
void stream_free(struct image *img);

/** stream_spool() - copy the rest of a pipe to a nameless file in TMPDIR, holes kept */
int stream_spool(int fd, const char *name, const void *peeked, size_t peeked_len,
		 struct bfile **ret, struct err *err);

/** image_new() - a handle with name and flags */
int image_new(struct image **ret, const char *name, unsigned flags, struct err *err);

#endif
