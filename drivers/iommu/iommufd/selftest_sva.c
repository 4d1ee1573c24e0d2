// SPDX-License-Identifier: GPL-2.0-only
/*
 * The address space of a test, shared with a PCI device
 *
 * Shared virtual addressing has no user API of its own, and few drivers use it. Here a
 * test does, for a device without a driver, to see it beside the devices of VMs.
 */
#include <linux/anon_inodes.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/iommu.h>
#include <linux/pci.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "iommufd_private.h"
#include "iommufd_test.h"
#include "selftest_sva.h"

/**
 * struct selftest_sva - A device that uses the address space of a test
 * @dev: The device
 * @handle: The bond between @dev and the address space
 * @iopf: Faults of the device are handled like those of the test
 */
struct selftest_sva {
	struct device *dev;
	struct iommu_sva *handle;
	bool iopf;
};

static int selftest_sva_start(struct selftest_sva *sva)
{
	int rc;

	if (sva->iopf) {
		rc = iommu_dev_enable_feature(sva->dev, IOMMU_DEV_FEAT_IOPF);
		if (rc)
			return rc;
	}
	rc = iommu_dev_enable_feature(sva->dev, IOMMU_DEV_FEAT_SVA);
	if (rc)
		goto err_iopf;
	sva->handle = iommu_sva_bind_device(sva->dev, current->mm);
	if (IS_ERR(sva->handle)) {
		rc = PTR_ERR(sva->handle);
		goto err_sva;
	}
	return 0;

err_sva:
	iommu_dev_disable_feature(sva->dev, IOMMU_DEV_FEAT_SVA);
err_iopf:
	if (sva->iopf)
		iommu_dev_disable_feature(sva->dev, IOMMU_DEV_FEAT_IOPF);
	return rc;
}

static void selftest_sva_free(struct selftest_sva *sva)
{
	put_device(sva->dev);
	kfree(sva);
}

static void selftest_sva_end(struct selftest_sva *sva)
{
	iommu_sva_unbind_device(sva->handle);
	iommu_dev_disable_feature(sva->dev, IOMMU_DEV_FEAT_SVA);
	if (sva->iopf)
		iommu_dev_disable_feature(sva->dev, IOMMU_DEV_FEAT_IOPF);
	selftest_sva_free(sva);
}

static int selftest_sva_release(struct inode *inode, struct file *file)
{
	selftest_sva_end(file->private_data);
	return 0;
}

static const struct file_operations selftest_sva_fops = {
	.release = selftest_sva_release,
};

static struct device *selftest_sva_device(const struct iommu_test_cmd *cmd)
{
	struct device *dev;
	char *name;

	name = strndup_user(u64_to_user_ptr(cmd->sva_bind.uptr), PAGE_SIZE);
	if (IS_ERR(name))
		return ERR_CAST(name);
	dev = bus_find_device_by_name(&pci_bus_type, NULL, name);
	kfree(name);
	return dev ?: ERR_PTR(-ENODEV);
}

/**
 * iommufd_test_sva_bind - Let a device use the address space of the caller
 * @ucmd: The command, which names the device. It returns the PASID, and the file that
 *        ends the bond when it is closed.
 *
 * Context: Process context, may sleep.
 *
 * Return: 0, -ENODEV if there is no such device, or the error for which the IOMMU or
 * the device cannot do it.
 */
int iommufd_test_sva_bind(struct iommufd_ucmd *ucmd)
{
	struct iommu_test_cmd *cmd = ucmd->cmd;
	struct selftest_sva *sva;
	struct file *file;
	int rc, fd;

	if (cmd->sva_bind.flags & ~MOCK_SVA_IOPF)
		return -EOPNOTSUPP;
	sva = kzalloc(sizeof(*sva), GFP_KERNEL_ACCOUNT);
	if (!sva)
		return -ENOMEM;
	sva->iopf = cmd->sva_bind.flags & MOCK_SVA_IOPF;
	sva->dev = selftest_sva_device(cmd);
	if (IS_ERR(sva->dev)) {
		rc = PTR_ERR(sva->dev);
		kfree(sva);
		return rc;
	}
	rc = selftest_sva_start(sva);
	if (rc) {
		selftest_sva_free(sva);
		return rc;
	}

	file = anon_inode_getfile("[iommufd_selftest_sva]", &selftest_sva_fops,
				  sva, O_RDONLY);
	if (IS_ERR(file)) {
		selftest_sva_end(sva);
		return PTR_ERR(file);
	}
	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0) {
		rc = fd;
		goto err_put;
	}
	cmd->sva_bind.out_pasid = iommu_sva_get_pasid(sva->handle);
	cmd->sva_bind.out_fd = fd;
	rc = iommufd_ucmd_respond(ucmd, sizeof(*cmd));
	if (rc)
		goto err_fd;
	fd_install(fd, file);
	return 0;

err_fd:
	put_unused_fd(fd);
err_put:
	fput(file);
	return rc;
}
