/* Nodes that were met before: folders that lead into themselves, and files with several names. */
#ifndef VMKIT_GUEST_SEEN_H
#define VMKIT_GUEST_SEEN_H

#include <stdint.h>

#include "libcommon/base/err.h"

struct seen {
	void *tree; /* zeroed: none */
};

/** seen_add() - remember node @id of @volume as @path (copied); *@ret_earlier: the path it was remembered by before
 *  (borrowed), or NULL: it is new */
int seen_add(struct seen *s, int volume, uint64_t id, const char *path, const char **ret_earlier,
	     struct err *err);
void seen_release(struct seen *s);

#endif
