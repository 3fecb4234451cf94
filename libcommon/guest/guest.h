/* What is inside of a virtual disk: partitions, file systems, the system that is installed, files by their paths.
 *
 * Calling sequence:
 *	guest_open(&g, img, err)			partitions and superblocks
 *	guest_find(g, "/etc/hostname", 0, &place, err)	the system's root is looked for, its fstab honoured
 *	guest_walk(g, &place, visit, ctx, err)
 *	guest_place_release(&place); guest_close(g)
 *
 * Nothing is mounted and no other program runs. Read only. One thread a handle.
 */
#ifndef VMKIT_GUEST_GUEST_H
#define VMKIT_GUEST_GUEST_H

#include "libcommon/guest/fs.h"
#include "libcommon/guest/probe.h"
#include "libcommon/image/disk/partition.h"

enum {
	GUEST_VOLUMES_MOST = 1100,
	GUEST_SYSTEMS_MOST = 16,
	GUEST_MOUNTS_MOST = 64,
	GUEST_KERNELS_MOST = 64,
	GUEST_DEPTH_MOST = 400,
	GUEST_PATH_MOST = 65535,
};

/** struct guest_volume - a partition; the whole disk where there is no table, or a logical volume (number 0) */
struct guest_volume {
	struct image *owned; /* of a logical volume; NULL */
	unsigned number;
	struct volume v; /* cut where the disk ends */
	char type[40];	 /* GPT: its UUID; MBR: "0x83"; "lvm"; "" */
	char partuuid[40];
	char *name; /* of a GPT entry; "GROUP/VOLUME" of a logical volume; NULL */
	struct fs_info info;
	struct fs *fs; /* opened when it is needed */
};

/** struct guest_mount - a line of fstab whose source was found on this disk, or not (volume < 0) */
struct guest_mount {
	char *source, *dir, *type;
	int volume;
};

/** struct guest_system - an installed system; strings are as its files have them, NULL: not said */
struct guest_system {
	int root; /* volume */
	char *id, *name, *version, *hostname, *machine_id;
	const char *arch; /* as uname -m; NULL: unknown */
	char *kernels[GUEST_KERNELS_MOST];
	size_t n_kernels;
	struct guest_mount mounts[GUEST_MOUNTS_MOST];
	size_t n_mounts;
};

/** struct guest_server - the disk as a network block device, for what is not read here but by libguestfs (appliance.h) */
struct guest_server {
	/* *@ret_socket: path of a unix socket with an export without a name, read only, up to guest_close(); borrowed */
	int (*start)(void *ctx, const char **ret_socket, struct err *err);
	void *ctx;
};

struct appliance;

struct guest {
	struct image *img; /* borrowed */
	enum partition_scheme scheme;
	struct guest_volume *volumes;
	size_t n_volumes;
	const struct guest_server *server; /* borrowed; NULL: libguestfs is not asked */
	struct appliance *appliance;	   /* launched when it was needed; NULL */
	bool no_appliance;		   /* it would not start: not tried again */
	bool searched;			   /* systems were looked for */
	struct guest_system systems[GUEST_SYSTEMS_MOST];
	size_t n_systems;
};

/** guest_open() - partitions and superblocks of @img (borrowed); *@ret is owned: guest_close() */
int guest_open(struct guest **ret, struct image *img, struct err *err);
void guest_close(struct guest *g);

/** guest_use_server() - let libguestfs read what is not read here; @server: borrowed until guest_close() */
void guest_use_server(struct guest *g, const struct guest_server *server);

/** guest_can_read() - the file system of volume @i, here or by libguestfs */
bool guest_can_read(const struct guest *g, int i);

/** guest_fs() - the file system of volume @i; borrowed */
int guest_fs(struct guest *g, int i, struct fs **ret, struct err *err);

/** guest_search() - fill systems; what cannot be read is no system, not an error. libguestfs is asked when none is found
 *  without it, and is there */
int guest_search(struct guest *g, struct err *err);

/** struct guest_place - what a path leads to */
struct guest_place {
	int volume;
	struct fs *fs; /* borrowed */
	struct fs_node node;
	const struct guest_system *system; /* whose fstab counts below it; NULL: none does */
	char *path;			   /* absolute, without links, "." and ".."; owned */
};

enum guest_find_flags {
	GUEST_NO_FOLLOW = 1, /* a symbolic link at the end stays one */
};

/**
 * guest_find() - the place of @spec: "/PATH" in the system that is found, "PARTITION:/PATH" in one file system
 *
 * PARTITION is a number, a label, the name of a GPT entry or of a logical volume, or a UUID. Without a system the only file system is taken.
 * Symbolic links stay inside: ".." ends at the root.
 * Return: 0, or -1: ERR_NOT_FOUND, ERR_USAGE (no such form, ambiguous), ERR_UNSUPPORTED, ERR_CORRUPT. The error names
 * @spec. guest_place_release() after success.
 */
int guest_find(struct guest *g, const char *spec, unsigned flags, struct guest_place *ret,
	       struct err *err);
void guest_place_release(struct guest_place *p);

/** guest_path() - as guest_find(), from a volume's root; @system: whose fstab counts, or NULL */
int guest_path(struct guest *g, int volume, const struct guest_system *system, const char *path,
	       unsigned flags, struct guest_place *ret, struct err *err);

/** guest_mount_at() - the volume that @system mounts at @path, or -1 */
int guest_mount_at(const struct guest_system *system, const char *path);

/** guest_search_one() - is a system on volume @i? Then it is added (system.c) */
int guest_search_one(struct guest *g, int i, struct err *err);
void guest_system_release(struct guest_system *s);

/** struct guest_item - what guest_walk() comes to */
struct guest_item {
	enum guest_item_when { ITEM_LEAF, ITEM_ENTER, ITEM_LEAVE } when;
	const char *path; /* from the place on, without a "/" in front; "" for the place itself */
	const char *name; /* the last part of it; of the place: of its path ("" for a root) */
	int volume;
	struct fs *fs;
	struct fs_node *node;
};

/** guest_walk() - @place and all below it, folders before and after what is in them. @deep false: no deeper than the entries
 *  of @place, and folders among them are leaves. -1 of @visit ends it. A folder that is met twice is ERR_CORRUPT */
int guest_walk(struct guest *g, const struct guest_place *place, bool deep,
	       int (*visit)(void *ctx, const struct guest_item *item, struct err *err), void *ctx,
	       struct err *err);

#endif
