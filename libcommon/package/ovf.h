/* OVF descriptors (DSP0243 1.0 to 2.1, and what VMware and VirtualBox make of it): read, and written for an OVA.
 *
 * Names of files and sizes come from strangers. ovf_parse() refuses what could lead out of the package; what is
 * only wrong (a negative size, a disk without a file) is kept as a fault for check, since the world is full of
 * such descriptors and their disks are sound.
 */
#ifndef VMKIT_PACKAGE_OVF_H
#define VMKIT_PACKAGE_OVF_H

#include "libcommon/package/machine.h"

#define OVF_FILES_MAX	 1024U
#define OVF_MACHINES_MAX 64U
#define OVF_FAULTS_MAX	 100U

/** struct ovf_file - <References><File>; strings are owned */
struct ovf_file {
	char *id;
	char *href; /* decoded (%20), relative, no ".." in it */
	bool has_size;
	uint64_t size; /* as stored */
	bool gzip;
	uint64_t chunk_size; /* 0: one file; else href.000000000 and so on, of this size */
};

/** struct ovf_disk - <DiskSection><Disk> */
struct ovf_disk {
	char *id;
	char *format;	   /* URI; NULL */
	char *parent;	   /* id of another disk; NULL */
	size_t file;	   /* index; OVF_NO_FILE: an empty disk, or a file that is not there */
	uint64_t capacity; /* bytes; 0: not said, or nonsense */
	bool has_populated;
	uint64_t populated;
};
#define OVF_NO_FILE SIZE_MAX

struct ovf {
	struct ovf_file *files;
	size_t n_files;
	struct ovf_disk *disks;
	size_t n_disks;
	struct machine *machines;
	size_t n_machines;
	char **faults; /* sentences */
	size_t n_faults;
};

/** ovf_parse() - @text need not end with a NUL; ovf_release() also after a failure */
int ovf_parse(struct ovf *ret, const char *text, size_t len, struct err *err);
void ovf_release(struct ovf *o);

/** ovf_fault() - one sentence more; dropped silently above OVF_FAULTS_MAX */
int ovf_fault(struct ovf *o, struct err *err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/** ovf_decode_href() - "%20" decoded, held to be a plain relative name; *@ret is owned; ERR_DENIED, ERR_UNSUPPORTED */
int ovf_decode_href(const char *href, char **ret, struct err *err);

/**
 * ovf_units() - "byte * 2^30", "MegaBytes", "GB", "byte" to a factor
 * Return: false when it is none of these
 */
bool ovf_units(const char *text, uint64_t *ret);

/** struct ovf_write_disk - a disk of a new package */
struct ovf_write_disk {
	const char *href;
	uint64_t size, capacity, populated;
};

/** ovf_write() - the descriptor of @m with @disks; *@ret_text is owned; the same arguments, the same bytes */
int ovf_write(const struct machine *m, const struct ovf_write_disk *disks, size_t n,
	      char **ret_text, size_t *ret_len, struct err *err);

#endif
