/* Tar archives as packages use them: where each member lies, found through libarchive without unpacking. */
#ifndef VMKIT_PACKAGE_OVA_READ_H
#define VMKIT_PACKAGE_OVA_READ_H

#include "libcommon/image/protocol.h"

struct ova_member {
	char *name;	    /* owned; as the archive has it, a leading "./" taken off */
	uint64_t off, size; /* of its bytes in the archive */
};

#define OVA_MEMBERS_MAX 4096U
#define OVA_NAME_MAX	1024U

/**
 * ova_index() - the members of @file in their order
 *
 * Only regular files, each name once, whole inside the file: ERR_CORRUPT; sparse members, links and folders are
 * ERR_UNSUPPORTED. *@ret is owned: ova_index_free().
 */
int ova_index(struct bfile *file, struct ova_member **ret, size_t *ret_n, struct err *err);
void ova_index_free(struct ova_member *members, size_t n);

/**
 * ova_gunzip() - decode gzip from @in into a nameless file
 * @limit: bytes; more is ERR_CORRUPT: the descriptor says how large the disk can be
 */
int ova_gunzip(struct bfile *in, uint64_t limit, struct bfile **ret, struct err *err);

#endif
