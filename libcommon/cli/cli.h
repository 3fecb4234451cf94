/* What the five programs share: option tables, help, completion, errors on standard error, signals, progress.
 *
 * A program is a struct program in cmd/X/main.c, a verb a struct verb in a file of its own. One option table drives
 * parsing, --help, the man page check, completions/ and the hidden verb __complete. Options and arguments come in
 * any order, "--" ends options, "--opt=value" and "--opt value", "-o value" and "-ovalue", flags can be bundled.
 * An unknown verb or option names the nearest one that exists. Nothing is abbreviated.
 */
#ifndef VMKIT_CLI_CLI_H
#define VMKIT_CLI_CLI_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "libcommon/base/err.h"
#include "libcommon/base/progress.h"

enum opt_type {
	OPT_FLAG,     /* bool: true */
	OPT_COUNT,    /* unsigned: one more each time */
	OPT_STRING,   /* const char *: borrowed from argv */
	OPT_LIST,     /* struct opt_list: each occurrence adds one */
	OPT_SIZE,     /* uint64_t: bytes, as size_parse() */
	OPT_UINT,     /* unsigned: decimal, bounded by .min and .max */
	OPT_DURATION, /* uint64_t: milliseconds, as duration_parse() */
	OPT_CHOICE,   /* const char *: one of .choices "a|b|c" */
	OPT_OPTIONAL, /* const char *: "" without a value; the value must be attached: -c, -czstd, --compress=zstd:3 */
};

struct opt_list {
	const char **items; /* borrowed strings; the array is freed by cli */
	size_t count;
};

enum complete_kind {
	COMPLETE_NONE,
	COMPLETE_FILE,
	COMPLETE_DIR,
	COMPLETE_FORMAT /* image formats */,
	COMPLETE_SNAPSHOT /* ids and NAME@latest of the repository */,
	COMPLETE_MACHINE,
	COMPLETE_DIGEST,
};

struct opt {
	char letter;	  /* 0: none */
	const char *name; /* without "--" */
	enum opt_type type;
	void *value;	     /* where it goes, by type */
	const char *arg;     /* "SIZE" in help; NULL for flags */
	const char *help;    /* one sentence, no full stop */
	const char *choices; /* OPT_CHOICE */
	enum complete_kind complete;
	unsigned min, max; /* OPT_UINT; max 0: no bound */
	bool hidden;	   /* tests only: not in help, not completed */
	const char *env;   /* environment variable that gives the default; NULL. OPT_STRING only */
};
#define OPT_END                                                                                    \
	{                                                                                          \
		.name = NULL                                                                       \
	}

struct verb;

/** struct cli - the running program; one per process, on main's stack */
struct cli {
	const struct program *program;
	const struct verb *verb;
	bool json;	 /* --json */
	bool json_lines; /* --json=lines */
	bool quiet;
	unsigned verbose;
	int status; /* set by a verb that passes another program's status on; counts when it returns 0 */
	int failure_status; /* set by such a verb: the status of its own failures, whatever they are; 0: the usual ones */
	bool dashes;	   /* "--" stood before the first argument */
	int before_dashes; /* arguments before "--"; -1: there is none */
	struct progress
		progress; /* verbs hand &cli->progress down; drawn while cli_progress is on */
};

struct verb {
	const char *name;
	const char *usage;	     /* "[OPTIONS] SOURCE TARGET": what follows the verb's name */
	const char *summary;	     /* one line */
	const char *details;	     /* paragraphs for --help; may be NULL */
	const struct opt *options;   /* ends with OPT_END; the common ones are added by cli */
	const char *const *examples; /* NULL-terminated, at least two: "vmimg info disk.qcow2" */
	const char *statuses;	     /* "0 done, 3 images differ, ..." */
	unsigned min_args, max_args; /* UINT_MAX: any number */
	bool json;     /* prints a result: has --json, needs docs/schema/PROGRAM-VERB.json */
	bool progress; /* has -p/--progress */
	enum complete_kind complete_args;
	/* What is wrong with options and arguments wherever it is run; before .run, looking at nothing; may be NULL */
	int (*check)(int argc, char **argv, struct err *err);
	int (*run)(struct cli *cli, int argc, char **argv,
		   struct err *err); /* argv: arguments only */
	bool hidden;
};

struct program {
	const char *name;
	const char *summary;
	const struct verb *const *verbs; /* NULL-terminated */
	/* One of verbs, whose name may be left out before an option or a file name, a word with ".", "/" or ":"; NULL: none */
	const struct verb *main_verb;
	const struct opt
		*options; /* for every verb, and before the verb too: -r REPO; may be NULL */
	void (*complete)(enum complete_kind kind, const char *prefix,
			 FILE *out); /* dynamic words; may be NULL */
	void (*versions)(FILE *out); /* library versions for --version -v; may be NULL */
	/* After each verb that was run, before its error is told: rc and err are the verb's; may be NULL */
	void (*done)(const struct cli *cli, int argc, char **argv, int rc, const struct err *err);
	void (*man)(
		FILE *out); /* sections of its own in the man page, man(7) source; may be NULL */
};

/**
 * cli_main() - parse, install signal handlers, run the verb, print its error, give the exit status
 *
 * A verb returns 0, or -1 with @err. An empty message prints nothing more: ERR_DIFFERS then just ends with status 3,
 * ERR_CORRUPT (check and verify that printed their faults) with 8.
 * Standard output is flushed and closed with its errors checked: a full disk behind a pipe is never status 0.
 */
int cli_main(const struct program *program, int argc, char **argv);

/**
 * cli_rehearse() - would "PROGRAM VERB @argv" be understood? For a verb that will run others
 * The values are in @v's and the program's tables while @v->check looks, and then as they were before.
 * Return: 0, or -1 (ERR_USAGE)
 */
int cli_rehearse(const struct program *program, const struct verb *v, int argc, char **argv,
		 struct err *err);

/** cli_each_given() - @each gets "--name=value" for every option of @table on the command line, in its order */
int cli_each_given(const struct opt *table, int (*each)(void *ctx, const char *word, struct err *),
		   void *ctx, struct err *err);

/** cli_print_json() - @value (consumed; NULL: out of memory) as one document; with --json=lines as one line, an
 *  array as one line an element; Return: 0 or -1 */
int cli_print_json(struct cli *cli, json_t *value, struct err *err);

/** cli_is_terminal() - is @fd a terminal (or said to be one by the hidden --debug-stderr-is-tty) */
bool cli_is_terminal(int fd);

/** cli_use_color() - a terminal, no NO_COLOR, not TERM=dumb */
bool cli_use_color(int fd);

/** cli_printable() - a copy of @text (owned: free) with control characters and what is not UTF-8 as \xNN: for names
 *  out of images, which could drive the terminal; NULL without memory. Errors and tables are treated so already */
char *cli_printable(const char *text);

/** cli_json_string() - as json_string(), but bytes that are not UTF-8 become U+FFFD: for file names */
json_t *cli_json_string(const char *text);

/** cli_config() - a setting of /etc/vmkit.conf or ~/.config/vmkit.conf; borrowed; NULL when there is none. Read by
 *  cli_main() when a table has options with .env, which get their settings by themselves */
const char *cli_config(const char *key);

/** cli_refuse_terminal() - ERR_USAGE when standard output is a terminal and binary data would go there */
int cli_refuse_terminal(struct err *err);

/** struct table - columns for people: aligned, no lines; numbers right-aligned */
struct table;
struct table *table_new(const char *const *headers, const char *alignment /* "llrr" */);
void table_row(struct table *t, const char *const *cells); /* copied */
void table_print(const struct table *t, FILE *out);	   /* header in bold on a terminal */
void table_free(struct table *t);

/** cli_suggest() - the candidate nearest to @word by edit distance, or NULL when none is near; borrowed */
const char *cli_suggest(const char *word, const char *const *candidates, size_t n);

/** cli_password() - passphrase from @file (overrides), VMKIT_PASSWORD_FILE, VMKIT_PASSWORD_COMMAND, the settings
 *  password_file and password_command, or the terminal; one newline at the end is no part of it. *@ret is owned:
 *  cleansed and freed by cli_password_free(). ERR_DENIED when there is none. @confirm: ask twice */
int cli_password(const char *file, const char *prompt, bool confirm, char **ret, struct err *err);
/** cli_password_new() - one that is to be: from @file or, typed twice, the terminal; what names the present one is not
 *  asked */
int cli_password_new(const char *file, const char *prompt, char **ret, struct err *err);
void cli_password_free(char *password);

#endif
