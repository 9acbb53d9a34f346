//! Names to addresses, without the C library: a static executable cannot load the host's name service
//! modules.
//!
//! What `/etc/hosts` and the servers in `/etc/resolv.conf` know is found; names that only other modules know
//! (mDNS, LDAP) are not.

use std::net::{IpAddr, SocketAddr};
use std::sync::OnceLock;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::LookupIpStrategy;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// A name whose address is not known.
#[derive(Debug, thiserror::Error)]
#[error("{name}: {why}")]
pub(crate) struct NameNotResolved {
    pub(crate) name: String,
    pub(crate) why: String,
}

/// Reads the host's configuration when the first name is asked for.
#[derive(Default)]
pub(crate) struct HostResolver {
    resolver: std::sync::Arc<OnceLock<Result<TokioResolver, String>>>,
}

impl Resolve for HostResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.resolver.clone();
        Box::pin(async move {
            let name = name.as_str().to_owned();
            let addresses = lookup(resolver.get_or_init(open), &name).await;
            let addresses = addresses.map_err(|why| NameNotResolved { name, why })?;
            let addresses: Addrs = Box::new(addresses.into_iter().map(|ip| SocketAddr::new(ip, 0)));
            Ok(addresses)
        })
    }
}

fn open() -> Result<TokioResolver, String> {
    // Without its own configuration a host asks nobody: its names are not told to strangers.
    let mut builder = TokioResolver::builder_tokio().map_err(|error| error.to_string())?;
    builder.options_mut().ip_strategy = LookupIpStrategy::Ipv6AndIpv4;
    builder.build().map_err(|error| error.to_string())
}

async fn lookup(resolver: &Result<TokioResolver, String>, name: &str) -> Result<Vec<IpAddr>, String> {
    let resolver = resolver.as_ref().map_err(Clone::clone)?;
    match resolver.lookup_ip(name).await {
        Ok(found) => Ok(found.iter().collect()),
        Err(error) if error.is_no_records_found() => Err("there is no such name".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
