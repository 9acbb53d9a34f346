//! `yagura resize`

use messages::Bytes;
use vm_client::{ClientError, VmClient};
use vm_control::{FailureClass, ResizeDisk, Status};

use super::Running;
use super::arguments::{ResizeArguments, SizeChange};
use super::failure::Failed;

/// Makes a disk of a running VM longer; the exit status.
pub fn resize(arguments: &ResizeArguments) -> u8 {
    let running = Running::here();
    let vm = running.client(&arguments.name);
    let wanted = match wanted(&vm, arguments) {
        Ok(Ok(wanted)) => wanted,
        Ok(Err(failed)) => return failed.tell(),
        Err(error) => return running.failed(&arguments.name, &error).tell(),
    };
    match vm.resize_disk(&wanted) {
        Ok(()) => 0,
        Err(error) => running.failed(&arguments.name, &error).tell(),
    }
}

/// What to ask for: for a length that is told as more than that of now, the VM says what that is.
fn wanted(vm: &VmClient, arguments: &ResizeArguments) -> Result<Result<ResizeDisk, Failed>, ClientError> {
    let ResizeArguments { name, disk, size } = arguments;
    let by_bytes = match size {
        SizeChange::To(size) => {
            let size_bytes = size.bytes();
            return Ok(Ok(ResizeDisk { disk: disk.clone(), size_bytes, from_bytes: None }));
        }
        SizeChange::By(size) => size.bytes(),
    };
    Ok(longer(&vm.status()?, disk, by_bytes)
        .map_err(|line| Failed { class: FailureClass::Invalid, line: format!("VM {name}: {line}") }))
}

/// The disk, longer by so much than the VM says that it is.
fn longer(status: &Status, disk: &str, by_bytes: u64) -> Result<ResizeDisk, String> {
    let Some(there) = status.disks.iter().find(|there| there.id == disk) else {
        // The VM says it in its own words.
        return Ok(ResizeDisk { disk: disk.to_owned(), size_bytes: by_bytes, from_bytes: Some(0) });
    };
    let from_bytes = there.size_bytes;
    let size_bytes = from_bytes.checked_add(by_bytes).ok_or_else(|| {
        format!(
            "disk {disk} has {}, and that with {} more is larger than any",
            Bytes(from_bytes),
            Bytes(by_bytes)
        )
    })?;
    Ok(ResizeDisk { disk: disk.to_owned(), size_bytes, from_bytes: Some(from_bytes) })
}
