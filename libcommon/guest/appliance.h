/* libguestfs's appliance: a small machine with Linux that mounts what is not read here (btrfs, NTFS, ...), for questions.
 *
 * The library is loaded when the first question comes, and one launch serves all of them: some seconds with KVM, twenty
 * without. The appliance sees the disk as a network block device that the caller serves, read only, so that it neither
 * guesses a format nor opens a file that an image names. What it says of hostile file systems is checked as if it had
 * been read here.
 */
#ifndef VMKIT_GUEST_APPLIANCE_H
#define VMKIT_GUEST_APPLIANCE_H

#include "libcommon/guest/guest.h"

struct appliance;

/** appliance_reads() - would it be asked for file systems of this family? */
bool appliance_reads(const char *family);

/**
 * appliance_new() - launch it for the disk behind @server
 * Return: 0 with *@ret owned: appliance_free(); -1: ERR_UNSUPPORTED when the library is not here or does not start
 */
int appliance_new(struct appliance **ret, const struct guest_server *server, struct err *err);
void appliance_free(struct appliance *a);

/**
 * appliance_fs_open() - the file system of volume @i of @g; *@ret is owned: fs_close() before appliance_free()
 */
int appliance_fs_open(struct fs **ret, struct appliance *a, const struct guest *g, int i,
		      struct err *err);

/**
 * appliance_use_subvolume() - let the next appliance_fs_open() of volume @i show subvolume @name of its btrfs
 */
int appliance_use_subvolume(struct appliance *a, const struct guest *g, int i, const char *name,
			    struct err *err);

/** appliance_drop_subvolume() - the last one: it is none */
void appliance_drop_subvolume(struct appliance *a);

/**
 * appliance_inspect() - which systems it finds; for each @found, with @system filled but for its mounts and kernels
 * It unmounts all: no file system of appliance_fs_open() may be open. Return: 0, or the first -1 of @found, or -1
 */
int appliance_inspect(struct appliance *a, const struct guest *g,
		      int (*found)(void *ctx, struct guest_system *system, struct err *err),
		      void *ctx, struct err *err);

#endif
