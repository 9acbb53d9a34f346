//! `yagura run`: from what was asked for to the process of a VM.

use std::ffi::OsString;
use std::fs::File;
use std::path::PathBuf;

use anyhow::Context;
use vm_spec::VmName;
use yagura_vmm::logging::LevelFilter;
use yagura_vmm::{Order, hand_over};

use crate::cli::RunArguments;
use crate::images;
use crate::settings::{Request, gather};

/// Becomes the process of a VM. Returns only if that cannot be.
pub fn run(arguments: RunArguments, log: LevelFilter) -> anyhow::Result<u8> {
    let RunArguments { settings, config, rm, kvm_device } = arguments;
    let config = config.as_deref();
    let settings = gather(settings, config)?;
    let Some(choices) = settings.image_choices(config)? else {
        return become_vm(settings.request(config)?, kvm_device, log, &[], Vec::new());
    };
    let images = images::images()?;
    let images::Prepared { settings: instance, held } =
        images::instance(&images, &choices, settings.has_kernel())?;
    let name = instance.name.clone();
    let answer =
        settings.with_instance(instance).request(config).map_err(anyhow::Error::from).and_then(|request| {
            let afterwards = if rm { removal(&name)? } else { Vec::new() };
            become_vm(request, kvm_device, log, &held, afterwards)
        });
    if rm {
        images::forget(&images, &name)?;
    }
    answer
}

/// What removes a VM that was made of an image.
fn removal(name: &VmName) -> anyhow::Result<Vec<OsString>> {
    let own = std::env::current_exe().context("cannot find out where yagura is")?;
    Ok(vec![own.into(), "delete".into(), name.as_str().into()])
}

fn become_vm(
    request: Request,
    kvm_device: PathBuf,
    log: LevelFilter,
    held: &[File],
    afterwards: Vec<OsString>,
) -> anyhow::Result<u8> {
    let Request { spec, engine, jit, control } = request;
    let order = Order { spec, engine, jit, kvm_device, control, log: log.to_string(), afterwards };
    Err(hand_over(&order, held))
}
