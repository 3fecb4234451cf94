/* Which files the threads that serve a guest may open: see confine.h. By Landlock, which a thread puts on itself. */
#include <errno.h>
#include <linux/landlock.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "libcommon/base/log.h"
#include "libcommon/runner/confine.h"

/* Of the second and third version of its interface; headers may be older than kernels */
#define ACCESS_REFER	(UINT64_C(1) << 13)
#define ACCESS_TRUNCATE (UINT64_C(1) << 14)
#define ACCESS_FIRST	((UINT64_C(1) << 13) - 1)
#define ACCESS_READ	(LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
/* Neither programs nor devices */
#define ACCESS_NEVER                                                                               \
	(LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_BLOCK)

/* The rules for threads to come; -1: none. Set before they start */
static int rules = -1;

static void allow(const struct confine_folder *f, uint64_t handled)
{
	const struct landlock_path_beneath_attr a = {
		.allowed_access = f->read_only ? ACCESS_READ : handled & ~ACCESS_NEVER,
		.parent_fd = f->fd,
	};

	if (syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &a, 0) < 0)
		log_warning("a shared folder cannot be allowed for: %s", strerror(errno));
}

void confine_files(const struct confine_folder *folders, size_t n)
{
	long version =
		syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	struct landlock_ruleset_attr attr = {.handled_access_fs = ACCESS_FIRST};

	if (rules >= 0)
		(void)close(rules);
	rules = -1;
	if (version >= 2)
		attr.handled_access_fs |= ACCESS_REFER;
	if (version >= 3)
		attr.handled_access_fs |= ACCESS_TRUNCATE;
	if (version > 0)
		rules = (int)syscall(SYS_landlock_create_ruleset, &attr,
				     sizeof(attr.handled_access_fs), 0);
	if (rules < 0) {
		log_warning("Landlock is not to be had here (%s): which files the threads of the "
			    "guest could open is not limited",
			    strerror(errno));
		return;
	}
	for (size_t i = 0; i < n; i++)
		allow(&folders[i], attr.handled_access_fs);
}

void confine_thread(void)
{
	if (rules < 0)
		return;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    syscall(SYS_landlock_restrict_self, rules, 0) < 0)
		log_warning("a thread cannot be kept from files: %s", strerror(errno));
}
