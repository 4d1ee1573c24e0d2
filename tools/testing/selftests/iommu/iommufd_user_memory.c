// SPDX-License-Identifier: GPL-2.0-only
/*
 * No thread waits for the user memory of another one
 *
 * A call of iommufd gets memory that userfaultfd does not resolve, so it stays in
 * the middle of a copy. Meanwhile another thread detaches and unbinds a device,
 * which takes the locks and waits for the references that calls hold. It must come
 * to its end. Then the page is resolved, and the call must end as well, with the
 * result that belongs to the new state, and leave nothing behind.
 *
 * Two calls are not here, because they pin user pages under locks of the IOAS:
 * IOMMU_IOAS_MAP for user_va, and IOMMU_HWPT_GET_DIRTY_BITMAP for its bitmap.
 */
#include <linux/userfaultfd.h>
#include <linux/vfio.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>

#include "iommufd_viommu.h"

/* Seconds until a thread that should not wait is taken to hang */
#define HANGS 60

#define VIRT_ID 7

/* ---- Memory that blocks who touches it ---- */

enum trap_kind {
	/* Reads and writes block */
	TRAP_ALL,
	/* Only writes block: reading the request passes, writing the answer not */
	TRAP_WRITES,
};

struct trap {
	int uffd;
	enum trap_kind kind;
	char *page;
	/* What the page holds once it is resolved, if it has no contents before */
	char *contents;
};

static bool trap_open(struct trap *trap)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_PAGEFAULT_FLAG_WP,
	};
	struct uffdio_register reg = {
		.mode = UFFDIO_REGISTER_MODE_MISSING |
			UFFDIO_REGISTER_MODE_WP,
		.range.len = PAGE_SIZE,
	};

	trap->uffd = syscall(__NR_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (trap->uffd < 0 || ioctl(trap->uffd, UFFDIO_API, &api))
		return false;
	/* The page in front of it never blocks */
	trap->page = mmap(NULL, 2 * PAGE_SIZE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	trap->contents = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (trap->page == MAP_FAILED || trap->contents == MAP_FAILED)
		return false;
	trap->page += PAGE_SIZE;
	reg.range.start = (uintptr_t)trap->page;
	return !ioctl(trap->uffd, UFFDIO_REGISTER, &reg);
}

static void trap_close(struct trap *trap)
{
	munmap(trap->page - PAGE_SIZE, 2 * PAGE_SIZE);
	munmap(trap->contents, PAGE_SIZE);
	close(trap->uffd);
}

static bool trap_set_wp(struct trap *trap, bool protect)
{
	struct uffdio_writeprotect wp = {
		.range.start = (uintptr_t)trap->page,
		.range.len = PAGE_SIZE,
		.mode = protect ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	return !ioctl(trap->uffd, UFFDIO_WRITEPROTECT, &wp);
}

static bool trap_fill(struct trap *trap)
{
	struct uffdio_copy copy = {
		.dst = (uintptr_t)trap->page,
		.src = (uintptr_t)trap->contents,
		.len = PAGE_SIZE,
	};

	return !ioctl(trap->uffd, UFFDIO_COPY, &copy);
}

/* From here on the page, which is to hold @contents, blocks */
static bool trap_arm(struct trap *trap, enum trap_kind kind)
{
	trap->kind = kind;
	if (madvise(trap->page, PAGE_SIZE, MADV_DONTNEED))
		return false;
	return kind == TRAP_ALL || (trap_fill(trap) && trap_set_wp(trap, true));
}

static bool trap_resolve(struct trap *trap)
{
	return trap->kind == TRAP_ALL ? trap_fill(trap) :
					trap_set_wp(trap, false);
}

/* Returns false if the thread has ended, as @done says, without being blocked */
static bool trap_hit(struct trap *trap, atomic_bool *done)
{
	struct pollfd pfd = { .fd = trap->uffd, .events = POLLIN };
	struct uffd_msg msg;

	while (poll(&pfd, 1, 100) == 0)
		if (atomic_load(done))
			return false;
	return read(trap->uffd, &msg, sizeof(msg)) == sizeof(msg) &&
	       msg.event == UFFD_EVENT_PAGEFAULT;
}

/* ---- Threads ---- */

struct job {
	int (*fn)(void *arg);
	void *arg;
	int rc;
	atomic_int tid;
	atomic_bool done;
	pthread_t thread;
};

static void *job_main(void *arg)
{
	struct job *job = arg;

	atomic_store(&job->tid, syscall(__NR_gettid));
	job->rc = job->fn(job->arg);
	atomic_store(&job->done, true);
	return NULL;
}

static int job_start(struct job *job, int (*fn)(void *arg), void *arg)
{
	job->fn = fn;
	job->arg = arg;
	job->rc = -1;
	atomic_store(&job->tid, 0);
	atomic_store(&job->done, false);
	return pthread_create(&job->thread, NULL, job_main, job);
}

static void pause_ms(unsigned int ms)
{
	struct timespec ts = { .tv_nsec = ms * 1000000 };

	nanosleep(&ts, NULL);
}

static bool job_ends(struct job *job)
{
	double until = now() + HANGS;

	while (!atomic_load(&job->done) && now() < until)
		pause_ms(10);
	return atomic_load(&job->done);
}

/* ---- A device that goes while a call is blocked ---- */

FIXTURE(slow)
{
	int fd;
	__u32 ioas_id;
	/* Stays: the vIOMMU's invalidations and domains are about it */
	__u32 dev_id;
	__u32 vdev_id;
	__u32 parent_id;
	__u32 viommu_id;
	__u32 nested_id;
	/* Attached to the IOAS, goes */
	__u32 going_stdev_id;
	__u32 going_dev_id;
	__u32 fault_id;
	__u32 fault_fd;
	struct trap trap;
};

FIXTURE_SETUP(slow)
{
	__u32 stdev_id;

	if (mock_count("viommus") < 0)
		SKIP(return, "no debugfs at /sys/kernel/debug");
	EXPECT_NOTHING_BEFORE();

	self->fd = open("/dev/iommu", O_RDWR);
	ASSERT_NE(-1, self->fd);
	if (!trap_open(&self->trap))
		SKIP(return, "no userfaultfd for faults in the kernel");

	test_ioctl_ioas_alloc(&self->ioas_id);
	mock_dev_add_bind(self->fd, 0, 0, &stdev_id, &self->dev_id);
	test_cmd_hwpt_alloc(self->dev_id, self->ioas_id,
			    IOMMU_HWPT_ALLOC_NEST_PARENT, &self->parent_id);
	viommu_alloc(self->fd, self->dev_id, self->parent_id, &self->viommu_id);
	vdevice_alloc(self->fd, self->viommu_id, self->dev_id, VIRT_ID,
		      &self->vdev_id);
	nested_alloc(self->fd, self->dev_id, self->parent_id,
		     IOMMU_TEST_IOTLB_DEFAULT, &self->nested_id);
}

FIXTURE_TEARDOWN(slow)
{
	if (self->trap.page)
		trap_close(&self->trap);
	EXPECT_EQ(0, close(self->fd));
	EXPECT_NOTHING_LEFT();
}

/* A device that nobody has seen yet, attached like one of a VM without nesting */
static int going_bind(struct _test_data_slow *self)
{
	int rc = __mock_dev_add_bind(self->fd, 0, 0, &self->going_stdev_id,
				     &self->going_dev_id);

	return rc    ?:
		       __mock_dev_attach(self->fd, self->going_stdev_id,
					 self->ioas_id);
}

static int going_unbind(void *arg)
{
	struct _test_data_slow *self = arg;
	int rc = __mock_dev_attach(self->fd, self->going_stdev_id, 0);

	return rc ?: __mock_dev_unbind(self->fd, self->going_stdev_id);
}

/* ---- All calls ---- */

union cmd {
	__u32 size;
	struct iommu_destroy destroy;
	struct iommu_fault_alloc fault;
	struct iommu_hw_info info;
	struct iommu_hwpt_alloc hwpt;
	struct iommu_hwpt_get_dirty_bitmap dirty_bitmap;
	struct iommu_hwpt_invalidate inv;
	struct iommu_hwpt_set_dirty_tracking dirty;
	struct iommu_ioas_alloc ioas;
	struct iommu_ioas_allow_iovas allow;
	struct iommu_ioas_change_process change;
	struct iommu_ioas_copy copy;
	struct iommu_ioas_iova_ranges ranges;
	struct iommu_ioas_map map;
	struct iommu_ioas_map_file map_file;
	struct iommu_ioas_unmap unmap;
	struct iommu_option option;
	struct iommu_vdevice_alloc vdevice;
	struct iommu_veventq_alloc veventq;
	struct iommu_vfio_ioas vfio_ioas;
	struct iommu_viommu_alloc viommu;
	struct vfio_iommu_type1_info vfio_info;
	struct vfio_iommu_type1_dma_map vfio_map;
	struct vfio_iommu_type1_dma_unmap vfio_unmap;
};

union data {
	struct iommu_hwpt_selftest hwpt;
	struct iommu_viommu_selftest viommu;
	struct iommu_viommu_invalidate_selftest inv;
	struct iommu_hwpt_invalidate_selftest domain_inv;
	struct iommu_iova_range range;
	struct iommu_test_hw_info info;
};

#define IOVA		MOCK_APERTURE_START
#define BUFFER_PAGES	16

/* Memory to map; no test blocks it */
static char *mapped;

struct request {
	union cmd cmd;
	union data data;
	/* Where user space has the data */
	__u64 uptr;
};

/* How a call ends once it is let go: the device that it names is there no more */
struct expect {
	/* Blocked while the request is read, while the answer is written */
	int request, answer;
	/* Blocked while its data is read, written; -1: it has no such data */
	int data_in, data_out;
};

struct call {
	const char *name;
	unsigned long nr;
	void (*make)(struct _test_data_slow *self, struct request *req);
	/* Ends what is left of a call that succeeds */
	int (*undo)(struct _test_data_slow *self, union cmd *cmd);
	struct expect expect;
};

static void make_destroy(struct _test_data_slow *self, struct request *req)
{
	req->cmd.destroy.size = sizeof(req->cmd.destroy);
	_test_ioctl_ioas_alloc(self->fd, &req->cmd.destroy.id);
}

static void make_fault(struct _test_data_slow *self, struct request *req)
{
	req->cmd.fault.size = sizeof(req->cmd.fault);
}

static int undo_fault(struct _test_data_slow *self, union cmd *cmd)
{
	close(cmd->fault.out_fault_fd);
	return __do_destroy(self->fd, cmd->fault.out_fault_id);
}

static void make_info(struct _test_data_slow *self, struct request *req)
{
	req->cmd.info.size = sizeof(req->cmd.info);
	req->cmd.info.dev_id = self->going_dev_id;
	req->cmd.info.data_len = sizeof(req->data.info);
	req->cmd.info.data_uptr = req->uptr;
}

/* The driver's data ends where the blocked page starts: the kernel clears that */
static void make_info_tail(struct _test_data_slow *self, struct request *req)
{
	make_info(self, req);
	req->cmd.info.data_uptr -= sizeof(req->data.info);
	req->cmd.info.data_len += 8;
}

static void make_hwpt(struct _test_data_slow *self, struct request *req)
{
	req->cmd.hwpt.size = sizeof(req->cmd.hwpt);
	req->cmd.hwpt.dev_id = self->going_dev_id;
	req->cmd.hwpt.pt_id = self->ioas_id;
}

static void make_hwpt_nested(struct _test_data_slow *self, struct request *req)
{
	make_hwpt(self, req);
	req->cmd.hwpt.pt_id = self->parent_id;
	req->cmd.hwpt.data_type = IOMMU_HWPT_DATA_SELFTEST;
	req->cmd.hwpt.data_len = sizeof(req->data.hwpt);
	req->cmd.hwpt.data_uptr = req->uptr;
}

static void make_hwpt_viommu(struct _test_data_slow *self, struct request *req)
{
	make_hwpt_nested(self, req);
	req->cmd.hwpt.pt_id = self->viommu_id;
}

static int undo_hwpt(struct _test_data_slow *self, union cmd *cmd)
{
	return __do_destroy(self->fd, cmd->hwpt.out_hwpt_id);
}

static void make_dirty_bitmap(struct _test_data_slow *self, struct request *req)
{
	req->cmd.dirty_bitmap.size = sizeof(req->cmd.dirty_bitmap);
	req->cmd.dirty_bitmap.hwpt_id = self->parent_id;
}

static void make_dirty(struct _test_data_slow *self, struct request *req)
{
	req->cmd.dirty.size = sizeof(req->cmd.dirty);
	req->cmd.dirty.hwpt_id = self->parent_id;
}

static void make_inv_domain(struct _test_data_slow *self, struct request *req)
{
	req->cmd.inv.size = sizeof(req->cmd.inv);
	req->cmd.inv.hwpt_id = self->nested_id;
	req->cmd.inv.data_type = IOMMU_HWPT_INVALIDATE_DATA_SELFTEST;
	req->cmd.inv.data_uptr = req->uptr;
	req->cmd.inv.entry_len = sizeof(req->data.domain_inv);
	req->cmd.inv.entry_num = 1;
}

static void make_inv_viommu(struct _test_data_slow *self, struct request *req)
{
	make_inv_domain(self, req);
	req->cmd.inv.hwpt_id = self->viommu_id;
	req->cmd.inv.data_type = IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST;
	req->cmd.inv.entry_len = sizeof(req->data.inv);
	req->data.inv.vdev_id = VIRT_ID;
}

static void make_ioas(struct _test_data_slow *self, struct request *req)
{
	req->cmd.ioas.size = sizeof(req->cmd.ioas);
}

static int undo_ioas(struct _test_data_slow *self, union cmd *cmd)
{
	return __do_destroy(self->fd, cmd->ioas.out_ioas_id);
}

static void make_allow(struct _test_data_slow *self, struct request *req)
{
	req->cmd.allow.size = sizeof(req->cmd.allow);
	req->cmd.allow.ioas_id = self->ioas_id;
	req->cmd.allow.num_iovas = 1;
	req->cmd.allow.allowed_iovas = req->uptr;
	req->data.range.start = MOCK_APERTURE_START;
	req->data.range.last = MOCK_APERTURE_LAST;
}

static int undo_allow(struct _test_data_slow *self, union cmd *cmd)
{
	cmd->allow.num_iovas = 0;
	return call(self->fd, IOMMU_IOAS_ALLOW_IOVAS, cmd);
}

/* There is memory that is mapped by address */
static void make_change(struct _test_data_slow *self, struct request *req)
{
	req->cmd.change.size = sizeof(req->cmd.change);
}

static void make_copy(struct _test_data_slow *self, struct request *req)
{
	req->cmd.copy.size = sizeof(req->cmd.copy);
	req->cmd.copy.flags = IOMMU_IOAS_MAP_READABLE;
	req->cmd.copy.dst_ioas_id = self->ioas_id;
	req->cmd.copy.src_ioas_id = self->ioas_id;
	req->cmd.copy.length = PAGE_SIZE;
	req->cmd.copy.src_iova = IOVA;
}

static int undo_copy(struct _test_data_slow *self, union cmd *cmd)
{
	return _test_ioctl_ioas_unmap(self->fd, self->ioas_id,
				      cmd->copy.dst_iova, PAGE_SIZE, NULL) ?
		       errno : 0;
}

static void make_ranges(struct _test_data_slow *self, struct request *req)
{
	req->cmd.ranges.size = sizeof(req->cmd.ranges);
	req->cmd.ranges.ioas_id = self->ioas_id;
	req->cmd.ranges.num_iovas = PAGE_SIZE / sizeof(req->data.range);
	req->cmd.ranges.allowed_iovas = req->uptr;
}

static void make_map(struct _test_data_slow *self, struct request *req)
{
	req->cmd.map.size = sizeof(req->cmd.map);
	req->cmd.map.flags = IOMMU_IOAS_MAP_READABLE;
	req->cmd.map.ioas_id = self->ioas_id;
	req->cmd.map.user_va = (uintptr_t)mapped;
	req->cmd.map.length = PAGE_SIZE;
}

static int undo_map(struct _test_data_slow *self, union cmd *cmd)
{
	return _test_ioctl_ioas_unmap(self->fd, self->ioas_id, cmd->map.iova,
				      PAGE_SIZE, NULL) ? errno : 0;
}

static void make_map_file(struct _test_data_slow *self, struct request *req)
{
	req->cmd.map_file.size = sizeof(req->cmd.map_file);
	req->cmd.map_file.flags = IOMMU_IOAS_MAP_READABLE;
	req->cmd.map_file.ioas_id = self->ioas_id;
	req->cmd.map_file.fd = memfd_create("user_memory", MFD_CLOEXEC);
	if (ftruncate(req->cmd.map_file.fd, PAGE_SIZE))
		abort();
	req->cmd.map_file.length = PAGE_SIZE;
}

static int undo_map_file(struct _test_data_slow *self, union cmd *cmd)
{
	close(cmd->map_file.fd);
	return _test_ioctl_ioas_unmap(self->fd, self->ioas_id,
				      cmd->map_file.iova, PAGE_SIZE, NULL) ?
		       errno : 0;
}

/* Map first what is unmapped then */
static void make_unmap(struct _test_data_slow *self, struct request *req)
{
	__u64 iova = 0;

	_test_ioctl_ioas_map(self->fd, self->ioas_id, mapped, PAGE_SIZE, &iova,
			     IOMMU_IOAS_MAP_READABLE);
	req->cmd.unmap.size = sizeof(req->cmd.unmap);
	req->cmd.unmap.ioas_id = self->ioas_id;
	req->cmd.unmap.iova = iova;
	req->cmd.unmap.length = PAGE_SIZE;
}

static void make_option(struct _test_data_slow *self, struct request *req)
{
	req->cmd.option.size = sizeof(req->cmd.option);
	req->cmd.option.option_id = IOMMU_OPTION_HUGE_PAGES;
	req->cmd.option.op = IOMMU_OPTION_OP_GET;
	req->cmd.option.object_id = self->ioas_id;
}

static void make_vdevice(struct _test_data_slow *self, struct request *req)
{
	req->cmd.vdevice.size = sizeof(req->cmd.vdevice);
	req->cmd.vdevice.viommu_id = self->viommu_id;
	req->cmd.vdevice.dev_id = self->going_dev_id;
	req->cmd.vdevice.virt_id = VIRT_ID + 1;
}

static void make_veventq(struct _test_data_slow *self, struct request *req)
{
	req->cmd.veventq.size = sizeof(req->cmd.veventq);
	req->cmd.veventq.viommu_id = self->viommu_id;
	req->cmd.veventq.type = IOMMU_VEVENTQ_TYPE_SELFTEST;
	req->cmd.veventq.veventq_depth = 1;
}

static int undo_veventq(struct _test_data_slow *self, union cmd *cmd)
{
	close(cmd->veventq.out_veventq_fd);
	return __do_destroy(self->fd, cmd->veventq.out_veventq_id);
}

static void make_viommu(struct _test_data_slow *self, struct request *req)
{
	req->cmd.viommu.size = sizeof(req->cmd.viommu);
	req->cmd.viommu.type = IOMMU_VIOMMU_TYPE_SELFTEST;
	req->cmd.viommu.dev_id = self->going_dev_id;
	req->cmd.viommu.hwpt_id = self->parent_id;
	req->cmd.viommu.data_len = sizeof(req->data.viommu);
	req->cmd.viommu.data_uptr = req->uptr;
}

static int undo_viommu(struct _test_data_slow *self, union cmd *cmd)
{
	return __do_destroy(self->fd, cmd->viommu.out_viommu_id);
}

static void make_vfio_ioas(struct _test_data_slow *self, struct request *req)
{
	req->cmd.vfio_ioas.size = sizeof(req->cmd.vfio_ioas);
	req->cmd.vfio_ioas.op = IOMMU_VFIO_IOAS_GET;
}

static void make_vfio_info(struct _test_data_slow *self, struct request *req)
{
	req->cmd.vfio_info.argsz = PAGE_SIZE;
}

static void make_vfio_map(struct _test_data_slow *self, struct request *req)
{
	req->cmd.vfio_map.argsz = sizeof(req->cmd.vfio_map);
	req->cmd.vfio_map.flags = VFIO_DMA_MAP_FLAG_READ;
	req->cmd.vfio_map.vaddr = (uintptr_t)mapped;
	req->cmd.vfio_map.iova = IOVA + BUFFER_PAGES * PAGE_SIZE;
	req->cmd.vfio_map.size = PAGE_SIZE;
}

static int undo_vfio_map(struct _test_data_slow *self, union cmd *cmd)
{
	return _test_ioctl_ioas_unmap(self->fd, self->ioas_id,
				      cmd->vfio_map.iova, PAGE_SIZE, NULL) ?
		       errno : 0;
}

static void make_vfio_unmap(struct _test_data_slow *self, struct request *req)
{
	struct request unmap = {};

	make_unmap(self, &unmap);
	req->cmd.vfio_unmap.argsz = sizeof(req->cmd.vfio_unmap);
	req->cmd.vfio_unmap.iova = unmap.cmd.unmap.iova;
	req->cmd.vfio_unmap.size = PAGE_SIZE;
}

static const struct call calls[] = {
	{ "DESTROY", IOMMU_DESTROY, make_destroy, NULL, { 0, -1, -1, -1 } },
	{ "FAULT_QUEUE_ALLOC", IOMMU_FAULT_QUEUE_ALLOC, make_fault, undo_fault,
	  { 0, 0, -1, -1 } },
	{ "GET_HW_INFO", IOMMU_GET_HW_INFO, make_info, NULL,
	  { ENOENT, 0, -1, 0 } },
	{ "GET_HW_INFO, tail", IOMMU_GET_HW_INFO, make_info_tail, NULL,
	  { -1, -1, -1, 0 } },
	{ "HWPT_ALLOC", IOMMU_HWPT_ALLOC, make_hwpt, undo_hwpt,
	  { ENOENT, 0, -1, -1 } },
	{ "HWPT_ALLOC, nested", IOMMU_HWPT_ALLOC, make_hwpt_nested, undo_hwpt,
	  { ENOENT, 0, ENOENT, -1 } },
	{ "HWPT_ALLOC, vIOMMU", IOMMU_HWPT_ALLOC, make_hwpt_viommu, undo_hwpt,
	  { ENOENT, 0, ENOENT, -1 } },
	{ "HWPT_GET_DIRTY_BITMAP", IOMMU_HWPT_GET_DIRTY_BITMAP,
	  make_dirty_bitmap, NULL, { EINVAL, -1, -1, -1 } },
	{ "HWPT_SET_DIRTY_TRACKING", IOMMU_HWPT_SET_DIRTY_TRACKING, make_dirty,
	  NULL, { EOPNOTSUPP, -1, -1, -1 } },
	{ "HWPT_INVALIDATE", IOMMU_HWPT_INVALIDATE, make_inv_domain, NULL,
	  { 0, 0, 0, -1 } },
	{ "HWPT_INVALIDATE, vIOMMU", IOMMU_HWPT_INVALIDATE, make_inv_viommu,
	  NULL, { 0, 0, 0, -1 } },
	{ "IOAS_ALLOC", IOMMU_IOAS_ALLOC, make_ioas, undo_ioas,
	  { 0, 0, -1, -1 } },
	{ "IOAS_ALLOW_IOVAS", IOMMU_IOAS_ALLOW_IOVAS, make_allow, undo_allow,
	  { 0, -1, 0, -1 } },
	{ "IOAS_CHANGE_PROCESS", IOMMU_IOAS_CHANGE_PROCESS, make_change, NULL,
	  { EINVAL, -1, -1, -1 } },
	{ "IOAS_COPY", IOMMU_IOAS_COPY, make_copy, undo_copy,
	  { 0, 0, -1, -1 } },
	{ "IOAS_IOVA_RANGES", IOMMU_IOAS_IOVA_RANGES, make_ranges, NULL,
	  { 0, 0, -1, 0 } },
	{ "IOAS_MAP", IOMMU_IOAS_MAP, make_map, undo_map, { 0, 0, -1, -1 } },
	{ "IOAS_MAP_FILE", IOMMU_IOAS_MAP_FILE, make_map_file, undo_map_file,
	  { 0, 0, -1, -1 } },
	{ "IOAS_UNMAP", IOMMU_IOAS_UNMAP, make_unmap, NULL, { 0, 0, -1, -1 } },
	{ "OPTION", IOMMU_OPTION, make_option, NULL, { 0, 0, -1, -1 } },
	{ "VDEVICE_ALLOC", IOMMU_VDEVICE_ALLOC, make_vdevice, NULL,
	  { ENOENT, ENOENT, -1, -1 } },
	{ "VEVENTQ_ALLOC", IOMMU_VEVENTQ_ALLOC, make_veventq, undo_veventq,
	  { 0, 0, -1, -1 } },
	{ "VIOMMU_ALLOC", IOMMU_VIOMMU_ALLOC, make_viommu, undo_viommu,
	  { ENOENT, 0, ENOENT, 0 } },
	{ "VFIO_IOAS", IOMMU_VFIO_IOAS, make_vfio_ioas, NULL,
	  { 0, 0, -1, -1 } },
	{ "VFIO_IOMMU_GET_INFO", VFIO_IOMMU_GET_INFO, make_vfio_info, NULL,
	  { 0, 0, -1, -1 } },
	{ "VFIO_IOMMU_MAP_DMA", VFIO_IOMMU_MAP_DMA, make_vfio_map,
	  undo_vfio_map, { 0, -1, -1, -1 } },
	{ "VFIO_IOMMU_UNMAP_DMA", VFIO_IOMMU_UNMAP_DMA, make_vfio_unmap, NULL,
	  { 0, 0, -1, -1 } },
};

struct blocked {
	int fd;
	unsigned long nr;
	void *cmd;
};

static int blocked_call(void *arg)
{
	struct blocked *blocked = arg;

	return call(blocked->fd, blocked->nr, blocked->cmd);
}

enum where { REQUEST, ANSWER, DATA_IN, DATA_OUT, NUM_WHERE };

static const char * const where_names[] = { "request", "answer", "data in",
					    "data out" };

static int expected(const struct expect *expect, enum where where)
{
	const int rc[] = { expect->request, expect->answer, expect->data_in,
			   expect->data_out };

	return rc[where];
}

/* Block @def at @where and let the device go meanwhile */
static void run_call(struct __test_metadata *_metadata,
		     struct _test_data_slow *self, const struct call *def,
		     enum where where)
{
	bool in_cmd = where == REQUEST || where == ANSWER;
	bool in_all = where == REQUEST || where == DATA_IN;
	char *trap = self->trap.page, *room = trap - PAGE_SIZE;
	void *cmd_at = in_cmd ? trap : room;
	void *data_at = in_cmd ? room + PAGE_SIZE / 2 : trap;
	struct blocked blocked = {
		.fd = self->fd,
		.nr = def->nr,
		.cmd = cmd_at,
	};
	struct request req = { .uptr = (uintptr_t)data_at };
	struct job caller, goer;

	ASSERT_EQ(0, going_bind(self));
	def->make(self, &req);
	memset(self->trap.contents, 0, PAGE_SIZE);
	memcpy(in_cmd ? self->trap.contents : cmd_at, &req.cmd,
	       sizeof(req.cmd));
	memcpy(in_cmd ? data_at : self->trap.contents, &req.data,
	       sizeof(req.data));
	ASSERT_TRUE(trap_arm(&self->trap, in_all ? TRAP_ALL : TRAP_WRITES));

	ASSERT_EQ(0, job_start(&caller, blocked_call, &blocked));
	ASSERT_TRUE(trap_hit(&self->trap, &caller.done)) {
		TH_LOG("%s, %s: not blocked, but %s", def->name,
		       where_names[where], strerror(caller.rc));
	}

	ASSERT_EQ(0, job_start(&goer, going_unbind, self));
	EXPECT_TRUE(job_ends(&goer)) {
		TH_LOG("%s, %s: unbind waits for user memory", def->name,
		       where_names[where]);
	}
	EXPECT_FALSE(atomic_load(&caller.done));

	ASSERT_TRUE(trap_resolve(&self->trap));
	ASSERT_EQ(0, pthread_join(caller.thread, NULL));
	ASSERT_EQ(0, pthread_join(goer.thread, NULL));
	EXPECT_EQ(0, goer.rc);
	EXPECT_EQ(expected(&def->expect, where), caller.rc) {
		TH_LOG("%s, %s: %s", def->name, where_names[where],
		       strerror(caller.rc));
	}
	if (!caller.rc && def->undo) {
		EXPECT_EQ(0, def->undo(self, cmd_at)) {
			TH_LOG("%s, %s", def->name, where_names[where]);
		}
	}
	test_ioctl_destroy(self->going_stdev_id);
}

TEST_F_TIMEOUT(slow, all_calls, 900)
{
	struct iommu_vfio_ioas vfio_ioas = {
		.size = sizeof(vfio_ioas),
		.ioas_id = self->ioas_id,
		.op = IOMMU_VFIO_IOAS_SET,
	};
	enum where where;
	unsigned int i;

	mapped = mmap(NULL, BUFFER_PAGES * PAGE_SIZE, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, mapped);
	test_ioctl_ioas_map_fixed(mapped, PAGE_SIZE, IOVA);
	ASSERT_EQ(0, call(self->fd, IOMMU_VFIO_IOAS, &vfio_ioas));

	for (i = 0; i != ARRAY_SIZE(calls); i++)
		for (where = 0; where != NUM_WHERE; where++)
			if (expected(&calls[i].expect, where) != -1)
				run_call(_metadata, self, &calls[i], where);

	/* Nothing that failed or was undone holds anything */
	vfio_ioas.op = IOMMU_VFIO_IOAS_CLEAR;
	ASSERT_EQ(0, call(self->fd, IOMMU_VFIO_IOAS, &vfio_ioas));
	test_ioctl_destroy(self->vdev_id);
	test_ioctl_destroy(self->nested_id);
	test_ioctl_destroy(self->viommu_id);
	test_ioctl_destroy(self->parent_id);
	test_ioctl_destroy(self->ioas_id);
}

/* ---- A page that is being pinned ---- */

static int map_page(void *arg)
{
	struct _test_data_slow *self = arg;
	__u64 iova = 0;

	return _test_ioctl_ioas_map(self->fd, self->ioas_id, self->trap.page,
				    PAGE_SIZE, &iova,
				    IOMMU_IOAS_MAP_READABLE) ? errno : 0;
}

static int hwpt_alloc_going(void *arg)
{
	struct _test_data_slow *self = arg;
	__u32 hwpt_id = 0;
	int rc = __hwpt_alloc(self->fd, self->going_dev_id, self->ioas_id, 0,
			      &hwpt_id);

	return rc ?: __do_destroy(self->fd, hwpt_id);
}

static int going_unbind_only(void *arg)
{
	struct _test_data_slow *self = arg;

	return __mock_dev_unbind(self->fd, self->going_stdev_id);
}

/*
 * IOMMU_IOAS_MAP pins pages under locks of the IOAS, and IOMMU_HWPT_ALLOC waits for
 * them. It does not keep the device meanwhile.
 */
TEST_F_TIMEOUT(slow, hwpt_alloc_behind_map, 120)
{
	struct job mapper, allocator, goer;

	mock_dev_add_bind(self->fd, 0, 0, &self->going_stdev_id,
			  &self->going_dev_id);
	ASSERT_TRUE(trap_arm(&self->trap, TRAP_ALL));
	ASSERT_EQ(0, job_start(&mapper, map_page, self));
	ASSERT_TRUE(trap_hit(&self->trap, &mapper.done));
	ASSERT_EQ(0, job_start(&allocator, hwpt_alloc_going, self));
	/* It has taken the device before it sleeps. */
	ASSERT_TRUE(thread_sleeps(&allocator.tid, __NR_ioctl));
	EXPECT_FALSE(atomic_load(&allocator.done));

	ASSERT_EQ(0, job_start(&goer, going_unbind_only, self));
	EXPECT_TRUE(job_ends(&goer));

	ASSERT_TRUE(trap_resolve(&self->trap));
	ASSERT_EQ(0, pthread_join(mapper.thread, NULL));
	ASSERT_EQ(0, pthread_join(allocator.thread, NULL));
	ASSERT_EQ(0, pthread_join(goer.thread, NULL));
	EXPECT_EQ(0, mapper.rc);
	EXPECT_EQ(0, allocator.rc);
	EXPECT_EQ(0, goer.rc);
}

/* A change of the first page of a file, when the test's memory can be read */
struct folio_change {
	struct _test_data_slow *self;
	int memfd;
	__u32 change;
};

static int folio_change(void *arg)
{
	struct folio_change *c = arg;
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_FOLIO,
		.folio = {
			.fd = c->memfd,
			.change = c->change,
			.uptr = (uintptr_t)c->self->trap.page,
		},
	};

	return call(c->self->fd, IOMMU_TEST_CMD, &cmd);
}

/* Map the first page of the file where a device is attached, and unmap it */
static int map_first_page(void *arg)
{
	struct folio_change *c = arg;
	struct iommu_ioas_map_file map = {
		.size = sizeof(map),
		.flags = IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE,
		.ioas_id = c->self->ioas_id,
		.fd = c->memfd,
		.length = PAGE_SIZE,
	};
	int rc = call(c->self->fd, IOMMU_IOAS_MAP_FILE, &map);

	return rc ?: _test_ioctl_ioas_unmap(c->self->fd, c->self->ioas_id,
					    map.iova, PAGE_SIZE, NULL) ?
			     errno : 0;
}

static int folio_change_init(struct folio_change *c,
			     struct _test_data_slow *self)
{
	char byte = 1;

	c->self = self;
	c->memfd = memfd_create("folio", MFD_CLOEXEC);
	if (c->memfd < 0 || ftruncate(c->memfd, PAGE_SIZE) ||
	    pwrite(c->memfd, &byte, 1, 0) != 1)
		return -1;
	return going_bind(self);
}

/* The page was fine when it was looked at first, and is not when it is pinned */
TEST_F_TIMEOUT(slow, page_is_poisoned_while_it_is_pinned, 180)
{
	struct folio_change c = { .change = MOCK_FOLIO_POISON };
	struct job holder, mapper;

	ASSERT_EQ(0, folio_change_init(&c, self));
	ASSERT_EQ(0, map_first_page(&c));

	ASSERT_TRUE(trap_arm(&self->trap, TRAP_ALL));
	ASSERT_EQ(0, job_start(&holder, folio_change, &c));
	ASSERT_TRUE(trap_hit(&self->trap, &holder.done));
	ASSERT_EQ(0, job_start(&mapper, map_first_page, &c));
	/* It waits for the lock of the folio. */
	ASSERT_TRUE(thread_sleeps(&mapper.tid, __NR_ioctl));
	EXPECT_FALSE(atomic_load(&mapper.done));

	ASSERT_TRUE(trap_resolve(&self->trap));
	ASSERT_EQ(0, pthread_join(holder.thread, NULL));
	ASSERT_EQ(0, pthread_join(mapper.thread, NULL));
	if (holder.rc == EOPNOTSUPP)
		SKIP(goto out, "kernel without CONFIG_MEMORY_FAILURE");
	EXPECT_EQ(0, holder.rc);
	EXPECT_EQ(EFAULT, mapper.rc);
	EXPECT_EQ(EFAULT, map_first_page(&c));

	c.change = MOCK_FOLIO_UNPOISON;
	EXPECT_EQ(0, folio_change(&c));
	EXPECT_EQ(0, map_first_page(&c));
out:
	EXPECT_EQ(0, going_unbind(self));
	close(c.memfd);
}

/* Each pin is a reference: the count must not wrap */
TEST_F(slow, page_has_too_many_references)
{
	struct folio_change c = { .change = MOCK_FOLIO_ADD_REFS };

	ASSERT_EQ(0, folio_change_init(&c, self));
	ASSERT_TRUE(trap_fill(&self->trap));
	ASSERT_EQ(0, map_first_page(&c));
	ASSERT_EQ(0, folio_change(&c));
	EXPECT_EQ(ENOMEM, map_first_page(&c));
	c.change = MOCK_FOLIO_SUB_REFS;
	ASSERT_EQ(0, folio_change(&c));
	EXPECT_EQ(0, map_first_page(&c));
	EXPECT_EQ(0, going_unbind(self));
	close(c.memfd);
}

/* Here IOMMU_HWPT_ALLOC itself pins what has been mapped before */
TEST_F_TIMEOUT(slow, hwpt_alloc_pins, 120)
{
	__u32 ioas_id = self->ioas_id;
	struct job allocator, goer;
	__u64 iova = IOVA;

	mock_dev_add_bind(self->fd, 0, 0, &self->going_stdev_id,
			  &self->going_dev_id);
	/* An IOAS without a domain pins nothing */
	test_ioctl_ioas_alloc(&self->ioas_id);
	ASSERT_EQ(0, _test_ioctl_ioas_map(self->fd, self->ioas_id,
					  self->trap.page, PAGE_SIZE, &iova,
					  IOMMU_IOAS_MAP_READABLE |
						  IOMMU_IOAS_MAP_FIXED_IOVA));
	ASSERT_TRUE(trap_arm(&self->trap, TRAP_ALL));
	ASSERT_EQ(0, job_start(&allocator, hwpt_alloc_going, self));
	ASSERT_TRUE(trap_hit(&self->trap, &allocator.done));

	ASSERT_EQ(0, job_start(&goer, going_unbind_only, self));
	EXPECT_TRUE(job_ends(&goer));

	ASSERT_TRUE(trap_resolve(&self->trap));
	ASSERT_EQ(0, pthread_join(allocator.thread, NULL));
	ASSERT_EQ(0, pthread_join(goer.thread, NULL));
	EXPECT_EQ(0, allocator.rc);
	EXPECT_EQ(0, goer.rc);
	test_ioctl_destroy(self->ioas_id);
	self->ioas_id = ioas_id;
}

/* ---- What unbind does before it waits ---- */

static int hold_device(void *arg)
{
	struct _test_data_slow *self = arg;
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_DEV_HOLD,
		.id = self->going_dev_id,
		.dev_hold = { .uptr = (uintptr_t)self->trap.page },
	};

	return call(self->fd, IOMMU_TEST_CMD, &cmd);
}

static int ends_with(int expected, int (*fn)(struct _test_data_slow *self),
		     struct _test_data_slow *self)
{
	double until = now() + HANGS;
	int rc = fn(self);

	while (rc != expected && now() < until) {
		pause_ms(10);
		rc = fn(self);
	}
	return rc;
}

static int going_info(struct _test_data_slow *self)
{
	struct iommu_hw_info cmd = {
		.size = sizeof(cmd),
		.dev_id = self->going_dev_id,
	};

	return call(self->fd, IOMMU_GET_HW_INFO, &cmd);
}

static int going_invalidate(struct _test_data_slow *self)
{
	__u32 num;

	return __invalidate_one(self->fd, self->viommu_id, VIRT_ID + 1, 0,
				&num);
}

/* A call that keeps the device keeps neither its vDEVICE nor its ID */
TEST_F_TIMEOUT(slow, device_held, 120)
{
	struct job holder, goer;
	__u32 vdev_id, nested_id;

	ASSERT_EQ(0, going_bind(self));
	vdevice_alloc(self->fd, self->viommu_id, self->going_dev_id,
		      VIRT_ID + 1, &vdev_id);
	nested_alloc(self->fd, self->going_dev_id, self->viommu_id,
		     IOMMU_TEST_IOTLB_DEFAULT, &nested_id);
	mock_dev_attach(self->fd, self->going_stdev_id, nested_id);
	EXPECT_EQ(0, going_invalidate(self));
	EXPECT_EQ(0, going_info(self));

	ASSERT_TRUE(trap_arm(&self->trap, TRAP_ALL));
	ASSERT_EQ(0, job_start(&holder, hold_device, self));
	ASSERT_TRUE(trap_hit(&self->trap, &holder.done));
	ASSERT_EQ(0, job_start(&goer, going_unbind, self));

	EXPECT_EQ(EINVAL, ends_with(EINVAL, going_invalidate, self));
	EXPECT_EQ(ENOENT, ends_with(ENOENT, going_info, self));
	EXPECT_EQ(ENOENT, __do_destroy(self->fd, vdev_id));
	EXPECT_EQ(ENOENT,
		  __vdevice_alloc(self->fd, self->viommu_id, self->going_dev_id,
				  VIRT_ID + 1, &vdev_id));
	EXPECT_COUNTS(1, 1, 1);
	EXPECT_FALSE(atomic_load(&goer.done));

	ASSERT_TRUE(trap_resolve(&self->trap));
	ASSERT_EQ(0, pthread_join(holder.thread, NULL));
	/* The end of the call wakes the unbind, which else takes its 60 seconds */
	EXPECT_TRUE(job_ends(&goer));
	ASSERT_EQ(0, pthread_join(goer.thread, NULL));
	EXPECT_EQ(0, holder.rc);
	EXPECT_EQ(0, goer.rc);
}

enum { BUSY_THREADS = 32 };

struct busy {
	struct _test_data_slow *self;
	atomic_uint begun;
	atomic_bool stop;
};

static int alloc_on_going(struct busy *busy)
{
	return __vdevice_alloc(busy->self->fd, busy->self->viommu_id,
			       busy->self->going_dev_id, VIRT_ID + 1, NULL);
}

/*
 * Calls that hold the device while they wait for the lock of its group. Returns what
 * a call gets that starts after the stop.
 */
static int alloc_until_stop(void *arg)
{
	struct busy *busy = arg;

	alloc_on_going(busy);
	atomic_fetch_add(&busy->begun, 1);
	while (!atomic_load(&busy->stop))
		alloc_on_going(busy);
	return alloc_on_going(busy);
}

/* Calls that always overlap do not keep a device for ever */
TEST_F_TIMEOUT(slow, device_busy, 120)
{
	struct job jobs[BUSY_THREADS], goer;
	struct busy busy = { .self = self };
	unsigned int i;
	double until;

	mock_dev_add_bind(self->fd, 0, 0, &self->going_stdev_id,
			  &self->going_dev_id);
	for (i = 0; i != BUSY_THREADS; i++)
		ASSERT_EQ(0, job_start(&jobs[i], alloc_until_stop, &busy));
	/* Each thread has got through once, and goes on. */
	for (until = now() + HANGS; busy.begun != BUSY_THREADS && now() < until;)
		pause_ms(10);
	ASSERT_EQ(BUSY_THREADS, busy.begun);
	ASSERT_EQ(0, job_start(&goer, going_unbind_only, self));
	EXPECT_TRUE(job_ends(&goer));
	atomic_store(&busy.stop, true);
	for (i = 0; i != BUSY_THREADS; i++) {
		ASSERT_EQ(0, pthread_join(jobs[i].thread, NULL));
		EXPECT_EQ(ENOENT, jobs[i].rc);
	}
	ASSERT_EQ(0, pthread_join(goer.thread, NULL));
	EXPECT_EQ(0, goer.rc);
}

/* ---- Fault queues ---- */

/* A fault of the device waits in a queue. Returns -1 if the kernel has no IOPF. */
static int fault_setup(struct _test_data_slow *self)
{
	struct iommu_hwpt_selftest data = { .iotlb = IOMMU_TEST_IOTLB_DEFAULT };
	struct iommu_test_cmd trigger = {
		.size = sizeof(trigger),
		.op = IOMMU_TEST_OP_TRIGGER_IOPF,
		.trigger_iopf = { .pasid = 1, .grpid = 2, .addr = 0xdeadbeaf },
	};
	__u32 hwpt_id;
	int rc;

	rc = __mock_dev_add_bind(self->fd, 0, 0, &self->going_stdev_id,
				 &self->going_dev_id);
	if (rc)
		return rc;
	if (_test_ioctl_fault_alloc(self->fd, &self->fault_id, &self->fault_fd) ||
	    _test_cmd_hwpt_alloc(self->fd, self->going_dev_id, self->parent_id,
				 self->fault_id, IOMMU_HWPT_FAULT_ID_VALID,
				 &hwpt_id, IOMMU_HWPT_DATA_SELFTEST, &data,
				 sizeof(data)))
		return errno;
	rc = __mock_dev_attach(self->fd, self->going_stdev_id, hwpt_id);
	if (rc)
		return rc == ENODEV ? -1 : rc;
	trigger.trigger_iopf.dev_id = self->going_dev_id;
	return call(self->fd, IOMMU_TEST_CMD, &trigger);
}

static int fault_read(void *arg)
{
	struct _test_data_slow *self = arg;

	return read(self->fault_fd, self->trap.page,
		    sizeof(struct iommu_hwpt_pgfault));
}

static int fault_write(void *arg)
{
	struct _test_data_slow *self = arg;

	return write(self->fault_fd, self->trap.page,
		     sizeof(struct iommu_hwpt_page_response)) < 0 ? -errno : 0;
}

TEST_F_TIMEOUT(slow, fault_read, 120)
{
	struct iommu_hwpt_page_response response = {
		.code = IOMMUFD_PAGE_RESP_SUCCESS,
	};
	struct iommu_hwpt_pgfault *fault = (void *)self->trap.page;
	char *guarded = guarded_pages(1);
	struct job reader, goer;
	int rc;

	ASSERT_NE(NULL, guarded);
	rc = fault_setup(self);
	if (rc == -1)
		SKIP(return, "kernel without CONFIG_IOMMU_IOPF");
	ASSERT_EQ(0, rc);
	/* A read that fails keeps the fault */
	EXPECT_EQ(-1, read(self->fault_fd, guarded + PAGE_SIZE,
			   sizeof(*fault)));
	EXPECT_EQ(EFAULT, errno);

	ASSERT_TRUE(trap_arm(&self->trap, TRAP_ALL));
	ASSERT_EQ(0, job_start(&reader, fault_read, self));
	ASSERT_TRUE(trap_hit(&self->trap, &reader.done));
	ASSERT_EQ(0, job_start(&goer, going_unbind, self));
	EXPECT_TRUE(job_ends(&goer));

	ASSERT_TRUE(trap_resolve(&self->trap));
	ASSERT_EQ(0, pthread_join(reader.thread, NULL));
	ASSERT_EQ(0, pthread_join(goer.thread, NULL));
	EXPECT_EQ(0, goer.rc);
	/* The kernel has answered it when the device was detached */
	EXPECT_EQ(sizeof(*fault), reader.rc);
	EXPECT_EQ(0xdeadbeaf, fault->addr);
	response.cookie = fault->cookie;
	EXPECT_EQ(-1, write(self->fault_fd, &response, sizeof(response)));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(0, read(self->fault_fd, fault, sizeof(*fault)));
	close(self->fault_fd);
}

/* The fault is answered while a reader is blocked, and its copy fails then */
TEST_F_TIMEOUT(slow, fault_read_fails_late, 120)
{
	struct uffdio_range range = {
		.start = (uintptr_t)self->trap.page,
		.len = PAGE_SIZE,
	};
	struct iommu_hwpt_pgfault fault;
	struct job reader, goer;
	int rc;

	rc = fault_setup(self);
	if (rc == -1)
		SKIP(return, "kernel without CONFIG_IOMMU_IOPF");
	ASSERT_EQ(0, rc);
	ASSERT_TRUE(trap_arm(&self->trap, TRAP_ALL));
	ASSERT_EQ(0, job_start(&reader, fault_read, self));
	ASSERT_TRUE(trap_hit(&self->trap, &reader.done));
	ASSERT_EQ(0, job_start(&goer, going_unbind, self));
	EXPECT_TRUE(job_ends(&goer));

	/* The reader tries again and finds that nothing is mapped there */
	ASSERT_EQ(0, munmap(self->trap.page, PAGE_SIZE));
	ASSERT_EQ(0, ioctl(self->trap.uffd, UFFDIO_WAKE, &range));
	ASSERT_EQ(0, pthread_join(reader.thread, NULL));
	ASSERT_EQ(0, pthread_join(goer.thread, NULL));
	EXPECT_EQ(0, goer.rc);
	EXPECT_EQ(-1, reader.rc);
	EXPECT_EQ(0, read(self->fault_fd, &fault, sizeof(fault)));
	close(self->fault_fd);
}

TEST_F_TIMEOUT(slow, fault_write, 120)
{
	struct iommu_hwpt_page_response *response =
		(void *)self->trap.contents;
	struct iommu_hwpt_pgfault fault;
	struct job writer, goer;
	int rc;

	rc = fault_setup(self);
	if (rc == -1)
		SKIP(return, "kernel without CONFIG_IOMMU_IOPF");
	ASSERT_EQ(0, rc);
	ASSERT_EQ(sizeof(fault), read(self->fault_fd, &fault, sizeof(fault)));
	response->cookie = fault.cookie;
	response->code = IOMMUFD_PAGE_RESP_SUCCESS;

	ASSERT_TRUE(trap_arm(&self->trap, TRAP_ALL));
	ASSERT_EQ(0, job_start(&writer, fault_write, self));
	ASSERT_TRUE(trap_hit(&self->trap, &writer.done));
	ASSERT_EQ(0, job_start(&goer, going_unbind, self));
	EXPECT_TRUE(job_ends(&goer));

	ASSERT_TRUE(trap_resolve(&self->trap));
	ASSERT_EQ(0, pthread_join(writer.thread, NULL));
	ASSERT_EQ(0, pthread_join(goer.thread, NULL));
	EXPECT_EQ(0, goer.rc);
	EXPECT_EQ(-EINVAL, writer.rc);
	close(self->fault_fd);
}

TEST_HARNESS_MAIN
