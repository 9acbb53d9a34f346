//! The guests. All are entered in 32-bit protected mode without paging, as [`pvh_elf`](crate::pvh_elf) has it.

use crate::guest_code;

/// Where [`pvh_elf`](crate::pvh_elf) guests are loaded.
pub const LOAD_ADDRESS: u32 = 0x10_0000;

/// Port on which guests here end the monitor, where it was told so (`--debug-exit`).
pub const EXIT_PORT: u16 = 0xf4;

guest_code! {
    /// Writes `!` to COM1 and powers off by the ACPI sleep control register (see the machine's address map);
    /// then, for monitors that have no such register, resets by the keyboard controller and by a triple fault.
    hello,
    ".code32",
    "mov dx, 0x3f8",
    "mov al, '!'",
    "out dx, al",
    "mov dx, 0x600",
    "mov al, 0x34",
    "out dx, al",
    "mov al, 0xfe",
    "out 0x64, al",
    // An interrupt table of no length, on the stack.
    "mov esp, 0x9000",
    "push 0",
    "push 0",
    "lidt [esp]",
    "ud2",
}

guest_code! {
    /// Writes `!` to COM1 and then waits for ever, interrupts off.
    sleeper,
    ".code32",
    "mov dx, 0x3f8",
    "mov al, '!'",
    "out dx, al",
    "cli",
    "2: hlt",
    "jmp 2b",
}

guest_code! {
    /// Writes `!` to COM1 and looks for the power button; when that is pressed, it writes `b` and powers off.
    obedient,
    ".code32",
    "mov dx, 0x3f8",
    "mov al, '!'",
    "out dx, al",
    "mov dx, 0x610",
    "2: in al, dx",
    "test al, 1",
    "jz 2b",
    "mov dx, 0x3f8",
    "mov al, 'b'",
    "out dx, al",
    "mov dx, 0x600",
    "mov al, 0x34",
    "out dx, al",
    "3: hlt",
    "jmp 3b",
}

guest_code! {
    /// Writes `!` to COM1 and resets by the keyboard controller.
    resetter,
    ".code32",
    "mov dx, 0x3f8",
    "mov al, '!'",
    "out dx, al",
    "mov al, 0xfe",
    "out 0x64, al",
    "2: hlt",
    "jmp 2b",
}

guest_code! {
    /// Writes `!` to COM1, tells the panic device a thousand times that its kernel panicked, writes `?`, and powers off
    /// by the ACPI sleep control register.
    panicker,
    ".code32",
    "mov dx, 0x3f8",
    "mov al, '!'",
    "out dx, al",
    "mov dx, 0x505",
    "mov ecx, 1000",
    "mov al, 1",
    "3: out dx, al",
    "loop 3b",
    "mov dx, 0x3f8",
    "mov al, '?'",
    "out dx, al",
    "mov dx, 0x600",
    "mov al, 0x34",
    "out dx, al",
    "2: hlt",
    "jmp 2b",
}

guest_code! {
    /// Brings its CPU to a triple fault.
    faulter,
    ".code32",
    "mov esp, 0x9000",
    "push 0",
    "push 0",
    "lidt [esp]",
    "ud2",
}

guest_code! {
    /// Empties COM1's FIFOs and writes `!`. Then it waits for a byte, counts it in RAM, writes the count to a page of its
    /// own, and sends the count's low byte; where the page of the count before does not hold that, it says nothing more.
    counter,
    ".code32",
    "mov dx, 0x3fa",
    "mov al, 7",
    "out dx, al",
    "mov dx, 0x3f8",
    "mov al, '!'",
    "out dx, al",
    "2: mov dx, 0x3fd",
    "in al, dx",
    "test al, 1",
    "jz 2b",
    "mov dx, 0x3f8",
    "in al, dx",
    "mov esi, 0x200000",
    "mov ecx, [esi]",
    // The page of count N is at 3 MiB + N pages.
    "mov ebx, ecx",
    "shl ebx, 12",
    "add ebx, 0x300000",
    "cmp [ebx], ecx",
    "jne 3f",
    "inc ecx",
    "mov [esi], ecx",
    "mov [ebx + 4096], ecx",
    "mov al, cl",
    "out dx, al",
    "jmp 2b",
    "3: cli",
    "hlt",
    "jmp 3b",
}

guest_code! {
    /// Empties COM1's FIFOs and writes `!`. Then it waits for a byte, sends it back plus one, and again; at `q`
    /// it writes 0x15 to the exit port.
    echo,
    ".code32",
    "mov dx, 0x3fa",
    "mov al, 7",
    "out dx, al",
    "mov dx, 0x3f8",
    "mov al, '!'",
    "out dx, al",
    "5: mov dx, 0x3fd",
    "2: in al, dx",
    "test al, 1",
    "jz 2b",
    "mov dx, 0x3f8",
    "in al, dx",
    "cmp al, 'q'",
    "je 3f",
    "inc al",
    "out dx, al",
    "jmp 5b",
    "3: mov al, 0x15",
    "out 0xf4, al",
    "4: hlt",
    "jmp 4b",
}

/// What [`equal_pages`] fills, in bytes, from [`EQUAL_PAGES_START`] on.
pub const EQUAL_PAGES_BYTES: u32 = 4 << 20;
/// See [`EQUAL_PAGES_BYTES`].
pub const EQUAL_PAGES_START: u32 = 0x40_0000;

guest_code! {
    /// Fills 4 MiB with pages that differ from one another but not from those of other guests that run this,
    /// and writes `!` to COM1. Then it obeys bytes from COM1: `r` sends the first byte of the first page;
    /// any other byte is stored there and sent back.
    equal_pages,
    ".code32",
    "cld",
    "mov ebx, 0x400000",
    // Each page: its own address in every double word.
    "6: mov edi, ebx",
    "mov eax, ebx",
    "or eax, 0x41",
    "mov ecx, 1024",
    "rep stosd",
    "add ebx, 4096",
    "cmp ebx, 0x800000",
    "jb 6b",
    "mov dx, 0x3f8",
    "mov al, '!'",
    "out dx, al",
    "2: mov dx, 0x3fd",
    "3: in al, dx",
    "test al, 1",
    "jz 3b",
    "mov dx, 0x3f8",
    "in al, dx",
    "cmp al, 'r'",
    "je 4f",
    "mov [0x400000], al",
    "4: mov al, [0x400000]",
    "out dx, al",
    "jmp 2b",
}

guest_code! {
    /// Reads and writes ports, PCI configuration space and PCI memory at random, 60,000 times in all, leaving
    /// out only what ends or resets the machine; then it writes 0x2a to the exit port.
    hostile,
    ".code32",
    "mov ebx, 0x2545f491",
    "mov ebp, 20000",
    // A step of a linear congruential generator, its upper bits in eax.
    "11: imul ebx, ebx, 1664525",
    "add ebx, 1013904223",
    "mov eax, ebx",
    "shr eax, 9",
    // A port below 0x1000, but for the keyboard controller, the power block and the exit port.
    "mov edx, eax",
    "and edx, 0xfff",
    "cmp edx, 0x60",
    "jb 2f",
    "cmp edx, 0x64",
    "jbe 3f",
    "2: cmp edx, 0xf0",
    "jb 4f",
    "cmp edx, 0xf7",
    "jbe 3f",
    "4: cmp edx, 0x5fc",
    "jb 5f",
    "cmp edx, 0x603",
    "jbe 3f",
    "5: test eax, 0x10000",
    "jz 6f",
    "out dx, al",
    "out dx, eax",
    "jmp 3f",
    "6: in eax, dx",
    "in ax, dx",
    // Configuration space of the first eight slots.
    "3: imul ebx, ebx, 1664525",
    "add ebx, 1013904223",
    "mov edi, ebx",
    "shr edi, 11",
    "and edi, 0x3fffc",
    "add edi, 0xe0000000",
    "test ebx, 0x40000000",
    "jz 7f",
    "mov [edi], ebx",
    "jmp 8f",
    "7: mov eax, [edi]",
    // PCI memory below 4 GiB, where the write above may have put a region.
    "8: imul ebx, ebx, 1664525",
    "add ebx, 1013904223",
    "mov edi, ebx",
    "shr edi, 9",
    "and edi, 0x7ffff",
    "add edi, 0xc0000000",
    "mov [edi], bl",
    "dec ebp",
    "jnz 11b",
    "mov al, 0x2a",
    "out 0xf4, al",
    "9: hlt",
    "jmp 9b",
}

/// Bytes that a `w` of [`disk_writer`] writes.
pub const DISK_WRITER_CHUNK_BYTES: u64 = 64 << 10;

guest_code! {
    /// Drives the disk in slot 1 (VIRTIO 1.2, 4.1 and 5.2) with one queue, writes `!` to COM1 and obeys bytes from COM1:
    /// `w` writes the next 64 KiB of the disk, `r` reads the next and compares them with what `w` writes there, `f`
    /// flushes, `z` goes back to the disk's start, `q` writes 0x15 to the exit port. All but the last two answer with the
    /// request's status as a digit; `d` says that what was read is not what was written.
    disk_writer,
    ".code32",
    "cld",
    "mov esp, 0x9000",
    // COM1's FIFOs are emptied.
    "mov dx, 0x3fa",
    "mov al, 7",
    "out dx, al",
    // The function's configuration space; its region goes below 4 GiB, and memory decoding and mastering on.
    "mov edi, 0xe0008000",
    "mov dword ptr [edi + 0x10], 0xc0000000",
    "mov dword ptr [edi + 0x14], 0",
    "mov word ptr [edi + 4], 6",
    // Common configuration: reset, driver found, features FLUSH and VERSION_1, one ring of 8.
    "mov esi, 0xc0000000",
    "mov byte ptr [esi + 0x14], 0",
    "mov byte ptr [esi + 0x14], 3",
    "mov dword ptr [esi + 8], 0",
    "mov dword ptr [esi + 12], 0x200",
    "mov dword ptr [esi + 8], 1",
    "mov dword ptr [esi + 12], 1",
    "mov byte ptr [esi + 0x14], 11",
    "mov word ptr [esi + 0x16], 0",
    "mov word ptr [esi + 0x18], 8",
    "mov dword ptr [esi + 0x20], 0x200000",
    "mov dword ptr [esi + 0x24], 0",
    "mov dword ptr [esi + 0x28], 0x201000",
    "mov dword ptr [esi + 0x2c], 0",
    "mov dword ptr [esi + 0x30], 0x202000",
    "mov dword ptr [esi + 0x34], 0",
    "mov word ptr [esi + 0x1c], 1",
    "mov byte ptr [esi + 0x14], 15",
    // The next sector in ebp, the available index in ebx.
    "xor ebp, ebp",
    "xor ebx, ebx",
    "mov al, '!'",
    "20: mov dx, 0x3f8",
    "out dx, al",
    "21: mov dx, 0x3fd",
    "22: in al, dx",
    "test al, 1",
    "jz 22b",
    "mov dx, 0x3f8",
    "in al, dx",
    "cmp al, 'w'",
    "je 30f",
    "cmp al, 'r'",
    "je 31f",
    "cmp al, 'f'",
    "je 32f",
    "cmp al, 'z'",
    "je 33f",
    "cmp al, 'q'",
    "jne 21b",
    "mov al, 0x15",
    "out 0xf4, al",
    "23: hlt",
    "jmp 23b",
    "33: xor ebp, ebp",
    "jmp 21b",
    // Each double word of a chunk is the chunk's first sector, and a bit.
    "30: mov edi, 0x210000",
    "mov eax, ebp",
    "or eax, 0x40000000",
    "mov ecx, 0x4000",
    "rep stosd",
    "mov eax, 1",
    "mov edx, 1",
    "call 40f",
    "add ebp, 128",
    "jmp 20b",
    "31: xor eax, eax",
    "mov edx, 3",
    "call 40f",
    "cmp al, '0'",
    "jne 34f",
    "mov edi, 0x210000",
    "mov eax, ebp",
    "or eax, 0x40000000",
    "mov ecx, 0x4000",
    "repe scasd",
    "mov al, '0'",
    "je 34f",
    "mov al, 'd'",
    "34: add ebp, 128",
    "jmp 20b",
    "32: mov eax, 4",
    "xor edx, edx",
    "call 40f",
    "jmp 20b",
    // A request of type eax; edx is the flags of its data's descriptor, 0 for none. Its status as a digit in al.
    "40: mov [0x203000], eax",
    "mov dword ptr [0x203004], 0",
    "mov [0x203008], ebp",
    "mov dword ptr [0x20300c], 0",
    "mov dword ptr [0x200000], 0x203000",
    "mov dword ptr [0x200004], 0",
    "mov dword ptr [0x200008], 16",
    "mov dword ptr [0x20000c], 0x00020001",
    "test edx, edx",
    "jz 41f",
    "mov dword ptr [0x20000c], 0x00010001",
    "mov dword ptr [0x200010], 0x210000",
    "mov dword ptr [0x200014], 0",
    "mov dword ptr [0x200018], 0x10000",
    "or edx, 0x00020000",
    "mov [0x20001c], edx",
    "41: mov dword ptr [0x200020], 0x203100",
    "mov dword ptr [0x200024], 0",
    "mov dword ptr [0x200028], 1",
    "mov dword ptr [0x20002c], 2",
    "mov byte ptr [0x203100], 0xff",
    "mov ecx, ebx",
    "and ecx, 7",
    "mov word ptr [0x201004 + ecx * 2], 0",
    "inc ebx",
    "mov [0x201002], bx",
    "mov word ptr [0xc0003000], 0",
    "42: pause",
    "cmp [0x202002], bx",
    "jne 42b",
    "mov al, [0x203100]",
    "add al, '0'",
    "ret",
}
