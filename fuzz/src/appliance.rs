//! Target `appliance`: a description of any text, and an archive of any bytes, read as the confined child reads them.
//!
//! Always: disks lie in the archive, names are plain ones, and notes stay few.

use std::io::Cursor;

use image_import::fuzzing::{read_appliance, read_envelope};

use crate::Seed;

/// The input is an archive; else it is a description.
const ARCHIVE: u8 = 1;

/// Runs one input.
pub fn run(data: &[u8]) {
    let Some((flags, data)) = data.split_first() else { return };
    let appliance = if flags & ARCHIVE != 0 {
        let all = data.len() as u64;
        let mut told = |done, all| assert!(done <= all, "more than there is");
        read_appliance(Cursor::new(data), all, &mut told)
    } else {
        read_envelope(data)
    };
    let Ok(appliance) = appliance else { return };
    assert!(appliance.disks.len() <= 64 && appliance.notes.len() <= 256);
    assert!(appliance.cpus.is_none_or(|cpus| (1..=64).contains(&cpus)));
    for disk in &appliance.disks {
        assert!(disk.file.as_ref().is_none_or(|name| !name.contains('/')));
        assert!(disk.range.is_none_or(|range| range.lies_in(data.len() as u64)));
    }
}

const DESCRIPTION: &str = "<Envelope xmlns:ovf=\"o\"><References><File ovf:id=\"f\" ovf:href=\"a.vmdk\"/></References>\
    <DiskSection><Disk ovf:diskId=\"d\" ovf:fileRef=\"f\" ovf:capacity=\"1\" \
    ovf:capacityAllocationUnits=\"byte * 2^20\"/></DiskSection><VirtualSystem ovf:id=\"m\"><VirtualHardwareSection>\
    <Item><ResourceType>3</ResourceType><VirtualQuantity>2</VirtualQuantity></Item>\
    <Item><ResourceType>4</ResourceType><AllocationUnits>MegaBytes</AllocationUnits>\
    <VirtualQuantity>64</VirtualQuantity></Item><Item><ResourceType>10</ResourceType></Item>\
    <Item><ResourceType>17</ResourceType><HostResource>ovf:/disk/d</HostResource><AddressOnParent>0</AddressOnParent>\
    <Parent>1</Parent></Item></VirtualHardwareSection></VirtualSystem></Envelope>";

fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        builder.append_data(&mut header, name, *bytes).expect("written to memory");
    }
    builder.into_inner().expect("written to memory")
}

/// Inputs to start from.
pub fn seeds() -> Vec<Seed> {
    let seed = |flags: u8, bytes: &[u8]| [&[flags], bytes].concat();
    let description: (&str, &[u8]) = ("m.ovf", DESCRIPTION.as_bytes());
    let disk: (&str, &[u8]) = ("a.vmdk", b"KDMV");
    let wrong: (&str, &[u8]) = ("m.mf", b"SHA1(a.vmdk)= 00\nSHA256(m.ovf)= 00\n");
    vec![
        ("description", seed(0, DESCRIPTION.as_bytes())),
        ("archive", seed(ARCHIVE, &archive(&[description, disk]))),
        ("manifest", seed(ARCHIVE, &archive(&[description, wrong, disk]))),
    ]
}
