//! Who calls whom, and what spans that gives: the truth that spans are held against.
//!
//! A position is a number in decimal: the client's own request has position 1, and the call number `i` (0 to 4) of the request at
//! position `p` has position `10 p + i`; when it is refused and made once more, `10 p + i + 5`.

/// The position of the client's own request.
pub const ROOT: u64 = 1;
/// How much is added to the position of a call that is made once more.
const AGAIN: u64 = 5;

/// The services of a stack: each with its calls, in groups that are made at the same time, one group after the other.
#[derive(Debug, Clone, Copy)]
pub struct Shape(pub &'static [Calls]);

/// The calls of a service: groups of indices of services.
pub type Calls = &'static [&'static [usize]];

/// A calls B, then C twice at the same time; B calls D.
pub const TREE: Shape = Shape(&[&[&[1], &[2, 2]], &[&[3]], &[], &[]]);
/// A calls B, B calls C, C calls D twice at the same time.
pub const LINE: Shape = Shape(&[&[&[1]], &[&[2]], &[&[3, 3]], &[]]);

/// The name of a service, which is the first word of its paths.
#[must_use]
pub fn name(service: usize) -> &'static str {
    ["a", "b", "c", "d"].get(service).copied().unwrap_or("?")
}

/// The path of a request.
#[must_use]
pub fn path(service: usize, id: u64, position: u64) -> String {
    format!("/{}/{id}/{position}", name(service))
}

/// The id and position in a path.
#[must_use]
pub fn parse(path: &str) -> Option<(u64, u64)> {
    let mut words = path.strip_prefix('/')?.split('/').skip(1);
    let (id, position) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    words.next().is_none().then_some((id, position))
}

/// Whether a request is refused with 503, where services are told to refuse some.
#[must_use]
pub fn refused(id: u64, position: u64) -> bool {
    position != ROOT && position % 10 < AGAIN && (id + position).is_multiple_of(8)
}

/// Which side of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// It was sent.
    Client,
    /// It was received.
    Server,
}

/// A process that requests pass through.
#[derive(Clone, Debug, Default)]
pub struct Process {
    /// What to call it.
    pub name: String,
    /// What it receives need not have spans: it comes by a protocol that is not decoded, or an SDK has the span.
    pub optional_server: bool,
    /// The same for what it sends.
    pub optional_client: bool,
}

/// A span that is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop {
    /// Which side.
    pub kind: Kind,
    /// Of which process.
    pub process: usize,
    /// Of which request.
    pub position: u64,
    /// Index of the span above it.
    pub parent: Option<usize>,
    /// It may be absent; then what is below it belongs to what is above it.
    pub optional: bool,
}

/// What is started: processes, and how requests go through them.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Who calls whom.
    pub shape: Shape,
    /// All processes.
    pub processes: Vec<Process>,
    /// For each service the processes that a request to it passes, the program itself last.
    pub ways: Vec<Vec<usize>>,
    /// Some calls are refused, and made once more.
    pub retries: bool,
}

impl Plan {
    /// The spans that the request `id` should have, each after its parent, and how many of the requests were not refused.
    #[must_use]
    pub fn hops(&self, id: u64) -> (Vec<Hop>, u64) {
        let mut hops = Vec::new();
        let mut served = 0;
        self.request(&mut hops, &mut served, id, 0, ROOT, None);
        (hops, served)
    }

    fn request(
        &self,
        hops: &mut Vec<Hop>,
        served: &mut u64,
        id: u64,
        service: usize,
        position: u64,
        caller: Option<usize>,
    ) {
        let mut above = caller;
        let way = self.ways.get(service).map(Vec::as_slice).unwrap_or_default();
        for (step, &process) in way.iter().enumerate() {
            if let Some(&before) = step.checked_sub(1).and_then(|before| way.get(before)) {
                above = self.hop(hops, Kind::Client, before, position, above);
            }
            above = self.hop(hops, Kind::Server, process, position, above);
        }
        if self.retries && refused(id, position) {
            return;
        }
        *served += 1;
        let Some(&program) = way.last() else { return };
        let calls = self.shape.0.get(service).copied().unwrap_or_default().iter().copied().flatten();
        for (number, &callee) in (0..).zip(calls) {
            let first = position * 10 + number;
            let attempts = if self.retries && refused(id, first) { vec![first, first + AGAIN] } else { vec![first] };
            for position in attempts {
                let client = self.hop(hops, Kind::Client, program, position, above);
                self.request(hops, served, id, callee, position, client);
            }
        }
    }

    fn hop(
        &self,
        hops: &mut Vec<Hop>,
        kind: Kind,
        process: usize,
        position: u64,
        parent: Option<usize>,
    ) -> Option<usize> {
        let optional = self.processes.get(process).is_some_and(|process| match kind {
            Kind::Client => process.optional_client,
            Kind::Server => process.optional_server,
        });
        hops.push(Hop { kind, process, position, parent, optional });
        hops.len().checked_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(shape: Shape, retries: bool) -> Plan {
        let processes = (0..4).map(|i| Process { name: name(i).into(), ..Process::default() }).collect();
        Plan { shape, processes, ways: (0..4).map(|i| vec![i]).collect(), retries }
    }

    fn text(plan: &Plan, id: u64) -> Vec<String> {
        let (hops, _) = plan.hops(id);
        let one = |hop: &Hop| {
            format!(
                "{}{} {}",
                plan.processes[hop.process].name,
                if hop.kind == Kind::Client { ">" } else { "" },
                hop.position
            )
        };
        hops.iter()
            .map(|hop| format!("{} < {}", one(hop), hop.parent.map_or("none".into(), |i| one(&hops[i]))))
            .collect()
    }

    #[test]
    fn paths_say_whose_call_they_are() {
        assert_eq!(parse(&path(2, 17, 12)), Some((17, 12)));
        for other in ["/", "/a/1", "/a/1/x", "/a/1/2/3", "a/1/2"] {
            assert_eq!(parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_tree_of_calls() {
        let plan = plan(TREE, false);
        let expected = [
            "a 1 < none",
            "a> 10 < a 1",
            "b 10 < a> 10",
            "b> 100 < b 10",
            "d 100 < b> 100",
            "a> 11 < a 1",
            "c 11 < a> 11",
            "a> 12 < a 1",
            "c 12 < a> 12",
        ];
        assert_eq!(text(&plan, 5), expected);
        assert_eq!(plan.hops(5).1, 5);
    }

    #[test]
    fn refused_calls_are_made_again() {
        // Of these, only 6 + 10 is divisible by 8.
        let plan = plan(TREE, true);
        let expected = [
            "a 1 < none",
            "a> 10 < a 1",
            "b 10 < a> 10",
            "a> 15 < a 1",
            "b 15 < a> 15",
            "b> 150 < b 15",
            "d 150 < b> 150",
            "a> 11 < a 1",
            "c 11 < a> 11",
            "a> 12 < a 1",
            "c 12 < a> 12",
        ];
        assert_eq!(text(&plan, 6), expected);
        assert_eq!(plan.hops(6).1, 5);
    }

    #[test]
    fn proxies_are_passed() {
        let mut plan = plan(Shape(&[&[&[1]], &[]]), false);
        plan.processes.push(Process { name: "p".into(), ..Process::default() });
        plan.ways = vec![vec![4, 0], vec![4, 1]];
        let expected =
            ["p 1 < none", "p> 1 < p 1", "a 1 < p> 1", "a> 10 < a 1", "p 10 < a> 10", "p> 10 < p 10", "b 10 < p> 10"];
        assert_eq!(text(&plan, 1), expected);
    }
}
