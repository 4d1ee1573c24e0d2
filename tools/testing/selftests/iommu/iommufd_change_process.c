// SPDX-License-Identifier: GPL-2.0-only
/*
 * IOMMU_IOAS_CHANGE_PROCESS on the mock driver
 *
 * Two processes share an iommufd: "old" maps files, "new" takes them over. Each has
 * an RLIMIT_MEMLOCK of LIMIT pages. The test tells them what to do, and reads from
 * outside what they are charged for: VmPin, VmLck, and how much more they can lock,
 * which they find out with a second iommufd. Every test of the fixture "change" runs
 * for two users, for one user, with RLIMIT_MEMLOCK per mm, and where one process or
 * both have CAP_IPC_LOCK. It wants to run as root.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/vfio.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include "iommufd_hw_queue.h"
#include "iommufd_account.h"

#define NUM_IOAS 3
/* What each process may lock, in pages */
#define LIMIT 40UL
#define FILE_PAGES 64UL

/* Unprivileged, and used by nothing else */
#define UID_A 12001
#define UID_B 12002
/* What a process can become */
#define UID_LATER 12003

/* Page @n of the part of the aperture that the tests map to */
#define IOVA(n) (QUEUE_IOVA + (n) * PAGE_SIZE)

/* ---- A process that does what the test tells it to ---- */

struct race;

struct job {
	int (*fn)(struct job *job);
	/* What a thread of the process does, for job_in_a_thread() */
	int (*inner)(struct job *job);
	/* What @fn returned */
	int rc;
	/* For job_exec(): what a new program needs, besides @fd and @file */
	int sock;
	int probe_fd;
	int fd;
	__u32 ioas_id;
	__u32 src_id;
	int file;
	__u64 iova;
	__u64 src_iova;
	__u64 pages;
	struct race *race;
};

struct proc {
	pid_t pid;
	int sock;
	/* The number of the other end, in the process */
	int their_sock;
};

/*
 * Do what comes by @sock. After execve() this program can lie elsewhere than that of the
 * test: @shift is what has to be added to the addresses of its functions.
 */
static void proc_main(int sock, uintptr_t shift)
{
	struct job job;

	while (read(sock, &job, sizeof(job)) == sizeof(job)) {
		job.fn = (void *)((uintptr_t)job.fn + shift);
		job.inner = (void *)((uintptr_t)job.inner + shift);
		job.rc = job.fn(&job);
		if (write(sock, &job, sizeof(job)) != sizeof(job))
			break;
	}
	_exit(0);
}

/* Tells a new program its socket, and where proc_main() was in the old one */
#define EXEC_ENV "IOMMUFD_CHANGE_PROCESS"

/* Become a new program, which answers this job in place of the old one */
static int job_exec(struct job *job)
{
	char env[60];

	snprintf(env, sizeof(env), "%d %lx", job->sock,
		 (unsigned long)proc_main);
	if (fcntl(job->sock, F_SETFD, 0) || fcntl(job->fd, F_SETFD, 0) ||
	    fcntl(job->probe_fd, F_SETFD, 0) || fcntl(job->file, F_SETFD, 0) ||
	    setenv(EXEC_ENV, env, 1))
		return errno;
	execl("/proc/self/exe", "change_process", NULL);
	return errno;
}

static __attribute__((constructor)) void go_on_after_exec(void)
{
	const char *env = getenv(EXEC_ENV);
	struct job job = {};
	unsigned long was;
	int sock;

	if (!env)
		return;
	if (sscanf(env, "%d %lx", &sock, &was) != 2 ||
	    write(sock, &job, sizeof(job)) != sizeof(job))
		_exit(1);
	PAGE_SIZE = sysconf(_SC_PAGE_SIZE);
	proc_main(sock, (uintptr_t)proc_main - was);
}

/* With @capable it is privileged; it is user @uid without any capability else */
static bool proc_start(struct proc *proc, bool capable, uid_t uid)
{
	struct rlimit rlim = {
		.rlim_cur = LIMIT * PAGE_SIZE,
		.rlim_max = LIMIT * PAGE_SIZE,
	};
	int socks[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socks))
		return false;
	proc->pid = fork();
	if (!proc->pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(socks[0]);
		if (setrlimit(RLIMIT_MEMLOCK, &rlim) ||
		    (!capable && setresuid(uid, uid, UID_LATER)))
			_exit(1);
		/* setresuid() has cleared it */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		proc_main(socks[1], 0);
	}
	close(socks[1]);
	proc->their_sock = socks[1];
	proc->sock = socks[0];
	return proc->pid > 0;
}

static void proc_reap(struct proc *proc)
{
	if (!proc->pid)
		return;
	waitpid(proc->pid, NULL, 0);
	close(proc->sock);
	proc->pid = 0;
}

static void proc_exit(struct proc *proc)
{
	if (proc->pid)
		shutdown(proc->sock, SHUT_RDWR);
	proc_reap(proc);
}

static void proc_kill(struct proc *proc)
{
	if (proc->pid)
		kill(proc->pid, SIGKILL);
	proc_reap(proc);
}

static bool proc_begin(struct proc *proc, const struct job *job)
{
	return write(proc->sock, job, sizeof(*job)) == sizeof(*job);
}

/* Return what the job that was begun last has returned, -1 if the process is gone */
static int proc_end(struct proc *proc)
{
	struct job job;

	return read(proc->sock, &job, sizeof(job)) == sizeof(job) ? job.rc : -1;
}

static int proc_run(struct proc *proc, struct job job)
{
	return proc_begin(proc, &job) ? proc_end(proc) : -1;
}

/* Bytes in a line of /proc/PID/status, as pages */
static long proc_pages(const struct proc *proc, const char *key)
{
	char path[40];

	snprintf(path, sizeof(path), "/proc/%d/status", proc->pid);
	return read_key(path, key) * 1024 / (long)PAGE_SIZE;
}

/* ---- Jobs ---- */

static int change_process(int fd)
{
	struct iommu_ioas_change_process cmd = { .size = sizeof(cmd) };

	return call(fd, IOMMU_IOAS_CHANGE_PROCESS, &cmd);
}

static int job_change(struct job *job)
{
	return change_process(job->fd);
}

/* Map from page @src_iova of the file on */
static int job_map_file(struct job *job)
{
	return __ioas_map_file(job->fd, job->ioas_id, job->file,
			       job->src_iova * PAGE_SIZE,
			       job->pages * PAGE_SIZE, job->iova);
}

static int job_map_address(struct job *job)
{
	void *va = mmap(NULL, job->pages * PAGE_SIZE, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (va == MAP_FAILED)
		return errno;
	return __ioas_map(job->fd, job->ioas_id, va, job->pages * PAGE_SIZE,
			  job->iova);
}

static int job_copy(struct job *job)
{
	return __ioas_copy(job->fd, job->ioas_id, job->src_id, job->src_iova,
			   job->pages * PAGE_SIZE, job->iova);
}

static int job_unmap(struct job *job)
{
	return __ioas_unmap(job->fd, job->ioas_id, job->iova,
			    job->pages * PAGE_SIZE);
}

static int job_limit(struct job *job)
{
	struct rlimit rlim = {
		.rlim_cur = job->pages * PAGE_SIZE,
		.rlim_max = LIMIT * PAGE_SIZE,
	};

	return setrlimit(RLIMIT_MEMLOCK, &rlim) ? errno : 0;
}

/* How many pages can be locked more, FILE_PAGES if that has no limit */
static int job_room(struct job *job)
{
	unsigned long low = 0, high = FILE_PAGES;

	while (low != high) {
		unsigned long pages = (low + high + 1) / 2;

		if (__ioas_map_file(job->fd, job->ioas_id, job->file, 0,
				    pages * PAGE_SIZE, IOVA(0))) {
			high = pages - 1;
			continue;
		}
		low = pages;
		if (__ioas_unmap(job->fd, job->ioas_id, IOVA(0),
				 pages * PAGE_SIZE))
			return -1;
	}
	return low;
}

/* By the call that VFIO's container has for it */
static int job_vfio_map(struct job *job)
{
	void *va = mmap(NULL, job->pages * PAGE_SIZE, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct vfio_iommu_type1_dma_map cmd = {
		.argsz = sizeof(cmd),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = (uintptr_t)va,
		.iova = job->iova,
		.size = job->pages * PAGE_SIZE,
	};

	if (va == MAP_FAILED)
		return errno;
	return call(job->fd, VFIO_IOMMU_MAP_DMA, &cmd);
}

/* Become another user, without a capability */
static int job_become_later(struct job *job)
{
	return setresuid(UID_LATER, UID_LATER, UID_LATER) ? errno : 0;
}

static void *do_inner(void *arg)
{
	struct job *job = arg;

	job->rc = job->inner(job);
	return NULL;
}

/* What a thread does that is not the leader of its process and is gone afterwards */
static int job_in_a_thread(struct job *job)
{
	pthread_t thread;
	int rc;

	rc = pthread_create(&thread, NULL, do_inner, job) ?:
	     pthread_join(thread, NULL);
	return rc ?: job->rc;
}

/* ---- What processes count while they race ---- */

/* How often a call must have met a change of the process, or it was no race */
#define RACE_LEAST 20
/* Seconds after which that is hopeless */
#define RACE_TIME 400

enum {
	RACE_MAP,
	RACE_UNMAP,
	RACE_COPY,
	RACE_ATTACH,
	RACE_DESTROY,
	RACE_PIN,
	RACE_CHANGE,
	RACE_OPS,
};

static const char * const race_names[] = {
	"map", "unmap", "copy", "attach", "destroy", "pin", "change",
};

/* In memory that all processes share */
struct race {
	/* Goes up at the start and at the end of each change */
	atomic_uint changing;
	atomic_uint met[RACE_OPS];
	/* How the call that should not have failed did, as a name and an errno */
	atomic_uint failed;
	atomic_int rc;
	/* What each has to meet, a bit each */
	unsigned int wanted;
	double end;
	/* Of a process that is killed in the end */
	atomic_uint rounds;
};

/* ---- Memory of one process that becomes memory of another ---- */

FIXTURE(change)
{
	int fd;
	__u32 ioas_ids[NUM_IOAS];
	__u32 stdev_ids[NUM_IOAS];
	__u32 hwpt_ids[NUM_IOAS];
	__u32 dev_ids[NUM_IOAS];
	/* To find out how much can be locked */
	int probe_fd;
	__u32 probe_ioas_id;
	int file;
	char *va;
	struct proc old, new;
	struct race *race;
	long pins;
};

FIXTURE_VARIANT(change)
{
	bool mm_mode;
	bool one_user;
	bool old_capable;
	bool new_capable;
};

FIXTURE_VARIANT_ADD(change, two_users) {};
FIXTURE_VARIANT_ADD(change, one_user) { .one_user = true };
FIXTURE_VARIANT_ADD(change, mm) { .mm_mode = true };
FIXTURE_VARIANT_ADD(change, capable)
{
	.old_capable = true, .new_capable = true,
};

FIXTURE_VARIANT_ADD(change, new_capable) { .new_capable = true };
FIXTURE_VARIANT_ADD(change, old_capable) { .old_capable = true };
FIXTURE_VARIANT_ADD(change, mm_new_capable)
{
	.mm_mode = true, .new_capable = true,
};

FIXTURE_VARIANT_ADD(change, mm_old_capable)
{
	.mm_mode = true, .old_capable = true,
};

/* An iommufd that charges by mm or by user */
static int open_iommufd(bool mm_mode)
{
	struct iommu_option cmd = {
		.size = sizeof(cmd),
		.option_id = IOMMU_OPTION_RLIMIT_MODE,
		.op = IOMMU_OPTION_OP_SET,
		.val64 = mm_mode,
	};
	int fd = open("/dev/iommu", O_RDWR | O_CLOEXEC);

	return fd < 0 || call(fd, IOMMU_OPTION, &cmd) ? -1 : fd;
}

FIXTURE_SETUP(change)
{
	uid_t uid_b = variant->one_user ? UID_A : UID_B;
	unsigned int i;

	if (geteuid())
		SKIP(return, "not root");
	self->pins = pins();
	self->fd = open_iommufd(variant->mm_mode);
	ASSERT_NE(-1, self->fd);
	/* Each IOAS has a domain, so that what is mapped is pinned */
	for (i = 0; i != NUM_IOAS; i++) {
		test_ioctl_ioas_alloc(&self->ioas_ids[i]);
		test_cmd_mock_domain(self->ioas_ids[i], &self->stdev_ids[i],
				     &self->hwpt_ids[i], &self->dev_ids[i]);
	}
	self->probe_fd = open_iommufd(variant->mm_mode);
	ASSERT_NE(-1, self->probe_fd);
	ASSERT_EQ(0, _test_ioctl_ioas_alloc(self->probe_fd,
					    &self->probe_ioas_id));
	ASSERT_EQ(0, _test_cmd_mock_domain(self->probe_fd, self->probe_ioas_id,
					   NULL, NULL, NULL));
	self->file = memfd_create("change", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	ASSERT_NE(-1, self->file);
	ASSERT_EQ(0, ftruncate(self->file, FILE_PAGES * PAGE_SIZE));
	self->va = mmap(NULL, FILE_PAGES * PAGE_SIZE, PROT_READ | PROT_WRITE,
			MAP_SHARED, self->file, 0);
	ASSERT_NE(MAP_FAILED, self->va);
	self->race = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->race);
	ASSERT_TRUE(proc_start(&self->old, variant->old_capable, UID_A));
	ASSERT_TRUE(proc_start(&self->new, variant->new_capable, uid_b));
}

FIXTURE_TEARDOWN(change)
{
	proc_exit(&self->old);
	proc_exit(&self->new);
	EXPECT_EQ(0, close(self->fd));
	EXPECT_EQ(0, close(self->probe_fd));
	EXPECT_EQ(self->pins, pins());
	munmap(self->race, PAGE_SIZE);
	/* Nothing holds the file any more */
	munmap(self->va, FILE_PAGES * PAGE_SIZE);
	EXPECT_EQ(0, fcntl(self->file, F_ADD_SEALS, F_SEAL_WRITE));
	close(self->file);
}

#define JOB(_fn, ...) \
	((struct job){ .fn = _fn, .fd = self->fd, .file = self->file, __VA_ARGS__ })

#define OLD (&self->old)
#define NEW (&self->new)

/* Map @_pages of the file, from page @_start on, to page @_at of IOAS @_i */
#define MAP(_proc, _i, _at, _start, _pages)                              \
	ASSERT_EQ(0, proc_run(_proc,                                     \
			      JOB(job_map_file,                          \
				  .ioas_id = self->ioas_ids[_i],         \
				  .iova = IOVA(_at), .src_iova = _start, \
				  .pages = _pages)))
#define COPY(_proc, _i, _at, _src_i, _src_at, _pages)                    \
	ASSERT_EQ(0, proc_run(_proc,                                     \
			      JOB(job_copy,                              \
				  .ioas_id = self->ioas_ids[_i],         \
				  .iova = IOVA(_at),                     \
				  .src_id = self->ioas_ids[_src_i],      \
				  .src_iova = IOVA(_src_at),             \
				  .pages = _pages)))
#define UNMAP(_proc, _i, _at, _pages)                                    \
	ASSERT_EQ(0, proc_run(_proc,                                     \
			      JOB(job_unmap,                             \
				  .ioas_id = self->ioas_ids[_i],         \
				  .iova = IOVA(_at), .pages = _pages)))
#define CHANGE(_proc) proc_run(_proc, JOB(job_change))
#define LIMIT_TO(_proc, _pages) \
	ASSERT_EQ(0, proc_run(_proc, JOB(job_limit, .pages = _pages)))

/* @_charged pages count against the RLIMIT_MEMLOCK of the process */
#define EXPECT_ROOM(_proc, _capable, _charged)                           \
	EXPECT_EQ((_capable) ? FILE_PAGES : LIMIT - (_charged),          \
		  proc_run(_proc,                                        \
			   (struct job){ .fn = job_room,                 \
					 .fd = self->probe_fd,           \
					 .ioas_id = self->probe_ioas_id, \
					 .file = self->file }))

/*
 * The processes pay for so many pages. One without CAP_IPC_LOCK is charged for them
 * by its mm or by its user, and then shares the charge with all of this user.
 */
#define EXPECT_PAYS(_old, _new)                                              \
	({                                                                   \
		const long __old = (_old), __new = (_new);                   \
		EXPECT_EQ(__old, proc_pages(&self->old, "VmPin"));           \
		EXPECT_EQ(__new, proc_pages(&self->new, "VmPin"));           \
		EXPECT_EQ(variant->mm_mode && !variant->old_capable ?        \
				  __old : 0,                                 \
			  proc_pages(&self->old, "VmLck"));                  \
		EXPECT_EQ(variant->mm_mode && !variant->new_capable ?        \
				  __new : 0,                                 \
			  proc_pages(&self->new, "VmLck"));                  \
		EXPECT_ROOM(OLD, variant->old_capable,                       \
			    __old + (variant->one_user ? __new : 0));        \
		EXPECT_ROOM(NEW, variant->new_capable,                       \
			    __new + (variant->one_user ? __old : 0));        \
	})

/* A process that the kernel charges anew can be over its limit */
#define OVER_LIMIT (variant->new_capable || variant->one_user ? 0 : ENOMEM)

TEST_F(change, one_area_moves_with_its_charge)
{
	MAP(OLD, 0, 0, 0, 5);
	EXPECT_PAYS(5, 0);
	EXPECT_EQ(0, CHANGE(NEW));
	EXPECT_PAYS(0, 5);
	/* DMA goes where it went */
	EXPECT_EQ(0, check_map(self->fd, self->hwpt_ids[0], IOVA(0),
			       5 * PAGE_SIZE, self->va));
	EXPECT_EQ(self->pins + 5, pins());

	/* Whoever unmaps it */
	UNMAP(OLD, 0, 0, 5);
	EXPECT_PAYS(0, 0);
	EXPECT_EQ(self->pins, pins());
}

TEST_F(change, nothing_mapped_succeeds)
{
	EXPECT_EQ(0, CHANGE(NEW));
	MAP(OLD, 0, 0, 0, 5);
	UNMAP(OLD, 0, 0, 5);
	EXPECT_EQ(0, CHANGE(NEW));
	EXPECT_PAYS(0, 0);
}

TEST_F(change, areas_of_all_ioases_move)
{
	unsigned int i;

	for (i = 0; i != NUM_IOAS; i++) {
		MAP(OLD, i, 0, 0, 2);
		MAP(OLD, i, 10, 5 * i, 3);
		MAP(OLD, i, 20, 30, 4);
	}
	EXPECT_PAYS(27, 0);
	EXPECT_EQ(0, CHANGE(NEW));
	EXPECT_PAYS(0, 27);
	for (i = 0; i != NUM_IOAS; i++) {
		UNMAP(NEW, i, 10, 3);
		EXPECT_PAYS(0, 27 - 3 * ((int)i + 1));
	}
	/* What is mapped from now on belongs to the process that maps it */
	MAP(OLD, 1, 10, 0, 6);
	EXPECT_PAYS(6, 18);
	EXPECT_EQ(0, CHANGE(NEW));
	EXPECT_PAYS(0, 24);
	/* And back */
	EXPECT_EQ(0, CHANGE(OLD));
	EXPECT_PAYS(24, 0);
	for (i = 0; i != NUM_IOAS; i++)
		test_ioctl_destroy(self->stdev_ids[i]);
	EXPECT_PAYS(0, 0);
}

/* In one IOAS and in others, all of them or a part: the pages are pinned once */
TEST_F(change, copies_are_charged_once)
{
	MAP(OLD, 0, 0, 0, 8);
	COPY(OLD, 0, 10, 0, 0, 8);
	COPY(OLD, 1, 0, 0, 0, 8);
	COPY(OLD, 2, 0, 1, 2, 5);
	EXPECT_PAYS(8, 0);
	EXPECT_EQ(0, CHANGE(NEW));
	EXPECT_PAYS(0, 8);
	/* Two mappings of a page of the file are two pins */
	MAP(OLD, 2, 20, 0, 8);
	EXPECT_PAYS(8, 8);
	EXPECT_EQ(0, CHANGE(NEW));
	EXPECT_PAYS(0, 16);
	UNMAP(NEW, 2, 20, 8);
	/* The last copy that has a page keeps the charge for it */
	UNMAP(NEW, 0, 0, 8);
	UNMAP(NEW, 0, 10, 8);
	EXPECT_PAYS(0, 8);
	UNMAP(NEW, 1, 0, 8);
	EXPECT_PAYS(0, 5);
	EXPECT_EQ(0, CHANGE(OLD));
	EXPECT_PAYS(5, 0);
	UNMAP(OLD, 2, 0, 5);
	EXPECT_PAYS(0, 0);
}

/* A copy that is made later by another process has the pages of the first one */
TEST_F(change, copy_after_a_change_is_charged_to_the_new_process)
{
	MAP(OLD, 0, 0, 0, 8);
	test_ioctl_destroy(self->stdev_ids[0]);
	EXPECT_PAYS(0, 0);
	EXPECT_EQ(0, CHANGE(NEW));
	COPY(OLD, 1, 0, 0, 0, 8);
	EXPECT_PAYS(0, 8);
	UNMAP(OLD, 1, 0, 8);
	EXPECT_PAYS(0, 0);
}

/* Nothing is pinned at the change. A domain that comes later charges the caller. */
TEST_F(change, unpinned_memory_moves)
{
	__u32 stdev_id;

	test_ioctl_destroy(self->stdev_ids[0]);
	MAP(OLD, 0, 0, 0, 7);
	EXPECT_PAYS(0, 0);
	EXPECT_EQ(0, CHANGE(NEW));
	EXPECT_PAYS(0, 0);
	/* The limit that matters is the new process' one */
	LIMIT_TO(NEW, 3);
	if (!variant->new_capable)
		EXPECT_ERRNO(ENOMEM,
			     _test_cmd_mock_domain(self->fd, self->ioas_ids[0],
						   &stdev_id, NULL, NULL));
	LIMIT_TO(NEW, LIMIT);
	LIMIT_TO(OLD, 3);
	test_cmd_mock_domain(self->ioas_ids[0], &stdev_id, NULL, NULL);
	LIMIT_TO(OLD, LIMIT);
	EXPECT_PAYS(0, 7);
	test_ioctl_destroy(stdev_id);
	EXPECT_PAYS(0, 0);
}

/* The pages that an access has pinned, and no others, are charged */
TEST_F(change, pins_of_an_access_move)
{
	__u32 access_id, id, id2, stdev_id;

	test_ioctl_destroy(self->stdev_ids[0]);
	test_cmd_create_access(self->ioas_ids[0], &access_id,
			       MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES);
	MAP(OLD, 0, 0, 0, 10);
	access_pin(self->fd, access_id, IOVA(2), 3 * PAGE_SIZE,
		   self->va + 2 * PAGE_SIZE, 0, &id);
	EXPECT_PAYS(3, 0);
	EXPECT_EQ(0, CHANGE(NEW));
	EXPECT_PAYS(0, 3);
	access_pin(self->fd, access_id, IOVA(4), 4 * PAGE_SIZE,
		   self->va + 4 * PAGE_SIZE, 0, &id2);
	EXPECT_PAYS(0, 6);
	EXPECT_EQ(0, __access_unpin(self->fd, access_id, id));
	EXPECT_PAYS(0, 4);
	test_cmd_mock_domain(self->ioas_ids[0], &stdev_id, NULL, NULL);
	EXPECT_PAYS(0, 10);
	EXPECT_EQ(0, CHANGE(OLD));
	EXPECT_PAYS(10, 0);
	test_ioctl_destroy(stdev_id);
	EXPECT_PAYS(4, 0);
	EXPECT_EQ(0, __access_unpin(self->fd, access_id, id2));
	EXPECT_PAYS(0, 0);
	test_cmd_destroy_access(access_id);
}

/* Unmapping makes the access let go, also of pages that another process mapped */
TEST_F(change, unmap_under_an_access_uncharges_the_new_process)
{
	__u32 access_id, id;

	test_cmd_create_access(self->ioas_ids[0], &access_id,
			       MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES);
	MAP(OLD, 0, 0, 0, 10);
	access_pin(self->fd, access_id, IOVA(0), 10 * PAGE_SIZE, self->va, 0,
		   &id);
	EXPECT_PAYS(10, 0);
	EXPECT_EQ(0, CHANGE(NEW));
	EXPECT_PAYS(0, 10);
	UNMAP(OLD, 0, 0, 10);
	EXPECT_PAYS(0, 0);
	test_cmd_destroy_access(access_id);
}

/* A hardware queue keeps running, and locks its memory as before */
TEST_F(change, memory_of_a_hw_queue_moves)
{
	__u32 parent_id, viommu_id, hw_queue_id;

	test_cmd_hwpt_alloc(self->dev_ids[0], self->ioas_ids[0],
			    IOMMU_HWPT_ALLOC_NEST_PARENT, &parent_id);
	viommu_alloc(self->fd, self->dev_ids[0], parent_id, &viommu_id);
	MAP(OLD, 0, 0, 0, 4);
	hw_queue_alloc(self->fd, viommu_id, 0, IOVA(1), PAGE_SIZE,
		       &hw_queue_id);
	EXPECT_PAYS(4, 0);
	EXPECT_EQ(0, CHANGE(NEW));
	EXPECT_PAYS(0, 4);
	EXPECT_EQ(EBUSY, proc_run(NEW,
				  JOB(job_unmap, .ioas_id = self->ioas_ids[0],
				      .iova = IOVA(0), .pages = 4)));
	proc_exit(&self->old);
	test_ioctl_destroy(hw_queue_id);
	UNMAP(NEW, 0, 0, 4);
	EXPECT_EQ(0, proc_pages(&self->new, "VmPin"));
	EXPECT_ROOM(NEW, variant->new_capable, 0);
	test_ioctl_destroy(viommu_id);
	test_ioctl_destroy(parent_id);
}

TEST_F(change, same_process_again_succeeds)
{
	MAP(OLD, 0, 0, 0, 8);
	EXPECT_EQ(0, CHANGE(OLD));
	EXPECT_EQ(0, CHANGE(OLD));
	EXPECT_PAYS(8, 0);
	/* There is nothing to charge, so the limit does not matter */
	LIMIT_TO(OLD, 0);
	EXPECT_EQ(0, CHANGE(OLD));
	LIMIT_TO(OLD, LIMIT);
	EXPECT_PAYS(8, 0);
	EXPECT_EQ(0, CHANGE(NEW));
	EXPECT_EQ(0, CHANGE(NEW));
	EXPECT_PAYS(0, 8);
}

/* The limit is one for all IOASes: all but the last area would fit */
TEST_F(change, over_the_limit_changes_nothing)
{
	unsigned int i;

	for (i = 0; i != NUM_IOAS; i++)
		MAP(OLD, i, 0, 0, 7);
	COPY(OLD, 0, 20, 1, 0, 7);
	MAP(OLD, 2, 20, 0, 1);
	EXPECT_PAYS(22, 0);
	LIMIT_TO(NEW, 21);
	EXPECT_EQ(OVER_LIMIT, CHANGE(NEW));
	LIMIT_TO(NEW, LIMIT);
	if (OVER_LIMIT)
		EXPECT_PAYS(22, 0);
	else
		EXPECT_PAYS(0, 22);

	/* What fits exactly moves */
	EXPECT_EQ(0, CHANGE(OLD));
	LIMIT_TO(NEW, 22);
	EXPECT_EQ(0, CHANGE(NEW));
	LIMIT_TO(NEW, LIMIT);
	EXPECT_PAYS(0, 22);
}

/* What the new process has locked already counts as well */
TEST_F(change, limit_includes_own_memory)
{
	MAP(OLD, 0, 0, 0, 7);
	MAP(NEW, 1, 0, 0, 5);
	LIMIT_TO(NEW, 11);
	EXPECT_EQ(OVER_LIMIT, CHANGE(NEW));
	LIMIT_TO(NEW, LIMIT);
	if (OVER_LIMIT)
		EXPECT_PAYS(7, 5);
	else
		EXPECT_PAYS(0, 12);
	LIMIT_TO(NEW, 12);
	EXPECT_EQ(0, CHANGE(NEW));
	LIMIT_TO(NEW, LIMIT);
	EXPECT_PAYS(0, 12);
}

TEST_F(change, memory_by_address_changes_nothing)
{
	unsigned int i;

	for (i = 0; i != NUM_IOAS; i++)
		MAP(OLD, i, 0, 0, 5);
	/* In each IOAS, where it is pinned and where it is not */
	test_ioctl_destroy(self->stdev_ids[1]);
	for (i = 0; i != NUM_IOAS; i++) {
		ASSERT_EQ(0, proc_run(OLD,
				      JOB(job_map_address,
					  .ioas_id = self->ioas_ids[i],
					  .iova = IOVA(50), .pages = 2)));
		EXPECT_EQ(EINVAL, CHANGE(NEW));
		EXPECT_EQ(EINVAL, CHANGE(OLD));
		EXPECT_PAYS(i == 1 ? 10 : 12, 0);
		UNMAP(OLD, i, 50, 2);
		EXPECT_PAYS(10, 0);
	}

	/* A copy is left */
	ASSERT_EQ(0, proc_run(OLD,
			      JOB(job_map_address,
				  .ioas_id = self->ioas_ids[0],
				  .iova = IOVA(50), .pages = 2)));
	COPY(OLD, 2, 50, 0, 50, 2);
	UNMAP(OLD, 0, 50, 2);
	EXPECT_EQ(EINVAL, CHANGE(NEW));
	EXPECT_PAYS(12, 0);
	UNMAP(OLD, 2, 50, 2);

	EXPECT_EQ(0, CHANGE(NEW));
	EXPECT_PAYS(0, 10);
}

/* A mapping that failed does not count as memory by address */
TEST_F(change, failed_mapping_by_address_is_no_memory)
{
	MAP(OLD, 0, 0, 0, 5);
	EXPECT_EQ(EEXIST, proc_run(OLD,
				   JOB(job_map_address,
				       .ioas_id = self->ioas_ids[0],
				       .iova = IOVA(0), .pages = 2)));
	EXPECT_EQ(0, CHANGE(NEW));
	EXPECT_PAYS(0, 5);
}

/* Another iommufd of the processes is none of this one's business */
TEST_F(change, other_iommufd_stays)
{
	MAP(OLD, 0, 0, 0, 5);
	ASSERT_EQ(0, proc_run(OLD,
			      (struct job){ .fn = job_map_address,
					    .fd = self->probe_fd,
					    .ioas_id = self->probe_ioas_id,
					    .iova = IOVA(FILE_PAGES),
					    .pages = 3 }));
	EXPECT_PAYS(8, 0);
	EXPECT_EQ(0, CHANGE(NEW));
	EXPECT_PAYS(3, 5);
}

TEST_F(change, memory_by_vfio_map_dma_changes_nothing)
{
	struct iommu_vfio_ioas cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_VFIO_IOAS_SET,
		.ioas_id = self->ioas_ids[2],
	};

	ASSERT_EQ(0, call(self->fd, IOMMU_VFIO_IOAS, &cmd));
	MAP(OLD, 0, 0, 0, 5);
	ASSERT_EQ(0, proc_run(OLD, JOB(job_vfio_map, .iova = IOVA(50),
				       .pages = 2)));
	EXPECT_EQ(EINVAL, CHANGE(NEW));
	EXPECT_PAYS(7, 0);
	UNMAP(OLD, 2, 50, 2);
	EXPECT_EQ(0, CHANGE(NEW));
	EXPECT_PAYS(0, 5);
}

/* A part of a huge page is charged for what it is */
TEST_F(change, part_of_a_huge_page_moves)
{
	int file = memfd_create("huge", MFD_HUGETLB | MFD_CLOEXEC);
	struct job map = JOB(job_map_file, .ioas_id = self->ioas_ids[0],
			     .iova = IOVA(0), .src_iova = 3, .pages = 7);

	ASSERT_NE(-1, file);
	ASSERT_EQ(0, ftruncate(file, HPAGE));
	/* The test maps it: the processes began before there was such a fd */
	map.file = file;
	ASSERT_EQ(0, map.fn(&map));
	EXPECT_EQ(0, CHANGE(OLD));
	EXPECT_PAYS(7, 0);
	EXPECT_EQ(0, CHANGE(NEW));
	EXPECT_PAYS(0, 7);
	UNMAP(NEW, 0, 0, 7);
	EXPECT_PAYS(0, 0);
	close(file);
}

/* ---- The caller is not what it was ---- */

/* A charge is that of the process, not of the thread that calls */
TEST_F(change, thread_calls_for_its_process)
{
	__u32 stdev_id;

	ASSERT_EQ(0, proc_run(OLD, JOB(job_in_a_thread, .inner = job_map_file,
				       .ioas_id = self->ioas_ids[0],
				       .iova = IOVA(0), .pages = 9)));
	EXPECT_PAYS(9, 0);
	EXPECT_EQ(0, proc_run(NEW, JOB(job_in_a_thread, .inner = job_change)));
	EXPECT_PAYS(0, 9);

	/* The thread is gone, and pages are pinned again */
	test_ioctl_destroy(self->stdev_ids[0]);
	EXPECT_PAYS(0, 0);
	test_cmd_mock_domain(self->ioas_ids[0], &stdev_id, NULL, NULL);
	EXPECT_PAYS(0, 9);
	test_ioctl_destroy(stdev_id);
}

/* A VMM that replaces itself has a new mm, which pays for nothing until it asks to */
TEST_F(change, memory_is_taken_over_after_execve)
{
	MAP(OLD, 0, 0, 0, 9);
	ASSERT_EQ(0, proc_run(OLD, JOB(job_exec, .sock = self->old.their_sock,
				       .probe_fd = self->probe_fd)));
	EXPECT_EQ(0, proc_pages(OLD, "VmPin"));
	EXPECT_EQ(0, proc_pages(OLD, "VmLck"));
	/* The user is still who it was */
	EXPECT_ROOM(OLD, variant->old_capable, variant->mm_mode ? 0 : 9);
	EXPECT_EQ(0, CHANGE(OLD));
	EXPECT_PAYS(9, 0);
	EXPECT_EQ(0, CHANGE(NEW));
	EXPECT_PAYS(0, 9);
}

/* Who becomes another user takes its memory along by a call, and not before */
TEST_F(change, user_that_pays_is_that_of_the_call)
{
	const bool mm_pays = variant->mm_mode && !variant->old_capable;

	MAP(OLD, 0, 0, 0, 9);
	ASSERT_EQ(0, proc_run(OLD, JOB(job_become_later)));
	EXPECT_ROOM(OLD, false, mm_pays ? 9 : 0);
	EXPECT_ROOM(NEW, variant->new_capable,
		    variant->one_user && !variant->old_capable ? 9 : 0);
	EXPECT_EQ(0, CHANGE(OLD));
	EXPECT_ROOM(OLD, false, 9);
	EXPECT_ROOM(NEW, variant->new_capable, 0);
	EXPECT_EQ(9, proc_pages(OLD, "VmPin"));
	UNMAP(NEW, 0, 0, 9);
	EXPECT_ROOM(OLD, false, 0);
	EXPECT_EQ(0, proc_pages(OLD, "VmPin"));
}

/* ---- The old process is gone ---- */

/* Start a process of the user that the old one had, to see what that is charged for */
#define OLD_AGAIN() \
	ASSERT_TRUE(proc_start(&self->old, variant->old_capable, UID_A))

TEST_F(change, memory_of_an_exited_process_moves)
{
	const bool dead_mm = variant->mm_mode && !variant->old_capable;
	__u32 stdev_id;

	MAP(OLD, 0, 0, 0, 9);
	MAP(OLD, 1, 0, 0, 9);
	proc_exit(&self->old);
	OLD_AGAIN();
	/* What a mm was charged for went with it, what a user is charged for not */
	EXPECT_ROOM(OLD, variant->old_capable, variant->mm_mode ? 0 : 18);
	test_ioctl_destroy(self->stdev_ids[1]);
	EXPECT_EQ(dead_mm ? EFAULT : 0,
		  _test_cmd_mock_domain(self->fd, self->ioas_ids[1], &stdev_id,
					NULL, NULL) ? errno : 0);
	if (!dead_mm)
		test_ioctl_destroy(stdev_id);

	EXPECT_EQ(0, CHANGE(NEW));
	EXPECT_PAYS(0, 9);
	/* Now there is an mm to charge again */
	test_cmd_mock_domain(self->ioas_ids[1], &stdev_id, NULL, NULL);
	EXPECT_PAYS(0, 18);
	UNMAP(NEW, 0, 0, 9);
	EXPECT_PAYS(0, 9);
	test_ioctl_destroy(stdev_id);
	EXPECT_PAYS(0, 0);
}

TEST_F(change, over_the_limit_after_an_exit_changes_nothing)
{
	MAP(OLD, 0, 0, 0, 9);
	proc_exit(&self->old);
	LIMIT_TO(NEW, 8);
	EXPECT_EQ(OVER_LIMIT, CHANGE(NEW));
	LIMIT_TO(NEW, LIMIT);
	OLD_AGAIN();
	EXPECT_ROOM(OLD, variant->old_capable, variant->mm_mode ? 0 :
		    OVER_LIMIT || variant->one_user ? 9 : 0);
	UNMAP(NEW, 0, 0, 9);
	EXPECT_PAYS(0, 0);
}

/* The new process exits in its turn */
TEST_F(change, memory_of_an_exited_new_process_moves_on)
{
	MAP(OLD, 0, 0, 0, 9);
	EXPECT_EQ(0, CHANGE(NEW));
	proc_exit(&self->new);
	EXPECT_EQ(0, CHANGE(OLD));
	ASSERT_TRUE(proc_start(&self->new, variant->new_capable,
			       variant->one_user ? UID_A : UID_B));
	EXPECT_PAYS(9, 0);
}

/* ---- Errors ---- */

static_assert(sizeof(struct iommu_ioas_change_process) == 8,
	      "iommu_ioas_change_process");
ASSERT_FIELD(iommu_ioas_change_process, size, 0, 4);
ASSERT_FIELD(iommu_ioas_change_process, __reserved, 4, 4);
static_assert(_IO(0x3b, 0x92) == IOMMU_IOAS_CHANGE_PROCESS,
	      "IOMMU_IOAS_CHANGE_PROCESS");

static const struct {
	const char *name;
	__u32 size;
	__u32 reserved;
	__u32 tail;
	int rc;
} error_rows[] = {
	{ "fine", 8, 0, 0, 0 },
	{ "larger, rest 0", 12, 0, 0, 0 },
	{ "larger, rest not 0", 12, 0, 1, E2BIG },
	{ "larger, rest not 0, and reserved", 12, 1, 1, E2BIG },
	{ "size 0", 0, 0, 0, EINVAL },
	{ "no reserved", 4, 0, 0, EINVAL },
	{ "one byte short", 7, 0, 0, EINVAL },
	{ "one byte short, and reserved", 7, 1, 0, EINVAL },
	{ "reserved", 8, 1, 0, EOPNOTSUPP },
	{ "reserved, highest bit", 8, 1U << 31, 0, EOPNOTSUPP },
	{ "larger, and reserved", 12, 1, 0, EOPNOTSUPP },
};

TEST(errors)
{
	unsigned int i;
	char *page;
	int fd;

	fd = open("/dev/iommu", O_RDWR);
	ASSERT_NE(-1, fd);
	for (i = 0; i != ARRAY_SIZE(error_rows); i++) {
		__u32 cmd[3] = { error_rows[i].size, error_rows[i].reserved,
				 error_rows[i].tail };

		EXPECT_EQ(error_rows[i].rc,
			  call(fd, IOMMU_IOAS_CHANGE_PROCESS, cmd)) {
			TH_LOG("%s", error_rows[i].name);
		}
	}
	page = guarded_pages(1);
	ASSERT_NE(NULL, page);
	EXPECT_EQ(EFAULT, call(fd, IOMMU_IOAS_CHANGE_PROCESS, NULL));
	EXPECT_EQ(EFAULT, call(fd, IOMMU_IOAS_CHANGE_PROCESS,
			       page + PAGE_SIZE));
	*(__u32 *)(page + PAGE_SIZE - 4) = 8;
	EXPECT_EQ(EFAULT, call(fd, IOMMU_IOAS_CHANGE_PROCESS,
			       page + PAGE_SIZE - 4));
	/* Reading is enough: nothing is returned */
	*(__u64 *)page = 8;
	ASSERT_EQ(0, mprotect(page, PAGE_SIZE, PROT_READ));
	EXPECT_EQ(0, call(fd, IOMMU_IOAS_CHANGE_PROCESS, page));
	munmap(page, 2 * PAGE_SIZE);
	close(fd);
}

/* Reserved is looked at before what is mapped, and that before the limit */
TEST_F(change, order_of_errors)
{
	struct iommu_ioas_change_process cmd = { .size = 8, .__reserved = 1 };

	MAP(OLD, 0, 0, 0, 5);
	ASSERT_EQ(0, proc_run(OLD,
			      JOB(job_map_address, .ioas_id = self->ioas_ids[2],
				  .iova = IOVA(50), .pages = 2)));
	EXPECT_EQ(EOPNOTSUPP, call(self->fd, IOMMU_IOAS_CHANGE_PROCESS, &cmd));
	LIMIT_TO(NEW, 0);
	EXPECT_EQ(EINVAL, CHANGE(NEW));
	LIMIT_TO(NEW, LIMIT);
	EXPECT_PAYS(7, 0);
}

/* ---- Changes at the same time ---- */

static void race_start(struct race *race, unsigned int wanted)
{
	unsigned int i;

	for (i = 0; i != RACE_OPS; i++)
		race->met[i] = 0;
	race->wanted = wanted;
	race->end = now() + RACE_TIME;
}

static bool race_goes_on(struct race *race)
{
	unsigned int i;

	if (now() >= race->end || atomic_load(&race->rc))
		return false;
	for (i = 0; i != RACE_OPS; i++)
		if (race->wanted & (1U << i) &&
		    atomic_load(&race->met[i]) < RACE_LEAST)
			return true;
	return false;
}

/* @_call gives 0 or an errno; it has met a change that began or ended meanwhile */
#define RACE_CALL(_race, _op, _call)                                       \
	({                                                                 \
		unsigned int __before = atomic_load(&(_race)->changing);   \
		int __rc = _call;                                          \
		if (atomic_load(&(_race)->changing) != __before)           \
			atomic_fetch_add(&(_race)->met[_op], 1);           \
		__rc;                                                      \
	})

static void race_result(struct race *race, unsigned int op, int rc, int ok)
{
	if (!rc || rc == ok)
		return;
	atomic_store(&race->failed, op);
	atomic_store(&race->rc, rc);
}

#define EXPECT_MET(_race)                                                  \
	({                                                                 \
		unsigned int __i;                                          \
		EXPECT_EQ(0, atomic_load(&(_race)->rc)) {                  \
			TH_LOG("%s: %s", race_names[(_race)->failed],      \
			       strerror((_race)->rc));                     \
		}                                                          \
		for (__i = 0; __i != RACE_OPS; __i++) {                    \
			if (!((_race)->wanted & (1U << __i)))              \
				continue;                                  \
			TH_LOG("%s met a change %u times", race_names[__i],\
			       atomic_load(&(_race)->met[__i]));           \
			EXPECT_LE(RACE_LEAST,                              \
				  atomic_load(&(_race)->met[__i]));        \
		}                                                          \
	})

/* Change again and again, and count what other changes were met */
static int job_race_change(struct job *job)
{
	struct race *race = job->race;
	int rc;

	while (race_goes_on(race)) {
		atomic_fetch_add(&race->changing, 1);
		rc = RACE_CALL(race, RACE_CHANGE, change_process(job->fd));
		atomic_fetch_add(&race->changing, 1);
		race_result(race, RACE_CHANGE, rc, 0);
	}
	return 0;
}

/* Map at page 0 of IOAS @ioas_id, copy to IOAS @src_id, unmap both */
static int job_race_map(struct job *job)
{
	__u64 length = job->pages * PAGE_SIZE;
	struct race *race = job->race;
	int rc;

	while (race_goes_on(race)) {
		rc = RACE_CALL(race, RACE_MAP,
			       __ioas_map_file(job->fd, job->ioas_id, job->file,
					       0, length, IOVA(0)));
		race_result(race, RACE_MAP, rc, 0);
		rc = RACE_CALL(race, RACE_COPY,
			       __ioas_copy(job->fd, job->src_id, job->ioas_id,
					   IOVA(0), length, IOVA(0)));
		race_result(race, RACE_COPY, rc, 0);
		rc = RACE_CALL(race, RACE_UNMAP,
			       __ioas_unmap(job->fd, job->ioas_id, IOVA(0),
					    length));
		race_result(race, RACE_UNMAP, rc, 0);
		rc = RACE_CALL(race, RACE_UNMAP,
			       __ioas_unmap(job->fd, job->src_id, IOVA(0),
					    length));
		race_result(race, RACE_UNMAP, rc, 0);
	}
	return 0;
}

/* Make an IOAS with a domain and a copy of what @src_id has, and destroy it */
static int job_race_destroy(struct job *job)
{
	__u64 length = job->pages * PAGE_SIZE;
	struct race *race = job->race;
	__u32 ioas_id = 0, stdev_id = 0;
	int rc;

	while (race_goes_on(race)) {
		rc = _test_ioctl_ioas_alloc(job->fd, &ioas_id) ? errno : 0;
		race_result(race, RACE_DESTROY, rc, 0);
		if (rc)
			break;
		rc = RACE_CALL(race, RACE_COPY,
			       __ioas_copy(job->fd, ioas_id, job->src_id,
					   job->src_iova, length, IOVA(0)));
		race_result(race, RACE_COPY, rc, 0);
		rc = RACE_CALL(race, RACE_ATTACH,
			       _test_cmd_mock_domain(job->fd, ioas_id,
						     &stdev_id, NULL, NULL) ?
				       errno : 0);
		race_result(race, RACE_ATTACH, rc, 0);
		rc = RACE_CALL(race, RACE_DESTROY,
			       __do_destroy(job->fd, stdev_id));
		race_result(race, RACE_DESTROY, rc, 0);
		rc = RACE_CALL(race, RACE_DESTROY,
			       __do_destroy(job->fd, ioas_id));
		race_result(race, RACE_DESTROY, rc, 0);
	}
	return 0;
}

/* Pin and unpin pages of an IOAS without a domain, by access @src_id */
static int job_race_pin(struct job *job)
{
	struct race *race = job->race;
	__u32 id;
	int rc;

	while (race_goes_on(race)) {
		rc = RACE_CALL(race, RACE_PIN,
			       __access_pin(job->fd, job->src_id, job->iova,
					    job->pages * PAGE_SIZE, NULL, 0,
					    &id));
		race_result(race, RACE_PIN, rc, 0);
		if (rc)
			break;
		rc = RACE_CALL(race, RACE_PIN,
			       __access_unpin(job->fd, job->src_id, id));
		race_result(race, RACE_PIN, rc, 0);
	}
	return 0;
}

#define ASSERT_BEGIN(_proc, _job) ASSERT_TRUE(proc_begin(_proc, &(_job)))

/*
 * Both processes take the memory from each other, while others map, copy, pin and
 * destroy. Each mapping belongs to one of them at the end, with its charge.
 */
TEST_F_TIMEOUT(change, races_keep_charges_exact, 600)
{
	struct job job = JOB(job_race_change, .race = self->race);
	struct proc procs[3] = {};
	__u32 access_id;
	unsigned int i;

	race_start(self->race, (1U << RACE_OPS) - 1);
	test_ioctl_destroy(self->stdev_ids[2]);
	test_cmd_create_access(self->ioas_ids[2], &access_id,
			       MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES);
	MAP(OLD, 0, 40, 0, 5);
	MAP(OLD, 2, 0, 0, 4);
	for (i = 0; i != ARRAY_SIZE(procs); i++)
		ASSERT_TRUE(proc_start(&procs[i], variant->old_capable, UID_A));

	ASSERT_BEGIN(&self->old, job);
	ASSERT_BEGIN(&self->new, job);
	job.pages = 6;
	job.fn = job_race_map;
	job.ioas_id = self->ioas_ids[0];
	job.src_id = self->ioas_ids[1];
	ASSERT_BEGIN(&procs[0], job);
	job.pages = 5;
	job.fn = job_race_destroy;
	job.src_id = self->ioas_ids[0];
	job.src_iova = IOVA(40);
	ASSERT_BEGIN(&procs[1], job);
	job.pages = 3;
	job.fn = job_race_pin;
	job.src_id = access_id;
	job.iova = IOVA(1);
	ASSERT_BEGIN(&procs[2], job);

	EXPECT_EQ(0, proc_end(&self->old));
	EXPECT_EQ(0, proc_end(&self->new));
	for (i = 0; i != ARRAY_SIZE(procs); i++)
		EXPECT_EQ(0, proc_end(&procs[i]));
	EXPECT_MET(self->race);

	for (i = 0; i != ARRAY_SIZE(procs); i++) {
		EXPECT_EQ(0, proc_pages(&procs[i], "VmPin"));
		EXPECT_EQ(0, proc_pages(&procs[i], "VmLck"));
		proc_exit(&procs[i]);
	}
	EXPECT_EQ(self->pins + 5, pins());
	EXPECT_EQ(5, proc_pages(&self->old, "VmPin") +
		     proc_pages(&self->new, "VmPin"));
	EXPECT_EQ(0, CHANGE(OLD));
	EXPECT_PAYS(5, 0);
	EXPECT_EQ(0, CHANGE(NEW));
	EXPECT_PAYS(0, 5);
	UNMAP(NEW, 0, 40, 5);
	EXPECT_PAYS(0, 0);
	test_cmd_destroy_access(access_id);
}

/* Only one of two processes that change at the same time has all of the memory */
TEST_F_TIMEOUT(change, two_processes_at_once_never_share, 600)
{
	struct job job = JOB(job_race_change, .race = self->race);
	unsigned int i, round;
	long pinned;

	for (i = 0; i != NUM_IOAS; i++) {
		MAP(OLD, i, 0, 0, 5);
		MAP(OLD, i, 10, 0, 3);
	}
	for (round = 0; round != 5; round++) {
		race_start(self->race, 1U << RACE_CHANGE);
		ASSERT_BEGIN(&self->old, job);
		ASSERT_BEGIN(&self->new, job);
		EXPECT_EQ(0, proc_end(&self->old));
		EXPECT_EQ(0, proc_end(&self->new));
		EXPECT_MET(self->race);
		pinned = proc_pages(&self->old, "VmPin");
		EXPECT_TRUE(pinned == 0 || pinned == 24);
		EXPECT_PAYS(pinned, 24 - pinned);
	}
}

/* Map and unmap in IOAS @ioas_id until the process is killed */
static int job_until_killed(struct job *job)
{
	__u64 length = job->pages * PAGE_SIZE;

	for (;;) {
		__ioas_map_file(job->fd, job->ioas_id, job->file, 0, length,
				IOVA(0));
		atomic_fetch_add(&job->race->rounds, 1);
		change_process(job->fd);
		__ioas_unmap(job->fd, job->ioas_id, IOVA(0), length);
	}
	return 0;
}

/* The old process is killed while it maps, and the new one takes over at any time */
TEST_F_TIMEOUT(change, old_process_is_killed, 600)
{
	unsigned int seed = 1, alive = 0, mapped = 0, i, wait;
	int rc;

	for (i = 0; i != 30; i++) {
		struct job job = JOB(job_until_killed, .race = self->race,
				     .ioas_id = self->ioas_ids[0], .pages = 12);

		atomic_store(&self->race->rounds, 0);
		MAP(OLD, 1, 0, 0, 6);
		ASSERT_BEGIN(&self->old, job);
		wait = 1 + rand_r(&seed) % 4;
		while (atomic_load(&self->race->rounds) < wait) {
			EXPECT_EQ(0, CHANGE(NEW));
			alive++;
		}
		proc_kill(&self->old);
		EXPECT_EQ(0, CHANGE(NEW));
		rc = proc_run(NEW,
			      JOB(job_unmap, .ioas_id = self->ioas_ids[0],
				  .iova = IOVA(0), .pages = 12));
		ASSERT_TRUE(!rc || rc == ENOENT);
		mapped += !rc;
		OLD_AGAIN();
		EXPECT_PAYS(0, 6);
		UNMAP(NEW, 1, 0, 6);
		EXPECT_PAYS(0, 0);
	}
	TH_LOG("%u changes while it lived, %u of 30 times something was left",
	       alive, mapped);
	EXPECT_NE(0, alive);
	EXPECT_NE(0, mapped);
}

/* ---- Each step fails once ---- */

TEST_F(change, fail_nth)
{
	struct proc me = { .pid = getpid() };
	const long pinned = proc_pages(&me, "VmPin");
	const long locked = proc_pages(&me, "VmLck");
	unsigned int charge_failed = 0;
	int rc = 0;

	if (!fail_nth_open())
		SKIP(return, "no fault injection in this kernel");
	ASSERT_EQ(0, drop_ipc_lock());
	MAP(OLD, 0, 0, 0, 5);
	MAP(OLD, 2, 0, 0, 6);
	SWEEP(1, rc = change_process(self->fd),
	      ({
		charge_failed += rc == ENOMEM;
		EXPECT_PAYS(11, 0);
		EXPECT_EQ(pinned, proc_pages(&me, "VmPin"));
		EXPECT_EQ(locked, proc_pages(&me, "VmLck"));
	      }),
	      ({
		EXPECT_EQ(pinned + 11, proc_pages(&me, "VmPin"));
		EXPECT_EQ(0, CHANGE(OLD));
		EXPECT_PAYS(11, 0);
		EXPECT_EQ(pinned, proc_pages(&me, "VmPin"));
		EXPECT_EQ(locked, proc_pages(&me, "VmLck"));
	      }));
	/* Not only the copies of the request have failed */
	EXPECT_NE(0, charge_failed);
	close(fail_nth_fd);
}

TEST_HARNESS_MAIN
