/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * NVIDIA Tegra241 CMDQV: command queue virtualization for the SMMUv3
 */

#ifndef HW_ARM_TEGRA241_CMDQV_H
#define HW_ARM_TEGRA241_CMDQV_H

#define TYPE_TEGRA241_CMDQV "tegra241-cmdqv"

#endif
