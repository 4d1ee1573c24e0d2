/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a DMA device and an IOMMU say to each other by PCIe
 */

#include "qemu/osdep.h"
#include "hw/pci/iommu_port.h"

IOMMUPort *iommu_port_of(PCIDevice *dev)
{
    AddressSpace *as = pci_device_iommu_address_space(dev);
    Object *obj = OBJECT(as->root);

    return (IOMMUPort *)object_dynamic_cast(obj, TYPE_IOMMU_PORT);
}

static const TypeInfo iommu_port_info = {
    .name = TYPE_IOMMU_PORT,
    .parent = TYPE_INTERFACE,
    .class_size = sizeof(IOMMUPortClass),
};

static void iommu_port_register_types(void)
{
    type_register_static(&iommu_port_info);
}

type_init(iommu_port_register_types)
