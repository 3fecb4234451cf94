/* Where a file's bytes lie on its file system (FIEMAP). */
#ifndef VMKIT_REPO_FIEMAP_H
#define VMKIT_REPO_FIEMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libcommon/base/err.h"

struct place {
	uint64_t off, len; /* of the file */
	uint64_t at;	   /* on the device */
	bool unwritten;	   /* reads as zero */
	bool vague; /* the place says nothing of the bytes: compressed, inline, not allocated yet */
};

struct places {
	struct place *items; /* ascending; what lies between them are holes */
	size_t n;
};

/** places_read() - of the file, after it was synced; ERR_UNSUPPORTED also above a million pieces; @ret: places_free() */
int places_read(int fd, struct places *ret, struct err *err);
void places_free(struct places *p);

/** places_same() - from @off on, how many of @len bytes lie at the same place in both files, or, when none does, how
 *  many do not: *@ret_same. Return: at least 1 */
uint64_t places_same(const struct places *a, const struct places *b, uint64_t off, uint64_t len,
		     bool *ret_same);

#endif
