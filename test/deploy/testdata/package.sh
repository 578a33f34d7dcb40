# What an administrator does with the package on a Debian that systemd runs. The machine is a
# container. Credentials (LoadCredential) are left out: systemd cannot mount them there.
set -ex
fails() { if "$@"; then echo "this did not fail: $*"; exit 1; fi; }

dpkg -i /root/bellbuoy.deb
bellbuoy check
systemd-analyze verify --man=no /usr/lib/systemd/system/bellbuoy.service /usr/lib/systemd/system/bellbuoy.socket
fails systemctl is-active bellbuoy.service

# Secrets come from the file of variables, which the service's user cannot read.
echo CI_TOKEN=secret > /etc/bellbuoy/environment
chmod 600 /etc/bellbuoy/environment
cat > /etc/bellbuoy/bellbuoy.yaml <<'EOF'
data_dir: /var/lib/bellbuoy
upstreams: [{type: registry, url: "http://127.0.0.1:5000", external_url: "https://registry.example.com"}]
webhooks: [{name: ci, url: "http://127.0.0.1:9/hook", auth_header: "Bearer ${CI_TOKEN}"}]
EOF
systemctl enable --now bellbuoy.socket bellbuoy.service
bellbuoy deliveries
test "$(stat -c %a /var/lib/private/bellbuoy/bellbuoy.db)" = 600
test "$(stat -c %u /proc/$(systemctl show -p MainPID --value bellbuoy))" != 0
systemctl reload bellbuoy

# A wrong file is refused by a reload and by a start.
cp /etc/bellbuoy/bellbuoy.yaml /root/right.yaml
sed -i 's/auth_header/auth_heder/' /etc/bellbuoy/bellbuoy.yaml
fails systemctl reload bellbuoy
bellbuoy deliveries
fails systemctl restart bellbuoy
systemctl stop bellbuoy.service bellbuoy.socket
journalctl -u bellbuoy | grep 'did you mean "auth_header"'
cp /root/right.yaml /etc/bellbuoy/bellbuoy.yaml
systemctl reset-failed
systemctl start bellbuoy.socket bellbuoy.service

# An update keeps the configuration and restarts what runs.
before=$(systemctl show -p MainPID --value bellbuoy)
dpkg -i /root/bellbuoy.deb
cmp /root/right.yaml /etc/bellbuoy/bellbuoy.yaml
systemctl is-active bellbuoy.service
test "$(systemctl show -p MainPID --value bellbuoy)" != "$before"
bellbuoy deliveries

# Removing keeps the configuration and the data, and nothing that starts at boot. Purging keeps nothing.
dpkg -r bellbuoy
test -f /etc/bellbuoy/bellbuoy.yaml
test -f /var/lib/private/bellbuoy/bellbuoy.db
fails sh -c "find /etc/systemd -name 'bellbuoy*' | grep ."
dpkg -i /root/bellbuoy.deb
dpkg -P bellbuoy
fails sh -c "find / -xdev -name '*bellbuoy*' -not -path '/root/*' -not -path '/proc/*' | grep -v ^/etc/bellbuoy$"
test "$(ls /etc/bellbuoy)" = environment # the administrator's own file
