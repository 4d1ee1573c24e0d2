// SPDX-License-Identifier: GPL-2.0-only
/*
 * VFIO_DEVICE_FEATURE_DMA_BUF: ranges of a BAR as a dma-buf
 *
 * Only iommufd can use these dma-bufs, by IOMMU_IOAS_MAP_FILE. It asks for the
 * physical address, since a BAR has no struct page. Each other importer fails
 * with EOPNOTSUPP: at attach if it would pin, at map if it would not.
 *
 * A dma-buf is revoked whenever the BAR stops to answer. vfio_pci_zap_bars() does
 * that: it removes the BARs from the page tables of processes, and by
 * vfio_pci_dma_buf_revoke() from those of IOMMUs. It returns when both are done.
 * vfio_pci_up_write_memory_lock() makes the dma-bufs usable again if memory
 * decoding is on by then. An importer does not map again by itself.
 *
 * A dma-buf holds the registration of its device until the last close of the
 * device or the release of the dma-buf, whichever is first. After the close, the
 * dma-buf is revoked for ever.
 *
 * Lock order: vfio_pci_core_device::memory_lock, which protects
 * vfio_pci_core_device::dmabufs, then the reservation lock of a dma-buf, which
 * protects vfio_pci_dma_buf::revoked, then locks of the importer.
 */
#include <linux/dma-buf.h>
#include <linux/dma-resv.h>
#include <linux/file.h>
#include <linux/iommufd_dmabuf.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/overflow.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "vfio_pci_priv.h"

/**
 * struct vfio_pci_dma_buf - Ranges of a BAR
 * @item: On vfio_pci_core_device::dmabufs
 * @dmabuf: The dma-buf, whose priv this is
 * @vdev: The device, NULL after its last close
 * @revoked: No importer may map it. Protected by the reservation lock.
 * @cacheable: See struct vfio_pci_dmabuf_region
 * @nr_ranges: Number of @ranges
 * @ranges: Where its contents are, in this order. Here an offset is a physical
 *          address.
 */
struct vfio_pci_dma_buf {
	struct list_head item;
	struct dma_buf *dmabuf;
	struct vfio_pci_core_device *vdev;
	bool revoked;
	bool cacheable;
	u32 nr_ranges;
	struct vfio_region_dma_range ranges[] __counted_by(nr_ranges);
};

static int vfio_pci_dma_buf_attach(struct dma_buf *dmabuf,
				   struct dma_buf_attachment *attach)
{
	/* An importer without move_notify cannot be told to stop */
	return attach->peer2peer ? 0 : -EOPNOTSUPP;
}

/* A pinned dma-buf could not be revoked */
static int vfio_pci_dma_buf_pin(struct dma_buf_attachment *attach)
{
	return -EOPNOTSUPP;
}

/* Never called, but without it importers would map when they attach */
static void vfio_pci_dma_buf_unpin(struct dma_buf_attachment *attach)
{
}

static struct sg_table *vfio_pci_dma_buf_map(struct dma_buf_attachment *attach,
					     enum dma_data_direction dir)
{
	return ERR_PTR(-EOPNOTSUPP);
}

static void vfio_pci_dma_buf_unmap(struct dma_buf_attachment *attach,
				   struct sg_table *sgt,
				   enum dma_data_direction dir)
{
}

static void vfio_pci_dma_buf_release(struct dma_buf *dmabuf)
{
	struct vfio_pci_dma_buf *priv = dmabuf->priv;
	struct vfio_pci_core_device *vdev = priv->vdev;

	/*
	 * vfio_pci_dma_buf_cleanup() clears priv->vdev only while it holds the
	 * file. So it is done by now, or leaves this dma-buf alone.
	 */
	if (vdev) {
		down_write(&vdev->memory_lock);
		list_del(&priv->item);
		up_write(&vdev->memory_lock);
		vfio_device_put_registration(&vdev->vdev);
	}
	kfree(priv);
}

static const struct dma_buf_ops vfio_pci_dma_buf_ops = {
	.attach = vfio_pci_dma_buf_attach,
	.pin = vfio_pci_dma_buf_pin,
	.unpin = vfio_pci_dma_buf_unpin,
	.map_dma_buf = vfio_pci_dma_buf_map,
	.unmap_dma_buf = vfio_pci_dma_buf_unmap,
	.release = vfio_pci_dma_buf_release,
};

static int vfio_pci_dma_buf_get_range(struct dma_buf_attachment *attach,
				      struct iommufd_dmabuf_range *range)
{
	struct vfio_pci_dma_buf *priv = attach->dmabuf->priv;

	dma_resv_assert_held(attach->dmabuf->resv);

	if (priv->revoked)
		return -ENODEV;
	/*
	 * A VMM that passes an offset in the BAR, where the offset in the
	 * dma-buf is due, would get the wrong registers.
	 */
	if (priv->nr_ranges != 1)
		return -EOPNOTSUPP;
	range->start = priv->ranges[0].offset;
	range->length = priv->ranges[0].length;
	range->cacheable = priv->cacheable;
	return 0;
}

static struct iommufd_dmabuf_exporter vfio_pci_dma_buf_exporter = {
	.ops = &vfio_pci_dma_buf_ops,
	.get_range = vfio_pci_dma_buf_get_range,
};

/**
 * vfio_pci_core_get_dmabuf_region - Find a BAR that can be exported
 * @vdev: The device
 * @index: Index of the region
 * @region: Set to where the BAR is
 *
 * This is vfio_pci_core_device::get_dmabuf_region of a driver whose regions are
 * the BARs of the device.
 *
 * Return: 0; -ENODEV if @index is no BAR, or one that does not exist or that
 * another driver owns; -EINVAL if the BAR cannot be mapped to user space either;
 * -ENOMEM.
 */
int vfio_pci_core_get_dmabuf_region(struct vfio_pci_core_device *vdev,
				    unsigned int index,
				    struct vfio_pci_dmabuf_region *region)
{
	int ret;

	lockdep_assert_held_write(&vdev->memory_lock);

	if (index >= PCI_STD_NUM_BARS || !pci_resource_len(vdev->pdev, index))
		return -ENODEV;
	if (!vdev->bar_mmap_supported[index])
		return -EINVAL;
	/* Claims the resource for as long as the device is open */
	ret = vfio_pci_core_setup_barmap(vdev, index);
	if (ret)
		return ret == -ENOMEM ? ret : -ENODEV;

	region->start = pci_resource_start(vdev->pdev, index);
	region->length = pci_resource_len(vdev->pdev, index);
	region->cacheable = false;
	return 0;
}
EXPORT_SYMBOL_GPL(vfio_pci_core_get_dmabuf_region);

/* Turn offsets in the region, as user space has given them, into addresses */
static int vfio_pci_dma_buf_set_ranges(struct vfio_pci_dma_buf *priv,
				       const struct vfio_pci_dmabuf_region *region,
				       size_t *size)
{
	u64 start, end, total = 0;
	u32 i;

	for (i = 0; i != priv->nr_ranges; i++) {
		struct vfio_region_dma_range *range = &priv->ranges[i];

		if (!range->length ||
		    !PAGE_ALIGNED(range->offset | range->length) ||
		    check_add_overflow((u64)range->offset, (u64)range->length,
				       &end) ||
		    end > region->length)
			return -EINVAL;
		if (check_add_overflow(total, (u64)range->length, &total) ||
		    total > min_t(u64, S64_MAX, SIZE_MAX))
			return -EINVAL;
		if (check_add_overflow((u64)region->start, (u64)range->offset,
				       &start) ||
		    check_add_overflow(start, (u64)range->length - 1, &end))
			return -EOVERFLOW;
		range->offset = start;
		cond_resched();
	}
	*size = total;
	return 0;
}

static struct vfio_pci_dma_buf *
vfio_pci_dma_buf_read(const struct vfio_device_feature_dma_buf *feature,
		      const struct vfio_region_dma_range __user *uranges)
{
	struct vfio_pci_dma_buf *priv;

	priv = kzalloc(struct_size(priv, ranges, feature->nr_ranges),
		       GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	if (!priv)
		return ERR_PTR(-ENOMEM);
	priv->nr_ranges = feature->nr_ranges;
	if (copy_from_user(priv->ranges, uranges,
			   array_size(priv->nr_ranges, sizeof(*uranges)))) {
		kfree(priv);
		return ERR_PTR(-EFAULT);
	}
	return priv;
}

/* Let importers map the dma-bufs if the BARs answer. None maps by itself. */
static void vfio_pci_dma_buf_allow(struct vfio_pci_core_device *vdev)
{
	struct vfio_pci_dma_buf *priv;

	lockdep_assert_held_write(&vdev->memory_lock);

	if (vdev->pm_runtime_engaged || !__vfio_pci_memory_enabled(vdev))
		return;
	list_for_each_entry(priv, &vdev->dmabufs, item) {
		dma_resv_lock(priv->dmabuf->resv, NULL);
		priv->revoked = false;
		dma_resv_unlock(priv->dmabuf->resv);
	}
}

int vfio_pci_core_feature_dma_buf(struct vfio_pci_core_device *vdev, u32 flags,
				  struct vfio_device_feature_dma_buf __user *arg,
				  size_t argsz)
{
	struct vfio_device_feature_dma_buf feature;
	DEFINE_DMA_BUF_EXPORT_INFO(exp_info);
	struct vfio_pci_dmabuf_region region;
	struct vfio_pci_dma_buf *priv;
	struct dma_buf *dmabuf;
	int ret;

	if (!vdev->get_dmabuf_region)
		return -EOPNOTSUPP;

	ret = vfio_check_feature(flags, argsz, VFIO_DEVICE_FEATURE_GET,
				 sizeof(feature));
	if (ret != 1)
		return ret;
	if (copy_from_user(&feature, arg, sizeof(feature)))
		return -EFAULT;
	if (!feature.nr_ranges || feature.flags)
		return -EINVAL;

	priv = vfio_pci_dma_buf_read(&feature, arg->dma_ranges);
	if (IS_ERR(priv))
		return PTR_ERR(priv);

	/* memory_lock makes it one thread at a time that claims the BAR */
	down_write(&vdev->memory_lock);
	ret = vdev->get_dmabuf_region(vdev, feature.region_index, &region);
	up_write(&vdev->memory_lock);
	if (ret)
		goto err_free;
	priv->cacheable = region.cacheable;
	ret = vfio_pci_dma_buf_set_ranges(priv, &region, &exp_info.size);
	if (ret)
		goto err_free;

	if (!vfio_device_try_get_registration(&vdev->vdev)) {
		ret = -ENODEV;
		goto err_free;
	}
	exp_info.ops = &vfio_pci_dma_buf_ops;
	exp_info.flags = feature.open_flags;
	exp_info.priv = priv;
	dmabuf = dma_buf_export(&exp_info);
	if (IS_ERR(dmabuf)) {
		ret = PTR_ERR(dmabuf);
		goto err_put;
	}
	/* From here on, vfio_pci_dma_buf_release() undoes all of it */
	priv->dmabuf = dmabuf;
	priv->vdev = vdev;
	priv->revoked = true;
	down_write(&vdev->memory_lock);
	list_add_tail(&priv->item, &vdev->dmabufs);
	vfio_pci_dma_buf_allow(vdev);
	up_write(&vdev->memory_lock);

	ret = dma_buf_fd(dmabuf, feature.open_flags);
	if (ret < 0)
		dma_buf_put(dmabuf);
	return ret;

err_put:
	vfio_device_put_registration(&vdev->vdev);
err_free:
	kfree(priv);
	return ret;
}

static void __vfio_pci_dma_buf_revoke(struct vfio_pci_dma_buf *priv)
{
	dma_resv_lock(priv->dmabuf->resv, NULL);
	if (!priv->revoked) {
		priv->revoked = true;
		dma_buf_move_notify(priv->dmabuf);
	}
	dma_resv_unlock(priv->dmabuf->resv);
}

/**
 * vfio_pci_dma_buf_revoke - Take the BARs out of all IOMMUs
 * @vdev: The device, whose BARs are about to stop to answer
 *
 * When this returns, no DMA reaches a BAR any more.
 */
void vfio_pci_dma_buf_revoke(struct vfio_pci_core_device *vdev)
{
	struct vfio_pci_dma_buf *priv;

	lockdep_assert_held_write(&vdev->memory_lock);

	/*
	 * dma_buf_release() waits for memory_lock before it frees what is on
	 * the list.
	 */
	list_for_each_entry(priv, &vdev->dmabufs, item)
		__vfio_pci_dma_buf_revoke(priv);
}

/**
 * vfio_pci_up_write_memory_lock - Release memory_lock after a change of the device
 * @vdev: The device, whose BARs may answer again
 */
void vfio_pci_up_write_memory_lock(struct vfio_pci_core_device *vdev)
{
	vfio_pci_dma_buf_allow(vdev);
	up_write(&vdev->memory_lock);
}

/**
 * vfio_pci_dma_buf_cleanup - Revoke the dma-bufs of a device for ever
 * @vdev: The device, which is being closed and still enabled
 */
void vfio_pci_dma_buf_cleanup(struct vfio_pci_core_device *vdev)
{
	struct vfio_pci_dma_buf *priv, *next;

	down_write(&vdev->memory_lock);
	list_for_each_entry_safe(priv, next, &vdev->dmabufs, item) {
		/* vfio_pci_dma_buf_release() is waiting for memory_lock */
		if (!get_file_active(&priv->dmabuf->file))
			continue;
		__vfio_pci_dma_buf_revoke(priv);
		list_del(&priv->item);
		priv->vdev = NULL;
		vfio_device_put_registration(&vdev->vdev);
		fput(priv->dmabuf->file);
	}
	up_write(&vdev->memory_lock);
}

void vfio_pci_dma_buf_init(void)
{
	iommufd_register_dmabuf_exporter(&vfio_pci_dma_buf_exporter);
}

void vfio_pci_dma_buf_exit(void)
{
	iommufd_unregister_dmabuf_exporter(&vfio_pci_dma_buf_exporter);
}

MODULE_IMPORT_NS(DMA_BUF);
MODULE_IMPORT_NS(IOMMUFD);
