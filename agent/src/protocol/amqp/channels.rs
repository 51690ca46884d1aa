//! What is known of a connection's channels: what waits for an answer, which contents are on their way, who consumes how.

use std::collections::VecDeque;

use compact_str::CompactString;
use hashbrown::HashMap;

use super::{
    content::{Content, Properties, is_generated},
    method::{DELIVER, Method, PUBLISH},
};
use crate::{
    conn::Gap,
    event::Nanos,
    protocol::{
        framed::{Call, Calls, Context, Origin, Role, Table},
        http::NoResponse,
        messaging::pushed,
    },
};

/// Publishes of a channel that wait for their confirmation, at most.
const MAX_UNCONFIRMED: usize = 1024;
/// Acknowledgements that wait for their deliveries, at most.
const MAX_EARLY: usize = 32;
/// Channels and consumers that are known, at most.
const MAX_KNOWN: usize = 512;

/// What waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// A method, on a channel.
    Method(u16, Method),
    /// The n-th publish of a channel.
    Publish(u16, u64),
    /// A delivery on a channel, by its tag.
    Delivery(u16, u64),
}

/// What is remembered of what waits.
#[derive(Clone, Debug, Default)]
pub(super) struct Waits {
    /// When it was asked, in updates.
    pub(super) seq: u64,
    /// Losses before it was asked.
    pub(super) losses: u32,
    /// Another one of the same key was unanswered.
    pub(super) follows: bool,
    /// Of `basic.consume`: queue, tag, and whether acknowledgements are off.
    pub(super) consumer: Option<(CompactString, CompactString, bool)>,
}

/// Contents by channel and whether they come from the broker, with what has been told of them.
type Contents = HashMap<(bool, u16), (Content, Option<Call<Waits>>), foldhash::fast::RandomState>;

/// A consumer.
#[derive(Clone, Debug)]
pub(super) struct Consumer {
    pub(super) queue: CompactString,
    pub(super) no_ack: bool,
}

/// A channel in confirm mode.
#[derive(Debug, Default)]
pub(super) struct Confirms {
    /// Number of the last publish.
    pub(super) last: u64,
    /// Numbers of those that wait.
    pub(super) waiting: VecDeque<u64>,
}

/// All that is known of a connection.
#[derive(Debug, Default)]
pub(super) struct Channels {
    pub(super) table: Table<Key, Call<Waits>>,
    /// Contents that are on their way.
    pub(super) contents: Contents,
    pub(super) confirms: HashMap<u16, Confirms, foldhash::fast::RandomState>,
    pub(super) consumers: HashMap<(u16, CompactString), Consumer, foldhash::fast::RandomState>,
    /// Deliveries that wait, in order.
    pub(super) deliveries: VecDeque<(u16, u64)>,
    /// Acknowledgements that were seen before what they acknowledge: a send is seen when it returns.
    pub(super) early: VecDeque<(u16, u64)>,
    /// Contents of a direction may have been torn apart by a loss: requests, responses.
    pub(super) torn: [bool; 2],
    /// Times that something was missed.
    pub(super) losses: u32,
}

impl Channels {
    /// A publish on a channel, if it is in confirm mode: its number.
    pub(super) fn publish(&mut self, channel: u16) -> Option<u64> {
        let confirms = self.confirms.get_mut(&channel)?;
        confirms.last += 1;
        if confirms.waiting.len() >= MAX_UNCONFIRMED {
            confirms.waiting.pop_front();
        }
        confirms.waiting.push_back(confirms.last);
        Some(confirms.last)
    }

    /// The publishes that a confirmation means.
    pub(super) fn confirmed(&mut self, channel: u16, tag: u64, multiple: bool) -> Vec<Key> {
        let Some(confirms) = self.confirms.get_mut(&channel) else {
            return Vec::new();
        };
        let mut keys = Vec::new();
        confirms.waiting.retain(|number| {
            let meant = *number == tag || multiple && (*number < tag || tag == 0);
            if meant {
                keys.push(Key::Publish(channel, *number));
            }
            !meant
        });
        keys
    }

    /// A delivery that will be acknowledged.
    pub(super) fn delivered(&mut self, channel: u16, tag: u64) {
        if self.deliveries.len() >= 4 * MAX_UNCONFIRMED {
            self.deliveries.pop_front();
        }
        self.deliveries.push_back((channel, tag));
    }

    /// The deliveries that an acknowledgement means.
    pub(super) fn acknowledged(&mut self, channel: u16, tag: u64, multiple: bool) -> Vec<Key> {
        let mut keys = Vec::new();
        self.deliveries.retain(|(of, number)| {
            let meant = *of == channel && (*number == tag || multiple && (*number < tag || tag == 0));
            if meant {
                keys.push(Key::Delivery(channel, *number));
            }
            !meant
        });
        if keys.is_empty() && !multiple {
            if self.early.len() >= MAX_EARLY {
                self.early.pop_front();
            }
            self.early.push_back((channel, tag));
        }
        keys
    }

    /// Whether a delivery has been acknowledged before it was seen.
    pub(super) fn is_acknowledged(&mut self, channel: u16, tag: u64) -> bool {
        let before = self.early.len();
        self.early.retain(|early| *early != (channel, tag));
        self.early.len() < before
    }

    /// A channel counts its publishes from now on.
    pub(super) fn select(&mut self, channel: u16) {
        if self.confirms.len() < MAX_KNOWN {
            self.confirms.entry(channel).or_default();
        }
    }

    /// A consumer begins.
    pub(super) fn consume(&mut self, channel: u16, tag: CompactString, consumer: Consumer) {
        if self.consumers.len() < MAX_KNOWN {
            self.consumers.insert((channel, tag), consumer);
        }
    }

    /// A channel is new, or gone.
    pub(super) fn forget(&mut self, channel: u16) {
        self.confirms.remove(&channel);
        self.consumers.retain(|(of, _), _| *of != channel);
        self.deliveries.retain(|(of, _)| *of != channel);
        self.early.retain(|(of, _)| *of != channel);
    }

    /// Ends what waits on a channel, or on all of them, as its answer is an error.
    pub(super) fn take_all(&mut self, channel: Option<u16>) -> Vec<Call<Waits>> {
        let is = |of: u16| channel.is_none_or(|channel| channel == of);
        let mut keys: Vec<Key> = Vec::new();
        for (of, confirms) in &mut self.confirms {
            if is(*of) {
                keys.extend(confirms.waiting.drain(..).map(|number| Key::Publish(*of, number)));
            }
        }
        keys.into_iter().filter_map(|key| self.table.remove(key)).collect()
    }

    /// Contents of which the rest cannot be told from that of others.
    fn tear(&mut self, response: Option<bool>, cx: &mut Context<'_>) {
        let which = |is: bool| response.is_none_or(|response| response == is);
        let mut torn: Vec<_> = self.contents.extract_if(|(is, _), _| which(*is)).collect();
        torn.sort_by_key(|(_, (content, _))| content.first.offset);
        for ((_, channel), (content, call)) in torn {
            let give_out = |cx: &mut Context<'_>| {
                let queue = self.queue(channel, &content);
                let mut call = call.unwrap_or_else(|| {
                    let cut = Properties { cut: true, ..Properties::default() };
                    content.ask(queue.as_deref(), cut, Waits::default(), cx)
                });
                call.exchange.holes.length = true;
                let end = call.exchange.request_end;
                call.done_unanswered(end, cx);
            };
            match content.method {
                PUBLISH => give_out(cx),
                DELIVER => pushed(cx, give_out),
                _ => {}
            }
        }
    }

    /// From which queue a delivery comes.
    pub(super) fn queue(&self, channel: u16, content: &Content) -> Option<CompactString> {
        let consumer = self.consumers.get(&(channel, content.consumer.clone()?))?;
        Some(consumer.queue.clone()).filter(|queue| !queue.is_empty() && !is_generated(queue))
    }

    /// Something of a direction is missing.
    pub(super) fn mend(&mut self, role: Role, cx: &mut Context<'_>) {
        let [requests, responses] = &mut self.torn;
        let torn = if role == Role::Request { requests } else { responses };
        if std::mem::take(torn) {
            self.tear(Some(role == Role::Response), cx);
        }
    }
}

impl Calls for Channels {
    fn must_wait(&self) -> bool {
        self.table.must_wait()
    }

    fn in_order(&self) -> bool {
        self.table.in_order()
    }

    fn patience(&self) -> Nanos {
        self.table.patience()
    }

    fn touch(&mut self, now: Nanos) {
        self.table.touch(now);
    }

    fn impatient(&mut self, cx: &mut Context<'_>) {
        self.table.impatient(cx);
    }

    fn joined(&mut self, role: Role, missed: bool, cx: &mut Context<'_>) {
        self.losses = self.losses.wrapping_add(1);
        self.table.joined(role, missed, cx);
    }

    fn lost(&mut self, role: Role, gap: Gap, alone: bool, cx: &mut Context<'_>) {
        self.losses = self.losses.wrapping_add(1);
        self.table.lost(role, gap, alone, cx);
    }

    fn passed(&mut self, role: Role, origin: Origin, alone: bool, cx: &mut Context<'_>) {
        self.losses = self.losses.wrapping_add(1);
        self.table.passed(role, origin, alone, cx);
    }

    fn tick(&mut self, now: Nanos, cx: &mut Context<'_>) {
        self.table.tick(now, cx);
    }

    fn end(&mut self, why: NoResponse, now: Nanos, cx: &mut Context<'_>) {
        self.tear(None, cx);
        self.table.end(why, now, cx);
    }
}
