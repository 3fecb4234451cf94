/* The ordered parallel pipeline under convert, compare, digest, check --deep and restore.
 *
 * Units flow through four stages; each stage may be NULL:
 *
 *	produce		one at a time, in order		"what is next": plan, sequential input
 *	work		on all threads at once		read, compress, hash a unit by itself
 *	commit		one at a time, in order		assign a place, feed a digest, write a stream
 *	store		on all threads at once		write to the place that commit gave
 *
 * Units are made once (unit_size bytes of user state each, zeroed, then unit_init), recycled, and bound
 * memory: at most @depth of them exist. What happens does not depend on the number of threads: commit
 * sees the units in the order of produce. A stage that fails stops all; the failure of the lowest unit
 * is the one reported. stop_requested() is asked before every unit.
 */
#ifndef VMKIT_BASE_PIPELINE_H
#define VMKIT_BASE_PIPELINE_H

#include <stddef.h>

struct err;

struct pipeline_ops {
	size_t unit_size;
	int (*unit_init)(void *ctx, void *unit, struct err *err);
	void (*unit_free)(void *ctx,
			  void *unit); /* also for a unit whose unit_init failed or never ran */
	int (*produce)(void *ctx, void *unit, struct err *err); /* 1: a unit; 0: no more; -1 */
	int (*work)(void *ctx, void *unit, struct err *err);
	int (*commit)(void *ctx, void *unit, struct err *err);
	int (*store)(void *ctx, void *unit, struct err *err);
};

/**
 * pipeline_run() - run until produce says 0 or a stage fails
 * @ctx: borrowed, handed to each stage
 * @threads: 0 = as many as this process may use (threads_default()); 1 runs all in the caller's thread
 * @depth: units in flight; 0 = 2 * threads + 2
 *
 * Return: 0, or -1 with the error of the first unit that failed. All threads have ended on return.
 */
int pipeline_run(const struct pipeline_ops *ops, void *ctx, unsigned threads, unsigned depth,
		 struct err *err);

/**
 * parallel_for() - call @fn for each i in [0, @count) on @threads threads, in ascending starts
 * @fn: gets @worker in [0, threads), so that it can have buffers of its own
 *
 * Return: 0, or -1 with the error of the lowest i that failed; the rest is not started then.
 */
int parallel_for(size_t count, unsigned threads,
		 int (*fn)(void *ctx, size_t i, unsigned worker, struct err *err), void *ctx,
		 struct err *err);

/** threads_default() - processors this process may run on (affinity, cgroup quota), at least 1 */
unsigned threads_default(void);

#endif
