#!/bin/sh
# Make sure that windows can be opened without a monitor: install the virtual screen where this is
# allowed, say what to do where it isn't. Linux only; elsewhere there is nothing to do.
set -eu
[ "$(uname -s)" = Linux ] || exit 0

packages="xvfb xauth libegl1 libgl1 libgl1-mesa-dri libxkbcommon-x11-0 libxcb-cursor0 libxcb-icccm4
libxcb-keysyms1 libxcb-image0 libxcb-render-util0 libxcb-randr0 libxcb-shape0 libdbus-1-3
libfontconfig1 libglib2.0-0 fonts-dejavu-core"
libraries="libEGL.so.1 libGL.so.1 libxkbcommon-x11.so.0 libxcb-cursor.so.0 libxcb-icccm.so.4
libxcb-keysyms.so.1 libxcb-image.so.0 libxcb-render-util.so.0 libxcb-randr.so.0 libxcb-shape.so.0
libdbus-1.so.3 libfontconfig.so.1 libglib-2.0.so.0"

missing=""
for command in xvfb-run xauth; do
    command -v "$command" >/dev/null 2>&1 || missing="$missing $command"
done
known=$(PATH="$PATH:/sbin:/usr/sbin" ldconfig -p 2>/dev/null || true)
for library in $libraries; do
    case "$known" in *"$library"*) ;; *) missing="$missing $library" ;; esac
done
[ -n "$missing" ] || exit 0

if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
    echo "installing the virtual screen (missing:$missing)"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    # shellcheck disable=SC2086
    apt-get install -y -qq --no-install-recommends $packages >/dev/null
elif command -v apt-get >/dev/null 2>&1; then
    echo "The virtual screen for the window tests is incomplete (missing:$missing) and only root may" \
         "install it: sudo apt-get install --no-install-recommends" $packages
else
    echo "The virtual screen for the window tests is incomplete (missing:$missing): install Xvfb and" \
         "Qt's X11 libraries with your system's package manager; without a screen these tests are skipped."
fi
