//! TAP network interfaces (Linux, `Documentation/networking/tuntap.rst`).
