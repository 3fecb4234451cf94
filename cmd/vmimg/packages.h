/* What vmimg's verbs do with OVF and OVA packages. */
#ifndef VMKIT_VMIMG_PACKAGES_H
#define VMKIT_VMIMG_PACKAGES_H

#include "libcommon/cli/cli.h"
#include "libcommon/image/image.h"
#include "libcommon/package/ova_write.h"

/** info_package() - `vmimg info x.ova`; @flags: IMAGE_SHARED */
int info_package(struct cli *cli, const char *path, unsigned flags, struct err *err);

/** check_package() - `vmimg check x.ova`; the same schema and statuses as for images */
int check_package(struct cli *cli, const char *path, unsigned flags, bool deep, struct err *err);

/** struct machine_options - the machine of a new package, from the command line */
struct machine_options {
	const char *name, *firmware, *os, *domain_xml;
	unsigned cpus;
	uint64_t memory;
	struct opt_list nics;
};

/** machine_options_given() - the first one that was given ("--name"), or NULL: for targets that take none */
const char *machine_options_given(const struct machine_options *o);

/** convert_to_package() - `vmimg convert DISK... x.ova` */
int convert_to_package(struct cli *cli, char **sources, size_t n, const char *target,
		       const struct machine_options *machine, const struct image_open_opts *open,
		       const struct ova_write_opts *opts, bool dry_run, struct err *err);

#endif
