/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dma-bufs that iommufd can map: physical memory without struct page
 *
 * iommufd and the driver that exports a dma-buf can be modules that do not know
 * each other. So each function that is declared here is part of a built-in
 * object of iommufd.
 */
#ifndef __LINUX_IOMMUFD_DMABUF_H
#define __LINUX_IOMMUFD_DMABUF_H

#include <linux/list.h>
#include <linux/types.h>

struct dma_buf;
struct dma_buf_attachment;
struct dma_buf_ops;

/**
 * struct iommufd_dmabuf_range - Where the contents of a dma-buf are
 * @start: Physical address of the first byte, aligned to a page
 * @length: Number of bytes, the size of the dma-buf
 * @cacheable: The range is memory that CPUs map as cacheable. Otherwise IOMMUs
 *             map it as MMIO.
 */
struct iommufd_dmabuf_range {
	phys_addr_t start;
	u64 length;
	bool cacheable;
};

/**
 * struct iommufd_dmabuf_exporter - A driver whose dma-bufs iommufd can map
 * @ops: The operations of all dma-bufs of the driver
 * @get_range: Tell where a dma-buf is
 * @item: For the core
 *
 * @get_range is called under the reservation lock of the dma-buf. The answer
 * stays true until the driver takes that lock and calls dma_buf_move_notify().
 * When dma_buf_move_notify() returns, no IOMMU reaches the range any more.
 * @get_range returns 0, -ENODEV if the driver has revoked the dma-buf, or
 * -EOPNOTSUPP if the dma-buf is not one physical range.
 *
 * The dma-bufs must name the module of the driver as their owner. So
 * @get_range stays valid while iommufd holds a dma-buf.
 */
struct iommufd_dmabuf_exporter {
	const struct dma_buf_ops *ops;
	int (*get_range)(struct dma_buf_attachment *attach,
			 struct iommufd_dmabuf_range *range);
	struct list_head item;
};

#ifdef CONFIG_IOMMUFD_DMABUF
void iommufd_register_dmabuf_exporter(struct iommufd_dmabuf_exporter *exporter);
void iommufd_unregister_dmabuf_exporter(struct iommufd_dmabuf_exporter *exporter);
const struct iommufd_dmabuf_exporter *
iommufd_find_dmabuf_exporter(struct dma_buf *dmabuf);
#else
static inline void
iommufd_register_dmabuf_exporter(struct iommufd_dmabuf_exporter *exporter)
{
}

static inline void
iommufd_unregister_dmabuf_exporter(struct iommufd_dmabuf_exporter *exporter)
{
}
#endif

#endif
