/* What ovf_parse.c and ovf_system.c share. */
#ifndef VMKIT_PACKAGE_OVF_PRIVATE_H
#define VMKIT_PACKAGE_OVF_PRIVATE_H

#include "libcommon/package/ovf.h"
#include "libcommon/package/xml.h"

/** ovf_number() - @text as a number; what is none is a fault, and *@ret_has false. NULL: not there */
int ovf_number(struct ovf *o, const char *what, const char *text, bool *ret_has, uint64_t *ret,
	       struct err *err);

/** ovf_parse_systems() - the machines below @node, collections in collections too; @depth: of these */
int ovf_parse_systems(struct ovf *o, const struct xml *x, const xmlNode *node, unsigned depth,
		      struct err *err);

#endif
