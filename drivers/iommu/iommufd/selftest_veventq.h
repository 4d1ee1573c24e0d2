/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Events of the mock IOMMU driver's vIOMMUs
 */
#ifndef __IOMMUFD_SELFTEST_VEVENTQ_H
#define __IOMMUFD_SELFTEST_VEVENTQ_H

#include <linux/init.h>
#include <linux/types.h>

struct iommufd_ucmd;

int iommufd_test_trigger_vevents(struct iommufd_ucmd *ucmd, u32 dev_id,
				 u32 num);
int iommufd_test_veventq_sequence(struct iommufd_ucmd *ucmd);
void __init mock_veventq_init(void);

#endif
