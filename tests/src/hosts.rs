//! Network namespaces that play hosts: joined to each other by a bridge, and each to the machine itself, so that a client outside of them
//! reaches them all.

use std::net::Ipv4Addr;
use std::process;

use anyhow::{Context as _, Result, ensure};

use crate::netns::{Namespace, ip};

/// Hosts in one network.
#[derive(Debug)]
pub struct Hosts {
    hosts: Vec<Host>,
    _switch: Namespace,
}

/// A host.
#[derive(Debug)]
pub struct Host {
    /// Its network.
    pub namespace: Namespace,
    /// Its address among the hosts.
    pub address: Ipv4Addr,
    /// Its address for the machine itself.
    pub outside: Ipv4Addr,
}

impl Hosts {
    /// Makes so many.
    ///
    /// # Errors
    /// When `ip` refuses, or there are too many.
    pub fn new(count: usize) -> Result<Self> {
        Self::made(count, false)
    }

    /// The same, each with a control group of its own.
    ///
    /// # Errors
    /// As above, and when there are no control groups.
    pub fn in_groups(count: usize) -> Result<Self> {
        Self::made(count, true)
    }

    fn made(count: usize, groups: bool) -> Result<Self> {
        ensure!((1..=200).contains(&count), "{count} hosts");
        let switch = Namespace::new()?;
        ip(&format!("-n {} link add bridge type bridge", switch.name()))?;
        ip(&format!("-n {} link set bridge up", switch.name()))?;
        let third = (process::id() % 250) as u8;
        let hosts = (1..).take(count).map(|number| {
            let mut namespace = Namespace::new()?;
            if groups {
                namespace.group()?;
            }
            let address = Ipv4Addr::new(10, 233, third, number);
            let (inside, plug) = (namespace.name(), format!("plug{number}"));
            ip(&format!("-n {} link add {plug} type veth peer name net netns {inside}", switch.name()))?;
            ip(&format!("-n {} link set {plug} master bridge", switch.name()))?;
            ip(&format!("-n {} link set {plug} up", switch.name()))?;
            ip(&format!("-n {inside} address add {address}/24 dev net"))?;
            ip(&format!("-n {inside} link set net up"))?;
            let outside = namespace.inside.parse().context("not an address")?;
            Ok(Host { namespace, address, outside })
        });
        Ok(Self { hosts: hosts.collect::<Result<_>>()?, _switch: switch })
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.hosts.len()
    }

    /// One of them; they come round again.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&Host> {
        self.hosts.get(index % self.hosts.len().max(1))
    }
}
