/* Every function that is intercepted: one line each.
 *
 * X(name, return type, parameters)      wrapped in hook/wrappers_*.c
 * T(name)                               tail-jumped: the wrapper must not appear as the caller
 *
 * The C library's, and C++'s operators new and delete. Those are intercepted only where the allocator
 * of the process defines them itself (jemalloc, tcmalloc and mimalloc do when preloaded); elsewhere
 * they reach malloc and free inside libstdc++, which is seen.
 *
 * Adding one = one line here, one wrapper, one row in tests/core/test_hooks_*.c. At most 64. */
#ifndef CMR_HOOK_LIST_H
#define CMR_HOOK_LIST_H

#include <stdio.h>
#include <pthread.h>
#include <pty.h>
#include <spawn.h>
#include <stddef.h>
#include <sys/types.h>

/* Mangled: Zn new, Zd delete; w l one object, a array; m its size; St11align_val_t its alignment. */
#define CMR_HOOK_CXX_LIST(X)                                                                      \
	X(_Znwm, void *, (size_t size))                                                           \
	X(_Znam, void *, (size_t size))                                                           \
	X(_ZnwmRKSt9nothrow_t, void *, (size_t size, const void *nothrow))                        \
	X(_ZnamRKSt9nothrow_t, void *, (size_t size, const void *nothrow))                        \
	X(_ZnwmSt11align_val_t, void *, (size_t size, size_t alignment))                          \
	X(_ZnamSt11align_val_t, void *, (size_t size, size_t alignment))                          \
	X(_ZnwmSt11align_val_tRKSt9nothrow_t, void *,                                             \
	  (size_t size, size_t alignment, const void *nothrow))                                   \
	X(_ZnamSt11align_val_tRKSt9nothrow_t, void *,                                             \
	  (size_t size, size_t alignment, const void *nothrow))                                   \
	X(_ZdlPv, void, (void *block))                                                            \
	X(_ZdaPv, void, (void *block))                                                            \
	X(_ZdlPvm, void, (void *block, size_t size))                                              \
	X(_ZdaPvm, void, (void *block, size_t size))                                              \
	X(_ZdlPvRKSt9nothrow_t, void, (void *block, const void *nothrow))                         \
	X(_ZdaPvRKSt9nothrow_t, void, (void *block, const void *nothrow))                         \
	X(_ZdlPvSt11align_val_t, void, (void *block, size_t alignment))                           \
	X(_ZdaPvSt11align_val_t, void, (void *block, size_t alignment))                           \
	X(_ZdlPvmSt11align_val_t, void, (void *block, size_t size, size_t alignment))             \
	X(_ZdaPvmSt11align_val_t, void, (void *block, size_t size, size_t alignment))             \
	X(_ZdlPvSt11align_val_tRKSt9nothrow_t, void,                                              \
	  (void *block, size_t alignment, const void *nothrow))                                   \
	X(_ZdaPvSt11align_val_tRKSt9nothrow_t, void,                                              \
	  (void *block, size_t alignment, const void *nothrow))

#define CMR_HOOK_LIST(X, T)                                                                       \
	X(malloc, void *, (size_t size))                                                          \
	X(calloc, void *, (size_t n, size_t size))                                                \
	X(realloc, void *, (void *block, size_t size))                                            \
	X(reallocarray, void *, (void *block, size_t n, size_t size))                             \
	X(free, void, (void *block))                                                              \
	X(posix_memalign, int, (void **out, size_t alignment, size_t size))                       \
	X(aligned_alloc, void *, (size_t alignment, size_t size))                                 \
	X(memalign, void *, (size_t alignment, size_t size))                                      \
	X(valloc, void *, (size_t size))                                                          \
	X(pvalloc, void *, (size_t size))                                                         \
	X(free_sized, void, (void *block, size_t size))                                           \
	X(free_aligned_sized, void, (void *block, size_t alignment, size_t size))                 \
	X(mmap, void *, (void *hint, size_t bytes, int prot, int flags, int fd, off_t offset))    \
	X(mmap64, void *, (void *hint, size_t bytes, int prot, int flags, int fd, off_t offset))  \
	X(munmap, int, (void *start, size_t bytes))                                               \
	X(mremap, void *, (void *start, size_t old, size_t bytes, int flags, void *target))       \
	X(mprotect, int, (void *start, size_t bytes, int prot))                                   \
	X(pthread_create, int,                                                                    \
	  (pthread_t * thread, const pthread_attr_t *attr, void *(*run)(void *), void *argument)) \
	X(fork, pid_t, (void))                                                                    \
	X(forkpty, pid_t,                                                                         \
	  (int *master, char *name, const struct termios *terminal, const struct winsize *size))  \
	X(posix_spawn, int,                                                                       \
	  (pid_t * pid, const char *path, const posix_spawn_file_actions_t *actions,              \
	   const posix_spawnattr_t *attr, char *const argv[], char *const envp[]))                \
	X(posix_spawnp, int,                                                                      \
	  (pid_t * pid, const char *file, const posix_spawn_file_actions_t *actions,              \
	   const posix_spawnattr_t *attr, char *const argv[], char *const envp[]))                \
	X(system, int, (const char *command))                                                     \
	X(popen, FILE *, (const char *command, const char *mode))                                 \
	T(vfork)                                                                                  \
	T(dlopen)                                                                                 \
	T(dlmopen)                                                                                \
	T(dlsym)                                                                                  \
	T(dlvsym)                                                                                 \
	CMR_HOOK_CXX_LIST(X)

#endif
