//! Task-state segments as they lie in memory (SDM vol. 3, 8.2.1 and 8.6).

use crate::cpu::segment::system_type;
use crate::cpu::{Core, Exec, gpr, seg};

/// ES, CS, SS, DS, FS, GS in the order of their numbers, as TSSs have them.
const SEGMENTS: [usize; 6] = [seg::ES, seg::CS, seg::SS, seg::DS, seg::FS, seg::GS];
/// The upper halves of general registers after a switch to a 16-bit task, as processors leave them.
const UPPER_HALF: u32 = 0xffff_0000;

/// A format of task-state segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// 16-bit.
    Small,
    /// 32-bit.
    Wide,
}

impl Layout {
    /// That of a TSS descriptor's type.
    pub fn of(kind: u8) -> Layout {
        match kind {
            system_type::TSS16 | system_type::TSS16_BUSY => Layout::Small,
            _ => Layout::Wide,
        }
    }

    /// Size in bytes, without the map of I/O ports.
    pub fn size(self) -> u32 {
        match self {
            Layout::Small => 0x2c,
            Layout::Wide => 0x68,
        }
    }

    /// Least limit.
    pub fn limit(self) -> u32 {
        self.size() - 1
    }

    /// Bytes of a register.
    pub fn width(self) -> u8 {
        match self {
            Layout::Small => 2,
            Layout::Wide => 4,
        }
    }

    /// Offset of EIP; EFLAGS, the general registers and the segment selectors follow.
    fn rip(self) -> u64 {
        match self {
            Layout::Small => 0xe,
            Layout::Wide => 0x20,
        }
    }

    fn rflags(self) -> u64 {
        self.rip() + u64::from(self.width())
    }

    fn register(self, number: usize) -> u64 {
        self.rip() + u64::from(self.width()) * (2 + number as u64)
    }

    fn segment(self, number: usize) -> u64 {
        self.register(8 + number)
    }

    fn segments(self) -> usize {
        match self {
            Layout::Small => 4,
            Layout::Wide => 6,
        }
    }

    fn ldt(self) -> u64 {
        self.segment(self.segments())
    }
}

/// Offset of CR3 in a 32-bit TSS.
const CR3: u64 = 0x1c;
/// Offset of the word whose lowest bit asks for a debug trap.
const TRAP: u64 = 0x64;

/// What a task starts from.
#[derive(Clone, Copy, Debug, Default)]
pub struct TaskState {
    /// Root of the page tables, which only 32-bit TSSs have.
    pub cr3: Option<u32>,
    /// EIP.
    pub rip: u32,
    /// EFLAGS.
    pub rflags: u64,
    /// EAX, ECX, EDX, EBX, ESP, EBP, ESI, EDI.
    pub registers: [u32; 8],
    /// Selectors of ES, CS, SS, DS, FS, GS; the last two are null in a 16-bit task.
    pub segments: [u16; 6],
    /// LDTR's selector.
    pub ldt: u16,
    /// A debug trap comes before the first instruction.
    pub traps: bool,
}

impl TaskState {
    /// Reads the TSS at `base`.
    pub fn load(core: &mut Core<'_>, layout: Layout, base: u64) -> Exec<TaskState> {
        let mut field = |offset: u64| -> Exec<u32> {
            let at = base.wrapping_add(offset);
            match layout {
                Layout::Small => core.load_system::<u16>(at).map(u32::from),
                Layout::Wide => core.load_system(at),
            }
        };
        let mut state = TaskState {
            rip: field(layout.rip())?,
            rflags: field(layout.rflags())?.into(),
            ldt: field(layout.ldt())? as u16,
            ..TaskState::default()
        };
        for (number, register) in state.registers.iter_mut().enumerate() {
            let upper = if layout == Layout::Small { UPPER_HALF } else { 0 };
            *register = field(layout.register(number))? | upper;
        }
        for (number, selector) in state.segments.iter_mut().enumerate().take(layout.segments()) {
            *selector = field(layout.segment(number))? as u16;
        }
        if layout == Layout::Wide {
            state.cr3 = Some(field(CR3)?);
            state.traps = field(TRAP)? & 1 != 0;
        }
        Ok(state)
    }
}

impl Core<'_> {
    /// Saves the current task, which will go on at `rip` with `rflags`, in its TSS: all that is not the same at all
    /// times.
    pub(super) fn save_task(&mut self, layout: Layout, rip: u64, rflags: u64) -> Exec {
        let base = self.tr.base;
        self.store_field(layout, base.wrapping_add(layout.rip()), rip)?;
        self.store_field(layout, base.wrapping_add(layout.rflags()), rflags)?;
        for number in gpr::RAX..8 {
            let value = self.gpr[number];
            self.store_field(layout, base.wrapping_add(layout.register(number)), value)?;
        }
        for (number, register) in SEGMENTS.into_iter().enumerate().take(layout.segments()) {
            let selector = self.segments[register].selector;
            self.store_system(base.wrapping_add(layout.segment(number)), selector)?;
        }
        Ok(())
    }

    fn store_field(&mut self, layout: Layout, at: u64, value: u64) -> Exec {
        match layout {
            Layout::Small => self.store_system(at, value as u16),
            Layout::Wide => self.store_system(at, value as u32),
        }
    }
}
