//! All encodings of one, two and three opcode bytes, with prefixes and ModRM bytes.

/// Which opcodes a byte is looked up in (SDM vol. 2D, appendix A).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Map {
    /// One byte.
    One,
    /// 0F.
    Two,
    /// 0F 38.
    Three38,
    /// 0F 3A.
    Three3a,
    /// With a VEX prefix: the number of its map, whether W and L are set, and the prefix that it stands for.
    Vex { map: u8, wide: bool, long: bool, prefix: u8 },
}

/// Prefixes of the legacy maps: those that choose between instructions, LOCK, operand and address size, REX.
const PREFIXES_64: &[&[u8]] = &[
    &[],
    &[0x66],
    &[0xf2],
    &[0xf3],
    &[0x48],
    &[0x66, 0x48],
    &[0xf2, 0x48],
    &[0xf3, 0x48],
    &[0xf0],
    &[0x66, 0xf2],
    &[0x66, 0xf3],
    &[0xf2, 0xf3],
    &[0xf3, 0xf2],
    &[0x67],
    &[0x2e],
    &[0x65],
    &[0x41],
    &[0x45],
    &[0x48, 0x66],
    &[0xf0, 0x66],
    &[0xf0, 0x48],
    &[0xf0, 0xf2],
    &[0xf0, 0xf3],
];
const PREFIXES_32: &[&[u8]] = &[
    &[],
    &[0x66],
    &[0xf2],
    &[0xf3],
    &[0xf0],
    &[0x67],
    &[0x2e],
    &[0x66, 0xf2],
    &[0x66, 0xf3],
    &[0xf2, 0xf3],
    &[0xf3, 0xf2],
    &[0x66, 0x67],
    &[0xf0, 0x66],
    &[0xf0, 0xf2],
    &[0xf0, 0xf3],
];
/// Prefixes before a VEX prefix.
const PREFIXES_VEX: &[&[u8]] = &[&[], &[0x67], &[0x66], &[0xf3], &[0xf0]];
/// The one that a sample takes besides none.
const SAMPLED: usize = 5;
/// What follows the opcode and ModRM: displacements and immediates, as far as there are some.
const FILLER: [u8; 9] = [0x11, 0x22, 0x33, 0x14, 0x25, 0x36, 0x17, 0x28, 0x19];
/// Longest instruction in bytes.
const INSN_MAX: usize = 15;

/// How much of everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Few prefixes; each ModRM.reg with one register and one operand in memory.
    Sample,
    /// All prefixes and ModRM bytes.
    Whole,
}

/// Calls `see` with each encoding for code of 64, 32 or 16 bits.
pub fn each(bits: u32, extent: Extent, mut see: impl FnMut(&[u8])) {
    let prefixes = if bits == 64 { PREFIXES_64 } else { PREFIXES_32 };
    for map in maps() {
        let prefixes = if matches!(map, Map::Vex { .. }) { PREFIXES_VEX } else { prefixes };
        let count = if extent == Extent::Sample { prefixes.len().min(SAMPLED) } else { prefixes.len() };
        for prefix in &prefixes[..count] {
            for opcode in 0..=u8::MAX {
                for modrm in modrms(extent) {
                    see(&bytes(prefix, map, opcode, modrm));
                }
            }
        }
    }
}

fn maps() -> impl Iterator<Item = Map> {
    let vex = (1..=3).flat_map(|map| {
        (0..16).map(move |bits| Map::Vex { map, wide: bits & 1 != 0, long: bits & 2 != 0, prefix: bits >> 2 })
    });
    [Map::One, Map::Two, Map::Three38, Map::Three3a].into_iter().chain(vex)
}

/// ModRM bytes: of a sample [RBX] and RDX as the r/m operand, with each register.
fn modrms(extent: Extent) -> impl Iterator<Item = u8> {
    (0..=u8::MAX).filter(move |modrm| extent == Extent::Whole || matches!(modrm & 0xc7, 0x03 | 0xc2))
}

fn bytes(prefix: &[u8], map: Map, opcode: u8, modrm: u8) -> Vec<u8> {
    let mut bytes = prefix.to_vec();
    match map {
        Map::One => {}
        Map::Two => bytes.push(0x0f),
        Map::Three38 => bytes.extend([0x0f, 0x38]),
        Map::Three3a => bytes.extend([0x0f, 0x3a]),
        // VEX.vvvv is 1 or none, by turns; R, X and B are not used.
        Map::Vex { map, wide, long, prefix } => {
            let third = if opcode & 1 == 0 { 0x78 } else { 0x70 };
            bytes.extend([0xc4, 0xe0 | map, u8::from(wide) << 7 | third | u8::from(long) << 2 | prefix]);
        }
    }
    bytes.extend([opcode, modrm]);
    bytes.extend(FILLER);
    bytes.truncate(INSN_MAX);
    bytes
}
