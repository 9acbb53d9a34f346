//! VMs that are made of images: their disks outlive the processes that run them.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, bail};
use cloud_ops::{FirstBootChoices, Images, Instance, OpError};
use image_store::{FirstBoot, ImageReference, StoreError};
use vm_spec::{BlockSize, CpuCount, DiskFormat, DiskSpec, MemorySize, VmName};
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
    let plan = (!has_kernel).then(|| images.boot_plan(&instance)).transpose();
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
    let usual = about.machine.memory_bytes.unwrap_or(MemorySize::default().bytes());
    let memory = usual.max(about.min_memory_bytes).div_ceil(1 << 20);
    let cpus = about.machine.cpus.map(|cpus| CpuCount::try_from(u64::from(cpus))).transpose();
    let settings = InstanceSettings {
        name: name.clone(),
        disks: disks(&instance)?,
        boot,
        exit_status,
        memory: format!("{memory}M").parse().with_context(|| format!("VM {name}"))?,
        cpus: cpus.with_context(|| format!("VM {name}"))?,
        waits_for_network: about.first_boot == FirstBoot::CloudInit,
        cards: about.machine.cards.unwrap_or(0),
    };
    Ok(Prepared { settings, held })
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
    stages.finish();
    let size_bytes = disk_size.map(|size| size.bytes());
    let instance = images
        .create_instance(&image, name, size_bytes, &first_boot)
        .with_context(|| format!("VM {name}"))?;
    if let Some((user, password)) = &instance.login {
        let user = user.as_deref().unwrap_or("the image's own user (it does not say who that is)");
        say(&format!("VM {name}: log in as {user} with the password {password}"));
    }
    if let Some(warning) = &instance.warning {
        say(&format!("VM {name}: warning: {warning}"));
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
    let instance = match images.instance(name) {
        Err(OpError::Store(StoreError::Disk(error))) if error.is_in_use() => {
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

fn disks(instance: &Instance) -> anyhow::Result<Vec<DiskSpec>> {
    let format = match instance.format {
        disk::DiskFormat::Raw => DiskFormat::Raw,
        disk::DiskFormat::Qcow2 => DiskFormat::Qcow2,
    };
    // Their formats are known, so that no guest can lock itself out by what it writes.
    let ours = |id: &str, path: &Path, format| -> anyhow::Result<DiskSpec> {
        let id = Some(id.parse()?);
        Ok(DiskSpec { id, force_raw: format == DiskFormat::Raw, ..DiskSpec::new(path, format) })
    };
    let block_size = instance.image.metadata.description.machine.block_bytes.and_then(BlockSize::of_bytes);
    let mut disks = vec![DiskSpec { block_size, ..ours("disk-root", &instance.disk, format)? }];
    if let Some(path) = &instance.seed {
        let serial = Some(first_boot::SEED_SERIAL.parse()?);
        disks.push(DiskSpec { readonly: true, serial, ..ours("disk-seed", path, DiskFormat::Raw)? });
    }
    Ok(disks)
}

/// `yagura delete`
pub fn delete(InstanceDeleteArguments { names }: &InstanceDeleteArguments) -> anyhow::Result<u8> {
    let images = super::images()?;
    for name in names {
        if !images.store.instance_folder(name).exists() && verbs::snapshot::forget_restored(name)? {
            continue;
        }
        let failed = || format!("VM {name} cannot be deleted");
        let disk = images.store.instance_disk(name).with_context(failed)?;
        // Whoever runs it has its disk locked; and nobody starts it while it goes.
        let _claim = disk::claim(&disk.path).with_context(failed)?;
        images.store.remove_instance(name).with_context(failed)?;
    }
    Ok(0)
}
