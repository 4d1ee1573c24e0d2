# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
# shellcheck disable=SC2154 # guest=, sum= and head= come by the kernel's command line
# What the guests of 72-vmm-cmdqv run, after vmm-guest.sh.

found_cmdqv()
{
	dmesg | grep -i cmdqv
	dmesg | grep -q 'found companion CMDQV' && ! dmesg | grep -qi 'cmdqv.*fail\|falling back'
}

# The machine counts meanwhile.
counted()
{
	say "@@ io $1"
	sleep 3
	check "$1: whole disk, with interrupts" counting "$2" "$3" "$4" "$5" "$6"
	check "$1: mixed I/O" counting 100 mixed 3
	say "@@ done $1"
	sleep 3
}

await 120 eval '! no_nvme'
check "its own SMMUv3 translates, strictly" own_smmu
check "it has a CMDQV" found_cmdqv
if [ "$(life)" = life2 ]; then
	after="after a reset"
	[ "$guest" != heir ] || after="after kexec"
	counted "$after" 16 sum_is "$head" 0 8
	check "$after: no event" no_event
	say "@@ end"
	return
fi
case $guest in
heir)
	counted heir 16 sum_is "$head" 0 8
	check "no event" no_event
	live_again
	check "the other kernel can be started" other_kernel
	;;
*)
	counted "$guest" 64 sum_is "$sum" 0 32
	check "write and read back" copy
	check "no event" no_event
	say "@@ busy"
	[ "$guest" != first ] || live_again
	mixed 3000
	;;
esac
say "@@ end"
