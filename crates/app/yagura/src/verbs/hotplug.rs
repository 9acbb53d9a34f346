//! `yagura attach`, `yagura detach`

use std::path::absolute;

use anyhow::Context;
use vm_control::{AttachDevice, DetachDevice};

use super::Running;
use super::hotplug_arguments::{AttachArguments, DetachArguments, DeviceArgument};
use crate::print::print;

/// Puts a disk or card into a running VM, and prints its name; the exit status.
pub fn attach(arguments: &AttachArguments) -> anyhow::Result<u8> {
    let AttachArguments { name, device } = arguments;
    let device = in_words(device)?;
    let running = Running::here();
    match running.client(name).attach(&device) {
        // A VM's words are a stranger's: its guest may have taken it over.
        Ok(attached) => print(&messages::one_line(&attached.id)).map(|()| 0),
        Err(error) => Ok(running.failed(name, &error).tell()),
    }
}

/// The device in the protocol's words. The VM's process may be in another folder, so a path is made absolute.
fn in_words(device: &DeviceArgument) -> anyhow::Result<AttachDevice> {
    let DeviceArgument { disk, net } = device;
    if let Some(disk) = disk {
        let mut disk = disk.clone();
        disk.path = absolute(&disk.path).with_context(|| format!("disk {}", disk.path.display()))?;
        let path = disk.path.display();
        disk.path.to_str().with_context(|| {
            format!(
                "disk {path}: a VM that runs is told names in UTF-8 only, and this is none; give it a link"
            )
        })?;
        return Ok(AttachDevice::Disk(disk.to_text()));
    }
    let card = net.as_ref().context("neither --disk nor --net is given")?;
    Ok(AttachDevice::Net(card.to_text()))
}

/// Takes a disk or card out of a running VM; the exit status.
pub fn detach(arguments: &DetachArguments) -> u8 {
    let DetachArguments { name, device, timeout, force } = arguments;
    let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
    let wanted = DetachDevice { device: device.clone(), timeout_ms, force: *force };
    let running = Running::here();
    match running.client(name).detach(&wanted) {
        Ok(()) => 0,
        Err(error) => running.failed(name, &error).tell(),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn paths_are_made_absolute_and_names_that_are_no_text_refused() {
        let disk = |path: &OsStr| {
            let disk = vm_spec::DiskSpec::new(path, vm_spec::DiskFormat::Raw);
            in_words(&DeviceArgument { disk: Some(disk), net: None })
        };
        let here = std::env::current_dir().unwrap();
        let AttachDevice::Disk(text) = disk(OsStr::new("a,b")).unwrap() else { panic!("no disk") };
        assert_eq!(text.parse::<vm_spec::DiskSpec>().unwrap().path, here.join("a,b"));
        let error = disk(OsStr::from_bytes(b"/a\xff")).unwrap_err().to_string();
        assert!(error.contains("give it a link"), "{error}");
        let net = DeviceArgument { disk: None, net: Some("tap=tap0,queues=2,id=wan".parse().unwrap()) };
        let AttachDevice::Net(text) = in_words(&net).unwrap() else { panic!("no card") };
        assert_eq!(text.parse(), Ok(net.net.unwrap()));
    }
}
