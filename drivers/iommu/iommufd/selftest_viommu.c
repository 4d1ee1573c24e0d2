// SPDX-License-Identifier: GPL-2.0-only
/*
 * vIOMMUs of the mock IOMMU driver
 *
 * For tools/testing/selftests/iommu/iommufd_viommu*. The driver checks the core
 * as well: its objects are counted, and each operation has the steps that can
 * fail and must be undone which a real driver has. Where nothing can fail by
 * itself fault injection makes it.
 */
#include <linux/debugfs.h>
#include <linux/idr.h>
#include <linux/iommufd_viommu.h>
#include <linux/io.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "selftest_viommu.h"

/* Bytes of the registers that can be mapped */
#define MOCK_MMAP_LENGTH (2 * PAGE_SIZE)
/* Requests that are copied at a time */
#define MOCK_INVALIDATE_BLOCK 16

struct mock_viommu {
	struct iommufd_viommu core;
	/* Stands for what the hardware has few of: StreamID pairs, here */
	struct ida slots;
	int vmid;
	/* Stands for a page of registers that the VM may use, or NULL */
	u32 *page;
	unsigned long mmap_offset;
	atomic_t num_vdevices;
	atomic_t num_domains;
};

struct mock_vdevice {
	struct iommufd_vdevice core;
	u64 *shadow;
	int slot;
};

struct mock_viommu_domain {
	struct iommu_domain domain;
	struct mock_viommu *viommu;
	bool translates;
	u32 iotlb[MOCK_NESTED_DOMAIN_IOTLB_NUM];
};

static DEFINE_IDA(mock_vmids);
struct dentry *mock_dbgfs;
/* How many exist. Tests read them to see that nothing was left behind. */
static atomic_t mock_num_viommus;
static atomic_t mock_num_vdevices;
static atomic_t mock_num_domains;
atomic_t mock_num_errors;

static const struct iommu_domain_ops mock_viommu_domain_ops;

static struct mock_viommu *to_mock_viommu(struct iommufd_viommu *viommu)
{
	return container_of(viommu, struct mock_viommu, core);
}

static struct mock_vdevice *to_mock_vdevice(struct iommufd_vdevice *vdev)
{
	return container_of(vdev, struct mock_vdevice, core);
}

static struct mock_viommu_domain *
to_mock_viommu_domain(struct iommu_domain *domain)
{
	return container_of(domain, struct mock_viommu_domain, domain);
}

void mock_viommu_dev_init(struct mock_dev *mdev)
{
	int i;

	mutex_init(&mdev->bind_lock);
	mutex_init(&mdev->lock);
	for (i = 0; i < MOCK_DEV_CACHE_NUM; i++)
		mdev->cache[i] = IOMMU_TEST_DEV_CACHE_DEFAULT;
}

static void mock_dev_set_state(struct mock_dev *mdev,
			       struct iommufd_viommu *viommu,
			       enum mock_dev_state state, bool has_virt_id,
			       u64 virt_id)
{
	mutex_lock(&mdev->lock);
	mdev->viommu = viommu;
	mdev->state = state;
	mdev->has_virt_id = has_virt_id;
	mdev->virt_id = virt_id;
	mutex_unlock(&mdev->lock);
}

/* A driver must be able to learn which domain the device leaves */
void mock_viommu_dev_leaves(struct mock_dev *mdev)
{
	iommu_group_mutex_assert(&mdev->dev);
	MOCK_ERROR_ON(mdev->attached &&
		      mdev->attached != iommu_attached_domain(&mdev->dev));
}

/* The device is attached to something that is not of a vIOMMU */
void mock_viommu_dev_attached(struct mock_dev *mdev,
			      struct iommu_domain *domain)
{
	mdev->attached = domain;
	mock_dev_set_state(mdev, NULL, MOCK_DEV_STATE_OTHER, false, 0);
}

u32 *mock_viommu_domain_iotlb(struct iommu_domain *domain)
{
	if (domain->ops != &mock_viommu_domain_ops)
		return NULL;
	return to_mock_viommu_domain(domain)->iotlb;
}

/*
 * Offer registers, whose first word reads the test's value. They are memory that the
 * kernel has mapped cached, so the value is sure to be seen on an emulated CPU only.
 */
static int mock_viommu_init_page(struct mock_viommu *mviommu, u32 value)
{
	int rc;

	mviommu->page = alloc_pages_exact(MOCK_MMAP_LENGTH,
					  GFP_KERNEL_ACCOUNT | __GFP_ZERO);
	if (!mviommu->page)
		return -ENOMEM;
	mviommu->page[0] = value;

	rc = iommufd_viommu_alloc_mmap(&mviommu->core,
				       virt_to_phys(mviommu->page),
				       MOCK_MMAP_LENGTH, &mviommu->mmap_offset);
	if (rc)
		free_pages_exact(mviommu->page, MOCK_MMAP_LENGTH);
	return rc;
}

static void mock_viommu_destroy_page(struct mock_viommu *mviommu)
{
	iommufd_viommu_free_mmap(&mviommu->core, mviommu->mmap_offset);
	free_pages_exact(mviommu->page, MOCK_MMAP_LENGTH);
}

static int mock_viommu_init(struct iommufd_viommu *viommu, struct device *dev,
			    struct iommu_domain *parent,
			    struct iommu_user_data *user_data)
{
	struct mock_viommu *mviommu = to_mock_viommu(viommu);
	struct iommu_viommu_selftest data;
	int rc;

	/* A driver may take it for one of its own */
	MOCK_ERROR_ON(parent->owner != dev->iommu->iommu_dev->ops);
	if (mock_domain_iommu_dev(parent) != dev->iommu->iommu_dev)
		return -EINVAL;

	if (user_data) {
		rc = iommu_copy_struct_from_user(&data, user_data,
						 IOMMU_VIOMMU_TYPE_SELFTEST,
						 out_mmap_length);
		if (rc)
			return rc;
	}

	if (iommufd_should_fail())
		return -EIO;

	mviommu->vmid = ida_alloc(&mock_vmids, GFP_KERNEL_ACCOUNT);
	if (mviommu->vmid < 0)
		return mviommu->vmid;

	if (iommufd_should_fail()) {
		rc = -EIO;
		goto err_vmid;
	}

	if (user_data) {
		rc = mock_viommu_init_page(mviommu, data.in_data);
		if (rc)
			goto err_vmid;

		data.out_data = data.in_data;
		data.out_mmap_offset = mviommu->mmap_offset;
		data.out_mmap_length = MOCK_MMAP_LENGTH;
		rc = iommufd_data_to_user(user_data, &data,
					  IOMMU_VIOMMU_TYPE_SELFTEST,
					  sizeof(data));
		if (rc)
			goto err_page;
	}

	ida_init(&mviommu->slots);
	atomic_inc(&mock_num_viommus);
	return 0;

err_page:
	mock_viommu_destroy_page(mviommu);
err_vmid:
	ida_free(&mock_vmids, mviommu->vmid);
	return rc;
}

static void mock_viommu_destroy(struct iommufd_viommu *viommu)
{
	struct mock_viommu *mviommu = to_mock_viommu(viommu);

	MOCK_ERROR_ON(atomic_read(&mviommu->num_vdevices));
	MOCK_ERROR_ON(atomic_read(&mviommu->num_domains));
	MOCK_ERROR_ON(!ida_is_empty(&mviommu->slots));
	ida_destroy(&mviommu->slots);
	if (mviommu->page)
		mock_viommu_destroy_page(mviommu);
	ida_free(&mock_vmids, mviommu->vmid);
	atomic_dec(&mock_num_viommus);
}

static int mock_vdevice_init(struct iommufd_vdevice *vdev)
{
	struct mock_viommu *mviommu = to_mock_viommu(vdev->viommu);
	struct mock_vdevice *mvdev = to_mock_vdevice(vdev);
	u64 virt_id;
	int rc;

	if (vdev->virt_id > U32_MAX)
		return -EINVAL;
	if (to_mock_dev(vdev->dev)->flags & MOCK_FLAGS_DEVICE_NO_VDEVICE)
		return -EOPNOTSUPP;

	/* Nobody may find it before it is complete */
	MOCK_ERROR_ON(iommufd_viommu_find_virt_id(vdev->viommu, vdev->dev,
						  &virt_id) != -ENOENT);

	if (iommufd_should_fail())
		return -EIO;

	rc = ida_alloc_max(&mviommu->slots, MOCK_VIOMMU_VDEVICES_MAX - 1,
			   GFP_KERNEL_ACCOUNT);
	if (rc < 0)
		return rc;
	mvdev->slot = rc;

	mvdev->shadow = kmalloc(sizeof(*mvdev->shadow), GFP_KERNEL_ACCOUNT);
	if (!mvdev->shadow) {
		rc = -ENOMEM;
		goto err_slot;
	}
	if (iommufd_should_fail()) {
		rc = -EIO;
		goto err_shadow;
	}
	*mvdev->shadow = vdev->virt_id;

	atomic_inc(&mviommu->num_vdevices);
	atomic_inc(&mock_num_vdevices);
	return 0;

err_shadow:
	kfree(mvdev->shadow);
err_slot:
	ida_free(&mviommu->slots, mvdev->slot);
	return rc;
}

static void mock_vdevice_destroy(struct iommufd_vdevice *vdev)
{
	struct mock_viommu *mviommu = to_mock_viommu(vdev->viommu);
	struct mock_vdevice *mvdev = to_mock_vdevice(vdev);
	struct mock_dev *mdev = to_mock_dev(vdev->dev);
	u64 virt_id;

	/* Nobody may find it any longer */
	MOCK_ERROR_ON(iommufd_viommu_find_virt_id(vdev->viommu, vdev->dev,
						  &virt_id) != -ENOENT);
	MOCK_ERROR_ON(*mvdev->shadow != vdev->virt_id);

	mutex_lock(&mdev->lock);
	if (mdev->viommu == vdev->viommu) {
		/* A translating domain pins it */
		MOCK_ERROR_ON(mdev->state == MOCK_DEV_STATE_TRANSLATE);
		mdev->has_virt_id = false;
	}
	mutex_unlock(&mdev->lock);

	kfree(mvdev->shadow);
	ida_free(&mviommu->slots, mvdev->slot);
	atomic_dec(&mviommu->num_vdevices);
	atomic_dec(&mock_num_vdevices);
}

static struct iommu_domain *
mock_viommu_alloc_domain(struct iommufd_viommu *viommu, u32 flags,
			 const struct iommu_user_data *user_data)
{
	struct mock_viommu *mviommu = to_mock_viommu(viommu);
	struct iommu_hwpt_selftest user_cfg;
	struct mock_viommu_domain *nested;
	int rc, i;

	if (flags & ~IOMMU_HWPT_FAULT_ID_VALID)
		return ERR_PTR(-EOPNOTSUPP);

	rc = iommu_copy_struct_from_user(&user_cfg, user_data,
					 IOMMU_HWPT_DATA_SELFTEST,
					 pagetable_type);
	if (rc)
		return ERR_PTR(rc);
	if (user_cfg.pagetable_type)
		return ERR_PTR(-EOPNOTSUPP);

	if (iommufd_should_fail())
		return ERR_PTR(-EIO);

	nested = kzalloc(sizeof(*nested), GFP_KERNEL_ACCOUNT);
	if (!nested)
		return ERR_PTR(-ENOMEM);
	nested->domain.ops = &mock_viommu_domain_ops;
	nested->domain.type = IOMMU_DOMAIN_NESTED;
	nested->viommu = mviommu;
	nested->translates = user_cfg.iotlb != IOMMU_TEST_IOTLB_BYPASS;
	for (i = 0; i < MOCK_NESTED_DOMAIN_IOTLB_NUM; i++)
		nested->iotlb[i] = user_cfg.iotlb;
	atomic_inc(&mviommu->num_domains);
	atomic_inc(&mock_num_domains);
	return &nested->domain;
}

static void mock_viommu_domain_free(struct iommu_domain *domain)
{
	struct mock_viommu_domain *nested = to_mock_viommu_domain(domain);

	atomic_dec(&nested->viommu->num_domains);
	atomic_dec(&mock_num_domains);
	kfree(nested);
}

static bool mock_viommu_domain_translates(struct iommu_domain *domain)
{
	return to_mock_viommu_domain(domain)->translates;
}

static int mock_viommu_attach_dev(struct iommu_domain *domain,
				  struct device *dev)
{
	struct mock_viommu_domain *nested = to_mock_viommu_domain(domain);
	struct iommufd_viommu *viommu = &nested->viommu->core;
	enum mock_dev_state state = MOCK_DEV_STATE_BYPASS;
	u64 virt_id = 0;
	bool found;

	mock_viommu_dev_leaves(to_mock_dev(dev));
	if (dev->iommu->iommu_dev != viommu->iommu_dev)
		return -EINVAL;
	if (iommufd_should_fail())
		return -EIO;

	found = !iommufd_viommu_find_virt_id(viommu, dev, &virt_id);
	/*
	 * The core has seen to it that devices which someone has bound have an
	 * ID, so this one may have stage 2 only.
	 */
	if (nested->translates)
		state = found ? MOCK_DEV_STATE_TRANSLATE :
				MOCK_DEV_STATE_STAGE2;
	to_mock_dev(dev)->attached = domain;
	mock_dev_set_state(to_mock_dev(dev), viommu, state, found, virt_id);
	return 0;
}

static void mock_viommu_member_leave(struct iommu_domain *domain,
				     struct device *dev)
{
	struct mock_viommu_domain *nested = to_mock_viommu_domain(domain);

	iommu_group_mutex_assert(dev);
	mock_dev_set_state(to_mock_dev(dev), &nested->viommu->core,
			   MOCK_DEV_STATE_STAGE2, false, 0);
}

static const struct iommu_domain_ops mock_viommu_domain_ops = {
	.free = mock_viommu_domain_free,
	.attach_dev = mock_viommu_attach_dev,
};

static int
mock_viommu_invalidate_one(struct iommufd_viommu *viommu,
			   const struct iommu_viommu_invalidate_selftest *req)
{
	struct device *dev;
	struct mock_dev *mdev;
	int rc = 0;
	u32 i;

	if (req->flags & ~IOMMU_TEST_INVALIDATE_FLAG_ALL)
		return -EOPNOTSUPP;
	if (!(req->flags & IOMMU_TEST_INVALIDATE_FLAG_ALL) &&
	    req->cache_id > MOCK_DEV_CACHE_ID_MAX)
		return -EINVAL;

	xa_lock(&viommu->vdevs);
	dev = iommufd_viommu_find_dev(viommu, req->vdev_id);
	if (!dev) {
		rc = -EINVAL;
		goto out_unlock;
	}
	mdev = to_mock_dev(dev);
	for (i = 0; i < MOCK_DEV_CACHE_NUM; i++)
		if ((req->flags & IOMMU_TEST_INVALIDATE_FLAG_ALL) ||
		    i == req->cache_id)
			WRITE_ONCE(mdev->cache[i], 0);
out_unlock:
	xa_unlock(&viommu->vdevs);
	return rc;
}

static int mock_viommu_cache_invalidate(struct iommufd_viommu *viommu,
					struct iommu_user_data_array *array)
{
	struct iommu_viommu_invalidate_selftest reqs[MOCK_INVALIDATE_BLOCK];
	u32 done = 0;
	int rc = 0;

	if (array->type != IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST ||
	    (array->entry_num && array->entry_len < sizeof(*reqs)))
		rc = -EINVAL;

	while (!rc && done < array->entry_num) {
		u32 i, num = min(array->entry_num - done, ARRAY_SIZE(reqs));

		num = iommufd_read_entries(array, done, num, reqs,
					   sizeof(*reqs), &rc);
		for (i = 0; i < num; i++) {
			int ret = mock_viommu_invalidate_one(viommu, &reqs[i]);

			if (ret) {
				rc = ret;
				break;
			}
			done++;
		}
		cond_resched();
	}

	array->entry_num = done;
	return rc;
}

struct iommufd_viommu_ops mock_viommu_type_ops __ro_after_init = {
	.viommu_size = iommufd_viommu_struct_size(struct mock_viommu, core),
	.vdevice_size = iommufd_vdevice_struct_size(struct mock_vdevice, core),
	.init = mock_viommu_init,
	.destroy = mock_viommu_destroy,
	.alloc_domain_nested = mock_viommu_alloc_domain,
	.domain_translates = mock_viommu_domain_translates,
	.member_join = mock_viommu_attach_dev,
	.member_leave = mock_viommu_member_leave,
	.cache_invalidate = mock_viommu_cache_invalidate,
	.vdevice_init = mock_vdevice_init,
	.vdevice_destroy = mock_vdevice_destroy,
};

const struct iommufd_viommu_ops *const mock_viommu_types[] = {
	&mock_viommu_type_ops,
	NULL
};

const struct iommufd_viommu_ops *mock_viommu_ops(struct device *dev,
						 unsigned int type)
{
	if (type != IOMMU_VIOMMU_TYPE_SELFTEST)
		return NULL;
	return &mock_viommu_type_ops;
}

static int iommufd_test_dev_check_cache(struct iommufd_ucmd *ucmd, u32 dev_id,
					u32 cache_id, u32 cache)
{
	struct iommufd_device *idev;
	int rc = -EINVAL;

	idev = iommufd_get_device(ucmd, dev_id);
	if (IS_ERR(idev))
		return PTR_ERR(idev);

	if (iommufd_selftest_is_mock_dev(idev->dev) &&
	    cache_id <= MOCK_DEV_CACHE_ID_MAX &&
	    READ_ONCE(to_mock_dev(idev->dev)->cache[cache_id]) == cache)
		rc = 0;
	iommufd_put_object(ucmd->ictx, &idev->obj);
	return rc;
}

/*
 * Stand for a call that keeps a device for as long as user space likes: what a
 * real one must never do.
 */
static int iommufd_test_dev_hold(struct iommufd_ucmd *ucmd, u32 dev_id,
				 u64 uptr)
{
	struct iommufd_device *idev;
	u32 val;
	int rc;

	idev = iommufd_get_device(ucmd, dev_id);
	if (IS_ERR(idev))
		return PTR_ERR(idev);
	rc = get_user(val, (u32 __user *)u64_to_user_ptr(uptr));
	iommufd_put_object(ucmd->ictx, &idev->obj);
	return rc;
}

/* A device that is neither bound nor attached, perhaps in a group with another */
static int iommufd_test_mock_dev_add(struct iommufd_ucmd *ucmd)
{
	struct iommu_test_cmd *cmd = ucmd->cmd;
	struct iommufd_object *member = NULL;
	struct mock_dev *group_of = NULL;
	struct selftest_obj *sobj;
	int rc;

	if (cmd->mock_dev_add.group_stdev_id) {
		member = iommufd_get_object(ucmd->ictx,
					    cmd->mock_dev_add.group_stdev_id,
					    IOMMUFD_OBJ_SELFTEST);
		if (IS_ERR(member))
			return PTR_ERR(member);
		sobj = container_of(member, struct selftest_obj, obj);
		group_of = sobj->idev.mock_dev;
	}

	sobj = iommufd_object_alloc(ucmd->ictx, sobj, IOMMUFD_OBJ_SELFTEST);
	if (IS_ERR(sobj)) {
		rc = PTR_ERR(sobj);
		goto out_member;
	}
	sobj->idev.ictx = ucmd->ictx;
	sobj->type = TYPE_IDEV;

	sobj->idev.mock_dev = mock_dev_create(cmd->mock_dev_add.flags,
					      group_of);
	if (IS_ERR(sobj->idev.mock_dev)) {
		rc = PTR_ERR(sobj->idev.mock_dev);
		goto out_sobj;
	}

	cmd->mock_dev_add.out_stdev_id = sobj->obj.id;
	rc = iommufd_ucmd_respond(ucmd, sizeof(*cmd));
	if (rc)
		goto out_mdev;
	iommufd_object_finalize(ucmd->ictx, &sobj->obj);
	goto out_member;

out_mdev:
	mock_dev_destroy(sobj->idev.mock_dev);
out_sobj:
	iommufd_object_abort(ucmd->ictx, &sobj->obj);
out_member:
	if (member)
		iommufd_put_object(ucmd->ictx, member);
	return rc;
}

static int iommufd_test_mock_dev_bind(struct iommufd_ucmd *ucmd,
				      struct selftest_obj *sobj)
{
	struct iommu_test_cmd *cmd = ucmd->cmd;
	struct iommufd_device *idev;
	u32 idev_id;
	int rc;

	if (sobj->idev.idev)
		return -EBUSY;
	idev = iommufd_device_bind(ucmd->ictx, &sobj->idev.mock_dev->dev,
				   &idev_id);
	if (IS_ERR(idev))
		return PTR_ERR(idev);

	cmd->mock_dev_bind.out_idev_id = idev_id;
	rc = iommufd_ucmd_respond(ucmd, sizeof(*cmd));
	if (rc)
		iommufd_device_unbind(idev);
	else
		sobj->idev.idev = idev;
	return rc;
}

static int iommufd_test_mock_dev_attach(struct selftest_obj *sobj, u32 pt_id)
{
	struct mock_dev *mdev = sobj->idev.mock_dev;
	int rc = 0;

	if (!sobj->idev.idev || (!pt_id && !sobj->idev.attached))
		return -EINVAL;

	down_write(&mdev->iopf_rwsem);
	if (!pt_id) {
		iommufd_device_detach(sobj->idev.idev);
		sobj->idev.attached = false;
	} else if (sobj->idev.attached) {
		rc = iommufd_device_replace(sobj->idev.idev, &pt_id);
	} else {
		rc = iommufd_device_attach(sobj->idev.idev, &pt_id);
		sobj->idev.attached = !rc;
	}
	up_write(&mdev->iopf_rwsem);
	return rc;
}

static int iommufd_test_mock_dev_unbind(struct selftest_obj *sobj)
{
	if (!sobj->idev.idev)
		return -EINVAL;
	if (sobj->idev.attached)
		iommufd_test_mock_dev_attach(sobj, 0);
	iommufd_device_unbind(sobj->idev.idev);
	sobj->idev.idev = NULL;
	return 0;
}

static int iommufd_test_mock_dev_state(struct iommufd_ucmd *ucmd,
				       struct mock_dev *mdev)
{
	struct iommu_test_cmd *cmd = ucmd->cmd;

	mutex_lock(&mdev->lock);
	cmd->mock_dev_state.out_state = mdev->state;
	cmd->mock_dev_state.out_has_virt_id = mdev->has_virt_id;
	cmd->mock_dev_state.out_virt_id = mdev->virt_id;
	mutex_unlock(&mdev->lock);
	return iommufd_ucmd_respond(ucmd, sizeof(*cmd));
}

/* Ops on one selftest object, which take turns */
static int iommufd_test_mock_dev_op(struct iommufd_ucmd *ucmd)
{
	struct iommu_test_cmd *cmd = ucmd->cmd;
	struct iommufd_object *obj;
	struct selftest_obj *sobj;
	int rc;

	obj = iommufd_get_object(ucmd->ictx, cmd->id, IOMMUFD_OBJ_SELFTEST);
	if (IS_ERR(obj))
		return PTR_ERR(obj);
	sobj = container_of(obj, struct selftest_obj, obj);

	mutex_lock(&sobj->idev.mock_dev->bind_lock);
	switch (cmd->op) {
	case IOMMU_TEST_OP_MOCK_DEV_BIND:
		rc = iommufd_test_mock_dev_bind(ucmd, sobj);
		break;
	case IOMMU_TEST_OP_MOCK_DEV_UNBIND:
		rc = iommufd_test_mock_dev_unbind(sobj);
		break;
	case IOMMU_TEST_OP_MOCK_DEV_ATTACH:
		rc = iommufd_test_mock_dev_attach(sobj,
						  cmd->mock_dev_attach.pt_id);
		break;
	default:
		rc = iommufd_test_mock_dev_state(ucmd, sobj->idev.mock_dev);
		break;
	}
	mutex_unlock(&sobj->idev.mock_dev->bind_lock);

	iommufd_put_object(ucmd->ictx, obj);
	return rc;
}

int iommufd_test_viommu(struct iommufd_ucmd *ucmd)
{
	struct iommu_test_cmd *cmd = ucmd->cmd;

	switch (cmd->op) {
	case IOMMU_TEST_OP_DEV_CHECK_CACHE:
		return iommufd_test_dev_check_cache(ucmd, cmd->id,
						    cmd->check_dev_cache.id,
						    cmd->check_dev_cache.cache);
	case IOMMU_TEST_OP_DEV_HOLD:
		return iommufd_test_dev_hold(ucmd, cmd->id, cmd->dev_hold.uptr);
	case IOMMU_TEST_OP_MOCK_DEV_ADD:
		return iommufd_test_mock_dev_add(ucmd);
	case IOMMU_TEST_OP_MOCK_DEV_BIND:
	case IOMMU_TEST_OP_MOCK_DEV_UNBIND:
	case IOMMU_TEST_OP_MOCK_DEV_ATTACH:
	case IOMMU_TEST_OP_MOCK_DEV_STATE:
		return iommufd_test_mock_dev_op(ucmd);
	default:
		return -EOPNOTSUPP;
	}
}

void mock_viommu_debugfs_init(void)
{
	mock_dbgfs = debugfs_create_dir("iommufd_mock", NULL);
	debugfs_create_atomic_t("viommus", 0400, mock_dbgfs, &mock_num_viommus);
	debugfs_create_atomic_t("vdevices", 0400, mock_dbgfs,
				&mock_num_vdevices);
	debugfs_create_atomic_t("nested_domains", 0400, mock_dbgfs,
				&mock_num_domains);
	debugfs_create_atomic_t("errors", 0400, mock_dbgfs, &mock_num_errors);
}

void mock_viommu_debugfs_exit(void)
{
	debugfs_remove_recursive(mock_dbgfs);
	WARN_ON(atomic_read(&mock_num_viommus) ||
		atomic_read(&mock_num_vdevices) ||
		atomic_read(&mock_num_domains));
	WARN_ON(!ida_is_empty(&mock_vmids));
}
