/* Wrappers that start threads and child processes. */
#include "hook/wrapper.h"

#include <unistd.h>
#include <unwind.h>

#include "os/losses.h"
#include "os/memory.h"

_Atomic uint64_t cmr_children[CMR_N_CHILDREN];

/* What a new thread needs to begin. */
struct beginning {
	void *(*run)(void *);
	void *argument;
	uint64_t stamp;
};

static struct cmr_pool beginnings = CMR_POOL(sizeof(struct beginning));

/* First function of a thread started while something is measured. It keeps nothing on its stack and
 * ends in a tail call where the compiler can, so that pthread_exit and cancellation unwind through
 * the thread's own frames as ever. */
static void *begin_thread(void *data)
{
	struct beginning beginning = *(struct beginning *)data;

	cmr_gate_enter(CMR_GUARD_ALL);
	cmr_pool_put(&beginnings, data);
	cmr_thread_born(beginning.stamp);
	cmr_gate_leave(CMR_GUARD_ALL);
	return beginning.run(beginning.argument);
}

static CMR_TRACKED int tracked_pthread_create(pthread_t *thread, const pthread_attr_t *attr,
					      void *(*run)(void *), void *argument)
{
	struct beginning *beginning;
	int result, saved = errno;
	struct cmr_event event = cmr_event_begin();

	beginning = cmr_pool_get(&beginnings);
	if (beginning != NULL)
		*beginning = (struct beginning){ run, argument, cmr_thread_stamp() };
	errno = saved;
	cmr_event_end(event);
	if (beginning == NULL) {
		cmr_lose(CMR_LOSS_threads); /* the thread will pass for an old one */
		return cmr_original.pthread_create(thread, attr, run, argument);
	}
	result = cmr_original.pthread_create(thread, attr, begin_thread, beginning);
	if (result != 0)
		cmr_pool_put(&beginnings, beginning);
	return result;
}

/* A thread that is started while nothing is measured gets no birth stamp: it is older than every
 * region that could ask. */
int cmr_hook_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *),
			    void *argument)
{
	if (CMR_CLOSED(cmr_gate_planes()))
		return cmr_original.pthread_create(thread, attr, run, argument);
	return tracked_pthread_create(thread, attr, run, argument);
}

static void count_child(enum cmr_child child)
{
	atomic_fetch_add_explicit(&cmr_children[child], 1, memory_order_relaxed);
}

pid_t cmr_hook_fork(void)
{
	count_child(CMR_CHILD_FORK);
	return cmr_original.fork();
}

/* Older C libraries have it in a library of its own, whose call of fork is seen by itself. */
pid_t cmr_hook_forkpty(int *master, char *name, const struct termios *terminal,
		       const struct winsize *size)
{
	_Atomic uint64_t *forks = &cmr_children[CMR_CHILD_FORK];
	uint64_t before = atomic_load_explicit(forks, memory_order_relaxed);
	pid_t pid = cmr_original.forkpty(master, name, terminal, size);

	if (pid > 0 && atomic_load_explicit(forks, memory_order_relaxed) == before)
		count_child(CMR_CHILD_FORK);
	return pid;
}

int cmr_hook_posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
			 const posix_spawnattr_t *attr, char *const argv[], char *const envp[])
{
	count_child(CMR_CHILD_SPAWN);
	return cmr_original.posix_spawn(pid, path, actions, attr, argv, envp);
}

int cmr_hook_posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions,
			  const posix_spawnattr_t *attr, char *const argv[], char *const envp[])
{
	count_child(CMR_CHILD_SPAWN);
	return cmr_original.posix_spawnp(pid, file, actions, attr, argv, envp);
}

int cmr_hook_system(const char *command)
{
	if (command != NULL) /* NULL only asks whether there is a shell */
		count_child(CMR_CHILD_SYSTEM);
	return cmr_original.system(command);
}

FILE *cmr_hook_popen(const char *command, const char *mode)
{
	count_child(CMR_CHILD_POPEN);
	return cmr_original.popen(command, mode);
}

int cmr_hook_personality(int version, int actions, uint64_t kind, void *exception, void *context)
{
	(void)version;
	(void)kind;
	(void)exception;
	(void)context;
	if ((actions & _UA_CLEANUP_PHASE) != 0)
		cmr_gate_leave(CMR_GUARD_ALL);
	return _URC_CONTINUE_UNWIND;
}
