/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Calls that the tests of HW queues and mappings on the mock driver share
 *
 * A function with two underscores in front returns 0 or the errno that the kernel
 * gave. The same name without them is a call that must succeed.
 */
#ifndef __SELFTEST_IOMMUFD_HW_QUEUE_H
#define __SELFTEST_IOMMUFD_HW_QUEUE_H

#include "iommufd_viommu.h"
#include "iommufd_sweep.h"

/* The mock driver takes queues up to this many bytes */
#define QUEUE_LENGTH_MAX (8ULL << 20)

#define HPAGE (2UL << 20)
/* Huge pages that the machine is made to have */
#define POOL_HPAGES 16

#define RW (IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE)
#define FIXED IOMMU_IOAS_MAP_FIXED_IOVA

/* In the mock domain's aperture, clear of the MSI window */
#define QUEUE_IOVA 0x10000000ULL

static inline int __hw_queue_alloc(int fd, __u32 viommu_id, __u32 index,
				   __u64 iova, __u64 length, __u32 *hw_queue_id)
{
	struct iommu_hw_queue_alloc cmd = {
		.size = sizeof(cmd),
		.viommu_id = viommu_id,
		.type = IOMMU_HW_QUEUE_TYPE_SELFTEST,
		.index = index,
		.nesting_parent_iova = iova,
		.length = length,
	};
	int rc = call(fd, IOMMU_HW_QUEUE_ALLOC, &cmd);

	if (!rc && hw_queue_id)
		*hw_queue_id = cmd.out_hw_queue_id;
	return rc;
}

static inline int __ioas_map(int fd, __u32 ioas_id, const void *va,
			     __u64 length, __u64 iova)
{
	return _test_ioctl_ioas_map(fd, ioas_id, (void *)va, length, &iova,
				    RW | FIXED) ? errno : 0;
}

static inline int __ioas_map_file(int fd, __u32 ioas_id, int file, __u64 start,
				  __u64 length, __u64 iova)
{
	struct iommu_ioas_map_file cmd = {
		.size = sizeof(cmd),
		.flags = RW | FIXED,
		.ioas_id = ioas_id,
		.fd = file,
		.start = start,
		.length = length,
		.iova = iova,
	};

	return call(fd, IOMMU_IOAS_MAP_FILE, &cmd);
}

static inline int __ioas_unmap(int fd, __u32 ioas_id, __u64 iova, __u64 length)
{
	return _test_ioctl_ioas_unmap(fd, ioas_id, iova, length, NULL) ?
		       errno : 0;
}

static inline int __ioas_copy(int fd, __u32 dst_id, __u32 src_id,
			      __u64 src_iova, __u64 length, __u64 dst_iova)
{
	struct iommu_ioas_copy cmd = {
		.size = sizeof(cmd),
		.flags = RW | FIXED,
		.dst_ioas_id = dst_id,
		.src_ioas_id = src_id,
		.length = length,
		.dst_iova = dst_iova,
		.src_iova = src_iova,
	};

	return call(fd, IOMMU_IOAS_COPY, &cmd);
}

/* Allocate a vIOMMU that offers two pages, of which the first u32 is @in_data */
static inline int __viommu_alloc_mmap(int fd, __u32 dev_id, __u32 hwpt_id,
				      __u32 in_data,
				      struct iommu_viommu_selftest *data,
				      __u32 *viommu_id)
{
	memset(data, 0, sizeof(*data));
	data->in_data = in_data;
	return __viommu_alloc_data(fd, IOMMU_VIOMMU_TYPE_SELFTEST, dev_id,
				   hwpt_id, data, sizeof(*data), viommu_id);
}

/* Map what a vIOMMU offers at any address; MAP_FAILED and errno on error */
static inline void *map_offer(int fd, const struct iommu_viommu_selftest *data)
{
	return mmap(NULL, data->out_mmap_length, PROT_READ | PROT_WRITE,
		    MAP_SHARED, fd, data->out_mmap_offset);
}

/* The mapping is device memory: only aligned accesses of 32 bits */
static inline __u32 read32(const void *p)
{
	return __atomic_load_n((const __u32 *)p, __ATOMIC_RELAXED);
}

static inline void write32(void *p, __u32 val)
{
	__atomic_store_n((__u32 *)p, val, __ATOMIC_RELAXED);
}

/* Return false if the machine does not have @num free huge pages of 2 MiB */
static inline bool have_hpages(long num)
{
	char buf[20];

	if (read_key("/proc/meminfo", "Hugepagesize") != HPAGE / 1024)
		return false;
	if (read_key("/proc/meminfo", "HugePages_Total") < POOL_HPAGES) {
		snprintf(buf, sizeof(buf), "%u", POOL_HPAGES);
		write_str("/proc/sys/vm/nr_hugepages", buf);
	}
	return read_key("/proc/meminfo", "HugePages_Free") >= num;
}

/* Make a file of huge pages; -1 on error */
static inline int hpage_file(unsigned int num)
{
	int file = memfd_create("hw_queue", MFD_CLOEXEC | MFD_HUGETLB);

	if (file >= 0 && ftruncate(file, num * HPAGE)) {
		close(file);
		return -1;
	}
	return file;
}

/* Calls that must succeed: if one fails, the test ends. */
#define hw_queue_alloc(...) ASSERT_EQ(0, __hw_queue_alloc(__VA_ARGS__))
#define ioas_map(...) ASSERT_EQ(0, __ioas_map(__VA_ARGS__))
#define ioas_copy(...) ASSERT_EQ(0, __ioas_copy(__VA_ARGS__))
#define viommu_alloc_mmap(...) ASSERT_EQ(0, __viommu_alloc_mmap(__VA_ARGS__))

#endif
