# SPDX-License-Identifier: GPL-2.0-only
# What the machine of this repository has. The other boards and devices are a
# third of what there is to compile.
CONFIG_ARM_VIRT=y

CONFIG_VIRTIO_PCI=y
CONFIG_VIRTIO_SERIAL=y
CONFIG_VIRTIO_9P=y
CONFIG_VIRTIO_BLK=y
CONFIG_VIRTIO_NET=y
CONFIG_VIRTIO_RNG=y

CONFIG_EDU=y
CONFIG_VIOMMU_DMA=y
CONFIG_NVME_PCI=y
# nvme does not link without it.
CONFIG_SPDM_SOCKET=y
# igb is built from parts of e1000e.
CONFIG_E1000E_PCI_EXPRESS=y
CONFIG_IGB_PCI_EXPRESS=y
CONFIG_PCI_TESTDEV=y

CONFIG_PCI_BRIDGE=y
CONFIG_PCIE_PORT=y
CONFIG_PCIE_PCI_BRIDGE=y
