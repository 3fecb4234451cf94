/* Lists of files inside of a disk, as `vmimg ls` and `vmbackup ls` print them. Output is the caller's: functions that it gives. */
#ifndef VMKIT_GUEST_LISTING_H
#define VMKIT_GUEST_LISTING_H

#include <jansson.h>

#include "libcommon/guest/guest.h"

struct listing_opts {
	bool long_form; /* kind, permissions, owner, group, size, time */
	bool recursive; /* all below */
	bool itself;	/* a folder, not what is in it */
	bool null_end;	/* names as they are, with a NUL behind each */
	bool json, json_lines;
	char *(*printable)(const char *text); /* an owned copy that cannot drive a terminal */
	json_t *(*json_text)(const char *text);
	int (*put)(const char *text, size_t len, struct err *err);
};

/** listing_check() - ERR_USAGE: options that exclude each other */
int listing_check(const struct listing_opts *o, struct err *err);

/** listing_print() - all @specs (none: "/"), in order */
int listing_print(struct guest *g, char *const *specs, size_t n, const struct listing_opts *o,
		  struct err *err);

#endif
