/* The disks of a machine, as its XML names them. */
#ifndef VMKIT_HOST_DISKS_H
#define VMKIT_HOST_DISKS_H

#include <stddef.h>

#include "libcommon/base/err.h"

enum disk_kind { DISK_FILE, DISK_BLOCK, DISK_ELSEWHERE };

struct domain_disk {
	char *target; /* "vda" */
	char *source; /* file or device; of others what the XML says of the source: "volume", "network" */
	char *format; /* "qcow2"; "raw" when the XML does not say */
	enum disk_kind kind;
};

/** domain_disks() - hard disks that can be written and have a medium, in the order of the XML; *@ret is owned:
 *  domain_disks_free() */
int domain_disks(const char *xml, struct domain_disk **ret, size_t *ret_n, struct err *err);
void domain_disks_free(struct domain_disk *disks, size_t n);

#endif
