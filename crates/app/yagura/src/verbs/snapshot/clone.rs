//! `yagura clone`: VMs of their own that go on from one snapshot, each in a process that outlives this one.
//!
//! ```text
//! look at all of the snapshot, once
//! for each: a folder, overlays on the snapshot's disks ─► a process ─► it runs; its cards are plugged into nothing
//!           ─► the guest lets go of each card ─► one with an address of its own takes its place
//!           ─► a disk tells the guest its name and machine id, and goes when that has been read
//! ```
//!
//! The guest knows the snapshot's cards by their addresses, which every clone would have. So it is never heard with them.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, anyhow, bail};
use messages::in_words;
use snapshot_files::KeptCard;
use vm_client::{ClientError, VmClient};
use vm_control::{AttachDevice, DetachDevice};
use vm_spec::{ConsoleSpec, DeviceId, FileMode, NetSpec, VmName};
use yagura_vmm::logging::LevelFilter;
use yagura_vmm::{Order, say, start};

use super::arguments::CloneArguments;
use super::{Source, identity};
use crate::print::print;
use crate::run::order;
use crate::settings::{GivenSettings, RestoredVm};
use crate::verbs::{self, Running};

/// What the guest writes to its serial port, and what the VM's process has to say, in the folder of the clone.
const CONSOLE: &str = "console.log";
const LOG: &str = "log";
/// What stands for the clone's name in `--net`.
const NAME: &str = "{name}";
/// How long a guest has to let go of a card.
const CARD_TIMEOUT_MS: u64 = 15_000;

/// Makes the clones and has them run; the exit status.
pub fn clone(arguments: &CloneArguments, level: LevelFilter) -> anyhow::Result<u8> {
    let CloneArguments { id, names, nets, console, engine: _, kvm_device: _ } = arguments;
    if let Some(twice) = (1..names.len()).find(|index| names[..*index].contains(&names[*index])) {
        bail!("{} is given twice: each clone needs a name of its own", names[twice]);
    }
    if let (Some(console), [_, _, ..]) = (console, &names[..])
        && !console.contains(NAME)
        && console != "none"
    {
        bail!("--console {console}: the clones would share one place; put {NAME} where it differs");
    }
    let source = Source::open(id)?;
    check_cards(nets, names, source.cards())?;
    let reads_identity = identity::is_read(source.snapshot())?;
    let one = |name: &VmName| {
        one(&source, name, arguments, level)?;
        if reads_identity { identity::tell(name, source.restored(name).folder()) } else { Ok(()) }
    };
    let (mut status, mut is_any) = (0, false);
    for (name, made) in names.iter().zip(verbs::several(names, one)) {
        match made {
            Ok(()) => {
                print(&format!("VM {name} goes on from {id}"))?;
                is_any = true;
            }
            Err(error) => {
                say(&in_words(&*error));
                status = verbs::status_of_error(&error);
            }
        }
    }
    if is_any {
        for unplugged in &source.cards()[nets.len()..] {
            say(&format!(
                "card {} of the clones is plugged into nothing; --net tap=T gives it an interface",
                unplugged.id
            ));
        }
        if !reads_identity {
            say(
                "the clones have the snapshot's host name and machine id: only guests of images with a first-boot service read others",
            );
        }
    }
    Ok(status)
}

/// Sees to it that each card of each clone can be what is asked for.
fn check_cards(nets: &[String], names: &[VmName], cards: &[KeptCard]) -> anyhow::Result<()> {
    if nets.len() > cards.len() {
        bail!(
            "--net is given {} times, and the snapshot's machine has {} network cards",
            nets.len(),
            cards.len()
        );
    }
    for name in names {
        let cards = cards_of(nets, name, cards)?;
        let fixed = cards.iter().find(|card| card.mac.is_some() && names.len() > 1);
        if let Some(mac) = fixed.and_then(|card| card.mac) {
            bail!(
                "--net: {} clones cannot all have the MAC address {mac}; leave it out, and each has its own",
                names.len()
            );
        }
    }
    if let [first, second, ..] = names
        && let (first, second) = (cards_of(nets, first, cards)?, cards_of(nets, second, cards)?)
        && let Some(shared) =
            first.iter().zip(&second).position(|(one, other)| one.tap.is_some() && one == other)
    {
        let net = &nets[shared];
        bail!(
            "--net {net}: the clones would share one interface; put {NAME} where it differs, as in tap=tap-{NAME}"
        );
    }
    Ok(())
}

/// The cards of one clone: each takes the place, and the name, of one of the snapshot's.
fn cards_of(nets: &[String], name: &VmName, cards: &[KeptCard]) -> anyhow::Result<Vec<NetSpec>> {
    let card = |(net, had): (&String, &KeptCard)| {
        let card: NetSpec = net.replace(NAME, name.as_str()).parse().with_context(|| format!("VM {name}"))?;
        match card.id {
            Some(id) => {
                Err(anyhow!("--net: id={id}: a clone's cards are called as the snapshot's are; leave it out"))
            }
            None => Ok(NetSpec { id: Some(had.id.clone()), ..card }),
        }
    };
    nets.iter().zip(cards).map(card).collect()
}

/// Makes one clone. If it does not run, nothing of it is left.
fn one(source: &Source, name: &VmName, arguments: &CloneArguments, level: LevelFilter) -> anyhow::Result<()> {
    let vm = source.new_vm(name)?;
    let restored = source.restored(name);
    let nets = vm.nets.iter().map(|net| NetSpec { tap: None, ..net.clone() }).collect();
    let begin = || {
        let settings =
            GivenSettings::of_clone(arguments.engine, console(arguments, name, restored.folder())?);
        let request = settings.restored_request(RestoredVm { nets, ..vm })?;
        let order = order(request, arguments.kvm_device.clone(), level);
        let order = Order { restore: Some(source.folder().to_owned()), ..order };
        let path = restored.folder().join(LOG);
        let log = File::create_new(&path).with_context(|| format!("cannot make {}", path.display()))?;
        start(order, log).map_err(|error| last_words(&path, name, error))
    };
    if let Err(error) = begin().with_context(|| format!("VM {name}")) {
        if let Err(left) = restored.remove() {
            say(&in_words(&left));
        }
        return Err(error);
    }
    let running = Running::here();
    for card in cards_of(&arguments.nets, name, source.cards())? {
        exchange(&running.client(name), &card).map_err(|error| {
            let why = running.failed(name, &error).line;
            anyhow!("{why}; it runs, and card {} is plugged into nothing", shown(card.id.as_ref()))
        })?;
    }
    Ok(())
}

/// Where the serial port of a clone leads.
fn console(arguments: &CloneArguments, name: &VmName, folder: &Path) -> anyhow::Result<ConsoleSpec> {
    let file = || ConsoleSpec::File { path: folder.join(CONSOLE), mode: FileMode::default() };
    let given = arguments.console.as_ref().map(|text| text.replace(NAME, name.as_str()));
    let console = given.map(|text| ConsoleSpec::parse(text.as_ref())).transpose()?.unwrap_or_else(file);
    if console == ConsoleSpec::Stdio {
        bail!("--console stdio: a clone has no terminal; give it a socket, a file or none");
    }
    Ok(console)
}

/// What a process that came to nothing had to say.
fn last_words(log: &Path, name: &VmName, error: anyhow::Error) -> anyhow::Error {
    let said = std::fs::read_to_string(log).unwrap_or_default();
    let Some(line) = said.lines().rev().find(|line| !line.trim().is_empty()) else { return error };
    let line = line.strip_prefix("yagura: ").unwrap_or(line);
    let line = line.strip_prefix(&format!("VM {name}: ")).unwrap_or(line);
    anyhow!("{}", messages::one_line(line))
}

/// Takes the card of this name out, and puts this one in its place.
fn exchange(vm: &VmClient, card: &NetSpec) -> Result<(), ClientError> {
    let device = shown(card.id.as_ref());
    vm.detach(&DetachDevice { device, timeout_ms: CARD_TIMEOUT_MS, force: false })?;
    vm.attach(&AttachDevice::Net(card.to_text())).map(drop)
}

fn shown(id: Option<&DeviceId>) -> String {
    id.map_or_else(String::new, ToString::to_string)
}
