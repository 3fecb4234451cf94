/* --rate-limit: many threads that together move no more than so many bytes a second. */
#ifndef VMKIT_REPO_PACE_H
#define VMKIT_REPO_PACE_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

/** struct pace - shared by threads; set up with PACE_INIT(limit), nothing to free */
struct pace {
	uint64_t limit;	      /* bytes a second; 0: none */
	pthread_mutex_t lock; /* guards free_ns */
	int64_t free_ns;      /* when the next one may begin */
};
#define PACE_INIT(limit_)                                                                          \
	{                                                                                          \
		.limit = (limit_), .lock = PTHREAD_MUTEX_INITIALIZER                               \
	}

/** pace_wait() - sleep until @len more bytes may be moved, or a signal asks to stop */
void pace_wait(struct pace *p, size_t len);

#endif
