/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A viommu-dma of the host that shares the address space of a process
 *
 * The device has no driver. A kernel with CONFIG_IOMMUFD_TEST makes the bond.
 */
#ifndef SELFTEST_SMMUV3_SVA_H
#define SELFTEST_SMMUV3_SVA_H

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define __EXPORTED_HEADERS__
#include "../../../../drivers/iommu/iommufd/iommufd_test.h"

#include "smmuv3_dma_dev.h"

#define TOKEN	0x5a5a000000000000ULL

struct sva {
	int fd;
	__u32 pasid;
};

/* Let the device use the address space of this process. */
static inline int __sva_bind(const struct edu_slot *slot, bool stalls, struct sva *sva)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_SVA_BIND,
		.sva_bind = {
			.uptr = (uintptr_t)slot->bdf,
			.flags = stalls ? MOCK_SVA_IOPF : 0,
		},
	};
	int iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	int rc;

	if (iommufd < 0)
		die("/dev/iommu: %s", strerror(errno));
	rc = ioctl(iommufd, IOMMU_TEST_CMD, &cmd) ? errno : 0;
	close(iommufd);
	if (rc)
		return rc;
	sva->fd = cmd.sva_bind.out_fd;
	sva->pasid = cmd.sva_bind.out_pasid;
	return 0;
}

static inline void *page_alloc(void)
{
	void *page = mmap(NULL, GUEST_PAGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED)
		die("mmap: %s", strerror(errno));
	return page;
}

/* A page that is there */
static inline __u64 *page_touched(void)
{
	__u64 *page = page_alloc();

	*page = 1;
	return page;
}

/* How an access to this address space goes; a stall lasts until it is handled. */
static inline __u64 by_pasid(const struct sva *sva, __u64 how)
{
	return how | DMA_PASID(sva->pasid) | DMA_PATIENT;
}

/* The device writes there, and sees what it has written. */
static inline bool dma_works(struct edu *dev, const struct sva *sva, __u64 how,
			     __u64 *page)
{
	static __u64 token = TOKEN;
	__u64 val = 0;

	how = by_pasid(sva, how);
	return dma_write(dev, how, (uintptr_t)page, ++token) == DMA_OK &&
	       __atomic_load_n(page, __ATOMIC_RELAXED) == token &&
	       dma_read(dev, how, (uintptr_t)page, &val) == DMA_OK &&
	       val == token;
}

#endif
