//! Images as tables, JSON, YAML and CSV.

use image_model::{Alias, FirstBoot, MachineDefaults};
use image_store::{BootWay, DamageKind, DamagedBlob, Image};
use serde::Serialize;
use serde_json::json;

use crate::cli::ListFormat;
use crate::print::empty_table;

/// A line of a listing.
pub trait Line: Serialize {
    /// The columns' heads.
    const HEADS: &'static [&'static str];

    /// The columns.
    fn cells(&self) -> Vec<String>;
}

/// A line of `image list`.
#[derive(Debug, Serialize)]
pub struct ImageRow {
    names: String,
    digest: Option<String>,
    system: String,
    disk_bytes: Option<u64>,
    built: Option<String>,
    description: String,
}

impl ImageRow {
    /// An image that is here.
    pub fn of(image: &Image, aliases: &[Alias]) -> ImageRow {
        let about = &image.metadata.description;
        ImageRow {
            names: joined(aliases),
            digest: Some(image.id.short()),
            system: format!("{} {} {}", about.os, about.release, about.architecture),
            disk_bytes: Some(image.metadata.disk_bytes),
            built: Some(about.built.to_string()),
            description: about.description.clone(),
        }
    }

    /// A name that can be pulled.
    pub fn offered(name: &str, description: &str) -> ImageRow {
        ImageRow {
            names: name.to_owned(),
            digest: None,
            system: String::new(),
            disk_bytes: None,
            built: None,
            description: description.to_owned(),
        }
    }
}

impl Line for ImageRow {
    const HEADS: &'static [&'static str] = &["name", "digest", "system", "disk", "built", "description"];

    fn cells(&self) -> Vec<String> {
        vec![
            or_dash(Some(self.names.clone())),
            or_dash(self.digest.clone()),
            self.system.clone(),
            or_dash(self.disk_bytes.map(bytes)),
            or_dash(self.built.clone()),
            self.description.clone(),
        ]
    }
}

/// A cell, which is never empty.
pub fn or_dash(text: Option<String>) -> String {
    text.filter(|text| !text.is_empty()).unwrap_or_else(|| "-".to_owned())
}

/// A listing; `nothing` says what to do where it has no lines.
pub fn list<L: Line>(rows: &[L], nothing: &str, format: ListFormat) -> anyhow::Result<String> {
    Ok(match format {
        ListFormat::Table if rows.is_empty() => nothing.to_owned(),
        ListFormat::Table => {
            let mut table = empty_table();
            table.set_header(L::HEADS);
            table.add_rows(rows.iter().map(Line::cells));
            table.to_string()
        }
        ListFormat::Json => serde_json::to_string_pretty(rows)?,
        ListFormat::Yaml => serde_saphyr::to_string(&rows)?.trim_end().to_owned(),
        ListFormat::Csv => {
            let line = |cells: Vec<String>| cells.iter().map(|cell| csv(cell)).collect::<Vec<_>>().join(",");
            let heads = L::HEADS.iter().map(|head| (*head).to_owned()).collect();
            let lines = std::iter::once(heads).chain(rows.iter().map(Line::cells)).map(line);
            lines.collect::<Vec<_>>().join("\n")
        }
    })
}

/// A cell of CSV (RFC 4180).
fn csv(cell: &str) -> String {
    if cell.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.to_owned()
    }
}

/// What is known of an image.
pub fn show_table(image: &Image, aliases: &[Alias]) -> String {
    let about = &image.metadata.description;
    let rows = [
        ("names", joined(aliases)),
        ("digest", image.id.hex()),
        ("system", format!("{} {} ({})", about.os, about.release, about.architecture)),
        ("description", about.description.clone()),
        ("boots", boot_way(&image.metadata.boot)),
        ("first boot", first_boot(about.first_boot).to_owned()),
        ("user", about.default_user.clone().unwrap_or_else(|| "-".to_owned())),
        ("disk", bytes(image.metadata.smallest_disk_bytes())),
        ("memory", bytes(about.min_memory_bytes)),
        ("machine", machine(&about.machine)),
        ("source", about.source.to_string()),
        ("built", about.built.to_string()),
        ("disk's digest", image.metadata.disk.hex()),
    ];
    let mut table = empty_table();
    table.add_rows(rows.map(|(what, value)| [what.to_owned(), value]));
    table.to_string()
}

/// The same for a program.
pub fn show_json(image: &Image, aliases: &[Alias]) -> String {
    let names: Vec<&str> = aliases.iter().map(Alias::as_str).collect();
    let value = json!({ "digest": image.id.hex(), "names": names, "metadata": image.metadata });
    format!("{value:#}")
}

/// A line about a file that is not what it was.
pub fn damage(damage: &DamagedBlob) -> String {
    let what = match &damage.kind {
        DamageKind::Missing => "is gone".to_owned(),
        DamageKind::Changed(path) => format!("has changed; it is now {}", path.display()),
    };
    let images: Vec<String> = damage.images.iter().map(|image| image.id.short()).collect();
    let instances: Vec<String> = damage.instances.iter().map(ToString::to_string).collect();
    let again = damage.images.iter().any(|image| image.metadata.description.source.can_be_fetched_again());
    let advice = if again { "pull it again" } else { "delete the image and make it again" };
    format!(
        "the file {} {what}; images that need it: {}; instances: {}; {advice}",
        damage.blob.short(),
        or_none(&images),
        or_none(&instances)
    )
}

fn or_none(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// Names in one cell.
pub fn joined(aliases: &[Alias]) -> String {
    aliases.iter().map(Alias::as_str).collect::<Vec<_>>().join(", ")
}

/// What its machines have where nobody says otherwise.
fn machine(machine: &MachineDefaults) -> String {
    let MachineDefaults { cpus, memory_bytes, cards, block_bytes } = machine;
    let parts = [
        cpus.map(|cpus| format!("{cpus} vCPUs")),
        memory_bytes.map(|memory| format!("{} of memory", bytes(memory))),
        cards.map(|cards| format!("{cards} network cards")),
        block_bytes.map(|block| format!("a disk with blocks of {block} bytes")),
    ];
    or_dash(Some(parts.into_iter().flatten().collect::<Vec<_>>().join(", ")))
}

fn boot_way(way: &BootWay) -> String {
    match way {
        BootWay::Kernel { cmdline, .. } => format!("with a kernel of its own, '{cmdline}'"),
        BootWay::FromDisk => "with the kernel on its disk".to_owned(),
        BootWay::Firmware => "by firmware only".to_owned(),
    }
}

fn first_boot(kind: FirstBoot) -> &'static str {
    match kind {
        FirstBoot::CloudInit => "cloud-init",
        FirstBoot::Yagura => "small service",
        FirstBoot::None => "nothing",
    }
}

/// A number of bytes as a person reads it.
pub fn bytes(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_of_csv_are_quoted_where_they_must_be() {
        assert_eq!((csv("a b"), csv("a,\"b\"")), ("a b".to_owned(), "\"a,\"\"b\"\"\"".to_owned()));
        let rows = [ImageRow::offered("debian/12", "a, b")];
        let list = |rows: &[ImageRow], format| list(rows, "no images yet", format);
        assert!(list(&rows, ListFormat::Csv).unwrap().starts_with("name,digest,"));
        assert!(list(&rows, ListFormat::Yaml).unwrap().contains("names: debian/12"));
        assert!(list(&[], ListFormat::Table).unwrap().contains("no images yet"));
    }
}
