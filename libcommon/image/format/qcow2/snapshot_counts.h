/* Between snapshot_write.c and snapshot_counts.c. */
#ifndef VMKIT_FORMAT_QCOW2_SNAPSHOT_COUNTS_H
#define VMKIT_FORMAT_QCOW2_SNAPSHOT_COUNTS_H

#include "libcommon/image/format/qcow2/writer.h"

enum count_how {
	COUNT_SHARE, /* one more reference to all; nothing is anybody's alone any more: no COPIED flags */
	COUNT_DROP, /* one less */
	COUNT_MARK, /* COPIED exactly where the refcount is 1 */
};

/**
 * qcow2_count_tables() - for all L2 tables and clusters that an L1 table names
 * @l1: host order; its flags follow when @how changes them; the table on the disk is the caller's to write
 */
int qcow2_count_tables(struct qcow2_writer *w, uint64_t *l1, uint32_t entries, enum count_how how,
		       struct err *err);

/** qcow2_drop_clusters() - one reference less to @count clusters that no durable table names */
int qcow2_drop_clusters(struct qcow2_writer *w, uint64_t off, uint64_t bytes, struct err *err);

#endif
