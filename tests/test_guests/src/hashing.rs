//! A guest that writes all over its memory, on all of its vCPUs, and can prove at any time that nothing of it was lost.

use crate::guest_code;

/// Where the memory of vCPU 0 begins; the next vCPU's follows. A multiple of [`REGION_BYTES`].
pub const REGIONS: u32 = 0x40_0000;
/// Bytes of a vCPU's memory.
pub const REGION_BYTES: u32 = 0x40_0000;
/// Every so many bytes there is a double word that is written.
pub const STRIDE_BYTES: u32 = 1024;
/// The seed of vCPU N is this times N + 1.
pub const SEED: u32 = 0x9e37_79b9;

guest_code! {
    /// Empties COM1's FIFOs, writes `!`, and waits for the number of its vCPUs, a digit. It starts the others (Intel SDM,
    /// volume 3, 9.4: "Multiple-Processor Initialization") and writes `+`.
    ///
    /// From then on each vCPU draws numbers (xorshift32 with 13, 17, 5) and writes each to a double word of its memory that
    /// the number chooses: bits 0 to 9 the page, 10 and 11 the place in it. In registers it keeps how many it has written, and the
    /// sum of all double words, each times its address plus 1. At any byte from COM1 all vCPUs sum up their memory, and for each of
    /// them the guest sends `1` if that is what it should be and else `0`, the count and the sum, little-endian.
    hasher,
    ".code32",
    "mov esp, 0x9000",
    "mov dx, 0x3fa",
    "mov al, 7",
    "out dx, al",
    "mov dx, 0x3f8",
    "mov al, '!'",
    "out dx, al",
    "20: mov dx, 0x3fd",
    "in al, dx",
    "test al, 1",
    "jz 20b",
    "mov dx, 0x3f8",
    "in al, dx",
    "movzx eax, al",
    "sub eax, '0'",
    // What has been asked for, the number of vCPUs, the number of those that are here.
    "mov dword ptr [0x200000], 0",
    "mov [0x200004], eax",
    "mov dword ptr [0x200008], 1",
    // In real mode at 0x8000: cli; xor ax, ax; mov ds, ax; lgdt [0x8080]; mov eax, cr0; or al, 1; mov cr0, eax;
    // jmp far 8:ADDRESS.
    "mov dword ptr [0x8000], 0x8ec031fa",
    "mov dword ptr [0x8004], 0x16010fd8",
    "mov dword ptr [0x8008], 0x200f8080",
    "mov dword ptr [0x800c], 0x0f010cc0",
    "mov dword ptr [0x8010], 0xea66c022",
    "call 21f",
    // Here the others begin; the call has left the address.
    "mov ax, 16",
    "mov ds, ax",
    "mov es, ax",
    "mov ss, ax",
    "mov eax, 1",
    "lock xadd [0x200008], eax",
    "jmp 41f",
    "21: pop eax",
    "mov [0x8014], eax",
    "mov dword ptr [0x8018], 8",
    "mov dword ptr [0x8080], 0x80900017",
    "mov dword ptr [0x8084], 0",
    "mov dword ptr [0x8090], 0",
    "mov dword ptr [0x8094], 0",
    "mov dword ptr [0x8098], 0x0000ffff",
    "mov dword ptr [0x809c], 0x00cf9a00",
    "mov dword ptr [0x80a0], 0x0000ffff",
    "mov dword ptr [0x80a4], 0x00cf9200",
    "cmp dword ptr [0x200004], 1",
    "je 23f",
    // INIT and SIPI to all but this one.
    "mov dword ptr [0xfee000f0], 0x1ff",
    "mov dword ptr [0xfee00300], 0xc4500",
    "mov ecx, 10000",
    "22: dec ecx",
    "jnz 22b",
    "mov dword ptr [0xfee00300], 0xc4608",
    "24: pause",
    "mov eax, [0x200008]",
    "cmp eax, [0x200004]",
    "jne 24b",
    "23: mov al, '+'",
    "out dx, al",
    "xor eax, eax",
    // Number in eax: record in esi, memory in edi, the number drawn last in ebp, count in ebx, sum in edx.
    "41: mov esi, eax",
    "shl esi, 6",
    "add esi, 0x200100",
    "mov dword ptr [esi + 12], 0",
    "inc eax",
    "imul ebp, eax, 0x9e3779b9",
    "mov edi, eax",
    "shl edi, 22",
    "xor ebx, ebx",
    "xor edx, edx",
    "50: mov eax, ebp",
    "shl eax, 13",
    "xor ebp, eax",
    "mov eax, ebp",
    "shr eax, 17",
    "xor ebp, eax",
    "mov eax, ebp",
    "shl eax, 5",
    "xor ebp, eax",
    "mov eax, ebp",
    "and eax, 1023",
    "shl eax, 12",
    "mov ecx, ebp",
    "and ecx, 0xc00",
    "add eax, ecx",
    "add eax, edi",
    "mov ecx, ebp",
    "sub ecx, [eax]",
    "mov [eax], ebp",
    "inc eax",
    "imul ecx, eax",
    "add edx, ecx",
    "inc ebx",
    // Who looks on has to follow.
    "mov ecx, 10",
    "51: dec ecx",
    "jnz 51b",
    "mov eax, [0x200000]",
    "cmp eax, [esi + 12]",
    "jne 60f",
    "cmp esi, 0x200100",
    "jne 50b",
    "test bl, 63",
    "jnz 50b",
    "mov ecx, edx",
    "mov dx, 0x3fd",
    "in al, dx",
    "mov edx, ecx",
    "test al, 1",
    "jz 50b",
    "mov dx, 0x3f8",
    "in al, dx",
    "mov edx, ecx",
    "inc dword ptr [0x200000]",
    // The sum of memory in ecx.
    "60: mov [esi], ebx",
    "mov [esi + 4], edx",
    "xor ecx, ecx",
    "mov eax, edi",
    "61: mov edx, [eax]",
    "lea ebx, [eax + 1]",
    "imul edx, ebx",
    "add ecx, edx",
    "add eax, 1024",
    "lea ebx, [edi + 0x400000]",
    "cmp eax, ebx",
    "jb 61b",
    "mov ebx, [esi]",
    "mov edx, [esi + 4]",
    "mov dword ptr [esi + 8], 0",
    "cmp ecx, edx",
    "jne 62f",
    "mov dword ptr [esi + 8], 1",
    "62: mov eax, [0x200000]",
    "mov [esi + 12], eax",
    "cmp esi, 0x200100",
    "jne 50b",
    // vCPU 0 tells of all.
    "mov ecx, esi",
    "mov ebx, [0x200004]",
    "mov dx, 0x3f8",
    "63: mov eax, [0x200000]",
    "64: pause",
    "cmp eax, [ecx + 12]",
    "jne 64b",
    "mov al, [ecx + 8]",
    "add al, '0'",
    "out dx, al",
    "mov eax, [ecx]",
    "call 70f",
    "mov eax, [ecx + 4]",
    "call 70f",
    "add ecx, 64",
    "dec ebx",
    "jnz 63b",
    "mov ebx, [esi]",
    "mov edx, [esi + 4]",
    "jmp 50b",
    "70: out dx, al",
    "shr eax, 8",
    "out dx, al",
    "shr eax, 8",
    "out dx, al",
    "shr eax, 8",
    "out dx, al",
    "ret",
}

/// What one vCPU of [`hasher`] has in its memory and its registers.
#[derive(Clone)]
pub struct Expected {
    base: u32,
    drawn: u32,
    /// How many numbers it has written.
    pub count: u32,
    /// Its sum.
    pub sum: u32,
    words: Vec<u32>,
}

impl Expected {
    /// vCPU `number` at its start.
    pub fn of(number: u32) -> Expected {
        let words = vec![0; (REGION_BYTES / STRIDE_BYTES) as usize];
        let (base, drawn) = (REGIONS + number * REGION_BYTES, SEED.wrapping_mul(number + 1));
        Expected { base, drawn, count: 0, sum: 0, words }
    }

    /// Goes on until it has written `count` numbers, which is no fewer than now.
    pub fn advance(&mut self, count: u32) {
        while self.count != count {
            self.drawn ^= self.drawn << 13;
            self.drawn ^= self.drawn >> 17;
            self.drawn ^= self.drawn << 5;
            let offset = (self.drawn & 1023) << 12 | self.drawn & 0xc00;
            let word = &mut self.words[(offset / STRIDE_BYTES) as usize];
            let weight = self.base.wrapping_add(offset).wrapping_add(1);
            self.sum = self.sum.wrapping_add(self.drawn.wrapping_sub(*word).wrapping_mul(weight));
            *word = self.drawn;
            self.count = self.count.wrapping_add(1);
        }
    }
}
