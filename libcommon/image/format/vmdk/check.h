/* What check.c and check_stream.c share. */
#ifndef VMKIT_FORMAT_VMDK_CHECK_H
#define VMKIT_FORMAT_VMDK_CHECK_H

#include "libcommon/image/format/vmdk/vmdk.h"

/** struct vmdk_used - a grain that a table names */
struct vmdk_used {
	uint64_t off; /* in the file */
	uint64_t no;  /* of the extent */
};

struct vmdk_check {
	struct vmdk_extent *x; /* the extent that is looked at */
	unsigned flags;
	struct vmdk_used *used;
	size_t n_used, used_room;
	struct image_check_result *res;
	void (*report)(void *ctx, const char *sentence);
	void *report_ctx;
	unsigned reported;
	const char *name; /* of the extent's file, when there are several; else NULL */
};

/** vmdk_fault() - count a corruption and report it */
void vmdk_fault(struct vmdk_check *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/** vmdk_mended() - the fault that was told last is none any more */
void vmdk_mended(struct vmdk_check *c);

/**
 * vmdk_mend_tables() - where @a and @b, the content of the tables at @table and @other, differ, and all differences are
 * entries that lead out of the file in one of them, both get what can only be right; @a and @b, too
 * @ret: entries that were mended
 */
int vmdk_mend_tables(struct vmdk_check *c, uint64_t table, uint8_t *a, uint64_t other, uint8_t *b,
		     uint64_t *ret, struct err *err);

/**
 * vmdk_settle_tables() - where the extent was not closed, and all that @a and @b differ in are grains that one of them has and the
 * other has not yet, or no more: @b, at @other, gets what readers see in @a, if leaks are to be mended
 * @ret: such entries; 0: there are other differences; @ret_mended: those that were changed
 */
int vmdk_settle_tables(struct vmdk_check *c, const uint8_t *a, uint64_t other, uint8_t *b,
		       uint64_t *ret, uint64_t *ret_mended, struct err *err);
/** vmdk_mend_mark() - of an extent that was not closed; goes when leaks are to be mended and the tables are @sound */
int vmdk_mend_mark(struct vmdk_check *c, bool sound, bool *ret_mended, struct err *err);

/**
 * vmdk_mend_directory() - let entry @index of directory @dir name its table again, where that is found
 * @other, @copy: the table of the other directory: its place and content
 */
int vmdk_mend_directory(struct vmdk_check *c, uint64_t dir, uint64_t index, uint64_t other,
			const uint8_t *copy, bool *ret, struct err *err);

/** vmdk_check_markers() - from the first grain to the end of the stream */
int vmdk_check_markers(struct vmdk_check *c, struct err *err);
/** vmdk_check_decode() - every compressed grain, on all cores */
int vmdk_check_decode(struct vmdk_check *c, struct err *err);

#endif
