/* A machine's XML for another place or under another name. */
#ifndef VMKIT_HOST_REWRITE_H
#define VMKIT_HOST_REWRITE_H

#include "libcommon/host/xmldoc.h"

/** rewrite_disk() - the disk @target ("vda") is a file of @format from now on; ERR_NOT_FOUND */
int rewrite_disk(struct xmldoc *x, const char *target, const char *file, const char *format,
		 struct err *err);

/** rewrite_name() - another machine: @name, and what must not be the same twice is left to libvirt to make anew */
int rewrite_name(struct xmldoc *x, const char *name, struct err *err);

#endif
