/* Progress: two counters that workers raise and a reader shows. No output here: cli draws it. */
#ifndef VMKIT_BASE_PROGRESS_H
#define VMKIT_BASE_PROGRESS_H

#include <stdatomic.h>
#include <stdint.h>

struct progress {
	_Atomic uint64_t done;	    /* bytes of the virtual disk dealt with, holes included */
	_Atomic uint64_t total;	    /* 0 while unknown (a pipe) */
	_Atomic(const char *) what; /* static string: "convert", "compare", ... */
};

/** progress_begin() - @p may be NULL, as in all of these; @what is a static string */
static inline void progress_begin(struct progress *p, const char *what, uint64_t total)
{
	if (!p)
		return;
	atomic_store(&p->done, 0);
	atomic_store(&p->total, total);
	atomic_store(&p->what, what);
}

static inline void progress_add(struct progress *p, uint64_t bytes)
{
	if (p)
		atomic_fetch_add_explicit(&p->done, bytes, memory_order_relaxed);
}

#endif
