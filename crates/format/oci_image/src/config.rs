//! Configurations (image-spec, "Image Configuration").

use std::collections::BTreeMap;

use image_model::{Architecture, Digest};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::OciImageError;
use crate::manifest::{parse, platform};

/// Most bytes of words that a configuration may have; no `execve` would take more.
pub const CONFIG_BYTES_MAX: usize = 128 << 10;

/// What a container would be started with, as far as it is used here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OciConfig {
    /// `NAME=value`.
    pub env: Vec<String>,
    /// What is executed, before `cmd`.
    pub entrypoint: Vec<String>,
    /// Its arguments, or what is executed where there is no entry point.
    pub cmd: Vec<String>,
    /// As whom: a name or a number, with `:` and a group behind it perhaps.
    pub user: String,
    /// Where.
    pub working_dir: String,
    /// Folders for data of its own.
    pub volumes: Vec<String>,
    /// The signal that asks it to end, by name or number; empty for the usual one.
    pub stop_signal: String,
    /// What its maker calls it (the label `org.opencontainers.image.title`).
    pub title: Option<String>,
}

impl OciConfig {
    /// Bytes of all its words, with one behind each.
    pub fn words_bytes(&self) -> usize {
        let OciConfig { env, entrypoint, cmd, user, working_dir, volumes, stop_signal, title } = self;
        let lists = env.iter().chain(entrypoint).chain(cmd).chain(volumes);
        lists.chain([user, working_dir, stop_signal]).chain(title).map(|word| word.len() + 1).sum()
    }
}

/// A configuration, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// For which processors.
    pub architecture: Architecture,
    /// What a container would be started with.
    pub config: OciConfig,
    /// The SHA-256 of each layer as it is when it is decompressed.
    pub diff_ids: Vec<Digest>,
}

/// As it is written.
#[derive(Deserialize)]
struct ConfigFile {
    architecture: String,
    os: String,
    config: Option<ConfigForm>,
    rootfs: RootFs,
}

/// `null` is what Go writes for what is empty.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ConfigForm {
    env: Option<Vec<String>>,
    entrypoint: Option<Words>,
    cmd: Option<Words>,
    user: Option<String>,
    working_dir: Option<String>,
    volumes: Option<BTreeMap<String, IgnoredAny>>,
    stop_signal: Option<String>,
    labels: Option<Labels>,
}

/// A list; a word alone is a list of one, as Docker reads images of old.
#[derive(Deserialize)]
#[serde(untagged)]
enum Words {
    Many(Vec<String>),
    One(String),
}

impl From<Words> for Vec<String> {
    fn from(words: Words) -> Vec<String> {
        match words {
            Words::Many(words) => words,
            Words::One(word) => vec![word],
        }
    }
}

/// The one label that is used (image-spec, "Annotations").
#[derive(Deserialize)]
struct Labels {
    #[serde(rename = "org.opencontainers.image.title")]
    title: Option<String>,
}

#[derive(Deserialize)]
struct RootFs {
    #[serde(rename = "type")]
    kind: String,
    diff_ids: Vec<Digest>,
}

impl From<ConfigForm> for OciConfig {
    fn from(form: ConfigForm) -> OciConfig {
        OciConfig {
            env: form.env.unwrap_or_default(),
            entrypoint: form.entrypoint.map(Vec::from).unwrap_or_default(),
            cmd: form.cmd.map(Vec::from).unwrap_or_default(),
            user: form.user.unwrap_or_default(),
            working_dir: form.working_dir.unwrap_or_default(),
            volumes: form.volumes.unwrap_or_default().into_keys().collect(),
            stop_signal: form.stop_signal.unwrap_or_default(),
            title: form.labels.and_then(|labels| labels.title),
        }
    }
}

/// Reads a configuration whose image has `layers` layers.
///
/// # Errors
/// It makes no sense, is for other processors, has other layers, or more words than are taken.
pub fn parse_config(bytes: &[u8], layers: usize, wanted: Architecture) -> Result<Config, OciImageError> {
    let file: ConfigFile = parse(bytes, "configuration")?;
    let architecture = file.architecture.parse::<Architecture>().ok().filter(|_| file.os == "linux");
    let Some(architecture) = architecture.filter(|found| *found == wanted) else {
        return Err(OciImageError::platform(wanted, &[platform(&file.os, &file.architecture)]));
    };
    if file.rootfs.kind != "layers" || file.rootfs.diff_ids.len() != layers {
        return Err(OciImageError::nonsense("its configuration and its manifest differ in their layers"));
    }
    let config = OciConfig::from(file.config.unwrap_or_default());
    if config.words_bytes() > CONFIG_BYTES_MAX {
        let what = format!("its configuration has more than {CONFIG_BYTES_MAX} bytes of words");
        return Err(OciImageError::nonsense(what));
    }
    Ok(Config { architecture, config, diff_ids: file.rootfs.diff_ids })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:abababababababababababababababababababababababababababababababab";

    fn text(config: &str) -> String {
        format!(
            r#"{{"architecture":"amd64","os":"linux","config":{config},
               "rootfs":{{"type":"layers","diff_ids":["{DIGEST}"]}},"history":[]}}"#
        )
    }

    fn read(config: &str) -> Result<OciConfig, OciImageError> {
        parse_config(text(config).as_bytes(), 1, Architecture::X86_64).map(|config| config.config)
    }

    #[test]
    fn configurations_are_read_as_docker_writes_them() {
        let written = r#"{"Env":["A=b"],"Cmd":["sh"],"Entrypoint":null,"User":"www","Unknown":1}"#;
        let config = read(written).unwrap();
        assert_eq!((config.env.len(), config.user.as_str()), (1, "www"));
        assert!(config.entrypoint.is_empty());
        assert_eq!(read("null").unwrap(), OciConfig::default());
        let text = text(written);
        assert!(parse_config(text.as_bytes(), 2, Architecture::X86_64).is_err());
        assert!(parse_config(text.as_bytes(), 1, Architecture::Aarch64).is_err());
        let layerless = text.replace(r#""type":"layers""#, r#""type":"x""#);
        assert!(parse_config(layerless.as_bytes(), 1, Architecture::X86_64).is_err());
    }

    #[test]
    fn commands_volumes_and_signals_in_all_their_forms() {
        let config = read(
            r#"{"Cmd":"single word","Entrypoint":["a","","b\n"],"Volumes":{"/data":{},"/b":null},"StopSignal":"SIGINT"}"#,
        )
        .unwrap();
        assert_eq!(
            (config.cmd, config.entrypoint),
            (vec!["single word".into()], vec!["a".into(), "".into(), "b\n".into()])
        );
        assert_eq!((config.volumes, &*config.stop_signal), (vec!["/b".into(), "/data".into()], "SIGINT"));
        assert_eq!(read(r#"{"Cmd":null,"Volumes":null,"StopSignal":""}"#).unwrap(), OciConfig::default());
    }

    #[test]
    fn one_label_is_kept() {
        let labels = r#"{"Labels":{"a":"b","org.opencontainers.image.title":"App","c":"d"}}"#;
        assert_eq!(read(labels).unwrap().title.as_deref(), Some("App"));
        assert_eq!(read(r#"{"Labels":null}"#).unwrap().title, None);
        assert_eq!(read(r#"{"Labels":{"a":"b"}}"#).unwrap().title, None);
    }

    #[test]
    fn words_have_a_limit() {
        let long = |bytes: usize| format!(r#"{{"Env":["{}"]}}"#, "x".repeat(bytes));
        // Of the environment's word, the user, the folder and the signal, each with one byte behind it.
        assert!(read(&long(CONFIG_BYTES_MAX - 4)).is_ok());
        let error = read(&long(CONFIG_BYTES_MAX - 3)).unwrap_err().to_string();
        assert!(error.contains("bytes of words"), "{error}");
    }
}
