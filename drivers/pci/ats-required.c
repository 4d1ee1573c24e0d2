// SPDX-License-Identifier: GPL-2.0-only
/*
 * Devices that need ATS whenever they do DMA
 *
 * Such a device keeps translations for a cache of its own (CXL.cache), or its ATS
 * cannot be off without harm. An IOMMU driver usually turns ATS off if a domain
 * translates nothing. It must not do so for these.
 */
#include <linux/export.h>
#include <linux/pci-ats.h>
#include <linux/pci.h>

/* CXL r3.1 8.1.3: DVSEC for CXL Devices, and its CXL Capability register */
#define CXL_DVSEC_DEVICE	0
#define CXL_DVSEC_CAP		0x0a
#define  CXL_DVSEC_CAP_CACHE	BIT(0)

struct ats_required {
	u16 vendor, first, last;
};

static const struct ats_required ats_required[] = {
	{ PCI_VENDOR_ID_NVIDIA, 0x2e00, 0x2e3f },
	{ PCI_VENDOR_ID_MELLANOX, 0x2101, 0x2101 },
};

static bool has_cxl_cache(struct pci_dev *pdev)
{
	u16 dvsec, cap;

	dvsec = pci_find_dvsec_capability(pdev, PCI_VENDOR_ID_CXL,
					  CXL_DVSEC_DEVICE);
	if (!dvsec)
		return false;
	if (pci_read_config_word(pdev, dvsec + CXL_DVSEC_CAP, &cap) ||
	    PCI_POSSIBLE_ERROR(cap))
		return false;
	return cap & CXL_DVSEC_CAP_CACHE;
}

/**
 * pci_ats_required - Tell if a device needs ATS whenever it does DMA
 * @pdev: The device. A VF is what its PF is.
 *
 * Context: Process context; reads config space.
 *
 * Return: true if ATS must be on in every domain that lets the device do DMA,
 * whether it translates or not; false if not, or if the device must not use ATS.
 */
bool pci_ats_required(struct pci_dev *pdev)
{
	unsigned int i;

	if (!pci_ats_supported(pdev))
		return false;

	pdev = pci_physfn(pdev);
	for (i = 0; i < ARRAY_SIZE(ats_required); i++) {
		const struct ats_required *id = &ats_required[i];

		if (pdev->vendor == id->vendor && pdev->device >= id->first &&
		    pdev->device <= id->last)
			return true;
	}
	return has_cxl_cache(pdev);
}
EXPORT_SYMBOL_GPL(pci_ats_required);
