//! The accuracy suite: see `geophone_tests::accuracy`.

fn main() -> anyhow::Result<()> {
    geophone_tests::accuracy::main()
}
