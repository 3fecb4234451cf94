/* qemubql.so: QEMU's emulated AMD-V takes the lock that it needs. LD_PRELOAD=qemubql.so qemu-system-x86_64 ...
 *
 * A guest of a nested KVM that writes to CR8 while an interrupt waits for it, as UEFI firmware does at the end of each
 * interrupt, makes QEMU 7.2 raise a virtual interrupt without its big lock, and its own check of that aborts:
 * "tcg_handle_interrupt: assertion failed: (qemu_mutex_iothread_locked())" (2026-11-27: in both runs that got there, and in none of seven
 * with this). The function is one of a module, found before the module's own by the dynamic linker. QEMU that has it
 * elsewhere is left alone.
 */
#include <dlfcn.h>
#include <link.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static void (*handle)(void *cpu, int mask);
static bool (*is_locked)(void);
static void (*lock)(const char *file, int line);
static void (*unlock)(void);

/* What dlsym() finds, as a function */
static void find(void *library, const char *name, void *to)
{
	void *p = dlsym(library, name);

	memcpy(to, &p, sizeof(p));
}

static int is_module(struct dl_phdr_info *info, size_t size, void *ctx)
{
	void *module;

	(void)size;
	(void)ctx;
	if (!strstr(info->dlpi_name, "/accel-tcg-"))
		return 0;
	module = dlopen(info->dlpi_name, RTLD_NOLOAD | RTLD_LAZY);
	if (module)
		find(module, "tcg_handle_interrupt", &handle);
	return 1;
}

static void find_all(void)
{
	find(RTLD_DEFAULT, "qemu_mutex_iothread_locked", &is_locked);
	find(RTLD_DEFAULT, "qemu_mutex_lock_iothread_impl", &lock);
	find(RTLD_DEFAULT, "qemu_mutex_unlock_iothread", &unlock);
	(void)dl_iterate_phdr(is_module, NULL);
	if (!handle)
		abort();
}

__attribute__((visibility("default"))) void tcg_handle_interrupt(void *cpu, int mask)
{
	bool take;

	if (!handle)
		find_all();
	take = is_locked && lock && unlock && !is_locked();
	if (take)
		lock(__FILE__, __LINE__);
	handle(cpu, mask);
	if (take)
		unlock();
}
