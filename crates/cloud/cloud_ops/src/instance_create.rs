//! From an image to an instance that can be booted: a disk of its own, and what it is told at its first boot.

use std::path::PathBuf;

use disk::DiskFormat;
use first_boot::{DefaultUser, SeedReader};
use image_store::{FirstBoot, Image};
use vm_spec::VmName;

use crate::{Images, OpError, random};

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

/// An instance, ready to be booted.
#[derive(Clone)]
pub struct Instance {
    /// Its name.
    pub name: VmName,
    /// The image it was made of.
    pub image: Image,
    /// Its disk.
    pub disk: PathBuf,
    /// The disk's format.
    pub format: DiskFormat,
    /// The disk that tells it who it is, where its image reads one.
    pub seed: Option<PathBuf>,
    /// A password for the console that was made up now, and whose it is, where the image says that.
    pub login: Option<(Option<String>, String)>,
    /// That nobody will be able to log in, and why.
    pub warning: Option<String>,
}

impl Images {
    /// Makes an instance of `image`. Everything that can be wrong with the choices is found before it is there.
    ///
    /// # Errors
    /// The name is taken, the disk too small, the choices make no sense, or the host refuses.
    pub fn create_instance(
        &self,
        image: &Image,
        name: &VmName,
        size_bytes: Option<u64>,
        choices: &FirstBootChoices,
    ) -> Result<Instance, OpError> {
        let staging = self.store.stage()?;
        let prepared = prepare(image, name, choices)?;
        let seed = staging.file(SEED);
        let mut warning = None;
        if let Some((reader, instance)) = &prepared {
            warning = first_boot::nobody_logs_in(*reader, instance, choices.has_network)
                .map_err(first_boot::SeedError::from)?;
            first_boot::write_seed(*reader, instance, &seed)?;
        }
        let disk = self.store.create_instance_disk(image, name, size_bytes)?;
        let folder = self.store.instance_folder(name);
        let placed = prepared.as_ref().map(|_| {
            let target = folder.join(SEED);
            std::fs::rename(&seed, &target).map_err(OpError::io("make", &target)).map(|()| target)
        });
        let seed = match placed.transpose() {
            Ok(seed) => seed,
            Err(error) => {
                // Without its seed it would come up as nobody; the error that matters is the first one.
                let _ = self.store.remove_instance(name);
                return Err(error);
            }
        };
        let login = prepared
            .and_then(|(_, instance)| instance.user.password.map(|password| (instance.user.name, password)));
        Ok(Instance {
            name: name.clone(),
            image: image.clone(),
            disk: disk.path,
            format: disk.format,
            seed,
            login,
            warning,
        })
    }

    /// An instance that is there.
    ///
    /// # Errors
    /// There is none of this name, or what it says of its image cannot be read.
    pub fn instance(&self, name: &VmName) -> Result<Instance, OpError> {
        let disk = self.store.instance_disk(name)?;
        let seed = Some(self.store.instance_folder(name).join(SEED)).filter(|path| path.is_file());
        let image = self.store.instance_image(name)?;
        Ok(Instance {
            name: name.clone(),
            image,
            disk: disk.path,
            format: disk.format,
            seed,
            login: None,
            warning: None,
        })
    }
}

/// Who reads the seed, and what it says; nothing where the image reads none.
fn prepare(
    image: &Image,
    name: &VmName,
    choices: &FirstBootChoices,
) -> Result<Option<(SeedReader, first_boot::Instance)>, OpError> {
    let about = &image.metadata.description;
    let FirstBootChoices { user_data, network_config, ssh_keys, keys_were_named, has_network: _ } = choices;
    let reader = match about.first_boot {
        FirstBoot::CloudInit => SeedReader::CloudInit,
        FirstBoot::Yagura => SeedReader::Service,
        FirstBoot::None => {
            let asked = user_data.is_some() || network_config.is_some() || *keys_were_named;
            let why =
                "this image configures nothing at its first boot; leave out user data, network and keys";
            return if asked { Err(OpError::Refused(why.to_owned())) } else { Ok(None) };
        }
    };
    // User data may bring a password of its own. Without it the console is the only sure way in.
    let password = user_data.is_none().then(random::password).transpose()?;
    let instance = first_boot::Instance {
        id: random::uuid()?,
        hostname: name.to_string(),
        user: DefaultUser { name: about.default_user.clone(), ssh_keys: ssh_keys.clone(), password },
        user_data: user_data.clone(),
        network_config: network_config.clone(),
    };
    Ok(Some((reader, instance)))
}
