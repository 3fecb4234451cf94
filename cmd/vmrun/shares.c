/* Folders of the host in a guest: see shares.h. */
#include "cmd/vmrun/shares.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "libcommon/base/checked.h"
#include "libcommon/runner/share.h"
#include "libcommon/runner/virtio_fs.h"

enum { FDS_MAX = 8192, FDS_OTHERS = 256 };

/* As many descriptors as this process may ever have, shared out; what is left is for disks, sockets, guests' memory */
static unsigned descriptors(size_t shares)
{
	struct rlimit r;
	uint64_t each;

	if (getrlimit(RLIMIT_NOFILE, &r) < 0)
		return SHARE_FDS_MIN;
	if (r.rlim_cur < r.rlim_max && r.rlim_cur < FDS_OTHERS + FDS_MAX * shares) {
		r.rlim_cur = min_u64(r.rlim_max, FDS_OTHERS + FDS_MAX * shares);
		(void)setrlimit(RLIMIT_NOFILE, &r);
	}
	each = r.rlim_cur > FDS_OTHERS ? (r.rlim_cur - FDS_OTHERS) / shares : 0;
	return (unsigned)max_u64(min_u64(each, FDS_MAX), SHARE_FDS_MIN);
}

static int check_name(const char *name, bool command, struct err *err)
{
	if (command && name[0] != '/')
		return err_set(err, ERR_USAGE,
			       "the place in the guest is a path from /: DIR[:PATH][:ro]");
	if (command && strlen(name) >= PATH_MAX)
		return err_set(err, ERR_USAGE, "the place in the guest is too long a path");
	if (!command && (!*name || strlen(name) > VIRTIO_FS_TAG_MAX))
		return err_set(err, ERR_USAGE, "a share's tag has 1 to %d bytes",
			       VIRTIO_FS_TAG_MAX);
	return 0;
}

/* "DIR:NAME:ro" in @text is cut at its colons; Return: 0 or -1 */
static int parse(struct shares *s, size_t i, char *text, bool command, struct err *err)
{
	char *colon = strrchr(text, ':');

	if (colon && (strcmp(colon, ":ro") == 0 || strcmp(colon, ":rw") == 0)) {
		s->read_only[i] = colon[2] == 'o';
		*colon = '\0';
	}
	colon = strchr(text, ':');
	if (colon) {
		*colon = '\0';
		s->name[i] = colon + 1;
	} else if (command) {
		char *whole = realpath(text, NULL);

		if (!whole) {
			err_sys(err, "cannot be shared");
			return err_object(err, text);
		}
		free(s->text[i]);
		s->text[i] = whole;
		s->name[i] = whole;
	} else {
		s->name[i] = s->tag[i];
	}
	return check_name(s->name[i], command, err);
}

static int add(struct shares *s, const char *dir, bool command, bool root, unsigned fds,
	       struct err *err)
{
	size_t i = s->n++;

	s->text[i] = strdup(dir);
	if (!s->text[i])
		return err_nomem(err);
	(void)snprintf(s->tag[i], sizeof(s->tag[i]), root ? ROOT_TAG : "share%zu", i);
	if (root)
		s->name[i] = "/";
	else if (parse(s, i, s->text[i], command, err) < 0)
		return -1;
	s->machine[i].tag = command ? s->tag[i] : s->name[i];
	for (size_t j = 0; j < i; j++)
		if (strcmp(s->name[j], s->name[i]) == 0)
			return err_set(err, ERR_USAGE, "two shares are %s in the guest",
				       s->name[i]);
	return share_open(&s->machine[i].share, s->text[i], s->read_only[i], fds, err);
}

int shares_open(struct shares *s, const struct opt_list *list, bool command, const char *root,
		bool root_writable, struct err *err)
{
	size_t n = list->count + (root != NULL);
	unsigned fds;

	if (n > MACHINE_SHARES_MAX)
		return err_set(err, ERR_USAGE, "%zu shared folders are too many: %d at most", n,
			       MACHINE_SHARES_MAX);
	fds = n ? descriptors(n) : 0;
	for (size_t i = 0; i < list->count; i++)
		if (add(s, list->items[i], command, false, fds, err) < 0)
			return -1;
	if (!root)
		return 0;
	s->read_only[s->n] = !root_writable;
	return add(s, root, command, true, fds, err);
}

int shares_add_saved(struct shares *s, size_t total, const char *dir, const char *tag,
		     bool read_only, struct err *err)
{
	size_t i = s->n++;

	s->text[i] = strdup(dir);
	if (!s->text[i])
		return err_nomem(err);
	s->read_only[i] = read_only;
	s->machine[i].tag = tag;
	return share_open(&s->machine[i].share, dir, read_only, descriptors(total), err);
}

void shares_close(struct shares *s)
{
	for (size_t i = 0; i < s->n; i++) {
		share_close(s->machine[i].share);
		free(s->text[i]);
	}
}
