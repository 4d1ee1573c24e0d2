/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Downstream Port Containment of a root port
 *
 * Nothing triggers it but software. It resets what is below the port, and takes
 * the link down until software clears the trigger status. The interrupt is
 * vector 0 of the port's MSI-X.
 */

#include "qemu/osdep.h"
#include "hw/pci/msix.h"
#include "hw/pci/pci_bridge.h"
#include "hw/pci/pci_bus.h"
#include "hw/pci/pcie.h"
#include "hw/pci/pcie_dpc.h"
#include "hw/resettable.h"

#define DPC_CTL_EN          (PCI_EXP_DPC_CTL_EN_FATAL | \
                             PCI_EXP_DPC_CTL_EN_NONFATAL)
/* PCIe 7.9.14.3, reads as 0 */
#define DPC_CTL_SW_TRIGGER  0x0040

void pcie_dpc_init(PCIDevice *port, uint16_t offset)
{
    pcie_add_capability(port, PCI_EXT_CAP_ID_DPC, 1, offset, PCIE_DPC_SIZEOF);
    pci_set_word(port->config + offset + PCI_EXP_DPC_CAP,
                 PCI_EXP_DPC_CAP_SW_TRIGGER);
    pci_set_word(port->wmask + offset + PCI_EXP_DPC_CTL,
                 DPC_CTL_EN | PCI_EXP_DPC_CTL_INT_EN);
    pci_set_word(port->w1cmask + offset + PCI_EXP_DPC_STATUS,
                 PCI_EXP_DPC_STATUS_TRIGGER | PCI_EXP_DPC_STATUS_INTERRUPT);
}

uint16_t pcie_dpc_status(PCIDevice *port)
{
    uint16_t pos = pcie_find_capability(port, PCI_EXT_CAP_ID_DPC);

    return pos ? pci_get_word(port->config + pos + PCI_EXP_DPC_STATUS) : 0;
}

static void pcie_dpc_trigger(PCIDevice *port, uint8_t *dpc)
{
    uint8_t *link = port->config + port->exp.exp_cap + PCI_EXP_LNKSTA;
    uint16_t status = PCI_EXP_DPC_STATUS_TRIGGER |
                      PCI_EXP_DPC_STATUS_TRIGGER_RSN_IN_EXT |
                      PCI_EXP_DPC_STATUS_TRIGGER_RSN_SW_TRIGGER;

    bus_cold_reset(BUS(pci_bridge_get_sec_bus(PCI_BRIDGE(port))));
    pci_word_test_and_clear_mask(link, PCI_EXP_LNKSTA_DLLLA);
    if (pci_get_word(dpc + PCI_EXP_DPC_CTL) & PCI_EXP_DPC_CTL_INT_EN) {
        status |= PCI_EXP_DPC_STATUS_INTERRUPT;
    }
    pci_set_word(dpc + PCI_EXP_DPC_STATUS, status);
    if (status & PCI_EXP_DPC_STATUS_INTERRUPT && msix_enabled(port)) {
        msix_notify(port, 0);
    }
}

void pcie_dpc_write_config(PCIDevice *port, uint32_t addr, uint32_t val,
                           int len, uint16_t old_status)
{
    uint16_t pos = pcie_find_capability(port, PCI_EXT_CAP_ID_DPC);
    uint8_t *dpc = port->config + pos;
    uint16_t status;

    if (!pos) {
        return;
    }
    status = pci_get_word(dpc + PCI_EXP_DPC_STATUS);
    if (old_status & ~status & PCI_EXP_DPC_STATUS_TRIGGER) {
        pci_set_word(dpc + PCI_EXP_DPC_STATUS,
                     status & PCI_EXP_DPC_STATUS_INTERRUPT);
        pci_word_test_and_set_mask(port->config + port->exp.exp_cap +
                                   PCI_EXP_LNKSTA, PCI_EXP_LNKSTA_DLLLA);
        return;
    }
    if (range_covers_byte(addr, len, pos + PCI_EXP_DPC_CTL) &&
        val >> (pos + PCI_EXP_DPC_CTL - addr) * 8 & DPC_CTL_SW_TRIGGER &&
        pci_get_word(dpc + PCI_EXP_DPC_CTL) & DPC_CTL_EN &&
        !(status & PCI_EXP_DPC_STATUS_TRIGGER)) {
        pcie_dpc_trigger(port, dpc);
    }
}
