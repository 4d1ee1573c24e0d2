/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * iommufd objects that IOMMU drivers take part in
 *
 * iommufd may be a module while the IOMMU driver is built in. So each function
 * that is declared here is part of a built-in object of iommufd.
 */
#ifndef __LINUX_IOMMUFD_VIOMMU_H
#define __LINUX_IOMMUFD_VIOMMU_H

#include <linux/build_bug.h>
#include <linux/compiler_types.h>
#include <linux/iommu.h>
#include <linux/list.h>
#include <linux/refcount.h>
#include <linux/spinlock.h>
#include <linux/stddef.h>
#include <linux/types.h>
#include <linux/uaccess.h>
#include <linux/xarray.h>

struct iommufd_ctx;
struct iommufd_device;
struct iommufd_group;
struct iommufd_hwpt_paging;
struct iommufd_vdevice;
struct iommufd_viommu;

enum iommufd_object_type {
	IOMMUFD_OBJ_NONE,
	IOMMUFD_OBJ_ANY = IOMMUFD_OBJ_NONE,
	IOMMUFD_OBJ_DEVICE,
	IOMMUFD_OBJ_HWPT_PAGING,
	IOMMUFD_OBJ_HWPT_NESTED,
	IOMMUFD_OBJ_IOAS,
	IOMMUFD_OBJ_ACCESS,
	IOMMUFD_OBJ_FAULT,
	IOMMUFD_OBJ_VIOMMU,
	IOMMUFD_OBJ_VDEVICE,
	IOMMUFD_OBJ_VEVENTQ,
	IOMMUFD_OBJ_HW_QUEUE,
#ifdef CONFIG_IOMMUFD_TEST
	IOMMUFD_OBJ_SELFTEST,
#endif
	IOMMUFD_OBJ_MAX,
};

/**
 * struct iommufd_object - Base of every object that has a user space ID
 * @shortterm_users: References that last as long as a system call
 * @users: References of objects that refer to this one, and one of the ID
 * @type: What the object is
 * @id: Its ID in the iommufd context
 */
struct iommufd_object {
	refcount_t shortterm_users;
	refcount_t users;
	enum iommufd_object_type type;
	unsigned int id;
};

/**
 * struct iommufd_viommu - A slice of a physical IOMMU that a VM owns
 * @obj: iommufd object; must be first in the driver's structure
 * @ictx: Context that the object belongs to
 * @iommu_dev: The physical IOMMU
 * @hwpt: Nest parent, which the vIOMMU holds a reference on
 * @ops: The driver's operations
 * @type: enum iommu_viommu_type
 * @vdevs: Maps virt_id to struct iommufd_vdevice. Only the core changes it. Its
 *         lock is a leaf. A driver may take it to keep a vDEVICE and its device
 *         in place.
 * @veventq_lock: A leaf. Protects @veventqs and the queues on it.
 * @veventqs: Event queues, one per type
 *
 * A driver embeds this as the first member of its own structure, and puts
 * iommufd_viommu_struct_size() into &struct iommufd_viommu_ops.
 */
struct iommufd_viommu {
	struct iommufd_object obj;
	struct iommufd_ctx *ictx;
	struct iommu_device *iommu_dev;
	struct iommufd_hwpt_paging *hwpt;
	const struct iommufd_viommu_ops *ops;
	unsigned int type;
	struct xarray vdevs;
	spinlock_t veventq_lock; /* veventqs and their rings */
	struct list_head veventqs;
};

/**
 * struct iommufd_vdevice - A device as the VM behind a vIOMMU knows it
 * @obj: iommufd object; must be first in the driver's structure
 * @viommu: The vIOMMU, which the vDEVICE holds a reference on
 * @igroup: The iommufd group of the device, whose lock protects @idev, @pinned
 *          and @member
 * @idev: The bound device, or NULL once it is gone
 * @dev: The physical device
 * @virt_id: The device's ID on the vIOMMU, e.g. its vSID
 * @pinned: A translating nested domain of @viommu is attached to @dev
 * @member: @dev is a member of the attachment of its group, or about to be one.
 *          The group of a device that is none may be attached nevertheless.
 */
struct iommufd_vdevice {
	struct iommufd_object obj;
	struct iommufd_viommu *viommu;
	struct iommufd_group *igroup;
	struct iommufd_device *idev;
	struct device *dev;
	u64 virt_id;
	bool pinned;
	bool member;
};

/*
 * iommufd allocates a driver's structure, and frees it through the core's
 * structure in it. So the core's structure must be the first member. The
 * structure that holds the assertions has no members and so no size.
 */
#define __iommufd_struct_size(type, member, core)                          \
	(sizeof(type) + sizeof(struct {                                    \
		static_assert(__same_type(core, ((type *)NULL)->member),   \
			      #member " is not a " #core);                 \
		static_assert(!offsetof(type, member),                     \
			      #member " must be first in " #type);         \
	}))

/**
 * iommufd_viommu_struct_size - Size of a driver's structure for vIOMMUs
 * @type: The structure
 * @member: Its &struct iommufd_viommu, which must be the first member
 *
 * Return: the value of &iommufd_viommu_ops.viommu_size, a constant.
 */
#define iommufd_viommu_struct_size(type, member) \
	__iommufd_struct_size(type, member, struct iommufd_viommu)

/**
 * iommufd_vdevice_struct_size - Size of a driver's structure for vDEVICEs
 * @type: The structure
 * @member: Its &struct iommufd_vdevice, which must be the first member
 *
 * Return: the value of &iommufd_viommu_ops.vdevice_size, a constant.
 */
#define iommufd_vdevice_struct_size(type, member) \
	__iommufd_struct_size(type, member, struct iommufd_vdevice)

/**
 * struct iommufd_hw_queue - Memory of a VM that hardware reads as a queue
 * @obj: iommufd object; must be first in the driver's structure
 * @viommu: The vIOMMU, which the queue holds a reference on
 * @lower: Queue that must outlive this one, from iommufd_hw_queue_depend(), or
 *         NULL
 * @type: enum iommu_hw_queue_type
 * @index: Number of the queue among those of @viommu, as the VM knows it
 * @base: IOVA of the queue's first byte in the nest parent
 * @length: Bytes of the queue
 */
struct iommufd_hw_queue {
	struct iommufd_object obj;
	struct iommufd_viommu *viommu;
	struct iommufd_hw_queue *lower;
	unsigned int type;
	u32 index;
	u64 base;
	u64 length;
};

/**
 * iommufd_hw_queue_struct_size - Size of a driver's structure for HW queues
 * @type: The structure
 * @member: Its &struct iommufd_hw_queue, which must be the first member
 *
 * Return: what &iommufd_viommu_ops.hw_queue_size returns, a constant.
 */
#define iommufd_hw_queue_struct_size(type, member) \
	__iommufd_struct_size(type, member, struct iommufd_hw_queue)

/**
 * struct iommufd_viommu_ops - What a driver does for one type of vIOMMU
 * @viommu_size: iommufd_viommu_struct_size() of the driver's structure
 * @vdevice_size: iommufd_vdevice_struct_size() of the driver's structure, or
 *                the size of &struct iommufd_vdevice if the driver adds nothing
 *                to it
 * @init: Set up a vIOMMU on the physical IOMMU of @dev. @parent is the domain
 *        of a nest parent. It belongs to the same driver, but perhaps to
 *        another instance: return -EINVAL if this one cannot use it. @user_data
 *        is NULL if user space gave none. iommufd_data_to_user() puts an answer
 *        there, which the core copies to user space after it has dropped @dev.
 *        If the allocation fails afterwards, the core calls @destroy.
 * @destroy: Undo @init. No nested domain, vDEVICE or other child is left.
 * @alloc_domain_nested: Make a nested domain from @user_data. The core holds a
 *                       reference on the vIOMMU for as long as the domain
 *                       lives. @flags is 0 or IOMMU_HWPT_FAULT_ID_VALID: page
 *                       faults of the attached devices go to a fault queue. A
 *                       driver that cannot deliver them returns -EOPNOTSUPP.
 * @domain_translates: Return true if an attached device walks tables of the VM,
 *                     so that it needs a vDEVICE. If this is NULL, every device
 *                     needs one.
 * @member_join: @dev joins the attachment that its group has to @domain. Give
 *               it what the domain says instead of the nest parent's plain
 *               stage 2.
 * @member_leave: @dev leaves the attachment to @domain, which other devices of
 *                its group keep. Give it the plain stage 2, which it may have
 *                already. This cannot fail.
 * @cache_invalidate: Execute @array's requests in order. On return, on success
 *                    and on error, @array->entry_num is the number of those
 *                    that were executed and are complete. An array without
 *                    entries asks whether its type is known.
 * @veventq_size: Return the bytes of an event of a type (enum
 *                iommu_veventq_type), or 0 for a type that the vIOMMU never
 *                reports
 * @vdevice_init: Set up a vDEVICE, before it can be looked up. Return -EINVAL
 *                if virt_id is wider than what the hardware holds, -EOPNOTSUPP
 *                if the device cannot have a vDEVICE.
 * @vdevice_destroy: Undo @vdevice_init, after the vDEVICE can no longer be
 *                   looked up. Nothing that the driver caches may name it
 *                   afterwards.
 * @hw_queue_size: Return iommufd_hw_queue_struct_size() of the driver's
 *                 structure for a type of queue (enum iommu_hw_queue_type), or
 *                 0 for a type that the vIOMMU does not have. Set @max_length
 *                 to the most bytes that such a queue can have.
 * @hw_queue_init: Start a queue. Its memory begins at the physical address
 *                 @base_pa and is contiguous. It stays pinned and mapped until
 *                 @hw_queue_destroy has returned. The driver decides which
 *                 @index a queue can have. Return -EINVAL if there is no such
 *                 queue, -EEXIST if it is in use, -EIO if a lower one must
 *                 exist and does not. iommufd_hw_queue_depend() keeps that
 *                 lower one. Several calls for one vIOMMU may run at the same
 *                 time, also with @hw_queue_destroy.
 * @hw_queue_destroy: Stop a queue. When this returns, the hardware does not
 *                    read the memory of the queue any more.
 *
 * All operations are called in process context and may sleep. @member_join,
 * @member_leave, @vdevice_init and @vdevice_destroy are called under the lock
 * of the iommufd group, the first two under the group mutex as well. The
 * attach_dev operation of a nested domain is called under both too, except for
 * a device that appears in a group which is attached: then only the group mutex
 * is held, and the device cannot have a vDEVICE.
 *
 * The members @viommu_size, @init, @destroy, @alloc_domain_nested and
 * @cache_invalidate are mandatory. iommu_device_register() checks this through
 * &iommu_ops.viommu_types. If @vdevice_size is 0, the vIOMMU has no vDEVICEs.
 * All other operations may be NULL. A driver has all operations for HW queues
 * or none.
 */
struct iommufd_viommu_ops {
	size_t viommu_size;
	size_t vdevice_size;
	int (*init)(struct iommufd_viommu *viommu, struct device *dev,
		    struct iommu_domain *parent,
		    struct iommu_user_data *user_data);
	void (*destroy)(struct iommufd_viommu *viommu);
	struct iommu_domain *
	(*alloc_domain_nested)(struct iommufd_viommu *viommu, u32 flags,
			       const struct iommu_user_data *user_data);
	bool (*domain_translates)(struct iommu_domain *domain);
	int (*member_join)(struct iommu_domain *domain, struct device *dev);
	void (*member_leave)(struct iommu_domain *domain, struct device *dev);
	int (*cache_invalidate)(struct iommufd_viommu *viommu,
				struct iommu_user_data_array *array);
	size_t (*veventq_size)(struct iommufd_viommu *viommu, unsigned int type);
	int (*vdevice_init)(struct iommufd_vdevice *vdev);
	void (*vdevice_destroy)(struct iommufd_vdevice *vdev);
	size_t (*hw_queue_size)(struct iommufd_viommu *viommu,
				unsigned int type, u64 *max_length);
	int (*hw_queue_init)(struct iommufd_hw_queue *hwq, phys_addr_t base_pa);
	void (*hw_queue_destroy)(struct iommufd_hw_queue *hwq);
};

#if IS_ENABLED(CONFIG_IOMMUFD)
int iommufd_check_viommu_types(const struct iommu_ops *ops);
struct device *iommufd_viommu_find_dev(struct iommufd_viommu *viommu,
				       u64 virt_id);
int iommufd_viommu_find_virt_id(struct iommufd_viommu *viommu,
				struct device *dev, u64 *virt_id);
int iommufd_hw_queue_depend(struct iommufd_hw_queue *hwq,
			    struct iommufd_hw_queue *lower);
int iommufd_viommu_alloc_mmap(struct iommufd_viommu *viommu, phys_addr_t addr,
			      size_t length, unsigned long *offset);
void iommufd_viommu_free_mmap(struct iommufd_viommu *viommu,
			      unsigned long offset);
int iommufd_data_to_user(struct iommu_user_data *user_data,
			 const void *src, unsigned int type, size_t len);
u32 iommufd_read_entries_singly(const struct iommu_user_data_array *array,
				u32 first, u32 num, void *dst, size_t size,
				int *err);

/**
 * iommufd_read_entries - Copy a block of entries from a user space array
 * @array: The array; its entry_len is at least @size
 * @first: Index of the first entry
 * @num: Number of entries, at least 1; @first + @num is at most
 *       @array->entry_num
 * @dst: Room for @num structures of @size bytes
 * @size: Bytes of the structure that the driver knows
 * @err: If fewer than @num entries are read, set to the error of the next one:
 *       -EFAULT, or -E2BIG if it has non-zero bytes past @size
 *
 * Context: Process context, may fault.
 *
 * Return: how many entries were read.
 */
static inline u32
iommufd_read_entries(const struct iommu_user_data_array *array, u32 first,
		     u32 num, void *dst, size_t size, int *err)
{
	const void __user *src = array->uptr + array->entry_len * first;

	if (likely(array->entry_len == size) &&
	    likely(!copy_from_user(dst, src, size * num)))
		return num;
	return iommufd_read_entries_singly(array, first, num, dst, size, err);
}
#else
static inline int iommufd_check_viommu_types(const struct iommu_ops *ops)
{
	return 0;
}
#endif
#endif
