//! Who may depend on whom.

use super::Violation;
use super::tree::{Package, Tier, Tree};

/// Device crates that are no device: what concrete devices are made with.
const DEVICE_FRAMES: &[&str] = &["virtio_core", "pci"];
/// The only crate that names concrete devices.
const ASSEMBLY: &str = "machine";
/// What the cloud may know of a virtual machine.
const SPECIFICATION: &str = "vm_spec";
/// The process of one VM, which knows of a store no more than a path in an order.
const VM_PROCESS: &str = "yagura_vmm";
/// Where images are kept, and who reads and fetches what becomes one: they share words and not each other.
const IMAGE_STORE: &str = "image_store";
const IMAGE_READERS: &[&str] = &["image_import", "image_sources"];
/// Executables that choose an engine.
const ENGINE_USERS: &[&str] = &["yagura", "yagura_vmm"];

/// Finds dependencies that point upward or sideways.
pub fn check(tree: &Tree) -> Vec<Violation> {
    let mut violations = Vec::new();
    for package in &tree.packages {
        let place = package.folder.join("Cargo.toml");
        if package.tier.is_none() {
            violations.push(Violation::new(place.display(), "tier", "this folder is none of the tiers"));
        }
        for name in &package.dependencies {
            let Some(dependency) = tree.packages.iter().find(|other| other.name == *name) else { continue };
            if let Some(why) = forbidden(package, dependency) {
                violations.push(Violation::new(
                    place.display(),
                    "dependency",
                    format!("{} → {name}: {why}", package.name),
                ));
            }
        }
    }
    violations
}

/// Why one package may not depend on another.
fn forbidden(user: &Package, used: &Package) -> Option<&'static str> {
    let (Some(from), Some(to)) = (user.tier, used.tier) else { return None };
    if from == Tier::Outside {
        return None;
    }
    let concrete = to == Tier::Device && !DEVICE_FRAMES.contains(&&*used.name);
    match (from, to) {
        (_, Tier::Outside) => Some("what is shipped does not depend on tests and tools"),
        (_, Tier::Engine) if from == Tier::App && ENGINE_USERS.contains(&&*user.name) => None,
        (_, Tier::Engine) => Some("only the executable and tests name an engine"),
        (Tier::Device, Tier::Device) if concrete => Some("a device does not know another device"),
        (_, Tier::Device) if concrete && user.name != ASSEMBLY => Some("only machine names concrete devices"),
        (Tier::Cloud, Tier::Vmm) if used.name != SPECIFICATION => {
            Some("the cloud reaches machines only by vm_spec")
        }
        (Tier::App, Tier::Cloud) if user.name == VM_PROCESS => {
            Some("a VM's process knows nothing of images and instances")
        }
        (Tier::Cloud, Tier::Cloud) if used.name == IMAGE_STORE && IMAGE_READERS.contains(&&*user.name) => {
            Some("who reads and fetches images shares image_model with the store, not the store")
        }
        _ if allowed(from).contains(&to) => None,
        _ => Some("a crate depends only on lower tiers"),
    }
}

/// The tiers that a tier may depend on; engines are seen to above.
fn allowed(from: Tier) -> &'static [Tier] {
    use Tier::{App, Backend, Boot, Cloud, Contract, Device, Format, Guest, Host, Vmm};
    match from {
        Host => &[Host],
        Contract | Tier::Engine | Boot => &[Host, Contract],
        Backend => &[Host, Contract, Backend],
        Format => &[Host, Contract, Backend],
        Device => &[Host, Contract, Backend, Device],
        Vmm => &[Host, Contract, Backend, Device, Boot, Vmm],
        Guest => &[Host],
        Cloud => &[Host, Contract, Backend, Format, Guest, Cloud, Vmm],
        App => &[Host, Contract, Backend, Boot, Vmm, Cloud, App],
        Tier::Outside => &[],
    }
}
