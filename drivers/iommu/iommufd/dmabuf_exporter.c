// SPDX-License-Identifier: GPL-2.0-only
/*
 * The drivers whose dma-bufs iommufd can map
 *
 * The DMA API is of no use to iommufd: iommufd needs the physical address, and
 * the range has no struct page. So a driver that exports such dma-bufs tells
 * iommufd how to ask for the address. This file is built in even if iommufd is
 * a module: the driver then needs no module of iommufd, nor iommufd the driver.
 */
#include <linux/dma-buf.h>
#include <linux/export.h>
#include <linux/iommufd_dmabuf.h>
#include <linux/mutex.h>

static DEFINE_MUTEX(dmabuf_exporters_lock);
static LIST_HEAD(dmabuf_exporters);

/**
 * iommufd_register_dmabuf_exporter - Let iommufd map the dma-bufs of a driver
 * @exporter: The driver, which keeps the structure until it unregisters
 */
void iommufd_register_dmabuf_exporter(struct iommufd_dmabuf_exporter *exporter)
{
	mutex_lock(&dmabuf_exporters_lock);
	list_add_tail(&exporter->item, &dmabuf_exporters);
	mutex_unlock(&dmabuf_exporters_lock);
}
EXPORT_SYMBOL_NS_GPL(iommufd_register_dmabuf_exporter, IOMMUFD);

/**
 * iommufd_unregister_dmabuf_exporter - Undo iommufd_register_dmabuf_exporter()
 * @exporter: The driver, which has no dma-buf left
 */
void iommufd_unregister_dmabuf_exporter(struct iommufd_dmabuf_exporter *exporter)
{
	mutex_lock(&dmabuf_exporters_lock);
	list_del(&exporter->item);
	mutex_unlock(&dmabuf_exporters_lock);
}
EXPORT_SYMBOL_NS_GPL(iommufd_unregister_dmabuf_exporter, IOMMUFD);

/**
 * iommufd_find_dmabuf_exporter - Find the driver that exports a dma-buf
 * @dmabuf: The dma-buf
 *
 * Return: the exporter, valid while the caller holds @dmabuf, or NULL if
 * iommufd cannot map dma-bufs of that driver.
 */
const struct iommufd_dmabuf_exporter *
iommufd_find_dmabuf_exporter(struct dma_buf *dmabuf)
{
	const struct iommufd_dmabuf_exporter *exporter, *found = NULL;

	mutex_lock(&dmabuf_exporters_lock);
	list_for_each_entry(exporter, &dmabuf_exporters, item) {
		if (exporter->ops == dmabuf->ops) {
			found = exporter;
			break;
		}
	}
	mutex_unlock(&dmabuf_exporters_lock);
	return found;
}
EXPORT_SYMBOL_NS_GPL(iommufd_find_dmabuf_exporter, IOMMUFD_INTERNAL);
