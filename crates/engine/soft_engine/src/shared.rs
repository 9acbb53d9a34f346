//! What all vCPUs of a VM have in common: memory, platform, and what they tell each other.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use arch_model::x86_64::cpuid::Cpuid;
use device_model::HostClock;
use guest_memory::{GuestMemory, WriteWatcher};

use crate::memory::space::Space;
use crate::notices::{Notice, Notices};
use crate::platform::{Alarm, DoorbellMap, Exclusive, Platform, Request, Turn};
use crate::tiers::Tiers;

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
    vcpus: Vec<VcpuShare>,
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

impl CpuidWords {
    fn of(cpuid: &Cpuid) -> CpuidWords {
        let word = |function, index: u32| {
            cpuid
                .iter()
                .find(|leaf| leaf.function == function && leaf.index.unwrap_or(0) == index)
                .copied()
                .unwrap_or_default()
        };
        CpuidWords {
            leaf1_eax: word(1, 0).eax,
            leaf1_ecx: word(1, 0).ecx,
            leaf7_ebx: word(7, 0).ebx,
            leaf7_ecx: word(7, 0).ecx,
            leaf_d_eax: word(0xd, 1).eax,
        }
    }
}

/// What others tell one vCPU, and where it stands with the dirty log and with changes of memory.
#[derive(Default)]
struct VcpuShare {
    notices: Notices,
    /// It has guest memory in its hands.
    inside: AtomicBool,
    /// Generation of that memory.
    generation: AtomicU64,
    /// How often it was asked to make its TLBs ask again before writes.
    asked: AtomicU64,
    /// Up to which of these it has done so.
    done: AtomicU64,
}

impl Shared {
    /// Starts with no vCPU inside.
    pub fn new(memory: GuestMemory, cpuid: Cpuid, vcpus: u32, tiers: Tiers) -> Arc<Shared> {
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
            cpuid_words: CpuidWords::of(&cpuid),
            cpuid,
            vcpus: (0..vcpus).map(|_| VcpuShare::default()).collect(),
        });
        let watcher = Arc::downgrade(&shared);
        let watcher: Arc<dyn WriteWatcher> = Arc::new(DeviceWrites(watcher));
        shared.memory.set_write_watcher(&watcher);
        shared
    }

    /// Tells every vCPU but `from`.
    pub fn tell_others(&self, from: usize, notice: Notice) {
        for (index, vcpu) in self.vcpus.iter().enumerate().filter(|(index, _)| *index != from) {
            vcpu.notices.add(notice);
            self.platform.mailbox(index).post(Request::INVALIDATE_CODE);
        }
    }

    /// What others told vCPU `index` since the last call.
    pub fn take_notices(&self, index: usize) -> Vec<Notice> {
        self.vcpus[index].notices.take()
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
    pub fn follow_memory(&self) {
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

    /// CPUID as a vCPU without a topology has it.
    pub fn cpuid(&self) -> &Cpuid {
        &self.cpuid
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
    pub fn protect_all(&self) {
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
struct DeviceWrites(Weak<Shared>);

impl WriteWatcher for DeviceWrites {
    fn written(&self, gpa: u64) {
        if let Some(shared) = self.0.upgrade()
            && shared.space.load().code.take(gpa, u64::MAX) != 0
        {
            shared.tell_others(usize::MAX, Notice::Written { gpa, grains: u64::MAX });
        }
    }
}
