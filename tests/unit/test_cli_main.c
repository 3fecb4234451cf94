/* libcommon/cli: cli_main() as a process: statuses, streams, signals, passwords. Each case runs in a child. */
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "libcommon/base/io.h"
#include "libcommon/base/log.h"
#include "libcommon/base/outfile.h"
#include "libcommon/base/stop.h"
#include "libcommon/cli/internal.h"

static const char *store, *extra;
static const struct opt program_options[] = {
	{'r', "store", OPT_STRING, &store, "DIR", "where it is", .env = "VMKIT_TEST_STORE"},
	OPT_END,
};
static const struct opt verb_options[] = {
	{'x', "extra", OPT_STRING, &extra, "X", "something more", .complete = COMPLETE_FORMAT},
	OPT_END,
};
static char folder[] = "/tmp/vmkit-test-cli-XXXXXX";

static int print_password(struct err *err)
{
	char *p;

	if (cli_password(NULL, "password", false, &p, err) < 0)
		return -1;
	(void)printf("[%s]", p);
	cli_password_free(p);
	return 0;
}

/* With a temporary file open: a second signal must remove it, a first let the verb end by itself. */
static int wait_for_signals(bool stubborn, struct err *err)
{
	char path[64];
	struct outfile *of;

	(void)snprintf(path, sizeof(path), "%s/target", folder);
	if (outfile_open(&of, path, OUTFILE_NAMED, err) < 0)
		return -1;
	(void)puts("ready");
	(void)fflush(stdout);
	while (stubborn || !stop_requested())
		(void)usleep(1000);
	outfile_discard(of);
	return stop_check(err);
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	const char *what = argc ? argv[0] : "print";

	log_warning("a warning");
	if (!strcmp(what, "print"))
		(void)printf("store=%s extra=%s args=%d", store ? store : "-", extra ? extra : "-",
			     argc);
	if (!strcmp(what, "busy")) {
		err_set(err, ERR_BUSY, "is locked by \033 process 7");
		err_object(err, "disk.img");
		return err_hint(err, "wait");
	}
	if (!strcmp(what, "differs"))
		return err_set(err, ERR_DIFFERS, "%s", "");
	if (!strcmp(what, "silent"))
		return -1;
	if (!strcmp(what, "much"))
		for (int i = 0; i < 100000; i++)
			(void)puts("a line of output");
	if (!strcmp(what, "password"))
		return print_password(err);
	if (!strcmp(what, "wait") || !strcmp(what, "stubborn"))
		return wait_for_signals(what[0] == 's', err);
	if (cli->json)
		return cli_print_json(cli, json_pack("[{s:i},{s:i}]", "a", 1, "b", 2), err);
	return 0;
}

static void complete(enum complete_kind kind, const char *prefix, FILE *out)
{
	(void)fprintf(out, "%d:%s:%s\n", (int)kind, prefix, store ? store : "-");
}

static const char *const examples[] = {"prog go x", "prog go y", NULL};
static const struct verb go = {
	.name = "go",
	.usage = "[ARGUMENT]...",
	.summary = "Go.",
	.options = verb_options,
	.examples = examples,
	.statuses = "0 done, 3 differs",
	.max_args = 2,
	.json = true,
	.progress = true,
	.run = run,
};
static const struct verb plain = {
	.name = "plain",
	.usage = "A B",
	.summary = "Plain.",
	.examples = examples,
	.statuses = "0 done",
	.min_args = 2,
	.max_args = 2,
	.run = run,
};
static const struct verb *const verbs[] = {&go, &plain, NULL};
static const struct program program = {
	.name = "prog",
	.summary = "a program",
	.verbs = verbs,
	.options = program_options,
	.complete = complete,
};

static char out[1 << 16], err_text[1 << 16];

/* Runs cli_main() in a child; @to: NULL, or the file that standard output is. Return: wait status. */
static int spawn(const char *to, const char *const *words, pid_t *ret_pid, int *ret_out)
{
	int o[2], e[2], argc = 0, status;
	char *argv[16];
	size_t len = 0;
	ssize_t n;

	assert_int_equal(pipe(o) | pipe(e), 0);
	for (; words[argc]; argc++)
		argv[argc] = (char *)(uintptr_t)words[argc];
	argv[argc] = NULL;
	(void)fflush(NULL);

	pid_t pid = fork();

	if (pid == 0) {
		int fd = to ? open(to, O_WRONLY) : o[1];

		(void)dup2(fd, 1);
		(void)dup2(e[1], 2);
		for (int i = 3; i < 64; i++)
			(void)close(i);
		_exit(cli_main(&program, argc, argv));
	}
	(void)close(o[1]);
	(void)close(e[1]);
	if (ret_pid) {
		*ret_pid = pid;
		*ret_out = o[0];
		(void)close(e[0]);
		return 0;
	}
	n = io_read_upto(o[0], out, sizeof(out) - 1, NULL);
	out[n > 0 ? n : 0] = '\0';
	(void)close(o[0]); /* a writer of more gets EPIPE */
	len = (size_t)io_read_upto(e[0], err_text, sizeof(err_text) - 1, NULL);
	err_text[len] = '\0';
	(void)close(e[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

#define RUN(...)                                                                                   \
	shell_status(spawn(NULL, (const char *const[]){"prog", ##__VA_ARGS__, NULL}, NULL, NULL))
#define RUN_TO(to, ...)                                                                            \
	shell_status(spawn(to, (const char *const[]){"prog", __VA_ARGS__, NULL}, NULL, NULL))

static int shell_status(int status)
{
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static void assert_has(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("'%s' has no '%s'", text, part);
}

static void test_usage(void **state)
{
	(void)state;
	assert_int_equal(RUN(), 2);
	assert_string_equal(out, "");
	assert_has(err_text, "Usage: prog VERB");
	assert_int_equal(RUN("--help"), 0);
	assert_string_equal(err_text, "");
	assert_has(out, "Exit status:");
	assert_int_equal(RUN("go", "--help"), 0);
	assert_has(out, "prog go y");
	assert_int_equal(RUN("help", "go"), 0);
	assert_has(out, "Usage: prog go");
	assert_int_equal(RUN("--version"), 0);
	assert_string_equal(out, "prog " VMKIT_VERSION "\n");
	assert_int_equal(RUN("g"), 2);
	assert_int_equal(RUN("gp"), 2);
	assert_has(err_text, "prog: unknown verb 'gp'\nhint: did you mean go?\n");
	assert_int_equal(RUN("go", "1", "2", "3"), 2);
	assert_has(err_text,
		   "go needs at most 2 arguments, 3 given\nhint: usage: prog go [ARGUMENT]...\n");
	assert_int_equal(RUN("plain", "1"), 2);
	assert_has(err_text, "plain needs 2 arguments, 1 given");
	assert_int_equal(RUN("plain", "--json", "1", "2"), 2);
	assert_int_equal(RUN("--json", "plain", "1", "2"), 2);
	assert_has(err_text, "\"code\":\"usage\"");
}

static void test_order(void **state)
{
	(void)state;
	assert_int_equal(RUN("-r", "/a", "go", "-q", "print", "-xX"), 0);
	assert_string_equal(out, "store=/a extra=X args=1");
	assert_int_equal(RUN("-r", "/a", "go", "-q", "-r/b"), 0);
	assert_string_equal(out, "store=/b extra=- args=0");
	assert_int_equal(setenv("VMKIT_TEST_STORE", "/env", 1), 0);
	assert_int_equal(RUN("go", "-q"), 0);
	assert_string_equal(out, "store=/env extra=- args=0");
	assert_int_equal(RUN("-r", "/a", "go", "-q"), 0);
	assert_string_equal(out, "store=/a extra=- args=0");
	assert_int_equal(unsetenv("VMKIT_TEST_STORE"), 0);
}

static void test_errors(void **state)
{
	(void)state;
	assert_int_equal(RUN("go", "-q", "busy"), 6);
	assert_string_equal(err_text, "prog: disk.img: is locked by \\x1b process 7\nhint: wait\n");
	assert_int_equal(RUN("go", "-q", "--json", "busy"), 6);
	assert_string_equal(
		err_text,
		"{\"error\":{\"status\":6,\"code\":\"busy\",\"message\":\"is locked by \\u001B "
		"process 7\",\"object\":\"disk.img\",\"hint\":\"wait\"}}\n");
	assert_int_equal(RUN("go", "-q", "differs"), 3);
	assert_string_equal(err_text, "");
	assert_int_equal(RUN("go", "silent"), 1);
	assert_has(err_text, "prog: warning: a warning\nprog: failed");
	assert_int_equal(RUN("go", "--json=lines"), 0);
	assert_has(out, "{\"a\":1}\n{\"b\":2}\n");
	assert_string_equal(err_text, "{\"warning\":{\"message\":\"a warning\"}}\n");
}

static void test_output(void **state)
{
	(void)state;
	assert_int_equal(RUN_TO("/dev/full", "go"), 13);
	assert_has(err_text, "cannot write to standard output: No space left on device");
	assert_int_equal(RUN_TO("/dev/full", "go", "much"), 13);
	assert_int_equal(RUN("go", "-q", "much"),
			 128 + SIGPIPE); /* spawn() reads 64 KiB and closes */
	assert_string_equal(err_text, "");
}

static int after_signals(const char *what, int first, int second)
{
	const char *const words[] = {"prog", "go", "-q", what, NULL};
	char line[8] = "", command[96];
	int from, status;
	pid_t pid;

	(void)spawn(NULL, words, &pid, &from);
	assert_true(read(from, line, 6) == 6);
	assert_int_equal(kill(pid, first), 0);
	if (second) {
		(void)usleep(20000); /* two at once could be one; any time later is fine */
		assert_int_equal(kill(pid, second), 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	(void)close(from);
	(void)snprintf(command, sizeof(command), "test -z \"$(ls -A %s)\"", folder);
	assert_int_equal(system(command), 0);
	return shell_status(status);
}

static void test_signals(void **state)
{
	(void)state;
	assert_int_equal(after_signals("wait", SIGINT, 0), 128 + SIGINT);
	assert_int_equal(after_signals("wait", SIGTERM, 0), 128 + SIGTERM);
	assert_int_equal(after_signals("wait", SIGHUP, 0), 128 + SIGHUP);
	assert_int_equal(after_signals("stubborn", SIGINT, SIGINT), 128 + SIGINT);
	assert_int_equal(after_signals("stubborn", SIGTERM, SIGINT), 128 + SIGINT);
}

static void write_file(const char *name, const char *data, size_t len)
{
	assert_int_equal(outfile_write(name, data, len, OUTFILE_FORCE | OUTFILE_NO_SYNC, NULL), 0);
}

static void test_passwords(void **state)
{
	char path[64];

	(void)state;
	(void)snprintf(path, sizeof(path), "%s/pw", folder);
	assert_int_equal(setenv("VMKIT_PASSWORD_FILE", path, 1), 0);
	write_file(path, " s3cret \r\n", 10);
	assert_int_equal(RUN("go", "-q", "password"), 0);
	assert_string_equal(out, "[ s3cret ]");
	write_file(path, "\n", 1);
	assert_int_equal(RUN("go", "-q", "password"), 12);
	assert_has(err_text, "is empty");
	write_file(path, "a\0b\n", 4);
	assert_int_equal(RUN("go", "-q", "password"), 12);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(RUN("go", "-q", "password"), 4);
	assert_int_equal(unsetenv("VMKIT_PASSWORD_FILE"), 0);

	assert_int_equal(setenv("VMKIT_PASSWORD_COMMAND", "echo from command", 1), 0);
	assert_int_equal(RUN("go", "-q", "password"), 0);
	assert_string_equal(out, "[from command]");
	assert_int_equal(setenv("VMKIT_PASSWORD_COMMAND", "echo x; exit 7", 1), 0);
	assert_int_equal(RUN("go", "-q", "password"), 12);
	assert_has(err_text, "status 7");
	assert_int_equal(setenv("VMKIT_PASSWORD_COMMAND", "yes", 1), 0);
	assert_int_equal(RUN("go", "-q", "password"), 12);
	assert_int_equal(unsetenv("VMKIT_PASSWORD_COMMAND"), 0);
}

static void test_hidden_verbs(void **state)
{
	(void)state;
	assert_int_equal(setenv("VMKIT_TEST_STORE", "/env", 1), 0);
	assert_int_equal(RUN("__complete", "format", "q"), 0);
	assert_string_equal(out, "3:q:/env\n");
	assert_int_equal(unsetenv("VMKIT_TEST_STORE"), 0);
	assert_int_equal(RUN("__complete", "digest", "sha"), 0);
	assert_has(out, "sha256\n");
	assert_null(strstr(out, "md5"));
	assert_int_equal(RUN("__complete", "nonsense", ""), 0);
	assert_string_equal(out, "");
	assert_int_equal(RUN("__man"), 0);
	assert_has(out, ".TH PROG 1");
	assert_has(out, "\\-\\-extra");
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(RUN("__completion", i == 0 ? "bash" : i == 1 ? "zsh" : "fish"), 0);
		assert_has(out, "extra");
		assert_has(out, "__complete");
		assert_null(strstr(out, "debug-stderr"));
	}
	assert_int_equal(RUN("__completion", "tcsh"), 2);
	assert_int_equal(RUN("__other"), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_usage),	     cmocka_unit_test(test_order),
		cmocka_unit_test(test_errors),	     cmocka_unit_test(test_output),
		cmocka_unit_test(test_signals),	     cmocka_unit_test(test_passwords),
		cmocka_unit_test(test_hidden_verbs),
	};
	int rc;

	if (!mkdtemp(folder))
		return 1;
	(void)unsetenv("VMKIT_PASSWORD_FILE");
	(void)unsetenv("VMKIT_PASSWORD_COMMAND");
	(void)setenv("XDG_CONFIG_HOME", folder, 1);
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	(void)rmdir(folder);
	return rc;
}
