//! `yagura run`: from what was asked for to a VM.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Context;
use snapshot_files::SnapshotId;
use vm_spec::VmName;
use yagura_vmm::logging::LevelFilter;
use yagura_vmm::{Order, beside, hand_over, say};

use crate::cli::RunArguments;
use crate::images;
use crate::settings::{GivenSettings, Request, gather};
use crate::verbs::snapshot::{self, Source};

/// Runs a VM in this process; where it is made of an image, `become_cloud` goes on.
pub fn run(
    arguments: RunArguments,
    log: LevelFilter,
    become_cloud: impl FnOnce() -> anyhow::Result<u8>,
) -> anyhow::Result<u8> {
    let RunArguments { settings, config, restore, rm: _, kvm_device } = arguments;
    let config = config.as_deref();
    // A pipe is read once: by who can go on whatever comes out of it.
    if restore.is_some() || config.is_some_and(|path| path.exists() && !path.is_file()) {
        return become_cloud();
    }
    let settings = gather(settings, config)?;
    match settings.image_choices(config)? {
        None => yagura_vmm::run(order(settings.request(config)?, kvm_device, log)),
        Some(_) => become_cloud(),
    }
}

/// Becomes the process of a VM, after its image is there, if it has one. Returns only if that cannot be.
pub fn run_by_order(arguments: RunArguments, log: LevelFilter) -> anyhow::Result<u8> {
    host_sys::inherited::keep_from_children();
    let RunArguments { settings, config, restore, rm, kvm_device } = arguments;
    let config = config.as_deref();
    let settings = gather(settings, config)?;
    if let Some(id) = restore {
        return run_restored(settings, &id, rm, kvm_device, log);
    }
    let Some(choices) = settings.image_choices(config)? else {
        return Err(hand_over(&order(settings.request(config)?, kvm_device, log), &[]));
    };
    let images = images::images()?;
    let images::Prepared { settings: instance, held, machine } =
        images::instance(&images, &choices, settings.has_kernel(), settings.has_card())?;
    let name = instance.name.clone();
    if let Some(note) = settings.missing_cards(&instance) {
        say(&note);
    }
    let request = settings.with_instance(instance).request(config).map_err(anyhow::Error::from);
    let error = match request.and_then(|request| {
        let afterwards = if rm { removal(&name)? } else { Vec::new() };
        Ok(Order { afterwards, machine: Some(machine), ..order(request, kvm_device, log) })
    }) {
        Ok(order) => hand_over(&order, &held),
        Err(error) => error,
    };
    // Why it does not start comes last.
    if rm && let Err(left) = images::forget(&images, &name) {
        say(&messages::in_words(&*left));
    }
    Err(error)
}

/// Becomes the process of a VM that goes on from a snapshot. Returns only if that cannot be.
fn run_restored(
    settings: GivenSettings,
    id: &SnapshotId,
    rm: bool,
    kvm_device: PathBuf,
    log: LevelFilter,
) -> anyhow::Result<u8> {
    settings.check_restored()?;
    let source = Source::open(id)?;
    let name = match settings.name() {
        Some(name) => name.clone(),
        None => VmName::like(&id.to_string()).context("give the VM a name with --name")?,
    };
    let vm = source.new_vm(&name)?;
    let error = match settings.restored_request(vm).map_err(anyhow::Error::from).and_then(|request| {
        let afterwards = if rm { removal(&name)? } else { Vec::new() };
        let restore = Some(source.folder().to_owned());
        Ok(Order { afterwards, restore, ..order(request, kvm_device, log) })
    }) {
        Ok(order) => hand_over(&order, &[]),
        Err(error) => error,
    };
    // Why it does not start comes last.
    if let Err(left) = snapshot::forget_restored(&name) {
        say(&messages::in_words(&*left));
    }
    Err(error)
}

/// What removes a VM that was made of an image.
fn removal(name: &VmName) -> anyhow::Result<Vec<OsString>> {
    Ok(vec![beside("yagura")?.into(), "delete".into(), name.as_str().into()])
}

pub fn order(request: Request, kvm_device: PathBuf, log: LevelFilter) -> Order {
    let Request { spec, another_name_will_do, engine, jit, control } = request;
    let (log, afterwards) = (log.to_string(), Vec::new());
    Order {
        spec,
        another_name_will_do,
        engine,
        jit,
        kvm_device,
        control,
        machine: None,
        log,
        afterwards,
        restore: None,
        started: None,
    }
}
