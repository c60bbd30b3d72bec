/* SPDX-License-Identifier: Apache-2.0
 *
 * confine.c: from here on a process can only compute. A filter in the kernel (seccomp) lets it use its own memory and
 * threads, wait, and use what it has open; everything else is refused with EPERM: to open or change a file, to reach
 * another process, to make a socket, to start a program, to change a priority or a limit. Nothing undoes it.
 *
 * It is a list of what is allowed, so that a call that nobody thought of, or that a later kernel brings, is refused. It
 * needs no privilege and binds root as well. What is open already is the caller's to have chosen with care.
 */
#define _GNU_SOURCE
#include "internal.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#elif defined(__riscv) && __riscv_xlen == 64
#define ARCHITECTURE AUDIT_ARCH_RISCV64
#else
#error "say here how the kernel names this processor's system calls"
#endif

#define LOAD(member) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, member))
#define WHERE(value, count) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), 0, (count)) /* do the next ones */
#define UNLESS(value) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), 1, 0)             /* do the next one */
#define ALLOW BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define REFUSE(error) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (error))
#define MAY(name) WHERE(__NR_##name, 1), ALLOW

#define NAMESPACES                                                                                                     \
    (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET)

enum { OWN_NUMBER = 6 }; /* what tgkill is compared with: a running process's own number */

static const struct sock_filter FILTER[] = {
    LOAD(arch), /* of which a processor may know two, with the same numbers for other calls */
    UNLESS(ARCHITECTURE), REFUSE(EPERM),
    LOAD(nr),
    /* To signal itself: so ends a library that finds its own state broken. The kernel looks at the low half only. */
    WHERE(__NR_tgkill, 4), LOAD(args[0]), UNLESS(0), REFUSE(EPERM), ALLOW,
    /* To begin a thread, but no process. What clone3 is to do cannot be seen from here: without it libc takes clone. */
    WHERE(__NR_clone, 5), LOAD(args[0]), BPF_STMT(BPF_ALU | BPF_AND | BPF_K, CLONE_THREAD | NAMESPACES),
    UNLESS(CLONE_THREAD), REFUSE(EPERM), ALLOW,
    WHERE(__NR_clone3, 1), REFUSE(ENOSYS),
    /* to wait */
    MAY(futex), MAY(clock_nanosleep), MAY(clock_gettime), MAY(nanosleep), MAY(ppoll), MAY(sched_yield),
    MAY(restart_syscall),
    /* memory, which only what is open lets it share */
    MAY(mmap), MAY(munmap), MAY(mremap), MAY(mprotect), MAY(madvise), MAY(brk),
    /* what is open */
    MAY(read), MAY(write), MAY(readv), MAY(writev), MAY(lseek), MAY(fstat), MAY(close), MAY(ioctl),
    /* its signals and threads, and their end */
    MAY(rt_sigreturn), MAY(rt_sigaction), MAY(rt_sigprocmask), MAY(sigaltstack), MAY(set_robust_list),
#ifdef __NR_rseq
    MAY(rseq),
#endif
    MAY(exit), MAY(exit_group),
    /* about itself and the machine */
    MAY(getpid), MAY(gettid), MAY(getrandom), MAY(sched_getaffinity), MAY(newfstatat),
#ifdef __NR_poll
    MAY(poll), /* not on newer architectures */
#endif
    REFUSE(EPERM),
};

/* Whether this kernel has such filters: 0, or the errno of its refusal. */
int32_t erl_confinement(void) {
    const uint32_t action = SECCOMP_RET_ERRNO;
    return syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0 ? 0 : errno;
}

/* The calling thread, and what it starts from here on; with SECCOMP_FILTER_FLAG_TSYNC among the flags every thread of
 * the process. 0, or the errno of the refusal, which leaves everything as it was. */
int32_t erl_confine(uint32_t flags) {
    struct sock_filter filter[sizeof FILTER / sizeof FILTER[0]];
    memcpy(filter, FILTER, sizeof filter);
    filter[OWN_NUMBER].k = (uint32_t)getpid();
    const struct sock_fprog program = {.len = sizeof filter / sizeof filter[0], .filter = filter};
    (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); /* without it only root may; a refusal shows below */
    const long refusing = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
    if (refusing < 0) {
        return errno;
    }
    return refusing > 0 ? EBUSY : 0; /* a thread that is confined in another way already */
}
