/* Loading libvirt, and the thread that serves its sockets: see lib.h. */
#include "libcommon/host/libvirt/lib.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>

/* Written once under once_control, only read afterwards. */
static struct libvirt lib;
static char problem[256];
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* libvirt prints errors by itself otherwise; ours go through struct err. */
static void say_nothing(void *data, virErrorPtr error)
{
	(void)data;
	(void)error;
}

static void tick(int timer, void *data)
{
	(void)timer;
	(void)data;
}

/* For the life of the process: keep-alive answers, streams and events come through here. */
static void *serve(void *arg)
{
	(void)arg;
	while (lib.EventRunDefaultImpl() == 0)
		;
	return NULL;
}

static const char *look_up(void)
{
	void *handle = dlopen("libvirt.so.0", RTLD_NOW | RTLD_GLOBAL), *qemu;

	if (!handle)
		return dlerror();
#define LIBVIRT_LOOKUP(name)                                                                       \
	if (!(*(void **)&lib.name = dlsym(handle, "vir" #name)))                                   \
		return dlerror();
	LIBVIRT_FUNCTIONS(LIBVIRT_LOOKUP)
#undef LIBVIRT_LOOKUP
	qemu = dlopen("libvirt-qemu.so.0", RTLD_NOW | RTLD_LOCAL);
	if (qemu)
		*(void **)&lib.DomainQemuAgentCommand = dlsym(qemu, "virDomainQemuAgentCommand");
	return NULL;
}

/* libvirt leaves this to its first parse, which two connections opened at once then race for (libxml2 2.9). */
static void prepare_xml(void)
{
	void (*init)(void);

	*(void **)&init = dlsym(RTLD_DEFAULT, "xmlInitParser");
	if (init)
		init();
}

static void load(void)
{
	const char *text = look_up();
	pthread_t thread;

	if (!text) {
		lib.SetErrorFunc(NULL, say_nothing);
		prepare_xml();
		/* The timer keeps the loop turning, so that what other threads register is seen. */
		if (lib.Initialize() < 0 || lib.EventRegisterDefaultImpl() < 0 ||
		    lib.EventAddTimeout(1000, tick, NULL, NULL) < 0 ||
		    pthread_create(&thread, NULL, serve, NULL) != 0)
			text = "its event loop does not start";
		else
			(void)pthread_detach(thread);
	}
	if (text)
		(void)snprintf(problem, sizeof(problem), "%s", text);
}

int libvirt_load(const struct libvirt **ret, struct err *err)
{
	(void)pthread_once(&once, load);
	if (*problem) {
		err_set(err, ERR_UNSUPPORTED, "libvirt is needed: %s", problem);
		return err_hint(err, "on Debian: apt-get install libvirt0");
	}
	*ret = &lib;
	return 0;
}
