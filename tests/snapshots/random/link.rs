//! A network of one machine: a tap in a namespace of its own, whose kernel answers.

use std::process::Command;

use test_guests::pinging::{GUEST_ADDRESS, GUEST_MAC, HOST_ADDRESS, HOST_MAC};

use crate::monitor::Holder;

/// The tap's name.
pub const TAP: &str = "t0";

/// The namespace. It ends when dropped.
pub struct Link(Holder);

impl Link {
    /// Nothing where this host does not let its users have one.
    pub fn new() -> Option<Link> {
        let script = format!(
            "ip tuntap add {TAP} mode tap && ip link set {TAP} address {HOST_MAC} && \
             ip address add {HOST_ADDRESS}/24 dev {TAP} && ip link set {TAP} up && \
             ip neighbour add {GUEST_ADDRESS} lladdr {GUEST_MAC} dev {TAP}"
        );
        Holder::new("--net", &script).map(Link)
    }

    /// A command of Yagura's that is to see this network.
    pub fn command(&self) -> Command {
        let mut command = Command::new("nsenter");
        let holder = self.0.pid().to_string();
        command.args(["--preserve-credentials", "--user", "--net", "--target", &holder]);
        command.arg(env!("CARGO_BIN_EXE_yagura"));
        command
    }
}
