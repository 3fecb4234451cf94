/* Headers of tar archives for OVAs: ustar, and GNU's base-256 sizes above 8 GiB. No pax: vSphere refuses it. */
#ifndef VMKIT_PACKAGE_TAR_H
#define VMKIT_PACKAGE_TAR_H

#include <stdbool.h>
#include <stdint.h>

#include "libcommon/base/err.h"

#define TAR_BLOCK     512U
#define TAR_NAME_MAX  100U
#define TAR_OCTAL_MAX 077777777777ULL /* 8 GiB - 1 */
#define TAR_RECORD    10240U	      /* archives end at a multiple of it */

/**
 * tar_header() - of a plain file, mode 0644, owner 0
 * @name: at most TAR_NAME_MAX bytes: ERR_USAGE
 * @mtime: seconds since 1970
 */
int tar_header(uint8_t ret[TAR_BLOCK], const char *name, uint64_t size, uint64_t mtime,
	       struct err *err);

#endif
