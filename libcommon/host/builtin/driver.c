/* The driver "builtin": what is asked of a host and its machines, by their files, keepers and vmrun's control sockets. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/log.h"
#include "libcommon/host/builtin/builtin.h"
#include "libcommon/host/xmldoc.h"
#include "libcommon/runner/control.h"

static int folder(const char *variable, const char *below_home, const char *last, char **ret,
		  struct err *err)
{
	const char *set = getenv(variable), *home = getenv("HOME");
	int n;

	if (set && set[0] == '/')
		n = asprintf(ret, "%s/%s", set, last);
	else if (home && home[0] == '/')
		n = asprintf(ret, "%s/%s/%s", home, below_home, last);
	else
		return err_set(err, ERR_USAGE, "HOME is not set");
	if (n < 0) {
		*ret = NULL;
		return err_nomem(err);
	}
	return 0;
}

static int make_path(const char *path, struct err *err)
{
	CLEANUP_FREE char *copy = strdup(path);

	for (char *s = copy ? copy + 1 : NULL; s && *s; s++)
		if (*s == '/') {
			*s = '\0';
			(void)mkdir(copy, 0700);
			*s = '/';
		}
	if (copy && (mkdir(copy, 0700) == 0 || access(copy, W_OK) == 0))
		return 0;
	err_sys(err, "cannot create the folder");
	return err_object(err, path);
}

static void host_free(struct builtin_host *b)
{
	free(b->machines);
	free(b->state);
	free(b);
}

static int builtin_open(struct host *h, const char *uri, unsigned flags, struct err *err)
{
	struct builtin_host *b = calloc(1, sizeof(*b));

	(void)flags;
	if (!b)
		return err_nomem(err);
	if (strcmp(uri, BUILTIN_URI) != 0) {
		free(b);
		return err_set(err, ERR_USAGE, "the URI is " BUILTIN_URI ", without more");
	}
	h->uri = strdup(BUILTIN_URI);
	if (!h->uri ||
	    folder("XDG_CONFIG_HOME", ".config", "vmkit/machines", &b->machines, err) < 0 ||
	    folder("XDG_STATE_HOME", ".local/state", "vmkit", &b->state, err) < 0 ||
	    make_path(b->state, err) < 0) {
		host_free(b);
		return h->uri ? -1 : err_nomem(err);
	}
	h->priv = b;
	return 0;
}

static void builtin_close(struct host *h)
{
	host_free(h->priv);
	h->priv = NULL;
}

static double cpu_seconds(const json_t *answer)
{
	const json_t *list = json_object_get(answer, "cpus");
	double sum = 0;

	for (size_t i = 0; i < json_array_size(list); i++)
		sum += json_number_value(json_object_get(json_array_get(list, i), "cpu_seconds"));
	return sum;
}

static int describe(const struct builtin_host *b, const char *name, struct domain_info *ret,
		    struct err *err)
{
	struct builtin_machine m;
	struct builtin_now now;

	if (builtin_load(b, name, &m, err) < 0)
		return -1;
	if (builtin_now(b, name, &now, err) < 0) {
		builtin_release(&m);
		return -1;
	}
	*ret = (struct domain_info){.id = now.pid,
				    .state = now.state,
				    .reason = now.reason,
				    .cpus = m.cpus,
				    .memory = m.memory,
				    .memory_max = m.memory,
				    .cpu_time_ns = (uint64_t)(cpu_seconds(now.answer) * 1e9),
				    .persistent = true,
				    .autostart = m.autostart,
				    .autostart_order = m.order,
				    .autostart_delay_ms = m.delay_ms,
				    .saved = builtin_saved(b, name)};
	ret->name = steal_ptr(&m.name);
	memcpy(ret->uuid, m.uuid, UUID_TEXT_MAX);
	builtin_release(&m);
	json_decref(now.answer);
	return 0;
}

/* A file that is broken is told, and keeps no other from being listed. */
static int list(struct host *h, struct domain_info **ret, size_t *ret_n, struct err *err)
{
	const struct builtin_host *b = builtin_of(h);
	struct domain_info *found;
	char **names;
	size_t n, done = 0;

	if (builtin_names(b, &names, &n, err) < 0)
		return -1;
	found = calloc(n + 1, sizeof(*found));
	for (size_t i = 0; found && i < n; i++) {
		struct err why = ERR_INIT;

		if (describe(b, names[i], &found[done], &why) == 0)
			done++;
		else if (why.code != ERR_NOT_FOUND) /* else: gone since */
			log_warning("%s: %s", why.object[0] ? why.object : names[i], why.message);
	}
	builtin_names_free(names, n);
	if (!found)
		return err_nomem(err);
	*ret = found;
	*ret_n = done;
	return 0;
}

static int take(struct domain *d, struct builtin_machine *m)
{
	memcpy(d->uuid, m->uuid, UUID_TEXT_MAX);
	d->name = steal_ptr(&m->name);
	builtin_release(m);
	return 0;
}

static int find(struct host *h, const char *name, struct domain *d, struct err *err)
{
	const struct builtin_host *b = builtin_of(h);
	struct builtin_machine m;
	struct err why = ERR_INIT;
	char **names;
	size_t n;
	bool found = false;

	if (builtin_load(b, name, &m, &why) == 0)
		return take(d, &m);
	if (why.code != ERR_NOT_FOUND || strlen(name) != 36 ||
	    builtin_names(b, &names, &n, &why) < 0) {
		if (err)
			*err = why;
		return -1;
	}
	for (size_t i = 0; !found && i < n; i++) {
		if (builtin_load(b, names[i], &m, NULL) < 0)
			continue;
		found = strcasecmp(m.uuid, name) == 0;
		if (!found)
			builtin_release(&m);
	}
	builtin_names_free(names, n);
	return found ? take(d, &m) : err_set(err, ERR_NOT_FOUND, "there is no such machine");
}

static void release(struct domain *d)
{
	(void)d;
}

static int info(struct domain *d, struct domain_info *ret, struct err *err)
{
	return describe(builtin_of(d->host), d->name, ret, err);
}

static int state(struct domain *d, enum domain_state *ret, const char **ret_reason, struct err *err)
{
	struct domain_info i;

	if (describe(builtin_of(d->host), d->name, &i, err) < 0)
		return -1;
	*ret = i.state;
	if (ret_reason)
		*ret_reason = i.reason;
	domain_info_release(&i);
	return 0;
}

/* ---- what is done to them */

static int start(struct domain *d, bool fresh, struct err *err)
{
	const struct builtin_host *b = builtin_of(d->host);
	struct builtin_machine m;
	int rc;

	if (builtin_load(b, d->name, &m, err) < 0)
		return -1;
	rc = fresh ? builtin_forget_saved(b, d->name, err) : 0;
	if (rc == 0)
		rc = builtin_go_on(b, &m, err);
	builtin_release(&m);
	return rc;
}

/* *@ret may be NULL */
static int ask(struct domain *d, enum control_verb verb, json_t **ret, struct err *err)
{
	json_t *answer;

	if (control_ask(d->name, verb, ASK_MS, &answer, err) < 0) {
		if (!err || err->code != ERR_NOT_FOUND)
			return -1;
		return builtin_kept(builtin_of(d->host), d->name)
			       ? err_set(err, ERR_BUSY, "is about to start or to end")
			       : err_set(err, ERR_FAILED, "is off");
	}
	if (ret)
		*ret = answer;
	else
		json_decref(answer);
	return 0;
}

/* vmrun's own stop pulls the plug of a guest that does not listen; whether to is for the caller to say. */
static int press(struct domain *d, bool again, struct err *err)
{
	json_t *answer;
	bool listens;

	if (ask(d, CONTROL_INFO, &answer, err) < 0)
		return -1;
	listens = json_is_true(json_object_get(answer, "power_button"));
	json_decref(answer);
	if (!listens)
		return err_set(err, ERR_UNSUPPORTED,
			       "its guest does not listen to the power button");
	if (again && keeper_ask(d->name, "again", NULL, err) < 0)
		return -1;
	return ask(d, CONTROL_STOP, NULL, err);
}

static int reset(struct domain *d, struct err *err)
{
	return keeper_ask(d->name, "again", NULL, err) < 0 ? -1 : ask(d, CONTROL_KILL, NULL, err);
}

/* It is off when its keeper is gone: then its disks are free, and how it ended is written. */
static int destroy(struct domain *d, struct err *err)
{
	struct err why = ERR_INIT;

	if (!builtin_kept(builtin_of(d->host), d->name))
		return err_set(err, ERR_FAILED, "is off");
	/* A keeper that ends just now does not answer; vmrun may be about to be started again. */
	(void)keeper_ask(d->name, "end", NULL, &why);
	err_clear(&why);
	(void)ask(d, CONTROL_KILL, NULL, &why);
	return domain_wait(d, DOMAIN_OFF, END_MS, err);
}

static int keep_autostart(struct domain *d, bool on, unsigned order, uint64_t delay_ms,
			  struct err *err)
{
	const struct builtin_host *b = builtin_of(d->host);
	struct builtin_machine m;
	int rc;

	if (builtin_load(b, d->name, &m, err) < 0)
		return -1;
	m.autostart = on;
	m.order = order;
	m.delay_ms = delay_ms;
	rc = builtin_save(b, &m, err);
	builtin_release(&m);
	return rc;
}

static int set_autostart(struct domain *d, unsigned order, uint64_t delay_ms, struct err *err)
{
	return keep_autostart(d, order > 0, order, delay_ms, err);
}

static int undefine(struct domain *d, struct err *err)
{
	static const char *const suffixes[] = {"json", "log", "log.1", "save", "held", "lock"};
	const struct builtin_host *b = builtin_of(d->host);
	CLEANUP_FREE char *file = builtin_path(b->machines, d->name, "json");
	CLEANUP_CLOSE int lock = -1;

	if (!file)
		return err_nomem(err);
	if (builtin_lock(b, d->name, &lock, err) < 0)
		return -1;
	if (unlink(file) < 0) {
		err_sys(err, "cannot remove");
		return err_object(err, file);
	}
	for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
		CLEANUP_FREE char *path = builtin_path(b->state, d->name, suffixes[i]);

		if (path)
			(void)unlink(path);
	}
	return 0;
}

static int act(struct domain *d, enum domain_action what, struct err *err)
{
	switch (what) {
	case DOMAIN_START:
	case DOMAIN_START_FRESH:
		return start(d, what == DOMAIN_START_FRESH, err);
	case DOMAIN_SUSPEND:
		return ask(d, CONTROL_PAUSE, NULL, err);
	case DOMAIN_RESUME:
		return ask(d, CONTROL_RESUME, NULL, err);
	case DOMAIN_SHUTDOWN_ACPI:
		return press(d, false, err);
	case DOMAIN_REBOOT_ACPI:
		return press(d, true, err);
	case DOMAIN_RESET:
		return reset(d, err);
	case DOMAIN_DESTROY:
		return destroy(d, err);
	case DOMAIN_AUTOSTART_ON:
	case DOMAIN_AUTOSTART_OFF:
		return keep_autostart(d, what == DOMAIN_AUTOSTART_ON, 0, 0, err);
	case DOMAIN_UNDEFINE:
		return undefine(d, err);
	case DOMAIN_SHUTDOWN_AGENT:
	case DOMAIN_REBOOT_AGENT:
		return err_set(err, ERR_UNSUPPORTED, "the driver builtin has no guest agent");
	case DOMAIN_SAVE:
		return builtin_save_to(d, NULL, err);
	case DOMAIN_START_PAUSED:
		return err_set(err, ERR_UNSUPPORTED,
			       "the driver builtin does not start machines paused");
	default:
		return err_set(err, ERR_UNSUPPORTED, "the driver builtin cannot do this");
	}
}

static int idle(struct domain *d, struct err *err)
{
	(void)d;
	(void)err;
	return 0;
}

/* ---- what they are */

static int xml(struct domain *d, unsigned flags, char **ret, struct err *err)
{
	struct builtin_machine m;

	(void)flags; /* what runs is what was defined when it was started; vmrun changes nothing */
	if (builtin_load(builtin_of(d->host), d->name, &m, err) < 0)
		return -1;
	*ret = builtin_to_xml(&m);
	builtin_release(&m);
	return *ret ? 0 : err_nomem(err);
}

/* What XML does not say stays as it was; a machine of that name with another UUID is another machine. */
static int merge(const struct builtin_host *b, struct builtin_machine *m, struct err *err)
{
	struct builtin_machine old;
	struct err why = ERR_INIT;

	if (builtin_load(b, m->name, &old, &why) < 0) {
		if (why.code == ERR_NOT_FOUND)
			return 0;
		if (err)
			*err = why;
		return -1;
	}
	if (strcmp(old.uuid, m->uuid) != 0) {
		builtin_release(&old);
		err_set(err, ERR_EXISTS, "there is a machine of this name");
		return err_object(err, m->name);
	}
	m->autostart = old.autostart;
	m->order = old.order;
	m->delay_ms = old.delay_ms;
	for (; m->n_publish < old.n_publish; m->n_publish++)
		m->publish[m->n_publish] = steal_ptr(&old.publish[m->n_publish]);
	for (; m->n_allow < old.n_allow; m->n_allow++)
		m->allow[m->n_allow] = steal_ptr(&old.allow[m->n_allow]);
	builtin_release(&old);
	return 0;
}

static int define(struct host *h, const char *text, struct domain *d, struct err *err)
{
	const struct builtin_host *b = builtin_of(h);
	struct builtin_machine m;

	if (builtin_from_xml(text, &m, err) < 0)
		return -1;
	if (merge(b, &m, err) < 0 || builtin_save(b, &m, err) < 0) {
		builtin_release(&m);
		return -1;
	}
	return take(d, &m);
}

static int change(struct domain *d, unsigned where, unsigned cpus, uint64_t memory, struct err *err)
{
	const struct builtin_host *b = builtin_of(d->host);
	struct builtin_machine m;
	int rc;

	if (where & DOMAIN_LIVE) {
		err_set(err, ERR_UNSUPPORTED,
			"vmrun does not change processors and memory of a machine that runs");
		return err_hint(err, "--config: from its next start on");
	}
	if (cpus > BUILTIN_CPUS_MAX)
		return err_set(err, ERR_UNSUPPORTED, "vmrun has %d processors at most",
			       BUILTIN_CPUS_MAX);
	if (builtin_load(b, d->name, &m, err) < 0)
		return -1;
	m.cpus = cpus ? cpus : m.cpus;
	m.memory = memory ? memory : m.memory;
	rc = builtin_save(b, &m, err);
	builtin_release(&m);
	return rc;
}

static int set_cpus(struct domain *d, unsigned n, unsigned where, bool max, struct err *err)
{
	(void)max; /* they are all there from the start */
	return change(d, where, n, 0, err);
}

static int set_memory(struct domain *d, uint64_t bytes, unsigned where, bool max, struct err *err)
{
	(void)max;
	return change(d, where, 0, bytes, err);
}

/* ---- disks that come and go, from the next start on */

static int config_only(unsigned where, struct err *err)
{
	if (!(where & DOMAIN_LIVE))
		return 0;
	err_set(err, ERR_UNSUPPORTED, "vmrun does not change the devices of a machine that runs");
	return err_hint(err, "--config: from its next start on");
}

static int attach(struct domain *d, const char *device, unsigned where, struct err *err)
{
	CLEANUP_FREE char *text = NULL, *new = NULL;
	struct builtin_machine m;
	struct xmldoc *x;
	int rc;

	if (config_only(where, err) < 0 || xml(d, 0, &text, err) < 0 ||
	    xmldoc_parse(&x, text, "domain", err) < 0)
		return -1;
	rc = xmldoc_add(x, "/domain/devices", device, err);
	if (rc == 0)
		rc = xmldoc_text(x, &new, err);
	xmldoc_free(x);
	if (rc < 0 || builtin_from_xml(new, &m, err) < 0)
		return -1;
	rc = merge(builtin_of(d->host), &m, err);
	if (rc == 0)
		rc = builtin_save(builtin_of(d->host), &m, err);
	builtin_release(&m);
	return rc;
}

/* @device names the disk by its target, as builtin_to_xml() numbers them. */
static int detach(struct domain *d, const char *device, unsigned where, struct err *err)
{
	CLEANUP_FREE char *target = NULL;
	struct builtin_machine m;
	struct xmldoc *x;
	size_t i;
	int rc;

	if (config_only(where, err) < 0 || xmldoc_parse(&x, device, "device", err) < 0)
		return -1;
	target = xmldoc_get(x, "/disk/target/@dev");
	xmldoc_free(x);
	if (!target || strlen(target) != 3 || strncmp(target, "vd", 2) != 0)
		return err_set(err, ERR_UNSUPPORTED, "the device is no disk of vmrun");
	if (builtin_load(builtin_of(d->host), d->name, &m, err) < 0)
		return -1;
	i = (size_t)(target[2] - 'a');
	if (i >= m.n_disks) {
		builtin_release(&m);
		return err_set(err, ERR_NOT_FOUND, "has no disk %s", target);
	}
	free(m.disks[i].file);
	free(m.disks[i].format);
	memmove(&m.disks[i], &m.disks[i + 1], (--m.n_disks - i) * sizeof(m.disks[0]));
	rc = builtin_save(builtin_of(d->host), &m, err);
	builtin_release(&m);
	return rc;
}

static bool alive(struct host *h)
{
	(void)h;
	return true;
}

const struct host_driver host_builtin = {
	.name = "builtin",
	.open = builtin_open,
	.close = builtin_close,
	.list = list,
	.find = find,
	.release = release,
	.info = info,
	.state = state,
	.act = act,
	.set_autostart = set_autostart,
	.idle = idle,
	.save_to = builtin_save_to,
	.restore = builtin_restore,
	.hold = builtin_hold,
	.held = builtin_held,
	.let_go = builtin_let_go,
	.held_memory = builtin_held_memory,
	.check_memory = builtin_check_memory,
	.restore_memory = builtin_restore_memory,
	.xml = xml,
	.define = define,
	.set_cpus = set_cpus,
	.set_memory = set_memory,
	.limit_cpu = builtin_limit_cpu,
	.limit_memory = builtin_limit_memory,
	.pin = builtin_pin,
	.attach = attach,
	.detach = detach,
	.stats = builtin_stats,
	.node = builtin_node,
	.events_start = builtin_events_start,
	.events_stop = builtin_events_stop,
	.alive = alive,
	.console_open = builtin_console_open,
	.console_read = builtin_console_read,
	.console_write = builtin_console_write,
	.console_close = builtin_console_close,
};
