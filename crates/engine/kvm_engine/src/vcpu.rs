//! One KVM vCPU: the run loop.

use std::io;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::AtomicU8;

use arch_model::x86_64::CpuState;
use kvm_bindings::{
    KVM_EXIT_IO, KVM_EXIT_IO_IN, KVM_SYSTEM_EVENT_CRASH, KVM_SYSTEM_EVENT_RESET, KVM_SYSTEM_EVENT_SHUTDOWN,
    kvm_run,
};
use kvm_ioctls::{VcpuExit, VcpuFd, VmFd};
use vcpu_model::{EngineError, ExitCounters, ExitKind, GuestIo, Halt, Kick, Vcpu, VcpuIndex};

use crate::capabilities::Capabilities;
use crate::kick::Kicker;
use crate::{failed, state};

/// A KVM vCPU.
pub struct KvmVcpu {
    fd: VcpuFd,
    index: VcpuIndex,
    capabilities: Capabilities,
    xsave_components: u64,
    saved_msrs: Arc<[u32]>,
    kicker: Arc<Kicker>,
    counters: Arc<ExitCounters>,
    /// Keeps the VM until the last vCPU is gone.
    _vm: Arc<VmFd>,
}

/// What one exit leads to.
enum Next {
    Enter,
    Halt(Halt),
    PortAccess,
}

impl KvmVcpu {
    pub(crate) fn new(
        vm: Arc<VmFd>,
        mut fd: VcpuFd,
        index: VcpuIndex,
        capabilities: Capabilities,
        xsave_components: u64,
        saved_msrs: Arc<[u32]>,
    ) -> KvmVcpu {
        let byte = NonNull::from(&mut fd.get_kvm_run().immediate_exit);
        // The run page is shared with the kernel; from here on the byte is only accessed atomically.
        let kicker = Arc::new(Kicker::new(byte.cast::<AtomicU8>()));
        KvmVcpu {
            fd,
            index,
            capabilities,
            xsave_components,
            saved_msrs,
            kicker,
            counters: Arc::default(),
            _vm: vm,
        }
    }

    /// One `KVM_RUN` and the device accesses that come out of it.
    fn step(&mut self, io: &impl GuestIo) -> Result<Next, EngineError> {
        let counters = &self.counters;
        let exit = match self.fd.run() {
            Ok(exit) => exit,
            Err(error) => match error.errno() {
                // Woken by a signal, or (API 4.35) an application processor that has just been started.
                libc::EINTR | libc::EAGAIN => {
                    counters.count(ExitKind::Interrupted);
                    self.kicker.set_immediate_exit(0);
                    return Ok(Next::Enter);
                }
                errno => {
                    let source = io::Error::from_raw_os_error(errno);
                    return Err(EngineError::Operation { operation: "KVM_RUN", source });
                }
            },
        };
        let reason = match exit {
            VcpuExit::IoIn(..) | VcpuExit::IoOut(..) => return Ok(Next::PortAccess),
            VcpuExit::MmioRead(address, data) => {
                counters.count(ExitKind::MmioRead);
                io.mmio_read(address, data);
                return Ok(Next::Enter);
            }
            VcpuExit::MmioWrite(address, data) => {
                counters.count(ExitKind::MmioWrite);
                io.mmio_write(address, data);
                return Ok(Next::Enter);
            }
            VcpuExit::Hlt => {
                counters.count(ExitKind::Halt);
                return Ok(Next::Enter);
            }
            VcpuExit::Intr | VcpuExit::IrqWindowOpen => return Ok(Next::Enter),
            VcpuExit::Shutdown => return Ok(Next::Halt(Halt::TripleFault)),
            VcpuExit::SystemEvent(KVM_SYSTEM_EVENT_SHUTDOWN, _) => return Ok(Next::Halt(Halt::Shutdown)),
            VcpuExit::SystemEvent(KVM_SYSTEM_EVENT_RESET, _) => return Ok(Next::Halt(Halt::Reset)),
            VcpuExit::SystemEvent(KVM_SYSTEM_EVENT_CRASH, _) => "the guest reported a crash".to_owned(),
            VcpuExit::Debug(_) => return Ok(Next::Halt(Halt::Debug)),
            VcpuExit::FailEntry(reason, cpu) => {
                format!("the CPU refused to enter the guest (reason {reason:#x}, host CPU {cpu})")
            }
            VcpuExit::InternalError => "KVM internal error".to_owned(),
            _ => "the guest left for a reason that came after this program".to_owned(),
        };
        Err(self.stuck(reason))
    }

    /// Carries out the port accesses of an exit: string instructions bring several at once.
    fn port_access(&mut self, io: &impl GuestIo) {
        let run: *mut kvm_run = self.fd.get_kvm_run();
        // SAFETY: the exit reason says that the union holds `io` (API 5); `data_offset` leads to `count`
        // elements of `size` bytes inside the vCPU's mapping, which lives as long as `self.fd`, and nobody
        // else touches it while the vCPU is out of KVM_RUN.
        let (port, data, size, is_in) = unsafe {
            if (*run).exit_reason != KVM_EXIT_IO {
                return;
            }
            let access = (*run).__bindgen_anon_1.io;
            let start = run.cast::<u8>().add(access.data_offset as usize);
            let size = usize::from(access.size);
            let data = std::slice::from_raw_parts_mut(start, size * access.count as usize);
            (access.port, data, size.max(1), u32::from(access.direction) == KVM_EXIT_IO_IN)
        };
        for element in data.chunks_mut(size) {
            if is_in {
                self.counters.count(ExitKind::PortRead);
                io.port_read(port, element);
            } else {
                self.counters.count(ExitKind::PortWrite);
                io.port_write(port, element);
            }
        }
    }

    fn stuck(&mut self, reason: String) -> EngineError {
        self.counters.count(ExitKind::Other);
        let rip = self.fd.get_regs().map_or(0, |regs| regs.rip);
        let run = self.fd.get_kvm_run();
        let reason = match run.exit_reason {
            kvm_bindings::KVM_EXIT_INTERNAL_ERROR => {
                // SAFETY: the exit reason says which member of the union is set (API 5).
                let suberror = unsafe { run.__bindgen_anon_1.internal.suberror };
                format!("{reason}, {}", internal_error_name(suberror))
            }
            _ => reason,
        };
        EngineError::Stuck { index: self.index, rip, reason }
    }
}

/// `KVM_INTERNAL_ERROR_*` in words.
fn internal_error_name(suberror: u32) -> String {
    match suberror {
        kvm_bindings::KVM_INTERNAL_ERROR_EMULATION => {
            "it cannot emulate the instruction (suberror 1); is this KVM without hardware behind it? see `yagura doctor`"
                .to_owned()
        }
        kvm_bindings::KVM_INTERNAL_ERROR_DELIVERY_EV => "an exit during event delivery (suberror 3)".to_owned(),
        other => format!("suberror {other}"),
    }
}

impl Vcpu for KvmVcpu {
    fn kicker(&self) -> Arc<dyn Kick> {
        Arc::clone(&self.kicker) as Arc<dyn Kick>
    }

    fn run(&mut self, io: &impl GuestIo) -> Result<Halt, EngineError> {
        self.kicker.enter();
        let result = loop {
            if self.kicker.take() {
                break Ok(Halt::Kicked);
            }
            match self.step(io) {
                Ok(Next::Enter) => {}
                Ok(Next::PortAccess) => self.port_access(io),
                Ok(Next::Halt(halt)) => break Ok(halt),
                Err(error) => break Err(error),
            }
        };
        self.kicker.leave();
        result
    }

    fn tell_of_standstill(&mut self) -> Result<(), EngineError> {
        // KVM writes it to the guest's memory at the next entry, so it is asked before that and not when the guest stops.
        match self.capabilities.kvmclock_ctrl.then(|| self.fd.kvmclock_ctrl()) {
            // A guest that does not use kvmclock (API 4.75).
            Some(Err(error)) if error.errno() == libc::EINVAL => Ok(()),
            Some(told) => told.map_err(failed("KVM_KVMCLOCK_CTRL")),
            None => Ok(()),
        }
    }

    fn settle(&mut self, io: &impl GuestIo) -> Result<(), EngineError> {
        // With immediate_exit set, KVM_RUN completes the access in flight and answers EINTR; an access that
        // was split in parts may come back with the next part first.
        loop {
            self.kicker.set_immediate_exit(1);
            let settled = match self.fd.run() {
                Err(error) if error.errno() == libc::EINTR => true,
                Err(error) => return Err(failed("KVM_RUN")(error)),
                Ok(VcpuExit::MmioRead(address, data)) => {
                    io.mmio_read(address, data);
                    false
                }
                Ok(VcpuExit::MmioWrite(address, data)) => {
                    io.mmio_write(address, data);
                    false
                }
                Ok(VcpuExit::IoIn(..) | VcpuExit::IoOut(..)) => {
                    self.port_access(io);
                    false
                }
                Ok(_) => true,
            };
            if settled {
                self.kicker.set_immediate_exit(0);
                return Ok(());
            }
        }
    }

    fn state(&self) -> Result<CpuState, EngineError> {
        state::vcpu::save(&self.fd, &self.capabilities, self.xsave_components, &self.saved_msrs)
    }

    fn set_state(&mut self, cpu: &CpuState) -> Result<(), EngineError> {
        state::vcpu::restore(&self.fd, &self.capabilities, cpu)
    }

    fn counters(&self) -> Arc<ExitCounters> {
        Arc::clone(&self.counters)
    }
}

impl Drop for KvmVcpu {
    fn drop(&mut self) {
        self.kicker.close();
    }
}
