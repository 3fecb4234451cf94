/* cli_main(): tables, verb, signals, run, error, exit status. See cli.h. */
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/libcrypto.h"
#include "libcommon/base/outfile.h"
#include "libcommon/base/stop.h"
#include "libcommon/cli/internal.h"

/* A descriptor 0, 1 or 2 that the caller closed must not become an image's: results would be written into
 * it. Each is opened the wrong way round, so that using it is an error. */
static void keep_standard_descriptors(void)
{
	for (int fd = 0; fd <= 2; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) < 0)
			_exit(1);
}

/* Errors found while parsing are JSON too, wherever --json stands. */
static bool wants_json(int argc, char **argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (!strcmp(argv[i], "--json") || !strncmp(argv[i], "--json=", 7))
			return true;
	return false;
}

static const struct verb *find_verb(const struct program *p, const char *name)
{
	for (size_t i = 0; p->verbs[i]; i++)
		if (!strcmp(p->verbs[i]->name, name))
			return p->verbs[i];
	return NULL;
}

static int unknown_verb(const struct program *p, const char *name, struct err *err)
{
	const char *names[64];
	size_t n = 0;

	for (size_t i = 0; p->verbs[i] && n < 64; i++)
		if (!p->verbs[i]->hidden)
			names[n++] = p->verbs[i]->name;

	const char *near = cli_suggest(name, names, n);

	err_set(err, ERR_USAGE, "unknown verb '%s'", name);
	return near ? err_hint(err, "did you mean %s?", near)
		    : err_hint(err, "%s --help lists the verbs", p->name);
}

static int check_arguments(const struct program *p, const struct verb *v, unsigned n,
			   struct err *err)
{
	if (n >= v->min_args && n <= v->max_args)
		return 0;
	if (v->max_args == 0)
		err_set(err, ERR_USAGE, "%s takes no arguments, %u given", v->name, n);
	else
		err_set(err, ERR_USAGE, "%s needs %s%u argument%s, %u given", v->name,
			v->min_args == v->max_args ? ""
			: n < v->min_args	   ? "at least "
						   : "at most ",
			n < v->min_args ? v->min_args : v->max_args,
			(n < v->min_args ? v->min_args : v->max_args) == 1 ? "" : "s", n);
	return err_hint(err, "usage: %s %s %s", p->name, v->name, v->usage);
}

static void print_version(const struct program *p, const struct common *c)
{
	(void)printf("%s %s\n", p->name, VMKIT_VERSION);
	if (c->verbose && p->versions)
		p->versions(stdout);
}

/* Report and give the status; errors of standard output count when the verb had none to tell. */
static int finish(int rc, struct err *err)
{
	struct err out = ERR_INIT;

	if (output_finish(&out) < 0 && (rc == 0 || !err->message[0])) {
		*err = out;
		rc = -1;
	}
	config_free();
	if (rc == 0)
		return 0;
	if (err->code == ERR_NONE)
		err_set(err, ERR_FAILED, "failed without saying why: please report this");
	if (err->code == ERR_PIPE)
		signals_die(SIGPIPE);
	if (err->code == ERR_CANCELLED && stop_signal()) {
		outfile_remove_all_from_signal();
		/* Who pressed Ctrl-C knows; but not what is left to do */
		if (stop_signal() != SIGINT || report_is_json() || err->hint[0])
			report_error(err);
		signals_die(stop_signal());
	}
	if (err->message[0])
		report_error(err);
	return err_status(err->code);
}

/* A usage error tells where to read on, if nothing better was said. */
static int finish_usage(const struct program *p, const struct verb *v, struct err *err)
{
	if (err->code == ERR_USAGE && !err->hint[0])
		err_hint(err, "%s %s%s--help shows the options", p->name, v ? v->name : "",
			 v ? " " : "");
	return finish(-1, err);
}

static enum progress_mode progress_mode(const struct common *c)
{
	if (c->progress && !strcmp(c->progress, "json"))
		return PROGRESS_JSON;
	if (c->quiet || !cli_is_terminal(STDERR_FILENO) ||
	    (c->progress && !strcmp(c->progress, "none")))
		return PROGRESS_NONE;
	return c->progress ? PROGRESS_BAR : PROGRESS_AUTO;
}

/* Of the verb that runs */
static const struct cli *running;

/* In any thread, where nothing can be given back any more */
static void end_without_libcrypto(const char *why)
{
	struct err err = ERR_INIT;

	err_set(&err, ERR_UNSUPPORTED, "libcrypto (OpenSSL 3) cannot be loaded: %s", why);
	outfile_remove_all_from_signal();
	report_error(&err);
	_exit(running->failure_status ? running->failure_status : err_status(err.code));
}

static int run_verb(const struct program *p, const struct verb *v, const struct common *c, int argc,
		    char **argv)
{
	struct cli cli = {.program = p,
			  .verb = v,
			  .json = c->json != NULL,
			  .quiet = c->quiet,
			  .verbose = c->verbose,
			  .dashes = opt_before_dashes() == 0,
			  .before_dashes = opt_before_dashes()};
	struct err err = ERR_INIT;

	cli.json_lines = cli.json && !strcmp(c->json, "lines");
	report_setup(p->name, cli.json, c->quiet, c->verbose);
	signals_install();
	running = &cli;
	libcrypto_if_missing(end_without_libcrypto);
	if (v->progress)
		(void)progress_start(&cli.progress, progress_mode(c),
				     p->name); /* without memory for it: none */

	int rc = v->run(&cli, argc, argv, &err);

	progress_stop(rc == 0);
	if (p->done)
		p->done(&cli, argc, argv, rc, &err);

	int status = finish(rc, &err);

	if (rc < 0 && cli.failure_status)
		return cli.failure_status;
	return rc == 0 && status == 0 ? cli.status : status;
}

int cli_rehearse(const struct program *p, const struct verb *v, int argc, char **argv,
		 struct err *err)
{
	struct common c = {0};
	const struct opt_set set = {
		.tables = {v->options, p->options, common_options(&c, v->json, v->progress)},
		.rehearsal = true};
	CLEANUP_FREE char **args = calloc((size_t)argc + 1, sizeof(*args));
	union opt_saved *saved = opt_save(&set);
	int n = 0, used, rc = args && saved ? 0 : err_nomem(err);

	if (rc == 0)
		rc = opt_parse(&set, argc, argv, false, args, &n, &used, err);
	if (rc == 0)
		rc = check_arguments(p, v, (unsigned)n, err);
	if (rc == 0 && v->check)
		rc = v->check(n, args, err);
	if (saved)
		opt_restore(&set, saved);
	return rc;
}

/* The verb is known: its options and arguments in any order. */
static int parse_and_run(const struct program *p, const struct verb *v, struct common *c, int argc,
			 char **argv, struct err *config_err)
{
	const struct opt_set own = {.tables = {v->options}};
	const struct opt_set set = {
		.tables = {v->options, p->options, common_options(c, v->json, v->progress)}};
	CLEANUP_FREE char **args = calloc((size_t)argc + 1, sizeof(*args));
	struct err err = ERR_INIT;
	int n = 0, used, status;

	opt_defaults(&own);
	if (!args) {
		err_nomem(&err);
		status = finish(-1, &err);
	} else if (opt_parse(&set, argc, argv, false, args, &n, &used, &err) < 0) {
		status = finish_usage(p, v, &err);
	} else if (c->help || c->version) {
		if (c->help)
			help_verb(p, v, stdout);
		else
			print_version(p, c);
		status = finish(0, &err);
	} else if (config_err->code) {
		status = finish_usage(p, v, config_err);
	} else if (c->json && !v->json) {
		err_set(&err, ERR_USAGE, "%s has no --json", v->name);
		status = finish_usage(p, v, &err);
	} else if (check_arguments(p, v, (unsigned)n, &err) < 0 ||
		   (v->check && v->check(n, args, &err) < 0)) {
		status = finish_usage(p, v, &err);
	} else {
		output_setup(c->stderr_is_tty);
		status = run_verb(p, v, c, n, args);
	}
	opt_release(&set);
	return status;
}

/* "PROGRAM", "PROGRAM --help", "PROGRAM --version", "PROGRAM help [VERB]". */
static int without_verb(const struct program *p, const struct common *c, struct err *err)
{
	if (c->version && !c->help) {
		print_version(p, c);
		return finish(0, err);
	}
	if (c->help) {
		help_program(p, stdout);
		return finish(0, err);
	}
	if (report_is_json()) {
		err_set(err, ERR_USAGE, "a verb is needed");
		return finish_usage(p, NULL, err);
	}
	help_usage(p, stderr);
	return err_status(ERR_USAGE);
}

static int help_about(const struct program *p, const char *name, struct err *err)
{
	const struct verb *v = find_verb(p, name);

	if (!v) {
		unknown_verb(p, name, err);
		return finish_usage(p, NULL, err);
	}
	help_verb(p, v, stdout);
	return finish(0, err);
}

/* __man, __completion SHELL, __complete KIND PREFIX: for the Makefile and for completions. */
static int hidden_verb(const struct program *p, int argc, char **argv, struct err *err)
{
	const struct opt_set set = {.tables = {p->options}};
	int rc = 0;

	if (!strcmp(argv[0], "__man") && argc == 1) {
		rc = man_page(p, stdout);
	} else if (!strcmp(argv[0], "__completion") && argc == 2) {
		rc = completion_script(p, argv[1], stdout, err);
	} else if (!strcmp(argv[0], "__complete") && (argc == 2 || argc == 3)) {
		password_never_ask();
		if (opt_has_env(&set) && config_load(p->name, NULL) == 0)
			opt_defaults(&set);
		complete_words(p, argv[1], argc == 3 ? argv[2] : "", stdout);
	} else {
		unknown_verb(p, argv[0], err);
		rc = -1;
	}
	return finish(rc, err);
}

static bool needs_config(const struct program *p, const struct verb *v)
{
	const struct opt_set set = {.tables = {p->options, v ? v->options : NULL}};

	return opt_has_env(&set);
}

static bool is_question(const char *arg)
{
	return !strcmp(arg, "--help") || !strcmp(arg, "-h") || !strcmp(arg, "--version");
}

/* What no verb looks like */
static bool is_file_name(const char *word)
{
	return strpbrk(word, "./:") != NULL;
}

int cli_main(const struct program *p, int argc, char **argv)
{
	struct err err = ERR_INIT, config_err = ERR_INIT;
	struct common c = {0};
	const struct opt_set set = {.tables = {p->options, common_options(&c, true, false)}};
	const struct verb *v = NULL;
	int n, used;

	keep_standard_descriptors();
	report_setup(p->name, wants_json(argc, argv), false, 0);
	if (argc < 2)
		return without_verb(p, &c, &err);
	if (!strncmp(argv[1], "__", 2))
		return hidden_verb(p, argc - 1, argv + 1, &err);

	for (int i = 1; !v && i < argc; i++)
		v = find_verb(p, argv[i]); /* only to know whether files must be read */
	/* "vmrun --kernel K", "vmrun disk.qcow2": no verb, and not a question to the program as a whole */
	bool implied = p->main_verb && !v &&
		       (argv[1][0] == '-' ? !is_question(argv[1]) : is_file_name(argv[1]));

	if (implied)
		v = p->main_verb;
	if (needs_config(p, v))
		(void)config_load(p->name, &config_err); /* told after --help had its turn */
	opt_defaults(&(struct opt_set){.tables = {p->options}});
	if (implied)
		return parse_and_run(p, v, &c, argc - 1, argv + 1, &config_err);
	if (opt_parse(&set, argc - 1, argv + 1, true, NULL, &n, &used, &err) < 0)
		return finish_usage(p, NULL, &err);
	argc -= 1 + used;
	argv += 1 + used;
	if (argc == 0)
		return without_verb(p, &c, &err);
	v = find_verb(p, argv[0]);
	if (!v && !strcmp(argv[0], "help")) {
		c.help = true;
		return argc > 1 ? help_about(p, argv[1], &err) : without_verb(p, &c, &err);
	}
	if (!v) {
		unknown_verb(p, argv[0], &err);
		return finish_usage(p, NULL, &err);
	}
	return parse_and_run(p, v, &c, argc - 1, argv + 1, &config_err);
}
