use device_harness::{Arena, Piece};
use guest_memory::GuestAddress;

use super::*;

const LIMITS: Limits = Limits {
    size_bytes: 64 << 10,
    block_bytes: 512,
    read_only: false,
    can_discard: true,
    can_write_zeroes: true,
};
const SECTORS: u64 = LIMITS.size_bytes / SECTOR_SIZE;

fn header(kind: u32, sector: u64) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &[0; 4], &sector.to_le_bytes()].concat()
}

fn range(sector: u64, num_sectors: u32, flags: u32) -> Vec<u8> {
    [&sector.to_le_bytes()[..], &num_sectors.to_le_bytes(), &flags.to_le_bytes()].concat()
}

/// Parses a request with `readable` contents and writable pieces of these lengths.
fn parse_with(limits: &Limits, readable: &[u8], writable: &[u32]) -> Result<Request, Refusal> {
    let mut arena = Arena::new(1 << 20);
    let readable = vec![arena.put(readable)];
    let writable: Vec<Piece> = writable.iter().map(|len| arena.room(*len)).collect();
    parse(&Chain::from_pieces(0, readable, writable), arena.memory(), limits)
}

/// The parts of a request for the disk: operation, offset, length, bytes of memory.
fn parts(request: Request) -> Vec<(DiskOperation, u64, u64, usize)> {
    let Request::Disk(parts) = request else { panic!("not for the disk: {request:?}") };
    let each = |part: Part| (part.operation, part.offset_bytes, part.length_bytes, part.buffers.len_bytes());
    parts.into_iter().map(each).collect()
}

#[test]
fn requests_become_parts() {
    let zeroes = |may_unmap| DiskOperation::WriteZeroes { may_unmap };
    let with = |header: Vec<u8>, data: Vec<u8>| [header, data].concat();
    let last = SECTORS - 1;
    let discards = [range(0, 8, 0), range(8, 0, 0), range(last, 1, 0)].concat();
    let cases = [
        (header(spec::T_IN, 3), vec![1024, 1], vec![(DiskOperation::Read, 1536, 1024, 1024)]),
        (header(spec::T_IN, 0), vec![513], vec![(DiskOperation::Read, 0, 512, 512)]),
        (header(spec::T_IN, last), vec![500, 13], vec![(DiskOperation::Read, last * 512, 512, 512)]),
        (header(spec::T_IN, SECTORS), vec![1], vec![]),
        (with(header(spec::T_OUT, 1), vec![7; 512]), vec![1], vec![(DiskOperation::Write, 512, 512, 512)]),
        (header(spec::T_FLUSH, 99), vec![1], vec![(DiskOperation::Flush, 0, 0, 0)]),
        (
            with(header(spec::T_DISCARD, 0), discards),
            vec![1],
            vec![(DiskOperation::Discard, 0, 4096, 0), (DiskOperation::Discard, last * 512, 512, 0)],
        ),
        (
            with(header(spec::T_WRITE_ZEROES, 0), range(2, 2, 0)),
            vec![1],
            vec![(zeroes(false), 1024, 1024, 0)],
        ),
        (with(header(spec::T_WRITE_ZEROES, 0), range(2, 2, 1)), vec![1], vec![(zeroes(true), 1024, 1024, 0)]),
    ];
    for (readable, writable, expected) in cases {
        let request = parse_with(&LIMITS, &readable, &writable).unwrap();
        assert_eq!(parts(request), expected, "{readable:?}");
    }
    let id = parse_with(&LIMITS, &header(spec::T_GET_ID, 0), &[20, 1]).unwrap();
    assert!(matches!(id, Request::Id { room_bytes: 20 }));
}

#[test]
fn nonsense_is_refused() {
    let read_only = Limits { read_only: true, can_discard: false, can_write_zeroes: false, ..LIMITS };
    let with = |kind, sector, data: &[u8]| [&header(kind, sector)[..], data].concat();
    let ranges = |kind, data: &[u8]| with(kind, 0, data);
    let (io, unsupported) = (spec::S_IOERR, spec::S_UNSUPP);
    let many = range(0, 1, 0).repeat(MAX_DISCARD_RANGES + 1);
    let cases: Vec<(Limits, Vec<u8>, Vec<u32>, u8)> = vec![
        (LIMITS, vec![], vec![1], io),
        (LIMITS, vec![0; 15], vec![513], io),
        (LIMITS, header(spec::T_IN, 0), vec![], io),
        (LIMITS, header(spec::T_IN, 0), vec![512], io),
        (LIMITS, header(spec::T_IN, 0), vec![511, 1], io),
        (LIMITS, header(spec::T_IN, SECTORS), vec![512, 1], io),
        (LIMITS, header(spec::T_IN, SECTORS - 1), vec![1024, 1], io),
        (LIMITS, header(spec::T_IN, u64::MAX), vec![512, 1], io),
        (LIMITS, header(spec::T_IN, u64::MAX / 512), vec![512, 1], io),
        (LIMITS, with(spec::T_OUT, 0, &[1; 100]), vec![1], io),
        (LIMITS, with(spec::T_OUT, SECTORS, &[1; 512]), vec![1], io),
        (read_only, with(spec::T_OUT, 0, &[1; 512]), vec![1], io),
        (read_only, ranges(spec::T_DISCARD, &range(0, 1, 0)), vec![1], unsupported),
        (read_only, ranges(spec::T_WRITE_ZEROES, &range(0, 1, 0)), vec![1], unsupported),
        (LIMITS, ranges(spec::T_DISCARD, &[]), vec![1], io),
        (LIMITS, ranges(spec::T_DISCARD, &[0; 17]), vec![1], io),
        (LIMITS, ranges(spec::T_DISCARD, &many), vec![1], io),
        (LIMITS, ranges(spec::T_DISCARD, &range(0, 1, 1)), vec![1], unsupported),
        (LIMITS, ranges(spec::T_DISCARD, &range(SECTORS, 1, 0)), vec![1], io),
        (LIMITS, ranges(spec::T_DISCARD, &range(u64::MAX, u32::MAX, 0)), vec![1], io),
        (LIMITS, ranges(spec::T_DISCARD, &range(0, MAX_DISCARD_SECTORS + 1, 0)), vec![1], io),
        (LIMITS, ranges(spec::T_WRITE_ZEROES, &range(0, 1, 2)), vec![1], unsupported),
        (LIMITS, ranges(spec::T_WRITE_ZEROES, &range(0, 1, 0).repeat(2)), vec![1], io),
        (LIMITS, ranges(spec::T_WRITE_ZEROES, &range(0, MAX_WRITE_ZEROES_SECTORS + 1, 0)), vec![1], io),
        (LIMITS, header(2, 0), vec![1], unsupported),
        (LIMITS, header(u32::MAX, 0), vec![1], unsupported),
    ];
    for (limits, readable, writable, status) in cases {
        let refusal = parse_with(&limits, &readable, &writable).expect_err("refused");
        assert_eq!(refusal.status, status, "{refusal:?} for {readable:?} {writable:?}");
    }
}

#[test]
fn the_header_may_be_split_and_buffers_may_lie_anywhere() {
    let mut arena = Arena::new(1 << 20);
    let bytes = [&header(spec::T_OUT, 1)[..], &[7; 512]].concat();
    let readable = vec![arena.put(&bytes[..3]), arena.put(&bytes[3..20]), arena.put(&bytes[20..])];
    let status = arena.room(1);
    let memory = arena.memory();
    let chain = Chain::from_pieces(0, readable.clone(), vec![status]);
    assert_eq!(parts(parse(&chain, memory, &LIMITS).unwrap()), [(DiskOperation::Write, 512, 512, 512)]);
    let out = readable_header(memory, spec::T_OUT, readable[1].0);
    let read = readable_header(memory, spec::T_IN, readable[2].0);
    for outside in [1 << 20, (1 << 20) - 100, u64::MAX, u64::MAX - 511].map(GuestAddress) {
        let cases = [
            (vec![(outside, 528)], vec![status], outside.0 >= 1 << 20),
            (vec![out, (outside, 512)], vec![status], true),
            (vec![read], vec![(outside, 512), status], true),
        ];
        for (readable, writable, refused) in cases {
            let answer = parse(&Chain::from_pieces(0, readable, writable), memory, &LIMITS);
            assert_eq!(answer.is_err_and(|refusal| refusal.status == spec::S_IOERR), refused, "{outside:?}");
        }
    }
    // The same memory over and over: up to a limit, however large the disk.
    let large = Limits { size_bytes: 1 << 50, ..LIMITS };
    for (count, refused) in [(1024, false), (1025, true)] {
        let again = [vec![(GuestAddress(0), 1 << 20); count], vec![status]].concat();
        let answer = parse(&Chain::from_pieces(0, vec![read], again), memory, &large);
        assert_eq!(answer.is_err_and(|refusal| refusal.status == spec::S_IOERR), refused, "{count} MiB");
    }
    // All the pieces in the world, each the longest.
    let huge = vec![(GuestAddress(0), u32::MAX); 2048];
    let chain = Chain::from_pieces(0, vec![read], huge);
    assert_eq!(parse(&chain, memory, &LIMITS).unwrap_err().status, spec::S_IOERR);
}

/// A request's header for sector 0, at `gpa`.
fn readable_header(memory: &GuestMemory, kind: u32, gpa: GuestAddress) -> Piece {
    guest_memory::Bytes::write_slice(&**memory.slots(), &header(kind, 0), gpa).unwrap();
    (gpa, spec::HEADER_SIZE as u32)
}

#[test]
fn parts_of_blocks_are_refused_where_blocks_are_larger() {
    let large = Limits { block_bytes: 4096, ..LIMITS };
    let with = |header: Vec<u8>, data: Vec<u8>| [header, data].concat();
    for (sector, sectors, is_whole) in [
        (0, 8, true),
        (8, 16, true),
        (120, 8, true),
        (0, 0, true),
        (1, 8, false),
        (0, 7, false),
        (4, 4, false),
    ] {
        let bytes = sectors as usize * 512;
        for (readable, writable) in [
            (header(spec::T_IN, sector), vec![bytes as u32, 1]),
            (with(header(spec::T_OUT, sector), vec![7; bytes]), vec![1]),
            (with(header(spec::T_DISCARD, 0), range(sector, sectors, 0)), vec![1]),
            (with(header(spec::T_WRITE_ZEROES, 0), range(sector, sectors, 1)), vec![1]),
        ] {
            let found = parse_with(&large, &readable, &writable);
            assert_eq!(found.is_ok(), is_whole, "{sector}, {sectors}: {found:?}");
            assert!(parse_with(&LIMITS, &readable, &writable).is_ok(), "sectors are served else");
        }
    }
    let refusal = parse_with(&large, &header(spec::T_IN, 1), &[4096, 1]).unwrap_err();
    assert_eq!(refusal.status, spec::S_IOERR);
}
