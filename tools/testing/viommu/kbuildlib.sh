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

# merged <file>...: their options, each with the value that the last one gives it. The
# kernel's merge_config.sh does the same with four processes per line, in half a minute. In a
# choice the last one counts.
merged()
{
	awk '
		match($0, /^(# )?CONFIG_[A-Za-z0-9_]+/) {
			o = substr($0, RSTART, RLENGTH)
			sub(/^# /, "", o)
			delete line[at[o]]
			at[o] = NR
			line[NR] = $0
		}
		END { for (i = 1; i <= NR; i++) if (i in line) print line[i] }
	' "$@"
}

# configure <arch> <objdir> [file...]: tinyconfig and these fragments in $each
configure()
{
	local arch=$1 obj=$2 want tiny

	shift 2
	mkdir -p "$obj"
	# The same fragments over the same Kconfig give the same: spare the time.
	want=$({
		cat "$@"
		git -C "$each" ls-files -s -- 'drivers/iommu/*Kconfig' 'drivers/vfio/*Kconfig'
	} | sha256sum)
	[ "$(cat "$obj/configured" 2>/dev/null)" != "$want" ] || return 0
	# To read Kconfig takes a quarter of a minute, for it asks the compiler much. So it
	# is read once; what is new in it since tinyconfig gets its default.
	tiny=$obj.tiny-$(kgit rev-parse --short base)
	if [ ! -f "$tiny" ]; then
		kmake "$arch" "$obj" "$each" tinyconfig >/dev/null
		cp "$obj/.config" "$tiny"
	fi
	merged "$tiny" "$@" > "$obj/.config"
	kmake "$arch" "$obj" "$each" syncconfig >/dev/null < <(yes '' 2>/dev/null)
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

# touched <arch> <from> <to>: what make must build where these differ: all of
# drivers/iommu for what lies there and for headers, all of drivers/vfio, whose options
# decide which of its sources are built, elsewhere an object per source. What only
# includes such a header elsewhere is built for the Image.
touched()
{
	kgit diff --name-only --no-renames --diff-filter=d "$2" "$3" |
		sed -n -e 's,^\(include\|drivers/iommu\)/.*,drivers/iommu/,p;t' \
			-e 's,^drivers/vfio/.*,drivers/vfio/,p;t' \
			-e 's,^\(\(drivers\|mm\|fs\|lib\|virt\)/.*\)\.c$,\1.o,p' |
		if [ "$1" = arm64 ]; then cat; else grep -v '/arm64/' || true; fi |
		sort -u
}

# options <from> <to>: the Kconfig symbols that are new
options()
{
	kgit diff "$1" "$2" -- '*Kconfig' | sed -n 's/^+\(menu\)\?config //p'
}

# objects <from> <to>: of the sources that differ, for arm64, each with its option
objects()
{
	local o

	kgit diff --name-only --no-renames --diff-filter=d "$1" "$2" |
		sed -n 's,^\(\(drivers\|mm\|fs\|lib\|virt\)/.*\)\.c$,\1.o,p' |
		{ grep -vE '^drivers/iommu/(intel|amd)/' || true; } | while read -r o; do
			# shellcheck disable=SC2016 # of the makefile
			echo "$o $(sed -n "/[ \t]${o##*/}/"'s/.*$(CONFIG_\([A-Z0-9_]*\)).*/\1/p' \
				"$each/${o%/*}/Makefile" | head -n 1)"
		done
}

# sources <from> <to>: the objects to compile for the patch between these: without those
# whose option only a later patch brings, and with older ones whose option it brings
sources()
{
	local o option later brought

	later=" $(options "$2" refs/viommu/tip | paste -sd' ') "
	brought=" $(options "$1" "$2" | paste -sd' ') "
	{
		objects "$1" "$2" | while read -r o option; do
			[ -n "$option" ] && [[ $later == *" $option "* ]] || echo "$o"
		done
		[ "$brought" = '  ' ] || objects base "$2" | while read -r o option; do
			[ -z "$option" ] || [[ $brought != *" $option "* ]] || echo "$o"
		done
	} | sort -u
}

# fragments <arch>: what it is built with. Each option is on from the patch that brings it.
fragments()
{
	local f=("$here/build-$1.config")

	[ "$1" != arm64 ] ||
		f=("$here/machine.config" "${f[@]}" "$top/kernel/configs/viommu.config")
	for f in "${f[@]}"; do
		[ ! -f "$f" ] || echo "$f"
	done
}

# build <arch> <objdir> <directory>...
build()
{
	local arch=$1 obj=$2 f

	shift 2
	mapfile -t f < <(fragments "$arch")
	configure "$arch" "$obj" "${f[@]}" &&
	demand "$obj" IOMMUFD=m VFIO=m IOMMUFD_TEST=y &&
	kmake "$arch" "$obj" "$each" "$@" || return 1
	[ "$arch" != arm64 ] || exports "$obj"
}

# recompile <objdir> <object>...: from what $each has now, by the commands that made them.
# To have make say them takes longer than they do.
recompile()
{
	local obj=$1 o cmd

	shift
	for o; do
		cmd=$(sed -n '1s/^savedcmd_[^ ]* := //p' "$obj/${o%/*}/.${o##*/}.cmd") &&
			[ -n "$cmd" ] || return 1
		cmd=${cmd//'$$'/'$'}
		[[ $cmd == *" -o $o "* ]] || { echo "no command makes $o"; return 1; }
		printf '%s\0' "${cmd/" -o $o "/" -o $scratch/${o//\//.} "}"
	done > "$scratch/commands" || return 1
	(cd "$obj" && xargs -0 -P "$jobs" -I '{}' bash -c '{}' < "$scratch/commands")
}

# build_as <arch> <objdir> <symbol=value,...> <directory>...: with these different
build_as()
{
	local arch=$1 obj=$2 want f

	IFS=, read -r -a want <<< "$3"
	shift 3
	mkdir -p "$obj"
	printf 'CONFIG_%s\n' "${want[@]}" | sed 's/^\(.*\)=n$/# \1 is not set/' > "$obj.config"
	mapfile -t f < <(fragments "$arch")
	configure "$arch" "$obj" "${f[@]}" "$obj.config" &&
	demand "$obj" "${want[@]}" &&
	kmake "$arch" "$obj" "$each" "$@" || return 1
	# Where all is built in, or all are modules, there is nothing to compare.
	[ "$arch" != arm64 ] || ! demand "$obj" IOMMUFD=m ARM_SMMU_V3=y > /dev/null ||
		exports "$obj"
}

# selftests <objdir> [<from> <to>]: of $each, for arm64, with the headers made in <objdir>,
# which has no configuration.
# With two commits, what stood at <from> is kept, if nothing of it is different at <to>.
selftests()
{
	local obj=$1 out=$each/.selftests dir=tools/testing/selftests/iommu

	# The makefile does not know which program has which header.
	if [ $# = 1 ] ||
	   [ -n "$(kgit diff --name-only --diff-filter=a "$2" "$3" -- "$dir/*.h")" ]; then
		rm -rf "$out"
	fi
	mkdir -p "$out" "$obj" &&
	kmake arm64 "$obj" "$each" headers &&
	make -s -j"$jobs" -C "$each/$dir" OUTPUT="$out" ARCH=arm64 \
		CROSS_COMPILE=aarch64-linux-gnu- CC="$(compiler arm64)gcc" \
		KHDR_INCLUDES="-isystem $obj/usr/include" LDFLAGS=-static USERCFLAGS='-O1 -Werror'
}

# exports <objdir>: what a module takes from the built-in objects beside it must be
# exported; the full link that would tell takes too long
exports()
{
	local obj=$1 m

	aarch64-linux-gnu-nm "$obj/drivers/iommu/built-in.a" 2>/dev/null > "$obj/builtin"
	sed -n 's/.* [DRTB] __export_symbol_\(.*\)/\1/p; s/.* [a-z] __export_symbol_\(.*\)/\1/p' \
		"$obj/builtin" | sort -u > "$obj/exported"
	sed -n 's/.* [DRTB] \(.*\)/\1/p' "$obj/builtin" | sort -u |
		comm -23 - "$obj/exported" > "$obj/private"
	[ -s "$obj/exported" ] && [ -s "$obj/drivers/iommu/modules.order" ] || return 1
	while read -r m; do
		aarch64-linux-gnu-nm -u "$obj/$m" | awk '{ print $2 }'
	done < "$obj/drivers/iommu/modules.order" | sort -u |
		comm -12 - "$obj/private" |
		sed 's/$/: used by a module, not exported/' > "$obj/hidden"
	cat "$obj/hidden"
	[ ! -s "$obj/hidden" ]
}

# matrix [brief]: a line per arm64 configuration that must build, in an order in
# which neighbours differ little. Options that $each does not have are left out.
# Brief: only those that differ most from each other, and from the machine's kernel, which
# has all of them on, and IOMMUFD=y.
matrix()
{
	local o n options=() fd modules=IOMMUFD=m,VFIO=m,VFIO_PCI=m

	for o in ARM_SMMU_V3_IOMMUFD TEGRA241_CMDQV ARM_SMMU_V3_SVA; do
		! grep -qrE "^config $o\$" "$each/drivers/iommu" || options+=("$o")
	done
	n=$(((1 << ${#options[@]}) - 1))
	if [ -n "${1:-}" ]; then
		combination "$modules" 1 "${options[@]}"
		combination IOMMUFD=y,VFIO=y,VFIO_PCI=y "$n" "${options[@]}"
	else
		for fd in m y; do
			for ((o = 0; o <= n; o++)); do
				# Gray code: one option changes at a time.
				combination "IOMMUFD=$fd,VFIO=$fd,VFIO_PCI=$fd" $((o ^ o >> 1)) \
					"${options[@]}"
			done
		done
		! grep -qr '^config TEGRA241_CMDQV_IOMMUFD$' "$each/drivers/iommu" ||
			echo "$modules,TEGRA241_CMDQV=y,TEGRA241_CMDQV_IOMMUFD=n"
		echo "$modules,ARM_SMMU_V3=m"
		echo "$modules,IOMMUFD_TEST=n"
	fi
	# As distributions have it
	echo "$modules,IOMMUFD_TEST=n,KUNIT=n"
	echo IOMMUFD=n,VFIO_DEVICE_CDEV=n,VFIO_GROUP=y
}

# combination <head> <bits> [option]...: head, and the n-th option off by the n-th bit
combination()
{
	local line=$1 bits=$2 o

	shift 2
	for o; do
		line+=,$o=$( ((bits & 1)) && echo n || echo y)
		bits=$((bits >> 1))
	done
	echo "$line"
}
