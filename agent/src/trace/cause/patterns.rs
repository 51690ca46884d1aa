//! What requests have done, in processes in which the causes of some calls are not certain: it is learned from those that are what endpoints do
//! (`endpoints`), tried whether that would have been right, and said what requests lack.

use hashbrown::HashMap;

use super::{
    assign::{Lacks, assign},
    call::Serial,
    endpoints::{ENOUGH, Endpoints, Kind, Made, Steady},
    rhythm::Moments,
};
use crate::event::Nanos;

/// Requests that are remembered; of others nothing is learned.
const REQUESTS: usize = 65_536;
/// Less than that is not tried.
const UNLIKELY: f64 = 0.9;
/// Calls of a request that are tried.
const TRIALS: usize = 4;
/// All processes in which calls were seen whose causes are not certain.
#[derive(Debug, Default)]
pub(super) struct Patterns {
    processes: HashMap<u32, Endpoints, foldhash::fast::RandomState>,
    requests: HashMap<Serial, Request, foldhash::fast::RandomState>,
}

/// A request of such a process.
#[derive(Debug, Default)]
struct Request {
    endpoint: Option<(u32, Kind)>,
    /// When it was answered.
    end: Nanos,
    made: Vec<Made>,
    moments: Moments,
    /// Calls that may be its own, as far as was known when it was answered.
    suspects: Vec<Serial>,
    /// Calls that are its own for certain, and which, on the face of it, could have been another one's.
    trials: Vec<Trial>,
    is_counted: bool,
}

/// A call whose cause was not certain from the beginning.
#[derive(Clone, Debug)]
pub(super) struct Trial {
    pub(super) call: Serial,
    /// The requests that could have made it.
    pub(super) candidates: Vec<Serial>,
}

impl Patterns {
    /// Whether anything is learned about a process.
    pub(super) fn is_active(&self, tgid: u32) -> bool {
        !self.processes.is_empty() && self.processes.contains_key(&tgid)
    }

    /// Causes in a process are not always certain: it is learned from now on what its endpoints do.
    pub(super) fn activate(&mut self, tgid: u32) {
        self.processes.entry(tgid).or_default();
    }

    /// A request has made a call, for certain.
    pub(super) fn made(&mut self, request: Serial, call: Serial, kind: Kind, (start, end): (Nanos, Nanos)) {
        let Some(request) = self.request(request) else {
            return;
        };
        request.moments.called(call, kind, start, end);
        request.count(kind, |made| made.known += 1);
    }

    /// A request was given a call because it lacked it.
    pub(super) fn given(&mut self, request: Serial, kind: Kind) {
        if let Some(request) = self.requests.get_mut(&request) {
            request.count(kind, |made| made.given += 1);
        }
    }

    /// It has turned out which request has made a call.
    pub(super) fn try_later(&mut self, request: Serial, trial: Trial) {
        let Some(request) = self.request(request) else {
            return;
        };
        if request.trials.len() < TRIALS {
            request.trials.push(trial);
        }
    }

    /// What would have been said of calls that are a request's own for certain, if nothing else had been known: how likely it would have
    /// seemed, and whether it would have been right.
    pub(super) fn tried(&self, serial: Serial) -> Vec<(f64, bool)> {
        let trials = self.requests.get(&serial).map(|request| request.trials.as_slice()).unwrap_or_default();
        let mut tried = Vec::new();
        for Trial { call, candidates } in trials {
            let Some((kind, start, end)) = self.requests.get(&serial).and_then(|request| request.moments.of(*call))
            else {
                continue;
            };
            let lasted = |request: &&Serial| self.requests.get(*request).is_none_or(|request| request.end >= end);
            let candidates = candidates.iter().filter(lasted).copied().collect();
            let fits = |call, request| self.fits(request, kind, call, start);
            // Other calls may be what a request lacks.
            let lacks = |request| match self.lacks(request, kind, u32::MAX / 2) {
                Lacks::Calls { left, others } if request == serial => Lacks::Calls { left: left + 1, others },
                known => known,
            };
            if let [(_, found, share)] = assign(&[(*call, candidates)], UNLIKELY, fits, lacks)[..] {
                tried.push((share, found == serial));
            }
        }
        tried
    }

    /// How well a call fits into a request, next to how well it fits into others; `None`: that is not known.
    pub(super) fn fits(&self, request: Serial, kind: Kind, call: Serial, at: Nanos) -> Option<f64> {
        let request = self.requests.get(&request)?;
        let (tgid, endpoint) = request.endpoint?;
        let endpoint = self.processes.get(&tgid)?.get(endpoint)?;
        endpoint.fits(kind, &request.moments, call, at)
    }

    /// Nobody knows who has made a call that a request may have made.
    pub(super) fn lost(&mut self, request: Serial, kind: Kind) {
        if let Some(request) = self.requests.get_mut(&request) {
            request.count(kind, |made| made.lost += 1);
        }
    }

    /// The process of a request that is answered.
    pub(super) fn process_of(&self, request: Serial) -> Option<u32> {
        Some(self.requests.get(&request)?.endpoint?.0)
    }

    /// A request is answered.
    pub(super) fn answered(
        &mut self,
        request: Serial,
        tgid: u32,
        endpoint: Kind,
        (start, end): (Nanos, Nanos),
        suspects: Vec<Serial>,
    ) {
        let Some(request) = self.request(request) else {
            return;
        };
        request.endpoint = Some((tgid, endpoint));
        request.end = end;
        request.suspects = suspects;
        request.moments.begun(start);
    }

    /// The calls that may be a request's own.
    pub(super) fn suspects(&self, request: Serial) -> &[Serial] {
        self.requests.get(&request).map(|request| request.suspects.as_slice()).unwrap_or_default()
    }

    /// There is a call without a certain cause.
    pub(super) fn orphaned(&mut self, tgid: u32, kind: Kind) {
        if let Some(process) = self.processes.get_mut(&tgid) {
            process.orphaned(kind);
        }
    }

    /// What is to be known of a request is known: one learns from it, once. `open` says how many of its suspects are of a kind, and still without a cause.
    pub(super) fn learn(&mut self, serial: Serial, open: impl Fn(&[Serial], Kind) -> u32) {
        let Some(request) = self.requests.get_mut(&serial) else {
            return;
        };
        let Some((tgid, endpoint)) = request.endpoint.filter(|_| !std::mem::replace(&mut request.is_counted, true))
        else {
            return;
        };
        let Some(process) = self.processes.get_mut(&tgid) else {
            return;
        };
        process.learn(endpoint, &request.made, &request.moments, |kind| open(&request.suspects, kind));
    }

    /// A request is not spoken of any more.
    pub(super) fn forget(&mut self, request: Serial) {
        self.requests.remove(&request);
    }

    /// A process has ended.
    pub(super) fn ended(&mut self, tgid: u32) {
        self.processes.remove(&tgid);
    }

    /// How many calls of a kind a request lacks; `others`: suspects of which nothing more is known.
    pub(super) fn lacks(&self, request: Serial, kind: Kind, others: u32) -> Lacks {
        let steady = || {
            let request = self.requests.get(&request)?;
            let steady = self.steady(request, kind)?;
            let made = request.made.iter().find(|made| made.kind == kind).copied().unwrap_or_default();
            Some(Lacks::Calls {
                left: steady.calls.saturating_sub(made.known + made.given),
                others: others + made.lost,
            })
        };
        steady().unwrap_or(Lacks::Unknown)
    }

    /// How likely it is that a request makes as many calls of a kind as are believed: from 0 to 1.
    pub(super) fn confidence(&self, request: Serial, kind: Kind) -> f64 {
        let steady = self.requests.get(&request).and_then(|request| self.steady(request, kind));
        steady.map_or(0.0, |Steady { misses, requests, .. }| f64::from(requests - misses + 1) / f64::from(requests + 2))
    }

    /// Whether it may still show, of one of these requests at least, how many calls of a kind it lacks.
    pub(super) fn may_show(&self, requests: &[Serial], kind: Kind) -> bool {
        requests.iter().any(|serial| {
            let Some((tgid, endpoint)) = self.requests.get(serial).and_then(|request| request.endpoint) else {
                return true;
            };
            let endpoint = self.processes.get(&tgid).and_then(|process| process.get(endpoint));
            endpoint.is_none_or(|endpoint| endpoint.requests < 2 * ENOUGH || endpoint.steady(kind).is_some())
        })
    }

    fn request(&mut self, serial: Serial) -> Option<&mut Request> {
        let has_room = self.requests.len() < REQUESTS || self.requests.contains_key(&serial);
        has_room.then(|| self.requests.entry(serial).or_default())
    }

    fn steady(&self, request: &Request, kind: Kind) -> Option<Steady> {
        let (tgid, endpoint) = request.endpoint?;
        self.processes.get(&tgid)?.steady(endpoint, kind)
    }
}

impl Request {
    fn count(&mut self, kind: Kind, add: impl Fn(&mut Made)) {
        if let Some(made) = self.made.iter_mut().find(|made| made.kind == kind) {
            return add(made);
        }
        let mut made = Made { kind, ..Made::default() };
        add(&mut made);
        self.made.push(made);
    }
}
