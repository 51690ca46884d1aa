//! Two hosts with a box between them that translates addresses both ways: whoever asks is seen at the box, and asks the box.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::child;
use crate::netns::{Namespace, ip};

/// Two hosts that do not know each other's addresses.
#[derive(Debug)]
pub struct Nat {
    /// The host that asks.
    pub left: Namespace,
    /// The host that is asked.
    pub right: Namespace,
    /// What the host that asks takes for the other one.
    pub front: Ipv4Addr,
    /// What the host that is asked takes for the other one.
    pub back: Ipv4Addr,
    /// The address of the host that is asked, behind the box.
    pub hidden: Ipv4Addr,
    middle: Namespace,
}

impl Nat {
    /// Makes them.
    ///
    /// # Errors
    /// When `ip` refuses.
    pub fn new() -> Result<Self> {
        let (left, middle, right) = (Namespace::new()?, Namespace::new()?, Namespace::new()?);
        let third = (process::id() % 250) as u8;
        let (front, back) = (Ipv4Addr::new(10, 234, third, 254), Ipv4Addr::new(10, 235, third, 254));
        let (asking, hidden) = (Ipv4Addr::new(10, 234, third, 1), Ipv4Addr::new(10, 235, third, 1));
        let (l, m, r) = (left.name(), middle.name(), right.name());
        for (host, plug, own, other) in [(l, "left", asking, front), (r, "right", hidden, back)] {
            ip(&format!("-n {m} link add {plug} type veth peer name net netns {host}"))?;
            ip(&format!("-n {m} address add {other}/24 dev {plug}"))?;
            ip(&format!("-n {m} link set {plug} up"))?;
            ip(&format!("-n {host} address add {own}/24 dev net"))?;
            ip(&format!("-n {host} link set net up"))?;
        }
        // What is asked has no way back but to the box.
        ip(&format!("-n {l} route add 10.235.{third}.0/24 via {front}"))?;
        let status = middle.command(Path::new("sh")).args(["-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]).status()?;
        ensure!(status.success(), "cannot switch forwarding on: {status}");
        Ok(Self { left, right, front, back, hidden, middle })
    }

    /// Lets the box count the segments that it passes on and that have this TCP option: see [`Self::counted`].
    ///
    /// # Errors
    /// When `nft` refuses.
    pub fn count(&self, option: u8) -> Result<()> {
        let has = format!("tcp option {option} exists");
        self.nft(&format!(
            "table ip seen {{}}\ndelete table ip seen\ntable ip seen {{\n chain forward {{\n type filter hook forward priority 0;\n\
             tcp flags & (syn | ack) == syn {has} counter comment \"syn\"\n\
             tcp flags & (syn | ack) == (syn | ack) {has} counter comment \"synack\"\n\
             tcp flags & (syn | ack) == ack {has} counter comment \"later\"\n\
             }}\n}}\n"
        ))
    }

    /// How many SYNs, SYN-ACKs and others it has counted.
    ///
    /// # Errors
    /// When `nft` does not say.
    pub fn counted(&self) -> Result<[u64; 3]> {
        let mut list = self.middle.command(Path::new("nft"));
        let text = child::output(list.args(["list", "table", "ip", "seen"]), Duration::from_secs(10))?;
        let count = |what: &str| {
            let line = text.lines().find(|line| line.contains(&format!("comment \"{what}\"")))?;
            line.split("packets ").nth(1)?.split(' ').next()?.parse().ok()
        };
        let [syn, syn_ack, later] = ["syn", "synack", "later"].map(count);
        let all = syn.zip(syn_ack).zip(later).with_context(|| text.clone())?;
        Ok([all.0.0, all.0.1, all.1])
    }

    /// Lets the box pass on what is sent to this port of its own, and show itself as the sender of all that it passes on.
    ///
    /// # Errors
    /// When `nft` refuses.
    pub fn pass(&self, port: u16) -> Result<()> {
        let hidden = self.hidden;
        self.nft(&format!(
            "table ip nat {{\n\
             chain before {{ type nat hook prerouting priority dstnat; iifname \"left\" tcp dport {port} dnat to {hidden}:{port}; }}\n\
             chain after {{ type nat hook postrouting priority srcnat; oifname \"right\" masquerade; }}\n\
             }}\n"
        ))
    }

    /// Lets the box lose one of so many segments, whichever way they go; 0: none any more.
    ///
    /// # Errors
    /// When `nft` refuses.
    pub fn lose(&self, of: u32) -> Result<()> {
        let rule = if of == 0 { String::new() } else { format!("meta l4proto tcp numgen random mod {of} == 0 drop") };
        self.nft(&format!(
            "table ip lost {{}}\ndelete table ip lost\ntable ip lost {{\n chain forward {{\n type filter hook forward priority 10;\n\
             {rule}\n}}\n}}\n"
        ))
    }

    fn nft(&self, text: &str) -> Result<()> {
        let rules = tempfile::NamedTempFile::new()?;
        fs::write(rules.path(), text)?;
        let status = self.middle.command(Path::new("nft")).arg("-f").arg(rules.path()).status()?;
        ensure!(status.success(), "nft: {status}");
        Ok(())
    }
}
