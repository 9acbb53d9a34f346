//! MSI-X against a controller that records messages.

use device_model::fake::FakeMsi;
use device_model::{BarKind, BarRegion};

use super::*;
use crate::Identity;

const PLACEMENT: MsixPlacement = MsixPlacement { bar: 0, table_offset: 0x8000, pending_offset: 0x4000 };
const TABLE: u64 = PLACEMENT.table_offset as u64;
const PENDING: u64 = PLACEMENT.pending_offset as u64;

struct Function {
    config: ConfigSpace,
    msix: Msix,
    sent: FakeMsi,
}

impl Function {
    fn new(count: u16) -> Function {
        let identity =
            Identity { vendor: 1, device: 2, class: 0, revision: 0, subsystem_vendor: 0, subsystem: 0 };
        let bars = [BarRegion { index: 0, kind: BarKind::Memory64, size_bytes: 0x1_0000 }];
        let mut config = ConfigSpace::new(identity, &bars);
        let sent = FakeMsi::default();
        let msix = Msix::new(&mut config, PLACEMENT, count, &sent).unwrap();
        Function { config, msix, sent }
    }

    fn control(&mut self, value: u16) {
        self.config.write(self.msix.capability + 2, &value.to_le_bytes());
        self.msix.follow_control(&self.config);
    }

    fn program(&mut self, vector: u64, data: u32, masked: bool) {
        let entry = TABLE + 16 * vector;
        assert!(self.msix.write(entry, &0xfee0_0000_u64.to_le_bytes()));
        assert!(self.msix.write(entry + 8, &data.to_le_bytes()));
        assert!(self.msix.write(entry + 12, &u32::from(masked).to_le_bytes()));
    }

    fn sent(&self) -> Vec<u32> {
        self.sent.take().into_iter().map(|message| message.data).collect()
    }

    fn pending(&self, group: u64) -> u64 {
        let mut bits = [0; 8];
        assert!(self.msix.read(PENDING + 8 * group, &mut bits));
        u64::from_le_bytes(bits)
    }
}

#[test]
fn messages_go_out_only_while_everything_is_open() {
    // (message control, vector masked, message sent, pending afterwards)
    let cases = [
        (0, false, false, false),
        (MSIX_FUNCTION_MASK, false, false, false),
        (MSIX_ENABLE, false, true, false),
        (MSIX_ENABLE, true, false, true),
        (MSIX_ENABLE | MSIX_FUNCTION_MASK, false, false, true),
    ];
    for (control, masked, sent, pending) in cases {
        let mut function = Function::new(3);
        function.control(control);
        function.program(1, 77, masked);
        function.msix.vectors().signal(1);
        assert_eq!(!function.sent().is_empty(), sent, "{control:#x} {masked}");
        assert_eq!(function.pending(0), u64::from(pending) << 1, "{control:#x} {masked}");
    }
}

#[test]
fn pending_is_delivered_once_on_unmask() {
    let mut function = Function::new(70);
    function.control(MSIX_ENABLE);
    function.program(69, 5, true);
    let vectors = function.msix.vectors();
    vectors.signal(69);
    vectors.signal(69);
    assert_eq!((function.pending(0), function.pending(1)), (0, 1 << 5));
    function.program(69, 6, false);
    assert_eq!(function.sent(), [6]);
    assert_eq!(function.pending(1), 0);
    function.control(MSIX_ENABLE | MSIX_FUNCTION_MASK);
    vectors.signal(69);
    function.control(MSIX_ENABLE);
    assert_eq!(function.sent(), [6]);
    function.control(MSIX_ENABLE | MSIX_FUNCTION_MASK);
    vectors.signal(69);
    function.control(0);
    function.control(MSIX_ENABLE);
    assert!(function.sent().is_empty(), "switching MSI-X off forgets what was pending");
}

#[test]
fn table_survives_hammering() {
    let mut function = Function::new(5);
    function.control(MSIX_ENABLE);
    let vectors = function.msix.vectors();
    for offset in (TABLE - 16..TABLE + 6 * 16).chain(PENDING - 8..PENDING + 16) {
        for len in 1..=8 {
            let inside = (TABLE..TABLE + 80).contains(&offset) || (PENDING..PENDING + 8).contains(&offset);
            let mut data = [0; 8];
            assert_eq!(function.msix.read(offset, &mut data[..len]), inside);
            assert_eq!(function.msix.write(offset, &[0xff; 8][..len]), inside);
            (0..8).for_each(|vector| vectors.signal(vector));
            function.msix.write(offset, &[0; 8][..len]);
        }
    }
    vectors.signal(NO_SUCH_VECTOR);
}

#[test]
fn small_and_misaligned_writes_are_dropped() {
    let mut function = Function::new(2);
    for (offset, len) in [(0, 1), (0, 2), (2, 4), (4, 8), (1, 8), (0, 3)] {
        function.msix.write(TABLE + offset, &[0xff; 8][..len]);
    }
    let mut entry = [0xaa; 8];
    function.msix.read(TABLE, &mut entry);
    assert_eq!(entry, [0; 8]);
    function.msix.write(TABLE, &[0xff; 8]);
    function.msix.read(TABLE, &mut entry);
    assert_eq!(u64::from_le_bytes(entry), !3);
}

#[test]
fn control_has_the_size_and_two_writable_bits() {
    let mut function = Function::new(2048);
    function.control(0xffff);
    assert_eq!(function.config.read_u16(function.msix.capability + 2), 0xc7ff);
    let placement = |at| function.config.read_u32(function.msix.capability + at);
    assert_eq!((placement(4), placement(8)), (0x8000, 0x4000));
    for count in [0, 2049] {
        let msix = Msix::new(&mut function.config, PLACEMENT, count, &function.sent);
        assert!(msix.is_err());
    }
}

#[test]
fn restored_vectors_are_routed_and_deliver_what_was_pending() {
    let mut from = Function::new(4);
    from.control(MSIX_ENABLE);
    from.program(0, 10, false);
    from.program(2, 12, true);
    from.msix.vectors().signal(2);
    let mut to = Function::new(4);
    to.config.restore(&from.config.save()).unwrap();
    to.msix.restore(&from.msix.save(), &to.config).unwrap();
    to.msix.vectors().signal(0);
    assert_eq!(to.sent(), [10]);
    to.program(2, 12, false);
    assert_eq!(to.sent(), [12]);
    let mut smaller = Function::new(3);
    assert!(smaller.msix.restore(&from.msix.save(), &to.config).is_err());
    to.msix.reset();
    to.msix.vectors().signal(0);
    assert!(to.sent().is_empty());
}
