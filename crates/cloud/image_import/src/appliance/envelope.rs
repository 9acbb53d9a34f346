//! The description: XML whose parts are found by their local names, in whichever version's namespace.

use std::collections::BTreeMap;

use messages::Bytes;
use roxmltree::{Document, Node, ParsingOptions};

use super::units::bytes_of;
use super::{
    Appliance, ApplianceDisk, ApplianceError, CPUS_MAX, DISKS_MAX, MEMORY_BYTES, damaged, unsupported,
};
use crate::text::printable;

/// Longest description that is read, in bytes.
pub(super) const BYTES_MAX: u64 = 4 << 20;
/// More elements, attributes and texts than any description has.
const NODES_MAX: u32 = 200_000;
/// Kinds of hardware (CIM_ResourceAllocationSettingData.ResourceType).
const CPU: &str = "3";
const MEMORY: &str = "4";
const ETHERNET: &str = "10";
const DISK: &str = "17";

/// A file that the description refers to.
struct FileRef<'a> {
    name: &'a str,
    is_split: bool,
}

/// Reads a description. Its disks' files are named, and not yet found.
///
/// # Errors
/// It makes no sense, or describes more than one machine.
pub fn read_envelope(text: &[u8]) -> Result<Appliance, ApplianceError> {
    let text = std::str::from_utf8(text).map_err(|_| unsupported("a description that is not UTF-8"))?;
    // No document type is allowed, so that no entity can stand for more than it is.
    let options = ParsingOptions { allow_dtd: false, nodes_limit: NODES_MAX, ..ParsingOptions::default() };
    let document = Document::parse_with_options(text, options).map_err(|error| {
        let at = error.pos();
        damaged(format!("its description is no XML that is taken (line {}, column {})", at.row, at.col))
    })?;
    let root = document.root_element();
    if root.tag_name().name() != "Envelope" {
        return Err(damaged("its description is none of an appliance"));
    }
    let systems: Vec<Node<'_, '_>> = all(root, "VirtualSystem").collect();
    let [system] = systems.as_slice() else {
        return Err(unsupported(format!("{} machines in it (export one alone)", systems.len())));
    };
    let mut appliance = hardware(*system)?;
    appliance.disks = disks(root, *system)?;
    Ok(appliance)
}

/// What the machine has, but for its disks.
fn hardware(system: Node<'_, '_>) -> Result<Appliance, ApplianceError> {
    let name = child_text(system, "Name").or_else(|| attribute(system, "id"));
    let os = all(system, "OperatingSystemSection").next().and_then(|os| child_text(os, "Description"));
    let shown = |text: &str| Some(printable(text.trim())).filter(|text| !text.is_empty());
    let mut appliance =
        Appliance { name: name.and_then(shown), system: os.and_then(shown), ..Appliance::default() };
    // Each is told once, however often the description says it.
    let (mut odd_cpus, mut odd_memory) = (None, None);
    for item in items(system) {
        match child_text(item, "ResourceType") {
            Some(CPU) => {
                let cpus = quantity(item, "vCPUs")?;
                match u32::try_from(cpus).ok().filter(|cpus| (1..=CPUS_MAX).contains(cpus)) {
                    Some(cpus) => appliance.cpus = Some(cpus),
                    None => odd_cpus = Some(cpus),
                }
            }
            Some(MEMORY) => {
                let unit = child_text(item, "AllocationUnits").unwrap_or("MegaBytes");
                let bytes = in_bytes("memory", quantity(item, "memory")?, unit)?;
                if MEMORY_BYTES.contains(&bytes) {
                    appliance.memory_bytes = Some(bytes);
                } else {
                    odd_memory = Some(bytes);
                }
            }
            Some(ETHERNET) => appliance.cards += 1,
            _ => {}
        }
    }
    let odd_cpus = odd_cpus.map(|cpus| {
        format!("it asks for {cpus} vCPUs, and there are 1 to {CPUS_MAX}: the usual number is taken")
    });
    let odd_memory = odd_memory.map(|bytes| {
        format!("it asks for {} of memory, which no machine has: the usual amount is taken", Bytes(bytes))
    });
    appliance.notes.extend(odd_cpus.into_iter().chain(odd_memory));
    Ok(appliance)
}

/// The first description of the hardware, without what is for other sizes of it and what only bounds it.
fn items<'a>(system: Node<'a, 'a>) -> impl Iterator<Item = Node<'a, 'a>> {
    let section = all(system, "VirtualHardwareSection").next();
    let items = section.into_iter().flat_map(|section| section.children());
    items.filter(|item| {
        matches!(item.tag_name().name(), "Item" | "StorageItem" | "EthernetPortItem")
            && attribute(*item, "bound").is_none()
            && attribute(*item, "configuration").is_none()
    })
}

/// The disks that are attached, as their controllers have them; all that are described if none is said to be attached.
fn disks(root: Node<'_, '_>, system: Node<'_, '_>) -> Result<Vec<ApplianceDisk>, ApplianceError> {
    let mut files = BTreeMap::new();
    for file in all(root, "File") {
        if let (Some(id), Some(name)) = (attribute(file, "id"), attribute(file, "href")) {
            files.insert(id, FileRef { name, is_split: attribute(file, "chunkSize").is_some() });
        }
    }
    let described: Vec<Node<'_, '_>> = all(root, "Disk").collect();
    if described.len() > DISKS_MAX {
        return Err(unsupported(format!("more than {DISKS_MAX} disks")));
    }
    let mut attached = Vec::new();
    for item in items(system).filter(|item| child_text(*item, "ResourceType") == Some(DISK)) {
        let number = |name| child_text(item, name).and_then(|text| text.parse::<u64>().ok());
        let resource = child_text(item, "HostResource").unwrap_or_default();
        attached.push(((number("Parent"), number("AddressOnParent")), resource));
    }
    attached.sort_by_key(|(place, _)| *place);
    if attached.is_empty() {
        return described.into_iter().map(|disk| read_disk(disk, &files)).collect();
    }
    if attached.len() > DISKS_MAX {
        return Err(unsupported(format!("more than {DISKS_MAX} disks")));
    }
    let find = |resource: &str| {
        let resource = resource.strip_prefix("ovf:").unwrap_or(resource);
        if let Some(id) = resource.strip_prefix("/file/") {
            return Ok(ApplianceDisk { file: Some(file_name(id, &files)?), ..ApplianceDisk::default() });
        }
        let id = resource.strip_prefix("/disk/");
        let disk = id.and_then(|id| described.iter().find(|disk| attribute(**disk, "diskId") == Some(id)));
        let disk = disk.ok_or_else(|| damaged(format!("it has no disk '{}'", printable(resource))))?;
        read_disk(*disk, &files)
    };
    attached.into_iter().map(|(_, resource)| find(resource)).collect()
}

fn read_disk(
    disk: Node<'_, '_>,
    files: &BTreeMap<&str, FileRef<'_>>,
) -> Result<ApplianceDisk, ApplianceError> {
    if attribute(disk, "parentRef").is_some_and(|parent| !parent.is_empty()) {
        return Err(unsupported("a disk in front of another one (remove the snapshots, then export it)"));
    }
    let file = attribute(disk, "fileRef").filter(|id| !id.is_empty());
    let file = file.map(|id| file_name(id, files)).transpose()?;
    let unit = attribute(disk, "capacityAllocationUnits").filter(|unit| !unit.trim().is_empty());
    let capacity = attribute(disk, "capacity").map(str::trim).filter(|text| !text.is_empty());
    let capacity = capacity.map(|text| {
        let number = text.parse().map_err(|_| damaged(format!("a disk is '{}' long", printable(text))))?;
        in_bytes("a disk", number, unit.unwrap_or("byte"))
    });
    Ok(ApplianceDisk { file, range: None, capacity_bytes: capacity.transpose()? })
}

fn file_name(id: &str, files: &BTreeMap<&str, FileRef<'_>>) -> Result<String, ApplianceError> {
    let file = files.get(id).ok_or_else(|| damaged(format!("it has no file '{}'", printable(id))))?;
    let name = file.name.strip_prefix("./").unwrap_or(file.name);
    if file.is_split {
        return Err(unsupported(format!("the file {} in pieces", printable(name))));
    }
    if name.is_empty() || name.contains('/') || name.contains(char::is_control) || name == ".." {
        return Err(unsupported(format!(
            "the file '{}', which is not beside its description",
            printable(name)
        )));
    }
    Ok(name.to_owned())
}

fn quantity(item: Node<'_, '_>, what: &str) -> Result<u64, ApplianceError> {
    let text = child_text(item, "VirtualQuantity").unwrap_or_default();
    text.parse().map_err(|_| damaged(format!("it has '{}' of {what}", printable(text))))
}

fn in_bytes(what: &str, number: u64, unit: &str) -> Result<u64, ApplianceError> {
    let bytes = bytes_of(unit).and_then(|bytes| bytes.checked_mul(number));
    bytes.ok_or_else(|| damaged(format!("{what} is {number} times '{}' long", printable(unit))))
}

/// All elements of this name below a node.
fn all<'a>(node: Node<'a, 'a>, name: &'static str) -> impl Iterator<Item = Node<'a, 'a>> {
    node.descendants().filter(move |node| node.is_element() && node.tag_name().name() == name)
}

fn attribute<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    node.attributes().find(|attribute| attribute.name() == name).map(|attribute| attribute.value())
}

fn child_text<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    node.children().find(|child| child.tag_name().name() == name)?.text().map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "<?xml version=\"1.0\"?>\n<Envelope xmlns=\"http://schemas.dmtf.org/ovf/envelope/1\" \
        xmlns:ovf=\"http://schemas.dmtf.org/ovf/envelope/1\" xmlns:rasd=\"urn:rasd\">";

    fn envelope(files: &str, disks: &str, hardware: &str) -> String {
        format!(
            "{HEAD}<References>{files}</References><DiskSection><Info/>{disks}</DiskSection>\
             <VirtualSystem ovf:id=\"web\"><Info/><OperatingSystemSection><Info/>\
             <Description>Debian</Description></OperatingSystemSection>\
             <VirtualHardwareSection>{hardware}</VirtualHardwareSection></VirtualSystem></Envelope>"
        )
    }

    fn item(kind: u32, rest: &str) -> String {
        format!("<Item><rasd:ResourceType>{kind}</rasd:ResourceType>{rest}</Item>")
    }

    const FILES: &str = "<File ovf:id=\"f1\" ovf:href=\"a.vmdk\"/><File ovf:id=\"f2\" ovf:href=\"b.vmdk\"/>";
    const DISKS: &str = "<Disk ovf:diskId=\"d1\" ovf:fileRef=\"f1\" ovf:capacity=\"8\" \
        ovf:capacityAllocationUnits=\"byte * 2^30\"/><Disk ovf:diskId=\"d2\" ovf:fileRef=\"f2\" ovf:capacity=\"4096\"/>";

    fn read(text: &str) -> Result<Appliance, String> {
        read_envelope(text.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn machines_are_read_as_programs_describe_them() {
        let attach = |id, at| {
            item(
                17,
                &format!(
                    "<rasd:AddressOnParent>{at}</rasd:AddressOnParent><rasd:HostResource>{id}</rasd:HostResource>\
                 <rasd:Parent>3</rasd:Parent>"
                ),
            )
        };
        let hardware = [
            item(3, "<rasd:VirtualQuantity>4</rasd:VirtualQuantity>"),
            item(
                4,
                "<rasd:AllocationUnits>byte * 2^20</rasd:AllocationUnits><rasd:VirtualQuantity>2048</rasd:VirtualQuantity>",
            ),
            item(10, ""),
            "<Item ovf:bound=\"max\"><rasd:ResourceType>3</rasd:ResourceType>\
             <rasd:VirtualQuantity>32</rasd:VirtualQuantity></Item>"
                .to_owned(),
            "<EthernetPortItem><x:ResourceType xmlns:x=\"urn:x\">10</x:ResourceType></EthernetPortItem>"
                .to_owned(),
            attach("ovf:/disk/d2", 1),
            attach("/disk/d1", 0),
        ];
        let found = read(&envelope(FILES, DISKS, &hardware.concat())).unwrap();
        let disk = |name: &str, bytes| ApplianceDisk {
            file: Some(name.to_owned()),
            range: None,
            capacity_bytes: Some(bytes),
        };
        let expected = Appliance {
            name: Some("web".to_owned()),
            system: Some("Debian".to_owned()),
            cpus: Some(4),
            memory_bytes: Some(2 << 30),
            cards: 2,
            disks: vec![disk("a.vmdk", 8 << 30), disk("b.vmdk", 4096)],
            notes: Vec::new(),
        };
        assert_eq!(found, expected);
        // Two at one address stay as they are described.
        let twice = [attach("/disk/d2", 0), attach("/disk/d1", 0)].concat();
        let names = read(&envelope(FILES, DISKS, &twice)).unwrap().disks;
        assert_eq!(
            names.iter().filter_map(|disk| disk.file.as_deref()).collect::<Vec<_>>(),
            ["b.vmdk", "a.vmdk"]
        );
        // Nothing is said to be attached.
        assert_eq!(read(&envelope(FILES, DISKS, "")).unwrap().disks, expected.disks);
        let empty = read(&envelope("", "<Disk ovf:diskId=\"d\" ovf:capacity=\"1\"/>", "")).unwrap();
        assert_eq!(empty.disks[0], ApplianceDisk { capacity_bytes: Some(1), ..ApplianceDisk::default() });
        let many = item(3, "<rasd:VirtualQuantity>96</rasd:VirtualQuantity>");
        let many = read(&envelope(FILES, DISKS, &many)).unwrap();
        assert!(many.cpus.is_none() && many.notes[0].contains("96 vCPUs"));
    }

    /// It is told once, and what no machine has is not passed on: an instance of it could never start.
    #[test]
    fn sizes_that_no_machine_has_are_told_once() {
        let sized =
            |kind, size: &str| item(kind, &format!("<rasd:VirtualQuantity>{size}</rasd:VirtualQuantity>"));
        for (kind, size, why) in
            [(4, "0", "0 bytes of memory"), (4, "99999999999", "of memory"), (3, "0", "0 vCPUs")]
        {
            let found = read(&envelope(FILES, DISKS, &sized(kind, size).repeat(300))).unwrap();
            assert_eq!((found.memory_bytes, found.cpus, found.notes.len()), (None, None, 1));
            assert!(found.notes[0].contains(why), "{:?}", found.notes);
        }
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        let cpu = |text: &str| item(3, &format!("<rasd:VirtualQuantity>{text}</rasd:VirtualQuantity>"));
        let disk = |attributes: &str| envelope(FILES, &format!("<Disk ovf:diskId=\"d\" {attributes}/>"), "");
        let file = |href: &str| {
            let files = format!("<File ovf:id=\"f1\" ovf:href=\"{href}\"/>");
            envelope(&files, "<Disk ovf:diskId=\"d\" ovf:fileRef=\"f1\"/>", "")
        };
        let bomb = "<!DOCTYPE lolz [<!ENTITY a \"aaaaaaaa\"><!ENTITY b \"&a;&a;&a;\">]>";
        let two = envelope("", "", "").replace("</VirtualSystem>", "</VirtualSystem><VirtualSystem/>");
        for (text, words) in [
            (String::new(), "no XML that is taken (line 1, column 1)"),
            ("<a>".to_owned(), "no XML"),
            ("<a/>".to_owned(), "none of an appliance"),
            (format!("{bomb}{}", &envelope("", "", "")[21..]), "no XML"),
            (format!("{HEAD}</Envelope>"), "0 machines"),
            (two, "2 machines"),
            (envelope("", "", &cpu("many")), "'many' of vCPUs"),
            (envelope("", "", &cpu("-1")), "'-1' of vCPUs"),
            (
                envelope(
                    "",
                    "",
                    &item(4, "<rasd:VirtualQuantity>18446744073709551615</rasd:VirtualQuantity>"),
                ),
                "memory is",
            ),
            (disk("ovf:fileRef=\"nothing\""), "no file 'nothing'"),
            (disk("ovf:fileRef=\"f1\" ovf:parentRef=\"d0\""), "in front of another one"),
            (disk("ovf:capacity=\"${size}\""), "'${size}' long"),
            (disk("ovf:capacity=\"1\" ovf:capacityAllocationUnits=\"parsec\""), "'parsec'"),
            (file("../b.vmdk"), "not beside its description"),
            (file("/etc/shadow"), "not beside its description"),
            (file("http://a.example/b.vmdk"), "not beside its description"),
            (file("a.vmdk\" ovf:chunkSize=\"7"), "in pieces"),
            (envelope("", "", &item(17, "<rasd:HostResource>ovf:/disk/d9</rasd:HostResource>")), "no disk"),
        ] {
            let found = read(&text).unwrap_err();
            assert!(found.contains(words) && !found.contains('\n'), "{found}, not {words}");
        }
        assert!(read_envelope(&[0xff, 0xfe, 0]).unwrap_err().to_string().contains("not UTF-8"));
        let deep = format!("{}{}", "<a>".repeat(100_000), "</a>".repeat(100_000));
        assert!(read(&deep).is_err());
    }
}
