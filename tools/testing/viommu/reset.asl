/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A device that ACPI can reset: the viommu-dma at slot 0xc of the root bus. Its _RST is an
 * FLR, and some more time, of which PCI knows nothing.
 */
DefinitionBlock ("", "SSDT", 2, "VIOMMU", "RESET", 0x00000001)
{
    External (\_SB.PCI0, DeviceObj)

    Scope (\_SB.PCI0)
    {
        Device (VDMA)
        {
            Name (_ADR, 0x000C0000)

            OperationRegion (CONF, PCI_Config, 0x88, 0x02)
            Field (CONF, WordAcc, NoLock, Preserve)
            {
                DCTL, 16    // Device Control
            }

            Method (_RST, 0, Serialized)
            {
                DCTL = DCTL | 0x8000
                Sleep (150)
            }
        }
    }
}
