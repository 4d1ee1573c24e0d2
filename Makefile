# SPDX-License-Identifier: GPL-2.0-only

W := tools/testing/viommu

.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help deps tree refresh series deb image qemu run run-cmdqv shell vmm test test-vmm test-long check bench clean

help:
	@echo 'make run        boot the series on an emulated SMMUv3 and watch a small VMM use it'
	@echo 'make run-cmdqv  the same where the guest has command queues of its own'
	@echo 'make test       all tests; test-long: those too that take long'
	@echo ''
	@echo 'make image      the kernel: build/Image'
	@echo 'make shell      boot it to a prompt'
	@echo 'make qemu       a QEMU with Tegra241 CMDQV: build/qemu/qemu-system-aarch64'
	@echo 'make vmm        a console in a guest of Debian'"'"'s QEMU; test-vmm: its tests'
	@echo 'make bench      count instructions; PEER=7.3 beside another kernel'
	@echo 'make check      static checks'
	@echo ''
	@echo 'make tree       build/linux: the base, then a commit per patch'
	@echo 'make refresh    fold what was edited there back into this repository'
	@echo 'make series     build/series: patches for "git am" on a plain 6.12.y;'
	@echo '                STABLE=1: build/stable, the fixes of the base alone'
	@echo 'make deb        build/deb: a Debian kernel package for arm64, in hours'
	@echo 'make deps       install what is needed (Debian 12, root)'
	@echo 'make clean      remove build/'
	@echo ''
	@echo 'KSRC=           another 6.12.y, tree or tarball, instead of Debian'"'"'s source'
	@echo 'TESTS="a b"     only these of $(W)/tests'
	@echo 'CASE=           only this FIXTURE.TEST of the kselftests, e.g. stage1.unmap_ends_it'

deps:
	@scripts/deps

tree: deps
	@scripts/tree

refresh: deps
	@scripts/refresh
	@scripts/uapi

series: deps
	@scripts/series

deb: deps
	@scripts/deb

image: deps
	@$(W)/image
	@$(W)/initramfs

qemu:
	@scripts/deps qemu
	@$(W)/qemu-build

run: image
	@$(W)/run

run-cmdqv: image qemu
	@$(W)/run cmdqv

shell: image
	@$(W)/boot --shell shell

vmm: image
	@$(W)/vmm

test-vmm: image
	@V=1 TESTS=70-vmm $(W)/test

test: deps
ifdef CASE
	@$(W)/image
	@$(W)/initramfs
	@$(W)/case $(CASE)
else
	@$(W)/test
endif

test-long: deps
	@LONG=1 $(W)/test

check: deps
	@scripts/check

bench: deps
	@$(W)/bench

clean:
	rm -rf build
