/* Headers of tar archives: see tar.h. */
#include "libcommon/package/tar.h"

#include <stdio.h>
#include <string.h>

enum {
	AT_MODE = 100,
	AT_UID = 108,
	AT_GID = 116,
	AT_SIZE = 124,
	AT_MTIME = 136,
	AT_SUM = 148,
	AT_TYPE = 156,
	AT_MAGIC = 257,
};

/* @digits octal digits and a NUL. */
static void octal(uint8_t *at, unsigned digits, uint64_t v)
{
	at[digits] = '\0';
	while (digits--) {
		at[digits] = (uint8_t)('0' + (v & 7));
		v >>= 3;
	}
}

int tar_header(uint8_t ret[TAR_BLOCK], const char *name, uint64_t size, uint64_t mtime,
	       struct err *err)
{
	bool large = size > TAR_OCTAL_MAX;
	size_t len = strlen(name);
	unsigned sum = 0;

	if (len == 0 || len > TAR_NAME_MAX)
		return err_set(err, ERR_USAGE, "a file name of %zu characters in a tar archive",
			       len);
	memset(ret, 0, TAR_BLOCK);
	memcpy(ret, name, len);
	octal(ret + AT_MODE, 7, 0644);
	octal(ret + AT_UID, 7, 0);
	octal(ret + AT_GID, 7, 0);
	if (large) { /* the top bit says: a number of 95 bits, big endian */
		ret[AT_SIZE] = 0x80;
		for (unsigned i = 0; i < 8; i++)
			ret[AT_SIZE + 11 - i] = (uint8_t)(size >> (8 * i));
	} else {
		octal(ret + AT_SIZE, 11, size);
	}
	octal(ret + AT_MTIME, 11, mtime > TAR_OCTAL_MAX ? TAR_OCTAL_MAX : mtime);
	ret[AT_TYPE] = '0';
	/* The extension is GNU's, so the header says that it is GNU's. */
	memcpy(ret + AT_MAGIC, large ? "ustar  " : "ustar\00000", 8);
	memset(ret + AT_SUM, ' ', 8);
	for (unsigned i = 0; i < TAR_BLOCK; i++)
		sum += ret[i];
	octal(ret + AT_SUM, 6, sum);
	return 0;
}
