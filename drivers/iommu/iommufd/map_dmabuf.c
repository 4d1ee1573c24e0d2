// SPDX-License-Identifier: GPL-2.0-only
/*
 * IOMMU_IOAS_MAP_FILE of a dma-buf: iopt_pages that are one physical range
 *
 * The range is a BAR, or other memory that belongs to a device. It has no
 * struct page. So nothing of it is pinned, charged or read by the kernel, no PFN
 * of it is put into a pfn_batch or the pinned_pfns, and an in-kernel access to it
 * fails with EINVAL. Only the entries of domains refer to it.
 *
 * Each domain is filled from the address that the exporter has told, never from
 * another domain: iommu_iova_to_phys() cannot tell that an entry is MMIO.
 *
 * The exporter can revoke the dma-buf at any time, by dma_buf_move_notify(). It
 * does so before the device stops to answer at the range. The call returns when
 * all entries are gone and their invalidations are complete. The pages stay
 * revoked until they are freed: user space has to unmap and map again, for only
 * user space knows where the range then belongs. An area with revoked pages is
 * one without entries. Whatever fills, copies, drains or walks an IOAS skips it.
 *
 * An exporter revokes under locks that are also taken in a page fault. So revoke
 * takes no lock of an IOAS. Each area lists the domains that have entries of it
 * (iopt_area::dmabuf_domains), and iopt_pages::domains_itree has the areas.
 * Both change under iopt_pages::mutex only, which is all that revoke needs.
 *
 * A dirty bitmap leaves such areas out. It tells which memory of the VM to send
 * again, and this is no memory of the VM. What revoke removes would be missing
 * under a walk of the domain's tables.
 *
 * Lock order: io_pagetable::domains_rwsem, io_pagetable::iova_rwsem, the
 * reservation lock of the dma-buf, iopt_pages::mutex, locks of the IOMMU driver.
 * An exporter takes its own locks, like vfio_pci_core_device::memory_lock, before
 * the reservation lock. Pages of user memory take the reservation lock and the
 * exporter's locks the other way round: in a page fault, under their
 * iopt_pages::mutex. So the mutex here has a lock class of its own.
 */
#include <linux/dma-buf.h>
#include <linux/dma-resv.h>
#include <linux/iommu.h>
#include <linux/iommufd_dmabuf.h>
#include <linux/lockdep.h>
#include <linux/module.h>
#include <linux/overflow.h>
#include <linux/slab.h>
#include <uapi/linux/iommufd.h>

#include "io_pagetable.h"
#include "iommufd_private.h"

/**
 * struct iopt_dmabuf - What iopt_pages have in place of a user address or a file
 * @attach: Attachment to the dma-buf, which the pages hold
 * @phys: Physical address of the page with index 0
 * @cacheable: Map as memory, not as MMIO
 * @revoked: No entry exists, and none may be made. Protected by
 *           iopt_pages::mutex.
 */
struct iopt_dmabuf {
	struct dma_buf_attachment *attach;
	phys_addr_t phys;
	bool cacheable;
	bool revoked;
};

/**
 * struct iopt_dmabuf_domain - A domain that has the entries of an area
 * @item: On iopt_area::dmabuf_domains. Protected by iopt_pages::mutex.
 * @domain: The domain
 */
struct iopt_dmabuf_domain {
	struct hlist_node item;
	struct iommu_domain *domain;
};

static struct lock_class_key iopt_dmabuf_mutex_key;

static void iopt_dmabuf_unmap(struct iopt_area *area,
			      struct iopt_dmabuf_domain *entry)
{
	iopt_area_unmap_all(area, entry->domain);
	hlist_del(&entry->item);
	kfree(entry);
}

/**
 * iopt_dmabuf_unfill() - Remove the entries of an area
 * @area: The area
 * @pages: Pages of the area (area->pages may be NULL)
 * @domain: The domain to remove them from, NULL for all domains
 *
 * Does nothing where there are no entries, because the pages are revoked.
 */
void iopt_dmabuf_unfill(struct iopt_area *area, struct iopt_pages *pages,
			struct iommu_domain *domain)
{
	struct iopt_dmabuf_domain *entry;
	struct hlist_node *next;

	lockdep_assert_held(&pages->mutex);

	hlist_for_each_entry_safe(entry, next, &area->dmabuf_domains, item)
		if (!domain || entry->domain == domain)
			iopt_dmabuf_unmap(area, entry);
}

/**
 * iopt_dmabuf_fill_domain() - Map an area into a domain
 * @area: The area
 * @pages: Pages of the area (area->pages may be NULL)
 * @domain: The domain
 *
 * Return: 0, also if the pages are revoked and nothing is mapped, or a negative
 * errno.
 */
int iopt_dmabuf_fill_domain(struct iopt_area *area, struct iopt_pages *pages,
			    struct iommu_domain *domain)
{
	struct iopt_dmabuf *dmabuf = pages->dmabuf;
	struct iopt_dmabuf_domain *entry;
	int prot = area->iommu_prot;
	int rc;

	lockdep_assert_held(&pages->mutex);

	if (dmabuf->revoked)
		return 0;

	entry = kmalloc(sizeof(*entry), GFP_KERNEL_ACCOUNT);
	if (!entry)
		return -ENOMEM;

	if (!dmabuf->cacheable) {
		prot &= ~IOMMU_CACHE;
		prot |= IOMMU_MMIO;
	}
	rc = iopt_area_map_phys(area, domain, iopt_area_iova(area),
				dmabuf->phys +
					iopt_area_start_byte(area,
							     iopt_area_iova(area)),
				iopt_area_length(area), prot);
	if (rc) {
		kfree(entry);
		return rc;
	}
	entry->domain = domain;
	hlist_add_head(&entry->item, &area->dmabuf_domains);
	return 0;
}

/**
 * iopt_dmabuf_fill_domains() - Map a new area into all domains of its IOAS
 * @area: The area
 * @pages: Pages of the area (area->pages is NULL)
 *
 * Return: 0 or a negative errno. On failure no domain is changed.
 */
int iopt_dmabuf_fill_domains(struct iopt_area *area, struct iopt_pages *pages)
{
	struct iommu_domain *domain;
	unsigned long index;
	int rc;

	lockdep_assert_held(&area->iopt->domains_rwsem);
	lockdep_assert_held(&pages->mutex);

	xa_for_each(&area->iopt->domains, index, domain) {
		rc = iopt_dmabuf_fill_domain(area, pages, domain);
		if (rc) {
			iopt_dmabuf_unfill(area, pages, NULL);
			return rc;
		}
	}
	return 0;
}

/* The exporter revokes the dma-buf. It holds the reservation lock. */
static void iopt_dmabuf_revoke(struct dma_buf_attachment *attach)
{
	struct iopt_pages *pages = attach->importer_priv;
	struct interval_tree_node *node;

	dma_resv_assert_held(attach->dmabuf->resv);

	mutex_lock(&pages->mutex);
	pages->dmabuf->revoked = true;
	for (node = interval_tree_iter_first(&pages->domains_itree, 0,
					     ULONG_MAX);
	     node; node = interval_tree_iter_next(node, 0, ULONG_MAX))
		iopt_dmabuf_unfill(container_of(node, struct iopt_area,
						pages_node),
				   pages, NULL);
	mutex_unlock(&pages->mutex);
}

static const struct dma_buf_attach_ops iopt_dmabuf_attach_ops = {
	.allow_peer2peer = true,
	.move_notify = iopt_dmabuf_revoke,
};

/*
 * Ask where the dma-buf is. Until now the pages are revoked. From here on,
 * iopt_dmabuf_revoke() is called when the answer is no longer true.
 */
static int iopt_dmabuf_get_range(struct iopt_pages *pages,
				 const struct iommufd_dmabuf_exporter *exporter,
				 u64 page_start)
{
	struct iopt_dmabuf *dmabuf = pages->dmabuf;
	struct dma_buf *dma_buf = dmabuf->attach->dmabuf;
	struct iommufd_dmabuf_range range;
	int rc;

	dma_resv_lock(dma_buf->resv, NULL);
	rc = exporter->get_range(dmabuf->attach, &range);
	if (rc)
		goto out_unlock;
	if (WARN_ON(range.length != dma_buf->size ||
		    !PAGE_ALIGNED(range.start))) {
		rc = -EINVAL;
		goto out_unlock;
	}

	mutex_lock(&pages->mutex);
	dmabuf->phys = range.start + page_start;
	dmabuf->cacheable = range.cacheable;
	dmabuf->revoked = false;
	mutex_unlock(&pages->mutex);
out_unlock:
	dma_resv_unlock(dma_buf->resv);
	return rc;
}

/*
 * Make iopt_pages of a range of a dma-buf, which then hold it.
 *
 * A dma-buf needs not be open for writing to be mapped writeable: the driver that
 * exports it has decided who may have it.
 */
static struct iopt_pages *iopt_alloc_dmabuf_pages(struct dma_buf *dma_buf,
						  u64 start,
						  unsigned long length,
						  bool writable)
{
	const struct iommufd_dmabuf_exporter *exporter;
	unsigned long offset = offset_in_page(start);
	struct dma_buf_attachment *attach;
	struct iopt_pages *pages;
	u64 last;
	int rc;

	if (!length)
		return ERR_PTR(-EINVAL);
	if (check_add_overflow(start, (u64)length - 1, &last))
		return ERR_PTR(-EOVERFLOW);
	if (last >= dma_buf->size)
		return ERR_PTR(-EINVAL);
	exporter = iommufd_find_dmabuf_exporter(dma_buf);
	if (!exporter)
		return ERR_PTR(-EOPNOTSUPP);

	pages = iopt_alloc_pages((void __user *)offset, length, writable);
	if (IS_ERR(pages))
		return pages;
	lockdep_set_class(&pages->mutex, &iopt_dmabuf_mutex_key);
	pages->dmabuf = kzalloc(sizeof(*pages->dmabuf), GFP_KERNEL_ACCOUNT);
	if (!pages->dmabuf) {
		rc = -ENOMEM;
		goto err_put;
	}
	pages->dmabuf->revoked = true;

	attach = dma_buf_dynamic_attach(dma_buf, iommufd_misc_device(),
					&iopt_dmabuf_attach_ops, pages);
	if (IS_ERR(attach)) {
		rc = PTR_ERR(attach);
		goto err_put;
	}
	get_dma_buf(dma_buf);
	pages->dmabuf->attach = attach;

	rc = iopt_dmabuf_get_range(pages, exporter, start - offset);
	if (rc)
		goto err_put;
	return pages;

err_put:
	iopt_put_pages(pages);
	return ERR_PTR(rc);
}

/**
 * iommufd_ioas_map_fd() - IOMMU_IOAS_MAP_FILE of any file
 * @ucmd: The command
 *
 * Return: 0 or a negative errno
 */
int iommufd_ioas_map_fd(struct iommufd_ucmd *ucmd)
{
	struct iommu_ioas_map_file *cmd = ucmd->cmd;
	struct iopt_pages *pages;
	struct dma_buf *dma_buf;
	int iommu_prot;

	dma_buf = dma_buf_get(cmd->fd);
	if (IS_ERR(dma_buf))
		return iommufd_ioas_map_file(ucmd);

	iommu_prot = iommufd_ioas_map_file_prot(cmd);
	if (iommu_prot < 0)
		pages = ERR_PTR(iommu_prot);
	else
		pages = iopt_alloc_dmabuf_pages(dma_buf, cmd->start,
						cmd->length,
						iommu_prot & IOMMU_WRITE);
	dma_buf_put(dma_buf);
	if (IS_ERR(pages))
		return PTR_ERR(pages);
	return iommufd_ioas_map_file_pages(ucmd, pages, iommu_prot);
}

/**
 * iopt_pages_put_dmabuf() - Let go of the dma-buf of pages
 * @pages: Pages that are being freed, which no area has any more
 *
 * After this nothing revokes the pages, so the caller can free them.
 */
void iopt_pages_put_dmabuf(struct iopt_pages *pages)
{
	struct dma_buf_attachment *attach = pages->dmabuf->attach;

	if (attach) {
		struct dma_buf *dma_buf = attach->dmabuf;

		dma_buf_detach(dma_buf, attach);
		dma_buf_put(dma_buf);
	}
	kfree(pages->dmabuf);
}

/**
 * iopt_dmabuf_origin() - Get the address that an IOVA should be aligned like
 * @pages: Pages of a dma-buf
 *
 * Return: the physical address of the first page.
 */
phys_addr_t iopt_dmabuf_origin(struct iopt_pages *pages)
{
	/* Set once, before the pages are mapped */
	return pages->dmabuf->phys;
}

MODULE_IMPORT_NS(DMA_BUF);
