/* See user.h. The files are read here: a static program has no name service, and the root may be of any system. */
#include "cmd/vmrun/guest/user.h"

#include <errno.h>
#include <grp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FIELDS = 7, GROUPS_MAX = 1024 };

/* NAME:x:UID:GID:TEXT:HOME:SHELL, NAME:x:GID:MEMBER,MEMBER */
enum { P_NAME = 0, P_UID = 2, P_GID = 3, P_HOME = 5, P_FIELDS = 6, G_GID = 2, G_MEMBERS = 3 };

struct user {
	uint32_t uid, gid;
	char *name, *home; /* NULL: it has none. Never freed: a program follows */
};

/* A number that is an id: the last one means "none" to the kernel */
static bool to_id(const char *text, uint32_t *ret)
{
	char *end;
	unsigned long v;

	if (*text < '0' || *text > '9')
		return false;
	v = strtoul(text, &end, 10);
	if (*end || v >= UINT32_MAX)
		return false;
	*ret = (uint32_t)v;
	return true;
}

/* Return: how many there are, at most FIELDS */
static unsigned split(char *line, char *field[FIELDS])
{
	unsigned n = 0;

	line[strcspn(line, "\n")] = '\0';
	while (n < FIELDS && (field[n] = strsep(&line, ":")))
		n++;
	return n;
}

/* By name; @number: by what its UID is. Lines that are no user are passed over */
static bool find(const char *who, const uint32_t *number, struct user *ret)
{
	FILE *f = fopen("/etc/passwd", "re");
	char *line = NULL, *field[FIELDS];
	size_t room = 0;
	bool found = false;

	while (f && !found && getline(&line, &room, f) >= 0) {
		if (split(line, field) < P_FIELDS || !to_id(field[P_UID], &ret->uid) ||
		    !to_id(field[P_GID], &ret->gid))
			continue;
		found = number ? ret->uid == *number : strcmp(field[P_NAME], who) == 0;
		if (found) {
			ret->name = strdup(field[P_NAME]);
			ret->home = strdup(field[P_HOME]);
		}
	}
	free(line);
	if (f)
		(void)fclose(f);
	return found;
}

static bool lookup(const char *who, struct user *ret)
{
	uint32_t number;

	*ret = (struct user){.name = NULL};
	if (find(who, NULL, ret))
		return true;
	if (!to_id(who, &number))
		return false;
	if (!find(who, &number, ret))
		*ret = (struct user){.uid = number, .gid = number};
	return true;
}

static bool is_member(char *members, const char *name)
{
	char *one;

	while ((one = strsep(&members, ",")))
		if (strcmp(one, name) == 0)
			return true;
	return false;
}

/* Return: how many groups the user is in, its own first */
static size_t groups_of(const struct user *u, gid_t group[GROUPS_MAX])
{
	FILE *f = u->name ? fopen("/etc/group", "re") : NULL;
	char *line = NULL, *field[FIELDS];
	size_t room = 0, n = 0;
	uint32_t gid;

	group[n++] = u->gid;
	while (f && n < GROUPS_MAX && getline(&line, &room, f) >= 0)
		if (split(line, field) > G_MEMBERS && to_id(field[G_GID], &gid) && gid != u->gid &&
		    is_member(field[G_MEMBERS], u->name))
			group[n++] = gid;
	free(line);
	if (f)
		(void)fclose(f);
	return n;
}

int user_become(const char *who, bool home)
{
	static gid_t group[GROUPS_MAX];
	struct user u;

	if (!lookup(who, &u)) {
		(void)fprintf(stderr, "vmrun: no user %s in the guest's /etc/passwd\n", who);
		return -1;
	}
	/* It may open /dev/stdout and the like again */
	for (int i = 0; i < 3; i++)
		(void)fchown(i, u.uid, u.gid);
	if (setgroups(groups_of(&u, group), group) < 0 || setresgid(u.gid, u.gid, u.gid) < 0 ||
	    setresuid(u.uid, u.uid, u.uid) < 0) {
		(void)fprintf(stderr, "vmrun: the command cannot run as %s: %s\n", who,
			      strerror(errno));
		return -1;
	}
	if (home && u.home && *u.home)
		(void)setenv("HOME", u.home, 1);
	return 0;
}
