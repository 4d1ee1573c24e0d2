/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dma-bufs of a mock exporter
 */
#ifndef __IOMMUFD_SELFTEST_DMABUF_H
#define __IOMMUFD_SELFTEST_DMABUF_H

#include <linux/errno.h>

struct iommufd_ucmd;

#ifdef CONFIG_IOMMUFD_DMABUF
int iommufd_test_dmabuf(struct iommufd_ucmd *ucmd);
void mock_dmabuf_init(void);
void mock_dmabuf_exit(void);
#else
static inline int iommufd_test_dmabuf(struct iommufd_ucmd *ucmd)
{
	return -EOPNOTSUPP;
}

static inline void mock_dmabuf_init(void)
{
}

static inline void mock_dmabuf_exit(void)
{
}
#endif

#endif
