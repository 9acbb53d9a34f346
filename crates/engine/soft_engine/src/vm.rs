//! One VM: memory, platform, and what its vCPUs tell each other about code.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use arch_model::x86_64::PlatformState;
use arch_model::x86_64::cpuid::{self, Cpuid};
use device_model::{Doorbells, HostClock, IrqLine, MsiController, lock};
use guest_memory::{DirtyPages, GuestMemory, WriteWatcher};
use vcpu_model::{EngineError, VcpuIndex, Vm};

use crate::features::Features;
use crate::memory::space::Space;
use crate::platform::{Alarm, DoorbellMap, Exclusive, Platform, Request, SoftIrqLine, SoftMsi, Turn};
use crate::vcpu::SoftVcpu;

/// What all vCPUs of a VM share.
pub struct Shared {
    /// Guest RAM.
    pub memory: GuestMemory,
    /// Interrupt controllers and clock.
    pub platform: Arc<Platform>,
    /// Guest writes that are events.
    pub doorbells: Arc<DoorbellMap>,
    /// That memory as vCPUs see it: what they have not been told of is not in it yet.
    space: ArcSwap<Space>,
    /// Which vCPU executes, where only one may at a time.
    pub turn: Turn,
    /// Lets one vCPU execute an instruction while the others stand still.
    pub exclusive: Exclusive,
    /// Wakes vCPUs whose timers are due.
    pub alarm: Alarm,
    /// What vCPUs execute code with.
    pub tiers: Tiers,
    /// Feature words that the CPU looks at while it runs.
    pub cpuid_words: CpuidWords,
    cpuid: Cpuid,
    vcpus: Vec<Mailroom>,
}

/// Size of one vCPU's code cache. What is in use costs memory, the rest does not. When it is full, everything is dropped.
pub const CODE_BYTES: usize = 64 << 20;

/// What executes code.
#[derive(Clone, Copy, Debug)]
pub struct Tiers {
    /// How often a block is interpreted before it is translated; `None` is for ever.
    pub cold_runs: Option<u16>,
    /// Translated code is compared with the interpreter.
    pub lockstep: bool,
    /// One vCPU executes at a time on any host.
    pub in_turn: bool,
    /// Size of one vCPU's code cache in bytes.
    pub code_bytes: usize,
}

impl Tiers {
    /// Everything is interpreted.
    pub const INTERPRETER: Tiers =
        Tiers { cold_runs: None, lockstep: false, in_turn: false, code_bytes: CODE_BYTES };
}

/// Feature words of CPUID.
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuidWords {
    pub leaf1_eax: u32,
    pub leaf1_ecx: u32,
    pub leaf7_ebx: u32,
    pub leaf7_ecx: u32,
    /// Of sub-leaf 1.
    pub leaf_d_eax: u32,
}

/// What a vCPU tells the others about code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Bytes of the page at `gpa` are being decoded: from now on writes to it matter.
    Decoded {
        /// Page.
        gpa: u64,
    },
    /// Decoded bytes in the grains `grains` of the page at `gpa` were written.
    Written {
        /// Page.
        gpa: u64,
        /// A bit for each 64 bytes.
        grains: u64,
    },
    /// There was more to tell than is kept: anything may have been decoded or written.
    Anything,
}

/// Notices that wait for one vCPU, at most. One that does not run takes none in.
const NOTICES_MAX: usize = 4096;

/// Notices for one vCPU, and where it stands with the dirty log and with changes of memory.
#[derive(Default)]
struct Mailroom {
    notices: Mutex<Vec<Notice>>,
    /// It has guest memory in its hands.
    inside: AtomicBool,
    /// Generation of that memory.
    generation: AtomicU64,
    asked: AtomicU64,
    done: AtomicU64,
}

impl Shared {
    /// Starts with no vCPU inside.
    pub fn new(memory: GuestMemory, cpuid: Cpuid, vcpus: u32, tiers: Tiers) -> Arc<Shared> {
        let word = |function, index: u32| {
            cpuid
                .iter()
                .find(|leaf| leaf.function == function && leaf.index.unwrap_or(0) == index)
                .copied()
                .unwrap_or_default()
        };
        let cpuid_words = CpuidWords {
            leaf1_eax: word(1, 0).eax,
            leaf1_ecx: word(1, 0).ecx,
            leaf7_ebx: word(7, 0).ebx,
            leaf7_ecx: word(7, 0).ecx,
            leaf_d_eax: word(0xd, 1).eax,
        };
        if tiers.lockstep {
            memory.set_gate();
        }
        let turn = Turn::new(vcpus, tiers.in_turn);
        let platform = Arc::new(Platform::new(vcpus, Arc::new(HostClock::default())));
        let shared = Arc::new(Shared {
            alarm: Alarm::new(Arc::clone(&platform), vcpus as usize),
            platform,
            exclusive: Exclusive::new(vcpus as usize, turn.is_taken()),
            turn,
            doorbells: Arc::new(DoorbellMap::default()),
            space: ArcSwap::from_pointee(Space::new(memory.snapshot())),
            memory,
            tiers,
            cpuid_words,
            cpuid,
            vcpus: (0..vcpus).map(|_| Mailroom::default()).collect(),
        });
        let watcher = Arc::downgrade(&shared);
        let watcher: Arc<dyn WriteWatcher> = Arc::new(DeviceWrites(watcher));
        shared.memory.set_write_watcher(&watcher);
        shared
    }

    /// Tells every vCPU but `from`.
    pub fn tell_others(&self, from: usize, notice: Notice) {
        for (index, mailroom) in self.vcpus.iter().enumerate().filter(|(index, _)| *index != from) {
            let mut notices = lock(&mailroom.notices);
            if notices.len() >= NOTICES_MAX {
                notices.clear();
                notices.push(Notice::Anything);
            }
            notices.push(notice);
            drop(notices);
            self.platform.mailbox(index).post(Request::INVALIDATE_CODE);
        }
    }

    /// What others told vCPU `index` since the last call.
    pub fn take_notices(&self, index: usize) -> Vec<Notice> {
        std::mem::take(&mut *lock(&self.vcpus[index].notices))
    }

    /// vCPU `index` is about to execute guest code: waits until it may.
    pub fn begin_executing(&self, index: usize) {
        self.turn.take();
        self.exclusive.enter(index);
    }

    /// vCPU `index` executes nothing until it begins again.
    pub fn end_executing(&self, index: usize) {
        self.exclusive.leave(index);
        self.turn.give();
    }

    /// Guest memory as vCPUs are to see it now.
    pub fn space(&self) -> Arc<Space> {
        self.space.load_full()
    }

    /// vCPU `index` takes guest memory into its hands, with empty software TLBs.
    pub fn enter_space(&self, index: usize) -> Arc<Space> {
        let vcpu = &self.vcpus[index];
        // First this: whoever changes memory from now on waits until this vCPU has left.
        vcpu.inside.store(true, Ordering::SeqCst);
        let space = self.space();
        vcpu.generation.store(space.slots.generation(), Ordering::SeqCst);
        space
    }

    /// vCPU `index` has forgotten it, translations and all.
    pub fn leave_space(&self, index: usize) {
        self.vcpus[index].inside.store(false, Ordering::SeqCst);
    }

    /// Has vCPUs leave the memory that they see and enter it as it is now; returns when they have.
    fn follow_memory(&self) {
        let slots = self.memory.snapshot();
        let generation = slots.generation();
        self.space.rcu(|space| space.followed_by(Arc::clone(&slots)));
        for (index, vcpu) in self.vcpus.iter().enumerate() {
            self.platform.mailbox(index).post(Request::CHANGE_MEMORY);
            while vcpu.inside.load(Ordering::SeqCst) && vcpu.generation.load(Ordering::SeqCst) < generation {
                std::thread::sleep(Duration::from_micros(20));
            }
        }
    }

    /// vCPU `index` is about to make its TLBs ask again before writes: the number to give to
    /// [`protected`](Shared::protected).
    pub fn protection_asked(&self, index: usize) -> u64 {
        self.vcpus[index].asked.load(Ordering::SeqCst)
    }

    /// Number of vCPUs.
    pub fn vcpus(&self) -> usize {
        self.vcpus.len()
    }

    /// vCPU `index` has done what was asked up to number `asked`.
    pub fn protected(&self, index: usize, asked: u64) {
        self.vcpus[index].done.store(asked, Ordering::SeqCst);
    }

    /// Makes every vCPU look closely at its next write to each page, and waits until they all do.
    fn protect_all(&self) {
        let asked: Vec<u64> = (0..self.vcpus.len())
            .map(|index| {
                let asked = self.vcpus[index].asked.fetch_add(1, Ordering::SeqCst) + 1;
                self.platform.mailbox(index).post(Request::PROTECT);
                asked
            })
            .collect();
        for (vcpu, asked) in self.vcpus.iter().zip(asked) {
            while vcpu.inside.load(Ordering::SeqCst) && vcpu.done.load(Ordering::SeqCst) < asked {
                std::thread::sleep(Duration::from_micros(20));
            }
        }
    }
}

/// Devices' writes to pages with decoded code.
struct DeviceWrites(std::sync::Weak<Shared>);

impl WriteWatcher for DeviceWrites {
    fn written(&self, gpa: u64) {
        if let Some(shared) = self.0.upgrade()
            && shared.space.load().code.take(gpa, u64::MAX) != 0
        {
            shared.tell_others(usize::MAX, Notice::Written { gpa, grains: u64::MAX });
        }
    }
}

/// A virtual machine on the soft engine.
pub struct SoftVm {
    shared: Arc<Shared>,
    /// Held by whoever has vCPUs follow a change of memory.
    following: Mutex<()>,
}

impl SoftVm {
    pub(crate) fn new(memory: GuestMemory, cpuid: Cpuid, vcpus: u32, tiers: Tiers) -> SoftVm {
        SoftVm { shared: Shared::new(memory, cpuid, vcpus, tiers), following: Mutex::default() }
    }
}

impl Vm for SoftVm {
    type Vcpu = SoftVcpu;

    fn create_vcpu(&self, index: VcpuIndex) -> Result<SoftVcpu, EngineError> {
        let count = self.shared.vcpus.len() as u32;
        if index.0 >= count {
            return Err(EngineError::Unsupported(format!("vCPU {index} of {count}")));
        }
        let mut cpuid = self.shared.cpuid.clone();
        cpuid::set_topology(&mut cpuid, index.0, count);
        let features = Features::of(&cpuid);
        Ok(SoftVcpu::new(Arc::clone(&self.shared), index, cpuid, features))
    }

    fn irq_line(&self, gsi: u32) -> Arc<dyn IrqLine> {
        Arc::new(SoftIrqLine::new(Arc::clone(&self.shared.platform), gsi))
    }

    fn msi(&self) -> Arc<dyn MsiController> {
        Arc::new(SoftMsi::new(Arc::clone(&self.shared.platform)))
    }

    fn doorbells(&self) -> Arc<dyn Doorbells> {
        Arc::clone(&self.shared.doorbells) as Arc<dyn Doorbells>
    }

    fn follow_memory(&self) -> Result<(), EngineError> {
        let _one_at_a_time = lock(&self.following);
        self.shared.follow_memory();
        Ok(())
    }

    fn start_dirty_log(&self) -> Result<(), EngineError> {
        let space = self.shared.space();
        space.log.take();
        space.log.set(true);
        self.shared.protect_all();
        Ok(())
    }

    fn take_dirty_log(&self) -> Result<DirtyPages, EngineError> {
        // Taken first: a write that goes on unseen until its vCPU has answered is to a page in this set.
        let pages = self.shared.space().log.take();
        self.shared.protect_all();
        Ok(pages)
    }

    fn stop_dirty_log(&self) -> Result<(), EngineError> {
        self.shared.space().log.set(false);
        Ok(())
    }

    fn platform_state(&self) -> Result<PlatformState, EngineError> {
        Ok(self.shared.platform.save())
    }

    fn set_platform_state(&self, state: &PlatformState) -> Result<(), EngineError> {
        self.shared.platform.restore(state);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use guest_memory::{GpaRange, GuestAddress, Policy};

    use super::*;
    use crate::features;

    #[test]
    fn notices_that_nobody_takes_in_are_bounded() {
        let range = GpaRange { start: GuestAddress(0), size_bytes: 1 << 20 };
        let memory = GuestMemory::allocate(&[range], Policy::default()).unwrap();
        let shared = Shared::new(memory, features::offered(), 2, Tiers::INTERPRETER);
        for page in 0..3 * NOTICES_MAX as u64 {
            shared.tell_others(0, Notice::Decoded { gpa: page << 12 });
            assert!(lock(&shared.vcpus[1].notices).len() <= NOTICES_MAX);
        }
        assert!(shared.take_notices(1).contains(&Notice::Anything), "what was lost is made good");
        assert!(shared.take_notices(0).is_empty());
    }
}
