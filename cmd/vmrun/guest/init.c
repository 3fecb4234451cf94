/* The first process of a guest that `vmrun -- CMD` starts: loads modules, runs the command with its three streams through
 * virtio ports, tells its status, powers off. Static, for any root; it speaks with libcommon/runner/virtio_console.c.
 *
 * /vmrun/modules holds the modules, in the order of their names; /vmrun/command holds strings that end with a NUL: "rro" or "rrw"
 * (the root is on vda), "hro" or "hrw" (it is a folder of the host, below a layer of ours or not), "sro TAG PATH" or
 * "srw TAG PATH" (a folder of the host), "nADDRESS GATEWAY DNS" (of the first network interface), "dFOLDER",
 * "uUSER", "eNAME=VALUE", "aARGUMENT". The pipes between us and the command are those that it would have in a shell: a closed one is
 * end of file, or SIGPIPE.
 */
#include "cmd/vmrun/guest/init.h"
#include "cmd/vmrun/guest/again.h"
#include "cmd/vmrun/guest/user.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
	PORTS = 4,
	CONTROL = 0,
	INPUT = 1,
	OUTPUT = 2,
	ERRORS = 3,
	WAIT_S = 60,
	BUFFER = 65536,
	COMPRESSED_MODULE = 4
};
enum { NOT_FOUND = 127, CANNOT_RUN = 126, WORDS_MAX = 4096, SHARES_MAX = 8 };

/* One direction: what was read waits in buf until it is written */
struct pump {
	int from, to; /* -1: closed */
	size_t start, len;
	char buf[BUFFER];
};

static _Noreturn void power_off(void)
{
	sync();
	(void)mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY,
		    NULL); /* a file system on a disk is left clean */
	(void)reboot(RB_POWER_OFF);
	for (;;)
		(void)pause();
}

/* On the console, which vmrun shows when no status came */
static _Noreturn void die(const char *what)
{
	(void)fprintf(stderr, "vmrun-init: %s: %s\n", what, strerror(errno));
	power_off();
}

static void mount_all(void)
{
	static const struct {
		const char *type, *at;
	} all[] = {{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		(void)mkdir(all[i].at, 0755);
		if (mount(all[i].type, all[i].at, all[i].type, 0, NULL) < 0 && errno != EBUSY)
			die(all[i].at);
	}
	(void)chmod("/", 0755); /* of an initial RAM disk it is as /tmp */
	(void)mkdir("/dev/pts", 0755);
	(void)mount("devpts", "/dev/pts", "devpts", 0, NULL);
	(void)mkdir("/dev/shm", 01777);
	(void)mount("tmpfs", "/dev/shm", "tmpfs", 0, NULL);
	(void)symlink("/proc/self/fd", "/dev/fd");
	(void)symlink("/proc/self/fd/0", "/dev/stdin");
	(void)symlink("/proc/self/fd/1", "/dev/stdout");
	(void)symlink("/proc/self/fd/2", "/dev/stderr");
	(void)mkdir("/tmp", 0777);
	(void)chmod("/tmp", 01777);
}

static void load_modules(void)
{
	struct dirent **names;
	int n = scandir("/vmrun/modules", &names, NULL, alphasort);

	for (int i = 0; i < n; i++) {
		char path[512];
		size_t len = strlen(names[i]->d_name);
		bool plain = len > 3 && strcmp(names[i]->d_name + len - 3, ".ko") == 0;
		int fd;

		if (names[i]->d_name[0] == '.')
			continue;
		(void)snprintf(path, sizeof(path), "/vmrun/modules/%s", names[i]->d_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0 ||
		    (syscall(SYS_finit_module, fd, "", plain ? 0 : COMPRESSED_MODULE) < 0 &&
		     errno != EEXIST))
			(void)fprintf(stderr, "vmrun-init: %s: %s\n", names[i]->d_name,
				      strerror(errno));
		if (fd >= 0)
			(void)close(fd);
	}
}

static void nap(void)
{
	(void)nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
}

static time_t now(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec;
}

/* The device of the port with this name; -1 while there is none */
static int try_port(const char *name)
{
	DIR *d = opendir("/sys/class/virtio-ports");
	struct dirent *e;
	int fd = -1;

	while (d && fd < 0 && (e = readdir(d))) {
		char path[600], text[64] = "";
		int f;

		(void)snprintf(path, sizeof(path), "/sys/class/virtio-ports/%s/name", e->d_name);
		f = open(path, O_RDONLY | O_CLOEXEC);
		if (f < 0)
			continue;
		if (read(f, text, sizeof(text) - 1) > 0) {
			text[strcspn(text, "\n")] = '\0';
			if (strcmp(text, name) == 0) {
				(void)snprintf(path, sizeof(path), "/dev/%s", e->d_name);
				fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
			}
		}
		(void)close(f);
	}
	if (d)
		(void)closedir(d);
	return fd;
}

/* Output ports are connected before they are used; input is opened last, since its end may come at once */
static void open_ports(int ports[PORTS])
{
	static const int order[PORTS] = {CONTROL, OUTPUT, ERRORS, INPUT};
	time_t end = now() + WAIT_S;

	for (int i = 0; i < PORTS; i++) {
		struct pollfd p;
		char name[32];

		(void)snprintf(name, sizeof(name), "vmrun.%d", order[i]);
		while ((ports[order[i]] = try_port(name)) < 0) {
			if (now() >= end) {
				errno = ENODEV;
				die(name);
			}
			nap();
		}
		p = (struct pollfd){.fd = ports[order[i]], .events = POLLOUT};
		while (order[i] != INPUT && (poll(&p, 1, 0) < 0 || (p.revents & POLLHUP)) &&
		       now() < end)
			nap();
	}
}

struct command {
	char *args[WORDS_MAX + 1];
	const char *folder, *user; /* NULL: root */
	bool home;		   /* it has a HOME of its caller's */
	char *network;
	const char *
		disk; /* how to mount the root on vda: "ro", "rw"; NULL: the root is what we were started from */
	const char *host; /* the same for a root that is a folder of the host */
	char *share[SHARES_MAX];
	size_t shares;
	size_t n;
	bool waits; /* it comes later, by the control port */
};

static void parse_command(struct command *c, char *text, size_t len)
{
	char *end = text + len;

	*end = '\0';
	for (char *s = text; s < end; s += strlen(s) + 1) {
		if (*s == 'd')
			c->folder = s + 1;
		else if (*s == 'n')
			c->network = s + 1;
		else if (*s == 'r')
			c->disk = s + 1;
		else if (*s == 'h')
			c->host = s + 1;
		else if (*s == 's' && c->shares < SHARES_MAX)
			c->share[c->shares++] = s + 1;
		else if (*s == 'w')
			c->waits = true;
		else if (*s == 't')
			again_clock(s + 1);
		else if (*s == 'x')
			again_stir(s + 1);
		else if (*s == 'u')
			c->user = s + 1;
		else if (*s == 'e' && putenv(s + 1) == 0)
			c->home = c->home || strncmp(s + 1, "HOME=", 5) == 0;
		else if (*s == 'a' && c->n < WORDS_MAX)
			c->args[c->n++] = s + 1;
	}
}

static void read_command(struct command *c)
{
	int fd = open("/vmrun/command", O_RDONLY | O_CLOEXEC);
	struct stat st;
	char *text;

	if (fd < 0 || fstat(fd, &st) < 0 || !(text = malloc((size_t)st.st_size + 1)) ||
	    read(fd, text, (size_t)st.st_size) != st.st_size)
		die("/vmrun/command");
	(void)close(fd);
	(void)unlink("/vmrun/command"); /* the environment may hold secrets */
	parse_command(c, text, (size_t)st.st_size);
}

static void read_all(int port, void *buf, size_t len)
{
	char *to = buf;

	while (len) {
		struct pollfd p = {.fd = port, .events = POLLIN};
		ssize_t n = read(port, to, len);

		if (n > 0) {
			to += n;
			len -= (size_t)n;
		} else if (n < 0 && errno != EAGAIN && errno != EINTR) {
			die("the command");
		} else {
			(void)poll(&p, 1, -1);
		}
	}
}

/* The machine is saved here, and goes on with the command of whoever restored it: its length in 4 bytes, then itself */
static void wait_for_command(struct command *c, int port)
{
	static const char ready[] = "ready\n";
	unsigned char head[4];
	size_t len;
	char *text;

	while (write(port, ready, sizeof(ready) - 1) < 0 && (errno == EAGAIN || errno == EINTR))
		nap();
	read_all(port, head, sizeof(head));
	len = head[0] | (size_t)head[1] << 8 | (size_t)head[2] << 16 | (size_t)head[3] << 24;
	text = malloc(len + 1);
	if (!text)
		die("the command");
	read_all(port, text, len);
	parse_command(c, text, len);
}

/* A file system with a /bin or a /usr is a root */
static bool try_root(const char *device, bool read_only)
{
	static const char *const types[] = {"ext4", "xfs", "btrfs"};

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		if (mount(device, "/vmrun/root", types[i], read_only ? MS_RDONLY : 0, NULL) < 0)
			continue;
		if (access("/vmrun/root/bin", F_OK) == 0 || access("/vmrun/root/usr", F_OK) == 0)
			return true;
		(void)umount("/vmrun/root");
	}
	return false;
}

static void find_root(bool read_only)
{
	time_t end = now() + WAIT_S;
	char device[32] = "/dev/vda";

	while (access(device, F_OK) < 0 && now() < end)
		nap();
	(void)mkdir("/vmrun/root", 0755);
	for (int i = 0; i <= 15; i++) { /* the whole disk, or a partition */
		if (i)
			(void)snprintf(device, sizeof(device), "/dev/vda%d", i);
		if (access(device, F_OK) == 0 && try_root(device, read_only))
			return;
	}
	errno = ENODEV;
	die("no ext4, XFS or btrfs file system with /bin or /usr on the disk");
}

/* What was mounted moves along; the folders for it are there in any system */
static void enter_root(void)
{
	static const char *const moved[] = {"/proc", "/sys", "/dev"};

	for (size_t i = 0; i < sizeof(moved) / sizeof(moved[0]); i++) {
		char to[64];

		(void)snprintf(to, sizeof(to), "/vmrun/root%s", moved[i]);
		(void)mkdir(to, 0755);
		if (mount(moved[i], to, NULL, MS_MOVE, NULL) < 0)
			die(to);
	}
	if (chdir("/vmrun/root") < 0 || chroot(".") < 0)
		die("/vmrun/root");
}

/* What a command writes to a root that is only read is in our memory */
static void lay_over(void)
{
	static const char *const folders[] = {"/vmrun/layer", "/vmrun/root"};

	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++)
		(void)mkdir(folders[i], 0755);
	if (mount("tmpfs", "/vmrun/layer", "tmpfs", 0, NULL) < 0 ||
	    mkdir("/vmrun/layer/upper", 0755) < 0 || mkdir("/vmrun/layer/work", 0755) < 0)
		die("/vmrun/layer");
	if (mount("overlay", "/vmrun/root", "overlay", 0,
		  "lowerdir=/vmrun/host,upperdir=/vmrun/layer/upper,workdir=/vmrun/layer/work") < 0)
		die("overlay");
}

static void use_host_folder(const char *how)
{
	bool writes = strcmp(how, "rw") == 0;
	const char *at = writes ? "/vmrun/root" : "/vmrun/host";

	(void)mkdir(at, 0755);
	if (mount("vmrun-root", at, "virtiofs", writes ? 0 : MS_RDONLY, NULL) < 0)
		die("the root: virtiofs");
	if (!writes)
		lay_over();
	network_resolver("/vmrun/root", writes);
	enter_root();
	if (!writes && mkdir("/tmp", 0777) == 0)
		(void)chmod("/tmp", 01777);
}

static void make_path(char *path)
{
	for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		(void)mkdir(path, 0755);
		*slash = '/';
	}
	(void)mkdir(path, 0755);
}

/* "ro TAG PATH" */
static void mount_share(char *share)
{
	char *tag = share + 3, *path = strchr(tag, ' ');

	*path++ = '\0';
	make_path(path);
	if (mount(tag, path, "virtiofs",
		  MS_NOSUID | MS_NODEV | (strncmp(share, "ro", 2) == 0 ? MS_RDONLY : 0), NULL) < 0)
		die(path);
}

static void run_command(const struct command *c, int pipes[3][2])
{
	sigset_t none;

	(void)setsid();
	for (int i = 0; i < 3; i++)
		if (dup2(pipes[i][i == 0 ? 0 : 1], i) < 0)
			_exit(CANNOT_RUN);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)signal(SIGPIPE, SIG_DFL);
	if (c->user && user_become(c->user, !c->home) < 0)
		_exit(CANNOT_RUN);
	if (c->folder && chdir(c->folder) < 0) {
		(void)fprintf(stderr, "vmrun: %s: %s\n", c->folder, strerror(errno));
		_exit(CANNOT_RUN);
	}
	(void)execvp(c->args[0], c->args);
	(void)fprintf(stderr, "vmrun: %s: %s\n", c->args[0], strerror(errno));
	_exit(errno == ENOENT ? NOT_FOUND : CANNOT_RUN);
}

static void shut(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
}

static void pump_close(struct pump *p)
{
	shut(&p->from);
	shut(&p->to);
	p->len = 0;
}

static void pump_read(struct pump *p)
{
	ssize_t n = read(p->from, p->buf, sizeof(p->buf));

	if (n > 0) {
		p->start = 0;
		p->len = (size_t)n;
	} else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		pump_close(p); /* nothing is waiting: its reader sees the end */
	}
}

static void pump_write(struct pump *p)
{
	ssize_t n = write(p->to, p->buf + p->start, p->len);

	if (n > 0) {
		p->start += (size_t)n;
		p->len -= (size_t)n;
	} else if (n < 0 && errno != EAGAIN && errno != EINTR) {
		pump_close(p); /* its writer gets SIGPIPE */
	}
}

static struct pollfd pump_poll(const struct pump *p)
{
	if (p->from < 0)
		return (struct pollfd){.fd = -1};
	return p->len ? (struct pollfd){.fd = p->to, .events = POLLOUT}
		      : (struct pollfd){.fd = p->from, .events = POLLIN};
}

static void pump_step(struct pump *p, short revents)
{
	if (!revents || p->from < 0)
		return;
	if (!p->len)
		pump_read(p);
	else if (revents & POLLOUT)
		pump_write(p);
	else
		pump_close(p); /* POLLHUP, POLLERR: nobody reads */
}

/* What the command left in its pipes, when nobody writes there any more */
static void pump_rest(struct pump *p)
{
	while (p->from >= 0) {
		struct pollfd f = pump_poll(p);

		if (!p->len && poll(&f, 1, 0) == 0)
			return;
		if (p->len)
			(void)poll(&f, 1, -1);
		pump_step(p, f.revents);
	}
}

/* All children that ended; *@status is the command's */
static bool reap(pid_t command, int *status)
{
	bool ended = false;
	pid_t pid;
	int s;

	while ((pid = waitpid(-1, &s, WNOHANG)) > 0)
		if (pid == command) {
			*status = WIFEXITED(s) ? WEXITSTATUS(s) : 128 + WTERMSIG(s);
			ended = true;
		}
	return ended;
}

static int serve(const int ports[PORTS], int pipes[3][2], pid_t command, int children)
{
	static struct pump pumps[3];
	int status = -1;

	pumps[0].from = ports[INPUT];
	pumps[0].to = pipes[0][1];
	pumps[1].from = pipes[1][0];
	pumps[1].to = ports[OUTPUT];
	pumps[2].from = pipes[2][0];
	pumps[2].to = ports[ERRORS];
	for (;;) {
		struct pollfd p[5] = {pump_poll(&pumps[0]),
				      pump_poll(&pumps[1]),
				      pump_poll(&pumps[2]),
				      {.fd = children, .events = POLLIN},
				      {.fd = ports[CONTROL], .events = POLLIN}};
		struct signalfd_siginfo info;
		unsigned char number;

		if (poll(p, 5, -1) < 0)
			continue;
		for (int i = 0; i < 3; i++)
			pump_step(&pumps[i], p[i].revents);
		if ((p[4].revents & POLLIN) && read(ports[CONTROL], &number, 1) == 1)
			(void)kill(-command, number);
		if ((p[3].revents & POLLIN) && read(children, &info, sizeof(info)) > 0 &&
		    reap(command, &status))
			break;
	}
	(void)kill(-1, SIGKILL); /* what it left in the background: it could write for ever */
	pump_rest(&pumps[1]);
	pump_rest(&pumps[2]);
	return status;
}

static void tell_status(int port, int status)
{
	char text[32];
	int n = snprintf(text, sizeof(text), "status %d\n", status);
	struct pollfd p = {.fd = port, .events = POLLOUT};

	while (write(port, text, (size_t)n) < 0 && (errno == EAGAIN || errno == EINTR))
		(void)poll(&p, 1, -1);
}

int main(void)
{
	static struct command command;
	int ports[PORTS], pipes[3][2], children;
	sigset_t child;
	pid_t pid;

	mount_all();
	load_modules();
	(void)setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
	(void)setenv("HOME", "/", 1);
	read_command(&command);
	network_up(command.network);
	if (command.disk) {
		find_root(strcmp(command.disk, "ro") == 0);
		network_resolver("/vmrun/root", 1);
		enter_root();
	} else if (command.host) {
		use_host_folder(command.host);
	} else {
		network_resolver("", 0);
	}
	for (size_t i = 0; i < command.shares; i++)
		mount_share(command.share[i]);
	open_ports(ports);
	if (command.waits)
		wait_for_command(&command, ports[CONTROL]);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)sigemptyset(&child);
	(void)sigaddset(&child, SIGCHLD);
	(void)sigprocmask(SIG_BLOCK, &child, NULL);
	children = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
	for (int i = 0; i < 3; i++)
		if (pipe2(pipes[i], O_CLOEXEC) < 0)
			die("pipe");
	pid = fork();
	if (pid < 0)
		die("fork");
	if (pid == 0)
		run_command(&command, pipes);
	(void)setpgid(pid, pid);
	for (int i = 0; i < 3; i++) {
		(void)close(pipes[i][i == 0 ? 0 : 1]);
		(void)fcntl(pipes[i][i == 0 ? 1 : 0], F_SETFL, O_NONBLOCK);
	}
	tell_status(ports[CONTROL], serve(ports, pipes, pid, children));
	power_off();
	return 0;
}
