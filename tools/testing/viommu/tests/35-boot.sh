#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 600
# beside
# What "boot" and "make run" say: line by line while the machine runs, and what to do
# if it does not run.
# shellcheck source=../testlib.sh
. "$(dirname "$0")/../testlib.sh"

# says <name> <regex> command...: fails, and says this
says()
{
	local name=$1 regex=$2

	shift 2
	if "$@" > "$scratch/out" 2>&1 < /dev/null; then
		not_ok "$name: did not fail"
	elif ! grep -qE "$regex" "$scratch/out"; then
		not_ok "$name: does not say '$regex'"
		sed 's/^/# /' "$scratch/out"
	else
		ok "$name"
	fi
}

# raw [boot's options...]: a run whose program waits to be killed
raw()
{
	echo "t -t 200 wait sh -c 'echo it runs; sleep 300'" > "$scratch/run"
	exec "$viommu/boot" --raw --timeout 250 --run "$scratch/run" "$@" boot
}

# What a program prints is there before it ends.
mkfifo "$scratch/lines"
raw > "$scratch/lines" &	# in a shell of its own, which becomes "boot"
pid=$!
exec 3< "$scratch/lines"
line=
read -r -t 180 line <&3 || true
kill "$pid"
wait "$pid" || true
exec 3<&-
if [ "$line" = "it runs" ]; then
	ok "a line is there while the machine runs"
else
	not_ok "a line is there while the machine runs: '$line'"
fi

says "no QEMU" "QEMU did not start: run 'make deps'" \
	env MACHINE_QEMU="$scratch/no-qemu" "$viommu/run"
printf '#!/bin/sh\necho "qemu: no such machine" >&2\nexit 1\n' > "$scratch/qemu"
chmod +x "$scratch/qemu"
says "a QEMU that ends at once" "^# qemu: no such machine" \
	env MACHINE_QEMU="$scratch/qemu" "$viommu/run"
printf '#!/bin/sh\nexec sleep 300\n' > "$scratch/qemu"
says "a silent kernel" "The kernel printed nothing. Delete .* and run 'make image'" \
	env MACHINE_QEMU="$scratch/qemu" "$viommu/boot" --raw --timeout 3 --run /dev/null boot
says "a kernel without its initrd" "none of its programs did. Its console ends with:" \
	env MACHINE_INITRD="$top/Makefile" "$viommu/boot" --raw --timeout 120 \
	--run /dev/null boot

# --- what counts as a failure

# verdict <awk script> [-v name=value]...: of standard input
verdict()
{
	awk -v name=boot "${@:2}" -f "$viommu/$1"
}

# A program whose last test was skipped
skipping()
{
	printf '@@ begin prog\n1..2\nok 1 one\nok 2 two # SKIP no cgroup2\n@@ end prog 0\n@@ done\n'
}

# Two suites of KUnit
suites()
{
	printf '1..2\n'
	printf '    # Subtest: first\n    1..1\n    ok 1 one\nok 1 first\n'
	printf '    # Subtest: second\n    1..1\n    ok 1 two%s\nok 2 second\n' "$1"
}

skip_fails()
{
	skipping | verdict tap.awk
}
whole_program_skips()
{
	printf '@@ begin prog\n1..0 # SKIP no debugfs\n@@ end prog 4\n@@ done\n' | verdict tap.awk
}
may_skip()
{
	skipping | MAY_SKIP='^prog: two ' verdict tap.awk
}
kunit_runs()
{
	suites '' | verdict ktap.awk -v want='first second'
}
kunit_lost()
{
	suites '' | verdict ktap.awk -v want='first second third'
}
kunit_skips()
{
	suites ' # SKIP no device tree' | verdict ktap.awk -v want='first second'
}
says "a skip fails" "^not ok - boot: skipped: prog: two # SKIP no cgroup2" skip_fails
says "a program that skips itself fails" \
	"^not ok - boot: skipped: prog: no debugfs" whole_program_skips
check "a skip that the run names does not" may_skip
check "KUnit: all suites ran" kunit_runs
says "KUnit: a suite that did not run fails" "^not ok - boot: third: KUnit ran no case" kunit_lost
says "KUnit: a skip fails" "^not ok - boot: skipped: second: two" kunit_skips

# One case of the kselftests, and no other
if MACHINE_IMAGE=$quick "$viommu/case" msi.window_is_full > "$scratch/out" 2>&1 &&
   [ "$(grep -cE '^ok - case-mock: iommufd_msi: msi[.].*[.]window_is_full$' \
	"$scratch/out")" = 2 ] &&
   ! grep -E '^# +(OK|RUN)' "$build/log/case-mock.tap" | grep -v 'window_is_full'; then
	ok "case: it runs, and no other"
else
	not_ok "case: it does not run, or others do"
	sed 's/^/# /' "$scratch/out"
fi
refuses "case: one that is not there" 'no TEST_F[(]msi, nothing[)]' "$viommu/case" msi.nothing
