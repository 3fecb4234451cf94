/* no_new_privs and a seccomp filter: see confine.h. */
#include "libcommon/runner/confine.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "libcommon/base/log.h"

/* The leak detector stops its own threads by ptrace when the program ends. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

static const uint16_t forbidden[] = {
	SYS_execve,
	SYS_execveat,
	SYS_process_vm_readv,
	SYS_process_vm_writev,
	SYS_kcmp,
	SYS_mount,
	SYS_umount2,
	SYS_pivot_root,
	SYS_chroot,
	SYS_setns,
	SYS_unshare,
	SYS_init_module,
	SYS_finit_module,
	SYS_delete_module,
	SYS_kexec_load,
	SYS_kexec_file_load,
	SYS_reboot,
	SYS_swapon,
	SYS_swapoff,
	SYS_bpf,
	SYS_perf_event_open,
	SYS_userfaultfd,
	SYS_add_key,
	SYS_request_key,
	SYS_keyctl,
	SYS_open_by_handle_at,
	SYS_iopl,
	SYS_ioperm,
	SYS_open_tree,
	SYS_move_mount,
	SYS_fsopen,
	SYS_fsconfig,
	SYS_fsmount,
	SYS_fspick,
	SYS_mount_setattr,
	SYS_pidfd_getfd,
	SYS_process_madvise,
	SYS_settimeofday,
	SYS_clock_settime,
	SYS_clock_adjtime,
	SYS_adjtimex,
	SYS_sethostname,
	SYS_setdomainname,
	SYS_syslog,
	SYS_acct,
	SYS_quotactl,
#ifndef SANITIZED
	SYS_ptrace,
#endif
};

/* Threads are made by clone() too, so only these flags of it are denied. clone3() has them in memory, where a filter cannot
 * look: it is "not there", and C libraries take clone() then. */
#define NAMESPACES                                                                                 \
	(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER |             \
	 CLONE_NEWPID | CLONE_NEWNET)

enum { N = sizeof(forbidden) / sizeof(forbidden[0]), X32 = 0x40000000, HEAD = 5, TAIL = 7 };

/* Head: other architectures' numbers mean other calls, so none of theirs is allowed. Then a comparison a call; those of
 * the clones; "allow", "EPERM", "ENOSYS". */
static void build(struct sock_filter *f)
{
	const uint8_t denied = HEAD + N + 5;
	uint8_t at = 0;

	f[at++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
					       offsetof(struct seccomp_data, arch));
	f[at] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 0,
					     (uint8_t)(denied - at - 1));
	at++;
	f[at++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
					       offsetof(struct seccomp_data, nr));
	/* -1 is what a tracer skips a call by */
	f[at] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, UINT32_MAX,
					     (uint8_t)(denied - 1 - at - 1), 0);
	at++;
	f[at] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, X32,
					     (uint8_t)(denied - at - 1), 0);
	at++;
	for (unsigned i = 0; i < N; i++, at++)
		f[at] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, forbidden[i],
						     (uint8_t)(denied - at - 1), 0);
	f[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 5, 0);
	f[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 2);
	f[at++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
					       offsetof(struct seccomp_data, args));
	f[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, NAMESPACES, 1, 0);
	f[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	f[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
	f[at] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS);
}

void confine_process(void)
{
	struct sock_filter filter[HEAD + N + TAIL];
	const struct sock_fprog program = {sizeof(filter) / sizeof(filter[0]), filter};
	/* Without SPEC_ALLOW kernels before 5.16 slow the guest down, for a leak that is none here. */
	unsigned long flags = SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_SPEC_ALLOW;
	long rc;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
		log_warning("no_new_privs is not to be had here: %s", strerror(errno));
		return;
	}
	build(filter);
	rc = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
	if (rc != 0) /* a thread's number: that one has a filter of its own */
		log_warning("seccomp is not to be had here: %s",
			    rc < 0 ? strerror(errno) : "a thread has a filter already");
}
