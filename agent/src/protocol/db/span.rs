//! Attributes of a database's spans.

use compact_str::{CompactString, format_compact};

use super::sql::Query;
use crate::protocol::{Attributes, Carried, ContextHeader, endpoints, framed::Context};

/// Attributes of a usual span, so that their list is allocated once.
const USUAL: usize = 16;

/// What a request to a database does, as far as it is known.
#[derive(Clone, Debug, Default)]
pub struct Operation {
    /// `db.operation.name`.
    pub name: Option<CompactString>,
    /// `db.collection.name`.
    pub collection: Option<CompactString>,
    /// `db.query.summary`.
    pub summary: CompactString,
    /// `db.query.text`.
    pub text: CompactString,
    /// The context of a trace that came with it.
    pub traceparent: Option<CompactString>,
}

impl From<Query> for Operation {
    fn from(query: Query) -> Self {
        let Query { text, summary, operation, collection, traceparent } = query;
        Self { name: operation, collection, summary, text, traceparent }
    }
}

impl Operation {
    /// One that has a name only.
    #[must_use]
    pub fn of(name: &str) -> Self {
        Self { name: Some(name.into()), ..Self::default() }
    }

    /// The context of a trace, if it carries one.
    #[must_use]
    pub fn carried(&self) -> Option<Box<Carried>> {
        let mut carried = Carried::default();
        carried.push(ContextHeader::TraceParent, self.traceparent.as_deref()?.into());
        Some(Box::new(carried))
    }
}

/// The attributes that are known when the request is. `namespace`: the database, if that is known.
#[must_use]
pub fn describe(system: &'static str, namespace: Option<&str>, operation: &Operation, cx: &Context<'_>) -> Attributes {
    let mut attributes = Attributes(Vec::with_capacity(USUAL));
    attributes.push("db.system.name", system);
    if let Some(namespace) = namespace.filter(|namespace| !namespace.is_empty()) {
        attributes.push("db.namespace", namespace);
    }
    if let Some(name) = &operation.name {
        attributes.push("db.operation.name", name.clone());
    }
    if let Some(collection) = &operation.collection {
        attributes.push("db.collection.name", collection.clone());
    }
    if !operation.summary.is_empty() {
        attributes.push("db.query.summary", operation.summary.clone());
    }
    if !operation.text.is_empty() {
        attributes.push("db.query.text", operation.text.clone());
    }
    if let Some(server) = endpoints::server(cx.connection, cx.side) {
        attributes.push("server.address", server.address);
        if let Some(port) = server.port {
            attributes.push("server.port", port);
        }
    }
    endpoints::describe(cx.connection, &mut attributes);
    attributes
}

/// The span's name: the summary, or the operation and what it works on, or else where the server is. The database is no part of a name that
/// says what is done: whether it is known depends on when the connection was first seen.
#[must_use]
pub fn named(system: &'static str, operation: &Operation, cx: &Context<'_>) -> CompactString {
    if !operation.summary.is_empty() {
        return operation.summary.clone();
    }
    match (&operation.name, &operation.collection) {
        (Some(name), Some(target)) => format_compact!("{name} {target}"),
        (Some(name), None) => name.clone(),
        (None, Some(target)) => target.clone(),
        (None, None) => match endpoints::server(cx.connection, cx.side) {
            Some(server) => server.address,
            None => CompactString::const_new(system),
        },
    }
}
