//! What can be typed after `yagura pause` and the other verbs for running VMs.

use std::time::Duration;

use clap::Args;
use vm_spec::VmName;

use crate::cli::Format;

/// `yagura pause`, `resume`, `reset`
#[derive(Args, Debug)]
#[command(after_help = EXIT_STATUS)]
pub struct NamesArguments {
    /// The VMs' names
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<VmName>,
}

/// `yagura stop`
#[derive(Args, Debug)]
#[command(after_help = STOP_NOTES)]
pub struct StopArguments {
    /// The VMs' names
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<VmName>,
    /// End them at once, as if the power went: what the guests have not written is lost
    #[arg(long)]
    pub force: bool,
    /// How long to wait for the guests
    #[arg(long, value_name = "SECS", default_value = "60", value_parser = seconds, conflicts_with = "force")]
    pub timeout: Duration,
}

/// `yagura info`
#[derive(Args, Debug)]
#[command(after_help = EXIT_STATUS)]
pub struct InfoArguments {
    /// The VM's name
    pub name: VmName,
    /// How to show it
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    pub json: bool,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let refused = |_| format!("'{text}' is not a number of seconds");
    // Whole lives; the clock cannot count as far as a `u64` can.
    text.parse().map(|seconds: u32| Duration::from_secs(seconds.into())).map_err(refused)
}

const EXIT_STATUS: &str = "\
Exit status:
  0  done
  1  the VM, or the host, refuses
  2  the command line cannot be understood
  3  no VM of that name runs
  4  not now: the VM does not answer, or ends
Of several VMs, it is that of the first that failed.";

const STOP_NOTES: &str = "\
The power button is pressed, and what the guest does then is up to it: Linux shuts down where acpid or systemd-logind runs.
A paused VM is resumed before.

Exit status:
  0  done: the VMs have ended
  1  the VM, or the host, refuses
  2  the command line cannot be understood
  3  no VM of that name runs
  4  the guest did not shut down in time, or the VM does not answer
Of several VMs, it is that of the first that failed.";
