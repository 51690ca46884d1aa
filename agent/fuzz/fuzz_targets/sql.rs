//! Any bytes as a query: what is told of it is bounded, and shows no string.
#![no_main]

use geophone::protocol::db::sql::{Dialect, read};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    for dialect in [Dialect::Postgres, Dialect::MySql, Dialect::Cql, Dialect::TSql, Dialect::ClickHouse] {
        for whole in [true, false] {
            let query = read(data, dialect, whole);
            assert!(query.summary.chars().count() <= 255);
            assert!(query.text.chars().count() <= 2051);
            assert!(query.operation.is_none_or(|operation| query.summary.starts_with(operation.as_str())));
        }
    }
});
