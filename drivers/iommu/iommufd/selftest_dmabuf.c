// SPDX-License-Identifier: GPL-2.0-only
/*
 * dma-bufs of a mock exporter
 *
 * They are at a physical address where no machine has memory. Whoever takes one
 * for memory with a struct page crashes.
 */
#include <linux/dma-buf.h>
#include <linux/dma-resv.h>
#include <linux/iommufd_dmabuf.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "iommufd_private.h"
#include "iommufd_test.h"
#include "selftest_dmabuf.h"

/* Protected by the reservation lock */
struct mock_dmabuf {
	bool revoked;
	bool cacheable;
	/* It is more than one range */
	bool scattered;
};

static int mock_dmabuf_attach(struct dma_buf *dmabuf,
			      struct dma_buf_attachment *attach)
{
	return attach->peer2peer ? 0 : -EOPNOTSUPP;
}

static int mock_dmabuf_pin(struct dma_buf_attachment *attach)
{
	return -EOPNOTSUPP;
}

static void mock_dmabuf_unpin(struct dma_buf_attachment *attach)
{
}

static struct sg_table *mock_dmabuf_map(struct dma_buf_attachment *attach,
					enum dma_data_direction dir)
{
	return ERR_PTR(-EOPNOTSUPP);
}

static void mock_dmabuf_unmap(struct dma_buf_attachment *attach,
			      struct sg_table *sgt, enum dma_data_direction dir)
{
}

static void mock_dmabuf_release(struct dma_buf *dmabuf)
{
	kfree(dmabuf->priv);
}

static const struct dma_buf_ops mock_dmabuf_ops = {
	.attach = mock_dmabuf_attach,
	.pin = mock_dmabuf_pin,
	.unpin = mock_dmabuf_unpin,
	.map_dma_buf = mock_dmabuf_map,
	.unmap_dma_buf = mock_dmabuf_unmap,
	.release = mock_dmabuf_release,
};

static int mock_dmabuf_get_range(struct dma_buf_attachment *attach,
				 struct iommufd_dmabuf_range *range)
{
	struct mock_dmabuf *mock = attach->dmabuf->priv;

	dma_resv_assert_held(attach->dmabuf->resv);

	if (mock->revoked)
		return -ENODEV;
	if (mock->scattered)
		return -EOPNOTSUPP;
	range->start = MOCK_DMABUF_PHYS;
	range->length = attach->dmabuf->size;
	range->cacheable = mock->cacheable;
	return 0;
}

static struct iommufd_dmabuf_exporter mock_dmabuf_exporter = {
	.ops = &mock_dmabuf_ops,
	.get_range = mock_dmabuf_get_range,
};

static int iommufd_test_dmabuf_get(const struct iommu_test_cmd *cmd)
{
	DEFINE_DMA_BUF_EXPORT_INFO(exp_info);
	u32 length = cmd->dmabuf_get.length;
	struct mock_dmabuf *mock;
	struct dma_buf *dmabuf;
	int fd;

	if (!length || length > MOCK_DMABUF_MAX_PAGES * PAGE_SIZE)
		return -EINVAL;

	mock = kzalloc(sizeof(*mock), GFP_KERNEL_ACCOUNT);
	if (!mock)
		return -ENOMEM;

	exp_info.ops = &mock_dmabuf_ops;
	exp_info.size = PAGE_ALIGN(length);
	exp_info.flags = cmd->dmabuf_get.open_flags;
	exp_info.priv = mock;
	dmabuf = dma_buf_export(&exp_info);
	if (IS_ERR(dmabuf)) {
		kfree(mock);
		return PTR_ERR(dmabuf);
	}
	fd = dma_buf_fd(dmabuf, cmd->dmabuf_get.open_flags);
	/* Frees @mock as well */
	if (fd < 0)
		dma_buf_put(dmabuf);
	return fd;
}

static int mock_dmabuf_change(struct dma_buf *dmabuf,
			      const struct iommu_test_cmd *cmd)
{
	struct mock_dmabuf *mock = dmabuf->priv;
	int rc = 0;

	if (dmabuf->ops != &mock_dmabuf_ops)
		return -EINVAL;

	dma_resv_lock(dmabuf->resv, NULL);
	if (cmd->op == IOMMU_TEST_OP_DMABUF_REVOKE) {
		mock->revoked = cmd->dmabuf_revoke.revoked;
		if (mock->revoked)
			dma_buf_move_notify(dmabuf);
	} else if (cmd->dmabuf_kind.kind == MOCK_DMABUF_CACHEABLE) {
		mock->cacheable = true;
	} else if (cmd->dmabuf_kind.kind == MOCK_DMABUF_SCATTERED) {
		mock->scattered = true;
	} else {
		rc = -EINVAL;
	}
	dma_resv_unlock(dmabuf->resv);
	return rc;
}

static void mock_importer_move_notify(struct dma_buf_attachment *attach)
{
}

static const struct dma_buf_attach_ops mock_importer_ops = {
	.allow_peer2peer = true,
	.move_notify = mock_importer_move_notify,
};

/* Import any dma-buf as other drivers do, and let it go again */
static int mock_dmabuf_import(struct dma_buf *dmabuf,
			      const struct iommu_test_cmd *cmd)
{
	struct dma_buf_attachment *attach;
	struct sg_table *sgt;
	int rc = 0;

	attach = dma_buf_dynamic_attach(dmabuf, iommufd_misc_device(),
					cmd->dmabuf_import.how ==
							MOCK_DMABUF_STATIC ?
						NULL :
						&mock_importer_ops,
					NULL);
	if (IS_ERR(attach))
		return PTR_ERR(attach);

	dma_resv_lock(dmabuf->resv, NULL);
	switch (cmd->dmabuf_import.how) {
	case MOCK_DMABUF_PIN:
		rc = dma_buf_pin(attach);
		if (!rc)
			dma_buf_unpin(attach);
		break;
	case MOCK_DMABUF_MAP:
		sgt = dma_buf_map_attachment(attach, DMA_BIDIRECTIONAL);
		if (IS_ERR(sgt))
			rc = PTR_ERR(sgt);
		else
			dma_buf_unmap_attachment(attach, sgt,
						 DMA_BIDIRECTIONAL);
		break;
	}
	dma_resv_unlock(dmabuf->resv);
	dma_buf_detach(dmabuf, attach);
	return rc;
}

int iommufd_test_dmabuf(struct iommufd_ucmd *ucmd)
{
	struct iommu_test_cmd *cmd = ucmd->cmd;
	struct dma_buf *dmabuf;
	int rc;

	if (cmd->op == IOMMU_TEST_OP_DMABUF_GET)
		return iommufd_test_dmabuf_get(cmd);

	/* Each of these begins with the file descriptor */
	static_assert(offsetof(struct iommu_test_cmd, dmabuf_kind.fd) ==
		      offsetof(struct iommu_test_cmd, dmabuf_revoke.fd));
	static_assert(offsetof(struct iommu_test_cmd, dmabuf_import.fd) ==
		      offsetof(struct iommu_test_cmd, dmabuf_revoke.fd));
	dmabuf = dma_buf_get(cmd->dmabuf_revoke.fd);
	if (IS_ERR(dmabuf))
		return PTR_ERR(dmabuf);
	if (cmd->op == IOMMU_TEST_OP_DMABUF_IMPORT)
		rc = mock_dmabuf_import(dmabuf, cmd);
	else
		rc = mock_dmabuf_change(dmabuf, cmd);
	dma_buf_put(dmabuf);
	return rc;
}

void mock_dmabuf_init(void)
{
	iommufd_register_dmabuf_exporter(&mock_dmabuf_exporter);
}

void mock_dmabuf_exit(void)
{
	iommufd_unregister_dmabuf_exporter(&mock_dmabuf_exporter);
}
