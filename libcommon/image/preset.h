/* What clouds and hypervisors take: format, options, sizes. `--for NAME` of convert, create and measure.
 *
 * A preset chooses what the user has left open and refuses what its target would refuse.
 */
#ifndef VMKIT_IMAGE_PRESET_H
#define VMKIT_IMAGE_PRESET_H

#include "libcommon/image/bulk.h"

enum { PRESET_FORMATS = 4, PRESET_OPTIONS = 4 };

/** struct preset_option - an option of the format as the target wants it */
struct preset_option {
	const char *name;
	const char *value; /* set unless the user says something else; NULL: must not be given */
	const char *also;  /* "a|b": other values that will do; NULL: none */
};

struct preset_format {
	const char *format;
	struct preset_option options[PRESET_OPTIONS]; /* ends with a NULL name */
};

struct image_preset {
	const char *name;
	const char *summary; /* for the man page; one line */
	/* The first is the default. Ends with a NULL format. Unused when @archive */
	struct preset_format formats[PRESET_FORMATS];
	uint64_t multiple;    /* the disk grows to a multiple of it */
	uint64_t least, most; /* most 0: no bound but the format's */
	bool no_holes;	      /* the file must not be sparse */
	bool archive;	      /* disk.raw in an (old) GNU tar, gzip */
};

extern const struct image_preset image_presets[]; /* ends with a NULL name */
#define IMAGE_PRESET_NAMES "azure|aws|gce|esxi|hyperv|virtualbox|openstack|proxmox"

/** image_preset_find() - by name; ERR_USAGE */
int image_preset_find(const struct image_preset **ret, const char *name, struct err *err);

/** image_preset_size() - what a disk of @size becomes; ERR_UNSUPPORTED: too large */
int image_preset_size(const struct image_preset *p, uint64_t size, uint64_t *ret, struct err *err);

/**
 * image_preset_apply() - choose the format, check and complete the options
 * @format: what the user named, or NULL: then by @target's suffix if that tells one (NULL: no file), else the default
 * @params: options are read, and replaced by @room; backing files are refused
 * @room: for the options: params->n_options + PRESET_OPTIONS; borrowed as long as @params
 */
int image_preset_apply(const struct image_preset *p, const char *format, const char *target,
		       struct bulk_params *params, struct image_option_value *room,
		       const char **ret_format, struct err *err);

#endif
