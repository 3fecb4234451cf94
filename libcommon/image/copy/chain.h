/* Work on a chain: an overlay written into its backing file, an overlay put on another backing file. */
#ifndef VMKIT_IMAGE_COPY_CHAIN_H
#define VMKIT_IMAGE_COPY_CHAIN_H

#include "libcommon/base/progress.h"
#include "libcommon/image/image.h"

struct chain_opts {
	const char *format; /* of the overlay; NULL: probed */
	const char *const *allow_dirs;
	size_t n_allow_dirs;
	unsigned threads;
	struct progress *progress;
	bool dry_run; /* look and refuse, write nothing */
	bool keep;    /* commit: leave the overlay as it is */
	bool header;  /* rebase: change the header alone, compare nothing */
};

struct chain_stats {
	uint64_t size;	     /* of the overlay's disk */
	uint64_t data_bytes; /* written; dry run of commit: what the overlay holds */
	uint64_t zero_bytes; /* made zero */
	uint64_t grown_to;   /* commit: the backing file's disk was smaller; 0: it was not */
	bool emptied;	     /* commit: the overlay holds nothing any more */
	char backing[256];   /* name of the backing file, for messages; may be cut */
};

/**
 * image_commit() - write what @overlay holds into its backing file, then let the overlay forget it
 *
 * The backing file is on the disk before the overlay forgets anything: an interrupted commit changes nothing that
 * the overlay shows, and can be done again. What other overlays of that backing file show does change.
 */
int image_commit(const char *overlay, const struct chain_opts *opts, struct chain_stats *ret,
		 struct err *err);

/**
 * image_rebase() - put @overlay on another backing file
 * @backing: as it shall stand in the header, relative to the overlay's folder; "": none, with all content in the
 *	overlay; NULL: the present one (with opts->header, for a format to be stated)
 * @backing_format: NULL: probed, but raw is not believed
 *
 * The overlay shows the same before, during and after: where old and new backing file differ, what the old one
 * has is written into the overlay; then the header changes. With opts->header only the latter is done, and the
 * new file needs not to exist if its format is given.
 */
int image_rebase(const char *overlay, const char *backing, const char *backing_format,
		 const struct chain_opts *opts, struct chain_stats *ret, struct err *err);

#endif
