/* Threads that stand inside an event for as long as a test wants. */
#ifndef CMR_TEST_THREADS_RIG_H
#define CMR_TEST_THREADS_RIG_H

#include <pthread.h>
#include <semaphore.h>
#include <time.h>

#include "events/gate.h"
#include "os/thread.h"

/* ThreadSanitizer allows no new threads in the child of a process that had some. */
#if defined(__SANITIZE_THREAD__)
#define UNDER_TSAN true
#elif defined(__has_feature)
#define UNDER_TSAN __has_feature(thread_sanitizer)
#else
#define UNDER_TSAN false
#endif

#define OUTER CMR_GUARD(CMR_PLANE_OUTER)
#define SYSTEM CMR_GUARD(CMR_PLANE_SYSTEM)

/* The gate itself belongs to the layer above. */
static inline uintptr_t guard_word(void)
{
	return atomic_load(&cmr_tls.guard);
}

static inline int64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static inline void sleep_us(long us)
{
	const struct timespec t = { .tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000 };

	nanosleep(&t, NULL);
}

static inline void must_init(void)
{
	struct cmr_error err;

	REQUIRE(cmr_thread_init(&err) == CMR_OK);
}

static inline void count_one(struct cmr_thread *thread, void *data)
{
	(void)thread;
	++*(unsigned *)data;
}

static inline unsigned n_threads(void)
{
	unsigned n = 0;

	cmr_thread_each(count_one, &n);
	return n;
}

/* Runs BODY in a thread of its own and waits for its end. */
static inline void *run(void *(*body)(void *), void *argument)
{
	pthread_t thread;
	void *result = NULL;

	REQUIRE(pthread_create(&thread, NULL, body, argument) == 0);
	REQUIRE(pthread_join(thread, &result) == 0);
	return result;
}

struct worker {
	pthread_t thread;
	uintptr_t planes; /* of its one long event */
	sem_t inside, leave;
};

static inline void *have_event(void *argument)
{
	struct worker *w = argument;
	uintptr_t planes = w->planes;

	cmr_thread_self();
	cmr_gate_enter(planes);
	cmr_gate_leave(planes); /* the next is not the first */
	cmr_gate_enter(planes);
	sem_post(&w->inside);
	sem_wait(&w->leave);
	cmr_gate_leave(planes);
	return NULL;
}

static inline void begin(struct worker *w, uintptr_t planes)
{
	w->planes = planes;
	sem_init(&w->inside, 0, 0);
	sem_init(&w->leave, 0, 0);
	REQUIRE(pthread_create(&w->thread, NULL, have_event, w) == 0);
	sem_wait(&w->inside);
}

static inline void end(struct worker *w)
{
	sem_post(&w->leave);
	pthread_join(w->thread, NULL);
	sem_destroy(&w->inside);
	sem_destroy(&w->leave);
}

#endif
