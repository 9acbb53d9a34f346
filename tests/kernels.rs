//! Each way into a kernel, by a small guest that looks at the state in which it was entered.

#![allow(clippy::unwrap_used, reason = "all of this file is test code")]

mod monitor;

use monitor::{Engine, on_each_engine};
use test_guests::{entries, linux_image, multiboot_image, multiboot2_image, unified_image};

/// What the guests find in their module or initrd and write to the exit port.
const FOUND: u8 = 0x5a;

on_each_engine!(
    multiboot_kernels_are_entered_and_told_of_their_modules,
    linux_images_without_payload_are_entered_in_either_mode,
    a_unified_kernel_image_brings_its_initrd_along,
);

/// The byte that `image` wrote to the exit port.
fn written(engine: Engine, image: &[u8], arguments: &[&str]) -> u8 {
    let folder = tempfile::tempdir().unwrap();
    let module = folder.path().join("module");
    std::fs::write(&module, [FOUND; 5000]).unwrap();
    let module = module.to_str().unwrap();
    let arguments: Vec<String> = arguments.iter().map(|part| part.replace("MODULE", module)).collect();
    let mut all = vec!["--debug-exit", "0xf4", "--on-reset", "exit"];
    all.extend(arguments.iter().map(String::as_str));
    let mut monitor = engine.start_kernel(image, &all);
    let status = monitor.wait();
    match status.code() {
        Some(code) if code & 1 == 1 => (code >> 1) as u8,
        _ => panic!("the guest wrote nothing: {status}: {}", monitor.said()),
    }
}

fn multiboot_kernels_are_entered_and_told_of_their_modules(engine: Engine) {
    let one = multiboot_image(entries::multiboot_entry());
    assert_eq!(written(engine, &one, &["--cmdline", "word", "--module", "MODULE=line"]), FOUND);
    let two = multiboot2_image(entries::multiboot2_entry());
    assert_eq!(written(engine, &two, &["--module", "MODULE"]), FOUND);
    let forced = ["--initrd", "MODULE", "--boot-protocol", "multiboot2"];
    assert_eq!(written(engine, &two, &forced), FOUND, "the initrd is the first module");
}

fn linux_images_without_payload_are_entered_in_either_mode(engine: Engine) {
    let narrow = linux_image(entries::linux_entry_32(), false);
    assert_eq!(written(engine, &narrow, &["--initrd", "MODULE"]), FOUND);
    let long = linux_image(entries::linux_entry_64(), true);
    assert_eq!(written(engine, &long, &["--initrd", "MODULE"]), FOUND);
}

fn a_unified_kernel_image_brings_its_initrd_along(engine: Engine) {
    let kernel = linux_image(entries::linux_entry_64(), true);
    let image = unified_image(&[(".cmdline", b"quiet"), (".linux", &kernel), (".initrd", &[FOUND; 5000])]);
    assert_eq!(written(engine, &image, &[]), FOUND);
    // What is given besides stands behind it.
    let other = unified_image(&[(".initrd", &[FOUND + 1; 3]), (".linux", &kernel)]);
    assert_eq!(written(engine, &other, &["--initrd", "MODULE"]), FOUND + 1);
    let bare = unified_image(&[(".linux", &kernel)]);
    assert_eq!(written(engine, &bare, &["--initrd", "MODULE", "--initrd", "MODULE"]), FOUND);
}
