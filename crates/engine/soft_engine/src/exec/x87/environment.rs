//! The environment and the whole state in memory (SDM vol. 2A, FSTENV, FLDENV, FSAVE, FRSTOR; vol. 1, figures 8-9 to
//! 8-12).

use iced_x86::Mnemonic;

use super::stack::{begin, begin_control};
use crate::cpu::{Core, Exec, Fpu, Mode, X87Register};
use crate::decode::insn::{Handler, Insn};
use crate::exec::Form;
use crate::softfloat::{Class, F80, Format};

/// Size of the registers behind the environment.
const REGISTERS_SIZE: usize = 80;
/// Size of the largest image.
const LARGEST: usize = 28 + REGISTERS_SIZE;

pub(super) fn handler(form: &Form<'_>) -> Option<Handler> {
    let handler: Handler = match form.mnemonic {
        Mnemonic::Fnstenv => store_environment,
        Mnemonic::Fldenv => load_environment,
        Mnemonic::Fnsave => save,
        Mnemonic::Frstor => restore,
        _ => return None,
    };
    Some(handler)
}

/// One of the four formats of the environment: seven fields of 16 or 32 bits.
#[derive(Clone, Copy)]
struct Format7 {
    /// Fields have 32 bits.
    wide: bool,
    /// Pointers are linear addresses of 20 or 32 bits instead of selector and offset.
    real: bool,
}

/// How the instruction's image looks in the current mode.
fn format(core: &Core<'_>, insn: &Insn, narrow_size: u8) -> Format7 {
    Format7 { wide: insn.size != narrow_size, real: matches!(core.mode, Mode::Real | Mode::Virtual86) }
}

impl Format7 {
    fn field_size(self) -> usize {
        if self.wide { 4 } else { 2 }
    }

    fn size(self) -> usize {
        7 * self.field_size()
    }

    /// The fields; selectors are zero, as this CPU says that it does not keep them (SDM vol. 2A, CPUID.7.0:EBX bit 13).
    fn fields(self, fpu: &Fpu) -> [u32; 7] {
        const RESERVED: u32 = 0xffff_0000;
        let (control, status, tags) = (
            u32::from(fpu.control) | RESERVED,
            u32::from(fpu.status) | RESERVED,
            u32::from(tags(fpu)) | RESERVED,
        );
        let (instruction, data) = (fpu.instruction as u32, fpu.data as u32);
        let opcode = u32::from(fpu.opcode);
        let [instruction_high, data_high] = [instruction, data].map(|pointer| pointer >> 16 << 12);
        if self.real {
            let [low, data_low] = [instruction, data].map(|pointer| pointer & 0xffff | RESERVED);
            return [
                control,
                status,
                tags,
                low,
                instruction_high & 0x0fff_f000 | opcode,
                data_low,
                data_high,
            ];
        }
        let selector = if self.wide { opcode << 16 } else { 0 };
        [control, status, tags, instruction, selector, data, RESERVED]
    }

    fn write(self, fpu: &Fpu, image: &mut [u8]) {
        for (field, bytes) in self.fields(fpu).into_iter().zip(image.chunks_exact_mut(self.field_size())) {
            bytes.copy_from_slice(&field.to_le_bytes()[..self.field_size()]);
        }
    }

    fn read(self, fpu: &mut Fpu, image: &[u8]) {
        let field = |index: usize| {
            let bytes = image.iter().skip(index * self.field_size()).take(self.field_size());
            bytes.rev().fold(0u32, |value, byte| value << 8 | u32::from(*byte))
        };
        fpu.status = field(1) as u16;
        fpu.valid = valid(field(2) as u16);
        let pointer = |low: u32, high: u32| u64::from(low & 0xffff | (high >> 12 & 0xffff) << 16);
        if self.real {
            (fpu.instruction, fpu.data) = (pointer(field(3), field(4)), pointer(field(5), field(6)));
            fpu.opcode = field(4) as u16 & 0x7ff;
        } else {
            (fpu.instruction, fpu.data) = (field(3).into(), field(5).into());
            if self.wide {
                fpu.opcode = (field(4) >> 16) as u16 & 0x7ff;
            }
        }
        fpu.set_control(field(0) as u16);
    }
}

fn store_environment(core: &mut Core<'_>, insn: &Insn) -> Exec {
    begin_control(core)?;
    let format = format(core, insn, 14);
    let mut image = [0; 28];
    format.write(&core.fpu, &mut image[..format.size()]);
    store(core, insn, format, &image[..format.size()])?;
    // All exceptions become masked.
    let control = core.fpu.control | 0x3f;
    core.fpu.set_control(control);
    Ok(())
}

fn load_environment(core: &mut Core<'_>, insn: &Insn) -> Exec {
    begin(core)?;
    let format = format(core, insn, 14);
    let mut image = [0; 28];
    load(core, insn, format, &mut image[..format.size()])?;
    format.read(&mut core.fpu, &image);
    Ok(())
}

fn save(core: &mut Core<'_>, insn: &Insn) -> Exec {
    begin_control(core)?;
    let format = format(core, insn, 94);
    let mut image = [0; LARGEST];
    let (environment, registers) = image.split_at_mut(format.size());
    format.write(&core.fpu, environment);
    for (index, bytes) in (0..8).zip(registers.chunks_exact_mut(10)) {
        bytes.copy_from_slice(&value(&core.fpu, core.fpu.physical(index)).to_bytes());
    }
    store(core, insn, format, &image[..format.size() + REGISTERS_SIZE])?;
    core.fpu.initialize();
    Ok(())
}

fn restore(core: &mut Core<'_>, insn: &Insn) -> Exec {
    begin(core)?;
    let format = format(core, insn, 94);
    let mut image = [0; LARGEST];
    load(core, insn, format, &mut image[..format.size() + REGISTERS_SIZE])?;
    let (environment, registers) = image.split_at(format.size());
    format.read(&mut core.fpu, environment);
    for (index, bytes) in (0..8).zip(registers.as_chunks::<10>().0) {
        let F80 { significand, sign_exponent } = F80::from_bytes(*bytes);
        let physical = core.fpu.physical(index);
        core.fpu.registers[physical] = X87Register { significand, sign_exponent };
    }
    Ok(())
}

fn store(core: &mut Core<'_>, insn: &Insn, format: Format7, image: &[u8]) -> Exec {
    let offset = core.effective_address(insn);
    core.check_wide_alignment(insn.segment, offset, format.field_size() as u64)?;
    if format.wide { core.probe_field_write::<4>(insn, 0) } else { core.probe_field_write::<2>(insn, 0) }?;
    core.probe_field_write::<1>(insn, image.len() - 1)?;
    core.store_slice(insn.segment.into(), offset, image)
}

fn load(core: &mut Core<'_>, insn: &Insn, format: Format7, image: &mut [u8]) -> Exec {
    let offset = core.effective_address(insn);
    core.check_wide_alignment(insn.segment, offset, format.field_size() as u64)?;
    if format.wide { core.probe_field_read::<4>(insn, 0) } else { core.probe_field_read::<2>(insn, 0) }?;
    core.probe_field_read::<1>(insn, image.len() - 1)?;
    core.load_slice(insn.segment.into(), offset, image)
}

fn value(fpu: &Fpu, physical: usize) -> F80 {
    let X87Register { significand, sign_exponent } = fpu.registers[physical];
    F80 { sign_exponent, significand }
}

/// The full tag word, two bits for each physical register: valid, zero, special, empty (SDM vol. 1, 8.1.7).
fn tags(fpu: &Fpu) -> u16 {
    let tag = |physical: usize| match value(fpu, physical).unpack().class {
        _ if fpu.valid >> physical & 1 == 0 => 3,
        Class::Normal => 0,
        Class::Zero => 1,
        _ => 2,
    };
    (0..8).rev().fold(0, |tags, physical| tags << 2 | tag(physical))
}

/// Which registers a full tag word says are not empty; what else it says is worked out from their contents.
fn valid(tags: u16) -> u8 {
    (0..8).filter(|physical| tags >> (2 * physical) & 3 != 3).fold(0, |valid, physical| valid | 1 << physical)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMATS: [Format7; 4] = [
        Format7 { wide: true, real: false },
        Format7 { wide: true, real: true },
        Format7 { wide: false, real: false },
        Format7 { wide: false, real: true },
    ];

    fn example() -> Fpu {
        let mut fpu = Fpu { instruction: 0x1_2345, data: 0x5_4321, opcode: 0x7d9, ..Fpu::default() };
        fpu.push(F80::ONE);
        fpu.push(F80::zero(true));
        fpu.push(F80::infinity(false));
        fpu
    }

    #[test]
    fn tags_tell_the_contents() {
        assert_eq!(tags(&example()), 0b0001_1011_1111_1111);
        assert_eq!(valid(tags(&example())), 0xe0);
    }

    #[test]
    fn what_each_format_holds_comes_back() {
        for format in FORMATS {
            let (mut image, mut fpu) = ([0; 28], Fpu::default());
            format.write(&example(), &mut image[..format.size()]);
            format.read(&mut fpu, &image);
            assert_eq!((fpu.status, fpu.valid, fpu.control), (5 << 11, 0xe0, 0x37f));
            let kept = if format.wide || format.real { 0xf_ffff } else { 0xffff };
            assert_eq!((fpu.instruction, fpu.data), (0x1_2345 & kept, 0x5_4321 & kept));
            assert_eq!(fpu.opcode, if format.wide || format.real { 0x7d9 } else { 0 });
        }
    }

    #[test]
    fn fields_stand_where_the_manual_has_them() {
        let [control, status, tags, .., last] = FORMATS[0].fields(&example());
        assert_eq!([control, status, tags, last], [0xffff_037f, 0xffff_2800, 0xffff_1bff, 0xffff_0000]);
        let [.., opcode, _, _] = FORMATS[0].fields(&example());
        assert_eq!(opcode, 0x7d9_0000);
        let [_, _, _, low, high, _, _] = FORMATS[3].fields(&example());
        assert_eq!([low as u16, high as u16], [0x2345, 0x17d9]);
    }
}
