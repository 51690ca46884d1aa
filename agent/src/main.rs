//! Command line: see `geophone --help`.
fn main() {}
