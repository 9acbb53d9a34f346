//! VMs that are made of images: their disks outlive the processes that run them.

use std::fs::File;
use std::path::PathBuf;

use anyhow::{Context, bail};
use image_model::{FirstBoot, ImageReference};
use image_ops::Images;
use image_store::StoreError;
use instance_ops::{FirstBootChoices, Instance, InstanceError, Instances};
use vm_spec::VmName;
use yagura_vmm::{runs_already, say};

use super::documents;
use crate::cli::InstanceDeleteArguments;
use crate::progress::Stages;
use crate::settings::{ImageChoices, InstanceSettings};
use crate::verbs;

/// An instance as settings of the VM that runs it.
pub struct Prepared {
    /// The settings.
    pub settings: InstanceSettings,
    /// What they lead to as long as it is open.
    pub held: Vec<File>,
    /// Where the VM's process records the machine, so that it is the same one at each start.
    pub machine: PathBuf,
}

/// The instances of a store of images.
fn instances(images: &Images) -> Instances<'_> {
    Instances { store: &images.store, importer: &images.importer }
}

/// The instance that was asked for, made now if it is not there; `has_kernel` spares looking for one on its disk.
pub fn instance(
    images: &Images,
    choices: &ImageChoices,
    has_kernel: bool,
    has_network: bool,
) -> anyhow::Result<Prepared> {
    let name = instance_name(choices)?;
    // Where that is one of an image, its disk would tell; before anything is made.
    if verbs::runs(&name) {
        bail!("{}", runs_already(&name));
    }
    let known = images.store.instance_folder(&name).exists();
    let instance =
        if known { again(images, &name, choices)? } else { create(images, &name, choices, has_network)? };
    let plan = (!has_kernel).then(|| instances(images).boot_plan(&instance)).transpose();
    if let Some(next) = plan.as_ref().ok().and_then(|plan| plan.as_ref()?.once.as_ref()) {
        say(&format!(
            "VM {name}: the entry '{next}' is started this once, as its boot loader was told (next_entry)"
        ));
    }
    let (boot, exit_status, held) = match plan.with_context(|| format!("VM {name}"))? {
        Some(plan) => (Some((plan.kernel, plan.initrd, plan.cmdline)), plan.exit_status, plan.held),
        None => (None, false, Vec::new()),
    };
    let about = &instance.image.metadata.description;
    let settings = InstanceSettings {
        name: name.clone(),
        disks: instance.disks()?,
        boot,
        exit_status,
        memory: instance.memory().with_context(|| format!("VM {name}"))?,
        cpus: instance.cpus().with_context(|| format!("VM {name}"))?,
        waits_for_network: about.first_boot == FirstBoot::CloudInit,
        cards: about.machine.cards.unwrap_or(0),
    };
    Ok(Prepared { settings, held, machine: instance.machine })
}

/// Removes an instance that has ended.
pub fn forget(images: &Images, name: &VmName) -> anyhow::Result<()> {
    images.store.remove_instance(name).with_context(|| format!("VM {name}"))
}

fn create(
    images: &Images,
    name: &VmName,
    choices: &ImageChoices,
    has_network: bool,
) -> anyhow::Result<Instance> {
    let ImageChoices { image: reference, name: _, disk_size, user_data, network_config, ssh_keys } = choices;
    let first_boot = FirstBootChoices {
        user_data: user_data.as_deref().map(documents::user_data).transpose()?,
        network_config: network_config.as_deref().map(documents::text).transpose()?,
        ssh_keys: if ssh_keys.is_empty() { documents::own_keys() } else { documents::keys(ssh_keys)? },
        keys_were_named: !ssh_keys.is_empty(),
        has_network,
    };
    let mut stages = Stages::new();
    let image = images.obtain(reference, &mut stages).with_context(|| format!("image {reference}"))?;
    let size_bytes = disk_size.map(|size| size.bytes());
    let instance = instances(images)
        .create(&image, name, size_bytes, &first_boot, &mut stages)
        .with_context(|| format!("VM {name}"))?;
    stages.finish();
    if let Some((user, password)) = &instance.login {
        let user = user.as_deref().unwrap_or("the image's own user (it does not say who that is)");
        say(&format!("VM {name}: log in as {user} with the password {password}"));
    }
    if let Some(warning) = &instance.warning {
        say(&format!("VM {name}: warning: {warning}"));
    }
    // Asked for when it was too late to be undone.
    if messages::Watch::is_cancelled(&stages) {
        bail!(
            "VM {name} is made, and not started, as it was interrupted; the same command starts it, 'yagura delete {name}' removes it"
        );
    }
    Ok(instance)
}

/// An instance that is there. What was settled when it was made cannot be settled again.
fn again(images: &Images, name: &VmName, choices: &ImageChoices) -> anyhow::Result<Instance> {
    let ImageChoices { image, name: _, disk_size, user_data, network_config, ssh_keys } = choices;
    let late = (disk_size.map(|_| "--disk-size"))
        .or(user_data.as_ref().map(|_| "--user-data"))
        .or(network_config.as_ref().map(|_| "--network-config"))
        .or((!ssh_keys.is_empty()).then_some("--ssh-key"));
    if let Some(option) = late {
        bail!(
            "VM {name} is there already, and {option} is for a new one; leave it out, or 'yagura delete {name}'"
        );
    }
    let instance = match instances(images).open(name) {
        Err(InstanceError::Store(StoreError::Disk(error))) if error.is_in_use() => {
            bail!("{}", runs_already(name))
        }
        answer => answer.with_context(|| format!("VM {name}"))?,
    };
    if images.store.resolve(image).is_ok_and(|image| image.id != instance.image.id) {
        let own = images.store.name_of(&instance.image);
        say(&format!(
            "VM {name} was made of image {own}, which is not what {image} is now; it keeps its disk"
        ));
    }
    Ok(instance)
}

/// The name that was given, or the image's.
fn instance_name(choices: &ImageChoices) -> anyhow::Result<VmName> {
    if let Some(name) = &choices.name {
        return Ok(name.clone());
    }
    let like = match &choices.image {
        ImageReference::Alias(alias) => alias.to_string(),
        ImageReference::Digest(digest) => format!("vm-{}", &digest.hex()[..8]),
        ImageReference::Prefix(digits) => format!("vm-{}", &digits[..8]),
    };
    VmName::like(&like).with_context(|| format!("image {}: give the VM a name with --name", choices.image))
}

/// `yagura delete`
pub fn delete(InstanceDeleteArguments { names }: &InstanceDeleteArguments) -> anyhow::Result<u8> {
    let images = super::images()?;
    for name in names {
        let is_instance = images.store.instance_folder(name).exists();
        if !is_instance && verbs::snapshot::forget_restored(name)? {
            continue;
        }
        instances(&images).delete(name).with_context(|| format!("VM {name} cannot be deleted"))?;
    }
    Ok(0)
}
