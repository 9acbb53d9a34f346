//! What a child answered, as far as it can be: bounded, and text without control characters.

use oci_image::{ArchivedImage, CONFIG_BYTES_MAX, LAYERS_MAX, OciOptions, check_sizes};

use crate::appliance::{Appliance, ApplianceDisk, CPUS_MAX, DISKS_MAX, MEMORY_BYTES};
use crate::error::ImportError;
use crate::inputs::{Boot, BootRoot, Described};
use crate::text::{TEXT_BYTES_MAX, printable};

/// Most notes, and most lines of an os-release.
const LINES_MAX: usize = 64;

/// Most files of a disk.
const EXTENTS_MAX: usize = 128;
/// Longest name of a file on Linux.
const NAME_BYTES_MAX: usize = 255;

pub(crate) fn impossible(name: &str, what: &'static str) -> ImportError {
    ImportError::Impossible { name: printable(name), what }
}

pub(crate) fn check_described(described: Described, name: &str) -> Result<Described, ImportError> {
    let Described { size_bytes, kind, backing, extents } = described;
    let long =
        kind.len() > TEXT_BYTES_MAX || backing.as_ref().is_some_and(|name| name.len() > TEXT_BYTES_MAX);
    if long || extents.len() > EXTENTS_MAX {
        return Err(impossible(name, "a description without end"));
    }
    if extents.iter().any(|name| name.len() > NAME_BYTES_MAX || name.contains(char::is_control)) {
        return Err(impossible(name, "names that are none"));
    }
    let (kind, backing) = (printable(&kind), backing.as_deref().map(printable));
    Ok(Described { size_bytes, kind, backing, extents })
}

/// The same in text that can be shown, or nothing if there is too much of it.
pub(crate) fn check_boot(boot: Boot, name: &str) -> Result<Boot, ImportError> {
    let Boot {
        kernel_bytes,
        initrd_bytes,
        cmdline,
        kernel_path,
        chosen_by,
        notes,
        os_release,
        root,
        next_entry,
    } = boot;
    if kernel_bytes == 0 || notes.len() > LINES_MAX || os_release.len() > LINES_MAX {
        return Err(impossible(name, "no kernel, or text without end"));
    }
    // Half a command line would boot something else.
    if cmdline.len() > TEXT_BYTES_MAX {
        return Err(impossible(name, "a command line without end"));
    }
    // It is kept, and compared with what is read the next time.
    if next_entry.as_ref().is_some_and(|next| next.len() > TEXT_BYTES_MAX || next.contains(char::is_control))
    {
        return Err(impossible(name, "an entry that no menu has"));
    }
    let pairs = os_release.iter().map(|(key, value)| (printable(key), printable(value)));
    Ok(Boot {
        kernel_bytes,
        initrd_bytes,
        cmdline: printable(&cmdline),
        kernel_path: printable(&kernel_path),
        chosen_by: printable(&chosen_by),
        notes: notes.iter().map(|note| printable(note)).collect(),
        os_release: pairs.collect(),
        root: root.map(|root| BootRoot {
            kind: printable(&root.kind),
            partition: root.partition,
            uuid: root.uuid.as_deref().map(printable),
            partition_uuid: root.partition_uuid.as_deref().map(printable),
            subvolume: root.subvolume.as_deref().map(printable),
        }),
        next_entry,
    })
}

/// An appliance whose disks lie in its archive, in bounded text.
pub(crate) fn check_appliance(
    appliance: Appliance,
    archive_bytes: Option<u64>,
    name: &str,
) -> Result<Appliance, ImportError> {
    let Appliance { name: own_name, system, cpus, memory_bytes, cards, disks, notes } = appliance;
    if disks.len() > DISKS_MAX || notes.len() > LINES_MAX + DISKS_MAX {
        return Err(impossible(name, "disks or text without end"));
    }
    if cpus.is_some_and(|cpus| !(1..=CPUS_MAX).contains(&cpus))
        || memory_bytes.is_some_and(|bytes| !MEMORY_BYTES.contains(&bytes))
    {
        return Err(impossible(name, "vCPUs or memory that no machine has"));
    }
    let is_file = |name: &String| name.len() <= NAME_BYTES_MAX && !name.contains(['/', '\0']);
    if !disks.iter().filter_map(|disk| disk.file.as_ref()).all(is_file) {
        return Err(impossible(name, "names that are none"));
    }
    let lies_there = |disk: &ApplianceDisk| match (disk.range, archive_bytes) {
        (Some(range), Some(archive_bytes)) => range.lies_in(archive_bytes),
        (Some(_), None) => false,
        (None, _) => true,
    };
    if !disks.iter().all(lies_there) {
        return Err(impossible(name, "disks that do not lie in the archive"));
    }
    Ok(Appliance {
        name: own_name.as_deref().map(printable),
        system: system.as_deref().map(printable),
        cpus,
        memory_bytes,
        cards,
        disks,
        notes: notes.iter().map(|note| printable(note)).collect(),
    })
}

/// An image for these processors, with layers that lie in the archive. Its words are data for a guest, of any bytes.
pub(crate) fn check_archived(
    image: ArchivedImage,
    archive_bytes: u64,
    options: OciOptions,
    name: &str,
) -> Result<ArchivedImage, ImportError> {
    let ranges = || image.layers.iter().map(|layer| layer.range);
    if image.architecture != options.architecture {
        return Err(impossible(name, "an image for other processors"));
    }
    if image.layers.is_empty() || image.layers.len() > LAYERS_MAX {
        return Err(impossible(name, "no layers, or layers without end"));
    }
    if image.config.words_bytes() > CONFIG_BYTES_MAX {
        return Err(impossible(name, "a configuration without end"));
    }
    if !ranges().all(|range| range.lies_in(archive_bytes)) {
        return Err(impossible(name, "layers that do not lie in the archive"));
    }
    if check_sizes(ranges().map(|range| range.length_bytes), options).is_err() {
        return Err(impossible(name, "more layers than were allowed"));
    }
    Ok(image)
}

#[cfg(test)]
mod tests {
    use image_model::{Architecture, Digest};
    use oci_image::{ArchivedLayer, ByteRange, LayerCompression, OciConfig};

    use super::*;

    fn image(ranges: &[(u64, u64)]) -> ArchivedImage {
        let digest = Digest::from_bytes([7; 32]);
        let layers = ranges.iter().map(|(offset_bytes, length_bytes)| ArchivedLayer {
            range: ByteRange { offset_bytes: *offset_bytes, length_bytes: *length_bytes },
            compression: LayerCompression::None,
            digest,
            diff_id: digest,
        });
        let (layers, config) = (layers.collect(), OciConfig::default());
        ArchivedImage { architecture: Architecture::X86_64, digest, layers, config }
    }

    #[track_caller]
    fn refused(image: ArchivedImage) -> String {
        let options = OciOptions { architecture: Architecture::X86_64, bytes_max: 500 };
        check_archived(image, 1000, options, "a.tar").unwrap_err().to_string()
    }

    #[test]
    fn names_of_extents_are_not_believed() {
        let described = |extents| Described { size_bytes: 1, kind: String::new(), backing: None, extents };
        assert!(check_described(described(vec!["a-flat.vmdk".to_owned()]), "a").is_ok());
        for bad in [vec!["a\nb".to_owned()], vec!["a".repeat(256)], vec!["a".to_owned(); 129]] {
            check_described(described(bad), "a").unwrap_err();
        }
    }

    #[test]
    fn images_in_archives_are_not_believed() {
        let options = OciOptions { architecture: Architecture::X86_64, bytes_max: 500 };
        let good = image(&[(512, 100), (512, 100), (900, 100)]);
        assert_eq!(check_archived(good.clone(), 1000, options, "a.tar").unwrap(), good);
        for beyond in [(901, 100), (1001, 0), (u64::MAX, 2), (2, u64::MAX)] {
            let line = refused(image(&[(0, 1), beyond]));
            assert!(line.contains("a.tar") && line.contains("do not lie in the archive"), "{line}");
        }
        assert!(refused(image(&[(0, 300), (0, 300)])).contains("more layers than were allowed"));
        assert!(refused(image(&[])).contains("no layers"));
        assert!(refused(image(&[(0, 0); 513])).contains("layers without end"));
        let other = ArchivedImage { architecture: Architecture::Riscv64, ..good.clone() };
        assert!(refused(other).contains("other processors"));
        let config = OciConfig { user: "x".repeat(CONFIG_BYTES_MAX), ..OciConfig::default() };
        assert!(refused(ArchivedImage { config, ..good }).contains("without end"));
    }
}
