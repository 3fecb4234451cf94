/* Arguments that are libvirt domains, and their disks. */
#include "cmd/vmsnap/domain.h"

#include <stdlib.h>
#include <string.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/host/live.h"

const char *vmsnap_connect;

bool is_domain(const char *arg, char **ret_uri, const char **ret_name)
{
	const char *scheme = strstr(arg, "://"), *slash = strrchr(arg, '/');

	*ret_uri = NULL;
	*ret_name = arg;
	if (vmsnap_connect) {
		*ret_uri = strcmp(vmsnap_connect, "builtin") == 0 ? strdup(BUILTIN_URI)
			   : *vmsnap_connect			  ? strdup(vmsnap_connect)
								  : NULL;
		return true;
	}
	/* qemu:///system/web */
	if (!scheme || slash < scheme + 3 || !slash[1])
		return false;
	/* builtin:///web */
	*ret_uri = strndup(arg, (size_t)(slash - arg) + (slash == scheme + 3));
	*ret_name = slash + 1;
	return true;
}

static int files_of(struct disk_set *t, char **args, size_t n, struct err *err)
{
	t->paths = calloc(n + 1, sizeof(*t->paths));
	for (size_t i = 0; t->paths && i < n; i++) {
		t->paths[i] = strdup(args[i]);
		if (!t->paths[i])
			return err_nomem(err);
		t->n++;
	}
	return t->paths ? 0 : err_nomem(err);
}

static int disks_of(struct disk_set *t, struct err *err)
{
	struct domain_info info;

	if (domain_info(t->domain, &info, err) < 0)
		return -1;
	t->running = info.state != DOMAIN_OFF && info.state != DOMAIN_CRASHED;
	domain_info_release(&info);
	if (domain_files(t->domain, t->running, &t->disks, &t->n, err) < 0)
		return -1;
	t->paths = calloc(t->n + 1, sizeof(*t->paths));
	for (size_t i = 0; t->paths && i < t->n; i++) {
		t->paths[i] = strdup(t->disks[i].source);
		if (!t->paths[i])
			return err_nomem(err);
	}
	return t->paths ? 0 : err_nomem(err);
}

int disks_open(struct disk_set *ret, char **args, size_t n, bool change, struct err *err)
{
	CLEANUP_FREE char *uri = NULL;
	struct disk_set t = {0};
	const char *name;
	int rc;

	*ret = t;
	if (!is_domain(args[0], &uri, &name)) {
		rc = files_of(&t, args, n, err);
	} else if (n > 1) {
		rc = err_set(err, ERR_USAGE, "one domain at a time: its disks are a set already");
	} else {
		rc = host_open(&t.host, uri, 0, 0, err);
		if (rc == 0 && strstr(host_uri(t.host), "://") &&
		    strstr(host_uri(t.host), "://")[3] != '/') {
			rc = err_set(err, ERR_UNSUPPORTED,
				     "is another host, whose files are not here: run vmsnap there");
			err_object(err, host_uri(t.host));
		}
		if (rc == 0)
			rc = host_find(t.host, name, &t.domain, err);
		if (rc == 0)
			rc = disks_of(&t, err);
		if (rc == 0 && change)
			rc = domain_forget_chains(t.domain, err);
		if (rc == 0 && change)
			rc = known_find(&t, err);
	}
	if (rc < 0)
		disks_close(&t);
	else
		*ret = t;
	return rc;
}

void disks_close(struct disk_set *t)
{
	for (size_t i = 0; t->paths && i < t->n; i++)
		free(t->paths[i]);
	free(t->paths);
	if (t->disks)
		domain_disks_free(t->disks, t->n);
	known_free(t);
	domain_close(t->domain);
	host_close(t->host);
	*t = (struct disk_set){0};
}

static int find_target(const struct disk_set *t, const char *name, const char *target, size_t *ret,
		       struct err *err)
{
	for (size_t i = 0; i < t->n; i++)
		if (target ? strcmp(t->disks[i].target, target) == 0 : t->n == 1) {
			*ret = i;
			return 0;
		}
	if (target)
		err_set(err, ERR_NOT_FOUND, "has no disk %s", target);
	else
		err_set(err, ERR_USAGE, "has %zu disks: DOMAIN:%s is wanted, for example", t->n,
			t->disks[0].target);
	return err_object(err, name);
}

int one_open(struct one *ret, const char *arg, bool change, struct err *err)
{
	CLEANUP_FREE char *uri = NULL, *text = strdup(arg);
	const char *name;
	char *names[2] = {text, NULL}, *colon = NULL;

	*ret = (struct one){0};
	if (!text)
		return err_nomem(err);
	if (is_domain(arg, &uri, &name))
		colon = strrchr(text + (name - arg), ':');
	if (colon)
		*colon++ = '\0';
	if (disks_open(&ret->set, names, 1, change, err) < 0)
		return -1;
	if (!ret->set.domain || find_target(&ret->set, name, colon, &ret->i, err) == 0)
		return 0;
	disks_close(&ret->set);
	return -1;
}

void one_close(struct one *o)
{
	disks_close(&o->set);
}

const char *one_path(const struct one *o)
{
	return o->set.paths[o->i];
}

const char *one_target(const struct one *o)
{
	return o->set.domain ? o->set.disks[o->i].target : "";
}

int one_disk(const char *arg, bool change, char **ret_path, struct err *err)
{
	struct one o;

	if (one_open(&o, arg, change, err) < 0)
		return -1;
	*ret_path = strdup(one_path(&o));
	one_close(&o);
	return *ret_path ? 0 : err_nomem(err);
}

const char **targets_of(const struct disk_set *t, struct snap_disk *const *disks, struct err *err)
{
	const char **list = calloc(t->n + 1, sizeof(*list));

	if (!list)
		err_nomem(err);
	for (size_t i = 0; list && i < t->n; i++) {
		list[i] = "";
		for (size_t k = 0; t->domain && k < t->n; k++) {
			CLEANUP_FREE char *real = realpath(t->paths[k], NULL);

			if (real && strcmp(real, snap_path(disks[i])) == 0)
				list[i] = t->disks[k].target;
		}
	}
	return list;
}

/* A driver that knows no checkpoints has none */
static int count_checkpoints(struct domain *d, size_t *ret_n, struct err *err)
{
	struct err why = ERR_INIT;
	char **names;

	*ret_n = 0;
	if (domain_checkpoints(d, &names, ret_n, &why) == 0) {
		for (size_t i = 0; i < *ret_n; i++)
			free(names[i]);
		free(names);
		return 0;
	}
	if (why.code == ERR_UNSUPPORTED)
		return 0;
	if (err)
		*err = why;
	return -1;
}

/* Its description has the names of all files, and would be believed */
static int refuse_saved(const struct disk_set *t, struct err *err)
{
	bool held;

	err_set(err, ERR_UNSUPPORTED,
		"has saved memory, which would not fit to its disks any more");
	if (domain_held(t->domain, &held, NULL) == 0 && held)
		err_hint(err, "a snapshot of it was interrupted: vmsnap recover lets it go on");
	else
		err_hint(err, "vmctl start lets it go on, vmctl start --fresh throws it away");
	return err_object(err, domain_name(t->domain));
}

int disks_refuse(const struct disk_set *t, bool revert, bool in_place, struct err *err)
{
	struct domain_info info;
	size_t checkpoints;
	bool saved, fleeting;

	if (!t->domain)
		return 0;
	if (count_checkpoints(t->domain, &checkpoints, err) < 0 ||
	    domain_info(t->domain, &info, err) < 0)
		return -1;
	saved = info.saved;
	fleeting = !info.persistent;
	domain_info_release(&info);
	if (checkpoints && (revert || !t->running)) {
		err_set(err, ERR_UNSUPPORTED,
			"has %zu checkpoints, whose bitmaps would say of what changed what is not "
			"true",
			checkpoints);
		err_hint(err, "virsh checkpoint-delete, while it runs, takes one away; the next "
			      "backup reads all then");
	} else if (saved && !t->running && (revert || !in_place)) {
		return refuse_saved(t, err);
	} else if (revert && t->running && fleeting) {
		err_set(err, ERR_UNSUPPORTED,
			"would be gone when it is stopped to go back: it is not persistent");
	} else {
		return revert && t->running ? domain_idle(t->domain, err) : 0;
	}
	return err_object(err, domain_name(t->domain));
}
