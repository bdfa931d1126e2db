#!/bin/sh
# Finds a Chromium for the browser test, installs Debian's where it may, else says what to run.
set -u
for name in "${HANKELBOARD_CHROMIUM:-}" chromium chromium-browser google-chrome; do
  [ -n "$name" ] && command -v "$name" >/dev/null 2>&1 && exit 0
done
if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
  echo "installing Debian's chromium for the browser test"
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null && exit 0
fi
echo "The browser test needs Chromium and none was found. Run one of:"
echo "    sudo apt-get install chromium"
echo "    export HANKELBOARD_CHROMIUM=/path/to/chrome"
echo "and then: make test"
exit 1
