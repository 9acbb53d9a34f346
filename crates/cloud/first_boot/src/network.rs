//! A network configuration, version 2, as files for systemd-networkd.
//!
//! Section "Networking config Version 2" of cloud-init's manual; Ethernet cards only.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::cloud_config::ConfigError;
use crate::fields::{Document, Field, Keys};
use crate::yaml::Node;

const DOCUMENT: Document = Document { name: "network configuration", part: None };

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
    let mut files = Vec::new();
    for (index, card) in parse(text)?.iter().enumerate() {
        let stem = format!("{}-card", 10 + index);
        if let Some(name) = &card.set_name {
            let text = format!("[Match]\n{}\n[Link]\nName={name}\n", card.selector);
            files.push(NetworkFile { name: format!("{stem}.link"), text });
        }
        files.push(NetworkFile { name: format!("{stem}.network"), text: unit(card) });
    }
    Ok(files)
}

/// Looks whether it can be one at all, for cloud-init, and gives it back.
pub fn look(text: &str) -> Result<&str, ConfigError> {
    load(text).map(|_| text)
}

fn load(text: &str) -> Result<Node, ConfigError> {
    let node = DOCUMENT.load(text, "version: 2")?;
    node.ok_or_else(|| DOCUMENT.fault("is empty; leave out --network-config"))
}

/// The cards, each with the key that it stands under.
fn parse(text: &str) -> Result<Vec<Ethernet>, ConfigError> {
    let node = load(text)?;
    let document = Field::document(DOCUMENT, &node);
    let mut keys = document.keys()?;
    // It may stand below a key of its own, as in netplan's files.
    let inner = keys.take("network");
    let document = match inner {
        Some(inner) => {
            keys.finish()?;
            keys = inner.keys()?;
            inner
        }
        None => document,
    };
    let version = keys.take("version").ok_or_else(|| document.fault("has no version; write 'version: 2'"))?;
    match version.number()? {
        2 => {}
        other => {
            return Err(version.fault(format!("has version {other}; version 2 is what is understood here")));
        }
    }
    let mut cards = match keys.take("ethernets") {
        Some(field) => field
            .entries()?
            .iter()
            .map(|(id, card)| Ethernet::read(id, card))
            .collect::<Result<Vec<_>, _>>()?,
        None => Vec::new(),
    };
    keys.finish()?;
    cards.sort_by(|one, other| one.id.cmp(&other.id));
    Ok(cards)
}

#[derive(Debug)]
struct Ethernet {
    id: String,
    /// Lines of a unit's `[Match]`.
    selector: String,
    set_name: Option<String>,
    dhcp4: bool,
    dhcp6: bool,
    accept_ra: Option<bool>,
    addresses: Vec<String>,
    gateways: Vec<IpAddr>,
    mtu: Option<u32>,
    optional: bool,
    routes: Vec<Route>,
    search: Vec<String>,
    name_servers: Vec<IpAddr>,
}

#[derive(Debug)]
struct Route {
    /// Nothing for the default route.
    to: Option<String>,
    via: IpAddr,
    /// Whether the router is reached without being in the card's network.
    on_link: bool,
    metric: Option<u32>,
}

impl Ethernet {
    fn read(id: &str, field: &Field<'_>) -> Result<Ethernet, ConfigError> {
        // A card of which nothing is said stands there with its name alone.
        let mut keys = if field.is_null() { Keys::empty(field) } else { field.keys()? };
        let gateway4 = keys.take("gateway4").map(|field| parsed::<Ipv4Addr>(&field, "an IPv4 address"));
        let gateway6 = keys.take("gateway6").map(|field| parsed::<Ipv6Addr>(&field, "an IPv6 address"));
        let gateways = [gateway4.transpose()?.map(IpAddr::from), gateway6.transpose()?.map(IpAddr::from)];
        let (search, name_servers) = match keys.take("nameservers") {
            Some(field) => name_servers(field.keys()?)?,
            None => (Vec::new(), Vec::new()),
        };
        let card = Ethernet {
            id: id.to_owned(),
            selector: selector(id, field, keys.take("match"))?,
            set_name: keys.take("set-name").map(|field| word(&field)).transpose()?,
            dhcp4: keys.flag("dhcp4")?.unwrap_or(false),
            dhcp6: keys.flag("dhcp6")?.unwrap_or(false),
            accept_ra: keys.flag("accept-ra")?,
            addresses: list(keys.take("addresses"), prefix)?,
            gateways: gateways.into_iter().flatten().collect(),
            mtu: keys.take("mtu").map(|field| field.number()).transpose()?,
            optional: keys.flag("optional")?.unwrap_or(false),
            routes: list(keys.take("routes"), route)?,
            search,
            name_servers,
        };
        keys.finish()?;
        Ok(card)
    }
}

/// The elements of a list, if there is one.
fn list<T>(
    field: Option<Field<'_>>,
    read: impl Fn(&Field<'_>) -> Result<T, ConfigError>,
) -> Result<Vec<T>, ConfigError> {
    field.map_or(Ok(Vec::new()), |field| field.list()?.iter().map(read).collect())
}

fn name_servers(mut keys: Keys<'_>) -> Result<(Vec<String>, Vec<IpAddr>), ConfigError> {
    let search = list(keys.take("search"), word)?;
    let addresses = list(keys.take("addresses"), |field| parsed(field, "an IP address"))?;
    keys.finish()?;
    Ok((search, addresses))
}

fn route(field: &Field<'_>) -> Result<Route, ConfigError> {
    let mut keys = field.keys()?;
    let to = keys.take("to").ok_or_else(|| field.fault("has no 'to'; write 'to: default'"))?;
    let via = keys.take("via").ok_or_else(|| field.fault("has no 'via', the address of a router"))?;
    let is_default = matches!(&*to.text()?, "default" | "0.0.0.0/0" | "::/0");
    let route = Route {
        to: if is_default { None } else { Some(prefix(&to)?) },
        via: parsed(&via, "an IP address")?,
        on_link: keys.flag("on-link")?.unwrap_or(false),
        metric: keys.take("metric").map(|field| field.number()).transpose()?,
    };
    keys.finish()?;
    Ok(route)
}

fn unit(card: &Ethernet) -> String {
    let mut text = format!("[Match]\n{}", card.selector);
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
    card.addresses.iter().for_each(|address| text.push_str(&format!("Address={address}\n")));
    card.gateways.iter().for_each(|gateway| text.push_str(&format!("Gateway={gateway}\n")));
    card.name_servers.iter().for_each(|server| text.push_str(&format!("DNS={server}\n")));
    card.search.iter().for_each(|domain| text.push_str(&format!("Domains={domain}\n")));
    for Route { to, via, on_link, metric } in &card.routes {
        text.push_str("\n[Route]\n");
        to.iter().for_each(|to| text.push_str(&format!("Destination={to}\n")));
        text.push_str(&format!("Gateway={via}\n"));
        if *on_link {
            text.push_str("GatewayOnLink=yes\n");
        }
        metric.iter().for_each(|metric| text.push_str(&format!("Metric={metric}\n")));
    }
    text
}

/// Which card is meant: what `match` says, or the one whose name the key is.
fn selector(id: &str, card: &Field<'_>, matches: Option<Field<'_>>) -> Result<String, ConfigError> {
    let mut text = String::new();
    if let Some(field) = matches {
        let mut keys = field.keys()?;
        for (key, line) in [("macaddress", "MACAddress"), ("name", "Name"), ("driver", "Driver")] {
            if let Some(value) = keys.take(key) {
                text.push_str(&format!("{line}={}\n", word(&value)?));
            }
        }
        keys.finish()?;
    }
    if text.is_empty() {
        if !is_word(id) {
            return Err(card.fault(NO_WORD));
        }
        text = format!("Name={id}\n");
    }
    Ok(text)
}

fn yes_or_no(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

const NO_WORD: &str = "has to be a name of letters, digits and -_.:*?@";

/// Whether it cannot become a line of its own in a unit file.
fn is_word(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:*?@".contains(c))
}

fn word(field: &Field<'_>) -> Result<String, ConfigError> {
    let text = field.text()?;
    if is_word(&text) { Ok(text) } else { Err(field.fault(NO_WORD)) }
}

fn parsed<T: FromStr>(field: &Field<'_>, what: &str) -> Result<T, ConfigError> {
    field.text()?.parse().map_err(|_| field.fault(format!("has to be {what}")))
}

/// An address with the length of its network.
fn prefix(field: &Field<'_>) -> Result<String, ConfigError> {
    let text = field.text()?;
    let fits = text.split_once('/').is_some_and(|(address, length)| {
        let most = match address.parse() {
            Ok(IpAddr::V4(_)) => 32,
            Ok(IpAddr::V6(_)) => 128,
            Err(_) => return false,
        };
        length.parse::<u8>().is_ok_and(|length| length <= most)
    });
    if fits {
        Ok(text)
    } else {
        Err(field.fault("has to be an address with the length of its network, such as 192.0.2.5/24"))
    }
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
    fn a_card_of_which_nothing_is_said_and_a_default_route() {
        let found = files(Some("version: 2\nethernets:\n  eth0:\n")).unwrap();
        assert_eq!(found[0].text, "[Match]\nName=eth0\n\n[Network]\nDHCP=no\n");
        let text =
            "version: '2'\nethernets: {b: {dhcp4: yes}, a: {routes: [{to: default, via: 192.0.2.1}]}}\n";
        let found = files(Some(text)).unwrap();
        assert!(
            found[0].text.contains("Name=a\n") && found[0].text.ends_with("[Route]\nGateway=192.0.2.1\n")
        );
        assert!(found[1].text.contains("Name=b\n\n[Network]\nDHCP=ipv4\n"), "{}", found[1].text);
        assert!(files(Some("version: 2")).unwrap().is_empty());
        // As programs write it: truth in quotes, keys without a value, a router outside of the network.
        let text = "\"network\":\n  \"version\": \"2\"\n  \"ethernets\": {\"a\": {\"dhcp4\": 'no', \"gateway4\": null, \
            \"routes\": [{\"to\": \"0.0.0.0/0\", \"via\": \"169.254.0.1\", \"on-link\": true}]}}\n";
        let found = files(Some(text)).unwrap();
        let route = "[Network]\nDHCP=no\n\n[Route]\nGateway=169.254.0.1\nGatewayOnLink=yes\n";
        assert_eq!(found[0].text, format!("[Match]\nName=a\n\n{route}"));
    }

    #[test]
    fn faults_are_told() {
        let refused = |text: &str| files(Some(text)).unwrap_err().to_string();
        let card = |line: &str| refused(&format!("version: 2\nethernets:\n  eth0:\n    {line}\n"));
        for (told, words) in [
            (refused("version: 1\n"), "line 1: version: has version 1"),
            (refused("ethernets: {}\n"), "line 1: has no version"),
            (refused("network: {}\nversion: 2\n"), "line 2: 'version' is nothing"),
            (refused("version: 2\nbonds: {}\n"), "line 2: 'bonds' is nothing"),
            (refused("version: 2\nethernet: {}\n"), "did you mean 'ethernets'?"),
            (refused(""), "is empty; leave out --network-config"),
            (refused("- version: 2"), "line 1: the document is a list, and has to be keys with values"),
            (refused("version: [2"), "this is no YAML"),
            (card("addresses: [192.0.2.5]"), "such as 192.0.2.5/24"),
            (card("gateway4: none"), "line 4: ethernets.eth0.gateway4: has to be an IPv4 address"),
            (card("gateway6: 192.0.2.1"), "gateway6: has to be an IPv6 address"),
            (card("match: {name: \"a\\nb=c\"}"), "ethernets.eth0.match.name: has to be a name of letters"),
            (card("routes: [{to: default}]"), "routes[0]: has no 'via'"),
        ] {
            assert!(
                told.starts_with("network configuration: ") && told.contains(words),
                "{told}, not {words}"
            );
        }
    }

    /// Every key with every kind of value: what is refused is refused in a line of ours, with its key.
    #[test]
    fn no_value_is_refused_in_words_of_a_library() {
        let card = "version: 2\nethernets:\n  eth0:\n    ";
        let (route, servers) =
            (format!("{card}routes: [{{to: default, via: 192.0.2.1, "), format!("{card}nameservers: {{"));
        let places: &[(&str, &str, &[&str])] = &[
            ("", "", &["version", "ethernets", "network", "renderer"]),
            ("version: 2\nethernets: {eth0: ", "}", &[""]),
            (
                card,
                "",
                &[
                    "match",
                    "set-name",
                    "dhcp4",
                    "dhcp6",
                    "accept-ra",
                    "addresses",
                    "gateway4",
                    "gateway6",
                    "mtu",
                    "optional",
                    "routes",
                    "nameservers",
                    "wakeonlan",
                ],
            ),
            (&format!("{card}match: {{"), "}", &["macaddress", "name", "driver"]),
            (&route, "}]", &["metric", "to", "via", "on-link"]),
            (&servers, "}", &["search", "addresses"]),
        ];
        let values = [
            "",
            "~",
            "true",
            "-1",
            "4294967296",
            "1.5",
            "word",
            "'two words'",
            "[1]",
            "[[]]",
            "[{}]",
            "{}",
            "{a: 1}",
            "{a: {b: c}}",
            "\"a\\nb\"",
            "!!binary AA==",
            "*lost",
            "&a [*a]",
            "2026-11-30",
            "0x10",
            "::1",
            "1.2.3.4/33",
        ];
        let mut refusals = 0;
        for (before, after, keys) in places {
            for (key, value) in keys.iter().flat_map(|key| values.map(|value| (key, value))) {
                let colon = if key.is_empty() { "" } else { ": " };
                let text = format!("{before}{key}{colon}{value}{after}\n");
                let Err(error) = files(Some(&text)) else { continue };
                let line = error.to_string();
                refusals += 1;
                assert!(line.starts_with("network configuration: "), "{text}{line}");
                for foreign in [
                    "::",
                    "`",
                    "expected",
                    "invalid type",
                    "variant",
                    "struct",
                    "u32",
                    "serde",
                    "\n",
                    "Some(",
                ] {
                    assert!(!line.contains(foreign), "{text}{line}");
                }
            }
        }
        assert!(refusals > 300, "{refusals}");
    }
}
