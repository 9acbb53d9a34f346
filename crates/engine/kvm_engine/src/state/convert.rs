//! Field-by-field conversions, without any system call.

use arch_model::x86_64::{
    DebugRegisters, DescriptorTable, LapicState, PendingEvents, PendingException, Registers, RunState,
    Segment, SystemRegisters,
};
use kvm_bindings::{
    KVM_MP_STATE_HALTED, KVM_MP_STATE_INIT_RECEIVED, KVM_MP_STATE_RUNNABLE, KVM_MP_STATE_SIPI_RECEIVED,
    KVM_MP_STATE_UNINITIALIZED, KVM_VCPUEVENT_VALID_NMI_PENDING, KVM_VCPUEVENT_VALID_PAYLOAD,
    KVM_VCPUEVENT_VALID_SHADOW, KVM_VCPUEVENT_VALID_SIPI_VECTOR, kvm_debugregs, kvm_dtable, kvm_lapic_state,
    kvm_mp_state, kvm_regs, kvm_segment, kvm_sregs, kvm_vcpu_events,
};

/// Registers of the local APIC's page, one every 16 bytes.
const LAPIC_REGISTERS: usize = 64;

pub(crate) fn registers_from(regs: &kvm_regs) -> Registers {
    let kvm_regs {
        rax,
        rbx,
        rcx,
        rdx,
        rsi,
        rdi,
        rsp,
        rbp,
        r8,
        r9,
        r10,
        r11,
        r12,
        r13,
        r14,
        r15,
        rip,
        rflags,
    } = *regs;
    Registers { rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp, r8, r9, r10, r11, r12, r13, r14, r15, rip, rflags }
}

pub(crate) fn registers_to(regs: &Registers) -> kvm_regs {
    let Registers {
        rax,
        rbx,
        rcx,
        rdx,
        rsi,
        rdi,
        rsp,
        rbp,
        r8,
        r9,
        r10,
        r11,
        r12,
        r13,
        r14,
        r15,
        rip,
        rflags,
    } = *regs;
    kvm_regs { rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp, r8, r9, r10, r11, r12, r13, r14, r15, rip, rflags }
}

fn segment_from(segment: &kvm_segment) -> Segment {
    Segment {
        selector: segment.selector,
        base: segment.base,
        limit: segment.limit,
        kind: segment.type_,
        code_or_data: segment.s != 0,
        dpl: segment.dpl,
        present: segment.present != 0,
        available: segment.avl != 0,
        long: segment.l != 0,
        default_big: segment.db != 0,
        granular: segment.g != 0,
        unusable: segment.unusable != 0,
    }
}

fn segment_to(segment: &Segment) -> kvm_segment {
    kvm_segment {
        selector: segment.selector,
        base: segment.base,
        limit: segment.limit,
        type_: segment.kind,
        s: segment.code_or_data.into(),
        dpl: segment.dpl,
        present: segment.present.into(),
        avl: segment.available.into(),
        l: segment.long.into(),
        db: segment.default_big.into(),
        g: segment.granular.into(),
        unusable: segment.unusable.into(),
        padding: 0,
    }
}

pub(crate) fn system_from(sregs: &kvm_sregs) -> SystemRegisters {
    SystemRegisters {
        cs: segment_from(&sregs.cs),
        ds: segment_from(&sregs.ds),
        es: segment_from(&sregs.es),
        fs: segment_from(&sregs.fs),
        gs: segment_from(&sregs.gs),
        ss: segment_from(&sregs.ss),
        tr: segment_from(&sregs.tr),
        ldt: segment_from(&sregs.ldt),
        gdt: DescriptorTable { base: sregs.gdt.base, limit: sregs.gdt.limit },
        idt: DescriptorTable { base: sregs.idt.base, limit: sregs.idt.limit },
        cr0: sregs.cr0,
        cr2: sregs.cr2,
        cr3: sregs.cr3,
        cr4: sregs.cr4,
        cr8: sregs.cr8,
        efer: sregs.efer,
        apic_base: sregs.apic_base,
    }
}

/// `interrupt` is the vector being injected: KVM takes it here as well as in its events structure.
pub(crate) fn system_to(system: &SystemRegisters, interrupt: Option<u8>) -> kvm_sregs {
    let table =
        |table: &DescriptorTable| kvm_dtable { base: table.base, limit: table.limit, padding: [0; 3] };
    let mut interrupt_bitmap = [0u64; 4];
    if let Some(vector) = interrupt {
        interrupt_bitmap[usize::from(vector) / 64] = 1 << (vector % 64);
    }
    kvm_sregs {
        cs: segment_to(&system.cs),
        ds: segment_to(&system.ds),
        es: segment_to(&system.es),
        fs: segment_to(&system.fs),
        gs: segment_to(&system.gs),
        ss: segment_to(&system.ss),
        tr: segment_to(&system.tr),
        ldt: segment_to(&system.ldt),
        gdt: table(&system.gdt),
        idt: table(&system.idt),
        cr0: system.cr0,
        cr2: system.cr2,
        cr3: system.cr3,
        cr4: system.cr4,
        cr8: system.cr8,
        efer: system.efer,
        apic_base: system.apic_base,
        interrupt_bitmap,
    }
}

pub(crate) fn lapic_from(lapic: &kvm_lapic_state) -> LapicState {
    let register = |index: usize| {
        let at = index * 16;
        u32::from_le_bytes(std::array::from_fn(|byte| lapic.regs[at + byte] as u8))
    };
    LapicState { registers: (0..LAPIC_REGISTERS).map(register).collect() }
}

pub(crate) fn lapic_to(lapic: &LapicState) -> kvm_lapic_state {
    let mut out = kvm_lapic_state::default();
    for (index, register) in lapic.registers.iter().take(LAPIC_REGISTERS).enumerate() {
        for (byte, value) in register.to_le_bytes().into_iter().enumerate() {
            out.regs[index * 16 + byte] = value as _;
        }
    }
    out
}

pub(crate) fn debug_from(debug: &kvm_debugregs) -> DebugRegisters {
    DebugRegisters { addresses: debug.db, dr6: debug.dr6, dr7: debug.dr7 }
}

pub(crate) fn debug_to(debug: &DebugRegisters) -> kvm_debugregs {
    kvm_debugregs { db: debug.addresses, dr6: debug.dr6, dr7: debug.dr7, ..Default::default() }
}

pub(crate) fn events_from(events: &kvm_vcpu_events) -> PendingEvents {
    let exception = events.exception;
    let payload_known = events.flags & KVM_VCPUEVENT_VALID_PAYLOAD != 0;
    let pending = payload_known && exception.pending != 0;
    PendingEvents {
        exception: (exception.injected != 0 || pending).then(|| PendingException {
            vector: exception.nr,
            error_code: (exception.has_error_code != 0).then_some(exception.error_code),
            injected: exception.injected != 0,
            payload: (payload_known && events.exception_has_payload != 0).then_some(events.exception_payload),
        }),
        interrupt: (events.interrupt.injected != 0).then_some(events.interrupt.nr),
        interrupt_is_soft: events.interrupt.soft != 0,
        interrupt_shadow: events.interrupt.shadow,
        nmi_pending: events.nmi.pending != 0,
        nmi_injected: events.nmi.injected != 0,
        nmi_masked: events.nmi.masked != 0,
        sipi_vector: events.sipi_vector,
    }
}

pub(crate) fn events_to(events: &PendingEvents, with_payload: bool) -> kvm_vcpu_events {
    let flags =
        KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SIPI_VECTOR | KVM_VCPUEVENT_VALID_SHADOW;
    let mut out = kvm_vcpu_events { flags, sipi_vector: events.sipi_vector, ..Default::default() };
    if let Some(exception) = events.exception {
        out.exception.nr = exception.vector;
        out.exception.has_error_code = exception.error_code.is_some().into();
        out.exception.error_code = exception.error_code.unwrap_or(0);
        // Without the payload capability KVM knows no pending exceptions: the delivery is begun here.
        out.exception.injected = (exception.injected || !with_payload).into();
        if with_payload {
            out.flags |= KVM_VCPUEVENT_VALID_PAYLOAD;
            out.exception.pending = (!exception.injected).into();
            out.exception_has_payload = exception.payload.is_some().into();
            out.exception_payload = exception.payload.unwrap_or(0);
        }
    }
    out.interrupt.injected = events.interrupt.is_some().into();
    out.interrupt.nr = events.interrupt.unwrap_or(0);
    out.interrupt.soft = events.interrupt_is_soft.into();
    out.interrupt.shadow = events.interrupt_shadow;
    out.nmi.pending = events.nmi_pending.into();
    out.nmi.injected = events.nmi_injected.into();
    out.nmi.masked = events.nmi_masked.into();
    out
}

pub(crate) fn run_state_from(state: kvm_mp_state) -> RunState {
    match state.mp_state {
        KVM_MP_STATE_HALTED => RunState::Halted,
        KVM_MP_STATE_UNINITIALIZED => RunState::Uninitialized,
        KVM_MP_STATE_INIT_RECEIVED => RunState::InitReceived,
        KVM_MP_STATE_SIPI_RECEIVED => RunState::SipiReceived,
        _ => RunState::Running,
    }
}

pub(crate) fn run_state_to(state: RunState) -> kvm_mp_state {
    let mp_state = match state {
        RunState::Running => KVM_MP_STATE_RUNNABLE,
        RunState::Halted => KVM_MP_STATE_HALTED,
        RunState::Uninitialized => KVM_MP_STATE_UNINITIALIZED,
        RunState::InitReceived => KVM_MP_STATE_INIT_RECEIVED,
        RunState::SipiReceived => KVM_MP_STATE_SIPI_RECEIVED,
    };
    kvm_mp_state { mp_state }
}
