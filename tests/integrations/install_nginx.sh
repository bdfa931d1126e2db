#!/bin/sh
# Finds nginx and openssl for the tests behind a proxy, installs Debian's where it may, else says what to run.
set -u
command -v openssl >/dev/null 2>&1 && PATH="$PATH:/usr/sbin" command -v nginx >/dev/null 2>&1 && exit 0
if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
  echo "installing Debian's nginx for the tests behind a proxy; it is not started as a service"
  # Its package would start it: a policy that says no (101) for the time of the installation.
  policy=/usr/sbin/policy-rc.d
  [ -e "$policy" ] || { printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy" && made=yes; }
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq nginx-light openssl >/dev/null
  code=$?
  [ "${made:-no}" = yes ] && rm -f "$policy"
  exit $code
fi
echo "The tests behind a proxy need nginx and openssl. Run: sudo apt-get install nginx openssl"
exit 1
