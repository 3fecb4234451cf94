/* What the files of the FUSE server share: share.c (requests), share_node.c (inodes), share_meta.c (attributes),
 * share_file.c (open files), share_dir.c (names). All of it is called with the server's lock held. */
#ifndef VMKIT_RUNNER_SHARE_PRIVATE_H
#define VMKIT_RUNNER_SHARE_PRIVATE_H

#include <linux/fuse.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "libcommon/runner/share.h"

enum {
	SHARE_NODES_MAX = 1 << 20,
	SHARE_BUCKETS = 1 << 12,
	SHARE_BUFFER = (64 << 10) + 1024, /* the largest value of an attribute, and names */
	SHARE_VALID_S = 1,		  /* how long the guest believes what it was told */
};

/* An inode that the guest knows: by @name in the node @parent, and by @fd when that is not -1 */
struct share_node {
	bool used;
	bool pinned;  /* the name is gone: the descriptor is all there is */
	bool mounted; /* of another file system: an empty folder */
	int fd;	      /* O_PATH */
	mode_t type;  /* S_IFMT of it */
	uint64_t dev, ino, lookups;
	uint32_t parent, children; /* nodes that have this one as parent */
	uint32_t next;		   /* in its bucket, or of those that are free */
	uint32_t newer, older;	   /* of those with a descriptor that may be closed */
	char *name;
};

struct share_handle {
	int fd;	       /* -1: free */
	uint32_t node; /* of which it is */
	bool folder, append;
	uint64_t next_off; /* of a folder: where the descriptor stands */
};

struct share {
	pthread_mutex_t lock;
	bool read_only, started;
	int proc; /* /proc/self/fd */
	uid_t uid;
	gid_t gid;
	/* Nodes: [0] is nobody, [FUSE_ROOT_ID] the root. What is used is found by bucket[], the rest by free_node. */
	struct share_node *node;
	uint32_t nodes, nodes_room, free_node;
	uint32_t bucket[SHARE_BUCKETS];
	uint32_t newest, oldest;
	unsigned open_nodes, open_nodes_max;
	struct share_handle *handle;
	uint32_t handles, handles_max;
	uint8_t arg[SHARE_BUFFER], reply[SHARE_BUFFER];
};

struct share_req {
	struct share *fs;
	struct fuse_in_header in;
	const uint8_t *arg; /* what follows the header; of a write only its structure */
	size_t arg_len;
	struct iovec *data; /* what a write brings */
	unsigned n_data;
	uint64_t data_len;
	struct iovec *out; /* where the answer's body goes */
	unsigned n_out;
	uint64_t room;
	bool direct; /* the body lies there already, else in fs->reply */
};

/* Operations: Return: bytes of the answer's body, or -errno */
typedef int64_t share_op(struct share_req *r);

/** share_name() - the string at *@at of the arguments, *@at behind it; NULL when it has no end */
const char *share_name(const struct share_req *r, size_t *at);

/** share_check_name() - 0, or -errno for what is no name in a folder */
int share_check_name(const char *name);

/** share_iov_limit() - make @iov @len bytes long, of which there are at least so many; Return: entries */
unsigned share_iov_limit(struct iovec *iov, unsigned n, uint64_t len);

/* ---- share_node.c */
int share_nodes_init(struct share *fs, int root);
/** share_nodes_reset() - the guest knows only the root */
void share_nodes_reset(struct share *fs);
void share_nodes_free(struct share *fs);

/** share_node_get() - NULL for what is none; valid until the next lookup */
struct share_node *share_node_get(struct share *fs, uint64_t id);

/** share_node_fd() - its O_PATH descriptor, borrowed until the node after next is asked for; or -errno */
int share_node_fd(struct share *fs, uint64_t id);

/** share_folder_fd() - the same of a folder in which there may be names */
int share_folder_fd(struct share *fs, uint64_t id);

/** share_node_lookup() - the node of @name in @folder, known once more; Return: 0 or -errno */
int share_node_lookup(struct share *fs, uint64_t folder, const char *name, uint64_t *ret,
		      struct stat *ret_st);
void share_node_forget(struct share *fs, uint64_t id, uint64_t lookups);

/** share_node_put() - node @i as it was, with @name (copied); i and its folder need not be there before. 0 or -1: @i is taken, or
 *  beyond what there may be, or there is no memory */
int share_node_put(struct share *fs, uint32_t i, const struct share_node *n, const char *name);
/** share_nodes_linked() - after the last of them: each lies in a folder that is there. Return: does it? */
bool share_nodes_linked(struct share *fs);

/** share_node_pin() - @name in @folder is about to be removed; Return: 0 or -errno */
int share_node_pin(struct share *fs, uint64_t folder, const char *name);

/** share_node_moved() - what is now @name in @folder may be known by another name */
void share_node_moved(struct share *fs, uint64_t folder, const char *name);

/** share_open_below() - openat2() of one name; Return: a descriptor (owned) or -errno */
int share_open_below(int folder, const char *name, int flags, mode_t mode, bool mounts);

/* ---- share_meta.c */
void share_put_attr(const struct share *fs, const struct stat *st, struct fuse_attr *a);
/** share_stat() - of a node; Return: 0 or -errno */
int share_stat(struct share *fs, uint64_t id, struct stat *ret);
/** share_set_mode() - Return: 0 or -errno */
int share_set_mode(struct share *fs, int fd, mode_t mode);
share_op share_op_getattr, share_op_setattr, share_op_readlink, share_op_statfs, share_op_getxattr,
	share_op_listxattr, share_op_setxattr, share_op_removexattr;

/* ---- share_file.c */
int share_handles_init(struct share *fs);
void share_handles_reset(struct share *fs);
/** share_handle_get() - what is open as @fh, of the node and kind; NULL: nothing */
struct share_handle *share_handle_get(struct share *fs, uint64_t fh, uint64_t node, bool folder);
/** share_handle_add() - @fd is consumed; Return: 0 or -errno */
int share_handle_add(struct share *fs, int fd, uint64_t node, bool folder, uint64_t *ret);
/** share_open_node() - a regular file by its node; Return: a descriptor (owned) or -errno */
int share_open_node(struct share *fs, uint64_t id, int flags);
share_op share_op_open, share_op_create, share_op_read, share_op_write, share_op_release,
	share_op_fsync, share_op_flush, share_op_fallocate, share_op_lseek, share_op_copy;

/* ---- share_dir.c */
/** share_put_entry() - look @name up and answer with it; Return: bytes or -errno */
int64_t share_put_entry(struct share_req *r, uint64_t folder, const char *name, uint64_t *ret);
/** share_open_folder() - to list it; Return: a descriptor (owned) or -errno */
int share_open_folder(struct share *fs, uint64_t id);
share_op share_op_lookup, share_op_opendir, share_op_readdir, share_op_releasedir,
	share_op_fsyncdir, share_op_mkdir, share_op_mknod, share_op_symlink, share_op_link,
	share_op_unlink, share_op_rmdir, share_op_rename, share_op_rename2;

#endif
