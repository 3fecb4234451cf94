/* What the files behind nbd.h share. */
#ifndef VMKIT_IMAGE_PROTOCOL_NBD_PRIVATE_H
#define VMKIT_IMAGE_PROTOCOL_NBD_PRIVATE_H

#include <libnbd.h>
#include <pthread.h>

#include "libcommon/image/protocol/nbd.h"

/* The functions of libnbd that are used, each as a member of struct nbd_lib without "nbd_". */
#define NBD_FUNCTIONS(X)                                                                           \
	X(create)                                                                                  \
	X(close)                                                                                   \
	X(get_error)                                                                               \
	X(get_errno)                                                                               \
	X(set_export_name)                                                                         \
	X(add_meta_context)                                                                        \
	X(aio_connect_tcp)                                                                         \
	X(aio_connect_unix)                                                                        \
	X(aio_is_connecting)                                                                       \
	X(aio_is_ready)                                                                            \
	X(aio_is_dead)                                                                             \
	X(aio_is_closed)                                                                           \
	X(aio_disconnect)                                                                          \
	X(poll)                                                                                    \
	X(get_size)                                                                                \
	X(get_block_size)                                                                          \
	X(is_read_only)                                                                            \
	X(can_flush)                                                                               \
	X(can_trim)                                                                                \
	X(can_zero)                                                                                \
	X(can_multi_conn)                                                                          \
	X(can_meta_context)                                                                        \
	X(aio_pread)                                                                               \
	X(aio_pwrite)                                                                              \
	X(aio_flush)                                                                               \
	X(aio_trim)                                                                                \
	X(aio_zero)                                                                                \
	X(aio_block_status)

struct nbd_lib {
#define NBD_MEMBER(name) __typeof__(nbd_##name) *name;
	NBD_FUNCTIONS(NBD_MEMBER)
#undef NBD_MEMBER
};

/** nbd_lib_load() - once a process; the table is static; ERR_UNSUPPORTED */
int nbd_lib_load(const struct nbd_lib **ret, struct err *err);

/** struct nbd_uri - taken apart, %XX decoded; all owned: nbd_uri_free() */
struct nbd_uri {
	char *host, *port; /* NULL: a unix socket */
	char *socket;	   /* NULL: TCP */
	char *export;	   /* may be empty */
};

/** nbd_uri_parse() - ERR_USAGE says what is wrong with it */
int nbd_uri_parse(struct nbd_uri *ret, const char *text, struct err *err);
void nbd_uri_free(struct nbd_uri *u);

/* Connections, one thread on each at a time: nbd_pool.c. */
enum { NBD_CONNECTIONS = 8 };

struct nbd_conn {
	struct nbd_handle *h; /* NULL: not connected (any more) */
	bool busy;
	bool gone; /* tried and lost: not tried again */
};

struct nbd_pool {
	const struct nbd_lib *lib;
	struct nbd_uri uri;
	const char *context; /* "base:allocation" */
	uint64_t timeout_ms;
	uint64_t size;
	unsigned most; /* connections; 1 until the server's flags are known */
	pthread_mutex_t lock;
	pthread_cond_t freed;
	struct nbd_conn conns[NBD_CONNECTIONS]; /* guarded by @lock; a busy one is its thread's */
};

/** nbd_pool_init() - with one connection made, which is conns[0]; @context: of block status; borrowed */
int nbd_pool_init(struct nbd_pool *p, const char *uri, const char *context, struct err *err);
void nbd_pool_free(struct nbd_pool *p);

/** nbd_pool_take() - a connection, new or waited for; ERR_CONNECTION when none is left */
int nbd_pool_take(struct nbd_pool *p, struct nbd_conn **ret, struct err *err);
void nbd_pool_put(struct nbd_pool *p, struct nbd_conn *c);

/* Requests of one call in flight on one connection. */
struct nbd_batch {
	unsigned in_flight;
	int error; /* errno of the first that failed */
};
int nbd_batch_done(void *batch, int *error); /* as a completion callback */
#define NBD_DONE(batch)                                                                            \
	((nbd_completion_callback){.callback = nbd_batch_done, .user_data = (batch)})

/** nbd_wait() - until at most @most requests are in flight, or the connection is given up: then none is, and no
 *  buffer is touched any more */
int nbd_wait(struct nbd_pool *p, struct nbd_conn *c, struct nbd_batch *b, unsigned most,
	     struct err *err);

/** nbd_refused() - a request could not even be sent; the connection is dropped when it is dead */
int nbd_refused(struct nbd_pool *p, struct nbd_conn *c, struct err *err);

/** nbd_failure() - the sentence for the server's errno */
int nbd_failure(int number, const char *what, struct err *err);

#endif
