/* A command in a guest: the initial RAM disk that holds it, its first process, its modules and its files. */
#ifndef VMKIT_CMD_VMRUN_COMMAND_H
#define VMKIT_CMD_VMRUN_COMMAND_H

#include <stdbool.h>

#include "libcommon/cli/cli.h"

struct image;
struct shares;

enum { ROOT_DRIVERS_MAX = 3 };

/** struct root_drivers - modules for the file systems of a disk: static strings, NULL behind the last */
struct root_drivers {
	const char *name[ROOT_DRIVERS_MAX];
};

struct command {
	char *const *args; /* NULL-terminated; borrowed, as all below */
	const char *kernel;
	const char *root;	     /* folder whose files are packed; NULL: none */
	bool balloon, vsock;	     /* their drivers are loaded */
	const struct shares *shares; /* mounted for it; that of ROOT_TAG is its root */
	/* Folder with modules.dep; NULL: that of the kernel's release in /lib/modules */
	const char *modules;
	const char *folder; /* to start in; NULL: / */
	const char *user;   /* name or number; NULL: root */
	const struct opt_list *env;
	/* "ro", "rw": the root is a file system on the first disk; NULL: it is not */
	const char *root_disk;
	struct root_drivers drivers; /* with root_disk */
	bool net;		     /* it has a network interface */
	bool net_user;		     /* whose first is passt's: its addresses are known */
	bool waits;		     /* what it runs comes later: args are none */
	bool disks;		     /* the guest has some: their driver is loaded too */
};

/** command_pack() - the archive, in a nameless file: *@ret_fd is owned; Return: 0 or -1 */
int command_pack(const struct command *c, int *ret_fd, struct err *err);

/** command_text() - what vmrun-init gets of a command that it waited for; *@ret is owned */
int command_text(char *const *args, const char *folder, const char *user,
		 const struct opt_list *env, char **ret, size_t *ret_len, struct err *err);

/** command_check_user() - may it be a user's name? NULL may. Return: 0 or -1, ERR_USAGE */
int command_check_user(const char *user, struct err *err);

/** command_root_drivers() - what is on the disk; ERR_UNSUPPORTED when nothing is known; Return: 0 or -1 */
int command_root_drivers(struct image *img, struct root_drivers *ret, struct err *err);

#endif
