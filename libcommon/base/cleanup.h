/* Cleanup attributes for memory and descriptors, and how to give such a value away. */
#ifndef VMKIT_BASE_CLEANUP_H
#define VMKIT_BASE_CLEANUP_H

#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_free_fn(void *p)
{
	free(*(void **)p);
}

static inline void cleanup_close_fn(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd); /* not for files we wrote: those go through io_close() */
}

#define CLEANUP_FREE  __attribute__((cleanup(cleanup_free_fn)))
#define CLEANUP_CLOSE __attribute__((cleanup(cleanup_close_fn)))

/** steal_ptr() - the pointer's value; the variable is NULL afterwards */
#define steal_ptr(pp)                                                                              \
	({                                                                                         \
		__typeof__(*(pp)) steal_value_ = *(pp);                                            \
		*(pp) = NULL;                                                                      \
		steal_value_;                                                                      \
	})

static inline int steal_fd(int *fd)
{
	int v = *fd;

	*fd = -1;
	return v;
}

#endif
