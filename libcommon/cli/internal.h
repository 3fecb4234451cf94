/* What the files of libcommon/cli share; nobody outside this folder (but its unit tests) includes it.
 *
 *	main.c		order of events: tables, verb, signals, run, error, exit status
 *	opt.c		parsing from tables		config.c	/etc/vmkit.conf, ~/.config/vmkit.conf
 *	help.c		--help, usage, wrapping		man.c		__man
 *	complete.c	__completion, __complete	suggest.c	nearest word
 *	report.c	errors and warnings on stderr	output.c	results on stdout, terminals
 *	progress.c	bar, JSON lines, SIGUSR1	signals.c	SIGINT, SIGTERM, SIGPIPE
 *	table.c		columns				password.c	passphrases
 */
#ifndef VMKIT_CLI_INTERNAL_H
#define VMKIT_CLI_INTERNAL_H

#include "libcommon/cli/cli.h"

enum { HELP_WIDTH = 79, OPT_TABLES_MAX = 3 };

/** struct opt_set - tables that hold for one command line; the first that knows a name wins */
struct opt_set {
	const struct opt *tables[OPT_TABLES_MAX]; /* NULL: none */
	bool rehearsal; /* not the command line of this process: nothing of it is remembered */
};

/** struct common - values of the options that every verb has */
struct common {
	bool help, version, quiet, stderr_is_tty;
	unsigned verbose;
	const char *json;     /* NULL, "", "lines" */
	const char *progress; /* NULL, "", "bar", "json", "none" */
};

enum progress_mode {
	PROGRESS_NONE,
	PROGRESS_AUTO /* a bar once it takes long */,
	PROGRESS_BAR,
	PROGRESS_JSON
};

/* opt.c */

/** opt_find() - by @letter, or by the first @len bytes of @name when @letter is 0; NULL when unknown */
const struct opt *opt_find(const struct opt_set *set, char letter, const char *name, size_t len);

/**
 * opt_parse() - set values from @argv[0..@argc), collect arguments
 * @until_argument: stop at the first argument (the verb)
 * @ret_args: room for @argc pointers; @ret_n of them are set
 * @ret_used: elements of argv dealt with
 */
int opt_parse(const struct opt_set *set, int argc, char **argv, bool until_argument,
	      char **ret_args, int *ret_n, int *ret_used, struct err *err);

/** opt_before_dashes() - arguments that stood before "--", when opt_parse() was called last; -1: there was none */
int opt_before_dashes(void);

/** opt_defaults() - options with .env: from the environment, else from the configuration file */
void opt_defaults(const struct opt_set *set);

/** opt_has_env() - has any option a default outside of the command line? */
bool opt_has_env(const struct opt_set *set);

/** opt_save() - all values, for opt_restore(); lists begin empty. Owned; NULL without memory */
union opt_saved *opt_save(const struct opt_set *set);
/** opt_restore() - as they were; consumes @saved */
void opt_restore(const struct opt_set *set, union opt_saved *saved);

/** opt_release() - free the arrays of OPT_LIST */
void opt_release(const struct opt_set *set);

/** opt_next_choice() - walk "a|b|c": the length of the word at *@pos, 0 at the end; *@pos moves behind it */
size_t opt_next_choice(const char **pos, const char **ret_word);

/* help.c */
const struct opt *common_options(struct common *c, bool json,
				 bool progress); /* static table, refilled */
void help_program(const struct program *p, FILE *out);
void help_verb(const struct program *p, const struct verb *v, FILE *out);
void help_usage(const struct program *p, FILE *out);
/** help_wrap() - @text in lines of at most @width columns, each after @indent blanks; the cursor stands at @col;
 *  paragraphs (an empty line) and lines that begin with a blank are kept */
void help_wrap(FILE *out, unsigned col, unsigned indent, unsigned width, const char *text);
/** help_option_form() - "-o, --opt KEY=VALUE" */
void help_option_form(const struct opt *o, char *buf, size_t len);
/** help_next_status() - walk "0 done, 3 differ": one "N meaning" at a time; false at the end */
bool help_next_status(const char **pos, char *buf, size_t len);

extern const char *const help_statuses; /* all of CLI.md's */

/* man.c, complete.c: the hidden verbs; Return: 0 or -1 */
int man_page(const struct program *p, FILE *out);
int completion_script(const struct program *p, const char *shell, FILE *out, struct err *err);
void complete_words(const struct program *p, const char *kind, const char *prefix, FILE *out);
const char *complete_kind_name(enum complete_kind kind); /* NULL for COMPLETE_NONE */

/* config.c */
int config_load(const char *program, struct err *err);
/** config_parse() - add the settings of @text that hold for @program; later ones win; for tests too */
int config_parse(const char *program, const char *name, char *text, struct err *err);
const char *config_get(const char *key);
void config_free(void);

/* report.c */
void report_setup(const char *program, bool json, bool quiet, unsigned verbose);
bool report_is_json(void);
void report_error(const struct err *err);

/* output.c */
void output_setup(bool stderr_is_tty);
/** output_finish() - flush and close standard output; Return: 0 or -1 (ERR_NO_SPACE, ERR_PIPE, ...) */
int output_finish(struct err *err);

/* progress.c */
int progress_start(struct progress *p, enum progress_mode mode, const char *program);
void progress_stop(bool done);
/** progress_text() - "convert  42 %  1.2 GiB of 4.0 GiB  310 MiB/s  9 s left" into @buf; @width 0: no bar */
void progress_text(const char *what, uint64_t done, uint64_t total, double seconds, double rate,
		   unsigned width, char *buf, size_t len);
/** progress_pause() / progress_resume() - around other lines on standard error: the bar is wiped first */
void progress_pause(void);
void progress_resume(void);

/* signals.c */
void signals_install(void);
/** signals_die() - end as @number ends a process, with status 128+N if it is blocked; does not return */
void signals_die(int number) __attribute__((noreturn));
/** signals_usr1_fd() - descriptor that gets readable when SIGUSR1 comes; -1 when there is none; opened once */
int signals_usr1_fd(void);

/* password.c */
void password_never_ask(void); /* completion: no prompt on the terminal */

#endif
