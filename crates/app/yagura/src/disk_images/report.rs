//! Answers as tables or as JSON.

use disk::{CheckReport, Compression, DiskInfo, MapPiece};
use serde_json::{Value, json};

use crate::print::empty_table;

/// Two columns: what, and its value.
fn facts(rows: Vec<(&str, String)>) -> String {
    let mut table = empty_table();
    for (what, value) in rows {
        table.add_row([what, &value]);
    }
    table.to_string()
}

fn pretty(value: &Value) -> String {
    format!("{value:#}")
}

/// A number of bytes as a person reads it.
fn shown(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let step = (bytes.checked_ilog2().unwrap_or(0) / 10) as usize;
    match step {
        0 => format!("{bytes} bytes"),
        _ => format!("{:.1} {} ({bytes} bytes)", bytes as f64 / (1u64 << (10 * step)) as f64, UNITS[step]),
    }
}

fn yes_or_no(yes: bool) -> String {
    if yes { "yes" } else { "no" }.to_owned()
}

fn compression_name(kind: Compression) -> &'static str {
    match kind {
        Compression::Zlib => "zlib",
        Compression::Zstd => "zstd",
    }
}

pub fn info_table(info: &DiskInfo) -> String {
    let mut rows = vec![
        ("format", info.format.name().to_owned()),
        ("size", shown(info.size_bytes)),
        ("room on the host", shown(info.room_bytes)),
    ];
    if let Some(image) = &info.qcow2 {
        rows.push(("version", image.version.to_string()));
        rows.push(("cluster size", shown(image.cluster_bytes)));
        rows.push(("compression", compression_name(image.compression).to_owned()));
        rows.push(("reference counts", format!("{} bits", image.refcount_bits)));
        rows.push(("lazy reference counts", yes_or_no(image.lazy_refcounts)));
        rows.push(("snapshots inside", image.snapshots.to_string()));
        if image.dirty || image.corrupt {
            rows.push(("marked as", if image.corrupt { "corrupt" } else { "not closed" }.to_owned()));
        }
        if let Some(backing) = &image.backing {
            let format = backing.format.as_deref().unwrap_or("not stated");
            rows.push(("backing file", format!("{} ({format})", backing.path.escape_debug())));
        }
    }
    facts(rows)
}

pub fn info_json(info: &DiskInfo) -> String {
    let qcow2 = info.qcow2.as_ref().map(|image| {
        json!({
            "version": image.version,
            "cluster_bytes": image.cluster_bytes,
            "refcount_bits": image.refcount_bits,
            "compression": compression_name(image.compression),
            "lazy_refcounts": image.lazy_refcounts,
            "dirty": image.dirty,
            "corrupt": image.corrupt,
            "snapshots": image.snapshots,
            "backing": image.backing.as_ref().map(|backing| json!({
                "path": backing.path,
                "format": backing.format,
            })),
        })
    });
    pretty(&json!({
        "format": info.format.name(),
        "size_bytes": info.size_bytes,
        "room_bytes": info.room_bytes,
        "qcow2": qcow2,
    }))
}

pub fn check_table(found: &CheckReport) -> String {
    let mut rows = vec![
        ("damage", found.corruptions.to_string()),
        ("clusters lost", found.leaks.to_string()),
        ("clusters with data", format!("{} of {}", found.allocated_clusters, found.total_clusters)),
        ("of those compressed", found.compressed_clusters.to_string()),
        ("end of the image", shown(found.image_end_bytes)),
    ];
    if found.dirty || found.marked_corrupt {
        rows.push(("marked as", if found.marked_corrupt { "corrupt" } else { "not closed" }.to_owned()));
    }
    let found_words = found.complaints.iter().map(|complaint| ("found", complaint.clone()));
    rows.extend(found_words);
    facts(rows)
}

pub fn check_json(found: &CheckReport) -> String {
    pretty(&json!({
        "corruptions": found.corruptions,
        "leaks": found.leaks,
        "allocated_clusters": found.allocated_clusters,
        "compressed_clusters": found.compressed_clusters,
        "total_clusters": found.total_clusters,
        "image_end_bytes": found.image_end_bytes,
        "dirty": found.dirty,
        "marked_corrupt": found.marked_corrupt,
        "complaints": found.complaints,
    }))
}

/// In words, what a part is.
fn kind(piece: &MapPiece) -> &'static str {
    match (piece.data, piece.offset_bytes) {
        (true, Some(_)) => "data",
        (true, None) => "compressed",
        (false, _) => "zeros",
    }
}

pub fn map_table(pieces: &[MapPiece]) -> String {
    let mut table = empty_table();
    table.set_header(["start", "length", "what", "files behind", "offset there"]);
    for piece in pieces {
        let offset = piece.offset_bytes.map_or_else(String::new, |offset| format!("{offset:#x}"));
        let (start, length) = (format!("{:#x}", piece.start_bytes), format!("{:#x}", piece.length_bytes));
        table.add_row([start, length, kind(piece).to_owned(), piece.depth.to_string(), offset]);
    }
    table.to_string()
}

pub fn map_json(pieces: &[MapPiece]) -> String {
    let piece = |piece: &MapPiece| {
        json!({
            "start_bytes": piece.start_bytes,
            "length_bytes": piece.length_bytes,
            "depth": piece.depth,
            "zero": piece.zero,
            "data": piece.data,
            "offset_bytes": piece.offset_bytes,
        })
    };
    pretty(&Value::Array(pieces.iter().map(piece).collect()))
}
