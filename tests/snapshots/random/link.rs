//! A network of one machine: a tap in a namespace of its own, whose kernel answers.

use std::io::Read;
use std::process::{Child, Command, Stdio};

use test_guests::pinging::{GUEST_ADDRESS, GUEST_MAC, HOST_ADDRESS, HOST_MAC};

/// The tap's name.
pub const TAP: &str = "t0";

/// A sleeping process that holds the namespace. It ends when dropped.
pub struct Link(Child);

impl Link {
    /// Nothing where this host does not let its users have one.
    pub fn new() -> Option<Link> {
        let script = format!(
            "ip tuntap add {TAP} mode tap && ip link set {TAP} address {HOST_MAC} && \
             ip address add {HOST_ADDRESS}/24 dev {TAP} && ip link set {TAP} up && \
             ip neighbour add {GUEST_ADDRESS} lladdr {GUEST_MAC} dev {TAP} && echo ready && exec sleep 600"
        );
        let mut holder = Command::new("unshare")
            .args(["--user", "--map-root-user", "--net", "sh", "-c", &script])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let mut ready = [0; 5];
        let is_ready = holder.stdout.take().unwrap().read_exact(&mut ready).is_ok();
        let link = Link(holder);
        is_ready.then_some(link)
    }

    /// A command of Yagura's that is to see this network.
    pub fn command(&self) -> Command {
        let mut command = Command::new("nsenter");
        let holder = self.0.id().to_string();
        command.args(["--preserve-credentials", "--user", "--net", "--target", &holder]);
        command.arg(env!("CARGO_BIN_EXE_yagura"));
        command
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // Fails when it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
