/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Calls that the tests of dma-bufs on the mock driver share
 *
 * All return 0 or the errno that the kernel gave, unless they say otherwise.
 */
#ifndef __SELFTEST_IOMMUFD_DMABUF_H
#define __SELFTEST_IOMMUFD_DMABUF_H

#include "iommufd_hw_queue.h"

/* In the aperture of mock domains */
#define IOVA 0x10000000ULL
#define IOVA2 0x20000000ULL

#define BUF_PAGES 8UL
#define BUF_SIZE (BUF_PAGES * PAGE_SIZE)

/* Bits of iommu_map() */
#define PROT_IOMMU_RW 0x3
#define PROT_IOMMU_CACHE 0x4
#define PROT_IOMMU_MMIO 0x10

/* A new mock dma-buf, -1 and errno on error */
static inline int dmabuf_get(int fd, __u32 length, __u32 open_flags)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_DMABUF_GET,
		.dmabuf_get = { .length = length, .open_flags = open_flags },
	};

	return ioctl(fd, IOMMU_TEST_CMD, &cmd);
}

/* Revoke, or allow new mappings again */
static inline int dmabuf_revoke(int fd, int buf, bool revoked)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_DMABUF_REVOKE,
		.dmabuf_revoke = { .fd = buf, .revoked = revoked },
	};

	return call(fd, IOMMU_TEST_CMD, &cmd);
}

static inline int dmabuf_kind(int fd, int buf, __u32 kind)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_DMABUF_KIND,
		.dmabuf_kind = { .fd = buf, .kind = kind },
	};

	return call(fd, IOMMU_TEST_CMD, &cmd);
}

/* Import as another driver would, and let go again */
static inline int dmabuf_import(int fd, int buf, __u32 how)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_DMABUF_IMPORT,
		.dmabuf_import = { .fd = buf, .how = how },
	};

	return call(fd, IOMMU_TEST_CMD, &cmd);
}

/* Where an entry points to: 0 if there is none, ~0 on error */
static inline __u64 iova_to_phys(int fd, __u32 hwpt_id, __u64 iova, __u32 *prot)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_MD_IOVA_TO_PHYS,
		.id = hwpt_id,
		.iova_to_phys = { .iova = iova },
	};

	if (ioctl(fd, IOMMU_TEST_CMD, &cmd))
		return ~0ULL;
	if (prot)
		*prot = cmd.iova_to_phys.out_prot;
	return cmd.iova_to_phys.out_phys;
}

/* Entries of [@iova, @iova + BUF_SIZE) in half pages, -1 if one is wrong */
static inline int entries(int fd, __u32 hwpt_id, __u64 iova, __u32 want_prot)
{
	__u64 step = PAGE_SIZE / 2, off, phys;
	__u32 prot;
	int n = 0;

	for (off = 0; off != BUF_SIZE; off += step) {
		phys = iova_to_phys(fd, hwpt_id, iova + off, &prot);
		if (!phys)
			continue;
		if (phys != MOCK_DMABUF_PHYS + off || prot != want_prot)
			return -1;
		n++;
	}
	return n;
}

#define EXPECT_MAPPED(_hwpt_id, _iova)                                   \
	EXPECT_EQ((int)BUF_PAGES * 2,                                    \
		  entries(self->fd, _hwpt_id, _iova,                     \
			  PROT_IOMMU_RW | PROT_IOMMU_MMIO))
#define EXPECT_EMPTY(_hwpt_id, _iova)                                    \
	EXPECT_EQ(0, entries(self->fd, _hwpt_id, _iova,                  \
			     PROT_IOMMU_RW | PROT_IOMMU_MMIO))

#endif
