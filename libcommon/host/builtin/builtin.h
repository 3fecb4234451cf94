/* Machines of this user that vmrun runs: what the files of this folder share.
 *
 *	~/.config/vmkit/machines/NAME.json	what a machine is (machine.c); docs/machines.md
 *	~/.local/state/vmkit/NAME.json		how it ended, or that it runs (state.c)
 *	~/.local/state/vmkit/NAME.log[.1]	what it said on its serial line, and vmrun
 *	~/.local/state/vmkit/NAME.save		its memory, when it is saved: start goes on from there
 *	~/.local/state/vmkit/NAME.held		it was saved for a change of its disks (hold.c)
 *	~/.local/state/vmkit/NAME.lock		held (flock) by the machine's keeper
 *
 * A machine that runs has two processes: vmrun, which answers on its control socket (runner/control.h), and its keeper
 * (keeper.c), which started it, holds its serial line, starts it again when the guest reboots, and writes down how it ended.
 * Nobody else keeps state: any process may ask.
 */
#ifndef VMKIT_HOST_BUILTIN_H
#define VMKIT_HOST_BUILTIN_H

#include <stdio.h>

#include "libcommon/host/private.h"

enum {
	BUILTIN_DISKS_MAX = 24,
	BUILTIN_NICS_MAX = 4,
	BUILTIN_CPUS_MAX = 16,
	ASK_MS = 5000,
	END_MS = 60000
};

struct builtin_disk {
	char *file;   /* whole name */
	char *format; /* NULL: probed */
	bool read_only;
};

struct builtin_nic {
	char *tap;    /* a tap device; NULL: user mode, by passt */
	char mac[18]; /* "": vmrun's choice */
};

/** struct builtin_pin - which processors of the host one of the machine's, or what is none of them, runs on */
struct builtin_pin {
	int vcpu;   /* or PIN_EMULATOR */
	char *cpus; /* "2-3,7" */
};

/** struct builtin_limits - of its processes; 0: none */
struct builtin_limits {
	unsigned cpu_percent; /* of one processor */
	unsigned cpu_shares;  /* its weight; the usual one is 1024 */
	uint64_t memory;
	struct builtin_pin pins[BUILTIN_CPUS_MAX + 1];
	size_t n_pins;
};

/** struct builtin_machine - strings are owned; NULL: none */
struct builtin_machine {
	char *name, *kernel, *initrd, *append;
	char uuid[UUID_TEXT_MAX];
	unsigned cpus;
	uint64_t memory; /* bytes */
	struct builtin_disk disks[BUILTIN_DISKS_MAX];
	size_t n_disks;
	struct builtin_nic nics[BUILTIN_NICS_MAX];
	size_t n_nics;
	char *publish[BUILTIN_DISKS_MAX]; /* "8080:80": as vmrun --publish */
	size_t n_publish;
	char *allow[BUILTIN_DISKS_MAX]; /* folders where backing files may lie too */
	size_t n_allow;
	bool autostart;
	unsigned order;	   /* of it; 0: after all that have one */
	uint64_t delay_ms; /* before the next order */
	struct builtin_limits limits;
};

/** struct builtin_host - host.priv */
struct builtin_host {
	char *machines, *state; /* folders, without a "/" at the end */
};

static inline struct builtin_host *builtin_of(const struct host *h)
{
	return h->priv;
}

/* ---- machine.c */

void builtin_release(struct builtin_machine *m);
/** builtin_order() - disks that can be written first, so that they are vda, vdb, ... here and in the guest */
void builtin_order(struct builtin_machine *m);
/** builtin_load() - ERR_NOT_FOUND; ERR_CORRUPT with the place in the file; builtin_release() on success */
int builtin_load(const struct builtin_host *b, const char *name, struct builtin_machine *ret,
		 struct err *err);
int builtin_save(const struct builtin_host *b, const struct builtin_machine *m, struct err *err);
/** builtin_names() - of all files, sorted; owned: names one by one, and the list */
int builtin_names(const struct builtin_host *b, char ***ret, size_t *ret_n, struct err *err);
void builtin_names_free(char **names, size_t n);
/** builtin_path() - "FOLDER/NAME.SUFFIX"; owned; NULL without memory */
char *builtin_path(const char *folder, const char *name, const char *suffix);

/* ---- xml.c */

/** builtin_put() - as printf, into what becomes the XML */
__attribute__((format(printf, 2, 3))) void builtin_put(FILE *f, const char *fmt, ...);
/** builtin_to_xml() - as a libvirt domain; owned; NULL without memory */
char *builtin_to_xml(const struct builtin_machine *m);
/** builtin_from_xml() - ERR_UNSUPPORTED for what vmrun has not (firmware, network cards, ...) */
int builtin_from_xml(const char *xml, struct builtin_machine *ret, struct err *err);

/** builtin_get_uint(), builtin_get_size() - a value of a machine's file; ERR_CORRUPT */
int builtin_get_uint(const json_t *v, const char *key, unsigned least, unsigned most, unsigned *ret,
		     struct err *err);
int builtin_get_size(const json_t *v, const char *key, uint64_t *ret, struct err *err);

/* ---- limits.c */

void builtin_limits_release(struct builtin_limits *l);
/** builtin_limits_read() - "limits" of a machine's file; ERR_CORRUPT */
int builtin_limits_read(const json_t *v, struct builtin_limits *l, struct err *err);
/** builtin_limits_json() - the same, to be written; owned; an empty object when there are none */
json_t *builtin_limits_json(const struct builtin_limits *l);
/** builtin_limits_to_xml() - as libvirt says them */
void builtin_limits_to_xml(FILE *f, const struct builtin_limits *l);
/** builtin_limits_from_xml() - ERR_USAGE */
int builtin_limits_from_xml(const struct xmldoc *x, struct builtin_limits *l, struct err *err);
/** builtin_limit_cpu() ... - as in host/limits.h, from the next start on */
int builtin_limit_cpu(struct domain *d, const struct cpu_limits *l, unsigned where,
		      struct err *err);
int builtin_limit_memory(struct domain *d, uint64_t bytes, unsigned where, struct err *err);
int builtin_pin(struct domain *d, const struct pin *p, unsigned where, struct err *err);

/* ---- state.c */

/** struct builtin_now - how a machine is */
struct builtin_now {
	enum domain_state state;
	const char *reason; /* static */
	int pid;	    /* of vmrun; -1: it does not run */
	json_t *answer;	    /* of CONTROL_STATS; owned; NULL */
};

int builtin_now(const struct builtin_host *b, const char *name, struct builtin_now *ret,
		struct err *err);
/** builtin_kept() - is there a keeper? */
bool builtin_kept(const struct builtin_host *b, const char *name);
/** builtin_lock() - to be its keeper; *@ret_fd is owned; ERR_BUSY */
int builtin_lock(const struct builtin_host *b, const char *name, int *ret_fd, struct err *err);
/** builtin_record() - write down how it is; @reason: "", "shutdown", "crashed", ...; @message: vmrun's last sentence */
void builtin_record(const struct builtin_host *b, const char *name, bool runs, const char *reason,
		    const char *message);

/* ---- keeper.c */

enum keeper_flags {
	KEEPER_ONCE = 1, /* it goes when the machine runs: its disks change from then on */
	KEEPER_HELD = 2, /* NAME.held says where the disks stand */
};

/**
 * keeper_start() - start the machine
 * @from: a saved state to go on from, NULL: it boots; @flags: of it
 * Return: 0 once it runs, or -1 with vmrun's sentence
 */
int keeper_start(const struct builtin_host *b, const struct builtin_machine *m, const char *from,
		 unsigned flags, struct err *err);

/* ---- saved.c */

/** builtin_saved() - is its memory saved? */
bool builtin_saved(const struct builtin_host *b, const char *name);
/** builtin_forget_saved() - no more; ERR_DENIED, ... */
int builtin_forget_saved(const struct builtin_host *b, const char *name, struct err *err);
/** builtin_save_to() - memory to the file @path, NULL: where start looks for it; the machine is off then */
int builtin_save_to(struct domain *d, const char *path, struct err *err);
/** builtin_put_aside() - the same, and what says that it is held stays */
int builtin_put_aside(struct domain *d, const char *path, struct err *err);
/** builtin_settle() - after one who saved it: does it go on (*@ret_runs), or is it off? Its orders are carried out before.
 *  @resume: it goes on when it is paused. ERR_CONNECTION, ERR_TIMEOUT: nobody knows */
int builtin_settle(struct domain *d, bool resume, bool *ret_runs, struct err *err);
/** builtin_go_on() - start @m from where its memory was saved, or boot */
int builtin_go_on(const struct builtin_host *b, const struct builtin_machine *m, struct err *err);
/** builtin_restore() - from a file of builtin_save_to() */
int builtin_restore(struct host *h, const char *path, bool paused, struct err *err);

/* ---- hold.c: machines that let go of their disks for a moment */

int builtin_hold(struct domain *d, struct err *err);
int builtin_held(struct domain *d, bool *ret, struct err *err);
int builtin_let_go(struct domain *d, bool same, struct err *err);
int builtin_held_memory(struct domain *d, const char *path, struct err *err);
int builtin_check_memory(struct domain *d, const char *path, struct err *err);
int builtin_restore_memory(struct domain *d, const char *path, struct err *err);
/** builtin_held_file() - its path, when it says where the disks stand; owned; NULL */
char *builtin_held_file(const struct builtin_host *b, const char *name);
/** builtin_is_held() - was it saved for that? */
bool builtin_is_held(const struct builtin_host *b, const char *name);
/** builtin_forget_held() - no more */
void builtin_forget_held(const struct builtin_host *b, const char *name);

/* ---- stands.c: where the disks of one that is held stand */

/** builtin_write_positions() - where they are now, into NAME.held */
int builtin_write_positions(const struct builtin_host *b, const struct builtin_machine *m,
			    struct err *err);
/** builtin_stands() - are they where NAME.held says, or the saved memory, or below new files without anything? ERR_DIFFERS */
int builtin_stands(const struct builtin_host *b, const struct builtin_machine *m, struct err *err);

/* ---- spawn.c */

struct spawned {
	int pid, pidfd;
	int in, out, errors; /* our ends: not blocking */
};

/** spawn_vmrun() - *@ret is owned: spawn_close(); the process is the caller's child
 *  @from: a saved state, or NULL; @positions: what --positions names, or NULL */
int spawn_vmrun(const struct builtin_machine *m, const char *from, const char *positions,
		struct spawned *ret, struct err *err);
void spawn_close(struct spawned *s);

/* ---- cgroup.c */

/** cgroup_enter() - @pid gets the limits of @m where this is allowed; else *@ret_why says why not (static), NULL when there
 *  are none to set or all hold. Processors are pinned by pin_threads() */
void cgroup_enter(const struct builtin_machine *m, int pid, const char **ret_why);
/** cgroup_leave() - the groups made for it go */
void cgroup_leave(const struct builtin_machine *m);

/** pin_threads() - of the machine that runs as @pid, by what it says of its processors' threads (CONTROL_STATS); NULL: done,
 *  else why not (static) */
const char *pin_threads(const struct builtin_machine *m, int pid, const json_t *stats);

/* ---- console.c: the keeper's socket, from outside */

#define KEEPER_SUFFIX ".keeper"

/** keeper_ask() - one line: "again" (vmrun is started again when it ends), "end" (it is not), "saved" (nor then, and that is why), "stays" (neither
 *  after all), "console", "console-force"; the keeper's word is
 *  "ok" or the sentence of the error. *@ret_fd is owned when not NULL: the connection goes on */
int keeper_ask(const char *name, const char *line, int *ret_fd, struct err *err);
int builtin_console_open(struct domain *d, const char *name, bool force, void **ret,
			 struct err *err);
ssize_t builtin_console_read(void *console, void *buf, size_t len, unsigned timeout_ms,
			     struct err *err);
int builtin_console_write(void *console, const void *buf, size_t len, struct err *err);
void builtin_console_close(void *console);

/* ---- stats.c */

int builtin_stats(struct host *h, json_t **ret, struct err *err);
int builtin_node(struct host *h, json_t **ret, struct err *err);

/* ---- events.c */

int builtin_events_start(struct host *h, host_event_fn fn, void *ctx, void **ret, struct err *err);
void builtin_events_stop(void *events);

#endif
