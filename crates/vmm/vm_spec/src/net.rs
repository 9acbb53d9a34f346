//! Network cards as a person describes them: `tap=T[,id=NAME][,mac=M][,queues=N]`, or `unplugged` in the place of `tap=T`.

use std::str::FromStr;

use device_model::MacAddress;
use serde::{Deserialize, Serialize};

use crate::options::{Form, text_of};
use crate::{BadValue, DeviceId, VmName};

/// One network card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetSpec {
    /// Its name in the machine; `None` derives one from its place in the list.
    pub id: Option<DeviceId>,
    /// Name of the tap interface; `None` for a card that no cable is plugged into.
    pub tap: Option<String>,
    /// Its address; `None` derives one from the VM's name.
    pub mac: Option<MacAddress>,
    /// Queue pairs, 1 to 8.
    pub queues: u16,
}

impl NetSpec {
    /// A card on interface `tap`, or on none, with `queues` queue pairs, to be named by its place in the list.
    pub fn new(tap: Option<&str>, mac: Option<MacAddress>, queues: u16) -> Result<NetSpec, BadValue> {
        let tap = tap.map(interface_name).transpose()?;
        let card = NetSpec { id: None, tap, mac, queues };
        if !(1..=MAX_QUEUES).contains(&queues) {
            let card = card.interface();
            return Err(BadValue(format!("card on {card}: queues takes 1 to {MAX_QUEUES}, not '{queues}'")));
        }
        Ok(card)
    }

    /// What it is plugged into, for people.
    pub fn interface(&self) -> &str {
        self.tap.as_deref().unwrap_or("nothing")
    }

    /// The description that is read as this card.
    pub fn to_text(&self) -> String {
        let NetSpec { id, tap, mac, queues } = self;
        let words = [
            Some(
                tap.as_ref()
                    .map_or_else(|| "unplugged".to_owned(), |tap| format!("tap={}", tap.replace(',', ",,"))),
            ),
            id.as_ref().map(|id| format!("id={id}")),
            mac.map(|mac| format!("mac={mac}")),
            Some(format!("queues={queues}")),
        ];
        words.into_iter().flatten().collect::<Vec<_>>().join(",")
    }
}

/// The address of card `index` of the VM `name`: the same at each start, locally administered, and
/// different for different names for all practical purposes (FNV-1a over name and index).
pub(crate) fn derived_mac(name: &VmName, index: usize) -> MacAddress {
    let bytes = name.as_str().bytes().chain(index.to_le_bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let [a, b, c, d, e, ..] = hash.to_be_bytes();
    MacAddress::locally_administered([a, b, c, d, e])
}

/// Longest interface name (Linux, IFNAMSIZ less the terminator).
const INTERFACE_NAME_MAX: usize = 15;
const MAX_QUEUES: u16 = 8;

const FORM: Form = Form {
    what: "net",
    keys: &["tap", "unplugged", "id", "mac", "queues"],
    shape: "tap=NAME[,id=NAME][,mac=M][,queues=N]",
};

impl FromStr for NetSpec {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let (mut id, mut tap, mut unplugged, mut mac, mut queues) = (None, None, false, None, 1);
        for option in FORM.parse(text.as_ref())? {
            match option {
                ("tap", Some(name)) => tap = Some(interface_name(text_of(&name)?)?),
                ("unplugged", None) => unplugged = true,
                ("id", Some(value)) => id = Some(text_of(&value)?.parse()?),
                ("mac", Some(value)) => mac = Some(text_of(&value)?.parse()?),
                ("queues", Some(value)) => {
                    let value = text_of(&value)?;
                    let number = value.parse().ok().filter(|queues| (1..=MAX_QUEUES).contains(queues));
                    let refused = || format!("queues takes 1 to {MAX_QUEUES}, not '{value}'");
                    queues = number.ok_or_else(|| FORM.bad(text.as_ref(), &refused()))?;
                }
                _ => return Err(FORM.misshapen(text.as_ref())),
            }
        }
        match (&tap, unplugged) {
            (None, false) => return Err(BadValue(format!("net '{text}' has no tap=NAME (or write none)"))),
            (Some(_), true) => return Err(FORM.bad(text.as_ref(), "it has an interface, or is unplugged")),
            _ => {}
        }
        Ok(NetSpec { id, tap, mac, queues })
    }
}

fn interface_name(name: &str) -> Result<String, BadValue> {
    let fits = (1..=INTERFACE_NAME_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/' && byte != b':' && byte != b'%')
        && name != "."
        && name != "..";
    if fits {
        Ok(name.to_owned())
    } else {
        Err(BadValue(format!(
            "'{name}' is not a name for a network interface (1 to {INTERFACE_NAME_MAX} characters, without space, / : %)"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_are_read_and_mistakes_explained() {
        let net: NetSpec = "tap=tap0,mac=52:54:00:ab:cd:ef,queues=2".parse().unwrap();
        assert_eq!((net.interface(), net.queues), ("tap0", 2));
        assert_eq!(net.mac.unwrap().to_string(), "52:54:00:ab:cd:ef");
        let wrong = |text: &str| text.parse::<NetSpec>().unwrap_err().0;
        assert_eq!("tap=a,id=wan".parse::<NetSpec>().unwrap().id, Some("wan".parse().unwrap()));
        let unplugged: NetSpec = "unplugged,id=wan".parse().unwrap();
        assert_eq!((&unplugged.tap, unplugged.to_text().parse()), (&None, Ok(unplugged.clone())));
        assert!(wrong("tap=a,unplugged").contains("or is unplugged"));
        assert!(wrong("unplugged=yes").contains("write tap=NAME"));
        assert!(wrong("tap=a,id=0").contains("not a device's name"));
        assert!(wrong("mac=52:54:00:ab:cd:ef").contains("no tap"));
        assert!(wrong("tpa=tap0").contains("did you mean 'tap'"));
        assert!(wrong("tap=0123456789abcdef").contains("network interface"));
        assert!(wrong("tap=a,mac=01:00:00:00:00:00").contains("group"));
        assert!(wrong("tap=a,mac=1:2:3").contains("not a MAC"));
        assert!(wrong("tap=a,mac=+2:54:00:ab:cd:ef").contains("not a MAC"));
        assert!(wrong("tap=a,queues=9").contains("1 to 8"));
    }

    #[test]
    fn derived_addresses_are_stable_local_and_distinct() {
        let name: VmName = "web1".parse().unwrap();
        let other: VmName = "web2".parse().unwrap();
        let mac = derived_mac(&name, 0);
        assert_eq!(mac, derived_mac(&name, 0));
        assert_eq!(<[u8; 6]>::from(mac)[0] & 3, 2);
        assert!(mac != derived_mac(&name, 1) && mac != derived_mac(&other, 0));
    }

    #[test]
    fn parts_are_checked_as_text_is() {
        assert_eq!(NetSpec::new(Some("tap0"), None, 2), "tap=tap0,queues=2".parse());
        assert!(NetSpec::new(Some("tap0"), None, 0).is_err());
        assert!(NetSpec::new(Some("tap0"), None, 9).is_err());
        assert!(NetSpec::new(Some("a/b"), None, 1).is_err());
    }
}
