# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
# Sourced in the machine of 65-modules: "check WHAT command..." is one result.

n=0
check()
{
	n=$((n + 1))
	what=$1
	shift
	if "$@" > /tmp/out 2>&1; then
		echo "ok $n - $what"
	else
		sed 's/^/# /' /tmp/out
		echo "not ok $n - $what"
	fi
}
loaded()
{
	grep "^$1 " /proc/modules
}
not()
{
	! "$@"
}
