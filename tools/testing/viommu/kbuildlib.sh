# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Sourced after lib.sh by what compiles other commits than build/linux has:
# a worktree of its own, and the directories that a change touches.
# shellcheck disable=SC2034,SC2154

here=$top/tools/testing/viommu
each=$build/each

# One at a time.
mkdir -p "$build"
exec 9> "$build/each.lock"
flock 9

# checkout <commit>: $each has it; only files that differ are touched
checkout()
{
	if [ ! -e "$each/.git" ]; then
		kgit worktree prune
		kgit worktree add -q --detach "$each" "$1"
	else
		git -C "$each" checkout -q -f --detach "$1"
	fi
}

# configure <arch> <objdir> [file...]: tinyconfig and these fragments in $each
configure()
{
	local arch=$1 obj=$2 want

	shift 2
	mkdir -p "$obj"
	# The same fragments over the same Kconfig give the same: spare the time.
	want=$({ cat "$@"; git -C "$each" ls-files -s -- 'drivers/iommu/*Kconfig' 'drivers/vfio/*Kconfig'; } | sha256sum)
	[ "$(cat "$obj/configured" 2>/dev/null)" != "$want" ] || return 0
	kmake "$arch" "$obj" "$each" tinyconfig >/dev/null
	(cd "$obj" && "$each/scripts/kconfig/merge_config.sh" -m .config "$@") >/dev/null
	kmake "$arch" "$obj" "$each" olddefconfig >/dev/null
	echo "$want" > "$obj/configured"
}

# demand <objdir> <symbol=value>...: fails where the configuration differs
demand()
{
	local obj=$1 s

	shift
	for s; do
		if [ "${s#*=}" = n ]; then
			! grep -q "^CONFIG_${s%=*}=" "$obj/.config"
		else
			grep -qx "CONFIG_$s" "$obj/.config"
		fi || { echo "CONFIG_$s is not so"; return 1; }
	done
}

# touched <from> <to>: directories of Linux code that differ, as make takes them
touched()
{
	kgit diff --name-only --no-renames "$1" "$2" |
		sed -n -e 's,^include/.*,drivers/iommu/x,' -e 's,^\(drivers/[^/]*/\).*,\1,p' |
		sort -u
}

