//! What configures an instance.

use std::str::FromStr;

use messages::did_you_mean;
use serde::{Deserialize, Serialize};

use crate::error::{NameError, shown};

/// What configures an instance when it starts for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FirstBoot {
    /// cloud-init, from a NoCloud seed.
    CloudInit,
    /// Yagura's small service, from the same seed. People and recipes call it `service`; what is known of an image has it
    /// as `yagura`.
    #[serde(alias = "service")]
    Yagura,
    /// Nothing.
    None,
}

impl FirstBoot {
    /// As people write it.
    pub const NAMES: [&str; 3] = ["cloud-init", "service", "none"];
}

impl FromStr for FirstBoot {
    type Err = NameError;

    fn from_str(text: &str) -> Result<FirstBoot, NameError> {
        match text {
            "cloud-init" => Ok(FirstBoot::CloudInit),
            "service" => Ok(FirstBoot::Yagura),
            "none" => Ok(FirstBoot::None),
            _ => {
                let hint = did_you_mean(text, FirstBoot::NAMES);
                let (text, names) = (shown(text), FirstBoot::NAMES.join(", "));
                Err(NameError(format!("'{text}' configures no instance (there are {names}){hint}")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_recipes_and_images_call_it_what_they_always_did() {
        let read = |text: &str| serde_json::from_str::<FirstBoot>(&format!("\"{text}\"")).unwrap();
        for name in FirstBoot::NAMES {
            assert_eq!(name.parse::<FirstBoot>().unwrap(), read(name));
        }
        assert_eq!(read("yagura"), FirstBoot::Yagura);
        assert_eq!(serde_json::to_string(&FirstBoot::Yagura).unwrap(), "\"yagura\"");
        let said = "cloudinit".parse::<FirstBoot>().unwrap_err().0;
        assert!(said.ends_with("did you mean 'cloud-init'?"), "{said}");
    }
}
