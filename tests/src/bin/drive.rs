//! The client process of the end-to-end tests: see `geophone_tests::drive`.

fn main() -> anyhow::Result<()> {
    geophone_tests::drive::main()
}
