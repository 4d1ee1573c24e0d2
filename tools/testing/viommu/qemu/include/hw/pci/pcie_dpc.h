/* SPDX-License-Identifier: GPL-2.0-only */
/* Downstream Port Containment (PCIe 6.2.11, 7.9.14) of a root port */

#ifndef HW_PCI_PCIE_DPC_H
#define HW_PCI_PCIE_DPC_H

#include "hw/pci/pci_device.h"

#define PCIE_DPC_SIZEOF 0xc

void pcie_dpc_init(PCIDevice *port, uint16_t offset);

/* Around the write of the port's configuration space */
uint16_t pcie_dpc_status(PCIDevice *port);
void pcie_dpc_write_config(PCIDevice *port, uint32_t addr, uint32_t val,
                           int len, uint16_t old_status);

#endif
