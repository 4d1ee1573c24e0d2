# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Sourced after lib.sh by what gets packages of another architecture, or sources:
# by a state of apt of our own, so that nothing of the machine changes.
# shellcheck disable=SC2034,SC2154 # for those who source this; from lib.sh

# apt_own <architecture|source> [sources.list]: prepare such an apt, for the
# functions below; the machine's own sources, unless a file of others is given
apt_own()
{
	local dir=$build/apt-$1 f

	[ -z "${2:-}" ] || dir+=-$(basename "$2" .list)
	apt_dir=$dir
	apt_log=$dir/log
	mkdir -p "$dir/state/lists/partial" "$dir/cache/archives/partial" "$dir/sources"
	: > "$dir/status"
	: > "$apt_log"
	apt_options=(-q -o Dir::State="$dir/state" -o Dir::State::status="$dir/status"
		-o Dir::Cache="$dir/cache" -o APT::Sandbox::User=
		-o APT::Update::Post-Invoke-Success::= -o Acquire::Languages=none
		-o Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false)
	if [ -n "${2:-}" ]; then
		apt_options+=(-o Dir::Etc::sourcelist="$2" -o Dir::Etc::sourceparts=-
			-o Dir::Etc::preferences=- -o Dir::Etc::preferencesparts=-)
	fi
	if [ "$1" != source ]; then
		apt_options+=(-o APT::Architecture="$1" -o APT::Architectures::="$1")
	else
		# What the machine takes packages from, as sources
		for f in /etc/apt/sources.list /etc/apt/sources.list.d/*.{list,sources}; do
			[ -e "$f" ] || continue
			case $f in
			*.sources) sed 's/^Types:.*/Types: deb-src/' "$f" ;;
			*.list) sed -n 's/^deb\(-src\)\? /deb-src /p' "$f" ;;
			esac > "$dir/sources/${f##*/}"
		done
		apt_options+=(-o Dir::Etc::sourcelist=/dev/null
			-o Dir::Etc::sourceparts="$dir/sources")
	fi
	own_get update || say "cannot update: $(own_error)"
}

# bookworm_mirror: the mirror that this system has its own suite from, or nothing
bookworm_mirror()
{
	# shellcheck disable=SC2016 # apt's variable
	apt-get indextargets --format '$(REPO_URI)' 'Codename: bookworm' 2>/dev/null | sed -n 1p
}

own_get()
{
	: > "$apt_log"
	apt-get "${apt_options[@]}" "$@" >> "$apt_log" 2>&1
}

own_cache()
{
	apt-cache "${apt_options[@]}" "$@" 2>> "$apt_log"
}

own_error()
{
	grep -m 1 '^E:' "$apt_log" || tail -n 1 "$apt_log"
}

# base_version: the version of Debian's package that the base is, or nothing
base_version()
{
	sed -n 's/^linux-source-6\.12 //p' "$build/base.stamp" 2>/dev/null
}

# debian_config <flavour>: prints the path of Debian's configuration for arm64, of
# the version of the base where it can be had
debian_config()
{
	local dir=$build/debian-config want deb tar=./usr/src/linux-config-6.12/config.arm64_none_

	want=$(base_version)
	deb=$dir/$want.deb
	if [ ! -s "$deb" ]; then
		say "getting linux-config-6.12 for arm64"
		rm -rf "$dir"
		mkdir -p "$dir"
		apt_own arm64
		{ [ -n "$want" ] && (cd "$dir" && own_get download "linux-config-6.12=$want"); } ||
			(cd "$dir" && own_get download linux-config-6.12) ||
			die "cannot download linux-config-6.12 for arm64: $(own_error)"
		mv "$dir"/linux-config-6.12_*.deb "$deb"
	fi
	dpkg-deb --fsys-tarfile "$deb" | tar -xO "$tar$1.xz" 2>/dev/null |
		xz -dc 2>/dev/null > "$dir/$1" ||
		die "linux-config-6.12 has no flavour $1, but $(dpkg-deb -c "$deb" |
			sed -n 's/.*config\.arm64_none_\(.*\)\.xz/\1/p' | paste -sd' ')"
	echo "$dir/$1"
}

# linux_orig: prints the path of the tarball of a plain 6.12.y, the newest that can
# be had of those that Debian makes packages from. Mirrors may lack some.
linux_orig()
{
	local dir=$build/linux-orig v name

	mkdir -p "$dir"
	apt_own source
	# Source, version and tarball, the newest first. Debian 13 calls it linux.
	own_cache showsrc linux-6.12 linux | awk '
		/^Package:/ { package = $2 }
		/^Version:/ { version = $2 }
		/^ [0-9a-f]* [0-9]* linux.*_6\.12\.[0-9]*\.orig\.tar\.xz$/ {
			print package "=" version, $3
		}' | sort -u -t_ -k2,2Vr > "$dir/known"
	while read -r v name; do
		if [ -s "$dir/$name" ]; then
			echo "$dir/$name"
			return
		fi
		say "getting $name"
		if (cd "$dir" && own_get source --download-only --tar-only "$v"); then
			find "$dir" -name '*.orig.tar.xz' ! -name "$name" -delete
			echo "$dir/$name"
			return
		fi
		say "cannot: $(own_error | sed 's/.*\///')"
	done < "$dir/known"
	die "no source of Linux 6.12 can be had: see $apt_log"
}
