//! A network configuration, version 2, as files for systemd-networkd.
//!
//! Section "Networking config Version 2" of cloud-init's manual; Ethernet cards only.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Deserialize;

use crate::cloud_config::{ConfigError, from_yaml};

const DOCUMENT: &str = "network configuration";

/// What networkd does where nothing is said: ask by DHCP and listen to routers.
const DEFAULT: &str = "[Match]\nType=ether\n\n[Network]\nDHCP=yes\nIPv6AcceptRA=yes\n";

/// A file below `/etc/systemd/network`.
#[derive(Debug, PartialEq, Eq)]
pub struct NetworkFile {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub text: String,
}

/// The files; without a configuration, one for all cards.
pub fn files(text: Option<&str>) -> Result<Vec<NetworkFile>, ConfigError> {
    let Some(text) = text else {
        return Ok(vec![NetworkFile { name: "80-dhcp.network".to_owned(), text: DEFAULT.to_owned() }]);
    };
    let network = parse(text)?;
    let mut files = Vec::new();
    for (index, (id, card)) in network.ethernets.iter().enumerate() {
        let stem = format!("{}-card", 10 + index);
        if let Some(name) = &card.set_name {
            let text =
                format!("[Match]\n{}\n[Link]\nName={}\n", selector(id, card)?, word("set-name", name)?);
            files.push(NetworkFile { name: format!("{stem}.link"), text });
        }
        files.push(NetworkFile { name: format!("{stem}.network"), text: unit(id, card)? });
    }
    Ok(files)
}

/// Looks whether it is YAML at all, for cloud-init, and gives it back.
pub fn look(text: &str) -> Result<&str, ConfigError> {
    from_yaml::<serde::de::IgnoredAny>(DOCUMENT, text).map(|_| text)
}

fn parse(text: &str) -> Result<Network, ConfigError> {
    // The document may stand below a key of its own, as in netplan's files. An untagged enumeration would
    // tell no line of a fault: find out first which of the two it is.
    #[derive(Deserialize)]
    struct Probe {
        network: Option<serde::de::IgnoredAny>,
    }
    let wrapped = from_yaml::<Probe>(DOCUMENT, text)?.network.is_some();
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Wrapped {
        network: Network,
    }
    let network = if wrapped {
        from_yaml::<Wrapped>(DOCUMENT, text)?.network
    } else {
        from_yaml::<Network>(DOCUMENT, text)?
    };
    if network.version != 2 {
        let why = format!("has version {}; version 2 is what is understood here", network.version);
        return Err(ConfigError::new(DOCUMENT, why));
    }
    Ok(network)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Network {
    version: u32,
    #[serde(default)]
    ethernets: BTreeMap<String, Ethernet>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Ethernet {
    r#match: Match,
    set_name: Option<String>,
    dhcp4: bool,
    dhcp6: bool,
    #[serde(rename = "accept-ra")]
    accept_ra: Option<bool>,
    addresses: Vec<String>,
    gateway4: Option<IpAddr>,
    gateway6: Option<IpAddr>,
    mtu: Option<u32>,
    optional: bool,
    routes: Vec<Route>,
    nameservers: NameServers,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Match {
    macaddress: Option<String>,
    name: Option<String>,
    driver: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Route {
    to: String,
    via: IpAddr,
    metric: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct NameServers {
    search: Vec<String>,
    addresses: Vec<IpAddr>,
}

fn unit(id: &str, card: &Ethernet) -> Result<String, ConfigError> {
    let mut text = format!("[Match]\n{}", selector(id, card)?);
    if card.mtu.is_some() || card.optional {
        text.push_str("\n[Link]\n");
        card.mtu.iter().for_each(|mtu| text.push_str(&format!("MTUBytes={mtu}\n")));
        if card.optional {
            text.push_str("RequiredForOnline=no\n");
        }
    }
    let dhcp = match (card.dhcp4, card.dhcp6) {
        (true, true) => "yes",
        (true, false) => "ipv4",
        (false, true) => "ipv6",
        (false, false) => "no",
    };
    text.push_str(&format!("\n[Network]\nDHCP={dhcp}\n"));
    card.accept_ra.iter().for_each(|accept| text.push_str(&format!("IPv6AcceptRA={}\n", yes_or_no(*accept))));
    for address in &card.addresses {
        text.push_str(&format!("Address={}\n", prefix(address)?));
    }
    for gateway in [card.gateway4, card.gateway6].into_iter().flatten() {
        text.push_str(&format!("Gateway={gateway}\n"));
    }
    for server in &card.nameservers.addresses {
        text.push_str(&format!("DNS={server}\n"));
    }
    for domain in &card.nameservers.search {
        text.push_str(&format!("Domains={}\n", word("search domain", domain)?));
    }
    for route in &card.routes {
        text.push_str("\n[Route]\n");
        if !matches!(&*route.to, "default" | "0.0.0.0/0" | "::/0") {
            text.push_str(&format!("Destination={}\n", prefix(&route.to)?));
        }
        text.push_str(&format!("Gateway={}\n", route.via));
        route.metric.iter().for_each(|metric| text.push_str(&format!("Metric={metric}\n")));
    }
    Ok(text)
}

/// Which card is meant: what `match` says, or the one whose name the key is.
fn selector(id: &str, card: &Ethernet) -> Result<String, ConfigError> {
    let Match { macaddress, name, driver } = &card.r#match;
    let mut text = String::new();
    for (key, value) in [("MACAddress", macaddress), ("Name", name), ("Driver", driver)] {
        if let Some(value) = value {
            text.push_str(&format!("{key}={}\n", word("match", value)?));
        }
    }
    if text.is_empty() {
        text = format!("Name={}\n", word("name of a card", id)?);
    }
    Ok(text)
}

fn yes_or_no(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

/// A word that cannot become a line of its own in a unit file.
fn word<'a>(what: &str, text: &'a str) -> Result<&'a str, ConfigError> {
    let fits = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:*?@".contains(c));
    if fits { Ok(text) } else { Err(ConfigError::new(DOCUMENT, format!("'{text}' cannot be a {what}"))) }
}

/// An address with the length of its network.
fn prefix(text: &str) -> Result<&str, ConfigError> {
    let fits = text.split_once('/').is_some_and(|(address, length)| {
        let most = match address.parse() {
            Ok(IpAddr::V4(_)) => 32,
            Ok(IpAddr::V6(_)) => 128,
            Err(_) => return false,
        };
        length.parse::<u8>().is_ok_and(|length| length <= most)
    });
    let why = || format!("'{text}' is not an address with a length; write 192.0.2.5/24");
    if fits { Ok(text) } else { Err(ConfigError::new(DOCUMENT, why())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_with_fixed_addresses() {
        let text = "network:\n  version: 2\n  ethernets:\n    lan:\n      match: {macaddress: '52:54:00:12:34:56'}\n      \
            set-name: lan0\n      addresses: [192.0.2.5/24, '2001:db8::5/64']\n      gateway4: 192.0.2.1\n      \
            nameservers: {addresses: [192.0.2.53], search: [example.org]}\n      routes:\n        \
            - {to: 198.51.100.0/24, via: 192.0.2.9, metric: 50}\n";
        let files = files(Some(text)).unwrap();
        assert_eq!(files[0].name, "10-card.link");
        assert_eq!(files[0].text, "[Match]\nMACAddress=52:54:00:12:34:56\n\n[Link]\nName=lan0\n");
        assert_eq!(
            files[1].text,
            "[Match]\nMACAddress=52:54:00:12:34:56\n\n[Network]\nDHCP=no\nAddress=192.0.2.5/24\n\
            Address=2001:db8::5/64\nGateway=192.0.2.1\nDNS=192.0.2.53\nDomains=example.org\n\n[Route]\n\
            Destination=198.51.100.0/24\nGateway=192.0.2.9\nMetric=50\n"
        );
    }

    #[test]
    fn nothing_said_is_dhcp_everywhere() {
        assert!(files(None).unwrap()[0].text.contains("DHCP=yes"));
    }

    #[test]
    fn faults_are_told() {
        let refused = |text: &str| files(Some(text)).unwrap_err().to_string();
        assert!(refused("version: 1\n").contains("has version 1"));
        assert!(refused("version: 2\nbonds: {}\n").contains("'bonds'"));
        let card = |line: &str| refused(&format!("version: 2\nethernets:\n  eth0:\n    {line}\n"));
        assert!(card("addresses: [192.0.2.5]").contains("write 192.0.2.5/24"));
        assert!(card("gateway4: none").starts_with("network configuration: line 4"));
        assert!(card("match: {name: \"a\\nb=c\"}").contains("cannot be a match"));
    }
}
