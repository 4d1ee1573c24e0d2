// SPDX-License-Identifier: GPL-2.0-only
/*
 * The part of iommufd that IOMMU drivers call. It is built in even if iommufd
 * is a module, because drivers can be built in.
 */
#include <kunit/visibility.h>
#include <linux/iommufd_viommu.h>
#include <linux/uaccess.h>

/* Return a mandatory member that is missing or too small, by name, or NULL */
static const char *
iommufd_viommu_ops_lacks(const struct iommufd_viommu_ops *ops)
{
	if (ops->viommu_size < sizeof(struct iommufd_viommu))
		return "viommu_size";
	if (ops->vdevice_size &&
	    ops->vdevice_size < sizeof(struct iommufd_vdevice))
		return "vdevice_size";
	if (!ops->init)
		return "init";
	if (!ops->destroy)
		return "destroy";
	if (!ops->alloc_domain_nested)
		return "alloc_domain_nested";
	if (!ops->cache_invalidate)
		return "cache_invalidate";
	if (!ops->hw_queue_size != !ops->hw_queue_init ||
	    !ops->hw_queue_size != !ops->hw_queue_destroy)
		return "an operation for HW queues";
	return NULL;
}

/**
 * iommufd_check_viommu_types - Check the vIOMMU operations of an IOMMU driver
 * @ops: The driver's operations
 *
 * The IOMMU core calls this when the driver registers an IOMMU. So a mistake in
 * the driver shows there, and not when user space allocates a vIOMMU or later.
 *
 * Context: Any.
 *
 * Return: 0, or -EINVAL if &iommu_ops.viommu_types is missing or incomplete.
 */
int iommufd_check_viommu_types(const struct iommu_ops *ops)
{
	const struct iommufd_viommu_ops *const *type = ops->viommu_types;

	if (!type) {
		if (!ops->viommu_ops)
			return 0;
		pr_err("iommufd: A driver has viommu_ops but no viommu_types\n");
		return -EINVAL;
	}

	for (; *type; type++) {
		const char *lacks = iommufd_viommu_ops_lacks(*type);

		if (lacks) {
			pr_err("iommufd: %ps lacks %s\n", *type, lacks);
			return -EINVAL;
		}
	}
	return 0;
}
EXPORT_SYMBOL_IF_KUNIT(iommufd_check_viommu_types);

/**
 * iommufd_viommu_find_dev - Find the device that has a virtual ID
 * @viommu: vIOMMU to look in
 * @virt_id: The ID that the VM uses, e.g. a vSID
 *
 * Context: Any. The caller holds the lock of @viommu->vdevs. Until the caller
 * drops the lock, the device stays bound and its vDEVICE stays in place.
 *
 * Return: the device, or NULL if no device has @virt_id.
 */
struct device *iommufd_viommu_find_dev(struct iommufd_viommu *viommu,
				       u64 virt_id)
{
	struct iommufd_vdevice *vdev;

	lockdep_assert_held(&viommu->vdevs.xa_lock);

	if (virt_id > ULONG_MAX)
		return NULL;
	vdev = xa_load(&viommu->vdevs, virt_id);
	return vdev ? vdev->dev : NULL;
}
EXPORT_SYMBOL_NS_GPL(iommufd_viommu_find_dev, IOMMUFD);

/**
 * iommufd_viommu_find_virt_id - Find the virtual ID of a device
 * @viommu: vIOMMU to look in
 * @dev: Physical device
 * @virt_id: Set to the ID
 *
 * This walks all vDEVICEs of @viommu. It is meant for attach, not for a hot
 * path. The answer stays true while the vDEVICE is pinned. It also stays true
 * while the caller is inside attach_dev or another operation that the core
 * calls under the lock of the iommufd group. A device that user space has
 * detached, or has not attached yet, counts as one without a vDEVICE.
 *
 * Context: Process context. Takes the lock of @viommu->vdevs.
 *
 * Return: 0, or -ENOENT if @dev has no vDEVICE on @viommu, or is not attached.
 */
int iommufd_viommu_find_virt_id(struct iommufd_viommu *viommu,
				struct device *dev, u64 *virt_id)
{
	struct iommufd_vdevice *vdev;
	unsigned long index;
	int rc = -ENOENT;

	xa_lock(&viommu->vdevs);
	xa_for_each(&viommu->vdevs, index, vdev) {
		if (vdev->dev == dev && vdev->member) {
			*virt_id = vdev->virt_id;
			rc = 0;
			break;
		}
	}
	xa_unlock(&viommu->vdevs);
	return rc;
}
EXPORT_SYMBOL_NS_GPL(iommufd_viommu_find_virt_id, IOMMUFD);

/**
 * iommufd_hw_queue_depend - Keep a queue until another one is gone
 * @hwq: Queue that is being started
 * @lower: Queue of the same vIOMMU that must not stop before @hwq does
 *
 * From here on, IOMMU_DESTROY of @lower fails with EBUSY. The core drops the
 * reference after @hwq has stopped, or when hw_queue_init fails.
 *
 * Context: Any. The hw_queue_init operation of @hwq calls this, at most once.
 * It holds the driver's lock that hw_queue_destroy takes before it forgets
 * @lower.
 *
 * Return: 0, or -EIO if another thread is destroying @lower already.
 */
int iommufd_hw_queue_depend(struct iommufd_hw_queue *hwq,
			    struct iommufd_hw_queue *lower)
{
	if (WARN_ON(hwq->lower || hwq->viommu != lower->viommu))
		return -EINVAL;
	if (!refcount_inc_not_zero(&lower->obj.users))
		return -EIO;
	hwq->lower = lower;
	return 0;
}
EXPORT_SYMBOL_NS_GPL(iommufd_hw_queue_depend, IOMMUFD);

/**
 * iommufd_data_to_user - Answer a request that came with driver specific data
 * @user_data: The request's data
 * @src: What to write over it
 * @type: Type of @src; must be the type of @user_data
 * @len: Size of @src in bytes. What does not fit into the user's structure is
 *       left out.
 *
 * This writes to the core's copy of the data. The core copies the answer to
 * user space after it has dropped the device. If that fails, the core destroys
 * what the request has made.
 *
 * Context: Any. An operation that gets a writable @user_data may call it.
 *
 * Return: 0; -EINVAL if @user_data has another type; or the reason why the core
 * has no copy: -EINVAL if the data is longer than any driver's structure,
 * -EFAULT if it could not be read.
 */
int iommufd_data_to_user(struct iommu_user_data *user_data, const void *src,
			 unsigned int type, size_t len)
{
	if (user_data->type != type)
		return -EINVAL;
	if (IS_ERR(user_data->data))
		return PTR_ERR(user_data->data);
	user_data->answer_len = min(len, user_data->len);
	memcpy(user_data->data, src, user_data->answer_len);
	return 0;
}
EXPORT_SYMBOL_NS_GPL(iommufd_data_to_user, IOMMUFD);

/* Read entries one by one. If one is bad, those before it can be executed. */
u32 iommufd_read_entries_singly(const struct iommu_user_data_array *array,
				u32 first, u32 num, void *dst, size_t size,
				int *err)
{
	const void __user *src = array->uptr + array->entry_len * first;
	u32 i;

	for (i = 0; i < num; i++) {
		int rc = copy_struct_from_user(dst, size, src,
					       array->entry_len);

		if (rc) {
			*err = rc;
			break;
		}
		src += array->entry_len;
		dst += size;
	}
	return i;
}
EXPORT_SYMBOL_NS_GPL(iommufd_read_entries_singly, IOMMUFD);
