# The package where no systemd runs.
set -ex
fails() { if "$@"; then echo "this did not fail: $*"; exit 1; fi; }

dpkg -i /root/bellbuoy.deb
bellbuoy check
systemctl enable bellbuoy.socket bellbuoy.service
dpkg -r bellbuoy
fails sh -c "find /etc/systemd -name 'bellbuoy*' | grep ."
dpkg -P bellbuoy
fails sh -c "find / -xdev -name '*bellbuoy*' -not -path '/root/*' | grep ."
