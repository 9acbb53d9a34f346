//! From an image to an instance that can be booted: a disk of its own, and what it is told at its first boot.

use first_boot::{DefaultUser, SeedReader};
use image_model::FirstBoot;
use image_store::{Image, StoreError};
use messages::{Watch, step};
use vm_spec::VmName;

use crate::record::{self, InstanceRecord};
use crate::{Instance, InstanceError, Instances, random};

/// The seed's file in an instance's folder.
pub(crate) const SEED: &str = "seed";

/// What a person wants of the first boot.
#[derive(Clone, Default)]
pub struct FirstBootChoices {
    /// Whatever cloud-init takes.
    pub user_data: Option<Vec<u8>>,
    /// A network configuration, version 2.
    pub network_config: Option<String>,
    /// Lines for the default user's `authorized_keys`.
    pub ssh_keys: Vec<String>,
    /// Whether a person named these keys, rather than having them in the usual place.
    pub keys_were_named: bool,
    /// Whether the machine has a network card.
    pub has_network: bool,
}

impl Instances<'_> {
    /// Makes an instance of `image`. Everything that can be wrong with the choices is found before it is there; all of it
    /// is prepared in a staging folder, which becomes the instance's own in one step.
    ///
    /// # Errors
    /// The name is taken, the disk too small, the choices make no sense, nobody wants it any more, or the host refuses.
    /// Then nothing of it is there.
    pub fn create(
        &self,
        image: &Image,
        name: &VmName,
        size_bytes: Option<u64>,
        choices: &FirstBootChoices,
        watch: &mut dyn Watch,
    ) -> Result<Instance, InstanceError> {
        step(watch, "making the instance")?;
        let record = InstanceRecord::new(name, image)?;
        let prepared = prepare(image, &record, choices)?;
        let staging = self.store.stage()?;
        let mut warning = None;
        if let Some((reader, guest)) = &prepared {
            step(watch, "writing what it is told at its first boot")?;
            warning = first_boot::nobody_logs_in(*reader, guest, choices.has_network)
                .map_err(first_boot::SeedError::from)?;
            first_boot::write_seed(*reader, guest, &staging.file(SEED))?;
        }
        step(watch, "recording it")?;
        let path = staging.file(record::FILE);
        record.write(&path).map_err(StoreError::io("write", &path))?;
        step(watch, "making its disk")?;
        let disk = self.store.create_instance_in(&staging, image, name, size_bytes)?;
        let login =
            prepared.and_then(|(_, guest)| guest.user.password.map(|password| (guest.user.name, password)));
        Ok(Instance { login, warning, ..self.with(record, image.clone(), disk) })
    }
}

/// Who reads the seed, and what it says; nothing where the image reads none.
fn prepare(
    image: &Image,
    record: &InstanceRecord,
    choices: &FirstBootChoices,
) -> Result<Option<(SeedReader, first_boot::Instance)>, InstanceError> {
    let about = &image.metadata.description;
    let FirstBootChoices { user_data, network_config, ssh_keys, keys_were_named, has_network: _ } = choices;
    let reader = match about.first_boot {
        FirstBoot::CloudInit => SeedReader::CloudInit,
        FirstBoot::Yagura => SeedReader::Service,
        FirstBoot::None => {
            let asked = user_data.is_some() || network_config.is_some() || *keys_were_named;
            let why =
                "this image configures nothing at its first boot; leave out user data, network and keys";
            return if asked { Err(InstanceError::Refused(why.to_owned())) } else { Ok(None) };
        }
    };
    // User data may bring a password of its own. Without it the console is the only sure way in.
    let password = user_data.is_none().then(random::password).transpose()?;
    let instance = first_boot::Instance {
        id: record.uuid.clone(),
        hostname: record.name.to_string(),
        user: DefaultUser { name: about.default_user.clone(), ssh_keys: ssh_keys.clone(), password },
        user_data: user_data.clone(),
        network_config: network_config.clone(),
    };
    Ok(Some((reader, instance)))
}

#[cfg(test)]
mod tests;
